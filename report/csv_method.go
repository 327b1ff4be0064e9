package report

import (
	"encoding/csv"
	"io"
	"strconv"
)

var (
	tableFields = []string{"label", "setting", "T", "stage", "index", "layer", "candidate", "sensitivity", "metric", "cost", "cost_unit", "chosen"}
	exitFields  = []string{"label", "setting", "T", "timestep", "threshold", "exits", "fixed_accuracy"}
	sweepFields = []string{"label", "setting", "T", "policy", "score", "floor_or_risk", "accuracy", "avg_timesteps", "energy_pj_per_sample"}
)

// writeEntries writes the header and the lines of every SNN.
func writeEntries(w io.Writer, head []string, results []Result, lines func(s *SNN, key []string) [][]string) error {
	out := csv.NewWriter(w)
	if err := out.Write(head); err != nil {
		return err
	}
	for i := range results {
		for j := range results[i].SNN {
			s := &results[i].SNN[j]
			key := []string{results[i].Label, s.Name, strconv.Itoa(s.Timesteps)}
			if err := out.WriteAll(lines(s, key[:3:3])); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// WriteTablesCSV writes the tables behind the choices, one line per stage
// (search or ssc), layer and candidate, with a header. In the column chosen, 1
// marks the candidate the layer got.
func WriteTablesCSV(w io.Writer, results ...Result) error {
	return writeEntries(w, tableFields, results, func(s *SNN, key []string) (lines [][]string) {
		for _, st := range s.stages() {
			for l, row := range st.sensitivity {
				for k, v := range row {
					chosen := "0"
					if st.candidates[k] == st.chosen[l] {
						chosen = "1"
					}
					lines = append(lines, append(key, st.name, strconv.Itoa(l), st.layers[l], number(st.candidates[k]),
						number(v), st.metric, number(st.cost[l][k]), st.unit, chosen))
				}
			}
		}
		return lines
	})
}

// WriteExitsCSV writes one line per timestep of every SNN with early exits, with
// a header: the threshold, how many samples left, and the accuracy if all had.
func WriteExitsCSV(w io.Writer, results ...Result) error {
	return writeEntries(w, exitFields, results, func(s *SNN, key []string) (lines [][]string) {
		if s.IAT == nil {
			return nil
		}
		for t, threshold := range s.IAT.Thresholds {
			exits, fixed := "", ""
			if t < len(s.IAT.Exits) {
				exits = strconv.Itoa(s.IAT.Exits[t])
			}
			if t < len(s.IAT.FixedAccuracy) {
				fixed = number(s.IAT.FixedAccuracy[t])
			}
			lines = append(lines, append(key, strconv.Itoa(t+1), number(threshold), exits, fixed))
		}
		return lines
	})
}

// WriteSweepCSV writes one line per point of every curve of early exits, with a
// header.
func WriteSweepCSV(w io.Writer, results ...Result) error {
	return writeEntries(w, sweepFields, results, func(s *SNN, key []string) (lines [][]string) {
		if s.IAT == nil {
			return nil
		}
		for i := range s.IAT.Curve {
			p := &s.IAT.Curve[i]
			lines = append(lines, append(key, s.IAT.policyOf(p), s.IAT.Score, number(p.Setting), number(p.Accuracy),
				number(p.AvgTimesteps), number(p.EnergyPJ)))
		}
		return lines
	})
}
