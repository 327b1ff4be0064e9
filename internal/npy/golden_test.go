package npy_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/npy"
)

// Archives written by NumPy itself, and damaged ones.
func TestGoldenArchives(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "checkpoints")
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		if os.Getenv(golden.Env) != "" {
			t.Skip(err) // another folder may lack the vectors, ours may not
		}
		t.Fatal(err)
	}
	var m struct {
		Load []struct {
			File    string `json:"file"`
			Tensors []struct {
				Name  string `json:"name"`
				DType string `json:"dtype"`
				Shape []int  `json:"shape"`
				File  string `json:"file"`
			} `json:"tensors"`
		} `json:"npz_load"`
		Refuse []struct {
			File string `json:"file"`
			Why  string `json:"why"`
		} `json:"npz_refuse"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Load {
		t.Run(filepath.Base(c.File), func(t *testing.T) {
			a, err := open(t, filepath.Join(dir, c.File))
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Names) != len(c.Tensors) {
				t.Errorf("arrays %q, want %d", a.Names, len(c.Tensors))
			}
			for _, want := range c.Tensors {
				got, err := a.Read(want.Name)
				if err != nil {
					t.Error(err)
					continue
				}
				if got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) {
					t.Errorf("%s: got %s %v, want %s %v", want.Name, got.DType, got.Shape, want.DType, want.Shape)
				}
				stored, err := npy.ReadFile(filepath.Join(dir, want.File))
				if err != nil {
					t.Fatal(err)
				}
				g, err := got.Float64()
				if err != nil {
					t.Fatal(err)
				}
				w, err := stored.Float64()
				if err != nil {
					t.Fatal(err)
				}
				same := func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b }
				if !slices.EqualFunc(g, w, same) {
					t.Errorf("%s: got %v, want %v", want.Name, g, w)
				}
			}
		})
	}
	for _, c := range m.Refuse {
		t.Run(filepath.Base(c.File), func(t *testing.T) {
			path := filepath.Join(dir, c.File)
			a, err := open(t, path)
			for i := 0; err == nil && i < len(a.Names); i++ {
				_, err = a.Read(a.Names[i])
			}
			var format *fileerr.FormatError
			if err == nil || !strings.HasPrefix(err.Error(), path) || !errors.As(err, &format) && !errors.Is(err, fileerr.ErrUnsupported) {
				t.Errorf("%s: got %v, want a refusal with the path", c.Why, err)
			}
		})
	}
}

func open(t *testing.T, path string) (*npy.Archive, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return npy.OpenArchive(f, info.Size(), path)
}
