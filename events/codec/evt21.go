package codec

import (
	"encoding/binary"
	"io"
	"math/bits"
	"unsafe"

	"github.com/adafire/adafire/events"
)

const evt21Bytes = 8 // of a word

// evt21Reader reads EVT2.1: 64-bit words, up to 32 events of one row and time
// each.
//
// Source: event_formats, section 5.5.
type evt21Reader struct {
	wordReader
	right, bottom int64
	high          highTime
	rotate        int // 32 when the upper half of a word comes first
}

func newEVT21(s *Source, raw *rawHeader, o Options, h events.Header) (events.Reader, error) {
	d := &evt21Reader{}
	order := o.ByteOrder
	if order == "" {
		order = raw.order
	}
	if order == "" {
		head, _ := s.Peek(1000 * evt21Bytes) // an error comes again with the first read
		order = guessOrder(head)
		if h.Meta == nil {
			h.Meta = map[string]string{}
		}
		h.Meta["endianness"] = order + " (not in the header: the order in which more of the first words make sense)"
	}
	switch order {
	case "little":
	case "legacy":
		d.rotate = 32
	default:
		return nil, events.Errorf(events.UnknownEncoding, s.Name(), 0, "byte order %.40q: want little or legacy", order)
	}
	d.state = newState(o, h)
	d.src, d.size, d.decoder = s, evt21Bytes, d
	d.right, d.bottom = limits(&h)
	return d, nil
}

// guessOrder returns the byte order in which more of the words are of known
// types and keep the time in order; little when neither is better.
func guessOrder(head []byte) string {
	var faults [2]int
	for order := range faults {
		last := int64(-1)
		for at := 0; at+evt21Bytes <= len(head); at += evt21Bytes {
			w := bits.RotateLeft64(binary.LittleEndian.Uint64(head[at:]), 32*order)
			switch w >> 60 {
			case evtOff, evtOn, evtTrigger, evtOthers, evtContinued:
			case evtTimeHigh:
				high := int64(w >> 32 & (evt2HighTurn - 1))
				if high < last {
					faults[order]++
				}
				last = high
			default:
				faults[order]++
			}
		}
		if last < 0 {
			faults[order]++ // a stream without any time
		}
	}
	if faults[1] < faults[0] {
		return "legacy"
	}
	return "little"
}

func (d *evt21Reader) word(dst []events.Event, buf []byte, at int64) (int, error) {
	w := bits.RotateLeft64(binary.LittleEndian.Uint64(buf), d.rotate)
	switch w >> 60 {
	case evtOff, evtOn:
		return d.pixels(dst, w, at)
	case evtTimeHigh:
		d.high.set(int64(w >> 32 & (evt2HighTurn - 1)))
	case evtTrigger, evtOthers:
		return 0, d.problem(events.NotPolarity, at, "word of type 0x%x", w>>60)
	case evtContinued:
	default:
		return 0, d.problem(events.UnknownWord, at, "word of type 0x%x", w>>60)
	}
	return 0, nil
}

// pixels gives out the events of one word.
func (d *evt21Reader) pixels(dst []events.Event, w uint64, at int64) (n int, err error) {
	mask := uint32(w)
	if mask == 0 {
		return 0, nil
	}
	if !d.high.known {
		d.stats.AddN(events.NoTimeBase, at, int64(bits.OnesCount32(mask)))
		return 0, nil
	}
	t := d.high.time | int64(w>>54&evt2Low)
	x, y := uint32(w>>43)&0x7ff, uint32(w>>32)&0x7ff
	for ; mask != 0; mask &= mask - 1 {
		px := x + uint32(bits.TrailingZeros32(mask))
		if int64(px) > d.right || int64(y) > d.bottom {
			if err := d.problem(events.OutOfRange, at, "event at (%d, %d), sensor of %dx%d", px, y, d.header.Width, d.header.Height); err != nil {
				return n, err
			}
			continue
		}
		if err := d.inOrder(t, at); err != nil {
			return n, err
		}
		dst[n] = events.Event{T: t, X: uint16(px), Y: uint16(y), P: uint8(w >> 60)}
		n++
	}
	return n, nil
}

// fast decodes words until the first of another type, event outside the sensor,
// or step back in time.
func (d *evt21Reader) fast(dst []events.Event, buf []byte) (n, used int) {
	if !d.high.known || !d.started || len(dst) < wordRoom || len(buf) == 0 {
		return 0, 0
	}
	out, in := unsafe.Pointer(&dst[0]), unsafe.Pointer(&buf[0])
	o, oEnd := uintptr(0), eventBytes*uintptr(len(dst)-wordRoom)
	i, iEnd := uintptr(0), uintptr(len(buf))
	right, bottom := uint32(d.right), uint32(d.bottom)
	high, prev, rotate := d.high.time, d.prev, d.rotate
	for i < iEnd && o <= oEnd {
		w := bits.RotateLeft64(load64(in, i), rotate)
		if w >= 2<<60 {
			next := high&^(evt2Turn-1) | int64(w>>32&(evt2HighTurn-1))<<6
			if w>>60 != evtTimeHigh || next < high {
				break
			}
			high = next
			i += evt21Bytes
			continue
		}
		x, y := uint32(w>>43)&0x7ff, uint32(w>>32)&0x7ff
		t := high | int64(w>>54&evt2Low)
		if t < prev || x+31 > right || y > bottom {
			break
		}
		i += evt21Bytes
		mask := uint32(w)
		if mask == 0 {
			continue
		}
		prev = t
		if mask&(mask-1) == 0 { // most words of a sparse scene
			store(out, o, t, x+lowestBit(mask), y, uint32(w>>60))
			o += eventBytes
			continue
		}
		o = storeMask(out, o, t, x, y, uint32(w>>60), mask)
	}
	d.high.time, d.prev = high, prev
	return int(o / eventBytes), int(i)
}

type evt21Writer struct{ evtWriter }

func newEVT21Writer(w io.Writer, h events.Header, _ WriteOptions) (events.Writer, error) {
	e, err := newEVTWriter(w, h, "evt21", "2.1", "EVT21;endianness=little")
	if err != nil {
		return nil, err
	}
	return &evt21Writer{e}, nil
}

func (e *evt21Writer) word(high int64) {
	e.buf = binary.LittleEndian.AppendUint64(e.buf, evtTimeHigh<<60|uint64(high)<<32)
}

// Write implements events.Writer. Neighbouring events of one time, row,
// polarity and group of 32 pixels go into one word when they are in order of x.
func (e *evt21Writer) Write(src []events.Event) error {
	for i := 0; i < len(src); {
		ev := &src[i]
		if !e.check(ev) {
			return e.err
		}
		if !e.high.known || e.high.time != ev.T&^evt2Low {
			if e.advance(ev.T, e.word); e.err != nil {
				return e.err
			}
		}
		group := ev.X &^ 31
		mask := uint32(0)
		for ; i < len(src); i++ {
			next := &src[i]
			bit := uint32(1) << (next.X & 31)
			if next.T != ev.T || next.Y != ev.Y || next.P != ev.P || next.X&^31 != group || mask >= bit || !e.check(next) {
				break
			}
			mask |= bit
			e.count++
		}
		e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(ev.P)<<60|uint64(ev.T&evt2Low)<<54|uint64(group)<<43|uint64(ev.Y)<<32|uint64(mask))
		if e.err != nil {
			return e.err
		}
		e.flush(packBuffer)
	}
	return e.err
}
