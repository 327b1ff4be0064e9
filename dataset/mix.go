package dataset

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Mix says how samples of a batch are blended with each other, labels alike.
// The partner of sample i is sample n-1-i. The zero value does nothing.
//
// Sources: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019.
type Mix struct {
	// Mixup and CutMix are the parameters alpha of Beta(alpha, alpha), from
	// which the share of the first sample is drawn; 0 is off. If both are on,
	// each is chosen for half of the batches.
	Mixup  float64 `json:"mixup,omitempty"`
	CutMix float64 `json:"cutmix,omitempty"`

	Prob float64 `json:"prob,omitempty"` // probability that a batch is mixed at all; 0 means 1

	// OffEpoch is the first epoch without mixing (labels stay smoothed);
	// 0 means never off.
	OffEpoch int `json:"off_epoch,omitempty"`
}

// Enabled reports whether any batch of any epoch may be mixed.
func (m *Mix) Enabled() bool { return m.Mixup > 0 || m.CutMix > 0 }

// Validate reports fields out of range.
func (m *Mix) Validate() error {
	for _, f := range []struct {
		name  string
		value float64
		limit float64
	}{{"mixup alpha", m.Mixup, 100}, {"cutmix alpha", m.CutMix, 100}, {"probability", m.Prob, 1}} {
		if !(f.value >= 0 && f.value <= f.limit) {
			return fmt.Errorf("mix: %s %g: want 0 to %g", f.name, f.value, f.limit)
		}
	}
	if m.OffEpoch < 0 {
		return fmt.Errorf("mix: off epoch %d: want 0 or more", m.OffEpoch)
	}
	return nil
}

// mixing is what happens to one batch.
type mixing struct {
	lambda         float64 // share of a sample itself in its label; 1 is no mixing
	cut            bool    // paste a rectangle instead of blending
	y0, y1, x0, x1 int     // the rectangle
}

// draw decides what happens to a batch of h x w images.
func (m *Mix) draw(rng *rand.Rand, epoch, h, w int) mixing {
	if !m.Enabled() || m.OffEpoch > 0 && epoch >= m.OffEpoch {
		return mixing{lambda: 1}
	}
	if m.Prob > 0 && rng.Float64() >= m.Prob {
		return mixing{lambda: 1}
	}
	cut := m.Mixup == 0 || m.CutMix > 0 && rng.Uint64()&1 == 1
	if !cut {
		return mixing{lambda: beta(rng, m.Mixup)}
	}
	// A rectangle of area share 1-lambda about a uniform centre; lambda is
	// then what is left after clipping at the border.
	side := math.Sqrt(1 - beta(rng, m.CutMix))
	rh, rw := int(float64(h)*side), int(float64(w)*side)
	cy, cx := rng.IntN(h), rng.IntN(w)
	x := mixing{cut: true,
		y0: max(cy-rh/2, 0), y1: min(cy-rh/2+rh, h),
		x0: max(cx-rw/2, 0), x1: min(cx-rw/2+rw, w)}
	x.lambda = 1 - float64((x.y1-x.y0)*(x.x1-x.x0))/float64(h*w)
	return x
}

// images mixes n images of h*w*c values in place.
func (x mixing) images(data []float32, n, h, w, c int) {
	if x.lambda == 1 {
		return
	}
	size := h * w * c
	keep, give := float32(x.lambda), float32(1-x.lambda)
	for i := range n / 2 {
		a, b := data[i*size:(i+1)*size], data[(n-1-i)*size:(n-i)*size]
		if x.cut {
			for y := x.y0; y < x.y1; y++ {
				ra, rb := a[(y*w+x.x0)*c:(y*w+x.x1)*c], b[(y*w+x.x0)*c:(y*w+x.x1)*c]
				for k, v := range ra {
					ra[k], rb[k] = rb[k], v
				}
			}
			continue
		}
		for k, v := range a {
			a[k] = float32(keep*v) + float32(give*b[k])
			b[k] = float32(keep*b[k]) + float32(give*v)
		}
	}
}

// labels writes n rows of classes probabilities: the smoothed one-hot labels,
// 1-s+s/C on and s/C off, mixed like the images.
func (x mixing) labels(soft []float32, labels []int, classes int, smoothing float64) {
	off := smoothing / float64(classes)
	on := 1 - smoothing + off
	n := len(labels)
	for i := range n {
		row := soft[i*classes : (i+1)*classes]
		for k := range row {
			row[k] = float32(off)
		}
		mine, other := labels[i], labels[n-1-i]
		if mine == other {
			row[mine] = float32(on)
			continue
		}
		row[mine] = float32(x.lambda*on + (1-x.lambda)*off)
		row[other] = float32(x.lambda*off + (1-x.lambda)*on)
	}
}

// beta draws from Beta(a, a) as the share of one of two gamma variates.
func beta(rng *rand.Rand, a float64) float64 {
	// In logarithms: for small a both variates can be too small for a float64,
	// and below 1e-300 their logarithms too.
	a = max(a, 1e-300)
	x, y := logGamma(rng, a), logGamma(rng, a)
	return 1 / (1 + math.Exp(y-x))
}

// logGamma draws the logarithm of a gamma variate of shape a > 0 and scale 1.
// Source: Marsaglia and Tsang, A simple method for generating gamma variables,
// ACM TOMS 26, 2000; their boost by U^(1/a) below a = 1.
func logGamma(rng *rand.Rand, a float64) float64 {
	boost := 0.0
	if a < 1 {
		boost = math.Log(1-rng.Float64()) / a
		a++
	}
	d := a - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return boost + math.Log(d*v)
		}
	}
}
