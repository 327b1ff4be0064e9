package codec

import (
	"errors"
	"io"

	"github.com/adafire/adafire/events"
)

// state is what all readers have in common. A reader embeds it, counts and
// complains through it, and keeps its final error in err.
type state struct {
	name   string
	mode   Mode
	header events.Header
	stats  events.Stats
	err    error // what Read returns from now on

	prev    int64 // time of the last event given out
	started bool  // prev holds a time
}

func newState(o Options, h events.Header) state {
	return state{name: o.Name, mode: o.Mode, header: h}
}

// Header implements events.Reader.
func (s *state) Header() events.Header { return s.header }

// Stats implements events.Reader.
func (s *state) Stats() *events.Stats { return &s.stats }

// problem counts a case of a kind, and returns an error when it ends reading in
// this mode.
func (s *state) problem(k events.Kind, offset int64, format string, args ...any) error {
	if s.mode.fatal(k) {
		return events.Errorf(k, s.name, offset, format, args...)
	}
	s.stats.Add(k, offset)
	return nil
}

// inOrder notes the time of an event that is about to be given out. A step back
// is counted, and an error in strict mode.
func (s *state) inOrder(t, offset int64) error {
	if s.started && t < s.prev {
		if err := s.problem(events.TimeBackwards, offset, "time steps back from %d to %d µs", s.prev, t); err != nil {
			return err
		}
	}
	s.prev, s.started = t, true
	return nil
}

// stop turns the end of what can be read into the final error of a reader:
// io.EOF stays, a defect that this mode forgives is counted and becomes io.EOF,
// everything else ends reading as it is.
func (s *state) stop(err error) error {
	var bad *events.Error
	if errors.As(err, &bad) && !s.mode.fatal(bad.Kind) {
		s.stats.Add(bad.Kind, bad.Offset)
		return io.EOF
	}
	return err
}
