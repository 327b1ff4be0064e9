package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
)

var inf32 = float32(math.Inf(1))

func TestBatchNormStats(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(41, 42))
		for _, c := range channelCounts {
			for _, m := range []int{1, 2, 3, 50, 1500} {
				x, mean, variance := floatsAt(m*c, 1), floatsAt(c, 2), floatsAt(c, 3)
				finite(r, x)
				for i := range x {
					x[i] += float32(i % c * 100) // means far from 0
				}
				BatchNormStats(pool, x, mean, variance)
				for ch := range c {
					var sum, sq float64
					for i := ch; i < len(x); i += c {
						sum += float64(x[i])
					}
					mu := sum / float64(m)
					for i := ch; i < len(x); i += c {
						sq += (float64(x[i]) - mu) * (float64(x[i]) - mu)
					}
					sq /= float64(m)
					if math.Abs(float64(mean[ch])-mu) > 1e-6*(1+math.Abs(mu)) || math.Abs(float64(variance[ch])-sq) > 1e-6*(1e-3+sq) {
						t.Fatalf("m %d, c %d, channel %d: mean %v, variance %v, want %v, %v", m, c, ch, mean[ch], variance[ch], mu, sq)
					}
				}
				intact(t, "mean", mean)
				intact(t, "variance", variance)
				mean2, variance2 := make([]float32, c), make([]float32, c)
				portably(t, func() { BatchNormStats(nil, x, mean2, variance2) })
				equalBits(t, "mean", mean, mean2)
				equalBits(t, "variance", variance, variance2)
			}
		}
	})
}

func TestBatchNormStatsOfConstantChannelIsZero(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		x := make([]float32, 777*10)
		for i := range x {
			x[i] = 1e7 + 0.1
		}
		mean, variance := make([]float32, 10), make([]float32, 10)
		BatchNormStats(nil, x, mean, variance)
		for ch := range mean {
			if mean[ch] != 1e7+0.1 || variance[ch] != 0 {
				t.Errorf("channel %d: mean %v, variance %v, want %v and 0", ch, mean[ch], variance[ch], float32(1e7+0.1))
			}
		}
		BatchNormStats(nil, nil, mean, variance)
		if mean[0] != 0 || variance[0] != 0 {
			t.Errorf("of no rows: mean %v, variance %v, want 0", mean[0], variance[0])
		}
	})
}

func TestBatchNormApply(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(43, 44))
		for _, c := range channelCounts {
			for _, m := range []int{0, 1, 3, 70} {
				for _, limit := range [][2]float32{{-inf32, inf32}, {0, inf32}, {0, 6}} {
					x, y, scale, shift := floatsAt(m*c, 1), floatsAt(m*c, 2), floatsAt(c, 1), floatsAt(c, 3)
					fill(r, x)
					fill(r, scale)
					fill(r, shift)
					BatchNormApply(nil, y, x, scale, shift, limit[0], limit[1])
					want := make([]float32, m*c)
					for i := range want {
						v := float32(x[i]*scale[i%c]) + shift[i%c]
						if v < limit[0] {
							v = limit[0]
						}
						if v > limit[1] {
							v = limit[1]
						}
						want[i] = v
					}
					equalBits(t, fmt.Sprintf("m %d, c %d", m, c), y, want)
					intact(t, "y", y)
				}
			}
		}
	})
}

// batchNormCase draws the arrays of a backward pass with m rows of c channels;
// y is the output of the forward pass with the limit, nil for none.
func batchNormCase(r *rand.Rand, m, c int, limit float32, frozen bool) *BatchNormGrad {
	g := &BatchNormGrad{
		X: floatsAt(m*c, 1), DY: floatsAt(m*c, 2), Max: limit, Frozen: frozen,
		Mean: make([]float32, c), InvStd: make([]float32, c), Weight: make([]float32, c),
		DX: floatsAt(m*c, 3), DWeight: floatsAt(c, 1), DBias: floatsAt(c, 2),
	}
	finite(r, g.X)
	finite(r, g.DY)
	finite(r, g.Weight)
	if limit > 0 {
		g.Y = floatsAt(m*c, 5)
	}
	return g
}

// forward fills Mean, InvStd and Y, and returns Σ y*dy.
func (g *BatchNormGrad) forward(bias []float32, y []float32) float64 {
	c := len(g.Mean)
	if g.Frozen {
		for ch := range c {
			g.Mean[ch], g.InvStd[ch] = 0.25, 1.5
		}
	} else {
		BatchNormStats(nil, g.X, g.Mean, g.InvStd)
		for ch, v := range g.InvStd {
			g.InvStd[ch] = float32(1 / math.Sqrt(float64(v)+1e-5))
		}
	}
	scale, shift := make([]float32, c), make([]float32, c)
	for ch := range c {
		scale[ch] = g.Weight[ch] * g.InvStd[ch]
		shift[ch] = bias[ch] - g.Mean[ch]*scale[ch]
	}
	low, high := -inf32, inf32
	if g.Max > 0 {
		low, high = 0, g.Max
	}
	BatchNormApply(nil, y, g.X, scale, shift, low, high)
	return Dot(y, g.DY)
}

func TestBatchNormGradientsAreDifferences(t *testing.T) {
	const m, c = 9, 4
	for _, frozen := range []bool{false, true} {
		for _, limit := range []float32{0, inf32, 1.5} {
			r := rand.New(rand.NewPCG(47, 48))
			g := batchNormCase(r, m, c, limit, frozen)
			bias, y := make([]float32, c), make([]float32, m*c)
			finite(r, bias)
			name := fmt.Sprintf("frozen %v, limit %v", frozen, limit)
			loss := func() float64 { return g.forward(bias, y) }
			loss()
			copy(g.Y, y)
			BatchNormBackward(nil, g)
			// A step may carry an output across a corner of the ReLU, where the
			// difference is no derivative; this seed keeps clear of corners.
			numericGradient(t, name+", input", g.X, g.DX, 1e-3, 5e-3, loss)
			numericGradient(t, name+", weight", g.Weight, g.DWeight, 1e-3, 5e-3, loss)
			numericGradient(t, name+", bias", bias, g.DBias, 1e-3, 5e-3, loss)
		}
	}
}

func TestBatchNormBackwardEqualsPortable(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	eachISA(t, func(t *testing.T) {
		for _, c := range channelCounts {
			for _, m := range []int{1, 2, 37, 700} {
				for _, limit := range []float32{0, inf32, 2} {
					r := rand.New(rand.NewPCG(uint64(c), uint64(m)))
					g := batchNormCase(r, m, c, limit, c%5 == 0)
					y := make([]float32, m*c)
					g.forward(g.Weight, y)
					copy(g.Y, y)
					want := *g
					want.DX, want.DWeight, want.DBias = make([]float32, m*c), make([]float32, c), make([]float32, c)
					BatchNormBackward(pool, g)
					portably(t, func() { BatchNormBackward(nil, &want) })
					name := fmt.Sprintf("m %d, c %d, limit %v: ", m, c, limit)
					equalBits(t, name+"dx", g.DX, want.DX)
					equalBits(t, name+"dweight", g.DWeight, want.DWeight)
					equalBits(t, name+"dbias", g.DBias, want.DBias)
					for _, x := range [][]float32{g.DX, g.DWeight, g.DBias, g.X, g.DY} {
						intact(t, name, x)
					}
				}
			}
		}
	})
}

func TestBatchNormBackwardOptions(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 52))
	g := batchNormCase(r, 20, 11, 0, false)
	y := make([]float32, 20*11)
	for i := range g.Weight {
		g.Weight[i] = 1
	}
	g.forward(make([]float32, 11), y)
	BatchNormBackward(nil, g)
	plain := *g
	plain.Weight, plain.DWeight, plain.DBias = nil, nil, nil
	plain.DX = append([]float32(nil), g.DY...)
	plain.DY = plain.DX // in place
	BatchNormBackward(nil, &plain)
	equalBits(t, "in place, no weight", plain.DX, g.DX)
	sums := *g
	sums.DX, sums.DWeight, sums.DBias = nil, make([]float32, 11), make([]float32, 11)
	BatchNormBackward(nil, &sums)
	equalBits(t, "weight only", sums.DWeight, g.DWeight)
}

func BenchmarkBatchNorm(b *testing.B) {
	const m, c = 8 * 32 * 32, 64
	r := rand.New(rand.NewPCG(53, 54))
	g := batchNormCase(r, m, c, inf32, false)
	scale := make([]float32, c)
	b.Run("Stats", func(b *testing.B) {
		b.SetBytes(4 * m * c)
		for b.Loop() {
			BatchNormStats(nil, g.X, g.Mean, scale)
		}
	})
	b.Run("Apply", func(b *testing.B) {
		b.SetBytes(8 * m * c)
		for b.Loop() {
			BatchNormApply(nil, g.Y, g.X, scale, scale, 0, inf32)
		}
	})
	b.Run("Backward", func(b *testing.B) {
		b.SetBytes(7 * 4 * m * c)
		for b.Loop() {
			BatchNormBackward(nil, g)
		}
	})
}
