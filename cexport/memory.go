package cexport

import (
	"slices"

	"github.com/adafire/adafire/graph"
)

// An arena is static memory of one type that wires share.
type arena uint8

const (
	nowhere arena = iota
	floats        // float
	bytes         // uint8_t
	words         // uint16_t
	outside       // the caller's input
)

// A slot is where a wire is held.
type slot struct {
	in arena
	at int // index of its first element
}

// A span is a stretch of time in which an element range is in use. Times are
// positions in the order of work: what is computed once at 0..n-1 (n nodes), the
// nodes of a timestep at n..2n-1, the readout at 2n..3n-1.
type span struct {
	slot
	size, begin, end int
}

// A layout gives every wire a place.
type layout struct {
	p     *plan
	spans []span
	total map[arena]int
	means map[*wire]slot // where the mean of a wire that varies in time is held
}

// alias says whether the node only passes on what its input holds.
func (p *plan) alias(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Flatten, *graph.Identity, *graph.Dropout:
		w, from := p.wires[p.index[n]], p.from(n, 0)
		return w.kind == from.kind && (!w.readout || from.readout) && (!w.mean || w.kind == analog)
	}
	return false
}

// origin is the wire whose memory w uses.
func (p *plan) origin(w *wire) *wire {
	for p.alias(w.node) {
		w = p.from(w.node, 0)
	}
	return w
}

// time is when the node of w is computed; nodes that run with neurons, when those
// do.
func (p *plan) time(w *wire) int {
	n := len(p.wires)
	i := p.index[w.node]
	switch {
	case w.fused:
		for to := w.node; ; to = p.uses[to][0] {
			if t := p.wires[p.index[to]]; t.layer >= 0 {
				return n + p.index[to]
			}
		}
	case w.readout:
		return 2*n + i
	case w.kind == analog:
		return i
	}
	return n + i
}

// lastUse is when the memory of w is read for the last time.
func (p *plan) lastUse(w *wire) int {
	n := len(p.wires)
	last := p.time(w)
	if w.mean && w.kind == analog {
		last = 3 * n
	}
	for _, r := range p.uses[w.node] {
		to := p.wires[p.index[r]]
		t := p.time(to)
		switch {
		case to.readout && !w.readout:
			continue // reads the mean
		case p.alias(r):
			t = max(t, p.lastUse(to))
		case w.kind == analog && t >= n && t < 2*n:
			t = 2*n - 1 // in every timestep
		}
		last = max(last, t)
	}
	return last
}

// newLayout places all wires so that none overwrites another that is still read.
func newLayout(p *plan) *layout {
	l := &layout{p: p, total: make(map[arena]int), means: make(map[*wire]slot)}
	n := len(p.wires)
	for i, w := range p.wires {
		switch {
		case i == p.input:
			w.slot = slot{in: outside}
		case w.fused || p.alias(w.node):
		case w.readout && i == p.output:
			w.slot = l.place(floats, w.size, p.time(w), 3*n)
		default:
			in := floats
			if w.kind == counts && !w.readout {
				if in = bytes; w.wide {
					in = words
				}
			}
			w.slot = l.place(in, w.size, p.time(w), p.lastUse(w))
		}
		if w.mean && w.kind != analog {
			l.means[w] = l.place(floats, w.size, 2*n, 3*n)
		}
	}
	for _, w := range p.wires {
		if !w.fused {
			w.slot = p.origin(w).slot
		}
	}
	return l
}

// place finds the lowest free range for the given time.
func (l *layout) place(in arena, size, begin, end int) slot {
	var busy []span
	for _, s := range l.spans {
		if s.in == in && s.begin <= end && begin <= s.end {
			busy = append(busy, s)
		}
	}
	slices.SortFunc(busy, func(a, b span) int { return a.at - b.at })
	at := 0
	for _, s := range busy {
		if s.at-at >= size {
			break
		}
		at = max(at, s.at+s.size)
	}
	s := span{slot{in, at}, size, begin, end}
	l.spans = append(l.spans, s)
	l.total[in] = max(l.total[in], at+size)
	return s.slot
}
