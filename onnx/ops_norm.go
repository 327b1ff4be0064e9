package onnx

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

func init() {
	define(Convertible, 5, 5, 5, "epsilon:f momentum:f spatial:i@-8 training_mode:i@14 is_test:i@-6", emitBatchNorm, nil, "BatchNormalization")
	define(Executes, 3, 3, 1, "epsilon:f", emitGroupNorm, nil, "InstanceNormalization")
	define(Executes, 3, 3, 1, "epsilon:f num_groups:i stash_type:i@21", emitGroupNorm, nil, "GroupNormalization")
	define(Executes, 2, 3, 3, "axis:i epsilon:f stash_type:i", emitLayerNorm, nil, "LayerNormalization")
	define(Executes, 2, 2, 1, "axis:i epsilon:f stash_type:i", emitLayerNorm, nil, "RMSNormalization")
	define(Executes, 1, 1, 1, "alpha:f beta:f bias:f size:i", emitLRN, nil, "LRN")
	define(Tail, 1, 1, 1, "axis:i", emitSoftmax, nil, "Softmax", "LogSoftmax")
	define(Executes, 1, 1, 1, "axes:is across_channels:i@-8 normalize_variance:i@-8", emitMVN, nil, "MeanVarianceNormalization")
}

func emitBatchNorm(im *importer, n *node) error {
	if n.int("spatial", 1) != 1 {
		return fmt.Errorf("spatial is %d, want 1: %w", n.int("spatial", 1), fileerr.ErrUnsupported)
	}
	if n.int("training_mode", 0) != 0 {
		return fmt.Errorf("training_mode is on: export the model in evaluation mode: %w", fileerr.ErrUnsupported)
	}
	for i := 1; i < len(n.def.Outputs); i++ {
		if n.wants(i) && im.isRead(n.def.Outputs[i]) {
			return fmt.Errorf("output %d (statistics of training) is used: %w", i, fileerr.ErrUnsupported)
		}
	}
	v, err := n.view(0)
	if err != nil {
		return err
	}
	if v.rank() < 2 {
		return fmt.Errorf("input has %d axes, want at least 2", v.rank())
	}
	c := v.size(1)
	params := graph.Params{}
	for i, role := range []string{"weight", "bias", "mean", "var"} {
		if params[role], err = n.parameter(i+1, role, c); err != nil {
			return err
		}
	}
	eps := n.float("epsilon", float64(float32(1e-5)))
	for k, x := range params["var"].Data {
		if !(float64(x)+eps > 0) {
			return fmt.Errorf("variance %d is %g, with epsilon %g: want a positive sum", k, x, eps)
		}
	}
	x, err := im.channelsBehind(v)
	if err != nil {
		return err
	}
	momentum := 1 - n.float("momentum", 0.9)
	op := &graph.BatchNorm{Eps: eps, Momentum: min(max(momentum, 0), 1)}
	usable := eps > 0 && eps <= 1 && !slices.ContainsFunc(params["var"].Data, func(x float32) bool { return x < 0 })
	if usable {
		n.setView(0, x.same(im.add(op, params, x.node)))
	} else { // no epsilon: the same as numbers per channel
		scale, shift := op.Affine(params)
		n.setView(0, x.same(im.add(&graph.Affine{}, graph.Params{"weight": narrow(scale), "bias": narrow(shift)}, x.node)))
	}
	for i := 1; i < len(n.def.Outputs); i++ { // unread
		n.set(i, value{c: &constant{dtype: float32Type, shape: []int{0}}})
	}
	return nil
}

func narrow(x []float64) *tensor.Tensor {
	t := tensor.New(len(x))
	for k, v := range x {
		t.Data[k] = float32(v)
	}
	return t
}

// isRead says whether anything reads a value.
func (im *importer) isRead(name string) bool {
	g := im.file.Graph
	return slices.ContainsFunc(g.Nodes, func(n *NodeDef) bool { return slices.Contains(n.reads(), name) }) ||
		slices.ContainsFunc(g.Outputs, func(v *ValueDef) bool { return v.Name == name })
}

// channelsBehind arranges the graph so that ONNX axis 1 is the last axis, moving
// nothing if it is.
func (im *importer) channelsBehind(v *view) (*view, error) {
	if hasBatch(v.axes[1]) {
		return nil, errBatch
	}
	if slices.Equal(v.graph[len(v.graph)-1], v.axes[1]) {
		return v, nil
	}
	w, _, err := im.spatial(v)
	return w, err
}

func emitGroupNorm(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	if v.rank() < 2 {
		return fmt.Errorf("input has %d axes, want at least 2", v.rank())
	}
	c := v.size(1)
	groups := c
	perGroup := false
	if n.def.Op == "GroupNormalization" {
		g := n.int("num_groups", 0)
		if g < 1 || g > int64(c) || int64(c)%g != 0 {
			return fmt.Errorf("num_groups %d of %d channels", g, c)
		}
		groups = int(g)
		perGroup = n.opset() < 21
	}
	params := graph.Params{}
	for i, role := range []string{"weight", "bias"} {
		size := c
		if perGroup {
			size = groups
		}
		t, err := n.parameter(i+1, role, size)
		if err != nil {
			return err
		}
		if perGroup {
			all := tensor.New(c)
			for k := range all.Data {
				all.Data[k] = t.Data[k/(c/groups)]
			}
			t = all
		}
		params[role] = t
	}
	w, lead, err := im.spatial(v)
	if err != nil {
		return err
	}
	op := &graph.GroupNorm{Groups: groups, Eps: n.float("epsilon", float64(float32(1e-5)))}
	if lead {
		op.BatchAxes = 1
	}
	n.setView(0, w.same(im.add(op, params, w.node)))
	return nil
}

func emitLayerNorm(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	k, err := axis(n.int("axis", -1), v.rank())
	if err != nil {
		return err
	}
	eps := n.float("epsilon", float64(float32(1e-5)))
	features := slices.Concat(v.axes[k:]...)
	if hasBatch(features) {
		return errBatch
	}
	// The normalised axes as one, the others where they are.
	joined := v.clone()
	joined.axes = append(slices.Clone(v.axes[:k]), features)
	axes, order := im.featuresLast(joined, k)
	w := im.want(joined, axes)
	rows := rowOrder(features, order)
	tail := make([]int, 0, v.rank()-k)
	for a := k; a < v.rank(); a++ {
		tail = append(tail, v.size(a))
	}
	params := graph.Params{}
	for i, role := range []string{"weight", "bias"} {
		if n.input(i + 1).missing() {
			continue
		}
		c, err := n.constant(i+1, role)
		if err != nil {
			return err
		}
		out, err := broadcastShape(tail, c.shape)
		if err != nil || !slices.Equal(out, tail) {
			return fmt.Errorf("%s has shape %v, want one that broadcasts to %v", role, c.shape, tail)
		}
		at := broadcastIndex(c.shape, tail)
		t := tensor.New(len(rows))
		src := c.floats()
		for r, from := range rows {
			t.Data[r] = src[at(from)]
		}
		params[role] = t
	}
	out := w.clone()
	out.axes = v.axes
	out.dtype = float32Type
	if n.def.Op == "RMSNormalization" {
		out.node = im.add(&graph.RMSNorm{Axes: 1, Eps: eps}, params, w.node)
	} else {
		out.node = im.add(&graph.LayerNorm{Axes: 1, Eps: eps}, params, w.node)
	}
	n.setView(0, out)
	if !n.wants(1) && !n.wants(2) {
		return nil
	}
	// The mean and 1/sqrt(variance + epsilon), with axes of 1.
	last := graph.Ints{len(w.graph) - 1}
	mean := im.add(&graph.Reduce{Func: graph.ReduceMean, Axes: last, KeepDims: true}, nil, w.node)
	stats := w.clone()
	stats.graph = slices.Clone(w.graph)
	stats.graph[last[0]] = nil
	stats.axes = append(slices.Clone(v.axes[:k]), make([][]*atom, v.rank()-k)...)
	stats.dtype = float32Type
	first := stats.clone()
	first.node = mean
	n.setView(1, first)
	centred := im.add(&graph.Binary{Func: graph.Sub}, nil, w.node, mean)
	x := im.add(&graph.Reduce{Func: graph.ReduceMean, Axes: last, KeepDims: true}, nil, im.add(&graph.Power{Exponent: 2}, nil, centred))
	x = im.add(&graph.Affine{}, graph.Params{"bias": scalar(float32(eps))}, x)
	stats.node = im.add(&graph.Power{Exponent: -0.5}, nil, x)
	n.setView(2, stats)
	return nil
}

func emitLRN(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	size := n.int("size", 0)
	if size < 1 || size > 1<<20 {
		return fmt.Errorf("size %d", size)
	}
	if v.rank() < 2 {
		return fmt.Errorf("input has %d axes, want at least 2", v.rank())
	}
	x, err := im.channelsBehind(v)
	if err != nil {
		return err
	}
	op := &graph.LRN{Size: int(size), Alpha: n.float("alpha", float64(float32(1e-4))), Beta: n.float("beta", 0.75), Bias: n.float("bias", 1)}
	n.setView(0, x.same(im.add(op, nil, x.node)))
	return nil
}

func emitSoftmax(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	log := n.def.Op == "LogSoftmax"
	var axes []int
	if n.opset() < 13 {
		a := n.int("axis", 1)
		if a < -int64(v.rank()) || a > int64(v.rank()) {
			return fmt.Errorf("axis %d of %d axes", a, v.rank())
		}
		if a < 0 {
			a += int64(v.rank())
		}
		for k := int(a); k < v.rank(); k++ {
			axes = append(axes, k)
		}
	} else {
		k, err := axis(n.int("axis", -1), v.rank())
		if err != nil {
			return err
		}
		axes = []int{k}
	}
	in := make(map[*atom]bool)
	for _, k := range axes {
		if hasBatch(v.axes[k]) {
			return errBatch
		}
		for _, a := range v.axes[k] {
			in[a] = true
		}
	}
	if len(in) == 0 { // a share of one
		fill := scalar(1)
		if log {
			fill = scalar(0)
		}
		n.setView(0, v.same(im.add(&graph.Affine{}, graph.Params{"weight": scalar(0), "bias": fill}, v.node)))
		return nil
	}
	var split [][]*atom
	for _, g := range v.graph {
		var run []*atom
		for _, a := range g {
			if len(run) > 0 && in[a] != in[run[0]] {
				split = append(split, run)
				run = nil
			}
			run = append(run, a)
		}
		if len(run) > 0 {
			split = append(split, run)
		}
	}
	if len(split) < len(v.graph) && slices.ContainsFunc(v.graph, func(g []*atom) bool { return len(g) == 0 }) {
		// Keep axes of 1 if no axis is cut.
		whole := true
		for _, g := range v.graph {
			for _, a := range g {
				whole = whole && in[a] == in[g[0]]
			}
		}
		if whole {
			split = v.graph
		}
	}
	w := im.want(v, split)
	var at graph.Ints
	for i, g := range w.graph {
		if len(g) > 0 && in[g[0]] {
			at = append(at, i)
		}
	}
	var op graph.Op = &graph.SoftmaxAxes{Axes: at, Log: log}
	if len(at) == 1 && at[0] == len(w.graph)-1 {
		op = &graph.Softmax{}
		if log {
			op = &graph.LogSoftmax{}
		}
	}
	n.setView(0, w.same(im.add(op, nil, w.node)))
	return nil
}

// emitMVN subtracts the mean and divides by the standard deviation over axes.
func emitMVN(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	list := []int64{0, 2, 3}
	if a := n.attr("axes"); a != nil {
		list = a.Ints
	}
	axes, err := axesOf(list, v.rank())
	if err != nil {
		return err
	}
	mean, err := im.reduce(v, graph.ReduceMean, axes, true)
	if err != nil {
		return err
	}
	centred, err := im.binary(graph.Sub, value{v: v}, value{v: mean})
	if err != nil {
		return err
	}
	variance, err := im.reduce(centred.same(im.add(&graph.Power{Exponent: 2}, nil, centred.node)), graph.ReduceMean, axes, true)
	if err != nil {
		return err
	}
	root := variance.same(im.add(&graph.Power{Exponent: 0.5}, nil, variance.node))
	root = root.same(im.add(&graph.Affine{}, graph.Params{"bias": scalar(1e-9)}, root.node))
	out, err := im.binary(graph.Div, value{v: centred}, value{v: root})
	n.setView(0, out)
	return err
}
