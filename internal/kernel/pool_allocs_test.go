package kernel

import "testing"

// Without workers to share with, layers of small nets allocate nothing.
func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	s := PoolShape{N: 2, H: 6, W: 6, C: 40, KH: 2, KW: 2, StrideH: 2, StrideW: 2, OutH: 3, OutW: 3}
	x, y := make([]float32, 2*6*6*40), make([]float32, 2*6*6*40)
	counts, bytes := make([]uint8, len(x)), make([]uint8, 2*3*3*40)
	cum, top := make([]int32, len(x)), make([]int32, 2*3*3*40)
	out, small := y[:len(bytes)], make([]int8, 64)
	depthwise := square(2, 6, 40, 40, 3, 1)
	depthwise.Groups = 40
	filter := NewFilter(depthwise, make([]float32, depthwise.WeightLen()))
	eachISA(t, func(t *testing.T) {
		for name, fn := range map[string]func(){
			"MaxPool":         func() { MaxPool(nil, s, x, out, nil) },
			"AvgPool":         func() { AvgPool(nil, s, x, out, true) },
			"SumPoolCounts":   func() { SumPoolCounts(nil, s, counts, out) },
			"SumPoolBytes":    func() { SumPoolBytes(s, counts, bytes) },
			"MaxPoolCounts":   func() { MaxPoolCounts(nil, s, cum, top, counts, bytes) },
			"GlobalAvgPool":   func() { GlobalAvgPool(nil, 2, 36, 40, x, y[:80]) },
			"GlobalMaxPool":   func() { GlobalMaxPool(nil, 2, 36, 40, x, y[:80], nil) },
			"depthwise Conv":  func() { Conv(nil, depthwise, x, filter, Epilogue{}, y) },
			"FireSigned":      func() { FireSigned(y, x, x, y, nil, 0, 4) },
			"CountsFromFloat": func() { CountsFromFloat(small, x[:len(small)]) },
		} {
			if n := testing.AllocsPerRun(20, fn); n != 0 {
				t.Errorf("%s: %g allocations, want none", name, n)
			}
		}
	})
}
