package onnx_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/onnx"
	"github.com/adafire/adafire/tensor"
)

// randomInput is a batch of samples of a shape.
func randomInput(n int, shape graph.Shape, seed uint64) *tensor.Tensor {
	r := rand.New(rand.NewPCG(seed, 1))
	x := tensor.New(append([]int{n}, shape...)...)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return x
}

// shake gives batch norms statistics that do something, and all biases values.
func shake(g *graph.Graph, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	for _, n := range g.Nodes {
		for _, role := range []string{"mean", "var", "bias"} {
			if t := n.Params[role]; t != nil {
				for i := range t.Data {
					t.Data[i] = 0.2 * float32(r.NormFloat64())
					if role == "var" {
						t.Data[i] = 0.5 + r.Float32()
					}
				}
			}
		}
	}
}

// forward runs a graph.
func forward(t *testing.T, g *graph.Graph, xs ...*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	ex, err := ann.New(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	ys, err := ex.ForwardAll(xs...)
	if err != nil {
		t.Fatal(err)
	}
	return ys
}

// exported writes a graph and reads it again.
func exported(t *testing.T, g *graph.Graph, opt onnx.ExportOptions) *onnx.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net.onnx")
	if err := onnx.Export(path, g, opt); err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Import(path, onnx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sameBits wants equal values in the order of memory.
func sameBits(t *testing.T, what string, got, want *tensor.Tensor) {
	t.Helper()
	if len(got.Data) != len(want.Data) {
		t.Fatalf("%s: %d values, want %d", what, len(got.Data), len(want.Data))
	}
	for i, w := range want.Data {
		if math.Float32bits(got.Data[i]) != math.Float32bits(w) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got.Data[i], w)
		}
	}
}

// wholePools replaces average pools of one window, the whole map, by what reading
// makes of them: the global pool, which sums in float64.
func wholePools(g *graph.Graph) {
	for _, n := range g.Nodes {
		if op, ok := n.Op.(*graph.AvgPool2D); ok {
			if h, w, _ := n.Inputs[0].Shape.HWC(); op.Kernel == [2]int{h, w} && op.Pad == (graph.Pad{}) {
				n.Op = &graph.GlobalAvgPool{}
			}
		}
	}
}

// throughFile runs a model read from a file of Export on inputs in the order of
// the graph that was exported, and returns outputs in the file's order.
func throughFile(t *testing.T, m *onnx.Model, xs []*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	r, err := onnx.NewRunner(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	ins := make([]*tensor.Tensor, len(xs))
	for i, x := range xs {
		ins[i] = x
		if !slices.Equal(m.Inputs[i].Shape[1:], x.Shape[1:]) || len(x.Shape) == 4 {
			ins[i] = firstOf(t, x)
		}
	}
	ys, err := r.Run(ins...)
	if err != nil {
		t.Fatal(err)
	}
	return ys
}

// firstOf moves the last axis behind the samples.
func firstOf(t *testing.T, x *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	if len(x.Shape) < 3 {
		return x
	}
	perm := []int{0, len(x.Shape) - 1}
	for k := 1; k < len(x.Shape)-1; k++ {
		perm = append(perm, k)
	}
	y, err := x.Permute(perm...)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func smallModels(t *testing.T) map[string]*graph.Graph {
	t.Helper()
	list := make(map[string]*graph.Graph)
	for _, c := range []models.Config{
		{Arch: "vgg-small", Input: graph.Shape{12, 12, 1}, Classes: 10, Width: 4},
		{Arch: "vgg11", Input: graph.Shape{32, 32, 3}, Classes: 10, Width: 4},
		{Arch: "vgg16", Input: graph.Shape{32, 32, 3}, Classes: 7, Width: 2, Pooling: "max"},
		{Arch: "vgg16", Input: graph.Shape{224, 224, 3}, Classes: 5, Width: 1},
		{Arch: "resnet20", Input: graph.Shape{16, 16, 3}, Classes: 10, Width: 4},
		{Arch: "resnet18", Input: graph.Shape{66, 66, 3}, Classes: 10, Width: 4},
		{Arch: "resnet18", Input: graph.Shape{32, 32, 2}, Classes: 10, Width: 4, Stem: "event-cifar"},
		{Arch: "mobilenetv2", Input: graph.Shape{32, 32, 3}, Classes: 10},
		{Arch: "efficientnet-lite0", Input: graph.Shape{32, 32, 3}, Classes: 10},
	} {
		g, err := models.Build(c)
		if err != nil {
			t.Fatal(err)
		}
		shake(g, 3)
		h, w, ch := c.Input.HWC()
		list[fmt.Sprintf("%s_%dx%dx%d", c.Arch, h, w, ch)] = g
	}
	return list
}

// TestExportRoundTrip exports the built-in architectures and wants the same bits
// from what is read again, with batch norms folded and kept.
func TestExportRoundTrip(t *testing.T) {
	for name, g := range smallModels(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folded := g.CloneShared()
			graph.FoldBatchNorm(folded)
			wholePools(folded)
			x := randomInput(2, g.InputNodes()[0].Shape, 5)
			want := forward(t, folded, x)[0]
			m := exported(t, g, onnx.ExportOptions{})
			sameBits(t, "folded", forward(t, m.Graph, x)[0], want)
			if m.Inputs[0].Name != "input" || m.Outputs[0].Name != "output" || m.Opset != 17 || m.IR != 8 {
				t.Errorf("input %q, output %q, opset %d, IR %d", m.Inputs[0].Name, m.Outputs[0].Name, m.Opset, m.IR)
			}
			if n := m.Operators["Transpose"] + m.Operators["BatchNormalization"] + m.Operators["Identity"]; n > 0 {
				t.Errorf("operators %v", m.Operators)
			}
			m = exported(t, g, onnx.ExportOptions{KeepBatchNorm: true})
			// ONNX's epsilon is a float32, ours a float64.
			if err := differ(forward(t, m.Graph, x)[0], want, 1e-4, 1e-4); err != nil {
				t.Error("kept:", err)
			}
		})
	}
}

// TestGoldenExport imports networks of other exporters, exports them and reads
// them again.
func TestGoldenExport(t *testing.T) {
	dir, cases := loadManifest(t)
	seen := 0
	for _, c := range cases.Cases {
		path := filepath.Join(dir, c.Model)
		if strings.HasPrefix(c.Model, "ops/") || usesControlFlow(t, path) {
			continue
		}
		seen++
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			m, err := onnx.Import(path, onnx.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var xs []*tensor.Tensor
			for i, in := range m.Graph.InputNodes() {
				xs = append(xs, randomInput(2, in.Shape, uint64(i)))
			}
			want := forward(t, m.Graph, xs...)
			again := exported(t, m.Graph, onnx.ExportOptions{KeepBatchNorm: true})
			got := throughFile(t, again, xs)
			for i := range want {
				w := want[i]
				if f := firstOf(t, w); slices.Equal(f.Shape, got[i].Shape) && differ(got[i], w, 0, 0) != nil {
					w = f
				}
				sameBits(t, m.Outputs[i].Name, got[i], w)
			}
		})
	}
	if seen < 5 {
		t.Fatalf("%d networks", seen)
	}
}

// TestExportOperators exports every one-node model that is read: the same values
// come back up to rounding, as some operations are written as formulas.
func TestExportOperators(t *testing.T) {
	dir, cases := loadManifest(t)
	refused := make(map[string]int)
	for _, c := range cases.Cases {
		path := filepath.Join(dir, c.Model)
		if !strings.HasPrefix(c.Model, "ops/") {
			continue
		}
		m, err := onnx.Import(path, onnx.Options{})
		if err != nil || len(m.Graph.InputNodes()) == 0 || len(m.Graph.Outputs) == 0 {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			var xs []*tensor.Tensor
			for i, in := range m.Graph.InputNodes() {
				xs = append(xs, randomInput(2, in.Shape, uint64(i)))
			}
			want := forward(t, m.Graph, xs...)
			out := filepath.Join(t.TempDir(), "op.onnx")
			if err := onnx.Export(out, m.Graph, onnx.ExportOptions{}); err != nil {
				if !strings.Contains(err.Error(), "needs opset") && !strings.Contains(err.Error(), "no operator") && !strings.Contains(err.Error(), "ONNX takes one") {
					t.Fatal(err)
				}
				refused[err.Error()]++
				return
			}
			again, err := onnx.Import(out, onnx.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := throughFile(t, again, xs)
			for i := range want {
				err := differ(got[i], want[i], 1e-5, 1e-5)
				if err != nil {
					err = differ(got[i], firstOf(t, want[i]), 1e-5, 1e-5)
				}
				if err != nil {
					t.Errorf("output %q: %v", m.Outputs[i].Name, err)
				}
			}
		})
	}
	for why, n := range refused {
		t.Log(n, why)
	}
	if len(refused) > 12 {
		t.Errorf("%d refused", len(refused))
	}
}

// TestExportBytes wants equal files of equal networks, and the same weights from a
// second file.
func TestExportBytes(t *testing.T) {
	g := smallModels(t)["resnet20_16x16x3"]
	dir := t.TempDir()
	opt := onnx.ExportOptions{Classes: []string{"a", "b"}, Mean: []float32{0.5}, Std: []float32{0.25}, Version: "v1.2.3"}
	var files [][]byte
	for i := range 2 {
		path := filepath.Join(dir, fmt.Sprintf("%d.onnx", i))
		if err := onnx.Export(path, g, opt); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two exports differ")
	}
	m, err := onnx.Import(filepath.Join(dir, "0.onnx"), onnx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Metadata["adafire.classes"] != `["a","b"]` || m.Metadata["adafire.version"] != "v1.2.3" || len(m.Metadata["adafire.graph.sha256"]) != 64 ||
		m.Metadata["adafire.input.mean"] != "[0.5]" || m.Producer != "AdaFire v1.2.3" {
		t.Errorf("producer %q, metadata %v", m.Producer, m.Metadata)
	}
	opt.ExternalData = true
	path := filepath.Join(dir, "external.onnx")
	if err := onnx.Export(path, g, opt); err != nil {
		t.Fatal(err)
	}
	if err := onnx.Export(path, g, opt); err == nil {
		t.Error("replaced without force")
	}
	opt.Force = true
	if err := onnx.Export(path, g, opt); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path + ".data")
	if err != nil || info.Size() < 1<<12 {
		t.Fatal(info, err)
	}
	e, err := onnx.Import(path, onnx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := randomInput(1, g.InputNodes()[0].Shape, 7)
	sameBits(t, "external", forward(t, e.Graph, x)[0], forward(t, m.Graph, x)[0])
}

// TestExportRefuses names what has no form.
func TestExportRefuses(t *testing.T) {
	for _, c := range []struct {
		op   graph.Op
		ins  int
		want string
	}{
		{&graph.Binary{Func: graph.Mod}, 2, `node "odd" (mod)`},
		{&graph.PadAxes{Begin: graph.Ints{1, 1, 0}, End: graph.Ints{1, 1, 0}, Mode: "wrap"}, 1, `node "odd" (pad): mode wrap`},
		{&graph.Attention{Heads: 2, KVHeads: 1, Scale: 1}, 3, `node "odd" (attention)`},
	} {
		g := graph.New()
		x := g.Input("x", graph.Shape{4, 4, 2})
		if c.ins == 3 {
			x = g.Input("y", graph.Shape{4, 4})
			v := g.Input("v", graph.Shape{4, 2})
			g.Outputs = []*graph.Node{g.Add("odd", c.op, nil, x, v, v)}
		} else {
			g.Outputs = []*graph.Node{g.Add("odd", c.op, nil, slices.Repeat([]*graph.Node{x}, c.ins)...)}
		}
		path := filepath.Join(t.TempDir(), "x.onnx")
		if err := onnx.Export(path, g, onnx.ExportOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("a file was left")
		}
	}
}
