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
	d.channels(sc, m1-m0, 0)
}

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
