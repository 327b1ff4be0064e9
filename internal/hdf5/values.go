package hdf5

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/adafire/adafire/internal/minifloat"
)

// ReadFloat32 reads all elements, numbers of any width, as float32 in the
// order of the last axis running fastest; float64 is rounded.
func (d *Dataset) ReadFloat32() ([]float32, error) {
	return readAll(d, d.floats32)
}

// ReadFloat64 is ReadFloat32 for float64.
func (d *Dataset) ReadFloat64() ([]float64, error) {
	return readAll(d, d.floats64)
}

// ReadInt64 reads all elements, integers or booleans of any width.
func (d *Dataset) ReadInt64() ([]int64, error) {
	return readAll(d, d.ints64)
}

// readAll decodes all elements, MaxRead bytes of them at most.
func readAll[T any](d *Dataset, decode func([]T, []byte) error) ([]T, error) {
	if err := decode(nil, nil); err != nil { // the type
		return nil, err
	}
	raw, err := d.raw(nil, 0, d.Rows())
	if err != nil {
		return nil, err
	}
	out := make([]T, d.space.count)
	return out, decode(out, raw)
}

// ReadRowsInt64 reads the rows lo to hi, without hi, of the first axis into
// dst, which must have the length of so many rows. The file is read chunk by
// chunk, and the last chunk is kept: rows read in order, in pieces of any size,
// cost one decoding of every chunk.
func (d *Dataset) ReadRowsInt64(lo, hi int, dst []int64) error {
	return readRows(d, lo, hi, dst, d.ints64)
}

// ReadRowsFloat32 is ReadRowsInt64 for numbers as float32.
func (d *Dataset) ReadRowsFloat32(lo, hi int, dst []float32) error {
	return readRows(d, lo, hi, dst, d.floats32)
}

func readRows[T any](d *Dataset, lo, hi int, dst []T, decode func([]T, []byte) error) error {
	if err := decode(nil, nil); err != nil {
		return err
	}
	row := d.rowBytes()
	width := row / d.typ.Size
	if lo < 0 || hi < lo || hi > d.Rows() {
		return fmt.Errorf("%s: rows %d to %d of %s, which has %d", d.f.path, lo, hi, d.path, d.Rows())
	}
	if len(dst) != (hi-lo)*width {
		return fmt.Errorf("%s: room for %d elements, %d rows of %d wanted", d.f.path, len(dst), hi-lo, width)
	}
	const piece = 1 << 18 // bytes decoded at a time
	step := max(1, piece/max(row, 1))
	var raw []byte
	for ; lo < hi; lo += step {
		n := min(step, hi-lo)
		var err error
		if raw, err = d.raw(raw, lo, lo+n); err != nil {
			return err
		}
		if err := decode(dst[:n*width], raw); err != nil {
			return err
		}
		dst = dst[n*width:]
	}
	return nil
}

// ReadRowsRaw reads rows as they are stored, elements of Type().Size bytes of
// the whole compound (of a field, too), into dst, which must have their length.
func (d *Dataset) ReadRowsRaw(lo, hi int, dst []byte) error {
	if d.typ.Class == VarString {
		return d.f.unsupported("%s: raw strings", d.path)
	}
	if want := (hi - lo) * d.rowBytes(); len(dst) != want {
		return fmt.Errorf("%s: room for %d bytes, %d wanted", d.f.path, len(dst), want)
	}
	raw, err := d.raw(dst[:len(dst):len(dst)], lo, hi)
	if err == nil && len(raw) > 0 && &raw[0] != &dst[0] {
		copy(dst, raw)
	}
	return err
}

func (d *Dataset) wrongType(want string) error {
	return fmt.Errorf("%s: %s holds %s, want %s", d.f.path, d.path, d.field, want)
}

func order(t *Type) binary.ByteOrder {
	if t.BigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// integer decodes an integer of 1 to 8 bytes.
func integer(b []byte, t *Type) (int64, error) {
	var u uint64
	for i := range b {
		if t.BigEndian {
			u = u<<8 | uint64(b[i])
		} else {
			u |= uint64(b[i]) << (8 * i)
		}
	}
	if unused := 64 - 8*len(b); t.Signed {
		return int64(u<<unused) >> unused, nil
	}
	if u > math.MaxInt64 {
		return 0, fmt.Errorf("%d does not fit into 63 bits", u)
	}
	return int64(u), nil
}

// ints64 decodes elements of raw; without any it checks the type.
func (d *Dataset) ints64(dst []int64, raw []byte) error {
	t := d.field
	if t.Class != Integer {
		return d.wrongType("integers")
	}
	step, at := d.typ.Size, d.offset
	if !t.BigEndian && t.Signed && t.Size == 8 { // what event files have, without a call per element
		for i := range dst {
			dst[i] = int64(binary.LittleEndian.Uint64(raw[i*step+at:]))
		}
		return nil
	}
	if !t.BigEndian && !t.Signed {
		switch t.Size {
		case 1:
			for i := range dst {
				dst[i] = int64(raw[i*step+at])
			}
			return nil
		case 2:
			for i := range dst {
				dst[i] = int64(binary.LittleEndian.Uint16(raw[i*step+at:]))
			}
			return nil
		case 4:
			for i := range dst {
				dst[i] = int64(binary.LittleEndian.Uint32(raw[i*step+at:]))
			}
			return nil
		}
	}
	for i := range dst {
		v, err := integer(raw[i*step+at:i*step+at+t.Size], t)
		if err != nil {
			return d.f.bad(-1, "%s: %v", d.path, err)
		}
		dst[i] = v
	}
	return nil
}

func (d *Dataset) floats64(dst []float64, raw []byte) error { return decodeFloats(d, dst, raw) }
func (d *Dataset) floats32(dst []float32, raw []byte) error { return decodeFloats(d, dst, raw) }

func decodeFloats[T float32 | float64](d *Dataset, dst []T, raw []byte) error {
	t := d.field
	step, at := d.typ.Size, d.offset
	switch t.Class {
	case Float:
	case Integer:
		for i := range dst {
			v, err := integer(raw[i*step+at:i*step+at+t.Size], t)
			if err != nil {
				return d.f.bad(-1, "%s: %v", d.path, err)
			}
			dst[i] = T(v)
		}
		return nil
	default:
		return d.wrongType("numbers")
	}
	if t.Size == 4 && !t.BigEndian {
		for i := range dst {
			dst[i] = T(math.Float32frombits(binary.LittleEndian.Uint32(raw[i*step+at:])))
		}
		return nil
	}
	o := order(t)
	for i := range dst {
		b := raw[i*step+at:]
		switch t.Size {
		case 2:
			dst[i] = T(minifloat.Half(o.Uint16(b)))
		case 4:
			dst[i] = T(math.Float32frombits(o.Uint32(b)))
		default:
			dst[i] = T(math.Float64frombits(o.Uint64(b)))
		}
	}
	return nil
}

// Strings reads all elements of a data set of strings.
func (d *Dataset) Strings() ([]string, error) {
	if d.field.Class != String && d.field.Class != VarString {
		return nil, d.wrongType("strings")
	}
	raw, err := d.raw(nil, 0, d.Rows())
	if err != nil {
		return nil, err
	}
	out := make([]string, d.space.count)
	for i := range out {
		b := raw[i*d.typ.Size+d.offset:][:d.field.Size]
		if d.field.Class == VarString {
			if out[i], err = d.f.heapString(b); err != nil {
				return nil, fmt.Errorf("%s: element %d: %w", d.path, i, err)
			}
			continue
		}
		switch d.field.padding {
		case 0:
			if end := bytes.IndexByte(b, 0); end >= 0 {
				b = b[:end]
			}
		case 1:
			b = bytes.TrimRight(b, "\x00")
		case 2:
			b = bytes.TrimRight(b, " ")
		}
		out[i] = string(b)
	}
	return out, nil
}

// ReadString reads the only element of a data set of strings.
func (d *Dataset) ReadString() (string, error) {
	if d.space.count != 1 {
		return "", fmt.Errorf("%s: %s has %d elements, want one string", d.f.path, d.path, d.space.count)
	}
	s, err := d.Strings()
	if err != nil {
		return "", err
	}
	return s[0], nil
}

// A collection is a block of the global heap: its objects by index. Strings are
// made once, however many elements share them.
type collection struct {
	objects map[uint32][]byte
	text    map[uint32]string
}

// heapString reads a string that an element of 16 bytes refers to.
func (f *File) heapString(b []byte) (string, error) {
	length := binary.LittleEndian.Uint32(b)
	address := binary.LittleEndian.Uint64(b[4:])
	index := binary.LittleEndian.Uint32(b[12:])
	if length == 0 {
		return "", nil
	}
	h, err := f.heap(address)
	if err != nil {
		return "", err
	}
	object, ok := h.objects[index]
	if !ok || int(length) > len(object) {
		return "", f.bad(-1, "string of %d bytes is object %d of the heap at address %d, which has %d bytes", length, index, address, len(object))
	}
	s, ok := h.text[index]
	if !ok {
		s = string(object)
		h.text[index] = s
	}
	s = s[:length]
	for i := range len(s) {
		if s[i] == 0 {
			return s[:i], nil
		}
	}
	return s, nil
}

// heap reads a collection of the global heap, once.
func (f *File) heap(address uint64) (*collection, error) {
	head, err := f.block(address, 16, "global heap")
	if err != nil {
		return nil, err
	}
	if h := f.heaps[head.at]; h != nil {
		return h, nil
	}
	sig, version := string(head.take(4)), head.u8()
	head.skip(3)
	size := head.u64()
	if sig != "GCOL" || version != 1 {
		return nil, f.bad(head.at, "global heap has signature %q, version %d; want GCOL, 1", sig, version)
	}
	if size < 16 || size > uint64(f.size-f.heapBytes) { // collections do not overlap
		return nil, f.bad(head.at, "global heap of %d bytes in a file of %d", size, f.size)
	}
	f.heapBytes += int64(size)
	c, err := f.block(address+16, int64(size)-16, "global heap")
	if err != nil {
		return nil, err
	}
	h := &collection{make(map[uint32][]byte), make(map[uint32]string)}
	for c.left() >= 16 {
		index := uint32(c.u16())
		c.skip(6)
		n := c.u64()
		if index == 0 { // the rest is free
			break
		}
		if n > uint64(c.left()) {
			return nil, f.bad(c.at+int64(c.pos), "object %d of the global heap has %d bytes, %d are left", index, n, c.left())
		}
		h.objects[index] = c.take(int(n))
		c.skip(min((int(n)+7)&^7-int(n), c.left()))
	}
	f.heaps[head.at] = h
	return h, nil
}
