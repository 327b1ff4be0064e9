package codec

import (
	"errors"
	"io"
	"math"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/adafire/adafire/events"
)

// cloud returns a writer's callback that writes n events of a camera of the
// given size: bursts in rows, times that step by 0 to 3 µs.
func cloud(n, width, height int) func(events.Writer) error {
	return func(w events.Writer) error {
		buf := make([]events.Event, 4096)
		seed, t := uint64(0x9e3779b97f4a7c15), int64(0)
		for n > 0 {
			part := buf[:min(n, len(buf))]
			for i := range part {
				seed ^= seed << 13
				seed ^= seed >> 7
				seed ^= seed << 17
				t += int64(seed >> 62 & (seed >> 60))
				part[i] = events.Event{T: t, X: uint16(seed >> 20 & 0xffff * uint64(width) >> 16), Y: uint16(seed >> 36 & 0xffff * uint64(height) >> 16), P: uint8(seed >> 52 & 1)}
			}
			if err := w.Write(part); err != nil {
				return err
			}
			n -= len(part)
		}
		return nil
	}
}

// speedCases are the formats that benchmarks run over.
var speedCases = []struct {
	name          string
	format        string
	width, height int
	o             WriteOptions
}{
	{"atis", "atis", 240, 180, WriteOptions{}},
	{"aedat1", "aedat1", 128, 128, WriteOptions{}},
	{"aedat2/dvs128", "aedat2", 128, 128, WriteOptions{}},
	{"aedat2/davis346", "aedat2", 346, 260, WriteOptions{}},
	{"aedat3", "aedat3", 346, 260, WriteOptions{}},
	{"aedat4/none", "aedat4", 346, 260, WriteOptions{Compression: "none"}},
	{"aedat4/lz4", "aedat4", 346, 260, WriteOptions{Compression: "lz4"}},
	{"aedat4/zstd", "aedat4", 346, 260, WriteOptions{Compression: "zstd"}},
	{"dat", "dat", 1280, 720, WriteOptions{}},
	{"evt2", "evt2", 1280, 720, WriteOptions{}},
	{"evt3", "evt3", 1280, 720, WriteOptions{}},
	{"text", "text", 346, 260, WriteOptions{}},
}

// BenchmarkRead decodes files of 50 million events (5 million with -short) from
// the page cache into a slice of 4096 events that is used again. "core-Mevents/s"
// counts the processor time of the quickest pass, which other programs on the
// machine disturb least.
func BenchmarkRead(b *testing.B) {
	n := 50_000_000
	if testing.Short() {
		n = 5_000_000
	}
	for _, c := range speedCases {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "recording")
			o := c.o
			o.Format = c.format
			if err := Create(path, events.Header{Width: c.width, Height: c.height}, o, cloud(n, c.width, c.height)); err != nil {
				b.Fatal(err)
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			buf := make([]events.Event, 4096)
			b.ReportAllocs()
			total, best := 0, time.Duration(math.MaxInt64)
			for b.Loop() {
				start := threadTime()
				rec, err := Open(path, Options{Format: c.format, Width: c.width, Height: c.height})
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					m := 0
					m, err = rec.Read(buf)
					total += m
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				rec.Close()
				best = min(best, threadTime()-start)
			}
			if total != n*b.N {
				b.Fatalf("read %d events, want %d", total, n*b.N)
			}
			b.ReportMetric(float64(total)/b.Elapsed().Seconds()/1e6, "Mevents/s")
			b.ReportMetric(float64(n)/best.Seconds()/1e6, "core-Mevents/s")
		})
	}
}

// BenchmarkWrite encodes 4 million events into nothing.
func BenchmarkWrite(b *testing.B) {
	const n = 1 << 22
	for _, c := range speedCases {
		b.Run(c.name, func(b *testing.B) {
			o := c.o
			o.Format = c.format
			for b.Loop() {
				w, err := NewWriter(io.Discard, events.Header{Width: c.width, Height: c.height}, o)
				if err != nil {
					b.Fatal(err)
				}
				if err := cloud(n, c.width, c.height)(w); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
		})
	}
}
