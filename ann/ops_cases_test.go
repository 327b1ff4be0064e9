package ann

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// with makes a node of an operation and parameters of the given shapes.
func with(o graph.Op, params map[string][]int) func(*rand.Rand) (graph.Op, graph.Params) {
	return func(rng *rand.Rand) (graph.Op, graph.Params) {
		p := make(graph.Params)
		for _, role := range []string{"weight", "bias", "value"} {
			if s, ok := params[role]; ok {
				p[role] = normal(rng, 0.5, s...)
			}
		}
		return o, p
	}
}

// domain moves the inputs of a case away from where its operation has no
// gradient or none that differences can show.
func domain(kind string, xs []*tensor.Tensor) {
	positive := func(x *tensor.Tensor, least float64) {
		for i, v := range x.Data {
			x.Data[i] = float32(least + math.Abs(float64(v)))
		}
	}
	switch kind {
	case "log", "sqrt", "reciprocal", "power", "pow":
		positive(xs[0], 0.3)
	case "div":
		positive(xs[1], 0.5)
	case "mod", "fmod":
		positive(xs[1], 4)
	case "maximum", "minimum", "equal", "less", "less_equal":
		for i := range xs[1].Data {
			xs[1].Data[i] += 0.03 // between the values of the other input
		}
	}
}

type ints = graph.Ints

type shapesOf = []graph.Shape

type sizes = map[string][]int

func init() {
	unary := shapesOf{{3, 2, 4}}
	for _, kind := range graph.Kinds() {
		if o, ok := newOp(kind).(*graph.Unary); ok {
			opCases = append(opCases, opCase{kind, kind, unary, op(o)})
		}
		if o, ok := newOp(kind).(*graph.Binary); ok {
			opCases = append(opCases,
				opCase{kind, kind, shapesOf{{3, 2, 4}, {3, 2, 4}}, op(o)},
				opCase{kind + " per channel", kind, shapesOf{{3, 2, 4}, {4}}, op(o)},
				opCase{kind + " both repeat", kind, shapesOf{{3, 1, 2}, {1, 4, 2}}, op(o)},
				opCase{kind + " per position", kind, shapesOf{{3, 2, 1}, {3, 2, 4}}, op(o)})
		}
		if o, ok := newOp(kind).(*graph.Reduce); ok {
			for name, axes := range map[string]ints{" first": {0}, " last": {2}, " space": {0, 1}, " all": {0, 1, 2}, " middle": {1}, " outer": {0, 2}} {
				r := &graph.Reduce{Func: o.Func, Axes: axes, KeepDims: len(axes) == 2}
				opCases = append(opCases, opCase{kind + name, kind, shapesOf{{3, 2, 4}}, op(r)})
			}
		}
	}
	opCases = append(opCases, []opCase{
		{"conv over points", "conv2d", shapesOf{{9, 3}}, conv([2]int{2, 1}, graph.Pad{1, 0, 2, 0}, [2]int{2, 1}, 1, []int{3, 1, 3, 4}, true)},
		{"depthwise conv over points", "conv2d", shapesOf{{9, 4}}, conv([2]int{1, 1}, graph.Pad{1, 0, 1, 0}, [2]int{1, 1}, 4, []int{3, 1, 1, 4}, true)},
		{"transposed over points", "conv_transpose2d", shapesOf{{4, 3}}, transposed(graph.ConvTranspose2D{Stride: [2]int{2, 1}, Pad: graph.Pad{1, 0, 1, 0}, Dilation: [2]int{1, 1}, Groups: 1}, []int{4, 1, 3, 2}, true)},
		{"max pool of points", "maxpool2d", shapesOf{{9, 3}}, op(&graph.MaxPool2D{Kernel: [2]int{3, 1}, Stride: [2]int{2, 1}})},
		{"average pool of points", "avgpool2d", shapesOf{{9, 3}}, op(&graph.AvgPool2D{Kernel: [2]int{3, 1}, Stride: [2]int{2, 1}})},
		{"global pool of points", "global_avgpool", shapesOf{{9, 3}}, op(&graph.GlobalAvgPool{})},
		{"clip", "clip", unary, op(&graph.Clip{Min: -0.5, Max: 1})},
		{"clip from above", "clip", unary, op(&graph.Clip{Min: graph.Float(math.Inf(-1)), Max: 0.7})},
		{"elu", "elu", unary, op(&graph.ELU{Alpha: 0.7})},
		{"hard sigmoid", "hard_sigmoid", unary, op(&graph.HardSigmoid{Alpha: 0.2, Beta: 0.5})},
		{"swish", "swish", unary, op(&graph.Swish{Alpha: 1.3})},
		{"gelu", "gelu", unary, op(&graph.GELU{})},
		{"gelu by tanh", "gelu", unary, op(&graph.GELU{Tanh: true})},
		{"power", "power", unary, op(&graph.Power{Exponent: 1.7})},
		{"square", "power", unary, op(&graph.Power{Exponent: 2})},
		{"root", "power", unary, op(&graph.Power{Exponent: 0.5})},
		{"prelu per channel", "prelu", unary, with(&graph.PReLU{}, sizes{"weight": {4}})},
		{"prelu, one slope", "prelu", unary, with(&graph.PReLU{}, sizes{"weight": {1}})},
		{"prelu per row", "prelu", unary, with(&graph.PReLU{}, sizes{"weight": {3, 1, 1}})},
		{"where", "where", shapesOf{{3, 2, 1}, {4}, {3, 2, 4}}, op(&graph.Where{})},
		{"constant", "constant", nil, with(&graph.Constant{}, sizes{"weight": {2, 3}})},
		{"fixed constant", "constant", nil, with(&graph.Constant{}, sizes{"value": {2, 3}})},
		{"affine per channel", "affine", unary, with(&graph.Affine{}, sizes{"weight": {4}, "bias": {4}})},
		{"affine, scale of all", "affine", unary, with(&graph.Affine{}, sizes{"weight": {1}})},
		{"affine, full shift", "affine", unary, with(&graph.Affine{}, sizes{"bias": {3, 2, 4}})},
		{"affine mixed", "affine", unary, with(&graph.Affine{}, sizes{"weight": {3, 1, 1}, "bias": {1, 4}})},
		{"matmul", "matmul", shapesOf{{5, 3}, {3, 4}}, op(&graph.MatMul{})},
		{"matmul of batches", "matmul", shapesOf{{2, 5, 3}, {2, 3, 4}}, op(&graph.MatMul{})},
		{"matmul, all batches meet one", "matmul", shapesOf{{2, 2, 5, 3}, {3, 4}}, op(&graph.MatMul{})},
		{"matmul, batches repeat", "matmul", shapesOf{{2, 1, 5, 3}, {3, 3, 4}}, op(&graph.MatMul{})},
		{"matmul, first transposed", "matmul", shapesOf{{2, 3, 5}, {2, 3, 4}}, op(&graph.MatMul{TransposeA: true})},
		{"matmul, second transposed", "matmul", shapesOf{{2, 5, 3}, {2, 4, 3}}, op(&graph.MatMul{TransposeB: true})},
		{"matmul, both transposed", "matmul", shapesOf{{3, 5}, {4, 3}}, op(&graph.MatMul{TransposeA: true, TransposeB: true})},
		{"matmul of vectors", "matmul", shapesOf{{3}, {3}}, op(&graph.MatMul{})},
		{"matmul of a row", "matmul", shapesOf{{3}, {2, 3, 4}}, op(&graph.MatMul{})},
		{"matmul of a column", "matmul", shapesOf{{2, 4, 3}, {3}}, op(&graph.MatMul{})},
		{"attention", "attention", shapesOf{{5, 6}, {4, 6}, {4, 8}}, op(&graph.Attention{Heads: 2, KVHeads: 2, Scale: 0.5})},
		{"attention, heads as an axis", "attention", shapesOf{{2, 5, 3}, {2, 4, 3}, {2, 4, 2}}, op(&graph.Attention{Heads: 1, KVHeads: 1, Scale: 0.6})},
		{"attention, causal, shared keys, capped", "attention", shapesOf{{5, 8}, {5, 4}, {5, 6}}, op(&graph.Attention{Heads: 4, KVHeads: 2, Scale: 0.7, Causal: true, Softcap: 2})},
		{"attention with a mask", "attention", shapesOf{{2, 3, 4}, {2, 3, 4}, {2, 3, 4}, {2, 1, 3, 3}}, op(&graph.Attention{Heads: 2, KVHeads: 2, Scale: 0.7})},
		{"layer norm", "layernorm", shapesOf{{3, 6}}, with(&graph.LayerNorm{Axes: 1, Eps: 1e-5}, sizes{"weight": {6}, "bias": {6}})},
		{"layer norm over two axes", "layernorm", shapesOf{{3, 2, 4}}, with(&graph.LayerNorm{Axes: 2, Eps: 1e-3}, nil)},
		{"rms norm", "rmsnorm", shapesOf{{3, 6}}, with(&graph.RMSNorm{Axes: 1, Eps: 1e-5}, sizes{"weight": {6}})},
		{"group norm", "groupnorm", shapesOf{{3, 2, 6}}, with(&graph.GroupNorm{Groups: 3, Eps: 1e-5}, sizes{"weight": {6}, "bias": {6}})},
		{"group norm of a batch", "groupnorm", shapesOf{{2, 3, 2, 4}}, with(&graph.GroupNorm{Groups: 2, Eps: 1e-5, BatchAxes: 1}, nil)},
		{"instance norm", "groupnorm", shapesOf{{3, 2, 4}}, with(&graph.GroupNorm{Groups: 4, Eps: 1e-5}, sizes{"weight": {4}, "bias": {4}})},
		{"lrn", "lrn", shapesOf{{2, 2, 7}}, op(&graph.LRN{Size: 4, Alpha: 0.7, Beta: 0.75, Bias: 1.5})},
		{"softmax over the last axes", "softmax_axes", unary, op(&graph.SoftmaxAxes{Axes: ints{1, 2}})},
		{"softmax over the first", "softmax_axes", unary, op(&graph.SoftmaxAxes{Axes: ints{0}})},
		{"log softmax over two", "softmax_axes", unary, op(&graph.SoftmaxAxes{Axes: ints{0, 2}, Log: true})},
		{"argmax", "argmax", unary, op(&graph.ArgMax{Axis: 1, Last: true})},
		{"argmin", "argmax", unary, op(&graph.ArgMax{Axis: 2, KeepDims: true, Min: true})},
		{"topk", "topk", unary, op(&graph.TopK{Axis: 2, K: 2})},
		{"topk, smallest", "topk", unary, op(&graph.TopK{Axis: 0, K: 2, Smallest: true})},
		{"topk, indices", "topk", unary, op(&graph.TopK{Axis: 0, K: 3, Indices: true})},
		{"transpose", "transpose", unary, op(&graph.Transpose{Perm: ints{2, 0, 1}})},
		{"transpose of four", "transpose", shapesOf{{2, 3, 4, 2}}, op(&graph.Transpose{Perm: ints{1, 0, 2, 3}})},
		{"reshape", "reshape", unary, op(&graph.Reshape{Shape: ints{4, 1, 6}})},
		{"slice", "slice", unary, op(&graph.Slice{Start: ints{2, 0, 3}, Size: ints{2, 2, 2}, Step: ints{-1, 1, -3}})},
		{"slice of rows", "slice", unary, op(&graph.Slice{Start: ints{1, 0, 0}, Size: ints{2, 2, 4}, Step: ints{1, 1, 1}})},
		{"gather", "gather", unary, op(&graph.Gather{Axis: 2, Indices: ints{1, 3, 1, 0, 2, 2}, IndexShape: ints{2, 3}})},
		{"gather one", "gather", unary, op(&graph.Gather{Axis: 0, Indices: ints{1}})},
		{"pad", "pad", unary, op(&graph.PadAxes{Begin: ints{1, 0, 2}, End: ints{0, -1, 1}, Mode: "constant", Value: 3})},
		{"pad with reflection", "pad", shapesOf{{4, 5, 2}}, op(&graph.PadAxes{Begin: ints{3, 1, 0}, End: ints{2, 4, 0}, Mode: "reflect"})},
		{"pad with the edge", "pad", shapesOf{{4, 5, 2}}, op(&graph.PadAxes{Begin: ints{3, -1, 1}, End: ints{2, 4, 0}, Mode: "edge"})},
		{"pad around", "pad", shapesOf{{4, 3, 2}}, op(&graph.PadAxes{Begin: ints{3, 4, 0}, End: ints{2, 5, 1}, Mode: "wrap"})},
		{"expand", "expand", shapesOf{{3, 1, 2}}, op(&graph.Expand{Shape: ints{2, 3, 4, 2}})},
		{"tile", "tile", shapesOf{{3, 1, 2}}, op(&graph.Tile{Repeats: ints{1, 2, 3}})},
		{"concat of rows", "concat_axis", shapesOf{{1, 2, 4}, {3, 2, 4}}, op(&graph.ConcatAxis{Axis: 0})},
		{"depth to space", "depth_to_space", shapesOf{{2, 3, 8}}, op(&graph.DepthToSpace{Block: 2})},
		{"pixel shuffle", "depth_to_space", shapesOf{{2, 3, 8}}, op(&graph.DepthToSpace{Block: 2, ChannelFirst: true})},
		{"space to depth", "space_to_depth", shapesOf{{4, 6, 2}}, op(&graph.SpaceToDepth{Block: 2})},
		{"pixel unshuffle", "space_to_depth", shapesOf{{4, 6, 2}}, op(&graph.SpaceToDepth{Block: 2, ChannelFirst: true})},
		{"resize nearest", "resize", shapesOf{{3, 4, 2}}, op(&graph.Resize{Size: ints{7, 2, 2}, Scale: graph.Floats{7. / 3, 0.5, 1}, Mode: "nearest", Coordinate: "half_pixel", Nearest: "round_prefer_floor"})},
		{"resize linear", "resize", shapesOf{{3, 4, 2}}, op(&graph.Resize{Size: ints{7, 3, 2}, Scale: graph.Floats{7. / 3, 0.75, 1}, Mode: "linear", Coordinate: "half_pixel", Nearest: "floor"})},
		{"resize cubic", "resize", shapesOf{{4, 5, 2}}, op(&graph.Resize{Size: ints{7, 3, 2}, Scale: graph.Floats{7. / 4, 0.6, 1}, Mode: "cubic", Coordinate: "align_corners", Nearest: "floor", CubicA: -0.75})},
		{"resize cubic without outside", "resize", shapesOf{{4, 5, 2}}, op(&graph.Resize{Size: ints{7, 3, 2}, Scale: graph.Floats{7. / 4, 0.6, 1}, Mode: "cubic", Coordinate: "half_pixel_symmetric", Nearest: "floor", CubicA: -0.5, ExcludeOutside: true})},
		{"resize antialiased", "resize", shapesOf{{2, 9, 5}}, op(&graph.Resize{Size: ints{2, 3, 2}, Scale: graph.Floats{1, 1. / 3, 0.4}, Mode: "linear", Coordinate: "half_pixel", Nearest: "floor", Antialias: true})},
		{"conv of volumes", "conv_nd", shapesOf{{3, 4, 5, 4}}, with(&graph.ConvND{Stride: ints{1, 2, 1}, Pad: ints{1, 0, 1, 0, 1, 2}, Dilation: ints{1, 1, 2}, Groups: 2}, sizes{"weight": {2, 3, 2, 2, 6}, "bias": {6}})},
		{"conv of frames", "conv_nd", shapesOf{{2, 4, 5, 3}}, with(&graph.ConvND{Stride: ints{1, 2, 1}, Pad: ints{0, 1, 1, 0, 1, 1}, Dilation: ints{1, 1, 1}, Groups: 1}, sizes{"weight": {1, 3, 3, 3, 4}, "bias": {4}})},
		{"conv over one axis", "conv_nd", shapesOf{{6, 3}}, with(&graph.ConvND{Stride: ints{2}, Pad: ints{1, 0}, Dilation: ints{1}, Groups: 1}, sizes{"weight": {3, 3, 4}})},
		{"transposed conv of volumes", "conv_transpose_nd", shapesOf{{2, 3, 2, 4}}, with(&graph.ConvTransposeND{Stride: ints{2, 1, 3}, Pad: ints{0, 1, 1, 1, 0, 0}, OutputPad: ints{1, 2, 0}, Dilation: ints{1, 2, 1}, Groups: 2}, sizes{"weight": {2, 3, 2, 4, 3}, "bias": {6}})},
		{"max pool of volumes", "maxpool_nd", shapesOf{{3, 4, 5, 2}}, op(&graph.MaxPoolND{Kernel: ints{2, 2, 3}, Stride: ints{1, 2, 2}, Pad: ints{0, 1, 1, 1, 0, 1}, Dilation: ints{1, 2, 1}, CeilMode: true})},
		{"average pool of volumes", "avgpool_nd", shapesOf{{3, 4, 5, 2}}, op(&graph.AvgPoolND{Kernel: ints{2, 2, 3}, Stride: ints{1, 2, 2}, Pad: ints{0, 1, 1, 1, 0, 1}, Dilation: ints{1, 2, 1}})},
		{"average pool, padding counts in one axis", "avgpool_nd", shapesOf{{6, 2}}, op(&graph.AvgPoolND{Kernel: ints{3}, Stride: ints{2}, Pad: ints{1, 1}, Dilation: ints{1}, CeilMode: true, CountIncludePad: true})},
	}...)
}

// newOp makes an operation of a kind with functions by the JSON form, as only
// package graph has the registry.
func newOp(kind string) graph.Op {
	for _, f := range []graph.Op{&graph.Unary{Func: graph.UnaryFunc(kind)}, &graph.Binary{Func: graph.BinaryFunc(kind)},
		&graph.Reduce{Func: graph.ReduceFunc(kind), Axes: ints{0}}} {
		in := []graph.Shape{{2}, {2}}[:1]
		if _, two := f.(*graph.Binary); two {
			in = []graph.Shape{{2}, {2}}
		}
		if _, err := f.InferShape(in, nil); err == nil && slices.Contains(graph.Kinds(), kind) {
			return f
		}
	}
	return nil
}
