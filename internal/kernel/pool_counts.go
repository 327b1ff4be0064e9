package kernel

import "github.com/adafire/adafire/internal/parallel"

// SumPoolCounts sets y to the sum of the spike counts of every window, exact
// while KH*KW*255 <= 2^24. Division by the window's size belongs into the
// weights behind; see AvgPool for the divisors where it varies.
func SumPoolCounts(p *parallel.Pool, s PoolShape, counts []uint8, y []float32) {
	s.check("SumPoolCounts", len(counts), len(y))
	p.For(s.N*s.OutH, func(i int) {
		n, oh := i/s.OutH, i%s.OutH
		plane := counts[n*s.in() : (n+1)*s.in()]
		for ow := range s.OutW {
			at := (i*s.OutW + ow) * s.C
			sumWindowCounts(y[at:at+s.C], plane, s.W, s.window(oh, ow))
		}
	})
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
	s.check("MaxPoolCounts", len(counts), len(out))
	same("MaxPoolCounts", len(cum), len(counts))
	same("MaxPoolCounts", len(top), len(out))
	p.Chunks(len(cum), 1<<15, func(lo, hi int) {
		AccumulateCounts(cum[lo:hi], counts[lo:hi])
	})
	p.For(s.N*s.OutH, func(i int) {
		n, oh := i/s.OutH, i%s.OutH
		plane := cum[n*s.in() : (n+1)*s.in()]
		for ow := range s.OutW {
			at := (i*s.OutW + ow) * s.C
			maxWindowCounts(out[at:at+s.C], top[at:at+s.C], plane, s.W, s.window(oh, ow))
		}
	})
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
