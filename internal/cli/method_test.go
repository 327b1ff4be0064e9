package cli

import (
	"path/filepath"
	"testing"

	"github.com/adafire/adafire/report"
)

// TestPaperCommandLines runs the command lines of the paper's repository, with
// its spelling, on a small network.
func TestPaperCommandLines(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "ann.safetensors")
	if o := call(t, "train", "--dataset", "digits", "--width", "2", "--epochs", "1", "--test-samples", "50", "--out", dir, "--quiet"); o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	run := func(name string, args ...string) report.SNN {
		t.Helper()
		out := filepath.Join(dir, name)
		args = append([]string{"run", "--dataset", "digits", "--arch", "vgg-small", "--model", model, "--test-samples", "50",
			"--calib-samples", "64", "--search_samples", "48", "--quiet", "--out", out}, args...)
		if o := call(t, args...); o.code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, o.code, o.stderr)
		}
		r, err := report.ReadResult(filepath.Join(out, "result.json"))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.SNN) == 0 {
			return report.SNN{}
		}
		return r.SNN[0]
	}
	run("ann")
	if s := run("light", "--T", "8", "--calib", "light", "--maxspike", "4"); s.Timesteps != 8 || s.Calib != "light" || s.MaxSpike[0] != 4 {
		t.Errorf("T=%d, calibration %s, limits %v", s.Timesteps, s.Calib, s.MaxSpike)
	}
	s := run("search", "--T", "2", "--calib", "light", "--maxspike", "2", "--search", "--maxspike_ratio", "1.0", "--initialspike", "4", "--desired_spike", "2", "--minspike", "1")
	if s.Search == nil || len(s.Search.Candidates) != 4 || len(s.Search.Chosen) != len(s.MaxSpike) {
		t.Errorf("search: %+v", s.Search)
	}
	if s = run("ssc", "--T", "2", "--calib", "light", "--maxspike", "4", "--search_threshold", "--threshold_ratio", "1.5"); s.SSC == nil || s.SSC.Ratio != 1.5 {
		t.Errorf("compression: %+v", s.SSC)
	}
	if s = run("iat", "--T", "4", "--iat", "entropy", "--iat-policy", "paper"); s.IAT == nil || s.AvgTimesteps < 1 || s.AvgTimesteps > 4 {
		t.Errorf("exits: %+v, %g timesteps", s.IAT, s.AvgTimesteps)
	}
	if s = run("signed", "--T", "2", "--signed"); s.Name != "burst-signed-light" {
		t.Errorf("signed: %s", s.Name)
	}
	if s = run("accumulate", "--T", "2", "--schedule", "accumulate", "--calib", "repair"); s.Name != "burst-accumulate-repair" {
		t.Errorf("accumulate: %s", s.Name)
	}
	// The exit policy travels with the file.
	o := call(t, "eval", "--model", filepath.Join(dir, "iat", "snn-T4.safetensors"), "--dataset", "digits", "--test-samples", "50", "--json", "-")
	r, err := report.DecodeResult("standard output", []byte(o.stdout))
	if err != nil || len(r.SNN) != 1 || r.SNN[0].IAT == nil {
		t.Errorf("eval of a network with exits: %v, exit code %d: %s", err, o.code, o.stderr)
	}
}

func TestImpossibleStages(t *testing.T) {
	base := []string{"run", "--dataset", "digits"}
	for _, c := range []struct {
		args    []string
		message string
	}{
		{[]string{"--T", "4", "--search", "--minspike", "5", "--initialspike", "3"}, "--minspike 5 is above --initialspike 3"},
		{[]string{"--T", "4", "--search", "--initialspike", "3", "--desired_spike", "4"}, "--search"},
		{[]string{"--T", "4", "--minspike", "2"}, "add --search"},
		{[]string{"--T", "4", "--threshold-ratio", "2"}, "add --search-threshold"},
		{[]string{"--T", "4", "--iat-risk", "0.1"}, "add --iat"},
		{[]string{"--iat", "entropy"}, "add --T"},
		{[]string{"--search"}, "add --T"},
		{[]string{"--T", "4", "--schedule", "accumulate", "--shift", "per-step"}, "accumulate"},
	} {
		wantFailure(t, call(t, append(base, c.args...)...), exitUsage, c.message)
	}
}

func TestAblation(t *testing.T) {
	dir := t.TempDir()
	if o := call(t, "train", "--dataset", "digits", "--width", "1", "--epochs", "1", "--test-samples", "20", "--out", dir, "--quiet"); o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	points, err := parsePoints("1x2, 2x1")
	if err != nil || len(points) != 2 || points[0] != (operatingPoint{1, 2}) {
		t.Fatalf("points %v, %v", points, err)
	}
	for _, bad := range []string{"", "4", "0x1", "1x256", "1x1,1x1", "axb"} {
		if _, err := parsePoints(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if names := ablations(1); len(names) != 12 {
		t.Errorf("%d rows", len(names))
	}
}
