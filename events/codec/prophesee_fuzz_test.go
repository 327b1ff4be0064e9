package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/adafire/adafire/events"
)

// careful is a decoder without its quick path.
type careful struct{ wordDecoder }

func (careful) fast([]events.Event, []byte) (int, int) { return 0, 0 }

// carefully takes the quick path away from a reader of words.
func carefully(t testing.TB, r events.Reader) events.Reader {
	t.Helper()
	switch d := r.(type) {
	case *datReader:
		d.decoder = careful{d}
	case *evt2Reader:
		d.decoder = careful{d}
	case *evt21Reader:
		d.decoder = careful{d}
	case *evt3Reader:
		d.decoder = careful{d}
	case *wordReader: // ended before its first word
	default:
		t.Fatalf("reader of type %T", r)
	}
	return r
}

// result is what reading gave.
type result struct {
	events []events.Event
	stats  string
	err    string
}

func (r result) equal(o result) bool {
	return slices.Equal(r.events, o.events) && r.stats == o.stats && r.err == o.err
}

// checkWords reads a file with and without the quick path, in large and in
// small pieces.
func checkWords(t testing.TB, file []byte, o Options) {
	t.Helper()
	for _, o.Mode = range []Mode{Default, Lenient, Strict} {
		var want result
		for k, name := range []string{"carefully", "quickly", "quickly in small pieces"} {
			rec, err := NewReader(bytes.NewReader(file), o)
			got := result{err: fmt.Sprint(err)}
			if err == nil {
				reader := rec.Reader
				if k == 0 {
					reader = carefully(t, reader)
				}
				size := 5000
				if k == 2 {
					size = 1
				}
				got.events, err = readPieces(reader, size)
				got.stats, got.err = rec.Stats().String(), fmt.Sprint(err)
				rec.Close()
			}
			var known *events.Error
			if err != nil && !errors.As(err, &known) {
				t.Fatalf("error %v is no *events.Error", err)
			}
			if o.Mode == Lenient && err != nil && known.Kind >= events.Truncated {
				t.Fatalf("lenient: got error %v", err)
			}
			if k == 0 {
				want = got
			} else if !got.equal(want) {
				t.Fatalf("read %s in mode %d: got %d events, %s, error %s; carefully: %d events, %s, error %s",
					name, o.Mode, len(got.events), got.stats, got.err, len(want.events), want.stats, want.err)
			}
		}
	}
}

// mixedWords draws words of all types, the usual ones most often, in which the
// time mostly goes on.
func mixedWords(r *rand.Rand, format string, n int) []byte {
	var b []byte
	high, low := uint32(r.IntN(1<<12)), uint32(0)
	for range n {
		odd := r.IntN(60) == 0
		switch format {
		case "dat":
			if low += uint32(r.IntN(3)); odd {
				low -= uint32(r.IntN(200))
			}
			if r.IntN(500) == 0 {
				low += 1 << 31
			}
			b = binary.LittleEndian.AppendUint64(b, uint64(low)|uint64(r.IntN(1300))<<32|uint64(r.IntN(721))<<46|uint64(r.IntN(2))<<60)
		case "evt2":
			switch {
			case odd:
				b = binary.LittleEndian.AppendUint32(b, r.Uint32())
			case r.IntN(8) == 0:
				high += uint32(r.IntN(2))
				b = binary.LittleEndian.AppendUint32(b, 8<<28|high)
				low = 0
			default:
				low = min(low+uint32(r.IntN(3)), 63)
				b = binary.LittleEndian.AppendUint32(b, uint32(r.IntN(2))<<28|low<<22|uint32(r.IntN(1285))<<11|uint32(r.IntN(721)))
			}
		case "evt21":
			switch {
			case odd:
				b = binary.LittleEndian.AppendUint64(b, r.Uint64())
			case r.IntN(8) == 0:
				high += uint32(r.IntN(2))
				b = binary.LittleEndian.AppendUint64(b, 8<<60|uint64(high)<<32)
				low = 0
			default:
				low = min(low+uint32(r.IntN(3)), 63)
				b = binary.LittleEndian.AppendUint64(b, uint64(r.IntN(2))<<60|uint64(low)<<54|uint64(r.IntN(1260))<<43|uint64(r.IntN(721))<<32|uint64(r.Uint32()&r.Uint32()))
			}
		default:
			put := func(kind, value int) { b = binary.LittleEndian.AppendUint16(b, uint16(kind<<12|value)) }
			switch k := r.IntN(20); {
			case odd:
				b = binary.LittleEndian.AppendUint16(b, uint16(r.Uint32()))
			case k == 0:
				high += uint32(r.IntN(2))
				put(evtTimeHigh, int(high&0xfff))
				low = 0
			case k < 3:
				low = min(low+uint32(r.IntN(30)), 4095)
				put(evt3Low, int(low))
			case k < 6:
				put(evt3Row, r.IntN(721))
			case k == 6:
				put(evt3Base, r.IntN(2)<<11|r.IntN(1255))
				put(evt3Vector12, r.IntN(1<<12))
				put(evt3Vector12, r.IntN(1<<12)&r.IntN(1<<12))
				put(evt3Vector8, r.IntN(1<<8))
			case k == 7:
				put(evt3Vector12+r.IntN(2), r.IntN(1<<12))
			default:
				put(evt3X, r.IntN(2)<<11|r.IntN(1282))
			}
		}
	}
	return b
}

// wordHeaders start files of each format.
var wordHeaders = map[string]string{
	"dat": "% Version 2\n\x0c\x08", "evt2": "% evt 2.0\n% end\n", "evt3": "% evt 3.0\n% end\n",
	"evt21": "% evt 2.1\n% endianness little\n% end\n",
}

func TestQuickEqualsCareful(t *testing.T) {
	for _, format := range wordFormats {
		t.Run(format, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 6))
			for k := range 60 {
				file := append([]byte(wordHeaders[format]), mixedWords(r, format, r.IntN(6000))...)
				file = file[:len(file)-min(r.IntN(9), len(file)-len(wordHeaders[format]))]
				o := Options{Width: 1280, Height: 720}
				if k%3 == 0 {
					o = Options{}
				}
				checkWords(t, file, o)
			}
		})
	}
}

// addSeeds adds the golden files of a folder.
func addSeeds(f *testing.F, add func(data []byte), folders ...string) {
	f.Helper()
	for _, c := range eventCases(f) {
		if slices.Contains(folders, filepath.Dir(c.File)) {
			if data := c.read(f); len(data) < 50_000 {
				add(data)
			}
		}
	}
}

func FuzzWords(f *testing.F) {
	for k, format := range wordFormats {
		folder := format
		addSeeds(f, func(data []byte) { f.Add(uint8(k), uint16(0), uint16(0), data) }, folder)
		r := rand.New(rand.NewPCG(2, uint64(k)))
		f.Add(uint8(k), uint16(1280), uint16(720), append([]byte(wordHeaders[format]), mixedWords(r, format, 300)...))
	}
	f.Fuzz(func(t *testing.T, format uint8, width, height uint16, file []byte) {
		name := wordFormats[int(format)%len(wordFormats)]
		o := Options{Format: name, Width: int(width), Height: int(height)}
		checkWords(t, file, o)

		// What was read can be written, unless its times cannot, and is read
		// back equal.
		o.Mode = Lenient
		rec, err := NewReader(bytes.NewReader(file), o)
		if err != nil {
			return
		}
		defer rec.Close()
		all, err := readPieces(rec, 777)
		if err != nil || len(all) > 1<<16 {
			return
		}
		h := rec.Header()
		copied, err := encodeEvents(name, events.Header{Width: h.Width, Height: h.Height}, all)
		if err != nil {
			return
		}
		again, err := NewReader(bytes.NewReader(copied), Options{Format: name})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if got, err := readPieces(again, 777); err != nil || !slices.Equal(got, all) {
			t.Fatalf("written and read again: got %d events, error %v, want %d", len(got), err, len(all))
		}
	})
}
