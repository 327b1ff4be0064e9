package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/adafire/adafire/events"
)

// sensorStream returns about n events in a .raw file as a sensor of 1280x720
// sends them, and how many there are. The time goes on by 1 µs after 1/pace of
// the rows, a row has one or more single events (perRow on average), and one row
// in vectors has a group of 32 pixels of which a quarter fire instead.
func sensorStream(format string, n, pace, perRow, vectors int) (file []byte, count int) {
	r := rand.New(rand.NewPCG(5, 11))
	file = append(make([]byte, 0, 8*n), wordHeaders[format]...)
	t, sent, row := uint32(0), uint32(0), 0
	single := func(x, p uint32) {
		switch format {
		case "dat":
			file = binary.LittleEndian.AppendUint64(file, uint64(t)|uint64(x)<<32|uint64(row)<<46|uint64(p)<<60)
		case "evt2":
			file = binary.LittleEndian.AppendUint32(file, p<<28|t&63<<22|x<<11|uint32(row))
		case "evt21":
			file = binary.LittleEndian.AppendUint64(file, uint64(p)<<60|uint64(t&63)<<54|uint64(x)<<43|uint64(row)<<32|1)
		case "evt3":
			file = binary.LittleEndian.AppendUint16(file, uint16(evt3X<<12|p<<11|x))
		}
		count++
	}
	put := func(kind, value uint32) {
		file = binary.LittleEndian.AppendUint16(file, uint16(kind<<12|value&0xfff))
	}
	for started := false; count < n; started = true {
		if r.IntN(pace) == 0 {
			t++
		}
		switch {
		case format == "evt3":
			if !started || t>>12 != sent>>12 {
				put(evtTimeHigh, t>>12)
			}
			if !started || t != sent {
				put(evt3Low, t)
			}
		case format == "evt2" && (!started || t>>6 != sent>>6):
			file = binary.LittleEndian.AppendUint32(file, evtTimeHigh<<28|t>>6)
		case format == "evt21" && (!started || t>>6 != sent>>6):
			file = binary.LittleEndian.AppendUint64(file, evtTimeHigh<<60|uint64(t>>6)<<32)
		}
		sent = t
		row = r.IntN(720)
		if format == "evt3" {
			put(evt3Row, uint32(row))
		}
		p := uint32(r.IntN(2))
		if vectors > 0 && r.IntN(vectors) == 0 {
			mask, x := r.Uint32()&r.Uint32(), uint32(r.IntN(40)*32)
			switch format {
			case "evt3":
				put(evt3Base, p<<11|x)
				put(evt3Vector12, mask)
				put(evt3Vector12, mask>>12)
				put(evt3Vector8, mask>>24)
				for ; mask != 0; mask &= mask - 1 {
					count++
				}
				continue
			case "evt21":
				file = binary.LittleEndian.AppendUint64(file, uint64(p)<<60|uint64(t&63)<<54|uint64(x)<<43|uint64(row)<<32|uint64(mask))
				for ; mask != 0; mask &= mask - 1 {
					count++
				}
				continue
			}
		}
		single(uint32(r.IntN(1280)), p)
		for r.IntN(perRow) != 0 {
			single(uint32(r.IntN(1280)), p)
		}
	}
	return file, count
}

// BenchmarkSensor decodes streams of 50 million events (5 million with -short)
// from memory into a slice of 4096 events that is used again. "core-Mevents/s"
// is the quickest pass, in processor time.
//
// rows is the mixture of the recording of a Gen4.1 sensor among the golden
// files: 3.4 single events a row, one row in six a vector, the time word after
// seven rows. vectors is nothing but groups of 32 pixels. sparse is a row, a
// time and one event in turn.
func BenchmarkSensor(b *testing.B) {
	n := 50_000_000
	if testing.Short() {
		n = 5_000_000
	}
	for _, c := range []struct {
		name, format          string
		pace, perRow, vectors int
	}{
		{"dat", "dat", 7, 4, 0},
		{"evt2", "evt2", 7, 4, 0},
		{"evt21/rows", "evt21", 7, 4, 6},
		{"evt21/vectors", "evt21", 7, 4, 1},
		{"evt3/rows", "evt3", 7, 4, 6},
		{"evt3/vectors", "evt3", 7, 4, 1},
		{"evt3/singles", "evt3", 100, 100, 0},
		{"evt3/sparse", "evt3", 1, 1, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			file, count := sensorStream(c.format, n, c.pace, c.perRow, c.vectors)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			buf := make([]events.Event, 4096)
			b.ReportAllocs()
			b.SetBytes(int64(len(file)))
			best := time.Duration(math.MaxInt64)
			for b.Loop() {
				start := threadTime()
				rec, err := NewReader(bytes.NewReader(file), Options{Width: 1280, Height: 720})
				if err != nil {
					b.Fatal(err)
				}
				total := 0
				for err == nil {
					m := 0
					m, err = rec.Read(buf)
					total += m
				}
				if !errors.Is(err, io.EOF) || total != count || rec.Stats().Any() {
					b.Fatalf("read %d events of %d, %v, %v", total, count, rec.Stats(), err)
				}
				rec.Close()
				best = min(best, threadTime()-start)
			}
			b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
			b.ReportMetric(float64(count)/best.Seconds()/1e6, "core-Mevents/s")
		})
	}
}
