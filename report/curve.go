package report

import (
	"cmp"
	"fmt"
	"slices"
)

// Options steer the page and the plots; the zero value works.
type Options struct {
	Title string // of the page; default: network and data set
	// Setting and Timesteps choose the entry whose layers are shown. Default:
	// see Highlight.
	Setting   string
	Timesteps int
}

// closeEnough is how much of the metric an SNN may lose to count as a
// replacement of its ANN when the page picks one: half a point.
const closeEnough = 0.005

// A curve is the entries of one setting over the timesteps.
type curve struct {
	label  string
	index  int // colour and marker
	result *Result
	points []*SNN // ascending timesteps
}

// curves groups the entries of all results by setting, in order of appearance.
// With several results their labels tell the settings apart.
func curves(results []Result) []curve {
	var out []curve
	for i := range results {
		r := &results[i]
		first := len(out)
		for j := range r.SNN {
			s := &r.SNN[j]
			at := slices.IndexFunc(out[first:], func(c curve) bool { return c.points[0].Name == s.Name })
			if at < 0 {
				at = len(out) - first
				out = append(out, curve{label: inResult(results, i, s.Name), index: len(out), result: r})
			}
			c := &out[first+at]
			c.points = append(c.points, s)
		}
	}
	for i := range out {
		slices.SortStableFunc(out[i].points, func(a, b *SNN) int { return cmp.Compare(a.AvgTimesteps, b.AvgTimesteps) })
	}
	return out
}

// inResult names something of result i: the result's label is added when there
// are several results.
func inResult(results []Result, i int, name string) string {
	if len(results) < 2 {
		return name
	}
	return name + " (" + resultLabel(results, i) + ")"
}

// resultLabel returns a label of result i that no other result has.
func resultLabel(results []Result, i int) string {
	label := func(r *Result) string {
		if r.Label != "" {
			return r.Label
		}
		return r.Network.Arch + " on " + r.Dataset.Name
	}
	own := label(&results[i])
	for j := range results {
		if j != i && label(&results[j]) == own {
			return fmt.Sprintf("%s, %d", own, i+1)
		}
	}
	return own
}

// Highlight picks the entry to talk about: the one Options name, else the one
// of least energy among those at most half a point below their ANN, else the
// one of the best metric. It returns indices of the result and of its entry;
// ok is false when there is none.
func Highlight(results []Result, o Options) (result, entry int, ok bool) {
	return pick(results, func(s *SNN) bool {
		return (o.Setting == "" || s.Name == o.Setting) && (o.Timesteps == 0 || s.Timesteps == o.Timesteps)
	})
}

// pick is Highlight's choice among the entries to keep.
func pick(results []Result, keep func(*SNN) bool) (result, entry int, ok bool) {
	better := func(a, b *SNN, ra, rb *Result) bool {
		_, va, _ := a.Primary()
		_, vb, _ := b.Primary()
		_, annA, _ := ra.ANN.Primary()
		_, annB, _ := rb.ANN.Primary()
		closeA, closeB := va >= annA-closeEnough, vb >= annB-closeEnough
		switch {
		case closeA != closeB:
			return closeA
		case closeA:
			return a.EnergyPJ < b.EnergyPJ
		case va != vb:
			return va > vb
		}
		return a.EnergyPJ < b.EnergyPJ
	}
	for i := range results {
		for j := range results[i].SNN {
			s := &results[i].SNN[j]
			if !keep(s) {
				continue
			}
			if !ok || better(s, &results[result].SNN[entry], &results[i], &results[result]) {
				result, entry, ok = i, j, true
			}
		}
	}
	return result, entry, ok
}

// pareto marks the entries that no other entry of the same result beats in
// both the metric and energy.
func pareto(r *Result) []bool {
	out := make([]bool, len(r.SNN))
	for i := range r.SNN {
		_, v, ok := r.SNN[i].Primary()
		if !ok || r.SNN[i].EnergyPJ <= 0 {
			continue
		}
		out[i] = true
		for j := range r.SNN {
			_, w, ok := r.SNN[j].Primary()
			if ok && r.SNN[j].EnergyPJ > 0 && w >= v && r.SNN[j].EnergyPJ <= r.SNN[i].EnergyPJ &&
				(w > v || r.SNN[j].EnergyPJ < r.SNN[i].EnergyPJ) {
				out[i] = false
				break
			}
		}
	}
	return out
}
