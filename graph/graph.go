// Package graph describes a neural network: a directed acyclic graph of small
// operation structs with per-sample, channels-last shapes. It is the only
// description of a network in AdaFire: package ann runs it in float32, package
// snn runs it with the activations replaced by spiking neurons, importers
// produce it, exporters read it, conversion rewrites it.
//
// Build a network node by node, then infer the shapes:
//
//	g := graph.New()
//	x := g.Input("input", graph.Shape{28, 28, 1})
//	x = g.Add("conv1", &graph.Conv2D{Stride: [2]int{1, 1}, ...}, graph.Params{"weight": w}, x)
//	x = g.Add("relu1", &graph.ReLU{}, nil, x)
//	g.Outputs = []*graph.Node{x}
//	err := g.Infer()
//
// The package knows nothing about files, data sets or arithmetic.
package graph

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/adafire/adafire/tensor"
)

// ErrInvalid marks graphs that are not well formed: cycles, names used twice,
// shapes that do not fit, parameters that are missing or unknown.
var ErrInvalid = errors.New("invalid graph")

// A Shape is the shape of one sample, channels last: usually [H, W, C], [P, C]
// or [C], in general 1 to 8 axes.
type Shape []int

// Numel returns the number of values of one sample.
func (s Shape) Numel() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Channels returns the last axis, 0 for an empty shape.
func (s Shape) Channels() int {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1]
}

// Positions returns the number of values per channel.
func (s Shape) Positions() int {
	if s.Channels() == 0 {
		return 0
	}
	return s.Numel() / s.Channels()
}

// HWC returns the shape as height, width and channels; [P, C] counts as P x 1
// and [C] as 1 x 1.
func (s Shape) HWC() (h, w, c int) {
	switch len(s) {
	case 1:
		return 1, 1, s[0]
	case 2:
		return s[0], 1, s[1]
	case 3:
		return s[0], s[1], s[2]
	}
	return 0, 0, 0
}

// Params holds the parameters of a node by role ("weight", "bias", "mean",
// "var"), in AdaFire's layouts (see package tensor).
type Params map[string]*tensor.Tensor

// A Node is one operation with its inputs and parameters.
type Node struct {
	Name   string
	Op     Op
	Inputs []*Node
	Params Params
	Shape  Shape // per sample; set by Graph.Infer
}

// Kind returns the kind of the node's operation, such as "conv2d".
func (n *Node) Kind() string { return n.Op.Kind() }

// Weight returns the parameter "weight", or nil.
func (n *Node) Weight() *tensor.Tensor { return n.Params["weight"] }

// Bias returns the values of the parameter "bias", or nil.
func (n *Node) Bias() []float32 {
	if b := n.Params["bias"]; b != nil {
		return b.Data
	}
	return nil
}

// A Graph is a network: its nodes in topological order, input nodes included.
type Graph struct {
	Nodes   []*Node
	Outputs []*Node
}

// New returns an empty graph.
func New() *Graph { return &Graph{} }

// Input appends an input node of the given per-sample shape.
func (g *Graph) Input(name string, shape Shape) *Node {
	return g.Add(name, &Input{Shape: slices.Clone(shape)}, nil)
}

// Add appends a node. Nothing is checked before Infer.
func (g *Graph) Add(name string, op Op, params Params, inputs ...*Node) *Node {
	n := &Node{Name: name, Op: op, Params: params, Inputs: inputs}
	g.Nodes = append(g.Nodes, n)
	return n
}

// InputNodes returns the nodes whose operation is *Input, in order.
func (g *Graph) InputNodes() []*Node {
	var in []*Node
	for _, n := range g.Nodes {
		if _, ok := n.Op.(*Input); ok {
			in = append(in, n)
		}
	}
	return in
}

// Node returns the node of the given name, or nil.
func (g *Graph) Node(name string) *Node {
	for _, n := range g.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Consumers maps every node to the nodes that read it, in graph order, one
// entry per use. An output of the graph is not a consumer.
func (g *Graph) Consumers() map[*Node][]*Node {
	uses := make(map[*Node][]*Node, len(g.Nodes))
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			uses[in] = append(uses[in], n)
		}
	}
	return uses
}

// IsOutput says whether n is an output of the graph.
func (g *Graph) IsOutput(n *Node) bool { return slices.Contains(g.Outputs, n) }

// Clone returns a deep copy, parameters included.
func (g *Graph) Clone() *Graph {
	return g.clone(func(t *tensor.Tensor) *tensor.Tensor { return t.Clone() })
}

// CloneShared returns a copy of the structure that shares the parameters: for
// passes that replace parameters and never write into them.
func (g *Graph) CloneShared() *Graph {
	return g.clone(func(t *tensor.Tensor) *tensor.Tensor { return t })
}

func (g *Graph) clone(param func(*tensor.Tensor) *tensor.Tensor) *Graph {
	twin := make(map[*Node]*Node, len(g.Nodes))
	out := &Graph{Nodes: make([]*Node, len(g.Nodes))}
	for i, n := range g.Nodes {
		c := &Node{Name: n.Name, Op: n.Op.clone(), Shape: slices.Clone(n.Shape)}
		if n.Params != nil {
			c.Params = make(Params, len(n.Params))
			for role, t := range n.Params {
				c.Params[role] = param(t)
			}
		}
		for _, in := range n.Inputs {
			c.Inputs = append(c.Inputs, twin[in])
		}
		twin[n], out.Nodes[i] = c, c
	}
	for _, n := range g.Outputs {
		out.Outputs = append(out.Outputs, twin[n])
	}
	return out
}

// Infer checks the graph and sets every node's Shape. Errors wrap ErrInvalid
// and name the node.
func (g *Graph) Infer() error {
	names := make(map[string]bool, len(g.Nodes))
	seen := make(map[*Node]bool, len(g.Nodes))
	for _, n := range g.Nodes {
		if n == nil || n.Op == nil {
			return fmt.Errorf("a node has no operation: %w", ErrInvalid)
		}
		if n.Name == "" {
			return fmt.Errorf("a %s node has no name: %w", n.Kind(), ErrInvalid)
		}
		if names[n.Name] {
			return fmt.Errorf("node %q: name used twice: %w", n.Name, ErrInvalid)
		}
		names[n.Name] = true
		shapes := make([]Shape, len(n.Inputs))
		for i, in := range n.Inputs {
			if !seen[in] {
				return fmt.Errorf("node %q (%s): input %d is not an earlier node of the graph (a cycle, or out of order): %w",
					n.Name, n.Kind(), i, ErrInvalid)
			}
			shapes[i] = in.Shape
		}
		for _, role := range slices.Sorted(maps.Keys(n.Params)) {
			t := n.Params[role]
			if t == nil {
				return fmt.Errorf("node %q (%s): parameter %q is nil: %w", n.Name, n.Kind(), role, ErrInvalid)
			}
			if count, err := tensor.Numel(t.Shape); err != nil || count != len(t.Data) {
				return fmt.Errorf("node %q (%s): parameter %q has %d values for shape %v: %w",
					n.Name, n.Kind(), role, len(t.Data), t.Shape, ErrInvalid)
			}
		}
		shape, err := n.Op.InferShape(shapes, n.Params)
		if err == nil {
			err = checkSize(shape)
		}
		if err != nil {
			return fmt.Errorf("node %q (%s): %w: %w", n.Name, n.Kind(), err, ErrInvalid)
		}
		n.Shape = shape
		seen[n] = true
	}
	if len(g.Outputs) == 0 {
		return fmt.Errorf("the graph has no output: %w", ErrInvalid)
	}
	for _, n := range g.Outputs {
		if !seen[n] {
			return fmt.Errorf("an output is not a node of the graph: %w", ErrInvalid)
		}
	}
	if len(g.InputNodes()) == 0 {
		return fmt.Errorf("the graph has no input: %w", ErrInvalid)
	}
	return nil
}

// maxSampleValues bounds one activation of one sample: 2^31 values are 8 GiB.
const maxSampleValues = 1 << 31

func checkSize(s Shape) error {
	if len(s) < 1 || len(s) > maxRank {
		return fmt.Errorf("shape %v has %d axes, want 1 to %d", s, len(s), maxRank)
	}
	n, err := tensor.Numel(s)
	if err != nil {
		return err
	}
	if n < 1 || n > maxSampleValues {
		return fmt.Errorf("shape %v holds %d values, want 1 to %d", s, n, maxSampleValues)
	}
	return nil
}

// Validate is Infer plus a check that all parameters are finite; the error
// names the node, the parameter and the index.
func (g *Graph) Validate() error {
	if err := g.Infer(); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		for _, role := range slices.Sorted(maps.Keys(n.Params)) {
			if i := n.Params[role].FirstNonFinite(); i >= 0 {
				return fmt.Errorf("node %q (%s): %s[%d] is %g: %w",
					n.Name, n.Kind(), role, i, n.Params[role].Data[i], ErrInvalid)
			}
		}
	}
	return nil
}

// Parameters returns the number of trainable parameters (batch-norm statistics
// are not counted).
func (g *Graph) Parameters() int64 {
	var total int64
	for _, n := range g.Nodes {
		for role, t := range n.Params {
			if Trainable(role) {
				total += int64(t.Len())
			}
		}
	}
	return total
}

// Trainable says whether parameters of this role are changed by an optimiser
// ("weight", "bias") or by statistics ("mean", "var").
func Trainable(role string) bool { return role == "weight" || role == "bias" }

// MACs returns the multiply-accumulates of all convolutions, fully connected
// layers and matrix products for one sample, taps on zero padding included, as is usual for ANNs.
func (g *Graph) MACs() int64 {
	var total int64
	for _, n := range g.Nodes {
		total += n.MACs()
	}
	return total
}

// MACs returns the multiply-accumulates of one node for one sample: those of
// convolutions, fully connected layers and matrix products; 0 for others.
func (n *Node) MACs() int64 {
	switch op := n.Op.(type) {
	case *MatMul:
		_, _, k, _, err := op.Dims(n.Inputs[0].Shape, n.Inputs[1].Shape)
		if err != nil {
			return 0
		}
		return int64(n.Shape.Numel()) * int64(k)
	case *Attention: // scores, then their product with the values
		q, k := n.Inputs[0].Shape, n.Inputs[1].Shape
		keys := int64(k[len(k)-2])
		return keys * int64(q.Numel()+n.Shape.Numel())
	}
	w := n.Weight()
	if w == nil {
		return 0
	}
	switch n.Op.(type) {
	case *Conv2D:
		return int64(n.Shape.Positions()) * int64(w.Len())
	case *ConvTranspose2D:
		return int64(n.Inputs[0].Shape.Positions()) * int64(w.Len())
	case *Linear, *ConvND:
		return int64(n.Shape.Positions()) * int64(w.Len())
	case *ConvTransposeND:
		return int64(n.Inputs[0].Shape.Positions()) * int64(w.Len())
	}
	return 0
}
