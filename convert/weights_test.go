package convert

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// goldenLayer is the layer of a golden case.
func goldenLayer(t *testing.T, c *golden.Case) (snn.MeanInput, *tensor.Tensor, snn.Layer) {
	t.Helper()
	x, target := channelsLast(t, c.Array(t, "input")), channelsLast(t, c.Array(t, "target"))
	w, err := tensor.ConvWeight(c.Array(t, "weight"))
	if err != nil {
		t.Fatal(err)
	}
	pair := func(name string) (p [2]int) {
		copy(p[:], c.Params.Ints(t, name))
		return p
	}
	pad := pair("padding")
	g := graph.New()
	conv := g.Add("conv", &graph.Conv2D{Stride: pair("stride"), Pad: graph.Uniform(pad[0], pad[1]), Dilation: pair("dilation"), Groups: c.Params.Int(t, "groups")},
		graph.Params{"weight": w, "bias": c.Array(t, "bias")}, g.Input("input", graph.Shape(x.Shape[1:])))
	relu := g.Add("relu", &graph.ReLU{}, nil, conv)
	g.Outputs = []*graph.Node{relu}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	in := snn.MeanInput{Driven: snn.Driven{Neurons: relu, Driver: conv}, Input: x}
	return in, target, snn.Layer{Node: "relu", Threshold: c.Array(t, "threshold").Data, MaxSpike: c.Params.Int(t, "maxspike")}
}

func TestGoldenAdvancedWeight(t *testing.T) {
	for _, c := range golden.Cases(t, "advanced_weight") {
		t.Run(c.Name, func(t *testing.T) {
			in, target, l := goldenLayer(t, c)
			steps := c.Params.Int(t, "T")
			gradient := func(m *layerModel, loss, batch, grad string) {
				dw := tensor.New(in.Driver.Weight().Shape...)
				got := m.gradient(kernel.NewFilter(m.shape, m.weight), c.Ints(t, batch), &batchMemory{}, dw.Data)
				c.CompareFloats(t, loss, got)
				oihw, err := tensor.ConvWeightOIHW(dw)
				if err != nil {
					t.Fatal(err)
				}
				c.Compare(t, grad, oihw.Data)
			}
			m := newLayerModel(nil, in, &l, steps, false, target.Data)
			filter := kernel.NewFilter(m.shape, m.weight)
			c.CompareFloats(t, "loss_before", m.objective(filter, m.bias, 0, m.samples))
			gradient(m, "loss_grad_batch", "grad_batch", "grad_weight")
			for burst, suffix := range map[int]string{1: "round_m1", 4: "round_m4"} {
				r := l
				r.MaxSpike = burst
				gradient(newLayerModel(nil, in, &r, steps, true, target.Data), "loss_"+suffix, "grad_batch_"+suffix, "grad_weight_"+suffix)
			}

			o := DefaultWeights()
			o.Iterations, o.Batch, o.LearningRate, o.HoldOut = c.Params.Int(t, "iterations"), c.Params.Int(t, "batch_size"), c.Params.Float(t, "learning_rate"), 0
			trainer := &weightTrainer{opt: &o}
			trainer.begin([]snn.Driven{in.Driven}, 0)
			weight, fit, err := trainer.train(t.Context(), in, m)
			if err != nil {
				t.Fatal(err)
			}
			filter.Set(weight)
			after := m.objective(filter, m.bias, 0, m.samples)
			t.Logf("loss %.4f before, %.4f after, the reference reached %.4f", fit.Before, after, c.Floats(t, "loss_after_reference")[0])
			if bound := c.Floats(t, "loss_after_bound")[0]; !(after <= bound) || after != fit.After {
				t.Errorf("loss %g after training (reported %g), want at most %g", after, fit.After, bound)
			}
		})
	}
}

// quick are settings for tests: small networks have large weights and few
// samples.
func quick() WeightOptions {
	o := DefaultWeights()
	o.Iterations, o.LearningRate, o.Every, o.Batch = 120, 2e-3, 20, 16
	return o
}

// spread is a network with a grouped and a depthwise convolution, a projection
// shortcut, a pool before an activation and fully connected layers.
func spread(t testing.TB) *graph.Graph {
	b := newBuilder(8)
	x := b.relu("r1", b.conv("c1", b.g.Input("input", imageShape), 2, 8, 1))
	grouped := func(name string, x *graph.Node, groups int) *graph.Node {
		return b.g.Add(name, &graph.Conv2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: groups},
			graph.Params{"weight": b.normal(0.4, 3, 3, 8/groups, 8), "bias": b.normal(0.1, 8)}, x)
	}
	y := b.relu("r2", grouped("c2", x, 2))
	y = b.relu("r3", grouped("c3", y, 8))
	y = b.conv("c4", y, 8, 6, 1)
	x = b.relu("r4", b.g.Add("add", &graph.Add{}, nil, y, b.conv("c5", x, 8, 6, 1)))
	x = b.g.Add("avg", &graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, b.conv("c6", x, 6, 6, 1))
	x = b.g.Add("flat", &graph.Flatten{}, nil, b.relu("r5", x))
	x = b.relu("r6", b.linear("fc1", x, 96, 12))
	return b.finish(t, b.linear("fc2", x, 12, 3))
}

// TestCalibrateWeights: no layer gets worse on the held-out samples, most get
// better; nothing but weights of drivers changes; the report is what the new
// network shows.
func TestCalibrateWeights(t *testing.T) {
	for name, build := range map[string]func(testing.TB) *graph.Graph{"residual": small, "spread": spread} {
		t.Run(name, func(t *testing.T) {
			x := samples(21, 192, imageShape)
			g, cfg := coarse(t, build(t), x)
			kept := g.Clone()
			var looks []LayerProgress
			o := quick()
			o.Progress = func(p LayerProgress) { looks = append(looks, p) }
			got, report, err := CalibrateWeights(t.Context(), nil, g, g, cfg, x, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(report) != len(cfg.Layers) {
				t.Fatalf("%d reports for %d layers", len(report), len(cfg.Layers))
			}
			better := 0
			drivers := map[string]bool{}
			for l, f := range report {
				t.Logf("%+v", f)
				if f.Node != cfg.Layers[l].Node {
					t.Errorf("layer %d is reported as %q", l, f.Node)
				}
				if f.Driver == "" {
					if f.Node != "r5" || f.Note == "" {
						t.Errorf("%s was passed by: %q", f.Node, f.Note)
					}
					continue
				}
				if f.After > f.Before || f.Samples != 192 || f.HeldOut != 24 {
					t.Errorf("%s: %+v", f.Node, f)
				}
				if f.Changed != (f.After < f.Before) {
					t.Errorf("%s: changed %v with errors %g and %g", f.Node, f.Changed, f.Before, f.After)
				}
				if f.After < 0.97*f.Before {
					better++
				}
				drivers[f.Driver] = f.Changed
			}
			if better < len(report)/2 {
				t.Errorf("%d of %d layers got better by 3 %%", better, len(report))
			}
			for i, n := range got.Nodes {
				for role, p := range n.Params {
					was := kept.Nodes[i].Params[role]
					if !slices.Equal(g.Nodes[i].Params[role].Data, was.Data) {
						t.Errorf("calibration wrote into %s of %q", role, n.Name)
					}
					if changed := !slices.Equal(p.Data, was.Data); changed != (role == "weight" && drivers[n.Name]) {
						t.Errorf("%s of %q: changed %v", role, n.Name, changed)
					}
				}
			}
			if len(looks) == 0 || looks[0].Layers != len(cfg.Layers) || looks[0].PerSecond <= 0 || looks[0].Left <= 0 || looks[len(looks)-1].Iteration == 0 {
				t.Errorf("progress %+v", looks)
			}
			// Calibrating again starts from where this ended.
			o.Iterations, o.Every, o.Progress = 1, 1, nil
			_, again, err := CalibrateWeights(t.Context(), nil, g, got, cfg, x, o)
			if err != nil {
				t.Fatal(err)
			}
			if d := again[0].Before - report[0].After; max(d, -d) > 1e-9 {
				t.Errorf("the first layer's error is %g, reported was %g", again[0].Before, report[0].After)
			}
		})
	}
}

// TestCalibrateWeightsIsDeterministic: the same bits for any number of workers,
// and after an interruption behind any layer.
func TestCalibrateWeightsIsDeterministic(t *testing.T) {
	x := samples(22, 64, imageShape)
	g, cfg := coarse(t, spread(t), x)
	run := func(workers int, o WeightOptions) (*graph.Graph, []LayerFit, error) {
		pool := parallel.New(workers)
		defer pool.Close()
		return CalibrateWeights(t.Context(), pool, g, g, cfg, x, o)
	}
	o := quick()
	o.Iterations, o.Seed = 30, 5
	var states []*WeightState
	o.Checkpoint = func(s *WeightState) error { states = append(states, s); return nil }
	want, report, err := run(1, o)
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string, got *graph.Graph, fits []LayerFit, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if d := cmp.Diff(report, fits); d != "" {
			t.Errorf("%s: the reports differ:\n%s", what, d)
		}
		for i, n := range want.Nodes {
			if d := cmp.Diff(n.Params, got.Nodes[i].Params); d != "" {
				t.Errorf("%s: parameters of %q differ", what, n.Name)
			}
		}
	}
	if len(states) != len(report) {
		t.Fatalf("%d checkpoints for %d layers", len(states), len(report))
	}
	for _, workers := range []int{1, 3} {
		o.Checkpoint = nil
		got, fits, err := run(workers, o)
		same("again", got, fits, err)
	}
	for i, s := range states {
		if len(s.Layers) != i+1 {
			t.Fatalf("checkpoint %d holds %d layers", i, len(s.Layers))
		}
		if i%2 == 0 {
			o.Resume = s
			got, fits, err := run(2, o)
			same("resumed", got, fits, err)
		}
	}
	o.Resume = nil
	// An error from the checkpoint ends the work; so does the context.
	stop := errors.New("stop")
	o.Checkpoint = func(*WeightState) error { return stop }
	if _, _, err := run(1, o); !errors.Is(err, stop) {
		t.Errorf("checkpoint: got error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Checkpoint = nil
	o.Progress = func(LayerProgress) { cancel() }
	if _, _, err := CalibrateWeights(ctx, nil, g, g, cfg, x, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got error %v", err)
	}
	o.Seed, o.Progress = 6, nil
	if got, _, err := run(1, o); err != nil || slices.Equal(got.Node("c2").Weight().Data, want.Node("c2").Weight().Data) {
		t.Errorf("another seed gives the same weights (error %v)", err)
	}
}

// TestWeightMemory: little memory means fewer samples, said in the report, and
// several passes over the ANN that change nothing.
func TestWeightMemory(t *testing.T) {
	x := samples(23, 150, imageShape)
	g, cfg := coarse(t, spread(t), x)
	o := quick()
	o.Iterations, o.Memory = 5, 1
	_, report, err := CalibrateWeights(t.Context(), nil, g, g, cfg, x, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report {
		if f.Driver != "" && (f.Samples != 128 || f.Note != "128 of 150 samples fit into the memory") {
			t.Errorf("%+v", f)
		}
	}
	o.Memory = DefaultWeights().Memory
	_, want, err := CalibrateWeights(t.Context(), nil, g, g, cfg, x.Rows(0, 128), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if report[i].Note = want[i].Note; report[i] != want[i] {
			t.Errorf("with little memory %+v, with much %+v", report[i], want[i])
		}
	}
}

// TestWeightEarlyStop: a rate at which nothing can improve ends after the
// patience, with the weights as they were.
func TestWeightEarlyStop(t *testing.T) {
	x := samples(24, 32, imageShape)
	g, cfg := coarse(t, small(t), x)
	o := quick()
	o.LearningRate, o.Every, o.Patience, o.Iterations = 1, 2, 3, 1000
	got, report, err := CalibrateWeights(t.Context(), nil, g, g, cfg, x, o)
	if err != nil {
		t.Fatal(err)
	}
	if f := report[0]; f.Iterations != 6 || f.Changed || f.After != f.Before {
		t.Errorf("%+v", f)
	}
	if got.Node("conv1").Weight() != g.Node("conv1").Weight() {
		t.Error("weights that got worse were kept")
	}
	// Without held-out samples the last weights stay, as the authors have it.
	o.HoldOut, o.Iterations = 0, 2
	if _, report, err = CalibrateWeights(t.Context(), nil, g, g, cfg, x, o); err != nil || !report[0].Changed || report[0].After <= report[0].Before {
		t.Errorf("without held-out samples: %+v, error %v", report, err)
	}
}

// TestInitialPotentialsCount: for a constant current, as that of the first
// layer, the model is exactly what the neurons do, initial potentials included.
func TestInitialPotentialsCount(t *testing.T) {
	x := samples(25, 24, imageShape)
	g, cfg := coarse(t, small(t), x)
	cfg.Shift = snn.ShiftInitial
	cfg.Layers[0].Initial = make([]float32, g.Node("relu1").Shape.Numel())
	for i := range cfg.Layers[0].Initial { // less than half a threshold, else spikes come before the current decides
		cfg.Layers[0].Initial[i] = float32(i%9-4) / 10 * cfg.Layers[0].Threshold[i%6]
	}
	target := tensor.New(append([]int{24}, g.Node("relu1").Shape...)...)
	net, err := snn.New(g, cfg)
	if err != nil {
		t.Fatal(err)
	}
	res, err := net.Run(t.Context(), nil, x, snn.Options{Trace: true})
	if err != nil {
		t.Fatal(err)
	}
	counts := res.StepCounts[0] // [T, N, ...]
	for i, c := range counts.Data {
		target.Data[i%len(target.Data)] += c * cfg.Layers[0].Threshold[i%6] / float32(cfg.Timesteps)
	}
	err = net.SweepInputs(t.Context(), nil, x, func(d snn.Driven) int { return 24 * (1 - min(d.Layer, 1)) }, func(in snn.MeanInput) (*snn.Weights, error) {
		m := newLayerModel(nil, in, &cfg.Layers[0], cfg.Timesteps, true, target.Data)
		if e := m.objective(kernel.NewFilter(m.shape, m.weight), m.bias, 0, 24); e > 1e-3 {
			t.Errorf("model and neurons differ by %g", e)
		}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWeightOptionErrors(t *testing.T) {
	x := samples(26, 8, imageShape)
	g, cfg := coarse(t, small(t), x)
	for want, change := range map[string]func(*WeightOptions){
		"iterations 0":                    func(o *WeightOptions) { o.Iterations = 0 },
		"batch 0":                         func(o *WeightOptions) { o.Batch = 0 },
		"every 0":                         func(o *WeightOptions) { o.Every = 0 },
		"patience -1":                     func(o *WeightOptions) { o.Patience = -1 },
		"learning rate 0":                 func(o *WeightOptions) { o.LearningRate = 0 },
		"hold-out 1":                      func(o *WeightOptions) { o.HoldOut = 1 },
		"memory 0":                        func(o *WeightOptions) { o.Memory = 0 },
		`objective "ceil"`:                func(o *WeightOptions) { o.Objective = "ceil" },
		"has 9 layers, the network 4":     func(o *WeightOptions) { o.Resume = &WeightState{Layers: make([]FittedLayer, 9)} },
		`has node "" as layer 0`:          func(o *WeightOptions) { o.Resume = &WeightState{Layers: make([]FittedLayer, 1)} },
		"weights for a layer that is not": func(o *WeightOptions) { o.Resume = &WeightState{Layers: []FittedLayer{{Weight: tensor.New(1)}}} },
		"weights of shape [1], want": func(o *WeightOptions) {
			o.Resume = &WeightState{Layers: []FittedLayer{{Fit: LayerFit{Driver: "conv1"}, Weight: tensor.New(1)}}}
		},
	} {
		o := quick()
		change(&o)
		if _, _, err := CalibrateWeights(t.Context(), nil, g, g, cfg, x, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
	if _, _, err := CalibrateWeights(t.Context(), nil, g, g, cfg, nil, quick()); err == nil {
		t.Error("no samples are accepted")
	}
	if _, _, err := CalibrateWeights(t.Context(), nil, mustPrepare(t, spread(t)), g, cfg, x, quick()); err == nil || !strings.Contains(err.Error(), "no such activation") {
		t.Errorf("another original graph: got error %v", err)
	}
}
