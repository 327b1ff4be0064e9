package kernel

import (
	"encoding/binary"

	"github.com/adafire/adafire/internal/parallel"
)

// SumPoolCounts sets y to the sum of the spike counts of every window, exact
// while KH*KW*255 <= 2^24. Division by the window's size belongs into the
// weights behind; see AvgPool for the divisors where it varies.
func SumPoolCounts(p *parallel.Pool, s PoolShape, counts []uint8, y []float32) {
	s.check("SumPoolCounts", len(counts), len(y))
	if p.Workers() == 1 {
		for i := range s.N * s.OutH {
			s.sumRow(i, counts, y)
		}
		return
	}
	s.sumParallel(p, counts, y)
}

func (s PoolShape) sumParallel(p *parallel.Pool, counts []uint8, y []float32) {
	p.For(s.N*s.OutH, func(i int) { s.sumRow(i, counts, y) })
}

// sumRow is row i of all samples' output rows.
func (s PoolShape) sumRow(i int, counts []uint8, y []float32) {
	n, oh := i/s.OutH, i%s.OutH
	plane := counts[n*s.in() : (n+1)*s.in()]
	for ow := range s.OutW {
		at := (i*s.OutW + ow) * s.C
		sumWindowCounts(y[at:at+s.C], plane, s.W, s.window(oh, ow))
	}
}

func sumWindowCounts(y []float32, plane []uint8, w int, win window) {
	c := len(y)
	for ch := sumWindowCountsVec(y, plane, w, win); ch < c; ch++ {
		var sum int32
		for h := range win.kh {
			for j := range win.kw {
				sum += int32(plane[((win.h+h)*w+win.w+j)*c+ch])
			}
		}
		y[ch] = float32(sum)
	}
}

// MaxPoolCounts is one timestep of max pooling on spike counts that is exact
// over time: cum, the cumulative counts [N,H,W,C] before this step, grows by
// counts, and out [N,OutH,OutW,C] is what the maximum of every window grew by.
// top, like out, holds the maxima before this step and is updated. Both start
// at 0. The sum of out over the steps is the maximum of the sums of counts, and
// no element of out exceeds the largest of counts: the input that holds the
// maximum has emitted at least as much in this step.
func MaxPoolCounts(p *parallel.Pool, s PoolShape, cum, top []int32, counts, out []uint8) {
	s.checkCounts("MaxPoolCounts", len(counts), len(out))
	same("MaxPoolCounts", len(cum), len(counts))
	same("MaxPoolCounts", len(top), len(out))
	if p.Workers() == 1 { // without closures, which would be allocated
		AccumulateCounts(cum, counts)
		for i := range s.N * s.OutH {
			s.maxRowCounts(i, cum, top, out)
		}
		return
	}
	s.maxCountsParallel(p, cum, top, counts, out)
}

// MaxPoolChanges is MaxPoolCounts for counts that do not fit a byte, as whole
// numbers below 2^24 in floats, which may be negative as long as no cumulative
// count is: then out may be negative, too.
func MaxPoolChanges(s PoolShape, cum, top []int32, counts, out []float32) {
	s.checkCounts("MaxPoolChanges", len(counts), len(out))
	same("MaxPoolChanges", len(cum), len(counts))
	same("MaxPoolChanges", len(top), len(out))
	for i, c := range counts {
		cum[i] += int32(c)
	}
	for i := range s.N * s.OutH {
		n, oh := i/s.OutH, i%s.OutH
		plane := cum[n*s.in() : (n+1)*s.in()]
		for ow := range s.OutW {
			at := (i*s.OutW + ow) * s.C
			maxWindowChanges(out[at:at+s.C], top[at:at+s.C], plane, s.W, s.window(oh, ow))
		}
	}
}

func maxWindowChanges(out []float32, top, plane []int32, w int, win window) {
	c := len(out)
	for ch := range out {
		out[ch] = -float32(top[ch])
	}
	clear(top)
	for h := range win.kh {
		for j := range win.kw {
			x := plane[((win.h+h)*w+win.w+j)*c:][:c]
			for ch, v := range x {
				top[ch] = max(top[ch], v)
			}
		}
	}
	for ch, m := range top {
		out[ch] += float32(m)
	}
}

func (s PoolShape) maxCountsParallel(p *parallel.Pool, cum, top []int32, counts, out []uint8) {
	p.Chunks(len(cum), 1<<15, func(lo, hi int) {
		AccumulateCounts(cum[lo:hi], counts[lo:hi])
	})
	p.For(s.N*s.OutH, func(i int) { s.maxRowCounts(i, cum, top, out) })
}

// maxRowCounts is row i of all samples' output rows.
func (s PoolShape) maxRowCounts(i int, cum, top []int32, out []uint8) {
	n, oh := i/s.OutH, i%s.OutH
	plane := cum[n*s.in() : (n+1)*s.in()]
	for ow := range s.OutW {
		at := (i*s.OutW + ow) * s.C
		maxWindowCounts(out[at:at+s.C], top[at:at+s.C], plane, s.W, s.window(oh, ow))
	}
}

// checkCounts is check without allocating: these pools run once per timestep.
func (s PoolShape) checkCounts(what string, in, out int) {
	if err := s.Validate(); err != nil {
		panic("kernel: " + what + ": " + err.Error())
	}
	same(what, in, s.N*s.in())
	same(what, out, s.N*s.out())
}

// SumPoolBytes is SumPoolCounts with sums that the caller knows to fit a byte:
// at most 255. Larger ones spoil their neighbours.
func SumPoolBytes(s PoolShape, counts, y []uint8) {
	s.checkCounts("SumPoolBytes", len(counts), len(y))
	for i := range s.N * s.OutH {
		n, oh := i/s.OutH, i%s.OutH
		plane := counts[n*s.in() : (n+1)*s.in()]
		for ow := range s.OutW {
			at := (i*s.OutW + ow) * s.C
			sumWindowBytes(y[at:at+s.C], plane, s.W, s.window(oh, ow))
		}
	}
}

// sumWindowBytes adds eight channels at a time, as the bytes of a word: no sum
// reaches into the next byte.
func sumWindowBytes(y, plane []uint8, w int, win window) {
	c := len(y)
	clear(y)
	for h := range win.kh {
		for j := range win.kw {
			x := plane[((win.h+h)*w+win.w+j)*c:][:c]
			ch := 0
			for ; ch+8 <= c; ch += 8 {
				sum := binary.LittleEndian.Uint64(y[ch:]) + binary.LittleEndian.Uint64(x[ch:])
				binary.LittleEndian.PutUint64(y[ch:], sum)
			}
			for ; ch < c; ch++ {
				y[ch] += x[ch]
			}
		}
	}
}

func maxWindowCounts(out []uint8, top, plane []int32, w int, win window) {
	c := len(out)
	for ch := maxWindowCountsVec(out, top, plane, w, win); ch < c; ch++ {
		var best int32
		for h := range win.kh {
			for j := range win.kw {
				best = max(best, plane[((win.h+h)*w+win.w+j)*c+ch])
			}
		}
		out[ch] = uint8(best - top[ch])
		top[ch] = best
	}
}
