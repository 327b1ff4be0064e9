package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestTranscendental compares with float64 over the whole range.
func TestTranscendental(t *testing.T) {
	phi := func(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 }
	for _, c := range []struct {
		name     string
		f        func(dst, x []float32)
		want     func(float64) float64
		abs, rel float64
		lo, hi   float64
	}{
		{"exp", Exp, math.Exp, 1.2e-38, 2e-7, -90, 88.7},
		{"sigmoid", Sigmoid, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, 1e-38, 5e-7, -80, 80},
		{"swish", func(d, x []float32) { Swish(d, x, 1.5) }, func(x float64) float64 { return x / (1 + math.Exp(-1.5*x)) }, 1e-37, 8e-6, -50, 50},
		{"tanh", Tanh, math.Tanh, 0, 3e-7, -20, 20},
		{"erf", Erf, math.Erf, 0, 3e-7, -6, 6},
		{"gelu", GELU, phi, 5e-7, 4e-7, -8, 8},
		{"gelu tanh", GELUTanh, func(x float64) float64 {
			return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}, 5e-7, 5e-7, -8, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			worst := 0.0
			const n = 40001
			x, y := make([]float32, n), make([]float32, n)
			for i := range x {
				x[i] = float32(c.lo + (c.hi-c.lo)*float64(i)/(n-1))
			}
			c.f(y, x)
			for i, v := range x {
				want := c.want(float64(v))
				d := math.Abs(float64(y[i]) - want)
				if !(d <= c.abs+c.rel*math.Abs(want)) {
					t.Fatalf("f(%g) = %g, want %g", v, y[i], want)
				}
				worst = max(worst, d)
			}
			t.Logf("largest error %.2g", worst)
		})
	}
}

func TestTranscendentalOfSpecialValues(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		name    string
		f       func(dst, x []float32)
		x, want float32
	}{
		{"exp", Exp, inf, inf}, {"exp", Exp, -inf, 0}, {"exp", Exp, nan, nan}, {"exp", Exp, 0, 1}, {"exp", Exp, 89, inf},
		{"sigmoid", Sigmoid, inf, 1}, {"sigmoid", Sigmoid, -inf, 0}, {"sigmoid", Sigmoid, nan, nan},
		{"tanh", Tanh, inf, 1}, {"tanh", Tanh, -inf, -1}, {"tanh", Tanh, nan, nan},
		{"erf", Erf, inf, 1}, {"erf", Erf, -inf, -1}, {"erf", Erf, nan, nan},
		{"gelu", GELU, inf, inf}, {"gelu", GELU, nan, nan}, {"gelu", GELU, 0, 0},
	} {
		// Nine of them: vectors and the loop behind them must agree.
		x, y := make([]float32, 9), make([]float32, 9)
		for i := range x {
			x[i] = c.x
		}
		c.f(y, x)
		for i, v := range y {
			if v != c.want && !(v != v && c.want != c.want) {
				t.Errorf("%s(%g)[%d] = %g, want %g", c.name, c.x, i, v, c.want)
			}
		}
	}
}

func TestSoftmaxFast(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for c := 1; c < 40; c++ {
		x, y, want := make([]float32, 3*c), make([]float32, 3*c), make([]float32, 3*c)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * 10)
		}
		if c > 1 {
			x[0] = float32(math.Inf(-1))
		}
		Softmax(want, x, c)
		SoftmaxFast(y, x, c)
		for i := range y {
			if d := math.Abs(float64(y[i] - want[i])); !(d <= 3e-7) {
				t.Fatalf("%d columns: value %d: got %g, want %g", c, i, y[i], want[i])
			}
		}
	}
	bad := []float32{1, float32(math.NaN()), 2, 3, 4, 5, 6, 7, 8}
	SoftmaxFast(bad, bad, len(bad))
	for i, v := range bad {
		if v == v {
			t.Errorf("row with a NaN: value %d is %g", i, v)
		}
	}
}

// TestMathOnEveryISA wants the portable bits from assembly, for every length.
func TestMathOnEveryISA(t *testing.T) {
	now := Active().String()
	defer func() { _ = SetISA(now) }()
	rng := rand.New(rand.NewPCG(2, 2))
	for n := range 100 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * 5)
			switch rng.IntN(40) {
			case 0:
				x[i] = float32(rng.NormFloat64() * 100)
			case 1:
				x[i] = float32(math.Inf(1 - 2*rng.IntN(2)))
			case 2:
				if n%5 == 0 {
					x[i] = float32(math.NaN())
				}
			}
		}
		results := make(map[string][]float32)
		for _, isa := range Available() {
			if err := SetISA(isa.String()); err != nil {
				t.Fatal(err)
			}
			for name, f := range map[string]func(dst, x []float32){
				"exp": Exp, "gelu": GELU, "tanh": Tanh, "erf": Erf, "sigmoid": Sigmoid,
				"swish": func(d, x []float32) { Swish(d, x, 1.7) }, "subtract": func(d, x []float32) { subtract(d, x, 0.7) }, "softmax": func(d, x []float32) { SoftmaxFast(d, x, max(len(x), 1)) },
				"max": func(d, x []float32) {
					if len(d) > 0 {
						d[0] = MaxValue(x)
					}
				},
			} {
				y := make([]float32, n+1)
				y[n] = 42
				f(y[:n], x)
				if y[n] != 42 {
					t.Fatalf("%s of %d: wrote behind the slice", name, n)
				}
				if isa == Portable {
					results[name] = y
					continue
				}
				for i, v := range y {
					w := results[name][i]
					if math.Float32bits(v) != math.Float32bits(w) && !(v != v && w != w) {
						t.Fatalf("%s of %d on %v: value %d (x %v): got %g, want %g", name, n, isa, i, fmt.Sprint(x[min(i, n-1)]), v, w)
					}
				}
			}
		}
	}
}

func BenchmarkMath(b *testing.B) {
	x, y := make([]float32, 1<<14), make([]float32, 1<<14)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for _, c := range []struct {
		name string
		f    func(dst, x []float32)
	}{{"exp", Exp}, {"gelu", GELU}, {"tanh", Tanh}, {"sigmoid", Sigmoid}, {"softmax", func(d, x []float32) { SoftmaxFast(d, x, 256) }}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(4 * len(x)))
			for b.Loop() {
				c.f(y, x)
			}
		})
	}
}
