package convert

import (
	"math"
	"sort"
)

// points are the non-zero activations of a channel in ascending order, or the
// means of a histogram's bins, with running sums: what the error of a threshold
// is computed from without looking at every value again.
type points struct {
	value []float32
	// Sums over the points before index i: how many values, their sum, the sum
	// of their squares.
	count, sum, squares []float64
}

// newPoints takes ascending values; count says how often each stands, nil for
// once.
func newPoints(value []float32, count []uint32) *points {
	n := len(value)
	sums := make([]float64, 3*(n+1))
	p := &points{value: value, count: sums[:n+1], sum: sums[n+1 : 2*n+2], squares: sums[2*n+2:]}
	for i, v := range value {
		k, a := 1.0, float64(v)
		if count != nil {
			k = float64(count[i])
		}
		p.count[i+1] = p.count[i] + k
		p.sum[i+1] = p.sum[i] + k*a
		p.squares[i+1] = p.squares[i] + k*a*a
	}
	return p
}

// cost is the sum of (a - q(a))^2. q is a staircase, so the values between two of
// its steps share one q and their errors follow from the running sums; the
// steps are found by bisection with q itself, so that every value falls on the
// side that float32 arithmetic puts it on.
func (p *points) cost(q quantiser, theta float32) float64 {
	var total float64
	for i := 0; i < len(p.value); {
		level := q.apply(p.value[i], theta)
		end := p.levelEnd(q, theta, i, level)
		b := float64(level)
		total += (p.squares[end] - p.squares[i]) - 2*b*(p.sum[end]-p.sum[i]) + b*b*(p.count[end]-p.count[i])
		i = end
	}
	return total
}

// levelEnd returns the first index behind i at which q leaves level.
func (p *points) levelEnd(q quantiser, theta float32, i int, level float32) int {
	lo, step := i, 1 // value[lo] is on the level
	for lo+step < len(p.value) && q.apply(p.value[lo+step], theta) == level {
		lo += step
		step *= 2
	}
	hi := min(lo+step, len(p.value))
	return lo + 1 + sort.Search(hi-lo-1, func(k int) bool { return q.apply(p.value[lo+1+k], theta) != level })
}

// tie is the share of the sum of squares by which an error must be smaller to
// count as smaller: below it lies the rounding of the sums.
const tie = 1e-12

// best returns the candidate with the smallest error; ties go to the larger
// threshold, which is the earlier one and fires less.
func (p *points) best(q quantiser, maximum float32, ratios *[candidates]float32) float32 {
	least, theta := math.Inf(1), maximum
	margin := tie * p.squares[len(p.value)]
	for _, r := range ratios {
		if e := p.cost(q, maximum*r); e < least-margin {
			least, theta = e, maximum*r
		}
	}
	return theta
}
