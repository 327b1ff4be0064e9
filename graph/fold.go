package graph

import (
	"slices"

	"github.com/adafire/adafire/tensor"
)

// FoldBatchNorm folds every batch normalisation, and every Affine of one scale and
// shift per channel or in all, that directly follows a convolution, a transposed
// convolution or a fully connected layer (or one that was folded into such a
// layer) into that layer's weight and bias, and returns how many it folded. It
// stays where another node (or an output of the graph) reads the layer's own
// result, or where something lies between the two.
//
// Per output channel, with s = gamma/sqrt(var+eps), computed in float64 and
// stored in float32:
//
//	W[..., co] *= s[co]
//	b[co]       = (b[co] - mean[co])*s[co] + beta[co]
//
// Parameters are replaced, never written into, so that a graph from
// CloneShared may be folded. Unlike the authors' fold_bn.py, which pairs layers
// in the order of their definition, this follows the data (algorithms.md 2.1,
//
func FoldBatchNorm(g *Graph) (folded int) {
	uses := g.Consumers()
	replaced := make(map[*Node]*Node)
	for _, bn := range g.Nodes {
		switch bn.Op.(type) {
		case *BatchNorm, *Affine:
		default:
			continue
		}
		if len(bn.Inputs) != 1 {
			continue
		}
		layer := bn.Inputs[0]
		if len(uses[layer]) != 1 || g.IsOutput(layer) {
			continue
		}
		if before := replaced[layer]; before != nil { // a folded normalisation
			layer = before
		}
		if !foldInto(layer, bn) {
			continue
		}
		replaced[bn] = layer
		folded++
	}
	g.substitute(replaced)
	return folded
}

// foldInto scales the layer's parameters; false if its kind cannot take them.
func foldInto(layer, bn *Node) bool {
	w := layer.Weight()
	if w == nil || len(w.Shape) < 2 {
		return false
	}
	channels := w.Shape[len(w.Shape)-1]
	groups := 1
	switch l := layer.Op.(type) {
	case *Conv2D, *Linear, *ConvND:
	case *ConvTranspose2D:
		groups = l.Groups
	case *ConvTransposeND:
		groups = l.Groups
	default:
		return false
	}
	var scale, shift []float64
	if op, ok := bn.Op.(*BatchNorm); ok {
		scale, shift = op.Affine(bn.Params)
	} else {
		scale, shift = perChannel(bn.Params["weight"], channels*groups, 1), perChannel(bn.Params["bias"], channels*groups, 0)
	}
	if channels*groups != len(scale) || len(shift) != len(scale) {
		return false
	}
	inputs := w.Shape[len(w.Shape)-2]
	weight := w.Clone()
	// Only a grouped transposed convolution has fewer columns than output
	// channels: there the group of the input channel (the last axis but one) selects
	// the block.
	perGroup := 1
	if groups > 1 {
		perGroup = inputs / groups
	}
	for row := 0; row*channels < len(weight.Data); row++ {
		group := 0
		if groups > 1 {
			group = row % inputs / perGroup
		}
		values := weight.Data[row*channels : (row+1)*channels]
		for i := range values {
			values[i] = float32(float64(values[i]) * scale[group*channels+i])
		}
	}
	bias := make([]float32, len(scale))
	for c := range bias {
		b := 0.0
		if old := layer.Bias(); old != nil {
			b = float64(old[c])
		}
		bias[c] = float32(b*scale[c] + shift[c])
	}
	layer.Params = Params{"weight": weight, "bias": &tensor.Tensor{Shape: []int{len(bias)}, Data: bias}}
	return true
}

// perChannel returns a parameter of an Affine as one number per channel, otherwise
// if there is none; nil if it is neither one number per channel nor one in all.
func perChannel(t *tensor.Tensor, channels int, otherwise float64) []float64 {
	v := make([]float64, channels)
	for c := range v {
		switch {
		case t == nil:
			v[c] = otherwise
		case t.Len() == 1:
			v[c] = float64(t.Data[0])
		case t.Len() == channels && t.Shape[len(t.Shape)-1] == channels:
			v[c] = float64(t.Data[c])
		default:
			return nil
		}
	}
	return v
}

// substitute removes the nodes in replaced and lets everything that read them
// read their replacement.
func (g *Graph) substitute(replaced map[*Node]*Node) {
	if len(replaced) == 0 {
		return
	}
	final := func(n *Node) *Node {
		for replaced[n] != nil {
			n = replaced[n]
		}
		return n
	}
	for _, n := range g.Nodes {
		for i, in := range n.Inputs {
			n.Inputs[i] = final(in)
		}
	}
	for i, n := range g.Outputs {
		g.Outputs[i] = final(n)
	}
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *Node) bool { return replaced[n] != nil })
}
