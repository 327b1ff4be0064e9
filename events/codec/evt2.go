package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/adafire/adafire/events"
)

// The types of the words of all EVT encodings: their top four bits. EVT2 and
// EVT2.1 share these.
const (
	evtOff       = 0x0
	evtOn        = 0x1
	evtTimeHigh  = 0x8
	evtTrigger   = 0xa
	evtIMU       = 0xd
	evtOthers    = 0xe
	evtContinued = 0xf
)

const (
	evt2HighTurn = 1 << 28                // time-high values in a turn
	evt2Turn     = evt2HighTurn << 6      // µs in a turn
	evt2Low      = 1<<6 - 1               // mask of the time in an event word
	evtMaxTurns  = 1 << 17                // most turns that a writer steps through
	evt2Bytes    = 4                      // of a word
	evt2MaxTime  = evtMaxTurns * evt2Turn // first time that is not written
)

// highTime is the part of the time that EVT2 and EVT2.1 keep in words of their
// own: 28 bits of it, in units of 64 µs, and the turns of those.
type highTime struct {
	time  int64 // µs, turns included; a multiple of 64
	known bool  // there was such a word
}

// set takes a time-high word. A step back of more than half of the range is a
// wrap, a smaller one a glitch.
func (h *highTime) set(high int64) {
	turns := h.time &^ (evt2Turn - 1)
	if last := h.time >> 6 & (evt2HighTurn - 1); h.known && last-high > evt2HighTurn/2 {
		turns += evt2Turn
	}
	h.time, h.known = turns|high<<6, true
}

// evt2Reader reads EVT2: 32-bit words, an event or a piece of time each.
//
// Source: event_formats, section 5.4.
type evt2Reader struct {
	wordReader
	right, bottom int64
	high          highTime
}

func newEVT2(o Options, h events.Header) *evt2Reader {
	d := &evt2Reader{}
	d.state = newState(o, h)
	d.size, d.decoder = evt2Bytes, d
	d.right, d.bottom = limits(&h)
	return d
}

func (d *evt2Reader) word(dst []events.Event, buf []byte, at int64) (int, error) {
	w := binary.LittleEndian.Uint32(buf)
	switch w >> 28 {
	case evtOff, evtOn:
		e := events.Event{T: d.high.time | int64(w>>22&evt2Low), X: uint16(w >> 11 & 0x7ff), Y: uint16(w & 0x7ff), P: uint8(w >> 28)}
		if !d.high.known {
			return 0, d.problem(events.NoTimeBase, at, "event before the first time-high word")
		}
		if int64(e.X) > d.right || int64(e.Y) > d.bottom {
			return 0, d.problem(events.OutOfRange, at, "event at (%d, %d), sensor of %dx%d", e.X, e.Y, d.header.Width, d.header.Height)
		}
		if err := d.inOrder(e.T, at); err != nil {
			return 0, err
		}
		dst[0] = e
		return 1, nil
	case evtTimeHigh:
		d.high.set(int64(w & (evt2HighTurn - 1)))
	case evtTrigger, evtIMU, evtOthers:
		return 0, d.problem(events.NotPolarity, at, "word of type 0x%x", w>>28)
	case evtContinued:
	default:
		return 0, d.problem(events.UnknownWord, at, "word of type 0x%x", w>>28)
	}
	return 0, nil
}

// fast decodes events and time-high words until the first word of another type,
// event outside the sensor, or step back in time.
func (d *evt2Reader) fast(dst []events.Event, buf []byte) (n, used int) {
	if !d.high.known || !d.started || len(dst) == 0 || len(buf) == 0 {
		return 0, 0
	}
	out, in := unsafe.Pointer(&dst[0]), unsafe.Pointer(&buf[0])
	o, oEnd := uintptr(0), eventBytes*uintptr(len(dst))
	i, iEnd := uintptr(0), uintptr(len(buf))
	right, bottom := uint32(d.right), uint32(d.bottom)
	high, prev := d.high.time, d.prev
	for i < iEnd && o < oEnd {
		w := load32(in, i)
		if w >= 2<<28 {
			next := high&^(evt2Turn-1) | int64(w&(evt2HighTurn-1))<<6
			if w>>28 != evtTimeHigh || next < high {
				break
			}
			high = next
			i += evt2Bytes
			continue
		}
		x := w >> 11 & 0x7ff
		y := w & 0x7ff
		t := high | int64(w>>22&evt2Low)
		if t < prev || x > right || y > bottom {
			break
		}
		prev = t
		store(out, o, t, x, y, w>>28)
		o += eventBytes
		i += evt2Bytes
	}
	d.high.time, d.prev = high, prev
	return int(o / eventBytes), int(i)
}

// evtWriter is what the writers of all EVT encodings have in common.
type evtWriter struct {
	w      io.Writer
	format string
	header events.Header
	buf    []byte
	count  int64
	high   highTime // as a reader will have it
	err    error
}

func newEVTWriter(w io.Writer, h events.Header, format, version, name string) (evtWriter, error) {
	if h.Width > evtPixels || h.Height > evtPixels {
		return evtWriter{}, fmt.Errorf("%s: sensor size %dx%d: want at most %d pixels a side", format, h.Width, h.Height, evtPixels)
	}
	return evtWriter{w: w, format: format, header: h, buf: append(make([]byte, 0, packBuffer+1024), rawLines(h, version, name)...)}, nil
}

// flush writes what is held back once it is at least n bytes.
func (e *evtWriter) flush(n int) {
	if e.err == nil && len(e.buf) >= n {
		_, e.err = e.w.Write(e.buf)
		e.buf = e.buf[:0]
	}
}

// Close implements events.Writer.
func (e *evtWriter) Close() error {
	e.flush(0)
	err := e.err
	if errors.Is(err, errClosed) {
		return nil // closed twice
	}
	if err == nil {
		e.err = fmt.Errorf("%s: %w", e.format, errClosed)
	}
	return err
}

// check reports whether an event can be written.
func (e *evtWriter) check(ev *events.Event) bool {
	if e.err == nil {
		if err := checkEvent(*ev, &e.header); err != nil {
			e.err = fmt.Errorf("%s: event %d: %w", e.format, e.count, err)
		} else if ev.X >= evtPixels || ev.Y >= evtPixels {
			e.err = fmt.Errorf("%s: event %d: pixel (%d, %d): want at most %d pixels a side", e.format, e.count, ev.X, ev.Y, evtPixels)
		}
	}
	return e.err == nil
}

// timeError reports a time that the encoding cannot hold.
func (e *evtWriter) timeError(t, most int64) {
	e.err = fmt.Errorf("%s: event %d at %d µs: this format cannot step there from %d µs; it holds 0 to %d µs, and steps back only within a turn of its counter",
		e.format, e.count, t, e.high.time, most-1)
}

// advance writes the time-high words that take a reader of EVT2 or EVT2.1 to
// time t. Turns of the counter that no event falls into are stepped through: its
// last value and then 0 are a wrap.
func (e *evtWriter) advance(t int64, word func(high int64)) {
	if t < 0 || t >= evt2MaxTime || t>>34 < e.high.time>>34 ||
		(t>>34 == e.high.time>>34 && e.high.time>>6-t>>6 > evt2HighTurn/2) {
		e.timeError(t, evt2MaxTime)
		return
	}
	put := func(high int64) {
		word(high)
		e.high.set(high)
		e.flush(packBuffer)
	}
	for e.err == nil && e.high.time>>34 < t>>34 {
		if e.high.time>>6&(evt2HighTurn-1) <= evt2HighTurn/2 || !e.high.known {
			put(evt2HighTurn - 1)
		}
		put(0)
	}
	if e.err == nil && (!e.high.known || e.high.time != t&^evt2Low) {
		put(t >> 6 & (evt2HighTurn - 1))
	}
}

type evt2Writer struct{ evtWriter }

func newEVT2Writer(w io.Writer, h events.Header, _ WriteOptions) (events.Writer, error) {
	e, err := newEVTWriter(w, h, "evt2", "2.0", "EVT2")
	if err != nil {
		return nil, err
	}
	return &evt2Writer{e}, nil
}

func (e *evt2Writer) word(high int64) {
	e.buf = binary.LittleEndian.AppendUint32(e.buf, evtTimeHigh<<28|uint32(high))
}

// Write implements events.Writer.
func (e *evt2Writer) Write(src []events.Event) error {
	for i := range src {
		ev := &src[i]
		if !e.check(ev) {
			return e.err
		}
		if !e.high.known || e.high.time != ev.T&^evt2Low {
			if e.advance(ev.T, e.word); e.err != nil {
				return e.err
			}
		}
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(ev.P)<<28|uint32(ev.T&evt2Low)<<22|uint32(ev.X)<<11|uint32(ev.Y))
		e.count++
		e.flush(packBuffer)
	}
	return e.err
}
