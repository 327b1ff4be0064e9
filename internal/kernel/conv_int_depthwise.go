package kernel

import "unsafe"

// intDepthwise is a depthwise integer convolution: sums of products of 16-bit
// numbers, channel by channel.
type intDepthwise struct {
	taps  int
	c     int
	w     []int16 // [taps][Cin]
	pairs []int16 // [Cin/16 panels][pairs of taps][16][2], the channels as in depthwiseLane
}

func newIntDepthwise[W IntWeight](s ConvShape, w []W, f *IntFilter) *intDepthwise {
	d := &intDepthwise{taps: s.KH * s.KW, c: s.Cin, w: make([]int16, len(w))}
	for i, v := range w {
		d.w[i] = int16(v)
	}
	pairs := (d.taps + 1) / 2
	d.pairs = make([]int16, d.c/panelCols*pairs*panelCols*2)
	for p := range d.c / panelCols {
		for t := range d.taps {
			at := d.pairs[(p*pairs+t/2)*panelCols*2+t%2:]
			for j := range panelCols {
				at[2*depthwiseLane(j)] = d.w[t*d.c+p*panelCols+j]
			}
		}
	}
	f.wide = true
	return d
}

// depthwiseLane is where channel j of 16 lies after the halves of the lanes of
// two vectors have been interleaved: the middle quarters change places.
func depthwiseLane(j int) int {
	switch j / 4 {
	case 1:
		return j + 4
	case 2:
		return j - 4
	}
	return j
}

// intDepthwiseCall is what the depthwise kernel reads. For a few pixels r and
// panels*16 channels c it computes
//
//	y[r*ldy/4+c] = (acc != 0 ? y[r*ldy/4+c] : 0) + Σ in(r, t)[c]*weight[t][c]
//
// over pairs of taps t, where in(r, t) lies at x + off[r] + taps[t].
type intDepthwiseCall struct {
	x      unsafe.Pointer
	off    *int // bytes, of each pixel
	taps   *int // bytes, of each tap, an even number of them
	pairs  int
	panels int
	w      *int16 // [panels][pairs][16][2]
	y      *int32
	ldy    int // bytes
	acc    int
}

// intDepthwisePixels is the number of pixels of the depthwise kernel.
const intDepthwisePixels = 4

// block computes a block, whose inputs are laid out as 16-bit numbers.
func (d *intDepthwise) block(b *intBlock, sc *IntScratch) {
	s := &b.s
	m := b.frames * b.rows * s.OutW()
	sc.off = grow(sc.off, m+maxTileRows)
	b.offsets(sc.off)
	sc.delta = grow(sc.delta, (d.taps+1)&^1)
	for t := range d.taps {
		sc.delta[t] = t/s.KW*s.DilH*b.rowLen + t%s.KW*s.DilW*s.Cin*b.elem
	}
	if d.taps%2 == 1 {
		sc.delta[d.taps] = sc.delta[d.taps-1] // its weights are 0
	}
	done := 0
	if Active() != Portable && d.c >= panelCols {
		done = d.c / panelCols * panelCols
		c := intDepthwiseCall{x: b.x, taps: &sc.delta[0], pairs: (d.taps + 1) / 2, w: &d.pairs[0], ldy: 4 * d.c}
		if b.accumulate {
			c.acc = 1
		}
		for r := 0; r < m; {
			pixels := 1
			if m-r >= intDepthwisePixels {
				pixels = intDepthwisePixels
			}
			c.off, c.y, c.panels = &sc.off[r], &b.y[r*d.c], done/panelCols
			if !intDepthwiseTile(pixels, &c) {
				done = 0
				break
			}
			r += pixels
		}
	}
	if done == d.c {
		return
	}
	for r, at := range sc.off[:m] {
		d.pixel(b, sc.delta, b.y[r*d.c+done:(r+1)*d.c], unsafe.Add(b.x, at+done*b.elem), done)
	}
}

// pixel is the specification: the channels from first on of one pixel.
func (d *intDepthwise) pixel(b *intBlock, taps []int, y []int32, x unsafe.Pointer, first int) {
	if !b.accumulate {
		clear(y)
	}
	for t := range d.taps {
		in := unsafe.Slice((*int16)(unsafe.Add(x, taps[t])), len(y))
		w := d.w[t*d.c+first:][:len(y)]
		for c, v := range in {
			y[c] += int32(v) * int32(w[c])
		}
	}
}
