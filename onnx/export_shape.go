package onnx

import (
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
)

// emitShape writes what moves values about, and reductions.
func (e *exporter) emitShape(n *graph.Node, v exval) (exval, error) {
	switch op := n.Op.(type) {
	case *graph.Transpose:
		v = e.in(v, asGraph)
		perm := []int{0}
		for _, k := range op.Perm {
			perm = append(perm, k+1)
		}
		return e.made(n, asGraph, "Transpose", []string{v.name}, exInts("perm", perm...)), nil
	case *graph.Reshape:
		v = e.in(v, asGraph)
		return e.made(n, asGraph, "Reshape", []string{v.name, e.ints(n.Name+".shape", append([]int{0}, n.Shape...)...)}, exInt("allowzero", 0)), nil
	case *graph.Slice:
		return e.slice(n, op, v), nil
	case *graph.Gather:
		v = e.in(v, asGraph)
		at := e.intsOf(n.Name+".indices", op.IndexShape, op.Indices...)
		attr := exInt("axis", op.Axis+1)
		if len(op.IndexShape) == 0 && v.rank() == 1 { // nothing remains but the samples
			x := e.op("Gather", n.Name+".value", []string{v.name, at}, attr)
			return e.made(n, asGraph, "Unsqueeze", []string{x, e.ints("axis", 1)}), nil
		}
		return e.made(n, asGraph, "Gather", []string{v.name, at}, attr), nil
	case *graph.PadAxes:
		if op.Mode == "wrap" {
			return exval{}, refuseExport(n, "mode wrap needs opset 19, exports have %d", exportOpset)
		}
		v = e.in(v, v.keep())
		pads := append([]int{0}, arrange(v, []int(op.Begin))...)
		pads = append(append(pads, 0), arrange(v, []int(op.End))...)
		inputs := []string{v.name, e.ints(n.Name+".pads", pads...)}
		if op.Mode == "constant" {
			inputs = append(inputs, e.number(float64(op.Value)))
		}
		return e.like(n, "Pad", v, inputs, exString("mode", op.Mode)), nil
	case *graph.Expand:
		v = e.in(v, asGraph)
		if missing := len(n.Shape) - v.rank(); missing > 0 {
			shape := append(slices.Repeat([]int{1}, missing), v.shape...)
			v.name = e.op("Reshape", n.Name+".aligned", []string{v.name, e.ints(n.Name+".aligned_shape", append([]int{0}, shape...)...)}, exInt("allowzero", 0))
		}
		to := e.op("Concat", n.Name+".shape", []string{e.samples(), e.ints(n.Name+".axes", n.Shape...)}, exInt("axis", 0))
		return e.made(n, asGraph, "Expand", []string{v.name, to}), nil
	case *graph.Tile:
		v = e.in(v, v.keep())
		return e.like(n, "Tile", v, []string{v.name, e.ints(n.Name+".repeats", append([]int{1}, arrange(v, []int(op.Repeats))...)...)}), nil
	case *graph.DepthToSpace:
		mode := "DCR"
		if op.ChannelFirst {
			mode = "CRD"
		}
		v = e.in(v, channelsFirst)
		return e.made(n, channelsFirst, "DepthToSpace", []string{v.name}, exInt("blocksize", op.Block), exString("mode", mode)), nil
	case *graph.SpaceToDepth:
		v = e.in(v, channelsFirst)
		if !op.ChannelFirst {
			return e.made(n, channelsFirst, "SpaceToDepth", []string{v.name}, exInt("blocksize", op.Block)), nil
		}
		c, b2 := v.shape.Channels(), op.Block*op.Block
		at := make([]int, c*b2) // channel ch*b2 + k comes from k*c + ch
		for i := range at {
			at[i] = i%b2*c + i/b2
		}
		x := e.op("SpaceToDepth", n.Name+".blocks", []string{v.name}, exInt("blocksize", op.Block))
		return e.made(n, channelsFirst, "Gather", []string{x, e.ints(n.Name+".order", at...)}, exInt("axis", 1)), nil
	}
	return exval{}, refuseExport(n, "no operator of opset %d", exportOpset)
}

func (e *exporter) slice(n *graph.Node, op *graph.Slice, v exval) exval {
	v = e.in(v, v.keep())
	var starts, ends, axes, steps []int
	for k, size := range v.shape {
		start, count, step := op.Start[k], op.Size[k], op.Step[k]
		if start == 0 && count == size && step == 1 {
			continue
		}
		if count == 1 {
			step = 1
		}
		end := start + count*step
		if end < 0 {
			end = math.MinInt32 // in front of the first
		}
		starts, ends, axes, steps = append(starts, start), append(ends, end), append(axes, v.axis(k)), append(steps, step)
	}
	if len(axes) == 0 {
		return e.same(n, "Identity", v)
	}
	name := func(what string, list []int) string { return e.ints(n.Name+"."+what, list...) }
	return e.like(n, "Slice", v, []string{v.name, name("starts", starts), name("ends", ends), name("axes", axes), name("steps", steps)})
}

func (e *exporter) reduce(n *graph.Node, op *graph.Reduce, v exval) exval {
	v = e.in(v, v.keep())
	return e.dropped(n, v, op.Axes, op.KeepDims, func(name string, keep bool) string {
		var axes []int
		for _, k := range op.Axes {
			axes = append(axes, v.axis(k))
		}
		slices.Sort(axes)
		if op.Func == graph.ReduceSum {
			return e.op("ReduceSum", name, []string{v.name, e.ints(n.Name+".axes", axes...)}, exInt("keepdims", flag(keep)), exInt("noop_with_empty_axes", 0))
		}
		return e.op(exportReduce[op.Func], name, []string{v.name}, exInts("axes", axes...), exInt("keepdims", flag(keep)))
	})
}

// dropped is the result of a node that joins the values along axes.
func (e *exporter) dropped(n *graph.Node, v exval, axes []int, keep bool, node func(name string, keep bool) string) exval {
	out := exval{shape: n.Shape, layout: v.layout, batch: true}
	last := v.rank() - 1
	switch {
	case keep:
	case len(axes) == v.rank(): // one axis stays
		if v.rank() == 1 {
			keep = true
			break
		}
		out.layout = asGraph
		x := node(n.Name+".value", false)
		out.name = e.op("Unsqueeze", n.Name, []string{x, e.ints("axis", 1)})
		return out
	case slices.Contains(axes, last):
		out.layout = asGraph // what remains lies as in the graph
	}
	if out.rank() == 1 {
		out.layout = asGraph
	}
	out.name = node(n.Name, keep)
	return out
}
