package eventdata

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/augment"
	"github.com/adafire/adafire/events/represent"
)

// A Set is one part of an event data set. It is a dataset.Dataset whose samples
// are representations of recordings, [InputSize, InputSize, channels]: counts of
// events, not values 0..1, and the authors' networks take them as they are, so
// that Info gives means of 0 and deviations of 1.
//
// Its methods may be called from several goroutines at once.
type Set struct {
	d     *data
	info  dataset.Info
	items []item

	pool sync.Pool // *scratch

	empty, outside, untimed atomic.Int64
}

// scratch is what one goroutine needs for a sample.
type scratch struct {
	transform *represent.Transform
	events    *augment.Events
	array     *augment.Array
	buf       []events.Event
	bytes     []byte
}

func newSet(d *data, split string, items []item) (*Set, error) {
	tr, err := represent.New(d.opts.Represent, d.height, d.width)
	if err != nil {
		return nil, err
	}
	shape := tr.Shape()
	s := &Set{d: d, items: items, info: dataset.Info{
		Name: d.kind.Name, Split: split, Shape: shape, Classes: d.coll.classes,
		Mean: make([]float32, shape[2]), Std: make([]float32, shape[2]), SHA256: hash(items),
	}}
	for i := range s.info.Std {
		s.info.Std[i] = 1
	}
	s.pool.New = func() any {
		tr, err := represent.New(d.opts.Represent, d.height, d.width)
		if err != nil {
			panic(err) // the same call has succeeded above
		}
		return &scratch{
			transform: tr,
			events:    augment.NewEvents(d.height, d.width, d.opts.Augment.eventOptions()),
			array:     augment.NewArray(shape[0], shape[1], shape[2]),
		}
	}
	return s, nil
}

// Info implements dataset.Dataset.
func (s *Set) Info() dataset.Info { return s.info }

// Len implements dataset.Dataset.
func (s *Set) Len() int { return len(s.items) }

// Label returns the label of sample i without reading it.
func (s *Set) Label(i int) int { return s.items[i].label }

// Sensor returns the size of the sensor in pixels.
func (s *Set) Sensor() (width, height int) { return s.d.width, s.d.height }

// Options returns the options with the defaults filled in.
func (s *Set) Options() Options { return s.d.opts }

// Rule says in words how the data set is divided into train and test; figures
// of different rules must not be compared.
func (s *Set) Rule() string { return s.d.coll.rule }

// Notes says what the samples were found to be since the set was opened: empty
// recordings, events outside the sensor. The training part also says what is
// unusual about the data set as a whole: other numbers than distributed, damage
// that was skipped.
func (s *Set) Notes() []string {
	var notes []string
	if s.info.Split == "train" {
		notes = append(notes, s.d.coll.notes...)
		if c := s.d.cache; c != nil && c.index.Skipped != "" {
			notes = append(notes, "while reading: "+c.index.Skipped)
		}
	}
	for _, n := range []struct {
		count int64
		text  string
	}{
		{s.empty.Load(), "samples without events were read"},
		{s.outside.Load(), "events outside the sensor were left out"},
		{s.untimed.Load(), "events belong to no time bin"},
	} {
		if n.count > 0 {
			notes = append(notes, fmt.Sprintf("%s: %d %s", s.info.Split, n.count, n.text))
		}
	}
	return notes
}

// Path returns the file of sample i, relative to the folder, and for a clip its
// time in microseconds, start <= t < end, else 0, 0.
func (s *Set) Path(i int) (path string, start, end int64) {
	it := &s.items[i]
	return it.path, it.start, it.end
}

// Events appends the events of sample i, not varied, to dst.
func (s *Set) Events(i int, dst []events.Event) ([]events.Event, error) {
	w := s.pool.Get().(*scratch)
	defer s.pool.Put(w)
	return s.events(i, dst, w)
}

func (s *Set) events(i int, dst []events.Event, w *scratch) ([]events.Event, error) {
	if i < 0 || i >= len(s.items) {
		return dst, fmt.Errorf("%s: sample %d: want 0 to %d", s.info.Name, i, len(s.items)-1)
	}
	if s.d.cache != nil {
		var err error
		dst, w.bytes, err = s.d.cache.read(s.items[i].number, dst, w.bytes)
		return dst, err
	}
	one := [1][]events.Event{dst}
	_, err := s.d.load([]*item{&s.items[i]}, one[:])
	return one[0], err
}

// Sample implements dataset.Dataset: the representation of recording i, not
// varied. A recording without events is all zeros and counted in Notes.
func (s *Set) Sample(i int, dst []float32) (label int, err error) {
	return s.sample(i, dst, nil)
}

// SampleVaried is Sample for training: Options.Augment is done to the events
// and to the array, drawn from rng.
func (s *Set) SampleVaried(i int, dst []float32, rng *rand.Rand) (label int, err error) {
	return s.sample(i, dst, rng)
}

func (s *Set) sample(i int, dst []float32, rng *rand.Rand) (int, error) {
	w := s.pool.Get().(*scratch)
	defer s.pool.Put(w)
	ev, err := s.events(i, w.buf[:0], w)
	w.buf = ev[:0]
	if err != nil {
		return 0, err
	}
	if len(ev) == 0 {
		s.empty.Add(1)
	}
	a := s.d.opts.Augment
	if rng != nil {
		if a.Shift > 0 {
			ev = shift(ev, rng.IntN(2*a.Shift+1)-a.Shift, rng.IntN(2*a.Shift+1)-a.Shift, s.d.width, s.d.height)
		}
		if a.Events {
			ev = w.events.Apply(rng, ev)
			if cap(ev) > cap(w.buf) {
				w.buf = ev[:0]
			}
		}
	}
	lost, err := w.transform.Fill(dst, ev)
	if err != nil {
		return 0, fmt.Errorf("%s, sample %d: %w", s.info.Name, i, err)
	}
	if lost.Outside > 0 {
		s.outside.Add(int64(lost.Outside))
	}
	if lost.Untimed > 0 {
		s.untimed.Add(int64(lost.Untimed))
	}
	if rng != nil && a.Array {
		w.array.Apply(rng, dst)
	}
	return s.items[i].label, nil
}

// shift moves a recording; events that leave the sensor are dropped.
func shift(ev []events.Event, dx, dy, width, height int) []events.Event {
	n := 0
	for _, e := range ev {
		x, y := int(e.X)+dx, int(e.Y)+dy
		if x < 0 || x >= width || y < 0 || y >= height {
			continue
		}
		e.X, e.Y = uint16(x), uint16(y)
		ev[n] = e
		n++
	}
	return ev[:n]
}
