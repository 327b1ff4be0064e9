package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func arithmetic() {
	binary("addAVX2", "dst = a + b", func(b Mem, a, out VecVirtual) { VADDPS(b, a, out) })
	binary("subAVX2", "dst = a - b", func(b Mem, a, out VecVirtual) { VSUBPS(b, a, out) })
	binary("mulAVX2", "dst = a * b", func(b Mem, a, out VecVirtual) { VMULPS(b, a, out) })

	function("scaleAVX2", "func(dst, x *float32, s float32, n int)", "scaleAVX2 sets dst = x*s.")
	{
		dst, x, s, n := pointer("dst"), pointer("x"), scalar("s"), pointer("n")
		floats("loop", n, 4, []Register{dst, x}, func(off int) {
			v := YMM()
			VMULPS(at(x, off), s, v)
			VMOVUPS(v, at(dst, off))
		})
		VZEROUPPER()
		RET()
	}

	function("axpyAVX2", "func(dst, x *float32, a float32, n int)", "axpyAVX2 sets dst = dst + x*a.")
	{
		dst, x, a, n := pointer("dst"), pointer("x"), scalar("a"), pointer("n")
		floats("loop", n, 4, []Register{dst, x}, func(off int) {
			v := YMM()
			VMULPS(at(x, off), a, v)
			VADDPS(at(dst, off), v, v)
			VMOVUPS(v, at(dst, off))
		})
		VZEROUPPER()
		RET()
	}

	function("reluAVX2", "func(dst, x *float32, max float32, n int)", "reluAVX2 limits x to [0, max].")
	{
		dst, x, max, n := pointer("dst"), pointer("x"), scalar("max"), pointer("n")
		zero := zeroed()
		floats("loop", n, 4, []Register{dst, x}, func(off int) {
			v := YMM()
			VMAXPS(at(x, off), zero, v)
			VMINPS(v, max, v)
			VMOVUPS(v, at(dst, off))
		})
		VZEROUPPER()
		RET()
	}

	function("reluBackwardAVX2", "func(dx, x, dy *float32, max float32, n int)", "reluBackwardAVX2 sets dx = dy where 0 < x < max, else 0.")
	{
		dx, x, dy, max, n := pointer("dx"), pointer("x"), pointer("dy"), scalar("max"), pointer("n")
		zero := zeroed()
		floats("loop", n, 4, []Register{dx, x, dy}, func(off int) {
			d := openInterval(at(x, off), zero, max)
			VANDPS(at(dy, off), d, d)
			VMOVUPS(d, at(dx, off))
		})
		VZEROUPPER()
		RET()
	}

	function("leakyAVX2", "func(dst, x, v *float32, slope float32, n int)", "leakyAVX2 sets dst = v where x > 0, else slope*v.")
	{
		dst, x, v, slope, n := pointer("dst"), pointer("x"), pointer("v"), scalar("slope"), pointer("n")
		zero := zeroed()
		floats("loop", n, 2, []Register{dst, x, v}, func(off int) {
			positive, whole, scaled := YMM(), YMM(), YMM()
			VCMPPS(U8(lessThan), at(x, off), zero, positive)
			VMOVUPS(at(v, off), whole)
			VMULPS(whole, slope, scaled)
			VBLENDVPS(positive, whole, scaled, scaled)
			VMOVUPS(scaled, at(dst, off))
		})
		VZEROUPPER()
		RET()
	}

	function("countsToFloatAVX2", "func(dst *float32, src *uint8, n int)", "countsToFloatAVX2 converts bytes to float32.")
	{
		dst, src, n := pointer("dst"), pointer("src"), pointer("n")
		vectors("loop", n, 4, map[Register]int{dst: 4, src: 1}, []Register{dst, src}, func(off int) {
			v := YMM()
			VPMOVZXBD(Mem{Base: src, Disp: off}, v)
			VCVTDQ2PS(v, v)
			VMOVUPS(v, at(dst, off))
		})
		VZEROUPPER()
		RET()
	}

	function("blendAVX2", "func(y, a, b, c, d, k *float32, n int)", "blendAVX2 sets y = (a*k0 + b*k1)*k2 + (c*k0 + d*k1)*k3.")
	{
		y, a, b, c, d := pointer("y"), pointer("a"), pointer("b"), pointer("c"), pointer("d")
		kp, n := pointer("k"), pointer("n")
		var k [4]VecVirtual
		for i := range k {
			k[i] = YMM()
			VBROADCASTSS(at(kp, i), k[i])
		}
		floats("loop", n, 1, []Register{y, a, b, c, d}, func(off int) {
			u, l, t := YMM(), YMM(), YMM()
			VMULPS(at(a, off), k[0], u)
			VMULPS(at(b, off), k[1], t)
			VADDPS(t, u, u)
			VMULPS(at(c, off), k[0], l)
			VMULPS(at(d, off), k[1], t)
			VADDPS(t, l, l)
			VMULPS(u, k[2], u)
			VMULPS(l, k[3], l)
			VADDPS(l, u, u)
			VMOVUPS(u, at(y, off))
		})
		VZEROUPPER()
		RET()
	}
}

func binary(name, formula string, op func(b Mem, a, out VecVirtual)) {
	function(name, "func(dst, a, b *float32, n int)", name+" sets "+formula+".")
	dst, a, b, n := pointer("dst"), pointer("a"), pointer("b"), pointer("n")
	floats("loop", n, 4, []Register{dst, a, b}, func(off int) {
		v := YMM()
		VMOVUPS(at(a, off), v)
		op(at(b, off), v, v)
		VMOVUPS(v, at(dst, off))
	})
	VZEROUPPER()
	RET()
}

// openInterval returns the mask of 0 < x < max.
func openInterval(x Mem, zero, max VecVirtual) VecVirtual {
	v, above := YMM(), YMM()
	VMOVUPS(x, v)
	VCMPPS(U8(lessThan), v, zero, above)
	VCMPPS(U8(lessThan), max, v, v)
	VANDPS(above, v, v)
	return v
}
