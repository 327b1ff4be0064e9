// Package convert turns a trained network into a spiking one: the method of
// "Adaptive Calibration: A Unified Conversion Framework of Spiking Neural
// Networks" (AAAI 2025), and what goes beyond it. It is the only package that
// knows the paper; package snn runs the result.
//
//	res, err := convert.Convert(ctx, pool, g, samples, convert.Default())
//	net, err := res.Network()
//	out, err := net.Run(ctx, pool, x, snn.Options{})
//
// Each stage can be used alone: Prepare (folding and clean-up), Thresholds,
// LightCalibration, PotentialCalibration. Nothing is hidden state: a stage is a
// function of the graph, the samples and the settings.
package convert

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A Result is a converted network: the prepared graph with its corrected biases,
// and the neurons.
type Result struct {
	Graph *graph.Graph
	SNN   *snn.Config
	// Dead lists, per layer, the channels that never fired on the calibration
	// samples (or whose percentile is 0); their threshold is the median of the
	// layer's.
	Dead map[string][]int
	// Layers is what light calibration found, in order; nil without it.
	Layers []LayerError
}

// Network compiles the result.
func (r *Result) Network() (*snn.Network, error) { return snn.New(r.Graph, r.SNN) }

// Convert runs the whole conversion of g with calibration samples x [N, input
// shape], preprocessed as for evaluation: preparation, thresholds, calibration.
// If x holds more samples than the settings ask for, the first ones are used; if
// fewer, all.
func Convert(ctx context.Context, pool *parallel.Pool, g *graph.Graph, x *tensor.Tensor, cfg Config) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	prepared, err := Prepare(g)
	if err != nil {
		return nil, err
	}
	if err := checkSamples(x); err != nil {
		return nil, err
	}
	theta, err := Thresholds(ctx, pool, prepared, first(x, cfg.Samples), cfg)
	if err != nil {
		return nil, err
	}
	return Calibrate(ctx, pool, prepared, theta, x, cfg)
}

// Calibrate is what Convert does once thresholds are found: the calibration that
// cfg asks for, on the first cfg.BiasSamples of x. g is a prepared graph.
func Calibrate(ctx context.Context, pool *parallel.Pool, g *graph.Graph, theta *Neurons, x *tensor.Tensor, cfg Config) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := checkSamples(x); err != nil {
		return nil, err
	}
	res := &Result{Graph: g, SNN: theta.Config, Dead: theta.Dead}
	x = first(x, cfg.BiasSamples)
	var err error
	switch cfg.Calibration {
	case CalibrationLight:
		res.Graph, res.Layers, err = LightCalibration(ctx, pool, g, res.Graph, res.SNN, x, cfg.Iterations)
	case CalibrationPotential:
		res.SNN, err = PotentialCalibration(ctx, pool, g, res.Graph, res.SNN, x, cfg.ClampStart)
	}
	if err == nil && cfg.Readout {
		res.Graph, err = correctReadout(ctx, pool, g, res.Graph, res.SNN, x)
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

func checkSamples(x *tensor.Tensor) error {
	if x == nil || len(x.Shape) == 0 || x.Shape[0] == 0 {
		return errors.New("no calibration samples")
	}
	if n, err := tensor.Numel(x.Shape); err != nil || n != len(x.Data) {
		return fmt.Errorf("calibration samples of shape %v hold %d values: %w", x.Shape, len(x.Data), tensor.ErrShape)
	}
	return nil
}

func first(x *tensor.Tensor, n int) *tensor.Tensor { return x.Rows(0, min(n, x.Shape[0])) }

// Neurons is what Thresholds finds.
type Neurons struct {
	Config *snn.Config
	Dead   map[string][]int // channels that never fired, per layer
}

// Thresholds finds the threshold of every neuron of the prepared graph g from
// the activations of the ANN on x (algorithms.md 3): pooled over all samples, or
// batch by batch with an exponential average where cfg.Batches > 0.
func Thresholds(ctx context.Context, pool *parallel.Pool, g *graph.Graph, x *tensor.Tensor, cfg Config) (*Neurons, error) {
	all, err := thresholds(ctx, pool, g, x, []Config{cfg})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// LimitThresholds is Thresholds for several burst limits, each for all layers,
// from one pass over the statistics: what a search needs, whose every choice is
// put together from these (cfg.MaxSpike and cfg.MaxSpikes do not matter).
func LimitThresholds(ctx context.Context, pool *parallel.Pool, g *graph.Graph, x *tensor.Tensor, cfg Config, limits []int) ([]*Neurons, error) {
	cfgs := make([]Config, len(limits))
	for i, k := range limits {
		cfgs[i] = cfg
		cfgs[i].MaxSpike, cfgs[i].MaxSpikes = k, nil
	}
	return thresholds(ctx, pool, g, x, cfgs)
}

// thresholds serves several settings that differ in their burst limits only.
func thresholds(ctx context.Context, pool *parallel.Pool, g *graph.Graph, x *tensor.Tensor, cfgs []Config) ([]*Neurons, error) {
	nodes := snn.Activations(g)
	if len(nodes) == 0 {
		return nil, fmt.Errorf("the network has no activation to replace by neurons")
	}
	for _, cfg := range cfgs {
		if err := cfg.Validate(); err != nil {
			return nil, err
		}
		if len(cfg.MaxSpikes) > 0 && len(cfg.MaxSpikes) != len(nodes) {
			return nil, fmt.Errorf("%d burst limits for %d layers of neurons", len(cfg.MaxSpikes), len(nodes))
		}
	}
	if err := checkSamples(x); err != nil {
		return nil, err
	}
	if len(cfgs) == 0 {
		return nil, nil
	}
	average := make([][][]float32, len(cfgs))
	for c := range average {
		average[c] = make([][]float32, len(nodes))
	}
	batches := []*tensor.Tensor{x}
	if cfg := cfgs[0]; cfg.Batches > 0 {
		batches = batches[:0]
		for lo := 0; lo < x.Shape[0] && len(batches) < cfg.Batches; lo += cfg.BatchSize {
			batches = append(batches, x.Rows(lo, min(lo+cfg.BatchSize, x.Shape[0])))
		}
	}
	for b, batch := range batches {
		o, err := newObserver(g, pool, batch)
		if err != nil {
			return nil, err
		}
		o.first = b * cfgs[0].BatchSize
		all, err := o.collect(ctx, pool, cfgs)
		if err != nil {
			return nil, err
		}
		for l, a := range all {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			rules := make([]rule, len(cfgs))
			for c := range cfgs {
				rules[c] = cfgs[c].rule(l)
			}
			for c, theta := range allThresholds(pool, a, rules) {
				if b > 0 {
					theta = smooth(average[c][l], theta, cfgs[c].Momentum)
				}
				average[c][l] = theta
			}
			a.values, a.count, a.sum = nil, nil, nil // their memory goes back
		}
	}
	var out []*Neurons
	for c, cfg := range cfgs {
		out = append(out, cfg.neurons(nodes, average[c]))
	}
	return out, nil
}

// neurons makes layers of neurons from thresholds as found, per layer.
func (c *Config) neurons(nodes []*graph.Node, theta [][]float32) *Neurons {
	out := &Neurons{Config: c.rules(), Dead: make(map[string][]int)}
	for l, n := range nodes {
		if dead := revive(theta[l]); len(dead) > 0 {
			out.Dead[n.Name] = dead
		}
		if limit := graph.ActivationLimit(n); !math.IsInf(limit, 1) && c.CapReLU6 {
			for ch := range theta[l] {
				theta[l][ch] = min(theta[l][ch], float32(limit)/float32(c.maxSpike(l)))
			}
		}
		out.Config.Layers = append(out.Config.Layers, snn.Layer{Node: n.Name, Threshold: theta[l], MaxSpike: c.maxSpike(l)})
	}
	return out
}

// smooth is the authors' moving average over batches: the first batch as it is,
// then momentum*old + (1-momentum)*new. A momentum of 0 stands for the
// maximum over the batches.
func smooth(old, theta []float32, momentum float64) []float32 {
	for ch := range old {
		if momentum == 0 {
			old[ch] = max(old[ch], theta[ch])
		} else {
			old[ch] = float32(momentum*float64(old[ch]) + (1-momentum)*float64(theta[ch]))
		}
	}
	return old
}
