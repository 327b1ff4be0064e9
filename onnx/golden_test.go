package onnx_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/onnx"
	"github.com/adafire/adafire/tensor"
)

type array struct {
	Name, File, DType string
	Shape             []int
}

type modelCase struct {
	Name      string
	Model     string
	Inputs    []array
	Outputs   []array
	Tolerance struct {
		RTol, ATol float64
		Spikes     int `json:"max_spike_mismatches"`
	}
}

type refusal struct{ File, Why string }

type manifest struct {
	Cases  []modelCase
	Refuse []refusal
}

// goldenDir returns the folder of the ONNX cases; the test is skipped if another
// golden folder has none.
func goldenDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(golden.Dir(t), "onnx")
	if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err != nil {
		if os.Getenv(golden.Env) == "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return dir
}

func loadManifest(t testing.TB) (string, manifest) {
	t.Helper()
	dir := goldenDir(t)
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

func readTensor(t testing.TB, path string) *tensor.Tensor {
	t.Helper()
	a, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]float32, a.Len())
	if a.IsInt() {
		ints, err := a.Int()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range ints {
			data[i] = float32(v)
		}
	} else if data, err = a.Float32(); err != nil {
		t.Fatal(err)
	}
	return &tensor.Tensor{Shape: a.Shape, Data: data}
}

// differ describes the first value of got that is too far from want.
func differ(got, want *tensor.Tensor, rtol, atol float64) error {
	if !slices.Equal(got.Shape, want.Shape) {
		return fmt.Errorf("shape %v, want %v", got.Shape, want.Shape)
	}
	for i, w := range want.Data {
		g := float64(got.Data[i])
		w := float64(w)
		if g == w || g != g && w != w {
			continue
		}
		if d := math.Abs(g - w); !(d <= atol+rtol*math.Abs(w)) {
			return fmt.Errorf("value %d is %g, want %g (off by %g)", i, g, w, d)
		}
	}
	return nil
}

func run(t testing.TB, m *onnx.Model, dir string, c modelCase) []*tensor.Tensor {
	t.Helper()
	r, err := onnx.NewRunner(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	var xs []*tensor.Tensor
	for _, in := range m.Inputs {
		i := slices.IndexFunc(c.Inputs, func(a array) bool { return a.Name == in.Name })
		if i < 0 {
			t.Fatalf("no data for input %q", in.Name)
		}
		xs = append(xs, readTensor(t, filepath.Join(dir, c.Inputs[i].File)))
	}
	ys, err := r.Run(xs...)
	if err != nil {
		t.Fatal(err)
	}
	return ys
}

// TestGoldenONNX imports every model of the manifest and compares what the
// executor computes with onnxruntime's results, with and without rewriting.
func TestGoldenONNX(t *testing.T) {
	dir, m := loadManifest(t)
	for _, c := range m.Cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, c.Model)
			if usesControlFlow(t, path) {
				_, err := onnx.Import(path, onnx.Options{})
				var u *onnx.UnsupportedError
				if !errors.As(err, &u) || !strings.Contains(err.Error(), "control flow") {
					t.Fatalf("control flow: got %v, want an UnsupportedError that names it", err)
				}
				return
			}
			for _, keep := range []bool{false, true} {
				model, err := onnx.Import(path, onnx.Options{KeepPatterns: keep})
				if err != nil {
					t.Fatal(err)
				}
				if model.Batch > 0 {
					t.Logf("batch %d: %v", model.Batch, model.Notes)
				}
				ys := run(t, model, dir, c)
				for i, want := range c.Outputs {
					w := readTensor(t, filepath.Join(dir, want.File))
					if model.Outputs[i].Name != want.Name {
						t.Fatalf("output %d is %q, want %q", i, model.Outputs[i].Name, want.Name)
					}
					if strings.HasSuffix(want.Name, "_spikes") {
						compareSpikes(t, ys[i], w, c.Tolerance.Spikes)
						continue
					}
					if err := differ(ys[i], w, c.Tolerance.RTol, c.Tolerance.ATol); err != nil {
						t.Errorf("output %q (patterns kept: %v): %v", want.Name, keep, err)
					}
					if got := model.Outputs[i].Type; got != map[string]string{"float32": "float"}[want.DType] && got != want.DType {
						t.Errorf("output %q has type %s, want %s", want.Name, got, want.DType)
					}
				}
			}
		})
	}
}

func compareSpikes(t *testing.T, got, want *tensor.Tensor, allowed int) {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("spikes of shape %v, want %v", got.Shape, want.Shape)
	}
	wrong := 0
	for i := range want.Data {
		if got.Data[i] != want.Data[i] {
			wrong++
		}
	}
	if wrong > allowed {
		t.Errorf("%d of %d spike counts differ, want at most %d", wrong, len(want.Data), allowed)
	}
}

func usesControlFlow(t *testing.T, path string) bool {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := onnx.Decode(b, path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(f.Graph.Nodes, func(n *onnx.NodeDef) bool { return n.Op == "Loop" || n.Op == "Scan" })
}

// accepted are the files of the list of refusals that may be read with a warning
// instead, by the reason given there.
func accepted(why string) bool {
	return strings.Contains(why, "or sort and say so") || strings.Contains(why, "at least warn at import")
}

// named lists what the error about a file must name.
var named = map[string][]string{
	"foreign_domain": {"com.microsoft", "FusedConv", "fused0"}, "cycle": {"n0", "n1"}, "duplicate_output": {`"a"`},
	"undefined_input": {"ghost"}, "output_not_produced": {`"y"`}, "duplicate_initialiser": {`"W"`}, "attr_unknown": {"dilation"},
	"attr_wrong_type": {"kernel_shape"}, "opset_999": {"999", "28"}, "opset_1": {"opset 1", "28"}, "attr_both_forms": {"max"},
}

// TestGoldenRefuse reads broken and hostile files: each must be refused, quickly
// and without allocating more than a small multiple of its size.
func TestGoldenRefuse(t *testing.T) {
	dir, m := loadManifest(t)
	for _, c := range m.Refuse {
		t.Run(filepath.Base(c.File), func(t *testing.T) {
			path := filepath.Join(dir, c.File)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			model, err := onnx.Import(path, onnx.Options{})
			runtime.ReadMemStats(&after)
			if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(info.Size())*64+1<<20; used > limit {
				t.Errorf("allocated %d bytes for a file of %d", used, info.Size())
			}
			if err == nil {
				if !accepted(c.Why) {
					t.Fatalf("accepted: %s", c.Why)
				}
				if len(model.Notes) == 0 {
					t.Errorf("accepted without a note: %s", c.Why)
				}
				return
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
			for _, word := range named[strings.TrimSuffix(filepath.Base(c.File), ".onnx")] {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not name %s: %v", word, err)
				}
			}
			t.Log(strings.ReplaceAll(err.Error(), path, "FILE"))
		})
	}
}
