package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/npy"
)

// goldenONNX is an export of a small ResNet with its input and output.
func goldenONNX(t *testing.T, name string) (model, input, output string) {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "golden", "onnx", "resnet_tiny")
	model = filepath.Join(dir, name)
	if _, err := os.Stat(model); err != nil {
		t.Fatal(err)
	}
	return model, filepath.Join(dir, "input_0.npy"), filepath.Join(dir, "output_0.npy")
}

func mustCall(t *testing.T, args ...string) outcome {
	t.Helper()
	got := call(t, args...)
	if got.code != 0 {
		t.Fatalf("adafire %s: code %d: %s", strings.Join(args, " "), got.code, got.stderr)
	}
	return got
}

func floats(t *testing.T, path string) []float32 {
	t.Helper()
	a, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.Float32()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestONNXToNIR takes a network of others through the whole program: import,
// inference, conversion on arrays, inference of the spiking network, NIR and
// back.
func TestONNXToNIR(t *testing.T) {
	model, input, output := goldenONNX(t, "ts17_dynbatch.onnx")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }

	mustCall(t, "import", model, "--out", at("ann.safetensors"), "--mean", "0.5", "--std", "0.25", "--quiet")
	wantFailure(t, call(t, "import", model, "--out", at("ann.safetensors")), 1, "exists")
	if got := mustCall(t, "inspect", at("ann.safetensors")); !strings.Contains(got.stdout, "mean") {
		t.Errorf("the normalisation is not shown:\n%s", got.stdout)
	}
	for _, from := range []string{model, at("ann.safetensors")} {
		mustCall(t, "infer", "--model", from, input, "--logits", at("y.npy"), "--force", "--quiet")
		got, want := floats(t, at("y.npy")), floats(t, output)
		for i, w := range want {
			if d := got[i] - w; d > 1e-4 || d < -1e-4 {
				t.Errorf("%s: output %d: got %g, want %g", from, i, got[i], w)
			}
		}
	}

	mustCall(t, "convert", "--model", model, "--calib-data", input, "--T", "4", "--shift", "per-step", "--weights", "i8", "--out", at("snn.safetensors"), "--quiet")
	one := wantJSON(t, mustCall(t, "infer", "--model", at("snn.safetensors"), input, "--json", "-", "--top", "2").stdout)
	if samples := one["samples"].([]any); one["T"] != 4.0 || len(samples) == 0 || len(samples[0].(map[string]any)["top"].([]any)) != 2 {
		t.Errorf("got %v", one)
	}
	// The stem has a max pool, which NIR cannot say.
	wantFailure(t, call(t, "export", "--model", at("snn.safetensors"), "--out", at("net.nir")), 1, "max pool")
	if _, err := os.Stat(at("net.nir")); err == nil {
		t.Error("a refused export left a file")
	}
}

func TestExportNIRAndBack(t *testing.T) {
	snn := filepath.Join(t.TempDir(), "snn.safetensors")
	dir := t.TempDir()
	x := writeNpy(t, "x.npy", 3, 28, 28, 1)
	ann := filepath.Join(dir, "ann.safetensors")
	// Pools that average can be written.
	mustCall(t, "train", "--dataset", "digits", "--arch", "vgg-small", "--width", "2", "--pooling", "avg", "--epochs", "1", "--batch-size", "500", "--out", dir, "--quiet")
	mustCall(t, "convert", "--model", ann, "--calib-data", x, "--T", "2", "--out", snn, "--quiet")
	for _, profile := range []string{"portable", "exact"} {
		out := filepath.Join(dir, profile+".nir")
		mustCall(t, "export", "--model", snn, "--out", out, "--nir-profile", profile, "--nir-start-input", "--quiet")
		back := filepath.Join(dir, profile+".safetensors")
		mustCall(t, "import", out, "--out", back, "--quiet")
		var logits [][]float32
		for i, m := range []string{snn, back} {
			y := filepath.Join(dir, profile+string(rune('a'+i))+".npy")
			mustCall(t, "infer", "--model", m, x, "--logits", y, "--quiet")
			logits = append(logits, floats(t, y))
		}
		if profile == "portable" && !slices.Equal(logits[0], logits[1]) {
			t.Errorf("%s: %v came back as %v", profile, logits[0], logits[1])
		}
	}
	got := mustCall(t, "export", "--model", snn, "--target", "sinabs", "--check")
	if !strings.Contains(got.stdout, "sinabs:") {
		t.Errorf("got %s", got.stdout)
	}
	wantFailure(t, call(t, "export", "--model", ann, "--out", filepath.Join(dir, "x.nir")), 1, "convert the ANN first")
	wantFailure(t, call(t, "export", "--model", snn, "--check"), 2, "--target")
	wantFailure(t, call(t, "export", "--model", snn, "--out", filepath.Join(dir, "x.xyz")), 2, "names no format")
}

// TestExportONNXAndC writes what other programs read; that they compute the same
// is tested in packages onnx and cexport.
func TestExportONNXAndC(t *testing.T) {
	model, input, output := goldenONNX(t, "ts17_dynbatch.onnx")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	mustCall(t, "export", "--model", model, "--out", at("ann.onnx"), "--quiet")
	mustCall(t, "infer", "--model", at("ann.onnx"), input, "--logits", at("y.npy"), "--quiet")
	got, want := floats(t, at("y.npy")), floats(t, output)
	for i, w := range want {
		if d := got[i] - w; d > 1e-4 || d < -1e-4 {
			t.Errorf("output %d: got %g, want %g", i, got[i], w)
		}
	}
	mustCall(t, "convert", "--model", model, "--calib-data", input, "--T", "4", "--weights", "i8", "--out", at("snn.safetensors"), "--quiet")
	for _, form := range []string{"loop", "scan", "unrolled", "staircase"} {
		out := at(form + ".onnx")
		mustCall(t, "export", "--model", at("snn.safetensors"), "--out", out, "--form", form, "--spike-counts", "--quiet")
		if info, err := os.Stat(out); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", form, err)
		}
	}
	r := wantJSON(t, mustCall(t, "export", "--model", at("snn.safetensors"), "--out", at("net.c"), "--name", "tiny", "--json", "-").stdout)
	if files := r["files"].([]any); len(files) != 2 || r["flash_bytes"].(float64) < 1000 {
		t.Errorf("got %v", r)
	}
	header, err := os.ReadFile(at("net.h"))
	if err != nil || !strings.Contains(string(header), "int tiny_run(") {
		t.Errorf("header: %v\n%s", err, header)
	}
	wantFailure(t, call(t, "export", "--model", model, "--out", at("ann.c"), "--quiet"), 1, "convert the ANN first")
}

func TestInferImages(t *testing.T) {
	ann := saveNetwork(t, "ann")
	wantFailure(t, call(t, "infer", "--model", ann), 2, "IMAGE")
	wantFailure(t, call(t, "infer", "--model", ann, t.TempDir()), 1, "no JPEG or PNG")
	wantFailure(t, call(t, "infer", "--model", ann, "a.png", "b.npy"), 2, "either images or .npy")
	wantFailure(t, call(t, "infer", "--model", ann, "missing.png", "--timesteps", "3"), 2, "holds an ANN")
}

func TestWeightsOfNoNetwork(t *testing.T) {
	path := writeBytes(t, "w.safetensors", safetensors(t))
	wantFailure(t, call(t, "import", path, "--out", filepath.Join(t.TempDir(), "x.safetensors")), 1, "export the network to ONNX")
}

func TestRecordings(t *testing.T) {
	dir := t.TempDir()
	csv := filepath.Join(dir, "r.csv")
	text := "%geometry:32,24\n"
	for i := range 200 {
		text += strings.Join([]string{strconv.Itoa(i % 32), strconv.Itoa(i % 24), strconv.Itoa(i & 1), strconv.Itoa(i * 50)}, ",") + "\n"
	}
	if err := os.WriteFile(csv, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"aedat4", "evt3", "npz", "atis", "dat"} {
		out := filepath.Join(dir, "r."+to)
		got := mustCall(t, "data", "convert", csv, out, "--to", to)
		if !strings.Contains(got.stdout, "200 events") {
			t.Errorf("%s: %s", to, got.stdout)
		}
		r := wantJSON(t, mustCall(t, "inspect", out, "--format", to, "--json", "-").stdout)
		if c := r["content"].(map[string]any); c["events"] != 200.0 || c["last_us"] != 9950.0 || c["on_share"] != 0.5 {
			t.Errorf("%s: got %v", to, c)
		}
	}
	if got := mustCall(t, "data", "convert", csv, "-", "--to", "text"); strings.Count(got.stdout, "\n") < 200 {
		t.Errorf("to standard output: %q", got.stdout)
	}
	for _, name := range []string{"strip.png", "clip.gif"} {
		out := filepath.Join(dir, name)
		mustCall(t, "data", "show", csv, "--frames", "3", "--out", out, "--quiet")
		if info, err := os.Stat(out); err != nil || info.Size() < 100 {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantFailure(t, call(t, "data", "show", csv, "--out", filepath.Join(dir, "x.txt")), 2, "want a .png strip or a .gif animation")
	wantFailure(t, call(t, "data", "convert", csv, filepath.Join(dir, "x.unknown")), 2, "--to")
	wantFailure(t, call(t, "data", "convert", filepath.Join(dir, "none.aedat"), filepath.Join(dir, "x.npz")), 1, "none.aedat")
	os.WriteFile(csv, []byte("1 2 3 1\nbroken\n"), 0o666)
	wantFailure(t, call(t, "inspect", csv), 1, "offset 8")
	if got := mustCall(t, "inspect", csv, "--damage", "skip"); !strings.Contains(got.stdout, "malformed-line") {
		t.Errorf("got %s", got.stdout)
	}
}
