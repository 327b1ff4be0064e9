package snn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"pgregory.net/rapid"
)

// cutOff is what a sample has done after its first t timesteps, by Run with a
// trace: the spikes and events of every layer.
func cutOff(res *Result, sample, samples, t int) (spikes, events []int64) {
	for _, c := range res.StepCounts {
		size := c.Len() / c.Shape[0] / samples
		var s, e int64
		for step := range t {
			for _, k := range c.Data[(step*samples+sample)*size : (step*samples+sample+1)*size] {
				s += int64(max(k, -k))
				if k != 0 {
					e++
				}
			}
		}
		spikes, events = append(spikes, s), append(events, e)
	}
	return spikes, events
}

// TestStepsMatchRun: on random networks, with random exits, every sample's
// logits, at every timestep until its exit, and its counts are those of the
// layer by layer run cut off there.
func TestStepsMatchRun(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawNetwork(t, false)
		net, err := New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		samples := x.Shape[0]
		exits := rapid.SliceOfN(rapid.IntRange(1, cfg.Timesteps), samples, samples).Draw(t, "exits")
		compareSteps(t, net, pool, x, exits)
	})
}

// compareSteps runs with the given exits and compares with Run.
func compareSteps(t rapid.TB, net *Network, pool *parallel.Pool, x *tensor.Tensor, exits []int) {
	t.Helper()
	samples := x.Shape[0]
	traced, err := net.Run(context.Background(), pool, x, Options{Trace: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[[2]int][]float32{} // sample, t
	for step, logits := range meanLogits(net, x) {
		size := len(logits) / samples
		for i := range samples {
			want[[2]int{i, step + 1}] = logits[i*size : (i+1)*size]
		}
	}
	last := make([]int, samples)
	var mu sync.Mutex
	var wrong []string
	res, err := net.RunSteps(context.Background(), pool, x, func(step int, logits []float32, sample int) bool {
		mu.Lock()
		defer mu.Unlock()
		if step != last[sample]+1 {
			wrong = append(wrong, fmt.Sprintf("sample %d: timestep %d after %d", sample, step, last[sample]))
		}
		last[sample] = step
		if !sameBits(logits, want[[2]int{sample, step}]) {
			wrong = append(wrong, fmt.Sprintf("sample %d, timestep %d: logits %v, want %v", sample, step, logits, want[[2]int{sample, step}]))
		}
		return step == exits[sample]
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
	if !slices.Equal(res.Exit, exits) {
		t.Fatalf("exits %v, want %v", res.Exit, exits)
	}
	size := res.Logits.Len() / samples
	for i, e := range exits {
		if got := res.Logits.Data[i*size : (i+1)*size]; !sameBits(got, want[[2]int{i, e}]) {
			t.Errorf("sample %d: logits at exit %v, want %v", i, got, want[[2]int{i, e}])
		}
		spikes, events := cutOff(traced, i, samples, e)
		for l := range spikes {
			if res.Layers[l].Spikes[i] != spikes[l] || res.Layers[l].Events[i] != events[l] {
				t.Errorf("sample %d, layer %d: %d spikes and %d events, want %d and %d", i, l,
					res.Layers[l].Spikes[i], res.Layers[l].Events[i], spikes[l], events[l])
			}
		}
		if e == net.cfg.Timesteps { // all counts, operations included
			for l := range traced.Layers {
				for k, v := range traced.Layers[l].all() {
					if (*v)[i] != (*res.Layers[l].all()[k])[i] {
						t.Errorf("sample %d, layer %d: count %d is %d, want %d", i, l, k, (*res.Layers[l].all()[k])[i], (*v)[i])
					}
				}
			}
		}
	}
}

// meanLogits returns the outputs of the layer by layer run, averaged over the first
// t timesteps for t = 1..T.
func meanLogits(net *Network, x *tensor.Tensor) [][]float32 {
	r := net.newRun()
	r.begin(0, x.Shape[0], x.Data, nil)
	r.steps(0, len(net.plan.steps))
	var all [][]float32
	for t := range net.cfg.Timesteps {
		out := make([]float32, x.Shape[0]*net.plan.wires[net.plan.output].size)
		r.logits(0, t+1, out)
		all = append(all, out)
	}
	return all
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
}

// TestStepsEveryBlock leaves no block to chance, with more samples than slots
// so that places are refilled.
func TestStepsEveryBlock(t *testing.T) {
	for name, block := range blocks {
		for _, side := range []int{4, 10} {
			for _, rule := range []MaxPool{MaxPoolExact, MaxPoolPerStep} {
				t.Run(fmt.Sprintf("%s/%d/%s", name, side, rule), func(t *testing.T) {
					t.Parallel()
					rng := rand.New(rand.NewPCG(uint64(side), 9))
					b := &grower{g: graph.New(), rng: rng}
					input := b.g.Input("input", graph.Shape{side, side, 2})
					input.Shape = graph.Shape{side, side, 2}
					x := block(b, input, b.relu(b.conv(input, 3, 4, 1, 1, true)))
					b.g.Outputs = []*graph.Node{heads["flatten"](b, block(b, input, x))}
					net := mustNew(t, b.g, b.config(4, ShiftInitial, rule))
					const samples = stepSlots + 5
					exits := make([]int, samples)
					for i := range exits {
						exits[i] = 1 + rng.IntN(4)
					}
					compareSteps(t, net, nil, b.tensor(2, samples, side, side, 2), exits)
				})
			}
		}
	}
}

// TestStepsWorkers: any number of workers and any batch, the same bits; exits
// of all samples at 1, of none, and of some.
func TestStepsWorkers(t *testing.T) {
	g, cfg, x := deep(t, 41)
	net := mustNew(t, g, cfg)
	full := mustRun(t, net, nil, x, Options{})
	rules := map[string]Decide{
		"all at 1": func(int, []float32, int) bool { return true },
		"none":     nil,
		"never":    func(int, []float32, int) bool { return false },
		"some":     func(step int, _ []float32, sample int) bool { return step > sample*7%6 },
	}
	for name, rule := range rules {
		want, err := net.RunSteps(t.Context(), nil, x, rule)
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "all at 1":
			if want.MeanExit() != 1 {
				t.Errorf("%s: mean exit %g", name, want.MeanExit())
			}
		case "none", "never":
			if want.MeanExit() != float64(cfg.Timesteps) {
				t.Errorf("%s: mean exit %g", name, want.MeanExit())
			}
			sameResult(t, name, &Result{Logits: want.Logits, Layers: want.Layers}, full)
		}
		for _, workers := range []int{1, 2, 7} {
			pool := parallel.New(workers)
			defer pool.Close()
			got, err := net.RunSteps(t.Context(), pool, x, rule)
			if err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("%s, %d workers", name, workers)
			sameResult(t, what, &Result{Logits: got.Logits, Layers: got.Layers}, &Result{Logits: want.Logits, Layers: want.Layers})
			if !slices.Equal(got.Exit, want.Exit) {
				t.Errorf("%s: exits %v, want %v", what, got.Exit, want.Exit)
			}
			// One sample alone: the workers share its layers.
			one, err := net.RunSteps(t.Context(), pool, x.Rows(5, 6), func(step int, _ []float32, _ int) bool { return step == want.Exit[5] })
			if err != nil {
				t.Fatal(err)
			}
			if k := one.Logits.Len(); !sameBits(one.Logits.Data, want.Logits.Data[5*k:6*k]) {
				t.Errorf("%s: logits of a sample alone differ", what)
			}
		}
	}
}

// TestStepsErrors: a run that cannot go on says where.
func TestStepsErrors(t *testing.T) {
	g, cfg, x := deep(t, 3)
	net := mustNew(t, g, cfg)
	if _, err := net.RunSteps(t.Context(), nil, tensor.New(2, 3), nil); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("wrong shape: got error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := 0
	_, err := net.RunSteps(ctx, nil, x, func(int, []float32, int) bool {
		if seen++; seen == 2 {
			cancel()
		}
		return false
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got error %v", err)
	}
	if res, err := net.RunSteps(t.Context(), nil, tensor.New(0, 12, 12, 2), nil); err != nil || len(res.Exit) != 0 || res.MeanExit() != 0 {
		t.Errorf("no samples: got %v, error %v", res, err)
	}
	// A current that overflows only in sample 1 names that sample.
	big := x.Clone()
	for i := range big.Data[:x.Len()/3] {
		big.Data[x.Len()/3+i] = 3e38
	}
	_, want := net.Run(t.Context(), nil, big, Options{})
	_, got := net.RunSteps(t.Context(), nil, big, nil)
	if want == nil || got == nil || got.Error() != want.Error() {
		t.Errorf("overflow: got error %v, want %v", got, want)
	}
	// The network goes on working.
	res, err := net.RunSteps(t.Context(), nil, x, nil)
	if err != nil {
		t.Fatal(err)
	}
	sameResult(t, "after errors", &Result{Logits: res.Logits, Layers: res.Layers}, mustRun(t, net, nil, x, Options{}))
}

func BenchmarkRunSteps(b *testing.B) {
	for _, bench := range []struct {
		name string
		exit int
	}{{"exit=1", 1}, {"exit=3", 3}, {"full", 6}} {
		b.Run(bench.name, func(b *testing.B) {
			g, cfg, x := deep(b, 64)
			net := mustNew(b, g, cfg)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := net.RunSteps(b.Context(), nil, x, func(t int, _ []float32, _ int) bool { return t >= bench.exit }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(64*b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
