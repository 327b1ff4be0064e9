package cli

import (
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/snn"
	"github.com/spf13/pflag"
)

// methodFlags switch on the stages of the method: the search of burst limits,
// spike compression, early exits.
type methodFlags struct {
	search       bool
	initialSpike int
	desiredSpike int
	minSpike     int
	spikeRatio   float64
	compress     bool
	ratio        float64
	metric       string
	cost         string
	samples      int
	iat          string
	policy       string
	floor        float64
	risk         float64
}

// off is the value of --iat without exits.
const off = "off"

func (m *methodFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&m.search, "search", false, "search one burst limit per layer (AdaFire)")
	intVar(f, &m.initialSpike, "initialspike", 8, 1, snn.MaxBurst, "search: the largest burst limit tried")
	intVar(f, &m.desiredSpike, "desired-maxspike", 0, 0, snn.MaxBurst, "search: burst limit whose cost is the budget, 0 for --maxspike")
	intVar(f, &m.minSpike, "minspike", 1, 1, snn.MaxBurst, "search: the smallest burst limit tried")
	floatVar(f, &m.spikeRatio, "maxspike-ratio", 1, 0.01, 100, "search: budget as a share of the cost of the desired limit")
	f.BoolVar(&m.compress, "search-threshold", false, "raise thresholds layer by layer to save spikes (SSC)")
	floatVar(f, &m.ratio, "threshold-ratio", 1, 0, 100, "SSC: how far the sensitivity may rise, 1 for not at all")
	choiceVar(f, &m.metric, "metric", string(convert.MetricKL), []string{string(convert.MetricKL), string(convert.MetricAccuracy)}, "what sensitivity is: divergence of the outputs, or accuracy lost")
	choiceVar(f, &m.cost, "cost", string(convert.CostSOPs), []string{string(convert.CostSOPs), string(convert.CostSpikes)}, "what search and SSC save: synaptic operations or spikes")
	intVar(f, &m.samples, "search-samples", 1024, 1, 1<<30, "training samples that sensitivities are measured on")
	choiceVar(f, &m.iat, "iat", off, []string{off, string(convert.ScoreEntropy), string(convert.ScoreConfidence)}, "let samples leave early, by this score (Input-aware Adaptive Timesteps)")
	choiceVar(f, &m.policy, "iat-policy", convert.ExitTarget, []string{convert.ExitTarget, convert.ExitPaper}, "exit thresholds: for a stated risk, or by the paper's formula")
	floatVar(f, &m.floor, "iat-floor", 0.6, 0, 1, "policy paper: least threshold")
	floatVar(f, &m.risk, "iat-risk", 0.005, 1e-6, 0.999999, "policy target: highest share of answers that may differ from those after T timesteps")
}

// apply adds the stages that were asked for to a setting.
func (m *methodFlags) apply(s *session, set *job.Setting) error {
	reference := set.Config.Profile == convert.ProfileReference
	measure := func(v *convert.Measure) {
		v.Metric, v.Samples = convert.Metric(m.metric), m.samples
		resolve(s, "cost", (*string)(&v.Cost), &m.cost)
	}
	if m.search {
		opt := convert.DefaultSearch()
		if reference {
			opt = convert.ReferenceSearch()
		}
		opt.MinSpike, opt.InitialSpike, opt.DesiredSpike, opt.Ratio = m.minSpike, m.initialSpike, m.desiredSpike, m.spikeRatio
		measure(&opt.Measure)
		if m.minSpike > m.initialSpike {
			return s.Usagef("--minspike %d is above --initialspike %d", m.minSpike, m.initialSpike)
		}
		if err := opt.Validate(&set.Config); err != nil {
			return s.Usagef("--search: %v", err)
		}
		set.Search = &opt
		set.Name += "-search"
	} else if flag := s.firstChanged("initialspike", "desired-maxspike", "minspike", "maxspike-ratio"); flag != "" {
		return s.Usagef("--%s is for a search of burst limits: add --search", flag)
	}
	if m.compress {
		opt := convert.DefaultCompress()
		if reference {
			opt = convert.ReferenceCompress()
		}
		opt.Ratio = m.ratio
		opt.Recalibrate = opt.Recalibrate && set.Config.Calibration != convert.CalibrationNone
		measure(&opt.Measure)
		if err := opt.Validate(); err != nil {
			return s.Usagef("--search-threshold: %v", err)
		}
		set.Compress = &opt
		set.Name += "-ssc"
	} else if flag := s.firstChanged("threshold-ratio"); flag != "" {
		return s.Usagef("--threshold-ratio is for spike compression: add --search-threshold")
	}
	if m.iat != off {
		opt := convert.DefaultExit()
		opt.Score, opt.Policy, opt.Risk = convert.ExitScore(m.iat), m.policy, m.risk
		opt.Floor, opt.Scale = m.floor, 1-m.floor
		if err := opt.Validate(); err != nil {
			return s.Usagef("--iat: %v", err)
		}
		set.Exit = &opt
		set.Name += "-iat"
	} else if flag := s.firstChanged("iat-policy", "iat-floor", "iat-risk"); flag != "" {
		return s.Usagef("--%s is for early exits: add --iat entropy or --iat confidence", flag)
	}
	return nil
}

// firstChanged returns the first of the flags whose value is not its default. A
// saved configuration holds the defaults too, and they ask for nothing.
func (s *session) firstChanged(flags ...string) string {
	for _, name := range flags {
		if f := s.cmd.Flags().Lookup(name); f.Value.String() != f.DefValue {
			return name
		}
	}
	return ""
}
