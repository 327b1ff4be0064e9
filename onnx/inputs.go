package onnx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// An inputPlan is what is known about the inputs before the graph is read.
type inputPlan struct {
	batched bool // axis 0 of every input is the batch
	open    bool // of any size
	size    int  // of the batch: that of the file, or 1
	inputs  []plannedInput
}

type plannedInput struct {
	name  string
	dtype dtype
	shape []int // axis 0 is the batch's size
}

// planInputs finds the shapes of the data inputs and the batch.
func planInputs(f *File, opts Options) (*inputPlan, error) {
	isInit := make(map[string]bool)
	for _, t := range f.Graph.Initializers {
		isInit[t.Name] = true
	}
	p := &inputPlan{batched: true, size: -1}
	seen := make(map[string]bool)
	for _, v := range f.Graph.Inputs {
		if isInit[v.Name] {
			continue
		}
		seen[v.Name] = true
		fail := func(format string, args ...any) error {
			return formatErrorf(f.Path, v.Offset, "input %q: %s", v.Name, fmt.Sprintf(format, args...))
		}
		if v.Kind != "tensor" {
			return nil, fail("type is %q, want a tensor", v.Kind)
		}
		d := dtype(v.Type)
		if d.size() == 0 {
			return nil, &unsupportedType{fail("elements of type %s are not supported", d)}
		}
		shape, open, err := inputShape(v, opts.InputShapes[v.Name])
		if err != nil {
			return nil, fail("%v", err)
		}
		switch {
		case len(shape) == 0:
			p.batched = false
		case open:
			p.open = true
		case p.size >= 0 && p.size != shape[0]:
			p.batched = false
		default:
			p.size = shape[0]
		}
		p.inputs = append(p.inputs, plannedInput{v.Name, d, shape})
	}
	for name := range opts.InputShapes {
		if !seen[name] {
			return nil, formatErrorf(f.Path, -1, "no input %q to give a shape to", name)
		}
	}
	if p.size < 0 {
		p.size = 1
	} else if p.open { // some inputs with a batch of fixed size, others without
		p.open = false
	}
	for i, in := range p.inputs {
		if len(in.shape) > 0 && in.shape[0] < 0 {
			p.inputs[i].shape[0] = p.size
		}
	}
	if p.size == 0 {
		p.batched = false
	}
	return p, nil
}

// inputShape returns the shape of an input, with -1 for an open batch.
func inputShape(v *ValueDef, given []int) (shape []int, open bool, err error) {
	if !v.HasShape {
		if given == nil {
			return nil, false, errors.New("the file gives no shape: give one")
		}
		return append([]int{-1}, given...), true, nil
	}
	if len(v.Shape) > maxRank {
		return nil, false, fmt.Errorf("%d axes, want at most %d", len(v.Shape), maxRank)
	}
	if given != nil && len(given) != len(v.Shape) && len(given) != len(v.Shape)-1 {
		return nil, false, fmt.Errorf("shape %v given, the file has %d axes", given, len(v.Shape))
	}
	skip := len(v.Shape) - len(given)
	for k, d := range v.Shape {
		size := d.Value
		if d.Param != "" || size < 0 {
			size = -1
		}
		if size > 1<<31 {
			return nil, false, fmt.Errorf("axis %d has size %d", k, size)
		}
		if given != nil && k >= skip {
			g := int64(given[k-skip])
			if g < 1 || g > 1<<31 {
				return nil, false, fmt.Errorf("size %d given for axis %d", g, k)
			}
			if size >= 0 && size != g {
				return nil, false, fmt.Errorf("size %d given for axis %d, the file says %d", g, k, size)
			}
			size = g
		}
		if size < 0 && k > 0 {
			name := d.Param
			if name == "" {
				name = "?"
			}
			return nil, false, fmt.Errorf("axis %d (%s) has no size: give the input's shape", k, name)
		}
		open = open || size < 0
		shape = append(shape, int(size))
	}
	return shape, open, nil
}

// input adds an input node: channels last where the network treats axis 1 as
// channels, else in ONNX's order.
func (im *importer) input(in plannedInput) error {
	v := Value{Name: in.name, Type: in.dtype.String(), Shape: slices.Clone(in.shape)}
	if numel(in.shape) == 0 {
		c := &constant{shape: in.shape, dtype: in.dtype}
		im.values[in.name] = value{c: c}
		v.Constant = &tensor.Tensor{Shape: in.shape}
		im.inputs = append(im.inputs, v)
		return nil
	}
	axes := make([][]*atom, len(in.shape))
	for k, d := range in.shape {
		axes[k] = newAtoms(d)
	}
	if im.batch != nil {
		axes[0] = []*atom{im.batch}
		v.Shape[0], v.Batched = -1, true
	}
	last := im.wantsChannelsLast(in.name, len(in.shape))
	var perm []int
	if im.batch == nil {
		perm = append(perm, 0)
	}
	for k := 1; k < len(axes); k++ {
		if !last || k > 1 {
			perm = append(perm, k)
		}
	}
	if last {
		perm = append(perm, 1)
	}
	if len(axes) == 0 {
		perm = nil
	}
	var shape graph.Shape
	var graphAxes [][]*atom
	for _, k := range perm {
		shape = append(shape, in.shape[k])
		graphAxes = append(graphAxes, axes[k])
	}
	if len(shape) == 0 {
		shape, graphAxes = graph.Shape{1}, [][]*atom{nil}
	}
	if len(shape) > maxRank {
		return formatErrorf(im.file.Path, -1, "input %q: %d axes, want at most %d", in.name, len(shape), maxRank)
	}
	if n, err := tensor.Numel(shape); err != nil || n > 1<<31 {
		return formatErrorf(im.file.Path, -1, "input %q: shape %v is too large", in.name, in.shape)
	}
	node := im.graph.Input(im.unique(in.name), shape)
	node.Shape = shape
	if last && len(in.shape) == 3 {
		im.points[node] = true
	}
	v.Node, v.Perm = node, perm
	im.values[in.name] = value{v: &view{node: node, axes: axes, graph: graphAxes, dtype: in.dtype}}
	im.inputs = append(im.inputs, v)
	return nil
}

// channelOps treat axis 1 as channels and the axes behind it as space.
var channelOps = []string{"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
	"BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample"}

// passOps keep the axes where they are.
var passOps = []string{"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Concat",
	"Slice", "Split", "Pad", "Identity", "Cast", "Dropout", "Elu", "Neg", "Abs", "Sqrt", "Pow", "HardSigmoid", "HardSwish", "Where"}

// wantsChannelsLast says whether something that treats axis 1 as channels reads
// the value, directly or behind operators that keep the axes.
func (im *importer) wantsChannelsLast(name string, rank int) bool {
	if rank < 3 {
		return false
	}
	reached := map[string]bool{name: true}
	for _, n := range im.file.Graph.Nodes {
		if len(n.Inputs) == 0 || !slices.ContainsFunc(n.Inputs, func(s string) bool { return s != "" && reached[s] }) {
			continue
		}
		if slices.Contains(channelOps, n.Op) && reached[n.Inputs[0]] {
			return true
		}
		if slices.Contains(passOps, n.Op) {
			for _, o := range n.Outputs {
				reached[o] = true
			}
		}
	}
	return false
}
