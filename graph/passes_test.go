package graph_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

func noise(rng *rand.Rand, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data {
		t.Data[i] = float32(rng.NormFloat64())
	}
	return t
}

// norm returns the parameters of a batch norm.
func norm(rng *rand.Rand, c int, affine bool) graph.Params {
	p := graph.Params{"mean": noise(rng, c), "var": tensor.New(c)}
	for i := range p["var"].Data {
		p["var"].Data[i] = 0.2 + rng.Float32()
	}
	if affine {
		p["weight"], p["bias"] = noise(rng, c), noise(rng, c)
	}
	return p
}

// values runs g on a fixed random batch, every node for itself.
func values(t *testing.T, g *graph.Graph) []*tensor.Tensor {
	t.Helper()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	net, err := ann.NewNetwork(g, nil, ann.NetworkOptions{Unfused: true})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var xs []*tensor.Tensor
	for _, in := range g.InputNodes() {
		xs = append(xs, noise(rng, append([]int{2}, in.Shape...)...))
	}
	ys, err := net.Forward(ann.Evaluation, 0, xs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, y := range ys {
		ys[i] = y.Clone()
	}
	return ys
}

func compareValues(t *testing.T, got, want []*tensor.Tensor, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d outputs, want %d", len(got), len(want))
	}
	for i := range got {
		if !slices.Equal(got[i].Shape, want[i].Shape) {
			t.Fatalf("output %d has shape %v, want %v", i, got[i].Shape, want[i].Shape)
		}
		for k, v := range want[i].Data {
			if d := math.Abs(float64(got[i].Data[k] - v)); !(d <= tolerance*(1+math.Abs(float64(v)))) {
				t.Fatalf("output %d, value %d: got %g, want %g", i, k, got[i].Data[k], v)
			}
		}
	}
}

// kindsOf lists the operations of a graph in order, inputs left out.
func kindsOf(g *graph.Graph) []string {
	var kinds []string
	for _, n := range g.Nodes {
		if n.Kind() != "input" {
			kinds = append(kinds, n.Kind())
		}
	}
	return kinds
}

func TestFoldBatchNorm(t *testing.T) {
	bn := &graph.BatchNorm{Eps: 1e-3}
	type build = func(g *graph.Graph, rng *rand.Rand) []*graph.Node
	image := func(g *graph.Graph) *graph.Node { return g.Input("x", graph.Shape{5, 4, 4}) }
	// layer makes a case of one layer with a batch norm behind it.
	layer := func(op graph.Op, out int, bias, affine bool, weight ...int) build {
		return func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			p := graph.Params{"weight": noise(rng, weight...)}
			if bias {
				p["bias"] = noise(rng, out)
			}
			x := g.Add("layer", op, p, image(g))
			return []*graph.Node{g.Add("bn", bn, norm(rng, out, affine), x)}
		}
	}
	plain := func(g *graph.Graph, rng *rand.Rand, x *graph.Node) *graph.Node {
		return g.Add("layer", conv2d(nil), graph.Params{"weight": noise(rng, 3, 3, 4, 6)}, x)
	}
	for _, c := range []struct {
		name   string
		build  build
		folded int
		kinds  []string
	}{
		{"conv", layer(conv2d(nil), 6, false, true, 3, 3, 4, 6), 1, []string{"conv2d"}},
		{"conv with bias", layer(conv2d(nil), 6, true, true, 3, 3, 4, 6), 1, []string{"conv2d"}},
		{"conv, not affine", layer(conv2d(nil), 6, true, false, 3, 3, 4, 6), 1, []string{"conv2d"}},
		{"grouped", layer(conv2d(func(o *graph.Conv2D) { o.Groups = 2 }), 6, true, true, 3, 2, 2, 6), 1, []string{"conv2d"}},
		{"depthwise", layer(conv2d(func(o *graph.Conv2D) { o.Groups = 4 }), 4, false, true, 3, 3, 1, 4), 1, []string{"conv2d"}},
		{"depthwise, two filters per channel", layer(conv2d(func(o *graph.Conv2D) { o.Groups = 4 }), 8, false, true, 3, 3, 1, 8), 1, []string{"conv2d"}},
		{"transposed", layer(transposed(nil), 3, true, true, 2, 3, 4, 3), 1, []string{"conv_transpose2d"}},
		{"transposed, grouped", layer(transposed(func(o *graph.ConvTranspose2D) { o.Groups = 2 }), 6, false, true, 2, 3, 4, 3), 1, []string{"conv_transpose2d"}},
		{"transposed, a group per channel", layer(transposed(func(o *graph.ConvTranspose2D) { o.Groups = 4 }), 8, true, false, 2, 2, 4, 2), 1, []string{"conv_transpose2d"}},
		{"linear", layer(&graph.Linear{}, 7, false, true, 4, 7), 1, []string{"linear"}},
		{"linear with bias", layer(&graph.Linear{}, 7, true, false, 4, 7), 1, []string{"linear"}},
		{"conv over frames", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := g.Add("layer", convND(nil), graph.Params{"weight": noise(rng, 1, 3, 3, 4, 6)}, g.Input("x", graph.Shape{2, 5, 4, 4}))
			return []*graph.Node{g.Add("bn", bn, norm(rng, 6, true), x)}
		}, 1, []string{"conv_nd"}},
		{"transposed over one axis, grouped", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			op := &graph.ConvTransposeND{Stride: ints{2}, Pad: ints{0, 1}, OutputPad: ints{3}, Dilation: ints{1}, Groups: 2}
			x := g.Add("layer", op, graph.Params{"weight": noise(rng, 3, 4, 3)}, g.Input("x", graph.Shape{5, 4}))
			return []*graph.Node{g.Add("bn", bn, norm(rng, 6, true), x)}
		}, 1, []string{"conv_transpose_nd"}},
		{"scale and shift per channel, one of all", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := g.Add("scale", &graph.Affine{}, graph.Params{"weight": noise(rng, 1, 6), "bias": noise(rng, 6)}, plain(g, rng, image(g)))
			return []*graph.Node{g.Add("shift", &graph.Affine{}, graph.Params{"bias": noise(rng, 1)}, x)}
		}, 2, []string{"conv2d"}},
		{"scale per row", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			return []*graph.Node{g.Add("scale", &graph.Affine{}, graph.Params{"weight": noise(rng, 3, 1, 1)}, plain(g, rng, image(g)))}
		}, 0, []string{"conv2d", "affine"}},
		{"two in a row", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := g.Add("bn1", bn, norm(rng, 6, true), plain(g, rng, image(g)))
			return []*graph.Node{g.Add("bn2", bn, norm(rng, 6, false), x)}
		}, 2, []string{"conv2d"}},
		{"two in a row, the first is an output", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := g.Add("bn1", bn, norm(rng, 6, true), plain(g, rng, image(g)))
			return []*graph.Node{g.Add("bn2", bn, norm(rng, 6, false), x), x}
		}, 1, []string{"conv2d", "batchnorm"}},
		{"another consumer", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := plain(g, rng, image(g))
			return []*graph.Node{g.Add("bn", bn, norm(rng, 6, true), x), g.Add("relu", &graph.ReLU{}, nil, x)}
		}, 0, []string{"conv2d", "batchnorm", "relu"}},
		{"two batch norms of one layer", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := plain(g, rng, image(g))
			a, b := g.Add("bn1", bn, norm(rng, 6, true), x), g.Add("bn2", bn, norm(rng, 6, true), x)
			return []*graph.Node{g.Add("sum", &graph.Add{}, nil, a, b)}
		}, 0, []string{"conv2d", "batchnorm", "batchnorm", "add"}},
		{"layer is an output", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := plain(g, rng, image(g))
			return []*graph.Node{x, g.Add("bn", bn, norm(rng, 6, true), x)}
		}, 0, []string{"conv2d", "batchnorm"}},
		{"relu between", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := g.Add("relu", &graph.ReLU{}, nil, plain(g, rng, image(g)))
			return []*graph.Node{g.Add("bn", bn, norm(rng, 6, true), x)}
		}, 0, []string{"conv2d", "relu", "batchnorm"}},
		{"behind the input", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			return []*graph.Node{plain(g, rng, g.Add("bn", bn, norm(rng, 4, true), image(g)))}
		}, 0, []string{"batchnorm", "conv2d"}},
		{"definition order differs from the data's", func(g *graph.Graph, rng *rand.Rand) []*graph.Node {
			x := image(g)
			a := g.Add("a", conv2d(nil), graph.Params{"weight": noise(rng, 3, 3, 4, 6)}, x)
			b := g.Add("b", conv2d(nil), graph.Params{"weight": noise(rng, 3, 3, 4, 6)}, x)
			na := g.Add("na", bn, norm(rng, 6, true), a)
			return []*graph.Node{g.Add("sum", &graph.Add{}, nil, g.Add("nb", bn, norm(rng, 6, true), b), na)}
		}, 2, []string{"conv2d", "conv2d", "add"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graph.New()
			g.Outputs = c.build(g, rand.New(rand.NewPCG(3, 4)))
			want := values(t, g)
			shared := g.CloneShared()
			if n := graph.FoldBatchNorm(shared); n != c.folded {
				t.Errorf("folded %d, want %d", n, c.folded)
			}
			compareValues(t, values(t, shared), want, 1e-4)
			if kinds := kindsOf(shared); !slices.Equal(kinds, c.kinds) {
				t.Errorf("left are %v, want %v", kinds, c.kinds)
			}
			// The graph it was cloned from shares parameters, none of which may
			// have been written into.
			compareValues(t, values(t, g), want, 0)
		})
	}
}

func TestRemoveIdentity(t *testing.T) {
	g := graph.New()
	x := g.Input("x", graph.Shape{3})
	a := g.Add("a", &graph.Identity{}, nil, x)
	b := g.Add("b", &graph.Dropout{P: 0.5}, nil, a)
	r := g.Add("r", &graph.ReLU{}, nil, b)
	s := g.Add("s", &graph.Add{}, nil, r, a)
	g.Outputs = []*graph.Node{g.Add("out", &graph.Identity{}, nil, s), b}
	want := values(t, g)
	if n := graph.RemoveIdentity(g); n != 3 {
		t.Errorf("removed %d, want 3", n)
	}
	if kinds := kindsOf(g); !slices.Equal(kinds, []string{"relu", "add"}) {
		t.Errorf("left are %v", kinds)
	}
	if g.Outputs[0] != s || g.Outputs[1] != x {
		t.Errorf("outputs are %q and %q, want s and x", g.Outputs[0].Name, g.Outputs[1].Name)
	}
	compareValues(t, values(t, g), want, 0)
	if n := graph.RemoveIdentity(g); n != 0 {
		t.Errorf("the second time removed %d", n)
	}
}

// TestRemoveShapeOperations wants exactly those removed that change nothing.
func TestRemoveShapeOperations(t *testing.T) {
	in := graph.Shape{4, 1, 4}
	for _, c := range []struct {
		op     graph.Op
		remove bool
	}{
		{&graph.Reshape{Shape: ints{4, 1, 4}}, true},
		{&graph.Reshape{Shape: ints{1, 4, 4}}, false},
		{&graph.Flatten{}, false},
		{&graph.Transpose{Perm: ints{0, 1, 2}}, true},
		{&graph.Transpose{Perm: ints{2, 1, 0}}, false},
		{&graph.Slice{Start: ints{0, 0, 0}, Size: ints{4, 1, 4}, Step: ints{1, 1, 1}}, true},
		{&graph.Slice{Start: ints{3, 0, 0}, Size: ints{4, 1, 4}, Step: ints{-1, 1, 1}}, false},
		{&graph.PadAxes{Begin: ints{0, 0, 0}, End: ints{0, 0, 0}, Mode: "edge"}, true},
		{&graph.PadAxes{Begin: ints{1, 0, 0}, End: ints{-1, 0, 0}, Mode: "edge"}, false},
		{&graph.Tile{Repeats: ints{1, 1, 1}}, true},
		{&graph.Expand{Shape: ints{4, 1, 4}}, true},
		{&graph.Expand{Shape: ints{4, 4, 4}}, false},
		{&graph.Concat{}, true},
		{&graph.ConcatAxis{Axis: 1}, true},
		{&graph.DepthToSpace{Block: 1}, true},
		{&graph.SpaceToDepth{Block: 1, ChannelFirst: true}, true},
		{&graph.Resize{Size: ints{4, 1, 4}, Scale: graph.Floats{1, 1, 1}, Mode: "cubic", Coordinate: "asymmetric", Nearest: "ceil"}, true},
		{&graph.Resize{Size: ints{4, 1, 4}, Scale: graph.Floats{1.2, 1, 1}, Mode: "cubic", Coordinate: "asymmetric", Nearest: "ceil"}, false},
		{&graph.ReLU{}, false},
	} {
		g := graph.New()
		n := g.Add("node", c.op, nil, g.Input("x", in))
		g.Outputs = []*graph.Node{g.Add("last", &graph.ReLU{}, nil, n)}
		want := values(t, g)
		if got := graph.RemoveIdentity(g) == 1; got != c.remove {
			t.Errorf("%s %+v: removed: %v, want %v", c.op.Kind(), c.op, got, c.remove)
		}
		compareValues(t, values(t, g), want, 0)
	}
}

func TestRemoveDead(t *testing.T) {
	g := graph.New()
	x := g.Input("x", graph.Shape{3})
	g.Input("unused", graph.Shape{2})
	a := g.Add("a", &graph.ReLU{}, nil, x)
	dead := g.Add("dead", &graph.ReLU{}, nil, a)
	g.Add("dead too", &graph.ReLU{}, nil, dead)
	b := g.Add("b", &graph.ReLU6{}, nil, a)
	g.Outputs = []*graph.Node{b, a}
	want := values(t, g)
	if n := graph.RemoveDead(g); n != 2 {
		t.Errorf("removed %d, want 2", n)
	}
	if len(g.Nodes) != 4 || g.Node("unused") == nil || g.Node("dead") != nil {
		t.Errorf("left are %v, want both inputs, a and b", kindsOf(g))
	}
	compareValues(t, values(t, g), want, 0)
}

func TestMoveMaxPool(t *testing.T) {
	pool := func() graph.Op {
		return &graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 0)}
	}
	for _, c := range []struct {
		name  string
		build func(g *graph.Graph, x *graph.Node) []*graph.Node
		moved int
		kinds []string
	}{
		{"before relu", func(g *graph.Graph, x *graph.Node) []*graph.Node {
			r := g.Add("relu", &graph.ReLU{}, nil, g.Add("pool", pool(), nil, x))
			return []*graph.Node{g.Add("flat", &graph.Flatten{}, nil, r), r}
		}, 1, []string{"relu", "maxpool2d", "flatten"}},
		{"global, before relu6", func(g *graph.Graph, x *graph.Node) []*graph.Node {
			return []*graph.Node{g.Add("relu", &graph.ReLU6{}, nil, g.Add("pool", &graph.GlobalMaxPool{}, nil, x))}
		}, 1, []string{"relu6", "global_maxpool"}},
		{"two pools", func(g *graph.Graph, x *graph.Node) []*graph.Node {
			p := g.Add("pool2", pool(), nil, g.Add("pool1", pool(), nil, x))
			return []*graph.Node{g.Add("relu", &graph.ReLU{}, nil, p)}
		}, 2, []string{"relu", "maxpool2d", "maxpool2d"}},
		{"rising leaky relu", func(g *graph.Graph, x *graph.Node) []*graph.Node {
			return []*graph.Node{g.Add("relu", &graph.LeakyReLU{Alpha: 0.3}, nil, g.Add("pool", pool(), nil, x))}
		}, 1, []string{"leaky_relu", "maxpool2d"}},
		{"falling leaky relu", func(g *graph.Graph, x *graph.Node) []*graph.Node {
			return []*graph.Node{g.Add("relu", &graph.LeakyReLU{Alpha: -0.3}, nil, g.Add("pool", pool(), nil, x))}
		}, 0, []string{"maxpool2d", "leaky_relu"}},
		{"another reader", func(g *graph.Graph, x *graph.Node) []*graph.Node {
			p := g.Add("pool", pool(), nil, x)
			return []*graph.Node{g.Add("sum", &graph.Add{}, nil, p, g.Add("relu", &graph.ReLU{}, nil, p))}
		}, 0, []string{"maxpool2d", "relu", "add"}},
		{"output", func(g *graph.Graph, x *graph.Node) []*graph.Node {
			p := g.Add("pool", pool(), nil, x)
			return []*graph.Node{p, g.Add("relu", &graph.ReLU{}, nil, p)}
		}, 0, []string{"maxpool2d", "relu"}},
		{"behind relu already", func(g *graph.Graph, x *graph.Node) []*graph.Node {
			return []*graph.Node{g.Add("pool", pool(), nil, g.Add("relu", &graph.ReLU{}, nil, x))}
		}, 0, []string{"relu", "maxpool2d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graph.New()
			g.Outputs = c.build(g, g.Input("x", graph.Shape{6, 6, 3}))
			want := values(t, g)
			if n := graph.MoveMaxPool(g); n != c.moved {
				t.Errorf("moved %d, want %d", n, c.moved)
			}
			if kinds := kindsOf(g); !slices.Equal(kinds, c.kinds) {
				t.Errorf("order is %v, want %v", kinds, c.kinds)
			}
			for _, n := range g.Nodes { // names went with the operations, shapes fit
				if n.Name == "relu" && !graph.IsActivation(n) {
					t.Errorf("node %q is a %s", n.Name, n.Kind())
				}
				before := slices.Clone(n.Shape)
				if err := g.Infer(); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(before, n.Shape) {
					t.Errorf("node %q: shape %v after the pass, %v inferred", n.Name, before, n.Shape)
				}
			}
			compareValues(t, values(t, g), want, 0)
		})
	}
}

func TestClone(t *testing.T) {
	build := func() *graph.Graph {
		g := graph.New()
		x := g.Input("x", graph.Shape{4, 4, 2})
		c := g.Add("conv", conv2d(nil), graph.Params{"weight": noise(rand.New(rand.NewPCG(1, 1)), 1, 1, 2, 3)}, x)
		g.Outputs = []*graph.Node{g.Add("relu", &graph.ReLU{}, nil, c)}
		if err := g.Infer(); err != nil {
			t.Fatal(err)
		}
		return g
	}
	for name, clone := range map[string]func(*graph.Graph) *graph.Graph{"deep": (*graph.Graph).Clone, "shared": (*graph.Graph).CloneShared} {
		t.Run(name, func(t *testing.T) {
			g := build()
			twin := clone(g)
			if len(twin.Nodes) != 3 || twin.Outputs[0] != twin.Nodes[2] || twin.Nodes[2].Inputs[0] != twin.Nodes[1] {
				t.Fatal("the copy is wired differently, or to the original")
			}
			for i, n := range g.Nodes {
				if twin.Nodes[i] == n || (twin.Nodes[i].Op == n.Op && n.Kind() != "relu") {
					t.Errorf("node %q is shared", n.Name)
				}
				if !slices.Equal(twin.Nodes[i].Shape, n.Shape) {
					t.Errorf("node %q has shape %v, want %v", n.Name, twin.Nodes[i].Shape, n.Shape)
				}
			}
			if same := twin.Nodes[1].Weight() == g.Nodes[1].Weight(); same != (name == "shared") {
				t.Errorf("weight shared: %v", same)
			}
			// Changes of the copy's structure do not reach the original.
			twin.Nodes[0].Op.(*graph.Input).Shape[0] = 9
			twin.Nodes[0].Shape[0] = 9
			twin.Nodes[1].Op.(*graph.Conv2D).Groups = 7
			twin.Nodes[1].Params["bias"] = tensor.New(3)
			twin.Nodes[1].Inputs[0] = nil
			twin.Outputs[0] = nil
			if err := g.Infer(); err != nil {
				t.Fatal(err)
			}
			if g.Nodes[0].Shape[0] != 4 || g.Nodes[1].Op.(*graph.Conv2D).Groups != 1 || g.Nodes[1].Params["bias"] != nil || g.Outputs[0] != g.Nodes[2] {
				t.Error("the original changed with the copy")
			}
		})
	}
}

func TestMACsAndParameters(t *testing.T) {
	g := graph.New()
	x := g.Input("x", graph.Shape{6, 6, 4})
	rng := rand.New(rand.NewPCG(1, 1))
	c := g.Add("conv", conv2d(func(o *graph.Conv2D) { o.Groups, o.Pad = 2, graph.Uniform(1, 1) }),
		graph.Params{"weight": noise(rng, 3, 3, 2, 6), "bias": noise(rng, 6)}, x)
	b := g.Add("bn", &graph.BatchNorm{Eps: 1e-5}, norm(rng, 6, true), c)
	d := g.Add("deconv", transposed(func(o *graph.ConvTranspose2D) { o.Groups, o.Stride = 3, [2]int{2, 2} }),
		graph.Params{"weight": noise(rng, 2, 2, 6, 4)}, b)
	f := g.Add("flat", &graph.Flatten{}, nil, d)
	g.Outputs = []*graph.Node{g.Add("fc", &graph.Linear{}, graph.Params{"weight": noise(rng, 12*12*12, 5), "bias": noise(rng, 5)}, f)}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"conv":   36 * 6 * 3 * 3 * 2, // outputs * taps * channels of a group
		"deconv": 36 * 6 * 2 * 2 * 4, // inputs * taps * outputs of a group
		"fc":     12 * 12 * 12 * 5, "bn": 0, "flat": 0, "x": 0,
	} {
		if got := g.Node(name).MACs(); got != want {
			t.Errorf("%s: got %d MACs, want %d", name, got, want)
		}
	}
	if got, want := g.MACs(), int64(36*6*3*3*2+36*6*2*2*4+12*12*12*5); got != want {
		t.Errorf("got %d MACs, want %d", got, want)
	}
	if got, want := g.Parameters(), int64(3*3*2*6+6+12+2*2*6*4+12*12*12*5+5); got != want {
		t.Errorf("got %d parameters, want %d", got, want)
	}
}

func TestMACsOfProducts(t *testing.T) {
	g := graph.New()
	a, b := g.Input("a", graph.Shape{2, 5, 3}), g.Input("b", graph.Shape{3, 4})
	q, k := g.Input("q", graph.Shape{5, 6}), g.Input("k", graph.Shape{7, 6})
	rng := rand.New(rand.NewPCG(1, 1))
	g.Outputs = []*graph.Node{g.Add("matmul", &graph.MatMul{}, nil, a, b),
		g.Add("attention", &graph.Attention{Heads: 2, KVHeads: 2, Scale: 1}, nil, q, k, k),
		g.Add("conv", convND(nil), graph.Params{"weight": noise(rng, 2, 1, 3, 4, 6)}, g.Input("x", graph.Shape{3, 4, 5, 4}))}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"matmul":    2 * 5 * 3 * 4,
		"attention": 2 * (5 * 7 * 3) * 2, // heads * (scores + weighted values)
		"conv":      2 * 4 * 3 * 6 * (2 * 1 * 3 * 4),
	} {
		if got := g.Node(name).MACs(); got != want {
			t.Errorf("%s: got %d MACs, want %d", name, got, want)
		}
	}
}

func TestConsumersListsEveryUse(t *testing.T) {
	g := graph.New()
	x := g.Input("x", graph.Shape{2})
	r := g.Add("r", &graph.ReLU{}, nil, x)
	s := g.Add("s", &graph.Add{}, nil, r, r)
	g.Outputs = []*graph.Node{s}
	uses := g.Consumers()
	if !slices.Equal(uses[r], []*graph.Node{s, s}) || !slices.Equal(uses[x], []*graph.Node{r}) || len(uses[s]) != 0 {
		t.Errorf("got %v", uses)
	}
	if !g.IsOutput(s) || g.IsOutput(r) || g.Node("none") != nil || g.Node("r") != r {
		t.Error("IsOutput or Node is wrong")
	}
}
