package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// machine executes the few instructions that this generator uses, on compiled
// functions (with physical registers). It is how the AVX-512 code is tested on
// machines that lack it; that it agrees with real processors is shown by the
// AVX2 code, which the kernel package runs for real and the same tests here
// interpret.
type machine struct {
	gp     map[string]uint64
	vec    [32][16]float32
	memory []segment
	zero   bool // flags of the last arithmetic instruction
	less   bool // as a signed number: sign flag != overflow flag
	steps  int
}

// segment is memory that may be accessed, nothing beside it.
type segment struct {
	base uint64
	data []byte
}

func newMachine() *machine { return &machine{gp: map[string]uint64{}} }

// floats and ints give a copy of values an address.
func (m *machine) floats(v []float32) uint64 {
	b := make([]byte, 0, 4*len(v))
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return m.place(b)
}

func (m *machine) ints(v []int) uint64 {
	b := make([]byte, 0, 8*len(v))
	for _, i := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(i))
	}
	return m.place(b)
}

func (m *machine) place(b []byte) uint64 {
	base := uint64(len(m.memory)+1)<<32 + 4
	m.memory = append(m.memory, segment{base, b})
	return base
}

// read returns the floats at an address that floats returned.
func (m *machine) read(addr uint64) []float32 {
	b := m.memory[addr>>32-1].data
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

type fault string

func failf(format string, args ...any) { panic(fault(fmt.Sprintf(format, args...))) }

func (m *machine) bytes(addr uint64, n int) []byte {
	if i := int(addr>>32) - 1; i >= 0 && i < len(m.memory) {
		s := m.memory[i]
		if off := addr - s.base; addr >= s.base && off+uint64(n) <= uint64(len(s.data)) {
			return s.data[off : off+uint64(n)]
		}
		failf("access to %d bytes at %d of a segment of %d", n, int64(addr-s.base), len(s.data))
	}
	failf("access to %d bytes at %#x, which is no memory", n, addr)
	return nil
}

func (m *machine) address(o operand.Mem) uint64 {
	addr := uint64(int64(o.Disp))
	if o.Base != nil {
		addr += m.gp[o.Base.Asm()]
	}
	if o.Index != nil {
		addr += m.gp[o.Index.Asm()] * uint64(o.Scale)
	}
	return addr
}

func (m *machine) int(o operand.Op) uint64 {
	switch o := o.(type) {
	case operand.Mem:
		return binary.LittleEndian.Uint64(m.bytes(m.address(o), 8))
	case reg.Register:
		return m.gp[o.Asm()]
	case operand.U8:
		return uint64(int64(int8(o)))
	case operand.U32:
		return uint64(int64(int32(o)))
	}
	failf("integer operand %v of type %T", o.Asm(), o)
	return 0
}

// lanes returns the number and the lanes of a vector register: 8 or 16.
func lanes(o operand.Op) (index, n int) {
	name := o.Asm()
	n = map[byte]int{'X': 4, 'Y': 8, 'Z': 16}[name[0]]
	index, err := strconv.Atoi(name[1:])
	if n == 0 || err != nil {
		failf("%s is not a vector register", name)
	}
	return index, n
}

func (m *machine) vector(o operand.Op, n int) (v [16]float32) {
	if mem, ok := o.(operand.Mem); ok {
		b := m.bytes(m.address(mem), 4*n)
		for i := range n {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return v
	}
	index, _ := lanes(o)
	return m.vec[index]
}

// set writes n lanes of a register and zeroes the others.
func (m *machine) set(o operand.Op, lane func(i int) float32) {
	index, n := lanes(o)
	var v [16]float32
	for i := range n {
		v[i] = lane(i)
	}
	m.vec[index] = v
}

// fma rounds the exact product and the sum nearly as hardware does: float64
// holds the product, so only a tie after the second rounding can differ. The
// reference loops of the tests use it too.
func fma(a, b, c float32) float32 { return float32(float64(a)*float64(b) + float64(c)) }

func (m *machine) subtract(a, b uint64) uint64 {
	m.zero, m.less = a == b, int64(a) < int64(b)
	return a - b
}

// run executes fn. args is what lies at FP.
func (m *machine) run(fn *ir.Function, args []byte) (err error) {
	defer func() {
		if f, ok := recover().(fault); ok {
			err = fmt.Errorf("%s: %s", fn.Name, string(f))
		}
	}()
	m.gp["FP"] = m.place(args)
	at := map[string]int{}
	for i, n := range fn.Nodes {
		if l, ok := n.(ir.Label); ok {
			at[string(l)] = i
		}
	}
	for pc := 0; pc < len(fn.Nodes); pc++ {
		i, ok := fn.Nodes[pc].(*ir.Instruction)
		if !ok {
			continue
		}
		if m.steps++; m.steps > 1_000_000 {
			failf("does not end")
		}
		if i.IsTerminal {
			return nil
		}
		if i.IsBranch {
			if m.taken(i.Opcode) {
				pc = at[string(*i.TargetLabel())]
			}
			continue
		}
		m.execute(i)
	}
	failf("runs off its end")
	return nil
}

func (m *machine) taken(opcode string) bool {
	switch opcode {
	case "JMP":
		return true
	case "JE", "JEQ", "JZ":
		return m.zero
	case "JNE", "JNZ":
		return !m.zero
	case "JL", "JLT":
		return m.less
	case "JGE":
		return !m.less
	case "JLE":
		return m.less || m.zero
	case "JG", "JGT":
		return !m.less && !m.zero
	}
	failf("unknown branch %s", opcode)
	return false
}

func (m *machine) execute(i *ir.Instruction) {
	o := i.Operands
	last := o[max(0, len(o)-1):]
	name := func() string { return last[0].(reg.Register).Asm() }
	switch i.OpcodeWithSuffixes() {
	case "VZEROUPPER":
		for v := range m.vec {
			clear(m.vec[v][4:])
		}
	case "PREFETCHT0", "PREFETCHT1":
		m.address(o[0].(operand.Mem))
	case "MOVQ":
		m.gp[name()] = m.int(o[0])
	case "LEAQ":
		m.gp[name()] = m.address(o[0].(operand.Mem))
	case "CMOVQLT":
		if v := m.int(o[0]); m.less {
			m.gp[name()] = v
		}
	case "TESTQ":
		m.subtract(m.int(o[0])&m.int(o[1]), 0)
	case "CMPQ":
		m.subtract(m.int(o[0]), m.int(o[1]))
	case "ADDQ":
		m.gp[name()] = m.subtract(m.int(o[1]), -m.int(o[0]))
	case "SUBQ":
		m.gp[name()] = m.subtract(m.int(o[1]), m.int(o[0]))
	case "INCQ":
		m.gp[name()] = m.subtract(m.int(o[0]), ^uint64(0))
	case "DECQ":
		m.gp[name()] = m.subtract(m.int(o[0]), 1)
	case "NEGQ":
		m.gp[name()] = m.subtract(0, m.int(o[0]))
	case "VXORPS":
		a, b := m.vector(o[0], 16), m.vector(o[1], 16)
		m.set(o[2], func(i int) float32 { return math.Float32frombits(math.Float32bits(a[i]) ^ math.Float32bits(b[i])) })
	case "VMOVUPS":
		if mem, ok := o[1].(operand.Mem); ok {
			index, n := lanes(o[0])
			b := m.bytes(m.address(mem), 4*n)
			for i := range n {
				binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(m.vec[index][i]))
			}
			return
		}
		_, n := lanes(o[1])
		v := m.vector(o[0], n)
		m.set(o[1], func(i int) float32 { return v[i] })
	case "VBROADCASTSS":
		v := m.vector(o[0], 1)
		m.set(o[1], func(int) float32 { return v[0] })
	case "VADDPS", "VSUBPS", "VMULPS", "VMAXPS", "VMINPS", "VFMADD231PS", "VFMADD213PS":
		_, n := lanes(o[2])
		// Go's order is the reverse of the manuals': dst = op(b, a).
		a, b, dst := m.vector(o[0], n), m.vector(o[1], n), m.vector(o[2], n)
		m.set(o[2], func(k int) float32 {
			switch i.Opcode {
			case "VADDPS":
				return a[k] + b[k]
			case "VSUBPS":
				return b[k] - a[k]
			case "VMULPS":
				return a[k] * b[k]
			case "VMAXPS": // the second source unless the first is greater
				if b[k] > a[k] {
					return b[k]
				}
				return a[k]
			case "VMINPS":
				if b[k] < a[k] {
					return b[k]
				}
				return a[k]
			case "VFMADD231PS":
				return fma(a[k], b[k], dst[k])
			}
			return fma(b[k], dst[k], a[k])
		})
	default:
		failf("unknown instruction %s", i.OpcodeWithSuffixes())
	}
}
