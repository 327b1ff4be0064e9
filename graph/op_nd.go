package graph

import (
	"fmt"
	"slices"
)

func init() {
	register(
		func() Op { return new(ConvND) },
		func() Op { return new(ConvTransposeND) },
		func() Op { return new(MaxPoolND) },
		func() Op { return new(AvgPoolND) },
	)
}

// wantSpace checks that the only input is [spatial axes..., C] with 1 to 3
// spatial axes, and returns how many.
func wantSpace(in []Shape) (int, error) {
	if err := wantInputs(in, 1); err != nil {
		return 0, err
	}
	if d := len(in[0]) - 1; d >= 1 && d <= 3 {
		return d, nil
	}
	return 0, fmt.Errorf("input has shape %v, want one to three spatial axes and channels", []int(in[0]))
}

// checkWindow checks the attributes of a window over d axes.
func checkWindow(d int, stride, pad, dilation Ints) error {
	for _, e := range []error{
		checkLen("stride", len(stride), d), checkLen("pad", len(pad), 2*d), checkLen("dilation", len(dilation), d),
		checkAttr("stride", 1, stride...), checkAttr("pad", 0, pad...), checkAttr("dilation", 1, dilation...),
	} {
		if e != nil {
			return e
		}
	}
	return nil
}

// ConvND is a convolution over one, two or three axes, [D, H, W, Cin] ->
// [OD, OH, OW, Cout] for three, with weight [KD, KH, KW, Cin/groups, Cout] and an
// optional bias [Cout]. Over one or two axes use Conv2D, which also exists in
// spiking networks. A batch that is part of the sample is an axis with a kernel
// of 1.
type ConvND struct {
	Stride   Ints `json:"stride"`   // one number per spatial axis
	Pad      Ints `json:"pad"`      // all beginnings, then all ends
	Dilation Ints `json:"dilation"` // one number per spatial axis
	Groups   int  `json:"groups"`
}

// Kind returns "conv_nd".
func (*ConvND) Kind() string { return "conv_nd" }
func (o *ConvND) clone() Op {
	return &ConvND{Stride: slices.Clone(o.Stride), Pad: slices.Clone(o.Pad), Dilation: slices.Clone(o.Dilation), Groups: o.Groups}
}

// InferShape checks the weight against the input.
func (o *ConvND) InferShape(in []Shape, p Params) (Shape, error) {
	d, w, err := convNDWeight(in, p, o.Stride, o.Pad, o.Dilation, o.Groups)
	if err != nil {
		return nil, err
	}
	if c := in[0].Channels(); w[d]*o.Groups != c {
		return nil, fmt.Errorf("weight %v with %d groups wants %d input channels, input has %d", w, o.Groups, w[d]*o.Groups, c)
	}
	if w[d+1]%o.Groups != 0 {
		return nil, fmt.Errorf("%d output channels do not split into %d groups", w[d+1], o.Groups)
	}
	if err := wantVector(p, "bias", w[d+1]); err != nil {
		return nil, err
	}
	out := make(Shape, d+1)
	for i := range d {
		if out[i], err = windowOut(in[0][i], w[i], o.Stride[i], o.Pad[i], o.Pad[d+i], o.Dilation[i], false); err != nil {
			return nil, err
		}
	}
	out[d] = w[d+1]
	return out, nil
}

func convNDWeight(in []Shape, p Params, stride, pad, dilation Ints, groups int) (int, []int, error) {
	d, err := wantSpace(in)
	if err != nil {
		return 0, nil, err
	}
	if err := wantParams(p, []string{"weight"}, []string{"bias"}); err != nil {
		return 0, nil, err
	}
	w := p["weight"].Shape
	if len(w) != d+2 {
		return 0, nil, fmt.Errorf("weight has shape %v, want %d axes", w, d+2)
	}
	for _, e := range []error{checkWindow(d, stride, pad, dilation), checkAttr("groups", 1, groups), checkAttr("weight shape", 1, w...)} {
		if e != nil {
			return 0, nil, e
		}
	}
	return d, w, nil
}

// ConvTransposeND is the transposed convolution over one, two or three axes, with
// weight [KD, KH, KW, Cin, Cout/groups] and an optional bias [Cout]; each axis
// becomes (n-1)*stride - pads + dilation*(k-1) + OutputPad + 1 long. Unlike
// ConvTranspose2D it takes any OutputPad.
type ConvTransposeND struct {
	Stride    Ints `json:"stride"`     // one number per spatial axis
	Pad       Ints `json:"pad"`        // all beginnings, then all ends
	OutputPad Ints `json:"output_pad"` // one number per spatial axis
	Dilation  Ints `json:"dilation"`   // one number per spatial axis
	Groups    int  `json:"groups"`
}

// Kind returns "conv_transpose_nd".
func (*ConvTransposeND) Kind() string { return "conv_transpose_nd" }
func (o *ConvTransposeND) clone() Op {
	return &ConvTransposeND{Stride: slices.Clone(o.Stride), Pad: slices.Clone(o.Pad), OutputPad: slices.Clone(o.OutputPad),
		Dilation: slices.Clone(o.Dilation), Groups: o.Groups}
}

// InferShape checks the weight against the input.
func (o *ConvTransposeND) InferShape(in []Shape, p Params) (Shape, error) {
	d, w, err := convNDWeight(in, p, o.Stride, o.Pad, o.Dilation, o.Groups)
	if err != nil {
		return nil, err
	}
	if err := checkLen("output_pad", len(o.OutputPad), d); err != nil {
		return nil, err
	}
	if err := checkAttr("output_pad", 0, o.OutputPad...); err != nil {
		return nil, err
	}
	if c := in[0].Channels(); w[d] != c || c%o.Groups != 0 {
		return nil, fmt.Errorf("weight %v with %d groups does not fit %d input channels", w, o.Groups, c)
	}
	if err := wantVector(p, "bias", w[d+1]*o.Groups); err != nil {
		return nil, err
	}
	out := make(Shape, d+1)
	for i := range d {
		out[i] = (in[0][i]-1)*o.Stride[i] - o.Pad[i] - o.Pad[d+i] + o.Dilation[i]*(w[i]-1) + o.OutputPad[i] + 1
		if out[i] < 1 {
			return nil, fmt.Errorf("axis %d of the output would be %d long", i, out[i])
		}
	}
	out[d] = w[d+1] * o.Groups
	return out, nil
}

// MaxPoolND takes the maximum over windows of one, two or three axes; padding
// never wins. Over one or two axes without dilation use MaxPool2D, which also
// exists in spiking networks.
type MaxPoolND struct {
	Kernel   Ints `json:"kernel"`   // one number per spatial axis
	Stride   Ints `json:"stride"`   // one number per spatial axis
	Pad      Ints `json:"pad"`      // all beginnings, then all ends
	Dilation Ints `json:"dilation"` // one number per spatial axis
	CeilMode bool `json:"ceil_mode"`
}

// Kind returns "maxpool_nd".
func (*MaxPoolND) Kind() string { return "maxpool_nd" }
func (o *MaxPoolND) clone() Op {
	return &MaxPoolND{Kernel: slices.Clone(o.Kernel), Stride: slices.Clone(o.Stride), Pad: slices.Clone(o.Pad),
		Dilation: slices.Clone(o.Dilation), CeilMode: o.CeilMode}
}

// InferShape follows PyTorch's rounding rules.
func (o *MaxPoolND) InferShape(in []Shape, p Params) (Shape, error) {
	return poolNDShape(in, p, o.Kernel, o.Stride, o.Pad, o.Dilation, o.CeilMode)
}

// AvgPoolND takes the mean over windows of one, two or three axes. With
// CountIncludePad the divisor is the number of window cells inside the padded
// input, else that of the real ones. Over one or two axes without dilation use
// AvgPool2D, which also exists in spiking networks.
type AvgPoolND struct {
	Kernel          Ints `json:"kernel"`   // one number per spatial axis
	Stride          Ints `json:"stride"`   // one number per spatial axis
	Pad             Ints `json:"pad"`      // all beginnings, then all ends
	Dilation        Ints `json:"dilation"` // one number per spatial axis
	CeilMode        bool `json:"ceil_mode"`
	CountIncludePad bool `json:"count_include_pad"`
}

// Kind returns "avgpool_nd".
func (*AvgPoolND) Kind() string { return "avgpool_nd" }
func (o *AvgPoolND) clone() Op {
	return &AvgPoolND{Kernel: slices.Clone(o.Kernel), Stride: slices.Clone(o.Stride), Pad: slices.Clone(o.Pad),
		Dilation: slices.Clone(o.Dilation), CeilMode: o.CeilMode, CountIncludePad: o.CountIncludePad}
}

// InferShape follows PyTorch's rounding rules.
func (o *AvgPoolND) InferShape(in []Shape, p Params) (Shape, error) {
	return poolNDShape(in, p, o.Kernel, o.Stride, o.Pad, o.Dilation, o.CeilMode)
}

func poolNDShape(in []Shape, p Params, kernel, stride, pad, dilation Ints, ceil bool) (Shape, error) {
	d, err := wantSpace(in)
	if err != nil {
		return nil, err
	}
	for _, e := range []error{checkLen("kernel", len(kernel), d), checkAttr("kernel", 1, kernel...),
		checkWindow(d, stride, pad, dilation), wantParams(p, nil, nil)} {
		if e != nil {
			return nil, e
		}
	}
	out := make(Shape, d+1)
	for i := range d {
		if out[i], err = windowOut(in[0][i], kernel[i], stride[i], pad[i], pad[d+i], dilation[i], ceil); err != nil {
			return nil, err
		}
		if out[i] > maxSampleValues {
			return nil, fmt.Errorf("axis %d of the output would be %d long", i, out[i])
		}
		if o := windowInPadding(in[0][i], out[i], kernel[i], stride[i], pad[i], dilation[i]); o >= 0 {
			return nil, fmt.Errorf("axis %d: window %d lies in the padding", i, o)
		}
	}
	out[d] = in[0].Channels()
	return out, nil
}

// windowInPadding returns a window that has no cell in 0..n-1, -1 if there is
// none. Windows that begin in the padding in front may jump over the input;
// behind them only the last can lie beyond it.
func windowInPadding(n, out, k, stride, pad, dilation int) int {
	for o := 0; o < out && o*stride < pad; o++ {
		if !touches(o*stride-pad, k, dilation, n) {
			return o
		}
	}
	if !touches((out-1)*stride-pad, k, dilation, n) {
		return out - 1
	}
	return -1
}

// touches says whether one of the k cells from start on lies in 0..n-1.
func touches(start, k, dilation, n int) bool {
	if start < 0 {
		skip := (-start + dilation - 1) / dilation
		start += skip * dilation
		k -= skip
	}
	return k > 0 && start < n
}
