package snn

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// means computes what a sweep measures, from a traced run.
func means(net *Network, res *Result) (all []Measured) {
	for l, info := range net.Layers() {
		c := info.Shape.Channels()
		m := Measured{Layer: l, Node: info.Node, Channel: make([]float64, c), Neuron: make([]float64, info.Neurons)}
		counts := res.StepCounts[l]
		rows := float64(counts.Len() / info.Neurons)
		for i, v := range counts.Data {
			theta := float64(info.Threshold[i%c%len(info.Threshold)])
			m.Neuron[i%info.Neurons] += float64(v) * theta / rows
			m.Channel[i%c] += float64(v) * theta / rows / float64(info.Neurons/c)
		}
		all = append(all, m)
	}
	return all
}

func closeMeans(t *testing.T, what string, got, want []Measured) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d layers, want %d", what, len(got), len(want))
	}
	near := func(a, b []float64) bool {
		return slices.EqualFunc(a, b, func(a, b float64) bool { return math.Abs(a-b) <= 1e-5*(1+math.Abs(b)) })
	}
	for i, m := range want {
		if got[i].Layer != m.Layer || got[i].Node != m.Node || !near(got[i].Channel, m.Channel) || !near(got[i].Neuron, m.Neuron) {
			t.Errorf("%s: layer %d %q differs:\n%v\nwant\n%v", what, got[i].Layer, got[i].Node, got[i].Channel, m.Channel)
		}
	}
}

// TestSweepMeasures what a run does, whatever the number of workers.
func TestSweepMeasures(t *testing.T) {
	g, cfg, x := deep(t, 5)
	net := mustNew(t, g, cfg)
	want := means(net, mustRun(t, net, nil, x, Options{Trace: true}))
	var first []Measured
	for _, workers := range []int{1, 2, 7} {
		pool := parallel.New(workers)
		defer pool.Close()
		var got []Measured
		if err := net.Sweep(t.Context(), pool, x, func(m Measured) (*Correction, error) {
			got = append(got, m)
			return nil, nil
		}); err != nil {
			t.Fatal(err)
		}
		closeMeans(t, "measured", got, want)
		if first == nil {
			first = got
		} else if d := cmp.Diff(first, got); d != "" {
			t.Errorf("%d workers measure something else (-one +more):\n%s", workers, d)
		}
	}
}

// TestSweepEqualsCorrectedNetworks: a sweep that corrects every layer sees, at
// each, what a network with all earlier layers corrected does. Numbers are
// exact, so no rounding blurs it.
func TestSweepEqualsCorrectedNetworks(t *testing.T) {
	// Layers whose bias node drives nothing else.
	g, _, x := grown(t, 4, "identity shortcut", "transposed", "projection shortcut", "two linear layers", "batch norm", "max pool", "average pool")
	exact := &grower{exact: true, g: g, rng: newRand(3)}
	for _, n := range g.Nodes {
		for role, p := range n.Params {
			if role != "var" && n.Kind() != "batchnorm" {
				p.Data = exact.tensor(0.5, p.Shape...).Data
			}
		}
	}
	cfg := exact.config(4, ShiftInitial, MaxPoolExact)
	x = exact.tensor(2, x.Shape...)
	delta := func(m Measured) *Correction {
		c := &Correction{}
		if m.Layer%3 != 1 {
			for ch := range m.Channel {
				c.Bias = append(c.Bias, float32((m.Layer+ch)%5-2)/8)
			}
		}
		if m.Layer%3 != 2 {
			for i := range m.Neuron {
				c.Initial = append(c.Initial, float32((m.Layer+i)%7-3)/8)
			}
		}
		return c
	}
	var swept []Measured
	net := mustNew(t, g, cfg)
	if err := net.Sweep(t.Context(), nil, x, func(m Measured) (*Correction, error) {
		swept = append(swept, m)
		return delta(m), nil
	}); err != nil {
		t.Fatal(err)
	}
	// The same with networks: one per layer.
	corrected, neurons := g.Clone(), cfg.Clone()
	for l, m := range swept {
		if err := corrected.Infer(); err != nil {
			t.Fatal(err)
		}
		now := mustNew(t, corrected, neurons)
		closeMeans(t, "layer by layer", swept[l:l+1], means(now, mustRun(t, now, nil, x, Options{Trace: true}))[l:l+1])
		c := delta(m)
		if c.Bias != nil {
			n, err := BiasNode(corrected.Node(m.Node))
			if err != nil {
				t.Fatal(err)
			}
			bias := slices.Clone(c.Bias)
			for ch, b := range n.Bias() {
				bias[ch] += b
			}
			n.Params["bias"] = &tensor.Tensor{Shape: []int{len(bias)}, Data: bias}
		}
		if c.Initial != nil {
			neurons.Layers[l].Initial = c.Initial
		}
	}
	// The network itself stayed as it was.
	var again []Measured
	if err := net.Sweep(t.Context(), nil, x, func(m Measured) (*Correction, error) {
		again = append(again, m)
		return delta(m), nil
	}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(swept, again); d != "" {
		t.Errorf("the second sweep differs:\n%s", d)
	}
}

func TestSweepErrors(t *testing.T) {
	g, cfg, x := deep(t, 2)
	net := mustNew(t, g, cfg)
	stop := errors.New("stop")
	calls := 0
	err := net.Sweep(t.Context(), nil, x, func(Measured) (*Correction, error) {
		if calls++; calls == 3 {
			return nil, stop
		}
		return nil, nil
	})
	if !errors.Is(err, stop) || calls != 3 {
		t.Errorf("got error %v after %d calls, want that of the third", err, calls)
	}
	for want, c := range map[string]*Correction{
		"2 corrections for 8 channels": {Bias: make([]float32, 2)}, "3 initial potentials for 1152 neurons": {Initial: make([]float32, 3)},
	} {
		err := net.Sweep(t.Context(), nil, x, func(Measured) (*Correction, error) { return c, nil })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `node "`+cfg.Layers[0].Node+`"`) {
			t.Errorf("got error %v, want one that names the node and says %q", err, want)
		}
	}
}

func TestBiasNode(t *testing.T) {
	b := &grower{g: graph.New(), rng: newRand(1)}
	in := b.g.Input("input", graph.Shape{4, 4, 3})
	in.Shape = graph.Shape{4, 4, 3}
	c := b.conv(in, 1, 3, 1, 1, true)
	shortcut := b.conv(in, 1, 3, 1, 1, true)
	for name, x := range map[string]*graph.Node{
		"conv":         c,
		"sum":          b.add(&graph.Add{}, nil, in, c),
		"first":        b.add(&graph.Add{}, nil, c, shortcut),
		"pooled":       b.add(&graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, c),
		"flat":         b.add(&graph.Flatten{}, nil, c),
		"resized":      b.add(&graph.Upsample{Size: [2]int{8, 8}, Mode: "nearest"}, nil, c),
		"sum of a sum": b.add(&graph.Add{}, nil, b.add(&graph.Add{}, nil, in, c), in),
	} {
		if got, err := BiasNode(b.add(&graph.ReLU{}, nil, x)); err != nil || got != c {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if _, err := BiasNode(b.add(&graph.ReLU{}, nil, in)); err == nil || !strings.Contains(err.Error(), `"input" (input)`) {
		t.Errorf("input: got error %v", err)
	}
}
