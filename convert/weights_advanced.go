package convert

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// AdvancedOptions say what AdvancedCalibration does; DefaultAdvanced has the
// defaults.
type AdvancedOptions struct {
	Weights     WeightOptions `json:"weights"`
	Samples     int           `json:"samples"`      // for weights and potentials, 1 or more; default 1024
	Potential   bool          `json:"potential"`    // calibrate initial potentials; default true
	Clamp       bool          `json:"clamp"`        // limit them to +-maxspike*threshold; default true
	BiasSamples int           `json:"bias_samples"` // for the biases, 1 or more; default 256
	Iterations  int           `json:"iterations"`   // passes of light calibration, 0 to 100; default 1
}

// DefaultAdvanced returns the settings of algorithms.md 13.2.
func DefaultAdvanced() AdvancedOptions {
	return AdvancedOptions{Weights: DefaultWeights(), Samples: 1024, Potential: true, Clamp: true, BiasSamples: 256, Iterations: 1}
}

// Validate checks the ranges.
func (o *AdvancedOptions) Validate() error {
	if err := o.Weights.Validate(); err != nil {
		return err
	}
	for _, v := range []struct {
		name        string
		value       int
		least, most int
	}{{"samples", o.Samples, 1, 1 << 30}, {"bias samples", o.BiasSamples, 1, 1 << 30}, {"iterations", o.Iterations, 0, 100}} {
		if v.value < v.least || v.value > v.most {
			return fmt.Errorf("advanced calibration: %s %d: want %d to %d", v.name, v.value, v.least, v.most)
		}
	}
	return nil
}

// AdvancedReport is what AdvancedCalibration found.
type AdvancedReport struct {
	Weights []LayerFit   `json:"weights"`
	Bias    []LayerError `json:"bias,omitempty"`
}

// AdvancedCalibration calibrates the weights of all layers, then the initial
// potentials of all neurons, then the biases of all layers (algorithms.md 4 and
// 13.2): CalibrateWeights, PotentialCalibration and LightCalibration in turn.
// original is the graph whose activations are the target, g the prepared graph
// to start from. The calibrated graph and neurons are returned.
//
// opt.Weights.Checkpoint and Resume let an interrupted calibration go on behind
// the last layer whose weights were done; what comes after is quick and done
// again.
func AdvancedCalibration(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, opt AdvancedOptions) (*graph.Graph, *snn.Config, *AdvancedReport, error) {
	if err := opt.Validate(); err != nil {
		return nil, nil, nil, err
	}
	if err := checkSamples(x); err != nil {
		return nil, nil, nil, err
	}
	report := &AdvancedReport{}
	cfg = cfg.Clone()
	if opt.Potential {
		for i := range cfg.Layers { // they are overwritten later, so weights must not count on them
			cfg.Layers[i].Initial = nil
		}
	}
	g, fits, err := CalibrateWeights(ctx, pool, original, g, cfg, first(x, opt.Samples), opt.Weights)
	if err != nil {
		return nil, nil, nil, err
	}
	report.Weights = fits
	if opt.Potential {
		if cfg, err = PotentialCalibration(ctx, pool, original, g, cfg, first(x, opt.Samples), opt.Clamp); err != nil {
			return nil, nil, nil, err
		}
	}
	if opt.Iterations > 0 {
		if g, report.Bias, err = LightCalibration(ctx, pool, original, g, cfg, first(x, opt.BiasSamples), opt.Iterations); err != nil {
			return nil, nil, nil, err
		}
	}
	return g, cfg, report, nil
}
