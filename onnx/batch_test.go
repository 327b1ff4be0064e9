package onnx_test

import (
	"slices"
	"testing"

	"github.com/adafire/adafire/onnx"
	"github.com/adafire/adafire/tensor"
)

func names(s ...string) []string { return s }

// TestBatchWithinAxes reads attention as torch.nn.MultiheadAttention writes it:
// the batch is in the middle and then joined with the heads, [L, N, C] to
// [L, N*heads, C/heads].
func TestBatchWithinAxes(t *testing.T) {
	for _, batch := range []int64{-1, 3} { // open, and frozen by the exporter
		shape := int64s("s1", []int64{3}, 4, -1, 3)
		if batch > 0 {
			shape = int64s("s1", []int64{3}, 4, 2*batch, 3)
		}
		g := graphParts{nodes: []pb{
			node("Transpose", names("x"), names("a"), attrInts("perm", 1, 0, 2)),
			node("Reshape", names("a", "s1"), names("b")),
			node("Transpose", names("b"), names("q"), attrInts("perm", 1, 0, 2)),
			node("Transpose", names("b"), names("k"), attrInts("perm", 1, 2, 0)),
			node("MatMul", names("q", "k"), names("c")),
			node("Softmax", names("c"), names("d"), attrInt("axis", 2)),
			node("MatMul", names("d", "q"), names("e")),
			node("Transpose", names("e"), names("f"), attrInts("perm", 1, 0, 2)),
			node("Reshape", names("f", "s2"), names("g")),
			node("Transpose", names("g"), names("y"), attrInts("perm", 1, 0, 2)),
		}, inits: []pb{shape, int64s("s2", []int64{3}, 4, -1, 6)},
			inputs: []pb{value("x", batch, 4, 6)}, outputs: []pb{pb(nil).str(1, "y")}}
		m, err := onnx.ImportBytes(model(17, g.encode()), "m", onnx.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if m.Batch != 0 {
			t.Fatalf("batch %d: not per sample: %v", batch, m.Notes)
		}
		x := randomTensor(1, 3, 4, 6)
		all := runModel(t, m, x)[0]
		for i := range 3 {
			one := runModel(t, m, x.Rows(i, i+1))[0]
			if err := differ(one, all.Rows(i, i+1), 0, 0); err != nil {
				t.Errorf("sample %d: %v", i, err)
			}
		}
		if !slices.Equal(all.Shape, x.Shape) {
			t.Errorf("result of shape %v, want %v", all.Shape, x.Shape)
		}
	}
}

func runModel(t *testing.T, m *onnx.Model, xs ...*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	r, err := onnx.NewRunner(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	ys, err := r.Run(xs...)
	if err != nil {
		t.Fatal(err)
	}
	return ys
}

// TestShapeArithmetic computes a class token's shape from the open batch.
func TestShapeArithmetic(t *testing.T) {
	scalar := func(name string, v int64) pb { return int64s(name, []int64{}, v) }
	g := graphParts{nodes: []pb{
		node("Shape", names("x"), names("shape")),
		node("Gather", names("shape", "zero"), names("n")),
		node("Mul", names("n", "two"), names("n2")),
		node("Div", names("n2", "two"), names("n1")),
		node("Unsqueeze", names("n1", "axis"), names("nv")),
		node("Concat", names("nv", "rest"), names("full"), attrInt("axis", 0)),
		node("Equal", names("full", "minus"), names("eq")),
		node("Where", names("eq", "one", "full"), names("to")),
		node("Expand", names("token", "to"), names("tokens")),
		node("Concat", names("tokens", "x"), names("y"), attrInt("axis", 1)),
	}, inits: []pb{scalar("zero", 0), scalar("two", 2), scalar("one", 1), scalar("minus", -1), int64s("axis", []int64{1}, 0),
		int64s("rest", []int64{2}, 1, 2), floats("token", []int64{1, 1, 2}, 5, 6)},
		inputs: []pb{value("x", -1, 3, 2)}, outputs: []pb{pb(nil).str(1, "y")}}
	m, err := onnx.ImportBytes(model(17, g.encode()), "m", onnx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Batch != 0 {
		t.Fatalf("not per sample: %v", m.Notes)
	}
	x := randomTensor(1, 2, 3, 2)
	y := runModel(t, m, x)[0]
	want := tensor.New(2, 4, 2)
	for i := range 2 {
		copy(want.Data[i*8:], []float32{5, 6})
		copy(want.Data[i*8+2:i*8+8], x.Data[i*6:])
	}
	if err := differ(y, want, 0, 0); err != nil {
		t.Error(err)
	}
}

// TestBatchDecides wants an operator whose result depends on the number of
// samples to make the whole batch one sample, never a guess.
func TestBatchDecides(t *testing.T) {
	g := graphParts{nodes: []pb{
		node("Shape", names("x"), names("shape")),
		node("Gather", names("shape", "zero"), names("n")),
		node("Equal", names("n", "one"), names("alone")),
		node("If", names("alone"), y, attrGraph("then_branch", graphParts{nodes: []pb{node("Relu", x, names("r"))}, outputs: []pb{pb(nil).str(1, "r")}}.encode()),
			attrGraph("else_branch", graphParts{nodes: []pb{node("Neg", x, names("s"))}, outputs: []pb{pb(nil).str(1, "s")}}.encode())),
	}, inits: []pb{int64s("zero", []int64{}, 0), int64s("one", []int64{}, 1)}, inputs: []pb{value("x", -1, 2)}, outputs: []pb{pb(nil).str(1, "y")}}
	m, err := onnx.ImportBytes(model(17, g.encode()), "m", onnx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Batch != 1 || len(m.Notes) == 0 {
		t.Fatalf("batch %d with notes %q, want a fixed batch of 1 and a note", m.Batch, m.Notes)
	}
	out := runModel(t, m, &tensor.Tensor{Shape: []int{1, 2}, Data: []float32{-1, 2}})[0]
	if err := differ(out, &tensor.Tensor{Shape: []int{1, 2}, Data: []float32{0, 2}}, 0, 0); err != nil {
		t.Errorf("the branch for one sample: %v", err)
	}
}

// TestReport lists what stands in the way of conversion.
func TestReport(t *testing.T) {
	g := graphParts{nodes: []pb{node("Relu", x, names("a")), node("Sigmoid", names("a"), names("b")), node("Relu", names("b"), names("c")),
		node("Softmax", names("c"), y)}, inputs: []pb{value("x", -1, 4)}, outputs: []pb{pb(nil).str(1, "y")}}
	m, err := onnx.ImportBytes(model(17, g.encode()), "m", onnx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range m.Report.Nodes {
		got = append(got, c.Class.String())
	}
	if want := []string{"C", "E", "C", "T"}; !slices.Equal(got, want) {
		t.Errorf("classes %v, want %v", got, want)
	}
	if b := m.Report.Blocking(); len(b) != 1 || b[0].Kind != "sigmoid" {
		t.Errorf("blocking %v, want the sigmoid", b)
	}
}
