package represent

import (
	"fmt"
	"math"

	"github.com/adafire/adafire/events"
)

// A TimeRule says how a voxel grid divides time into bins.
type TimeRule int

const (
	// Span divides the time from the first to the last event: with
	// tau = (t-tmin)/(tmax-tmin) in float64 the bin is
	// min(bins-1, floor(bins*tau)); all times equal is bin 0.
	Span TimeRule = iota

	// Max divides the time from zero to the last event: with tau = t/tmax in
	// float32, bin i takes i/bins < tau <= (i+1)/bins. Events at or before
	// time 0 belong to no bin. This is what the authors' code does; recordings
	// that do not start near 0 end up in the last bins.
	Max
)

// maxBins bounds the number of bins and frames.
const maxBins = 1024

// String returns "span" or "max".
func (r TimeRule) String() string {
	switch r {
	case Span:
		return "span"
	case Max:
		return "max"
	}
	return fmt.Sprintf("TimeRule(%d)", int(r))
}

// VoxelGrid counts events into dst, which it clears first: [height, width,
// 2*bins], channel p*bins + bin. Counts are not normalised; beyond 2^24 in one
// voxel a float32 counts no further. The order of the events does not matter.
//
// dst must have height*width*2*bins values; bins is 1 to 1024.
//
// Source: the authors' QuantizationLayerVoxGrid (rule Max); golden cases voxel.
func VoxelGrid(dst []float32, height, width, bins int, rule TimeRule, ev []events.Event) (Lost, error) {
	if err := checkSize(dst, height, width, bins); err != nil {
		return Lost{}, err
	}
	clear(dst)
	if len(ev) == 0 {
		return Lost{}, nil
	}
	tmin, tmax := timeRange(ev)
	var buf [33]int64
	var edges []int64
	switch rule {
	case Span:
		edges = spanEdges(buf[:0], tmin, tmax, bins)
	case Max:
		if tmax <= 0 {
			return Lost{Untimed: len(ev)}, nil
		}
		edges = maxEdges(buf[:0], tmax, bins)
	default:
		return Lost{}, fmt.Errorf("voxel grid: unknown time rule %d", int(rule))
	}
	return scatter(dst, height, width, bins, edges, ev), nil
}

// checkSize reports a destination that does not fit.
func checkSize(dst []float32, height, width, bins int) error {
	if height < 1 || width < 1 || height > 1<<16 || width > 1<<16 {
		return fmt.Errorf("sensor of %dx%d: want 1 to 65536 pixels a side", width, height)
	}
	if bins < 1 || bins > maxBins {
		return fmt.Errorf("%d bins: want 1 to %d", bins, maxBins)
	}
	if want := height * width * 2 * bins; len(dst) != want {
		return fmt.Errorf("destination of %d values, want %d = %d x %d x 2 x %d", len(dst), want, height, width, bins)
	}
	return nil
}

func timeRange(ev []events.Event) (tmin, tmax int64) {
	tmin, tmax = ev[0].T, ev[0].T
	for i := range ev {
		t := ev[i].T
		tmin, tmax = min(tmin, t), max(tmax, t)
	}
	return tmin, tmax
}

// Both rules are monotone in t, so that a bin is a range of whole microseconds.
// Its ends are found once by bisection with the rule's own arithmetic, and
// events need integer comparisons only: same bits, a tenth of the time.

// spanEdges appends the first time of every bin.
func spanEdges(edges []int64, tmin, tmax int64, bins int) []int64 {
	span := uint64(tmax) - uint64(tmin) // also right where the difference overflows an int64
	edges = append(edges, tmin)
	for i := 1; i < bins; i++ {
		d, ok := bisect(span, func(d uint64) bool {
			return span > 0 && math.Floor(float64(bins)*(float64(d)/float64(span))) >= float64(i)
		})
		edges = append(edges, after(uint64(tmin)+d, ok))
	}
	return append(edges, math.MaxInt64)
}

// maxEdges appends the first time of every bin; tmax is above 0.
func maxEdges(edges []int64, tmax int64, bins int) []int64 {
	for i := range bins {
		open := float32(float64(i) / float64(bins))
		t, ok := bisect(uint64(tmax), func(t uint64) bool { return float32(int64(t))/float32(tmax) > open })
		edges = append(edges, after(t, ok))
	}
	return append(edges, math.MaxInt64)
}

// after returns the time of an edge, or the end of time where no time reaches it.
func after(t uint64, ok bool) int64 {
	if !ok {
		return math.MaxInt64
	}
	return int64(t)
}

// bisect returns the smallest v in 0..last with reached(v), and whether there
// is one. reached must be monotone.
func bisect(last uint64, reached func(uint64) bool) (uint64, bool) {
	if !reached(last) {
		return 0, false
	}
	lo, hi := uint64(0), last
	for lo < hi {
		mid := lo + (hi-lo)/2
		if reached(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, true
}

// scatter adds 1 per event. Bin i has the times edges[i] <= t < edges[i+1]; what
// is before edges[0] is untimed.
func scatter(dst []float32, height, width, bins int, edges []int64, ev []events.Event) Lost {
	var lost Lost
	h, w, c := uint(height), uint(width), uint(2*bins)
	bin, lo, hi := 0, edges[0], edges[1]
	for i := range ev {
		e := &ev[i]
		x, y := uint(e.X), uint(e.Y)
		if x >= w || y >= h || e.P > 1 {
			lost.Outside++
			continue
		}
		if e.T < lo || e.T >= hi {
			if bin = binOf(edges, e.T); bin < 0 {
				bin, lo, hi = 0, edges[0], edges[1]
				lost.Untimed++
				continue
			}
			lo, hi = edges[bin], edges[bin+1]
		}
		dst[(y*w+x)*c+uint(e.P)*uint(bins)+uint(bin)]++
	}
	return lost
}

// binOf returns the last bin that begins at or before t, -1 if none does.
func binOf(edges []int64, t int64) int {
	for i := len(edges) - 2; i >= 0; i-- {
		if t >= edges[i] && (edges[i] < math.MaxInt64 || i == 0) {
			return i
		}
	}
	return -1
}
