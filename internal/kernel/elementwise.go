package kernel

import (
	"fmt"
	"math"
)

// The element-wise loops. Slices of one call must have equal lengths and are
// either the same memory or do not overlap; a mismatch panics, because it is a
// broken invariant of the caller. Every loop gives the same bits on every
// instruction set: products are rounded before they are added (no fused
// multiply-add), and sums have a fixed order.
//
// The loops below are the specification. On machines with AVX2 the xxxVec
// functions do the first elements in assembly and say how many; the loop then
// finishes the tail. AVX-512 machines run the AVX2 code too: these loops wait
// for memory, not for arithmetic.

// Add sets dst[i] = a[i] + b[i].
func Add(dst, a, b []float32) {
	same("Add", len(dst), len(a), len(b))
	for i := addVec(dst, a, b); i < len(dst); i++ {
		dst[i] = a[i] + b[i]
	}
}

// AddTo sets dst[i] += a[i].
func AddTo(dst, a []float32) { Add(dst, dst, a) }

// Sub sets dst[i] = a[i] - b[i].
func Sub(dst, a, b []float32) {
	same("Sub", len(dst), len(a), len(b))
	for i := subVec(dst, a, b); i < len(dst); i++ {
		dst[i] = a[i] - b[i]
	}
}

// Mul sets dst[i] = a[i] * b[i].
func Mul(dst, a, b []float32) {
	same("Mul", len(dst), len(a), len(b))
	for i := mulVec(dst, a, b); i < len(dst); i++ {
		dst[i] = a[i] * b[i]
	}
}

// Scale sets dst[i] = x[i] * s.
func Scale(dst, x []float32, s float32) {
	same("Scale", len(dst), len(x))
	for i := scaleVec(dst, x, s); i < len(dst); i++ {
		dst[i] = x[i] * s
	}
}

// Axpy sets dst[i] += x[i] * a, the product rounded before the sum.
func Axpy(dst, x []float32, a float32) {
	same("Axpy", len(dst), len(x))
	for i := axpyVec(dst, x, a); i < len(dst); i++ {
		dst[i] += float32(x[i] * a)
	}
}

// ReLU sets dst[i] to x[i] limited to [0, max]; max is +Inf for the plain
// rectifier and 6 for ReLU6. NaN stays NaN and -0 stays -0.
func ReLU(dst, x []float32, max float32) {
	same("ReLU", len(dst), len(x))
	for i := reluVec(dst, x, max); i < len(dst); i++ {
		dst[i] = clamp(x[i], max)
	}
}

// clamp limits x to [0, max] with the operand order of MAXPS and MINPS, which
// lets NaN through.
func clamp(x, max float32) float32 {
	if 0 > x {
		x = 0
	}
	if max < x {
		x = max
	}
	return x
}

// ReLUBackward sets dx[i] = dy[i] where 0 < x[i] < max and 0 elsewhere. As the
// rectifier's output lies in the same open interval exactly where its input
// does, x may be the input or the output of the forward pass.
func ReLUBackward(dx, x, dy []float32, max float32) {
	same("ReLUBackward", len(dx), len(x), len(dy))
	for i := reluBackwardVec(dx, x, dy, max); i < len(dx); i++ {
		if 0 < x[i] && x[i] < max {
			dx[i] = dy[i]
		} else {
			dx[i] = 0
		}
	}
}

// LeakyReLU sets dst[i] = x[i] where x[i] > 0 and slope*x[i] elsewhere.
func LeakyReLU(dst, x []float32, slope float32) {
	same("LeakyReLU", len(dst), len(x))
	for i := leakyVec(dst, x, x, slope); i < len(dst); i++ {
		if x[i] > 0 {
			dst[i] = x[i]
		} else {
			dst[i] = slope * x[i]
		}
	}
}

// LeakyReLUBackward sets dx[i] = dy[i] where x[i] > 0 and slope*dy[i]
// elsewhere; x is the input of the forward pass.
func LeakyReLUBackward(dx, x, dy []float32, slope float32) {
	same("LeakyReLUBackward", len(dx), len(x), len(dy))
	for i := leakyVec(dx, x, dy, slope); i < len(dx); i++ {
		if x[i] > 0 {
			dx[i] = dy[i]
		} else {
			dx[i] = slope * dy[i]
		}
	}
}

// CountsToFloat sets dst[i] to the count src[i].
func CountsToFloat(dst []float32, src []uint8) {
	same("CountsToFloat", len(dst), len(src))
	for i := countsToFloatVec(dst, src); i < len(dst); i++ {
		dst[i] = float32(src[i])
	}
}

// MaxAbs returns the largest |x[i]|, 0 for an empty slice, NaN if any element
// is NaN: as integers, the bit patterns of NaN lie above those of +Inf.
func MaxAbs(x []float32) float32 {
	i, m := maxAbsVec(x)
	for ; i < len(x); i++ {
		m = max(m, math.Float32bits(x[i])&^(1<<31))
	}
	return math.Float32frombits(m)
}

// AddBias sets dst[r,ch] = x[r,ch] + bias[ch] for every row r of the arrays of
// shape [rows, len(bias)].
func AddBias(dst, x, bias []float32) {
	same("AddBias", len(dst), len(x))
	c := len(bias)
	whole("AddBias", len(x), c)
	for lo := 0; lo < len(x); lo += c {
		Add(dst[lo:lo+c], x[lo:lo+c], bias)
	}
}

// same panics unless all lengths are equal.
func same(what string, n int, others ...int) {
	for _, m := range others {
		if m != n {
			panic(fmt.Sprintf("kernel: %s: slices of lengths %d and %d", what, n, m))
		}
	}
}

// whole panics unless n elements are a whole number of rows of c channels.
func whole(what string, n, c int) {
	if c < 0 || c == 0 && n != 0 || c > 0 && n%c != 0 {
		panic(fmt.Sprintf("kernel: %s: %d elements are no rows of %d channels", what, n, c))
	}
}
