package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of intEventCall in the kernel package.
const (
	eventStart     = 0
	eventRow       = 8
	eventCount     = 16
	eventW         = 24
	eventY         = 32
	eventLDY       = 40
	eventN         = 48
	eventLimit     = 56
	eventWidth     = 64
	eventKW        = 72
	eventStride    = 80
	eventPad       = 88
	eventCin       = 96
	eventKH        = 104
	eventStartStep = 112
	eventWStep     = 120
	eventBudget    = 128
	eventFrom      = 136
	eventTo        = 144
	eventLeft      = 152
)

// eventCols is the number of output channels of the event kernels.
const eventCols = 64

func events(c *build.Context) {
	for _, t := range []target{{name: "AVX2", bytes: 32, vec: ymm}, {name: "AVX512", bytes: 64, vec: zmm}} {
		for _, wide := range []bool{false, true} {
			t.wide = wide
			eventRowKernel(c, t)
		}
	}
	for _, wide := range []bool{false, true} {
		compress(c, false, wide)
		compress(c, true, wide)
	}
}

// eventRowKernel adds the events under some kernel rows to a row of output
// pixels. Events come in pairs: their rows of weights are interleaved, so that
// one multiplication by the pair of counts adds up both. Weights of bytes have
// sums of 16 bits, which go to y after limit events; those of 16 bits have
// counts of 16 bits with a sign and sums of 32 bits.
func eventRowKernel(c *build.Context, t target) {
	wide, width, scale := t.wide, 8, uint8(1)
	if wide {
		width, scale = 16, 2
	}
	call := function(c, fmt.Sprintf("intEventRow%d%s", width, t.name), "intEventCall",
		fmt.Sprintf("is intEventPortable for weights of %d bits.", width))
	// Two vectors of sums for a vector of weights.
	acc := make([]reg.VecVirtual, 2*eventCols*width/8/t.bytes)
	for i := range acc {
		acc[i] = t.vec(c)
	}
	zero := t.vec(c)
	t.zero(c, zero)
	rows, counts, y := load(c, call, eventRow), load(c, call, eventCount), load(c, call, eventY)
	// The first pixel under the kernel, and where its weights would begin if
	// entries counted from it.
	first, w := load(c, call, eventPad), c.GP64()
	c.MOVQ(first, w)
	c.IMULQ(field(call, eventCin), w)
	c.SHLQ(Imm(6), w)
	if wide {
		c.SHLQ(Imm(1), w)
	}
	c.ADDQ(field(call, eventW), w)
	c.NEGQ(first)
	start, weights := c.GP64(), c.GP64() // of a kernel row
	e, end, stop, a, b := c.GP64(), c.GP64(), c.GP64(), c.GP64(), c.GP64()
	restart := func() {
		for _, s := range acc {
			t.zero(c, s)
		}
		c.MOVQ(field(call, eventLimit), a)
		c.MOVQ(a, field(call, eventBudget))
	}
	restart()

	c.Label("pixel")
	columns, none := a, b
	c.XORQ(none, none)
	c.MOVQ(field(call, eventWidth), columns)
	clamp := func(x reg.GPVirtual) {
		c.TESTQ(x, x)
		c.CMOVQLT(none, x)
		c.CMPQ(x, columns)
		c.CMOVQGT(columns, x)
	}
	c.MOVQ(first, e)
	clamp(e)
	c.MOVQ(field(call, eventKW), end)
	c.ADDQ(first, end)
	clamp(end)
	c.MOVQ(e, field(call, eventFrom))
	c.MOVQ(end, field(call, eventTo))
	c.MOVQ(field(call, eventStart), start)
	c.MOVQ(w, weights)
	c.MOVQ(field(call, eventKH), a)
	c.MOVQ(a, field(call, eventLeft))

	c.Label("row")
	c.MOVQ(field(call, eventFrom), e)
	c.MOVQ(field(call, eventTo), end)
	c.MOVLQSX(Mem{Base: start, Index: e, Scale: 4}, e)
	c.MOVLQSX(Mem{Base: start, Index: end, Scale: 4}, end)
	c.CMPQ(e, end)
	c.JGE(LabelRef("next"))

	c.Label("chunk")
	c.MOVQ(field(call, eventBudget), stop)
	c.ADDQ(e, stop)
	c.CMPQ(end, stop)
	c.CMOVQLT(end, stop)
	c.MOVQ(e, a)
	c.SUBQ(stop, a)
	c.ADDQ(a, field(call, eventBudget))
	c.DECQ(stop)
	c.CMPQ(e, stop)
	c.JGE(LabelRef("odd"))

	// products adds the counts in both times two rows of weights; without b the
	// second row is zeros.
	at := func(p reg.GPVirtual, i int) Mem { return Mem{Base: weights, Index: p, Scale: scale, Disp: t.bytes * i} }
	products := func(both reg.VecVirtual, two bool) {
		for i := range len(acc) / 2 {
			ra, rb, low := t.vec(c), zero, t.vec(c)
			t.move(c, at(a, i), ra)
			if two {
				rb = t.vec(c)
				t.move(c, at(b, i), rb)
			}
			if wide {
				c.VPUNPCKLWD(rb, ra, low)
				c.VPUNPCKHWD(rb, ra, ra)
				c.VPMADDWD(low, both, low)
				c.VPMADDWD(ra, both, ra)
				c.VPADDD(low, acc[2*i], acc[2*i])
				c.VPADDD(ra, acc[2*i+1], acc[2*i+1])
				continue
			}
			c.VPUNPCKLBW(rb, ra, low)
			c.VPUNPCKHBW(rb, ra, ra)
			c.VPMADDUBSW(low, both, low)
			c.VPMADDUBSW(ra, both, ra)
			c.VPADDW(low, acc[2*i], acc[2*i])
			c.VPADDW(ra, acc[2*i+1], acc[2*i+1])
		}
	}
	c.Label("pair")
	both := t.vec(c)
	c.MOVLQSX(Mem{Base: rows, Index: e, Scale: 4}, a)
	c.MOVLQSX(Mem{Base: rows, Index: e, Scale: 4, Disp: 4}, b)
	if wide {
		c.VPBROADCASTD(Mem{Base: counts, Index: e, Scale: 2}, both)
	} else {
		c.VPBROADCASTW(Mem{Base: counts, Index: e, Scale: 1}, both)
	}
	products(both, true)
	c.ADDQ(Imm(2), e)
	c.CMPQ(e, stop)
	c.JLT(LabelRef("pair"))
	c.Label("odd")
	c.JNE(LabelRef("summed"))
	one := t.vec(c)
	c.MOVLQSX(Mem{Base: rows, Index: e, Scale: 4}, a)
	if wide {
		c.MOVWQZX(Mem{Base: counts, Index: e, Scale: 2}, b)
		c.VMOVD(b.As32(), one.AsX())
		c.VPBROADCASTD(one.AsX(), one)
	} else {
		c.MOVBQZX(Mem{Base: counts, Index: e, Scale: 1}, b)
		c.VMOVD(b.As32(), one.AsX())
		c.VPBROADCASTW(one.AsX(), one)
	}
	products(one, false)
	c.INCQ(e)
	c.Label("summed")
	c.CMPQ(e, end)
	c.JLT(LabelRef("flush"))

	c.Label("next")
	c.ADDQ(field(call, eventStartStep), start)
	c.ADDQ(field(call, eventWStep), weights)
	c.DECQ(field(call, eventLeft))
	c.JNE(LabelRef("row"))
	c.MOVQ(field(call, eventBudget), a)
	c.CMPQ(a, field(call, eventLimit))
	c.JEQ(LabelRef("done")) // no events

	c.Label("flush")
	for i, s := range acc {
		// The halves of a vector of sums belong to channels at and at+gap, in y.
		at, gap := 64*i, 32
		switch {
		case wide && t.bytes == 32:
			at, gap = 32*i, 0
		case wide: // 0, 8, 32, 40 and so on
			at, gap = 128*(i/2)+32*(i%2), 64
		case t.bytes == 64:
			at, gap = 64*i, 128
		}
		half := c.YMM()
		switch {
		case gap == 0:
			half = s
		case t.bytes == 64:
			c.VEXTRACTI64X4(Imm(1), s, half)
		default:
			c.VEXTRACTI128(Imm(1), s, half.AsX())
		}
		for k, part := range []reg.VecVirtual{s, half} {
			if gap == 0 && k == 1 {
				break
			}
			to := Mem{Base: y, Disp: at + k*gap}
			switch {
			case wide:
				c.VPADDD(to, part.AsY(), part.AsY())
				c.VMOVDQU(part.AsY(), to)
			case t.bytes == 64:
				sum := c.ZMM()
				c.VPMOVSXWD(part.AsY(), sum)
				c.VPADDD(to, sum, sum)
				t.move(c, sum, to)
			default:
				sum := c.YMM()
				c.VPMOVSXWD(part.AsX(), sum)
				c.VPADDD(to, sum, sum)
				c.VMOVDQU(sum, to)
			}
		}
	}
	restart()
	c.CMPQ(e, end)
	c.JLT(LabelRef("chunk"))

	c.Label("done")
	c.ADDQ(field(call, eventLDY), y)
	c.MOVQ(field(call, eventStride), a)
	c.ADDQ(a, first)
	c.IMULQ(field(call, eventCin), a)
	c.SHLQ(Imm(6), a)
	if wide {
		c.SHLQ(Imm(1), a)
	}
	c.SUBQ(a, w)
	c.DECQ(field(call, eventN))
	c.JNE(LabelRef("pixel"))
	c.VZEROUPPER()
	c.RET()
}

// Offsets of the fields of intCompressCall in the kernel package.
const (
	compressX        = 0
	compressStart    = 8
	compressRow      = 16
	compressCount    = 24
	compressPixels   = 32
	compressStep     = 40
	compressGroups   = 48
	compressN        = 56
	compressBaseStep = 64
	compressNegative = 72
)

// compress lists the non-zero counts of a row of pixels, eight counts at a
// time: a table tells which lanes come first. If wide, counts keep their sign
// and become 16-bit numbers.
func compress(c *build.Context, signed, wide bool) {
	name := "intCompressU8"
	if signed {
		name = "intCompressS8"
	}
	if wide {
		name += "Wide"
	}
	name += "AVX2"
	call := function(c, name, "intCompressCall", "lists the non-zero counts of a row of pixels, see intCompressCall.")
	x, start := load(c, call, compressX), load(c, call, compressStart)
	rows, counts, n := load(c, call, compressRow), load(c, call, compressCount), load(c, call, compressN)
	order, in, left, mask := c.GP64(), c.GP64(), c.GP64(), c.GP64()
	c.LEAQ(compressTable(c), order)
	zero, pixel, next, eight, step, negative := c.XMM(), c.YMM(), c.YMM(), c.YMM(), c.YMM(), c.YMM()
	c.VPXOR(zero, zero, zero)
	c.VPXOR(pixel, pixel, pixel)
	c.MOVQ(I32(8*eventCols), mask)
	c.VMOVD(mask.As32(), eight.AsX())
	c.VPBROADCASTD(eight.AsX(), eight)
	c.VPBROADCASTD(field(call, compressBaseStep), step)
	if signed && !wide {
		c.VPBROADCASTD(field(call, compressNegative), negative)
	}

	c.Label("pixel")
	c.MOVL(n.As32(), Mem{Base: start})
	c.MOVQ(x, in)
	c.MOVQ(field(call, compressGroups), left)
	c.VMOVDQA(pixel, next)
	c.Label("group")
	v, set, lanes, row := c.XMM(), c.XMM(), c.XMM(), c.YMM()
	c.VMOVQ(Mem{Base: in}, v)
	c.VPCMPEQB(v, zero, set)
	c.VPMOVMSKB(set, mask.As32())
	c.XORQ(I32(0xffff), mask) // the upper eight bytes are 0, so their bits too
	c.VMOVQ(Mem{Base: order, Index: mask, Scale: 8}, lanes)
	c.VPSHUFB(lanes, v, v)
	c.VPMOVZXBD(lanes, row)
	c.VPSLLD(Imm(6), row, row)
	c.VPADDD(next, row, row)
	if signed && !wide {
		sign := c.YMM()
		c.VPMOVSXBD(v, sign)
		c.VPSRAD(Imm(31), sign, sign)
		c.VPAND(negative, sign, sign)
		c.VPADDD(sign, row, row)
		c.VPABSB(v, v)
	}
	c.VMOVDQU(row, Mem{Base: rows, Index: n, Scale: 4})
	switch {
	case !wide:
		c.VMOVQ(v, Mem{Base: counts, Index: n, Scale: 1})
	case signed:
		c.VPMOVSXBW(v, v)
		c.VMOVDQU(v, Mem{Base: counts, Index: n, Scale: 2})
	default:
		c.VPMOVZXBW(v, v)
		c.VMOVDQU(v, Mem{Base: counts, Index: n, Scale: 2})
	}
	c.POPCNTQ(mask, mask)
	c.ADDQ(mask, n)
	c.VPADDD(eight, next, next)
	c.ADDQ(Imm(8), in)
	c.DECQ(left)
	c.JNE(LabelRef("group"))
	c.VPADDD(step, pixel, pixel)
	c.ADDQ(field(call, compressStep), x)
	c.ADDQ(Imm(4), start)
	c.DECQ(field(call, compressPixels))
	c.JNE(LabelRef("pixel"))
	c.MOVL(n.As32(), Mem{Base: start})
	c.MOVQ(n, field(call, compressN))
	c.VZEROUPPER()
	c.RET()
}

var compressTableOf = map[*build.Context]Mem{}

// compressTable lists, for each mask of eight lanes, the lanes in it.
func compressTable(c *build.Context) Mem {
	m, ok := compressTableOf[c]
	if !ok {
		m = table(c, "intCompressLanes", 256, 8, func(mask int) Constant {
			var lanes uint64
			at := 0
			for lane := range 8 {
				if mask>>lane&1 == 1 {
					lanes |= uint64(lane) << at
					at += 8
				}
			}
			return U64(lanes)
		})
		compressTableOf[c] = m
	}
	return m
}
