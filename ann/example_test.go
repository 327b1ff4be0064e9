package ann_test

import (
	"context"
	"fmt"
	"iter"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// perceptron returns x -> fc1 -> relu -> fc2 with small fixed weights.
func perceptron() *graph.Graph {
	weight := func(in, out int) *tensor.Tensor {
		w := tensor.New(in, out)
		for i := range w.Data {
			w.Data[i] = float32((i*7)%5-2) / 4
		}
		return w
	}
	g := graph.New()
	x := g.Input("x", graph.Shape{2})
	x = g.Add("fc1", &graph.Linear{}, graph.Params{"weight": weight(2, 8), "bias": tensor.New(8)}, x)
	x = g.Add("relu", &graph.ReLU{}, nil, x)
	x = g.Add("fc2", &graph.Linear{}, graph.Params{"weight": weight(8, 2), "bias": tensor.New(2)}, x)
	g.Outputs = []*graph.Node{x}
	return g
}

// xor is a data set of one batch: the exclusive or.
type xor struct{}

func (xor) Len() int { return 1 }

func (xor) Epoch(context.Context, int, int) iter.Seq2[ann.Batch, error] {
	x, _ := tensor.FromSlice([]float32{-1, -1, -1, 1, 1, -1, 1, 1}, 4, 2)
	return func(yield func(ann.Batch, error) bool) {
		yield(ann.Batch{X: x, Labels: []int{0, 1, 1, 0}}, nil)
	}
}

func ExampleTrain() {
	g := perceptron()
	if err := g.Infer(); err != nil {
		fmt.Println(err)
		return
	}
	pool := parallel.New(0)
	defer pool.Close()
	cfg := ann.DefaultConfig()
	cfg.Epochs, cfg.LR, cfg.WeightDecay = 100, 0.1, 0
	result, err := ann.Train(context.Background(), g, pool, xor{}, xor{}, cfg, ann.Hooks{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("steps:", result.Progress.Step)
	fmt.Println("best accuracy:", result.Progress.Best)
	// Output:
	// steps: 100
	// best accuracy: 1
}

func ExampleExecutor_Observe() {
	g := perceptron()
	ex, err := ann.New(g, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	x, _ := tensor.FromSlice([]float32{1, -1, 0.5, 2}, 2, 2)
	err = ex.Observe(x, []string{"relu"}, func(name string, y *tensor.Tensor) {
		fmt.Println(name, y.Shape, y.Data[:4])
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// relu [2 8] [0 0 1 0]
}
