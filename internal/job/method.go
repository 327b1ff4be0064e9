package job

import (
	"context"
	"fmt"
	"time"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/report"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/task"
	"github.com/adafire/adafire/tensor"
)

// Calibrations beyond those of convert.Config.
const (
	CalibrationAdvanced = "advanced"
	CalibrationRepair   = "repair"
)

// A Setting is one way to convert, with the name of its curve in the report.
type Setting struct {
	Name   string         `json:"name"`
	Config convert.Config `json:"config"`

	// Stages of the method that are off when nil.
	Advanced *convert.AdvancedOptions `json:"advanced,omitempty"` // in place of Config.Calibration
	Repair   *convert.RepairOptions   `json:"repair,omitempty"`   // in place of Config.Calibration
	Search   *convert.SearchOptions   `json:"search,omitempty"`
	Compress *convert.CompressOptions `json:"compress,omitempty"`
	Exit     *convert.ExitConfig      `json:"exit,omitempty"`

	// Folder, if not empty, is where tables of search and compression are kept.
	Folder string `json:"-"`
}

// calibration names what calibrates.
func (s *Setting) calibration() string {
	switch {
	case s.Advanced != nil:
		return CalibrationAdvanced
	case s.Repair != nil:
		return CalibrationRepair
	}
	return s.Config.Calibration
}

// guardSamples are kept for the guard of the search, beyond those of its tables.
const guardSamples = 512

// Samples is how many calibration samples the setting wants.
func (s *Setting) Samples() int {
	n := max(s.Config.Samples, s.Config.BiasSamples)
	if s.Search != nil {
		n = max(n, s.Search.Samples+guardSamples)
	}
	if s.Compress != nil {
		n = max(n, s.Compress.Samples)
	}
	if s.Advanced != nil {
		n = max(n, s.Advanced.Samples)
	}
	return n
}

// A Converted network with what its stages found.
type Converted struct {
	*convert.Result
	Search   *convert.SearchResult
	Compress *convert.CompressResult
	Exit     *convert.ExitPolicy
}

// Samples are labelled samples as the network wants them.
type Samples struct {
	X      *tensor.Tensor
	Labels []int
}

// Apply runs the stages of a setting in the order of algorithms.md 13.2:
// thresholds or search, calibration, compression, exits. Samples calib come from
// the training data; held are ones that neither ANN nor conversion has seen, for
// the exits.
func Apply(ctx context.Context, pool *parallel.Pool, g *graph.Graph, s Setting, calib, held Samples, show Progress) (*Converted, error) {
	prepared, err := convert.Prepare(g)
	if err != nil {
		return nil, err
	}
	out := &Converted{}
	cfg := s.Config
	var theta *convert.Neurons
	if s.Search != nil {
		opt := *s.Search
		opt.Labels = calib.Labels
		opt.Progress = follow(show, "search burst limits")
		if err := tableFile(s.Folder, &s, "search").attach(&opt.Measure); err != nil {
			return nil, err
		}
		if out.Search, err = convert.SearchLimits(ctx, pool, prepared, calib.X, cfg, opt); err != nil {
			return nil, err
		}
		theta, cfg.MaxSpikes = out.Search.Neurons, out.Search.Limits
	} else if theta, err = convert.Thresholds(ctx, pool, prepared, calib.X.Rows(0, min(cfg.Samples, calib.X.Shape[0])), cfg); err != nil {
		return nil, err
	}
	switch {
	case s.Advanced != nil:
		opt := *s.Advanced
		opt.Weights.Progress = followLayers(show, "calibrate weights")
		out.Result = &convert.Result{Dead: theta.Dead}
		var found *convert.AdvancedReport
		out.Graph, out.SNN, found, err = convert.AdvancedCalibration(ctx, pool, prepared, prepared, theta.Config, calib.X, opt)
		if found != nil {
			out.Layers = found.Bias
		}
	case s.Repair != nil:
		opt := *s.Repair
		opt.Progress = followLayers(show, "repair layers")
		out.Result = &convert.Result{SNN: theta.Config, Dead: theta.Dead}
		if out.Graph, _, err = convert.Repair(ctx, pool, prepared, prepared, theta.Config, calib.X, opt); err == nil {
			out.Graph, _, err = convert.RepairReadout(ctx, pool, prepared, out.Graph, theta.Config, calib.X, opt)
		}
	default:
		out.Result, err = convert.Calibrate(ctx, pool, prepared, theta, calib.X, cfg)
	}
	if err != nil {
		return nil, err
	}
	if s.Compress != nil {
		opt := *s.Compress
		opt.Labels = calib.Labels
		opt.Progress = follow(show, "compress spikes")
		if err := tableFile(s.Folder, &s, "ssc").attach(&opt.Measure); err != nil {
			return nil, err
		}
		if out.Compress, err = convert.Compress(ctx, pool, prepared, out.Result, calib.X, cfg, opt); err != nil {
			return nil, err
		}
		out.Result = out.Compress.Result
	}
	if s.Exit != nil {
		net, err := out.Network()
		if err != nil {
			return nil, err
		}
		if out.Exit, err = convert.ExitThresholds(ctx, pool, net, held.X, held.Labels, *s.Exit); err != nil {
			return nil, err
		}
		for _, w := range out.Exit.Warnings(cfg.Shift) {
			show.Note("exits: " + w)
		}
	}
	return out, nil
}

// follow shows the cells of a table as they are measured.
func follow(show Progress, name string) func(done, total int) {
	started := false
	return func(done, total int) {
		if !started {
			show.Start(name, int64(total), "cells")
			started = true
		}
		show.Set(int64(done))
	}
}

// followLayers shows work that goes layer by layer.
func followLayers(show Progress, name string) func(convert.LayerProgress) {
	started := false
	return func(p convert.LayerProgress) {
		total := int64(p.Layers) * int64(max(p.Iterations, 1))
		if !started {
			show.Start(name, total, "steps")
			started = true
		}
		show.Set(int64(p.Layer)*int64(max(p.Iterations, 1)) + int64(p.Iteration))
	}
}

// samplesFor returns the calibration samples a setting asks for, and those for
// the exits.
func (b *Bench) samplesFor(ctx context.Context, s *Setting) (calib, held Samples, err error) {
	augment := dataset.Augment{}
	if s.Config.Profile == convert.ProfileReference {
		augment = b.Augment
	}
	n := s.Samples()
	if calib, err = b.keep(fmt.Sprint("calib ", n, augment), func() (Samples, error) { return b.Data.Calibration(ctx, n, augment) }); err != nil {
		return calib, held, err
	}
	b.Result.Dataset.Calibration = max(b.Result.Dataset.Calibration, calib.X.Shape[0])
	if s.Exit != nil {
		held, err = b.keep("held", func() (Samples, error) { return b.Data.HeldOut(ctx) })
	}
	return calib, held, err
}

// keep loads samples once.
func (b *Bench) keep(key string, load func() (Samples, error)) (Samples, error) {
	if s, ok := b.kept[key]; ok {
		return s, nil
	}
	s, err := load()
	if err == nil {
		b.kept[key] = s
	}
	return s, err
}

// Convert converts the ANN with a setting.
func (b *Bench) Convert(ctx context.Context, s Setting) (*Converted, time.Duration, error) {
	calib, held, err := b.samplesFor(ctx, &s)
	if err != nil {
		return nil, 0, err
	}
	start := time.Now()
	res, err := Apply(ctx, b.Pool, b.Graph, s, calib, held, b.Show)
	return res, time.Since(start), err
}

// exitSettings are the floors and risks that the curve of exits is drawn over.
var exitSettings = map[string][]float64{
	convert.ExitPaper:  {0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99},
	convert.ExitTarget: {0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1},
}

// describeExits fills in what a report says about early exits: the policy, the
// exits of the test samples, and the curve over other floors or risks.
func (b *Bench) describeExits(ctx context.Context, entry *report.SNN, net *snn.Network, p *convert.ExitPolicy, score *task.AdaptiveScore) error {
	entry.AvgTimesteps = score.MeanExit()
	r := &report.IAT{Policy: p.Policy, Score: string(p.Score), Accumulate: p.Accumulate, Thresholds: p.Thresholds(), Limits: p.Limits,
		Samples: p.Samples, Agreement: p.Agreement, Bound: p.Bound, Exits: score.Histogram}
	if p.Policy == convert.ExitTarget {
		r.Risk, r.Delta = p.Risk, p.Delta
	} else {
		r.Floor = p.Floor
	}
	entry.IAT = r
	held, err := b.keep("held", func() (Samples, error) { return b.Data.HeldOut(ctx) })
	if err != nil {
		return err
	}
	once := func(yield func(task.Batch, error) bool) { yield(task.Batch{X: held.X, Labels: held.Labels}, nil) }
	calibration, err := task.Observe(ctx, b.Pool, net, p.Score, p.Accumulate, once, nil)
	if err != nil {
		return err
	}
	test, err := task.Observe(ctx, b.Pool, net, p.Score, p.Accumulate, b.Data.TestBatches(ctx, b.Limit), func(n int) { b.Show.Set(int64(n)) })
	if err != nil {
		return err
	}
	points, err := task.SweepExits(calibration, test, p.ExitConfig, exitSettings[p.Policy])
	if err != nil {
		return err
	}
	for _, pt := range points {
		r.Curve = append(r.Curve, report.ExitPoint{Policy: p.Policy, Setting: pt.Setting, Accuracy: pt.Accuracy, AvgTimesteps: pt.MeanExit, Agreement: pt.Agreement})
	}
	return nil
}

// describe fills in what a report says about search and compression.
func describe(entry *report.SNN, c *Converted, s *Setting) {
	if r := c.Search; r != nil {
		entry.Search = &report.Search{Layers: r.Tables.Nodes, Sensitivity: r.Tables.Sensitivity, Cost: r.Tables.CostPerSample(), Budget: r.Budget,
			BudgetRatio: r.Ratio, CostUnit: string(s.Search.Cost), Metric: string(s.Search.Metric), Samples: r.Tables.Samples, Chosen: r.Chosen,
			Measured: new(estimate(r.Measured)), Frontier: r.Frontier,
			Uniform: &report.Uniform{MaxSpike: r.Desired, Estimate: estimate(r.Uniform)}, Guard: r.Kept}
		if !s.Search.Guard {
			entry.Search.Guard = "off"
		}
		if h := r.HeldOut; h != nil {
			entry.Search.HeldOut = &report.HeldOut{Samples: h.Samples, Searched: estimate(h.Searched), Uniform: estimate(h.Uniform)}
		}
		entry.Search.Rounds, entry.Search.Approximate = r.Rounds, r.Approximate
		for _, k := range r.Tables.Candidates {
			entry.Search.Candidates = append(entry.Search.Candidates, int(k))
		}
	}
	if r := c.Compress; r != nil {
		entry.SSC = &report.SSC{Layers: r.Tables.Nodes, Ratio: r.Ratio, Used: r.Used, Candidates: r.Tables.Candidates, Sensitivity: r.Tables.Sensitivity,
			Cost: r.Tables.CostPerSample(), CostUnit: string(s.Compress.Cost), Metric: string(s.Compress.Metric), Chosen: r.Chosen,
			Measured: &report.Change{Before: estimate(r.Before), After: estimate(r.After)}}
	}
}

func estimate(e convert.Estimate) report.Estimate {
	return report.Estimate{Cost: e.Cost, Sensitivity: e.Sensitivity}
}
