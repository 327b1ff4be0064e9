package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
)

func init() {
	define(Convertible, 1, 1, 2, windowAttrs+" ceil_mode:i@10 storage_order:i@8", emitPool, nil, "MaxPool")
	operators["MaxPool"].attrs["dilations"] = attrSpec{attrInts, 10, 1 << 30}
	define(Convertible, 1, 1, 1, windowAttrs+" ceil_mode:i@10 count_include_pad:i@7", emitPool, nil, "AveragePool")
	operators["AveragePool"].attrs["dilations"] = attrSpec{attrInts, 19, 1 << 30}
	define(Convertible, 1, 1, 1, "", emitGlobalPool, nil, "GlobalAveragePool", "GlobalMaxPool")
	reduce := "axes:is@-17 keepdims:i noop_with_empty_axes:i@18"
	define(Convertible, 1, 2, 1, reduce, emitReduce, foldReduce, "ReduceMean", "ReduceMax")
	define(Executes, 1, 2, 1, reduce, emitReduce, foldReduce, "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
	define(Executes, 1, 2, 1, "axes:is@-12 keepdims:i noop_with_empty_axes:i@13", emitReduce, foldReduce, "ReduceSum")
	define(Tail, 1, 1, 1, "axis:i keepdims:i select_last_index:i@12", emitArgMax, nil, "ArgMax", "ArgMin")
	define(Tail, 1, 2, 2, "axis:i k:i@-9 largest:i@11 sorted:i@11", emitTopK, nil, "TopK")
}

func emitPool(im *importer, n *node) error {
	isMax := n.def.Op == "MaxPool"
	if n.wants(1) {
		return fmt.Errorf("the second output (indices) is used: %w", fileerr.ErrUnsupported)
	}
	v, err := n.view(0)
	if err != nil {
		return err
	}
	d := v.rank() - 2
	if d < 1 || d > 3 {
		return fmt.Errorf("input has %d axes, want 3 to 5", v.rank())
	}
	win, err := n.window(d, nil)
	if err != nil {
		return err
	}
	ceil, err := n.flag("ceil_mode", false)
	if err != nil {
		return err
	}
	include, err := n.flag("count_include_pad", false)
	if err != nil {
		return err
	}
	var in []int
	for k := range d {
		in = append(in, v.size(k+2))
	}
	win.same(in)
	for i := range d {
		if win.begin[i] < 0 || win.end[i] < 0 {
			return fmt.Errorf("negative pads: %w", fileerr.ErrUnsupported)
		}
		if span := (win.kernel[i]-1)*win.dilation[i] + 1; win.begin[i] >= span || win.end[i] >= span {
			return fmt.Errorf("pads %v and %v are as large as the kernel %v: a window would be padding alone", win.begin, win.end, win.kernel)
		}
		if in[i]+win.begin[i]+win.end[i] < (win.kernel[i]-1)*win.dilation[i]+1 {
			return fmt.Errorf("kernel %v does not fit into %v with pads %v and %v", win.kernel, in, win.begin, win.end)
		}
	}
	x, lead, err := im.spatial(v)
	if err != nil {
		return err
	}
	if ones(win.kernel) && ones(win.stride) && zeros(win.pads()) {
		n.setView(0, v)
		return nil
	}
	if !lead && !isMax && slices.Equal(win.kernel, in) && zeros(win.pads()) && d <= 2 && ones(win.dilation) {
		n.setView(0, im.windowed(v, im.add(&graph.GlobalAvgPool{}, nil, x.node), false))
		return nil
	}
	if lead {
		win = win.withLead()
		d++
	}
	small := d <= 2 && ones(win.dilation)
	for i := range d {
		small = small && 2*max(win.begin[i], win.end[i]) <= win.kernel[i]
	}
	var op graph.Op
	switch k, s := win.kernel, win.stride; {
	case d > 3:
		return fmt.Errorf("a batch of several samples with three spatial axes: %w", fileerr.ErrUnsupported)
	case small && isMax:
		op = &graph.MaxPool2D{Kernel: pair(k, 1), Stride: pair(s, 1), Pad: win.pad2(), CeilMode: ceil}
	case small:
		op = &graph.AvgPool2D{Kernel: pair(k, 1), Stride: pair(s, 1), Pad: win.pad2(), CeilMode: ceil, CountIncludePad: include}
	case isMax:
		op = &graph.MaxPoolND{Kernel: k, Stride: s, Pad: win.pads(), Dilation: win.dilation, CeilMode: ceil}
	default:
		op = &graph.AvgPoolND{Kernel: k, Stride: s, Pad: win.pads(), Dilation: win.dilation, CeilMode: ceil, CountIncludePad: include}
	}
	n.setView(0, im.windowed(v, im.add(op, nil, x.node), lead))
	return nil
}

func emitGlobalPool(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	if v.rank() < 3 {
		return fmt.Errorf("input has %d axes, want at least 3", v.rank())
	}
	f := graph.ReduceMean
	if n.def.Op == "GlobalMaxPool" {
		f = graph.ReduceMax
	}
	var axes []int
	for k := 2; k < v.rank(); k++ {
		axes = append(axes, k)
	}
	out, err := im.reduce(v, f, axes, true)
	n.setView(0, out)
	return err
}

var reduceFuncs = map[string]graph.ReduceFunc{"ReduceMean": graph.ReduceMean, "ReduceMax": graph.ReduceMax, "ReduceMin": graph.ReduceMin,
	"ReduceSum": graph.ReduceSum, "ReduceProd": graph.ReduceProd, "ReduceL1": graph.ReduceL1, "ReduceL2": graph.ReduceL2,
	"ReduceSumSquare": graph.ReduceSumSquare, "ReduceLogSumExp": graph.ReduceLogSumExp}

// reduction returns the axes of a Reduce*, nil if it does nothing.
func (n *node) reduction(rank int) (axes []int, keep bool, err error) {
	from := int64(18)
	if n.def.Op == "ReduceSum" {
		from = 13
	}
	list, err := n.intsOrAttr("axes", 1, from)
	if err != nil {
		return nil, false, err
	}
	if keep, err = n.flag("keepdims", true); err != nil {
		return nil, false, err
	}
	noop, err := n.flag("noop_with_empty_axes", false)
	if err != nil {
		return nil, false, err
	}
	if len(list) == 0 {
		if noop {
			return nil, true, nil
		}
		for k := range rank {
			axes = append(axes, k)
		}
		return axes, keep, nil
	}
	axes, err = axesOf(list, rank)
	return axes, keep, err
}

func emitReduce(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	axes, keep, err := n.reduction(v.rank())
	if err != nil {
		return err
	}
	f := reduceFuncs[n.def.Op]
	if len(axes) == 0 {
		switch n.def.Op { // a reduction over nothing still has its function
		case "ReduceL1", "ReduceL2":
			n.setView(0, v.same(im.add(&graph.Unary{Func: graph.Abs}, nil, v.node)))
		case "ReduceSumSquare":
			n.setView(0, v.same(im.add(&graph.Power{Exponent: 2}, nil, v.node)))
		default:
			n.setView(0, v)
		}
		return nil
	}
	out, err := im.reduce(v, f, axes, keep)
	n.setView(0, out)
	return err
}

// reduce joins the values along ONNX axes. Their order does not matter.
func (im *importer) reduce(v *view, f graph.ReduceFunc, axes []int, keep bool) (*view, error) {
	in := make(map[*atom]bool)
	for _, k := range axes {
		if hasBatch(v.axes[k]) {
			return nil, errBatch
		}
		for _, a := range v.axes[k] {
			in[a] = true
		}
	}
	// Graph axes that are reduced in part are cut.
	var split [][]*atom
	for _, g := range v.graph {
		if len(g) == 0 {
			split = append(split, nil)
			continue
		}
		run := []*atom{g[0]}
		for _, a := range g[1:] {
			if in[a] != in[run[0]] {
				split = append(split, run)
				run = nil
			}
			run = append(run, a)
		}
		split = append(split, run)
	}
	w := im.want(v, split)
	var gone graph.Ints
	left := slices.Clone(w.graph)
	for i, g := range w.graph {
		if len(g) > 0 && in[g[0]] {
			gone = append(gone, i)
			left[i] = nil
		}
	}
	out := w.clone()
	out.dtype = v.dtype
	out.axes = slices.Clone(w.axes)
	for _, k := range axes {
		out.axes[k] = nil
	}
	if !keep {
		out.axes = without(out.axes, axes)
	}
	if len(gone) == 0 {
		return out, nil
	}
	out.graph = left
	last := len(w.graph) - 1
	all := len(gone) == last && gone[0] == 0 && gone[len(gone)-1] == last-1 && (last == 1 || last == 2)
	switch {
	case all && f == graph.ReduceMean:
		out.node = im.add(&graph.GlobalAvgPool{}, nil, w.node)
	case all && f == graph.ReduceMax:
		out.node = im.add(&graph.GlobalMaxPool{}, nil, w.node)
	default:
		out.node = im.add(&graph.Reduce{Func: f, Axes: gone, KeepDims: true}, nil, w.node)
	}
	return out, nil
}

func foldReduce(n *node) ([]*constant, error) {
	c, err := n.constant(0, "data")
	if err != nil {
		return nil, err
	}
	if c.batch != nil {
		return nil, errBatch
	}
	axes, keep, err := n.reduction(len(c.shape))
	if err != nil {
		return nil, err
	}
	if axes == nil {
		return []*constant{c}, nil
	}
	shape := slices.Clone(c.shape)
	for _, k := range axes {
		shape[k] = 1
	}
	out, err := n.im.newConstant(c.dtype, shape)
	if err != nil {
		return nil, err
	}
	count := numel(shape)
	acc := make([]float64, count)
	iacc := make([]int64, count)
	first := 0.0
	switch n.def.Op {
	case "ReduceMax":
		first = math.Inf(-1)
	case "ReduceMin":
		first = math.Inf(1)
	case "ReduceProd":
		first = 1
	}
	for k := range acc {
		acc[k] = first
		iacc[k] = truncate(first)
		if c.dtype == boolType {
			iacc[k] = map[string]int64{"ReduceMax": 0, "ReduceMin": 1}[n.def.Op]
		}
	}
	strides := stridesOf(shape)
	for e := range c.numel() {
		at, rest := 0, e
		for a := len(shape) - 1; a >= 0; a-- {
			if shape[a] != 1 {
				at += rest % c.shape[a] * strides[a]
			}
			rest /= c.shape[a]
		}
		if !c.dtype.float() {
			switch v := c.i[e]; n.def.Op {
			case "ReduceSum", "ReduceMean":
				iacc[at] += v
			case "ReduceMax":
				iacc[at] = max(iacc[at], v)
			case "ReduceMin":
				iacc[at] = min(iacc[at], v)
			case "ReduceProd":
				iacc[at] *= v
			default:
				return nil, fmt.Errorf("%s values: %w", c.dtype, fileerr.ErrUnsupported)
			}
			continue
		}
		switch v := float64(c.f[e]); n.def.Op {
		case "ReduceSum", "ReduceMean":
			acc[at] += v
		case "ReduceMax":
			acc[at] = math.Max(acc[at], v)
		case "ReduceMin":
			acc[at] = math.Min(acc[at], v)
		case "ReduceProd":
			acc[at] *= v
		case "ReduceL1":
			acc[at] += math.Abs(v)
		case "ReduceL2", "ReduceSumSquare":
			acc[at] += v * v
		case "ReduceLogSumExp":
			acc[at] += math.Exp(v)
		}
	}
	per := 1.0
	for _, k := range axes {
		per *= float64(c.shape[k])
	}
	for k := range count {
		if !c.dtype.float() {
			if n.def.Op == "ReduceMean" && per > 0 {
				iacc[k] /= int64(per)
			}
			out.i[k] = wrapInt(c.dtype, iacc[k])
			continue
		}
		switch n.def.Op {
		case "ReduceMean":
			acc[k] /= per
		case "ReduceL2":
			acc[k] = math.Sqrt(acc[k])
		case "ReduceLogSumExp":
			acc[k] = math.Log(acc[k])
		}
		out.f[k] = float32(acc[k])
	}
	if !keep {
		out.shape = append([]int{}, without(shape, axes)...)
	}
	return []*constant{out}, nil
}

func emitArgMax(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	k, err := axis(n.int("axis", 0), v.rank())
	if err != nil {
		return err
	}
	keep, err := n.flag("keepdims", true)
	if err != nil {
		return err
	}
	last, err := n.flag("select_last_index", false)
	if err != nil {
		return err
	}
	w, at, err := im.isolate(v, k)
	if err != nil {
		return err
	}
	out := w.clone()
	out.node = im.add(&graph.ArgMax{Axis: at[0], KeepDims: true, Last: last, Min: n.def.Op == "ArgMin"}, nil, w.node)
	out.axes, out.graph = slices.Clone(w.axes), slices.Clone(w.graph)
	out.axes[k], out.graph[at[0]] = nil, nil
	if !keep {
		out.axes = without(out.axes, []int{k})
	}
	out.dtype = int64Type
	n.setView(0, out)
	return nil
}

func emitTopK(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	a, err := axis(n.int("axis", -1), v.rank())
	if err != nil {
		return err
	}
	count := n.int("k", 0)
	if n.opset() >= 10 {
		list, err := n.ints(1, "k")
		if err != nil {
			return err
		}
		if len(list) != 1 {
			return fmt.Errorf("k has %d values, want 1", len(list))
		}
		count = list[0]
	}
	largest, err := n.flag("largest", true)
	if err != nil {
		return err
	}
	w, at, err := im.isolate(v, a)
	if err != nil {
		return err
	}
	if count < 1 || count > int64(v.size(a)) {
		return fmt.Errorf("k %d of an axis of %d", count, v.size(a))
	}
	for i := range 2 {
		if !n.wants(i) {
			continue
		}
		out := w.clone()
		out.node = im.add(&graph.TopK{Axis: at[0], K: int(count), Smallest: !largest, Indices: i == 1}, nil, w.node)
		out.axes, out.graph = slices.Clone(w.axes), slices.Clone(w.graph)
		atoms := newAtoms(int(count))
		out.axes[a], out.graph[at[0]] = atoms, atoms
		if i == 1 {
			out.dtype = int64Type
		}
		n.setView(i, out)
	}
	return nil
}
