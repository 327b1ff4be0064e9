package report

import (
	"encoding/json"
	"math"
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
					Density: min(1, rate*0.8), ANNMACs: l.macs, ANNEnergyPJ: 4.6 * float64(l.macs),
				}
				row.ThresholdMin, row.ThresholdMax = row.ThresholdMean*0.4, row.ThresholdMean*2.1
				row.Events = row.Density * float64(l.neurons) * steps
				if i == 0 {
					row.MACs = 112896
				} else {
					row.SOPs = float64(l.macs) * layers[i-1].rate * scale * steps
				}
				row.EnergyPJ = 4.6*row.MACs + 0.9*row.SOPs
				s.Layers = append(s.Layers, row)
				s.Spikes += row.Spikes
				s.Events += row.Events
				s.SOPs += row.SOPs
				s.EnergyPJ += row.EnergyPJ
			}
			readout := Layer{Name: "classifier", Op: "linear", Shape: []int{10}, SOPs: 250 * steps * scale, EnergyPJ: 225 * steps * scale,
				ANNMACs: 640, ANNEnergyPJ: 4.6 * 640}
			s.Layers = append(s.Layers, readout)
			s.SOPs += readout.SOPs
			s.EnergyPJ += readout.EnergyPJ
			s.Density = s.Events / (31360 * steps)
			r.SNN = append(r.SNN, s)
		}
	}
	r.Derive()
	return r
}
