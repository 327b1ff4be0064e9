package ann

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A unaryFunc is an elementwise function: f sets dst from x (which may be the
// same memory), slope is the derivative at x, where y is the function's value;
// nil for step functions.
type unaryFunc struct {
	f     func(dst, x []float32)
	slope func(x, y float64) float64
}

func newUnary(n *graph.Node, pool *parallel.Pool) *operation {
	u := unaryOf(n.Op)
	o := &operation{overwrite: true}
	o.forward = func(_ int, in [][]float32, out []float32) {
		x := in[0]
		pool.Chunks(len(out), chunk, func(lo, hi int) { u.f(out[lo:hi], x[lo:hi]) })
	}
	if u.slope == nil {
		return o
	}
	o.backward = func(b *backwardCall) {
		dx := b.dx[0]
		if dx == nil {
			return
		}
		x := b.in[0]
		pool.Chunks(len(dx), chunk, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				dx[i] = float32(u.slope(float64(x[i]), float64(b.out[i])) * float64(b.dy[i]))
			}
		})
	}
	return o
}

// each makes a loop of a function of one number.
func each(f func(float32) float32) func(dst, x []float32) {
	return func(dst, x []float32) {
		for i, v := range x {
			dst[i] = f(v)
		}
	}
}

// each64 is each for a function of package math.
func each64(f func(float64) float64) func(dst, x []float32) {
	return func(dst, x []float32) {
		for i, v := range x {
			dst[i] = float32(f(float64(v)))
		}
	}
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// softplus is log(1+exp(x)) without overflow.
func softplus(x float64) float64 {
	if x > 0 {
		return x + math.Log1p(math.Exp(-x))
	}
	return math.Log1p(math.Exp(x))
}

func unaryOf(op graph.Op) unaryFunc {
	switch o := op.(type) {
	case *graph.Clip:
		low, high := float32(o.Min), float32(o.Max)
		return unaryFunc{func(dst, x []float32) {
			for i, v := range x {
				if v < low {
					v = low
				}
				if v > high {
					v = high
				}
				dst[i] = v
			}
		}, func(x, _ float64) float64 { return oneIf(x > float64(low) && x < float64(high)) }}
	case *graph.ELU:
		a := o.Alpha
		return unaryFunc{each(func(v float32) float32 {
			if v >= 0 || v != v {
				return v
			}
			return float32(a * math.Expm1(float64(v)))
		}), func(x, y float64) float64 {
			if x >= 0 {
				return 1
			}
			return y + a
		}}
	case *graph.HardSigmoid:
		a, b := float32(o.Alpha), float32(o.Beta)
		return unaryFunc{each(func(v float32) float32 { return min(max(float32(a*v)+b, 0), 1) }),
			func(_, y float64) float64 { return o.Alpha * oneIf(y > 0 && y < 1) }}
	case *graph.Swish:
		a := float32(o.Alpha)
		return unaryFunc{func(dst, x []float32) { kernel.Swish(dst, x, a) },
			func(x, y float64) float64 {
				s := logistic(o.Alpha * x)
				return s + o.Alpha*x*s*(1-s)
			}}
	case *graph.GELU:
		if !o.Tanh {
			return unaryFunc{kernel.GELU, func(x, _ float64) float64 {
				return (1+math.Erf(x/math.Sqrt2))/2 + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
			}}
		}
		return unaryFunc{kernel.GELUTanh, func(x, _ float64) float64 {
			k := math.Sqrt(2 / math.Pi)
			t := math.Tanh(k * (x + 0.044715*x*x*x))
			return (1+t)/2 + x*(1-t*t)*k*(1+3*0.044715*x*x)/2
		}}
	case *graph.Power:
		e := o.Exponent
		slope := func(x, _ float64) float64 { return e * math.Pow(x, e-1) }
		switch e {
		case 2:
			return unaryFunc{func(dst, x []float32) { kernel.Mul(dst, x, x) }, slope}
		case 0.5:
			return unaryFunc{each64(math.Sqrt), slope}
		}
		return unaryFunc{each64(func(x float64) float64 { return math.Pow(x, e) }), slope}
	case *graph.Unary:
		return simpleUnary(o.Func)
	}
	return unaryFunc{}
}

func simpleUnary(f graph.UnaryFunc) unaryFunc {
	switch f {
	case graph.Sigmoid:
		return unaryFunc{kernel.Sigmoid, func(_, y float64) float64 { return y * (1 - y) }}
	case graph.Tanh:
		return unaryFunc{kernel.Tanh, func(_, y float64) float64 { return 1 - y*y }}
	case graph.Erf:
		return unaryFunc{kernel.Erf, func(x, _ float64) float64 { return 2 / math.Sqrt(math.Pi) * math.Exp(-x*x) }}
	case graph.Softplus:
		return unaryFunc{each64(softplus), func(x, _ float64) float64 { return logistic(x) }}
	case graph.Softsign:
		return unaryFunc{each(func(v float32) float32 { return v / (1 + float32(math.Abs(float64(v)))) }),
			func(x, _ float64) float64 { return 1 / ((1 + math.Abs(x)) * (1 + math.Abs(x))) }}
	case graph.HardSwish:
		return unaryFunc{each(func(v float32) float32 { return v * min(max(v/6+0.5, 0), 1) }),
			func(x, _ float64) float64 {
				switch {
				case x <= -3:
					return 0
				case x >= 3:
					return 1
				}
				return x/3 + 0.5
			}}
	case graph.Mish:
		return unaryFunc{each64(func(x float64) float64 { return x * math.Tanh(softplus(x)) }),
			func(x, _ float64) float64 {
				t := math.Tanh(softplus(x))
				return t + x*(1-t*t)*logistic(x)
			}}
	case graph.Abs:
		return unaryFunc{each64(math.Abs), func(x, _ float64) float64 { return signOf(x) }}
	case graph.Neg:
		return unaryFunc{each(func(v float32) float32 { return -v }), func(_, _ float64) float64 { return -1 }}
	case graph.Exp:
		return unaryFunc{kernel.Exp, func(_, y float64) float64 { return y }}
	case graph.Log:
		return unaryFunc{each64(math.Log), func(x, _ float64) float64 { return 1 / x }}
	case graph.Sqrt:
		return unaryFunc{each64(math.Sqrt), func(_, y float64) float64 { return 0.5 / y }}
	case graph.Reciprocal:
		return unaryFunc{each(func(v float32) float32 { return 1 / v }), func(_, y float64) float64 { return -y * y }}
	case graph.Sin:
		return unaryFunc{each64(math.Sin), func(x, _ float64) float64 { return math.Cos(x) }}
	case graph.Cos:
		return unaryFunc{each64(math.Cos), func(x, _ float64) float64 { return -math.Sin(x) }}
	case graph.Floor:
		return unaryFunc{f: each64(math.Floor)}
	case graph.Ceil:
		return unaryFunc{f: each64(math.Ceil)}
	case graph.Round:
		return unaryFunc{f: each64(math.RoundToEven)}
	case graph.Trunc:
		return unaryFunc{f: each64(math.Trunc)}
	case graph.Sign:
		return unaryFunc{f: each64(signOf)}
	}
	return unaryFunc{}
}

// signOf is 1, 0 or -1, NaN for NaN.
func signOf(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	case x == 0:
		return 0
	}
	return x
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
