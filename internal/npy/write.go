package npy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/tensor"
)

// An Element is a type that Write can store.
type Element interface {
	float32 | float64 | int32 | int64 | uint8
}

// Write writes data, row-major, as a format 1.0 array, little-endian: the bytes
// that numpy.save writes. len(data) must be the number of elements of shape.
func Write[T Element](w io.Writer, shape []int, data []T) error {
	n, err := tensor.Numel(shape)
	if err != nil {
		return err
	}
	if n != len(data) {
		return fmt.Errorf("%d values for shape %v, which holds %d: %w", len(data), shape, n, tensor.ErrShape)
	}
	head, err := encodeHeader(descrOf(data), shape)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	const piece = 1 << 14
	var buf bytes.Buffer
	for lo := 0; lo < len(data); lo += piece {
		buf.Reset()
		if err := binary.Write(&buf, binary.LittleEndian, data[lo:min(lo+piece, len(data))]); err != nil {
			return err
		}
		if _, err := w.Write(buf.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes data to the file at path, replacing it as a whole.
func WriteFile[T Element](path string, shape []int, data []T) error {
	return atomicfile.Write(path, true, func(w io.Writer) error { return Write(w, shape, data) })
}

func descrOf[T Element](data []T) string {
	switch any(data).(type) {
	case []float32:
		return "<f4"
	case []float64:
		return "<f8"
	case []int32:
		return "<i4"
	case []int64:
		return "<i8"
	}
	return "|u1"
}

// encodeHeader returns everything before the data, padded with blanks so that
// the data start at a multiple of 64.
func encodeHeader(descr string, shape []int) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr)
	for i, d := range shape {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, d)
	}
	if len(shape) == 1 {
		b.WriteByte(',')
	}
	b.WriteString("), }")
	const fixed = 10
	pad := 63 - (fixed+b.Len())%64
	b.WriteString(strings.Repeat(" ", pad) + "\n")
	if len(shape) > maxRank || b.Len() > 0xffff {
		return nil, fmt.Errorf("%d axes: want at most %d: %w", len(shape), maxRank, tensor.ErrShape)
	}
	head := append([]byte(magic), 1, 0)
	head = binary.LittleEndian.AppendUint16(head, uint16(b.Len()))
	return append(head, b.String()...), nil
}
