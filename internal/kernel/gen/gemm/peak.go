package main

import (
	"strings"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// peakChains is the number of independent sums in the peak kernels: more than
// latency times throughput of any core so far.
const peakChains = 12

// peak does 4*peakChains fused multiply-adds on registers per iteration.
func peak(c *build.Context, t target) {
	name := strings.TrimSuffix(t.name, "x16")
	c.Function("peak" + name)
	c.Attributes(attr.NOSPLIT)
	c.SignatureExpr("func(n int)")
	c.Doc("peak" + name + " does 48*n fused multiply-adds of whole vectors.")
	n := c.GP64()
	c.Load(c.Param("n"), n)
	a, b := t.vec(c), t.vec(c)
	c.VXORPS(a, a, a)
	c.VXORPS(b, b, b)
	acc := t.block(c, peakChains/t.vecs())
	zero(c, acc)
	c.Label("loop")
	for range 4 {
		for _, row := range acc {
			for _, s := range row {
				c.VFMADD231PS(a, b, s)
			}
		}
	}
	c.DECQ(n)
	c.JNZ(LabelRef("loop"))
	end(c)
}

// triad sets dst = a + b*s, n a multiple of 64.
func triad(c *build.Context, t target) {
	name := strings.TrimSuffix(t.name, "x16")
	c.Function("triad" + name)
	c.Attributes(attr.NOSPLIT)
	c.SignatureExpr("func(dst, a, b *float32, s float32, n int)")
	c.Pragma("noescape")
	c.Doc("triad" + name + " sets dst = a + b*s for n > 0 elements, n a multiple of 64.")
	dst, a, b, n := c.GP64(), c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("dst"), dst)
	c.Load(c.Param("a"), a)
	c.Load(c.Param("b"), b)
	c.Load(c.Param("n"), n)
	s := t.vec(c)
	sAddr, err := c.Param("s").Resolve()
	if err != nil {
		panic(err)
	}
	c.VBROADCASTSS(sAddr.Addr, s)
	c.Label("loop")
	for o := 0; o < 256; o += t.bytes {
		v := t.vec(c)
		c.VMOVUPS(Mem{Base: b, Disp: o}, v)
		c.VFMADD213PS(Mem{Base: a, Disp: o}, s, v)
		c.VMOVUPS(v, Mem{Base: dst, Disp: o})
	}
	c.ADDQ(U32(256), dst)
	c.ADDQ(U32(256), a)
	c.ADDQ(U32(256), b)
	c.SUBQ(Imm(64), n)
	c.JNZ(LabelRef("loop"))
	end(c)
}
