package convert

import (
	"fmt"
	"math"
	"slices"
)

// A Choice is one candidate per layer.
type Choice struct {
	Index []int   `json:"index"` // per layer
	Loss  float64 `json:"loss"`  // what was minimised
	Cost  float64 `json:"cost"`  // what the budget bounded
	// Approximate says that the frontier grew beyond memory and was thinned: the
	// loss is then only no worse than the best at a budget smaller by Margin.
	Approximate bool    `json:"approximate,omitempty"`
	Margin      float64 `json:"margin,omitempty"`
}

// InfeasibleError says that no choice stays within the budget.
type InfeasibleError struct {
	Budget, Least float64 // the budget, and the least cost that any choice has
}

func (e *InfeasibleError) Error() string {
	return fmt.Sprintf("no choice costs at most %g: the least possible is %g", e.Budget, e.Least)
}

// budgetSlack is the share of the budget by which the order of a sum may push
// a choice over it.
const budgetSlack = 1e-12

// maxFrontier bounds the partial choices kept per layer; beyond it the
// frontier is thinned to one per bucket of cost.
const (
	maxFrontier = 1 << 20
	buckets     = 1 << 16
)

// Choose picks one candidate of every layer so that the sum of loss[layer][k]
// is least while the sum of cost[layer][k] stays within the budget; ties go to
// the cheapest choice, then to the lexicographically smallest. Layers may have
// different numbers of candidates, and values may be negative, but must be
// finite; the budget may be +Inf. If nothing fits the error is an
// *InfeasibleError.
//
// Sums are taken in float64 from the first layer on. Addition rounds
// monotonically, so a partial choice that is neither cheaper nor better than
// another never overtakes it, and the choice is exact: a dynamic programme over
// the frontier of undominated partial choices (algorithms.md 5.4). Two sums that
// differ by their rounding only do not count as a tie.
//
// With negative costs a partial choice above the budget may come back below
// it: it is dropped only when even the cheapest rest does not bring it there.
func Choose(loss, cost [][]float64, budget float64) (*Choice, error) {
	return choose(loss, cost, budget, maxFrontier, buckets)
}

// partial is a choice for the first layers.
type partial struct {
	cost, loss float64
	from       int32 // the entry of the layer before that it extends
	k          int32 // by this candidate
}

// A link is what is kept of a partial choice once its layer is done.
type link struct{ from, k int32 }

func choose(loss, cost [][]float64, budget float64, most, buckets int) (*Choice, error) {
	rest, slack, err := checkTables(loss, cost, budget)
	if err != nil {
		return nil, err
	}
	limit := budget
	if !math.IsInf(budget, 0) {
		limit += budgetSlack * math.Abs(budget)
	}
	if least := leastSum(cost); least > limit {
		return nil, &InfeasibleError{Budget: budget, Least: least}
	}
	out := &Choice{}
	var history [][]link
	front := []partial{{from: -1}}
	for l := range cost {
		bound := limit
		if last := l == len(cost)-1; !last {
			bound = limit - rest[l+1] + slack
		}
		front = extend(front, loss[l], cost[l], bound, history)
		if len(front) > most {
			var width float64
			front, width = thin(front, buckets)
			out.Approximate, out.Margin = true, out.Margin+width
		}
		links := make([]link, len(front))
		for i, e := range front {
			links[i] = link{e.from, e.k}
		}
		history = append(history, links)
	}
	best := front[len(front)-1] // the smallest loss, cheapest among equals
	out.Loss, out.Cost = best.loss, best.cost
	out.Index = make([]int, len(cost))
	for l, at := len(cost)-1, int32(len(front)-1); l >= 0; l-- {
		out.Index[l] = int(history[l][at].k)
		at = history[l][at].from
	}
	return out, nil
}

// checkTables returns the least cost of the layers from each on, and a bound on
// the rounding of any sum of costs.
func checkTables(loss, cost [][]float64, budget float64) (rest []float64, slack float64, err error) {
	if budget != budget {
		return nil, 0, fmt.Errorf("the budget is %g", budget)
	}
	if len(loss) != len(cost) {
		return nil, 0, fmt.Errorf("losses of %d layers, costs of %d", len(loss), len(cost))
	}
	rest = make([]float64, len(cost)+1)
	for l := len(cost) - 1; l >= 0; l-- {
		if len(loss[l]) != len(cost[l]) || len(cost[l]) == 0 || len(cost[l]) > math.MaxInt32 {
			return nil, 0, fmt.Errorf("layer %d: %d losses and %d costs, want one of each per candidate", l, len(loss[l]), len(cost[l]))
		}
		largest := 0.0
		for k := range cost[l] {
			for _, v := range []float64{loss[l][k], cost[l][k]} {
				if v-v != 0 {
					return nil, 0, fmt.Errorf("layer %d, candidate %d: loss %g, cost %g: want finite numbers", l, k, loss[l][k], cost[l][k])
				}
			}
			largest = max(largest, math.Abs(cost[l][k]))
		}
		rest[l] = rest[l+1] + slices.Min(cost[l])
		slack += largest
	}
	return rest, slack * float64(len(cost)+1) * 0x1p-50, nil
}

// leastSum is the smallest sum of costs, in the order of all sums.
func leastSum(cost [][]float64) float64 {
	sum := 0.0
	for _, c := range cost {
		sum += slices.Min(c)
	}
	return sum
}

// extend returns the frontier of all entries of front extended by every
// candidate whose cost stays within bound: ascending in cost, strictly
// descending in loss. history holds the layers before, for ties.
//
// Every candidate's extensions are ascending in cost already, as front is, so
// they are merged.
func extend(front []partial, loss, cost []float64, bound float64, history [][]link) []partial {
	heads := make([]partial, 0, len(cost)) // a heap by cost of the candidates' next extensions
	next := func(from, k int) (partial, bool) {
		if from == len(front) {
			return partial{}, false
		}
		e := partial{front[from].cost + cost[k], front[from].loss + loss[k], int32(from), int32(k)}
		return e, e.cost <= bound
	}
	for k := range cost {
		if e, ok := next(0, k); ok {
			heads = append(heads, e)
		}
	}
	for i := len(heads)/2 - 1; i >= 0; i-- {
		sink(heads, i)
	}
	var out []partial
	for len(heads) > 0 {
		e := heads[0]
		if n := len(out); n == 0 || e.loss < out[n-1].loss {
			if n > 0 && out[n-1].cost == e.cost {
				out[n-1] = e
			} else {
				out = append(out, e)
			}
		} else if e.loss == out[n-1].loss && e.cost == out[n-1].cost && precedes(e, out[n-1], history) {
			out[n-1] = e
		}
		var ok bool
		if heads[0], ok = next(int(e.from)+1, int(e.k)); !ok {
			heads[0] = heads[len(heads)-1]
			heads = heads[:len(heads)-1]
		}
		if len(heads) > 0 {
			sink(heads, 0)
		}
	}
	return out
}

// sink restores the heap below i.
func sink(heap []partial, i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(heap); c++ {
			if heap[c].cost < heap[least].cost {
				least = c
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}

// precedes says whether a is lexicographically smaller than b.
func precedes(a, b partial, history [][]link) bool {
	smaller := a.k < b.k
	i, j := a.from, b.from
	for l := len(history) - 1; l >= 0 && i != j; l-- {
		x, y := history[l][i], history[l][j]
		if x.k != y.k {
			smaller = x.k < y.k // the earlier the layer, the more it counts
		}
		i, j = x.from, y.from
	}
	return smaller
}

// thin keeps the best entry, which is the dearest, of every bucket of cost, and
// returns the width of the buckets. No cost is changed, so that the budget holds.
func thin(front []partial, buckets int) ([]partial, float64) {
	low := front[0].cost
	width := (front[len(front)-1].cost - low) / float64(buckets)
	bucket := func(e partial) int { return min(int((e.cost-low)/width), buckets-1) }
	out := front[:1] // the cheapest, lest nothing can be completed
	for i, e := range front[1:] {
		if i+2 == len(front) || bucket(front[i+2]) != bucket(e) {
			out = append(out, e)
		}
	}
	return out, width
}

// budgetOf is ratio times the cost of taking candidate base in every layer.
func budgetOf(cost [][]float64, base int, ratio float64) float64 {
	sum := 0.0
	for _, c := range cost {
		sum += c[base]
	}
	return ratio * sum
}

// Frontier returns the pairs of summed cost and summed loss that no choice
// beats in both, ascending in cost: all, or if there are more than points, an
// even selection with both ends.
func Frontier(loss, cost [][]float64, points int) ([][2]float64, error) {
	if _, _, err := checkTables(loss, cost, 0); err != nil {
		return nil, err
	}
	front := []partial{{from: -1}}
	for l := range cost {
		// History is for ties only, which make no difference here.
		front = extend(front, loss[l], cost[l], math.Inf(1), nil)
		if len(front) > maxFrontier {
			front, _ = thin(front, buckets)
		}
	}
	n := min(points, len(front))
	out := make([][2]float64, n)
	for i := range out {
		at := len(front) - 1
		if n > 1 {
			at = i * (len(front) - 1) / (n - 1)
		}
		out[i] = [2]float64{front[at].cost, front[at].loss}
	}
	return out, nil
}
