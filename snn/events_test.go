package snn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// wide is a residual network with channels enough for convolutions of events:
// large maps and small ones, a stride, a shortcut, a fully connected layer.
func wide(r *rand.Rand) *graph.Graph {
	weights := func(shape ...int) *tensor.Tensor {
		w := tensor.New(shape...)
		fan := w.Len() / shape[len(shape)-1]
		for i := range w.Data {
			w.Data[i] = float32(r.NormFloat64() / math.Sqrt(float64(fan)) * 1.5)
		}
		return w
	}
	g := graph.New()
	conv := func(name string, x *graph.Node, cin, cout, stride int) *graph.Node {
		return g.Add(name, &graph.Conv2D{Stride: [2]int{stride, stride}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1},
			graph.Params{"weight": weights(3, 3, cin, cout), "bias": weights(cout)}, x)
	}
	relu := func(name string, x *graph.Node) *graph.Node { return g.Add(name, &graph.ReLU{}, nil, x) }
	x := relu("relu0", conv("conv0", g.Input("input", graph.Shape{26, 24, 3}), 3, 64, 1))
	y := conv("conv2", relu("relu1", conv("conv1", x, 64, 64, 1)), 64, 64, 1)
	x = relu("relu2", g.Add("add", &graph.Add{}, nil, y, x))
	x = relu("relu3", conv("conv3", x, 64, 128, 2))
	x = relu("relu4", conv("conv4", x, 128, 64, 4))
	x = g.Add("flatten", &graph.Flatten{}, nil, x)
	x = relu("relu5", g.Add("fc1", &graph.Linear{}, graph.Params{"weight": weights(4*3*64, 64)}, x))
	g.Outputs = []*graph.Node{g.Add("fc2", &graph.Linear{}, graph.Params{"weight": weights(64, 5)}, x)}
	return g
}

// Convolutions of events must give the spikes of dense ones, bit for bit.
func TestEventsEqualDense(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	g := wide(r)
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Timesteps: 5, Shift: ShiftInitial, MaxPool: MaxPoolExact}
	for i, n := range Activations(g) {
		cfg.Layers = append(cfg.Layers, Layer{Node: n.Name, Threshold: []float32{0.3 + 0.1*float32(i)}, MaxSpike: 1 + i%4})
	}
	x := tensor.New(5, 26, 24, 3)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	events, err := New(g, cfg)
	if err != nil {
		t.Fatal(err)
	}
	dense, err := New(g, cfg)
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for _, f := range dense.plan.fires {
		if f.conv != nil && f.conv.events != nil {
			used++
			src, err := BiasNode(f.node)
			if err != nil {
				t.Fatal(err)
			}
			f.conv = newConv(src, dense.plan.wires[f.in].scale, dense.plan.wires[f.out].scale, forValues)
		}
	}
	if used != 5 {
		t.Errorf("%d layers of events, want 5", used)
	}
	want, err := dense.Run(t.Context(), nil, x, Options{Trace: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range want.Layers {
		if l.Events[0] == 0 {
			t.Fatalf("layer %d is silent: the test compares nothing", i)
		}
	}
	for _, workers := range []int{1, 3, 8} {
		pool := parallel.New(workers)
		got, err := events.Run(t.Context(), pool, x, Options{Trace: true})
		pool.Close()
		if err != nil {
			t.Fatal(err)
		}
		for l := range want.StepCounts {
			for i, v := range want.StepCounts[l].Data {
				if got.StepCounts[l].Data[i] != v {
					t.Fatalf("%d workers, layer %d: count %d is %g, want %g", workers, l, i, got.StepCounts[l].Data[i], v)
				}
			}
			if got.Layers[l].Spikes[2] != want.Layers[l].Spikes[2] || got.Layers[l].SOPs[2] != want.Layers[l].SOPs[2] {
				t.Errorf("%d workers, layer %d: counts differ", workers, l)
			}
		}
		for i, v := range want.Logits.Data {
			if math.Float32bits(got.Logits.Data[i]) != math.Float32bits(v) {
				t.Fatalf("%d workers: output %d is %g, want %g", workers, i, got.Logits.Data[i], v)
			}
		}
	}
}
