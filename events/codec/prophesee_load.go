package codec

import (
	"encoding/binary"
	"unsafe"

	"github.com/adafire/adafire/events"
)

// The decoding loops below a .dat or .raw file go through pointers with offsets
// that are checked once a word, against both ends, instead of once an access:
// with slices the compiler keeps so many lengths alive that the loop counters
// spill to the stack, which makes the loops two to three times as slow. The
// functions here are all that touches memory in this way. Loads go through
// encoding/binary, so the order of bytes and the alignment do not matter.

// load16 returns the 16-bit word at p+i.
func load16(p unsafe.Pointer, i uintptr) uint32 {
	return uint32(binary.LittleEndian.Uint16((*[2]byte)(unsafe.Add(p, i))[:]))
}

// load32 returns the 32-bit word at p+i.
func load32(p unsafe.Pointer, i uintptr) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Add(p, i))[:])
}

// load64 returns the 64-bit word at p+i.
func load64(p unsafe.Pointer, i uintptr) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(p, i))[:])
}

// eventBytes is the size of an event in memory.
const eventBytes = unsafe.Sizeof(events.Event{})

// store writes an event at p+i.
func store(p unsafe.Pointer, i uintptr, t int64, x, y uint32, polarity uint32) {
	e := (*events.Event)(unsafe.Add(p, i))
	e.T = t
	e.X = uint16(x)
	e.Y = uint16(y)
	e.P = uint8(polarity)
}
