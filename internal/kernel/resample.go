package kernel

import (
	"fmt"

	"github.com/adafire/adafire/internal/parallel"
)

// ResampleShape describes a change of the spatial size
// [N,H,W,C] -> [N,OutH,OutW,C]. Source positions are computed in float32 as
// torch.nn.functional.interpolate does when it is given the output size.
type ResampleShape struct {
	N, H, W, C, OutH, OutW int
}

func (s ResampleShape) check(what string, in, out int) {
	if s.N < 0 || s.H < 1 || s.W < 1 || s.C < 0 || s.OutH < 1 || s.OutW < 1 {
		panic(fmt.Sprintf("kernel: %s: impossible shape %+v", what, s))
	}
	same(what+" input", in, s.N*s.H*s.W*s.C)
	same(what+" output", out, s.N*s.OutH*s.OutW*s.C)
}

// nearestIndex returns the source of each of out positions: floor(o*in/out)
// with the ratio rounded to float32, at most in-1.
func nearestIndex(in, out int) []int {
	ratio := float32(in) / float32(out)
	index := make([]int, out)
	for o := range index {
		index[o] = min(int(float32(o)*ratio), in-1)
	}
	return index
}

// tap is one output position of linear interpolation: x[lo]*w0 + x[hi]*w1.
type tap struct {
	lo, hi int
	w0, w1 float32
}

func linearTaps(in, out int, alignCorners bool) []tap {
	taps := make([]tap, out)
	var ratio float32
	switch {
	case !alignCorners:
		ratio = float32(in) / float32(out)
	case out > 1:
		ratio = float32(in-1) / float32(out-1)
	}
	for o := range taps {
		src := ratio * float32(o)
		if !alignCorners {
			src = max(float32(ratio*(float32(o)+0.5))-0.5, 0)
		}
		lo := min(int(src), in-1)
		w1 := min(max(src-float32(lo), 0), 1)
		taps[o] = tap{lo, min(lo+1, in-1), 1 - w1, w1}
	}
	return taps
}

// ResampleNearest sets y to the nearest elements of x.
func ResampleNearest(p *parallel.Pool, s ResampleShape, x, y []float32) {
	s.check("ResampleNearest", len(x), len(y))
	rows, cols := nearestIndex(s.H, s.OutH), nearestIndex(s.W, s.OutW)
	p.For(s.N*s.OutH, func(i int) {
		from := x[(i/s.OutH*s.H+rows[i%s.OutH])*s.W*s.C:]
		to := y[i*s.OutW*s.C:]
		for ow, w := range cols {
			copy(to[ow*s.C:(ow+1)*s.C], from[w*s.C:])
		}
	})
}

// ResampleNearestBackward overwrites dx with the gradient of ResampleNearest:
// every element of dy is added at its source, in the order of the output.
func ResampleNearestBackward(p *parallel.Pool, s ResampleShape, dy, dx []float32) {
	s.check("ResampleNearestBackward", len(dx), len(dy))
	rows, cols := nearestIndex(s.H, s.OutH), nearestIndex(s.W, s.OutW)
	p.For(s.N, func(n int) {
		in := dx[n*s.H*s.W*s.C : (n+1)*s.H*s.W*s.C]
		clear(in)
		out := dy[n*s.OutH*s.OutW*s.C:]
		for oh, h := range rows {
			for ow, w := range cols {
				at := (oh*s.OutW + ow) * s.C
				to := (h*s.W + w) * s.C
				AddTo(in[to:to+s.C], out[at:at+s.C])
			}
		}
	})
}

// ResampleBilinear sets y to x interpolated linearly in both directions. With
// alignCorners the corner elements of input and output coincide, without it the
// borders do. Rows are interpolated after columns; every product is rounded.
func ResampleBilinear(p *parallel.Pool, s ResampleShape, x, y []float32, alignCorners bool) {
	s.check("ResampleBilinear", len(x), len(y))
	rows, cols := linearTaps(s.H, s.OutH, alignCorners), linearTaps(s.W, s.OutW, alignCorners)
	p.For(s.N*s.OutH, func(i int) {
		r := rows[i%s.OutH]
		plane := x[i/s.OutH*s.H*s.W*s.C:]
		upper, lower := plane[r.lo*s.W*s.C:], plane[r.hi*s.W*s.C:]
		for ow, t := range cols {
			at := (i*s.OutW + ow) * s.C
			blend(y[at:at+s.C], upper[t.lo*s.C:], upper[t.hi*s.C:], lower[t.lo*s.C:], lower[t.hi*s.C:], [4]float32{t.w0, t.w1, r.w0, r.w1})
		}
	})
}

// blend sets y = (a*k0 + b*k1)*k2 + (c*k0 + d*k1)*k3.
func blend(y, a, b, c, d []float32, k [4]float32) {
	n := len(y)
	a, b, c, d = a[:n], b[:n], c[:n], d[:n]
	for i := blendVec(y, a, b, c, d, &k); i < n; i++ {
		u := float32(a[i]*k[0]) + float32(b[i]*k[1])
		l := float32(c[i]*k[0]) + float32(d[i]*k[1])
		y[i] = float32(u*k[2]) + float32(l*k[3])
	}
}

// ResampleBilinearBackward overwrites dx with the gradient of ResampleBilinear,
// summed in the order of the output.
func ResampleBilinearBackward(p *parallel.Pool, s ResampleShape, dy, dx []float32, alignCorners bool) {
	s.check("ResampleBilinearBackward", len(dx), len(dy))
	rows, cols := linearTaps(s.H, s.OutH, alignCorners), linearTaps(s.W, s.OutW, alignCorners)
	p.For(s.N, func(n int) {
		in := dx[n*s.H*s.W*s.C : (n+1)*s.H*s.W*s.C]
		clear(in)
		for oh, r := range rows {
			upper, lower := in[r.lo*s.W*s.C:], in[r.hi*s.W*s.C:]
			for ow, t := range cols {
				at := ((n*s.OutH+oh)*s.OutW + ow) * s.C
				g := dy[at : at+s.C]
				lo, hi := t.lo*s.C, t.hi*s.C
				Axpy(upper[lo:lo+s.C], g, r.w0*t.w0)
				Axpy(upper[hi:hi+s.C], g, r.w0*t.w1)
				Axpy(lower[lo:lo+s.C], g, r.w1*t.w0)
				Axpy(lower[hi:hi+s.C], g, r.w1*t.w1)
			}
		}
	})
}
