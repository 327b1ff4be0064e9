//go:build amd64 && !noasm

package kernel

// Pixels of a window are c elements apart; skip leads from the end of one row
// of the window to the start of the next. Both in bytes, for elements of size
// bytes.

func (win window) strides(w, c, size int) (first, pixel, skip int) {
	return (win.h*w + win.w) * c, c * size, (w - win.kw) * c * size
}

func maxWindowVec(y []float32, arg []int32, plane []float32, w int, win window) int {
	c := len(y)
	n := vec(c)
	if n == 0 {
		return 0
	}
	first, pixel, skip := win.strides(w, c, 4)
	if arg == nil {
		maxWindowAVX2(&y[0], &plane[first], n, win.kh, win.kw, pixel, skip)
	} else {
		argmaxWindowAVX2(&y[0], &plane[first], &arg[0], n, win.kh, win.kw, pixel, skip, first/c, w-win.kw)
	}
	return n
}

func avgWindowVec(y, plane []float32, w int, win window, divisor float32) int {
	n := vec(len(y))
	if n > 0 {
		first, pixel, skip := win.strides(w, len(y), 4)
		avgWindowAVX2(&y[0], &plane[first], n, win.kh, win.kw, pixel, skip, divisor)
	}
	return n
}

func sumWindowCountsVec(y []float32, plane []uint8, w int, win window) int {
	n := vec(len(y))
	if n > 0 {
		first, pixel, skip := win.strides(w, len(y), 1)
		sumWindowCountsAVX2(&y[0], &plane[first], n, win.kh, win.kw, pixel, skip)
	}
	return n
}

func maxWindowCountsVec(out []uint8, top, plane []int32, w int, win window) int {
	n := vec(len(out))
	if n > 0 {
		first, pixel, skip := win.strides(w, len(out), 4)
		maxWindowCountsAVX2(&out[0], &plane[first], &top[0], n, win.kh, win.kw, pixel, skip)
	}
	return n
}
