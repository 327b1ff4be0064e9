package graph

import (
	"fmt"
	"math"
	"slices"
)

func init() {
	register(
		func() Op { return new(Constant) },
		func() Op { return new(Affine) },
		func() Op { return new(MatMul) },
		func() Op { return new(Attention) },
	)
}

// Constant is a tensor that is the same for every sample. It has no inputs and
// one parameter: "weight" if training changes it (a class token), "value" if
// not (a mask). The parameter's shape is the shape of the sample.
type Constant struct{}

// Kind returns "constant".
func (*Constant) Kind() string { return "constant" }
func (*Constant) clone() Op    { return &Constant{} }

// InferShape returns the parameter's shape.
func (*Constant) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 0); err != nil {
		return nil, err
	}
	if err := wantParams(p, nil, []string{"weight", "value"}); err != nil {
		return nil, err
	}
	if len(p) != 1 {
		return nil, fmt.Errorf("%d parameters, want either weight or value", len(p))
	}
	for _, t := range p {
		return slices.Clone(Shape(t.Shape)), nil
	}
	return nil, nil
}

// Affine is x*weight + bias, elementwise. Either parameter may be missing (1 and
// 0), not both. Their shapes broadcast to the input's: [C] for one number per
// channel, [1] for one in all, the input's own for one per value.
type Affine struct{}

// Kind returns "affine".
func (*Affine) Kind() string { return "affine" }
func (*Affine) clone() Op    { return &Affine{} }

// InferShape returns the input's shape.
func (*Affine) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p, "weight", "bias"); err != nil {
		return nil, err
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("no parameters, want weight, bias or both")
	}
	for _, role := range []string{"weight", "bias"} {
		if err := broadcastsTo(p, role, in[0]); err != nil {
			return nil, err
		}
	}
	return slices.Clone(in[0]), nil
}

// MatMul is the matrix product of two inputs by numpy's rules: the last two axes
// are rows and columns, the axes before them are broadcast; a first input of one
// axis is a row, a second of one axis a column, and that axis is missing in the
// result ([1] if nothing remains). A product with a constant matrix [In, Out] on
// the right is a Linear.
type MatMul struct {
	TransposeA bool `json:"transpose_a"` // the first input's matrices are [K, M]
	TransposeB bool `json:"transpose_b"` // the second input's are [N, K]
}

// Kind returns "matmul".
func (*MatMul) Kind() string { return "matmul" }
func (o *MatMul) clone() Op  { c := *o; return &c }

// Dims returns the matrices' sizes [M, K] x [K, N] and the broadcast axes before
// them, for inputs of shapes a and b.
func (o *MatMul) Dims(a, b Shape) (batch Shape, m, k, n int, err error) {
	if len(a) == 0 || len(b) == 0 {
		return nil, 0, 0, 0, fmt.Errorf("inputs of shapes %v and %v, want at least one axis each", []int(a), []int(b))
	}
	if (len(a) == 1 && o.TransposeA) || (len(b) == 1 && o.TransposeB) {
		return nil, 0, 0, 0, fmt.Errorf("inputs of shapes %v and %v: a vector cannot be transposed", []int(a), []int(b))
	}
	if len(a) == 1 {
		a = Shape{1, a[0]}
	}
	if len(b) == 1 {
		b = Shape{b[0], 1}
	}
	m, k = a[len(a)-2], a[len(a)-1]
	if o.TransposeA {
		m, k = k, m
	}
	kb, n := b[len(b)-2], b[len(b)-1]
	if o.TransposeB {
		kb, n = n, kb
	}
	if k != kb {
		return nil, 0, 0, 0, fmt.Errorf("matrices [%d %d] and [%d %d] cannot be multiplied", m, k, kb, n)
	}
	batch, err = BroadcastShapes(a[:len(a)-2], b[:len(b)-2])
	return batch, m, k, n, err
}

// InferShape returns [..., M, N].
func (o *MatMul) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 2); err != nil {
		return nil, err
	}
	if err := wantParams(p, nil, nil); err != nil {
		return nil, err
	}
	out, m, _, n, err := o.Dims(in[0], in[1])
	if err != nil {
		return nil, err
	}
	if len(in[0]) > 1 {
		out = append(out, m)
	}
	if len(in[1]) > 1 {
		out = append(out, n)
	}
	return scalarShape(out), nil
}

// Attention is scaled dot-product attention with heads side by side in the
// channels: inputs query [..., L, Heads*D], key [..., S, KVHeads*D], value
// [..., S, KVHeads*E] and, if there is a fourth, a mask that is added to the
// scores and broadcasts to [..., Heads, L, S]; result [..., L, Heads*E]. Axes
// before the last two are equal in the first three inputs. Per head
//
//	softmax(Scale*query*key' + mask)*value
//
// where query head h uses key and value head h*KVHeads/Heads. Heads that are an
// axis of their own ([Heads, L, D]) are Heads 1.
type Attention struct {
	Heads   int     `json:"heads"`
	KVHeads int     `json:"kv_heads"` // a divisor of Heads
	Scale   float64 `json:"scale"`    // usually 1/sqrt(D)
	Causal  bool    `json:"causal"`   // position i sees positions 0..i only
	Softcap float64 `json:"softcap"`  // scores become Softcap*tanh(score/Softcap) before the mask; 0 for none
}

// Kind returns "attention".
func (*Attention) Kind() string { return "attention" }
func (o *Attention) clone() Op  { c := *o; return &c }

// InferShape checks the heads.
func (o *Attention) InferShape(in []Shape, p Params) (Shape, error) {
	if len(in) != 3 && len(in) != 4 {
		return nil, fmt.Errorf("%d inputs, want query, key, value and perhaps a mask", len(in))
	}
	if err := wantParams(p, nil, nil); err != nil {
		return nil, err
	}
	if err := checkAttr("heads", 1, o.Heads, o.KVHeads); err != nil {
		return nil, err
	}
	if o.Heads%o.KVHeads != 0 {
		return nil, fmt.Errorf("%d heads cannot share %d of keys and values", o.Heads, o.KVHeads)
	}
	if err := checkFinite("scale", o.Scale); err != nil {
		return nil, err
	}
	if math.IsNaN(o.Softcap) || math.IsInf(o.Softcap, 0) || o.Softcap < 0 {
		return nil, fmt.Errorf("softcap %g: want 0 or a positive number", o.Softcap)
	}
	q, k, v := in[0], in[1], in[2]
	r := len(q)
	if r < 2 || len(k) != r || len(v) != r || !slices.Equal(q[:r-2], k[:r-2]) || !slices.Equal(q[:r-2], v[:r-2]) || k[r-2] != v[r-2] {
		return nil, fmt.Errorf("query, key and value of shapes %v, %v and %v, want [... L D], [... S D] and [... S E]", []int(q), []int(k), []int(v))
	}
	if q[r-1]%o.Heads != 0 || k[r-1]%o.KVHeads != 0 || v[r-1]%o.KVHeads != 0 || q[r-1]/o.Heads != k[r-1]/o.KVHeads {
		return nil, fmt.Errorf("channels %d, %d and %d do not split into %d heads and %d of keys and values", q[r-1], k[r-1], v[r-1], o.Heads, o.KVHeads)
	}
	if len(in) == 4 {
		scores := append(slices.Clone(q[:r-2]), o.Heads, q[r-2], k[r-2])
		if out, err := BroadcastShapes(scores, in[3]); err != nil || !slices.Equal(out, scores) {
			return nil, fmt.Errorf("mask of shape %v cannot be broadcast to the scores' %v", []int(in[3]), []int(scores))
		}
	}
	return append(slices.Clone(q[:r-1]), o.Heads*(v[r-1]/o.KVHeads)), nil
}
