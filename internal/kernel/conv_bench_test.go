package kernel

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/adafire/adafire/internal/parallel"
)

var benchShapes = []struct {
	name string
	s    ConvShape
}{
	{"3x3_64_32x32", square(32, 32, 64, 64, 3, 1)},
	{"3x3_128_16x16", square(32, 16, 128, 128, 3, 1)},
	{"3x3_256_8x8", square(32, 8, 256, 256, 3, 1)},
	{"3x3_512_4x4", square(32, 4, 512, 512, 3, 1)},
	{"3x3_16_32x32", square(32, 32, 16, 16, 3, 1)},
	{"3x3_32_16x16", square(32, 16, 32, 32, 3, 1)},
	{"3x3s2_64-128_32x32", square(32, 32, 64, 128, 3, 2)},
	{"1x1s2_64-128_32x32", square(32, 32, 64, 128, 1, 2)},
	{"1x1_256-64_16x16", square(32, 16, 256, 64, 1, 1)},
	{"first_1-32_28x28", square(32, 28, 1, 32, 3, 1)},
	{"first_3-64_32x32", square(32, 32, 3, 64, 3, 1)},
	{"first_18-64_32x32", square(32, 32, 18, 64, 3, 1)},
	{"7x7s2_3-64_64x64", square(8, 64, 3, 64, 7, 2)},
	{"linear_512-10_b128", linear(128, 512, 10)},
	{"linear_4096-4096_b32", linear(32, 4096, 4096)},
	{"linear_4096-4096_b128", linear(128, 4096, 4096)},
	{"depthwise_3x3_96_32x32", with(square(32, 32, 96, 96, 3, 1), func(s *ConvShape) { s.Groups = 96 })},
	{"depthwise_3x3_96_32x32_b1", with(square(1, 32, 96, 96, 3, 1), func(s *ConvShape) { s.Groups = 96 })},
	{"grouped8_3x3_128_16x16", with(square(32, 16, 128, 128, 3, 1), func(s *ConvShape) { s.Groups = 8 })},
}

// benchConv reports the rate and its share of the core's measured peak; the
// operations are those of the formula, multiplications with padding included,
// the time is the processor time of the fastest call.
func benchConv(b *testing.B, prepare func(s ConvShape, x, w, y []float32) func()) {
	peak := PeakGFLOPS()
	for _, bc := range benchShapes {
		b.Run(bc.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			r := rand.New(rand.NewPCG(1, 2))
			s := bc.s
			run := prepare(s, noise(r, s.InLen()), noise(r, s.WeightLen()), noise(r, s.OutLen()))
			if run == nil {
				b.Skip("does not fit")
			}
			run()
			b.ReportAllocs()
			fastest := time.Hour
			for b.Loop() {
				t := threadTime()
				run()
				fastest = min(fastest, threadTime()-t)
			}
			rate := 2 * float64(s.MACs()) * float64(s.N) / fastest.Seconds() / 1e9
			b.ReportMetric(rate, "GFLOP/s")
			b.ReportMetric(100*rate/peak, "%peak")
		})
	}
}

func BenchmarkConv(b *testing.B) {
	benchConv(b, func(s ConvShape, x, w, y []float32) func() {
		f := NewFilter(s, w)
		return func() { Conv(nil, s, x, f, Epilogue{}, y) }
	})
}

func BenchmarkConvBackwardInput(b *testing.B) {
	benchConv(b, func(s ConvShape, x, w, y []float32) func() {
		f := NewBackwardFilter(s, w)
		return func() { ConvBackwardInput(nil, s, y, f, x) }
	})
}

func BenchmarkConvBackwardWeight(b *testing.B) {
	benchConv(b, func(s ConvShape, x, w, y []float32) func() {
		return func() { ConvBackwardWeight(nil, s, x, y, w) }
	})
}

// BenchmarkConvWorkers shows how a pool shares one call; here ns/op counts.
func BenchmarkConvWorkers(b *testing.B) {
	for _, workers := range []int{1, 2} {
		p := parallel.New(workers)
		defer p.Close()
		for _, s := range []ConvShape{square(32, 16, 128, 128, 3, 1), square(1, 4, 512, 512, 3, 1)} {
			x, w, y := make([]float32, s.InLen()), make([]float32, s.WeightLen()), make([]float32, s.OutLen())
			f, back := NewFilter(s, w), NewBackwardFilter(s, w)
			name := fmt.Sprintf("_%dx%d/workers=%d", s.N, s.Cin, workers)
			b.Run("forward"+name, func(b *testing.B) {
				for b.Loop() {
					Conv(p, s, x, f, Epilogue{}, y)
				}
			})
			b.Run("input"+name, func(b *testing.B) {
				for b.Loop() {
					ConvBackwardInput(p, s, y, back, x)
				}
			})
			b.Run("weight"+name, func(b *testing.B) {
				for b.Loop() {
					ConvBackwardWeight(p, s, x, y, w)
				}
			})
		}
	}
}

func BenchmarkFilterSet(b *testing.B) {
	s := square(1, 8, 256, 256, 3, 1)
	w := make([]float32, s.WeightLen())
	f, back := NewFilter(s, w), NewBackwardFilter(s, w)
	b.Run("forward", func(b *testing.B) {
		b.SetBytes(int64(4 * len(w)))
		for b.Loop() {
			f.Set(w)
		}
	})
	b.Run("backward", func(b *testing.B) {
		b.SetBytes(int64(4 * len(w)))
		for b.Loop() {
			back.Set(w)
		}
	})
}

func BenchmarkPeak(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(PeakGFLOPS(), "GFLOP/s")
		b.ReportMetric(PeakGBps(24<<10), "GB/s-L1")
		b.ReportMetric(PeakGBps(384<<10), "GB/s-L2")
		b.ReportMetric(PeakGBps(192<<20), "GB/s-mem")
	}
}
