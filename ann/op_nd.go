package ann

import (
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A window is how the positions of two grids meet in a convolution or a pool over
// three axes (missing ones are of length 1): cell k of the window of position o
// of the small grid is o*stride - pad + k*dilation in the big one.
type window struct {
	big, small, kernel [3]int
	stride, pad, dil   [3]int
	taps               int
	most               int // cells of a window in the big grid, at most
}

// newWindow is the window for the given sizes, which are of 1 to 3 axes.
func newWindow(big, small, kernel, stride, pad, dilation []int) *window {
	w := &window{taps: 1}
	for i := range 3 {
		w.big[i], w.small[i], w.kernel[i], w.stride[i], w.dil[i] = 1, 1, 1, 1, 1
	}
	d := len(kernel)
	for i := range d {
		a := 3 - d + i
		w.big[a], w.small[a], w.kernel[a] = big[i], small[i], kernel[i]
		w.stride[a], w.pad[a], w.dil[a] = stride[i], pad[i], dilation[i]
		w.taps *= kernel[i]
	}
	w.most = min(w.taps, volume(w.big))
	return w
}

func volume(s [3]int) int { return s[0] * s[1] * s[2] }

func gridPlace(s [3]int, at int) [3]int {
	return [3]int{at / (s[1] * s[2]), at / s[2] % s[1], at % s[2]}
}

// A meeting is a cell of a window with the position that it falls on.
type meeting struct{ tap, at int }

// cells appends the cells of the window of a small position that lie in the big
// grid, in the order of taps.
func (w *window) cells(list []meeting, small int) []meeting {
	o := gridPlace(w.small, small)
	var first [3]int
	for a := range o {
		first[a] = o[a]*w.stride[a] - w.pad[a]
	}
	for d := range w.kernel[0] {
		z := first[0] + d*w.dil[0]
		if z < 0 || z >= w.big[0] {
			continue
		}
		for h := range w.kernel[1] {
			y := first[1] + h*w.dil[1]
			if y < 0 || y >= w.big[1] {
				continue
			}
			for c := range w.kernel[2] {
				if x := first[2] + c*w.dil[2]; x >= 0 && x < w.big[2] {
					list = append(list, meeting{(d*w.kernel[1]+h)*w.kernel[2] + c, (z*w.big[1]+y)*w.big[2] + x})
				}
			}
		}
	}
	return list
}

// covering appends the small positions whose windows cover a big one, with the
// cell that it is, in the order of taps.
func (w *window) covering(list []meeting, big int) []meeting {
	i := gridPlace(w.big, big)
	along := func(a, k int) (int, bool) {
		at := i[a] + w.pad[a] - k*w.dil[a]
		return at / w.stride[a], at >= 0 && at%w.stride[a] == 0 && at/w.stride[a] < w.small[a]
	}
	for d := range w.kernel[0] {
		z, ok := along(0, d)
		if !ok {
			continue
		}
		for h := range w.kernel[1] {
			y, ok := along(1, h)
			if !ok {
				continue
			}
			for c := range w.kernel[2] {
				if x, ok := along(2, c); ok {
					list = append(list, meeting{(d*w.kernel[1]+h)*w.kernel[2] + c, (z*w.small[1]+y)*w.small[2] + x})
				}
			}
		}
	}
	return list
}

// meetings is covering or, with cells, cells.
func (w *window) meetings(cells bool, list []meeting, at int) []meeting {
	if cells {
		return w.cells(list, at)
	}
	return w.covering(list, at)
}

// A convND joins two grids of values through weights: "from" has one row of
// weights for each of its channels and tap, the columns of which are channels
// of "to". From is the big grid for a convolution, the small one for a
// transposed one.
type convND struct {
	*window
	from, to     int  // channels
	fromBig      bool // a convolution
	width        int  // columns of a row that count: channels of a group of to
	perGroup     int  // channels of a group of from
	rowLen, size int  // of the weights of a tap
}

// row returns where the weights of a channel lie in those of a tap, and the first
// of the channels they lead to.
func (c *convND) row(ch int) (at, column int) {
	g := ch / c.perGroup
	if c.fromBig {
		return ch%c.perGroup*c.rowLen + g*c.width, g * c.width
	}
	return ch * c.rowLen, g * c.width
}

func (c *convND) grids() (from, to int) {
	if c.fromBig {
		return volume(c.big), volume(c.small)
	}
	return volume(c.small), volume(c.big)
}

// forward sets y from x, adding a bias that may be nil.
func (c *convND) forward(pool *parallel.Pool, n int, x, w, bias, y []float32) {
	from, to := c.grids()
	pool.Chunks(n*to, max(chunk/(c.to*c.most), 1), func(lo, hi int) {
		list := make([]meeting, 0, c.most)
		for p := lo; p < hi; p++ {
			dst := y[p*c.to : (p+1)*c.to]
			if bias != nil {
				copy(dst, bias)
			} else {
				clear(dst)
			}
			list = c.meetings(c.fromBig, list[:0], p%to)
			for _, m := range list {
				src := x[(p/to*from+m.at)*c.from:][:c.from]
				for ch, v := range src {
					r, col := c.row(ch)
					kernel.Axpy(dst[col:col+c.width], w[m.tap*c.size+r:][:c.width], v)
				}
			}
		}
	})
}

// input sets dx from dy.
func (c *convND) input(pool *parallel.Pool, n int, dy, w, dx []float32) {
	from, to := c.grids()
	pool.Chunks(n*from, max(chunk/(c.from*c.most), 1), func(lo, hi int) {
		list := make([]meeting, 0, c.most)
		for p := lo; p < hi; p++ {
			dst := dx[p*c.from : (p+1)*c.from]
			clear(dst)
			list = c.meetings(!c.fromBig, list[:0], p%from)
			for _, m := range list {
				src := dy[(p/from*to+m.at)*c.to:][:c.to]
				for ch := range dst {
					r, col := c.row(ch)
					dst[ch] += float32(kernel.Dot(src[col:col+c.width], w[m.tap*c.size+r:][:c.width]))
				}
			}
		}
	})
}

// weights sets dw: every tap by itself, over all positions in order.
func (c *convND) weights(pool *parallel.Pool, n int, x, dy, dw []float32) {
	from, to := c.grids()
	small := volume(c.small)
	pool.For(c.taps, func(tap int) {
		part := dw[tap*c.size : (tap+1)*c.size]
		clear(part)
		list := make([]meeting, 0, c.most)
		for s := range n {
			for o := range small {
				list = c.cells(list[:0], o)
				k := slices.IndexFunc(list, func(m meeting) bool { return m.tap == tap })
				if k < 0 {
					continue
				}
				xp, yp := o, list[k].at
				if c.fromBig {
					xp, yp = yp, xp
				}
				src := dy[(s*to+yp)*c.to:][:c.to]
				for ch, v := range x[(s*from+xp)*c.from:][:c.from] {
					r, col := c.row(ch)
					kernel.Axpy(part[r:r+c.width], src[col:col+c.width], v)
				}
			}
		}
	})
}

func (c *convND) operation(n *graph.Node, pool *parallel.Pool) *operation {
	weight, bias := n.Params["weight"], n.Params["bias"]
	return &operation{
		forward: func(k int, in [][]float32, out []float32) {
			c.forward(pool, k, in[0], weight.Data, data(bias), out)
		},
		backward: func(b *backwardCall) {
			if b.dx[0] != nil {
				c.input(pool, b.n, b.dy, weight.Data, b.dx[0])
			}
			if b.weight != nil {
				c.weights(pool, b.n, b.in[0], b.dy, b.weight)
			}
			if b.bias != nil {
				kernel.SumRows(pool, b.bias, b.dy)
			}
		},
	}
}

func newConvND(n *graph.Node, op *graph.ConvND, pool *parallel.Pool) (*operation, error) {
	d := len(op.Stride)
	w := n.Weight().Shape
	in, out := n.Inputs[0].Shape, n.Shape
	if s, frames, ok := flatConv(op, w, in); ok {
		if err := s.Validate(); err != nil {
			return nil, unsupported(n, err.Error())
		}
		return newFramesConv(n, s, frames, pool), nil
	}
	c := &convND{window: newWindow(in[:d], out[:d], w[:d], op.Stride, op.Pad[:d], op.Dilation),
		from: in[d], to: out[d], fromBig: true, width: out[d] / op.Groups, perGroup: w[d], rowLen: w[d+1], size: w[d] * w[d+1]}
	return c.operation(n, pool), nil
}

func newConvTransposeND(n *graph.Node, op *graph.ConvTransposeND, pool *parallel.Pool) *operation {
	d := len(op.Stride)
	w := n.Weight().Shape
	in, out := n.Inputs[0].Shape, n.Shape
	c := &convND{window: newWindow(out[:d], in[:d], w[:d], op.Stride, op.Pad[:d], op.Dilation),
		from: in[d], to: out[d], width: w[d+1], perGroup: in[d] / op.Groups, rowLen: w[d+1], size: w[d] * w[d+1]}
	return c.operation(n, pool)
}

// flatConv returns the two-dimensional convolution that a convolution is if it
// has at most two axes, or a first one along which nothing is mixed: then a
// sample is that many frames.
func flatConv(op *graph.ConvND, w []int, in graph.Shape) (s kernel.ConvShape, frames int, ok bool) {
	d := len(op.Stride)
	s = kernel.ConvShape{N: 1, H: 1, W: in[d-1], Cin: in[d], KH: 1, KW: w[d-1], Cout: w[d+1], StrideH: 1, StrideW: op.Stride[d-1],
		PadLeft: op.Pad[d-1], PadRight: op.Pad[2*d-1], DilH: 1, DilW: op.Dilation[d-1], Groups: op.Groups}
	if d > 1 {
		s.H, s.KH, s.StrideH, s.DilH = in[d-2], w[d-2], op.Stride[d-2], op.Dilation[d-2]
		s.PadTop, s.PadBottom = op.Pad[d-2], op.Pad[2*d-2]
	}
	if d < 3 {
		return s, 1, true
	}
	return s, in[0], w[0] == 1 && op.Stride[0] == 1 && op.Pad[0] == 0 && op.Pad[3] == 0
}

// newFramesConv convolves every frame of a sample by itself.
func newFramesConv(n *graph.Node, s kernel.ConvShape, frames int, pool *parallel.Pool) *operation {
	weight, bias := n.Params["weight"], n.Params["bias"]
	filter := kernel.NewFilter(s, weight.Data)
	last := append([]float32(nil), weight.Data...)
	var back *kernel.BackwardFilter
	return &operation{
		forward: func(k int, in [][]float32, out []float32) {
			if !sameValues(last, weight.Data) { // training moved them
				copy(last, weight.Data)
				filter.Set(last)
			}
			kernel.Conv(pool, batched(s, k*frames), in[0], filter, kernel.Epilogue{Bias: data(bias)}, out)
		},
		backward: func(b *backwardCall) {
			shape := batched(s, b.n*frames)
			if b.dx[0] != nil {
				if back == nil {
					back = kernel.NewBackwardFilter(s, weight.Data)
				} else {
					back.Set(weight.Data)
				}
				kernel.ConvBackwardInput(pool, shape, b.dy, back, b.dx[0])
			}
			if b.weight != nil {
				kernel.ConvBackwardWeight(pool, shape, b.in[0], b.dy, b.weight)
			}
			if b.bias != nil {
				kernel.SumRows(pool, b.bias, b.dy)
			}
		},
	}
}

func sameValues(a, b []float32) bool {
	for i, v := range a {
		if math.Float32bits(v) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

// newPoolND is the maximum or the mean over windows.
func newPoolND(n *graph.Node, kern, stride, pad, dilation []int, most, countPad bool, pool *parallel.Pool) *operation {
	d := len(kern)
	in, out := n.Inputs[0].Shape, n.Shape
	w := newWindow(in[:d], out[:d], kern, stride, pad[:d], dilation)
	c := in[d]
	from, to := volume(w.big), volume(w.small)
	counts := make([]float32, to)
	if !most {
		for o := range counts {
			if countPad {
				counts[o] = float32(paddedCells(w, o, pad, d))
			} else {
				counts[o] = float32(len(w.cells(nil, o)))
			}
		}
	}
	o := &operation{}
	o.forward = func(k int, ins [][]float32, y []float32) {
		x := ins[0]
		pool.Chunks(k*to, max(chunk/(c*w.most), 1), func(lo, hi int) {
			list := make([]meeting, 0, w.most)
			for p := lo; p < hi; p++ {
				dst := y[p*c : (p+1)*c]
				list = w.cells(list[:0], p%to)
				for j, m := range list {
					src := x[(p/to*from+m.at)*c:][:c]
					switch {
					case j == 0:
						copy(dst, src)
					case most:
						for i, v := range src {
							if v > dst[i] || v != v {
								dst[i] = v
							}
						}
					default:
						kernel.AddTo(dst, src)
					}
				}
				if !most {
					for i := range dst {
						dst[i] /= counts[p%to]
					}
				}
			}
		})
	}
	o.backward = func(b *backwardCall) {
		dx := b.dx[0]
		if dx == nil {
			return
		}
		clear(dx)
		pool.For(b.n, func(s int) {
			taken := make([]bool, c)
			list := make([]meeting, 0, w.most)
			for p := range to {
				at := (s*to + p) * c
				clear(taken)
				list = w.cells(list[:0], p)
				for _, m := range list {
					i0 := (s*from + m.at) * c
					for ch := range c {
						switch {
						case !most:
							dx[i0+ch] += b.dy[at+ch] / counts[p]
						case !taken[ch] && b.in[0][i0+ch] == b.out[at+ch]:
							dx[i0+ch] += b.dy[at+ch]
							taken[ch] = true
						}
					}
				}
			}
		})
	}
	return o
}

// paddedCells counts the cells of a window that lie in the padded input: those
// that rounding up adds behind it do not count.
func paddedCells(w *window, small int, pad []int, d int) int {
	o := gridPlace(w.small, small)
	count := 1
	for i := range d {
		a := 3 - d + i
		inside := 0
		for k := range w.kernel[a] {
			if at := o[a]*w.stride[a] - w.pad[a] + k*w.dil[a]; at < w.big[a]+pad[d+i] {
				inside++
			}
		}
		count *= inside
	}
	return count
}
