package convert_test

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// trained stands for a network that came from training or a file.
func trained() *graph.Graph {
	rng := random.New(1, "weights")
	weight := func(shape ...int) graph.Params {
		w := tensor.New(shape...)
		for i := range w.Data {
			w.Data[i] = float32(rng.NormFloat64() / 2)
		}
		return graph.Params{"weight": w}
	}
	g := graph.New()
	x := g.Input("input", graph.Shape{4})
	x = g.Add("relu1", &graph.ReLU{}, nil, g.Add("fc1", &graph.Linear{}, weight(4, 16), x))
	x = g.Add("relu2", &graph.ReLU{}, nil, g.Add("fc2", &graph.Linear{}, weight(16, 16), x))
	g.Outputs = []*graph.Node{g.Add("fc3", &graph.Linear{}, weight(16, 3), x)}
	return g
}

// samples stands for preprocessed data.
func samples(n int) *tensor.Tensor {
	rng := random.New(1, "samples")
	x := tensor.New(n, 4)
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	return x
}

// From a trained network to a spiking one in ten lines.
func Example() {
	ctx := context.Background()
	cfg := convert.Default()
	cfg.Timesteps, cfg.MaxSpike = 8, 4
	res, err := convert.Convert(ctx, nil, trained(), samples(256), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	net, err := res.Network()
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := net.Run(ctx, nil, samples(5), snn.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("logits of", out.Logits.Shape, "from", len(out.Layers), "layers of neurons; dead channels:", len(res.Dead))
	// Output:
	// logits of [5 3] from 2 layers of neurons; dead channels: 0
}

// The settings of the authors' code, with one threshold method of one's own.
func ExampleReference() {
	cfg := convert.Reference()
	cfg.Threshold = "percentile:99.9"
	fmt.Println(cfg.Shift, cfg.Objective, cfg.Batches, cfg.Validate())
	cfg.Threshold = "percentile"
	fmt.Println(cfg.Validate())
	// Output:
	// per-step floor 7 <nil>
	// threshold method "percentile": want mse, max or percentile:P with 0 < P <= 100
}
