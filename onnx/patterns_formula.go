package onnx

import (
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
)

// product2 returns the factors of an elementwise product of two equal shapes.
func product2(n *graph.Node) (a, b *graph.Node, ok bool) {
	op, is := n.Op.(*graph.Binary)
	if !is || op.Func != graph.Mul || !slices.Equal(n.Inputs[0].Shape, n.Inputs[1].Shape) {
		return nil, nil, false
	}
	return n.Inputs[0], n.Inputs[1], true
}

func isUnary(n *graph.Node, f graph.UnaryFunc) bool {
	op, ok := n.Op.(*graph.Unary)
	return ok && op.Func == f
}

// gated finds x*f(x) for the functions that have a name.
func (r *rewriter) gated(n *graph.Node) bool {
	a, b, ok := product2(n)
	if !ok {
		return false
	}
	for range 2 {
		if r.only(b) {
			switch op := b.Op.(type) {
			case *graph.HardSigmoid:
				if b.Inputs[0] == a && math.Abs(op.Alpha-1.0/6) < 1e-6 && op.Beta == 0.5 {
					r.set(n, &graph.Unary{Func: graph.HardSwish}, nil, a)
					return true
				}
			case *graph.Unary:
				switch in := b.Inputs[0]; {
				case op.Func == graph.Sigmoid && in == a:
					r.set(n, &graph.Swish{Alpha: 1}, nil, a)
					return true
				case op.Func == graph.Tanh && isUnary(in, graph.Softplus) && in.Inputs[0] == a && r.only(in):
					r.set(n, &graph.Unary{Func: graph.Mish}, nil, a)
					return true
				case op.Func == graph.Sigmoid && r.only(in):
					if s, t, ok := scalarAffine(in); ok && t == 0 && in.Inputs[0] == a {
						r.set(n, &graph.Swish{Alpha: s}, nil, a)
						return true
					}
				}
			}
		}
		a, b = b, a
	}
	return false
}

// scalarAffine returns scale and shift of an Affine of single numbers.
func scalarAffine(n *graph.Node) (scale, shift float64, ok bool) {
	if _, is := n.Op.(*graph.Affine); !is {
		return 0, 0, false
	}
	scale = 1
	for role, dst := range map[string]*float64{"weight": &scale, "bias": &shift} {
		if t := n.Params[role]; t != nil {
			if len(t.Data) != 1 {
				return 0, 0, false
			}
			*dst = float64(t.Data[0])
		}
	}
	return scale, shift, true
}

func close(a, b float64) bool { return math.Abs(a-b) <= 1e-5*math.Abs(b) }

// gelu finds k*x*(1+erf(x/sqrt(2))) with k = 1/2 in any of its places.
func (r *rewriter) gelu(n *graph.Node) bool {
	// The product may have the factor behind it.
	product, outer := n, 1.0
	if s, t, ok := scalarAffine(n); ok && t == 0 {
		product, outer = n.Inputs[0], s
		if !r.only(product) {
			return false
		}
	}
	a, b, ok := product2(product)
	if !ok {
		return false
	}
	for range 2 {
		if x, k, ok := r.erfPart(b); ok {
			k *= outer
			in := a
			if s, t, ok := scalarAffine(a); a != x && ok && t == 0 && r.only(a) {
				in, k = a.Inputs[0], k*s
			}
			if in == x && close(k, 0.5) {
				r.set(n, &graph.GELU{}, nil, x)
				return true
			}
		}
		a, b = b, a
	}
	return false
}

// erfPart matches k*(1+erf(x/sqrt(2))).
func (r *rewriter) erfPart(n *graph.Node) (x *graph.Node, k float64, ok bool) {
	k, shift, ok := scalarAffine(n)
	if !ok || !close(shift, k) || !r.only(n) {
		return nil, 0, false
	}
	erf := n.Inputs[0]
	if !isUnary(erf, graph.Erf) || !r.only(erf) {
		return nil, 0, false
	}
	in := erf.Inputs[0]
	s, t, ok := scalarAffine(in)
	if !ok || t != 0 || !close(s, math.Sqrt2/2) || !r.only(in) {
		return nil, 0, false
	}
	return in.Inputs[0], k, true
}

// layerNorm finds (x-mean)/sqrt(mean((x-mean)²)+eps) over the last axis, and
// takes up the numbers per feature behind it.
func (r *rewriter) layerNorm(n *graph.Node) bool {
	if x := n.Inputs; len(x) == 1 {
		if ln, ok := x[0].Op.(*graph.LayerNorm); ok && ln.Axes == 1 && r.only(x[0]) {
			return r.normScale(n, x[0])
		}
	}
	op, ok := n.Op.(*graph.Binary)
	if !ok || op.Func != graph.Div {
		return false
	}
	d, root := n.Inputs[0], n.Inputs[1]
	x, mean, ok := difference(d)
	if !ok || !lastMean(mean, x) || !isRoot(root) {
		return false
	}
	sum := root.Inputs[0]
	scale, eps, ok := scalarAffine(sum)
	if !ok || scale != 1 || eps <= 0 || eps > 1 {
		return false
	}
	variance := sum.Inputs[0]
	square := variance
	if rd, ok := variance.Op.(*graph.Reduce); !ok || rd.Func != graph.ReduceMean {
		return false
	}
	square = variance.Inputs[0]
	if !lastMean(variance, square) {
		return false
	}
	var base *graph.Node
	switch op := square.Op.(type) {
	case *graph.Power:
		if op.Exponent != 2 {
			return false
		}
		base = square.Inputs[0]
	case *graph.Binary:
		if op.Func != graph.Mul || square.Inputs[0] != square.Inputs[1] {
			return false
		}
		base = square.Inputs[0]
	default:
		return false
	}
	if x2, mean2, ok := difference(base); base != d && (!ok || x2 != x || !lastMean(mean2, x)) {
		return false
	}
	if !r.only(root) || !r.only(sum) || !r.only(variance) {
		return false
	}
	r.set(n, &graph.LayerNorm{Axes: 1, Eps: eps}, nil, x)
	return true
}

func difference(n *graph.Node) (a, b *graph.Node, ok bool) {
	op, is := n.Op.(*graph.Binary)
	if !is || op.Func != graph.Sub {
		return nil, nil, false
	}
	return n.Inputs[0], n.Inputs[1], true
}

// lastMean says whether n is the mean of x over the last axis, which stays as 1.
func lastMean(n, x *graph.Node) bool {
	op, ok := n.Op.(*graph.Reduce)
	return ok && op.Func == graph.ReduceMean && n.Inputs[0] == x && op.KeepDims && len(op.Axes) == 1 && op.Axes[0] == len(x.Shape)-1
}

func isRoot(n *graph.Node) bool {
	op, ok := n.Op.(*graph.Power)
	return isUnary(n, graph.Sqrt) || ok && op.Exponent == 0.5
}

// normScale puts scale and shift behind a LayerNorm into it.
func (r *rewriter) normScale(n, norm *graph.Node) bool {
	features := norm.Shape.Channels()
	scale, shift, ok := affineParams(n, features)
	if !ok {
		return false
	}
	weight, bias := slices.Repeat([]float64{1}, features), make([]float64, features)
	for role, dst := range map[string][]float64{"weight": weight, "bias": bias} {
		if t := norm.Params[role]; t != nil {
			for c, v := range t.Data {
				dst[c] = float64(v)
			}
		}
	}
	for c := range features {
		weight[c] *= scale[c]
		bias[c] = bias[c]*scale[c] + shift[c]
	}
	params := graph.Params{"weight": narrow(weight)}
	if norm.Params["bias"] != nil || n.Params["bias"] != nil {
		params["bias"] = narrow(bias)
	}
	r.set(n, norm.Op, params, norm.Inputs[0])
	return true
}

// attention finds softmax(scale*q*k' + mask)*v.
func (r *rewriter) attention(n *graph.Node) bool {
	op, ok := n.Op.(*graph.MatMul)
	if !ok || op.TransposeA || op.TransposeB {
		return false
	}
	soft, v := n.Inputs[0], n.Inputs[1]
	if _, ok := soft.Op.(*graph.Softmax); !ok || !r.only(soft) {
		return false
	}
	scores, scale := soft.Inputs[0], 1.0
	var mask *graph.Node
	if b, ok := scores.Op.(*graph.Binary); ok && b.Func == graph.BroadcastAdd && r.only(scores) && constantOf(scores.Inputs[1]) != nil {
		scores, mask = scores.Inputs[0], scores.Inputs[1]
	}
	if s, t, ok := scalarAffine(scores); ok && t == 0 && r.only(scores) {
		scores, scale = scores.Inputs[0], s
	}
	qk, ok := scores.Op.(*graph.MatMul)
	if !ok || qk.TransposeA || !qk.TransposeB || !r.only(scores) || mask != nil {
		return false
	}
	q, k := scores.Inputs[0], scores.Inputs[1]
	a := &graph.Attention{Heads: 1, KVHeads: 1, Scale: scale}
	if shape, err := a.InferShape([]graph.Shape{q.Shape, k.Shape, v.Shape}, nil); err != nil || !slices.Equal(shape, n.Shape) {
		return false
	}
	r.set(n, a, nil, q, k, v)
	return true
}

// heads takes the heads of an attention from an axis of their own back into the
// channels: [L, H*D] reshaped to [L, H, D] and transposed to [H, L, D], and the
// result back again, is what Attention does itself.
func (r *rewriter) heads(n *graph.Node) bool {
	if _, ok := n.Op.(*graph.Reshape); !ok || len(n.Shape) != 2 {
		return false
	}
	back := n.Inputs[0]
	att, ok := swapped(back)
	if !ok || !r.only(back) || !r.only(att) {
		return false
	}
	op, ok := att.Op.(*graph.Attention)
	if !ok || op.Heads != 1 || len(att.Inputs) != 3 || len(att.Shape) != 3 {
		return false
	}
	h := att.Shape[0]
	var inputs []*graph.Node
	for _, in := range att.Inputs {
		split, ok := swapped(in)
		if !ok {
			return false
		}
		if _, ok := split.Op.(*graph.Reshape); !ok {
			return false
		}
		x := split.Inputs[0]
		if len(x.Shape) != 2 || x.Shape[0] != split.Shape[0] || split.Shape[1] != h {
			return false
		}
		inputs = append(inputs, x)
	}
	merged := *op
	merged.Heads, merged.KVHeads = h, h
	shapes := []graph.Shape{inputs[0].Shape, inputs[1].Shape, inputs[2].Shape}
	if shape, err := merged.InferShape(shapes, nil); err != nil || !slices.Equal(shape, n.Shape) {
		return false
	}
	r.set(n, &merged, nil, inputs...)
	n.Name, att.Name = att.Name, n.Name
	return true
}

// selection makes a slice of the channels of a choice of one of the parts into
// which they were reshaped, such as query, key and value of one layer.
func (r *rewriter) selection(n *graph.Node) bool {
	op, ok := n.Op.(*graph.Gather)
	if !ok || len(op.IndexShape) != 0 || len(op.Indices) != 1 {
		return false
	}
	split := n.Inputs[0]
	if _, ok := split.Op.(*graph.Reshape); !ok {
		return false
	}
	x := split.Inputs[0]
	last := len(x.Shape) - 1
	if last < 1 || len(split.Shape) != last+2 || op.Axis != last || !slices.Equal(split.Shape[:last], x.Shape[:last]) {
		return false
	}
	size := split.Shape[last+1]
	s := &graph.Slice{Start: make(graph.Ints, last+1), Size: graph.Ints(slices.Clone(x.Shape)), Step: slices.Repeat(graph.Ints{1}, last+1)}
	s.Start[last], s.Size[last] = op.Indices[0]*size, size
	r.set(n, s, nil, x)
	return true
}

// swapped returns the input of a transposition of the first two of three axes.
func swapped(n *graph.Node) (*graph.Node, bool) {
	op, ok := n.Op.(*graph.Transpose)
	if !ok || !slices.Equal(op.Perm, graph.Ints{1, 0, 2}) {
		return nil, false
	}
	return n.Inputs[0], true
}
