package convert

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/tensor"
	"pgregory.net/rapid"
)

// cost is the objective of algorithms.md 3.2 in float64, as written there.
func cost(values []float32, theta, steps, phi float64, round bool) float64 {
	sum := 0.0
	for _, a := range values {
		x := float64(a) / theta
		var q float64
		if round {
			q = min(math.Floor(steps*x+0.5), phi*steps)
		} else {
			q = math.Floor(steps * min(x, phi))
		}
		d := float64(a) - theta/steps*q
		sum += d * d
	}
	return sum
}

// drawActivations makes rectified values with a tail, as [n, channels].
func drawActivations(t *rapid.T, n, channels int) *tensor.Tensor {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	scale := math.Exp(rapid.Float64Range(-8, 8).Draw(t, "log scale"))
	power := rapid.Float64Range(0.5, 3).Draw(t, "tail")
	y := tensor.New(n, channels)
	for i := range y.Data {
		if v := rng.NormFloat64(); v > 0 {
			y.Data[i] = float32(scale * math.Pow(v, power))
		}
	}
	return y
}

func drawRule(t *rapid.T) (Config, rule) {
	cfg := Default()
	cfg.Timesteps = rapid.SampledFrom([]int{1, 2, 4, 8, 16}).Draw(t, "timesteps")
	cfg.MaxSpike = rapid.SampledFrom([]int{1, 2, 4, 8, 16}).Draw(t, "maxspike")
	cfg.Objective = rapid.SampledFrom([]string{ObjectiveRound, ObjectiveFloor}).Draw(t, "objective")
	cfg.FullGrid = rapid.Bool().Draw(t, "full grid")
	return cfg, cfg.rule(0)
}

// TestSearchFindsTheSmallestCost over the grid, against the formula in float64.
func TestSearchFindsTheSmallestCost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, r := drawRule(t)
		y := drawActivations(t, 300, 2)
		a := gatherValues(t, y, 2, false)
		for ch, theta := range r.thresholds(nil, a) {
			m := float64(a.max[ch])
			if m == 0 {
				continue
			}
			low := 0.06
			if cfg.FullGrid {
				low = min(low, 0.5/float64(cfg.MaxSpike))
			}
			best := math.Inf(1)
			var at float64
			for i := range 95 {
				c := m * (1 - (1-low)*float64(i)/94)
				if e := cost(a.values[ch], c, float64(cfg.Timesteps), float64(cfg.MaxSpike), cfg.Objective == ObjectiveRound); e < best {
					best, at = e, c
				}
			}
			got := cost(a.values[ch], float64(theta), float64(cfg.Timesteps), float64(cfg.MaxSpike), cfg.Objective == ObjectiveRound)
			// In float32 a value may fall on the other side of a level.
			step := m * (1 - low) / 94
			if got > best*(1+1e-3)+1e-9*m*m && math.Abs(float64(theta)-at) > 1.01*step {
				t.Fatalf("channel %d: threshold %g of maximum %g costs %g, %g costs %g", ch, theta, m, got, at, best)
			}
		}
	})
}

// TestHistogramAgreesWithValues: one step of the grid apart at most, unless the
// objective hardly tells the two apart.
func TestHistogramAgreesWithValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, r := drawRule(t)
		y := drawActivations(t, 2000, 2)
		exact, binned := gatherValues(t, y, 2, false), gatherValues(t, y, 2, true)
		want, got := r.thresholds(nil, exact), r.thresholds(nil, binned)
		for ch := range want {
			m := float64(exact.max[ch])
			step := m * float64(r.ratios[0]-r.ratios[1])
			if math.Abs(float64(got[ch]-want[ch])) <= 1.01*step {
				continue
			}
			round := cfg.Objective == ObjectiveRound
			a := cost(exact.values[ch], float64(want[ch]), float64(cfg.Timesteps), float64(cfg.MaxSpike), round)
			b := cost(exact.values[ch], float64(got[ch]), float64(cfg.Timesteps), float64(cfg.MaxSpike), round)
			if b > 1.02*a {
				t.Fatalf("channel %d: the histogram finds %g (cost %g), all values %g (cost %g)", ch, got[ch], b, want[ch], a)
			}
		}
	})
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func gatherValues(t fataler, y *tensor.Tensor, channels int, histogram bool) *activations {
	t.Helper()
	a := &activations{channels: channels, total: int64(y.Len() / channels), max: make([]float32, channels)}
	if histogram {
		a.count, a.sum = make([]uint32, channels*binCount), make([]float64, channels*binCount)
	} else {
		a.values = make([][]float32, channels)
	}
	if err := a.addMax(nil, 0, y.Shape[1:], y); err != nil {
		t.Fatal(err)
	}
	a.addValues(nil, y)
	return a
}

func TestEqualCostsGoToTheLargerThreshold(t *testing.T) {
	// A single value is met exactly by itself as the threshold, by its half with
	// two spikes, by its quarter with four: the largest wins.
	for _, objective := range []string{ObjectiveRound, ObjectiveFloor} {
		cfg := Default()
		cfg.Timesteps, cfg.MaxSpike, cfg.Objective = 1, 4, objective
		r := cfg.rule(0)
		for _, histogram := range []bool{false, true} {
			y := &tensor.Tensor{Shape: []int{3, 1}, Data: []float32{2, 0, 2}}
			if theta := r.thresholds(nil, gatherValues(t, y, 1, histogram)); theta[0] != 2 {
				t.Errorf("%s, histogram %v: got %g, want 2", objective, histogram, theta[0])
			}
		}
	}
	// Two values, one twice the other: both 1 and 2 spikes of the smaller.
	cfg := Default()
	cfg.Timesteps, cfg.MaxSpike = 1, 2
	r := cfg.rule(0)
	y := &tensor.Tensor{Shape: []int{2, 1}, Data: []float32{1, 2}}
	if theta := r.thresholds(nil, gatherValues(t, y, 1, false)); theta[0] != 1 {
		t.Errorf("got %g, want 1: values 1 and 2 are met exactly", theta[0])
	}
}

func TestGrid(t *testing.T) {
	for _, c := range []struct {
		maxSpike int
		full     bool
		last     float64
	}{{1, true, 0.06}, {8, true, 0.06}, {9, true, 0.5 / 9}, {16, true, 0.5 / 16}, {255, true, 0.5 / 255}, {16, false, 0.06}, {255, false, 0.06}} {
		r := gridRatios(c.maxSpike, c.full)
		if r[0] != 1 || math.Abs(float64(r[94])-c.last) > 1e-7 {
			t.Errorf("maxspike %d, full %v: from %g to %g, want 1 to %g", c.maxSpike, c.full, r[0], r[94], c.last)
		}
		if !slices.IsSortedFunc(r[:], func(a, b float32) int { return int(math.Copysign(1, float64(b-a))) }) {
			t.Errorf("maxspike %d: the grid does not fall", c.maxSpike)
		}
		if c.last == 0.06 && r[37] != float32(1-0.37) {
			t.Errorf("maxspike %d: candidate 37 is %g, want 0.63", c.maxSpike, r[37])
		}
	}
	// Uniform values up to 1 with 64 spikes in one step want a threshold of
	// about 1/64, far below 0.06.
	cfg := Default()
	cfg.Timesteps, cfg.MaxSpike = 1, 64
	y := tensor.New(1000, 1)
	for i := range y.Data {
		y.Data[i] = float32(i+1) / 1000
	}
	r := cfg.rule(0)
	if theta := r.thresholds(nil, gatherValues(t, y, 1, false))[0]; theta > 0.03 {
		t.Errorf("got threshold %g, want about 1/64", theta)
	}
	cfg.FullGrid = false
	r = cfg.rule(0)
	if theta := r.thresholds(nil, gatherValues(t, y, 1, false))[0]; theta < 0.06-1e-6 {
		t.Errorf("got threshold %g below the short grid", theta)
	}
}

// TestQuantile against the definition: sorted values, linear in between.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		y := drawActivations(t, rapid.IntRange(1, 400).Draw(t, "n"), 1)
		p := rapid.SampledFrom([]float64{1, 25, 50, 75, 99, 99.9, 100}).Draw(t, "p")
		sorted := slices.Sorted(slices.Values(y.Data))
		at := p / 100 * float64(len(sorted)-1)
		lo := int(at)
		hi := min(lo+1, len(sorted)-1)
		want := float64(sorted[lo]) + (at-float64(lo))*float64(sorted[hi]-sorted[lo])
		m := float64(sorted[len(sorted)-1])
		exact, binned := gatherValues(t, y, 1, false), gatherValues(t, y, 1, true)
		if got := float64(exact.quantile(new(searchMemory), 0, p/100)); math.Abs(got-want) > 1e-6*m {
			t.Fatalf("got %g, want %g", got, want)
		}
		if got := float64(binned.quantile(new(searchMemory), 0, p/100)); math.Abs(got-want) > 1.01*m/binCount {
			t.Fatalf("histogram: got %g, want %g within 1/%d of %g", got, want, binCount, m)
		}
		cfg := Default()
		cfg.MaxSpike, cfg.Threshold = 4, fmt.Sprintf("percentile:%g", p)
		r := cfg.rule(0)
		if got := float64(r.thresholds(nil, exact)[0]); math.Abs(got-want/4) > 1e-6*m {
			t.Fatalf("threshold %g, want %g / 4", got, want)
		}
		cfg.RangeByBurst = false
		r = cfg.rule(0)
		if got := float64(r.thresholds(nil, exact)[0]); math.Abs(got-want) > 1e-6*m {
			t.Fatalf("threshold %g, want %g", got, want)
		}
	})
}

func TestMaxThreshold(t *testing.T) {
	cfg := Default()
	cfg.Threshold, cfg.MaxSpike = "max", 4
	y := &tensor.Tensor{Shape: []int{2, 3}, Data: []float32{1, 0, 8, 3, 0, 2}}
	r := cfg.rule(0)
	if got := r.thresholds(nil, gatherValues(t, y, 3, false)); !slices.Equal(got, []float32{0.75, 0, 2}) {
		t.Errorf("got %v, want 0.75 0 2", got)
	}
	if got := r.thresholds(nil, gatherValues(t, y, 1, false)); !slices.Equal(got, []float32{2}) {
		t.Errorf("layer-wise: got %v, want 2", got)
	}
	cfg.RangeByBurst = false
	r = cfg.rule(0)
	if got := r.thresholds(nil, gatherValues(t, y, 3, false)); !slices.Equal(got, []float32{3, 0, 8}) {
		t.Errorf("not by burst: got %v, want 3 0 8", got)
	}
}

func TestDeadChannels(t *testing.T) {
	for _, c := range []struct {
		theta, want []float32
		dead        []int
	}{
		{[]float32{1, 2}, []float32{1, 2}, nil},
		{[]float32{3, 0, 1, 2}, []float32{3, 2, 1, 2}, []int{1}},
		{[]float32{0, 4, 0, 1, 2, 3}, []float32{2.5, 4, 2.5, 1, 2, 3}, []int{0, 2}},
		{[]float32{0, 0}, []float32{1, 1}, []int{0, 1}},
		{[]float32{0}, []float32{1}, []int{0}},
	} {
		theta := slices.Clone(c.theta)
		if dead := revive(theta); !slices.Equal(dead, c.dead) || !slices.Equal(theta, c.want) {
			t.Errorf("%v: got %v, dead %v, want %v, dead %v", c.theta, theta, dead, c.want, c.dead)
		}
	}
	// A maximum below 1e-30 counts as dead, one above does not.
	cfg := Default()
	r := cfg.rule(0)
	y := &tensor.Tensor{Shape: []int{1, 3}, Data: []float32{1e-31, 1e-29, 1e-42}}
	for _, histogram := range []bool{false, true} {
		if got := r.thresholds(nil, gatherValues(t, y, 3, histogram)); got[0] != 0 || got[1] == 0 || got[2] != 0 {
			t.Errorf("histogram %v: got %v, want only the middle one alive", histogram, got)
		}
	}
}

func TestSmooth(t *testing.T) {
	if got := smooth([]float32{1, 2}, []float32{2, 1}, 0.9); math.Abs(float64(got[0])-1.1) > 1e-6 || math.Abs(float64(got[1])-1.9) > 1e-6 {
		t.Errorf("got %v, want 1.1 1.9", got)
	}
	if got := smooth([]float32{1, 2}, []float32{2, 1}, 0); !slices.Equal(got, []float32{2, 2}) {
		t.Errorf("got %v, want the maxima 2 2", got)
	}
}

// TestLayerThresholds: the thresholds of a layer's activations are those that
// the conversion of a network finds for it.
func TestLayerThresholds(t *testing.T) {
	g, err := models.Build(models.Config{Arch: "vgg-small", Input: graph.Shape{8, 8, 1}, Classes: 3, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if g, err = Prepare(g); err != nil {
		t.Fatal(err)
	}
	x := tensor.New(1100, 8, 8, 1) // the first layer's get histograms
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range x.Data {
		x.Data[i] = rng.Float32()
	}
	want, err := Thresholds(t.Context(), nil, g, x, Default())
	if err != nil {
		t.Fatal(err)
	}
	o, err := newObserver(g, nil, x)
	if err != nil {
		t.Fatal(err)
	}
	for l, layer := range want.Config.Layers {
		all := tensor.New(append([]int{x.Shape[0]}, o.nodes[l].Shape...)...)
		size := o.nodes[l].Shape.Numel()
		if err := o.each(t.Context(), func(k int) bool { return k == l }, func(_, first int, y *tensor.Tensor) error {
			copy(all.Data[first*size:], y.Data)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		got, err := LayerThresholds(nil, all, Default(), l)
		if err != nil || !slices.Equal(got, layer.Threshold) {
			t.Errorf("layer %s: got %v, %v, want %v", layer.Node, got, err, layer.Threshold)
		}
	}
	if _, err := LayerThresholds(nil, tensor.New(3), Default(), 0); err == nil {
		t.Error("activations without channels were taken")
	}
}
