package ann

import (
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A reduction is how the values of a sample fall into groups: result (o, j) is
// made of the values at outer[o]+part[p]+j*step+i, where either step is 1 and
// there is one i (the last axes stay) or there is one j and i runs over run
// values (the last axes are reduced).
type reduction struct {
	outer []int // offsets of the axes that stay, but for the last ones
	part  []int // offsets of the axes that are reduced, but for the last ones
	inner int   // results in a row
	run   int   // values in a row of a part; 1 if inner is more
	in    int   // values of a sample
	count int   // values of a group
}

func newReduction(s graph.Shape, axes []int) *reduction {
	st := strides(s)
	r := &reduction{outer: []int{0}, part: []int{0}, inner: 1, run: 1, in: s.Numel(), count: 1}
	last := len(s) - 1
	reduced := slices.Contains(axes, last)
	for ; last >= 0 && slices.Contains(axes, last) == reduced; last-- {
		if reduced {
			r.run *= s[last]
		} else {
			r.inner *= s[last]
		}
	}
	for a := range last + 1 {
		if slices.Contains(axes, a) {
			r.part = product(r.part, st[a], s[a])
		} else {
			r.outer = product(r.outer, st[a], s[a])
		}
	}
	r.count = len(r.part) * r.run
	return r
}

// product adds an axis to a list of offsets.
func product(offsets []int, step, n int) []int {
	all := make([]int, 0, len(offsets)*n)
	for _, o := range offsets {
		for i := range n {
			all = append(all, o+i*step)
		}
	}
	return all
}

// reduceBlock is how many results in a row one piece of work has.
const reduceBlock = 256

// pieces calls fn for every sample, outer offset and block of results.
func (r *reduction) pieces(pool *parallel.Pool, n int, fn func(from, to, width int)) {
	blocks := (r.inner + reduceBlock - 1) / reduceBlock
	each := max(chunk/max(min(r.inner, reduceBlock)*r.count, 1), 1)
	pool.Chunks(n*len(r.outer)*blocks, each, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			group, block := i/blocks, i%blocks
			from := group/len(r.outer)*r.in + r.outer[group%len(r.outer)] + block*reduceBlock
			fn(from, group*r.inner+block*reduceBlock, min(reduceBlock, r.inner-block*reduceBlock))
		}
	})
}

func newReduce(n *graph.Node, op *graph.Reduce, pool *parallel.Pool) *operation {
	r := newReduction(n.Inputs[0].Shape, op.Axes)
	f := op.Func
	o := &operation{}
	o.forward = func(k int, in [][]float32, out []float32) {
		x := in[0]
		r.pieces(pool, k, func(from, to, width int) {
			var acc [reduceBlock]float64
			a := acc[:width]
			if f == graph.ReduceLogSumExp {
				r.logSumExp(a, x, from)
			} else {
				start := startOf(f)
				for i := range a {
					a[i] = start
				}
				for _, p := range r.part {
					if r.inner == 1 {
						a[0] = foldRun(f, a[0], x[from+p:from+p+r.run])
					} else {
						foldRow(f, a, x[from+p:])
					}
				}
			}
			for i, v := range a {
				switch f {
				case graph.ReduceMean:
					v /= float64(r.count)
				case graph.ReduceL2:
					v = math.Sqrt(v)
				}
				out[to+i] = float32(v)
			}
		})
	}
	o.backward = func(b *backwardCall) {
		x, dx := b.in[0], b.dx[0]
		if dx == nil {
			return
		}
		r.pieces(pool, b.n, func(from, to, width int) {
			for j := range width {
				r.slopes(f, x, dx, from+j, float64(b.out[to+j]), float64(b.dy[to+j]))
			}
		})
	}
	return o
}

func startOf(f graph.ReduceFunc) float64 {
	switch f {
	case graph.ReduceMax:
		return math.Inf(-1)
	case graph.ReduceMin:
		return math.Inf(1)
	case graph.ReduceProd:
		return 1
	}
	return 0
}

// foldRun joins the values of x to a.
func foldRun(f graph.ReduceFunc, a float64, x []float32) float64 {
	switch f {
	case graph.ReduceMean, graph.ReduceSum:
		return a + kernel.Sum(x)
	case graph.ReduceL2, graph.ReduceSumSquare:
		return a + kernel.SumSquares(x)
	}
	one := [1]float64{a}
	for i := range x {
		foldRow(f, one[:], x[i:])
	}
	return one[0]
}

// foldRow joins x[i] to a[i].
func foldRow(f graph.ReduceFunc, a []float64, x []float32) {
	x = x[:len(a)]
	switch f {
	case graph.ReduceMean, graph.ReduceSum:
		for i, v := range x {
			a[i] += float64(v)
		}
	case graph.ReduceMax:
		for i, v := range x {
			a[i] = max(a[i], float64(v))
		}
	case graph.ReduceMin:
		for i, v := range x {
			a[i] = min(a[i], float64(v))
		}
	case graph.ReduceProd:
		for i, v := range x {
			a[i] *= float64(v)
		}
	case graph.ReduceL1:
		for i, v := range x {
			a[i] += math.Abs(float64(v))
		}
	case graph.ReduceL2, graph.ReduceSumSquare:
		for i, v := range x {
			a[i] += float64(float64(v) * float64(v))
		}
	}
}

// logSumExp sets a[j] to log Σexp(x), without overflow.
func (r *reduction) logSumExp(a []float64, x []float32, from int) {
	for j := range a {
		top, sum := math.Inf(-1), 0.0
		r.each(from+j, func(i int) { top = max(top, float64(x[i])) })
		if math.IsInf(top, 0) {
			a[j] = top
			continue
		}
		r.each(from+j, func(i int) { sum += math.Exp(float64(x[i]) - top) })
		a[j] = top + math.Log(sum)
	}
}

// each calls fn for the values of a group.
func (r *reduction) each(from int, fn func(i int)) {
	for _, p := range r.part {
		for i := range r.run {
			fn(from + p + i)
		}
	}
}

// slopes sets dx for the values of a group whose result is y.
func (r *reduction) slopes(f graph.ReduceFunc, x, dx []float32, from int, y, dy float64) {
	switch f {
	case graph.ReduceMean, graph.ReduceSum:
		if f == graph.ReduceMean {
			dy /= float64(r.count)
		}
		r.each(from, func(i int) { dx[i] = float32(dy) })
	case graph.ReduceMax, graph.ReduceMin: // to the first of equals
		r.each(from, func(i int) {
			dx[i] = 0
			if float64(x[i]) == y {
				dx[i] = float32(dy)
				dy = 0
			}
		})
	case graph.ReduceProd:
		// Without the zeros: one of them gets the product of all others.
		zeros, rest := 0, 1.0
		r.each(from, func(i int) {
			if x[i] == 0 {
				zeros++
			} else {
				rest *= float64(x[i])
			}
		})
		r.each(from, func(i int) {
			switch {
			case zeros == 0:
				dx[i] = float32(dy * rest / float64(x[i]))
			case zeros == 1 && x[i] == 0:
				dx[i] = float32(dy * rest)
			default:
				dx[i] = 0
			}
		})
	case graph.ReduceL1:
		r.each(from, func(i int) { dx[i] = float32(dy * signOf(float64(x[i]))) })
	case graph.ReduceL2:
		r.each(from, func(i int) {
			dx[i] = 0
			if y != 0 {
				dx[i] = float32(dy * float64(x[i]) / y)
			}
		})
	case graph.ReduceSumSquare:
		r.each(from, func(i int) { dx[i] = float32(2 * dy * float64(x[i])) })
	case graph.ReduceLogSumExp:
		r.each(from, func(i int) { dx[i] = float32(dy * math.Exp(float64(x[i])-y)) })
	}
}

// An axisView is a sample seen as [outer, length, inner] around one axis.
type axisView struct{ outer, length, inner int }

func viewAxis(s graph.Shape, axis int) axisView {
	return axisView{s[:axis].Numel(), s[axis], s[axis+1:].Numel()}
}

func newArgMax(n *graph.Node, op *graph.ArgMax, pool *parallel.Pool) *operation {
	v := viewAxis(n.Inputs[0].Shape, op.Axis)
	better := func(a, best float32) bool { return a > best }
	switch {
	case op.Min && op.Last:
		better = func(a, best float32) bool { return a <= best }
	case op.Min:
		better = func(a, best float32) bool { return a < best }
	case op.Last:
		better = func(a, best float32) bool { return a >= best }
	}
	return &operation{forward: func(k int, in [][]float32, out []float32) {
		x := in[0]
		pool.Chunks(k*v.outer*v.inner, max(chunk/v.length, 1), func(lo, hi int) {
			for i := lo; i < hi; i++ {
				at := i/v.inner*v.length*v.inner + i%v.inner
				best := 0
				for j := 1; j < v.length; j++ {
					if better(x[at+j*v.inner], x[at+best*v.inner]) {
						best = j
					}
				}
				out[i] = float32(best)
			}
		})
	}}
}

func newTopK(n *graph.Node, op *graph.TopK, pool *parallel.Pool) *operation {
	v := viewAxis(n.Inputs[0].Shape, op.Axis)
	scratch := make([][]int, pool.Workers())
	// order sorts the indices of the lane at x[at:] and calls fn with those of the
	// first K.
	lanes := func(k int, x []float32, fn func(lane, rank, from int)) {
		piece := max(chunk/v.length, 1)
		total := k * v.outer * v.inner
		pool.ForWorker((total+piece-1)/piece, func(worker, p int) {
			if scratch[worker] == nil {
				scratch[worker] = make([]int, v.length)
			}
			order := scratch[worker]
			for i := p * piece; i < min((p+1)*piece, total); i++ {
				at := i/v.inner*v.length*v.inner + i%v.inner
				for j := range order {
					order[j] = j
				}
				slices.SortFunc(order, func(a, b int) int {
					c := compareNaN(x[at+a*v.inner], x[at+b*v.inner])
					if !op.Smallest {
						c = -c
					}
					if c == 0 {
						c = a - b
					}
					return c
				})
				for r, j := range order[:op.K] {
					fn(i, r, at+j*v.inner)
				}
			}
		})
	}
	result := func(lane, rank int) int { return lane/v.inner*op.K*v.inner + rank*v.inner + lane%v.inner }
	o := &operation{forward: func(k int, in [][]float32, out []float32) {
		x := in[0]
		lanes(k, x, func(lane, rank, from int) {
			if op.Indices {
				out[result(lane, rank)] = float32(from / v.inner % v.length)
			} else {
				out[result(lane, rank)] = x[from]
			}
		})
	}}
	if op.Indices {
		return o
	}
	o.backward = func(b *backwardCall) {
		if dx := b.dx[0]; dx != nil {
			clear(dx)
			lanes(b.n, b.in[0], func(lane, rank, from int) { dx[from] = b.dy[result(lane, rank)] })
		}
	}
	return o
}

// compareNaN orders numbers with NaN above all others.
func compareNaN(a, b float32) int {
	switch {
	case a < b || a == a && b != b:
		return -1
	case a > b || a != a && b == b:
		return 1
	}
	return 0
}
