package task

import (
	"context"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// An AdaptiveScore is a SpikingScore of samples that leave the network early;
// the layers' totals count up to each sample's exit.
type AdaptiveScore struct {
	SpikingScore
	Exit      []int // per sample, in order: timesteps run, 1..T
	Histogram []int // samples that leave at t = 1..T
}

// MeanExit returns the average number of timesteps, 0 without samples.
func (s *AdaptiveScore) MeanExit() float64 {
	if s.Samples == 0 {
		return 0
	}
	sum := 0
	for i, n := range s.Histogram {
		sum += (i + 1) * n
	}
	return float64(sum) / float64(s.Samples)
}

// ClassifyAdaptive measures a spiking network that samples leave by the policy,
// timestep by timestep; see ClassifyANN.
func ClassifyAdaptive(ctx context.Context, pool *parallel.Pool, net *snn.Network, policy *convert.ExitPolicy, data Batches, progress func(samples int)) (*AdaptiveScore, error) {
	if err := policy.Fits(net); err != nil {
		return nil, err
	}
	s := &AdaptiveScore{SpikingScore: SpikingScore{Layers: make([]LayerTotals, len(net.Layers()))}, Histogram: make([]int, policy.Timesteps)}
	err := s.classify(ctx, data, progress, func(x *tensor.Tensor) (*tensor.Tensor, error) {
		res, err := net.RunSteps(ctx, pool, x, policy.Rule())
		if err != nil {
			return nil, err
		}
		s.count(res.Layers)
		s.Exit = append(s.Exit, res.Exit...)
		for _, t := range res.Exit {
			s.Histogram[t-1]++
		}
		return res.Logits, nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Observe runs all samples through all timesteps of the network and returns the
// course of their answers: what exit thresholds are found from and exits can be
// tried on without running the network again.
func Observe(ctx context.Context, pool *parallel.Pool, net *snn.Network, score convert.ExitScore, accumulate string, data Batches, progress func(samples int)) (*convert.Course, error) {
	c, err := convert.NewCourse(net, score, accumulate)
	if err != nil {
		return nil, err
	}
	for b, err := range data {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = c.Observe(ctx, pool, net, b.X, b.Labels)
		}
		if err != nil {
			return nil, err
		}
		if progress != nil {
			progress(c.Samples())
		}
	}
	return c, nil
}

// An ExitPoint is one point of the curve of accuracy against timesteps.
type ExitPoint struct {
	Setting   float64 // floor or risk
	Policy    *convert.ExitPolicy
	Accuracy  float64 // on the samples it is measured on
	MeanExit  float64 // timesteps
	Agreement float64 // share whose answer is that after T timesteps
	Histogram []int   // samples that leave at t = 1..T
}

// SweepExits finds the thresholds for every setting, a floor for policy paper
// or a risk for policy target, from the course of calibration samples, and
// measures them on that of test samples. cfg gives the rest; for policy paper
// the scale is 1 - floor.
func SweepExits(calibration, test *convert.Course, cfg convert.ExitConfig, settings []float64) ([]ExitPoint, error) {
	points := make([]ExitPoint, 0, len(settings))
	for _, v := range settings {
		if cfg.Policy == convert.ExitPaper {
			cfg.Floor, cfg.Scale = v, 1-v
		} else {
			cfg.Risk = v
		}
		p, err := calibration.Policy(cfg)
		if err != nil {
			return nil, err
		}
		o, err := test.Try(p)
		if err != nil {
			return nil, err
		}
		points = append(points, ExitPoint{Setting: v, Policy: p, Accuracy: o.Accuracy(),
			MeanExit: o.MeanExit, Agreement: o.Agreement, Histogram: o.Histogram})
	}
	return points, nil
}
