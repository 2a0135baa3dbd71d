package pipehost

import (
	"reflect"
	"strings"
	"testing"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

type plain struct{}

func (plain) Process(*Record, *Out) error { return nil }

type saving struct{ plain }

func (saving) Save(*State) error    { return nil }
func (saving) Restore(*Saved) error { return nil }

type timedStage struct{ saving }

func (timedStage) Advance(int64, *Out) error { return nil }

func TestAStageIsExportedAsWhatItIs(t *testing.T) {
	defer func(a, b bool) { driver.HasCheckpoint, driver.HasWatermark = a, b }(driver.HasCheckpoint, driver.HasWatermark)
	for _, test := range []struct {
		stage                 any
		checkpoint, watermark bool
		wrong                 string
	}{
		{plain{}, false, false, ""},
		{saving{}, true, false, ""},
		{timedStage{}, true, true, ""},
		{saving{}, false, false, "export it with stateful.Export"},
		{timedStage{}, true, false, "export it with timed.Export"},
		{plain{}, true, false, "has no methods Save and Restore"},
		{saving{}, true, true, "has no method Advance"},
	} {
		driver.HasCheckpoint, driver.HasWatermark = test.checkpoint, test.watermark
		wrong := wrongExport(reflect.TypeOf(test.stage))
		if (wrong == "") != (test.wrong == "") || !strings.Contains(wrong, test.wrong) {
			t.Errorf("%T: %q, want %q", test.stage, wrong, test.wrong)
		}
	}
}

func TestAGroupIsTheCRC32ModuloTheNumberOfGroups(t *testing.T) {
	if got := groupOf("123456789", 64); got != 0xCBF43926%64 {
		t.Error(got)
	}
	if groupOf("", 64) != 0 || groupOf("any", 1) != 0 {
		t.Error("not 0")
	}
}

func TestGroupsCanBeGivenToOtherInstances(t *testing.T) {
	state := &State{count: 8}
	all := map[string]int{}
	for n := range 100 {
		all[strings.Repeat("k", n)] = n
	}
	if err := state.Put(7); err != nil {
		t.Fatal(err)
	}
	if err := PutByKey(state, all); err != nil {
		t.Fatal(err)
	}
	saved, err := newSaved(state.groups(2, 5), "1", []byte("{}"), []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	var whole int
	if err := saved.Get(&whole); err != nil || whole != 7 {
		t.Error(whole, err)
	}
	some, err := ByKey[int](saved)
	if err != nil {
		t.Fatal(err)
	}
	for key, n := range all {
		group := groupOf(key, 8)
		if got, ok := some[key]; ok != (group >= 2 && group < 5) || ok && got != n {
			t.Errorf("%q in group %d: %d, %v", key, group, got, ok)
		}
	}
	if _, err := ByKey[string](saved); err == nil || !strings.Contains(err.Error(), "it was saved in another shape") {
		t.Error(err)
	}
	for _, bytes := range []string{"", "PG", "PG\x01", "PG\x01\xff\xff\xff\xff", "anything"} {
		if _, err := newSaved([]driver.GroupState{{State: []byte(bytes)}}, "1", []byte("{}"), []byte("{}")); err != errOtherFormat {
			t.Errorf("%q: %v", bytes, err)
		}
	}
}
