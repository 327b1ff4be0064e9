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

// machine executes the instructions of the kernels that exist for AVX-512, on
// compiled functions (with physical registers), for machines that lack it. That
// it agrees with real processors is shown by the AVX2 code, which the kernel
// package runs for real and the same tests here interpret.
type machine struct {
	gp      map[string]uint64
	vec     [32][64]byte
	memory  []segment
	globals map[string]uint64
	zero    bool // flags of the last arithmetic instruction
	less    bool // as a signed number: sign flag != overflow flag
	steps   int
}

// segment is memory that may be accessed, nothing beside it.
type segment struct {
	base uint64
	data []byte
}

func newMachine(f *ir.File) *machine {
	m := &machine{gp: map[string]uint64{}, globals: map[string]uint64{}}
	for _, s := range f.Sections {
		g, ok := s.(*ir.Global)
		if !ok {
			continue
		}
		b := make([]byte, g.Size)
		for _, d := range g.Data {
			switch v := d.Value.(type) {
			case operand.U32:
				binary.LittleEndian.PutUint32(b[d.Offset:], uint32(v))
			case operand.U64:
				binary.LittleEndian.PutUint64(b[d.Offset:], uint64(v))
			default:
				failf("constant of type %T", v)
			}
		}
		m.globals[g.Symbol.Name] = m.place(b)
	}
	return m
}

func (m *machine) place(b []byte) uint64 {
	base := uint64(len(m.memory)+1)<<32 + 4
	m.memory = append(m.memory, segment{base, b})
	return base
}

// put gives values an address.
func put[T any](m *machine, v []T) uint64 {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		failf("%v", err)
	}
	return m.place(b)
}

// get returns the values at an address that put returned.
func get[T any](m *machine, addr uint64, n int) []T {
	v := make([]T, n)
	if _, err := binary.Decode(m.memory[addr>>32-1].data, binary.LittleEndian, v); err != nil {
		failf("%v", err)
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
	if o.Symbol.Name != "" && o.Base.Asm() == "SB" {
		return addr + m.globals[o.Symbol.Name]
	}
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
	case operand.I32:
		return uint64(int64(o))
	}
	failf("integer operand %v of type %T", o.Asm(), o)
	return 0
}

func (m *machine) setInt(o operand.Op, v uint64) {
	if mem, ok := o.(operand.Mem); ok {
		binary.LittleEndian.PutUint64(m.bytes(m.address(mem), 8), v)
		return
	}
	m.gp[o.(reg.Register).Asm()] = v
}

// register returns the number and the bytes of a vector register.
func register(o operand.Op) (index, n int) {
	name := o.Asm()
	n = map[byte]int{'X': 16, 'Y': 32, 'Z': 64}[name[0]]
	index, err := strconv.Atoi(name[1:])
	if n == 0 || err != nil {
		failf("%s is not a vector register", name)
	}
	return index, n
}

// vector is what an instruction sees in a register or in n bytes of memory.
type vector [64]byte

func (m *machine) vector(o operand.Op, n int) (v vector) {
	if mem, ok := o.(operand.Mem); ok {
		copy(v[:], m.bytes(m.address(mem), n))
		return v
	}
	index, _ := register(o)
	return m.vec[index]
}

// set writes a register and zeroes what lies behind its n bytes, or writes n
// bytes of memory.
func (m *machine) set(o operand.Op, v vector, n int) {
	if mem, ok := o.(operand.Mem); ok {
		copy(m.bytes(m.address(mem), n), v[:])
		return
	}
	index, _ := register(o)
	clear(v[n:])
	m.vec[index] = v
}

func (v *vector) u16(i int) uint16          { return binary.LittleEndian.Uint16(v[2*i:]) }
func (v *vector) u32(i int) uint32          { return binary.LittleEndian.Uint32(v[4*i:]) }
func (v *vector) u64(i int) uint64          { return binary.LittleEndian.Uint64(v[8*i:]) }
func (v *vector) float(i int) float32       { return math.Float32frombits(v.u32(i)) }
func (v *vector) put16(i int, x uint16)     { binary.LittleEndian.PutUint16(v[2*i:], x) }
func (v *vector) put32(i int, x uint32)     { binary.LittleEndian.PutUint32(v[4*i:], x) }
func (v *vector) put64(i int, x uint64)     { binary.LittleEndian.PutUint64(v[8*i:], x) }
func (v *vector) putFloat(i int, x float32) { v.put32(i, math.Float32bits(x)) }

func clampInt(x, lo, hi int32) int32 { return min(max(x, lo), hi) }

func (m *machine) subtract(a, b uint64) uint64 {
	m.zero, m.less = a == b, int64(a) < int64(b)
	return a - b
}

// run executes fn. args is what lies at FP.
func (m *machine) run(fn *ir.Function, args []byte) (err error) {
	defer func() {
		switch f := recover().(type) {
		case nil:
		case fault:
			err = fmt.Errorf("%s: %s", fn.Name, string(f))
		default:
			panic(f)
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
	case "JEQ":
		return m.zero
	case "JNE":
		return !m.zero
	case "JLT", "JL":
		return m.less
	case "JGE":
		return !m.less
	}
	failf("unknown branch %s", opcode)
	return false
}

func (m *machine) execute(i *ir.Instruction) {
	o := i.Operands
	var last operand.Op
	if len(o) > 0 {
		last = o[len(o)-1]
	}
	switch i.Opcode {
	case "VZEROUPPER":
		for v := range m.vec {
			clear(m.vec[v][16:])
		}
	case "MOVQ":
		m.setInt(last, m.int(o[0]))
	case "LEAQ":
		m.setInt(last, m.address(o[0].(operand.Mem)))
	case "MOVBQZX":
		m.setInt(last, uint64(m.bytes(m.address(o[0].(operand.Mem)), 1)[0]))
	case "MOVWQZX":
		m.setInt(last, uint64(binary.LittleEndian.Uint16(m.bytes(m.address(o[0].(operand.Mem)), 2))))
	case "CMOVQLT":
		if v := m.int(o[0]); m.less {
			m.setInt(last, v)
		}
	case "CMOVQGT":
		if v := m.int(o[0]); !m.less && !m.zero {
			m.setInt(last, v)
		}
	case "IMULQ":
		m.setInt(last, m.int(last)*m.int(o[0]))
	case "NEGQ":
		m.setInt(last, m.subtract(0, m.int(last)))
	case "INCQ":
		m.setInt(last, m.subtract(m.int(last), ^uint64(0)))
	case "MOVLQSX":
		m.setInt(last, uint64(int64(int32(binary.LittleEndian.Uint32(m.bytes(m.address(o[0].(operand.Mem)), 4))))))
	case "CMPQ":
		m.subtract(m.int(o[0]), m.int(o[1]))
	case "TESTQ":
		m.subtract(m.int(o[0])&m.int(o[1]), 0)
	case "ADDQ":
		m.setInt(last, m.subtract(m.int(last), -m.int(o[0])))
	case "SUBQ":
		m.setInt(last, m.subtract(m.int(last), m.int(o[0])))
	case "DECQ":
		m.setInt(last, m.subtract(m.int(last), 1))
	case "ANDQ":
		m.setInt(last, m.subtract(m.int(last)&m.int(o[0]), 0))
	case "XORQ":
		m.setInt(last, m.subtract(m.int(last)^m.int(o[0]), 0))
	case "SHLQ":
		m.setInt(last, m.subtract(m.int(last)<<m.int(o[0]), 0))
	default:
		m.executeVector(i.Opcode, o, last)
	}
}

func (m *machine) executeVector(opcode string, o []operand.Op, last operand.Op) {
	n := 0 // bytes
	for _, op := range []operand.Op{last, o[0]} {
		if r, ok := op.(reg.Register); ok && n == 0 {
			_, n = register(r)
		}
	}
	var out vector
	switch opcode {
	case "VMOVDQU", "VMOVDQU32", "VMOVUPS":
		m.set(last, m.vector(o[0], n), n)
		return
	case "VMOVQ":
		m.set(last, m.vector(o[0], 8), 8)
		return
	case "VPBROADCASTD", "VBROADCASTSS":
		v := m.vector(o[0], 4)
		for k := range n / 4 {
			out.put32(k, v.u32(0))
		}
	case "VMOVD":
		copy(out[:], binary.LittleEndian.AppendUint32(nil, uint32(m.int(o[0]))))
	case "VPBROADCASTW":
		v := m.vector(o[0], 2)
		for k := range n / 2 {
			out.put16(k, v.u16(0))
		}
	case "VPMOVSXWD":
		v := m.vector(o[0], n/2)
		for k := range n / 4 {
			out.put32(k, uint32(int32(int16(v.u16(k)))))
		}
	case "VEXTRACTI64X4":
		v := m.vector(o[1], 64)
		copy(out[:32], v[32*(m.int(o[0])&1):])
	case "VPMOVZXBD":
		v := m.vector(o[0], n/4)
		for k := range n / 4 {
			out.put32(k, uint32(v[k]))
		}
	case "VEXTRACTI128":
		v := m.vector(o[1], n)
		copy(out[:16], v[16*(m.int(o[0])&1):])
	case "VPMOVUSDB": // 16 numbers of 32 bits, saturated as unsigned ones
		v := m.vector(o[0], 64)
		for k := range 16 {
			out[k] = byte(min(v.u32(k), 255))
		}
	case "VCVTDQ2PS":
		v := m.vector(o[0], n)
		for k := range n / 4 {
			out.putFloat(k, float32(int32(v.u32(k))))
		}
	case "VCVTTPS2DQ":
		v := m.vector(o[0], n)
		for k := range n / 4 {
			x := uint32(math.MaxInt32 + 1)
			if f := v.float(k); f >= -1<<31 && f < 1<<31 {
				x = uint32(int32(f))
			}
			out.put32(k, x)
		}
	case "VPABSB":
		v := m.vector(o[0], n)
		for k := range n {
			out[k] = byte(max(int8(v[k]), -int8(v[k])))
		}
	case "VPABSD":
		v := m.vector(o[0], n)
		for k := range n / 4 {
			out.put32(k, uint32(max(int32(v.u32(k)), -int32(v.u32(k)))))
		}
	case "VROUNDPS", "VRNDSCALEPS":
		if m.int(o[0]) != 9 {
			failf("only rounding down is known here")
		}
		v := m.vector(o[1], n)
		for k := range n / 4 {
			out.putFloat(k, float32(math.Floor(float64(v.float(k)))))
		}
	case "VPTERNLOGD":
		if uint8(m.int(o[0])) != 0xff {
			failf("only the function that is always 1 is known here")
		}
		for k := range n {
			out[k] = 0xff
		}
	case "VPSRLW":
		v := m.vector(o[1], n)
		for k := range n / 2 {
			out.put16(k, v.u16(k)>>m.int(o[0]))
		}
	default:
		// Go's order is the reverse of the manuals': dst = op(b, a).
		m.executeBinary(opcode, m.vector(o[0], n), m.vector(o[1], n), m.vector(last, n), &out, n)
	}
	m.set(last, out, n)
}

func (m *machine) executeBinary(opcode string, a, b, dst vector, out *vector, n int) {
	floats := func(f func(a, b, dst float32) float32) {
		for k := range n / 4 {
			out.putFloat(k, f(a.float(k), b.float(k), dst.float(k)))
		}
	}
	switch opcode {
	case "VPXOR", "VPXORD":
		for k := range n {
			out[k] = a[k] ^ b[k]
		}
	case "VPMINUB":
		for k := range n {
			out[k] = min(a[k], b[k])
		}
	case "VPCMPEQB", "VPCMPEQW":
		if a != b {
			failf("%s of different operands is not known here", opcode)
		}
		for k := range n {
			out[k] = 0xff
		}
	case "VPADDW":
		for k := range n / 2 {
			out.put16(k, a.u16(k)+b.u16(k))
		}
	case "VPADDD":
		for k := range n / 4 {
			out.put32(k, a.u32(k)+b.u32(k))
		}
	case "VPMINSD":
		for k := range n / 4 {
			out.put32(k, uint32(min(int32(a.u32(k)), int32(b.u32(k)))))
		}
	case "VPADDQ":
		for k := range n / 8 {
			out.put64(k, a.u64(k)+b.u64(k))
		}
	case "VPSADBW":
		for k := range n / 8 {
			var sum uint64
			for j := range 8 {
				sum += uint64(max(a[8*k+j], b[8*k+j]) - min(a[8*k+j], b[8*k+j]))
			}
			out.put64(k, sum)
		}
	case "VPMADDUBSW": // b has no sign, a has
		for k := range n / 2 {
			sum := int32(b[2*k])*int32(int8(a[2*k])) + int32(b[2*k+1])*int32(int8(a[2*k+1]))
			out.put16(k, uint16(clampInt(sum, math.MinInt16, math.MaxInt16)))
		}
	case "VPMADDWD", "VPDPWSSD":
		for k := range n / 4 {
			sum := uint32(int32(int16(a.u16(2*k)))*int32(int16(b.u16(2*k)))) + uint32(int32(int16(a.u16(2*k+1)))*int32(int16(b.u16(2*k+1))))
			if opcode == "VPDPWSSD" {
				sum += dst.u32(k)
			}
			out.put32(k, sum)
		}
	case "VPDPBUSD": // b has no sign, a has
		for k := range n / 4 {
			sum := int32(dst.u32(k))
			for j := range 4 {
				sum += int32(b[4*k+j]) * int32(int8(a[4*k+j]))
			}
			out.put32(k, uint32(sum))
		}
	case "VPUNPCKLBW", "VPUNPCKHBW", "VPUNPCKLWD", "VPUNPCKHWD": // by lanes of 128 bits, b first
		size, from := 1, 0
		if opcode[len(opcode)-2:] == "WD" {
			size = 2
		}
		if opcode[len("VPUNPCK")] == 'H' {
			from = 8
		}
		for lane := 0; lane < n; lane += 16 {
			for k := 0; k < 8; k += size {
				copy(out[lane+2*k:], b[lane+from+k:][:size])
				copy(out[lane+2*k+size:], a[lane+from+k:][:size])
			}
		}
	case "VPACKUSDW": // by lanes of 128 bits, b first
		for lane := range n / 16 {
			for k := range 4 {
				out.put16(8*lane+k, uint16(clampInt(int32(b.u32(4*lane+k)), 0, math.MaxUint16)))
				out.put16(8*lane+4+k, uint16(clampInt(int32(a.u32(4*lane+k)), 0, math.MaxUint16)))
			}
		}
	case "VPACKUSWB":
		for lane := range n / 16 {
			for k := range 8 {
				out[16*lane+k] = byte(clampInt(int32(int16(b.u16(8*lane+k))), 0, math.MaxUint8))
				out[16*lane+8+k] = byte(clampInt(int32(int16(a.u16(8*lane+k))), 0, math.MaxUint8))
			}
		}
	case "VPERMD": // b says which lanes of a
		for k := range n / 4 {
			out.put32(k, a.u32(int(b.u32(k))%(n/4)))
		}
	case "VADDPS":
		floats(func(a, b, _ float32) float32 { return b + a })
	case "VSUBPS":
		floats(func(a, b, _ float32) float32 { return b - a })
	case "VMULPS":
		floats(func(a, b, _ float32) float32 { return b * a })
	case "VMAXPS": // the second source unless the first is greater
		floats(func(a, b, _ float32) float32 {
			if b > a {
				return b
			}
			return a
		})
	case "VMINPS":
		floats(func(a, b, _ float32) float32 {
			if b < a {
				return b
			}
			return a
		})
	case "VFMADD231PS":
		floats(func(a, b, dst float32) float32 { return float32(math.FMA(float64(a), float64(b), float64(dst))) })
	default:
		failf("unknown instruction %s", opcode)
	}
}
