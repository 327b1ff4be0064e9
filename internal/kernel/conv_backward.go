package kernel

import "github.com/adafire/adafire/internal/parallel"

// ConvBackwardInput computes the gradient with respect to the input of Conv,
// dx [N, H, W, Cin], from dy [N, OutH, OutW, Cout]:
//
//	dx[n,h,w,ci] = Σ dy[n,oh,ow,co] * w[kh,kw,ci,co]
//
// over all oh, ow, kh, kw, co with h = oh*StrideH+kh*DilH-PadTop and
// w = ow*StrideW+kw*DilW-PadLeft. dx is overwritten and must not overlap dy.
// It is also the forward pass of a transposed convolution.
//
// Sums run over kh and kw, both from the last to the first, then co. A tap
// that a stride skips contributes nothing; a tap that falls outside dy meets a
// zero that takes part, as padding does in Conv. Else all that is said there
// on determinism and precision holds here.
func ConvBackwardInput(p *parallel.Pool, s ConvShape, dy []float32, b *BackwardFilter, dx []float32) {
	s.check("ConvBackwardInput", len(dx), len(dy), -1)
	sameFilter(b.shape, s, "ConvBackwardInput", true)
	if s.N == 0 {
		return
	}
	if len(b.phases) < s.StrideH*s.StrideW {
		clear(dx[:s.InLen()])
	}
	outH, outW := s.OutH(), s.OutW()
	for i := range b.phases {
		ph := &b.phases[i]
		if ph.py >= s.H || ph.px >= s.W {
			continue
		}
		g := grid{inH: outH, inW: outW, inC: s.Cout, stepH: 1, stepW: 1,
			outH: (s.H - ph.py + s.StrideH - 1) / s.StrideH,
			outW: (s.W - ph.px + s.StrideW - 1) / s.StrideW,
			y0:   (ph.py*s.W + ph.px) * s.Cin,
			yN:   s.H * s.W * s.Cin, yH: s.StrideH * s.W * s.Cin, yW: s.StrideW * s.Cin}
		if s.Depthwise() {
			d := depthwiseProduct{isa: Active(), w: &ph.depthwise, g: g, x: dy, y: dx, lo: negInf, hi: posInf}
			d.run(p, s.N)
			continue
		}
		d := product{isa: Active(), l: &ph.dense, g: g, x: dy, y: dx, lo: negInf, hi: posInf}
		d.run(p, s.N)
	}
}
