package pipehost

import (
	"fmt"
	"reflect"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/config"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// A Stage sees one record at a time.
//
// A stage may have more methods: those of [Finisher]; those of [Saver], if it is exported with
// stateful.Export; those of [Timed] too, if it is exported with timed.Export.
type Stage interface {
	// Process takes one record, and emits with out what becomes of it. An error rejects the record,
	// with the text of the error as the reason, and takes back what was emitted for it; so does a
	// panic. The pipeline decides what becomes of a rejected record (on_error).
	Process(record *Record, out *Out) error
}

// A Finisher emits what it still holds after the last record, as new records.
type Finisher interface {
	Finish(out *Out) error
}

// A Saver is a stage whose state outlives its instance: the host saves it now and then, and restores
// it after a failure and, if the pipeline has a state directory, after a restart. What it does must
// depend on nothing but the records, the watermarks and the state: not on the clock, on random
// numbers or on the order in which Go goes through a map.
type Saver interface {
	// Save saves the state. It must change nothing.
	Save(state *State) error
	// Restore takes over a saved state. It is called after the stage was opened, before the first
	// record.
	Restore(saved *Saved) error
}

// An Accepter is a [Saver] that decides itself whether it goes on with a state that another version
// of it or another configuration has made. An error is shown to the operator, and nothing runs.
// Without this method, a stage refuses a state that was made with another configuration.
type Accepter interface {
	Accepts(saved *Saved) error
}

// A Timed stage receives watermarks: all records before the watermark, in nanoseconds since the Unix
// epoch, have come; one that still comes is late. The pipeline must say where watermarks come from.
// After a failure or a restart, the same watermark may come a second time.
type Timed interface {
	// Advance emits new records.
	Advance(watermark int64, out *Out) error
}

// About is what a stage says of itself, for `pipehost inspect`.
type About struct {
	Name    string
	Version string
	// One line: what the stage does to records.
	Summary string
}

// Export says what the program is; call it from init, once. The function opens the stage with its
// configuration, and declares what it reads; an error is shown to the operator, and nothing runs.
//
// The configuration is a struct, or a map. See the documentation of the package for its tags.
func Export[C any, S Stage](about About, open func(C, *Setup) (S, error)) {
	if driver.Open != nil {
		panic("pipehost: a program exports one stage, and this is a second one")
	}
	if wrong := wrongExport(reflect.TypeFor[S]()); wrong != "" {
		panic("pipehost: " + wrong)
	}
	driver.Describe = func() driver.Description {
		schema := config.Schema(reflect.TypeFor[C]())
		return driver.Description{Name: about.Name, Version: about.Version, Summary: about.Summary, Schema: schema}
	}
	driver.Open = func(config []byte) (driver.Opened, error) {
		return openStage(config, opener(open))
	}
}

// wrongExport compares the methods of a stage with what the module exports.
func wrongExport(stage reflect.Type) string {
	saves, timed := stage.Implements(reflect.TypeFor[Saver]()), stage.Implements(reflect.TypeFor[Timed]())
	switch {
	case stage.Kind() == reflect.Interface: // What it holds is not known yet.
		return ""
	case timed && !driver.HasWatermark:
		return fmt.Sprintf("%v has a method Advance, which is never called: export it with timed.Export", stage)
	case saves && !driver.HasCheckpoint:
		return fmt.Sprintf("%v has a method Save, which is never called: export it with stateful.Export", stage)
	case driver.HasCheckpoint && !saves:
		return fmt.Sprintf("%v has no methods Save and Restore, and the program imports stateful or timed", stage)
	case driver.HasWatermark && !timed:
		return fmt.Sprintf("%v has no method Advance, and the program imports timed", stage)
	}
	return ""
}

func opener[C any, S Stage](open func(C, *Setup) (S, error)) func([]byte, *Setup) (Stage, error) {
	return func(text []byte, setup *Setup) (Stage, error) {
		var settings C
		if err := config.Decode(text, &settings); err != nil {
			return nil, err
		}
		return open(settings, setup)
	}
}

func init() {
	driver.OpenWith = func(open any, config []byte) (driver.Opened, error) {
		return openStage(config, open.(func([]byte, *Setup) (Stage, error)))
	}
}
