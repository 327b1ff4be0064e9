package kernel

import "github.com/adafire/adafire/internal/parallel"

// ConvBackwardWeight computes the gradient with respect to the weights of
// Conv, dw [KH, KW, Cin/Groups, Cout], from x [N, H, W, Cin] and
// dy [N, OutH, OutW, Cout]:
//
//	dw[kh,kw,ci,co] = Σ x[n, oh*StrideH+kh*DilH-PadTop, ow*StrideW+kw*DilW-PadLeft, ci] * dy[n,oh,ow,co]
//
// over all n, oh, ow. dw is overwritten. Padding is zeros that take part in
// the sum, as in Conv.
func ConvBackwardWeight(p *parallel.Pool, s ConvShape, x, dy []float32, dw []float32) {
	s.check("ConvBackwardWeight", len(x), len(dy), len(dw))
	cing, coutg, outH, outW := s.Cin/s.Groups, s.Cout/s.Groups, s.OutH(), s.OutW()
	zeros := make([]float32, cing)
	p.For(s.KH*s.KW, func(t int) {
		kh, kw := t/s.KW, t%s.KW
		d := dw[t*cing*s.Cout : (t+1)*cing*s.Cout]
		clear(d)
		for n := range s.N {
			for oh := range outH {
				ih := oh*s.StrideH + kh*s.DilH - s.PadTop
				for ow := range outW {
					iw := ow*s.StrideW + kw*s.DilW - s.PadLeft
					grad := dy[((n*outH+oh)*outW+ow)*s.Cout:][:s.Cout]
					for g := range s.Groups {
						in := zeros
						if ih >= 0 && ih < s.H && iw >= 0 && iw < s.W {
							in = x[((n*s.H+ih)*s.W+iw)*s.Cin+g*cing:][:cing]
						}
						for ci, v := range in {
							row := d[ci*s.Cout+g*coutg:][:coutg]
							for co, u := range grad[g*coutg:][:coutg] {
								row[co] += float32(v * u)
							}
						}
					}
				}
			}
		}
	})
}
