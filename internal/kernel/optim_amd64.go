//go:build amd64 && !noasm

package kernel

func sgdPlainVec(w, g []float32, rate, decay float32) int {
	n := vec(len(w))
	if n > 0 {
		sgdPlainAVX2(&w[0], &g[0], rate, decay, n)
	}
	return n
}

func sgdVec(w, g, buf []float32, rate, mu, decay float32, nesterov bool) int {
	n := vec(len(w))
	switch {
	case n == 0:
	case nesterov:
		sgdNesterovAVX2(&w[0], &g[0], &buf[0], rate, mu, decay, n)
	default:
		sgdAVX2(&w[0], &g[0], &buf[0], rate, mu, decay, n)
	}
	return n
}

func adamWVec(w, g, m, v []float32, k *adamWScalars) int {
	n := vec(len(w))
	if n > 0 {
		adamWAVX2(&w[0], &g[0], &m[0], &v[0], &k.keep, n)
	}
	return n
}

func emaVec(avg, w []float32, gain float32) int {
	n := vec(len(avg))
	if n > 0 {
		emaAVX2(&avg[0], &w[0], gain, n)
	}
	return n
}
