package snn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawNetwork makes a random network of some blocks, with a config and samples.
func drawNetwork(t *rapid.T, exact bool) (*graph.Graph, *Config, *tensor.Tensor) {
	b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), exact: exact}
	// 10 x 10 pixels take the path of rows, less that of batches.
	side := rapid.SampledFrom([]int{4, 5, 10}).Draw(t, "side")
	input := b.g.Input("input", graph.Shape{side, side, 2})
	input.Shape = graph.Shape{side, side, 2}
	x := b.relu(input)
	if rapid.IntRange(0, 3).Draw(t, "stem") > 0 {
		x = b.relu(b.conv(input, 3, 4, 1, 1, true))
	}
	for range rapid.IntRange(0, 3).Draw(t, "blocks") {
		if h, w, _ := x.Shape.HWC(); min(h, w) < 2 {
			break // too small for a pool
		}
		x = blocks[rapid.SampledFrom(slices.Sorted(maps.Keys(blocks))).Draw(t, "block")](b, input, x)
	}
	x = heads[rapid.SampledFrom(slices.Sorted(maps.Keys(heads))).Draw(t, "head")](b, x)
	b.g.Outputs = []*graph.Node{x}
	graph.RemoveDead(b.g)
	if err := b.g.Infer(); err != nil {
		t.Fatal(err)
	}
	cfg := b.config(rapid.SampledFrom([]int{1, 2, 4, 8}).Draw(t, "timesteps"),
		rapid.SampledFrom([]Shift{ShiftInitial, ShiftPerStep, ShiftNone}).Draw(t, "shift"),
		rapid.SampledFrom([]MaxPool{MaxPoolExact, MaxPoolPerStep}).Draw(t, "max pool"))
	if cfg.Signed = rapid.Bool().Draw(t, "signed"); cfg.Signed {
		cfg.MaxPool = MaxPoolExact
	}
	samples := rapid.IntRange(1, 3).Draw(t, "samples")
	return b.g, cfg, b.tensor(2, append([]int{samples}, input.Shape...)...)
}

// TestMatchesReference: on numbers that float32 holds exactly, every spike is
// that of the naive simulator.
func TestMatchesReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawNetwork(t, true)
		compareWithReference(t, g, cfg, x, 0)
	})
}

// TestEveryBlockMatchesReference makes sure that no block is left to chance, on
// both schedules.
func TestEveryBlockMatchesReference(t *testing.T) {
	for name, block := range blocks {
		for _, side := range []int{4, 10} {
			for _, exact := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%d/exact=%v", name, side, exact), func(t *testing.T) {
					t.Parallel()
					b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(uint64(side), 9)), exact: exact}
					input := b.g.Input("input", graph.Shape{side, side, 2})
					input.Shape = graph.Shape{side, side, 2}
					x := block(b, input, b.relu(b.conv(input, 3, 4, 1, 1, true)))
					b.g.Outputs = []*graph.Node{heads["flatten"](b, block(b, input, x))}
					share := 0.0
					if !exact {
						share = 0.001 // a potential within rounding of an integer (algorithms.md 1.4)
					}
					compareWithReference(t, b.g, b.config(4, ShiftInitial, MaxPoolExact), b.tensor(2, 2, side, side, 2), share)
				})
			}
		}
	}
}

// deep is a fixed network with everything that has a schedule of its own, and
// samples for it.
func deep(t testing.TB, samples int) (*graph.Graph, *Config, *tensor.Tensor) {
	t.Helper()
	return grown(t, samples, "identity shortcut", "analog shortcut", "concat", "max pool", "projection shortcut", "transposed", "batch norm", "bilinear")
}

// grown is a network of the given blocks.
func grown(t testing.TB, samples int, names ...string) (*graph.Graph, *Config, *tensor.Tensor) {
	t.Helper()
	b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(5, 6))}
	input := b.g.Input("input", graph.Shape{12, 12, 2})
	input.Shape = graph.Shape{12, 12, 2}
	x := b.relu(b.conv(input, 3, 8, 1, 1, true))
	for _, name := range names {
		x = blocks[name](b, input, x)
	}
	b.g.Outputs = []*graph.Node{heads["hidden"](b, x)}
	if err := b.g.Infer(); err != nil {
		t.Fatal(err)
	}
	return b.g, b.config(6, ShiftInitial, MaxPoolExact), b.tensor(2, samples, 12, 12, 2)
}

func mustRun(t testing.TB, net *Network, pool *parallel.Pool, x *tensor.Tensor, opt Options) *Result {
	t.Helper()
	res, err := net.Run(t.Context(), pool, x, opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func mustNew(t testing.TB, g *graph.Graph, cfg *Config) *Network {
	t.Helper()
	net, err := New(g, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return net
}

// sameResult compares bits.
func sameResult(t *testing.T, what string, got, want *Result) {
	t.Helper()
	bits := func(x *tensor.Tensor) []uint32 {
		var out []uint32
		for _, v := range x.Data {
			out = append(out, math.Float32bits(v))
		}
		return out
	}
	if !slices.Equal(bits(got.Logits), bits(want.Logits)) {
		t.Errorf("%s: logits differ", what)
	}
	for l := range want.Layers {
		if d := cmp.Diff(want.Layers[l], got.Layers[l]); d != "" {
			t.Errorf("%s: counts of layer %d differ (-want +got):\n%s", what, l, d)
		}
	}
	if (got.StepLogits == nil) != (want.StepLogits == nil) {
		return
	}
	for l := range want.StepCounts {
		if !slices.Equal(got.StepCounts[l].Data, want.StepCounts[l].Data) {
			t.Errorf("%s: traced counts of layer %d differ", what, l)
		}
	}
	if want.StepLogits != nil && !slices.Equal(bits(got.StepLogits), bits(want.StepLogits)) {
		t.Errorf("%s: logits of timesteps differ", what)
	}
}

// TestSameBits: any number of workers, with and without a trace, twice in a
// row.
func TestSameBits(t *testing.T) {
	g, cfg, x := deep(t, 9)
	net := mustNew(t, g, cfg)
	traced := mustRun(t, net, nil, x, Options{Trace: true})
	for _, workers := range []int{1, 2, 7} {
		pool := parallel.New(workers)
		defer pool.Close()
		sameResult(t, fmt.Sprintf("%d workers", workers), mustRun(t, net, pool, x, Options{}), traced)
		sameResult(t, fmt.Sprintf("%d workers, traced", workers), mustRun(t, net, pool, x, Options{Trace: true}), traced)
		// One sample: the workers share its layers.
		one := mustRun(t, net, pool, x.Rows(4, 5), Options{})
		if classes := len(one.Logits.Data); !slices.Equal(one.Logits.Data, traced.Logits.Data[4*classes:5*classes]) {
			t.Errorf("%d workers, one sample: logits differ from those in the batch", workers)
		}
	}
}

// TestBatchesDoNotMatter: a sample's result is the same in any batch.
func TestBatchesDoNotMatter(t *testing.T) {
	g, cfg, x := deep(t, 7)
	net := mustNew(t, g, cfg)
	whole := mustRun(t, net, nil, x, Options{})
	pool := parallel.New(2)
	defer pool.Close()
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.IntRange(0, 6).Draw(t, "lo")
		hi := rapid.IntRange(lo, 7).Draw(t, "hi")
		part, err := net.Run(context.Background(), pool, x.Rows(lo, hi), Options{})
		if err != nil {
			t.Fatal(err)
		}
		classes := whole.Logits.Len() / 7
		if !slices.Equal(part.Logits.Data, whole.Logits.Data[lo*classes:hi*classes]) {
			t.Fatalf("logits of samples %d to %d differ alone", lo, hi-1)
		}
		for l := range whole.Layers {
			want, got := whole.Layers[l].all(), part.Layers[l].all()
			for i := range want {
				if !slices.Equal((*want[i])[lo:hi], *got[i]) {
					t.Fatalf("counts of layer %d differ for samples %d to %d alone", l, lo, hi-1)
				}
			}
		}
	})
}

// TestConcurrentRuns: one network serves several callers.
func TestConcurrentRuns(t *testing.T) {
	g, cfg, x := deep(t, 4)
	net := mustNew(t, g, cfg)
	want := mustRun(t, net, nil, x, Options{})
	pool := parallel.New(2)
	defer pool.Close()
	results := make([]*Result, 4)
	var wait sync.WaitGroup
	for i := range results {
		wait.Go(func() { results[i], _ = net.Run(context.Background(), pool, x, Options{}) })
	}
	wait.Wait()
	for i, res := range results {
		sameResult(t, fmt.Sprintf("caller %d", i), res, want)
	}
}

// TestISAs: instruction sets sum convolutions in other orders, so a potential
// within rounding of an integer may fall on the other side: at most 0.1 % of
// the counts.
func TestISAs(t *testing.T) {
	g, cfg, x := deep(t, 3)
	net := mustNew(t, g, cfg)
	old := kernel.Active()
	defer func() { _ = kernel.SetISA(old.String()) }()
	results := make(map[kernel.ISA]*Result)
	for _, isa := range kernel.Available() {
		if err := kernel.SetISA(isa.String()); err != nil {
			t.Fatal(err)
		}
		results[isa] = mustRun(t, net, nil, x, Options{Trace: true})
	}
	want := results[kernel.Portable]
	for isa, got := range results {
		differ, total := 0, 0
		for l := range want.StepCounts {
			for i, v := range want.StepCounts[l].Data {
				total++
				if got.StepCounts[l].Data[i] != v {
					differ++
				}
			}
		}
		if differ*1000 > total {
			t.Errorf("%s: %d of %d counts differ from the portable code's", isa, differ, total)
		}
	}
}

// TestTraceAddsUp: the mean of the timesteps' outputs is the output where the
// readout is linear, and the traced counts are the layers' spikes.
func TestTraceAddsUp(t *testing.T) {
	g, cfg, x := deep(t, 2)
	g.Outputs[0] = g.Outputs[0].Inputs[0] // before the softmax
	graph.RemoveDead(g)
	res := mustRun(t, mustNew(t, g, cfg), nil, x, Options{Trace: true})
	size := res.Logits.Len()
	for i, v := range res.Logits.Data {
		mean := 0.0
		for s := range cfg.Timesteps {
			mean += float64(res.StepLogits.Data[s*size+i]) / float64(cfg.Timesteps)
		}
		if math.Abs(mean-float64(v)) > 1e-4*(1+math.Abs(mean)) {
			t.Errorf("output %d is %g, the mean of its timesteps %g", i, v, mean)
		}
	}
	if want := []int{6, 2, 3}; !slices.Equal(res.StepLogits.Shape, want) {
		t.Errorf("logits of timesteps have shape %v, want %v", res.StepLogits.Shape, want)
	}
	for l, c := range res.StepCounts {
		spikes := make([]int64, 2)
		per := c.Len() / cfg.Timesteps / 2
		for i, k := range c.Data {
			spikes[i/per%2] += int64(k)
			if k < 0 || int(k) > cfg.Layers[l].MaxSpike {
				t.Fatalf("layer %d: %g spikes, want 0 to %d", l, k, cfg.Layers[l].MaxSpike)
			}
		}
		if !slices.Equal(spikes, res.Layers[l].Spikes) {
			t.Errorf("layer %d: traced %v spikes, counted %v", l, spikes, res.Layers[l].Spikes)
		}
	}
}

// TestExactMaxPool: summed over time, what the pool emits is the maximum of
// what its inputs emit.
func TestExactMaxPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))}
		side := rapid.IntRange(3, 11).Draw(t, "side")
		in := b.g.Input("input", graph.Shape{side, side, 2})
		in.Shape = graph.Shape{side, side, 2}
		relu := b.relu(b.conv(in, 1, 3, 1, 1, true))
		k := rapid.IntRange(1, 3).Draw(t, "kernel")
		pool := b.add(&graph.MaxPool2D{Kernel: [2]int{k, k}, Stride: [2]int{rapid.IntRange(1, 3).Draw(t, "stride"), 2},
			Pad: graph.Uniform(k/2, 0), CeilMode: rapid.Bool().Draw(t, "ceil")}, nil, b.relu(b.conv(relu, 3, 3, 1, 1, true)))
		b.g.Outputs = []*graph.Node{pool}
		cfg := b.config(rapid.IntRange(1, 12).Draw(t, "timesteps"), ShiftInitial, MaxPoolExact)
		theta := cfg.Layers[1].perChannel(3)
		net, err := New(b.g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		res, err := net.Run(context.Background(), nil, b.tensor(2, 1, side, side, 2), Options{Trace: true})
		if err != nil {
			t.Fatal(err)
		}
		counts := res.StepCounts[1]
		sums := make([]float64, counts.Len()/cfg.Timesteps)
		for i, v := range counts.Data {
			sums[i%len(sums)] += float64(v)
		}
		for i, want := range maximum(pool, sums) {
			got := float64(res.Logits.Data[i]) / float64(theta[i%3]) * float64(cfg.Timesteps)
			if math.Abs(got-want) > 1e-3 {
				t.Fatalf("output %d: %g spikes in all, want %g", i, got, want)
			}
			for s := range cfg.Timesteps {
				if k := float64(res.StepLogits.Data[s*len(res.Logits.Data)+i]) / float64(theta[i%3]); k < 0 || k > float64(cfg.Layers[1].MaxSpike)+1e-3 {
					t.Fatalf("output %d, timestep %d: %g spikes", i, s, k)
				}
			}
		}
	})
}

// TestSteadyStateAllocations: a run in one goroutine, in the memory of an
// earlier result, allocates nothing.
func TestSteadyStateAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector allocations cannot be counted")
	}
	settings := maps.Clone(integers)
	settings["f32"] = func(*Config) {}
	for name, set := range settings {
		for _, batch := range []int{1, 9} {
			names := []string{"identity shortcut", "projection shortcut", "concat", "max pool", "grouped", "nearest", "plain", "depthwise"}
			g, cfg, x := grown(t, batch, names...)
			set(cfg)
			net := mustNew(t, g, cfg)
			res := &Result{}
			run := func() {
				if got, err := net.Run(context.Background(), nil, x, Options{Reuse: res}); err != nil || got != res {
					t.Fatalf("got another result, error %v", err)
				}
			}
			run()
			run()
			if n := testing.AllocsPerRun(3, run); n != 0 {
				t.Errorf("%s, %d samples: %g allocations, want none", name, batch, n)
			}
			sameResult(t, name, mustRun(t, net, nil, x, Options{}), res)
		}
	}
}

// TestStepsAllocations: what a run step by step allocates does not grow with the
// timesteps.
func TestStepsAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector allocations cannot be counted")
	}
	for _, weights := range []Precision{F32, I8} {
		allocations := func(timesteps int) float64 {
			g, cfg, x := grown(t, 3, "identity shortcut", "projection shortcut", "concat", "max pool", "plain")
			cfg.Weights, cfg.Timesteps = weights, timesteps
			net := mustNew(t, g, cfg)
			run := func() {
				if _, err := net.RunSteps(context.Background(), nil, x, nil); err != nil {
					t.Fatal(err)
				}
			}
			run()
			run()
			return testing.AllocsPerRun(3, run)
		}
		if few, many := allocations(2), allocations(12); many > few {
			t.Errorf("%s: %g allocations for 2 timesteps, %g for 12", weights, few, many)
		}
	}
}

func TestNoSamples(t *testing.T) {
	g, cfg, _ := deep(t, 1)
	res := mustRun(t, mustNew(t, g, cfg), nil, tensor.New(0, 12, 12, 2), Options{Trace: true})
	if res.Logits.Len() != 0 || len(res.Layers) != len(cfg.Layers) || len(res.Layers[0].Spikes) != 0 {
		t.Errorf("got %d logits", res.Logits.Len())
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	g, cfg, x := deep(t, 3)
	net := mustNew(t, g, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := net.Run(ctx, nil, x, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: got error %v", err)
	}
	err := net.Sweep(ctx, nil, x, func(Measured) (*Correction, error) { return nil, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Sweep: got error %v", err)
	}
}

func BenchmarkRun(b *testing.B) {
	for _, samples := range []int{1, 16} {
		b.Run(fmt.Sprintf("samples=%d", samples), func(b *testing.B) {
			g, cfg, x := deep(b, samples)
			net := mustNew(b, g, cfg)
			b.ReportAllocs()
			for b.Loop() {
				mustRun(b, net, nil, x, Options{})
			}
			b.ReportMetric(float64(samples*b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
