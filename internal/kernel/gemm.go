package kernel

import (
	"sync"
	"unsafe"
)

const (
	blockPixels = 192 // output pixels of one piece of work: a multiple of 6 and 8
	maxTileRows = 8   // pixels of the tallest tile of any instruction set

	// depthBlock is how many inputs per output are summed before the next
	// panel's turn, so that this part of a panel (64 bytes per input) stays
	// in the cache while the tiles of a block pass over it.
	depthBlock = 1152
)

// tileCall is what a tile kernel reads. The assembly knows the offsets of the
// fields (a test compares them); pointers are nil where marked.
//
// The kernel computes, for row r of the tile and column c of the panel:
//
//	sum = acc != 0 ? y[yoff[r]+c] : 0
//	for i < runs, j < k: sum += in(i, r)[j] * b[(i*k+j)*16+c]
//	if bias != nil: sum += bias[c]
//	if add != nil: sum += add[yoff[r]+c]
//	y[yoff[r]+c] = min(hi, max(lo, sum)), NaN if sum is NaN
//
// where in(i, r) is x[off[i*offStride/8+r]:], or zeros if that offset is negative.
type tileCall struct {
	x         *float32
	zeros     *float32
	off       *int // elements
	offStride int  // entries from one run to the next
	runs      int
	k         int
	b         *float32
	b2        *float32 // the next panel, for kernels of 32 columns
	y         *float32
	yoff      *int // elements
	bias      *float32
	add       *float32
	acc       int
	lo, hi    float32
	next      *float32 // weights to prefetch, a line per panel for 4 inputs of a run
}

// grid says where the pixels of a convolution lie.
type grid struct {
	inH, inW, inC  int // input [n, inH, inW, inC]
	stepH, stepW   int // input pixels per output pixel
	row0           int // the first output row
	outH, outW     int // output pixels of one sample, rows row0..row0+outH-1
	y0, yN, yH, yW int // element of output pixel (n, oy, ox): y0 + n*yN + oy*yH + ox*yW
}

// table writes, for output pixels m0..m1-1 (counted through all samples), the
// element at which each tap of each pixel begins, -1 outside the image, to
// off[tap*blockPixels+pixel], and where the pixel's outputs begin to yoff.
// This is where borders, strides and dilations end: behind it there are only
// pointers.
func (g *grid) table(ty, tx, off, yoff []int, m0, m1 int) {
	n, rest := m0/(g.outH*g.outW), m0%(g.outH*g.outW)
	oy, ox := rest/g.outW, rest%g.outW
	for pos := 0; pos < m1-m0; {
		seg := min(g.outW-ox, m1-m0-pos)
		o := g.y0 + n*g.yN + oy*g.yH + ox*g.yW
		out := yoff[pos : pos+seg]
		for i := range out {
			out[i] = o
			o += g.yW
		}
		for i, dy := range ty {
			iy := (oy+g.row0)*g.stepH + dy
			row := (n*g.inH + iy) * g.inW
			for j, dx := range tx {
				at := (i*len(tx)+j)*blockPixels + pos
				dst := off[at : at+seg]
				q, ix := 0, g.inW
				if iy >= 0 && iy < g.inH {
					ix = ox*g.stepW + dx
				}
				for ; q < seg && ix < 0; ix += g.stepW {
					dst[q] = -1
					q++
				}
				e := (row + ix) * g.inC
				for ; q < seg && ix < g.inW; ix += g.stepW {
					dst[q] = e
					e += g.stepW * g.inC
					q++
				}
				for ; q < seg; q++ {
					dst[q] = -1
				}
			}
		}
		pos += seg
		if ox += seg; ox == g.outW {
			ox = 0
			if oy++; oy == g.outH {
				oy = 0
				n++
			}
		}
	}
}

// scratch is the memory of one worker during one call.
type scratch struct {
	off  []int // tables of taps, [taps][blockPixels]
	yoff [blockPixels]int
	call tileCall
	taps []int     // of a depthwise gradient
	band []float32 // padded input rows, see conv_band.go

	// The last panel of channels, if it is not full, goes through these.
	tailY, tailAdd [maxTileRows * panelCols]float32
	tailBias       [panelCols]float32
}

var scratchPool = newScratchPool[scratch]()

func newScratchPool[T any]() *sync.Pool { return &sync.Pool{New: func() any { return new(T) }} }

// tailOff are the rows of scratch.tailY.
var tailOff = func() (o [maxTileRows]int) {
	for r := range o {
		o[r] = r * panelCols
	}
	return o
}()

// release forgets the caller's memory and gives the scratch back.
func (sc *scratch) release() {
	sc.call = tileCall{}
	scratchPool.Put(sc)
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// product is one convolution to be computed: its weights, pixels and data.
type product struct {
	isa    ISA
	l      *lowered
	g      grid
	x, y   []float32
	bias   []float32 // per output channel of all groups, or nil
	add    []float32 // laid out like y, or nil
	lo, hi float32   // the activation clamps to this range
}

// block computes the output pixels m0..m1-1, at most blockPixels, in the
// channels of panels p0..p1-1 (counted through all groups).
//
// The order of the sums is always taps, then inputs, whatever the block.
func (d *product) block(sc *scratch, m0, m1, p0, p1 int) {
	l := d.l
	taps := len(l.ty) * len(l.tx)
	sc.off = grow(sc.off, taps*blockPixels)
	d.g.table(l.ty, l.tx, sc.off, sc.yoff[:], m0, m1)

	if l.k > depthBlock {
		part := evenly(l.k, depthBlock)
		for t := range taps {
			for c := 0; c < l.k; c += part {
				d.depth(sc, m1-m0, p0, p1, t, t+1, c, min(c+part, l.k))
			}
		}
		return
	}
	part := evenly(taps, max(1, depthBlock/l.k))
	for t := 0; t < taps; t += part {
		d.depth(sc, m1-m0, p0, p1, t, min(t+part, taps), 0, l.k)
	}
}

// depth adds the products of taps t0..t1-1, inputs c0..c1-1 of each, to the
// first m pixels of the table in panels p0..p1-1.
func (d *product) depth(sc *scratch, m, p0, p1, t0, t1, c0, c1 int) {
	l := d.l
	first := t0 == 0 && c0 == 0
	last := t1 == len(l.ty)*len(l.tx) && c1 == l.k
	panels, panelLen := l.panelCount(), l.panelLen()
	c := &sc.call
	*c = tileCall{
		zeros: &l.zeros[0], offStride: 8 * blockPixels, runs: t1 - t0, k: c1 - c0,
		lo: negInf, hi: posInf,
	}
	if !first {
		c.acc = 1
	}
	if last {
		c.lo, c.hi = d.lo, d.hi
	}
	d0, part := (t0*l.k+c0)*panelCols, (t1-t0)*(c1-c0)*panelCols // of a panel
	tallest, wide := tileShape(d.isa)
	// Tiles of about equal height: a low last one would only wait for its sums.
	tiles := (m + tallest - 1) / tallest
	height, higher := m/tiles, m%tiles
	for p := p0; p < p1; {
		g, q := p/panels, p%panels
		col := q * panelCols // within the group
		cols := min(l.n-col, panelCols)
		step := 1
		if wide && l.n-col >= 2*panelCols && p+1 < p1 {
			step = 2
			c.b2 = &l.panels[(p+1)*panelLen+d0]
		}
		c.b = &l.panels[p*panelLen+d0]
		c.x = &d.x[g*l.k+c0]
		out := g*l.n + col
		c.bias, c.add, c.next = nil, nil, c.b
		if cols < panelCols {
			d.tail(sc, m, out, cols, t0, tallest, first, last)
		} else {
			c.y = &d.y[out]
			if last && d.bias != nil {
				c.bias = &d.bias[out]
			}
			if last && d.add != nil {
				c.add = &d.add[out]
			}
			ahead := (p+step)*panelLen + d0
			if p+step >= p1 {
				ahead = p0*panelLen + d0 + part
			}
			perTile := (t1 - t0) * ((c1 - c0) / 4) * panelCols * step
			for i, r := 0, 0; i < tiles; i++ {
				rows := height
				if i < higher {
					rows++
				}
				c.next = l.ahead(ahead, part, i*perTile, c.next)
				c.off, c.yoff = &sc.off[t0*blockPixels+r], &sc.yoff[r]
				tile(d.isa, rows, step, c)
				r += rows
			}
		}
		p += step
	}
}

// ahead returns the weights that a tile should prefetch: those that come next,
// in this or the next panel, begin at element from, and the tiles before it
// have prefetched done elements. Large linear layers stream their weights from
// memory, which is as slow as the sums of a few tiles. It returns otherwise
// when there is nothing to be had.
func (l *lowered) ahead(from, part, done int, otherwise *float32) *float32 {
	if done >= part { // of a pair of panels, the second
		from += l.panelLen()
		done -= part
	}
	if done >= part || from+done >= len(l.panels) {
		return otherwise
	}
	return &l.panels[from+done]
}

// tail computes a panel that is not full: the tile works on copies, so that it
// neither reads nor writes beyond the channels that exist.
func (d *product) tail(sc *scratch, m, out, cols, t0, height int, first, last bool) {
	c := &sc.call
	c.y, c.yoff = &sc.tailY[0], &tailOff[0]
	if last && d.bias != nil {
		copy(sc.tailBias[:cols], d.bias[out:])
		c.bias = &sc.tailBias[0]
	}
	if last && d.add != nil {
		c.add = &sc.tailAdd[0]
	}
	for r := 0; r < m; r += height {
		rows := min(height, m-r)
		for i, o := range sc.yoff[r : r+rows] {
			if !first {
				copy(sc.tailY[i*panelCols:][:cols], d.y[o+out:])
			}
			if c.add != nil {
				copy(sc.tailAdd[i*panelCols:][:cols], d.add[o+out:])
			}
		}
		c.off = &sc.off[t0*blockPixels+r]
		tile(d.isa, rows, 1, c)
		for i, o := range sc.yoff[r : r+rows] {
			copy(d.y[o+out:][:cols], sc.tailY[i*panelCols:])
		}
	}
}

// at returns the address of element i behind p.
func at[T any](p *T, i int) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(p), uintptr(i)*unsafe.Sizeof(*p)))
}

// tilePortable is the specification of the tile kernels: see tileCall. The
// conversions to float32 keep compilers from fusing the multiplication and
// the addition, so that portable results are the same on every architecture.
func tilePortable(rows int, c *tileCall) {
	for r := range rows {
		y := unsafe.Slice(at(c.y, *at(c.yoff, r)), panelCols)
		var sum [panelCols]float32
		if c.acc != 0 {
			copy(sum[:], y)
		}
		b := unsafe.Slice(c.b, c.runs*c.k*panelCols)
		for i := range c.runs {
			in := unsafe.Slice(c.zeros, c.k)
			if o := *at(c.off, i*c.offStride/8+r); o >= 0 {
				in = unsafe.Slice(at(c.x, o), c.k)
			}
			for _, v := range in {
				w := (*[panelCols]float32)(b)
				for j := range w {
					sum[j] += float32(v * w[j])
				}
				b = b[panelCols:]
			}
		}
		if c.bias != nil {
			for j, v := range unsafe.Slice(c.bias, panelCols) {
				sum[j] += v
			}
		}
		if c.add != nil {
			for j, v := range unsafe.Slice(at(c.add, *at(c.yoff, r)), panelCols) {
				sum[j] += v
			}
		}
		for j, v := range sum {
			if v < c.lo {
				v = c.lo
			}
			if v > c.hi {
				v = c.hi
			}
			y[j] = v
		}
	}
}
