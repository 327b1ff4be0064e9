package golden

import (
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// Graph builds the network described by nodes (c.Network or c.NetworkFolded)
// for samples of input, an array with channels first behind lead axes before
// the channels. Layouts are translated; a fully connected layer behind a
// flatten gets its weight permuted for channels last.
func (c *Case) Graph(t testing.TB, nodes []Node, input string, lead int) *graph.Graph {
	t.Helper()
	g := graph.New()
	shape := c.Spec(t, input).Shape[lead:]
	var in graph.Shape
	switch len(shape) {
	case 1:
		in = graph.Shape{shape[0]}
	case 3:
		in = graph.Shape{shape[1], shape[2], shape[0]}
	default:
		t.Fatalf("input %q: sample of shape %v", input, shape)
	}
	byName := map[string]*graph.Node{"input": g.Input("input", in)}
	for _, n := range nodes {
		var inputs []*graph.Node
		for _, name := range n.Inputs {
			m := byName[name]
			if m == nil {
				t.Fatalf("node %q: no node %q before it", n.Name, name)
			}
			inputs = append(inputs, m)
		}
		op, params := c.op(t, n, inputs)
		node := g.Add(n.Name, op, params, inputs...)
		byName[n.Name] = node
		g.Outputs = []*graph.Node{node}
		if err := g.Infer(); err != nil { // shapes are needed by what follows
			t.Fatal(err)
		}
	}
	return g
}

// op translates one node; the shapes of its inputs are known.
func (c *Case) op(t testing.TB, n Node, inputs []*graph.Node) (graph.Op, graph.Params) {
	t.Helper()
	params := graph.Params{}
	for role, name := range map[string]string{"bias": n.Bias, "mean": n.Mean, "var": n.Var} {
		if name != "" {
			params[role] = c.Array(t, name)
		}
	}
	pair := func(name string) [2]int {
		v := n.Attrs.Ints(t, name)
		if len(v) != 2 {
			t.Fatalf("node %q: %s %v", n.Name, name, v)
		}
		return [2]int{v[0], v[1]}
	}
	must := func(w *tensor.Tensor, err error) *tensor.Tensor {
		t.Helper()
		if err != nil {
			t.Fatalf("node %q: %v", n.Name, err)
		}
		return w
	}
	switch n.Op {
	case "conv2d":
		params["weight"] = must(tensor.ConvWeight(c.Array(t, n.Weight)))
		pad := pair("padding")
		return &graph.Conv2D{Stride: pair("stride"), Pad: graph.Uniform(pad[0], pad[1]), Dilation: pair("dilation"), Groups: n.Attrs.Int(t, "groups")}, params
	case "linear":
		w := c.Array(t, n.Weight)
		if inputs[0].Kind() == "flatten" {
			h, wd, ch := inputs[0].Inputs[0].Shape.HWC()
			params["weight"] = must(tensor.LinearWeightAfterFlatten(w, h, wd, ch))
		} else {
			params["weight"] = must(tensor.LinearWeight(w))
		}
		return &graph.Linear{}, params
	case "batchnorm":
		if n.Weight != "" {
			params["weight"] = c.Array(t, n.Weight)
		}
		return &graph.BatchNorm{Eps: n.Attrs.Float(t, "eps"), Momentum: 0.1}, params
	case "relu":
		return &graph.ReLU{}, nil
	case "relu6":
		return &graph.ReLU6{}, nil
	case "flatten":
		return &graph.Flatten{}, nil
	case "add":
		return &graph.Add{}, nil
	case "global_avgpool":
		return &graph.GlobalAvgPool{}, nil
	case "avgpool2d":
		pad := pair("padding")
		return &graph.AvgPool2D{Kernel: pair("kernel"), Stride: pair("stride"), Pad: graph.Uniform(pad[0], pad[1]),
			CeilMode: n.Attrs.Bool(t, "ceil_mode"), CountIncludePad: n.Attrs.Bool(t, "count_include_pad")}, nil
	case "maxpool2d":
		pad := pair("padding")
		return &graph.MaxPool2D{Kernel: pair("kernel"), Stride: pair("stride"), Pad: graph.Uniform(pad[0], pad[1]),
			CeilMode: n.Attrs.Bool(t, "ceil_mode")}, nil
	}
	t.Fatalf("node %q: operation %q is not known here", n.Name, n.Op)
	return nil, nil
}
