// Package abi is the canonical ABI of the component model for `wit/stage.wit`: how lists, texts and
// records lie in the memory that host and stage share.
package abi

// The types below lie in memory as those of the contract of the same names: addresses are 4 bytes
// there. What is read must not look at padding, which can be anything.

// List is a list or a text.
type List struct{ Ptr, Len uint32 }

// Column is an option<column>.
type Column struct {
	Has      uint8
	_        [3]byte
	Ends     List
	Data     List
	HasNulls uint8
	_        [3]byte
	Nulls    List
}

// Batch is a batch.
type Batch struct {
	Len           uint32
	HasTimestamps uint8
	_             [3]byte
	Timestamps    List
	Key, Value    Column
	Attributes    List
	Input         uint32
}

// Target is a target.
type Target struct {
	Kind uint32
	Name List
}

// Given is a given.
type Given struct{ Kind, Index uint32 }

// Change is a change.
type Change struct{ Ends, Data, Nulls, Inherited List }

// OptionalChange is an option<change>.
type OptionalChange struct {
	Has uint32
	Change
}

// AttributeChange is an attribute-change.
type AttributeChange struct {
	Name List
	Change
}

// Excerpt is an excerpt.
type Excerpt struct {
	To                             Target
	From                           Given
	Starts, Ends, Nulls, Inherited List
}

// Output is an output.
type Output struct {
	Port          uint32
	Rows          uint32
	Picked        List // or, in Ptr, the number of fresh rows
	HasTimestamps uint32
	Timestamps    List
	Inherited     List
	Key, Value    OptionalChange
	Attributes    List
	Removed       List
	Excerpts      List
}

// Rejection is a rejection.
type Rejection struct {
	Row       uint32
	Reason    List
	Retryable uint32
}

// Outcome is a result<outcome, string>; of an error, Outputs is the text.
type Outcome struct {
	IsError           uint32
	Outputs, Rejected List
}

// Result is a result of a list or of nothing, or a text.
type Result struct {
	IsError uint32
	List    List
}

// Plan is a result<plan, string>; of an error, the text is where Timestamps begins.
type Plan struct {
	IsError                uint32
	Timestamps, Key, Value bool
	_                      bool
	Attributes             List
	Ports, Inputs          List
	Keeps                  uint32
	By                     Target
}

// Description is a description.
type Description struct{ Name, Version, Summary, Schema List }

// GroupState is a group-state.
type GroupState struct {
	Number uint32
	State  List
}
