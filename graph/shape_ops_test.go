package graph_test

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/adafire/adafire/graph"
)

type ints = graph.Ints

// unaryKinds, binaryKinds and reduceKinds are operations whose kind is a
// function's name.
var (
	unaryKinds = []graph.UnaryFunc{graph.Sigmoid, graph.Tanh, graph.Erf, graph.Softplus, graph.Softsign, graph.HardSwish, graph.Mish,
		graph.Abs, graph.Neg, graph.Exp, graph.Log, graph.Sqrt, graph.Reciprocal, graph.Sin, graph.Cos, graph.Floor, graph.Ceil,
		graph.Round, graph.Trunc, graph.Sign}
	binaryKinds = []graph.BinaryFunc{graph.BroadcastAdd, graph.Sub, graph.Mul, graph.Div, graph.Maximum, graph.Minimum, graph.Pow,
		graph.Mod, graph.Fmod, graph.Equal, graph.Less, graph.LessEqual}
	reduceKinds = []graph.ReduceFunc{graph.ReduceMean, graph.ReduceSum, graph.ReduceMax, graph.ReduceMin, graph.ReduceProd,
		graph.ReduceL1, graph.ReduceL2, graph.ReduceSumSquare, graph.ReduceLogSumExp}
)

func convND(change func(o *graph.ConvND)) *graph.ConvND {
	o := &graph.ConvND{Stride: ints{1, 1, 1}, Pad: make(ints, 6), Dilation: ints{1, 1, 1}, Groups: 1}
	if change != nil {
		change(o)
	}
	return o
}

func resize(change func(o *graph.Resize)) *graph.Resize {
	o := &graph.Resize{Size: ints{4, 9, 4}, Scale: graph.Floats{0.5, 1.5, 1}, Mode: "linear", Coordinate: "half_pixel", Nearest: "floor"}
	if change != nil {
		change(o)
	}
	return o
}

func init() {
	volume := shapes{{4, 5, 6, 2}}
	for _, f := range unaryKinds {
		shapeCases[string(f)] = same(&graph.Unary{Func: f})
	}
	for _, f := range binaryKinds {
		o := &graph.Binary{Func: f}
		shapeCases[string(f)] = []shapeCase{
			{op: o, in: shapes{{2, 3, 4}, {4}}, want: graph.Shape{2, 3, 4}},
			{op: o, in: shapes{{3, 1}, {5, 1, 4}}, want: graph.Shape{5, 3, 4}},
			{op: o, in: shapes{{2, 3}, {2}}, fail: "cannot be broadcast together"},
			{op: o, in: shapes{{2}}, fail: "1 inputs, want 2"},
			{op: o, in: shapes{{2}, {2}}, params: params{"weight": {2}}, fail: "unknown parameter"},
		}
	}
	for _, f := range reduceKinds {
		reduce := func(keep bool, axes ...int) *graph.Reduce { return &graph.Reduce{Func: f, Axes: axes, KeepDims: keep} }
		shapeCases[string(f)] = []shapeCase{
			{op: reduce(false, 0, 2), in: image, want: graph.Shape{6}},
			{op: reduce(true, 0, 1), in: image, want: graph.Shape{1, 1, 4}},
			{op: reduce(false, 0, 1, 2), in: image, want: graph.Shape{1}},
			{op: reduce(false, 1, 0), in: image, fail: "ascending order"},
			{op: reduce(false, 1, 1), in: image, fail: "each once"},
			{op: reduce(false, 3), in: image, fail: "axis 3: the input has 3 axes"},
			{op: reduce(false, -1), in: image, fail: "axis -1"},
			{op: reduce(false), in: image, fail: "no axes"},
			{op: reduce(false, 0), fail: "0 inputs"},
		}
	}
	perParameter := func(op graph.Op, required string) []shapeCase {
		return []shapeCase{
			{op: op, in: image, params: params{required: {4}}, want: image[0]},
			{op: op, in: image, params: params{required: {1}}, want: image[0]},
			{op: op, in: image, params: params{required: {8, 1, 1}}, want: image[0]},
			{op: op, in: image, params: params{required: {6}}, fail: "cannot be broadcast to [8 6 4]"},
			{op: op, in: image, params: params{required: {1, 8, 6, 4}}, fail: "cannot be broadcast"},
			{op: op, in: image, fail: "parameter"},
			{op: op, in: shapes{{4}, {4}}, params: params{required: {4}}, fail: "2 inputs"},
		}
	}
	lastAxes := func(make1 func(axes int, eps float64) graph.Op) []shapeCase {
		return []shapeCase{
			{op: make1(1, 1e-5), in: image, params: params{"weight": {4}}, want: image[0]},
			{op: make1(2, 0), in: image, want: image[0]},
			{op: make1(2, 1e-5), in: image, params: params{"weight": {4}}, fail: "want [6 4]"},
			{op: make1(4, 1e-5), in: image, fail: "4 last axes"},
			{op: make1(0, 1e-5), in: image, fail: "0 last axes"},
			{op: make1(1, -1), in: image, fail: "eps -1"},
			{op: make1(1, math.NaN()), in: image, fail: "eps NaN"},
		}
	}
	nan := graph.Float(math.NaN())
	for kind, cases := range map[string][]shapeCase{
		"clip": append(same(&graph.Clip{Min: -1, Max: graph.Float(math.Inf(1))}), shapeCase{op: &graph.Clip{Min: nan}, in: image, fail: "min NaN"}),
		"elu":  append(same(&graph.ELU{Alpha: 1}), shapeCase{op: &graph.ELU{Alpha: math.NaN()}, in: image, fail: "alpha NaN"}),
		"hard_sigmoid": append(same(&graph.HardSigmoid{Alpha: 0.2, Beta: 0.5}),
			shapeCase{op: &graph.HardSigmoid{Alpha: math.Inf(1)}, in: image, fail: "alpha +Inf"}, shapeCase{op: &graph.HardSigmoid{Beta: math.NaN()}, in: image, fail: "beta NaN"}),
		"swish": append(same(&graph.Swish{Alpha: 1}), shapeCase{op: &graph.Swish{Alpha: math.NaN()}, in: image, fail: "alpha NaN"}),
		"gelu":  same(&graph.GELU{Tanh: true}),
		"power": append(same(&graph.Power{Exponent: 2}), shapeCase{op: &graph.Power{Exponent: math.NaN()}, in: image, fail: "exponent NaN"}),
		"prelu": perParameter(&graph.PReLU{}, "weight"),
		"affine": append(perParameter(&graph.Affine{}, "bias"),
			shapeCase{op: &graph.Affine{}, in: image, params: params{"weight": {4}, "bias": {6, 1}}, want: image[0]},
			shapeCase{op: &graph.Affine{}, in: image, fail: "want weight, bias or both"}),
		"where": {
			{op: &graph.Where{}, in: shapes{{2, 1}, {3}, {1}}, want: graph.Shape{2, 3}},
			{op: &graph.Where{}, in: shapes{{2}, {3}, {1}}, fail: "broadcast together"},
			{op: &graph.Where{}, in: shapes{{2}, {2}}, fail: "2 inputs, want 3"},
		},
		"constant": {
			{op: &graph.Constant{}, params: params{"weight": {2, 3}}, want: graph.Shape{2, 3}},
			{op: &graph.Constant{}, params: params{"value": {1}}, want: graph.Shape{1}},
			{op: &graph.Constant{}, params: params{"value": {1}, "weight": {1}}, fail: "2 parameters"},
			{op: &graph.Constant{}, fail: "0 parameters"},
			{op: &graph.Constant{}, in: image, params: params{"value": {1}}, fail: "1 inputs, want 0"},
		},
		"matmul": {
			{op: &graph.MatMul{}, in: shapes{{2, 1, 5, 3}, {7, 3, 4}}, want: graph.Shape{2, 7, 5, 4}},
			{op: &graph.MatMul{}, in: shapes{{3}, {3, 4}}, want: graph.Shape{4}},
			{op: &graph.MatMul{}, in: shapes{{5, 3}, {3}}, want: graph.Shape{5}},
			{op: &graph.MatMul{}, in: shapes{{3}, {3}}, want: graph.Shape{1}},
			{op: &graph.MatMul{TransposeA: true, TransposeB: true}, in: shapes{{3, 5}, {4, 3}}, want: graph.Shape{5, 4}},
			{op: &graph.MatMul{}, in: shapes{{5, 3}, {4, 3}}, fail: "matrices [5 3] and [4 3] cannot be multiplied"},
			{op: &graph.MatMul{TransposeA: true}, in: shapes{{3}, {3, 4}}, fail: "a vector cannot be transposed"},
			{op: &graph.MatMul{}, in: shapes{{2, 5, 3}, {3, 3, 4}}, fail: "cannot be broadcast"},
			{op: &graph.MatMul{}, in: shapes{{5, 3}}, fail: "1 inputs"},
		},
		"attention": {
			{op: &graph.Attention{Heads: 4, KVHeads: 2, Scale: 1}, in: shapes{{5, 8}, {3, 4}, {3, 6}, {5, 1}}, want: graph.Shape{5, 12}},
			{op: &graph.Attention{Heads: 1, KVHeads: 1, Scale: 1}, in: shapes{{2, 5, 8}, {2, 3, 8}, {2, 3, 6}}, want: graph.Shape{2, 5, 6}},
			{op: &graph.Attention{Heads: 3, KVHeads: 2, Scale: 1}, in: shapes{{5, 6}, {3, 4}, {3, 6}}, fail: "3 heads cannot share 2"},
			{op: &graph.Attention{Heads: 2, KVHeads: 2, Scale: 1}, in: shapes{{5, 7}, {3, 7}, {3, 6}}, fail: "do not split"},
			{op: &graph.Attention{Heads: 1, KVHeads: 1, Scale: 1}, in: shapes{{5, 6}, {3, 6}, {4, 6}}, fail: "query, key and value of shapes"},
			{op: &graph.Attention{Heads: 1, KVHeads: 1, Scale: 1}, in: shapes{{5, 6}, {3, 6}, {3, 6}, {4, 3}}, fail: "mask of shape [4 3]"},
			{op: &graph.Attention{Heads: 1, KVHeads: 1, Scale: math.NaN()}, in: shapes{{5, 6}, {3, 6}, {3, 6}}, fail: "scale NaN"},
			{op: &graph.Attention{Heads: 1, KVHeads: 1, Softcap: -1}, in: shapes{{5, 6}, {3, 6}, {3, 6}}, fail: "softcap -1"},
			{op: &graph.Attention{Heads: 0, KVHeads: 1}, in: shapes{{5, 6}, {3, 6}, {3, 6}}, fail: "heads"},
			{op: &graph.Attention{Heads: 1, KVHeads: 1}, in: shapes{{5, 6}}, fail: "1 inputs"},
		},
		"layernorm": append(lastAxes(func(axes int, eps float64) graph.Op { return &graph.LayerNorm{Axes: axes, Eps: eps} }),
			shapeCase{op: &graph.LayerNorm{Axes: 1}, in: image, params: params{"bias": {3}}, fail: "bias has shape [3]"}),
		"rmsnorm": append(lastAxes(func(axes int, eps float64) graph.Op { return &graph.RMSNorm{Axes: axes, Eps: eps} }),
			shapeCase{op: &graph.RMSNorm{Axes: 1}, in: image, params: params{"bias": {4}}, fail: "unknown parameter"}),
		"groupnorm": {
			{op: &graph.GroupNorm{Groups: 2, Eps: 1e-5}, in: image, params: params{"weight": {4}, "bias": {4}}, want: image[0]},
			{op: &graph.GroupNorm{Groups: 4, BatchAxes: 1}, in: volume[:0:0], fail: "0 inputs"},
			{op: &graph.GroupNorm{Groups: 3}, in: image, fail: "4 channels do not split into 3 groups"},
			{op: &graph.GroupNorm{Groups: 0}, in: image, fail: "groups"},
			{op: &graph.GroupNorm{Groups: 1, BatchAxes: 3}, in: image, fail: "3 batch axes"},
			{op: &graph.GroupNorm{Groups: 1}, in: image, params: params{"bias": {2}}, fail: "bias has shape [2]"},
		},
		"lrn":          append(same(&graph.LRN{Size: 3, Alpha: 1, Beta: 0.75, Bias: 1}), shapeCase{op: &graph.LRN{Alpha: 1}, in: image, fail: "size"}, shapeCase{op: &graph.LRN{Size: 1, Beta: math.NaN()}, in: image, fail: "beta NaN"}),
		"softmax_axes": {{op: &graph.SoftmaxAxes{Axes: ints{0, 1}}, in: image, want: image[0]}, {op: &graph.SoftmaxAxes{Axes: ints{3}}, in: image, fail: "axis 3"}, {op: &graph.SoftmaxAxes{}, in: image, fail: "no axes"}},
		"argmax": {
			{op: &graph.ArgMax{Axis: 2}, in: image, want: graph.Shape{8, 6}},
			{op: &graph.ArgMax{Axis: 0, KeepDims: true}, in: image, want: graph.Shape{1, 6, 4}},
			{op: &graph.ArgMax{Axis: 0}, in: shapes{{4}}, want: graph.Shape{1}},
			{op: &graph.ArgMax{Axis: 3}, in: image, fail: "axis 3"},
		},
		"topk": {
			{op: &graph.TopK{Axis: 1, K: 6}, in: image, want: graph.Shape{8, 6, 4}},
			{op: &graph.TopK{Axis: 1, K: 7}, in: image, fail: "k 7: the axis has 6 values"},
			{op: &graph.TopK{Axis: 1}, in: image, fail: "k 0"},
			{op: &graph.TopK{Axis: -1, K: 1}, in: image, fail: "axis -1"},
		},
		"transpose": {
			{op: &graph.Transpose{Perm: ints{2, 0, 1}}, in: image, want: graph.Shape{4, 8, 6}},
			{op: &graph.Transpose{Perm: ints{1, 0}}, in: image, fail: "perm has 2 numbers, want 3"},
			{op: &graph.Transpose{Perm: ints{1, 1, 0}}, in: image, fail: "every axis 0 to 2 once"},
			{op: &graph.Transpose{Perm: ints{1, 3, 0}}, in: image, fail: "every axis 0 to 2 once"},
		},
		"reshape": {
			{op: &graph.Reshape{Shape: ints{2, 96}}, in: image, want: graph.Shape{2, 96}},
			{op: &graph.Reshape{Shape: ints{1, 1, 1, 1, 1, 1, 1, 192}}, in: image, want: graph.Shape{1, 1, 1, 1, 1, 1, 1, 192}},
			{op: &graph.Reshape{Shape: ints{191}}, in: image, fail: "holds 191 values, the input [8 6 4] has 192"},
			{op: &graph.Reshape{Shape: ints{-1, -192}}, in: image, fail: "want axes of 1 or more"},
			{op: &graph.Reshape{Shape: ints{1 << 40, 1 << 40}}, in: image, fail: "at most"},
			{op: &graph.Reshape{Shape: ints{1, 1, 1, 1, 1, 1, 1, 1, 192}}, in: image, fail: "9 axes"},
		},
		"slice": {
			{op: &graph.Slice{Start: ints{7, 0, 1}, Size: ints{4, 6, 2}, Step: ints{-2, 1, 2}}, in: image, want: graph.Shape{4, 6, 2}},
			{op: &graph.Slice{Start: ints{7, 0, 1}, Size: ints{5, 6, 2}, Step: ints{-2, 1, 2}}, in: image, fail: "end at -1"},
			{op: &graph.Slice{Start: ints{8, 0, 1}, Size: ints{1, 6, 2}, Step: ints{1, 1, 1}}, in: image, fail: "axis 0: 1 from 8"},
			{op: &graph.Slice{Start: ints{0, 0, 0}, Size: ints{2, 1, 1}, Step: ints{0, 0, 0}}, in: image, fail: "steps of 0"},
			{op: &graph.Slice{Start: ints{0, 0, 0}, Size: ints{2, 1, 1}, Step: ints{math.MaxInt, 0, 0}}, in: image, fail: "axis 0"},
			{op: &graph.Slice{Start: ints{0}, Size: ints{1}, Step: ints{1}}, in: image, fail: "start has 1 numbers, want 3"},
		},
		"gather": {
			{op: &graph.Gather{Axis: 1, Indices: ints{5, 5, 0, 1}, IndexShape: ints{2, 2}}, in: image, want: graph.Shape{8, 2, 2, 4}},
			{op: &graph.Gather{Axis: 1, Indices: ints{5}}, in: image, want: graph.Shape{8, 4}},
			{op: &graph.Gather{Axis: 0, Indices: ints{3}}, in: shapes{{4}}, want: graph.Shape{1}},
			{op: &graph.Gather{Axis: 1, Indices: ints{6}}, in: image, fail: "index 6: axis 1 has 6"},
			{op: &graph.Gather{Axis: 1, Indices: ints{-1}}, in: image, fail: "index -1"},
			{op: &graph.Gather{Axis: 1, Indices: ints{1}, IndexShape: ints{2}}, in: image, fail: "1 indices for index_shape [2]"},
			{op: &graph.Gather{Axis: 3, Indices: ints{1}}, in: image, fail: "axis 3"},
		},
		"pad": {
			{op: &graph.PadAxes{Begin: ints{1, 0, -1}, End: ints{2, 0, 3}, Mode: "constant", Value: nan}, in: image, want: graph.Shape{11, 6, 6}},
			{op: &graph.PadAxes{Begin: ints{9, 9, 9}, End: ints{0, 0, 0}, Mode: "reflect"}, in: image, want: graph.Shape{17, 15, 13}},
			{op: &graph.PadAxes{Begin: ints{0, 0, -2}, End: ints{0, 0, -2}, Mode: "edge"}, in: image, fail: "leave nothing of 4"},
			{op: &graph.PadAxes{Begin: ints{0, 0, -5}, End: ints{0, 0, 9}, Mode: "edge"}, in: image, fail: "leave nothing"},
			{op: &graph.PadAxes{Begin: ints{0, 0, 0}, End: ints{0, 0, 0}, Mode: "symmetric"}, in: image, fail: `mode "symmetric"`},
			{op: &graph.PadAxes{Begin: ints{0, 0}, End: ints{0, 0, 0}, Mode: "wrap"}, in: image, fail: "begin has 2 numbers"},
			{op: &graph.PadAxes{Begin: ints{1 << 30, 0, 0}, End: ints{0, 0, 0}, Mode: "wrap"}, in: image, fail: "pad"},
		},
		"expand": {
			{op: &graph.Expand{Shape: ints{2, 3, 4}}, in: shapes{{3, 1}}, want: graph.Shape{2, 3, 4}},
			{op: &graph.Expand{Shape: ints{3, 1}}, in: shapes{{3, 4}}, fail: "cannot be broadcast to [3 1]"},
			{op: &graph.Expand{Shape: ints{2, 0}}, in: shapes{{1}}, fail: "holds 0 values"},
		},
		"tile": {
			{op: &graph.Tile{Repeats: ints{1, 2, 3}}, in: image, want: graph.Shape{8, 12, 12}},
			{op: &graph.Tile{Repeats: ints{1, 2}}, in: image, fail: "repeats has 2 numbers"},
			{op: &graph.Tile{Repeats: ints{1, 0, 1}}, in: image, fail: "repeats"},
			{op: &graph.Tile{Repeats: ints{1 << 20, 1 << 20, 1}}, in: image, fail: "values, want 1 to"},
		},
		"concat_axis": {
			{op: &graph.ConcatAxis{Axis: 1}, in: shapes{{2, 3, 4}, {2, 1, 4}}, want: graph.Shape{2, 4, 4}},
			{op: &graph.ConcatAxis{Axis: 1}, in: shapes{{2, 3, 4}, {2, 3, 5}}, fail: "but for axis 1"},
			{op: &graph.ConcatAxis{Axis: 3}, in: shapes{{2, 3, 4}}, fail: "axis 3"},
			{op: &graph.ConcatAxis{}, fail: "no inputs"},
		},
		"depth_to_space": {
			{op: &graph.DepthToSpace{Block: 2}, in: image, want: graph.Shape{16, 12, 1}},
			{op: &graph.DepthToSpace{Block: 3}, in: image, fail: "4 channels do not split"},
			{op: &graph.DepthToSpace{}, in: image, fail: "block"},
			{op: &graph.DepthToSpace{Block: 2}, in: shapes{{8, 4}}, fail: "want [H W C]"},
		},
		"space_to_depth": {
			{op: &graph.SpaceToDepth{Block: 2, ChannelFirst: true}, in: image, want: graph.Shape{4, 3, 16}},
			{op: &graph.SpaceToDepth{Block: 3}, in: image, fail: "8 x 6 does not split"},
			{op: &graph.SpaceToDepth{Block: -1}, in: image, fail: "block"},
		},
		"resize": {
			{op: resize(nil), in: image, want: graph.Shape{4, 9, 4}},
			{op: resize(func(o *graph.Resize) { o.Scale[0] = 0 }), in: image, fail: "scale 0"},
			{op: resize(func(o *graph.Resize) { o.Scale = nil }), in: image, fail: "scale has 0 numbers"},
			{op: resize(func(o *graph.Resize) { o.Size[2] = 0 }), in: image, fail: "size"},
			{op: resize(func(o *graph.Resize) { o.Mode = "area" }), in: image, fail: `mode "area"`},
			{op: resize(func(o *graph.Resize) { o.Coordinate = "tf_crop_and_resize" }), in: image, fail: `coordinate "tf_crop_and_resize"`},
			{op: resize(func(o *graph.Resize) { o.Nearest = "" }), in: image, fail: `nearest ""`},
			{op: resize(func(o *graph.Resize) { o.CubicA = math.NaN() }), in: image, fail: "cubic_a NaN"},
		},
		"conv_nd": {
			{op: convND(func(o *graph.ConvND) { o.Stride, o.Pad, o.Groups = ints{1, 2, 1}, ints{1, 0, 0, 0, 1, 0}, 2 }), in: volume,
				params: params{"weight": {2, 3, 3, 1, 4}, "bias": {4}}, want: graph.Shape{4, 2, 4, 4}},
			{op: &graph.ConvND{Stride: ints{1}, Pad: ints{1, 1}, Dilation: ints{2}, Groups: 1}, in: shapes{{5, 2}}, params: params{"weight": {3, 2, 4}}, want: graph.Shape{3, 4}},
			{op: convND(nil), in: volume, params: params{"weight": {2, 3, 3, 3, 4}}, fail: "wants 3 input channels"},
			{op: convND(nil), in: image, params: params{"weight": {2, 3, 3, 2}}, fail: "stride has 3 numbers, want 2"},
			{op: convND(nil), in: volume, params: params{"weight": {5, 1, 1, 2, 4}}, fail: "window of 5 does not fit into 4+0"},
			{op: convND(nil), in: volume, params: params{"weight": {1, 1, 1, 2, 4}, "bias": {2}}, fail: "bias has shape"},
			{op: convND(nil), in: shapes{{1, 1, 1, 1, 1}}, params: params{"weight": {1, 1}}, fail: "one to three spatial axes"},
			{op: convND(nil), in: volume, fail: `"weight" is missing`},
		},
		"conv_transpose_nd": {
			{op: &graph.ConvTransposeND{Stride: ints{2, 1}, Pad: ints{1, 0, 0, 0}, OutputPad: ints{3, 0}, Dilation: ints{1, 2}, Groups: 2}, in: image,
				params: params{"weight": {3, 2, 4, 3}, "bias": {6}}, want: graph.Shape{19, 8, 6}},
			{op: &graph.ConvTransposeND{Stride: ints{1}, Pad: ints{9, 9}, OutputPad: ints{0}, Dilation: ints{1}, Groups: 1}, in: shapes{{8, 4}}, params: params{"weight": {3, 4, 3}}, fail: "would be -8 long"},
			{op: &graph.ConvTransposeND{Stride: ints{1}, Pad: ints{0, 0}, OutputPad: ints{}, Dilation: ints{1}, Groups: 1}, in: shapes{{8, 4}}, params: params{"weight": {3, 4, 3}}, fail: "output_pad has 0"},
			{op: &graph.ConvTransposeND{Stride: ints{1}, Pad: ints{0, 0}, OutputPad: ints{0}, Dilation: ints{1}, Groups: 3}, in: shapes{{8, 4}}, params: params{"weight": {3, 4, 3}}, fail: "does not fit 4 input channels"},
		},
		"maxpool_nd": {
			{op: &graph.MaxPoolND{Kernel: ints{2, 2}, Stride: ints{2, 2}, Pad: ints{1, 0, 0, 0}, Dilation: ints{2, 1}, CeilMode: true}, in: image, want: graph.Shape{4, 3, 4}},
			{op: &graph.MaxPoolND{Kernel: ints{2}, Stride: ints{1}, Pad: ints{2, 0}, Dilation: ints{1}}, in: shapes{{5, 1}}, fail: "window 0 lies in the padding"},
			{op: &graph.MaxPoolND{Kernel: ints{2}, Stride: ints{1}, Pad: ints{0, 3}, Dilation: ints{1}}, in: shapes{{5, 1}}, fail: "lies in the padding"},
			{op: &graph.MaxPoolND{Kernel: ints{2}, Stride: ints{1}, Pad: ints{0, 0}, Dilation: ints{6}}, in: shapes{{5, 1}}, fail: "window of 7 does not fit"},
			{op: &graph.MaxPoolND{Kernel: ints{2}, Stride: ints{1}, Pad: ints{0}, Dilation: ints{1}}, in: shapes{{5, 1}}, fail: "pad has 1 numbers, want 2"},
		},
		"avgpool_nd": {
			{op: &graph.AvgPoolND{Kernel: ints{2, 3, 2}, Stride: ints{2, 1, 2}, Pad: make(ints, 6), Dilation: ints{1, 2, 1}}, in: volume, want: graph.Shape{2, 1, 3, 2}},
			{op: &graph.AvgPoolND{Kernel: ints{0}, Stride: ints{1}, Pad: ints{0, 0}, Dilation: ints{1}}, in: shapes{{5, 1}}, fail: "kernel"},
			{op: &graph.AvgPoolND{Kernel: ints{1, 1, 1, 1}, Stride: ints{1}, Pad: ints{0, 0}, Dilation: ints{1}}, in: shapes{{5, 1, 1, 1, 1}}, fail: "spatial axes"},
		},
	} {
		shapeCases[kind] = cases
	}
	shapeCases["conv2d"] = append(shapeCases["conv2d"],
		shapeCase{op: conv2d(func(o *graph.Conv2D) { o.Stride, o.Pad = [2]int{2, 1}, graph.Pad{1, 0, 1, 0} }), in: shapes{{8, 4}}, params: params{"weight": {3, 1, 4, 7}}, want: graph.Shape{4, 7}},
		shapeCase{op: conv2d(func(o *graph.Conv2D) { o.Pad[1] = 1 }), in: shapes{{8, 4}}, params: params{"weight": {1, 1, 4, 7}}, fail: "would have 2 columns"})
	shapeCases["global_avgpool"] = append(shapeCases["global_avgpool"], shapeCase{op: &graph.GlobalAvgPool{}, in: shapes{{9, 4}}, want: graph.Shape{1, 4}})
}

// onnxOp makes an operation of a kind of this file on x, nil if it does not fit.
func onnxOp(kind string, x *graph.Node, rng *rand.Rand) (op graph.Op, p graph.Params, in []*graph.Node) {
	in = []*graph.Node{x}
	rank, c := len(x.Shape), x.Shape.Channels()
	all := func(v int) ints {
		s := make(ints, rank)
		for i := range s {
			s[i] = v
		}
		return s
	}
	one := func(n, v int) ints {
		s := make(ints, n)
		for i := range s {
			s[i] = v
		}
		return s
	}
	switch {
	case slices.Contains(unaryKinds, graph.UnaryFunc(kind)):
		return &graph.Unary{Func: graph.UnaryFunc(kind)}, nil, in
	case slices.Contains(binaryKinds, graph.BinaryFunc(kind)):
		return &graph.Binary{Func: graph.BinaryFunc(kind)}, nil, []*graph.Node{x, x}
	case slices.Contains(reduceKinds, graph.ReduceFunc(kind)):
		return &graph.Reduce{Func: graph.ReduceFunc(kind), Axes: ints{rng.IntN(rank)}, KeepDims: rng.IntN(2) == 0}, nil, in
	}
	spatial := rank - 1
	if spatial < 1 || spatial > 3 {
		spatial = 0
	}
	switch kind {
	case "clip":
		op = &graph.Clip{Min: graph.Float(math.Inf(-1)), Max: graph.Float(rng.Float64())}
	case "prelu":
		op, p = &graph.PReLU{}, graph.Params{"weight": noise(rng, c)}
	case "elu":
		op = &graph.ELU{Alpha: rng.Float64()}
	case "hard_sigmoid":
		op = &graph.HardSigmoid{Alpha: rng.Float64(), Beta: rng.Float64()}
	case "swish":
		op = &graph.Swish{Alpha: rng.Float64()}
	case "gelu":
		op = &graph.GELU{Tanh: rng.IntN(2) == 0}
	case "power":
		op = &graph.Power{Exponent: rng.Float64()}
	case "where":
		op, in = &graph.Where{}, []*graph.Node{x, x, x}
	case "constant":
		op, p, in = &graph.Constant{}, graph.Params{"value": noise(rng, 2, 3)}, nil
	case "affine":
		op, p = &graph.Affine{}, graph.Params{"weight": noise(rng, c), "bias": noise(rng, 1)}
	case "matmul":
		if rank > 1 {
			op, in = &graph.MatMul{TransposeB: true}, []*graph.Node{x, x}
		}
	case "attention":
		if rank > 1 {
			op, in = &graph.Attention{Heads: 1, KVHeads: 1, Scale: rng.Float64(), Causal: true}, []*graph.Node{x, x, x}
		}
	case "layernorm":
		op = &graph.LayerNorm{Axes: 1 + rng.IntN(rank), Eps: 1e-5}
	case "rmsnorm":
		op, p = &graph.RMSNorm{Axes: 1, Eps: 1e-5}, graph.Params{"weight": noise(rng, c)}
	case "groupnorm":
		op = &graph.GroupNorm{Groups: c, Eps: 1e-5}
	case "lrn":
		op = &graph.LRN{Size: 3, Alpha: rng.Float64(), Beta: 0.75, Bias: 1}
	case "softmax_axes":
		op = &graph.SoftmaxAxes{Axes: ints{rng.IntN(rank)}, Log: rng.IntN(2) == 0}
	case "argmax":
		op = &graph.ArgMax{Axis: rng.IntN(rank), KeepDims: rng.IntN(2) == 0, Last: true}
	case "topk":
		op = &graph.TopK{Axis: rng.IntN(rank), K: 1, Indices: true}
	case "transpose":
		op = &graph.Transpose{Perm: rng.Perm(rank)}
	case "reshape":
		op = &graph.Reshape{Shape: ints{1, x.Shape.Numel()}}
	case "slice":
		op = &graph.Slice{Start: all(0), Size: all(1), Step: all(-1)}
	case "gather":
		op = &graph.Gather{Axis: rng.IntN(rank), Indices: ints{0, 0}, IndexShape: ints{2}}
		if rng.IntN(2) == 0 {
			op = &graph.Gather{Axis: 0, Indices: ints{0}, IndexShape: ints{}}
		}
	case "pad":
		op = &graph.PadAxes{Begin: all(1), End: all(0), Mode: "constant", Value: graph.Float(math.Inf(1 - 2*rng.IntN(2)))}
	case "expand":
		op = &graph.Expand{Shape: append(ints{2}, x.Shape...)}
		if rank > 4 {
			op = nil
		}
	case "tile":
		op = &graph.Tile{Repeats: all(1)}
	case "concat_axis":
		op, in = &graph.ConcatAxis{Axis: rng.IntN(rank)}, []*graph.Node{x, x}
	case "depth_to_space":
		if rank == 3 && c%4 == 0 {
			op = &graph.DepthToSpace{Block: 2, ChannelFirst: rng.IntN(2) == 0}
		}
	case "space_to_depth":
		if rank == 3 {
			op = &graph.SpaceToDepth{Block: 1}
		}
	case "resize":
		op = &graph.Resize{Size: all(3), Scale: make(graph.Floats, rank), Mode: "cubic", Coordinate: "asymmetric", Nearest: "ceil", CubicA: -0.75, Antialias: true}
		for i, d := range x.Shape {
			op.(*graph.Resize).Scale[i] = 3 / float64(d)
		}
	case "conv_nd":
		if spatial > 0 {
			shape := append(one(spatial, 1), c, 3)
			op, p = &graph.ConvND{Stride: one(spatial, 2), Pad: one(2*spatial, 0), Dilation: one(spatial, 1), Groups: 1}, graph.Params{"weight": noise(rng, shape...)}
		}
	case "conv_transpose_nd":
		if spatial > 0 {
			shape := append(one(spatial, 2), c, 3)
			op, p = &graph.ConvTransposeND{Stride: one(spatial, 2), Pad: one(2*spatial, 0), OutputPad: one(spatial, 1), Dilation: one(spatial, 1), Groups: 1}, graph.Params{"weight": noise(rng, shape...)}
		}
	case "maxpool_nd":
		if spatial > 0 {
			op = &graph.MaxPoolND{Kernel: one(spatial, 1), Stride: one(spatial, 1), Pad: one(2*spatial, 0), Dilation: one(spatial, 3)}
		}
	case "avgpool_nd":
		if spatial > 0 {
			op = &graph.AvgPoolND{Kernel: one(spatial, 1), Stride: one(spatial, 1), Pad: one(2*spatial, 0), Dilation: one(spatial, 3), CountIncludePad: true}
		}
	}
	return op, p, in
}
