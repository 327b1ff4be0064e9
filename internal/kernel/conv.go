package kernel

import (
	"fmt"
	"math"

	"github.com/adafire/adafire/internal/parallel"
)

var negInf, posInf = float32(math.Inf(-1)), float32(math.Inf(1))

// Activation is the function that a convolution applies to its outputs.
type Activation int8

// The activations. NaN stays NaN in all of them.
const (
	ActNone  Activation = iota
	ActReLU             // max(0, v)
	ActReLU6            // min(6, max(0, v))
)

// clamp returns the range to which the activation limits its argument.
func (a Activation) clamp() (lo, hi float32) {
	switch a {
	case ActReLU:
		return 0, posInf
	case ActReLU6:
		return 0, 6
	}
	return negInf, posInf
}

// Epilogue is what happens to each sum before it is written:
// y = Act((sum + Bias) + Add).
type Epilogue struct {
	Bias []float32 // per output channel, or nil
	Add  []float32 // same layout as the output, or nil; must not overlap the output
	Act  Activation
}

func (e *Epilogue) check(s ConvShape, fn string, outLen int) {
	if e.Bias != nil && len(e.Bias) < s.Cout {
		panic(fmt.Sprintf("kernel.%s: bias has %d elements, want %d", fn, len(e.Bias), s.Cout))
	}
	if e.Add != nil && len(e.Add) < outLen {
		panic(fmt.Sprintf("kernel.%s: addend has %d elements, want %d", fn, len(e.Add), outLen))
	}
}

// Conv computes y = act(conv(x, f) + bias + add) for x [N, H, W, Cin] and
// y [N, OutH, OutW, Cout]; y is overwritten and must not overlap x or Add. See
// ConvShape for the formula. Pool p may be nil (one thread).
//
// Each sum runs over kernel rows, kernel columns, then input channels, from
// zero, in float32; the assembly rounds once per term (fused multiply-add),
// portable Go twice. So results are the same bits for any number of workers,
// any N and position in the batch, and for AVX2 and AVX-512; between these
// and portable Go the difference is at most terms * 2^-23 * Σ|x||w|.
//
// Padding is zeros that take part in the sum: with finite weights they
// contribute nothing, an infinite or NaN weight makes NaN wherever it meets
// padding, on every instruction set. NaN and Inf in x reach exactly the
// outputs whose window covers them.
//
// For 3x3 convolutions ConvWinograd is faster, where its precision is enough.
//
// Conv panics if s is invalid, a slice is too short or f was packed for
// another convolution.
func Conv(p *parallel.Pool, s ConvShape, x []float32, f *Filter, e Epilogue, y []float32) {
	s.check("Conv", len(x), len(y), -1)
	f.matches(s, "Conv")
	e.check(s, "Conv", s.OutLen())
	if s.N == 0 {
		return
	}
	outH, outW := s.OutH(), s.OutW()
	g := grid{inH: s.H, inW: s.W, inC: s.Cin, stepH: s.StrideH, stepW: s.StrideW, outH: outH, outW: outW,
		yN: outH * outW * s.Cout, yH: outW * s.Cout, yW: s.Cout}
	f.run(p, g, s.N, x, e, y)
}

// ConvRows computes the output rows lo..hi-1 of one sample, in the calling
// goroutine: x is [H, W, Cin], y and Add are [hi-lo, OutW, Cout]; s.N is not
// used. The results are the same bits as those of Conv. It does not allocate
// (but for growing its pooled scratch memory).
func ConvRows(s ConvShape, x []float32, f *Filter, e Epilogue, lo, hi int, y []float32) {
	s.N = 1
	s.check("ConvRows", len(x), -1, -1)
	f.matches(s, "ConvRows")
	outH, outW := s.OutH(), s.OutW()
	if lo < 0 || hi < lo || hi > outH {
		panic(fmt.Sprintf("kernel.ConvRows: rows %d to %d, want 0 to %d", lo, hi, outH))
	}
	rowLen := outW * s.Cout
	if len(y) < (hi-lo)*rowLen {
		panic(fmt.Sprintf("kernel.ConvRows: output has %d elements, want %d", len(y), (hi-lo)*rowLen))
	}
	e.check(s, "ConvRows", (hi-lo)*rowLen)
	if hi == lo {
		return
	}
	g := grid{inH: s.H, inW: s.W, inC: s.Cin, stepH: s.StrideH, stepW: s.StrideW, row0: lo, outH: hi - lo, outW: outW,
		yN: (hi - lo) * rowLen, yH: rowLen, yW: s.Cout}
	f.run(nil, g, 1, x, e, y)
}

func (f *Filter) run(p *parallel.Pool, g grid, n int, x []float32, e Epilogue, y []float32) {
	lo, hi := e.Act.clamp()
	if f.shape.Depthwise() {
		d := depthwiseProduct{isa: Active(), w: &f.depthwise, g: g, x: x, y: y, bias: e.Bias, add: e.Add, lo: lo, hi: hi}
		d.run(p, n)
		return
	}
	d := product{isa: Active(), l: &f.dense, g: g, x: x, y: y, bias: e.Bias, add: e.Add, lo: lo, hi: hi}
	d.run(p, n)
}

// workItems is into how many pieces a call is cut at least, if it can be, so
// that several workers share it evenly.
const workItems = 16

// run computes all pixels of n samples.
func (d *product) run(p *parallel.Pool, n int) {
	if d.l.band != nil {
		d.runBands(p, n)
		return
	}
	pixels := n * d.g.outH * d.g.outW
	panels := d.l.groups * d.l.panelCount()
	if p.Workers() == 1 {
		sc := scratchPool.Get().(*scratch)
		for m := 0; m < pixels; m += blockPixels {
			d.block(sc, m, min(m+blockPixels, pixels), 0, panels)
		}
		sc.release()
		return
	}
	d.parallel(p, pixels, panels)
}

func (d product) parallel(p *parallel.Pool, pixels, panels int) {
	blocks := (pixels + blockPixels - 1) / blockPixels
	cuts := min(panels, (workItems+blocks-1)/blocks)
	size := (panels + cuts - 1) / cuts
	size += size & 1 // kernels may take panels in pairs
	cuts = (panels + size - 1) / size
	p.For(blocks*cuts, func(i int) {
		sc := scratchPool.Get().(*scratch)
		m, q := i/cuts*blockPixels, i%cuts*size
		d.block(sc, m, min(m+blockPixels, pixels), q, min(q+size, panels))
		sc.release()
	})
}
