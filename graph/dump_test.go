package graph_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// small is a network with something of everything that a dump shows.
func small() *graph.Graph {
	g := graph.New()
	x := g.Input("image", graph.Shape{4, 4, 1})
	x = g.Add("conv", conv2d(func(o *graph.Conv2D) { o.Pad = graph.Uniform(1, 1) }),
		graph.Params{"weight": tensor.New(3, 3, 1, 2), "bias": tensor.New(2)}, x)
	x = g.Add(`re"lu`, &graph.ReLU{}, nil, x)
	x = g.Add("pool", &graph.MaxPool2D{Kernel: [2]int{4, 4}, Stride: [2]int{4, 4}}, nil, x)
	x = g.Add("flat", &graph.Flatten{}, nil, x)
	g.Outputs = []*graph.Node{g.Add("fc", &graph.Linear{}, graph.Params{"weight": tensor.New(2, 3)}, x)}
	return g
}

func TestDump(t *testing.T) {
	g := small()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := g.Dump(&b); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"node op inputs output parameters MACs attributes",
		"image input 4x4x1 0 0",
		"conv conv2d image 4x4x2 20 288 stride:[1,1],pad:[1,1,1,1],dilation:[1,1],groups:1",
		`re"lu relu conv 4x4x2 0 0`,
		`pool maxpool2d re"lu 1x1x2 0 0 kernel:[4,4],stride:[4,4],pad:[0,0,0,0],ceil_mode:false`,
		"flat flatten pool 2 0 0",
		"fc linear flat 3 6 6",
		"total 26 294",
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestGraphviz(t *testing.T) {
	g := small()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := g.Graphviz(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		`"image" [label="image\ninput\n4x4x1", fillcolor="#f4f4f4"];`,
		`"conv" [label="conv\nconv2d\n4x4x2", fillcolor="#cfe4ff"];`,
		`"re\"lu" [label="re\"lu\nrelu\n4x4x2", fillcolor="#ffd9a0"];`,
		`"pool" [label="pool\nmaxpool2d\n1x1x2", fillcolor="#d8f0d0"];`,
		`"conv" -> "re\"lu";`, `"flat" -> "fc";`, `"fc" -> "output 0";`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if arrows := strings.Count(text, " -> "); arrows != 6 {
		t.Errorf("%d arrows, want 6", arrows)
	}
	if !strings.HasPrefix(text, "digraph network {\n") || !strings.HasSuffix(text, "}\n") {
		t.Errorf("no digraph:\n%s", text)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestDumpsReportWriteErrors(t *testing.T) {
	g := small()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	if err := g.Dump(fullDisk{}); err == nil {
		t.Error("Dump hides a write error")
	}
	if err := g.Graphviz(fullDisk{}); err == nil {
		t.Error("Graphviz hides a write error")
	}
}

// A network is built node by node; Infer checks it and finds the shapes.
func Example() {
	g := graph.New()
	x := g.Input("image", graph.Shape{28, 28, 1})
	x = g.Add("conv1", &graph.Conv2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1},
		graph.Params{"weight": tensor.New(3, 3, 1, 8)}, x)
	x = g.Add("relu1", &graph.ReLU{}, nil, x)
	x = g.Add("pool", &graph.GlobalAvgPool{}, nil, x)
	x = g.Add("flat", &graph.Flatten{}, nil, x)
	x = g.Add("fc", &graph.Linear{}, graph.Params{"weight": tensor.New(8, 10), "bias": tensor.New(10)}, x)
	g.Outputs = []*graph.Node{x}
	if err := g.Infer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Println(x.Shape, g.Parameters(), "parameters,", g.MACs(), "MACs")

	g.Node("fc").Params["weight"] = tensor.New(9, 10)
	fmt.Println(g.Infer())
	// Output:
	// 10 162 parameters, 56528 MACs
	// node "fc" (linear): weight [9 10] wants 9 input features, input has shape 8: invalid graph
}
