package onnx

import (
	"fmt"
	"slices"
)

// A functionKey is what a node names a model-local function by.
type functionKey struct{ domain, name, overload string }

func canonicalDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

// maxCalls bounds the calls of functions. Exporters that write functions write
// one per module.
const maxCalls = 1 << 17

// An inliner replaces calls of model-local functions by their bodies.
type inliner struct {
	file      *File
	functions map[functionKey]*Function
	active    map[functionKey]bool // the functions whose bodies we are in
	calls     int
	nodes     int
}

// inline gives every node of the graph its opset version and replaces calls of
// functions. Values inside the body of call k of function f are renamed "f#k/".
func inline(f *File) error {
	in := &inliner{file: f, functions: make(map[functionKey]*Function), active: make(map[functionKey]bool)}
	for _, fn := range f.Functions {
		key := functionKey{canonicalDomain(fn.Domain), fn.Name, fn.Overload}
		if in.functions[key] != nil {
			return formatErrorf(f.Path, -1, "function %q (domain %q) is defined twice", fn.Name, fn.Domain)
		}
		in.functions[key] = fn
	}
	opsets, err := opsetTable(f.Path, f.Opsets)
	if err != nil {
		return err
	}
	f.Graph.Nodes, err = in.expand(f.Graph.Nodes, opsets)
	return err
}

func opsetTable(path string, list []Opset) (map[string]int64, error) {
	table := make(map[string]int64, len(list))
	for _, o := range list {
		d := canonicalDomain(o.Domain)
		if v, twice := table[d]; twice && v != o.Version {
			return nil, formatErrorf(path, -1, "opset_import: domain %q twice, with versions %d and %d", o.Domain, v, o.Version)
		}
		table[d] = o.Version
	}
	return table, nil
}

func (in *inliner) expand(nodes []*NodeDef, opsets map[string]int64) ([]*NodeDef, error) {
	var out []*NodeDef
	for _, n := range nodes {
		n.Domain = canonicalDomain(n.Domain)
		key := functionKey{n.Domain, n.Op, n.Overload}
		fn := in.functions[key]
		if fn == nil {
			if in.nodes++; in.nodes > maxNodes {
				return nil, formatErrorf(in.file.Path, n.Offset, "more than %d nodes after inlining functions", maxNodes)
			}
			n.opset = opsets[n.Domain]
			if _, known := opsets[n.Domain]; !known && n.Domain == "" {
				return nil, formatErrorf(in.file.Path, n.Offset, "%s: no opset_import for the domain of this operator", n)
			}
			for _, a := range n.Attributes {
				for _, g := range a.subgraphs() {
					var err error
					if g.Nodes, err = in.expand(g.Nodes, opsets); err != nil {
						return nil, err
					}
				}
			}
			out = append(out, n)
			continue
		}
		if in.active[key] {
			return nil, formatErrorf(in.file.Path, n.Offset, "%s: function %q calls itself", n, fn.Name)
		}
		body, err := in.call(n, fn)
		if err != nil {
			return nil, err
		}
		inner, err := opsetTable(in.file.Path, fn.Opsets)
		if err != nil {
			return nil, err
		}
		in.active[key] = true
		body, err = in.expand(body, inner)
		delete(in.active, key)
		if err != nil {
			return nil, err
		}
		out = append(out, body...)
	}
	return out, nil
}

func (a *Attribute) subgraphs() []*GraphDef {
	if a.G != nil {
		return append(slices.Clone(a.Graphs), a.G)
	}
	return a.Graphs
}

// call returns a copy of the function's body for one call.
func (in *inliner) call(n *NodeDef, fn *Function) ([]*NodeDef, error) {
	if len(n.Inputs) > len(fn.Inputs) || len(n.Outputs) > len(fn.Outputs) {
		return nil, formatErrorf(in.file.Path, n.Offset, "%s: %d inputs and %d outputs, function %q has %d and %d",
			n, len(n.Inputs), len(n.Outputs), fn.Name, len(fn.Inputs), len(fn.Outputs))
	}
	// Bodies without end can come from few bytes: functions that call the next
	// one twice.
	in.calls++
	if in.nodes += len(fn.Nodes); in.calls > maxCalls || in.nodes > maxNodes {
		return nil, formatErrorf(in.file.Path, n.Offset, "more than %d calls or %d nodes after inlining functions", maxCalls, maxNodes)
	}
	prefix := fmt.Sprintf("%s#%d/", fn.Name, in.calls)
	names := make(map[string]string)
	for i, name := range fn.Inputs {
		names[name] = ""
		if i < len(n.Inputs) {
			names[name] = n.Inputs[i]
		}
	}
	for i, name := range fn.Outputs {
		if i < len(n.Outputs) && n.Outputs[i] != "" {
			if _, isInput := names[name]; isInput {
				return nil, formatErrorf(in.file.Path, n.Offset, "%s: function %q returns its input %q", n, fn.Name, name)
			}
			names[name] = n.Outputs[i]
		}
	}
	attrs := make(map[string]*Attribute)
	for _, a := range fn.Defaults {
		attrs[a.Name] = a
	}
	for _, a := range n.Attributes {
		if attrs[a.Name] == nil && !slices.Contains(fn.Attributes, a.Name) {
			return nil, formatErrorf(in.file.Path, n.Offset, "%s: function %q has no attribute %q", n, fn.Name, a.Name)
		}
		attrs[a.Name] = a
	}
	c := copier{rename: func(s string) string {
		if to, ok := names[s]; ok || s == "" {
			return to
		}
		return prefix + s
	}, attrs: attrs}
	return c.nodes(fn.Nodes), nil
}

// A copier copies nodes under other names.
type copier struct {
	rename func(string) string
	attrs  map[string]*Attribute
}

func (c copier) nodes(list []*NodeDef) []*NodeDef {
	out := make([]*NodeDef, len(list))
	for i, n := range list {
		m := *n
		m.Inputs, m.Outputs, m.Attributes = c.names(n.Inputs), c.names(n.Outputs), nil
		for _, a := range n.Attributes {
			b := *a
			if a.Ref != "" {
				to := c.attrs[a.Ref]
				if to == nil { // an attribute that the call leaves out
					continue
				}
				b = *to
				b.Name = a.Name
			}
			if b.G != nil {
				b.G = c.graph(b.G)
			}
			if b.Graphs != nil {
				b.Graphs = slices.Clone(b.Graphs)
				for k, g := range b.Graphs {
					b.Graphs[k] = c.graph(g)
				}
			}
			m.Attributes = append(m.Attributes, &b)
		}
		out[i] = &m
	}
	return out
}

func (c copier) names(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = c.rename(s)
	}
	return out
}

func (c copier) graph(g *GraphDef) *GraphDef {
	h := &GraphDef{Name: g.Name, Nodes: c.nodes(g.Nodes), Sparse: g.Sparse}
	for _, t := range g.Initializers {
		u := *t
		u.Name = c.rename(t.Name)
		h.Initializers = append(h.Initializers, &u)
	}
	for _, v := range g.Inputs {
		w := *v
		w.Name = c.rename(v.Name)
		h.Inputs = append(h.Inputs, &w)
	}
	for _, v := range g.Outputs {
		w := *v
		w.Name = c.rename(v.Name)
		h.Outputs = append(h.Outputs, &w)
	}
	return h
}
