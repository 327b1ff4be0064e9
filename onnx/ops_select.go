package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
)

// A span is what a slice takes of one axis.
type span struct{ start, size, step int }

// spans returns the slice of every axis.
func (n *node) spans(dims []dim) ([]span, error) {
	var starts, ends, axes, steps []int64
	var err error
	if n.opset() < 10 {
		a, b := n.attr("starts"), n.attr("ends")
		if a == nil || b == nil {
			return nil, errors.New("no starts or ends")
		}
		starts, ends = a.Ints, b.Ints
		if c := n.attr("axes"); c != nil {
			axes = c.Ints
		}
	} else {
		for i, dst := range []*[]int64{&starts, &ends, &axes, &steps} {
			if n.input(i + 1).missing() {
				if i < 2 {
					return nil, fmt.Errorf("input %d is omitted", i+1)
				}
				continue
			}
			c, err2 := n.constant(i+1, "slice bounds")
			if err2 != nil {
				return nil, err2
			}
			if c.dtype.float() || len(c.shape) != 1 {
				return nil, fmt.Errorf("bounds of type %s and shape %v, want vectors of integers", c.dtype, c.shape)
			}
			*dst = c.i
			if c.batch != nil {
				// Only the whole batch can be taken: an end of N is one beyond.
				*dst = slices.Clone(c.i)
				for k, b := range c.batch {
					switch {
					case b == 0:
					case i == 1 && b == 1 && c.i[k] == 0:
						(*dst)[k] = math.MaxInt64
					default:
						return nil, errBatch
					}
				}
			}
		}
	}
	if axes == nil {
		for k := range starts {
			axes = append(axes, int64(k))
		}
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || steps != nil && len(steps) != len(starts) {
		return nil, fmt.Errorf("%d starts, %d ends, %d axes, %d steps", len(starts), len(ends), len(axes), len(steps))
	}
	out := make([]span, len(dims))
	for k, d := range dims {
		out[k] = span{0, int(d.a), 1}
	}
	seen := make([]bool, len(dims))
	for i := range starts {
		k, err2 := axis(axes[i], len(dims))
		if err2 != nil {
			return nil, err2
		}
		if seen[k] {
			return nil, fmt.Errorf("axis %d twice", k)
		}
		seen[k] = true
		step := int64(1)
		if steps != nil {
			step = steps[i]
		}
		if dims[k].n != 0 {
			if starts[i] == 0 && ends[i] > math.MaxInt32-1 && step == 1 {
				continue
			}
			return nil, errBatch
		}
		if out[k], err = sliceSpan(starts[i], ends[i], step, dims[k].a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sliceSpan(start, end, step, size int64) (span, error) {
	if step == 0 || step == math.MinInt64 {
		return span{}, fmt.Errorf("step %d", step)
	}
	if start < 0 {
		start += size
	}
	if end < 0 && end > math.MinInt64+size {
		end += size
	}
	var count int64
	if step > 0 {
		start, end = min(max(start, 0), size), min(max(end, 0), size)
		if end > start {
			count = (end-start-1)/step + 1
		}
	} else {
		start, end = min(max(start, 0), size-1), min(max(end, -1), size-1)
		if start > end {
			count = (start-end-1)/(-step) + 1
		}
	}
	if count <= 1 {
		step = 1
	}
	return span{int(start), int(count), int(step)}, nil
}

func emitSlice(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	spans, err := n.spans(v.dims())
	if err != nil {
		return err
	}
	out, err := im.slice(v, spans)
	n.set(0, out)
	return err
}

// slice takes a part of a view; an empty part is a constant.
func (im *importer) slice(v *view, spans []span) (value, error) {
	var list []int
	for k, s := range spans {
		d := v.dim(k)
		if d.n != 0 || s == (span{0, int(d.a), 1}) {
			continue
		}
		list = append(list, k)
	}
	if len(list) == 0 {
		return value{v: v}, nil
	}
	if c, ok := empty(v, spans); ok {
		return value{c: c}, nil
	}
	w, at, err := im.isolate(v, list...)
	if err != nil {
		return value{}, err
	}
	op := &graph.Slice{Start: make(graph.Ints, len(w.graph)), Size: graph.Ints(shapeOf(w.graph)), Step: slices.Repeat(graph.Ints{1}, len(w.graph))}
	out := w.clone()
	out.axes, out.graph = slices.Clone(w.axes), slices.Clone(w.graph)
	for i, k := range list {
		s := spans[k]
		op.Start[at[i]], op.Size[at[i]], op.Step[at[i]] = s.start, s.size, s.step
		atoms := newAtoms(s.size)
		out.axes[k], out.graph[at[i]] = atoms, atoms
	}
	out.node = im.add(op, nil, w.node)
	im.keepPoints(w.node, out)
	return value{v: out}, nil
}

// keepPoints remembers that a result is points as its input was.
func (im *importer) keepPoints(from *graph.Node, out *view) {
	if im.points[from] {
		im.points[out.node] = true
	}
}

// empty returns the constant without values that spans with an empty one take.
func empty(v *view, spans []span) (*constant, bool) {
	shape := make([]int, len(spans))
	none := false
	for k, s := range spans {
		shape[k] = s.size
		none = none || s.size == 0 && v.dim(k).n == 0
	}
	return &constant{dtype: v.dtype, shape: shape}, none
}

func foldSlice(n *node) ([]*constant, error) {
	c, err := n.constant(0, "data")
	if err != nil {
		return nil, err
	}
	dims, err := n.dims(0)
	if err != nil {
		return nil, err
	}
	spans, err := n.spans(dims)
	if err != nil {
		return nil, err
	}
	out, err := n.im.sliceConst(c, spans)
	return []*constant{out}, err
}

func (im *importer) sliceConst(c *constant, spans []span) (*constant, error) {
	shape := make([]int, len(spans))
	for k, s := range spans {
		shape[k] = s.size
	}
	strides := stridesOf(c.shape)
	return im.gather(c, shape, func(k int) int {
		at := 0
		for a := len(shape) - 1; a >= 0; a-- {
			at += (spans[a].start + k%shape[a]*spans[a].step) * strides[a]
			k /= shape[a]
		}
		return at
	}, 0)
}

// parts returns the axis and the sizes of a Split.
func (n *node) parts(dims []dim) (int, []int, error) {
	k, err := axis(n.int("axis", 0), len(dims))
	if err != nil {
		return 0, nil, err
	}
	if dims[k].n != 0 {
		return 0, nil, errBatch
	}
	size, count := dims[k].a, int64(len(n.def.Outputs))
	list, err := n.intsOrAttr("split", 1, 13)
	if err != nil {
		return 0, nil, err
	}
	var out []int
	if list != nil {
		total := int64(0)
		for _, s := range list {
			if s < 0 || s > size {
				return 0, nil, fmt.Errorf("split %v of axis %d, which has %d", list, k, size)
			}
			total += s
			out = append(out, int(s))
		}
		if int64(len(list)) != count || total != size {
			return 0, nil, fmt.Errorf("split %v into %d outputs of axis %d, which has %d", list, count, k, size)
		}
		return k, out, nil
	}
	uneven := n.opset() >= 18
	if a := n.attr("num_outputs"); a != nil && a.I != count {
		return 0, nil, fmt.Errorf("num_outputs %d, the node has %d", a.I, count)
	}
	if size%count != 0 && !uneven {
		return 0, nil, fmt.Errorf("axis %d has %d, which do not split into %d equal parts", k, size, count)
	}
	part := (size + count - 1) / count
	for range count {
		s := min(part, size)
		size -= s
		out = append(out, int(s))
	}
	return k, out, nil
}

func emitSplit(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	k, parts, err := n.parts(v.dims())
	if err != nil {
		return err
	}
	lo := 0
	for i, size := range parts {
		spans := make([]span, v.rank())
		for a := range spans {
			spans[a] = span{0, int(v.dim(a).a), 1}
		}
		spans[k] = span{lo, size, 1}
		lo += size
		if !n.wants(i) {
			continue
		}
		out, err := im.slice(v, spans)
		if err != nil {
			return err
		}
		n.set(i, out)
	}
	return nil
}

func foldSplit(n *node) ([]*constant, error) {
	c, err := n.constant(0, "input")
	if err != nil {
		return nil, err
	}
	dims, _ := n.dims(0)
	k, parts, err := n.parts(dims)
	if err != nil {
		return nil, err
	}
	var out []*constant
	lo := 0
	for _, size := range parts {
		out = append(out, c.sliceAxis(k, lo, size))
		lo += size
	}
	return out, nil
}

// indices returns the constant indices of a Gather along an axis of size, none
// negative.
func (n *node) indices(size int64) (*constant, error) {
	c, err := n.constant(1, "indices")
	if err != nil {
		return nil, err
	}
	if c.dtype.float() {
		return nil, fmt.Errorf("indices of type %s", c.dtype)
	}
	if c.batch != nil {
		return nil, errBatch
	}
	d := *c
	d.i = slices.Clone(c.i)
	for k, i := range d.i {
		if i < -size || i >= size {
			return nil, fmt.Errorf("index %d of an axis of %d", i, size)
		}
		if i < 0 {
			d.i[k] = i + size
		}
	}
	return &d, nil
}

func emitGather(im *importer, n *node) error {
	if n.input(0).isConst() {
		return fmt.Errorf("indices are not constant: %w", fileerr.ErrUnsupported)
	}
	v, err := n.view(0)
	if err != nil {
		return err
	}
	k, err := axis(n.int("axis", 0), v.rank())
	if err != nil {
		return err
	}
	if hasBatch(v.axes[k]) {
		return errBatch
	}
	c, err := n.indices(int64(v.size(k)))
	if err != nil {
		return err
	}
	if v.rank()-1+len(c.shape) > maxRank {
		return fmt.Errorf("result has more than %d axes", maxRank)
	}
	if c.numel() == 0 {
		shape, err := plain(v.dims())
		if err != nil {
			return err
		}
		n.set(0, value{c: &constant{dtype: v.dtype, shape: slices.Concat(shape[:k], c.shape, shape[k+1:])}})
		return nil
	}
	w, at, err := im.isolate(v, k)
	if err != nil {
		return err
	}
	op := &graph.Gather{Axis: at[0], IndexShape: graph.Ints(c.shape)}
	for _, i := range c.i {
		op.Indices = append(op.Indices, int(i))
	}
	var atoms [][]*atom
	for _, d := range c.shape {
		atoms = append(atoms, newAtoms(d))
	}
	out := w.with(im.add(op, nil, w.node), slices.Concat(w.axes[:k], atoms, w.axes[k+1:]),
		slices.Concat(w.graph[:at[0]], atoms, w.graph[at[0]+1:]))
	out.dtype = v.dtype
	n.setView(0, out)
	return nil
}

func foldGather(n *node) ([]*constant, error) {
	data, err := n.constant(0, "data")
	if err != nil {
		return nil, err
	}
	k, err := axis(n.int("axis", 0), len(data.shape))
	if err != nil {
		return nil, err
	}
	c, err := n.indices(int64(data.shape[k]))
	if err != nil {
		return nil, err
	}
	shape := slices.Concat(data.shape[:k], c.shape, data.shape[k+1:])
	inner, rows := numel(data.shape[k+1:]), c.numel()
	out, err := n.im.gather(data, shape, func(e int) int {
		o, r, i := e/(rows*inner), e/inner%rows, e%inner
		return (o*data.shape[k]+int(c.i[r]))*inner + i
	}, 0)
	return []*constant{out}, err
}
