package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/adafire/adafire/events"
)

// aedat4Writer writes AEDAT 4. The header says where the table of packets
// stands, which is known last: packed packets are held back, in a temporary
// file when there are many.
type aedat4Writer struct {
	w           io.Writer
	header      events.Header
	compression int32
	method      string
	held        spool
	table       []aedat4Packet
	size        int64 // of the packets held back
	count       int64
	err         error

	packet      []byte // FlatBuffer being filled
	first, last int64  // times of its events
	packed      bytes.Buffer
	lz4         *lz4.Writer
	zstd        *zstd.Encoder
}

// aedat4Packet is a line of the FileDataTable.
type aedat4Packet struct {
	offset          int64 // of the content, from the first packet's header
	size            int32
	elements        int64
	first, lastTime int64
}

// aedat4Empty is an EventPacket without events: length, root offset, identifier,
// padding and vtable, table, and the vector's length.
var aedat4Empty = []byte{
	0, 0, 0, 0, 16, 0, 0, 0, 'E', 'V', 'T', 'S', 0, 0, 6, 0, 8, 0, 4, 0, 6, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
}

func newAEDAT4Writer(w io.Writer, h events.Header, o WriteOptions) (events.Writer, error) {
	a := &aedat4Writer{w: w, header: h, packet: bytes.Clone(aedat4Empty)}
	switch o.Compression {
	case "none":
		a.compression, a.method = aedat4None, "NONE"
	case "", "lz4":
		a.compression, a.method = aedat4LZ4, "LZ4"
		a.lz4 = lz4.NewWriter(nil)
		if err := a.lz4.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.ConcurrencyOption(1)); err != nil {
			return nil, fmt.Errorf("aedat4: %w", err)
		}
	case "zstd":
		a.compression, a.method = aedat4Zstd, "ZSTD"
		var err error
		if a.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(128<<10)); err != nil {
			return nil, fmt.Errorf("aedat4: %w", err)
		}
	default:
		return nil, fmt.Errorf("aedat4: unknown compression %q: want none, lz4 or zstd", o.Compression)
	}
	return a, nil
}

// Write implements events.Writer.
func (a *aedat4Writer) Write(src []events.Event) error {
	for _, e := range src {
		if a.err != nil {
			return a.err
		}
		err := checkEvent(e, &a.header)
		if err == nil && (e.X > math.MaxInt16 || e.Y > math.MaxInt16) {
			err = fmt.Errorf("pixel (%d, %d): want x and y to %d", e.X, e.Y, math.MaxInt16)
		}
		if err != nil {
			a.err = fmt.Errorf("aedat4: event %d: %w", a.count, err)
			return a.err
		}
		if len(a.packet) == len(aedat4Empty) {
			a.first = e.T
		}
		a.last = e.T
		a.packet = binary.LittleEndian.AppendUint64(a.packet, uint64(e.T))
		a.packet = binary.LittleEndian.AppendUint64(a.packet, uint64(e.X)|uint64(e.Y)<<16|uint64(e.P)<<32)
		a.count++
		if len(a.packet) == len(aedat4Empty)+packetEvents*aedat4Event {
			a.err = a.flush()
		}
	}
	return a.err
}

// flush packs the packet being filled and holds it back.
func (a *aedat4Writer) flush() error {
	elements := (len(a.packet) - len(aedat4Empty)) / aedat4Event
	if elements == 0 {
		return nil
	}
	binary.LittleEndian.PutUint32(a.packet, uint32(len(a.packet)-4))
	binary.LittleEndian.PutUint32(a.packet[len(aedat4Empty)-4:], uint32(elements))
	content, err := a.pack(a.packet)
	if err != nil {
		return err
	}
	var head [8]byte // stream 0
	binary.LittleEndian.PutUint32(head[4:], uint32(len(content)))
	a.table = append(a.table, aedat4Packet{a.size + 8, int32(len(content)), int64(elements), a.first, a.last})
	a.size += int64(8 + len(content))
	if _, err := a.held.Write(head[:]); err != nil {
		return err
	}
	_, err = a.held.Write(content)
	a.packet = append(a.packet[:0], aedat4Empty...) // content may be the packet itself
	return err
}

// pack compresses a FlatBuffer; the result is valid until the next call.
func (a *aedat4Writer) pack(b []byte) ([]byte, error) {
	a.packed.Reset()
	switch {
	case a.lz4 != nil:
		a.lz4.Reset(&a.packed)
		if _, err := a.lz4.Write(b); err != nil {
			return nil, err
		}
		err := a.lz4.Close()
		return a.packed.Bytes(), err
	case a.zstd != nil:
		a.packed.Write(a.zstd.EncodeAll(b, a.packed.AvailableBuffer()))
		return a.packed.Bytes(), nil
	}
	return b, nil
}

// Close implements events.Writer.
func (a *aedat4Writer) Close() error {
	if errors.Is(a.err, errClosed) {
		return nil
	}
	if a.err == nil {
		a.err = a.flush()
	}
	err := a.err
	if err == nil {
		err = a.finish()
	}
	a.err = fmt.Errorf("aedat4: %w", errClosed)
	return errors.Join(err, a.held.Close())
}

// finish writes the file.
func (a *aedat4Writer) finish() error {
	start := int64(len(aedat4Magic) + len(a.ioHeader(0))) // of the first packet
	if _, err := a.w.Write(append([]byte(aedat4Magic), a.ioHeader(start+a.size)...)); err != nil {
		return err
	}
	if err := a.held.copyTo(a.w); err != nil {
		return err
	}
	table, err := a.pack(a.dataTable(start))
	if err != nil {
		return err
	}
	_, err = a.w.Write(table)
	return err
}

// ioHeader returns the IOHeader. Its length does not depend on the position.
func (a *aedat4Writer) ioHeader(tablePosition int64) []byte {
	info := ""
	if a.header.Width > 0 && a.header.Height > 0 {
		info = fmt.Sprintf(`
            <attr key="sizeX" type="int">%d</attr>
            <attr key="sizeY" type="int">%d</attr>`, a.header.Width, a.header.Height)
	}
	xml := fmt.Sprintf(`<dv version="2.0">
    <node name="outInfo" path="/outInfo/">
        <node name="0" path="/outInfo/0/">
            <attr key="compression" type="string">%s</attr>
            <attr key="originalModuleName" type="string">adafire</attr>
            <attr key="originalOutputName" type="string">events</attr>
            <attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>
            <attr key="typeIdentifier" type="string">EVTS</attr>
            <node name="info" path="/outInfo/0/info/">%s
                <attr key="source" type="string">AdaFire</attr>
            </node>
        </node>
    </node>
</dv>
`, a.method, info)
	b := flatbuffers.NewBuilder(1024)
	text := b.CreateString(xml)
	b.StartObject(3)
	b.PrependInt64Slot(1, tablePosition, -1)
	b.PrependUOffsetTSlot(2, text, 0)
	b.PrependInt32Slot(0, a.compression, 0)
	b.FinishSizePrefixedWithFileIdentifier(b.EndObject(), []byte("IOHE"))
	return b.FinishedBytes()
}

// dataTable returns the FileDataTable of packets that start at start.
func (a *aedat4Writer) dataTable(start int64) []byte {
	b := flatbuffers.NewBuilder(1024)
	lines := make([]flatbuffers.UOffsetT, len(a.table))
	for i, p := range a.table {
		b.StartObject(5)
		b.PrependInt64Slot(4, p.lastTime, 0)
		b.PrependInt64Slot(3, p.first, 0)
		b.PrependInt64Slot(2, p.elements, 0)
		b.PrependInt64Slot(0, start+p.offset, 0)
		b.Prep(4, 8) // a struct lies in the table itself
		b.PrependInt32(p.size)
		b.PrependInt32(0)
		b.PrependStructSlot(1, b.Offset(), 0)
		lines[i] = b.EndObject()
	}
	b.StartVector(4, len(lines), 4)
	for i := len(lines) - 1; i >= 0; i-- {
		b.PrependUOffsetT(lines[i])
	}
	vector := b.EndVector(len(lines))
	b.StartObject(1)
	b.PrependUOffsetTSlot(0, vector, 0)
	b.FinishSizePrefixedWithFileIdentifier(b.EndObject(), []byte("FTAB"))
	return b.FinishedBytes()
}

// A spool holds bytes back: in memory while they are few, then in a temporary
// file.
type spool struct {
	memory []byte
	file   *os.File
}

const spoolMemory = 8 << 20

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.memory)+len(p) <= spoolMemory {
		s.memory = append(s.memory, p...)
		return len(p), nil
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "adafire-events-*")
		if err != nil {
			return 0, err
		}
		s.file = f
		os.Remove(f.Name()) // where open files can be removed; elsewhere Close does it
		if _, err := f.Write(s.memory); err != nil {
			return 0, err
		}
		s.memory = s.memory[:0]
	}
	// Pieces of some 100 kB: buffering would save nothing.
	return s.file.Write(p)
}

// copyTo writes what is held back to w.
func (s *spool) copyTo(w io.Writer) error {
	if s.file == nil {
		_, err := w.Write(s.memory)
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(w, s.file)
	return err
}

// Close drops what is held back.
func (s *spool) Close() error {
	s.memory = nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	os.Remove(s.file.Name()) // gone already on most systems
	s.file = nil
	return err
}
