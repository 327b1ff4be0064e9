package nir

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// restore rebuilds the network that Build made g from, bit for bit.
func restore(g *Graph, i *info) (*Network, error) {
	if i.Profile != Portable && i.Profile != Exact {
		return nil, fmt.Errorf("profile %q", i.Profile)
	}
	// A length in the file is a claim: parameters come from what the graph holds,
	// so the structure may not ask for more than that.
	budget := 0
	for _, n := range g.Nodes {
		for _, a := range n.Arrays {
			budget += len(a.Data)
		}
	}
	stored, err := i.tensors(g)
	if err != nil {
		return nil, err
	}
	for name, v := range stored {
		if a, ok := v.(*Array); ok && !strings.HasPrefix(name, "snn.") {
			budget += len(a.Data)
		}
	}
	structure, err := i.structure(budget, stored)
	if err != nil {
		return nil, err
	}
	// Neurons have arrays in the file; other nodes lie between them.
	values := 1 << 16
	for _, n := range structure.Nodes {
		if values += n.Shape.Numel(); values > 64*budget+1<<20 {
			return nil, fmt.Errorf("node %q has %v values: more than the file's nodes", n.Name, n.Shape)
		}
	}
	tensors := make(map[string]*tensor.Tensor)
	for name, v := range stored {
		if a, ok := v.(*Array); ok && strings.HasPrefix(name, "snn.") {
			tensors[name] = &tensor.Tensor{Shape: a.Shape, Data: a.Data}
		}
	}
	cfg, err := snn.Decode(i.Neurons, tensors)
	if err != nil {
		return nil, err
	}
	net := &Network{Graph: structure, SNN: cfg}
	// Checks the settings against the graph. Zeros stand in for the weights.
	if _, err := snn.New(structure, cfg); err != nil {
		return nil, err
	}
	l, err := lower(net, Options{Profile: i.Profile, DT: i.DT, Flatten: i.Flatten, KeepGroups: i.KeepGroups, StartInput: i.StartInput}, budget)
	if err != nil {
		return nil, err
	}
	arrays, err := matching(l.out, g)
	if err != nil {
		return nil, err
	}
	for _, p := range l.places {
		name := graph.ParamName(p.node.Name, p.role)
		param := p.node.Params[p.role]
		packed, _ := stored["difference "+name].([]int64)
		d, err := unpack(packed, len(param.Data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p.visit(func(element int, to *Array, at int, factor float64) {
			k := ordered(p.guess(element, arrays[to].Data[at], factor)) + d[element]
			param.Data[element] = fromOrdered(k)
		})
	}
	return net, structure.Validate()
}

// tensors returns the tensors beside the graph by their names.
func (i *info) tensors(g *Graph) (map[string]any, error) {
	group, _ := g.Metadata["adafire_tensors"].(Metadata)
	if len(group) != len(i.Tensors) {
		return nil, fmt.Errorf("%d names for %d tensors", len(i.Tensors), len(group))
	}
	out := make(map[string]any, len(group))
	for k, name := range i.Tensors {
		v := group[fmt.Sprintf("t%d", k)]
		if _, twice := out[name]; v == nil || twice {
			return nil, fmt.Errorf("tensor %q is missing or there twice", name)
		}
		out[name] = v
	}
	return out, nil
}

// structure reads the graph. Parameters that are stored beside it are read; the
// others are zeros of the shapes that are claimed, of which all together have no
// more elements than budget.
func (i *info) structure(budget int, stored map[string]any) (*graph.Graph, error) {
	return graph.ParseJSON(i.Structure, func(name string) (*tensor.Tensor, error) {
		if a, ok := stored[name].(*Array); ok {
			return &tensor.Tensor{Shape: slices.Clone(a.Shape), Data: slices.Clone(a.Data)}, nil
		}
		shape := i.Shapes[name]
		n, err := tensor.Numel(shape)
		if err != nil || len(shape) == 0 || n > budget {
			return nil, fmt.Errorf("shape %v of %q: more elements than the file holds", shape, name)
		}
		budget -= n
		return tensor.New(shape...), nil
	})
}

// matching pairs the arrays of two graphs of one structure.
func matching(a, b *Graph) (map[*Array]*Array, error) {
	if !slices.Equal(a.Names(), b.Names()) {
		return nil, fmt.Errorf("the graph has nodes %v, want %v", b.Names(), a.Names())
	}
	sorted := func(e [][2]string) [][2]string {
		e = slices.Clone(e)
		slices.SortFunc(e, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
		return e
	}
	if !slices.Equal(sorted(a.Edges), sorted(b.Edges)) {
		return nil, fmt.Errorf("the graph has other edges than its description")
	}
	out := make(map[*Array]*Array)
	for name, n := range a.Nodes {
		m := b.Nodes[name]
		if m.Type != n.Type || !maps.EqualFunc(n.Ints, m.Ints, slices.Equal[[]int]) {
			return nil, fmt.Errorf("node %q (%s) differs from its description", name, m.Type)
		}
		for field, x := range n.Arrays {
			y := m.Arrays[field]
			if y == nil || !slices.Equal(x.Shape, y.Shape) {
				return nil, fmt.Errorf("node %q (%s): %s differs in shape from its description", name, m.Type, field)
			}
			out[x] = y
		}
	}
	return out, nil
}
