package convert

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// CompressOptions say how to raise thresholds (Sensitivity Spike Compression).
type CompressOptions struct {
	Measure
	// Ratio bounds the summed sensitivity, as a multiple of that of unchanged
	// thresholds; below 1 it is met only if raising thresholds helps.
	Ratio float64 `json:"threshold_ratio"`
	// Ratios are the candidates, ascending; the first is 1.
	Ratios []float64 `json:"ratios"`
	// Recalibrate corrects the biases again for the raised thresholds.
	Recalibrate bool `json:"recalibrate"`
	// Joint lowers the bound, to 1 at the least, until the sensitivity of the
	// whole network, measured, is within Ratio times that before: sums of
	// single layers do not bound it.
	Joint bool `json:"joint,omitempty"`
}

// DefaultCompress returns candidates from 1 to 10 that are finer than the
// paper's where most choices fall, and SOPs as the cost.
func DefaultCompress() CompressOptions {
	return CompressOptions{Measure: Measure{Metric: MetricKL, Cost: CostSOPs, Samples: 1024}, Ratio: 1, Recalibrate: true,
		Ratios: []float64{1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 5, 6, 8, 10}}
}

// ReferenceCompress returns the rules of the authors' code: the candidates 1,
// 1.5, 2 ... 10, spikes as the cost, one batch.
func ReferenceCompress() CompressOptions {
	o := DefaultCompress()
	o.Cost, o.Samples, o.Ratios = CostSpikes, 256, nil
	for r := 1.0; r <= 10; r += 0.5 {
		o.Ratios = append(o.Ratios, r)
	}
	return o
}

// Validate checks the options; the number of labels is checked by Compress.
func (o *CompressOptions) Validate() error {
	if !(o.Ratio > 0) || math.IsInf(o.Ratio, 0) {
		return fmt.Errorf("threshold ratio %g: want a positive number", o.Ratio)
	}
	if len(o.Ratios) == 0 || o.Ratios[0] != 1 {
		return fmt.Errorf("candidates %v: the first must be 1", o.Ratios)
	}
	for i, r := range o.Ratios {
		if i > 0 && !(r > o.Ratios[i-1]) || r > 1e6 {
			return fmt.Errorf("candidates %v: want ascending numbers up to 1e6", o.Ratios)
		}
	}
	return o.validate(len(o.Labels))
}

// A CompressResult is one threshold ratio per layer and how it was found. All
// estimates are per sample, on the samples of the tables.
type CompressResult struct {
	Tables *Tables   `json:"tables"` // candidates are threshold ratios
	Ratio  float64   `json:"ratio"`  // as asked for
	Used   float64   `json:"used"`   // ratio of the choice: smaller than Ratio if Joint lowered it
	Bound  float64   `json:"bound"`  // Used times the summed sensitivity of unchanged thresholds
	Chosen []float64 `json:"chosen"` // per layer
	// JointMet says that the measured sensitivity of the whole network is
	// within Ratio times that before.
	JointMet    bool `json:"joint_met"`
	Approximate bool `json:"approximate,omitempty"` // see Choice

	Predicted Estimate `json:"predicted"` // sums of the tables over Chosen
	Unchanged Estimate `json:"unchanged"` // sums of the tables over ratio 1
	Before    Estimate `json:"before"`    // the network as it was, measured
	After     Estimate `json:"after"`     // the network with raised thresholds, recalibrated

	Result *Result `json:"-"` // the compressed network
}

// Compress raises the thresholds of the layers of a converted network by one
// ratio each: the ratios of the least summed cost whose summed sensitivity stays
// within options.Ratio times that of unchanged thresholds (algorithms.md 6).
// Afterwards it corrects the biases again on the first cfg.BiasSamples of x, as
// Convert does. original is the prepared graph before any correction; res stays
// as it is.
func Compress(ctx context.Context, pool *parallel.Pool, original *graph.Graph, res *Result, x *tensor.Tensor, cfg Config, opt CompressOptions) (*CompressResult, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	if err := checkSamples(x); err != nil {
		return nil, err
	}
	if err := opt.validate(x.Shape[0]); err != nil {
		return nil, err
	}
	t, err := opt.tables(ctx, pool, x, ratioTrial(original, res, opt.Ratios, opt.Labels))
	if err != nil {
		return nil, err
	}
	c := &compression{ctx: ctx, pool: pool, original: original, res: res, x: x, cfg: cfg, opt: opt,
		tables: t, bounded: t.nonNegative(), tried: make(map[string]*CompressResult)}
	if c.before, err = opt.estimate(ctx, pool, original, res.Graph, res.SNN, first(x, opt.Samples), 0); err != nil {
		return nil, err
	}
	out, err := c.try(opt.Ratio)
	if err != nil || !opt.Joint || out.JointMet || opt.Ratio <= 1 {
		return out, err
	}
	return c.lower()
}

// ratioTrial multiplies the thresholds of every layer by every ratio.
func ratioTrial(original *graph.Graph, res *Result, ratios []float64, labels []int) *trial {
	tr := &trial{original: original, graph: res.Graph, base: res.SNN, candidates: ratios, labels: labels}
	for _, l := range res.SNN.Layers {
		row := make([]snn.Layer, len(ratios))
		for i, r := range ratios {
			row[i] = raise(l, r)
		}
		tr.layers = append(tr.layers, row)
	}
	return tr
}

// raise multiplies the thresholds of a layer; initial potentials, in units of
// the activation, stay.
func raise(l snn.Layer, ratio float64) snn.Layer {
	l.Threshold = slices.Clone(l.Threshold)
	for ch := range l.Threshold {
		l.Threshold[ch] = float32(float64(l.Threshold[ch]) * ratio)
	}
	return l
}

// A compression holds what does not change while ratios are chosen.
type compression struct {
	ctx      context.Context
	pool     *parallel.Pool
	original *graph.Graph
	res      *Result
	x        *tensor.Tensor
	cfg      Config
	opt      CompressOptions
	tables   *Tables
	bounded  [][]float64 // sensitivities, none below 0
	before   Estimate
	tried    map[string]*CompressResult // by choice
}

// try chooses ratios for a bound, and makes and measures the network.
func (c *compression) try(ratio float64) (*CompressResult, error) {
	bound := budgetOf(c.bounded, 0, ratio)
	choice, err := Choose(c.tables.Cost, c.bounded, bound)
	var infeasible *InfeasibleError
	if errors.As(err, &infeasible) {
		return nil, fmt.Errorf("threshold ratio %g: no thresholds are that little sensitive; the smallest ratio possible is %.4g: %w",
			ratio, infeasible.Least/bound*ratio, err)
	} else if err != nil {
		return nil, err
	}
	key := fmt.Sprint(choice.Index)
	if known := c.tried[key]; known != nil {
		out := *known
		out.Used, out.Bound = ratio, bound
		return &out, nil
	}
	t := c.tables
	out := &CompressResult{Tables: t, Ratio: c.opt.Ratio, Used: ratio, Bound: bound, Approximate: choice.Approximate,
		Predicted: t.sum(choice.Index), Unchanged: t.sum(make([]int, len(t.Nodes))), Before: c.before}
	res := *c.res
	res.SNN = c.res.SNN.Clone()
	for l, k := range choice.Index {
		out.Chosen = append(out.Chosen, c.opt.Ratios[k])
		res.SNN.Layers[l] = raise(res.SNN.Layers[l], c.opt.Ratios[k])
	}
	if c.opt.Recalibrate {
		res.Graph, res.Layers, err = LightCalibration(c.ctx, c.pool, c.original, res.Graph, res.SNN, first(c.x, c.cfg.BiasSamples), c.cfg.Iterations)
		if err != nil {
			return nil, err
		}
	}
	if out.After, err = c.opt.estimate(c.ctx, c.pool, c.original, res.Graph, res.SNN, first(c.x, c.opt.Samples), 0); err != nil {
		return nil, err
	}
	out.JointMet = out.After.Sensitivity <= c.opt.Ratio*c.before.Sensitivity
	out.Result = &res
	c.tried[key] = out
	return out, nil
}

// lower bisects the ratio for the largest whose network keeps the bound.
func (c *compression) lower() (*CompressResult, error) {
	best, err := c.try(1)
	if err != nil || !best.JointMet {
		return best, err
	}
	for lo, hi, i := 1.0, c.opt.Ratio, 0; i < 8; i++ {
		mid := (lo + hi) / 2
		out, err := c.try(mid)
		if err != nil {
			return nil, err
		}
		if out.JointMet {
			best, lo = out, mid
		} else {
			hi = mid
		}
	}
	return best, nil
}
