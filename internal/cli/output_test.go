package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/adafire/adafire/dataset"
	"github.com/spf13/cobra"
	"pgregory.net/rapid"
)

// wantJSON decodes exactly one object.
func wantJSON(t *testing.T, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("more than one object in %q", text)
	}
	if object["schema"] != 1.0 {
		t.Errorf("schema %v, want 1", object["schema"])
	}
	return object
}

func TestJSONIsAlone(t *testing.T) {
	t.Setenv("ADAFIRE_DATA", t.TempDir())
	dir := t.TempDir()
	for _, args := range [][]string{
		{"version"},
		{"data", "list"},
		{"data", "list", "--verbose"},
		{"data", "check", "--dataset", "digits"},
		{"data", "stats", "--dataset", "digits", "--split", "test"},
		{"data", "show", "--dataset", "digits", "--out", filepath.Join(dir, "a.png")},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			got := call(t, append(args, "--json", "-", "--force")...)
			if got.code != 0 {
				t.Fatalf("%+v", got)
			}
			wantJSON(t, got.stdout)
			file := filepath.Join(t.TempDir(), "out.json")
			beside := call(t, append(args, "--json", file, "--force")...)
			if beside.code != 0 || beside.stdout == "" || strings.HasPrefix(beside.stdout, "{") {
				t.Errorf("with --json FILE, the text for people is gone: %+v", beside)
			}
			if text := readText(t, file); text != got.stdout {
				t.Errorf("file holds %s, standard output got %s", text, got.stdout)
			}
		})
	}
}

func TestDamagedDataIsStillReported(t *testing.T) {
	got := call(t, "data", "check", t.TempDir(), "--dataset", "npy", "--json", "-")
	if got.code != 1 {
		t.Errorf("exit code %d, want 1", got.code)
	}
	wantOneLine(t, got.stderr)
	if object := wantJSON(t, got.stdout); object["ok"] != false || object["command"] != "data check" {
		t.Errorf("got %v", object)
	}
}

func TestFullDisk(t *testing.T) {
	const full = "/dev/full"
	f, err := os.OpenFile(full, os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no device that is always full here")
	}
	defer f.Close()
	for _, args := range [][]string{{"version"}, {"help"}, {"data", "list"}, {"completion", "zsh"}, {"version", "--licenses"},
		{"data", "list", "--json", "-"}, {"data", "show", "--dataset", "digits", "--out", "-"}} {
		var stderr bytes.Buffer
		if code := Main(t.Context(), args, strings.NewReader(""), f, &stderr); code != 1 {
			t.Errorf("%v: exit code %d, want 1", args, code)
		}
		wantOneLine(t, stderr.String())
		if want := "standard output: no space left on device"; !strings.Contains(stderr.String(), want) {
			t.Errorf("%v: stderr %q, want %q", args, stderr.String(), want)
		}
	}
	// Devices are written to directly; files are replaced as a whole, and a full
	// disk is tested with package atomicfile.
	for _, args := range [][]string{{"version", "--json", full}, {"version", "--memprofile", full},
		{"data", "show", "--dataset", "digits", "--out", full}} {
		got := call(t, args...)
		if got.code != 1 || !strings.Contains(got.stderr, "/dev/full: no space left on device") {
			t.Errorf("%v: %+v", args, got)
		}
		wantOneLine(t, got.stderr)
	}
}

// brokenPipe fails as a pipe does whose reader has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

func TestBrokenPipe(t *testing.T) {
	var stderr bytes.Buffer
	if code := Main(t.Context(), []string{"data", "list"}, strings.NewReader(""), brokenPipe{}, &stderr); code != 1 || stderr.Len() > 0 {
		t.Errorf("exit code %d, stderr %q; want 1 and silence", code, stderr.String())
	}
}

func TestHelp(t *testing.T) {
	var walk func(cmd *cobra.Command)
	root := newRoot(&app{ctx: t.Context(), stdout: &checkedWriter{w: io.Discard}, stderr: io.Discard}, nil)
	walk = func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		a, b := call(t, append(path, "--help")...), call(t, append([]string{"help"}, path...)...)
		if a.code != 0 || a.stderr != "" || a.stdout != b.stdout || b.code != 0 {
			t.Errorf("%s: --help and help differ or fail: %d, %d, %q", cmd.CommandPath(), a.code, b.code, a.stderr)
		}
		if examples := strings.Count(cmd.Example, "  adafire ") + strings.Count(cmd.Example, "(adafire "); examples < 2 || len(cmd.Long) < 80 {
			t.Errorf("%s: want a letter and two examples, got %d characters and %d", cmd.CommandPath(), len(cmd.Long), examples)
		}
		for line := range strings.Lines(cmd.Long) {
			if len(line) > 81 {
				t.Errorf("%s: line of %d characters: %s", cmd.CommandPath(), len(line)-1, line)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if got := call(t); got.code != 0 || !strings.Contains(got.stdout, "inspect") {
		t.Errorf("no arguments: %+v", got)
	}
}

func TestVersion(t *testing.T) {
	got := call(t, "version")
	if got.code != 0 || !strings.Contains(got.stdout, runtime.Version()) || !strings.Contains(got.stdout, "kernels  ") {
		t.Errorf("%+v", got)
	}
	if got := call(t, "--version"); got.code != 0 || got.stdout != "adafire "+moduleVersion()+"\n" {
		t.Errorf("%+v", got)
	}
	if original := readText(t, filepath.Join("..", "..", "LICENSE")); original != mitLicence {
		t.Error("the copy of LICENSE in this folder differs from the original")
	}
	got = call(t, "version", "--licenses")
	for _, part := range []string{"MIT License", strings.TrimSpace(dataset.MNISTLicence)} {
		if !strings.Contains(got.stdout, part) {
			t.Errorf("--licenses lacks %q", part)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		got := call(t, "completion", shell)
		if got.code != 0 || len(got.stdout) < 1000 || !strings.Contains(got.stdout, "adafire") || got.stderr != "" {
			t.Errorf("%s: exit code %d, %d bytes, stderr %q", shell, got.code, len(got.stdout), got.stderr)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"__complete", "data", "stats", "--dataset", ""}, "fashion-mnist\n"},
		{[]string{"__complete", "data", "stats", "--split", "te"}, "test\n"},
		{[]string{"__complete", "version", "--cpu", ""}, "portable\n"},
		{[]string{"__complete", "insp"}, "inspect\t"},
		{[]string{"__complete", "help", "data", ""}, "check\n"},
		{[]string{"__complete", "completion", ""}, "powershell\n"},
	} {
		if got := call(t, tt.args...); got.code != 0 || !strings.Contains(got.stdout, tt.want) {
			t.Errorf("%v: got %+v, want %q", tt.args, got, tt.want)
		}
	}
}

func TestColour(t *testing.T) {
	got := call(t, "version", "--color", "always", "now")
	if !strings.HasPrefix(got.stderr, "\x1b[1;31madafire:\x1b[0m argument") {
		t.Errorf("stderr: %q", got.stderr)
	}
	t.Setenv("NO_COLOR", "1")
	if colourMode("auto").enabled(os.Stderr) {
		t.Error("NO_COLOR has no effect")
	}
}

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	cpu, heap := filepath.Join(dir, "cpu"), filepath.Join(dir, "heap")
	if got := call(t, "version", "--cpuprofile", cpu, "--memprofile", heap); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for _, path := range []string{cpu, heap} {
		if !strings.HasPrefix(readText(t, path), "\x1f\x8b") {
			t.Errorf("%s is no profile", path)
		}
	}
}

// TestSignals: the first signal cancels, the second one exits.
func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		first, second os.Signal
		code          int
	}{{os.Interrupt, os.Interrupt, 130}, {os.Interrupt, syscall.SIGTERM, 143}, {syscall.SIGTERM, os.Interrupt, 130}} {
		signals, done, exits := make(chan os.Signal), make(chan struct{}), make(chan int, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var stderr bytes.Buffer
		go watchSignals(signals, done, cancel, &stderr, func(code int) { exits <- code })
		signals <- tt.first
		<-ctx.Done()
		if len(exits) > 0 {
			t.Error("exits at the first signal")
		}
		signals <- tt.second
		if code := <-exits; code != tt.code {
			t.Errorf("%v after %v: exit code %d, want %d", tt.second, tt.first, code, tt.code)
		}
		if !strings.Contains(stderr.String(), "again to stop at once") {
			t.Errorf("stderr: %q", stderr.String())
		}
	}
}

// TestWithSignals sends a real signal to this process.
func TestWithSignals(t *testing.T) {
	ctx, stop := WithSignals(t.Context(), io.Discard, func(code int) { t.Errorf("exit %d", code) })
	defer stop()
	process, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Signal(os.Interrupt); err != nil {
		t.Skip("no signals here:", err)
	}
	<-ctx.Done()
}

func TestProgressLines(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := newProgress(&out, false)
	p.now = func() time.Time { return now }
	p.Add(5) // no phase: nothing
	p.Start("train epoch 1", 100, "batches")
	for range 50 {
		now = now.Add(time.Second)
		p.Add(1)
	}
	p.Note("loss 0.5")
	p.Set(60)
	now = now.Add(time.Second)
	p.Done()
	p.Done()
	p.Start("short", 0, "")
	p.Add(3)
	p.Done()
	p.Start("unknown length", 0, "files")
	now = now.Add(4 * time.Hour)
	p.Set(7200)
	p.Done()
	want := `train epoch 1: 10 of 100 batches, 1/s, 1m30s left
train epoch 1: 20 of 100 batches, 1/s, 1m20s left
train epoch 1: 30 of 100 batches, 1/s, 1m10s left
train epoch 1: 40 of 100 batches, 1/s, 1m00s left
train epoch 1: 50 of 100 batches, 1/s, 50s left
loss 0.5
train epoch 1: 60 of 100 batches in 51s
unknown length: 7200 files, 0.5/s
unknown length: 7200 files in 4h00m
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}

	out.Reset()
	p = newProgress(&out, true)
	p.now = func() time.Time { return now }
	p.Start("off", 10, "")
	now = now.Add(time.Hour)
	p.Add(5)
	p.Note("notes stay")
	p.Done()
	if out.String() != "notes stay\n" {
		t.Errorf("switched off: got %q", out.String())
	}
}

func TestQuietAndVerbose(t *testing.T) {
	var f tryFlags
	withCommand(t, tryCommand(&f, func(s *session, _ []string) error {
		s.Logf("remark")
		s.Verbosef("detail")
		_, err := fmt.Fprintln(s.Out, "result")
		return err
	}))
	for _, tt := range []struct {
		flag, stderr string
	}{{"--no-progress", "remark\n"}, {"--quiet", ""}} {
		if got := call(t, "try", tt.flag); got.stdout != "result\n" || got.stderr != tt.stderr {
			t.Errorf("%s: %+v", tt.flag, got)
		}
	}
	if got := call(t, "try", "--verbose"); !strings.Contains(got.stderr, "detail\n") || !strings.Contains(got.stderr, "seed 1") {
		t.Errorf("--verbose: %+v", got)
	}
}

func TestNearest(t *testing.T) {
	word := rapid.StringMatching(`[a-d]{0,6}`)
	rapid.Check(t, func(t *rapid.T) { // a metric but for the triangle, which exchanges break
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("distance(%q, %q) = %d", a, b, d)
		}
	})
	names := []string{"maxspike", "maxspike-ratio", "minspike", "T", "data", "dataset", "seed"}
	for _, tt := range []struct{ word, want string }{
		{"maxspke", "maxspike"}, {"maxpsike", "maxspike"}, {"mixspike", "maxspike"}, {"MAXSPIKE", "maxspike"}, {"sede", "seed"},
		{"dat", "data"}, {"maxspike-rat", "maxspike-ratio"}, {"maxspike-", "maxspike"}, {"datas", "data"}, {"datase", "dataset"}, {"qqqqqqqq", ""}, {"x", ""}, {"", ""}, {strings.Repeat("a", 1000), ""},
	} {
		if got := nearest(tt.word, names); got != tt.want {
			t.Errorf("nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got := oneLine(rapid.String().Draw(t, "text"))
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x9b || r == 0x202e }) {
			t.Fatalf("control characters in %q", got)
		}
	})
	if got := oneLine("a\n b\r\nc\td\x1b[2J"); got != `a; b; c d\x1b[2J` {
		t.Errorf("got %q", got)
	}
}

// FuzzArgs calls Main with an interrupted context, so that commands parse and
// check but do no work.
func FuzzArgs(f *testing.F) {
	for _, seed := range []string{"", "version", "data\nstats\n--dataset\ndigits", "inspect\n--dot\nx", "--seed=5\nhelp\ndata", "try\n--T\n1,2",
		"-h", "--", "--\n--x", "-\n-", "data\nlist\n--json\n-", "report\na\nb\n--title=\x00", "completion\nbash", "__complete\ndata\nstats\n--dataset\n",
		"version\n--workers\n-1", "help\nhelp\nhelp", "-vvv", "--=\n-=", "version\n--quiet=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\n")
		for _, a := range args {
			// What writes files although no work is done, and what reads a file
			// of any length.
			if strings.Contains(a, "profile") || strings.Contains(a, "config") {
				t.Skip()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var stdout, stderr bytes.Buffer
		code := Main(ctx, args, strings.NewReader(""), &stdout, &stderr)
		switch code {
		case 0:
		case 1, 2, 130:
			// cobra's own hidden command writes its errors for the shell.
			if !strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) && !strings.Contains(stderr.String(), "\x1b[") {
				wantOneLine(t, stderr.String())
			}
		default:
			t.Errorf("exit code %d", code)
		}
		if strings.Contains(stderr.String(), "internal error") {
			t.Error(stderr.String())
		}
	})
}
