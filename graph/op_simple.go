package graph

import (
	"fmt"
	"math"
	"slices"
)

// sameShape is the inference of operations with one input and no parameters.
func sameShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return nil, err
	}
	return slices.Clone(in[0]), wantParams(p, nil, nil)
}

// ReLU is max(0, x).
type ReLU struct{}

// Kind returns "relu".
func (*ReLU) Kind() string { return "relu" }
func (*ReLU) clone() Op    { return &ReLU{} }

// InferShape returns the input's shape.
func (*ReLU) InferShape(in []Shape, p Params) (Shape, error) { return sameShape(in, p) }

// ReLU6 is min(6, max(0, x)).
type ReLU6 struct{}

// Kind returns "relu6".
func (*ReLU6) Kind() string { return "relu6" }
func (*ReLU6) clone() Op    { return &ReLU6{} }

// InferShape returns the input's shape.
func (*ReLU6) InferShape(in []Shape, p Params) (Shape, error) { return sameShape(in, p) }

// LeakyReLU is x for x >= 0 and Alpha*x below.
type LeakyReLU struct {
	Alpha float64 `json:"alpha"`
}

// Kind returns "leaky_relu".
func (*LeakyReLU) Kind() string { return "leaky_relu" }
func (o *LeakyReLU) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *LeakyReLU) InferShape(in []Shape, p Params) (Shape, error) {
	if math.IsNaN(o.Alpha) || math.IsInf(o.Alpha, 0) {
		return nil, fmt.Errorf("alpha %g: want a finite number", o.Alpha)
	}
	return sameShape(in, p)
}

// MaxPool2D takes the maximum over windows of [H, W, C]; padding never wins. A
// pool over one axis is the same on [P, C] with a window of one column.
type MaxPool2D struct {
	Kernel   [2]int `json:"kernel"`
	Stride   [2]int `json:"stride"`
	Pad      Pad    `json:"pad"`
	CeilMode bool   `json:"ceil_mode"`
}

// Kind returns "maxpool2d".
func (*MaxPool2D) Kind() string { return "maxpool2d" }
func (o *MaxPool2D) clone() Op  { c := *o; return &c }

// InferShape follows PyTorch's rounding rules.
func (o *MaxPool2D) InferShape(in []Shape, p Params) (Shape, error) {
	return poolShape(in, p, o.Kernel, o.Stride, o.Pad, o.CeilMode)
}

// AvgPool2D takes the mean over windows of [H, W, C], or of [P, C] with a window
// of one column. With CountIncludePad the divisor is
// the size of the window inside the padded input, else the number of real
// pixels in it.
type AvgPool2D struct {
	Kernel          [2]int `json:"kernel"`
	Stride          [2]int `json:"stride"`
	Pad             Pad    `json:"pad"`
	CeilMode        bool   `json:"ceil_mode"`
	CountIncludePad bool   `json:"count_include_pad"`
}

// Kind returns "avgpool2d".
func (*AvgPool2D) Kind() string { return "avgpool2d" }
func (o *AvgPool2D) clone() Op  { c := *o; return &c }

// InferShape follows PyTorch's rounding rules.
func (o *AvgPool2D) InferShape(in []Shape, p Params) (Shape, error) {
	return poolShape(in, p, o.Kernel, o.Stride, o.Pad, o.CeilMode)
}

func poolShape(in []Shape, p Params, kernel, stride [2]int, pad Pad, ceil bool) (Shape, error) {
	if err := wantImage(in); err != nil {
		return nil, err
	}
	for _, e := range []error{
		checkAttr("kernel", 1, kernel[:]...), checkAttr("stride", 1, stride[:]...),
		checkAttr("pad", 0, pad[:]...), wantParams(p, nil, nil),
	} {
		if e != nil {
			return nil, e
		}
	}
	for i := range 2 {
		if 2*max(pad[i], pad[i+2]) > kernel[i] {
			return nil, fmt.Errorf("pad %v is more than half of kernel %v: a window would lie in the padding", pad, kernel)
		}
	}
	h, w, c := in[0].HWC()
	oh, err := windowOut(h, kernel[0], stride[0], pad[0], pad[2], 1, ceil)
	if err != nil {
		return nil, err
	}
	ow, err := windowOut(w, kernel[1], stride[1], pad[1], pad[3], 1, ceil)
	if err != nil {
		return nil, err
	}
	return imageShape(in[0], oh, ow, c)
}

// GlobalAvgPool is the mean over all positions, [H, W, C] -> [1, 1, C],
// or [P, C] -> [1, C].
type GlobalAvgPool struct{}

// Kind returns "global_avgpool".
func (*GlobalAvgPool) Kind() string { return "global_avgpool" }
func (*GlobalAvgPool) clone() Op    { return &GlobalAvgPool{} }

// InferShape keeps the two spatial axes as 1.
func (*GlobalAvgPool) InferShape(in []Shape, p Params) (Shape, error) { return globalShape(in, p) }

// GlobalMaxPool is the maximum over all positions, [H, W, C] -> [1, 1, C],
// or [P, C] -> [1, C].
type GlobalMaxPool struct{}

// Kind returns "global_maxpool".
func (*GlobalMaxPool) Kind() string { return "global_maxpool" }
func (*GlobalMaxPool) clone() Op    { return &GlobalMaxPool{} }

// InferShape keeps the two spatial axes as 1.
func (*GlobalMaxPool) InferShape(in []Shape, p Params) (Shape, error) { return globalShape(in, p) }

func globalShape(in []Shape, p Params) (Shape, error) {
	if err := wantImage(in); err != nil {
		return nil, err
	}
	out, err := imageShape(in[0], 1, 1, in[0].Channels())
	if err != nil {
		return nil, err
	}
	return out, wantParams(p, nil, nil)
}

// Add is the element-wise sum of two or more inputs of one shape.
type Add struct{}

// Kind returns "add".
func (*Add) Kind() string { return "add" }
func (*Add) clone() Op    { return &Add{} }

// InferShape wants equal shapes.
func (*Add) InferShape(in []Shape, p Params) (Shape, error) {
	if len(in) < 2 {
		return nil, fmt.Errorf("%d inputs, want at least 2", len(in))
	}
	for _, s := range in[1:] {
		if !slices.Equal(s, in[0]) {
			return nil, fmt.Errorf("inputs of shapes %v and %v, want equal ones", in[0], s)
		}
	}
	return slices.Clone(in[0]), wantParams(p, nil, nil)
}

// Concat joins inputs along the channels.
type Concat struct{}

// Kind returns "concat".
func (*Concat) Kind() string { return "concat" }
func (*Concat) clone() Op    { return &Concat{} }

// InferShape wants shapes that differ in the channels only.
func (*Concat) InferShape(in []Shape, p Params) (Shape, error) {
	if len(in) < 1 {
		return nil, fmt.Errorf("no inputs, want at least 1")
	}
	out := slices.Clone(in[0])
	last := len(out) - 1
	for _, s := range in[1:] {
		if len(s) != len(out) || !slices.Equal(s[:last], out[:last]) {
			return nil, fmt.Errorf("inputs of shapes %v and %v, want equal ones but for the channels", in[0], s)
		}
		out[last] += s[last]
	}
	return out, wantParams(p, nil, nil)
}

// Flatten turns a sample into one vector, channels innermost.
type Flatten struct{}

// Kind returns "flatten".
func (*Flatten) Kind() string { return "flatten" }
func (*Flatten) clone() Op    { return &Flatten{} }

// InferShape returns one axis.
func (*Flatten) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return nil, err
	}
	return Shape{in[0].Numel()}, wantParams(p, nil, nil)
}

// Upsample resizes [H, W, C], or [P, C] with one column, to Size, as torch.nn.functional.interpolate does.
type Upsample struct {
	Size         [2]int `json:"size"` // rows, columns
	Mode         string `json:"mode"` // "nearest" or "bilinear"
	AlignCorners bool   `json:"align_corners"`
}

// Kind returns "upsample".
func (*Upsample) Kind() string { return "upsample" }
func (o *Upsample) clone() Op  { c := *o; return &c }

// InferShape returns Size with the input's channels.
func (o *Upsample) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantImage(in); err != nil {
		return nil, err
	}
	if o.Mode != "nearest" && o.Mode != "bilinear" {
		return nil, fmt.Errorf("mode %q, want nearest or bilinear", o.Mode)
	}
	if err := checkAttr("size", 1, o.Size[:]...); err != nil {
		return nil, err
	}
	out, err := imageShape(in[0], o.Size[0], o.Size[1], in[0].Channels())
	if err != nil {
		return nil, err
	}
	return out, wantParams(p, nil, nil)
}

// Softmax normalises exp(x) over the channels.
type Softmax struct{}

// Kind returns "softmax".
func (*Softmax) Kind() string { return "softmax" }
func (*Softmax) clone() Op    { return &Softmax{} }

// InferShape returns the input's shape.
func (*Softmax) InferShape(in []Shape, p Params) (Shape, error) { return sameShape(in, p) }

// LogSoftmax is the logarithm of Softmax.
type LogSoftmax struct{}

// Kind returns "log_softmax".
func (*LogSoftmax) Kind() string { return "log_softmax" }
func (*LogSoftmax) clone() Op    { return &LogSoftmax{} }

// InferShape returns the input's shape.
func (*LogSoftmax) InferShape(in []Shape, p Params) (Shape, error) { return sameShape(in, p) }

// Identity passes its input on; clean-up removes it.
type Identity struct{}

// Kind returns "identity".
func (*Identity) Kind() string { return "identity" }
func (*Identity) clone() Op    { return &Identity{} }

// InferShape returns the input's shape.
func (*Identity) InferShape(in []Shape, p Params) (Shape, error) { return sameShape(in, p) }

// Dropout zeroes values with probability P while training and scales the rest
// by 1/(1-P); elsewhere it is the identity.
type Dropout struct {
	P float64 `json:"p"`
}

// Kind returns "dropout".
func (*Dropout) Kind() string { return "dropout" }
func (o *Dropout) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *Dropout) InferShape(in []Shape, p Params) (Shape, error) {
	if !(o.P >= 0) || o.P >= 1 {
		return nil, fmt.Errorf("p %g: want 0 <= p < 1", o.P)
	}
	return sameShape(in, p)
}
