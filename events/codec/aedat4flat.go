package codec

import (
	"encoding/binary"
	"fmt"
)

// flatTable is a table of a FlatBuffer whose vtable was found to lie inside the
// buffer. The buffer starts with its length; positions count from there.
//
// The runtime of FlatBuffers trusts its input and panics on damage, so this
// reads with checks.
type flatTable struct {
	b      []byte
	at     int // of the table
	vtable int
	size   int // of the vtable
}

// flatError is a position in a FlatBuffer that points outside it.
type flatError struct {
	at  int
	msg string
}

func (e *flatError) Error() string {
	return fmt.Sprintf("%s, at byte %d of the FlatBuffer", e.msg, e.at)
}

func flatBad(at int, format string, args ...any) *flatError {
	return &flatError{at, fmt.Sprintf(format, args...)}
}

const flatPrefix = 12 // length, root offset, identifier

// flatRoot returns the root table of a size-prefixed FlatBuffer.
func flatRoot(b []byte, identifier string) (flatTable, *flatError) {
	if len(b) < flatPrefix {
		return flatTable{}, flatBad(0, "%d bytes: want at least %d", len(b), flatPrefix)
	}
	size := int64(binary.LittleEndian.Uint32(b))
	if size > int64(len(b))-4 {
		return flatTable{}, flatBad(0, "length %d: only %d bytes follow", size, len(b)-4)
	}
	b = b[:4+size]
	if len(b) < flatPrefix || string(b[8:12]) != identifier {
		return flatTable{}, flatBad(8, "identifier %q: want %q", b[min(8, len(b)):min(12, len(b))], identifier)
	}
	return flatTableAt(b, 4, 4+int64(binary.LittleEndian.Uint32(b[4:])))
}

// flatTableAt returns the table at a position that the word at from gave.
func flatTableAt(b []byte, from int, at int64) (flatTable, *flatError) {
	if at > int64(len(b))-4 {
		return flatTable{}, flatBad(from, "a table at %d: the buffer has %d bytes", at, len(b))
	}
	vtable := at - int64(int32(binary.LittleEndian.Uint32(b[at:])))
	if vtable < 4 || vtable > int64(len(b))-4 {
		return flatTable{}, flatBad(int(at), "a vtable at %d: the buffer has %d bytes", vtable, len(b))
	}
	size := int64(binary.LittleEndian.Uint16(b[vtable:]))
	if size < 4 || vtable+size > int64(len(b)) {
		return flatTable{}, flatBad(int(vtable), "a vtable of %d bytes at %d: the buffer has %d bytes", size, vtable, len(b))
	}
	return flatTable{b, int(at), int(vtable), int(size)}, nil
}

// field returns the position of field n of so many bytes, 0 when it is absent.
func (t flatTable) field(n, size int) (int, *flatError) {
	slot := 4 + 2*n
	if slot+2 > t.size {
		return 0, nil
	}
	offset := int(binary.LittleEndian.Uint16(t.b[t.vtable+slot:]))
	if offset == 0 {
		return 0, nil
	}
	if t.at+offset > len(t.b)-size {
		return 0, flatBad(t.vtable+slot, "field %d at %d: the buffer has %d bytes", n, t.at+offset, len(t.b))
	}
	return t.at + offset, nil
}

// int returns an integer field of 4 or 8 bytes, or its default.
func (t flatTable) int(n, size int, value int64) (int64, *flatError) {
	at, err := t.field(n, size)
	if err != nil || at == 0 {
		return value, err
	}
	if size == 4 {
		return int64(int32(binary.LittleEndian.Uint32(t.b[at:]))), nil
	}
	return int64(binary.LittleEndian.Uint64(t.b[at:])), nil
}

// vector returns the bytes of a vector field of elements of so many bytes, and
// where they start. A string is a vector of elements of one byte.
func (t flatTable) vector(n, element int) ([]byte, int, *flatError) {
	at, err := t.field(n, 4)
	if err != nil || at == 0 {
		return nil, 0, err
	}
	start := int64(at) + int64(binary.LittleEndian.Uint32(t.b[at:]))
	if start > int64(len(t.b))-4 {
		return nil, 0, flatBad(at, "a vector at %d: the buffer has %d bytes", start, len(t.b))
	}
	count := int64(binary.LittleEndian.Uint32(t.b[start:]))
	left := int64(len(t.b)) - start - 4
	if count > left/int64(element) {
		return nil, 0, flatBad(int(start), "a vector of %d elements of %d bytes: %d bytes are left", count, element, left)
	}
	start += 4
	return t.b[start : start+count*int64(element)], int(start), nil
}
