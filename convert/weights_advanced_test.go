package convert

import (
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// TestAdvancedCalibration: it is its three stages in turn, the same for any
// number of workers, and brings the outputs closer to the ANN's.
func TestAdvancedCalibration(t *testing.T) {
	x, test := samples(41, 256, imageShape), samples(42, 128, imageShape)
	g, cfg := coarse(t, small(t), x)
	kept := cfg.Clone()
	o := DefaultAdvanced()
	o.Weights = quick()
	o.Samples, o.BiasSamples, o.Guard = 200, 100, false
	net, neurons, report, err := AdvancedCalibration(t.Context(), nil, g, g, cfg, x, o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(kept, cfg); d != "" {
		t.Errorf("the settings given were changed:\n%s", d)
	}
	pool := parallel.New(3)
	defer pool.Close()
	weighted, fits, err := CalibrateWeights(t.Context(), pool, g, g, cfg, x.Rows(0, 200), o.Weights)
	if err != nil {
		t.Fatal(err)
	}
	potentials, err := PotentialCalibration(t.Context(), pool, g, weighted, cfg, x.Rows(0, 200), true)
	if err != nil {
		t.Fatal(err)
	}
	biased, errors, err := LightCalibration(t.Context(), pool, g, weighted, potentials, x.Rows(0, 100), 1)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&AdvancedReport{Weights: fits, Bias: errors}, report); d != "" {
		t.Errorf("the reports differ:\n%s", d)
	}
	if d := cmp.Diff(potentials, neurons); d != "" {
		t.Errorf("the neurons differ:\n%s", d)
	}
	for i, n := range biased.Nodes {
		if d := cmp.Diff(n.Params, net.Nodes[i].Params); d != "" {
			t.Errorf("parameters of %q differ", n.Name)
		}
	}
	want := forward(t, g, test)
	distance := func(y *tensor.Tensor) (sum float64) {
		for i, v := range y.Data {
			sum += float64(v-want[i]) * float64(v-want[i]) / float64(len(want))
		}
		return sum
	}
	before, after := distance(simulate(t, g, cfg, test, false).Logits), distance(simulate(t, net, neurons, test, false).Logits)
	t.Logf("mean square error of the outputs %.4f before, %.4f after", before, after)
	if after > 0.6*before {
		t.Errorf("mean square error of the outputs %g before, %g after", before, after)
	}
}

// TestAdvancedGuard: stages that make the outputs worse are taken back, the
// others stay, and the report says which.
func TestAdvancedGuard(t *testing.T) {
	x := samples(45, 256, imageShape)
	g, cfg := coarse(t, small(t), x)
	judge, err := newOutputJudge(nil, g, x.Rows(224, 256))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(o *AdvancedOptions){
		"default": func(*AdvancedOptions) {},
		"weights too far": func(o *AdvancedOptions) {
			o.Weights.LearningRate, o.Weights.HoldOut, o.Weights.Iterations = 1, 0, 3
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultAdvanced()
			o.Weights = quick()
			change(&o)
			net, neurons, report, err := AdvancedCalibration(t.Context(), nil, g, g, cfg, x, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", report.Stages)
			best := report.Stages[0].Error
			var names []string
			for _, s := range report.Stages {
				names = append(names, s.Stage)
				if s.Kept != (s.Error <= best) {
					t.Errorf("%+v with %g before", s, best)
				}
				if s.Kept {
					best = s.Error
				}
			}
			if !slices.Equal(names, []string{"none", "weights", "potentials", "biases"}) {
				t.Errorf("stages %q", names)
			}
			if !slices.ContainsFunc(report.Stages, func(s StageError) bool { return !s.Kept }) {
				t.Errorf("nothing was taken back: %+v", report.Stages)
			}
			got, err := judge.error(t.Context(), net, neurons)
			if err != nil || got != best || got >= report.Stages[0].Error {
				t.Errorf("the outputs' error is %g, reported %g, before %g (%v)", got, best, report.Stages[0].Error, err)
			}
		})
	}
}

// TestAdvancedStages can be left out.
func TestAdvancedStages(t *testing.T) {
	x := samples(43, 32, imageShape)
	g, cfg := coarse(t, small(t), x)
	cfg.Layers[1].Initial = make([]float32, g.Node("relu2").Shape.Numel())
	o := DefaultAdvanced()
	o.Weights = quick()
	o.Weights.Iterations, o.Potential, o.Iterations = 2, false, 0
	net, neurons, report, err := AdvancedCalibration(t.Context(), nil, g, g, cfg, x, o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(cfg, neurons); d != "" || report.Bias != nil {
		t.Errorf("without potentials and biases the neurons differ:\n%s", d)
	}
	if !slices.Equal(net.Node("conv1").Bias(), g.Node("conv1").Bias()) {
		t.Error("a bias changed")
	}
}

func TestAdvancedErrors(t *testing.T) {
	x := samples(44, 4, imageShape)
	g, cfg := coarse(t, small(t), x)
	for want, change := range map[string]func(*AdvancedOptions){
		"samples 0":       func(o *AdvancedOptions) { o.Samples = 0 },
		"bias samples 0":  func(o *AdvancedOptions) { o.BiasSamples = 0 },
		"iterations 101":  func(o *AdvancedOptions) { o.Iterations = 101 },
		"learning rate 2": func(o *AdvancedOptions) { o.Weights.LearningRate = 2 },
	} {
		o := DefaultAdvanced()
		change(&o)
		if _, _, _, err := AdvancedCalibration(t.Context(), nil, g, g, cfg, x, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
	if _, _, _, err := AdvancedCalibration(t.Context(), nil, g, g, cfg, tensor.New(0, 8, 8, 2), DefaultAdvanced()); err == nil {
		t.Error("no samples are accepted")
	}
	if _, _, _, err := AdvancedCalibration(t.Context(), nil, g, g, &snn.Config{}, x, DefaultAdvanced()); err == nil {
		t.Error("no neurons are accepted")
	}
}
