package eventdata_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/dataset/eventdata/miniature"
	"github.com/adafire/adafire/events/represent"
	"github.com/adafire/adafire/internal/random"
)

// A Set is a data set that varies its samples itself.
var (
	_ dataset.Dataset = (*eventdata.Set)(nil)
	_ dataset.Varier  = (*eventdata.Set)(nil)
)

func write(t testing.TB, name string, o miniature.Options) string {
	t.Helper()
	dir := t.TempDir()
	if err := miniature.Write(name, dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t testing.TB, name, dir string, o eventdata.Options) (train, test *eventdata.Set) {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	if o.InputSize == 0 {
		o.InputSize = 16
	}
	train, test, err := eventdata.Open(t.Context(), name, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return train, test
}

// Every data set reads its miniature, in each edition, with and without cache,
// to the same samples; classes and parts are as specified.
func TestMiniatures(t *testing.T) {
	for _, tc := range []struct {
		name, edition string
		per           int // recordings of a class
		classes       int
		train, test   int
		width, height int
		rule          string
		first, last   string // class names
	}{
		{"cifar10dvs", "", 4, 10, 40, 0, 128, 128, "first 90 %", "airplane", "truck"},
		{"cifar10dvs", "aedat4", 11, 10, 100, 10, 128, 128, "first 90 %", "airplane", "truck"},
		{"cifar10dvs", "npz", 2, 10, 10, 10, 128, 128, "first 50 %", "airplane", "truck"},
		{"ncaltech101", "", 4, 5, 10, 10, 240, 180, "first 50 %", "BACKGROUND_Google", "accordion"},
		{"ncaltech101", "npy", 2, 5, 10, 10, 240, 180, "training trains, validation tests", "BACKGROUND_Google", "accordion"},
		{"ncars", "", 3, 2, 6, 6, 120, 100, "as published", "background", "cars"},
		{"ncars", "npy", 3, 2, 6, 6, 120, 100, "as published", "background", "cars"},
		{"nmnist", "", 2, 10, 20, 20, 34, 34, "as published", "0", "9"},
		{"dvs128gesture", "", 2, 11, 22, 22, 128, 128, "as published", "hand clapping", "other"},
		{"asldvs", "", 2, 24, 24, 24, 240, 180, "first 50 %", "a", "y"},
		{"action-recognition", "", 2, 10, 20, 20, 346, 260, "train trains, test tests", "arm crossing", "waving"},
		{"Action Recognition", "aedat", 2, 10, 20, 20, 346, 260, "train trains, test tests", "arm crossing", "waving"},
		{"eventfolder", "", 6, 4, 24, 24, 64, 48, "train trains, test tests", "down", "up"},
		{"eventfolder", "plain", 7, 4, 16, 12, 64, 48, "first 50 %", "down", "up"},
	} {
		t.Run(tc.name+" "+tc.edition, func(t *testing.T) {
			o := miniature.Options{PerClass: tc.per, Events: 100, Edition: tc.edition}
			if tc.name == "ncaltech101" {
				o.Classes = 5
			}
			dir := write(t, eventdata.Normalise(tc.name), o)
			if tc.test == 0 { // four recordings: ceil(3.6) = 4 train, none tests
				_, _, err := eventdata.Open(t.Context(), tc.name, dir, eventdata.Options{CacheDir: t.TempDir()})
				if err == nil || !strings.Contains(err.Error(), "no recording to test with") {
					t.Fatalf("error %v, want one about an empty test part", err)
				}
				return
			}
			read := eventdata.Options{}
			if strings.Contains(tc.rule, "50 %") {
				read.TrainShare = 0.5
			}
			train, test := open(t, tc.name, dir, read)
			if train.Len() != tc.train || test.Len() != tc.test {
				t.Fatalf("%d + %d samples, want %d + %d", train.Len(), test.Len(), tc.train, tc.test)
			}
			info := test.Info()
			if len(info.Classes) != tc.classes || info.Classes[0] != tc.first || info.Classes[tc.classes-1] != tc.last {
				t.Errorf("classes %q, want %d from %s to %s", info.Classes, tc.classes, tc.first, tc.last)
			}
			if w, h := test.Sensor(); w != tc.width || h != tc.height {
				t.Errorf("sensor %dx%d, want %dx%d", w, h, tc.width, tc.height)
			}
			if !strings.Contains(train.Rule(), tc.rule) {
				t.Errorf("rule %q, want %q in it", train.Rule(), tc.rule)
			}
			if d := cmp.Diff([]int{16, 16, 18}, info.Shape); d != "" {
				t.Errorf("shape (-want +got)\n%s", d)
			}
			read.NoCache = true
			direct, _ := open(t, tc.name, dir, read)
			a, b := make([]float32, 16*16*18), make([]float32, 16*16*18)
			for i := range train.Len() {
				ya, err := train.Sample(i, a)
				if err != nil {
					t.Fatal(err)
				}
				yb, err := direct.Sample(i, b)
				if err != nil {
					t.Fatal(err)
				}
				if ya != yb || ya != train.Label(i) || !slices.Equal(a, b) {
					t.Fatalf("sample %d: label %d and %d, or another array without cache", i, ya, yb)
				}
				ev, err := train.Events(i, nil)
				if err != nil || len(ev) != 100 {
					t.Fatalf("sample %d: %d events, error %v; want 100", i, len(ev), err)
				}
			}
			for y, n := range counts(train, tc.classes) {
				if n != tc.train/tc.classes {
					t.Errorf("class %d has %d training samples, want %d", y, n, tc.train/tc.classes)
				}
			}
			report, err := eventdata.Check(t.Context(), tc.name, dir, read)
			if err != nil || !report.OK() || len(report.Splits) != 2 || report.Splits[1].Samples != tc.test {
				t.Errorf("check: %+v, error %v", report, err)
			}
		})
	}
}

func counts(s *eventdata.Set, classes int) []int {
	n := make([]int, classes)
	for i := range s.Len() {
		n[s.Label(i)]++
	}
	return n
}

// The miniatures of all layouts can be told apart: for each wrong pair one
// message says what was expected and what the folder looks like.
func TestMixedUp(t *testing.T) {
	dirs := map[string]string{}
	for _, name := range []string{"cifar10dvs", "ncaltech101", "ncars", "nmnist", "dvs128gesture", "asldvs"} {
		dirs[name] = write(t, name, miniature.Options{PerClass: 1, Events: 1, Classes: 5})
	}
	for is, dir := range dirs {
		for wanted := range dirs {
			if wanted == is || wanted == "ncaltech101" {
				continue // any class folders of .bin files might be a part of N-Caltech101
			}
			_, _, err := eventdata.Open(t.Context(), wanted, dir, eventdata.Options{CacheDir: t.TempDir()})
			var layout *eventdata.LayoutError
			if !errors.As(err, &layout) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s opened as %s: %v, want a LayoutError", is, wanted, err)
				continue
			}
			for _, want := range []string{"data set " + wanted, dir, "not found", "expected: ", "looks like " + is} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s opened as %s: message without %q:\n%v", is, wanted, want, err)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("message of more than one line: %v", err)
			}
		}
	}
}

// What can be wrong with a folder, and what the message must name.
func TestDefectsOfFolders(t *testing.T) {
	remove := func(paths ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, p := range paths {
				if err := os.RemoveAll(filepath.Join(dir, p)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	put := func(path, content string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name, set string
		break_    func(t *testing.T, dir string)
		want      []string
	}{
		{"class missing", "cifar10dvs", remove("dog"), []string{"dog: class folder not found"}},
		{"class not unpacked", "cifar10dvs", func(t *testing.T, dir string) {
			remove("dog")(t, dir)
			put("dog.zip", "PK")(t, dir)
		}, []string{"dog: class folder not found, but dog.zip is there: not unpacked?"}},
		{"half a download", "cifar10dvs", put("cat/cifar10_cat_5.aedat.part", "x"), []string{"cat/cifar10_cat_5.aedat.part: an unfinished download"}},
		{"empty file", "cifar10dvs", put("cat/cifar10_cat_5.aedat", ""), []string{"cat/cifar10_cat_5.aedat: empty file"}},
		{"pointer", "cifar10dvs", put("cat/cifar10_cat_5.aedat", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
			[]string{"cat/cifar10_cat_5.aedat: a Git LFS pointer"}},
		{"editions mixed", "cifar10dvs", put("cat/cifar10_cat_5.aedat4", "x"), []string{"two editions mixed", ".aedat and ", "cifar10_cat_5.aedat4"}},
		{"test missing", "ncars", remove("n-cars_test"), []string{"n-cars_test: not found"}},
		{"class empty", "nmnist", func(t *testing.T, dir string) {
			remove("Train/3")(t, dir)
			if err := os.Mkdir(filepath.Join(dir, "Train/3"), 0o777); err != nil {
				t.Fatal(err)
			}
		}, []string{"Train/3: holds no recording (.bin"}},
		{"everything missing", "nmnist", remove("Train", "Test"), []string{"Train: not found", "Test: not found"}},
		{"recording missing", "dvs128gesture", remove("DvsGesture/user24_led.aedat"), []string{"user24_led.aedat: not found, though the list of trials names it"}},
		{"labels missing", "dvs128gesture", remove("DvsGesture/user01_led_labels.csv"), []string{"user01_led_labels.csv: no such file"}},
		{"labels odd", "dvs128gesture", put("DvsGesture/user01_led_labels.csv", "class,startTime_usec,endTime_usec\n12,0,1\n"), []string{"line 2: class 12: want 1 to 11"}},
		{"list missing", "dvs128gesture", remove("DvsGesture/trials_to_test.txt"), []string{"trials_to_test.txt: not found"}},
		{"list leads out", "dvs128gesture", put("DvsGesture/trials_to_test.txt", "../x.aedat\n"), []string{`"../x.aedat" is no name`}},
		{"no classes", "eventfolder", remove("train/down", "train/left", "train/right", "train/up"), []string{"train: holds no class folders"}},
		{"class only in test", "eventfolder", remove("train/left"), []string{"test/left: class folder is not in train"}},
		{"part missing", "action-recognition", remove("test"), []string{"test: not found"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := write(t, tc.set, miniature.Options{PerClass: 2, Events: 2})
			tc.break_(t, dir)
			_, _, err := eventdata.Open(t.Context(), tc.set, dir, eventdata.Options{CacheDir: t.TempDir()})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tc.want, "data set "+tc.set, "expected: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("message without %q:\n%v", want, err)
				}
			}
			report, cerr := eventdata.Check(t.Context(), tc.set, dir, eventdata.Options{})
			if cerr != nil || report.OK() || len(report.Splits[0].Problems) != 1 || report.Splits[0].Problems[0] != err.Error() {
				t.Errorf("check: %+v, error %v; want that message", report, cerr)
			}
		})
	}
	if _, _, err := eventdata.Open(t.Context(), "ncars", filepath.Join(t.TempDir(), "none"), eventdata.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder missing: %v", err)
	}
	if _, _, err := eventdata.Open(t.Context(), "ndogs", "", eventdata.Options{}); !errors.Is(err, dataset.ErrUnknown) {
		t.Errorf("unknown name: %v", err)
	}
}

// A damaged recording is found by Check with all others, and by Open.
func TestDamagedRecording(t *testing.T) {
	dir := write(t, "ncars", miniature.Options{PerClass: 3, Events: 50})
	path := filepath.Join(dir, "n-cars_test", "cars", "obj_000001_td.dat")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text[:len(text)-3], 0o666); err != nil {
		t.Fatal(err)
	}
	report, err := eventdata.Check(t.Context(), "ncars", dir, eventdata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := report.Splits[1].Problems
	if len(p) != 1 || !strings.Contains(p[0], "obj_000001_td.dat: offset") || report.Splits[1].PerClass[1] != 2 || len(report.Splits[0].Problems) != 0 {
		t.Errorf("got %+v, want the damaged file with its offset", report.Splits)
	}
	if _, _, err := eventdata.Open(t.Context(), "ncars", dir, eventdata.Options{CacheDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "obj_000001_td.dat") {
		t.Errorf("open: %v, want the damaged file", err)
	}
	train, test := open(t, "ncars", dir, eventdata.Options{Lenient: true})
	if notes := strings.Join(train.Notes(), "\n"); !strings.Contains(notes, "truncated") || !strings.Contains(notes, "train has 6 recordings, as distributed it has 15422") {
		t.Errorf("lenient: notes %q do not say what was skipped and what is missing", notes)
	}
	if notes := test.Notes(); len(notes) > 0 {
		t.Errorf("test: notes %q, want those of the whole with the training part", notes)
	}
	report, err = eventdata.Check(t.Context(), "ncars", dir, eventdata.Options{Lenient: true})
	if err != nil || !report.OK() || !strings.Contains(strings.Join(report.Splits[1].Notes, "\n"), "truncated") {
		t.Errorf("lenient check: %+v, error %v", report.Splits, err)
	}
}

func TestSplitRules(t *testing.T) {
	dir := write(t, "cifar10dvs", miniature.Options{PerClass: 110, Events: 1})
	names := func(s *eventdata.Set) []string {
		var list []string
		for i := range s.Len() {
			path, _, _ := s.Path(i)
			list = append(list, path)
		}
		return list
	}
	cache := t.TempDir()
	parts := func(o eventdata.Options) (train, test []string) {
		o.CacheDir = cache
		a, b := open(t, "cifar10dvs", dir, o)
		return names(a), names(b)
	}
	train, test := parts(eventdata.Options{})
	if len(train) != 990 || len(test) != 110 {
		t.Fatalf("first: %d + %d, want 990 + 110", len(train), len(test))
	}
	// Byte order: _0, _1, _10, _100, ..., _109, _11, ... _99: the last is 99.
	want := []string{"airplane/cifar10_airplane_0.aedat", "airplane/cifar10_airplane_1.aedat", "airplane/cifar10_airplane_10.aedat", "airplane/cifar10_airplane_100.aedat"}
	if d := cmp.Diff(want, train[:4]); d != "" {
		t.Errorf("first (-want +got)\n%s", d)
	}
	if test[10] != "airplane/cifar10_airplane_99.aedat" {
		t.Errorf("first: the last test sample of the class is %s, want 99", test[10])
	}
	train, test = parts(eventdata.Options{Split: eventdata.SplitLast})
	if len(train) != 100 || len(test) != 1000 || train[0] != "airplane/cifar10_airplane_100.aedat" {
		t.Errorf("last: %d + %d from %s, want 100 + 1000 from 100", len(train), len(test), train[0])
	}
	a, _ := parts(eventdata.Options{Split: eventdata.SplitRandom, Seed: 1})
	b, _ := parts(eventdata.Options{Split: eventdata.SplitRandom, Seed: 1})
	c, other := parts(eventdata.Options{Split: eventdata.SplitRandom, Seed: 2})
	if !slices.Equal(a, b) || slices.Equal(a, c) || len(a) != 990 || len(other) != 110 {
		t.Errorf("random: %d + %d, repeats %t, differs with the seed %t", len(a), len(other), slices.Equal(a, b), !slices.Equal(a, c))
	}
	for _, o := range []eventdata.Options{{Split: "half"}, {TrainShare: 2}, {InputSize: -1}, {Represent: represent.Config{Kind: "x"}}} {
		o.CacheDir = cache
		if _, _, err := eventdata.Open(t.Context(), "cifar10dvs", dir, o); err == nil {
			t.Errorf("no error for %+v", o)
		}
	}
	if _, _, err := eventdata.Open(t.Context(), "ncars", write(t, "ncars", miniature.Options{PerClass: 1}), eventdata.Options{Split: "first"}); err == nil {
		t.Error("no error for a rule on a data set with a split of its own")
	}
}

// A varied sample depends on its generator only.
func TestVariedSamples(t *testing.T) {
	dir := write(t, "cifar10dvs", miniature.Options{PerClass: 11, Events: 200})
	train, _ := open(t, "cifar10dvs", dir, eventdata.Options{})
	plain, a, b := make([]float32, 16*16*18), make([]float32, 16*16*18), make([]float32, 16*16*18)
	changed := 0
	for i := range 40 {
		if _, err := train.Sample(i, plain); err != nil {
			t.Fatal(err)
		}
		y, err := train.SampleVaried(i, a, random.New(7, "augment", 1, uint64(i)))
		if err != nil || y != train.Label(i) {
			t.Fatalf("label %d, error %v", y, err)
		}
		if _, err := train.SampleVaried((i+1)%40, b, random.New(8, "augment", 1, uint64(i))); err != nil { // used memory
			t.Fatal(err)
		}
		if _, err := train.SampleVaried(i, b, random.New(7, "augment", 1, uint64(i))); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a, b) {
			t.Fatalf("sample %d: the same generator gives another array", i)
		}
		if !slices.Equal(a, plain) {
			changed++
		}
	}
	if changed < 20 {
		t.Errorf("%d of 40 samples are varied", changed)
	}
	off, _ := open(t, "cifar10dvs", dir, eventdata.Options{Augment: &eventdata.Augment{}})
	if _, err := train.Sample(0, plain); err != nil {
		t.Fatal(err)
	}
	if _, err := off.SampleVaried(0, a, random.New(7, "augment")); err != nil || !slices.Equal(a, plain) {
		t.Errorf("augmentation off: varied all the same, error %v", err)
	}
}

func TestSensorOfFolders(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"train/a/1.csv", "train/b/1.csv", "test/a/1.csv"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("10 5 6 1\n20 9 3 0\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	cache := t.TempDir()
	for range 2 { // measured, then from the cache
		train, _ := open(t, "eventfolder", dir, eventdata.Options{CacheDir: cache})
		if w, h := train.Sensor(); w != 10 || h != 7 {
			t.Errorf("sensor %dx%d, want 10x7 from the coordinates", w, h)
		}
	}
	train, _ := open(t, "eventfolder", dir, eventdata.Options{CacheDir: cache, Width: 20, Height: 30})
	if w, h := train.Sensor(); w != 20 || h != 30 {
		t.Errorf("sensor %dx%d, want 20x30 as asked for", w, h)
	}
	dir = write(t, "eventfolder", miniature.Options{PerClass: 1, Events: 10})
	small := filepath.Join(t.TempDir(), "x")
	if err := miniature.Write("ncars", small, miniature.Options{PerClass: 1, Events: 10}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(small, "n-cars_train", "cars", "obj_000000_td.dat"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "train", "up", "99.dat"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	_, _, err = eventdata.Open(t.Context(), "eventfolder", dir, eventdata.Options{CacheDir: cache})
	if err == nil || !strings.Contains(err.Error(), "64x48") || !strings.Contains(err.Error(), "120x100") {
		t.Errorf("two sensors: %v, want both sizes", err)
	}
}
