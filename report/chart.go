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

// A Chart names one of the plots.
type Chart string

// The plots. ChartClose is ChartAccuracy near the ANN; ChartSpikes to
// ChartLayers show the layers of the highlighted entry. The others show the
// stages of the method: of the highlighted entry, or, where it lacks the stage,
// of the entry Highlight would pick among those that have it.
const (
	ChartAccuracy   Chart = "accuracy"
	ChartClose      Chart = "accuracy-close"
	ChartEnergy     Chart = "energy"
	ChartTradeoff   Chart = "tradeoff"
	ChartSpikes     Chart = "spikes"
	ChartDensity    Chart = "density"
	ChartThresholds Chart = "thresholds"
	ChartLayers     Chart = "layer-energy"
	ChartSearch     Chart = "search"
	ChartLimits     Chart = "burst-limits"
	ChartRatios     Chart = "threshold-ratios"
	ChartExits      Chart = "exits"
	ChartExitCurve  Chart = "exit-curve"
)

// Charts lists all plots in the order of the page.
func Charts() []Chart {
	return []Chart{ChartAccuracy, ChartClose, ChartEnergy, ChartTradeoff, ChartSpikes, ChartDensity, ChartThresholds, ChartLayers,
		ChartSearch, ChartLimits, ChartRatios, ChartExits, ChartExitCurve}
}

// A drawing is a plot with what its form on a page needs.
type drawing struct {
	chart         Chart
	title         string
	alt           string // what a reader who does not see it should know
	caption       string
	plot          *plot.Plot
	width, height vg.Length
	legend        []legendItem
	hits          []hit
}

// A legendItem names one curve, or one of the marks in ink.
type legendItem struct {
	label string
	index int
}

// Indices of the marks in ink: the ANN's, and what a plot compares with.
const (
	annLine   = -1 // dashed
	annSquare = -2 // hollow
	ringMark  = -3 // around a point
)

// A hit is a point that says something when pointed at.
type hit struct {
	x, y float64
	text string
}

// data is what all plots are drawn from.
type data struct {
	results []Result
	curves  []curve
	metric  string
	chosen  *SNN
	of      *Result // of chosen
}

func newData(results []Result, o Options) *data {
	d := &data{results: results, curves: curves(results), metric: "accuracy"}
	for i := range results {
		if name, _, ok := results[i].ANN.Primary(); ok {
			d.metric = name
			break
		}
	}
	if i, j, ok := Highlight(results, o); ok {
		d.of, d.chosen = &results[i], &results[i].SNN[j]
		if name, _, ok := d.chosen.Primary(); ok {
			d.metric = name
		}
	}
	return d
}

// value returns the metric of the plots in percent.
func (d *data) value(m Metrics) (float64, bool) {
	name, v, ok := m.Primary()
	return 100 * v, ok && name == d.metric
}

const (
	chartWidth  = vg.Length(480)
	chartHeight = vg.Length(300)
)

// draw builds one plot; nil means that the results hold nothing to show in it.
func (d *data) draw(c Chart) (*drawing, error) {
	switch c {
	case ChartAccuracy:
		return d.accuracy(false)
	case ChartClose:
		return d.accuracy(true)
	case ChartEnergy:
		return d.energy()
	case ChartTradeoff:
		return d.tradeoff()
	case ChartSpikes:
		return d.layers(c, "Spikes per neuron and inference, by layer", "spikes per neuron",
			"Mean number of spikes a neuron of the layer emits while one sample is processed.",
			func(l *Layer) (float64, bool) { return l.Spikes / max(1, float64(l.Neurons)), l.Neurons > 0 })
	case ChartDensity:
		return d.layers(c, "Density, by layer", "share of neurons firing in a timestep",
			"Share of (neuron, timestep) pairs with at least one spike: what event-driven hardware and kernels save is the rest.",
			func(l *Layer) (float64, bool) { return l.Density, l.Neurons > 0 })
	case ChartThresholds:
		return d.thresholds()
	case ChartLayers:
		return d.layerEnergy()
	case ChartSearch:
		return d.search()
	case ChartLimits, ChartRatios:
		return d.choices(c)
	case ChartExits:
		return d.exits()
	case ChartExitCurve:
		return d.exitCurve()
	}
	return nil, fmt.Errorf("chart %q: want one of %v", c, Charts())
}

// timeAxis makes the x axis logarithmic in timesteps.
func (d *data) timeAxis(p *plot.Plot) {
	low, high := math.Inf(1), 0.0
	steps := map[float64]bool{}
	for _, c := range d.shown() {
		for _, s := range c.points {
			low, high = min(low, s.AvgTimesteps), max(high, s.AvgTimesteps)
			steps[s.AvgTimesteps] = true
		}
	}
	if high == 0 {
		low, high = 1, 2
	}
	var ticks plot.ConstantTicks
	for e := math.Floor(math.Log2(low)); e <= math.Ceil(math.Log2(high)); e++ {
		v := math.Exp2(e)
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 3, 64)})
	}
	p.X.Min, p.X.Max = low, high
	if len(steps) < 2 { // one number of timesteps: give it some width
		p.X.Min, p.X.Max = low/2, high*2
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ticks
	p.X.Padding = vg.Points(8)
}

// horizontalRules draws grid lines at the y ticks.
func horizontalRules() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color = nil
	g.Horizontal = draw.LineStyle{Color: rule, Width: vg.Points(0.7)}
	return g
}

func verticalRules() *plotter.Grid {
	g := plotter.NewGrid()
	g.Horizontal.Color = nil
	g.Vertical = draw.LineStyle{Color: rule, Width: vg.Points(0.7)}
	return g
}

// addCurve adds one curve; points outside the plot's y range are left out, the
// line to them is clipped.
func addCurve(p *plot.Plot, index int, xys plotter.XYs) error {
	if len(xys) == 0 {
		return nil
	}
	line, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	line.LineStyle = draw.LineStyle{Color: seriesColor(index), Width: vg.Points(1.8), Dashes: seriesDashes(index)}
	inside := slices.DeleteFunc(slices.Clone(xys), func(q plotter.XY) bool { return q.Y < p.Y.Min || q.Y > p.Y.Max })
	p.Add(fixed{line})
	if len(inside) == 0 {
		return nil
	}
	dots, err := plotter.NewScatter(inside)
	if err != nil {
		return err
	}
	dots.GlyphStyle = draw.GlyphStyle{Color: seriesColor(index), Radius: vg.Points(3.4), Shape: seriesGlyph(index)}
	p.Add(fixed{dots})
	return nil
}

// fixed hides a plotter's data range, so that adding it never widens the axes.
type fixed struct{ plot.Plotter }

// GlyphBoxes keeps the margins the plotter asks for.
func (f fixed) GlyphBoxes(p *plot.Plot) []plot.GlyphBox {
	if g, ok := f.Plotter.(plot.GlyphBoxer); ok {
		return g.GlyphBoxes(p)
	}
	return nil
}

// level draws a line across the plot at y (or x), with a band of plus and minus
// half the width around it.
type level struct {
	at, band float64
	vertical bool
	label    string // written above the line where there are several
}

// Plot implements plot.Plotter.
func (l level) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := draw.LineStyle{Color: ink, Width: vg.Points(1.2), Dashes: annDashes}
	if l.vertical {
		if l.at >= p.X.Min && l.at <= p.X.Max {
			c.StrokeLine2(style, x(l.at), c.Min.Y, x(l.at), c.Max.Y)
		}
		return
	}
	low, high := max(l.at-l.band, p.Y.Min), min(l.at+l.band, p.Y.Max)
	if l.band > 0 && high > low {
		c.FillPolygon(shade, []vg.Point{{X: c.Min.X, Y: y(low)}, {X: c.Max.X, Y: y(low)}, {X: c.Max.X, Y: y(high)}, {X: c.Min.X, Y: y(high)}})
	}
	if l.at >= p.Y.Min && l.at <= p.Y.Max {
		c.StrokeLine2(style, c.Min.X, y(l.at), c.Max.X, y(l.at))
		if l.label != "" {
			text := p.X.Tick.Label
			text.Color, text.XAlign, text.YAlign = muted, draw.XLeft, draw.YBottom
			c.FillText(text, vg.Point{X: c.Min.X + 4, Y: y(l.at) + 1}, l.label)
		}
	}
}

// metricRange returns the lowest and the highest value of the metric, in
// percent, SNNs and ANNs together, and the lowest of the ANNs.
func (d *data) metricRange() (low, high, ann float64, ok bool) {
	low, high, ann = math.Inf(1), math.Inf(-1), math.Inf(1)
	for i := range d.results {
		if v, has := d.value(d.results[i].ANN.Metrics); has {
			low, high, ann = min(low, v), max(high, v), min(ann, v)
		}
	}
	for _, c := range d.shown() {
		for _, s := range c.points {
			if v, has := d.value(s.Metrics); has {
				low, high, ok = min(low, v), max(high, v), true
			}
		}
	}
	return low, high, ann, ok
}

// closeRange returns the y range near the ANN: three points below it to a bit
// above the best.
func (d *data) closeRange() (low, high float64, ok bool) {
	worst, best, ann, ok := d.metricRange()
	if !ok || math.IsInf(ann, 1) {
		return 0, 0, false
	}
	low = max(worst-0.3, ann-3)
	return max(0, low), min(100, best+0.3), true
}

// annLevels adds the ANNs' lines and their legend.
func (g *drawing) annLevels(d *data, band bool) {
	for i := range d.results {
		v, ok := d.value(d.results[i].ANN.Metrics)
		if !ok {
			continue
		}
		l := level{at: v}
		if len(d.results) > 1 && g.chart != ChartAccuracy { // there they would cover each other
			l.label = shorten(inResult(d.results, i, "ANN"), 40)
		}
		if se := d.results[i].ANN.AccuracySE; band && se != nil {
			l.band = 100 * *se
		}
		g.plot.Add(l)
		g.legend = append(g.legend, legendItem{inResult(d.results, i, "ANN"), annLine})
	}
}

func (d *data) accuracy(near bool) (*drawing, error) {
	low, high, ann, ok := d.metricRange()
	if !ok {
		return nil, nil
	}
	g := &drawing{
		chart: ChartAccuracy, width: chartWidth, height: chartHeight,
		title:   capital(d.metric) + " over timesteps",
		caption: "Mean timesteps per sample on a logarithmic axis. The dashed line is the ANN.",
		plot:    newPlot("timesteps T", d.metric+" in %"),
	}
	if near {
		from, to, ok := d.closeRange()
		if !ok || low >= from-2 {
			return nil, nil // the full plot shows as much
		}
		low, high = from, to
		g.chart, g.title = ChartClose, capital(d.metric)+" close to the ANN"
		g.caption = "The last three points below the ANN. The band is one standard error of the ANN's figure: differences within it say nothing."
	} else {
		margin := max(0.5, 0.05*(high-low))
		low, high = max(0, low-margin), min(100, high+margin)
	}
	p := g.plot
	d.timeAxis(p)
	p.Y.Min, p.Y.Max, p.Y.Tick.Marker = low, high, linearTicks{}
	p.Add(horizontalRules())
	g.annLevels(d, near)
	var said []string
	for _, c := range slices.Backward(d.shown()) { // the first lies on top
		var xys plotter.XYs
		for _, s := range c.points {
			v, ok := d.value(s.Metrics)
			if !ok {
				continue
			}
			xys = append(xys, plotter.XY{X: s.AvgTimesteps, Y: v})
			g.point(s.AvgTimesteps, v, d.describe(c.label, s))
		}
		if err := addCurve(p, c.index, xys); err != nil {
			return nil, err
		}
		if n := len(xys); n > 0 {
			said = append(said, fmt.Sprintf("%s: %.2f %% at %s to %.2f %% at %s timesteps", c.label,
				xys[0].Y, steps(xys[0].X), xys[n-1].Y, steps(xys[n-1].X)))
		}
	}
	g.curveLegend(d)
	slices.Reverse(said)
	g.alt = g.title + ". " + strings.Join(said, "; ") + "."
	if !math.IsInf(ann, 1) {
		g.alt += fmt.Sprintf(" The ANN reaches %.2f %%.", ann)
	}
	return g, nil
}

// maxCurves bounds the curves of a plot: more cannot be told apart.
const maxCurves = 24

// shown returns the curves that plots show; tables list all.
func (d *data) shown() []curve { return d.curves[:min(len(d.curves), maxCurves)] }

func (g *drawing) curveLegend(d *data) {
	for _, c := range d.shown() {
		g.legend = append(g.legend, legendItem{c.label, c.index})
	}
	if n := len(d.curves); n > maxCurves {
		g.caption += fmt.Sprintf(" Drawn are the first %d of %d settings.", maxCurves, n)
	}
}

// point records a hit if it lies inside the plot.
func (g *drawing) point(x, y float64, text string) {
	p := g.plot
	if y >= p.Y.Min && y <= p.Y.Max && x >= p.X.Min && x <= p.X.Max {
		g.hits = append(g.hits, hit{x, y, text})
	}
}

// describe says everything about one point.
func (d *data) describe(label string, s *SNN) string {
	text := fmt.Sprintf("%s, T = %d", label, s.Timesteps)
	if s.AvgTimesteps < float64(s.Timesteps) {
		text += fmt.Sprintf(" (%s on average)", steps(s.AvgTimesteps))
	}
	if name, v, ok := s.Primary(); ok {
		text += fmt.Sprintf("\n%s %s", name, percent(v))
	}
	text += fmt.Sprintf("\n%s spikes, %s SOPs per sample\nenergy %s", count(s.Spikes), count(s.SOPs), energy(s.EnergyPJ))
	if s.EnergyRatio > 0 {
		text += fmt.Sprintf(", %s x ANN", significant(s.EnergyRatio))
	}
	return text
}

func (d *data) energy() (*drawing, error) {
	low, high := 1.0, 1.0
	for _, c := range d.shown() {
		for _, s := range c.points {
			if s.EnergyRatio > 0 {
				low, high = min(low, s.EnergyRatio), max(high, s.EnergyRatio)
			}
		}
	}
	if low == 1 && high == 1 {
		return nil, nil
	}
	g := &drawing{
		chart: ChartEnergy, width: chartWidth, height: chartHeight,
		title:   "Energy relative to the ANN, over timesteps",
		caption: "Both axes logarithmic; below the dashed line the spiking network's arithmetic costs less. " + capital(EnergyNote) + ".",
		plot:    newPlot("timesteps T", "energy / energy of the ANN"),
	}
	p := g.plot
	d.timeAxis(p)
	p.Y.Min, p.Y.Max = low/1.15, high*1.15
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, logTicks{}
	p.Add(horizontalRules(), level{at: 1})
	g.legend = append(g.legend, legendItem{"ANN", annLine})
	var said []string
	for _, c := range slices.Backward(d.shown()) { // the first lies on top
		var xys plotter.XYs
		for _, s := range c.points {
			if s.EnergyRatio <= 0 {
				continue
			}
			xys = append(xys, plotter.XY{X: s.AvgTimesteps, Y: s.EnergyRatio})
			g.point(s.AvgTimesteps, s.EnergyRatio, d.describe(c.label, s))
		}
		if err := addCurve(p, c.index, xys); err != nil {
			return nil, err
		}
		if n := len(xys); n > 0 {
			said = append(said, fmt.Sprintf("%s: %s to %s times the ANN", c.label, significant(xys[0].Y), significant(xys[n-1].Y)))
		}
	}
	g.curveLegend(d)
	slices.Reverse(said)
	g.alt = g.title + ". " + strings.Join(said, "; ") + "."
	return g, nil
}

func (d *data) tradeoff() (*drawing, error) {
	low, high, ok := d.closeRange()
	if !ok {
		return nil, nil
	}
	g := &drawing{
		chart: ChartTradeoff, width: chartWidth, height: chartHeight,
		title: capital(d.metric) + " against energy",
		plot:  newPlot("energy / energy of the ANN", d.metric+" in %"),
	}
	p := g.plot
	p.Y.Min, p.Y.Max, p.Y.Tick.Marker = low, high, linearTicks{}
	p.X.Min, p.X.Max = 1, 1
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, logTicks{}
	p.X.Padding = vg.Points(8)
	below, shown := 0, 0
	for _, c := range d.shown() {
		for _, s := range c.points {
			v, ok := d.value(s.Metrics)
			switch {
			case !ok || s.EnergyRatio <= 0:
			case v < low:
				below++
			default:
				shown++
				p.X.Min, p.X.Max = min(p.X.Min, s.EnergyRatio), max(p.X.Max, s.EnergyRatio)
			}
		}
	}
	if shown == 0 {
		return nil, nil
	}
	p.X.Min, p.X.Max = p.X.Min/1.1, p.X.Max*1.1
	p.Add(horizontalRules())
	g.annLevels(d, false)
	p.Add(level{at: 1, vertical: true})
	best := 0
	for i := range d.results {
		r := &d.results[i]
		for j, optimal := range pareto(r) {
			v, ok := d.value(r.SNN[j].Metrics)
			if !optimal || !ok || v < low || v > high || r.SNN[j].EnergyRatio <= 0 {
				continue
			}
			rings, err := plotter.NewScatter(plotter.XYs{{X: r.SNN[j].EnergyRatio, Y: v}})
			if err != nil {
				return nil, err
			}
			rings.GlyphStyle = draw.GlyphStyle{Color: ink, Radius: vg.Points(6.5), Shape: ring{}}
			p.Add(fixed{rings})
			best++
		}
	}
	for _, c := range slices.Backward(d.shown()) { // the first lies on top
		var xys plotter.XYs
		for _, s := range c.points {
			if v, ok := d.value(s.Metrics); ok && s.EnergyRatio > 0 && v >= low {
				xys = append(xys, plotter.XY{X: s.EnergyRatio, Y: v})
				g.point(s.EnergyRatio, v, d.describe(c.label, s))
			}
		}
		if err := addCurve(p, c.index, xys); err != nil {
			return nil, err
		}
	}
	g.caption = "Up and to the left is better. Ringed: no other network of the run is at least as accurate and cheaper. Dashed: the ANN."
	if below > 0 {
		g.caption += fmt.Sprintf(" Below the plot: %d networks.", below)
	}
	g.curveLegend(d)
	g.alt = fmt.Sprintf("%s: %d networks, %d of them on the Pareto frontier, from %s to %s times the ANN's energy. The table of runs has the figures.",
		g.title, shown, best, significant(p.X.Min*1.1), significant(p.X.Max/1.1))
	return g, nil
}

// capital returns s with a capital first letter.
func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' || s == "mAP" || s == "mIoU" || s == "mAP@50" {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
