package onnx

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// broadcast arranges values so that an elementwise operation can run on them:
// nodes of equal rank whose axes are equal or 1, and the view that the result
// will have (without its node).
func (im *importer) broadcast(vals ...value) ([]*graph.Node, *view, error) {
	rank := 0
	batchAt := -1 // from the end
	var batch *atom
	for _, x := range vals {
		if x.v != nil {
			rank = max(rank, x.v.rank())
			if k := x.v.batchAxis(); k >= 0 {
				at := x.v.rank() - k
				if batchAt >= 0 && batchAt != at {
					return nil, nil, errBatch
				}
				batchAt, batch = at, im.batch
			}
		} else {
			rank = max(rank, len(x.shape()))
		}
	}
	views := make([]*view, len(vals))
	for i, x := range vals {
		v := x.v
		if v == nil {
			c := x.constant()
			if batch != nil {
				var err error
				if c, err = dropBatch(c, len(c.shape)-batchAt, batch.size); err != nil {
					return nil, nil, err
				}
			}
			var err error
			if v, err = im.constView(c); err != nil {
				return nil, nil, err
			}
		}
		w := v.clone()
		w.axes = slices.Concat(make([][]*atom, rank-v.rank()), v.axes)
		views[i] = w
	}
	separate(views)
	out := &view{axes: make([][]*atom, rank), dtype: float32Type}
	for k := range rank {
		if err := im.unify(views, k); err != nil {
			return nil, nil, err
		}
		for _, v := range views {
			if len(v.axes[k]) > len(out.axes[k]) {
				out.axes[k] = v.axes[k]
			}
		}
	}
	nodes, err := im.arrange(views, out)
	return nodes, out, err
}

// dropBatch takes the first sample of a known value whose axis k has the batch's
// size, if all samples are equal.
func dropBatch(c *constant, k, size int) (*constant, error) {
	if k < 0 || k >= len(c.shape) || c.shape[k] == 1 {
		return c, nil
	}
	if size == 0 || c.shape[k] != size { // an open batch has no size
		return nil, errBatch
	}
	first := c.sliceAxis(k, 0, 1)
	for i := 1; i < size; i++ {
		if !first.equal(c.sliceAxis(k, i, 1)) {
			return nil, errBatch
		}
	}
	return first, nil
}

// separate gives the views atoms of their own, but where all have the same on
// every axis: two views of one value may have an atom on different axes, which
// unify must not mix up.
func separate(views []*view) {
	for i, v := range views[1:] {
		if slices.EqualFunc(v.axes, views[0].axes, slices.Equal) {
			continue
		}
		for _, a := range slices.Concat(v.axes...) {
			if !a.batch {
				v = v.replace(a, []*atom{{size: a.size}})
			}
		}
		views[i+1] = v
	}
}

// unify gives all views that have axis k (those of one value repeat it) the same
// atoms there.
func (im *importer) unify(views []*view, k int) error {
	var first *view
	same := true
	for _, v := range views {
		if len(v.axes[k]) == 0 {
			continue
		}
		if first == nil {
			first = v
			continue
		}
		if !slices.Equal(v.axes[k], first.axes[k]) {
			same = false
		}
		if a, b := first.dim(k), v.dim(k); a != b {
			return fmt.Errorf("axis %d: sizes %v and %v cannot be broadcast together", k, a, b)
		}
		if hasBatch(first.axes[k]) != hasBatch(v.axes[k]) {
			return errBatch
		}
	}
	if first == nil || same {
		return nil
	}
	cuts, ok := commonCuts(views, k)
	if !ok {
		// Factors that do not fit, such as 2*3 and 3*2: join them.
		joined := []*atom{{size: first.size(k)}}
		for _, v := range views {
			if len(v.axes[k]) == 0 {
				continue
			}
			w, at, err := im.isolate(v, k)
			if err != nil {
				return err
			}
			*v = *w.clone()
			v.axes, v.graph = slices.Clone(v.axes), slices.Clone(v.graph)
			v.axes[k], v.graph[at[0]] = joined, joined
		}
		return nil
	}
	var names []*atom
	for _, v := range views {
		if len(v.axes[k]) == 0 {
			continue
		}
		w := v.split(k, cuts)
		if names == nil {
			names = w.axes[k]
		} else {
			for i, a := range w.axes[k] {
				if a != names[i] {
					if a.batch != names[i].batch || a.size != names[i].size {
						return errBatch
					}
					w = w.replace(a, []*atom{names[i]})
				}
			}
		}
		*v = *w
	}
	return nil
}

// commonCuts returns where axis k must be cut so that all views have the same
// factors: for each, the product of the factors behind it, the batch counting
// as a size that no other factor has. False if the cuts contradict.
func commonCuts(views []*view, k int) (map[int][]int, bool) {
	// The factors on either side of the batch are cut by themselves.
	sides := make(map[int][]int)
	for side := range 2 {
		var all []int
		total := -1
		for _, v := range views {
			list := sideOf(v.axes[k], side)
			if len(v.axes[k]) == 0 {
				continue
			}
			n := product(list)
			if total >= 0 && n != total {
				return nil, false
			}
			total = n
			behind := 1
			for _, a := range slices.Backward(list) {
				behind *= a.size
				all = append(all, behind)
			}
		}
		slices.Sort(all)
		all = slices.Compact(all)
		at := 1
		for _, c := range all {
			if c%at != 0 {
				return nil, false
			}
			at = c
		}
		sides[side] = all
	}
	return sides, true
}

// sideOf returns the factors before (0) or behind (1) the batch; all are behind
// where there is no batch.
func sideOf(list []*atom, side int) []*atom {
	k := slices.IndexFunc(list, func(a *atom) bool { return a.batch })
	switch {
	case side == 0 && k >= 0:
		return list[:k]
	case side == 0:
		return nil
	}
	return list[k+1:]
}

// split cuts the factors of axis k as commonCuts says.
func (v *view) split(k int, cuts map[int][]int) *view {
	w := v
	for side := range 2 {
		behind := 1
		for _, a := range slices.Backward(slices.Clone(sideOf(v.axes[k], side))) {
			var by []*atom
			low := behind
			for _, c := range cuts[side] {
				if c > behind && c <= behind*a.size {
					by = append([]*atom{{size: c / low}}, by...)
					low = c
				}
			}
			if len(by) > 1 {
				w = w.replace(a, by)
			}
			behind *= a.size
		}
	}
	return w
}

// arrange brings views with common atoms into one order: that of the first view
// that has them all, else ONNX's, and sets the graph axes of out.
func (im *importer) arrange(views []*view, out *view) ([]*graph.Node, error) {
	all := slices.Concat(out.axes...)
	count := 0
	for _, a := range all {
		if !a.batch {
			count++
		}
	}
	var order [][]*atom
	for pass := range 2 { // activations before constants
		for _, v := range views {
			_, isConst := v.node.Op.(*graph.Constant)
			if order == nil && isConst == (pass == 1) && len(slices.Concat(v.graph...)) == count {
				order = v.graph
			}
		}
	}
	if order == nil {
		order = im.mixedOrder(views, out)
	}
	// Axes of which a view has only some factors are cut.
	has := make([]map[*atom]bool, len(views))
	for i, v := range views {
		has[i] = make(map[*atom]bool)
		for _, a := range slices.Concat(v.graph...) {
			has[i][a] = true
		}
	}
	var axes [][]*atom
	for _, g := range order {
		if len(g) == 0 {
			axes = append(axes, nil)
			continue
		}
		run := []*atom{g[0]}
		for _, a := range g[1:] {
			for i := range views {
				if has[i][a] != has[i][run[0]] {
					axes = append(axes, run)
					run = nil
					break
				}
			}
			run = append(run, a)
		}
		axes = append(axes, run)
	}
	if len(axes) > maxRank {
		return nil, fmt.Errorf("broadcasting needs %d axes, at most %d are possible", len(axes), maxRank)
	}
	nodes := make([]*graph.Node, len(views))
	for i, v := range views {
		target := make([][]*atom, len(axes))
		for k, g := range axes {
			if len(g) > 0 && has[i][g[0]] {
				target[k] = g
			}
		}
		nodes[i] = im.want(v, target).node
	}
	out.graph = axes
	return nodes, nil
}

// mixedOrder is the order where no view has all atoms: ONNX's, but channels last
// if one of the views with spatial axes has them last.
func (im *importer) mixedOrder(views []*view, out *view) [][]*atom {
	order := out.onnxOrder()
	if out.rank() < 3 || len(order) != out.rank()-1 || len(out.axes[1]) == 0 {
		return order
	}
	for _, v := range views {
		if _, isConst := v.node.Op.(*graph.Constant); isConst || len(v.graph) < 2 {
			continue
		}
		tail := v.graph[len(v.graph)-1]
		if len(tail) > 0 && slices.Contains(out.axes[1], tail[len(tail)-1]) {
			return append(slices.Clone(order[1:]), order[0])
		}
	}
	return order
}

// constantOf returns the tensor of a constant node that is no parameter, or nil.
func constantOf(n *graph.Node) *tensor.Tensor {
	if _, ok := n.Op.(*graph.Constant); ok {
		return n.Params["value"]
	}
	return nil
}

// trimmed drops leading axes of 1 from a constant's shape.
func trimmed(t *tensor.Tensor) *tensor.Tensor {
	s := t.Shape
	for len(s) > 1 && s[0] == 1 {
		s = s[1:]
	}
	return &tensor.Tensor{Shape: s, Data: t.Data}
}

func scaled(t *tensor.Tensor, fn func(float32) float32) *tensor.Tensor {
	out := tensor.New(t.Shape...)
	for i, v := range t.Data {
		out.Data[i] = fn(v)
	}
	return out
}

// finite says whether a tensor may be a parameter.
func finite(t *tensor.Tensor) bool { return t.FirstNonFinite() < 0 }
