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
)

// An opCase is a graph around one operation, for gradients, agreement of the
// executors, and determinism.
type opCase struct {
	name   string
	kind   string
	inputs []graph.Shape
	node   func(rng *rand.Rand) (graph.Op, graph.Params)
}

func op(o graph.Op) func(*rand.Rand) (graph.Op, graph.Params) {
	return func(*rand.Rand) (graph.Op, graph.Params) { return o, nil }
}

func normal(rng *rand.Rand, scale float64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data {
		t.Data[i] = float32(rng.NormFloat64() * scale)
	}
	return t
}

func positive(rng *rand.Rand, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data {
		t.Data[i] = float32(0.5 + rng.Float64())
	}
	return t
}

// spread returns distinct values with gaps of at least gap, none of them within
// gap/2 of 0, in random order: no kink of a rectifier or a maximum is near.
func spread(rng *rand.Rand, gap float64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	n := len(t.Data)
	for i, k := range rng.Perm(n) {
		t.Data[i] = float32((float64(k-n/2) + 0.5) * gap)
	}
	return t
}

func conv(stride [2]int, pad graph.Pad, dil [2]int, groups int, weight []int, bias bool) func(*rand.Rand) (graph.Op, graph.Params) {
	return func(rng *rand.Rand) (graph.Op, graph.Params) {
		p := graph.Params{"weight": normal(rng, 0.4, weight...)}
		if bias {
			p["bias"] = normal(rng, 1, weight[3])
		}
		return &graph.Conv2D{Stride: stride, Pad: pad, Dilation: dil, Groups: groups}, p
	}
}

func transposed(o graph.ConvTranspose2D, weight []int, bias bool) func(*rand.Rand) (graph.Op, graph.Params) {
	return func(rng *rand.Rand) (graph.Op, graph.Params) {
		p := graph.Params{"weight": normal(rng, 0.4, weight...)}
		if bias {
			p["bias"] = normal(rng, 1, weight[3]*o.Groups)
		}
		return &o, p
	}
}

func batchNorm(c int, affine bool) func(*rand.Rand) (graph.Op, graph.Params) {
	return func(rng *rand.Rand) (graph.Op, graph.Params) {
		p := graph.Params{"mean": normal(rng, 0.3, c), "var": positive(rng, c)}
		if affine {
			p["weight"], p["bias"] = positive(rng, c), normal(rng, 1, c)
		}
		return &graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, p
	}
}

var opCases = []opCase{
	{"input", "input", []graph.Shape{{3, 2, 4}}, op(&graph.Identity{})},
	{"conv 3x3", "conv2d", []graph.Shape{{5, 6, 3}}, conv([2]int{1, 1}, graph.Uniform(1, 1), [2]int{1, 1}, 1, []int{3, 3, 3, 4}, true)},
	{"conv stride 2, one-sided padding", "conv2d", []graph.Shape{{6, 5, 2}}, conv([2]int{2, 2}, graph.Pad{0, 0, 1, 1}, [2]int{1, 1}, 1, []int{3, 3, 2, 17}, false)},
	{"conv dilated, groups", "conv2d", []graph.Shape{{6, 7, 4}}, conv([2]int{2, 1}, graph.Pad{2, 0, 1, 3}, [2]int{2, 1}, 2, []int{3, 2, 2, 6}, true)},
	{"conv depthwise", "conv2d", []graph.Shape{{5, 5, 6}}, conv([2]int{2, 2}, graph.Uniform(1, 1), [2]int{1, 1}, 6, []int{3, 3, 1, 6}, false)},
	{"conv 1x1 stride 2", "conv2d", []graph.Shape{{5, 4, 3}}, conv([2]int{2, 2}, graph.Pad{}, [2]int{1, 1}, 1, []int{1, 1, 3, 5}, false)},
	{"conv of one row, 1x1", "conv2d", []graph.Shape{{1, 4, 3}}, conv([2]int{1, 1}, graph.Pad{}, [2]int{1, 1}, 1, []int{1, 1, 3, 5}, true)},
	{"conv by Winograd", "conv2d", []graph.Shape{{4, 6, 16}}, conv([2]int{1, 1}, graph.Uniform(1, 1), [2]int{1, 1}, 1, []int{3, 3, 16, 32}, true)},
	{"transposed by Winograd", "conv_transpose2d", []graph.Shape{{4, 4, 16}}, transposed(graph.ConvTranspose2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1}, []int{3, 3, 16, 16}, false)},
	{"transposed", "conv_transpose2d", []graph.Shape{{3, 4, 3}}, transposed(graph.ConvTranspose2D{Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1}, []int{4, 4, 3, 2}, true)},
	{"transposed, groups, output padding", "conv_transpose2d", []graph.Shape{{3, 2, 4}}, transposed(graph.ConvTranspose2D{Stride: [2]int{2, 3}, Pad: graph.Pad{1, 0, 1, 1}, OutputPad: [2]int{1, 2}, Dilation: [2]int{1, 1}, Groups: 2}, []int{3, 3, 4, 3}, false)},
	{"transposed, output padding beyond the stride", "conv_transpose2d", []graph.Shape{{3, 2, 2}}, transposed(graph.ConvTranspose2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(2, 1), OutputPad: [2]int{2, 1}, Dilation: [2]int{3, 2}, Groups: 1}, []int{3, 2, 2, 3}, true)},
	{"linear", "linear", []graph.Shape{{7}}, func(rng *rand.Rand) (graph.Op, graph.Params) {
		return &graph.Linear{}, graph.Params{"weight": normal(rng, 0.4, 7, 5), "bias": normal(rng, 1, 5)}
	}},
	{"linear on points", "linear", []graph.Shape{{4, 3}}, func(rng *rand.Rand) (graph.Op, graph.Params) {
		return &graph.Linear{}, graph.Params{"weight": normal(rng, 0.4, 3, 6)}
	}},
	{"batch norm", "batchnorm", []graph.Shape{{3, 2, 4}}, batchNorm(4, true)},
	{"batch norm of vectors, not affine", "batchnorm", []graph.Shape{{5}}, batchNorm(5, false)},
	{"relu", "relu", []graph.Shape{{3, 2, 4}}, op(&graph.ReLU{})},
	{"relu6", "relu6", []graph.Shape{{3, 3, 8}}, op(&graph.ReLU6{})},
	{"leaky relu", "leaky_relu", []graph.Shape{{3, 2, 4}}, op(&graph.LeakyReLU{Alpha: 0.1})},
	{"max pool", "maxpool2d", []graph.Shape{{5, 6, 3}}, op(&graph.MaxPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1), CeilMode: true})},
	{"average pool, padding counts", "avgpool2d", []graph.Shape{{5, 6, 3}}, op(&graph.AvgPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1), CeilMode: true, CountIncludePad: true})},
	{"average pool", "avgpool2d", []graph.Shape{{6, 5, 2}}, op(&graph.AvgPool2D{Kernel: [2]int{2, 3}, Stride: [2]int{2, 1}, Pad: graph.Pad{1, 1, 0, 1}})},
	{"global average pool", "global_avgpool", []graph.Shape{{3, 4, 5}}, op(&graph.GlobalAvgPool{})},
	{"global max pool", "global_maxpool", []graph.Shape{{3, 4, 5}}, op(&graph.GlobalMaxPool{})},
	{"add", "add", []graph.Shape{{3, 2, 4}, {3, 2, 4}, {3, 2, 4}}, op(&graph.Add{})},
	{"concat", "concat", []graph.Shape{{3, 2, 4}, {3, 2, 1}, {3, 2, 3}}, op(&graph.Concat{})},
	{"flatten", "flatten", []graph.Shape{{3, 2, 4}}, op(&graph.Flatten{})},
	{"upsample nearest", "upsample", []graph.Shape{{3, 4, 2}}, op(&graph.Upsample{Size: [2]int{7, 5}, Mode: "nearest"})},
	{"upsample bilinear", "upsample", []graph.Shape{{3, 4, 2}}, op(&graph.Upsample{Size: [2]int{7, 6}, Mode: "bilinear"})},
	{"upsample bilinear, corners", "upsample", []graph.Shape{{3, 4, 2}}, op(&graph.Upsample{Size: [2]int{7, 6}, Mode: "bilinear", AlignCorners: true})},
	{"softmax", "softmax", []graph.Shape{{2, 2, 5}}, op(&graph.Softmax{})},
	{"log softmax", "log_softmax", []graph.Shape{{2, 2, 5}}, op(&graph.LogSoftmax{})},
	{"identity", "identity", []graph.Shape{{3, 2, 4}}, op(&graph.Identity{})},
	{"dropout", "dropout", []graph.Shape{{3, 2, 4}}, op(&graph.Dropout{P: 0.4})},
}

// build returns the graph of a case and a batch of n samples for it.
func (c opCase) build(t testing.TB, n int) (*graph.Graph, []*tensor.Tensor) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(len(c.name))))
	g := graph.New()
	var ins []*graph.Node
	var xs []*tensor.Tensor
	for i, s := range c.inputs {
		ins = append(ins, g.Input(fmt.Sprintf("in%d", i), s))
		gap := min(0.06, max(0.01, 8/float64(n*s.Numel()))) // more than twice eps in TestGradients
		xs = append(xs, spread(rng, gap, batchShape(n, s)...))
	}
	domain(c.kind, xs)
	if len(ins) == 0 { // a graph has an input, and so a batch a size
		g.Input("unused", graph.Shape{1})
		xs = append(xs, spread(rng, 0.06, batchShape(n, graph.Shape{1})...))
	}
	o, p := c.node(rng)
	g.Outputs = []*graph.Node{g.Add("node", o, p, ins...)}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	return g, xs
}

func TestOpCasesCoverEveryKind(t *testing.T) {
	for _, kind := range graph.Kinds() {
		if !slices.ContainsFunc(opCases, func(c opCase) bool { return c.kind == kind }) {
			t.Errorf("no case for %q: add one to opCases", kind)
		}
	}
}

// objective is Σ y*r in float64, a scalar whose gradient at y is r.
func objective(y *tensor.Tensor, r []float32) float64 {
	var sum float64
	for i, v := range y.Data {
		sum += float64(v) * float64(r[i])
	}
	return sum
}

func TestGradients(t *testing.T) {
	const samples = 3
	for _, c := range opCases {
		eps := float32(1.0 / 256)
		switch c.kind {
		case "conv2d", "conv_transpose2d", "conv_nd", "conv_transpose_nd", "linear": // a wide step rounds less, and linear is linear
			eps = 0.5
		}
		for _, mode := range []Mode{Training, Evaluation} {
			t.Run(fmt.Sprintf("%s/mode %d", c.name, mode), func(t *testing.T) {
				g, xs := c.build(t, samples)
				net, err := NewNetwork(g, nil, NetworkOptions{Seed: 3, InputGrads: true})
				if err != nil {
					t.Fatal(err)
				}
				net.pass.frozen = true
				forward := func() *tensor.Tensor {
					t.Helper()
					net.Refresh()
					ys, err := net.Forward(mode, 5, xs...)
					if err != nil {
						t.Fatal(err)
					}
					return ys[0]
				}
				y := forward()
				rng := rand.New(rand.NewPCG(7, 7))
				r := normal(rng, 1, y.Shape...)
				if err := net.Backward(r.Clone()); err != nil {
					t.Fatal(err)
				}
				check := func(name string, value, grad []float32) {
					t.Helper()
					if grad == nil && c.inputs != nil {
						t.Fatalf("%s: no gradient", name)
					} else if grad == nil {
						return // nothing depends on the input
					}
					grad = slices.Clone(grad)
					largest := 0.0
					for _, v := range grad {
						largest = math.Max(largest, math.Abs(float64(v)))
					}
					for i := 0; i < len(value); i += 1 + len(value)/211 { // some of many
						old := value[i]
						value[i] = old + eps
						up := objective(forward(), r.Data)
						value[i] = old - eps
						down := objective(forward(), r.Data)
						value[i] = old
						want := (up - down) / (2 * float64(eps))
						if d := math.Abs(float64(grad[i]) - want); d > 4e-3*(largest+0.1) {
							t.Fatalf("%s[%d]: gradient %g, finite difference %g", name, i, grad[i], want)
						}
					}
				}
				var grads [][]float32
				for i := range xs {
					grads = append(grads, slices.Clone(net.InputGrad(i)))
				}
				var params [][]float32
				for _, p := range net.Params() {
					params = append(params, slices.Clone(p.Grad))
				}
				for i, x := range xs {
					check(fmt.Sprintf("input %d", i), x.Data, grads[i])
				}
				for i, p := range net.Params() {
					check(p.Name, p.Value.Data, params[i])
				}
			})
		}
	}
}

func TestExecutorAgreesWithNetwork(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	for _, c := range opCases {
		t.Run(c.name, func(t *testing.T) {
			g, xs := c.build(t, 5)
			ex, err := New(g, pool, Winograd()) // as training computes
			if err != nil {
				t.Fatal(err)
			}
			got, err := ex.ForwardAll(xs...)
			if err != nil {
				t.Fatal(err)
			}
			net, err := NewNetwork(g, nil, NetworkOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want, err := net.Forward(Evaluation, 0, xs...)
			if err != nil {
				t.Fatal(err)
			}
			sameBits(t, got[0].Data, want[0].Data)
		})
	}
}

func sameBits(t testing.TB, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d values, want %d", len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("value %d: got %g, want %g, bit for bit", i, got[i], want[i])
		}
	}
}
