package onnx

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

const windowAttrs = "auto_pad:s dilations:is kernel_shape:is pads:is strides:is"

func init() {
	define(Convertible, 2, 3, 1, windowAttrs+" group:i", emitConv, nil, "Conv")
	define(Convertible, 2, 3, 1, windowAttrs+" group:i output_padding:is output_shape:is", emitConvTranspose, nil, "ConvTranspose")
}

// A window is the geometry of a convolution or a pool over d axes.
type window struct {
	kernel, stride, dilation, begin, end []int
	auto                                 string
}

// window reads the attributes; kernel is that of the weight, nil for a pool.
func (n *node) window(d int, kernel []int) (*window, error) {
	w := &window{kernel: kernel}
	list := func(name string, count, def, low int) ([]int, error) {
		a := n.attr(name)
		if a == nil {
			return slices.Repeat([]int{def}, count), nil
		}
		if len(a.Ints) != count {
			return nil, fmt.Errorf("%s %v: want %d numbers", name, a.Ints, count)
		}
		out := make([]int, count)
		for i, v := range a.Ints {
			if v < int64(low) || v > 1<<20 {
				return nil, fmt.Errorf("%s %v: want numbers from %d to %d", name, a.Ints, low, 1<<20)
			}
			out[i] = int(v)
		}
		return out, nil
	}
	k, err := list("kernel_shape", d, -1, 1)
	if err != nil {
		return nil, err
	}
	switch {
	case kernel == nil && !n.has("kernel_shape"):
		return nil, fmt.Errorf("no kernel_shape")
	case kernel == nil:
		w.kernel = k
	case n.has("kernel_shape") && !slices.Equal(k, kernel):
		return nil, fmt.Errorf("kernel_shape %v, the weight's kernel is %v", k, kernel)
	}
	if w.stride, err = list("strides", d, 1, 1); err != nil {
		return nil, err
	}
	if w.dilation, err = list("dilations", d, 1, 1); err != nil {
		return nil, err
	}
	pads, err := list("pads", 2*d, 0, -1<<20)
	if err != nil {
		return nil, err
	}
	if w.auto, err = n.choice("auto_pad", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"); err != nil {
		return nil, err
	}
	if w.auto != "NOTSET" && slices.ContainsFunc(pads, func(p int) bool { return p != 0 }) {
		return nil, fmt.Errorf("auto_pad %s and pads %v exclude each other", w.auto, pads)
	}
	w.begin, w.end = pads[:d], pads[d:]
	return w, nil
}

// same sets the pads for auto_pad SAME_*, from the sizes of the input.
func (w *window) same(in []int) {
	if w.auto != "SAME_UPPER" && w.auto != "SAME_LOWER" {
		return
	}
	for i, n := range in {
		out := (n + w.stride[i] - 1) / w.stride[i]
		total := max((out-1)*w.stride[i]+(w.kernel[i]-1)*w.dilation[i]+1-n, 0)
		w.begin[i], w.end[i] = total/2, total-total/2
		if w.auto == "SAME_LOWER" {
			w.begin[i], w.end[i] = w.end[i], w.begin[i]
		}
	}
}

// withLead puts an axis without a window in front.
func (w *window) withLead() *window {
	one, none := []int{1}, []int{0}
	return &window{kernel: slices.Concat(one, w.kernel), stride: slices.Concat(one, w.stride), dilation: slices.Concat(one, w.dilation),
		begin: slices.Concat(none, w.begin), end: slices.Concat(none, w.end)}
}

func (w *window) pads() graph.Ints { return graph.Ints(slices.Concat(w.begin, w.end)) }

// ones says whether all numbers are 1.
func ones(list []int) bool { return !slices.ContainsFunc(list, func(v int) bool { return v != 1 }) }
func zeros(list []int) bool {
	return !slices.ContainsFunc(list, func(v int) bool { return v != 0 })
}

// pair returns the numbers for rows and columns of one or two axes.
func pair(list []int, def int) [2]int {
	if len(list) == 1 {
		return [2]int{list[0], def}
	}
	return [2]int{list[0], list[1]}
}

func (w *window) pad2() graph.Pad {
	b, e := pair(w.begin, 0), pair(w.end, 0)
	return graph.Pad{b[0], b[1], e[0], e[1]}
}

// crop turns negative pads into a removal in front of the operation.
func (im *importer) crop(x *graph.Node, w *window) *graph.Node {
	rank := len(x.Shape)
	op := &graph.PadAxes{Begin: make(graph.Ints, rank), End: make(graph.Ints, rank), Mode: "constant"}
	any := false
	for i := range w.begin {
		for _, p := range []struct{ from, to *int }{{&w.begin[i], &op.Begin[i]}, {&w.end[i], &op.End[i]}} {
			if *p.from < 0 {
				*p.to, *p.from, any = *p.from, 0, true
			}
		}
	}
	if !any {
		return x
	}
	return im.add(op, nil, x)
}

// parameter returns input i as a vector of n values, nil if it is omitted.
func (n *node) parameter(i int, what string, size int) (*tensor.Tensor, error) {
	if n.input(i).missing() {
		return nil, nil
	}
	c, err := n.constant(i, what)
	if err != nil {
		return nil, err
	}
	if len(c.shape) != 1 || c.shape[0] != size {
		return nil, fmt.Errorf("%s has shape %v, want [%d]", what, c.shape, size)
	}
	return c.tensor()
}

func emitConv(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	d := v.rank() - 2
	if d < 1 || d > 3 {
		return fmt.Errorf("input has %d axes, want 3 to 5", v.rank())
	}
	if !n.input(1).isConst() {
		return im.convByMatMul(n, v)
	}
	weight := n.input(1)
	ws := weight.shape()
	if len(ws) != d+2 {
		return fmt.Errorf("weight has shape %v, want %d axes", ws, d+2)
	}
	if slices.Contains(ws, 0) {
		return fmt.Errorf("weight has shape %v", ws)
	}
	win, err := n.window(d, ws[2:])
	if err != nil {
		return err
	}
	group := n.int("group", 1)
	channels := v.size(1)
	switch {
	case group < 1 || group > 1<<20 || ws[0]%int(group) != 0:
		return fmt.Errorf("%d output channels do not split into %d groups", ws[0], group)
	case ws[1]*int(group) != channels:
		return fmt.Errorf("weight %v with %d groups wants %d input channels, input has %d", ws, group, ws[1]*int(group), channels)
	}
	biasLater := !n.input(2).missing() && !n.input(2).isConst()
	var bias *tensor.Tensor
	if !biasLater {
		if bias, err = n.parameter(2, "bias", ws[0]); err != nil {
			return err
		}
	}
	x, lead, err := im.spatial(v)
	if err != nil {
		return err
	}
	var in []int
	for k := range d {
		in = append(in, v.size(k+2))
	}
	win.same(in)
	src, err := n.source(1, "weight")
	if err != nil {
		return err
	}
	w := convWeight(src)
	node := x.node
	if lead {
		win = win.withLead()
		w.Shape = append([]int{1}, w.Shape...)
		if d++; d > 3 {
			return fmt.Errorf("a batch of several samples with three spatial axes: %w", fileerr.ErrUnsupported)
		}
	}
	node = im.crop(node, win)
	params := graph.Params{"weight": w}
	if bias != nil {
		params["bias"] = bias
	}
	switch {
	case d == 1 && ones(win.kernel) && ones(win.stride) && zeros(win.pads()) && group == 1:
		w.Shape = []int{w.Shape[1], w.Shape[2]}
		node = im.add(&graph.Linear{}, params, node)
	case d <= 2:
		if d == 1 {
			w.Shape = []int{w.Shape[0], 1, w.Shape[1], w.Shape[2]}
		}
		node = im.add(&graph.Conv2D{Stride: pair(win.stride, 1), Pad: win.pad2(), Dilation: pair(win.dilation, 1), Groups: int(group)}, params, node)
	default:
		node = im.add(&graph.ConvND{Stride: win.stride, Pad: win.pads(), Dilation: win.dilation, Groups: int(group)}, params, node)
	}
	out := im.windowed(v, node, lead)
	if biasLater {
		return im.lateBias(n, out, ws[0])
	}
	n.setView(0, out)
	return nil
}

// lateBias adds a bias that is an activation.
func (im *importer) lateBias(n *node, out *view, size int) error {
	b, err := n.view(2)
	if err != nil {
		return err
	}
	if b.rank() != 1 || b.dim(0) != (dim{a: int64(size)}) {
		return fmt.Errorf("bias has shape %v, want [%d]", b.dims(), size)
	}
	w := b.clone()
	w.axes = slices.Concat(b.axes, make([][]*atom, out.rank()-2))
	out, err = im.binary(graph.BroadcastAdd, value{v: out}, value{v: w})
	n.setView(0, out)
	return err
}

// windowed is the view of a convolution's or pool's result, whose node is
// [lead, space..., channels].
func (im *importer) windowed(v *view, node *graph.Node, lead bool) *view {
	shape := node.Shape
	var graphAxes [][]*atom
	axes := [][]*atom{v.axes[0], newAtoms(shape.Channels())}
	if lead {
		graphAxes = append(graphAxes, withoutBatch(v.axes[0]))
		shape = shape[1:]
	}
	for _, s := range shape[:len(shape)-1] {
		a := newAtoms(s)
		axes, graphAxes = append(axes, a), append(graphAxes, a)
	}
	graphAxes = append(graphAxes, axes[1])
	im.points[node] = true
	return v.with(node, axes, graphAxes)
}

// transposeWeight translates [I, O, k...] to [k..., I, O].
func transposeWeight(c *constant) *tensor.Tensor {
	i, o := c.shape[0], c.shape[1]
	taps := numel(c.shape[2:])
	t := tensor.New(append(slices.Clone(c.shape[2:]), i, o)...)
	src := c.floats()
	for k := range taps {
		for a := range i {
			row := t.Data[(k*i+a)*o:][:o]
			for b := range row {
				row[b] = src[(a*o+b)*taps+k]
			}
		}
	}
	return t
}

func emitConvTranspose(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	d := v.rank() - 2
	if d < 1 || d > 3 {
		return fmt.Errorf("input has %d axes, want 3 to 5", v.rank())
	}
	c, err := n.constant(1, "weight")
	if err != nil {
		return err
	}
	ws := c.shape
	if len(ws) != d+2 || slices.Contains(ws, 0) {
		return fmt.Errorf("weight has shape %v, want %d axes", ws, d+2)
	}
	win, err := n.window(d, ws[2:])
	if err != nil {
		return err
	}
	group := n.int("group", 1)
	if group < 1 || group > 1<<20 || ws[0] != v.size(1) || ws[0]%int(group) != 0 {
		return fmt.Errorf("weight %v with %d groups does not fit %d input channels", ws, group, v.size(1))
	}
	bias, err := n.parameter(2, "bias", ws[1]*int(group))
	if err != nil {
		return err
	}
	extra, wanted, err := n.transposedSizes(d)
	if err != nil {
		return err
	}
	x, lead, err := im.spatial(v)
	if err != nil {
		return err
	}
	// Work out pads per axis; negative ones at the end append cells.
	for i := range d {
		in := v.size(i + 2)
		full := (in-1)*win.stride[i] + extra[i] + (win.kernel[i]-1)*win.dilation[i] + 1
		out := -1
		switch {
		case wanted != nil:
			out = wanted[i]
		case win.auto == "SAME_UPPER" || win.auto == "SAME_LOWER":
			out = in * win.stride[i]
		}
		if out < 0 {
			continue
		}
		total := full - out
		if total < 0 {
			extra[i] -= total
			total = 0
		}
		// The odd cell: off the end for SAME_UPPER, off the start otherwise.
		win.begin[i], win.end[i] = total-total/2, total/2
		if win.auto == "SAME_UPPER" {
			win.begin[i], win.end[i] = win.end[i], win.begin[i]
		}
	}
	for i := range d { // pads below 0 at the end are cells of their own
		if win.end[i] < 0 {
			extra[i] -= win.end[i]
			win.end[i] = 0
		}
		if win.begin[i] < 0 {
			return fmt.Errorf("negative pads %v: %w", win.begin, fileerr.ErrUnsupported)
		}
	}
	w := transposeWeight(c)
	node := x.node
	if lead {
		win = win.withLead()
		extra = append([]int{0}, extra...)
		w.Shape = append([]int{1}, w.Shape...)
		if d++; d > 3 {
			return fmt.Errorf("a batch of several samples with three spatial axes: %w", fileerr.ErrUnsupported)
		}
	}
	params := graph.Params{"weight": w}
	if bias != nil {
		params["bias"] = bias
	}
	simple := d <= 2
	for i := range d {
		simple = simple && extra[i] < max(win.stride[i], win.dilation[i])
	}
	if simple {
		if d == 1 {
			w.Shape = []int{w.Shape[0], 1, w.Shape[1], w.Shape[2]}
		}
		node = im.add(&graph.ConvTranspose2D{Stride: pair(win.stride, 1), Pad: win.pad2(), OutputPad: pair(extra, 0),
			Dilation: pair(win.dilation, 1), Groups: int(group)}, params, node)
	} else {
		node = im.add(&graph.ConvTransposeND{Stride: win.stride, Pad: win.pads(), OutputPad: extra, Dilation: win.dilation, Groups: int(group)}, params, node)
	}
	n.setView(0, im.windowed(v, node, lead))
	return nil
}

// transposedSizes reads output_padding and output_shape.
func (n *node) transposedSizes(d int) (extra, wanted []int, err error) {
	extra = make([]int, d)
	if a := n.attr("output_padding"); a != nil {
		if len(a.Ints) != d {
			return nil, nil, fmt.Errorf("output_padding %v: want %d numbers", a.Ints, d)
		}
		for i, p := range a.Ints {
			if p < 0 || p > 1<<20 {
				return nil, nil, fmt.Errorf("output_padding %v", a.Ints)
			}
			extra[i] = int(p)
		}
	}
	if a := n.attr("output_shape"); a != nil {
		list := a.Ints
		if len(list) == d+2 { // some writers add batch and channels
			list = list[2:]
		}
		if len(list) != d {
			return nil, nil, fmt.Errorf("output_shape %v: want %d numbers", a.Ints, d)
		}
		for _, s := range list {
			if s < 1 || s > 1<<20 {
				return nil, nil, fmt.Errorf("output_shape %v", a.Ints)
			}
			wanted = append(wanted, int(s))
		}
	}
	return extra, wanted, nil
}

// convByMatMul is a convolution whose weight is an activation: patches times
// weight. It is for models that compute their weights; the kernel's cells become
// slices.
func (im *importer) convByMatMul(n *node, v *view) error {
	w, err := n.view(1)
	if err != nil {
		return err
	}
	d := v.rank() - 2
	if w.rank() != d+2 || w.hasBatch() {
		return fmt.Errorf("weight of shape %v is an activation: %w", w.dims(), errBatch)
	}
	var kernel, in []int
	taps := 1
	for k := range d {
		kernel, in = append(kernel, w.size(k+2)), append(in, v.size(k+2))
		taps *= w.size(k + 2)
	}
	if n.int("group", 1) != 1 || taps > 64 {
		return fmt.Errorf("weight is an activation, with %d groups and %d cells: %w", n.int("group", 1), taps, fileerr.ErrUnsupported)
	}
	if w.size(1) != v.size(1) {
		return fmt.Errorf("weight %v wants %d input channels, input has %d", w.dims(), w.size(1), v.size(1))
	}
	win, err := n.window(d, kernel)
	if err != nil {
		return err
	}
	win.same(in)
	x, lead, err := im.spatial(v)
	if err != nil {
		return err
	}
	node := im.crop(x.node, win)
	skip := 0
	if lead {
		skip = 1
	}
	pad := &graph.PadAxes{Begin: make(graph.Ints, len(node.Shape)), End: make(graph.Ints, len(node.Shape)), Mode: "constant"}
	size := slices.Clone(node.Shape)
	for i := range d {
		pad.Begin[skip+i], pad.End[skip+i] = win.begin[i], win.end[i]
		room := node.Shape[skip+i] + win.begin[i] + win.end[i] - (kernel[i]-1)*win.dilation[i] - 1
		if room < 0 {
			return fmt.Errorf("window of %d does not fit into axis %d", kernel[i], i+2)
		}
		size[skip+i] = room/win.stride[i] + 1
	}
	node = im.add(pad, nil, node)
	var patches []*graph.Node
	for t := range taps {
		s := &graph.Slice{Start: make(graph.Ints, len(size)), Size: graph.Ints(slices.Clone(size)), Step: slices.Repeat(graph.Ints{1}, len(size))}
		for i, rest := d-1, t; i >= 0; i-- {
			s.Start[skip+i], s.Step[skip+i] = rest%kernel[i]*win.dilation[i], win.stride[i]
			if size[skip+i] == 1 {
				s.Step[skip+i] = 1
			}
			rest /= kernel[i]
		}
		patches = append(patches, im.add(s, nil, node))
	}
	node = patches[0]
	if len(patches) > 1 {
		node = im.add(&graph.Concat{}, nil, patches...)
	}
	// The weight as [taps*I, O].
	o := w.axes[0]
	wv := im.want(w, [][]*atom{slices.Concat(slices.Concat(w.axes[2:]...), w.axes[1]), o})
	rows := graph.Shape{node.Shape.Numel() / node.Shape.Channels(), node.Shape.Channels()}
	y := im.add(&graph.MatMul{}, nil, im.reshape(node, rows), wv.node)
	size[len(size)-1] = w.size(0)
	y = im.reshape(y, size)
	out := im.windowed(v, y, lead)
	if b := n.input(2); b.missing() {
		n.setView(0, out)
		return nil
	} else if b.isConst() {
		t, err := n.parameter(2, "bias", w.size(0))
		if err != nil {
			return err
		}
		n.setView(0, out.same(im.add(&graph.Affine{}, graph.Params{"bias": t}, y)))
		return nil
	}
	return im.lateBias(n, out, w.size(0))
}
