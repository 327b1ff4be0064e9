package snn

import (
	"fmt"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
)

// A rule says how an operation that is no neuron runs on values that vary in
// time.
type rule uint8

const (
	byStep     rule = iota // step by step; the mean passes through
	copies                 // only moves values, see indexMap
	byMaximum              // on spike counts exactly, on other values see cumulativeStep
	byProduct              // see cumulativeStep
	behindOnly             // not linear: on the mean, behind the last neurons
)

// ruleOf is the rule for node n (algorithms.md 1.6), whose inputs vary in time
// where varies says so.
func ruleOf(n *graph.Node, varies func(*graph.Node) bool) rule {
	if isIndex(n) {
		return copies
	}
	all := true
	for _, in := range n.Inputs {
		all = all && varies(in)
	}
	switch op := n.Op.(type) {
	case *graph.Conv2D, *graph.Linear, *graph.ConvTranspose2D, *graph.BatchNorm, *graph.AvgPool2D, *graph.GlobalAvgPool,
		*graph.Add, *graph.Concat, *graph.Flatten, *graph.Upsample, *graph.Identity, *graph.Dropout, *graph.Affine, *graph.Constant, *graph.Input,
		*graph.ConvND, *graph.AvgPoolND:
		return byStep
	case *graph.MaxPool2D, *graph.GlobalMaxPool, *graph.MaxPoolND:
		return byMaximum
	case *graph.PadAxes: // with a value, so that it is no copy
		return byStep
	case *graph.Resize:
		if op.Mode == "linear" && !op.Antialias {
			return byStep
		}
	case *graph.Unary:
		if op.Func == graph.Neg {
			return byStep
		}
	case *graph.Reduce:
		switch op.Func {
		case graph.ReduceMean, graph.ReduceSum:
			return byStep
		case graph.ReduceMax:
			return byMaximum
		}
	case *graph.MatMul:
		if all {
			return byProduct
		}
		return byStep
	case *graph.Binary:
		switch op.Func {
		case graph.BroadcastAdd, graph.Sub:
			return byStep
		case graph.Mul:
			if all {
				return byProduct
			}
			return byStep
		case graph.Div:
			if !varies(n.Inputs[1]) {
				return byStep
			}
		}
	}
	return behindOnly
}

// varies says whether the output of a node varies in time.
func (p *plan) varies(n *graph.Node) bool { return p.wires[p.index[n]].kind != analog }

// isNeuron says whether spiking neurons can take the place of the activation n.
func isNeuron(n *graph.Node) error {
	switch n.Op.(type) {
	case *graph.ReLU, *graph.ReLU6, *graph.Clip:
		return nil
	}
	return fmt.Errorf("node %q: a %s has no neurons of its own; preparation splits it into two layers of them", n.Name, n.Kind())
}

// classifyIndex decides how the output of an operation that moves values is held:
// as spike counts if its inputs are and no channel mixes those of several.
func (p *plan) classifyIndex(n *graph.Node, w *wire, allSpikes bool) (passes bool) {
	if !allSpikes || w.index.channel == nil {
		return false
	}
	in := make([]*wire, len(n.Inputs))
	for i, node := range n.Inputs {
		in[i] = p.wires[p.index[node]]
	}
	w.spikes, w.emitters = true, w.index.emitters(in)
	return true
}

// recounts says whether what passes the wire's node is counted behind it as if it
// were emitted there, because channels of one position part there.
func (w *wire) recounts() bool { return w.spikes && w.index != nil && w.index.passes == nil }

// constantFunction gives the same values for every sample.
func constantFunction(n *graph.Node) function {
	value := n.Params["value"]
	if value == nil {
		value = n.Weight()
	}
	return func(_ *parallel.Pool, k int, _ [][]float32, y []float32) {
		for g := range k {
			copy(y[g*len(value.Data):], value.Data)
		}
	}
}

// affineFunction is an affine node between wires of the given scales.
func affineFunction(n *graph.Node, in, out []float32) function {
	size, c := n.Shape.Numel(), n.Shape.Channels()
	scale, shift := make([]float32, size), make([]float32, size)
	weight, bias := broadcastParam(n, "weight", 1), broadcastParam(n, "bias", 0)
	for i := range scale {
		scale[i] = weight[i] * ratio(in, i%c, out, i%c)
		shift[i] = bias[i] * ratio(nil, 0, out, i%c)
	}
	return func(_ *parallel.Pool, k int, x [][]float32, y []float32) {
		for g := range k {
			from, to := x[0][g*size:(g+1)*size], y[g*size:(g+1)*size]
			for i, v := range from {
				to[i] = float32(v*scale[i]) + shift[i] // rounded twice everywhere
			}
		}
	}
}

// broadcastParam is a parameter of an affine node for every value, otherwise if
// there is none.
func broadcastParam(n *graph.Node, role string, otherwise float32) []float32 {
	out := make([]float32, n.Shape.Numel())
	t := n.Params[role]
	if t == nil {
		for i := range out {
			out[i] = otherwise
		}
		return out
	}
	from := broadcastIndex(n.Shape, graph.Shape(t.Shape))
	for i := range out {
		out[i] = t.Data[from[i]]
	}
	return out
}

// broadcastIndex lists, for every value of the shape out, the value of shape in
// that numpy's rules of broadcasting put there.
func broadcastIndex(out, in graph.Shape) []int32 {
	st := strides(in)
	index := make([]int32, out.Numel())
	at := make([]int, len(out))
	for i := range index {
		sum := 0
		for a, k := range at {
			if b := a - (len(out) - len(in)); b >= 0 && in[b] != 1 {
				sum += k * st[b]
			}
		}
		index[i] = int32(sum)
		for a := len(at) - 1; a >= 0; a-- {
			if at[a]++; at[a] < out[a] {
				break
			}
			at[a] = 0
		}
	}
	return index
}

// Convertible says whether a spiking network has a rule for node n between layers
// of neurons (algorithms.md 1.6); varies says which of its inputs vary in time.
// Activations that preparation splits have one.
func Convertible(n *graph.Node, varies func(*graph.Node) bool) bool {
	if graph.BecomesNeurons(n) {
		return true
	}
	if ruleOf(n, varies) == behindOnly {
		return false
	}
	if op, ok := n.Op.(*graph.ConvTranspose2D); ok && len(n.Inputs) == 1 && len(n.Shape) > 0 {
		_, err := newConvTranspose(n, op, nil, nil)
		return err == nil
	}
	return true
}

// Evaluates says whether a spiking network can run node n at all: on what does not
// vary in time or, behind the last neurons, on means.
func Evaluates(n *graph.Node) bool {
	switch op := n.Op.(type) {
	case *graph.Softmax, *graph.LogSoftmax, *graph.SoftmaxAxes, *graph.PReLU:
		return true
	case *graph.Binary:
		switch op.Func {
		case graph.Div, graph.Maximum, graph.Minimum, graph.Pow:
			return true
		}
	case *graph.Reduce:
		switch op.Func {
		case graph.ReduceMin, graph.ReduceL1, graph.ReduceL2, graph.ReduceSumSquare:
			return true
		}
	}
	return elementFunction(n.Op) != nil || Convertible(n, func(*graph.Node) bool { return true })
}

// populations is how many layers of neurons the output of node r reaches with
// weights of their own: one, and one more for each that an affine node before it
// lets see it otherwise, such as the second part of a split activation. Every
// spike into r is a synaptic operation in each.
func populations(r *graph.Node, uses map[*graph.Node][]*graph.Node) int64 {
	var count func(r *graph.Node) (apart, others int64)
	count = func(r *graph.Node) (apart, others int64) {
		for _, u := range uses[r] {
			switch u.Op.(type) {
			case *graph.Affine:
				seen := int64(0)
				for _, to := range uses[u] {
					if graph.IsActivation(to) {
						seen++
					}
				}
				if seen == 0 {
					others = 1
				}
				apart += seen
			case *graph.Add, *graph.BatchNorm, *graph.MaxPool2D, *graph.GlobalMaxPool:
				a, o := count(u)
				apart, others = apart+a, max(others, o)
			default:
				others = 1
			}
		}
		return apart, others
	}
	apart, others := count(r)
	return max(1, apart+others)
}
