package kernel

import (
	"fmt"
	"math"
)

// ConvShape describes a two-dimensional convolution (cross-correlation, as in
// every deep-learning framework) of an input [N, H, W, Cin] with weights
// [KH, KW, Cin/Groups, Cout] to an output [N, OutH, OutW, Cout]:
//
//	y[n,oh,ow,co] = Σ x[n, oh*StrideH+kh*DilH-PadTop, ow*StrideW+kw*DilW-PadLeft, ci] * w[kh,kw,ci,co]
//
// over kh, kw and the ci of the group that co belongs to. The input outside
// the image is zero.
//
// A linear layer of m samples is N=1, H=1, W=m, KH=KW=1.
type ConvShape struct {
	N, H, W, Cin                         int
	KH, KW, Cout                         int
	StrideH, StrideW                     int
	PadTop, PadLeft, PadBottom, PadRight int
	DilH, DilW                           int
	Groups                               int
}

// maxElems bounds every tensor of a convolution, in elements, so that no
// index computed from a valid shape overflows.
const maxElems = math.MaxInt >> (17 * (^uint(0) >> 63)) // 2^46; on 32-bit machines the largest int

// OutH returns the height of the output, 0 if the kernel does not fit.
func (s ConvShape) OutH() int { return outSize(s.H, s.KH, s.StrideH, s.PadTop+s.PadBottom, s.DilH) }

// OutW returns the width of the output, 0 if the kernel does not fit.
func (s ConvShape) OutW() int { return outSize(s.W, s.KW, s.StrideW, s.PadLeft+s.PadRight, s.DilW) }

func outSize(in, k, stride, pad, dil int) int {
	span := in + pad - (k-1)*dil - 1
	if span < 0 || stride < 1 {
		return 0
	}
	return span/stride + 1
}

// InLen, OutLen and WeightLen return the number of elements of x, y and w.
func (s ConvShape) InLen() int { return s.N * s.H * s.W * s.Cin }

// OutLen returns the number of elements of the output.
func (s ConvShape) OutLen() int { return s.N * s.OutH() * s.OutW() * s.Cout }

// WeightLen returns the number of weights.
func (s ConvShape) WeightLen() int { return s.KH * s.KW * (s.Cin / s.Groups) * s.Cout }

// MACs returns the multiply-accumulate operations of one sample, those with
// padding included.
func (s ConvShape) MACs() int64 {
	return int64(s.OutH()) * int64(s.OutW()) * int64(s.Cout) * int64(s.KH) * int64(s.KW) * int64(s.Cin/s.Groups)
}

// Depthwise reports whether every input channel has exactly one filter.
func (s ConvShape) Depthwise() bool {
	return s.Groups > 1 && s.Groups == s.Cin && s.Groups == s.Cout
}

// Validate returns an error unless every size is in range: sizes, strides,
// dilations and groups at least 1 (N may be 0), paddings at least 0, channels
// divisible by the groups, an output of at least one pixel, and no tensor of
// more than 2^46 elements.
func (s ConvShape) Validate() error {
	type field struct {
		name     string
		v, least int
	}
	for _, f := range []field{
		{"N", s.N, 0}, {"H", s.H, 1}, {"W", s.W, 1}, {"Cin", s.Cin, 1}, {"KH", s.KH, 1}, {"KW", s.KW, 1},
		{"Cout", s.Cout, 1}, {"StrideH", s.StrideH, 1}, {"StrideW", s.StrideW, 1}, {"PadTop", s.PadTop, 0},
		{"PadLeft", s.PadLeft, 0}, {"PadBottom", s.PadBottom, 0}, {"PadRight", s.PadRight, 0},
		{"DilH", s.DilH, 1}, {"DilW", s.DilW, 1}, {"Groups", s.Groups, 1},
	} {
		if f.v < f.least || f.v > math.MaxInt32 {
			return fmt.Errorf("convolution: %s is %d, want %d to 2^31-1", f.name, f.v, f.least)
		}
	}
	if s.Cin%s.Groups != 0 || s.Cout%s.Groups != 0 {
		return fmt.Errorf("convolution: %d input and %d output channels, want multiples of %d groups", s.Cin, s.Cout, s.Groups)
	}
	// The products below cannot overflow: factors are at most 2^32 or so.
	if (s.KH-1)*s.DilH >= s.H+s.PadTop+s.PadBottom || (s.KW-1)*s.DilW >= s.W+s.PadLeft+s.PadRight {
		return fmt.Errorf("convolution: kernel %dx%d with dilation %dx%d is larger than the padded input %dx%d",
			s.KH, s.KW, s.DilH, s.DilW, s.H+s.PadTop+s.PadBottom, s.W+s.PadLeft+s.PadRight)
	}
	for _, t := range []struct {
		name string
		dims [4]int
	}{
		{"input", [4]int{s.N, s.H, s.W, s.Cin}},
		{"padded input", [4]int{1, s.H + s.PadTop + s.PadBottom, s.W + s.PadLeft + s.PadRight, s.Cin}},
		{"weights", [4]int{s.KH, s.KW, s.Cin / s.Groups, s.Cout}},
		{"output", [4]int{s.N, s.OutH(), s.OutW(), s.Cout}},
	} {
		elems := 1
		for _, d := range t.dims {
			if d != 0 && elems > maxElems/d {
				return fmt.Errorf("convolution: %s %v has more than 2^46 elements", t.name, t.dims)
			}
			elems *= d
		}
	}
	return nil
}

// check panics unless s is valid and the slices have at least the lengths it
// implies: a caller's broken invariant, since callers validate what they read.
func (s ConvShape) check(fn string, x, y, w int) {
	if err := s.Validate(); err != nil {
		panic("kernel." + fn + ": " + err.Error())
	}
	for _, t := range [...]struct {
		name      string
		got, want int
	}{{"input", x, s.InLen()}, {"output", y, s.OutLen()}, {"weights", w, s.WeightLen()}} {
		if t.got >= 0 && t.got < t.want {
			panic(fmt.Sprintf("kernel.%s: %s has %d elements, want %d", fn, t.name, t.got, t.want))
		}
	}
}
