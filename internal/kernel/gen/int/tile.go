package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of intTileCall in the kernel package.
const (
	tileX       = 0
	tileOff     = 8
	tileDelta   = 16
	tileProgram = 24
	tileB       = 32
	tileB2      = 40
	tileY       = 48
	tileLDY     = 56
	tileInit    = 64
	tileZeros   = 72
	tileAcc     = 80
)

// Flags of intSegment in the kernel package.
const (
	segmentRun   = 1
	segmentFlush = 2
	segmentLast  = 4
)

// tile is the product of rows pixels and the target's panels, see intTileCall.
// All pixels share one index into their windows, so that going to the next run
// is one addition. The sums of the byte kernels without VNNI have 16 bits, two
// per channel, and go to y when the program says so.
func tile(c *build.Context, t target, rows int) {
	call := function(c, fmt.Sprintf("intTile%s_%d", t.name, rows), "intTileCall",
		fmt.Sprintf("is the integer tile kernel for %d pixels and %d channels.", rows, 16*t.panels))
	acc := make([][]reg.VecVirtual, rows)
	for r := range acc {
		for range t.vecs() {
			a := t.vec(c)
			acc[r] = append(acc[r], a)
			t.zero(c, a)
		}
	}
	n, i := c.GP64(), c.GP64()
	in := make([]reg.GPVirtual, rows)
	c.MOVQ(field(call, tileOff), n)
	for r := range in {
		in[r] = c.GP64()
		c.MOVQ(Mem{Base: n, Disp: 8 * r}, in[r])
		c.ADDQ(field(call, tileX), in[r])
	}
	panels := []reg.GPVirtual{load(c, call, tileB)}
	if t.panels == 2 {
		panels = append(panels, load(c, call, tileB2))
	}
	program := load(c, call, tileProgram)
	c.XORQ(i, i)

	advance := func(steps int) {
		for _, p := range panels {
			c.ADDQ(I32(panelBytes*steps), p)
		}
		c.ADDQ(Imm(uint64(4*steps)), i)
	}
	c.Label("segment")
	c.MOVLQSX(Mem{Base: program}, n)
	c.SUBQ(Imm(2), n)
	c.JLT(LabelRef("odd"))
	c.Label("two")
	t.step(c, acc, panels, in, i, 0)
	t.step(c, acc, panels, in, i, 1)
	advance(2)
	c.SUBQ(Imm(2), n)
	c.JGE(LabelRef("two"))
	c.Label("odd")
	c.ADDQ(Imm(2), n)
	c.JEQ(LabelRef("done"))
	t.step(c, acc, panels, in, i, 0)
	advance(1)
	c.Label("done")
	c.ADDQ(Imm(8), program)
	if !t.wide && !t.vnni {
		c.MOVLQSX(Mem{Base: program, Disp: -4}, n)
		c.TESTQ(I32(segmentFlush), n)
		c.JEQ(LabelRef("kept"))
		t.flush(c, call, acc, n)
		c.Label("kept")
	}
	c.MOVLQSX(Mem{Base: program, Disp: -4}, n)
	c.TESTQ(I32(segmentLast), n)
	c.JNE(LabelRef("last"))
	c.TESTQ(I32(segmentRun), n)
	c.JEQ(LabelRef("segment"))
	c.MOVQ(field(call, tileDelta), n)
	c.ADDQ(Mem{Base: n}, i)
	c.ADDQ(Imm(8), n)
	c.MOVQ(n, field(call, tileDelta))
	c.JMP(LabelRef("segment"))
	c.Label("last")
	if t.wide || t.vnni {
		t.store(c, call, acc, n)
	}
	end(c)
}

func (t target) zero(c *build.Context, a reg.VecVirtual) {
	if t.bytes == 64 {
		c.VPXORD(a, a, a)
		return
	}
	c.VPXOR(a, a, a)
}

// step adds the products of 4 bytes of inputs of every pixel.
func (t target) step(c *build.Context, acc [][]reg.VecVirtual, panels []reg.GPVirtual, in []reg.GPVirtual, i reg.GPVirtual, j int) {
	w := make([]reg.VecVirtual, t.vecs())
	perPanel := panelBytes / t.bytes
	for v := range w {
		w[v] = t.vec(c)
		t.move(c, Mem{Base: panels[v/perPanel], Disp: j*panelBytes + v%perPanel*t.bytes}, w[v])
	}
	for r := range acc {
		x := t.vec(c)
		c.VPBROADCASTD(Mem{Base: in[r], Index: i, Scale: 1, Disp: 4 * j}, x)
		for v, a := range acc[r] {
			if t.vnni {
				opcode := "VPDPBUSD"
				if t.wide {
					opcode = "VPDPWSSD"
				}
				product(c, opcode, w[v], x, a)
				continue
			}
			p := t.vec(c)
			// Go's order of operands: the second factor comes first. Bytes of x are
			// without sign, those of w with.
			if t.wide {
				c.VPMADDWD(w[v], x, p)
				c.VPADDD(p, a, a)
			} else {
				c.VPMADDUBSW(w[v], x, p)
				c.VPADDW(p, a, a)
			}
		}
	}
}

// product emits an instruction that avo's tables lack: dst += w times x.
func product(c *build.Context, opcode string, w, x, dst reg.VecVirtual) {
	c.Instruction(&ir.Instruction{Opcode: opcode, Operands: []Op{w, x, dst}, Inputs: []Op{w, x, dst}, Outputs: []Op{dst}})
}

func (t target) move(c *build.Context, from, to Op) {
	if t.bytes == 64 {
		c.VMOVDQU32(from, to)
		return
	}
	c.VMOVDQU(from, to)
}

// flush adds the 16-bit sums to y and starts again from 0.
func (t target) flush(c *build.Context, call reg.GPVirtual, acc [][]reg.VecVirtual, n reg.GPVirtual) {
	ones := t.vec(c)
	if t.bytes == 64 {
		c.VPTERNLOGD(Imm(0xff), ones, ones, ones)
	} else {
		c.VPCMPEQW(ones, ones, ones)
	}
	c.VPSRLW(Imm(15), ones, ones)
	for r := range acc {
		for _, a := range acc[r] {
			c.VPMADDWD(ones, a, a)
		}
	}
	t.store(c, call, acc, n)
	c.MOVQ(field(call, tileZeros), n)
	c.MOVQ(n, field(call, tileInit))
	c.MOVQ(I32(1), field(call, tileAcc))
	for r := range acc {
		for _, a := range acc[r] {
			t.zero(c, a)
		}
	}
}

// store sets y to the 32-bit sums plus the initial values plus, if acc says so, y.
func (t target) store(c *build.Context, call reg.GPVirtual, acc [][]reg.VecVirtual, n reg.GPVirtual) {
	c.MOVQ(field(call, tileInit), n)
	for v := range t.vecs() {
		first := t.vec(c)
		t.move(c, Mem{Base: n, Disp: v * t.bytes}, first)
		for r := range acc {
			c.VPADDD(first, acc[r][v], acc[r][v])
		}
	}
	c.MOVQ(field(call, tileY), n)
	c.CMPQ(field(call, tileAcc), Imm(0))
	c.JEQ(LabelRef("store"))
	for r := range acc {
		for v, a := range acc[r] {
			c.VPADDD(Mem{Base: n, Disp: v * t.bytes}, a, a)
		}
		c.ADDQ(field(call, tileLDY), n)
	}
	c.MOVQ(field(call, tileY), n)
	c.Label("store")
	for r := range acc {
		for v, a := range acc[r] {
			t.move(c, a, Mem{Base: n, Disp: v * t.bytes})
		}
		c.ADDQ(field(call, tileLDY), n)
	}
}
