package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/events"
)

// readPieces reads to the end in pieces of changing sizes, small ones included.
func readPieces(r events.Reader, size int) ([]events.Event, error) {
	var all []events.Event
	buf := make([]events.Event, 5000)
	for {
		n, err := r.Read(buf[:size])
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if n == 0 {
			return all, fmt.Errorf("no progress with room for %d events", size)
		}
		size = (size*7+3)%len(buf) + 1
	}
}

// decode reads a file in memory.
func decode(t testing.TB, file string, o Options) ([]events.Event, *events.Stats, error) {
	t.Helper()
	rec, err := NewReader(strings.NewReader(file), o)
	if err != nil {
		return nil, &events.Stats{}, err
	}
	defer rec.Close()
	all, err := readPieces(rec, 1)
	return all, rec.Stats(), err
}

// wantError checks the kind and the offset of an error.
func wantError(t testing.TB, err error, kind events.Kind, offset int64) {
	t.Helper()
	var got *events.Error
	if !errors.As(err, &got) {
		t.Fatalf("got error %v, want %v at %d", err, kind, offset)
	}
	if got.Kind != kind || got.Offset != offset {
		t.Errorf("got error %v, want %v at %d", err, kind, offset)
	}
}

// words packs numbers into a file of little-endian words.
func words[T uint16 | uint32 | uint64](header string, list ...T) string {
	b := []byte(header)
	for _, w := range list {
		switch any(w).(type) {
		case uint16:
			b = binary.LittleEndian.AppendUint16(b, uint16(w))
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, uint32(w))
		default:
			b = binary.LittleEndian.AppendUint64(b, uint64(w))
		}
	}
	return string(b)
}

func TestRawHeader(t *testing.T) {
	const noWords = "% end\n"
	tests := []struct {
		name, header  string
		encoding      string
		width, height int
		kind          events.Kind
		offset        int64 // of the error; the test wants none where it is 0
	}{
		{"format and geometry", "% evt 3.0\n% format EVT3;height=720;width=1280\n% geometry 1280x720\n", "evt3", 1280, 720, 0, 0},
		{"format alone", "% format EVT2;width=640;height=480\n", "evt2", 640, 480, 0, 0},
		{"evt alone", "% evt 2.1\n", "evt21", 0, 0, 0, 0},
		{"carriage returns and blanks", "% evt 3.0 \r\n% geometry  320x240  \r\n", "evt3", 320, 240, 0, 0},
		{"a later line wins", "% evt 2.0\n% evt 3.0\n", "evt3", 0, 0, 0, 0},
		{"sensor by system", "% system_ID 28\n% evt 2.0\n", "evt2", 640, 480, 0, 0},
		{"evt beats the system", "% system_ID 39\n% evt 3.0\n", "evt3", 1280, 720, 0, 0},
		{"unknown encoding", "% date today\n% format HISTO3D\n", "", 0, 0, events.UnsupportedVersion, 13},
		{"unknown version", "% date today\n% evt 4.0\n", "", 0, 0, events.UnsupportedVersion, 13},
		{"format against evt", "% format EVT2\n% evt 3.0\n", "", 0, 0, events.BadHeader, 14},
		{"sizes differ", "% format EVT3;height=720;width=1280\n% geometry 640x480\n", "", 0, 0, events.BadHeader, 36},
		{"no size", "% date today\n% evt 3.0\n% geometry big\n", "", 0, 0, events.BadHeader, 23},
		{"size of zero", "% date today\n% evt 3.0\n% geometry 0x480\n", "", 0, 0, events.BadHeader, 23},
		{"byte order", "% date today\n% evt 2.1\n% endianness big\n", "", 0, 0, events.BadHeader, 23},
		{"no line end", "% evt 3.0\n% " + strings.Repeat("a", 70000), "", 0, 0, events.BadHeader, 10},
		{"ends in a line", "% evt 3.0\n% geom", "", 0, 0, events.Truncated, 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := test.header
			if test.offset == 0 {
				file += noWords
			}
			rec, err := NewReader(strings.NewReader(file), Options{})
			if test.offset > 0 {
				wantError(t, err, test.kind, test.offset)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Close()
			if h := rec.Header(); h.Format != test.encoding || h.Width != test.width || h.Height != test.height {
				t.Errorf("got %s %dx%d, want %s %dx%d", h.Format, h.Width, h.Height, test.encoding, test.width, test.height)
			}
			if _, err := rec.Read(make([]events.Event, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("got error %v, want the end", err)
			}
		})
	}
	t.Run("nothing names the encoding", func(t *testing.T) {
		_, err := NewReader(strings.NewReader("% date today\n"), Options{Name: "a.raw"})
		wantError(t, err, events.UnknownEncoding, 0)
		rec, err := NewReader(strings.NewReader("% date today\n"), Options{Name: "a.raw", Format: "evt2"})
		if err != nil || rec.Header().Format != "evt2" {
			t.Errorf("got %v, want evt2 as asked for", err)
		}
	})
	t.Run("against the user", func(t *testing.T) {
		_, err := NewReader(strings.NewReader("% evt 3.0\n"), Options{Format: "evt2"})
		wantError(t, err, events.BadHeader, 0)
	})
	t.Run("data like a header line", func(t *testing.T) {
		// After the end line come the bytes 25 20: a row word.
		got, _, err := decode(t, "% evt 3.0\n% end\n"+"\x00\x80"+"\x25\x00"+"\x25\x20", Options{})
		if want := []events.Event{{X: 0x25, Y: 0x25}}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	})
	t.Run("empty", func(t *testing.T) {
		for _, name := range []string{"a.raw", "a.dat"} {
			_, err := NewReader(strings.NewReader(""), Options{Name: name})
			wantError(t, err, events.Truncated, 0)
			if got, stats, err := decode(t, "", Options{Name: name, Mode: Lenient}); err != nil || len(got) > 0 || stats.Count(events.Truncated) != 1 {
				t.Errorf("%s, lenient: got %d events, %v, %v", name, len(got), stats, err)
			}
		}
	})
}

// TestWordTimes has the wraps and glitches of each counter.
func TestWordTimes(t *testing.T) {
	dat := func(times ...uint32) string {
		list := make([]uint64, len(times))
		for i, t := range times {
			list[i] = uint64(t)
		}
		return words("% Version 2\n\x0c\x08", list...)
	}
	const evt2, evt21, evt3 = "% evt 2.0\n% end\n", "% evt 2.1\n% endianness little\n% end\n", "% evt 3.0\n% end\n"
	tests := []struct {
		name, file string
		want       []int64
		back       int64 // steps back that are counted
	}{
		{"dat wrap", dat(1<<32-1, 0, 5), []int64{1<<32 - 1, 1 << 32, 1<<32 + 5}, 0},
		{"dat, half a turn back", dat(1<<31, 0), []int64{1 << 31, 0}, 1},
		{"dat, more than half a turn back", dat(1<<31+1, 0), []int64{1<<31 + 1, 1 << 32}, 0},
		{"dat, two wraps", dat(4e9, 1, 4e9, 2), []int64{4e9, 1<<32 + 1, 1<<32 + 4e9, 1<<33 + 2}, 0},
		{"dat, glitch", dat(100, 90, 95, 101), []int64{100, 90, 95, 101}, 1},
		{"evt2 wrap", words[uint32](evt2, 0x8fffffff, 0, 0x80000000, 0, 0x80000001, 0), []int64{1<<34 - 64, 1 << 34, 1<<34 + 64}, 0},
		{"evt2, half a turn back", words[uint32](evt2, 0x88000000, 0, 0x80000000, 0), []int64{1 << 33, 0}, 1},
		{"evt2, glitch", words[uint32](evt2, 0x80000002, 0, 0x80000001, 0, 0, 0x80000002, 0), []int64{128, 64, 64, 128}, 1},
		{"evt2.1 wrap", words[uint64](evt21, 0x8fffffff<<32, 1, 0x80000000<<32, 1), []int64{1<<34 - 64, 1 << 34}, 0},
		{"evt3 wrap", words[uint16](evt3, 0x8fff, 0, 0x6fff, 0x2000, 0x8000, 0x2000, 0x8001, 0x2000), []int64{1<<24 - 1, 1 << 24, 1<<24 + 4096}, 0},
		{"evt3, half a turn back", words[uint16](evt3, 0x8800, 0, 0x2000, 0x8000, 0x2000), []int64{1 << 23, 0}, 1},
		{"evt3, more than half", words[uint16](evt3, 0x8801, 0, 0x2000, 0x8000, 0x2000), []int64{1<<23 + 4096, 1 << 24}, 0},
		{"evt3, low never carries", words[uint16](evt3, 0x8001, 0, 0x6005, 0x2000, 0x6004, 0x2000, 0x6006, 0x2000), []int64{4101, 4100, 4102}, 1},
		{"evt3, equal high keeps low", words[uint16](evt3, 0x8001, 0, 0x6005, 0x2000, 0x8001, 0x2000), []int64{4101, 4101}, 0},
		{"evt3, low before high is kept", words[uint16](evt3, 0x6005, 0, 0x8001, 0x2000), []int64{4101}, 0},
		{"evt3, a step back without an event", words[uint16](evt3, 0x8001, 0, 0x6005, 0x2000, 0x6001, 0x6007, 0x2000), []int64{4101, 4103}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all, stats, err := decode(t, test.file, Options{Name: "a"})
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for _, e := range all {
				got = append(got, e.T)
			}
			if !slices.Equal(got, test.want) || stats.Count(events.TimeBackwards) != test.back {
				t.Errorf("got times %v (%v), want %v with %d steps back", got, stats, test.want, test.back)
			}
			_, _, err = decode(t, test.file, Options{Name: "a", Mode: Strict})
			if (err != nil) != (test.back > 0) {
				t.Errorf("strict: got error %v, %d steps back", err, test.back)
			}
		})
	}
}

// TestWordDamage has what each mode makes of words that cannot be.
func TestWordDamage(t *testing.T) {
	const evt2, evt21, evt3 = "% evt 2.0\n% end\n", "% evt 2.1\n% endianness little\n% end\n", "% evt 3.0\n% end\n"
	tests := []struct {
		name, file string
		kind       events.Kind
		offset     int64
		lenient    []events.Event
		count      int64
	}{
		{"dat, x", words[uint64]("% Version 2\n\x0c\x08", 10<<32, 20<<32, 11<<32), events.OutOfRange, 22, []events.Event{{X: 10}, {X: 11}}, 1},
		{"evt2, y", words[uint32](evt2, 0x80000000, 3, 20, 4), events.OutOfRange, 24, []events.Event{{Y: 3}, {Y: 4}}, 1},
		{"evt2.1, x of one bit", words[uint64](evt21, 0x80000000<<32, 15<<43|1<<60|3), events.OutOfRange, 44, []events.Event{{X: 15, P: 1}}, 1},
		{"evt2.1, y", words[uint64](evt21, 0x80000000<<32, 20<<32|7, 1), events.OutOfRange, 44, []events.Event{{}}, 3},
		{"evt3, x", words[uint16](evt3, 0x8000, 1, 0x2010, 0x2002), events.OutOfRange, 20, []events.Event{{X: 2, Y: 1}}, 1},
		{"evt3, row", words[uint16](evt3, 0x8000, 1, 0x2001, 16, 0x2001, 0x3002, 0x4003, 2, 0x2005), events.OutOfRange, 22, []events.Event{{X: 1, Y: 1}, {X: 5, Y: 2}}, 3},
		{"evt3, vector over the edge", words[uint16](evt3, 0x8000, 1, 0x2001, 0x300e, 0x4007, 0x5001), events.OutOfRange, 24, []events.Event{{X: 1, Y: 1}, {X: 14, Y: 1}, {X: 15, Y: 1}}, 2},
		{"evt3, group over the edge", words[uint16](evt3, 0x8000, 1, 0x2001, 0x3800, 0x4001, 0x4000, 0x5001), events.OutOfRange, 28, []events.Event{{X: 1, Y: 1}, {X: 0, Y: 1, P: 1}}, 1},
		{"evt3, no row", words[uint16](evt3, 0x8000, 0x2001, 1, 0x2002), events.BadSequence, 18, []events.Event{{X: 2, Y: 1}}, 1},
		{"evt3, no base", words[uint16](evt3, 0x8000, 1, 0x4001, 0x2002), events.BadSequence, 20, []events.Event{{X: 2, Y: 1}}, 1},
		{"evt3, no base in the quick path", words[uint16](evt3, 0x8000, 1, 0x2003, 0x5001, 0x2002, 0x2002, 0x2002, 0x2002), events.BadSequence, 22,
			[]events.Event{{X: 3, Y: 1}, {X: 2, Y: 1}, {X: 2, Y: 1}, {X: 2, Y: 1}, {X: 2, Y: 1}}, 1},
		{"evt2, cut", words[uint32](evt2, 0x80000000, 3) + "abc", events.Truncated, 24, []events.Event{{Y: 3}}, 1},
		{"evt2.1, cut", words[uint64](evt21, 0x80000000<<32, 1) + "abcdefg", events.Truncated, 52, []events.Event{{}}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, mode := range []Mode{Default, Strict} {
				_, _, err := decode(t, test.file, Options{Name: "a", Width: 16, Height: 16, Mode: mode})
				wantError(t, err, test.kind, test.offset)
			}
			got, stats, err := decode(t, test.file, Options{Name: "a", Width: 16, Height: 16, Mode: Lenient})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.lenient, got); diff != "" {
				t.Errorf("lenient (-want +got):\n%s", diff)
			}
			if at, _ := stats.First(test.kind); stats.Count(test.kind) != test.count || at != test.offset {
				t.Errorf("counted %v, want %d %v, the first at %d", stats, test.count, test.kind, test.offset)
			}
		})
	}
}

// TestEVTSkips counts the words that are no polarity events.
func TestEVTSkips(t *testing.T) {
	tests := []struct {
		name, file                        string
		notPolarity, noTime, unknown, all int64
	}{
		{"evt2", words[uint32]("% evt 2.0\n% end\n", 0, 0x80000001, 0, 0xa0000000, 0xd0000000, 0xf0000000, 0xe0000000, 0x30000000, 0x10000000), 3, 1, 1, 2},
		{"evt2.1", words[uint64]("% evt 2.1\n% endianness little\n% end\n", 7, 0x80000001<<32, 5, 0xa<<60, 0xe<<60, 0xf<<60, 0xd<<60), 2, 3, 1, 2},
		{"evt3", words[uint16]("% evt 3.0\n% end\n", 0x2000, 0x4fff, 0x3001, 0x5003, 0x8001, 0, 0x2001, 0xa001, 0xe000, 0xd000, 0xf000, 0x7000, 0x1000, 0x9000, 0xb000, 0xc000, 0x2001), 3, 15, 4, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, stats, err := decode(t, test.file, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(got)) != test.all || stats.Count(events.NotPolarity) != test.notPolarity ||
				stats.Count(events.NoTimeBase) != test.noTime || stats.Count(events.UnknownWord) != test.unknown {
				t.Errorf("got %d events, %v, want %d events, %d not-polarity, %d no-time-base, %d unknown-word", len(got), stats, test.all, test.notPolarity, test.noTime, test.unknown)
			}
		})
	}
}

func TestEVT21Order(t *testing.T) {
	list := []uint64{0x80000001 << 32, 0x00a00064_00000001, 0x10a00065_40000000, 0x80000002 << 32, 0x00000064_00000003}
	legacy := slices.Clone(list)
	for i, w := range legacy {
		legacy[i] = bits.RotateLeft64(w, 32)
	}
	want, _, err := decode(t, words("% evt 2.1\n% endianness little\n% end\n", list...), Options{})
	if err != nil || len(want) != 4 {
		t.Fatal(want, err)
	}
	const makers = "% evt 2.1\n% camera_integrator_name Prophesee\n% plugin_integrator_name Prophesee\n"
	for _, test := range []struct {
		name, file string
		o          Options
	}{
		{"format", words("% format EVT21;endianness=legacy\n% end\n", legacy...), Options{}},
		{"key", words("% evt 2.1\n% endianness legacy\n% end\n", legacy...), Options{}},
		{"makers and system", words(makers+"% system_ID 49\n% end\n", legacy...), Options{}},
		{"one maker and system", words("% evt 2.1\n% integrator_name Prophesee\n% system_ID 49\n% end\n", legacy...), Options{}},
		{"makers and a later system, guessed", words(makers+"% system_ID 55\n% end\n", list...), Options{}},
		{"guessed legacy", words("% evt 2.1\n% end\n", legacy...), Options{}},
		{"guessed little", words("% evt 2.1\n% end\n", list...), Options{}},
		{"user", words("% evt 2.1\n% endianness little\n% end\n", legacy...), Options{ByteOrder: "legacy"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _, err := decode(t, test.file, test.o)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		})
	}
}

func TestDatLayouts(t *testing.T) {
	record := uint64(7) | uint64(1<<17|200<<9|300)<<32
	want := []events.Event{{T: 7, X: 300, Y: 200, P: 1}}
	for _, test := range []struct {
		name, file string
		o          Options
	}{
		{"version 1", words("% Version 1\n\x00\x08", record), Options{Name: "a.dat"}},
		{"by request", words("% Version 2\n\x00\x08", record), Options{Name: "a.dat", Version: 1}},
		{"no header", words("", record), Options{Name: "a.dat", Version: 1}},
	} {
		if got, _, err := decode(t, test.file, test.o); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", test.name, got, err, want)
		}
	}
	_, err := NewReader(strings.NewReader("% Version 2\n\x0e\x08"), Options{})
	wantError(t, err, events.BadHeader, 12)
	_, err = NewReader(strings.NewReader("% Version 2\n\x0c"), Options{})
	wantError(t, err, events.Truncated, 12)
	_, err = NewReader(strings.NewReader("% Version 2\n% Width none\n"), Options{})
	wantError(t, err, events.BadHeader, 12)
}

// wordFormats are the formats of this file that are written as words.
var wordFormats = []string{"dat", "evt2", "evt21", "evt3"}

// drawEvents draws a recording that every format can hold: times that rarely
// step back, rows with several events.
func drawEvents(t *rapid.T, width, height int) []events.Event {
	n := rapid.IntRange(0, 300).Draw(t, "n")
	all := make([]events.Event, n)
	now := int64(rapid.IntRange(0, 1<<22).Draw(t, "start"))
	e := events.Event{}
	for i := range all {
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0:
			now += int64(rapid.IntRange(0, 1<<26).Draw(t, "far"))
			fallthrough
		case 1, 2:
			e.Y = uint16(rapid.IntRange(0, height-1).Draw(t, "y"))
			fallthrough
		case 3, 4:
			now += int64(rapid.IntRange(0, 70).Draw(t, "near"))
			fallthrough
		case 5:
			e.X = uint16(rapid.IntRange(0, width-1).Draw(t, "x"))
			e.P = uint8(rapid.IntRange(0, 1).Draw(t, "p"))
		default:
			e.X = uint16(min(int(e.X)+rapid.IntRange(1, 9).Draw(t, "dx"), width-1))
		}
		e.T = now
		all[i] = e
	}
	return all
}

// encodeEvents writes a recording in pieces.
func encodeEvents(format string, h events.Header, all []events.Event) ([]byte, error) {
	var b bytes.Buffer
	w, err := NewWriter(&b, h, WriteOptions{Format: format})
	if err != nil {
		return nil, err
	}
	for piece := range slices.Chunk(all, 37) {
		if err := w.Write(piece); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return b.Bytes(), err
}

func TestWordRoundTrip(t *testing.T) {
	for _, format := range append(wordFormats, "npy", "npz") {
		t.Run(format, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				width, height := rapid.IntRange(1, 1300).Draw(t, "width"), rapid.IntRange(1, 800).Draw(t, "height")
				all := drawEvents(t, width, height)
				file, err := encodeEvents(format, events.Header{Width: width, Height: height}, all)
				if err != nil {
					t.Fatal(err)
				}
				rec, err := NewReader(bytes.NewReader(file), Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer rec.Close()
				got, err := readPieces(rec, rapid.IntRange(1, 5000).Draw(t, "piece"))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(all, got); len(all)+len(got) > 0 && diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
				if h := rec.Header(); !strings.HasPrefix(format, "np") && (h.Width != width || h.Height != height || h.Format != format) {
					t.Fatalf("header is %+v, want %s %dx%d", h, format, width, height)
				}
				if rec.Stats().Any() {
					t.Fatalf("counted %v in a file of our own", rec.Stats())
				}
			})
		})
	}
}

// TestWriteTimes writes times far out, in steps of many turns and back.
func TestWriteTimes(t *testing.T) {
	at := func(times ...int64) []events.Event {
		all := make([]events.Event, len(times))
		for i, t := range times {
			all[i].T = t
		}
		return all
	}
	tests := []struct {
		format string
		events []events.Event
		fails  string // what the error must say; empty for none
	}{
		{"evt3", at(5<<24, 5<<24+1, 9<<24+4095<<12, 10<<24), ""},
		{"evt3", at(100, 50, 4096, 4000), ""},
		{"evt3", at(1<<24, 1<<24-1), "event 1 at 16777215 µs"},
		{"evt3", at(1<<24-1, 0), "event 1 at 0 µs"},
		{"evt3", at(-1), "event 0 at -1 µs"},
		{"evt3", at(1 << 41), "event 0 at 2199023255552 µs"},
		{"evt2", at(3<<34, 3<<34+5, 7<<34-1, 7<<34), ""},
		{"evt2", at(1000, 10), ""},
		{"evt2", at(1<<34, 1<<34-1), "event 1"},
		{"evt21", at(3<<34, 3<<34+5, 7<<34-1, 7<<34), ""},
		{"evt21", at(1 << 60), "event 0"},
		{"dat", at(1<<32-1, 1<<32), ""},
		{"dat", at(1 << 32), "event 0"},
		{"dat", at(10, 5), ""},
		{"dat", at(1, 1<<31+1, 1<<32+1), "event 2"}, // half a turn back is no wrap
		{"npy", at(-5, 1<<62, 3), ""},
		{"npz", at(-5, 1<<62, 3), ""},
	}
	for _, test := range tests {
		file, err := encodeEvents(test.format, events.Header{}, test.events)
		if test.fails != "" {
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%s %v: got error %v, want one with %q", test.format, test.events, err, test.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %v: %v", test.format, test.events, err)
			continue
		}
		if got, _, err := decode(t, string(file), Options{}); err != nil || !slices.Equal(got, test.events) {
			t.Errorf("%s: got %v, %v, want %v", test.format, got, err, test.events)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, format := range append(wordFormats, "npy", "npz") {
		for _, bad := range []events.Event{{X: 10}, {Y: 10}, {P: 2}} {
			for _, all := range [][]events.Event{{bad}, {{X: 1}, {X: 2}, bad}, {{Y: bad.Y}, {X: bad.X, Y: bad.Y, P: bad.P}}} {
				if _, err := encodeEvents(format, events.Header{Width: 10, Height: 10}, all); err == nil {
					t.Errorf("%s wrote %v on a sensor of 10x10", format, all)
				}
			}
		}
	}
	for _, format := range wordFormats {
		if _, err := encodeEvents(format, events.Header{}, []events.Event{{X: 1 << 15}}); err == nil {
			t.Errorf("%s wrote x = 32768", format)
		}
	}
}
