package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

func Example() {
	g := graph.New()
	x := g.Input("input", graph.Shape{2})
	x = g.Add("fc", &graph.Linear{}, graph.Params{"weight": tensor.New(2, 3)}, x)
	g.Outputs = []*graph.Node{x}

	dir, err := os.MkdirTemp("", "checkpoint")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ann.safetensors")
	m := &checkpoint.Model{
		Kind:       checkpoint.KindANN,
		Graph:      g,
		Provenance: checkpoint.Provenance{Classes: []string{"cat", "dog", "owl"}},
	}
	if err := checkpoint.SaveModel(path, m, false); err != nil {
		fmt.Println(err)
		return
	}
	m, err = checkpoint.LoadModel(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Kind, m.Graph.Node("fc").Weight().Shape, m.Provenance.Classes)
	// Output: ann [2 3] [cat dog owl]
}
