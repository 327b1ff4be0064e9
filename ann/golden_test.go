package ann

import (
	"math"
	"slices"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/tensor"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// activations loads an array channels last.
func activations(t testing.TB, c *golden.Case, name string) *tensor.Tensor {
	t.Helper()
	return must[*tensor.Tensor](t)(tensor.ChannelsLast(c.Array(t, name)))
}

// compareActivations compares channels-last values with a stored array.
func compareActivations(t testing.TB, c *golden.Case, name string, got []float32) {
	t.Helper()
	want := activations(t, c, name)
	y := must[*tensor.Tensor](t)(tensor.FromSlice(got, want.Shape...))
	c.Compare(t, name, must[*tensor.Tensor](t)(tensor.ChannelsFirst(y)).Data)
}

// weightIn and weightOut translate a weight by the layout of its array.
func weightIn(t testing.TB, layout string, w *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	switch layout {
	case "OIHW":
		return must[*tensor.Tensor](t)(tensor.ConvWeight(w))
	case "IOHW":
		return must[*tensor.Tensor](t)(tensor.ConvTransposeWeight(w))
	case "OI":
		return must[*tensor.Tensor](t)(tensor.LinearWeight(w))
	}
	return w
}

func weightOut(t testing.TB, layout string, w *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	switch layout {
	case "OIHW":
		return must[*tensor.Tensor](t)(tensor.ConvWeightOIHW(w))
	case "IOHW":
		return must[*tensor.Tensor](t)(tensor.ConvTransposeWeightIOHW(w))
	case "OI":
		return must[*tensor.Tensor](t)(tensor.LinearWeight(w)) // its own inverse
	}
	return w
}

func pair(t testing.TB, f golden.Fields, name string) [2]int {
	t.Helper()
	v := f.Ints(t, name)
	if len(v) != 2 {
		t.Fatalf("%s %v: want two values", name, v)
	}
	return [2]int{v[0], v[1]}
}

func pad(t testing.TB, f golden.Fields) graph.Pad {
	t.Helper()
	p := pair(t, f, "padding")
	return graph.Uniform(p[0], p[1])
}

// roles are the array names of parameters and their roles in a node.
var roles = map[string]string{"weight": "weight", "bias": "bias", "running_mean": "mean", "running_var": "var"}

// goldenOp translates the operation of a case.
func goldenOp(t testing.TB, c *golden.Case) graph.Op {
	t.Helper()
	a := c.Params.Object(t, "attrs")
	optional := func(name string, or float64) float64 {
		if a.Has(name) {
			return a.Float(t, name)
		}
		return or
	}
	switch name := c.Params.Text(t, "op"); name {
	case "conv2d":
		return &graph.Conv2D{Stride: pair(t, a, "stride"), Pad: pad(t, a), Dilation: pair(t, a, "dilation"), Groups: a.Int(t, "groups")}
	case "conv_transpose2d":
		return &graph.ConvTranspose2D{Stride: pair(t, a, "stride"), Pad: pad(t, a), OutputPad: pair(t, a, "output_padding"),
			Dilation: pair(t, a, "dilation"), Groups: a.Int(t, "groups")}
	case "linear":
		return &graph.Linear{}
	case "batchnorm":
		return &graph.BatchNorm{Eps: a.Float(t, "eps"), Momentum: optional("momentum", 0.1)}
	case "relu":
		return &graph.ReLU{}
	case "relu6":
		return &graph.ReLU6{}
	case "leaky_relu":
		return &graph.LeakyReLU{Alpha: a.Float(t, "negative_slope")}
	case "maxpool2d":
		if a.Has("dilation") && pair(t, a, "dilation") != [2]int{1, 1} {
			t.Skip("the graph has no dilated max pooling")
		}
		return &graph.MaxPool2D{Kernel: pair(t, a, "kernel"), Stride: pair(t, a, "stride"), Pad: pad(t, a), CeilMode: a.Bool(t, "ceil_mode")}
	case "avgpool2d":
		return &graph.AvgPool2D{Kernel: pair(t, a, "kernel"), Stride: pair(t, a, "stride"), Pad: pad(t, a),
			CeilMode: a.Bool(t, "ceil_mode"), CountIncludePad: a.Bool(t, "count_include_pad")}
	case "global_avgpool":
		return &graph.GlobalAvgPool{}
	case "global_maxpool":
		return &graph.GlobalMaxPool{}
	case "add":
		return &graph.Add{}
	case "concat":
		if axis := a.Int(t, "axis"); axis != 1 {
			t.Skipf("the graph concatenates channels only, not axis %d", axis)
		}
		return &graph.Concat{}
	case "upsample":
		return &graph.Upsample{Size: pair(t, a, "size"), Mode: a.Text(t, "mode"), AlignCorners: a.Has("align_corners") && a.Bool(t, "align_corners")}
	case "softmax", "log_softmax":
		if axis := a.Int(t, "axis"); axis != 1 {
			t.Skipf("the graph normalises over channels only, not axis %d", axis)
		}
		if name == "softmax" {
			return &graph.Softmax{}
		}
		return &graph.LogSoftmax{}
	default:
		t.Skipf("unknown operator %q", name)
	}
	return nil
}

func TestGoldenOp(t *testing.T) {
	for _, c := range golden.Cases(t, "op") {
		t.Run(c.Name, func(t *testing.T) {
			if c.Params.Text(t, "op") == "cross_entropy" {
				goldenCrossEntropy(t, c)
				return
			}
			goldenNode(t, c)
		})
	}
}

// goldenNode compares a one-node graph, forward and backward.
func goldenNode(t *testing.T, c *golden.Case) {
	node := goldenOp(t, c)
	g := graph.New()
	params := graph.Params{}
	var names []string
	var ins []*graph.Node
	var xs []*tensor.Tensor
	for _, a := range c.Arrays {
		role, isParam := roles[a.Name]
		switch {
		case a.Role == "param" && isParam:
			params[role] = weightIn(t, a.Layout, c.Array(t, a.Name))
		case a.Role == "param":
			t.Fatalf("parameter %q: want one of weight, bias, running_mean, running_var", a.Name)
		case a.Role == "input" && a.Name != "grad_output":
			x := activations(t, c, a.Name)
			names, xs = append(names, a.Name), append(xs, x)
			ins = append(ins, g.Input(a.Name, x.Shape[1:]))
		}
	}
	out := g.Add("node", node, params, ins...)
	g.Outputs = []*graph.Node{out}
	mode := Evaluation
	if a := c.Params.Object(t, "attrs"); a.Has("training") && a.Bool(t, "training") {
		mode = Training
	} else {
		ex := must[*Executor](t)(New(g, nil))
		y := must[[]*tensor.Tensor](t)(ex.ForwardAll(xs...))[0]
		compareActivations(t, c, "output", y.Data)
	}
	net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{InputGrads: true}))
	y := must[[]*tensor.Tensor](t)(net.Forward(mode, 0, xs...))[0]
	compareActivations(t, c, "output", y.Data)
	if err := net.Backward(activations(t, c, "grad_output")); err != nil {
		t.Fatal(err)
	}
	for _, a := range c.Arrays {
		if a.Role != "expected" || a.Name == "output" {
			continue
		}
		switch {
		case a.Name == "running_mean_after":
			c.Compare(t, a.Name, params["mean"].Data)
		case a.Name == "running_var_after":
			c.Compare(t, a.Name, params["var"].Data)
		case len(a.Name) > 5 && slices.Contains(names, a.Name[5:]):
			compareActivations(t, c, a.Name, net.InputGrad(slices.Index(names, a.Name[5:])))
		case len(a.Name) > 5 && net.param(out, a.Name[5:]) != nil:
			p := net.param(out, a.Name[5:])
			grad := &tensor.Tensor{Shape: p.Value.Shape, Data: p.Grad}
			c.Compare(t, a.Name, weightOut(t, a.Layout, grad).Data)
		default:
			t.Errorf("expected array %q: nothing to compare it with", a.Name)
		}
	}
}

func goldenCrossEntropy(t *testing.T, c *golden.Case) {
	a := c.Params.Object(t, "attrs")
	if r := a.Text(t, "reduction"); r != "mean" {
		t.Skipf("reduction %q: the loss is a mean", r)
	}
	ce := CrossEntropy{Smoothing: a.Float(t, "label_smoothing"), Ignore: NoIgnore}
	if a.Has("ignore_index") {
		ce.Ignore = a.Int(t, "ignore_index")
	}
	logits := activations(t, c, "input")
	grad := make([]float32, logits.Len())
	var out Outcome
	if a.Has("soft_targets") && a.Bool(t, "soft_targets") {
		out = must[Outcome](t)(ce.Soft(nil, logits, activations(t, c, "target"), grad))
	} else {
		out = must[Outcome](t)(ce.Labels(nil, logits, c.Ints(t, "target"), grad))
	}
	c.CompareFloats(t, "loss", out.Loss)
	compareActivations(t, c, "grad_input", grad)
}

func TestGoldenBNFold(t *testing.T) {
	for _, c := range golden.Cases(t, "bn_fold", "bn_fold_negative") {
		t.Run(c.Name, func(t *testing.T) {
			negative := c.Kind == "bn_fold_negative"
			g := graph.New()
			x := activations(t, c, "input")
			in := g.Input("input", x.Shape[1:])
			params := graph.Params{"weight": weightIn(t, c.Spec(t, "weight").Layout, c.Array(t, "weight"))}
			if c.Has("bias") {
				params["bias"] = c.Array(t, "bias")
			}
			p := c.Params
			var o graph.Op
			switch kind := p.Text(t, "op"); kind {
			case "conv2d":
				o = &graph.Conv2D{Stride: pair(t, p, "stride"), Pad: pad(t, p), Dilation: pair(t, p, "dilation"), Groups: p.Int(t, "groups")}
			case "conv_transpose2d":
				conv := &graph.ConvTranspose2D{Stride: pair(t, p, "stride"), Pad: pad(t, p), Dilation: pair(t, p, "dilation"), Groups: p.Int(t, "groups")}
				if p.Has("output_padding") {
					conv.OutputPad = pair(t, p, "output_padding")
				}
				o = conv
			case "linear", "conv1d": // a pointwise convolution over points is a fully connected layer
				o = &graph.Linear{}
				if w := params["weight"]; len(w.Shape) == 3 {
					flat := must[*tensor.Tensor](t)(w.Reshape(w.Shape[0], w.Shape[1]))
					params["weight"] = must[*tensor.Tensor](t)(tensor.LinearWeight(flat))
				}
			default:
				t.Skipf("unknown operator %q", kind)
			}
			layer := g.Add("layer", o, params, in)
			before := layer
			if negative {
				before = g.Add("relu", &graph.ReLU{}, nil, layer)
			}
			norm := graph.Params{"mean": c.Array(t, "running_mean"), "var": c.Array(t, "running_var")}
			for name, role := range map[string]string{"gamma": "weight", "beta": "bias"} {
				if c.Has(name) {
					norm[role] = c.Array(t, name)
				}
			}
			g.Outputs = []*graph.Node{g.Add("bn", &graph.BatchNorm{Eps: p.Float(t, "eps")}, norm, before)}

			net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{}))
			y := must[[]*tensor.Tensor](t)(net.Forward(Evaluation, 0, x))[0]
			compareActivations(t, c, "output", y.Data)

			ex := must[*Executor](t)(New(g, nil))
			compareActivations(t, c, "output", must[*tensor.Tensor](t)(ex.Forward(x)).Data)

			folded := g.CloneShared()
			n := graph.FoldBatchNorm(folded)
			if negative {
				if n != 0 || !slices.Equal(folded.Node("layer").Weight().Data, params["weight"].Data) {
					t.Fatalf("folded %d batch norms across a rectifier, want none", n)
				}
				return
			}
			if n != 1 {
				t.Fatalf("folded %d batch norms, want 1", n)
			}
			l := folded.Node("layer")
			spec := c.Spec(t, "folded_weight")
			w := l.Weight()
			if len(spec.Shape) == 3 { // O, I, 1
				w = must[*tensor.Tensor](t)(tensor.LinearWeight(w))
			} else {
				w = weightOut(t, spec.Layout, w)
			}
			c.Compare(t, "folded_weight", w.Data)
			c.Compare(t, "folded_bias", l.Bias())
			for _, v := range l.Bias() {
				if math.IsNaN(float64(v)) {
					t.Fatal("folded bias is NaN")
				}
			}
		})
	}
}
