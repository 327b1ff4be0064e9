package nir

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/hdf5"
)

// Limits of a file: graphs within graphs, and nodes in all.
const (
	maxDepth = 16
	maxNodes = 1 << 20
)

// Read reads the file at path and checks the types of its graph: every edge
// joins equal shapes. It refuses, naming the node, what is malformed, and node
// types that NIR does not have. That a node type can be read does not mean that
// it can be run.
func Read(path string) (*File, error) {
	f, err := hdf5.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f)
}

// ReadFrom is Read for a file of size bytes; name is used in messages.
func ReadFrom(r io.ReaderAt, size int64, name string) (*File, error) {
	f, err := hdf5.Open(r, size, name)
	if err != nil {
		return nil, err
	}
	return read(f)
}

func read(f *hdf5.File) (*File, error) {
	version, err := text(f.Root(), "version")
	if errors.Is(err, hdf5.ErrNotFound) {
		return nil, fileerr.New(f.Path(), -1, "no data set \"version\": not a NIR file")
	}
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(version, "0.") && !strings.HasPrefix(version, "1.") {
		return nil, fmt.Errorf("%s: NIR version %q, want 0.x or 1.x: %w", f.Path(), version, fileerr.ErrUnsupported)
	}
	top, err := f.Root().Group("node")
	if errors.Is(err, hdf5.ErrNotFound) {
		return nil, fileerr.New(f.Path(), -1, "no group \"node\"")
	}
	if err != nil {
		return nil, err
	}
	r := &reader{path: f.Path()}
	kind, err := text(top, "type")
	if err == nil && kind != "NIRGraph" {
		err = fileerr.New(f.Path(), -1, "the top node has type %q, want NIRGraph", kind)
	}
	if err != nil {
		return nil, err
	}
	g, err := r.graph(top, 0)
	if err != nil {
		return nil, err
	}
	if err := g.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path(), err)
	}
	return &File{Path: f.Path(), Version: version, Graph: g}, nil
}

type reader struct {
	path  string
	nodes int
}

func (r *reader) bad(format string, args ...any) error {
	return fileerr.New(r.path, -1, format, args...)
}

func text(g *hdf5.Group, name string) (string, error) {
	d, err := g.Dataset(name)
	if err != nil {
		return "", err
	}
	return d.ReadString()
}

// graph reads the group of a NIRGraph.
func (r *reader) graph(group *hdf5.Group, depth int) (*Graph, error) {
	if depth > maxDepth {
		return nil, r.bad("%s: more than %d graphs within each other", group.Path(), maxDepth)
	}
	for _, name := range group.Names() {
		switch name {
		case "type", "nodes", "edges", "metadata":
		case "input_type", "output_type": // written by some versions
		default:
			return nil, r.bad("%s: a graph has no field %q", group.Path(), name)
		}
	}
	g := &Graph{Nodes: make(map[string]*Node)}
	nodes, err := group.Group("nodes")
	if err != nil {
		return nil, err
	}
	for _, name := range nodes.Names() {
		if r.nodes++; r.nodes > maxNodes {
			return nil, r.bad("more than %d nodes", maxNodes)
		}
		sub, err := nodes.Group(name)
		if err != nil {
			return nil, err
		}
		if g.Nodes[name], err = r.node(sub, name, depth); err != nil {
			return nil, err
		}
	}
	edges, err := group.Dataset("edges")
	if err != nil {
		return nil, err
	}
	names, err := edges.Strings()
	if err != nil {
		return nil, err
	}
	if s := edges.Shape(); len(names) > 0 && (len(s) != 2 || s[1] != 2) {
		return nil, r.bad("%s: shape %v, want [n 2]", edges.Path(), s)
	}
	for i := 0; i+1 < len(names); i += 2 {
		g.Edges = append(g.Edges, [2]string{names[i], names[i+1]})
	}
	g.Metadata, err = r.metadata(group, depth)
	return g, err
}

// node reads one node and checks its fields one by one.
func (r *reader) node(group *hdf5.Group, name string, depth int) (*Node, error) {
	kind, err := text(group, "type")
	if errors.Is(err, hdf5.ErrNotFound) {
		return nil, r.bad("node %q has no type", name)
	}
	if err != nil {
		return nil, err
	}
	list, known := fields[kind]
	if !known {
		return nil, r.bad("node %q: unknown type %q; want one of %s", name, kind, strings.Join(Types(), ", "))
	}
	n := &Node{Name: name, Type: kind, Arrays: make(map[string]*Array), Ints: make(map[string][]int), scalar: make(map[string]bool)}
	if kind == "NIRGraph" {
		n.Sub, err = r.graph(group, depth+1)
		return n, err
	}
	for _, member := range group.Names() {
		if member != "type" && member != "metadata" && !slices.ContainsFunc(list, func(f field) bool { return f.name == member }) {
			return nil, r.bad("node %q (%s): unknown field %q; extensions belong in metadata", name, kind, member)
		}
	}
	for _, f := range list {
		if !group.Has(f.name) {
			if f.kind&optional != 0 {
				continue
			}
			return nil, r.bad("node %q (%s): field %q is missing", name, kind, f.name)
		}
		d, err := group.Dataset(f.name)
		if err != nil {
			return nil, err
		}
		if err := r.field(n, f, d); err != nil {
			return nil, err
		}
	}
	if n.Metadata, err = r.metadata(group, depth); err != nil {
		return nil, err
	}
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", r.path, err)
	}
	return n, nil
}

func (r *reader) field(n *Node, f field, d *hdf5.Dataset) error {
	switch c := d.Type().Class; f.kind &^ optional {
	case floats:
		v, err := d.ReadFloat32()
		if err != nil {
			return err
		}
		n.Arrays[f.name] = &Array{Shape: d.Shape(), Data: v}
		return nil
	case pads:
		if c == hdf5.String || c == hdf5.VarString {
			var err error
			n.Padding, err = d.ReadString()
			if err == nil && n.Padding != "same" && n.Padding != "valid" {
				err = r.bad("node %q (%s): padding %q, want numbers, \"same\" or \"valid\"", n.Name, n.Type, n.Padding)
			}
			return err
		}
	}
	shape := d.Shape()
	if len(shape) > 1 || d.Len() > 32 {
		return r.bad("node %q (%s): %s has shape %v, want one number or a list", n.Name, n.Type, f.name, shape)
	}
	v, err := d.ReadInt64()
	if err != nil {
		return err
	}
	out := make([]int, len(v))
	for i, x := range v {
		if x < -1 || x > 1<<31 {
			return r.bad("node %q (%s): %s is %d", n.Name, n.Type, f.name, x)
		}
		out[i] = int(x)
	}
	n.Ints[f.name], n.scalar[f.name] = out, len(shape) == 0
	return nil
}

// metadata reads the group "metadata", if there is one. What it cannot hold is
// left out: it is free information.
func (r *reader) metadata(group *hdf5.Group, depth int) (Metadata, error) {
	if is, err := group.IsGroup("metadata"); err != nil || !is {
		if errors.Is(err, hdf5.ErrNotFound) {
			err = nil
		}
		return nil, err
	}
	sub, err := group.Group("metadata")
	if err != nil {
		return nil, err
	}
	return r.values(sub, depth)
}

func (r *reader) values(group *hdf5.Group, depth int) (Metadata, error) {
	if depth > maxDepth {
		return nil, r.bad("%s: more than %d groups within each other", group.Path(), maxDepth)
	}
	out := make(Metadata)
	for _, name := range group.Names() {
		if r.nodes++; r.nodes > maxNodes {
			return nil, r.bad("more than %d nodes and values", maxNodes)
		}
		is, err := group.IsGroup(name)
		if err != nil {
			return nil, err
		}
		if is {
			sub, err := group.Group(name)
			if err != nil {
				return nil, err
			}
			if out[name], err = r.values(sub, depth+1); err != nil {
				return nil, err
			}
			continue
		}
		d, err := group.Dataset(name)
		if err != nil {
			return nil, err
		}
		scalar := len(d.Shape()) == 0
		switch d.Type().Class {
		case hdf5.String, hdf5.VarString:
			v, err := d.Strings()
			if err != nil {
				return nil, err
			}
			if out[name] = v; scalar {
				out[name] = v[0]
			}
		case hdf5.Integer:
			v, err := d.ReadInt64()
			if err != nil {
				return nil, err
			}
			if out[name] = v; scalar {
				out[name] = v[0]
			}
		case hdf5.Float:
			if scalar {
				v, err := d.ReadFloat64()
				if err != nil {
					return nil, err
				}
				out[name] = v[0]
				continue
			}
			v, err := d.ReadFloat32()
			if err != nil {
				return nil, err
			}
			out[name] = &Array{Shape: d.Shape(), Data: v}
		}
	}
	return out, nil
}
