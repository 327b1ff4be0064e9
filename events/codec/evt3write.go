package codec

import (
	"encoding/binary"
	"io"

	"github.com/adafire/adafire/events"
)

// evt3MaxTime is the first time, in µs, that is not written.
const evt3MaxTime = evtMaxTurns * evt3Turn

// evt3Writer writes EVT3. It keeps the state that a reader will have.
type evt3Writer struct {
	evtWriter
	time int64 // µs
	row  int   // -1 before the first
}

func newEVT3Writer(w io.Writer, h events.Header, _ WriteOptions) (events.Writer, error) {
	e, err := newEVTWriter(w, h, "evt3", "3.0", "EVT3")
	if err != nil {
		return nil, err
	}
	return &evt3Writer{evtWriter: e, row: -1}, nil
}

func (e *evt3Writer) put(kind, value uint16) {
	e.buf = binary.LittleEndian.AppendUint16(e.buf, kind<<12|value)
}

// vectorWorth is from how many events on the four words of a vector group are
// fewer than one word an event.
const vectorWorth = 5

// Write implements events.Writer. Events of one time, row and polarity within
// 32 pixels go into a vector group when they are in order of x and enough.
func (e *evt3Writer) Write(src []events.Event) error {
	for i := 0; i < len(src); {
		ev := &src[i]
		if !e.check(ev) {
			return e.err
		}
		if !e.high.known || e.time != ev.T {
			if e.advanceTo(ev.T); e.err != nil {
				return e.err
			}
		}
		if e.row != int(ev.Y) {
			e.put(evt3Row, ev.Y)
			e.row = int(ev.Y)
		}
		mask, n := uint32(1), 1
		for ; i+n < len(src); n++ {
			next := &src[i+n]
			if next.T != ev.T || next.Y != ev.Y || next.P != ev.P || next.X <= src[i+n-1].X || next.X-ev.X > 31 || next.P > 1 ||
				e.header.Width > 0 && int(next.X) >= e.header.Width || next.X >= evtPixels {
				break
			}
			mask |= 1 << (next.X - ev.X)
		}
		if n >= vectorWorth {
			e.put(evt3Base, uint16(ev.P)<<11|ev.X)
			e.put(evt3Vector12, uint16(mask&0xfff))
			e.put(evt3Vector12, uint16(mask>>12&0xfff))
			e.put(evt3Vector8, uint16(mask>>24))
		} else {
			n = 1
			e.put(evt3X, uint16(ev.P)<<11|ev.X)
		}
		i += n
		e.count += int64(n)
		e.flush(packBuffer)
	}
	return e.err
}

// advanceTo writes the words that take a reader to time t. Turns of time-high
// that no event falls into are stepped through: its last value and then 0 are a
// wrap.
func (e *evt3Writer) advanceTo(t int64) {
	high := func() int64 { return e.time >> 12 & (evt3Field - 1) }
	now, then := e.time>>evt3TurnBits, t>>evt3TurnBits
	if t < 0 || t >= evt3MaxTime || then < now || then == now && high()-t>>12&(evt3Field-1) > evt3Field/2 {
		e.high.time = e.time
		e.timeError(t, evt3MaxTime)
		return
	}
	set := func(value int64) {
		e.put(evtTimeHigh, uint16(value))
		e.flush(packBuffer)
		e.high.known = true
	}
	for ; e.time>>evt3TurnBits < then && e.err == nil; e.time = (e.time>>evt3TurnBits + 1) << evt3TurnBits {
		if !e.high.known || high() <= evt3Field/2 {
			set(evt3Field - 1)
		}
		set(0)
	}
	if target := t >> 12 & (evt3Field - 1); !e.high.known || high() != target {
		set(target)
	}
	// A new time-high sets the low part to 0, but evlib 0.13 keeps it: it is
	// always written.
	e.put(evt3Low, uint16(t&(evt3Field-1)))
	e.time = t
}
