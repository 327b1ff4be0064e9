package represent

import "math"

// NearestIndex returns the source index of each of out positions when in
// positions are resized by nearest neighbour: floor(i * float32(in/out)),
// product in float32, at most in-1. For some sizes the product lands just below
// a whole number, and the position before is taken; PyTorch does the same.
func NearestIndex(in, out int) []int {
	scale := float32(in) / float32(out)
	index := make([]int, out)
	for i := range index {
		index[i] = min(int(math.Floor(float64(float32(i)*scale))), in-1)
	}
	return index
}

// A tap is the two source positions of a linear interpolation and the share of
// the second. A position of -1 lies in the padding and is 0.
type tap struct {
	a, b  int
	share float32
}

// linearTaps returns where the out positions fall when in positions are resized
// bilinearly, pixel centres aligned (align_corners=False), borders repeated.
func linearTaps(in, out int) []tap {
	scale := float32(in) / float32(out)
	taps := make([]tap, out)
	for i := range taps {
		at := max(float32((float32(i)+0.5)*scale)-0.5, 0)
		a := min(int(at), in-1)
		taps[i] = tap{a, min(a+1, in-1), at - float32(a)}
	}
	return taps
}

// nearest resizes src [.., width, c] to dst by source rows and columns; -1 is 0.
func nearest(dst, src []float32, width, c int, rows, cols []int) {
	line := len(cols) * c
	for y, sy := range rows {
		out := dst[y*line : (y+1)*line]
		switch {
		case sy < 0:
			clear(out)
			continue
		case y > 0 && rows[y-1] == sy:
			copy(out, dst[(y-1)*line:y*line])
			continue
		}
		in := src[sy*width*c : (sy+1)*width*c]
		for x, sx := range cols {
			if sx < 0 {
				clear(out[x*c : (x+1)*c])
			} else {
				copy(out[x*c:(x+1)*c], in[sx*c:(sx+1)*c])
			}
		}
	}
}

// bilinear resizes src [.., width, c] to dst; zero is a row of c zeros.
func bilinear(dst, src []float32, width, c int, rows, cols []tap, zero []float32) {
	pixel := func(y, x int) []float32 {
		if y < 0 || x < 0 {
			return zero
		}
		at := (y*width + x) * c
		return src[at : at+c]
	}
	for y, r := range rows {
		for x, q := range cols {
			aa, ab := pixel(r.a, q.a), pixel(r.a, q.b)
			ba, bb := pixel(r.b, q.a), pixel(r.b, q.b)
			at := (y*len(cols) + x) * c
			out := dst[at : at+c]
			for k := range out {
				top := float32((1-q.share)*aa[k]) + float32(q.share*ab[k])
				low := float32((1-q.share)*ba[k]) + float32(q.share*bb[k])
				out[k] = float32((1-r.share)*top) + float32(r.share*low)
			}
		}
	}
}
