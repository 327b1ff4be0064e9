package kernel_test

import (
	"testing"

	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/tensor"
)

// TestGoldenConvolutions compares with torch's float64 results: convolutions,
// transposed convolutions (the gradient of the mirrored convolution) and fully
// connected layers, with their gradients.
func TestGoldenConvolutions(t *testing.T) {
	must := func(x *tensor.Tensor, err error) *tensor.Tensor {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	ran := 0
	for _, c := range golden.Cases(t, "op") {
		op := c.Params.Text(t, "op")
		if op != "conv2d" && op != "conv_transpose2d" && op != "linear" {
			continue
		}
		ran++
		t.Run(c.Name, func(t *testing.T) {
			x, dy, w := c.Array(t, "input"), c.Array(t, "grad_output"), c.Array(t, "weight")
			var bias []float32
			if c.Has("bias") {
				bias = c.Array(t, "bias").Data
			}
			if op == "linear" {
				w = must(tensor.LinearWeight(w))
				s := kernel.ConvShape{N: 1, H: 1, W: x.Shape[0], Cin: w.Shape[0], KH: 1, KW: 1, Cout: w.Shape[1],
					StrideH: 1, StrideW: 1, DilH: 1, DilW: 1, Groups: 1}
				y, dx, dw := forwardBackward(s, x.Data, w.Data, dy.Data, bias)
				c.Compare(t, "output", y)
				c.Compare(t, "grad_input", dx)
				c.Compare(t, "grad_weight", must(tensor.LinearWeight(&tensor.Tensor{Shape: w.Shape, Data: dw})).Data)
				return
			}
			attrs := c.Params.Object(t, "attrs")
			stride, pad, dil := attrs.Ints(t, "stride"), attrs.Ints(t, "padding"), attrs.Ints(t, "dilation")
			s := kernel.ConvShape{StrideH: stride[0], StrideW: stride[1], DilH: dil[0], DilW: dil[1], PadTop: pad[0],
				PadLeft: pad[1], PadBottom: pad[0], PadRight: pad[1], Groups: attrs.Int(t, "groups")}
			x, dy = must(tensor.ChannelsLast(x)), must(tensor.ChannelsLast(dy))
			big, small := x, dy
			if op == "conv_transpose2d" {
				big, small = dy, x
			}
			// OIHW, or IOHW: in both the channels of the small image come first.
			w = must(tensor.ConvWeight(w))
			s.N, s.H, s.W, s.Cin = big.Shape[0], big.Shape[1], big.Shape[2], big.Shape[3]
			s.KH, s.KW, s.Cout = w.Shape[0], w.Shape[1], small.Shape[3]
			fit := func(outSize, stride, size, k, dil, padBefore int) int {
				return (outSize-1)*stride + (k-1)*dil + 1 - size - padBefore
			}
			// The padding behind is what makes the sizes fit (output padding).
			if p := fit(small.Shape[1], s.StrideH, s.H, s.KH, s.DilH, s.PadTop); p >= 0 {
				s.PadBottom = p
			}
			if p := fit(small.Shape[2], s.StrideW, s.W, s.KW, s.DilW, s.PadLeft); p >= 0 {
				s.PadRight = p
			}
			first := func(data []float32, shape []int) []float32 {
				return must(tensor.ChannelsFirst(&tensor.Tensor{Shape: shape, Data: data})).Data
			}
			var dw []float32
			if op == "conv2d" {
				var y, dx []float32
				y, dx, dw = forwardBackward(s, x.Data, w.Data, dy.Data, bias)
				c.Compare(t, "output", first(y, small.Shape))
				c.Compare(t, "grad_input", first(dx, big.Shape))
			} else {
				y, dx := make([]float32, s.InLen()), make([]float32, s.OutLen())
				dw = make([]float32, s.WeightLen())
				kernel.ConvBackwardInput(nil, s, x.Data, kernel.NewBackwardFilter(s, w.Data), y)
				kernel.Conv(nil, s, dy.Data, kernel.NewFilter(s, w.Data), kernel.Epilogue{}, dx)
				kernel.ConvBackwardWeight(nil, s, dy.Data, x.Data, dw)
				for i := range y {
					if bias != nil {
						y[i] += bias[i%len(bias)]
					}
				}
				c.Compare(t, "output", first(y, big.Shape))
				c.Compare(t, "grad_input", first(dx, small.Shape))
			}
			c.Compare(t, "grad_weight", must(tensor.ConvWeightOIHW(&tensor.Tensor{Shape: w.Shape, Data: dw})).Data)
		})
	}
	if ran == 0 {
		t.Skip("no golden convolutions here")
	}
}

func forwardBackward(s kernel.ConvShape, x, w, dy, bias []float32) (y, dx, dw []float32) {
	y, dx, dw = make([]float32, s.OutLen()), make([]float32, s.InLen()), make([]float32, s.WeightLen())
	kernel.Conv(nil, s, x, kernel.NewFilter(s, w), kernel.Epilogue{Bias: bias}, y)
	kernel.ConvBackwardInput(nil, s, dy, kernel.NewBackwardFilter(s, w), dx)
	kernel.ConvBackwardWeight(nil, s, x, dy, dw)
	return y, dx, dw
}
