package kernel

import (
	"runtime"
	"time"
)

// PeakGFLOPS measures, in about 20 ms, how many 10^9 floating-point operations
// per second one core can do at best with the active instruction set: a loop of
// independent fused multiply-adds (two operations each) on registers. For
// portable Go it is multiplications and additions of four independent sums.
func PeakGFLOPS() float64 {
	isa := Active()
	n := 1000
	return best5(func() float64 { return peak(isa, n) }) / 1e9
}

// PeakGBps measures, in about 20 ms, the bandwidth of one core in 10^9 bytes
// per second for a working set of the given size: a triad dst = a + b*s, 12
// bytes per element. Small sets show a cache, large ones memory.
func PeakGBps(workingSet int) float64 {
	isa := Active()
	n := max(64, workingSet/12/64*64)
	buf := make([]float32, 3*n)
	dst, a, b := buf[:n], buf[n:2*n], buf[2*n:]
	repeat := max(1, 1_000_000/n)
	return best5(func() float64 {
		for range repeat {
			triad(isa, dst, a, b, 0.5)
		}
		return 12 * float64(n) * float64(repeat)
	}) / 1e9
}

// best5 returns the highest of the rates of fn, which returns an amount of
// work, over at least 5 calls and 20 ms.
func best5(fn func() float64) float64 {
	var rate float64
	begin := time.Now()
	for i := 0; i < 5 || time.Since(begin) < 20*time.Millisecond; i++ {
		t := time.Now()
		work := fn()
		rate = max(rate, work/max(time.Since(t).Seconds(), 1e-9))
	}
	return rate
}

func peakPortable(n int) float64 {
	var a, b, c, d float32
	x := float32(0.5)
	for range n * 12 {
		a = float32(a*x) + x
		b = float32(b*x) + x
		c = float32(c*x) + x
		d = float32(d*x) + x
	}
	runtime.KeepAlive(a + b + c + d)
	return float64(n) * 96
}

func triadPortable(dst, a, b []float32, s float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + float32(b[i]*s)
	}
}
