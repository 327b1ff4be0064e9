package nir

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/tensor"
)

// maxAttr bounds strides, kernels, paddings and dilations.
const maxAttr = 1 << 20

// check checks the fields of one node (nir.md 2 and 7): finite numbers, ranks,
// lengths that belong together, thresholds > 0.
func (n *Node) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("node %q (%s): %s", n.Name, n.Type, fmt.Sprintf(format, args...))
	}
	for _, f := range fields[n.Type] {
		a := n.Arrays[f.name]
		if a == nil {
			continue
		}
		for i, v := range a.Data {
			if v-v != 0 {
				return fail("%s[%d] is %g", f.name, i, v)
			}
		}
	}
	for _, f := range []string{"v_threshold", "threshold"} {
		if a := n.Arrays[f]; a != nil && f == "v_threshold" {
			if i := slices.IndexFunc(a.Data, func(v float32) bool { return v <= 0 }); i >= 0 {
				return fail("%s[%d] is %g, want a positive number", f, i, a.Data[i])
			}
		}
	}
	if elementwise(n.Type) {
		first := fields[n.Type][0].name
		for _, f := range fields[n.Type] {
			if a := n.Arrays[f.name]; a != nil && !slices.Equal(a.Shape, n.shape()) {
				return fail("%s has shape %v, %s %v", f.name, a.Shape, first, n.shape())
			}
		}
		return nil
	}
	positive := func(name string, lowest int) error {
		for _, v := range n.Ints[name] {
			if v < lowest || v > maxAttr {
				return fail("%s %v: want %d to %d", name, n.Ints[name], lowest, maxAttr)
			}
		}
		return nil
	}
	axes := 0 // of the attributes
	switch n.Type {
	case "Input", "Output":
		s := n.Ints["shape"]
		if k, err := tensor.Numel(s); err != nil || k < 1 || k > math.MaxInt32 || len(s) > 4 {
			return fail("shape %v", s)
		}
		return nil
	case "Affine", "Linear":
		w := n.Arrays["weight"].Shape
		if len(w) != 2 || w[0] < 1 || w[1] < 1 {
			return fail("weight has shape %v, want [outputs inputs]", w)
		}
	case "Conv1d":
		axes = 1
	case "Conv2d", "SumPool2d", "AvgPool2d":
		axes = 2
	case "Flatten":
		for _, name := range []string{"start_dim", "end_dim"} {
			if len(n.Ints[name]) != 1 {
				return fail("%s %v: want one number", name, n.Ints[name])
			}
		}
		return nil
	}
	for name, v := range n.Ints {
		if name == "groups" {
			if len(v) != 1 {
				return fail("groups %v: want one number", v)
			}
			continue
		}
		if len(v) == 1 && axes == 2 {
			n.Ints[name] = []int{v[0], v[0]}
		} else if len(v) != axes {
			return fail("%s %v: want %d numbers", name, v, axes)
		}
	}
	for name, lowest := range map[string]int{"stride": 1, "dilation": 1, "kernel_size": 1, "groups": 1, "input_shape": 1, "padding": 0} {
		if err := positive(name, lowest); err != nil {
			return err
		}
	}
	if w := n.Arrays["weight"]; w != nil && axes > 0 {
		groups := n.Ints["groups"][0]
		if len(w.Shape) != 2+axes || slices.Min(w.Shape) < 1 || w.Shape[0]%groups != 0 {
			return fail("weight has shape %v for %d groups, want [outputs inputs/groups] and %d kernel sizes", w.Shape, groups, axes)
		}
		if n.Padding == "same" && slices.Max(n.Ints["stride"]) != 1 {
			return fail("padding \"same\" with stride %v", n.Ints["stride"])
		}
		for i, size := range n.Ints["input_shape"] {
			if _, err := windowOut(size, w.Shape[2+i], n.Ints["stride"][i], n.padAt(i), n.Ints["dilation"][i]); err != nil {
				return fail("axis %d: %v", i, err)
			}
		}
	}
	if b := n.Arrays["bias"]; b != nil {
		if w := n.Arrays["weight"].Shape; len(b.Shape) != 1 || b.Shape[0] != w[0] {
			return fail("bias has shape %v for weight %v, want [%d]", b.Shape, w, w[0])
		}
	}
	return nil
}

// padAt returns the padding in front of and behind axis i of a convolution or
// pool.
func (n *Node) padAt(i int) [2]int {
	switch n.Padding {
	case "valid":
		return [2]int{}
	case "same": // as PyTorch: the odd one comes behind
		total := n.Ints["dilation"][i] * (n.Arrays["weight"].Shape[2+i] - 1)
		return [2]int{total / 2, total - total/2}
	}
	p := n.Ints["padding"][i]
	return [2]int{p, p}
}

func windowOut(size, kernel, stride int, pad [2]int, dilation int) (int, error) {
	room := size + pad[0] + pad[1] - dilation*(kernel-1) - 1
	if room < 0 {
		return 0, fmt.Errorf("a window of %d does not fit into %d+%d", dilation*(kernel-1)+1, size, pad[0]+pad[1])
	}
	return room/stride + 1, nil
}

// inShape returns the input's shape, nil if it depends on what is before.
func (n *Node) inShape() []int {
	switch {
	case elementwise(n.Type):
		return n.shape()
	case n.Type == "Output":
		return n.Ints["shape"]
	case n.Type == "Affine" || n.Type == "Linear":
		return n.Arrays["weight"].Shape[1:]
	case n.Type == "Conv1d" || n.Type == "Conv2d":
		return append([]int{n.Arrays["weight"].Shape[1] * n.Ints["groups"][0]}, n.Ints["input_shape"]...)
	case n.Type == "Flatten":
		return n.Ints["input_type"]
	case n.Type == "NIRGraph":
		return n.Sub.port("Input")
	}
	return nil
}

// port returns the shape of the only node of a type in a sub-graph, else nil.
func (g *Graph) port(kind string) []int {
	var shape []int
	for _, n := range g.Nodes {
		if n.Type == kind {
			if shape != nil {
				return nil
			}
			shape = n.Ints["shape"]
		}
	}
	return shape
}

// outShape returns the shape of the output for an input of shape in.
func (n *Node) outShape(in []int) ([]int, error) {
	switch n.Type {
	case "Input":
		return n.Ints["shape"], nil
	case "Affine", "Linear":
		return n.Arrays["weight"].Shape[:1], nil
	case "Conv1d", "Conv2d":
		out := []int{n.Arrays["weight"].Shape[0]}
		for i, size := range n.Ints["input_shape"] {
			k, err := windowOut(size, n.Arrays["weight"].Shape[2+i], n.Ints["stride"][i], n.padAt(i), n.Ints["dilation"][i])
			if err != nil {
				return nil, err
			}
			out = append(out, k)
		}
		return out, nil
	case "SumPool2d", "AvgPool2d":
		if len(in) != 3 {
			return nil, fmt.Errorf("input of shape %v, want [channels height width]", in)
		}
		out := []int{in[0]}
		for i, size := range in[1:] {
			k, err := windowOut(size, n.Ints["kernel_size"][i], n.Ints["stride"][i], n.padAt(i), 1)
			if err != nil {
				return nil, err
			}
			out = append(out, k)
		}
		return out, nil
	case "Flatten":
		start, end := n.Ints["start_dim"][0], n.Ints["end_dim"][0]
		if end < 0 {
			end += len(in)
		}
		if start < 0 || end < start || end >= len(in) {
			return nil, fmt.Errorf("axes %d to %d of shape %v", n.Ints["start_dim"][0], n.Ints["end_dim"][0], in)
		}
		middle := 1
		for _, d := range in[start : end+1] {
			middle *= d
		}
		return slices.Concat(in[:start], []int{middle}, in[end+1:]), nil
	case "NIRGraph":
		return n.Sub.port("Output"), nil
	}
	return in, nil
}

// check checks edges and types of the graph and its sub-graphs: every edge
// joins nodes that are there, once, and of equal shapes.
func (g *Graph) check() error {
	_, err := g.shapes(nil)
	return err
}

// shapes checks the graph and returns every node's output shape. into, if not
// nil, gets the input shapes.
func (g *Graph) shapes(into map[string][]int) (map[string][]int, error) {
	if g.count("Input") == 0 || g.count("Output") == 0 {
		return nil, fmt.Errorf("%d inputs and %d outputs in the graph, want one or more of each", g.count("Input"), g.count("Output"))
	}
	seen := make(map[[2]string]bool, len(g.Edges))
	next := make(map[string][]string)
	fed := make(map[string]bool)
	for _, e := range g.Edges {
		for _, name := range e {
			if g.Nodes[name] == nil {
				return nil, fmt.Errorf("edge %q to %q: there is no node %q", e[0], e[1], name)
			}
		}
		if seen[e] {
			return nil, fmt.Errorf("edge %q to %q is there twice", e[0], e[1])
		}
		if seen[e] = true; g.Nodes[e[0]].Type == "Output" || g.Nodes[e[1]].Type == "Input" {
			return nil, fmt.Errorf("edge %q (%s) to %q (%s)", e[0], g.Nodes[e[0]].Type, e[1], g.Nodes[e[1]].Type)
		}
		next[e[0]] = append(next[e[0]], e[1])
		fed[e[1]] = true
	}
	out := make(map[string][]int, len(g.Nodes))
	in := into
	if in == nil {
		in = make(map[string][]int, len(g.Nodes))
	}
	var queue []string
	for _, name := range g.Names() {
		n := g.Nodes[name]
		if n.Type == "NIRGraph" {
			if n.Sub.count("Input") != 1 || n.Sub.count("Output") != 1 {
				return nil, refusal(name, n.Type, "a sub-graph with %d inputs and %d outputs, want one of each", n.Sub.count("Input"), n.Sub.count("Output"))
			}
			if err := n.Sub.check(); err != nil {
				return nil, fmt.Errorf("graph %q: %w", name, err)
			}
		}
		if n.Type != "Input" && !fed[name] {
			return nil, fmt.Errorf("node %q (%s): no edge leads to it", name, n.Type)
		}
		in[name] = n.inShape()
		if in[name] != nil || n.Type == "Input" {
			s, err := n.outShape(in[name])
			if err != nil {
				return nil, fmt.Errorf("node %q (%s): %w", name, n.Type, err)
			}
			out[name] = s
			queue = append(queue, name)
		}
	}
	for len(queue) > 0 { // pools take the shape that comes to them
		from := queue[0]
		queue = queue[1:]
		for _, to := range next[from] {
			if in[to] != nil {
				continue
			}
			in[to] = out[from]
			s, err := g.Nodes[to].outShape(in[to])
			if err != nil {
				return nil, fmt.Errorf("node %q (%s): %w", to, g.Nodes[to].Type, err)
			}
			out[to] = s
			queue = append(queue, to)
		}
	}
	for _, e := range g.Edges {
		if a, b := out[e[0]], in[e[1]]; a == nil || !slices.Equal(a, b) {
			return nil, fmt.Errorf("edge %q (%s) to %q (%s): output of shape %v into an input of %v",
				e[0], g.Nodes[e[0]].Type, e[1], g.Nodes[e[1]].Type, a, b)
		}
	}
	return out, nil
}

func (g *Graph) count(kind string) int {
	k := 0
	for _, n := range g.Nodes {
		if n.Type == kind {
			k++
		}
	}
	return k
}

// Inline returns the graph with the nodes of sub-graphs in place of them, named
// GRAPH_NODE. The nodes are shared with g.
func (g *Graph) Inline() (*Graph, error) {
	out := &Graph{Nodes: make(map[string]*Node), Metadata: g.Metadata}
	// ends are the nodes that an edge to or from a name joins.
	sources, targets := make(map[string][]string), make(map[string][]string)
	for _, name := range g.Names() {
		n := g.Nodes[name]
		if n.Type != "NIRGraph" {
			if out.Nodes[name] != nil {
				return nil, refusal(name, n.Type, "name taken by a node of a sub-graph")
			}
			out.Nodes[name] = n
			sources[name], targets[name] = []string{name}, []string{name}
			continue
		}
		sub, err := n.Sub.Inline()
		if err != nil {
			return nil, err
		}
		inner := func(s string) string { return name + "_" + s }
		for _, k := range sub.Names() {
			if t := sub.Nodes[k].Type; t == "Input" || t == "Output" {
				continue
			}
			c := *sub.Nodes[k]
			c.Name = inner(k)
			if out.Nodes[c.Name] != nil || g.Nodes[c.Name] != nil {
				return nil, refusal(c.Name, c.Type, "name taken outside of its sub-graph")
			}
			out.Nodes[c.Name] = &c
		}
		for _, e := range sub.Edges {
			from, to := sub.Nodes[e[0]].Type == "Input", sub.Nodes[e[1]].Type == "Output"
			switch {
			case from && to:
				return nil, refusal(name, n.Type, "an edge from the input of a sub-graph to its output")
			case from:
				targets[name] = append(targets[name], inner(e[1]))
			case to:
				sources[name] = append(sources[name], inner(e[0]))
			default:
				out.Edges = append(out.Edges, [2]string{inner(e[0]), inner(e[1])})
			}
		}
	}
	for _, e := range g.Edges {
		for _, from := range sources[e[0]] {
			for _, to := range targets[e[1]] {
				out.Edges = append(out.Edges, [2]string{from, to})
			}
		}
	}
	return out, nil
}
