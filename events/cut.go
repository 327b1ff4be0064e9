package events

import (
	"fmt"
	"io"
)

// SliceReader reads events from memory.
type SliceReader struct {
	header Header
	rest   []Event
	stats  Stats
}

// NewSliceReader returns a Reader of events in memory. It does not copy them.
func NewSliceReader(header Header, all []Event) *SliceReader {
	return &SliceReader{header: header, rest: all}
}

// Read implements Reader.
func (r *SliceReader) Read(dst []Event) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(dst, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Header implements Reader.
func (r *SliceReader) Header() Header { return r.header }

// Stats implements Reader; nothing is ever skipped.
func (r *SliceReader) Stats() *Stats { return &r.stats }

// cut passes on those events of a reader that keep returns, as it returns them.
type cut struct {
	Reader
	header Header
	keep   func(e *Event) bool
}

func (c *cut) Header() Header { return c.header }

// Read goes on until at least one event is left or the reader below ends: a
// count of 0 without an error would be no progress.
func (c *cut) Read(dst []Event) (int, error) {
	for {
		n, err := c.Reader.Read(dst)
		kept := 0
		for i := range dst[:n] {
			e := dst[i]
			if c.keep(&e) {
				dst[kept] = e
				kept++
			}
		}
		if kept > 0 || err != nil || len(dst) == 0 {
			return kept, err
		}
	}
}

// SubtractFirst returns a Reader whose first event has time 0: the time of the
// first event is taken from all. A first event that is not the earliest makes
// negative times.
func SubtractFirst(r Reader) Reader {
	first, started := int64(0), false
	return &cut{Reader: r, header: r.Header(), keep: func(e *Event) bool {
		if !started {
			first, started = e.T, true
		}
		e.T -= first
		return true
	}}
}

// Window returns a Reader of the events with start <= t < end, in microseconds.
// It reads to the end of r, as events need not be in order of time.
func Window(r Reader, start, end int64) (Reader, error) {
	if start > end {
		return nil, fmt.Errorf("time window %d to %d µs: ends before it starts", start, end)
	}
	return &cut{Reader: r, header: r.Header(), keep: func(e *Event) bool { return start <= e.T && e.T < end }}, nil
}

// Crop returns a Reader of the events in the rectangle of width by height
// pixels whose top left pixel is (x, y). That pixel becomes the origin, and the
// header has the size of the rectangle.
func Crop(r Reader, x, y, width, height int) (Reader, error) {
	h := r.Header()
	const most = 1 << 16
	if x < 0 || y < 0 || width < 1 || height < 1 || x > most-width || y > most-height ||
		(h.Width > 0 && x > h.Width-width) || (h.Height > 0 && y > h.Height-height) {
		return nil, fmt.Errorf("crop to %dx%d at (%d, %d): outside the sensor of %dx%d", width, height, x, y, h.Width, h.Height)
	}
	h.Width, h.Height = width, height
	return &cut{Reader: r, header: h, keep: func(e *Event) bool {
		dx, dy := int(e.X)-x, int(e.Y)-y
		e.X, e.Y = uint16(dx), uint16(dy)
		return uint(dx) < uint(width) && uint(dy) < uint(height)
	}}, nil
}
