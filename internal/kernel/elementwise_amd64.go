//go:build amd64 && !noasm

package kernel

// vec returns how many of n elements the assembly does: all whole vectors of 8.
func vec(n int) int {
	if Active() == Portable {
		return 0
	}
	return n &^ 7
}

func addVec(dst, a, b []float32) int {
	n := vec(len(dst))
	if n > 0 {
		addAVX2(&dst[0], &a[0], &b[0], n)
	}
	return n
}

func subVec(dst, a, b []float32) int {
	n := vec(len(dst))
	if n > 0 {
		subAVX2(&dst[0], &a[0], &b[0], n)
	}
	return n
}

func mulVec(dst, a, b []float32) int {
	n := vec(len(dst))
	if n > 0 {
		mulAVX2(&dst[0], &a[0], &b[0], n)
	}
	return n
}

func scaleVec(dst, x []float32, s float32) int {
	n := vec(len(dst))
	if n > 0 {
		scaleAVX2(&dst[0], &x[0], s, n)
	}
	return n
}

func axpyVec(dst, x []float32, a float32) int {
	n := vec(len(dst))
	if n > 0 {
		axpyAVX2(&dst[0], &x[0], a, n)
	}
	return n
}

func reluVec(dst, x []float32, max float32) int {
	n := vec(len(dst))
	if n > 0 {
		reluAVX2(&dst[0], &x[0], max, n)
	}
	return n
}

func reluBackwardVec(dx, x, dy []float32, max float32) int {
	n := vec(len(dx))
	if n > 0 {
		reluBackwardAVX2(&dx[0], &x[0], &dy[0], max, n)
	}
	return n
}

func leakyVec(dst, x, v []float32, slope float32) int {
	n := vec(len(dst))
	if n > 0 {
		leakyAVX2(&dst[0], &x[0], &v[0], slope, n)
	}
	return n
}

func countsToFloatVec(dst []float32, src []uint8) int {
	n := vec(len(dst))
	if n > 0 {
		countsToFloatAVX2(&dst[0], &src[0], n)
	}
	return n
}

func maxAbsVec(x []float32) (int, uint32) {
	n := vec(len(x))
	if n == 0 {
		return 0, 0
	}
	return n, maxAbsAVX2(&x[0], n)
}

func dotVec(acc *[lanes]float64, a, b []float32) int {
	n := vec(len(a)) &^ (lanes - 1)
	if n > 0 {
		dotAVX2(&acc[0], &a[0], &b[0], n)
	}
	return n
}

func sumVec(acc *[lanes]float64, x []float32) int {
	n := vec(len(x)) &^ (lanes - 1)
	if n > 0 {
		sumAVX2(&acc[0], &x[0], n)
	}
	return n
}

func columnSumsVec(acc []float64, x []float32, c int) int {
	n := vec(c)
	if n > 0 && len(x) > 0 {
		columnSumsAVX2(&acc[0], &x[0], len(x)/c, c, n)
	}
	return n
}
