// Package pipehosttest runs a stage natively, in a test: records in, records out, no WebAssembly. The
// stage sees the same columns as in the sandbox, and what it emits goes the same way.
//
//	func TestKeepsErrors(t *testing.T) {
//		result := pipehosttest.Run(t, open, Config{Level: "ERROR"},
//			pipehosttest.Value("disk full").Attribute("level", "ERROR"),
//			pipehosttest.Value("all is well").Attribute("level", "INFO"),
//		)
//		result.Want("out", pipehosttest.Value("disk full").Attribute("level", "ERROR"))
//	}
package pipehosttest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	pipehost "github.com/pipehost/pipehost/plugin-sdk/go"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/config"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// A Record is one of a test; the zero Record has nothing. Its methods return a copy that has one
// thing more. Texts can hold any bytes.
type Record struct {
	key, value *string
	time       *int64
	attributes map[string]string
}

// Value is a record with this value and nothing else.
func Value(value string) Record { return Record{value: &value} }

// Value sets the value.
func (r Record) Value(value string) Record {
	r.value = &value
	return r
}

// Key sets the key.
func (r Record) Key(key string) Record {
	r.key = &key
	return r
}

// Attribute sets an attribute.
func (r Record) Attribute(name, value string) Record {
	r.attributes = maps.Clone(r.attributes)
	if r.attributes == nil {
		r.attributes = map[string]string{}
	}
	r.attributes[name] = value
	return r
}

// Timestamp sets the timestamp, in nanoseconds since the Unix epoch.
func (r Record) Timestamp(nanoseconds int64) Record {
	r.time = &nanoseconds
	return r
}

// Equal says whether two records are the same.
func (r Record) Equal(other Record) bool { return r.String() == other.String() }

// String is everything that the record has.
func (r Record) String() string {
	var parts []string
	if r.time != nil {
		parts = append(parts, fmt.Sprintf("timestamp=%d", *r.time))
	}
	if r.key != nil {
		parts = append(parts, fmt.Sprintf("key=%q", *r.key))
	}
	if r.value != nil {
		parts = append(parts, fmt.Sprintf("value=%q", *r.value))
	}
	for _, name := range slices.Sorted(maps.Keys(r.attributes)) {
		parts = append(parts, fmt.Sprintf("%q=%q", name, r.attributes[name]))
	}
	return "{" + strings.Join(parts, " ") + "}"
}

// A Rejection is a record that the stage could not process.
type Rejection struct {
	// Which of the records of the call it is.
	Row       int
	Reason    string
	Retryable bool
}

// A Result is what came out of a call.
type Result struct {
	t        testing.TB
	names    []string
	ports    [][]Record
	Rejected []Rejection
}

// Port returns the records that went to a port.
func (r *Result) Port(name string) []Record {
	r.t.Helper()
	at := slices.Index(r.names, name)
	if at < 0 {
		r.t.Fatalf("the stage has no port %q, but %q", name, r.names)
	}
	return r.ports[at]
}

// Want fails the test if other records went to a port than these.
func (r *Result) Want(port string, records ...Record) {
	r.t.Helper()
	got := r.Port(port)
	if !slices.EqualFunc(got, records, Record.Equal) {
		r.t.Errorf("port %q:\n got%s\nwant%s", port, lines(got), lines(records))
	}
}

func lines[T any](list []T) string {
	var text strings.Builder
	for _, line := range list {
		fmt.Fprintf(&text, "\n\t%v", line)
	}
	if len(list) == 0 {
		return " nothing"
	}
	return text.String()
}

// WantRejected fails the test if other records were rejected than these.
func (r *Result) WantRejected(rejections ...Rejection) {
	r.t.Helper()
	if !slices.Equal(r.Rejected, rejections) {
		r.t.Errorf("rejected:\n got%s\nwant%s", lines(r.Rejected), lines(rejections))
	}
}

// A Stage is one that was opened, to be called as the host calls it.
type Stage struct {
	t      testing.TB
	open   any
	opened driver.Opened
}

// Run opens a stage, gives it the records in one batch, and finishes it. The configuration is what
// its JSON is made from, or the JSON itself as a json.RawMessage; nil is an empty one.
func Run[C any, S pipehost.Stage](t testing.TB, open func(C, *pipehost.Setup) (S, error), config any, records ...Record) *Result {
	t.Helper()
	stage := Open(t, open, config)
	result := stage.Process(records...)
	for i, records := range stage.Finish().ports {
		result.ports[i] = append(result.ports[i], records...)
	}
	return result
}

// Open opens a stage.
func Open[C any, S pipehost.Stage](t testing.TB, open func(C, *pipehost.Setup) (S, error), config any) *Stage {
	t.Helper()
	stage, err := TryOpen(t, open, config)
	if err != nil {
		t.Fatalf("the stage does not open: %v", err)
	}
	return stage
}

// TryOpen opens a stage, or returns why it cannot be opened.
func TryOpen[C any, S pipehost.Stage](t testing.TB, open func(C, *pipehost.Setup) (S, error), settings any) (*Stage, error) {
	t.Helper()
	stage := &Stage{t: t, open: func(text []byte, setup *pipehost.Setup) (pipehost.Stage, error) {
		var c C
		if err := config.Decode(text, &c); err != nil {
			return nil, err
		}
		return open(c, setup)
	}}
	return stage, stage.tryOpen(settings)
}

func (s *Stage) tryOpen(settings any) (err error) {
	s.t.Helper()
	text := []byte("{}")
	if settings != nil {
		if text, err = json.Marshal(settings); err != nil {
			s.t.Fatalf("the configuration: %v", err)
		}
	}
	s.opened, err = driver.OpenWith(s.open, text)
	return err
}

// Process processes a batch from the first input, or the only one.
func (s *Stage) Process(records ...Record) *Result {
	s.t.Helper()
	return s.process(0, records)
}

// ProcessFrom processes a batch from the input of this name.
func (s *Stage) ProcessFrom(input string, records ...Record) *Result {
	s.t.Helper()
	at := slices.Index(s.opened.Plan().Inputs, input)
	if at < 0 {
		s.t.Fatalf("the stage has no input %q, but %q", input, s.opened.Plan().Inputs)
	}
	return s.process(uint32(at), records)
}

func (s *Stage) process(input uint32, records []Record) *Result {
	s.t.Helper()
	if len(records) == 0 {
		return s.result(&driver.Outcome{}, nil, nil)
	}
	batch := batchOf(s.opened.Plan(), records)
	batch.Input = input
	result := s.result(s.opened.Process(batch), batch, records)
	spoil(batch)
	return result
}

// Finish ends the records.
func (s *Stage) Finish() *Result {
	s.t.Helper()
	outcome, err := s.opened.Finish()
	if err != nil {
		s.t.Fatalf("the stage does not finish: %v", err)
	}
	return s.result(outcome, nil, nil)
}

// Advance passes a watermark to the stage, in nanoseconds since the Unix epoch.
func (s *Stage) Advance(watermark int64) *Result {
	s.t.Helper()
	outcome, err := s.opened.Advance(watermark)
	if err != nil {
		s.t.Fatalf("the stage does not advance: %v", err)
	}
	return s.result(outcome, nil, nil)
}

// As many key groups as are saved of a stage that keeps by key.
const groups = 8

// Restarted is the same stage after a restart, with its state and this configuration.
func (s *Stage) Restarted(config any) *Stage {
	s.t.Helper()
	restarted, err := s.TryRestart(config)
	if err != nil {
		s.t.Fatalf("the stage does not take its state back: %v", err)
	}
	return restarted
}

// TryRestart is as [Stage.Restarted], or returns why the stage refuses its state.
func (s *Stage) TryRestart(config any) (*Stage, error) {
	s.t.Helper()
	restarted := &Stage{t: s.t, open: s.open}
	if err := restarted.tryOpen(config); err != nil {
		s.t.Fatalf("the stage does not open: %v", err)
	}
	count := uint32(1)
	if s.opened.Plan().Keeps == driver.KeepsByKey {
		count = groups
	}
	var saved [2][]driver.GroupState
	for i := range saved {
		var err error
		if saved[i], err = s.opened.Save(0, count, count); err != nil {
			s.t.Fatalf("the stage does not save its state: %v", err)
		}
	}
	if fmt.Sprint(saved[0]) != fmt.Sprint(saved[1]) {
		s.t.Errorf("Save saves another state when it is called again: it changes the stage, or depends on the order of a map")
	}
	return restarted, restarted.opened.Restore(saved[0], "0.0.0", s.opened.Config())
}

// batchOf makes the columns that the plan reads, and no others.
func batchOf(plan *driver.Plan, records []Record) *driver.Batch {
	batch := &driver.Batch{Len: len(records)}
	if plan.Timestamps && slices.ContainsFunc(records, func(r Record) bool { return r.time != nil }) {
		for _, record := range records {
			time := driver.NoTime
			if record.time != nil {
				time = *record.time
			}
			batch.Timestamps = append(batch.Timestamps, time)
		}
	}
	if plan.Key {
		batch.Key = columnOf(records, func(r Record) (string, bool) { return get(r.key) })
	}
	if plan.Value {
		batch.Value = columnOf(records, func(r Record) (string, bool) { return get(r.value) })
	}
	for _, name := range plan.Attributes {
		batch.Attributes = append(batch.Attributes, columnOf(records, func(r Record) (string, bool) {
			value, ok := r.attributes[name]
			return value, ok
		}))
	}
	return batch
}

func get(text *string) (string, bool) {
	if text == nil {
		return "", false
	}
	return *text, true
}

// columnOf makes a column; as in the host, one that no record holds is not there.
func columnOf(records []Record, get func(Record) (string, bool)) driver.Column {
	column := driver.Column{}
	for row, record := range records {
		text, ok := get(record)
		if !ok {
			column.Nulls = append(column.Nulls, uint32(row))
		}
		column.Data = append(column.Data, text...)
		column.Ends = append(column.Ends, uint32(len(column.Data)))
	}
	if len(column.Nulls) == len(records) {
		return driver.Column{}
	}
	return column
}

// spoil overwrites what a stage must not look at any more, as the next batch does in the sandbox.
func spoil(batch *driver.Batch) {
	for _, column := range append([]driver.Column{batch.Key, batch.Value}, batch.Attributes...) {
		for i := range column.Data {
			column.Data[i] = 0xDB
		}
	}
}

func (s *Stage) result(outcome *driver.Outcome, batch *driver.Batch, parents []Record) *Result {
	s.t.Helper()
	plan := s.opened.Plan()
	result := &Result{t: s.t, names: plan.Ports, ports: make([][]Record, len(plan.Ports))}
	for i := range outcome.Outputs {
		output := &outcome.Outputs[i]
		result.ports[output.Port] = append(result.ports[output.Port], join(output, batch, parents)...)
	}
	for _, rejection := range outcome.Rejected {
		result.Rejected = append(result.Rejected, Rejection{int(rejection.Row), rejection.Reason, rejection.Retryable})
	}
	return result
}

// join does with an output what the host does: it fills in all that was not changed.
func join(output *driver.Output, batch *driver.Batch, parents []Record) []Record {
	var rows []Record
	switch output.Rows {
	case driver.All:
		rows = slices.Clone(parents)
	case driver.Picked:
		for _, row := range output.Picked {
			rows = append(rows, parents[row])
		}
	case driver.Fresh:
		rows = make([]Record, output.Len)
	}
	for i := range rows {
		rows[i].attributes = maps.Clone(rows[i].attributes)
		if rows[i].attributes == nil {
			rows[i].attributes = map[string]string{}
		}
		for _, name := range output.Removed {
			delete(rows[i].attributes, name)
		}
	}
	for _, change := range output.Changes {
		data, start := change.Data, uint32(0)
		if change.IsExcerpt {
			data = given(batch, change.From).Data
		}
		for row := range rows {
			if change.IsExcerpt {
				start = change.Starts[row]
			}
			text, end := "", change.Ends[row]
			text, start = string(data[start:end]), end
			if _, inherited := slices.BinarySearch(change.Inherited, uint32(row)); inherited {
				continue
			}
			_, null := slices.BinarySearch(change.Nulls, uint32(row))
			set(&rows[row], change.To, text, null)
		}
	}
	if times := output.Timestamps; times != nil {
		for row := range rows {
			if _, inherited := slices.BinarySearch(times.Inherited, uint32(row)); inherited {
				continue
			}
			rows[row].time = nil
			if time := times.Timestamps[row]; time != driver.NoTime {
				rows[row].time = &time
			}
		}
	}
	return rows
}

func given(batch *driver.Batch, from driver.Given) driver.Column {
	switch from.Kind {
	case driver.Key:
		return batch.Key
	case driver.Value:
		return batch.Value
	}
	return batch.Attributes[from.Index]
}

func set(record *Record, to driver.Target, text string, null bool) {
	var field **string
	switch to.Kind {
	case driver.Key:
		field = &record.key
	case driver.Value:
		field = &record.value
	default:
		if null {
			delete(record.attributes, to.Name)
		} else {
			record.attributes[to.Name] = text
		}
		return
	}
	*field = &text
	if null {
		*field = nil
	}
}
