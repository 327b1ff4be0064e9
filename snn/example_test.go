package snn_test

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A network of one hidden layer. What its neurons cannot express in one
// timestep they express over eight: the mean output comes closer to the ANN's.
func Example() {
	g := graph.New()
	x := g.Input("input", graph.Shape{2})
	x = g.Add("hidden", &graph.Linear{}, graph.Params{"weight": {Shape: []int{2, 2}, Data: []float32{1, 0.5, -0.5, 1}}}, x)
	x = g.Add("relu", &graph.ReLU{}, nil, x)
	x = g.Add("out", &graph.Linear{}, graph.Params{"weight": {Shape: []int{2, 1}, Data: []float32{1, 1}}}, x)
	g.Outputs = []*graph.Node{x}

	input := &tensor.Tensor{Shape: []int{1, 2}, Data: []float32{0.875, 0.25}}
	fmt.Println("ANN: 1.4375")
	for _, timesteps := range []int{1, 8} {
		net, err := snn.New(g, &snn.Config{Timesteps: timesteps, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact,
			Layers: []snn.Layer{{Node: "relu", Threshold: []float32{0.5}, MaxSpike: 2}}})
		if err != nil {
			fmt.Println(err)
			return
		}
		res, err := net.Run(context.Background(), nil, input, snn.Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("T=%d: %g, %d spikes, %d synaptic operations\n", timesteps, res.Logits.Data[0], res.Layers[0].Spikes[0], res.Layers[0].SOPs[0])
	}
	// Output:
	// ANN: 1.4375
	// T=1: 1.5, 3 spikes, 3 synaptic operations
	// T=8: 1.4375, 23 spikes, 23 synaptic operations
}
