package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
	"pgregory.net/rapid"
)

// eachISA runs fn once for every instruction set that this machine has.
func eachISA(t *testing.T, fn func(t *testing.T)) {
	was := Active().String()
	defer func() {
		if err := SetISA(was); err != nil {
			t.Fatal(err)
		}
	}()
	for _, isa := range Available() {
		if err := SetISA(isa.String()); err != nil {
			t.Fatal(err)
		}
		t.Run(isa.String(), fn)
	}
}

// convProducts calls fn for every product of the convolution, in the order of the
// sums of Conv: output element, input element (-1: padding), weight element.
func convProducts(s ConvShape, fn func(y, x, w int)) {
	cing, coutg, outH, outW := s.Cin/s.Groups, s.Cout/s.Groups, s.OutH(), s.OutW()
	for n := range s.N {
		for oh := range outH {
			for ow := range outW {
				for co := range s.Cout {
					y := ((n*outH+oh)*outW+ow)*s.Cout + co
					for kh := range s.KH {
						for kw := range s.KW {
							ih, iw := oh*s.StrideH+kh*s.DilH-s.PadTop, ow*s.StrideW+kw*s.DilW-s.PadLeft
							for ci := range cing {
								x := -1
								if ih >= 0 && ih < s.H && iw >= 0 && iw < s.W {
									x = ((n*s.H+ih)*s.W+iw)*s.Cin + co/coutg*cing + ci
								}
								fn(y, x, ((kh*s.KW+kw)*cing+ci)*s.Cout+co)
							}
						}
					}
				}
			}
		}
	}
}

// sums are float64 results with the bound of their error: Σ|a||b| of each.
type sums struct{ v, bound []float64 }

func newSums(n int) sums { return sums{make([]float64, n), make([]float64, n)} }

func (s sums) add(i int, a, b float32) {
	s.v[i] += float64(a) * float64(b)
	s.bound[i] += math.Abs(float64(a) * float64(b))
}

// check compares got with the sums: terms*2^-23 relative to the bound is what
// any order of float32 sums may be off; 32 of these is already generous for
// random data.
func (s sums) check(t failer, what string, got []float32) {
	t.Helper()
	for i, want := range s.v {
		g := float64(got[i])
		if math.IsNaN(want) || math.IsInf(want, 0) {
			if math.IsNaN(want) != math.IsNaN(g) || math.IsInf(want, 1) != math.IsInf(g, 1) {
				t.Fatalf("%s: element %d of %d: got %g, want %g", what, i, len(s.v), g, want)
			}
			continue
		}
		if d := math.Abs(g - want); !(d <= s.bound[i]*32*0x1p-23+1e-30) {
			t.Fatalf("%s: element %d of %d: got %g, want %g (off by %g, bound %g)", what, i, len(s.v), g, want, d, s.bound[i])
		}
	}
}

func value(x []float32, i int) float32 {
	if i < 0 {
		return 0
	}
	return x[i]
}

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

const canary = float32(-12345.5)

// canaries returns a slice of n elements of garbage, followed by canaries.
func canaries(n int) []float32 {
	b := make([]float32, n+64)
	for i := range b {
		b[i] = canary
	}
	return b
}

func checkCanaries(t failer, what string, b []float32, n int) {
	t.Helper()
	for i, v := range b[n:] {
		if v != canary {
			t.Fatalf("%s: wrote behind the output, element %d+%d is %g", what, n, i, v)
		}
	}
}

// noise returns n values in -1..1. The slice ends where its memory ends.
func noise(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 2*r.Float32() - 1
	}
	return v[:n:n]
}

// checkConv compares all four functions with the plain loops.
func checkConv(t failer, p *parallel.Pool, s ConvShape, seed uint64) {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	x, w := noise(r, s.InLen()), noise(r, s.WeightLen())
	e := Epilogue{Act: Activation(seed % 3)}
	if seed&4 != 0 {
		e.Bias = noise(r, s.Cout)
	}
	if seed&8 != 0 {
		e.Add = noise(r, s.OutLen())
	}
	what := fmt.Sprintf("%v %+v seed %d", Active(), s, seed)

	want := newSums(s.OutLen())
	convProducts(s, func(y, xi, wi int) { want.add(y, value(x, xi), w[wi]) })
	for i := range want.v {
		if e.Bias != nil {
			want.add(i, e.Bias[i%s.Cout], 1)
		}
		if e.Add != nil {
			want.add(i, e.Add[i], 1)
		}
		if e.Act != ActNone {
			want.v[i] = max(0, want.v[i])
		}
		if e.Act == ActReLU6 {
			want.v[i] = min(6, want.v[i])
		}
	}
	f := NewFilter(s, w)
	y := canaries(s.OutLen())
	Conv(p, s, x, f, e, y)
	want.check(t, "Conv "+what, y)
	checkCanaries(t, "Conv "+what, y, s.OutLen())

	row := s.OutW() * s.Cout
	for n := range s.N {
		lo := int(seed) % s.OutH()
		hi := min(lo+1+n, s.OutH())
		part := canaries((hi - lo) * row)
		pe := e
		if e.Add != nil {
			pe.Add = e.Add[(n*s.OutH()+lo)*row : (n*s.OutH()+hi)*row]
		}
		ConvRows(s, x[n*s.H*s.W*s.Cin:(n+1)*s.H*s.W*s.Cin], f, pe, lo, hi, part)
		sameBits(t, "ConvRows "+what, part[:(hi-lo)*row], y[(n*s.OutH()+lo)*row:(n*s.OutH()+hi)*row])
		checkCanaries(t, "ConvRows "+what, part, (hi-lo)*row)
	}

	dy := noise(r, s.OutLen())
	gotX, gotW := canaries(s.InLen()), canaries(s.WeightLen())
	wantX, wantW := newSums(s.InLen()), newSums(s.WeightLen())
	convProducts(s, func(yi, xi, wi int) {
		if xi >= 0 {
			wantX.add(xi, dy[yi], w[wi])
		}
		wantW.add(wi, value(x, xi), dy[yi])
	})
	ConvBackwardInput(p, s, dy, NewBackwardFilter(s, w), gotX)
	wantX.check(t, "ConvBackwardInput "+what, gotX)
	checkCanaries(t, "ConvBackwardInput "+what, gotX, s.InLen())
	ConvBackwardWeight(p, s, x, dy, gotW)
	wantW.check(t, "ConvBackwardWeight "+what, gotW)
	checkCanaries(t, "ConvBackwardWeight "+what, gotW, s.WeightLen())
}

func sameBits(t failer, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d: got %x (%g), want %x (%g)", what, i,
				math.Float32bits(got[i]), got[i], math.Float32bits(want[i]), want[i])
		}
	}
}

// square is an n x h x h x cin image under k x k filters with "same" padding.
func square(n, h, cin, cout, k, stride int) ConvShape {
	return ConvShape{N: n, H: h, W: h, Cin: cin, KH: k, KW: k, Cout: cout, StrideH: stride, StrideW: stride,
		PadTop: k / 2, PadLeft: k / 2, PadBottom: k / 2, PadRight: k / 2, DilH: 1, DilW: 1, Groups: 1}
}

func linear(m, in, out int) ConvShape { return rectangle(1, 1, m, in, 1, 1, out) }

func rectangle(n, h, w, cin, kh, kw, cout int) ConvShape {
	return ConvShape{N: n, H: h, W: w, Cin: cin, KH: kh, KW: kw, Cout: cout,
		StrideH: 1, StrideW: 1, DilH: 1, DilW: 1, Groups: 1}
}

func with(s ConvShape, edit func(s *ConvShape)) ConvShape {
	edit(&s)
	return s
}

var oddShapes = map[string]ConvShape{
	"one pixel":       rectangle(1, 1, 1, 1, 1, 1, 1),
	"first layer":     square(2, 9, 3, 17, 3, 1),
	"seven by seven":  square(1, 15, 3, 20, 7, 2),
	"grey":            square(2, 8, 1, 6, 5, 1),
	"eighteen":        square(1, 7, 18, 33, 3, 1),
	"wide channels":   square(1, 4, 40, 70, 3, 1),
	"deep":            square(1, 3, 700, 18, 3, 1),
	"very deep":       square(2, 2, 2100, 5, 3, 1),
	"linear":          linear(33, 70, 10),
	"linear deep":     linear(7, 2500, 35),
	"strided":         square(2, 9, 8, 16, 3, 2),
	"strided 1x1":     square(2, 8, 8, 24, 1, 2),
	"stride over":     with(square(1, 11, 5, 9, 2, 5), func(s *ConvShape) { s.StrideW = 4 }),
	"dilated":         with(square(1, 11, 6, 7, 3, 1), func(s *ConvShape) { s.DilH, s.DilW = 2, 3 }),
	"dilated strided": with(square(1, 13, 4, 7, 3, 2), func(s *ConvShape) { s.DilH, s.DilW = 3, 2 }),
	"asymmetric": with(rectangle(2, 6, 9, 5, 3, 2, 11), func(s *ConvShape) {
		s.PadTop, s.PadLeft, s.PadBottom, s.PadRight, s.StrideW = 2, 0, 1, 3, 2
	}),
	"kernel over image":    square(1, 2, 4, 9, 7, 1),
	"only padding":         with(rectangle(1, 1, 1, 3, 1, 1, 4), func(s *ConvShape) { s.PadTop, s.PadLeft = 3, 2 }),
	"groups":               with(square(2, 5, 12, 15, 3, 1), func(s *ConvShape) { s.Groups = 3 }),
	"groups wide":          with(square(1, 5, 64, 96, 3, 2), func(s *ConvShape) { s.Groups = 2 }),
	"depthwise":            with(square(2, 7, 40, 40, 3, 1), func(s *ConvShape) { s.Groups = 40 }),
	"depthwise strided":    with(square(2, 9, 19, 19, 5, 2), func(s *ConvShape) { s.Groups = 19 }),
	"depthwise times 2":    with(square(1, 5, 6, 12, 3, 1), func(s *ConvShape) { s.Groups = 6 }),
	"row":                  rectangle(3, 1, 40, 5, 1, 3, 8),
	"many blocks":          square(3, 16, 16, 16, 3, 1),
	"wide image":           with(rectangle(1, 2, 600, 4, 2, 3, 4), func(s *ConvShape) { s.StrideW = 2 }),
	"wide deep image":      rectangle(1, 2, 300, 32, 2, 2, 18),
	"no samples":           square(0, 4, 3, 5, 3, 1),
	"backward of few ch":   square(1, 6, 20, 3, 3, 1),
	"stride beyond kernel": with(square(2, 10, 17, 18, 2, 3), func(s *ConvShape) { s.PadTop = 0 }),
}

func TestConvOddShapes(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		p := parallel.New(3)
		defer p.Close()
		for name, s := range oddShapes {
			t.Run(name, func(t *testing.T) {
				for seed := range uint64(4) {
					checkConv(t, p, s, seed*5+uint64(len(name)))
				}
				checkConv(t, nil, s, 12)
			})
		}
	})
}

func TestConvEveryChannelTail(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for cout := 1; cout <= 40; cout++ {
			checkConv(t, nil, square(1, 4, 5, cout, 3, 1), uint64(cout))
			checkConv(t, nil, linear(7, cout, cout), uint64(cout))
			checkConv(t, nil, with(square(1, 3, cout, cout, 3, 1), func(s *ConvShape) { s.Groups = cout }), uint64(cout))
		}
	})
}

func TestConvEveryTileHeight(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for m := 1; m <= 26; m++ {
			checkConv(t, nil, linear(m, 33, 50), uint64(m))
			checkConv(t, nil, rectangle(1, 2, m, 33, 2, 1, 16), uint64(m))
		}
	})
}

// drawShape draws small but otherwise arbitrary valid convolutions.
func drawShape(t *rapid.T) ConvShape {
	in := func(lo, hi int, name string) int { return rapid.IntRange(lo, hi).Draw(t, name) }
	g := in(1, 3, "groups")
	s := ConvShape{N: in(1, 3, "n"), H: in(1, 12, "h"), W: in(1, 20, "w"), Cin: g * in(1, 20, "cin"), KH: in(1, 4, "kh"),
		KW: in(1, 4, "kw"), Cout: g * in(1, 36, "cout"), StrideH: in(1, 3, "sh"), StrideW: in(1, 3, "sw"),
		PadTop: in(0, 3, "pt"), PadLeft: in(0, 3, "pl"), PadBottom: in(0, 3, "pb"), PadRight: in(0, 3, "pr"),
		DilH: in(1, 3, "dh"), DilW: in(1, 3, "dw"), Groups: g}
	if in(0, 5, "depthwise") == 0 {
		s.Cout, s.Groups = s.Cin, s.Cin
	}
	s.H = max(s.H, (s.KH-1)*s.DilH+1-s.PadTop-s.PadBottom)
	s.W = max(s.W, (s.KW-1)*s.DilW+1-s.PadLeft-s.PadRight)
	return s
}

func TestConvAnyShape(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		p := parallel.New(2)
		defer p.Close()
		rapid.Check(t, func(rt *rapid.T) {
			s := drawShape(rt)
			checkConv(rt, p, s, rapid.Uint64Range(0, 15).Draw(rt, "seed"))
		})
	})
}
