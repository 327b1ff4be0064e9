package codec

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/adafire/adafire/events"
)

// The types of EVT3 words that differ from EVT2.
const (
	evt3Row        = 0x0
	evt3X          = 0x2
	evt3Base       = 0x3
	evt3Vector12   = 0x4
	evt3Vector8    = 0x5
	evt3Low        = 0x6
	evt3Continued4 = 0x7
)

const (
	evt3Bytes    = 2       // of a word
	evt3Field    = 1 << 12 // values of the time-low and the time-high word
	evt3Turn     = 1 << 24 // µs after which time-high wraps
	evt3TurnBits = 24
)

// evt3Reader reads EVT3: 16-bit words that each change one part of a state, or
// give out the events of up to 12 pixels.
//
// Source: event_formats, section 5.6.
type evt3Reader struct {
	wordReader
	right, bottom int64

	time            int64 // µs: turns, time-high and time-low
	row             uint32
	base, polarity  uint32 // x and polarity of the next vector
	hasTime, hasRow bool
	hasBase         bool
	badRow          int64 // offset of a row word outside the sensor that is in force, else negative
}

func newEVT3(o Options, h events.Header) *evt3Reader {
	d := &evt3Reader{badRow: -1}
	d.state = newState(o, h)
	d.size, d.decoder = evt3Bytes, d
	d.right, d.bottom = limits(&h)
	return d
}

func (d *evt3Reader) word(dst []events.Event, buf []byte, at int64) (n int, err error) {
	w := uint32(binary.LittleEndian.Uint16(buf))
	value := w & (evt3Field - 1)
	switch w >> 12 {
	case evt3Row:
		d.row, d.hasRow, d.badRow = value&0x7ff, true, -1
		if int64(d.row) > d.bottom {
			if d.mode.fatal(events.OutOfRange) {
				return 0, d.problem(events.OutOfRange, at, "row %d, sensor of %dx%d", d.row, d.header.Width, d.header.Height)
			}
			d.badRow = at // its events will be counted
		}
	case evt3X:
		return d.pixels(dst, value&0x7ff, value>>11, 1, at)
	case evt3Base:
		d.base, d.polarity, d.hasBase = value&0x7ff, value>>11, true
	case evt3Vector12, evt3Vector8:
		width := uint32(12)
		if w>>12 == evt3Vector8 {
			width, value = 8, value&0xff
		}
		if !d.hasBase {
			if d.hasTime {
				return 0, d.problem(events.BadSequence, at, "a vector before the first base x")
			}
			d.stats.AddN(events.NoTimeBase, at, int64(bits.OnesCount32(value)))
			return 0, nil
		}
		n, err = d.pixels(dst, d.base, d.polarity, value, at)
		d.base = min(d.base+width, 1<<16) // beyond any sensor; does not overflow
		return n, err
	case evt3Low:
		d.time = d.time&^(evt3Field-1) | int64(value)
	case evtTimeHigh:
		d.timeHigh(int64(value))
	case evtTrigger, evtOthers, evtIMU:
		return 0, d.problem(events.NotPolarity, at, "word of type 0x%x", w>>12)
	case evt3Continued4, evtContinued:
	default:
		return 0, d.problem(events.UnknownWord, at, "word of type 0x%x", w>>12)
	}
	return 0, nil
}

// timeHigh takes a time-high word. One that differs from the last sets the low
// part to 0; a step back of more than half of the range is a wrap.
func (d *evt3Reader) timeHigh(high int64) {
	last := d.time >> 12 & (evt3Field - 1)
	switch turns := d.time &^ (evt3Turn - 1); {
	case !d.hasTime:
		d.time |= high << 12 // the low part may have come before
		d.hasTime = true
	case last-high > evt3Field/2:
		d.time = turns + evt3Turn | high<<12
	case high != last:
		d.time = turns | high<<12
	}
}

// pixels gives out an event for each bit of a mask, bit 0 at x.
func (d *evt3Reader) pixels(dst []events.Event, x, polarity, mask uint32, at int64) (n int, err error) {
	if mask == 0 {
		return 0, nil
	}
	switch all := int64(bits.OnesCount32(mask)); {
	case !d.hasTime:
		d.stats.AddN(events.NoTimeBase, at, all)
		return 0, nil
	case !d.hasRow:
		return 0, d.problem(events.BadSequence, at, "an event before the first row")
	case d.badRow >= 0:
		d.stats.AddN(events.OutOfRange, d.badRow, all)
		return 0, nil
	}
	for ; mask != 0; mask &= mask - 1 {
		px := x + uint32(bits.TrailingZeros32(mask))
		if int64(px) > d.right || px >= evtPixels {
			if err := d.problem(events.OutOfRange, at, "event at (%d, %d), sensor of %dx%d", px, d.row, d.header.Width, d.header.Height); err != nil {
				return n, err
			}
			continue
		}
		if err := d.inOrder(d.time, at); err != nil {
			return n, err
		}
		dst[n] = events.Event{T: d.time, X: uint16(px), Y: uint16(d.row), P: uint8(polarity)}
		n++
	}
	return n, nil
}

// vectorGroup is the usual run of words of 32 pixels: base, 12, 12 and 8; the
// types of four words that are loaded as one.
const (
	vectorGroup     = evt3Vector8<<60 | evt3Vector12<<44 | evt3Vector12<<28 | evt3Base<<12
	vectorGroupMask = 0xf000f000f000f000
)

// fast decodes words until the first that needs a closer look: types that carry
// no events, pixels outside the sensor, steps back in time. Row words and single
// events, which follow each other without any pattern, share an inner loop that
// does not branch on which it is.
func (d *evt3Reader) fast(dst []events.Event, buf []byte) (n, used int) {
	if !d.hasTime || !d.hasRow || !d.started || d.badRow >= 0 || d.time < d.prev || len(dst) < wordRoom || len(buf) < 8 {
		return 0, 0
	}
	out, in := unsafe.Pointer(&dst[0]), unsafe.Pointer(&buf[0])
	o, oEnd := uintptr(0), eventBytes*uintptr(len(dst)-wordRoom)
	i, iEnd := uintptr(0), uintptr(len(buf)-8) // so that four words can be loaded
	right := uint32(min(d.right, evtPixels-1))
	most := [2]uint32{evt3Row >> 1: uint32(d.bottom), evt3X >> 1: right}
	t, row := d.time, d.row
loop:
	for i <= iEnd && o <= oEnd {
		// So many words for sure fit into dst as events.
		end := i + min(iEnd-i, (oEnd-o)/(eventBytes/evt3Bytes))&^(evt3Bytes-1)
		var w uint32
		for ; i <= end; i += evt3Bytes {
			w = load16(in, i)
			if w&0xd000 != 0 { // neither a row nor an event
				next := t&^(evt3Field-1) | int64(w&(evt3Field-1))
				if w>>12 != evt3Low || next < t {
					break
				}
				t = next
				continue
			}
			value := w & 0x7ff
			if value > most[w>>13] {
				break loop
			}
			if w < evt3X<<12 { // a conditional move
				row = value
			}
			store(out, o, t, value, row, w>>11&1) // kept if it is an event
			o += uintptr(w>>13) * eventBytes
		}
		if i > end {
			continue
		}
		switch w >> 12 {
		case evt3Base:
			d.base, d.polarity, d.hasBase = w&0x7ff, w>>11&1, true
			four := load64(in, i)
			if four&vectorGroupMask != vectorGroup {
				i += evt3Bytes
				continue
			}
			if d.base+31 > right {
				break loop
			}
			mask := uint32(four>>16&0xfff | four>>20&0xfff000 | four>>24&0xff000000)
			o = storeMask(out, o, t, d.base, row, d.polarity, mask)
			d.base += 32
			i += 4 * evt3Bytes
		case evt3Vector12, evt3Vector8:
			width, mask := uint32(12), w&0xfff
			if w>>12 == evt3Vector8 {
				width, mask = 8, w&0xff
			}
			if !d.hasBase || d.base+width-1 > right {
				break loop
			}
			o = storeMask(out, o, t, d.base, row, d.polarity, mask)
			d.base += width
			i += evt3Bytes
		case evtTimeHigh:
			next := t&^(evt3Turn-1) | int64(w&(evt3Field-1))<<12
			if next < t&^(evt3Field-1) {
				break loop
			}
			if next > t {
				t = next
			}
			i += evt3Bytes
		default:
			break loop
		}
	}
	d.time, d.row = t, row
	if n = int(o / eventBytes); n > 0 {
		d.prev = dst[n-1].T
	}
	return n, int(i)
}

// storeMask writes an event at p+o for each bit of a mask, bit 0 at x, and
// returns where the next goes. Up to three events beyond that are overwritten:
// four at a time, the number of turns is nearly always the same, so that the
// processor guesses it right.
func storeMask(p unsafe.Pointer, o uintptr, t int64, x, y, polarity, mask uint32) uintptr {
	end := o + eventBytes*uintptr(bits.OnesCount32(mask))
	for ; o < end; o += 4 * eventBytes {
		store(p, o, t, x+lowestBit(mask), y, polarity)
		mask &= mask - 1
		store(p, o+eventBytes, t, x+lowestBit(mask), y, polarity)
		mask &= mask - 1
		store(p, o+2*eventBytes, t, x+lowestBit(mask), y, polarity)
		mask &= mask - 1
		store(p, o+3*eventBytes, t, x+lowestBit(mask), y, polarity)
		mask &= mask - 1
	}
	return end
}

// lowestBit returns the number of the lowest bit that is set. A table is faster
// than bits.TrailingZeros32, which has to do with a slow instruction where the
// program must run on any amd64 processor.
func lowestBit(mask uint32) uint32 { return uint32(bitNumber[mask&-mask*deBruijn>>27]) }

// deBruijn has each number of five bits once among its bits.
const deBruijn = 0x077cb531

var bitNumber = func() (table [32]uint8) {
	for i := range uint8(32) {
		table[uint32(deBruijn)<<i>>27] = i
	}
	return table
}()
