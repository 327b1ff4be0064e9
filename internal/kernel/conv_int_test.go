package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
	"pgregory.net/rapid"
)

// intCase is an integer convolution with its sums by the formula.
type intCase[C SpikeCount, W IntWeight] struct {
	s      ConvShape
	x      []C
	w      []W
	lo, hi int
	want   []int32
}

// newIntCase draws counts from lo to hi and weights up to largest; skewed
// weights have one sign, so that sums come near their bounds.
func newIntCase[C SpikeCount, W IntWeight](r *rand.Rand, s ConvShape, lo, hi, largest int, density float64, skewed bool) *intCase[C, W] {
	c := &intCase[C, W]{s: s, lo: lo, hi: hi, x: make([]C, s.InLen()), w: make([]W, s.WeightLen()), want: make([]int32, s.OutLen())}
	for i := range c.x {
		if r.Float64() < density {
			c.x[i] = C(lo + r.IntN(hi-lo+1))
			if skewed {
				c.x[i] = C(hi)
			}
		}
	}
	for i := range c.w {
		c.w[i] = W(r.IntN(2*largest+1) - largest)
		if skewed {
			c.w[i] = W(largest)
		}
	}
	convProducts(s, func(y, x, w int) {
		if x >= 0 {
			c.want[y] += int32(c.x[x]) * int32(c.w[w])
		}
	})
	return c
}

func equalInts(t interface{ Fatalf(string, ...any) }, what string, got, want []int32) {
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: output %d is %d, want %d", what, i, got[i], want[i])
		}
	}
}

type fatal interface {
	Fatalf(string, ...any)
	Fatal(...any)
}

// check compares all dense ways with the formula.
func (c *intCase[C, W]) check(t fatal, r *rand.Rand, pool *parallel.Pool) {
	f, err := NewIntFilter(c.s, c.w, c.lo, c.hi)
	if err != nil {
		t.Fatal(err)
	}
	old := make([]int32, len(c.want)+1)
	for i := range old {
		old[i] = int32(r.Int32())
	}
	sum := make([]int32, len(c.want)+1)
	copy(sum, old)
	for i, v := range c.want {
		sum[i] += v
	}
	for _, p := range []*parallel.Pool{nil, pool} {
		got := append([]int32(nil), old...)
		ConvInt(p, c.s, c.x, f, got, false)
		equalInts(t, "ConvInt", got, append(c.want, old[len(c.want)]))
		got = append(got[:0], old...)
		ConvInt(p, c.s, c.x, f, got, true)
		equalInts(t, "ConvInt accumulating", got, sum)
	}
	var sc IntScratch
	c.rows(r, func(what string, lo, hi int, got, want []int32, accumulate bool) {
		ConvIntRows(c.s, c.x, f, lo, hi, got, accumulate, &sc)
		equalInts(t, what, got, want)
	})
}

// rows calls fn for a few ranges of output rows with outputs and what they are
// to become; the last of either is a guard.
func (c *intCase[C, W]) rows(r *rand.Rand, fn func(what string, lo, hi int, got, want []int32, accumulate bool)) {
	outH, row := c.s.OutH(), c.s.OutW()*c.s.Cout
	for i := range 4 {
		lo := r.IntN(outH)
		hi := lo + r.IntN(outH-lo+1)
		if i == 0 {
			lo, hi = 0, outH
		}
		accumulate := i%2 == 1
		got := make([]int32, c.s.N*(hi-lo)*row+1)
		for i := range got {
			got[i] = int32(r.Int32())
		}
		want := append([]int32(nil), got...)
		for n := range c.s.N {
			for k := range (hi - lo) * row {
				v := c.want[(n*outH+lo)*row+k]
				if accumulate {
					v += want[n*(hi-lo)*row+k]
				}
				want[n*(hi-lo)*row+k] = v
			}
		}
		fn(fmt.Sprintf("rows %d to %d", lo, hi), lo, hi, got, want, accumulate)
	}
}

func intShapes() map[string]ConvShape {
	return map[string]ConvShape{
		"3x3":              square(2, 7, 8, 16, 3, 1),
		"3x3 wide":         square(1, 5, 20, 53, 3, 1),
		"3x3 64":           square(1, 4, 64, 64, 3, 1),
		"small frames":     square(5, 2, 24, 48, 3, 1),
		"odd channels":     square(2, 6, 3, 7, 3, 1),
		"one channel":      square(1, 9, 1, 17, 5, 2),
		"stride":           square(2, 9, 6, 32, 3, 2),
		"1x1":              square(2, 5, 12, 20, 1, 1),
		"1x1 stride":       square(1, 8, 16, 33, 1, 2),
		"1x1 odd":          square(1, 8, 5, 16, 1, 1),
		"7x7":              square(1, 9, 3, 16, 7, 2),
		"linear":           linear(13, 100, 10),
		"linear odd":       linear(7, 33, 40),
		"linear long":      with(linear(250, 6, 18), func(s *ConvShape) { s.N = 3 }),
		"dilation":         with(square(1, 9, 5, 16, 3, 1), func(s *ConvShape) { s.DilH, s.DilW, s.PadTop, s.PadLeft = 2, 3, 3, 4 }),
		"grouped":          with(square(2, 6, 12, 36, 3, 1), func(s *ConvShape) { s.Groups = 2 }),
		"grouped odd":      with(square(1, 6, 9, 21, 3, 2), func(s *ConvShape) { s.Groups = 3 }),
		"depthwise":        with(square(2, 7, 24, 24, 3, 1), func(s *ConvShape) { s.Groups = 24 }),
		"depthwise odd":    with(square(1, 7, 37, 37, 3, 2), func(s *ConvShape) { s.Groups = 37 }),
		"depthwise 5x5":    with(square(1, 7, 19, 19, 5, 1), func(s *ConvShape) { s.Groups, s.DilW = 19, 2; s.PadLeft = 6 }),
		"multiplier":       with(square(1, 5, 4, 8, 3, 1), func(s *ConvShape) { s.Groups = 4 }),
		"asymmetric":       with(square(1, 6, 4, 16, 3, 1), func(s *ConvShape) { s.W, s.PadTop, s.PadRight = 11, 0, 3 }),
		"only padding":     with(square(1, 1, 4, 16, 1, 4), func(s *ConvShape) { s.PadTop, s.PadBottom = 4, 4 }),
		"wider than block": with(square(1, 3, 4, 16, 3, 1), func(s *ConvShape) { s.W = 300 }),
		"no samples":       square(0, 4, 8, 16, 3, 1),
	}
}

func testIntCases[C SpikeCount, W IntWeight](t *testing.T, lo, hi, largest int) {
	pool := parallel.New(3)
	defer pool.Close()
	for name, s := range intShapes() {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			newIntCase[C, W](r, s, lo, hi, largest, 0.7, false).check(t, r, pool)
			newIntCase[C, W](r, s, lo, hi, largest, 1, true).check(t, r, pool)
		})
	}
}

func TestConvIntEqualsFormula(t *testing.T) {
	if raceDetector {
		t.Skip("takes minutes; the property test uses workers, too")
	}
	eachISA(t, func(t *testing.T) {
		t.Run("u8s8 1", func(t *testing.T) { testIntCases[uint8, int8](t, 0, 1, 127) })
		t.Run("u8s8 4", func(t *testing.T) { testIntCases[uint8, int8](t, 0, 4, 127) })
		t.Run("u8s8 32", func(t *testing.T) { testIntCases[uint8, int8](t, 0, 32, 128) })
		t.Run("u8s8 255", func(t *testing.T) { testIntCases[uint8, int8](t, 0, 255, 127) })
		t.Run("u8s8 255 small", func(t *testing.T) { testIntCases[uint8, int8](t, 0, 255, 7) })
		t.Run("s8s8", func(t *testing.T) { testIntCases[int8, int8](t, -4, 4, 127) })
		t.Run("s8s8 all", func(t *testing.T) { testIntCases[int8, int8](t, -128, 127, 128) })
		t.Run("u16s8", func(t *testing.T) { testIntCases[uint16, int8](t, 0, 2000, 127) })
		t.Run("s16s8", func(t *testing.T) { testIntCases[int16, int8](t, -3000, 32767, 20) })
		t.Run("u8s16", func(t *testing.T) { testIntCases[uint8, int16](t, 0, 4, 32767) })
		t.Run("s8s16", func(t *testing.T) { testIntCases[int8, int16](t, -5, 4, 32768) })
		t.Run("u16s16", func(t *testing.T) { testIntCases[uint16, int16](t, 0, 500, 3000) })
	})
}

// Any shape, any counts and weights.
func TestConvIntProperty(t *testing.T) {
	eachISA(t, func(t *testing.T) { rapid.Check(t, convIntProperty) })
}

func FuzzConvInt(f *testing.F) { f.Fuzz(rapid.MakeFuzz(convIntProperty)) }

func convIntProperty(t *rapid.T) {
	pool := parallel.New(2)
	defer pool.Close()
	small := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, name) }
	groups := small("groups", 1, 3)
	s := ConvShape{N: small("n", 0, 3), H: small("h", 1, 7), W: small("w", 1, 7), Cin: groups * small("cin", 1, 9), KH: small("kh", 1, 3),
		KW: small("kw", 1, 3), Cout: groups * small("cout", 1, 35), StrideH: small("stride h", 1, 3), StrideW: small("stride w", 1, 3),
		PadTop: small("top", 0, 2), PadLeft: small("left", 0, 2), PadBottom: small("bottom", 0, 2), PadRight: small("right", 0, 2),
		DilH: small("dil h", 1, 2), DilW: small("dil w", 1, 2), Groups: groups}
	if s.Validate() != nil {
		t.Skip("the kernel does not fit")
	}
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	hi, largest := small("most", 1, 255), small("largest", 1, 128)
	density, skewed := rapid.Float64Range(0, 1).Draw(t, "density"), rapid.Bool().Draw(t, "skewed")
	switch small("kind", 0, 3) {
	case 0:
		newIntCase[uint8, int8](r, s, 0, hi, largest, density, skewed).check(t, r, pool)
	case 1:
		newIntCase[int8, int8](r, s, -hi/2, hi/2, largest, density, skewed).check(t, r, pool)
	case 2:
		newIntCase[uint8, int16](r, s, 0, hi, 200*largest, density, skewed).check(t, r, pool)
	case 3:
		newIntCase[uint16, int8](r, s, 0, 100*hi, largest, density, skewed).check(t, r, pool)
	}
}

func TestNewIntFilterRefuses(t *testing.T) {
	s := linear(1, 1100, 3)
	w := make([]int16, s.WeightLen())
	for i := 1; i < len(w); i += 3 {
		w[i] = 32767
	}
	if _, err := NewIntFilter(s, w, 0, 60); err == nil {
		t.Error("sums above 2^31 were taken")
	}
	f, err := NewIntFilter(s, w, 0, 59)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.Bound(), int64(1100*32767*59); got != want {
		t.Errorf("bound is %d, want %d", got, want)
	}
	for _, r := range [][2]int{{1, 2}, {-2, -1}, {0, 32768}, {-32769, 0}} {
		if _, err := NewIntFilter(s, make([]int8, len(w)), r[0], r[1]); err == nil {
			t.Errorf("counts from %d to %d were taken", r[0], r[1])
		}
	}
}

// The planned segments of 16-bit sums must hold for every choice of counts.
func TestIntFilterSegments(t *testing.T) {
	s := square(1, 4, 64, 48, 3, 1)
	for _, hi := range []int{1, 4, 8, 32, 129} {
		w := make([]int8, s.WeightLen())
		for i := range w {
			w[i] = 127
		}
		f, err := NewIntFilter(s, w, 0, hi)
		if err != nil {
			t.Fatal(err)
		}
		if hi == 129 {
			if f.Kernel() != "s16" {
				t.Errorf("counts up to 129 and weights of 127: kernel %s, want s16", f.Kernel())
			}
			continue
		}
		for _, plan := range f.program {
			var since, all int32
			for _, g := range plan {
				since, all = since+g.steps, all+g.steps
				if int64(since)*2*127*int64(hi) > math.MaxInt16 {
					t.Fatalf("counts up to %d: %d steps without a flush", hi, since)
				}
				if g.flags&segmentFlush != 0 {
					since = 0
				}
			}
			if int(all) != f.runs*f.steps || plan[len(plan)-1].flags != segmentLast|segmentFlush {
				t.Fatalf("counts up to %d: the plan ends with %v after %d steps", hi, plan[len(plan)-1], all)
			}
		}
	}
}

func TestConvIntAllocates(t *testing.T) {
	s := square(2, 8, 16, 32, 3, 1)
	w, x, y := make([]int8, s.WeightLen()), make([]uint8, s.InLen()), make([]int32, s.OutLen())
	signed := make([]int8, s.InLen())
	f, err := NewIntFilter(s, w, -4, 4)
	if err != nil {
		t.Fatal(err)
	}
	e := NewIntEventFilter(s, w, -4, 4)
	v, counts, c := make([]float32, s.OutLen()), make([]uint8, s.OutLen()), &IntCurrent{Scale: make([]float32, s.Cout)}
	eachISA(t, func(t *testing.T) {
		var sc IntScratch
		if n := testing.AllocsPerRun(10, func() {
			ConvIntRows(s, x, f, 0, s.OutH(), y, false, &sc)
			ConvIntRows(s, signed, f, 1, 4, y, true, &sc)
			ConvIntEventRows(s, x, e, 0, s.OutH(), y, false, &sc)
			FireInt(counts, v, y, c, 0, 4)
			IntCurrents(v, y, c)
		}); n != 0 {
			t.Errorf("%g allocations, want 0", n)
		}
	})
}
