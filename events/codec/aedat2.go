package codec

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/adafire/adafire/events"
)

// aedatReader reads AEDAT 1 and 2: lines that start with '#', then records of an
// address and a time in µs, highest byte first, of 2 + 4 bytes in version 1 and
// 4 + 4 bytes in version 2.
//
// Source: event_formats, sections 3.1 and 3.2; jAER for the address bits.
type aedatReader struct {
	records
	clock      clock
	address    address
	lanes      lanes // the same for the fast path
	maxX, maxY int64
}

func newAEDAT1Reader(s *Source, o Options) (events.Reader, error) {
	return newAEDATReader(s, o, "aedat1", "dvs128")
}

func newAEDAT2Reader(s *Source, o Options) (events.Reader, error) {
	const magic = "#!AER-DAT2.0"
	head, err := s.Peek(len(magic))
	switch {
	case err == io.EOF && strings.HasPrefix(magic, string(head)):
		return nil, events.Errorf(events.Truncated, o.Name, 0, "the file ends inside its first line: want %s", magic)
	case err != nil && err != io.EOF:
		return nil, err
	case string(head) != magic:
		return nil, events.Errorf(events.BadMagic, o.Name, 0, "first bytes %q: want %s", head, magic)
	}
	return newAEDATReader(s, o, "aedat2", "")
}

// newAEDATReader reads the header. The chip is, in this order, what the user
// says, the AEChip line, fallback, what the convention or the size tells.
func newAEDATReader(s *Source, o Options, format, fallback string) (events.Reader, error) {
	meta := map[string]string{}
	for {
		line, ok, err := hashLine(s)
		if err != nil {
			return nil, err
		}
		if !ok {
			if format == "aedat2" && s.Offset() == 0 {
				return nil, events.Errorf(events.BadHeader, o.Name, 0, "the first line does not end with a line feed")
			}
			break
		}
		if strings.TrimSpace(line) == endOfHeader {
			break
		}
		noteMeta(meta, line)
	}
	c, err := readChip(o, format, meta["AEChip"], fallback)
	if err != nil {
		return nil, err
	}
	h := events.Header{Format: format, Width: c.width, Height: c.height, Meta: meta}
	if o.Width > 0 {
		h.Width = o.Width
	}
	if o.Height > 0 {
		h.Height = o.Height
	}
	r := &aedatReader{clock: clock{bits: 32}}
	if r.address, h.Convention, err = newAddress(c, o.Convention); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	r.maxX, r.maxY = limits(&h)
	r.records = records{state: newState(o, h), src: s, size: 8, fast: r.fastDAVIS, slow: r.slow}
	if format == "aedat1" {
		r.records.size, r.records.over = 6, 2
	}
	var ok bool
	switch r.lanes, ok = newLanes(c, &r.address, &h); {
	case !ok:
		r.records.fast = func([]events.Event, []byte) bool { return false }
	case format == "aedat1":
		r.records.fast = r.fast1
	case c.name == "dvs128":
		r.records.fast = r.fastDVS
	}
	return r, nil
}

func readChip(o Options, format, class, fallback string) (chip, error) {
	if o.Chip != "" {
		c, err := chipByName(o.Chip)
		if err == nil && fallback != "" && c.name != fallback {
			err = fmt.Errorf("%s: %s has no chip but %s", o.Name, format, fallback)
		}
		return c, err
	}
	if fallback != "" {
		return chipByName(fallback)
	}
	if c, ok := chipByClass(class); ok {
		return c, nil
	}
	switch o.Convention {
	case "dvs128-jaer", "cifar10dvs-spikingjelly":
		return chipByName("dvs128")
	case "paf-toolbox":
		return chipByName("davis346")
	case "davis-jaer":
		if o.Width > 0 && o.Height > 0 {
			return chip{name: "davis", width: o.Width, height: o.Height}, nil
		}
	}
	if c, ok := chipBySize(o.Width, o.Height); ok {
		return c, nil
	}
	return chip{}, events.Errorf(events.UnknownEncoding, o.Name, 0,
		"the AEChip line %q names no known chip, so the layout of addresses is not known: say the chip (%s)", class, strings.Join(Chips(), ", "))
}

// lanes are x and y of an event in one word, 16 bits each, x below.
type lanes struct {
	last uint64 // largest coordinates
	flip uint64 // ones in the lanes that count from the other side: size - 1 - raw = ^raw + size
	add  uint64 // their sizes, less the carry of the lane below
	swap bool   // swap rows and columns of a square sensor
	p    uint64 // 1 to invert the polarity
	skip uint64 // in a record, a bit of these makes it no polarity event
	base int64  // what the wraps of time add
}

// laneSigns are the top bits of the lanes. Raw coordinates have ten bits at
// most, so these are set when something larger than a lane is taken from it.
const laneSigns = 1<<15 | 1<<31

// newLanes returns the lanes that give the same events as an address; false when
// the address is of a kind that lanes do not reach.
func newLanes(c chip, a *address, h *events.Header) (lanes, bool) {
	if c.width != h.Width || c.height != h.Height || c.width > 1<<10 || c.height > 1<<9 {
		return lanes{}, false
	}
	l := lanes{last: uint64(c.width-1) | uint64(c.height-1)<<16, p: uint64(a.pFlip), skip: uint64(a.skip) << 32}
	l.flip = uint64(a.xFlip&0xffff) | uint64(a.yFlip&0xffff)<<16
	above := a.yAdd
	if a.xFlip != 0 {
		above-- // ^raw + size carries
	}
	l.add = uint64(a.xAdd) | uint64(above&0xffff)<<16
	if c.name == "dvs128" {
		l.flip, l.add = l.flip&l.last, 0 // 127 - raw is a flip of seven bits
	}
	l.swap = a.xShift == 8
	return l, true
}

// dvs decodes a record of version 2 of the DVS128. Seven bits are always on the
// sensor.
func (l *lanes) dvs(e *events.Event, v uint64) {
	xy := (v>>33&0x7f | v>>24&0x7f0000) ^ l.flip
	*e = events.Event{T: l.base + int64(uint32(v)), X: uint16(xy), Y: uint16(xy >> 16), P: uint8(v>>32&1 ^ l.p)}
}

// davis decodes a record of version 2 of a DAVIS. One of laneSigns is set in
// what it returns when the event is not on the sensor.
func (l *lanes) davis(e *events.Event, v uint64) uint64 {
	raw := v>>44&0x3ff | v>>38&0x1ff0000
	xy := (raw ^ l.flip) + l.add
	*e = events.Event{T: l.base + int64(uint32(v)), X: uint16(xy), Y: uint16(xy >> 16), P: uint8(v>>43&1 ^ l.p)}
	return l.last - raw
}

// fastDVS decodes records of version 2 of the DVS128. A difference of times
// below 0 has all upper bits set, those of skip among them.
func (r *aedatReader) fastDVS(dst []events.Event, b []byte) bool {
	l, last, seen := r.lanes, uint64(r.clock.last), uint64(0)
	l.base = r.clock.base
	for d := dst; len(d) >= 4 && len(b) >= 32; d, b = d[4:], b[32:] {
		v := binary.BigEndian.Uint64(b)
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		l.dvs(&d[0], v)
		v = binary.BigEndian.Uint64(b[8:])
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		l.dvs(&d[1], v)
		v = binary.BigEndian.Uint64(b[16:])
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		l.dvs(&d[2], v)
		v = binary.BigEndian.Uint64(b[24:])
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		l.dvs(&d[3], v)
	}
	return r.accept(dst, seen&l.skip != 0, int64(last))
}

// fastDAVIS decodes records of version 2 of a DAVIS.
func (r *aedatReader) fastDAVIS(dst []events.Event, b []byte) bool {
	l, last, seen, below := r.lanes, uint64(r.clock.last), uint64(0), uint64(0)
	l.base = r.clock.base
	for d := dst; len(d) >= 4 && len(b) >= 32; d, b = d[4:], b[32:] {
		v := binary.BigEndian.Uint64(b)
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		below |= l.davis(&d[0], v)
		v = binary.BigEndian.Uint64(b[8:])
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		below |= l.davis(&d[1], v)
		v = binary.BigEndian.Uint64(b[16:])
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		below |= l.davis(&d[2], v)
		v = binary.BigEndian.Uint64(b[24:])
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		below |= l.davis(&d[3], v)
	}
	return r.accept(dst, below&laneSigns != 0 || seen&l.skip != 0, int64(last))
}

// fast1 decodes records of version 1: it moves the address to where version 2
// has it.
func (r *aedatReader) fast1(dst []events.Event, b []byte) bool {
	l, last, seen := r.lanes, uint64(r.clock.last), uint64(0)
	l.base = r.clock.base
	for d := dst; len(d) > 0 && len(b) >= 8; d, b = d[1:], b[6:] {
		v := binary.BigEndian.Uint64(b) >> 16
		seen |= v | (uint64(uint32(v)) - last)
		last = uint64(uint32(v))
		l.dvs(&d[0], v)
	}
	return r.accept(dst, seen&l.skip != 0, int64(last))
}

// accept ends the fast path: it moves the state on unless anything was odd.
func (r *aedatReader) accept(dst []events.Event, odd bool, last int64) bool {
	if odd || (r.started && dst[0].T < r.prev) {
		return false
	}
	r.clock.last = last
	r.prev, r.started = dst[len(dst)-1].T, true
	if r.lanes.swap {
		for i := range dst {
			dst[i].X, dst[i].Y = dst[i].Y, dst[i].X
		}
	}
	return true
}

func (r *aedatReader) slow(dst *events.Event, b []byte, offset int64) (bool, error) {
	var word uint32
	if len(b) == 6 {
		word = uint32(binary.BigEndian.Uint16(b))
	} else {
		word = binary.BigEndian.Uint32(b)
	}
	t := r.clock.time(int64(binary.BigEndian.Uint32(b[len(b)-4:])))
	if word&r.address.skip != 0 {
		r.stats.Add(events.NotPolarity, offset)
		return false, nil
	}
	x, y, p := r.address.event(word)
	if int64(x) > r.maxX || int64(y) > r.maxY {
		return false, r.problem(events.OutOfRange, offset, "pixel (%d, %d): outside the sensor of %dx%d", int32(x), int32(y), r.maxX+1, r.maxY+1)
	}
	if err := r.inOrder(t, offset); err != nil {
		return false, err
	}
	*dst = events.Event{T: t, X: uint16(x), Y: uint16(y), P: uint8(p)}
	return true, nil
}

func newAEDAT1Writer(w io.Writer, h events.Header, o WriteOptions) (events.Writer, error) {
	return newAEDATWriter(w, h, o, "aedat1")
}

func newAEDAT2Writer(w io.Writer, h events.Header, o WriteOptions) (events.Writer, error) {
	return newAEDATWriter(w, h, o, "aedat2")
}

// newAEDATWriter writes the header. The chip is what the options say, else the
// one of the sensor's size.
func newAEDATWriter(w io.Writer, h events.Header, o WriteOptions, format string) (events.Writer, error) {
	var c chip
	if o.Chip != "" {
		var err error
		if c, err = chipByName(o.Chip); err != nil {
			return nil, fmt.Errorf("%s: %w", format, err)
		}
	} else {
		var ok bool
		if c, ok = chipBySize(h.Width, h.Height); !ok {
			return nil, fmt.Errorf("%s: no chip has %dx%d pixels: the format knows 128x128, 240x180, 346x260 and 640x480", format, h.Width, h.Height)
		}
	}
	if format == "aedat1" && c.name != "dvs128" {
		return nil, fmt.Errorf("aedat1: only 128x128 pixels (dvs128) can be written, got %s", c.name)
	}
	a, _, err := newAddress(c, h.Convention)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", format, err)
	}
	h.Width, h.Height = c.width, c.height
	version, layout, size := "1.0", "int16 address, int32 timestamp (6 bytes total)", 6
	if format == "aedat2" {
		version, layout, size = "2.0", "int32 address, int32 timestamp (8 bytes total)", 8
	}
	p := &packer{w: w, name: format}
	// The last line tells readers that data may start with the byte of '#'.
	p.buf = fmt.Appendf(p.buf, "#!AER-DAT%s\r\n# This is a raw AE data file - do not edit\r\n"+
		"# Data format is %s, repeated for each event\r\n# Timestamps tick: 1 us\r\n# AEChip: %s\r\n%s\r\n", version, layout, c.class, endOfHeader)
	t := clock{bits: 32}
	p.encode = func(buf []byte, e events.Event) ([]byte, error) {
		if err := checkEvent(e, &h); err != nil {
			return buf, err
		}
		word, err := a.word(e)
		if err != nil {
			return buf, err
		}
		counter, err := t.counter(e.T)
		if err != nil {
			return buf, err
		}
		if size == 6 {
			buf = binary.BigEndian.AppendUint16(buf, uint16(word))
		} else {
			buf = binary.BigEndian.AppendUint32(buf, word)
		}
		return binary.BigEndian.AppendUint32(buf, uint32(counter)), nil
	}
	return p, nil
}
