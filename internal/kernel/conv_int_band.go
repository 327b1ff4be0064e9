package kernel

import (
	"slices"
	"unsafe"
)

// intBlock is a piece of work of an integer convolution: output rows
// row..row+rows-1 of a few frames, whose pixels follow each other in y.
type intBlock struct {
	s          ConvShape
	f          *IntFilter
	frames     int
	row, rows  int
	y          []int32
	accumulate bool

	// Where the kernels find the inputs: byte 0 belongs to the first input of
	// the first pixel's window.
	x        unsafe.Pointer
	elem     int // bytes of an input
	rowLen   int // bytes of an input row
	frameLen int // bytes from one frame to the next
}

// layInts lays out the inputs of a block as the kernels want them: the windows
// of all output pixels within a band of padded rows, as bytes that are not
// negative or as 16-bit numbers. So borders end here, and all inputs under one
// row of a window are contiguous. Where x is like that already, it is used as it is.
func layInts[C SpikeCount](b *intBlock, x []C, sc *IntScratch) {
	s, f := &b.s, b.f
	var zero C
	bytes := unsafe.Sizeof(zero) == 1
	if f.wide {
		b.elem = 2
		if !inPlace(b, bytes) {
			sc.band16 = growBand(sc.band16, b)
			fillBand(b, sc.band16, x, 0)
			b.x = unsafe.Pointer(&sc.band16[0])
			return
		}
	} else {
		b.elem = 1
		if !bytes || f.offset != 0 || !inPlace(b, true) {
			sc.band = growBand(sc.band, b)
			fillBand(b, sc.band, x, f.offset)
			b.x = unsafe.Pointer(&sc.band[0])
			return
		}
	}
	b.rowLen = s.W * s.Cin * b.elem
	b.frameLen = s.H * b.rowLen
	b.x = unsafe.Pointer(&x[b.row*s.StrideH*s.W*s.Cin])
}

// inPlace reports whether no window reaches over a border and no step reads
// behind a run, which could be behind the slice.
func inPlace(b *intBlock, fits bool) bool {
	s, f := &b.s, b.f
	wide := 1
	if f.wide {
		wide = 2
		fits = !fits
	}
	return fits && f.depthwise == nil && s.PadTop == 0 && s.PadLeft == 0 && s.PadBottom == 0 && s.PadRight == 0 &&
		f.runLen*wide%intStep == 0
}

// growBand sizes the band, with room behind it for the last step of the last
// run, and sets the strides.
func growBand[P uint8 | int16](band []P, b *intBlock) []P {
	s := &b.s
	inH := (b.rows-1)*s.StrideH + (s.KH-1)*s.DilH + 1
	inW := (s.OutW()-1)*s.StrideW + (s.KW-1)*s.DilW + 1
	b.rowLen = inW * s.Cin * b.elem
	b.frameLen = inH * b.rowLen
	const behind = 64
	n := b.frames*inH*inW*s.Cin + behind
	band = slices.Grow(band[:0], n)[:n]
	return band
}

// fillBand copies the input rows of the block, offset added, with padding of
// offset.
func fillBand[P uint8 | int16, C SpikeCount](b *intBlock, band []P, x []C, offset int) {
	s := &b.s
	row := b.rowLen / b.elem
	for n := range b.frames {
		dst := band[n*b.frameLen/b.elem:][:b.frameLen/b.elem]
		iy := b.row*s.StrideH - s.PadTop
		for ; len(dst) > 0; iy++ {
			d := dst[:row]
			dst = dst[row:]
			if iy < 0 || iy >= s.H {
				fillInts(d, offset)
				continue
			}
			src := x[(n*s.H+iy)*s.W*s.Cin:][:s.W*s.Cin]
			left := min(s.PadLeft*s.Cin, len(d))
			fillInts(d[:left], offset)
			d = d[left:]
			k := min(len(d), len(src))
			copyInts(d[:k], src[:k], offset)
			fillInts(d[k:], offset)
		}
	}
}

func fillInts[P uint8 | int16](d []P, v int) {
	if v == 0 {
		clear(d)
		return
	}
	for i := range d {
		d[i] = P(v)
	}
}

// copyInts sets d[i] = src[i] + offset.
func copyInts[P uint8 | int16, C SpikeCount](d []P, src []C, offset int) {
	if len(src) == 0 {
		return
	}
	if offset == 0 && unsafe.Sizeof(d[0]) == unsafe.Sizeof(src[0]) {
		copy(d, unsafe.Slice((*P)(unsafe.Pointer(&src[0])), len(src)))
		return
	}
	o := P(offset)
	for i := copyIntsVec(d, src, o); i < len(src); i++ {
		d[i] = P(src[i]) + o
	}
}
