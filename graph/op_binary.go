package graph

import (
	"fmt"
	"slices"
)

// A BinaryFunc names an elementwise function of two inputs.
type BinaryFunc string

// The functions of Binary. Comparisons give 1 or 0. Max and Min are NaN if
// either input is. Mod takes the sign of the divisor (as Python's %), Fmod that
// of the dividend (as C's fmod).
const (
	BroadcastAdd BinaryFunc = "broadcast_add"
	Sub          BinaryFunc = "sub"
	Mul          BinaryFunc = "mul"
	Div          BinaryFunc = "div"
	Maximum      BinaryFunc = "maximum"
	Minimum      BinaryFunc = "minimum"
	Pow          BinaryFunc = "pow"
	Mod          BinaryFunc = "mod"
	Fmod         BinaryFunc = "fmod"
	Equal        BinaryFunc = "equal"
	Less         BinaryFunc = "less"
	LessEqual    BinaryFunc = "less_equal"
)

var binaryFuncs = []BinaryFunc{BroadcastAdd, Sub, Mul, Div, Maximum, Minimum, Pow, Mod, Fmod, Equal, Less, LessEqual}

func init() {
	for _, f := range binaryFuncs {
		register(func() Op { return &Binary{Func: f} })
	}
	register(func() Op { return new(Where) })
}

// Binary is an elementwise function of two inputs, broadcast per sample by
// numpy's rules (BroadcastShapes): [H, W, C] with [C], [1, 1, C] or [1] and so
// on. Its kind is the function's name. For the sum of inputs of one shape use
// Add, which also exists in spiking networks.
type Binary struct {
	Func BinaryFunc `json:"-"` // written as the kind
}

// Kind returns the name of the function.
func (o *Binary) Kind() string { return string(o.Func) }
func (o *Binary) clone() Op    { c := *o; return &c }

// InferShape returns the broadcast shape.
func (o *Binary) InferShape(in []Shape, p Params) (Shape, error) {
	if !slices.Contains(binaryFuncs, o.Func) {
		return nil, fmt.Errorf("unknown function %q", o.Func)
	}
	if err := wantInputs(in, 2); err != nil {
		return nil, err
	}
	if err := wantParams(p, nil, nil); err != nil {
		return nil, err
	}
	return BroadcastShapes(in...)
}

// Where takes its second input where the first, the condition, is not 0, and the
// third elsewhere; the three are broadcast per sample by numpy's rules.
type Where struct{}

// Kind returns "where".
func (*Where) Kind() string { return "where" }
func (*Where) clone() Op    { return &Where{} }

// InferShape returns the broadcast shape.
func (*Where) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 3); err != nil {
		return nil, err
	}
	if err := wantParams(p, nil, nil); err != nil {
		return nil, err
	}
	return BroadcastShapes(in...)
}
