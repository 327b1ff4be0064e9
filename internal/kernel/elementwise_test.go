package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

func mustSetISA(t testing.TB, isa ISA) {
	t.Helper()
	if err := SetISA(isa.String()); err != nil {
		t.Fatal(err)
	}
}

// lengths are those at which every kernel is compared with the portable loop.
func lengths() []int {
	var list []int
	for n := range 258 {
		list = append(list, n)
	}
	return append(list, 1023, 4097, 10007)
}

// channels are those for kernels over rows.
var channelCounts = []int{1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 63, 64, 65, 72, 100, 128, 131}

// special are the values that break careless kernels.
var special = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, 6, 255, 256, 1 << 24, 1 << 31, -(1 << 31), 1 << 32,
	math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 1e-40, math.MaxFloat32, -math.MaxFloat32,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
	math.Nextafter32(1, 0), math.Nextafter32(6, 7), math.Nextafter32(0, -1),
}

// A guarded slice lies at an address that is no multiple of a vector's size
// between canaries.
const (
	guard      = 16
	canaryBits = 0x7f812345 // a signalling NaN that no kernel produces
)

// floatsAt returns n floats, off elements from where the allocation starts.
func floatsAt(n, off int) []float32 {
	all := make([]float32, n+2*guard+off)
	for i := range all {
		all[i] = math.Float32frombits(canaryBits)
	}
	return all[guard+off : guard+off+n : n+2*guard+off]
}

// intact fails if a canary beside x, from floatsAt, was overwritten.
func intact(t *testing.T, name string, x []float32) {
	t.Helper()
	for i, v := range x[len(x):cap(x)] {
		if math.Float32bits(v) != canaryBits {
			t.Fatalf("%s: element %d behind the end of %d was overwritten", name, i, len(x))
		}
	}
	if cap(x) == 0 {
		return
	}
	first := unsafe.Pointer(unsafe.SliceData(x))
	for i := 1; i <= guard; i++ {
		if *(*uint32)(unsafe.Add(first, -4*i)) != canaryBits {
			t.Fatalf("%s: element %d before the start was overwritten", name, i)
		}
	}
}

// fill sets x to values around 0, with special values in between.
func fill(r *rand.Rand, x []float32) {
	for i := range x {
		switch r.IntN(12) {
		case 0:
			x[i] = special[r.IntN(len(special))]
		case 1:
			x[i] = math.Float32frombits(r.Uint32())
		default:
			x[i] = float32(r.NormFloat64() * 4)
		}
	}
}

// finite sets x to ordinary values.
func finite(r *rand.Rand, x []float32) {
	for i := range x {
		x[i] = float32(r.NormFloat64() * 2)
	}
}

// equalBits compares bit patterns; every NaN equals every other.
func equalBits(t *testing.T, name string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", name, len(got), len(want))
	}
	for i := range got {
		if got[i] != got[i] && want[i] != want[i] {
			continue
		}
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d of %d is %v (%#x), want %v (%#x)", name, i, len(got),
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// portably runs f with the portable loops.
func portably(t testing.TB, f func()) {
	t.Helper()
	before := Active()
	mustSetISA(t, Portable)
	f()
	mustSetISA(t, before)
}

// elementwiseCases lists the kernels dst = f(dst, a, b) over equal lengths.
var elementwiseCases = []struct {
	name string
	run  func(dst, a, b []float32)
	want func(dst, a, b float32) float32 // the definition, once more
}{
	{"Add", Add, func(_, a, b float32) float32 { return a + b }},
	{"Sub", Sub, func(_, a, b float32) float32 { return a - b }},
	{"Mul", Mul, func(_, a, b float32) float32 { return a * b }},
	{"AddTo", func(dst, a, _ []float32) { AddTo(dst, a) }, func(dst, a, _ float32) float32 { return dst + a }},
	{"Scale", func(dst, a, _ []float32) { Scale(dst, a, -1.7) }, func(_, a, _ float32) float32 { return a * -1.7 }},
	{"Axpy", func(dst, a, _ []float32) { Axpy(dst, a, 0.3) }, func(dst, a, _ float32) float32 { return dst + float32(a*0.3) }},
	{"ReLU", func(dst, a, _ []float32) { ReLU(dst, a, float32(math.Inf(1))) }, func(_, a, _ float32) float32 {
		if a < 0 {
			return 0
		}
		return a
	}},
	{"ReLU6", func(dst, a, _ []float32) { ReLU(dst, a, 6) }, func(_, a, _ float32) float32 {
		switch {
		case a < 0:
			return 0
		case a > 6:
			return 6
		}
		return a
	}},
	{"ReLUBackward", func(dst, a, b []float32) { ReLUBackward(dst, a, b, float32(math.Inf(1))) }, func(_, a, b float32) float32 {
		if a > 0 && !math.IsInf(float64(a), 1) {
			return b
		}
		return 0
	}},
	{"ReLU6Backward", func(dst, a, b []float32) { ReLUBackward(dst, a, b, 6) }, func(_, a, b float32) float32 {
		if a > 0 && a < 6 {
			return b
		}
		return 0
	}},
	{"LeakyReLU", func(dst, a, _ []float32) { LeakyReLU(dst, a, 0.1) }, func(_, a, _ float32) float32 {
		if a > 0 {
			return a
		}
		return 0.1 * a
	}},
	{"LeakyReLUBackward", func(dst, a, b []float32) { LeakyReLUBackward(dst, a, b, 0.1) }, func(_, a, b float32) float32 {
		if a > 0 {
			return b
		}
		return 0.1 * b
	}},
	{"EMAStep", func(dst, a, _ []float32) { EMAStep(dst, a, 0.875) }, func(dst, a, _ float32) float32 {
		return dst + float32(0.125*(a-dst))
	}},
}

func TestElementwise(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, k := range elementwiseCases {
			r := rand.New(rand.NewPCG(1, 2))
			for _, n := range lengths() {
				off := n % 5
				dst, a, b := floatsAt(n, off), floatsAt(n, off+1), floatsAt(n, off+2)
				fill(r, dst)
				fill(r, a)
				fill(r, b)
				want := make([]float32, n)
				for i := range want {
					want[i] = k.want(dst[i], a[i], b[i])
				}
				k.run(dst, a, b)
				equalBits(t, k.name, dst, want)
				intact(t, k.name, dst)
			}
		}
	})
}

func TestElementwiseInPlace(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, k := range elementwiseCases {
			if k.name == "AddTo" || k.name == "Axpy" || k.name == "EMAStep" {
				continue // dst is an operand of its own
			}
			r := rand.New(rand.NewPCG(3, 4))
			a, b, want := make([]float32, 203), make([]float32, 203), make([]float32, 203)
			fill(r, a)
			fill(r, b)
			k.run(want, a, b)
			k.run(a, a, b)
			equalBits(t, k.name, a, want)
		}
	})
}

func TestCountsToFloat(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, n := range lengths() {
			dst := floatsAt(n, n%3)
			src := make([]uint8, n+1)[1:]
			for i := range src {
				src[i] = uint8(i * 37)
			}
			CountsToFloat(dst, src)
			for i, v := range dst {
				if v != float32(src[i]) {
					t.Fatalf("n %d: element %d is %v, want %d", n, i, v, src[i])
				}
			}
			intact(t, "CountsToFloat", dst)
		}
	})
}

func TestReductionsEqualPortable(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, n := range lengths() {
			a, b := floatsAt(n, 1), floatsAt(n, 2)
			finite(r, a)
			finite(r, b)
			var dot, sq, sum float64
			portably(t, func() { dot, sq, sum = Dot(a, b), SumSquares(a), Sum(a) })
			if d, s, u := Dot(a, b), SumSquares(a), Sum(a); d != dot || s != sq || u != sum {
				t.Fatalf("n %d: Dot, SumSquares, Sum %v %v %v, want %v %v %v", n, d, s, u, dot, sq, sum)
			}
			var plain float64
			for i := range a {
				plain += float64(a[i]) * float64(b[i])
			}
			if math.Abs(plain-dot) > 1e-9*(1+math.Abs(plain)) {
				t.Fatalf("n %d: Dot %v, want about %v", n, dot, plain)
			}
		}
	})
}

func TestMaxAbs(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, n := range lengths() {
			x := floatsAt(n, 1)
			finite(r, x)
			var want float32
			for _, v := range x {
				want = max(want, float32(math.Abs(float64(v))))
			}
			if got := MaxAbs(x); got != want {
				t.Fatalf("n %d: MaxAbs %v, want %v", n, got, want)
			}
			if n == 0 {
				continue
			}
			at := r.IntN(n)
			x[at] = float32(math.Inf(-1))
			if got := MaxAbs(x); !math.IsInf(float64(got), 1) {
				t.Fatalf("n %d: MaxAbs with -Inf is %v", n, got)
			}
			x[r.IntN(n)] = float32(math.NaN())
			if got := MaxAbs(x); got == got {
				t.Fatalf("n %d: MaxAbs with NaN is %v", n, got)
			}
		}
	})
}

func TestSumRowsAndAddBias(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 10))
		for _, c := range channelCounts {
			for _, m := range []int{0, 1, 2, 5, 600, 3001} {
				if m*c > 100000 {
					continue
				}
				x, sum, want := floatsAt(m*c, 1), floatsAt(c, 1), make([]float64, c)
				finite(r, x)
				for i, v := range x {
					want[i%c] += float64(v)
				}
				SumRows(nil, sum, x)
				for ch := range sum {
					if math.Abs(float64(sum[ch])-want[ch]) > 1e-6*(1+math.Abs(want[ch])) {
						t.Fatalf("m %d, c %d: sum of channel %d is %v, want %v", m, c, ch, sum[ch], want[ch])
					}
				}
				var portable []float32
				portably(t, func() { portable = make([]float32, c); SumRows(nil, portable, x) })
				equalBits(t, "SumRows", sum, portable)
				intact(t, "SumRows", sum)

				y := floatsAt(m*c, 2)
				AddBias(y, x, sum)
				for i := range y {
					if y[i] != x[i]+sum[i%c] {
						t.Fatalf("AddBias: element %d is %v, want %v", i, y[i], x[i]+sum[i%c])
					}
				}
				intact(t, "AddBias", y)
			}
		}
	})
}

func TestSoftmax(t *testing.T) {
	x := []float32{1, 2, 3, 1000, 1000, -1000}
	y, logY := make([]float32, 6), make([]float32, 6)
	Softmax(y, x, 3)
	LogSoftmax(logY, x, 3)
	want := []float64{0.09003057, 0.24472847, 0.66524096, 0.5, 0.5, 0}
	for i := range y {
		if math.Abs(float64(y[i])-want[i]) > 1e-6 {
			t.Errorf("Softmax: element %d is %v, want %v", i, y[i], want[i])
		}
		if w := math.Log(want[i]); want[i] > 0 && math.Abs(float64(logY[i])-w) > 1e-6 {
			t.Errorf("LogSoftmax: element %d is %v, want %v", i, logY[i], w)
		}
	}
	if logY[5] != float32(-2000-math.Log(2)) {
		t.Errorf("LogSoftmax: last element is %v, want about -2000.69", logY[5])
	}
}

// TestSoftmaxGradients compares with central differences of Σ y*dy.
func TestSoftmaxGradients(t *testing.T) {
	const c, rows = 5, 3
	r := rand.New(rand.NewPCG(11, 12))
	x, dy := make([]float32, rows*c), make([]float32, rows*c)
	finite(r, x)
	finite(r, dy)
	for _, k := range []struct {
		name     string
		forward  func(y, x []float32, c int)
		backward func(dx, y, dy []float32, c int)
	}{{"Softmax", Softmax, SoftmaxBackward}, {"LogSoftmax", LogSoftmax, LogSoftmaxBackward}} {
		y, dx := make([]float32, rows*c), make([]float32, rows*c)
		k.forward(y, x, c)
		k.backward(dx, y, dy, c)
		numericGradient(t, k.name, x, dx, 1e-2, 2e-3, func() float64 {
			k.forward(y, x, c)
			return Dot(y, dy)
		})
	}
}

// numericGradient compares dx with central differences of f by x.
func numericGradient(t *testing.T, name string, x, dx []float32, step, tolerance float64, f func() float64) {
	t.Helper()
	for i, v := range x {
		x[i] = v + float32(step)
		plus, width := f(), float64(x[i])
		x[i] = v - float32(step)
		minus := f()
		width -= float64(x[i])
		x[i] = v
		if want := (plus - minus) / width; math.Abs(float64(dx[i])-want) > tolerance*(1+math.Abs(want)) {
			t.Fatalf("%s: gradient of element %d is %v, want about %v", name, i, dx[i], want)
		}
	}
}

func TestLengthMismatchPanics(t *testing.T) {
	three, four, bytes := make([]float32, 3), make([]float32, 4), make([]uint8, 4)
	for name, f := range map[string]func(){
		"Add":           func() { Add(three, four, four) },
		"Axpy":          func() { Axpy(four, three, 1) },
		"AddBias":       func() { AddBias(four, four, three) },
		"SumRows":       func() { SumRows(nil, three, four) },
		"CountsToFloat": func() { CountsToFloat(three, bytes) },
		"Fire":          func() { Fire(bytes, three, four, 0, 1) },
		"FireOffset":    func() { FireOffset(bytes, four, four, three, 0, 1) },
		"AdamWStep":     func() { AdamWStep(three, three, four, three, 1, 0, 0, 0, 0, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func BenchmarkElementwise(b *testing.B) {
	for _, n := range []int{4096, 1 << 22} {
		dst, x, y := make([]float32, n), make([]float32, n), make([]float32, n)
		for _, k := range elementwiseCases {
			switch k.name {
			case "Add", "Axpy", "ReLU", "ReLUBackward":
				b.Run(fmt.Sprintf("%s/%d", k.name, n), func(b *testing.B) {
					b.SetBytes(int64(4 * n))
					for b.Loop() {
						k.run(dst, x, y)
					}
				})
			}
		}
	}
}

func BenchmarkSumRows(b *testing.B) {
	x, sum := make([]float32, 1<<16), make([]float32, 64)
	b.SetBytes(4 << 16)
	for b.Loop() {
		SumRows(nil, sum, x)
	}
}

func BenchmarkDot(b *testing.B) {
	x := make([]float32, 4096)
	b.SetBytes(2 * 4 * 4096)
	for b.Loop() {
		Dot(x, x)
	}
}
