package npy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// maxRank is the most axes that NumPy itself can make.
const maxRank = 64

// A header is the parsed dictionary of a .npy file.
type header struct {
	kind      dtype
	bigEndian bool
	fortran   bool
	shape     []int
	bytes     int64 // length of the data
}

// parseHeader parses a dictionary literal with exactly the keys descr,
// fortran_order and shape. The error of a bad literal is a *literalError that
// says where in text.
func parseHeader(text string) (header, error) {
	p := &literal{text: text}
	var h header
	seen := map[string]bool{}
	if err := p.expect('{'); err != nil {
		return h, err
	}
	for !p.accept('}') {
		at := p.at
		key, err := p.str()
		if err != nil {
			return h, err
		}
		if seen[key] {
			return h, &literalError{at, fmt.Sprintf("key %q occurs twice", key)}
		}
		seen[key] = true
		if err := p.expect(':'); err != nil {
			return h, err
		}
		p.space()
		valueAt := p.at
		switch key {
		case "descr":
			if p.peek() == '[' {
				return h, unsupported{"structured arrays are not supported"}
			}
			descr, err := p.str()
			if err != nil {
				return h, err
			}
			if h.kind, h.bigEndian, err = parseDescr(descr); err != nil {
				return h, err
			}
		case "fortran_order":
			if h.fortran, err = p.boolean(); err != nil {
				return h, err
			}
		case "shape":
			if h.shape, err = p.tuple(); err != nil {
				return h, err
			}
			if len(h.shape) > maxRank {
				return h, &literalError{valueAt, fmt.Sprintf("%d axes: want at most %d", len(h.shape), maxRank)}
			}
		default:
			return h, &literalError{at, fmt.Sprintf("unknown key %q: want descr, fortran_order and shape", key)}
		}
		if !p.accept(',') {
			if err := p.expect('}'); err != nil {
				return h, err
			}
			break
		}
	}
	if p.space(); p.at != len(text) {
		return h, &literalError{p.at, fmt.Sprintf("%q after the dictionary", clip(text[p.at:]))}
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return h, &literalError{0, fmt.Sprintf("no key %q", key)}
		}
	}
	n, err := tensor.Numel(h.shape)
	if err != nil {
		return h, &literalError{0, err.Error()}
	}
	if int64(n) > math.MaxInt64/int64(h.kind.size) {
		return h, &literalError{0, fmt.Sprintf("shape %v of %s holds too many bytes", h.shape, h.kind)}
	}
	h.bytes = int64(n) * int64(h.kind.size)
	return h, nil
}

// parseDescr parses a type such as "<f4". "=" and "|" mean little-endian: NumPy
// writes them only where the order does not matter.
func parseDescr(descr string) (kind dtype, bigEndian bool, err error) {
	if len(descr) < 3 || !strings.ContainsRune("<>|=", rune(descr[0])) {
		return kind, false, unsupported{fmt.Sprintf("type %q: want a byte order (<, >, | or =) and a type", clip(descr))}
	}
	size, err := strconv.Atoi(descr[2:])
	if err != nil || len(descr) != 3 {
		size = 0
	}
	kind = dtype{descr[1], size}
	known := false
	switch kind.class {
	case 'f':
		known = size == 2 || size == 4 || size == 8
	case 'i', 'u':
		known = size == 1 || size == 2 || size == 4 || size == 8
	case 'b':
		known = size == 1
	case 'O':
		return kind, false, unsupported{"object arrays hold pickles and are not supported"}
	}
	if !known {
		return kind, false, unsupported{fmt.Sprintf("type %q: want f2, f4, f8, i1 to i8, u1 to u8 or b1", clip(descr))}
	}
	return kind, descr[0] == '>', nil
}

// unsupported is a header that is well-formed but holds what we do not read.
type unsupported struct{ msg string }

func (e unsupported) Error() string { return e.msg }
func (e unsupported) Unwrap() error { return fileerr.ErrUnsupported }

// literalError is a defect at a byte of the header's text.
type literalError struct {
	at  int
	msg string
}

func (e *literalError) Error() string { return e.msg }

// offsetOf returns where in the header's text err lies.
func offsetOf(err error) int {
	var l *literalError
	if errors.As(err, &l) {
		return l.at
	}
	return 0
}

// literal reads the few Python literals that a header may hold.
type literal struct {
	text string
	at   int
}

func (p *literal) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\n\r\f", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek returns the next byte, 0 at the end.
func (p *literal) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// accept skips white space and then c, if it is there.
func (p *literal) accept(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *literal) expect(c byte) error {
	if p.accept(c) {
		return nil
	}
	return p.errorf("%q", c)
}

func (p *literal) errorf(want string, args ...any) error {
	got := "the end"
	if p.at < len(p.text) {
		got = fmt.Sprintf("%q", clip(p.text[p.at:]))
	}
	return &literalError{p.at, fmt.Sprintf("header has %s: want %s", got, fmt.Sprintf(want, args...))}
}

// str reads a string in single or double quotes. Backslashes are refused: no
// name that we know has one.
func (p *literal) str() (string, error) {
	p.space()
	quote := p.peek()
	if quote != '\'' && quote != '"' {
		return "", p.errorf("a string")
	}
	end := strings.IndexByte(p.text[p.at+1:], quote)
	if end < 0 {
		return "", p.errorf("a closed string")
	}
	s := p.text[p.at+1 : p.at+1+end]
	if strings.ContainsAny(s, "\\\n") {
		return "", p.errorf("a string without escapes")
	}
	p.at += end + 2
	return s, nil
}

func (p *literal) boolean() (bool, error) {
	p.space()
	for word, v := range map[string]bool{"True": true, "False": false} {
		if strings.HasPrefix(p.text[p.at:], word) {
			p.at += len(word)
			return v, nil
		}
	}
	return false, p.errorf("True or False")
}

// integer reads a non-negative decimal, with the suffix L of Python 2.
func (p *literal) integer() (int, error) {
	p.space()
	end := p.at
	for end < len(p.text) && p.text[end] >= '0' && p.text[end] <= '9' {
		end++
	}
	if end == p.at {
		return 0, p.errorf("a non-negative integer")
	}
	v, err := strconv.Atoi(p.text[p.at:end])
	if err != nil {
		return 0, p.errorf("an integer of at most 64 bits")
	}
	p.at = end
	if p.peek() == 'L' {
		p.at++
	}
	return v, nil
}

// tuple reads a tuple of integers: (), (3,), (2, 3) or (2, 3,). Without a comma
// (3) is no tuple.
func (p *literal) tuple() ([]int, error) {
	if err := p.expect('('); err != nil {
		return nil, err
	}
	values := []int{}
	for !p.accept(')') {
		v, err := p.integer()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if p.accept(',') {
			continue
		}
		if len(values) == 1 {
			return nil, p.errorf("a comma: one number in brackets is no tuple")
		}
		if err := p.expect(')'); err != nil {
			return nil, err
		}
		break
	}
	return values, nil
}

// clip shortens text for a message.
func clip(s string) string {
	if len(s) > 24 {
		return s[:24] + "..."
	}
	return s
}
