package graph

import (
	"fmt"
	"slices"
)

func init() {
	register(
		func() Op { return new(Transpose) },
		func() Op { return new(Reshape) },
		func() Op { return new(Slice) },
		func() Op { return new(Gather) },
		func() Op { return new(PadAxes) },
		func() Op { return new(Expand) },
		func() Op { return new(Tile) },
		func() Op { return new(ConcatAxis) },
		func() Op { return new(DepthToSpace) },
		func() Op { return new(SpaceToDepth) },
	)
}

// Transpose reorders the axes: axis i of the result is axis Perm[i] of the input.
type Transpose struct {
	Perm Ints `json:"perm"`
}

// Kind returns "transpose".
func (*Transpose) Kind() string { return "transpose" }
func (o *Transpose) clone() Op  { return &Transpose{Perm: slices.Clone(o.Perm)} }

// InferShape wants a permutation of the input's axes.
func (o *Transpose) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	if err := checkLen("perm", len(o.Perm), len(in[0])); err != nil {
		return nil, err
	}
	out := make(Shape, len(in[0]))
	seen := make([]bool, len(in[0]))
	for i, a := range o.Perm {
		if a < 0 || a >= len(seen) || seen[a] {
			return nil, fmt.Errorf("perm %v: want every axis 0 to %d once", []int(o.Perm), len(seen)-1)
		}
		seen[a] = true
		out[i] = in[0][a]
	}
	return out, nil
}

// Reshape gives the values, in their order, another shape.
type Reshape struct {
	Shape Ints `json:"shape"` // per sample, no placeholders
}

// Kind returns "reshape".
func (*Reshape) Kind() string { return "reshape" }
func (o *Reshape) clone() Op  { return &Reshape{Shape: slices.Clone(o.Shape)} }

// InferShape wants as many values as the input has.
func (o *Reshape) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	out := slices.Clone(Shape(o.Shape))
	if err := checkVolume(out); err != nil {
		return nil, err
	}
	if out.Numel() != in[0].Numel() {
		return nil, fmt.Errorf("shape %v holds %d values, the input %v has %d", []int(out), out.Numel(), []int(in[0]), in[0].Numel())
	}
	return out, nil
}

// Slice takes every Step-th value of each axis, beginning at Start: index i of the
// result is index Start+i*Step of the input. All three have one number per axis.
type Slice struct {
	Start Ints `json:"start"`
	Size  Ints `json:"size"` // of the result
	Step  Ints `json:"step"` // may be negative
}

// Kind returns "slice".
func (*Slice) Kind() string { return "slice" }
func (o *Slice) clone() Op {
	return &Slice{Start: slices.Clone(o.Start), Size: slices.Clone(o.Size), Step: slices.Clone(o.Step)}
}

// InferShape wants all indices inside the input.
func (o *Slice) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	n := len(in[0])
	for _, e := range []error{checkLen("start", len(o.Start), n), checkLen("size", len(o.Size), n), checkLen("step", len(o.Step), n)} {
		if e != nil {
			return nil, e
		}
	}
	for i, n := range in[0] {
		start, size, step := o.Start[i], o.Size[i], o.Step[i]
		if start < 0 || start >= n || size < 1 || size > n || step < -n || step > n || step == 0 && size > 1 {
			return nil, fmt.Errorf("axis %d: %d from %d in steps of %d: the input has %d", i, size, start, step, n)
		}
		if last := start + (size-1)*step; last < 0 || last >= n {
			return nil, fmt.Errorf("axis %d: %d from %d in steps of %d end at %d: the input has %d", i, size, start, step, last, n)
		}
	}
	return slices.Clone(Shape(o.Size)), nil
}

// Gather selects constant indices along an axis, which IndexShape replaces in the
// result: none for one index removes the axis, one keeps it, two add one.
type Gather struct {
	Axis       int  `json:"axis"`
	Indices    Ints `json:"indices"`     // 0 or more and below the axis's length, row-major
	IndexShape Ints `json:"index_shape"` // of Indices
}

// Kind returns "gather".
func (*Gather) Kind() string { return "gather" }
func (o *Gather) clone() Op {
	return &Gather{Axis: o.Axis, Indices: slices.Clone(o.Indices), IndexShape: slices.Clone(o.IndexShape)}
}

// InferShape replaces the axis.
func (o *Gather) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	if err := checkAxis(o.Axis, len(in[0])); err != nil {
		return nil, err
	}
	if err := checkVolume(Shape(o.IndexShape)); err != nil {
		return nil, err
	}
	if n := Shape(o.IndexShape).Numel(); n != len(o.Indices) {
		return nil, fmt.Errorf("%d indices for index_shape %v", len(o.Indices), []int(o.IndexShape))
	}
	for _, i := range o.Indices {
		if i < 0 || i >= in[0][o.Axis] {
			return nil, fmt.Errorf("index %d: axis %d has %d", i, o.Axis, in[0][o.Axis])
		}
	}
	out := slices.Concat(in[0][:o.Axis], Shape(o.IndexShape), in[0][o.Axis+1:])
	return scalarShape(out), nil
}

// PadAxes adds values before and behind every axis; negative numbers remove some.
type PadAxes struct {
	Begin Ints   `json:"begin"` // one number per axis
	End   Ints   `json:"end"`   // one number per axis
	Mode  string `json:"mode"`  // "constant", "reflect" (without the border itself), "edge" or "wrap"
	Value Float  `json:"value"` // of mode constant
}

// Kind returns "pad".
func (*PadAxes) Kind() string { return "pad" }
func (o *PadAxes) clone() Op {
	return &PadAxes{Begin: slices.Clone(o.Begin), End: slices.Clone(o.End), Mode: o.Mode, Value: o.Value}
}

// InferShape wants at least one value left on every axis.
func (o *PadAxes) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	if err := checkLen("begin", len(o.Begin), len(in[0])); err != nil {
		return nil, err
	}
	if err := checkLen("end", len(o.End), len(in[0])); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"constant", "reflect", "edge", "wrap"}, o.Mode) {
		return nil, fmt.Errorf("mode %q, want constant, reflect, edge or wrap", o.Mode)
	}
	out := make(Shape, len(in[0]))
	for i, n := range in[0] {
		b, e := o.Begin[i], o.End[i]
		if err := checkAttr("pad", -maxAttr, b, e); err != nil {
			return nil, err
		}
		// What negative numbers leave is what the other side is made of.
		left := n + min(b, 0) + min(e, 0)
		if left < 1 {
			return nil, fmt.Errorf("axis %d: pads %d and %d leave nothing of %d", i, b, e, n)
		}
		out[i] = n + b + e
	}
	return out, nil
}

// Expand repeats axes of length 1, and adds axes in front, up to Shape.
type Expand struct {
	Shape Ints `json:"shape"`
}

// Kind returns "expand".
func (*Expand) Kind() string { return "expand" }
func (o *Expand) clone() Op  { return &Expand{Shape: slices.Clone(o.Shape)} }

// InferShape wants an input that broadcasts to Shape.
func (o *Expand) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	out, err := BroadcastShapes(in[0], Shape(o.Shape))
	if err != nil || !slices.Equal(out, Shape(o.Shape)) {
		return nil, fmt.Errorf("input of shape %v cannot be broadcast to %v", []int(in[0]), []int(o.Shape))
	}
	return out, nil
}

// Tile repeats every axis as a whole, Repeats times.
type Tile struct {
	Repeats Ints `json:"repeats"` // one number per axis
}

// Kind returns "tile".
func (*Tile) Kind() string { return "tile" }
func (o *Tile) clone() Op  { return &Tile{Repeats: slices.Clone(o.Repeats)} }

// InferShape multiplies the axes.
func (o *Tile) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	if err := checkLen("repeats", len(o.Repeats), len(in[0])); err != nil {
		return nil, err
	}
	if err := checkAttr("repeats", 1, o.Repeats...); err != nil {
		return nil, err
	}
	out := slices.Clone(in[0])
	for i, r := range o.Repeats {
		out[i] *= r
	}
	return out, nil
}

// ConcatAxis joins inputs along any axis. Along the channels use Concat, which
// also exists in spiking networks.
type ConcatAxis struct {
	Axis int `json:"axis"`
}

// Kind returns "concat_axis".
func (*ConcatAxis) Kind() string { return "concat_axis" }
func (o *ConcatAxis) clone() Op  { c := *o; return &c }

// InferShape wants shapes that differ in the axis only.
func (o *ConcatAxis) InferShape(in []Shape, p Params) (Shape, error) {
	if len(in) < 1 {
		return nil, fmt.Errorf("no inputs, want at least 1")
	}
	if err := wantParams(p, nil, nil); err != nil {
		return nil, err
	}
	if err := checkAxis(o.Axis, len(in[0])); err != nil {
		return nil, err
	}
	out := slices.Clone(in[0])
	for _, s := range in[1:] {
		if len(s) != len(out) || !slices.Equal(s[:o.Axis], out[:o.Axis]) || !slices.Equal(s[o.Axis+1:], out[o.Axis+1:]) {
			return nil, fmt.Errorf("inputs of shapes %v and %v, want equal ones but for axis %d", []int(in[0]), []int(s), o.Axis)
		}
		out[o.Axis] += s[o.Axis]
	}
	return out, nil
}

// DepthToSpace moves blocks of channels into rows and columns, [H, W, C] ->
// [H*Block, W*Block, C/Block²]: row r and column q of a block come from channel
// (r*Block+q)*C/Block² + c, or c*Block² + r*Block + q with ChannelFirst (ONNX's
// modes DCR and CRD; the second is PyTorch's pixel shuffle).
type DepthToSpace struct {
	Block        int  `json:"block"`
	ChannelFirst bool `json:"channel_first"`
}

// Kind returns "depth_to_space".
func (*DepthToSpace) Kind() string { return "depth_to_space" }
func (o *DepthToSpace) clone() Op  { c := *o; return &c }

// InferShape wants an image with a multiple of Block² channels.
func (o *DepthToSpace) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantImage3(in); err != nil {
		return nil, err
	}
	if err := wantParams(p, nil, nil); err != nil {
		return nil, err
	}
	if err := checkAttr("block", 1, o.Block); err != nil {
		return nil, err
	}
	h, w, c := in[0].HWC()
	if c%(o.Block*o.Block) != 0 {
		return nil, fmt.Errorf("%d channels do not split into blocks of %d x %d", c, o.Block, o.Block)
	}
	return Shape{h * o.Block, w * o.Block, c / (o.Block * o.Block)}, nil
}

// SpaceToDepth is the inverse of DepthToSpace: [H, W, C] -> [H/Block, W/Block,
// C*Block²], with channel (r*Block+q)*C + c, or c*Block² + r*Block + q with
// ChannelFirst.
type SpaceToDepth struct {
	Block        int  `json:"block"`
	ChannelFirst bool `json:"channel_first"`
}

// Kind returns "space_to_depth".
func (*SpaceToDepth) Kind() string { return "space_to_depth" }
func (o *SpaceToDepth) clone() Op  { c := *o; return &c }

// InferShape wants an image of whole blocks.
func (o *SpaceToDepth) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantImage3(in); err != nil {
		return nil, err
	}
	if err := wantParams(p, nil, nil); err != nil {
		return nil, err
	}
	if err := checkAttr("block", 1, o.Block); err != nil {
		return nil, err
	}
	h, w, c := in[0].HWC()
	if h%o.Block != 0 || w%o.Block != 0 {
		return nil, fmt.Errorf("image of %d x %d does not split into blocks of %d", h, w, o.Block)
	}
	return Shape{h / o.Block, w / o.Block, c * o.Block * o.Block}, nil
}
