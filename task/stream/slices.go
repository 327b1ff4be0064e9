package stream

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/represent"
)

// A slice is what came between two neighbouring edges of any windows. It holds
// the events as numbers of counters while they are few, then a counter for each
// pixel and polarity.
type slice struct {
	events int64
	list   []uint32 // 2*pixel + polarity
	counts []uint32 // nil or [height*width*2]; in use when dense
	dense  bool
}

// clear empties the slice and keeps its memory.
func (s *slice) clear() {
	if s.dense {
		clear(s.counts)
	}
	s.events, s.list, s.dense = 0, s.list[:0], false
}

// add counts an event. A list of half as many events as there are counters
// takes half the room of these and as long to read.
func (s *slice) add(at uint32, counters int) {
	if s.dense {
		s.counts[at]++
		return
	}
	if s.list = append(s.list, at); len(s.list) <= counters/2 {
		return
	}
	if s.counts == nil {
		s.counts = make([]uint32, counters)
	}
	for _, at := range s.list {
		s.counts[at]++
	}
	s.list, s.dense = s.list[:0], true
}

// A slicer cuts time into slices so that every bin of every window is a run of
// whole slices: the edges of all windows repeat with the step.
type slicer struct {
	cfg      Config
	residues []int64 // where slices begin within a step, ascending, the first 0
	edges    []int   // slice in which bin i of window 0 begins, and the last one's end
	ring     []slice // of the slices of the current window, number n at n % len(ring)
	counters int     // of a slice: two for each cell
	surface  bool
	cells    []int32 // cell of each pixel of the sensor, -1 for pixels that the array does not show
	shown    []int32 // pixels of the array, cell by cell
	from     []int32 // of cell i: shown[from[i]:from[i+1]]; nil when the array is interpolated from a grid of all pixels

	started bool
	first   int64 // time of the first event, µs
	window  int64 // number of the current window
	open    int64 // events in ring

	slot   *slice // of the event before
	lo, hi int64  // its times

	latest []int64 // surface: per counter, µs after first; below 0 for none
	newest int64   // largest time added, µs after first

	grid      []float32 // [cells, channels]
	transform *represent.Transform
	decay     float64

	late, between, outside int64
}

func newSlicer(cfg Config) (*slicer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	tr, err := represent.New(cfg.Represent, cfg.Height, cfg.Width)
	if err != nil {
		return nil, err
	}
	rc := tr.Config()
	s := &slicer{cfg: cfg, transform: tr, surface: rc.Kind == represent.Surface, decay: rc.DecayUs, newest: -1}
	if err := s.mapPixels(); err != nil {
		return nil, err
	}
	edges := cfg.edges()
	times := append(slices.Clone(edges), 0, cfg.WindowUs)
	for _, t := range times {
		s.residues = append(s.residues, t%cfg.StepUs)
	}
	slices.Sort(s.residues)
	s.residues = slices.Compact(s.residues)
	for _, t := range edges {
		s.edges = append(s.edges, int(s.number(t)))
	}
	// The window before its last slice; a step longer than the window has one
	// more, between windows, that stays empty.
	n := int(s.number(cfg.WindowUs))
	if room := int64(n) * int64(s.counters) * 6; !s.surface && room > maxSliceRoom {
		return nil, fmt.Errorf("windows of %d µs every %d µs on %dx%d pixels: %d slices of time may take %d MiB, want at most %d: choose a step that is a multiple of %d µs, or a longer one",
			cfg.WindowUs, cfg.StepUs, cfg.Width, cfg.Height, n, room>>20, maxSliceRoom>>20, max(cfg.WindowUs/int64(rc.Bins), 1))
	}
	s.ring = make([]slice, n)
	s.grid = make([]float32, s.counters*rc.Bins)
	if s.surface {
		s.latest = make([]int64, s.counters)
		for i := range s.latest {
			s.latest[i] = -1
		}
	}
	return s, nil
}

// number returns the number of the slice that begins at or before d.
func (s *slicer) number(d int64) int64 {
	j, found := slices.BinarySearch(s.residues, d%s.cfg.StepUs)
	if !found {
		j--
	}
	return d/s.cfg.StepUs*int64(len(s.residues)) + int64(j)
}

// start and end of the current window, µs after the first event.
func (s *slicer) start() int64 { return s.window * s.cfg.StepUs }
func (s *slicer) end() int64   { return s.start() + s.cfg.WindowUs }

// since returns the time of an event after the first one, and whether there is
// room for it.
func (s *slicer) since(t int64) (int64, error) {
	if !s.started {
		s.first, s.started = t, true
	}
	if t < s.first {
		return -1, nil
	}
	if d := uint64(t) - uint64(s.first); d < 1<<61 {
		return int64(d), nil
	}
	return 0, fmt.Errorf("event at %d µs, the first was at %d µs: too far apart for a stream", t, s.first)
}

// add counts an event, d µs after the first, which is before the end of the
// current window.
func (s *slicer) add(e *events.Event, d int64) {
	if d < s.lo || d >= s.hi || s.slot == nil {
		if d < s.start() {
			if d >= 0 && d%s.cfg.StepUs >= s.cfg.WindowUs {
				s.between++
			} else {
				s.late++
			}
			return
		}
		s.find(d)
	}
	x, y := uint(e.X), uint(e.Y)
	if x >= uint(s.cfg.Width) || y >= uint(s.cfg.Height) || e.P > 1 {
		s.outside++
		return
	}
	s.open++
	s.slot.events++
	s.newest = max(s.newest, d)
	cell := s.cells[y*uint(s.cfg.Width)+x]
	if cell < 0 {
		return
	}
	at := uint32(cell)<<1 | uint32(e.P)
	if s.surface {
		s.latest[at] = max(s.latest[at], d)
		return
	}
	s.slot.add(at, s.counters)
}

// find makes the slice of a time of the current window the one that add uses.
func (s *slicer) find(d int64) {
	n := s.number(d)
	m := int64(len(s.residues))
	q, j := n/m, int(n%m)
	s.lo, s.hi = q*s.cfg.StepUs+s.residues[j], (q+1)*s.cfg.StepUs
	if j+1 < len(s.residues) {
		s.hi = q*s.cfg.StepUs + s.residues[j+1]
	}
	s.slot = &s.ring[n%int64(len(s.ring))]
}

// events returns the events of the current window.
func (s *slicer) events() int64 { return s.open }

// advance moves on to the next window.
func (s *slicer) advance() {
	m := int64(len(s.residues))
	for n := s.window * m; n < (s.window+1)*m && n < s.window*m+int64(len(s.ring)); n++ {
		old := &s.ring[n%int64(len(s.ring))]
		s.open -= old.events
		old.clear()
	}
	s.window++
	s.slot = nil
}

// skip moves on over n windows when no slice holds an event.
func (s *slicer) skip(n int64) {
	s.window += n
	s.slot = nil
}

// fill writes the array of the current window to dst.
func (s *slicer) fill(dst []float32) error {
	if s.surface {
		s.fillSurface()
	} else {
		s.fillCounts()
	}
	if s.from == nil {
		return s.transform.Resize(dst, s.grid)
	}
	clear(dst)
	channels := 2 * (len(s.edges) - 1)
	for cell, lo := range s.from[:len(s.from)-1] {
		values := s.grid[cell*channels : (cell+1)*channels]
		for _, pixel := range s.shown[lo:s.from[cell+1]] {
			copy(dst[int(pixel)*channels:], values)
		}
	}
	return nil
}

// fillCounts sums up slices: counter 2*cell + polarity of bin goes to channel
// polarity*bins + bin of the cell.
func (s *slicer) fillCounts() {
	clear(s.grid)
	bins := len(s.edges) - 1
	base := s.window * int64(len(s.residues))
	for bin := range bins {
		for n := s.edges[bin]; n < s.edges[bin+1]; n++ {
			p := &s.ring[(base+int64(n))%int64(len(s.ring))]
			if !p.dense {
				for _, at := range p.list {
					s.grid[int(at)*bins+bin]++
				}
				continue
			}
			for at, count := range p.counts {
				if count > 0 {
					s.grid[at*bins+bin] += float32(count)
				}
			}
		}
	}
}

// fillSurface is represent.TimeSurface of the window. No event behind its end
// has been added yet.
func (s *slicer) fillSurface() {
	start := s.start()
	for at, d := range s.latest {
		if d < start {
			s.grid[at] = 0
			continue
		}
		s.grid[at] = float32(math.Exp(-float64(s.newest-d) / s.decay))
	}
}
