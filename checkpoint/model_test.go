package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/tensor"
)

var update = flag.Bool("update", false, "rewrite testdata")

func ramp(shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data {
		t.Data[i] = float32(i%7)/8 + 0.125
	}
	return t
}

// network has a convolution, batch norm, pooling and a fully connected layer.
func network() *graph.Graph {
	g := graph.New()
	x := g.Input("input", graph.Shape{4, 4, 2})
	x = g.Add("conv1", &graph.Conv2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1},
		graph.Params{"weight": ramp(3, 3, 2, 4)}, x)
	x = g.Add("bn1", &graph.BatchNorm{Eps: 1e-5, Momentum: 0.1},
		graph.Params{"weight": ramp(4), "bias": ramp(4), "mean": ramp(4), "var": ramp(4)}, x)
	x = g.Add("relu1", &graph.ReLU{}, nil, x)
	x = g.Add("pool", &graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, x)
	x = g.Add("flatten", &graph.Flatten{}, nil, x)
	x = g.Add("fc", &graph.Linear{}, graph.Params{"weight": ramp(16, 3), "bias": ramp(3)}, x)
	g.Outputs = []*graph.Node{x}
	return g
}

func model() *Model {
	return &Model{
		Kind:  KindTrain,
		Graph: network(),
		SNN:   json.RawMessage(`{"timesteps":4}`),
		Train: json.RawMessage(`{"epoch":3,"rng":{"shuffle":"0x12"},"lr":0.05}`),
		Provenance: Provenance{
			Version: "v1", Command: "adafire train --dataset <digits>", Dataset: "digits", Classes: []string{"0", "1", "ä"},
			Mean: []float32{0.5}, Std: []float32{0.25}, Time: "2026-01-02T03:04:05Z", Metrics: map[string]float64{"top1": 0.975},
		},
		Extra: map[string]*tensor.Tensor{
			"optim.momentum.conv1.weight": ramp(3, 3, 2, 4),
			"ema.fc.bias":                 ramp(3),
			"snn.threshold.relu1":         ramp(4),
		},
	}
}

func encode(t testing.TB, m *Model) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := EncodeModel(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decode(b []byte, options ...LoadOption) (*Model, error) {
	return ReadModel(bytes.NewReader(b), int64(len(b)), "x.safetensors", options...)
}

// sameModel fails unless got holds what want does. Graphs are compared by their
// JSON form and their parameters.
func sameModel(t testing.TB, got, want *Model) {
	t.Helper()
	g, err := got.Graph.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	w, err := want.Graph.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	diff := cmp.Diff(string(w), string(g)) +
		cmp.Diff(want.Kind, got.Kind) +
		cmp.Diff(string(want.SNN), string(got.SNN)) +
		cmp.Diff(string(want.Train), string(got.Train)) +
		cmp.Diff(want.Provenance, got.Provenance) +
		cmp.Diff(want.Extra, got.Extra)
	for _, n := range want.Graph.Nodes {
		diff += cmp.Diff(n.Params, got.Graph.Node(n.Name).Params)
	}
	if diff != "" {
		t.Error(diff)
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	want := model()
	if err := SaveModel(path, want, false); err != nil {
		t.Fatal(err)
	}
	got, err := LoadModel(path)
	if err != nil {
		t.Fatal(err)
	}
	sameModel(t, got, want)
	if shape := got.Graph.Node("pool").Shape; !slices.Equal(shape, graph.Shape{2, 2, 4}) {
		t.Errorf("shapes were not inferred: pool has %v", shape)
	}
	if !IsModel(path) {
		t.Error("IsModel says no")
	}
	if err := SaveModel(path, want, false); !errors.Is(err, atomicfile.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := SaveModel(path, got, true); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("loaded and saved again, the file has other bytes")
	}
	if !strings.Contains(string(first), "train --dataset <digits>") {
		t.Error("metadata are escaped for HTML")
	}
}

func TestEqualModelsGiveEqualBytes(t *testing.T) {
	want := encode(t, model())
	for range 20 { // maps change their order
		if !bytes.Equal(encode(t, model()), want) {
			t.Fatal("equal models give different bytes")
		}
	}
}

// Any values and any small perceptron survive.
func TestRandomModels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		finite := rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32)
		draw := func(shape ...int) *tensor.Tensor {
			x := tensor.New(shape...)
			copy(x.Data, rapid.SliceOfN(finite, x.Len(), x.Len()).Draw(t, "values"))
			return x
		}
		g := graph.New()
		width := rapid.IntRange(1, 4).Draw(t, "width")
		x := g.Input("in", graph.Shape{width})
		for _, name := range rapid.SliceOfNDistinct(rapid.StringN(1, 6, -1), 1, 4, rapid.ID[string]).Draw(t, "names") {
			out := rapid.IntRange(1, 4).Draw(t, "width")
			p := graph.Params{"weight": draw(width, out)}
			if rapid.Bool().Draw(t, "bias") {
				p["bias"] = draw(out)
			}
			x = g.Add("l"+name, &graph.Linear{}, p, x)
			width = out
		}
		g.Outputs = []*graph.Node{x}
		want := &Model{Kind: KindANN, Graph: g}
		if rapid.Bool().Draw(t, "extra") {
			want.Extra = map[string]*tensor.Tensor{"calib." + rapid.StringN(1, 4, -1).Draw(t, "name"): draw(2)}
		}
		var b bytes.Buffer
		if err := EncodeModel(&b, want); err != nil {
			t.Fatal(err)
		}
		got, err := decode(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range g.Nodes {
			if diff := cmp.Diff(n.Params, got.Graph.Node(n.Name).Params); diff != "" {
				t.Fatal(diff)
			}
		}
		if diff := cmp.Diff(want.Extra, got.Extra); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestSaveRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Model)
		want   string
	}{
		{"NaN weight", func(m *Model) { m.Graph.Node("fc").Params["weight"].Data[5] = float32(math.NaN()) }, `node "fc" (linear): weight[5] is NaN`},
		{"infinite bias", func(m *Model) { m.Graph.Node("bn1").Params["bias"].Data[1] = float32(math.Inf(1)) }, "bias[1] is +Inf"},
		{"NaN in the optimiser", func(m *Model) { m.Extra["optim.momentum.conv1.weight"].Data[2] = float32(math.NaN()) }, "element 2 is NaN"},
		{"unknown prefix", func(m *Model) { m.Extra["momentum.conv1"] = ramp(1) }, `"momentum.conv1"`},
		{"bare prefix", func(m *Model) { m.Extra["optim."] = ramp(1) }, `"optim."`},
		{"node like a prefix", func(m *Model) { m.Graph.Node("fc").Name = "ema" }, `"ema.bias"`},
		{"invalid graph", func(m *Model) { m.Graph.Node("fc").Params["weight"] = ramp(15, 3) }, `node "fc"`},
		{"no graph", func(m *Model) { m.Graph = nil }, "no graph"},
		{"kind", func(m *Model) { m.Kind = "dnn" }, `kind "dnn"`},
		{"snn without settings", func(m *Model) { m.Kind, m.SNN = KindSNN, nil }, "without adafire.snn"},
		{"train without state", func(m *Model) { m.Train = nil }, "without adafire.train"},
		{"calibration without state", func(m *Model) { m.Kind, m.SNN, m.Train = KindCalibration, nil, nil }, "without adafire.snn and adafire.train"},
		{"broken JSON", func(m *Model) { m.Train = json.RawMessage(`{"epoch":`) }, "adafire.train"},
		{"list", func(m *Model) { m.Train = json.RawMessage(`[1]`) }, "want a JSON object"},
		{"duplicate member", func(m *Model) { m.Train = json.RawMessage(`{"epoch":1,"epoch":2}`) }, `"epoch" occurs twice`},
		{"NaN metric", func(m *Model) { m.Provenance.Metrics["top1"] = math.NaN() }, "adafire.provenance"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.safetensors")
			m := model()
			c.change(m)
			if err := SaveModel(path, m, false); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path+": ") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a file was left")
			}
		})
	}
}

// parts takes a checkpoint apart so that a test can spoil it and put it
// together again.
func parts(t testing.TB, b []byte) ([]Entry, map[string]string) {
	t.Helper()
	f, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for _, s := range f.Tensors {
		x, err := s.Float32()
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, NewEntry(s.Name, x))
	}
	metadata := maps.Clone(f.Metadata)
	delete(metadata, digestKey)
	return entries, metadata
}

func TestLoadRefuses(t *testing.T) {
	replace := func(key, old, new string) func(testing.TB, []Entry, map[string]string) []Entry {
		return func(t testing.TB, e []Entry, m map[string]string) []Entry {
			if !strings.Contains(m[key], old) {
				t.Fatalf("%s has no %s: %s", key, old, m[key])
			}
			m[key] = strings.Replace(m[key], old, new, 1)
			return e
		}
	}
	set := func(key, value string) func(testing.TB, []Entry, map[string]string) []Entry {
		return func(_ testing.TB, e []Entry, m map[string]string) []Entry { m[key] = value; return e }
	}
	drop := func(key string) func(testing.TB, []Entry, map[string]string) []Entry {
		return func(_ testing.TB, e []Entry, m map[string]string) []Entry { delete(m, key); return e }
	}
	tensorOf := func(name string, change func(*Entry)) func(testing.TB, []Entry, map[string]string) []Entry {
		return func(t testing.TB, e []Entry, _ map[string]string) []Entry {
			i := slices.IndexFunc(e, func(e Entry) bool { return e.Name == name })
			if i < 0 {
				t.Fatalf("no tensor %q", name)
			}
			change(&e[i])
			return e
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(testing.TB, []Entry, map[string]string) []Entry
		want  string
		is    error
	}{
		{"no format", drop(formatKey), "not an AdaFire checkpoint", ErrForeign},
		{"other format", set(formatKey, "pt"), `"format" is "pt"`, ErrForeign},
		{"newer", func(_ testing.TB, e []Entry, m map[string]string) []Entry {
			m[schemaKey], m[minReaderKey] = "3", "3"
			return e
		}, "written by a newer AdaFire (schema 3), this one reads up to 1", ErrNewer},
		{"schema 0", set(schemaKey, "0"), "adafire.schema", nil},
		{"schema is no number", set(schemaKey, "one"), `adafire.schema is "one"`, nil},
		{"no min_reader", drop(minReaderKey), "adafire.min_reader", nil},
		{"unknown metadata", set("adafire.pruning", "{}"), `unknown metadata "adafire.pruning"`, nil},
		{"kind", set(kindKey, "dnn"), `kind "dnn"`, nil},
		{"no kind", drop(kindKey), `kind ""`, nil},
		{"train without state", drop(trainKey), "without adafire.train", nil},
		{"no graph", drop(graphKey), "no adafire.graph", nil},
		{"graph is no JSON", set(graphKey, `{"schema":1,`), "adafire.graph", nil},
		{"text behind the graph", func(_ testing.TB, e []Entry, m map[string]string) []Entry { m[graphKey] += "{}"; return e }, "text behind", nil},
		{"graph of a newer schema", replace(graphKey, `"schema":1`, `"schema":2`), "schema 2", graph.ErrInvalid},
		{"unknown operation", replace(graphKey, `"op":"relu"`, `"op":"swish"`), `node "relu1" (swish)`, graph.ErrInvalid},
		{"unknown attribute", replace(graphKey, `"groups":1`, `"groups":1,"alpha":2`), `"alpha"`, graph.ErrInvalid},
		{"missing attribute", replace(graphKey, `,"groups":1`, ``), `"groups" is missing`, graph.ErrInvalid},
		{"attribute twice", replace(graphKey, `"groups":1`, `"groups":2,"groups":1`), `"groups" occurs twice`, nil},
		{"unknown member", replace(graphKey, `{"schema":1`, `{"schema":1,"loss":"mse"`), "loss", nil},
		{"unknown parameter", replace(graphKey, `"bias":"fc.bias"`, `"gain":"fc.gain"`), "fc.gain", nil},
		{"other tensor's name", replace(graphKey, `"bias":"fc.bias"`, `"bias":"bn1.bias"`), `is tensor "bn1.bias", want "fc.bias"`, nil},
		{"node like a prefix", func(t testing.TB, e []Entry, m map[string]string) []Entry {
			m[graphKey] = strings.ReplaceAll(m[graphKey], `"fc`, `"ema.fc`)
			e = tensorOf("ema.fc.bias", func(e *Entry) { e.Name = "ema.spare" })(t, e, m)
			e = tensorOf("fc.bias", func(e *Entry) { e.Name = "ema.fc.bias" })(t, e, m)
			return tensorOf("fc.weight", func(e *Entry) { e.Name = "ema.fc.weight" })(t, e, m)
		}, "state beside the graph", nil},
		{"node twice", replace(graphKey, `"name":"bn1"`, `"name":"conv1"`), "conv1", nil},
		{"cycle", replace(graphKey, `"in":["input"]`, `"in":["relu1"]`), "no earlier node", graph.ErrInvalid},
		{"input shape", replace(graphKey, `"shape":[4,4,2]`, `"shape":[4,4,3]`), "input channels", graph.ErrInvalid},
		{"huge input", replace(graphKey, `"shape":[4,4,2]`, `"shape":[99999999,99999999,2]`), "want 1 to", graph.ErrInvalid},
		{"no output", replace(graphKey, `"outputs":["fc"]`, `"outputs":[]`), "no output", graph.ErrInvalid},
		{"deep train", set(trainKey, strings.Repeat(`{"a":`, 70)+"1"+strings.Repeat("}", 70)), "nested deeper", nil},
		{"unknown provenance", replace(provenanceKey, `"dataset"`, `"data"`), "data", nil},
		{"missing tensor", tensorOf("fc.bias", func(e *Entry) { e.Name = "ema.other" }), `no tensor "fc.bias"`, nil},
		{"unreferenced tensor", tensorOf("ema.fc.bias", func(e *Entry) { e.Name = "fc2.bias" }), `tensor "fc2.bias": the graph does not use it`, nil},
		{"wrong shape", tensorOf("fc.bias", func(e *Entry) { e.Shape = []int{3, 1} }), "bias has shape [3 1]", graph.ErrInvalid},
		{"NaN weight", tensorOf("fc.weight", func(e *Entry) { e.Data.([]float32)[7] = float32(math.NaN()) }), `tensor "fc.weight": element 7 is NaN`, nil},
		{"infinite extra", tensorOf("optim.momentum.conv1.weight", func(e *Entry) { e.Data.([]float32)[1] = float32(math.Inf(-1)) }), "element 1 is -Inf", nil},
		{"negative variance", tensorOf("bn1.var", func(e *Entry) { e.Data.([]float32)[1] = -1 }), "var[1]", graph.ErrInvalid},
		{"integer weight", tensorOf("fc.bias", func(e *Entry) { e.Data = []int32{1, 2, 3} }), "type I32", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries, metadata := parts(t, encode(t, model()))
			entries = c.spoil(t, entries, metadata)
			var b bytes.Buffer
			if err := Encode(&b, entries, metadata); err != nil {
				t.Fatal(err)
			}
			_, err := decode(b.Bytes())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.safetensors: ") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.Count(err.Error(), "x.safetensors") != 1 {
				t.Errorf("got %q, want the file once", err)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want it to be %v", err, c.is)
			}
		})
	}
}

// A newer writer may add metadata if it says that this version can read on.
func TestNewerSchemaThatWeMayRead(t *testing.T) {
	entries, metadata := parts(t, encode(t, model()))
	metadata[schemaKey], metadata["adafire.pruning"] = "2", "{}"
	var b bytes.Buffer
	if err := Encode(&b, entries, metadata); err != nil {
		t.Fatal(err)
	}
	got, err := decode(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sameModel(t, got, model())
}

func TestDamagedDataIsFound(t *testing.T) {
	b := encode(t, model())
	b[len(b)-1] ^= 1
	if _, err := decode(b); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v, want the damage", err)
	}
	if _, err := decode(b, SkipDigest()); err != nil {
		t.Errorf("without the digest: %v", err)
	}
	if _, err := decode(b[:len(b)-1]); err == nil {
		t.Error("a truncated checkpoint was loaded")
	}
}

// Half-precision parameters are widened.
func TestHalfParameters(t *testing.T) {
	header := `{"__metadata__":{"format":"adafire","adafire.schema":"1","adafire.min_reader":"1","adafire.kind":"ann","adafire.graph":` +
		string(must(json.Marshal(`{"schema":1,"inputs":[{"name":"in","shape":[1]}],"outputs":["fc"],"nodes":[{"name":"fc","op":"linear","in":["in"],"param":{"weight":"fc.weight","bias":"fc.bias"}}]}`))) +
		`},"fc.weight":{"dtype":"F16","shape":[1,1],"data_offsets":[0,2]},"fc.bias":{"dtype":"BF16","shape":[1],"data_offsets":[2,4]}}`
	m, err := decode(raw(header, 0x00, 0x3e, 0x40, 0xc0), SkipDigest())
	if err != nil {
		t.Fatal(err)
	}
	fc := m.Graph.Node("fc")
	if fc.Weight().Data[0] != 1.5 || fc.Bias()[0] != -3 {
		t.Errorf("got %v and %v, want 1.5 and -3", fc.Weight().Data, fc.Bias())
	}
	if _, err := decode(raw(header, 0x00, 0x3e, 0x40, 0xc0)); err == nil || !strings.Contains(err.Error(), "no adafire.sha256") {
		t.Errorf("without a digest: got %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The first file of schema 1 is kept for ever: what was written once must load.
func TestSchema1File(t *testing.T) {
	path := filepath.Join("testdata", "schema1.safetensors")
	if *update {
		if err := SaveModel(path, model(), true); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadModel(path)
	if err != nil {
		t.Fatal(err)
	}
	sameModel(t, got, model())
}

func TestIsModel(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain.safetensors")
	if err := Write(plain, nil, nil, false); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{plain, dir, filepath.Join(dir, "none")} {
		if IsModel(path) {
			t.Errorf("%s: IsModel says yes", path)
		}
	}
}

func FuzzModel(f *testing.F) {
	f.Add(encode(f, model()))
	f.Add(encode(f, &Model{Kind: KindANN, Graph: network()}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		m, err := decode(b, SkipDigest())
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := EncodeModel(&out, m); err != nil {
			t.Fatalf("loaded, but cannot be saved: %v", err)
		}
		again, err := decode(out.Bytes())
		if err != nil {
			t.Fatalf("saved, but cannot be loaded: %v", err)
		}
		sameModel(t, again, m)
	})
}
