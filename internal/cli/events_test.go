package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/dataset/eventdata/miniature"
	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/codec"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/report"
	"github.com/google/go-cmp/cmp"
)

// TestPaperCommandLinesOnEvents runs the four command lines of the paper on
// small copies of its data sets in the makers' formats and layouts.
func TestPaperCommandLinesOnEvents(t *testing.T) {
	for _, c := range []struct {
		dataset, folder string
		options         miniature.Options
		classes         int
	}{
		{"cifar10dvs", "cifar10dvs", miniature.Options{PerClass: 11, Events: 60}, 10},
		{"ncaltech101", "ncaltech101", miniature.Options{PerClass: 11, Events: 60, Classes: 3}, 3},
		{"ncars", "ncars", miniature.Options{PerClass: 6, Events: 60}, 2},
		{"action recognition", "action-recognition", miniature.Options{PerClass: 2, Events: 60}, 10},
	} {
		t.Run(c.folder, func(t *testing.T) {
			dir := t.TempDir()
			data, out := filepath.Join(dir, c.folder), filepath.Join(dir, "out")
			if err := miniature.Write(c.folder, data, c.options); err != nil {
				t.Fatal(err)
			}
			t.Setenv("ADAFIRE_DATA", dir)
			run := func(name string, args ...string) *report.Result {
				t.Helper()
				args = append([]string{"run", "--dataset", c.dataset, "--arch", "resnet18"}, args...)
				mustCall(t, append(args, "--input-size", "16", "--width", "1", "--epochs", "1", "--test-samples", "4",
					"--cache", filepath.Join(dir, "cache"), "--quiet", "--out", filepath.Join(out, name))...)
				r, err := report.ReadResult(filepath.Join(out, name, "result.json"))
				if err != nil {
					t.Fatal(err)
				}
				return &r
			}
			if r := run("ann"); r.Dataset.Classes != c.classes || r.ANN.EnergyPJ <= 0 || len(r.SNN) != 0 {
				t.Errorf("ANN: %+v", r.Dataset)
			}
			rest := []string{"--model", filepath.Join(out, "ann", "ann.safetensors"), "--calib-samples", "4", "--search_samples", "2"}
			with := func(args ...string) []string { return append(args, rest...) }
			s := run("light", with("--T", "8", "--calib", "light", "--maxspike", "4")...).SNN[0]
			if s.Timesteps != 8 || s.Calib != "light" || s.MaxSpike[0] != 4 {
				t.Errorf("T=%d, calibration %s, limits %v", s.Timesteps, s.Calib, s.MaxSpike)
			}
			s = run("search", with("--T", "8", "--calib", "light", "--maxspike", "4", "--search",
				"--maxspike_ratio", "1.0", "--initialspike", "8", "--desired_spike", "4", "--minspike", "1")...).SNN[0]
			if s.Search == nil || len(s.Search.Candidates) != 8 || len(s.Search.Chosen) != len(s.MaxSpike) {
				t.Errorf("search: %+v", s.Search)
			}
			s = run("ssc", with("--T", "8", "--calib", "light", "--maxspike", "4", "--search_threshold", "--threshold_ratio", "1.0")...).SNN[0]
			if s.SSC == nil || s.SSC.Ratio != 1 {
				t.Errorf("compression: %+v", s.SSC)
			}
		})
	}
}

// TestFoldersOfRecordings: a folder that is not what was asked for is one
// message, whatever command meets it.
func TestFoldersOfRecordings(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("ADAFIRE_DATA", "")
	t.Setenv("ADAFIRE_CACHE", filepath.Join(dir, "cache"))
	copied := func(name, as string, damage func(root string) error) string {
		t.Helper()
		root := filepath.Join(dir, as)
		if err := miniature.Write(name, root, miniature.Options{PerClass: 2, Events: 20, Classes: 2}); err != nil {
			t.Fatal(err)
		}
		if damage != nil {
			if err := damage(root); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	first := func(root, pattern string) string {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: nothing like %s, %v", root, pattern, err)
		}
		return found[0]
	}
	cars := copied("ncars", "ncars", nil)
	for _, c := range []struct{ name, dataset, dir, want string }{
		{"no folder given", "cifar10dvs", "", "no folder given (--data DIR, or set ADAFIRE_DATA)"},
		{"not there", "ncaltech101", filepath.Join(dir, "none"), "none: not found; expected: Caltech101/CLASS/image_0001.bin"},
		{"another data set", "cifar10dvs", cars, "looks like ncars"},
		{"unfinished download", "ncars", copied("ncars", "part", func(root string) error {
			file := first(root, "n-cars_train/cars/*.dat")
			return os.Rename(file, file+".part")
		}), "an unfinished download"},
		{"empty file", "action recognition", copied("action-recognition", "empty", func(root string) error {
			return os.Truncate(first(root, "test/*/*.npy"), 0)
		}), "empty file, perhaps an unfinished download"},
		{"half a data set", "ncars", copied("ncars", "half", func(root string) error {
			return os.RemoveAll(filepath.Join(root, "n-cars_test"))
		}), "n-cars_test: not found"},
		{"not unpacked", "ncars", copied("ncars", "packed", func(root string) error {
			if err := os.RemoveAll(filepath.Join(root, "n-cars_test")); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(root, "n-cars_test.zip"), []byte("PK"), 0o666)
		}), "n-cars_test.zip is there: not unpacked?"},
		{"damaged recording", "ncars", copied("ncars", "damaged", func(root string) error {
			return os.Truncate(first(root, "n-cars_train/cars/*.dat"), 90)
		}), "offset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"--dataset", c.dataset, "--input-size", "32"}
			if c.dir != "" {
				args = append(args, "--data", c.dir)
			}
			wantFailure(t, call(t, append(append([]string{"run"}, args...), "--arch", "resnet18", "--out", filepath.Join(t.TempDir(), "out"), "--quiet")...), exitFailed, c.want)
			wantFailure(t, call(t, append(append([]string{"data", "stats"}, args...), "--quiet")...), exitFailed, c.want)
		})
	}
}

// recordingAt reads a recording.
func recordingAt(t *testing.T, path string) []events.Event {
	t.Helper()
	r, err := codec.Open(path, codec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, err := events.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// files maps the files below a folder to their content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		found[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestSimulateDigits: the digits become what nmnist-sim holds, for any number of
// workers, and an interrupted simulation is completed.
func TestSimulateDigits(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	base := []string{"data", "simulate", "--dataset", "digits", "--samples", "24", "--to", "atis", "--quiet", "--out"}
	r := wantJSON(t, mustCall(t, append(base, a, "--workers", "1", "--json", "-")...).stdout)
	if r["recordings"] != 48.0 || r["kept"] != 0.0 || r["events"].(float64) < 48000 {
		t.Errorf("result %v", r)
	}
	mustCall(t, append(base, b, "--workers", "3")...)
	if d := cmp.Diff(files(t, a), files(t, b)); d != "" {
		t.Errorf("another result for three workers")
	}
	sim, simTest, err := eventdata.Open(t.Context(), "nmnist-sim", "", eventdata.Options{NoCache: true})
	if err != nil {
		t.Fatal(err)
	}
	train, test, err := eventdata.Open(t.Context(), "eventfolder", a, eventdata.Options{NoCache: true, Width: 34, Height: 34})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct{ got, want *eventdata.Set }{{train, sim}, {test, simTest}} {
		if part.got.Len() != 24 {
			t.Fatalf("%d recordings, want 24", part.got.Len())
		}
		path, _, _ := part.got.Path(5)
		number := 0
		for _, c := range strings.TrimSuffix(filepath.Base(path), ".bin") {
			number = 10*number + int(c-'0')
		}
		got, err1 := part.got.Events(5, nil)
		want, err2 := part.want.Events(number, nil)
		if err := errors.Join(err1, err2); err != nil || !slices.Equal(got, want) || len(got) < 500 {
			t.Errorf("%s: %d events, nmnist-sim has %d others (%v)", path, len(got), len(want), err)
		}
	}

	before := files(t, a)
	for name := range before {
		if strings.HasSuffix(name, "3.bin") {
			os.Remove(filepath.Join(a, name))
		}
	}
	wantFailure(t, call(t, append(base, a)...), exitFailed, "--force")
	wantFailure(t, call(t, append(base, a, "--resume", "--mismatch", "0.1")...), exitFailed, "other settings")
	r = wantJSON(t, mustCall(t, append(base, a, "--resume", "--json", "-")...).stdout)
	if r["kept"].(float64) >= 48 || r["kept"].(float64) < 24 {
		t.Errorf("result %v", r)
	}
	if d := cmp.Diff(before, files(t, a)); d != "" {
		t.Errorf("resumed, the folder is another")
	}
	mustCall(t, append(base, a, "--seed", "2", "--force")...)
	if after := files(t, a); after["simulate.json"] == before["simulate.json"] || len(after) != len(before) {
		t.Errorf("--force did not replace the recordings")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := callIn(t, ctx, append(base, filepath.Join(dir, "c"))...); got.code != exitInterrupted {
		t.Errorf("interrupted: %+v", got)
	}
}

// drawSquare writes a PNG with a bright square.
func drawSquare(t *testing.T, path string, w, h int) {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, w, h))
	for y := h / 4; y < 3*h/4; y++ {
		for x := w / 4; x < 3*w/4; x++ {
			img.SetGray(x, y, color.Gray{Y: 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestSimulateImages(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	drawSquare(t, at("photos/left/a.png"), 40, 20)
	drawSquare(t, at("photos/right/b.png"), 20, 40)
	noiseless := []string{"--mismatch", "0", "--leak-hz", "0", "--shot-hz", "0", "--hot-hz", "0", "--quiet"}
	simulate := func(args ...string) {
		mustCall(t, append(append([]string{"data", "simulate"}, args...), noiseless...)...)
	}

	// A square that moves to the right and back leaves ON events in front and
	// OFF events behind, and none above its top.
	if err := os.WriteFile(at("right.csv"), []byte("us,x,y\n0,-4,0\n50000,4,0\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	simulate(at("photos/left/a.png"), "--out", at("a.raw"), "--to", "evt3", "--path", at("right.csv"), "--sensor-width", "48", "--sensor-height", "20")
	all := recordingAt(t, at("a.raw"))
	on, off, outside := 0, 0, 0
	for _, e := range all {
		switch {
		case e.Y < 4 || e.Y > 15:
			outside++
		case e.P == 1 && e.X >= 24:
			on++
		case e.P == 0 && e.X < 24:
			off++
		default:
			outside++
		}
	}
	if on < 50 || off < 50 || outside > 0 || all[len(all)-1].T > 50000 {
		t.Errorf("%d ON events in front, %d OFF behind, %d elsewhere", on, off, outside)
	}

	simulate(at("photos"), "--out", at("recordings"), "--path", "loop", "--loops", "1")
	got := files(t, at("recordings"))
	if len(got) != 3 || got["left/a.aedat4"] == "" || got["right/b.aedat4"] == "" {
		t.Errorf("files: %v", len(got))
	}
	// Each image fits: the square is at most half of 180 pixels less the movement high.
	rows := map[uint16]bool{}
	for _, e := range recordingAt(t, at("recordings/right/b.aedat4")) {
		rows[e.Y] = true
	}
	if len(rows) < 80 || len(rows) > 110 {
		t.Errorf("events in %d rows, want about 90 of 180", len(rows))
	}

	drawSquare(t, at("photos/left/a.jpg"), 8, 8) // told apart by content, but not by name
	for _, c := range []struct {
		code    int
		message string
		args    []string
	}{
		{exitUsage, "--out is missing", []string{at("photos")}},
		{exitUsage, "only one of these", []string{"--out", at("x")}},
		{exitUsage, "only one of these", []string{at("photos"), "--dataset", "digits", "--out", at("x")}},
		{exitUsage, "name a folder", []string{at("photos/right"), "--out", at("x.aedat4")}},
		{exitUsage, "--to", []string{at("photos/right/b.png"), "--out", at("x.unknown")}},
		{exitUsage, "want saccades, loop", []string{at("photos/right"), "--path", "spiral", "--out", at("x")}},
		{exitUsage, "--amplitude", []string{at("photos/right"), "--path", at("right.csv"), "--amplitude", "2", "--out", at("x")}},
		{exitFailed, "would both become", []string{at("photos"), "--out", at("x")}},
		{exitFailed, "line 2", []string{at("photos/right"), "--path", at("bad.csv"), "--out", at("x")}},
		{exitFailed, "nor the files of mnist, cifar10", []string{at("recordings"), "--out", at("x")}},
		{exitFailed, "none.png", []string{at("none.png"), "--out", at("x.raw")}},
		{exitFailed, "exists", []string{at("photos/right/b.png"), "--out", at("a.raw"), "--to", "evt3"}},
		{exitFailed, "want x and y to 255", []string{at("photos/right/b.png"), "--out", at("x.bin"), "--sensor-width", "300"}},
	} {
		if err := os.WriteFile(at("bad.csv"), []byte("us,x,y\n0,1\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, call(t, append([]string{"data", "simulate", "--quiet"}, c.args...)...), c.code, c.message)
	}
	if _, err := os.Stat(at("x.bin")); err == nil {
		t.Error("a refused recording left a file")
	}
}

// streamNetworks are an ANN for recordings of 34x34 pixels and the spiking
// network with exits that is converted from it.
func streamNetworks(t *testing.T, dir string) (ann, snn string) {
	t.Helper()
	data, out := filepath.Join(dir, "data"), filepath.Join(dir, "net")
	mustCall(t, "data", "simulate", "--dataset", "digits", "--samples", "30", "--out", data, "--quiet")
	mustCall(t, "run", "--dataset", "eventfolder", "--data", data, "--no-cache", "--arch", "vgg-small", "--width", "2", "--input-size", "34",
		"--epochs", "1", "--T", "4", "--iat", "entropy", "--iat-policy", "paper", "--iat-floor", "0.1", "--hold-out", "0.4", "--calib-samples", "8", "--out", out, "--quiet")
	return filepath.Join(out, "ann.safetensors"), filepath.Join(out, "snn-T4.safetensors")
}

// A lines hands over what is written line by line.
type lines struct {
	c    chan string
	rest string
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest += string(b)
	for {
		line, rest, found := strings.Cut(l.rest, "\n")
		if !found {
			return len(b), nil
		}
		l.rest = rest
		l.c <- line
	}
}

func TestInferStream(t *testing.T) {
	dir := t.TempDir()
	ann, snn := streamNetworks(t, dir)
	found, err := filepath.Glob(filepath.Join(dir, "data", "test", "*", "*.aedat4"))
	if err != nil || len(found) == 0 {
		t.Fatal(err)
	}
	rec := found[0]
	all := recordingAt(t, rec)

	// The lines of a file, as text and as JSON.
	text := mustCall(t, "infer", "--model", snn, "--stream", rec, "--window", "100", "--step", "50", "--quiet").stdout
	if n := strings.Count(text, " events  "); n != 5 || !strings.Contains(text, "median") || !strings.Contains(text, "(the recording ends in this window)") {
		t.Errorf("%d windows, want 5:\n%s", n, text)
	}
	parse := func(text string) (windows []streamDecision, sum streamSummary) {
		t.Helper()
		d := json.NewDecoder(strings.NewReader(text))
		for d.More() {
			var raw json.RawMessage
			if err := d.Decode(&raw); err != nil {
				t.Fatal(err)
			}
			var w streamDecision
			if err := json.Unmarshal(raw, &w); err != nil {
				t.Fatal(err)
			}
			if w.Type == "summary" {
				if err := json.Unmarshal(raw, &sum); err != nil {
					t.Fatal(err)
				}
				continue
			}
			windows = append(windows, w)
		}
		return windows, sum
	}
	result := filepath.Join(dir, "stream.jsonl")
	mustCall(t, "infer", "--model", snn, "--stream", rec, "--window", "100", "--step", "50", "--json", result, "--quiet")
	windows, sum := parse(readText(t, result))
	if len(windows) != 5 || sum.Windows != 5 || sum.Classified != 5 || sum.Events != int64(len(all)) || sum.Timesteps != 4 || sum.Format != "aedat4" {
		t.Errorf("%d windows, %+v", len(windows), sum)
	}
	for _, w := range windows {
		if w.End-w.Start != 100_000 || w.Class == nil || w.Softmax <= 0 || w.Timesteps < 1 || w.Timesteps > 4 || w.LatencyMS == nil || len(w.Top) != 5 {
			t.Errorf("%+v", w)
		}
	}

	// One window over everything, by an ANN.
	windows, _ = parse(mustCall(t, "infer", "--model", ann, "--stream", rec, "--window", "300", "--json", "-", "--quiet").stdout)
	if len(windows) != 1 || windows[0].Events != int64(len(all)) || windows[0].Timesteps != 0 {
		t.Errorf("%+v", windows)
	}
	// A gap, and a few events: said, not classified.
	gap := filepath.Join(dir, "gap.csv")
	if err := os.WriteFile(gap, []byte("%geometry:34,34\n1,1,1,0\n2,2,1,10\n3,3,0,20\n1,1,1,900000\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	windows, sum = parse(mustCall(t, "infer", "--model", ann, "--stream", gap, "--min-events", "3", "--json", "-", "--quiet").stdout)
	if len(windows) != 3 || windows[0].Class == nil || windows[1].Windows != 8 || windows[1].Class != nil || windows[2].Events != 1 || sum.Quiet != 9 {
		t.Errorf("%+v, %+v", windows, sum)
	}

	t.Run("pipe", func(t *testing.T) {
		in, feed := io.Pipe()
		out := &lines{c: make(chan string, 100)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		code := make(chan int, 1)
		var stderr bytes.Buffer
		go func() {
			code <- Main(ctx, []string{"infer", "--model", snn, "--stream", "-", "--format", "text", "--order", "txyp", "--time-unit", "us", "--sensor-width", "34", "--sensor-height", "34",
				"--window", "50", "--json", "-", "--quiet"}, in, out, &stderr)
		}()
		w := bufio.NewWriter(feed)
		text, err := codec.NewWriter(w, events.Header{Width: 34, Height: 34}, codec.WriteOptions{Format: "text", Order: "txyp"})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(text.Write(all), text.Close(), w.Flush()); err != nil {
			t.Fatal(err)
		}
		// The pipe is open and silent, and decisions have come.
		for range 4 {
			if windows, _ := parse(<-out.c); windows[0].Class == nil {
				t.Errorf("%+v", windows[0])
			}
		}
		cancel() // Ctrl-C
		if c := <-code; c != exitInterrupted {
			t.Errorf("exit code %d, want 130: %s", c, stderr.String())
		}
		last := ""
		for len(out.c) > 0 {
			last = <-out.c
		}
		if _, sum := parse(last); !sum.Interrupted || sum.Classified < 4 {
			t.Errorf("summary %s", last)
		}
		feed.Close()
	})

	t.Run("refused", func(t *testing.T) {
		bin := filepath.Join(dir, "plain.bin")
		mustCall(t, "data", "convert", rec, bin, "--quiet")
		broken := filepath.Join(dir, "broken.csv")
		if err := os.WriteFile(broken, []byte("%geometry:34,34\n1,1,1,0\nno event\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			code    int
			message string
			args    []string
		}{
			{exitUsage, "reads one recording and nothing else", []string{rec, "--stream", rec}},
			{exitUsage, "belongs to --stream", []string{rec, "--window", "100"}},
			{exitUsage, "--logits is for images and arrays", []string{"--stream", rec, "--logits", "x.npy"}},
			{exitUsage, "has 8 channels, the network takes 18", []string{"--stream", rec, "--bins", "4"}},
			{exitUsage, "has 2 channels, the network takes 18", []string{"--stream", rec, "--represent", "surface"}},
			{exitUsage, "divides events by number", []string{"--stream", rec, "--represent", "frames"}},
			{exitUsage, "at least a thousandth", []string{"--stream", rec, "--window", "5000", "--step", "1"}},
			{exitFailed, "does not say how large the sensor is", []string{"--stream", bin}},
			{exitFailed, "none.raw", []string{"--stream", filepath.Join(dir, "none.raw")}},
		} {
			wantFailure(t, call(t, append([]string{"infer", "--model", ann, "--quiet"}, c.args...)...), c.code, c.message)
		}
		// Damage ends the stream after what was decided before it.
		got := call(t, "infer", "--model", ann, "--stream", broken, "--quiet")
		if got.code != exitFailed || !strings.Contains(got.stdout, "windows of 100 ms") || !strings.Contains(got.stderr, "offset") {
			t.Errorf("%+v", got)
		}
	})
}

// TestInferStreamKnowsDataSets: what the loader of the network's data set knows
// of files that do not say it is used for streams too.
func TestInferStreamKnowsDataSets(t *testing.T) {
	for _, c := range []struct{ dataset, pattern, remarks string }{
		{"cifar10dvs", "ship/*.aedat", "--convention cifar10dvs-spikingjelly"},
		{"nmnist", "Train/3/*.bin", "taken to be 34x34"},
	} {
		dir := t.TempDir()
		if err := miniature.Write(c.dataset, dir, miniature.Options{PerClass: 1, Events: 200}); err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(c.pattern)))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: no recording, %v", c.dataset, err)
		}
		g, err := models.Build(models.Config{Arch: "vgg-small", Input: graph.Shape{16, 16, 18}, Classes: 10, Width: 1})
		if err != nil {
			t.Fatal(err)
		}
		model := filepath.Join(dir, "ann.safetensors")
		p := checkpoint.Provenance{Dataset: c.dataset}
		if err := checkpoint.SaveModel(model, &checkpoint.Model{Kind: checkpoint.KindANN, Graph: g, Provenance: p}, false); err != nil {
			t.Fatal(err)
		}
		got := mustCall(t, "infer", "--model", model, "--stream", found[0])
		if !strings.Contains(got.stderr, c.remarks) || !strings.Contains(got.stderr, "windows of "+map[string]string{"cifar10dvs": "1300", "nmnist": "300"}[c.dataset]+" ms") ||
			strings.Contains(got.stdout, "outside") || !strings.Contains(got.stdout, "200 events") {
			t.Errorf("%s: %s%s", c.dataset, got.stdout, got.stderr)
		}
	}
}

// TestInferStreamMemory sends a long recording, made while it is sent, through a
// pipe: what the program holds does not grow with it.
func TestInferStreamMemory(t *testing.T) {
	n := 20_000_000
	if testing.Short() {
		n = 2_000_000
	}
	g, err := models.Build(models.Config{Arch: "vgg-small", Input: graph.Shape{34, 34, 18}, Classes: 10, Width: 2})
	if err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(t.TempDir(), "ann.safetensors")
	if err := checkpoint.SaveModel(model, &checkpoint.Model{Kind: checkpoint.KindANN, Graph: g}, false); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	in, feed := io.Pipe()
	go func() {
		w, err := codec.NewWriter(feed, events.Header{Width: 304, Height: 240}, codec.WriteOptions{Format: "evt2"})
		piece := make([]events.Event, 10_000)
		for i := 0; i < n && err == nil; i += len(piece) {
			for k := range piece {
				e := i + k
				piece[k] = events.Event{T: int64(e / 10), X: uint16(e * 7 % 304), Y: uint16(e / 304 % 240), P: uint8(e & 1)}
			}
			err = w.Write(piece)
			if i%1_000_000 == 0 {
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc-min(before, m.HeapAlloc))
			}
		}
		if err == nil {
			err = w.Close()
		}
		feed.CloseWithError(err) // nil is the end
	}()
	var stdout, stderr bytes.Buffer
	code := Main(t.Context(), []string{"infer", "--model", model, "--stream", "-", "--window", "200", "--step", "100", "--quiet"}, in, &stdout, &stderr)
	if code != 0 || !strings.Contains(stdout.String(), "evt2") && !strings.Contains(stdout.String(), "raw") {
		t.Fatalf("code %d: %s%s", code, stdout.String(), stderr.String())
	}
	if want := n/10/100_000 - 1; strings.Count(stdout.String(), " events  ") != want {
		t.Errorf("want %d windows:\n%s", want, stdout.String())
	}
	if most > 64<<20 {
		t.Errorf("the heap grew by %d MiB, want at most 64", most>>20)
	}
	t.Logf("heap at most %d MiB larger", most>>20)
}
