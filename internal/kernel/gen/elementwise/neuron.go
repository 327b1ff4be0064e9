package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func neurons() {
	fire(false)
	fire(true)

	function("accumulateAVX2", "func(cum *int32, counts *uint8, n int)", "accumulateAVX2 adds counts to cum.")
	{
		cum, counts, n := pointer("cum"), pointer("counts"), pointer("n")
		vectors("loop", n, 4, map[Register]int{cum: 4, counts: 1}, []Register{cum, counts}, func(off int) {
			v := YMM()
			VPMOVZXBD(Mem{Base: counts, Disp: off}, v)
			VPADDD(at(cum, off), v, v)
			VMOVDQU(v, at(cum, off))
		})
		VZEROUPPER()
		RET()
	}

	function("countSpikesAVX2", "func(counts *uint8, n int) (spikes, events int64)",
		"countSpikesAVX2 returns the sum of the counts and how many are not 0; n is a multiple of 32.")
	{
		counts, n := pointer("counts"), pointer("n")
		t := newTally()
		countdown("loop", n, 32, func() {
			v := YMM()
			VMOVDQU(Mem{Base: counts}, v)
			t.add(v)
			ADDQ(U32(32), counts)
		})
		t.store()
		VZEROUPPER()
		RET()
	}
}

// tally adds up counts and non-zero counts in 64-bit lanes.
type tally struct{ spikes, events, ones, zero VecVirtual }

func newTally() tally {
	t := tally{YMM(), YMM(), YMM(), YMM()}
	VPXOR(t.spikes, t.spikes, t.spikes)
	VPXOR(t.events, t.events, t.events)
	VPXOR(t.zero, t.zero, t.zero)
	VPCMPEQB(t.ones, t.ones, t.ones)
	VPABSB(t.ones, t.ones)
	return t
}

// add tallies the bytes of v.
func (t tally) add(v VecVirtual) {
	sum := YMM()
	VPSADBW(v, t.zero, sum)
	VPADDQ(sum, t.spikes, t.spikes)
	VPMINUB(t.ones, v, sum)
	VPSADBW(sum, t.zero, sum)
	VPADDQ(sum, t.events, t.events)
}

// store adds the lanes and stores the results spikes and events.
func (t tally) store() {
	for _, r := range []struct {
		name string
		v    VecVirtual
	}{{"spikes", t.spikes}, {"events", t.events}} {
		high, low, out := XMM(), r.v.AsX(), GP64()
		VEXTRACTI128(U8(1), r.v, high)
		VPADDQ(high, low, low)
		VPSHUFD(U8(0x4e), low, high)
		VPADDQ(high, low, low)
		VMOVQ(low, out)
		Store(out, Return(r.name))
	}
}

// fire is the burst neuron. With u = v + (current + shift), d = u - u is 0, or
// NaN where u is not finite: its bits collect in bad, and u + d makes such a
// neuron's count 0 in MAXPS, which returns its second source for NaN. Clamping
// before the conversion, which truncates, equals clamping floor(u).
func fire(offset bool) {
	name, params := "fireAVX2", "counts *uint8, v, current *float32, shift, maxSpike float32, n int"
	if offset {
		name, params = "fireOffsetAVX2", "counts *uint8, v, current, offset *float32, shift, maxSpike float32, rows, c, n int"
	}
	function(name, "func("+params+") (spikes, events int64, bad uint32)",
		name+" fires n neurons (of c in every row); bad is not 0 if some potential was not finite.")
	counts, v, current, n := pointer("counts"), pointer("v"), pointer("current"), pointer("n")
	shift, maxSpike := scalar("shift"), scalar("maxSpike")
	t := newTally()
	bad := zeroed()
	order := YMM()
	VMOVDQU(laneOrder(), order)

	// one emits 8 neurons and returns their counts as 32-bit integers.
	one := func(v, current, offset Register, off int) VecVirtual {
		u, d, count := YMM(), YMM(), YMM()
		VMOVUPS(at(current, off), u)
		if offset != nil {
			VADDPS(at(offset, off), u, u)
		}
		VADDPS(shift, u, u)
		VADDPS(at(v, off), u, u)
		VSUBPS(u, u, d)
		VORPS(d, bad, bad)
		VADDPS(d, u, d)
		VMAXPS(t.zero, d, d)
		VMINPS(maxSpike, d, d)
		VCVTTPS2DQ(d, count)
		VCVTDQ2PS(count, d)
		VSUBPS(d, u, u)
		VMOVUPS(u, at(v, off))
		return count
	}
	loops := func(n, counts, v, current, offset Register) {
		advance := func(elements int) {
			ADDQ(U32(uint32(elements)), counts)
			for _, p := range []Register{v, current, offset} {
				if p != nil {
					ADDQ(U32(uint32(4*elements)), p)
				}
			}
		}
		countdown("wide", n, 32, func() {
			var c [4]VecVirtual
			for i := range c {
				c[i] = one(v, current, offset, 8*i)
			}
			VPACKUSDW(c[1], c[0], c[0])
			VPACKUSDW(c[3], c[2], c[2])
			VPACKUSWB(c[2], c[0], c[0])
			VPERMD(c[0], order, c[0])
			VMOVDQU(c[0], Mem{Base: counts})
			t.add(c[0])
			advance(32)
		})
		countdown("narrow", n, 8, func() {
			c, high := one(v, current, offset, 0), XMM()
			VEXTRACTI128(U8(1), c, high)
			VPACKUSDW(high, c.AsX(), c.AsX())
			VPACKUSWB(t.zero.AsX(), c.AsX(), c.AsX())
			VMOVQ(c.AsX(), Mem{Base: counts})
			t.add(c)
			advance(8)
		})
	}
	if !offset {
		loops(n, counts, v, current, nil)
	} else {
		offsets, rows, c := pointer("offset"), pointer("rows"), pointer("c")
		countdown("rows", rows, 1, func() {
			start, left, row := GP64(), GP64(), []Register{GP64(), GP64(), GP64()}
			MOVQ(offsets, start)
			MOVQ(n, left)
			for i, p := range []Register{counts, v, current} {
				MOVQ(p, row[i])
			}
			loops(left, row[0], row[1], row[2], start)
			ADDQ(c, counts)
			LEAQ(Mem{Base: v, Index: c, Scale: 4}, v)
			LEAQ(Mem{Base: current, Index: c, Scale: 4}, current)
		})
	}
	t.store()
	high, out := XMM(), GP32()
	VEXTRACTF128(U8(1), bad, high)
	VORPS(high, bad.AsX(), bad.AsX())
	VPSHUFD(U8(0x4e), bad.AsX(), high)
	VORPS(high, bad.AsX(), bad.AsX())
	VPSHUFD(U8(0xb1), bad.AsX(), high)
	VORPS(high, bad.AsX(), bad.AsX())
	VMOVD(bad.AsX(), out)
	Store(out, Return("bad"))
	VZEROUPPER()
	RET()
}

var laneOrderTable *Mem

// laneOrder undoes the interleaving of the halves by two rounds of packing.
func laneOrder() Mem {
	if laneOrderTable == nil {
		m := GLOBL("laneOrder", RODATA|NOPTR)
		for i := range 8 {
			DATA(4*i, U32(uint32(i/2+i%2*4)))
		}
		laneOrderTable = &m
	}
	return *laneOrderTable
}
