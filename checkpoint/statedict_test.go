package checkpoint

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/npy"
)

type goldenTensor struct {
	Name  string `json:"name"`
	DType DType  `json:"dtype"`
	Shape []int  `json:"shape"`
	File  string `json:"file"`
}

type goldenStates struct {
	Load []struct {
		File    string         `json:"file"`
		Note    string         `json:"note"`
		Tensors []goldenTensor `json:"tensors"`
	} `json:"load"`
	Refuse []struct {
		File     string `json:"file"`
		Why      string `json:"why"`
		MustName string `json:"must_name"`
	} `json:"refuse"`
	NPZRefuse []struct {
		File string `json:"file"`
		Why  string `json:"why"`
	} `json:"npz_refuse"`
}

func goldenStateDicts(t *testing.T) (dir string, m goldenStates) {
	t.Helper()
	dir = filepath.Join(golden.Dir(t), "checkpoints")
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		if os.Getenv(golden.Env) != "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

func TestGoldenStateDict(t *testing.T) {
	dir, m := goldenStateDicts(t)
	for _, c := range m.Load {
		t.Run(c.File, func(t *testing.T) {
			s, err := OpenStateDict(filepath.Join(dir, c.File), StateDictOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for _, w := range s.Warnings {
				t.Log(w)
			}
			if len(s.Tensors) != len(c.Tensors) {
				t.Errorf("%d tensors, want %d", len(s.Tensors), len(c.Tensors))
			}
			for _, want := range c.Tensors {
				got := s.Tensor(want.Name)
				if got == nil {
					t.Errorf("no tensor %q", want.Name)
					continue
				}
				if got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) {
					t.Errorf("%q: got %s %v, want %s %v", want.Name, got.DType, got.Shape, want.DType, want.Shape)
				}
				checkNamed(t, got, filepath.Join(dir, want.File))
			}
		})
	}
}

// checkNamed compares a tensor with an array of the golden files, where half
// and 8-bit types have been widened.
func checkNamed(t *testing.T, got *NamedTensor, path string) {
	t.Helper()
	a, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if intDecoder(got.DType) != nil {
		values, err := got.Int64()
		if err != nil {
			t.Error(err)
			return
		}
		want, err := a.Int()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(values, want, func(g int64, w int) bool { return g == int64(w) }) {
			t.Errorf("%q: got %v, want %v", got.Name, values, want)
		}
		return
	}
	x, err := got.Float32()
	if err != nil {
		t.Error(err)
		return
	}
	want, err := a.Float64()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(x.Data, want, func(g float32, w float64) bool { return g == float32(w) || g != g && w != w }) {
		t.Errorf("%q: got %v, want %v", got.Name, x.Data, want)
	}
}

// acceptable are the entries of the manifest's refuse list that are matters of
// policy, and what we do instead: keep both names of a would-be collision, and
// warn of bytes after the last storage.
var acceptable = map[string]func(*StateDict) bool{
	"prefix_collision.pth": func(s *StateDict) bool { return len(s.Tensors) == 2 && s.Stripped == "" },
	"legacy_trailing.pth":  func(s *StateDict) bool { return len(s.Warnings) > 0 },
}

func TestGoldenStateDictRefused(t *testing.T) {
	dir, m := goldenStateDicts(t)
	t.Chdir(t.TempDir())
	root, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(dir) {
		root = filepath.Join(golden.Dir(t), "checkpoints")
	}
	for _, c := range m.Refuse {
		t.Run(c.File, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s, err := OpenStateDict(filepath.Join(root, c.File), StateDictOptions{})
			if err == nil {
				defer s.Close()
				for _, x := range s.Tensors {
					if _, err = x.Float32(); err != nil {
						break
					}
				}
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
				t.Errorf("allocated %d MiB for a small file", got>>20)
			}
			if _, err := os.Stat("adafire_was_here"); err == nil {
				t.Fatal("the payload ran")
			}
			if err == nil {
				if ok := acceptable[c.File]; ok == nil || !ok(s) {
					t.Fatalf("loaded, want a refusal: %s", c.Why)
				}
				return
			}
			if !strings.Contains(err.Error(), c.MustName) || !strings.Contains(err.Error(), c.File) {
				t.Errorf("got %v, want an error with %q and the file", err, c.MustName)
			}
			t.Logf("%s: %v", c.Why, strings.TrimPrefix(err.Error(), root))
		})
	}
	for _, c := range m.NPZRefuse {
		t.Run(c.File, func(t *testing.T) {
			s, err := OpenStateDict(filepath.Join(root, c.File), StateDictOptions{})
			if err == nil {
				s.Close()
				t.Fatalf("loaded, want a refusal: %s", c.Why)
			}
		})
	}
}

// TestDeepPickle: nesting costs memory in proportion to the stream, not stack.
func TestDeepPickle(t *testing.T) {
	const depth = 200000
	head := "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + "\x80\x02M\xe9\x03." + "\x80\x02}."
	b := []byte(head + "\x80\x02" + strings.Repeat("]", depth) + strings.Repeat("a", depth-1) + "." + "\x80\x02].")
	if _, err := ReadStateDict(bytes.NewReader(b), int64(len(b)), "deep", StateDictOptions{}); err == nil || !strings.Contains(err.Error(), "list") {
		t.Errorf("got %v, want a refusal that names the list", err)
	}
}

func TestShardedIndex(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, entries ...Entry) {
		t.Helper()
		if err := Write(filepath.Join(dir, name), entries, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	write("a.safetensors", Entry{"module.x", []int{2}, []float32{1, 2}})
	write("b.safetensors", Entry{"module.y", []int{1}, []float32{3}}, Entry{"module.unused", []int{1}, []float32{4}})
	index := filepath.Join(dir, "model.safetensors.index.json")
	for _, c := range []struct{ text, want string }{
		{`{"weight_map":{"module.x":"a.safetensors","module.y":"b.safetensors"}}`, ""},
		{`{"weight_map":{"module.x":"../a.safetensors"}}`, "want a file of the index's folder"},
		{`{"weight_map":{"module.z":"a.safetensors"}}`, `"module.z" is not in a.safetensors`},
		{`{"weight_map":{"module.x":"c.safetensors"}}`, "c.safetensors"},
		{`{}`, "no weight_map"},
		{`{`, "not a JSON index"},
	} {
		if err := os.WriteFile(index, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStateDict(index, StateDictOptions{})
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", c.text, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		y, err := s.Tensor("y").Float32()
		if err != nil || len(s.Tensors) != 2 || s.Stripped != "module." || y.Data[0] != 3 {
			t.Errorf("got %d tensors without %q, y %v, %v", len(s.Tensors), s.Stripped, y, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStateDictKey(t *testing.T) {
	dir, _ := goldenStateDicts(t)
	path := filepath.Join(dir, "data_parallel_checkpoint.pth.tar")
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	s, err := OpenStateDict(path, StateDictOptions{Key: "state_dict", KeepPrefix: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.HasPrefix(s.Tensors[0].Name, "module.") {
		t.Errorf("first tensor %q: want the prefix kept", s.Tensors[0].Name)
	}
	if _, err := OpenStateDict(path, StateDictOptions{Key: "nothing"}); err == nil || !strings.Contains(err.Error(), "state_dict") {
		t.Errorf("got %v, want an error that names the keys", err)
	}
}

func FuzzStateDict(f *testing.F) {
	seeds, _ := filepath.Glob(filepath.Join("..", "testdata", "golden", "checkpoints", "*"))
	for _, path := range seeds {
		if b, err := os.ReadFile(path); err == nil && len(b) < 20000 && !strings.HasSuffix(path, ".json") {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadStateDict(bytes.NewReader(b), int64(len(b)), "fuzz", StateDictOptions{})
		if err != nil {
			return
		}
		for _, x := range s.Tensors {
			if x.Numel() > 1<<20 {
				continue // a view of stride 0 may be large
			}
			if v, err := x.Float32(); err == nil && len(v.Data) != x.Numel() {
				t.Errorf("%q: %d values of %v", x.Name, len(v.Data), x.Shape)
			}
			x.Int64()
		}
	})
}
