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
// Pixels are summed in blocks of blockPixels, in order, and the blocks' sums
// added in order; workers share the channels, 16 or a multiple at a time.
func depthwiseBackwardWeight(p *parallel.Pool, s ConvShape, x, dy, dw []float32) {
	d := depthwiseGradient{isa: Active(), s: s, x: x, dy: dy, dw: dw}
	if p.Workers() == 1 {
		d.channels(0, s.Cin)
		return
	}
	d.parallel(p)
}

type depthwiseGradient struct {
	isa       ISA
	s         ConvShape
	x, dy, dw []float32
}

func (d depthwiseGradient) parallel(p *parallel.Pool) {
	// Each piece makes its own tables, so pieces should be few.
	panels := (d.s.Cin + panelCols - 1) / panelCols
	p.Chunks(d.s.Cin, panelCols*evenly(panels, max(1, panels/(4*p.Workers()))), d.channels)
}

// channels computes the weights of channels c0..c1-1; c0 is a multiple of 16.
func (d *depthwiseGradient) channels(c0, c1 int) {
	s := &d.s
	sc, gs := scratchPool.Get().(*scratch), gradPool.Get().(*gradScratch)
	defer sc.release()
	defer gs.release()
	outH, outW, taps := s.OutH(), s.OutW(), s.KH*s.KW
	sc.taps = grow(sc.taps, s.KH+s.KW)
	ty, tx := sc.taps[:s.KH], sc.taps[s.KH:]
	for i := range ty {
		ty[i] = i*s.DilH - s.PadTop
	}
	for j := range tx {
		tx[j] = j*s.DilW - s.PadLeft
	}
	g := grid{inH: s.H, inW: s.W, inC: s.Cin, stepH: s.StrideH, stepW: s.StrideW, outH: outH, outW: outW}
	sc.off = grow(sc.off, taps*blockPixels)
	clear(sc.tailAdd[:panelCols])
	c := &gs.call
	*c = gradCall{n: 8 * blockPixels, step: 4 * s.Cout, dy2: &sc.tailAdd[0]}
	pixels := s.N * outH * outW
	for m := 0; m < pixels; m += blockPixels {
		c.runs = min(blockPixels, pixels-m)
		g.table(ty, tx, sc.off, sc.yoff[:], m, m+c.runs)
		c.acc = min(m, 1)
		for ch := c0; ch < c1; ch += panelCols {
			if d.isa == Portable || ch+panelCols > c1 {
				d.portable(sc, m, c.runs, ch, min(ch+panelCols, c1))
				continue
			}
			c.x, c.dy, c.ldw = &d.x[ch], &d.dy[m*s.Cout+ch], 4*s.Cout
			for t := 0; t < taps; t += gradRows {
				c.off, c.dw = &sc.off[t*blockPixels], &d.dw[t*s.Cout+ch]
				depthwiseGradTile(d.isa, min(gradRows, taps-t), c)
			}
		}
	}
}

// portable adds n pixels of a table, of which the first is pixel m, to the
// weights of channels c0..c1-1.
func (d *depthwiseGradient) portable(sc *scratch, m, n, c0, c1 int) {
	cout := d.s.Cout
	var zeros [panelCols]float32
	for t := range d.s.KH * d.s.KW {
		var sum [panelCols]float32
		for j, o := range sc.off[t*blockPixels:][:n] {
			in := zeros[:c1-c0]
			if o >= 0 {
				in = d.x[o+c0 : o+c1]
			}
			grad := d.dy[(m+j)*cout:][c0:c1]
			for c, v := range in {
				sum[c] += float32(v * grad[c])
			}
		}
		dw := d.dw[t*cout:][c0:c1]
		for c := range dw {
			if m > 0 {
				sum[c] += dw[c]
			}
			dw[c] = sum[c]
		}
	}
}
