package kernel

import (
	"unsafe"

	"github.com/adafire/adafire/internal/parallel"
)

const (
	gradRows   = 6   // input channels of a full tile of the weight gradient
	gradPixels = 256 // output pixels of one block of its sums: 16 KiB of a packed panel of dy
	flatCin    = 24  // up to so many input channels, a row of taps is treated as one
)

// gradCall is what a weight gradient kernel reads; see tileCall on the layout.
//
// The kernel computes, for input r of the tile and column c of the panel:
//
//	sum = 0
//	for i < runs, j < n: sum += x[off[i]+j*step/4+r] * dy[(i*n+j)*16+c]
//	dw[r*ldw/4+c] = acc != 0 ? sum + dw[r*ldw/4+c] : sum
//
// The depthwise kernel reads the same structure in another way: rows are taps,
//
//	for j < runs: sum += in(r, j)[c] * dy[j*step/4+c]
//
// where in(r, j) is x[off[r*n/8+j]:], or dy2 if that offset is negative.
type gradCall struct {
	x    *float32
	off  *int // elements
	runs int
	n    int      // pixels of a run
	step int      // bytes from one pixel to the next in x
	dy   *float32 // packed panel
	dy2  *float32 // the next panel, for kernels of 32 columns
	dw   *float32
	ldw  int // bytes from one input to the next in dw
	acc  int
}

// ConvBackwardWeight computes the gradient with respect to the weights of
// Conv, dw [KH, KW, Cin/Groups, Cout], from x [N, H, W, Cin] and
// dy [N, OutH, OutW, Cout]:
//
//	dw[kh,kw,ci,co] = Σ x[n, oh*StrideH+kh*DilH-PadTop, ow*StrideW+kw*DilW-PadLeft, ci] * dy[n,oh,ow,co]
//
// over all n, oh, ow. dw is overwritten and must not overlap x or dy. Padding
// is zeros that take part in the sum, as in Conv.
//
// Pixels are summed in blocks of about 256, in order, and the blocks' sums are
// added in order; the blocks depend on the shape only. So the result is the
// same bits for any number of workers. Workers share the weights, not the
// pixels. On instruction sets see Conv.
func ConvBackwardWeight(p *parallel.Pool, s ConvShape, x, dy []float32, dw []float32) {
	s.check("ConvBackwardWeight", len(x), len(dy), len(dw))
	if s.N == 0 {
		clear(dw[:s.WeightLen()])
		return
	}
	if s.Depthwise() {
		depthwiseBackwardWeight(p, s, x, dy, dw)
		return
	}
	d := newGradient(s, x, dy, dw)
	d.run(p)
}

// gradient is one weight gradient to be computed.
type gradient struct {
	s          ConvShape
	isa        ISA
	x, dy, dw  []float32
	outH, outW int

	images, rows, cols int  // output pixels of a block
	flat               bool // inputs (kw, ci) of a kernel row are one list
	inputs             int  // of a tap: Cin/Groups, times KW if flat
	tapsW              int  // KW, or 1 if flat
	srcH, srcW         int  // input pixels from one packed pixel to the next
	stepH, stepW       int  // packed pixels from one output pixel to the next
}

func newGradient(s ConvShape, x, dy, dw []float32) gradient {
	d := gradient{s: s, isa: Active(), x: x, dy: dy, dw: dw, outH: s.OutH(), outW: s.OutW(),
		inputs: s.Cin / s.Groups, tapsW: s.KW, srcH: 1, srcW: 1, stepH: s.StrideH, stepW: s.StrideW}
	switch {
	case d.outH*d.outW <= gradPixels:
		d.images, d.rows, d.cols = gradPixels/(d.outH*d.outW), d.outH, d.outW
	case d.outW <= gradPixels:
		d.images, d.rows, d.cols = 1, evenly(d.outH, gradPixels/d.outW), d.outW
	default:
		d.images, d.rows, d.cols = 1, 1, evenly(d.outW, gradPixels)
	}
	d.images = min(d.images, s.N)
	if s.KH == 1 { // only the pixels that the stride meets
		d.srcH, d.stepH = s.StrideH, 1
	}
	if s.KW == 1 {
		d.srcW, d.stepW = s.StrideW, 1
	}
	if s.Groups == 1 && s.Cin <= flatCin && s.DilW == 1 {
		d.flat, d.inputs, d.tapsW = true, s.Cin*s.KW, 1
	}
	return d
}

// evenly returns the size of the pieces when n is cut into as few as possible
// of at most size, all about equal.
func evenly(n, size int) int {
	pieces := (n + size - 1) / size
	return (n + pieces - 1) / pieces
}

func (d *gradient) run(p *parallel.Pool) {
	panels := (d.s.Cout/d.s.Groups + panelCols - 1) / panelCols
	tiles := (d.inputs + gradRows - 1) / gradRows
	if p.Workers() == 1 {
		sc := gradPool.Get().(*gradScratch)
		for g := range d.s.Groups {
			d.piece(sc, g, 0, panels, 0, tiles)
		}
		sc.release()
		return
	}
	d.parallel(p, panels, tiles)
}

func (d gradient) parallel(p *parallel.Pool, panels, tiles int) {
	// Each piece packs what it needs itself, so pieces should be few and large.
	want := (p.Workers() + d.s.Groups - 1) / d.s.Groups
	sizeP := (panels + want - 1) / want
	sizeP += sizeP & 1 // kernels may take panels in pairs
	cutsP := (panels + sizeP - 1) / sizeP
	sizeT := max(1, tiles*cutsP/want)
	cutsT := (tiles + sizeT - 1) / sizeT
	p.For(d.s.Groups*cutsP*cutsT, func(i int) {
		sc := gradPool.Get().(*gradScratch)
		g, q, t := i/(cutsP*cutsT), i/cutsT%cutsP*sizeP, i%cutsT*sizeT
		d.piece(sc, g, q, min(q+sizeP, panels), t, min(t+sizeT, tiles))
		sc.release()
	})
}

// gradScratch is the memory of one worker during one call.
type gradScratch struct {
	x, dy []float32 // packed
	off   []int
	call  gradCall
	tail  [gradRows * panelCols]float32
}

var gradPool = newScratchPool[gradScratch]()

func (sc *gradScratch) release() {
	sc.call = gradCall{}
	gradPool.Put(sc)
}

// piece computes the weights of group g from inputs of tiles t0..t1-1 to
// outputs of panels p0..p1-1.
func (d *gradient) piece(sc *gradScratch, g, p0, p1, t0, t1 int) {
	first := true
	for n := 0; n < d.s.N; n += d.images {
		for oh := 0; oh < d.outH; oh += d.rows {
			for ow := 0; ow < d.outW; ow += d.cols {
				b := gradBlock{n: n, oh: oh, ow: ow, images: min(d.images, d.s.N-n),
					rows: min(d.rows, d.outH-oh), cols: min(d.cols, d.outW-ow)}
				b.packH, b.packW = (b.rows-1)*d.stepH+1, (b.cols-1)*d.stepW+1
				if d.s.KH > 1 {
					b.packH += (d.s.KH - 1) * d.s.DilH
				}
				if d.s.KW > 1 {
					b.packW += (d.s.KW - 1) * d.s.DilW
				}
				d.block(sc, &b, g, p0, p1, t0, t1, first)
				first = false
			}
		}
	}
}

// gradBlock is a box of output pixels and the size of what it needs of x.
type gradBlock struct {
	n, oh, ow, images, rows, cols int
	packH, packW                  int // packed input pixels per image
}

func (d *gradient) block(sc *gradScratch, b *gradBlock, g, p0, p1, t0, t1 int, first bool) {
	s := &d.s
	width := gradRows // packed elements of one pixel
	if d.flat {
		width = s.Cin
		d.packFlat(sc, b)
	} else {
		d.packTiles(sc, b, g, t0, t1)
	}
	d.packGradient(sc, b, g, p0, p1)
	sc.off = grow(sc.off, b.images*b.rows)
	for i := range sc.off {
		sc.off[i] = ((i/b.rows)*b.packH + i%b.rows*d.stepH) * b.packW * width
	}

	cing, coutg := s.Cin/s.Groups, s.Cout/s.Groups
	pixels := b.images * b.rows * b.cols
	plane := b.images * b.packH * b.packW * gradRows
	c := &sc.call
	*c = gradCall{off: &sc.off[0], runs: len(sc.off), n: b.cols, step: 4 * width * d.stepW}
	if b.packW*d.stepH == b.cols*d.stepW && b.packH == b.rows*d.stepH {
		c.runs, c.n = 1, pixels // no gaps between the runs
	}
	for p := p0; p < p1; {
		cols := min(panelCols, coutg-p*panelCols)
		step := 1
		c.dy = &sc.dy[(p-p0)*pixels*panelCols]
		if _, wide := tileShape(d.isa); wide && coutg >= (p+2)*panelCols && p+1 < p1 {
			step = 2
			c.dy2 = &sc.dy[(p+1-p0)*pixels*panelCols]
		}
		for t := t0; t < t1; t++ {
			rows := min(gradRows, d.inputs-t*gradRows)
			base := (t - t0) * plane
			if d.flat {
				base = t * gradRows
			}
			for kh := range s.KH {
				for kw := range d.tapsW {
					c.x = &sc.x[base+(kh*s.DilH*b.packW+kw*s.DilW)*width]
					w := ((kh*s.KW+kw)*cing+t*gradRows)*s.Cout + g*coutg + p*panelCols
					if cols < panelCols {
						d.tail(sc, rows, cols, w, first)
						continue
					}
					c.dw, c.ldw, c.acc = &d.dw[w], 4*s.Cout, 1
					if first {
						c.acc = 0
					}
					grad(d.isa, rows, step, c)
				}
			}
		}
		p += step
	}
}

// tail computes a tile in a panel that is not full through a buffer.
func (d *gradient) tail(sc *gradScratch, rows, cols, w int, first bool) {
	c := &sc.call
	c.dw, c.ldw, c.acc = &sc.tail[0], 4*panelCols, 0
	grad(d.isa, rows, 1, c)
	for r := range rows {
		dst := d.dw[w+r*d.s.Cout:][:cols]
		for i, v := range sc.tail[r*panelCols:][:cols] {
			if first {
				dst[i] = v
			} else {
				dst[i] += v
			}
		}
	}
}

// packFlat copies the input pixels of a block, padding included:
// [images][packH][packW][Cin].
func (d *gradient) packFlat(sc *gradScratch, b *gradBlock) {
	s := &d.s
	sc.x = grow(sc.x, b.images*b.packH*b.packW*s.Cin)
	pos := 0
	for n := range b.images {
		for r := range b.packH {
			iy := b.oh*s.StrideH - s.PadTop + r*d.srcH
			padRow(sc.x[pos:pos+b.packW*s.Cin], d.x, (b.n+n)*s.H, iy, s.H, s.W, s.Cin, b.ow*s.StrideW-s.PadLeft, d.srcW)
			pos += b.packW * s.Cin
		}
	}
}

// padRow fills dst with pixels ix, ix+step, ... of row iy of an image, c
// elements each, zeros where the image has none. The image begins with row
// first of x.
func padRow(dst, x []float32, first, iy, h, w, c, ix, step int) {
	if iy < 0 || iy >= h {
		clear(dst)
		return
	}
	if step == 1 {
		before := min(max(0, -ix)*c, len(dst))
		clear(dst[:before])
		dst = dst[before:]
		ix = max(ix, 0)
		if ix < w {
			row := x[(first+iy)*w*c:][:w*c]
			dst = dst[copy(dst, row[ix*c:]):]
		}
		clear(dst)
		return
	}
	for ; len(dst) > 0; ix += step {
		if ix >= 0 && ix < w {
			copy(dst[:c], x[((first+iy)*w+ix)*c:])
		} else {
			clear(dst[:c])
		}
		dst = dst[c:]
	}
}

// packTiles copies the input pixels of a block, padding included, six
// channels at a time: [tiles][images][packH][packW][6]. What lies behind the
// last channel is never read.
func (d *gradient) packTiles(sc *gradScratch, b *gradBlock, g, t0, t1 int) {
	s := &d.s
	cing := s.Cin / s.Groups
	plane := b.images * b.packH * b.packW * gradRows
	sc.x = grow(sc.x, (t1-t0)*plane)
	full := min(t1, cing/gradRows) - t0 // tiles of six channels
	pos := 0
	for n := range b.images {
		for r := range b.packH {
			iy := b.oh*s.StrideH - s.PadTop + r*d.srcH
			for q := range b.packW {
				ix := b.ow*s.StrideW - s.PadLeft + q*d.srcW
				dst := &sc.x[pos]
				pos += gradRows
				if iy < 0 || iy >= s.H || ix < 0 || ix >= s.W {
					for t := range t1 - t0 {
						*(*[gradRows]float32)(unsafe.Pointer(at(dst, t*plane))) = [gradRows]float32{}
					}
					continue
				}
				src := d.x[(((b.n+n)*s.H+iy)*s.W+ix)*s.Cin+g*cing+t0*gradRows:]
				for t := range full {
					copyTile(at(dst, t*plane), (*[gradRows]float32)(src))
					src = src[gradRows:]
				}
				if full < t1-t0 {
					copy(unsafe.Slice(at(dst, full*plane), gradRows), src[:cing-(t0+full)*gradRows])
				}
			}
		}
	}
}

// copyTile and copyPanel are assignments of arrays, which the compiler would
// make a call of memmove each.
func copyTile(dst *float32, src *[gradRows]float32) {
	d, s := (*[gradRows / 2]uint64)(unsafe.Pointer(dst)), (*[gradRows / 2]uint64)(unsafe.Pointer(src))
	a, b, c := s[0], s[1], s[2]
	d[0], d[1], d[2] = a, b, c
}

func copyPanel(dst *float32, src *[panelCols]float32) {
	type half = [panelCols / 4]uint64
	d, s := (*half)(unsafe.Pointer(dst)), (*half)(unsafe.Pointer(src))
	d[0], d[1], d[2], d[3] = s[0], s[1], s[2], s[3]
	d, s = (*half)(unsafe.Add(unsafe.Pointer(d), 32)), (*half)(unsafe.Add(unsafe.Pointer(s), 32))
	d[0], d[1], d[2], d[3] = s[0], s[1], s[2], s[3]
}

// packGradient copies the gradients of a block, zero-padded to whole panels:
// [panels][pixels][16].
func (d *gradient) packGradient(sc *gradScratch, b *gradBlock, g, p0, p1 int) {
	s := &d.s
	coutg := s.Cout / s.Groups
	plane := b.images * b.rows * b.cols * panelCols
	sc.dy = grow(sc.dy, (p1-p0)*plane)
	full := min(p1, coutg/panelCols) - p0
	pos := 0
	for n := range b.images {
		for r := range b.rows {
			src := d.dy[(((b.n+n)*d.outH+b.oh+r)*d.outW+b.ow)*s.Cout+g*coutg+p0*panelCols:]
			for q := range b.cols {
				dst, px := &sc.dy[pos], src[q*s.Cout:]
				pos += panelCols
				for p := range full {
					copyPanel(at(dst, p*plane), (*[panelCols]float32)(px))
					px = px[panelCols:]
				}
				if full < p1-p0 {
					last := unsafe.Slice(at(dst, full*plane), panelCols)
					clear(last[copy(last, px[:coutg-(p0+full)*panelCols]):])
				}
			}
		}
	}
}

// gradPortable is the specification of the weight gradient kernels, see gradCall.
func gradPortable(rows int, c *gradCall) {
	for r := range rows {
		var sum [panelCols]float32
		dy := unsafe.Slice(c.dy, c.runs*c.n*panelCols)
		for i := range c.runs {
			x := at(c.x, *at(c.off, i)+r)
			for j := range c.n {
				v := *at(x, j*c.step/4)
				u := (*[panelCols]float32)(dy)
				for k := range u {
					sum[k] += float32(v * u[k])
				}
				dy = dy[panelCols:]
			}
		}
		dw := unsafe.Slice(at(c.dw, r*c.ldw/4), panelCols)
		for k, v := range sum {
			if c.acc != 0 {
				v += dw[k]
			}
			dw[k] = v
		}
	}
}
