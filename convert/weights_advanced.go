package convert

import (
	"context"
	"fmt"
	"math"

	"github.com/adafire/adafire/ann"
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
	// Guard keeps a stage only if it does not make the network's outputs worse on
	// the last eighth of the samples, which no stage is fitted to then; default
	// true. With few levels, means that agree can be bought with larger errors.
	Guard bool `json:"guard"`
}

// DefaultAdvanced returns the settings of algorithms.md 13.2.
func DefaultAdvanced() AdvancedOptions {
	return AdvancedOptions{Weights: DefaultWeights(), Samples: 1024, Potential: true, Clamp: true, BiasSamples: 256, Iterations: 1, Guard: true}
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
	Stages  []StageError `json:"stages,omitempty"` // what the guard saw
}

// StageError is the error of the network's outputs behind a stage: the sum of
// their squared differences from the ANN's, as a share of the ANN's own squares.
type StageError struct {
	Stage string  `json:"stage"` // "none", "weights", "potentials" or "biases"
	Error float64 `json:"error"`
	Kept  bool    `json:"kept"`
}

// AdvancedCalibration calibrates the weights of all layers, then the initial
// potentials of all neurons, then the biases of all layers (algorithms.md 4 and
// 13.2): CalibrateWeights, PotentialCalibration and LightCalibration in turn.
// original is the graph whose activations are the target, g the prepared graph
// to start from. The calibrated graph and neurons are returned. A stage that
// makes the outputs worse is taken back, see AdvancedOptions.Guard.
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
	x = first(x, opt.Samples)
	guard := func(string, *graph.Graph, *snn.Config) (bool, error) { return true, nil }
	fitted := x
	if held := x.Shape[0] / 8; opt.Guard && held > 0 {
		fitted = x.Rows(0, x.Shape[0]-held)
		judge, err := newOutputJudge(pool, original, x.Rows(x.Shape[0]-held, x.Shape[0]))
		if err != nil {
			return nil, nil, nil, err
		}
		guard = func(stage string, g *graph.Graph, cfg *snn.Config) (bool, error) {
			e, err := judge.error(ctx, g, cfg)
			best := math.Inf(1)
			for _, s := range report.Stages {
				if s.Kept {
					best = s.Error
				}
			}
			report.Stages = append(report.Stages, StageError{stage, e, e <= best})
			return e <= best, err
		}
	}
	if _, err := guard("none", g, cfg); err != nil {
		return nil, nil, nil, err
	}
	// The weights have held-out samples of their own: the same ones, by default.
	next, fits, err := CalibrateWeights(ctx, pool, original, g, cfg, x, opt.Weights)
	if err != nil {
		return nil, nil, nil, err
	}
	report.Weights = fits
	kept, err := guard("weights", next, cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	if kept {
		g = next
	}
	if opt.Potential {
		neurons, err := PotentialCalibration(ctx, pool, original, g, cfg, fitted, opt.Clamp)
		if err != nil {
			return nil, nil, nil, err
		}
		if kept, err = guard("potentials", g, neurons); err != nil {
			return nil, nil, nil, err
		}
		if kept {
			cfg = neurons
		}
	}
	if opt.Iterations > 0 {
		if next, report.Bias, err = LightCalibration(ctx, pool, original, g, cfg, first(fitted, opt.BiasSamples), opt.Iterations); err != nil {
			return nil, nil, nil, err
		}
		if kept, err = guard("biases", next, cfg); err != nil {
			return nil, nil, nil, err
		}
		if kept {
			g = next
		}
	}
	return g, cfg, report, nil
}

// outputJudge compares the outputs of spiking networks with those of the ANN.
type outputJudge struct {
	pool *parallel.Pool
	x    *tensor.Tensor
	want []float32
}

func newOutputJudge(pool *parallel.Pool, original *graph.Graph, x *tensor.Tensor) (*outputJudge, error) {
	exec, err := ann.New(original, pool)
	if err != nil {
		return nil, err
	}
	y, err := exec.Forward(x)
	if err != nil {
		return nil, err
	}
	return &outputJudge{pool, x, y.Data}, nil
}

func (j *outputJudge) error(ctx context.Context, g *graph.Graph, cfg *snn.Config) (float64, error) {
	net, err := snn.New(g, cfg)
	if err != nil {
		return 0, err
	}
	res, err := net.Run(ctx, j.pool, j.x, snn.Options{})
	if err != nil {
		return 0, err
	}
	if len(res.Logits.Data) != len(j.want) {
		return 0, fmt.Errorf("advanced calibration: %d outputs, the original graph has %d", len(res.Logits.Data), len(j.want))
	}
	var sum, size float64
	for i, v := range j.want {
		d := float64(v) - float64(res.Logits.Data[i])
		sum += d * d
		size += float64(v) * float64(v)
	}
	return sum / max(size, math.SmallestNonzeroFloat64), nil
}
