package graph

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// An Op is one operation: a small struct of attributes. Parameters live in the
// node. New operations are added in this package, see CONTRIBUTING.
type Op interface {
	// Kind is the operation's name in files and messages.
	Kind() string
	// InferShape returns the per-sample shape of the output and checks the
	// number of inputs, the attributes and the parameters' shapes.
	InferShape(in []Shape, p Params) (Shape, error)

	clone() Op
}

// kinds makes an empty operation of every kind; it is what the JSON form reads.
var kinds = map[string]func() Op{}

func register(fns ...func() Op) {
	for _, fn := range fns {
		kinds[fn().Kind()] = fn
	}
}

func init() {
	register(
		func() Op { return new(Input) },
		func() Op { return new(Conv2D) },
		func() Op { return new(ConvTranspose2D) },
		func() Op { return new(Linear) },
		func() Op { return new(BatchNorm) },
		func() Op { return new(ReLU) },
		func() Op { return new(ReLU6) },
		func() Op { return new(LeakyReLU) },
		func() Op { return new(MaxPool2D) },
		func() Op { return new(AvgPool2D) },
		func() Op { return new(GlobalAvgPool) },
		func() Op { return new(GlobalMaxPool) },
		func() Op { return new(Add) },
		func() Op { return new(Concat) },
		func() Op { return new(Flatten) },
		func() Op { return new(Upsample) },
		func() Op { return new(Softmax) },
		func() Op { return new(LogSoftmax) },
		func() Op { return new(Identity) },
		func() Op { return new(Dropout) },
	)
}

// Kinds returns the kinds of all operations, sorted.
func Kinds() []string {
	var names []string
	for k := range kinds {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

func wantInputs(in []Shape, n int) error {
	if len(in) != n {
		return fmt.Errorf("%d inputs, want %d", len(in), n)
	}
	return nil
}

// wantParams checks that exactly the required and optional parameters are there.
func wantParams(p Params, required, optional []string) error {
	for _, role := range required {
		if p[role] == nil {
			return fmt.Errorf("parameter %q is missing", role)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(p)) {
		if !slices.Contains(required, role) && !slices.Contains(optional, role) {
			return fmt.Errorf("unknown parameter %q", role)
		}
	}
	return nil
}

// wantVector checks a parameter of one value per channel, if it is there.
func wantVector(p Params, role string, n int) error {
	t := p[role]
	if t == nil {
		return nil
	}
	if len(t.Shape) != 1 || t.Shape[0] != n {
		return fmt.Errorf("%s has shape %v, want [%d]", role, t.Shape, n)
	}
	return nil
}

// wantImage checks that the only input is [H, W, C], or [P, C], which counts as
// an image of P rows and one column (Shape.HWC).
func wantImage(in []Shape) error {
	if err := wantInputs(in, 1); err != nil {
		return err
	}
	if len(in[0]) != 2 && len(in[0]) != 3 {
		return fmt.Errorf("input has shape %v, want [H W C] or [P C]", []int(in[0]))
	}
	return nil
}

// wantImage3 checks that the only input is [H, W, C].
func wantImage3(in []Shape) error {
	if err := wantInputs(in, 1); err != nil {
		return err
	}
	if len(in[0]) != 3 {
		return fmt.Errorf("input has shape %v, want [H W C]", []int(in[0]))
	}
	return nil
}

// imageShape is the output shape for an input of an image or of points: of the
// latter, one column stays none.
func imageShape(in Shape, h, w, c int) (Shape, error) {
	if len(in) == 3 {
		return Shape{h, w, c}, nil
	}
	if w != 1 {
		return nil, fmt.Errorf("input has shape %v: the output would have %d columns, want 1", []int(in), w)
	}
	return Shape{h, c}, nil
}

// Pad holds the padding of an image: top, left, bottom, right, in pixels.
type Pad [4]int

// Uniform returns the same padding above and below (rows), left and right
// (columns).
func Uniform(rows, columns int) Pad { return Pad{rows, columns, rows, columns} }

// Total returns the rows and columns added.
func (p Pad) Total() (rows, columns int) { return p[0] + p[2], p[1] + p[3] }

// maxAttr bounds strides, kernels, paddings and dilations, so that products of
// them cannot overflow.
const maxAttr = 1 << 20

func checkAttr(name string, low int, values ...int) error {
	for _, v := range values {
		if v < low || v > maxAttr {
			return fmt.Errorf("%s %v: want %d to %d", name, values, low, maxAttr)
		}
	}
	return nil
}

// windowOut is the number of positions of a window of size k along an axis of
// length n. With ceil, a last partial window counts if it starts inside the
// input or the left padding (PyTorch's rule).
func windowOut(n, k, stride, padLo, padHi, dilation int, ceil bool) (int, error) {
	span := dilation*(k-1) + 1
	room := n + padLo + padHi - span
	if room < 0 {
		return 0, fmt.Errorf("window of %d does not fit into %d+%d", span, n, padLo+padHi)
	}
	if !ceil {
		return room/stride + 1, nil
	}
	out := (room+stride-1)/stride + 1
	if (out-1)*stride >= n+padLo {
		out--
	}
	return out, nil
}

// Input is a place where samples enter, of a fixed per-sample shape.
type Input struct {
	Shape Shape `json:"shape"`
}

// Kind returns "input".
func (*Input) Kind() string { return "input" }
func (o *Input) clone() Op  { c := *o; c.Shape = slices.Clone(o.Shape); return &c }

// InferShape returns the declared shape.
func (o *Input) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 0); err != nil {
		return nil, err
	}
	return slices.Clone(o.Shape), wantParams(p, nil, nil)
}

// Conv2D is a convolution [H, W, Cin] -> [OH, OW, Cout] with weight
// [KH, KW, Cin/groups, Cout] and an optional bias [Cout]. A convolution over one
// axis is the same on [P, Cin] -> [OP, Cout] with a weight [K, 1, Cin/groups,
// Cout]: points count as an image of one column.
type Conv2D struct {
	Stride   [2]int `json:"stride"` // rows, columns
	Pad      Pad    `json:"pad"`    // top, left, bottom, right
	Dilation [2]int `json:"dilation"`
	Groups   int    `json:"groups"`
}

// Kind returns "conv2d".
func (*Conv2D) Kind() string { return "conv2d" }
func (o *Conv2D) clone() Op  { c := *o; return &c }

// InferShape checks the weight against the input.
func (o *Conv2D) InferShape(in []Shape, p Params) (Shape, error) {
	w, err := convWeight(in, p, o.Stride, o.Pad, o.Dilation, o.Groups)
	if err != nil {
		return nil, err
	}
	h, wd, c := in[0].HWC()
	if w[2]*o.Groups != c {
		return nil, fmt.Errorf("weight %v with %d groups wants %d input channels, input has %d", w, o.Groups, w[2]*o.Groups, c)
	}
	if w[3]%o.Groups != 0 {
		return nil, fmt.Errorf("%d output channels do not split into %d groups", w[3], o.Groups)
	}
	if err := wantVector(p, "bias", w[3]); err != nil {
		return nil, err
	}
	oh, err := windowOut(h, w[0], o.Stride[0], o.Pad[0], o.Pad[2], o.Dilation[0], false)
	if err != nil {
		return nil, err
	}
	ow, err := windowOut(wd, w[1], o.Stride[1], o.Pad[1], o.Pad[3], o.Dilation[1], false)
	if err != nil {
		return nil, err
	}
	return imageShape(in[0], oh, ow, w[3])
}

// convWeight checks what a convolution and a transposed one have in common.
func convWeight(in []Shape, p Params, stride [2]int, pad Pad, dilation [2]int, groups int) ([]int, error) {
	if err := wantImage(in); err != nil {
		return nil, err
	}
	if err := wantParams(p, []string{"weight"}, []string{"bias"}); err != nil {
		return nil, err
	}
	w := p["weight"].Shape
	if len(w) != 4 {
		return nil, fmt.Errorf("weight has shape %v, want 4 axes", w)
	}
	for _, e := range []error{
		checkAttr("stride", 1, stride[:]...), checkAttr("pad", 0, pad[:]...),
		checkAttr("dilation", 1, dilation[:]...), checkAttr("groups", 1, groups),
		checkAttr("weight shape", 1, w...),
	} {
		if e != nil {
			return nil, e
		}
	}
	return w, nil
}

// ConvTranspose2D is the transposed convolution [H, W, Cin] -> [OH, OW, Cout]
// with weight [KH, KW, Cin, Cout/groups] and an optional bias [Cout];
// OH = (H-1)*stride - pad + dilation*(KH-1) + OutputPad + 1.
type ConvTranspose2D struct {
	Stride    [2]int `json:"stride"`
	Pad       Pad    `json:"pad"`
	OutputPad [2]int `json:"output_pad"`
	Dilation  [2]int `json:"dilation"`
	Groups    int    `json:"groups"`
}

// Kind returns "conv_transpose2d".
func (*ConvTranspose2D) Kind() string { return "conv_transpose2d" }
func (o *ConvTranspose2D) clone() Op  { c := *o; return &c }

// InferShape checks the weight against the input.
func (o *ConvTranspose2D) InferShape(in []Shape, p Params) (Shape, error) {
	w, err := convWeight(in, p, o.Stride, o.Pad, o.Dilation, o.Groups)
	if err != nil {
		return nil, err
	}
	if err := checkAttr("output_pad", 0, o.OutputPad[:]...); err != nil {
		return nil, err
	}
	h, wd, c := in[0].HWC()
	if w[2] != c || c%o.Groups != 0 {
		return nil, fmt.Errorf("weight %v with %d groups does not fit %d input channels", w, o.Groups, c)
	}
	if err := wantVector(p, "bias", w[3]*o.Groups); err != nil {
		return nil, err
	}
	for i := range 2 {
		if o.OutputPad[i] >= max(o.Stride[i], o.Dilation[i]) {
			return nil, fmt.Errorf("output_pad %v must be smaller than stride %v or dilation %v", o.OutputPad, o.Stride, o.Dilation)
		}
	}
	rows, columns := o.Pad.Total()
	oh := (h-1)*o.Stride[0] - rows + o.Dilation[0]*(w[0]-1) + o.OutputPad[0] + 1
	ow := (wd-1)*o.Stride[1] - columns + o.Dilation[1]*(w[1]-1) + o.OutputPad[1] + 1
	if oh < 1 || ow < 1 {
		return nil, fmt.Errorf("output would be %d x %d", oh, ow)
	}
	return imageShape(in[0], oh, ow, w[3]*o.Groups)
}

// Linear is a fully connected layer over the last axis, with weight [In, Out]
// and an optional bias [Out].
type Linear struct{}

// Kind returns "linear".
func (*Linear) Kind() string { return "linear" }
func (*Linear) clone() Op    { return &Linear{} }

// InferShape checks the weight against the last axis of the input.
func (*Linear) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return nil, err
	}
	if err := wantParams(p, []string{"weight"}, []string{"bias"}); err != nil {
		return nil, err
	}
	w := p["weight"].Shape
	if len(w) != 2 {
		return nil, fmt.Errorf("weight has shape %v, want [In Out]", w)
	}
	if w[0] != in[0].Channels() {
		return nil, fmt.Errorf("weight %v wants %d input features, input has shape %v", w, w[0], in[0])
	}
	out := slices.Clone(in[0])
	out[len(out)-1] = w[1]
	return out, wantVector(p, "bias", w[1])
}

// BatchNorm normalises every channel: y = (x-mean)/sqrt(var+eps)*weight + bias.
// Parameters "mean" and "var" [C] are running statistics; "weight" and "bias"
// [C] are optional (1 and 0).
type BatchNorm struct {
	Eps      float64 `json:"eps"`
	Momentum float64 `json:"momentum"` // share of the new batch in the running statistics
}

// Kind returns "batchnorm".
func (*BatchNorm) Kind() string { return "batchnorm" }
func (o *BatchNorm) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *BatchNorm) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return nil, err
	}
	if err := wantParams(p, []string{"mean", "var"}, []string{"weight", "bias"}); err != nil {
		return nil, err
	}
	if !(o.Eps > 0) || o.Eps > 1 || !(o.Momentum >= 0) || o.Momentum > 1 {
		return nil, fmt.Errorf("eps %g, momentum %g: want 0 < eps <= 1 and 0 <= momentum <= 1", o.Eps, o.Momentum)
	}
	for _, role := range []string{"mean", "var", "weight", "bias"} {
		if err := wantVector(p, role, in[0].Channels()); err != nil {
			return nil, err
		}
	}
	for i, v := range p["var"].Data {
		if v < 0 {
			return nil, fmt.Errorf("var[%d] is %g, want >= 0", i, v)
		}
	}
	return slices.Clone(in[0]), nil
}

// Affine returns the normalisation with the running statistics as
// y = scale*x + shift per channel, computed in float64.
func (o *BatchNorm) Affine(p Params) (scale, shift []float64) {
	mean, variance := p["mean"].Data, p["var"].Data
	scale, shift = make([]float64, len(mean)), make([]float64, len(mean))
	for c := range mean {
		gamma, beta := 1.0, 0.0
		if w := p["weight"]; w != nil {
			gamma = float64(w.Data[c])
		}
		if b := p["bias"]; b != nil {
			beta = float64(b.Data[c])
		}
		scale[c] = gamma / math.Sqrt(float64(variance[c])+o.Eps)
		shift[c] = beta - float64(mean[c])*scale[c]
	}
	return scale, shift
}
