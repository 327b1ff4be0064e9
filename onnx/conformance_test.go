package onnx

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/tensor"
)

// conformanceEnv names a folder or zip of conformance cases: NAME/model.onnx with
// NAME/input_K.npy and NAME/output_K.npy, or NAME/test_data_set_0/input_K.pb and
// output_K.pb as the onnx project stores them. tableEnv names a file for the table
// of operators.
const (
	conformanceEnv = "ADAFIRE_ONNX_CONFORMANCE"
	tableEnv       = "ADAFIRE_ONNX_TABLE"
)

// known are the cases that onnxruntime does not pass either, and why.
var known = map[string]string{
	"test_resize_downsample_scales_linear_align_corners": "align_corners with a fractional size: onnxruntime's and PyTorch's rule",
	"test_training_dropout":                              "random",
	"test_training_dropout_default":                      "random",
	"test_training_dropout_mask":                         "random",
	"test_training_dropout_default_mask":                 "random",
	"test_resize_downsample_scales_cubic_align_corners":  "align_corners with a fractional size: onnxruntime's and PyTorch's rule",
}

// A result counts the outcomes for one operator.
type result struct{ passed, refused, failed, known int }

// TestConformance runs the onnx project's own cases.
func TestConformance(t *testing.T) {
	root := os.Getenv(conformanceEnv)
	if root == "" {
		t.Skipf("%s is not set", conformanceEnv)
	}
	fsys := openCases(t, root)
	var names []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && path.Base(p) == "model.onnx" {
			names = append(names, path.Dir(p))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("no model.onnx in %s", root)
	}
	results := make(map[string]*result)
	for _, name := range names {
		t.Run(path.Base(name), func(t *testing.T) {
			op, err := runCase(t, fsys, name)
			r := results[op]
			if r == nil {
				r = &result{}
				results[op] = r
			}
			var refused *refusal
			switch why := known[path.Base(name)]; {
			case err == nil:
				r.passed++
			case errors.As(err, &refused):
				r.refused++
				t.Logf("refused: %v", err)
			case why != "":
				r.known++
				t.Logf("differs, as known: %v (%s)", err, why)
			default:
				r.failed++
				t.Error(err)
			}
		})
	}
	table, total := conformanceTable(results)
	t.Logf("%d cases: %d passed, %d refused, %d known to differ, %d failed", len(names), total.passed, total.refused, total.known, total.failed)
	t.Log("\n" + table)
	if file := os.Getenv(tableEnv); file != "" {
		if err := os.WriteFile(file, []byte(tableHead(len(names), total)+table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func openCases(t *testing.T, root string) fs.FS {
	t.Helper()
	info, err := os.Stat(root)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		return os.DirFS(root)
	}
	z, err := zip.OpenReader(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { z.Close() })
	return z
}

// A refusal is an error that says "unsupported".
type refusal struct{ error }

// runCase imports and runs one case and compares its outputs. All inputs but the
// first of floats become initialisers, as the cases hand shapes and weights over
// as inputs.
func runCase(t *testing.T, fsys fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(fsys, path.Join(name, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Decode(b, name)
	if err != nil {
		return "?", err
	}
	op := f.Graph.Nodes[0].Op
	if len(f.Graph.Nodes) > 1 {
		op = "several operators"
	}
	inputs := f.runtimeInputs()
	opts := Options{Constants: make(map[string]*TensorDef), MaxFolded: 1 << 30, MaxFoldedTotal: 4 << 30}
	var data []*tensor.Tensor
	for i, v := range inputs {
		x := readCase(t, fsys, name, "input", i)
		if data == nil && dtype(x.Type) == float32Type && op != "Range" { // which computes shapes only
			data = append(data, valuesOf(x))
			continue
		}
		opts.Constants[v.Name] = x
	}
	m, err := ImportBytes(b, name, opts)
	if err != nil {
		if errors.Is(err, fileerr.ErrUnsupported) {
			err = &refusal{err}
		}
		return op, err
	}
	r, err := NewRunner(m, nil)
	if err != nil {
		return op, err
	}
	ys, err := r.Run(data...)
	if err != nil {
		return op, err
	}
	rtol, atol := tolerance(fsys, path.Base(name))
	for i, y := range ys {
		want := valuesOf(readCase(t, fsys, name, "output", i))
		if err := near(y, want, rtol, atol); err != nil {
			return op, fmt.Errorf("output %q: %w", m.Outputs[i].Name, err)
		}
	}
	return op, nil
}

func (f *File) runtimeInputs() []*ValueDef {
	return slices.DeleteFunc(slices.Clone(f.Graph.Inputs), func(v *ValueDef) bool {
		return slices.ContainsFunc(f.Graph.Initializers, func(t *TensorDef) bool { return t.Name == v.Name })
	})
}

// tolerance reads that of a case from index.json, if there is one.
func tolerance(fsys fs.FS, name string) (rtol, atol float64) {
	var list []struct {
		Name       string
		RTol, ATol float64
	}
	if b, err := fs.ReadFile(fsys, "index.json"); err == nil && json.Unmarshal(b, &list) == nil {
		for _, c := range list {
			if c.Name == name {
				return c.RTol, c.ATol
			}
		}
	}
	return 1e-3, 1e-5
}

func near(got, want *tensor.Tensor, rtol, atol float64) error {
	if !slices.Equal(got.Shape, want.Shape) {
		return fmt.Errorf("shape %v, want %v", got.Shape, want.Shape)
	}
	for i, w := range want.Data {
		g, w := float64(got.Data[i]), float64(w)
		if g == w || g != g && w != w {
			continue
		}
		if !(math.Abs(g-w) <= atol+rtol*math.Abs(w)) {
			return fmt.Errorf("value %d is %g, want %g", i, g, w)
		}
	}
	return nil
}

// readCase reads input or output i of a case.
func readCase(t *testing.T, fsys fs.FS, name, what string, i int) *TensorDef {
	t.Helper()
	if b, err := fs.ReadFile(fsys, path.Join(name, fmt.Sprintf("%s_%d.npy", what, i))); err == nil {
		a, err := npy.Read(bytes.NewReader(b), int64(len(b)), name)
		if err != nil {
			t.Fatal(err)
		}
		return tensorDef(t, a)
	}
	b, err := fs.ReadFile(fsys, path.Join(name, "test_data_set_0", fmt.Sprintf("%s_%d.pb", what, i)))
	if err != nil {
		t.Fatal(err)
	}
	def := &TensorDef{}
	if err := (&reader{path: name}).tensor(message{b: b}, def); err != nil {
		t.Fatal(err)
	}
	if err := def.check(name); err != nil {
		t.Fatal(err)
	}
	return def
}

func tensorDef(t *testing.T, a *npy.Array) *TensorDef {
	t.Helper()
	typ, ok := map[string]dtype{"float32": float32Type, "float64": float64Type, "float16": float16Type, "int64": int64Type, "int32": int32Type,
		"int16": int16Type, "int8": int8Type, "uint8": uint8Type, "uint16": uint16Type, "uint32": uint32Type, "uint64": uint64Type, "bool": boolType}[a.DType]
	if !ok {
		t.Fatalf("no ONNX type for %s", a.DType)
	}
	var dims []int64
	for _, d := range a.Shape {
		dims = append(dims, int64(d))
	}
	var raw []byte
	if a.IsInt() {
		ints, err := a.Int()
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range ints {
			raw = append(raw, binary.LittleEndian.AppendUint64(nil, uint64(v))[:typ.size()]...)
		}
		return NewTensor("", int32(typ), dims, raw)
	}
	floats, err := a.Float32()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range floats {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return NewTensor("", int32(float32Type), dims, raw)
}

func valuesOf(def *TensorDef) *tensor.Tensor {
	c := def.decode()
	return &tensor.Tensor{Shape: c.shape, Data: c.floats()}
}

func tableHead(cases int, total result) string {
	return fmt.Sprintf(`# ONNX operators

This table is the output of scripts/onnx-conformance.sh: %d cases of the onnx project's own suite (one operator
each), read by package onnx and run by package ann. %d pass, %d are refused with a reason, %d differ as onnxruntime
does, %d fail. Operators without a number have no case in the run; those of the golden files are tested apart.

Class: C becomes part of a spiking network, E runs in the ANN only, T is fine behind the last spiking layer, F is
computed while the file is read. Opsets 6 to 28 are read.

`, cases, total.passed, total.refused, total.known, total.failed)
}

func conformanceTable(results map[string]*result) (string, result) {
	var total result
	var b strings.Builder
	b.WriteString("| operator | class | passed | refused | known | failed |\n|---|---|---|---|---|---|\n")
	names := Operators()
	for name := range results {
		if operators[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		class := "-"
		if op := operators[name]; op != nil {
			class = op.class.String()
		}
		r := results[name]
		if r == nil {
			fmt.Fprintf(&b, "| %s | %s | | | | |\n", name, class)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d |\n", name, class, r.passed, r.refused, r.known, r.failed)
		total.passed += r.passed
		total.refused += r.refused
		total.known += r.known
		total.failed += r.failed
	}
	return b.String(), total
}
