package dataset

import "math"

// fill is the value of pixels that a warp brings in from outside.
const fill = 128

// Warps map an output position to an input position:
//
//	xin = m[0]*x + m[1]*y + m[2],  yin = m[3]*x + m[4]*y + m[5]
//
// in units of pixels, pixel i reaching from i to i+1. As in Pillow, nearest
// neighbour works in 16.16 fixed point except for pure translations.

// warpNearest takes the pixel in which the input position lies.
func (o *imageOps) warpNearest(p pixels, m [6]float64) {
	out := o.scratch(len(p.data))
	for i := range out {
		out[i] = fill
	}
	pick := func(y, x, yin, xin int) {
		if xin >= 0 && xin < p.w && yin >= 0 && yin < p.h {
			copy(out[(y*p.w+x)*p.c:(y*p.w+x+1)*p.c], p.data[(yin*p.w+xin)*p.c:])
		}
	}
	if m[1] == 0 && m[3] == 0 {
		yin := m[5] + m[4]*0.5
		for y := range p.h {
			xin := m[2] + m[0]*0.5
			for x := range p.w {
				pick(y, x, int(math.Floor(yin)), int(math.Floor(xin)))
				xin += m[0]
			}
			yin += m[4]
		}
	} else {
		fixed := func(v float64) int { return int(math.Floor(v*65536 + 0.5)) }
		xx, xy, yx, yy := fixed(m[0]), fixed(m[1]), fixed(m[3]), fixed(m[4])
		x0 := fixed(m[2] + m[0]*0.5 + m[1]*0.5)
		y0 := fixed(m[5] + m[3]*0.5 + m[4]*0.5)
		for y := range p.h {
			xin, yin := x0+y*xy, y0+y*yy
			for x := range p.w {
				pick(y, x, yin>>16, xin>>16)
				xin += xx
				yin += yx
			}
		}
	}
	copy(p.data, out)
}

// warpBicubic interpolates with the cubic of parameter -1, borders repeated,
// rounding towards zero.
func (o *imageOps) warpBicubic(p pixels, m [6]float64) {
	out := o.scratch(len(p.data))
	for y := range p.h {
		for x := range p.w {
			px := out[(y*p.w+x)*p.c : (y*p.w+x+1)*p.c]
			u, v := float64(x)+0.5, float64(y)+0.5
			xin := float64(m[0]*u) + float64(m[1]*v) + m[2]
			yin := float64(m[3]*u) + float64(m[4]*v) + m[5]
			if !(xin >= 0 && xin < float64(p.w) && yin >= 0 && yin < float64(p.h)) {
				for k := range px {
					px[k] = fill
				}
				continue
			}
			p.bicubic(xin-0.5, yin-0.5, px)
		}
	}
	copy(p.data, out)
}

// bicubic interpolates at (xin, yin), in units of pixel centres.
func (p pixels) bicubic(xin, yin float64, px []byte) {
	x, y := int(math.Floor(xin)), int(math.Floor(yin))
	dx, dy := xin-float64(x), yin-float64(y)
	var cols, rows [4]int
	for k := range 4 {
		cols[k] = min(max(x-1+k, 0), p.w-1) * p.c
		rows[k] = min(max(y-1+k, 0), p.h-1) * p.w * p.c
	}
	for ch := range px {
		var v [4]float64
		for k, row := range rows {
			in := p.data[row+ch:]
			v[k] = cubic(float64(in[cols[0]]), float64(in[cols[1]]), float64(in[cols[2]]), float64(in[cols[3]]), dx)
		}
		px[ch] = byte(min(max(cubic(v[0], v[1], v[2], v[3], dy), 0), 255))
	}
}

// cubic interpolates between v2 (d = 0) and v3 (d = 1).
func cubic(v1, v2, v3, v4, d float64) float64 {
	p2 := -v1 + v3
	p3 := float64(2*(v1-v2)) + v3 - v4
	p4 := -v1 + v2 - v3 + v4
	return v2 + float64(d*(p2+float64(d*(p3+float64(d*p4)))))
}

// shearX moves rows sideways, in proportion to their distance from the top.
func (o *imageOps) shearX(p pixels, s float64) { o.warpBicubic(p, [6]float64{1, s, 0, 0, 1, 0}) }

// shearY moves columns up or down, in proportion to their distance from the left.
func (o *imageOps) shearY(p pixels, s float64) { o.warpBicubic(p, [6]float64{1, 0, 0, s, 1, 0}) }

// translateX moves the image to the left by a fraction of its width.
func (o *imageOps) translateX(p pixels, s float64) {
	o.warpNearest(p, [6]float64{1, 0, s * float64(p.w), 0, 1, 0})
}

// translateY moves the image up by a fraction of its height.
func (o *imageOps) translateY(p pixels, s float64) {
	o.warpNearest(p, [6]float64{1, 0, 0, 0, 1, s * float64(p.h)})
}

// rotate turns the image about its centre, anticlockwise, by 0 to 45 degrees.
func (o *imageOps) rotate(p pixels, degrees float64) {
	if degrees == 0 {
		return
	}
	a := -degrees * math.Pi / 180
	sin, cos := round15(math.Sin(a)), round15(math.Cos(a))
	cx, cy := float64(p.w)/2, float64(p.h)/2
	o.warpNearest(p, [6]float64{
		cos, sin, float64(cos*-cx) + float64(sin*-cy) + cx,
		-sin, cos, float64(-sin*-cx) + float64(cos*-cy) + cy,
	})
}

// round15 rounds to 15 decimal places, as Pillow does with the matrix.
func round15(v float64) float64 { return math.RoundToEven(v*1e15) / 1e15 }
