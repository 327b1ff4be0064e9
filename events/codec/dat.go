package codec

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unsafe"

	"github.com/adafire/adafire/events"
)

const (
	datBytes    = 8  // of a record
	datTimeBits = 32 // of the time in µs
)

// datReader reads Prophesee .dat files: a header of % lines, the type and the
// size of the records, and records of u32 time in µs and u32 data, of which bits
// 0-13 are x, 14-27 y and 28 the polarity. Without a header the file starts with
// the records.
//
// Source: event_formats, section 5.2.
type datReader struct {
	wordReader
	right, bottom int64
	old           bool // layout of version 1: x in bits 0-8, y in 9-16, p in 17
	clock         clock
}

func newDat(s *Source, o Options) (events.Reader, error) {
	h, err := readHeaderOf(s)
	if err != nil {
		return failed(o, "dat", err)
	}
	width, height, err := h.size("Width", "Height")
	if err != nil {
		return nil, err
	}
	d := &datReader{clock: clock{bits: datTimeBits}, old: o.Version == 1 || o.Version == 0 && h.value["Version"] == "1"}
	d.state = newState(o, h.header("dat", o, width, height))
	d.src, d.size, d.decoder = s, datBytes, d
	d.right, d.bottom = limits(&d.header)
	if h.lines == 0 {
		return d, nil
	}
	at := s.Offset()
	kind, err := s.Peek(2)
	if len(kind) < 2 {
		return failed(o, "dat", endedEarly(err, s.Name(), at, "the file ends after the header: want a type and a size"))
	}
	if kind[0] != 0x00 && kind[0] != 0x0c {
		hint := ""
		if kind[0] == 0x0e {
			hint = ": these are triggers"
		}
		return nil, events.Errorf(events.BadHeader, s.Name(), at, "event type 0x%02x%s, want 0x00 or 0x0c", kind[0], hint)
	}
	if kind[1] != datBytes {
		return nil, events.Errorf(events.BadHeader, s.Name(), at+1, "event size %d, want %d", kind[1], datBytes)
	}
	s.Advance(2)
	return d, nil
}

func (d *datReader) word(dst []events.Event, buf []byte, at int64) (int, error) {
	v := binary.LittleEndian.Uint64(buf)
	data := uint32(v >> 32)
	e := events.Event{T: d.clock.time(int64(uint32(v))), X: uint16(data & 0x3fff), Y: uint16(data >> 14 & 0x3fff), P: uint8(data >> 28 & 1)}
	if d.old {
		e.X, e.Y, e.P = uint16(data&0x1ff), uint16(data>>9&0xff), uint8(data>>17&1)
	}
	if int64(e.X) > d.right || int64(e.Y) > d.bottom {
		return 0, d.problem(events.OutOfRange, at, "event at (%d, %d), sensor of %dx%d", e.X, e.Y, d.header.Width, d.header.Height)
	}
	if err := d.inOrder(e.T, at); err != nil {
		return 0, err
	}
	dst[0] = e
	return 1, nil
}

// fast decodes records until the first that is outside the sensor or steps back
// in time.
func (d *datReader) fast(dst []events.Event, buf []byte) (int, int) {
	n := uintptr(min(len(dst), len(buf)/datBytes))
	if n == 0 || !d.started || d.clock.base+d.clock.last != d.prev || d.old {
		return 0, 0
	}
	out, in := unsafe.Pointer(&dst[0]), unsafe.Pointer(&buf[0])
	right, bottom, base, counter := uint64(d.right), uint64(d.bottom), d.clock.base, uint64(d.clock.last)
	i := uintptr(0)
	for ; i < n; i++ {
		v := load64(in, datBytes*i)
		t := v & 0xffffffff
		x := v >> 32 & 0x3fff
		y := v >> 46 & 0x3fff
		if t < counter || x > right || y > bottom {
			break
		}
		counter = t
		store(out, eventBytes*i, base+int64(t), uint32(x), uint32(y), uint32(v>>60)&1)
	}
	d.clock.last = int64(counter)
	d.prev = base + int64(counter)
	return int(i), datBytes * int(i)
}

func newDatWriter(w io.Writer, h events.Header, _ WriteOptions) (events.Writer, error) {
	const most = 1 << 14
	if h.Width > most || h.Height > most {
		return nil, fmt.Errorf("dat: sensor size %dx%d: want at most %d pixels a side", h.Width, h.Height, most)
	}
	var b strings.Builder
	b.WriteString("% Data file containing CD events\n% Version 2\n")
	if h.Height > 0 {
		fmt.Fprintf(&b, "%% Height %d\n", h.Height)
	}
	if h.Width > 0 {
		fmt.Fprintf(&b, "%% Width %d\n", h.Width)
	}
	b.WriteString("\x0c\x08")
	time := clock{bits: datTimeBits}
	return &packer{w: w, name: "dat", buf: []byte(b.String()), encode: func(buf []byte, e events.Event) ([]byte, error) {
		if err := checkEvent(e, &h); err != nil {
			return nil, err
		}
		if e.X >= most || e.Y >= most {
			return nil, fmt.Errorf("pixel (%d, %d): want at most %d pixels a side", e.X, e.Y, most)
		}
		t, err := time.counter(e.T)
		if err != nil {
			return nil, err
		}
		return binary.LittleEndian.AppendUint64(buf, uint64(t)|uint64(e.X)<<32|uint64(e.Y)<<46|uint64(e.P)<<60), nil
	}}, nil
}
