package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Limits of a result. A result is read by people; these are far above what
// they can use.
const (
	maxName      = 200
	maxSNNs      = 10000
	maxLayers    = 10000
	maxTimesteps = 1024
	maxBurst     = 255
	maxAmount    = 1e30 // of counts, energies and times: room for ratios of them
)

// A checker collects the first defect.
type checker struct{ err error }

func (c *checker) failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

func (c *checker) name(field, s string, required bool) {
	switch {
	case s == "" && required:
		c.failf("%s is empty", field)
	case len(s) > maxName:
		c.failf("%s has %d bytes, want at most %d", field, len(s), maxName)
	case !utf8.ValidString(s):
		c.failf("%s %q is not UTF-8", field, s)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			c.failf("%s %q holds a control character", field, s)
		}
	}
}

// amount checks numbers that are counts, energies or times.
func (c *checker) amount(field string, v float64) {
	if !(v >= 0 && v <= maxAmount) {
		c.failf("%s is %g, want a number in 0 to %g", field, v, float64(maxAmount))
	}
}

func (c *checker) fraction(field string, v float64) {
	if !(v >= 0 && v <= 1) {
		c.failf("%s is %g, want a fraction in 0 to 1", field, v)
	}
}

func (c *checker) between(field string, v, low, high int) {
	if v < low || v > high {
		c.failf("%s is %d, want %d to %d", field, v, low, high)
	}
}

func (c *checker) shape(field string, s []int) {
	if len(s) > 3 {
		c.failf("%s %v has %d axes, want at most 3", field, s, len(s))
	}
	for _, d := range s {
		if d < 1 {
			c.failf("%s %v has an axis below 1", field, s)
		}
	}
}

// Validate checks ranges and uniqueness; the error names the field, its value
// and what is allowed.
func (r *Result) Validate() error {
	c := &checker{}
	if r.Schema != Schema {
		c.failf("schema is %d, this version reads %d", r.Schema, Schema)
	}
	c.name("command", r.Command, true)
	c.name("label", r.Label, false)
	c.name("version", r.Version, false)
	c.name("cpu", r.CPU, false)
	c.between("workers", r.Workers, 0, math.MaxInt32)
	c.amount("seconds", r.Seconds)
	if m := r.Machine; m != nil {
		for field, s := range map[string]string{"cpu": m.CPU, "os": m.OS, "arch": m.Arch, "go": m.GoVersion} {
			c.name("machine."+field, s, false)
		}
		c.between("machine.cores", m.Cores, 0, math.MaxInt32)
	}
	if y := r.Created.Year(); y < 0 || y > 9999 {
		c.failf("created is in year %d, want 0 to 9999", y)
	}
	if len(r.Config) > 0 {
		// Equal up to white space is all that JSON promises, so the form with
		// none is the only one that survives writing and reading.
		if t := bytes.TrimSpace(r.Config); !json.Valid(t) || len(t) == 0 || t[0] != '{' {
			c.failf("config is not a JSON object")
		}
	}
	c.name("dataset.name", r.Dataset.Name, true)
	c.name("dataset.sha256", r.Dataset.SHA256, false)
	c.between("dataset.train", r.Dataset.Train, 0, math.MaxInt)
	c.between("dataset.test", r.Dataset.Test, 0, math.MaxInt)
	c.between("dataset.classes", r.Dataset.Classes, 0, math.MaxInt)
	c.between("dataset.calibration", r.Dataset.Calibration, 0, math.MaxInt)
	c.name("network.arch", r.Network.Arch, true)
	c.name("network.sha256", r.Network.SHA256, false)
	c.amount("network.parameters", float64(r.Network.Parameters))
	c.amount("network.macs", float64(r.Network.MACs))
	c.amount("network.neurons", float64(r.Network.Neurons))
	c.name("energy.profile", r.Energy.Profile, false)
	c.name("energy.note", r.Energy.Note, false)
	c.amount("energy.mac_pj", r.Energy.MACPJ)
	c.amount("energy.ac_pj", r.Energy.ACPJ)
	c.amount("energy.break_even_spikes_per_synapse", r.Energy.BreakEven)
	r.ANN.Metrics.check(c, "ann")
	c.amount("ann.energy_pj_per_sample", r.ANN.EnergyPJ)
	if len(r.ANN.Layers) > maxLayers || len(r.SNN) > maxSNNs {
		c.failf("%d ANN layers and %d SNNs, want at most %d and %d", len(r.ANN.Layers), len(r.SNN), maxLayers, maxSNNs)
	}
	for i := range r.ANN.Layers {
		l, at := &r.ANN.Layers[i], "ann.layers["+strconv.Itoa(i)+"]."
		c.name(at+"name", l.Name, true)
		c.name(at+"op", l.Op, false)
		c.shape(at+"shape", l.Shape)
		c.amount(at+"macs_per_sample", float64(l.MACs))
		c.amount(at+"energy_pj_per_sample", l.EnergyPJ)
	}
	type key struct {
		name string
		t    int
	}
	seen := map[key]bool{}
	for i := range r.SNN {
		s := &r.SNN[i]
		at := "snn[" + strconv.Itoa(i) + "]."
		s.check(c, at)
		if k := (key{s.Name, s.Timesteps}); seen[k] {
			c.failf("%sname %q with T %d appears twice", at, s.Name, s.Timesteps)
		} else {
			seen[k] = true
		}
	}
	for field, v := range map[string]float64{
		"train_s": r.Timing.TrainS, "calibrate_s": r.Timing.CalibrateS, "search_s": r.Timing.SearchS,
		"evaluate_s": r.Timing.EvaluateS, "ann_samples_per_s": r.Timing.ANNSamplesPerSec,
		"snn_samples_per_s": r.Timing.SNNSamplesPerSec,
	} {
		c.amount("timing."+field, v)
	}
	return c.err
}

func (m Metrics) check(c *checker, at string) {
	for _, f := range []struct {
		name  string
		value *float64
	}{
		{"accuracy", m.Accuracy}, {"accuracy_se", m.AccuracySE}, {"top5", m.Top5}, {"map50", m.MAP50}, {"map", m.MAP},
		{"miou", m.MIoU}, {"pixel_accuracy", m.PixelAccuracy}, {"instance_miou", m.InstanceMIoU}, {"class_miou", m.ClassMIoU},
	} {
		if f.value != nil {
			c.fraction(at+"."+f.name, *f.value)
		}
	}
}

func (s *SNN) check(c *checker, at string) {
	c.name(at+"name", s.Name, true)
	c.between(at+"T", s.Timesteps, 1, maxTimesteps)
	if len(s.MaxSpike) > maxLayers || len(s.Layers) > maxLayers {
		c.failf("%slayers: %d burst limits and %d layers, want at most %d", at, len(s.MaxSpike), len(s.Layers), maxLayers)
	}
	for i, m := range s.MaxSpike {
		if m < 1 || m > maxBurst {
			c.failf("%smaxspike[%d] is %d, want 1 to %d", at, i, m, maxBurst)
		}
	}
	c.name(at+"calib", s.Calib, false)
	c.name(at+"neuron", s.Neuron, false)
	c.name(at+"shift", s.Shift, false)
	c.name(at+"threshold", s.Threshold, false)
	c.name(at+"profile", s.Profile, false)
	s.Metrics.check(c, at[:len(at)-1])
	if s.Agreement != nil {
		c.fraction(at+"agreement", *s.Agreement)
	}
	if !(s.AvgTimesteps >= 1 && s.AvgTimesteps <= float64(s.Timesteps)) {
		c.failf("%savg_timesteps is %g, want 1 to T = %d", at, s.AvgTimesteps, s.Timesteps)
	}
	c.fraction(at+"density", s.Density)
	for _, f := range []struct {
		name  string
		value float64
	}{
		{"spikes_per_sample", s.Spikes}, {"events_per_sample", s.Events}, {"sops_per_sample", s.SOPs},
		{"macs_per_sample", s.MACs}, {"pool_adds_per_sample", s.PoolAdds}, {"residual_adds_per_sample", s.ResidualAdds},
		{"neuron_updates_per_sample", s.NeuronUpdates}, {"spikes_per_synapse", s.SpikesPerSyn},
		{"energy_pj_per_sample", s.EnergyPJ}, {"energy_ratio", s.EnergyRatio}, {"samples_per_s", s.SamplesPerSec},
		{"calibrate_s", s.CalibrateS}, {"dead_channels", float64(s.DeadChannels)},
	} {
		c.amount(at+f.name, f.value)
	}
	if s.Reference != nil {
		c.amount(at+"reference.energy_pj_per_sample", s.Reference.EnergyPJ)
	}
	if s.Search != nil {
		s.Search.check(c, at+"search.")
	}
	if s.SSC != nil {
		s.SSC.check(c, at+"ssc.")
	}
	if s.IAT != nil {
		s.IAT.check(c, at+"iat.", s.Timesteps, s.AvgTimesteps)
	}
	for i := range s.Layers {
		if c.err != nil {
			return // names of fields are costly to build
		}
		s.Layers[i].check(c, at+"layers["+strconv.Itoa(i)+"].")
	}
}

func (l *Layer) check(c *checker, at string) {
	c.name(at+"name", l.Name, true)
	c.name(at+"op", l.Op, false)
	c.shape(at+"shape", l.Shape)
	c.between(at+"maxspike", l.MaxSpike, 0, maxBurst)
	c.fraction(at+"density", l.Density)
	for _, f := range []struct {
		name  string
		value float64
	}{
		{"neurons", float64(l.Neurons)}, {"threshold_mean", l.ThresholdMean}, {"threshold_min", l.ThresholdMin},
		{"threshold_max", l.ThresholdMax}, {"spikes_per_sample", l.Spikes}, {"events_per_sample", l.Events},
		{"sops_per_sample", l.SOPs}, {"macs_per_sample", l.MACs}, {"energy_pj_per_sample", l.EnergyPJ},
		{"energy_share", l.EnergyShare}, {"ann_macs_per_sample", float64(l.ANNMACs)},
		{"ann_energy_pj_per_sample", l.ANNEnergyPJ}, {"energy_ratio", l.EnergyRatio},
	} {
		c.amount(at+f.name, f.value)
	}
}
