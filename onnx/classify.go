package onnx

import (
	"fmt"
	"strings"

	"github.com/adafire/adafire/graph"
)

// A Report says what conversion to a spiking network will do with the nodes of
// an imported graph.
type Report struct {
	Nodes []Classified // in graph order, inputs and constants left out
}

// A Classified is a node of the graph with its class.
type Classified struct {
	Name  string
	Kind  string
	Class Class
	// Between says that the node has no spiking rule and lies between layers
	// that become spiking: it stands in the way of conversion.
	Between bool
}

// Blocking returns the nodes that stand in the way of conversion.
func (r Report) Blocking() []Classified {
	var list []Classified
	for _, c := range r.Nodes {
		if c.Between {
			list = append(list, c)
		}
	}
	return list
}

// String returns a table of the counts and the list of blocking nodes.
func (r Report) String() string {
	count := make(map[Class]int)
	for _, c := range r.Nodes {
		count[c.Class]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes: %d convertible, %d run in the ANN only, %d fine behind the last spiking layer\n",
		len(r.Nodes), count[Convertible], count[Executes], count[Tail])
	blocking := r.Blocking()
	if len(blocking) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "%d of them have no spiking rule and lie between spiking layers:\n", len(blocking))
	for _, c := range blocking {
		fmt.Fprintf(&b, "  %s (%s)\n", c.Name, c.Kind)
	}
	return b.String()
}

// classify follows algorithms.md 1.6.
func classify(g *graph.Graph) Report {
	// A node has a spiking layer behind it if an activation depends on it.
	behind := make(map[*graph.Node]bool)
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if behind[n] || graph.IsActivation(n) || isSplitActivation(n) {
			for _, in := range n.Inputs {
				behind[in] = true
			}
		}
	}
	before := make(map[*graph.Node]bool) // an activation lies before it
	var r Report
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			if before[in] || graph.IsActivation(in) || isSplitActivation(in) {
				before[n] = true
			}
		}
		switch n.Op.(type) {
		case *graph.Input, *graph.Constant:
			continue
		}
		c := Classified{Name: n.Name, Kind: n.Kind(), Class: classOf(n)}
		if c.Class != Convertible {
			if !behind[n] {
				c.Class = Tail
			} else {
				c.Class = Executes
				c.Between = before[n]
			}
		}
		r.Nodes = append(r.Nodes, c)
	}
	return r
}

// isSplitActivation says whether conversion can replace the activation by two
// populations of neurons.
func isSplitActivation(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.PReLU, *graph.Clip:
		return true
	}
	return false
}

// classOf is the class of a node by its operation alone.
func classOf(n *graph.Node) Class {
	switch op := n.Op.(type) {
	case *graph.Conv2D, *graph.ConvTranspose2D, *graph.Linear, *graph.BatchNorm, *graph.ReLU, *graph.ReLU6, *graph.LeakyReLU,
		*graph.MaxPool2D, *graph.AvgPool2D, *graph.GlobalAvgPool, *graph.GlobalMaxPool, *graph.Add, *graph.Concat, *graph.Flatten,
		*graph.Upsample, *graph.Identity, *graph.Dropout, *graph.PReLU, *graph.Clip, *graph.Affine, *graph.Transpose, *graph.Reshape,
		*graph.Slice, *graph.Gather, *graph.ConcatAxis, *graph.Expand, *graph.DepthToSpace, *graph.SpaceToDepth, *graph.MatMul:
		return Convertible
	case *graph.Binary:
		if op.Func == graph.Mul || op.Func == graph.BroadcastAdd || op.Func == graph.Sub {
			return Convertible
		}
	case *graph.PadAxes:
		if op.Mode == "constant" && op.Value == 0 {
			return Convertible
		}
	case *graph.Resize:
		if op.Mode != "cubic" && !op.Antialias {
			return Convertible
		}
	case *graph.Reduce:
		if op.Func == graph.ReduceMean || op.Func == graph.ReduceSum || op.Func == graph.ReduceMax {
			return Convertible
		}
	case *graph.Softmax, *graph.LogSoftmax, *graph.SoftmaxAxes, *graph.ArgMax, *graph.TopK:
		return Tail
	}
	return Executes
}
