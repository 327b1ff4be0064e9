package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestWrongUsage(t *testing.T) {
	t.Setenv("ADAFIRE_DATA", "")
	t.Setenv("ADAFIRE_CPU", "")
	var f tryFlags
	withCommand(t, tryCommand(&f, func(*session, []string) error { return nil }))
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	there := write("there.txt", "x")
	tests := []struct {
		name    string
		args    []string
		code    int
		message string
	}{
		{"unknown command", []string{"versoin"}, 2, `unknown command "versoin"`},
		{"suggested command", []string{"versoin"}, 2, `did you mean "adafire version"?`},
		{"command in wrong case", []string{"Version"}, 2, `unknown command "Version"`},
		{"unknown subcommand", []string{"data", "lits"}, 2, `did you mean "adafire data list"?`},
		{"no subcommand", []string{"data"}, 2, "no subcommand given, want one of check, convert, list, show, simulate, stats"},
		{"unknown help topic", []string{"help", "inspekt"}, 2, `did you mean "adafire inspect"?`},
		{"unknown help subtopic", []string{"help", "data", "chek"}, 2, `did you mean "adafire data check"?`},
		{"unknown flag", []string{"try", "--max-spyke", "4"}, 2, "unknown flag --max-spyke"},
		{"suggested flag", []string{"try", "--maxspik", "4"}, 2, "did you mean --maxspike?"},
		{"flag with underscore misspelt", []string{"try", "--maxspike_ration", "4"}, 2, "did you mean --maxspike-ratio?"},
		{"flag in wrong case", []string{"try", "--Seed", "4"}, 2, "did you mean --seed?"},
		{"flag before command misspelt", []string{"--sede", "3", "version"}, 2, "did you mean --seed?"},
		{"one dash", []string{"try", "-maxspike", "4"}, 2, "flags have two dashes: --maxspike"},
		{"bad flag syntax", []string{"try", "--=3"}, 2, "--=3: want --NAME or --NAME=VALUE"},
		{"flag of another command", []string{"version", "--split", "train"}, 2, "unknown flag --split"},
		{"value missing", []string{"try", "--maxspike"}, 2, "--maxspike: value missing, want a whole number from 1 to 255"},
		{"too small", []string{"try", "--maxspike", "0"}, 2, `--maxspike: value "0", want a whole number from 1 to 255`},
		{"too large", []string{"try", "--burst", "256"}, 2, `--maxspike: value "256", want a whole number from 1 to 255`},
		{"no number", []string{"try", "--maxspike", "four"}, 2, `--maxspike: value "four"`},
		{"beyond int", []string{"try", "--maxspike", "99999999999999999999"}, 2, "want a whole number from 1 to 255"},
		{"list value out of range", []string{"try", "--T", "1,2,1025"}, 2, `--timesteps: value "1,2,1025", want whole numbers from 1 to 1024`},
		{"list with repetition", []string{"try", "--T", "1,1"}, 2, "each once"},
		{"list with a gap", []string{"try", "--T", "1,,2"}, 2, "--timesteps"},
		{"list too long", []string{"try", "--T", strings.Repeat("1,", 5000) + "1"}, 2, "at most 64"},
		{"float out of range", []string{"try", "--maxspike_ratio", "11"}, 2, `--maxspike-ratio: value "11", want a number from 0 to 10`},
		{"float NaN", []string{"try", "--maxspike_ratio", "NaN"}, 2, "want a number from 0 to 10"},
		{"unknown choice", []string{"try", "--calib", "lihgt"}, 2, `--calib: value "lihgt", want one of none, light, advanced`},
		{"suggested choice", []string{"try", "--calib", "lihgt"}, 2, `did you mean "light"?`},
		{"text with a grammar", []string{"try", "--threshold", "mean"}, 2, `--threshold: value "mean", want mse or max`},
		{"switch with a word", []string{"try", "--channel-wise=maybe"}, 2, `--channel-wise: value "maybe", want true or false`},
		{"switch with a separate value", []string{"try", "--channel-wise", "false"}, 2, "switches take their value after ="},
		{"negative seed", []string{"version", "--seed", "-1"}, 2, `--seed: value "-1", want a whole number from 0`},
		{"too many workers", []string{"version", "--workers", "1025"}, 2, "want a whole number from 0 to 1024"},
		{"unknown kernels", []string{"version", "--cpu", "sse2"}, 2, `--cpu: value "sse2", want one of auto, avx512, avx2, portable`},
		{"unknown colour", []string{"version", "--color", "blue"}, 2, "--color"},
		{"quiet and verbose", []string{"version", "--quiet", "--verbose"}, 2, "--quiet and --verbose exclude each other"},
		{"argument where none is", []string{"version", "now"}, 2, `argument "now", want none`},
		{"unknown shell", []string{"completion", "tcsh"}, 2, `"tcsh", want one of bash, zsh, fish, powershell`},
		{"no shell", []string{"completion"}, 2, "want one of bash"},
		{"two files to inspect", []string{"inspect", "a", "b"}, 2, `argument "b" is one too many, want one FILE`},
		{"nothing to inspect", []string{"inspect"}, 2, "0 arguments, want one FILE"},
		{"dot and json", []string{"inspect", "--dot", "--json", "-", there}, 2, "--dot and --json exclude each other"},
		{"unknown data set", []string{"data", "stats", "--dataset", "mnits"}, 2, `did you mean "mnist"?`},
		{"no data set", []string{"data", "check"}, 2, "--dataset is missing, want one of digits, mnist"},
		{"unknown split", []string{"data", "stats", "--dataset", "digits", "--split", "valid"}, 2, "want one of train, test"},
		{"no output", []string{"data", "show", "--dataset", "digits"}, 2, "--out is missing"},
		{"stdout twice", []string{"data", "show", "--dataset", "digits", "--out", "-", "--json", "-"}, 2, "exclude each other"},
		{"no columns", []string{"data", "show", "--dataset", "digits", "--columns", "0"}, 2, "--columns"},
		{"no result", []string{"report"}, 2, "want RESULT.json, one or more"},
		{"licences as JSON", []string{"version", "--licenses", "--json", "-"}, 2, "--licenses"},
		{"completion as JSON", []string{"completion", "bash", "--json", "-"}, 2, "--json"},
		{"control characters", []string{"\x1b[31mred\nline"}, 2, `unknown command "\x1b[31mred\nline"`},

		{"data set not there", []string{"data", "stats", "--dataset", "mnist"}, 1, "no folder given (--data DIR, or set ADAFIRE_DATA)"},
		{"data set in empty folder", []string{"data", "stats", "--dataset", "cifar10", "--data", dir}, 1, "expected: cifar-10-batches-bin"},
		{"file not there", []string{"inspect", filepath.Join(dir, "none")}, 1, "none: no such file or directory"},
		{"result not there", []string{"report", filepath.Join(dir, "none.json"), "--out", filepath.Join(dir, "r.html")}, 1, "none.json"},
		{"target exists", []string{"version", "--json", there}, 1, "there.txt: file exists; --force replaces it"},
		{"target's folder missing", []string{"version", "--json", filepath.Join(dir, "no", "x.json")}, 1, "there is no folder"},
		{"target is a folder", []string{"version", "--json", dir}, 1, "is a folder"},
		{"profile exists", []string{"version", "--cpuprofile", there}, 1, "file exists"},
		{"sheet exists", []string{"data", "show", "--dataset", "digits", "--out", there}, 1, "file exists"},

		{"config not there", []string{"try", "--config", filepath.Join(dir, "none.yaml")}, 1, "none.yaml: no such file"},
		{"config with unknown flag", []string{"try", "--config", write("1.yaml", "# x\nmaxspyke: 3\n")}, 2, `1.yaml:2: unknown flag "maxspyke"`},
		{"config with suggestion", []string{"try", "--config", write("2.yaml", "maxspik: 3\n")}, 2, "did you mean maxspike?"},
		{"config with bad value", []string{"try", "--config", write("3.yaml", "seed: 1\nmaxspike: 300\n")}, 2,
			`3.yaml:2: maxspike: value "300", want a whole number from 1 to 255`},
		{"config with bad value of a flag that is given", []string{"try", "--maxspike", "3", "--config", write("4.yaml", "maxspike: 300\n")}, 2, "4.yaml:1"},
		{"config with repetition", []string{"try", "--config", write("5.yaml", "T: 4\ntimesteps: 8\n")}, 2, "5.yaml:2: timesteps stands in line 1 already"},
		{"config without value", []string{"try", "--config", write("6.yaml", "maxspike:\n")}, 2, "value missing"},
		{"config with a tree", []string{"try", "--config", write("7.yaml", "maxspike: {a: 1}\n")}, 2, "want a value or a list"},
		{"config that is a list", []string{"try", "--config", write("8.yaml", "- 1\n")}, 2, "want lines of the form NAME: VALUE"},
		{"config naming another", []string{"try", "--config", write("9.yaml", "config: x.yaml\n")}, 2, "cannot name another"},
		{"config with help", []string{"try", "--config", write("10.yaml", "help: true\n")}, 2, `unknown flag "help"`},
		{"config of two documents", []string{"try", "--config", write("11.yaml", "seed: 1\n---\nseed: 2\n")}, 2, "more than one document"},
		{"config that is no YAML", []string{"try", "--config", write("12.yaml", "a: [1\n")}, 2, "12.yaml"},
		{"config with an alias", []string{"try", "--config", write("13.yaml", "seed: &a 1\nmaxspike: *a\n")}, 2, "want a value or a list"},
		{"config too long", []string{"try", "--config", write("14.yaml", strings.Repeat("#", 1<<20+1))}, 1, "more than 1048576 bytes"},
		{"config with text for a choice", []string{"try", "--config", write("15.yaml", "calib: ligth\n")}, 2, `did you mean "light"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantFailure(t, call(t, tt.args...), tt.code, tt.message)
		})
	}
}

func TestMissingKernels(t *testing.T) {
	v := readVersion()
	for _, isa := range []string{"avx2", "avx512"} {
		if strings.Contains(strings.Join(v.Available, " "), isa) {
			continue
		}
		wantFailure(t, call(t, "version", "--cpu", isa), 2, "--cpu: instruction set")
	}
	t.Setenv("ADAFIRE_CPU", "nonsense")
	wantFailure(t, call(t, "version"), 2, "environment variable ADAFIRE_CPU")
	if got := call(t, "version", "--cpu", "portable", "--json", "-"); got.code != 0 || !strings.Contains(got.stdout, `"kernels": "portable"`) {
		t.Errorf("the flag does not win over the environment: %+v", got)
	}
	t.Setenv("ADAFIRE_CPU", "portable")
	if got := call(t, "version", "--json", "-"); !strings.Contains(got.stdout, `"kernels": "portable"`) {
		t.Errorf("the environment has no effect: %+v", got)
	}
	t.Setenv("ADAFIRE_CPU", "")
	if got := call(t, "version", "--json", "-"); !strings.Contains(got.stdout, `"kernels": "`+v.Available[len(v.Available)-1]+`"`) {
		t.Errorf("without a choice, the fastest kernels are not used: %+v", got)
	}
}

func TestNamesOfFlags(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"T", "timesteps"}, {"timesteps", "timesteps"}, {"t", "t"}, {"burst", "maxspike"}, {"maxspike_ratio", "maxspike-ratio"},
		{"desired_spike", "desired-maxspike"}, {"desired-spike", "desired-maxspike"}, {"desired_maxspike", "desired-maxspike"},
		{"no_progress", "no-progress"}, {"Seed", "Seed"},
	} {
		if got := normaliseFlag(nil, tt.name); got != pflag.NormalizedName(tt.want) {
			t.Errorf("normaliseFlag(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
	var f tryFlags
	withCommand(t, tryCommand(&f, func(*session, []string) error { return nil }))
	got := call(t, "try", "--no_progress", "--T", "1,8", "--burst=7", "--maxspike_ratio", "0.5", "--channel_wise=false", "--calib", "advanced")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if len(f.timesteps) != 2 || f.timesteps[1] != 8 || f.maxspike != 7 || f.ratio != 0.5 || f.channel || f.calib() != "advanced" {
		t.Errorf("flags: %+v", f)
	}
}

func (f *tryFlags) calib() string { return f.choice }

func TestConfigRoundTrip(t *testing.T) {
	dir := t.TempDir()
	var f tryFlags
	var saved, asJSON string
	input := filepath.Join(dir, "input.bin")
	if err := os.WriteFile(input, []byte("abc"), 0o666); err != nil {
		t.Fatal(err)
	}
	withCommand(t, tryCommand(&f, func(s *session, _ []string) error {
		if _, err := s.AddInput(input); err != nil {
			return err
		}
		config, err := s.ConfigJSON()
		asJSON = string(config)
		return errors.Join(err, s.SaveConfig(saved))
	}))
	saved = filepath.Join(dir, "first.yaml")
	got := call(t, "try", "--seed", "18446744073709551615", "--T", "1,2,16", "--burst", "8", "--maxspike_ratio", "1e-7", "--calib", "none",
		"--threshold", "max", "--out", "yes", "--channel-wise=false", "--cpu", "portable", "--workers", "3", "--quiet", "--force")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	first, firstJSON, firstFlags := readText(t, saved), asJSON, f
	for _, line := range []string{"# adafire try, version", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  " + input,
		"timesteps: [1, 2, 16]", `out: "yes"`, "seed: 18446744073709551615", "cpu: portable", "workers: 3", "channel-wise: false"} {
		if !strings.Contains(first, line) {
			t.Errorf("configuration lacks %q:\n%s", line, first)
		}
	}
	for _, name := range []string{"quiet", "force", "config", "json"} {
		if strings.Contains(first, "\n"+name+":") {
			t.Errorf("configuration holds %s:\n%s", name, first)
		}
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(firstJSON), &object); err != nil {
		t.Fatal(err)
	}
	if object["maxspike"] != 8.0 || object["channel-wise"] != false || object["calib"] != "none" || object["maxspike-ratio"] != 1e-7 {
		t.Errorf("JSON configuration: %s", firstJSON)
	}

	f = tryFlags{}
	again := saved
	saved = filepath.Join(dir, "second.yaml")
	if got := call(t, "try", "--config", again); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if second := readText(t, saved); second != first || asJSON != firstJSON {
		t.Errorf("not repeated:\n%s\nagainst\n%s", first, second)
	}
	if f.maxspike != firstFlags.maxspike || f.ratio != firstFlags.ratio || f.out != firstFlags.out || f.channel != firstFlags.channel {
		t.Errorf("flags: %+v, want %+v", f, firstFlags)
	}

	saved = filepath.Join(dir, "third.yaml")
	if got := call(t, "try", "--config", again, "--maxspike", "3", "--T", "5"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if f.maxspike != 3 || len(f.timesteps) != 1 || f.timesteps[0] != 5 || f.ratio != 1e-7 {
		t.Errorf("flags do not win over the file: %+v", f)
	}
	wantFailure(t, call(t, "try", "--config", again), 1, "file exists")

	empty := filepath.Join(dir, "empty.yaml")
	if err := os.WriteFile(empty, []byte("# nothing\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	saved = filepath.Join(dir, "fourth.yaml")
	if got := call(t, "try", "--config", empty); got.code != 0 || f.maxspike != 4 {
		t.Errorf("%+v, %+v", got, f)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	var f tryFlags
	withCommand(t, tryCommand(&f, func(*session, []string) error {
		t.Error("works although it was interrupted")
		return nil
	}))
	for _, args := range [][]string{{"try"}, {"data", "stats", "--dataset", "digits"}, {"data", "check", "--dataset", "digits"},
		{"data", "show", "--dataset", "digits", "--out", filepath.Join(dir, "x.png")}, {"data", "list"}, {"version"}} {
		wantFailure(t, callIn(t, ctx, args...), 130, "adafire: interrupted\n")
	}
	// What is wrong is said even so.
	wantFailure(t, callIn(t, ctx, "try", "--maxspike", "0"), 2, "--maxspike")
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("files left: %v", entries)
	}
}

func TestInterrupted(t *testing.T) {
	var cancel func()
	interrupt := func() outcome {
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		return callIn(t, ctx, "try")
	}
	var f tryFlags
	failure := errors.New("disk full")
	var result error
	withCommand(t, tryCommand(&f, func(s *session, _ []string) error {
		cancel()
		if result == nil {
			return s.Interrupted("go on with --resume x.safetensors")
		}
		return result
	}))
	wantFailure(t, interrupt(), 130, "interrupted\n  hint: go on with --resume x.safetensors\n")
	result = failure // what was to be saved was not: that counts more
	wantFailure(t, interrupt(), 1, "disk full")
}

func TestPanic(t *testing.T) {
	var f tryFlags
	withCommand(t, tryCommand(&f, func(s *session, _ []string) error {
		s.Progress().Start("x", 3, "steps")
		var none []int
		return fmt.Errorf("%d", none[len(none)])
	}))
	got := call(t, "try")
	wantFailure(t, got, 1, "internal error: ")
	if !strings.Contains(got.stderr, "index out of range") || !strings.Contains(got.stderr, "usage_test.go:") || strings.Contains(got.stderr, "goroutine") {
		t.Errorf("stderr: %q", got.stderr)
	}
}
