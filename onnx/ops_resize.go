package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
)

func init() {
	define(Convertible, 1, 4, 1, "antialias:i@18 axes:is@18 coordinate_transformation_mode:s@11 cubic_coeff_a:f@11 exclude_outside:i@11 "+
		"extrapolation_value:f@11 keep_aspect_ratio_policy:s@18 mode:s nearest_mode:s@11", emitResize, nil, "Resize")
	define(Convertible, 1, 2, 1, "mode:s scales:fs@-8", emitResize, nil, "Upsample")
}

func emitResize(im *importer, n *node) error {
	v, err := n.view(0)
	if err != nil {
		return err
	}
	op := &graph.Resize{Coordinate: "half_pixel", Nearest: "round_prefer_floor", CubicA: n.float("cubic_coeff_a", -0.75)}
	if n.def.Op == "Upsample" || n.opset() < 11 {
		op.Coordinate, op.Nearest = "asymmetric", "floor"
	}
	if op.Mode, err = n.choice("mode", "nearest", "nearest", "linear", "cubic"); err != nil {
		if n.str("mode", "") != "bilinear" {
			return err
		}
		op.Mode = "linear"
	}
	coordinate := n.str("coordinate_transformation_mode", op.Coordinate)
	if coordinate == "tf_crop_and_resize" || coordinate == "tf_half_pixel_for_nn" {
		return fmt.Errorf("coordinate_transformation_mode %s is not supported: %w", coordinate, fileerr.ErrUnsupported)
	}
	if op.Coordinate, err = n.choice("coordinate_transformation_mode", op.Coordinate, "half_pixel", "pytorch_half_pixel", "asymmetric",
		"align_corners", "half_pixel_symmetric"); err != nil {
		return err
	}
	if op.Nearest, err = n.choice("nearest_mode", op.Nearest, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"); err != nil {
		return err
	}
	if op.ExcludeOutside, err = n.flag("exclude_outside", false); err != nil {
		return err
	}
	if op.Antialias, err = n.flag("antialias", false); err != nil {
		return err
	}
	axes, scale, size, err := n.resizeTargets(v)
	if err != nil {
		return err
	}
	var list, sizes []int
	var scales []float64
	for i, k := range axes {
		in := v.dim(k)
		if in.n != 0 || hasBatch(v.axes[k]) {
			if scale[i] == 1 || size != nil && size[i] == int(in.a) {
				continue
			}
			return errBatch
		}
		out := int(math.Floor(float64(in.a) * scale[i]))
		r := scale[i]
		if size != nil {
			out = size[i]
		}
		if out < 1 || out > 1<<20 {
			return fmt.Errorf("axis %d would be %d long", k, out)
		}
		if out == int(in.a) && r == 1 {
			continue
		}
		list, sizes, scales = append(list, k), append(sizes, out), append(scales, r)
	}
	if len(list) == 0 {
		n.setView(0, v)
		return nil
	}
	w, at, err := im.imageAxes(v, list)
	if err != nil {
		return err
	}
	op.Size = graph.Ints(shapeOf(w.graph))
	op.Scale = slices.Repeat(graph.Floats{1}, len(w.graph))
	out := w.clone()
	out.axes, out.graph = slices.Clone(w.axes), slices.Clone(w.graph)
	for i, k := range list {
		op.Size[at[i]], op.Scale[at[i]] = sizes[i], scales[i]
		atoms := newAtoms(sizes[i])
		out.axes[k], out.graph[at[i]] = atoms, atoms
	}
	out.node = im.add(upsample(op, w.node.Shape), nil, w.node)
	im.keepPoints(w.node, out)
	n.setView(0, out)
	return nil
}

// imageAxes isolates axes, as an image with channels last if that is how the
// view lies.
func (im *importer) imageAxes(v *view, list []int) (*view, []int, error) {
	if v.rank() == 4 && !hasBatch(v.axes[1]) && !hasBatch(v.axes[2]) && !hasBatch(v.axes[3]) && len(withoutBatch(v.axes[0])) == 0 &&
		!slices.Contains(list, 0) && !slices.Contains(list, 1) {
		w, _, err := im.spatial(v)
		at := make([]int, len(list))
		for i, k := range list {
			at[i] = k - 2
		}
		return w, at, err
	}
	return im.isolate(v, list...)
}

// upsample returns the operation that spiking networks have too, if it computes
// the same.
func upsample(op *graph.Resize, in graph.Shape) graph.Op {
	if len(in) != 3 || op.Antialias || op.ExcludeOutside || op.Mode == "cubic" || op.Size[2] != in[2] {
		return op
	}
	exact, single, whole := true, false, true
	for i := range 2 {
		exact = exact && float64(op.Size[i]) == float64(in[i])*op.Scale[i]
		single = single || op.Size[i] == 1
		whole = whole && op.Size[i]%in[i] == 0
	}
	u := &graph.Upsample{Size: [2]int{op.Size[0], op.Size[1]}}
	switch {
	case op.Mode == "nearest" && exact && op.Coordinate == "asymmetric" && op.Nearest == "floor":
		u.Mode = "nearest"
	case op.Mode == "nearest" && exact && whole && (op.Coordinate == "half_pixel" || op.Coordinate == "pytorch_half_pixel" && !single) &&
		(op.Nearest == "round_prefer_floor" || op.Nearest == "round_prefer_ceil"):
		u.Mode = "nearest" // each value is copied to its block
	case op.Mode == "linear" && exact && (op.Coordinate == "half_pixel" || op.Coordinate == "pytorch_half_pixel" && !single):
		u.Mode = "bilinear"
	case op.Mode == "linear" && op.Coordinate == "align_corners":
		u.Mode, u.AlignCorners = "bilinear", true
	default:
		return op
	}
	return u
}

// resizeTargets returns the axes that scales or sizes (nil if there are none)
// are about.
func (n *node) resizeTargets(v *view) (axes []int, scale []float64, size []int, err error) {
	rank := v.rank()
	for k := range rank {
		axes = append(axes, k)
	}
	if a := n.attr("axes"); a != nil {
		axes = axes[:0]
		for _, x := range a.Ints {
			k, err := axis(x, rank)
			if err != nil {
				return nil, nil, nil, err
			}
			if slices.Contains(axes, k) {
				return nil, nil, nil, fmt.Errorf("axis %d twice", k)
			}
			axes = append(axes, k)
		}
	}
	scales, sizes := n.input(2), n.input(3)
	if n.def.Op == "Upsample" || n.opset() < 11 {
		scales, sizes = n.input(1), value{}
		if n.def.Op == "Upsample" && n.opset() < 9 {
			a := n.attr("scales")
			if a == nil {
				return nil, nil, nil, fmt.Errorf("no scales")
			}
			scales = value{c: &constant{dtype: float32Type, shape: []int{len(a.Floats)}, f: a.Floats}}
		}
	}
	blank := func(x value) bool { return x.missing() || x.isConst() && numel(x.shape()) == 0 }
	switch {
	case blank(scales) == blank(sizes):
		return nil, nil, nil, fmt.Errorf("want exactly one of scales and sizes")
	case !scales.missing() && !scales.isConst() || !sizes.missing() && !sizes.isConst():
		return nil, nil, nil, fmt.Errorf("scales or sizes are not constant: %w", fileerr.ErrUnsupported)
	}
	scale = make([]float64, len(axes))
	if !blank(scales) {
		c := scales.constant()
		if !c.dtype.float() || len(c.f) != len(axes) {
			return nil, nil, nil, fmt.Errorf("scales of type %s and shape %v for %d axes", c.dtype, c.shape, len(axes))
		}
		for i, s := range c.f {
			if !(s > 0) || s > 1<<20 {
				return nil, nil, nil, fmt.Errorf("scale %g", s)
			}
			scale[i] = float64(s)
		}
		return axes, scale, nil, nil
	}
	c := sizes.constant()
	if c.dtype.float() || len(c.i) != len(axes) {
		return nil, nil, nil, fmt.Errorf("sizes of type %s and shape %v for %d axes", c.dtype, c.shape, len(axes))
	}
	for i, k := range axes {
		d := dim{a: c.i[i]}
		if c.batch != nil {
			d.n = c.batch[i]
		}
		in := v.dim(k)
		switch {
		case in.n != 0 || d.n != 0:
			if in != d && d.n != 0 {
				return nil, nil, nil, errBatch
			}
			size = append(size, int(in.a)) // marks: unchanged
			scale[i] = 1
			continue
		case d.a < 1 || d.a > 1<<20:
			return nil, nil, nil, fmt.Errorf("size %d", d.a)
		}
		size = append(size, int(d.a))
		scale[i] = float64(d.a) / float64(in.a)
	}
	policy, err := n.choice("keep_aspect_ratio_policy", "stretch", "stretch", "not_larger", "not_smaller")
	if err != nil || policy == "stretch" {
		return axes, scale, size, err
	}
	r := scale[0]
	for _, s := range scale {
		if policy == "not_larger" {
			r = min(r, s)
		} else {
			r = max(r, s)
		}
	}
	for i, k := range axes {
		size[i] = int(math.Floor(r*float64(v.dim(k).a) + 0.5)) // half up, as onnxruntime
		scale[i] = r
	}
	return axes, scale, size, nil
}
