package convert

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestSymmetricKL against the definition, and where that breaks down.
func TestSymmetricKL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "classes")
		a := rapid.SliceOfN(rapid.Float32Range(-6, 6), n, n).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Float32Range(-6, 6), n, n).Draw(t, "b")
		softmax := func(y []float32) (p []float64) {
			sum := 0.0
			for _, v := range y {
				p = append(p, math.Exp(float64(v)))
				sum += p[len(p)-1]
			}
			for i := range p {
				p[i] /= sum
			}
			return p
		}
		kl := func(p, q []float64) (sum float64) {
			for i := range p {
				sum += p[i] * math.Log(p[i]/q[i])
			}
			return sum
		}
		p, q := softmax(a), softmax(b)
		want := (kl(p, q) + kl(q, p)) / 2
		if got := symmetricKL(a, b); math.Abs(got-want) > 1e-10*(1+want) || got != symmetricKL(b, a) && math.Abs(got-symmetricKL(b, a)) > 1e-12*(1+got) {
			t.Fatalf("got %g, want %g", got, want)
		}
		if got := symmetricKL(a, a); got != 0 {
			t.Fatalf("to itself: %g", got)
		}
	})
	// A probability of e^-2000 underflows; its logarithm does not.
	if got := symmetricKL([]float32{2000, 0}, []float32{0, 2000}); math.Abs(got-2000) > 1e-9 {
		t.Errorf("got %g, want 2000", got)
	}
}

// TestTablesEqualWholeRuns: every cell is what running the whole network with
// the change gives, whatever the blocks and workers.
func TestTablesEqualWholeRuns(t *testing.T) {
	g, x, cfg, opt := searchable(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for range x.Shape[0] {
		opt.Labels = append(opt.Labels, rng.IntN(4))
	}
	limits := []int{1, 2, 4}
	neurons, err := LimitThresholds(t.Context(), nil, g, x, cfg, limits)
	if err != nil {
		t.Fatal(err)
	}
	pool := parallel.New(3)
	defer pool.Close()
	for _, metric := range []Metric{MetricKL, MetricAccuracy} {
		for _, unit := range []Cost{CostSOPs, CostSpikes} {
			for _, stale := range []bool{false, true} {
				opt.Metric, opt.Cost, opt.Samples = metric, unit, 21
				tr := limitTrial(g, neurons, limits, stale, opt.Labels)
				got, err := opt.tables(t.Context(), pool, x, tr)
				if err != nil {
					t.Fatal(err)
				}
				for _, memory := range []int{1, 100_000} {
					again, err := opt.tablesInBlocks(t.Context(), nil, x, tr, memory)
					if err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(got, again); d != "" {
						t.Errorf("in blocks of %d bytes:\n%s", memory, d)
					}
				}
				want := forward(t, g, x.Rows(0, 21))
				for l := range tr.layers {
					for k := range limits {
						whole := tr.base.Clone()
						whole.Layers[l] = neurons[k].Config.Clone().Layers[l]
						if stale {
							whole.Layers[l].Threshold = tr.base.Layers[l].Threshold
						}
						res := simulate(t, g, whole, x.Rows(0, 21), false)
						var s, e float64
						for i := range 21 {
							a, b := want[4*i:4*i+4], res.Logits.Data[4*i:4*i+4]
							if metric == MetricKL {
								s += symmetricKL(a, b) / 21
							} else {
								if kernel.ArgMax(a) == opt.Labels[i] {
									s += 1. / 21
								}
								if kernel.ArgMax(b) == opt.Labels[i] {
									s -= 1. / 21
								}
							}
							if unit == CostSOPs {
								e += float64(res.Layers[l].SOPs[i])
							} else {
								e += float64(res.Layers[l].Spikes[i])
							}
						}
						if math.Abs(got.Sensitivity[l][k]-s) > 1e-12*(1+s) || got.Cost[l][k] != e {
							t.Errorf("%s, %s, stale %v, layer %d, limit %d: got %g, %g, want %g, %g",
								metric, unit, stale, l, limits[k], got.Sensitivity[l][k], got.Cost[l][k], s, e)
						}
					}
				}
			}
		}
	}
}

// TestTablesResume from every point at which they are saved, through JSON.
func TestTablesResume(t *testing.T) {
	g, x, cfg, opt := searchable(t)
	limits := []int{1, 2, 3}
	neurons, err := LimitThresholds(t.Context(), nil, g, x, cfg, limits)
	if err != nil {
		t.Fatal(err)
	}
	tr := limitTrial(g, neurons, limits, false, nil)
	net, err := snn.New(g, tr.base)
	if err != nil {
		t.Fatal(err)
	}
	memory := 10 * net.RecordingBytes() // three blocks of 24 samples
	var saved [][]byte
	var last, total int
	opt.Save = func(t *Tables) error {
		b, err := json.Marshal(t)
		saved = append(saved, b)
		return err
	}
	opt.Progress = func(done, of int) {
		if done < last || of != 3*4*3 {
			t.Errorf("progress %d of %d after %d", done, of, last)
		}
		last, total = done, of
	}
	want, err := opt.tablesInBlocks(t.Context(), nil, x, tr, memory)
	if err != nil {
		t.Fatal(err)
	}
	if last != total || len(saved) != 3*4 {
		t.Errorf("progress ends at %d of %d; saved %d times, want 12", last, total, len(saved))
	}
	opt.Progress = nil
	for i, b := range saved {
		opt.Resume = &Tables{}
		if err := json.Unmarshal(b, opt.Resume); err != nil {
			t.Fatal(err)
		}
		if done := opt.Resume.Pending == nil; done != (i == len(saved)-1) {
			t.Errorf("save %d: pending %v", i, opt.Resume.Pending)
		}
		times := 0
		opt.Save = func(*Tables) error { times++; return nil }
		got, err := opt.tablesInBlocks(t.Context(), nil, x, tr, memory)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("resumed from save %d:\n%s", i, d)
		}
		if times != len(saved)-1-i {
			t.Errorf("resumed from save %d: saved %d times more, want %d", i, times, len(saved)-1-i)
		}
	}
	// Tables of another search, or damaged ones, are not taken.
	for name, change := range map[string]func(*Tables){
		"key":      func(t *Tables) { t.Key = "other" },
		"rows":     func(t *Tables) { t.Cost = t.Cost[1:] },
		"columns":  func(t *Tables) { t.Sensitivity[1] = nil },
		"value":    func(t *Tables) { t.Cost[0][0] = math.NaN() },
		"samples":  func(t *Tables) { t.Samples++ },
		"pending":  func(t *Tables) { t.Pending = &Pending{Layers: 4} },
		"negative": func(t *Tables) { t.Pending = &Pending{Samples: -1} },
	} {
		opt.Resume = &Tables{}
		if err := json.Unmarshal(saved[len(saved)-1], opt.Resume); err != nil {
			t.Fatal(err)
		}
		change(opt.Resume)
		opt.Resume.Sensitivity[0][0] = 77
		got, err := opt.tables(t.Context(), nil, x, tr)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: resumed from tables that do not fit:\n%s", name, d)
		}
	}
	stop := errors.New("stop")
	opt.Resume, opt.Save = nil, func(*Tables) error { return stop }
	if _, err := opt.tables(t.Context(), nil, x, tr); !errors.Is(err, stop) {
		t.Errorf("got error %v, want that of Save", err)
	}
}

// TestTablesKey changes with whatever the values depend on.
func TestTablesKey(t *testing.T) {
	g, x, cfg, opt := searchable(t)
	neurons, err := LimitThresholds(t.Context(), nil, g, x, cfg, []int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	opt.Labels = make([]int, x.Shape[0])
	key := func(change func(tr *trial, m *Measure)) string {
		m, tr := opt.Measure, limitTrial(g.Clone(), neurons, []int{1, 2}, false, slices.Clone(opt.Labels))
		tr.base = tr.base.Clone()
		for l := range tr.layers {
			for k := range tr.layers[l] {
				tr.layers[l][k].Threshold = slices.Clone(tr.layers[l][k].Threshold)
			}
		}
		change(tr, &m)
		k, err := tr.key(&m, x)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	same := key(func(*trial, *Measure) {})
	if again := key(func(tr *trial, m *Measure) { tr.labels[0] = 1 }); again != same {
		t.Error("the key depends on labels that are not used")
	}
	for name, change := range map[string]func(*trial, *Measure){
		"weight":    func(tr *trial, _ *Measure) { tr.graph.Node("conv2").Params["weight"].Data[5]++ },
		"name":      func(tr *trial, _ *Measure) { tr.graph.Nodes[1].Name = "x" },
		"timesteps": func(tr *trial, _ *Measure) { tr.base.Timesteps++ },
		"shift":     func(tr *trial, _ *Measure) { tr.base.Shift = snn.ShiftNone },
		"sign":      func(tr *trial, _ *Measure) { tr.base.Signed = true },
		"schedule":  func(tr *trial, _ *Measure) { tr.base.Schedule = snn.ScheduleAccumulate },
		"base":      func(tr *trial, _ *Measure) { tr.base.Layers[0].MaxSpike++ },
		"potential": func(tr *trial, _ *Measure) { tr.base.Layers[0].Initial = []float32{1} },
		"threshold": func(tr *trial, _ *Measure) { tr.layers[1][0].Threshold[0]++ },
		"limit":     func(tr *trial, _ *Measure) { tr.layers[1][0].MaxSpike++ },
		"candidate": func(tr *trial, _ *Measure) { tr.candidates[0] = 9 },
		"metric":    func(_ *trial, m *Measure) { m.Metric = MetricAccuracy },
		"cost":      func(_ *trial, m *Measure) { m.Cost = CostSpikes },
	} {
		if key(change) == same {
			t.Errorf("the key does not depend on %s", name)
		}
	}
	x.Data[3]++
	if key(func(*trial, *Measure) {}) == same {
		t.Error("the key does not depend on the samples")
	}
	x.Data[3]--
}

// TestTablesNameTheCandidate whose network cannot run.
func TestTablesNameTheCandidate(t *testing.T) {
	g, x, cfg, opt := searchable(t)
	neurons, err := LimitThresholds(t.Context(), nil, g, x, cfg, []int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	tr := limitTrial(g, neurons, []int{1, 2}, false, nil)
	tr.layers[2][0].Threshold = []float32{-1}
	if _, err := opt.tables(t.Context(), nil, x, tr); err == nil || !strings.Contains(err.Error(), `candidate 1: node "relu3"`) {
		t.Errorf("got error %v", err)
	}
}
