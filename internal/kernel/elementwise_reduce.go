package kernel

import (
	"math"

	"github.com/adafire/adafire/internal/parallel"
)

// Reductions. Sums are taken in float64 in a fixed order, so they depend
// neither on the instruction set nor on the number of workers.

// lanes is the number of interleaved partial sums of a reduction over a slice:
// element i goes to lane i%lanes.
const lanes = 16

// Dot returns Σ a[i]*b[i]. Products of two float32 are exact in float64.
func Dot(a, b []float32) float64 {
	same("Dot", len(a), len(b))
	var acc [lanes]float64
	for i := dotVec(&acc, a, b); i < len(a); i++ {
		acc[i%lanes] += float64(float64(a[i]) * float64(b[i]))
	}
	return foldLanes(&acc)
}

// SumSquares returns Σ x[i]².
func SumSquares(x []float32) float64 { return Dot(x, x) }

// Sum returns Σ x[i].
func Sum(x []float32) float64 {
	var acc [lanes]float64
	for i := sumVec(&acc, x); i < len(x); i++ {
		acc[i%lanes] += float64(x[i])
	}
	return foldLanes(&acc)
}

// foldLanes adds the lanes pairwise.
func foldLanes(acc *[lanes]float64) float64 {
	for w := lanes / 2; w > 0; w /= 2 {
		for i := range w {
			acc[i] += acc[i+w]
		}
	}
	return acc[0]
}

// rowBlock returns how many rows of c channels make one piece of work of a
// reduction over rows: about 16,384 elements, and never so few rows that
// adding the pieces up costs more than the pieces.
func rowBlock(c int) int { return max(16384/max(c, 1), 32) }

// SumRows sets sum[ch] = Σ_r x[r,ch] for x of shape [rows, len(sum)]. The sum
// of a channel runs over the rows in order within fixed blocks of rows; blocks
// are added in order.
func SumRows(p *parallel.Pool, sum, x []float32) {
	c := len(sum)
	whole("SumRows", len(x), c)
	if c == 0 {
		return
	}
	total := sumBlocks(p, len(x)/c, c, 1, func(acc []float64, lo, hi int) {
		columnSums(acc, x[lo*c:hi*c], c)
	})
	for ch := range sum {
		sum[ch] = float32(total[ch])
	}
}

// sumBlocks cuts m rows into fixed blocks, calls block for each with k*c zeroed
// accumulators of its own, and returns their sum in the order of the blocks.
func sumBlocks(p *parallel.Pool, m, c, k int, block func(acc []float64, lo, hi int)) []float64 {
	size := rowBlock(c)
	blocks := max((m+size-1)/size, 1)
	acc := make([]float64, blocks*k*c)
	p.Chunks(m, size, func(lo, hi int) {
		at := lo / size * k * c
		block(acc[at:at+k*c:at+k*c], lo, hi)
	})
	total := acc[:k*c]
	for b := 1; b < blocks; b++ {
		for i, v := range acc[b*k*c : (b+1)*k*c] {
			total[i] += v
		}
	}
	return total
}

// columnSums adds the rows of x, of c channels each, to acc.
func columnSums(acc []float64, x []float32, c int) {
	done := columnSumsVec(acc, x, c)
	if done == c {
		return
	}
	for lo := 0; lo < len(x); lo += c {
		for ch := done; ch < c; ch++ {
			acc[ch] += float64(x[lo+ch])
		}
	}
}

// Softmax sets each row of c elements of y to exp(x-m)/Σexp(x-m), m the row's
// largest element, in float64 inside.
func Softmax(y, x []float32, c int) {
	same("Softmax", len(y), len(x))
	whole("Softmax", len(x), c)
	for lo := 0; lo < len(x); lo += c {
		row, out := x[lo:lo+c], y[lo:lo+c]
		m, logSum := logSumExp(row)
		for i, v := range row {
			out[i] = float32(math.Exp(float64(v) - m - logSum))
		}
	}
}

// LogSoftmax sets each row of c elements of y to x - log Σexp(x), without
// overflow, in float64 inside.
func LogSoftmax(y, x []float32, c int) {
	same("LogSoftmax", len(y), len(x))
	whole("LogSoftmax", len(x), c)
	for lo := 0; lo < len(x); lo += c {
		row, out := x[lo:lo+c], y[lo:lo+c]
		m, logSum := logSumExp(row)
		for i, v := range row {
			out[i] = float32(float64(v) - m - logSum)
		}
	}
}

// logSumExp returns m, the largest element, and log Σexp(x-m).
func logSumExp(row []float32) (m, logSum float64) {
	m = math.Inf(-1)
	for _, v := range row {
		m = math.Max(m, float64(v))
	}
	var sum float64
	for _, v := range row {
		sum += math.Exp(float64(v) - m)
	}
	return m, math.Log(sum)
}

// SoftmaxBackward sets dx = y*(dy - Σ dy*y) for each row of c elements; y is
// the output of Softmax.
func SoftmaxBackward(dx, y, dy []float32, c int) {
	same("SoftmaxBackward", len(dx), len(y), len(dy))
	whole("SoftmaxBackward", len(y), c)
	for lo := 0; lo < len(y); lo += c {
		dot := Dot(y[lo:lo+c], dy[lo:lo+c])
		for i := lo; i < lo+c; i++ {
			dx[i] = float32(float64(y[i]) * (float64(dy[i]) - dot))
		}
	}
}

// LogSoftmaxBackward sets dx = dy - exp(y)*Σ dy for each row of c elements; y
// is the output of LogSoftmax.
func LogSoftmaxBackward(dx, y, dy []float32, c int) {
	same("LogSoftmaxBackward", len(dx), len(y), len(dy))
	whole("LogSoftmaxBackward", len(y), c)
	for lo := 0; lo < len(y); lo += c {
		sum := Sum(dy[lo : lo+c])
		for i := lo; i < lo+c; i++ {
			dx[i] = float32(float64(dy[i]) - float64(math.Exp(float64(y[i]))*sum))
		}
	}
}

// ArgMax returns the index of the largest value, of the first of equals: the class
// of a row of logits. x must not be empty; NaN is never larger.
func ArgMax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}
