package augment

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/adafire/adafire/events"
)

// EventsOptions say how EventAugment chooses. The zero value is AdaFire's
// default.
type EventsOptions struct {
	// Prob is the probability that a recording is varied at all; 0 means 1/2,
	// as in the authors' code.
	Prob float64 `json:"prob,omitempty"`

	// Reference makes scale twice as likely as the others (2/19 against
	// 1/19), as a slip in the authors' code does (algorithms R-46). The
	// default is 1/18 for each.
	Reference bool `json:"reference,omitempty"`
}

// An operation is one row of the table of EventAugment.
type operation struct {
	name   string
	lo, hi float64 // magnitude, uniform; both 0 when there is none
	signed bool    // the magnitude gets a random sign
	apply  func(a *Events, rng *rand.Rand, m float64, ev []events.Event) []events.Event
}

// operations are the 18 operations in the order of the authors' list.
//
// Source: algorithms 9.3; Gu et al., EventDrop, IJCAI 2021, for drop_*.
var operations = []operation{
	{"identity", 0, 0, false, func(_ *Events, _ *rand.Rand, _ float64, ev []events.Event) []events.Event { return ev }},
	{"drop_by_time", 0.1, 0.9, false, (*Events).dropByTime},
	{"drop_by_area", 0.1, 0.5, false, (*Events).dropByArea},
	{"random_drop", 0.1, 0.5, false, (*Events).randomDrop},
	{"overall_noise", 0.1, 0.9, false, (*Events).overallNoise},
	{"region_noise", 0.1, 0.5, false, (*Events).regionNoise},
	{"time_incline_x", 0.05, 0.5, false, (*Events).timeInclineX},
	{"time_incline_y", 0.05, 0.5, false, (*Events).timeInclineY},
	{"random_shift_xy", 1, 10, false, (*Events).randomShift},
	{"flip_along_x", 0, 0, false, (*Events).flipX},
	{"flip_along_y", 0, 0, false, (*Events).flipY},
	{"flip_along_time", 0, 0, false, (*Events).flipTime},
	{"rotate", 0, math.Pi / 2, true, (*Events).rotate},
	{"linear_x", 0, 0.6, true, (*Events).linearX},
	{"linear_y", 0, 0.6, true, (*Events).linearY},
	{"shear_x", 0, 1, true, (*Events).shearX},
	{"shear_y", 0, 1, true, (*Events).shearY},
	{"scale", 0.2, 2, false, (*Events).scale},
}

// Operations returns the names of the operations of EventAugment.
func Operations() []string {
	names := make([]string, len(operations))
	for i, op := range operations {
		names[i] = op.name
	}
	return names
}

// Events is EventAugment for one sensor. It holds scratch memory: use one for
// each goroutine.
type Events struct {
	height, width int
	opts          EventsOptions
	scratch       []events.Event
}

// NewEvents returns EventAugment for a sensor of height x width pixels, both
// above 0. Events given to it must lie on the sensor; those that do not are
// left as they are or dropped.
func NewEvents(height, width int, o EventsOptions) *Events {
	if o.Prob == 0 {
		o.Prob = 0.5
	}
	return &Events{height: height, width: width, opts: o}
}

// Apply varies a recording by at most one operation, which it draws, and
// returns it. The events are changed in place and may grow in number; the
// result is no longer in order of time where noise was added or time was
// inclined or turned round. A recording is never left without events.
func (a *Events) Apply(rng *rand.Rand, ev []events.Event) []events.Event {
	if rng.Float64() >= a.opts.Prob {
		return ev
	}
	op := &operations[a.choose(rng)]
	return a.run(op, rng, op.draw(rng), ev)
}

// choose draws the number of an operation.
func (a *Events) choose(rng *rand.Rand) int {
	if a.opts.Reference {
		return (rng.IntN(len(operations)+1) + len(operations) - 1) % len(operations) // -1 is the last
	}
	return rng.IntN(len(operations))
}

// draw returns the magnitude.
func (op *operation) draw(rng *rand.Rand) float64 {
	m := op.lo + (op.hi-op.lo)*rng.Float64()
	if op.signed && rng.Uint64()&1 == 1 {
		m = -m
	}
	return m
}

// ApplyOperation runs the named operation with the given magnitude, which is in
// the range of the table in algorithms 9.3, negative for the other direction.
// See Apply for what happens to the events.
func (a *Events) ApplyOperation(name string, magnitude float64, rng *rand.Rand, ev []events.Event) ([]events.Event, error) {
	for i := range operations {
		if op := &operations[i]; op.name == name {
			return a.run(op, rng, magnitude, ev), nil
		}
	}
	return ev, fmt.Errorf("unknown operation %q: want %s", name, strings.Join(Operations(), ", "))
}

func (a *Events) run(op *operation, rng *rand.Rand, m float64, ev []events.Event) []events.Event {
	if len(ev) == 0 {
		return ev
	}
	return op.apply(a, rng, m, ev)
}

// keep writes to ev those events that fn returns true for, as it changes them.
// When it would keep none, ev stays as it is: a recording without events
// teaches nothing (the authors' code does so for some operations only).
func (a *Events) keep(ev []events.Event, fn func(e *events.Event) bool) []events.Event {
	a.scratch = a.scratch[:0]
	for _, e := range ev {
		if fn(&e) {
			a.scratch = append(a.scratch, e)
		}
	}
	if len(a.scratch) == 0 {
		return ev
	}
	return ev[:copy(ev, a.scratch)]
}

// move is keep for a change of coordinates; positions are rounded half to even,
// and events that leave the sensor are dropped.
func (a *Events) move(ev []events.Event, to func(x, y float64) (float64, float64)) []events.Event {
	w, h := float64(a.width), float64(a.height)
	return a.keep(ev, func(e *events.Event) bool {
		x, y := to(float64(e.X), float64(e.Y))
		x, y = math.RoundToEven(x), math.RoundToEven(y)
		if !(x >= 0 && x < w && y >= 0 && y < h) {
			return false
		}
		e.X, e.Y = uint16(x), uint16(y)
		return true
	})
}

// bounds is the range of the times and the bounding box of a recording.
type bounds struct {
	tmin, tmax             int64
	xmin, xmax, ymin, ymax float64
}

func boundsOf(ev []events.Event) bounds {
	b := bounds{tmin: ev[0].T, tmax: ev[0].T}
	x0, x1, y0, y1 := ev[0].X, ev[0].X, ev[0].Y, ev[0].Y
	for _, e := range ev {
		b.tmin, b.tmax = min(b.tmin, e.T), max(b.tmax, e.T)
		x0, x1, y0, y1 = min(x0, e.X), max(x1, e.X), min(y0, e.Y), max(y1, e.Y)
	}
	b.xmin, b.xmax, b.ymin, b.ymax = float64(x0), float64(x1), float64(y0), float64(y1)
	return b
}

func (b bounds) span() float64 { return float64(b.tmax - b.tmin) }
func (b bounds) xmid() float64 { return (b.xmin + b.xmax) / 2 }
func (b bounds) ymid() float64 { return (b.ymin + b.ymax) / 2 }
