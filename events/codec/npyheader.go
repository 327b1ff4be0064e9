package codec

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/adafire/adafire/events"
)

// number is how an array stores a number.
type number struct {
	class     byte // 'i', 'u', 'f', 'b'; 0 for what is only skipped
	size      int  // bytes
	bigEndian bool
}

// load returns the number at the front of b as float64, and as int64 when it is
// an integer that fits; exact says whether the latter is the number itself.
func (n number) load(b []byte) (f float64, i int64, exact bool) {
	var u uint64
	switch order := binary.ByteOrder(binary.LittleEndian); n.size {
	case 1:
		u = uint64(b[0])
	default:
		if n.bigEndian {
			order = binary.BigEndian
		}
		switch n.size {
		case 2:
			u = uint64(order.Uint16(b))
		case 4:
			u = uint64(order.Uint32(b))
		default:
			u = order.Uint64(b)
		}
	}
	switch n.class {
	case 'f':
		f = math.Float64frombits(u)
		if n.size == 4 {
			f = float64(math.Float32frombits(uint32(u)))
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<62 {
			return f, int64(f), true
		}
		return f, 0, false
	case 'i':
		shift := 64 - 8*n.size
		i = int64(u<<shift) >> shift
		return float64(i), i, true
	}
	return float64(u), int64(u), u <= math.MaxInt64
}

// A field is one column of a structured array.
type field struct {
	name   string
	at     int // byte within an item
	number number
	descr  string
}

// npyHeader is the header of an npy file.
type npyHeader struct {
	fields  []field // of a structured array
	plain   number  // of any other
	descr   string  // of any other
	item    int     // bytes
	fortran bool
	shape   []int64
	start   int64 // offset of the data
}

// items returns the number of elements; readNPYHeader has checked that their
// bytes fit into an int64.
func (h *npyHeader) items() int64 {
	n := int64(1)
	for _, d := range h.shape {
		n *= d
	}
	return n
}

// maxNPYHeader is the most bytes of a header: NumPy itself refuses more than
// 10,000 unless told otherwise.
const maxNPYHeader = 64 << 10

// readNPYHeader reads up to the data. Offsets in errors count from the front of
// the array.
func readNPYHeader(r io.Reader, name string) (*npyHeader, error) {
	var head [12]byte
	if n, err := io.ReadFull(r, head[:8]); err != nil {
		return nil, endedEarly(err, name, int64(n), "the file ends within the first 8 bytes of an array")
	}
	if string(head[:6]) != "\x93NUMPY" {
		return nil, events.Errorf(events.BadMagic, name, 0, "the array starts with % x, want \\x93NUMPY", head[:6])
	}
	if head[6] < 1 || head[6] > 3 || head[7] != 0 {
		return nil, events.Errorf(events.UnsupportedVersion, name, 6, "npy format %d.%d, want 1.0, 2.0 or 3.0", head[6], head[7])
	}
	wide := 2
	if head[6] > 1 {
		wide = 4
	}
	if n, err := io.ReadFull(r, head[8:8+wide]); err != nil {
		return nil, endedEarly(err, name, int64(8+n), "the file ends within the length of the header")
	}
	start, length := int64(8+wide), int64(binary.LittleEndian.Uint16(head[8:]))
	if wide == 4 {
		length = int64(binary.LittleEndian.Uint32(head[8:]))
	}
	if length > maxNPYHeader {
		return nil, events.Errorf(events.BadHeader, name, 8, "header of %d bytes, want at most %d", length, maxNPYHeader)
	}
	text := make([]byte, length)
	if n, err := io.ReadFull(r, text); err != nil {
		return nil, endedEarly(err, name, start+int64(n), "the file ends within the header of %d bytes", length)
	}
	p := &pythonLiteral{text: string(text)}
	h, kind, err := p.header()
	if err != nil {
		return nil, events.Errorf(kind, name, start+int64(p.at), "%v", err)
	}
	h.start = start + length
	total := int64(h.item)
	for _, d := range h.shape {
		if d > 0 && total > math.MaxInt64/d {
			return nil, events.Errorf(events.BadHeader, name, start, "shape %v of items of %d bytes is too large", h.shape, h.item)
		}
		total *= d
	}
	return h, nil
}

// pythonLiteral reads the dictionary of an npy header, structured types
// included.
type pythonLiteral struct {
	text string
	at   int
}

func (p *pythonLiteral) header() (*npyHeader, events.Kind, error) {
	h := &npyHeader{}
	kind := events.BadHeader
	seen := map[string]bool{}
	if err := p.expect('{'); err != nil {
		return nil, kind, err
	}
	for !p.accept('}') {
		key, err := p.str()
		if err != nil {
			return nil, kind, err
		}
		if seen[key] {
			return nil, kind, fmt.Errorf("the key %q occurs twice", key)
		}
		seen[key] = true
		if err := p.expect(':'); err != nil {
			return nil, kind, err
		}
		switch key {
		case "descr":
			if kind, err = p.descr(h); err != nil {
				return nil, kind, err
			}
		case "fortran_order":
			h.fortran, err = p.boolean()
		case "shape":
			h.shape, err = p.tuple()
		default:
			err = fmt.Errorf("unknown key %q, want descr, fortran_order and shape", key)
		}
		if err != nil {
			return nil, events.BadHeader, err
		}
		if !p.accept(',') {
			if err := p.expect('}'); err != nil {
				return nil, events.BadHeader, err
			}
			break
		}
	}
	if strings.TrimSpace(p.text[p.at:]) != "" {
		return nil, events.BadHeader, fmt.Errorf("%.20q after the dictionary", p.text[p.at:])
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return nil, events.BadHeader, fmt.Errorf("no key %q", key)
		}
	}
	return h, 0, nil
}

// descr reads a type or a list of (name, type) or (name, type, shape).
func (p *pythonLiteral) descr(h *npyHeader) (events.Kind, error) {
	if !p.accept('[') {
		text, err := p.str()
		if err != nil {
			return events.BadHeader, err
		}
		n, err := parseNumber(text)
		if err != nil {
			return events.UnsupportedDType, err
		}
		if n.class == 0 {
			return events.UnsupportedDType, fmt.Errorf("array of type %q, want numbers", text)
		}
		h.plain, h.item, h.descr = n, n.size, text
		return 0, nil
	}
	for !p.accept(']') {
		if err := p.expect('('); err != nil {
			return events.BadHeader, err
		}
		f := field{at: h.item}
		var err error
		if p.accept('(') { // (title, name)
			if _, err = p.str(); err == nil {
				err = p.expect(',')
			}
			if err == nil {
				f.name, err = p.str()
			}
			if err == nil {
				err = p.expect(')')
			}
		} else {
			f.name, err = p.str()
		}
		if err != nil {
			return events.BadHeader, err
		}
		if err := p.expect(','); err != nil {
			return events.BadHeader, err
		}
		if p.peek() == '[' {
			return events.UnsupportedDType, fmt.Errorf("field %q is itself a structure", f.name)
		}
		if f.descr, err = p.str(); err != nil {
			return events.BadHeader, err
		}
		if f.number, err = parseNumber(f.descr); err != nil {
			return events.UnsupportedDType, fmt.Errorf("field %q: %w", f.name, err)
		}
		size := int64(f.number.size)
		if p.accept(',') && p.peek() != ')' {
			shape, err := p.tuple()
			if err != nil {
				return events.BadHeader, err
			}
			f.number.class = 0
			for _, d := range shape {
				if d > maxNPYHeader {
					return events.BadHeader, fmt.Errorf("field %q of shape %v", f.name, shape)
				}
				size = min(size*d, 1<<40)
			}
		}
		if err := p.expect(')'); err != nil {
			return events.BadHeader, err
		}
		if int64(h.item)+size > MaxPeek {
			return events.BadHeader, fmt.Errorf("items of more than %d bytes", MaxPeek)
		}
		h.item += int(size)
		h.fields = append(h.fields, f)
		if !p.accept(',') {
			if err := p.expect(']'); err != nil {
				return events.BadHeader, err
			}
			break
		}
	}
	if h.item == 0 {
		return events.UnsupportedDType, fmt.Errorf("a structure without fields")
	}
	return 0, nil
}

// parseNumber parses a type such as "<f4". Types that can only be skipped, such
// as the padding "|V3" or text, have class 0.
func parseNumber(descr string) (number, error) {
	bad := fmt.Errorf("type %.24q, want i1 to i8, u1 to u8, f4, f8 or b1", descr)
	if len(descr) < 2 {
		return number{}, bad
	}
	text := descr
	order := byte('|')
	if strings.IndexByte("<>|=", text[0]) >= 0 {
		order, text = text[0], text[1:]
	}
	if text == "O" || strings.HasPrefix(text, "O") {
		return number{}, fmt.Errorf("type %.24q: an array of objects is a pickle, which is a program and is never read", descr)
	}
	if len(text) < 2 {
		return number{}, bad
	}
	size, err := strconv.ParseUint(text[1:], 10, 16)
	if err != nil {
		return number{}, bad
	}
	n := number{text[0], int(size), order == '>'}
	switch {
	case (n.class == 'i' || n.class == 'u') && (size == 1 || size == 2 || size == 4 || size == 8):
	case n.class == 'f' && (size == 4 || size == 8):
	case n.class == 'b' && size == 1:
	case n.class == 'V' || n.class == 'S':
		n.class = 0
	case n.class == 'f' && size == 2, n.class == 'c' && (size == 8 || size == 16):
		n.class = 0
	case n.class == 'U' && size < 1<<14:
		n.class, n.size = 0, 4*n.size
	default:
		return number{}, bad
	}
	return n, nil
}

func (p *pythonLiteral) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n\f", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek returns the next byte that is not a blank, 0 at the end.
func (p *pythonLiteral) peek() byte {
	if p.space(); p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *pythonLiteral) accept(c byte) bool {
	if p.peek() == c {
		p.at++
		return true
	}
	return false
}

func (p *pythonLiteral) expect(c byte) error {
	if p.accept(c) {
		return nil
	}
	return fmt.Errorf("header has %.16q, want %q", p.text[p.at:], c)
}

// str reads a string without escapes.
func (p *pythonLiteral) str() (string, error) {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == 'u' { // of Python 2
		p.at++
	}
	quote := p.peek()
	if quote != '\'' && quote != '"' {
		return "", fmt.Errorf("header has %.16q, want a string", p.text[p.at:])
	}
	length := strings.IndexByte(p.text[p.at+1:], quote)
	if length < 0 {
		return "", fmt.Errorf("header has %.16q, want a closed string", p.text[p.at:])
	}
	s := p.text[p.at+1 : p.at+1+length]
	if strings.ContainsAny(s, "\\\n") {
		return "", fmt.Errorf("header has %.16q, want a string without escapes", s)
	}
	p.at += length + 2
	return s, nil
}

func (p *pythonLiteral) boolean() (bool, error) {
	p.space()
	switch rest := p.text[p.at:]; {
	case strings.HasPrefix(rest, "True"):
		p.at += 4
		return true, nil
	case strings.HasPrefix(rest, "False"):
		p.at += 5
		return false, nil
	}
	return false, fmt.Errorf("header has %.16q, want True or False", p.text[p.at:])
}

// tuple reads (), (3,), (2, 3) or a number alone, which NumPy allows for the
// shape of a field.
func (p *pythonLiteral) tuple() ([]int64, error) {
	if c := p.peek(); c >= '0' && c <= '9' {
		n, err := p.integer()
		return []int64{n}, err
	}
	if err := p.expect('('); err != nil {
		return nil, err
	}
	values := []int64{}
	for !p.accept(')') {
		v, err := p.integer()
		if err != nil {
			return nil, err
		}
		if values = append(values, v); len(values) > 32 {
			return nil, fmt.Errorf("more than 32 axes")
		}
		if !p.accept(',') {
			if err := p.expect(')'); err != nil {
				return nil, err
			}
			break
		}
	}
	return values, nil
}

func (p *pythonLiteral) integer() (int64, error) {
	p.space()
	end := p.at
	for end < len(p.text) && p.text[end] >= '0' && p.text[end] <= '9' {
		end++
	}
	v, err := strconv.ParseInt(p.text[p.at:end], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("header has %.16q, want a number of at most 63 bits", p.text[p.at:])
	}
	if p.at = end; p.at < len(p.text) && p.text[p.at] == 'L' { // of Python 2
		p.at++
	}
	return v, nil
}
