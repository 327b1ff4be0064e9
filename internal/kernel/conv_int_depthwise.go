package kernel

import "unsafe"

// intDepthwise is a depthwise integer convolution: sums of products of 16-bit
// numbers, channel by channel.
type intDepthwise struct {
	taps int
	c    int
	w    []int16 // [taps][Cin]
}

func newIntDepthwise[W IntWeight](s ConvShape, w []W, f *IntFilter) *intDepthwise {
	d := &intDepthwise{taps: s.KH * s.KW, c: s.Cin, w: make([]int16, len(w))}
	for i, v := range w {
		d.w[i] = int16(v)
	}
	f.wide = true
	return d
}

// block computes a block, whose inputs are laid out as 16-bit numbers.
func (d *intDepthwise) block(b *intBlock, _ *IntScratch) {
	s := &b.s
	outW := s.OutW()
	i := 0
	for n := range b.frames {
		for r := range b.rows {
			for ow := range outW {
				at := n*b.frameLen + r*s.StrideH*b.rowLen + ow*s.StrideW*s.Cin*b.elem
				d.pixel(b, b.y[i*d.c:][:d.c], unsafe.Add(b.x, at))
				i++
			}
		}
	}
}

func (d *intDepthwise) pixel(b *intBlock, y []int32, x unsafe.Pointer) {
	s := &b.s
	if !b.accumulate {
		clear(y)
	}
	for t := range d.taps {
		at := t/s.KW*s.DilH*b.rowLen + t%s.KW*s.DilW*s.Cin*b.elem
		in := unsafe.Slice((*int16)(unsafe.Add(x, at)), d.c)
		w := d.w[t*d.c:][:d.c]
		for c, v := range in {
			y[c] += int32(v) * int32(w[c])
		}
	}
}
