package cli

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/report"
	"github.com/adafire/adafire/tensor"
)

// zipFile returns an archive of files with the same content.
func zipFile(t *testing.T, content []byte, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeBytes(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// safetensors returns the bytes of a file with two tensors.
func safetensors(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	err := checkpoint.Encode(&b, []checkpoint.Entry{
		{Name: "weight", Shape: []int{2, 3}, Data: []float32{1, 2, 3, 4, 5, 6}}, {Name: "step", Shape: []int{}, Data: []int64{7}},
	}, map[string]string{"made by": "a test\nwith two lines"})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var idxLabels = []byte{0, 0, 8, 1, 0, 0, 0, 3, 1, 0, 1}

func TestInspectForeign(t *testing.T) {
	tar := make([]byte, 512)
	copy(tar[257:], "ustar")
	labels := func(change func(b []byte) []byte) []byte { return change(bytes.Clone(idxLabels)) }
	tests := []struct {
		name    string
		content []byte
		message string
		kind    error // nil: damaged, a FormatError
	}{
		{"torch zip", zipFile(t, []byte("x"), "archive/data.pkl", "archive/data/0"), "want a pickle of protocol 2 to 5", nil},
		{"old torch", []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), "the pickle ends", nil},
		{"pickle", []byte("\x80\x04\x95"), "the pickle ends", nil},
		{"onnx", []byte("\x08\x07\x12\x07pytorch\x1a\x051.9.0"), "model", nil},
		{"hdf5", []byte("\x89HDF\r\n\x1a\n\x00"), "damaged", nil},
		{"html", []byte("\n<!DOCTYPE html><html>"), "HTML page, perhaps what a download saved instead of the file", fileerr.ErrUnsupported},
		{"html with a mark", []byte("\xef\xbb\xbf<HTML>"), "HTML page", fileerr.ErrUnsupported},
		{"git-lfs", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "git-lfs pointer, not the file itself", fileerr.ErrUnsupported},
		{"tar", tar, "tar archive", fileerr.ErrUnsupported},
		{"picture", []byte("\x89PNG\r\n\x1a\n"), "PNG picture", fileerr.ErrUnsupported},
		{"other zip", zipFile(t, []byte("x"), "readme.txt"), "zip archive of 1 files without arrays", fileerr.ErrUnsupported},
		{"other gzip", gzipped(t, []byte("hello")), "gzip-compressed file that is no IDX file", fileerr.ErrUnsupported},
		{"html in gzip", gzipped(t, []byte("<html>")), "HTML page, perhaps what a download saved instead of the file, gzip-compressed", fileerr.ErrUnsupported},

		{"empty", nil, "empty file", nil},
		{"text", []byte("hello, world"), `unknown format, it begins with "hello, world"`, nil},
		{"binary", []byte{1, 2, 3, 255}, "unknown format, it begins with 01 02 03 ff", nil},
		{"cut zip", []byte("PK\x03\x04abc"), "damaged zip archive", nil},
		{"cut gzip", gzipped(t, idxLabels)[:5], "not a gzip file", nil},
		{"bad gzip sum", append(gzipped(t, idxLabels)[:len(gzipped(t, idxLabels))-8], 0, 0, 0, 0, 11, 0, 0, 0), "offset 11: gzip: invalid checksum", nil},
		{"cut safetensors", safetensors(t)[:len(safetensors(t))-1], "damaged", nil},
		{"safetensors of a huge header", []byte("\xff\xff\xff\xff\xff\xff\xff\x00{"), "damaged", nil},
		{"cut npy", []byte("\x93NUMPY\x01\x00\xff"), "damaged", nil},
		{"zip with a bad array", zipFile(t, []byte("\x93NUMPY"), "a.npy"), "damaged", nil},
		{"cut idx", idxLabels[:10], "offset 10: truncated: want 3 bytes of values, 2 are there", nil},
		{"cut idx header", idxLabels[:7], "offset 7: truncated: want header of 8 bytes", nil},
		{"long idx", append(bytes.Clone(idxLabels), 0), "offset 11: trailing bytes after 3 values", nil},
		{"idx of a lie", labels(func(b []byte) []byte { b[4] = 255; return b }), "truncated", nil},
		{"idx of a great lie", bytes.Join([][]byte{{0, 0, 14, 8}, bytes.Repeat([]byte{255}, 32)}, nil), "claim more values than any file holds", nil},
		{"other JSON", []byte(`{"a": 1}`), `result has an unknown member "a"`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writeBytes(t, "file", tt.content)
			message := tt.message
			if message == "damaged" {
				message = path
			}
			wantFailure(t, call(t, "inspect", path), 1, message)
			_, err := inspectFile(path, int64(len(tt.content)))
			var format *fileerr.FormatError
			if tt.kind != nil && !errors.Is(err, tt.kind) || tt.kind == nil && !errors.As(err, &format) {
				t.Errorf("kind of error: %T %v", err, err)
			}
			if got := call(t, "inspect", path, "--json", "-"); got.code != 1 || got.stdout != "" {
				t.Errorf("with --json -: %+v", got)
			}
		})
	}
}

// content inspects a file with --json - and returns kind and content.
func content(t *testing.T, path string, flags ...string) (string, map[string]any) {
	t.Helper()
	got := call(t, append([]string{"inspect", path, "--json", "-"}, flags...)...)
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	object := wantJSON(t, got.stdout)
	c, ok := object["content"].(map[string]any)
	if !ok {
		t.Fatalf("no content in %s", got.stdout)
	}
	return object["kind"].(string), c
}

func saveNetwork(t testing.TB, kind string) string {
	t.Helper()
	g, err := models.Build(models.Config{Arch: "vgg-small", Input: graph.Shape{28, 28, 1}, Classes: 10, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	m := &checkpoint.Model{Kind: kind, Graph: g, Provenance: checkpoint.Provenance{
		Command: "adafire train --dataset digits", Dataset: "digits", Mean: []float32{0.5}, Metrics: map[string]float64{"accuracy": 0.99},
	}}
	path := filepath.Join(t.TempDir(), "net.safetensors")
	if kind == checkpoint.KindSNN {
		x := &tensor.Tensor{Shape: []int{4, 28, 28, 1}, Data: make([]float32, 4*28*28)}
		for i := range x.Data {
			x.Data[i] = float32(i%7) / 7
		}
		cfg := convert.Default()
		cfg.Timesteps, cfg.MaxSpikes = 8, []int{2, 3, 4, 5, 6}
		r, err := convert.Convert(t.Context(), nil, g, x, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := job.SaveSNN(path, &job.Converted{Result: r}, m.Provenance, false); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := checkpoint.SaveModel(path, m, false); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInspectNetwork(t *testing.T) {
	path := saveNetwork(t, checkpoint.KindANN)
	g, err := models.Build(models.Config{Arch: "vgg-small", Input: graph.Shape{28, 28, 1}, Classes: 10, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	kind, c := content(t, path)
	if kind != "network (ANN)" || c["parameters"] != float64(g.Parameters()) || c["macs"] != float64(g.MACs()) {
		t.Errorf("%s: %v parameters, %v MACs; want %d, %d", kind, c["parameters"], c["macs"], g.Parameters(), g.MACs())
	}
	parameters, macs := 0.0, 0.0
	for _, l := range c["layers"].([]any) {
		parameters += l.(map[string]any)["parameters"].(float64)
		macs += l.(map[string]any)["macs"].(float64)
	}
	if parameters != c["parameters"] || macs != c["macs"] {
		t.Errorf("layers sum up to %v parameters, %v MACs; want %v, %v", parameters, macs, c["parameters"], c["macs"])
	}
	got := call(t, "inspect", path)
	for _, part := range []string{"conv2d", "28x28x16", "adafire train --dataset digits", "accuracy  0.99"} {
		if !strings.Contains(got.stdout, part) {
			t.Errorf("text lacks %q:\n%s", part, got.stdout)
		}
	}
	if got := call(t, "inspect", "--dot", path); got.code != 0 || !strings.HasPrefix(got.stdout, "digraph network {") || !strings.HasSuffix(got.stdout, "}\n") {
		t.Errorf("--dot: %+v", got)
	}
}

func TestInspectSpiking(t *testing.T) {
	path := saveNetwork(t, checkpoint.KindSNN)
	kind, c := content(t, path)
	spiking := c["spiking"].(map[string]any)
	if kind != "spiking network (SNN)" || spiking["timesteps"] != 8.0 {
		t.Errorf("%s: %v", kind, spiking)
	}
	saved, _, err := job.LoadSNN(path)
	if err != nil {
		t.Fatal(err)
	}
	net, err := saved.Network()
	if err != nil {
		t.Fatal(err)
	}
	layers := spiking["layers"].([]any)
	if len(layers) != 5 {
		t.Fatalf("%d layers, want 5", len(layers))
	}
	for i, want := range net.Layers() {
		got := layers[i].(map[string]any)
		if got["name"] != want.Node || got["maxspike"] != float64(i+2) || got["neurons"] != float64(want.Neurons) ||
			got["threshold_min"] != float64(slices.Min(want.Threshold)) || got["threshold_max"] != float64(slices.Max(want.Threshold)) {
			t.Errorf("layer %d: got %v, want %+v", i, got, want)
		}
	}
	if got := call(t, "inspect", path); got.code != 0 || !strings.Contains(got.stdout, "spiking with T = 8 timesteps") {
		t.Errorf("%+v", got)
	}

	// Settings that the graph does not have are found.
	m, err := checkpoint.LoadModel(path)
	if err != nil {
		t.Fatal(err)
	}
	m.SNN = bytes.Replace(m.SNN, []byte(net.Layers()[0].Node), []byte("no such layer"), 1)
	broken := filepath.Join(t.TempDir(), "broken.safetensors")
	if err := checkpoint.SaveModel(broken, m, false); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, call(t, "inspect", broken), 1, broken)
}

func TestInspectArrays(t *testing.T) {
	dir := t.TempDir()
	array := filepath.Join(dir, "x.npy")
	if err := npy.WriteFile(array, []int{2, 2}, []float32{1, 2, float32(math.Inf(1)), 6}); err != nil {
		t.Fatal(err)
	}
	kind, c := content(t, array)
	if kind != "NumPy array" || c["dtype"] != "float32" || c["min"] != 1.0 || c["max"] != 6.0 || c["mean"] != 3.0 || c["not_finite"] != 1.0 {
		t.Errorf("%s: %v", kind, c)
	}
	inner, err := os.ReadFile(array)
	if err != nil {
		t.Fatal(err)
	}
	kind, c = content(t, writeBytes(t, "x.npz", zipFile(t, inner, "a.npy", "b.npy")))
	if arrays := c["arrays"].([]any); kind != "NumPy archive" || len(arrays) != 2 || arrays[1].(map[string]any)["name"] != "b" {
		t.Errorf("%s: %v", kind, c)
	}
	kind, c = content(t, writeBytes(t, "x.safetensors", safetensors(t)))
	if kind != "safetensors file, no AdaFire network" || c["values"] != 7.0 || len(c["tensors"].([]any)) != 2 {
		t.Errorf("%s: %v", kind, c)
	}
	got := call(t, "inspect", writeBytes(t, "x.safetensors", safetensors(t)))
	if !strings.Contains(got.stdout, "metadata made by: a test; with two lines\n") || !strings.Contains(got.stdout, "2x3") {
		t.Errorf("%+v", got)
	}
	for _, file := range []string{writeBytes(t, "l", idxLabels), writeBytes(t, "l.gz", gzipped(t, idxLabels))} {
		kind, c = content(t, file)
		counts, _ := json.Marshal(c["counts"])
		if !strings.HasPrefix(kind, "IDX file") || string(counts) != "[1,2]" || c["dtype"] != "uint8" || c["gzip"] != strings.HasSuffix(file, ".gz") {
			t.Errorf("%s: %v", kind, c)
		}
	}
	wantFailure(t, call(t, "inspect", "--dot", array), 2, "is no network but NumPy array")
	wantFailure(t, call(t, "inspect", "--dataset", "npy", array), 2, "is a file, want a folder")
}

func TestInspectFolder(t *testing.T) {
	dir := t.TempDir()
	wantFailure(t, call(t, "inspect", dir), 1, "empty folder")
	for name, shape := range map[string][]int{"x_train": {3, 4, 4, 1}, "x_test": {2, 4, 4, 1}, "y_train": {3}, "y_test": {2}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		var err error
		if path := filepath.Join(dir, name+".npy"); len(shape) > 1 {
			err = npy.WriteFile(path, shape, make([]uint8, n))
		} else {
			err = npy.WriteFile(path, shape, make([]int64, n))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, flags := range [][]string{nil, {"--dataset", "npy"}} {
		kind, c := content(t, dir, flags...)
		if splits := c["splits"].([]any); kind != "data set npy" || len(splits) != 2 || splits[0].(map[string]any)["samples"] != 3.0 {
			t.Errorf("%s: %v", kind, c)
		}
	}
	wantFailure(t, call(t, "inspect", dir, "--dataset", "cifar10"), 1, "data set cifar10")
	if err := os.WriteFile(filepath.Join(dir, "y_test.npy"), []byte("\x93NUMPY"), 0o666); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, call(t, "inspect", dir), 1, "y_test.npy")
	other := filepath.Dir(writeBytes(t, "result.json", []byte("{}")))
	wantFailure(t, call(t, "inspect", other), 1, "it holds result.json")
}

// writeResult writes a result of the smallest kind that is valid.
func writeResult(t *testing.T) string {
	t.Helper()
	accuracy := 0.75
	r := report.Result{Command: "eval", Version: "devel", Seed: 1, CPU: "portable", Workers: 1,
		Dataset: report.Dataset{Name: "digits", Train: 10, Test: 4, Classes: 2},
		Network: report.Network{Arch: "vgg-small", Parameters: 5, MACs: 7},
		ANN:     report.ANN{Metrics: report.Metrics{Accuracy: &accuracy}},
		SNN: []report.SNN{{Name: "burst", Timesteps: 4, MaxSpike: []int{4}, Calib: "light", Neuron: "burst", AvgTimesteps: 4,
			Metrics: report.Metrics{Accuracy: &accuracy}, Layers: []report.Layer{{Name: "relu", Neurons: 3, MaxSpike: 4, ThresholdMean: 1}}}},
	}
	r.Derive()
	var b bytes.Buffer
	if err := report.WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	return writeBytes(t, "result.json", b.Bytes())
}

func TestReport(t *testing.T) {
	result := writeResult(t)
	kind, c := content(t, result)
	if kind != `result of "eval", version devel` || c["command"] != "eval" {
		t.Errorf("%s: %v", kind, c)
	}
	if got := call(t, "inspect", result); !strings.Contains(got.stdout, "burst") {
		t.Errorf("%+v", got)
	}
	out := filepath.Join(t.TempDir(), "report.html")
	got := call(t, "report", result, filepath.Dir(result), "--out", out, "--title", "<both>")
	if got.code != 0 || !strings.Contains(got.stdout, "report on 2 results") {
		t.Fatalf("%+v", got)
	}
	if page := readText(t, out); !strings.Contains(page, "&lt;both&gt;") || !strings.Contains(page, "</html>") {
		t.Error("the page lacks its title or its end")
	}
	wantFailure(t, call(t, "report", result, "--out", out), 1, "file exists; --force replaces it")
	if got := call(t, "report", result, "--out", out, "--force", "--json", "-"); wantJSON(t, got.stdout)["results"] != 1.0 {
		t.Errorf("%+v", got)
	}
	if got := call(t, "report", result, "--out", "-"); got.code != 0 || !strings.HasSuffix(strings.TrimSpace(got.stdout), "</html>") {
		t.Errorf("the page on standard output is not alone: exit code %d", got.code)
	}
}

// FuzzInspect feeds any bytes as a file: an answer or an error of one line,
// never a panic.
func FuzzInspect(f *testing.F) {
	f.Add(safetensors(f))
	f.Add(idxLabels)
	f.Add(gzipped(f, idxLabels))
	f.Add([]byte("\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }            \n\x00\x00\x80\x3f"))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Add([]byte(`{"schema":1}`))
	f.Add([]byte("\x08\x07\x12\x07pytorch"))
	if network, err := os.ReadFile(saveNetwork(f, checkpoint.KindSNN)); err == nil {
		f.Add(network[:4096])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			t.Skip()
		}
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		got := call(t, "inspect", path, "--quiet")
		if got.code == 0 && got.stdout == "" {
			t.Error("no answer")
		}
		if got.code != 0 {
			wantOneLine(t, got.stderr)
			if got.code != 1 || strings.Contains(got.stderr, "internal error") {
				t.Errorf("%+v", got)
			}
		}
	})
}
