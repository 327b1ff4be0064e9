package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
)

var resampleShapes = []ResampleShape{
	{N: 2, H: 3, W: 4, OutH: 6, OutW: 8},
	{N: 1, H: 3, W: 5, OutH: 7, OutW: 10},
	{N: 2, H: 7, W: 9, OutH: 3, OutW: 4},
	{N: 1, H: 1, W: 4, OutH: 5, OutW: 1},
	{N: 1, H: 5, W: 5, OutH: 5, OutW: 5},
}

func TestNearestIndex(t *testing.T) {
	for _, k := range []struct {
		in, out int
		want    []int
	}{
		{3, 6, []int{0, 0, 1, 1, 2, 2}},
		{3, 7, []int{0, 0, 0, 1, 1, 2, 2}},
		{5, 2, []int{0, 2}},
		{1, 3, []int{0, 0, 0}},
	} {
		if got := nearestIndex(k.in, k.out); fmt.Sprint(got) != fmt.Sprint(k.want) {
			t.Errorf("%d to %d: %v, want %v", k.in, k.out, got, k.want)
		}
	}
	for in := 1; in < 300; in += 7 {
		for out := 1; out < 300; out += 11 {
			last := 0
			for _, i := range nearestIndex(in, out) {
				if i < last || i >= in {
					t.Fatalf("%d to %d: index %d after %d", in, out, i, last)
				}
				last = i
			}
		}
	}
}

func TestResampleBilinearByHand(t *testing.T) {
	x := []float32{0, 2, 4} // a row of three
	for _, k := range []struct {
		out   int
		align bool
		want  []float32
	}{
		{6, false, []float32{0, 0.5, 1.5, 2.5, 3.5, 4}},
		{5, true, []float32{0, 1, 2, 3, 4}},
		{1, true, []float32{0}},
		{1, false, []float32{2}},
		{3, false, []float32{0, 2, 4}},
	} {
		y := make([]float32, k.out)
		ResampleBilinear(nil, ResampleShape{1, 1, 3, 1, 1, k.out}, x, y, k.align)
		for i := range y {
			if math.Abs(float64(y[i]-k.want[i])) > 1e-6 {
				t.Errorf("3 to %d, align %v: %v, want %v", k.out, k.align, y, k.want)
				break
			}
		}
	}
}

// linearPosition is the definition of the source position, in float64.
func linearPosition(o, in, out int, align bool) float64 {
	switch {
	case align && out == 1:
		return 0
	case align:
		return float64(o) * float64(in-1) / float64(out-1)
	}
	return max((float64(o)+0.5)*float64(in)/float64(out)-0.5, 0)
}

func TestResample(t *testing.T) {
	pool := parallel.New(2)
	defer pool.Close()
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(71, 72))
		for _, s := range resampleShapes {
			for _, s.C = range []int{1, 3, 8, 19, 64} {
				x, dx := floatsAt(s.N*s.H*s.W*s.C, 1), floatsAt(s.N*s.H*s.W*s.C, 2)
				y, dy := floatsAt(s.N*s.OutH*s.OutW*s.C, 1), floatsAt(s.N*s.OutH*s.OutW*s.C, 3)
				finite(r, x)
				finite(r, dy)
				adjoint := func(name string) {
					t.Helper()
					if a, b := Dot(y, dy), Dot(x, dx); math.Abs(a-b) > 1e-4*(1+math.Abs(a)) {
						t.Fatalf("%s of %+v: <y,dy> = %v, <x,dx> = %v", name, s, a, b)
					}
					intact(t, name, y)
					intact(t, name, dx)
				}
				ResampleNearest(pool, s, x, y)
				ResampleNearestBackward(pool, s, dy, dx)
				adjoint("nearest")
				for _, align := range []bool{false, true} {
					ResampleBilinear(pool, s, x, y, align)
					ResampleBilinearBackward(pool, s, dy, dx, align)
					adjoint("bilinear")
					want := make([]float32, len(y))
					portably(t, func() { ResampleBilinear(nil, s, x, want, align) })
					equalBits(t, "bilinear", y, want)
					for i := range y {
						ch, ow, oh, n := i%s.C, i/s.C%s.OutW, i/s.C/s.OutW%s.OutH, i/s.C/s.OutW/s.OutH
						px := func(h, w int) float64 {
							return float64(x[((n*s.H+min(h, s.H-1))*s.W+min(w, s.W-1))*s.C+ch])
						}
						ph, pw := linearPosition(oh, s.H, s.OutH, align), linearPosition(ow, s.W, s.OutW, align)
						h, w := int(ph), int(pw)
						fh, fw := ph-float64(h), pw-float64(w)
						ref := (1-fh)*((1-fw)*px(h, w)+fw*px(h, w+1)) + fh*((1-fw)*px(h+1, w)+fw*px(h+1, w+1))
						if math.Abs(float64(y[i])-ref) > 1e-5 {
							t.Fatalf("%+v, align %v: element %d is %v, want %v", s, align, i, y[i], ref)
						}
					}
				}
			}
		}
	})
}

func BenchmarkResampleBilinear(b *testing.B) {
	s := ResampleShape{1, 32, 32, 64, 64, 64}
	x, y := make([]float32, 32*32*64), make([]float32, 64*64*64)
	b.SetBytes(int64(4 * len(y)))
	for b.Loop() {
		ResampleBilinear(nil, s, x, y, false)
	}
}
