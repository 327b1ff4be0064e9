package hdf5

import (
	"fmt"
	"math"
	"strings"
)

// A Class says what the elements of a data set are.
type Class int

// The classes that can be read. Other is any other class of HDF5.
const (
	Integer   Class = iota
	Float           // IEEE 754 with 2, 4 or 8 bytes
	String          // of fixed length
	VarString       // of any length, stored in the global heap
	Compound        // a record; see Dataset.Field
	Other
)

// A Type describes the elements of a data set.
type Type struct {
	Class     Class
	Size      int // bytes of an element in the file
	Signed    bool
	BigEndian bool
	Members   []Member // of a compound
	// Enum maps the names of an enumeration of integers to values; nil for
	// other types. Booleans of h5py are FALSE and TRUE.
	Enum map[string]int64

	padding byte   // of a fixed string: 0 ends at NUL, 1 filled with NUL, 2 with spaces
	refusal string // why values of this type cannot be read; "" if they can
}

// A Member is one field of a compound type.
type Member struct {
	Name   string
	Offset int // bytes from the start of the element
	Type   *Type
}

// String returns a short name, such as "uint16" or "float64 (big-endian)".
func (t *Type) String() string {
	var s string
	switch t.Class {
	case Integer:
		s = fmt.Sprintf("int%d", 8*t.Size)
		if !t.Signed {
			s = "u" + s
		}
		if t.Enum != nil {
			s = "enumeration of " + s
		}
	case Float:
		s = fmt.Sprintf("float%d", 8*t.Size)
	case String:
		return fmt.Sprintf("string of %d bytes", t.Size)
	case VarString:
		return "string"
	case Compound:
		names := make([]string, len(t.Members))
		for i, m := range t.Members {
			names[i] = m.Name + " " + m.Type.String()
		}
		return "compound of " + strings.Join(names, ", ")
	default:
		return t.refusal
	}
	if t.BigEndian && t.Size > 1 {
		s += " (big-endian)"
	}
	return s
}

// maxElement bounds the bytes of one element.
const maxElement = 64 << 10

// datatype decodes a datatype message.
func datatype(c *cursor, depth int) *Type {
	head := c.u8()
	var flags uint32
	for i := range 3 {
		flags |= uint32(c.u8()) << (8 * i)
	}
	size := c.u32()
	class, version := head&15, head>>4
	if c.err == nil && (version < 1 || version > 5 || depth > 8) {
		c.err = c.f.unsupported("offset %d: datatype version %d, nested %d deep", c.at, version, depth)
	}
	t := &Type{Class: Other, Size: int(size)}
	if c.err != nil {
		return t
	}
	if size == 0 || size > maxElement {
		c.fail("datatype of class %d with elements of %d bytes, want 1 to %d", class, size, maxElement)
		return t
	}
	refuse := func(format string, args ...any) { t.refusal = fmt.Sprintf(format, args...) }
	switch class {
	case 0:
		offset, precision := c.u16(), c.u16()
		t.Class, t.Signed, t.BigEndian = Integer, flags&8 != 0, flags&1 != 0
		if size > 8 || offset != 0 || uint32(precision) != 8*size {
			refuse("integer of %d bits at bit %d in %d bytes", precision, offset, size)
		}
	case 1:
		t.float(c, flags)
	case 2:
		c.skip(2)
		refuse("time")
	case 3:
		t.Class, t.padding = String, byte(flags&15)
		if t.padding > 2 {
			refuse("string with padding %d", t.padding)
		}
	case 4:
		c.skip(4)
		refuse("bit field")
	case 5:
		c.skip(int(flags & 0xff))
		refuse("opaque bytes")
	case 6:
		t.compound(c, version, int(flags&0xffff), depth)
	case 7:
		refuse("reference")
	case 8:
		t.enumeration(c, version, int(flags&0xffff), depth)
	case 9:
		datatype(c, depth+1)
		refuse("variable-length list")
		if flags&15 == 1 && size == 16 {
			t.Class, t.refusal = VarString, ""
		}
	case 10:
		rank := int(c.u8())
		if version < 3 {
			c.skip(3)
		}
		c.skip(4 * rank)
		if version < 3 {
			c.skip(4 * rank)
		}
		datatype(c, depth+1)
		refuse("array")
	default:
		c.err = c.f.unsupported("offset %d: datatype class %d", c.at, class)
	}
	if t.refusal != "" {
		t.Class = Other
	}
	return t
}

// float accepts the IEEE formats, refuses others.
func (t *Type) float(c *cursor, flags uint32) {
	offset, precision := c.u16(), c.u16()
	expAt, expBits, manAt, manBits := c.u8(), c.u8(), c.u8(), c.u8()
	bias := c.u32()
	t.Class, t.BigEndian = Float, flags&1 != 0
	sign := flags >> 8 & 0xff
	type layout struct {
		precision                     uint16
		expAt, expBits, manAt, manLen uint8
		bias, sign                    uint32
	}
	ieee := map[int]layout{
		2: {16, 10, 5, 0, 10, 15, 15},
		4: {32, 23, 8, 0, 23, 127, 31},
		8: {64, 52, 11, 0, 52, 1023, 63},
	}
	got := layout{precision, expAt, expBits, manAt, manBits, bias, sign}
	if want, ok := ieee[t.Size]; !ok || got != want || offset != 0 || flags&0x40 != 0 {
		t.refusal = fmt.Sprintf("float of %d bytes that is not IEEE 754 (exponent of %d bits at %d, bias %d)", t.Size, expBits, expAt, bias)
	}
}

func (t *Type) compound(c *cursor, version uint8, members, depth int) {
	t.Class = Compound
	width := 1 // of an offset, from version 3 on
	for t.Size >= 1<<(8*width) {
		width++
	}
	for range members {
		if c.err != nil {
			return
		}
		m := Member{}
		dims := 0
		if version < 3 {
			m.Name = c.text(8)
			m.Offset = int(c.u32())
			if version == 1 {
				dims = int(c.u8())
				c.skip(3 + 4 + 4 + 4*4)
			}
		} else {
			m.Name = c.text(1)
			m.Offset = int(c.number(width))
		}
		m.Type = datatype(c, depth+1)
		if dims > 0 {
			m.Type = &Type{Class: Other, Size: m.Type.Size, refusal: "array"}
		}
		if c.err == nil && m.Offset+m.Type.Size > t.Size {
			c.fail("member %q at bytes %d to %d of an element of %d", m.Name, m.Offset, m.Offset+m.Type.Size, t.Size)
		}
		t.Members = append(t.Members, m)
	}
}

func (t *Type) enumeration(c *cursor, version uint8, members, depth int) {
	base := datatype(c, depth+1)
	if c.err == nil && (base.Class != Integer || base.Size != t.Size) {
		t.refusal = "enumeration of " + base.String()
		return
	}
	size := t.Size
	*t = *base
	t.Enum = make(map[string]int64)
	var names []string
	for range members {
		if c.err != nil {
			return
		}
		if version < 3 {
			names = append(names, c.text(8))
		} else {
			names = append(names, c.text(1))
		}
	}
	for _, name := range names {
		if v, err := integer(c.take(size), base); c.err == nil && err == nil {
			t.Enum[name] = v
		}
	}
}

// A space is the shape of a data set.
type space struct {
	dims, limit []int // limit: largest dims, -1 for no limit; nil if the same
	null        bool
	count       int // elements
}

// dataspace decodes a dataspace message.
func dataspace(c *cursor) space {
	version, rank, flags := c.u8(), int(c.u8()), c.u8()
	s := space{count: 1}
	switch {
	case c.err != nil:
		return s
	case version == 1:
		c.skip(5)
	case version == 2:
		s.null = c.u8() == 2
	default:
		c.err = c.f.unsupported("offset %d: dataspace version %d", c.at, version)
		return s
	}
	if rank > 32 {
		c.fail("dataspace of %d axes", rank)
		return s
	}
	s.dims = make([]int, rank)
	for i := range s.dims {
		d := c.u64()
		if d > math.MaxInt64/2 {
			c.fail("axis %d has %d elements", i, d)
			return s
		}
		s.dims[i] = int(d)
	}
	if flags&1 != 0 {
		for range rank {
			d := c.u64()
			switch {
			case d == undefined:
				s.limit = append(s.limit, -1)
			case d > math.MaxInt64/2:
				c.fail("axis may have %d elements", d)
				return s
			default:
				s.limit = append(s.limit, int(d))
			}
		}
		for i, m := range s.limit {
			if m >= 0 && m < s.dims[i] {
				c.fail("axis %d has %d elements of at most %d", i, s.dims[i], m)
			}
		}
	}
	for i, d := range s.dims {
		if d > 0 && s.count > math.MaxInt64/maxElement/d {
			c.fail("shape %v: too many elements", s.dims[:i+1])
			return s
		}
		s.count *= d
	}
	if s.null {
		s.count, s.dims = 0, []int{0}
	}
	return s
}
