package nir_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/nir"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A network goes to a file and comes back with the same bits; Check says what
// SpikingJelly will do differently with it.
func Example() {
	g := graph.New()
	x := g.Input("input", graph.Shape{2})
	x = g.Add("fc", &graph.Linear{}, graph.Params{"weight": {Shape: []int{2, 2}, Data: []float32{1, 0, 0, 1}}}, x)
	x = g.Add("relu", &graph.ReLU{}, nil, x)
	x = g.Add("head", &graph.Linear{}, graph.Params{"weight": {Shape: []int{2, 1}, Data: []float32{1, -1}}}, x)
	g.Outputs = []*graph.Node{x}
	if err := g.Infer(); err != nil {
		log.Fatal(err)
	}
	net := &nir.Network{Graph: g, SNN: &snn.Config{Timesteps: 4, Shift: snn.ShiftPerStep, MaxPool: snn.MaxPoolExact,
		Layers: []snn.Layer{{Node: "relu", Threshold: []float32{0.5}, MaxSpike: 4}}}}

	dir, err := os.MkdirTemp("", "nir")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "net.nir")
	if _, err := nir.Export(path, net, nir.Options{}); err != nil {
		log.Fatal(err)
	}
	file, err := nir.Read(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("nodes:", file.Graph.Names())
	findings, err := nir.Check(file.Graph, "spikingjelly")
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.Level == nir.Differs {
			fmt.Println(f)
		}
	}
	input := &tensor.Tensor{Shape: []int{2, 2}, Data: []float32{1, 0.5, 1, 0.5}} // two steps
	for _, mode := range []nir.Mode{nir.Burst, nir.HardAt} {
		y, err := nir.Simulate(file.Graph, input, mode)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(mode, y.Data)
	}
	back, err := nir.Import(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("restored:", back.Restored, back.SNN.Layers[0].Threshold)
	// Output:
	// nodes: [fc head input output relu]
	// differs: node "relu" (IF): bursts of up to 4 spikes become one spike per step; convert with maxspike 1 for this target
	// differs: node "relu" (IF): resets to v_reset instead of subtracting: what exceeds the threshold is lost
	// burst [0.5 0.5]
	// hard-at [0 0]
	// restored: true [0.5]
}
