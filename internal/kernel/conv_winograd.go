package kernel

import (
	"fmt"

	"github.com/adafire/adafire/internal/parallel"
)

// WinogradFilter holds the weights of a 3x3 convolution transformed for
// Winograd's algorithm F(4x4, 3x3): 36 multiplications give the 16 outputs
// that take 144 directly.
//
// It takes 4 times the memory of the weights. It may be used by several
// goroutines, except during Set.
//
// Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks,
// CVPR 2016.
type WinogradFilter struct {
	shape    ConvShape
	backward bool
	panels   []float32   // of all positions
	pos      [36]lowered // one product per position in the transformed tile
}

// WinogradFits reports whether Winograd's algorithm handles a convolution: 3x3
// without stride, dilation or groups, channels in multiples of 16, at most 2
// pixels of padding.
func WinogradFits(s ConvShape) bool {
	return s.KH == 3 && s.KW == 3 && s.StrideH == 1 && s.StrideW == 1 && s.DilH == 1 && s.DilW == 1 && s.Groups == 1 &&
		s.Cin%panelCols == 0 && s.Cout%panelCols == 0 && max(s.PadTop, s.PadBottom, s.PadLeft, s.PadRight) <= 2
}

// NewWinogradFilter transforms w [3, 3, Cin, Cout] for ConvWinograd. It panics
// if WinogradFits(s) is false.
func NewWinogradFilter(s ConvShape, w []float32) *WinogradFilter {
	return newWinograd(s, w, false, s.Cin, s.Cout)
}

// NewWinogradBackwardFilter transforms w [3, 3, Cin, Cout] for
// ConvWinogradBackwardInput. It panics if WinogradFits(s) is false.
func NewWinogradBackwardFilter(s ConvShape, w []float32) *WinogradFilter {
	return newWinograd(s, w, true, s.Cout, s.Cin)
}

func newWinograd(s ConvShape, w []float32, backward bool, k, n int) *WinogradFilter {
	if !WinogradFits(s) {
		panic(fmt.Sprintf("kernel.NewWinogradFilter: Winograd's algorithm does not fit %+v", s))
	}
	f := &WinogradFilter{shape: s, backward: backward}
	f.panels = make([]float32, 36*k*n)
	one, zeros := []int{0}, make([]float32, k)
	for i := range f.pos { // products of matrices: one tap, no padding
		f.pos[i] = lowered{ty: one, tx: one, k: k, n: n, groups: 1, zeros: zeros,
			panels: f.panels[i*k*n : (i+1)*k*n : (i+1)*k*n]}
	}
	f.Set(w)
	return f
}

// Set transforms new weights of the same shape, in place.
func (f *WinogradFilter) Set(w []float32) {
	s := f.shape
	s.check("WinogradFilter.Set", -1, -1, len(w))
	k, n := f.pos[0].k, f.pos[0].n
	ws := winogradPool.Get().(*winogradScratch)
	c := &ws.call
	*c = winogradCall{off: &ws.off[0], stride: 4 * k * n, n: k, tmp: &ws.tmp[0],
		quarter: 0.25, half: 0.5, sixth: 1.0 / 6, minusSixth: -1.0 / 6}
	for ch := 0; ch < n; ch += panelCols {
		if f.backward { // transposed and flipped
			ws.in = grow(ws.in, 9*k*panelCols)
			for i := range 9 {
				ws.off[i] = i * k * panelCols
				transpose(ws.in[ws.off[i]:ws.off[i]+k*panelCols], w[((8-i)*n+ch)*k:], k, panelCols, k)
			}
			c.x, c.step = &ws.in[0], 4*panelCols
		} else {
			for i := range 9 {
				ws.off[i] = i * k * n
			}
			c.x, c.step = &w[ch], 4*n
		}
		c.y = &f.panels[ch*k]
		winogradWeights(Active(), c)
	}
	*c = winogradCall{}
	winogradPool.Put(ws)
}

// ConvWinograd is Conv for filters of NewWinogradFilter: about twice as fast,
// less precise. The error is a few 10^-6 of the largest Σ|x||w| of a tile of
// 4x4 outputs, and NaN or Inf in an input reaches the whole tiles that it
// touches. Results are the same bits for any number of workers, any N and
// position in the batch, but not those of Conv and ConvRows.
func ConvWinograd(p *parallel.Pool, s ConvShape, x []float32, f *WinogradFilter, e Epilogue, y []float32) {
	s.check("ConvWinograd", len(x), len(y), -1)
	sameFilter(f.shape, s, "ConvWinograd", true)
	if f.backward {
		panic("kernel.ConvWinograd: filter was made for the gradient")
	}
	e.check(s, "ConvWinograd", s.OutLen())
	d := winograd{isa: Active(), f: f, n: s.N, inH: s.H, inW: s.W, outH: s.OutH(), outW: s.OutW(),
		padTop: s.PadTop, padLeft: s.PadLeft, x: x, y: y, e: e}
	d.run(p)
}

// ConvWinogradBackwardInput is ConvBackwardInput for filters of
// NewWinogradBackwardFilter; on precision see ConvWinograd.
func ConvWinogradBackwardInput(p *parallel.Pool, s ConvShape, dy []float32, f *WinogradFilter, dx []float32) {
	s.check("ConvWinogradBackwardInput", len(dx), len(dy), -1)
	sameFilter(f.shape, s, "ConvWinogradBackwardInput", true)
	if !f.backward {
		panic("kernel.ConvWinogradBackwardInput: filter was made for the convolution itself")
	}
	d := winograd{isa: Active(), f: f, n: s.N, inH: s.OutH(), inW: s.OutW(), outH: s.H, outW: s.W,
		padTop: 2 - s.PadTop, padLeft: 2 - s.PadLeft, x: dy, y: dx}
	d.run(p)
}

// winograd is one convolution to be computed.
type winograd struct {
	isa                  ISA
	f                    *WinogradFilter
	n                    int
	inH, inW, outH, outW int
	padTop, padLeft      int
	x, y                 []float32
	e                    Epilogue
}

// winogradTiles is the number of tiles of one piece of work at most.
const winogradTiles = 48

func (d *winograd) run(p *parallel.Pool) {
	total := d.n * d.tilesY() * d.tilesX()
	if total == 0 {
		return
	}
	size := evenly(total, winogradTiles)
	if p.Workers() > 1 { // tiles do not depend on each other, so their number may depend on the workers
		size = min(size, max(6, evenly(total, (total+2*p.Workers()-1)/(2*p.Workers()))))
		d.parallel(p, total, size)
		return
	}
	for t := 0; t < total; t += size {
		d.block(t, min(t+size, total))
	}
}

func (d winograd) parallel(p *parallel.Pool, total, size int) { p.Chunks(total, size, d.block) }

func (d *winograd) tilesY() int { return (d.outH + 3) / 4 }
func (d *winograd) tilesX() int { return (d.outW + 3) / 4 }

// winogradCall is what the transforms read; see tileCall on the layout.
//
// The input transform computes, for chunk q < n of 16 channels, with d[r][c]
// = x[off[6*r+c]+16*q:][:16], or zeros if that offset is negative:
// position (i, j) of Bt*d*B to y[(6*i+j)*stride/4+16*q:].
//
// The output transform computes, with m[r][c] = x[(6*r+c)*stride/4+16*q:][:16],
// pixel (i, j) of At*m*A, adds bias[16*q:] and add[off[4*i+j]+16*q:], clamps, and
// writes y[off[4*i+j]+16*q:].
//
// The weight transform computes, for input q < n, with g[r][c] =
// x[off[3*r+c]+q*step/4:][:16], position (i, j) of G*g*Gt to y[(6*i+j)*stride/4+16*q:].
type winogradCall struct {
	x, zeros               *float32
	off                    *int
	y                      *float32
	stride                 int // bytes
	n                      int
	tmp                    *float32 // 36*16 elements
	bias, add              *float32
	lo, hi                 float32
	two, four, five, eight float32 // the constants of the same names

	step                             int // bytes
	quarter, half, sixth, minusSixth float32
}

// winogradScratch is the memory of one worker during one call.
type winogradScratch struct {
	in, out   []float32 // transformed: [36][tiles][channels]
	zeroBias  []float32 // of all output channels
	tmp       [36 * panelCols]float32
	zeros     [panelCols]float32
	off       [36]int
	call      winogradCall
	edge, add []float32 // a tile over the edge of the output: [16][channels]
}

var winogradPool = newScratchPool[winogradScratch]()

// block computes tiles t0..t1-1, counted through all samples.
func (d *winograd) block(t0, t1 int) {
	k, n, tiles := d.f.pos[0].k, d.f.pos[0].n, t1-t0
	ws, sc := winogradPool.Get().(*winogradScratch), scratchPool.Get().(*scratch)
	defer sc.release()
	ws.in, ws.out = grow(ws.in, 36*tiles*k), grow(ws.out, 36*tiles*n)

	c := &ws.call
	*c = winogradCall{x: &d.x[0], zeros: &ws.zeros[0], off: &ws.off[0], stride: 4 * tiles * k, n: k / panelCols,
		tmp: &ws.tmp[0], two: 2, four: 4, five: 5, eight: 8}
	for t := t0; t < t1; t++ {
		sample, oy, ox := d.place(t)
		for i := range ws.off {
			iy, ix := oy+i/6-d.padTop, ox+i%6-d.padLeft
			ws.off[i] = -1
			if iy >= 0 && iy < d.inH && ix >= 0 && ix < d.inW {
				ws.off[i] = ((sample*d.inH+iy)*d.inW + ix) * k
			}
		}
		c.y = &ws.in[(t-t0)*k]
		winogradInput(d.isa, c)
	}

	g := grid{inH: 1, inW: tiles, inC: k, stepH: 1, stepW: 1, outH: 1, outW: tiles, yW: n}
	for i := range d.f.pos {
		q := product{isa: d.isa, l: &d.f.pos[i], g: g, x: ws.in[i*tiles*k : (i+1)*tiles*k],
			y: ws.out[i*tiles*n : (i+1)*tiles*n], lo: negInf, hi: posInf}
		q.block(sc, 0, tiles, 0, q.l.panelCount())
	}

	lo, hi := d.e.Act.clamp()
	*c = winogradCall{off: &ws.off[0], stride: 4 * tiles * n, n: n / panelCols,
		tmp: &ws.tmp[0], lo: lo, hi: hi, two: 2, four: 4, five: 5, eight: 8}
	if d.e.Bias != nil {
		c.bias = &d.e.Bias[0]
	} else {
		ws.zeroBias = grow(ws.zeroBias, n)
		clear(ws.zeroBias)
		c.bias = &ws.zeroBias[0]
	}
	for t := t0; t < t1; t++ {
		c.x = &ws.out[(t-t0)*n]
		d.output(ws, t)
	}
	*c = winogradCall{}
	winogradPool.Put(ws)
}

// place returns the sample of a tile and its first output pixel.
func (d *winograd) place(t int) (sample, oy, ox int) {
	w := d.tilesX()
	row := t / w
	return row / d.tilesY(), row % d.tilesY() * 4, t % w * 4
}

// output transforms a tile into the outputs, the last of a row or column
// through a buffer if it is not whole.
func (d *winograd) output(ws *winogradScratch, t int) {
	c, n := &ws.call, d.f.pos[0].n
	sample, oy, ox := d.place(t)
	first := ((sample*d.outH+oy)*d.outW + ox) * n
	rows, cols := min(4, d.outH-oy), min(4, d.outW-ox)
	if rows == 4 && cols == 4 {
		for i := range 16 {
			ws.off[i] = first + (i/4*d.outW+i%4)*n
		}
		c.y = &d.y[0]
		if d.e.Add != nil {
			c.add = &d.e.Add[0]
		}
		winogradOutput(d.isa, c)
		return
	}
	ws.edge = grow(ws.edge, 16*n)
	for i := range 16 {
		ws.off[i] = i * n
	}
	c.y = &ws.edge[0]
	if d.e.Add != nil {
		ws.add = grow(ws.add, 16*n)
		for r := range rows {
			copy(ws.add[4*r*n:(4*r+cols)*n], d.e.Add[first+r*d.outW*n:])
		}
		c.add = &ws.add[0]
	}
	winogradOutput(d.isa, c)
	for r := range rows {
		copy(d.y[first+r*d.outW*n:], ws.edge[4*r*n:(4*r+cols)*n])
	}
}
