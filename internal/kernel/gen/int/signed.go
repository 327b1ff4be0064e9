package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of fireSignedCall in the kernel package.
const (
	signedCounts     = 0
	signedV          = 8
	signedSum        = 16
	signedCurrent    = 24
	signedOffset     = 32
	signedOffsetMask = 40
	signedRows       = 48
	signedC          = 56
	signedN          = 64
	signedShift      = 72
	signedMost       = 76
	signedSpikes     = 80
	signedEvents     = 144
	signedBad        = 208
)

func signedNeurons(c *build.Context) {
	for _, t := range []target{{name: "AVX2", bytes: 32, vec: ymm}, {name: "AVX512", bytes: 64, vec: zmm}} {
		fireSigned(c, t)
	}
}

// fireSigned is the neuron with guarded negative spikes. As in fireInt, a
// potential that is not finite shows in bad, and the caller takes back what
// such a neuron has emitted. Rounding leaves -0 of -0, which adding 0 makes 0.
func fireSigned(c *build.Context, t target) {
	call := function(c, "fireSigned"+t.name, "fireSignedCall",
		"fires n neurons (of c) of every row; spikes, events and bad are sums of lanes.")
	counts, v, sum, current := load(c, call, signedCounts), load(c, call, signedV), load(c, call, signedSum), load(c, call, signedCurrent)
	offset, ch, left := load(c, call, signedOffset), c.GP64(), c.GP64()
	lanes := t.bytes / 4
	shift, most, zero, bad, spikes, events, one := t.vec(c), t.vec(c), t.vec(c), t.vec(c), t.vec(c), t.vec(c), t.vec(c)
	c.VBROADCASTSS(field(call, signedShift), shift)
	c.VBROADCASTSS(field(call, signedMost), most)
	for _, r := range []reg.VecVirtual{zero, bad, spikes, events} {
		t.zero(c, r)
	}
	c.MOVQ(I32(1), left)
	c.VMOVD(left.As32(), one.AsX())
	c.VPBROADCASTD(one.AsX(), one)
	at := func(p reg.GPVirtual) Mem { return Mem{Base: p, Index: ch, Scale: 4} }

	c.Label("row")
	c.XORQ(ch, ch)
	c.Label("channels")
	u, least, n := t.vec(c), t.vec(c), t.vec(c)
	c.VMOVUPS(at(current), u)
	// Without an offset the mask is 0 and the same zeros are read for all channels.
	c.MOVQ(ch, left)
	c.ANDQ(field(call, signedOffsetMask), left)
	c.VADDPS(Mem{Base: offset, Index: left, Scale: 4}, u, u)
	c.VADDPS(shift, u, u)
	c.VADDPS(at(v), u, u)
	c.VMINPS(at(sum), most, least)
	c.VSUBPS(least, zero, least)
	c.VMAXPS(least, u, n) // least for NaN
	c.VMINPS(most, n, n)
	if t.bytes == 64 {
		c.VRNDSCALEPS(Imm(9), n, n)
	} else {
		c.VROUNDPS(Imm(9), n, n)
	}
	c.VADDPS(zero, n, n)
	c.VMOVUPS(n, at(counts))
	c.VFMADD231PS(zero, u, bad)
	c.VSUBPS(n, u, u)
	c.VMOVUPS(u, at(v))
	total := t.vec(c)
	c.VADDPS(at(sum), n, total)
	c.VMOVUPS(total, at(sum))
	c.VCVTTPS2DQ(n, n)
	c.VPABSD(n, n)
	c.VPADDD(n, spikes, spikes)
	c.VPMINSD(one, n, n)
	c.VPADDD(n, events, events)
	c.ADDQ(I32(lanes), ch)
	c.CMPQ(ch, field(call, signedN))
	c.JLT(LabelRef("channels"))
	c.MOVQ(field(call, signedC), left)
	c.SHLQ(Imm(2), left)
	for _, p := range []reg.GPVirtual{counts, v, sum, current} {
		c.ADDQ(left, p)
	}
	c.DECQ(field(call, signedRows))
	c.JNE(LabelRef("row"))
	c.VMOVUPS(spikes, field(call, signedSpikes))
	c.VMOVUPS(events, field(call, signedEvents))
	c.VMOVUPS(bad, field(call, signedBad))
	end(c)
}
