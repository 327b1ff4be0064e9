package graph

import (
	"fmt"
	"slices"
)

// A ReduceFunc names a reduction over axes.
type ReduceFunc string

// The functions of Reduce.
const (
	ReduceMean      ReduceFunc = "reduce_mean"
	ReduceSum       ReduceFunc = "reduce_sum"
	ReduceMax       ReduceFunc = "reduce_max"
	ReduceMin       ReduceFunc = "reduce_min"
	ReduceProd      ReduceFunc = "reduce_prod"
	ReduceL1        ReduceFunc = "reduce_l1"         // Σ|x|
	ReduceL2        ReduceFunc = "reduce_l2"         // sqrt(Σx²)
	ReduceSumSquare ReduceFunc = "reduce_sum_square" // Σx²
	ReduceLogSumExp ReduceFunc = "reduce_log_sum_exp"
)

var reduceFuncs = []ReduceFunc{ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSumExp}

func init() {
	for _, f := range reduceFuncs {
		register(func() Op { return &Reduce{Func: f} })
	}
	register(func() Op { return new(ArgMax) }, func() Op { return new(TopK) })
}

// Reduce joins the values along axes; its kind is the function's name.
type Reduce struct {
	Func     ReduceFunc `json:"-"`         // written as the kind
	Axes     Ints       `json:"axes"`      // ascending
	KeepDims bool       `json:"keep_dims"` // leave reduced axes as 1, else remove them ([1] if none is left)
}

// Kind returns the name of the function.
func (o *Reduce) Kind() string { return string(o.Func) }
func (o *Reduce) clone() Op {
	return &Reduce{Func: o.Func, Axes: slices.Clone(o.Axes), KeepDims: o.KeepDims}
}

// InferShape drops the axes.
func (o *Reduce) InferShape(in []Shape, p Params) (Shape, error) {
	if !slices.Contains(reduceFuncs, o.Func) {
		return nil, fmt.Errorf("unknown function %q", o.Func)
	}
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	if err := checkAxes(o.Axes, len(in[0])); err != nil {
		return nil, err
	}
	return dropAxes(in[0], o.Axes, o.KeepDims), nil
}

// dropAxes is the shape after a reduction over axes.
func dropAxes(s Shape, axes []int, keep bool) Shape {
	var out Shape
	for i, d := range s {
		switch {
		case !slices.Contains(axes, i):
			out = append(out, d)
		case keep:
			out = append(out, 1)
		}
	}
	return scalarShape(out)
}

// ArgMax is the index of the largest value along an axis, of the first of equals
// (of the last with Last), as a number; with Min, of the smallest.
type ArgMax struct {
	Axis     int  `json:"axis"`
	KeepDims bool `json:"keep_dims"`
	Last     bool `json:"last"`
	Min      bool `json:"min"`
}

// Kind returns "argmax".
func (*ArgMax) Kind() string { return "argmax" }
func (o *ArgMax) clone() Op  { c := *o; return &c }

// InferShape drops the axis.
func (o *ArgMax) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	if err := checkAxis(o.Axis, len(in[0])); err != nil {
		return nil, err
	}
	return dropAxes(in[0], []int{o.Axis}, o.KeepDims), nil
}

// TopK gives the K largest values along an axis in descending order (with
// Smallest, the smallest in ascending order), or, with Indices, where they are;
// of equal values the one at the lower index comes first.
type TopK struct {
	Axis     int  `json:"axis"`
	K        int  `json:"k"`
	Smallest bool `json:"smallest"`
	Indices  bool `json:"indices"`
}

// Kind returns "topk".
func (*TopK) Kind() string { return "topk" }
func (o *TopK) clone() Op  { c := *o; return &c }

// InferShape shortens the axis to K.
func (o *TopK) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	if err := checkAxis(o.Axis, len(in[0])); err != nil {
		return nil, err
	}
	out := slices.Clone(in[0])
	if o.K < 1 || o.K > out[o.Axis] {
		return nil, fmt.Errorf("k %d: the axis has %d values", o.K, out[o.Axis])
	}
	out[o.Axis] = o.K
	return out, nil
}
