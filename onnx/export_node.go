package onnx

import (
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// emit writes the node n with the parameters p, which have the shapes of the
// node's own, on the given inputs.
func (e *exporter) emit(n *graph.Node, p graph.Params, in []exval) (exval, error) {
	switch n.Op.(type) {
	case *graph.Add, *graph.Binary, *graph.Where, *graph.MatMul: // broadcast
	default:
		for i, v := range in {
			if !v.batch {
				in[i] = e.withBatch(v)
			}
		}
	}
	switch op := n.Op.(type) {
	case *graph.Conv2D, *graph.ConvTranspose2D, *graph.ConvND, *graph.ConvTransposeND:
		return e.conv(n, p, in[0])
	case *graph.Linear:
		return e.linear(n, p, in[0])
	case *graph.BatchNorm:
		return e.batchNorm(n, op, p, in[0]), nil
	case *graph.ReLU:
		return e.same(n, "Relu", in[0]), nil
	case *graph.ReLU6:
		return e.same(n, "Clip", in[0], e.number(0), e.number(6)), nil
	case *graph.MaxPool2D, *graph.AvgPool2D, *graph.MaxPoolND, *graph.AvgPoolND:
		return e.pool(n, in[0])
	case *graph.GlobalAvgPool, *graph.GlobalMaxPool:
		kind := "GlobalAveragePool"
		if n.Kind() == "global_maxpool" {
			kind = "GlobalMaxPool"
		}
		v := e.in(in[0], channelsFirst)
		return e.made(n, v.layout, kind, []string{v.name}), nil
	case *graph.Add:
		return e.sum(n, in), nil
	case *graph.Concat:
		return e.concat(n, in, len(n.Shape)-1), nil
	case *graph.ConcatAxis:
		return e.concat(n, in, op.Axis), nil
	case *graph.Flatten:
		return e.flatten(n, in[0]), nil
	case *graph.Upsample:
		return e.upsample(n, op, in[0]), nil
	case *graph.Resize:
		return e.resize(n, op, in[0])
	case *graph.Softmax:
		return e.softmax(n, "Softmax", in[0]), nil
	case *graph.LogSoftmax:
		return e.softmax(n, "LogSoftmax", in[0]), nil
	case *graph.Identity, *graph.Dropout:
		return in[0], nil
	case *graph.LeakyReLU:
		return e.sameWith(n, "LeakyRelu", in[0], exFloat("alpha", op.Alpha)), nil
	}
	return e.emitMore(n, p, in)
}

// made is the result of a new node, which is named after n.
func (e *exporter) made(n *graph.Node, l layoutKind, op string, inputs []string, attrs ...*Attribute) exval {
	v := exval{shape: n.Shape, layout: l, batch: true}
	if v.rank() == 1 {
		v.layout = asGraph
	}
	v.name = e.op(op, n.Name, inputs, attrs...)
	return v
}

// same is an elementwise node of one value, whose layout the result has.
func (e *exporter) same(n *graph.Node, op string, v exval, more ...string) exval {
	return e.like(n, op, v, append([]string{v.name}, more...))
}

// sameWith is same with attributes.
func (e *exporter) sameWith(n *graph.Node, op string, v exval, attrs ...*Attribute) exval {
	return e.like(n, op, v, []string{v.name}, attrs...)
}

// like is a node whose result lies as v does.
func (e *exporter) like(n *graph.Node, op string, v exval, inputs []string, attrs ...*Attribute) exval {
	v.shape, v.source = n.Shape, ""
	v.name = e.op(op, n.Name, inputs, attrs...)
	return v
}

// conv writes a convolution or a transposed one.
func (e *exporter) conv(n *graph.Node, p graph.Params, in exval) (exval, error) {
	if len(n.Inputs[0].Shape) < 2 {
		return exval{}, refuseExport(n, "input of shape %v", n.Inputs[0].Shape)
	}
	v := e.in(in, channelsFirst)
	w := p["weight"]
	kind := "Conv"
	var stride, pad, dilation, outputPad []int
	groups := 1
	switch op := n.Op.(type) {
	case *graph.Conv2D:
		stride, pad, dilation, groups = op.Stride[:], op.Pad[:], op.Dilation[:], op.Groups
	case *graph.ConvTranspose2D:
		kind, stride, pad, dilation, groups, outputPad = "ConvTranspose", op.Stride[:], op.Pad[:], op.Dilation[:], op.Groups, op.OutputPad[:]
	case *graph.ConvND:
		stride, pad, dilation, groups = op.Stride, op.Pad, op.Dilation, op.Groups
	case *graph.ConvTransposeND:
		kind, stride, pad, dilation, groups, outputPad = "ConvTranspose", op.Stride, op.Pad, op.Dilation, op.Groups, op.OutputPad
	}
	axes := len(w.Shape) - 2
	kernel := slices.Clone(w.Shape[:axes])
	stride, dilation, pad = slices.Clone(stride), slices.Clone(dilation), slices.Clone(pad)
	// Weights [K..., in, out] become [out, in, K...] or, transposed, [in, out, K...].
	perm := []int{axes + 1, axes}
	if kind == "ConvTranspose" {
		perm = []int{axes, axes + 1}
	}
	for k := range axes {
		perm = append(perm, k)
	}
	t, err := w.Permute(perm...)
	if err != nil {
		return exval{}, refuseExport(n, "%v", err)
	}
	shape := slices.Clone(t.Shape)
	if axes == 2 && len(n.Shape) == 2 { // points: the file has one axis
		if kernel[1] != 1 {
			return exval{}, refuseExport(n, "kernel of %d columns on points", kernel[1])
		}
		kernel, stride, dilation, shape = kernel[:1], stride[:1], dilation[:1], shape[:3]
		pad = []int{pad[0], pad[2]}
		if outputPad != nil {
			outputPad = outputPad[:1]
		}
	}
	inputs := []string{v.name, e.floats(n.Name+".weight", shape, t.Data)}
	if b := p["bias"]; b != nil {
		inputs = append(inputs, e.floats(n.Name+".bias", []int{b.Len()}, b.Data))
	}
	attrs := []*Attribute{exInts("kernel_shape", kernel...), exInts("strides", stride...), exInts("pads", pad...),
		exInts("dilations", dilation...), exInt("group", groups)}
	if kind == "ConvTranspose" {
		attrs = append(attrs, exInts("output_padding", outputPad...))
	}
	return e.made(n, channelsFirst, kind, inputs, attrs...), nil
}

// linear writes a fully connected layer: Gemm for vectors, MatMul and Add for
// the features of many positions.
func (e *exporter) linear(n *graph.Node, p graph.Params, v exval) (exval, error) {
	w := p["weight"]
	rows, columns := w.Shape[0], w.Shape[1]
	b := p["bias"]
	if v.rank() == 1 {
		data := v.permuteRows(w.Data, columns)
		t := make([]float32, len(data))
		for i := range rows {
			for o := range columns {
				t[o*rows+i] = data[i*columns+o]
			}
		}
		inputs := []string{v.name, e.floats(n.Name+".weight", []int{columns, rows}, t)}
		if b != nil {
			inputs = append(inputs, e.floats(n.Name+".bias", []int{columns}, b.Data))
		}
		return e.made(n, asGraph, "Gemm", inputs, exFloat("alpha", 1), exFloat("beta", 1), exInt("transA", 0), exInt("transB", 1)), nil
	}
	v = e.in(v, asGraph)
	weight := e.floats(n.Name+".weight", []int{rows, columns}, w.Data)
	if b == nil {
		return e.made(n, asGraph, "MatMul", []string{v.name, weight}), nil
	}
	product := e.op("MatMul", n.Name+".product", []string{v.name, weight})
	return e.made(n, asGraph, "Add", []string{product, e.floats(n.Name+".bias", []int{columns}, b.Data)}), nil
}

func (e *exporter) batchNorm(n *graph.Node, op *graph.BatchNorm, p graph.Params, v exval) exval {
	c := n.Shape.Channels()
	if v.layout != permuted && v.rank() > 1 {
		v = e.in(v, channelsFirst)
	}
	inputs := []string{v.name}
	for _, role := range []string{"weight", "bias", "mean", "var"} {
		t := p[role]
		if t == nil {
			t = tensor.New(c)
			if role == "weight" {
				for k := range t.Data {
					t.Data[k] = 1
				}
			}
		}
		inputs = append(inputs, e.floats(n.Name+"."+role, []int{c}, v.permuteRows(t.Data, 1)))
	}
	return e.like(n, "BatchNormalization", v, inputs, exFloat("epsilon", op.Eps), exFloat("momentum", 1-op.Momentum), exInt("training_mode", 0))
}

func (e *exporter) pool(n *graph.Node, in exval) (exval, error) {
	v := e.in(in, channelsFirst)
	kind := "MaxPool"
	var kernel, stride, pad, dilation []int
	var ceil, include bool
	switch op := n.Op.(type) {
	case *graph.MaxPool2D:
		kernel, stride, pad, ceil = op.Kernel[:], op.Stride[:], op.Pad[:], op.CeilMode
	case *graph.AvgPool2D:
		kind, kernel, stride, pad, ceil, include = "AveragePool", op.Kernel[:], op.Stride[:], op.Pad[:], op.CeilMode, op.CountIncludePad
	case *graph.MaxPoolND:
		kernel, stride, pad, dilation, ceil = op.Kernel, op.Stride, op.Pad, op.Dilation, op.CeilMode
	case *graph.AvgPoolND:
		kind, kernel, stride, pad, ceil, include = "AveragePool", op.Kernel, op.Stride, op.Pad, op.CeilMode, op.CountIncludePad
		if slices.ContainsFunc(op.Dilation, func(d int) bool { return d != 1 }) {
			return exval{}, refuseExport(n, "average pooling with dilation %v needs opset 19, exports have %d", op.Dilation, exportOpset)
		}
	}
	kernel, stride, pad = slices.Clone(kernel), slices.Clone(stride), slices.Clone(pad)
	if len(kernel) == 2 && v.rank() == 2 {
		kernel, stride, pad = kernel[:1], stride[:1], []int{pad[0], pad[2]}
	}
	if dilation == nil {
		dilation = slices.Repeat([]int{1}, len(kernel))
	}
	attrs := []*Attribute{exInts("kernel_shape", kernel...), exInts("strides", stride...), exInts("pads", pad...), exInt("ceil_mode", flag(ceil))}
	if kind == "MaxPool" {
		attrs = append(attrs, exInts("dilations", dilation...), exInt("storage_order", 0))
	} else {
		attrs = append(attrs, exInt("count_include_pad", flag(include)))
	}
	return e.made(n, channelsFirst, kind, []string{v.name}, attrs...), nil
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// alike brings values into one layout: that of the first if possible.
func (e *exporter) alike(in []exval) []exval {
	out := slices.Clone(in)
	want := in[0].layout
	for _, v := range in[1:] {
		if v.layout == permuted || want == permuted {
			same := v.layout == want && slices.Equal(v.from, in[0].from)
			if !same {
				want = asGraph
			}
		}
	}
	if want == permuted {
		return out
	}
	for i, v := range in {
		out[i] = e.in(v, want)
	}
	return out
}

func (e *exporter) sum(n *graph.Node, in []exval) exval {
	in = e.alike(in)
	v := in[0]
	for i, x := range in[1:] {
		base := n.Name
		if i < len(in)-2 {
			base += ".part"
		}
		out := v
		out.shape, out.source = n.Shape, ""
		out.batch = v.batch || x.batch
		out.name = e.op("Add", base, []string{v.name, x.name})
		v = out
	}
	return v
}

// concat joins values along an axis of the sample.
func (e *exporter) concat(n *graph.Node, in []exval, axis int) exval {
	first := slices.ContainsFunc(in, func(v exval) bool { return v.layout == channelsFirst && v.rank() > 1 })
	want := asGraph
	if first {
		want = channelsFirst
	}
	var names []string
	out := exval{shape: n.Shape, batch: true, layout: want}
	if out.rank() == 1 {
		out.layout = asGraph
	}
	for _, v := range in {
		names = append(names, e.in(v, want).name)
	}
	out.name = e.op("Concat", n.Name, names, exInt("axis", out.axis(axis)))
	return out
}

// flatten leaves channels first as they are: what reads the vector permutes its
// weights.
func (e *exporter) flatten(n *graph.Node, v exval) exval {
	if v.rank() == 1 {
		v.shape = n.Shape
		return v
	}
	out := e.made(n, asGraph, "Flatten", []string{v.name}, exInt("axis", 1))
	if v.layout == channelsFirst && v.shape.Channels() > 1 && v.shape.Positions() > 1 {
		out.layout, out.from, out.source = permuted, slices.Clone(v.shape), v.name
	}
	return out
}

func (e *exporter) upsample(n *graph.Node, op *graph.Upsample, in exval) exval {
	v := e.in(in, channelsFirst)
	// Factors where they are exact, else sizes, which take the number of samples.
	h, w, _ := n.Inputs[0].Shape.HWC()
	space := n.Shape[:len(n.Shape)-1]
	factors, exact := []float32{1, 1}, true
	for k, size := range []int{h, w}[:len(space)] {
		f := float64(space[k]) / float64(size)
		exact = exact && float64(float32(f)) == f && f*float64(size) == float64(space[k])
		factors = append(factors, float32(f))
	}
	var sizes []string
	if exact {
		sizes = []string{v.name, "", e.floats(n.Name+".scales", []int{len(factors)}, factors)}
	} else {
		dims := []string{e.samples(), e.ints(n.Name+".size", append([]int{n.Shape.Channels()}, space...)...)}
		sizes = []string{v.name, "", "", e.op("Concat", n.Name+".sizes", dims, exInt("axis", 0))}
	}
	switch {
	case op.Mode == "nearest":
		return e.made(n, channelsFirst, "Resize", sizes, exString("mode", "nearest"),
			exString("coordinate_transformation_mode", "asymmetric"), exString("nearest_mode", "floor"))
	case op.AlignCorners:
		return e.made(n, channelsFirst, "Resize", sizes, exString("mode", "linear"), exString("coordinate_transformation_mode", "align_corners"))
	}
	return e.made(n, channelsFirst, "Resize", sizes, exString("mode", "linear"), exString("coordinate_transformation_mode", "half_pixel"))
}

func (e *exporter) resize(n *graph.Node, op *graph.Resize, v exval) (exval, error) {
	switch {
	case op.Antialias:
		return exval{}, refuseExport(n, "antialiasing needs opset 18, exports have %d", exportOpset)
	case op.Coordinate == "half_pixel_symmetric":
		return exval{}, refuseExport(n, "coordinates half_pixel_symmetric need opset 19, exports have %d", exportOpset)
	}
	if v.layout == permuted {
		v = e.in(v, asGraph)
	}
	in := n.Inputs[0].Shape
	byScale, bySize := true, true
	for k, s := range op.Scale {
		byScale = byScale && int(math.Floor(float64(in[k])*float64(float32(s)))) == op.Size[k] && float64(float32(s)) == s
		bySize = bySize && s == float64(op.Size[k])/float64(in[k])
	}
	inputs := []string{v.name, "", "", ""}
	switch {
	case byScale:
		scales := []float32{1}
		for _, s := range arrange(v, []float64(op.Scale)) {
			scales = append(scales, float32(s))
		}
		inputs[2] = e.floats(n.Name+".scales", []int{len(scales)}, scales)
		inputs = inputs[:3]
	case bySize:
		dims := []string{e.samples(), e.ints(n.Name+".size", arrange(v, []int(op.Size))...)}
		inputs[3] = e.op("Concat", n.Name+".sizes", dims, exInt("axis", 0))
	default:
		return exval{}, refuseExport(n, "sizes %v with scales %v, of which ONNX takes one", op.Size, op.Scale)
	}
	attrs := []*Attribute{exString("mode", op.Mode), exString("coordinate_transformation_mode", op.Coordinate)}
	switch op.Mode {
	case "nearest":
		attrs = append(attrs, exString("nearest_mode", op.Nearest))
	case "cubic":
		attrs = append(attrs, exFloat("cubic_coeff_a", op.CubicA), exInt("exclude_outside", flag(op.ExcludeOutside)))
	}
	return e.made(n, v.layout, "Resize", inputs, attrs...), nil
}

// softmax normalises over the channels.
func (e *exporter) softmax(n *graph.Node, op string, v exval) exval {
	if v.layout == permuted {
		return e.like(n, op, v, []string{v.name}, exInt("axis", 1)) // the sum is over all features
	}
	return e.like(n, op, v, []string{v.name}, exInt("axis", v.axis(v.rank()-1)))
}
