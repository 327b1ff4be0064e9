package augment

import (
	"math"
	"math/rand/v2"

	"github.com/adafire/adafire/events"
)

// dropByTime removes a window of the share m of the recording's time.
func (a *Events) dropByTime(rng *rand.Rand, m float64, ev []events.Event) []events.Event {
	b := boundsOf(ev)
	window := m * b.span()
	start := float64(b.tmin) + (b.span()-window)*rng.Float64()
	return a.keep(ev, func(e *events.Event) bool {
		t := float64(e.T)
		return t < start || t > start+window
	})
}

// box draws a rectangle of about the share m of each side: its first and last
// column and row.
func (a *Events) box(rng *rand.Rand, m float64) (x0, y0, x1, y1 int) {
	s := 0.5 + rng.Float64()
	cx := 1 + float64(a.width-1)*rng.Float64()
	cy := 1 + float64(a.height-1)*rng.Float64()
	w, h := float64(a.width)*m*s, float64(a.height)*m/s
	x0, y0 = int(max(0, cx-w/2)), int(max(0, cy-h/2))
	x1, y1 = min(x0+int(w), a.width-1), min(y0+int(h), a.height-1)
	return min(x0, x1), min(y0, y1), x1, y1
}

// dropByArea removes a rectangle.
func (a *Events) dropByArea(rng *rand.Rand, m float64, ev []events.Event) []events.Event {
	x0, y0, x1, y1 := a.box(rng, m)
	return a.keep(ev, func(e *events.Event) bool {
		x, y := int(e.X), int(e.Y)
		return x < x0 || x > x1 || y < y0 || y > y1
	})
}

// randomDrop removes int(n*m) of n events and keeps the order of the rest.
func (a *Events) randomDrop(rng *rand.Rand, m float64, ev []events.Event) []events.Event {
	left, drop := len(ev), int(float64(len(ev))*m)
	return a.keep(ev, func(*events.Event) bool {
		// Each event goes with the probability that makes every choice of
		// drop among left equally likely.
		gone := rng.IntN(left) < drop
		left--
		if gone {
			drop--
		}
		return !gone
	})
}

// addNoise appends n events in a rectangle at times within the recording.
func addNoise(rng *rand.Rand, n, x0, y0, x1, y1 int, ev []events.Event) []events.Event {
	b := boundsOf(ev)
	span := max(b.tmax-b.tmin, 1)
	for range n {
		ev = append(ev, events.Event{
			T: b.tmin + rng.Int64N(span),
			X: uint16(x0 + rng.IntN(x1-x0+1)),
			Y: uint16(y0 + rng.IntN(y1-y0+1)),
			P: uint8(rng.Uint64() & 1),
		})
	}
	return ev
}

// overallNoise adds int(n*m) events anywhere.
func (a *Events) overallNoise(rng *rand.Rand, m float64, ev []events.Event) []events.Event {
	return addNoise(rng, int(float64(len(ev))*m), 0, 0, a.width-1, a.height-1, ev)
}

// regionNoise adds int(n*m*m) events in a rectangle.
func (a *Events) regionNoise(rng *rand.Rand, m float64, ev []events.Event) []events.Event {
	x0, y0, x1, y1 := a.box(rng, m)
	return addNoise(rng, int(float64(len(ev))*m*m), x0, y0, x1, y1, ev)
}

// incline shifts times in proportion to a coordinate; the earliest becomes 0.
func incline(ev []events.Event, delay func(e *events.Event) float64) []events.Event {
	first := int64(math.MaxInt64)
	for i := range ev {
		ev[i].T += int64(math.RoundToEven(delay(&ev[i])))
		first = min(first, ev[i].T)
	}
	for i := range ev {
		ev[i].T -= first
	}
	return ev
}

func (a *Events) timeInclineX(_ *rand.Rand, m float64, ev []events.Event) []events.Event {
	w, span := float64(a.width), boundsOf(ev).span()
	return incline(ev, func(e *events.Event) float64 { return (float64(e.X) - w/2) * m / w * span })
}

func (a *Events) timeInclineY(_ *rand.Rand, m float64, ev []events.Event) []events.Event {
	h, span := float64(a.height), boundsOf(ev).span()
	return incline(ev, func(e *events.Event) float64 { return (float64(e.Y) - h/2) * m / h * span })
}

// randomShift moves every event by its own whole number of pixels.
func (a *Events) randomShift(rng *rand.Rand, m float64, ev []events.Event) []events.Event {
	r := int(m)
	return a.move(ev, func(x, y float64) (float64, float64) {
		return x + float64(rng.IntN(2*r+1)-r), y + float64(rng.IntN(2*r+1)-r)
	})
}

func (a *Events) flipX(_ *rand.Rand, _ float64, ev []events.Event) []events.Event {
	return a.move(ev, func(x, y float64) (float64, float64) { return float64(a.width-1) - x, y })
}

func (a *Events) flipY(_ *rand.Rand, _ float64, ev []events.Event) []events.Event {
	return a.move(ev, func(x, y float64) (float64, float64) { return x, float64(a.height-1) - y })
}

// flipTime turns time round; polarities stay.
func (a *Events) flipTime(_ *rand.Rand, _ float64, ev []events.Event) []events.Event {
	b := boundsOf(ev)
	for i := range ev {
		ev[i].T = b.tmax - ev[i].T + b.tmin
	}
	return ev
}

// rotate turns by m radians about the centre of the bounding box.
func (a *Events) rotate(_ *rand.Rand, m float64, ev []events.Event) []events.Event {
	b := boundsOf(ev)
	sin, cos := math.Sincos(m)
	cx, cy := b.xmid(), b.ymid()
	return a.move(ev, func(x, y float64) (float64, float64) {
		x, y = x-cx, y-cy
		return float64(x*cos) + float64(y*sin) + cx, float64(y*cos) - float64(x*sin) + cy
	})
}

// slide returns the shift of the share m of the room between the middle and the
// border that m points to.
func slide(m, mid float64, size int) float64 {
	if m > 0 {
		return math.Trunc(m * (float64(size) - mid))
	}
	return math.Trunc(m * mid)
}

func (a *Events) linearX(_ *rand.Rand, m float64, ev []events.Event) []events.Event {
	d := slide(m, boundsOf(ev).xmid(), a.width)
	return a.move(ev, func(x, y float64) (float64, float64) { return x + d, y })
}

func (a *Events) linearY(_ *rand.Rand, m float64, ev []events.Event) []events.Event {
	d := slide(m, boundsOf(ev).ymid(), a.height)
	return a.move(ev, func(x, y float64) (float64, float64) { return x, y + d })
}

// shearX moves rows sideways. A bounding box without height has nothing to
// shear (the authors' code divides by zero there).
func (a *Events) shearX(_ *rand.Rand, m float64, ev []events.Event) []events.Event {
	b := boundsOf(ev)
	if b.ymax == b.ymin {
		return ev
	}
	return a.move(ev, func(x, y float64) (float64, float64) {
		return x + float64(m*(y-b.ymid())/(b.ymax-b.ymin)*(b.xmax-b.xmin)), y
	})
}

func (a *Events) shearY(_ *rand.Rand, m float64, ev []events.Event) []events.Event {
	b := boundsOf(ev)
	if b.xmax == b.xmin {
		return ev
	}
	return a.move(ev, func(x, y float64) (float64, float64) {
		return x, y + float64(m*(x-b.xmid())/(b.xmax-b.xmin)*(b.ymax-b.ymin))
	})
}

// scale enlarges by m about the centre of the bounding box.
func (a *Events) scale(_ *rand.Rand, m float64, ev []events.Event) []events.Event {
	b := boundsOf(ev)
	return a.move(ev, func(x, y float64) (float64, float64) {
		return float64((x-b.xmid())*m) + b.xmid(), float64((y-b.ymid())*m) + b.ymid()
	})
}
