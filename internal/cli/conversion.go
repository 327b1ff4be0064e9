package cli

import (
	"fmt"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/snn"
	"github.com/spf13/pflag"
)

// convertFlags say how to convert.
type convertFlags struct {
	timesteps []int
	profile   string
	calib     string
	samples   int
	threshold string
	channel   bool
	maxSpike  int
	shift     string
	maxPool   string
	readout   bool
	signed    bool
	schedule  string
	weights   string
	passes    int
	energy    string
	method    methodFlags
}

// register defines the flags; timesteps is the default of --timesteps, nil if
// its absence has a meaning.
func (c *convertFlags) register(f *pflag.FlagSet, timesteps []int) {
	intListVar(f, &c.timesteps, "timesteps", timesteps, 1, snn.MaxTimesteps, "timesteps T, one or a list")
	choiceVar(f, &c.profile, "profile", convert.ProfileDefault, []string{convert.ProfileDefault, convert.ProfileReference}, "where the settings start: ours, or the method's authors' code")
	choiceVar(f, &c.calib, "calib", convert.CalibrationLight, []string{convert.CalibrationNone, convert.CalibrationLight, convert.CalibrationPotential, job.CalibrationAdvanced, job.CalibrationRepair},
		"calibration: of biases (light), of initial potentials, of weights, potentials and biases (advanced), of layers in closed form (repair), or none")
	intVar(f, &c.samples, "calib-samples", 1024, 1, 1<<30, "training samples for thresholds and calibration")
	textVar(f, &c.threshold, "threshold", "mse", "mse, max or percentile:P with P above 0 and up to 100", func(text string) error {
		cfg := convert.Default()
		cfg.Threshold = text
		return cfg.Validate()
	}, "how thresholds are chosen")
	f.BoolVar(&c.channel, "channel-wise", true, "one threshold per channel, not per layer")
	intVar(f, &c.maxSpike, "maxspike", 4, 1, snn.MaxBurst, "burst limit: most spikes of a neuron in a timestep; 1 for plain spikes")
	choiceVar(f, &c.shift, "shift", string(snn.ShiftInitial), []string{string(snn.ShiftInitial), string(snn.ShiftPerStep), string(snn.ShiftNone)}, "where the half threshold goes that makes neurons round (default: the profile's)")
	choiceVar(f, &c.maxPool, "max-pool", string(snn.MaxPoolExact), []string{string(snn.MaxPoolExact), string(snn.MaxPoolPerStep)}, "max pooling on spike counts (default: the profile's)")
	f.BoolVar(&c.readout, "readout", false, "also correct the bias of the last layer")
	f.BoolVar(&c.signed, "signed", false, "let neurons take back spikes by negative ones (beyond the paper)")
	choiceVar(f, &c.schedule, "schedule", string(snn.ScheduleSync), []string{string(snn.ScheduleSync), string(snn.ScheduleAccumulate)}, "fire in every timestep, or once on the sum of all currents (beyond the paper)")
	weightsVar(f, &c.weights, string(snn.F32))
	intVar(f, &c.passes, "iterations", 1, 1, 100, "passes of light calibration")
	c.method.register(f)
	energyVar(f, &c.energy)
}

// config is the profile with the flags that were given, for T timesteps.
func (c *convertFlags) config(s *session, timesteps int) (convert.Config, error) {
	cfg, err := convert.Profile(c.profile)
	if err != nil {
		return cfg, s.Usagef("--profile: %v", err)
	}
	cfg.Timesteps, cfg.MaxSpike, cfg.Calibration = timesteps, c.maxSpike, c.calib
	if c.calib == job.CalibrationAdvanced || c.calib == job.CalibrationRepair {
		cfg.Calibration = convert.CalibrationLight // what search and SSC calibrate with
	}
	cfg.Threshold, cfg.ChannelWise, cfg.Readout = c.threshold, c.channel, c.readout
	cfg.Signed, cfg.Schedule, cfg.Weights = c.signed, snn.Schedule(c.schedule), snn.Precision(c.weights)
	resolve(s, "calib-samples", &cfg.Samples, &c.samples)
	resolve(s, "iterations", &cfg.Iterations, &c.passes)
	cfg.BiasSamples = min(cfg.BiasSamples, cfg.Samples)
	resolve(s, "max-pool", (*string)(&cfg.MaxPool), &c.maxPool)
	resolve(s, "shift", (*string)(&cfg.Shift), &c.shift)
	if s.Changed("shift") {
		cfg.Objective = convert.ObjectiveRound
		if cfg.Shift == snn.ShiftNone || c.profile == convert.ProfileReference {
			cfg.Objective = convert.ObjectiveFloor // the search models the neuron that runs
		}
	}
	if err := cfg.Validate(); err != nil {
		return cfg, s.Usagef("%v", err)
	}
	return cfg, nil
}

// setting is the whole conversion for T timesteps, named as the report does:
// plain or burst spikes, calibration, the stages switched on, and the profile
// unless it is ours.
func (c *convertFlags) setting(s *session, timesteps int) (job.Setting, error) {
	cfg, err := c.config(s, timesteps)
	if err != nil {
		return job.Setting{}, err
	}
	set := namedSetting(cfg)
	switch c.calib {
	case job.CalibrationAdvanced:
		opt := convert.DefaultAdvanced()
		opt.Weights.Seed = s.Seed
		set.Advanced, set.Name = &opt, settingName(cfg, c.calib)
	case job.CalibrationRepair:
		opt := convert.DefaultRepair()
		set.Repair, set.Name = &opt, settingName(cfg, c.calib)
	}
	return set, c.method.apply(s, &set)
}

// namedSetting is a conversion without further stages.
func namedSetting(cfg convert.Config) job.Setting {
	return job.Setting{Name: settingName(cfg, cfg.Calibration), Config: cfg}
}

func settingName(cfg convert.Config, calib string) string {
	name := "burst"
	if cfg.MaxSpike == 1 {
		name = "plain"
	}
	if cfg.Signed {
		name += "-signed"
	}
	if cfg.Schedule == snn.ScheduleAccumulate {
		name += "-accumulate"
	}
	if cfg.Weights != snn.F32 && cfg.Weights != "" {
		name += "-" + string(cfg.Weights)
	}
	name = fmt.Sprintf("%s-%s", name, calib)
	if cfg.Profile == convert.ProfileReference {
		name = "reference-" + name
	}
	return name
}

// weightsVar defines --weights.
func weightsVar(f *pflag.FlagSet, p *string, value string) {
	choiceVar(f, p, "weights", value, []string{string(snn.F32), string(snn.I16), string(snn.I8)}, "precision of the weights that spikes drive: float, or integers with exact sums")
}

// energyVar defines --energy, whose values snn.FindEnergyProfile takes.
func energyVar(f *pflag.FlagSet, p *string) {
	var profiles []string
	for _, e := range snn.EnergyProfiles {
		profiles = append(profiles, e.Name)
	}
	choiceVar(f, p, "energy", profiles[0], profiles, "energies of an operation, 45 nm")
}
