package convert

import (
	"math"
	"testing"

	"github.com/adafire/adafire/snn"
)

// rules are neurons that do not fire too early.
var rules = map[string]func(*Config){
	"signed":     func(c *Config) { c.Signed = true },
	"accumulate": func(c *Config) { c.Schedule = snn.ScheduleAccumulate },
}

// TestRulesAgree: negative spikes and accumulated currents go through the whole
// conversion. Without a limit that matters both are the rounded ANN, so they
// agree but for potentials within rounding of a threshold; positive spikes alone
// do not.
func TestRulesAgree(t *testing.T) {
	g := small(t)
	calibration, test := samples(3, 300, imageShape), samples(4, 100, imageShape)
	logits := func(change func(*Config)) []float32 {
		cfg := Default()
		cfg.Timesteps, cfg.Calibration = 4, CalibrationNone
		change(&cfg)
		res := mustConvert(t, g, calibration, cfg, 1)
		for l := range res.SNN.Layers {
			res.SNN.Layers[l].MaxSpike = snn.MaxBurst
		}
		net, err := res.Network()
		if err != nil {
			t.Fatal(err)
		}
		out, err := net.Run(t.Context(), nil, test, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return out.Logits.Data
	}
	deviation := func(a, b []float32) (rms float64) {
		for i, v := range a {
			rms += math.Pow(float64(v-b[i]), 2)
		}
		return math.Sqrt(rms / float64(len(a)))
	}
	plain, signed, accumulate := logits(func(*Config) {}), logits(rules["signed"]), logits(rules["accumulate"])
	a, b := deviation(signed, accumulate), deviation(plain, accumulate)
	t.Logf("signed and accumulated logits deviate by %.2g, positive ones by %.2g", a, b)
	if !(a < b/20) || b == 0 {
		t.Errorf("signed and accumulated logits deviate by %g, positive ones by %g", a, b)
	}
}

// TestCalibrationUnderRules removes the errors of the mean as for other neurons.
func TestCalibrationUnderRules(t *testing.T) {
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			x := samples(11, 128, imageShape)
			g := mustPrepare(t, small(t))
			cfg := Default()
			cfg.Timesteps, cfg.MaxSpike, cfg.Objective, cfg.Shift = 4, 1, ObjectiveFloor, snn.ShiftNone
			rule(&cfg)
			n, err := Thresholds(t.Context(), nil, g, x, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if n.Config.Signed != cfg.Signed || (n.Config.Schedule == snn.ScheduleAccumulate) != (name == "accumulate") {
				t.Fatalf("the network's settings are %+v", n.Config)
			}
			checkLight(t, g, n.Config, x)
			before := errorsOf(t, g, g, n.Config, x)
			calibrated, err := PotentialCalibration(t.Context(), nil, g, g, n.Config, x, false)
			if err != nil {
				t.Fatal(err)
			}
			for l, after := range errorsOf(t, g, g, calibrated, x) {
				if !(after < 0.8*before[l]) {
					t.Errorf("layer %d: error %g before the calibration of potentials, %g after", l, before[l], after)
				}
			}
		})
	}
}

// TestSyncIsNotStored: the default schedule leaves the files of a network as
// they were before there was another.
func TestSyncIsNotStored(t *testing.T) {
	cfg := Default()
	if cfg.Schedule != snn.ScheduleSync || cfg.Signed {
		t.Fatalf("default is %+v", cfg)
	}
	if s := cfg.rules().Schedule; s != "" {
		t.Errorf("the network's schedule is %q, want none", s)
	}
}
