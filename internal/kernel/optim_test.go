package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestSGDStep follows three weights by hand.
func TestSGDStep(t *testing.T) {
	for _, k := range []struct {
		name            string
		momentum, decay float64
		nesterov        bool
		want            [2]float32 // weight after one and two steps from 1, gradient 2, rate 0.5
	}{
		{"plain", 0, 0, false, [2]float32{0, -1}},
		{"decay", 0, 0.5, false, [2]float32{-0.25, -1.1875}},
		{"momentum", 0.5, 0, false, [2]float32{0, -1.5}},
		{"nesterov", 0.5, 0, true, [2]float32{-0.5, -2.25}},
		{"momentum and decay", 0.5, 0.5, false, [2]float32{-0.25, -1.8125}},
	} {
		t.Run(k.name, func(t *testing.T) {
			eachISA(t, func(t *testing.T) {
				w, g, buf := make([]float32, 11), make([]float32, 11), make([]float32, 11)
				for i := range w {
					w[i], g[i] = 1, 2
				}
				for step, want := range k.want {
					SGDStep(w, g, buf, 0.5, k.momentum, k.decay, k.nesterov)
					for i, v := range w {
						if v != want {
							t.Fatalf("step %d: weight %d is %v, want %v", step+1, i, v, want)
						}
					}
				}
			})
		})
	}
}

// TestAdamWStep compares with the formulas in float64.
func TestAdamWStep(t *testing.T) {
	const n, lr, b1, b2, eps, decay = 37, 0.01, 0.9, 0.999, 1e-8, 0.1
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(31, 32))
		w, g, m, v := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		finite(r, w)
		var ws, ms, vs [n]float64
		for i := range w {
			ws[i] = float64(w[i])
		}
		for step := 1; step <= 20; step++ {
			finite(r, g)
			AdamWStep(w, g, m, v, lr, b1, b2, eps, decay, step)
			for i := range ws {
				gi := float64(g[i])
				ms[i] = b1*ms[i] + (1-b1)*gi
				vs[i] = b2*vs[i] + (1-b2)*gi*gi
				mHat, vHat := ms[i]/(1-math.Pow(b1, float64(step))), vs[i]/(1-math.Pow(b2, float64(step)))
				ws[i] -= lr*decay*ws[i] + lr*mHat/(math.Sqrt(vHat)+eps)
				if math.Abs(float64(w[i])-ws[i]) > 1e-5 {
					t.Fatalf("step %d: weight %d is %v, want %v", step, i, w[i], ws[i])
				}
			}
		}
	})
}

// TestOptimisersEqualPortable compares bits at every length.
func TestOptimisersEqualPortable(t *testing.T) {
	steps := []struct {
		name string
		run  func(w, g, m, v []float32)
	}{
		{"SGD", func(w, g, _, _ []float32) { SGDStep(w, g, nil, 0.1, 0, 5e-4, false) }},
		{"SGD momentum", func(w, g, m, _ []float32) { SGDStep(w, g, m, 0.1, 0.9, 5e-4, false) }},
		{"SGD Nesterov", func(w, g, m, _ []float32) { SGDStep(w, g, m, 0.1, 0.9, 5e-4, true) }},
		{"AdamW", func(w, g, m, v []float32) { AdamWStep(w, g, m, v, 1e-3, 0.9, 0.999, 1e-8, 0.01, 3) }},
		{"EMA", func(w, g, _, _ []float32) { EMAStep(w, g, 0.999) }},
	}
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(33, 34))
		for _, k := range steps {
			for _, n := range lengths() {
				got, want := make([][]float32, 4), make([][]float32, 4)
				for i := range got {
					got[i], want[i] = floatsAt(n, i), make([]float32, n)
					finite(r, got[i])
					if i == 3 {
						Mul(got[i], got[i], got[i]) // second moments are not negative
					}
					if n > 3 && i < 3 {
						fill(r, got[i][:3])
					}
					copy(want[i], got[i])
				}
				k.run(got[0], got[1], got[2], got[3])
				portably(t, func() { k.run(want[0], want[1], want[2], want[3]) })
				for i := range got {
					equalBits(t, k.name, got[i], want[i])
					intact(t, k.name, got[i])
				}
			}
		}
	})
}

func BenchmarkOptimisers(b *testing.B) {
	const n = 1 << 16
	w, g, m, v := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	b.Run("SGD", func(b *testing.B) {
		b.SetBytes(5 * 4 * n)
		for b.Loop() {
			SGDStep(w, g, m, 0.1, 0.9, 5e-4, true)
		}
	})
	b.Run("AdamW", func(b *testing.B) {
		b.SetBytes(7 * 4 * n)
		for b.Loop() {
			AdamWStep(w, g, m, v, 1e-3, 0.9, 0.999, 1e-8, 0.01, 3)
		}
	})
}
