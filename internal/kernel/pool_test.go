package kernel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
	"pgregory.net/rapid"
)

// poolShapes are geometries; channels vary in the tests.
var poolShapes = []PoolShape{
	{N: 2, H: 4, W: 6, KH: 2, KW: 2, StrideH: 2, StrideW: 2, OutH: 2, OutW: 3},
	{N: 2, H: 7, W: 8, KH: 3, KW: 3, StrideH: 2, StrideW: 2, PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1, OutH: 4, OutW: 5},
	{N: 1, H: 5, W: 5, KH: 3, KW: 2, StrideH: 1, StrideW: 3, PadTop: 2, PadRight: 1, OutH: 5, OutW: 2},
	{N: 3, H: 1, W: 9, KH: 1, KW: 9, StrideH: 1, StrideW: 1, OutH: 1, OutW: 1},
	{N: 1, H: 3, W: 3, KH: 5, KW: 5, StrideH: 1, StrideW: 1, PadTop: 2, PadLeft: 2, PadBottom: 2, PadRight: 2, OutH: 3, OutW: 3},
}

func (s PoolShape) with(c int) PoolShape { s.C = c; return s }

// eachPosition calls f for every position of a window, those in the padding
// (at < 0) included as far as the padding reaches.
func (s PoolShape) eachPosition(oh, ow int, f func(h, w int, inside bool)) {
	for kh := range s.KH {
		for kw := range s.KW {
			h, w := oh*s.StrideH-s.PadTop+kh, ow*s.StrideW-s.PadLeft+kw
			if h < s.H+s.PadBottom && w < s.W+s.PadRight {
				f(h, w, h >= 0 && h < s.H && w >= 0 && w < s.W)
			}
		}
	}
}

// eachOutput calls f for every element of the output.
func (s PoolShape) eachOutput(f func(n, oh, ow, ch, at int)) {
	at := 0
	for n := range s.N {
		for oh := range s.OutH {
			for ow := range s.OutW {
				for ch := range s.C {
					f(n, oh, ow, ch, at)
					at++
				}
			}
		}
	}
}

func TestPoolOut(t *testing.T) {
	for _, k := range []struct {
		size, kernel, stride, before, after int
		ceil                                bool
		want                                int
	}{
		{8, 2, 2, 0, 0, false, 4}, {7, 2, 2, 0, 0, false, 3}, {7, 2, 2, 0, 0, true, 4},
		{8, 3, 2, 1, 1, true, 5}, {7, 3, 2, 1, 1, true, 4}, {6, 3, 2, 1, 1, true, 4}, {4, 1, 3, 1, 1, true, 2},
		{2, 3, 1, 0, 0, false, 0}, {32, 3, 2, 1, 1, false, 16},
	} {
		if got := PoolOut(k.size, k.kernel, k.stride, k.before, k.after, k.ceil); got != k.want {
			t.Errorf("%+v: got %d", k, got)
		}
	}
}

func TestPoolShapeRefusesEmptyWindows(t *testing.T) {
	good := poolShapes[1].with(3)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(s *PoolShape){
		"pad as wide as the kernel": func(s *PoolShape) { s.PadLeft = 3 },
		"too many rows":             func(s *PoolShape) { s.OutH = 6 },
		"no stride":                 func(s *PoolShape) { s.StrideW = 0 },
		"negative padding":          func(s *PoolShape) { s.PadBottom = -1 },
		"no channels":               func(s *PoolShape) { s.C = 0 },
		"negative batch":            func(s *PoolShape) { s.N = -1 },
	} {
		s := good
		edit(&s)
		if s.Validate() == nil {
			t.Errorf("%s: no error for %+v", name, s)
		}
	}
}

func TestPoolOfNoSamples(t *testing.T) {
	s := poolShapes[0].with(8)
	s.N = 0
	MaxPool(nil, s, nil, nil, nil)
	AvgPoolBackward(nil, s, nil, nil, true)
	MaxPoolCounts(nil, s, nil, nil, nil, nil)
}

func TestMaxPool(t *testing.T) {
	pool := parallel.New(2)
	defer pool.Close()
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(61, 62))
		for _, shape := range poolShapes {
			for _, c := range channelCounts {
				s := shape.with(c)
				x := floatsAt(s.N*s.in(), 1)
				fill(r, x)
				for i := range x {
					if r.IntN(3) == 0 {
						x[i] = float32(r.IntN(3)) // ties
					}
				}
				y, y2 := floatsAt(s.N*s.out(), 2), floatsAt(s.N*s.out(), 3)
				arg := make([]int32, len(y)+guard)
				MaxPool(pool, s, x, y, arg[:len(y)])
				MaxPool(nil, s, x, y2, nil)
				equalBits(t, "without argmax", y2, y)
				s.eachOutput(func(n, oh, ow, ch, at int) {
					best, index := float32(math.Inf(-1)), -1
					s.eachPosition(oh, ow, func(h, w int, inside bool) {
						if !inside {
							return
						}
						if v := x[((n*s.H+h)*s.W+w)*c+ch]; index < 0 || v > best || v != v {
							best, index = v, h*s.W+w
						}
					})
					if arg[at] != int32(index) || y[at] != best && best == best {
						t.Fatalf("%+v: output %d is %v at %d, want %v at %d", s, at, y[at], arg[at], best, index)
					}
					if best != best && y[at] == y[at] {
						t.Fatalf("%+v: output %d is %v, want NaN", s, at, y[at])
					}
				})
				intact(t, "y", y)
				intact(t, "y", y2)
				for _, v := range arg[len(y):] {
					if v != 0 {
						t.Fatal("argmax written beyond its end")
					}
				}
			}
		}
	})
}

func TestAvgPool(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(63, 64))
		for _, shape := range poolShapes {
			for _, c := range channelCounts {
				for _, countPad := range []bool{false, true} {
					s := shape.with(c)
					x, y := floatsAt(s.N*s.in(), 1), floatsAt(s.N*s.out(), 2)
					fill(r, x)
					AvgPool(nil, s, x, y, countPad)
					want := make([]float32, len(y))
					s.eachOutput(func(n, oh, ow, ch, at int) {
						var sum, count float32
						s.eachPosition(oh, ow, func(h, w int, inside bool) {
							if inside {
								sum += x[((n*s.H+h)*s.W+w)*c+ch]
							}
							if inside || countPad {
								count++
							}
						})
						want[at] = sum / count
					})
					equalBits(t, fmt.Sprintf("%+v, pad counts %v", s, countPad), y, want)
					intact(t, "y", y)
				}
			}
		}
	})
}

// TestPoolGradients: the gradients of linear maps are their transposes, so
// <pool(x), dy> = <x, pool'(dy)>; max pooling is linear for a fixed argmax.
func TestPoolGradients(t *testing.T) {
	pool := parallel.New(3)
	defer pool.Close()
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(65, 66))
		for _, shape := range poolShapes {
			for _, c := range []int{1, 5, 8, 19, 64} {
				s := shape.with(c)
				x, dx := make([]float32, s.N*s.in()), floatsAt(s.N*s.in(), 1)
				y, dy := make([]float32, s.N*s.out()), make([]float32, s.N*s.out())
				arg := make([]int32, len(y))
				finite(r, x)
				finite(r, dy)
				adjoint := func(name string) {
					t.Helper()
					if a, b := Dot(y, dy), Dot(x, dx); math.Abs(a-b) > 1e-4*(1+math.Abs(a)) {
						t.Fatalf("%s of %+v: <y,dy> = %v, <x,dx> = %v", name, s, a, b)
					}
					intact(t, name, dx)
				}
				MaxPool(nil, s, x, y, arg)
				MaxPoolBackward(pool, s, dy, arg, dx)
				adjoint("MaxPool")
				for _, countPad := range []bool{false, true} {
					AvgPool(nil, s, x, y, countPad)
					AvgPoolBackward(pool, s, dy, dx, countPad)
					adjoint("AvgPool")
				}
			}
		}
	})
}

func TestGlobalPools(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(67, 68))
		for _, c := range channelCounts {
			const n, positions = 3, 49
			x, dx := floatsAt(n*positions*c, 1), floatsAt(n*positions*c, 2)
			y, dy, arg := floatsAt(n*c, 1), make([]float32, n*c), make([]int32, n*c)
			finite(r, x)
			finite(r, dy)
			GlobalAvgPool(nil, n, positions, c, x, y)
			GlobalAvgPoolBackward(nil, n, positions, c, dy, dx)
			for i := range n {
				for ch := range c {
					var sum float64
					for p := range positions {
						sum += float64(x[(i*positions+p)*c+ch])
						if g := dx[(i*positions+p)*c+ch]; g != dy[i*c+ch]/positions {
							t.Fatalf("average gradient %v, want %v/%d", g, dy[i*c+ch], positions)
						}
					}
					if got := y[i*c+ch]; got != float32(sum/positions) {
						t.Fatalf("average %v, want %v", got, sum/positions)
					}
				}
			}
			GlobalMaxPool(nil, n, positions, c, x, y, arg)
			GlobalMaxPoolBackward(nil, n, positions, c, dy, arg, dx)
			for i := range n {
				for ch := range c {
					for p := range positions {
						at := (i*positions+p)*c + ch
						isMax := int32(p) == arg[i*c+ch]
						if x[at] > y[i*c+ch] || isMax && (x[at] != y[i*c+ch] || dx[at] != dy[i*c+ch]) || !isMax && dx[at] != 0 {
							t.Fatalf("sample %d, channel %d, position %d: x %v, dx %v, maximum %v at %d", i, ch, p, x[at], dx[at], y[i*c+ch], arg[i*c+ch])
						}
					}
				}
			}
			for _, a := range [][]float32{x, dx, y} {
				intact(t, "global pool", a)
			}
		}
	})
}

func TestSumPoolCounts(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(69, 70))
		for _, shape := range poolShapes {
			for _, c := range channelCounts {
				s := shape.with(c)
				counts, y := make([]uint8, s.N*s.in()+1)[1:], floatsAt(s.N*s.out(), 1)
				for i := range counts {
					counts[i] = uint8(r.IntN(256))
				}
				SumPoolCounts(nil, s, counts, y)
				s.eachOutput(func(n, oh, ow, ch, at int) {
					sum := 0
					s.eachPosition(oh, ow, func(h, w int, inside bool) {
						if inside {
							sum += int(counts[((n*s.H+h)*s.W+w)*c+ch])
						}
					})
					if y[at] != float32(sum) {
						t.Fatalf("%+v: output %d is %v, want %d", s, at, y[at], sum)
					}
				})
				intact(t, "y", y)
			}
		}
	})
}

// TestMaxPoolCountsIsExact: over any number of steps the emitted counts sum up
// to the maximum of the summed inputs, and no step emits more than the limit.
func TestMaxPoolCountsIsExact(t *testing.T) {
	pool := parallel.New(2)
	defer pool.Close()
	eachISA(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			s := rapid.SampledFrom(poolShapes).Draw(t, "shape").with(rapid.SampledFrom([]int{1, 3, 8, 12, 27, 32, 41, 56}).Draw(t, "channels"))
			limit := rapid.IntRange(1, 255).Draw(t, "maxSpike")
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			cum, top := make([]int32, s.N*s.in()), make([]int32, s.N*s.out())
			sums, total := make([]int32, s.N*s.in()), make([]int32, s.N*s.out())
			counts := make([]uint8, len(cum))
			all := bytes.Repeat([]byte{0xa5}, len(top)+guard)
			out := all[:len(top)]
			for range rapid.IntRange(1, 6).Draw(t, "steps") {
				for i := range counts {
					counts[i] = uint8(r.IntN(limit + 1))
					sums[i] += int32(counts[i])
				}
				MaxPoolCounts(pool, s, cum, top, counts, out)
				for i, v := range out {
					if int(v) > limit {
						t.Fatalf("output %d emitted %d spikes, limit %d", i, v, limit)
					}
					total[i] += int32(v)
				}
			}
			for i := range sums {
				if cum[i] != sums[i] {
					t.Fatalf("cumulative count %d is %d, want %d", i, cum[i], sums[i])
				}
			}
			s.eachOutput(func(n, oh, ow, ch, at int) {
				var best int32
				s.eachPosition(oh, ow, func(h, w int, inside bool) {
					if inside {
						best = max(best, sums[((n*s.H+h)*s.W+w)*s.C+ch])
					}
				})
				if total[at] != best || top[at] != best {
					t.Fatalf("output %d emitted %d in all, holds %d, want %d", at, total[at], top[at], best)
				}
			})
			for _, v := range all[len(top):] {
				if v != 0xa5 {
					t.Fatal("written beyond the end")
				}
			}
		})
	})
}

func BenchmarkPool(b *testing.B) {
	s := PoolShape{N: 4, H: 32, W: 32, C: 64, KH: 2, KW: 2, StrideH: 2, StrideW: 2, OutH: 16, OutW: 16}
	x, y, arg := make([]float32, s.N*s.in()), make([]float32, s.N*s.out()), make([]int32, s.N*s.out())
	counts, out := make([]uint8, len(x)), make([]uint8, len(y))
	cum, top := make([]int32, len(x)), make([]int32, len(y))
	for _, k := range []struct {
		name  string
		bytes int
		run   func()
	}{
		{"Max", 4 * len(x), func() { MaxPool(nil, s, x, y, nil) }},
		{"MaxArg", 4 * len(x), func() { MaxPool(nil, s, x, y, arg) }},
		{"MaxBackward", 4 * len(x), func() { MaxPoolBackward(nil, s, y, arg, x) }},
		{"Avg", 4 * len(x), func() { AvgPool(nil, s, x, y, true) }},
		{"AvgBackward", 4 * len(x), func() { AvgPoolBackward(nil, s, y, x, true) }},
		{"SumCounts", len(x), func() { SumPoolCounts(nil, s, counts, y) }},
		{"MaxCounts", 9 * len(x), func() { MaxPoolCounts(nil, s, cum, top, counts, out) }},
	} {
		b.Run(k.name, func(b *testing.B) {
			b.SetBytes(int64(k.bytes))
			for b.Loop() {
				k.run()
			}
		})
	}
}
