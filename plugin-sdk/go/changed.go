package pipehost

import (
	"unsafe"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// changed is a column that grows a row at a time; rows that are not set are inherited.
//
// While everything that is set is a part of one of the columns that the stage was given, it holds
// only places in that column and no bytes.
type changed struct {
	ends             []uint32
	data             []byte
	nulls, inherited []uint32
	from             int      // the column that all is a part of; 0: none
	starts           []uint32 // with from
	isSet            bool
}

func (c *changed) reset() {
	c.ends, c.data, c.starts = c.ends[:0], c.data[:0], c.starts[:0]
	c.nulls, c.inherited = c.nulls[:0], c.inherited[:0]
	c.from, c.isSet = 0, false
}

// set sets a row; `input` is nil if there is nothing that bytes could be a part of.
func (c *changed) set(row int, bytes []byte, input *Record) {
	if len(c.ends) != row || !c.isSet {
		c.catchUp(row)
	}
	if (c.from != 0 || len(c.data) == 0) && c.setPlace(bytes, input) {
		return
	}
	c.data = append(c.data, bytes...)
	c.ends = append(c.ends, uint32(len(c.data)))
}

// setPlace sets the next row, if bytes are a part of the column that all others are a part of.
func (c *changed) setPlace(bytes []byte, input *Record) bool {
	if input == nil {
		return false
	}
	if c.from != 0 {
		start, end, ok := input.columns[c.from].placeIn(bytes)
		if !ok {
			c.writeOut(input) // From here on, bytes are stored.
			return false
		}
		c.starts = append(c.starts, start)
		c.ends = append(c.ends, end)
		return true
	}
	if len(bytes) == 0 {
		return false
	}
	from, start, end := input.placeOf(bytes)
	if from == 0 {
		return false
	}
	c.from = from
	for range c.ends { // They hold nothing.
		c.starts = append(c.starts, 0)
	}
	c.starts = append(c.starts, start)
	c.ends = append(c.ends, end)
	return true
}

// setFunc sets a row to what `write` appends to an empty slice.
func (c *changed) setFunc(row int, input *Record, write func([]byte) []byte) {
	if len(c.ends) != row || !c.isSet {
		c.catchUp(row)
	}
	if c.from != 0 {
		c.writeOut(input)
	}
	old := len(c.data)
	room := c.data[old:]
	bytes := write(room)
	if cap(room) > 0 && unsafe.SliceData(bytes) == unsafe.SliceData(room) {
		c.data = c.data[:old+len(bytes)]
	} else { // There was not enough room, or the function made a slice of its own.
		c.data = append(c.data, bytes...)
	}
	c.ends = append(c.ends, uint32(len(c.data)))
}

func (c *changed) setNull(row int) {
	c.catchUp(row)
	c.nulls = append(c.nulls, uint32(row))
	c.pushNothing()
}

// catchUp makes `row` the next to be set.
func (c *changed) catchUp(row int) {
	c.isSet = true
	if len(c.ends) > row {
		if len(c.ends) > row+1 {
			panic("pipehost: a row is changed after one that was sent later on the same port")
		}
		c.truncate(row) // Set again: the last call wins.
	}
	for len(c.ends) < row {
		c.inherited = append(c.inherited, uint32(len(c.ends)))
		c.pushNothing()
	}
}

func (c *changed) pushNothing() {
	if c.from != 0 {
		c.starts = append(c.starts, 0)
		c.ends = append(c.ends, 0)
	} else {
		c.ends = append(c.ends, uint32(len(c.data)))
	}
}

func (c *changed) writeOut(input *Record) {
	data := input.columns[c.from].data
	for i, start := range c.starts {
		c.data = append(c.data, data[start:c.ends[i]]...)
		c.ends[i] = uint32(len(c.data))
	}
	c.from, c.starts = 0, c.starts[:0]
}

func (c *changed) truncate(rows int) {
	if !c.isSet || len(c.ends) <= rows {
		return
	}
	c.ends = c.ends[:rows]
	switch {
	case c.from != 0:
		c.starts = c.starts[:rows]
	case rows == 0:
		c.data = c.data[:0]
	default:
		c.data = c.data[:c.ends[rows-1]]
	}
	popFrom(&c.nulls, rows)
	popFrom(&c.inherited, rows)
}

// isChange says whether some row of it was set, and not taken back.
func (c *changed) isChange() bool {
	return c.isSet && len(c.inherited) < len(c.ends)
}

// finish completes the column; fresh rows have nothing to inherit.
func (c *changed) finish(rows int, fresh bool, to driver.Target) driver.Change {
	if len(c.ends) < rows {
		c.catchUp(rows)
	}
	if fresh && len(c.inherited) > 0 {
		c.nulls = merge(c.nulls, c.inherited) // Rows that were not set are null.
		c.inherited = c.inherited[:0]
	}
	change := driver.Change{To: to, Ends: c.ends, Nulls: c.nulls, Inherited: c.inherited}
	if c.from == 0 {
		change.Data = c.data
		return change
	}
	change.IsExcerpt, change.Starts = true, c.starts
	switch c.from {
	case keyColumn:
		change.From.Kind = driver.Key
	case valueColumn:
		change.From.Kind = driver.Value
	default:
		change.From = driver.Given{Kind: driver.Attribute, Index: uint32(c.from - firstAttribute)}
	}
	return change
}

// popFrom removes the numbers from `from` on of an ascending list.
func popFrom(rows *[]uint32, from int) {
	list := *rows
	for len(list) > 0 && int(list[len(list)-1]) >= from {
		list = list[:len(list)-1]
	}
	*rows = list
}

// merge merges two ascending lists.
func merge(a, b []uint32) []uint32 {
	merged := make([]uint32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0] < b[0] {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	return append(append(merged, a...), b...)
}
