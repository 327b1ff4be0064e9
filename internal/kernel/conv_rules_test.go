package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"github.com/adafire/adafire/internal/parallel"
)

func TestISANames(t *testing.T) {
	was := Active().String()
	defer func() { _ = SetISA(was) }()
	if list := Available(); len(list) == 0 || list[0] != Portable {
		t.Fatalf("available %v, want portable first", list)
	}
	for _, isa := range Available() {
		if err := SetISA(strings.ToUpper(isa.String())); err != nil || Active() != isa {
			t.Errorf("SetISA(%v): error %v, active %v", isa, err, Active())
		}
	}
	if err := SetISA("auto"); err != nil || Active() != best() {
		t.Errorf("SetISA(auto): error %v, active %v, want %v", err, Active(), best())
	}
	for _, name := range []string{"", "neon", "avx1024"} {
		if err := SetISA(name); err == nil || Active() != best() {
			t.Errorf("SetISA(%q): error %v, active %v, want an error and no change", name, err, Active())
		}
	}
	if !supported(AVX512) {
		if err := SetISA("avx512"); err == nil {
			t.Error("SetISA(avx512) on a CPU without: no error")
		}
	}
	if err := InitError(); err != nil {
		t.Errorf("InitError: %v", err)
	}
}

// TestEnvironment runs this program again with values of ADAFIRE_CPU.
func TestEnvironment(t *testing.T) {
	if os.Getenv("KERNEL_TEST_CHILD") != "" {
		fmt.Printf("%v; %v\n", Active(), InitError())
		return
	}
	for value, want := range map[string]string{
		"":         best().String() + "; <nil>",
		"auto":     best().String() + "; <nil>",
		"portable": "portable; <nil>",
		"z80":      best().String() + "; environment variable ADAFIRE_CPU: unknown instruction set \"z80\"",
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEnvironment$")
		cmd.Env = append(os.Environ(), "KERNEL_TEST_CHILD=1", "ADAFIRE_CPU="+value)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("ADAFIRE_CPU=%q: error %v, output %q, want %q", value, err, out, want)
		}
	}
}

func TestValidateRejects(t *testing.T) {
	good := square(2, 8, 6, 4, 3, 1)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*ConvShape){
		"negative batch":  func(s *ConvShape) { s.N = -1 },
		"no channels":     func(s *ConvShape) { s.Cin = 0 },
		"no stride":       func(s *ConvShape) { s.StrideH = 0 },
		"no dilation":     func(s *ConvShape) { s.DilW = 0 },
		"negative pad":    func(s *ConvShape) { s.PadLeft = -1 },
		"no groups":       func(s *ConvShape) { s.Groups = 0 },
		"groups":          func(s *ConvShape) { s.Groups = 4 },
		"kernel too big":  func(s *ConvShape) { s.KH = 11 },
		"dilation so big": func(s *ConvShape) { s.DilH = 1 << 30 },
		"huge":            func(s *ConvShape) { s.H, s.W = 1<<30, 1<<30 },
		"huge padding":    func(s *ConvShape) { s.PadTop, s.PadLeft = 1<<31-1, 1<<31-1 },
		"huge kernel":     func(s *ConvShape) { s.KH, s.KW, s.PadTop, s.PadLeft = 1<<30, 1<<30, 1<<30, 1<<30 },
	} {
		s := good
		edit(&s)
		if err := s.Validate(); err == nil {
			t.Errorf("%s: %+v is valid, want an error", name, s)
		}
	}
}

// gradients runs all kernels of a shape and returns what they wrote.
func allConv(p *parallel.Pool, s ConvShape, x, w, dy []float32, e Epilogue) (y, dx, dw []float32) {
	y, dx, dw = make([]float32, s.OutLen()), make([]float32, s.InLen()), make([]float32, s.WeightLen())
	Conv(p, s, x, NewFilter(s, w), e, y)
	ConvBackwardInput(p, s, dy, NewBackwardFilter(s, w), dx)
	ConvBackwardWeight(p, s, x, dy, dw)
	return y, dx, dw
}

var determinismShapes = []ConvShape{
	square(5, 13, 20, 40, 3, 1), square(5, 13, 3, 40, 3, 2), square(9, 4, 130, 70, 3, 1), linear(77, 1300, 90),
	with(square(5, 9, 24, 48, 3, 1), func(s *ConvShape) { s.Groups = 2 }),
	with(square(5, 9, 40, 40, 3, 1), func(s *ConvShape) { s.Groups = 40 }),
}

func TestConvSameBitsForAnyWorkers(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, s := range determinismShapes {
			r := rand.New(rand.NewPCG(3, 4))
			x, w, dy := noise(r, s.InLen()), noise(r, s.WeightLen()), noise(r, s.OutLen())
			e := Epilogue{Bias: noise(r, s.Cout), Act: ActReLU}
			y, dx, dw := allConv(nil, s, x, w, dy, e)
			for _, workers := range []int{1, 2, 7} {
				p := parallel.New(workers)
				y2, dx2, dw2 := allConv(p, s, x, w, dy, e)
				p.Close()
				what := fmt.Sprintf("%+v with %d workers", s, workers)
				sameBits(t, what+": y", y2, y)
				sameBits(t, what+": dx", dx2, dx)
				sameBits(t, what+": dw", dw2, dw)
			}
		}
	})
}

func TestConvSameBitsForAnyBatchPosition(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, s := range determinismShapes {
			if s.H == 1 { // a linear layer's samples are its pixels
				s.N, s.W = s.W, 1
			}
			r := rand.New(rand.NewPCG(3, 4))
			x, w, dy := noise(r, s.InLen()), noise(r, s.WeightLen()), noise(r, s.OutLen())
			y, dx, _ := allConv(nil, s, x, w, dy, Epilogue{})
			one := s
			one.N = 1
			for n := range s.N {
				y1, dx1, _ := allConv(nil, one, x[n*one.InLen():(n+1)*one.InLen()], w, dy[n*one.OutLen():(n+1)*one.OutLen()], Epilogue{})
				what := fmt.Sprintf("%+v sample %d", s, n)
				sameBits(t, what+": y", y[n*one.OutLen():(n+1)*one.OutLen()], y1)
				sameBits(t, what+": dx", dx[n*one.InLen():(n+1)*one.InLen()], dx1)
			}
		}
	})
}

func TestAVX512SumsLikeAVX2(t *testing.T) {
	if !supported(AVX512) {
		t.Skip("no AVX-512 here; the generator's tests interpret it")
	}
	defer func() { _ = SetISA("auto") }()
	for _, s := range determinismShapes {
		r := rand.New(rand.NewPCG(3, 4))
		x, w, dy := noise(r, s.InLen()), noise(r, s.WeightLen()), noise(r, s.OutLen())
		var got [2][3][]float32
		for i, name := range []string{"avx2", "avx512"} {
			if err := SetISA(name); err != nil {
				t.Fatal(err)
			}
			got[i][0], got[i][1], got[i][2] = allConv(nil, s, x, w, dy, Epilogue{})
		}
		for i, what := range []string{"y", "dx", "dw"} {
			sameBits(t, fmt.Sprintf("%+v: %s", s, what), got[1][i], got[0][i])
		}
	}
}

// TestConvNaNAndInf puts one special value into x and wants it in exactly the
// outputs whose window covers it, and the same for infinite weights, which
// make NaN where they meet padding.
func TestConvNaNAndInf(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	shapes := []ConvShape{square(1, 7, 3, 20, 3, 1), square(1, 7, 30, 20, 3, 2),
		with(square(1, 7, 18, 18, 3, 1), func(s *ConvShape) { s.Groups = 18 }), linear(9, 40, 17)}
	eachISA(t, func(t *testing.T) {
		for _, s := range shapes {
			r := rand.New(rand.NewPCG(5, 6))
			for trial := range 12 {
				x, w, dy := noise(r, s.InLen()), noise(r, s.WeightLen()), noise(r, s.OutLen())
				special := []float32{nan, inf, -inf}[trial%3]
				switch trial / 3 % 3 {
				case 0:
					x[r.IntN(len(x))] = special
				case 1:
					w[r.IntN(len(w))] = special
				case 2:
					dy[r.IntN(len(dy))] = special
				}
				want, wantW := newSums(s.OutLen()), newSums(s.WeightLen())
				convProducts(s, func(y, xi, wi int) {
					want.add(y, value(x, xi), w[wi])
					wantW.add(wi, value(x, xi), dy[y])
				})
				y, dx, dw := allConv(nil, s, x, w, dy, Epilogue{})
				what := fmt.Sprintf("%+v trial %d", s, trial)
				want.check(t, "Conv "+what, y)
				wantW.check(t, "ConvBackwardWeight "+what, dw)
				if trial/3%3 == 2 { // no weight is special: padding contributes nothing
					wantX := newSums(s.InLen())
					convProducts(s, func(y, xi, wi int) {
						if xi >= 0 {
							wantX.add(xi, dy[y], w[wi])
						}
					})
					wantX.check(t, "ConvBackwardInput "+what, dx)
				}
			}
		}
	})
}

func TestActivationsKeepNaN(t *testing.T) {
	nan := float32(math.NaN())
	s := linear(6, 1, 16)
	x := []float32{nan, -3, 3, 30, float32(math.Inf(1)), float32(math.Inf(-1))}
	w := make([]float32, 16)
	for i := range w {
		w[i] = 1
	}
	want := map[Activation][]float32{ActNone: x, ActReLU: {nan, 0, 3, 30, x[4], 0}, ActReLU6: {nan, 0, 3, 6, 6, 0}}
	eachISA(t, func(t *testing.T) {
		for act, want := range want {
			y := make([]float32, s.OutLen())
			Conv(nil, s, x, NewFilter(s, w), Epilogue{Act: act}, y)
			for i, v := range y {
				if e := want[i/16]; v != e && !(v != v && e != e) {
					t.Errorf("activation %d of %g: got %g, want %g", act, x[i/16], v, e)
				}
			}
		}
	})
}

func TestFilterSetReplacesWeights(t *testing.T) {
	for _, s := range determinismShapes {
		r := rand.New(rand.NewPCG(7, 8))
		x, w, dy := noise(r, s.InLen()), noise(r, s.WeightLen()), noise(r, s.OutLen())
		y, dx, _ := allConv(nil, s, x, w, dy, Epilogue{})
		f, b := NewFilter(s, noise(r, len(w))), NewBackwardFilter(s, noise(r, len(w)))
		f.Set(w)
		b.Set(w)
		y2, dx2 := make([]float32, len(y)), make([]float32, len(dx))
		Conv(nil, s, x, f, Epilogue{}, y2)
		ConvBackwardInput(nil, s, dy, b, dx2)
		sameBits(t, "y after Set", y2, y)
		sameBits(t, "dx after Set", dx2, dx)
		if n := testing.AllocsPerRun(10, func() { f.Set(w); b.Set(w) }); n > 8 {
			t.Errorf("%+v: Set allocates %v times", s, n)
		}
	}
}

func TestConvDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("sync.Pool drops items at random")
	}
	p := parallel.New(2)
	defer p.Close()
	for _, s := range determinismShapes {
		r := rand.New(rand.NewPCG(9, 10))
		x, w, y := noise(r, s.InLen()), noise(r, s.WeightLen()), noise(r, s.OutLen())
		dx, dw := make([]float32, len(x)), make([]float32, len(w))
		f, b := NewFilter(s, w), NewBackwardFilter(s, w)
		for name, c := range map[string]struct {
			most float64 // the closures of parallel loops are the rest
			fn   func()
		}{
			"ConvRows":           {0, func() { ConvRows(s, x[:s.InLen()/s.N], f, Epilogue{}, 0, s.OutH(), y) }},
			"Conv":               {0, func() { Conv(nil, s, x, f, Epilogue{}, y) }},
			"ConvBackwardInput":  {0, func() { ConvBackwardInput(nil, s, y, b, dx) }},
			"ConvBackwardWeight": {0, func() { ConvBackwardWeight(nil, s, x, y, dw) }},
			"Conv parallel":      {16, func() { Conv(p, s, x, f, Epilogue{}, y) }},
			"weight parallel":    {16, func() { ConvBackwardWeight(p, s, x, y, dw) }},
		} {
			for range 4 {
				c.fn()
			}
			// A garbage collection may empty the scratch pool in between.
			if n := testing.AllocsPerRun(20, c.fn); n > c.most {
				t.Errorf("%s %+v: %v allocations per call, want at most %v", name, s, n, c.most)
			}
		}
	}
}

func TestConvPanicsOnBrokenCalls(t *testing.T) {
	s := square(1, 4, 3, 5, 3, 1)
	x, w, y := make([]float32, s.InLen()), make([]float32, s.WeightLen()), make([]float32, s.OutLen())
	f := NewFilter(s, w)
	for name, fn := range map[string]func(){
		"short input":    func() { Conv(nil, s, x[1:], f, Epilogue{}, y) },
		"short output":   func() { Conv(nil, s, x, f, Epilogue{}, y[1:]) },
		"short bias":     func() { Conv(nil, s, x, f, Epilogue{Bias: x[:4]}, y) },
		"short addend":   func() { Conv(nil, s, x, f, Epilogue{Add: y[1:]}, y) },
		"short weights":  func() { NewFilter(s, w[1:]) },
		"wrong filter":   func() { Conv(nil, square(1, 4, 3, 5, 3, 1), x, NewFilter(linear(1, 3, 5), w[:15]), Epilogue{}, y) },
		"rows":           func() { ConvRows(s, x, f, Epilogue{}, 2, 5, y) },
		"short gradient": func() { ConvBackwardWeight(nil, s, x, y, w[1:]) },
		"invalid":        func() { s2 := s; s2.Groups = 2; Conv(nil, s2, x, f, Epilogue{}, y) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if e, ok := recover().(string); !ok || !strings.HasPrefix(e, "kernel.") {
					t.Errorf("recovered %v, want a message of this package", e)
				}
			}()
			fn()
		})
	}
}

// TestCallLayouts compares with the offsets in the generator.
func TestCallLayouts(t *testing.T) {
	var c tileCall
	var g gradCall
	var w winogradCall
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"tileCall.x", unsafe.Offsetof(c.x), 0}, {"zeros", unsafe.Offsetof(c.zeros), 8}, {"off", unsafe.Offsetof(c.off), 16},
		{"offStride", unsafe.Offsetof(c.offStride), 24}, {"runs", unsafe.Offsetof(c.runs), 32}, {"k", unsafe.Offsetof(c.k), 40},
		{"b", unsafe.Offsetof(c.b), 48}, {"b2", unsafe.Offsetof(c.b2), 56}, {"y", unsafe.Offsetof(c.y), 64},
		{"yoff", unsafe.Offsetof(c.yoff), 72}, {"bias", unsafe.Offsetof(c.bias), 80}, {"add", unsafe.Offsetof(c.add), 88},
		{"acc", unsafe.Offsetof(c.acc), 96}, {"lo", unsafe.Offsetof(c.lo), 104}, {"hi", unsafe.Offsetof(c.hi), 108},
		{"next", unsafe.Offsetof(c.next), 112},
		{"gradCall.x", unsafe.Offsetof(g.x), 0}, {"off", unsafe.Offsetof(g.off), 8}, {"runs", unsafe.Offsetof(g.runs), 16},
		{"n", unsafe.Offsetof(g.n), 24}, {"step", unsafe.Offsetof(g.step), 32}, {"dy", unsafe.Offsetof(g.dy), 40},
		{"dy2", unsafe.Offsetof(g.dy2), 48}, {"dw", unsafe.Offsetof(g.dw), 56}, {"ldw", unsafe.Offsetof(g.ldw), 64},
		{"acc", unsafe.Offsetof(g.acc), 72},
		{"winogradCall.x", unsafe.Offsetof(w.x), 0}, {"zeros", unsafe.Offsetof(w.zeros), 8}, {"off", unsafe.Offsetof(w.off), 16},
		{"y", unsafe.Offsetof(w.y), 24}, {"stride", unsafe.Offsetof(w.stride), 32}, {"n", unsafe.Offsetof(w.n), 40},
		{"tmp", unsafe.Offsetof(w.tmp), 48}, {"bias", unsafe.Offsetof(w.bias), 56}, {"add", unsafe.Offsetof(w.add), 64},
		{"lo", unsafe.Offsetof(w.lo), 72}, {"hi", unsafe.Offsetof(w.hi), 76}, {"two", unsafe.Offsetof(w.two), 80},
		{"four", unsafe.Offsetof(w.four), 84}, {"five", unsafe.Offsetof(w.five), 88}, {"eight", unsafe.Offsetof(w.eight), 92},
		{"step", unsafe.Offsetof(w.step), 96}, {"quarter", unsafe.Offsetof(w.quarter), 104}, {"half", unsafe.Offsetof(w.half), 108},
		{"sixth", unsafe.Offsetof(w.sixth), 112}, {"minusSixth", unsafe.Offsetof(w.minusSixth), 116},
	} {
		if unsafe.Sizeof(uintptr(0)) == 8 && f.got != f.want {
			t.Errorf("%s at offset %d, the assembly has %d", f.name, f.got, f.want)
		}
	}
}

// FuzzConv compares all four functions with the plain loops, on every
// instruction set, for shapes made of the fuzzer's bytes.
func FuzzConv(f *testing.F) {
	f.Add([]byte{1, 5, 7, 3, 3, 3, 17, 1, 1, 1, 1, 1, 1, 1, 1, 1}, uint64(1))
	f.Add([]byte{2, 9, 4, 25, 2, 3, 33, 2, 3, 0, 2, 1, 0, 2, 1, 2}, uint64(14))
	f.Add([]byte{1, 6, 6, 1, 3, 3, 1, 1, 2, 1, 1, 1, 1, 1, 1, 21}, uint64(7))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		if len(b) != 16 {
			t.Skip("not a shape")
		}
		v := func(i, most int) int { return int(b[i]) % (most + 1) }
		g := max(1, v(15, 40))
		s := ConvShape{N: v(0, 2), H: v(1, 20), W: v(2, 20), Cin: g * v(3, 50), KH: v(4, 5), KW: v(5, 5), Cout: g * v(6, 50),
			StrideH: v(7, 4), StrideW: v(8, 4), PadTop: v(9, 3), PadLeft: v(10, 3), PadBottom: v(11, 3), PadRight: v(12, 3),
			DilH: v(13, 3), DilW: v(14, 3), Groups: g}
		if s.Validate() != nil || int64(s.N)*s.MACs() > 1<<18 {
			t.Skip("not valid or too slow")
		}
		was := Active().String()
		defer func() { _ = SetISA(was) }()
		for _, isa := range Available() {
			if err := SetISA(isa.String()); err != nil {
				t.Fatal(err)
			}
			checkConv(t, nil, s, seed)
		}
	})
}
