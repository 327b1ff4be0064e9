package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func reductions() {
	function("maxAbsAVX2", "func(x *float32, n int) uint32", "maxAbsAVX2 returns the largest bit pattern of |x|.")
	{
		x, n := pointer("x"), pointer("n")
		abs, best := YMM(), YMM()
		VPCMPEQD(abs, abs, abs)
		VPSRLD(U8(1), abs, abs)
		VPXOR(best, best, best)
		floats("loop", n, 4, []Register{x}, func(off int) {
			v := YMM()
			VPAND(at(x, off), abs, v)
			VPMAXUD(v, best, best)
		})
		high, low := XMM(), best.AsX()
		VEXTRACTI128(U8(1), best, high)
		VPMAXUD(high, low, low)
		VPSHUFD(U8(0x4e), low, high)
		VPMAXUD(high, low, low)
		VPSHUFD(U8(0xb1), low, high)
		VPMAXUD(high, low, low)
		out := GP32()
		VMOVD(low, out)
		VZEROUPPER()
		Store(out, ReturnIndex(0))
		RET()
	}

	function("dotAVX2", "func(acc *float64, a, b *float32, n int)", "dotAVX2 adds a*b to the 16 lanes of acc; n is a multiple of 16.")
	{
		acc, a, b, n := pointer("acc"), pointer("a"), pointer("b"), pointer("n")
		sums := loadDoubles(acc, 4)
		countdown("loop", n, 16, func() {
			for i, sum := range sums {
				u, v := YMM(), YMM()
				VCVTPS2PD(at(a, 4*i), u)
				VCVTPS2PD(at(b, 4*i), v)
				VMULPD(v, u, u)
				VADDPD(u, sum, sum)
			}
			ADDQ(U32(64), a)
			ADDQ(U32(64), b)
		})
		storeDoubles(acc, sums)
		VZEROUPPER()
		RET()
	}

	function("sumAVX2", "func(acc *float64, x *float32, n int)", "sumAVX2 adds x to the 16 lanes of acc; n is a multiple of 16.")
	{
		acc, x, n := pointer("acc"), pointer("x"), pointer("n")
		sums := loadDoubles(acc, 4)
		countdown("loop", n, 16, func() {
			for i, sum := range sums {
				u := YMM()
				VCVTPS2PD(at(x, 4*i), u)
				VADDPD(u, sum, sum)
			}
			ADDQ(U32(64), x)
		})
		storeDoubles(acc, sums)
		VZEROUPPER()
		RET()
	}

	function("columnSumsAVX2", "func(acc *float64, x *float32, rows, c, n int)",
		"columnSumsAVX2 adds the first n of c channels of every row to acc.")
	{
		acc, x, rows, stride, n := pointer("acc"), pointer("x"), pointer("rows"), pointer("c"), pointer("n")
		SHLQ(U8(2), stride)
		for _, group := range []int{32, 8} {
			label := "wide"
			if group == 8 {
				label = "narrow"
			}
			countdown(label, n, group, func() {
				sums := loadDoubles(acc, group/4)
				row, left := GP64(), GP64()
				MOVQ(x, row)
				MOVQ(rows, left)
				countdown(label+"_rows", left, 1, func() {
					for i, sum := range sums {
						v := YMM()
						VCVTPS2PD(at(row, 4*i), v)
						VADDPD(v, sum, sum)
					}
					ADDQ(stride, row)
				})
				storeDoubles(acc, sums)
				ADDQ(U32(uint32(8*group)), acc)
				ADDQ(U32(uint32(4*group)), x)
			})
		}
		VZEROUPPER()
		RET()
	}
}

// loadDoubles loads 4*n float64 sums.
func loadDoubles(acc Register, n int) []VecVirtual {
	sums := make([]VecVirtual, n)
	for i := range sums {
		sums[i] = YMM()
		VMOVUPD(Mem{Base: acc, Disp: 32 * i}, sums[i])
	}
	return sums
}

func storeDoubles(acc Register, sums []VecVirtual) {
	for i, sum := range sums {
		VMOVUPD(sum, Mem{Base: acc, Disp: 32 * i})
	}
}
