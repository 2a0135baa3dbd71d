package pipehost

import (
	"slices"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// A Field is a column of byte strings that a stage reads: the key, the value or an attribute. Only
// [Setup] makes one.
type Field struct{ index int }

// Where the columns of a batch are; 0 is the field that nobody declared.
const (
	keyColumn      = 1
	valueColumn    = 2
	firstAttribute = 3
)

// A TimeField is the timestamp of a record. Only [Setup] makes one.
type TimeField struct{ declared bool }

// A Port is an output of a stage. Only [Setup] makes one; the zero Port is the default one.
type Port struct{ index int }

// An Input is one that a stage tells from the others. Only [Setup] makes one.
type Input struct{ index uint32 }

// Setup is handed to the function that opens a stage, which declares with it what it reads and
// which ports it has. A column that is not declared cannot be read, and never enters the sandbox.
type Setup struct{ plan driver.Plan }

func newSetup() *Setup {
	return &Setup{driver.Plan{Ports: []string{"out"}}}
}

// Key reads the key.
func (s *Setup) Key() Field {
	s.plan.Key = true
	return Field{keyColumn}
}

// Value reads the value.
func (s *Setup) Value() Field {
	s.plan.Value = true
	return Field{valueColumn}
}

// Attribute reads the attribute of this name, which a record may have or not.
func (s *Setup) Attribute(name string) Field {
	return Field{firstAttribute + position(&s.plan.Attributes, name)}
}

// AttributeOrKey reads the attribute of this name; without a name, the key.
func (s *Setup) AttributeOrKey(name string) Field {
	if name == "" {
		return s.Key()
	}
	return s.Attribute(name)
}

// Timestamp reads the timestamps of the records.
func (s *Setup) Timestamp() TimeField {
	s.plan.Timestamps = true
	return TimeField{true}
}

// Input declares one more input that the stage tells apart: the pipeline must then give the stage
// as many inputs as are declared, in this order.
func (s *Setup) Input(name string) Input {
	return Input{uint32(position(&s.plan.Inputs, name))}
}

// Port adds a port beside the default one.
func (s *Setup) Port(name string) Port {
	return Port{position(&s.plan.Ports, name)}
}

// RenameDefaultPort gives the default port, "out", another name: for stages in which it means
// something special.
func (s *Setup) RenameDefaultPort(name string) {
	s.plan.Ports[0] = name
}

// KeepsNothing declares that the stage keeps nothing from one record to the next: what it does with
// a record depends on this record alone. The host then runs it on as many cores as it has.
func (s *Setup) KeepsNothing() {
	s.plan.Keeps = driver.KeepsNothing
}

// KeepsByKey declares that what the stage keeps belongs to one value of this column: what it does
// with a record depends on no record with another value. The host can then divide the records among
// several instances. A limit that counts keys is then one of each instance.
func (s *Setup) KeepsByKey(field Field) {
	s.plan.Keeps = driver.KeepsByKey
	switch field.index {
	case 0:
		panic("pipehost: the field of KeepsByKey was not declared")
	case keyColumn:
		s.plan.By = driver.Target{Kind: driver.Key}
	case valueColumn:
		s.plan.By = driver.Target{Kind: driver.Value}
	default:
		name := s.plan.Attributes[field.index-firstAttribute]
		s.plan.By = driver.Target{Kind: driver.Attribute, Name: name}
	}
}

func position(names *[]string, name string) int {
	if at := slices.Index(*names, name); at >= 0 {
		return at
	}
	*names = append(*names, name)
	return len(*names) - 1
}
