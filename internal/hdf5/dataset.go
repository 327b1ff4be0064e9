package hdf5

import (
	"fmt"
	"slices"
)

// MaxRead bounds what one call reads, in bytes of the file's elements; larger
// data sets are read in rows.
const MaxRead = 1 << 30

// A Dataset is an array of numbers, strings or records.
type Dataset struct {
	f      *File
	path   string
	space  space
	typ    *Type // of an element in the file
	field  *Type // what is read of it: typ, or a member
	offset int   // of the field in the element
	attrs  []message
	src    source
}

// A source holds the raw elements.
type source interface {
	// rows copies the rows lo to hi, without hi, of the first axis to dst, which
	// has their size.
	rows(dst []byte, lo, hi int) error
	// supply returns an upper bound of the bytes that the file has elements for;
	// the rest are fill values.
	supply() (int64, error)
}

// Path returns the absolute path of the data set in the file.
func (d *Dataset) Path() string { return d.path }

// Shape returns the axes' lengths; it is empty for a scalar.
func (d *Dataset) Shape() []int { return slices.Clone(d.space.dims) }

// Len returns the number of elements.
func (d *Dataset) Len() int { return d.space.count }

// Rows returns the length of the first axis, 1 for a scalar.
func (d *Dataset) Rows() int {
	if len(d.space.dims) == 0 {
		return 1
	}
	return d.space.dims[0]
}

// Type returns the type of the elements.
func (d *Dataset) Type() *Type { return d.field }

// Attr returns an attribute of the data set, as a data set that has been read.
func (d *Dataset) Attr(name string) (*Dataset, error) { return d.f.attribute(d.path, d.attrs, name) }

// Field returns the data set that holds one member of a compound's elements.
// It shares the chunk that was read last with d and with d's other fields.
func (d *Dataset) Field(name string) (*Dataset, error) {
	for _, m := range d.field.Members {
		if m.Name == name {
			out := *d
			out.path += "." + name
			out.field, out.offset = m.Type, d.offset+m.Offset
			return &out, nil
		}
	}
	return nil, fmt.Errorf("%s: no member %q in %s (%s): %w", d.f.path, name, d.path, d.field, ErrNotFound)
}

// dataset makes a data set of header messages.
func (f *File) dataset(path string, messages []message) (*Dataset, error) {
	d, err := f.readDataset(path, messages)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func (f *File) readDataset(path string, messages []message) (*Dataset, error) {
	d := &Dataset{f: f, path: path}
	var layout *cursor
	var filters []filterSpec
	var fill []byte
	for i := range messages {
		m := &messages[i]
		switch m.kind {
		case msgAttribute:
			d.attrs = append(d.attrs, *m)
			continue
		case msgExternal:
			return nil, f.unsupported("offset %d: external storage", m.data.at)
		case msgDataspace, msgDatatype, msgOldFill, msgFill, msgLayout, msgFilters:
		default:
			continue
		}
		c, err := m.open("data set")
		if err != nil {
			return nil, err
		}
		switch m.kind {
		case msgDataspace:
			d.space = dataspace(c)
		case msgDatatype:
			d.typ = datatype(c, 0)
		case msgOldFill:
			if n := c.u32(); fill == nil {
				fill = c.take(int(min(n, maxElement+1)))
			}
		case msgFill:
			fill = fillValue(c)
		case msgLayout:
			layout = c
		case msgFilters:
			filters = f.filters(c)
		}
		if c.err != nil {
			return nil, c.err
		}
	}
	if d.typ == nil || (d.space.dims == nil && !slices.ContainsFunc(messages, func(m message) bool { return m.kind == msgDataspace })) {
		return nil, f.bad(layout.at, "data set without a type or a shape")
	}
	d.field = d.typ
	if len(fill) != d.typ.Size || !slices.ContainsFunc(fill, func(b byte) bool { return b != 0 }) {
		fill = nil // zeros
	}
	var err error
	d.src, err = d.layout(layout, filters, fill)
	return d, err
}

// fillValue decodes a fill value message; nil is no value, which reads as 0.
func fillValue(c *cursor) []byte {
	version := c.u8()
	defined := false
	switch version {
	case 1, 2:
		c.skip(2)
		defined = c.u8() != 0 || version == 1
	case 3:
		defined = c.u8()&0x20 != 0
	default:
		c.err = c.f.unsupported("offset %d: fill value message version %d", c.at, version)
	}
	if c.err != nil || !defined {
		return nil
	}
	n := int32(c.u32())
	if n <= 0 {
		return nil
	}
	return c.take(int(n))
}

// rowBytes returns the bytes of one row of the first axis.
func (d *Dataset) rowBytes() int {
	if rows := d.Rows(); rows > 0 {
		return d.space.count / rows * d.typ.Size
	}
	return 0
}

// raw reads the rows lo to hi as they are stored. dst is used if it is large
// enough.
func (d *Dataset) raw(dst []byte, lo, hi int) ([]byte, error) {
	if lo < 0 || hi < lo || hi > d.Rows() {
		return nil, fmt.Errorf("%s: rows %d to %d of %s, which has %d", d.f.path, lo, hi, d.path, d.Rows())
	}
	row := d.rowBytes()
	if row > 0 && hi-lo > MaxRead/row {
		return nil, d.f.unsupported("%s: %d rows of %d bytes at once are more than %d bytes", d.path, hi-lo, row, MaxRead)
	}
	need := (hi - lo) * row
	// What is not stored costs the file nothing: a small file may declare a huge
	// data set of fill values.
	stored, err := d.src.supply()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	if int64(need) > stored+1<<20 {
		return nil, d.f.bad(-1, "%s: %d bytes of elements wanted, at most %d stored", d.path, need, stored)
	}
	if cap(dst) < need {
		dst = make([]byte, need)
	}
	dst = dst[:need]
	if need == 0 {
		return dst, nil
	}
	if err := d.src.rows(dst, lo, hi); err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	return dst, nil
}

// A memory source holds elements of a compact data set or an attribute.
type memory struct {
	b   []byte
	row int
}

func (m *memory) rows(dst []byte, lo, hi int) error { copy(dst, m.b[lo*m.row:hi*m.row]); return nil }
func (m *memory) supply() (int64, error)            { return int64(len(m.b)), nil }

// A contiguous source is one block of the file.
type contiguous struct {
	f   *File
	at  int64
	row int
	n   int64 // bytes
}

func (s *contiguous) rows(dst []byte, lo, hi int) error {
	return s.f.readAt(dst, s.at+int64(lo)*int64(s.row), "elements")
}
func (s *contiguous) supply() (int64, error) { return s.n, nil }

// An absent source has no elements stored: all are the fill value.
type absent struct{ fill []byte }

func (s *absent) rows(dst []byte, lo, hi int) error { fillWith(dst, s.fill); return nil }
func (s *absent) supply() (int64, error)            { return 0, nil }

func fillWith(dst, fill []byte) {
	if fill == nil {
		clear(dst)
		return
	}
	for len(dst) > 0 {
		dst = dst[copy(dst, fill):]
	}
}

// layout decodes the layout message of versions 1 to 5 to a source.
func (d *Dataset) layout(c *cursor, filters []filterSpec, fill []byte) (source, error) {
	version := c.u8()
	if c.err != nil {
		return nil, c.err
	}
	var class uint8
	var rank int
	switch version {
	case 1, 2:
		rank = int(c.u8())
		class = c.u8()
		c.skip(5)
		return d.oldLayout(c, class, rank, filters, fill)
	case 3, 4, 5: // 5 is 4 with chunks of more than 4 GiB
		class = c.u8()
	default:
		return nil, d.f.unsupported("offset %d: layout message version %d", c.at, version)
	}
	if len(filters) > 0 && class != 2 {
		return nil, d.f.bad(c.at, "filters on a data set that is not chunked")
	}
	switch class {
	case 0:
		b := c.take(int(c.u16()))
		return d.compact(c, b)
	case 1:
		address, length := c.u64(), c.u64()
		return d.contiguous(c, address, length, fill)
	case 2:
		if version == 3 {
			n := int(c.u8())
			tree := c.u64()
			dims := c.dims(n, 4)
			return d.chunked(c, dims, filters, fill, false, func(s *chunks) error { return s.fromTree(tree) })
		}
		return d.chunked4(c, filters, fill)
	case 3:
		return nil, d.f.unsupported("offset %d: virtual data set", c.at)
	}
	return nil, d.f.unsupported("offset %d: layout class %d", c.at, class)
}

func (d *Dataset) oldLayout(c *cursor, class uint8, rank int, filters []filterSpec, fill []byte) (source, error) {
	var address uint64
	if class != 0 {
		address = c.u64()
	}
	dims := c.dims(rank, 4)
	switch class {
	case 0:
		b := c.take(int(min(c.u32(), 1<<30)))
		return d.compact(c, b)
	case 1:
		if c.err != nil {
			return nil, c.err
		}
		return d.contiguous(c, address, uint64(d.space.count)*uint64(d.typ.Size), fill)
	case 2:
		return d.chunked(c, dims, filters, fill, false, func(s *chunks) error { return s.fromTree(address) })
	}
	return nil, d.f.unsupported("offset %d: layout class %d", c.at, class)
}

// dims reads n dimensions of some bytes each.
func (c *cursor) dims(n, width int) []int {
	if n > 33 {
		c.fail("%d axes", n)
	}
	var out []int
	for range n {
		v := c.number(width)
		if c.err == nil && v > 1<<40 {
			c.fail("chunk axis of %d elements", v)
		}
		if c.err != nil {
			return nil
		}
		out = append(out, int(v))
	}
	return out
}

func (d *Dataset) compact(c *cursor, b []byte) (source, error) {
	if c.err != nil {
		return nil, c.err
	}
	if want := d.space.count * d.typ.Size; len(b) < want {
		return nil, d.f.bad(c.at, "%d bytes stored for %d elements of %d bytes", len(b), d.space.count, d.typ.Size)
	}
	return &memory{b, d.rowBytes()}, nil
}

func (d *Dataset) contiguous(c *cursor, address, length uint64, fill []byte) (source, error) {
	if c.err != nil {
		return nil, c.err
	}
	if address == undefined || d.space.count == 0 {
		return &absent{fill}, nil
	}
	want := d.space.count * d.typ.Size
	if length < uint64(want) {
		return nil, d.f.bad(c.at, "%d bytes stored for %d elements of %d bytes", length, d.space.count, d.typ.Size)
	}
	at, err := d.f.inside(address, int64(want), "elements")
	if err != nil {
		return nil, err
	}
	return &contiguous{d.f, at, d.rowBytes(), int64(want)}, nil
}

// attribute finds an attribute among header messages.
func (f *File) attribute(path string, messages []message, name string) (*Dataset, error) {
	for i := range messages {
		m := &messages[i]
		c, err := m.open("attribute")
		if err != nil {
			return nil, err
		}
		version, flags := c.u8(), c.u8()
		lengths := [3]int{int(c.u16()), int(c.u16()), int(c.u16())}
		if c.err == nil && (version < 1 || version > 3) {
			return nil, f.unsupported("offset %d: attribute version %d", c.at, version)
		}
		if version == 3 {
			c.skip(1)
		}
		part := func(n int) *cursor {
			s := c.sub(n)
			if version == 1 {
				c.skip((n+7)&^7 - n)
			}
			return s
		}
		label := part(lengths[0])
		if c.err == nil && label.text(1) != name {
			continue
		}
		t, s := part(lengths[1]), part(lengths[2])
		if c.err != nil {
			return nil, c.err
		}
		if version > 1 && flags&3 != 0 {
			return nil, f.unsupported("offset %d: attribute %q has a shared type", c.at, name)
		}
		d := &Dataset{f: f, path: path + "@" + name, typ: datatype(t, 0), space: dataspace(s)}
		d.field = d.typ
		if t.err != nil {
			return nil, t.err
		}
		if s.err != nil {
			return nil, s.err
		}
		d.src, err = d.compact(c, c.take(c.left()))
		return d, err
	}
	return nil, fmt.Errorf("%s: %s has no attribute %q: %w", f.path, path, name, ErrNotFound)
}
