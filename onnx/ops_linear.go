package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

func init() {
	define(Convertible, 2, 3, 1, "alpha:f beta:f transA:i transB:i broadcast:i@-6", emitGemm, nil, "Gemm")
	define(Convertible, 2, 2, 1, "", emitMatMul, nil, "MatMul")
	define(Executes, 3, 7, 4, "is_causal:i kv_num_heads:i q_num_heads:i qk_matmul_output_mode:i scale:f softcap:f softmax_precision:i left_window_size:i@25 right_window_size:i@25",
		emitAttention, nil, "Attention")
}

// linear multiplies the last ONNX axis of a view by a constant matrix [In, Out].
// Instead of transposing the values, the matrix's rows take their order.
func (im *importer) linear(v *view, m matrixSource, bias *tensor.Tensor) (*view, error) {
	last := v.rank() - 1
	in := v.axes[last]
	if hasBatch(in) {
		return nil, errBatch
	}
	if m.in != product(in) {
		return nil, fmt.Errorf("matrix [%d %d] wants %d features, input has %v", m.in, m.out, m.in, v.dims())
	}
	if m.in*m.out == 0 {
		return nil, fmt.Errorf("matrix of shape [%d %d]", m.in, m.out)
	}
	axes, order := im.featuresLast(v, last)
	w := im.want(v, axes)
	weight := m.weight(rowOrder(in, order))
	params := graph.Params{"weight": weight}
	if bias != nil {
		params["bias"] = bias
	}
	out := newAtoms(m.out)
	axesOut, graphOut := slices.Clone(w.axes), slices.Clone(w.graph)
	axesOut[last], graphOut[len(graphOut)-1] = out, out
	return w.with(im.add(&graph.Linear{}, params, w.node), axesOut, graphOut), nil
}

// featuresLast returns graph axes with the factors of one ONNX axis in the last
// one, in the order in which the graph has them, and the others as they are if
// possible, one graph axis per ONNX axis.
func (im *importer) featuresLast(v *view, k int) (axes [][]*atom, order []*atom) {
	in := make(map[*atom]bool)
	for _, a := range v.axes[k] {
		in[a] = true
	}
	var rest []*atom
	for _, a := range slices.Concat(v.graph...) {
		if in[a] {
			order = append(order, a)
		} else {
			rest = append(rest, a)
		}
	}
	// Group the others by ONNX axis where their order allows it.
	owner := func(a *atom) int {
		return slices.IndexFunc(v.axes, func(l []*atom) bool { return slices.Contains(l, a) })
	}
	for i := 0; i < len(rest); {
		o := owner(rest[i])
		want := withoutBatch(v.axes[o])
		if i+len(want) <= len(rest) && slices.Equal(rest[i:i+len(want)], want) {
			axes = append(axes, want)
			i += len(want)
			continue
		}
		// Factors of this axis are scattered: put everything into ONNX's order.
		axes = nil
		for j, list := range v.axes {
			if list = withoutBatch(list); j != k && len(list) > 0 {
				axes = append(axes, list)
			}
		}
		break
	}
	return append(axes, order), order
}

// rowOrder returns, for each index in the order of factors to, the index in the
// order from.
func rowOrder(from, to []*atom) []int {
	stride := make(map[*atom]int)
	n := 1
	for _, a := range slices.Backward(from) {
		stride[a] = n
		n *= a.size
	}
	rows := make([]int, n)
	for r := range rows {
		rest, at := r, 0
		for _, a := range slices.Backward(to) {
			at += rest % a.size * stride[a]
			rest /= a.size
		}
		rows[r] = at
	}
	return rows
}

func emitGemm(im *importer, n *node) error {
	transA, err := n.flag("transA", false)
	if err != nil {
		return err
	}
	transB, err := n.flag("transB", false)
	if err != nil {
		return err
	}
	alpha, beta := n.float("alpha", 1), n.float("beta", 1)
	a, err := n.view(0)
	if err != nil {
		return err
	}
	if a.rank() != 2 {
		return fmt.Errorf("input A has shape %v, want 2 axes", a.dims())
	}
	if transA {
		a = a.transposed([]int{1, 0})
	}
	var out *view
	used := false // the bias is in the layer
	if n.input(1).isConst() {
		c, err := n.source(1, "B")
		if err != nil {
			return err
		}
		if len(c.shape) != 2 {
			return fmt.Errorf("input B has shape %v, want 2 axes", c.shape)
		}
		m := matrixOf(c, transB, float32(alpha))
		var bias *tensor.Tensor
		if x := n.input(2); x.isConst() {
			b := x.constant()
			size := b.numel()
			if s := b.shape; len(s) < 2 || len(s) == 2 && s[0] == 1 {
				if size != 1 && (size != m.out || s[len(s)-1] != m.out) {
					return fmt.Errorf("input C has shape %v, want one that broadcasts to [%v %d]", s, a.dim(0), m.out)
				}
				bias = tensor.New(m.out)
				for k := range bias.Data {
					bias.Data[k] = float32(beta) * b.floats()[k%size]
				}
				used = true
			}
		}
		if out, err = im.linear(a, m, bias); err != nil {
			return err
		}
	} else {
		b, err := n.view(1)
		if err != nil {
			return err
		}
		if b.rank() != 2 {
			return fmt.Errorf("input B has shape %v, want 2 axes", b.dims())
		}
		if transB {
			b = b.transposed([]int{1, 0})
		}
		if out, err = im.matmul(a, b); err != nil {
			return err
		}
		if alpha != 1 {
			out = out.same(im.add(&graph.Affine{}, graph.Params{"weight": scalar(float32(alpha))}, out.node))
		}
	}
	if x := n.input(2); !x.missing() && !used {
		if beta != 1 {
			if x, err = im.scaleValue(x, float32(beta)); err != nil {
				return err
			}
		}
		dims := out.dims()
		if out, err = im.binary(graph.BroadcastAdd, value{v: out}, x); err != nil {
			return err
		}
		if !slices.Equal(out.dims(), dims) {
			return fmt.Errorf("input C broadcasts %v to %v", dims, out.dims())
		}
	}
	n.setView(0, out)
	return nil
}

func (im *importer) scaleValue(x value, by float32) (value, error) {
	if x.isConst() {
		c := x.constant()
		t := scaled(&tensor.Tensor{Shape: []int{c.numel()}, Data: c.floats()}, func(v float32) float32 { return by * v })
		return value{c: &constant{shape: c.shape, dtype: float32Type, f: t.Data}}, nil
	}
	return value{v: x.v.same(im.add(&graph.Affine{}, graph.Params{"weight": scalar(by)}, x.v.node))}, nil
}

func emitMatMul(im *importer, n *node) error {
	a, b := n.input(0), n.input(1)
	if a.v != nil && b.isConst() {
		c, err := n.source(1, "B")
		if err != nil {
			return err
		}
		if r := len(c.shape); r == 1 || r == 2 {
			column := r == 1
			if column {
				c.shape = []int{c.shape[0], 1}
			}
			if a.v.rank() < 1 {
				return fmt.Errorf("input A is a scalar")
			}
			out, err := im.linear(a.v, matrixOf(c, false, 1), nil)
			if err != nil {
				return err
			}
			if column {
				out.axes = out.axes[:len(out.axes)-1]
			}
			n.setView(0, out)
			return nil
		}
	}
	if b.v != nil && a.isConst() && b.v.rank() >= 2 {
		c, err := n.source(0, "A")
		if err != nil {
			return err
		}
		if len(c.shape) == 2 { // (B' A')'
			last := b.v.rank() - 1
			perm := make([]int, last+1)
			for k := range perm {
				perm[k] = k
			}
			perm[last], perm[last-1] = last-1, last
			out, err := im.linear(b.v.transposed(perm), matrixOf(c, true, 1), nil)
			if err != nil {
				return err
			}
			n.setView(0, out.transposed(perm))
			return nil
		}
	}
	va, err := n.view(0)
	if err != nil {
		return err
	}
	vb, err := n.view(1)
	if err != nil {
		return err
	}
	out, err := im.matmul(va, vb)
	n.setView(0, out)
	return err
}

// matmul multiplies two activations by numpy's rules.
func (im *importer) matmul(a, b *view) (*view, error) {
	if a.rank() == 0 || b.rank() == 0 {
		return nil, fmt.Errorf("inputs of shapes %v and %v", a.dims(), b.dims())
	}
	row, column := a.rank() == 1, b.rank() == 1
	a, b = a.clone(), b.clone()
	if row {
		a.axes = [][]*atom{nil, a.axes[0]}
	}
	if column {
		b.axes = [][]*atom{b.axes[0], nil}
	}
	rank := max(a.rank(), b.rank())
	a.axes = slices.Concat(make([][]*atom, rank-a.rank()), a.axes)
	b.axes = slices.Concat(make([][]*atom, rank-b.rank()), b.axes)
	if a.dim(rank-1) != b.dim(rank-2) {
		return nil, fmt.Errorf("matrices %v and %v cannot be multiplied", a.dims(), b.dims())
	}
	for _, v := range []*view{a, b} {
		for _, k := range []int{rank - 2, rank - 1} {
			if hasBatch(v.axes[k]) {
				return nil, errBatch
			}
		}
	}
	views := []*view{a, b}
	separate(views)
	a, b = views[0], views[1]
	out := &view{dtype: float32Type, axes: make([][]*atom, rank)}
	var lead [][]*atom // graph axes of the batch of matrices
	for k := range rank - 2 {
		if err := im.unify(views, k); err != nil {
			return nil, err
		}
		for _, v := range views {
			if len(v.axes[k]) > len(out.axes[k]) {
				out.axes[k] = v.axes[k]
			}
		}
	}
	count := 0
	for k := range rank - 2 {
		if list := withoutBatch(out.axes[k]); len(list) > 0 {
			lead = append(lead, list)
			count++
		}
	}
	if count > 5 {
		return nil, fmt.Errorf("matrices of %d axes", rank)
	}
	shapeFor := func(v *view, first, second []*atom) [][]*atom {
		var axes [][]*atom
		for _, list := range lead {
			if slices.Contains(slices.Concat(v.axes...), list[0]) {
				axes = append(axes, list)
			} else {
				axes = append(axes, nil)
			}
		}
		return append(axes, first, second)
	}
	op := &graph.MatMul{}
	m, ka := a.axes[rank-2], a.axes[rank-1]
	kb, c := b.axes[rank-2], b.axes[rank-1]
	// A matrix that lies there transposed is read so.
	op.TransposeA = behind(a, m, ka)
	op.TransposeB = behind(b, kb, c)
	var wa, wb *view
	if op.TransposeA {
		wa = im.want(a, shapeFor(a, ka, m))
	} else {
		wa = im.want(a, shapeFor(a, m, ka))
	}
	if op.TransposeB {
		wb = im.want(b, shapeFor(b, c, kb))
	} else {
		wb = im.want(b, shapeFor(b, kb, c))
	}
	out.node = im.add(op, nil, wa.node, wb.node)
	// New names: both matrices may come from one value.
	nm, nc := newAtoms(product(m)), newAtoms(product(c))
	out.axes[rank-2], out.axes[rank-1] = nm, nc
	out.graph = append(slices.Clone(lead), nm, nc)
	if row {
		out.axes = slices.Concat(out.axes[:rank-2], out.axes[rank-1:])
	}
	if column {
		out.axes = out.axes[:len(out.axes)-1]
	}
	return out, nil
}

// behind says whether the graph has the second axis's factors before those of
// the first.
func behind(v *view, first, second []*atom) bool {
	if len(first) == 0 || len(second) == 0 {
		return false
	}
	flat := slices.Concat(v.graph...)
	return slices.Index(flat, first[0]) > slices.Index(flat, second[0])
}

// emitAttention translates scaled dot-product attention (opset 23).
func emitAttention(im *importer, n *node) error {
	for i, what := range []string{4: "past_key", 5: "past_value", 6: "nonpad_kv_seqlen"} {
		if what != "" && !n.input(i).missing() {
			return fmt.Errorf("%s is given: %w", what, fileerr.ErrUnsupported)
		}
	}
	for i := 1; i < 4; i++ {
		if n.wants(i) {
			return fmt.Errorf("output %d is used: %w", i, fileerr.ErrUnsupported)
		}
	}
	var qkv [3]*view
	var err error
	for i := range qkv {
		v, err := n.view(i)
		if err != nil {
			return err
		}
		qkv[i] = v
		if v.rank() != qkv[0].rank() || v.rank() != 3 && v.rank() != 4 {
			return fmt.Errorf("inputs of %d and %d axes, want 3 or 4", qkv[0].rank(), v.rank())
		}
	}
	// Everything as [N, L, H, D], which the graph takes as [L, H*D].
	flat := qkv[0].rank() == 3
	heads := [2]int64{n.int("q_num_heads", 0), n.int("kv_num_heads", 0)}
	for i, v := range qkv {
		if !flat {
			qkv[i] = v.transposed([]int{0, 2, 1, 3})
			continue
		}
		h := heads[min(i, 1)]
		if h < 1 || int64(v.size(2))%h != 0 {
			return fmt.Errorf("%d heads of %d features", h, v.size(2))
		}
		if qkv[i], err = im.reshapeTo(v, []dim{v.dim(0), v.dim(1), {a: h}, {a: int64(v.size(2)) / h}}); err != nil {
			return err
		}
	}
	views := []*view{qkv[0].clone(), qkv[1].clone(), qkv[2].clone()}
	separate(views)
	if err := im.unify(views, 0); err != nil {
		return err
	}
	q, k, v := views[0], views[1], views[2]
	if k.dim(2) != v.dim(2) || k.size(2) == 0 || q.size(2)%k.size(2) != 0 || q.dim(3) != k.dim(3) || k.dim(1) != v.dim(1) {
		return fmt.Errorf("query %v, key %v and value %v do not fit", q.dims(), k.dims(), v.dims())
	}
	for _, x := range views {
		for _, list := range x.axes[1:] {
			if hasBatch(list) {
				return errBatch
			}
		}
	}
	scale := n.float("scale", 0)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(q.size(3)))
	}
	causal, err := n.flag("is_causal", false)
	if err != nil {
		return err
	}
	if n.int("qk_matmul_output_mode", 0) != 0 {
		return fmt.Errorf("qk_matmul_output_mode: %w", fileerr.ErrUnsupported)
	}
	if n.int("left_window_size", -1) != -1 || n.int("right_window_size", -1) != -1 {
		return fmt.Errorf("a window is given: %w", fileerr.ErrUnsupported)
	}
	var lead [][]*atom
	if list := withoutBatch(q.axes[0]); len(list) > 0 {
		lead = append(lead, list)
	}
	sideBySide := func(x *view) *graph.Node {
		return im.want(x, append(slices.Clone(lead), x.axes[1], slices.Concat(x.axes[2], x.axes[3]))).node
	}
	inputs := []*graph.Node{sideBySide(q), sideBySide(k), sideBySide(v)}
	if !n.input(3).missing() {
		mask, err := im.attentionMask(n, len(lead) > 0, q.size(1), k.size(1), causal)
		if err != nil {
			return err
		}
		inputs = append(inputs, mask)
	}
	op := &graph.Attention{Heads: q.size(2), KVHeads: k.size(2), Scale: scale, Causal: causal, Softcap: n.float("softcap", 0)}
	node := im.add(op, nil, inputs...)
	l, h, d := newAtoms(q.size(1)), newAtoms(q.size(2)), newAtoms(v.size(3))
	out := q.with(node, [][]*atom{q.axes[0], l, h, d}, append(slices.Clone(lead), l, slices.Concat(h, d)))
	if flat {
		out.axes = [][]*atom{q.axes[0], l, slices.Concat(h, d)}
	} else {
		out = out.transposed([]int{0, 2, 1, 3})
	}
	n.setView(0, out)
	return nil
}

// attentionMask returns a constant mask of shape [lead, heads, queries, keys] as
// far as it has these axes, to be added to the scores.
func (im *importer) attentionMask(n *node, lead bool, queries, keys int, causal bool) (*graph.Node, error) {
	c, err := n.constant(3, "attn_mask")
	if err != nil {
		return nil, err
	}
	if c.batch != nil {
		return nil, errBatch
	}
	if c.dtype != boolType && !c.dtype.float() || len(c.shape) > 4 || c.numel() == 0 {
		return nil, fmt.Errorf("attn_mask of type %s and shape %v", c.dtype, c.shape)
	}
	f := make([]float32, c.numel())
	for i := range f {
		switch {
		case c.dtype == boolType && c.i[i] == 0:
			f[i] = -math.MaxFloat32
		case c.dtype.float() && math.IsInf(float64(c.f[i]), -1):
			f[i] = -math.MaxFloat32
		case c.dtype.float():
			f[i] = c.f[i]
		}
	}
	c = &constant{shape: slices.Concat(slices.Repeat([]int{1}, 4-len(c.shape)), c.shape), dtype: float32Type, f: f}
	rows, columns := c.shape[2], c.shape[3]
	if rows != 1 && rows != queries || columns != 1 && columns != keys {
		return nil, fmt.Errorf("attn_mask of shape %v for scores [%d %d]", c.shape, queries, keys)
	}
	// A query that sees no key has no defined result.
	for r := range len(f) / columns {
		from, q := f[r*columns:(r+1)*columns], r%rows
		if causal && rows > 1 {
			from = from[:min(q+1, columns)]
		} else if causal { // the first query sees the first key only
			from = from[:1]
		}
		if !slices.ContainsFunc(from, func(v float32) bool { return v > -math.MaxFloat32 }) {
			return nil, fmt.Errorf("attn_mask hides all keys from query %d: %w", q, fileerr.ErrUnsupported)
		}
	}
	if im.batch != nil {
		if c, err = dropBatch(c, 0, im.batch.size); err != nil {
			return nil, err
		}
	}
	shape := slices.Clone(c.shape)
	if !lead {
		if shape[0] != 1 {
			return nil, errBatch
		}
		shape = shape[1:]
	}
	return im.add(&graph.Constant{}, graph.Params{"value": &tensor.Tensor{Shape: shape, Data: c.f}}), nil
}
