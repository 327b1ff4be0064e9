package kernel

import "github.com/adafire/adafire/internal/parallel"

// depthwiseProduct is one depthwise convolution to be computed.
type depthwiseProduct struct {
	isa    ISA
	w      *depthwise
	g      grid
	x, y   []float32
	bias   []float32
	add    []float32
	lo, hi float32
}

func (d *depthwiseProduct) run(p *parallel.Pool, n int) {
	pixels := n * d.g.outH * d.g.outW
	if p.Workers() == 1 {
		sc := scratchPool.Get().(*scratch)
		for m := 0; m < pixels; m += blockPixels {
			d.block(sc, m, min(m+blockPixels, pixels))
		}
		sc.release()
		return
	}
	d.parallel(p, pixels)
}

func (d depthwiseProduct) parallel(p *parallel.Pool, pixels int) {
	p.Chunks(pixels, blockPixels, func(m0, m1 int) {
		sc := scratchPool.Get().(*scratch)
		d.block(sc, m0, m1)
		sc.release()
	})
}

// block computes the output pixels m0..m1-1, at most blockPixels.
func (d *depthwiseProduct) block(sc *scratch, m0, m1 int) {
	w := d.w
	taps := len(w.ty) * len(w.tx)
	sc.off = grow(sc.off, taps*blockPixels)
	d.g.table(w.ty, w.tx, sc.off, sc.yoff[:], m0, m1)
	c := 0
	if d.isa != Portable {
		c = w.c / panelCols * panelCols
		d.tiles(sc, m1-m0, c/panelCols)
	}
	d.channels(sc, m1-m0, c)
}

// tiles computes the channels of so many panels of the first m pixels of the
// table by the depthwise kernel. Panels are innermost, so that memory is read
// in order.
func (d *depthwiseProduct) tiles(sc *scratch, m, panels int) {
	w := d.w
	taps := len(w.ty) * len(w.tx)
	const rows = depthwiseRows
	if m < rows { // fill up with copies of the last pixel
		for q := m; q < rows; q++ {
			for t := range taps {
				sc.off[t*blockPixels+q] = sc.off[t*blockPixels+m-1]
			}
			sc.yoff[q] = sc.yoff[m-1]
		}
		m = rows
	}
	call := &sc.call
	*call = tileCall{zeros: &w.zeros[0], offStride: 8 * blockPixels, runs: taps, lo: d.lo, hi: d.hi}
	for r := 0; r < m; r += rows {
		r = min(r, m-rows) // the last tile begins early and computes some pixels again
		call.off, call.yoff = &sc.off[r], &sc.yoff[r]
		for c := 0; c < panels*panelCols; c += panelCols {
			call.x, call.b, call.y = &d.x[c], &w.w[c*taps], &d.y[c]
			if d.bias != nil {
				call.bias = &d.bias[c]
			}
			if d.add != nil {
				call.add = &d.add[c]
			}
			depthwiseTile(d.isa, call)
		}
	}
}

// depthwiseRows is the number of pixels of the depthwise kernel.
const depthwiseRows = 6

// channels computes channels c0.. of the first m pixels of the table, in
// portable Go.
func (d *depthwiseProduct) channels(sc *scratch, m, c0 int) {
	w := d.w
	taps := len(w.ty) * len(w.tx)
	for c := c0; c < w.c; c += panelCols {
		cols := min(panelCols, w.c-c)
		panel := w.w[c*taps : c*taps+taps*panelCols]
		for r, o := range sc.yoff[:m] {
			var sum [panelCols]float32
			for t := range taps {
				in := w.zeros[:cols]
				if e := sc.off[t*blockPixels+r]; e >= 0 {
					in = d.x[e+c : e+c+cols]
				}
				for j, v := range in {
					sum[j] += float32(v * panel[t*panelCols+j])
				}
			}
			y := d.y[o+c : o+c+cols]
			for j := range y {
				v := sum[j]
				if d.bias != nil {
					v += d.bias[c+j]
				}
				if d.add != nil {
					v += d.add[o+c+j]
				}
				if v < d.lo {
					v = d.lo
				}
				if v > d.hi {
					v = d.hi
				}
				y[j] = v
			}
		}
	}
}

// depthwiseBackwardWeight is ConvBackwardWeight for depthwise convolutions.
// Rows of output pixels are summed in order; workers share the channels.
func depthwiseBackwardWeight(p *parallel.Pool, s ConvShape, x, dy, dw []float32) {
	outH, outW := s.OutH(), s.OutW()
	p.Chunks(s.Cin, panelCols, func(c0, c1 int) {
		var zeros [panelCols]float32
		for t := range s.KH * s.KW {
			kh, kw := t/s.KW, t%s.KW
			var total [panelCols]float32
			for n := range s.N {
				for oh := range outH {
					ih := oh*s.StrideH + kh*s.DilH - s.PadTop
					var sum [panelCols]float32
					for ow := range outW {
						iw := ow*s.StrideW + kw*s.DilW - s.PadLeft
						in := zeros[:c1-c0]
						if ih >= 0 && ih < s.H && iw >= 0 && iw < s.W {
							in = x[((n*s.H+ih)*s.W+iw)*s.Cin:][c0:c1]
						}
						grad := dy[((n*outH+oh)*outW+ow)*s.Cout:][c0:c1]
						for c, v := range in {
							sum[c] += float32(v * grad[c])
						}
					}
					for c, v := range sum {
						total[c] += v
					}
				}
			}
			copy(dw[t*s.Cout:][c0:c1], total[:])
		}
	})
}
