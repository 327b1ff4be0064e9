package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/reg"
)

func optimisers() {
	sgdPlain()
	sgd(false)
	sgd(true)
	adamW()
	ema()
}

func sgdPlain() {
	function("sgdPlainAVX2", "func(w, grad *float32, rate, decay float32, n int)", "sgdPlainAVX2 sets w = w - rate*(g + decay*w).")
	w, g, n := pointer("w"), pointer("grad"), pointer("n")
	rate, decay := scalar("rate"), scalar("decay")
	floats("loop", n, 4, []Register{w, g}, func(off int) {
		wi, d := YMM(), YMM()
		VMOVUPS(at(w, off), wi)
		VMULPS(wi, decay, d)
		VADDPS(at(g, off), d, d)
		VMULPS(d, rate, d)
		VSUBPS(d, wi, wi)
		VMOVUPS(wi, at(w, off))
	})
	VZEROUPPER()
	RET()
}

func sgd(nesterov bool) {
	name := "sgdAVX2"
	if nesterov {
		name = "sgdNesterovAVX2"
	}
	function(name, "func(w, grad, buf *float32, rate, mu, decay float32, n int)", name+" is SGDStep with momentum.")
	w, g, buf, n := pointer("w"), pointer("grad"), pointer("buf"), pointer("n")
	rate, mu, decay := scalar("rate"), scalar("mu"), scalar("decay")
	floats("loop", n, 2, []Register{w, g, buf}, func(off int) {
		wi, d, b := YMM(), YMM(), YMM()
		VMOVUPS(at(w, off), wi)
		VMULPS(wi, decay, d)
		VADDPS(at(g, off), d, d)
		VMULPS(at(buf, off), mu, b)
		VADDPS(d, b, b)
		VMOVUPS(b, at(buf, off))
		if nesterov {
			VMULPS(b, mu, b)
			VADDPS(b, d, b)
		}
		VMULPS(b, rate, b)
		VSUBPS(b, wi, wi)
		VMOVUPS(wi, at(w, off))
	})
	VZEROUPPER()
	RET()
}

func adamW() {
	function("adamWAVX2", "func(w, grad, m, v, k *float32, n int)", "adamWAVX2 is AdamWStep; k points to adamWScalars.")
	w, g, m, v, kp, n := pointer("w"), pointer("grad"), pointer("m"), pointer("v"), pointer("k"), pointer("n")
	var k [7]VecVirtual
	for i := range k {
		k[i] = YMM()
		VBROADCASTSS(at(kp, i), k[i])
	}
	keep, gain1, beta2, gain2, root2, eps, size := k[0], k[1], k[2], k[3], k[4], k[5], k[6]
	floats("loop", n, 1, []Register{w, g, m, v}, func(off int) {
		gi, mi, vi, t := YMM(), YMM(), YMM(), YMM()
		VMOVUPS(at(g, off), gi)
		VMOVUPS(at(m, off), mi)
		VSUBPS(mi, gi, t)
		VMULPS(t, gain1, t)
		VADDPS(t, mi, mi)
		VMOVUPS(mi, at(m, off))
		VMULPS(gi, gi, t)
		VMULPS(t, gain2, t)
		VMULPS(at(v, off), beta2, vi)
		VADDPS(t, vi, vi)
		VMOVUPS(vi, at(v, off))
		VSQRTPS(vi, vi)
		VDIVPS(root2, vi, vi)
		VADDPS(eps, vi, vi)
		VDIVPS(vi, mi, mi)
		VMULPS(mi, size, mi)
		VMULPS(at(w, off), keep, t)
		VSUBPS(mi, t, t)
		VMOVUPS(t, at(w, off))
	})
	VZEROUPPER()
	RET()
}

func ema() {
	function("emaAVX2", "func(avg, w *float32, gain float32, n int)", "emaAVX2 sets avg = avg + gain*(w-avg).")
	avg, w, n := pointer("avg"), pointer("w"), pointer("n")
	gain := scalar("gain")
	floats("loop", n, 4, []Register{avg, w}, func(off int) {
		a, d := YMM(), YMM()
		VMOVUPS(at(avg, off), a)
		VMOVUPS(at(w, off), d)
		VSUBPS(a, d, d)
		VMULPS(d, gain, d)
		VADDPS(d, a, a)
		VMOVUPS(a, at(avg, off))
	})
	VZEROUPPER()
	RET()
}
