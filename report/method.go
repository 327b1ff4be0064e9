package report

import (
	"math"
	"slices"
	"strconv"
)

// Limits of what the method's stages report.
const (
	maxCandidates = 1024
	maxFrontier   = 10000 // points; a plot shows fewer
	maxSweep      = 1000  // points of an exit curve
)

// An Estimate is what a network costs and how far its outputs are from the
// ANN's.
type Estimate struct {
	Cost        float64 `json:"cost"`        // per sample, in the stage's cost unit
	Sensitivity float64 `json:"sensitivity"` // in the stage's metric
}

// A Search says how the burst limits of an entry were chosen: by tables of what
// each candidate costs in each layer, with all other layers unchanged, and the
// assignment of the least summed sensitivity whose summed cost fits the budget.
//
// Layers stand in the order of SNN.MaxSpike. SNN.MaxSpike itself is what the
// network runs with: other than Chosen where the guard kept the uniform limit.
type Search struct {
	Layers      []string     `json:"layers,omitempty"`              // names; default: those of SNN.Layers
	Candidates  []int        `json:"candidates"`                    // burst limits, ascending
	Sensitivity [][]float64  `json:"sensitivity"`                   // [layer][candidate]
	Cost        [][]float64  `json:"cost"`                          // [layer][candidate], per sample
	Budget      float64      `json:"budget"`                        // of the summed cost
	BudgetRatio float64      `json:"budget_ratio,omitempty"`        // budget over the cost of the uniform limit
	CostUnit    string       `json:"cost_unit"`                     // sops, spikes or pj
	Metric      string       `json:"metric"`                        // kl or accuracy (the share lost)
	Samples     int          `json:"calibration_samples,omitempty"` // the tables are means over
	Chosen      []int        `json:"chosen"`                        // burst limit per layer
	Predicted   Estimate     `json:"predicted"`                     // sums over Chosen; Derive fills it in
	Measured    *Estimate    `json:"measured,omitempty"`            // of the network with Chosen
	Frontier    [][2]float64 `json:"frontier,omitempty"`            // (summed cost, summed sensitivity), ascending cost
	Uniform     *Uniform     `json:"uniform,omitempty"`             // the uniform limit, measured like Measured
	Guard       string       `json:"guard,omitempty"`               // what was kept: searched, uniform, or off
	HeldOut     *HeldOut     `json:"held_out,omitempty"`            // what the guard decided by
	Rounds      int          `json:"rounds,omitempty"`              // times the choice was made, with smaller budgets from the second on
	Approximate bool         `json:"approximate,omitempty"`         // the frontier was too long to be exact
}

// A Uniform is the network with one burst limit for all layers, as measured.
type Uniform struct {
	MaxSpike int `json:"maxspike"`
	Estimate
}

// A HeldOut compares two networks, as measured on samples that the tables have
// not seen.
type HeldOut struct {
	Samples  int      `json:"samples"`
	Searched Estimate `json:"searched"`
	Uniform  Estimate `json:"uniform"`
}

// An SSC says by which ratios the thresholds of an entry were raised: the
// assignment of the least summed cost whose summed sensitivity stays within
// Ratio times that of unchanged thresholds.
type SSC struct {
	Layers      []string    `json:"layers,omitempty"`      // names; default: those of SNN.Layers
	Ratio       float64     `json:"ratio"`                 // bound of the sensitivity, as a multiple of that of unchanged thresholds
	Used        float64     `json:"used_ratio,omitempty"`  // the bound the choice was made with, where the measured network called for a smaller one
	Candidates  []float64   `json:"candidates"`            // ratios, ascending
	Sensitivity [][]float64 `json:"sensitivity,omitempty"` // [layer][candidate]
	Cost        [][]float64 `json:"cost,omitempty"`        // [layer][candidate], per sample
	CostUnit    string      `json:"cost_unit,omitempty"`   // sops, spikes or pj
	Metric      string      `json:"metric,omitempty"`      // kl or accuracy (the share lost)
	Chosen      []float64   `json:"chosen"`                // ratio per layer
	Predicted   *Change     `json:"predicted,omitempty"`   // sums over the tables; Derive fills it in where ratio 1 was tried
	Measured    *Change     `json:"measured,omitempty"`    // of whole networks
}

// A Change is a network before and after a stage.
type Change struct {
	Before Estimate `json:"before"`
	After  Estimate `json:"after"`
}

// An IAT says when samples leave an entry early: at the first timestep t (from
// 1) whose score is above Thresholds[t-1], at the last one otherwise.
type IAT struct {
	Policy     string  `json:"policy"`               // paper or target
	Score      string  `json:"score"`                // entropy, confidence or margin
	Accumulate string  `json:"accumulate,omitempty"` // sum or mean of the logits so far
	Risk       float64 `json:"risk,omitempty"`       // of policy target: share of answers that may differ from those after T
	Delta      float64 `json:"delta,omitempty"`      // chance that the share is higher all the same
	Floor      float64 `json:"floor,omitempty"`      // of policy paper: least threshold
	// Thresholds has one entry per timestep, -1 to 1; no score is above 1. Limits
	// holds 1 minus the thresholds, 0 to 2, where those round to 1; at 0 no
	// sample leaves.
	Thresholds []float64 `json:"thresholds"`
	Limits     []float64 `json:"limits,omitempty"`
	// Samples are those the thresholds were checked on; of their answers the
	// share Agreement was that after T, and Bound is the upper confidence bound
	// of the share of others.
	Samples   int     `json:"calibration_samples,omitempty"`
	Agreement float64 `json:"calibration_agreement,omitempty"`
	Bound     float64 `json:"bound,omitempty"`

	Exits []int `json:"exits,omitempty"` // test samples that left at each timestep, 1 to T
	// FixedAccuracy is the accuracy if all samples left at t = 1 to T: what
	// exits compete with.
	FixedAccuracy []float64   `json:"fixed_accuracy,omitempty"`
	Curve         []ExitPoint `json:"curve,omitempty"`
}

// An ExitPoint is one setting of a sweep over floors or risks.
type ExitPoint struct {
	Policy       string  `json:"policy,omitempty"` // default: the entry's
	Setting      float64 `json:"floor_or_risk"`
	Accuracy     float64 `json:"accuracy"`
	AvgTimesteps float64 `json:"avg_timesteps"`
	Agreement    float64 `json:"agreement,omitempty"` // share of answers that are those after T
	EnergyPJ     float64 `json:"energy_pj_per_sample,omitempty"`
}

// finite checks a number that may be negative.
func (c *checker) finite(field string, v float64) {
	if !(math.Abs(v) <= maxAmount) {
		c.failf("%s is %g, want a number of at most %g", field, v, float64(maxAmount))
	}
}

func (c *checker) estimate(at string, e Estimate) {
	c.amount(at+".cost", e.Cost)
	c.finite(at+".sensitivity", e.Sensitivity)
}

// choices checks the number of a stage's choices and candidates, and the names
// of its layers.
func (c *checker) choices(at string, names []string, layers, candidates int) {
	if layers < 1 || layers > maxLayers {
		c.failf("%schosen has %d layers, want 1 to %d", at, layers, maxLayers)
	}
	if candidates < 1 || candidates > maxCandidates {
		c.failf("%scandidates has %d entries, want 1 to %d", at, candidates, maxCandidates)
	}
	if len(names) > 0 && len(names) != layers {
		c.failf("%slayers has %d names, chosen %d layers", at, len(names), layers)
	}
	for i, name := range names {
		c.name(at+"layers["+strconv.Itoa(i)+"]", name, true)
	}
}

// tables checks the shapes and values of a stage's tables.
func (c *checker) tables(at string, sensitivity, cost [][]float64, layers, candidates int) {
	for _, t := range []struct {
		name  string
		rows  [][]float64
		check func(string, float64)
	}{{"sensitivity", sensitivity, c.finite}, {"cost", cost, c.amount}} {
		if len(t.rows) != layers {
			c.failf("%s%s has %d layers, chosen %d", at, t.name, len(t.rows), layers)
		}
		for i, row := range t.rows {
			if c.err != nil {
				return // names of fields are costly to build
			}
			field := at + t.name + "[" + strconv.Itoa(i) + "]"
			if len(row) != candidates {
				c.failf("%s has %d entries for %d candidates", field, len(row), candidates)
			}
			for _, v := range row {
				t.check(field, v)
			}
		}
	}
}

func (s *Search) check(c *checker, at string) {
	c.choices(at, s.Layers, len(s.Chosen), len(s.Candidates))
	c.tables(at, s.Sensitivity, s.Cost, len(s.Chosen), len(s.Candidates))
	for i, k := range s.Candidates {
		c.between(at+"candidates", k, 1, maxBurst)
		if i > 0 && k <= s.Candidates[i-1] {
			c.failf("%scandidates %d and %d do not ascend", at, s.Candidates[i-1], k)
		}
	}
	for i, k := range s.Chosen {
		if !slices.Contains(s.Candidates, k) {
			c.failf("%schosen[%d] is %d, which is no candidate", at, i, k)
		}
	}
	c.amount(at+"budget", s.Budget)
	c.amount(at+"budget_ratio", s.BudgetRatio)
	c.name(at+"cost_unit", s.CostUnit, true)
	c.name(at+"metric", s.Metric, true)
	c.name(at+"guard", s.Guard, false)
	c.between(at+"calibration_samples", s.Samples, 0, math.MaxInt)
	c.estimate(at+"predicted", s.Predicted)
	if s.Measured != nil {
		c.estimate(at+"measured", *s.Measured)
	}
	if h := s.HeldOut; h != nil {
		c.between(at+"held_out.samples", h.Samples, 0, math.MaxInt)
		c.estimate(at+"held_out.searched", h.Searched)
		c.estimate(at+"held_out.uniform", h.Uniform)
	}
	c.between(at+"rounds", s.Rounds, 0, math.MaxInt32)
	if len(s.Frontier) > maxFrontier {
		c.failf("%sfrontier has %d points, want at most %d", at, len(s.Frontier), maxFrontier)
		return
	}
	for i, p := range s.Frontier {
		c.estimate(at+"frontier", Estimate{p[0], p[1]})
		if i > 0 && p[0] < s.Frontier[i-1][0] {
			c.failf("%sfrontier[%d] costs %g, less than the point before it", at, i, p[0])
		}
	}
	if u := s.Uniform; u != nil {
		c.between(at+"uniform.maxspike", u.MaxSpike, 1, maxBurst)
		c.estimate(at+"uniform", u.Estimate)
	}
}

func (s *SSC) check(c *checker, at string) {
	c.choices(at, s.Layers, len(s.Chosen), len(s.Candidates))
	if len(s.Sensitivity) > 0 || len(s.Cost) > 0 { // tables are optional, but come together
		c.tables(at, s.Sensitivity, s.Cost, len(s.Chosen), len(s.Candidates))
	}
	c.amount(at+"ratio", s.Ratio)
	c.amount(at+"used_ratio", s.Used)
	for i, r := range s.Candidates {
		if !(r > 0) {
			c.failf("%scandidates[%d] is %g, want a ratio above 0", at, i, r)
		}
		c.amount(at+"candidates", r)
		if i > 0 && r <= s.Candidates[i-1] {
			c.failf("%scandidates %g and %g do not ascend", at, s.Candidates[i-1], r)
		}
	}
	for i, r := range s.Chosen {
		if !slices.Contains(s.Candidates, r) {
			c.failf("%schosen[%d] is %g, which is no candidate", at, i, r)
		}
	}
	c.name(at+"cost_unit", s.CostUnit, s.Predicted != nil || s.Measured != nil || len(s.Cost) > 0)
	c.name(at+"metric", s.Metric, s.Predicted != nil || s.Measured != nil || len(s.Sensitivity) > 0)
	for field, change := range map[string]*Change{"predicted": s.Predicted, "measured": s.Measured} {
		if change != nil {
			c.estimate(at+field+".before", change.Before)
			c.estimate(at+field+".after", change.After)
		}
	}
}

// exitSlack is how far the mean of the exits may lie from avg_timesteps, which
// is a rounded figure of the same counts.
const exitSlack = 1e-3

func (x *IAT) check(c *checker, at string, timesteps int, avg float64) {
	c.name(at+"policy", x.Policy, true)
	c.name(at+"score", x.Score, true)
	c.fraction(at+"risk", x.Risk)
	c.fraction(at+"floor", x.Floor)
	if len(x.Thresholds) != timesteps {
		c.failf("%sthresholds has %d entries, T is %d", at, len(x.Thresholds), timesteps)
	}
	for _, v := range x.Thresholds {
		if !(v >= -1 && v <= 1) {
			c.failf("%sthresholds holds %g, want -1 to 1", at, v)
		}
	}
	if n := len(x.Limits); n > 0 && n != timesteps {
		c.failf("%slimits has %d entries, T is %d", at, n, timesteps)
	}
	for _, v := range x.Limits {
		if !(v >= 0 && v <= 2) {
			c.failf("%slimits holds %g, want 0 to 2", at, v)
		}
	}
	c.name(at+"accumulate", x.Accumulate, false)
	c.fraction(at+"delta", x.Delta)
	c.fraction(at+"bound", x.Bound)
	c.fraction(at+"calibration_agreement", x.Agreement)
	c.between(at+"calibration_samples", x.Samples, 0, math.MaxInt)
	if n := len(x.FixedAccuracy); n > 0 && n != timesteps {
		c.failf("%sfixed_accuracy has %d entries, T is %d", at, n, timesteps)
	}
	for _, v := range x.FixedAccuracy {
		c.fraction(at+"fixed_accuracy", v)
	}
	if n := len(x.Exits); n > 0 && n != timesteps {
		c.failf("%sexits has %d entries, T is %d", at, n, timesteps)
	}
	for t, n := range x.Exits {
		c.between(at+"exits["+strconv.Itoa(t)+"]", n, 0, math.MaxInt32)
	}
	if mean, ok := x.meanExit(); ok && math.Abs(mean-avg) > exitSlack {
		c.failf("%sexits have the mean %g, avg_timesteps is %g", at, mean, avg)
	}
	if len(x.Curve) > maxSweep {
		c.failf("%scurve has %d points, want at most %d", at, len(x.Curve), maxSweep)
		return
	}
	for i := range x.Curve {
		p, field := &x.Curve[i], at+"curve["+strconv.Itoa(i)+"]."
		c.name(field+"policy", p.Policy, false)
		c.fraction(field+"floor_or_risk", p.Setting)
		c.fraction(field+"accuracy", p.Accuracy)
		c.fraction(field+"agreement", p.Agreement)
		c.amount(field+"energy_pj_per_sample", p.EnergyPJ)
		if !(p.AvgTimesteps >= 1 && p.AvgTimesteps <= float64(timesteps)) {
			c.failf("%savg_timesteps is %g, want 1 to T = %d", field, p.AvgTimesteps, timesteps)
		}
	}
}

// meanExit returns the mean timestep at which samples left; ok is false when
// none is recorded.
func (x *IAT) meanExit() (mean float64, ok bool) {
	sum, n := 0.0, 0.0
	for t, count := range x.Exits {
		sum += float64(t+1) * float64(count)
		n += float64(count)
	}
	return sum / n, n > 0
}

// derive sums the tables over the choice and thins a long frontier evenly.
func (s *Search) derive() {
	at := func(l int) int { return slices.Index(s.Candidates, s.Chosen[l]) }
	if e, ok := sumTables(s.Cost, s.Sensitivity, len(s.Chosen), at); ok {
		s.Predicted = e
	}
	if n := len(s.Frontier); n > maxFrontier {
		thin := make([][2]float64, maxFrontier)
		for i := range thin { // both ends stay
			thin[i] = s.Frontier[i*(n-1)/(maxFrontier-1)]
		}
		s.Frontier = thin
	}
}

func (s *SSC) derive() {
	one := slices.Index(s.Candidates, 1)
	before, ok := sumTables(s.Cost, s.Sensitivity, len(s.Chosen), func(int) int { return one })
	after, okAfter := sumTables(s.Cost, s.Sensitivity, len(s.Chosen), func(l int) int { return slices.Index(s.Candidates, s.Chosen[l]) })
	if ok && okAfter {
		s.Predicted = &Change{before, after}
	}
}

// sumTables adds up cost and sensitivity of candidate at(l) in each layer l; ok
// is false where the tables hold no such cell.
func sumTables(cost, sensitivity [][]float64, layers int, at func(l int) int) (e Estimate, ok bool) {
	if layers == 0 || len(cost) != layers || len(sensitivity) != layers {
		return e, false
	}
	for l := range layers {
		k := at(l)
		if k < 0 || k >= len(cost[l]) || k >= len(sensitivity[l]) {
			return e, false
		}
		e.Cost += cost[l][k]
		e.Sensitivity += sensitivity[l][k]
	}
	return e, true
}

// uniform returns the sums of the tables for candidate k in all layers.
func (s *Search) uniform(k int) Estimate {
	e, _ := sumTables(s.Cost, s.Sensitivity, len(s.Chosen), func(int) int { return k })
	return e
}
