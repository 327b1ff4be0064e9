package convert

import (
	"math"
	"slices"
	"sort"
)

// points are the non-zero activations of a channel in ascending order, or the
// means of a histogram's bins, with running sums: what the errors of all
// thresholds are computed from without looking at every value again.
type points struct {
	value []float32
	// Over the points before index i: their sum and the sum of their squares.
	moments []moments
	// How many values the points before index i stand for; nil where every point
	// is one value.
	count []float64
	// first[b] is the index of the first point in bin b or above it: len(first)-2
	// bins of equal width on [0, largest value], which scale leads to.
	first []int
	scale float32
}

type moments struct{ sum, squares float64 }

// before is the number of values that the points before index i stand for.
func (p *points) before(i int) float64 {
	if p.count == nil {
		return float64(i)
	}
	return p.count[i]
}

// searchMemory is what a search for the threshold of one channel after the
// other works in.
type searchMemory struct {
	points points
	buf    []float32
}

// newPoints takes ascending values > 0; count says how often each stands, nil
// for once. The points are good until the next call.
func (s *searchMemory) newPoints(value []float32, count []uint32) *points {
	p, n := &s.points, len(value)
	p.value = value
	p.moments = slices.Grow(p.moments[:0], n+1)[:n+1]
	p.moments[0] = moments{}
	var m moments
	if count == nil {
		p.count = nil
		for i, v := range value {
			a := float64(v)
			m.sum += a
			m.squares += a * a
			p.moments[i+1] = m
		}
	} else {
		p.count = slices.Grow(p.count[:0], n+1)[:n+1]
		p.count[0] = 0
		var sum float64
		for i, v := range value {
			k, a := float64(count[i]), float64(v)
			sum += k
			m.sum += k * a
			m.squares += k * a * a
			p.count[i+1], p.moments[i+1] = sum, m
		}
	}
	p.index()
	return p
}

const (
	pointsPerBin = 4       // how many points a bin of the index holds on average
	maxBins      = 1 << 20 // of an index: numbers that float32 tells apart
)

func (p *points) index() {
	bins := min(max(1, len(p.value)/pointsPerBin), maxBins)
	p.first = slices.Grow(p.first[:0], bins+2)[:0]
	if len(p.value) == 0 {
		return
	}
	p.scale = float32(bins) / p.value[len(p.value)-1]
	if p.scale > math.MaxFloat32 { // of denormal values
		p.scale = 0
	}
	for i, v := range p.value {
		for b := int(v * p.scale); len(p.first) <= b; {
			p.first = append(p.first, i)
		}
	}
	for len(p.first) < bins+2 {
		p.first = append(p.first, len(p.value))
	}
}

// from returns the index of the first point >= v >= 0.
func (p *points) from(v float32) int {
	at := v * p.scale
	if at >= float32(len(p.first)-1) {
		return len(p.value)
	}
	b := int(at)
	lo, hi := p.first[b], p.first[b+1] // points of lower bins are smaller
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if p.value[mid] < v {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// slack bounds the relative distance from a step of the staircase, computed in
// float64, to the value at which float32 arithmetic puts it: that rounds a/theta,
// its product with T and, on the sum, 1/2 added to it, each by 2^-24 at most, of
// which the last counts most at the first step, T*a/theta = 1/2.
const slack = 1.0 / (1 << 20)

// cost is the sum of (a - q(a))^2. q is a staircase, so the values between two of
// its steps share one q and their errors follow from the running sums. Where a
// step lies is known but for rounding; the few values about it are looked at with
// q itself, so that every value falls on the side that float32 arithmetic puts it
// on.
func (p *points) cost(q quantiser, theta float32) float64 {
	n := len(p.value)
	if n == 0 {
		return 0
	}
	top := float64(q.limit) * float64(q.steps)
	levels := min(top, float64(p.value[n-1])/float64(theta)*float64(q.steps)+1)
	if levels > float64(n) {
		return p.costBySteps(q, theta) // most levels hold no value
	}
	unit, half := float64(theta)/float64(q.steps), 0.0
	if q.round {
		half = 0.5
	}
	var total float64
	for begin, k := 0, 0.0; begin < n; k++ {
		end := n
		level := float32(k) * theta / q.steps
		if k < top {
			step := (k + 1 - half) * unit
			end = max(begin, p.from(float32(step*(1-slack))))
			for high := step * (1 + slack); end < n && float64(p.value[end]) <= high && q.apply(p.value[end], theta) <= level; {
				end++
			}
		}
		if end > begin {
			b := float64(level)
			total += (p.moments[end].squares - p.moments[begin].squares) - 2*b*(p.moments[end].sum-p.moments[begin].sum) + b*b*(p.before(end)-p.before(begin))
		}
		begin = end
	}
	return total
}

// costBySteps is cost where there are more levels than values: it goes from
// value to value and finds the end of each one's level by bisection.
func (p *points) costBySteps(q quantiser, theta float32) float64 {
	var total float64
	for i := 0; i < len(p.value); {
		level := q.apply(p.value[i], theta)
		end := p.levelEnd(q, theta, i, level)
		b := float64(level)
		total += (p.moments[end].squares - p.moments[i].squares) - 2*b*(p.moments[end].sum-p.moments[i].sum) + b*b*(p.before(end)-p.before(i))
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
	margin := tie * p.moments[len(p.value)].squares
	for _, r := range ratios {
		if e := p.cost(q, maximum*r); e < least-margin {
			least, theta = e, maximum*r
		}
	}
	return theta
}
