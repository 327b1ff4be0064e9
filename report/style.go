package report

import (
	"fmt"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The colours of the plots. All differ, so that the SVG form can replace each
// by the page's variable of the same meaning, which follows the reader's light
// or dark scheme. The first entries are told apart by people with any of the
// common colour deficiencies; markers differ as well.
var (
	ink   = color.RGBA{0x1b, 0x1f, 0x24, 0xff}
	muted = color.RGBA{0x5c, 0x65, 0x70, 0xff}
	rule  = color.RGBA{0xdd, 0xe1, 0xe6, 0xff}
	paper = color.RGBA{0xff, 0xff, 0xfe, 0xff}

	seriesColors = []color.RGBA{
		{0x00, 0x6f, 0xb8, 0xff}, {0xd4, 0x55, 0x00, 0xff}, {0x00, 0x8f, 0x6b, 0xff}, {0xb3, 0x4f, 0x92, 0xff},
		{0x8f, 0x6c, 0x00, 0xff}, {0x2f, 0xa3, 0xd6, 0xff}, {0x6d, 0x4b, 0xc4, 0xff}, {0x7b, 0x84, 0x90, 0xff},
	}
	seriesGlyphs = []draw.GlyphDrawer{
		draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, hollow{sides: 0},
		hollow{sides: 4}, hollow{sides: 3}, stroked{plus: true}, stroked{},
	}
)

// shade is ink, thinly; vgsvg writes its colour and its opacity apart.
var shade = color.NRGBA{ink.R, ink.G, ink.B, 0x1c}

// cssNames maps colours as vgsvg writes them to the page's variables.
func cssNames() map[string]string {
	names := map[string]string{hex(ink): "var(--ink)", hex(shade): "var(--ink)", hex(muted): "var(--muted)", hex(rule): "var(--rule)", hex(paper): "var(--paper)"}
	for i, c := range seriesColors {
		names[hex(c)] = fmt.Sprintf("var(--s%d)", i)
	}
	return names
}

// hex writes a colour like vgsvg, which undoes the multiplication with opacity
// and may land one step lower.
func hex(c color.Color) string {
	r, g, b, alpha := c.RGBA()
	scale := 255.0 / float64(alpha)
	return fmt.Sprintf("#%02X%02X%02X", int(float64(r)*scale), int(float64(g)*scale), int(float64(b)*scale))
}

// A hollow glyph is a circle (no sides), triangle or square of paper with a rim
// one can see; gonum's own have hairlines and let lines shine through.
type hollow struct{ sides int }

// DrawGlyph implements draw.GlyphDrawer.
func (h hollow) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	c.Push()
	defer c.Pop()
	var path vg.Path
	r := s.Radius
	switch h.sides {
	case 3:
		path.Move(vg.Point{X: at.X, Y: at.Y + r*1.15})
		path.Line(vg.Point{X: at.X + r, Y: at.Y - r*0.7})
		path.Line(vg.Point{X: at.X - r, Y: at.Y - r*0.7})
		path.Close()
	case 4:
		q := r * 0.9
		path = vg.Rectangle{Min: vg.Point{X: at.X - q, Y: at.Y - q}, Max: vg.Point{X: at.X + q, Y: at.Y + q}}.Path()
	default:
		path.Move(vg.Point{X: at.X + r, Y: at.Y})
		path.Arc(at, r, 0, 2*math.Pi)
		path.Close()
	}
	c.SetColor(paper)
	c.Fill(path)
	c.SetLineStyle(draw.LineStyle{Color: s.Color, Width: vg.Points(1.3)})
	c.Stroke(path)
}

// ring is a circle around a point that leaves the point visible.
type ring struct{}

// DrawGlyph implements draw.GlyphDrawer.
func (ring) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	c.Push()
	defer c.Pop()
	var path vg.Path
	path.Move(vg.Point{X: at.X + s.Radius, Y: at.Y})
	path.Arc(at, s.Radius, 0, 2*math.Pi)
	path.Close()
	c.SetLineStyle(draw.LineStyle{Color: s.Color, Width: vg.Points(1.1)})
	c.Stroke(path)
}

// stroked draws a plus or a cross of lines one can see.
type stroked struct{ plus bool }

// DrawGlyph implements draw.GlyphDrawer.
func (s stroked) DrawGlyph(c *draw.Canvas, style draw.GlyphStyle, at vg.Point) {
	r := style.Radius
	line := draw.LineStyle{Color: style.Color, Width: vg.Points(1.6)}
	if s.plus {
		c.StrokeLine2(line, at.X-r, at.Y, at.X+r, at.Y)
		c.StrokeLine2(line, at.X, at.Y-r, at.X, at.Y+r)
		return
	}
	r *= 0.8
	c.StrokeLine2(line, at.X-r, at.Y-r, at.X+r, at.Y+r)
	c.StrokeLine2(line, at.X-r, at.Y+r, at.X+r, at.Y-r)
}

func seriesColor(i int) color.RGBA       { return seriesColors[i%len(seriesColors)] }
func seriesGlyph(i int) draw.GlyphDrawer { return seriesGlyphs[i%len(seriesGlyphs)] }

// seriesDashes are solid for the first eight curves, then dashed.
func seriesDashes(i int) []vg.Length {
	if i/len(seriesColors)%2 == 1 {
		return []vg.Length{vg.Points(7), vg.Points(3)}
	}
	return nil
}

var annDashes = []vg.Length{vg.Points(4), vg.Points(4)}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// newPlot returns an empty plot in the page's style.
func newPlot(x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle = draw.LineStyle{Color: muted, Width: vg.Points(0.8)}
		a.Label.TextStyle.Font = sans(11)
		a.Label.TextStyle.Color = muted
		a.Label.Padding = vg.Points(4)
		a.Tick.Label.Font = sans(10.5)
		a.Tick.Label.Color = ink
		a.Tick.LineStyle = draw.LineStyle{Color: muted, Width: vg.Points(0.8)}
		a.Tick.Length = vg.Points(4)
		a.Padding = vg.Points(2)
	}
	p.X.Label.Text, p.Y.Label.Text = x, y
	return p
}

// linearTicks returns labelled ticks at multiples of 1, 2 or 5 times a power of
// ten, about five of them.
type linearTicks struct{}

// Ticks implements plot.Ticker.
func (linearTicks) Ticks(low, high float64) []plot.Tick {
	if !(high > low) {
		return []plot.Tick{{Value: low, Label: significant(low)}}
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (high-low)/(step*m) <= 7.5 {
			step *= m
			break
		}
	}
	digits := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	var ticks []plot.Tick
	for k := math.Ceil(low/step - 1e-9); k*step <= high*(1+1e-12)+step*1e-9 && len(ticks) < 20; k++ {
		ticks = append(ticks, plot.Tick{Value: k * step, Label: strconv.FormatFloat(k*step+0, 'f', digits, 64)})
	}
	return ticks
}

// wholeTicks returns linearTicks at whole numbers only.
type wholeTicks struct{}

// Ticks implements plot.Ticker.
func (wholeTicks) Ticks(low, high float64) []plot.Tick {
	if high-low > 12 {
		return linearTicks{}.Ticks(low, high)
	}
	var ticks []plot.Tick
	for v := math.Ceil(low); v <= high; v++ {
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', 0, 64)})
	}
	return ticks
}

// logTicks returns ticks at 1, 2 and 5 times powers of ten, fewer where the
// range is wide and more where it is narrow.
type logTicks struct{}

// Ticks implements plot.Ticker.
func (logTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	if !(low > 0) || !(high > low) {
		return ticks
	}
	multiples := []float64{1, 2, 5}
	switch decades := math.Log10(high / low); {
	case decades > 3:
		multiples = multiples[:1]
	case decades < 1:
		multiples = []float64{1, 1.5, 2, 3, 4, 5, 7}
	}
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, m := range multiples {
			// Division keeps 0.1 exact where multiplication by 10^-1 would not.
			v := m * math.Pow(10, e)
			if e < 0 {
				v = m / math.Pow(10, -e)
			}
			if v >= low*(1-1e-9) && v <= high*(1+1e-9) {
				ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 3, 64)})
			}
		}
	}
	return ticks
}
