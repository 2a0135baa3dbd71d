package abi

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"unsafe"
	"weak"
)

// What the host writes for a call lies in an arena, which the next call uses again. While the host
// writes, nothing that this module imports may be called, and the collector calls imports: it asks
// for the time. So it is off, but for the calls, between Enter and Leave; an arena that must grow
// then is just a new slice, which starts no collection. The allocator itself calls no imports.
var (
	arena    []byte
	used     uintptr
	answered bool
	spare    [][]byte // arenas that became too small for the call under way

	// Where the adapter for WASI takes its memory, before Go's runtime has started: 128 KiB.
	first [192 << 10]byte
	ready bool
)

func init() {
	debug.SetGCPercent(-1)
	arena, used, ready = make([]byte, 256<<10), 0, true
}

//go:wasmexport cabi_realloc
func realloc(old, oldSize, align, size uint32) uint32 {
	if answered {
		answered, spare, used = false, nil, 0
	}
	if size == 0 {
		return align
	}
	at := take(uintptr(size), uintptr(align))
	if old != 0 {
		copy(bytesAt(at, size), bytesAt(old, min(oldSize, size)))
	}
	return at
}

func take(size, align uintptr) uint32 {
	room := arena
	if !ready {
		room = first[:]
	}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(room)))
	at := (base + used + align - 1) &^ (align - 1)
	if at+size > base+uintptr(len(room)) {
		if !ready {
			panic("pipehost: the adapter for WASI needs more memory")
		}
		spare = append(spare, arena) // Still in use until the call ends.
		arena, used = make([]byte, max(2*uintptr(len(arena)), 2*size)), 0
		return take(size, align)
	}
	used = at + size - base
	return uint32(at)
}

// pointer makes a pointer of an address.
func pointer(address uint32) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(nil), address)
}

func bytesAt(address, size uint32) []byte {
	return unsafe.Slice((*byte)(pointer(address)), size)
}

var (
	percent = 100
	// Nothing else points to what this does: it is gone after a collection.
	witness = newWitness()
	heap    = []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
	}
)

func newWitness() weak.Pointer[[64]byte] { return weak.Make(new([64]byte)) }

// Enter begins a call: the collector may run.
func Enter() {
	debug.SetGCPercent(percent)
}

// Leave ends a call, and waits for a collection that has begun.
func Leave() {
	debug.SetGCPercent(-1)
	answered = true
	if witness.Value() == nil {
		witness = newWitness()
		collected()
	}
}

// What a page is to Go's allocator, and how many spans of them its sweeper sweeps in a turn.
const page, turn = 8 << 10, 10

// collected follows a collection.
func collected() {
	metrics.Read(heap)
	alive, used := heap[0].Value.Uint64(), heap[1].Value.Uint64()+heap[2].Value.Uint64()
	// The more is alive, the less garbage there may be: an instance has 256 MiB, if the pipeline
	// does not say otherwise.
	switch {
	case alive < 48<<20:
		percent = 100
	case alive < 96<<20:
		percent = 50
	default:
		percent = 20
	}
	// Lets the sweeper finish. While it has not, each Enter would move the next collection further
	// away, and the heap would grow and grow.
	for range used/page/turn + 16 {
		runtime.Gosched()
	}
}

// Collect collects the garbage, if much is alive: in a call that may take long, so that fewer of
// those have to that may not.
func Collect() {
	metrics.Read(heap)
	if heap[0].Value.Uint64() > 16<<20 {
		runtime.GC()
	}
}
