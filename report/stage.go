package report

import "strconv"

// A stage is a search or SSC in one form: what tables and pictures of choices
// per layer have in common.
type stage struct {
	name              string // search or ssc
	layers            []string
	candidates        []float64
	chosen            []float64
	sensitivity, cost [][]float64 // [layer][candidate]; empty if not kept
	unit, metric      string
}

// stages lists the stages that chose something per layer.
func (s *SNN) stages() []stage {
	var out []stage
	if x := s.Search; x != nil {
		out = append(out, stage{"search", s.layerNames(x.Layers, len(x.Chosen)), floats(x.Candidates), floats(x.Chosen),
			x.Sensitivity, x.Cost, x.CostUnit, x.Metric})
	}
	if x := s.SSC; x != nil {
		out = append(out, stage{"ssc", s.layerNames(x.Layers, len(x.Chosen)), x.Candidates, x.Chosen,
			x.Sensitivity, x.Cost, x.CostUnit, x.Metric})
	}
	return out
}

// layerNames returns n names of layers: those given, else those of the entry's
// layers of neurons, else numbers.
func (s *SNN) layerNames(given []string, n int) []string {
	if len(given) == n {
		return given
	}
	var names []string
	for i := range s.Layers {
		if s.Layers[i].Neurons > 0 {
			names = append(names, s.Layers[i].Name)
		}
	}
	if len(names) == n {
		return names
	}
	names = nil
	for i := range n {
		names = append(names, "layer "+strconv.Itoa(i+1))
	}
	return names
}

func floats(v []int) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// policyOf returns the policy a point of the sweep was measured with.
func (x *IAT) policyOf(p *ExitPoint) string {
	if p.Policy != "" {
		return p.Policy
	}
	return x.Policy
}

// settingName is what the policy's setting is called.
func settingName(policy string) string {
	if policy == "target" {
		return "risk"
	}
	return "floor"
}

// costText formats a cost with its unit.
func costText(v float64, unit string) string {
	if unit == "pj" {
		return energy(v)
	}
	return count(v) + " " + unitText(unit)
}

func unitText(unit string) string {
	switch unit {
	case "sops":
		return "SOPs"
	case "pj":
		return "pJ"
	}
	return unit
}

// metricText names a stage's metric for people.
func metricText(metric string) string {
	switch metric {
	case "kl":
		return "symmetric KL divergence"
	case "accuracy":
		return "accuracy lost"
	}
	return metric
}
