package dataset

import "math"

// pixels is an image of bytes, channels last, with 1 channel (grey) or 3
// (red, green, blue).
type pixels struct {
	h, w, c int
	data    []byte
}

// imageOps are the image operations of AutoAugment. They give the same bytes
// as the Python Imaging Library (Pillow), whose integer and rounding rules the
// policy was learnt with; testdata/pillow.json holds its results. Every
// method changes p in place; the struct is scratch memory.
type imageOps struct {
	tmp []byte
}

// scratch returns n bytes of any content.
func (o *imageOps) scratch(n int) []byte {
	if len(o.tmp) < n {
		o.tmp = make([]byte, n)
	}
	return o.tmp[:n]
}

// grey is the luminance of ITU-R 601-2 in 16-bit fixed point.
func grey(r, g, b byte) byte {
	return byte((uint32(r)*19595 + uint32(g)*38470 + uint32(b)*7471 + 1<<15) >> 16)
}

// blend moves p away from the image other: other + factor*(p - other) in
// float32, rounded towards zero and clipped. Factors 0 and 1 are exact.
func blend(p pixels, other []byte, factor float32) {
	for i, v := range p.data {
		p.data[i] = mixByte(other[i], v, factor)
	}
}

func mixByte(a, b byte, factor float32) byte {
	v := float32(a) + float32(factor*float32(int(b)-int(a)))
	switch {
	case v <= 0:
		return 0
	case v >= 255:
		return 255
	}
	return byte(v)
}

// brightness scales towards black: 0 is black, 1 leaves p as it is.
func (o *imageOps) brightness(p pixels, factor float64) {
	for i, v := range p.data {
		p.data[i] = mixByte(0, v, float32(factor))
	}
}

// colour scales saturation: 0 is grey, 1 leaves p as it is.
func (o *imageOps) colour(p pixels, factor float64) {
	if p.c != 3 {
		return // a grey image is its own grey version
	}
	for i := 0; i < len(p.data); i += 3 {
		px := p.data[i : i+3]
		g := grey(px[0], px[1], px[2])
		for k, v := range px {
			px[k] = mixByte(g, v, float32(factor))
		}
	}
}

// contrast scales towards the mean luminance of the image.
func (o *imageOps) contrast(p pixels, factor float64) {
	var sum int
	n := p.h * p.w
	if p.c == 3 {
		for i := 0; i < len(p.data); i += 3 {
			sum += int(grey(p.data[i], p.data[i+1], p.data[i+2]))
		}
	} else {
		for _, v := range p.data {
			sum += int(v)
		}
	}
	mean := byte(float64(sum)/float64(n) + 0.5)
	for i, v := range p.data {
		p.data[i] = mixByte(mean, v, float32(factor))
	}
}

// sharpness scales away from the image smoothed by the 3x3 kernel of ones
// with 5 in the middle, over 13; border pixels are not smoothed.
func (o *imageOps) sharpness(p pixels, factor float64) {
	smooth := o.scratch(len(p.data))
	copy(smooth, p.data)
	row := p.w * p.c
	for y := 1; y < p.h-1; y++ {
		for i := y*row + p.c; i < (y+1)*row-p.c; i++ {
			d := p.data
			sum := 4 * int(d[i])
			for _, j := range [3]int{i - row, i, i + row} {
				sum += int(d[j-p.c]) + int(d[j]) + int(d[j+p.c])
			}
			smooth[i] = byte((2*sum + 13) / 26) // nearest; ties cannot occur
		}
	}
	blend(p, smooth, float32(factor))
}

// invert turns v into 255-v.
func (o *imageOps) invert(p pixels) {
	for i, v := range p.data {
		p.data[i] = 255 - v
	}
}

// solarize inverts the values that are not below the threshold.
func (o *imageOps) solarize(p pixels, threshold float64) {
	for i, v := range p.data {
		if float64(v) >= threshold {
			p.data[i] = 255 - v
		}
	}
}

// posterize keeps the upper bits (0..8) of each value.
func (o *imageOps) posterize(p pixels, bits int) {
	mask := byte(0xff << (8 - bits))
	for i := range p.data {
		p.data[i] &= mask
	}
}

// histogram counts the values of one channel.
func (p pixels) histogram(ch int) (h [256]int) {
	for i := ch; i < len(p.data); i += p.c {
		h[p.data[i]]++
	}
	return h
}

// lookUp replaces the values of one channel.
func (p pixels) lookUp(ch int, table *[256]byte) {
	for i := ch; i < len(p.data); i += p.c {
		p.data[i] = table[p.data[i]]
	}
}

// autocontrast stretches each channel to the full range.
func (o *imageOps) autocontrast(p pixels) {
	for ch := range p.c {
		h := p.histogram(ch)
		lo, hi := 0, 255
		for lo < 255 && h[lo] == 0 {
			lo++
		}
		for hi > 0 && h[hi] == 0 {
			hi--
		}
		if hi <= lo {
			continue
		}
		scale := 255 / float64(hi-lo)
		offset := float64(-float64(lo) * scale)
		var table [256]byte
		for v := range table {
			table[v] = byte(min(max(math.Trunc(float64(float64(v)*scale)+offset), 0), 255))
		}
		p.lookUp(ch, &table)
	}
}

// equalize flattens the histogram of each channel.
func (o *imageOps) equalize(p pixels) {
	for ch := range p.c {
		h := p.histogram(ch)
		last, total, used := 0, 0, 0
		for _, n := range h {
			if n > 0 {
				last = n
				total += n
				used++
			}
		}
		step := (total - last) / 255
		if used <= 1 || step == 0 {
			continue
		}
		var table [256]byte
		n := step / 2
		for v := range table {
			table[v] = byte(min(n/step, 255))
			n += h[v]
		}
		p.lookUp(ch, &table)
	}
}
