package ann

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// TestOperations compares with results worked out by hand or by numpy and
// PyTorch; inputs count up from 1 where none are given.
func TestOperations(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		name   string
		op     graph.Op
		shapes []graph.Shape
		values [][]float32 // of the inputs, or nil
		params graph.Params
		want   []float32
	}{
		{"round half to even", &graph.Unary{Func: graph.Round}, shapesOf{{6}}, [][]float32{{0.5, 1.5, 2.5, -0.5, -1.5, nan}}, nil, []float32{0, 2, 2, 0, -2, nan}},
		{"sign", &graph.Unary{Func: graph.Sign}, shapesOf{{4}}, [][]float32{{-3, 0, 5, nan}}, nil, []float32{-1, 0, 1, nan}},
		{"clip keeps NaN; max wins", &graph.Clip{Min: 2, Max: 1}, shapesOf{{3}}, [][]float32{{-inf, 5, nan}}, nil, []float32{1, 1, nan}},
		{"hard swish", &graph.Unary{Func: graph.HardSwish}, shapesOf{{4}}, [][]float32{{-4, -1, 1, 4}}, nil, []float32{0, -1. / 3, 2. / 3, 4}},
		{"softplus without overflow", &graph.Unary{Func: graph.Softplus}, shapesOf{{3}}, [][]float32{{-100, 0, 100}}, nil, []float32{0, math.Ln2, 100}},
		{"maximum of NaN", &graph.Binary{Func: graph.Maximum}, shapesOf{{3}, {3}}, [][]float32{{nan, 1, 3}, {0, nan, 2}}, nil, []float32{nan, nan, 3}},
		{"mod has the sign of the divisor", &graph.Binary{Func: graph.Mod}, shapesOf{{4}, {4}}, [][]float32{{-4, 7, -7, 4}, {3, -3, -3, 3}}, nil, []float32{2, -2, -1, 1}},
		{"fmod that of the dividend", &graph.Binary{Func: graph.Fmod}, shapesOf{{4}, {4}}, [][]float32{{-4, 7, -7, 4}, {3, -3, -3, 3}}, nil, []float32{-1, 1, -1, 1}},
		{"sub with repetition", &graph.Binary{Func: graph.Sub}, shapesOf{{2, 1}, {3}}, nil, nil, []float32{0, -1, -2, 1, 0, -1}},
		{"where", &graph.Where{}, shapesOf{{2}, {2}, {1}}, [][]float32{{0, 2}, {5, 6}, {9}}, nil, []float32{9, 6}},
		{"matmul", &graph.MatMul{}, shapesOf{{2, 2}, {2, 2}}, nil, nil, []float32{7, 10, 15, 22}},
		{"matmul, second transposed", &graph.MatMul{TransposeB: true}, shapesOf{{2, 2}, {2, 2}}, nil, nil, []float32{5, 11, 11, 25}},
		{"matmul, first transposed", &graph.MatMul{TransposeA: true}, shapesOf{{2, 2}, {2, 2}}, nil, nil, []float32{10, 14, 14, 20}},
		{"attention of one key", &graph.Attention{Heads: 1, KVHeads: 1, Scale: 1}, shapesOf{{2, 1}, {1, 1}, {1, 2}}, nil, nil, []float32{1, 2, 1, 2}},
		{"causal attention", &graph.Attention{Heads: 1, KVHeads: 1, Causal: true}, shapesOf{{2, 1}, {2, 1}, {2, 1}}, nil, nil, []float32{1, 1.5}},
		{"layer norm", &graph.LayerNorm{Axes: 1, Eps: 0}, shapesOf{{2}}, [][]float32{{1, 3}}, nil, []float32{-1, 1}},
		{"rms norm", &graph.RMSNorm{Axes: 1, Eps: 0}, shapesOf{{2}}, [][]float32{{3, 4}}, nil, []float32{0.848528, 1.131371}},
		{"instance norm", &graph.GroupNorm{Groups: 2, Eps: 0}, shapesOf{{2, 2}}, [][]float32{{1, 10, 3, 30}}, nil, []float32{-1, -1, 1, 1}},
		{"lrn", &graph.LRN{Size: 2, Alpha: 2, Beta: 1, Bias: 0}, shapesOf{{3}}, nil, nil, []float32{1. / 5, 2. / 13, 3. / 9}},
		{"log softmax over the first axis", &graph.SoftmaxAxes{Axes: ints{0}, Log: true}, shapesOf{{2, 2}}, [][]float32{{0, 5, 0, 5}}, nil, []float32{-math.Ln2, -math.Ln2, -math.Ln2, -math.Ln2}},
		{"mean over space", &graph.Reduce{Func: graph.ReduceMean, Axes: ints{0, 1}}, shapesOf{{2, 2, 2}}, nil, nil, []float32{4, 5}},
		{"product of the middle", &graph.Reduce{Func: graph.ReduceProd, Axes: ints{1}}, shapesOf{{2, 2, 2}}, nil, nil, []float32{3, 8, 35, 48}},
		{"l2", &graph.Reduce{Func: graph.ReduceL2, Axes: ints{0}}, shapesOf{{2}}, [][]float32{{3, -4}}, nil, []float32{5}},
		{"log-sum-exp without overflow", &graph.Reduce{Func: graph.ReduceLogSumExp, Axes: ints{0}}, shapesOf{{2}}, [][]float32{{1000, 1000}}, nil, []float32{1000 + math.Ln2}},
		{"argmax, first and last", &graph.ArgMax{Axis: 1}, shapesOf{{2, 3}}, [][]float32{{1, 2, 2, 3, 3, 0}}, nil, []float32{1, 0}},
		{"argmax, last", &graph.ArgMax{Axis: 1, Last: true}, shapesOf{{2, 3}}, [][]float32{{1, 2, 2, 3, 3, 0}}, nil, []float32{2, 1}},
		{"topk of ties", &graph.TopK{Axis: 0, K: 3, Indices: true}, shapesOf{{4}}, [][]float32{{1, 2, 2, 3}}, nil, []float32{3, 1, 2}},
		{"transpose", &graph.Transpose{Perm: ints{1, 0}}, shapesOf{{2, 3}}, nil, nil, []float32{1, 4, 2, 5, 3, 6}},
		{"slice backwards", &graph.Slice{Start: ints{4}, Size: ints{3}, Step: ints{-2}}, shapesOf{{5}}, nil, nil, []float32{5, 3, 1}},
		{"gather", &graph.Gather{Axis: 1, Indices: ints{2, 0}, IndexShape: ints{2}}, shapesOf{{2, 3}}, nil, nil, []float32{3, 1, 6, 4}},
		{"reflect", &graph.PadAxes{Begin: ints{3}, End: ints{4}, Mode: "reflect"}, shapesOf{{3}}, nil, nil, []float32{2, 3, 2, 1, 2, 3, 2, 1, 2, 3}},
		{"wrap", &graph.PadAxes{Begin: ints{2}, End: ints{1}, Mode: "wrap"}, shapesOf{{3}}, nil, nil, []float32{2, 3, 1, 2, 3, 1}},
		{"crop and fill", &graph.PadAxes{Begin: ints{-1}, End: ints{2}, Mode: "constant", Value: 9}, shapesOf{{3}}, nil, nil, []float32{2, 3, 9, 9}},
		{"crop, then the edge", &graph.PadAxes{Begin: ints{2}, End: ints{-1}, Mode: "edge"}, shapesOf{{3}}, nil, nil, []float32{1, 1, 1, 2}},
		{"tile", &graph.Tile{Repeats: ints{2, 2}}, shapesOf{{1, 2}}, nil, nil, []float32{1, 2, 1, 2, 1, 2, 1, 2}},
		{"depth to space, DCR", &graph.DepthToSpace{Block: 2}, shapesOf{{1, 1, 8}}, nil, nil, []float32{1, 2, 3, 4, 5, 6, 7, 8}},
		{"depth to space, CRD", &graph.DepthToSpace{Block: 2, ChannelFirst: true}, shapesOf{{1, 1, 8}}, nil, nil, []float32{1, 5, 2, 6, 3, 7, 4, 8}},
		{"space to depth", &graph.SpaceToDepth{Block: 2}, shapesOf{{2, 2, 2}}, nil, nil, []float32{1, 2, 3, 4, 5, 6, 7, 8}},
		{"nearest, ties down", &graph.Resize{Size: ints{2}, Scale: graph.Floats{0.5}, Mode: "nearest", Coordinate: "half_pixel", Nearest: "round_prefer_floor"}, shapesOf{{4}}, nil, nil, []float32{1, 3}},
		{"nearest, ties up", &graph.Resize{Size: ints{2}, Scale: graph.Floats{0.5}, Mode: "nearest", Coordinate: "half_pixel", Nearest: "round_prefer_ceil"}, shapesOf{{4}}, nil, nil, []float32{2, 4}},
		{"linear", &graph.Resize{Size: ints{4}, Scale: graph.Floats{2}, Mode: "linear", Coordinate: "half_pixel", Nearest: "floor"}, shapesOf{{2}}, nil, nil, []float32{1, 1.25, 1.75, 2}},
		{"linear, corners", &graph.Resize{Size: ints{3}, Scale: graph.Floats{1.5}, Mode: "linear", Coordinate: "align_corners", Nearest: "floor"}, shapesOf{{2}}, nil, nil, []float32{1, 1.5, 2}},
		// torch.nn.functional.interpolate(arange(1, 5), size=8, mode="bicubic") along one axis.
		{"cubic", &graph.Resize{Size: ints{8}, Scale: graph.Floats{2}, Mode: "cubic", Coordinate: "half_pixel", Nearest: "floor", CubicA: -0.75}, shapesOf{{4}}, nil, nil,
			[]float32{0.89453125, 1.19140625, 1.66796875, 2.296875, 2.703125, 3.33203125, 3.80859375, 4.10546875}},
		{"max pool with dilation", &graph.MaxPoolND{Kernel: ints{2}, Stride: ints{1}, Pad: ints{1, 1}, Dilation: ints{2}}, shapesOf{{4, 1}}, [][]float32{{-1, -2, -3, -4}}, nil, []float32{-2, -1, -2, -3}},
		{"average pool without padding", &graph.AvgPoolND{Kernel: ints{2}, Stride: ints{2}, Pad: ints{1, 1}, Dilation: ints{1}}, shapesOf{{4, 1}}, nil, nil, []float32{1, 2.5, 4}},
		{"average pool with padding", &graph.AvgPoolND{Kernel: ints{2}, Stride: ints{2}, Pad: ints{1, 1}, Dilation: ints{1}, CountIncludePad: true}, shapesOf{{4, 1}}, nil, nil, []float32{0.5, 2.5, 2}},
		{"conv over one axis", &graph.ConvND{Stride: ints{1}, Pad: ints{1, 0}, Dilation: ints{1}, Groups: 1}, shapesOf{{3, 1}}, nil,
			graph.Params{"weight": {Shape: []int{2, 1, 1}, Data: []float32{10, 1}}, "bias": {Shape: []int{1}, Data: []float32{100}}}, []float32{101, 112, 123}},
		{"transposed conv with any output padding", &graph.ConvTransposeND{Stride: ints{2}, Pad: ints{0, 0}, OutputPad: ints{2}, Dilation: ints{1}, Groups: 1}, shapesOf{{2, 1}}, nil,
			graph.Params{"weight": {Shape: []int{2, 1, 1}, Data: []float32{10, 1}}, "bias": {Shape: []int{1}, Data: []float32{100}}}, []float32{110, 101, 120, 102, 100, 100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graph.New()
			var ins []*graph.Node
			var xs []*tensor.Tensor
			for i, s := range c.shapes {
				ins = append(ins, g.Input(fmt.Sprint("x", i), s))
				x := tensor.New(batchShape(2, s)...) // both samples alike
				for k := range x.Data {
					x.Data[k] = float32(k%s.Numel() + 1)
					if c.values != nil {
						x.Data[k] = c.values[i][k%s.Numel()]
					}
				}
				xs = append(xs, x)
			}
			g.Outputs = []*graph.Node{g.Add("node", c.op, c.params, ins...)}
			ex, err := New(g, nil)
			if err != nil {
				t.Fatal(err)
			}
			ys, err := ex.ForwardAll(xs...)
			if err != nil {
				t.Fatal(err)
			}
			got := ys[0].Data
			want := append(slices.Clone(c.want), c.want...)
			if len(got) != len(want) {
				t.Fatalf("got %v, want %v", got, want)
			}
			for i := range got {
				same := got[i] != got[i] && want[i] != want[i]
				if d := math.Abs(float64(got[i] - want[i])); !same && !(d <= 1e-6*(1+math.Abs(float64(want[i])))) {
					t.Fatalf("got %v, want %v", got, want)
				}
			}
		})
	}
}

func TestForwardNamed(t *testing.T) {
	g := graph.New()
	a, b := g.Input("a", graph.Shape{2}), g.Input("b", graph.Shape{2})
	sum := g.Add("sum", &graph.Add{}, nil, a, b)
	g.Outputs = []*graph.Node{g.Add("product", &graph.Binary{Func: graph.Mul}, nil, a, b), sum}
	ex, err := New(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	x := &tensor.Tensor{Shape: []int{1, 2}, Data: []float32{2, 3}}
	ys, err := ex.ForwardNamed(map[string]*tensor.Tensor{"a": x, "b": x})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ys["sum"].Data, []float32{4, 6}) || !slices.Equal(ys["product"].Data, []float32{4, 9}) || len(ys) != 2 {
		t.Errorf("got %v", ys)
	}
	names, shapes := ex.Outputs()
	if !slices.Equal(names, []string{"product", "sum"}) || len(shapes) != 2 || shapes[1].Numel() != 2 {
		t.Errorf("got outputs %v %v", names, shapes)
	}
	for _, bad := range []map[string]*tensor.Tensor{{"a": x}, {"a": x, "b": x, "c": x}} {
		if _, err := ex.ForwardNamed(bad); !errors.Is(err, tensor.ErrShape) {
			t.Errorf("got error %v, want ErrShape", err)
		}
	}
}

// TestOperationsAreParallel wants the same bits for any number of workers, on
// inputs of more than one piece of work.
func TestOperationsAreParallel(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	for _, c := range []struct {
		op graph.Op
		in []graph.Shape
	}{
		{&graph.GELU{}, shapesOf{{50, 700}}},
		{&graph.Binary{Func: graph.Mul}, shapesOf{{60, 70, 9}, {60, 1, 9}}},
		{&graph.Transpose{Perm: ints{2, 0, 1}}, shapesOf{{60, 70, 9}}},
		{&graph.Reduce{Func: graph.ReduceMean, Axes: ints{0, 1}}, shapesOf{{60, 70, 600}}},
		{&graph.Attention{Heads: 3, KVHeads: 3, Scale: 0.3}, shapesOf{{250, 24}, {90, 24}, {90, 24}}},
		{&graph.MatMul{}, shapesOf{{6, 250, 24}, {6, 24, 90}}},
		{&graph.LayerNorm{Axes: 1, Eps: 1e-5}, shapesOf{{250, 100}}},
		{&graph.Resize{Size: ints{90, 80, 3}, Scale: graph.Floats{3, 4, 1}, Mode: "cubic", Coordinate: "half_pixel", Nearest: "floor", CubicA: -0.75}, shapesOf{{30, 20, 3}}},
		{&graph.TopK{Axis: 1, K: 5}, shapesOf{{300, 100}}},
	} {
		t.Run(c.op.Kind(), func(t *testing.T) {
			g := graph.New()
			var ins []*graph.Node
			var xs []*tensor.Tensor
			for i, s := range c.in {
				ins = append(ins, g.Input(fmt.Sprint("x", i), s))
				xs = append(xs, images(uint64(i), 2, s))
			}
			g.Outputs = []*graph.Node{g.Add("node", c.op, nil, ins...)}
			var results [2][]float32
			for i, p := range []*parallel.Pool{nil, pool} {
				ex, err := New(g, p)
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // scratch memory is used again
					ys, err := ex.ForwardAll(xs...)
					if err != nil {
						t.Fatal(err)
					}
					results[i] = ys[0].Data
				}
			}
			sameBits(t, results[1], results[0])
		})
	}
}

// TestOperationsAllocateOnlyTheOutput runs every operation until its scratch
// memory is there, and then allows closures only.
func TestOperationsAllocateOnlyTheOutput(t *testing.T) {
	if raceDetector {
		t.Skip("a sync.Pool forgets at random under the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collection empties the kernels' scratch pools
	for _, c := range opCases {
		g, xs := c.build(t, 4)
		ex, err := New(g, nil)
		if err != nil {
			t.Fatal(err)
		}
		run := func() {
			if _, err := ex.ForwardAll(xs...); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if n := testing.AllocsPerRun(20, run); n > 20 {
			t.Errorf("%s: %g allocations per call, want at most 20", c.name, n)
		}
	}
}
