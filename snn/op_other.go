package snn

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// otherFunction is newFunction for the operations that importers bring. Except
// for those that move values and affine ones they work on real values: inputs are
// multiplied by their scales first, and the output has none.
func otherFunction(n *graph.Node, in [][]float32, out []float32) (function, error) {
	switch op := n.Op.(type) {
	case *graph.Constant:
		return constantFunction(n), nil
	case *graph.Affine:
		return affineFunction(n, in[0], out), nil
	case *graph.MaxPoolND: // maxima commute with scales, which are positive
		return maxPoolND(n, op), nil
	case *graph.Reduce:
		if op.Func == graph.ReduceMax && !reducesChannels(n, op) {
			return reduceFunction(n, op), nil
		}
	}
	if isIndex(n) {
		return newIndexMap(n).function(in), nil
	}
	fn := realFunction(n)
	if fn == nil {
		return nil, fmt.Errorf("node %q: a %s cannot run in a spiking network", n.Name, n.Kind())
	}
	return onReal(n, in, fn), nil
}

// otherScale is passedScale for the same operations.
func otherScale(n *graph.Node, in [][]float32) (scale []float32, ok bool) {
	switch op := n.Op.(type) {
	case *graph.MaxPoolND:
		return in[0], true
	case *graph.Reduce:
		if op.Func == graph.ReduceMax && !reducesChannels(n, op) {
			return in[0], true
		}
		return nil, true
	}
	if isIndex(n) {
		return newIndexMap(n).scale(in), true
	}
	return nil, realFunction(n) != nil
}

// reducesChannels says whether the last axis of a reduction's output is not the
// last axis of its input.
func reducesChannels(n *graph.Node, op *graph.Reduce) bool {
	return slices.Contains(op.Axes, len(n.Inputs[0].Shape)-1)
}

// onReal lets fn work on inputs in units of the activations.
func onReal(n *graph.Node, in [][]float32, fn function) function {
	factors := make([][]float32, len(in))
	any := false
	for i, s := range in {
		factors[i] = factor(s, nil, n.Inputs[i].Shape.Channels())
		any = any || factors[i] != nil
	}
	if !any {
		return fn
	}
	return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
		values := make([][]float32, len(x))
		for i, v := range x {
			if values[i] = v; factors[i] != nil {
				values[i] = make([]float32, len(v))
				scaleRows(values[i], v, factors[i])
			}
		}
		fn(p, k, values, y)
	}
}

// realFunction evaluates a node on real values, nil if there is no such function.
func realFunction(n *graph.Node) function {
	switch op := n.Op.(type) {
	case *graph.Binary:
		return binaryFunction(n, op)
	case *graph.MatMul:
		return matMulFunction(n, op)
	case *graph.Reduce:
		return reduceFunction(n, op)
	case *graph.Resize:
		if op.Mode == "linear" && !op.Antialias {
			return resizeFunction(n, op)
		}
		return nil
	case *graph.ConvND:
		return convND(n, op)
	case *graph.AvgPoolND:
		return avgPoolND(n, op)
	case *graph.PadAxes:
		return padFunction(n, op)
	case *graph.SoftmaxAxes:
		return softmaxFunction(n, op)
	case *graph.PReLU:
		slope := broadcastParam(n, "weight", 0)
		return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) {
			for i, v := range x[0] {
				if y[i] = v; v < 0 {
					y[i] = v * slope[i%len(slope)]
				}
			}
		}
	}
	if f := elementFunction(n.Op); f != nil {
		return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) {
			for i, v := range x[0] {
				y[i] = float32(f(float64(v)))
			}
		}
	}
	return nil
}

// binaryFunction is an elementwise function of two inputs.
func binaryFunction(n *graph.Node, op *graph.Binary) function {
	var f func(a, b float32) float32
	switch op.Func {
	case graph.BroadcastAdd:
		f = func(a, b float32) float32 { return a + b }
	case graph.Sub:
		f = func(a, b float32) float32 { return a - b }
	case graph.Mul:
		f = func(a, b float32) float32 { return a * b }
	case graph.Div:
		f = func(a, b float32) float32 { return a / b }
	case graph.Maximum:
		f = func(a, b float32) float32 { return max(a, b) }
	case graph.Minimum:
		f = func(a, b float32) float32 { return min(a, b) }
	case graph.Pow:
		f = func(a, b float32) float32 { return float32(math.Pow(float64(a), float64(b))) }
	default:
		return nil
	}
	size := n.Shape.Numel()
	a, b := n.Inputs[0].Shape, n.Inputs[1].Shape
	if slices.Equal(a, b) {
		return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) {
			for i := range y {
				y[i] = f(x[0][i], x[1][i])
			}
		}
	}
	ia, ib := broadcastIndex(n.Shape, a), broadcastIndex(n.Shape, b)
	na, nb := a.Numel(), b.Numel()
	return func(_ *parallel.Pool, k int, x [][]float32, y []float32) {
		for g := range k {
			xa, xb := x[0][g*na:], x[1][g*nb:]
			for i := range size {
				y[g*size+i] = f(xa[ia[i]], xb[ib[i]])
			}
		}
	}
}

// matMulFunction is the product of two matrices per sample, or of several.
func matMulFunction(n *graph.Node, op *graph.MatMul) function {
	sa, sb := n.Inputs[0].Shape, n.Inputs[1].Shape
	batch, m, k, cols, _ := op.Dims(sa, sb) // checked by InferShape
	lead := func(s graph.Shape) graph.Shape { return s[:max(len(s)-2, 0)] }
	items := batch.Numel()
	ia, ib := broadcastIndex(batch, lead(sa)), broadcastIndex(batch, lead(sb))
	na, nb, ny := sa.Numel(), sb.Numel(), n.Shape.Numel()
	aRow, aStep := k, 1
	if op.TransposeA {
		aRow, aStep = 1, m
	}
	return func(p *parallel.Pool, samples int, x [][]float32, y []float32) {
		p.For(samples*items*m, func(i int) {
			g, item, row := i/(items*m), i/m%items, i%m
			a := x[0][g*na+int(ia[item])*m*k+row*aRow:]
			b := x[1][g*nb+int(ib[item])*k*cols:]
			dst := y[g*ny+item*m*cols+row*cols:][:cols]
			if op.TransposeB {
				for j := range dst {
					sum := float32(0)
					for q, w := range b[j*k : (j+1)*k] {
						sum += float32(a[q*aStep] * w)
					}
					dst[j] = sum
				}
				return
			}
			clear(dst)
			for q := range k {
				v := a[q*aStep]
				if v == 0 {
					continue
				}
				for j, w := range b[q*cols : (q+1)*cols] {
					dst[j] += float32(v * w)
				}
			}
		})
	}
}

// reduceFunction joins values along axes; nil for functions it does not know.
func reduceFunction(n *graph.Node, op *graph.Reduce) function {
	in := n.Inputs[0].Shape
	kept := slices.Clone(in)
	for _, a := range op.Axes {
		kept[a] = 1
	}
	to := broadcastIndex(in, kept)
	size, out := in.Numel(), n.Shape.Numel()
	count := float64(size / out)
	var start float64
	var join func(a, v float64) float64
	finish := func(a float64) float64 { return a }
	add := func(a, v float64) float64 { return a + v }
	switch op.Func {
	case graph.ReduceSum:
		join = add
	case graph.ReduceMean:
		join, finish = add, func(a float64) float64 { return a / count }
	case graph.ReduceMax:
		start, join = math.Inf(-1), func(a, v float64) float64 { return max(a, v) }
	case graph.ReduceMin:
		start, join = math.Inf(1), func(a, v float64) float64 { return min(a, v) }
	case graph.ReduceL1:
		join = func(a, v float64) float64 { return a + math.Abs(v) }
	case graph.ReduceL2:
		join, finish = func(a, v float64) float64 { return a + float64(v*v) }, math.Sqrt
	case graph.ReduceSumSquare:
		join = func(a, v float64) float64 { return a + float64(v*v) }
	default:
		return nil
	}
	return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
		p.For(k, func(g int) {
			sums := make([]float64, out)
			for i := range sums {
				sums[i] = start
			}
			for i, v := range x[0][g*size : (g+1)*size] {
				sums[to[i]] = join(sums[to[i]], float64(v))
			}
			for i, v := range sums {
				y[g*out+i] = float32(finish(v))
			}
		})
	}
}

// softmaxFunction normalises exp(x) over some axes.
func softmaxFunction(n *graph.Node, op *graph.SoftmaxAxes) function {
	kept := slices.Clone(n.Shape)
	for _, a := range op.Axes {
		kept[a] = 1
	}
	to, groups, size := broadcastIndex(n.Shape, kept), kept.Numel(), n.Shape.Numel()
	return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
		p.For(k, func(g int) {
			from, dst := x[0][g*size:(g+1)*size], y[g*size:(g+1)*size]
			top, sum := make([]float64, groups), make([]float64, groups)
			for i := range top {
				top[i] = math.Inf(-1)
			}
			for i, v := range from {
				top[to[i]] = max(top[to[i]], float64(v))
			}
			for i, v := range from {
				sum[to[i]] += math.Exp(float64(v) - top[to[i]])
			}
			for i, v := range from {
				z := float64(v) - top[to[i]]
				if op.Log {
					dst[i] = float32(z - math.Log(sum[to[i]]))
				} else {
					dst[i] = float32(math.Exp(z) / sum[to[i]])
				}
			}
		})
	}
}

// padFunction pads with a constant.
func padFunction(n *graph.Node, op *graph.PadAxes) function {
	m := newIndexMap(n)
	return func(_ *parallel.Pool, k int, x [][]float32, y []float32) {
		move(m, y, x)
		for g := range k {
			at := g * m.out
			for _, r := range m.runs {
				if r.input < 0 {
					for i := range int(r.n) {
						y[at+i] = float32(op.Value)
					}
				}
				at += int(r.n)
			}
		}
	}
}

// elementFunction is an elementwise function of one number, nil if the operation
// is none.
func elementFunction(op graph.Op) func(x float64) float64 {
	logistic := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	softplus := func(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
	switch op := op.(type) {
	case *graph.Clip:
		return func(x float64) float64 { return min(max(x, float64(op.Min)), float64(op.Max)) }
	case *graph.ELU:
		return func(x float64) float64 {
			if x < 0 {
				return op.Alpha * math.Expm1(x)
			}
			return x
		}
	case *graph.HardSigmoid:
		return func(x float64) float64 { return min(max(float64(op.Alpha*x)+op.Beta, 0), 1) }
	case *graph.Swish:
		return func(x float64) float64 { return x * logistic(op.Alpha*x) }
	case *graph.GELU:
		if op.Tanh {
			return func(x float64) float64 {
				return x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+float64(0.044715*x*x*x)))) / 2
			}
		}
		return func(x float64) float64 { return x * (1 + math.Erf(x/math.Sqrt2)) / 2 }
	case *graph.Power:
		return func(x float64) float64 { return math.Pow(x, op.Exponent) }
	case *graph.Unary:
		switch op.Func {
		case graph.Sigmoid:
			return logistic
		case graph.Tanh:
			return math.Tanh
		case graph.Erf:
			return math.Erf
		case graph.Softplus:
			return softplus
		case graph.Softsign:
			return func(x float64) float64 { return x / (1 + math.Abs(x)) }
		case graph.HardSwish:
			return func(x float64) float64 { return x * min(max(x/6+0.5, 0), 1) }
		case graph.Mish:
			return func(x float64) float64 { return x * math.Tanh(softplus(x)) }
		case graph.Abs:
			return math.Abs
		case graph.Neg:
			return func(x float64) float64 { return -x }
		case graph.Exp:
			return math.Exp
		case graph.Log:
			return math.Log
		case graph.Sqrt:
			return math.Sqrt
		case graph.Reciprocal:
			return func(x float64) float64 { return 1 / x }
		case graph.Floor:
			return math.Floor
		case graph.Ceil:
			return math.Ceil
		case graph.Round:
			return math.RoundToEven
		case graph.Trunc:
			return math.Trunc
		}
	}
	return nil
}

// resizeFunction interpolates linearly along every axis whose length changes.
func resizeFunction(n *graph.Node, op *graph.Resize) function {
	type axis struct {
		inner, length, out int
		taps               [][2]resizeTap
	}
	var axes []axis
	now := slices.Clone(n.Inputs[0].Shape)
	for a, d := range n.Inputs[0].Shape {
		if op.Size[a] == d && op.Scale[a] == 1 {
			continue
		}
		x := axis{inner: now[a+1:].Numel(), length: d, out: op.Size[a]}
		for i := range op.Size[a] {
			x.taps = append(x.taps, linearTaps(op, d, a, i))
		}
		now[a] = op.Size[a]
		axes = append(axes, x)
	}
	return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) {
		from := x[0]
		for i, a := range axes {
			to := y
			if i < len(axes)-1 {
				to = make([]float32, len(from)/a.length*a.out)
			}
			for o := range len(to) / a.inner {
				src, dst := from[o/a.out*a.length*a.inner:], to[o*a.inner:(o+1)*a.inner]
				t := a.taps[o%a.out]
				kernel.Scale(dst, src[t[0].at*a.inner:][:a.inner], t[0].weight)
				if t[1].weight != 0 {
					for j, v := range src[t[1].at*a.inner:][:a.inner] {
						dst[j] += float32(v * t[1].weight)
					}
				}
			}
			from = to
		}
		if len(axes) == 0 {
			copy(y, from)
		}
	}
}

type resizeTap struct {
	at     int
	weight float32
}

// linearTaps are the two inputs between which result i of axis a lies.
func linearTaps(op *graph.Resize, in, a, i int) [2]resizeTap {
	x := min(max(op.At(in, a, i), 0), float32(in-1))
	lo := int(x)
	f := x - float32(lo)
	if lo+1 >= in {
		return [2]resizeTap{{lo, 1}, {lo, 0}}
	}
	return [2]resizeTap{{lo, 1 - f}, {lo + 1, f}}
}

// isReal says whether the node's output are sums or products of values of
// different channels, or other functions, so that it cannot count as spikes that
// were pooled or moved.
func isReal(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Binary, *graph.MatMul, *graph.Reduce, *graph.Resize, *graph.ConvND, *graph.AvgPoolND, *graph.PadAxes, *graph.Unary:
		return !isIndex(n)
	}
	return false
}
