package convert

import (
	"math"
	"slices"
	"testing"

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
		p := newPoints(values, nil)
		m := values[len(values)-1]
		for _, r := range gridRatios(int(q.limit), true) {
			got, want := p.cost(q, m*r), plainCost(q, values, m*r)
			if math.Abs(got-want) > 1e-12*p.squares[len(values)] {
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
		p := newPoints(values, nil)
		m := values[len(values)-1]
		ratios := gridRatios(int(q.limit), true)
		theta := p.best(q, m, &ratios)
		least := math.Inf(1)
		for _, r := range ratios {
			least = min(least, plainCost(q, values, m*r))
		}
		if e := plainCost(q, values, theta); e > least+1e-11*p.squares[len(values)] {
			t.Fatalf("theta %g has error %g, the smallest is %g", theta, e, least)
		}
	})
}

// Values on the levels of several candidates have no error with any of them:
// the largest candidate wins.
func TestTiesGoToTheLargerThreshold(t *testing.T) {
	q := quantiser{steps: 4, limit: 4, round: true}
	ratios := gridRatios(4, true)
	if theta := newPoints([]float32{1, 1, 1}, nil).best(q, 1, &ratios); theta != 1 {
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
		newPoints(values, nil).best(q, values[len(values)-1], &ratios)
	}
}
