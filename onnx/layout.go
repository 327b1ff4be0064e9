package onnx

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// errBatch marks a model that does not treat the samples of a batch one by one,
// so that the batch must be an axis like others.
var errBatch = errors.New("mixes the samples of a batch")

// A dim is the size of an axis, or one number of shape arithmetic: a + n*N with
// N the number of samples.
type dim struct{ a, n int64 }

func (d dim) String() string {
	switch {
	case d.n == 0:
		return strconv.FormatInt(d.a, 10)
	case d.a == 0 && d.n == 1:
		return "N"
	case d.a == 0:
		return fmt.Sprintf("%d*N", d.n)
	}
	return fmt.Sprintf("%d+%d*N", d.a, d.n)
}

// An atom is a factor of an axis. Atoms are compared by identity: the same atom
// in two places is the same index.
type atom struct {
	size  int // of the batch: the number of samples, 0 if that is open
	batch bool
}

// A view is an activation: a node of the graph and how its values are arranged.
// ONNX's axes and the graph's are both products of the same atoms, so that
// transpositions and reshapes need no operation until something wants the values
// in another order. The batch atom is never in the graph's axes, as samples are
// outermost there.
type view struct {
	node  *graph.Node
	axes  [][]*atom // ONNX's
	graph [][]*atom // the graph's; one axis without atoms for a scalar
	dtype dtype
}

func product(list []*atom) int {
	n := 1
	for _, a := range list {
		if !a.batch {
			n *= a.size
		}
	}
	return n
}

// dim returns the size of an axis.
func axisDim(list []*atom) dim {
	d := dim{a: int64(product(list))}
	for _, a := range list {
		if a.batch {
			if a.size == 0 {
				return dim{n: d.a}
			}
			d.a *= int64(a.size)
		}
	}
	return d
}

func (v *view) rank() int      { return len(v.axes) }
func (v *view) dim(k int) dim  { return axisDim(v.axes[k]) }
func (v *view) hasBatch() bool { return v.batchAxis() >= 0 }
func (v *view) numel() int     { return product(slices.Concat(v.graph...)) }
func (v *view) size(k int) int { return product(v.axes[k]) } // without the batch
func (v *view) clone() *view   { c := *v; return &c }
func hasBatch(list []*atom) bool {
	return slices.ContainsFunc(list, func(a *atom) bool { return a.batch })
}

// batchAxis returns the ONNX axis that holds the batch, or -1.
func (v *view) batchAxis() int { return slices.IndexFunc(v.axes, hasBatch) }

func (v *view) dims() []dim {
	out := make([]dim, len(v.axes))
	for k := range out {
		out[k] = v.dim(k)
	}
	return out
}

// newAtoms returns the factor list of an axis of the given size: nothing for 1.
func newAtoms(size int) []*atom {
	if size == 1 {
		return nil
	}
	return []*atom{{size: size}}
}

// replace returns the view with one atom replaced by several, whose product it
// is.
func (v *view) replace(old *atom, by []*atom) *view {
	swap := func(lists [][]*atom) [][]*atom {
		out := make([][]*atom, len(lists))
		for i, list := range lists {
			out[i] = list
			if k := slices.Index(list, old); k >= 0 {
				out[i] = slices.Concat(list[:k], by, list[k+1:])
			}
		}
		return out
	}
	return &view{node: v.node, axes: swap(v.axes), graph: swap(v.graph), dtype: v.dtype}
}

// regroup gives the view the ONNX shape dims by splitting and joining its
// factors. It fails where an axis of the result is no product of factors.
func (v *view) regroup(dims []dim) (*view, error) {
	w := v
	rest := slices.Concat(v.axes...)
	axes := make([][]*atom, len(dims))
	for k, d := range dims {
		if d.a != 0 && d.n != 0 {
			return nil, errBatch
		}
		want, batch := d.a, false
		if d.n != 0 {
			want, batch = d.n, true
		}
		for want != 1 || batch {
			if len(rest) == 0 {
				return nil, errBatch
			}
			first := rest[0]
			switch {
			case want < 1 || want == 1 && !first.batch: // only the batch is wanted
				return nil, errBatch
			case first.batch && first.size == 0:
				if !batch {
					return nil, errBatch
				}
				batch = false
			case first.batch:
				if want%int64(first.size) != 0 {
					return nil, errBatch
				}
				want /= int64(first.size)
			case want%int64(first.size) == 0:
				want /= int64(first.size)
			case int64(first.size)%want == 0:
				by := []*atom{{size: int(want)}, {size: first.size / int(want)}}
				w = w.replace(first, by)
				rest = append(slices.Clone(by), rest[1:]...)
				first, want = by[0], 1
			default:
				return nil, errFactors
			}
			axes[k] = append(axes[k], first)
			rest = rest[1:]
		}
		// A batch of literally one sample is an axis of 1 like others: the first
		// that there is.
		if d == (dim{a: 1}) && len(rest) > 0 && rest[0].batch && rest[0].size == 1 {
			axes[k], rest = rest[:1:1], rest[1:]
		}
	}
	if len(rest) > 0 {
		if hasBatch(rest) {
			return nil, errBatch
		}
		return nil, errFactors
	}
	return &view{node: w.node, axes: axes, graph: w.graph, dtype: v.dtype}, nil
}

// errFactors marks a reshape that cuts through factors.
var errFactors = errors.New("reshape cuts through axes")

// shapeOf returns the graph shape of axes.
func shapeOf(axes [][]*atom) graph.Shape {
	s := make(graph.Shape, len(axes))
	for i, list := range axes {
		s[i] = product(list)
	}
	return s
}

// want returns the view with the graph's axes as given: the same atoms in
// another order or grouping. It adds a reshape, a transposition and a reshape,
// each only where it changes something.
func (im *importer) want(v *view, axes [][]*atom) *view {
	if len(axes) == 0 {
		axes = [][]*atom{nil}
	}
	if slices.EqualFunc(v.graph, axes, slices.Equal) {
		return v
	}
	out := v.clone()
	out.graph = axes
	have, goal := slices.Concat(v.graph...), slices.Concat(axes...)
	if slices.Equal(have, goal) {
		out.node = im.reshape(v.node, shapeOf(axes))
		return out
	}
	// Factors that stay neighbours move as one. Runs are maximal in the order
	// that is, and must be runs of the order that shall be.
	next := make(map[*atom]*atom)
	for i := 1; i < len(goal); i++ {
		next[goal[i-1]] = goal[i]
	}
	var runs [][]*atom
	for i, a := range have {
		if i > 0 && next[have[i-1]] == a {
			runs[len(runs)-1] = append(runs[len(runs)-1], a)
		} else {
			runs = append(runs, []*atom{a})
		}
	}
	var perm graph.Ints
	for _, a := range goal {
		for j, run := range runs {
			if run[0] == a {
				perm = append(perm, j)
			}
		}
	}
	if t := constantOf(v.node); t != nil { // permuted here, not at run time
		r := &tensor.Tensor{Shape: shapeOf(runs), Data: t.Data}
		p, err := r.Permute(perm...)
		if err != nil {
			panic(bail{err})
		}
		p.Shape = shapeOf(axes)
		out.node = im.add(&graph.Constant{}, graph.Params{"value": p})
		return out
	}
	node := im.reshape(v.node, shapeOf(runs))
	node = im.add(&graph.Transpose{Perm: perm}, nil, node)
	out.node = im.reshape(node, shapeOf(axes))
	return out
}

// reshape adds a reshape unless the shape is that already.
func (im *importer) reshape(n *graph.Node, shape graph.Shape) *graph.Node {
	if slices.Equal(n.Shape, shape) {
		return n
	}
	if t := constantOf(n); t != nil {
		return im.add(&graph.Constant{}, graph.Params{"value": &tensor.Tensor{Shape: shape, Data: t.Data}})
	}
	if _, ok := n.Op.(*graph.Reshape); ok { // of two, the second counts
		n = n.Inputs[0]
		if slices.Equal(n.Shape, shape) {
			return n
		}
	}
	if len(shape) == 1 {
		return im.add(&graph.Flatten{}, nil, n)
	}
	return im.add(&graph.Reshape{Shape: graph.Ints(shape)}, nil, n)
}

// isolate arranges the graph so that every ONNX axis in list is one graph axis,
// with its factors in ONNX's order, and returns the view and the graph axis of
// each. The other axes keep their order and grouping as far as possible. Axes
// that hold the batch must not be in list.
func (im *importer) isolate(v *view, list ...int) (*view, []int, error) {
	group := make(map[*atom]int)
	for i, k := range list {
		if hasBatch(v.axes[k]) {
			return nil, nil, errBatch
		}
		for _, a := range v.axes[k] {
			group[a] = i
		}
	}
	placed := make([]bool, len(list))
	var axes [][]*atom
	at := make([]int, len(list))
	for _, g := range v.graph {
		var run []*atom
		flush := func() {
			if len(run) > 0 {
				axes = append(axes, run)
				run = nil
			}
		}
		for _, a := range g {
			i, ok := group[a]
			if !ok {
				run = append(run, a)
				continue
			}
			flush()
			if !placed[i] {
				placed[i] = true
				axes = append(axes, v.axes[list[i]])
			}
		}
		flush()
	}
	// Axes of one value have no place yet: beside their ONNX neighbours.
	for i, k := range list {
		if placed[i] {
			continue
		}
		pos := len(axes)
		lastAxis := len(v.graph) > 0 && k == 1 && v.rank() > 2 && im.channelsLast(v)
		if !lastAxis {
			for p, g := range axes {
				if len(g) > 0 && slices.IndexFunc(v.axes, func(l []*atom) bool { return slices.Contains(l, g[0]) }) > k {
					pos = p
					break
				}
			}
		}
		axes = slices.Insert(axes, pos, []*atom{})
		placed[i] = true
		// A mark, found again by identity below.
		mark := &atom{size: 1}
		axes[pos] = []*atom{mark}
		group[mark] = i
	}
	for p, g := range axes {
		if len(g) == 0 {
			continue
		}
		if i, ok := group[g[0]]; ok {
			at[i] = p
			if g[0].size == 1 {
				axes[p] = nil
			}
		}
	}
	return im.want(v, axes), at, nil
}

// channelsLast says whether the view's channels (ONNX axis 1) should be or are
// behind its spatial axes: whether any spatial axis is not in ONNX's order.
func (im *importer) channelsLast(v *view) bool {
	if v.rank() < 3 {
		return false
	}
	// With one channel both orders are the same; images then count as images.
	return v.rank() >= 4 || im.points[v.node]
}

// onnxOrder returns the graph axes that follow ONNX's order, one per axis, the
// batch left out where an axis is the batch alone.
func (v *view) onnxOrder() [][]*atom {
	var axes [][]*atom
	for _, list := range v.axes {
		if len(list) == 1 && list[0].batch {
			continue
		}
		axes = append(axes, withoutBatch(list))
	}
	return axes
}

func withoutBatch(list []*atom) []*atom {
	if !hasBatch(list) {
		return list
	}
	var out []*atom
	for _, a := range list {
		if !a.batch {
			out = append(out, a)
		}
	}
	return out
}

// spatial arranges the graph as [lead, spatial axes..., channels] for operators
// whose channels are ONNX axis 1. Lead is there if axis 0 holds more than the
// batch; hasLead says so.
func (im *importer) spatial(v *view) (w *view, hasLead bool, err error) {
	if v.rank() < 2 {
		return nil, false, fmt.Errorf("input has %d axes, want at least 2", v.rank())
	}
	for _, list := range v.axes[1:] {
		if hasBatch(list) {
			return nil, false, errBatch
		}
	}
	lead := withoutBatch(v.axes[0])
	var axes [][]*atom
	if len(lead) > 0 {
		axes = append(axes, lead)
	}
	axes = append(axes, v.axes[2:]...)
	axes = append(axes, v.axes[1])
	w = im.want(v, axes)
	return w, len(lead) > 0, nil
}

// with is the view of a result with the given axes.
func (v *view) with(node *graph.Node, axes, graphAxes [][]*atom) *view {
	if len(graphAxes) == 0 {
		graphAxes = [][]*atom{nil}
	}
	return &view{node: node, axes: axes, graph: graphAxes, dtype: float32Type}
}

// same is the view of an elementwise result.
func (v *view) same(node *graph.Node) *view {
	return &view{node: node, axes: v.axes, graph: v.graph, dtype: float32Type}
}
