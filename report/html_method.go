package report

import (
	"fmt"
	"slices"
	"strconv"
)

// maxTableLayers and maxTableColumns bound the tables behind the choices on the
// page; the files hold all.
const (
	maxTableLayers  = 150
	maxTableColumns = 24
	maxExitRows     = 128
)

// addChoices adds what the stages of the method chose, what the tables promised
// and what was measured, and the tables themselves, folded.
func (p *page) addChoices(d *data) {
	t := table{
		Caption: "What the stages chose. Sums of single layers rank choices; only what was measured on the whole network says what a choice is worth.",
		Head:    []string{"stage", "network", "setting", "cost, sum", "cost, measured", "change", "sensitivity, sum", "measured", "guard kept"},
	}
	if s, c := d.holder(hasSearch); s != nil {
		t.Rows = append(t.Rows, s.Search.rows(entryLabel(c, s))...)
		p.Tables = append(p.Tables, s.tableFold("search", entryLabel(c, s), "Burst limits"))
	}
	if s, c := d.holder(hasSSC); s != nil {
		t.Rows = append(t.Rows, s.SSC.rows(entryLabel(c, s))...)
		if len(s.SSC.Cost) > 0 {
			p.Tables = append(p.Tables, s.tableFold("ssc", entryLabel(c, s), "Threshold ratios"))
		}
	}
	if len(t.Rows) > 0 {
		t.nameOnce()
		t.dropEmpty()
		p.Choices = &t
	}
	if s, c := d.holder(hasIAT); s != nil {
		p.Tables = append(p.Tables, s.exitFold(entryLabel(c, s)))
	}
}

// nameOnce moves the network's name from the second column to the caption where
// all rows have the same.
func (t *table) nameOnce() {
	name := t.Rows[0].Cells[1].Text
	if slices.ContainsFunc(t.Rows, func(r tableRow) bool { return r.Cells[1].Text != name }) {
		return
	}
	t.Caption = "Network: " + name + ". " + t.Caption
	t.Head = slices.Delete(t.Head, 1, 2)
	for i := range t.Rows {
		t.Rows[i].Cells = slices.Delete(t.Rows[i].Cells, 1, 2)
	}
}

func plain(text string) cell { return cell{Text: text, Sort: "-1"} }

// estimateCells formats cost and sensitivity of one estimate that may be
// missing.
func estimateCells(e *Estimate, unit string) (cost, sensitivity cell) {
	if e == nil {
		return plain("–"), plain("–")
	}
	return cell{Text: costText(e.Cost, unit), Sort: number(e.Cost)}, cell{Text: significant(e.Sensitivity), Sort: number(e.Sensitivity)}
}

// changeCell compares two costs: those measured where both are, else the sums.
func changeCell(before, after *Estimate) cell {
	if before == nil || after == nil || before.Cost <= 0 {
		return plain("–")
	}
	v := after.Cost/before.Cost - 1
	return cell{Text: points(v) + " %", Sort: number(v)}
}

func choiceRow(stage, network, setting, unit, kept string, predicted, measured *Estimate, change cell) tableRow {
	cost, sensitivity := estimateCells(predicted, unit)
	realCost, realSensitivity := estimateCells(measured, unit)
	return tableRow{Cells: []cell{{Text: stage}, {Text: network}, {Text: setting}, cost, realCost, change, sensitivity, realSensitivity, {Text: kept}}}
}

// rows are the uniform limit and the searched limits, and both as the guard saw
// them.
func (s *Search) rows(network string) []tableRow {
	keptSearched, keptUniform := "", ""
	switch s.Guard {
	case "searched":
		keptSearched, keptUniform = "yes", "no"
	case "uniform":
		keptSearched, keptUniform = "no", "yes"
	}
	predicted := s.Predicted
	change := plain("–")
	var out []tableRow
	if u := s.Uniform; u != nil {
		var sums *Estimate
		if k := slices.Index(s.Candidates, u.MaxSpike); k >= 0 {
			sums = new(s.uniform(k))
		}
		out = append(out, choiceRow("search", network, fmt.Sprintf("burst limit %d everywhere", u.MaxSpike), s.CostUnit, keptUniform, sums, &u.Estimate, plain("–")))
		change = changeCell(sums, &predicted)
		if s.Measured != nil {
			change = changeCell(&u.Estimate, s.Measured)
		}
	}
	limits := "limits " + shorten(burstText(s.Chosen), 40)
	out = append(out, choiceRow("search", network, limits, s.CostUnit, keptSearched, &predicted, s.Measured, change))
	if h := s.HeldOut; h != nil {
		const stage = "search, other samples"
		out = append(out, choiceRow(stage, network, "uniform limit", s.CostUnit, keptUniform, nil, &h.Uniform, plain("–")),
			choiceRow(stage, network, limits, s.CostUnit, keptSearched, nil, &h.Searched, changeCell(&h.Uniform, &h.Searched)))
	}
	return out
}

// rows are the network before and after compression.
func (s *SSC) rows(network string) []tableRow {
	side := func(c *Change, after bool) *Estimate {
		switch {
		case c == nil:
			return nil
		case after:
			return &c.After
		}
		return &c.Before
	}
	change := changeCell(side(s.Predicted, false), side(s.Predicted, true))
	if s.Measured != nil {
		change = changeCell(&s.Measured.Before, &s.Measured.After)
	}
	return []tableRow{
		choiceRow("compression", network, "as calibrated", s.CostUnit, "", side(s.Predicted, false), side(s.Measured, false), plain("–")),
		choiceRow("compression", network, s.boundText(), s.CostUnit, "",
			side(s.Predicted, true), side(s.Measured, true), change),
	}
}

// boundText says what was chosen within.
func (s *SSC) boundText() string {
	text := "raised, sensitivity ratio " + trimmed(s.Ratio)
	if s.Used > 0 && s.Used != s.Ratio {
		text += ", lowered to " + trimmed(s.Used)
	}
	return text
}

// tableFold shows the tables of a stage, layer by candidate.
func (s *SNN) tableFold(name, label, what string) fold {
	all := s.stages()
	st := all[slices.IndexFunc(all, func(st stage) bool { return st.name == name })]
	f := fold{ID: "tables-" + name, Summary: fmt.Sprintf("%s: what every candidate does to every layer (%s)", what, label)}
	layers, columns, note := len(st.layers), len(st.candidates), ""
	if layers > maxTableLayers || columns > maxTableColumns {
		layers, columns = min(layers, maxTableLayers), min(columns, maxTableColumns)
		note = fmt.Sprintf(" Shown are %d of %d layers and %d of %d candidates.", layers, len(st.layers), columns, len(st.candidates))
	}
	build := func(caption string, values [][]float64, text func(float64) string) table {
		t := table{Caption: caption + note, Head: []string{"layer"}}
		for _, k := range st.candidates[:columns] {
			t.Head = append(t.Head, trimmed(k))
		}
		for l := range layers {
			row := tableRow{Cells: []cell{{Text: st.layers[l]}}}
			for k := range columns {
				c := cell{Text: text(values[l][k]), Sort: number(values[l][k])}
				if st.candidates[k] == st.chosen[l] {
					c.Class, c.Text = "pick", c.Text+" ✓"
				}
				row.Cells = append(row.Cells, c)
			}
			t.Rows = append(t.Rows, row)
		}
		return t
	}
	f.Tables = append(f.Tables,
		build(fmt.Sprintf("%s: sensitivity (%s) with only this layer changed, by candidate; ✓ was chosen.", what, metricText(st.metric)), st.sensitivity, significant),
		build(fmt.Sprintf("%s: cost of the layer (%s per sample), by candidate; ✓ was chosen.", what, unitText(st.unit)), st.cost, count))
	return f
}

// checkText says what was seen on the samples the thresholds were checked on.
func (x *IAT) checkText() string {
	if x.Samples == 0 {
		return ""
	}
	text := fmt.Sprintf(" On the %s samples the thresholds were checked on, %s of the answers were those after all timesteps", integer(int64(x.Samples)), percent(x.Agreement))
	if x.Bound > 0 {
		text += fmt.Sprintf("; the upper bound of the share of others is %s", percent(x.Bound))
	}
	return text + "."
}

// exitFold shows thresholds and exits by timestep, and the sweep.
func (s *SNN) exitFold(label string) fold {
	x := s.IAT
	f := fold{ID: "tables-exits", Summary: "Early exits: thresholds, exits and the sweep (" + label + ")"}
	t := table{
		Caption: fmt.Sprintf("Exits of %s by timestep: policy %s, score %s.%s", label, x.Policy, x.Score, x.checkText()),
		Head:    []string{"timestep", "threshold", "samples that leave", "share", "gone so far", "accuracy if all left"},
	}
	total, gone := 0.0, 0.0
	for _, n := range x.Exits {
		total += float64(n)
	}
	for step, threshold := range x.Thresholds {
		if step == maxExitRows {
			t.Caption += fmt.Sprintf(" Shown are the first %d of %d timesteps.", maxExitRows, len(x.Thresholds))
			break
		}
		row := []cell{{Text: strconv.Itoa(step + 1)}, {Text: x.thresholdText(step), Sort: number(threshold)}, plain("–"), plain("–"), plain("–"), plain("–")}
		if total > 0 {
			n := x.Exits[step]
			gone += float64(n)
			row[2] = cell{Text: integer(int64(n)), Sort: strconv.Itoa(n)}
			row[3] = cell{Text: share(float64(n) / total), Sort: strconv.Itoa(n)}
			row[4] = cell{Text: share(gone / total), Sort: number(gone)}
		}
		if step < len(x.FixedAccuracy) {
			row[5] = cell{Text: percent(x.FixedAccuracy[step]), Sort: number(x.FixedAccuracy[step])}
		}
		t.Rows = append(t.Rows, tableRow{Cells: row})
	}
	t.dropEmpty()
	f.Tables = append(f.Tables, t)
	if len(x.Curve) == 0 {
		return f
	}
	sweep := table{Caption: "Sweep of the exit rule of " + label + ".", Head: []string{"policy", "floor or risk", "accuracy", "mean timesteps", "energy"}}
	for i := range x.Curve[:min(len(x.Curve), maxExitRows)] {
		q := &x.Curve[i]
		spent := plain("–")
		if q.EnergyPJ > 0 {
			spent = cell{Text: energy(q.EnergyPJ), Sort: number(q.EnergyPJ)}
		}
		policy := x.policyOf(q)
		sweep.Rows = append(sweep.Rows, tableRow{Cells: []cell{{Text: policy}, {Text: settingName(policy) + " " + trimmed(q.Setting), Sort: number(q.Setting)},
			{Text: percent(q.Accuracy), Sort: number(q.Accuracy)}, {Text: steps(q.AvgTimesteps), Sort: number(q.AvgTimesteps)}, spent}})
	}
	sweep.dropEmpty()
	f.Tables = append(f.Tables, sweep)
	return f
}
