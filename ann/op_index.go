package ann

import (
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
)

// An indexMap says where the values of a result come from in a sample, axis by
// axis: the value at (i0, i1, ...) is that at the sum of axes[a][i] over the
// axes, or the constant fill where one of them is negative. Transposition,
// slices, padding, gathering and the like are all of this form.
type indexMap struct {
	outer [][]int // offsets of the axes before the last
	inner []int   // offsets along the last axis
	run   int     // how many values in a row each of them stands for
	rows  int     // combinations of the outer axes
	in    int     // values of a sample of the input
	out   int     // values of a sample of the result
	fill  float32
	// once says that no value of the input is used twice.
	once bool
}

// newIndexMap joins the last axes as far as their values lie in a row.
func newIndexMap(in, out graph.Shape, axes [][]int, once bool, fill float32) *indexMap {
	m := &indexMap{run: 1, rows: 1, in: in.Numel(), out: out.Numel(), once: once, fill: fill}
	last := len(axes) - 1
	for ; last >= 0; last-- {
		if !isRun(axes[last], m.run) {
			break
		}
		m.run *= len(axes[last])
	}
	if last < 0 {
		m.inner = []int{0}
		return m
	}
	m.inner = axes[last]
	m.outer = axes[:last]
	for _, a := range m.outer {
		m.rows *= len(a)
	}
	return m
}

// isRun says whether the offsets are 0, step, 2*step and so on.
func isRun(offsets []int, step int) bool {
	for i, o := range offsets {
		if o != i*step {
			return false
		}
	}
	return true
}

// walk calls fn for the rows lo..hi-1 of all samples with where the row begins
// in the input, negative for outside, and in the result.
func (m *indexMap) walk(lo, hi int, fn func(from, to int)) {
	var at [16]int
	rest := lo % m.rows
	for a := len(m.outer) - 1; a >= 0; a-- {
		at[a] = rest % len(m.outer[a])
		rest /= len(m.outer[a])
	}
	width := len(m.inner) * m.run
	sample := lo / m.rows
	for row := lo; row < hi; row++ {
		from := sample * m.in
		for a, offsets := range m.outer {
			o := offsets[at[a]]
			if o < 0 {
				from = -1
				break
			}
			from += o
		}
		fn(from, row*width)
		a := len(m.outer) - 1
		for ; a >= 0; a-- {
			if at[a]++; at[a] < len(m.outer[a]) {
				break
			}
			at[a] = 0
		}
		if a < 0 {
			sample++
		}
	}
}

// gather sets out from in.
func (m *indexMap) gather(pool *parallel.Pool, n int, in, out []float32) {
	width := len(m.inner) * m.run
	pool.Chunks(n*m.rows, max(chunk/width, 1), func(lo, hi int) {
		m.walk(lo, hi, func(from, to int) {
			dst := out[to : to+width]
			switch {
			case from < 0:
				for i := range dst {
					dst[i] = m.fill
				}
			case m.run == 1:
				src := in[from:]
				for i, o := range m.inner {
					if o < 0 {
						dst[i] = m.fill
					} else {
						dst[i] = src[o]
					}
				}
			default:
				for i, o := range m.inner {
					part := dst[i*m.run : (i+1)*m.run]
					if o >= 0 {
						copy(part, in[from+o:])
						continue
					}
					for j := range part {
						part[j] = m.fill
					}
				}
			}
		})
	})
}

// scatter sets dx to the sum of dy over the places that a value went to.
func (m *indexMap) scatter(pool *parallel.Pool, n int, dy, dx []float32) {
	pool.Chunks(len(dx), chunk, func(lo, hi int) { clear(dx[lo:hi]) })
	width := len(m.inner) * m.run
	piece := m.rows // several rows may write to one value: they stay together
	if m.once {
		piece = max(chunk/width, 1)
	}
	pool.Chunks(n*m.rows, piece, func(lo, hi int) {
		m.walk(lo, hi, func(from, to int) {
			if from < 0 {
				return
			}
			for i, o := range m.inner {
				if o < 0 {
					continue
				}
				dst := dx[from+o : from+o+m.run]
				for j, v := range dy[to+i*m.run : to+(i+1)*m.run] {
					dst[j] += v
				}
			}
		})
	})
}

func newIndexCopy(n *graph.Node, pool *parallel.Pool) *operation {
	m := indexMapOf(n)
	return &operation{
		forward: func(k int, in [][]float32, out []float32) { m.gather(pool, k, in[0], out) },
		backward: func(b *backwardCall) {
			if b.dx[0] != nil {
				m.scatter(pool, b.n, b.dy, b.dx[0])
			}
		},
	}
}

// strides returns how far apart the values of each axis lie.
func strides(s graph.Shape) []int {
	st := make([]int, len(s))
	step := 1
	for i := len(s) - 1; i >= 0; i-- {
		st[i] = step
		step *= s[i]
	}
	return st
}

// steps returns n offsets from start on.
func steps(start, step, n int) []int {
	o := make([]int, n)
	for i := range o {
		o[i] = start + i*step
	}
	return o
}

func indexMapOf(n *graph.Node) *indexMap {
	in, out := n.Inputs[0].Shape, n.Shape
	st := strides(in)
	var axes [][]int
	once, fill := true, float32(0)
	switch op := n.Op.(type) {
	case *graph.Transpose:
		return transposeMap(in, op.Perm)
	case *graph.Slice:
		for i, size := range op.Size {
			axes = append(axes, steps(op.Start[i]*st[i], op.Step[i]*st[i], size))
			once = once && (op.Step[i] != 0 || size == 1)
		}
	case *graph.Gather:
		for i, d := range in {
			if i != op.Axis {
				axes = append(axes, steps(0, st[i], d))
				continue
			}
			var picks []int
			for _, k := range op.Indices {
				picks = append(picks, k*st[i])
			}
			axes = append(axes, picks)
		}
		once = false
	case *graph.PadAxes:
		fill = float32(op.Value)
		once = op.Mode == "constant"
		for i, d := range in {
			axes = append(axes, padOffsets(op.Mode, d, op.Begin[i], op.End[i], st[i]))
		}
	case *graph.Expand:
		once = false
		for i, d := range out {
			at := i - (len(out) - len(in))
			if at < 0 || in[at] == 1 {
				axes = append(axes, make([]int, d))
			} else {
				axes = append(axes, steps(0, st[at], d))
			}
		}
	case *graph.Tile:
		once = false
		for i, d := range out {
			o := make([]int, d)
			for k := range o {
				o[k] = k % in[i] * st[i]
			}
			axes = append(axes, o)
		}
	case *graph.DepthToSpace:
		b := op.Block
		place, channel := out[2], 1 // how far apart the channels of places of a block, and of values
		if op.ChannelFirst {
			place, channel = 1, b*b
		}
		rows, columns := make([]int, out[0]), make([]int, out[1])
		for y := range rows {
			rows[y] = y/b*st[0] + y%b*b*place
		}
		for x := range columns {
			columns[x] = x/b*st[1] + x%b*place
		}
		axes = [][]int{rows, columns, steps(0, channel, out[2])}
	case *graph.SpaceToDepth:
		b := op.Block
		channels := make([]int, out[2])
		for c := range channels {
			place, ch := c/in[2], c%in[2]
			if op.ChannelFirst {
				place, ch = c%(b*b), c/(b*b)
			}
			channels[c] = place/b*st[0] + place%b*st[1] + ch
		}
		axes = [][]int{steps(0, b*st[0], out[0]), steps(0, b*st[1], out[1]), channels}
	}
	return newIndexMap(in, out, axes, once, fill)
}

// transposeMap is the map of a reordering of axes.
func transposeMap(in graph.Shape, perm []int) *indexMap {
	st := strides(in)
	var axes [][]int
	out := make(graph.Shape, len(in))
	for i, a := range perm {
		axes = append(axes, steps(0, st[a], in[a]))
		out[i] = in[a]
	}
	return newIndexMap(in, out, axes, true, 0)
}

// padOffsets are the offsets of one padded axis of length d.
func padOffsets(mode string, d, begin, end, stride int) []int {
	// What is cut off is not there for the other modes either.
	first, left := max(-begin, 0), d+min(begin, 0)+min(end, 0)
	o := make([]int, 0, d+begin+end)
	for i := -max(begin, 0); i < left+max(end, 0); i++ {
		k := i
		if k < 0 || k >= left {
			switch mode {
			case "constant":
				o = append(o, -1)
				continue
			case "edge":
				k = min(max(k, 0), left-1)
			case "wrap":
				k = (k%left + left) % left
			case "reflect":
				if left == 1 {
					k = 0
					break
				}
				period := 2 * (left - 1)
				k = (k%period + period) % period
				k = min(k, period-k)
			}
		}
		o = append(o, (first+k)*stride)
	}
	return o
}

func newConcatAxis(n *graph.Node, op *graph.ConcatAxis, pool *parallel.Pool) *operation {
	widths := make([]int, len(n.Inputs))
	for i, in := range n.Inputs {
		widths[i] = in.Shape[op.Axis:].Numel()
	}
	return &operation{
		forward:  func(_ int, in [][]float32, out []float32) { concat(pool, out, in, widths) },
		backward: func(b *backwardCall) { split(pool, b.dx, b.dy, widths) },
	}
}

// axesLast is the order of axes that puts the given ones, in their order, last.
func axesLast(rank int, axes []int) []int {
	var perm []int
	for a := range rank {
		if !slices.Contains(axes, a) {
			perm = append(perm, a)
		}
	}
	return append(perm, axes...)
}
