package onnx

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
)

// ExportOptions are the choices of Export; the zero value is the default.
type ExportOptions struct {
	// KeepBatchNorm writes batch normalisations instead of folding them into the
	// layers before them.
	KeepBatchNorm bool
	// ExternalData puts the weights into a second file, PATH.data; it is done anyway
	// for weights of more than 1.5 GiB.
	ExternalData bool
	// Classes are the names of the outputs; Mean and Std, per channel, say how inputs
	// were normalised: (x-mean)/std. All are metadata.
	Classes   []string
	Mean, Std []float32
	Version   string // of AdaFire
	Force     bool   // replace existing files
}

// Export writes the network as an ONNX model of opset 17: inputs and outputs are
// [N, channels, rows, columns], or [N, positions, features] and [N, features],
// with any number N of samples. One input is named "input", one output "output";
// of several, each has its node's name. Operations without a form in that opset
// are refused, naming the node. Equal networks and options give equal bytes. The
// graph is not changed; its shapes must have been inferred.
func Export(path string, g *graph.Graph, opt ExportOptions) error {
	f, err := ExportFile(g, opt)
	if err != nil {
		return err
	}
	return f.Write(path, opt.ExternalData, opt.Force)
}

// ExportFile makes the file that Export writes.
func ExportFile(g *graph.Graph, opt ExportOptions) (*File, error) {
	g = g.CloneShared()
	if err := g.Infer(); err != nil {
		return nil, err
	}
	sum := graphSum(g)
	if !opt.KeepBatchNorm {
		graph.FoldBatchNorm(g)
	}
	if err := exportable(g); err != nil {
		return nil, err
	}
	e := newExporter("adafire")
	values := make(map[*graph.Node]exval, len(g.Nodes))
	inputs := g.InputNodes()
	outputs := outputNames(g)
	for _, name := range outputs {
		e.names[name] = true // so that no other value takes it
	}
	uses := g.Consumers()
	for _, n := range g.Nodes {
		if _, ok := n.Op.(*graph.Input); ok {
			name := n.Name
			if len(inputs) == 1 {
				name = "input"
			}
			v := exval{name: e.unique(name), shape: n.Shape, layout: inputLayout(n, uses), batch: true}
			if e.input.name == "" {
				e.input = v
			}
			values[n] = v
			e.main.def.Inputs = append(e.main.def.Inputs, v.declare("N"))
			continue
		}
		in := make([]exval, len(n.Inputs))
		for i, from := range n.Inputs {
			in[i] = values[from]
		}
		v, err := e.emit(n, n.Params, in)
		if err != nil {
			return nil, err
		}
		values[n] = v
	}
	for i, n := range g.Outputs {
		v := e.withBatch(values[n])
		if v.layout == permuted {
			v = e.in(v, asGraph)
		}
		e.scope.def.Nodes = append(e.scope.def.Nodes, &NodeDef{Name: outputs[i], Op: "Identity", Inputs: []string{v.name}, Outputs: []string{outputs[i]}})
		v.name = outputs[i]
		e.main.def.Outputs = append(e.main.def.Outputs, v.declare("N"))
	}
	e.dropIdentities()
	f := e.file(opt.Version)
	f.Metadata = append(f.Metadata, Entry{"adafire.graph.sha256", sum})
	more, err := aboutInputs(opt.Classes, opt.Mean, opt.Std)
	f.Metadata = append(f.Metadata, more...)
	return f, err
}

// exportable refuses what has no form, naming all such nodes at once.
func exportable(g *graph.Graph) error {
	for _, n := range g.Nodes {
		if b, ok := n.Op.(*graph.Binary); ok && exportBinary[b.Func] == "" {
			return refuseExport(n, "no operator of opset %d for float numbers", exportOpset)
		}
	}
	return nil
}

// aboutInputs is what is known about the data.
func aboutInputs(classes []string, mean, std []float32) ([]Entry, error) {
	var list []Entry
	for _, e := range []struct {
		key string
		n   int
		v   any
	}{{"adafire.classes", len(classes), classes}, {"adafire.input.mean", len(mean), mean}, {"adafire.input.std", len(std), std}} {
		if e.n == 0 {
			continue
		}
		b, err := json.Marshal(e.v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.key, err)
		}
		list = append(list, Entry{e.key, string(b)})
	}
	return list, nil
}

// file wraps the graph.
func (e *exporter) file(version string) *File {
	f := &File{IRVersion: exportIR, Producer: producer, ProducerVersion: version, Opsets: []Opset{{"", exportOpset}}, Graph: e.main.def}
	if version != "" {
		f.Metadata = append(f.Metadata, Entry{"adafire.version", version})
	}
	return f
}

// outputNames are "output", or the nodes' names where there are several.
func outputNames(g *graph.Graph) []string {
	if len(g.Outputs) == 1 {
		return []string{"output"}
	}
	seen := make(map[string]bool)
	var names []string
	for _, n := range g.Outputs {
		name := n.Name
		for i := 2; seen[name]; i++ {
			name = fmt.Sprintf("%s_%d", n.Name, i)
		}
		seen[name] = true
		names = append(names, name)
	}
	return names
}

// dropIdentities lets the node that makes an output write it under the output's
// name, where nothing stands in the way: each output ends in an Identity of a
// value.
func (e *exporter) dropIdentities() {
	g := e.main.def
	made := make(map[string]*NodeDef)
	count := make(map[string]int) // outputs that are the value
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			made[out] = n
		}
	}
	declared := make(map[string]bool)
	for _, v := range g.Outputs {
		declared[v.Name] = true
		count[made[v.Name].Inputs[0]]++
	}
	rename := make(map[string]string)
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *NodeDef) bool {
		if n.Op != "Identity" || !declared[n.Outputs[0]] || made[n.Inputs[0]] == nil || count[n.Inputs[0]] > 1 {
			return false
		}
		rename[n.Inputs[0]] = n.Outputs[0]
		return true
	})
	for _, n := range g.Nodes {
		for i, name := range n.Outputs {
			if to, ok := rename[name]; ok {
				n.Outputs[i] = to
				if n.Name == name {
					n.Name = to
				}
			}
		}
		for i, name := range n.Inputs {
			if to, ok := rename[name]; ok {
				n.Inputs[i] = to
			}
		}
	}
}

// inputLayout is channels first for images, and for points if that is what the
// first operation with an opinion takes.
func inputLayout(n *graph.Node, uses map[*graph.Node][]*graph.Node) layoutKind {
	switch len(n.Shape) {
	case 1:
		return asGraph
	case 3:
		return channelsFirst
	}
	seen := make(map[*graph.Node]bool)
	for queue := []*graph.Node{n}; len(queue) > 0; queue = queue[1:] {
		for _, r := range uses[queue[0]] {
			switch r.Op.(type) {
			case *graph.Conv2D, *graph.ConvTranspose2D, *graph.ConvND, *graph.ConvTransposeND, *graph.MaxPool2D, *graph.AvgPool2D,
				*graph.MaxPoolND, *graph.AvgPoolND, *graph.GroupNorm, *graph.BatchNorm, *graph.GlobalAvgPool, *graph.GlobalMaxPool, *graph.Upsample, *graph.LRN:
				return channelsFirst
			case *graph.ReLU, *graph.ReLU6, *graph.LeakyReLU, *graph.Unary, *graph.Affine, *graph.Add, *graph.Identity, *graph.Dropout, *graph.Clip:
				if !seen[r] {
					seen[r] = true
					queue = append(queue, r)
				}
			}
		}
	}
	return asGraph
}

// graphSum is a digest of structure and parameters.
func graphSum(g *graph.Graph) string {
	h := sha256.New()
	b, err := g.MarshalJSON()
	if err != nil {
		panic("onnx: " + err.Error()) // no attribute of a valid graph fails
	}
	h.Write(b)
	buf := make([]byte, 0, 1<<12)
	for _, n := range g.Nodes {
		for _, role := range slices.Sorted(maps.Keys(n.Params)) {
			for part := range slices.Chunk(n.Params[role].Data, 1<<10) {
				buf = buf[:0]
				for _, v := range part {
					buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
				}
				h.Write(buf)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
