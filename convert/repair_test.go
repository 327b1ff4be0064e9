package convert

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fine returns a prepared network with so many levels that it follows the ANN.
func fine(t testing.TB, g *graph.Graph, x *tensor.Tensor) (*graph.Graph, *snn.Config) {
	t.Helper()
	g = mustPrepare(t, g)
	cfg := Default()
	cfg.Timesteps, cfg.MaxSpike = 32, 16
	n, err := Thresholds(t.Context(), nil, g, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g, n.Config
}

// TestRepairRecovers: weights that were disturbed come back, where the layers'
// inputs tell them apart.
func TestRepairRecovers(t *testing.T) {
	for name, build := range map[string]func(testing.TB) *graph.Graph{"residual": small, "spread": spread} {
		t.Run(name, func(t *testing.T) {
			x := samples(31, 256, imageShape)
			g, cfg := fine(t, build(t), x)
			broken := g.CloneShared()
			b := newBuilder(9)
			disturbed := map[string]bool{}
			for _, n := range broken.Nodes {
				if n.Weight() == nil || !slices.Contains([]string{"conv2", "c2", "c3", "c4", "fc1"}, n.Name) {
					continue
				}
				w, p := n.Weight().Clone(), graph.Params{}
				for i := range w.Data {
					w.Data[i] += float32(0.1 * b.rng.NormFloat64())
				}
				p["weight"] = w
				bias := tensor.New(n.Shape.Channels())
				copy(bias.Data, n.Bias())
				for i := range bias.Data {
					bias.Data[i] += 0.2
				}
				p["bias"] = bias
				n.Params, disturbed[n.Name] = p, true
			}
			distance := func(h *graph.Graph, name string) float64 {
				d, size := 0.0, 0.0
				w := g.Node(name).Weight().Data
				for i, v := range h.Node(name).Weight().Data {
					d += math.Pow(float64(v-w[i]), 2)
					size += math.Pow(float64(w[i]), 2)
				}
				return math.Sqrt(d / size)
			}
			kept := broken.Clone()
			repaired, report, err := Repair(t.Context(), nil, g, broken, cfg, x, DefaultRepair())
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report {
				t.Logf("%+v", f)
				if f.After > f.Before || f.Changed != (f.After < f.Before) {
					t.Errorf("%s: %+v", f.Node, f)
				}
				if !disturbed[f.Driver] {
					continue
				}
				before, after := distance(broken, f.Driver), distance(repaired, f.Driver)
				t.Logf("%s: weights off by %.3f before, %.3f after", f.Driver, before, after)
				if after > 0.5*before || f.After > 0.2*f.Before {
					t.Errorf("%s: weights off by %.3f before, %.3f after repair", f.Driver, before, after)
				}
			}
			for i, n := range broken.Nodes {
				for role, p := range n.Params {
					if !slices.Equal(p.Data, kept.Nodes[i].Params[role].Data) {
						t.Errorf("repair wrote into %s of %q", role, n.Name)
					}
				}
			}
		})
	}
}

// TestRepairIsDeterministic: the same bits for any number of workers and after
// an interruption; a coarse network never gets worse on the held-out samples.
func TestRepairIsDeterministic(t *testing.T) {
	x := samples(32, 96, imageShape)
	g, cfg := coarse(t, spread(t), x)
	run := func(workers int, o RepairOptions) (*graph.Graph, []LayerFit, error) {
		pool := parallel.New(workers)
		defer pool.Close()
		return Repair(t.Context(), pool, g, g, cfg, x, o)
	}
	o := DefaultRepair()
	var states []*WeightState
	tried := 0
	o.Checkpoint = func(s *WeightState) error { states = append(states, s); return nil }
	o.Progress = func(p LayerProgress) { tried++ }
	want, report, err := run(1, o)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, f := range report {
		if f.After > f.Before {
			t.Errorf("%+v", f)
		}
		if f.Changed {
			changed++
		}
	}
	if changed < 3 || tried < 6*changed {
		t.Errorf("%d layers changed after %d looks", changed, tried)
	}
	o.Checkpoint = nil
	for what, resume := range map[string]*WeightState{"three workers": nil, "resumed": states[2]} {
		o.Resume = resume
		got, fits, err := run(3, o)
		if err != nil {
			t.Fatal(err)
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
}

// TestRepairPassesBy what it cannot do, with a note.
func TestRepairPassesBy(t *testing.T) {
	x := samples(33, 40, imageShape)
	g, cfg := coarse(t, spread(t), x)
	notes := func(x *tensor.Tensor, o RepairOptions) map[string]string {
		got, report, err := Repair(t.Context(), nil, g, g, cfg, x, o)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for _, f := range report {
			m[f.Node] = f.Note
			if f.Note != "" && f.Changed {
				t.Errorf("%+v", f)
			}
			if f.Driver == "" || !f.Changed {
				for _, n := range g.Nodes {
					if d := got.Node(n.Name); d.Name == f.Driver && d.Weight() != n.Weight() {
						t.Errorf("%q was passed by but has new weights", n.Name)
					}
				}
			}
		}
		return m
	}
	o := DefaultRepair()
	o.MaxInputs = 40 // c3 has 9 per channel, c2 36, c4 72, fc1 96
	if m := notes(x, o); m["r4"] != "72 inputs per output channel, at most 40 are solved for" || m["r6"] == "" || m["r5"] != "no layer drives these neurons alone" || strings.Contains(m["r2"], "inputs") {
		t.Errorf("notes %q", m)
	}
	o = DefaultRepair()
	o.Memory = 1 << 20
	if m := notes(x, o); !strings.Contains(m["r4"], "the memory allows 0") {
		t.Errorf("notes %q", m)
	}
	if m := notes(x.Rows(0, 1), DefaultRepair()); m["r1"] != "one sample is too few" {
		t.Errorf("notes %q", m)
	}
}

func TestRepairErrors(t *testing.T) {
	x := samples(34, 8, imageShape)
	g, cfg := coarse(t, small(t), x)
	for want, change := range map[string]func(*RepairOptions){
		"no ridge":     func(o *RepairOptions) { o.Ridges = nil },
		"ridge 0":      func(o *RepairOptions) { o.Ridges = []float64{0} },
		"rounds -1":    func(o *RepairOptions) { o.Rounds = -1 },
		"hold-out 0":   func(o *RepairOptions) { o.HoldOut = 0 },
		"max inputs 0": func(o *RepairOptions) { o.MaxInputs = 0 },
		"memory 0":     func(o *RepairOptions) { o.Memory = 0 },
	} {
		o := DefaultRepair()
		change(&o)
		if _, _, err := Repair(t.Context(), nil, g, g, cfg, x, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Repair(ctx, nil, g, g, cfg, x, DefaultRepair()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got error %v", err)
	}
}

// TestRepairReadout: the last layer makes the best of what arrives.
func TestRepairReadout(t *testing.T) {
	x, test := samples(35, 300, imageShape), samples(36, 200, imageShape)
	g, cfg := coarse(t, small(t), x)
	got, fit, err := RepairReadout(t.Context(), nil, g, g, cfg, x, DefaultRepair())
	if err != nil {
		t.Fatal(err)
	}
	want := forward(t, g, test)
	distance := func(h *graph.Graph) (sum float64) {
		for i, v := range simulate(t, h, cfg, test, false).Logits.Data {
			sum += float64(v-want[i]) * float64(v-want[i]) / 200
		}
		return sum
	}
	before, after := distance(g), distance(got)
	t.Logf("square error of the outputs %.4f before, %.4f after; %+v", before, after, fit)
	if after > 0.7*before || fit.Node != "fc2" || fit.Samples != 300 || fit.HeldOut != 37 || !fit.Changed || math.Abs(fit.After-after) > 0.6*after {
		t.Errorf("square error of the outputs %g before, %g after; %+v", before, after, fit)
	}
	for _, n := range g.Nodes {
		if n.Name != "fc2" && n.Weight() != got.Node(n.Name).Weight() {
			t.Errorf("%q changed", n.Name)
		}
	}
	pool := parallel.New(3)
	defer pool.Close()
	again, _, err := RepairReadout(t.Context(), pool, g, g, cfg, x, DefaultRepair())
	if err != nil || !slices.Equal(again.Node("fc2").Weight().Data, got.Node("fc2").Weight().Data) {
		t.Errorf("three workers find something else, error %v", err)
	}
	// What cannot be solved for stays.
	o := DefaultRepair()
	o.MaxInputs = 5
	if same, fit, err := RepairReadout(t.Context(), nil, g, g, cfg, x, o); err != nil || same != g || !strings.Contains(fit.Note, "10 inputs") {
		t.Errorf("got %+v, error %v", fit, err)
	}
	b := newBuilder(7)
	soft := b.finish(t, b.g.Add("softmax", &graph.Softmax{}, nil, b.conv("out", b.relu("r", b.conv("stem", b.g.Input("input", imageShape), 2, 4, 1)), 4, 2, 1)))
	soft, cfg = coarse(t, soft, x)
	if same, fit, err := RepairReadout(t.Context(), nil, soft, soft, cfg, x, DefaultRepair()); err != nil || same != soft || fit.Note != "the output comes from a softmax" {
		t.Errorf("got %+v, error %v", fit, err)
	}
	if _, _, err := RepairReadout(t.Context(), nil, g, soft, cfg, x, DefaultRepair()); err == nil || !strings.Contains(err.Error(), "differ in shape") {
		t.Errorf("got error %v", err)
	}
}

// TestRidgeSystem: the solution satisfies the equations, and a matrix that is
// not positive definite is refused.
func TestRidgeSystem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, n := rapid.IntRange(1, 130).Draw(t, "k"), rapid.IntRange(1, 20).Draw(t, "n")
		b := newBuilder(rapid.Uint64().Draw(t, "seed"))
		rows := b.normal(1, k+3, k)
		s := newRidgeSystem(k, n)
		for i := range k {
			for j := range k {
				for r := range k + 3 {
					s.square[i*k+j] += float64(rows.Data[r*k+i]) * float64(rows.Data[r*k+j])
				}
			}
		}
		for i := range s.product {
			s.product[i], s.old[i] = b.rng.NormFloat64(), b.rng.NormFloat64()
		}
		const ridge = 0.1
		pool := parallel.New(rapid.IntRange(1, 3).Draw(t, "workers"))
		defer pool.Close()
		if !s.solve(pool, ridge) {
			t.Fatal("no solution")
		}
		lambda := 0.0
		for i := range k {
			lambda += ridge * s.square[i*k+i] / float64(k)
		}
		for i := range k {
			for c := range n {
				left, right := lambda*s.solution[i*n+c], s.product[i*n+c]+lambda*s.old[i*n+c]
				for j := range k {
					left += s.square[i*k+j] * s.solution[j*n+c]
				}
				if math.Abs(left-right) > 1e-8*(1+math.Abs(right))*float64(k) {
					t.Fatalf("equation %d, %d: %g = %g", i, c, left, right)
				}
			}
		}
		s.square[0] = -1e9
		if s.solve(pool, ridge) {
			t.Fatal("a matrix that is not positive definite was solved")
		}
	})
}
