// Package pipehost is for stages of pipehost pipelines that are written in Go: a type, its
// configuration, and a method that sees one record at a time.
//
//	package main
//
//	import pipehost "github.com/pipehost/pipehost/plugin-sdk/go"
//
//	type Config struct {
//		Level string `json:"level" doc:"The records of this level go on."`
//	}
//
//	type OnlyLevel struct {
//		level  pipehost.Field
//		wanted string
//	}
//
//	func open(config Config, setup *pipehost.Setup) (*OnlyLevel, error) {
//		setup.KeepsNothing()
//		return &OnlyLevel{level: setup.Attribute("level"), wanted: config.Level}, nil
//	}
//
//	func (s *OnlyLevel) Process(record *pipehost.Record, out *pipehost.Out) error {
//		if string(record.Bytes(s.level)) == s.wanted {
//			out.Keep()
//		}
//		return nil
//	}
//
//	func init() {
//		pipehost.Export(pipehost.About{
//			Name: "only-level", Version: "0.1.0", Summary: "Keeps the records of one level",
//		}, open)
//	}
//
//	func main() {}
//
// Name the folder in a pipeline, and pipehost builds it; or build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags='-s -w' -o stage.wasm .
//
// A stage declares in open what it reads. Columns that it does not change need no code: the host
// adds them to the output. Package pipehosttest runs a stage in a test.
//
// # Configuration
//
// The first parameter of open is what the config table of the pipeline holds: a struct for
// encoding/json. Its JSON Schema is checked before anything runs, and pipehost inspect shows it. A
// member that the struct does not have is a mistake. A field must be given, unless it is a pointer or
// has omitempty, omitzero or a default. Its tags:
//
//	doc:"What it is for."     for those who write pipelines
//	default:"INFO"            what it is if it is not given: text as it is, all else as JSON
//	enum:"ERROR,INFO"         the values that it can have
//	minimum:"1" maximum:"9"   the least and the greatest number
//
// A type with a method JSONSchema() string says itself what it is decoded from. [Period] is a
// duration such as "90s".
//
// # Errors
//
// An error of Process rejects the record, with the text of the error as the reason, and takes back
// what was emitted for it. The pipeline decides what becomes of the record (on_error). [Retryable]
// marks an error after which the same record may succeed later. A panic in Process rejects the record
// too, and its stack goes to the log. Anything else that ends the program, such as a panic elsewhere,
// costs the instance: the host makes a new one, and restores its state.
//
// # State and time
//
// What a stage holds is lost with its instance, unless it has the methods of [Saver] and is exported
// with Export of package stateful. One that has those of [Timed] too sees time pass: it is exported
// with Export of package timed. Nothing else is different.
//
// # Memory
//
// What [Record.Bytes] returns is a part of the batch, and is overwritten after Process: what a stage
// keeps must be a copy, such as [Record.Text]. An instance has 256 MiB, if the pipeline does not say
// otherwise (limits.memory), and Go needs up to twice what is alive. The collector runs within the
// calls, and on their fuel: one that finds a million objects alive needs some 900,000,000 units,
// so a stage that keeps as many needs more fuel (limits.fuel).
//
// # Standard library
//
// What a pipeline grants is used through package os: files in granted folders, and variables. What a
// stage prints goes to the log. Goroutines work, but only while a call runs, and on one core. There is
// no network.
package pipehost
