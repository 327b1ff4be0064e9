package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// intBenchShapes are those of the layers of residual networks, and a few odd ones.
func intBenchShapes() []struct {
	name string
	s    ConvShape
} {
	list := benchShapes[:4:4]
	for _, b := range benchShapes[4:] {
		switch b.name {
		case "3x3_16_32x32", "3x3s2_64-128_32x32", "1x1s2_64-128_32x32", "1x1_256-64_16x16", "first_3-64_32x32", "linear_512-10_b128",
			"depthwise_3x3_96_32x32":
			list = append(list, b)
		}
	}
	return list
}

// BenchmarkConvInt reports the rate of the dense kernels, and its ratio to the
// float32 kernel of the same run, by the processor time of the fastest call.
func BenchmarkConvInt(b *testing.B) {
	for _, bc := range intBenchShapes() {
		s := bc.s
		r := rand.New(rand.NewPCG(1, 2))
		x, w8, w16 := spikes(r, s.InLen(), 0.3, 4), make([]int8, s.WeightLen()), make([]int16, s.WeightLen())
		for i := range w8 {
			w8[i], w16[i] = int8(max(-127, min(127, r.NormFloat64()*30))), int16(r.NormFloat64()*4000)
		}
		y := make([]int32, s.OutLen())
		ops := 2 * float64(s.MACs()) * float64(s.N) / 1e9
		xf, yf := make([]float32, s.InLen()), make([]float32, s.OutLen())
		dense := NewFilter(s, noise(r, s.WeightLen()))
		filter := func(f *IntFilter, err error) *IntFilter {
			if err != nil {
				b.Fatal(err)
			}
			return f
		}
		for _, k := range []struct {
			name string
			f    *IntFilter
		}{
			{"u8s8", filter(NewIntFilter(s, w8, 0, 4))},
			{"u8s8-32", filter(NewIntFilter(s, w8, 0, 32))},
			{"s16", filter(NewIntFilter(s, w16, 0, 4))},
		} {
			b.Run(bc.name+"/"+k.name, func(b *testing.B) {
				for b.Loop() {
					ConvInt(nil, s, x, k.f, y, false)
				}
				ints := fastest(b, func() { ConvInt(nil, s, x, k.f, y, false) })
				floats := fastest(b, func() { Conv(nil, s, xf, dense, Epilogue{}, yf) })
				b.ReportMetric(ops/ints, "Gop/s")
				b.ReportMetric(ops/floats, "f32-GFLOP/s")
				b.ReportMetric(floats/ints, "of-f32")
			})
		}
	}
}

// BenchmarkFireInt compares the fused neuron with the convolution before it:
// the share of its time is what the neurons add.
func BenchmarkFireInt(b *testing.B) {
	for _, bc := range intBenchShapes()[:4] {
		s := bc.s
		s.N = 1
		b.Run(bc.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			x, w := spikes(r, s.InLen(), 0.3, 4), make([]int8, s.WeightLen())
			for i := range w {
				w[i] = int8(max(-127, min(127, r.NormFloat64()*30)))
			}
			f, err := NewIntFilter(s, w, 0, 4)
			if err != nil {
				b.Fatal(err)
			}
			rows := min(s.OutH(), max(1, blockPixels/s.OutW()))
			n := rows * s.OutW() * s.Cout
			y, v, counts := make([]int32, n), make([]float32, n), make([]uint8, n)
			c := &IntCurrent{Scale: make([]float32, s.Cout), Bias: make([]float32, s.Cout)}
			for i := range c.Scale {
				c.Scale[i] = 0.001
			}
			var sc IntScratch
			const calls = 50
			conv := func() {
				for range calls {
					ConvIntRows(s, x, f, 0, rows, y, false, &sc)
				}
			}
			for b.Loop() {
				conv()
			}
			convs := fastest(b, conv)
			fires := fastest(b, func() {
				for range calls {
					FireInt(counts, v, y, c, 0, 4)
				}
			})
			b.ReportMetric(100*fires/convs, "%of-conv")
			b.ReportMetric(fires/calls/float64(n)*1e9, "ns/neuron")
			b.ReportMetric(convs/calls/float64(n)*1e9, "ns/conv")
		})
	}
}

// BenchmarkConvIntEvents reports the time of events against the dense kernel
// and against events of float32 weights, by the share of non-zero counts, and
// where events and dense kernel cross.
func BenchmarkConvIntEvents(b *testing.B) {
	for _, bc := range intBenchShapes()[:4] {
		s := bc.s
		s.N = 4
		r := rand.New(rand.NewPCG(1, 2))
		w8, w16 := make([]int8, s.WeightLen()), make([]int16, s.WeightLen())
		for i := range w8 {
			w8[i], w16[i] = int8(max(-127, min(127, r.NormFloat64()*30))), int16(r.NormFloat64()*4000)
		}
		floats := NewEventFilter(s, noise(r, s.WeightLen()))
		benchIntEvents(b, bc.name+"/i8", s, w8, floats)
		benchIntEvents(b, bc.name+"/i16", s, w16, floats)
	}
}

func benchIntEvents[W IntWeight](b *testing.B, name string, s ConvShape, w []W, floats *EventFilter) {
	r := rand.New(rand.NewPCG(3, 4))
	y, yf, masks := make([]int32, s.OutLen()), make([]float32, s.OutLen()), make([]uint64, s.InLen()/64)
	dense, err := NewIntFilter(s, w, 0, 4)
	if err != nil {
		b.Fatal(err)
	}
	f := NewIntEventFilter(s, w, 0, 4)
	var sc IntScratch
	for _, density := range []float64{0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5} {
		b.Run(fmt.Sprintf("%s/%g", name, density), func(b *testing.B) {
			x := spikes(r, s.InLen(), density, 4)
			for b.Loop() {
				ConvIntEventRows(s, x, f, 0, s.OutH(), y, false, &sc)
			}
			events := fastest(b, func() { ConvIntEventRows(s, x, f, 0, s.OutH(), y, false, &sc) })
			all := fastest(b, func() { ConvIntRows(s, x, dense, 0, s.OutH(), y, false, &sc) })
			float := fastest(b, func() {
				CountMasks(masks, x)
				ConvCounts(nil, s, x, masks, floats, Epilogue{}, yf)
			})
			b.ReportMetric(events/all, "of-dense")
			b.ReportMetric(events/float, "of-f32-events")
			b.ReportMetric(events*1e3, "ms")
			b.ReportMetric(all*1e3, "dense-ms")
			b.ReportMetric(events/density/float64(s.MACs()/64*int64(s.N))*1e9, "ns/row")
		})
	}
	b.Run(name+"/crossover", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(IntCrossover(s, dense, f), "density")
		}
	})
}
