package pipehost

import (
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// Out takes what a stage emits. It must not be used after the call that it was given to.
type Out struct {
	row      uint32     // the current one of the batch
	ports    []portRows // rows that descend from rows of the batch; none without a batch
	created  []portRows // rows that descend from none
	input    *Record
	rejected []driver.Rejection
	outcome  driver.Outcome
}

func newOut(ports int, input *Record) *Out {
	out := &Out{input: input, created: make([]portRows, ports)}
	out.ports = make([]portRows, ports)
	for i := range ports {
		out.ports[i].input = input
	}
	return out
}

// begin empties it, for a batch or for a call without one.
func (o *Out) begin(hasBatch bool) {
	for i := range o.created {
		o.ports[:cap(o.ports)][i].reset()
		o.created[i].reset()
	}
	o.ports = o.ports[:0]
	if hasBatch {
		o.ports = o.ports[:cap(o.ports)][:len(o.created)]
	}
	clear(o.rejected)
	o.rejected = o.rejected[:0]
}

// Keep emits the current record on the default port. All that is not changed in the returned row is
// inherited, and costs nothing. Call it again to emit the record once more. A record that is never
// kept, sent or rejected is dropped.
func (o *Out) Keep() Row {
	if len(o.ports) == 0 {
		noRecord()
	}
	rows := &o.ports[0]
	rows.parents = append(rows.parents, o.row)
	return Row{rows, len(rows.parents) - 1}
}

// Send is as [Out.Keep], on another port.
func (o *Out) Send(port Port) Row {
	if len(o.ports) == 0 {
		noRecord()
	}
	rows := &o.ports[port.index]
	rows.parents = append(rows.parents, o.row)
	return Row{rows, len(rows.parents) - 1}
}

// Create emits a new record on the default port. It inherits nothing: what is not set in the
// returned row, it does not have. The new records of a batch come after those that were kept.
func (o *Out) Create() Row {
	return o.CreateOn(Port{})
}

// CreateOn is as [Out.Create], on another port.
func (o *Out) CreateOn(port Port) Row {
	rows := &o.created[port.index]
	rows.parents = append(rows.parents, o.row) // To remove them if the record is rejected.
	return Row{rows, len(rows.parents) - 1}
}

//go:noinline
func noRecord() {
	panic("pipehost: there is no record to keep or send here: create one")
}

func (o *Out) reject(reason string, retryable bool) {
	for i := range o.created {
		o.ports[i].takeBack(o.row)
		o.created[i].takeBack(o.row)
	}
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	o.rejected = append(o.rejected, driver.Rejection{Row: o.row, Reason: reason, Retryable: retryable})
}

func (o *Out) finish(inputRows int) *driver.Outcome {
	clear(o.outcome.Outputs)
	outputs := o.outcome.Outputs[:0]
	for i := range o.ports {
		if len(o.ports[i].parents) > 0 {
			outputs = append(outputs, o.ports[i].output(i, false, inputRows))
		}
	}
	for i := range o.created {
		if len(o.created[i].parents) > 0 {
			outputs = append(outputs, o.created[i].output(i, true, inputRows))
		}
	}
	o.outcome.Outputs, o.outcome.Rejected = outputs, o.rejected
	return &o.outcome
}

// A Row is a record to be emitted: its methods change what should be different, and return the row
// itself. Bytes that are a part of the current record, such as a word of its value, are not copied;
// all others are copied at once, and can be used again.
type Row struct {
	rows  *portRows
	index int
}

// SetValue sets the value; nil is an empty one.
func (r Row) SetValue(value []byte) Row {
	r.rows.value.set(r.index, value, r.rows.input)
	return r
}

// SetValueText sets the value.
func (r Row) SetValueText(value string) Row {
	r.rows.value.set(r.index, bytesOf(value), r.rows.input)
	return r
}

// SetValueFunc sets the value to what write returns, which it best appends to the empty slice that
// it is given: nothing is copied and nothing allocated then.
//
//	row.SetValueFunc(func(to []byte) []byte { return strconv.AppendInt(to, n, 10) })
func (r Row) SetValueFunc(write func(to []byte) []byte) Row {
	r.rows.value.setFunc(r.index, r.rows.input, write)
	return r
}

// RemoveValue takes the value away.
func (r Row) RemoveValue() Row {
	r.rows.value.setNull(r.index)
	return r
}

// SetKey sets the key; nil is an empty one.
func (r Row) SetKey(key []byte) Row {
	r.rows.key.set(r.index, key, r.rows.input)
	return r
}

// SetKeyText sets the key.
func (r Row) SetKeyText(key string) Row {
	r.rows.key.set(r.index, bytesOf(key), r.rows.input)
	return r
}

// SetKeyFunc is to the key what [Row.SetValueFunc] is to the value.
func (r Row) SetKeyFunc(write func(to []byte) []byte) Row {
	r.rows.key.setFunc(r.index, r.rows.input, write)
	return r
}

// RemoveKey takes the key away.
func (r Row) RemoveKey() Row {
	r.rows.key.setNull(r.index)
	return r
}

// SetAttribute adds an attribute or changes it; nil is an empty one.
func (r Row) SetAttribute(name string, value []byte) Row {
	r.rows.attribute(name).set(r.index, value, r.rows.input)
	return r
}

// SetAttributeText adds an attribute or changes it.
func (r Row) SetAttributeText(name, value string) Row {
	r.rows.attribute(name).set(r.index, bytesOf(value), r.rows.input)
	return r
}

// SetAttributeFunc is to an attribute what [Row.SetValueFunc] is to the value.
func (r Row) SetAttributeFunc(name string, write func(to []byte) []byte) Row {
	r.rows.attribute(name).setFunc(r.index, r.rows.input, write)
	return r
}

// RemoveAttribute takes an attribute away.
func (r Row) RemoveAttribute(name string) Row {
	r.rows.attribute(name).setNull(r.index)
	return r
}

// SetTimestamp sets the timestamp, in nanoseconds since the Unix epoch; [NoTime] takes it away.
func (r Row) SetTimestamp(nanoseconds int64) Row {
	r.rows.times.set(r.index, nanoseconds)
	return r
}

func bytesOf(text string) []byte {
	return unsafe.Slice(unsafe.StringData(text), len(text))
}

// portRows are the rows of one port, and the columns that some of them change.
type portRows struct {
	parents    []uint32 // the row of the batch that each descends from
	input      *Record  // what bytes may be a part of; nil for new rows
	key, value changed
	times      times
	attributes []attribute
	next       int // where the attribute is that is likely to be set next
	changes    []driver.Change
	removed    []string
}

type attribute struct {
	name string
	changed
}

func (p *portRows) reset() {
	p.parents = p.parents[:0]
	p.key.reset()
	p.value.reset()
	p.times.reset()
	p.attributes = p.attributes[:0]
	clear(p.changes)
	p.changes = p.changes[:0]
	clear(p.removed)
	p.removed = p.removed[:0]
}

func (p *portRows) attribute(name string) *changed {
	// A stage sets the attributes of each record in the same order.
	if at := p.next; at < len(p.attributes) && p.attributes[at].name == name {
		p.next = at + 1
		return &p.attributes[at].changed
	}
	for i := range p.attributes {
		if p.attributes[i].name == name {
			p.next = i + 1
			return &p.attributes[i].changed
		}
	}
	return p.addAttribute(name)
}

func (p *portRows) addAttribute(name string) *changed {
	switch {
	case name == "":
		panic("pipehost: the name of an attribute is empty")
	case !utf8.ValidString(name):
		panic("pipehost: the name of an attribute is not UTF-8")
	}
	at := len(p.attributes)
	if at < cap(p.attributes) { // With the buffers of an earlier batch.
		p.attributes = p.attributes[:at+1]
	} else {
		p.attributes = append(p.attributes, attribute{})
	}
	added := &p.attributes[at]
	added.name = strings.Clone(name)
	added.reset()
	p.next = at + 1
	return &added.changed
}

// takeBack removes the rows at the end that descend from `row`.
func (p *portRows) takeBack(row uint32) {
	popFromEqual(&p.parents, row)
	rows := len(p.parents)
	p.key.truncate(rows)
	p.value.truncate(rows)
	p.times.truncate(rows)
	for i := range p.attributes {
		p.attributes[i].truncate(rows)
	}
}

func popFromEqual(rows *[]uint32, row uint32) {
	list := *rows
	for len(list) > 0 && list[len(list)-1] == row {
		list = list[:len(list)-1]
	}
	*rows = list
}

func (p *portRows) output(port int, fresh bool, inputRows int) driver.Output {
	rows := len(p.parents)
	output := driver.Output{Port: port, Len: rows, Rows: driver.Picked, Picked: p.parents}
	if fresh {
		output.Rows = driver.Fresh
	} else if rows == inputRows && isIdentity(p.parents) {
		output.Rows = driver.All
	}
	if p.times.isSet {
		output.Timestamps = p.times.finish(rows, fresh)
	}
	if p.key.isChange() {
		p.changes = append(p.changes, p.key.finish(rows, fresh, driver.Target{Kind: driver.Key}))
	}
	if p.value.isChange() {
		p.changes = append(p.changes, p.value.finish(rows, fresh, driver.Target{Kind: driver.Value}))
	}
	for i := range p.attributes {
		attribute := &p.attributes[i]
		if !attribute.isChange() {
			continue
		}
		if len(attribute.nulls) == rows {
			p.removed = append(p.removed, attribute.name)
			continue
		}
		to := driver.Target{Kind: driver.Attribute, Name: attribute.name}
		p.changes = append(p.changes, attribute.finish(rows, fresh, to))
	}
	output.Changes, output.Removed = p.changes, p.removed
	return output
}

func isIdentity(parents []uint32) bool {
	for i, parent := range parents {
		if uint32(i) != parent {
			return false
		}
	}
	return true
}

type times struct {
	nanoseconds []int64
	inherited   []uint32
	isSet       bool
	change      driver.TimestampsChange
}

func (t *times) reset() {
	t.nanoseconds, t.inherited, t.isSet = t.nanoseconds[:0], t.inherited[:0], false
}

func (t *times) set(row int, nanoseconds int64) {
	if len(t.nanoseconds) > row+1 {
		panic("pipehost: a row is changed after one that was sent later on the same port")
	}
	t.truncate(row)
	t.isSet = true
	t.catchUp(row)
	t.nanoseconds = append(t.nanoseconds, nanoseconds)
}

func (t *times) catchUp(rows int) {
	for len(t.nanoseconds) < rows {
		t.inherited = append(t.inherited, uint32(len(t.nanoseconds)))
		t.nanoseconds = append(t.nanoseconds, NoTime)
	}
}

func (t *times) truncate(rows int) {
	if len(t.nanoseconds) > rows {
		t.nanoseconds = t.nanoseconds[:rows]
		popFrom(&t.inherited, rows)
	}
}

func (t *times) finish(rows int, fresh bool) *driver.TimestampsChange {
	t.catchUp(rows)
	t.change = driver.TimestampsChange{Timestamps: t.nanoseconds, Inherited: t.inherited}
	if fresh {
		t.change.Inherited = nil
	}
	return &t.change
}
