package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/report"
)

// TestSavedConfigurationRepeatsARun runs, runs again from the saved
// configuration with another number of workers, and wants the same weights,
// thresholds and figures.
func TestSavedConfigurationRepeatsARun(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	run := func(args ...string) {
		t.Helper()
		if o := call(t, append([]string{"run", "--quiet"}, args...)...); o.code != 0 {
			t.Fatalf("exit code %d: %s", o.code, o.stderr)
		}
	}
	run("--dataset", "digits", "--width", "2", "--epochs", "1", "--T", "1,3", "--profile", "reference", "--calib-samples", "100", "--test-samples", "50", "--out", first)
	run("--config", filepath.Join(first, "config.yaml"), "--out", second, "--workers", "3")
	for _, name := range []string{"ann.safetensors", "snn-T1.safetensors", "snn-T3.safetensors"} {
		if a, b := digest(t, filepath.Join(first, name)), digest(t, filepath.Join(second, name)); a != b {
			t.Errorf("%s: the tensors differ", name)
		}
	}
	a, b := figures(t, first), figures(t, second)
	if a != b {
		t.Errorf("the figures differ:\n%s\n%s", a, b)
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum, err := f.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// figures returns what a run measured, times left out.
func figures(t *testing.T, dir string) string {
	t.Helper()
	r, err := report.ReadResult(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.SNN {
		r.SNN[i].SamplesPerSec, r.SNN[i].CalibrateS = 0, 0
	}
	text, err := json.Marshal([]any{r.ANN, r.SNN})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestConvertAndEval goes the way by single commands.
func TestConvertAndEval(t *testing.T) {
	dir := t.TempDir()
	model, out := filepath.Join(dir, "ann.safetensors"), filepath.Join(dir, "snn.safetensors")
	for _, args := range [][]string{
		{"train", "--dataset", "digits", "--width", "2", "--epochs", "1", "--test-samples", "50", "--out", dir, "--quiet"},
		{"convert", "--model", model, "--dataset", "digits", "--T", "2", "--calib-samples", "64", "--out", out},
		{"eval", "--model", out, "--dataset", "digits", "--test-samples", "50", "--T", "1,2"},
		{"eval", "--model", model, "--dataset", "digits", "--test-samples", "50"},
		{"inspect", out},
	} {
		if o := call(t, args...); o.code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, o.code, o.stderr)
		}
	}
	// An existing result stays unless --force says otherwise.
	before, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	o := call(t, "convert", "--model", model, "--dataset", "digits", "--T", "4", "--calib-samples", "64", "--out", out)
	wantFailure(t, o, exitFailed, "--force")
	if after, err := os.ReadFile(out); err != nil || string(after) != string(before) {
		t.Errorf("the existing file was touched (%v)", err)
	}
}
