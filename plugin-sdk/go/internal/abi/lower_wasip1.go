package abi

import (
	"strings"
	"unsafe"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// What is answered lies here until the next call.
var (
	outcome     Outcome
	outputs     []Output
	attributes  []AttributeChange
	excerpts    []Excerpt
	rejected    []Rejection
	names       []List
	result      Result
	plan        Plan
	description Description
	groups      []GroupState
	kept        []string
	keptGroups  []driver.GroupState
	batch       driver.Batch
)

// A list without elements has the address 0, which is aligned for all.
func list[T any](of []T) List {
	if len(of) == 0 {
		return List{}
	}
	return List{uint32(uintptr(unsafe.Pointer(unsafe.SliceData(of)))), uint32(len(of))}
}

// text keeps a text until the next call. What is not UTF-8 would make the call fail.
func text(s string) List {
	s = strings.ToValidUTF8(s, "\uFFFD")
	kept = append(kept, s)
	return list(unsafe.Slice(unsafe.StringData(s), len(s)))
}

func texts(of []string) List {
	from := len(names)
	for _, s := range of {
		names = append(names, text(s))
	}
	return list(names[from:])
}

// forget drops what the last call answered. There is room for as many names, so that the lists of
// them do not move.
func forget(room int) {
	clear(kept)
	kept, names = kept[:0], names[:0]
	if cap(names) < room {
		names = make([]List, 0, room)
	}
}

func lift[T any](from List) []T {
	if from.Len == 0 {
		return nil
	}
	return unsafe.Slice((*T)(pointer(from.Ptr)), from.Len)
}

// LiftBytes are those of a list or of a text that was an argument. They are valid until the call ends.
func LiftBytes(ptr, size uint32) []byte {
	return lift[byte](List{ptr, size})
}

// LiftBatch reads an argument. It is valid until the call ends.
func LiftBatch(from unsafe.Pointer) *driver.Batch {
	given := (*Batch)(from)
	batch.Len, batch.Input, batch.Timestamps = int(given.Len), given.Input, nil
	if given.HasTimestamps != 0 {
		batch.Timestamps = lift[int64](given.Timestamps)
	}
	liftColumn(&given.Key, &batch.Key)
	liftColumn(&given.Value, &batch.Value)
	columns := lift[Column](given.Attributes)
	if len(batch.Attributes) != len(columns) {
		batch.Attributes = make([]driver.Column, len(columns))
	}
	for i := range columns {
		liftColumn(&columns[i], &batch.Attributes[i])
	}
	return &batch
}

func liftColumn(from *Column, to *driver.Column) {
	*to = driver.Column{}
	if from.Has == 0 {
		return
	}
	to.Ends, to.Data = lift[uint32](from.Ends), lift[byte](from.Data)
	if from.HasNulls != 0 {
		to.Nulls = lift[uint32](from.Nulls)
	}
}

// LiftGroups reads an argument. The states are valid until the call ends.
func LiftGroups(ptr, size uint32) []driver.GroupState {
	var states []driver.GroupState
	for _, group := range lift[GroupState](List{ptr, size}) {
		states = append(states, driver.GroupState{Number: group.Number, State: lift[byte](group.State)})
	}
	return states
}

// LowerOutcome makes an answer. What `from` holds must stay as it is until the next call.
func LowerOutcome(from *driver.Outcome, err error) unsafe.Pointer {
	if err != nil {
		forget(0)
		outcome = Outcome{IsError: 1, Outputs: text(err.Error())}
		return unsafe.Pointer(&outcome)
	}
	// As much room as there will be: lists must not move while they grow.
	changes, removed := 0, 0
	for i := range from.Outputs {
		changes += len(from.Outputs[i].Changes)
		removed += len(from.Outputs[i].Removed)
	}
	forget(removed)
	attributes, excerpts = withRoom(attributes, changes), withRoom(excerpts, changes)
	outputs, rejected = withRoom(outputs, len(from.Outputs)), withRoom(rejected, len(from.Rejected))
	for i := range from.Outputs {
		outputs = append(outputs, Output{})
		lowerOutput(&from.Outputs[i], &outputs[i])
	}
	for i := range from.Rejected {
		rejection := &from.Rejected[i]
		lowered := Rejection{Row: rejection.Row, Reason: text(rejection.Reason)}
		if rejection.Retryable {
			lowered.Retryable = 1
		}
		rejected = append(rejected, lowered)
	}
	outcome = Outcome{Outputs: list(outputs), Rejected: list(rejected)}
	return unsafe.Pointer(&outcome)
}

func withRoom[T any](of []T, room int) []T {
	if cap(of) < room {
		return make([]T, 0, room)
	}
	return of[:0]
}

func lowerOutput(from *driver.Output, to *Output) {
	to.Port, to.Rows = uint32(from.Port), uint32(from.Rows)
	switch from.Rows {
	case driver.Picked:
		to.Picked = list(from.Picked)
	case driver.Fresh:
		to.Picked.Ptr = uint32(from.Len)
	}
	if times := from.Timestamps; times != nil {
		to.HasTimestamps, to.Timestamps, to.Inherited = 1, list(times.Timestamps), list(times.Inherited)
	}
	firstAttribute, firstExcerpt := len(attributes), len(excerpts)
	for i := range from.Changes {
		change := &from.Changes[i]
		if change.IsExcerpt {
			excerpts = append(excerpts, Excerpt{
				To:     lowerTarget(change.To),
				From:   Given{uint32(change.From.Kind), change.From.Index},
				Starts: list(change.Starts), Ends: list(change.Ends),
				Nulls: list(change.Nulls), Inherited: list(change.Inherited),
			})
			continue
		}
		lowered := Change{list(change.Ends), list(change.Data), list(change.Nulls), list(change.Inherited)}
		switch change.To.Kind {
		case driver.Key:
			to.Key = OptionalChange{1, lowered}
		case driver.Value:
			to.Value = OptionalChange{1, lowered}
		default:
			attributes = append(attributes, AttributeChange{text(change.To.Name), lowered})
		}
	}
	to.Attributes, to.Excerpts = list(attributes[firstAttribute:]), list(excerpts[firstExcerpt:])
	to.Removed = texts(from.Removed)
}

func lowerTarget(from driver.Target) Target {
	target := Target{Kind: uint32(from.Kind)}
	if from.Kind == driver.Attribute {
		target.Name = text(from.Name)
	}
	return target
}

// LowerPlan makes an answer.
func LowerPlan(from *driver.Plan, err error) unsafe.Pointer {
	if err != nil {
		forget(0)
		result = Result{1, text(err.Error())}
		// It has the place of a longer one, of which nothing more is read.
		*(*Result)(unsafe.Pointer(&plan)) = result
		return unsafe.Pointer(&plan)
	}
	forget(len(from.Attributes) + len(from.Ports) + len(from.Inputs))
	plan = Plan{
		Timestamps: from.Timestamps, Key: from.Key, Value: from.Value,
		Attributes: texts(from.Attributes), Ports: texts(from.Ports), Inputs: texts(from.Inputs),
		Keeps: uint32(from.Keeps), By: lowerTarget(from.By),
	}
	return unsafe.Pointer(&plan)
}

// LowerDescription makes an answer.
func LowerDescription(from driver.Description) unsafe.Pointer {
	forget(0)
	description = Description{text(from.Name), text(from.Version), text(from.Summary), text(from.Schema)}
	return unsafe.Pointer(&description)
}

// LowerGroups makes an answer.
func LowerGroups(from []driver.GroupState, err error) unsafe.Pointer {
	if err != nil {
		return LowerError(err)
	}
	keptGroups = from
	groups = withRoom(groups, len(from))
	for _, group := range from {
		groups = append(groups, GroupState{group.Number, list(group.State)})
	}
	result = Result{List: list(groups)}
	return unsafe.Pointer(&result)
}

// LowerError makes an answer of nothing but, perhaps, an error.
func LowerError(err error) unsafe.Pointer {
	forget(0)
	result = Result{}
	if err != nil {
		result = Result{1, text(err.Error())}
	}
	return unsafe.Pointer(&result)
}
