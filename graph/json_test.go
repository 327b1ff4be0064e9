package graph_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// anyGraph draws a valid graph with operations of every kind.
func anyGraph(t *rapid.T) *graph.Graph {
	g := graph.New()
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "weights"), 1))
	name := func(kind string) string {
		prefix := rapid.SampledFrom([]string{"", "a.b/", "ünï \"q\" <&>\n"}).Draw(t, "prefix")
		return fmt.Sprintf("%s%s%d", prefix, kind, len(g.Nodes))
	}
	nodes := []*graph.Node{g.Input(name("x"), graph.Shape{6, 5, 4})}
	pair := func(lo, hi int, what string) [2]int {
		return [2]int{rapid.IntRange(lo, hi).Draw(t, what), rapid.IntRange(lo, hi).Draw(t, what)}
	}
	kinds := graph.Kinds()
	for range rapid.IntRange(1, 12).Draw(t, "nodes") {
		x := rapid.SampledFrom(nodes).Draw(t, "from")
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		g.Outputs = nodes[:1]
		if err := g.Infer(); err != nil { // for the shape of x
			t.Fatal(err)
		}
		c, isImage := x.Shape.Channels(), len(x.Shape) == 3 && x.Shape[0] > 2 && x.Shape[1] > 2
		in, p := []*graph.Node{x}, graph.Params(nil)
		var op graph.Op
		switch kind {
		case "input":
			nodes = append(nodes, g.Input(name("x"), graph.Shape{3, 4}[:rapid.IntRange(1, 2).Draw(t, "rank")]))
			continue
		case "conv2d":
			op = &graph.Conv2D{Stride: pair(1, 2, "stride"), Pad: graph.Pad{1, 0, 2, 1}, Dilation: [2]int{1, 1}, Groups: 1}
			p = graph.Params{"weight": noise(rng, 2, 3, c, 4)}
		case "conv_transpose2d":
			op = &graph.ConvTranspose2D{Stride: pair(2, 3, "stride"), Pad: graph.Pad{0, 1, 1, 0}, OutputPad: pair(0, 1, "output pad"), Dilation: [2]int{1, 1}, Groups: 1}
			p = graph.Params{"weight": noise(rng, 2, 2, c, 3), "bias": noise(rng, 3)}
		case "linear":
			op, p = &graph.Linear{}, graph.Params{"weight": noise(rng, c, 4)}
		case "batchnorm":
			op = &graph.BatchNorm{Eps: rapid.Float64Range(1e-9, 1).Draw(t, "eps"), Momentum: rapid.Float64Range(0, 1).Draw(t, "momentum")}
			p = norm(rng, c, rapid.Bool().Draw(t, "affine"))
		case "relu":
			op = &graph.ReLU{}
		case "relu6":
			op = &graph.ReLU6{}
		case "leaky_relu":
			op = &graph.LeakyReLU{Alpha: rapid.Float64().Draw(t, "alpha")}
		case "maxpool2d":
			op = &graph.MaxPool2D{Kernel: [2]int{2, 3}, Stride: pair(1, 3, "stride"), Pad: graph.Pad{1, 0, 0, 1}, CeilMode: rapid.Bool().Draw(t, "ceil")}
		case "avgpool2d":
			op = &graph.AvgPool2D{Kernel: [2]int{3, 2}, Stride: pair(1, 3, "stride"), CeilMode: rapid.Bool().Draw(t, "ceil"), CountIncludePad: rapid.Bool().Draw(t, "count")}
		case "global_avgpool":
			op = &graph.GlobalAvgPool{}
		case "global_maxpool":
			op = &graph.GlobalMaxPool{}
		case "add":
			op, in = &graph.Add{}, []*graph.Node{x, x, x}
		case "concat":
			op, in = &graph.Concat{}, []*graph.Node{x, x}
		case "flatten":
			op = &graph.Flatten{}
		case "upsample":
			op = &graph.Upsample{Size: pair(3, 6, "size"), Mode: rapid.SampledFrom([]string{"nearest", "bilinear"}).Draw(t, "mode"), AlignCorners: rapid.Bool().Draw(t, "corners")}
		case "softmax":
			op = &graph.Softmax{}
		case "log_softmax":
			op = &graph.LogSoftmax{}
		case "identity":
			op = &graph.Identity{}
		case "dropout":
			op = &graph.Dropout{P: rapid.Float64Range(0, 0.99).Draw(t, "p")}
		default:
			rank := len(x.Shape)
			if op, p, in = onnxOp(kind, x, rng); op == nil {
				if rank == 3 && c%4 == 0 {
					t.Fatalf("anyGraph cannot make a %s", kind)
				}
				continue
			}
			if kind == "expand" && rank > 4 || x.Shape.Numel() > 1<<14 {
				continue
			}
		}
		switch kind {
		case "conv2d", "conv_transpose2d", "maxpool2d", "avgpool2d", "global_avgpool", "global_maxpool", "upsample":
			if !isImage {
				continue
			}
		}
		nodes = append(nodes, g.Add(name(kind), op, p, in...))
	}
	g.Outputs = nil
	for range rapid.IntRange(1, 3).Draw(t, "outputs") {
		g.Outputs = append(g.Outputs, rapid.SampledFrom(nodes).Draw(t, "output"))
	}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	return g
}

// store returns the parameters of g by name, as a file would.
func store(g *graph.Graph) func(string) (*tensor.Tensor, error) {
	all := map[string]*tensor.Tensor{}
	for _, n := range g.Nodes {
		for role, p := range n.Params {
			all[graph.ParamName(n.Name, role)] = p
		}
	}
	return func(name string) (*tensor.Tensor, error) {
		if all[name] == nil {
			return nil, fmt.Errorf("no tensor %q", name)
		}
		return all[name], nil
	}
}

// flat is what two equal graphs have in common.
type flat struct {
	Name   string
	Op     graph.Op
	Inputs []string
	Shape  graph.Shape
	Params graph.Params
}

func flatten(g *graph.Graph) (nodes []flat, outputs []string) {
	var inputs []flat
	for _, n := range g.Nodes {
		f := flat{n.Name, n.Op, nil, n.Shape, n.Params}
		for _, in := range n.Inputs {
			f.Inputs = append(f.Inputs, in.Name)
		}
		if n.Kind() == "input" { // inputs are written first
			inputs = append(inputs, f)
		} else {
			nodes = append(nodes, f)
		}
	}
	for _, n := range g.Outputs {
		outputs = append(outputs, n.Name)
	}
	return append(inputs, nodes...), outputs
}

func TestJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := anyGraph(t)
		data, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		back, err := graph.ParseJSON(data, store(g))
		if err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		if d := cmp.Diff(g.Nodes, g.Clone().Nodes); d != "" {
			t.Fatalf("the clone differs (-original +clone):\n%s", d)
		}
		gotNodes, gotOutputs := flatten(back)
		wantNodes, wantOutputs := flatten(g)
		if d := cmp.Diff(wantNodes, gotNodes); d != "" {
			t.Fatalf("nodes differ (-want +got):\n%s", d)
		}
		if d := cmp.Diff(wantOutputs, gotOutputs); d != "" {
			t.Fatalf("outputs differ (-want +got):\n%s", d)
		}
		again, err := json.Marshal(back)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("written again (%v):\n%s\nat first:\n%s", err, again, data)
		}
	})
}

const valid = `{"schema":1,"inputs":[{"name":"x","shape":[6,6,2]}],"outputs":["pool"],"nodes":[` +
	`{"name":"conv","op":"conv2d","in":["x"],"attr":{"stride":[1,1],"pad":[0,0,0,0],"dilation":[1,1],"groups":1},"param":{"weight":"conv.weight"}},` +
	`{"name":"pool","op":"maxpool2d","in":["conv"],"attr":{"kernel":[2,2],"stride":[2,2],"pad":[0,0,0,0],"ceil_mode":false}}]}`

// deliver hands out a weight for the valid graph under some names.
func deliver(name string) (*tensor.Tensor, error) {
	switch name {
	case "conv.weight":
		return tensor.New(3, 3, 2, 4), nil
	case "conv.bias":
		return tensor.New(4), nil
	case "nil":
		return nil, nil
	}
	return nil, fmt.Errorf("no tensor %q", name)
}

func TestParseJSONIsStrict(t *testing.T) {
	if _, err := graph.ParseJSON([]byte(valid), deliver); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, new, fail string }{
		{"schema", `"schema":1`, `"schema":2`, "schema 2, this version reads 1"},
		{"no schema", `"schema":1,`, ``, "schema 0"},
		{"unknown member", `"schema":1`, `"schema":1,"author":"me"`, `unknown field "author"`},
		{"unknown member of a node", `"op":"conv2d"`, `"op":"conv2d","gain":1`, `unknown field "gain"`},
		{"unknown operation", `"op":"maxpool2d"`, `"op":"median"`, `node "pool" (median): unknown operation`},
		{"input as a node", `"op":"maxpool2d"`, `"op":"input"`, `node "pool" (input): unknown operation`},
		{"attribute missing", `,"ceil_mode":false`, ``, `node "pool" (maxpool2d): attribute "ceil_mode" is missing`},
		{"all attributes missing", `,"attr":{"kernel":[2,2],"stride":[2,2],"pad":[0,0,0,0],"ceil_mode":false}`, ``, `attribute "ceil_mode" is missing`},
		{"attributes null", `"attr":{"kernel":[2,2],"stride":[2,2],"pad":[0,0,0,0],"ceil_mode":false}`, `"attr":null`, `is missing`},
		{"unknown attribute", `"ceil_mode":false`, `"ceil_mode":false,"floor":1`, `unknown attribute "floor"`},
		{"attribute in other case", `"ceil_mode"`, `"Ceil_Mode"`, `attribute "ceil_mode" is missing`},
		{"list too short", `"kernel":[2,2]`, `"kernel":[2]`, `attribute "kernel" is [2], want a list of 2`},
		{"list too long", `"pad":[0,0,0,0],"ceil`, `"pad":[0,0,0,0,0],"ceil`, `want a list of 4`},
		{"no list", `"kernel":[2,2]`, `"kernel":2`, `want a list of 2`},
		{"null attribute", `"groups":1`, `"groups":null`, `attribute "groups" is null`},
		{"null in a list", `"pad":[0,0,0,0],"ceil`, `"pad":[0,null,0,0],"ceil`, `attribute "pad" is [0,null,0,0]`},
		{"fraction", `"groups":1`, `"groups":1.5`, "attributes:"},
		{"text for a number", `"groups":1`, `"groups":"1"`, "attributes:"},
		{"huge number", `"stride":[2,2]`, `"stride":[2,99999999999999999999]`, "attributes:"},
		{"unknown parameter", `"param":{"weight":"conv.weight"}`, `"param":{"weight":"conv.weight","gain":"conv.bias"}`, `unknown parameter "gain"`},
		{"missing parameter", `,"param":{"weight":"conv.weight"}`, ``, `parameter "weight" is missing`},
		{"missing tensor", `"conv.weight"`, `"conv.wait"`, `node "conv" (conv2d): parameter "weight": no tensor "conv.wait"`},
		{"nil tensor", `"conv.weight"`, `"nil"`, `parameter "weight" is nil`},
		{"tensor of another shape", `"conv.weight"`, `"conv.bias"`, `weight has shape [4], want 4 axes`},
		{"cycle", `"in":["x"]`, `"in":["pool"]`, `node "conv" (conv2d): input "pool" is no earlier node`},
		{"itself", `"in":["x"]`, `"in":["conv"]`, `input "conv" is no earlier node`},
		{"name used twice", `"name":"pool"`, `"name":"conv"`, `node "conv": name used twice`},
		{"name of an input", `"name":"conv"`, `"name":"x"`, `node "x": name used twice`},
		{"two inputs of one name", `"inputs":[`, `"inputs":[{"name":"x","shape":[1]},`, `node "x": name used twice`},
		{"empty name", `"name":"pool"`, `"name":""`, `output "pool" is no node`},
		{"unknown output", `"outputs":["pool"]`, `"outputs":["pol"]`, `output "pol" is no node`},
		{"no outputs", `"outputs":["pool"]`, `"outputs":[]`, `no output`},
		{"input of no shape", `,"shape":[6,6,2]`, ``, `0 axes`},
		{"negative shape", `[6,6,2]`, `[-6,-6,2]`, `negative dimension`},
		{"huge shape", `[6,6,2]`, `[4294967296,4294967296,4294967296]`, `too many elements`},
		{"wrong number of inputs", `"in":["conv"]`, `"in":["conv","x"]`, `2 inputs, want 1`},
		{"no inputs", `"in":["conv"]`, `"in":null`, `0 inputs, want 1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(valid, c.old) {
				t.Fatalf("%s is not in the valid text", c.old)
			}
			bad := strings.Replace(valid, c.old, c.new, 1)
			_, err := graph.ParseJSON([]byte(bad), deliver)
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got error %v, want one with %q", err, c.fail)
			}
			if c.name != "missing tensor" && !errors.Is(err, graph.ErrInvalid) {
				t.Errorf("error %v is no ErrInvalid", err)
			}
		})
	}
	for _, bad := range []string{"", "null", "[]", "{", valid + "}", valid + "]", valid + valid, valid + " 1", valid[:len(valid)-1]} {
		if _, err := graph.ParseJSON([]byte(bad), deliver); !errors.Is(err, graph.ErrInvalid) {
			t.Errorf("%.20q...: got error %v, want ErrInvalid", bad, err)
		}
	}
	if _, err := graph.ParseJSON([]byte(valid+"\n "), deliver); err != nil {
		t.Errorf("white space at the end: %v", err)
	}
}

func TestMarshalJSONRefusesWhatJSONCannotHold(t *testing.T) {
	g := graph.New()
	inf := 1e308
	g.Outputs = []*graph.Node{g.Add("leaky", &graph.LeakyReLU{Alpha: inf * 10}, nil, g.Input("x", graph.Shape{1}))}
	if _, err := g.MarshalJSON(); err == nil || !strings.Contains(err.Error(), `node "leaky"`) {
		t.Errorf("got error %v, want one that names the node", err)
	}
}

// onnxNodes are nodes on an input "x" of shape [2 2], without their names.
var onnxNodes = []string{
	`"op":"clip","in":["x"],"attr":{"min":"-inf","max":6}`,
	`"op":"mul","in":["x","x"]`,
	`"op":"attention","in":["x","x","x"],"attr":{"heads":1,"kv_heads":1,"scale":1,"causal":false,"softcap":0}`,
	`"op":"slice","in":["x"],"attr":{"start":[1,0],"size":[2,1],"step":[-1,0]}`,
	`"op":"pad","in":["x"],"attr":{"begin":[1,0],"end":[0,-1],"mode":"constant","value":"nan"}`,
	`"op":"gather","in":["x"],"attr":{"axis":0,"indices":[1],"index_shape":[]}`,
	`"op":"reduce_max","in":["x"],"attr":{"axes":[0,1],"keep_dims":false}`,
	`"op":"maxpool_nd","in":["x"],"attr":{"kernel":[2],"stride":[1],"pad":[1,0],"dilation":[1],"ceil_mode":true}`,
	`"op":"resize","in":["x"],"attr":{"size":[4,2],"scale":[2,1],"mode":"linear","coordinate":"half_pixel","nearest":"floor","cubic_a":0,"exclude_outside":false,"antialias":true}`,
}

func oneNode(node string) []byte {
	return []byte(`{"schema":1,"inputs":[{"name":"x","shape":[2,2]}],"outputs":["n"],"nodes":[{"name":"n",` + node + `}]}`)
}

func TestParseJSONOfONNXOperations(t *testing.T) {
	for _, node := range onnxNodes {
		if _, err := graph.ParseJSON(oneNode(node), deliver); err != nil {
			t.Errorf("%s: %v", node, err)
		}
	}
	for _, c := range []struct{ node, fail string }{
		{`"op":"clip","in":["x"],"attr":{"min":"-infinity","max":6}`, "attributes"},
		{`"op":"clip","in":["x"],"attr":{"min":"nan","max":6}`, "min NaN"},
		{`"op":"mul","in":["x","x"],"attr":{"Func":"div"}`, `unknown attribute "Func"`},
		{`"op":"transpose","in":["x"],"attr":{"perm":null}`, `attribute "perm" is null`},
		{`"op":"transpose","in":["x"],"attr":{"perm":[1,null]}`, `attribute "perm" is [1,null]`},
		{`"op":"transpose","in":["x"],"attr":{"perm":[0.5,1]}`, "attributes"},
		{`"op":"reduce_mean","in":["x"],"attr":{"axes":[0]}`, `attribute "keep_dims" is missing`},
		{`"op":"tile","in":["x"],"attr":{"repeats":[99999999999999,1]}`, "repeats"},
	} {
		if _, err := graph.ParseJSON(oneNode(c.node), deliver); err == nil || !errors.Is(err, graph.ErrInvalid) || !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: got error %v, want ErrInvalid with %q", c.node, err, c.fail)
		}
	}
}

// FuzzParseJSON: no text panics, and what is accepted comes back the same.
func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(valid))
	f.Add([]byte(`{"schema":1,"inputs":[{"name":"x","shape":[2]}],"outputs":["s"],"nodes":[{"name":"s","op":"add","in":["x","x"]}]}`))
	f.Add([]byte(`{"schema":1,"inputs":[{"name":"x","shape":[2,2,1]}],"outputs":["u"],"nodes":[{"name":"u","op":"upsample","in":["x"],"attr":{"size":[3,3],"mode":"nearest","align_corners":false}}]}`))
	for _, node := range onnxNodes {
		f.Add(oneNode(node))
	}
	f.Add([]byte(`{"schema":1,"inputs":[],"outputs":[],"nodes":[{"name":"s","op":"concat","in":[]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		g, err := graph.ParseJSON(data, deliver)
		if err != nil {
			return
		}
		text, err := g.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		back, err := graph.ParseJSON(text, store(g))
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		again, err := back.MarshalJSON()
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("written again (%v):\n%s\nat first:\n%s", err, again, text)
		}
	})
}
