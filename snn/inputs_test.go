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

// meanOf measures the mean over time of a node's output: that of the network
// which ends there. ok is false where no neurons lie before it.
func meanOf(t tester, g *graph.Graph, cfg *Config, name string, x *tensor.Tensor) (mean []float32, ok bool) {
	cut := g.CloneShared()
	cut.Outputs = []*graph.Node{cut.Node(name)}
	graph.RemoveDead(cut)
	neurons := cfg.Clone()
	neurons.Layers = slices.DeleteFunc(neurons.Layers, func(l Layer) bool { return cut.Node(l.Node) == nil })
	if len(neurons.Layers) == 0 {
		return x.Data, name == g.InputNodes()[0].Name
	}
	net, err := New(cut, neurons)
	if err != nil {
		t.Fatal(err)
	}
	res, err := net.Run(context.Background(), nil, x, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res.Logits.Data, true
}

// TestSweepInputs replaces the weights of every layer of random networks and
// wants to see, before each, what a network with all earlier ones replaced
// delivers there.
func TestSweepInputs(t *testing.T) {
	var seen, added, analogs int
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawNetwork(t, true)
		net, err := New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "weights"), 2))
		replaced := g.CloneShared()
		compare := func(what string, n *graph.Node, got *tensor.Tensor) {
			if want := append([]int{x.Shape[0]}, n.Shape...); !slices.Equal(got.Shape, want) {
				t.Fatalf("%s %q has shape %v, want %v", what, n.Name, got.Shape, want)
			}
			want, ok := meanOf(t, replaced, cfg, n.Name, x)
			if !ok {
				return
			}
			for i, v := range want {
				if math.Abs(float64(got.Data[i]-v)) > 1e-4*(1+math.Abs(float64(v))) {
					t.Fatalf("%s %q: value %d is %g, want %g", what, n.Name, i, got.Data[i], v)
				}
			}
		}
		err = net.SweepInputs(context.Background(), nil, x, nil, func(in MeanInput) (*Weights, error) {
			compare("input of", in.Driver.Inputs[0], in.Input)
			seen++
			if !net.plan.fires[in.Layer].driven() {
				analogs++
			}
			if in.Addend != nil {
				compare("addend", in.Addend, in.Added)
				added++
			}
			if rng.IntN(4) == 0 {
				return nil, nil
			}
			b := &grower{rng: rng, exact: true}
			w := &Weights{Weight: b.tensor(0.5, in.Driver.Weight().Len()).Data}
			if rng.IntN(2) == 0 {
				w.Bias = b.tensor(0.5, in.Driver.Shape.Channels()).Data
			}
			n := replaced.Node(in.Driver.Name)
			twin, err := withWeights(n, w)
			if err != nil {
				t.Fatal(err)
			}
			n.Params = twin.Params
			return w, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if seen == 0 || added == 0 || analogs == 0 {
		t.Errorf("%d layers, %d residual, %d with analog input: want some of each", seen, added, analogs)
	}
}

// TestSweepInputsSamples: only the samples asked for are gathered, the same
// bits for any number of workers, and only of layers that want some.
func TestSweepInputsSamples(t *testing.T) {
	g, cfg, x := deep(t, 11)
	net := mustNew(t, g, cfg)
	const most = 6
	var first []MeanInput
	for _, workers := range []int{1, 3} {
		pool := parallel.New(workers)
		defer pool.Close()
		var got []MeanInput
		err := net.SweepInputs(t.Context(), pool, x, func(d Driven) int {
			if d.Layer == 1 {
				return 0
			}
			return most
		}, func(in MeanInput) (*Weights, error) {
			if in.Layer == 1 || in.Input.Shape[0] != most {
				t.Errorf("layer %d: inputs of shape %v", in.Layer, in.Input.Shape)
			}
			got = append(got, MeanInput{Driven: Driven{Layer: in.Layer}, Input: in.Input, Added: in.Added})
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		} else if d := cmp.Diff(first, got); d != "" {
			t.Errorf("%d workers see something else (-one +more):\n%s", workers, d)
		}
	}
	if len(first) < 4 {
		t.Errorf("%d layers seen", len(first))
	}
}

func TestSweepInputsErrors(t *testing.T) {
	g, cfg, x := deep(t, 2)
	net := mustNew(t, g, cfg)
	stop := errors.New("stop")
	for _, c := range []struct {
		name string
		w    *Weights
		err  error
		want string
	}{
		{"callback", nil, stop, "stop"},
		{"weights", &Weights{Weight: make([]float32, 3)}, nil, "3 new weights, want"},
		{"biases", &Weights{Bias: make([]float32, 3)}, nil, "3 new biases for"},
	} {
		err := net.SweepInputs(t.Context(), nil, x, nil, func(MeanInput) (*Weights, error) { return c.w, c.err })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v", c.name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := net.SweepInputs(ctx, nil, x, nil, func(MeanInput) (*Weights, error) { return nil, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got error %v", err)
	}
	if err := net.SweepInputs(t.Context(), nil, tensor.New(1, 2), nil, nil); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("shape: got error %v", err)
	}
}
