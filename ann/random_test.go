package ann

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"pgregory.net/rapid"
)

// drawGraph makes a random network of up to 14 nodes whose values are read once,
// several times or never, with random outputs.
func drawGraph(t *rapid.T) *graph.Graph {
	seed := rapid.Uint64().Draw(t, "weights")
	b := &builder{g: graph.New(), rng: rand.New(rand.NewPCG(seed, 1))}
	const c = 4
	nodes := []*graph.Node{b.g.Input("input", graph.Shape{5, 5, c})}
	pick := func() *graph.Node {
		// Late nodes are likelier, so that chains form.
		back := min(rapid.IntRange(0, 5).Draw(t, "back"), rapid.IntRange(0, len(nodes)-1).Draw(t, "any"))
		return nodes[len(nodes)-1-min(back, len(nodes)-1)]
	}
	for range rapid.IntRange(1, 14).Draw(t, "nodes") {
		x := pick()
		var n *graph.Node
		switch rapid.SampledFrom([]string{"conv", "conv", "bn", "relu", "relu", "relu6", "add", "add", "add3", "leaky", "pool", "identity", "linear", "deconv",
			"mul", "square", "gelu", "affine", "layernorm", "softmax", "transpose", "attention", "reduce", "reshape"}).Draw(t, "op") {
		case "conv":
			n = b.conv(x, c, c, rapid.SampledFrom([]int{1, 3}).Draw(t, "k"), 1, rapid.Bool().Draw(t, "bias"))
		case "bn":
			n = b.norm(x, c)
		case "relu":
			n = b.relu(x)
		case "relu6":
			n = b.g.Add(b.name("relu6"), &graph.ReLU6{}, nil, x)
		case "add":
			n = b.g.Add(b.name("add"), &graph.Add{}, nil, x, pick())
		case "add3":
			n = b.g.Add(b.name("add"), &graph.Add{}, nil, x, pick(), pick())
		case "leaky":
			n = b.g.Add(b.name("leaky"), &graph.LeakyReLU{Alpha: 0.2}, nil, x)
		case "pool":
			n = b.g.Add(b.name("max"), &graph.MaxPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1)}, nil, x)
		case "identity":
			n = b.g.Add(b.name("same"), &graph.Identity{}, nil, x)
		case "linear":
			n = b.linear(x, c, c)
		case "mul":
			n = b.g.Add(b.name("mul"), &graph.Binary{Func: graph.Mul}, nil, x, b.g.Add(b.name("tanh"), &graph.Unary{Func: graph.Tanh}, nil, pick()))
		case "square":
			y := b.g.Add(b.name("tanh"), &graph.Unary{Func: graph.Tanh}, nil, x)
			n = b.g.Add(b.name("square"), &graph.Binary{Func: graph.Mul}, nil, y, y)
		case "gelu":
			n = b.g.Add(b.name("gelu"), &graph.GELU{}, nil, x)
		case "affine":
			n = b.g.Add(b.name("affine"), &graph.Affine{}, graph.Params{"weight": normal(b.rng, 1, c), "bias": normal(b.rng, 1, 5, 1, 1)}, x)
		case "layernorm":
			n = b.g.Add(b.name("ln"), &graph.LayerNorm{Axes: 1, Eps: 0.1}, graph.Params{"weight": normal(b.rng, 1, c)}, x)
		case "softmax":
			n = b.g.Add(b.name("softmax"), &graph.SoftmaxAxes{Axes: graph.Ints{2}}, nil, x)
		case "transpose":
			n = b.g.Add(b.name("swap"), &graph.Transpose{Perm: graph.Ints{1, 0, 2}}, nil, x)
		case "attention":
			y := b.g.Add(b.name("tanh"), &graph.Unary{Func: graph.Tanh}, nil, x)
			n = b.g.Add(b.name("attention"), &graph.Attention{Heads: 2, KVHeads: 2, Scale: 0.7}, nil, y, y, pick())
		case "reduce":
			y := b.g.Add(b.name("mean"), &graph.Reduce{Func: graph.ReduceMean, Axes: graph.Ints{1}, KeepDims: true}, nil, x)
			n = b.g.Add(b.name("minus"), &graph.Binary{Func: graph.Sub}, nil, pick(), y)
		case "reshape":
			y := b.g.Add(b.name("long"), &graph.Reshape{Shape: graph.Ints{25, c}}, nil, x)
			n = b.g.Add(b.name("back"), &graph.Reshape{Shape: graph.Ints{5, 5, c}}, nil, y)
		case "deconv":
			n = b.g.Add(b.name("deconv"), &graph.ConvTranspose2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1},
				graph.Params{"weight": normal(b.rng, 0.2, 3, 3, c, c), "bias": normal(b.rng, 0.1, c)}, x)
		}
		nodes = append(nodes, n)
	}
	outs := []*graph.Node{nodes[len(nodes)-1]}
	for range rapid.IntRange(0, 2).Draw(t, "more outputs") {
		outs = append(outs, pick())
	}
	return b.finish(outs...)
}

// TestRandomGraphs compares fused with unfused execution, outputs and
// gradients, on several workers and with a batch of which only a part is new.
func TestRandomGraphs(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t)
		x := images(rapid.Uint64().Draw(t, "images"), 3, graph.Shape{5, 5, 4})
		plain, err := NewNetwork(g, nil, NetworkOptions{Unfused: true})
		if err != nil {
			t.Fatal(err)
		}
		fused, err := NewNetwork(g.Clone(), pool, NetworkOptions{InputGrads: true})
		if err != nil {
			t.Fatal(err)
		}
		ex, err := New(g, pool)
		if err != nil {
			t.Fatal(err)
		}
		want, err := plain.Forward(Evaluation, 0, x)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fused.Forward(Evaluation, 0, x)
		if err != nil {
			t.Fatal(err)
		}
		run, err := ex.ForwardAll(x)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		var a, b []*tensor.Tensor
		for i := range want {
			near(t, fmt.Sprintf("fused network, output %d", i), got[i].Data, want[i].Data)
			near(t, fmt.Sprintf("executor, output %d", i), run[i].Data, want[i].Data)
			d := normal(rng, 1, want[i].Shape...)
			a, b = append(a, d), append(b, d.Clone())
		}
		// Gradients jump where rounding moves a value over a kink, so they are
		// compared only if fusion changed no value. Evaluation mode keeps it so:
		// a batch norm is then the same affine map either way.
		for i := range want {
			if !slices.Equal(got[i].Data, want[i].Data) {
				return
			}
		}
		ref, err := nodeByNode(g, plain, want, a)
		if err != nil {
			t.Fatal(err)
		}
		if err := fused.Backward(b...); err != nil {
			t.Fatal(err)
		}
		near(t, "input gradient", orZero(fused.InputGrad(0), x.Len()), orZero(ref["input"], x.Len()))
		for _, p := range fused.Params() {
			near(t, p.Name, p.Grad, orZero(ref[p.Name], len(p.Grad)))
		}
	})
}

func orZero(x []float32, n int) []float32 {
	if x == nil {
		return make([]float32, n)
	}
	return x
}

// nodeByNode is the chain rule without any sharing of buffers: every node's
// gradient comes from a network of that node alone. It returns the gradients
// of parameters by their names and of nodes by theirs.
func nodeByNode(g *graph.Graph, values *Network, outs, dys []*tensor.Tensor) (map[string][]float32, error) {
	grads := make(map[string][]float32)
	add := func(name string, d []float32) {
		if grads[name] == nil {
			grads[name] = make([]float32, len(d))
		}
		for i, v := range d {
			grads[name][i] += v
		}
	}
	for i, n := range g.Outputs {
		add(n.Name, dys[i].Data)
	}
	samples := outs[0].Shape[0]
	for _, n := range slices.Backward(g.Nodes) {
		dy := grads[n.Name]
		if _, input := n.Op.(*graph.Input); input || dy == nil {
			continue
		}
		alone := graph.New()
		var ins []*graph.Node
		var xs []*tensor.Tensor
		for i, in := range n.Inputs {
			ins = append(ins, alone.Input(fmt.Sprint("in", i), in.Shape))
			xs = append(xs, &tensor.Tensor{Shape: batchShape(samples, in.Shape), Data: values.Value(in)})
		}
		alone.Outputs = []*graph.Node{alone.Add(n.Name, n.Op, n.Params, ins...)}
		net, err := NewNetwork(alone, nil, NetworkOptions{InputGrads: true})
		if err != nil {
			return nil, err
		}
		if _, err := net.Forward(Evaluation, 0, xs...); err != nil {
			return nil, err
		}
		if err := net.Backward(&tensor.Tensor{Shape: batchShape(samples, n.Shape), Data: slices.Clone(dy)}); err != nil {
			return nil, err
		}
		for i, in := range n.Inputs {
			add(in.Name, net.InputGrad(i))
		}
		for _, p := range net.Params() {
			add(p.Name, p.Grad)
		}
	}
	return grads, nil
}

// near allows an error of a few roundings relative to the largest value.
func near(t *rapid.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d values, want %d", what, len(got), len(want))
	}
	largest := 0.0
	for _, v := range want {
		largest = math.Max(largest, math.Abs(float64(v)))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= 1e-4*(largest+1e-3)) {
			t.Fatalf("%s: value %d: got %g, want %g (largest %g)", what, i, got[i], want[i], largest)
		}
	}
}
