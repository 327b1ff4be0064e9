package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
)

var winogradShapes = []ConvShape{
	square(2, 8, 16, 32, 3, 1), square(3, 13, 32, 16, 3, 1), square(1, 1, 16, 16, 3, 1), square(5, 4, 48, 80, 3, 1),
	with(square(2, 9, 16, 16, 3, 1), func(s *ConvShape) { s.W, s.PadTop, s.PadLeft, s.PadBottom, s.PadRight = 6, 0, 2, 2, 0 }),
	with(square(2, 7, 16, 48, 3, 1), func(s *ConvShape) { s.PadTop, s.PadLeft, s.PadBottom, s.PadRight = 0, 0, 0, 0 }),
}

// checkWinograd compares with the plain loops. The transforms add numbers of
// about the size of the largest sum of a tile, so the error is bounded by that.
func checkWinograd(t *testing.T, what string, got []float32, want sums) {
	t.Helper()
	var largest float64
	for _, b := range want.bound {
		largest = max(largest, b)
	}
	for i, v := range want.v {
		if d := float64(got[i]) - v; !(max(d, -d) <= 4e-6*largest) {
			t.Fatalf("%s: element %d: got %g, want %g (Σ|x||w| up to %g)", what, i, got[i], v, largest)
		}
	}
}

func TestWinograd(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		p := parallel.New(3)
		defer p.Close()
		for n, s := range winogradShapes {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			x, w, dy := noise(r, s.InLen()), noise(r, s.WeightLen()), noise(r, s.OutLen())
			f, b := NewWinogradFilter(s, w), NewWinogradBackwardFilter(s, w)
			want, wantX := newSums(s.OutLen()), newSums(s.InLen())
			convProducts(s, func(y, xi, wi int) {
				want.add(y, value(x, xi), w[wi])
				if xi >= 0 {
					wantX.add(xi, dy[y], w[wi])
				}
			})
			what := fmt.Sprintf("%v %+v", Active(), s)
			y, dx := canaries(s.OutLen()), canaries(s.InLen())
			ConvWinograd(nil, s, x, f, Epilogue{}, y)
			checkWinograd(t, what, y, want)
			checkCanaries(t, what, y, s.OutLen())
			ConvWinogradBackwardInput(nil, s, dy, b, dx)
			checkWinograd(t, what+" dx", dx, wantX)
			checkCanaries(t, what+" dx", dx, s.InLen())

			// Bias, addend and activation are exact on top of the sums.
			e := Epilogue{Bias: noise(r, s.Cout), Add: noise(r, s.OutLen()), Act: ActReLU6}
			full := canaries(s.OutLen())
			ConvWinograd(p, s, x, f, e, full)
			for i := range s.OutLen() {
				v := y[i] + e.Bias[i%s.Cout] + e.Add[i]
				if v = min(6, max(0, v)); full[i] != v {
					t.Fatalf("%s: element %d with epilogue: got %g, want %g", what, i, full[i], v)
				}
			}
			checkCanaries(t, what, full, s.OutLen())

			// The same bits with workers and alone in the batch.
			y2, dx2 := make([]float32, s.OutLen()), make([]float32, s.InLen())
			ConvWinograd(p, s, x, f, Epilogue{}, y2)
			ConvWinogradBackwardInput(p, s, dy, b, dx2)
			sameBits(t, what+" with workers", y2, y[:s.OutLen()])
			sameBits(t, what+" dx with workers", dx2, dx[:s.InLen()])
			one := s
			one.N = 1
			in, out := one.InLen(), one.OutLen()
			for n := range s.N {
				ConvWinograd(nil, one, x[n*in:(n+1)*in], f, Epilogue{}, y2)
				sameBits(t, what+" alone", y2[:out], y[n*out:(n+1)*out])
			}
		}
	})
}

func TestWinogradFits(t *testing.T) {
	for name, edit := range map[string]func(*ConvShape){
		"stride": func(s *ConvShape) { s.StrideW = 2 }, "dilation": func(s *ConvShape) { s.DilH = 2 },
		"groups": func(s *ConvShape) { s.Groups = 2 }, "channels": func(s *ConvShape) { s.Cin = 20 },
		"kernel": func(s *ConvShape) { s.KW = 1 }, "padding": func(s *ConvShape) { s.PadLeft = 3 },
	} {
		s := square(1, 8, 16, 16, 3, 1)
		if !WinogradFits(s) {
			t.Fatalf("%+v does not fit", s)
		}
		if edit(&s); WinogradFits(s) {
			t.Errorf("%s: %+v fits, want not", name, s)
		}
	}
}

func TestWinogradDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("sync.Pool drops items at random")
	}
	s := winogradShapes[1]
	x, w, y := make([]float32, s.InLen()), make([]float32, s.WeightLen()), make([]float32, s.OutLen())
	f := NewWinogradFilter(s, w)
	run := func() { ConvWinograd(nil, s, x, f, Epilogue{}, y); f.Set(w) }
	run()
	if n := testing.AllocsPerRun(20, run); n > 0 {
		t.Errorf("%v allocations per call, want none", n)
	}
}

func BenchmarkWinograd(b *testing.B) {
	benchConv(b, func(s ConvShape, x, w, y []float32) func() {
		if !WinogradFits(s) {
			return nil
		}
		f := NewWinogradFilter(s, w)
		return func() { ConvWinograd(nil, s, x, f, Epilogue{}, y) }
	})
}

func BenchmarkWinogradSet(b *testing.B) {
	s := square(1, 8, 256, 256, 3, 1)
	w := make([]float32, s.WeightLen())
	f := NewWinogradFilter(s, w)
	b.SetBytes(int64(4 * len(w)))
	for b.Loop() {
		f.Set(w)
	}
}
