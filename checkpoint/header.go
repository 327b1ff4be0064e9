package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/adafire/adafire/internal/fileerr"
)

// maxHeader is the format's limit on the length of the header.
const maxHeader = 100_000_000

// metadataKey is the member of the header that holds no tensor.
const metadataKey = "__metadata__"

// headerParser walks the header token by token: encoding/json's Unmarshal would
// take the last of duplicate members, match names regardless of case and
// replace invalid UTF-8.
type headerParser struct {
	file *File
	d    *json.Decoder
	text []byte
}

// parseHeader reads the header's JSON and checks it against the data section.
func (f *File) parseHeader(text []byte) error {
	p := &headerParser{file: f, text: text, d: json.NewDecoder(bytes.NewReader(text))}
	p.d.UseNumber()
	if len(text) == 0 || text[0] != '{' {
		return fileerr.New(f.Path, 8, "header does not begin with {")
	}
	if !utf8.Valid(text) {
		return fileerr.New(f.Path, 8, "header is not UTF-8")
	}
	if i := loneSurrogate(text); i >= 0 {
		return fileerr.New(f.Path, 8+int64(i), "escaped half of a surrogate pair")
	}
	f.byName = make(map[string]*Stored)
	if err := p.delim('{'); err != nil {
		return err
	}
	for p.d.More() {
		name, err := p.text1("a name")
		if err != nil {
			return err
		}
		if name == metadataKey {
			if f.Metadata != nil {
				return p.errorf("%s occurs twice", metadataKey)
			}
			if f.Metadata, err = p.metadata(); err != nil {
				return err
			}
			continue
		}
		if f.byName[name] != nil {
			return p.errorf("tensor %q occurs twice", name)
		}
		s, err := p.tensor(name)
		if err != nil {
			return err
		}
		f.byName[name] = s
		f.Tensors = append(f.Tensors, s)
	}
	if err := p.delim('}'); err != nil {
		return err
	}
	end := p.d.InputOffset()
	if rest := bytes.TrimLeft(text[end:], " "); len(rest) > 0 {
		return fileerr.New(f.Path, 8+int64(len(text)-len(rest)), "header goes on behind the closing bracket")
	}
	if f.Metadata == nil {
		f.Metadata = map[string]string{}
	}
	return f.checkTiling()
}

// checkTiling wants the tensors to cover the data section without overlap, hole
// or rest.
func (f *File) checkTiling() error {
	order := slices.Clone(f.Tensors)
	slices.SortStableFunc(order, func(a, b *Stored) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at, before := int64(0), ""
	for _, s := range order {
		switch {
		case s.begin < at:
			return s.errorf("overlaps tensor %q: begins at %d, before its end at %d", before, s.begin, at)
		case s.begin > at:
			return s.errorf("a hole of %d bytes before it: begins at %d, want %d", s.begin-at, s.begin, at)
		}
		at, before = s.end, s.Name
	}
	if at != f.dataSize {
		return fileerr.New(f.Path, f.dataFrom+at, "%d bytes behind the last tensor", f.dataSize-at)
	}
	return nil
}

func (p *headerParser) errorf(format string, args ...any) error {
	return fileerr.New(p.file.Path, 8+p.d.InputOffset(), format, args...)
}

func (p *headerParser) token() (json.Token, error) {
	t, err := p.d.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fileerr.New(p.file.Path, 8+int64(len(p.text)), "header ends within the JSON")
	}
	if err != nil {
		return nil, p.errorf("header is not JSON: %s", err)
	}
	return t, nil
}

func (p *headerParser) delim(want json.Delim) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != want {
		return p.errorf("header has %s: want %s", describe(t), want)
	}
	return nil
}

func (p *headerParser) text1(what string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", p.errorf("header has %s: want %s", describe(t), what)
	}
	return s, nil
}

func (p *headerParser) metadata() (map[string]string, error) {
	if err := p.delim('{'); err != nil {
		return nil, err
	}
	m := map[string]string{}
	for p.d.More() {
		key, err := p.text1("a name")
		if err != nil {
			return nil, err
		}
		if _, ok := m[key]; ok {
			return nil, p.errorf("metadata %q occurs twice", key)
		}
		if m[key], err = p.text1(fmt.Sprintf("a string as metadata %q", key)); err != nil {
			return nil, err
		}
	}
	return m, p.delim('}')
}

// tensor reads the description of one tensor and checks its range.
func (p *headerParser) tensor(name string) (*Stored, error) {
	s := &Stored{Name: name, file: p.file}
	if err := p.delim('{'); err != nil {
		return nil, err
	}
	var offsets []int64
	for p.d.More() {
		key, err := p.text1("a name")
		if err != nil {
			return nil, err
		}
		twice := false
		switch key {
		case "dtype":
			twice = s.DType != ""
			var t string
			t, err = p.text1("a string as dtype")
			s.DType = DType(t)
			if err == nil && bitsOf[s.DType] == 0 {
				err = p.errorf("tensor %q: unknown dtype %q", name, t)
			}
		case "shape":
			twice = s.Shape != nil
			s.Shape, err = p.shape(name)
		case "data_offsets":
			twice = offsets != nil
			offsets, err = p.integers(name, key)
		default:
			err = p.errorf("tensor %q: unknown member %q", name, key)
		}
		if err != nil {
			return nil, err
		}
		if twice {
			return nil, p.errorf("tensor %q: %s occurs twice", name, key)
		}
	}
	if err := p.delim('}'); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		key     string
		missing bool
	}{{"dtype", s.DType == ""}, {"shape", s.Shape == nil}, {"data_offsets", offsets == nil}} {
		if m.missing {
			return nil, p.errorf("tensor %q: no %s", name, m.key)
		}
	}
	if len(offsets) != 2 {
		return nil, p.errorf("tensor %q: %d data_offsets, want 2", name, len(offsets))
	}
	s.begin, s.end = offsets[0], offsets[1]
	if s.begin > s.end || s.end > p.file.dataSize {
		return nil, p.errorf("tensor %q: range [%d, %d): want begin <= end <= %d, the length of the data", name, s.begin, s.end, p.file.dataSize)
	}
	need, err := sizeOf(s.DType, s.Shape)
	if err != nil {
		return nil, p.errorf("tensor %q: %s", name, err)
	}
	if got := s.end - s.begin; got != need {
		return nil, p.errorf("tensor %q: %d bytes, shape %v of %s needs %d", name, got, s.Shape, s.DType, need)
	}
	return s, nil
}

func (p *headerParser) shape(name string) ([]int, error) {
	list, err := p.integers(name, "shape")
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(list))
	for i, d := range list {
		if d > math.MaxInt {
			return nil, p.errorf("tensor %q: dimension %d is too large for this machine", name, d)
		}
		shape[i] = int(d)
	}
	return shape, nil
}

// integers reads a list of non-negative integers; it is never nil without an
// error.
func (p *headerParser) integers(name, key string) ([]int64, error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	list := []int64{}
	for p.d.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		n, ok := t.(json.Number)
		if !ok {
			return nil, p.errorf("tensor %q: %s has %s: want non-negative integers", name, key, describe(t))
		}
		// ParseUint alone would let "2.0" fail but not tell it from a large number.
		v, err := strconv.ParseUint(n.String(), 10, 63)
		if errors.Is(err, strconv.ErrRange) {
			return nil, p.errorf("tensor %q: %s has %s: beyond 63 bits", name, key, clip(n.String()))
		}
		if err != nil {
			return nil, p.errorf("tensor %q: %s has %s: want non-negative integers", name, key, clip(n.String()))
		}
		list = append(list, int64(v))
	}
	return list, p.delim(']')
}

// sizeOf returns the bytes of a tensor.
func sizeOf(t DType, shape []int) (int64, error) {
	bits := uint64(bitsOf[t])
	for _, d := range shape {
		if d != 0 && bits > math.MaxInt64/uint64(d) {
			return 0, fmt.Errorf("shape %v of %s holds too many bytes", shape, t)
		}
		bits *= uint64(d)
	}
	if bits%8 != 0 {
		return 0, fmt.Errorf("shape %v of %s is no whole number of bytes", shape, t)
	}
	return int64(bits / 8), nil
}

// loneSurrogate returns the offset of an escape \uD800 to \uDFFF that is not
// half of a pair, or -1. encoding/json would replace it, and two different
// names could become one.
func loneSurrogate(text []byte) int {
	unit := func(i int) (rune, bool) { // the escape at i, if there is one
		if len(text) < i+6 || text[i] != '\\' || text[i+1] != 'u' {
			return 0, false
		}
		v, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 16)
		return rune(v), err == nil
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		switch r, ok := unit(i); {
		case !ok:
			i++ // skip the escaped character, which may be a backslash
		case r >= 0xdc00 && r < 0xe000:
			return i
		case r >= 0xd800 && r < 0xdc00:
			if low, ok := unit(i + 6); !ok || low < 0xdc00 || low >= 0xe000 {
				return i
			}
			i += 11
		default:
			i += 5
		}
	}
	return -1
}

func describe(t json.Token) string {
	switch v := t.(type) {
	case json.Delim:
		return v.String()
	case string:
		return strconv.Quote(clip(v))
	case json.Number:
		return clip(v.String())
	}
	return fmt.Sprint(t)
}

// clip shortens text for a message.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}
