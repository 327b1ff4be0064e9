package kernel_test

import (
	"math"
	"testing"

	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/tensor"
)

// opCase gives the arrays of a golden operator in channels-last order.
type opCase struct {
	*testing.T
	*golden.Case
	attrs golden.Fields
}

func (c opCase) in(name string) *tensor.Tensor {
	c.Helper()
	x := c.Array(c.T, name)
	if len(x.Shape) < 2 {
		return x
	}
	x, err := tensor.ChannelsLast(x)
	if err != nil {
		c.Fatal(err)
	}
	return x
}

// want compares data, channels last like the array called name, with it.
func (c opCase) want(name string, data []float32) {
	c.Helper()
	shape := c.in(name).Shape
	x, err := tensor.FromSlice(data, shape...)
	if err == nil && len(shape) > 1 {
		x, err = tensor.ChannelsFirst(x)
	}
	if err != nil {
		c.Fatal(err)
	}
	c.Compare(c.T, name, x.Data)
}

// pair reads an attribute of two numbers, rows and columns.
func (c opCase) pair(name string) (int, int) {
	p := c.attrs.Ints(c.T, name)
	return p[0], p[1]
}

func (c opCase) poolShape() kernel.PoolShape {
	x := c.in("input").Shape
	s := kernel.PoolShape{N: x[0], H: x[1], W: x[2], C: x[3]}
	s.KH, s.KW = c.pair("kernel")
	s.StrideH, s.StrideW = c.pair("stride")
	s.PadTop, s.PadLeft = c.pair("padding")
	s.PadBottom, s.PadRight = s.PadTop, s.PadLeft
	ceil := c.attrs.Bool(c.T, "ceil_mode")
	s.OutH = kernel.PoolOut(s.H, s.KH, s.StrideH, s.PadTop, s.PadBottom, ceil)
	s.OutW = kernel.PoolOut(s.W, s.KW, s.StrideW, s.PadLeft, s.PadRight, ceil)
	return s
}

// operators run one golden operator forward and backward.
var operators = map[string]func(c opCase, x, y, dy, dx []float32){
	"relu": func(_ opCase, x, y, dy, dx []float32) {
		kernel.ReLU(y, x, float32(math.Inf(1)))
		kernel.ReLUBackward(dx, x, dy, float32(math.Inf(1)))
	},
	"relu6": func(_ opCase, x, y, dy, dx []float32) {
		kernel.ReLU(y, x, 6)
		kernel.ReLUBackward(dx, y, dy, 6)
	},
	"leaky_relu": func(c opCase, x, y, dy, dx []float32) {
		slope := float32(c.attrs.Float(c.T, "negative_slope"))
		kernel.LeakyReLU(y, x, slope)
		kernel.LeakyReLUBackward(dx, x, dy, slope)
	},
	"softmax": func(c opCase, x, y, dy, dx []float32) {
		kernel.Softmax(y, x, c.channels())
		kernel.SoftmaxBackward(dx, y, dy, c.channels())
	},
	"log_softmax": func(c opCase, x, y, dy, dx []float32) {
		kernel.LogSoftmax(y, x, c.channels())
		kernel.LogSoftmaxBackward(dx, y, dy, c.channels())
	},
	"maxpool2d": func(c opCase, x, y, dy, dx []float32) {
		arg := make([]int32, len(y))
		kernel.MaxPool(nil, c.poolShape(), x, y, arg)
		kernel.MaxPoolBackward(nil, c.poolShape(), dy, arg, dx)
	},
	"avgpool2d": func(c opCase, x, y, dy, dx []float32) {
		countPad := c.attrs.Bool(c.T, "count_include_pad")
		kernel.AvgPool(nil, c.poolShape(), x, y, countPad)
		kernel.AvgPoolBackward(nil, c.poolShape(), dy, dx, countPad)
	},
	"global_avgpool": func(c opCase, x, y, dy, dx []float32) {
		n, positions := c.positions()
		kernel.GlobalAvgPool(nil, n, positions, c.channels(), x, y)
		kernel.GlobalAvgPoolBackward(nil, n, positions, c.channels(), dy, dx)
	},
	"global_maxpool": func(c opCase, x, y, dy, dx []float32) {
		n, positions := c.positions()
		arg := make([]int32, len(y))
		kernel.GlobalMaxPool(nil, n, positions, c.channels(), x, y, arg)
		kernel.GlobalMaxPoolBackward(nil, n, positions, c.channels(), dy, arg, dx)
	},
	"upsample": func(c opCase, x, y, dy, dx []float32) {
		in := c.in("input").Shape
		s := kernel.ResampleShape{N: in[0], H: in[1], W: in[2], C: in[3]}
		s.OutH, s.OutW = c.pair("size")
		if c.attrs.Text(c.T, "mode") == "nearest" {
			kernel.ResampleNearest(nil, s, x, y)
			kernel.ResampleNearestBackward(nil, s, dy, dx)
			return
		}
		align := c.attrs.Bool(c.T, "align_corners")
		kernel.ResampleBilinear(nil, s, x, y, align)
		kernel.ResampleBilinearBackward(nil, s, dy, dx, align)
	},
	"batchnorm": batchNorm,
}

func (c opCase) channels() int {
	shape := c.in("input").Shape
	return shape[len(shape)-1]
}

func (c opCase) positions() (n, positions int) {
	shape := c.in("input").Shape
	return shape[0], shape[1] * shape[2]
}

func batchNorm(c opCase, x, y, dy, dx []float32) {
	ch := c.channels()
	mean, variance := make([]float32, ch), make([]float32, ch)
	training := c.attrs.Bool(c.T, "training")
	if training {
		kernel.BatchNormStats(nil, x, mean, variance)
	} else {
		copy(mean, c.in("running_mean").Data)
		copy(variance, c.in("running_var").Data)
	}
	eps := c.attrs.Float(c.T, "eps")
	g := &kernel.BatchNormGrad{X: x, DY: dy, Mean: mean, InvStd: make([]float32, ch), DX: dx, Frozen: !training}
	scale, shift := make([]float32, ch), make([]float32, ch)
	for i, v := range variance {
		g.InvStd[i] = float32(1 / math.Sqrt(float64(v)+eps))
		scale[i] = g.InvStd[i]
	}
	if c.Has("weight") {
		g.Weight = c.in("weight").Data
		g.DWeight, g.DBias = make([]float32, ch), make([]float32, ch)
		kernel.Mul(scale, scale, g.Weight)
		copy(shift, c.in("bias").Data)
	}
	for i := range shift {
		shift[i] -= mean[i] * scale[i]
	}
	kernel.BatchNormApply(nil, y, x, scale, shift, float32(math.Inf(-1)), float32(math.Inf(1)))
	kernel.BatchNormBackward(nil, g)
	if c.Has("weight") {
		c.want("grad_weight", g.DWeight)
		c.want("grad_bias", g.DBias)
	}
}

func TestGoldenOperators(t *testing.T) {
	before := kernel.Active()
	defer func() {
		if err := kernel.SetISA(before.String()); err != nil {
			t.Fatal(err)
		}
	}()
	for _, isa := range kernel.Available() {
		if err := kernel.SetISA(isa.String()); err != nil {
			t.Fatal(err)
		}
		for _, g := range golden.Cases(t, "op") {
			run := operators[g.Params.Text(t, "op")]
			if run == nil {
				continue // tested elsewhere: convolutions, losses, structure
			}
			t.Run(isa.String()+"/"+g.Name, func(t *testing.T) {
				c := opCase{t, g, g.Params.Object(t, "attrs")}
				x, dy := c.in("input").Data, c.in("grad_output").Data
				y, dx := make([]float32, len(dy)), make([]float32, len(x))
				run(c, x, y, dy, dx)
				c.want("output", y)
				c.want("grad_input", dx)
			})
		}
	}
}

// TestGoldenMaxPoolCounts runs the pooling of counts over all timesteps.
func TestGoldenMaxPoolCounts(t *testing.T) {
	for _, g := range golden.Cases(t, "maxpool_counts") {
		t.Run(g.Name, func(t *testing.T) {
			in, out := g.Spec(t, "counts").Shape, g.Spec(t, "output").Shape // TNCHW
			s := kernel.PoolShape{N: in[1] * in[2], H: in[3], W: in[4], C: 1, OutH: out[3], OutW: out[4]}
			k, stride, pad := g.Params.Ints(t, "kernel"), g.Params.Ints(t, "stride"), g.Params.Ints(t, "padding")
			s.KH, s.KW, s.StrideH, s.StrideW = k[0], k[1], stride[0], stride[1]
			s.PadTop, s.PadBottom, s.PadLeft, s.PadRight = pad[0], pad[0], pad[1], pad[1]
			counts := g.Ints(t, "counts")
			size := len(counts) / in[0]
			cum, step := make([]int32, size), make([]uint8, size)
			emitted := make([]uint8, s.N*s.OutH*s.OutW)
			top := make([]int32, len(emitted))
			var got []int
			for at := 0; at < len(counts); at += size {
				for i, v := range counts[at : at+size] {
					step[i] = uint8(v)
				}
				kernel.MaxPoolCounts(nil, s, cum, top, step, emitted)
				for _, v := range emitted {
					got = append(got, int(v))
				}
			}
			g.CompareInts(t, "output", got)
		})
	}
}
