package convert

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/snn"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// courseOf is the course of networks whose logits of single timesteps are given,
// [N, T, C], and the mean logits after every timestep.
func courseOf(logits []float32, n, steps, classes int, labels []int, score ExitScore, accumulate string) (*Course, [][]float32) {
	c := &Course{Score: score, Accumulate: accumulate, Timesteps: steps, Labels: labels}
	var means [][]float32
	for i := range n {
		sum := make([]float64, classes)
		for t := range steps {
			mean := make([]float32, classes)
			for k := range sum {
				sum[k] += float64(logits[(i*steps+t)*classes+k])
				mean[k] = float32(sum[k] / float64(t+1))
			}
			c.Doubt = append(c.Doubt, doubt(score, accumulate, t+1, mean))
			c.Prediction = append(c.Prediction, topClass(mean))
			means = append(means, mean)
		}
	}
	return c, means
}

func TestGoldenIAT(t *testing.T) {
	for _, c := range golden.Cases(t, "iat") {
		for _, run := range c.Runs {
			suffix := run.Text(t, "suffix")
			t.Run(c.Name+"/"+suffix, func(t *testing.T) {
				calib, test := c.Array(t, "calib_logits"), c.Array(t, "test_logits")
				steps, classes := calib.Shape[1], calib.Shape[2]
				cfg := DefaultExit()
				cfg.Policy, cfg.Score, cfg.Accumulate = ExitPaper, ExitScore(run.Text(t, "metric")), run.Text(t, "accumulate")
				cfg.Floor, cfg.Scale = c.Params.Float(t, "alpha"), c.Params.Float(t, "beta")
				cfg.ScoreAsEntropy = cfg.Score == ScoreConfidence && !run.Bool(t, "inverted")
				course, _ := courseOf(calib.Data, calib.Shape[0], steps, classes, c.Ints(t, "calib_labels"), cfg.Score, cfg.Accumulate)
				p, err := course.Policy(cfg)
				if err != nil {
					t.Fatal(err)
				}
				var alpha []float32
				for _, a := range p.Thresholds() {
					alpha = append(alpha, float32(a))
				}
				c.Compare(t, "thresholds_"+suffix, alpha)
				labels := c.Ints(t, "test_labels")
				course, means := courseOf(test.Data, test.Shape[0], steps, classes, labels, cfg.Score, cfg.Accumulate)
				o := course.Apply(p.Limits)
				c.CompareInts(t, "exit_"+suffix, o.Exit)
				c.CompareInts(t, "prediction_"+suffix, o.Prediction)
				if want := run.Ints(t, "exit_histogram"); !slices.Equal(o.Histogram, want) {
					t.Errorf("exit histogram %v, want %v", o.Histogram, want)
				}
				for what, v := range map[string][2]float64{
					"accuracy": {o.Accuracy(), run.Float(t, "accuracy")}, "mean exit": {o.MeanExit, run.Float(t, "average_timesteps")},
				} {
					if math.Abs(v[0]-v[1]) > 1e-9 {
						t.Errorf("%s %g, want %g", what, v[0], v[1])
					}
				}
				// The policy, asked step by step, says the same.
				for i, want := range o.Exit {
					at := 1
					for !p.Decide(at, means[i*steps+at-1]) {
						at++
					}
					if at != want {
						t.Errorf("sample %d: Decide lets it go at %d, want %d", i, at, want)
					}
				}
			})
		}
	}
}

// TestDoubt compares with the formulas of algorithms.md 7.1 and checks that
// certain logits do not all look alike.
func TestDoubt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := rapid.SliceOfN(rapid.Float32Range(-8, 8), 2, 6).Draw(t, "logits")
		steps := rapid.IntRange(1, 4).Draw(t, "t")
		var sum float64
		p := make([]float64, len(logits))
		for i, v := range logits {
			p[i] = math.Exp(float64(v) * float64(steps))
			sum += p[i]
		}
		entropy := 0.0
		for i := range p {
			p[i] /= sum
			if p[i] > 0 {
				entropy -= p[i] * math.Log(p[i])
			}
		}
		slices.Sort(p)
		slices.Reverse(p)
		for score, want := range map[ExitScore]float64{ScoreEntropy: entropy / math.Log(float64(len(p))),
			ScoreConfidence: 1 - p[0], ScoreMargin: 1 - (p[0] - p[1])} {
			if got := doubt(score, AccumulateSum, steps, logits); math.Abs(got-want) > 1e-9 {
				t.Errorf("1 - %s of %v after %d timesteps: got %g, want %g", score, logits, steps, got, want)
			}
		}
	})
	last := 1.0
	for _, top := range []float32{1, 10, 50, 100, 300} {
		for _, score := range []ExitScore{ScoreEntropy, ScoreConfidence, ScoreMargin} {
			if d := doubt(score, AccumulateMean, 1, []float32{0, top, 0}); !(d > 0 && d < 2) {
				t.Errorf("1 - %s of a lead of %g is %g", score, top, d)
			}
		}
		d := doubt(ScoreEntropy, AccumulateMean, 1, []float32{0, top, 0})
		if d >= last {
			t.Errorf("a lead of %g leaves a doubt of %g, no less than before", top, d)
		}
		last = d
	}
}

// population draws samples whose answers change with a chance known from their
// doubt: a course of T = 4 timesteps with many near the border.
func population(rng *rand.Rand, n int) *Course {
	const steps = 4
	c := &Course{Score: ScoreConfidence, Accumulate: AccumulateSum, Timesteps: steps}
	for range n {
		hard := rng.ExpFloat64()
		for t := range steps {
			u := math.Abs(float64(t+1)*2/(0.3+hard) + rng.NormFloat64())
			d := math.Exp(-u)
			answer := 0
			if t < steps-1 && rng.Float64() < 0.5/(1+math.Exp(1.2*u-1)) {
				answer = 1
			}
			c.Doubt, c.Prediction = append(c.Doubt, d), append(c.Prediction, answer)
		}
	}
	return c
}

// TestTargetHoldsItsBound: over many calibration sets, the share of sets whose
// true risk exceeds the stated one is at most delta, and the choice by the
// observed rate alone would exceed it far more often.
func TestTargetHoldsItsBound(t *testing.T) {
	const trials, delta = 200, 0.1
	world := population(rand.New(rand.NewPCG(1, 2)), 30000)
	for _, risk := range []float64{0.01, 0.05} {
		cfg := DefaultExit()
		cfg.Score, cfg.Risk, cfg.Delta = ScoreConfidence, risk, delta
		broken, naive, exits := 0, 0, 0.0
		for trial := range trials {
			c := population(rand.New(rand.NewPCG(uint64(trial), 3)), 1200)
			p, err := c.Policy(cfg)
			if err != nil {
				t.Fatal(err)
			}
			o := world.Apply(p.Limits)
			exits += o.MeanExit / trials
			if 1-o.Agreement > risk {
				broken++
			}
			if p.Bound > risk || 1-p.Agreement > p.Bound {
				t.Errorf("bound %g of a disagreement of %g, stated risk %g", p.Bound, 1-p.Agreement, risk)
			}
			// The boldest limits whose observed rate is within the risk.
			var last []float64
			for _, limits := range c.limitLists() {
				if float64(c.Apply(limits).Differ) <= risk*1200 {
					last = limits
				}
			}
			if 1-world.Apply(last).Agreement > risk {
				naive++
			}
		}
		t.Logf("risk %g: %d of %d calibration sets break it (delta %g), by the observed rate %d; mean exit %.2f", risk, broken, trials, delta, naive, exits)
		if most := trials*delta + 3*math.Sqrt(trials*delta*(1-delta)); float64(broken) > most {
			t.Errorf("risk %g: %d of %d calibration sets break it, want at most %.0f", risk, broken, trials, most)
		}
		if naive < trials/4 {
			t.Errorf("risk %g: only %d sets break it without the bound: the test shows nothing", risk, naive)
		}
		if exits > 3.5 {
			t.Errorf("risk %g: mean exit %g: hardly anything leaves", risk, exits)
		}
	}
}

// TestTargetNeedsSamples: with too few samples for the bound nothing leaves.
func TestTargetNeedsSamples(t *testing.T) {
	cfg := DefaultExit()
	cfg.Score = ScoreConfidence
	sure := func(n int) *Course {
		c := &Course{Score: ScoreConfidence, Accumulate: AccumulateSum, Timesteps: 2}
		for range n {
			c.Doubt, c.Prediction = append(c.Doubt, 0.1, 0.01), append(c.Prediction, 3, 3)
		}
		return c
	}
	for _, test := range []struct {
		samples int
		exit    float64
	}{{897, 1}, {894, 2}, {1, 2}, {3, 2}} { // 598 and 596 of them test
		p, err := sure(test.samples).Policy(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if p.MeanExit != test.exit {
			t.Errorf("%d samples: mean exit %g, want %g", test.samples, p.MeanExit, test.exit)
		}
		if got := sure(5).Apply(p.Limits).MeanExit; got != test.exit {
			t.Errorf("%d samples: applied, mean exit %g, want %g", test.samples, got, test.exit)
		}
	}
}

func TestBinomial(t *testing.T) {
	for _, c := range []struct {
		k, n    int
		p, want float64
	}{
		{0, 10, 0.5, 1.0 / 1024}, {5, 10, 0.5, 638.0 / 1024}, {10, 10, 0.3, 1}, {2, 4, 0.25, 243.0 / 256},
		{0, 598, 0.005, math.Pow(0.995, 598)}, {3, 5, 0, 1}, {3, 5, 1, 0},
	} {
		if got := binomialCDF(c.k, c.n, c.p); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("P(Binomial(%d, %g) <= %d) is %g, want %g", c.n, c.p, c.k, got, c.want)
		}
	}
	// Clopper-Pearson bounds from tables: 0 of 10 and 3 of 20 at 95 %, one-sided.
	for _, c := range []struct {
		k, n int
		want float64
	}{{0, 10, 0.2589}, {3, 20, 0.3437}, {10, 10, 1}} {
		if got := upperBound(c.k, c.n, 0.05); math.Abs(got-c.want) > 1e-4 {
			t.Errorf("upper bound of %d of %d is %g, want %g", c.k, c.n, got, c.want)
		}
	}
}

// TestPolicyTravels: JSON and back, the same decisions; damage is refused.
func TestPolicyTravels(t *testing.T) {
	cfg := DefaultExit()
	cfg.Score, cfg.Risk = ScoreConfidence, 0.05
	p, err := population(rand.New(rand.NewPCG(7, 7)), 2000).Policy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back ExitPolicy
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, &back); d != "" {
		t.Errorf("changed on the way (-want +got):\n%s", d)
	}
	if err := back.Validate(); err != nil {
		t.Error(err)
	}
	for want, damage := range map[string]func(p *ExitPolicy){
		"limits":       func(p *ExitPolicy) { p.Limits = p.Limits[1:] },
		"exit limit":   func(p *ExitPolicy) { p.Limits[2] = math.NaN() },
		"exit policy":  func(p *ExitPolicy) { p.Policy = "other" },
		"exit score":   func(p *ExitPolicy) { p.Score = "sum" },
		"accumulation": func(p *ExitPolicy) { p.Accumulate = "" },
		"exit risk":    func(p *ExitPolicy) { p.Risk = 0 },
		"exit delta":   func(p *ExitPolicy) { p.Delta = 1 },
		"exit floor":   func(p *ExitPolicy) { p.Floor = -1 },
		"exit scale":   func(p *ExitPolicy) { p.Floor, p.Scale = 0.6, 0.5 },
		"exit decay":   func(p *ExitPolicy) { p.Decay = 0 },
	} {
		bad := *p
		bad.Limits = slices.Clone(p.Limits)
		damage(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one about %q", err, want)
		}
	}
}

func TestExitWarnings(t *testing.T) {
	paper, target := ExitPolicy{Timesteps: 8, Agreement: 0.98}, ExitPolicy{Timesteps: 8, Bound: 0.004, Agreement: 0.98}
	paper.Policy, target.Policy = ExitPaper, ExitTarget
	never := target
	never.Bound = 0
	good := paper
	good.Agreement = 0.995
	for _, c := range []struct {
		policy ExitPolicy
		shift  snn.Shift
		want   []string
	}{
		{paper, snn.ShiftInitial, []string{"98.00 %"}}, {paper, snn.ShiftPerStep, []string{"98.00 %", "per-step"}},
		{good, snn.ShiftInitial, nil}, {target, snn.ShiftInitial, nil}, {target, snn.ShiftPerStep, []string{"per-step"}},
		{never, snn.ShiftInitial, []string{"all run 8 timesteps"}},
	} {
		got := c.policy.Warnings(c.shift)
		if !slices.EqualFunc(got, c.want, strings.Contains) {
			t.Errorf("%s, agreement %g, bound %g, shift %s: got %q, want %q", c.policy.Policy, c.policy.Agreement, c.policy.Bound, c.shift, got, c.want)
		}
	}
}

// TestPaperNeverLeavesWithoutCorrect: a timestep at which no sample is right
// gets no exit, nor does that of the least entropy.
func TestPaperNeverLeavesWithoutCorrect(t *testing.T) {
	c := &Course{Score: ScoreEntropy, Accumulate: AccumulateSum, Timesteps: 3, Labels: []int{1, 1},
		Doubt: []float64{0.5, 0.3, 0.1, 0.6, 0.2, 0.1}, Prediction: []int{0, 1, 1, 0, 1, 1}}
	cfg := DefaultExit()
	cfg.Policy = ExitPaper
	p, err := c.Policy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{0, 0.4 * (1 - math.Exp(-0.15)), 0}
	if !cmp.Equal(p.Limits, want, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-12 })) {
		t.Errorf("limits %v, want %v", p.Limits, want)
	}
	c.Labels = nil
	if _, err := c.Policy(cfg); err == nil || !strings.Contains(err.Error(), "labels") {
		t.Errorf("without labels: got error %v", err)
	}
}
