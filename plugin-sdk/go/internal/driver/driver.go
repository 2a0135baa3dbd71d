// Package driver is what the parts of the SDK tell each other: the contract of `wit/stage.wit` in
// Go types, and the stage that is open.
package driver

import "math"

// NoTime stands for "no time" in a column of timestamps.
const NoTime int64 = math.MinInt64

// Target is a column by its name.
type Target struct {
	Kind TargetKind
	Name string // of an attribute
}

// TargetKind says which column a Target is.
type TargetKind uint8

// The kinds, as the contract numbers them.
const (
	Key TargetKind = iota
	Value
	Attribute
)

// Given is one of the columns of a batch.
type Given struct {
	Kind  TargetKind
	Index uint32 // of an attribute
}

// KeepsKind says what a stage keeps, as the contract numbers it.
type KeepsKind uint8

// The kinds.
const (
	KeepsAnything KeepsKind = iota
	KeepsNothing
	KeepsByKey
)

// Plan is what a stage reads and where it writes.
type Plan struct {
	Timestamps, Key, Value bool
	Attributes             []string
	Ports                  []string
	Inputs                 []string
	Keeps                  KeepsKind
	By                     Target // with KeepsByKey
}

// Column is a column as the host gives it. Without rows, it is one that the batch does not have.
type Column struct {
	Ends  []uint32
	Data  []byte
	Nulls []uint32
}

// Batch is what a stage is given.
type Batch struct {
	Len        int
	Timestamps []int64 // nil: none
	Key, Value Column
	Attributes []Column
	Input      uint32
}

// RowsKind says where the rows of an output come from, as the contract numbers it.
type RowsKind uint8

// The kinds.
const (
	All RowsKind = iota
	Picked
	Fresh
)

// Change is a changed column: an excerpt, if it has Starts.
type Change struct {
	To               Target
	IsExcerpt        bool
	From             Given
	Starts, Ends     []uint32
	Data             []byte
	Nulls, Inherited []uint32
}

// TimestampsChange is a changed column of times.
type TimestampsChange struct {
	Timestamps []int64
	Inherited  []uint32
}

// Output is what goes to one port.
type Output struct {
	Port       int
	Rows       RowsKind
	Picked     []uint32
	Len        int
	Timestamps *TimestampsChange
	Changes    []Change
	Removed    []string
}

// Rejection is a row that could not be processed.
type Rejection struct {
	Row       uint32
	Reason    string
	Retryable bool
}

// Outcome is what became of a batch. It is valid until the next call.
type Outcome struct {
	Outputs  []Output
	Rejected []Rejection
}

// GroupState is the state of a key group.
type GroupState struct {
	Number uint32
	State  []byte
}

// Description is what a stage says of itself.
type Description struct {
	Name, Version, Summary, Schema string
}

// Opened is a stage that was opened: what the exported functions and native tests drive.
type Opened interface {
	Plan() *Plan
	Config() []byte
	Process(*Batch) *Outcome
	Finish() (*Outcome, error)
	Save(first, end, count uint32) ([]GroupState, error)
	Restore(saved []GroupState, version string, config []byte) error
	Advance(watermark int64) (*Outcome, error)
}

var (
	// Describe and Open are those of the stage that was exported.
	Describe func() Description
	Open     func(config []byte) (Opened, error)
	// Current is the stage of this instance; nil before it was opened.
	Current Opened
	// OpenWith opens any stage. What it takes is a
	// func([]byte, *pipehost.Setup) (pipehost.Stage, error).
	OpenWith func(open any, config []byte) (Opened, error)
	// HasCheckpoint and HasWatermark say what the module exports.
	HasCheckpoint, HasWatermark bool
)
