package convert

import (
	"math"
	"slices"
	"testing"

	"github.com/adafire/adafire/internal/random"
	"pgregory.net/rapid"
)

// plainCost looks at every value: the definition of the error.
func plainCost(q quantiser, values []float32, theta float32) float64 {
	var sum float64
	for _, a := range values {
		d := float64(a) - float64(q.apply(a, theta))
		sum += d * d
	}
	return sum
}

func TestCostEqualsThePlainSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float32Range(1e-3, 10), 1, 200).Draw(t, "values")
		slices.Sort(values)
		q := quantiser{steps: float32(rapid.IntRange(1, 40).Draw(t, "T")), limit: float32(rapid.IntRange(1, 20).Draw(t, "phi")), round: rapid.Bool().Draw(t, "round")}
		p := new(searchMemory).newPoints(values, nil)
		m := values[len(values)-1]
		for _, r := range gridRatios(int(q.limit), true) {
			got, want := p.cost(q, m*r), plainCost(q, values, m*r)
			if math.Abs(got-want) > 1e-12*p.moments[len(values)].squares {
				t.Fatalf("theta %g: got %g, want %g", m*r, got, want)
			}
		}
	})
}

func TestBestIsTheSmallestError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float32Range(1e-3, 10), 1, 200).Draw(t, "values")
		slices.Sort(values)
		q := quantiser{steps: 4, limit: float32(rapid.IntRange(1, 8).Draw(t, "phi")), round: true}
		p := new(searchMemory).newPoints(values, nil)
		m := values[len(values)-1]
		ratios := gridRatios(int(q.limit), true)
		theta := p.best(q, m, &ratios)
		least := math.Inf(1)
		for _, r := range ratios {
			least = min(least, plainCost(q, values, m*r))
		}
		if e := plainCost(q, values, theta); e > least+1e-11*p.moments[len(values)].squares {
			t.Fatalf("theta %g has error %g, the smallest is %g", theta, e, least)
		}
	})
}

// Values on the levels of several candidates have no error with any of them:
// the largest candidate wins.
func TestTiesGoToTheLargerThreshold(t *testing.T) {
	q := quantiser{steps: 4, limit: 4, round: true}
	ratios := gridRatios(4, true)
	if theta := new(searchMemory).newPoints([]float32{1, 1, 1}, nil).best(q, 1, &ratios); theta != 1 {
		t.Errorf("theta %g, want 1", theta)
	}
}

func BenchmarkSearch(b *testing.B) {
	values := make([]float32, 65536)
	for i := range values {
		values[i] = float32(i+1) / 6553.6
	}
	q := quantiser{steps: 8, limit: 4, round: true}
	ratios := gridRatios(4, true)
	for b.Loop() {
		new(searchMemory).newPoints(values, nil).best(q, values[len(values)-1], &ratios)
	}
}

// TestSortPositive against comparisons: few and many values, equal ones, and
// values that share some digits of their bits.
func TestSortPositive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 2, 1000, 1023, 1024, 1025, 5000}).Draw(t, "n")
		rng := random.New(rapid.Uint64().Draw(t, "seed"), "sort")
		low, high := rapid.Uint32Range(1, infinity-1).Draw(t, "low"), rapid.Uint32Range(1, infinity-1).Draw(t, "high")
		low, high = min(low, high), max(low, high)
		mask := rapid.SampledFrom([]uint32{^uint32(0), 0xff800000, 0xfff00000, 3}).Draw(t, "mask")
		values := make([]float32, n)
		for i := range values {
			values[i] = math.Float32frombits(max(1, (low+uint32(rng.IntN(int(high-low)+1)))&mask))
		}
		want := slices.Clone(values)
		slices.Sort(want)
		sortPositive(values, make([]float32, n))
		if !slices.Equal(values, want) {
			t.Fatalf("%d values from %x to %x out of order", n, low, high)
		}
	})
}

// TestCostOfManyValues: the steps of the staircase are found where float32
// arithmetic puts them, also where many values stand within rounding of one.
func TestCostOfManyValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := quantiser{steps: float32(rapid.IntRange(1, 64).Draw(t, "T")), limit: float32(rapid.IntRange(1, 16).Draw(t, "phi")), round: rapid.Bool().Draw(t, "round")}
		rng := random.New(rapid.Uint64().Draw(t, "seed"), "values")
		m := float32(math.Exp(rapid.Float64Range(-60, 80).Draw(t, "log maximum")))
		ratios := gridRatios(int(q.limit), true)
		values := []float32{m}
		for len(values) < 3000 {
			v := m * rng.Float32()
			if rng.IntN(2) == 0 { // next to a step of some candidate
				theta := m * ratios[rng.IntN(candidates)]
				v = min(m, (float32(rng.IntN(int(q.steps*q.limit)))+0.5*float32(rng.IntN(2)))*theta/q.steps)
				v = math.Float32frombits(math.Float32bits(v) + uint32(rng.IntN(9)) - 4)
			}
			if v > 0 && v <= m {
				values = append(values, v)
			}
		}
		slices.Sort(values)
		p := new(searchMemory).newPoints(values, nil)
		for _, r := range ratios {
			got, want := p.cost(q, m*r), p.costBySteps(q, m*r)
			if got != want {
				t.Fatalf("theta %g: got %g, want %g", m*r, got, want)
			}
		}
	})
}
