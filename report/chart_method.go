package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// holder returns the entry whose stage of the method is shown, with its curve:
// the highlighted one if it has the stage, else Highlight's pick among those
// that have; nil when none has.
func (d *data) holder(has func(*SNN) bool) (*SNN, *curve) {
	if d.chosen != nil && has(d.chosen) {
		return d.chosen, d.chosenCurve()
	}
	i, j, ok := pick(d.results, has)
	if !ok {
		return nil, nil
	}
	s := &d.results[i].SNN[j]
	return s, d.curveOf(&d.results[i], s)
}

func hasSearch(s *SNN) bool { return s.Search != nil }
func hasSSC(s *SNN) bool    { return s.SSC != nil }
func hasIAT(s *SNN) bool    { return s.IAT != nil }

// entryLabel names one entry in legends and captions.
func entryLabel(c *curve, s *SNN) string { return fmt.Sprintf("%s, T = %d", c.label, s.Timesteps) }

// widen extends low and high to v.
func widen(low, high *float64, v float64) { *low, *high = min(*low, v), max(*high, v) }

// spread sets an axis to low..high with a margin and returns where it puts a
// value: at its logarithm where values are positive and span a decade.
//
// The logarithm is taken here instead of by plot.LogScale, which puts the axis'
// label at the middle of the values and makes room for it there.
func spread(a *plot.Axis, low, high float64) (at func(float64) float64) {
	at = func(v float64) float64 { return v }
	a.Tick.Marker = linearTicks{}
	if low > 0 && high/low > 10 {
		at, a.Tick.Marker = math.Log10, exponentTicks{}
		low, high = math.Log10(low), math.Log10(high)
	}
	margin := max(0.06*(high-low), 1e-6*math.Abs(high), 1e-12)
	a.Min, a.Max = low-margin, high+margin
	return at
}

// exponentTicks are logTicks on an axis of decimal logarithms.
type exponentTicks struct{}

// Ticks implements plot.Ticker.
func (exponentTicks) Ticks(low, high float64) []plot.Tick {
	ticks := logTicks{}.Ticks(math.Pow(10, low), math.Pow(10, high))
	for i := range ticks {
		ticks[i].Value = math.Log10(ticks[i].Value)
	}
	return ticks
}

// axisUnit returns the divisor and the label of an axis for costs up to high.
func axisUnit(high float64, unit string) (scale float64, label string) {
	prefixes := []string{unitText(unit), "thousand " + unitText(unit), "million " + unitText(unit), "billion " + unitText(unit)}
	if unit == "pj" {
		prefixes = []string{"pJ", "nJ", "µJ", "mJ", "J"}
	}
	scale = 1
	i := 0
	for i+1 < len(prefixes) && high/scale >= 1000 {
		scale, i = scale*1000, i+1
	}
	return scale, prefixes[i]
}

// A marked scatter writes a text beside each point.
type marked struct {
	xys   plotter.XYs
	texts []string
	style draw.GlyphStyle
}

// Plot implements plot.Plotter.
func (m marked) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	text := p.X.Tick.Label
	text.Color, text.XAlign, text.YAlign = muted, draw.XLeft, draw.YBottom
	for i, q := range m.xys {
		at := vg.Point{X: x(q.X), Y: y(q.Y)}
		c.DrawGlyph(m.style, at)
		if i < len(m.texts) {
			c.FillText(text, vg.Point{X: at.X + 5, Y: at.Y + 2}, m.texts[i])
		}
	}
}

// maxFrontierPoints bounds the points of a frontier in a plot.
const maxFrontierPoints = 400

// search draws the Pareto picture: the frontier of the burst limits, the chosen
// network and the uniform ones, all by the sums of the tables.
func (d *data) search() (*drawing, error) {
	s, own := d.holder(hasSearch)
	if s == nil {
		return nil, nil
	}
	q := s.Search
	frontier := q.Frontier
	if n := len(frontier); n > maxFrontierPoints {
		frontier = make([][2]float64, maxFrontierPoints)
		for i := range frontier { // both ends stay
			frontier[i] = q.Frontier[i*(n-1)/(maxFrontierPoints-1)]
		}
	}
	lowX, highX, lowY, highY := q.Predicted.Cost, q.Predicted.Cost, q.Predicted.Sensitivity, q.Predicted.Sensitivity
	for _, p := range frontier {
		widen(&lowX, &highX, p[0])
		widen(&lowY, &highY, p[1])
	}
	for k := range q.Candidates {
		u := q.uniform(k)
		widen(&lowX, &highX, u.Cost)
		widen(&lowY, &highY, u.Sensitivity)
	}
	if q.Budget > 0 {
		widen(&lowX, &highX, q.Budget)
	}
	scale, unit := axisUnit(highX, q.CostUnit)
	g := &drawing{chart: ChartSearch, width: chartWidth, height: chartHeight, title: "Burst limits: sensitivity against cost",
		plot: newPlot("summed cost per sample, in "+unit, "summed "+metricText(q.Metric))}
	p := g.plot
	atX, atY := spread(&p.X, lowX/scale, highX/scale), spread(&p.Y, lowY, highY)
	place := func(cost, sensitivity float64) plotter.XY {
		return plotter.XY{X: atX(cost / scale), Y: atY(sensitivity)}
	}
	p.X.Padding = vg.Points(6)
	p.Add(horizontalRules())
	if q.Budget > 0 {
		p.Add(level{at: atX(q.Budget / scale), vertical: true})
	}

	var line plotter.XYs
	for _, f := range frontier {
		line = append(line, place(f[0], f[1]))
	}
	label := entryLabel(own, s)
	if len(line) > 40 { // markers would hide the line
		curve, err := plotter.NewLine(line)
		if err != nil {
			return nil, err
		}
		curve.LineStyle = draw.LineStyle{Color: seriesColor(own.index), Width: vg.Points(1.8)}
		p.Add(fixed{curve})
	} else if err := addCurve(p, own.index, line); err != nil {
		return nil, err
	}
	if len(line) > 0 {
		g.legend = append(g.legend, legendItem{"frontier: no other limits are better and cheaper", own.index})
	}
	var squares plotter.XYs
	var texts, said []string
	for k, limit := range q.Candidates {
		u := q.uniform(k)
		at := place(u.Cost, u.Sensitivity)
		squares = append(squares, at)
		if len(q.Candidates) <= 24 {
			texts = append(texts, strconv.Itoa(limit))
			said = append(said, fmt.Sprintf("%d costs %s at %s", limit, costText(u.Cost, q.CostUnit), significant(u.Sensitivity)))
		}
		g.point(at.X, at.Y, fmt.Sprintf("burst limit %d in all layers\ncost %s\nsensitivity %s", limit,
			costText(u.Cost, q.CostUnit), significant(u.Sensitivity)))
	}
	p.Add(marked{squares, texts, draw.GlyphStyle{Color: ink, Radius: vg.Points(3.6), Shape: hollow{sides: 4}}})
	g.legend = append(g.legend, legendItem{"one burst limit for all layers, as numbered", annSquare})
	chosen := place(q.Predicted.Cost, q.Predicted.Sensitivity)
	p.Add(marked{plotter.XYs{chosen}, nil, draw.GlyphStyle{Color: seriesColor(own.index), Radius: vg.Points(4.2), Shape: draw.CircleGlyph{}}},
		marked{plotter.XYs{chosen}, nil, draw.GlyphStyle{Color: ink, Radius: vg.Points(7), Shape: ring{}}})
	text := fmt.Sprintf("chosen for %s: cost %s, sensitivity %s", label, costText(q.Predicted.Cost, q.CostUnit), significant(q.Predicted.Sensitivity))
	g.point(chosen.X, chosen.Y, text)
	g.legend = append(g.legend, legendItem{"chosen for " + label, ringMark}, legendItem{"budget: " + costText(q.Budget, q.CostUnit), annLine})
	g.caption = "Down and to the left is better: outputs closer to the ANN's, for less. All points are sums of single-layer figures, each taken with the other layers unchanged; " +
		"they rank choices and are no forecast of a whole network. " + q.guardText()
	if q.Approximate {
		g.caption += " The frontier was too long to be kept whole, so the choice may be slightly off the best."
	}
	g.alt = fmt.Sprintf("%s, %d points on the frontier; %s; budget %s. Uniform limits: %s.", g.title, len(q.Frontier), text,
		costText(q.Budget, q.CostUnit), strings.Join(said, "; "))
	return g, nil
}

// guardText says what the guard kept, in a sentence.
func (s *Search) guardText() string {
	switch s.Guard {
	case "":
		return ""
	case "searched":
		return "The guard measured both networks and kept the searched limits."
	case "uniform":
		return "The guard measured both networks and kept the uniform limit, which was no worse: the network runs with that one."
	case "off":
		return "The guard was off: the searched limits were kept without comparing."
	}
	return "Guard: " + s.Guard + "."
}

// choices draws what a stage chose for each layer: burst limits or threshold
// ratios.
func (d *data) choices(c Chart) (*drawing, error) {
	has, name := hasSearch, "search"
	if c == ChartRatios {
		has, name = hasSSC, "ssc"
	}
	s, own := d.holder(has)
	if s == nil {
		return nil, nil
	}
	all := s.stages()
	st := all[slices.IndexFunc(all, func(st stage) bool { return st.name == name })]
	names, values, cut := st.layers, st.chosen, ""
	if n := len(names); n > maxRows {
		names, values, cut = names[:maxRows], values[:maxRows], fmt.Sprintf(" Drawn are the first %d of %d layers.", maxRows, n)
	}
	g := &drawing{chart: c, width: chartWidth, title: "Chosen burst limits, by layer", plot: newPlot("burst limit: most spikes per timestep", "")}
	if c == ChartRatios {
		g.title, g.plot = "Threshold ratios, by layer", newPlot("threshold after compression / before", "")
	}
	g.layerAxis(names)
	high := slices.Max(values)
	g.legend = []legendItem{{entryLabel(own, s), own.index}}
	mark := 1.0
	if c == ChartRatios {
		g.caption = fmt.Sprintf("A higher threshold means fewer spikes. Ratio 1 leaves a layer as it was; layers whose outputs matter little get more. "+
			"The summed sensitivity may be %s times that of unchanged thresholds.", trimmed(s.SSC.Ratio))
		if m := s.SSC.Measured; m != nil {
			g.caption += fmt.Sprintf(" Measured on the whole network: cost %s before, %s after.", costText(m.Before.Cost, st.unit), costText(m.After.Cost, st.unit))
		}
		g.legend = append(g.legend, legendItem{"unchanged", annLine})
	} else {
		g.plot.X.Tick.Marker = wholeTicks{}
		g.caption = "Layers that need large values in few timesteps get a high limit, the others save spikes with a low one."
		if mark = 0; s.Search.Uniform != nil {
			mark = float64(s.Search.Uniform.MaxSpike)
			g.legend = append(g.legend, legendItem{"one limit for all layers, for comparison", annLine})
		}
		if text := s.Search.guardText(); text != "" {
			g.caption += " " + text
		}
	}
	g.caption += cut
	if err := g.bars(values, own.index, nil, max(high, mark)); err != nil {
		return nil, err
	}
	if mark > 0 {
		g.plot.Add(level{at: mark, vertical: true})
	}
	var said []string
	for i, v := range values {
		text := fmt.Sprintf("%s: %s", names[i], steps(v))
		said = append(said, text)
		if k := slices.Index(st.candidates, v); len(st.cost) > 0 && k >= 0 {
			text += fmt.Sprintf("\ncost %s, sensitivity %s", costText(st.cost[i][k], st.unit), significant(st.sensitivity[i][k]))
		}
		g.hits = append(g.hits, hit{v, float64(len(names) - 1 - i), text})
	}
	g.alt = fmt.Sprintf("%s of %s. %s.", g.title, entryLabel(own, s), strings.Join(said, "; "))
	return g, nil
}
