package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string

	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
)

// maxDetailRows bounds the layer tables of the page; the files hold the rest.
const maxDetailRows = 1200

type page struct {
	Title     string
	Subtitle  string
	CSS       template.CSS
	JS        template.JS
	Lead      []string // sentences
	Cards     []card
	Figures   []figureGroup
	Glance    *glance
	Runs      table
	Chosen    *table
	Choices   *table // of the method's stages
	Tables    []fold // behind the choices
	Details   []fold
	LeftOut   int
	Sources   []source
	Terms     []term
	Note      string
	Generated string
}

type card struct{ Label, Value, Hint string }

type figureGroup struct {
	Heading string
	Figures []figure
}

type figure struct {
	ID, Title, Caption string
	SVG                template.HTML
	Legend             []legendView
}

type legendView struct {
	Chip  template.HTML
	Label string
}

// A table's cells carry the value to sort by.
type table struct {
	Caption string
	Head    []string
	Rows    []tableRow
	Foot    []cell
}

type tableRow struct {
	Class string
	Cells []cell
}

type cell struct {
	Text string
	Sort string // empty: sort by the text
	Chip template.HTML
	Mark string // read out and shown behind the text
	// Class is the cell's style; not for the first cell of a row.
	Class string
}

// A fold is a group of tables that opens on demand.
type fold struct {
	ID, Summary string
	Tables      []table
}

type glance struct {
	Caption string
	Steps   []string
	Rows    []glanceRow
}

type glanceRow struct {
	Chip  template.HTML
	Label string
	Cells []glanceCell
}

type glanceCell struct{ Value, Loss, Class string }

type source struct {
	Heading string
	Facts   []fact
	Config  []fact
}

type fact struct{ Name, Value string }

type term struct{ Name, Meaning, Misleads string }

// WriteHTML writes one self-contained page about the results: headline figures,
// plots, sortable tables, what each number means and when it misleads, and what
// it takes to repeat the run. The page loads nothing from elsewhere, follows
// the reader's light or dark scheme, prints, and works without JavaScript.
func WriteHTML(w io.Writer, results []Result, o Options) error {
	if err := validateAll(results); err != nil {
		return err
	}
	p, err := newPage(results, o)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := pageTemplate.Execute(&buf, p); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	_, err = w.Write(buf.Bytes())
	return err
}

func newPage(results []Result, o Options) (*page, error) {
	d := newData(results, o)
	p := &page{CSS: template.CSS(pageCSS), JS: template.JS(pageJS), Title: o.Title, Terms: d.terms()}
	first := &results[0]
	p.Note = capital(EnergyNote)
	if e := first.Energy; e.Profile != "" {
		p.Note = fmt.Sprintf("Energy: profile %s, %g pJ per multiply-accumulate, %g pJ per accumulate; %s.", e.Profile, e.MACPJ, e.ACPJ, EnergyNote)
	}
	var about []string
	for i := range results {
		about = append(about, resultLabel(results, i))
	}
	if p.Title == "" {
		p.Title = first.Network.Arch + " on " + first.Dataset.Name
		if len(results) > 1 {
			p.Title = fmt.Sprintf("%d results compared", len(results))
			p.Subtitle = strings.Join(about, "; ")
		}
	}
	if len(results) == 1 {
		p.Subtitle = fmt.Sprintf("%s parameters, %s MACs per sample; %s test samples, %s classes",
			integer(first.Network.Parameters), count(float64(first.Network.MACs)), integer(int64(first.Dataset.Test)),
			integer(int64(first.Dataset.Classes)))
	}
	if !first.Created.IsZero() {
		p.Generated = first.Created.UTC().Format("2 January 2006, 15:04 UTC")
	}
	p.Lead = d.lead()
	p.Cards = d.cards()
	if err := p.addFigures(d); err != nil {
		return nil, err
	}
	p.Glance = d.glance()
	p.Runs = d.runs()
	p.addChoices(d)
	p.addLayers(d)
	for i := range results {
		p.Sources = append(p.Sources, provenance(results, i))
	}
	return p, nil
}

func (p *page) addFigures(d *data) error {
	groups := []struct {
		heading string
		charts  []Chart
	}{
		{"Accuracy and energy", []Chart{ChartAccuracy, ChartClose, ChartEnergy, ChartTradeoff}},
		{"Inside the network", []Chart{ChartSpikes, ChartDensity, ChartThresholds, ChartLayers}},
		{"Search, compression and early exits", []Chart{ChartSearch, ChartLimits, ChartRatios, ChartExits, ChartExitCurve}},
	}
	for _, g := range groups {
		group := figureGroup{Heading: g.heading}
		for _, c := range g.charts {
			drawn, err := d.draw(c)
			if err != nil {
				return err
			}
			if drawn == nil {
				continue
			}
			svg, err := drawn.svg()
			if err != nil {
				return err
			}
			f := figure{ID: "fig-" + string(c), Title: drawn.title, Caption: drawn.caption, SVG: svg}
			for _, item := range drawn.legend {
				f.Legend = append(f.Legend, legendView{chip(item.index), item.label})
			}
			group.Figures = append(group.Figures, f)
		}
		if len(group.Figures) > 0 {
			p.Figures = append(p.Figures, group)
		}
	}
	return nil
}

// lead says the outcome in sentences.
func (d *data) lead() []string {
	if d.chosen == nil {
		return []string{"No spiking network was evaluated in this run: the figures are the ANN's."}
	}
	s := d.chosen
	name, v, ok := s.Primary()
	_, ann, annOK := d.of.ANN.Primary()
	what := fmt.Sprintf("With %s at T = %d the spiking network", d.chosenCurve().label, s.Timesteps)
	var out []string
	switch {
	case ok && annOK:
		out = append(out, fmt.Sprintf("%s reaches %s %s, against %s of the ANN it was converted from (%s points).",
			what, percent(v), name, percent(ann), points(v-ann)))
	case ok:
		out = append(out, fmt.Sprintf("%s reaches %s %s.", what, percent(v), name))
	}
	if s.EnergyRatio > 0 {
		out = append(out, fmt.Sprintf("Its arithmetic costs %s per sample, %s times what the ANN's costs; memory traffic is not included.",
			energy(s.EnergyPJ), significant(s.EnergyRatio)))
	}
	if s.AvgTimesteps < float64(s.Timesteps) {
		out = append(out, fmt.Sprintf("A sample is answered after %s of %d timesteps on average.", steps(s.AvgTimesteps), s.Timesteps))
	}
	if ok && annOK && s.AccuracySE != nil && d.of.ANN.AccuracySE != nil {
		noise := math.Hypot(*s.AccuracySE, *d.of.ANN.AccuracySE)
		if math.Abs(v-ann) < 2*noise {
			out = append(out, fmt.Sprintf("With %s test samples a difference of up to about %s points can be chance.",
				integer(int64(d.of.Dataset.Test)), strings.TrimPrefix(points(2*noise), "+")))
		}
	}
	return out
}

func (d *data) cards() []card {
	var out []card
	r := &d.results[0]
	if d.of != nil {
		r = d.of
	}
	_, ann, annOK := r.ANN.Primary()
	if annOK {
		hint := "the network before conversion"
		if se := r.ANN.AccuracySE; se != nil {
			hint = fmt.Sprintf("± %s points (one standard error)", strings.TrimPrefix(points(*se), "+"))
		}
		out = append(out, card{"ANN " + d.metric, percent(ann), hint})
	}
	s := d.chosen
	if s == nil {
		return out
	}
	if _, v, ok := s.Primary(); ok {
		hint := s.Name
		if annOK {
			hint = fmt.Sprintf("%s, %s points to the ANN", s.Name, points(v-ann))
		}
		out = append(out, card{fmt.Sprintf("SNN %s at T = %d", d.metric, s.Timesteps), percent(v), hint})
	}
	if s.EnergyRatio > 0 {
		out = append(out, card{"Energy against ANN", significant(s.EnergyRatio) + " ×",
			fmt.Sprintf("%s against %s per sample", energy(s.EnergyPJ), energy(r.ANN.EnergyPJ))})
	}
	if s.AvgTimesteps < float64(s.Timesteps) {
		out = append(out, card{"Mean timesteps", steps(s.AvgTimesteps), fmt.Sprintf("of %d: certain samples leave early", s.Timesteps)})
	}
	if n := s.Neurons(); n > 0 {
		out = append(out, card{"Spikes per neuron", significant(s.Spikes / float64(n)),
			fmt.Sprintf("per sample; %s spikes of %s neurons", count(s.Spikes), count(float64(n)))})
	}
	if s.SpikesPerSyn > 0 && r.Energy.BreakEven > 0 {
		out = append(out, card{"Spikes per synapse", significant(s.SpikesPerSyn),
			fmt.Sprintf("per sample; arithmetic breaks even at %s", significant(r.Energy.BreakEven))})
	}
	if t, name, ok := fewest(r, 0.01); ok {
		out = append(out, card{"Timesteps for 1 point", steps(t), "fewest with at most 1 point lost: " + name})
	}
	return out
}

// fewest returns the fewest mean timesteps of an entry at most loss below the
// ANN.
func fewest(r *Result, loss float64) (t float64, name string, ok bool) {
	_, ann, annOK := r.ANN.Primary()
	for i := range r.SNN {
		s := &r.SNN[i]
		_, v, has := s.Primary()
		if annOK && has && v >= ann-loss && (!ok || s.AvgTimesteps < t) {
			t, name, ok = s.AvgTimesteps, s.Name, true
		}
	}
	return t, name, ok
}

// glance is the table of settings against timesteps.
func (d *data) glance() *glance {
	var columns []int
	for _, c := range d.curves {
		for _, s := range c.points {
			if !slices.Contains(columns, s.Timesteps) {
				columns = append(columns, s.Timesteps)
			}
		}
	}
	slices.Sort(columns)
	if len(d.curves) < 2 || len(columns) < 2 || len(columns) > 16 {
		return nil
	}
	g := &glance{Caption: capital(d.metric) + " in % by setting and timesteps; below it the difference to the ANN in points."}
	for _, t := range columns {
		g.Steps = append(g.Steps, strconv.Itoa(t))
	}
	for _, c := range d.curves {
		row := glanceRow{Chip: chip(c.index), Label: c.label}
		for _, t := range columns {
			var out glanceCell
			for _, s := range c.points {
				_, v, ok := s.Primary()
				if s.Timesteps != t || !ok {
					continue
				}
				out.Value = strconv.FormatFloat(100*v, 'f', 2, 64)
				if _, ann, ok := c.result.ANN.Primary(); ok {
					out.Loss = points(v - ann)
					switch {
					case v >= ann-0.003:
						out.Class = "good"
					case v >= ann-0.01:
						out.Class = "fair"
					}
				}
			}
			row.Cells = append(row.Cells, out)
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

// runs is the table of all networks.
func (d *data) runs() table {
	t := table{
		Caption: "Every network that was evaluated; counts and energies are means per sample. Column heads sort.",
		Head: []string{"network", "T", "mean T", d.metric + " %", "± s.e.", "to ANN", "energy", "× ANN", "spikes", "events", "density", "SOPs",
			"MACs", "spikes/synapse", "maxspike", "calibration", "agreement", "energy, authors' rule"},
	}
	value := func(text string, v float64, there bool) cell {
		if !there {
			return cell{Text: "–", Sort: "-1"}
		}
		return cell{Text: text, Sort: number(v)}
	}
	exits := slices.ContainsFunc(d.curves, func(c curve) bool {
		return slices.ContainsFunc(c.points, func(s *SNN) bool { return s.AvgTimesteps < float64(s.Timesteps) })
	})
	for i := range d.results {
		r := &d.results[i]
		_, ann, annOK := r.ANN.Primary()
		none := cell{Text: "–", Sort: "-1"}
		se := func(m Metrics) cell {
			if m.AccuracySE == nil {
				return none
			}
			return value(strings.TrimPrefix(points(*m.AccuracySE), "+"), *m.AccuracySE, true)
		}
		t.Rows = append(t.Rows, tableRow{Class: "ann", Cells: []cell{
			{Text: inResult(d.results, i, "ANN"), Chip: chip(annLine)}, none, none,
			value(strconv.FormatFloat(100*ann, 'f', 2, 64), ann, annOK), se(r.ANN.Metrics), none,
			value(energy(r.ANN.EnergyPJ), r.ANN.EnergyPJ, r.ANN.EnergyPJ > 0), value("1", 1, r.ANN.EnergyPJ > 0),
			none, none, none, none, value(count(float64(r.Network.MACs)), float64(r.Network.MACs), true), none, none, {Text: "–"}, none, none}})
		best := pareto(r)
		for j := range r.SNN {
			s := &r.SNN[j]
			at := slices.IndexFunc(d.curves, func(c curve) bool { return c.result == r && c.points[0].Name == s.Name })
			_, v, ok := s.Primary()
			name := cell{Text: d.curves[at].label, Chip: chip(d.curves[at].index)}
			if best[j] {
				name.Mark = "★"
			}
			row := tableRow{Cells: []cell{
				name, value(strconv.Itoa(s.Timesteps), float64(s.Timesteps), true),
				value(steps(s.AvgTimesteps), s.AvgTimesteps, exits),
				value(strconv.FormatFloat(100*v, 'f', 2, 64), v, ok), se(s.Metrics), value(points(v-ann), v-ann, ok && annOK),
				value(energy(s.EnergyPJ), s.EnergyPJ, true), value(significant(s.EnergyRatio), s.EnergyRatio, s.EnergyRatio > 0),
				value(count(s.Spikes), s.Spikes, true), value(count(s.Events), s.Events, s.Events > 0 || s.Spikes == 0),
				value(significant(s.Density), s.Density, s.Density > 0 || s.Spikes == 0), value(count(s.SOPs), s.SOPs, true),
				value(count(s.MACs), s.MACs, true), value(significant(s.SpikesPerSyn), s.SpikesPerSyn, s.SpikesPerSyn > 0),
				value(shorten(burstText(s.MaxSpike), 20), meanInt(s.MaxSpike), len(s.MaxSpike) > 0), {Text: s.Calib}, none, none,
			}}
			if s.Agreement != nil {
				row.Cells[16] = value(percent(*s.Agreement), *s.Agreement, true)
			}
			if s.Reference != nil {
				row.Cells[17] = value(energy(s.Reference.EnergyPJ), s.Reference.EnergyPJ, true)
			}
			if s == d.chosen {
				row.Class = "chosen"
			}
			t.Rows = append(t.Rows, row)
		}
	}
	t.dropEmpty()
	return t
}

// dropEmpty removes the columns behind the first that say nothing.
func (t *table) dropEmpty() {
	for c := len(t.Head) - 1; c > 0; c-- {
		says := slices.ContainsFunc(t.Rows, func(r tableRow) bool { return r.Cells[c].Text != "–" && r.Cells[c].Text != "" })
		if says {
			continue
		}
		t.Head = slices.Delete(t.Head, c, c+1)
		for i := range t.Rows {
			t.Rows[i].Cells = slices.Delete(t.Rows[i].Cells, c, c+1)
		}
		if t.Foot != nil {
			t.Foot = slices.Delete(t.Foot, c, c+1)
		}
	}
}

func meanInt(v []int) float64 {
	sum := 0
	for _, x := range v {
		sum += x
	}
	return float64(sum) / float64(max(1, len(v)))
}

// addLayers adds the layer tables: the highlighted entry's in full view, the
// others' folded by setting, as far as the page stays readable.
func (p *page) addLayers(d *data) {
	rows := 0
	for i, c := range d.curves {
		fold := fold{ID: fmt.Sprintf("layers-%d", i), Summary: c.label}
		var listed []string
		for _, s := range c.points {
			if len(s.Layers) == 0 {
				continue
			}
			t := layerCells(s, fmt.Sprintf("%s, T = %d", c.label, s.Timesteps))
			if s == d.chosen {
				p.Chosen = &t
				continue
			}
			if rows += len(s.Layers); rows > maxDetailRows {
				p.LeftOut++
				continue
			}
			fold.Tables = append(fold.Tables, t)
			listed = append(listed, strconv.Itoa(s.Timesteps))
		}
		if len(fold.Tables) > 0 {
			fold.Summary += ": T = " + strings.Join(listed, ", ")
			p.Details = append(p.Details, fold)
		}
	}
}

func layerCells(s *SNN, title string) table {
	t := table{Caption: "Layers of " + title + "; means per sample. A row holds what its spikes cause where they arrive, and the MACs of its own current where that is analog; " +
		"the ANN's columns are of its layers where these happen.", Head: slices.Clone(layerColumns)}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) } // enough to sort by
	raw := func(l *Layer) []string {
		return []string{"", "", "", number(float64(l.Neurons)), number(float64(l.MaxSpike)), number(l.ThresholdMean), number(l.ThresholdMin),
			number(l.ThresholdMax), number(l.Spikes), number(l.Events), number(l.Density), number(l.SOPs), number(l.MACs),
			number(l.EnergyPJ), number(l.EnergyShare), number(float64(l.ANNMACs)), number(l.ANNEnergyPJ), number(l.EnergyRatio)}
	}
	for i := range s.Layers {
		var row tableRow
		sort := raw(&s.Layers[i])
		for c, text := range layerRow(&s.Layers[i], false) {
			if text == "-" {
				text = "–"
			}
			row.Cells = append(row.Cells, cell{Text: text, Sort: sort[c]})
		}
		t.Rows = append(t.Rows, row)
	}
	total := s.Total()
	for _, text := range layerRow(&total, true) {
		if text == "-" {
			text = ""
		}
		t.Foot = append(t.Foot, cell{Text: text})
	}
	t.dropEmpty()
	return t
}

// provenance lists what it takes to repeat result i.
func provenance(results []Result, i int) source {
	r := &results[i]
	s := source{Heading: resultLabel(results, i)}
	add := func(name, value string) {
		if value != "" {
			s.Facts = append(s.Facts, fact{name, value})
		}
	}
	add("Command", "adafire "+r.Command)
	add("Version", r.Version)
	if !r.Created.IsZero() {
		add("Created", r.Created.Format(time.RFC3339))
	}
	add("Seed", strconv.FormatUint(r.Seed, 10))
	add("Data set", fmt.Sprintf("%s: %s training, %s test samples, %s classes", r.Dataset.Name,
		integer(int64(r.Dataset.Train)), integer(int64(r.Dataset.Test)), integer(int64(r.Dataset.Classes))))
	if r.Dataset.Calibration > 0 {
		add("Calibration samples", integer(int64(r.Dataset.Calibration)))
	}
	add("Data SHA-256", r.Dataset.SHA256)
	add("ANN SHA-256", r.Network.SHA256)
	machine := fmt.Sprintf("%d workers, kernels: %s", r.Workers, r.CPU)
	if m := r.Machine; m != nil {
		for _, part := range []string{m.CPU, m.OS, m.Arch, m.GoVersion} {
			if part != "" {
				machine += ", " + part
			}
		}
		if m.Cores > 0 {
			machine += fmt.Sprintf(", %d cores", m.Cores)
		}
	}
	add("Machine", machine)
	add("Whole run", seconds(r.Seconds))
	for _, t := range []struct {
		name  string
		value float64
	}{
		{"Training", r.Timing.TrainS}, {"Calibration", r.Timing.CalibrateS}, {"Search", r.Timing.SearchS}, {"Evaluation", r.Timing.EvaluateS},
	} {
		if t.value > 0 {
			add(t.name, seconds(t.value))
		}
	}
	if v := r.Timing.ANNSamplesPerSec; v > 0 {
		add("ANN speed", count(v)+" samples/s")
	}
	if v := r.Timing.SNNSamplesPerSec; v > 0 {
		add("SNN speed", count(v)+" samples/s")
	}
	s.Config = flatten(r.Config)
	return s
}

// flatten lists the members of a JSON object in order, nested values as JSON.
func flatten(config json.RawMessage) []fact {
	d := json.NewDecoder(bytes.NewReader(config))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var out []fact
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return out
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return out
		}
		text := string(value)
		var s string
		if json.Unmarshal(value, &s) == nil && text != "null" {
			text = s
		}
		out = append(out, fact{fmt.Sprint(key), text})
	}
	return out
}
