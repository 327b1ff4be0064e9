package kernel

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func intEventShapes() map[string]ConvShape {
	return map[string]ConvShape{
		"3x3 64":       square(1, 5, 16, 64, 3, 1),
		"3x3":          square(2, 6, 7, 130, 3, 1),
		"narrow":       square(2, 6, 12, 20, 3, 1),
		"blocks":       square(1, 3, 150, 64, 3, 1),
		"stride":       square(2, 7, 9, 64, 3, 2),
		"1x1":          square(1, 5, 10, 64, 1, 1),
		"1x1 stride":   square(1, 6, 10, 40, 1, 2),
		"5x5":          square(1, 6, 5, 64, 5, 1),
		"rows dilated": with(square(1, 9, 4, 64, 3, 1), func(s *ConvShape) { s.DilH, s.PadTop = 2, 3 }),
		"linear":       linear(5, 70, 64),
		"only padding": with(square(1, 1, 4, 16, 1, 4), func(s *ConvShape) { s.PadTop, s.PadBottom = 4, 4 }),
		"no samples":   square(0, 4, 8, 16, 3, 1),
	}
}

func (c *intCase[C, W]) checkEvents(t fatal, r *rand.Rand, run func(f *IntEventFilter, lo, hi int, y []int32, accumulate bool, sc *IntScratch)) {
	f := NewIntEventFilter(c.s, c.w, c.lo, c.hi)
	if f == nil {
		t.Fatal("no filter")
	}
	var sc IntScratch
	c.rows(r, func(what string, lo, hi int, got, want []int32, accumulate bool) {
		run(f, lo, hi, got, accumulate, &sc)
		equalInts(t, "events, "+what, got, want)
	})
}

func testIntEvents[C uint8 | int8, W IntWeight](t *testing.T, lo, hi, largest int) {
	for name, s := range intEventShapes() {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			for _, density := range []float64{0.1, 0.5, 1} {
				c := newIntCase[C, W](r, s, lo, hi, largest, density, false)
				c.checkEvents(t, r, func(f *IntEventFilter, lo, hi int, y []int32, accumulate bool, sc *IntScratch) {
					ConvIntEventRows(c.s, c.x, f, lo, hi, y, accumulate, sc)
				})
			}
			c := newIntCase[C, W](r, s, lo, hi, largest, 1, true)
			c.checkEvents(t, r, func(f *IntEventFilter, lo, hi int, y []int32, accumulate bool, sc *IntScratch) {
				ConvIntEventRows(c.s, c.x, f, lo, hi, y, accumulate, sc)
			})
		})
	}
}

func TestConvIntEventsEqualFormula(t *testing.T) {
	if raceDetector {
		t.Skip("takes minutes; the property test uses workers, too")
	}
	eachISA(t, func(t *testing.T) {
		t.Run("u8s8 1", func(t *testing.T) { testIntEvents[uint8, int8](t, 0, 1, 127) })
		t.Run("u8s8 4", func(t *testing.T) { testIntEvents[uint8, int8](t, 0, 4, 127) })
		t.Run("u8s8 129", func(t *testing.T) { testIntEvents[uint8, int8](t, 0, 129, 127) })
		t.Run("s8s8", func(t *testing.T) { testIntEvents[int8, int8](t, -4, 4, 127) })
		t.Run("s8s8 all", func(t *testing.T) { testIntEvents[int8, int8](t, -128, 127, 127) })
		t.Run("u8s16", func(t *testing.T) { testIntEvents[uint8, int16](t, 0, 255, 3000) })
		t.Run("s8s16", func(t *testing.T) { testIntEvents[int8, int16](t, -4, 4, 32767) })
	})
}

// A frame that is too large to be listed at once.
func TestConvIntEventsInBands(t *testing.T) {
	for name, s := range map[string]ConvShape{
		"rows":    with(square(1, 3, 8, 4, 3, 2), func(s *ConvShape) { s.W, s.H = 2600, 17 }),
		"columns": with(linear(3000, 70, 5), func(s *ConvShape) { s.N = 2 }),
	} {
		t.Run(name, func(t *testing.T) {
			if s.InLen() < 2*intEventBand {
				t.Fatalf("%d counts are listed at once", s.InLen())
			}
			r := rand.New(rand.NewPCG(1, 2))
			x, w := spikes(r, s.InLen(), 0.1, 4), make([]int8, s.WeightLen())
			for i := range w {
				w[i] = int8(r.IntN(255) - 127)
			}
			f, err := NewIntFilter(s, w, 0, 4)
			if err != nil {
				t.Fatal(err)
			}
			want, got := make([]int32, s.OutLen()), make([]int32, s.OutLen())
			ConvInt(nil, s, x, f, want, false)
			ConvIntEventRows(s, x, NewIntEventFilter(s, w, 0, 4), 0, s.OutH(), got, false, nil)
			equalInts(t, "events in bands", got, want)
		})
	}
}

// Any shape, any counts and weights.
func TestConvIntEventsProperty(t *testing.T) {
	eachISA(t, func(t *testing.T) { rapid.Check(t, convIntEventsProperty) })
}

func FuzzConvIntEvents(f *testing.F) { f.Fuzz(rapid.MakeFuzz(convIntEventsProperty)) }

func convIntEventsProperty(t *rapid.T) {
	small := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, name) }
	s := ConvShape{N: small("n", 0, 2), H: small("h", 1, 6), W: small("w", 1, 6), Cin: small("cin", 1, 20), KH: small("kh", 1, 3),
		KW: small("kw", 1, 3), Cout: small("cout", 1, 70), StrideH: small("stride h", 1, 3), StrideW: small("stride w", 1, 3),
		PadTop: small("top", 0, 2), PadLeft: small("left", 0, 2), PadBottom: small("bottom", 0, 2), PadRight: small("right", 0, 2),
		DilH: small("dil h", 1, 2), DilW: 1, Groups: 1}
	if s.Validate() != nil {
		t.Skip("the kernel does not fit")
	}
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	density := rapid.Float64Range(0, 1).Draw(t, "density")
	hi, largest := small("most", 1, 127), small("largest", 1, 127)
	if rapid.Bool().Draw(t, "signed") {
		c := newIntCase[int8, int8](r, s, -hi, hi, largest, density, rapid.Bool().Draw(t, "skewed"))
		c.checkEvents(t, r, func(f *IntEventFilter, lo, hi int, y []int32, accumulate bool, sc *IntScratch) {
			ConvIntEventRows(c.s, c.x, f, lo, hi, y, accumulate, sc)
		})
	} else {
		c := newIntCase[uint8, int16](r, s, 0, hi, 100*largest, density, false)
		c.checkEvents(t, r, func(f *IntEventFilter, lo, hi int, y []int32, accumulate bool, sc *IntScratch) {
			ConvIntEventRows(c.s, c.x, f, lo, hi, y, accumulate, sc)
		})
	}
}

func TestNewIntEventFilterRefuses(t *testing.T) {
	s := square(1, 4, 8, 16, 3, 1)
	w := make([]int8, s.WeightLen())
	for name, f := range map[string]*IntEventFilter{
		"groups":   NewIntEventFilter(with(s, func(s *ConvShape) { s.Groups = 2 }), w[:len(w)/2], 0, 4),
		"dilation": NewIntEventFilter(with(s, func(s *ConvShape) { s.DilW = 2 }), w, 0, 4),
		"counts":   NewIntEventFilter(s, w, 0, 130),
		"no zero":  NewIntEventFilter(s, w, 1, 2),
	} {
		if f != nil {
			t.Errorf("%s: taken", name)
		}
	}
	w[5] = -128
	if NewIntEventFilter(s, w, -1, 1) != nil {
		t.Error("a weight without a negative: taken")
	}
}

func TestIntCrossover(t *testing.T) {
	s := square(1, 8, 32, 64, 3, 1)
	w := make([]int8, s.WeightLen())
	f, err := NewIntFilter(s, w, 0, 4)
	if err != nil {
		t.Fatal(err)
	}
	if got := IntCrossover(s, f, nil); got != 0 {
		t.Errorf("without an event filter the crossover is %g, want 0", got)
	}
	e := NewIntEventFilter(s, w, 0, 4)
	first := IntCrossover(s, f, e)
	if first < 0 || first > 1 {
		t.Errorf("crossover %g, want a share", first)
	}
	s.N = 7
	if again := IntCrossover(s, f, e); again != first {
		t.Errorf("crossover %g, then %g: measured twice", first, again)
	}
}
