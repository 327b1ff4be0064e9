package report

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"io"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// svg renders the drawing as an inline SVG element: colours are the page's
// variables, fonts the page's, and every data point carries a tool tip.
func (g *drawing) svg() (template.HTML, error) {
	canvas := vgsvg.NewWith(vgsvg.UseWH(g.width, g.height))
	area := draw.New(canvas)
	g.plot.Draw(area)
	var raw bytes.Buffer
	if _, err := canvas.WriteTo(&raw); err != nil {
		return "", err
	}
	text := raw.String()
	// The element's head names a namespace and a size in points; inside a page
	// it needs neither.
	_, text, ok := strings.Cut(text, "<svg ")
	if ok {
		_, text, ok = strings.Cut(text, ">")
	}
	if !ok {
		return "", fmt.Errorf("chart %s: unexpected SVG", g.chart)
	}
	text = strings.TrimSuffix(strings.TrimSpace(text), "</svg>")
	var replace []string
	for color, name := range cssNames() {
		replace = append(replace, color, name)
	}
	// Text leaves vgsvg escaped and element by element, with its font in front.
	replace = append(replace, "font-family:Liberation Sans;font-variant:normal;font-weight:normal;font-style:normal;", "", "\n\t", " ")
	text = strings.NewReplacer(replace...).Replace(text)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" role="img" viewBox="0 0 %g %g" aria-label="%s">`,
		g.width.Points(), g.height.Points(), html.EscapeString(g.alt))
	b.WriteString(text)
	data := g.plot.DataCanvas(area)
	x, y := g.plot.Transforms(&data)
	for _, h := range g.hits {
		fmt.Fprintf(&b, `<circle class="hit" cx="%.1f" cy="%.1f" r="9"><title>%s</title></circle>`,
			x(h.x).Points(), (g.height - y(h.y)).Points(), html.EscapeString(h.text))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()), nil
}

// chip is the legend's picture of a curve.
func chip(index int) template.HTML {
	switch index {
	case annSquare:
		return `<svg class="chip" viewBox="0 0 28 12" aria-hidden="true"><rect x="10.4" y="2.4" width="7.2" height="7.2" stroke="var(--ink)" stroke-width="1.3"/></svg>`
	case ringMark:
		return `<svg class="chip" viewBox="0 0 28 12" aria-hidden="true"><circle cx="14" cy="6" r="5" stroke="var(--ink)" stroke-width="1.1"/></svg>`
	case annLine:
		return `<svg class="chip" viewBox="0 0 28 12" aria-hidden="true"><path d="M1 6H27" stroke="var(--ink)" stroke-width="1.4" stroke-dasharray="4 4"/></svg>`
	}
	color := fmt.Sprintf("var(--s%d)", index%len(seriesColors))
	dash := ""
	if seriesDashes(index) != nil {
		dash = ` stroke-dasharray="7 3"`
	}
	full := `fill="` + color + `"`
	hollow := `fill="none" stroke="` + color + `" stroke-width="1.2"`
	marker := [...]string{
		`<circle cx="14" cy="6" r="4" ` + full + `/>`,
		`<rect x="10.4" y="2.4" width="7.2" height="7.2" ` + full + `/>`,
		`<path d="M14 1.2L18.4 9.2H9.6Z" ` + full + `/>`,
		`<circle cx="14" cy="6" r="4" ` + hollow + `/>`,
		`<rect x="10.4" y="2.4" width="7.2" height="7.2" ` + hollow + `/>`,
		`<path d="M14 1.2L18.4 9.2H9.6Z" ` + hollow + `/>`,
		`<path d="M14 1.5V10.5M9.5 6H18.5" ` + hollow + `/>`,
		`<path d="M10.5 2.5L17.5 9.5M17.5 2.5L10.5 9.5" ` + hollow + `/>`,
	}[index%len(seriesGlyphs)]
	return template.HTML(fmt.Sprintf(`<svg class="chip" viewBox="0 0 28 12" aria-hidden="true"><path d="M1 6H27" stroke="%s" stroke-width="1.8"%s/>%s</svg>`,
		color, dash, marker))
}

// WritePlotPNG draws one plot with its legend as a PNG picture of twice the
// screen's usual resolution, on white. It is an error if the results hold
// nothing to show in it.
func WritePlotPNG(w io.Writer, results []Result, c Chart, o Options) error {
	if err := validateAll(results); err != nil {
		return err
	}
	g, err := newData(results, o).draw(c)
	if err != nil {
		return err
	}
	if g == nil {
		return fmt.Errorf("chart %s: the results hold nothing to show in it", c)
	}
	const line = vg.Length(16)
	below := line*vg.Length(len(g.legend)) + 8
	canvas := vgimg.NewWith(vgimg.UseWH(g.width, g.height+below), vgimg.UseDPI(192), vgimg.UseBackgroundColor(paper))
	area := draw.New(canvas)
	g.plot.Title.Text = g.title
	g.plot.Title.TextStyle.Font = sans(13)
	g.plot.Title.TextStyle.Color = ink
	g.plot.Title.Padding = vg.Points(8)
	g.plot.Draw(draw.Crop(area, 6, -14, below, -6))
	style := g.plot.X.Tick.Label
	style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
	for i, item := range g.legend {
		at := vg.Point{X: area.Min.X + 24, Y: area.Min.Y + below - line*vg.Length(i) - line/2}
		legendSample(area, at, item.index)
		area.FillText(style, vg.Point{X: at.X + 36, Y: at.Y}, shorten(item.label, 70))
	}
	_, err = vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}

// legendSample draws a short piece of a curve from at to the right.
func legendSample(c draw.Canvas, at vg.Point, index int) {
	switch index {
	case annSquare:
		c.DrawGlyph(draw.GlyphStyle{Color: ink, Radius: 3.4, Shape: hollow{sides: 4}}, vg.Point{X: at.X + 14, Y: at.Y})
		return
	case ringMark:
		c.DrawGlyph(draw.GlyphStyle{Color: ink, Radius: 5, Shape: ring{}}, vg.Point{X: at.X + 14, Y: at.Y})
		return
	case annLine:
		c.StrokeLine2(draw.LineStyle{Color: ink, Width: 1.2, Dashes: annDashes}, at.X, at.Y, at.X+28, at.Y)
		return
	}
	c.StrokeLine2(draw.LineStyle{Color: seriesColor(index), Width: 1.8, Dashes: seriesDashes(index)}, at.X, at.Y, at.X+28, at.Y)
	c.DrawGlyph(draw.GlyphStyle{Color: seriesColor(index), Radius: 3.4, Shape: seriesGlyph(index)}, vg.Point{X: at.X + 14, Y: at.Y})
}

// validateAll checks results before anything is drawn from them.
func validateAll(results []Result) error {
	if len(results) == 0 {
		return fmt.Errorf("no results to report")
	}
	for i := range results {
		if err := results[i].Validate(); err != nil {
			return fmt.Errorf("result %d: %w", i, err)
		}
	}
	return nil
}
