// Package pickle reads Python pickles as data. It is an interpreter of the
// opcodes that torch.save writes (protocols 2 to 5), and it can neither import
// nor call anything: what a global name or a call means is decided by a [Host],
// which answers with plain values or refuses.
//
// Every length in a stream is compared with what is left of it before anything
// is allocated, memo and stack are bounded by the length of the stream, and
// values stay shared as the stream shares them: a reader must never walk them
// as a tree without remembering where it has been.
package pickle

import (
	"bufio"
	"fmt"
	"io"

	"github.com/adafire/adafire/internal/fileerr"
)

// A Value is nil, bool, int64, float64, string, []byte, [Long], *[List],
// *[Tuple], *[Dict], [Opaque], or whatever a Host returns.
type Value any

// A Long is an integer beyond 64 bits: its bytes as they stand in the stream,
// little-endian two's complement.
type Long string

// A List is a Python list or set.
type List struct{ Items []Value }

// A Tuple is a Python tuple.
type Tuple struct{ Items []Value }

// An Opaque stands for an object that is allowed to be in the stream and is
// never looked into.
type Opaque struct{ Name string }

// A Dict is a Python dictionary in the order of its insertions. Keys that are
// no strings are named after their value.
type Dict struct {
	Keys   []string
	Values []Value
	index  map[string]int
}

// NewDict returns an empty dictionary.
func NewDict() *Dict { return &Dict{index: make(map[string]int)} }

// Get returns the value of a key.
func (d *Dict) Get(key string) (Value, bool) {
	i, ok := d.index[key]
	if !ok {
		return nil, false
	}
	return d.Values[i], true
}

// Set adds a key or replaces its value.
func (d *Dict) Set(key string, v Value) {
	if i, ok := d.index[key]; ok {
		d.Values[i] = v
		return
	}
	d.index[key] = len(d.Keys)
	d.Keys, d.Values = append(d.Keys, key), append(d.Values, v)
}

// setKey is Set for any key. Keys are named without walking into them.
func (d *Dict) setKey(key, v Value) {
	switch k := key.(type) {
	case string:
		d.Set(k, v)
	case nil, bool, int64, float64:
		d.Set(fmt.Sprint(k), v)
	default:
		d.Set(fmt.Sprintf("<%T %d>", key, len(d.Keys)), v)
	}
}

// A Host gives meaning to what a pickle refers to. An error from it ends the
// reading; the interpreter adds file and offset to errors that lack them.
type Host interface {
	// Global resolves a name such as collections.OrderedDict.
	Global(module, name string) (Value, error)
	// Call is the result of calling what Global returned.
	Call(callee Value, args []Value) (Value, error)
	// Build sets the state of an object that is neither dictionary nor opaque.
	Build(object, state Value) error
	// Persistent resolves a persistent id.
	Persistent(id Value) (Value, error)
}

// A Reader reads pickles that follow each other in a stream.
type Reader struct {
	path string
	br   *bufio.Reader
	off  int64 // of the next byte, in the file
	end  int64
}

// NewReader returns a reader of the size bytes of r, which begin at offset base
// of the file path; both are for messages.
func NewReader(r io.Reader, path string, base, size int64) *Reader {
	return &Reader{path: path, br: bufio.NewReader(io.LimitReader(r, size)), off: base, end: base + size}
}

// Offset returns the offset of the byte that will be read next.
func (r *Reader) Offset() int64 { return r.off }

func (r *Reader) errorf(off int64, format string, args ...any) error {
	return fileerr.New(r.path, off, format, args...)
}

func (r *Reader) byte() (byte, error) {
	b, err := r.br.ReadByte()
	if err != nil {
		return 0, r.ended(err, 1)
	}
	r.off++
	return b, nil
}

// bytes reads n bytes, which must be there.
func (r *Reader) bytes(n uint64) ([]byte, error) {
	if left := r.end - r.off; n > uint64(left) {
		return nil, r.errorf(r.off, "%d bytes announced: %d remain", n, left)
	}
	b := make([]byte, n)
	got, err := io.ReadFull(r.br, b)
	r.off += int64(got)
	if err != nil {
		return nil, r.ended(err, int64(n)-int64(got))
	}
	return b, nil
}

func (r *Reader) ended(err error, want int64) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return r.errorf(r.off, "the pickle ends without STOP: want %d more bytes at least", want)
	}
	return fmt.Errorf("%s: offset %d: %w", r.path, r.off, err)
}

// number reads an unsigned little-endian number of n bytes.
func (r *Reader) number(n int) (uint64, error) {
	var v uint64
	for i := range n {
		b, err := r.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b) << (8 * i)
	}
	return v, nil
}

// maxLine bounds the module and the name of a global.
const maxLine = 4096

func (r *Reader) line() (string, error) {
	var b []byte
	for {
		c, err := r.byte()
		if err != nil {
			return "", err
		}
		if c == '\n' {
			return string(b), nil
		}
		if b = append(b, c); len(b) > maxLine {
			return "", r.errorf(r.off, "a name of more than %d bytes", maxLine)
		}
	}
}

// sized reads a length of width bytes and as many bytes.
func (r *Reader) sized(width int) ([]byte, error) {
	n, err := r.number(width)
	if err != nil {
		return nil, err
	}
	return r.bytes(n)
}
