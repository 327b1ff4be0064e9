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
	r.records = records{state: newState(o, h), src: s, size: 8, fast: r.fast, slow: r.slow}
	if format == "aedat1" {
		r.records.size, r.records.over, r.records.fast = 6, 2, r.fast1
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

// fast decodes records of version 2.
func (r *aedatReader) fast(dst []events.Event, b []byte) bool {
	if len(dst) == 0 {
		return true
	}
	a := r.address
	maxX, maxY, base, last := r.maxX, r.maxY, r.clock.base, r.clock.last
	odd, seen := int64(0), uint32(0) // odd is negative once anything is
	b = b[:len(dst)*8]
	for i := range dst {
		v := binary.BigEndian.Uint64(b[i*8:])
		word, t := uint32(v>>32), int64(uint32(v))
		x := (word>>(a.xShift&31)&a.xMask ^ a.xFlip) + a.xAdd
		y := (word>>(a.yShift&31)&a.yMask ^ a.yFlip) + a.yAdd
		p := word>>(a.pShift&31)&1 ^ a.pFlip
		seen |= word
		odd |= (maxX - int64(x)) | (maxY - int64(y)) | (t - last)
		last = t
		dst[i] = events.Event{T: base + t, X: uint16(x), Y: uint16(y), P: uint8(p)}
	}
	return r.accept(dst, odd < 0 || seen&a.skip != 0, last)
}

// fast1 decodes records of version 1.
func (r *aedatReader) fast1(dst []events.Event, b []byte) bool {
	if len(dst) == 0 {
		return true
	}
	maxX, maxY, base, last := r.maxX, r.maxY, r.clock.base, r.clock.last
	odd, seen := int64(0), uint32(0)
	b = b[:len(dst)*6+2]
	for i := range dst {
		v := binary.BigEndian.Uint64(b[i*6:])
		word, t := uint32(v>>48), int64(uint32(v>>16))
		x, y, p := r.address.event(word)
		seen |= word
		odd |= (maxX - int64(x)) | (maxY - int64(y)) | (t - last)
		last = t
		dst[i] = events.Event{T: base + t, X: uint16(x), Y: uint16(y), P: uint8(p)}
	}
	return r.accept(dst, odd < 0 || seen&r.address.skip != 0, last)
}

// accept ends the fast path: it moves the state on unless anything was odd.
func (r *aedatReader) accept(dst []events.Event, odd bool, last int64) bool {
	if odd || (r.started && dst[0].T < r.prev) {
		return false
	}
	r.clock.last = last
	r.prev, r.started = dst[len(dst)-1].T, true
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
