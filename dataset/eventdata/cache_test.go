package eventdata

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/dataset/eventdata/miniature"
	"github.com/adafire/adafire/events"
)

// small makes cache files small for a test.
func small(t *testing.T) {
	old := shardEvents
	shardEvents = 700
	t.Cleanup(func() { shardEvents = old })
}

func gestures(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := miniature.Write("dvs128gesture", dir, miniature.Options{PerClass: 2, Events: 150}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustOpen(t *testing.T, name, dir string, o Options) (train, test *Set) {
	t.Helper()
	train, test, err := Open(t.Context(), name, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return train, test
}

// content reads all files below a folder.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func all(t *testing.T, s *Set) [][]events.Event {
	t.Helper()
	list := make([][]events.Event, s.Len())
	for i := range list {
		var err error
		if list[i], err = s.Events(i, nil); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// Clips out of one recording, many files: what comes out is what is in the
// recordings, and the files do not depend on the number of workers.
func TestCacheHoldsTheEvents(t *testing.T) {
	small(t)
	dir := gestures(t)
	one, seven := t.TempDir(), t.TempDir()
	calls := 0
	train, test := mustOpen(t, "dvs128gesture", dir, Options{CacheDir: one, Workers: 1, Progress: func(done, total int) {
		calls++
		if total != 44 || done < 1 || done > 44 {
			t.Errorf("progress: %d of %d, want 44 in all", done, total)
		}
	}})
	mustOpen(t, "dvs128gesture", dir, Options{CacheDir: seven, Workers: 7})
	if calls == 0 {
		t.Error("no progress was reported")
	}
	direct, directTest := mustOpen(t, "dvs128gesture", dir, Options{NoCache: true})
	for i, s := range []*Set{direct, directTest} {
		want := all(t, s)
		got := all(t, []*Set{train, test}[i])
		for k := range want {
			if !slices.Equal(want[k], got[k]) {
				t.Fatalf("part %d, sample %d: %d events with another content than the %d of the recording", i, k, len(got[k]), len(want[k]))
			}
		}
	}
	a, b := content(t, one), content(t, seven)
	if len(a) < 5 {
		t.Errorf("%d files: want several", len(a))
	}
	for name := range a {
		if a[name] != b[name] {
			t.Errorf("%s differs between 1 and 7 workers", name)
		}
	}
}

// The files are safetensors files that others can open.
func TestCacheFilesAreSafetensors(t *testing.T) {
	root := t.TempDir()
	train, _ := mustOpen(t, "dvs128gesture", gestures(t), Options{CacheDir: root})
	c := train.d.cache
	f, err := checkpoint.Open(filepath.Join(c.dir, c.index.Shards[0].File))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names := map[string]bool{}
	for _, e := range f.Tensors {
		names[e.Name] = true
	}
	for _, want := range []string{"base", "start", "t", "sum", "x", "y", "p"} {
		if !names[want] {
			t.Errorf("no tensor %q in %v", want, names)
		}
	}
}

// A cache is used again when nothing has changed, and made again when a file
// has, when a file of its own is cut, or the index is of another version.
func TestStaleCache(t *testing.T) {
	dir, root := gestures(t), t.TempDir()
	filled := func() bool {
		did := false
		mustOpen(t, "dvs128gesture", dir, Options{CacheDir: root, Progress: func(int, int) { did = true }})
		return did
	}
	expect := func(what string, want bool) {
		t.Helper()
		if got := filled(); got != want {
			t.Errorf("%s: filled %t, want %t", what, got, want)
		}
		if filled() {
			t.Errorf("%s: filled twice", what)
		}
	}
	expect("first", true)
	recording := filepath.Join(dir, "DvsGesture", "user01_led.aedat")
	if err := os.Chtimes(recording, time.Time{}, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	expect("recording touched", true)
	train, _ := mustOpen(t, "dvs128gesture", dir, Options{CacheDir: root})
	c := train.d.cache
	file := filepath.Join(c.dir, c.index.Shards[0].File)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text[:len(text)-1], 0o666); err != nil {
		t.Fatal(err)
	}
	expect("cut", true)
	// A changed event is found when it is read, and the message says what to do.
	damaged := bytes.Clone(text)
	damaged[c.index.Shards[0].Offsets[arrayX]] ^= 1
	if err := os.WriteFile(file, damaged, 0o666); err != nil {
		t.Fatal(err)
	}
	bad := 0
	for i := range train.Len() {
		if _, err := train.Events(i, nil); err != nil {
			bad++
			if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "delete "+c.dir) {
				t.Errorf("damaged: %v", err)
			}
		}
	}
	if bad != 1 {
		t.Errorf("%d samples are damaged, want 1", bad)
	}
	index := filepath.Join(c.dir, "index.json")
	if text, err = os.ReadFile(index); err != nil {
		t.Fatal(err)
	}
	for what, broken := range map[string]string{
		"other version": strings.Replace(string(text), `"version": 1`, `"version": 99`, 1),
		"no json":       "{", "half an index": string(text[:len(text)/2]),
		"offsets": strings.ReplaceAll(string(text), `"events": 6600`, `"events": -1`),
	} {
		if broken == string(text) {
			t.Fatalf("%s: nothing changed in\n%s", what, text)
		}
		if err := os.WriteFile(index, []byte(broken), 0o666); err != nil {
			t.Fatal(err)
		}
		expect(what, true)
	}
	entries, err := os.ReadDir(filepath.Dir(c.dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d entries beside the cache, error %v; want it alone", len(entries), err)
	}
}

// An ended context leaves nothing behind, neither does a failure.
func TestCacheInterrupted(t *testing.T) {
	dir, root := gestures(t), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Open(ctx, "dvs128gesture", dir, Options{CacheDir: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if _, err := Check(ctx, "dvs128gesture", dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("check: error %v, want that of the context", err)
	}
	if files := content(t, root); len(files) > 0 {
		t.Errorf("%d files left", len(files))
	}
}

// Whatever stands in the index and at the start of a file, opening does not
// panic, and what it accepts can be read or gives an error.
func FuzzCache(f *testing.F) {
	dir := f.TempDir()
	if err := miniature.Write("ncars", dir, miniature.Options{PerClass: 1, Events: 5}); err != nil {
		f.Fatal(err)
	}
	root := f.TempDir()
	train, _, err := Open(context.Background(), "ncars", dir, Options{CacheDir: root})
	if err != nil {
		f.Fatal(err)
	}
	c := train.d.cache
	file, err := os.ReadFile(filepath.Join(c.dir, c.index.Shards[0].File))
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(c.index.Shards)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, file)
	f.Add(good, file[:len(file)/2])
	f.Add([]byte(`[{"samples":4,"events":-3}]`), file)
	offset := c.index.Shards[0].Offsets[arrayStart]
	odd := bytes.Clone(file)
	binary.LittleEndian.PutUint64(odd[offset+8:], 1<<63)
	f.Add(good, odd)
	f.Fuzz(func(t *testing.T, shards, file []byte) {
		var list []shard
		if json.Unmarshal(shards, &list) != nil || len(list) == 0 {
			return
		}
		at := t.TempDir()
		list[0].File = "events-00000.safetensors"
		if err := os.WriteFile(filepath.Join(at, list[0].File), file, 0o666); err != nil {
			t.Fatal(err)
		}
		c := &cache{dir: at}
		s, err := c.load(list[0])
		if err != nil {
			return
		}
		s.First = 0
		c.shards = []cachedShard{s}
		for i := range s.Samples {
			ev, _, err := c.read(i, nil, nil)
			if err == nil && int64(len(ev)) != s.start[i+1]-s.start[i] {
				t.Fatalf("sample %d: %d events, want %d", i, len(ev), s.start[i+1]-s.start[i])
			}
		}
	})
}
