package convert

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// candidates is the size of the grid of the MSE search.
const candidates = 95

// gridRatios returns the candidates as shares of the maximum, from 1 down to
// 0.06 or, with full, to 0.5/maxSpike if that is smaller (algorithms.md 3.2).
func gridRatios(maxSpike int, full bool) [candidates]float32 {
	var r [candidates]float32
	low := 0.06
	if full {
		low = min(low, 0.5/float64(maxSpike))
	}
	for i := range r {
		if low == 0.06 {
			r[i] = float32(1 - float64(i)/100)
		} else {
			r[i] = float32(1 - (1-low)*float64(i)/(candidates-1))
		}
	}
	return r
}

// A quantiser is what T steps of a burst neuron can represent.
type quantiser struct {
	steps, limit float32 // T and phi
	round        bool
}

// apply returns the mean output for a constant current a >= 0:
//
//	round: theta/T * clamp(floor(T*a/theta + 1/2), 0, phi*T)
//	floor: theta/T * floor(T * clamp(a/theta, 0, phi))
//
// in float32 in the order of the authors' code, so that the maximum itself lands
// exactly on the clipping boundary.
func (q quantiser) apply(a, theta float32) float32 {
	x := a / theta
	if q.round {
		return min(floor32(x*q.steps+0.5), q.limit*q.steps) * theta / q.steps
	}
	return floor32(min(x, q.limit)*q.steps) * theta / q.steps
}

// floor32 is the floor of a value >= 0.
func floor32(x float32) float32 {
	if x >= 1<<23 {
		return x // has no fraction, and may not fit an int32
	}
	return float32(int32(x))
}

// quantile is the linearly interpolated quantile of ascending values and of zeros
// further values that are 0.
func quantile(values []float32, zeros int64, fraction float64) float32 {
	at := fraction * float64(int64(len(values))+zeros-1)
	pick := func(i int64) float64 {
		if i -= zeros; i < 0 || len(values) == 0 {
			return 0
		}
		return float64(values[min(i, int64(len(values)-1))])
	}
	lo := math.Floor(at)
	a, b := pick(int64(lo)), pick(int64(lo)+1)
	if at == lo {
		b = a
	}
	return float32(a + (b-a)*(at-lo))
}

// rule is how thresholds follow from activations.
type rule struct {
	method   string
	fraction float64
	q        quantiser
	ratios   [candidates]float32
	divide   float32 // what max and percentile are divided by
}

func (c *Config) rule(layer int) rule {
	method, fraction, _ := c.method()
	phi := c.maxSpike(layer)
	r := rule{method: method, fraction: fraction, divide: 1,
		q:      quantiser{steps: float32(c.Timesteps), limit: float32(phi), round: c.Objective == ObjectiveRound},
		ratios: gridRatios(phi, c.FullGrid)}
	if c.RangeByBurst {
		r.divide = float32(phi)
	}
	return r
}

// thresholds applies the rule to every channel of one layer. A channel that
// never fires gets 0.
func (r *rule) thresholds(pool *parallel.Pool, a *activations) []float32 {
	return allThresholds(pool, a, []rule{*r})[0]
}

// LayerThresholds finds the thresholds of one layer of neurons, number layer of
// cfg, from its activations act [N, ..., channels] >= 0 on calibration samples:
// what Thresholds does for every layer, on activations that are there. Channels
// that never fire get the median of the others'.
func LayerThresholds(pool *parallel.Pool, act *tensor.Tensor, cfg Config, layer int) ([]float32, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.MaxSpikes) > 0 && (layer < 0 || layer >= len(cfg.MaxSpikes)) {
		return nil, fmt.Errorf("layer %d of %d burst limits", layer, len(cfg.MaxSpikes))
	}
	if err := checkSamples(act); err != nil {
		return nil, err
	}
	shape := graph.Shape(act.Shape[1:])
	if len(shape) == 0 || len(act.Data) == 0 {
		return nil, fmt.Errorf("activations of shape %v, want [N, ..., channels]: %w", act.Shape, tensor.ErrShape)
	}
	a := cfg.newActivations("", shape, act.Shape[0], cfg.maxSpike(layer))
	err := a.addMax(pool, 0, shape, act)
	if err != nil {
		return nil, err
	}
	r := cfg.rule(layer)
	if r.method != "max" {
		a.allocate()
		a.addValues(pool, act)
	}
	theta := r.thresholds(pool, a)
	revive(theta)
	return theta, nil
}

// allThresholds applies rules that differ in the quantiser and in what they
// divide by to one layer: values are put in order once for all of them.
func allThresholds(pool *parallel.Pool, a *activations, rules []rule) [][]float32 {
	theta := make([][]float32, len(rules))
	for i := range theta {
		theta[i] = make([]float32, a.channels)
	}
	memory := make([]searchMemory, pool.Workers())
	pool.ForWorker(a.channels, func(worker, ch int) {
		m := a.max[ch]
		if m < smallestMax {
			return
		}
		switch rules[0].method {
		case "max":
			for i := range rules {
				theta[i][ch] = m / rules[i].divide
			}
		case "percentile":
			q := a.quantile(&memory[worker], ch, rules[0].fraction)
			for i := range rules {
				theta[i][ch] = q / rules[i].divide
			}
		default:
			p := a.points(&memory[worker], ch)
			for i := range rules {
				theta[i][ch] = p.best(rules[i].q, m, &rules[i].ratios)
			}
		}
	})
	return theta
}

// smallestMax is the maximum below which a channel counts as dead
// (algorithms.md 3.3).
const smallestMax = 1e-30

// revive gives dead channels (threshold 0) the median threshold of the live ones,
// or 1 if none is alive, and returns which they were.
func revive(theta []float32) (dead []int) {
	var live []float32
	for ch, t := range theta {
		if t > 0 {
			live = append(live, t)
		} else {
			dead = append(dead, ch)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	median := float32(1)
	if len(live) > 0 {
		slices.Sort(live)
		median = live[len(live)/2]
		if len(live)%2 == 0 {
			median = (live[len(live)/2-1] + live[len(live)/2]) / 2
		}
	}
	for _, ch := range dead {
		theta[ch] = median
	}
	return dead
}
