package nir

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/adafire/adafire/internal/hdf5"
)

// version is the version of the format that files are written in.
const version = "1.0.8"

// Write writes the graph to a file at path, which must not exist unless force is
// set. Equal graphs give equal bytes.
func (g *Graph) Write(path string, force bool) error {
	t, err := g.tree()
	if err != nil {
		return err
	}
	return t.WriteFile(path, force)
}

// WriteTo is Write for an open file.
func (g *Graph) WriteTo(w io.Writer) (int64, error) {
	t, err := g.tree()
	if err != nil {
		return 0, err
	}
	return t.WriteTo(w)
}

func (g *Graph) tree() (*hdf5.Tree, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	t := hdf5.NewTree()
	t.Strings("version", nil, []string{version})
	return t, g.put(t.Group("node"))
}

func (g *Graph) put(t *hdf5.Tree) error {
	t.Strings("type", nil, []string{"NIRGraph"})
	edges := slices.Clone(g.Edges)
	slices.SortFunc(edges, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	var flat []string
	for _, e := range edges {
		flat = append(flat, e[0], e[1])
	}
	t.Strings("edges", []int{len(edges), 2}, flat)
	nodes := t.Group("nodes")
	for _, name := range g.Names() {
		n := g.Nodes[name]
		to := nodes.Group(name)
		if n.Type == "NIRGraph" {
			if err := n.Sub.put(to); err != nil {
				return err
			}
			continue
		}
		to.Strings("type", nil, []string{n.Type})
		for _, field := range slices.Sorted(maps.Keys(n.Arrays)) {
			a := n.Arrays[field]
			to.Float32(field, a.Shape, a.Data)
		}
		if n.Padding != "" {
			to.Strings("padding", nil, []string{n.Padding})
		}
		for _, field := range slices.Sorted(maps.Keys(n.Ints)) {
			putInts(to, field, n.Ints[field], n.scalar[field] || field == "groups" || n.Type == "Conv1d" || n.Type == "Flatten" && field != "input_type")
		}
		if err := n.Metadata.put(to); err != nil {
			return fmt.Errorf("node %q (%s): %w", name, n.Type, err)
		}
	}
	return g.Metadata.put(t)
}

func putInts(t *hdf5.Tree, name string, v []int, scalar bool) {
	wide := make([]int64, len(v))
	for i, x := range v {
		wide[i] = int64(x)
	}
	if scalar {
		t.Int64(name, nil, wide[:1])
		return
	}
	t.Int64(name, []int{len(v)}, wide)
}

func (m Metadata) put(t *hdf5.Tree) error {
	if len(m) == 0 {
		return nil
	}
	return m.values(t.Group("metadata"))
}

func (m Metadata) values(t *hdf5.Tree) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		switch v := m[name].(type) {
		case string:
			t.Strings(name, nil, []string{v})
		case []string:
			t.Strings(name, []int{len(v)}, v)
		case int:
			t.Int64(name, nil, []int64{int64(v)})
		case int64:
			t.Int64(name, nil, []int64{v})
		case []int64:
			t.Int64(name, []int{len(v)}, v)
		case float64:
			t.Float64(name, nil, []float64{v})
		case *Array:
			t.Float32(name, v.Shape, v.Data)
		case Metadata:
			if err := v.values(t.Group(name)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("metadata %q: a %T cannot be written", name, v)
		}
	}
	return nil
}
