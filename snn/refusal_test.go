package snn

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// refused is a network of one layer of neurons, to be spoilt.
func refused() (*grower, *graph.Node, *Config) {
	b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(1, 1))}
	in := b.g.Input("input", graph.Shape{4, 4, 2})
	in.Shape = graph.Shape{4, 4, 2}
	x := b.add(&graph.ReLU{}, nil, b.conv(in, 1, 3, 1, 1, true))
	x.Name = "relu"
	b.g.Outputs = []*graph.Node{x}
	return b, x, &Config{Timesteps: 4, Shift: ShiftInitial, MaxPool: MaxPoolExact, Layers: []Layer{{Node: "relu", Threshold: []float32{1}, MaxSpike: 2}}}
}

func TestConfigRefusals(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name, fail string
		spoil      func(c *Config)
	}{
		{"timesteps 0", "timesteps 0: want 1 to 1024", func(c *Config) { c.Timesteps = 0 }},
		{"timesteps 1025", "timesteps 1025", func(c *Config) { c.Timesteps = 1025 }},
		{"shift", `shift "late"`, func(c *Config) { c.Shift = "late" }},
		{"no shift", `shift ""`, func(c *Config) { c.Shift = "" }},
		{"max pool", `max pool rule "fast"`, func(c *Config) { c.MaxPool = "fast" }},
		{"no layers", "0 layers of neurons for 1 activations", func(c *Config) { c.Layers = nil }},
		{"too many layers", "2 layers of neurons for 1 activations", func(c *Config) { c.Layers = append(c.Layers, c.Layers[0]) }},
		{"another node", `node "relu" (relu): its layer of neurons is for node "conv"`, func(c *Config) { c.Layers[0].Node = "conv" }},
		{"maxspike 0", `node "relu" (relu): maxspike 0: want 1 to 255`, func(c *Config) { c.Layers[0].MaxSpike = 0 }},
		{"maxspike 256", `node "relu" (relu): maxspike 256`, func(c *Config) { c.Layers[0].MaxSpike = 256 }},
		{"no threshold", `node "relu" (relu): 0 thresholds for 3 channels`, func(c *Config) { c.Layers[0].Threshold = nil }},
		{"two thresholds", "2 thresholds for 3 channels", func(c *Config) { c.Layers[0].Threshold = []float32{1, 1} }},
		{"threshold 0", `node "relu" (relu): threshold[1] is 0`, func(c *Config) { c.Layers[0].Threshold = []float32{1, 0, 1} }},
		{"threshold negative", "threshold[2] is -1", func(c *Config) { c.Layers[0].Threshold = []float32{1, 1, -1} }},
		{"threshold NaN", "threshold[0] is NaN", func(c *Config) { c.Layers[0].Threshold = []float32{nan} }},
		{"threshold infinite", "threshold[0] is +Inf", func(c *Config) { c.Layers[0].Threshold = []float32{inf} }},
		{"potentials", `node "relu" (relu): 3 initial potentials for 48 neurons`, func(c *Config) { c.Layers[0].Initial = make([]float32, 3) }},
		{"potential NaN", "initial potential 7 is NaN", func(c *Config) {
			c.Layers[0].Initial = make([]float32, 48)
			c.Layers[0].Initial[7] = nan
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _, cfg := refused()
			if _, err := New(b.g, cfg); err != nil {
				t.Fatal(err)
			}
			c.spoil(cfg)
			if _, err := New(b.g, cfg); err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got error %v, want one with %q", err, c.fail)
			}
		})
	}
}

func TestGraphRefusals(t *testing.T) {
	for _, c := range []struct {
		name, fail string
		spoil      func(b *grower, x *graph.Node) *graph.Node // returns the output
	}{
		{"leaky relu", "has no neurons of its own", func(b *grower, x *graph.Node) *graph.Node { return b.add(&graph.LeakyReLU{Alpha: 0.1}, nil, x) }},
		{"softmax inside", "only after the last neurons", func(b *grower, x *graph.Node) *graph.Node {
			return b.add(&graph.ReLU{}, nil, b.add(&graph.Softmax{}, nil, x))
		}},
		{"sigmoid inside", "only after the last neurons", func(b *grower, x *graph.Node) *graph.Node {
			return b.add(&graph.ReLU{}, nil, b.add(&graph.Unary{Func: graph.Sigmoid}, nil, x))
		}},
		{"gelu inside", "only after the last neurons", func(b *grower, x *graph.Node) *graph.Node {
			return b.add(&graph.ReLU{}, nil, b.add(&graph.GELU{}, nil, x))
		}},
		{"quotient inside", "only after the last neurons", func(b *grower, x *graph.Node) *graph.Node {
			return b.add(&graph.ReLU{}, nil, b.add(&graph.Binary{Func: graph.Div}, nil, x, x))
		}},
		{"log softmax inside", "only after the last neurons", func(b *grower, x *graph.Node) *graph.Node {
			return b.add(&graph.ReLU{}, nil, b.add(&graph.LogSoftmax{}, nil, x))
		}},
		{"transposed of another grid", "output_pad [2 0] exceeds pad", func(b *grower, x *graph.Node) *graph.Node {
			op := &graph.ConvTranspose2D{Stride: [2]int{1, 1}, Dilation: [2]int{3, 3}, OutputPad: [2]int{2, 0}, Groups: 1}
			return b.add(op, graph.Params{"weight": b.tensor(1, 2, 2, 3, 1)}, x)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, x, cfg := refused()
			b.g.Outputs[0] = c.spoil(b, x)
			for _, n := range Activations(b.g)[1:] {
				cfg.Layers = append(cfg.Layers, Layer{Node: n.Name, Threshold: []float32{1}, MaxSpike: 1})
			}
			_, err := New(b.g, cfg)
			if err == nil || !strings.Contains(err.Error(), c.fail) || !strings.Contains(err.Error(), "node \"") {
				t.Errorf("got error %v, want one that names the node and says %q", err, c.fail)
			}
		})
	}
	b, _, cfg := refused()
	second := b.g.Input("second", graph.Shape{3})
	second.Shape = graph.Shape{3}
	if _, err := New(b.g, cfg); err == nil || !strings.Contains(err.Error(), "2 inputs and 1 outputs") {
		t.Errorf("two inputs: got error %v", err)
	}
	b, x, cfg := refused()
	b.g.Outputs = append(b.g.Outputs, x.Inputs[0])
	if _, err := New(b.g, cfg); err == nil || !strings.Contains(err.Error(), "1 inputs and 2 outputs") {
		t.Errorf("two outputs: got error %v", err)
	}
	b, x, cfg = refused()
	b.g.Outputs[0] = x.Inputs[0]
	if _, err := New(b.g, cfg); err == nil || !strings.Contains(err.Error(), "no spiking layer lies between") {
		t.Errorf("neurons beside the way to the output: got error %v", err)
	}
	b, x, cfg = refused()
	b.g.Outputs[0], b.g.Nodes, cfg.Layers = x.Inputs[0], b.g.Nodes[:2], nil
	if _, err := New(b.g, cfg); err == nil || !strings.Contains(err.Error(), "no activation") {
		t.Errorf("no neurons: got error %v", err)
	}
	b, x, cfg = refused()
	x.Inputs[0].Params["weight"].Data[1] = float32(math.NaN())
	if _, err := New(b.g, cfg); !errors.Is(err, graph.ErrInvalid) || !strings.Contains(err.Error(), "weight[1] is NaN") {
		t.Errorf("NaN weight: got error %v", err)
	}
}

func TestInputRefusals(t *testing.T) {
	b, _, cfg := refused()
	net := mustNew(t, b.g, cfg)
	for _, shape := range [][]int{{}, {1}, {1, 4, 4}, {1, 4, 4, 3}, {4, 4, 2}, {1, 2, 4, 4}} {
		if _, err := net.Run(t.Context(), nil, tensor.New(shape...), Options{}); !errors.Is(err, tensor.ErrShape) || !strings.Contains(err.Error(), "want [N 4x4x2]") {
			t.Errorf("shape %v: got error %v", shape, err)
		}
		err := net.Sweep(t.Context(), nil, tensor.New(shape...), func(Measured) (*Correction, error) { return nil, nil })
		if !errors.Is(err, tensor.ErrShape) {
			t.Errorf("sweep of shape %v: got error %v", shape, err)
		}
	}
	for _, x := range []*tensor.Tensor{nil, {Shape: []int{2, 4, 4, 2}, Data: make([]float32, 63)}, {Shape: []int{-1, 4, 4, 2}}} {
		if _, err := net.Run(t.Context(), nil, x, Options{}); !errors.Is(err, tensor.ErrShape) {
			t.Errorf("%v: got error %v", x, err)
		}
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		x := tensor.New(3, 4, 4, 2)
		x.Data[2*32+5] = bad
		if _, err := net.Run(t.Context(), nil, x, Options{}); !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "input of sample 2") {
			t.Errorf("%g in sample 2: got error %v", bad, err)
		}
	}
}

// TestOverflowIsReported: finite weights and inputs whose products are not.
// Layers of every schedule name the node, the sample and the channel.
func TestOverflowIsReported(t *testing.T) {
	for _, c := range []struct {
		name  string
		side  int
		build func(b *grower, x *graph.Node) (bad, out *graph.Node) // bad overflows on large spike counts
	}{
		{"analog current", 4, func(b *grower, x *graph.Node) (bad, out *graph.Node) {
			in := b.g.Nodes[0]
			y := b.conv(in, 1, 3, 1, 1, false)
			return y, b.add(&graph.ReLU{}, nil, b.add(&graph.Add{}, nil, y, x))
		}},
		{"small image", 4, func(b *grower, x *graph.Node) (bad, out *graph.Node) {
			y := b.conv(x, 1, 3, 1, 1, false)
			return y, b.add(&graph.ReLU{}, nil, y)
		}},
		{"rows", 12, func(b *grower, x *graph.Node) (bad, out *graph.Node) {
			y := b.conv(x, 1, 3, 1, 1, false)
			return y, b.add(&graph.ReLU{}, nil, y)
		}},
		{"readout", 4, func(b *grower, x *graph.Node) (bad, out *graph.Node) {
			y := b.conv(x, 1, 3, 1, 1, false)
			return y, y
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(1, 1))}
			in := b.g.Input("input", graph.Shape{c.side, c.side, 3})
			in.Shape = graph.Shape{c.side, c.side, 3}
			first := b.conv(in, 1, 3, 1, 1, false)
			w := first.Weight().Data
			clear(w)
			w[0], w[4], w[8] = 1, 1, 1
			x := b.add(&graph.ReLU{}, nil, first)
			bad, out := c.build(b, x)
			clear(bad.Weight().Data)
			bad.Weight().Data[1*3+2] = 3e38 // channel 1 drives channel 2
			b.g.Outputs = []*graph.Node{out}
			cfg := &Config{Timesteps: 4, Shift: ShiftInitial, MaxPool: MaxPoolExact}
			for _, n := range Activations(b.g) {
				cfg.Layers = append(cfg.Layers, Layer{Node: n.Name, Threshold: []float32{1}, MaxSpike: 255})
			}
			samples := tensor.New(3, c.side, c.side, 3)
			for i := 1; i < len(samples.Data); i += 3 {
				samples.Data[i] = 0.25 // one spike in four steps: not yet too much
			}
			net := mustNew(t, b.g, cfg)
			if c.name != "analog current" { // there the product of every step adds up
				mustRun(t, net, nil, samples, Options{})
			}
			samples.Data[1*c.side*c.side*3+5*3+1] = 100 // sample 1, position 5
			for _, workers := range []int{1, 3} {
				pool := parallel.New(workers)
				defer pool.Close()
				_, err := net.Run(t.Context(), pool, samples, Options{})
				if !errors.Is(err, ErrNotFinite) {
					t.Fatalf("got error %v, want ErrNotFinite", err)
				}
				for _, part := range []string{`node "` + out.Name + `"`, "sample 1", "channel 2"} {
					if c.name == "analog current" && part == "sample 1" {
						continue // every sample overflows
					}
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q does not say %s", err, part)
					}
				}
			}
			if c.name != "readout" {
				if err := net.Sweep(t.Context(), nil, samples, func(Measured) (*Correction, error) { return nil, nil }); !errors.Is(err, ErrNotFinite) {
					t.Errorf("sweep: got error %v", err)
				}
			}
		})
	}
}
