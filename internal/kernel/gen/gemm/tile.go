package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of tileCall in the kernel package.
const (
	tileX         = 0
	tileZeros     = 8
	tileOff       = 16
	tileOffStride = 24
	tileRuns      = 32
	tileK         = 40
	tileB         = 48
	tileB2        = 56
	tileY         = 64
	tileYOff      = 72
	tileBias      = 80
	tileAdd       = 88
	tileAcc       = 96
	tileLo        = 104
	tileHi        = 108
	tileNext      = 112
)

// tile is the product of rows pixels and the target's panels, see tileCall.
// The sums stay in registers; each input is broadcast and meets a row of
// weights, so the order of every sum is that of the portable loop.
func tile(c *build.Context, t target, rows int) {
	call := function(c, fmt.Sprintf("tile%s_%d", t.name, rows), "tileCall",
		fmt.Sprintf("is the tile kernel for %d pixels and %d channels.", rows, 16*t.panels))
	acc := t.block(c, rows)
	start(c, t, call, acc)

	off := load(c, call, tileOff)
	panels := []reg.GPVirtual{load(c, call, tileB)}
	if t.panels == 2 {
		panels = append(panels, load(c, call, tileB2))
	}
	runs := load(c, call, tileRuns)
	next := load(c, call, tileNext)
	in := make([]reg.GPVirtual, rows)
	for r := range in {
		in[r] = c.GP64()
	}

	c.Label("run")
	k := c.GP64()
	c.MOVQ(field(call, tileX), k)
	pointers(c, call, off, k, in)
	c.MOVQ(field(call, tileK), k)
	for _, p := range in {
		c.LEAQ(Mem{Base: p, Index: k, Scale: 4}, p)
	}
	c.NEGQ(k) // counts up to 0, inputs lie at in[r] + 4*k
	c.ADDQ(Imm(4), k)
	c.JG(LabelRef("rest"))
	c.Label("four")
	for j := range 4 {
		step(c, t, acc, panels, j, func(r int) Mem { return Mem{Base: in[r], Index: k, Scale: 4, Disp: 4*j - 16} })
	}
	for i, p := range panels {
		c.ADDQ(U32(4*panelBytes), p)
		c.PREFETCHT1(Mem{Base: next, Disp: i * panelBytes})
	}
	c.ADDQ(U32(uint32(len(panels)*panelBytes)), next)
	c.ADDQ(Imm(4), k)
	c.JLE(LabelRef("four"))
	c.Label("rest")
	c.SUBQ(Imm(4), k)
	c.JZ(LabelRef("next"))
	c.Label("one")
	step(c, t, acc, panels, 0, func(r int) Mem { return Mem{Base: in[r], Index: k, Scale: 4} })
	for _, p := range panels {
		c.ADDQ(Imm(panelBytes), p)
	}
	c.INCQ(k)
	c.JNZ(LabelRef("one"))
	c.Label("next")
	c.ADDQ(field(call, tileOffStride), off)
	c.DECQ(runs)
	c.JNZ(LabelRef("run"))

	finish(c, t, call, acc)
	end(c)
}

// step adds one input per row times a row of weights.
func step(c *build.Context, t target, acc [][]reg.VecVirtual, panels []reg.GPVirtual, j int, in func(r int) Mem) {
	w := make([]reg.VecVirtual, t.vecs())
	for v := range w {
		w[v] = t.vec(c)
		c.VMOVUPS(t.weights(panels, v, j), w[v])
	}
	for r := range acc {
		x := t.vec(c)
		c.VBROADCASTSS(in(r), x)
		for v, a := range acc[r] {
			c.VFMADD231PS(w[v], x, a)
		}
	}
}

// pointers sets in[r] to where row r of a run begins: x plus the offset in the
// table, or the zeros if that is negative.
func pointers(c *build.Context, call, off, x reg.Register, in []reg.GPVirtual) {
	for r, p := range in {
		c.MOVQ(Mem{Base: off, Disp: 8 * r}, p)
		c.TESTQ(p, p)
		c.LEAQ(Mem{Base: x, Index: p, Scale: 4}, p)
		c.CMOVQLT(field(call, tileZeros), p)
	}
}

// start sets the sums to zero or to the outputs so far.
func start(c *build.Context, t target, call reg.Register, acc [][]reg.VecVirtual) {
	c.CMPQ(field(call, tileAcc), Imm(0))
	c.JNE(LabelRef("resume"))
	zero(c, acc)
	outputs(c, call, tileY, len(acc), func(_ int, p reg.Register) { // the stores should not wait at the end
		for i := range t.panels {
			c.PREFETCHT0(Mem{Base: p, Disp: i * panelBytes})
		}
	})
	c.JMP(LabelRef("begin"))
	c.Label("resume")
	outputs(c, call, tileY, len(acc), func(r int, p reg.Register) {
		for v, a := range acc[r] {
			c.VMOVUPS(t.row(p, v), a)
		}
	})
	c.Label("begin")
}

// outputs calls fn with a pointer to each row of y or add.
func outputs(c *build.Context, call reg.Register, base, rows int, fn func(r int, p reg.Register)) {
	y, off := load(c, call, base), load(c, call, tileYOff)
	for r := range rows {
		p := c.GP64()
		c.MOVQ(Mem{Base: off, Disp: 8 * r}, p)
		c.LEAQ(Mem{Base: y, Index: p, Scale: 4}, p)
		fn(r, p)
	}
}

// finish adds bias and addend, clamps and stores.
func finish(c *build.Context, t target, call reg.Register, acc [][]reg.VecVirtual) {
	bias := load(c, call, tileBias)
	c.TESTQ(bias, bias)
	c.JZ(LabelRef("nobias"))
	for v := range t.vecs() {
		b := t.vec(c)
		c.VMOVUPS(t.row(bias, v), b)
		for r := range acc {
			c.VADDPS(b, acc[r][v], acc[r][v])
		}
	}
	c.Label("nobias")
	c.CMPQ(field(call, tileAdd), Imm(0))
	c.JE(LabelRef("noadd"))
	outputs(c, call, tileAdd, len(acc), func(r int, p reg.Register) {
		for v, a := range acc[r] {
			c.VADDPS(t.row(p, v), a, a)
		}
	})
	c.Label("noadd")
	// The bound is the first source: if the sum is NaN, it is the result.
	lo, hi := t.vec(c), t.vec(c)
	c.VBROADCASTSS(field(call, tileLo), lo)
	c.VBROADCASTSS(field(call, tileHi), hi)
	each(acc, func(_, _ int, a reg.VecVirtual) {
		c.VMAXPS(a, lo, a)
		c.VMINPS(a, hi, a)
	})
	outputs(c, call, tileY, len(acc), func(r int, p reg.Register) {
		for v, a := range acc[r] {
			c.VMOVUPS(a, t.row(p, v))
		}
	})
}

// depthwise is the kernel for 6 pixels and 16 channels of a depthwise
// convolution: like a tile whose runs are one vector of inputs, each of which
// meets its own weight.
func depthwise(c *build.Context, t target) {
	const rows = 6
	call := function(c, "depthwise"+t.name, "tileCall",
		"is the depthwise kernel for 6 pixels and 16 channels; k and acc are not used.")
	acc := t.block(c, rows)
	zero(c, acc)
	off, b, runs := load(c, call, tileOff), load(c, call, tileB), load(c, call, tileRuns)
	x := load(c, call, tileX)
	in := make([]reg.GPVirtual, rows)
	for r := range in {
		in[r] = c.GP64()
	}
	c.Label("tap")
	pointers(c, call, off, x, in)
	w := make([]reg.VecVirtual, t.vecs())
	for v := range w {
		w[v] = t.vec(c)
		c.VMOVUPS(t.row(b, v), w[v])
	}
	each(acc, func(r, v int, a reg.VecVirtual) { c.VFMADD231PS(t.row(in[r], v), w[v], a) })
	c.ADDQ(Imm(panelBytes), b)
	c.ADDQ(field(call, tileOffStride), off)
	c.DECQ(runs)
	c.JNZ(LabelRef("tap"))
	finish(c, t, call, acc)
	end(c)
}
