package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A grid is a table of text for the terminal. The first column is aligned left,
// the others right.
type grid struct {
	head []string
	rows [][]string
	foot bool // a rule stands before the last row
}

func (g *grid) write(w *bufio.Writer) {
	widths := make([]int, len(g.head))
	for _, row := range append([][]string{g.head}, g.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		w.WriteString(strings.TrimRight(b.String(), " "))
		w.WriteByte('\n')
	}
	total := 0
	for _, n := range widths {
		total += n + 2
	}
	line(g.head)
	w.WriteString(strings.Repeat("-", total-2) + "\n")
	for i, row := range g.rows {
		if g.foot && i == len(g.rows)-1 {
			w.WriteString(strings.Repeat("-", total-2) + "\n")
		}
		line(row)
	}
}

// dash stands for a figure that was not taken.
func dash(text string, there bool) string {
	if !there {
		return "-"
	}
	return text
}

// WriteTable writes the result for people: what ran, and one line per network
// with accuracy, spikes, operations and energy.
func WriteTable(w io.Writer, r Result) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s on %s: %s test samples, %s parameters, %s MACs\n", r.Network.Arch, r.Dataset.Name,
		integer(int64(r.Dataset.Test)), integer(r.Network.Parameters), count(float64(r.Network.MACs)))
	metric, ann, ok := r.ANN.Primary()
	for i := 0; !ok && i < len(r.SNN); i++ {
		metric, _, ok = r.SNN[i].Primary()
	}
	if metric == "" {
		metric = "accuracy"
	}
	_, _, annOK := r.ANN.Primary()
	g := grid{head: []string{"network", "T", "steps", metric, "s.e.", "to ANN", "spikes", "SOPs", "MACs", "energy", "x ANN"}}
	g.rows = append(g.rows, []string{"ANN", "-", "-", dash(percent(ann), annOK), standardErrorText(r.ANN.Metrics), "-", "-", "-",
		count(float64(r.Network.MACs)), dash(energy(r.ANN.EnergyPJ), r.ANN.EnergyPJ > 0), dash("1", r.ANN.EnergyPJ > 0)})
	for i := range r.SNN {
		s := &r.SNN[i]
		_, v, ok := s.Primary()
		g.rows = append(g.rows, []string{s.Name, fmt.Sprint(s.Timesteps), steps(s.AvgTimesteps), dash(percent(v), ok),
			standardErrorText(s.Metrics), dash(points(v-ann), ok && annOK), count(s.Spikes), count(s.SOPs), count(s.MACs),
			energy(s.EnergyPJ), dash(significant(s.EnergyRatio), s.EnergyRatio > 0)})
	}
	g.write(b)
	if r.Energy.Profile != "" {
		fmt.Fprintf(b, "Energy: profile %s (%g pJ per MAC, %g pJ per accumulate), %s.\n",
			r.Energy.Profile, r.Energy.MACPJ, r.Energy.ACPJ, EnergyNote)
	}
	return b.Flush()
}

func standardErrorText(m Metrics) string {
	if m.AccuracySE == nil {
		return "-"
	}
	return strings.TrimPrefix(points(*m.AccuracySE), "+")
}

// layerColumns are the columns of the layer table, the same words in the
// terminal, on the page and in the CSV file's documentation.
var layerColumns = []string{"layer", "op", "shape", "neurons", "maxspike", "threshold", "min", "max", "spikes", "events",
	"density", "SOPs", "MACs", "energy", "share", "ANN MACs", "ANN energy", "x ANN"}

// layerRow formats one row; total marks the sum of all layers.
func layerRow(l *Layer, total bool) []string {
	neurons := l.Neurons > 0
	return []string{
		l.Name, dash(l.Op, l.Op != ""), dash(shapeText(l.Shape), len(l.Shape) > 0),
		dash(integer(l.Neurons), neurons), dash(fmt.Sprint(l.MaxSpike), neurons && !total && l.MaxSpike > 0),
		dash(significant(l.ThresholdMean), l.ThresholdMean > 0), dash(significant(l.ThresholdMin), l.ThresholdMin > 0),
		dash(significant(l.ThresholdMax), l.ThresholdMax > 0),
		dash(count(l.Spikes), neurons), dash(count(l.Events), neurons), dash(significant(l.Density), neurons),
		count(l.SOPs), count(l.MACs), energy(l.EnergyPJ), share(l.EnergyShare),
		dash(count(float64(l.ANNMACs)), l.ANNMACs > 0), dash(energy(l.ANNEnergyPJ), l.ANNEnergyPJ > 0),
		dash(significant(l.EnergyRatio), l.EnergyRatio > 0),
	}
}

// Total sums the layers of an entry into one row named "total"; its density is
// the entry's.
func (s *SNN) Total() Layer {
	t := Layer{Name: "total", Density: s.Density}
	for i := range s.Layers {
		l := &s.Layers[i]
		t.Neurons += l.Neurons
		t.Spikes += l.Spikes
		t.Events += l.Events
		t.SOPs += l.SOPs
		t.MACs += l.MACs
		t.EnergyPJ += l.EnergyPJ
		t.EnergyShare += l.EnergyShare
		t.ANNMACs += l.ANNMACs
		t.ANNEnergyPJ += l.ANNEnergyPJ
	}
	t.EnergyRatio = ratio(t.EnergyPJ, t.ANNEnergyPJ)
	return t
}

// WriteLayerTable writes the layers of one entry for people, with totals.
func WriteLayerTable(w io.Writer, s SNN) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s, T = %d\n", s.Name, s.Timesteps)
	g := grid{head: layerColumns, foot: true}
	for i := range s.Layers {
		g.rows = append(g.rows, layerRow(&s.Layers[i], false))
	}
	total := s.Total()
	g.rows = append(g.rows, layerRow(&total, true))
	g.write(b)
	return b.Flush()
}
