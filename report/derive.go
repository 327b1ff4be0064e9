package report

import "math"

// StandardError returns the standard error of a fraction p measured on n
// samples, sqrt(p(1-p)/n); 0 for n < 1.
func StandardError(p float64, n int) float64 {
	if n < 1 || !(p > 0 && p < 1) {
		return 0
	}
	return math.Sqrt(p * (1 - p) / float64(n))
}

// Derive fills in what follows from the measured figures: schema, standard
// errors, break-even, ratios to the ANN and layers' shares. Figures that are
// there already are replaced; nothing is derived from a zero denominator. What
// a search and SSC predict is summed up from their tables.
func (r *Result) Derive() {
	r.Schema = Schema
	r.SNN = withLists(r.SNN)
	if r.Energy.Profile != "" {
		r.Energy.Note = EnergyNote
		r.Energy.BreakEven = ratio(r.Energy.MACPJ, r.Energy.ACPJ)
	}
	r.ANN.derive(r.Dataset.Test)
	for i := range r.SNN {
		s := &r.SNN[i]
		s.derive(r.Dataset.Test)
		s.EnergyRatio = ratio(s.EnergyPJ, r.ANN.EnergyPJ)
		s.SpikesPerSyn = ratio(s.SOPs, float64(r.Network.MACs)-s.MACs)
		if s.Search != nil {
			s.Search.derive()
		}
		if s.SSC != nil {
			s.SSC.derive()
		}
		for j := range s.Layers {
			l := &s.Layers[j]
			l.EnergyShare = ratio(l.EnergyPJ, s.EnergyPJ)
			l.EnergyRatio = ratio(l.EnergyPJ, l.ANNEnergyPJ)
		}
	}
}

func (m *Metrics) derive(samples int) {
	if m.Accuracy != nil && samples > 0 {
		m.AccuracySE = new(StandardError(*m.Accuracy, samples))
	}
}

// ratio returns a/b, 0 where that is no positive number a result can hold.
func ratio(a, b float64) float64 {
	if !(b > 0) || !(a > 0) || a/b > maxAmount {
		return 0
	}
	return a / b
}
