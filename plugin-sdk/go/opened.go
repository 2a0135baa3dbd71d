package pipehost

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// opened is a stage that was opened, and the loop over the rows of a batch. The exported functions
// and native tests both drive it.
type opened struct {
	stage  Stage
	plan   driver.Plan
	config []byte
	record Record
	out    *Out
}

func openStage(config []byte, open func([]byte, *Setup) (Stage, error)) (driver.Opened, error) {
	setup := newSetup()
	stage, err := open(config, setup)
	if err != nil {
		return nil, err
	}
	o := &opened{stage: stage, plan: setup.plan, config: bytes.Clone(config)}
	o.record.columns = make([]column, firstAttribute+len(o.plan.Attributes))
	o.out = newOut(len(o.plan.Ports), &o.record)
	return o, nil
}

func (o *opened) Plan() *driver.Plan { return &o.plan }

func (o *opened) Config() []byte { return o.config }

func (o *opened) Process(batch *driver.Batch) *driver.Outcome {
	o.record.load(batch)
	o.out.begin(true)
	for row := 0; row < batch.Len; {
		row = o.processFrom(row, batch.Len)
	}
	return o.out.finish(batch.Len)
}

// processFrom processes rows until one panics, and says where to go on: recovering is too expensive
// to be prepared for in every row.
func (o *opened) processFrom(row, rows int) (next int) {
	defer func() {
		if what := recover(); what != nil {
			o.rejectPanic(what)
			next = o.record.row + 1
		}
	}()
	stage, record, out := o.stage, &o.record, o.out
	for ; row < rows; row++ {
		record.row, out.row = row, uint32(row)
		if err := stage.Process(record, out); err != nil {
			out.reject(err.Error(), isRetryable(err))
		}
	}
	return rows
}

func (o *opened) rejectPanic(what any) {
	reason := fmt.Sprint("panic: ", what)
	fmt.Fprintf(os.Stderr, "%s\n%s", reason, stackOfPanic())
	o.out.reject(reason, false)
}

// stackOfPanic is the stack from the code that panics to the stage: without what catches the panic
// and what has called the stage.
func stackOfPanic() []byte {
	stack := debug.Stack()
	if _, rest, found := bytes.Cut(stack, []byte("\npanic(")); found {
		stack = rest
		for range 2 { // The arguments of panic, and where it is.
			_, stack, _ = bytes.Cut(stack, []byte("\n"))
		}
	}
	if end := bytes.Index(stack, []byte("/go.(*opened).processFrom(")); end >= 0 {
		stack = stack[:bytes.LastIndexByte(stack[:end], '\n')+1]
	}
	return stack
}

func (o *opened) Finish() (*driver.Outcome, error) {
	o.out.begin(false)
	if stage, ok := o.stage.(Finisher); ok {
		if err := stage.Finish(o.out); err != nil {
			return nil, err
		}
	}
	return o.out.finish(0), nil
}

func (o *opened) Save(first, end, count uint32) ([]driver.GroupState, error) {
	stage, ok := o.stage.(Saver)
	if !ok {
		return nil, errors.New("the stage has no methods Save and Restore")
	}
	state := &State{count: count}
	if err := stage.Save(state); err != nil {
		return nil, err
	}
	for group := range state.byKey {
		if group < first || group >= end {
			return nil, errors.New("state is saved for a key that is not one of the records of this instance: " +
				"save it under the bytes of the field of KeepsByKey")
		}
	}
	return state.groups(first, end), nil
}

func (o *opened) Restore(groups []driver.GroupState, version string, config []byte) error {
	stage, ok := o.stage.(Saver)
	if !ok {
		return errors.New("the stage has no methods Save and Restore")
	}
	saved, err := newSaved(groups, version, config, o.config)
	if err != nil {
		return err
	}
	if stage, ok := o.stage.(Accepter); ok {
		err = stage.Accepts(saved)
	} else {
		err = saved.AcceptChangesOf()
	}
	if err != nil {
		return err
	}
	return stage.Restore(saved)
}

func (o *opened) Advance(watermark int64) (*driver.Outcome, error) {
	o.out.begin(false)
	stage, ok := o.stage.(Timed)
	if !ok {
		return nil, errors.New("the stage has no method Advance")
	}
	if err := stage.Advance(watermark, o.out); err != nil {
		return nil, err
	}
	return o.out.finish(0), nil
}
