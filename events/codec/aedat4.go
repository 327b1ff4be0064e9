package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/adafire/adafire/events"
)

const (
	aedat4Magic     = "#!AER-DAT4.0\r\n"
	aedat4Event     = 16        // bytes of an event
	aedat4MaxHeader = 64 << 20  // bytes of an IOHeader
	aedat4MaxPacket = 256 << 20 // unpacked bytes of a packet; recorders write some 100 kB
)

// Compressions of an IOHeader.
const (
	aedat4None = iota
	aedat4LZ4
	aedat4LZ4High
	aedat4Zstd
	aedat4ZstdHigh
)

// aedat4Reader reads AEDAT 4: an IOHeader that describes streams, then packets
// of a stream each, packed one by one.
//
// Source: event_formats, section 3.4.
type aedat4Reader struct {
	state
	src        *Source
	maxX, maxY int64

	compression int64
	end         int64                // where packets end; negative when the file does not say
	streams     map[int]aedat4Stream // by number; empty when the header names none
	stream      int                  // what is read

	packed, unpacked []byte
	lz4              *lz4.Reader
	zstd             *zstd.Decoder

	packet int64  // offset of the packet's header
	left   []byte // events of the packet that were not given out
	at     int64  // offset in the file of left, or of the packed content
	plain  bool   // at moves with left
}

func newAEDAT4Reader(s *Source, o Options) (events.Reader, error) {
	r := &aedat4Reader{src: s, state: newState(o, events.Header{Format: "aedat4", Convention: o.Convention, Width: o.Width, Height: o.Height})}
	head, err := s.Peek(len(aedat4Magic))
	switch {
	case err == io.EOF && strings.HasPrefix(aedat4Magic, string(head)):
		return nil, events.Errorf(events.Truncated, o.Name, 0, "the file ends inside its first line: want %q", aedat4Magic)
	case err != nil && err != io.EOF:
		return nil, err
	case string(head) != aedat4Magic:
		return nil, events.Errorf(events.BadMagic, o.Name, 0, "first bytes %q: want %q", head, aedat4Magic)
	}
	s.Advance(len(aedat4Magic))
	info, err := r.readIOHeader()
	if err != nil {
		return nil, err
	}
	streams, err := aedat4Streams(info)
	if err != nil {
		return nil, events.Errorf(events.BadHeader, o.Name, int64(len(aedat4Magic)), "the XML of the header: %v", err)
	}
	chosen, err := r.choose(streams, o.Stream)
	if err != nil {
		return nil, err
	}
	if r.header.Width == 0 {
		r.header.Width = chosen.sizeX
	}
	if r.header.Height == 0 {
		r.header.Height = chosen.sizeY
	}
	r.header.Meta = map[string]string{"stream": strconv.Itoa(r.stream), "compression": [...]string{"none", "lz4", "lz4", "zstd", "zstd"}[r.compression]}
	if chosen.source != "" {
		r.header.Meta["source"] = chosen.source
	}
	r.maxX, r.maxY = limits(&r.header)
	// Coordinates are signed: what is below 0 comes out above this.
	r.maxX, r.maxY = min(r.maxX, math.MaxInt16), min(r.maxY, math.MaxInt16)
	return r, nil
}

// readIOHeader takes the IOHeader and returns its XML.
func (r *aedat4Reader) readIOHeader() ([]byte, error) {
	start := r.src.Offset()
	b, err := r.src.Peek(4)
	if len(b) < 4 {
		return nil, r.short(start, start, 4, len(b), err)
	}
	size := int64(binary.LittleEndian.Uint32(b)) + 4
	if size > aedat4MaxHeader {
		return nil, events.Errorf(events.BadHeader, r.name, start, "a header of %d bytes: want %d at most", size, aedat4MaxHeader)
	}
	buf, err := readBlock(r.src, nil, size)
	if err != nil {
		return nil, r.short(r.src.Offset(), start, size, len(buf), err)
	}
	bad := func(f *flatError) error {
		return events.Errorf(events.CorruptFlatbuffer, r.name, start+int64(f.at), "IOHeader: %s", f.msg)
	}
	root, flat := flatRoot(buf, "IOHE")
	if flat != nil {
		return nil, bad(flat)
	}
	if r.compression, flat = root.int(0, 4, aedat4None); flat != nil {
		return nil, bad(flat)
	}
	if r.compression < aedat4None || r.compression > aedat4ZstdHigh {
		return nil, events.Errorf(events.UnsupportedVersion, r.name, start, "compression %d: want 0 to 4", r.compression)
	}
	if r.end, flat = root.int(1, 8, -1); flat != nil {
		return nil, bad(flat)
	}
	if r.end >= 0 && r.end < r.src.Offset() {
		return nil, events.Errorf(events.BadHeader, r.name, start, "the data table is at %d, which is inside the header of %d bytes", r.end, r.src.Offset())
	}
	info, _, flat := root.vector(2, 1)
	if flat != nil {
		return nil, bad(flat)
	}
	return info, nil
}

// short returns the error of a file that ends inside a block that starts at
// block, without asking the mode.
func (r *aedat4Reader) short(offset, block, want int64, have int, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	e := events.Errorf(events.Truncated, r.name, offset, "the file ends inside a block: want %d bytes, have %d", want, have)
	e.Block = block
	return e
}

// readBlock reads n bytes into buf, which it makes longer in pieces as they
// come. With an error it returns what there was; the error of a short stream is
// io.EOF.
func readBlock(r io.Reader, buf []byte, n int64) ([]byte, error) {
	buf = buf[:0]
	for int64(len(buf)) < n {
		piece := int(min(n-int64(len(buf)), MaxPeek))
		if cap(buf)-len(buf) < piece {
			buf = slices.Grow(buf, piece)
		}
		m, err := io.ReadFull(r, buf[len(buf):len(buf)+piece])
		buf = buf[:len(buf)+m]
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// aedat4Stream is what the XML says of a stream.
type aedat4Stream struct {
	kind, source string
	sizeX, sizeY int
}

// aedat4Streams returns the streams of the XML of an IOHeader by their numbers.
// Nodes that are not known are passed over.
func aedat4Streams(info []byte) (map[int]aedat4Stream, error) {
	streams := map[int]aedat4Stream{}
	var path []string // names of the nodes around
	key := ""         // of the attr around
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimRight(info, "\x00")))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // only numbers and types are used
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return streams, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "node":
				path = append(path, xmlAttr(t, "name"))
				if n, ok := streamOf(path); ok && len(path) == 2 {
					streams[n] = aedat4Stream{}
				}
			case "attr":
				key = xmlAttr(t, "key")
			}
		case xml.EndElement:
			switch {
			case t.Name.Local == "node" && len(path) > 0:
				path = path[:len(path)-1]
			case t.Name.Local == "attr":
				key = ""
			}
		case xml.CharData:
			n, ok := streamOf(path)
			if !ok || key == "" {
				continue
			}
			s, value := streams[n], strings.TrimSpace(string(t))
			switch {
			case len(path) == 2 && key == "typeIdentifier":
				s.kind = value
			case len(path) != 3 || path[2] != "info":
			case key == "source":
				s.source = value
			case key == "sizeX" || key == "sizeY":
				v, err := strconv.Atoi(value)
				if err != nil || v < 0 || v > math.MaxInt16+1 {
					return nil, fmt.Errorf("%s of stream %d is %.40q: want 0 to %d", key, n, value, math.MaxInt16+1)
				}
				if key == "sizeX" {
					s.sizeX = v
				} else {
					s.sizeY = v
				}
			}
			streams[n] = s
		}
	}
}

// streamOf returns the number of the stream that a path of nodes lies in.
func streamOf(path []string) (int, bool) {
	if len(path) < 2 || path[0] != "outInfo" {
		return 0, false
	}
	n, err := strconv.ParseInt(path[1], 10, 32)
	return int(n), err == nil
}

func xmlAttr(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// choose settles which stream is read.
func (r *aedat4Reader) choose(streams map[int]aedat4Stream, wish string) (aedat4Stream, error) {
	r.streams = streams
	var list []string
	stream, found := 0, false
	for _, n := range slices.Sorted(maps.Keys(streams)) {
		list = append(list, fmt.Sprintf("%d %s", n, streams[n].kind))
		if streams[n].kind == "EVTS" && !found {
			stream, found = n, true
		}
	}
	if wish != "" {
		n, err := strconv.ParseInt(wish, 10, 32)
		if err != nil {
			return aedat4Stream{}, fmt.Errorf("%s: stream %q: want a number", r.name, wish)
		}
		stream, found = int(n), len(streams) == 0 || streams[int(n)].kind == "EVTS"
	}
	if !found && len(streams) > 0 {
		return aedat4Stream{}, events.Errorf(events.MissingField, r.name, int64(len(aedat4Magic)),
			"no stream of events (EVTS): the file has %.200s", strings.Join(list, ", "))
	}
	r.stream = stream
	return streams[stream], nil
}

// Read implements events.Reader.
func (r *aedat4Reader) Read(dst []events.Event) (int, error) {
	n := 0
	for n < len(dst) && r.err == nil {
		if len(r.left) == 0 {
			r.err = r.stop(r.nextPacket())
			continue
		}
		count := min(len(r.left)/aedat4Event, len(dst)-n, batch)
		if some := count &^ (group - 1); some > 0 && r.fast(dst[n:n+some], r.left) {
			n += some
			r.take(some)
			continue
		}
		for i := 0; i < count && r.err == nil; i++ {
			keep := false
			keep, r.err = r.slow(&dst[n], r.left)
			r.take(1)
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

func (r *aedat4Reader) take(count int) {
	r.left = r.left[count*aedat4Event:]
	if r.plain {
		r.at += int64(count) * aedat4Event
	}
}

// nextPacket goes to the next packet with events; io.EOF behind the last. Some
// errors are for stop to judge.
func (r *aedat4Reader) nextPacket() error {
	for {
		r.packet = r.src.Offset()
		if r.end >= 0 && r.packet >= r.end {
			return io.EOF
		}
		b, err := r.src.Peek(8)
		switch {
		case len(b) == 0 && errors.Is(err, io.EOF) && r.end >= 0:
			return events.Errorf(events.Truncated, r.name, r.packet, "the file ends before its data table at %d", r.end)
		case len(b) == 0:
			return err
		case len(b) < 8:
			return r.short(r.packet, r.packet, 8, len(b), err)
		}
		stream, size := int(int32(binary.LittleEndian.Uint32(b))), int64(int32(binary.LittleEndian.Uint32(b[4:])))
		if size < 0 {
			if _, err := r.src.Skip(math.MaxInt64); !errors.Is(err, io.EOF) {
				return err
			}
			bad := events.Errorf(events.Truncated, r.name, r.src.Offset(), "a packet of %d bytes", size)
			bad.Block = r.packet
			return bad
		}
		r.src.Advance(8)
		_, declared := r.streams[stream]
		if stream != r.stream {
			if !declared {
				r.stats.Add(events.UnknownStream, r.packet)
			}
			if have, err := r.src.Skip(size); have < size {
				return r.short(r.src.Offset(), r.packet, size, int(have), err)
			}
			continue
		}
		content := r.src.Offset()
		if r.packed, err = readBlock(r.src, r.packed, size); err != nil {
			return r.short(r.src.Offset(), r.packet, size, len(r.packed), err)
		}
		if err := r.openPacket(content, declared); err != nil {
			return err
		}
		if len(r.left) > 0 {
			return nil
		}
	}
}

// openPacket unpacks r.packed and finds its events.
func (r *aedat4Reader) openPacket(content int64, declared bool) error {
	flatAt := func(e *flatError) error {
		at := content
		if r.compression == aedat4None {
			at += int64(e.at)
		}
		bad := events.Errorf(events.CorruptFlatbuffer, r.name, at, "%v", e)
		bad.Block = r.packet
		return bad
	}
	b := r.packed
	if r.compression != aedat4None {
		flat, err := r.unpack()
		if flat != nil {
			return flatAt(flat)
		}
		if err != nil {
			bad := events.Errorf(events.CorruptCompression, r.name, content, "%v", err)
			bad.Block = r.packet
			return bad
		}
		b = r.unpacked
	}
	if !declared && (len(b) < flatPrefix || string(b[8:12]) != "EVTS") {
		r.stats.Add(events.UnknownStream, r.packet)
		return nil
	}
	root, flat := flatRoot(b, "EVTS")
	if flat != nil {
		return flatAt(flat)
	}
	elements, at, flat := root.vector(0, aedat4Event)
	if flat != nil {
		return flatAt(flat)
	}
	r.left, r.at, r.plain = elements, content, r.compression == aedat4None
	if r.plain {
		r.at += int64(at)
	}
	return nil
}

// unpack unpacks r.packed into r.unpacked: as much as the FlatBuffer claims to
// be long, in pieces.
func (r *aedat4Reader) unpack() (*flatError, error) {
	in := bytes.NewReader(r.packed)
	var out io.Reader
	if r.compression <= aedat4LZ4High {
		if r.lz4 == nil {
			r.lz4 = lz4.NewReader(nil)
		}
		r.lz4.Reset(in)
		out = r.lz4
	} else {
		if r.zstd == nil {
			z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(aedat4MaxPacket))
			if err != nil {
				return nil, err
			}
			r.zstd = z
		}
		if err := r.zstd.Reset(in); err != nil {
			return nil, err
		}
		out = r.zstd
	}
	var prefix [4]byte
	if _, err := io.ReadFull(out, prefix[:]); err != nil {
		return nil, unexpected(err)
	}
	size := int64(binary.LittleEndian.Uint32(prefix[:]))
	if size > aedat4MaxPacket {
		return flatBad(0, "length %d: want %d at most", size, aedat4MaxPacket), nil
	}
	if cap(r.unpacked) == 0 {
		r.unpacked = make([]byte, 0, min(size+4, MaxPeek))
	}
	b, err := readBlock(io.MultiReader(bytes.NewReader(prefix[:]), out), r.unpacked, size+4)
	r.unpacked = b
	if errors.Is(err, io.EOF) {
		return flatBad(0, "length %d: only %d bytes follow", size, len(b)-4), nil
	}
	if err != nil {
		return nil, err
	}
	// On to the end of the frame, for its checksum; what stands behind the
	// FlatBuffer is nobody's, as long as it is short.
	extra, err := io.Copy(io.Discard, io.LimitReader(out, maxBehind+1))
	if extra > maxBehind {
		return flatBad(0, "length %d: more than %d bytes follow it", size, maxBehind), nil
	}
	return nil, err
}

// maxBehind is how many bytes behind the FlatBuffer of a packet are passed over.
const maxBehind = 1 << 10

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// aedat4Fast decodes an event of time t, and returns what has a sign of a lane
// set when the pixel lies beyond last, and a bit above 32 when the polarity is
// neither 0 nor 1.
func aedat4Fast(e *events.Event, t, v, last uint64) uint64 {
	*e = events.Event{T: int64(t), X: uint16(v), Y: uint16(v >> 16), P: uint8(v >> 32)}
	// Guard bits keep a lane from borrowing from the next.
	return ^(last|laneSigns-v&^laneSigns)&laneSigns | v&laneSigns | v&(0xfe<<32)
}

func (r *aedat4Reader) fast(dst []events.Event, b []byte) bool {
	last, size := uint64(0), uint64(r.maxX)|uint64(r.maxY)<<16
	if r.started {
		last = uint64(r.prev)
	}
	back, odd := last, uint64(0) // times below 0 are for the slow path
	for d := dst; len(d) >= group && len(b) >= group*aedat4Event; d, b = d[group:], b[group*aedat4Event:] {
		t := binary.LittleEndian.Uint64(b)
		back |= t | (t - last)
		last = t
		odd |= aedat4Fast(&d[0], t, binary.LittleEndian.Uint64(b[8:])&(1<<40-1), size)
		t = binary.LittleEndian.Uint64(b[16:])
		back |= t | (t - last)
		last = t
		odd |= aedat4Fast(&d[1], t, binary.LittleEndian.Uint64(b[24:])&(1<<40-1), size)
		t = binary.LittleEndian.Uint64(b[32:])
		back |= t | (t - last)
		last = t
		odd |= aedat4Fast(&d[2], t, binary.LittleEndian.Uint64(b[40:])&(1<<40-1), size)
		t = binary.LittleEndian.Uint64(b[48:])
		back |= t | (t - last)
		last = t
		odd |= aedat4Fast(&d[3], t, binary.LittleEndian.Uint64(b[56:])&(1<<40-1), size)
	}
	if int64(back) < 0 || odd != 0 {
		return false
	}
	r.prev, r.started = int64(last), true
	return true
}

func (r *aedat4Reader) slow(dst *events.Event, b []byte) (bool, error) {
	t := int64(binary.LittleEndian.Uint64(b))
	x, y := int16(binary.LittleEndian.Uint16(b[8:])), int16(binary.LittleEndian.Uint16(b[10:]))
	if x < 0 || y < 0 || int64(x) > r.maxX || int64(y) > r.maxY {
		err := r.problem(events.OutOfRange, r.at, "pixel (%d, %d): outside the sensor of %dx%d", x, y, r.maxX+1, r.maxY+1)
		var bad *events.Error
		if errors.As(err, &bad) {
			bad.Block = r.packet
		}
		return false, err
	}
	if err := r.inOrder(t, r.at); err != nil {
		return false, err
	}
	*dst = events.Event{T: t, X: uint16(x), Y: uint16(y), P: min(b[12], 1)}
	return true, nil
}
