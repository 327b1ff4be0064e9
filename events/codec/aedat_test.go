package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/google/go-cmp/cmp"

	"github.com/adafire/adafire/events"
)

// decoded reads data and wants no error.
func decoded(t *testing.T, data []byte, o Options) ([]events.Event, *Recording) {
	t.Helper()
	rec, err := NewReader(bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	list, err := events.ReadAll(rec)
	if err != nil {
		t.Fatal(err)
	}
	return list, rec
}

// refused reads data and wants an error of a kind at an offset.
func refused(t *testing.T, name string, data []byte, o Options, kind events.Kind, offset int64) {
	t.Helper()
	rec, err := NewReader(bytes.NewReader(data), o)
	if err == nil {
		_, err = events.ReadAll(rec)
	}
	var bad *events.Error
	if !errors.As(err, &bad) || bad.Kind != kind || bad.Offset != offset {
		t.Errorf("%s: got error %v, want %s at %d", name, err, kind, offset)
	}
}

func aedat2(header string, words ...uint32) []byte {
	data := []byte(header)
	for _, w := range words {
		data = binary.BigEndian.AppendUint32(data, w)
	}
	return data
}

const davisHeader = "#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.Davis346red\r\n"

// TestAEDAT2Header has data that start with the byte of '#'.
func TestAEDAT2Header(t *testing.T) {
	hash := uint32(0x23064800) // raw row 140
	want := []events.Event{{T: 777, X: 245, Y: 119, P: 1}}
	list, rec := decoded(t, aedat2(davisHeader, hash, 777), Options{})
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("data behind the last line: want (-), got (+):\n%s", diff)
	}
	if h := rec.Header(); h.Width != 346 || h.Height != 260 || h.Convention != "davis-jaer" || !strings.HasSuffix(h.Meta["AEChip"], "Davis346red") {
		t.Errorf("header is %+v", h)
	}
	// All of these bytes could be text: only the end line tells.
	text := []uint32{0x23404040, 0x40404040, 0x2340410a, 0x40404040}
	list, _ = decoded(t, aedat2(davisHeader+"#End Of ASCII Header\r\n", text...), Options{Convention: Raw, Mode: Lenient, Width: 1024, Height: 512})
	if len(list) != 2 {
		t.Errorf("behind the end line: got %d events, want 2", len(list))
	}
	list, _ = decoded(t, aedat2(strings.ReplaceAll(davisHeader, "\r\n", "\n"), hash, 777), Options{})
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("lines that end with LF: want (-), got (+):\n%s", diff)
	}
}

func TestAEDAT2Chip(t *testing.T) {
	const none = "#!AER-DAT2.0\r\n"
	refused(t, "no chip", aedat2(none, 0, 0), Options{}, events.UnknownEncoding, 0)
	for _, c := range []struct {
		header string
		o      Options
		want   events.Event
	}{
		{none, Options{Chip: "dvs128"}, events.Event{T: 9, X: 127, Y: 127, P: 1}},
		{none, Options{Chip: "davis240"}, events.Event{T: 9, X: 239, Y: 179}},
		{none, Options{Width: 640, Height: 480}, events.Event{T: 9, X: 639, Y: 479}},
		{none, Options{Convention: "paf-toolbox"}, events.Event{T: 9, X: 345, Y: 0, P: 1}},
		{none, Options{Convention: "davis-jaer", Width: 400, Height: 300}, events.Event{T: 9, X: 399, Y: 299}},
		{"#!AER-DAT2.0\n# AEChip: a.DAVIS240C\n", Options{}, events.Event{T: 9, X: 239, Y: 179}},
		{"#!AER-DAT2.0\n# AEChip: a.DAVIS640\n", Options{}, events.Event{T: 9, X: 639, Y: 479}},
		{"#!AER-DAT2.0\n# AEChip: a.DVS128\n", Options{Chip: "davis346"}, events.Event{T: 9, X: 345, Y: 259}},
	} {
		list, _ := decoded(t, aedat2(c.header, 0, 9), c.o)
		if diff := cmp.Diff([]events.Event{c.want}, list); diff != "" {
			t.Errorf("%q %+v: want (-), got (+):\n%s", c.header, c.o, diff)
		}
	}
	if _, err := NewReader(bytes.NewReader(aedat2(davisHeader)), Options{Convention: "dvs128-jaer"}); err == nil {
		t.Error("a convention of another chip was no error")
	}
	if _, err := NewReader(bytes.NewReader(aedat2(davisHeader)), Options{Chip: "davis"}); err == nil {
		t.Error("an unknown chip was no error")
	}
}

func TestAEDAT2Time(t *testing.T) {
	data := aedat2(davisHeader, 0, 0xfffffff0, 1<<31, 5, 0, 4, 0, 3, 0, 0xffffff00)
	list, rec := decoded(t, data, Options{})
	want := []int64{0xfffffff0, 1<<32 + 4, 1<<32 + 3, 1<<32 + 0xffffff00}
	for i, e := range list {
		if e.T != want[i] {
			t.Errorf("event %d: time %d, want %d", i, e.T, want[i])
		}
	}
	if s := rec.Stats(); s.Count(events.NotPolarity) != 1 || s.Count(events.TimeBackwards) != 1 {
		t.Errorf("counted %v, want one of each", s)
	}
	refused(t, "strict", data, Options{Mode: Strict}, events.TimeBackwards, int64(len(davisHeader))+24)
	refused(t, "only a line", []byte("#!AER-DAT2.0"), Options{Chip: "dvs128"}, events.BadHeader, 0)
	refused(t, "forced, empty", nil, Options{Format: "aedat2"}, events.Truncated, 0)
	refused(t, "forced, another", []byte("#!AER-DAT3.1\r\n"), Options{Format: "aedat2"}, events.BadMagic, 0)
}

func TestATISMarkers(t *testing.T) {
	data := []byte{3, 4, 0x80, 0, 9, 0, 240, 0, 0, 0, 5, 6, 0, 0, 7, 7, 8, 0x7f, 0xff, 0xff, 1, 2, 0, 0, 1}
	list, _ := decoded(t, data, Options{Format: "atis"})
	want := []events.Event{{T: 9, X: 3, Y: 4, P: 1}, {T: 7 + 1<<13, X: 5, Y: 6}, {T: 1<<23 - 1 + 1<<13, X: 7, Y: 8}, {T: 1<<23 + 1 + 1<<13, X: 1, Y: 2}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	refused(t, "outside", data, Options{Format: "atis", Width: 6, Height: 10}, events.OutOfRange, 15)
}

func aedat3Packet(kind uint16, field [6]uint32, content ...uint32) []byte {
	b := binary.LittleEndian.AppendUint16(nil, kind)
	b = append(b, 1, 0)
	for _, v := range append(field[:], content...) {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func TestAEDAT3(t *testing.T) {
	const head = "#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n"
	const end = "#!END-HEADER\r\n"
	event := aedat3Packet(1, [6]uint32{8, 4, 2, 2, 1, 1}, 1|1<<1|3<<2|5<<17, 7, 0, 0)
	want := []events.Event{{T: 2<<31 + 7, X: 5, Y: 3, P: 1}}

	list, rec := decoded(t, append([]byte(head+end), event...), Options{})
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if h := rec.Header(); h.Width != 128 || h.Height != 128 {
		t.Errorf("header is %+v", h)
	}
	refused(t, "no end line", append([]byte(head), event...), Options{}, events.MissingEndHeader, int64(len(head)))
	list, rec = decoded(t, append([]byte(head), event...), Options{Mode: Lenient})
	if diff := cmp.Diff(want, list); diff != "" || rec.Stats().Count(events.MissingEndHeader) != 1 {
		t.Errorf("no end line, lenient: counted %v; want (-), got (+):\n%s", rec.Stats(), diff)
	}
	old := append([]byte(strings.Replace(head, "3.1", "3.0", 1)), event...)
	refused(t, "3.0", old, Options{}, events.UnsupportedVersion, 0)
	list, _ = decoded(t, old, Options{Mode: Lenient})
	if diff := cmp.Diff([]events.Event{{T: 2<<31 + 7, X: 5, Y: 124, P: 1}}, list); diff != "" {
		t.Errorf("3.0: want (-), got (+):\n%s", diff)
	}
	at := int64(len(head + end))
	for name, c := range map[string]struct {
		data   []byte
		kind   events.Kind
		offset int64
	}{
		"number above capacity": {aedat3Packet(1, [6]uint32{8, 4, 0, 1, 2, 2}), events.BadPacketHeader, at + 20},
		"size 16":               {aedat3Packet(1, [6]uint32{16, 4, 0, 1, 1, 1}), events.BadPacketHeader, at + 4},
		"time at 0":             {aedat3Packet(1, [6]uint32{8, 0, 0, 1, 1, 1}), events.BadPacketHeader, at + 4},
		"half a header":         {event[:20], events.Truncated, at},
		"no unused slot":        {event[:36], events.Truncated, at + 36},
		"frames cut":            {aedat3Packet(2, [6]uint32{1 << 31, 4, 0, 1 << 31, 1, 1}, 1, 2), events.Truncated, at + 36},
		"outside":               {aedat3Packet(1, [6]uint32{8, 4, 0, 1, 1, 1}, 1|128<<2, 0), events.OutOfRange, at + 28},
	} {
		refused(t, name, append([]byte(head+end), c.data...), Options{}, c.kind, c.offset)
	}
	refused(t, "format", []byte("#!AER-DAT3.1\r\n#Format: Serial-TS\r\n"+end), Options{}, events.UnsupportedVersion, 14)
}

func TestGestureLabels(t *testing.T) {
	const names = "class,startTime_usec,endTime_usec\n"
	got, err := ReadGestureLabels(strings.NewReader(names+"3,10,20\r\n\n3,15,30"), "labels")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Clip{{2, 10, 20}, {2, 15, 30}}, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	for _, text := range []string{"", "class,start,end\n", names + "0,1,2\n", names + "1,2\n", names + "1,3,2\n", names + "1,a,2\n"} {
		if _, err := ReadGestureLabels(strings.NewReader(text), "labels"); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// aedat4 builds a file without compression.
func aedat4(xml string, compression int32, table int64, packets ...[]byte) []byte {
	b := flatbuffers.NewBuilder(64)
	text := b.CreateString(xml)
	b.StartObject(3)
	b.PrependInt64Slot(1, table, -1)
	b.PrependUOffsetTSlot(2, text, 0)
	b.PrependInt32Slot(0, compression, 0)
	b.FinishSizePrefixedWithFileIdentifier(b.EndObject(), []byte("IOHE"))
	data := append([]byte(aedat4Magic), b.FinishedBytes()...)
	for _, p := range packets {
		data = append(data, p...)
	}
	return data
}

func aedat4Packet0(stream int32, content []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(stream))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}

func aedat4Content(list ...events.Event) []byte {
	b := bytes.Clone(aedat4Empty)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.T))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.X)|uint64(e.Y)<<16|uint64(e.P)<<32)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	binary.LittleEndian.PutUint32(b[28:], uint32(len(list)))
	return b
}

func aedat4XML(streams ...string) string {
	var xml strings.Builder
	xml.WriteString(`<dv version="2.0"><node name="outInfo">`)
	for n, kind := range streams {
		fmt.Fprintf(&xml, `<node name="%d"><attr key="typeIdentifier" type="string">%s</attr><node name="info"><attr key="sizeX" type="int">%d</attr><attr key="sizeY" type="int">20</attr></node></node>`, n, kind, 10+n)
	}
	xml.WriteString(`</node><node name="other"><attr key="sizeX">7</attr></node></dv>`)
	return xml.String()
}

func TestAEDAT4Streams(t *testing.T) {
	one, two := events.Event{T: 5, X: 1, Y: 2, P: 1}, events.Event{T: 6, X: 3, Y: 4}
	packets := [][]byte{
		aedat4Packet0(0, []byte("a frame")), aedat4Packet0(1, aedat4Content(one)),
		aedat4Packet0(2, aedat4Content(two)), aedat4Packet0(9, nil),
	}
	data := aedat4(aedat4XML("FRME", "EVTS", "EVTS"), 0, -1, packets...)
	list, rec := decoded(t, data, Options{})
	if diff := cmp.Diff([]events.Event{one}, list); diff != "" {
		t.Errorf("lowest stream: want (-), got (+):\n%s", diff)
	}
	if h, s := rec.Header(), rec.Stats(); h.Width != 11 || h.Height != 20 || s.Count(events.UnknownStream) != 1 {
		t.Errorf("header %+v, counted %v; want 11x20 and one unknown stream", h, s)
	}
	list, rec = decoded(t, data, Options{Stream: "2"})
	if diff := cmp.Diff([]events.Event{two}, list); diff != "" || rec.Header().Width != 12 {
		t.Errorf("stream 2: header %+v; want (-), got (+):\n%s", rec.Header(), diff)
	}
	refused(t, "stream 0 is of frames", data, Options{Stream: "0"}, events.MissingField, 14)
	refused(t, "no events", aedat4(aedat4XML("FRME", "IMUS"), 0, -1), Options{}, events.MissingField, 14)
	if _, err := NewReader(bytes.NewReader(data), Options{Stream: "x"}); err == nil {
		t.Error("a stream that is no number was no error")
	}
	// As AEStream writes it.
	list, rec = decoded(t, aedat4(`<dv version="2.0"><node name="outInfo"></node></dv>`, 0, -1,
		aedat4Packet0(0, aedat4Content(one)), aedat4Packet0(1, aedat4Content(two)), aedat4Packet0(0, []byte("something else"))), Options{})
	if diff := cmp.Diff([]events.Event{one}, list); diff != "" || rec.Header().Width != 0 || rec.Stats().Count(events.UnknownStream) != 2 {
		t.Errorf("no stream declared: header %+v, counted %v; want (-), got (+):\n%s", rec.Header(), rec.Stats(), diff)
	}
}

func TestAEDAT4Damage(t *testing.T) {
	xml := aedat4XML("EVTS")
	start := int64(len(aedat4(xml, 0, -1)))
	one := aedat4Packet0(0, aedat4Content(events.Event{T: 5, X: 1, Y: 2, P: 1}))
	negative := bytes.Clone(one)
	binary.LittleEndian.PutUint32(negative[4:], 1<<31)
	end := start + int64(len(one))

	table := int64(len(aedat4(xml, 0, 1, one))) // the header is longer with one
	list, _ := decoded(t, append(aedat4(xml, 0, table, one), "a table of packets"...), Options{})
	if len(list) != 1 {
		t.Errorf("up to the table: got %d events, want 1", len(list))
	}
	refused(t, "no table", aedat4(xml, 0, table+1, one), Options{}, events.Truncated, table)
	refused(t, "table in the header", aedat4(xml, 0, 20, one), Options{}, events.BadHeader, 14)
	refused(t, "compression 5", aedat4(xml, 5, -1, one), Options{}, events.UnsupportedVersion, 14)
	refused(t, "negative size", aedat4(xml, 0, -1, negative), Options{}, events.Truncated, end)
	refused(t, "half a header", aedat4(xml, 0, -1, one, one[:5]), Options{}, events.Truncated, end)
	refused(t, "identifier", aedat4(xml, 0, -1, aedat4Packet0(0, bytes.Replace(one[8:], []byte("EVTS"), []byte("FRME"), 1))), Options{}, events.CorruptFlatbuffer, start+16)
	refused(t, "negative x", aedat4(xml, 0, -1, aedat4Packet0(0, aedat4Content(events.Event{T: 5, X: 1 << 15}))), Options{}, events.OutOfRange, start+40)
	refused(t, "XML", aedat4("<dv><node></dv>", 0, -1), Options{}, events.BadHeader, 14)
	refused(t, "sizeX", aedat4(strings.Replace(xml, ">10<", ">-1<", 1), 0, -1), Options{}, events.BadHeader, 14)
	refused(t, "version 4.1", []byte("#!AER-DAT4.1\r\n"), Options{}, events.BadMagic, 0)
	refused(t, "no header", []byte(aedat4Magic), Options{}, events.Truncated, 14)
	refused(t, "half a magic", []byte("#!AER-DAT4.0\r"), Options{Format: "aedat4"}, events.Truncated, 0)
	// On = 2 is true, and a time below 0 is a time.
	odd := []events.Event{{T: -7, P: 1}, {T: -6}, {T: 1}, {T: 2}}
	content := aedat4Content(odd...)
	content[len(aedat4Empty)+12] = 2
	list, _ = decoded(t, aedat4(xml, 0, -1, aedat4Packet0(0, content)), Options{})
	if diff := cmp.Diff(odd, list); diff != "" {
		t.Errorf("odd events: want (-), got (+):\n%s", diff)
	}
}

// TestAEDAT4Table follows the table of packets of a written file.
func TestAEDAT4Table(t *testing.T) {
	for _, compression := range []string{"none", "lz4", "zstd"} {
		list := make([]events.Event, 2*packetEvents+5)
		for i := range list {
			list[i].T = int64(i)
		}
		data := writeAll(t, "aedat4", events.Header{Width: 10, Height: 10}, WriteOptions{Compression: compression}, list)
		r := &aedat4Reader{src: NewSource(bytes.NewReader(data), "written"), state: newState(Options{}, events.Header{})}
		r.src.Advance(copy(make([]byte, 14), must(r.src.Peek(14))))
		if _, err := r.readIOHeader(); err != nil {
			t.Fatal(err)
		}
		r.packed = data[r.end:]
		table := r.packed
		if r.compression != aedat4None {
			if flat, err := r.unpack(); flat != nil || err != nil {
				t.Fatal(flat, err)
			}
			table = r.unpacked
		}
		root, flat := flatRoot(table, "FTAB")
		if flat != nil {
			t.Fatal(flat)
		}
		lines, at, flat := root.vector(0, 4)
		if flat != nil || len(lines) != 3*4 {
			t.Fatalf("%s: %d lines, error %v, want 3", compression, len(lines)/4, flat)
		}
		first := int64(0)
		for i := range 3 {
			pos := at + 4*i
			line, flat := flatTableAt(table, pos, int64(pos)+int64(binary.LittleEndian.Uint32(table[pos:])))
			if flat != nil {
				t.Fatal(flat)
			}
			offset, _ := line.int(0, 8, 0)
			elements, _ := line.int(2, 8, 0)
			start, _ := line.int(3, 8, 0)
			end, _ := line.int(4, 8, 0)
			info, flat := line.field(1, 8)
			if flat != nil || info == 0 {
				t.Fatalf("%s: line %d has no packet: %v", compression, i, flat)
			}
			if start != first || end != first+elements-1 {
				t.Errorf("%s: line %d: times %d to %d of %d events, want them from %d", compression, i, start, end, elements, first)
			}
			if !bytes.Equal(table[info:info+8], data[offset-8:offset]) {
				t.Errorf("%s: line %d: packet % x, the file has % x", compression, i, table[info:info+8], data[offset-8:offset])
			}
			first += elements
		}
		if first != int64(len(list)) {
			t.Errorf("%s: the table has %d events, want %d", compression, first, len(list))
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
