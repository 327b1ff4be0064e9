package convert

import (
	"math"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// varied is a network of activations that are split, a max pool of currents, a
// slice of channels, a product of two activations, and a sigmoid at its end.
func varied(t testing.TB) *graph.Graph {
	b := newBuilder(21)
	slopes := &tensor.Tensor{Shape: []int{8}, Data: []float32{0.25, 0.1, -0.2, 0, 0.5, 0.3, 0.2, 0.1}}
	x := b.g.Input("input", graph.Shape{8, 8, 2})
	x = b.g.Add("leaky", &graph.LeakyReLU{Alpha: 0.1}, nil, b.norm("bn1", b.conv("conv1", x, 2, 6, 1), 6))
	x = b.g.Add("pool", &graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, x)
	x = b.g.Add("prelu", &graph.PReLU{}, graph.Params{"weight": slopes}, b.conv("conv2", x, 6, 8, 1))
	y := b.g.Add("same", &graph.MaxPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1)}, nil, b.conv("conv3", x, 8, 8, 1))
	y = b.g.Add("tanh", &graph.Clip{Min: -1, Max: 1}, nil, b.conv("conv4", y, 8, 8, 1))
	x = b.g.Add("sum", &graph.Add{}, nil, x, y)
	x = b.g.Add("band", &graph.Clip{Min: 0.1, Max: 1.5}, nil, b.conv("conv5", x, 8, 6, 1))
	half := func(name string, start int) *graph.Node {
		return b.g.Add(name, &graph.Slice{Start: graph.Ints{0, 0, start}, Size: graph.Ints{4, 4, 3}, Step: graph.Ints{1, 1, 1}}, nil, x)
	}
	x = b.g.Add("product", &graph.Binary{Func: graph.Mul}, nil, half("left", 0), half("right", 3))
	x = b.g.Add("limited", &graph.Clip{Min: 0, Max: 2}, nil, b.conv("conv6", x, 3, 8, 1))
	x = b.g.Add("max", &graph.Reduce{Func: graph.ReduceMax, Axes: graph.Ints{0, 1}}, nil, x)
	return b.finish(t, b.g.Add("gate", &graph.Unary{Func: graph.Sigmoid}, nil, b.linear("fc", x, 8, 4)))
}

// TestSplitNetworkFollowsTheANN: the prepared network gives the ANN's outputs, and
// the spiking one comes near with timesteps and spikes.
func TestSplitNetworkFollowsTheANN(t *testing.T) {
	g := varied(t)
	calibration, test := samples(3, 100, imageShape), samples(4, 50, imageShape)
	want := forward(t, g, test)
	for i, v := range forward(t, mustPrepare(t, g), test) {
		if math.Abs(float64(v-want[i])) > 1e-5 {
			t.Fatalf("prepared: output %d is %g, want %g", i, v, want[i])
		}
	}
	deviation := func(timesteps, maxSpike int, change func(cfg *Config)) (rms float64) {
		cfg := Default()
		cfg.Timesteps, cfg.MaxSpike = timesteps, maxSpike
		if change != nil {
			change(&cfg)
		}
		net, err := mustConvert(t, g, calibration, cfg, 1).Network()
		if err != nil {
			t.Fatal(err)
		}
		res, err := net.Run(t.Context(), nil, test, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range res.Logits.Data {
			rms += math.Pow(float64(v-want[i]), 2)
		}
		return math.Sqrt(rms / float64(len(want)))
	}
	coarse, middle, fine := deviation(1, 2, nil), deviation(4, 2, nil), deviation(32, 4, nil)
	t.Logf("deviation %.4f with 2 levels, %.4f with 8, %.4f with 128", coarse, middle, fine)
	if !(fine < middle && middle < coarse && fine < 0.01) {
		t.Errorf("deviation %g with 2 levels, %g with 8, %g with 128: must fall, below 0.01", coarse, middle, fine)
	}
	for name, change := range map[string]func(cfg *Config){
		"signed":     func(cfg *Config) { cfg.Signed = true },
		"accumulate": func(cfg *Config) { cfg.Schedule = snn.ScheduleAccumulate },
		"int8":       func(cfg *Config) { cfg.Weights = snn.I8 },
		"potential":  func(cfg *Config) { cfg.Calibration = CalibrationPotential },
	} {
		if d := deviation(8, 4, change); !(d < 0.05) {
			t.Errorf("%s: deviation %g", name, d)
		} else {
			t.Logf("%s: deviation %.4f", name, d)
		}
	}
}

// TestSplitNetworkThroughAllStages: searches, compression and calibration of
// weights know nothing of split activations; any number of workers gives the same.
func TestSplitNetworkThroughAllStages(t *testing.T) {
	x := samples(3, 40, imageShape)
	g := mustPrepare(t, varied(t))
	cfg := Default()
	cfg.Timesteps, cfg.MaxSpike = 3, 2
	var first []float32
	for _, workers := range []int{1, 3} {
		pool := parallel.New(workers)
		defer pool.Close()
		search := DefaultSearch()
		search.InitialSpike = 4
		found, err := SearchLimits(t.Context(), pool, g, x, cfg, search)
		if err != nil {
			t.Fatal(err)
		}
		res, err := Calibrate(t.Context(), pool, g, found.Neurons, x, cfg)
		if err != nil {
			t.Fatal(err)
		}
		compress := DefaultCompress()
		compress.Ratio = 1.2
		less, err := Compress(t.Context(), pool, g, res, x, cfg, compress)
		if err != nil {
			t.Fatal(err)
		}
		repaired, _, err := Repair(t.Context(), pool, g, less.Result.Graph, less.Result.SNN, x, DefaultRepair())
		if err != nil {
			t.Fatal(err)
		}
		net, err := snn.New(repaired, less.Result.SNN)
		if err != nil {
			t.Fatal(err)
		}
		out, err := net.Run(t.Context(), pool, x, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = out.Logits.Data
			continue
		}
		for i, v := range out.Logits.Data {
			if v != first[i] {
				t.Fatalf("output %d is %g with %d workers, %g with one", i, v, workers, first[i])
			}
		}
	}
}

// TestClipCap: neurons for a clip never exceed its limit.
func TestClipCap(t *testing.T) {
	b := newBuilder(3)
	x := b.g.Input("input", graph.Shape{4, 4, 1})
	x = b.g.Add("clip", &graph.Clip{Min: -0.5, Max: 2}, nil, b.conv("conv", x, 1, 4, 1))
	g := mustPrepare(t, b.finish(t, b.conv("out", x, 4, 1, 1)))
	in := samples(8, 50, graph.Shape{4, 4, 1})
	for i := range in.Data {
		in.Data[i] *= 100 // everything saturates
	}
	cfg := Default()
	cfg.MaxSpike, cfg.Threshold, cfg.RangeByBurst = 4, "max", false
	n, err := Thresholds(t.Context(), nil, g, in, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Config.Layers) != 2 {
		t.Fatalf("%d layers of neurons, want 2", len(n.Config.Layers))
	}
	for l, want := range []float32{0.5, 0.125} {
		for ch, theta := range n.Config.Layers[l].Threshold {
			if theta != want {
				t.Errorf("layer %d, channel %d: threshold %g, want %g", l, ch, theta, want)
			}
		}
	}
}
