package snn

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// otherNeurons changes thresholds, limit or initial potentials of a layer.
func otherNeurons(rng *rand.Rand, l Layer, exact bool) Layer {
	l.Threshold, l.Initial = slices.Clone(l.Threshold), slices.Clone(l.Initial)
	what := rng.IntN(7) + 1
	if what&1 != 0 {
		factor := 2 * rng.Float32()
		if exact {
			factor = []float32{0.5, 2, 4}[rng.IntN(3)]
		}
		for i := range l.Threshold {
			l.Threshold[i] *= max(factor, 0.25)
		}
	}
	if what&2 != 0 {
		l.MaxSpike = 1 + rng.IntN(6)
	}
	if what&4 != 0 && l.Initial != nil {
		l.Initial[0] += 0.5
	}
	return l
}

func mustRecord(t testing.TB, net *Network, pool *parallel.Pool, x *tensor.Tensor) *Recording {
	t.Helper()
	rec, err := net.Record(t.Context(), pool, x)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// compareReplaced replaces a layer and wants what a network made with the
// change does, bit for bit.
func compareReplaced(rec *Recording, pool *parallel.Pool, g *graph.Graph, cfg *Config, x *tensor.Tensor, layer int, l Layer) string {
	got, err := rec.Replace(context.Background(), pool, layer, l)
	if err != nil {
		return err.Error()
	}
	changed := cfg.Clone()
	changed.Layers[layer] = l
	net, err := New(g, changed)
	if err != nil {
		return err.Error()
	}
	want, err := net.Run(context.Background(), nil, x, Options{})
	if err != nil {
		return err.Error()
	}
	return cmp.Diff(want.Logits, got.Logits) + cmp.Diff(want.Layers, got.Layers)
}

// TestReplaceEqualsAnotherNetwork on random networks of exact numbers, where
// rounding cannot hide in the scale that two layers of neurons share.
func TestReplaceEqualsAnotherNetwork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawNetwork(t, true)
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

// TestReplaceInEveryBlock changes every layer of networks of every block, with
// the rounding of real weights and one, two and seven workers.
func TestReplaceInEveryBlock(t *testing.T) {
	pools := []*parallel.Pool{nil, parallel.New(2), parallel.New(7)}
	defer pools[1].Close()
	defer pools[2].Close()
	for name, block := range blocks {
		t.Run(name, func(t *testing.T) {
			b := &grower{g: graph.New(), rng: newRand(8)}
			input := b.g.Input("input", graph.Shape{10, 10, 2})
			input.Shape = graph.Shape{10, 10, 2}
			x := block(b, input, b.relu(b.conv(input, 3, 4, 1, 1, true)))
			b.g.Outputs = []*graph.Node{heads["hidden"](b, block(b, input, x))}
			graph.RemoveDead(b.g)
			if err := b.g.Infer(); err != nil {
				t.Fatal(err)
			}
			cfg, in := b.config(4, ShiftInitial, MaxPoolExact), b.tensor(2, 6, 10, 10, 2)
			net := mustNew(t, b.g, cfg)
			want := mustRun(t, net, nil, in, Options{})
			rng := newRand(9)
			for l := range cfg.Layers {
				rec := mustRecord(t, net, pools[l%3], in)
				sameResult(t, "recorded", rec.Result(), want)
				for _, pool := range pools {
					if d := compareReplaced(rec, pool, b.g, cfg, in, l, otherNeurons(rng, cfg.Layers[l], false)); d != "" {
						t.Errorf("layer %d (-network +replaced):\n%s", l, d)
					}
				}
				same, err := rec.Replace(t.Context(), nil, l, cfg.Clone().Layers[l])
				if err != nil || same != rec.Result() {
					t.Errorf("layer %d as it is: got %v, %v, want the recorded result", l, same, err)
				}
			}
		})
	}
}

// TestReplaceRunsOnlyWhatDepends on the layer.
func TestReplaceRunsOnlyWhatDepends(t *testing.T) {
	g, cfg, _ := deep(t, 1)
	net := mustNew(t, g, cfg)
	for l := range cfg.Layers {
		settings := cfg.Layers[l]
		settings.MaxSpike = settings.MaxSpike%200 + 1
		changed, _, err := net.replace(l, settings)
		if err != nil {
			t.Fatal(err)
		}
		for k, f := range net.plan.fires {
			if runs := changed.plan.steps[f.out] != nil; k < l && runs {
				t.Errorf("layer %d replaced: layer %d runs again", l, k)
			} else if k == l && !runs {
				t.Errorf("layer %d replaced: it does not run", l)
			} else if k > l && runs && changed.plan.steps[f.out] != step(f) {
				t.Errorf("layer %d has another limit: the weights of layer %d were packed again", l, k)
			}
		}
	}
}

// TestReplaceConcurrently: from several goroutines, inside a running loop.
func TestReplaceConcurrently(t *testing.T) {
	g, cfg, x := deep(t, 9)
	pool := parallel.New(3)
	defer pool.Close()
	rec := mustRecord(t, mustNew(t, g, cfg), pool, x)
	n := 4 * len(cfg.Layers)
	results := make([]*Result, n)
	pool.For(n, func(i int) {
		l := cfg.Layers[i/4]
		l.MaxSpike = 1 + i%4
		results[i], _ = rec.Replace(t.Context(), pool, i/4, l)
	})
	for i, got := range results {
		l := cfg.Layers[i/4]
		l.MaxSpike = 1 + i%4
		want, err := rec.Replace(t.Context(), nil, i/4, l)
		if err != nil {
			t.Fatal(err)
		}
		sameResult(t, "concurrently", got, want)
	}
}

func TestReplaceErrors(t *testing.T) {
	g, cfg, x := deep(t, 2)
	net := mustNew(t, g, cfg)
	rec := mustRecord(t, net, nil, x)
	good := cfg.Layers[1]
	bad := func(change func(*Layer)) Layer {
		l := Layer{Node: good.Node, Threshold: slices.Clone(good.Threshold), MaxSpike: good.MaxSpike}
		change(&l)
		return l
	}
	for want, c := range map[string]struct {
		layer int
		l     Layer
	}{
		"layer -1: want 0 to": {-1, good},
		"layer 99: want 0 to": {99, good},
		"maxspike 0":          {1, bad(func(l *Layer) { l.MaxSpike = 0 })},
		"threshold[0] is NaN": {1, bad(func(l *Layer) { l.Threshold[0] = float32(math.NaN()) })},
		"is for node":         {2, good},
		"2 thresholds for":    {1, bad(func(l *Layer) { l.Threshold = []float32{1, 1} })},
		"1 initial potential": {1, bad(func(l *Layer) { l.Initial = []float32{1} })},
		"initial potential 0 is": {1, bad(func(l *Layer) {
			l.Initial = make([]float32, net.Layers()[1].Neurons)
			l.Initial[0] = float32(math.Inf(1))
		})},
		"membrane potential of s": {1, bad(func(l *Layer) { l.Threshold[0] = math.SmallestNonzeroFloat32 })},
	} {
		if res, err := rec.Replace(t.Context(), nil, c.layer, c.l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want an error with %q", res, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rec.Replace(ctx, nil, 1, bad(func(l *Layer) { l.MaxSpike = 9 })); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if _, err := net.Record(ctx, nil, x); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if _, err := net.Record(t.Context(), nil, tensor.New(1, 3)); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("wrong shape: got %v", err)
	}
	empty, err := net.Record(t.Context(), nil, tensor.New(append([]int{0}, x.Shape[1:]...)...))
	if err != nil || empty.Result().Logits.Shape[0] != 0 {
		t.Errorf("no samples: got %v, %v", empty, err)
	}
	if b := net.RecordingBytes(); b != sumSizes(net) {
		t.Errorf("recording takes %d bytes per sample, want %d", b, sumSizes(net))
	}
}

// sumSizes adds up the counts of one sample.
func sumSizes(net *Network) (bytes int) {
	for _, l := range net.Layers() {
		bytes += l.Neurons * net.Config().Timesteps
	}
	return bytes
}
