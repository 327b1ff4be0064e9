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
	last       uint64 // lanes of the largest coordinates that the fast path takes: below the row of markers
}

func newATISReader(s *Source, o Options) (events.Reader, error) {
	h := events.Header{Format: "atis", Width: o.Width, Height: o.Height, Convention: o.Convention}
	r := &atisReader{clock: clock{bits: atisTimeBits}}
	r.maxX, r.maxY = limits(&h)
	r.last = uint64(min(r.maxX, 0xff)) | uint64(min(r.maxY, atisMarker-1))<<16
	// The fast path loads eight bytes a record.
	r.records = records{state: newState(o, h), src: s, size: atisBytes, over: 8 - atisBytes, fast: r.fast, slow: r.slow}
	return r, nil
}

// atisEvent decodes a record in the upper bits of v, and returns what has a sign
// of a lane set when the pixel lies beyond last.
func atisEvent(e *events.Event, v, last uint64, base int64) uint64 {
	xy := v>>56 | v>>32&0xff0000
	*e = events.Event{T: base + int64(v>>24&atisTime), X: uint16(xy), Y: uint16(xy >> 16), P: uint8(v >> 47 & 1)}
	return last - xy
}

const atisTime = 1<<atisTimeBits - 1

func (r *atisReader) fast(dst []events.Event, b []byte) bool {
	base, last, size := r.clock.base, uint64(r.clock.last), r.last
	back, below := uint64(0), uint64(0)
	for d := dst; len(d) >= group && len(b) >= group*atisBytes+3; d, b = d[group:], b[group*atisBytes:] {
		v := binary.BigEndian.Uint64(b)
		back |= v>>24&atisTime - last
		last = v >> 24 & atisTime
		below |= atisEvent(&d[0], v, size, base)
		v = binary.BigEndian.Uint64(b[5:])
		back |= v>>24&atisTime - last
		last = v >> 24 & atisTime
		below |= atisEvent(&d[1], v, size, base)
		v = binary.BigEndian.Uint64(b[10:])
		back |= v>>24&atisTime - last
		last = v >> 24 & atisTime
		below |= atisEvent(&d[2], v, size, base)
		v = binary.BigEndian.Uint64(b[15:])
		back |= v>>24&atisTime - last
		last = v >> 24 & atisTime
		below |= atisEvent(&d[3], v, size, base)
	}
	if int64(back) < 0 || below&laneSigns != 0 || (r.started && dst[0].T < r.prev) {
		return false
	}
	r.clock.last = int64(last)
	r.prev, r.started = base+int64(last), true
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
