package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of gradCall in the kernel package.
const (
	gradX    = 0
	gradOff  = 8
	gradRuns = 16
	gradN    = 24
	gradStep = 32
	gradDY   = 40
	gradDY2  = 48
	gradDW   = 56
	gradLDW  = 64
	gradAcc  = 72
)

// gradRows is the number of input channels of the tallest tile.
const gradRows = 6

// grad is the sum of outer products of rows inputs and the target's panels of
// gradients over runs of pixels, see gradCall.
func grad(c *build.Context, t target, rows int) {
	call := function(c, fmt.Sprintf("grad%s_%d", t.name, rows), "gradCall",
		fmt.Sprintf("is the weight gradient kernel for %d inputs and %d channels.", rows, 16*t.panels))
	acc := t.block(c, rows)
	zero(c, acc)
	dw := load(c, call, gradDW)
	for range rows { // the results so far are needed at the end
		for v := 0; v < t.panels; v++ {
			c.PREFETCHT0(Mem{Base: dw, Disp: v * panelBytes})
		}
		c.ADDQ(field(call, gradLDW), dw)
	}

	off, runs := load(c, call, gradOff), load(c, call, gradRuns)
	dy := []reg.GPVirtual{load(c, call, gradDY)}
	if t.panels == 2 {
		dy = append(dy, load(c, call, gradDY2))
	}
	s := load(c, call, gradStep)
	s3 := c.GP64()
	c.LEAQ(Mem{Base: s, Index: s, Scale: 2}, s3)
	x := load(c, call, gradX)

	c.Label("run")
	p := c.GP64()
	c.MOVQ(Mem{Base: off}, p)
	c.ADDQ(Imm(8), off)
	c.LEAQ(Mem{Base: x, Index: p, Scale: 4}, p)
	n := load(c, call, gradN)
	c.SUBQ(Imm(4), n)
	c.JL(LabelRef("rest"))
	c.Label("four")
	for j, base := range []Mem{{Base: p}, {Base: p, Index: s, Scale: 1}, {Base: p, Index: s, Scale: 2}, {Base: p, Index: s3, Scale: 1}} {
		step(c, t, acc, dy, j, func(r int) Mem { return base.Offset(4 * r) })
	}
	c.LEAQ(Mem{Base: p, Index: s, Scale: 4}, p)
	for _, d := range dy {
		c.ADDQ(U32(4*panelBytes), d)
	}
	c.SUBQ(Imm(4), n)
	c.JGE(LabelRef("four"))
	c.Label("rest")
	c.ADDQ(Imm(4), n)
	c.JZ(LabelRef("next"))
	c.Label("one")
	step(c, t, acc, dy, 0, func(r int) Mem { return Mem{Base: p, Disp: 4 * r} })
	c.ADDQ(s, p)
	for _, d := range dy {
		c.ADDQ(Imm(panelBytes), d)
	}
	c.DECQ(n)
	c.JNZ(LabelRef("one"))
	c.Label("next")
	c.DECQ(runs)
	c.JNZ(LabelRef("run"))

	storeGradient(c, t, call, acc)
	end(c)
}

// storeGradient writes the sums to dw, or adds them to it.
func storeGradient(c *build.Context, t target, call reg.Register, acc [][]reg.VecVirtual) {
	rowsOf := func(fn func(r int, p reg.Register)) {
		p := load(c, call, gradDW)
		for r := range acc {
			fn(r, p)
			if r+1 < len(acc) {
				c.ADDQ(field(call, gradLDW), p)
			}
		}
	}
	c.CMPQ(field(call, gradAcc), Imm(0))
	c.JE(LabelRef("store"))
	rowsOf(func(r int, p reg.Register) {
		for v, a := range acc[r] {
			c.VADDPS(t.row(p, v), a, a)
		}
	})
	c.Label("store")
	rowsOf(func(r int, p reg.Register) {
		for v, a := range acc[r] {
			c.VMOVUPS(a, t.row(p, v))
		}
	})
}

// depthwiseGrad is the weight gradient of rows taps and 16 channels of a
// depthwise convolution over one table of pixels.
func depthwiseGrad(c *build.Context, t target, rows int) {
	call := function(c, fmt.Sprintf("depthwiseGrad%s_%d", t.name, rows), "gradCall",
		fmt.Sprintf("is the depthwise weight gradient kernel for %d taps and 16 channels.", rows))
	acc := t.block(c, rows)
	zero(c, acc)
	x, zeros, off := load(c, call, gradX), load(c, call, gradDY2), load(c, call, gradOff)
	dy, step, n := load(c, call, gradDY), load(c, call, gradStep), load(c, call, gradRuns)
	s := load(c, call, gradN)
	s3, s5 := c.GP64(), c.GP64()
	c.LEAQ(Mem{Base: s, Index: s, Scale: 2}, s3)
	c.LEAQ(Mem{Base: s, Index: s, Scale: 4}, s5)
	table := []Mem{{Base: off}, {Base: off, Index: s, Scale: 1}, {Base: off, Index: s, Scale: 2},
		{Base: off, Index: s3, Scale: 1}, {Base: off, Index: s, Scale: 4}, {Base: off, Index: s5, Scale: 1}}
	c.Label("pixel")
	g := make([]reg.VecVirtual, t.vecs())
	for v := range g {
		g[v] = t.vec(c)
		c.VMOVUPS(t.row(dy, v), g[v])
	}
	for r := range acc {
		p := c.GP64()
		c.MOVQ(table[r], p)
		c.TESTQ(p, p)
		c.LEAQ(Mem{Base: x, Index: p, Scale: 4}, p)
		c.CMOVQLT(zeros, p)
		for v, a := range acc[r] {
			c.VFMADD231PS(t.row(p, v), g[v], a)
		}
	}
	c.ADDQ(step, dy)
	c.ADDQ(Imm(8), off)
	c.DECQ(n)
	c.JNZ(LabelRef("pixel"))
	storeGradient(c, t, call, acc)
	end(c)
}
