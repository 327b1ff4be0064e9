package onnx

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// An output of the model and, if it is not constant, its view.
type output struct {
	value Value
	view  *view
}

// outputs arranges the outputs.
func (im *importer) outputs() error {
	for _, def := range im.file.Graph.Outputs {
		o, err := im.output(def)
		if err != nil {
			return fmt.Errorf("%s: output %q: %w", im.file.Path, def.Name, err)
		}
		im.out = append(im.out, o)
	}
	return nil
}

func (im *importer) output(def *ValueDef) (output, error) {
	x := im.values[def.Name]
	v := Value{Name: def.Name}
	im.name = def.Name
	if x.v != nil {
		im.name = x.v.node.Name
	}
	if x.v != nil && !dependsOnInput(x.v.node) && !x.v.hasBatch() {
		c, err := im.compute(x.v)
		if err != nil {
			return output{}, err
		}
		x = value{c: c}
	}
	if x.isConst() {
		c := x.constant()
		if c.batch != nil {
			return output{}, errBatch
		}
		v.Type, v.Shape = c.dtype.String(), slices.Clone(c.shape)
		if c.dtype.float() {
			v.Type = float32Type.String()
		}
		v.Constant = &tensor.Tensor{Shape: slices.Clone(c.shape), Data: slices.Clone(c.floats())}
		return output{value: v}, nil
	}
	view, err := im.outputView(x.v)
	if err != nil {
		return output{}, err
	}
	v.Type = view.dtype.String()
	if view.dtype.float() {
		v.Type = float32Type.String()
	}
	for k := range view.rank() {
		d := view.dim(k)
		if hasBatch(view.axes[k]) {
			v.Shape, v.Batched = append(v.Shape, -1), true
			continue
		}
		v.Shape = append(v.Shape, int(d.a))
	}
	v.Perm = view.perm()
	if err := im.checkDeclared(def, view); err != nil {
		im.note("%v", err)
	}
	return output{v, view}, nil
}

// finish rewrites patterns and fills the model.
func (im *importer) finish(m *Model) error {
	m.Inputs = im.inputs
	m.Graph = im.graph
	for _, o := range im.out {
		m.Outputs = append(m.Outputs, o.value)
		if o.view != nil {
			im.graph.Outputs = append(im.graph.Outputs, o.view.node)
		}
	}
	graph.RemoveDead(im.graph)
	if !im.opts.KeepPatterns {
		rewrite(im.graph)
	}
	graph.RemoveIdentity(im.graph)
	graph.RemoveDead(im.graph)
	im.reorder()
	next := 0
	for i, o := range im.out {
		if o.view != nil {
			m.Outputs[i].Node = im.graph.Outputs[next]
			next++
		}
	}
	if len(im.graph.Outputs) > 0 {
		if len(im.graph.InputNodes()) == 0 {
			return fmt.Errorf("%s: the model has no input", im.file.Path)
		}
		if err := im.graph.Infer(); err != nil {
			return fmt.Errorf("%s: %w", im.file.Path, err)
		}
	}
	if im.lost > 0 {
		im.note("%d double weights are too large for float32 and became infinite", im.lost)
	}
	for _, n := range im.graph.Nodes {
		for _, role := range []string{"weight", "bias", "mean", "var"} {
			if t := n.Params[role]; t != nil {
				if i := t.FirstNonFinite(); i >= 0 {
					im.note("node %q (%s): %s[%d] is %g: conversion will refuse it", n.Name, n.Kind(), role, i, t.Data[i])
				}
			}
		}
	}
	m.Notes = append(m.Notes, im.notes...)
	m.Report = classify(im.graph)
	return nil
}

// outputView arranges an output so that the graph's axes are ONNX's in some
// order, each with its factors in order.
func (im *importer) outputView(v *view) (out *view, err error) {
	defer func() {
		if r := recover(); r != nil {
			b, ok := r.(bail)
			if !ok {
				panic(r)
			}
			err = b.err
		}
	}()
	for k := range v.axes {
		if hasBatch(v.axes[k]) && len(v.axes[k]) > 1 {
			return nil, errBatch
		}
	}
	var axes [][]*atom
	seen := make(map[int]bool)
	flat := slices.Concat(v.graph...)
	for i := 0; i < len(flat); {
		k := slices.IndexFunc(v.axes, func(l []*atom) bool { return slices.Contains(l, flat[i]) })
		list := v.axes[k]
		if i+len(list) > len(flat) || !slices.Equal(flat[i:i+len(list)], list) {
			return im.want(v, v.onnxOrder()), nil
		}
		axes = append(axes, list)
		seen[k] = true
		i += len(list)
	}
	// Axes of one value: where ONNX has them, but channels behind space.
	channels := v.rank() >= 3 && len(v.axes[0]) > 0 && len(axes) > 0 && len(v.axes[1]) > 0 && slices.Equal(axes[len(axes)-1], v.axes[1]) && len(axes) > 1
	if v.rank() == 4 && len(v.axes[1]) > 0 && len(axes) == 1 { // [N, C, 1, 1]
		channels = true
	}
	var order []int
	for k := range v.axes {
		if hasBatch(v.axes[k]) {
			continue
		}
		if k != 1 || !channels {
			order = append(order, k)
		}
	}
	if channels {
		order = append(order, 1)
	}
	// Where all non-trivial axes come in that order, use it, else the graph's own
	// order with the trivial axes in front.
	var filtered [][]*atom
	for _, k := range order {
		if len(v.axes[k]) > 0 {
			filtered = append(filtered, v.axes[k])
		}
	}
	var final [][]*atom
	if slices.EqualFunc(filtered, axes, slices.Equal) {
		for _, k := range order {
			final = append(final, v.axes[k])
		}
	} else {
		for k := range v.axes {
			if len(v.axes[k]) == 0 {
				final = append(final, nil)
			}
		}
		final = append(final, axes...)
	}
	if len(final) > maxRank {
		final = axes
	}
	return im.want(v, final), nil
}

// perm says which ONNX axis every graph axis is; for outputs arranged by
// outputView.
func (v *view) perm() []int {
	var perm []int
	used := make([]bool, v.rank())
	for _, g := range v.graph {
		k := -1
		if len(g) > 0 {
			k = slices.IndexFunc(v.axes, func(l []*atom) bool { return slices.Contains(l, g[0]) })
		} else {
			for j, l := range v.axes {
				if len(l) == 0 && !used[j] {
					k = j
					break
				}
			}
		}
		if k < 0 { // a scalar's only axis
			continue
		}
		used[k] = true
		perm = append(perm, k)
	}
	// Axes of one value that the graph has not: anywhere.
	for k, l := range v.axes {
		if !used[k] && !hasBatch(l) {
			perm = append(perm, k)
		}
	}
	return perm
}

// checkDeclared compares an output's shape with the file's claim.
func (im *importer) checkDeclared(def *ValueDef, v *view) error {
	if !def.HasShape {
		return nil
	}
	bad := len(def.Shape) != v.rank()
	for k, d := range def.Shape {
		if bad || d.Param != "" || d.Value < 0 {
			continue
		}
		got := v.dim(k)
		bad = got.n == 0 && got.a != d.Value
	}
	if !bad {
		return nil
	}
	var want []string
	for _, d := range def.Shape {
		s := d.Param
		if s == "" {
			s = fmt.Sprint(d.Value)
		}
		want = append(want, s)
	}
	return fmt.Errorf("output %q has shape %v, the file says %v", def.Name, v.dims(), want)
}

// dependsOnInput says whether a node's value depends on an input.
func dependsOnInput(n *graph.Node) bool {
	seen := make(map[*graph.Node]bool)
	stack := []*graph.Node{n}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		if _, ok := n.Op.(*graph.Input); ok {
			return true
		}
		stack = append(stack, n.Inputs...)
	}
	return false
}

// reorder brings the nodes into topological order: inputs, then the others as
// they were added, which rewriting may have broken.
func (im *importer) reorder() {
	g := im.graph
	done := make(map[*graph.Node]bool, len(g.Nodes))
	list := make([]*graph.Node, 0, len(g.Nodes))
	type frame struct {
		n *graph.Node
		i int
	}
	visit := func(root *graph.Node) {
		if done[root] {
			return
		}
		done[root] = true
		stack := []frame{{n: root}}
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if f.i < len(f.n.Inputs) {
				in := f.n.Inputs[f.i]
				f.i++
				if !done[in] {
					done[in] = true
					stack = append(stack, frame{n: in})
				}
				continue
			}
			list = append(list, f.n)
			stack = stack[:len(stack)-1]
		}
	}
	for _, n := range g.InputNodes() {
		visit(n)
	}
	for _, n := range g.Nodes {
		visit(n)
	}
	g.Nodes = list
}
