package kernel

import (
	"math/rand/v2"
	"testing"
)

// TestSumPoolBytes: sums of up to 255 are those of SumPoolCounts.
func TestSumPoolBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(71, 72))
	for _, shape := range poolShapes {
		for _, c := range channelCounts {
			s := shape.with(c)
			counts, want := make([]uint8, s.N*s.in()+1)[1:], make([]float32, s.N*s.out())
			most := 255 / (s.KH * s.KW)
			for i := range counts {
				counts[i] = uint8(r.IntN(most + 1))
			}
			SumPoolCounts(nil, s, counts, want)
			buffer := make([]uint8, len(want)+8)
			for i := range buffer {
				buffer[i] = 0xa5
			}
			y := buffer[:len(want)]
			SumPoolBytes(s, counts, y)
			for i, v := range want {
				if float32(y[i]) != v {
					t.Fatalf("%+v: output %d is %d, want %v", s, i, y[i], v)
				}
			}
			for i, v := range buffer[len(want):] {
				if v != 0xa5 {
					t.Fatalf("%+v: byte %d behind the output is %#x", s, i, v)
				}
			}
		}
	}
}

func TestMaxPoolCountsAllocations(t *testing.T) {
	s := PoolShape{N: 1, H: 8, W: 8, C: 16, KH: 2, KW: 2, StrideH: 2, StrideW: 2, OutH: 4, OutW: 4}
	cum, top := make([]int32, s.in()), make([]int32, s.out())
	counts, out := make([]uint8, s.in()), make([]uint8, s.out())
	if n := testing.AllocsPerRun(10, func() { MaxPoolCounts(nil, s, cum, top, counts, out) }); n != 0 {
		t.Errorf("%g allocations, want none", n)
	}
}

// TestMaxPoolChanges: the changes of signed counts add up to the maxima of what
// was counted.
func TestMaxPoolChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(73, 74))
	for _, shape := range poolShapes {
		for _, c := range []int{1, 3, 16, 27} {
			s := shape.with(c)
			cum, top := make([]int32, s.N*s.in()), make([]int32, s.N*s.out())
			counts, out := make([]float32, len(cum)), make([]float32, len(top))
			sums, total := make([]float32, len(cum)), make([]float32, len(top))
			for step := range 5 {
				for i := range counts {
					counts[i] = max(float32(r.IntN(9)-4), -sums[i])
					sums[i] += counts[i]
				}
				MaxPoolChanges(s, cum, top, counts, out)
				want := make([]float32, len(top))
				MaxPool(nil, s, sums, want, nil)
				for i, v := range out {
					if total[i] += v; total[i] != want[i] {
						t.Fatalf("%+v, step %d: the changes of output %d add up to %v, want %v", s, step, i, total[i], want[i])
					}
				}
			}
		}
	}
}
