package checkpoint

import (
	"path/filepath"
	"testing"

	"github.com/adafire/adafire/graph"
)

// large is one fully connected layer of 4 M parameters, 16 MiB.
func large() *Model {
	g := graph.New()
	x := g.Input("input", graph.Shape{2048})
	x = g.Add("fc", &graph.Linear{}, graph.Params{"weight": ramp(2048, 2048)}, x)
	g.Outputs = []*graph.Node{x}
	return &Model{Kind: KindANN, Graph: g}
}

func BenchmarkSaveModel(b *testing.B) {
	m, path := large(), filepath.Join(b.TempDir(), "m.safetensors")
	b.SetBytes(4 * 2048 * 2048)
	b.ReportAllocs()
	for b.Loop() {
		if err := SaveModel(path, m, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadModel(b *testing.B) {
	path := filepath.Join(b.TempDir(), "m.safetensors")
	if err := SaveModel(path, large(), false); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4 * 2048 * 2048)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LoadModel(path); err != nil {
			b.Fatal(err)
		}
	}
}
