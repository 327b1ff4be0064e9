package kernel

import (
	"sync"
	"time"
)

// crossoverKey is what the time of a convolution depends on.
type crossoverKey struct {
	s          ConvShape
	wide       bool
	events     int // bits of the weights
	isa        ISA
	limit, cin int
}

var crossovers struct {
	sync.Mutex
	known map[crossoverKey]float64
}

// IntCrossover returns the share of non-zero counts, from 0 to 1, below which
// ConvIntEventRows with e is faster than ConvIntRows with f on this machine, for
// one frame of shape s; 0 if e is nil. It is measured when first asked for, in
// some milliseconds, and remembered for all convolutions of the same shape. The
// figure varies from run to run; the results of a convolution do not depend on
// which of the two computes it.
func IntCrossover(s ConvShape, f *IntFilter, e *IntEventFilter) float64 {
	if e == nil {
		return 0
	}
	s.N = 1
	if s.isRow() {
		s.W = blockPixels / 2 // what one pixel takes tells little
	}
	f.matches(s, "IntCrossover")
	sameFilter(e.shape, s, "IntCrossover", false)
	key := crossoverKey{s: s, wide: f.wide, events: e.bits, isa: Active(), limit: min(e.limit, 1<<10), cin: e.cin}
	crossovers.Lock()
	defer crossovers.Unlock()
	if share, ok := crossovers.known[key]; ok {
		return share
	}
	share := measureCrossover(s, f, e)
	if crossovers.known == nil {
		crossovers.known = map[crossoverKey]float64{}
	}
	crossovers.known[key] = share
	return share
}

// measureCrossover takes the time of events as linear in their number.
func measureCrossover(s ConvShape, f *IntFilter, e *IntEventFilter) float64 {
	rows := min(s.OutH(), max(1, 2*blockPixels/s.OutW())) // enough of a large image
	y := make([]int32, rows*s.OutW()*s.Cout)
	x := make([]uint8, s.InLen())
	var sc IntScratch
	fastest := func(fn func()) float64 {
		fn()
		best := time.Hour
		for range 5 {
			t := time.Now()
			fn()
			best = min(best, time.Since(t))
		}
		return best.Seconds()
	}
	dense := fastest(func() { ConvIntRows(s, x, f, 0, rows, y, false, &sc) })
	const few, many = 0.1, 0.5
	var t [2]float64
	for i, share := range [...]float64{few, many} {
		state := uint32(1)
		for k := range x {
			state = state*1664525 + 1013904223
			x[k] = 0
			if float64(state>>8) < share*(1<<24) {
				x[k] = 1
			}
		}
		t[i] = fastest(func() { ConvIntEventRows(s, x, e, 0, rows, y, false, &sc) })
	}
	slope := (t[1] - t[0]) / (many - few)
	if slope <= 0 { // disturbed: compare at the larger share
		if t[1] < dense {
			return many
		}
		return 0
	}
	return min(1, max(0, few+(dense-t[0])/slope))
}
