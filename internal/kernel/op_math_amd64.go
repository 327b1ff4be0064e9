//go:build amd64 && !noasm

package kernel

import "math"

func expVec(dst, x []float32) int {
	n := vec(len(dst))
	if n > 0 {
		expAVX2(&dst[0], &x[0], n)
	}
	return n
}

func sigmoidVec(dst, x []float32) int {
	n := vec(len(dst))
	if n > 0 {
		sigmoidAVX2(&dst[0], &x[0], n)
	}
	return n
}

func swishVec(dst, x []float32, alpha float32) int {
	n := vec(len(dst))
	if n > 0 {
		swishAVX2(&dst[0], &x[0], alpha, n)
	}
	return n
}

func geluVec(dst, x []float32) int {
	n := vec(len(dst))
	if n > 0 {
		geluAVX2(&dst[0], &x[0], n)
	}
	return n
}

func erfVec(dst, x []float32) int {
	n := vec(len(dst))
	if n > 0 {
		erfAVX2(&dst[0], &x[0], n)
	}
	return n
}

func tanhVec(dst, x []float32) int {
	n := vec(len(dst))
	if n > 0 {
		tanhAVX2(&dst[0], &x[0], n)
	}
	return n
}

func subtractVec(dst, x []float32, s float32) int {
	n := vec(len(dst))
	if n > 0 {
		subtractAVX2(&dst[0], &x[0], s, n)
	}
	return n
}

func maxValueVec(x []float32) (int, float32) {
	n := vec(len(x))
	if n == 0 {
		return 0, float32(math.Inf(-1))
	}
	m, nan := maxValueAVX2(&x[0], n)
	if nan != 0 {
		return n, float32(math.NaN())
	}
	return n, m
}
