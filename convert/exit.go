package convert

import (
	"context"
	"fmt"
	"math"

	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// Input-aware adaptive timesteps (algorithms.md 7): a sample leaves the network
// after the first timestep at which the network is certain enough.

// An ExitScore says how certain logits are, 0..1; with p = softmax of the
// accumulated logits of C classes:
type ExitScore string

// The scores.
const (
	ScoreEntropy    ExitScore = "entropy"    // 1 - H(p)/ln C
	ScoreConfidence ExitScore = "confidence" // largest p
	ScoreMargin     ExitScore = "margin"     // largest p minus second largest
)

// Accumulation of logits over the timesteps.
const (
	AccumulateSum  = "sum"  // sharpens with t, as the paper
	AccumulateMean = "mean" // comparable over t
)

// Exit policies: how the thresholds are found.
const (
	ExitPaper  = "paper"  // the paper's formula from the mean entropy of correct samples
	ExitTarget = "target" // thresholds with a stated risk
)

// An ExitConfig says how to find the exit thresholds.
type ExitConfig struct {
	Policy     string    `json:"policy"`     // "target" or "paper"
	Score      ExitScore `json:"score"`      // "entropy", "confidence" or "margin"
	Accumulate string    `json:"accumulate"` // "sum" or "mean" of the logits

	// Risk (policy target) is the highest share of inputs whose answer at the
	// exit may differ from the answer after all timesteps, 0 < risk < 1; Delta
	// is the chance, over the choice of the calibration samples, that the share
	// is higher all the same.
	Risk  float64 `json:"risk"`
	Delta float64 `json:"delta"`

	// Policy paper: threshold(t) = Floor + Scale*exp(-(E(t) - min E)/Decay).
	Floor float64 `json:"floor"` // 0..1
	Scale float64 `json:"scale"` // 0..1-Floor
	Decay float64 `json:"decay"` // > 0
	// ScoreAsEntropy feeds the formula with the mean confidence in place of
	// 1 - confidence, as the authors' code: the order of the timesteps turns
	// round (algorithms.md R-35).
	ScoreAsEntropy bool `json:"score_as_entropy,omitempty"`
}

// DefaultExit returns the settings of the policy with a stated risk of 0.5 %;
// those of the paper's formula are the paper's for CIFAR.
func DefaultExit() ExitConfig {
	return ExitConfig{Policy: ExitTarget, Score: ScoreEntropy, Accumulate: AccumulateSum,
		Risk: 0.005, Delta: 0.05, Floor: 0.6, Scale: 0.4, Decay: 1}
}

// Validate checks ranges and spelling.
func (c *ExitConfig) Validate() error {
	if c.Policy != ExitPaper && c.Policy != ExitTarget {
		return fmt.Errorf("exit policy %q: want %s or %s", c.Policy, ExitTarget, ExitPaper)
	}
	if err := validExitScore(c.Score, c.Accumulate); err != nil {
		return err
	}
	switch {
	case !(c.Risk > 0 && c.Risk < 1):
		return fmt.Errorf("exit risk %g: want 0 < risk < 1", c.Risk)
	case !(c.Delta > 0 && c.Delta < 1):
		return fmt.Errorf("exit delta %g: want 0 < delta < 1", c.Delta)
	case !(c.Floor >= 0 && c.Floor <= 1):
		return fmt.Errorf("exit floor %g: want 0 to 1", c.Floor)
	case !(c.Scale >= 0 && c.Scale <= 1-c.Floor+1e-9):
		return fmt.Errorf("exit scale %g: want 0 to 1 - floor, %g", c.Scale, 1-c.Floor)
	case !(c.Decay > 0) || math.IsInf(c.Decay, 0):
		return fmt.Errorf("exit decay %g: want a positive number", c.Decay)
	}
	return nil
}

func validExitScore(score ExitScore, accumulate string) error {
	switch score {
	case ScoreEntropy, ScoreConfidence, ScoreMargin:
	default:
		return fmt.Errorf("exit score %q: want %s, %s or %s", score, ScoreEntropy, ScoreConfidence, ScoreMargin)
	}
	if accumulate != AccumulateSum && accumulate != AccumulateMean {
		return fmt.Errorf("accumulation of logits %q: want %s or %s", accumulate, AccumulateSum, AccumulateMean)
	}
	return nil
}

// doubt is 1 - score of logits that are the mean over t timesteps. It is
// computed without the subtraction, so that scores close to 1 can be told
// apart.
func doubt(score ExitScore, accumulate string, t int, logits []float32) float64 {
	scale := 1.0
	if accumulate == AccumulateSum {
		scale = float64(t)
	}
	best := topClass(logits)
	top := scale * float64(logits[best])
	var rest, second, weighted float64 // of exp(z - top), without the largest
	for i, v := range logits {
		if i == best {
			continue
		}
		d := top - scale*float64(v)
		e := math.Exp(-d)
		rest += e
		second = max(second, e)
		weighted += d * e
	}
	switch score {
	case ScoreConfidence:
		return rest / (1 + rest)
	case ScoreMargin:
		return (rest + second) / (1 + rest)
	}
	return (math.Log1p(rest) + weighted/(1+rest)) / math.Log(float64(len(logits)))
}

// topClass returns the first index of the largest value.
func topClass(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// An ExitPolicy decides when samples leave. It is stored with the spiking
// network it was made for; a change of timesteps, limits or thresholds of the
// neurons makes it void.
type ExitPolicy struct {
	ExitConfig
	Timesteps int `json:"timesteps"` // T of the network
	// Limits holds, for t = 1..T, 1 - threshold: a sample leaves at t if
	// 1 - score < Limits[t-1], so never at 0. At T every sample leaves.
	Limits []float64 `json:"limits"`

	// What was seen on the samples that the thresholds were checked on.
	Samples   int     `json:"samples"`
	Agreement float64 `json:"agreement"` // share whose answer at the exit is that after T timesteps
	MeanExit  float64 `json:"mean_exit"` // timesteps
	// Bound (policy target) is the upper confidence bound of the share of
	// differing answers; 0 where samples never leave early.
	Bound float64 `json:"bound,omitempty"`
}

// Thresholds returns the thresholds of the score, t = 1..T.
func (p *ExitPolicy) Thresholds() []float64 {
	alpha := make([]float64, len(p.Limits))
	for i, l := range p.Limits {
		alpha[i] = 1 - l
	}
	return alpha
}

// Validate checks a policy that was read from a file.
func (p *ExitPolicy) Validate() error {
	if err := p.ExitConfig.Validate(); err != nil {
		return err
	}
	if p.Timesteps < 1 || p.Timesteps > snn.MaxTimesteps || len(p.Limits) != p.Timesteps {
		return fmt.Errorf("exit policy for %d timesteps has %d limits", p.Timesteps, len(p.Limits))
	}
	for i, l := range p.Limits {
		if !(l >= 0 && l <= 2) {
			return fmt.Errorf("exit limit %g at timestep %d: want 0 to 2", l, i+1)
		}
	}
	return nil
}

// Fits says whether the policy can decide for the network, and if not, why.
func (p *ExitPolicy) Fits(net *snn.Network) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if _, err := NewCourse(net, p.Score, p.Accumulate); err != nil {
		return err
	}
	if t := net.Config().Timesteps; t != p.Timesteps {
		return fmt.Errorf("exit policy was made for %d timesteps, the network has %d", p.Timesteps, t)
	}
	return nil
}

// Warnings returns what the user of a policy made for neurons with the given
// shift should know, none for policy target with a proper shift (algorithms.md
// 7.4).
func (p *ExitPolicy) Warnings(shift snn.Shift) []string {
	var list []string
	if p.Policy == ExitPaper && p.Agreement < 0.99 {
		list = append(list, fmt.Sprintf("only %.2f %% of the calibration samples keep their answer when they leave early: policy %s has no bound, policy %s has",
			100*p.Agreement, ExitPaper, ExitTarget))
	}
	if shift == snn.ShiftPerStep {
		list = append(list, fmt.Sprintf("with shift %s early answers are poor: samples leave late or wrong; shift %s suits early exits", snn.ShiftPerStep, snn.ShiftInitial))
	}
	if p.Policy == ExitTarget && p.Bound == 0 && p.Timesteps > 1 {
		list = append(list, fmt.Sprintf("no early exit has a risk of at most %g for certain on %d samples: all run %d timesteps", p.Risk, p.Samples, p.Timesteps))
	}
	return list
}

// Decide says whether a sample leaves after t timesteps; logits is the
// network's output, mean over them. It may be called from several goroutines at
// a time and allocates nothing.
func (p *ExitPolicy) Decide(t int, logits []float32) bool {
	if t >= p.Timesteps {
		return true
	}
	limit := p.Limits[t-1]
	return limit > 0 && doubt(p.Score, p.Accumulate, t, logits) < limit
}

// Rule is Decide as snn.Network.RunSteps wants it.
func (p *ExitPolicy) Rule() snn.Decide {
	return func(t int, logits []float32, _ int) bool { return p.Decide(t, logits) }
}

// ExitThresholds finds the thresholds of cfg for the network from samples x [N,
// input shape] and their labels. Policy target needs no labels (nil); its samples
// should be ones that neither the ANN nor the conversion has seen.
func ExitThresholds(ctx context.Context, pool *parallel.Pool, net *snn.Network, x *tensor.Tensor, labels []int, cfg ExitConfig) (*ExitPolicy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := checkSamples(x); err != nil {
		return nil, err
	}
	c, err := NewCourse(net, cfg.Score, cfg.Accumulate)
	if err != nil {
		return nil, err
	}
	if err := c.Observe(ctx, pool, net, x, labels); err != nil {
		return nil, err
	}
	return c.Policy(cfg)
}

// Policy finds the thresholds of cfg from the samples observed.
func (c *Course) Policy(cfg ExitConfig) (*ExitPolicy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Score != c.Score || cfg.Accumulate != c.Accumulate {
		return nil, fmt.Errorf("exit score %s of the %s of logits, but %s of the %s was observed", cfg.Score, cfg.Accumulate, c.Score, c.Accumulate)
	}
	if c.Samples() == 0 {
		return nil, fmt.Errorf("no calibration samples for exit thresholds")
	}
	p := &ExitPolicy{ExitConfig: cfg, Timesteps: c.Timesteps}
	if cfg.Policy == ExitTarget {
		c.target(p)
		return p, nil
	}
	if len(c.Labels) != c.Samples() {
		return nil, fmt.Errorf("exit policy %s needs the labels of its samples", cfg.Policy)
	}
	p.Limits = c.paper(&cfg)
	o := c.Apply(p.Limits)
	p.Samples, p.Agreement, p.MeanExit = c.Samples(), o.Agreement, o.MeanExit
	return p, nil
}

// paper is the formula of the authors' code in its corrected form (algorithms.md
// 7.2): from the mean of 1 - score over the samples classified correctly at t.
// A timestep without a correct sample gets no exit.
func (c *Course) paper(cfg *ExitConfig) []float64 {
	steps := c.Timesteps
	mean, correct := make([]float64, steps), make([]int, steps)
	least := math.Inf(1)
	for t := range steps {
		for i, label := range c.Labels {
			if c.Prediction[i*steps+t] == label {
				mean[t] += c.Doubt[i*steps+t]
				correct[t]++
			}
		}
		if correct[t] > 0 {
			mean[t] /= float64(correct[t])
			if cfg.ScoreAsEntropy {
				mean[t] = 1 - mean[t]
			}
			least = min(least, mean[t])
		}
	}
	limits := make([]float64, steps)
	for t := range limits {
		if correct[t] > 0 {
			// 1 - (floor + scale*exp(-x)), exact for small x.
			limits[t] = max(0, 1-cfg.Floor-cfg.Scale-cfg.Scale*math.Expm1(-(mean[t]-least)/cfg.Decay))
		}
		if limits[t] < 1e-12 {
			limits[t] = 0 // rounding of 1 - floor - scale
		}
	}
	return limits
}
