package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/internal/fileerr"
)

func encode(t testing.TB, r Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compactConfig undoes the indentation that config gets inside a file.
func compactConfig(t testing.TB, r *Result) {
	t.Helper()
	if r.Config != nil {
		var b bytes.Buffer
		if err := json.Compact(&b, r.Config); err != nil {
			t.Fatal(err)
		}
		r.Config = b.Bytes()
	}
}

func TestRoundTrip(t *testing.T) {
	want := sampleMethod()
	path := filepath.Join(t.TempDir(), "result.json")
	first := encode(t, want)
	if err := os.WriteFile(path, first, 0o666); err != nil {
		t.Fatal(err)
	}
	got, err := ReadResult(path)
	if err != nil {
		t.Fatal(err)
	}
	if second := encode(t, got); !bytes.Equal(first, second) {
		t.Error("writing what was read gives other bytes")
	}
	compactConfig(t, &got)
	compactConfig(t, &want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSchema checks that every member of the published schema is there, with
// the published name, in the published order.
func TestSchema(t *testing.T) {
	text := string(encode(t, sampleMethod()))
	tests := []struct{ at, members string }{
		{"", "schema command version seed cpu workers seconds dataset network ann snn timing"},
		{"dataset", "name train test classes"},
		{"network", "arch parameters macs"},
		{"ann", "accuracy energy_pj_per_sample"},
		{"snn", "name T maxspike calib neuron accuracy avg_timesteps spikes_per_sample sops_per_sample macs_per_sample energy_pj_per_sample layers"},
		{"layers", "name maxspike threshold_mean spikes_per_sample density sops_per_sample"},
		{"search", "layers candidates sensitivity cost budget budget_ratio cost_unit metric calibration_samples chosen predicted measured frontier uniform guard held_out samples searched uniform rounds"},
		{"uniform", "maxspike cost sensitivity"},
		{"ssc", "ratio candidates sensitivity cost cost_unit metric chosen predicted before cost sensitivity after cost sensitivity measured before after"},
		{"iat", "policy score accumulate risk delta thresholds limits calibration_samples calibration_agreement bound exits fixed_accuracy curve floor_or_risk accuracy avg_timesteps"},
		{"timing", "train_s calibrate_s search_s ann_samples_per_s snn_samples_per_s"},
	}
	for _, test := range tests {
		rest := text
		if test.at != "" {
			_, after, ok := strings.Cut(text, "\n  \""+test.at+"\": ")
			if !ok { // a member of an entry
				_, after, ok = strings.Cut(text, "  \""+test.at+"\": {")
			}
			if test.at == "layers" {
				_, after, ok = strings.Cut(text[strings.Index(text, `"snn": [`):], `"layers": `)
			}
			if !ok {
				t.Fatalf("no member %q", test.at)
			}
			rest = after
		}
		for _, name := range strings.Fields(test.members) {
			_, after, ok := strings.Cut(rest, `"`+name+`": `)
			if !ok {
				t.Errorf("%q: member %q is missing or out of order", test.at, name)
				break
			}
			rest = after
		}
	}
	var empty Result
	empty.Command, empty.Dataset.Name, empty.Network.Arch = "eval", "digits", "vgg-small"
	empty.Derive()
	if got := string(encode(t, empty)); !strings.Contains(got, `"snn": []`) {
		t.Errorf("a result without SNNs has no empty list:\n%s", got)
	}
}

// TestStrict changes one thing in a good file at a time.
func TestStrict(t *testing.T) {
	good := string(encode(t, sample()))
	replace := func(old, with string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("the sample has no %q", old)
			}
			return strings.Replace(s, old, with, 1)
		}
	}
	tests := []struct {
		name   string
		change func(string) string
		want   string
	}{
		{"empty", func(string) string { return "" }, "ends inside the result"},
		{"truncated", func(s string) string { return s[:len(s)/2] }, "ends inside the result"},
		{"a list", func(string) string { return "[]" }, "want a struct"},
		{"a number", func(string) string { return "7" }, "cannot unmarshal number"},
		{"trailing", func(s string) string { return s + "{}" }, "something follows"},
		{"syntax", replace(`"seed": 1`, `"seed": 01`), "invalid character"},
		{"unknown member", replace(`"seed"`, `"sead"`), `unknown member "sead"`},
		{"other case", replace(`"seed"`, `"Seed"`), `unknown member "Seed"`},
		{"repeated member", replace(`"seed": 1`, `"seed": 1, "seed": 2`), `member "seed" twice`},
		{"unknown member of a layer", replace(`"threshold_mean"`, `"theta"`), `result.snn[].layers[] has an unknown member "theta"`},
		{"null", replace(`"workers": 2`, `"workers": null`), "result.workers is null"},
		{"object for a number", replace(`"workers": 2`, `"workers": {}`), "result.workers is an object or a list"},
		{"string for a number", replace(`"workers": 2`, `"workers": "2"`), "cannot unmarshal string"},
		{"fraction for an integer", replace(`"workers": 2`, `"workers": 2.5`), "cannot unmarshal number 2.5"},
		{"negative seed", replace(`"seed": 1`, `"seed": -1`), "cannot unmarshal number -1"},
		{"number beyond float64", replace(`"seconds": 141.2`, `"seconds": 1e999`), "cannot unmarshal number 1e999"},
		{"invalid UTF-8", replace(`"demo"`, "\"de\xffmo\""), "not UTF-8"},
		{"no schema", replace(`"schema": 1,`, ``), `no member "schema"`},
		{"newer schema", replace(`"schema": 1`, `"schema": 2`), "schema is 2, this version reads 1"},
		{"accuracy in percent", replace(`"accuracy": 0.991`, `"accuracy": 99.1`), "ann.accuracy is 99.1, want a fraction"},
		{"no timesteps", replace(`"T": 1,`, `"T": 0,`), "snn[0].T is 0, want 1 to 1024"},
		{"twice the same entry", func(s string) string {
			return strings.NewReplacer(`"T": 2,`, `"T": 4,`).Replace(s)
		}, `snn[2].name "burst-light" with T 4 appears twice`},
		{"burst limit", replace("\"maxspike\": [\n        4,", "\"maxspike\": [\n        300,"), "maxspike[0] is 300, want 1 to 255"},
		{"more steps than T", replace(`"avg_timesteps": 1,`, `"avg_timesteps": 1.5,`), "avg_timesteps is 1.5, want 1 to T = 1"},
		{"negative count", replace(`"spikes_per_sample": `, `"spikes_per_sample": -`), "spikes_per_sample is -"},
		{"control character", replace(`"name": "burst-light"`, `"name": "burst\u0007"`), "control character"},
		{"no name", replace(`"name": "burst-light"`, `"name": ""`), "snn[0].name is empty"},
		{"long name", replace(`"name": "burst-light"`, `"name": "`+strings.Repeat("x", 300)+`"`), "has 300 bytes, want at most 200"},
		{"config a list", replace(`"config": {`, `"config": [{`), "invalid character"},
		{"config a string", func(s string) string {
			i, j := strings.Index(s, `"config": {`), strings.Index(s, `"dataset": {`)
			return s[:i] + `"config": "x", ` + s[j:]
		}, "config is not a JSON object"},
		{"time", replace(`"2026-03-01T12:30:00Z"`, `"yesterday"`), "parsing time"},
		{"time an object", replace(`"2026-03-01T12:30:00Z"`, `{}`), ""},
		{"deep", func(string) string { return strings.Repeat(`{"config":`, 100000) }, "ends inside"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := DecodeResult("r.json", []byte(test.change(good)))
			if _, ok := errors.AsType[*fileerr.FormatError](err); !ok {
				t.Fatalf("got %v, want a FormatError", err)
			}
			if !strings.HasPrefix(err.Error(), "r.json: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want it to contain %q", err, test.want)
			}
			if len(err.Error()) > 600 || strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("the message is not one line of sensible length: %.100q...", err)
			}
		})
	}
	if _, err := ReadResult(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
	large := filepath.Join(t.TempDir(), "large.json")
	f, err := os.Create(large)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(maxResultBytes + 1); err != nil { // sparse: no bytes are written
		t.Fatal(err)
	}
	f.Close()
	if _, err := ReadResult(large); err == nil || !strings.Contains(err.Error(), "at most 67108864") {
		t.Errorf("large file: got %v", err)
	}
}

// TestWriteRefuses checks that nothing is written that would not be read.
func TestWriteRefuses(t *testing.T) {
	r := sample()
	r.SNN[3].EnergyPJ = -1
	var b bytes.Buffer
	if err := WriteJSON(&b, r); err == nil || b.Len() > 0 || !strings.Contains(err.Error(), "snn[3].energy_pj_per_sample is -1") {
		t.Errorf("got %v and %d bytes", err, b.Len())
	}
}

// drawResult makes any valid result.
func drawResult(t *rapid.T) Result {
	fraction := rapid.Float64Range(0, 1)
	amount := rapid.OneOf(rapid.Float64Range(0, 1e6), rapid.Float64Range(0, maxAmount), rapid.Just(0.0))
	name := rapid.SampledFrom([]string{"a", "burst light", `<script>alert("x")</script>`, "ß\u2028", "&amp;", "'", "http://example.org/", "=1+1", "a,b\"c"})
	r := Result{
		Schema: Schema, Command: "run", Label: rapid.SampledFrom([]string{"", "one", "<i>"}).Draw(t, "label"),
		Seed: rapid.Uint64().Draw(t, "seed"), Dataset: Dataset{Name: name.Draw(t, "dataset"), Test: rapid.IntRange(0, 1000).Draw(t, "test")},
		Network: Network{Arch: name.Draw(t, "arch"), MACs: rapid.Int64Range(0, 1e12).Draw(t, "macs")},
		Energy:  EnergyProfile{Profile: "fp32", MACPJ: 4.6, ACPJ: 0.9},
		ANN:     ANN{EnergyPJ: amount.Draw(t, "ann energy")},
	}
	if rapid.Bool().Draw(t, "ann accuracy") {
		r.ANN.Accuracy = new(fraction.Draw(t, "accuracy"))
	}
	seen := map[string]bool{}
	for range rapid.IntRange(0, 6).Draw(t, "snns") {
		s := SNN{Name: name.Draw(t, "name"), Timesteps: rapid.IntRange(1, 1024).Draw(t, "T")}
		if key := s.Name + string(rune(s.Timesteps)); seen[key] {
			continue
		} else {
			seen[key] = true
		}
		s.AvgTimesteps = min(float64(s.Timesteps), rapid.Float64Range(1, 1024).Draw(t, "avg"))
		if rapid.Bool().Draw(t, "accuracy") {
			s.Accuracy = new(fraction.Draw(t, "accuracy"))
		} else if rapid.Bool().Draw(t, "miou") {
			s.MIoU = new(fraction.Draw(t, "miou"))
		}
		s.EnergyPJ, s.SOPs, s.Spikes, s.Density = amount.Draw(t, "energy"), amount.Draw(t, "sops"), amount.Draw(t, "spikes"), fraction.Draw(t, "density")
		for range rapid.IntRange(0, 3).Draw(t, "layers") {
			s.Layers = append(s.Layers, Layer{Name: name.Draw(t, "layer"), MaxSpike: 4, Neurons: rapid.Int64Range(0, 1e9).Draw(t, "neurons"),
				ThresholdMean: amount.Draw(t, "threshold"), Spikes: amount.Draw(t, "spikes"), EnergyPJ: amount.Draw(t, "energy")})
		}
		drawMethod(t, &s)
		r.SNN = append(r.SNN, s)
	}
	r.Derive()
	return r
}

func TestAnyResult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawResult(t)
		var b bytes.Buffer
		if err := WriteJSON(&b, want); err != nil {
			t.Fatal(err)
		}
		got, err := DecodeResult("r", b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func FuzzReadResult(f *testing.F) {
	small := sampleMethod()
	small.SNN = small.SNN[:1]
	f.Add(encode(f, small))
	f.Add([]byte(`{"schema":1,"command":"x","dataset":{"name":"d"},"network":{"arch":"a"},"ann":{},"snn":[{"name":"s","T":1,"avg_timesteps":1}]}`))
	f.Add([]byte(`{"schema":1,"config":{"a":[1,{"b":null}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeResult("fuzz", data)
		if err != nil {
			return
		}
		first := encode(t, r)
		again, err := DecodeResult("again", first)
		if err != nil {
			t.Fatalf("what was written is refused: %v\n%s", err, first)
		}
		if second := encode(t, again); !bytes.Equal(first, second) {
			t.Fatalf("writing twice gives other bytes:\n%s\n%s", first, second)
		}
		var b bytes.Buffer
		if err := WriteTable(&b, r); err != nil {
			t.Fatal(err)
		}
		if err := WriteRunsCSV(&b, r); err != nil {
			t.Fatal(err)
		}
		for _, write := range []func(io.Writer, ...Result) error{WriteLayersCSV, WriteTablesCSV, WriteExitsCSV, WriteSweepCSV} {
			if err := write(&b, r); err != nil {
				t.Fatal(err)
			}
		}
	})
}
