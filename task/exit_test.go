package task

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// wavering is a network of random weights at 8 timesteps, whose answers take
// their time, and batches of samples labelled with its final answers.
func wavering(t *testing.T, seed uint64, sizes ...int) (*snn.Network, Batches) {
	t.Helper()
	const in, hidden, classes = 6, 24, 4
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(shape ...int) *tensor.Tensor {
		w := tensor.New(shape...)
		for i := range w.Data {
			w.Data[i] = float32(rng.NormFloat64())
		}
		return w
	}
	g := graph.New()
	x := g.Add("fc1", &graph.Linear{}, graph.Params{"weight": random(in, hidden)}, g.Input("input", graph.Shape{in}))
	x = g.Add("relu1", &graph.ReLU{}, nil, x)
	x = g.Add("fc2", &graph.Linear{}, graph.Params{"weight": random(hidden, hidden)}, x)
	x = g.Add("relu2", &graph.ReLU{}, nil, x)
	g.Outputs = []*graph.Node{g.Add("fc3", &graph.Linear{}, graph.Params{"weight": random(hidden, classes)}, x)}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	net, err := snn.New(g, &snn.Config{Timesteps: 8, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact,
		Layers: []snn.Layer{{Node: "relu1", Threshold: []float32{1.5}, MaxSpike: 4}, {Node: "relu2", Threshold: []float32{6}, MaxSpike: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	rng = rand.New(rand.NewPCG(seed, 5))
	var all []Batch
	for _, n := range sizes {
		b := Batch{X: tensor.New(n, in), Labels: make([]int, n)}
		for i := range b.X.Data {
			b.X.Data[i] = float32(rng.NormFloat64())
		}
		res, err := net.Run(t.Context(), nil, b.X, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			b.Labels[i] = kernel.ArgMax(res.Logits.Data[i*classes : (i+1)*classes])
		}
		all = append(all, b)
	}
	return net, func(yield func(Batch, error) bool) {
		for _, b := range all {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// TestClassifyAdaptive: what the network does timestep by timestep is what the
// course of its answers foretells, for any number of workers; and what it
// spends lies between that of one timestep and all.
func TestClassifyAdaptive(t *testing.T) {
	net, calibration := wavering(t, 1, 900, 600)
	_, data := wavering(t, 2, 70, 1, 129)
	for _, policy := range []string{convert.ExitTarget, convert.ExitPaper} {
		for _, score := range []convert.ExitScore{convert.ScoreEntropy, convert.ScoreConfidence, convert.ScoreMargin} {
			t.Run(policy+"/"+string(score), func(t *testing.T) {
				cfg := convert.DefaultExit()
				cfg.Policy, cfg.Score, cfg.Risk = policy, score, 0.05
				c, err := Observe(t.Context(), nil, net, score, cfg.Accumulate, calibration, nil)
				if err != nil {
					t.Fatal(err)
				}
				p, err := c.Policy(cfg)
				if err != nil {
					t.Fatal(err)
				}
				x, labels := tensor.New(0, 6), []int(nil)
				for b := range calibration {
					x.Data, labels = append(x.Data, b.X.Data...), append(labels, b.Labels...)
					x.Shape[0] += b.X.Shape[0]
				}
				same, err := convert.ExitThresholds(t.Context(), nil, net, x, labels, cfg)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(p, same); d != "" {
					t.Errorf("thresholds from one tensor differ from those of batches (-batches +one):\n%s", d)
				}
				test, err := Observe(t.Context(), nil, net, score, cfg.Accumulate, data, nil)
				if err != nil {
					t.Fatal(err)
				}
				want, err := test.Try(p)
				if err != nil {
					t.Fatal(err)
				}
				full, err := ClassifySNN(t.Context(), nil, net, data, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := test.At(8).Prediction; !slices.Equal(got, full.Predictions) {
					t.Errorf("classes after all timesteps %v, want %v", got, full.Predictions)
				}
				for _, workers := range []int{1, 3} {
					pool := parallel.New(workers)
					defer pool.Close()
					var progress []int
					s, err := ClassifyAdaptive(t.Context(), pool, net, p, data, func(n int) { progress = append(progress, n) })
					if err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(s.Exit, want.Exit) || !slices.Equal(s.Predictions, want.Prediction) || s.Correct != want.Correct {
						t.Errorf("%d workers: exits and classes are not those of the course", workers)
					}
					if d := cmp.Diff(want.Histogram, s.Histogram); d != "" || s.MeanExit() != want.MeanExit {
						t.Errorf("mean exit %g, want %g; histogram -want +got:\n%s", s.MeanExit(), want.MeanExit, d)
					}
					if !slices.Equal(progress, []int{70, 71, 200}) {
						t.Errorf("progress %v", progress)
					}
					for l := range s.Layers {
						share := float64(s.Layers[l].SOPs) / float64(full.Layers[l].SOPs)
						if share >= 1 || share < s.MeanExit()/8/2 {
							t.Errorf("layer %d: %g of the operations at a mean exit of %g of 8", l, share, s.MeanExit())
						}
					}
				}
				if want.MeanExit > 7 || want.MeanExit == 1 {
					t.Errorf("mean exit %g: the test shows nothing", want.MeanExit)
				}
				t.Logf("mean exit %.2f, agreement %.3f, bound %.3f, histogram %v", want.MeanExit, want.Agreement, p.Bound, want.Histogram)
			})
		}
	}
}

// TestSweepExits: more risk, fewer timesteps.
func TestSweepExits(t *testing.T) {
	net, calibration := wavering(t, 1, 1500)
	_, data := wavering(t, 2, 300)
	cfg := convert.DefaultExit()
	c, err := Observe(t.Context(), nil, net, cfg.Score, cfg.Accumulate, calibration, nil)
	if err != nil {
		t.Fatal(err)
	}
	test, err := Observe(t.Context(), nil, net, cfg.Score, cfg.Accumulate, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	risks := []float64{0.001, 0.01, 0.05, 0.2}
	points, err := SweepExits(c, test, cfg, risks)
	if err != nil {
		t.Fatal(err)
	}
	if points[0].MeanExit != 8 || points[0].Accuracy != 1 {
		t.Errorf("risk 0.001 cannot be shown with 1000 samples: mean exit %g, accuracy %g, want 8 and 1", points[0].MeanExit, points[0].Accuracy)
	}
	for i := 1; i < len(points); i++ {
		if points[i].MeanExit >= points[i-1].MeanExit {
			t.Errorf("mean exit %g at risk %g, %g at risk %g", points[i].MeanExit, risks[i], points[i-1].MeanExit, risks[i-1])
		}
		// The labels are the final answers.
		if points[i].Accuracy != points[i].Agreement || points[i].Setting != risks[i] || points[i].Policy.Risk != risks[i] {
			t.Errorf("point %+v", points[i])
		}
	}
	cfg.Policy = convert.ExitPaper
	floors := []float64{0.99, 0.6, 0.2}
	if points, err = SweepExits(c, test, cfg, floors); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(points); i++ {
		if points[i].MeanExit > points[i-1].MeanExit || points[i].Policy.Floor != floors[i] {
			t.Errorf("mean exit %g at floor %g, %g at floor %g", points[i].MeanExit, floors[i], points[i-1].MeanExit, floors[i-1])
		}
	}
}

func TestAdaptiveRefusals(t *testing.T) {
	net, data := wavering(t, 1, 20)
	cfg := convert.DefaultExit()
	c, err := Observe(t.Context(), nil, net, cfg.Score, cfg.Accumulate, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Policy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	other := *p
	other.Timesteps, other.Limits = 4, p.Limits[:4]
	if _, err := ClassifyAdaptive(t.Context(), nil, net, &other, data, nil); err == nil || !strings.Contains(err.Error(), "made for 4 timesteps, the network has 8") {
		t.Errorf("other timesteps: got error %v", err)
	}
	if _, err := c.Try(&other); err == nil || !strings.Contains(err.Error(), "exit policy for 4 timesteps") {
		t.Errorf("other timesteps: got error %v", err)
	}
	cfg.Score = convert.ScoreMargin
	if _, err := c.Policy(cfg); err == nil || !strings.Contains(err.Error(), "margin") {
		t.Errorf("other score: got error %v", err)
	}
	for _, head := range []graph.Op{&graph.Softmax{}, &graph.Identity{}} {
		g := graph.New()
		shape := graph.Shape{4}
		want := "softmax"
		if head.Kind() != "softmax" {
			shape, want = graph.Shape{2, 2, 4}, "no decision between classes"
		}
		x := g.Add("relu", &graph.ReLU{}, nil, g.Input("input", shape))
		g.Outputs = []*graph.Node{g.Add("head", head, nil, x)}
		if err := g.Infer(); err != nil {
			t.Fatal(err)
		}
		net, err := snn.New(g, &snn.Config{Timesteps: 8, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact,
			Layers: []snn.Layer{{Node: "relu", Threshold: []float32{1}, MaxSpike: 4}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ClassifyAdaptive(t.Context(), nil, net, p, data, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s at the end: got error %v, want one with %q", head.Kind(), err, want)
		}
	}
}
