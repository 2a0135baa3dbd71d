package metrics

import (
	"runtime"
	"strings"
	"unsafe"
)

//go:wasmimport pipehost:stage/metrics@0.2.0 add
func add(name unsafe.Pointer, nameLen uint32, labels unsafe.Pointer, count uint32, value float64)

//go:wasmimport pipehost:stage/metrics@0.2.0 set
func set(name unsafe.Pointer, nameLen uint32, labels unsafe.Pointer, count uint32, value float64)

//go:wasmimport pipehost:stage/metrics@0.2.0 observe
func observe(name unsafe.Pointer, nameLen uint32, labels unsafe.Pointer, count uint32, value float64)

// A list of the canonical ABI, and a label of two.
type list struct{ ptr, len uint32 }

func text(s string) list {
	return list{uint32(uintptr(unsafe.Pointer(unsafe.StringData(s)))), uint32(len(s))}
}

func tell(to func(unsafe.Pointer, uint32, unsafe.Pointer, uint32, float64), name string, value float64, labels []Label) {
	name = strings.ToValidUTF8(name, "\uFFFD")
	kept := make([]string, 0, 2*len(labels))
	given := make([]list, 0, 2*len(labels))
	for _, label := range labels {
		for _, part := range []string{label.Name, label.Value} {
			part = strings.ToValidUTF8(part, "\uFFFD")
			kept, given = append(kept, part), append(given, text(part))
		}
	}
	at := unsafe.Pointer(unsafe.SliceData(given))
	to(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), at, uint32(len(labels)), value)
	runtime.KeepAlive(kept)
	runtime.KeepAlive(given)
}
