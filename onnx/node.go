package onnx

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// A node is a NodeDef with what its inputs stand for.
type node struct {
	def *NodeDef
	im  *importer
	in  []value
}

func (n *node) opset() int64 { return n.def.opset }

// input returns input i, or an omitted one.
func (n *node) input(i int) value {
	if i < len(n.in) {
		return n.in[i]
	}
	return value{}
}

// set gives output i its value.
func (n *node) set(i int, x value) {
	if i < len(n.def.Outputs) && n.def.Outputs[i] != "" {
		n.im.values[n.def.Outputs[i]] = x
	}
}

func (n *node) setView(i int, v *view) { n.set(i, value{v: v}) }

// wants says whether output i is read.
func (n *node) wants(i int) bool { return i < len(n.def.Outputs) && n.def.Outputs[i] != "" }

func (n *node) attr(name string) *Attribute {
	for _, a := range n.def.Attributes {
		if a.Name == name {
			return a
		}
	}
	return nil
}

func (n *node) has(name string) bool { return n.attr(name) != nil }

func (n *node) int(name string, def int64) int64 {
	if a := n.attr(name); a != nil {
		return a.I
	}
	return def
}

func (n *node) float(name string, def float64) float64 {
	if a := n.attr(name); a != nil {
		return float64(a.F)
	}
	return def
}

func (n *node) str(name, def string) string {
	if a := n.attr(name); a != nil {
		return string(a.S)
	}
	return def
}

// flag returns an integer attribute that must be 0 or 1.
func (n *node) flag(name string, def bool) (bool, error) {
	a := n.attr(name)
	if a == nil {
		return def, nil
	}
	if a.I != 0 && a.I != 1 {
		return false, fmt.Errorf("%s is %d, want 0 or 1", name, a.I)
	}
	return a.I == 1, nil
}

// choice returns a string attribute that must be one of a list.
func (n *node) choice(name, def string, allowed ...string) (string, error) {
	s := n.str(name, def)
	if !slices.Contains(allowed, s) {
		return "", fmt.Errorf("%s is %q, want one of %v", name, s, allowed)
	}
	return s, nil
}

// view returns input i as an activation; a known value becomes a constant of the
// graph.
func (n *node) view(i int) (*view, error) {
	x := n.input(i)
	if x.missing() {
		return nil, fmt.Errorf("input %d is omitted", i)
	}
	return n.im.asView(x)
}

func (im *importer) asView(x value) (*view, error) {
	if x.v != nil {
		return x.v, nil
	}
	return im.constView(x.constant())
}

// constView adds a constant to the graph, in ONNX's order.
func (im *importer) constView(c *constant) (*view, error) {
	t, err := c.tensor()
	if err != nil {
		return nil, err
	}
	if len(t.Data) == 0 {
		return nil, fmt.Errorf("a constant of shape %v has no values", c.shape)
	}
	v := &view{dtype: c.dtype}
	for _, d := range c.shape {
		v.axes = append(v.axes, newAtoms(d))
	}
	v.graph = slices.Clone(v.axes)
	if len(v.graph) == 0 {
		v.graph = [][]*atom{nil}
	}
	if len(t.Shape) > maxRank {
		t.Shape = []int{len(t.Data)}
		v.graph = [][]*atom{slices.Concat(v.axes...)}
	}
	v.node = im.add(&graph.Constant{}, graph.Params{"value": t})
	return v, nil
}

// tensor returns the values as float32, in ONNX's order, with at least one axis.
func (c *constant) tensor() (*tensor.Tensor, error) {
	if c.batch != nil {
		return nil, errBatch
	}
	shape := slices.Clone(c.shape)
	if len(shape) == 0 {
		shape = []int{1}
	}
	return &tensor.Tensor{Shape: shape, Data: c.floats()}, nil
}

// floats returns the values as float32; the caller must not write into them.
func (c *constant) floats() []float32 {
	if c.dtype.float() {
		return c.f
	}
	f := make([]float32, len(c.i))
	for k, v := range c.i {
		f[k] = float32(v)
	}
	return f
}

// constant returns input i, which must be known.
func (n *node) constant(i int, what string) (*constant, error) {
	x := n.input(i)
	if !x.isConst() {
		return nil, fmt.Errorf("%s is not constant: %w", what, fileerr.ErrUnsupported)
	}
	c := x.constant()
	if c.overflow > 0 {
		n.im.lost += c.overflow
	}
	return c, nil
}

// ints returns input i, a known vector or scalar of integers.
func (n *node) ints(i int, what string) ([]int64, error) {
	c, err := n.constant(i, what)
	if err != nil {
		return nil, err
	}
	if c.batch != nil {
		return nil, errBatch
	}
	if c.dtype.float() || len(c.shape) > 1 {
		return nil, fmt.Errorf("%s has type %s and shape %v, want a vector of integers", what, c.dtype, c.shape)
	}
	return c.i, nil
}

// intsOrAttr returns integers that were an attribute before opset from and an
// input since; nil if they are missing.
func (n *node) intsOrAttr(name string, i int, from int64) ([]int64, error) {
	if n.opset() < from {
		if a := n.attr(name); a != nil {
			return a.Ints, nil
		}
		return nil, nil
	}
	if n.input(i).missing() {
		return nil, nil
	}
	list, err := n.ints(i, name)
	if list == nil && err == nil {
		list = []int64{}
	}
	return list, err
}

// axis normalises an axis that counts from the end if it is negative.
func axis(a int64, rank int) (int, error) {
	if a < -int64(rank) || a >= int64(rank) {
		return 0, fmt.Errorf("axis %d of %d axes", a, rank)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// axes normalises a list of distinct axes and sorts it.
func axesOf(list []int64, rank int) ([]int, error) {
	var out []int
	for _, a := range list {
		k, err := axis(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, k) {
			return nil, fmt.Errorf("axis %d twice in %v", k, list)
		}
		out = append(out, k)
	}
	slices.Sort(out)
	return out, nil
}
