package miniature

import (
	"encoding/binary"

	"github.com/adafire/adafire/events"
)

// mat returns a MAT 5 file of ASL-DVS's form: the arrays ts, x, y and pol, one
// column each, not compressed. Raw coordinates count from the lower right.
//
// Source: event_formats, section 7.1.
func mat(list []events.Event) []byte {
	out := make([]byte, 128)
	copy(out, "MATLAB 5.0 MAT-file, written by AdaFire")
	for i := len("MATLAB 5.0 MAT-file, written by AdaFire"); i < 116; i++ {
		out[i] = ' '
	}
	binary.LittleEndian.PutUint16(out[124:], 0x0100)
	copy(out[126:], "IM")
	for _, field := range []struct {
		name  string
		class uint32 // of the array
		kind  uint32 // of the stored values
		size  int
		value func(e events.Event) uint64
	}{
		{"ts", 13, 6, 4, func(e events.Event) uint64 { return uint64(e.T) }},
		{"x", 11, 4, 2, func(e events.Event) uint64 { return 239 - uint64(e.X) }},
		{"y", 11, 4, 2, func(e events.Event) uint64 { return 179 - uint64(e.Y) }},
		{"pol", 9, 2, 1, func(e events.Event) uint64 { return uint64(e.P) }},
	} {
		var data []byte
		for _, e := range list {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], field.value(e))
			data = append(data, b[:field.size]...)
		}
		var matrix []byte
		matrix = element(matrix, 6, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, field.class), 0))
		matrix = element(matrix, 5, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(len(list))), 1))
		matrix = element(matrix, 1, []byte(field.name))
		matrix = element(matrix, field.kind, data)
		out = element(out, 14, matrix)
	}
	return out
}

// element appends an element: its type, its length, its data padded to 8 bytes.
func element(out []byte, kind uint32, data []byte) []byte {
	out = binary.LittleEndian.AppendUint32(out, kind)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(data)))
	out = append(out, data...)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	return out
}
