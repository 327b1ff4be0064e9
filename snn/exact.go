package snn

import (
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// exactConv is a float32 convolution whose products and sums are rounded one by
// one, in the order of Conv, so that its results are the same bits on every
// instruction set (kernel.Conv fuses multiplication and addition where it can).
// Networks of integer weights use it for what stays float32: the layers before
// the first neurons and behind the last ones, which run once for all timesteps.
type exactConv struct {
	weight []float32 // [KH, KW, Cin/Groups, Cout]
	bias   []float32
}

// apply computes y = (conv(x) + bias) + add for s.N samples; add may be nil.
func (e *exactConv) apply(p *parallel.Pool, s kernel.ConvShape, x, add, y []float32) {
	rows := s.N * s.OutH()
	if p.Workers() == 1 {
		for i := range rows {
			e.row(&s, i, x, add, y)
		}
		return
	}
	e.applyParallel(p, s, rows, x, add, y)
}

func (e *exactConv) applyParallel(p *parallel.Pool, s kernel.ConvShape, rows int, x, add, y []float32) {
	p.For(rows, func(i int) { e.row(&s, i, x, add, y) })
}

// row computes row i of all samples' output rows.
func (e *exactConv) row(s *kernel.ConvShape, i int, x, add, y []float32) {
	outH, outW := s.OutH(), s.OutW()
	n, oh := i/outH, i%outH
	per, each := s.Cin/s.Groups, s.Cout/s.Groups
	x = x[n*s.H*s.W*s.Cin:]
	for ow := range outW {
		at := (i*outW + ow) * s.Cout
		dst := y[at : at+s.Cout]
		clear(dst)
		for kh := range s.KH {
			ih := oh*s.StrideH + kh*s.DilH - s.PadTop
			if ih < 0 || ih >= s.H {
				continue
			}
			for kw := range s.KW {
				iw := ow*s.StrideW + kw*s.DilW - s.PadLeft
				if iw < 0 || iw >= s.W {
					continue
				}
				src := x[(ih*s.W+iw)*s.Cin:][:s.Cin]
				w := e.weight[(kh*s.KW+kw)*per*s.Cout:]
				for g := range s.Groups {
					d := dst[g*each : (g+1)*each]
					for ci, v := range src[g*per : (g+1)*per] {
						kernel.Axpy(d, w[ci*s.Cout+g*each:][:each], v)
					}
				}
			}
		}
		if e.bias != nil {
			kernel.AddTo(dst, e.bias)
		}
		if add != nil {
			kernel.AddTo(dst, add[at:at+s.Cout])
		}
	}
}
