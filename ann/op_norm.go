package ann

import (
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// data returns the values of a parameter, nil if it is missing.
func data(t *tensor.Tensor) []float32 {
	if t == nil {
		return nil
	}
	return t.Data
}

// newLayerNorm is layer normalisation over the last axes or, without centre, the
// division by the root mean square.
func newLayerNorm(n *graph.Node, axes int, eps float64, centre bool, pool *parallel.Pool) *operation {
	c := n.Shape[len(n.Shape)-axes:].Numel()
	weight, bias := n.Params["weight"], n.Params["bias"]
	// moments returns the mean that is subtracted and the factor.
	moments := func(x []float32) (mean, inv float64) {
		if centre {
			mean = kernel.Sum(x) / float64(c)
		}
		return mean, 1 / math.Sqrt(kernel.SquaresAround(x, float32(mean))/float64(c)+eps)
	}
	o := &operation{overwrite: true}
	o.forward = func(_ int, in [][]float32, out []float32) {
		x, w, b := in[0], data(weight), data(bias)
		rowChunks(pool, len(out), c, func(lo, hi int) {
			for ; lo < hi; lo += c {
				row, y := x[lo:lo+c], out[lo:lo+c]
				mean, inv := moments(row)
				kernel.NormRow(y, row, w, b, float32(mean), float32(inv))
			}
		})
	}
	o.backward = func(b *backwardCall) {
		x, w := b.in[0], data(weight)
		rows := len(x) / c
		means, invs := make([]float64, rows), make([]float64, rows)
		rowChunks(pool, len(x), c, func(lo, hi int) {
			for ; lo < hi; lo += c {
				means[lo/c], invs[lo/c] = moments(x[lo : lo+c])
			}
		})
		if dx := b.dx[0]; dx != nil {
			rowChunks(pool, len(x), c, func(lo, hi int) {
				for ; lo < hi; lo += c {
					normBackward(dx[lo:lo+c], x[lo:lo+c], b.dy[lo:lo+c], w, means[lo/c], invs[lo/c], centre)
				}
			})
		}
		if b.weight != nil {
			toFloat32(b.weight, columns(pool, len(x), c, func(i int) float64 {
				return (float64(x[i]) - means[i/c]) * invs[i/c] * float64(b.dy[i])
			}))
		}
		if b.bias != nil {
			kernel.SumRows(pool, b.bias, b.dy)
		}
	}
	return o
}

func toFloat32(dst []float32, x []float64) {
	for i, v := range x {
		dst[i] = float32(v)
	}
}

// normBackward sets dx = inv*(g - mean(g) - h*mean(g*h)) with g = dy*w and
// h = (x-mean)*inv; without centre the mean of g stays.
func normBackward(dx, x, dy, w []float32, mean, inv float64, centre bool) {
	var sum, dot float64
	g := func(i int) float64 {
		if w == nil {
			return float64(dy[i])
		}
		return float64(dy[i]) * float64(w[i])
	}
	for i := range x {
		sum += g(i)
		dot += g(i) * (float64(x[i]) - mean) * inv
	}
	sum /= float64(len(x))
	dot /= float64(len(x))
	if !centre {
		sum = 0
	}
	for i := range x {
		dx[i] = float32(inv * (g(i) - sum - (float64(x[i])-mean)*inv*dot))
	}
}

func newGroupNorm(n *graph.Node, op *graph.GroupNorm, pool *parallel.Pool) *operation {
	c := n.Shape.Channels()
	parts := n.Shape[:op.BatchAxes].Numel() // of a sample, normalised by themselves
	positions := n.Shape.Numel() / parts / c
	width := c / op.Groups
	count := float64(positions * width)
	weight, bias := n.Params["weight"], n.Params["bias"]
	// moments of group g of the part that begins at x[0].
	moments := func(x []float32, g int) (mean, inv float64) {
		for p := range positions {
			for _, v := range x[p*c+g*width : p*c+(g+1)*width] {
				mean += float64(v)
			}
		}
		mean /= count
		variance := 0.0
		for p := range positions {
			for _, v := range x[p*c+g*width : p*c+(g+1)*width] {
				d := float64(v) - mean
				variance += float64(d * d)
			}
		}
		return mean, 1 / math.Sqrt(variance/count+op.Eps)
	}
	at := func(t []float32, ch int, otherwise float64) float64 {
		if t == nil {
			return otherwise
		}
		return float64(t[ch])
	}
	o := &operation{}
	o.forward = func(k int, in [][]float32, out []float32) {
		w, b := data(weight), data(bias)
		pool.For(k*parts*op.Groups, func(i int) {
			lo := i / op.Groups * positions * c
			x, y, g := in[0][lo:lo+positions*c], out[lo:lo+positions*c], i%op.Groups
			mean, inv := moments(x, g)
			for ch := g * width; ch < (g+1)*width; ch++ {
				scale := at(w, ch, 1) * inv
				s, t := float32(scale), float32(at(b, ch, 0)-mean*scale)
				for j := ch; j < len(x); j += c {
					y[j] = float32(x[j]*s) + t
				}
			}
		})
	}
	o.backward = func(b *backwardCall) {
		w := data(weight)
		all := b.n * parts
		dw, db := make([]float64, all*c), make([]float64, all*c) // per part, summed in order below
		pool.For(all*op.Groups, func(i int) {
			p, g := i/op.Groups, i%op.Groups
			lo := p * positions * c
			x, dy := b.in[0][lo:lo+positions*c], b.dy[lo:lo+positions*c]
			mean, inv := moments(x, g)
			var sum, dot float64
			for ch := g * width; ch < (g+1)*width; ch++ {
				var s, d float64
				for j := ch; j < len(x); j += c {
					s += float64(dy[j])
					d += float64(dy[j]) * (float64(x[j]) - mean) * inv
				}
				db[p*c+ch], dw[p*c+ch] = s, d
				sum += s * at(w, ch, 1)
				dot += d * at(w, ch, 1)
			}
			if b.dx[0] == nil {
				return
			}
			dx := b.dx[0][lo : lo+positions*c]
			for ch := g * width; ch < (g+1)*width; ch++ {
				for j := ch; j < len(x); j += c {
					h := (float64(x[j]) - mean) * inv
					dx[j] = float32(inv * (float64(dy[j])*at(w, ch, 1) - sum/count - h*dot/count))
				}
			}
		})
		total := func(grad []float32, d []float64) {
			for ch := range grad {
				s := 0.0
				for j := ch; j < len(d); j += c {
					s += d[j]
				}
				grad[ch] = float32(s)
			}
		}
		total(b.weight, dw)
		total(b.bias, db)
	}
	return o
}

func newLRN(n *graph.Node, op *graph.LRN, pool *parallel.Pool) *operation {
	c := n.Shape.Channels()
	before, after := (op.Size-1)/2, op.Size/2
	k := op.Alpha / float64(op.Size)
	// base returns bias + alpha/size*Σx² around channel ch of a row.
	base := func(row []float32, ch int) float64 {
		return op.Bias + k*kernel.SumSquares(row[max(ch-before, 0):min(ch+after+1, c)])
	}
	o := &operation{}
	o.forward = func(_ int, in [][]float32, out []float32) {
		x := in[0]
		rowChunks(pool, len(out), c, func(lo, hi int) {
			for ; lo < hi; lo += c {
				row := x[lo : lo+c]
				for ch, v := range row {
					out[lo+ch] = float32(float64(v) * math.Pow(base(row, ch), -op.Beta))
				}
			}
		})
	}
	o.backward = func(b *backwardCall) {
		dx := b.dx[0]
		if dx == nil {
			return
		}
		x := b.in[0]
		rowChunks(pool, len(x), c, func(lo, hi int) {
			// y_d = x_d*base_d^-beta; x_c is in base_d for d in c-after..c+before.
			t := make([]float64, c)
			for ; lo < hi; lo += c {
				row := x[lo : lo+c]
				for ch, v := range row {
					s := base(row, ch)
					p := math.Pow(s, -op.Beta)
					dx[lo+ch] = float32(float64(b.dy[lo+ch]) * p)
					t[ch] = float64(b.dy[lo+ch]) * float64(v) * p / s
				}
				for ch, v := range row {
					sum := 0.0
					for d := max(ch-after, 0); d <= min(ch+before, c-1); d++ {
						sum += t[d]
					}
					dx[lo+ch] -= float32(2 * op.Beta * k * float64(v) * sum)
				}
			}
		})
	}
	return o
}

func newSoftmaxAxes(n *graph.Node, op *graph.SoftmaxAxes, pool *parallel.Pool) *operation {
	c := 1
	for _, a := range op.Axes {
		c *= n.Shape[a]
	}
	f, back := kernel.SoftmaxFast, kernel.SoftmaxBackward
	if op.Log {
		f, back = kernel.LogSoftmax, kernel.LogSoftmaxBackward
	}
	rows := func(y, x []float32) {
		rowChunks(pool, len(x), c, func(lo, hi int) { f(y[lo:hi], x[lo:hi], c) })
	}
	backRows := func(dx, y, dy []float32) {
		rowChunks(pool, len(y), c, func(lo, hi int) { back(dx[lo:hi], y[lo:hi], dy[lo:hi], c) })
	}
	perm := axesLast(len(n.Shape), op.Axes)
	if slices.IsSorted(perm) {
		return &operation{overwrite: true,
			forward: func(_ int, in [][]float32, out []float32) { rows(out, in[0]) },
			backward: func(b *backwardCall) {
				if b.dx[0] != nil {
					backRows(b.dx[0], b.out, b.dy)
				}
			}}
	}
	there := transposeMap(n.Shape, perm)
	var s1, s2 []float32
	return &operation{
		forward: func(k int, in [][]float32, out []float32) {
			s1 = grow(s1, len(out))
			there.gather(pool, k, in[0], s1)
			rows(s1, s1)
			there.scatter(pool, k, s1, out)
		},
		backward: func(b *backwardCall) {
			if b.dx[0] == nil {
				return
			}
			s1, s2 = grow(s1, len(b.out)), grow(s2, len(b.out))
			there.gather(pool, b.n, b.out, s1)
			there.gather(pool, b.n, b.dy, s2)
			backRows(s2, s1, s2)
			there.scatter(pool, b.n, s2, b.dx[0])
		}}
}

// grow returns x with n values, newly allocated if it is too small.
func grow(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}
