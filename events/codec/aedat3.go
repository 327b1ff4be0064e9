package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/adafire/adafire/events"
)

const (
	aedat3Head     = 28 // bytes of a packet's header
	aedat3Polarity = 1  // event type
	aedat3Event    = 8  // bytes of a polarity event
)

// aedat3Reader reads AEDAT 3.1: lines that start with '#' up to #!END-HEADER,
// then packets of events of one type, lowest byte first.
//
// Source: event_formats, section 3.3.
type aedat3Reader struct {
	state
	src        *Source
	maxX, maxY int64
	yFlip      uint32 // version 3.0 counts rows from below: y = (raw ^ yFlip) + yAdd
	yAdd       uint32

	packet   int64 // offset of the packet's header
	left     uint32
	unused   int64 // bytes behind the last event of the packet
	overflow int64 // what the packet adds to times
}

func newAEDAT3Reader(s *Source, o Options) (events.Reader, error) {
	const magic, old = "#!AER-DAT3.1", "#!AER-DAT3.0"
	head, err := s.Peek(len(magic))
	switch {
	case err == io.EOF && (strings.HasPrefix(magic, string(head)) || strings.HasPrefix(old, string(head))):
		return nil, events.Errorf(events.Truncated, o.Name, 0, "the file ends inside its first line: want %s", magic)
	case err != nil && err != io.EOF:
		return nil, err
	case string(head) != magic && string(head) != old:
		return nil, events.Errorf(events.BadMagic, o.Name, 0, "first bytes %q: want %s", head, magic)
	}
	lowerLeft := string(head) == old
	if lowerLeft && o.Mode != Lenient {
		return nil, events.Errorf(events.UnsupportedVersion, o.Name, 0, "AEDAT 3.0, which counts rows from below: the lenient mode reads it")
	}
	h := events.Header{Format: "aedat3", Width: o.Width, Height: o.Height, Convention: o.Convention}
	r := &aedat3Reader{src: s}
	meta, ended := map[string]string{}, false
	for !ended {
		at := s.Offset()
		line, ok, err := hashLine(s)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		ended = strings.TrimSpace(line) == endOfHeader3
		noteMeta(meta, line)
		if format, ok := strings.CutPrefix(line, "#Format:"); ok && strings.TrimSpace(format) != "RAW" {
			return nil, events.Errorf(events.UnsupportedVersion, o.Name, at, "format %q: want RAW", strings.TrimSpace(format))
		}
		if source := strings.TrimLeft(line, "#-"); strings.HasPrefix(source, "Source ") && h.Width == 0 && h.Height == 0 {
			if c, ok := chipByClass(sourceDevice(source)); ok {
				h.Width, h.Height = c.width, c.height
			}
		}
	}
	h.Meta = meta
	r.state = newState(o, h)
	if !ended && !lowerLeft {
		if o.Mode != Lenient {
			return nil, events.Errorf(events.MissingEndHeader, o.Name, s.Offset(), "the data seem to begin, want the line %s before", endOfHeader3)
		}
		r.stats.Add(events.MissingEndHeader, s.Offset())
	}
	if lowerLeft && o.Convention != Raw {
		if h.Height == 0 {
			return nil, events.Errorf(events.UnknownEncoding, o.Name, 0, "AEDAT 3.0 counts rows from below, and the header does not say how many there are: say the size of the sensor")
		}
		r.yFlip, r.yAdd = flip(h.Height)
	}
	r.maxX, r.maxY = limits(&h)
	return r, nil
}

// sourceDevice returns the first word behind the colon of "Source 1: DVS128".
func sourceDevice(line string) string {
	_, device, _ := strings.Cut(line, ":")
	if fields := strings.Fields(device); len(fields) > 0 {
		return fields[0]
	}
	return ""
}

// Read implements events.Reader.
func (r *aedat3Reader) Read(dst []events.Event) (int, error) {
	n := 0
	for n < len(dst) && r.err == nil {
		if r.left == 0 {
			r.err = r.nextPacket()
			continue
		}
		block, err := r.src.Block(aedat3Event)
		if len(block) < aedat3Event {
			r.err = r.cut(r.src.Offset(), aedat3Event, len(block), err)
			break
		}
		count := min(len(block)/aedat3Event, len(dst)-n, batch, int(min(r.left, math.MaxInt32)))
		if some := count &^ (group - 1); some > 0 && r.fast(dst[n:n+some], block) {
			n += some
			r.left -= uint32(some)
			r.src.Advance(some * aedat3Event)
			continue
		}
		for i := 0; i < count && r.err == nil; i++ {
			keep := false
			keep, r.err = r.slow(&dst[n], block[i*aedat3Event:], r.src.Offset())
			r.left--
			r.src.Advance(aedat3Event)
			if keep {
				n++
			}
		}
	}
	if n == len(dst) && n > 0 {
		return n, nil
	}
	return n, r.err
}

// cut returns the final error when the file ends inside the packet.
func (r *aedat3Reader) cut(offset int64, want, have int, err error) error {
	if errors.Is(err, io.EOF) {
		bad := events.Errorf(events.Truncated, r.name, offset, "the file ends inside a packet: want %d bytes, have %d", want, have)
		bad.Block = r.packet
		err = bad
	}
	return r.stop(err)
}

// nextPacket takes the rest of the packet before and goes to the next packet of
// polarity events.
func (r *aedat3Reader) nextPacket() error {
	for {
		if r.unused > 0 {
			have, err := r.src.Skip(r.unused)
			if have < r.unused {
				return r.cut(r.src.Offset(), int(min(r.unused, math.MaxInt32)), int(have), err)
			}
			r.unused = 0
		}
		r.packet = r.src.Offset()
		b, err := r.src.Peek(aedat3Head)
		if len(b) == 0 {
			return r.stop(err)
		}
		if len(b) < aedat3Head {
			return r.cut(r.packet, aedat3Head, len(b), err)
		}
		kind := binary.LittleEndian.Uint16(b)
		var field [6]uint32 // size, time offset, overflow, capacity, number, valid
		for i := range field {
			field[i] = binary.LittleEndian.Uint32(b[4+4*i:])
		}
		size, offset, capacity, number := field[0], field[1], field[3], field[4]
		if number > capacity {
			return r.badPacket(20, "%d events in a packet for %d", number, capacity)
		}
		if kind == aedat3Polarity && (size != aedat3Event || offset != 4) {
			return r.badPacket(4, "polarity events of %d bytes with the time at %d: want %d bytes and 4", size, offset, aedat3Event)
		}
		r.src.Advance(aedat3Head)
		unused := uint64(capacity) * uint64(size)
		if kind == aedat3Polarity {
			unused -= uint64(number) * aedat3Event
		}
		r.unused = int64(min(unused, math.MaxInt64))
		if kind != aedat3Polarity {
			r.stats.AddN(events.NotPolarity, r.packet, int64(number))
			continue
		}
		r.left, r.overflow = number, int64(field[2])<<31
		if r.left > 0 {
			return nil
		}
	}
}

func (r *aedat3Reader) badPacket(at int64, format string, args ...any) error {
	err := events.Errorf(events.BadPacketHeader, r.name, r.packet+at, format, args...)
	err.Block = r.packet
	return err
}

// aedat3Fast decodes an event, and returns what is negative when the pixel lies
// outside the sensor.
func (r *aedat3Reader) aedat3Fast(e *events.Event, v uint64) int64 {
	x, y := uint32(v)>>17, (uint32(v)>>2&(1<<15-1)^r.yFlip)+r.yAdd
	*e = events.Event{T: r.overflow + int64(v>>32&aedat3Time), X: uint16(x), Y: uint16(y), P: uint8(v >> 1 & 1)}
	return (r.maxX - int64(x)) | (r.maxY - int64(y))
}

const aedat3Time = 1<<31 - 1

func (r *aedat3Reader) fast(dst []events.Event, b []byte) bool {
	last := uint64(0) // times of a packet have 31 bits
	odd, back, valid := int64(0), uint64(0), uint64(1)
	for d := dst; len(d) >= group && len(b) >= group*aedat3Event; d, b = d[group:], b[group*aedat3Event:] {
		v := binary.LittleEndian.Uint64(b)
		valid &= v
		back |= v>>32&aedat3Time - last
		last = v >> 32 & aedat3Time
		odd |= r.aedat3Fast(&d[0], v)
		v = binary.LittleEndian.Uint64(b[8:])
		valid &= v
		back |= v>>32&aedat3Time - last
		last = v >> 32 & aedat3Time
		odd |= r.aedat3Fast(&d[1], v)
		v = binary.LittleEndian.Uint64(b[16:])
		valid &= v
		back |= v>>32&aedat3Time - last
		last = v >> 32 & aedat3Time
		odd |= r.aedat3Fast(&d[2], v)
		v = binary.LittleEndian.Uint64(b[24:])
		valid &= v
		back |= v>>32&aedat3Time - last
		last = v >> 32 & aedat3Time
		odd |= r.aedat3Fast(&d[3], v)
	}
	if odd < 0 || int64(back) < 0 || valid == 0 || (r.started && dst[0].T < r.prev) {
		return false
	}
	r.prev, r.started = dst[len(dst)-1].T, true
	return true
}

func (r *aedat3Reader) slow(dst *events.Event, b []byte, offset int64) (bool, error) {
	v := binary.LittleEndian.Uint64(b)
	if v&1 == 0 {
		r.stats.Add(events.InvalidEvent, offset)
		return false, nil
	}
	t := int64(v>>32&(1<<31-1)) + r.overflow
	x, y := uint32(v)>>17, (uint32(v)>>2&(1<<15-1)^r.yFlip)+r.yAdd
	if int64(x) > r.maxX || int64(y) > r.maxY {
		return false, r.problem(events.OutOfRange, offset, "pixel (%d, %d): outside the sensor of %dx%d", x, int32(y), r.maxX+1, r.maxY+1)
	}
	if err := r.inOrder(t, offset); err != nil {
		return false, err
	}
	*dst = events.Event{T: t, X: uint16(x), Y: uint16(y), P: uint8(v >> 1 & 1)}
	return true, nil
}

// aedat3Writer writes packets of up to packetEvents events with times of one
// overflow count.
type aedat3Writer struct {
	packer
	overflow int64 // of the packet being filled
	pending  []byte
}

// packetEvents is how many events the writers of AEDAT 3 and 4 put into a packet.
const packetEvents = 4096

func newAEDAT3Writer(w io.Writer, h events.Header, _ WriteOptions) (events.Writer, error) {
	device := "AdaFire"
	if c, ok := chipBySize(h.Width, h.Height); ok {
		device = strings.Replace(strings.ToUpper(c.name), "DAVIS", "Davis", 1)
	}
	a := &aedat3Writer{}
	a.packer = packer{w: w, name: "aedat3"}
	a.buf = fmt.Appendf(a.buf, "#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: %s\r\n%s\r\n", device, endOfHeader3)
	a.encode = func(buf []byte, e events.Event) ([]byte, error) {
		const most = 1<<15 - 1
		if err := checkEvent(e, &h); err != nil {
			return buf, err
		}
		if e.X > most || e.Y > most {
			return buf, fmt.Errorf("pixel (%d, %d): want x and y to %d", e.X, e.Y, most)
		}
		if e.T < 0 || e.T>>31 > math.MaxUint32 {
			return buf, fmt.Errorf("time %d µs: want 0 to 2^63 - 1", e.T)
		}
		if overflow := e.T >> 31; overflow != a.overflow || len(a.pending) == packetEvents*aedat3Event {
			buf = a.packet(buf)
			a.overflow = overflow
		}
		a.pending = binary.LittleEndian.AppendUint32(a.pending, 1|uint32(e.P)<<1|uint32(e.Y)<<2|uint32(e.X)<<17)
		a.pending = binary.LittleEndian.AppendUint32(a.pending, uint32(e.T&(1<<31-1)))
		return buf, nil
	}
	return a, nil
}

// packet appends the events that are pending as one packet.
func (a *aedat3Writer) packet(buf []byte) []byte {
	if len(a.pending) == 0 {
		return buf
	}
	number := uint32(len(a.pending) / aedat3Event)
	buf = binary.LittleEndian.AppendUint16(buf, aedat3Polarity)
	buf = binary.LittleEndian.AppendUint16(buf, 1) // source
	for _, v := range []uint32{aedat3Event, 4, uint32(a.overflow), number, number, number} {
		buf = binary.LittleEndian.AppendUint32(buf, v)
	}
	buf = append(buf, a.pending...)
	a.pending = a.pending[:0]
	return buf
}

// Close implements events.Writer.
func (a *aedat3Writer) Close() error {
	if a.err == nil {
		a.buf = a.packet(a.buf)
	}
	return a.packer.Close()
}
