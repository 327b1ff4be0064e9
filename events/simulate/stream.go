package simulate

import (
	"io"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/random"
)

// A Stream is a recording in the making: an events.Reader that simulates as it
// is read, in memory that does not depend on the length.
type Stream struct {
	cam  *Camera
	view *view
	walk walker
	rng  *rand.Rand // of the noise

	// Of every pixel, row by row.
	seen    []float32 // response at the walker's place, without leak
	next    []float32 // response at the end of the step
	memory  []float32 // response at the last event, with leak; NaN while the pixel is blind
	release []float64 // time until which it is blind, µs

	shotUs, hotUs    float64 // time of the next noise event
	leakPerUs        float64
	leakUs           float64 // time from which leak is counted
	darkest, rangeOf float32 // response to black, and from there to white

	keys  []uint64 // events of a step: time, pixel, polarity
	base  int64    // time of a key of 0
	ready []events.Event
	given int // events of ready that have been read
	done  bool
	stats events.Stats
}

// pixelBits are the lower bits of a key: pixel and polarity.
const pixelBits = 25

// maxStepUs bounds a step of an image at rest.
const maxStepUs = 10_000

// Record starts a recording of a scene that moves along a path. number tells
// recordings of one camera apart: each has its own noise.
func (c *Camera) Record(s Scene, path Path, number uint64) (*Stream, error) {
	r := &Stream{}
	if err := r.start(c, &s, path, number); err != nil {
		return nil, err
	}
	return r, nil
}

// Restart begins another recording with the same camera in the same memory.
func (r *Stream) Restart(s Scene, path Path, number uint64) error {
	return r.start(r.cam, &s, path, number)
}

func (r *Stream) start(c *Camera, s *Scene, path Path, number uint64) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if err := path.Validate(); err != nil {
		return err
	}
	cfg := &c.cfg
	n := cfg.Width * cfg.Height
	if r.seen == nil {
		r.seen, r.next = make([]float32, n), make([]float32, n)
		r.memory, r.release = make([]float32, n), make([]float64, n)
	}
	r.cam, r.view = c, newView(c, s, path)
	r.rng = random.New(cfg.Seed, "camera noise", number)
	r.walk = walker{
		path: path, at: path[0], next: 1, pixels: cfg.StepPixels, maxUs: maxStepUs,
		radius: math.Hypot(float64(cfg.Width), float64(cfg.Height)) / 2,
	}
	if cfg.BandwidthHz > 0 {
		// Short enough for the exponential to be nearly straight.
		r.walk.maxUs = min(r.walk.maxUs, max(0.5e6/(2*math.Pi*cfg.BandwidthHz), 10))
	}
	r.leakUs = path[0].TUs
	r.leakPerUs = cfg.LeakHz * cfg.ThresholdOn / 1e6
	r.darkest = c.response[0].value
	r.rangeOf = c.response[tableSteps].value - r.darkest
	r.shotUs = r.after(path[0].TUs, cfg.ShotHz*float64(n))
	r.hotUs = r.after(path[0].TUs, cfg.HotHz*float64(len(c.hot)))
	r.ready, r.given, r.done, r.stats = r.ready[:0], 0, false, events.Stats{}

	r.view.look(r.seen, path[0])
	copy(r.memory, r.seen)
	clear(r.release)
	if cfg.LeakHz > 0 {
		// Pixels have been leaking before: without this all would leak at
		// the same time.
		for i := range r.memory {
			r.memory[i] -= c.on[i] * r.rng.Float32()
		}
	}
	return nil
}

// after draws the next time of a Poisson process of the given rate per second.
func (r *Stream) after(t, rate float64) float64 {
	if rate <= 0 {
		return math.Inf(1)
	}
	return t + r.rng.ExpFloat64()*1e6/rate
}

// Header implements events.Reader.
func (r *Stream) Header() events.Header {
	return events.Header{Width: r.cam.cfg.Width, Height: r.cam.cfg.Height}
}

// Stats implements events.Reader; nothing is ever skipped.
func (r *Stream) Stats() *events.Stats { return &r.stats }

// Read implements events.Reader. Times do not decrease.
func (r *Stream) Read(dst []events.Event) (int, error) {
	n := 0
	for n < len(dst) {
		if r.given == len(r.ready) {
			if r.done {
				break
			}
			r.ready, r.given = r.ready[:0], 0
			r.advance()
			continue
		}
		k := copy(dst[n:], r.ready[r.given:])
		n, r.given = n+k, r.given+k
	}
	if n == 0 && len(dst) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// AppendAll simulates to the end and appends all events to dst.
func (r *Stream) AppendAll(dst []events.Event) []events.Event {
	dst = append(dst, r.ready[r.given:]...)
	r.ready, r.given = r.ready[:0], 0
	for !r.done {
		r.advance()
		dst = append(dst, r.ready...)
		r.ready = r.ready[:0]
	}
	return dst
}

// advance does one step and leaves its events, sorted, in ready.
func (r *Stream) advance() {
	if r.walk.done() {
		r.done = true
		return
	}
	from := r.walk.at.TUs
	to := r.walk.step().TUs
	r.view.look(r.next, r.walk.at)
	if hz := r.cam.cfg.BandwidthHz; hz > 0 {
		share := float32(-math.Expm1(-2 * math.Pi * hz * (to - from) / 1e6))
		for i, v := range r.next {
			r.next[i] = r.seen[i] + float32(share*(v-r.seen[i]))
		}
	}
	// Leak raises what a pixel sees; counted from long ago it would leave a
	// float32 no room for the rest.
	if leak := float32(r.leakPerUs * (from - r.leakUs)); leak > 1 {
		for i := range r.memory {
			r.memory[i] -= leak
		}
		r.leakUs = from
	}
	r.keys = r.keys[:0]
	r.base = r.quantise(from)
	r.noise(from, to)
	r.signal(from, to)
	slices.Sort(r.keys)
	w := r.cam.cfg.Width
	for _, k := range r.keys {
		pixel := int(k>>1) & (1<<(pixelBits-1) - 1)
		r.ready = append(r.ready, events.Event{
			T: r.base + int64(k>>pixelBits), X: uint16(pixel % w), Y: uint16(pixel / w), P: uint8(k & 1),
		})
	}
	r.seen, r.next = r.next, r.seen
}

func (r *Stream) quantise(us float64) int64 {
	step := r.cam.cfg.ResolutionUs
	return int64(math.Floor(us/float64(step))) * step
}

func (r *Stream) emit(us float64, pixel int, polarity uint64) {
	r.keys = append(r.keys, uint64(r.quantise(us)-r.base)<<pixelBits|uint64(pixel)<<1|polarity)
}

var blind = float32(math.NaN())

// noise draws the events of a step that no light causes. Such an event resets
// the pixel like any other; what it had of the signal in this step before is
// lost with it.
func (r *Stream) noise(from, to float64) {
	cfg := &r.cam.cfg
	fire := func(us float64, pixel int, polarity uint64) {
		if us < r.release[pixel] {
			return
		}
		r.emit(max(us, from), pixel, polarity)
		r.release[pixel] = us + cfg.RefractoryUs
		r.memory[pixel] = blind
	}
	for ; r.hotUs < to; r.hotUs = r.after(r.hotUs, cfg.HotHz*float64(len(r.cam.hot))) {
		fire(r.hotUs, r.cam.hot[r.rng.IntN(len(r.cam.hot))], 1)
	}
	for ; r.shotUs < to; r.shotUs = r.after(r.shotUs, cfg.ShotHz*float64(len(r.seen))) {
		pixel := r.rng.IntN(len(r.seen))
		polarity, level := r.rng.Uint64()&1, r.rng.Float32()
		bright := (r.seen[pixel] - r.darkest) / r.rangeOf
		if level < 1-float32(0.75*bright) {
			fire(r.shotUs, pixel, polarity)
		}
	}
}

// signal finds the events of a step that changes of light, and leak, cause.
func (r *Stream) signal(from, to float64) {
	leak0, leak1 := float32(r.leakPerUs*(from-r.leakUs)), float32(r.leakPerUs*(to-r.leakUs))
	on, off := r.cam.on, r.cam.off
	seen, next, memory := r.seen, r.next, r.memory
	n := len(seen)
	on, off, next, memory = on[:n], off[:n], next[:n], memory[:n]
	for i, v := range seen {
		end := next[i] + leak1
		// Straight lines: when neither end is beyond a threshold, nothing
		// between them is. A blind pixel's NaN fails both comparisons.
		if d := end - memory[i]; d < on[i] && d > -off[i] {
			continue
		}
		r.pixel(i, from, to, v+leak0, end)
	}
}

// pixel finds the events of one pixel while its response goes straight from
// begin to end.
func (r *Stream) pixel(i int, from, to float64, begin, end float32) {
	slope := float64(end-begin) / (to - from)
	m, start := r.memory[i], from
	if m != m { // blind
		if r.release[i] >= to {
			return
		}
		start = max(r.release[i], from)
		m = begin + float32(slope*(start-from))
	}
	refractory := r.cam.cfg.RefractoryUs
	for {
		var target float32
		var polarity uint64
		switch d := end - m; {
		case d >= r.cam.on[i]:
			target, polarity = m+r.cam.on[i], 1
		case d <= -r.cam.off[i]:
			target = m - r.cam.off[i]
		default:
			r.memory[i] = m
			return
		}
		us := start
		if slope != 0 {
			us = min(max(from+float64(target-begin)/slope, start), to)
		}
		r.emit(us, i, polarity)
		if refractory == 0 {
			m, start = target, us
			continue
		}
		r.release[i] = us + refractory
		if r.release[i] >= to {
			r.memory[i] = blind
			return
		}
		start = r.release[i]
		m = begin + float32(slope*(start-from))
	}
}
