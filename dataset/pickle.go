package dataset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// This is a reader for the few pickles that CIFAR is distributed in: a dict of
// strings, lists of integers and strings, and one NumPy array of bytes,
// written by Python 2 (protocol 2) or saved again by Python 3 (up to 4).
// It builds these values and nothing else. A pickle is a program for a stack
// machine that may call any Python function; the only calls understood here
// are those that make an array, a dtype, and bytes out of a string. Every
// other instruction and every other global is refused.

type (
	pickleText []byte // str or bytes, part of the file where possible
	pickleInt  struct{ value, at int64 }
	pickleNone struct{}
	pickleBool bool
	pickleMark struct{}

	pickleTuple []any
	pickleList  struct {
		items []any
		at    int64
	}
	pickleDict struct {
		values map[string]any
		at     int64
	}
	pickleGlobal string // "module.name"
	pickleDtype  struct{ code string }
	pickleArray  struct {
		code    string // of the type, as "u1"
		shape   []int
		fortran bool // first index fastest
		data    []byte
		at      int64
	}
)

// maxPickleValues bounds the values made by one file; train of CIFAR-100 has
// 150,000.
const maxPickleValues = 1 << 20

// pickleOps names the instructions for messages.
var pickleOps = map[byte]string{
	'(': "MARK", '.': "STOP", '0': "POP", '1': "POP_MARK", '2': "DUP", 'F': "FLOAT", 'I': "INT", 'J': "BININT",
	'K': "BININT1", 'L': "LONG", 'M': "BININT2", 'N': "NONE", 'P': "PERSID", 'Q': "BINPERSID", 'R': "REDUCE",
	'S': "STRING", 'T': "BINSTRING", 'U': "SHORT_BINSTRING", 'V': "UNICODE", 'X': "BINUNICODE", 'a': "APPEND",
	'b': "BUILD", 'c': "GLOBAL", 'd': "DICT", '}': "EMPTY_DICT", 'e': "APPENDS", 'g': "GET", 'h': "BINGET",
	'i': "INST", 'j': "LONG_BINGET", 'l': "LIST", ']': "EMPTY_LIST", 'o': "OBJ", 'p': "PUT", 'q': "BINPUT",
	'r': "LONG_BINPUT", 's': "SETITEM", 't': "TUPLE", ')': "EMPTY_TUPLE", 'u': "SETITEMS", 'G': "BINFLOAT",
	0x80: "PROTO", 0x81: "NEWOBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x85: "TUPLE1", 0x86: "TUPLE2",
	0x87: "TUPLE3", 0x88: "NEWTRUE", 0x89: "NEWFALSE", 0x8a: "LONG1", 0x8b: "LONG4", 'B': "BINBYTES",
	'C': "SHORT_BINBYTES", 0x8c: "SHORT_BINUNICODE", 0x8d: "BINUNICODE8", 0x8e: "BINBYTES8", 0x8f: "EMPTY_SET",
	0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX", 0x93: "STACK_GLOBAL", 0x94: "MEMOIZE", 0x95: "FRAME",
	0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}

// pickleGlobals maps the globals that are understood, under their names in
// NumPy 1 and 2, to what they are.
var pickleGlobals = map[string]pickleGlobal{
	"numpy.core.multiarray._reconstruct":  "reconstruct",
	"numpy._core.multiarray._reconstruct": "reconstruct",
	"numpy.ndarray":                       "ndarray",
	"numpy.dtype":                         "dtype",
	"_codecs.encode":                      "encode",
}

// A pickleReader runs one pickle.
type pickleReader struct {
	path   string
	data   []byte
	pos    int
	at     int64 // of the instruction being run
	op     byte
	stack  []any
	memo   map[uint32]any
	values int
	coded  int // bytes that encode has made
}

// readPickleDict reads a pickle that holds one dict.
func readPickleDict(b blob) (*pickleDict, error) {
	r := &pickleReader{path: b.path, data: b.data, memo: map[uint32]any{}}
	v, err := r.run()
	if err != nil {
		return nil, err
	}
	d, ok := v.(*pickleDict)
	if !ok {
		return nil, fileerr.New(b.path, 0, "pickle holds a %s, want a dict", pickleKind(v))
	}
	return d, nil
}

// fail is an error at the current instruction.
func (r *pickleReader) fail(format string, args ...any) error {
	name := pickleOps[r.op]
	if name == "" {
		name = fmt.Sprintf("%#02x", r.op)
	}
	return fileerr.New(r.path, r.at, "pickle instruction %s: %s", name, fmt.Sprintf(format, args...))
}

// run executes the pickle up to STOP, which must be the file's last byte.
func (r *pickleReader) run() (any, error) {
	for {
		if r.pos >= len(r.data) {
			return nil, fileerr.New(r.path, int64(r.pos), "truncated pickle: no STOP at the end")
		}
		r.at, r.op = int64(r.pos), r.data[r.pos]
		r.pos++
		if r.op == '.' {
			if len(r.stack) != 1 {
				return nil, r.fail("%d values on the stack, want 1", len(r.stack))
			}
			if rest := len(r.data) - r.pos; rest > 0 {
				return nil, fileerr.New(r.path, int64(r.pos), "%d trailing bytes behind the pickle", rest)
			}
			return r.stack[0], nil
		}
		if err := r.step(); err != nil {
			return nil, err
		}
	}
}

// take returns the next n bytes of the file.
func (r *pickleReader) take(n uint64) ([]byte, error) {
	if rest := uint64(len(r.data) - r.pos); n > rest {
		return nil, r.fail("truncated: wants %d bytes, %d remain", n, rest)
	}
	b := r.data[r.pos : r.pos+int(n) : r.pos+int(n)]
	r.pos += int(n)
	return b, nil
}

// number reads a little-endian unsigned integer of size bytes.
func (r *pickleReader) number(size uint64) (uint64, error) {
	b, err := r.take(size)
	if err != nil {
		return 0, err
	}
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:]), nil
}

// text reads a string with a length of size bytes.
func (r *pickleReader) text(size uint64) (pickleText, error) {
	n, err := r.number(size)
	if err != nil {
		return nil, err
	}
	return r.take(n)
}

func (r *pickleReader) push(v any) error {
	if r.values++; r.values > maxPickleValues {
		return r.fail("more than %d values", maxPickleValues)
	}
	r.stack = append(r.stack, v)
	return nil
}

// pop removes n values from the stack; a mark is not a value.
func (r *pickleReader) pop(n int) ([]any, error) {
	k := len(r.stack) - n
	if k < 0 {
		return nil, r.fail("stack holds %d values, wants %d", len(r.stack), n)
	}
	for _, v := range r.stack[k:] {
		if _, ok := v.(pickleMark); ok {
			return nil, r.fail("a mark where a value is expected")
		}
	}
	top := r.stack[k:]
	r.stack = r.stack[:k]
	return top, nil
}

// popMark removes the values above the last mark, and the mark.
func (r *pickleReader) popMark() ([]any, error) {
	for k := len(r.stack) - 1; k >= 0; k-- {
		if _, ok := r.stack[k].(pickleMark); ok {
			top := r.stack[k+1:]
			r.stack = r.stack[:k]
			return top, nil
		}
	}
	return nil, r.fail("no mark on the stack")
}

// step runs one instruction.
func (r *pickleReader) step() error {
	switch r.op {
	case 0x80:
		v, err := r.number(1)
		if err == nil && (v < 2 || v > 4) {
			err = r.fail("protocol %d, want 2 to 4", v)
		}
		return err
	case 0x95: // the length of a frame, only for readers that stream
		_, err := r.number(8)
		return err
	case '(':
		return r.push(pickleMark{})
	case '}':
		return r.push(&pickleDict{values: map[string]any{}, at: r.at})
	case ']':
		return r.push(&pickleList{at: r.at})
	case ')':
		return r.push(pickleTuple{})
	case 'N':
		return r.push(pickleNone{})
	case 0x88, 0x89:
		return r.push(pickleBool(r.op == 0x88))
	case 'K', 'M', 'J':
		return r.integer()
	case 'U', 'T', 'C', 'B', 0x8e, 'X', 0x8c:
		size := map[byte]uint64{'U': 1, 'T': 4, 'C': 1, 'B': 4, 0x8e: 8, 'X': 4, 0x8c: 1}[r.op]
		v, err := r.text(size)
		if err != nil {
			return err
		}
		return r.push(v)
	case 'q', 'r', 0x94, 'h', 'j':
		return r.remember()
	case 't', 0x85, 0x86, 0x87:
		return r.tuple()
	case 'a', 'e', 's', 'u':
		return r.fill()
	case 'c', 0x93:
		return r.global()
	case 'R':
		return r.reduce()
	case 'b':
		return r.build()
	}
	return r.fail("not allowed in a CIFAR file")
}

func (r *pickleReader) integer() error {
	size := map[byte]uint64{'K': 1, 'M': 2, 'J': 4}[r.op]
	v, err := r.number(size)
	if err != nil {
		return err
	}
	n := int64(v)
	if r.op == 'J' {
		n = int64(int32(v))
	}
	return r.push(pickleInt{n, r.at})
}

// remember stores the top of the stack, or fetches what was stored.
func (r *pickleReader) remember() error {
	key := uint64(len(r.memo)) // MEMOIZE
	if r.op != 0x94 {
		size := map[byte]uint64{'q': 1, 'r': 4, 'h': 1, 'j': 4}[r.op]
		var err error
		if key, err = r.number(size); err != nil {
			return err
		}
	}
	if r.op == 'h' || r.op == 'j' {
		v, ok := r.memo[uint32(key)]
		if !ok {
			return r.fail("nothing was stored under %d", key)
		}
		return r.push(v)
	}
	top, err := r.pop(1)
	if err != nil {
		return err
	}
	if len(r.memo) >= maxPickleValues {
		return r.fail("more than %d stored values", maxPickleValues)
	}
	r.memo[uint32(key)] = top[0]
	r.stack = append(r.stack, top[0])
	return nil
}

func (r *pickleReader) tuple() error {
	var top []any
	var err error
	if r.op == 't' {
		top, err = r.popMark()
	} else {
		top, err = r.pop(int(r.op-0x85) + 1)
	}
	if err != nil {
		return err
	}
	return r.push(append(pickleTuple{}, top...))
}

// fill appends to a list or sets items of a dict.
func (r *pickleReader) fill() error {
	var top []any
	var err error
	switch r.op {
	case 'a':
		top, err = r.pop(1)
	case 's':
		top, err = r.pop(2)
	default:
		top, err = r.popMark()
	}
	if err != nil {
		return err
	}
	if len(r.stack) == 0 {
		return r.fail("nothing on the stack to fill")
	}
	target := r.stack[len(r.stack)-1]
	if r.op == 'a' || r.op == 'e' {
		list, ok := target.(*pickleList)
		if !ok {
			return r.fail("appends to a %s, want a list", pickleKind(target))
		}
		list.items = append(list.items, top...)
		return nil
	}
	dict, ok := target.(*pickleDict)
	if !ok {
		return r.fail("sets items of a %s, want a dict", pickleKind(target))
	}
	if len(top)%2 != 0 {
		return r.fail("%d keys and values: want pairs", len(top))
	}
	for k := 0; k < len(top); k += 2 {
		key, ok := top[k].(pickleText)
		if !ok {
			return r.fail("key is a %s, want a string", pickleKind(top[k]))
		}
		if len(key) > 64 {
			return r.fail("key of %d bytes, at most 64 are read", len(key))
		}
		if _, twice := dict.values[string(key)]; twice {
			return r.fail("key %q occurs twice", key)
		}
		dict.values[string(key)] = top[k+1]
	}
	return nil
}

// global pushes one of the few known globals.
func (r *pickleReader) global() error {
	var name string
	if r.op == 'c' {
		var parts [2]string
		for k := range parts {
			line, _, ok := bytes.Cut(r.data[r.pos:], []byte("\n"))
			if !ok {
				return r.fail("truncated: no end of line behind the name")
			}
			if len(line) > 64 {
				return r.fail("name of %d bytes, at most 64 are read", len(line))
			}
			parts[k] = string(line)
			r.pos += len(line) + 1
		}
		name = parts[0] + "." + parts[1]
	} else {
		top, err := r.pop(2)
		if err != nil {
			return err
		}
		module, ok1 := top[0].(pickleText)
		attr, ok2 := top[1].(pickleText)
		if !ok1 || !ok2 || len(module) > 64 || len(attr) > 64 {
			return r.fail("module and name are not two short strings")
		}
		name = string(module) + "." + string(attr)
	}
	g, ok := pickleGlobals[name]
	if !ok {
		return r.fail("global %q is not allowed in a CIFAR file", name)
	}
	return r.push(g)
}

// reduce calls one of the known globals.
func (r *pickleReader) reduce() error {
	top, err := r.pop(2)
	if err != nil {
		return err
	}
	f, ok := top[0].(pickleGlobal)
	args, ok2 := top[1].(pickleTuple)
	if !ok || !ok2 {
		return r.fail("calls a %s with a %s, want a global with a tuple", pickleKind(top[0]), pickleKind(top[1]))
	}
	switch {
	case f == "reconstruct" && len(args) == 3 && args[0] == any(pickleGlobal("ndarray")):
		return r.push(&pickleArray{at: r.at})
	case f == "dtype" && len(args) == 3:
		code, ok := args[0].(pickleText)
		if !ok || len(code) > 8 {
			return r.fail("dtype without a name")
		}
		return r.push(&pickleDtype{string(code)})
	case f == "encode" && len(args) == 2:
		// Python 3 writes bytes in protocol 2 as a string to be encoded.
		s, ok1 := args[0].(pickleText)
		enc, ok2 := args[1].(pickleText)
		if !ok1 || !ok2 || string(enc) != "latin1" {
			return r.fail("encodes something else than a string to latin1")
		}
		return r.encode(s)
	}
	return r.fail("calls %s with %d arguments that are not expected", f, len(args))
}

// encode pushes the bytes of a string of code points below 256.
func (r *pickleReader) encode(s []byte) error {
	// The same string may be encoded again and again.
	if r.coded += len(s); r.coded > len(r.data) {
		return r.fail("encodes more than the %d bytes of the file", len(r.data))
	}
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		c, n := utf8.DecodeRune(s)
		if c == utf8.RuneError && n <= 1 || c > 255 {
			return r.fail("character %d cannot be encoded to latin1", len(out))
		}
		out = append(out, byte(c))
		s = s[n:]
	}
	return r.push(pickleText(out))
}

// build sets the state of an array or a dtype.
func (r *pickleReader) build() error {
	top, err := r.pop(2)
	if err != nil {
		return err
	}
	state, ok := top[1].(pickleTuple)
	if !ok {
		return r.fail("state is a %s, want a tuple", pickleKind(top[1]))
	}
	switch v := top[0].(type) {
	case *pickleDtype: // byte order and such, without effect on bytes
		if v.code != "u1" {
			return r.fail("dtype %q, want \"u1\"", v.code)
		}
		r.stack = append(r.stack, v)
		return nil
	case *pickleArray:
		if err := r.buildArray(v, state); err != nil {
			return err
		}
		r.stack = append(r.stack, v)
		return nil
	}
	return r.fail("sets the state of a %s", pickleKind(top[0]))
}

// buildArray reads the state (version, shape, dtype, fortran, data).
func (r *pickleReader) buildArray(a *pickleArray, state pickleTuple) error {
	if len(state) != 5 {
		return r.fail("array state of %d values, want 5", len(state))
	}
	shape, ok1 := state[1].(pickleTuple)
	dtype, ok2 := state[2].(*pickleDtype)
	data, ok3 := state[4].(pickleText)
	if !ok1 || !ok2 || !ok3 {
		return r.fail("array state holds a %s, a %s and a %s, want shape, dtype and data",
			pickleKind(state[1]), pickleKind(state[2]), pickleKind(state[4]))
	}
	switch f := state[3].(type) {
	case pickleBool:
		a.fortran = bool(f)
	case pickleInt: // Python 2.2
		a.fortran = f.value != 0
	default:
		return r.fail("array order is a %s, want a bool", pickleKind(state[3]))
	}
	a.shape = a.shape[:0]
	for _, d := range shape {
		n, ok := d.(pickleInt)
		if !ok || n.value < 0 {
			return r.fail("array shape holds something else than sizes")
		}
		a.shape = append(a.shape, int(n.value))
	}
	n, err := tensor.Numel(a.shape)
	if err != nil {
		return r.fail("array: %v", err)
	}
	if dtype.code != "u1" {
		return r.fail("array of type %q, want \"u1\"", dtype.code)
	}
	if n != len(data) {
		return r.fail("array of shape %v holds %d bytes, want %d", a.shape, len(data), n)
	}
	a.code, a.data = dtype.code, data
	return nil
}

// pickleKind names a value's type.
func pickleKind(v any) string {
	switch v.(type) {
	case pickleText:
		return "string"
	case pickleInt:
		return "number"
	case pickleNone:
		return "None"
	case pickleBool:
		return "bool"
	case pickleTuple:
		return "tuple"
	case *pickleList:
		return "list"
	case *pickleDict:
		return "dict"
	case pickleGlobal:
		return "global"
	case *pickleDtype:
		return "dtype"
	case *pickleArray:
		return "array"
	}
	return "mark"
}
