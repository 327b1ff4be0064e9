package graph_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// A shapeCase is one operation on inputs of the given shapes. want is the shape
// inferred, or nil where fail is what the error must say.
type shapeCase struct {
	op     graph.Op
	in     []graph.Shape
	params map[string][]int // shapes
	want   graph.Shape
	fail   string
}

func conv2d(change func(o *graph.Conv2D)) *graph.Conv2D {
	o := &graph.Conv2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1}
	if change != nil {
		change(o)
	}
	return o
}

func transposed(change func(o *graph.ConvTranspose2D)) *graph.ConvTranspose2D {
	o := &graph.ConvTranspose2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1}
	if change != nil {
		change(o)
	}
	return o
}

type (
	shapes = []graph.Shape
	params = map[string][]int
)

var image = shapes{{8, 6, 4}}

// window are the cases that both kinds of pools share.
func window(pool func(kernel, stride [2]int, pad graph.Pad, ceil bool) graph.Op) []shapeCase {
	return []shapeCase{
		{op: pool([2]int{2, 2}, [2]int{2, 2}, graph.Pad{}, false), in: image, want: graph.Shape{4, 3, 4}},
		{op: pool([2]int{3, 3}, [2]int{2, 2}, graph.Uniform(1, 1), false), in: image, want: graph.Shape{4, 3, 4}},
		{op: pool([2]int{3, 3}, [2]int{2, 2}, graph.Pad{}, true), in: image, want: graph.Shape{4, 3, 4}},
		{op: pool([2]int{3, 3}, [2]int{2, 2}, graph.Pad{}, false), in: image, want: graph.Shape{3, 2, 4}},
		// The last partial window would start in the lower padding only.
		{op: pool([2]int{2, 2}, [2]int{3, 3}, graph.Pad{0, 0, 1, 1}, true), in: shapes{{3, 3, 1}}, want: graph.Shape{1, 1, 1}},
		{op: pool([2]int{9, 1}, [2]int{1, 1}, graph.Pad{}, false), in: image, fail: "window of 9 does not fit"},
		{op: pool([2]int{3, 3}, [2]int{1, 1}, graph.Uniform(2, 0), false), in: image, fail: "more than half of kernel"},
		{op: pool([2]int{0, 3}, [2]int{1, 1}, graph.Pad{}, false), in: image, fail: "kernel [0 3]"},
		{op: pool([2]int{3, 3}, [2]int{1, 0}, graph.Pad{}, false), in: image, fail: "stride [1 0]"},
		{op: pool([2]int{3, 3}, [2]int{1, 1}, graph.Pad{-1, 0, 0, 0}, false), in: image, fail: "pad [-1 0 0 0]"},
		{op: pool([2]int{3, 3}, [2]int{1, 1 << 21}, graph.Pad{}, false), in: image, fail: "stride"},
		{op: pool([2]int{2, 2}, [2]int{2, 2}, graph.Pad{}, false), in: shapes{{8, 4}}, fail: "window of 2 does not fit into 1+0"},
		{op: pool([2]int{2, 1}, [2]int{2, 1}, graph.Pad{}, false), in: shapes{{8, 4}}, want: graph.Shape{4, 4}},
		{op: pool([2]int{2, 2}, [2]int{2, 2}, graph.Pad{}, false), in: image, params: params{"weight": {1}}, fail: `unknown parameter "weight"`},
	}
}

// same are the cases of operations that keep the shape and have no parameters.
func same(op graph.Op) []shapeCase {
	return []shapeCase{
		{op: op, in: image, want: image[0]},
		{op: op, in: shapes{{7, 3}}, want: graph.Shape{7, 3}},
		{op: op, in: shapes{{5}}, want: graph.Shape{5}},
		{op: op, fail: "0 inputs, want 1"},
		{op: op, in: shapes{{5}, {5}}, fail: "2 inputs, want 1"},
		{op: op, in: image, params: params{"bias": {4}}, fail: `unknown parameter "bias"`},
	}
}

func global(op graph.Op) []shapeCase {
	return []shapeCase{
		{op: op, in: image, want: graph.Shape{1, 1, 4}},
		{op: op, in: shapes{{4}}, fail: "want [H W C]"},
		{op: op, in: shapes{{1, 1, 1}, {1, 1, 1}}, fail: "2 inputs, want 1"},
		{op: op, in: image, params: params{"x": {1}}, fail: "unknown parameter"},
	}
}

var shapeCases = map[string][]shapeCase{
	"input": {
		{op: &graph.Input{Shape: graph.Shape{2, 3}}, want: graph.Shape{2, 3}},
		{op: &graph.Input{}, fail: "has 0 axes, want 1 to 8"},
		{op: &graph.Input{Shape: graph.Shape{1, 2, 3, 4}}, want: graph.Shape{1, 2, 3, 4}},
		{op: &graph.Input{Shape: graph.Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}}, fail: "has 9 axes"},
		{op: &graph.Input{Shape: graph.Shape{2, 0}}, fail: "holds 0 values"},
		{op: &graph.Input{Shape: graph.Shape{-2, -1}}, fail: "negative dimension"},
		{op: &graph.Input{Shape: graph.Shape{1 << 31, 2}}, fail: "values, want 1 to"},
		{op: &graph.Input{Shape: graph.Shape{math.MaxInt, 2}}, fail: "too many elements"},
		{op: &graph.Input{Shape: graph.Shape{1}}, in: image, fail: "1 inputs, want 0"},
		{op: &graph.Input{Shape: graph.Shape{1}}, params: params{"weight": {1}}, fail: "unknown parameter"},
	},
	"conv2d": {
		{op: conv2d(nil), in: image, params: params{"weight": {3, 3, 4, 7}}, want: graph.Shape{6, 4, 7}},
		{op: conv2d(func(o *graph.Conv2D) {
			o.Stride, o.Pad, o.Dilation, o.Groups = [2]int{2, 1}, graph.Pad{2, 0, 1, 3}, [2]int{2, 1}, 2
		}), in: image, params: params{"weight": {3, 2, 2, 6}, "bias": {6}}, want: graph.Shape{4, 8, 6}},
		{op: conv2d(nil), in: image, params: params{}, fail: `parameter "weight" is missing`},
		{op: conv2d(nil), in: image, params: params{"weight": {3, 3, 4, 7}, "gain": {1}}, fail: `unknown parameter "gain"`},
		{op: conv2d(nil), in: image, params: params{"weight": {3, 3, 4}}, fail: "want 4 axes"},
		{op: conv2d(nil), in: image, params: params{"weight": {3, 3, 3, 7}}, fail: "wants 3 input channels, input has 4"},
		{op: conv2d(nil), in: image, params: params{"weight": {3, 3, 4, 7}, "bias": {6}}, fail: "bias has shape [6], want [7]"},
		{op: conv2d(nil), in: image, params: params{"weight": {3, 3, 4, 7}, "bias": {7, 1}}, fail: "bias has shape [7 1]"},
		{op: conv2d(nil), in: image, params: params{"weight": {9, 3, 4, 7}}, fail: "window of 9 does not fit into 8+0"},
		{op: conv2d(nil), in: image, params: params{"weight": {3, 0, 4, 7}}, fail: "weight shape"},
		{op: conv2d(func(o *graph.Conv2D) { o.Groups = 2 }), in: image, params: params{"weight": {1, 1, 2, 7}}, fail: "7 output channels do not split into 2 groups"},
		{op: conv2d(func(o *graph.Conv2D) { o.Groups = 0 }), in: image, params: params{"weight": {1, 1, 4, 7}}, fail: "groups"},
		{op: conv2d(func(o *graph.Conv2D) { o.Stride[1] = 0 }), in: image, params: params{"weight": {1, 1, 4, 7}}, fail: "stride [1 0]"},
		{op: conv2d(func(o *graph.Conv2D) { o.Dilation[0] = -1 }), in: image, params: params{"weight": {1, 1, 4, 7}}, fail: "dilation"},
		{op: conv2d(func(o *graph.Conv2D) { o.Pad[3] = -1 }), in: image, params: params{"weight": {1, 1, 4, 7}}, fail: "pad"},
		{op: conv2d(nil), in: shapes{{4}}, params: params{"weight": {1, 1, 4, 7}}, fail: "want [H W C]"},
		{op: conv2d(nil), in: shapes{{8, 6, 4}, {8, 6, 4}}, params: params{"weight": {1, 1, 4, 7}}, fail: "2 inputs, want 1"},
	},
	"conv_transpose2d": {
		{op: transposed(func(o *graph.ConvTranspose2D) {
			o.Stride, o.Pad, o.OutputPad, o.Groups = [2]int{2, 3}, graph.Pad{1, 0, 1, 1}, [2]int{1, 2}, 2
		}), in: image, params: params{"weight": {3, 3, 4, 5}, "bias": {10}}, want: graph.Shape{16, 19, 10}},
		{op: transposed(nil), in: image, params: params{"weight": {2, 2, 3, 5}}, fail: "does not fit 4 input channels"},
		{op: transposed(func(o *graph.ConvTranspose2D) { o.Groups = 3 }), in: image, params: params{"weight": {2, 2, 4, 5}}, fail: "does not fit 4 input channels"},
		{op: transposed(func(o *graph.ConvTranspose2D) { o.Groups = 2 }), in: image, params: params{"weight": {2, 2, 4, 5}, "bias": {5}}, fail: "want [10]"},
		{op: transposed(func(o *graph.ConvTranspose2D) { o.OutputPad[0] = 1 }), in: image, params: params{"weight": {2, 2, 4, 5}}, fail: "output_pad [1 0] must be smaller"},
		{op: transposed(func(o *graph.ConvTranspose2D) { o.OutputPad[0] = -1 }), in: image, params: params{"weight": {2, 2, 4, 5}}, fail: "output_pad"},
		{op: transposed(func(o *graph.ConvTranspose2D) { o.Pad = graph.Uniform(5, 0) }), in: image, params: params{"weight": {2, 2, 4, 5}}, fail: "output would be -1 x 7"},
		{op: transposed(nil), in: image, params: params{"bias": {4}}, fail: `parameter "weight" is missing`},
	},
	"linear": {
		{op: &graph.Linear{}, in: shapes{{5}}, params: params{"weight": {5, 3}, "bias": {3}}, want: graph.Shape{3}},
		{op: &graph.Linear{}, in: shapes{{9, 5}}, params: params{"weight": {5, 3}}, want: graph.Shape{9, 3}},
		{op: &graph.Linear{}, in: shapes{{5}}, params: params{"weight": {3, 5}}, fail: "wants 3 input features"},
		{op: &graph.Linear{}, in: shapes{{5}}, params: params{"weight": {5}}, fail: "want [In Out]"},
		{op: &graph.Linear{}, in: shapes{{5}}, params: params{"weight": {5, 3}, "bias": {5}}, fail: "want [3]"},
		{op: &graph.Linear{}, in: shapes{{5}}, fail: `parameter "weight" is missing`},
		{op: &graph.Linear{}, in: shapes{{5}}, params: params{"weight": {5, 0}}, fail: "holds 0 values"},
		{op: &graph.Linear{}, params: params{"weight": {5, 3}}, fail: "0 inputs"},
	},
	"batchnorm": {
		{op: &graph.BatchNorm{Eps: 1e-5}, in: image, params: params{"mean": {4}, "var": {4}, "weight": {4}, "bias": {4}}, want: image[0]},
		{op: &graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, in: shapes{{3}}, params: params{"mean": {3}, "var": {3}}, want: graph.Shape{3}},
		{op: &graph.BatchNorm{Eps: 1e-5}, in: image, params: params{"mean": {4}}, fail: `parameter "var" is missing`},
		{op: &graph.BatchNorm{Eps: 1e-5}, in: image, params: params{"mean": {4}, "var": {3}}, fail: "var has shape [3], want [4]"},
		{op: &graph.BatchNorm{Eps: 1e-5}, in: image, params: params{"mean": {4}, "var": {4}, "weight": {3}}, fail: "weight has shape"},
		{op: &graph.BatchNorm{}, in: image, params: params{"mean": {4}, "var": {4}}, fail: "eps 0"},
		{op: &graph.BatchNorm{Eps: math.NaN()}, in: image, params: params{"mean": {4}, "var": {4}}, fail: "eps NaN"},
		{op: &graph.BatchNorm{Eps: 1e-5, Momentum: 1.5}, in: image, params: params{"mean": {4}, "var": {4}}, fail: "momentum 1.5"},
	},
	"relu":  same(&graph.ReLU{}),
	"relu6": same(&graph.ReLU6{}),
	"leaky_relu": append(same(&graph.LeakyReLU{Alpha: 0.1}),
		shapeCase{op: &graph.LeakyReLU{Alpha: math.Inf(1)}, in: image, fail: "alpha +Inf"},
		shapeCase{op: &graph.LeakyReLU{Alpha: math.NaN()}, in: image, fail: "alpha NaN"}),
	"maxpool2d": window(func(kernel, stride [2]int, pad graph.Pad, ceil bool) graph.Op {
		return &graph.MaxPool2D{Kernel: kernel, Stride: stride, Pad: pad, CeilMode: ceil}
	}),
	"avgpool2d": window(func(kernel, stride [2]int, pad graph.Pad, ceil bool) graph.Op {
		return &graph.AvgPool2D{Kernel: kernel, Stride: stride, Pad: pad, CeilMode: ceil, CountIncludePad: ceil}
	}),
	"global_avgpool": global(&graph.GlobalAvgPool{}),
	"global_maxpool": global(&graph.GlobalMaxPool{}),
	"add": {
		{op: &graph.Add{}, in: shapes{{2, 3}, {2, 3}, {2, 3}}, want: graph.Shape{2, 3}},
		{op: &graph.Add{}, in: shapes{{2, 3}}, fail: "1 inputs, want at least 2"},
		{op: &graph.Add{}, in: shapes{{2, 3}, {2, 1}}, fail: "inputs of shapes 2x3 and 2x1"},
		{op: &graph.Add{}, in: shapes{{6}, {2, 3}}, fail: "want equal ones"},
		{op: &graph.Add{}, in: shapes{{6}, {6}}, params: params{"weight": {6}}, fail: "unknown parameter"},
	},
	"concat": {
		{op: &graph.Concat{}, in: shapes{{2, 3, 4}, {2, 3, 1}}, want: graph.Shape{2, 3, 5}},
		{op: &graph.Concat{}, in: shapes{{4}}, want: graph.Shape{4}},
		{op: &graph.Concat{}, fail: "no inputs"},
		{op: &graph.Concat{}, in: shapes{{2, 3, 4}, {3, 2, 4}}, fail: "but for the channels"},
		{op: &graph.Concat{}, in: shapes{{2, 3, 4}, {6, 4}}, fail: "but for the channels"},
	},
	"flatten": {
		{op: &graph.Flatten{}, in: image, want: graph.Shape{192}},
		{op: &graph.Flatten{}, in: shapes{{5}, {5}}, fail: "2 inputs"},
		{op: &graph.Flatten{}, in: image, params: params{"x": {1}}, fail: "unknown parameter"},
	},
	"upsample": {
		{op: &graph.Upsample{Size: [2]int{3, 20}, Mode: "nearest"}, in: image, want: graph.Shape{3, 20, 4}},
		{op: &graph.Upsample{Size: [2]int{3, 20}, Mode: "bilinear", AlignCorners: true}, in: image, want: graph.Shape{3, 20, 4}},
		{op: &graph.Upsample{Size: [2]int{3, 20}, Mode: "cubic"}, in: image, fail: `mode "cubic"`},
		{op: &graph.Upsample{Size: [2]int{3, 0}, Mode: "nearest"}, in: image, fail: "size [3 0]"},
		{op: &graph.Upsample{Size: [2]int{1 << 20, 1 << 20}, Mode: "nearest"}, in: image, fail: "values, want 1 to"},
		{op: &graph.Upsample{Size: [2]int{2, 2}, Mode: "nearest"}, in: shapes{{4}}, fail: "want [H W C]"},
	},
	"softmax":     same(&graph.Softmax{}),
	"log_softmax": same(&graph.LogSoftmax{}),
	"identity":    same(&graph.Identity{}),
	"dropout": append(same(&graph.Dropout{P: 0.5}),
		shapeCase{op: &graph.Dropout{P: 1}, in: image, fail: "p 1: want 0 <= p < 1"},
		shapeCase{op: &graph.Dropout{P: math.NaN()}, in: image, fail: "p NaN"}),
}

func (c shapeCase) graph() *graph.Graph {
	g := graph.New()
	var in []*graph.Node
	for i, s := range c.in {
		in = append(in, g.Input(fmt.Sprintf("in%d", i), s))
	}
	if len(in) == 0 {
		g.Input("unused", graph.Shape{1})
	}
	var p graph.Params
	for role, shape := range c.params {
		if p == nil {
			p = graph.Params{}
		}
		p[role] = tensor.New(shape...)
	}
	g.Outputs = []*graph.Node{g.Add("the node", c.op, p, in...)}
	return g
}

func TestInferShape(t *testing.T) {
	for kind, cases := range shapeCases {
		for i, c := range cases {
			t.Run(fmt.Sprintf("%s/%d", kind, i), func(t *testing.T) {
				if c.op.Kind() != kind {
					t.Fatalf("the operation is a %s", c.op.Kind())
				}
				g := c.graph()
				err := g.Infer()
				if c.fail == "" {
					if err != nil {
						t.Fatal(err)
					}
					if got := g.Outputs[0].Shape; !slices.Equal(got, c.want) {
						t.Fatalf("got shape %v, want %v", got, c.want)
					}
					return
				}
				if err == nil {
					t.Fatalf("got shape %v, want an error with %q", g.Outputs[0].Shape, c.fail)
				}
				if !errors.Is(err, graph.ErrInvalid) || !strings.Contains(err.Error(), c.fail) || !strings.Contains(err.Error(), `node "the node" (`+kind+`)`) {
					t.Errorf("got error %q, want ErrInvalid that names the node and says %q", err, c.fail)
				}
			})
		}
	}
}

func TestEveryKindHasShapeCases(t *testing.T) {
	for _, kind := range graph.Kinds() {
		good := slices.ContainsFunc(shapeCases[kind], func(c shapeCase) bool { return c.fail == "" })
		bad := slices.ContainsFunc(shapeCases[kind], func(c shapeCase) bool { return c.fail != "" })
		if !good || !bad {
			t.Errorf("%q: shapeCases has good cases: %v, bad cases: %v, want both", kind, good, bad)
		}
	}
	if len(shapeCases) != len(graph.Kinds()) {
		t.Errorf("shapeCases has %d kinds, the package %d", len(shapeCases), len(graph.Kinds()))
	}
}

func TestInferRefusesMalformedGraphs(t *testing.T) {
	one := graph.Shape{1}
	for _, c := range []struct {
		name, fail string
		build      func(g *graph.Graph)
	}{
		{"name used twice", `node "a": name used twice`, func(g *graph.Graph) { g.Outputs = []*graph.Node{g.Input("a", one), g.Input("a", one)} }},
		{"no name", "relu node has no name", func(g *graph.Graph) { g.Outputs = []*graph.Node{g.Add("", &graph.ReLU{}, nil, g.Input("a", one))} }},
		{"cycle", `node "r1" (relu): input 0 is not an earlier node`, func(g *graph.Graph) {
			r1 := g.Add("r1", &graph.ReLU{}, nil, g.Input("a", one))
			r2 := g.Add("r2", &graph.ReLU{}, nil, r1)
			r1.Inputs[0] = r2
			g.Outputs = []*graph.Node{r2}
		}},
		{"itself", `node "r1"`, func(g *graph.Graph) {
			r1 := g.Add("r1", &graph.ReLU{}, nil, g.Input("a", one))
			r1.Inputs[0] = r1
			g.Outputs = []*graph.Node{r1}
		}},
		{"input of another graph", "not an earlier node", func(g *graph.Graph) {
			g.Outputs = []*graph.Node{g.Add("r", &graph.ReLU{}, nil, graph.New().Input("a", one))}
		}},
		{"nil input", "not an earlier node", func(g *graph.Graph) { g.Outputs = []*graph.Node{g.Add("r", &graph.ReLU{}, nil, nil)} }},
		{"no operation", "has no operation", func(g *graph.Graph) { g.Nodes = append(g.Nodes, &graph.Node{Name: "a"}) }},
		{"nil node", "has no operation", func(g *graph.Graph) { g.Nodes = append(g.Nodes, nil) }},
		{"no output", "no output", func(g *graph.Graph) { g.Input("a", one) }},
		{"foreign output", "not a node of the graph", func(g *graph.Graph) {
			g.Input("a", one)
			g.Outputs = []*graph.Node{graph.New().Input("b", one)}
		}},
		{"empty", "no output", func(g *graph.Graph) {}},
		{"nil parameter", `node "l" (linear): parameter "bias" is nil`, func(g *graph.Graph) {
			g.Outputs = []*graph.Node{g.Add("l", &graph.Linear{}, graph.Params{"weight": tensor.New(1, 1), "bias": nil}, g.Input("a", one))}
		}},
		{"parameter of too few values", `parameter "weight" has 1 values for shape [1 2]`, func(g *graph.Graph) {
			g.Outputs = []*graph.Node{g.Add("l", &graph.Linear{}, graph.Params{"weight": {Shape: []int{1, 2}, Data: make([]float32, 1)}}, g.Input("a", one))}
		}},
		{"negative variance", `node "bn" (batchnorm): var[1] is -1`, func(g *graph.Graph) {
			p := graph.Params{"mean": tensor.New(2), "var": {Shape: []int{2}, Data: []float32{0, -1}}}
			g.Outputs = []*graph.Node{g.Add("bn", &graph.BatchNorm{Eps: 1e-5}, p, g.Input("a", graph.Shape{2}))}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graph.New()
			c.build(g)
			if err := g.Infer(); !errors.Is(err, graph.ErrInvalid) || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got error %v, want ErrInvalid with %q", err, c.fail)
			}
		})
	}
}

func TestValidateNamesParameterThatIsNotFinite(t *testing.T) {
	g := graph.New()
	w := tensor.New(2, 2)
	w.Data[3] = float32(math.NaN())
	g.Outputs = []*graph.Node{g.Add("fc", &graph.Linear{}, graph.Params{"weight": w, "bias": tensor.New(2)}, g.Input("x", graph.Shape{2}))}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	if err := g.Validate(); !errors.Is(err, graph.ErrInvalid) || !strings.Contains(err.Error(), `node "fc" (linear): weight[3] is NaN`) {
		t.Errorf("got error %v", err)
	}
	w.Data[3] = 0
	if err := g.Validate(); err != nil {
		t.Error(err)
	}
}

func TestShape(t *testing.T) {
	for _, c := range []struct {
		s         graph.Shape
		numel, ch int
		positions int
		h, w, c   int
		text      string
	}{
		{graph.Shape{4, 5, 6}, 120, 6, 20, 4, 5, 6, "4x5x6"},
		{graph.Shape{4, 5}, 20, 5, 4, 4, 1, 5, "4x5"},
		{graph.Shape{4}, 4, 4, 1, 1, 1, 4, "4"},
		{nil, 1, 0, 0, 0, 0, 0, ""},
	} {
		h, w, ch := c.s.HWC()
		if c.s.Numel() != c.numel || c.s.Channels() != c.ch || c.s.Positions() != c.positions || h != c.h || w != c.w || ch != c.c || c.s.String() != c.text {
			t.Errorf("%v: got %d values, %d channels, %d positions, HWC %d %d %d, %q", []int(c.s), c.s.Numel(), c.s.Channels(), c.s.Positions(), h, w, ch, c.s)
		}
	}
}
