package convert

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// flat turns [layer][candidate] into the order of stored arrays.
func flat(rows [][]float64) []float32 {
	var out []float32
	for k := range rows[0] {
		for l := range rows {
			out = append(out, float32(rows[l][k]))
		}
	}
	return out
}

func floats(v []int) []float64 {
	var out []float64
	for _, x := range v {
		out = append(out, float64(x))
	}
	return out
}

// storedNeurons are layers with stored thresholds.
func storedNeurons(t *testing.T, c *golden.Case, cfg Config, prefix string, limits []int) *snn.Config {
	out := &snn.Config{Timesteps: cfg.Timesteps, Shift: cfg.Shift, MaxPool: cfg.MaxPool}
	for l, n := range c.Neurons {
		out.Layers = append(out.Layers, snn.Layer{Node: n.ReLU, Threshold: c.Array(t, prefix+n.ReLU).Data, MaxSpike: limits[l]})
	}
	return out
}

// storedBiases is g with stored biases.
func storedBiases(t *testing.T, c *golden.Case, g *graph.Graph, prefix string) *graph.Graph {
	out := g.CloneShared()
	for _, n := range c.Neurons {
		bias := c.Array(t, prefix+n.Bias)
		node := out.Node(n.Bias)
		node.Params = graph.Params{"weight": node.Weight(), "bias": bias}
	}
	return out
}

func compareNeurons(t *testing.T, c *golden.Case, prefix string, got *snn.Config) {
	t.Helper()
	for l, n := range c.Neurons {
		c.Compare(t, prefix+n.ReLU, got.Layers[l].Threshold)
	}
}

// compareRun wants logits, and the spikes of every layer over all samples.
func compareRun(t *testing.T, c *golden.Case, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, logits, spikes string) {
	t.Helper()
	res := simulate(t, g, cfg, x, false)
	c.Compare(t, logits, res.Logits.Data)
	var sums []float64
	for _, l := range res.Layers {
		sum := 0.0
		for _, k := range l.Spikes {
			sum += float64(k)
		}
		sums = append(sums, sum)
	}
	c.CompareFloats(t, spikes, sums...)
}

// TestGoldenSearch follows the numbered steps of a search and a compression,
// each from the stored arrays of the step before.
func TestGoldenSearch(t *testing.T) {
	for _, c := range golden.Cases(t, "search") {
		t.Run(c.Name, func(t *testing.T) {
			original, folded := c.Graph(t, c.Network, "test_input", 1), c.Graph(t, c.NetworkFolded, "test_input", 1)
			compareFolding(t, c, original, folded)
			cfg := Reference()
			cfg.Timesteps, cfg.Shift, cfg.Objective = c.Params.Int(t, "T"), snn.Shift(c.Params.Text(t, "shift")), c.Params.Text(t, "objective")
			calib := c.Array(t, "calib_batches")
			cfg.Batches, cfg.BatchSize = calib.Shape[0], calib.Shape[1]
			var limits []int
			c.Params.Decode(t, "candidates", &limits)
			opt := ReferenceSearch()
			opt.MinSpike, opt.InitialSpike = c.Params.Int(t, "minspike"), c.Params.Int(t, "initial_maxspike")
			opt.DesiredSpike, opt.Ratio = c.Params.Int(t, "desired_maxspike"), c.Params.Float(t, "maxspike_ratio")
			opt.Metric = Metric(c.Params.Text(t, "metric"))

			// 1. Thresholds at the initial limit.
			neurons, err := LimitThresholds(t.Context(), nil, folded, pool(t, calib), cfg, limits)
			if err != nil {
				t.Fatal(err)
			}
			compareNeurons(t, c, "threshold0.", neurons[len(neurons)-1].Config)
			neurons[len(neurons)-1].Config = storedNeurons(t, c, cfg, "threshold0.", slices.Repeat([]int{opt.InitialSpike}, len(c.Neurons)))

			// 2. Tables.
			x := channelsLast(t, c.Array(t, "search_input"))
			tables, err := opt.tables(t.Context(), nil, x, limitTrial(folded, neurons, limits, opt.Stale, nil))
			if err != nil {
				t.Fatal(err)
			}
			c.Compare(t, "sensitivity", flat(tables.Sensitivity))
			c.Compare(t, "energy", flat(tables.Cost))
			c.CompareFloats(t, "budget", budgetOf(tables.Cost, opt.DesiredSpike-opt.MinSpike, opt.Ratio))

			// 3. Limits. 4. Thresholds for them, as SearchLimits puts them together.
			s := &search{ctx: t.Context(), g: folded, x: x, cfg: cfg, opt: opt, limits: limits, neurons: neurons}
			choice, err := Choose(tables.Sensitivity, tables.Cost, budgetOf(tables.Cost, opt.DesiredSpike-opt.MinSpike, opt.Ratio))
			if err != nil {
				t.Fatal(err)
			}
			var chosen []int
			for _, k := range choice.Index {
				chosen = append(chosen, limits[k])
			}
			c.CompareFloats(t, "limits", floats(chosen)...)
			c.CompareFloats(t, "limits_sensitivity", choice.Loss)
			c.CompareFloats(t, "limits_energy", choice.Cost)
			compareNeurons(t, c, "threshold1.", s.assemble(choice.Index).Config)

			// 5. Light calibration.
			stored := storedNeurons(t, c, cfg, "threshold1.", chosen)
			light, _, err := LightCalibration(t.Context(), nil, folded, folded, stored, channelsLast(t, c.Array(t, "light_batch1")), 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range c.Neurons {
				c.Compare(t, "bias1."+n.Bias, light.Node(n.Bias).Bias())
			}
			corrected := storedBiases(t, c, folded, "bias1.")
			test := channelsLast(t, c.Array(t, "test_input"))
			compareRun(t, c, corrected, stored, test, "snn_logits1", "spikes1")

			// 6. Tables of threshold ratios. 7. Ratios. 8. Thresholds. 9. Light
			// calibration from the biases of step 5.
			ssc := ReferenceCompress()
			ssc.Metric, ssc.Ratio = opt.Metric, c.Params.Float(t, "threshold_ratio")
			c.Params.Decode(t, "ssc_candidates", &ssc.Ratios)
			cfg.BiasSamples = 1
			res := &Result{Graph: corrected, SNN: stored}
			got, err := Compress(t.Context(), nil, folded, res, channelsLast(t, c.Array(t, "ssc_input")), cfg, ssc)
			if err != nil {
				t.Fatal(err)
			}
			c.Compare(t, "ssc_sensitivity", flat(got.Tables.Sensitivity))
			c.Compare(t, "ssc_energy", flat(got.Tables.Cost))
			c.CompareFloats(t, "ssc_budget", got.Bound)
			c.CompareFloats(t, "ssc_ratios", got.Chosen...)
			c.CompareFloats(t, "ssc_total_energy", got.Predicted.Cost*float64(got.Tables.Samples))
			compareNeurons(t, c, "threshold2.", got.Result.SNN)
			stored = storedNeurons(t, c, cfg, "threshold2.", chosen)
			light, _, err = LightCalibration(t.Context(), nil, folded, corrected, stored, channelsLast(t, c.Array(t, "light_batch2")), 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range c.Neurons {
				c.Compare(t, "bias2."+n.Bias, light.Node(n.Bias).Bias())
			}
			compareRun(t, c, storedBiases(t, c, folded, "bias2."), stored, test, "snn_logits2", "spikes2")
		})
	}
}

// searchable returns a prepared network, samples and quick settings.
func searchable(t testing.TB) (*graph.Graph, *tensor.Tensor, Config, SearchOptions) {
	t.Helper()
	cfg, opt := Default(), DefaultSearch()
	cfg.Timesteps, cfg.MaxSpike, cfg.Samples, cfg.BiasSamples = 3, 2, 48, 24
	opt.InitialSpike, opt.Samples = 4, 24
	return mustPrepare(t, small(t)), samples(21, 48, imageShape), cfg, opt
}

func TestLimitThresholdsAreThresholds(t *testing.T) {
	g, x, cfg, _ := searchable(t)
	for _, batches := range []int{0, 3} {
		cfg.Batches, cfg.BatchSize = batches, 16
		all, err := LimitThresholds(t.Context(), nil, g, x, cfg, []int{1, 5, 2})
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range []int{1, 5, 2} {
			cfg.MaxSpike = k
			want, err := Thresholds(t.Context(), nil, g, x, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, all[i]); d != "" {
				t.Errorf("%d batches, limit %d:\n%s", batches, k, d)
			}
		}
	}
	if _, err := LimitThresholds(t.Context(), nil, g, x, cfg, []int{1, 256}); err == nil || !strings.Contains(err.Error(), "maxspike 256") {
		t.Errorf("got error %v", err)
	}
}

func TestSearchLimits(t *testing.T) {
	g, x, cfg, opt := searchable(t)
	var first *SearchResult
	for _, workers := range []int{1, 3} {
		pool := parallel.New(workers)
		defer pool.Close()
		res, err := SearchLimits(t.Context(), pool, g, x, cfg, opt)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = res
		} else if d := cmp.Diff(first, res); d != "" {
			t.Fatalf("%d workers find something else (-one +more):\n%s", workers, d)
		}
	}
	r := first
	want, err := Choose(r.Tables.Sensitivity, r.Tables.Cost, r.Budget*24)
	if err != nil {
		t.Fatal(err)
	}
	for l, k := range want.Index {
		if r.Rounds == 1 && r.Chosen[l] != k+1 {
			t.Errorf("layer %d: chosen %d, want %d", l, r.Chosen[l], k+1)
		}
		if r.Kept == KeptUniform && r.Limits[l] != 2 || r.Kept == KeptSearched && r.Limits[l] != r.Chosen[l] {
			t.Errorf("kept %s: limit %d of layer %d, chosen %d", r.Kept, r.Limits[l], l, r.Chosen[l])
		}
		if n := r.Neurons.Config.Layers[l]; n.MaxSpike != r.Limits[l] {
			t.Errorf("layer %d: neurons of limit %d, want %d", l, n.MaxSpike, r.Limits[l])
		}
	}
	if math.Abs(r.Budget-budgetOf(r.Tables.Cost, 1, 1)/24) > 1e-9*r.Budget {
		t.Errorf("budget %g per sample", r.Budget)
	}
	// The thresholds are those of a conversion with the limits.
	cfg.MaxSpikes = r.Limits
	theta, err := Thresholds(t.Context(), nil, g, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(theta, r.Neurons); d != "" {
		t.Errorf("thresholds of a conversion (-), of the search (+):\n%s", d)
	}
	// What was measured is what a conversion with the chosen limits gives.
	cfg.MaxSpikes = r.Chosen
	converted, err := Convert(t.Context(), nil, g, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	e, err := opt.estimate(t.Context(), nil, g, converted.Graph, converted.SNN, x.Rows(0, 24), 0)
	if err != nil || e != r.Measured {
		t.Errorf("measured %+v, the conversion gives %+v (%v)", r.Measured, e, err)
	}
	if r.HeldOut == nil || r.HeldOut.Samples != 24 {
		t.Errorf("held out: %+v, want 24 samples", r.HeldOut)
	}
	if n := len(r.Frontier); n < 2 || !slices.IsSortedFunc(r.Frontier, func(a, b [2]float64) int { return int(math.Copysign(1, a[0]-b[0])) }) {
		t.Errorf("frontier of %d points: %v", n, r.Frontier)
	}
}

// TestSearchGuard: the uniform network stays if it is as good and affordable.
func TestSearchGuard(t *testing.T) {
	g, x, cfg, opt := searchable(t)
	pool := parallel.New(2)
	defer pool.Close()
	kept := map[string]int{}
	for seed := range uint64(6) {
		for _, ratio := range []float64{0.8, 1, 1.3} {
			opt.Ratio = ratio
			r, err := SearchLimits(t.Context(), pool, g, samples(30+seed, 36, imageShape), cfg, opt)
			if err != nil {
				t.Fatal(err)
			}
			kept[r.Kept]++
			h := r.HeldOut
			uniform := h.Uniform.Sensitivity <= h.Searched.Sensitivity && h.Uniform.Cost <= max(h.Searched.Cost, 1.02*r.Budget)
			if uniform != (r.Kept == KeptUniform) {
				t.Errorf("kept %s: held out %+v, budget %g", r.Kept, h, r.Budget)
			}
			if h.Samples != 12 || r.Tables.Samples != 24 {
				t.Errorf("%d samples held out, %d for the tables, want 12 and 24", h.Samples, r.Tables.Samples)
			}
		}
	}
	if kept[KeptSearched] == 0 || kept[KeptUniform] == 0 {
		t.Errorf("kept %v: want some of both", kept)
	}
	// Too few samples: a fifth is kept back.
	r, err := SearchLimits(t.Context(), pool, g, x.Rows(0, 20), cfg, opt)
	if err != nil || r.HeldOut.Samples != 4 || r.Tables.Samples != 16 {
		t.Errorf("20 samples: %+v, %v, want 16 and 4 held out", r, err)
	}
	if r, err = SearchLimits(t.Context(), pool, g, x.Rows(0, 2), cfg, opt); err != nil || r.HeldOut.Samples != 2 || r.Tables.Samples != 2 {
		t.Errorf("2 samples: %+v, %v", r, err)
	}
	opt.Guard = false
	if r, err = SearchLimits(t.Context(), pool, g, x, cfg, opt); err != nil || r.HeldOut != nil || r.Kept != KeptSearched || r.Tables.Samples != 24 {
		t.Errorf("without the guard: %+v, %v", r, err)
	}
}

func TestSearchRefuses(t *testing.T) {
	g, x, cfg, good := searchable(t)
	for want, change := range map[string]func(*SearchOptions){
		"1 <= minspike":                  func(o *SearchOptions) { o.MinSpike = 0 },
		"desired limit 5":                func(o *SearchOptions) { o.DesiredSpike = 5 },
		"desired limit 2":                func(o *SearchOptions) { o.MinSpike = 3 },
		"initialspike 256":               func(o *SearchOptions) { o.InitialSpike = 256 },
		"budget ratio 0":                 func(o *SearchOptions) { o.Ratio = 0 },
		"budget ratio NaN":               func(o *SearchOptions) { o.Ratio = math.NaN() },
		`metric "mse"`:                   func(o *SearchOptions) { o.Metric = "mse" },
		`cost "joules"`:                  func(o *SearchOptions) { o.Cost = "joules" },
		"samples 0":                      func(o *SearchOptions) { o.Samples = 0 },
		"0 labels for 48":                func(o *SearchOptions) { o.Metric = MetricAccuracy },
		"the smallest ratio possible is": func(o *SearchOptions) { o.Ratio = 0.01 },
	} {
		opt := good
		change(&opt)
		if r, err := SearchLimits(t.Context(), nil, g, x, cfg, opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want an error with %q", r, err, want)
		}
	}
	good.Ratio = 0.01
	_, err := SearchLimits(t.Context(), nil, g, x, cfg, good)
	var infeasible *InfeasibleError
	if !errors.As(err, &infeasible) {
		t.Fatalf("got %v, want an *InfeasibleError", err)
	}
}
