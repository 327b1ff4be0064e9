package convert

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/adafire/adafire/snn"
)

// A Config says how to convert; Default and Reference are the two profiles of
// algorithms.md 13.1, and every setting can be changed on its own.
type Config struct {
	Timesteps int `json:"timesteps"` // T, 1..1024
	MaxSpike  int `json:"maxspike"`  // burst limit of every layer, 1..255
	// MaxSpikes, if not empty, gives every layer its own burst limit.
	MaxSpikes []int `json:"maxspikes,omitempty"`

	Shift   snn.Shift   `json:"shift"`    // where the half threshold goes
	MaxPool snn.MaxPool `json:"max_pool"` // exact, or per step as the authors
	// Signed lets neurons take back spikes by negative ones, never more than they
	// have emitted.
	Signed bool `json:"signed"`
	// Schedule is "sync", or "accumulate" for neurons that fire once on the sum of
	// their currents over the timesteps; empty stands for "sync".
	Schedule snn.Schedule `json:"schedule"`
	// Weights is the precision of weights that spike counts drive: "f32", "i16"
	// or "i8". Quantised weights take part in every calibration.
	Weights snn.Precision `json:"weights"`

	Threshold   string `json:"threshold"`    // "mse", "max" or "percentile:P" with 0 < P <= 100
	ChannelWise bool   `json:"channel_wise"` // one threshold per channel, else one per layer
	// Objective is the quantiser the MSE search assumes: "round" or "floor". It
	// should match the shift: neurons without one floor.
	Objective string `json:"objective"`
	// FullGrid extends the MSE search below 0.06 of the maximum for burst limits
	// above 8.
	FullGrid bool `json:"full_grid"`
	// RangeByBurst divides "max" and "percentile" thresholds by the burst limit,
	// so that the neuron's range, not its threshold, is the value found.
	RangeByBurst bool `json:"range_by_burst"`
	// VectorScalar gives fully connected layers one threshold however many
	// samples there are; otherwise they get one per channel from 256 samples on.
	VectorScalar bool `json:"vector_scalar"`
	// CapReLU6 keeps the mean output of neurons that replace a ReLU6 below 6, and
	// that of others with a limit below theirs.
	CapReLU6 bool `json:"cap_relu6"`

	// Batches > 0 finds a threshold per batch of BatchSize samples and averages
	// them exponentially with Momentum, as the authors; 0 pools all samples.
	Batches   int     `json:"batches"`
	BatchSize int     `json:"batch_size"`
	Momentum  float64 `json:"momentum"`

	Samples     int    `json:"samples"`      // calibration samples for thresholds
	Calibration string `json:"calibration"`  // "none", "light" or "potential"
	BiasSamples int    `json:"bias_samples"` // calibration samples for the correction of biases
	Iterations  int    `json:"iterations"`   // passes of light calibration
	ClampStart  bool   `json:"clamp_start"`  // limit calibrated potentials to +-maxspike*theta
	Readout     bool   `json:"readout"`      // also correct the bias of the last layer
	Profile     string `json:"profile"`      // "default" or "reference": where the settings started
}

// Calibrations and methods.
const (
	CalibrationNone      = "none"
	CalibrationLight     = "light"
	CalibrationPotential = "potential"

	ObjectiveRound = "round"
	ObjectiveFloor = "floor"

	ProfileDefault   = "default"
	ProfileReference = "reference"
)

// Default returns AdaFire's own settings: half-threshold start, thresholds that
// model the rounding neuron, pooled statistics, exact max pooling, light
// calibration.
func Default() Config {
	return Config{Timesteps: 8, MaxSpike: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Schedule: snn.ScheduleSync, Weights: snn.F32,
		Threshold: "mse", ChannelWise: true, Objective: ObjectiveRound, FullGrid: true, RangeByBurst: true, CapReLU6: true,
		BatchSize: 256, Momentum: 0.9, Samples: 1024, Calibration: CalibrationLight, BiasSamples: 256, Iterations: 1,
		ClampStart: true, Profile: ProfileDefault}
}

// Reference returns the rules of the authors' code: half a threshold spread
// over the timesteps, thresholds that assume flooring, seven batches averaged
// exponentially, per-step max pooling, one threshold for vectors.
func Reference() Config {
	c := Default()
	c.Shift, c.MaxPool, c.Objective = snn.ShiftPerStep, snn.MaxPoolPerStep, ObjectiveFloor
	c.FullGrid, c.RangeByBurst, c.CapReLU6, c.VectorScalar, c.ClampStart = false, false, false, true, false
	c.Batches, c.Samples, c.Profile = 7, 7*c.BatchSize, ProfileReference
	return c
}

// Profile returns the settings of the named profile.
func Profile(name string) (Config, error) {
	switch name {
	case ProfileDefault:
		return Default(), nil
	case ProfileReference:
		return Reference(), nil
	}
	return Config{}, fmt.Errorf("profile %q: want %s or %s", name, ProfileDefault, ProfileReference)
}

// Validate checks ranges and spelling.
func (c *Config) Validate() error {
	for _, v := range []struct {
		name        string
		value       int
		least, most int
	}{
		{"timesteps", c.Timesteps, 1, snn.MaxTimesteps}, {"maxspike", c.MaxSpike, 1, snn.MaxBurst},
		{"batches", c.Batches, 0, 1 << 20}, {"batch size", c.BatchSize, 1, 1 << 20},
		{"samples", c.Samples, 1, 1 << 30}, {"bias samples", c.BiasSamples, 1, 1 << 30}, {"iterations", c.Iterations, 1, 100},
	} {
		if v.value < v.least || v.value > v.most {
			return fmt.Errorf("%s %d: want %d to %d", v.name, v.value, v.least, v.most)
		}
	}
	for i, k := range c.MaxSpikes {
		if k < 1 || k > snn.MaxBurst {
			return fmt.Errorf("maxspike %d of layer %d: want 1 to %d", k, i, snn.MaxBurst)
		}
	}
	if err := c.rules().ValidateRules(); err != nil {
		return err
	}
	if c.Objective != ObjectiveRound && c.Objective != ObjectiveFloor {
		return fmt.Errorf("objective %q: want %s or %s", c.Objective, ObjectiveRound, ObjectiveFloor)
	}
	if !(c.Momentum >= 0 && c.Momentum < 1) {
		return fmt.Errorf("momentum %g: want 0 <= momentum < 1", c.Momentum)
	}
	switch c.Calibration {
	case CalibrationNone, CalibrationLight, CalibrationPotential:
	default:
		return fmt.Errorf("calibration %q: want %s, %s or %s", c.Calibration, CalibrationNone, CalibrationLight, CalibrationPotential)
	}
	_, _, err := c.method()
	return err
}

// rules are the neurons' settings, without layers.
func (c *Config) rules() *snn.Config {
	rules := &snn.Config{Timesteps: c.Timesteps, Shift: c.Shift, MaxPool: c.MaxPool, Signed: c.Signed}
	if c.Schedule != snn.ScheduleSync { // the zero value, which files leave out
		rules.Schedule = c.Schedule
	}
	if c.Weights != snn.F32 {
		rules.Weights = c.Weights
	}
	return rules
}

// method splits Threshold into its name and, for a percentile, its fraction.
func (c *Config) method() (name string, fraction float64, err error) {
	name, arg, has := strings.Cut(c.Threshold, ":")
	switch {
	case (name == "mse" || name == "max") && !has:
		return name, 0, nil
	case name == "percentile" && has:
		p, err := strconv.ParseFloat(arg, 64)
		if err == nil && p > 0 && p <= 100 {
			return name, p / 100, nil
		}
	}
	return "", 0, fmt.Errorf("threshold method %q: want mse, max or percentile:P with 0 < P <= 100", c.Threshold)
}

// maxSpike returns the burst limit of a layer.
func (c *Config) maxSpike(layer int) int {
	if len(c.MaxSpikes) > 0 {
		return c.MaxSpikes[layer]
	}
	return c.MaxSpike
}
