package kernel

import "math"

// Transcendental functions in float32 with an absolute error of a few 1e-7
// where the result is of order 1 (see the tests for each): polynomials of our
// own fits, without fused multiply-add, so that every machine gives the same
// bits. Slices of one call must have equal lengths and are the same memory or
// do not overlap.

// Exp sets dst[i] = exp(x[i]), with a relative error of at most 2e-7: 0 below
// -87.3 (the last normal numbers), +Inf above 88.7; NaN stays NaN.
func Exp(dst, x []float32) {
	same("Exp", len(dst), len(x))
	for i := expVec(dst, x); i < len(dst); i++ {
		dst[i] = exp32(x[i])
	}
}

const (
	expLow   = -87.33654 // below, the result would be subnormal
	expHigh  = 88.72283
	log2e    = 1.44269504
	ln2High  = 0.693359375 // of few bits: products with whole numbers are exact
	ln2Low   = -2.12194440e-4
	roundBit = 12582912 // 1.5*2^23: adding it rounds to a whole number

	exp2 = 0.5
	exp3 = 0.166665181517601
	exp4 = 0.04166620224714279
	exp5 = 0.008369024842977524
	exp6 = 0.0013950720895081758
)

// exp32 is 2^n * exp(r) with |r| <= ln(2)/2.
func exp32(x float32) float32 {
	if !(x >= expLow) {
		if x != x {
			return x
		}
		return 0
	}
	if x > expHigh {
		return float32(math.Inf(1))
	}
	shifted := float32(x*log2e) + roundBit
	n := shifted - roundBit
	r := x - float32(n*ln2High)
	r -= float32(n * ln2Low)
	p := float32(exp6*r) + exp5
	p = float32(p*r) + exp4
	p = float32(p*r) + exp3
	p = float32(p*r) + exp2
	p = float32(float32(p*r)*r) + r + 1
	// 2^128 has no bit pattern of its own: scale in two steps.
	half := (int32(math.Float32bits(shifted)) - 0x4B400000) >> 1
	rest := int32(math.Float32bits(shifted)) - 0x4B400000 - half
	p *= math.Float32frombits(uint32(127+half) << 23)
	return p * math.Float32frombits(uint32(127+rest)<<23)
}

// Sigmoid sets dst[i] = 1/(1+exp(-x[i])).
func Sigmoid(dst, x []float32) {
	same("Sigmoid", len(dst), len(x))
	for i := sigmoidVec(dst, x); i < len(dst); i++ {
		dst[i] = sigmoid32(x[i])
	}
}

func sigmoid32(x float32) float32 { return 1 / (1 + exp32(-x)) }

// Swish sets dst[i] = x[i]*sigmoid(alpha*x[i]).
func Swish(dst, x []float32, alpha float32) {
	same("Swish", len(dst), len(x))
	for i := swishVec(dst, x, alpha); i < len(dst); i++ {
		dst[i] = x[i] / (1 + exp32(-float32(alpha*x[i])))
	}
}

// Tanh sets dst[i] = tanh(x[i]).
func Tanh(dst, x []float32) {
	same("Tanh", len(dst), len(x))
	for i := tanhVec(dst, x); i < len(dst); i++ {
		dst[i] = tanh32(x[i])
	}
}

func tanh32(x float32) float32 {
	a := abs32(x)
	if a < 0.625 {
		z := float32(x * x)
		p := float32(-0.005717025604099035*z) + 0.02065056934952736
		p = float32(p*z) - 0.05374349281191826
		p = float32(p*z) + 0.13331490755081177
		p = float32(p*z) - 0.3333328366279602
		return x + float32(float32(p*z)*x)
	}
	return copySign(1-2/(exp32(2*a)+1), x)
}

// Erf sets dst[i] = erf(x[i]).
func Erf(dst, x []float32) {
	same("Erf", len(dst), len(x))
	for i := erfVec(dst, x); i < len(dst); i++ {
		dst[i] = erf32(x[i])
	}
}

// erf32 is x times a polynomial of x² up to 1, 1-exp(polynomial) above.
func erf32(x float32) float32 {
	a := abs32(x)
	if a < 1 {
		z := float32(x * x)
		p := float32(7.85385345807299e-05*z) - 0.000801019137725234
		p = float32(p*z) + 0.00518832728266716
		p = float32(p*z) - 0.026853810995817184
		p = float32(p*z) + 0.1128358542919159
		p = float32(p*z) - 0.3761262595653534
		p = float32(p*z) + 1.1283791065216064
		return x * p
	}
	if a > 4 {
		a = 4
	}
	p := float32(-0.00018557600560598075*a) + 0.0029396263416856527
	p = float32(p*a) - 0.02180539257824421
	p = float32(p*a) + 0.1030375212430954
	p = float32(p*a) + 0.6382254958152771
	p = float32(p*a) + 1.127040147781372
	p = float32(p*a) + 0.00035369565011933446
	return copySign(1-exp32(-p), x)
}

// GELU sets dst[i] = x[i]*(1+erf(x[i]/sqrt(2)))/2.
func GELU(dst, x []float32) {
	same("GELU", len(dst), len(x))
	for i := geluVec(dst, x); i < len(dst); i++ {
		dst[i] = gelu32(x[i])
	}
}

func gelu32(x float32) float32 {
	return float32(0.5*x) * (1 + erf32(float32(x*math.Sqrt2/2)))
}

// GELUTanh sets dst[i] = x[i]*(1+tanh(sqrt(2/pi)*(x[i]+0.044715*x[i]³)))/2.
func GELUTanh(dst, x []float32) {
	same("GELUTanh", len(dst), len(x))
	for i, v := range x {
		cube := float32(float32(v*v) * v)
		dst[i] = float32(0.5*v) * (1 + tanh32(float32(0.7978845608028654*(v+float32(0.044715*cube)))))
	}
}

func abs32(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

func copySign(x, sign float32) float32 {
	return math.Float32frombits(math.Float32bits(x)&^(1<<31) | math.Float32bits(sign)&(1<<31))
}

// SoftmaxFast sets each row of c elements of y to exp(x-m)/Σexp(x-m), m the
// row's largest element, with exponentials in float32 and their sum in float64:
// within 3e-7 of Softmax, at a fraction of its time. y may be x. A row with a NaN
// becomes NaN throughout.
func SoftmaxFast(y, x []float32, c int) {
	same("SoftmaxFast", len(y), len(x))
	whole("SoftmaxFast", len(x), c)
	for lo := 0; lo < len(x); lo += c {
		row, out := x[lo:lo+c], y[lo:lo+c]
		m := MaxValue(row)
		subtract(out, row, m)
		Exp(out, out)
		Scale(out, out, float32(1/Sum(out)))
	}
}

// MaxValue returns the largest value, NaN if there is one, -Inf for none.
func MaxValue(x []float32) float32 {
	i, m := maxValueVec(x)
	for ; i < len(x) && m == m; i++ {
		if x[i] > m || x[i] != x[i] {
			m = x[i]
		}
	}
	return m
}

// subtract sets dst = x - s.
func subtract(dst, x []float32, s float32) {
	for i := subtractVec(dst, x, s); i < len(dst); i++ {
		dst[i] = x[i] - s
	}
}

// SquaresAround returns Σ (x[i]-mean)² of differences rounded to float32, in
// float64.
func SquaresAround(x []float32, mean float32) float64 {
	var part [256]float32
	var sum float64
	for lo := 0; lo < len(x); lo += len(part) {
		hi := min(lo+len(part), len(x))
		d := part[:hi-lo]
		subtract(d, x[lo:hi], mean)
		sum += SumSquares(d)
	}
	return sum
}

// NormRow sets y[i] = (x[i]-mean)*inv*w[i] + b[i]; w and b may be nil (1 and 0).
// y may be x.
func NormRow(y, x, w, b []float32, mean, inv float32) {
	same("NormRow", len(y), len(x))
	subtract(y, x, mean)
	Scale(y, y, inv)
	if w != nil {
		Mul(y, y, w)
	}
	if b != nil {
		Add(y, y, b)
	}
}
