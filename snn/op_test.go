package snn

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// operations are networks around the operations of imported graphs: what happens
// between two layers of neurons, from spikes [6, 4, 8] on.
var operations = map[string]func(b *grower, input, x *graph.Node) *graph.Node{
	"max pool of currents": func(b *grower, _, x *graph.Node) *graph.Node {
		p := b.add(&graph.MaxPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1)}, nil, b.conv(x, 3, 4, 1, 1, true))
		return b.conv(p, 3, 5, 1, 1, true)
	},
	"global max pool of averages": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.linear(b.add(&graph.GlobalMaxPool{}, nil, b.add(&graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, x)), 5)
	},
	"max pool of bilinear": func(b *grower, _, x *graph.Node) *graph.Node {
		u := b.add(&graph.Upsample{Size: [2]int{7, 5}, Mode: "bilinear"}, nil, x)
		return b.conv(b.add(&graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, u), 3, 4, 1, 1, true)
	},
	"max pool nd": func(b *grower, _, x *graph.Node) *graph.Node {
		op := &graph.MaxPoolND{Kernel: graph.Ints{2, 2}, Stride: graph.Ints{1, 1}, Pad: graph.Ints{1, 0, 1, 0}, Dilation: graph.Ints{2, 1}}
		return b.conv(b.add(op, nil, x), 3, 4, 1, 1, true)
	},
	"average pool nd": func(b *grower, _, x *graph.Node) *graph.Node {
		op := &graph.AvgPoolND{Kernel: graph.Ints{2, 2}, Stride: graph.Ints{1, 1}, Pad: graph.Ints{1, 0, 1, 0}, Dilation: graph.Ints{2, 1}}
		return b.conv(b.add(op, nil, x), 3, 4, 1, 1, true)
	},
	"convolution nd": func(b *grower, _, x *graph.Node) *graph.Node {
		r := b.add(&graph.Reshape{Shape: graph.Ints{3, 2, 4, 8}}, nil, x)
		op := &graph.ConvND{Stride: graph.Ints{1, 1, 2}, Pad: graph.Ints{1, 0, 1, 0, 0, 1}, Dilation: graph.Ints{1, 1, 1}, Groups: 2}
		return b.add(op, graph.Params{"weight": b.tensor(0.5, 2, 2, 3, 4, 6), "bias": b.tensor(0.5, 6)}, r)
	},
	"reshape": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.linear(b.add(&graph.Reshape{Shape: graph.Ints{24, 8}}, nil, x), 5)
	},
	"reshape that mixes channels": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.linear(b.add(&graph.Reshape{Shape: graph.Ints{16, 12}}, nil, x), 5)
	},
	"transpose": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.Transpose{Perm: graph.Ints{1, 0, 2}}, nil, x), 3, 5, 1, 1, true)
	},
	"transpose of channels": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.Transpose{Perm: graph.Ints{2, 1, 0}}, nil, x), 3, 5, 1, 1, true)
	},
	"slices of channels": func(b *grower, _, x *graph.Node) *graph.Node {
		one := b.add(&graph.Slice{Start: graph.Ints{0, 0, 0}, Size: graph.Ints{6, 4, 3}, Step: graph.Ints{1, 1, 1}}, nil, x)
		two := b.add(&graph.Slice{Start: graph.Ints{0, 0, 7}, Size: graph.Ints{6, 4, 5}, Step: graph.Ints{1, 1, -1}}, nil, x)
		return b.add(&graph.Add{}, nil, b.conv(one, 3, 5, 1, 1, true), b.conv(two, 1, 5, 1, 1, true))
	},
	"slice of space": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.Slice{Start: graph.Ints{1, 3, 0}, Size: graph.Ints{3, 2, 8}, Step: graph.Ints{2, -2, 1}}, nil, x), 3, 5, 1, 1, true)
	},
	"gather": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.Gather{Axis: 2, Indices: graph.Ints{3, 3, 0}, IndexShape: graph.Ints{3}}, nil, x), 3, 5, 1, 1, true)
	},
	"gather one": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.linear(b.add(&graph.Gather{Axis: 0, Indices: graph.Ints{2}, IndexShape: graph.Ints{}}, nil, x), 5)
	},
	"pad with zeros": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.PadAxes{Begin: graph.Ints{1, -1, 2}, End: graph.Ints{2, 1, 0}, Mode: "constant"}, nil, x), 3, 5, 1, 1, true)
	},
	"pad with a value": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.PadAxes{Begin: graph.Ints{1, 0, 0}, End: graph.Ints{0, 1, 0}, Mode: "constant", Value: 0.5}, nil, x), 3, 5, 1, 1, true)
	},
	"pad by reflection": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.PadAxes{Begin: graph.Ints{1, 1, 0}, End: graph.Ints{2, 1, 0}, Mode: "reflect"}, nil, x), 3, 5, 1, 1, true)
	},
	"concat of rows": func(b *grower, _, x *graph.Node) *graph.Node {
		y := b.relu(b.conv(x, 1, 8, 1, 1, true))
		return b.conv(b.add(&graph.ConcatAxis{Axis: 0}, nil, x, y), 3, 5, 1, 1, true)
	},
	"concat of channels, flattened, reshaped": func(b *grower, _, x *graph.Node) *graph.Node {
		y := b.relu(b.conv(x, 1, 4, 1, 1, true))
		f := b.add(&graph.Flatten{}, nil, b.add(&graph.Concat{}, nil, x, y))
		s := b.add(&graph.Slice{Start: graph.Ints{5}, Size: graph.Ints{20}, Step: graph.Ints{3}}, nil, f)
		return b.linear(s, 5)
	},
	"tile": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.Tile{Repeats: graph.Ints{1, 2, 2}}, nil, x), 3, 5, 1, 1, true)
	},
	"expand": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.Expand{Shape: graph.Ints{3, 2, 8}}, nil, b.add(&graph.GlobalMaxPool{}, nil, x)), 3, 5, 1, 1, true)
	},
	"depth to space": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.DepthToSpace{Block: 2, ChannelFirst: b.rng.IntN(2) == 0}, nil, x), 3, 5, 1, 1, true)
	},
	"space to depth": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.SpaceToDepth{Block: 2, ChannelFirst: b.rng.IntN(2) == 0}, nil, x), 3, 5, 1, 1, true)
	},
	"nearest": func(b *grower, _, x *graph.Node) *graph.Node {
		op := &graph.Resize{Size: graph.Ints{9, 8, 8}, Scale: graph.Floats{1.5, 2, 1}, Mode: "nearest", Coordinate: "half_pixel", Nearest: "round_prefer_floor"}
		return b.conv(b.add(op, nil, x), 3, 5, 1, 1, true)
	},
	"linear resize": func(b *grower, _, x *graph.Node) *graph.Node {
		op := &graph.Resize{Size: graph.Ints{9, 8, 8}, Scale: graph.Floats{1.5, 2, 1}, Mode: "linear", Coordinate: "half_pixel", Nearest: "floor"}
		return b.conv(b.add(op, nil, x), 3, 5, 1, 1, true)
	},
	"affine": func(b *grower, _, x *graph.Node) *graph.Node {
		y := b.add(&graph.Affine{}, graph.Params{"weight": b.tensor(1, 8), "bias": b.tensor(0.5, 1)}, x)
		y = b.add(&graph.Affine{}, graph.Params{"weight": b.tensor(1, 6, 4, 8)}, b.conv(y, 3, 8, 1, 1, true))
		return b.add(&graph.Affine{}, graph.Params{"bias": b.tensor(0.5, 8)}, y)
	},
	"difference and constant": func(b *grower, _, x *graph.Node) *graph.Node {
		c := b.add(&graph.Constant{}, graph.Params{"value": b.tensor(0.5, 4, 1)})
		d := b.add(&graph.Binary{Func: graph.Sub}, nil, x, b.conv(x, 3, 8, 1, 1, true))
		d = b.add(&graph.Binary{Func: graph.BroadcastAdd}, nil, c, d)
		return b.conv(b.add(&graph.Unary{Func: graph.Neg}, nil, d), 3, 5, 1, 1, false)
	},
	"times and through a constant": func(b *grower, input, x *graph.Node) *graph.Node {
		c := b.add(&graph.Constant{}, graph.Params{"value": b.tensor(1, 8)})
		two := &tensor.Tensor{Shape: []int{1}, Data: []float32{2}}
		half := b.add(&graph.Binary{Func: graph.Div}, nil, x, b.add(&graph.Constant{}, graph.Params{"value": two}))
		return b.conv(b.add(&graph.Binary{Func: graph.Mul}, nil, c, half), 3, 5, 1, 1, true)
	},
	"gate of the input": func(b *grower, input, x *graph.Node) *graph.Node {
		gate := b.add(&graph.Unary{Func: graph.Sigmoid}, nil, b.conv(input, 1, 8, 1, 1, true))
		return b.conv(b.add(&graph.Binary{Func: graph.Mul}, nil, x, gate), 3, 5, 1, 1, true)
	},
	"product": func(b *grower, _, x *graph.Node) *graph.Node {
		y := b.add(&graph.GlobalAvgPool{}, nil, b.relu(b.conv(x, 1, 8, 1, 1, true)))
		return b.conv(b.add(&graph.Binary{Func: graph.Mul}, nil, x, y), 3, 5, 1, 1, true)
	},
	"matrix product": func(b *grower, _, x *graph.Node) *graph.Node {
		a := b.add(&graph.Reshape{Shape: graph.Ints{24, 8}}, nil, x)
		t := b.add(&graph.Reshape{Shape: graph.Ints{8, 4}}, nil, b.linear(b.add(&graph.Flatten{}, nil, b.add(&graph.GlobalMaxPool{}, nil, x)), 32))
		return b.linear(b.add(&graph.MatMul{}, nil, a, t), 5)
	},
	"transposed matrix product": func(b *grower, _, x *graph.Node) *graph.Node {
		a := b.add(&graph.Transpose{Perm: graph.Ints{1, 0, 2}}, nil, x)
		q := b.conv(a, 1, 5, 1, 1, true)
		return b.add(&graph.MatMul{TransposeB: true}, nil, q, b.conv(a, 1, 5, 1, 1, true))
	},
	"reductions": func(b *grower, _, x *graph.Node) *graph.Node {
		m := b.add(&graph.Reduce{Func: graph.ReduceMax, Axes: graph.Ints{0}}, nil, x)
		s := b.add(&graph.Reduce{Func: graph.ReduceMean, Axes: graph.Ints{0}, KeepDims: true}, nil, x)
		s = b.add(&graph.Reshape{Shape: graph.Ints{4, 8}}, nil, s)
		return b.linear(b.add(&graph.Add{}, nil, m, s), 5)
	},
	"reductions of channels": func(b *grower, _, x *graph.Node) *graph.Node {
		m := b.add(&graph.Reduce{Func: graph.ReduceMax, Axes: graph.Ints{2}, KeepDims: true}, nil, x)
		s := b.add(&graph.Reduce{Func: graph.ReduceSum, Axes: graph.Ints{2}, KeepDims: true}, nil, x)
		return b.conv(b.add(&graph.Concat{}, nil, m, s), 3, 5, 1, 1, true)
	},
	"limited": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.conv(b.add(&graph.Clip{Min: 0, Max: 1e6}, nil, b.conv(x, 3, 4, 1, 1, true)), 3, 4, 1, 1, true)
	},
	"points": func(b *grower, _, x *graph.Node) *graph.Node {
		p := b.add(&graph.Reshape{Shape: graph.Ints{24, 8}}, nil, x)
		p = b.add(&graph.Conv2D{Stride: [2]int{1, 1}, Pad: graph.Pad{1, 0, 1, 0}, Dilation: [2]int{1, 1}, Groups: 1}, graph.Params{"weight": b.tensor(0.5, 3, 1, 8, 6)}, p)
		return b.add(&graph.GlobalMaxPool{}, nil, p)
	},
}

// tails are what comes behind the last neurons, from x of any shape.
var operationTails = []func(b *grower, x *graph.Node) *graph.Node{
	func(b *grower, x *graph.Node) *graph.Node { return b.linear(b.add(&graph.Flatten{}, nil, x), 4) },
	func(b *grower, x *graph.Node) *graph.Node {
		return b.add(&graph.Unary{Func: graph.Sigmoid}, nil, b.linear(b.add(&graph.Flatten{}, nil, x), 4))
	},
	func(b *grower, x *graph.Node) *graph.Node {
		y := b.linear(b.add(&graph.Flatten{}, nil, x), 6)
		y = b.add(&graph.Reshape{Shape: graph.Ints{2, 3}}, nil, b.add(&graph.GELU{}, nil, y))
		return b.add(&graph.SoftmaxAxes{Axes: graph.Ints{0}}, nil, y)
	},
	func(b *grower, x *graph.Node) *graph.Node { // maxima and products of means
		y := b.linear(b.add(&graph.Flatten{}, nil, x), 6)
		m := b.add(&graph.Reduce{Func: graph.ReduceMax, Axes: graph.Ints{0}}, nil, y)
		return b.add(&graph.Binary{Func: graph.Mul}, nil, y, m)
	},
	func(b *grower, x *graph.Node) *graph.Node { // the last operation, in every timestep
		n := x.Shape.Channels()
		start, size, step := make(graph.Ints, len(x.Shape)), graph.Ints(slices.Clone(x.Shape)), make(graph.Ints, len(x.Shape))
		for i := range step {
			step[i] = 1
		}
		start[len(start)-1], size[len(size)-1] = n/2, n-n/2
		return b.add(&graph.Slice{Start: start, Size: size, Step: step}, nil, x)
	},
}

// operationNetwork is a network around an operation.
func operationNetwork(name string, seed uint64) (*grower, *tensor.Tensor) {
	b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(seed, 77))}
	input := b.g.Input("input", graph.Shape{6, 4, 3})
	input.Shape = graph.Shape{6, 4, 3}
	x := b.relu(b.conv(input, 3, 8, 1, 1, true))
	y := b.relu(operations[name](b, input, x))
	tails := operationTails
	b.g.Outputs = []*graph.Node{tails[seed%uint64(len(tails))](b, y)}
	return b, b.tensor(1.5, 3, 6, 4, 3)
}

func sortedOperations() []string { return slices.Sorted(maps.Keys(operations)) }

// quantisedGraph is g with activations rounded to multiples of threshold/T, each a
// few operations of the ANN.
func quantisedGraph(t *testing.T, g *graph.Graph, cfg *Config) *graph.Graph {
	t.Helper()
	out := g.CloneShared()
	for i, n := range Activations(out) {
		c := n.Shape.Channels()
		fine, coarse := tensor.New(c), tensor.New(c)
		for ch, theta := range cfg.Layers[i].perChannel(c) {
			fine.Data[ch], coarse.Data[ch] = float32(cfg.Timesteps)/theta, theta/float32(cfg.Timesteps)
		}
		half := &tensor.Tensor{Shape: []int{1}, Data: []float32{0.5}}
		at := slices.Index(out.Nodes, n)
		s := &graph.Node{Name: n.Name + "_fine", Op: &graph.Affine{}, Params: graph.Params{"weight": fine, "bias": half}, Inputs: n.Inputs}
		f := &graph.Node{Name: n.Name + "_floor", Op: &graph.Unary{Func: graph.Floor}, Inputs: []*graph.Node{s}}
		k := &graph.Node{Name: n.Name + "_clip", Op: &graph.ReLU{}, Inputs: []*graph.Node{f}}
		n.Op, n.Inputs, n.Params = &graph.Affine{}, []*graph.Node{k}, graph.Params{"weight": coarse}
		out.Nodes = slices.Insert(out.Nodes, at, s, f, k)
	}
	if err := out.Validate(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOperationsEqualQuantisedANN: with signed neurons that no limit stops, and
// with neurons that accumulate, the mean output of a network of any of these
// operations is that of the ANN with rounded activations. A potential within
// rounding of a whole number may fall on its other side, so one network in
// ten may differ.
func TestOperationsEqualQuantisedANN(t *testing.T) {
	for _, name := range sortedOperations() {
		t.Run(name, func(t *testing.T) {
			runs, differ := 0, []string{}
			for seed := range uint64(2 * len(operationTails)) {
				b, x := operationNetwork(name, seed)
				cfg := b.config(8, ShiftInitial, MaxPoolExact)
				for i := range cfg.Layers {
					cfg.Layers[i].MaxSpike, cfg.Layers[i].Initial = MaxBurst, nil
				}
				e, err := ann.New(quantisedGraph(t, b.g, cfg), nil)
				if err != nil {
					t.Fatal(err)
				}
				want, err := e.Forward(x)
				if err != nil {
					t.Fatal(err)
				}
				for _, schedule := range []Schedule{ScheduleSync, ScheduleAccumulate} {
					cfg.Schedule, cfg.Signed = schedule, schedule == ScheduleSync
					res := mustRun(t, mustNew(t, b.g, cfg), nil, x, Options{})
					runs++
					for i, v := range want.Data {
						if d := math.Abs(float64(v - res.Logits.Data[i])); !(d <= 2e-4*(1+math.Abs(float64(v)))) {
							differ = append(differ, fmt.Sprintf("seed %d, %s: output %d is %g, want %g", seed, schedule, i, res.Logits.Data[i], v))
							break
						}
					}
				}
			}
			if 10*len(differ) > runs {
				t.Errorf("%d of %d networks differ:\n%s", len(differ), runs, strings.Join(differ, "\n"))
			}
		})
	}
}

// TestOperationsSameBits: neither workers nor batches nor the order of timesteps
// and layers matter, for any precision.
func TestOperationsSameBits(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	for k, name := range sortedOperations() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				b, x := operationNetwork(name, seed+uint64(k))
				cfg := b.config(3, []Shift{ShiftInitial, ShiftPerStep}[seed%2], []MaxPool{MaxPoolExact, MaxPoolPerStep}[seed/2])
				cfg.Weights = []Precision{F32, I8}[(uint64(k)+seed)%2]
				net := mustNew(t, b.g, cfg)
				traced := mustRun(t, net, nil, x, Options{Trace: true})
				sameResult(t, "3 workers", mustRun(t, net, pool, x, Options{Trace: true}), traced)
				one := mustRun(t, net, pool, x.Rows(1, 2), Options{})
				size := one.Logits.Len()
				if !sameBits(one.Logits.Data, traced.Logits.Data[size:2*size]) {
					t.Error("a sample alone differs from the same in a batch")
				}
				compareSteps(t, net, pool, x, []int{3, 1, 2})
				compareSteps(t, net, nil, x, []int{3, 3, 3})
				rec, err := net.Record(context.Background(), pool, x)
				if err != nil {
					t.Fatal(err)
				}
				for l := range cfg.Layers {
					changed := cfg.Clone()
					changed.Layers[l].MaxSpike = 7
					for ch := range changed.Layers[l].Threshold {
						changed.Layers[l].Threshold[ch] *= 1.5
					}
					got, err := rec.Replace(context.Background(), pool, l, changed.Layers[l])
					if err != nil {
						t.Fatal(err)
					}
					want := mustRun(t, mustNew(t, b.g, changed), nil, x, Options{})
					if !sameBits(got.Logits.Data, want.Logits.Data) {
						t.Errorf("layer %d replaced: logits differ", l)
					}
					if d := cmp.Diff(want.Layers, got.Layers); d != "" {
						t.Errorf("layer %d replaced: counts differ (-want +got):\n%s", l, d)
					}
				}
			}
		})
	}
}

// TestIndexedSpikesAreCounted: spikes that a slice of channels drops cost nothing
// behind it, those that a gather doubles cost double, and a reshape changes
// nothing.
func TestIndexedSpikesAreCounted(t *testing.T) {
	sops := func(spoil func(b *grower, x *graph.Node) *graph.Node) (total, spikes int64, byChannel []int64) {
		b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(5, 6))}
		input := b.g.Input("input", graph.Shape{4, 4, 2})
		input.Shape = graph.Shape{4, 4, 2}
		in := b.tensor(2, 1, 4, 4, 2)
		x := b.add(&graph.ReLU{}, nil, b.conv(input, 1, 4, 1, 1, true))
		b.g.Outputs = []*graph.Node{b.linear(b.add(&graph.Flatten{}, nil, spoil(b, x)), 3)}
		cfg := &Config{Timesteps: 4, Shift: ShiftInitial, MaxPool: MaxPoolExact, Layers: []Layer{{Node: x.Name, Threshold: []float32{0.25}, MaxSpike: 4}}}
		res := mustRun(t, mustNew(t, b.g, cfg), nil, in, Options{Trace: true})
		byChannel = make([]int64, 4)
		for i, n := range res.StepCounts[0].Data {
			byChannel[i%4] += int64(n)
		}
		return res.Layers[0].SOPs[0], res.Layers[0].Spikes[0], byChannel
	}
	total, spikes, by := sops(func(b *grower, x *graph.Node) *graph.Node { return x })
	if spikes == 0 || total != 3*spikes {
		t.Fatalf("%d operations of %d spikes, want 3 each", total, spikes)
	}
	for _, c := range []struct {
		name string
		op   graph.Op
		want int64
	}{
		{"reshape", &graph.Reshape{Shape: graph.Ints{16, 4}}, 3 * spikes},
		{"transpose", &graph.Transpose{Perm: graph.Ints{1, 0, 2}}, 3 * spikes},
		{"slice", &graph.Slice{Start: graph.Ints{0, 0, 1}, Size: graph.Ints{4, 4, 2}, Step: graph.Ints{1, 1, 1}}, 3 * (by[1] + by[2])},
		{"gather", &graph.Gather{Axis: 2, Indices: graph.Ints{3, 0, 3}, IndexShape: graph.Ints{3}}, 3 * (by[0] + 2*by[3])},
		{"tile", &graph.Tile{Repeats: graph.Ints{2, 1, 1}}, 6 * spikes},
	} {
		if got, n, _ := sops(func(b *grower, x *graph.Node) *graph.Node { return b.add(c.op, nil, x) }); got != c.want || n != spikes {
			t.Errorf("%s: %d operations of %d spikes, want %d of %d", c.name, got, n, c.want, spikes)
		}
	}
}

// TestCumulativeMeans: whatever the neurons do, the mean output of a max pool or a
// product is that of its mean inputs, after every number of timesteps.
func TestCumulativeMeans(t *testing.T) {
	found := 0
	for _, name := range sortedOperations() {
		for seed := range uint64(3) {
			b, x := operationNetwork(name, seed)
			net := mustNew(t, b.g, b.config(5, ShiftPerStep, MaxPoolExact))
			r := net.newRun()
			r.begin(0, x.Shape[0], x.Data, nil)
			r.keep = true
			r.steps(0, len(net.plan.steps))
			for i, s := range net.plan.steps {
				c, ok := s.(*cumulativeStep)
				if !ok {
					continue
				}
				found++
				for steps := 1; steps <= 5; steps++ {
					in := make([][]float32, len(c.in))
					for k, w := range c.in {
						r.average(w, 0, steps)
						in[k] = slices.Clone(r.means[w])
					}
					want := make([]float32, x.Shape[0]*net.plan.wires[i].size)
					c.fn(nil, x.Shape[0], in, want)
					r.average(i, 0, steps)
					for k, v := range want {
						if got := r.means[i][k]; math.Abs(float64(got-v)) > 1e-4*(1+math.Abs(float64(v))) {
							t.Fatalf("%s: value %d of node %q after %d timesteps is %g, want %g", name, k, net.plan.wires[i].node.Name, steps, got, v)
						}
					}
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d operations on cumulative values among the networks, want 20 or more", found)
	}
}

// TestSplitPopulationsAreCounted: a spike into a layer that two populations read
// is two synaptic operations per output.
func TestSplitPopulationsAreCounted(t *testing.T) {
	for _, pooled := range []bool{false, true} {
		b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(9, 6))}
		input := b.g.Input("input", graph.Shape{4, 4, 2})
		input.Shape = graph.Shape{4, 4, 2}
		x := b.add(&graph.ReLU{}, nil, b.conv(input, 1, 4, 1, 1, true))
		z := b.conv(x, 1, 5, 1, 1, true)
		if pooled {
			z = b.add(&graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, z)
		}
		y := b.add(&graph.LeakyReLU{Alpha: 0.2}, nil, z)
		b.g.Outputs = []*graph.Node{b.linear(b.add(&graph.Flatten{}, nil, y), 3)}
		if n, err := graph.SplitActivations(b.g); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		cfg := b.config(4, ShiftInitial, MaxPoolExact)
		res := mustRun(t, mustNew(t, b.g, cfg), nil, b.tensor(2, 1, 4, 4, 2), Options{})
		fans := []int64{10, 3} // one layer of twice the neurons
		if pooled {
			fans = append(fans, 3)
		}
		if len(res.Layers) != len(fans) {
			t.Fatalf("pooled %v: %d layers, want %d", pooled, len(res.Layers), len(fans))
		}
		for l, fan := range fans {
			if k := res.Layers[l]; k.Spikes[0] == 0 || k.SOPs[0] != fan*k.Spikes[0] {
				t.Errorf("pooled %v, layer %d: %d operations of %d spikes, want %d each", pooled, l, k.SOPs[0], k.Spikes[0], fan)
			}
		}
	}
}

// drawOperations is a network of a few of the operations in a row.
func drawOperations(t *rapid.T) (*grower, *tensor.Tensor) {
	b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))}
	input := b.g.Input("input", graph.Shape{6, 4, 3})
	input.Shape = graph.Shape{6, 4, 3}
	x := b.relu(b.conv(input, 3, 8, 1, 1, true))
	names := rapid.SliceOfN(rapid.SampledFrom(sortedOperations()), 1, 3).Draw(t, "operations")
	for _, name := range names {
		x = operations[name](b, input, x)
		if rapid.Bool().Draw(t, "neurons") {
			x = b.relu(x)
		}
		x = b.linear(b.add(&graph.Flatten{}, nil, x), 6*4*8)
		x = b.add(&graph.Reshape{Shape: graph.Ints{6, 4, 8}}, nil, x)
		if rapid.Bool().Draw(t, "neurons") {
			x = b.relu(x)
		}
	}
	tail := rapid.SampledFrom(operationTails).Draw(t, "tail")
	b.g.Outputs = []*graph.Node{tail(b, x)}
	return b, b.tensor(1.5, 3, 6, 4, 3)
}

// TestRowsOfOperations: step by step, in batches and by several workers, networks
// of several of the operations give the same bits.
func TestRowsOfOperations(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	rapid.Check(t, func(t *rapid.T) {
		b, x := drawOperations(t)
		cfg := b.config(rapid.IntRange(1, 4).Draw(t, "T"), ShiftInitial, MaxPoolExact)
		cfg.Signed = rapid.Bool().Draw(t, "signed")
		cfg.Weights = rapid.SampledFrom([]Precision{F32, I16, I8}).Draw(t, "weights")
		net, err := New(b.g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		compareSteps(t, net, pool, x, []int{cfg.Timesteps, 1, cfg.Timesteps})
		one, err := net.Run(context.Background(), nil, x, Options{})
		if err != nil {
			t.Fatal(err)
		}
		many, err := net.Run(context.Background(), pool, x, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !sameBits(one.Logits.Data, many.Logits.Data) {
			t.Error("the number of workers matters")
		}
	})
}

// TestProductMACs: products and convolutions of floats are paid in every timestep,
// a convolution behind a max pool of currents, too.
func TestProductMACs(t *testing.T) {
	for name, kind := range map[string]string{
		"matrix product":       "matmul",
		"convolution nd":       "conv_nd",
		"max pool of currents": "conv2d",
	} {
		b, _ := operationNetwork(name, 0)
		net := mustNew(t, b.g, b.config(3, ShiftInitial, MaxPoolExact))
		var last *graph.Node
		for _, n := range b.g.Nodes {
			if n.Kind() == kind {
				last = n
			}
		}
		if got := net.MACs(last); got == 0 || got != 3*last.MACs() {
			t.Errorf("%s: %d multiply-accumulates in node %q, want 3 times %d", name, got, last.Name, last.MACs())
		}
	}
}
