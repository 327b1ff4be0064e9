package ann

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

func newConstant(n *graph.Node, pool *parallel.Pool) *operation {
	var t *tensor.Tensor
	for _, p := range n.Params {
		t = p
	}
	return &operation{
		forward: func(k int, _ [][]float32, out []float32) {
			for s := range k {
				copy(out[s*len(t.Data):], t.Data)
			}
		},
		backward: func(b *backwardCall) {
			if b.weight != nil {
				kernel.SumRows(pool, b.weight, b.dy)
			}
		},
	}
}

// A repeated is a parameter repeated over a sample, of which only the last axes differ
// in it: period values, then again from the start.
type repeated struct {
	param  *tensor.Tensor
	from   []int // which value of the parameter each of the period is
	values []float32
}

// newRepeated returns the smallest period, but at least the channels.
func newRepeated(t *tensor.Tensor, shape graph.Shape) *repeated {
	if t == nil {
		return nil
	}
	// Axes in front along which the parameter repeats.
	free := 0
	for ; free < len(shape)-1; free++ {
		at := free - (len(shape) - len(t.Shape))
		if at >= 0 && t.Shape[at] > 1 {
			break
		}
	}
	tail := shape[free:]
	bc := newBroadcast(tail, tail, tailShape(t.Shape, len(tail)))
	s := &repeated{param: t}
	bc.rowsOf(0, bc.rows, func(_ int, from *[3]int) {
		for i := range bc.width {
			s.from = append(s.from, from[1]+i*bc.inner(1))
		}
	})
	return s
}

// tailShape returns the last axes of a shape; those before them are of length 1.
func tailShape(s []int, axes int) graph.Shape {
	return graph.Shape(s[max(len(s)-axes, 0):])
}

// widen makes the period a multiple of its own.
func (s *repeated) widen(period int) {
	if s == nil {
		return
	}
	for own := len(s.from); len(s.from) < period; {
		s.from = append(s.from, s.from[:own]...)
	}
}

func (s *repeated) period() int {
	if s == nil {
		return 0
	}
	return len(s.from)
}

// update reads the parameter.
func (s *repeated) update() []float32 {
	if s.values == nil {
		s.values = make([]float32, len(s.from))
	}
	for i, k := range s.from {
		s.values[i] = s.param.Data[k]
	}
	return s.values
}

// collect sets grad, of the parameter's size, to the sums of sum over the period.
func (s *repeated) collect(grad []float32, sum []float64) {
	total := make([]float64, len(grad))
	for i, k := range s.from {
		total[k] += sum[i]
	}
	for i, v := range total {
		grad[i] = float32(v)
	}
}

// columns sums f over the rows of n values in rows of period values: rows in
// order, the columns in parallel.
func columns(pool *parallel.Pool, n, period int, f func(i int) float64) []float64 {
	sum := make([]float64, period)
	pool.Chunks(period, max(chunk*period/max(n, 1), 8), func(lo, hi int) {
		for at := 0; at < n; at += period {
			for i := lo; i < hi; i++ {
				sum[i] += f(at + i)
			}
		}
	})
	return sum
}

func newAffine(n *graph.Node, pool *parallel.Pool) *operation {
	scale, shift := newRepeated(n.Params["weight"], n.Shape), newRepeated(n.Params["bias"], n.Shape)
	period := max(scale.period(), shift.period())
	scale.widen(period)
	shift.widen(period)
	inf := float32(math.Inf(1))
	o := &operation{overwrite: true}
	o.forward = func(_ int, in [][]float32, out []float32) {
		x := in[0]
		var w, b []float32
		if scale != nil {
			w = scale.update()
		}
		if shift != nil {
			b = shift.update()
		}
		rows := func(f func(dst, x []float32)) {
			rowChunks(pool, len(out), period, func(lo, hi int) {
				for ; lo < hi; lo += period {
					f(out[lo:lo+period], x[lo:lo+period])
				}
			})
		}
		switch {
		case w == nil:
			rows(func(dst, x []float32) { kernel.Add(dst, x, b) })
		case b == nil:
			rows(func(dst, x []float32) { kernel.Mul(dst, x, w) })
		default:
			kernel.BatchNormApply(pool, out, x, w, b, -inf, inf)
		}
	}
	o.backward = func(b *backwardCall) {
		if dx := b.dx[0]; dx != nil {
			if scale == nil {
				copy(dx, b.dy)
			} else {
				rowChunks(pool, len(dx), period, func(lo, hi int) {
					for ; lo < hi; lo += period {
						kernel.Mul(dx[lo:lo+period], b.dy[lo:lo+period], scale.values)
					}
				})
			}
		}
		if b.weight != nil {
			x := b.in[0]
			scale.collect(b.weight, columns(pool, len(b.dy), period, func(i int) float64 { return float64(x[i]) * float64(b.dy[i]) }))
		}
		if b.bias != nil {
			shift.collect(b.bias, columns(pool, len(b.dy), period, func(i int) float64 { return float64(b.dy[i]) }))
		}
	}
	return o
}

func newPReLU(n *graph.Node, pool *parallel.Pool) *operation {
	slope := newRepeated(n.Params["weight"], n.Shape)
	period := slope.period()
	o := &operation{overwrite: false} // backward reads the input
	o.forward = func(_ int, in [][]float32, out []float32) {
		x, w := in[0], slope.update()
		rowChunks(pool, len(out), period, func(lo, hi int) {
			for ; lo < hi; lo += period {
				for i, v := range x[lo : lo+period] {
					if v < 0 {
						v *= w[i]
					}
					out[lo+i] = v
				}
			}
		})
	}
	o.backward = func(b *backwardCall) {
		x, w := b.in[0], slope.values
		if dx := b.dx[0]; dx != nil {
			rowChunks(pool, len(dx), period, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					dx[i] = b.dy[i]
					if x[i] < 0 {
						dx[i] *= w[i%period]
					}
				}
			})
		}
		if b.weight != nil {
			slope.collect(b.weight, columns(pool, len(b.dy), period, func(i int) float64 {
				return min(float64(x[i]), 0) * float64(b.dy[i])
			}))
		}
	}
	return o
}
