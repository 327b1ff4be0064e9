package pickle

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/adafire/adafire/internal/fileerr"
)

// A machine runs one pickle.
type machine struct {
	*Reader
	host  Host
	stack []Value
	marks []int // lengths of the stack at the open marks
	memo  map[uint64]Value
	at    int64 // offset of the current opcode
}

// Next reads one pickle, from PROTO to STOP. Malformed streams and opcodes that
// torch.save does not write give a *fileerr.FormatError, and so do the host's
// errors, with the offset of the opcode.
func (r *Reader) Next(host Host) (Value, error) {
	m := &machine{Reader: r, host: host, memo: make(map[uint64]Value)}
	for first := true; ; first = false {
		m.at = r.off
		op, err := r.byte()
		if err != nil {
			return nil, err
		}
		if first && op != opProto {
			return nil, m.fail("the stream begins with byte %#02x: want a pickle of protocol 2 to 5", op)
		}
		if op == opStop {
			if len(m.stack) != 1 || len(m.marks) != 0 {
				return nil, m.fail("STOP with %d values and %d marks on the stack: want one value", len(m.stack), len(m.marks))
			}
			return m.stack[0], nil
		}
		if err := m.step(op); err != nil {
			return nil, m.wrap(err)
		}
	}
}

func (m *machine) fail(format string, args ...any) error { return m.errorf(m.at, format, args...) }

// wrap gives errors of the host a place.
func (m *machine) wrap(err error) error {
	var format *fileerr.FormatError
	if errors.As(err, &format) {
		return err
	}
	if errors.Is(err, fileerr.ErrUnsupported) {
		return fmt.Errorf("%s: offset %d: %w", m.path, m.at, err)
	}
	return m.fail("%s", err)
}

func (m *machine) push(v Value) error {
	m.stack = append(m.stack, v)
	return nil
}

// floor is the height of the stack below which the current frame cannot reach.
func (m *machine) floor() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

func (m *machine) pop() (Value, error) {
	n := len(m.stack)
	if n <= m.floor() {
		return nil, m.fail("the stack is empty")
	}
	v := m.stack[n-1]
	m.stack = m.stack[:n-1]
	return v, nil
}

func (m *machine) pop2() (below, top Value, err error) {
	if top, err = m.pop(); err != nil {
		return nil, nil, err
	}
	below, err = m.pop()
	return below, top, err
}

func (m *machine) top() (Value, error) {
	n := len(m.stack)
	if n <= m.floor() {
		return nil, m.fail("the stack is empty")
	}
	return m.stack[n-1], nil
}

// popMark returns a copy of the values above the last mark and drops both.
func (m *machine) popMark() ([]Value, error) {
	n := len(m.marks)
	if n == 0 {
		return nil, m.fail("no mark on the stack")
	}
	from := m.marks[n-1]
	items := append([]Value(nil), m.stack[from:]...)
	m.stack, m.marks = m.stack[:from], m.marks[:n-1]
	return items, nil
}

func (m *machine) step(op byte) error {
	switch op {
	case opProto:
		v, err := m.byte()
		if err != nil {
			return err
		}
		if v < 2 || v > 5 {
			return m.fail("pickle protocol %d: want 2 to 5", v)
		}
		return nil
	case opFrame:
		n, err := m.number(8)
		if err != nil {
			return err
		}
		if left := m.end - m.off; n > uint64(left) {
			return m.fail("a frame of %d bytes: %d remain", n, left)
		}
		return nil
	case opMark:
		m.marks = append(m.marks, len(m.stack))
		return nil
	case opPop:
		if n := len(m.marks); n > 0 && m.marks[n-1] == len(m.stack) {
			m.marks = m.marks[:n-1]
			return nil
		}
		_, err := m.pop()
		return err
	case opPopMark:
		_, err := m.popMark()
		return err
	case opDup:
		v, err := m.top()
		if err != nil {
			return err
		}
		return m.push(v)
	case opNone:
		return m.push(nil)
	case opTrue, opFalse:
		return m.push(op == opTrue)
	case opBinInt, opBinInt1, opBinInt2, opLong1, opLong4, opBinFloat:
		return m.stepNumber(op)
	case opBinUnicode, opShortBinUnicode, opBinUnicode8, opBinString, opShortBinString, opBinBytes, opShortBinBytes, opBinBytes8:
		return m.stepString(op)
	case opEmptyDict:
		return m.push(NewDict())
	case opEmptyList, opEmptySet:
		return m.push(&List{})
	case opEmptyTuple:
		return m.push(&Tuple{})
	case opTuple, opTuple1, opTuple2, opTuple3:
		return m.stepTuple(op)
	case opAppend, opAppends, opAddItems, opSetItem, opSetItems:
		return m.stepItems(op)
	case opBinPut, opLongBinPut, opMemoize, opBinGet, opLongBinGet:
		return m.stepMemo(op)
	case opGlobal, opStackGlobal, opReduce, opNewObj, opBuild, opBinPersID:
		return m.stepObject(op)
	}
	return m.refuse(op)
}

func (m *machine) stepNumber(op byte) error {
	switch op {
	case opBinInt1, opBinInt2, opBinInt:
		width := map[byte]int{opBinInt1: 1, opBinInt2: 2, opBinInt: 4}[op]
		v, err := m.number(width)
		if err != nil {
			return err
		}
		if op == opBinInt {
			return m.push(int64(int32(v)))
		}
		return m.push(int64(v))
	case opBinFloat:
		b, err := m.bytes(8)
		if err != nil {
			return err
		}
		var bits uint64
		for _, c := range b {
			bits = bits<<8 | uint64(c)
		}
		return m.push(math.Float64frombits(bits))
	}
	width := 1
	if op == opLong4 {
		width = 4
	}
	n, err := m.number(width)
	if err != nil {
		return err
	}
	if op == opLong4 && n > 8 {
		return m.fail("LONG4 of %d bytes: want at most 8", int32(n))
	}
	b, err := m.bytes(n)
	if err != nil {
		return err
	}
	if n > 8 {
		return m.push(Long(b))
	}
	var v int64
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | int64(b[i])
	}
	if n > 0 && n < 8 && b[n-1] >= 0x80 {
		v -= 1 << (8 * n)
	}
	return m.push(v)
}

func (m *machine) stepString(op byte) error {
	width := 4
	switch op {
	case opShortBinUnicode, opShortBinString, opShortBinBytes:
		width = 1
	case opBinUnicode8, opBinBytes8:
		width = 8
	}
	b, err := m.sized(width)
	if err != nil {
		return err
	}
	switch op {
	case opBinBytes, opShortBinBytes, opBinBytes8:
		return m.push(b)
	case opBinUnicode, opShortBinUnicode, opBinUnicode8:
		if !utf8.Valid(b) {
			return m.fail("a string is not UTF-8")
		}
	}
	return m.push(string(b))
}

func (m *machine) stepTuple(op byte) error {
	if op == opTuple {
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.push(&Tuple{items})
	}
	n := int(op-opTuple1) + 1
	if len(m.stack)-m.floor() < n {
		return m.fail("the stack holds %d values: want %d for a tuple", len(m.stack)-m.floor(), n)
	}
	from := len(m.stack) - n
	t := &Tuple{append([]Value(nil), m.stack[from:]...)}
	m.stack = m.stack[:from]
	return m.push(t)
}

// stepItems adds to the list or dictionary below the items. Opaque objects
// swallow what is added to them.
func (m *machine) stepItems(op byte) error {
	var items []Value
	var err error
	switch op {
	case opAppend:
		var v Value
		v, err = m.pop()
		items = []Value{v}
	case opSetItem:
		var k, v Value
		k, v, err = m.pop2()
		items = []Value{k, v}
	default:
		items, err = m.popMark()
	}
	if err != nil {
		return err
	}
	target, err := m.top()
	if err != nil {
		return err
	}
	pairs := op == opSetItem || op == opSetItems
	switch t := target.(type) {
	case Opaque:
		return nil
	case *List:
		if !pairs {
			t.Items = append(t.Items, items...)
			return nil
		}
	case *Dict:
		if pairs {
			if len(items)%2 != 0 {
				return m.fail("a dictionary gets %d keys and values: want pairs", len(items))
			}
			for i := 0; i < len(items); i += 2 {
				t.setKey(items[i], items[i+1])
			}
			return nil
		}
	}
	return m.fail("items are added to a %T", target)
}

func (m *machine) stepMemo(op byte) error {
	var key uint64
	var err error
	switch op {
	case opMemoize:
		key = uint64(len(m.memo))
	case opBinPut, opBinGet:
		key, err = m.number(1)
	default:
		key, err = m.number(4)
	}
	if err != nil {
		return err
	}
	if op == opBinGet || op == opLongBinGet {
		v, ok := m.memo[key]
		if !ok {
			return m.fail("memo %d was never set", key)
		}
		return m.push(v)
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	m.memo[key] = v
	return nil
}

func (m *machine) stepObject(op byte) error {
	switch op {
	case opGlobal, opStackGlobal:
		module, name, err := m.globalName(op)
		if err != nil {
			return err
		}
		v, err := m.host.Global(module, name)
		if err != nil {
			return err
		}
		return m.push(v)
	case opBinPersID:
		id, err := m.pop()
		if err != nil {
			return err
		}
		v, err := m.host.Persistent(id)
		if err != nil {
			return err
		}
		return m.push(v)
	case opBuild:
		object, state, err := m.pop2()
		if err != nil {
			return err
		}
		switch object.(type) {
		case *Dict, Opaque:
			// An OrderedDict's attributes (_metadata) say nothing about tensors.
		default:
			if err := m.host.Build(object, state); err != nil {
				return err
			}
		}
		return m.push(object)
	}
	callee, args, err := m.pop2() // REDUCE, NEWOBJ
	if err != nil {
		return err
	}
	tuple, ok := args.(*Tuple)
	if !ok {
		if _, opaque := args.(Opaque); !opaque {
			return m.fail("the arguments of a call are a %T: want a tuple", args)
		}
		tuple = &Tuple{}
	}
	if o, ok := callee.(Opaque); ok {
		return m.push(o)
	}
	v, err := m.host.Call(callee, tuple.Items)
	if err != nil {
		return err
	}
	return m.push(v)
}

func (m *machine) globalName(op byte) (module, name string, err error) {
	if op == opGlobal {
		if module, err = m.line(); err != nil {
			return "", "", err
		}
		name, err = m.line()
		return module, name, err
	}
	below, top, err := m.pop2()
	if err != nil {
		return "", "", err
	}
	module, ok1 := below.(string)
	name, ok2 := top.(string)
	if !ok1 || !ok2 || len(module) > maxLine || len(name) > maxLine {
		return "", "", m.fail("STACK_GLOBAL wants two names: got a %T and a %T", below, top)
	}
	return module, name, nil
}

// refuse names an opcode that is not run.
func (m *machine) refuse(op byte) error {
	if op == opInst { // the class stands in the stream: say which
		module, err := m.line()
		if err != nil {
			return err
		}
		name, err := m.line()
		if err != nil {
			return err
		}
		return m.fail("opcode INST would create a %s.%s: refused", module, name)
	}
	if name := refused[op]; name != "" {
		return m.fail("opcode %s: torch.save never writes it, refused", name)
	}
	return m.fail("opcode %#02x is unknown", op)
}
