package ann

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A resample is the interpolation along one axis: result i is the sum of
// weight*input over its taps.
type resample struct {
	view axisView // of the sample before it
	out  int
	taps [][]tap
}

type tap struct {
	at     int
	weight float32
}

func newResize(n *graph.Node, op *graph.Resize, pool *parallel.Pool) *operation {
	shape := n.Inputs[0].Shape
	if op.Mode == "nearest" {
		st := strides(shape)
		axes := make([][]int, len(shape))
		for a, in := range shape {
			axes[a] = make([]int, op.Size[a])
			for i := range axes[a] {
				axes[a][i] = st[a] * op.NearestIndex(in, a, i)
			}
		}
		m := newIndexMap(shape, n.Shape, axes, false, 0)
		return &operation{
			forward: func(k int, in [][]float32, out []float32) { m.gather(pool, k, in[0], out) },
			backward: func(b *backwardCall) {
				if b.dx[0] != nil {
					m.scatter(pool, b.n, b.dy, b.dx[0])
				}
			},
		}
	}
	var passes []*resample
	now := append(graph.Shape(nil), shape...)
	for a, in := range shape {
		if op.Size[a] == in && op.Scale[a] == 1 {
			continue
		}
		r := &resample{view: viewAxis(now, a), out: op.Size[a], taps: make([][]tap, op.Size[a])}
		for i := range r.taps {
			r.taps[i] = tapsOf(op, in, a, i)
		}
		passes = append(passes, r)
		now[a] = op.Size[a]
	}
	buffers := make([][]float32, len(passes)+1)
	o := &operation{}
	o.forward = func(k int, in [][]float32, out []float32) {
		x := in[0]
		if len(passes) == 0 {
			copy(out, x)
		}
		for i, r := range passes {
			y := out
			if i < len(passes)-1 {
				buffers[i] = grow(buffers[i], k*r.view.outer*r.out*r.view.inner)
				y = buffers[i]
			}
			r.forward(pool, k, x, y)
			x = y
		}
	}
	o.backward = func(b *backwardCall) {
		dx := b.dx[0]
		if dx == nil {
			return
		}
		if len(passes) == 0 {
			copy(dx, b.dy)
		}
		dy := b.dy
		for i := len(passes) - 1; i >= 0; i-- {
			r := passes[i]
			to := dx
			if i > 0 {
				buffers[i] = grow(buffers[i], b.n*r.view.outer*r.view.length*r.view.inner)
				to = buffers[i]
			}
			r.backward(pool, b.n, dy, to)
			dy = to
		}
	}
	return o
}

func (r *resample) forward(pool *parallel.Pool, n int, x, y []float32) {
	w := r.view.inner
	pool.Chunks(n*r.view.outer*r.out, max(chunk/w, 1), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			dst := y[i*w : (i+1)*w]
			base := i / r.out * r.view.length
			if w == 1 {
				sum := float32(0)
				for _, t := range r.taps[i%r.out] {
					sum += float32(t.weight * x[base+t.at])
				}
				dst[0] = sum
				continue
			}
			for k, t := range r.taps[i%r.out] {
				src := x[(base+t.at)*w : (base+t.at+1)*w]
				if k == 0 {
					kernel.Scale(dst, src, t.weight)
				} else {
					kernel.Axpy(dst, src, t.weight)
				}
			}
		}
	})
}

func (r *resample) backward(pool *parallel.Pool, n int, dy, dx []float32) {
	w, size := r.view.inner, r.view.length*r.view.inner
	pool.For(n*r.view.outer, func(o int) {
		part := dx[o*size : (o+1)*size]
		clear(part)
		for i, taps := range r.taps {
			src := dy[(o*r.out+i)*w : (o*r.out+i+1)*w]
			for _, t := range taps {
				kernel.Axpy(part[t.at*w:(t.at+1)*w], src, t.weight)
			}
		}
	})
}

// tapsOf returns the taps of result i of axis a for modes linear and cubic.
func tapsOf(op *graph.Resize, in, a, i int) []tap {
	cubic := op.Mode == "cubic"
	x := op.At(in, a, i)
	if op.Antialias {
		return antialiased(op, in, x, float32(op.Scale[a]), cubic)
	}
	if !cubic {
		x = min(max(x, 0), float32(in-1))
		lo := int(x)
		f := x - float32(lo)
		if lo+1 >= in || f == 0 {
			return []tap{{lo, 1}}
		}
		return []tap{{lo, 1 - f}, {lo + 1, f}}
	}
	lo := int(math.Floor(float64(x)))
	f := float64(x) - float64(lo)
	var taps []tap
	total := 0.0
	for k := -1; k <= 2; k++ {
		w := cubicWeight(float64(k)-f, op.CubicA)
		at := lo + k
		if at < 0 || at >= in {
			if op.ExcludeOutside {
				continue
			}
			at = min(max(at, 0), in-1)
		}
		total += w
		taps = append(taps, tap{at, float32(w)})
	}
	if op.ExcludeOutside {
		for k := range taps {
			taps[k].weight = float32(float64(taps[k].weight) / total)
		}
	}
	return taps
}

// cubicWeight is Keys' kernel with coefficient a.
func cubicWeight(x, a float64) float64 {
	x = math.Abs(x)
	switch {
	case x <= 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return ((a*x-5*a)*x+8*a)*x - 4*a
	}
	return 0
}

// antialiased widens the window by 1/scale where that is more than 1, as Pillow
// does. Weights of cells outside go to the border, unless they are excluded.
func antialiased(op *graph.Resize, in int, x, scale float32, cubic bool) []tap {
	radius := 1.0
	if cubic {
		radius = 2
	}
	shrink := math.Min(float64(scale), 1)
	support := radius / shrink
	centre := float64(x) + 0.5
	first, last := int(math.Floor(centre-support+0.5)), int(math.Floor(centre+support+0.5))
	first, last = max(first, -in-2*int(support)-8), min(last, 2*in+2*int(support)+8)
	weights := make(map[int]float64)
	total := 0.0
	for k := first; k < last; k++ {
		d := (float64(k) - centre + 0.5) * shrink
		w := math.Max(0, 1-math.Abs(d))
		if cubic {
			w = cubicWeight(d, op.CubicA)
		}
		at := k
		if k < 0 || k >= in {
			if op.ExcludeOutside {
				continue
			}
			at = min(max(k, 0), in-1)
		}
		weights[at] += w
		total += w
	}
	var taps []tap
	for k := max(min(first, in-1), 0); k < min(max(last, 1), in); k++ {
		if w := weights[k]; w != 0 && total != 0 {
			taps = append(taps, tap{k, float32(w / total)})
		}
	}
	if len(taps) == 0 {
		taps = []tap{{min(max(int(x), 0), in-1), 1}}
	}
	return taps
}
