package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
)

func init() {
	define(Convertible, 1, 1, 1, "", emitIdentity, foldIdentity, "Identity")
	define(Convertible, 1, 3, 2, "ratio:f@-11 seed:i is_test:i@-6", emitDropout, nil, "Dropout")
	operators["Dropout"].always = true
	define(Folded, 1, 1, 1, "to:i saturate:i@19 round_mode:s@24", emitCast, foldCast, "Cast")
	define(Folded, 2, 2, 1, "saturate:i@19 round_mode:s@24", emitCastLike, foldCastLike, "CastLike")
	define(Convertible, 1, 1, 1, "axis:i", emitFlatten, foldFlatten, "Flatten")
	define(Convertible, 1, 2, 1, "shape:is@-4 allowzero:i@14", emitReshape, foldReshape, "Reshape")
	define(Convertible, 1, 1, 1, "perm:is", emitTranspose, foldTranspose, "Transpose")
	define(Convertible, 1, 2, 1, "axes:is@-12", emitSqueeze, foldSqueeze, "Squeeze")
	define(Convertible, 1, 2, 1, "axes:is@-12", emitUnsqueeze, foldUnsqueeze, "Unsqueeze")
	define(Folded, 1, 1, 1, "start:i@15 end:i@15", emitShape, foldShape, "Shape")
	define(Folded, 1, 1, 1, "", emitSize, foldShape, "Size")
	define(Convertible, 1, -1, 1, "axis:i", emitConcat, foldConcat, "Concat")
	define(Convertible, 1, 5, 1, "starts:is@-9 ends:is@-9 axes:is@-9", emitSlice, foldSlice, "Slice")
	define(Convertible, 1, 2, -1, "axis:i split:is@-12 num_outputs:i@18", emitSplit, foldSplit, "Split")
	define(Convertible, 2, 2, 1, "axis:i", emitGather, foldGather, "Gather")
	define(Convertible, 1, 4, 1, "pads:is@-10 value:f@-10 mode:s", emitPad, foldPad, "Pad")
	define(Folded, 2, 2, 1, "", emitExpand, foldExpand, "Expand")
	define(Folded, 2, 2, 1, "", emitTile, foldTile, "Tile")
	define(Convertible, 1, 1, 1, "blocksize:i mode:s@11", emitDepthToSpace, nil, "DepthToSpace")
	define(Convertible, 1, 1, 1, "blocksize:i mode:s@28", emitSpaceToDepth, nil, "SpaceToDepth")
	define(Folded, 0, 0, 1, "value:t value_float:f@12 value_floats:fs@12 value_int:i@12 value_ints:is@12 value_string:s@12 value_strings:ss@12 sparse_value:t@11",
		nil, foldConstant, "Constant")
	define(Folded, 1, 1, 1, "value:t", nil, foldConstantOfShape, "ConstantOfShape")
	define(Folded, 3, 3, 1, "", nil, foldRange, "Range")
	define(Folded, 1, 1, -1, "then_branch:g else_branch:g", emitIf, nil, "If")
	operators["If"].always = true
	for _, name := range []string{"ConstantOfShape", "Range"} {
		operators[name].emit = func(*importer, *node) error {
			return fmt.Errorf("an input is not constant: %w", fileerr.ErrUnsupported)
		}
	}
	operators["Constant"].emit = func(*importer, *node) error { return nil }
}

func foldIdentity(n *node) ([]*constant, error) {
	// An alias: a stored tensor stays undecoded.
	n.set(0, n.in[0])
	return nil, nil
}

func emitIdentity(im *importer, n *node) error {
	n.set(0, n.in[0])
	return nil
}

func emitDropout(im *importer, n *node) error {
	if mode := n.input(2); !mode.missing() {
		if !mode.isConst() {
			return fmt.Errorf("training_mode is not constant: %w", fileerr.ErrUnsupported)
		}
		if c := mode.constant(); c.numel() == 1 && len(c.i) == 1 && c.i[0] != 0 {
			im.note("%s: training_mode is true; it does nothing here", n.def)
		}
	}
	n.set(0, n.in[0])
	if n.wants(1) { // the mask: everything is kept
		v, err := n.view(0)
		if err != nil {
			return err
		}
		ones := v.same(im.add(&graph.Affine{}, graph.Params{"weight": scalar(0), "bias": scalar(1)}, v.node))
		ones.dtype = boolType
		if n.opset() < 10 {
			ones.dtype = v.dtype
		}
		n.setView(1, ones)
	}
	return nil
}

func (im *importer) note(format string, args ...any) {
	if len(im.notes) < 100 {
		im.notes = append(im.notes, fmt.Sprintf(format, args...))
	}
}

func emitCast(im *importer, n *node) error {
	return im.emitCastTo(n, dtype(n.int("to", 0)))
}

func emitCastLike(im *importer, n *node) error {
	if n.input(0).isConst() { // of the other input, only the type counts
		out, err := foldCastLike(n)
		n.set(0, value{c: out[0]})
		return err
	}
	return im.emitCastTo(n, n.dtypeOf(1))
}

func (im *importer) emitCastTo(n *node, to dtype) error {
	if to.size() == 0 {
		return fmt.Errorf("cast to %s is not supported: %w", to, fileerr.ErrUnsupported)
	}
	v, err := n.view(0)
	if err != nil {
		return err
	}
	out := v.clone()
	out.dtype = to
	if v.dtype.float() && !to.float() {
		if to == boolType {
			zero, err := im.binary(graph.Equal, value{v: v}, value{c: &constant{dtype: float32Type, f: []float32{0}}})
			if err != nil {
				return err
			}
			out.node = im.add(&graph.Affine{}, graph.Params{"weight": scalar(-1), "bias": scalar(1)}, zero.node)
		} else {
			out.node = im.add(&graph.Unary{Func: graph.Trunc}, nil, v.node)
		}
	}
	if to.float() {
		out.dtype = float32Type
	}
	n.setView(0, out)
	return nil
}

func foldCast(n *node) ([]*constant, error) {
	c, err := n.constant(0, "input")
	if err != nil {
		return nil, err
	}
	c, err = n.im.cast(c, dtype(n.int("to", 0)))
	return []*constant{c}, err
}

func foldCastLike(n *node) ([]*constant, error) {
	c, err := n.constant(0, "input")
	if err != nil {
		return []*constant{nil}, err
	}
	c, err = n.im.cast(c, n.dtypeOf(1))
	return []*constant{c}, err
}

// dims returns the shape of input i.
func (n *node) dims(i int) ([]dim, error) {
	x := n.input(i)
	if x.missing() {
		return nil, fmt.Errorf("input %d is omitted", i)
	}
	if x.v != nil {
		return x.v.dims(), nil
	}
	var out []dim
	for _, d := range x.shape() {
		out = append(out, dim{a: int64(d)})
	}
	return out, nil
}

func plain(dims []dim) ([]int, error) {
	out := make([]int, len(dims))
	for k, d := range dims {
		if d.n != 0 {
			return nil, errBatch
		}
		out[k] = int(d.a)
	}
	return out, nil
}

func mulDims(list []dim) (dim, error) {
	p := dim{a: 1}
	for _, d := range list {
		switch {
		case d.n != 0 && p.n != 0:
			return dim{}, errBatch
		case d.n != 0:
			p = dim{p.a * d.a, p.a * d.n}
		default:
			p = dim{p.a * d.a, p.n * d.a}
		}
		if p.a > math.MaxInt32*1024 || p.a < 0 {
			return dim{}, errors.New("too many values")
		}
	}
	return p, nil
}

// reshapeTo gives input 0 another shape.
func (im *importer) reshapeTo(v *view, dims []dim) (*view, error) {
	have, err := mulDims(v.dims())
	if err != nil {
		return nil, err
	}
	want, err := mulDims(dims)
	if err != nil {
		return nil, err
	}
	if have != want {
		return nil, fmt.Errorf("shape %v does not hold the %v values of %v", dims, have, v.dims())
	}
	w, err := v.regroup(dims)
	if err == nil || errors.Is(err, errBatch) {
		return w, err
	}
	// The cut runs through factors: put the values into ONNX's order and begin
	// with new factors.
	k := v.batchAxis()
	if k > 0 || k == 0 && len(v.axes[0]) > 1 {
		return nil, errBatch
	}
	w = im.want(v, v.onnxOrder())
	shape := dims
	if k == 0 {
		if len(dims) == 0 || dims[0] != v.dim(0) {
			return nil, errBatch
		}
		shape = dims[1:]
	}
	out := &view{dtype: v.dtype}
	var gs graph.Shape
	if k == 0 {
		out.axes = append(out.axes, v.axes[0])
	}
	for _, d := range shape {
		list := newAtoms(int(d.a))
		out.axes = append(out.axes, list)
		if len(list) > 0 {
			out.graph = append(out.graph, list)
			gs = append(gs, int(d.a))
		}
	}
	if len(gs) == 0 {
		gs, out.graph = graph.Shape{1}, [][]*atom{nil}
	}
	if len(gs) > maxRank {
		return nil, fmt.Errorf("shape %v has too many axes", dims)
	}
	out.node = im.reshape(w.node, gs)
	return out, nil
}

// targetShape returns the shape that a Reshape asks for.
func (n *node) targetShape() ([]dim, error) {
	var want []dim
	if n.opset() < 5 {
		for _, d := range n.attr("shape").Ints {
			want = append(want, dim{a: d})
		}
	} else {
		c, err := n.constant(1, "shape")
		if err != nil {
			return nil, err
		}
		if c.dtype.float() || len(c.shape) != 1 {
			return nil, fmt.Errorf("shape has type %s and shape %v, want a vector of integers", c.dtype, c.shape)
		}
		for k, d := range c.i {
			x := dim{a: d}
			if c.batch != nil {
				x.n = c.batch[k]
			}
			want = append(want, x)
		}
	}
	if len(want) > maxRank {
		return nil, fmt.Errorf("shape %v has more than %d axes", want, maxRank)
	}
	in, err := n.dims(0)
	if err != nil {
		return nil, err
	}
	allowZero, err := n.flag("allowzero", false)
	if err != nil {
		return nil, err
	}
	hole := -1
	for k, d := range want {
		switch {
		case d.n != 0:
		case d.a == -1 && hole >= 0:
			return nil, fmt.Errorf("shape %v has two -1", want)
		case d.a == -1:
			hole = k
		case d.a < 0:
			return nil, fmt.Errorf("shape %v: negative size", want)
		case d.a == 0 && !allowZero:
			if k >= len(in) {
				return nil, fmt.Errorf("shape %v copies axis %d of %v", want, k, in)
			}
			want[k] = in[k]
		}
	}
	if hole >= 0 {
		total, err := mulDims(in)
		if err != nil {
			return nil, err
		}
		rest, err := mulDims(slices.Concat(want[:hole], want[hole+1:]))
		if err != nil {
			return nil, err
		}
		if want[hole], err = quotient(total, rest); err != nil {
			return nil, fmt.Errorf("shape %v does not divide %v: %w", want, in, err)
		}
	}
	return want, nil
}

func quotient(a, b dim) (dim, error) {
	switch {
	case b.a == 0 && b.n == 0:
		return dim{}, errors.New("zero size beside -1")
	case b.n != 0: // a*N / b*N
		if a.a != 0 || b.a != 0 || a.n%b.n != 0 {
			return dim{}, errBatch
		}
		return dim{a: a.n / b.n}, nil
	case a.a%b.a != 0 || a.n%b.a != 0:
		return dim{}, fmt.Errorf("%v values in rows of %v", a, b)
	}
	return dim{a.a / b.a, a.n / b.a}, nil
}

func emitReshape(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	want, err := n.targetShape()
	if err != nil {
		return err
	}
	out, err := im.reshapeTo(v, want)
	n.setView(0, out)
	return err
}

func foldReshape(n *node) ([]*constant, error) {
	c, err := n.constant(0, "data")
	if err != nil {
		return nil, err
	}
	want, err := n.targetShape()
	if err != nil {
		return nil, err
	}
	shape, err := plain(want)
	if err != nil {
		return nil, err
	}
	total, err := mulDims(want)
	if err != nil {
		return nil, err
	}
	if total.a != int64(c.numel()) {
		return nil, fmt.Errorf("shape %v does not hold %d values", shape, c.numel())
	}
	return []*constant{c.reshaped(shape)}, nil
}

func (n *node) flattenDims() ([]dim, error) {
	in, err := n.dims(0)
	if err != nil {
		return nil, err
	}
	a := n.int("axis", 1)
	if a < -int64(len(in)) || a > int64(len(in)) {
		return nil, fmt.Errorf("axis %d of %d axes", a, len(in))
	}
	if a < 0 {
		a += int64(len(in))
	}
	left, err := mulDims(in[:a])
	if err != nil {
		return nil, err
	}
	right, err := mulDims(in[a:])
	return []dim{left, right}, err
}

func emitFlatten(im *importer, n *node) error {
	want, err := n.flattenDims()
	if err != nil {
		return err
	}
	v, err := n.view(0)
	if err != nil {
		return err
	}
	out, err := im.reshapeTo(v, want)
	n.setView(0, out)
	return err
}

func foldFlatten(n *node) ([]*constant, error) {
	want, err := n.flattenDims()
	if err != nil {
		return nil, err
	}
	c, err := n.constant(0, "input")
	if err != nil {
		return nil, err
	}
	return []*constant{c.reshaped([]int{int(want[0].a), int(want[1].a)})}, nil
}

func (n *node) perm(rank int) ([]int, error) {
	perm := make([]int, rank)
	a := n.attr("perm")
	if a == nil {
		for k := range perm {
			perm[k] = rank - 1 - k
		}
		return perm, nil
	}
	if len(a.Ints) != rank {
		return nil, fmt.Errorf("perm %v for %d axes", a.Ints, rank)
	}
	seen := make([]bool, rank)
	for k, p := range a.Ints {
		if p < 0 || p >= int64(rank) || seen[p] {
			return nil, fmt.Errorf("perm %v is no permutation of %d axes", a.Ints, rank)
		}
		seen[p], perm[k] = true, int(p)
	}
	return perm, nil
}

func emitTranspose(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	perm, err := n.perm(v.rank())
	if err != nil {
		return err
	}
	n.setView(0, v.transposed(perm))
	return nil
}

// transposed reorders the ONNX axes; the graph stays as it is.
func (v *view) transposed(perm []int) *view {
	w := v.clone()
	w.axes = make([][]*atom, len(perm))
	for k, p := range perm {
		w.axes[k] = v.axes[p]
	}
	return w
}

func foldTranspose(n *node) ([]*constant, error) {
	c, err := n.constant(0, "data")
	if err != nil {
		return nil, err
	}
	perm, err := n.perm(len(c.shape))
	if err != nil {
		return nil, err
	}
	out, err := n.im.transposeConst(c, perm)
	return []*constant{out}, err
}

func (im *importer) transposeConst(c *constant, perm []int) (*constant, error) {
	shape := make([]int, len(perm))
	from := stridesOf(c.shape)
	strides := make([]int, len(perm))
	for k, p := range perm {
		shape[k], strides[k] = c.shape[p], from[p]
	}
	return im.gather(c, shape, func(k int) int {
		at := 0
		for a := len(shape) - 1; a >= 0; a-- {
			at += k % shape[a] * strides[a]
			k /= shape[a]
		}
		return at
	}, 0)
}

func (n *node) squeezed(in []dim) ([]int, error) {
	list, err := n.intsOrAttr("axes", 1, 13)
	if err != nil {
		return nil, err
	}
	if list == nil {
		var axes []int
		for k, d := range in {
			if d == (dim{a: 1}) {
				axes = append(axes, k)
			}
		}
		return axes, nil
	}
	axes, err := axesOf(list, len(in))
	if err != nil {
		return nil, err
	}
	for _, k := range axes {
		if in[k] != (dim{a: 1}) {
			if in[k].n != 0 {
				return nil, errBatch
			}
			return nil, fmt.Errorf("axis %d has size %v, want 1", k, in[k])
		}
	}
	return axes, nil
}

func without[T any](list []T, axes []int) []T {
	var out []T
	for k, x := range list {
		if !slices.Contains(axes, k) {
			out = append(out, x)
		}
	}
	return out
}

func emitSqueeze(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	axes, err := n.squeezed(v.dims())
	if err != nil {
		return err
	}
	out := v.clone()
	for _, k := range axes {
		if len(v.axes[k]) > 0 { // a batch of literally one sample
			return errBatch
		}
	}
	out.axes = without(v.axes, axes)
	n.setView(0, out)
	return nil
}

func foldSqueeze(n *node) ([]*constant, error) {
	c, err := n.constant(0, "data")
	if err != nil {
		return nil, err
	}
	in, _ := n.dims(0)
	axes, err := n.squeezed(in)
	if err != nil {
		return nil, err
	}
	return []*constant{c.reshaped(append([]int{}, without(c.shape, axes)...))}, nil
}

func unsqueeze[T any](n *node, in []T, one T) ([]T, error) {
	list, err := n.intsOrAttr("axes", 1, 13)
	if err != nil {
		return nil, err
	}
	rank := len(in) + len(list)
	if list == nil || rank > maxRank {
		return nil, fmt.Errorf("axes %v for %d axes", list, len(in))
	}
	axes, err := axesOf(list, rank)
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, rank)
	for k := range rank {
		if slices.Contains(axes, k) {
			out = append(out, one)
		} else {
			out, in = append(out, in[0]), in[1:]
		}
	}
	return out, nil
}

func emitUnsqueeze(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	out := v.clone()
	out.axes, err = unsqueeze[[]*atom](n, v.axes, nil)
	n.setView(0, out)
	return err
}

func foldUnsqueeze(n *node) ([]*constant, error) {
	c, err := n.constant(0, "data")
	if err != nil {
		return nil, err
	}
	shape, err := unsqueeze(n, c.shape, 1)
	if err != nil {
		return nil, err
	}
	return []*constant{c.reshaped(shape)}, nil
}

// dimsConstant returns numbers of shape arithmetic as a vector.
func dimsConstant(dims []dim) *constant {
	c := &constant{dtype: int64Type, shape: []int{len(dims)}, i: make([]int64, len(dims))}
	for k, d := range dims {
		c.i[k] = d.a
		if d.n != 0 {
			if c.batch == nil {
				c.batch = make([]int64, len(dims))
			}
			c.batch[k] = d.n
		}
	}
	return c
}

func (n *node) shapeOrSize() (*constant, error) {
	dims, err := n.dims(0)
	if err != nil {
		return nil, err
	}
	if n.def.Op == "Size" {
		total, err := mulDims(dims)
		if err != nil {
			return nil, err
		}
		c := dimsConstant([]dim{total})
		c.shape = []int{}
		return c, nil
	}
	r := int64(len(dims))
	clamp := func(v int64) int64 {
		if v < 0 {
			v += r
		}
		return min(max(v, 0), r)
	}
	start, end := clamp(n.int("start", 0)), clamp(n.int("end", r))
	return dimsConstant(dims[start:max(start, end)]), nil
}

func emitShape(im *importer, n *node) error {
	c, err := n.shapeOrSize()
	n.set(0, value{c: c})
	return err
}

func emitSize(im *importer, n *node) error { return emitShape(im, n) }

func foldShape(n *node) ([]*constant, error) {
	c, err := n.shapeOrSize()
	return []*constant{c}, err
}
