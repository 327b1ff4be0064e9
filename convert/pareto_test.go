package convert

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/golden"
	"pgregory.net/rapid"
)

// transpose turns [candidate][layer] into [layer][candidate].
func transpose(v [][]float64) [][]float64 {
	out := make([][]float64, len(v[0]))
	for _, row := range v {
		for l, x := range row {
			out[l] = append(out[l], x)
		}
	}
	return out
}

func pick(candidates []float64, index []int) []float64 {
	var out []float64
	for _, k := range index {
		out = append(out, candidates[k])
	}
	return out
}

func TestGoldenFrontier(t *testing.T) {
	for _, c := range golden.Cases(t, "frontier") {
		t.Run(c.Name, func(t *testing.T) {
			var candidates []float64
			var exact [][]float64
			c.Params.Decode(t, "candidates", &candidates)
			c.All.Decode(t, "sensitivity_exact", &exact)
			sensitivity := transpose(exact)
			a := c.Array(t, "energy")
			energy := make([][]float64, len(sensitivity))
			for l := range energy {
				for k := range candidates {
					energy[l] = append(energy[l], float64(a.Data[k*len(energy)+l]))
				}
			}
			loss, cost := sensitivity, energy
			base, ratio := 0, 0.0
			if c.Params.Text(t, "method") == "ssc" {
				loss, cost = energy, sensitivity
				ratio = c.Params.Float(t, "threshold_ratio")
			} else {
				base = slices.Index(candidates, c.Params.Float(t, "desired_maxspike"))
				ratio = c.Params.Float(t, "maxspike_ratio")
			}
			budget := budgetOf(cost, base, ratio)
			c.CompareFloats(t, "budget", budget)
			got, err := Choose(loss, cost, budget)
			if err != nil {
				t.Fatal(err)
			}
			c.CompareFloats(t, "expected_optimal", pick(candidates, got.Index)...)
			s, e := got.Loss, got.Cost
			if c.Params.Text(t, "method") == "ssc" {
				s, e = e, s
			}
			c.CompareFloats(t, "optimal_sensitivity", s)
			c.CompareFloats(t, "optimal_energy", e)
		})
	}
}

func TestGoldenFrontierEdges(t *testing.T) {
	for _, c := range golden.Cases(t, "frontier_edges") {
		for _, row := range c.Rows {
			t.Run(row.Text(t, "name"), func(t *testing.T) {
				var candidates []float64
				var sensitivity, energy [][]float64
				row.Decode(t, "candidates", &candidates)
				row.Decode(t, "sensitivity", &sensitivity)
				row.Decode(t, "energy", &energy)
				got, err := Choose(transpose(sensitivity), transpose(energy), row.Float(t, "budget"))
				if !row.Bool(t, "feasible") {
					var infeasible *InfeasibleError
					if !errors.As(err, &infeasible) || infeasible.Least != 171 || infeasible.Budget != 170 {
						t.Fatalf("got %v, %v, want an error with the least cost 171", got, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				var want []float64
				row.Decode(t, "expected_optimal", &want)
				if !slices.Equal(pick(candidates, got.Index), want) {
					t.Errorf("got %v, want %v", pick(candidates, got.Index), want)
				}
				if got.Loss != row.Float(t, "optimal_sensitivity") || got.Cost != row.Float(t, "optimal_energy") {
					t.Errorf("got loss %g, cost %g", got.Loss, got.Cost)
				}
			})
		}
	}
}

// bruteForce tries every choice, in lexicographic order.
func bruteForce(loss, cost [][]float64, budget float64) *Choice {
	limit := budget + budgetSlack*math.Abs(budget)
	var best *Choice
	index := make([]int, len(cost))
	for {
		var c, s float64
		for l, k := range index {
			c += cost[l][k]
			s += loss[l][k]
		}
		if c <= limit && (best == nil || s < best.Loss || (s == best.Loss && c < best.Cost)) {
			best = &Choice{Index: slices.Clone(index), Loss: s, Cost: c}
		}
		l := len(index) - 1
		for ; l >= 0; l-- {
			if index[l]++; index[l] < len(cost[l]) {
				break
			}
			index[l] = 0
		}
		if l < 0 {
			return best
		}
	}
}

// drawTables makes tables of one of several characters: random numbers, small
// integers with many ties, monotone ones; negative values in either or none.
func drawTables(rng *rand.Rand) (loss, cost [][]float64, budget float64) {
	layers := 1 + rng.IntN(5)
	integers, monotone, negative := rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(4)
	number := func(below bool) float64 {
		v := rng.Float64()
		if integers {
			v = float64(rng.IntN(6))
		}
		if below {
			v -= 2.5 * rng.Float64()
			if integers {
				v = math.Round(v)
			}
		}
		return v
	}
	least, most := 0.0, 0.0
	for range layers {
		k := 1 + rng.IntN(5)
		s, e := make([]float64, k), make([]float64, k)
		for i := range k {
			s[i], e[i] = number(negative&1 != 0), number(negative&2 != 0)
		}
		if monotone {
			slices.Sort(e)
			slices.Sort(s)
			slices.Reverse(s)
		}
		loss, cost = append(loss, s), append(cost, e)
		least, most = least+slices.Min(e), most+slices.Max(e)
	}
	budget = least + (most-least)*(1.2*rng.Float64()-0.1)
	if integers {
		budget = math.Round(budget)
	}
	return loss, cost, budget
}

// TestChooseEqualsBruteForce on thousands of instances: the same choice, or
// infeasible in both.
func TestChooseEqualsBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	feasible, negative, ties := 0, 0, 0
	for i := range 6000 {
		loss, cost, budget := drawTables(rng)
		want := bruteForce(loss, cost, budget)
		got, err := Choose(loss, cost, budget)
		var infeasible *InfeasibleError
		switch {
		case want == nil:
			if !errors.As(err, &infeasible) || infeasible.Budget != budget || !(infeasible.Least > budget) {
				t.Fatalf("instance %d: got %v, %v, want infeasible", i, got, err)
			}
			continue
		case err != nil:
			t.Fatalf("instance %d: %v, want %v", i, err, want.Index)
		case !slices.Equal(got.Index, want.Index) || got.Loss != want.Loss || got.Cost != want.Cost || got.Approximate:
			t.Fatalf("instance %d: got %+v, want %+v\nloss %v\ncost %v\nbudget %v", i, got, want, loss, cost, budget)
		}
		feasible++
		for l := range cost {
			if slices.Min(cost[l]) < 0 {
				negative++
				break
			}
		}
		if want.Loss == math.Trunc(want.Loss) {
			ties++
		}
	}
	if feasible < 4000 || negative < 1000 || ties < 1000 {
		t.Errorf("%d feasible instances, %d with negative costs, %d of integers: too few to mean something", feasible, negative, ties)
	}
}

func TestChooseProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		loss, cost, budget := drawTables(rng)
		got, err := Choose(loss, cost, budget)
		if err != nil {
			return
		}
		more, err := Choose(loss, cost, budget+rng.Float64())
		if err != nil || more.Loss > got.Loss {
			t.Fatalf("a larger budget gives %+v, %v, the smaller gave %+v", more, err, got)
		}
		// A thinned frontier stays within the budget and is no worse than the
		// best at a budget smaller by its margin.
		thinned, err := choose(loss, cost, budget, 3, 2+rng.IntN(10))
		if err != nil {
			t.Fatal(err)
		}
		if thinned.Loss < got.Loss || thinned.Cost > budget+budgetSlack*math.Abs(budget) {
			t.Fatalf("thinned: %+v, exact %+v", thinned, got)
		}
		if !thinned.Approximate && thinned.Loss != got.Loss {
			t.Fatalf("thinned without saying so: %+v, exact %+v", thinned, got)
		}
		if bound, err := Choose(loss, cost, budget-thinned.Margin-1e-9); err == nil && thinned.Loss > bound.Loss {
			t.Fatalf("thinned: %+v, exact at the budget less its margin %+v", thinned, bound)
		}
	})
}

func TestChooseRefuses(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		loss, cost [][]float64
		budget     float64
		want       string
	}{
		{[][]float64{{1}}, [][]float64{{1}}, nan, "the budget is NaN"},
		{[][]float64{{1}}, [][]float64{{1}, {2}}, 1, "losses of 1 layers, costs of 2"},
		{[][]float64{{1}, {1, 2}}, [][]float64{{1}, {2}}, 9, "layer 1: 2 losses and 1 costs"},
		{[][]float64{{}}, [][]float64{{}}, 9, "layer 0: 0 losses"},
		{[][]float64{{1, nan}}, [][]float64{{1, 1}}, 9, "layer 0, candidate 1: loss NaN"},
		{[][]float64{{1, 2}}, [][]float64{{math.Inf(-1), 1}}, 9, "layer 0, candidate 0: loss 1, cost -Inf"},
	} {
		if got, err := Choose(c.loss, c.cost, c.budget); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, %v, want an error with %q", got, err, c.want)
		}
	}
	if got, err := Choose(nil, nil, 0); err != nil || len(got.Index) != 0 {
		t.Errorf("no layers: got %v, %v", got, err)
	}
	if got, err := Choose([][]float64{{3, 1}}, [][]float64{{1, 5}}, math.Inf(1)); err != nil || got.Index[0] != 1 {
		t.Errorf("no bound: got %v, %v", got, err)
	}
}

// BenchmarkChoose: the largest search that is likely, 50 layers of 16 candidates.
func BenchmarkChoose(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	var loss, cost [][]float64
	budget := 0.0
	for range 50 {
		s, e := make([]float64, 16), make([]float64, 16)
		for k := range s {
			s[k], e[k] = math.Exp(-float64(k)/4)*rng.Float64(), math.Round(1e5*rng.Float64()*float64(k+1))
		}
		loss, cost, budget = append(loss, s), append(cost, e), budget+e[4]
	}
	for b.Loop() {
		if _, err := Choose(loss, cost, budget); err != nil {
			b.Fatal(err)
		}
	}
}
