package cli

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/npy"
)

// writeNpy writes an array of consecutive numbers.
func writeNpy(t *testing.T, name string, shape ...int) string {
	t.Helper()
	n := 1
	for _, s := range shape {
		n *= s
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%17)/8 - 1
	}
	path := filepath.Join(t.TempDir(), name)
	if err := npy.WriteFile(path, shape, x); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBenchJSON(t *testing.T) {
	t.Setenv("ADAFIRE_CPU", "")
	logits := filepath.Join(t.TempDir(), "logits.npy")
	first := writeNpy(t, "x.npy", 5, 3, 8, 8)
	got := call(t, "bench", "--arch", "vgg-small", "--input", first, "--calib-input", writeNpy(t, "c.npy", 6, 8, 8, 3), "--batch", "4",
		"--T", "3", "--maxspike", "2", "--weights", "i8", "--conversion", "--workers", "2", "--runs", "1", "--train", "--layers", "--logits", logits, "--quiet", "--json", "-")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	var r struct {
		Schema  int
		Machine map[string]any
		ANN     map[string]float64
		SNN     map[string]any
		Train   map[string]float64
		Layers  []map[string]any

		Conversion map[string]any
	}
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Schema != 1 || r.Machine["workers"] != 2.0 || r.Machine["cpu"] == "" || len(r.Layers) == 0 {
		t.Errorf("schema %d, machine %v, %d layers", r.Schema, r.Machine, len(r.Layers))
	}
	for _, key := range []string{"peak_gflops", "peak_gbps"} {
		if v, ok := r.Machine[key].(float64); !ok || v <= 0 {
			t.Errorf("machine: %s is %v", key, r.Machine[key])
		}
	}
	for _, key := range []string{"ms_min", "ms_median", "ms_max", "gflops"} {
		if r.ANN[key] <= 0 {
			t.Errorf("ann: %s is %v", key, r.ANN[key])
		}
	}
	for _, key := range []string{"ms_min", "ms_median", "ms_max", "gops", "sops_per_sample", "density"} {
		if v, ok := r.SNN[key].(float64); !ok || v <= 0 {
			t.Errorf("snn: %s is %v", key, r.SNN[key])
		}
	}
	if r.SNN["T"] != 3.0 || r.SNN["maxspike"] != 2.0 || r.Train["ms_median"] <= 0 {
		t.Errorf("T %v, maxspike %v, training step %v", r.SNN["T"], r.SNN["maxspike"], r.Train)
	}
	if r.SNN["weights"] != "i8" || r.SNN["schedule"] != "sync" || r.Conversion["samples"] != 6.0 {
		t.Errorf("weights %v, schedule %v, conversion %v", r.SNN["weights"], r.SNN["schedule"], r.Conversion)
	}
	a, err := npy.ReadFile(logits)
	if err != nil || !slices.Equal(a.Shape, []int{4, 10}) {
		t.Errorf("logits: %v, %v, want shape [4 10]", a, err)
	}
}

func TestBenchText(t *testing.T) {
	t.Setenv("ADAFIRE_CPU", "")
	got := call(t, "bench", "--arch", "vgg-small", "--input-shape", "1x9x8", "--batch", "2", "--runs", "1", "--T", "0")
	if got.code != 0 {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	for _, part := range []string{"multiply-adds:", "triad:", "vgg-small, batch 2", "ANN"} {
		if !strings.Contains(got.stdout, part) {
			t.Errorf("stdout has no %q: %s", part, got.stdout)
		}
	}
	if strings.Contains(got.stdout, "SNN") {
		t.Errorf("--T 0 ran a spiking network: %s", got.stdout)
	}
}

func TestBenchRefuses(t *testing.T) {
	t.Setenv("ADAFIRE_CPU", "")
	there := writeNpy(t, "there.npy", 2, 8, 8, 3)
	for _, test := range []struct {
		name    string
		args    []string
		code    int
		message string
	}{
		{"two networks", []string{"--arch", "vgg11", "--model", "x"}, 2, "--arch makes a network, --model reads one"},
		{"kernels of a network", []string{"--kernels", "--arch", "vgg11"}, 2, "--kernels leaves the networks out"},
		{"input without network", []string{"--input", there}, 2, "--input needs one network"},
		{"logits without network", []string{"--logits", "y.npy"}, 2, "--logits needs one network"},
		{"shape without arch", []string{"--input-shape", "3x8x8"}, 2, "--input-shape is for --arch"},
		{"shape of two parts", []string{"--arch", "vgg-small", "--input-shape", "8x8"}, 2, "--input-shape"},
		{"shape of nothing", []string{"--arch", "vgg-small", "--input-shape", "3x0x8"}, 2, "--input-shape"},
		{"shape too small", []string{"--arch", "vgg16", "--input-shape", "3x8x8"}, 2, "--arch vgg16 with --input-shape 3x8x8"},
		{"two shapes", []string{"--arch", "vgg-small", "--input", there, "--input-shape", "3x8x8"}, 2, "--input has a shape of its own"},
		{"calibration of nothing", []string{"--arch", "vgg-small", "--T", "0", "--calib-input", there}, 2, "--timesteps 0 converts nothing"},
		{"spiking network of nothing", []string{"--snn", "x"}, 2, "--snn needs one network"},
		{"no such spiking network", []string{"--arch", "vgg-small", "--snn", filepath.Join(t.TempDir(), "none.safetensors")}, 1, "none.safetensors"},
		{"weights", []string{"--arch", "vgg-small", "--weights", "i4"}, 2, "--weights"},
		{"no runs", []string{"--runs", "0"}, 2, `--runs: value "0"`},
		{"too many timesteps", []string{"--arch", "vgg-small", "--T", "1025"}, 2, `--timesteps: value "1025"`},
		{"maxspike", []string{"--arch", "vgg-small", "--maxspike", "300"}, 2, `--maxspike: value "300"`},
		{"too few samples", []string{"--arch", "vgg-small", "--input", there, "--batch", "3"}, 1, "2 samples, want 3"},
		{"samples of another shape", []string{"--arch", "vgg-small", "--input", there, "--calib-input", writeNpy(t, "c.npy", 2, 8, 9, 3)}, 1, "want one or more samples of shape"},
		{"no samples", []string{"--arch", "vgg-small", "--input", writeNpy(t, "none.npy", 0, 8, 8, 3)}, 1, "want one or more samples"},
		{"no images", []string{"--arch", "vgg-small", "--input", writeNpy(t, "flat.npy", 2, 8)}, 1, "want [N, H, W, C]"},
		{"no such model", []string{"--model", filepath.Join(t.TempDir(), "none.safetensors")}, 1, "none.safetensors"},
		{"existing logits", []string{"--arch", "vgg-small", "--logits", there}, 1, "there.npy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantFailure(t, call(t, append([]string{"bench"}, test.args...)...), test.code, test.message)
		})
	}
}
