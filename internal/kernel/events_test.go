package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
	"pgregory.net/rapid"
)

// spikes returns counts up to most of which the given share is not 0.
func spikes(r *rand.Rand, n int, density float64, most int) []uint8 {
	x := make([]uint8, n)
	for i := range x {
		if r.Float64() < density {
			x[i] = uint8(1 + r.IntN(most))
		}
	}
	return x
}

func eventShapes() map[string]ConvShape {
	return map[string]ConvShape{
		"3x3":          square(2, 7, 64, 64, 3, 1),
		"3x3 wide":     square(3, 4, 128, 192, 3, 1),
		"stride":       square(2, 9, 64, 128, 3, 2),
		"1x1 stride":   square(2, 8, 64, 64, 1, 2),
		"5x5":          square(1, 5, 64, 64, 5, 1),
		"dilation":     with(square(1, 9, 64, 64, 3, 1), func(s *ConvShape) { s.DilH, s.DilW, s.PadTop, s.PadLeft = 2, 3, 3, 4 }),
		"one pixel":    square(5, 1, 64, 64, 3, 1),
		"no samples":   square(0, 4, 64, 64, 3, 1),
		"only padding": with(square(1, 1, 64, 64, 1, 4), func(s *ConvShape) { s.PadTop, s.PadBottom = 4, 4 }),
	}
}

// The bits must be those of the sums with all zeros in them.
func TestConvCountsEqualsConvRows(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for name, s := range eventShapes() {
			for _, density := range []float64{0, 0.02, 0.4, 1} {
				t.Run(fmt.Sprintf("%s/%g", name, density), func(t *testing.T) {
					r := rand.New(rand.NewPCG(1, 2))
					counts := spikes(r, s.InLen(), density, 255)
					w, bias, add := noise(r, s.WeightLen()), noise(r, s.Cout), noise(r, s.OutLen())
					x := make([]float32, len(counts))
					CountsToFloat(x, counts)
					masks := make([]uint64, len(counts)/64)
					CountMasks(masks, counts)
					one := s
					one.N = 1
					f, dense := NewEventFilter(s, w), NewFilter(s, w)
					for _, e := range []Epilogue{{}, {Bias: bias}, {Bias: bias, Add: add}} {
						want := make([]float32, s.OutLen())
						for n := range s.N {
							rows := e
							out := one.OutLen()
							if e.Add != nil {
								rows.Add = add[n*out : (n+1)*out]
							}
							ConvRows(one, x[n*one.InLen():], dense, rows, 0, s.OutH(), want[n*out:(n+1)*out])
						}
						for _, workers := range []int{1, 3} {
							pool := parallel.New(workers)
							got := noise(r, s.OutLen())
							ConvCounts(pool, s, counts, masks, f, e, got)
							pool.Close()
							for i := range want {
								if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
									t.Fatalf("%d workers: output %d is %g, want %g", workers, i, got[i], want[i])
								}
							}
						}
					}
				})
			}
		}
	})
}

// Any shape, any counts: the bits of ConvRows.
func TestConvCountsProperty(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			small := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, name) }
			s := ConvShape{N: small("n", 0, 3), H: small("h", 1, 6), W: small("w", 1, 6), Cin: 64, KH: small("kh", 1, 3), KW: small("kw", 1, 3),
				Cout: 64, StrideH: small("stride h", 1, 3), StrideW: small("stride w", 1, 3), PadTop: small("top", 0, 2), PadLeft: small("left", 0, 2),
				PadBottom: small("bottom", 0, 2), PadRight: small("right", 0, 2), DilH: small("dil h", 1, 2), DilW: small("dil w", 1, 2), Groups: 1}
			if s.Validate() != nil {
				t.Skip("the kernel does not fit")
			}
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			counts := spikes(r, s.InLen(), rapid.Float64Range(0, 1).Draw(t, "density"), small("most", 1, 255))
			w := noise(r, s.WeightLen())
			x, masks := make([]float32, len(counts)), make([]uint64, len(counts)/64)
			CountsToFloat(x, counts)
			CountMasks(masks, counts)
			want, got := make([]float32, s.OutLen()), noise(r, s.OutLen()+1)
			guard := got[len(want)]
			one := s
			one.N = 1
			f := NewFilter(s, w)
			for n := range s.N {
				ConvRows(one, x[n*one.InLen():], f, Epilogue{}, 0, s.OutH(), want[n*one.OutLen():])
			}
			ConvCounts(nil, s, counts, masks, NewEventFilter(s, w), Epilogue{}, got)
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("output %d is %g, want %g", i, got[i], want[i])
				}
			}
			if got[len(want)] != guard {
				t.Fatal("the element behind the output was written")
			}
		})
	})
}

func TestCountMasks(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for n := range 9 {
			for _, density := range []float64{0, 0.3, 1} {
				counts := spikes(r, 64*n, density, 255)
				masks := make([]uint64, n+1)
				masks[n] = 42
				CountMasks(masks[:n], counts)
				for i, c := range counts {
					if got, want := masks[i/64]>>(i%64)&1 == 1, c != 0; got != want {
						t.Fatalf("%d masks: count %d is %d, its bit is %t", n, i, c, got)
					}
				}
				if masks[n] != 42 {
					t.Fatalf("%d masks: one more was written", n)
				}
			}
		}
	})
}

func TestNewEventFilterRefuses(t *testing.T) {
	for name, s := range map[string]ConvShape{
		"inputs": square(1, 4, 32, 64, 3, 1), "outputs": square(1, 4, 64, 96, 3, 1),
		"groups": with(square(1, 4, 128, 128, 3, 1), func(s *ConvShape) { s.Groups = 2 }),
	} {
		if NewEventFilter(s, make([]float32, s.WeightLen())) != nil {
			t.Errorf("%s: taken", name)
		}
	}
	s := square(1, 4, 64, 64, 3, 1)
	w := make([]float32, s.WeightLen())
	w[17] = float32(math.Inf(1))
	if NewEventFilter(s, w) != nil {
		t.Error("infinite weight: taken")
	}
}

// BenchmarkConvCounts against the dense convolution of the same frames, by the
// processor time of the fastest call.
func BenchmarkConvCounts(b *testing.B) {
	for _, bc := range benchShapes[:4] {
		s := bc.s
		s.N = 8
		r := rand.New(rand.NewPCG(1, 2))
		w, y := noise(r, s.WeightLen()), make([]float32, s.OutLen())
		f, dense := NewEventFilter(s, w), NewFilter(s, w)
		x := make([]float32, s.InLen())
		masks := make([]uint64, s.InLen()/64)
		for _, density := range []float64{0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1} {
			b.Run(fmt.Sprintf("%s/%g", bc.name, density), func(b *testing.B) {
				counts := spikes(r, s.InLen(), density, 4)
				for b.Loop() {
					CountMasks(masks, counts)
				}
				events := fastest(b, func() {
					CountMasks(masks, counts)
					ConvCounts(nil, s, counts, masks, f, Epilogue{}, y)
				})
				all := fastest(b, func() {
					CountsToFloat(x, counts)
					Conv(nil, s, x, dense, Epilogue{}, y)
				})
				b.ReportMetric(events/all, "of-dense")
				b.ReportMetric(2*float64(s.MACs())*float64(s.N)/events/1e9, "GFLOP/s-equivalent")
			})
		}
	}
}

// fastest returns the seconds of processor time of the fastest of ten calls.
func fastest(b *testing.B, fn func()) float64 {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fn()
	best := math.Inf(1)
	for range 10 {
		t := threadTime()
		fn()
		best = min(best, (threadTime() - t).Seconds())
	}
	return best
}
