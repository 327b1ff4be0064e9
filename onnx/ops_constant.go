package onnx

import (
	"errors"
	"fmt"
	"math"

	"github.com/adafire/adafire/internal/fileerr"
)

func foldConstant(n *node) ([]*constant, error) {
	if len(n.def.Attributes) != 1 {
		return nil, fmt.Errorf("%d attributes, want exactly one value", len(n.def.Attributes))
	}
	a := n.def.Attributes[0]
	switch a.Name {
	case "value":
		n.set(0, value{def: a.T})
		return nil, nil
	case "value_float":
		return []*constant{{dtype: float32Type, shape: []int{}, f: []float32{a.F}}}, nil
	case "value_floats":
		return []*constant{{dtype: float32Type, shape: []int{len(a.Floats)}, f: a.Floats}}, nil
	case "value_int":
		return []*constant{{dtype: int64Type, shape: []int{}, i: []int64{a.I}}}, nil
	case "value_ints":
		return []*constant{{dtype: int64Type, shape: []int{len(a.Ints)}, i: a.Ints}}, nil
	}
	return nil, fmt.Errorf("%s is not supported: %w", a.Name, fileerr.ErrUnsupported)
}

func foldConstantOfShape(n *node) ([]*constant, error) {
	c, err := n.constant(0, "shape")
	if err != nil {
		return nil, err
	}
	if c.dtype.float() || len(c.shape) != 1 {
		return nil, fmt.Errorf("shape has type %s and shape %v, want a vector of integers", c.dtype, c.shape)
	}
	v := &constant{dtype: float32Type, shape: []int{}, f: []float32{0}}
	if a := n.attr("value"); a != nil {
		v = a.T.decode()
		if v.numel() != 1 {
			return nil, fmt.Errorf("value of shape %v, want one value", v.shape)
		}
		v.shape = []int{}
	}
	if c.batch != nil { // one copy per sample: known, but only as part of the graph
		want := make([]dim, len(c.i))
		for k := range want {
			want[k] = dim{c.i[k], c.batch[k]}
			if want[k].n == 0 && (want[k].a < 1 || want[k].a > math.MaxInt32) {
				return nil, errBatch
			}
		}
		x, err := n.im.constView(v)
		if err != nil {
			return nil, err
		}
		x, err = n.im.expand(x, want)
		n.setView(0, x)
		return nil, err
	}
	shape, err := sizes(c.i)
	if err != nil {
		return nil, err
	}
	out, err := n.im.gather(v, shape, func(int) int { return 0 }, 0)
	return []*constant{out}, err
}

func sizes(dims []int64) ([]int, error) {
	if len(dims) > maxRank {
		return nil, fmt.Errorf("shape %v has more than %d axes", dims[:maxRank], maxRank)
	}
	out := make([]int, len(dims))
	for k, d := range dims {
		if d < 0 || d > math.MaxInt32*1024 {
			return nil, fmt.Errorf("shape %v: size %d", dims, d)
		}
		out[k] = int(d)
	}
	return out, nil
}

func foldRange(n *node) ([]*constant, error) {
	in, err := n.known()
	if err != nil {
		return nil, err
	}
	for _, c := range in {
		if c.numel() != 1 || c.dtype != in[0].dtype {
			return nil, fmt.Errorf("start, limit and step of shapes %v, %v, %v, want scalars of one type", in[0].shape, in[1].shape, in[2].shape)
		}
		if c.batch != nil {
			return nil, errBatch
		}
	}
	var count float64
	if in[0].dtype.float() {
		count = math.Ceil((float64(in[1].f[0]) - float64(in[0].f[0])) / float64(in[2].f[0]))
	} else if in[2].i[0] != 0 {
		count = math.Ceil(float64(in[1].i[0]-in[0].i[0]) / float64(in[2].i[0]))
	} else {
		return nil, errors.New("step 0")
	}
	if !(count >= 0) {
		count = 0
	}
	if count > math.MaxInt32 {
		return nil, fmt.Errorf("%g values: %w", count, fileerr.ErrUnsupported)
	}
	out, err := n.im.newConstant(in[0].dtype, []int{int(count)})
	if err != nil {
		return nil, err
	}
	for k := range out.f {
		out.f[k] = in[0].f[0] + float32(k)*in[2].f[0]
	}
	for k := range out.i {
		out.i[k] = in[0].i[0] + int64(k)*in[2].i[0]
	}
	return []*constant{out}, nil
}

// emitIf reads the branch that a constant condition selects.
func emitIf(im *importer, n *node) error {
	cond := n.input(0)
	if !cond.isConst() {
		return fmt.Errorf("the condition is not constant: control flow is not supported: %w", fileerr.ErrUnsupported)
	}
	c := cond.constant()
	if c.numel() != 1 || c.dtype != boolType {
		return fmt.Errorf("condition of type %s and shape %v, want one boolean", c.dtype, c.shape)
	}
	name := "else_branch"
	if c.i[0] != 0 {
		name = "then_branch"
	}
	a := n.attr(name)
	if a == nil || a.G == nil {
		return fmt.Errorf("no %s", name)
	}
	g := a.G
	if len(g.Outputs) < len(n.def.Outputs) || len(g.Inputs) > 0 {
		return fmt.Errorf("%s has %d inputs and %d outputs, want 0 and %d", name, len(g.Inputs), len(g.Outputs), len(n.def.Outputs))
	}
	if im.depth++; im.depth > maxNesting {
		return fmt.Errorf("branches nested more than %d deep", maxNesting)
	}
	defer func() { im.depth-- }()
	known := func(s string) bool { _, ok := im.values[s]; return ok }
	if _, err := g.validate(im.file.Path, known); err != nil {
		return err
	}
	for _, t := range g.Initializers {
		if known(t.Name) {
			return fmt.Errorf("%s: initialiser %q exists already", name, t.Name)
		}
		im.values[t.Name] = value{def: t}
	}
	for _, m := range g.Nodes {
		for _, o := range m.Outputs {
			if o != "" && known(o) {
				return fmt.Errorf("%s: value %q exists already", name, o)
			}
		}
	}
	if err := im.nodes(im.live(g)); err != nil {
		return err
	}
	for i := range n.def.Outputs {
		n.set(i, im.values[g.Outputs[i].Name])
	}
	return nil
}
