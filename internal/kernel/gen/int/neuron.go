package main

import (
	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of fireIntCall in the kernel package.
const (
	fireCounts   = 0
	fireV        = 8
	fireSums     = 16
	fireScale    = 24
	fireBias     = 32
	fireBiasMask = 40
	fireAdd      = 48
	fireAddScale = 56
	fireRows     = 64
	fireC        = 72
	fireN        = 80
	fireShift    = 88
	fireMost     = 92
	fireSpikes   = 96
	fireEvents   = 128
	fireBad      = 160
)

// addend is what is added to a current.
type addend string

const (
	addNothing addend = ""
	addFloats  addend = "Add"
	addCounts  addend = "AddCounts"
)

func neurons(c *build.Context) {
	for _, t := range []target{{name: "AVX2", bytes: 32, vec: ymm}, {name: "AVX512", bytes: 64, vec: zmm}} {
		for _, a := range []addend{addNothing, addFloats, addCounts} {
			fireInt(c, t, a)
			currents(c, t, a)
		}
	}
}

// rowLoop holds the registers of a loop over rows of channels.
type rowLoop struct {
	c                        *build.Context
	t                        target
	a                        addend
	call                     reg.GPVirtual
	counts, v, sums          reg.GPVirtual
	scale, bias, add, addScl reg.GPVirtual
	ch, biasCh               reg.GPVirtual
}

func newRowLoop(c *build.Context, t target, a addend, call reg.GPVirtual) *rowLoop {
	l := &rowLoop{c: c, t: t, a: a, call: call, counts: load(c, call, fireCounts), v: load(c, call, fireV), sums: load(c, call, fireSums),
		scale: load(c, call, fireScale), bias: load(c, call, fireBias), ch: c.GP64(), biasCh: c.GP64()}
	if a != addNothing {
		l.add = load(c, call, fireAdd)
	}
	if a == addCounts {
		l.addScl = load(c, call, fireAddScale)
	}
	return l
}

// rows emits "for every row: body with ch = 0; go to the next row".
func (l *rowLoop) rows(body func()) {
	c := l.c
	c.Label("row")
	c.XORQ(l.ch, l.ch)
	body()
	n := c.GP64()
	c.MOVQ(field(l.call, fireC), n)
	c.ADDQ(n, l.counts)
	if l.a == addCounts {
		c.ADDQ(n, l.add)
	}
	c.SHLQ(Imm(2), n)
	c.ADDQ(n, l.v)
	c.ADDQ(n, l.sums)
	if l.a == addFloats {
		c.ADDQ(n, l.add)
	}
	c.DECQ(field(l.call, fireRows))
	c.JNE(LabelRef("row"))
}

// while emits "while ch+step <= n: body; ch += step".
func (l *rowLoop) while(label string, step int, body func()) {
	c := l.c
	left := c.GP64()
	c.Label(label)
	c.MOVQ(field(l.call, fireN), left)
	c.SUBQ(l.ch, left)
	c.CMPQ(left, I32(step))
	c.JLT(LabelRef(label + "_end"))
	body()
	c.ADDQ(I32(step), l.ch)
	c.JMP(LabelRef(label))
	c.Label(label + "_end")
}

func (l *rowLoop) floats(p reg.GPVirtual, off int) Mem {
	return Mem{Base: p, Index: l.ch, Scale: 4, Disp: 4 * off}
}

// current emits the currents of a vector of neurons, off behind ch.
func (l *rowLoop) current(off int) reg.VecVirtual {
	c := l.c
	x := l.t.vec(c)
	c.VCVTDQ2PS(l.floats(l.sums, off), x)
	c.VMULPS(l.floats(l.scale, off), x, x)
	// Without a bias the mask is 0 and the same zeros are read for all channels.
	c.MOVQ(l.ch, l.biasCh)
	c.ADDQ(I32(off), l.biasCh)
	c.ANDQ(field(l.call, fireBiasMask), l.biasCh)
	c.VADDPS(Mem{Base: l.bias, Index: l.biasCh, Scale: 4}, x, x)
	switch l.a {
	case addFloats:
		c.VADDPS(l.floats(l.add, off), x, x)
	case addCounts:
		y := l.t.vec(c)
		c.VPMOVZXBD(Mem{Base: l.add, Index: l.ch, Scale: 1, Disp: off}, y)
		c.VCVTDQ2PS(y, y)
		c.VMULPS(l.floats(l.addScl, off), y, y)
		c.VADDPS(y, x, x)
	}
	return x
}

// store emits an unaligned store of a vector of floats.
func (l *rowLoop) store(v reg.VecVirtual, to Mem) { l.c.VMOVUPS(v, to) }

func currents(c *build.Context, t target, a addend) {
	call := function(c, "intCurrents"+string(a)+t.name, "fireIntCall", "sets v to the currents of n channels (of c) of every row.")
	l := newRowLoop(c, t, a, call)
	lanes := t.bytes / 4
	l.rows(func() {
		l.while("channels", lanes, func() { l.store(l.current(0), l.floats(l.v, 0)) })
	})
	end(c)
}

// fireInt is the burst neuron on such currents. A potential that is not finite
// makes the sum of potentials times 0 NaN. VMAXPS returns its second source, 0,
// for NaN; infinity emits maxSpike, which the caller takes back.
func fireInt(c *build.Context, t target, a addend) {
	call := function(c, "fireInt"+string(a)+t.name, "fireIntCall",
		"fires n neurons (of c) of every row; spikes, events and bad are sums of lanes.")
	l := newRowLoop(c, t, a, call)
	lanes := t.bytes / 4
	shift, most, zero, bad := t.vec(c), t.vec(c), t.vec(c), t.vec(c)
	c.VBROADCASTSS(field(call, fireShift), shift)
	c.VBROADCASTSS(field(call, fireMost), most)
	// The tallies have the width of a vector of bytes.
	narrow := c.YMM
	if t.bytes == 64 {
		narrow = c.XMM
	}
	spikes, events, ones := narrow(), narrow(), narrow()
	c.VPXOR(spikes, spikes, spikes)
	c.VPXOR(events, events, events)
	c.VPCMPEQB(ones, ones, ones)
	c.VPABSB(ones, ones)
	t.zero(c, zero)
	t.zero(c, bad)
	zeroBytes := zero.AsY()
	if t.bytes == 64 {
		zeroBytes = zero.AsX()
	}
	tally := func(v reg.Register) {
		sum := narrow()
		c.VPSADBW(v.(Op), zeroBytes, sum)
		c.VPADDQ(sum, spikes, spikes)
		c.VPMINUB(ones, v.(Op), sum)
		c.VPSADBW(sum, zeroBytes, sum)
		c.VPADDQ(sum, events, events)
	}
	// one emits a vector of neurons and returns their counts as 32-bit integers.
	one := func(off int) reg.VecVirtual {
		u := l.current(off)
		n, count := t.vec(c), t.vec(c)
		c.VADDPS(shift, u, u)
		c.VADDPS(l.floats(l.v, off), u, u)
		c.VMAXPS(zero, u, n)
		c.VMINPS(most, n, n)
		c.VCVTTPS2DQ(n, count)
		c.VCVTDQ2PS(count, n)
		c.VSUBPS(n, u, u)
		c.VFMADD231PS(zero, u, bad)
		l.store(u, l.floats(l.v, off))
		return count
	}
	to := Mem{Base: l.counts, Index: l.ch, Scale: 1}
	l.rows(func() {
		if t.bytes == 64 {
			l.while("vector", lanes, func() {
				n, b := one(0), c.XMM()
				c.VPMOVUSDB(n, b)
				c.VMOVDQU(b, to)
				tally(b)
			})
			return
		}
		l.while("four", 4*lanes, func() {
			var n [4]reg.VecVirtual
			for i := range n {
				n[i] = one(lanes * i)
			}
			c.VPACKUSDW(n[1], n[0], n[0])
			c.VPACKUSDW(n[3], n[2], n[2])
			c.VPACKUSWB(n[2], n[0], n[0])
			order := c.YMM()
			c.VMOVDQU(laneOrder(c), order)
			c.VPERMD(n[0], order, n[0])
			c.VMOVDQU(n[0], to)
			tally(n[0])
		})
		l.while("vector", lanes, func() {
			n, high := one(0), c.XMM()
			c.VEXTRACTI128(Imm(1), n, high)
			c.VPACKUSDW(high, n.AsX(), n.AsX())
			c.VPACKUSWB(zero.AsX(), n.AsX(), n.AsX())
			c.VMOVQ(n.AsX(), to)
			tally(n)
		})
	})
	c.VMOVDQU(spikes, field(call, fireSpikes))
	c.VMOVDQU(events, field(call, fireEvents))
	l.store(bad, field(call, fireBad))
	end(c)
}

var laneOrderOf = map[*build.Context]Mem{}

// laneOrder undoes the interleaving of the halves by two rounds of packing.
func laneOrder(c *build.Context) Mem {
	m, ok := laneOrderOf[c]
	if !ok {
		m = table(c, "intLaneOrder", 8, 4, func(i int) Constant { return U32(uint32(i/2 + i%2*4)) })
		laneOrderOf[c] = m
	}
	return m
}

// table emits read-only data.
func table(c *build.Context, name string, n, size int, value func(i int) Constant) Mem {
	m := c.StaticGlobal(name)
	c.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range n {
		c.AddDatum(size*i, value(i))
	}
	return m
}
