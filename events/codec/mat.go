package codec

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/adafire/adafire/events"
)

// matFormats is MAT 5 in the form of ASL-DVS: the arrays ts, x, y and pol.
var matFormats = []Format{{
	Name: "mat", Title: "MATLAB 5 arrays ts, x, y, pol (ASL-DVS)", Extensions: []string{".mat"},
	Canonical: "asldvs-spikingjelly", Conventions: []string{"asldvs-tonic"},
	NewReader: newMAT,
}}

// The size of the sensor of ASL-DVS, a DAVIS240.
const (
	asldvsWidth  = 240
	asldvsHeight = 180
)

// The types of MAT 5 elements that are read.
const (
	matMatrix     = 14
	matCompressed = 15
)

// matNumbers are the numeric element types.
var matNumbers = map[uint32]number{
	1: {class: 'i', size: 1}, 2: {class: 'u', size: 1}, 3: {class: 'i', size: 2}, 4: {class: 'u', size: 2},
	5: {class: 'i', size: 4}, 6: {class: 'u', size: 4}, 7: {class: 'f', size: 4}, 9: {class: 'f', size: 8},
	12: {class: 'i', size: 8}, 13: {class: 'u', size: 8},
}

// newMAT reads a MAT 5 file: a header of 128 bytes, then one element a variable,
// which may be packed with zlib.
//
// Source: event_formats, section 7.1.
func newMAT(s *Source, o Options) (events.Reader, error) {
	at, size, err := s.Random()
	if err != nil {
		return nil, err
	}
	f := &matFile{at: at, size: size, name: s.Name(), order: binary.LittleEndian}
	cols, err := f.columns()
	if err != nil {
		return failed(o, "mat", err)
	}
	if err := sameLength(s.Name(), &cols); err != nil {
		return nil, err
	}
	header := events.Header{Format: "mat", Width: o.Width, Height: o.Height, Convention: o.Convention}
	if header.Width == 0 {
		header.Width = asldvsWidth
	}
	if header.Height == 0 {
		header.Height = asldvsHeight
	}
	r := &arrayReader{state: newState(o, header), left: cols[colT].count}
	r.limit()
	for c := range cols {
		r.number[c] = cols[c].number
	}
	right, bottom := uint16(r.right), uint16(r.bottom)
	switch o.Convention {
	case "asldvs-spikingjelly":
		r.flip = func(e *events.Event) { e.X, e.Y = right-e.X, bottom-e.Y }
	case "asldvs-tonic":
		r.flip = func(e *events.Event) { e.Y = bottom - e.Y }
	}
	rows, err := openColumns(s.Name(), cols, func(_ int, err error) error { return f.fault(err) })
	if err != nil {
		return failed(o, "mat", err)
	}
	r.rows, r.after = rows, rows.drain
	if o.TimeUnit == "s" {
		r.seconds = true
	}
	return r, nil
}

// matFile walks the elements of a MAT 5 file.
type matFile struct {
	at    io.ReaderAt
	size  int64
	name  string
	order binary.ByteOrder
}

// fault gives an error of reading a packed element its kind.
func (f *matFile) fault(err error) error {
	var known *events.Error
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, errMATElement):
		return events.Errorf(events.BadHeader, f.name, -1, "%v", err)
	case errors.Is(err, zlib.ErrChecksum), errors.Is(err, zlib.ErrHeader), errors.Is(err, zlib.ErrDictionary), errors.As(err, &corrupt):
		return events.Errorf(events.CorruptCompression, f.name, -1, "packed variable: %v", err)
	}
	return endedEarly(err, f.name, f.size, "the file ends inside a variable")
}

// columns finds the four arrays.
func (f *matFile) columns() (cols [columns]column, err error) {
	var head [128]byte
	if n, err := f.at.ReadAt(head[:], 0); n < len(head) {
		return cols, endedEarly(err, f.name, int64(n), "the file ends within the header of 128 bytes")
	}
	switch string(head[126:]) {
	case "IM":
	case "MI":
		f.order = binary.BigEndian
	default:
		return cols, events.Errorf(events.BadHeader, f.name, 126, "byte order mark %q, want IM or MI", head[126:])
	}
	if version := f.order.Uint16(head[124:]); version != 0x0100 {
		hint := ""
		if version == 0x0200 {
			hint = ": MATLAB 7.3 files are HDF5 behind 512 bytes; save it with -v7"
		}
		return cols, events.Errorf(events.UnsupportedVersion, f.name, 124, "version 0x%04x, want 0x0100%s", version, hint)
	}
	var names []string
	var found [columns]bool
	for at := int64(len(head)); at < f.size; {
		v, next, err := f.variable(at)
		if err != nil {
			return cols, err
		}
		at = next
		if v == nil {
			continue
		}
		names = append(names, v.name)
		for c, name := range [columns]string{colT: "ts", colX: "x", colY: "y", colP: "pol"} {
			if v.name == name && !found[c] {
				if v.bad != nil {
					return cols, v.bad
				}
				found[c], cols[c] = true, v.column
			}
		}
	}
	for c, name := range [columns]string{colT: "ts", colX: "x", colY: "y", colP: "pol"} {
		if !found[c] {
			return cols, events.Errorf(events.MissingField, f.name, -1, "no variable %s among %.200s", name, strings.Join(names, ", "))
		}
	}
	return cols, nil
}

// matVariable is one variable. bad says why its numbers cannot be read.
type matVariable struct {
	name   string
	column column
	bad    error
}

// variable reads the front of the element at an offset and returns where the
// next one starts. The variable is nil when the element is none.
func (f *matFile) variable(at int64) (*matVariable, int64, error) {
	var tag [8]byte
	if n, err := f.at.ReadAt(tag[:], at); n < len(tag) {
		return nil, 0, endedEarly(err, f.name, at, "the file ends inside the tag of a variable: want 8 bytes, have %d", n)
	}
	kind, length := f.order.Uint32(tag[:]), int64(f.order.Uint32(tag[4:]))
	if kind>>16 != 0 {
		return nil, at + 8, nil // small elements hold no matrix
	}
	if length > f.size-at-8 {
		return nil, 0, &events.Error{Kind: events.Truncated, File: f.name, Offset: f.size, Block: at,
			Msg: "the file ends inside a variable"}
	}
	next := at + 8 + length
	switch kind {
	case matCompressed:
		v, err := f.matrix(at+8, length, true)
		return v, next, err
	case matMatrix:
		v, err := f.matrix(at, 8+length, false)
		return v, next + (8-length%8)%8, err
	}
	return nil, next + (8-length%8)%8, nil
}

// matrix reads a matrix element up to its numbers. It stands in the length bytes
// at an offset, packed or not.
func (f *matFile) matrix(at, length int64, packed bool) (*matVariable, error) {
	open := func() (io.Reader, error) {
		section := io.NewSectionReader(f.at, at, length)
		if !packed {
			return section, nil
		}
		return zlib.NewReader(section)
	}
	in, err := open()
	if err != nil {
		return nil, f.fault(err)
	}
	m := &matCursor{in: in, order: f.order}
	kind, size, _ := m.tag()
	if m.err == nil && kind != matMatrix {
		return nil, nil
	}
	end := m.read + size
	if !packed && end > length {
		return nil, events.Errorf(events.BadHeader, f.name, at, "matrix of %d bytes in an element of %d", size, length)
	}
	flags, _ := m.small(6, 8)
	class := byte(0)
	if len(flags) == 8 {
		class = byte(f.order.Uint32(flags))
	}
	dims, _ := m.small(5, 4*32)
	name, _ := m.small(1, 4096)
	if m.err != nil {
		return nil, f.fault(m.err)
	}
	v := &matVariable{name: string(bytes.TrimRight(name, "\x00"))}
	if class < 6 || class > 15 {
		v.bad = events.Errorf(events.UnsupportedDType, f.name, at, "variable %.40q is of class %d, want numbers (6 to 15)", v.name, class)
		return v, nil
	}
	count, longest := int64(1), int64(1)
	for i := 0; i+4 <= len(dims); i += 4 {
		d := int64(f.order.Uint32(dims[i:]))
		longest = max(longest, d)
		if count *= d; count > 1<<40 {
			v.bad = events.Errorf(events.BadHeader, f.name, at, "variable %.40q has too many elements", v.name)
			return v, nil
		}
	}
	kind, size, inline := m.tag()
	n, known := matNumbers[kind]
	start := m.read
	switch {
	case count == 0 && m.err != nil:
		v.column = column{number: number{class: 'u', size: 1}, start: -1, open: func() (io.Reader, error) { return bytes.NewReader(nil), nil }}
		return v, nil
	case m.err != nil:
		return nil, f.fault(m.err)
	case !known:
		v.bad = events.Errorf(events.UnsupportedDType, f.name, at, "variable %.40q is stored as type %d, want numbers", v.name, kind)
		return v, nil
	case len(dims) != 8 || longest != count && count != 0:
		v.bad = events.Errorf(events.LengthMismatch, f.name, at, "variable %.40q is not a row or a column", v.name)
		return v, nil
	case size != count*int64(n.size) || start+size > end && inline == nil:
		v.bad = events.Errorf(events.BadHeader, f.name, at, "variable %.40q has %d bytes for %d elements of %d", v.name, size, count, n.size)
		return v, nil
	}
	n.bigEndian = f.order == binary.ByteOrder(binary.BigEndian)
	v.column = column{number: n, count: count, start: -1}
	if inline != nil {
		v.column.open = func() (io.Reader, error) { return bytes.NewReader(inline), nil }
		return v, nil
	}
	if !packed {
		v.column.start = at + start
	}
	v.column.open = func() (io.Reader, error) {
		in, err := open()
		if err == nil {
			_, err = io.CopyN(io.Discard, in, start)
		}
		return in, err
	}
	return v, nil
}

// errMATElement marks a matrix whose parts are not in the order of the format.
var errMATElement = errors.New("matrix without flags, dimensions, name and numbers in this order")

// matCursor reads the subelements of a matrix. After an error all else is empty.
type matCursor struct {
	in    io.Reader
	order binary.ByteOrder
	read  int64
	err   error
}

func (m *matCursor) bytes(n int64) []byte {
	b := make([]byte, n)
	if m.err == nil {
		var got int
		got, m.err = io.ReadFull(m.in, b)
		m.read += int64(got)
	}
	return b
}

// tag reads a tag. The data of the small form come with it.
func (m *matCursor) tag() (kind uint32, size int64, inline []byte) {
	b := m.bytes(8)
	if m.err != nil {
		return 0, 0, nil
	}
	first := m.order.Uint32(b)
	if n := first >> 16; n != 0 {
		if n > 4 {
			m.err = errMATElement
			return 0, 0, nil
		}
		return first & 0xffff, int64(n), b[4 : 4+n]
	}
	return first, int64(m.order.Uint32(b[4:])), nil
}

// small reads a subelement of a type and of at most some bytes, with its
// padding.
func (m *matCursor) small(want uint32, most int64) ([]byte, error) {
	kind, size, inline := m.tag()
	if m.err == nil && (kind != want || size > most) {
		m.err = errMATElement
	}
	if m.err != nil || inline != nil {
		return inline, m.err
	}
	b := m.bytes((size + 7) &^ 7)
	return b[:size], m.err
}
