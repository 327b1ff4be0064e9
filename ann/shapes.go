package ann

import (
	"fmt"
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/tensor"
)

// convShape returns the kernel shape of a convolution or fully connected node
// for one sample. A fully connected layer over m positions is a 1x1 convolution
// of a row of m pixels: scale tells what a batch multiplies, see batched.
func convShape(n *graph.Node) kernel.ConvShape {
	w := n.Weight().Shape
	switch op := n.Op.(type) {
	case *graph.Conv2D:
		h, wd, c := n.Inputs[0].Shape.HWC()
		if len(n.Shape) == 2 && op.Pad[1] == 0 && op.Pad[3] == 0 && w[1] == 1 {
			// Points: one row is faster than one column, and the same sums.
			return kernel.ConvShape{N: 1, H: 1, W: h, Cin: c, KH: 1, KW: w[0], Cout: w[3], StrideH: 1, StrideW: op.Stride[0],
				PadLeft: op.Pad[0], PadRight: op.Pad[2], DilH: 1, DilW: op.Dilation[0], Groups: op.Groups}
		}
		return kernel.ConvShape{N: 1, H: h, W: wd, Cin: c, KH: w[0], KW: w[1], Cout: w[3],
			StrideH: op.Stride[0], StrideW: op.Stride[1],
			PadTop: op.Pad[0], PadLeft: op.Pad[1], PadBottom: op.Pad[2], PadRight: op.Pad[3],
			DilH: op.Dilation[0], DilW: op.Dilation[1], Groups: op.Groups}
	case *graph.Linear:
		return kernel.ConvShape{N: 1, H: 1, W: n.Inputs[0].Shape.Positions(), Cin: w[0], KH: 1, KW: 1, Cout: w[1],
			StrideH: 1, StrideW: 1, DilH: 1, DilW: 1, Groups: 1}
	}
	panic(fmt.Sprintf("ann: %s is no convolution", n.Kind()))
}

// batched returns the shape for n samples. The rows of a fully connected layer
// are laid end to end, so that the kernels see one long matrix.
func batched(s kernel.ConvShape, n int) kernel.ConvShape {
	if s.H == 1 && s.KH == 1 && s.KW == 1 && s.StrideW == 1 && s.Groups == 1 &&
		s.PadTop+s.PadBottom+s.PadLeft+s.PadRight == 0 {
		s.W *= n
		return s
	}
	s.N = n
	return s
}

// mirrorShape returns the convolution whose gradient with respect to its input
// is the transposed convolution n: it leads from the output of n, for one
// sample, to its input.
func mirrorShape(n *graph.Node) (kernel.ConvShape, error) {
	op := n.Op.(*graph.ConvTranspose2D)
	w := n.Weight().Shape
	h, wd, cin := n.Inputs[0].Shape.HWC()
	oh, ow, cout := n.Shape.HWC()
	s := kernel.ConvShape{N: 1, H: oh, W: ow, Cin: cout, KH: w[0], KW: w[1], Cout: cin,
		StrideH: op.Stride[0], StrideW: op.Stride[1],
		// Output padding adds rows that only the padding of the mirrored
		// convolution would have to reach.
		PadTop: op.Pad[0], PadBottom: max(0, op.Pad[2]-op.OutputPad[0]),
		PadLeft: op.Pad[1], PadRight: max(0, op.Pad[3]-op.OutputPad[1]),
		DilH: op.Dilation[0], DilW: op.Dilation[1], Groups: op.Groups}
	if err := s.Validate(); err != nil {
		return s, fmt.Errorf("node %q (%s): %w", n.Name, n.Kind(), err)
	}
	if s.OutH() != h || s.OutW() != wd {
		return s, fmt.Errorf("node %q (%s): output_pad %v exceeds pad %v by a stride %v or more: %w",
			n.Name, n.Kind(), op.OutputPad, op.Pad, op.Stride, ErrUnsupported)
	}
	return s, nil
}

// mirrorWeight rearranges the weight [KH, KW, Cin, Cout/groups] of a transposed
// convolution into dst as that of the mirrored one, [KH, KW, Cout/groups, Cin].
func mirrorWeight(dst []float32, w *tensor.Tensor) {
	swapLast(dst, w.Data, w.Shape[0]*w.Shape[1], w.Shape[2], w.Shape[3])
}

// swapLast sets dst [m, c, r] to src [m, r, c].
func swapLast(dst, src []float32, m, r, c int) {
	for i := range m {
		from, to := src[i*r*c:(i+1)*r*c], dst[i*r*c:(i+1)*r*c]
		for y := range r {
			for x := range c {
				to[x*r+y] = from[y*c+x]
			}
		}
	}
}

// poolShape returns the kernel shape of a pooling node for one sample.
func poolShape(n *graph.Node) kernel.PoolShape {
	h, w, c := n.Inputs[0].Shape.HWC()
	oh, ow, _ := n.Shape.HWC()
	s := kernel.PoolShape{N: 1, H: h, W: w, C: c, OutH: oh, OutW: ow}
	set := func(k, stride [2]int, pad graph.Pad) {
		s.KH, s.KW, s.StrideH, s.StrideW = k[0], k[1], stride[0], stride[1]
		s.PadTop, s.PadLeft, s.PadBottom, s.PadRight = pad[0], pad[1], pad[2], pad[3]
	}
	switch op := n.Op.(type) {
	case *graph.MaxPool2D:
		set(op.Kernel, op.Stride, op.Pad)
	case *graph.AvgPool2D:
		set(op.Kernel, op.Stride, op.Pad)
	default:
		panic(fmt.Sprintf("ann: %s is no pooling", n.Kind()))
	}
	return s
}

// resampleShape returns the kernel shape of an upsampling node for one sample.
func resampleShape(n *graph.Node) kernel.ResampleShape {
	h, w, c := n.Inputs[0].Shape.HWC()
	oh, ow, _ := n.Shape.HWC()
	return kernel.ResampleShape{N: 1, H: h, W: w, C: c, OutH: oh, OutW: ow}
}

// reluLimit returns the upper limit of a rectifier, and whether n is one.
func reluLimit(n *graph.Node) (limit float32, ok bool) {
	switch n.Op.(type) {
	case *graph.ReLU:
		return float32(math.Inf(1)), true
	case *graph.ReLU6:
		return 6, true
	}
	return 0, false
}

// checkNode refuses what the kernels would panic at, so that a strange but well
// formed graph is an error.
func checkNode(n *graph.Node) error {
	var err error
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear:
		err = convShape(n).Validate()
	case *graph.ConvTranspose2D:
		_, err := mirrorShape(n)
		return err
	case *graph.MaxPool2D, *graph.AvgPool2D:
		err = poolShape(n).Validate()
	}
	if err != nil {
		return fmt.Errorf("node %q (%s): %w", n.Name, n.Kind(), err)
	}
	return nil
}

// checkBatch checks that xs are as many as the graph has inputs and of the
// right shapes with the same number of samples, and returns that number.
func checkBatch(inputs []*graph.Node, xs []*tensor.Tensor) (n int, err error) {
	if len(xs) != len(inputs) {
		return 0, fmt.Errorf("%d input tensors, the graph has %d inputs: %w", len(xs), len(inputs), tensor.ErrShape)
	}
	for i, x := range xs {
		if x == nil || len(x.Shape) == 0 {
			return 0, fmt.Errorf("input %q: no tensor: %w", inputs[i].Name, tensor.ErrShape)
		}
		want := inputs[i].Shape
		fits := len(x.Shape) == len(want)+1
		for d := 0; fits && d < len(want); d++ {
			fits = x.Shape[d+1] == want[d]
		}
		if !fits {
			return 0, fmt.Errorf("input %q: got shape %v, want [N %s]: %w", inputs[i].Name, x.Shape, dims(want), tensor.ErrShape)
		}
		if x.Shape[0] < 1 || len(x.Data) != x.Shape[0]*want.Numel() {
			return 0, fmt.Errorf("input %q: %d samples with %d values, want at least one of %d: %w",
				inputs[i].Name, x.Shape[0], len(x.Data), want.Numel(), tensor.ErrShape)
		}
		if i > 0 && x.Shape[0] != n {
			return 0, fmt.Errorf("input %q: %d samples, the first input has %d: %w", inputs[i].Name, x.Shape[0], n, tensor.ErrShape)
		}
		n = x.Shape[0]
	}
	return n, nil
}

func dims(s graph.Shape) string {
	text := fmt.Sprint([]int(s))
	return text[1 : len(text)-1]
}

// batchShape is the shape of n samples.
func batchShape(n int, s graph.Shape) []int {
	return append([]int{n}, s...)
}
