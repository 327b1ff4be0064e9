package kernel

import "github.com/adafire/adafire/internal/parallel"

// Batch normalisation over arrays of shape [m, c], m = N*H*W. Sums run over
// the rows in order within fixed blocks, in float64; blocks are added in order.

// BatchNormStats sets mean[ch] and variance[ch], the biased variance (divided
// by m), of the m rows of x, c = len(mean). Both come from one pass: sums of
// d = x - x[0,ch] and of d², in float64, which loses nothing that float32 input
// still holds. With no rows both are 0.
func BatchNormStats(p *parallel.Pool, x, mean, variance []float32) {
	c := len(mean)
	same("BatchNormStats", c, len(variance))
	whole("BatchNormStats", len(x), c)
	if len(x) == 0 {
		clear(mean)
		clear(variance)
		return
	}
	m := len(x) / c
	origin := x[:c]
	total := sumBlocks(p, m, c, 2, func(acc []float64, lo, hi int) {
		columnMoments(acc, x[lo*c:hi*c], origin)
	})
	for ch, x0 := range origin {
		d := total[ch] / float64(m)
		mean[ch] = float32(float64(x0) + d)
		variance[ch] = float32(max(0, total[c+ch]/float64(m)-float64(d*d)))
	}
}

// columnMoments adds Σd to acc[:c] and Σd² to acc[c:], d = x[r,ch] - origin[ch].
func columnMoments(acc []float64, x, origin []float32) {
	c := len(origin)
	done := columnMomentsVec(acc, x, origin)
	if done == c {
		return
	}
	for lo := 0; lo < len(x); lo += c {
		for ch := done; ch < c; ch++ {
			d := float64(x[lo+ch]) - float64(origin[ch])
			acc[ch] += d
			acc[c+ch] += float64(d * d)
		}
	}
}

// BatchNormApply sets y[r,ch] = x[r,ch]*scale[ch] + shift[ch], limited to
// [low, high]: -Inf and +Inf for none, 0 and +Inf for a fused ReLU, 0 and 6 for
// ReLU6. y may be x. The product is rounded before the sum; NaN stays NaN.
func BatchNormApply(p *parallel.Pool, y, x, scale, shift []float32, low, high float32) {
	c := len(scale)
	same("BatchNormApply", c, len(shift))
	same("BatchNormApply", len(y), len(x))
	whole("BatchNormApply", len(x), c)
	if c == 0 {
		return
	}
	p.Chunks(len(x)/c, rowBlock(c), func(lo, hi int) {
		affineRows(y[lo*c:hi*c], x[lo*c:hi*c], scale, shift, low, high)
	})
}

func affineRows(y, x, scale, shift []float32, low, high float32) {
	c := len(scale)
	done := affineRowsVec(y, x, scale, shift, low, high)
	if done == c {
		return
	}
	for lo := 0; lo < len(x); lo += c {
		for ch := done; ch < c; ch++ {
			v := float32(x[lo+ch]*scale[ch]) + shift[ch]
			if low > v {
				v = low
			}
			if high < v {
				v = high
			}
			y[lo+ch] = v
		}
	}
}

// BatchNormGrad holds the arrays of one backward pass of batch normalisation
// y = act((x - Mean)*InvStd*weight + bias), for c channels.
type BatchNormGrad struct {
	X      []float32 // [m,c] input of the forward pass
	DY     []float32 // [m,c] gradient at the output
	Y      []float32 // [m,c] output after a fused ReLU; nil if there was none
	Max    float32   // upper limit of the fused ReLU: +Inf or 6; unused if Y is nil
	Mean   []float32 // [c] mean the forward pass subtracted
	InvStd []float32 // [c] 1/sqrt(variance + eps) of the forward pass
	Weight []float32 // [c]; nil for all ones

	DX      []float32 // [m,c] gradient at the input, overwritten; may be DY; nil to skip
	DWeight []float32 // [c] overwritten; nil to skip
	DBias   []float32 // [c] overwritten; nil to skip

	// Frozen says that Mean and InvStd are constants (running statistics), not
	// the statistics of X.
	Frozen bool
}

// BatchNormBackward computes the gradients of g. The gradient behind a fused
// ReLU passes where 0 < Y < Max. With m rows, d = the gradient so masked, and
// xc = X - Mean:
//
//	DBias   = Σ d
//	DWeight = InvStd * Σ d*xc
//	DX      = Weight*InvStd * (d - DBias/m - xc*InvStd*DWeight/m)
//
// and DX = Weight*InvStd*d if Frozen. It costs two passes over X, DY and Y.
func BatchNormBackward(p *parallel.Pool, g *BatchNormGrad) {
	c := len(g.Mean)
	same("BatchNormBackward", c, len(g.InvStd))
	same("BatchNormBackward", len(g.X), len(g.DY))
	whole("BatchNormBackward", len(g.X), c)
	y := g.Y
	if y != nil {
		same("BatchNormBackward", len(g.X), len(y))
	}
	if c == 0 {
		return
	}
	m := len(g.X) / c
	var total []float64
	if !g.Frozen || g.DWeight != nil || g.DBias != nil {
		total = sumBlocks(p, m, c, 2, func(acc []float64, lo, hi int) {
			columnGradSums(acc, g.X[lo*c:hi*c], g.DY[lo*c:hi*c], part(y, lo*c, hi*c), g.Mean, g.Max)
		})
	}
	for ch := range g.DWeight {
		g.DWeight[ch] = float32(float64(g.InvStd[ch]) * total[c+ch])
	}
	for ch := range g.DBias {
		g.DBias[ch] = float32(total[ch])
	}
	if g.DX == nil {
		return
	}
	same("BatchNormBackward", len(g.X), len(g.DX))
	// DX = (d*k0 + xc*k1) + k2 per channel.
	k := make([]float32, 3*c)
	k0, k1, k2 := k[:c], k[c:2*c], k[2*c:]
	for ch, inv := range g.InvStd {
		a := float64(inv)
		if g.Weight != nil {
			a *= float64(g.Weight[ch])
		}
		k0[ch] = float32(a)
		if !g.Frozen {
			k1[ch] = float32(-a * float64(inv) * float64(inv) * total[c+ch] / float64(m))
			k2[ch] = float32(-a * total[ch] / float64(m))
		}
	}
	p.Chunks(m, rowBlock(c), func(lo, hi int) {
		normGradRows(g.DX[lo*c:hi*c], g.X[lo*c:hi*c], g.DY[lo*c:hi*c], part(y, lo*c, hi*c), g.Mean, k, g.Max)
	})
}

// part is x[lo:hi], nil for a nil x.
func part(x []float32, lo, hi int) []float32 {
	if x == nil {
		return nil
	}
	return x[lo:hi]
}

// columnGradSums adds Σd to acc[:c] and Σd*(x-mean) to acc[c:], with d = dy,
// masked by 0 < y < max if y is not nil.
func columnGradSums(acc []float64, x, dy, y, mean []float32, max float32) {
	c := len(mean)
	done := columnGradSumsVec(acc, x, dy, y, mean, max)
	if done == c {
		return
	}
	for lo := 0; lo < len(x); lo += c {
		for ch := done; ch < c; ch++ {
			d := masked(dy, y, lo+ch, max)
			acc[ch] += float64(d)
			acc[c+ch] += float64(float64(d) * float64(x[lo+ch]-mean[ch]))
		}
	}
}

func masked(dy, y []float32, i int, max float32) float32 {
	if y == nil || 0 < y[i] && y[i] < max {
		return dy[i]
	}
	return 0
}

// normGradRows sets dx = (d*k0 + (x-mean)*k1) + k2; k holds k0, k1, k2.
func normGradRows(dx, x, dy, y, mean, k []float32, max float32) {
	c := len(mean)
	done := normGradRowsVec(dx, x, dy, y, mean, k, max)
	if done == c {
		return
	}
	k0, k1, k2 := k[:c], k[c:2*c], k[2*c:]
	for lo := 0; lo < len(x); lo += c {
		for ch := done; ch < c; ch++ {
			d := masked(dy, y, lo+ch, max)
			xc := x[lo+ch] - mean[ch]
			dx[lo+ch] = (float32(d*k0[ch]) + float32(xc*k1[ch])) + k2[ch]
		}
	}
}
