package onnx_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/onnx"
	"github.com/adafire/adafire/tensor"
)

func randomTensor(seed uint64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	src := random.Source(seed, "onnx test")
	for i := range t.Data {
		t.Data[i] = float32(src.Uint64()>>40)/(1<<23) - 1
	}
	return t
}

// drawChain adds n random operators that move values around, and returns the
// name and shape of the result.
func drawChain(t *rapid.T, g *graphParts, from string, shape []int, n int) (string, []int) {
	vec := func(name string, v []int) string {
		list := make([]int64, len(v))
		for i, x := range v {
			list[i] = int64(x)
		}
		g.inits = append(g.inits, int64s(name, []int64{int64(len(v))}, list...))
		return name
	}
	for i := range n {
		to, c := fmt.Sprint("v", i), fmt.Sprint("c", i)
		rank := len(shape)
		axis := rapid.IntRange(0, rank-1).Draw(t, "axis")
		switch rapid.IntRange(0, 8).Draw(t, "op") {
		case 0: // split or join axes
			next := slices.Clone(shape)
			if d := shape[axis]; rapid.Bool().Draw(t, "split") && rank < 6 {
				var f int
				for f = rapid.IntRange(1, d).Draw(t, "factor"); d%f != 0; f-- {
				}
				next = slices.Concat(shape[:axis], []int{f, d / f}, shape[axis+1:])
			} else if axis+1 < rank {
				next = slices.Concat(shape[:axis], []int{shape[axis] * shape[axis+1]}, shape[axis+2:])
			}
			g.nodes = append(g.nodes, node("Reshape", []string{from, vec(c, next)}, []string{to}))
			shape = next
		case 1: // any other shape of as many values
			total := 1
			for _, d := range shape {
				total *= d
			}
			var next []int
			for rest := total; rest > 1 && len(next) < 4; {
				var f int
				for f = rapid.IntRange(2, rest).Draw(t, "factor"); rest%f != 0; f-- {
				}
				next, rest = append(next, f), rest/f
				if len(next) == 4 {
					next[3] *= rest
				}
			}
			if len(next) == 0 {
				next = []int{1}
			}
			g.nodes = append(g.nodes, node("Reshape", []string{from, vec(c, next)}, []string{to}))
			shape = next
		case 2:
			perm := make([]int64, rank)
			next := make([]int, rank)
			for k, p := range rapid.Permutation(slices.Collect(seq(rank))).Draw(t, "perm") {
				perm[k], next[k] = int64(p), shape[p]
			}
			g.nodes = append(g.nodes, node("Transpose", []string{from}, []string{to}, attrInts("perm", perm...)))
			shape = next
		case 3:
			lo := rapid.IntRange(0, shape[axis]-1).Draw(t, "lo")
			hi := rapid.IntRange(lo+1, shape[axis]).Draw(t, "hi")
			step := rapid.IntRange(1, 2).Draw(t, "step")
			g.nodes = append(g.nodes, node("Slice", []string{from, vec(c, []int{lo}), vec(c+"e", []int{hi}), vec(c+"a", []int{axis}), vec(c+"s", []int{step})}, []string{to}))
			shape = slices.Clone(shape)
			shape[axis] = (hi-lo-1)/step + 1
		case 4:
			g.nodes = append(g.nodes, node("Concat", []string{from, from}, []string{to}, attrInt("axis", int64(axis))))
			shape = slices.Clone(shape)
			shape[axis] *= 2
		case 5:
			g.nodes = append(g.nodes, node("ReduceSum", []string{from, vec(c, []int{axis})}, []string{to}))
			shape = slices.Clone(shape)
			shape[axis] = 1
		case 6: // numbers along some axes
			cs, size := make([]int64, rank), int64(1)
			for k, d := range shape {
				if cs[k] = 1; rapid.Bool().Draw(t, "varies") {
					cs[k] = int64(d)
				}
				size *= cs[k]
			}
			g.inits = append(g.inits, floats(c, cs, randomTensor(uint64(i), int(size)).Data...))
			g.nodes = append(g.nodes, node(rapid.SampledFrom([]string{"Add", "Mul", "Sub"}).Draw(t, "kind"), []string{c, from}, []string{to}))
		case 7:
			order := rapid.SliceOfN(rapid.IntRange(0, shape[axis]-1), 1, 3).Draw(t, "indices")
			g.nodes = append(g.nodes, node("Gather", []string{from, vec(c, order)}, []string{to}, attrInt("axis", int64(axis))))
			shape = slices.Clone(shape)
			shape[axis] = len(order)
		case 8: // the value times another view of itself
			if rank < 2 || shape[0] != shape[1] {
				continue
			}
			perm := make([]int64, rank)
			for k := range perm {
				perm[k] = int64(k)
			}
			perm[0], perm[1] = 1, 0
			g.nodes = append(g.nodes, node("Transpose", []string{from}, []string{to + "t"}, attrInts("perm", perm...)),
				node("Mul", []string{from, to + "t"}, []string{to}))
		}
		from = to
		if g.nodes == nil {
			from = "x"
		}
	}
	return from, shape
}

func seq(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// TestLayout runs random chains of operators that move values twice: folded, as
// constants in ONNX's order, and as activations, whose layout is carried along.
func TestLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(1, 6), 1, 4).Draw(t, "shape")
		g := &graphParts{}
		last, _ := drawChain(t, g, "x", shape, rapid.IntRange(1, 6).Draw(t, "length"))
		if len(g.nodes) == 0 {
			return
		}
		var declared []int64
		for _, d := range shape {
			declared = append(declared, int64(d))
		}
		g.inputs, g.outputs = []pb{value("x", declared...)}, []pb{pb(nil).str(1, last)}
		b := model(17, g.encode())
		x := randomTensor(7, shape...)
		raw := make([]byte, 0, 4*len(x.Data))
		for _, v := range x.Data {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		known, err := onnx.ImportBytes(b, "m", onnx.Options{Constants: map[string]*onnx.TensorDef{"x": onnx.NewTensor("x", 1, declared, raw)}})
		if err != nil {
			t.Fatal(err)
		}
		want := known.Outputs[0].Constant
		for _, keep := range []bool{false, true} {
			m, err := onnx.ImportBytes(b, "m", onnx.Options{KeepPatterns: keep})
			if err != nil {
				if strings.Contains(err.Error(), "1 to 8 axes") || strings.Contains(err.Error(), "at most 8") {
					return // more factors than the graph has axes
				}
				t.Fatal(err)
			}
			r, err := onnx.NewRunner(m, nil)
			if err != nil {
				t.Fatal(err)
			}
			ys, err := r.Run(x)
			if err != nil {
				t.Fatal(err)
			}
			if err := differ(ys[0], want, 1e-5, 1e-5); err != nil {
				t.Fatalf("patterns kept: %v: %v", keep, err)
			}
		}
	})
}

// TestRewriting compares the networks with and without rewriting on random
// inputs, and samples alone with samples in a batch.
func TestRewriting(t *testing.T) {
	dir, man := loadManifest(t)
	for _, c := range man.Cases {
		if !strings.Contains(c.Name, "_tiny/") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			var outs [2][]*tensor.Tensor
			for i := range outs {
				m, err := onnx.Import(filepath.Join(dir, c.Model), onnx.Options{KeepPatterns: i == 1})
				if err != nil {
					t.Fatal(err)
				}
				if m.Batch != 0 {
					t.Fatalf("not per sample: %v", m.Notes)
				}
				r, err := onnx.NewRunner(m, nil)
				if err != nil {
					t.Fatal(err)
				}
				shape := slices.Clone(m.Inputs[0].Shape)
				shape[0] = 3
				x := randomTensor(3, shape...)
				if outs[i], err = r.Run(x); err != nil {
					t.Fatal(err)
				}
				for k, y := range outs[i] { // the second sample alone
					one, err := r.Run(x.Rows(1, 2))
					if err != nil {
						t.Fatal(err)
					}
					if err := differ(one[k], y.Rows(1, 2), 0, 0); err != nil {
						t.Errorf("output %d of a sample alone: %v", k, err)
					}
				}
			}
			for k := range outs[0] {
				if err := differ(outs[0][k], outs[1][k], 1e-5, 1e-5); err != nil {
					t.Errorf("output %d after rewriting: %v", k, err)
				}
			}
		})
	}
}

// TestNoTransposes wants networks of convolutions without any leftover movement
// of values.
func TestNoTransposes(t *testing.T) {
	dir, man := loadManifest(t)
	for _, c := range man.Cases {
		for _, family := range []string{"resnet_tiny/", "mobilenet_tiny/", "vgg_bn_tiny/", "seg_tiny/"} {
			if !strings.HasPrefix(c.Name, family) {
				continue
			}
			m, err := onnx.Import(filepath.Join(dir, c.Model), onnx.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range m.Graph.Nodes {
				switch n.Kind() {
				case "transpose", "reshape", "gather", "expand", "constant":
					t.Errorf("%s: node %q is a %s", c.Name, n.Name, n.Kind())
				}
			}
		}
	}
}

// TestOptions: shapes for open axes, newer opsets.
func TestOptions(t *testing.T) {
	open := one(17, []int64{-1, 3, -1, -1}, node("GlobalAveragePool", x, y))
	for _, given := range [][]int{{3, 4, 5}, {1, 3, 4, 5}} {
		m, err := onnx.ImportBytes(open, "m", onnx.Options{InputShapes: map[string][]int{"x": given}})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Graph.InputNodes()[0].Shape; !slices.Equal(got, []int{4, 5, 3}) {
			t.Errorf("given %v: input shape %v, want [4 5 3]", given, got)
		}
	}
	for _, bad := range []map[string][]int{{"x": {4, 4, 5}}, {"x": {4}}, {"z": {3, 4, 5}}, {"x": {3, 0, 5}}} {
		if _, err := onnx.ImportBytes(open, "m", onnx.Options{InputShapes: bad}); err == nil {
			t.Errorf("%v accepted", bad)
		}
	}
	newer := one(29, image, node("Relu", x, y))
	if _, err := onnx.ImportBytes(newer, "m", onnx.Options{}); err == nil {
		t.Error("opset 29 accepted by default")
	}
	if _, err := onnx.ImportBytes(newer, "m", onnx.Options{AllowNewerOpset: true}); err != nil {
		t.Error(err)
	}
}
