package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/events"
)

// drawRecording draws a recording that a format can hold: steps of time that stay
// within half the range of the format's counter.
func drawRecording(t *rapid.T, width, height int, maxStep int64) []events.Event {
	n := rapid.IntRange(0, 300).Draw(t, "events")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	list := make([]events.Event, n)
	steps := []int64{1, 100, maxStep}
	at := int64(0)
	for i := range list {
		at += r.Int64N(steps[r.IntN(len(steps))] + 1)
		list[i] = events.Event{T: at, X: uint16(r.IntN(width)), Y: uint16(r.IntN(height)), P: uint8(r.IntN(2))}
		if r.IntN(20) == 0 { // a glitch
			list[i].T = max(0, at-r.Int64N(50))
			at = list[i].T
		}
	}
	return list
}

// identityCases are the formats with a writer here, with what they can hold.
var identityCases = []struct {
	format      string
	convention  string
	width       int
	height      int
	step        int64
	o           WriteOptions
	unknownSize bool
}{
	{format: "atis", width: 34, height: 34, step: 1 << 21},
	{format: "atis", width: 256, height: 240, step: 1 << 21, unknownSize: true},
	{format: "aedat1", width: 128, height: 128, step: 1 << 30},
	{format: "aedat1", convention: "cifar10dvs-spikingjelly", width: 128, height: 128, step: 1 << 30},
	{format: "aedat1", convention: Raw, width: 128, height: 128, step: 1 << 30},
	{format: "aedat2", width: 128, height: 128, step: 1 << 30},
	{format: "aedat2", convention: "cifar10dvs-spikingjelly", width: 128, height: 128, step: 1 << 30},
	{format: "aedat2", convention: Raw, width: 128, height: 128, step: 1 << 30},
	{format: "aedat2", width: 240, height: 180, step: 1 << 30},
	{format: "aedat2", convention: "davis-jaer", width: 346, height: 260, step: 1 << 30},
	{format: "aedat2", convention: "paf-toolbox", width: 346, height: 260, step: 1 << 30},
	{format: "aedat2", convention: Raw, width: 346, height: 260, step: 1 << 30},
	{format: "aedat2", width: 640, height: 480, step: 1 << 30},
	{format: "aedat3", width: 128, height: 128, step: 1 << 33},
	{format: "aedat3", width: 1 << 15, height: 1 << 15, step: 1 << 40, unknownSize: true},
	{format: "aedat4", width: 346, height: 260, step: 1 << 50, o: WriteOptions{Compression: "none"}},
	{format: "aedat4", width: 1 << 15, height: 1 << 15, step: 1 << 20, o: WriteOptions{Compression: "lz4"}, unknownSize: true},
	{format: "aedat4", width: 1280, height: 720, step: 1 << 20, o: WriteOptions{Compression: "zstd"}},
	{format: "text", width: 346, height: 260, step: 1 << 50},
	{format: "text", width: 1 << 16, height: 1 << 16, step: 1 << 50, unknownSize: true},
	{format: "text", width: 346, height: 260, step: 1 << 20, o: WriteOptions{Order: "xypt"}},
	{format: "text", width: 1 << 16, height: 1 << 16, step: 1 << 20, o: WriteOptions{Order: "xypt"}, unknownSize: true},
}

// TestWriteReadIdentity writes recordings and reads them back equal, whatever
// the size of the slices, with the size of the sensor where the format keeps it.
func TestWriteReadIdentity(t *testing.T) {
	for _, c := range identityCases {
		t.Run(fmt.Sprintf("%s %s %dx%d %s%s", c.format, c.convention, c.width, c.height, c.o.Compression, c.o.Order), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := drawRecording(t, c.width, c.height, c.step)
				h := events.Header{Width: c.width, Height: c.height, Convention: c.convention}
				if c.unknownSize {
					h.Width, h.Height = 0, 0
				}
				data := writeAll(t, c.format, h, c.o, want)
				for _, size := range []int{1, 7, 4096} {
					rec, err := NewReader(bytes.NewReader(data), Options{Format: c.format, Convention: c.convention})
					if err != nil {
						t.Fatal(err)
					}
					got, err := readBy(rec, size)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("slices of %d: want (-), got (+):\n%s", size, diff)
					}
					if got := rec.Header(); c.format != "atis" && (got.Width != h.Width || got.Height != h.Height) {
						t.Fatalf("sensor is %dx%d, want %dx%d", got.Width, got.Height, h.Width, h.Height)
					}
				}
			})
		})
	}
}

type fataler interface {
	Helper()
	Fatal(args ...any)
}

func writeAll(t fataler, format string, h events.Header, o WriteOptions, list []events.Event) []byte {
	t.Helper()
	var out bytes.Buffer
	o.Format = format
	w, err := NewWriter(&out, h, o)
	if err != nil {
		t.Fatal(err)
	}
	half := len(list) / 2
	for _, part := range [][]events.Event{list[:half], nil, list[half:]} {
		if err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readBy(r events.Reader, size int) ([]events.Event, error) {
	all, buf := []events.Event{}, make([]events.Event, size)
	for {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// outcome is all that reading gives.
type outcome struct {
	list  []events.Event
	stats events.Stats
	err   string
}

func readOutcome(r io.Reader, o Options, size int) outcome {
	rec, err := NewReader(r, o)
	if err != nil {
		return outcome{err: err.Error()}
	}
	defer rec.Close()
	list, err := readBy(rec, size)
	out := outcome{list: list, stats: *rec.Stats()}
	if err != nil {
		out.err = err.Error()
	}
	return out
}

// sameOutcome checks that slices of one event, which only the slow paths fill,
// give the same as long ones, and a stream the same as a file.
func sameOutcome(t fataler, data []byte, o Options) outcome {
	t.Helper()
	want := readOutcome(bytes.NewReader(data), o, 1)
	for name, got := range map[string]outcome{
		"long slices": readOutcome(bytes.NewReader(data), o, 4096),
		"a stream":    readOutcome(struct{ io.Reader }{bytes.NewReader(data)}, o, 4096),
	} {
		if !slices.Equal(want.list, got.list) {
			t.Fatal(fmt.Sprintf("%s: %s: %d events differ from the %d of slices of one", o.Format, name, len(got.list), len(want.list)))
		}
		if want.stats != got.stats {
			t.Fatal(fmt.Sprintf("%s: %s: counted %v, slices of one %v", o.Format, name, &got.stats, &want.stats))
		}
		if want.err != got.err {
			t.Fatal(fmt.Sprintf("%s: %s: error %q, slices of one %q", o.Format, name, got.err, want.err))
		}
	}
	return want
}

// TestFastPaths damages recordings here and there and compares the fast paths
// with the slow ones.
func TestFastPaths(t *testing.T) {
	for _, c := range identityCases {
		t.Run(fmt.Sprintf("%s %s %dx%d %s%s", c.format, c.convention, c.width, c.height, c.o.Compression, c.o.Order), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				list := drawRecording(t, c.width, c.height, 10)
				data := writeAll(t, c.format, events.Header{Width: c.width, Height: c.height, Convention: c.convention}, c.o, list)
				for range rapid.IntRange(0, 3).Draw(t, "bytes") {
					i := rapid.IntRange(0, max(len(data)-1, 0)).Draw(t, "at")
					if i < len(data) {
						data[i] = rapid.Byte().Draw(t, "byte")
					}
				}
				data = data[:len(data)-min(len(data), rapid.SampledFrom([]int{0, 0, 1, 3, 9}).Draw(t, "cut"))]
				o := Options{Format: c.format, Convention: c.convention, Mode: rapid.SampledFrom([]Mode{Default, Lenient, Strict}).Draw(t, "mode")}
				if c.format != "aedat4" && rapid.Bool().Draw(t, "smaller") {
					o.Width, o.Height = c.width-c.width/10, c.height
				}
				sameOutcome(t, data, o)
			})
		})
	}
}

// FuzzRead reads anything as every format in every mode: without a panic, the
// same along all paths, and what a writer then takes comes back from it equal.
func FuzzRead(f *testing.F) {
	for _, c := range eventCases(f) {
		if i := slices.IndexFunc(formats, func(format Format) bool { return format.Name == seedFormat(c) }); i >= 0 {
			if data := c.read(f); len(data) <= 30_000 {
				f.Add(uint8(i), uint8(0), data)
				f.Add(uint8(i), uint8(1), data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which, mode uint8, data []byte) {
		if len(data) > 1<<20 {
			t.Skip("longer than needed")
		}
		format := formats[int(which)%len(formats)]
		o := Options{Name: "fuzz", Format: format.Name, Mode: Mode(mode % 3)}
		if mode&4 != 0 {
			o.Chip, o.Width, o.Height = "dvs128", 128, 128
		}
		got := sameOutcome(t, data, o)
		if got.err == "" && o.Mode == Default {
			o.Mode = Lenient
			if lenient := readOutcome(bytes.NewReader(data), o, 4096); lenient.err != "" || !slices.Equal(lenient.list, got.list) {
				t.Fatalf("lenient: %d events, error %q, but %d without one", len(lenient.list), lenient.err, len(got.list))
			}
		}
		if format.NewWriter == nil || len(got.list) == 0 {
			return
		}
		rec, err := NewReader(bytes.NewReader(data), o)
		if err != nil {
			return
		}
		defer rec.Close()
		h := rec.Header()
		if _, err := format.convention(h.Convention); err != nil {
			h.Convention = ""
		}
		var out bytes.Buffer
		w, err := NewWriter(&out, h, WriteOptions{Format: format.Name})
		if err != nil {
			return // such as a size that no chip has
		}
		if w.Write(got.list) != nil || w.Close() != nil {
			return // such as steps of time beyond the counter
		}
		again := readOutcome(bytes.NewReader(out.Bytes()), Options{Name: "written", Format: format.Name, Convention: h.Convention, Width: h.Width, Height: h.Height}, 4096)
		if again.err != "" || !slices.Equal(again.list, got.list) {
			t.Fatalf("%s: wrote %d events, read %d, error %q", format.Name, len(got.list), len(again.list), again.err)
		}
	})
}

// seedFormat returns the name of the format that a case is read as.
func seedFormat(c eventCase) string {
	if c.Format == "aedat1" {
		return c.Format
	}
	data, err := c.head()
	if err != nil {
		return ""
	}
	name, err := Detect(data, c.File)
	if err != nil {
		return ""
	}
	return name
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	list := []events.Event{{T: 5, X: 1, Y: 2, P: 1}, {T: 9, X: 127, Y: 127}}
	h := events.Header{Width: 128, Height: 128}
	write := func(w events.Writer) error { return w.Write(list) }
	for _, name := range []string{"a.bin", "a.aedat4", "a.txt", "a.csv"} {
		path := filepath.Join(dir, name)
		if err := Create(path, h, WriteOptions{}, write); err != nil {
			t.Fatal(err)
		}
		rec, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.ReadAll(rec)
		if err := errors.Join(err, rec.Close()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(list, got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", name, diff)
		}
		if err := Create(path, h, WriteOptions{}, write); err == nil {
			t.Errorf("%s: replaced without Force", name)
		}
		if err := Create(path, h, WriteOptions{Force: true}, func(events.Writer) error { return io.ErrClosedPipe }); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: got error %v, want the callback's", name, err)
		}
		if rec, err := Open(path, Options{}); err != nil {
			t.Errorf("%s: after a failed write: %v", name, err)
		} else {
			rec.Close()
		}
	}
	if err := Create(filepath.Join(dir, "a.xyz"), h, WriteOptions{}, write); err == nil {
		t.Error("an unknown extension was no error")
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a folder was no error")
	}
}

// TestWriterRefuses gives writers events that their formats cannot hold.
func TestWriterRefuses(t *testing.T) {
	small, none := events.Header{Width: 128, Height: 128}, events.Header{}
	for _, c := range []struct {
		name, format string
		h            events.Header
		o            WriteOptions
		list         []events.Event
	}{
		{"polarity 2", "atis", none, WriteOptions{}, []events.Event{{P: 2}}},
		{"x beyond the sensor", "aedat2", small, WriteOptions{}, []events.Event{{X: 128}}},
		{"x of nine bits", "atis", none, WriteOptions{}, []events.Event{{X: 256}}},
		{"the row of markers", "atis", none, WriteOptions{}, []events.Event{{Y: 240}}},
		{"first time beyond the counter", "atis", none, WriteOptions{}, []events.Event{{T: 1 << 23}}},
		{"negative time", "aedat2", small, WriteOptions{}, []events.Event{{T: -1}}},
		{"step forward beyond half", "aedat2", small, WriteOptions{}, []events.Event{{T: 0}, {T: 1 << 32}}},
		{"step back over a wrap", "aedat2", small, WriteOptions{}, []events.Event{{T: 1<<32 - 1}, {T: 1 << 32}, {T: 1<<32 - 2}}},
		{"negative time", "aedat3", small, WriteOptions{}, []events.Event{{T: -1}}},
		{"x of 16 bits", "aedat3", none, WriteOptions{}, []events.Event{{X: 1 << 15}}},
		{"x of 16 bits", "aedat4", none, WriteOptions{}, []events.Event{{X: 1 << 15}}},
		{"polarity 2", "text", none, WriteOptions{}, []events.Event{{P: 2}}},
	} {
		c.o.Format = c.format
		w, err := NewWriter(io.Discard, c.h, c.o)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(c.list); err == nil {
			t.Errorf("%s: %s: no error", c.format, c.name)
		}
		if err := w.Close(); err == nil {
			t.Errorf("%s: %s: closed without an error", c.format, c.name)
		}
	}
	for _, c := range []struct {
		h events.Header
		o WriteOptions
	}{
		{none, WriteOptions{Format: "aedat2"}},
		{events.Header{Width: 100, Height: 100}, WriteOptions{Format: "aedat2"}},
		{events.Header{Width: 346, Height: 260}, WriteOptions{Format: "aedat1"}},
		{small, WriteOptions{Format: "aedat2", Chip: "dvs129"}},
		{events.Header{Convention: "davis-jaer"}, WriteOptions{Format: "aedat2", Chip: "dvs128"}},
		{events.Header{Convention: "jaer"}, WriteOptions{Format: "atis"}},
		{none, WriteOptions{Format: "aedat4", Compression: "gzip"}},
		{none, WriteOptions{Format: "text", Order: "ptxy"}},
		{none, WriteOptions{Format: "aedat5"}},
		{events.Header{Width: -1}, WriteOptions{Format: "text"}},
	} {
		if _, err := NewWriter(io.Discard, c.h, c.o); err == nil {
			t.Errorf("%+v, %+v: no error", c.h, c.o)
		}
	}
}
