package task

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// mirror is a network whose output is its rectified input: the class is the
// index of the largest value.
func mirror(t *testing.T, classes int) *graph.Graph {
	t.Helper()
	g := graph.New()
	w := tensor.New(classes, classes)
	for i := range classes {
		w.Data[i*classes+i] = 1
	}
	x := g.Add("fc1", &graph.Linear{}, graph.Params{"weight": w}, g.Input("input", graph.Shape{classes}))
	x = g.Add("relu", &graph.ReLU{}, nil, x)
	g.Outputs = []*graph.Node{g.Add("fc2", &graph.Linear{}, graph.Params{"weight": w}, x)}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	return g
}

// batches makes batches of the given sizes; the largest value of a sample is
// that of its class, and every third label is wrong.
func batches(classes int, sizes ...int) (Batches, []int, int) {
	rng := rand.New(rand.NewPCG(1, 1))
	var all []Batch
	var want []int
	correct := 0
	for _, n := range sizes {
		b := Batch{X: tensor.New(n, classes)}
		for s := range n {
			class := rng.IntN(classes)
			for c := range classes {
				b.X.Data[s*classes+c] = float32(rng.IntN(4)) / 8
			}
			b.X.Data[s*classes+class] = 2
			label := class
			if len(want)%3 == 2 {
				label = (class + 1) % classes
			} else {
				correct++
			}
			want = append(want, class)
			b.Labels = append(b.Labels, label)
		}
		all = append(all, b)
	}
	return func(yield func(Batch, error) bool) {
		for _, b := range all {
			if !yield(b, nil) {
				return
			}
		}
	}, want, correct
}

func TestClassify(t *testing.T) {
	g := mirror(t, 5)
	exec, err := ann.New(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	net, err := snn.New(g, &snn.Config{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact,
		Layers: []snn.Layer{{Node: "relu", Threshold: []float32{0.5}, MaxSpike: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	data, want, correct := batches(5, 7, 1, 12)
	var progress []int
	note := func(n int) { progress = append(progress, n) }
	a, err := ClassifyANN(t.Context(), exec, data, note)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ClassifySNN(t.Context(), nil, net, data, note)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]*Score{"ANN": a, "SNN": &s.Score} {
		if got.Samples != 20 || got.Correct != correct || !slices.Equal(got.Predictions, want) {
			t.Errorf("%s: %d of %d correct, classes %v, want %d of 20, %v", name, got.Correct, got.Samples, got.Predictions, correct, want)
		}
		if got.Accuracy() != float64(correct)/20 || got.Elapsed <= 0 || got.Rate() <= 0 {
			t.Errorf("%s: accuracy %g, %v, %g samples/s", name, got.Accuracy(), got.Elapsed, got.Rate())
		}
	}
	if d := cmp.Diff([]int{7, 8, 20, 7, 8, 20}, progress); d != "" {
		t.Errorf("progress -want +got:\n%s", d)
	}
	if a.Agreement(&s.Score) != 1 {
		t.Errorf("agreement is %g, want 1", a.Agreement(&s.Score))
	}
	// The totals are the sums over all samples.
	var sums LayerTotals
	for b, err := range data {
		if err != nil {
			t.Fatal(err)
		}
		res, err := net.Run(t.Context(), nil, b.X, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Labels {
			c := res.Layers[0]
			sums.Spikes += c.Spikes[i]
			sums.Events += c.Events[i]
			sums.SOPs += c.SOPs[i]
			sums.ReadoutSOPs += c.ReadoutSOPs[i]
			sums.PoolAdds += c.PoolAdds[i]
			sums.ResidualAdds += c.ResidualAdds[i]
		}
	}
	if d := cmp.Diff([]LayerTotals{sums}, s.Layers); d != "" || sums.SOPs != 5*sums.Spikes || sums.Spikes == 0 {
		t.Errorf("totals %+v, -want +got:\n%s", sums, d)
	}
}

func TestClassifyErrors(t *testing.T) {
	g := mirror(t, 3)
	exec, err := ann.New(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	net, err := snn.New(g, &snn.Config{Timesteps: 1, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact,
		Layers: []snn.Layer{{Node: "relu", Threshold: []float32{1}, MaxSpike: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken file")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	one := func(b Batch, err error) Batches {
		return func(yield func(Batch, error) bool) {
			if yield(Batch{X: tensor.New(2, 3), Labels: []int{0, 1}}, nil) {
				yield(b, err)
			}
		}
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
		data Batches
		fail string
	}{
		{"label too large", t.Context(), one(Batch{X: tensor.New(2, 3), Labels: []int{2, 3}}, nil), "sample 3: label 3, the network has 3 classes"},
		{"label negative", t.Context(), one(Batch{X: tensor.New(2, 3), Labels: []int{-1, 0}}, nil), "sample 2: label -1"},
		{"labels missing", t.Context(), one(Batch{X: tensor.New(2, 3), Labels: []int{0}}, nil), "1 labels for 2 samples"},
		{"shape", t.Context(), one(Batch{X: tensor.New(2, 4), Labels: []int{0, 0}}, nil), "want"},
		{"loader", t.Context(), one(Batch{}, broken), "broken file"},
		{"context", canceled, one(Batch{}, nil), "context canceled"},
	} {
		if s, err := ClassifyANN(c.ctx, exec, c.data, nil); s != nil || err == nil || !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s, ANN: got error %v, want one with %q", c.name, err, c.fail)
		}
		if s, err := ClassifySNN(c.ctx, nil, net, c.data, nil); s != nil || err == nil || !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s, SNN: got error %v, want one with %q", c.name, err, c.fail)
		}
	}
	none := func(func(Batch, error) bool) {}
	if s, err := ClassifyANN(t.Context(), exec, none, nil); err != nil || s.Samples != 0 || s.Accuracy() != 0 || s.Rate() != 0 {
		t.Errorf("no data: got %+v, %v", s, err)
	}
}

func TestScore(t *testing.T) {
	a := &Score{Samples: 4, Correct: 3, Predictions: []int{1, 2, 3, 4}, Elapsed: 2 * time.Second}
	if a.Accuracy() != 0.75 || a.Rate() != 2 {
		t.Errorf("accuracy %g, rate %g, want 0.75 and 2", a.Accuracy(), a.Rate())
	}
	for _, c := range []struct {
		other []int
		want  float64
	}{{[]int{1, 2, 3, 4}, 1}, {[]int{1, 2, 0, 0}, 0.5}, {[]int{1, 2, 3}, 0}, {nil, 0}} {
		if got := a.Agreement(&Score{Predictions: c.other}); got != c.want {
			t.Errorf("agreement with %v is %g, want %g", c.other, got, c.want)
		}
	}
	if got := (&Score{}).Agreement(&Score{}); got != 0 {
		t.Errorf("agreement of nothing is %g, want 0", got)
	}
	// The first of equal values wins.
	if got := kernel.ArgMax([]float32{1, 3, 3, 2}); got != 1 {
		t.Errorf("got class %d, want 1", got)
	}
}
