package kernel

import "github.com/adafire/adafire/internal/parallel"

// GlobalAvgPool sets y [n,c] to the mean over the positions of x [n,positions,c];
// sums in float64, in order.
func GlobalAvgPool(p *parallel.Pool, n, positions, c int, x, y []float32) {
	checkGlobal("GlobalAvgPool", n, positions, c, len(x), len(y))
	if p.Workers() == 1 {
		for i := range n {
			globalMean(y[i*c:(i+1)*c], x[i*positions*c:(i+1)*positions*c])
		}
		return
	}
	globalAvgParallel(p, n, positions, c, x, y)
}

func globalAvgParallel(p *parallel.Pool, n, positions, c int, x, y []float32) {
	p.For(n, func(i int) { globalMean(y[i*c:(i+1)*c], x[i*positions*c:(i+1)*positions*c]) })
}

// globalMean is GlobalAvgPool of one sample of len(y) channels.
func globalMean(y, x []float32) {
	c := len(y)
	var room [2048]float64 // not on the heap, but for more channels
	acc := room[:min(c, len(room))]
	if c > len(room) {
		acc = make([]float64, c)
	}
	columnSums(acc, x, c)
	for ch, sum := range acc {
		y[ch] = float32(sum / float64(len(x)/c))
	}
}

// GlobalAvgPoolBackward sets every position of dx [n,positions,c] to
// dy/positions, dy [n,c].
func GlobalAvgPoolBackward(p *parallel.Pool, n, positions, c int, dy, dx []float32) {
	checkGlobal("GlobalAvgPoolBackward", n, positions, c, len(dx), len(dy))
	p.For(n, func(i int) {
		in := dx[i*positions*c : (i+1)*positions*c]
		for ch, g := range dy[i*c : (i+1)*c] {
			in[ch] = g / float32(positions)
		}
		for at := c; at < len(in); at += c {
			copy(in[at:at+c], in[:c])
		}
	})
}

// GlobalMaxPool sets y [n,c] to the maximum over the positions of
// x [n,positions,c], and argmax, unless nil, to its position, with the rules of
// MaxPool.
func GlobalMaxPool(p *parallel.Pool, n, positions, c int, x, y []float32, argmax []int32) {
	checkGlobal("GlobalMaxPool", n, positions, c, len(x), len(y))
	MaxPool(p, globalShape(n, positions, c), x, y, argmax)
}

// GlobalMaxPoolBackward overwrites dx [n,positions,c] with dy [n,c] at the
// positions in argmax and 0 elsewhere.
func GlobalMaxPoolBackward(p *parallel.Pool, n, positions, c int, dy []float32, argmax []int32, dx []float32) {
	checkGlobal("GlobalMaxPoolBackward", n, positions, c, len(dx), len(dy))
	MaxPoolBackward(p, globalShape(n, positions, c), dy, argmax, dx)
}

func globalShape(n, positions, c int) PoolShape {
	return PoolShape{N: n, H: 1, W: positions, C: c, KH: 1, KW: positions, StrideH: 1, StrideW: 1, OutH: 1, OutW: 1}
}

func checkGlobal(what string, n, positions, c, in, out int) {
	if n < 0 || positions < 1 || c < 0 {
		panic("kernel: " + what + ": no positions or negative sizes")
	}
	if in != n*positions*c || out != n*c {
		same(what+" input", in, n*positions*c)
		same(what+" output", out, n*c)
	}
}
