package kernel

import (
	"fmt"

	"github.com/adafire/adafire/internal/parallel"
)

// PoolShape describes a 2-D pooling [N,H,W,C] -> [N,OutH,OutW,C] without
// dilation. The caller chooses OutH and OutW, and with them the rounding: see
// PoolOut.
type PoolShape struct {
	N, H, W, C                           int
	KH, KW, StrideH, StrideW             int
	PadTop, PadLeft, PadBottom, PadRight int
	OutH, OutW                           int
}

// PoolOut returns the output size of a pooling along one axis, by PyTorch's
// rule: floor or, with ceil, rounding up, but so that no window starts beyond
// the input and the padding before it.
func PoolOut(size, kernel, stride, padBefore, padAfter int, ceil bool) int {
	span := size + padBefore + padAfter - kernel
	if span < 0 {
		return 0
	}
	if !ceil {
		return span/stride + 1
	}
	out := (span+stride-1)/stride + 1
	if (out-1)*stride >= size+padBefore {
		out--
	}
	return out
}

// Validate returns an error unless every size is at least 1 (N and paddings at
// least 0) and every window holds an element of the input.
func (s PoolShape) Validate() error {
	for _, v := range [...]struct {
		name     string
		n, least int
	}{
		{"N", s.N, 0}, {"H", s.H, 1}, {"W", s.W, 1}, {"C", s.C, 1}, {"KH", s.KH, 1}, {"KW", s.KW, 1},
		{"StrideH", s.StrideH, 1}, {"StrideW", s.StrideW, 1}, {"OutH", s.OutH, 1}, {"OutW", s.OutW, 1},
		{"PadTop", s.PadTop, 0}, {"PadLeft", s.PadLeft, 0}, {"PadBottom", s.PadBottom, 0}, {"PadRight", s.PadRight, 0},
	} {
		if v.n < v.least || v.n > 1<<31 {
			return fmt.Errorf("pooling: %s is %d, want %d to 2^31", v.name, v.n, v.least)
		}
	}
	if s.PadTop >= s.KH || (s.OutH-1)*s.StrideH-s.PadTop >= s.H {
		return fmt.Errorf("pooling: %d output rows: a window of kernel %d, stride %d, padding %d lies outside the %d rows",
			s.OutH, s.KH, s.StrideH, s.PadTop, s.H)
	}
	if s.PadLeft >= s.KW || (s.OutW-1)*s.StrideW-s.PadLeft >= s.W {
		return fmt.Errorf("pooling: %d output columns: a window of kernel %d, stride %d, padding %d lies outside the %d columns",
			s.OutW, s.KW, s.StrideW, s.PadLeft, s.W)
	}
	return nil
}

func (s PoolShape) in() int  { return s.H * s.W * s.C }
func (s PoolShape) out() int { return s.OutH * s.OutW * s.C }

// check panics on a shape or on slices that the caller should have refused.
func (s PoolShape) check(what string, in, out int) {
	if err := s.Validate(); err != nil {
		panic("kernel: " + what + ": " + err.Error())
	}
	if in != s.N*s.in() || out != s.N*s.out() { // names on the heap only if they are needed
		same(what+" input", in, s.N*s.in())
		same(what+" output", out, s.N*s.out())
	}
}

// window is the part of a pooling window inside the input: kh rows and kw
// columns from row h, column w.
type window struct{ h, w, kh, kw int }

func (s PoolShape) window(oh, ow int) window {
	h, w := oh*s.StrideH-s.PadTop, ow*s.StrideW-s.PadLeft
	h1, w1 := min(h+s.KH, s.H), min(w+s.KW, s.W)
	h, w = max(h, 0), max(w, 0)
	return window{h, w, h1 - h, w1 - w}
}

// MaxPool sets y to the maximum of every window; padding takes no part. NaN in
// a window makes the result NaN. argmax, unless nil, gets the position h*W+w of
// the maximum, of the first one (of the last NaN) in row order.
func MaxPool(p *parallel.Pool, s PoolShape, x, y []float32, argmax []int32) {
	s.check("MaxPool", len(x), len(y))
	if argmax != nil {
		same("MaxPool argmax", len(argmax), len(y))
	}
	if p.Workers() == 1 {
		for i := range s.N * s.OutH {
			s.maxRow(i, x, y, argmax)
		}
		return
	}
	s.maxParallel(p, x, y, argmax)
}

// maxParallel stands apart: a closure's variables live on the heap in all of
// the function that makes it.
func (s PoolShape) maxParallel(p *parallel.Pool, x, y []float32, argmax []int32) {
	p.For(s.N*s.OutH, func(i int) { s.maxRow(i, x, y, argmax) })
}

// maxRow is row i of all samples' output rows.
func (s PoolShape) maxRow(i int, x, y []float32, argmax []int32) {
	n, oh := i/s.OutH, i%s.OutH
	plane := x[n*s.in() : (n+1)*s.in()]
	for ow := range s.OutW {
		at := (i*s.OutW + ow) * s.C
		var arg []int32
		if argmax != nil {
			arg = argmax[at : at+s.C]
		}
		maxWindow(y[at:at+s.C], arg, plane, s.W, s.window(oh, ow))
	}
}

// maxWindow is MaxPool of one window, c = len(y) channels; arg may be nil.
func maxWindow(y []float32, arg []int32, plane []float32, w int, win window) {
	c := len(y)
	done := maxWindowVec(y, arg, plane, w, win)
	if done == c {
		return
	}
	for ch := done; ch < c; ch++ {
		at := win.h*w + win.w
		best, index := plane[at*c+ch], at
		for h := range win.kh {
			for j := range win.kw {
				at := (win.h+h)*w + win.w + j
				if v := plane[at*c+ch]; v > best || v != v {
					best, index = v, at
				}
			}
		}
		y[ch] = best
		if arg != nil {
			arg[ch] = int32(index)
		}
	}
}

// MaxPoolBackward sends every element of dy to the position in argmax and
// overwrites dx with the sums, taken in the order of the output.
func MaxPoolBackward(p *parallel.Pool, s PoolShape, dy []float32, argmax []int32, dx []float32) {
	s.check("MaxPoolBackward", len(dx), len(dy))
	same("MaxPoolBackward argmax", len(argmax), len(dy))
	p.For(s.N, func(n int) {
		in, out := dx[n*s.in():(n+1)*s.in()], n*s.out()
		clear(in)
		for at := 0; at < s.out(); at += s.C {
			g := dy[out+at : out+at+s.C]
			for ch, index := range argmax[out+at : out+at+s.C] {
				in[int(index)*s.C+ch] += g[ch]
			}
		}
	})
}

// divisor returns what AvgPool divides a window's sum by: its size clipped to
// the padded input, or to the input itself.
func (s PoolShape) divisor(oh, ow int, countPad bool) float32 {
	if !countPad {
		win := s.window(oh, ow)
		return float32(win.kh * win.kw)
	}
	h, w := oh*s.StrideH-s.PadTop, ow*s.StrideW-s.PadLeft
	kh := min(h+s.KH, s.H+s.PadBottom) - h
	kw := min(w+s.KW, s.W+s.PadRight) - w
	return float32(kh * kw)
}

// AvgPool sets y to the sum of every window divided by the number of its
// positions: those in the input, and those in the padding too if countPad. A
// window that reaches beyond the padding (ceil rounding) counts nothing there,
// as in PyTorch. The sum runs in row order in float32.
func AvgPool(p *parallel.Pool, s PoolShape, x, y []float32, countPad bool) {
	s.check("AvgPool", len(x), len(y))
	if p.Workers() == 1 {
		for i := range s.N * s.OutH {
			s.avgRow(i, x, y, countPad)
		}
		return
	}
	s.avgParallel(p, x, y, countPad)
}

func (s PoolShape) avgParallel(p *parallel.Pool, x, y []float32, countPad bool) {
	p.For(s.N*s.OutH, func(i int) { s.avgRow(i, x, y, countPad) })
}

// avgRow is row i of all samples' output rows.
func (s PoolShape) avgRow(i int, x, y []float32, countPad bool) {
	n, oh := i/s.OutH, i%s.OutH
	plane := x[n*s.in() : (n+1)*s.in()]
	for ow := range s.OutW {
		at := (i*s.OutW + ow) * s.C
		avgWindow(y[at:at+s.C], plane, s.W, s.window(oh, ow), s.divisor(oh, ow, countPad))
	}
}

// avgWindow is AvgPool of one window, c = len(y) channels.
func avgWindow(y, plane []float32, w int, win window, divisor float32) {
	c := len(y)
	done := avgWindowVec(y, plane, w, win, divisor)
	if done == c {
		return
	}
	for ch := done; ch < c; ch++ {
		var sum float32
		for h := range win.kh {
			for j := range win.kw {
				sum += plane[((win.h+h)*w+win.w+j)*c+ch]
			}
		}
		y[ch] = sum / divisor
	}
}

// AvgPoolBackward overwrites dx with the gradient of AvgPool at its input:
// every element of dy, times the reciprocal of its window's divisor, goes to the
// whole window. Sums run in the order of the output.
func AvgPoolBackward(p *parallel.Pool, s PoolShape, dy, dx []float32, countPad bool) {
	s.check("AvgPoolBackward", len(dx), len(dy))
	p.For(s.N, func(n int) {
		in := dx[n*s.in() : (n+1)*s.in()]
		clear(in)
		share := make([]float32, s.C)
		for oh := range s.OutH {
			for ow := range s.OutW {
				at := n*s.out() + (oh*s.OutW+ow)*s.C
				Scale(share, dy[at:at+s.C], 1/s.divisor(oh, ow, countPad))
				win := s.window(oh, ow)
				for h := range win.kh {
					lo := ((win.h+h)*s.W + win.w) * s.C
					for j := lo; j < lo+win.kw*s.C; j += s.C {
						AddTo(in[j:j+s.C], share)
					}
				}
			}
		}
	})
}
