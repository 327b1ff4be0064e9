package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// maxExitHits bounds the timesteps with tool tips and markers of their own:
// beyond, they are narrower than a pointer.
const maxExitHits = 64

func hasExits(s *SNN) bool {
	if s.IAT == nil {
		return false
	}
	_, ok := s.IAT.meanExit()
	return ok
}

func hasSweep(s *SNN) bool { return s.IAT != nil && len(s.IAT.Curve) > 0 }

// exits draws the histogram of the timesteps at which samples left.
func (d *data) exits() (*drawing, error) {
	s, own := d.holder(hasExits)
	if s == nil {
		return nil, nil
	}
	x := s.IAT
	mean, _ := x.meanExit()
	total := 0.0
	for _, n := range x.Exits {
		total += float64(n)
	}
	g := &drawing{chart: ChartExits, width: chartWidth, height: chartHeight, title: "When samples leave",
		plot: newPlot("timestep at which the answer was given", "share of the test samples in %")}
	p := g.plot
	var values plotter.Values
	var said []string
	for t, n := range x.Exits {
		v := 100 * float64(n) / total
		values = append(values, v)
		if t < maxExitHits {
			text := fmt.Sprintf("timestep %d: %s samples, %.1f %%", t+1, integer(int64(n)), v)
			g.hits = append(g.hits, hit{float64(t + 1), v, text + fmt.Sprintf("\nthreshold of the score: %s", x.thresholdText(t))})
			said = append(said, text)
		}
	}
	p.X.Min, p.X.Max, p.X.Tick.Marker = 0.4, float64(len(values))+0.6, wholeTicks{}
	p.Y.Min, p.Y.Max, p.Y.Tick.Marker = 0, slices.Max(values)*1.06, linearTicks{}
	bar, err := plotter.NewBarChart(values, min(44, 0.72*(chartWidth-60)/vg.Length(len(values))))
	if err != nil {
		return nil, err
	}
	bar.XMin, bar.Color, bar.LineStyle.Width = 1, seriesColor(own.index), 0
	p.Add(horizontalRules(), fixed{bar}, level{at: mean, vertical: true})
	g.legend = []legendItem{{entryLabel(own, s), own.index}, {fmt.Sprintf("mean: %s of %d timesteps", steps(mean), s.Timesteps), annLine}}
	g.caption = fmt.Sprintf("Easy samples are answered after few timesteps and cost nothing afterwards; the last bar holds those that never were certain enough. "+
		"A sample leaves when its %s exceeds a threshold found on other samples (%s).", x.scoreText(), x.policyText())
	g.alt = fmt.Sprintf("%s, %s: mean %s of %d timesteps. %s.", g.title, entryLabel(own, s), steps(mean), s.Timesteps, strings.Join(said, "; "))
	return g, nil
}

// scoreText says in words what the score is.
func (x *IAT) scoreText() string {
	switch x.Score {
	case "entropy":
		return "certainty (1 minus the normalised entropy of its outputs so far)"
	case "confidence":
		return "confidence (the largest class probability so far)"
	case "margin":
		return "margin (the largest class probability so far minus the second)"
	}
	return "score (" + x.Score + ")"
}

// policyText says in words how thresholds were found.
func (x *IAT) policyText() string {
	switch x.Policy {
	case "target":
		text := fmt.Sprintf("policy target: at most %s of the answers may differ from those after all timesteps", share(x.Risk))
		if x.Delta > 0 {
			text += fmt.Sprintf(", except for a chance of %s", share(x.Delta))
		}
		return text
	case "paper":
		return fmt.Sprintf("policy paper: from the floor %s up, higher where samples are more certain", trimmed(x.Floor))
	}
	return "policy " + x.Policy
}

// thresholdText formats the threshold of timestep t+1; close to 1 it says how
// close.
func (x *IAT) thresholdText(t int) string {
	limit := 1 - x.Thresholds[t]
	if t < len(x.Limits) {
		limit = x.Limits[t]
	}
	switch {
	case t == len(x.Thresholds)-1:
		return "none (all leave)"
	case limit == 0:
		return "1 (none leaves)"
	case limit < 0.01:
		return "1 − " + significant(limit)
	}
	return significant(1 - limit)
}

// exitCurve draws accuracy over the mean timesteps: for the sweep of the floor
// or risk, and for leaving all samples at a fixed timestep.
func (d *data) exitCurve() (*drawing, error) {
	s, own := d.holder(hasSweep)
	if s == nil {
		return nil, nil
	}
	x := s.IAT
	g := &drawing{chart: ChartExitCurve, width: chartWidth, height: chartHeight, title: "Accuracy against mean timesteps",
		plot: newPlot("mean timesteps per sample", "accuracy in %")}
	p := g.plot
	best, worst := 0.0, 100.0
	for i := range x.Curve {
		widen(&worst, &best, 100*x.Curve[i].Accuracy)
	}
	for _, v := range x.FixedAccuracy {
		widen(&worst, &best, 100*v)
	}
	low := max(worst, best-3)
	if s.Accuracy != nil {
		widen(&low, &best, 100**s.Accuracy)
	}
	margin := max(0.1, 0.08*(best-low))
	p.Y.Min, p.Y.Max, p.Y.Tick.Marker = max(0, low-margin), min(100, best+margin), linearTicks{}
	p.X.Min, p.X.Max, p.X.Tick.Marker = 0.8, float64(s.Timesteps)+0.2, wholeTicks{}
	p.Add(horizontalRules())

	below := 0
	var fixedAt plotter.XYs
	for t, v := range x.FixedAccuracy {
		at := plotter.XY{X: float64(t + 1), Y: 100 * v}
		fixedAt = append(fixedAt, at)
		if at.Y < p.Y.Min {
			below++
		}
		if len(x.FixedAccuracy) > maxExitHits {
			continue // the line says it
		}
		g.point(at.X, at.Y, fmt.Sprintf("all samples leave at timestep %d\naccuracy %s", t+1, percent(v)))
	}
	if len(fixedAt) > 0 {
		line, err := plotter.NewLine(fixedAt)
		if err != nil {
			return nil, err
		}
		line.LineStyle = draw.LineStyle{Color: muted, Width: vg.Points(1)}
		inside := slices.DeleteFunc(slices.Clone(fixedAt), func(q plotter.XY) bool { return q.Y < p.Y.Min || len(fixedAt) > maxExitHits })
		p.Add(fixed{line}, marked{inside, nil, draw.GlyphStyle{Color: ink, Radius: vg.Points(3.2), Shape: hollow{sides: 4}}})
	}
	var policies []string
	for i := range x.Curve {
		if name := x.policyOf(&x.Curve[i]); !slices.Contains(policies, name) {
			policies = append(policies, name)
		}
	}
	var said []string
	for k, policy := range policies {
		var xys plotter.XYs
		lowest, highest := math.Inf(1), math.Inf(-1)
		for i := range x.Curve {
			q := &x.Curve[i]
			if x.policyOf(q) != policy {
				continue
			}
			at := plotter.XY{X: q.AvgTimesteps, Y: 100 * q.Accuracy}
			xys = append(xys, at)
			widen(&lowest, &highest, q.Setting)
			if at.Y < p.Y.Min {
				below++
			}
			text := fmt.Sprintf("%s, %s %s\n%s timesteps on average\naccuracy %s", policy, settingName(policy), trimmed(q.Setting), steps(q.AvgTimesteps), percent(q.Accuracy))
			if q.EnergyPJ > 0 {
				text += "\nenergy " + energy(q.EnergyPJ)
			}
			g.point(at.X, at.Y, text)
		}
		slices.SortStableFunc(xys, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		if err := addCurve(p, own.index+k, xys); err != nil {
			return nil, err
		}
		g.legend = append(g.legend, legendItem{fmt.Sprintf("early exits, policy %s, %s %s to %s", policy, settingName(policy), trimmed(lowest), trimmed(highest)), own.index + k})
		said = append(said, fmt.Sprintf("policy %s: %.2f %% at %s to %.2f %% at %s mean timesteps", policy, xys[0].Y, steps(xys[0].X), xys[len(xys)-1].Y, steps(xys[len(xys)-1].X)))
	}
	if len(fixedAt) > 0 {
		g.legend = append(g.legend, legendItem{"all samples leave at the same timestep", annSquare})
		said = append(said, fmt.Sprintf("all samples at the same timestep: %.2f %% at 1 to %.2f %% at %d", fixedAt[0].Y, fixedAt[len(fixedAt)-1].Y, len(fixedAt)))
	}
	if s.Accuracy != nil {
		p.Add(marked{plotter.XYs{{X: s.AvgTimesteps, Y: 100 * *s.Accuracy}}, nil, draw.GlyphStyle{Color: ink, Radius: vg.Points(7), Shape: ring{}}})
		g.legend = append(g.legend, legendItem{entryLabel(own, s) + " as it runs", ringMark})
		said = append(said, fmt.Sprintf("as it runs: %.2f %% at %s", 100**s.Accuracy, steps(s.AvgTimesteps)))
		g.point(s.AvgTimesteps, 100**s.Accuracy, d.describe(own.label, s))
	}
	g.caption = "Up and to the left is better. Each point is one strictness of the exit rule; where the curve lies above the squares, choosing per sample beats stopping all samples early."
	if below > 0 {
		g.caption += " Points below the plot: " + strconv.Itoa(below) + "."
	}
	g.alt = fmt.Sprintf("%s of %s. %s.", g.title, entryLabel(own, s), strings.Join(said, "; "))
	return g, nil
}
