package codec

import (
	"errors"
	"fmt"
	"io"

	"github.com/adafire/adafire/events"
)

// batch is how many records the fast path tries at once: few enough that one
// odd record costs little, many enough that the call costs nothing.
const batch = 1024

// group is how many records a step of the fast path takes.
const group = 4

// records reads formats whose data are records of one size up to the end of the
// file.
//
// fast decodes len(dst) records, a multiple of group, from the front of b, which
// has over bytes more than these at least, and reports whether all of them were plain: then the events are in
// dst and the decoder's state has moved on. Otherwise nothing has changed but
// the content of dst, and slow is asked record by record. slow reports whether
// the record gave an event.
type records struct {
	state
	src  *Source
	size int // bytes of a record
	over int
	fast func(dst []events.Event, b []byte) bool
	slow func(dst *events.Event, record []byte, offset int64) (bool, error)
}

// Read implements events.Reader.
func (r *records) Read(dst []events.Event) (int, error) {
	n := 0
	for n < len(dst) && r.err == nil {
		block, err := r.src.Block(r.size)
		if len(block) < r.size {
			r.err = r.end(len(block), err)
			break
		}
		count := min(len(block)/r.size, len(dst)-n, batch)
		if some := min(count, (len(block)-r.over)/r.size) &^ (group - 1); some > 0 && r.fast(dst[n:n+some], block) {
			n += some
			r.src.Advance(some * r.size)
			continue
		}
		for i := 0; i < count && r.err == nil; i++ {
			keep := false
			keep, r.err = r.slow(&dst[n], block[i*r.size:(i+1)*r.size], r.src.Offset())
			r.src.Advance(r.size)
			if keep {
				n++
			}
		}
	}
	if n == len(dst) && n > 0 {
		return n, nil // an error comes with the next call, once and for all
	}
	return n, r.err
}

// end returns the final error when fewer bytes than a record are left.
func (r *records) end(have int, err error) error {
	if errors.Is(err, io.EOF) && have > 0 {
		err = events.Errorf(events.Truncated, r.name, r.src.Offset(), "the file ends inside a record: want %d bytes, have %d", r.size, have)
	}
	return r.stop(err)
}

// A clock undoes the wraps of a counter of few bits: a step back of more than
// half of the range is a wrap.
type clock struct {
	bits uint
	last int64 // counter of the record before; 0 in front of the first
	base int64 // what the wraps so far add
}

// time returns the time of a record, given its counter, and moves on.
func (c *clock) time(counter int64) int64 {
	if c.last-counter > 1<<(c.bits-1) {
		c.base += 1 << c.bits
	}
	c.last = counter
	return c.base + counter
}

// counter returns what to write for a time, and moves on; an error when a
// reader would not get the time back.
func (c *clock) counter(t int64) (int64, error) {
	counter := t & (1<<c.bits - 1)
	next := *c
	if got := next.time(counter); got != t {
		return 0, fmt.Errorf("time %d µs cannot be written behind %d µs: the counter has %d bits, steps must stay within half of its range and start there",
			t, c.base+c.last, c.bits)
	}
	*c = next
	return counter, nil
}

// packer writes formats whose events are written one after another. encode
// appends one event.
type packer struct {
	w      io.Writer
	name   string // of the format
	buf    []byte
	count  int64
	err    error
	encode func(buf []byte, e events.Event) ([]byte, error)
}

const packBuffer = 64 << 10

var errClosed = errors.New("write after close")

// Write implements events.Writer.
func (p *packer) Write(src []events.Event) error {
	for _, e := range src {
		if p.err != nil {
			return p.err
		}
		buf, err := p.encode(p.buf, e)
		if err != nil {
			p.err = fmt.Errorf("%s: event %d: %w", p.name, p.count, err)
			return p.err
		}
		p.buf = buf
		p.count++
		if len(p.buf) >= packBuffer {
			p.flush()
		}
	}
	return p.err
}

func (p *packer) flush() {
	if p.err == nil && len(p.buf) > 0 {
		_, p.err = p.w.Write(p.buf)
		p.buf = p.buf[:0]
	}
}

// Close implements events.Writer.
func (p *packer) Close() error {
	p.flush()
	err := p.err
	if err == nil {
		p.err = fmt.Errorf("%s: %w", p.name, errClosed)
	}
	if errors.Is(err, errClosed) {
		return nil // closed twice
	}
	return err
}

// checkEvent returns an error unless an event lies on the sensor, of which 0
// means any size, and has a polarity.
func checkEvent(e events.Event, h *events.Header) error {
	if e.P > 1 {
		return fmt.Errorf("polarity %d: want 0 or 1", e.P)
	}
	if (h.Width > 0 && int(e.X) >= h.Width) || (h.Height > 0 && int(e.Y) >= h.Height) {
		return fmt.Errorf("pixel (%d, %d): outside the sensor of %dx%d", e.X, e.Y, h.Width, h.Height)
	}
	return nil
}

// limits returns the largest coordinates on a sensor; a size of 0 allows all.
func limits(h *events.Header) (x, y int64) {
	x, y = 1<<16-1, 1<<16-1
	if h.Width > 0 {
		x = int64(h.Width) - 1
	}
	if h.Height > 0 {
		y = int64(h.Height) - 1
	}
	return x, y
}
