package abi

import (
	"testing"
	"unsafe"
)

// The sizes and offsets that the canonical ABI gives the types of the contract.
func TestLayout(t *testing.T) {
	for _, layout := range []struct {
		what      string
		got, want uintptr
	}{
		{"option<column>", unsafe.Sizeof(Column{}), 32},
		{"option<column>.nulls", unsafe.Offsetof(Column{}.Nulls), 24},
		{"batch", unsafe.Sizeof(Batch{}), 92},
		{"batch.key", unsafe.Offsetof(Batch{}.Key), 16},
		{"batch.value", unsafe.Offsetof(Batch{}.Value), 48},
		{"batch.attributes", unsafe.Offsetof(Batch{}.Attributes), 80},
		{"batch.input", unsafe.Offsetof(Batch{}.Input), 88},
		{"target", unsafe.Sizeof(Target{}), 12},
		{"given", unsafe.Sizeof(Given{}), 8},
		{"change", unsafe.Sizeof(Change{}), 32},
		{"option<change>", unsafe.Sizeof(OptionalChange{}), 36},
		{"attribute-change", unsafe.Sizeof(AttributeChange{}), 40},
		{"excerpt", unsafe.Sizeof(Excerpt{}), 52},
		{"output", unsafe.Sizeof(Output{}), 132},
		{"output.timestamps", unsafe.Offsetof(Output{}.HasTimestamps), 16},
		{"output.key", unsafe.Offsetof(Output{}.Key), 36},
		{"output.value", unsafe.Offsetof(Output{}.Value), 72},
		{"output.attributes", unsafe.Offsetof(Output{}.Attributes), 108},
		{"output.removed", unsafe.Offsetof(Output{}.Removed), 116},
		{"output.excerpts", unsafe.Offsetof(Output{}.Excerpts), 124},
		{"rejection", unsafe.Sizeof(Rejection{}), 16},
		{"result<outcome, string>", unsafe.Sizeof(Outcome{}), 20},
		{"result<_, string>", unsafe.Sizeof(Result{}), 12},
		{"result<plan, string>", unsafe.Sizeof(Plan{}), 48},
		{"plan.attributes", unsafe.Offsetof(Plan{}.Attributes), 8},
		{"plan.keeps", unsafe.Offsetof(Plan{}.Keeps), 32},
		{"description", unsafe.Sizeof(Description{}), 32},
		{"group-state", unsafe.Sizeof(GroupState{}), 12},
	} {
		if layout.got != layout.want {
			t.Errorf("%s: %d, and the contract says %d", layout.what, layout.got, layout.want)
		}
	}
}
