package pipehost

import (
	"unsafe"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// NoTime as a timestamp takes the time of a record away.
const NoTime = driver.NoTime

// A Record is what Process is given. It is a view of a batch, and valid until Process returns.
type Record struct {
	row     int
	columns []column
	times   []int64
	input   uint32
}

// column is a borrowed column, with its nulls as bits. One without rows is one that the batch does
// not have.
type column struct {
	ends []uint32
	data []byte
	null []uint64 // empty: no row is null
	bits []uint64 // the room for null
}

// Bytes are those of a field: nil if the record has none there, and not nil if they are empty. They
// may be overwritten as soon as Process returns: what is kept longer must be copied. They must not
// be changed.
func (r *Record) Bytes(field Field) []byte {
	c := &r.columns[field.index]
	row := r.row
	if uint(row) >= uint(len(c.ends)) {
		return none(field)
	}
	end, start := c.ends[row], uint32(0)
	if row > 0 {
		start = c.ends[row-1]
	}
	if len(c.null) > 0 && c.isNull(row) {
		return nil
	}
	return c.data[start:end:end]
}

// Text is a copy of the bytes of a field; empty if the record has none there. A comparison such as
// string(record.Bytes(field)) == text needs no copy, and neither does a look-up in a map.
func (r *Record) Text(field Field) string {
	return string(r.Bytes(field))
}

// Has says whether the record has this field.
func (r *Record) Has(field Field) bool {
	return r.Bytes(field) != nil
}

// Timestamp is when the event happened, in nanoseconds since the Unix epoch; false if the record
// does not say. time.Unix(0, nanoseconds) makes a time of it.
func (r *Record) Timestamp(field TimeField) (nanoseconds int64, ok bool) {
	if !field.declared {
		none(Field{})
	}
	if r.row >= len(r.times) || r.times[r.row] == NoTime {
		return 0, false
	}
	return r.times[r.row], true
}

// IsFrom says whether the record came in by this input.
func (r *Record) IsFrom(input Input) bool {
	return r.input == input.index
}

//go:noinline
func none(field Field) []byte {
	if field.index == 0 {
		panic("pipehost: a field is read that was not declared when the stage was opened")
	}
	return nil
}

//go:noinline
func (c *column) isNull(row int) bool {
	return c.null[row/64]>>(row%64)&1 == 1
}

func (c *column) load(given *driver.Column) {
	c.ends, c.data, c.null = given.Ends, given.Data, nil
	if c.data == nil {
		c.data = []byte{} // So that no row of it is nil.
	}
	if len(given.Nulls) == 0 {
		return
	}
	words := (len(c.ends) + 63) / 64
	if cap(c.bits) < words {
		c.bits = make([]uint64, words)
	}
	c.null = c.bits[:words]
	clear(c.null)
	for _, row := range given.Nulls {
		c.null[row/64] |= 1 << (row % 64)
	}
}

func (r *Record) load(batch *driver.Batch) {
	r.row, r.times, r.input = 0, batch.Timestamps, batch.Input
	r.columns[keyColumn].load(&batch.Key)
	r.columns[valueColumn].load(&batch.Value)
	for i := range batch.Attributes {
		r.columns[firstAttribute+i].load(&batch.Attributes[i])
	}
}

// placeIn says where in this column bytes are. For empty bytes, any place will do.
func (c *column) placeIn(bytes []byte) (start, end uint32, ok bool) {
	if len(bytes) == 0 {
		return 0, 0, true
	}
	// Compares addresses as numbers: bytes elsewhere are out of range.
	from := uintptr(unsafe.Pointer(unsafe.SliceData(bytes))) - uintptr(unsafe.Pointer(unsafe.SliceData(c.data)))
	to := from + uintptr(len(bytes))
	return uint32(from), uint32(to), from < uintptr(len(c.data)) && to <= uintptr(len(c.data))
}

// placeOf says in which column bytes are; 0 if in none.
func (r *Record) placeOf(bytes []byte) (column int, start, end uint32) {
	for i := keyColumn; i < len(r.columns); i++ {
		if start, end, ok := r.columns[i].placeIn(bytes); ok {
			return i, start, end
		}
	}
	return 0, 0, 0
}
