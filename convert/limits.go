package convert

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// SearchOptions say how to search a burst limit for every layer.
type SearchOptions struct {
	Measure
	MinSpike     int     `json:"minspike"`       // smallest limit that is tried, 1..255
	InitialSpike int     `json:"initialspike"`   // largest limit; all other layers have it while one is tried
	DesiredSpike int     `json:"desired_spike"`  // uniform limit whose cost is the budget; 0: that of the settings
	Ratio        float64 `json:"maxspike_ratio"` // budget as a share of that cost, > 0
	// Stale tries every limit with the thresholds of InitialSpike, as the
	// authors, instead of thresholds for the limit that is tried.
	Stale bool `json:"stale,omitempty"`
	// Guard keeps the uniform limit where it turns out no worse than the
	// searched ones on samples that the tables have not seen.
	Guard bool `json:"guard"`
}

// DefaultSearch returns the settings of the paper's example, limits 1 to 8, with
// thresholds found for every limit, SOPs as the cost and the guard on.
func DefaultSearch() SearchOptions {
	return SearchOptions{Measure: Measure{Metric: MetricKL, Cost: CostSOPs, Samples: 1024}, MinSpike: 1, InitialSpike: 8, Ratio: 1, Guard: true}
}

// ReferenceSearch returns the rules of the authors' code: stale thresholds,
// spikes as the cost, one batch, no guard.
func ReferenceSearch() SearchOptions {
	o := DefaultSearch()
	o.Cost, o.Samples, o.Stale, o.Guard = CostSpikes, 256, true, false
	return o
}

// desired returns the uniform limit.
func (o *SearchOptions) desired(cfg *Config) int {
	if o.DesiredSpike != 0 {
		return o.DesiredSpike
	}
	return cfg.MaxSpike
}

// Validate checks the options for a conversion with the given settings; the
// number of labels is checked by the search.
func (o *SearchOptions) Validate(cfg *Config) error {
	d := o.desired(cfg)
	switch {
	case o.MinSpike < 1 || o.InitialSpike > snn.MaxBurst || o.MinSpike > d || d > o.InitialSpike:
		return fmt.Errorf("burst limits from minspike %d to initialspike %d with the desired limit %d: want 1 <= minspike <= desired <= initialspike <= %d",
			o.MinSpike, o.InitialSpike, d, snn.MaxBurst)
	case !(o.Ratio > 0) || math.IsInf(o.Ratio, 0):
		return fmt.Errorf("budget ratio %g: want a positive number", o.Ratio)
	}
	return o.validate(len(o.Labels))
}

// Which network a search kept.
const (
	KeptSearched = "searched"
	KeptUniform  = "uniform"
)

// A SearchResult is one burst limit per layer and how it was found. All
// estimates and the budget are per sample.
type SearchResult struct {
	Tables  *Tables `json:"tables"` // candidates are burst limits
	Desired int     `json:"desired"`
	Ratio   float64 `json:"ratio"`
	Budget  float64 `json:"budget"` // ratio times the cost of the uniform limit, by the tables
	Chosen  []int   `json:"chosen"` // limits of the choice under the budget
	Limits  []int   `json:"limits"` // limits kept: Chosen, or the uniform ones
	Kept    string  `json:"kept"`   // "searched" or "uniform"
	// Rounds is how often the choice was made: again with a smaller budget while
	// the network measured more than 2 % above it, three times at most.
	Rounds      int  `json:"rounds"`
	Approximate bool `json:"approximate,omitempty"` // see Choice

	Predicted Estimate `json:"predicted"` // sums of the tables over Chosen
	// Measured and Uniform are the calibrated networks with the limits Chosen
	// and with the uniform limit, on the samples of the tables.
	Measured Estimate `json:"measured"`
	Uniform  Estimate `json:"uniform"`
	// HeldOut is what the guard decided by; nil without it.
	HeldOut *HeldOut `json:"held_out,omitempty"`
	// Frontier holds undominated pairs of summed cost per sample and summed
	// sensitivity, ascending in cost: some hundred at most, for a picture.
	Frontier [][2]float64 `json:"frontier"`

	// Neurons are the thresholds for Limits, not calibrated.
	Neurons *Neurons `json:"-"`
}

// HeldOut compares the searched and the uniform network on samples that the
// tables have not seen.
type HeldOut struct {
	Samples  int      `json:"samples"`
	Searched Estimate `json:"searched"`
	Uniform  Estimate `json:"uniform"`
}

// overBudget is by how much a network's measured cost may exceed the budget.
const overBudget = 1.02

// SearchLimits finds a burst limit for every layer of the prepared graph g: the
// limits of the least summed sensitivity whose summed cost stays within a share
// of what the uniform limit costs (algorithms.md 5). Samples x, thresholds and
// calibration are as in Convert; the tables are measured on the first
// options.Samples of x, and the guard decides by those that follow, or by a
// fifth kept back if there are too few.
//
// The result holds the thresholds of the limits found; Calibrate makes a network
// of them. Sums of tables are only a model of a network in which all layers are
// changed, so the calibrated network is measured too.
func SearchLimits(ctx context.Context, pool *parallel.Pool, g *graph.Graph, x *tensor.Tensor, cfg Config, opt SearchOptions) (*SearchResult, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := opt.Validate(&cfg); err != nil {
		return nil, err
	}
	if err := checkSamples(x); err != nil {
		return nil, err
	}
	if err := opt.validate(x.Shape[0]); err != nil {
		return nil, err
	}
	s := &search{ctx: ctx, pool: pool, g: g, x: x, cfg: cfg, opt: opt}
	for k := opt.MinSpike; k <= opt.InitialSpike; k++ {
		s.limits = append(s.limits, k)
	}
	if s.opt.Samples = min(opt.Samples, x.Shape[0]); opt.Guard && x.Shape[0]-s.opt.Samples < s.opt.Samples/4 {
		s.opt.Samples = x.Shape[0] - x.Shape[0]/5
	}
	var err error
	if s.neurons, err = LimitThresholds(ctx, pool, g, first(x, cfg.Samples), cfg, s.limits); err != nil {
		return nil, err
	}
	if cfg.Calibration != CalibrationNone && cfg.Calibration != CalibrationPotential {
		s.cfg.Calibration = CalibrationLight // enough to compare networks
	}
	tables, err := s.opt.tables(ctx, pool, x, limitTrial(g, s.neurons, s.limits, opt.Stale, opt.Labels))
	if err != nil {
		return nil, err
	}
	return s.choose(tables)
}

// limitTrial tries every limit in every layer of a network with the last of
// them: with the thresholds found for it, or with those of the last.
func limitTrial(g *graph.Graph, neurons []*Neurons, limits []int, stale bool, labels []int) *trial {
	tr := &trial{original: g, graph: g, base: neurons[len(neurons)-1].Config, labels: labels}
	for _, k := range limits {
		tr.candidates = append(tr.candidates, float64(k))
	}
	for l := range tr.base.Layers {
		row := make([]snn.Layer, len(limits))
		for i, k := range limits {
			row[i] = neurons[i].Config.Layers[l]
			if stale {
				row[i] = tr.base.Layers[l]
				row[i].MaxSpike = k
			}
		}
		tr.layers = append(tr.layers, row)
	}
	return tr
}

// A search holds what does not change while limits are chosen.
type search struct {
	ctx     context.Context
	pool    *parallel.Pool
	g       *graph.Graph
	x       *tensor.Tensor
	cfg     Config
	opt     SearchOptions
	limits  []int
	neurons []*Neurons // per limit
}

// choose picks the limits by the tables, measures the network, and guards.
func (s *search) choose(t *Tables) (*SearchResult, error) {
	desired := s.opt.desired(&s.cfg)
	uniform := make([]int, len(t.Nodes))
	for l := range uniform {
		uniform[l] = desired - s.opt.MinSpike
	}
	samples := float64(t.Samples)
	full := budgetOf(t.Cost, desired-s.opt.MinSpike, s.opt.Ratio)
	res := &SearchResult{Tables: t, Desired: desired, Ratio: s.opt.Ratio, Budget: full / samples, Kept: KeptSearched}
	var err error
	if res.Frontier, err = Frontier(t.Sensitivity, t.CostPerSample(), frontierPoints); err != nil {
		return nil, err
	}
	var index []int
	var calibrated *Result
	for budget := full; res.Rounds < 3; res.Rounds++ {
		choice, err := Choose(t.Sensitivity, t.Cost, budget)
		var infeasible *InfeasibleError
		if errors.As(err, &infeasible) {
			if res.Rounds > 0 {
				break // nothing cheaper is left
			}
			return nil, fmt.Errorf("budget ratio %g: the cheapest limits cost %g per sample, the budget is %g; the smallest ratio possible is %.4g: %w",
				s.opt.Ratio, infeasible.Least/samples, full/samples, infeasible.Least/full*s.opt.Ratio, err)
		} else if err != nil {
			return nil, err
		}
		index, res.Approximate = choice.Index, choice.Approximate
		res.Predicted = t.sum(index)
		if calibrated, res.Measured, err = s.measure(index); err != nil {
			return nil, err
		}
		if res.Measured.Cost <= overBudget*res.Budget {
			res.Rounds++
			break
		}
		budget *= res.Budget / res.Measured.Cost
	}
	for _, k := range index {
		res.Chosen = append(res.Chosen, s.limits[k])
	}
	even, err := s.guard(res, calibrated, uniform)
	if err != nil {
		return nil, err
	}
	if even {
		res.Kept, index = KeptUniform, uniform
	}
	res.Neurons = s.assemble(index)
	for _, k := range index {
		res.Limits = append(res.Limits, s.limits[k])
	}
	return res, nil
}

// frontierPoints bounds the frontier in a result.
const frontierPoints = 512

// assemble puts the thresholds of the chosen limits together.
func (s *search) assemble(index []int) *Neurons {
	out := &Neurons{Config: s.neurons[0].Config.Clone(), Dead: make(map[string][]int)}
	for l, k := range index {
		n := s.neurons[k]
		layer := &out.Config.Layers[l]
		*layer = n.Config.Clone().Layers[l]
		if dead := n.Dead[layer.Node]; len(dead) > 0 {
			out.Dead[layer.Node] = dead
		}
	}
	return out
}

// measure calibrates the network with the chosen limits and measures it on the
// samples of the tables.
func (s *search) measure(index []int) (*Result, Estimate, error) {
	res, err := Calibrate(s.ctx, s.pool, s.g, s.assemble(index), s.x, s.cfg)
	if err != nil {
		return nil, Estimate{}, err
	}
	e, err := s.opt.estimate(s.ctx, s.pool, s.g, res.Graph, res.SNN, first(s.x, s.opt.Samples), 0)
	return res, e, err
}

// guard measures the uniform network beside the searched one and says whether
// to keep it: if it is no worse on held-out samples and fits the budget, or
// costs no more than the searched one.
func (s *search) guard(res *SearchResult, searched *Result, uniform []int) (keep bool, err error) {
	even, e, err := s.measure(uniform)
	if err != nil {
		return false, err
	}
	if res.Uniform = e; !s.opt.Guard {
		return false, nil
	}
	at := s.opt.Samples
	if at == s.x.Shape[0] {
		at = 0 // too few samples to keep any back
	}
	held := s.x.Rows(at, min(at+s.opt.Samples, s.x.Shape[0]))
	h := &HeldOut{Samples: held.Shape[0]}
	if h.Searched, err = s.opt.estimate(s.ctx, s.pool, s.g, searched.Graph, searched.SNN, held, at); err != nil {
		return false, err
	}
	if h.Uniform, err = s.opt.estimate(s.ctx, s.pool, s.g, even.Graph, even.SNN, held, at); err != nil {
		return false, err
	}
	res.HeldOut = h
	affordable := h.Uniform.Cost <= max(h.Searched.Cost, overBudget*res.Budget)
	return affordable && h.Uniform.Sensitivity <= h.Searched.Sensitivity, nil
}
