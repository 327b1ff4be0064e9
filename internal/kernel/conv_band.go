package kernel

import "github.com/adafire/adafire/internal/parallel"

// bandInputs is up to how many inputs per tap a convolution works on padded
// copies of a few input rows. There, all taps of a kernel row are one run,
// borders or not, so the tile reads its table once per kernel row instead of
// once per tap. With more inputs the copies cost more than the tables.
const bandInputs = 24

// banded is what a lowered convolution becomes on a band of padded rows: the
// same panels read as one tap per kernel row. It is nil where that does not
// work: taps not adjacent, several groups, or nothing to gain.
func (l *lowered) banded() *lowered {
	if l.groups != 1 || !l.adjacent || len(l.tx) < 2 || l.k > bandInputs {
		return nil
	}
	b := &lowered{tx: []int{0}, k: l.k * len(l.tx), n: l.n, groups: 1, panels: l.panels, zeros: l.zeros}
	for _, t := range l.ty {
		b.ty = append(b.ty, t-l.ty[0])
	}
	return b
}

// bandRows is the number of output rows of a band.
func (d *product) bandRows() int {
	return evenly(d.g.outH, max(1, blockPixels/d.g.outW))
}

func (d *product) runBands(p *parallel.Pool, n int) {
	rows := d.bandRows()
	perSample := (d.g.outH + rows - 1) / rows
	if p.Workers() == 1 {
		sc := scratchPool.Get().(*scratch)
		for i := range n * perSample {
			d.runBand(sc, i/perSample, i%perSample*rows, rows)
		}
		sc.release()
		return
	}
	d.parallelBands(p, n, rows, perSample)
}

func (d product) parallelBands(p *parallel.Pool, n, rows, perSample int) {
	p.For(n*perSample, func(i int) {
		sc := scratchPool.Get().(*scratch)
		d.runBand(sc, i/perSample, i%perSample*rows, rows)
		sc.release()
	})
}

// runBand computes output rows r0 and up of sample n, at most so many.
func (d *product) runBand(sc *scratch, n, r0, rows int) {
	g, l := &d.g, d.l
	rows = min(rows, g.outH-r0)
	last := len(l.ty) - 1
	top := (g.row0+r0)*g.stepH + l.ty[0]
	inH := (rows-1)*g.stepH + l.ty[last] - l.ty[0] + 1
	inW := (g.outW-1)*g.stepW + len(l.tx)
	sc.band = grow(sc.band, inH*inW*g.inC)
	for r := range inH {
		padRow(sc.band[r*inW*g.inC:][:inW*g.inC], d.x, n*g.inH, top+r, g.inH, g.inW, g.inC, l.tx[0], 1)
	}
	b := *d
	b.l, b.x = l.band, sc.band
	b.g = grid{inH: inH, inW: inW, inC: g.inC, stepH: g.stepH, stepW: g.stepW, outH: rows, outW: g.outW,
		y0: g.y0 + n*g.yN + r0*g.yH, yN: rows * g.yH, yH: g.yH, yW: g.yW}
	pixels, panels := rows*g.outW, l.panelCount()
	for m := 0; m < pixels; m += blockPixels {
		b.block(sc, m, min(m+blockPixels, pixels), 0, panels)
	}
}
