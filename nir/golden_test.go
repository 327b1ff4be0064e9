package nir

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/tensor"
)

type manifest struct {
	Load []struct {
		File     string      `json:"file"`
		Graph    goldenGraph `json:"graph"`
		Simulate *struct {
			Input   string `json:"input"`
			Outputs map[Mode]struct {
				File  string  `json:"file"`
				Total float64 `json:"total"`
			} `json:"outputs"`
		} `json:"simulate"`
	} `json:"load"`
	Refuse []struct {
		File string `json:"file"`
		Why  string `json:"why"`
	} `json:"refuse"`
}

type goldenGraph struct {
	Nodes    map[string]goldenNode      `json:"nodes"`
	Edges    [][2]string                `json:"edges"`
	Metadata map[string]json.RawMessage `json:"metadata"`
}

type goldenNode struct {
	Type     string                     `json:"type"`
	Fields   map[string]json.RawMessage `json:"fields"`
	Metadata map[string]json.RawMessage `json:"metadata"`
	goldenGraph
}

func loadManifest(t testing.TB) (string, *manifest) {
	t.Helper()
	dir := filepath.Join(golden.Dir(t), "nir")
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		if os.Getenv(golden.Env) != "" {
			t.Skip(err) // another folder may lack the vectors, ours may not
		}
		t.Fatal(err)
	}
	m := &manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

func loadArray(t testing.TB, path string) *tensor.Tensor {
	t.Helper()
	a, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x, err := a.Float32()
	if err != nil {
		t.Fatal(err)
	}
	return &tensor.Tensor{Shape: a.Shape, Data: x}
}

func TestGoldenNIR(t *testing.T) {
	dir, m := loadManifest(t)
	for _, c := range m.Load {
		t.Run(c.File, func(t *testing.T) {
			f, err := Read(filepath.Join(dir, c.File))
			if err != nil {
				t.Fatal(err)
			}
			compareGraph(t, dir, f.Graph, &c.Graph)
			compareGraph(t, dir, pass(t, f.Graph).Graph, &c.Graph)
			if c.Simulate == nil {
				return
			}
			x := loadArray(t, filepath.Join(dir, c.Simulate.Input))
			for mode, want := range c.Simulate.Outputs {
				got, err := Simulate(f.Graph, x, mode)
				if err != nil {
					t.Fatal(err)
				}
				y := loadArray(t, filepath.Join(dir, want.File))
				if !slices.Equal(got.Data, y.Data) || !slices.Equal(got.Shape, y.Shape) {
					t.Errorf("mode %s: got %v, want %v", mode, got.Data, y.Data)
				}
				if sum := total(got.Data); sum != want.Total {
					t.Errorf("mode %s: %g spikes, want %g", mode, sum, want.Total)
				}
			}
		})
	}
	for _, c := range m.Refuse {
		t.Run(c.File, func(t *testing.T) {
			if f, err := Read(filepath.Join(dir, c.File)); err == nil {
				t.Errorf("%s: read as %v", c.Why, f.Graph.Names())
			} else {
				t.Log(err)
			}
		})
	}
}

// TestGoldenImport imports files of one network in both profiles: equal weights
// and neurons.
func TestGoldenImport(t *testing.T) {
	dir, m := loadManifest(t)
	files := make(map[string]bool)
	for _, c := range m.Load {
		files[c.File] = true
	}
	pairs := 0
	for file := range files {
		exact := strings.TrimSuffix(file, ".nir") + "_exact.nir"
		if !files[exact] {
			continue
		}
		pairs++
		t.Run(file, func(t *testing.T) {
			a, err := Import(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			b, err := Import(filepath.Join(dir, exact))
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Graph.Nodes) != len(b.Graph.Nodes) || len(a.SNN.Layers) != len(b.SNN.Layers) || len(a.SNN.Layers) == 0 {
				t.Fatalf("%d and %d nodes, %d and %d layers", len(a.Graph.Nodes), len(b.Graph.Nodes), len(a.SNN.Layers), len(b.SNN.Layers))
			}
			for i, n := range a.Graph.Nodes {
				for role, p := range n.Params {
					if q := b.Graph.Nodes[i].Params[role]; q == nil || !slices.Equal(p.Data, q.Data) {
						t.Errorf("node %q: %s differs", n.Name, role)
					}
				}
			}
			for i, l := range a.SNN.Layers {
				if o := b.SNN.Layers[i]; l.MaxSpike != o.MaxSpike || l.MaxSpike < 2 || !slices.Equal(l.Threshold, o.Threshold) {
					t.Errorf("layer %d: %+v and %+v", i, l, o)
				}
			}
		})
	}
	if pairs == 0 && os.Getenv(golden.Env) == "" {
		t.Error("no network in both profiles")
	}
}

func total(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v)
	}
	return sum
}

func compareGraph(t *testing.T, dir string, g *Graph, want *goldenGraph) {
	t.Helper()
	if len(g.Nodes) != len(want.Nodes) {
		t.Errorf("nodes %v, want %d", g.Names(), len(want.Nodes))
	}
	for name, w := range want.Nodes {
		n := g.Nodes[name]
		if n == nil || n.Type != w.Type {
			t.Errorf("node %q is %v, want a %s", name, n, w.Type)
			continue
		}
		if n.Sub != nil {
			compareGraph(t, dir, n.Sub, &w.goldenGraph)
			continue
		}
		if got := len(n.Arrays) + len(n.Ints); got != len(w.Fields) && n.Padding == "" {
			t.Errorf("node %q has %d fields, want %d", name, got, len(w.Fields))
		}
		for field, raw := range w.Fields {
			compareField(t, dir, n, field, raw)
		}
		compareMetadata(t, n.Metadata, w.Metadata)
	}
	sorted := func(e [][2]string) [][2]string {
		e = slices.Clone(e)
		slices.SortFunc(e, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
		return e
	}
	if !slices.Equal(sorted(g.Edges), sorted(want.Edges)) {
		t.Errorf("edges %v, want %v", g.Edges, want.Edges)
	}
	compareMetadata(t, g.Metadata, want.Metadata)
}

func compareField(t *testing.T, dir string, n *Node, field string, raw json.RawMessage) {
	t.Helper()
	var a struct {
		Shape  []int  `json:"shape"`
		File   string `json:"file"`
		Values []int  `json:"values"`
	}
	var number int
	switch {
	case json.Unmarshal(raw, &number) == nil:
		if got := n.Ints[field]; len(got) != 1 || got[0] != number {
			t.Errorf("node %q: %s is %v, want %d", n.Name, field, got, number)
		}
	case raw[0] == '"':
		if want := string(raw[1 : len(raw)-1]); n.Padding != want {
			t.Errorf("node %q: %s is %q, want %q", n.Name, field, n.Padding, want)
		}
	case json.Unmarshal(raw, &a) != nil:
		t.Fatalf("field %s: %s", field, raw)
	case a.File == "":
		if !slices.Equal(n.Ints[field], a.Values) {
			t.Errorf("node %q: %s is %v, want %v", n.Name, field, n.Ints[field], a.Values)
		}
	default:
		got, want := n.Arrays[field], loadArray(t, filepath.Join(dir, a.File))
		if got == nil || !slices.Equal(got.Shape, a.Shape) || !slices.Equal(got.Data, want.Data) {
			t.Errorf("node %q: %s is %v, want %v", n.Name, field, got, want)
		}
	}
}

func compareMetadata(t *testing.T, got Metadata, want map[string]json.RawMessage) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("metadata %v, want %s", got, want)
	}
	for k, raw := range want {
		var w any
		if err := json.Unmarshal(raw, &w); err != nil {
			t.Fatal(err)
		}
		g := got[k]
		if x, ok := number(g); ok {
			g = x
		}
		if f, ok := w.(float64); ok {
			if x, ok := g.(float64); !ok || math.Abs(x-f) > 1e-12 {
				t.Errorf("metadata %s is %v, want %v", k, g, w)
			}
			continue
		}
		if g != w {
			t.Errorf("metadata %s is %v, want %v", k, g, w)
		}
	}
}
