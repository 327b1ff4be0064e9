package convert

import (
	"math"
	"slices"
)

// Exits with a stated risk. The statement: with probability 1 - delta over the
// draw of the calibration samples, at most a share risk of the inputs gets an
// answer at its exit that differs from its answer after all T timesteps. It
// holds if calibration samples and later inputs are independent draws from the
// same source, for any network and score, and however well or badly the model
// below fits. It is not about the labels.
//
// How (Learn then Test, Angelopoulos et al. 2021, fixed sequence testing):
//
//  1. Every third sample is used to learn: for each t < T a logistic model of the
//     chance that the answer will still change, from the doubt after t timesteps.
//     From the models follows a list of limits, of which each lets more samples
//     leave than the one before.
//  2. The other samples, n of them, test the list from its careful end: limits
//     with which k answers differ pass if P(Binomial(n, risk) <= k) <= delta,
//     that is, if the Clopper-Pearson upper bound of k out of n at level 1 - delta
//     is at most risk. The first limits that do not pass end the list; the last
//     that did are taken.
//
// The list does not depend on the samples that test it. If limits in it have a
// higher risk than stated, the first such in the list must pass for any of them
// to be taken, which happens with a chance of at most delta; so there is no
// correction for their number. Without a single differing answer the test needs
// n >= ln(delta)/ln(1-risk) samples, 598 for a risk of 0.5 % and a delta of 5 %;
// with fewer, samples never leave early.

// learnEvery is the share of the samples, 1/learnEvery, that learn the list.
const learnEvery = 3

// target finds the limits of a policy with a stated risk.
func (c *Course) target(p *ExitPolicy) {
	learn := c.part(func(i int) bool { return i%learnEvery == 0 })
	test := c.part(func(i int) bool { return i%learnEvery != 0 })
	n := test.Samples()
	p.Limits = make([]float64, c.Timesteps)
	p.Samples, p.Agreement, p.MeanExit = n, 1, float64(c.Timesteps)
	for _, limits := range learn.limitLists() {
		o := test.Apply(limits)
		if binomialCDF(o.Differ, n, p.Risk) > p.Delta {
			break
		}
		p.Limits, p.Agreement, p.MeanExit = limits, o.Agreement, o.MeanExit
		p.Bound = 0
		if o.MeanExit < float64(c.Timesteps) {
			p.Bound = upperBound(o.Differ, n, p.Delta)
		}
	}
}

// limitLists returns limits for t = 1..T, from careful to bold.
func (c *Course) limitLists() [][]float64 {
	models := c.changeModels()
	var lists [][]float64
	for k := range 61 { // a chance of change from 2^-16 to 1/2, 4 to the octave
		chance := math.Exp2(float64(k)/4 - 16)
		limits := make([]float64, c.Timesteps)
		for t, m := range models {
			limits[t] = m.limit(chance)
		}
		if len(lists) == 0 || !slices.Equal(limits, lists[len(lists)-1]) {
			lists = append(lists, limits)
		}
	}
	return lists
}

// A changeModel is the chance that an answer still changes:
// 1/(1 + exp(-(a + b*u))), where u = (certainty - mean)/deviation and certainty is
// -ln(1 - score).
type changeModel struct{ a, b, mean, deviation float64 }

// certainty is the scale on which the logit of a change is about linear: for
// two classes it is the difference of the logits.
func certainty(doubt float64) float64 { return -math.Log(max(doubt, 1e-300)) }

// changeModels fits the models for 1..T-1 timesteps. Late timesteps see few
// changes or none; the slope of those that see more is where theirs start from.
// On 1,000 calibration digits, T = 8, a risk of 0.5 %, that brings the mean exit
// from 3.3 to 1.8.
func (c *Course) changeModels() []changeModel {
	models := make([]changeModel, c.Timesteps-1)
	var slope, changes float64
	for t := range models {
		var k float64
		models[t], k = c.fit(t, 0)
		slope, changes = slope+k*models[t].b, changes+k
	}
	if changes > 0 {
		for t := range models {
			models[t], _ = c.fit(t, slope/changes)
		}
	}
	return models
}

// fit finds the model for t+1 timesteps and counts the answers that change
// later: maximum likelihood with a normal prior of deviation 1 around the given
// b, which keeps it finite when changes and others separate, and half a sample
// of either kind, which keeps a from infinity when nothing changes.
func (c *Course) fit(t int, prior float64) (m changeModel, changes float64) {
	n, steps := c.Samples(), c.Timesteps
	m = changeModel{b: prior, deviation: 1}
	if n == 0 {
		return m, 0
	}
	u, changed := make([]float64, n), make([]float64, n)
	for i := range u {
		u[i] = certainty(c.Doubt[i*steps+t])
		m.mean += u[i] / float64(n)
		if c.Prediction[i*steps+t] != c.Prediction[i*steps+steps-1] {
			changed[i] = 1
			changes++
		}
	}
	var variance float64
	for _, v := range u {
		variance += (v - m.mean) * (v - m.mean) / float64(n)
	}
	if variance > 0 {
		m.deviation = math.Sqrt(variance)
	}
	for i := range u {
		u[i] = (u[i] - m.mean) / m.deviation
	}
	for range 50 { // Newton's method; the likelihood is concave
		p := m.at(0)
		ga, gb := 0.5-p, prior-m.b
		haa, hab, hbb := p*(1-p), 0.0, 1.0
		for i, v := range u {
			p := m.at(v)
			w := p * (1 - p)
			ga += changed[i] - p
			gb += (changed[i] - p) * v
			haa += w
			hab += w * v
			hbb += w * v * v
		}
		det := haa*hbb - hab*hab
		if !(det > 0) {
			break
		}
		da, db := (hbb*ga-hab*gb)/det, (haa*gb-hab*ga)/det
		if size := max(math.Abs(da), math.Abs(db)); size > 2 { // far away the quadratic model overshoots
			da, db = da*2/size, db*2/size
		}
		m.a, m.b = m.a+da, m.b+db
		if math.Abs(da)+math.Abs(db) < 1e-9 {
			break
		}
	}
	return m, changes
}

func (m changeModel) at(u float64) float64 { return 1 / (1 + math.Exp(-(m.a + m.b*u))) }

// limit returns the limit of the doubt below which the chance of a change is
// less than the given one.
func (m changeModel) limit(chance float64) float64 {
	if chance <= 0 {
		return 0
	}
	logit := math.Log(chance / (1 - chance))
	if m.b > -1e-6 { // certainty says nothing: all or none
		if m.a < logit {
			return 2
		}
		return 0
	}
	u := (logit - m.a) / m.b
	return min(2, math.Exp(-(u*m.deviation + m.mean)))
}

// binomialCDF is the chance of at most k successes in n trials with chance p.
func binomialCDF(k, n int, p float64) float64 {
	switch {
	case k >= n:
		return 1
	case p <= 0:
		return 1
	case p >= 1:
		return 0
	}
	whole, _ := math.Lgamma(float64(n + 1))
	sum := 0.0
	for j := range k + 1 {
		a, _ := math.Lgamma(float64(j + 1))
		b, _ := math.Lgamma(float64(n - j + 1))
		sum += math.Exp(whole - a - b + float64(j)*math.Log(p) + float64(n-j)*math.Log1p(-p))
	}
	return min(1, sum)
}

// upperBound is the Clopper-Pearson upper bound, at level 1 - delta, of the
// chance that gave k successes in n trials: the p with P(Binomial(n, p) <= k) =
// delta.
func upperBound(k, n int, delta float64) float64 {
	if k >= n {
		return 1
	}
	lo, hi := 0.0, 1.0
	for range 60 {
		if mid := (lo + hi) / 2; binomialCDF(k, n, mid) > delta {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
