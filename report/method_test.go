package report

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMethodRefuses changes one thing in a good result at a time.
func TestMethodRefuses(t *testing.T) {
	tests := []struct {
		want   string // behind "snn[0]."
		change func(s *SNN)
	}{
		{"search.chosen has 0 layers, want 1", func(s *SNN) { s.Search.Chosen = nil }},
		{"search.candidates has 0 entries, want 1", func(s *SNN) { s.Search.Candidates = nil }},
		{"search.candidates 3 and 3 do not ascend", func(s *SNN) { s.Search.Candidates[3] = 3 }},
		{"search.candidates is 300, want 1 to 255", func(s *SNN) { s.Search.Candidates[7] = 300 }},
		{"search.chosen[2] is 9, which is no candidate", func(s *SNN) { s.Search.Chosen[2] = 9 }},
		{"search.layers has 2 names, chosen 5 layers", func(s *SNN) { s.Search.Layers = []string{"a", "b"} }},
		{"search.layers[0] is empty", func(s *SNN) { s.Search.Layers = make([]string, 5) }},
		{"search.sensitivity has 4 layers, chosen 5", func(s *SNN) { s.Search.Sensitivity = s.Search.Sensitivity[1:] }},
		{"search.cost[1] has 7 entries for 8 candidates", func(s *SNN) { s.Search.Cost[1] = s.Search.Cost[1][1:] }},
		{"search.cost[1] is -1, want a number", func(s *SNN) { s.Search.Cost[1][2] = -1 }},
		{"search.budget is -1", func(s *SNN) { s.Search.Budget = -1 }},
		{"search.cost_unit is empty", func(s *SNN) { s.Search.CostUnit = "" }},
		{"search.metric is empty", func(s *SNN) { s.Search.Metric = "" }},
		{"search.predicted.cost is -1", func(s *SNN) { s.Search.Predicted.Cost = -1 }},
		{"search.measured.sensitivity is 1e+31", func(s *SNN) { s.Search.Measured.Sensitivity = 1e31 }},
		{"search.uniform.maxspike is 0", func(s *SNN) { s.Search.Uniform.MaxSpike = 0 }},
		{"search.frontier[1] costs 0, less than the point before it", func(s *SNN) { s.Search.Frontier[1][0] = 0 }},
		{"search.frontier has 10001 points", func(s *SNN) { s.Search.Frontier = make([][2]float64, maxFrontier+1) }},
		{"ssc.ratio is -1", func(s *SNN) { s.SSC.Ratio = -1 }},
		{"ssc.candidates[0] is 0, want a ratio above 0", func(s *SNN) { s.SSC.Candidates[0] = 0 }},
		{"ssc.candidates 1 and 1 do not ascend", func(s *SNN) { s.SSC.Candidates[1] = 1 }},
		{"ssc.chosen[0] is 1.1, which is no candidate", func(s *SNN) { s.SSC.Chosen[0] = 1.1 }},
		{"ssc.sensitivity has 0 layers, chosen 5", func(s *SNN) { s.SSC.Sensitivity = nil }},
		{"ssc.measured.after.cost is -1", func(s *SNN) { s.SSC.Measured.After.Cost = -1 }},
		{"ssc.metric is empty", func(s *SNN) { s.SSC.Metric, s.SSC.Sensitivity, s.SSC.Cost = "", nil, nil }},
		{"iat.policy is empty", func(s *SNN) { s.IAT.Policy = "" }},
		{"iat.score is empty", func(s *SNN) { s.IAT.Score = "" }},
		{"iat.risk is 5, want a fraction", func(s *SNN) { s.IAT.Risk = 5 }},
		{"iat.thresholds has 7 entries, T is 8", func(s *SNN) { s.IAT.Thresholds = s.IAT.Thresholds[1:] }},
		{"iat.thresholds holds 1.5, want -1 to 1", func(s *SNN) { s.IAT.Thresholds[3] = 1.5 }},
		{"iat.limits has 1 entries, T is 8", func(s *SNN) { s.IAT.Limits = []float64{1} }},
		{"iat.limits holds -1, want 0 to 2", func(s *SNN) { s.IAT.Limits[1] = -1 }},
		{"iat.delta is 5, want a fraction", func(s *SNN) { s.IAT.Delta = 5 }},
		{"iat.bound is 5, want a fraction", func(s *SNN) { s.IAT.Bound = 5 }},
		{"iat.calibration_agreement is 5, want a fraction", func(s *SNN) { s.IAT.Agreement = 5 }},
		{"iat.calibration_samples is -1, want 0 to", func(s *SNN) { s.IAT.Samples = -1 }},
		{"search.held_out.searched.cost is -1", func(s *SNN) { s.Search.HeldOut.Searched.Cost = -1 }},
		{"search.rounds is -1", func(s *SNN) { s.Search.Rounds = -1 }},
		{"ssc.used_ratio is -1", func(s *SNN) { s.SSC.Used = -1 }},
		{"iat.exits has 7 entries, T is 8", func(s *SNN) { s.IAT.Exits = s.IAT.Exits[1:] }},
		{"iat.exits[0] is -1, want 0 to", func(s *SNN) { s.IAT.Exits[0] = -1 }},
		{"iat.exits have the mean 8, avg_timesteps is 3.2", func(s *SNN) { s.IAT.Exits = []int{0, 0, 0, 0, 0, 0, 0, 9} }},
		{"iat.fixed_accuracy has 1 entries, T is 8", func(s *SNN) { s.IAT.FixedAccuracy = []float64{1} }},
		{"iat.curve[2].accuracy is 98, want a fraction", func(s *SNN) { s.IAT.Curve[2].Accuracy = 98 }},
		{"iat.curve[2].avg_timesteps is 9, want 1 to T = 8", func(s *SNN) { s.IAT.Curve[2].AvgTimesteps = 9 }},
		{"iat.curve has 1001 points", func(s *SNN) { s.IAT.Curve = make([]ExitPoint, maxSweep+1) }},
	}
	for _, test := range tests {
		r := sampleMethod()
		test.change(&r.SNN[0])
		if err := r.Validate(); err == nil || !strings.HasPrefix(err.Error(), "snn[0]."+test.want) {
			t.Errorf("got %v, want snn[0].%s", err, test.want)
		}
	}
}

// TestPairs checks the one rule of reading that encoding/json lacks for them.
func TestPairs(t *testing.T) {
	r := sampleMethod()
	r.SNN = r.SNN[:1]
	r.SNN[0].Search.Frontier = [][2]float64{{7, 0.5}}
	good := string(encode(t, r))
	pair := good[strings.Index(good, `"frontier": [`):]
	pair = pair[len(`"frontier": [`) : strings.Index(pair, "]")+1]
	for with, want := range map[string]string{
		"[7]": "frontier[] has 1 entries, want 2", "[7, 0.5, 1]": "has 3 entries, want 2", "[]": "has 0 entries, want 2",
		"[7, null]": "frontier[][] is null", "7": "cannot unmarshal number", `{"cost": 7}`: "is an object or a list, want a array",
	} {
		if _, err := DecodeResult("r.json", []byte(strings.Replace(good, pair, with, 1))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", with, err, want)
		}
	}
}

// drawMethod gives an entry any valid stages.
func drawMethod(t *rapid.T, s *SNN) {
	amount := rapid.OneOf(rapid.Float64Range(0, 10), rapid.Float64Range(0, 1e28), rapid.Just(0.0))
	signed := rapid.OneOf(rapid.Float64Range(-1, 1), rapid.Float64Range(-1e28, 1e28), rapid.Just(0.0))
	fraction := rapid.Float64Range(0, 1)
	name := rapid.SampledFrom([]string{"kl", "accuracy", "sops", "pj", "<b>", "target", "paper", "entropy"})
	estimate := func() Estimate { return Estimate{amount.Draw(t, "cost"), signed.Draw(t, "sensitivity")} }
	tables := func(layers, candidates int) (sensitivity, cost [][]float64) {
		for range layers {
			sensitivity = append(sensitivity, rapid.SliceOfN(signed, candidates, candidates).Draw(t, "sensitivity"))
			cost = append(cost, rapid.SliceOfN(amount, candidates, candidates).Draw(t, "cost"))
		}
		return sensitivity, cost
	}
	layers := rapid.IntRange(1, 4).Draw(t, "layers")
	if rapid.Bool().Draw(t, "search") {
		q := &Search{CostUnit: name.Draw(t, "unit"), Metric: name.Draw(t, "metric"), Budget: amount.Draw(t, "budget"), Guard: rapid.SampledFrom([]string{"", "uniform", "<i>"}).Draw(t, "guard")}
		q.Candidates = rapid.SliceOfNDistinct(rapid.IntRange(1, 255), 1, 5, rapid.ID).Draw(t, "candidates")
		slices.Sort(q.Candidates)
		q.Chosen = rapid.SliceOfN(rapid.SampledFrom(q.Candidates), layers, layers).Draw(t, "chosen")
		q.Sensitivity, q.Cost = tables(layers, len(q.Candidates))
		for _, cost := range slices.Sorted(slices.Values(rapid.SliceOfN(amount, 0, 50).Draw(t, "frontier"))) {
			q.Frontier = append(q.Frontier, [2]float64{cost, signed.Draw(t, "sensitivity")})
		}
		if rapid.Bool().Draw(t, "measured") {
			q.Measured = new(estimate())
		}
		if rapid.Bool().Draw(t, "uniform") {
			q.Uniform = &Uniform{rapid.IntRange(1, 255).Draw(t, "limit"), estimate()}
		}
		s.Search = q
	}
	if rapid.Bool().Draw(t, "ssc") {
		q := &SSC{CostUnit: name.Draw(t, "unit"), Metric: name.Draw(t, "metric"), Ratio: amount.Draw(t, "ratio")}
		q.Candidates = rapid.SliceOfNDistinct(rapid.SampledFrom([]float64{0.5, 1, 1.5, 2, 10}), 1, 5, rapid.ID).Draw(t, "candidates")
		slices.Sort(q.Candidates)
		q.Chosen = rapid.SliceOfN(rapid.SampledFrom(q.Candidates), layers, layers).Draw(t, "chosen")
		if rapid.Bool().Draw(t, "tables") {
			q.Sensitivity, q.Cost = tables(layers, len(q.Candidates))
		}
		if rapid.Bool().Draw(t, "measured") {
			q.Measured = &Change{estimate(), estimate()}
		}
		s.SSC = q
	}
	if n := s.Timesteps; rapid.Bool().Draw(t, "iat") {
		x := &IAT{Policy: name.Draw(t, "policy"), Score: name.Draw(t, "score"), Risk: fraction.Draw(t, "risk"), Floor: fraction.Draw(t, "floor"),
			Thresholds: rapid.SliceOfN(fraction, n, n).Draw(t, "thresholds")}
		if rapid.Bool().Draw(t, "exits") {
			x.Exits = rapid.SliceOfN(rapid.IntRange(0, 1000), n, n).Draw(t, "exits")
			if mean, ok := x.meanExit(); ok {
				s.AvgTimesteps = mean
			}
		}
		if rapid.Bool().Draw(t, "fixed") {
			x.FixedAccuracy = rapid.SliceOfN(fraction, n, n).Draw(t, "fixed")
		}
		for range rapid.IntRange(0, 5).Draw(t, "points") {
			x.Curve = append(x.Curve, ExitPoint{Policy: rapid.SampledFrom([]string{"", "paper", "target"}).Draw(t, "policy"),
				Setting: fraction.Draw(t, "setting"), Accuracy: fraction.Draw(t, "accuracy"), AvgTimesteps: rapid.Float64Range(1, float64(n)).Draw(t, "steps")})
		}
		s.IAT = x
	}
}
