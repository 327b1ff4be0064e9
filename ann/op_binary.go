package ann

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A broadcast is how inputs of several shapes meet in one, with axes joined as
// far as they repeat alike: sizes are those of the result, and step[k][a] is how
// far apart the values of input k lie along axis a, 0 where it repeats.
type broadcast struct {
	sizes []int
	step  [][]int
	in    []int // values of a sample of each input
	out   int
	rows  int // all axes but the last
	width int // the last axis
}

func newBroadcast(out graph.Shape, ins ...graph.Shape) *broadcast {
	b := &broadcast{out: out.Numel(), step: make([][]int, len(ins))}
	for _, s := range ins {
		b.in = append(b.in, s.Numel())
	}
	full := make([][]int, len(ins))
	for k, s := range ins {
		st := strides(s)
		full[k] = make([]int, len(out))
		for a := range out {
			if at := a - (len(out) - len(s)); at >= 0 && s[at] > 1 {
				full[k][a] = st[at]
			}
		}
	}
	for a, d := range out {
		if d == 1 {
			continue
		}
		last := len(b.sizes) - 1
		join := last >= 0
		for k := range ins {
			join = join && b.step[k][last] == full[k][a]*d
		}
		if join {
			b.sizes[last] *= d
		} else {
			b.sizes = append(b.sizes, d)
		}
		for k := range ins {
			if join {
				b.step[k][last] = full[k][a]
			} else {
				b.step[k] = append(b.step[k], full[k][a])
			}
		}
	}
	if len(b.sizes) == 0 { // a single value
		b.sizes = []int{1}
		for k := range ins {
			b.step[k] = []int{0}
		}
	}
	b.width = b.sizes[len(b.sizes)-1]
	b.rows = b.out / b.width
	return b
}

// inner returns how far apart the values of input k lie along the last axis: 0
// or 1.
func (b *broadcast) inner(k int) int { return b.step[k][len(b.sizes)-1] }

// rowsOf calls fn for the rows lo..hi-1 of all samples, with where each input's
// row begins.
func (b *broadcast) rowsOf(lo, hi int, fn func(row int, from *[3]int)) {
	axes := len(b.sizes) - 1
	var at [16]int
	rest := lo % b.rows
	for a := axes - 1; a >= 0; a-- {
		at[a] = rest % b.sizes[a]
		rest /= b.sizes[a]
	}
	sample := lo / b.rows
	var from [3]int // passed on by address: one for all rows
	for row := lo; row < hi; row++ {
		for k := range b.step {
			from[k] = sample * b.in[k]
			for a, i := range at[:axes] {
				from[k] += i * b.step[k][a]
			}
		}
		fn(row, &from)
		a := axes - 1
		for ; a >= 0; a-- {
			if at[a]++; at[a] < b.sizes[a] {
				break
			}
			at[a] = 0
		}
		if a < 0 {
			sample++
		}
	}
}

// pieces runs fn over fixed pieces of rows of n samples; where all inputs have
// the result's shape, a sample is one row, which is cut, too.
func (b *broadcast) pieces(pool *parallel.Pool, n int, fn func(to, width int, from *[3]int)) {
	flat := b.rows == 1
	for k := range b.in {
		flat = flat && b.inner(k) == 1
	}
	if flat {
		pool.Chunks(n*b.out, chunk, func(lo, hi int) { fn(lo, hi-lo, &[3]int{lo, lo, lo}) })
		return
	}
	pool.Chunks(n*b.rows, max(chunk/b.width, 1), func(lo, hi int) {
		b.rowsOf(lo, hi, func(row int, from *[3]int) { fn(row*b.width, b.width, from) })
	})
}

// part returns the row of an input: width values, or one that repeats.
func part(x []float32, from, width, inner int) []float32 {
	if inner == 0 {
		return x[from : from+1]
	}
	return x[from : from+width]
}

func newBinary(n *graph.Node, f graph.BinaryFunc, pool *parallel.Pool) *operation {
	bc := newBroadcast(n.Shape, n.Inputs[0].Shape, n.Inputs[1].Shape)
	row := binaryRow(f)
	ia, ib := bc.inner(0), bc.inner(1)
	o := &operation{}
	o.forward = func(k int, in [][]float32, out []float32) {
		bc.pieces(pool, k, func(to, width int, from *[3]int) {
			row(out[to:to+width], part(in[0], from[0], width, ia), part(in[1], from[1], width, ib))
		})
	}
	slope := binarySlopes(f)
	if slope == nil {
		return o
	}
	o.backward = func(b *backwardCall) {
		for _, dx := range b.dx {
			clear(dx)
		}
		// Repeated values collect from all over a sample: it stays together.
		pool.For(b.n, func(s int) {
			bc.rowsOf(s*bc.rows, (s+1)*bc.rows, func(r int, from *[3]int) {
				for i := range bc.width {
					to := r*bc.width + i
					fa, fb := from[0]+i*ia, from[1]+i*ib
					da, db := slope(float64(b.in[0][fa]), float64(b.in[1][fb]), float64(b.out[to]))
					if b.dx[0] != nil {
						b.dx[0][fa] += float32(da * float64(b.dy[to]))
					}
					if b.dx[1] != nil {
						b.dx[1][fb] += float32(db * float64(b.dy[to]))
					}
				}
			})
		})
	}
	return o
}

// binaryRow returns a loop over a row: a and b have as many values as dst, or
// one that repeats.
func binaryRow(f graph.BinaryFunc) func(dst, a, b []float32) {
	switch f {
	case graph.BroadcastAdd:
		return vectorRow(kernel.Add, nil, func(a, b float32) float32 { return a + b })
	case graph.Sub:
		return vectorRow(kernel.Sub, nil, func(a, b float32) float32 { return a - b })
	case graph.Mul:
		return vectorRow(kernel.Mul, kernel.Scale, func(a, b float32) float32 { return a * b })
	case graph.Div:
		return vectorRow(nil, nil, func(a, b float32) float32 { return a / b })
	case graph.Maximum:
		return vectorRow(nil, nil, func(a, b float32) float32 { return max(a, b) })
	case graph.Minimum:
		return vectorRow(nil, nil, func(a, b float32) float32 { return min(a, b) })
	case graph.Pow:
		return vectorRow(nil, nil, func(a, b float32) float32 { return float32(math.Pow(float64(a), float64(b))) })
	case graph.Fmod:
		return vectorRow(nil, nil, func(a, b float32) float32 { return float32(math.Mod(float64(a), float64(b))) })
	case graph.Mod:
		return vectorRow(nil, nil, floorMod)
	case graph.Equal:
		return vectorRow(nil, nil, func(a, b float32) float32 { return float32(oneIf(a == b)) })
	case graph.Less:
		return vectorRow(nil, nil, func(a, b float32) float32 { return float32(oneIf(a < b)) })
	case graph.LessEqual:
		return vectorRow(nil, nil, func(a, b float32) float32 { return float32(oneIf(a <= b)) })
	}
	return nil
}

// floorMod is the remainder with the sign of the divisor.
func floorMod(a, b float32) float32 {
	r := math.Mod(float64(a), float64(b))
	if r != 0 && (r < 0) != (b < 0) {
		r += float64(b)
	}
	return float32(r)
}

// vectorRow uses both for two rows and scale for a row and a number, if there are
// any, else one for each value.
func vectorRow(both func(dst, a, b []float32), scale func(dst, x []float32, s float32), one func(a, b float32) float32) func(dst, a, b []float32) {
	return func(dst, a, b []float32) {
		switch n := len(dst); {
		case len(a) == n && len(b) == n:
			if both != nil {
				both(dst, a, b)
				return
			}
			for i, v := range a {
				dst[i] = one(v, b[i])
			}
		case len(a) == n:
			if scale != nil {
				scale(dst, a, b[0])
				return
			}
			s := b[0]
			for i, v := range a {
				dst[i] = one(v, s)
			}
		case len(b) == n:
			if scale != nil { // of a product, which commutes
				scale(dst, b, a[0])
				return
			}
			s := a[0]
			for i, v := range b {
				dst[i] = one(s, v)
			}
		default:
			v := one(a[0], b[0])
			for i := range dst {
				dst[i] = v
			}
		}
	}
}

// binarySlopes returns the derivatives with respect to both inputs, where y is
// the function's value; nil for step functions.
func binarySlopes(f graph.BinaryFunc) func(a, b, y float64) (da, db float64) {
	switch f {
	case graph.BroadcastAdd:
		return func(_, _, _ float64) (float64, float64) { return 1, 1 }
	case graph.Sub:
		return func(_, _, _ float64) (float64, float64) { return 1, -1 }
	case graph.Mul:
		return func(a, b, _ float64) (float64, float64) { return b, a }
	case graph.Div:
		return func(_, b, y float64) (float64, float64) { return 1 / b, -y / b }
	case graph.Maximum:
		return func(a, b, _ float64) (float64, float64) { return oneIf(a > b), oneIf(a <= b) }
	case graph.Minimum:
		return func(a, b, _ float64) (float64, float64) { return oneIf(a < b), oneIf(a >= b) }
	case graph.Pow:
		return func(a, b, y float64) (float64, float64) {
			db := 0.0
			if a > 0 {
				db = y * math.Log(a)
			}
			return b * math.Pow(a, b-1), db
		}
	case graph.Mod:
		return func(a, b, _ float64) (float64, float64) { return 1, -math.Floor(a / b) }
	case graph.Fmod:
		return func(a, b, _ float64) (float64, float64) { return 1, -math.Trunc(a / b) }
	}
	return nil
}

func newWhere(n *graph.Node, pool *parallel.Pool) *operation {
	bc := newBroadcast(n.Shape, n.Inputs[0].Shape, n.Inputs[1].Shape, n.Inputs[2].Shape)
	ic, ia, ib := bc.inner(0), bc.inner(1), bc.inner(2)
	o := &operation{}
	o.forward = func(k int, in [][]float32, out []float32) {
		bc.pieces(pool, k, func(to, width int, from *[3]int) {
			for i := range width {
				if in[0][from[0]+i*ic] != 0 {
					out[to+i] = in[1][from[1]+i*ia]
				} else {
					out[to+i] = in[2][from[2]+i*ib]
				}
			}
		})
	}
	o.backward = func(b *backwardCall) {
		for _, dx := range b.dx {
			clear(dx) // the condition is a step
		}
		pool.For(b.n, func(s int) {
			bc.rowsOf(s*bc.rows, (s+1)*bc.rows, func(r int, from *[3]int) {
				for i := range bc.width {
					v := b.dy[r*bc.width+i]
					if b.in[0][from[0]+i*ic] != 0 {
						if b.dx[1] != nil {
							b.dx[1][from[1]+i*ia] += v
						}
					} else if b.dx[2] != nil {
						b.dx[2][from[2]+i*ib] += v
					}
				}
			})
		})
	}
	return o
}
