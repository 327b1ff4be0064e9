package onnx

import (
	"fmt"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// runOnce computes the only output of a graph for one sample of zeros.
func runOnce(g *graph.Graph, in *graph.Node) ([]float32, error) {
	ex, err := ann.New(g, nil)
	if err != nil {
		return nil, err
	}
	y, err := ex.Forward(tensor.New(append([]int{1}, in.Op.(*graph.Input).Shape...)...))
	if err != nil {
		return nil, err
	}
	return y.Data, nil
}

// A Runner computes a model's outputs from inputs in the file's own layout.
type Runner struct {
	model *Model
	ex    *ann.Executor // nil if all outputs are constant
}

// NewRunner prepares a model. Pool may be nil: one goroutine.
func NewRunner(m *Model, pool *parallel.Pool) (*Runner, error) {
	r := &Runner{model: m}
	if len(m.Graph.Outputs) == 0 {
		return r, nil
	}
	g := m.Graph
	if len(g.InputNodes()) == 0 { // outputs that are constant, but computed
		return nil, fmt.Errorf("the model has no input")
	}
	var err error
	r.ex, err = ann.New(g, pool)
	return r, err
}

// Run takes one tensor per input of the model in the order of Model.Inputs, each
// in the file's layout (such as [N, C, H, W]), and returns the outputs likewise.
func (r *Runner) Run(xs ...*tensor.Tensor) ([]*tensor.Tensor, error) {
	m := r.model
	if len(xs) != len(m.Inputs) {
		return nil, fmt.Errorf("%d inputs, the model has %d: %w", len(xs), len(m.Inputs), tensor.ErrShape)
	}
	batch := 1
	var ins []*tensor.Tensor
	for i, v := range m.Inputs {
		if v.Batched && len(xs[i].Shape) > 0 {
			batch = xs[i].Shape[0]
		}
		if v.Node == nil {
			continue
		}
		x, err := v.toGraph(xs[i])
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", v.Name, err)
		}
		ins = append(ins, x)
	}
	var ys []*tensor.Tensor
	if r.ex != nil {
		var err error
		if ys, err = r.ex.ForwardAll(ins...); err != nil {
			return nil, err
		}
	}
	out := make([]*tensor.Tensor, len(m.Outputs))
	for i, v := range m.Outputs {
		if v.Constant != nil {
			out[i] = v.Constant.Clone()
			continue
		}
		y, err := v.fromGraph(ys[0], batch)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", v.Name, err)
		}
		out[i], ys = y, ys[1:]
	}
	return out, nil
}

// toGraph arranges a value as the graph wants it.
func (v *Value) toGraph(x *tensor.Tensor) (*tensor.Tensor, error) {
	if len(x.Shape) != len(v.Shape) {
		return nil, fmt.Errorf("shape %v, want %v: %w", x.Shape, v.Shape, tensor.ErrShape)
	}
	for k, d := range v.Shape {
		if d >= 0 && x.Shape[k] != d {
			return nil, fmt.Errorf("shape %v, want %v: %w", x.Shape, v.Shape, tensor.ErrShape)
		}
	}
	batch := 1
	perm := v.Perm
	if v.Batched {
		batch = x.Shape[0]
		perm = append([]int{0}, perm...)
	}
	y := x
	if len(perm) > 0 {
		var err error
		if y, err = x.Permute(perm...); err != nil {
			return nil, err
		}
	}
	return &tensor.Tensor{Shape: append([]int{batch}, v.Node.Shape...), Data: y.Data}, nil
}

// fromGraph arranges what the graph computes, for batch samples, as the file
// has it.
func (v *Value) fromGraph(y *tensor.Tensor, batch int) (*tensor.Tensor, error) {
	shape := append([]int(nil), v.Shape...)
	data := y.Data
	if !v.Batched {
		data = data[:numel(shape)]
		batch = 1
	}
	perm := v.Perm
	if v.Batched {
		at := 0
		for k, d := range shape {
			if d < 0 {
				shape[k], at = batch, k
			}
		}
		perm = append([]int{at}, perm...)
	}
	if len(perm) == 0 {
		return &tensor.Tensor{Shape: shape, Data: data}, nil
	}
	from := make([]int, len(perm))
	back := make([]int, len(perm))
	for i, k := range perm {
		from[i] = shape[k]
		back[k] = i
	}
	t := &tensor.Tensor{Shape: from, Data: data}
	return t.Permute(back...)
}
