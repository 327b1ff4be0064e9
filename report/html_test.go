package report

import (
	"bytes"
	"fmt"
	"html"
	"image"
	"image/png"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func render(t testing.TB, results []Result, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, results, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	tagPattern  = regexp.MustCompile(`<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:[^<>"']|"[^"]*"|'[^']*')*)>`)
	attrPattern = regexp.MustCompile(`([a-zA-Z:-]+)(?:="([^"]*)")?`)
	rawPattern  = regexp.MustCompile(`(?s)<(style|script)>(.*?)</(?:style|script)>`)
)

type tag struct {
	name string
	attr map[string]string
}

// parse checks that the elements of a page nest, and returns them with the
// text between them. Every "<" must belong to a tag.
func parse(page string) (tags []tag, text string, err error) {
	page, ok := strings.CutPrefix(page, "<!DOCTYPE html>")
	if !ok {
		return nil, "", fmt.Errorf("no doctype")
	}
	page = rawPattern.ReplaceAllString(page, "<$1></$1>")
	var open []string
	at := 0
	var plain strings.Builder
	for _, m := range tagPattern.FindAllStringSubmatchIndex(page, -1) {
		between := page[at:m[0]]
		if strings.ContainsAny(between, "<>") {
			return nil, "", fmt.Errorf("stray angle bracket in %q", between)
		}
		plain.WriteString(html.UnescapeString(between) + " ")
		at = m[1]
		name, attrs := page[m[4]:m[5]], page[m[6]:m[7]]
		if page[m[2]:m[3]] == "/" {
			if len(open) == 0 || open[len(open)-1] != name {
				return nil, "", fmt.Errorf("</%s> closes %v", name, open)
			}
			open = open[:len(open)-1]
			continue
		}
		t := tag{name, map[string]string{}}
		for _, a := range attrPattern.FindAllStringSubmatch(attrs, -1) {
			t.attr[a[1]] = html.UnescapeString(a[2])
		}
		tags = append(tags, t)
		if name != "meta" && !strings.HasSuffix(attrs, "/") {
			open = append(open, name)
		}
	}
	if len(open) > 0 || strings.TrimSpace(page[at:]) != "" {
		return nil, "", fmt.Errorf("open at the end: %v, rest %q", open, page[at:])
	}
	return tags, plain.String(), nil
}

// checkPage holds what every page must keep, whatever the results.
func checkPage(page string) error {
	tags, text, err := parse(page)
	if err != nil {
		return err
	}
	ids := map[string]bool{}
	captions, tables, h1 := 0, 0, 0
	for _, t := range tags {
		if id, ok := t.attr["id"]; ok {
			if ids[id] {
				return fmt.Errorf("id %q is used twice", id)
			}
			ids[id] = true
		}
		for _, name := range []string{"src", "srcset", "data", "action", "xlink:href"} {
			if _, ok := t.attr[name]; ok {
				return fmt.Errorf("<%s> has %s", t.name, name)
			}
		}
		for name := range t.attr {
			if strings.HasPrefix(name, "on") {
				return fmt.Errorf("<%s> has %s", t.name, name)
			}
		}
		switch t.name {
		case "link", "img", "iframe", "object", "embed", "base", "image", "b", "i":
			return fmt.Errorf("unexpected <%s>", t.name)
		case "a":
			if !strings.HasPrefix(t.attr["href"], "#") {
				return fmt.Errorf("link to %q", t.attr["href"])
			}
		case "caption":
			captions++
		case "table":
			tables++
		case "h1":
			h1++
		case "svg":
			if t.attr["aria-hidden"] == "" && (t.attr["role"] != "img" || len(t.attr["aria-label"]) < 20) {
				return fmt.Errorf("a picture has no description: %v", t.attr)
			}
		case "th":
			if t.attr["scope"] == "" {
				return fmt.Errorf("a table head has no scope")
			}
		}
	}
	for _, t := range tags {
		if id := t.attr["aria-labelledby"]; id != "" && !ids[id] {
			return fmt.Errorf("aria-labelledby %q names nothing", id)
		}
	}
	if captions != tables || h1 != 1 {
		return fmt.Errorf("%d tables with %d captions, %d main headings", tables, captions, h1)
	}
	for _, bad := range []string{"NaN", "+Inf", "-Inf", "%!", "<nil>"} {
		if strings.Contains(text, bad) {
			return fmt.Errorf("the text says %q", bad)
		}
	}
	for _, m := range rawPattern.FindAllStringSubmatch(page, -1) {
		if strings.Contains(m[2], "url(") || strings.Contains(m[2], "import") || strings.Contains(m[2], "fetch") {
			return fmt.Errorf("%s loads something", m[1])
		}
	}
	return nil
}

func TestPage(t *testing.T) {
	r := sample()
	page := render(t, []Result{r}, Options{})
	if err := checkPage(page); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page, "http:") || strings.Contains(page, "https:") {
		t.Error("the page names an address")
	}
	if len(page) > 1<<20 {
		t.Errorf("the page has %d bytes, want less than 1 MiB", len(page))
	}
	_, text, err := parse(page)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.SNN {
		if s := &r.SNN[i]; !strings.Contains(text, s.Name) || !strings.Contains(text, energy(s.EnergyPJ)) {
			t.Errorf("%s at T = %d is missing", s.Name, s.Timesteps)
		}
	}
	for _, want := range []string{
		"vgg-small on digits", "99.10 %", EnergyNote, "breaks even at 5.11", "arithmetic only", "10,000 training",
		"Careful:", "Reference profile", "Example CPU", "features.13",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if got := strings.Count(page, `<svg class="chart"`); got != 8 {
		t.Errorf("got %d plots, want 8", got)
	}
	// Colours that were not replaced would not follow the dark scheme.
	for _, m := range regexp.MustCompile(`(?:fill|stroke):#[0-9A-Fa-f]+`).FindAllString(rawPattern.ReplaceAllString(page, ""), -1) {
		t.Errorf("a plot has the fixed colour %s", m)
	}
	if strings.Contains(page, "Liberation Sans;") || strings.Contains(page, "<image") {
		t.Error("text in the plots keeps its own font or is a picture")
	}
	if strings.Contains(page, "<b>") || !strings.Contains(page, "&lt;b&gt;") {
		t.Error("the configuration is not escaped")
	}
	if again := render(t, []Result{r}, Options{}); again != page {
		t.Error("two renderings differ")
	}
}

// TestMethodPage checks what the page says of search, compression and exits, and
// that a page without them says nothing.
func TestMethodPage(t *testing.T) {
	r := sampleMethod()
	page := render(t, []Result{r, sample()}, Options{})
	if err := checkPage(page); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(page, `<svg class="chart"`); got != len(Charts()) {
		t.Errorf("got %d plots, want %d", got, len(Charts()))
	}
	_, text, err := parse(page)
	if err != nil {
		t.Fatal(err)
	}
	without := render(t, []Result{sample()}, Options{})
	for _, want := range []string{
		"Burst limits: sensitivity against cost", "kept the searched limits", "burst limit 4 everywhere", "limits 8,5,4,3,2",
		"6.21 M SOPs before, 3.90 M SOPs after", "−37.20 %", "Threshold ratios, by layer", "sensitivity ratio 1.2",
		"mean: 3.29 of 8 timesteps", "at most 0.5 % of the answers", "except for a chance of 5.0 %", "1 − 2e-05", "none leaves", "search, other samples", "all leave", "On the 600 samples", "share of others is 0.50 %", "Network: adafire (", "policy target, risk 0 to 0.05", "policy paper, floor 0.6 to 0.9",
		"answered after 3.29 of 8 timesteps", "Early exits and mean timesteps", "Burst-limit search", "Spike compression",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
		if strings.Contains(without, want) {
			t.Errorf("the page of a result without the method says %q", want)
		}
	}
	if got := strings.Count(page, `class="pick"`); got != 4*5 {
		t.Errorf("%d chosen cells are marked, want one per layer in each of four tables", got)
	}
	for guard, want := range map[string]string{"uniform": "kept the uniform limit", "off": "The guard was off", "": "no forecast of a whole network. </figcaption>", "other": "Guard: other."} {
		r.SNN[0].Search.Approximate = guard == "uniform"
		r.SNN[0].Search.Guard = guard
		if page := render(t, []Result{r}, Options{}); !strings.Contains(page, want) {
			t.Errorf("guard %q: the page does not say %q", guard, want)
		} else if strings.Contains(page, "slightly off the best") != r.SNN[0].Search.Approximate {
			t.Error("the page does not say whether the choice is exact")
		}
	}
}

// TestHolder checks which entry's stages are shown.
func TestHolder(t *testing.T) {
	r := sampleMethod()
	other := r.SNN[0]
	other.Name, other.EnergyPJ = "adafire 2", other.EnergyPJ/2 // close to the ANN and cheaper
	r.SNN = append(r.SNN, other)
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{}, "adafire 2"},
		{Options{Setting: "adafire"}, "adafire"},      // the highlighted one has a search
		{Options{Setting: "burst-none"}, "adafire 2"}, // it has none
	} {
		s, c := newData([]Result{r}, test.options).holder(hasSearch)
		if s == nil || s.Name != test.want || c.label != test.want {
			t.Errorf("%+v: got %+v, want %s", test.options, c, test.want)
		}
	}
	if s, c := newData([]Result{sample()}, Options{}).holder(hasIAT); s != nil || c != nil {
		t.Errorf("got %v of a result without exits", s)
	}
}

func TestPageEscapes(t *testing.T) {
	const evil = `"><script>alert(1)</script><b>&amp;`
	r := sample()
	r.Label, r.Dataset.Name, r.Network.Arch, r.Version, r.CPU = evil, evil, evil, evil, evil
	for i := range r.SNN {
		if r.SNN[i].Name == "burst-light" {
			r.SNN[i].Name, r.SNN[i].Calib = evil, evil
			for j := range r.SNN[i].Layers {
				r.SNN[i].Layers[j].Name = fmt.Sprint(evil, j)
				r.SNN[i].Layers[j].Op = evil
			}
		}
	}
	page := render(t, []Result{r, sample()}, Options{Title: evil})
	if err := checkPage(page); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page, "<script>alert") {
		t.Error("a name became a script")
	}
	if _, text, _ := parse(page); !strings.Contains(text, evil) {
		t.Error("the name is not shown as it is")
	}
}

func TestAnyPage(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		if count++; count > 25 { // a page takes some ten milliseconds
			return
		}
		results := []Result{drawResult(t)}
		if rapid.Bool().Draw(t, "two") {
			results = append(results, drawResult(t))
		}
		var b bytes.Buffer
		if err := WriteHTML(&b, results, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := checkPage(b.String()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLargeResult bounds what a page shows of a result beyond any reader.
func TestLargeResult(t *testing.T) {
	r := sample()
	base := r.SNN[0]
	r.SNN = nil
	for i := range 60 {
		s := base
		s.Name, s.Layers = fmt.Sprintf("setting %02d", i), nil
		for j := range 200 {
			l := base.Layers[0]
			l.Name = fmt.Sprintf("layer %03d", j)
			s.Layers = append(s.Layers, l)
		}
		r.SNN = append(r.SNN, s)
	}
	search, exits := &Search{CostUnit: "spikes", Metric: "kl"}, &IAT{Policy: "paper", Score: "confidence"}
	for k := range 255 {
		search.Candidates = append(search.Candidates, k+1)
	}
	for l := range 200 {
		search.Chosen = append(search.Chosen, l+1)
		search.Sensitivity = append(search.Sensitivity, make([]float64, 255))
		search.Cost = append(search.Cost, make([]float64, 255))
	}
	for i := range 20 * maxFrontier {
		search.Frontier = append(search.Frontier, [2]float64{float64(i), 1 / float64(i+1)})
	}
	long := base
	long.Name, long.Timesteps, long.AvgTimesteps, long.Search, long.IAT = "setting x", 1024, 512.5, search, exits
	for range 1024 {
		exits.Thresholds, exits.Exits, exits.FixedAccuracy = append(exits.Thresholds, 0.5), append(exits.Exits, 2), append(exits.FixedAccuracy, 0.5)
	}
	for i := range maxSweep {
		exits.Curve = append(exits.Curve, ExitPoint{Setting: 0.5, Accuracy: 0.9, AvgTimesteps: 1 + float64(i)})
	}
	r.SNN = append(r.SNN, long)
	r.Derive()
	if got := search.Frontier; len(got) != maxFrontier || got[0][0] != 0 || got[len(got)-1][0] != 20*maxFrontier-1 {
		t.Errorf("the frontier was thinned to %d points from %v to %v", len(got), got[0], got[len(got)-1])
	}
	page := render(t, []Result{r}, Options{})
	if err := checkPage(page); err != nil {
		t.Fatal(err)
	}
	if len(page) > 4<<20 {
		t.Errorf("the page has %d bytes, want less than 4 MiB", len(page))
	}
	for _, want := range []string{"Drawn are the first 24 of 61 settings", "Drawn are the first 120 of 200 layers", "54 more networks are in the result file only", "setting 59",
		"Shown are 150 of 200 layers and 24 of 255 candidates", "Shown are the first 128 of 1024 timesteps"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	var picture bytes.Buffer
	if err := WritePlotPNG(&picture, []Result{r}, ChartSpikes, Options{}); err != nil {
		t.Fatal(err)
	}
}

func TestFewFigures(t *testing.T) {
	bare := Result{Command: "eval", Dataset: Dataset{Name: "d"}, Network: Network{Arch: "a"}}
	annOnly := bare
	annOnly.ANN.Accuracy = new(0.5)
	one := annOnly
	one.SNN = []SNN{{Name: "s", Timesteps: 4, AvgTimesteps: 4}}
	for name, r := range map[string]Result{"bare": bare, "ann only": annOnly, "one entry without figures": one} {
		r.Derive()
		if err := checkPage(render(t, []Result{r}, Options{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := WriteTable(io.Discard, r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bare.Derive()
	if err := WritePlotPNG(io.Discard, []Result{bare}, ChartAccuracy, Options{}); err == nil {
		t.Error("a plot of nothing: got no error")
	}
	if err := WritePlotPNG(io.Discard, []Result{bare}, "pie", Options{}); err == nil || !strings.Contains(err.Error(), "want one of") {
		t.Errorf("unknown plot: got %v", err)
	}
	if err := WriteHTML(io.Discard, nil, Options{}); err == nil {
		t.Error("no results: got no error")
	}
	bare.Schema = 9
	if err := WriteHTML(io.Discard, []Result{bare}, Options{}); err == nil {
		t.Error("invalid result: got no error")
	}
}

func TestPNG(t *testing.T) {
	for _, c := range Charts() {
		var b bytes.Buffer
		if err := WritePlotPNG(&b, []Result{sampleMethod()}, c, Options{}); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		img, err := png.Decode(&b)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		pixels, ok := img.(*image.RGBA)
		if !ok {
			t.Fatalf("%s: got a %T, want RGBA", c, img)
		}
		blue, found := seriesColors[0], false
		for p := pixels.Pix; len(p) >= 4 && !found; p = p[4:] {
			found = p[0] == blue.R && p[1] == blue.G && p[2] == blue.B
		}
		if !found {
			t.Errorf("%s: the highlighted setting's colour is not in the picture", c)
		}
		if w := img.Bounds().Dx(); w != 1280 {
			t.Errorf("%s: width %d, want 1280", c, w)
		}
	}
}

func TestHighlight(t *testing.T) {
	r := sample()
	name := func(o Options) string {
		i, j, ok := Highlight([]Result{r}, o)
		if !ok {
			return "none"
		}
		return fmt.Sprint(i, " ", r.SNN[j].Name, " ", r.SNN[j].Timesteps)
	}
	tests := []struct {
		options Options
		want    string
	}{
		{Options{}, "0 burst-light 8"}, // the cheapest within half a point
		{Options{Setting: "plain-none"}, "0 plain-none 32"},
		{Options{Timesteps: 2}, "0 burst-light 2"}, // none is close: the best
		{Options{Setting: "plain-light", Timesteps: 4}, "0 plain-light 4"},
		{Options{Setting: "no such"}, "none"},
	}
	for _, test := range tests {
		if got := name(test.options); got != test.want {
			t.Errorf("%+v: got %s, want %s", test.options, got, test.want)
		}
	}
}

func TestPareto(t *testing.T) {
	r := Result{}
	for _, p := range [][2]float64{{0.9, 5}, {0.8, 1}, {0.85, 6}, {0.95, 9}, {0.9, 5}, {0.7, 2}, {0.99, 0}} {
		r.SNN = append(r.SNN, SNN{Metrics: Metrics{Accuracy: new(p[0])}, EnergyPJ: p[1]})
	}
	want := []bool{true, true, false, true, true, false, false}
	if got := pareto(&r); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLabels(t *testing.T) {
	a, b, c := sample(), sample(), sample()
	c.Label = "third"
	var got []string
	for i := range 3 {
		got = append(got, resultLabel([]Result{a, b, c}, i))
	}
	want := []string{"vgg-small on digits, 1", "vgg-small on digits, 2", "third"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
