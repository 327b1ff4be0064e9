package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

func init() {
	unary := func(f graph.UnaryFunc) func(*importer, *node) error {
		return elementwise(func(*node) (graph.Op, error) { return &graph.Unary{Func: f}, nil })
	}
	for name, f := range map[string]graph.UnaryFunc{"Sigmoid": graph.Sigmoid, "Tanh": graph.Tanh, "Erf": graph.Erf, "Softplus": graph.Softplus,
		"HardSwish": graph.HardSwish, "Mish": graph.Mish, "Softsign": graph.Softsign} {
		define(Executes, 1, 1, 1, "", unary(f), nil, name)
	}
	for name, f := range map[string]graph.UnaryFunc{"Abs": graph.Abs, "Neg": graph.Neg, "Exp": graph.Exp, "Log": graph.Log, "Sqrt": graph.Sqrt,
		"Reciprocal": graph.Reciprocal, "Sin": graph.Sin, "Cos": graph.Cos, "Floor": graph.Floor, "Ceil": graph.Ceil, "Round": graph.Round, "Sign": graph.Sign} {
		define(Executes, 1, 1, 1, "", unary(f), foldUnary, name)
	}
	define(Convertible, 1, 1, 1, "", elementwise(func(*node) (graph.Op, error) { return &graph.ReLU{}, nil }), nil, "Relu")
	define(Convertible, 1, 1, 1, "alpha:f", elementwise(func(n *node) (graph.Op, error) {
		return &graph.LeakyReLU{Alpha: n.float("alpha", float64(float32(0.01)))}, nil
	}), nil, "LeakyRelu")
	define(Executes, 1, 1, 1, "alpha:f", elementwise(func(n *node) (graph.Op, error) {
		return &graph.ELU{Alpha: n.float("alpha", 1)}, nil
	}), nil, "Elu")
	define(Executes, 1, 1, 1, "alpha:f gamma:f", emitSelu, nil, "Selu")
	define(Executes, 1, 1, 1, "alpha:f beta:f", elementwise(func(n *node) (graph.Op, error) {
		return &graph.HardSigmoid{Alpha: n.float("alpha", 0.2), Beta: n.float("beta", 0.5)}, nil
	}), nil, "HardSigmoid")
	define(Executes, 1, 1, 1, "alpha:f", elementwise(func(n *node) (graph.Op, error) {
		return &graph.Swish{Alpha: n.float("alpha", 1)}, nil
	}), nil, "Swish")
	define(Executes, 1, 1, 1, "approximate:s", elementwise(func(n *node) (graph.Op, error) {
		mode, err := n.choice("approximate", "none", "none", "tanh")
		return &graph.GELU{Tanh: mode == "tanh"}, err
	}), nil, "Gelu")
	define(Convertible, 1, 3, 1, "min:f@-10 max:f@-10", emitClip, nil, "Clip")
	define(Convertible, 2, 2, 1, "", emitPRelu, nil, "PRelu")
	define(Convertible, 2, 2, 1, oldBroadcast, pairwise(graph.BroadcastAdd), foldBinary, "Add")
	define(Executes, 2, 2, 1, oldBroadcast, pairwise(graph.Sub), foldBinary, "Sub")
	define(Convertible, 2, 2, 1, oldBroadcast, pairwise(graph.Mul), foldBinary, "Mul")
	define(Executes, 2, 2, 1, oldBroadcast, pairwise(graph.Div), foldBinary, "Div")
	define(Executes, 2, 2, 1, oldBroadcast, pairwise(graph.Pow), foldBinary, "Pow")
	define(Executes, 2, 2, 1, "fmod:i", func(im *importer, n *node) error {
		if n.int("fmod", 0) == 1 {
			return pairwise(graph.Fmod)(im, n)
		}
		return pairwise(graph.Mod)(im, n)
	}, foldBinary, "Mod")
	define(Executes, 2, 2, 1, oldBroadcast, pairwise(graph.Equal), foldBinary, "Equal")
	define(Executes, 2, 2, 1, oldBroadcast, pairwise(graph.Less), foldBinary, "Less")
	define(Executes, 2, 2, 1, "", pairwise(graph.LessEqual), foldBinary, "LessOrEqual")
	swapped := func(f graph.BinaryFunc) func(*importer, *node) error {
		return func(im *importer, n *node) error {
			n.in[0], n.in[1] = n.in[1], n.in[0]
			return pairwise(f)(im, n)
		}
	}
	define(Executes, 2, 2, 1, oldBroadcast, swapped(graph.Less), foldBinary, "Greater")
	define(Executes, 2, 2, 1, "", swapped(graph.LessEqual), foldBinary, "GreaterOrEqual")
	define(Executes, 2, 2, 1, oldBroadcast, pairwise(graph.Mul), foldBinary, "And")
	define(Executes, 2, 2, 1, oldBroadcast, pairwise(graph.Maximum), foldBinary, "Or")
	define(Executes, 1, 1, 1, "", emitNot, foldUnary, "Not")
	define(Convertible, 1, -1, 1, "", variadic(graph.BroadcastAdd), foldVariadic, "Sum")
	define(Executes, 1, -1, 1, "", variadic(graph.Maximum), foldVariadic, "Max")
	define(Executes, 1, -1, 1, "", variadic(graph.Minimum), foldVariadic, "Min")
	define(Executes, 3, 3, 1, "", emitWhere, foldWhere, "Where")
}

// elementwise makes the emission of an operation on one input.
func elementwise(op func(*node) (graph.Op, error)) func(*importer, *node) error {
	return func(im *importer, n *node) error {
		o, err := op(n)
		if err != nil {
			return err
		}
		v, err := n.view(0)
		if err != nil {
			return err
		}
		n.setView(0, v.same(im.add(o, nil, v.node)))
		return nil
	}
}

func emitClip(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	low, high := math.Inf(-1), math.Inf(1)
	if n.opset() < 11 {
		if len(n.in) > 1 {
			return fmt.Errorf("%d inputs, want 1 at this opset", len(n.in))
		}
		low, high = n.float("min", low), n.float("max", high)
	}
	for i, bound := range []*float64{&low, &high} {
		x := n.input(i + 1)
		if x.missing() {
			continue
		}
		if !x.isConst() {
			return emitClipBounds(im, n, v)
		}
		c := x.constant()
		if c.numel() != 1 {
			return fmt.Errorf("bound of shape %v, want a scalar", c.shape)
		}
		*bound = float64(c.floats()[0])
	}
	n.setView(0, v.same(im.clip(v.node, low, high)))
	return nil
}

// clip adds the simplest operation for bounds.
func (im *importer) clip(x *graph.Node, low, high float64) *graph.Node {
	var op graph.Op = &graph.Clip{Min: graph.Float(low), Max: graph.Float(high)}
	switch {
	case low == 0 && high == 6:
		op = &graph.ReLU6{}
	case low == 0 && high >= math.MaxFloat32:
		op = &graph.ReLU{}
	case low <= -math.MaxFloat32 && high >= math.MaxFloat32:
		op = &graph.Identity{}
	}
	return im.add(op, nil, x)
}

// emitClipBounds clips to bounds that are activations.
func emitClipBounds(im *importer, n *node, v *view) error {
	x := value{v: v}
	for i, f := range []graph.BinaryFunc{graph.Maximum, graph.Minimum} {
		b := n.input(i + 1)
		if b.missing() {
			continue
		}
		out, err := im.binary(f, x, b)
		if err != nil {
			return err
		}
		x = value{v: out}
	}
	n.set(0, x)
	return nil
}

func emitPRelu(im *importer, n *node) error {
	slope := n.input(1)
	v, err := n.view(0)
	if err != nil {
		return err
	}
	if slope.isConst() {
		if c := slope.constant(); n.opset() < 7 && len(c.shape) == 1 && v.rank() > 2 { // per channel
			slope = value{c: c.reshaped(append([]int{c.shape[0]}, slices.Repeat([]int{1}, v.rank()-2)...))}
		}
		nodes, out, err := im.broadcast(value{v: v}, slope)
		if err != nil {
			return err
		}
		if t := constantOf(nodes[1]); t != nil && slices.Equal(nodes[0].Shape, shapeOf(out.graph)) {
			out.node = im.add(&graph.PReLU{}, graph.Params{"weight": trimmed(t)}, nodes[0])
			n.setView(0, out)
			return nil
		}
	}
	// relu(x) - slope*relu(-x)
	pos := v.same(im.add(&graph.ReLU{}, nil, v.node))
	neg := v.same(im.add(&graph.ReLU{}, nil, im.add(&graph.Unary{Func: graph.Neg}, nil, v.node)))
	product, err := im.binary(graph.Mul, value{v: neg}, slope)
	if err != nil {
		return err
	}
	out, err := im.binary(graph.Sub, value{v: pos}, value{v: product})
	n.setView(0, out)
	return err
}

func emitSelu(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	elu := im.add(&graph.ELU{Alpha: n.float("alpha", 1.67326319217681884765625)}, nil, v.node)
	gamma := float32(n.float("gamma", 1.05070102214813232421875))
	n.setView(0, v.same(im.add(&graph.Affine{}, graph.Params{"weight": scalar(gamma)}, elu)))
	return nil
}

func emitNot(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	node := im.add(&graph.Affine{}, graph.Params{"weight": scalar(-1), "bias": scalar(1)}, v.node)
	out := v.same(node)
	out.dtype = boolType
	n.setView(0, out)
	return nil
}

func scalar(v float32) *tensor.Tensor { return &tensor.Tensor{Shape: []int{1}, Data: []float32{v}} }

func pairwise(f graph.BinaryFunc) func(*importer, *node) error {
	return func(im *importer, n *node) error {
		a, b := n.input(0), n.input(1)
		da, db := n.dtypeOf(0), n.dtypeOf(1)
		// Integers, which only an ArgMax or a Cast makes from activations.
		if f == graph.Div && !da.float() && !db.float() {
			return fmt.Errorf("division of integer activations: %w", fileerr.ErrUnsupported)
		}
		a, b, err := n.aligned(a, b)
		if err != nil {
			return err
		}
		out, err := im.binary(f, a, b)
		if err != nil {
			return err
		}
		switch n.def.Op {
		case "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or":
			out.dtype = boolType
		default:
			out.dtype = da
		}
		n.setView(0, out)
		return nil
	}
}

// oldBroadcast are the attributes of binary operators before opset 7.
const oldBroadcast = "broadcast:i@-6 axis:i@-6"

// aligned gives the second input the trailing axes that it needs to be broadcast
// from an axis on, as opset 6 asks for by attributes.
func (n *node) aligned(a, b value) (value, value, error) {
	if n.opset() >= 7 {
		return a, b, nil
	}
	da, err := n.dims(0)
	if err != nil {
		return a, b, err
	}
	db, err := n.dims(1)
	if err != nil {
		return a, b, err
	}
	if n.int("broadcast", 0) == 0 {
		if !slices.Equal(da, db) {
			return a, b, fmt.Errorf("shapes %v and %v without broadcast", da, db)
		}
		return a, b, nil
	}
	at := n.int("axis", int64(len(da)-len(db)))
	if at < 0 {
		at += int64(len(da))
	}
	trailing := len(da) - len(db) - int(at)
	if at < 0 || trailing < 0 {
		return a, b, fmt.Errorf("axis %d for shapes %v and %v", n.int("axis", -1), da, db)
	}
	if b.v != nil {
		w := b.v.clone()
		w.axes = slices.Concat(w.axes, make([][]*atom, trailing))
		return a, value{v: w}, nil
	}
	c := b.constant()
	return a, value{c: c.reshaped(slices.Concat(c.shape, slices.Repeat([]int{1}, trailing)))}, nil
}

// dtypeOf returns the element type of input i.
func (n *node) dtypeOf(i int) dtype {
	switch x := n.input(i); {
	case x.v != nil:
		return x.v.dtype
	case x.c != nil:
		return x.c.dtype
	case x.def != nil:
		return dtype(x.def.Type)
	}
	return 0
}

// binary adds an elementwise function of two values, as the simplest operation
// that it is.
func (im *importer) binary(f graph.BinaryFunc, a, b value) (*view, error) {
	nodes, out, err := im.broadcast(a, b)
	if err != nil {
		return nil, err
	}
	shape := shapeOf(out.graph)
	x, y := nodes[0], nodes[1]
	full := func(n *graph.Node) bool { return slices.Equal(n.Shape, shape) }
	cx, cy := constantOf(x), constantOf(y)
	switch {
	case cx != nil && cy == nil && full(y):
		out.node = im.withConstant(f, y, cx, true)
	case cy != nil && cx == nil && full(x):
		out.node = im.withConstant(f, x, cy, false)
	case f == graph.BroadcastAdd && full(x) && full(y):
		out.node = im.add(&graph.Add{}, nil, x, y)
	}
	if out.node == nil {
		out.node = im.add(&graph.Binary{Func: f}, nil, x, y)
	}
	return out, nil
}

// withConstant adds f(x, t), or f(t, x) if first; nil if no simpler operation
// does it.
func (im *importer) withConstant(f graph.BinaryFunc, x *graph.Node, t *tensor.Tensor, first bool) *graph.Node {
	t = trimmed(t)
	one := len(t.Data) == 1
	affine := func(weight, bias *tensor.Tensor) *graph.Node {
		p := graph.Params{}
		if weight != nil {
			p["weight"] = weight
		}
		if bias != nil {
			p["bias"] = bias
		}
		return im.add(&graph.Affine{}, p, x)
	}
	neg := func(v float32) float32 { return -v }
	if !finite(t) && f != graph.Maximum && f != graph.Minimum {
		return nil
	}
	switch f {
	case graph.BroadcastAdd:
		return affine(nil, t)
	case graph.Sub:
		if first {
			return affine(scalar(-1), t)
		}
		return affine(nil, scaled(t, neg))
	case graph.Mul:
		return affine(t, nil)
	case graph.Div:
		if first {
			return im.addScale(im.add(&graph.Unary{Func: graph.Reciprocal}, nil, x), t)
		}
		if inv := scaled(t, func(v float32) float32 { return 1 / v }); finite(inv) {
			return affine(inv, nil)
		}
	case graph.Maximum:
		if one && t.Data[0] == t.Data[0] {
			return im.clip(x, float64(t.Data[0]), math.Inf(1))
		}
	case graph.Minimum:
		if one && t.Data[0] == t.Data[0] {
			return im.clip(x, math.Inf(-1), float64(t.Data[0]))
		}
	case graph.Pow:
		if one && !first {
			return im.add(&graph.Power{Exponent: float64(t.Data[0])}, nil, x)
		}
	}
	return nil
}

func (im *importer) addScale(x *graph.Node, t *tensor.Tensor) *graph.Node {
	if len(t.Data) == 1 && t.Data[0] == 1 {
		return x
	}
	return im.add(&graph.Affine{}, graph.Params{"weight": t}, x)
}

func variadic(f graph.BinaryFunc) func(*importer, *node) error {
	return func(im *importer, n *node) error {
		if f == graph.BroadcastAdd && len(n.in) > 1 { // several equal shapes are one sum
			nodes, out, err := im.broadcast(n.in...)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(nodes, func(x *graph.Node) bool {
				return constantOf(x) != nil || !slices.Equal(x.Shape, shapeOf(out.graph))
			}) {
				out.node = im.add(&graph.Add{}, nil, nodes...)
				n.setView(0, out)
				return nil
			}
		}
		acc := n.in[0]
		for _, x := range n.in[1:] {
			v, err := im.binary(f, acc, x)
			if err != nil {
				return err
			}
			acc = value{v: v}
		}
		if acc.v == nil {
			v, err := im.asView(acc)
			if err != nil {
				return err
			}
			acc = value{v: v}
		}
		n.set(0, acc)
		return nil
	}
}

func emitWhere(im *importer, n *node) error {
	nodes, out, err := im.broadcast(n.in...)
	if err != nil {
		return err
	}
	out.node = im.add(&graph.Where{}, nil, nodes...)
	out.dtype = n.dtypeOf(1)
	n.setView(0, out)
	return nil
}
