package snn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// quantised evaluates the ANN whose activations are rounded to multiples of
// threshold/t and clipped at t*maxspike of them, in float64. So that a t that is
// no power of two rounds nothing, every value is held times t: an affine node f
// becomes t*f(s/t) = f(s) + (t-1)*f(0), and max pools commute with the factor.
// It returns the multiples of threshold/t, which are the cumulative counts of a
// spiking network, and the output of the ANN.
func quantised(g *graph.Graph, cfg *Config, x []float32, t int) (map[*graph.Node][]int, []float64) {
	steps := float64(t)
	values, zero := map[*graph.Node][]float64{}, map[*graph.Node][]float64{}
	counts := map[*graph.Node][]int{}
	ref := &reference{g: g, cfg: cfg}
	behind := readouts(g)
	layer := 0
	for _, n := range g.Nodes {
		zero[n] = make([]float64, n.Shape.Numel())
		switch {
		case n.Kind() == "input":
			for _, v := range x {
				values[n] = append(values[n], steps*float64(v))
			}
		case graph.IsActivation(n):
			l := &cfg.Layers[layer]
			layer++
			counts[n] = make([]int, len(zero[n]))
			for i, sum := range values[n.Inputs[0]] {
				theta := float64(l.Threshold[i%n.Shape.Channels()%len(l.Threshold)])
				start := 0.0
				if cfg.Shift == ShiftInitial {
					start = 0.5
				}
				if l.Initial != nil {
					start += float64(l.Initial[i]) / theta
				}
				k := min(max(math.Floor(sum/theta+start), 0), steps*float64(l.MaxSpike))
				counts[n][i] = int(k)
				values[n] = append(values[n], k*theta)
			}
		case behind[n]: // on the mean, as it may be a softmax
			mean := map[*graph.Node][]float64{}
			for _, in := range n.Inputs {
				for _, v := range values[in] {
					if !behind[in] {
						v /= steps
					}
					mean[in] = append(mean[in], v)
				}
			}
			values[n] = ref.evaluate(n, mean, false)
		default:
			values[n] = ref.evaluate(n, values, false)
			for i, v := range ref.evaluate(n, zero, false) {
				values[n][i] += (steps - 1) * v
			}
		}
	}
	out := values[g.Outputs[0]]
	if !behind[g.Outputs[0]] {
		for i := range out {
			out[i] /= steps
		}
	}
	return counts, out
}

// TestSignedEqualsQuantisedANN is the exactness of guarded negative spikes: at
// every timestep t, the network has emitted what the ANN with the step
// threshold/t has, whatever the order of the spikes, as long as no neuron is at
// its burst limit. Numbers are exact, so nothing may differ.
func TestSignedEqualsQuantisedANN(t *testing.T) {
	compared, capped, negative := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawNetwork(t, true)
		cfg.Timesteps = rapid.IntRange(1, 6).Draw(t, "T")
		cfg.Signed, cfg.MaxPool = true, MaxPoolExact
		if cfg.Shift == ShiftPerStep {
			cfg.Shift = ShiftInitial
		}
		for i := range cfg.Layers {
			cfg.Layers[i].MaxSpike = MaxBurst
			for k := range cfg.Layers[i].Threshold {
				cfg.Layers[i].Threshold[k] *= 4 // 1 and more, to stay below the limit
			}
		}
		net, err := New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		res, err := net.Run(context.Background(), nil, x, Options{Trace: true})
		if err != nil {
			t.Fatal(err)
		}
		for l := range cfg.Layers {
			for _, n := range res.StepCounts[l].Data {
				if math.Abs(float64(n)) >= MaxBurst {
					capped++
					t.Skip("a neuron is at its burst limit")
				}
				if n < 0 {
					negative++
				}
			}
		}
		atOnce, err := net.Run(context.Background(), nil, x, Options{NoCounts: true})
		if err != nil {
			t.Fatal(err)
		}
		if net.atOnce() == nil || atOnce.Layers != nil {
			t.Fatal("the steps were run one by one")
		}
		for i, v := range res.Logits.Data {
			if cfg.Timesteps&(cfg.Timesteps-1) != 0 {
				break // thresholds over T are rounded, and whole potentials are frequent here
			}
			if got := atOnce.Logits.Data[i]; math.Abs(float64(got-v)) > 1e-4*(1+math.Abs(float64(v))) {
				t.Fatalf("output %d at once is %g, want %g", i, got, v)
			}
		}
		samples := x.Shape[0]
		for s := range samples {
			row := x.Rows(s, s+1).Data
			emitted := make([][]float32, len(cfg.Layers))
			for step := range cfg.Timesteps {
				want, _ := quantised(g, cfg, row, step+1)
				for l, n := range Activations(g) {
					size := n.Shape.Numel()
					if emitted[l] == nil {
						emitted[l] = make([]float32, size)
					}
					for i, k := range res.StepCounts[l].Data[(step*samples+s)*size : (step*samples+s+1)*size] {
						emitted[l][i] += k
						if emitted[l][i] != float32(want[n][i]) {
							t.Fatalf("node %q, sample %d, neuron %d: %g spikes in %d timesteps, the quantised ANN has %d", n.Name, s, i, emitted[l][i], step+1, want[n][i])
						}
						compared++
					}
				}
			}
			_, logits := quantised(g, cfg, row, cfg.Timesteps)
			compareOutput(t, res.Logits.Data[s*len(logits):], logits)
		}
	})
	if compared == 0 || negative == 0 {
		t.Errorf("%d counts compared, %d of them negative, %d networks at the burst limit: the test tests nothing", compared, negative, capped)
	}
}

func compareOutput(t tester, got []float32, want []float64) {
	t.Helper()
	for i, v := range want {
		if d := math.Abs(float64(got[i]) - v); !(d <= 1e-4*(1+math.Abs(v))) {
			t.Fatalf("output %d is %g, the quantised ANN has %g", i, got[i], v)
		}
	}
}

// TestAccumulateEqualsQuantisedANN for all burst limits, with counts that fit a
// byte and others.
func TestAccumulateEqualsQuantisedANN(t *testing.T) {
	wide, clipped := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawAccumulating(t)
		net, err := New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		res, err := net.Run(context.Background(), nil, x, Options{Trace: true})
		if err != nil {
			t.Fatal(err)
		}
		for s := range x.Shape[0] {
			want, logits := quantised(g, cfg, x.Rows(s, s+1).Data, cfg.Timesteps)
			for l, n := range Activations(g) {
				size := n.Shape.Numel()
				if shape := res.StepCounts[l].Shape; shape[0] != 1 || shape[1] != x.Shape[0] {
					t.Fatalf("traced counts of shape %v", shape)
				}
				var spikes, events int64
				for i, k := range res.StepCounts[l].Data[s*size : (s+1)*size] {
					if k != float32(want[n][i]) {
						t.Fatalf("node %q, sample %d, neuron %d: %g spikes, the quantised ANN has %d", n.Name, s, i, k, want[n][i])
					}
					spikes += int64(k)
					if k > 0 {
						events++
					}
					if k > MaxBurst {
						wide++
					}
					if int(k) == cfg.Timesteps*cfg.Layers[l].MaxSpike {
						clipped++
					}
				}
				if c := res.Layers[l]; c.Spikes[s] != spikes || c.Events[s] != events {
					t.Fatalf("node %q: %d spikes and %d events, want %d and %d", n.Name, c.Spikes[s], c.Events[s], spikes, events)
				}
			}
			compareOutput(t, res.Logits.Data[s*len(logits):], logits)
		}
		if d := cmp.Diff(net.Config(), cfg); d != "" {
			t.Fatalf("the network's settings (-network +given):\n%s", d)
		}
		for l, info := range net.Layers() {
			if info.MaxSpike != cfg.Layers[l].MaxSpike || cmp.Diff(info.Threshold, cfg.Layers[l].Threshold) != "" {
				t.Fatalf("layer %d: maxspike %d and thresholds %v, want %+v", l, info.MaxSpike, info.Threshold, cfg.Layers[l])
			}
		}
	})
	if wide == 0 || clipped == 0 {
		t.Errorf("%d counts above a byte and %d at the limit: the test tests too little", wide, clipped)
	}
}

func drawAccumulating(t *rapid.T) (*graph.Graph, *Config, *tensor.Tensor) {
	g, cfg, x := drawNetwork(t, true)
	cfg.Signed, cfg.MaxPool, cfg.Schedule = false, MaxPoolExact, ScheduleAccumulate
	if cfg.Shift == ShiftPerStep {
		cfg.Shift = ShiftInitial
	}
	cfg.Timesteps = rapid.SampledFrom([]int{1, 2, 4, 128}).Draw(t, "T") // 128: limits above 255, no rounding of threshold/T
	return g, cfg, x
}

// TestAccumulateOfOneTimestepIsSync: there is nothing to accumulate.
func TestAccumulateOfOneTimestepIsSync(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawAccumulating(t)
		cfg.Timesteps = 1
		var results []*Result
		for _, schedule := range []Schedule{"", ScheduleSync, ScheduleAccumulate} {
			cfg.Schedule = schedule
			net, err := New(g, cfg)
			if err != nil {
				t.Fatal(err)
			}
			res, err := net.Run(context.Background(), nil, x, Options{Trace: true})
			if err != nil {
				t.Fatal(err)
			}
			res.Times = nil
			results = append(results, res)
		}
		for _, res := range results[1:] {
			if d := cmp.Diff(results[0], res); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// TestReplaceWhereNeuronsAccumulate: also where the new limit needs more than a
// byte and the old one does not.
func TestReplaceWhereNeuronsAccumulate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawAccumulating(t)
		net, err := New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := net.Record(context.Background(), nil, x)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "change"), 1))
		layer := rng.IntN(len(cfg.Layers))
		l := otherNeurons(rng, cfg.Layers[layer], true)
		if d := compareReplaced(rec, nil, g, cfg, x, layer, l); d != "" {
			t.Fatalf("layer %d replaced by %+v (-network +replaced):\n%s", layer, l, d)
		}
	})
}

// rules are the settings that the tests below run with.
var rules = map[string]func(*Config){
	"signed":           func(c *Config) { c.Signed = true },
	"accumulate":       func(c *Config) { c.Schedule = ScheduleAccumulate },
	"accumulate, wide": func(c *Config) { c.Schedule, c.Timesteps = ScheduleAccumulate, 300 },
}

// TestRulesSameBits: the same bits with any number of workers, with and without
// a trace, and from a recording.
func TestRulesSameBits(t *testing.T) {
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			g, cfg, x := deep(t, 9)
			rule(cfg)
			net := mustNew(t, g, cfg)
			traced := mustRun(t, net, nil, x, Options{Trace: true})
			for _, workers := range []int{1, 2, 7} {
				pool := parallel.New(workers)
				defer pool.Close()
				sameResult(t, fmt.Sprintf("%d workers", workers), mustRun(t, net, pool, x, Options{}), traced)
				sameResult(t, fmt.Sprintf("%d workers, recorded", workers), mustRecord(t, net, pool, x).Result(), traced)
				sameResult(t, fmt.Sprintf("%d workers, one sample", workers), mustRun(t, net, pool, x.Rows(4, 5), Options{}), mustRun(t, net, nil, x.Rows(4, 5), Options{}))
			}
			if rec := mustRecord(t, net, nil, x.Rows(0, 1)); net.RecordingBytes() != recordedBytes(rec) {
				t.Errorf("a recorded sample takes %d bytes, announced %d", recordedBytes(rec), net.RecordingBytes())
			}
		})
	}
}

func recordedBytes(rec *Recording) (size int) {
	for _, c := range rec.spikes[0] {
		size += len(c.bytes) + 4*len(c.floats)
	}
	return size
}

// TestSweepsUnderRules: sweeps measure what a run does, corrected or not, and
// hand out the same mean inputs.
func TestSweepsUnderRules(t *testing.T) {
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			g, _, x := deep(t, 5)
			cfg := (&grower{g: g, rng: newRand(4), exact: true}).config(6, ShiftInitial, MaxPoolExact)
			rule(cfg)
			var swept []Measured
			initial := func(m Measured) []float32 {
				v := make([]float32, len(m.Neuron))
				for i := range v {
					v[i] = float32((m.Layer+i)%7-3) / 8
				}
				return v
			}
			if err := mustNew(t, g, cfg).Sweep(t.Context(), nil, x, func(m Measured) (*Correction, error) {
				swept = append(swept, m)
				return &Correction{Initial: initial(m)}, nil
			}); err != nil {
				t.Fatal(err)
			}
			for l, m := range swept {
				net := mustNew(t, g, cfg)
				now := means(net, mustRun(t, net, nil, x, Options{Trace: true}))[l : l+1]
				closeMeans(t, "measured", []Measured{m}, perTimestep(cfg, now))
				cfg.Layers[l].Initial = initial(m)
			}
			net := mustNew(t, g, cfg)
			measured := perTimestep(cfg, means(net, mustRun(t, net, nil, x, Options{Trace: true})))
			seen := 0
			if err := net.SweepInputs(t.Context(), nil, x, nil, func(in MeanInput) (*Weights, error) {
				for l, n := range Activations(g) {
					if n != in.Driver.Inputs[0] {
						continue
					}
					seen++
					mean := make([]float64, n.Shape.Numel())
					for i, v := range in.Input.Data {
						mean[i%len(mean)] += float64(v) / float64(x.Shape[0])
					}
					for i, v := range mean {
						if want := measured[l].Neuron[i]; math.Abs(v-want) > 1e-5*(1+math.Abs(want)) {
							t.Fatalf("mean input of %q: neuron %d of %q is %g, want %g", in.Driver.Name, i, n.Name, v, want)
						}
					}
				}
				return nil, nil
			}); err != nil {
				t.Fatal(err)
			}
			if seen == 0 {
				t.Error("no layer is driven by neurons")
			}
		})
	}
}

// perTimestep turns means over traced counts, which are sums where neurons
// accumulate, into means over timesteps.
func perTimestep(cfg *Config, all []Measured) []Measured {
	if cfg.Schedule != ScheduleAccumulate {
		return all
	}
	for _, m := range all {
		for _, v := range [][]float64{m.Channel, m.Neuron} {
			for i := range v {
				v[i] /= float64(cfg.Timesteps)
			}
		}
	}
	return all
}

// TestAccumulateMACs: a layer behind another without neurons between runs once.
func TestAccumulateMACs(t *testing.T) {
	g, cfg, _ := grown(t, 1, "two linear layers")
	sync := mustNew(t, g, cfg)
	cfg.Schedule = ScheduleAccumulate
	once := mustNew(t, g, cfg)
	found := false
	for _, n := range g.Nodes {
		a, b := sync.MACs(n), once.MACs(n)
		if in := n.MACs(); in > 0 && a == in*int64(cfg.Timesteps) {
			found = true
			a = in
		}
		if a != b {
			t.Errorf("node %q: %d MACs, want %d", n.Name, b, a)
		}
	}
	if !found {
		t.Error("no layer with MACs in every timestep")
	}
}

func TestRuleRefusals(t *testing.T) {
	for _, c := range []struct {
		fail  string
		spoil func(c *Config)
	}{
		{"", func(c *Config) { c.Schedule = ScheduleSync }},
		{"", func(c *Config) { c.Signed, c.Shift = true, ShiftPerStep }},
		{"", func(c *Config) { c.Schedule, c.Shift = ScheduleAccumulate, ShiftNone }},
		{`schedule "late": want sync or accumulate`, func(c *Config) { c.Schedule = "late" }},
		{"signed neurons with max pool rule per-step", func(c *Config) { c.Signed, c.MaxPool = true, MaxPoolPerStep }},
		{"signed neurons with schedule accumulate", func(c *Config) { c.Signed, c.Schedule = true, ScheduleAccumulate }},
		{"shift per-step with schedule accumulate", func(c *Config) { c.Schedule, c.Shift = ScheduleAccumulate, ShiftPerStep }},
		{"max pool rule per-step with schedule accumulate", func(c *Config) { c.Schedule, c.MaxPool = ScheduleAccumulate, MaxPoolPerStep }},
	} {
		b, _, cfg := refused()
		c.spoil(cfg)
		if _, err := New(b.g, cfg); (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("got error %v, want one with %q", err, c.fail)
		}
	}
}

// TestSignedStepsMatchRun with more samples than places, some of which leave
// early, so that others move.
func TestSignedStepsMatchRun(t *testing.T) {
	g, cfg, x := grown(t, 40, "identity shortcut", "max pool", "concat")
	cfg.Signed = true
	exits := make([]int, x.Shape[0])
	for i := range exits {
		exits[i] = 1 + i*5%cfg.Timesteps
	}
	compareSteps(t, mustNew(t, g, cfg), nil, x, exits)
}

func TestStepsRefuseToAccumulate(t *testing.T) {
	g, cfg, x := deep(t, 1)
	cfg.Schedule = ScheduleAccumulate
	if _, err := mustNew(t, g, cfg).RunSteps(t.Context(), nil, x, nil); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "accumulate") {
		t.Errorf("got error %v, want ErrUnsupported that names the schedule", err)
	}
}

// TestRulesInFiles: they are stored, and a file from before them is read as it
// was and written the same.
func TestRulesInFiles(t *testing.T) {
	for _, c := range []struct {
		text string
		want Config
	}{
		{`{"timesteps":4,"shift":"initial","max_pool":"exact","layers":[]}`, Config{}},
		{`{"timesteps":4,"shift":"initial","max_pool":"exact","signed":true,"layers":[]}`, Config{Signed: true}},
		{`{"timesteps":4,"shift":"initial","max_pool":"exact","schedule":"accumulate","layers":[]}`, Config{Schedule: ScheduleAccumulate}},
	} {
		got, err := Decode([]byte(c.text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Signed != c.want.Signed || got.Schedule != c.want.Schedule {
			t.Errorf("%s: signed %v, schedule %q", c.text, got.Signed, got.Schedule)
		}
		if text, _, err := got.Encode(); err != nil || string(text) != c.text {
			t.Errorf("written again (%v): %s, want %s", err, text, c.text)
		}
	}
	for text, fail := range map[string]string{
		`{"signed":1}`:     "signed",
		`{"schedule":7}`:   "schedule",
		`{"accumulate":1}`: `unknown field "accumulate"`,
	} {
		if _, err := Decode([]byte(text), nil); err == nil || !strings.Contains(err.Error(), fail) {
			t.Errorf("%s: got error %v, want one with %q", text, err, fail)
		}
	}
}

// TestNoCounts: without counts the outputs are the same; signed networks with
// integer weights that are computed at once agree but for rounding.
func TestNoCounts(t *testing.T) {
	settings := maps.Clone(integers)
	settings["f32"] = func(*Config) {}
	for name, set := range settings {
		t.Run(name, func(t *testing.T) {
			g, cfg, x := deep(t, 5)
			set(cfg)
			net := mustNew(t, g, cfg)
			want := mustRun(t, net, nil, x, Options{})
			got := mustRun(t, net, nil, x, Options{NoCounts: true})
			if !sameBits(got.Logits.Data, want.Logits.Data) || got.Layers != nil {
				t.Errorf("logits %v, want %v", got.Logits.Data, want.Logits.Data)
			}
			if !cfg.Signed {
				return
			}
			for i := range cfg.Layers {
				cfg.Layers[i].MaxSpike = MaxBurst
			}
			net = mustNew(t, g, cfg)
			want = mustRun(t, net, nil, x, Options{})
			got = mustRun(t, net, nil, x, Options{NoCounts: true})
			if net.atOnce() == nil {
				t.Fatal("the steps were run one by one")
			}
			for i, v := range want.Logits.Data {
				if math.Abs(float64(got.Logits.Data[i]-v)) > 0.02 {
					t.Errorf("output %d at once is %g, step by step %g", i, got.Logits.Data[i], v)
				}
			}
		})
	}
}

// TestFireWide: the same as the kernel, neurons that are not finite included.
func TestFireWide(t *testing.T) {
	rng := newRand(11)
	for _, n := range []int{1, 7, 8, 100} {
		for trial := range 20 {
			v, current := make([]float32, n), make([]float32, n)
			for i := range v {
				v[i], current[i] = float32(rng.NormFloat64()), float32(rng.NormFloat64()*300)
			}
			if trial%3 == 1 {
				current[rng.IntN(n)] = float32(math.NaN())
				current[rng.IntN(n)] = float32(math.Inf(1))
			}
			s := &fireStep{maxSpike: 500}
			w := slices.Clone(v)
			got, want := make([]float32, n), make([]float32, n)
			spikes, events, finite := kernel.FireSigned(want, w, nil, current, nil, 0, 500)
			k, e, f := s.fireWide(got, v, current, nil)
			if k != spikes || e != events || f != finite || !sameBits(got, want) || !sameBits(v, w) {
				t.Fatalf("%d neurons: got %v %v %d %d %v, want %v %v %d %d %v", n, got, v, k, e, f, want, w, spikes, events, finite)
			}
		}
	}
}
