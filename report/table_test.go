package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"gonum.org/v1/plot"
)

func TestWriteTable(t *testing.T) {
	r := sample()
	var b bytes.Buffer
	if err := WriteTable(&b, r); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if want := 1 + 2 + 1 + len(r.SNN) + 1; len(lines) != want {
		t.Fatalf("got %d lines, want %d:\n%s", len(lines), want, b.String())
	}
	width := utf8.RuneCountInString(lines[2]) // the rule
	for _, line := range append(lines[1:2:2], lines[3:len(lines)-1]...) {
		if n := utf8.RuneCountInString(line); n != width {
			t.Errorf("line of %d characters, the rule has %d: %q", n, width, line)
		}
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, EnergyNote) {
		t.Errorf("last line %q does not say what the energy leaves out", last)
	}
	if !strings.Contains(lines[7], "98.87 %") || !strings.Contains(lines[7], "−0.23") || !strings.Contains(lines[7], "0.491") {
		t.Errorf("line of burst-light at T = 8: %q", lines[7])
	}
}

func TestWriteLayerTable(t *testing.T) {
	s := sample().SNN[3]
	var b bytes.Buffer
	if err := WriteLayerTable(&b, s); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range append([]string{"burst-light, T = 8", "total", "100.0 %"}, layerColumns...) {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	total := s.Total()
	if math.Abs(total.EnergyPJ/s.EnergyPJ-1) > 1e-12 || math.Abs(total.SOPs/s.SOPs-1) > 1e-12 || total.Neurons != 31360 {
		t.Errorf("total %+v does not match the entry", total)
	}
}

func TestCSV(t *testing.T) {
	r := sample()
	var runs, layers bytes.Buffer
	if err := WriteRunsCSV(&runs, r, r); err != nil {
		t.Fatal(err)
	}
	if err := WriteLayersCSV(&layers, r); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text *bytes.Buffer
		rows int
	}{"runs": {&runs, 2 * (1 + len(r.SNN))}, "layers": {&layers, 5 * len(r.SNN)}} {
		rows, err := csv.NewReader(test.text).ReadAll() // checks that all lines are of one length
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(rows) != 1+test.rows {
			t.Errorf("%s: got %d lines, want %d", name, len(rows), 1+test.rows)
		}
		head := slices.Clone(rows[0])
		slices.Sort(head)
		if len(slices.Compact(head)) != len(rows[0]) {
			t.Errorf("%s: a column's name appears twice", name)
		}
		column := slices.Index(rows[0], "energy_pj_per_sample")
		at, want := 4, r.SNN[2].EnergyPJ // the ANN stands on line 1
		if name == "layers" {
			at, want = 2, r.SNN[0].Layers[1].EnergyPJ
		}
		if got, err := strconv.ParseFloat(rows[at][column], 64); err != nil || got != want {
			t.Errorf("%s: energy %q, want %g", name, rows[at][column], want)
		}
	}
}

func TestMethodCSV(t *testing.T) {
	r := sampleMethod()
	for name, test := range map[string]struct {
		write func(io.Writer, ...Result) error
		lines int
		line  int
		want  string
	}{
		"tables": {WriteTablesCSV, 5*8 + 5*19, 8, ",adafire,8,search,0,features.2,8," + number(r.SNN[0].Search.Sensitivity[0][7]) +
			",kl," + number(r.SNN[0].Search.Cost[0][7]) + ",sops,1"},
		"exits": {WriteExitsCSV, 8, 2, ",adafire,8,2,0.99998,620,0.974"},
		"sweep": {WriteSweepCSV, 11, 8, ",adafire,8,paper,entropy,0.6,0.9828,2.58,0"},
	} {
		var b bytes.Buffer
		if err := test.write(&b, r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 1+test.lines {
			t.Errorf("%s: got %d lines, want %d", name, len(lines), 1+test.lines)
		}
		if rows, err := csv.NewReader(&b).ReadAll(); err != nil || len(rows) != len(lines) {
			t.Errorf("%s: got %d rows, %v", name, len(rows), err)
		}
		if lines[test.line] != test.want {
			t.Errorf("%s: line %d is %q, want %q", name, test.line, lines[test.line], test.want)
		}
		b.Reset()
		if err := test.write(&b, sample()); err != nil || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("%s: a result without the method gives %q, %v", name, b.String(), err)
		}
	}
	var b bytes.Buffer
	if err := WriteRunsCSV(&b, r); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if !strings.HasSuffix(lines[2], ",0.95,searched,1.2,target,0,0.005") || !strings.HasSuffix(lines[3], ",,,,,,") {
		t.Errorf("the stages' columns: %q and %q", lines[2], lines[3])
	}
}

func TestDeriveMethod(t *testing.T) {
	search := &Search{Candidates: []int{2, 4}, Sensitivity: [][]float64{{3, 1}, {2, -1}}, Cost: [][]float64{{1, 2}, {4, 8}}, Chosen: []int{4, 2}}
	ssc := &SSC{Candidates: []float64{1, 1.5}, Sensitivity: [][]float64{{1, 2}, {1, 0.5}}, Cost: [][]float64{{8, 4}, {6, 3}}, Chosen: []float64{1, 1.5}}
	bare := &SSC{Candidates: []float64{1.5}, Chosen: []float64{1.5}}
	r := Result{SNN: []SNN{{Search: search, SSC: ssc}, {SSC: bare}}}
	r.Derive()
	if want := (Estimate{6, 3}); search.Predicted != want {
		t.Errorf("search: got %v, want %v", search.Predicted, want)
	}
	if ssc.Predicted == nil || *ssc.Predicted != (Change{Estimate{14, 2}, Estimate{11, 1.5}}) {
		t.Errorf("ssc: got %v", ssc.Predicted)
	}
	if bare.Predicted != nil {
		t.Errorf("ssc without tables: got %v, want nothing", bare.Predicted)
	}
	if got, want := search.uniform(1), (Estimate{10, 0}); got != want {
		t.Errorf("uniform: got %v, want %v", got, want)
	}
}

func TestDerive(t *testing.T) {
	r := Result{
		Dataset: Dataset{Test: 2000}, Network: Network{MACs: 1100}, Energy: EnergyProfile{Profile: "fp32", MACPJ: 4.6, ACPJ: 0.9},
		ANN: ANN{Metrics: Metrics{Accuracy: new(0.98)}, EnergyPJ: 200},
		SNN: []SNN{{EnergyPJ: 50, SOPs: 2500, MACs: 100, Layers: []Layer{{EnergyPJ: 10, ANNEnergyPJ: 40}, {EnergyPJ: 40}}}},
	}
	r.Derive()
	near := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-12 {
			t.Errorf("%s: got %g, want %g", name, got, want)
		}
	}
	near("standard error", *r.ANN.AccuracySE, math.Sqrt(0.98*0.02/2000))
	near("break-even", r.Energy.BreakEven, 4.6/0.9)
	s := r.SNN[0]
	near("energy ratio", s.EnergyRatio, 0.25)
	near("spikes per synapse", s.SpikesPerSyn, 2.5)
	near("share", s.Layers[0].EnergyShare, 0.2)
	near("layer ratio", s.Layers[0].EnergyRatio, 0.25)
	near("ratio without ANN", s.Layers[1].EnergyRatio, 0)
	near("error of certainty", StandardError(1, 100), 0)
	near("error of no samples", StandardError(0.5, 0), 0)
	if r.Energy.Note != EnergyNote || r.Schema != Schema {
		t.Errorf("note %q, schema %d", r.Energy.Note, r.Schema)
	}
}

func TestFormat(t *testing.T) {
	tests := []struct{ got, want string }{
		{significant(0), "0"}, {significant(1234.5), "1230"}, {significant(9.996), "10.0"}, {significant(0.04567), "0.0457"},
		{significant(999.6), "1000"}, {significant(0.0001), "0.0001"}, {significant(2e9), "2e+09"},
		{count(999.4), "999"}, {count(999.6), "1.00 k"}, {count(12345), "12.3 k"}, {count(5.5e6), "5.50 M"}, {count(3e15), "3000 T"},
		{energy(0.5), "0.500 pJ"}, {energy(25449702), "25.4 µJ"}, {energy(4e9), "4.00 mJ"},
		{percent(0.98876), "98.88 %"}, {points(-0.0023), "−0.23"}, {points(0.0023), "+0.23"}, {points(0), "0.00"}, {points(-1e-9), "0.00"},
		{integer(0), "0"}, {integer(1234567), "1,234,567"}, {integer(-1000), "−1,000"}, {integer(999), "999"},
		{shapeText([]int{28, 28, 16}), "28x28x16"}, {shapeText(nil), ""},
		{burstText([]int{4, 4}), "4"}, {burstText([]int{4, 2}), "4,2"}, {burstText(nil), ""},
		{seconds(0.0123), "12.3 ms"}, {seconds(61.34), "61.3 s"}, {seconds(150), "2 min 30 s"}, {seconds(9000), "2.5 h"},
		{steps(4), "4"}, {steps(3.456), "3.46"}, {share(0.12345), "12.3 %"},
		{shorten("layer1.0.conv1", 24), "layer1.0.conv1"}, {shorten("abcdefghijklmnop", 8), "abc…mnop"},
	}
	for i, test := range tests {
		if test.got != test.want {
			t.Errorf("%d: got %q, want %q", i, test.got, test.want)
		}
	}
}

func TestTicks(t *testing.T) {
	labels := func(ticks []plot.Tick) string {
		var out []string
		for _, k := range ticks {
			out = append(out, k.Label)
		}
		return strings.Join(out, " ")
	}
	tests := []struct{ got, want string }{
		{labels(linearTicks{}.Ticks(96.1, 99.4)), "96.5 97.0 97.5 98.0 98.5 99.0"},
		{labels(linearTicks{}.Ticks(0, 100)), "0 20 40 60 80 100"},
		{labels(linearTicks{}.Ticks(0, 0.35)), "0.00 0.05 0.10 0.15 0.20 0.25 0.30 0.35"},
		{labels(linearTicks{}.Ticks(3, 3)), "3.00"},
		{labels(logTicks{}.Ticks(0.04, 2.2)), "0.05 0.1 0.2 0.5 1 2"},
		{labels(logTicks{}.Ticks(1e-3, 1e3)), "0.001 0.01 0.1 1 10 100 1e+03"},
		{labels(logTicks{}.Ticks(0.22, 1.1)), "0.3 0.4 0.5 0.7 1"},
	}
	for i, test := range tests {
		if test.got != test.want {
			t.Errorf("%d: got %q, want %q", i, test.got, test.want)
		}
	}
}

func ExampleWriteTable() {
	r := Result{
		Command: "eval", Dataset: Dataset{Name: "digits", Test: 2000}, Network: Network{Arch: "vgg-small", Parameters: 70538, MACs: 5532544},
		Energy: EnergyProfile{Profile: "fp32", MACPJ: 4.6, ACPJ: 0.9},
		ANN:    ANN{Metrics: Metrics{Accuracy: new(0.991)}, EnergyPJ: 25449702},
		SNN: []SNN{{Name: "burst-light", Timesteps: 4, Metrics: Metrics{Accuracy: new(0.9885)}, AvgTimesteps: 4,
			Spikes: 42400, SOPs: 6650000, MACs: 112896, EnergyPJ: 6504322}},
	}
	r.Derive()
	if err := WriteTable(os.Stdout, r); err != nil {
		fmt.Println(err)
	}
	// Output:
	// vgg-small on digits: 2,000 test samples, 70,538 parameters, 5.53 M MACs
	// network      T  steps  accuracy  s.e.  to ANN  spikes    SOPs    MACs   energy  x ANN
	// -------------------------------------------------------------------------------------
	// ANN          -      -   99.10 %  0.21       -       -       -  5.53 M  25.4 µJ      1
	// burst-light  4      4   98.85 %  0.24   −0.25  42.4 k  6.65 M   113 k  6.50 µJ  0.256
	// Energy: profile fp32 (4.6 pJ per MAC, 0.9 pJ per accumulate), arithmetic only, memory traffic not included.
}
