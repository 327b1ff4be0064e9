package convert

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// coarse returns a prepared network with few levels, so that there is an error
// to correct.
func coarse(t *testing.T, g *graph.Graph, x *tensor.Tensor) (*graph.Graph, *snn.Config) {
	t.Helper()
	g = mustPrepare(t, g)
	cfg := Default()
	cfg.Timesteps, cfg.MaxSpike, cfg.Shift, cfg.Objective = 4, 1, snn.ShiftPerStep, ObjectiveFloor
	n, err := Thresholds(t.Context(), nil, g, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g, n.Config
}

// errorsOf measures every layer's mean error per channel.
func errorsOf(t *testing.T, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor) []float64 {
	t.Helper()
	want, _ := targets(t, original, x)
	var out []float64
	for l, m := range layerMeans(t, g, cfg, x) {
		out = append(out, meanError(m.Channel, want[l]))
	}
	return out
}

// checkLight calibrates and wants the errors, measured again, to be small.
func checkLight(t *testing.T, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor) *graph.Graph {
	t.Helper()
	before := errorsOf(t, g, g, cfg, x)
	once, report, err := LightCalibration(t.Context(), nil, g, g, cfg, x, 1)
	if err != nil {
		t.Fatal(err)
	}
	after := errorsOf(t, g, once, cfg, x)
	often, last, err := LightCalibration(t.Context(), nil, g, g, cfg, x, 12)
	if err != nil {
		t.Fatal(err)
	}
	final := errorsOf(t, g, often, cfg, x)
	t.Logf("mean errors before %.4f, after 1 pass %.4f, after 12 %.4f", before, after, final)
	if len(report) != len(before) || math.Abs(report[0].Before-before[0]) > 1e-6 {
		t.Errorf("the report begins with %v, measured was %g", report, before[0])
	}
	for l := range before {
		if report[l].Node != cfg.Layers[l].Node {
			t.Errorf("layer %d is reported as %q", l, report[l].Node)
		}
		// One pass moves the mean by the share of neurons that are active; more
		// passes reach it.
		if report[l].Before > 1e-3 && after[l] > 0.8*report[l].Before {
			t.Errorf("layer %d: error %g before its correction, %g after one pass", l, report[l].Before, after[l])
		}
		if final[l] > 0.2*report[l].Before+1e-3 {
			t.Errorf("layer %d: error %g before its correction, %g after twelve passes", l, report[l].Before, final[l])
		}
		if last[l].Before > report[l].Before {
			t.Errorf("layer %d: error %g in the last pass, %g in the first", l, last[l].Before, report[l].Before)
		}
	}
	return often
}

func TestLightCalibration(t *testing.T) {
	x := samples(11, 128, imageShape)
	g, cfg := coarse(t, small(t), x)
	kept := g.Clone()
	corrected := checkLight(t, g, cfg, x)
	for i, n := range g.Nodes {
		for role, p := range n.Params {
			if !slices.Equal(p.Data, kept.Nodes[i].Params[role].Data) {
				t.Errorf("calibration wrote into %s of %q", role, n.Name)
			}
			if c := corrected.Node(n.Name).Params[role]; role == "weight" && c != p {
				t.Errorf("the weight of %q is not shared", n.Name)
			}
		}
	}
	if len(corrected.Nodes) != len(g.Nodes) {
		t.Errorf("%d nodes after calibration, want %d", len(corrected.Nodes), len(g.Nodes))
	}
	if !slices.Equal(corrected.Node("fc2").Bias(), g.Node("fc2").Bias()) {
		t.Error("the readout was corrected")
	}
}

// TestLightCalibrationOfSharedCurrents: where a bias would shift more than the
// current of one layer of neurons, these get a node of their own, and the
// network does exactly what the sweep that found the corrections saw.
func TestLightCalibrationOfSharedCurrents(t *testing.T) {
	for _, c := range []struct {
		name     string
		inserted []string
		build    func(b *builder, x *graph.Node) *graph.Node
	}{
		{"pre-activation", []string{"r1"}, func(b *builder, x *graph.Node) *graph.Node {
			s := b.conv("stem", x, 2, 4, 1)
			y := b.conv("c2", b.relu("r2", b.conv("c1", b.relu("r1", s), 4, 4, 1)), 4, 4, 1)
			return b.relu("r3", b.g.Add("add", &graph.Add{}, nil, s, y))
		}},
		{"pre-activation, two blocks", []string{"r1", "r3"}, func(b *builder, x *graph.Node) *graph.Node {
			s := b.conv("stem", x, 2, 4, 1)
			y := b.conv("c2", b.relu("r2", b.conv("c1", b.relu("r1", s), 4, 4, 1)), 4, 4, 1)
			s = b.g.Add("add1", &graph.Add{}, nil, s, y)
			y = b.conv("c4", b.relu("r4", b.conv("c3", b.relu("r3", s), 4, 4, 1)), 4, 4, 1)
			return b.relu("r5", b.g.Add("add2", &graph.Add{}, nil, s, y))
		}},
		{"one conv for two activations", []string{"r1", "r2"}, func(b *builder, x *graph.Node) *graph.Node {
			s := b.conv("stem", x, 2, 4, 1)
			return b.g.Add("cat", &graph.Concat{}, nil, b.relu("r1", s), b.g.Add("r2", &graph.ReLU6{}, nil, s))
		}},
		{"pool with padding that counts", []string{"r2"}, func(b *builder, x *graph.Node) *graph.Node {
			x = b.conv("c1", b.relu("r1", b.conv("stem", x, 2, 4, 1)), 4, 4, 1)
			return b.relu("r2", b.g.Add("avg", &graph.AvgPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1), CountIncludePad: true}, nil, x))
		}},
		{"pool with padding that does not count", nil, func(b *builder, x *graph.Node) *graph.Node {
			x = b.conv("c1", b.relu("r1", b.conv("stem", x, 2, 4, 1)), 4, 4, 1)
			return b.relu("r2", b.g.Add("avg", &graph.AvgPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1)}, nil, x))
		}},
		{"flattened", []string{"r2"}, func(b *builder, x *graph.Node) *graph.Node {
			x = b.conv("c1", b.relu("r1", b.conv("stem", x, 2, 4, 1)), 4, 4, 2)
			return b.relu("r2", b.g.Add("early", &graph.Flatten{}, nil, x))
		}},
		{"sum without a layer", []string{"r3"}, func(b *builder, x *graph.Node) *graph.Node {
			s := b.relu("r1", b.conv("stem", x, 2, 4, 1))
			return b.relu("r3", b.g.Add("add", &graph.Add{}, nil, s, b.relu("r2", b.conv("c1", s, 4, 4, 1))))
		}},
		{"input", []string{"r0"}, func(b *builder, x *graph.Node) *graph.Node {
			return b.relu("r1", b.conv("stem", b.relu("r0", x), 2, 4, 1))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(5)
			out := c.build(b, b.g.Input("input", imageShape))
			b.g.Outputs = []*graph.Node{out}
			if err := b.g.Infer(); err != nil {
				t.Fatal(err)
			}
			flat := b.g.Add("flat", &graph.Flatten{}, nil, out)
			x := samples(12, 64, imageShape)
			g, cfg := coarse(t, b.finish(t, b.linear("fc", flat, out.Shape.Numel(), 3)), x)
			corrected := checkLight(t, g, cfg, x)
			var inserted []string
			for _, n := range corrected.Nodes {
				if name, ok := strings.CutSuffix(n.Name, "_correction"); ok {
					inserted = append(inserted, name)
				}
			}
			if !slices.Equal(inserted, c.inserted) {
				t.Errorf("got correction nodes for %v, want %v", inserted, c.inserted)
			}
			if len(inserted) != len(corrected.Nodes)-len(g.Nodes) {
				t.Errorf("%d nodes became %d", len(g.Nodes), len(corrected.Nodes))
			}
		})
	}
}

func TestInsertAffineNeedsAName(t *testing.T) {
	b := newBuilder(6)
	s := b.conv("stem", b.g.Input("input", imageShape), 2, 4, 1)
	r := b.relu("r", s)
	g := b.finish(t, b.g.Add("r_correction", &graph.Add{}, nil, r, s))
	if err := addBias(g, "r", make([]float32, 4)); err == nil || !strings.Contains(err.Error(), `node "r"`) {
		t.Errorf("got error %v", err)
	}
}

func TestPotentialCalibration(t *testing.T) {
	x := samples(13, 64, imageShape)
	g, cfg := coarse(t, small(t), x)
	cfg.Layers[0].Initial = make([]float32, g.Node("relu1").Shape.Numel())
	for i := range cfg.Layers[0].Initial {
		cfg.Layers[0].Initial[i] = 1e3 // must be overwritten, not added to
	}
	kept := cfg.Clone()
	_, want := targets(t, g, x)
	free, err := PotentialCalibration(t.Context(), nil, g, g, cfg, x, false)
	if err != nil {
		t.Fatal(err)
	}
	clamped, err := PotentialCalibration(t.Context(), nil, g, g, cfg, x, true)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Layers[0].Initial[0] != 1e3 || len(cfg.Layers[1].Initial) != 0 || cfg.Timesteps != kept.Timesteps {
		t.Error("the settings given were changed")
	}
	cfg.Layers[0].Initial = nil
	plain, with := layerMeans(t, g, cfg, x), layerMeans(t, g, free, x)
	// The first layer's potentials are those of the formula.
	for i, v := range free.Layers[0].Initial {
		if f := float64(cfg.Timesteps) * (want[0][i] - plain[0].Neuron[i]); math.Abs(float64(v)-f) > 1e-4 {
			t.Fatalf("neuron %d: potential %g, want %g", i, v, f)
		}
	}
	for l := range plain {
		before, after := meanError(plain[l].Neuron, want[l]), meanError(with[l].Neuron, want[l])
		t.Logf("layer %d: error per neuron %.4f before, %.4f after", l, before, after)
		if after > 0.7*before {
			t.Errorf("layer %d: error per neuron %g before, %g after", l, before, after)
		}
		for i, v := range clamped.Layers[l].Initial {
			theta := cfg.Layers[l].Threshold[i%len(cfg.Layers[l].Threshold)]
			if limit := float32(cfg.Layers[l].MaxSpike) * theta; v > limit || v < -limit {
				t.Fatalf("layer %d, neuron %d: potential %g beyond %g", l, i, v, limit)
			}
		}
	}
}

// TestPotentialsAreClamped on both sides: targets far above and below what the
// network does.
func TestPotentialsAreClamped(t *testing.T) {
	x := samples(13, 16, imageShape)
	g, cfg := coarse(t, small(t), x)
	for _, shift := range []float32{-50, 50} {
		target := g.Clone()
		for i := range target.Node("conv1").Bias() {
			target.Node("conv1").Bias()[i] += shift
		}
		got, err := PotentialCalibration(t.Context(), nil, target, g, cfg, x, true)
		if err != nil {
			t.Fatal(err)
		}
		l := got.Layers[0]
		reached := false
		for i, v := range l.Initial {
			limit := float32(l.MaxSpike) * l.Threshold[i%len(l.Threshold)]
			if v > limit || v < -limit {
				t.Fatalf("shift %g, neuron %d: potential %g beyond %g", shift, i, v, limit)
			}
			reached = reached || (shift > 0 && v == limit) || (shift < 0 && v == -limit)
		}
		if !reached {
			t.Errorf("shift %g: no potential reaches its limit", shift)
		}
	}
}

func TestReadoutCorrection(t *testing.T) {
	g := small(t)
	x := samples(14, 64, imageShape)
	cfg := Default()
	cfg.Timesteps, cfg.MaxSpike, cfg.Calibration, cfg.BiasSamples = 2, 1, CalibrationNone, 64
	offset := func(readout bool) float64 {
		cfg.Readout = readout
		res := mustConvert(t, g, x, cfg, 1)
		if res.Layers != nil {
			t.Error("without light calibration there is a report of it")
		}
		sim := simulate(t, res.Graph, res.SNN, x, false)
		mean := make([]float64, 4)
		for i, v := range forward(t, g, x) {
			mean[i%4] += float64(v-sim.Logits.Data[i]) / 64
		}
		return meanError(mean, make([]float64, 4))
	}
	if before, after := offset(false), offset(true); after > 1e-4 || before < 10*after {
		t.Errorf("mean difference of the outputs %g before, %g after", before, after)
	}
	// An output that is no layer with a bias is left alone.
	b := newBuilder(7)
	s := b.conv("out", b.relu("r", b.conv("stem", b.g.Input("input", imageShape), 2, 4, 1)), 4, 2, 1)
	soft := b.finish(t, b.g.Add("softmax", &graph.Softmax{}, nil, s))
	cfg.Readout = true
	if res := mustConvert(t, soft, x, cfg, 1); res.Graph.Node("out").Bias() != nil {
		t.Error("a bias appeared before the softmax")
	}
}

func TestSamplesUsed(t *testing.T) {
	// Samples beyond the limits must not change anything.
	g := small(t)
	x := samples(15, 40, imageShape)
	cfg := Default()
	cfg.Samples, cfg.BiasSamples = 30, 20
	want := mustConvert(t, g, x, cfg, 1)
	y := x.Clone()
	for i := 30 * 128; i < len(y.Data); i++ {
		y.Data[i] = 99
	}
	got := mustConvert(t, g, y, cfg, 1)
	for l := range want.SNN.Layers {
		if !slices.Equal(want.SNN.Layers[l].Threshold, got.SNN.Layers[l].Threshold) || want.Layers[l] != got.Layers[l] {
			t.Errorf("layer %d depends on samples that were not asked for", l)
		}
	}
}
