package convert

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/adafire/adafire/snn"
	"github.com/google/go-cmp/cmp"
)

func TestConfigValidate(t *testing.T) {
	for _, c := range []Config{Default(), Reference()} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", c.Profile, err)
		}
	}
	for _, c := range []struct {
		fail   string
		change func(*Config)
	}{
		{"", func(c *Config) { c.Timesteps, c.MaxSpike = 1024, 255 }},
		{"", func(c *Config) { c.MaxSpikes = []int{1, 255} }},
		{"", func(c *Config) { c.Threshold = "percentile:99.9" }},
		{"", func(c *Config) { c.Threshold = "percentile:100" }},
		{"", func(c *Config) { c.Threshold = "max" }},
		{"timesteps 0: want 1 to 1024", func(c *Config) { c.Timesteps = 0 }},
		{"timesteps 1025", func(c *Config) { c.Timesteps = 1025 }},
		{"maxspike 0: want 1 to 255", func(c *Config) { c.MaxSpike = 0 }},
		{"maxspike 256", func(c *Config) { c.MaxSpike = 256 }},
		{"maxspike 0 of layer 1", func(c *Config) { c.MaxSpikes = []int{1, 0} }},
		{"maxspike 256 of layer 0", func(c *Config) { c.MaxSpikes = []int{256} }},
		{`shift "half"`, func(c *Config) { c.Shift = "half" }},
		{`max pool rule "mean"`, func(c *Config) { c.MaxPool = "mean" }},
		{"", func(c *Config) { c.Signed = true }},
		{"", func(c *Config) { c.Schedule = snn.ScheduleAccumulate }},
		{"", func(c *Config) { c.Schedule = "" }},
		{`schedule "late": want sync or accumulate`, func(c *Config) { c.Schedule = "late" }},
		{"signed neurons with schedule accumulate", func(c *Config) { c.Signed, c.Schedule = true, snn.ScheduleAccumulate }},
		{"signed neurons with max pool rule per-step", func(c *Config) { c.Signed, c.MaxPool = true, snn.MaxPoolPerStep }},
		{"shift per-step with schedule accumulate", func(c *Config) { c.Shift, c.Schedule = snn.ShiftPerStep, snn.ScheduleAccumulate }},
		{"max pool rule per-step with schedule accumulate", func(c *Config) { c.MaxPool, c.Schedule = snn.MaxPoolPerStep, snn.ScheduleAccumulate }},
		{`objective "ceil"`, func(c *Config) { c.Objective = "ceil" }},
		{"momentum 1", func(c *Config) { c.Momentum = 1 }},
		{"momentum NaN", func(c *Config) { c.Momentum = math.NaN() }},
		{"momentum -0.1", func(c *Config) { c.Momentum = -0.1 }},
		{`calibration "advanced"`, func(c *Config) { c.Calibration = "advanced" }},
		{"batches -1", func(c *Config) { c.Batches = -1 }},
		{"batch size 0", func(c *Config) { c.BatchSize = 0 }},
		{"samples 0", func(c *Config) { c.Samples = 0 }},
		{"bias samples 0", func(c *Config) { c.BiasSamples = 0 }},
		{"iterations 0", func(c *Config) { c.Iterations = 0 }},
		{"iterations 101", func(c *Config) { c.Iterations = 101 }},
		{`threshold method "median"`, func(c *Config) { c.Threshold = "median" }},
		{`threshold method "mse:3"`, func(c *Config) { c.Threshold = "mse:3" }},
		{`threshold method "percentile"`, func(c *Config) { c.Threshold = "percentile" }},
		{`threshold method "percentile:0"`, func(c *Config) { c.Threshold = "percentile:0" }},
		{`threshold method "percentile:101"`, func(c *Config) { c.Threshold = "percentile:101" }},
		{`threshold method "percentile:NaN"`, func(c *Config) { c.Threshold = "percentile:NaN" }},
		{`threshold method ""`, func(c *Config) { c.Threshold = "" }},
	} {
		cfg := Default()
		c.change(&cfg)
		err := cfg.Validate()
		if c.fail == "" && err != nil || c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
			t.Errorf("got error %v, want one with %q", err, c.fail)
		}
	}
}

func TestProfiles(t *testing.T) {
	d, r := Default(), Reference()
	if d.Shift != snn.ShiftInitial || d.Objective != ObjectiveRound || d.MaxPool != snn.MaxPoolExact || d.Batches != 0 {
		t.Errorf("default is %+v", d)
	}
	if r.Shift != snn.ShiftPerStep || r.Objective != ObjectiveFloor || r.MaxPool != snn.MaxPoolPerStep || r.Batches != 7 || r.Momentum != 0.9 || !r.VectorScalar {
		t.Errorf("reference is %+v", r)
	}
	for _, name := range []string{ProfileDefault, ProfileReference} {
		if c, err := Profile(name); err != nil || c.Profile != name {
			t.Errorf("%s: got %q, %v", name, c.Profile, err)
		}
	}
	if _, err := Profile("fast"); err == nil || !strings.Contains(err.Error(), `profile "fast"`) {
		t.Errorf("got error %v", err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, back); d != "" {
		t.Errorf("after JSON -want +got:\n%s", d)
	}
}
