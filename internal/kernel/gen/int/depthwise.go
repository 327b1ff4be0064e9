package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of intDepthwiseCall in the kernel package.
const (
	depthX      = 0
	depthOff    = 8
	depthTaps   = 16
	depthPairs  = 24
	depthPanels = 32
	depthW      = 40
	depthY      = 48
	depthLDY    = 56
	depthAcc    = 64
)

// depthwise is the kernel for some pixels of a depthwise convolution. Taps
// come in pairs: their inputs are interleaved and meet interleaved weights.
func depthwise(c *build.Context, rows int) {
	call := function(c, fmt.Sprintf("intDepthwiseAVX2_%d", rows), "intDepthwiseCall",
		fmt.Sprintf("computes %d pixels of a depthwise convolution, see intDepthwiseCall.", rows))
	in := make([]reg.GPVirtual, rows)
	taps, y := c.GP64(), load(c, call, depthY)
	c.MOVQ(field(call, depthOff), taps)
	for r := range in {
		in[r] = c.GP64()
		c.MOVQ(Mem{Base: taps, Disp: 8 * r}, in[r])
		c.ADDQ(field(call, depthX), in[r])
	}
	w := load(c, call, depthW)
	n, a, b := c.GP64(), c.GP64(), c.GP64()
	acc := make([][2]reg.VecVirtual, rows)
	for r := range acc {
		acc[r] = [2]reg.VecVirtual{c.YMM(), c.YMM()}
	}
	c.Label("panel")
	for r := range acc {
		c.VPXOR(acc[r][0], acc[r][0], acc[r][0])
		c.VPXOR(acc[r][1], acc[r][1], acc[r][1])
	}
	c.MOVQ(field(call, depthTaps), taps)
	c.MOVQ(field(call, depthPairs), n)
	c.Label("pair")
	c.MOVQ(Mem{Base: taps}, a)
	c.MOVQ(Mem{Base: taps, Disp: 8}, b)
	wl, wh := c.YMM(), c.YMM()
	c.VMOVDQU(Mem{Base: w}, wl)
	c.VMOVDQU(Mem{Base: w, Disp: 32}, wh)
	for r := range acc {
		xa, xb, low := c.YMM(), c.YMM(), c.YMM()
		c.VMOVDQU(Mem{Base: in[r], Index: a, Scale: 1}, xa)
		c.VMOVDQU(Mem{Base: in[r], Index: b, Scale: 1}, xb)
		c.VPUNPCKLWD(xb, xa, low)
		c.VPUNPCKHWD(xb, xa, xa)
		c.VPMADDWD(wl, low, low)
		c.VPMADDWD(wh, xa, xa)
		c.VPADDD(low, acc[r][0], acc[r][0])
		c.VPADDD(xa, acc[r][1], acc[r][1])
	}
	c.ADDQ(Imm(64), w)
	c.ADDQ(Imm(16), taps)
	c.DECQ(n)
	c.JNE(LabelRef("pair"))
	// The interleaved sums hold the channels of half a lane each.
	for r := range acc {
		low := c.YMM()
		c.VPERM2I128(Imm(0x20), acc[r][1], acc[r][0], low)
		c.VPERM2I128(Imm(0x31), acc[r][1], acc[r][0], acc[r][1])
		acc[r][0] = low
	}
	c.MOVQ(y, a)
	c.CMPQ(field(call, depthAcc), Imm(0))
	c.JEQ(LabelRef("store"))
	for r := range acc {
		c.VPADDD(Mem{Base: a}, acc[r][0], acc[r][0])
		c.VPADDD(Mem{Base: a, Disp: 32}, acc[r][1], acc[r][1])
		c.ADDQ(field(call, depthLDY), a)
	}
	c.MOVQ(y, a)
	c.Label("store")
	for r := range acc {
		c.VMOVDQU(acc[r][0], Mem{Base: a})
		c.VMOVDQU(acc[r][1], Mem{Base: a, Disp: 32})
		c.ADDQ(field(call, depthLDY), a)
	}
	for _, p := range in {
		c.ADDQ(Imm(32), p)
	}
	c.ADDQ(Imm(64), y)
	c.DECQ(field(call, depthPanels))
	c.JNE(LabelRef("panel"))
	c.VZEROUPPER()
	c.RET()
}

// widen emits the copies of counts into bands.
func widen(c *build.Context) {
	for _, signed := range []bool{false, true} {
		name, extend, kind := "intWidenU8AVX2", c.VPMOVZXBW, "unsigned"
		if signed {
			name, extend, kind = "intWidenS8AVX2", c.VPMOVSXBW, "signed"
		}
		c.Function(name)
		c.Attributes(attr.NOSPLIT)
		c.SignatureExpr("func(dst *int16, src *uint8, n int)")
		c.Pragma("noescape")
		c.Doc(fmt.Sprintf("%s copies n > 0 %s bytes to 16 bits, n a multiple of 16.", name, kind))
		dst, src, n := c.GP64(), c.GP64(), c.GP64()
		c.Load(c.Param("dst"), dst)
		c.Load(c.Param("src"), src)
		c.Load(c.Param("n"), n)
		v := c.YMM()
		c.Label("loop")
		extend(Mem{Base: src}, v)
		c.VMOVDQU(v, Mem{Base: dst})
		c.ADDQ(Imm(16), src)
		c.ADDQ(Imm(32), dst)
		c.SUBQ(Imm(16), n)
		c.JNE(LabelRef("loop"))
		c.VZEROUPPER()
		c.RET()
	}
	c.Function("intOffsetAVX2")
	c.Attributes(attr.NOSPLIT)
	c.SignatureExpr("func(dst, src *uint8, offset uint64, n int)")
	c.Pragma("noescape")
	c.Doc("intOffsetAVX2 sets dst to n > 0 bytes plus the offset, n a multiple of 32.")
	dst, src, offset, n := c.GP64(), c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("dst"), dst)
	c.Load(c.Param("src"), src)
	c.Load(c.Param("offset"), offset)
	c.Load(c.Param("n"), n)
	o, v := c.YMM(), c.YMM()
	c.VMOVD(offset.As32(), o.AsX())
	c.VPBROADCASTB(o.AsX(), o)
	c.Label("loop")
	c.VPADDB(Mem{Base: src}, o, v)
	c.VMOVDQU(v, Mem{Base: dst})
	c.ADDQ(Imm(32), src)
	c.ADDQ(Imm(32), dst)
	c.SUBQ(Imm(32), n)
	c.JNE(LabelRef("loop"))
	c.VZEROUPPER()
	c.RET()
}

// narrow turns whole numbers in floats into integers of 8 or 16 bits.
func narrow(c *build.Context) {
	for _, bits := range []int{8, 16} {
		c.Function(fmt.Sprintf("intNarrow%dAVX2", bits))
		c.Attributes(attr.NOSPLIT)
		c.SignatureExpr(fmt.Sprintf("func(dst *int%d, src *float32, n int)", bits))
		c.Pragma("noescape")
		c.Doc(fmt.Sprintf("intNarrow%dAVX2 converts n > 0 floats, n a multiple of 32.", bits))
		dst, src, n := c.GP64(), c.GP64(), c.GP64()
		c.Load(c.Param("dst"), dst)
		c.Load(c.Param("src"), src)
		c.Load(c.Param("n"), n)
		order := c.YMM()
		if bits == 8 {
			c.VMOVDQU(laneOrder(c), order)
		}
		c.Label("loop")
		var v [4]reg.VecVirtual
		for i := range v {
			v[i] = c.YMM()
			c.VCVTTPS2DQ(Mem{Base: src, Disp: 32 * i}, v[i])
		}
		c.VPACKSSDW(v[1], v[0], v[0])
		c.VPACKSSDW(v[3], v[2], v[2])
		if bits == 8 {
			c.VPACKSSWB(v[2], v[0], v[0])
			c.VPERMD(v[0], order, v[0])
			c.VMOVDQU(v[0], Mem{Base: dst})
		} else {
			c.VPERMQ(Imm(0xd8), v[0], v[0])
			c.VPERMQ(Imm(0xd8), v[2], v[2])
			c.VMOVDQU(v[0], Mem{Base: dst})
			c.VMOVDQU(v[2], Mem{Base: dst, Disp: 32})
		}
		c.ADDQ(I32(128), src)
		c.ADDQ(Imm(uint64(32*bits/8)), dst)
		c.SUBQ(Imm(32), n)
		c.JNE(LabelRef("loop"))
		end(c)
	}
}
