package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"time"
)

// runColumns and layerFields name the CSV columns like the JSON members.
var runColumns = []string{
	"label", "command", "version", "created", "seed", "cpu", "workers", "dataset", "test", "arch", "parameters", "ann_macs",
	"name", "T", "maxspike", "calib", "neuron", "shift", "threshold", "profile", "metric", "value", "value_se", "agreement",
	"avg_timesteps", "spikes_per_sample", "events_per_sample", "density", "sops_per_sample", "macs_per_sample",
	"pool_adds_per_sample", "residual_adds_per_sample", "neuron_updates_per_sample", "spikes_per_synapse",
	"energy_profile", "energy_pj_per_sample", "energy_ratio", "energy_reference_pj_per_sample", "samples_per_s",
	"search_budget_ratio", "search_guard", "ssc_ratio", "iat_policy", "iat_floor", "iat_risk",
}

var layerFields = []string{
	"label", "setting", "T", "index", "name", "op", "shape", "neurons", "maxspike", "threshold_mean", "threshold_min",
	"threshold_max", "spikes_per_sample", "events_per_sample", "density", "sops_per_sample", "macs_per_sample",
	"energy_pj_per_sample", "energy_share", "ann_macs_per_sample", "ann_energy_pj_per_sample", "energy_ratio",
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func optional(v *float64) string {
	if v == nil {
		return ""
	}
	return number(*v)
}

// WriteRunsCSV writes one line per ANN (name "ANN", T 0) and SNN, with a header.
func WriteRunsCSV(w io.Writer, results ...Result) error {
	out := csv.NewWriter(w)
	if err := out.Write(runColumns); err != nil {
		return err
	}
	for i := range results {
		r := &results[i]
		created := ""
		if !r.Created.IsZero() {
			created = r.Created.Format(time.RFC3339)
		}
		head := []string{r.Label, r.Command, r.Version, created, strconv.FormatUint(r.Seed, 10), r.CPU,
			strconv.Itoa(r.Workers), r.Dataset.Name, strconv.Itoa(r.Dataset.Test), r.Network.Arch,
			strconv.FormatInt(r.Network.Parameters, 10), strconv.FormatInt(r.Network.MACs, 10)}
		annRatio := ""
		if r.ANN.EnergyPJ > 0 {
			annRatio = "1"
		}
		metric, value := metricCells(r.ANN.Metrics)
		line := append(head[:len(head):len(head)], "ANN", "0", "", "", "", "", "", "", metric, value,
			optional(r.ANN.AccuracySE), "", "0", "0", "0", "", "0", strconv.FormatInt(r.Network.MACs, 10), "0", "0", "0", "",
			r.Energy.Profile, number(r.ANN.EnergyPJ), annRatio, "", number(r.Timing.ANNSamplesPerSec), "", "", "", "", "", "")
		if err := out.Write(line); err != nil {
			return err
		}
		for j := range r.SNN {
			s := &r.SNN[j]
			reference := ""
			if s.Reference != nil {
				reference = number(s.Reference.EnergyPJ)
			}
			metric, value := metricCells(s.Metrics)
			line := append(head[:len(head):len(head)], s.Name, strconv.Itoa(s.Timesteps), burstText(s.MaxSpike), s.Calib,
				s.Neuron, s.Shift, s.Threshold, s.Profile, metric, value, optional(s.AccuracySE), optional(s.Agreement),
				number(s.AvgTimesteps), number(s.Spikes), number(s.Events), number(s.Density), number(s.SOPs), number(s.MACs),
				number(s.PoolAdds), number(s.ResidualAdds), number(s.NeuronUpdates), number(s.SpikesPerSyn),
				r.Energy.Profile, number(s.EnergyPJ), number(s.EnergyRatio), reference, number(s.SamplesPerSec))
			if err := out.Write(append(line, s.methodCells()...)); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// methodCells are the settings of the method's stages; empty where a stage was
// not run.
func (s *SNN) methodCells() []string {
	cells := make([]string, 6)
	if x := s.Search; x != nil {
		cells[0], cells[1] = number(x.BudgetRatio), x.Guard
	}
	if x := s.SSC; x != nil {
		cells[2] = number(x.Ratio)
	}
	if x := s.IAT; x != nil {
		cells[3], cells[4], cells[5] = x.Policy, number(x.Floor), number(x.Risk)
	}
	return cells
}

func metricCells(m Metrics) (name, value string) {
	name, v, ok := m.Primary()
	if !ok {
		return "", ""
	}
	return name, number(v)
}

// WriteLayersCSV writes one line per layer of every SNN, with a header. There
// are no lines of totals: they would be summed again.
func WriteLayersCSV(w io.Writer, results ...Result) error {
	out := csv.NewWriter(w)
	if err := out.Write(layerFields); err != nil {
		return err
	}
	for i := range results {
		for j := range results[i].SNN {
			s := &results[i].SNN[j]
			for k := range s.Layers {
				l := &s.Layers[k]
				err := out.Write([]string{
					results[i].Label, s.Name, strconv.Itoa(s.Timesteps), strconv.Itoa(k), l.Name, l.Op, shapeText(l.Shape),
					strconv.FormatInt(l.Neurons, 10), strconv.Itoa(l.MaxSpike), number(l.ThresholdMean), number(l.ThresholdMin),
					number(l.ThresholdMax), number(l.Spikes), number(l.Events), number(l.Density), number(l.SOPs),
					number(l.MACs), number(l.EnergyPJ), number(l.EnergyShare), strconv.FormatInt(l.ANNMACs, 10),
					number(l.ANNEnergyPJ), number(l.EnergyRatio),
				})
				if err != nil {
					return err
				}
			}
		}
	}
	out.Flush()
	return out.Error()
}
