//go:build amd64 && !noasm

package kernel

func blendVec(y, a, b, c, d []float32, k *[4]float32) int {
	n := vec(len(y))
	if n > 0 {
		blendAVX2(&y[0], &a[0], &b[0], &c[0], &d[0], &k[0], n)
	}
	return n
}
