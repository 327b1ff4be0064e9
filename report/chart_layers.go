package report

import (
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// layerAxis puts layers from top to bottom; names holds one per row.
func (g *drawing) layerAxis(names []string) {
	p := g.plot
	var ticks plot.ConstantTicks
	for i, name := range names {
		ticks = append(ticks, plot.Tick{Value: float64(len(names) - 1 - i), Label: shorten(name, 24)})
	}
	p.Y.Tick.Marker = ticks
	p.Y.Tick.Length = 0
	p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
	g.height = vg.Length(66 + rowHeight(len(names))*vg.Length(len(names)))
	p.X.Tick.Marker = linearTicks{}
	p.Add(verticalRules())
}

// maxRows bounds the rows of a plot of layers.
const maxRows = 120

// rows returns the layers a plot shows and what its caption says about it.
func (d *data) rows() ([]Layer, string) {
	all := d.chosen.Layers
	if len(all) <= maxRows {
		return all, ""
	}
	return all[:maxRows], fmt.Sprintf(" Drawn are the first %d of %d layers.", maxRows, len(all))
}

// rowHeight lets few layers breathe and keeps many on one screen.
func rowHeight(layers int) vg.Length {
	return vg.Length(max(13, min(30, 230/max(1, layers))))
}

// shorten cuts s in the middle to at most n characters.
func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n/2-1]) + "…" + string(r[len(r)-(n-n/2):])
}

// chosenCurve returns the highlighted entry's curve.
func (d *data) chosenCurve() *curve { return d.curveOf(d.of, d.chosen) }

func (d *data) curveOf(r *Result, s *SNN) *curve {
	for i := range d.curves {
		if d.curves[i].result == r && d.curves[i].points[0].Name == s.Name {
			return &d.curves[i]
		}
	}
	return nil
}

// A series is the markers of one setting beside the bars; Y is the row.
type series struct {
	color color.Color
	glyph draw.GlyphDrawer
	xys   plotter.XYs
}

// bars draws values from the top row down, and the markers of the others above
// the bars, spread within the row so that equal ones stay visible.
func (g *drawing) bars(values []float64, index int, others []series, high float64) error {
	p := g.plot
	p.X.Min, p.X.Max = 0, math.Max(high*1.04, 1e-9)
	up := slices.Clone(values)
	slices.Reverse(up)
	bar, err := plotter.NewBarChart(plotter.Values(up), rowHeight(len(values))*0.62)
	if err != nil {
		return err
	}
	bar.Color, bar.Horizontal = seriesColor(index), true
	bar.LineStyle.Width = 0
	p.Add(fixed{bar})
	for k, o := range others {
		spread := min(0.16, 0.5/float64(len(others)))
		for i := range o.xys {
			o.xys[i].Y -= (float64(k) - float64(len(others)-1)/2) * spread
		}
		back, err := plotter.NewScatter(o.xys)
		if err != nil {
			return err
		}
		dots, err := plotter.NewScatter(o.xys)
		if err != nil {
			return err
		}
		// A disc in the paper's colour lifts the marker off the bar.
		back.GlyphStyle = draw.GlyphStyle{Color: paper, Radius: vg.Points(4.6), Shape: draw.CircleGlyph{}}
		dots.GlyphStyle = draw.GlyphStyle{Color: o.color, Radius: vg.Points(3.1), Shape: o.glyph}
		p.Add(fixed{back}, fixed{dots})
	}
	return nil
}

// layers draws one bar per layer of the highlighted entry, and dots for the
// other settings of the same result at the same number of timesteps.
func (d *data) layers(chart Chart, title, axis, caption string, value func(*Layer) (float64, bool)) (*drawing, error) {
	if d.chosen == nil {
		return nil, nil
	}
	own := d.chosenCurve()
	g := &drawing{chart: chart, width: chartWidth, title: title, plot: newPlot(axis, "")}
	var names []string
	var values plotter.Values
	row := map[string]int{}
	var said []string
	layers, cut := d.rows()
	for i := range layers {
		l := &layers[i]
		if v, ok := value(l); ok {
			row[l.Name] = len(names)
			names, values = append(names, l.Name), append(values, v)
			said = append(said, l.Name+" "+significant(v))
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	g.layerAxis(names)
	high := 0.0
	for _, v := range values {
		high = max(high, v)
	}
	last := float64(len(names) - 1)
	var others []series
	g.legend = []legendItem{{fmt.Sprintf("%s, T = %d", own.label, d.chosen.Timesteps), own.index}}
	for _, c := range d.shown() {
		if c.result != d.of || c.index == own.index {
			continue
		}
		for _, s := range c.points {
			if s.Timesteps != d.chosen.Timesteps {
				continue
			}
			var xys plotter.XYs
			for j := range s.Layers {
				v, ok := value(&s.Layers[j])
				if at, known := row[s.Layers[j].Name]; ok && known {
					xys = append(xys, plotter.XY{X: v, Y: last - float64(at)})
					high = max(high, v)
				}
			}
			if len(xys) > 0 {
				others = append(others, series{seriesColor(c.index), seriesGlyph(c.index), xys})
				g.legend = append(g.legend, legendItem{fmt.Sprintf("%s, T = %d", c.label, s.Timesteps), c.index})
			}
		}
	}
	if err := g.bars(values, own.index, others, high); err != nil {
		return nil, err
	}
	for i, v := range values {
		g.hits = append(g.hits, hit{v, last - float64(i), fmt.Sprintf("%s: %s %s", names[i], significant(v), axis)})
	}
	g.caption = caption + cut
	if len(others) > 0 {
		g.caption += " Bars: the highlighted network; markers: the other settings at the same number of timesteps."
	}
	g.alt = fmt.Sprintf("%s of %s at T = %d: %s.", title, own.label, d.chosen.Timesteps, strings.Join(said, ", "))
	return g, nil
}

// span draws the range of the thresholds of every layer with its mean.
type span struct {
	low, mean, high []float64 // from the bottom up
	index           int
}

// Plot implements plot.Plotter.
func (s span) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i := range s.mean {
		at := y(float64(i))
		if s.high[i] > s.low[i] {
			line := draw.LineStyle{Color: seriesColor(s.index), Width: vg.Points(2.2)}
			c.StrokeLine2(line, x(s.low[i]), at, x(s.high[i]), at)
			for _, end := range []float64{s.low[i], s.high[i]} {
				c.StrokeLine2(line, x(end), at-vg.Points(4), x(end), at+vg.Points(4))
			}
		}
		c.DrawGlyph(draw.GlyphStyle{Color: seriesColor(s.index), Radius: vg.Points(4.2), Shape: draw.CircleGlyph{}}, vg.Point{X: x(s.mean[i]), Y: at})
	}
}

func (d *data) thresholds() (*drawing, error) {
	if d.chosen == nil {
		return nil, nil
	}
	own := d.chosenCurve()
	g := &drawing{chart: ChartThresholds, width: chartWidth, title: "Firing thresholds, by layer",
		plot: newPlot("threshold, in units of the ANN's activation", "")}
	var names, said []string
	s := span{index: own.index}
	high := 0.0
	layers, cut := d.rows()
	for i := range layers {
		l := &layers[len(layers)-1-i]
		if l.Neurons == 0 || l.ThresholdMean <= 0 {
			continue
		}
		low, top := l.ThresholdMin, l.ThresholdMax
		if top == 0 { // ranges are optional
			low, top = l.ThresholdMean, l.ThresholdMean
		}
		text := fmt.Sprintf("%s: mean %s, %s to %s", l.Name, significant(l.ThresholdMean), significant(low), significant(top))
		g.hits = append(g.hits, hit{l.ThresholdMean, float64(len(names)), text})
		names, said = append([]string{l.Name}, names...), append([]string{text}, said...)
		s.low, s.mean, s.high = append(s.low, low), append(s.mean, l.ThresholdMean), append(s.high, top)
		high = max(high, top)
	}
	if len(names) == 0 {
		return nil, nil
	}
	g.layerAxis(names)
	g.plot.X.Min, g.plot.X.Max = 0, high*1.04
	g.plot.Add(s)
	g.legend = []legendItem{{fmt.Sprintf("%s, T = %d", own.label, d.chosen.Timesteps), own.index}}
	g.caption = "Mean over the layer's channels, with the lowest and the highest. Wide ranges are why each channel has its own threshold." + cut
	g.alt = fmt.Sprintf("Firing thresholds of %s at T = %d. %s.", own.label, d.chosen.Timesteps, strings.Join(said, "; "))
	return g, nil
}

// layerEnergy draws the energy of every layer of the highlighted entry, and of
// the ANN's.
func (d *data) layerEnergy() (*drawing, error) {
	if d.chosen == nil {
		return nil, nil
	}
	layers, cut := d.rows()
	high := 0.0
	for i := range layers {
		high = max(high, layers[i].EnergyPJ, layers[i].ANNEnergyPJ)
	}
	if high == 0 {
		return nil, nil
	}
	unit, scale := "pJ", 1.0
	for _, u := range []string{"nJ", "µJ", "mJ", "J"} {
		if high/scale < 1000 {
			break
		}
		unit, scale = u, scale*1000
	}
	own := d.chosenCurve()
	g := &drawing{chart: ChartLayers, width: chartWidth, title: "Where the energy goes", plot: newPlot("energy per sample in "+unit, "")}
	var names, said []string
	var values []float64
	ann := series{color: ink, glyph: hollow{sides: 4}}
	last := float64(len(layers) - 1)
	for i := range layers {
		l := &layers[i]
		names, values = append(names, l.Name), append(values, l.EnergyPJ/scale)
		text := l.Name + ": " + energy(l.EnergyPJ)
		if l.ANNEnergyPJ > 0 {
			ann.xys = append(ann.xys, plotter.XY{X: l.ANNEnergyPJ / scale, Y: last - float64(i)})
			text += ", ANN " + energy(l.ANNEnergyPJ)
		}
		g.hits = append(g.hits, hit{l.EnergyPJ / scale, last - float64(i), text})
		said = append(said, text)
	}
	g.layerAxis(names)
	var others []series
	g.legend = []legendItem{{fmt.Sprintf("%s, T = %d", own.label, d.chosen.Timesteps), own.index}}
	if len(ann.xys) > 0 {
		others = []series{ann}
		g.legend = append(g.legend, legendItem{"the ANN's layers that its spikes reach", annSquare})
	}
	if err := g.bars(values, own.index, others, high/scale); err != nil {
		return nil, err
	}
	g.caption = "Bars: the arithmetic that a layer's spikes cause where they arrive, and that of its own current where that is analog. " +
		"Squares: the layers of the ANN where those operations happen, each in one row. Where the bar passes the square, the ANN does them for less." + cut
	g.alt = fmt.Sprintf("Energy by layer of %s at T = %d: %s.", own.label, d.chosen.Timesteps, strings.Join(said, "; "))
	return g, nil
}
