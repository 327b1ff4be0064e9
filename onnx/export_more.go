package onnx

import (
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// exportUnary are the operators of elementwise functions.
var exportUnary = map[graph.UnaryFunc]string{
	graph.Sigmoid: "Sigmoid", graph.Tanh: "Tanh", graph.Erf: "Erf", graph.Softplus: "Softplus", graph.Softsign: "Softsign",
	graph.HardSwish: "HardSwish", graph.Abs: "Abs", graph.Neg: "Neg", graph.Exp: "Exp", graph.Log: "Log", graph.Sqrt: "Sqrt",
	graph.Reciprocal: "Reciprocal", graph.Sin: "Sin", graph.Cos: "Cos", graph.Floor: "Floor", graph.Ceil: "Ceil", graph.Round: "Round",
	graph.Sign: "Sign",
}

var exportBinary = map[graph.BinaryFunc]string{
	graph.BroadcastAdd: "Add", graph.Sub: "Sub", graph.Mul: "Mul", graph.Div: "Div", graph.Maximum: "Max", graph.Minimum: "Min",
	graph.Pow: "Pow", graph.Fmod: "Mod", graph.Equal: "Equal", graph.Less: "Less", graph.LessEqual: "LessOrEqual",
}

var exportReduce = map[graph.ReduceFunc]string{
	graph.ReduceMean: "ReduceMean", graph.ReduceSum: "ReduceSum", graph.ReduceMax: "ReduceMax", graph.ReduceMin: "ReduceMin",
	graph.ReduceProd: "ReduceProd", graph.ReduceL1: "ReduceL1", graph.ReduceL2: "ReduceL2", graph.ReduceSumSquare: "ReduceSumSquare",
	graph.ReduceLogSumExp: "ReduceLogSumExp",
}

// emitMore is emit of what spiking networks have no part in.
func (e *exporter) emitMore(n *graph.Node, p graph.Params, in []exval) (exval, error) {
	var v exval
	if len(in) > 0 {
		v = in[0]
	}
	switch op := n.Op.(type) {
	case *graph.Constant:
		for _, t := range p {
			return exval{name: e.floats(n.Name, t.Shape, t.Data), shape: n.Shape}, nil
		}
	case *graph.Unary:
		return e.unary(n, op.Func, v)
	case *graph.Clip:
		inputs := []string{v.name, "", ""}
		for i, limit := range []graph.Float{op.Min, op.Max} {
			if !math.IsInf(float64(limit), 2*i-1) {
				inputs[1+i] = e.number(float64(limit))
			}
		}
		for inputs[len(inputs)-1] == "" {
			inputs = inputs[:len(inputs)-1]
		}
		return e.like(n, "Clip", v, inputs), nil
	case *graph.PReLU:
		return e.same(n, "PRelu", v, e.param(n.Name+".weight", v, p["weight"])), nil
	case *graph.ELU:
		return e.sameWith(n, "Elu", v, exFloat("alpha", op.Alpha)), nil
	case *graph.HardSigmoid:
		return e.sameWith(n, "HardSigmoid", v, exFloat("alpha", op.Alpha), exFloat("beta", op.Beta)), nil
	case *graph.Swish:
		x := v.name
		if op.Alpha != 1 {
			x = e.op("Mul", n.Name+".scaled", []string{x, e.number(op.Alpha)})
		}
		return e.same(n, "Mul", v, e.op("Sigmoid", n.Name+".sigmoid", []string{x})), nil
	case *graph.GELU:
		return e.gelu(n, op.Tanh, v), nil
	case *graph.Power:
		return e.same(n, "Pow", v, e.number(op.Exponent)), nil
	case *graph.Affine:
		return e.affine(n, p, v), nil
	case *graph.Binary:
		return e.binary(n, op.Func, in)
	case *graph.Where:
		in = e.aligned(in)
		out := broadcastResult(n, in)
		out.name = e.op("Where", n.Name, []string{e.cast(n.Name+".condition", in[0].name, boolType), in[1].name, in[2].name})
		return out, nil
	case *graph.MatMul:
		return e.matmul(n, op, in), nil
	case *graph.Attention:
		return e.attention(n, op, in)
	case *graph.LayerNorm, *graph.RMSNorm, *graph.GroupNorm, *graph.LRN, *graph.SoftmaxAxes:
		return e.norm(n, p, v)
	case *graph.Reduce:
		return e.reduce(n, op, v), nil
	case *graph.ArgMax:
		kind := "ArgMax"
		if op.Min {
			kind = "ArgMin"
		}
		return e.dropped(n, v, []int{op.Axis}, op.KeepDims, func(name string, keep bool) string {
			at := e.op(kind, name+".index", []string{v.name}, exInt("axis", v.axis(op.Axis)), exInt("keepdims", flag(keep)), exInt("select_last_index", flag(op.Last)))
			return e.cast(name, at, float32Type)
		}), nil
	case *graph.TopK:
		v = e.in(v, v.keep())
		names := []string{e.unique(n.Name + ".values"), e.unique(n.Name + ".indices")}
		e.ops("TopK", n.Name, []string{v.name, e.ints(n.Name+".k", op.K)}, names,
			exInt("axis", v.axis(op.Axis)), exInt("largest", flag(!op.Smallest)), exInt("sorted", 1))
		out := v
		out.shape, out.name = n.Shape, names[0]
		if op.Indices {
			out.name = e.cast(n.Name, names[1], float32Type)
		}
		return out, nil
	}
	return e.emitShape(n, v)
}

// keep is the layout of a value unless its features are permuted.
func (v exval) keep() layoutKind {
	if v.layout == permuted {
		return asGraph
	}
	return v.layout
}

func (e *exporter) cast(base, name string, to dtype) string {
	return e.op("Cast", base, []string{name}, exInt("to", int(to)))
}

func (e *exporter) unary(n *graph.Node, f graph.UnaryFunc, v exval) (exval, error) {
	if op := exportUnary[f]; op != "" {
		return e.same(n, op, v), nil
	}
	switch f {
	case graph.Mish:
		s := e.op("Softplus", n.Name+".softplus", []string{v.name})
		return e.same(n, "Mul", v, e.op("Tanh", n.Name+".tanh", []string{s})), nil
	case graph.Trunc:
		s := e.op("Sign", n.Name+".sign", []string{v.name})
		a := e.op("Abs", n.Name+".abs", []string{v.name})
		return e.like(n, "Mul", v, []string{s, e.op("Floor", n.Name+".floor", []string{a})}), nil
	}
	return exval{}, refuseExport(n, "no operator of opset %d", exportOpset)
}

// gelu writes the formula that exporters of opset 17 write.
func (e *exporter) gelu(n *graph.Node, tanh bool, v exval) exval {
	sub := func(op, name string, inputs ...string) string { return e.op(op, n.Name+"."+name, inputs) }
	var inner string
	if tanh {
		cube := sub("Pow", "cube", v.name, e.number(3))
		sum := sub("Add", "sum", v.name, sub("Mul", "part", cube, e.number(0.044715)))
		inner = sub("Tanh", "tanh", sub("Mul", "scaled", sum, e.number(math.Sqrt(2/math.Pi))))
	} else {
		inner = sub("Erf", "erf", sub("Div", "scaled", v.name, e.number(math.Sqrt2)))
	}
	half := sub("Mul", "product", v.name, sub("Add", "shifted", inner, e.number(1)))
	return e.like(n, "Mul", v, []string{half, e.number(0.5)})
}

func (e *exporter) affine(n *graph.Node, p graph.Params, v exval) exval {
	w, b := p["weight"], p["bias"]
	switch {
	case w == nil:
		return e.same(n, "Add", v, e.param(n.Name+".bias", v, b))
	case b == nil:
		return e.same(n, "Mul", v, e.param(n.Name+".weight", v, w))
	}
	product := e.op("Mul", n.Name+".product", []string{v.name, e.param(n.Name+".weight", v, w)})
	return e.like(n, "Add", v, []string{product, e.param(n.Name+".bias", v, b)})
}

// aligned prepares values for broadcasting: as in the graph unless all have the
// same number of axes, with as many axes as the longest.
func (e *exporter) aligned(in []exval) []exval {
	rank, same := 0, true
	for _, v := range in {
		rank = max(rank, v.rank())
	}
	for _, v := range in {
		same = same && v.rank() == rank && v.batch && v.layout == in[0].layout && v.layout != permuted
	}
	if same {
		return slices.Clone(in)
	}
	out := make([]exval, len(in))
	for i, v := range in {
		v = e.in(v, asGraph)
		if missing := rank - v.rank(); missing > 0 && v.batch {
			shape := append(slices.Repeat([]int{1}, missing), v.shape...)
			v.name = e.op("Reshape", v.name+".aligned", []string{v.name, e.ints(v.name+".aligned_shape", append([]int{0}, shape...)...)}, exInt("allowzero", 0))
			v.shape = shape
		}
		out[i] = v
	}
	return out
}

// broadcastResult is the result of a node on aligned values.
func broadcastResult(n *graph.Node, in []exval) exval {
	out := exval{shape: n.Shape, layout: in[0].layout}
	if out.rank() == 1 {
		out.layout = asGraph
	}
	for _, v := range in {
		out.batch = out.batch || v.batch
	}
	return out
}

func (e *exporter) binary(n *graph.Node, f graph.BinaryFunc, in []exval) (exval, error) {
	op := exportBinary[f]
	if op == "" {
		return exval{}, refuseExport(n, "no operator of opset %d for float numbers", exportOpset)
	}
	in = e.aligned(in)
	out := broadcastResult(n, in)
	names := []string{in[0].name, in[1].name}
	switch f {
	case graph.Equal, graph.Less, graph.LessEqual:
		out.name = e.cast(n.Name, e.op(op, n.Name+".holds", names), float32Type)
	case graph.Fmod:
		out.name = e.op(op, n.Name, names, exInt("fmod", 1))
	default:
		out.name = e.op(op, n.Name, names)
	}
	return out, nil
}

// swap transposes the last two axes.
func (e *exporter) swap(v exval) string {
	perm := make([]int, v.rank()+flag(v.batch))
	for i := range perm {
		perm[i] = i
	}
	k := len(perm)
	perm[k-2], perm[k-1] = k-1, k-2
	return e.op("Transpose", v.name+".swapped", []string{v.name}, exInts("perm", perm...))
}

func (e *exporter) matmul(n *graph.Node, op *graph.MatMul, in []exval) exval {
	names := make([]string, 2)
	lone := make([]bool, 2) // vectors become matrices
	rank := 2
	for i, v := range in {
		in[i] = e.in(v, asGraph)
		lone[i] = v.rank() == 1
		rank = max(rank, v.rank())
	}
	for i, v := range in {
		switch {
		case lone[i]:
			shape := slices.Repeat([]int{1}, rank)
			shape[rank-1-i] = v.shape[0]
			v = e.withBatch(v)
			v.name = e.op("Reshape", v.name+".matrix", []string{v.name, e.ints(n.Name+".matrix_shape", append([]int{0}, shape...)...)}, exInt("allowzero", 0))
		case v.batch && v.rank() < rank:
			shape := append(slices.Repeat([]int{1}, rank-v.rank()), v.shape...)
			v.name = e.op("Reshape", v.name+".aligned", []string{v.name, e.ints(v.name+".aligned_shape", append([]int{0}, shape...)...)}, exInt("allowzero", 0))
			v.shape = shape
		}
		names[i] = v.name
		if i == 0 && op.TransposeA || i == 1 && op.TransposeB {
			names[i] = e.swap(v)
		}
	}
	out := exval{shape: n.Shape, batch: in[0].batch || in[1].batch || lone[0] || lone[1]}
	out.name = e.op("MatMul", n.Name, names)
	if lone[0] || lone[1] {
		out.name = e.op("Reshape", n.Name+".vector", []string{out.name, e.ints(n.Name+".vector_shape", append([]int{0}, n.Shape...)...)}, exInt("allowzero", 0))
	}
	return out
}

// attention writes the formula; heads side by side in the channels become an
// axis.
func (e *exporter) attention(n *graph.Node, op *graph.Attention, in []exval) (exval, error) {
	q := n.Inputs[0].Shape
	r := len(q)
	heads := op.Heads > 1
	switch {
	case op.KVHeads != op.Heads:
		return exval{}, refuseExport(n, "%d heads share %d of keys and values", op.Heads, op.KVHeads)
	case heads && r != 2:
		return exval{}, refuseExport(n, "%d heads in values of shape %v", op.Heads, []int(q))
	}
	part := func(i int, name string, last bool) string {
		v := e.in(in[i], asGraph)
		s := v.shape
		if !heads {
			if last {
				return e.swap(v)
			}
			return v.name
		}
		x := e.op("Reshape", n.Name+"."+name+"_heads", []string{v.name, e.ints(n.Name+"."+name+"_shape", 0, s[0], op.Heads, s[1]/op.Heads)}, exInt("allowzero", 0))
		perm := []int{0, 2, 1, 3}
		if last {
			perm = []int{0, 2, 3, 1}
		}
		return e.op("Transpose", n.Name+"."+name, []string{x}, exInts("perm", perm...))
	}
	query, key, value := part(0, "query", false), part(1, "key", true), part(2, "value", false)
	scores := e.op("MatMul", n.Name+".product", []string{query, key})
	scores = e.op("Mul", n.Name+".scores", []string{scores, e.number(op.Scale)})
	if op.Softcap > 0 {
		scores = e.op("Tanh", n.Name+".tanh", []string{e.op("Div", n.Name+".ratio", []string{scores, e.number(op.Softcap)})})
		scores = e.op("Mul", n.Name+".capped", []string{scores, e.number(op.Softcap)})
	}
	if len(in) == 4 {
		m := e.in(in[3], asGraph)
		want := r
		if heads {
			want++
		}
		mask := m.shape
		if !heads { // the axis of one head goes
			if k := len(mask) - 3; k >= 0 {
				if mask[k] != 1 {
					return exval{}, refuseExport(n, "mask of shape %v", []int(m.shape))
				}
				mask = slices.Delete(slices.Clone(mask), k, k+1)
			}
		}
		name := m.name
		shape := append([]int(nil), mask...)
		if m.batch {
			for len(shape) < want {
				shape = append([]int{1}, shape...)
			}
			shape = append([]int{0}, shape...)
		}
		name = e.op("Reshape", n.Name+".mask", []string{name, e.ints(n.Name+".mask_shape", shape...)}, exInt("allowzero", 0))
		scores = e.op("Add", n.Name+".masked", []string{scores, name})
	}
	if op.Causal {
		l, s := q[r-2], n.Inputs[1].Shape[r-2]
		mask := tensor.New(l, s)
		for i := range l {
			for k := i + 1; k < s; k++ {
				mask.Data[i*s+k] = float32(math.Inf(-1))
			}
		}
		scores = e.op("Add", n.Name+".causal", []string{scores, e.floats(n.Name+".causal_mask", mask.Shape, mask.Data)})
	}
	weights := e.op("Softmax", n.Name+".weights", []string{scores}, exInt("axis", -1))
	if !heads {
		return e.made(n, asGraph, "MatMul", []string{weights, value}), nil
	}
	y := e.op("MatMul", n.Name+".heads", []string{weights, value})
	y = e.op("Transpose", n.Name+".merged", []string{y}, exInts("perm", 0, 2, 1, 3))
	return e.made(n, asGraph, "Reshape", []string{y, e.ints(n.Name+".shape", append([]int{0}, n.Shape...)...)}, exInt("allowzero", 0)), nil
}

func (e *exporter) norm(n *graph.Node, p graph.Params, v exval) (exval, error) {
	switch op := n.Op.(type) {
	case *graph.LayerNorm:
		v = e.in(v, asGraph)
		tail := n.Shape[len(n.Shape)-op.Axes:]
		w := p["weight"]
		if w == nil {
			w = tensor.New(tail...)
			for k := range w.Data {
				w.Data[k] = 1
			}
		}
		inputs := []string{v.name, e.floats(n.Name+".weight", w.Shape, w.Data)}
		if b := p["bias"]; b != nil {
			inputs = append(inputs, e.floats(n.Name+".bias", b.Shape, b.Data))
		}
		return e.made(n, asGraph, "LayerNormalization", inputs, exInt("axis", -op.Axes), exFloat("epsilon", op.Eps), exInt("stash_type", 1)), nil
	case *graph.RMSNorm:
		v = e.in(v, asGraph)
		axes := make([]int, op.Axes)
		for i := range axes {
			axes[i] = i - op.Axes
		}
		square := e.op("Pow", n.Name+".square", []string{v.name, e.number(2)})
		mean := e.op("ReduceMean", n.Name+".mean", []string{square}, exInts("axes", axes...), exInt("keepdims", 1))
		root := e.op("Sqrt", n.Name+".root", []string{e.op("Add", n.Name+".shifted", []string{mean, e.number(op.Eps)})})
		if w := p["weight"]; w != nil {
			x := e.op("Div", n.Name+".normal", []string{v.name, root})
			return e.made(n, asGraph, "Mul", []string{x, e.floats(n.Name+".weight", w.Shape, w.Data)}), nil
		}
		return e.made(n, asGraph, "Div", []string{v.name, root}), nil
	case *graph.GroupNorm:
		return e.groupNorm(n, op, p, v)
	case *graph.LRN:
		v = e.in(v, channelsFirst)
		return e.like(n, "LRN", v, []string{v.name}, exInt("size", op.Size), exFloat("alpha", op.Alpha), exFloat("beta", op.Beta), exFloat("bias", op.Bias)), nil
	case *graph.SoftmaxAxes:
		kind := "Softmax"
		if op.Log {
			kind = "LogSoftmax"
		}
		if len(op.Axes) == 1 {
			v = e.in(v, v.keep())
			return e.like(n, kind, v, []string{v.name}, exInt("axis", v.axis(op.Axes[0]))), nil
		}
		first := len(n.Shape) - len(op.Axes)
		if op.Axes[0] != first {
			return exval{}, refuseExport(n, "axes %v, which are not the last", []int(op.Axes))
		}
		v = e.in(v, asGraph)
		flat := append([]int{0}, n.Shape[:first]...)
		x := e.op("Reshape", n.Name+".flat", []string{v.name, e.ints(n.Name+".flat_shape", append(flat, -1)...)}, exInt("allowzero", 0))
		x = e.op(kind, n.Name+".normal", []string{x}, exInt("axis", -1))
		return e.made(n, asGraph, "Reshape", []string{x, e.ints(n.Name+".shape", append([]int{0}, n.Shape...)...)}, exInt("allowzero", 0)), nil
	}
	return exval{}, refuseExport(n, "no operator of opset %d", exportOpset)
}

func (e *exporter) groupNorm(n *graph.Node, op *graph.GroupNorm, p graph.Params, in exval) (exval, error) {
	if op.BatchAxes != 0 || in.rank() < 2 {
		return exval{}, refuseExport(n, "%d batch axes, values of shape %v", op.BatchAxes, []int(n.Shape))
	}
	v := e.in(in, channelsFirst)
	ones := func(c int, t *tensor.Tensor, value float32) []float32 {
		if t != nil {
			return t.Data
		}
		return slices.Repeat([]float32{value}, c)
	}
	c := n.Shape.Channels()
	w, b := ones(c, p["weight"], 1), ones(c, p["bias"], 0)
	if op.Groups == c {
		return e.like(n, "InstanceNormalization", v, []string{v.name, e.floats(n.Name+".weight", []int{c}, w), e.floats(n.Name+".bias", []int{c}, b)}, exFloat("epsilon", op.Eps)), nil
	}
	x := e.op("Reshape", n.Name+".groups", []string{v.name, e.ints(n.Name+".groups_shape", 0, op.Groups, -1)}, exInt("allowzero", 0))
	x = e.op("InstanceNormalization", n.Name+".normal", []string{x, e.floats(n.Name+".ones", []int{op.Groups}, ones(op.Groups, nil, 1)),
		e.floats(n.Name+".zeros", []int{op.Groups}, ones(op.Groups, nil, 0))}, exFloat("epsilon", op.Eps))
	x = e.op("Reshape", n.Name+".channels", []string{x, e.ints(n.Name+".shape", append([]int{0}, v.fileShape()...)...)}, exInt("allowzero", 0))
	x = e.op("Mul", n.Name+".scaled", []string{x, e.param(n.Name+".weight", v, &tensor.Tensor{Shape: []int{c}, Data: w})})
	return e.like(n, "Add", v, []string{x, e.param(n.Name+".bias", v, &tensor.Tensor{Shape: []int{c}, Data: b})}), nil
}
