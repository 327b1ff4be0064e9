package dataset

import (
	"math"
	"math/rand/v2"
)

// A rect is a rectangle of pixels with its corner at (x, y).
type rect struct{ x, y, w, h int }

// resize scales the rectangle from of p to outW x outH and returns the
// rectangle window of the result: bilinear with anti-aliasing, that is a
// triangle as wide as an output pixel when shrinking, first along rows, then
// along columns, in fixed point with 22 bits and bytes in between. It gives
// the same bytes as Pillow's Image.crop(...).resize(..., BILINEAR), with which
// the published ImageNet networks were trained.
func (p pixels) resize(from rect, outW, outH int, window rect) pixels {
	across := triangle(from.w, outW, window.x, window.w)
	down := triangle(from.h, outH, window.y, window.h)
	top := down[0].first // rows of from that matter
	bottom := down[len(down)-1].first + len(down[len(down)-1].weights)

	width := window.w * p.c
	rows := make([]byte, (bottom-top)*width)
	for y := range bottom - top {
		at := (from.y+top+y)*p.w + from.x
		src := p.data[at*p.c : (at+from.w)*p.c]
		dst := rows[y*width : (y+1)*width]
		if from.w == outW {
			copy(dst, src[window.x*p.c:])
			continue
		}
		for x, t := range across {
			for ch := range p.c {
				sum := 1 << 21
				for k, weight := range t.weights {
					sum += weight * int(src[(t.first+k)*p.c+ch])
				}
				dst[x*p.c+ch] = byte(min(max(sum>>22, 0), 255))
			}
		}
	}
	if from.h == outH {
		return pixels{window.h, window.w, p.c, rows}
	}
	out := pixels{window.h, window.w, p.c, make([]byte, window.h*width)}
	sums := make([]int, width)
	for y, t := range down {
		for i := range sums {
			sums[i] = 1 << 21
		}
		for k, weight := range t.weights {
			at := (t.first - top + k) * width
			for i, v := range rows[at : at+width] {
				sums[i] += weight * int(v)
			}
		}
		for i, s := range sums {
			out.data[y*width+i] = byte(min(max(s>>22, 0), 255))
		}
	}
	return out
}

// taps are the input positions first, first+1, ... that make an output value.
type taps struct {
	first   int
	weights []int // sum 1<<22 up to rounding
}

// triangle returns the taps of the output values lo..lo+count-1 when in input
// values are scaled to out values.
func triangle(in, out, lo, count int) []taps {
	scale := float64(in) / float64(out)
	support := max(scale, 1)
	all := make([]taps, count)
	if in == out { // no filter
		for i := range all {
			all[i] = taps{lo + i, []int{1 << 22}}
		}
		return all
	}
	var shares []float64
	for i := range all {
		centre := (float64(lo+i) + 0.5) * scale
		first := max(int(centre-support+0.5), 0)
		end := min(int(centre+support+0.5), in)
		shares = shares[:0]
		var sum float64
		for k := first; k < end; k++ {
			share := max(1-math.Abs((float64(k)-centre+0.5)*(1/support)), 0)
			shares = append(shares, share)
			sum += share
		}
		weights := make([]int, end-first)
		for k, share := range shares {
			weights[k] = int(0.5 + float64(share/sum*(1<<22)))
		}
		all[i] = taps{first, weights}
	}
	return all
}

// resizedCrop cuts a random rectangle out of p, of 8 % to 100 % of its area
// and an aspect ratio between 3/4 and 4/3 (log-uniform), and scales it to
// outH x outW. If ten tries do not fit into the image, it takes the largest
// central rectangle within these ratios.
//
// Source: Szegedy et al., Going deeper with convolutions, CVPR 2015, sec. 6;
// the rounding and the fallback are torchvision's.
func resizedCrop(rng *rand.Rand, p pixels, outH, outW int) pixels {
	area := float64(p.h * p.w)
	logRatio := math.Log(4.0 / 3)
	for range 10 {
		target := area * (0.08 + 0.92*rng.Float64())
		ratio := math.Exp((2*rng.Float64() - 1) * logRatio)
		w := int(math.RoundToEven(math.Sqrt(target * ratio)))
		h := int(math.RoundToEven(math.Sqrt(target / ratio)))
		if w > 0 && w <= p.w && h > 0 && h <= p.h {
			y, x := rng.IntN(p.h-h+1), rng.IntN(p.w-w+1)
			return p.resize(rect{x, y, w, h}, outW, outH, rect{0, 0, outW, outH})
		}
	}
	w, h := p.w, p.h
	switch ratio := float64(w) / float64(h); {
	case ratio < 3.0/4:
		h = int(math.RoundToEven(float64(w) / (3.0 / 4)))
	case ratio > 4.0/3:
		w = int(math.RoundToEven(float64(h) * (4.0 / 3)))
	}
	return p.resize(rect{(p.w - w) / 2, (p.h - h) / 2, w, h}, outW, outH, rect{0, 0, outW, outH})
}

// centreCrop scales p so that its shorter side is short, and cuts the central
// side x side square out. short must not be below side.
func centreCrop(p pixels, short, side int) pixels {
	w, h := short, short
	if p.w < p.h {
		h = int(float64(short) * float64(p.h) / float64(p.w))
	} else {
		w = int(float64(short) * float64(p.w) / float64(p.h))
	}
	x := int(math.RoundToEven(float64(w-side) / 2))
	y := int(math.RoundToEven(float64(h-side) / 2))
	return p.resize(rect{0, 0, p.w, p.h}, w, h, rect{x, y, side, side})
}
