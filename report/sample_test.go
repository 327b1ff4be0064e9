package report

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"time"
)

// sample returns a made-up result of the form the demo writes: four settings
// and the reference profile at six numbers of timesteps. Its figures are
// consistent, not measured.
func sample() Result {
	layers := []struct {
		name    string
		shape   []int
		macs    int64
		neurons int64
		rate    float64 // mean activation over the threshold at T -> infinity
	}{
		{"features.2", []int{28, 28, 16}, 112896, 12544, 0.22},
		{"features.6", []int{14, 14, 32}, 903168, 6272, 0.17},
		{"features.9", []int{14, 14, 32}, 1806336, 6272, 0.14},
		{"features.13", []int{7, 7, 64}, 903168, 3136, 0.11},
		{"features.16", []int{7, 7, 64}, 1806336, 3136, 0.08},
	}
	r := Result{
		Schema: 1, Command: "demo", Version: "v0.1.0", Created: time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC), Seed: 1,
		CPU: "avx2", Workers: 2, Seconds: 141.2,
		Machine: &Machine{CPU: "Example CPU", Cores: 2, OS: "linux", Arch: "amd64", GoVersion: "go1.26"},
		Config:  json.RawMessage(`{"arch":"vgg-small","epochs":12,"lr":0.1,"T":[1,2,4,8,16,32],"calib":"light","name":"<b>"}`),
		Dataset: Dataset{Name: "digits", Train: 10000, Test: 2000, Classes: 10, Calibration: 1024},
		Network: Network{Arch: "vgg-small", Parameters: 70538, MACs: 5532544, Neurons: 31360},
		Energy:  EnergyProfile{Profile: "fp32", MACPJ: 4.6, ACPJ: 0.9},
		ANN:     ANN{Metrics: Metrics{Accuracy: new(0.991)}, EnergyPJ: 4.6 * 5532544},
		Timing:  Timing{TrainS: 61.3, CalibrateS: 1.4, EvaluateS: 44, ANNSamplesPerSec: 9000, SNNSamplesPerSec: 2100},
	}
	for _, l := range layers {
		r.ANN.Layers = append(r.ANN.Layers, ANNLayer{l.name, "conv2d", l.shape, l.macs, 4.6 * float64(l.macs)})
	}
	settings := []struct {
		name, calib, neuron, profile string
		limit                        int
		loss                         float64 // error at T = 1
	}{
		{"burst-light", "light", "burst", "default", 4, 0.05},
		{"burst-none", "none", "burst", "default", 4, 0.12},
		{"plain-light", "light", "if", "default", 1, 0.35},
		{"plain-none", "none", "if", "default", 1, 0.60},
		{"reference", "light", "burst", "reference", 4, 0.30},
	}
	for _, set := range settings {
		for _, t := range []int{1, 2, 4, 8, 16, 32} {
			steps := float64(t)
			s := SNN{
				Name: set.name, Timesteps: t, Calib: set.calib, Neuron: set.neuron, Profile: set.profile, AvgTimesteps: steps,
				MaxSpike: []int{set.limit, set.limit, set.limit, set.limit, set.limit},
				Metrics:  Metrics{Accuracy: new(0.9905 - set.loss/math.Pow(steps, 1.6))}, Agreement: new(0.998 - set.loss/steps),
				MACs: 112896, Reference: &Reference{EnergyPJ: 3e6 * steps},
			}
			scale := math.Sqrt(float64(set.limit))
			for i, l := range layers {
				rate := l.rate * scale
				row := Layer{
					Name: l.name, Op: "relu", Shape: l.shape, Neurons: l.neurons, MaxSpike: set.limit,
					ThresholdMean: (0.4 + 0.3*float64(i)) / float64(set.limit), Spikes: float64(l.neurons) * rate * steps,
					Density: min(1, rate*0.8),
				}
				row.ThresholdMin, row.ThresholdMax = row.ThresholdMean*0.4, row.ThresholdMean*2.1
				row.Events = row.Density * float64(l.neurons) * steps
				// A row has what its spikes cause in the layer behind it, the first
				// one its analog current too.
				row.ANNMACs = 640
				if i+1 < len(layers) {
					row.SOPs, row.ANNMACs = float64(layers[i+1].macs)*rate*steps, layers[i+1].macs
				} else {
					row.SOPs = 250 * steps * scale
				}
				if i == 0 {
					row.MACs = 112896
					row.ANNMACs += l.macs
				}
				row.ANNEnergyPJ = 4.6 * float64(row.ANNMACs)
				row.EnergyPJ = 4.6*row.MACs + 0.9*row.SOPs
				s.Layers = append(s.Layers, row)
				s.Spikes += row.Spikes
				s.Events += row.Events
				s.SOPs += row.SOPs
				s.EnergyPJ += row.EnergyPJ
			}
			s.Density = s.Events / (31360 * steps)
			r.SNN = append(r.SNN, s)
		}
	}
	r.Derive()
	return r
}

// sampleMethod returns sample with one more setting in front that went through
// all stages of the method.
func sampleMethod() Result {
	r := sample()
	var base SNN
	for _, s := range r.SNN {
		if s.Name == "burst-light" && s.Timesteps == 8 {
			base = s
		}
	}
	full := base
	full.Name, full.Layers = "adafire", nil
	for _, l := range base.Layers {
		for _, v := range []*float64{&l.Spikes, &l.Events, &l.Density, &l.SOPs, &l.EnergyPJ} {
			*v *= 0.4
		}
		full.Layers = append(full.Layers, l)
	}
	full.Spikes, full.Events, full.Density, full.SOPs, full.EnergyPJ = 0.4*base.Spikes, 0.4*base.Events, 0.4*base.Density, 0.4*base.SOPs, 0.4*base.EnergyPJ
	search := &Search{Layers: []string{"features.2", "features.6", "features.9", "features.13", "features.16"}, BudgetRatio: 0.95, CostUnit: "sops", Metric: "kl", Samples: 1024, Chosen: make([]int, 5), Guard: "searched",
		Measured: &Estimate{6.21e6, 0.0021}, Uniform: &Uniform{4, Estimate{6.55e6, 0.0026}},
		HeldOut: &HeldOut{256, Estimate{6.2e6, 0.0022}, Estimate{6.5e6, 0.0027}}, Rounds: 2}
	for k := range 8 {
		search.Candidates = append(search.Candidates, k+1)
	}
	ssc := &SSC{Ratio: 1.2, CostUnit: "sops", Metric: "kl", Chosen: []float64{1, 1.5, 1, 2.5, 3}, Measured: &Change{Estimate{6.21e6, 0.0021}, Estimate{3.9e6, 0.0048}}}
	for k := range 19 {
		ssc.Candidates = append(ssc.Candidates, 1+float64(k)/2)
	}
	for l := range 5 {
		weight := 1 / float64(l+1)
		var sense, cost, raised, saved []float64
		for k := range 8 {
			sense = append(sense, 0.002+weight*weight*0.08/float64((k+1)*(k+1)))
			cost = append(cost, (1+0.4*float64(l))*4e5*math.Pow(float64(k+1), 0.8))
		}
		for k := range 19 {
			raised, saved = append(raised, 0.002*(1+weight*float64(k*k)/8)), append(saved, weight*2e6/math.Sqrt(1+float64(k)))
		}
		search.Sensitivity, search.Cost = append(search.Sensitivity, sense), append(search.Cost, cost)
		ssc.Sensitivity, ssc.Cost = append(ssc.Sensitivity, raised), append(ssc.Cost, saved)
	}
	search.Budget = 0.95 * search.uniform(3).Cost
	search.Frontier, search.Chosen = frontier(search)
	full.MaxSpike = search.Chosen
	iat := &IAT{Policy: "target", Score: "entropy", Risk: 0.005, Delta: 0.05, Accumulate: "sum", Samples: 600, Agreement: 1, Bound: 0.00498,
		Limits: []float64{0, 2e-5, 0.03, 0.05, 0.06, 0.06, 0.07, 0.07}, Thresholds: []float64{1, 0.99998, 0.97, 0.95, 0.94, 0.94, 0.93, 0.93},
		Exits:         []int{0, 620, 790, 310, 120, 60, 40, 60},
		FixedAccuracy: []float64{0.942, 0.974, 0.982, 0.985, 0.9862, 0.9868, 0.987, 0.9872}}
	for _, risk := range []float64{0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05} {
		iat.Curve = append(iat.Curve, ExitPoint{Setting: risk, Accuracy: 0.9872 - 0.3*risk, AvgTimesteps: 4.2 - 11*math.Sqrt(risk), EnergyPJ: 1e6})
	}
	for _, floor := range []float64{0.6, 0.7, 0.8, 0.9} {
		iat.Curve = append(iat.Curve, ExitPoint{Policy: "paper", Setting: floor, Accuracy: 0.975 + 0.013*floor, AvgTimesteps: 1.5 + 3*floor*floor})
	}
	full.Search, full.SSC, full.IAT = search, ssc, iat
	full.AvgTimesteps, _ = iat.meanExit()
	full.Accuracy = new(0.9868)
	r.SNN = append([]SNN{full}, r.SNN...)
	r.Derive()
	return r
}

// frontier finds the frontier within the budget and its last choice by trying
// all assignments.
func frontier(s *Search) (points [][2]float64, chosen []int) {
	type option struct {
		e      Estimate
		limits []int
	}
	options := []option{{}}
	for l := range s.Cost {
		var next []option
		for _, o := range options {
			for k, limit := range s.Candidates {
				e := Estimate{o.e.Cost + s.Cost[l][k], o.e.Sensitivity + s.Sensitivity[l][k]}
				if e.Cost <= s.Budget {
					next = append(next, option{e, append(o.limits[:len(o.limits):len(o.limits)], limit)})
				}
			}
		}
		options = next
	}
	slices.SortFunc(options, func(a, b option) int { return cmp.Compare(a.e.Cost, b.e.Cost) })
	best := math.Inf(1)
	for _, o := range options {
		if o.e.Sensitivity < best {
			best, chosen = o.e.Sensitivity, o.limits
			points = append(points, [2]float64{o.e.Cost, o.e.Sensitivity})
		}
	}
	return points, chosen
}
