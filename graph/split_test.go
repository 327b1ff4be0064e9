package graph_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// TestSplitActivations: the parts give the same values, whatever reads them, and
// no activation is left that one neuron cannot stand for.
func TestSplitActivations(t *testing.T) {
	inf := graph.Float(math.Inf(1))
	rng := rand.New(rand.NewPCG(3, 4))
	slopes := &tensor.Tensor{Shape: []int{3}, Data: []float32{0.25, -0.5, 0}}
	acts := map[string]struct {
		op     graph.Op
		params graph.Params
	}{
		"leaky":           {&graph.LeakyReLU{Alpha: 0.1}, nil},
		"falling leaky":   {&graph.LeakyReLU{Alpha: -0.4}, nil},
		"leaky 0":         {&graph.LeakyReLU{}, nil},
		"prelu":           {&graph.PReLU{}, graph.Params{"weight": slopes}},
		"prelu of one":    {&graph.PReLU{}, graph.Params{"weight": &tensor.Tensor{Shape: []int{1}, Data: []float32{0.3}}}},
		"hardtanh":        {&graph.Clip{Min: -1, Max: 1}, nil},
		"lopsided":        {&graph.Clip{Min: -0.3, Max: 1.5}, nil},
		"above":           {&graph.Clip{Min: 0.2, Max: 0.9}, nil},
		"from above 0":    {&graph.Clip{Min: 0.2, Max: inf}, nil},
		"below":           {&graph.Clip{Min: -0.9, Max: -0.2}, nil},
		"to below 0":      {&graph.Clip{Min: -inf, Max: -0.2}, nil},
		"to 0":            {&graph.Clip{Min: -inf, Max: 0}, nil},
		"to above 0":      {&graph.Clip{Min: -inf, Max: 0.4}, nil},
		"from below 0":    {&graph.Clip{Min: -0.4, Max: inf}, nil},
		"relu as a clip":  {&graph.Clip{Min: 0, Max: inf}, nil},
		"relu6 as a clip": {&graph.Clip{Min: 0, Max: 6}, nil},
		"limited":         {&graph.Clip{Min: 0, Max: 0.7}, nil},
	}
	conv := func(g *graph.Graph, name string, x *graph.Node, pad, groups int) *graph.Node {
		op := &graph.Conv2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(pad, pad), Dilation: [2]int{1, 1}, Groups: groups}
		return g.Add(name, op, graph.Params{"weight": noise(rng, 3, 3, 3/groups, 3), "bias": noise(rng, 3)}, x)
	}
	readers := map[string]func(g *graph.Graph, a *graph.Node) []*graph.Node{
		"output": func(g *graph.Graph, a *graph.Node) []*graph.Node { return []*graph.Node{a} },
		"convolutions": func(g *graph.Graph, a *graph.Node) []*graph.Node {
			return []*graph.Node{conv(g, "padded", a, 1, 1), conv(g, "plain", a, 0, 1), conv(g, "depthwise", a, 1, 3)}
		},
		"transposed": func(g *graph.Graph, a *graph.Node) []*graph.Node {
			op := &graph.ConvTranspose2D{Stride: [2]int{2, 2}, Dilation: [2]int{1, 1}, Groups: 1}
			return []*graph.Node{g.Add("transposed", op, graph.Params{"weight": noise(rng, 2, 2, 3, 4)}, a)}
		},
		"linear": func(g *graph.Graph, a *graph.Node) []*graph.Node {
			return []*graph.Node{g.Add("linear", &graph.Linear{}, graph.Params{"weight": noise(rng, 3, 2)}, a)}
		},
		"flatten": func(g *graph.Graph, a *graph.Node) []*graph.Node {
			f := g.Add("flat", &graph.Flatten{}, nil, a)
			return []*graph.Node{g.Add("linear", &graph.Linear{}, graph.Params{"weight": noise(rng, 75, 2), "bias": noise(rng, 2)}, f)}
		},
		"flatten that is an output": func(g *graph.Graph, a *graph.Node) []*graph.Node {
			f := g.Add("flat", &graph.Flatten{}, nil, a)
			return []*graph.Node{f, g.Add("linear", &graph.Linear{}, graph.Params{"weight": noise(rng, 75, 2)}, f)}
		},
		"twice in a sum, and a convolution": func(g *graph.Graph, a *graph.Node) []*graph.Node {
			return []*graph.Node{g.Add("sum", &graph.Add{}, nil, a, a, conv(g, "conv2", a, 1, 1))}
		},
		"max pool": func(g *graph.Graph, a *graph.Node) []*graph.Node {
			p := g.Add("pool", &graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1)}, nil, a)
			return []*graph.Node{conv(g, "conv2", p, 1, 1)}
		},
	}
	for name, act := range acts {
		for reader, read := range readers {
			t.Run(name+"/"+reader, func(t *testing.T) {
				g := graph.New()
				x := conv(g, "conv", g.Input("x", graph.Shape{5, 5, 3}), 1, 1)
				g.Outputs = read(g, g.Add("act", act.op, act.params, x))
				want := values(t, g)
				twin := g.CloneShared()
				n, err := graph.SplitActivations(g)
				if err != nil {
					t.Fatal(err)
				}
				graph.FoldBatchNorm(g)
				if want := 1; (n != want) != (name == "limited") {
					t.Errorf("split %d activations, want %d", n, want)
				}
				first := g.Node("act")
				if first == nil || !graph.IsActivation(first) {
					t.Errorf("no part has the activation's name")
				}
				for _, n := range g.Nodes {
					switch op := n.Op.(type) {
					case *graph.LeakyReLU, *graph.PReLU:
						t.Errorf("node %q is a %s", n.Name, n.Kind())
					case *graph.Clip:
						if op.Min != 0 {
							t.Errorf("node %q is a clip from %g", n.Name, op.Min)
						}
					}
				}
				compareValues(t, values(t, g), want, 1e-5)
				compareValues(t, values(t, twin), want, 0) // parameters are replaced, not written into
			})
		}
	}
}

// TestSplitKeepsPoolsBeforeParts: a pool behind a rising activation of two parts
// moves before it, one behind a falling one stays.
func TestSplitKeepsPoolsBeforeParts(t *testing.T) {
	for alpha, want := range map[float64][]string{
		0.1:  {"global_maxpool", "relu", "affine", "relu", "affine", "add"},
		-0.1: {"relu", "affine", "relu", "affine", "add", "global_maxpool"},
	} {
		g := graph.New()
		x := g.Add("act", &graph.LeakyReLU{Alpha: alpha}, nil, g.Input("x", graph.Shape{4, 4, 3}))
		g.Outputs = []*graph.Node{g.Add("pool", &graph.GlobalMaxPool{}, nil, x)}
		before := values(t, g)
		if _, err := graph.SplitActivations(g); err != nil {
			t.Fatal(err)
		}
		if kinds := kindsOf(g); !slices.Equal(kinds, want) {
			t.Errorf("slope %g: %v, want %v", alpha, kinds, want)
		}
		compareValues(t, values(t, g), before, 1e-6)
	}
}

// TestSplitLeavesOthers: slopes per position and limits that cross stay as they are.
func TestSplitLeavesOthers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	g := graph.New()
	x := g.Add("prelu", &graph.PReLU{}, graph.Params{"weight": noise(rng, 4, 4, 1)}, g.Input("x", graph.Shape{4, 4, 3}))
	g.Outputs = []*graph.Node{g.Add("clip", &graph.Clip{Min: 2, Max: 1}, nil, x)}
	want := values(t, g)
	if n, err := graph.SplitActivations(g); n != 0 || err != nil {
		t.Errorf("split %d, error %v", n, err)
	}
	compareValues(t, values(t, g), want, 0)
}

func TestSimplify(t *testing.T) {
	for _, c := range []struct {
		op    graph.Op
		kinds []string
	}{
		{&graph.Reduce{Func: graph.ReduceMean, Axes: graph.Ints{0, 1}, KeepDims: true}, []string{"global_avgpool"}},
		{&graph.Reduce{Func: graph.ReduceMax, Axes: graph.Ints{0, 1}}, []string{"global_maxpool", "flatten"}},
		{&graph.Reduce{Func: graph.ReduceMax, Axes: graph.Ints{0}}, []string{"reduce_max"}},
		{&graph.Reduce{Func: graph.ReduceMean, Axes: graph.Ints{0, 1, 2}}, []string{"reduce_mean"}},
		{&graph.Reshape{Shape: graph.Ints{48}}, []string{"flatten"}},
		{&graph.Reshape{Shape: graph.Ints{4, 12}}, []string{"reshape"}},
		{&graph.ConcatAxis{Axis: 2}, []string{"concat"}},
		{&graph.ConcatAxis{Axis: 1}, []string{"concat_axis"}},
	} {
		g := graph.New()
		x := g.Input("x", graph.Shape{4, 4, 3})
		in := []*graph.Node{x}
		if _, ok := c.op.(*graph.ConcatAxis); ok {
			in = append(in, x)
		}
		g.Outputs = []*graph.Node{g.Add("node", c.op, nil, in...)}
		want := values(t, g)
		shape := slices.Clone(g.Outputs[0].Shape)
		before := g.Outputs[0].Kind()
		if n, changed := graph.Simplify(g), c.kinds[0] != before; (n == 1) != changed {
			t.Errorf("%s: rewrote %d", before, n)
		}
		if kinds := kindsOf(g); !slices.Equal(kinds, c.kinds) {
			t.Errorf("%s became %v, want %v", before, kinds, c.kinds)
		}
		compareValues(t, values(t, g), want, 1e-6)
		if !slices.Equal(g.Outputs[0].Shape, shape) {
			t.Errorf("%s: shape %v, was %v", before, g.Outputs[0].Shape, shape)
		}
	}
}
