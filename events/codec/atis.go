package codec

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/adafire/adafire/events"
)

var atisFormats = []Format{{
	Name:       "atis",
	Title:      "ATIS .bin (N-MNIST, N-Caltech101)",
	Extensions: []string{".bin"},
	Canonical:  "atis-bin",
	NewReader:  newATISReader,
	NewWriter:  newATISWriter,
}}

const (
	atisBytes    = 5
	atisTimeBits = 23
	atisMarker   = 240 // a record in this row adds atisMarkerUs to all later times
	atisMarkerUs = 1 << 13
)

// atisReader reads five-byte records: x, y, and 24 bits with the highest byte
// first, of which the top bit is the polarity and the rest the time in µs.
//
// Source: event_formats, section 4.
type atisReader struct {
	records
	clock      clock
	maxX, maxY int64
}

func newATISReader(s *Source, o Options) (events.Reader, error) {
	h := events.Header{Format: "atis", Width: o.Width, Height: o.Height, Convention: o.Convention}
	r := &atisReader{clock: clock{bits: atisTimeBits}}
	r.maxX, r.maxY = limits(&h)
	// The fast path loads eight bytes a record.
	r.records = records{state: newState(o, h), src: s, size: atisBytes, over: 8 - atisBytes, fast: r.fast, slow: r.slow}
	return r, nil
}

func (r *atisReader) fast(dst []events.Event, b []byte) bool {
	if len(dst) == 0 {
		return true
	}
	maxX, maxY, base, last := r.maxX, r.maxY, r.clock.base, r.clock.last
	odd := int64(0) // negative once anything is
	b = b[:len(dst)*atisBytes+8-atisBytes]
	for i := range dst {
		v := binary.BigEndian.Uint64(b[i*atisBytes:])
		x, y, t := int64(v>>56), int64(v>>48&0xff), int64(v>>24&(1<<atisTimeBits-1))
		odd |= (maxX - x) | (maxY - y) | (t - last) | ((y ^ atisMarker) - 1)
		last = t
		dst[i] = events.Event{T: base + t, X: uint16(x), Y: uint16(y), P: uint8(v >> 47 & 1)}
	}
	if odd < 0 || (r.started && dst[0].T < r.prev) {
		return false
	}
	r.clock.last = last
	r.prev, r.started = base+last, true
	return true
}

func (r *atisReader) slow(dst *events.Event, b []byte, offset int64) (bool, error) {
	x, y := int64(b[0]), int64(b[1])
	t := r.clock.time(int64(b[2]&0x7f)<<16 | int64(b[3])<<8 | int64(b[4]))
	if y == atisMarker {
		r.clock.base += atisMarkerUs
		return false, nil
	}
	if x > r.maxX || y > r.maxY {
		return false, r.problem(events.OutOfRange, offset, "pixel (%d, %d): outside the sensor of %dx%d", x, y, r.maxX+1, r.maxY+1)
	}
	if err := r.inOrder(t, offset); err != nil {
		return false, err
	}
	*dst = events.Event{T: t, X: uint16(x), Y: uint16(y), P: b[2] >> 7}
	return true, nil
}

func newATISWriter(w io.Writer, h events.Header, _ WriteOptions) (events.Writer, error) {
	c := clock{bits: atisTimeBits}
	return &packer{w: w, name: "atis", encode: func(buf []byte, e events.Event) ([]byte, error) {
		if err := checkEvent(e, &h); err != nil {
			return buf, err
		}
		if e.X > 0xff || e.Y > 0xff || e.Y == atisMarker {
			return buf, fmt.Errorf("pixel (%d, %d): want x and y to 255, and y not %d, which marks an overflow of time", e.X, e.Y, atisMarker)
		}
		t, err := c.counter(e.T)
		if err != nil {
			return buf, err
		}
		return append(buf, byte(e.X), byte(e.Y), e.P<<7|byte(t>>16), byte(t>>8), byte(t)), nil
	}}, nil
}
