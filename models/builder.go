package models

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/tensor"
)

// A builder appends nodes to a graph, each to the last one, and draws their
// parameters. It tracks the channels, which is all that parameters need.
type builder struct {
	g          *graph.Graph
	x          *graph.Node // last node
	channels   int         // of x
	seed       uint64
	initialise bool
	batchNorm  bool
	eps        float64 // of batch norms
	same       bool    // pad as TensorFlow does, for which
	size       [2]int  // the height and width of x are known
}

func (b *builder) input(shape graph.Shape) {
	b.x = b.g.Input("input", shape)
	b.channels = shape.Channels()
}

func (b *builder) add(name string, op graph.Op) {
	b.x = b.g.Add(name, op, nil, b.x)
}

// normal returns a tensor of normal values of mean 0 and the given deviation.
// Every tensor has its own stream, named after it: changing one layer leaves
// the others' values alone.
func (b *builder) normal(name string, deviation float64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	if b.initialise {
		r := random.New(b.seed, "init "+name)
		for i := range t.Data {
			t.Data[i] = float32(r.NormFloat64() * deviation)
		}
	}
	return t
}

// uniform returns a tensor of uniform values in [-bound, bound).
func (b *builder) uniform(name string, bound float64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	if b.initialise {
		r := random.New(b.seed, "init "+name)
		for i := range t.Data {
			t.Data[i] = float32((2*r.Float64() - 1) * bound)
		}
	}
	return t
}

func (b *builder) constant(value float32, n int) *tensor.Tensor {
	t := tensor.New(n)
	if b.initialise {
		for i := range t.Data {
			t.Data[i] = value
		}
	}
	return t
}

// conv appends a square convolution of odd or even size k.
func (b *builder) conv(name string, k, stride, pad, cout int, bias bool) {
	b.convOp(name, &graph.Conv2D{Stride: [2]int{stride, stride}, Pad: graph.Uniform(pad, pad), Dilation: [2]int{1, 1}, Groups: 1}, k, cout, bias)
}

// convOp appends a convolution of size k x k with the attributes given.
func (b *builder) convOp(name string, op *graph.Conv2D, k, cout int, bias bool) {
	in := b.channels / op.Groups
	p := graph.Params{"weight": b.normal(name+".weight", math.Sqrt(2*float64(op.Groups)/float64(k*k*cout)), k, k, in, cout)}
	if bias {
		p["bias"] = b.constant(0, cout)
	}
	b.x = b.g.Add(name, op, p, b.x)
	b.channels = cout
}

// norm appends a batch norm, or nothing if the network has none.
func (b *builder) norm(name string) {
	if !b.batchNorm {
		return
	}
	b.x = b.g.Add(name, &graph.BatchNorm{Eps: b.eps, Momentum: 0.1}, graph.Params{
		"weight": b.constant(1, b.channels), "bias": tensor.New(b.channels),
		"mean": tensor.New(b.channels), "var": b.constant(1, b.channels),
	}, b.x)
}

func (b *builder) pool(name, kind string, k, stride, pad int) {
	kernel, s, p := [2]int{k, k}, [2]int{stride, stride}, graph.Uniform(pad, pad)
	if kind == "max" {
		b.add(name, &graph.MaxPool2D{Kernel: kernel, Stride: s, Pad: p})
		return
	}
	b.add(name, &graph.AvgPool2D{Kernel: kernel, Stride: s, Pad: p, CountIncludePad: true})
}

// linearInit chooses the initial values of a fully connected layer.
type linearInit int

const (
	linearSmall   linearInit = iota // normal, deviation 1/In; bias 0
	linearVGG                       // normal, deviation 0.01; bias 0
	linearUniform                   // uniform within 1/sqrt(In), bias too: PyTorch's default
)

func (b *builder) linear(name string, in, out int, how linearInit) {
	p := graph.Params{}
	switch how {
	case linearSmall:
		p["weight"] = b.normal(name+".weight", 1/float64(in), in, out)
	case linearVGG:
		p["weight"] = b.normal(name+".weight", 0.01, in, out)
	case linearUniform:
		bound := 1 / math.Sqrt(float64(in))
		p["weight"] = b.uniform(name+".weight", bound, in, out)
		p["bias"] = b.uniform(name+".bias", bound, out)
	}
	if p["bias"] == nil {
		p["bias"] = tensor.New(out)
	}
	b.x = b.g.Add(name, &graph.Linear{}, p, b.x)
	b.channels = out
}
