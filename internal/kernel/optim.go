package kernel

import "math"

// Optimiser steps, with the formulas of the PyTorch optimisers of the same
// name. All arithmetic is float32, one rounding per operation; the scalars are
// rounded to float32 once, before the loop.

// SGDStep makes one step of stochastic gradient descent on the weights w:
//
//	d = g + weightDecay*w
//	buf = momentum*buf + d          (if momentum != 0)
//	d = d + momentum*buf            (nesterov)   or   d = buf
//	w = w - lr*d
//
// buf must be zero before the first step and may be nil if momentum is 0.
func SGDStep(w, g, buf []float32, lr, momentum, weightDecay float64, nesterov bool) {
	same("SGDStep", len(w), len(g))
	rate, mu, decay := float32(lr), float32(momentum), float32(weightDecay)
	if momentum == 0 {
		for i := sgdPlainVec(w, g, rate, decay); i < len(w); i++ {
			w[i] -= float32(rate * (g[i] + float32(decay*w[i])))
		}
		return
	}
	same("SGDStep", len(w), len(buf))
	for i := sgdVec(w, g, buf, rate, mu, decay, nesterov); i < len(w); i++ {
		d := g[i] + float32(decay*w[i])
		b := float32(mu*buf[i]) + d
		buf[i] = b
		if nesterov {
			b = d + float32(mu*b)
		}
		w[i] -= float32(rate * b)
	}
}

// AdamWStep makes step number step (1 for the first) of AdamW:
//
//	w = w * (1 - lr*weightDecay)
//	m = m + (1-beta1)*(g-m)
//	v = beta2*v + (1-beta2)*g*g
//	w = w - lr/(1-beta1^step) * m / (sqrt(v)/sqrt(1-beta2^step) + eps)
//
// m and v must be zero before the first step.
func AdamWStep(w, g, m, v []float32, lr, beta1, beta2, eps, weightDecay float64, step int) {
	same("AdamWStep", len(w), len(g), len(m), len(v))
	k := adamWScalars{
		keep:  float32(1 - lr*weightDecay),
		gain1: float32(1 - beta1),
		beta2: float32(beta2),
		gain2: float32(1 - beta2),
		root2: float32(math.Sqrt(1 - math.Pow(beta2, float64(step)))),
		eps:   float32(eps),
		size:  float32(lr / (1 - math.Pow(beta1, float64(step)))),
	}
	for i := adamWVec(w, g, m, v, &k); i < len(w); i++ {
		mi := m[i] + float32(k.gain1*(g[i]-m[i]))
		vi := float32(k.beta2*v[i]) + float32(k.gain2*float32(g[i]*g[i]))
		m[i], v[i] = mi, vi
		root := float32(math.Sqrt(float64(vi))) // one rounding: exact for float32
		denom := root/k.root2 + k.eps
		w[i] = float32(w[i]*k.keep) - float32(k.size*(mi/denom))
	}
}

// adamWScalars are the constants of one AdamW step, in the order in which the
// assembly reads them.
type adamWScalars struct {
	keep, gain1, beta2, gain2, root2, eps, size float32
}

// EMAStep moves the average of the weights: avg = avg + (1-decay)*(w-avg).
func EMAStep(avg, w []float32, decay float64) {
	same("EMAStep", len(avg), len(w))
	gain := float32(1 - decay)
	for i := emaVec(avg, w, gain); i < len(avg); i++ {
		avg[i] += float32(gain * (w[i] - avg[i]))
	}
}
