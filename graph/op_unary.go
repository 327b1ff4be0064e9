package graph

import (
	"fmt"
	"math"
	"slices"
)

// A UnaryFunc names an elementwise function of one input without attributes.
type UnaryFunc string

// The functions of Unary. Round takes halves to the even neighbour; Sqrt and Log
// of negative values are NaN; Sign of NaN is NaN.
const (
	Sigmoid    UnaryFunc = "sigmoid"    // 1/(1+exp(-x))
	Tanh       UnaryFunc = "tanh"       //
	Erf        UnaryFunc = "erf"        // 2/sqrt(pi) times the integral of exp(-t²) from 0 to x
	Softplus   UnaryFunc = "softplus"   // log(1+exp(x))
	Softsign   UnaryFunc = "softsign"   // x/(1+|x|)
	HardSwish  UnaryFunc = "hard_swish" // x*clamp(x/6+1/2, 0, 1)
	Mish       UnaryFunc = "mish"       // x*tanh(softplus(x))
	Abs        UnaryFunc = "abs"
	Neg        UnaryFunc = "neg"
	Exp        UnaryFunc = "exp"
	Log        UnaryFunc = "log"
	Sqrt       UnaryFunc = "sqrt"
	Reciprocal UnaryFunc = "reciprocal"
	Sin        UnaryFunc = "sin"
	Cos        UnaryFunc = "cos"
	Floor      UnaryFunc = "floor"
	Ceil       UnaryFunc = "ceil"
	Round      UnaryFunc = "round"
	Trunc      UnaryFunc = "trunc" // towards 0
	Sign       UnaryFunc = "sign"
)

var unaryFuncs = []UnaryFunc{Sigmoid, Tanh, Erf, Softplus, Softsign, HardSwish, Mish, Abs, Neg, Exp, Log, Sqrt,
	Reciprocal, Sin, Cos, Floor, Ceil, Round, Trunc, Sign}

func init() {
	for _, f := range unaryFuncs {
		register(func() Op { return &Unary{Func: f} })
	}
	register(
		func() Op { return new(Clip) },
		func() Op { return new(PReLU) },
		func() Op { return new(ELU) },
		func() Op { return new(HardSigmoid) },
		func() Op { return new(Swish) },
		func() Op { return new(GELU) },
		func() Op { return new(Power) },
	)
}

// Unary is an elementwise function of one input; its kind is the function's name.
type Unary struct {
	Func UnaryFunc `json:"-"` // written as the kind
}

// Kind returns the name of the function.
func (o *Unary) Kind() string { return string(o.Func) }
func (o *Unary) clone() Op    { c := *o; return &c }

// InferShape returns the input's shape.
func (o *Unary) InferShape(in []Shape, p Params) (Shape, error) {
	if !slices.Contains(unaryFuncs, o.Func) {
		return nil, fmt.Errorf("unknown function %q", o.Func)
	}
	return sameShape(in, p)
}

// Clip is min(Max, max(Min, x)); where Max is below Min, Max wins. NaN stays NaN.
type Clip struct {
	Min Float `json:"min"` // may be -Inf
	Max Float `json:"max"` // may be +Inf
}

// Kind returns "clip".
func (*Clip) Kind() string { return "clip" }
func (o *Clip) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *Clip) InferShape(in []Shape, p Params) (Shape, error) {
	if math.IsNaN(float64(o.Min)) || math.IsNaN(float64(o.Max)) {
		return nil, fmt.Errorf("min %g, max %g: want numbers", float64(o.Min), float64(o.Max))
	}
	return sameShape(in, p)
}

// PReLU is x for x >= 0 and weight*x below. The slopes "weight" may be any shape
// that broadcasts to the input's: [1] for one slope, [C] for one per channel.
type PReLU struct{}

// Kind returns "prelu".
func (*PReLU) Kind() string { return "prelu" }
func (*PReLU) clone() Op    { return &PReLU{} }

// InferShape returns the input's shape.
func (*PReLU) InferShape(in []Shape, p Params) (Shape, error) {
	if err := wantInputs(in, 1); err != nil {
		return nil, err
	}
	if err := wantParams(p, []string{"weight"}, nil); err != nil {
		return nil, err
	}
	return slices.Clone(in[0]), broadcastsTo(p, "weight", in[0])
}

// ELU is x for x >= 0 and Alpha*(exp(x)-1) below.
type ELU struct {
	Alpha float64 `json:"alpha"`
}

// Kind returns "elu".
func (*ELU) Kind() string { return "elu" }
func (o *ELU) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *ELU) InferShape(in []Shape, p Params) (Shape, error) {
	if err := checkFinite("alpha", o.Alpha); err != nil {
		return nil, err
	}
	return sameShape(in, p)
}

// HardSigmoid is Alpha*x + Beta limited to [0, 1].
type HardSigmoid struct {
	Alpha float64 `json:"alpha"`
	Beta  float64 `json:"beta"`
}

// Kind returns "hard_sigmoid".
func (*HardSigmoid) Kind() string { return "hard_sigmoid" }
func (o *HardSigmoid) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *HardSigmoid) InferShape(in []Shape, p Params) (Shape, error) {
	if err := checkFinite("alpha", o.Alpha); err != nil {
		return nil, err
	}
	if err := checkFinite("beta", o.Beta); err != nil {
		return nil, err
	}
	return sameShape(in, p)
}

// Swish is x*sigmoid(Alpha*x); Alpha 1 is also called SiLU.
type Swish struct {
	Alpha float64 `json:"alpha"`
}

// Kind returns "swish".
func (*Swish) Kind() string { return "swish" }
func (o *Swish) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *Swish) InferShape(in []Shape, p Params) (Shape, error) {
	if err := checkFinite("alpha", o.Alpha); err != nil {
		return nil, err
	}
	return sameShape(in, p)
}

// GELU is x*(1+erf(x/sqrt(2)))/2 or, with Tanh, its approximation
// x*(1+tanh(sqrt(2/pi)*(x+0.044715*x³)))/2.
type GELU struct {
	Tanh bool `json:"tanh"`
}

// Kind returns "gelu".
func (*GELU) Kind() string { return "gelu" }
func (o *GELU) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *GELU) InferShape(in []Shape, p Params) (Shape, error) { return sameShape(in, p) }

// Power is x raised to a constant: NaN for a negative x with a broken Exponent.
type Power struct {
	Exponent float64 `json:"exponent"`
}

// Kind returns "power".
func (*Power) Kind() string { return "power" }
func (o *Power) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *Power) InferShape(in []Shape, p Params) (Shape, error) {
	if err := checkFinite("exponent", o.Exponent); err != nil {
		return nil, err
	}
	return sameShape(in, p)
}
