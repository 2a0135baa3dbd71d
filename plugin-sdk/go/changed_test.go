package pipehost

import (
	"reflect"
	"testing"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

func input(columns ...driver.Column) *Record {
	record := &Record{columns: make([]column, firstAttribute)}
	for i := range columns {
		record.columns[keyColumn+i].load(&columns[i])
	}
	return record
}

func TestPartsOfWhatWasGivenArePlacesUntilSomethingElseIsSet(t *testing.T) {
	data := []byte("onetwothree")
	record := input(driver.Column{}, driver.Column{Ends: []uint32{5, 10}, Data: data[:10]})
	one, two := data[:3], data[3:6]

	var column changed
	column.set(1, one, record)
	column.set(2, nil, record)
	column.set(3, two, record)
	change := column.finish(4, false, driver.Target{Kind: driver.Value})
	want := driver.Change{To: driver.Target{Kind: driver.Value}, IsExcerpt: true, From: driver.Given{Kind: driver.Value},
		Starts: []uint32{0, 0, 0, 3}, Ends: []uint32{0, 3, 0, 6}, Inherited: []uint32{0}}
	if !reflect.DeepEqual(change, want) {
		t.Errorf("%+v", change)
	}

	column.reset()
	column.set(1, two, record)
	column.set(2, []byte("new"), record)
	column.set(3, one, record)
	column.setFunc(4, record, func(to []byte) []byte { return append(to, '!') })
	change = column.finish(5, false, driver.Target{})
	if string(change.Data) != "twonewone!" || !reflect.DeepEqual(change.Ends, []uint32{0, 3, 6, 9, 10}) {
		t.Errorf("%+v", change)
	}

	column.reset()
	column.set(0, data[5:], record) // The end of what was given, and a byte more.
	if change = column.finish(1, false, driver.Target{}); change.IsExcerpt {
		t.Error("its last byte was not given")
	}

	column.reset()
	column.set(0, two, record)
	column.setFunc(1, record, func(to []byte) []byte { return append(to, "x"...) })
	if change = column.finish(2, false, driver.Target{}); string(change.Data) != "twox" {
		t.Errorf("%+v", change)
	}
}

func TestARowThatIsSetAgainAndOneThatIsTakenBackLeaveNothing(t *testing.T) {
	data := []byte("abc")
	record := input(driver.Column{}, driver.Column{Ends: []uint32{3}, Data: data})
	var column changed
	column.set(0, data[1:], record)
	column.set(0, data[2:], record)
	column.setNull(1)
	column.set(2, data, record)
	column.truncate(2)
	change := column.finish(2, false, driver.Target{})
	if !change.IsExcerpt || !reflect.DeepEqual(change.Starts, []uint32{2, 0}) ||
		!reflect.DeepEqual(change.Ends, []uint32{3, 0}) || !reflect.DeepEqual(change.Nulls, []uint32{1}) {
		t.Errorf("%+v", change)
	}
}

func TestAFunctionMayReturnASliceOfItsOwn(t *testing.T) {
	var column changed
	long := make([]byte, 1000)
	for row := range 100 {
		switch row % 3 {
		case 0:
			column.setFunc(row, nil, func([]byte) []byte { return []byte("own") })
		case 1:
			column.setFunc(row, nil, func(to []byte) []byte { return append(to, long...) })
		case 2:
			column.setFunc(row, nil, func([]byte) []byte { return nil })
		}
	}
	if change := column.finish(100, false, driver.Target{}); len(change.Data) != 34*3+33*1000 ||
		string(change.Data[1003:1006]) != "own" {
		t.Errorf("%d", len(change.Data))
	}
}

func TestRowsThatWereNotSetAreNullIfThereIsNothingToInherit(t *testing.T) {
	var column changed
	column.set(1, []byte("b"), nil)
	column.setNull(2)
	column.set(4, []byte("e"), nil)
	change := column.finish(6, true, driver.Target{})
	if !reflect.DeepEqual(change.Nulls, []uint32{0, 2, 3, 5}) || len(change.Inherited) > 0 {
		t.Errorf("%+v", change)
	}
}
