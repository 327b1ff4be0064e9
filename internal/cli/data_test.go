package cli

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/job"
	"pgregory.net/rapid"
)

func TestDataList(t *testing.T) {
	root := t.TempDir()
	t.Setenv("ADAFIRE_DATA", root)
	if err := os.Mkdir(filepath.Join(root, "cifar10"), 0o777); err != nil {
		t.Fatal(err)
	}
	present := map[string]bool{}
	for _, d := range wantJSON(t, call(t, "data", "list", "--json", "-").stdout)["datasets"].([]any) {
		d := d.(map[string]any)
		present[d["name"].(string)] = d["present"].(bool)
		if d["licence"] == "" {
			t.Errorf("%s has no licence", d["name"])
		}
	}
	if len(present) != len(job.DatasetNames()) || !present["digits"] || !present["nmnist-sim"] || !present["cifar10"] || present["mnist"] {
		t.Errorf("present: %v", present)
	}
	short, long := call(t, "data", "list").stdout, call(t, "data", "list", "--verbose").stdout
	if strings.Contains(short, "data_batch_1") || !strings.Contains(long, "data_batch_1") {
		t.Error("--verbose does not add the files")
	}
}

func TestDataShow(t *testing.T) {
	dir := t.TempDir()
	show := func(name string, flags ...string) []byte {
		t.Helper()
		path := filepath.Join(dir, name)
		got := call(t, append([]string{"data", "show", "--dataset", "digits", "--split", "test", "--count", "6", "--columns", "3", "--out", path}, flags...)...)
		if got.code != 0 {
			t.Fatalf("%+v", got)
		}
		return []byte(readText(t, path))
	}
	a, b, c := show("a.png"), show("b.png", "--workers", "3"), show("c.png", "--seed", "2")
	if !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("want the same sheet for the same seed, another for another")
	}
	sheet, err := png.Decode(bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	if size := sheet.Bounds(); size.Dx() <= size.Dy() {
		t.Errorf("sheet of %v, want two rows of three", size)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("left over: %v", entries)
	}
}

func TestSampleIndices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, count := rapid.IntRange(0, 200).Draw(t, "n"), rapid.IntRange(1, 250).Draw(t, "count")
		seed := rapid.Uint64().Draw(t, "seed")
		got := sampleIndices(n, count, seed)
		if len(got) != min(n, count) || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("%d of %d: %v", count, n, got)
		}
		if len(got) > 0 && (got[0] < 0 || got[len(got)-1] >= n) {
			t.Fatalf("out of range: %v", got)
		}
		if !slices.Equal(got, sampleIndices(n, count, seed)) {
			t.Fatal("the seed gives two answers")
		}
	})
}

func TestDataStats(t *testing.T) {
	var first string
	for _, workers := range []string{"1", "3"} {
		got := call(t, "data", "stats", "--dataset", "digits", "--json", "-", "--workers", workers)
		if got.code != 0 {
			t.Fatalf("%+v", got)
		}
		if first == "" {
			first = got.stdout
		}
		if got.stdout != first {
			t.Errorf("another result for %s workers", workers)
		}
	}
	object := wantJSON(t, first)
	channel := object["channels"].([]any)[0].(map[string]any)
	// The figures in package dataset were computed over the same digits.
	for name, used := range map[string]string{"mean": "normalise_mean", "std": "normalise_std"} {
		if got, want := channel[name].(float64), channel[used].(float64); fmt.Sprintf("%.5f", got) != fmt.Sprintf("%.5f", want) {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}
	total := 0.0
	for _, c := range object["classes"].([]any) {
		total += c.(map[string]any)["samples"].(float64)
	}
	if total != 10000 || object["samples"] != 10000.0 {
		t.Errorf("%v samples, classes sum up to %v; want 10000", object["samples"], total)
	}
}
