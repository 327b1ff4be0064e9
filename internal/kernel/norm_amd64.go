//go:build amd64 && !noasm

package kernel

func columnMomentsVec(acc []float64, x, origin []float32) int {
	c := len(origin)
	n := vec(c)
	if n > 0 && len(x) > 0 {
		columnMomentsAVX2(&acc[0], &acc[c], &x[0], &origin[0], len(x)/c, c, n)
	}
	return n
}

func affineRowsVec(y, x, scale, shift []float32, low, high float32) int {
	c := len(scale)
	n := vec(c)
	if n > 0 && len(x) > 0 {
		affineRowsAVX2(&y[0], &x[0], &scale[0], &shift[0], low, high, len(x)/c, c, n)
	}
	return n
}

func columnGradSumsVec(acc []float64, x, dy, y, mean []float32, max float32) int {
	c := len(mean)
	n := vec(c)
	switch {
	case n == 0 || len(x) == 0:
	case y == nil:
		columnGradSumsAVX2(&acc[0], &acc[c], &x[0], &dy[0], &mean[0], len(x)/c, c, n)
	default:
		columnGradSumsMaskedAVX2(&acc[0], &acc[c], &x[0], &dy[0], &y[0], &mean[0], max, len(x)/c, c, n)
	}
	return n
}

func normGradRowsVec(dx, x, dy, y, mean, k []float32, max float32) int {
	c := len(mean)
	n := vec(c)
	switch {
	case n == 0 || len(x) == 0:
	case y == nil:
		normGradRowsAVX2(&dx[0], &x[0], &dy[0], &mean[0], &k[0], len(x)/c, c, n)
	default:
		normGradRowsMaskedAVX2(&dx[0], &x[0], &dy[0], &y[0], &mean[0], &k[0], max, len(x)/c, c, n)
	}
	return n
}
