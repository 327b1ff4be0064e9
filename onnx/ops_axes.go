package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
)

func (n *node) concatAxis(rank int) (int, error) {
	if n.opset() < 4 {
		return axis(n.int("axis", 1), rank)
	}
	a := n.attr("axis")
	if a == nil {
		return 0, errors.New("no axis")
	}
	return axis(a.I, rank)
}

func emitConcat(im *importer, n *node) error {
	var parts []value
	rank := -1
	var batch *view
	for i, x := range n.in {
		if x.missing() {
			return fmt.Errorf("input %d is omitted", i)
		}
		d, err := n.dims(i)
		if err != nil {
			return err
		}
		if rank >= 0 && len(d) != rank {
			return fmt.Errorf("inputs of %d and %d axes", rank, len(d))
		}
		rank = len(d)
		if x.v != nil && x.v.hasBatch() && batch == nil {
			batch = x.v
		}
	}
	k, err := n.concatAxis(rank)
	if err != nil {
		return err
	}
	for _, x := range n.in {
		if x.isConst() {
			c := x.constant()
			if c.numel() == 0 {
				continue
			}
			if batch != nil && batch.batchAxis() != k {
				if c, err = dropBatch(c, batch.batchAxis(), im.batch.size); err != nil {
					return err
				}
			}
			x = value{c: c}
		}
		parts = append(parts, x)
	}
	views := make([]*view, len(parts))
	for i, x := range parts {
		v, err := im.asView(x)
		if err != nil {
			return err
		}
		if hasBatch(v.axes[k]) {
			return errBatch
		}
		views[i] = v.clone()
		views[i].axes = slices.Clone(v.axes)
		if b := batch; b != nil && !v.hasBatch() && len(v.axes[b.batchAxis()]) == 0 {
			// A value that is the same for all samples: a constant whose copies
			// have been dropped.
			if x.v != nil {
				return errBatch
			}
			views[i].axes[b.batchAxis()] = b.axes[b.batchAxis()]
			if len(b.axes[b.batchAxis()]) != 1 {
				return errBatch
			}
		}
	}
	if len(views) == 1 {
		n.setView(0, views[0])
		return nil
	}
	separate(views)
	// All axes but k must agree.
	for a := range rank {
		if a == k {
			continue
		}
		for _, v := range views {
			if v.dim(a) != views[0].dim(a) {
				return fmt.Errorf("axis %d: sizes %v and %v", a, views[0].dim(a), v.dim(a))
			}
		}
		if err := im.unify(views, a); err != nil {
			return err
		}
	}
	// The order is that of the largest activation, with axis k in one piece.
	main := views[0]
	for _, v := range views[1:] {
		if (constantOf(main.node) != nil || v.numel() > main.numel()) && constantOf(v.node) == nil {
			main = v
		}
	}
	w, at, err := im.isolate(main, k)
	if err != nil {
		return err
	}
	var nodes []*graph.Node
	total := 0
	for _, v := range views {
		axes := slices.Clone(w.graph)
		axes[at[0]] = v.axes[k]
		nodes = append(nodes, im.want(v, axes).node)
		total += v.size(k)
	}
	joined := newAtoms(total)
	out := w.clone()
	out.axes, out.graph = slices.Clone(w.axes), slices.Clone(w.graph)
	out.axes[k], out.graph[at[0]] = joined, joined
	out.dtype = main.dtype
	if at[0] == len(w.graph)-1 {
		out.node = im.add(&graph.Concat{}, nil, nodes...)
	} else {
		out.node = im.add(&graph.ConcatAxis{Axis: at[0]}, nil, nodes...)
	}
	n.setView(0, out)
	return nil
}

func foldConcat(n *node) ([]*constant, error) {
	in, err := n.known()
	if err != nil {
		return nil, err
	}
	k, err := n.concatAxis(len(in[0].shape))
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(in[0].shape)
	shape[k] = 0
	batch := false
	for _, c := range in {
		if len(c.shape) != len(shape) || c.dtype != in[0].dtype {
			return nil, fmt.Errorf("inputs of types %s and %s and shapes %v and %v", in[0].dtype, c.dtype, in[0].shape, c.shape)
		}
		for a, d := range c.shape {
			if a != k && d != shape[a] {
				return nil, fmt.Errorf("inputs of shapes %v and %v", in[0].shape, c.shape)
			}
		}
		shape[k] += c.shape[k]
		batch = batch || c.batch != nil
	}
	out, err := n.im.newConstant(in[0].dtype, shape)
	if err != nil {
		return nil, err
	}
	if batch {
		out.batch = make([]int64, len(out.i))
	}
	inner, at := numel(shape[k+1:]), 0
	for o := range numel(shape[:k]) {
		for _, c := range in {
			row := c.shape[k] * inner
			if c.dtype.float() {
				copy(out.f[at:], c.f[o*row:(o+1)*row])
			} else {
				copy(out.i[at:], c.i[o*row:(o+1)*row])
				if c.batch != nil {
					copy(out.batch[at:], c.batch[o*row:(o+1)*row])
				}
			}
			at += row
		}
	}
	return []*constant{out}, nil
}

// A padding is what a Pad node adds.
type padding struct {
	begin, end []int
	mode       string
	value      float64
}

func (n *node) padding(dims []dim) (*padding, error) {
	p := &padding{begin: make([]int, len(dims)), end: make([]int, len(dims))}
	var err error
	if p.mode, err = n.choice("mode", "constant", "constant", "reflect", "edge", "wrap"); err != nil {
		return nil, err
	}
	var pads []int64
	axes := make([]int, len(dims))
	for k := range axes {
		axes[k] = k
	}
	if n.opset() < 11 {
		a := n.attr("pads")
		if a == nil {
			return nil, errors.New("no pads")
		}
		pads, p.value = a.Ints, n.float("value", 0)
	} else {
		if pads, err = n.ints(1, "pads"); err != nil {
			return nil, err
		}
		if x := n.input(2); !x.missing() {
			c, err := n.constant(2, "value")
			if err != nil {
				return nil, err
			}
			if c.numel() != 1 {
				return nil, fmt.Errorf("value of shape %v, want a scalar", c.shape)
			}
			p.value = float64(c.floats()[0])
		}
		if x := n.input(3); !x.missing() {
			list, err := n.ints(3, "axes")
			if err != nil {
				return nil, err
			}
			axes = axes[:0]
			for _, a := range list {
				k, err := axis(a, len(dims))
				if err != nil {
					return nil, err
				}
				if slices.Contains(axes, k) {
					return nil, fmt.Errorf("axis %d twice", k)
				}
				axes = append(axes, k)
			}
		}
	}
	if len(pads) != 2*len(axes) {
		return nil, fmt.Errorf("%d pads for %d axes", len(pads), len(axes))
	}
	for i, k := range axes {
		for j, dst := range []*int{&p.begin[k], &p.end[k]} {
			v := pads[j*len(axes)+i]
			if v < -1<<20 || v > 1<<20 {
				return nil, fmt.Errorf("pad %d", v)
			}
			*dst = int(v)
		}
		if dims[k].n != 0 && (p.begin[k] != 0 || p.end[k] != 0) {
			return nil, errBatch
		}
	}
	return p, nil
}

func emitPad(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	p, err := n.padding(v.dims())
	if err != nil {
		return err
	}
	var list []int
	for k := range p.begin {
		if p.begin[k] != 0 || p.end[k] != 0 {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		n.setView(0, v)
		return nil
	}
	w, at, err := im.isolate(v, list...)
	if err != nil {
		return err
	}
	out := w.clone()
	out.axes, out.graph = slices.Clone(w.axes), slices.Clone(w.graph)
	op := &graph.PadAxes{Begin: make(graph.Ints, len(w.graph)), End: make(graph.Ints, len(w.graph)), Mode: p.mode, Value: graph.Float(p.value)}
	for i, k := range list {
		op.Begin[at[i]], op.End[at[i]] = p.begin[k], p.end[k]
		atoms := newAtoms(v.size(k) + p.begin[k] + p.end[k])
		if v.size(k)+p.begin[k]+p.end[k] < 1 {
			return fmt.Errorf("pads leave nothing of axis %d", k)
		}
		out.axes[k], out.graph[at[i]] = atoms, atoms
	}
	out.node = im.add(op, nil, w.node)
	im.keepPoints(w.node, out)
	n.setView(0, out)
	return nil
}

func foldPad(n *node) ([]*constant, error) {
	c, err := n.constant(0, "data")
	if err != nil {
		return nil, err
	}
	dims, _ := n.dims(0)
	p, err := n.padding(dims)
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(c.shape))
	for k, d := range c.shape {
		shape[k] = d + p.begin[k] + p.end[k]
		left := d + min(p.begin[k], 0) + min(p.end[k], 0)
		if left < 0 || left == 0 && p.mode != "constant" {
			return nil, fmt.Errorf("pads leave nothing of axis %d", k)
		}
	}
	strides := stridesOf(c.shape)
	out, err := n.im.gather(c, shape, func(e int) int {
		at := 0
		for a := len(shape) - 1; a >= 0; a-- {
			i, d := e%shape[a]-p.begin[a], c.shape[a]
			e /= shape[a]
			// Cells that negative pads cut off are no source.
			lo, hi := max(0, -p.begin[a]), d-max(0, -p.end[a])
			if i < lo || i >= hi {
				switch p.mode {
				case "constant":
					return -1
				case "edge":
					i = min(max(i, lo), hi-1)
				case "reflect":
					i = lo + reflect(i-lo, hi-lo)
				case "wrap":
					i = lo + ((i-lo)%(hi-lo)+hi-lo)%(hi-lo)
				}
			}
			at += i * strides[a]
		}
		return at
	}, p.value)
	return []*constant{out}, err
}

// reflect mirrors an index at 0 and n-1 until it is between.
func reflect(i, n int) int {
	if n == 1 {
		return 0
	}
	period := 2 * (n - 1)
	i = (i%period + period) % period
	if i >= n {
		i = period - i
	}
	return i
}

// expanded returns the shape that Expand broadcasts to.
func (n *node) expanded() ([]dim, error) {
	in, err := n.dims(0)
	if err != nil {
		return nil, err
	}
	c, err := n.constant(1, "shape")
	if err != nil {
		return nil, err
	}
	if c.dtype.float() || len(c.shape) != 1 || c.shape[0] > maxRank {
		return nil, fmt.Errorf("shape has type %s and shape %v, want a vector of up to %d integers", c.dtype, c.shape, maxRank)
	}
	want := make([]dim, len(c.i))
	for k, d := range c.i {
		want[k] = dim{a: d}
		if c.batch != nil {
			want[k].n = c.batch[k]
		}
		if want[k].n == 0 && d < 0 || d > math.MaxInt32*1024 {
			return nil, fmt.Errorf("shape %v: size %d", want, d)
		}
	}
	rank := max(len(in), len(want))
	one := dim{a: 1}
	out := slices.Repeat([]dim{one}, rank)
	copy(out[rank-len(want):], want)
	for k, d := range in {
		at := rank - len(in) + k
		switch o := out[at]; {
		case o == d || d == one:
		case o == one:
			out[at] = d
		default:
			return nil, fmt.Errorf("%v cannot be broadcast to %v", in, want)
		}
	}
	return out, nil
}

func emitExpand(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	want, err := n.expanded()
	if err != nil {
		return err
	}
	out, err := im.expand(v, want)
	n.setView(0, out)
	return err
}

// expand broadcasts a view to a shape.
func (im *importer) expand(v *view, want []dim) (*view, error) {
	w := v.clone()
	w.axes = slices.Concat(make([][]*atom, len(want)-v.rank()), v.axes)
	var list []int
	for k, d := range want {
		if w.dim(k) == d {
			continue
		}
		if d.n != 0 || im.batch != nil && k == 0 && !w.hasBatch() && d.n == 0 && d.a == int64(im.batch.size) && constantOf(v.node) != nil {
			if d.n > 1 || d.a != 0 && d.n != 0 || w.hasBatch() || im.batch == nil {
				return nil, errBatch
			}
			w.axes[k] = []*atom{im.batch}
			continue
		}
		list = append(list, k)
	}
	if len(list) == 0 {
		return w, nil
	}
	u, at, err := im.isolate(w, list...)
	if err != nil {
		return nil, err
	}
	out := u.clone()
	out.axes, out.graph = slices.Clone(u.axes), slices.Clone(u.graph)
	for i, k := range list {
		atoms := newAtoms(int(want[k].a))
		out.axes[k], out.graph[at[i]] = atoms, atoms
	}
	out.node = im.add(&graph.Expand{Shape: graph.Ints(shapeOf(out.graph))}, nil, u.node)
	return out, nil
}

func foldExpand(n *node) ([]*constant, error) {
	want, err := n.expanded()
	if err != nil {
		return nil, err
	}
	c, err := n.constant(0, "input")
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(want, func(d dim) bool { return d.n != 0 }) {
		// One copy per sample: known, but only as part of the graph.
		if c.batch != nil || c.numel() == 0 {
			return nil, errBatch
		}
		v, err := n.im.constView(c)
		if err != nil {
			return nil, err
		}
		v, err = n.im.expand(v, want)
		n.setView(0, v)
		return nil, err
	}
	shape, err := plain(want)
	if err != nil {
		return nil, err
	}
	at := broadcastIndex(c.shape, shape)
	out, err := n.im.gather(c, shape, at, 0)
	return []*constant{out}, err
}

func (n *node) repeats(rank int) ([]int, error) {
	list, err := n.ints(1, "repeats")
	if err != nil {
		return nil, err
	}
	if len(list) != rank {
		return nil, fmt.Errorf("%d repeats for %d axes", len(list), rank)
	}
	return sizes(list)
}

func emitTile(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	repeats, err := n.repeats(v.rank())
	if err != nil {
		return err
	}
	var list []int
	for k, r := range repeats {
		if r != 1 {
			list = append(list, k)
		}
		if r == 0 {
			return fmt.Errorf("repeats %v leave nothing: %w", repeats, fileerr.ErrUnsupported)
		}
	}
	if len(list) == 0 {
		n.setView(0, v)
		return nil
	}
	w, at, err := im.isolate(v, list...)
	if err != nil {
		return err
	}
	out := w.clone()
	out.axes, out.graph = slices.Clone(w.axes), slices.Clone(w.graph)
	op := &graph.Tile{Repeats: slices.Repeat(graph.Ints{1}, len(w.graph))}
	for i, k := range list {
		if repeats[k] > 1<<20 {
			return fmt.Errorf("repeats %v", repeats)
		}
		op.Repeats[at[i]] = repeats[k]
		atoms := newAtoms(v.size(k) * repeats[k])
		out.axes[k], out.graph[at[i]] = atoms, atoms
	}
	out.node = im.add(op, nil, w.node)
	n.setView(0, out)
	return nil
}

func foldTile(n *node) ([]*constant, error) {
	c, err := n.constant(0, "input")
	if err != nil {
		return nil, err
	}
	repeats, err := n.repeats(len(c.shape))
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(c.shape)
	for k, r := range repeats {
		if r > 0 && shape[k] > math.MaxInt32/r {
			return nil, fmt.Errorf("repeats %v", repeats)
		}
		shape[k] *= r
	}
	strides := stridesOf(c.shape)
	out, err := n.im.gather(c, shape, func(e int) int {
		at := 0
		for a := len(shape) - 1; a >= 0; a-- {
			at += e % shape[a] % c.shape[a] * strides[a]
			e /= shape[a]
		}
		return at
	}, 0)
	return []*constant{out}, err
}

func emitDepthToSpace(im *importer, n *node) error {
	return im.blocks(n, true)
}

func emitSpaceToDepth(im *importer, n *node) error {
	return im.blocks(n, false)
}

// blocks moves blocks between channels and space.
func (im *importer) blocks(n *node, toSpace bool) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	mode, err := n.choice("mode", "DCR", "DCR", "CRD")
	if err != nil {
		return err
	}
	b := n.int("blocksize", 0)
	if b < 1 || b > 1<<10 {
		return fmt.Errorf("blocksize %d", b)
	}
	if v.rank() != 4 {
		return fmt.Errorf("input has %d axes, want 4", v.rank())
	}
	size := int(b)
	c, h, w := v.size(1), v.size(2), v.size(3)
	if toSpace && c%(size*size) != 0 || !toSpace && (h%size != 0 || w%size != 0) {
		return fmt.Errorf("[%d %d %d] does not split into blocks of %d", c, h, w, size)
	}
	x, lead, err := im.spatial(v)
	if err != nil {
		return err
	}
	if lead {
		return im.blocksByAxes(n, v, size, toSpace, mode == "CRD")
	}
	var op graph.Op
	if toSpace {
		op = &graph.DepthToSpace{Block: size, ChannelFirst: mode == "CRD"}
		c, h, w = c/(size*size), h*size, w*size
	} else {
		op = &graph.SpaceToDepth{Block: size, ChannelFirst: mode == "CRD"}
		c, h, w = c*size*size, h/size, w/size
	}
	ac, ah, aw := newAtoms(c), newAtoms(h), newAtoms(w)
	n.setView(0, x.with(im.add(op, nil, x.node), [][]*atom{v.axes[0], ac, ah, aw}, [][]*atom{ah, aw, ac}))
	return nil
}

// blocksByAxes does the same by reshapes and a transposition.
func (im *importer) blocksByAxes(n *node, v *view, b int, toSpace, crd bool) error {
	d := func(x int) dim { return dim{a: int64(x)} }
	c, h, w := v.size(1), v.size(2), v.size(3)
	var first, last []dim
	var perm []int
	if toSpace {
		c /= b * b
		first, perm = []dim{v.dim(0), d(b), d(b), d(c), d(h), d(w)}, []int{0, 3, 4, 1, 5, 2}
		if crd {
			first, perm = []dim{v.dim(0), d(c), d(b), d(b), d(h), d(w)}, []int{0, 1, 4, 2, 5, 3}
		}
		last = []dim{v.dim(0), d(c), d(h * b), d(w * b)}
	} else {
		h, w = h/b, w/b
		first, perm = []dim{v.dim(0), d(c), d(h), d(b), d(w), d(b)}, []int{0, 3, 5, 1, 2, 4}
		if crd {
			perm = []int{0, 1, 3, 5, 2, 4}
		}
		last = []dim{v.dim(0), d(c * b * b), d(h), d(w)}
	}
	x, err := im.reshapeTo(v, first)
	if err != nil {
		return err
	}
	x, err = im.reshapeTo(x.transposed(perm), last)
	n.setView(0, x)
	return err
}
