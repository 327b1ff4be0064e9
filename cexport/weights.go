package cexport

import "github.com/adafire/adafire/graph"

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
