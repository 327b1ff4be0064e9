package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of winogradCall in the kernel package.
const (
	winoX      = 0
	winoZeros  = 8
	winoOff    = 16
	winoY      = 24
	winoStride = 32
	winoN      = 40
	winoTmp    = 48
	winoBias   = 56
	winoAdd    = 64
	winoLo     = 72
	winoHi     = 76
	winoTwo    = 80
	winoFour   = 84
	winoFive   = 88
	winoEight  = 92
	winoStep   = 96

	winoQuarter    = 104
	winoHalf       = 108
	winoSixth      = 112
	winoMinusSixth = 116
)

// winogradInput transforms one tile of 6x6 pixels, see winogradCall.
func winogradInput(c *build.Context, t target) {
	call := function(c, "winogradInput"+t.name, "winogradCall", "transforms the inputs of a tile.")
	x, zeros, off := load(c, call, winoX), load(c, call, winoZeros), load(c, call, winoOff)
	dst, stride, tmp, n := load(c, call, winoY), load(c, call, winoStride), load(c, call, winoTmp), load(c, call, winoN)
	two, four, five := constant(c, t, call, winoTwo), constant(c, t, call, winoFour), constant(c, t, call, winoFive)
	transform := func(in func(k int) reg.VecVirtual, out func(k int, v reg.VecVirtual)) {
		var d [6]reg.VecVirtual
		for k := range d {
			d[k] = in(k)
		}
		op := func(fn func(ops ...Op), b, a reg.VecVirtual) reg.VecVirtual { // a op b
			v := t.vec(c)
			fn(b, a, v)
			return v
		}
		add, sub, mul := c.VADDPS, c.VSUBPS, c.VMULPS
		out(0, op(add, d[4], op(sub, op(mul, d[2], five), op(mul, d[0], four))))
		out(5, op(add, d[5], op(sub, op(mul, d[3], five), op(mul, d[1], four))))
		p := op(sub, op(mul, d[2], four), d[4])
		q := op(sub, op(mul, d[1], four), d[3])
		out(1, op(add, q, p))
		out(2, op(sub, q, p))
		p = op(sub, d[2], d[4])
		q = op(mul, op(sub, d[1], d[3]), two)
		out(3, op(add, q, p))
		out(4, op(sub, q, p))
	}
	at := func(i int) Mem { return Mem{Base: tmp, Disp: i * t.bytes} }
	c.Label("chunk")
	for v := range t.vecs() {
		for col := range 6 {
			transform(func(k int) reg.VecVirtual {
				p, d := c.GP64(), t.vec(c)
				c.MOVQ(Mem{Base: off, Disp: 8 * (6*k + col)}, p)
				c.TESTQ(p, p)
				c.LEAQ(Mem{Base: x, Index: p, Scale: 4}, p)
				c.CMOVQLT(zeros, p)
				c.VMOVUPS(t.row(p, v), d)
				return d
			}, func(k int, d reg.VecVirtual) { c.VMOVUPS(d, at(6*k+col)) })
		}
		s3, s5, p := c.GP64(), c.GP64(), c.GP64()
		c.LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, s3)
		c.LEAQ(Mem{Base: stride, Index: stride, Scale: 4}, s5)
		c.MOVQ(dst, p)
		for row := range 6 {
			place := positions(p, stride, s3, s5)
			transform(func(k int) reg.VecVirtual {
				d := t.vec(c)
				c.VMOVUPS(at(6*row+k), d)
				return d
			}, func(k int, d reg.VecVirtual) { c.VMOVUPS(d, place[k].Offset(v*t.bytes)) })
			c.LEAQ(Mem{Base: p, Index: s3, Scale: 2}, p)
		}
	}
	c.ADDQ(Imm(panelBytes), x)
	c.ADDQ(Imm(panelBytes), dst)
	c.DECQ(n)
	c.JNZ(LabelRef("chunk"))
	end(c)
}

// positions are the memory at p, p+s, ... p+5*s.
func positions(p, s, s3, s5 reg.Register) [6]Mem {
	return [6]Mem{{Base: p}, {Base: p, Index: s, Scale: 1}, {Base: p, Index: s, Scale: 2},
		{Base: p, Index: s3, Scale: 1}, {Base: p, Index: s, Scale: 4}, {Base: p, Index: s5, Scale: 1}}
}

func constant(c *build.Context, t target, call reg.Register, offset int) reg.VecVirtual {
	v := t.vec(c)
	c.VBROADCASTSS(field(call, offset), v)
	return v
}

// winogradOutput transforms the sums of one tile into 4x4 pixels, see
// winogradCall.
func winogradOutput(c *build.Context, t target, withAdd bool) {
	name := "winogradOutput"
	if withAdd {
		name = "winogradOutputAdd"
	}
	call := function(c, name+t.name, "winogradCall", "transforms the sums of a tile.")
	x, off, stride := load(c, call, winoX), load(c, call, winoOff), load(c, call, winoStride)
	y, tmp, n, bias := load(c, call, winoY), load(c, call, winoTmp), load(c, call, winoN), load(c, call, winoBias)
	var addend reg.GPVirtual
	if withAdd {
		addend = load(c, call, winoAdd)
	}
	s3, s5 := c.GP64(), c.GP64()
	c.LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, s3)
	c.LEAQ(Mem{Base: stride, Index: stride, Scale: 4}, s5)
	two, four, eight := constant(c, t, call, winoTwo), constant(c, t, call, winoFour), constant(c, t, call, winoEight)
	lo, hi := constant(c, t, call, winoLo), constant(c, t, call, winoHi)
	transform := func(in func(k int) Mem, out func(k int, v reg.VecVirtual)) {
		load := func(k int) reg.VecVirtual {
			v := t.vec(c)
			c.VMOVUPS(in(k), v)
			return v
		}
		sumAndDifference := func(k int) (a, b reg.VecVirtual) {
			m, n := load(k), load(k+1)
			a, b = t.vec(c), t.vec(c)
			c.VADDPS(n, m, a)
			c.VSUBPS(n, m, b)
			return a, b
		}
		a, b := sumAndDifference(1)
		s, d := sumAndDifference(3)
		v := t.vec(c)
		c.VADDPS(in(0), a, v)
		c.VADDPS(s, v, v)
		out(0, v)
		v = t.vec(c)
		c.VMULPS(d, two, v)
		c.VADDPS(v, b, v)
		out(1, v)
		v = t.vec(c)
		c.VMULPS(s, four, v)
		c.VADDPS(v, a, v)
		out(2, v)
		v = t.vec(c)
		c.VMULPS(d, eight, v)
		c.VADDPS(v, b, v)
		c.VADDPS(in(5), v, v)
		out(3, v)
	}
	at := func(i int) Mem { return Mem{Base: tmp, Disp: i * t.bytes} }
	c.Label("chunk")
	for v := range t.vecs() {
		p := c.GP64()
		c.MOVQ(x, p)
		for row := range 6 {
			place := positions(p, stride, s3, s5)
			transform(func(k int) Mem { return place[k].Offset(v * t.bytes) },
				func(k int, s reg.VecVirtual) { c.VMOVUPS(s, at(4*row+k)) })
			c.LEAQ(Mem{Base: p, Index: s3, Scale: 2}, p)
		}
		for col := range 4 {
			transform(func(k int) Mem { return at(4*k + col) }, func(k int, s reg.VecVirtual) {
				o := c.GP64()
				c.MOVQ(Mem{Base: off, Disp: 8 * (4*k + col)}, o)
				c.VADDPS(t.row(bias, v), s, s)
				if withAdd {
					c.VADDPS(Mem{Base: addend, Index: o, Scale: 4, Disp: v * t.bytes}, s, s)
				}
				c.VMAXPS(s, lo, s)
				c.VMINPS(s, hi, s)
				c.VMOVUPS(s, Mem{Base: y, Index: o, Scale: 4, Disp: v * t.bytes})
			})
		}
	}
	c.ADDQ(Imm(panelBytes), x)
	c.ADDQ(Imm(panelBytes), y)
	c.ADDQ(Imm(panelBytes), bias)
	if withAdd {
		c.ADDQ(Imm(panelBytes), addend)
	}
	c.DECQ(n)
	c.JNZ(LabelRef("chunk"))
	end(c)
}

// winogradWeights transforms the weights of n inputs and 16 channels, see
// winogradCall.
func winogradWeights(c *build.Context, t target) {
	call := function(c, "winogradWeights"+t.name, "winogradCall", "transforms weights.")
	x, off, step, stride := load(c, call, winoX), load(c, call, winoOff), load(c, call, winoStep), load(c, call, winoStride)
	dst, tmp, n := load(c, call, winoY), load(c, call, winoTmp), load(c, call, winoN)
	s3, s5 := c.GP64(), c.GP64()
	c.LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, s3)
	c.LEAQ(Mem{Base: stride, Index: stride, Scale: 4}, s5)
	quarter, half := constant(c, t, call, winoQuarter), constant(c, t, call, winoHalf)
	sixth, minusSixth := constant(c, t, call, winoSixth), constant(c, t, call, winoMinusSixth)
	transform := func(in func(k int) Mem, out func(k int, v reg.VecVirtual)) {
		g, b, s, v := t.vec(c), t.vec(c), t.vec(c), t.vec(c)
		c.VMOVUPS(in(2), g)
		out(5, g)
		a := t.vec(c)
		c.VMOVUPS(in(0), a)
		c.VMOVUPS(in(1), b)
		c.VADDPS(g, a, s)
		c.VADDPS(b, s, v)
		c.VMULPS(v, minusSixth, v)
		out(1, v)
		v = t.vec(c)
		c.VSUBPS(b, s, v)
		c.VMULPS(v, minusSixth, v)
		out(2, v)
		c.VMULPS(a, quarter, a)
		out(0, a)
		c.VADDPS(g, a, s)
		c.VMULPS(b, half, b)
		v = t.vec(c)
		c.VADDPS(b, s, v)
		c.VMULPS(v, sixth, v)
		out(3, v)
		v = t.vec(c)
		c.VSUBPS(b, s, v)
		c.VMULPS(v, sixth, v)
		out(4, v)
	}
	at := func(i int) Mem { return Mem{Base: tmp, Disp: i * t.bytes} }
	c.Label("input")
	for v := range t.vecs() {
		for col := range 3 {
			transform(func(k int) Mem {
				p := c.GP64()
				c.MOVQ(Mem{Base: off, Disp: 8 * (3*k + col)}, p)
				return Mem{Base: x, Index: p, Scale: 4, Disp: v * t.bytes}
			}, func(k int, g reg.VecVirtual) { c.VMOVUPS(g, at(3*k+col)) })
		}
		p := c.GP64()
		c.MOVQ(dst, p)
		for row := range 6 {
			place := positions(p, stride, s3, s5)
			transform(func(k int) Mem { return at(3*row + k) },
				func(k int, g reg.VecVirtual) { c.VMOVUPS(g, place[k].Offset(v*t.bytes)) })
			c.LEAQ(Mem{Base: p, Index: s3, Scale: 2}, p)
		}
	}
	c.ADDQ(step, x)
	c.ADDQ(Imm(panelBytes), dst)
	c.DECQ(n)
	c.JNZ(LabelRef("input"))
	end(c)
}
