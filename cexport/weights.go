package cexport

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
)

// foldedWeight is the weight [K..., Cin/groups, Cout] of a layer between wires of
// the given scales; that of a transposed convolution is brought into the same
// form, tap by tap.
func foldedWeight(n *graph.Node, in, out []float32) []float32 {
	w := n.Weight()
	if op, ok := n.Op.(*graph.ConvTranspose2D); ok {
		kh, kw, cin, per := w.Shape[0], w.Shape[1], w.Shape[2], w.Shape[3]
		each := cin / op.Groups
		cout := per * op.Groups
		weight := make([]float32, kh*kw*each*cout)
		for k := range kh * kw {
			for ci := range cin {
				g, i := ci/each, ci%each
				for co := range per {
					ch := g*per + co
					weight[(k*each+i)*cout+ch] = w.Data[(k*cin+ci)*per+co] * ratio(in, ci, out, ch)
				}
			}
		}
		return weight
	}
	last := len(w.Shape) - 1
	perIn, cout, groups := w.Shape[last-1], w.Shape[last], 1
	if op, ok := n.Op.(*graph.Conv2D); ok {
		groups = op.Groups
	}
	weight := make([]float32, len(w.Data))
	for i, v := range w.Data {
		co, ci := i%cout, i/cout%perIn
		weight[i] = v * ratio(in, co/(cout/groups)*perIn+ci, out, co)
	}
	return weight
}

func foldedBias(n *graph.Node, out []float32) []float32 {
	b := n.Bias()
	if b == nil {
		return nil
	}
	bias := make([]float32, len(b))
	for co, v := range b {
		bias[co] = v * ratio(nil, 0, out, co)
	}
	return bias
}

// A block is a part of the weights [rows, outputs] that share the steps of their
// outputs, for counts of up to most.
type block struct {
	w    []float32
	most int
}

// countClass is the bound of counts for which sums are kept from overflowing.
func countClass(most int) int64 {
	for _, class := range []int64{16, 255, 1024} {
		if int64(most) <= class {
			return class
		}
	}
	return int64(most)
}

// quantise rounds blocks of weights to whole multiples of one step per output, as
// snn.Precision says: step = max|w|/127 or /32767, larger where the sum of
// most*|q| would leave int32. It returns false if no step will do.
func quantise(p snn.Precision, blocks []block, outputs int) (q [][]int16, step []float32, ok bool) {
	most := int64(math.MaxInt16)
	if p == snn.I8 {
		most = math.MaxInt8
	}
	step = make([]float32, outputs)
	largest := make([]float64, outputs)
	levels := make([]int64, outputs)
	for _, b := range blocks {
		q = append(q, make([]int16, len(b.w)))
		for i, v := range b.w {
			if v-v != 0 {
				return nil, nil, false
			}
			largest[i%outputs] = max(largest[i%outputs], math.Abs(float64(v)))
		}
	}
	for co := range levels {
		levels[co] = most
	}
	for {
		sums := make([]int64, outputs)
		for co, m := range largest {
			step[co] = float32(m / float64(levels[co]))
		}
		for k, b := range blocks {
			for i, v := range b.w {
				co := i % outputs
				var n float64
				if step[co] > 0 {
					n = math.Round(float64(v) / float64(step[co]))
				}
				n = min(max(n, -float64(levels[co])), float64(levels[co]))
				q[k][i] = int16(n)
				sums[co] += int64(math.Abs(n)) * countClass(b.most)
			}
		}
		fits := true
		for co, sum := range sums {
			if sum > math.MaxInt32 {
				fits = false
				levels[co] = min(levels[co]-1, int64(float64(levels[co])*math.MaxInt32/float64(sum)))
				if levels[co] < 1 {
					return nil, nil, false
				}
			}
		}
		if fits {
			return q, step, true
		}
	}
}
