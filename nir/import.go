package nir

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// An Imported network is what Import makes of a file.
type Imported struct {
	Network  // SNN is nil if the graph has no neurons
	Classes  []string
	Restored bool // written by this package, and the same bit for bit
	// Warnings say what will be different from the file's own meaning.
	Warnings []string
}

// defaultTimesteps is used for files that do not say how long they run.
const defaultTimesteps = 8

// Import reads the file at path as a network. A file that Export wrote gives the
// exported network again. Of other files it reads feed-forward graphs of Affine,
// Linear, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten, Scale and IF nodes, and
// burst neurons in the exact form; other nodes are refused with their names.
//
// The IF nodes of foreign files become neurons that emit one spike per step and
// subtract; Warnings say so. Run them as they are meant with Simulate.
func Import(path string) (*Imported, error) {
	f, err := Read(path)
	if err != nil {
		return nil, err
	}
	out, err := f.Import()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

// ImportFrom is Import for a file of size bytes.
func ImportFrom(r io.ReaderAt, size int64, name string) (*Imported, error) {
	f, err := ReadFrom(r, size, name)
	if err != nil {
		return nil, err
	}
	out, err := f.Import()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// Import makes a network of a file that has been read.
func (f *File) Import() (*Imported, error) {
	var i info
	if s, ok := f.Graph.Metadata["adafire"].(string); ok {
		if err := json.Unmarshal([]byte(s), &i); err != nil {
			return nil, fmt.Errorf("metadata \"adafire\": %w", err)
		}
		if i.Format != 1 {
			return nil, fmt.Errorf("metadata \"adafire\" has format %d, want 1", i.Format)
		}
	}
	var warnings []string
	if i.Structure != nil {
		net, err := restore(f.Graph, &i)
		if err == nil {
			return &Imported{Network: *net, Classes: i.Classes, Restored: true}, nil
		}
		warnings = append(warnings, fmt.Sprintf("the graph has been changed since it was exported (%v); its nodes count", err))
	}
	out, err := f.Graph.network(&i)
	if err != nil {
		return nil, err
	}
	out.Classes = i.Classes
	out.Warnings = append(warnings, out.Warnings...)
	return out, nil
}

// importer turns NIR nodes into nodes of a network.
type importer struct {
	g      *Graph
	in     map[string][]int
	out    map[string][]int
	net    *graph.Graph
	nodes  map[string]*graph.Node
	flat   map[string][]int // shape in front of a flatten, channels first
	layers []snn.Layer
	names  map[string]bool
	warns  []string
	sums   int      // elements of weights of ones
	plain  []string // IF nodes without our metadata
}

// network makes a network of the nodes as they are.
func (g *Graph) network(i *info) (*Imported, error) {
	g, err := g.Inline()
	if err != nil {
		return nil, err
	}
	g = g.recognise()
	m := &importer{g: g, in: make(map[string][]int), net: graph.New(), nodes: make(map[string]*graph.Node), flat: make(map[string][]int), names: make(map[string]bool)}
	if m.out, err = g.shapes(m.in); err != nil {
		return nil, err
	}
	order, back := g.order()
	if err := g.executable(back); err != nil {
		return nil, err
	}
	from := make(map[string][]string)
	for _, e := range g.Edges {
		from[e[1]] = append(from[e[1]], e[0])
	}
	for _, name := range order {
		slices.Sort(from[name])
		if err := m.node(g.Nodes[name], from[name]); err != nil {
			return nil, err
		}
	}
	if err := m.net.Validate(); err != nil {
		return nil, err
	}
	out := &Imported{Network: Network{Graph: m.net}, Warnings: m.warns}
	if len(m.layers) > 0 {
		out.SNN = &snn.Config{Timesteps: i.Timesteps, Shift: snn.ShiftNone, MaxPool: snn.MaxPoolExact, Layers: m.layers}
		if i.Timesteps < 1 || i.Timesteps > snn.MaxTimesteps {
			out.SNN.Timesteps = defaultTimesteps
			out.Warnings = append(out.Warnings, fmt.Sprintf("the file does not say how many timesteps it runs; %d is assumed", defaultTimesteps))
		}
		if len(m.plain) > 0 {
			out.Warnings = append(out.Warnings, fmt.Sprintf("IF nodes %s: NIR resets to v_reset and fires above the threshold; here they subtract it and fire at it",
				strings.Join(m.plain, ", ")))
		}
	}
	return out, nil
}

// executable refuses, listing all of them, nodes that cannot be run.
func (g *Graph) executable(back map[[2]string]bool) error {
	var bad []string
	for _, name := range g.Names() {
		switch t := g.Nodes[name].Type; t {
		case "Input", "Output", "Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Scale", "IF":
		default:
			bad = append(bad, fmt.Sprintf("%q (%s)", name, t))
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("nodes that cannot be executed: %s: %w", strings.Join(bad, ", "), fileerr.ErrUnsupported)
	}
	for _, e := range slices.SortedFunc(maps.Keys(back), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		return refusal(e[1], g.Nodes[e[1]].Type, "a cycle closes with the edge from %q; only feed-forward graphs can be executed", e[0])
	}
	for _, kind := range []string{"Input", "Output"} {
		if k := g.count(kind); k != 1 {
			return refusal(strings.ToLower(kind), kind, "%d of them, want one", k)
		}
	}
	return nil
}

// lastShape turns channels first into channels last; a signal over positions
// becomes an image of one column.
func lastShape(s []int) graph.Shape {
	switch len(s) {
	case 2:
		return graph.Shape{s[1], 1, s[0]}
	case 3:
		return graph.Shape{s[1], s[2], s[0]}
	}
	return slices.Clone(s)
}

// add appends a node of a name that is free.
func (m *importer) add(name string, op graph.Op, p graph.Params, in ...*graph.Node) *graph.Node {
	base := name
	for i := 2; m.names[name]; i++ {
		name = fmt.Sprintf("%s_%d", base, i)
	}
	m.names[name] = true
	return m.net.Add(name, op, p, in...)
}

// node adds one NIR node whose inputs are there.
func (m *importer) node(n *Node, from []string) error {
	var x *graph.Node
	var flat []int
	for k, name := range from {
		if f := m.flat[name]; f != nil {
			if len(from) > 1 && numel(f[1:]) > 1 {
				return refusal(n.Name, n.Type, "sums of flattened values")
			}
			flat = f
		}
		if k == 0 {
			x = m.nodes[name]
		}
	}
	if len(from) > 1 {
		var all []*graph.Node
		for _, name := range from {
			all = append(all, m.nodes[name])
		}
		x = m.add(n.Name+"_sum", &graph.Add{}, nil, all...)
	}
	if flat != nil && numel(flat[1:]) > 1 && n.Type != "Affine" && n.Type != "Linear" {
		return refusal(n.Name, n.Type, "behind a flatten; only fully connected layers are read there")
	}
	in, out := m.in[n.Name], m.out[n.Name]
	var y *graph.Node
	switch n.Type {
	case "Input":
		if len(out) > 3 {
			return refusal(n.Name, n.Type, "shape %v", out)
		}
		y = m.add(n.Name, &graph.Input{Shape: lastShape(out)}, nil)
	case "Output":
		m.net.Outputs = []*graph.Node{x}
		return nil
	case "Affine", "Linear":
		w := &tensor.Tensor{Shape: n.Arrays["weight"].Shape, Data: n.Arrays["weight"].Data}
		var t *tensor.Tensor
		var err error
		if len(flat) == 3 || len(flat) == 2 {
			h, wd := flat[1], 1
			if len(flat) == 3 {
				wd = flat[2]
			}
			t, err = tensor.LinearWeightAfterFlatten(w, h, wd, flat[0])
		} else {
			t, err = tensor.LinearWeight(w)
		}
		if err != nil {
			return fmt.Errorf("node %q (%s): %w", n.Name, n.Type, err)
		}
		y = m.add(n.Name, &graph.Linear{}, m.params(t, n.Arrays["bias"]), x)
	case "Conv1d", "Conv2d":
		w := n.Arrays["weight"]
		shape := w.Shape
		op := &graph.Conv2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: n.Ints["groups"][0]}
		for i := range shape[2:] {
			p := n.padAt(i)
			op.Stride[i], op.Dilation[i], op.Pad[i], op.Pad[i+2] = n.Ints["stride"][i], n.Ints["dilation"][i], p[0], p[1]
		}
		if n.Type == "Conv1d" {
			shape = append(slices.Clone(shape), 1)
		}
		t, err := tensor.ConvWeight(&tensor.Tensor{Shape: shape, Data: w.Data})
		if err != nil {
			return fmt.Errorf("node %q (%s): %w", n.Name, n.Type, err)
		}
		y = m.add(n.Name, op, m.params(t, n.Arrays["bias"]), x)
	case "AvgPool2d":
		k, s, p := n.Ints["kernel_size"], n.Ints["stride"], n.Ints["padding"]
		y = m.add(n.Name, &graph.AvgPool2D{Kernel: [2]int(k), Stride: [2]int(s), Pad: graph.Uniform(p[0], p[1]), CountIncludePad: true}, nil, x)
	case "SumPool2d": // sums of whole numbers are exact as a convolution of ones
		k, s, p := n.Ints["kernel_size"], n.Ints["stride"], n.Ints["padding"]
		if limit := m.size(); k[0]*k[1]*in[0] > limit-m.sums {
			return refusal(n.Name, n.Type, "a window of %v, larger than the file", k)
		}
		m.sums += k[0] * k[1] * in[0]
		w := tensor.New(k[0], k[1], 1, in[0])
		for i := range w.Data {
			w.Data[i] = 1
		}
		y = m.add(n.Name, &graph.Conv2D{Stride: [2]int(s), Pad: graph.Uniform(p[0], p[1]), Dilation: [2]int{1, 1}, Groups: in[0]}, graph.Params{"weight": w}, x)
	case "Flatten":
		if len(out) != 1 {
			return refusal(n.Name, n.Type, "axes %v to %v of %v, want all", n.Ints["start_dim"], n.Ints["end_dim"], in)
		}
		if flat == nil {
			flat = in
		}
		y = m.add(n.Name, &graph.Flatten{}, nil, x)
		m.flat[n.Name] = flat
	case "Scale":
		s, err := perChannel(n, "scale")
		if err != nil {
			return err
		}
		y = m.scale(n.Name, s, x)
	case "IF":
		var err error
		if y, err = m.neurons(n, x); err != nil {
			return err
		}
	}
	m.nodes[n.Name] = y
	return nil
}

// size returns the elements of all arrays: what may be allocated.
func (m *importer) size() int {
	k := 1 << 16
	for _, n := range m.g.Nodes {
		for _, a := range n.Arrays {
			k += len(a.Data)
		}
	}
	return k
}

func (m *importer) params(weight *tensor.Tensor, bias *Array) graph.Params {
	p := graph.Params{"weight": weight}
	if bias != nil {
		p["bias"] = &tensor.Tensor{Shape: slices.Clone(bias.Shape), Data: slices.Clone(bias.Data)}
	}
	return p
}

// perChannel returns an array [C, ...] that is constant within channels.
func perChannel(n *Node, name string) ([]float32, error) {
	a := n.Arrays[name]
	if len(a.Shape) == 0 {
		return nil, refusal(n.Name, n.Type, "%s is one number", name)
	}
	positions := numel(a.Shape[1:])
	out := make([]float32, a.Shape[0])
	for i, v := range a.Data {
		c := i / positions
		if i%positions == 0 {
			out[c] = v
		}
		if v != out[c] {
			return nil, refusal(n.Name, n.Type, "%s differs within channel %d (%g and %g), which cannot be represented", name, c, out[c], v)
		}
	}
	return out, nil
}

// scale multiplies every channel, by a normalisation that has nothing to
// normalise: sqrt(0+1) is 1.
func (m *importer) scale(name string, s []float32, x *graph.Node) *graph.Node {
	vector := func() *tensor.Tensor { return tensor.New(len(s)) }
	p := graph.Params{"mean": vector(), "var": vector(), "weight": {Shape: []int{len(s)}, Data: s}, "bias": vector()}
	return m.add(name, &graph.BatchNorm{Eps: 1}, p, x)
}

// neurons adds an activation and its layer of neurons. Downstream a spike counts
// 1, whatever the threshold.
func (m *importer) neurons(n *Node, x *graph.Node) (*graph.Node, error) {
	theta, err := perChannel(n, "v_threshold")
	if err != nil {
		return nil, err
	}
	r, err := perChannel(n, "r")
	if err != nil {
		return nil, err
	}
	ones := true
	layer := snn.Layer{MaxSpike: 1}
	dt := m.g.timestep()
	for c := range theta {
		if v := float32(float64(theta[c]) / (float64(r[c]) * dt)); !(v > 0) || v-v != 0 {
			return nil, refusal(n.Name, n.Type, "r is %g", r[c])
		} else {
			theta[c] = v
			ones = ones && v == 1
		}
	}
	if layer.Threshold = theta; ones {
		layer.Threshold = []float32{1}
	}
	if k, ok := number(n.Metadata["adafire_maxspike"]); ok {
		if k < 1 || k > snn.MaxBurst || k != math.Trunc(k) {
			return nil, fmt.Errorf("node %q (IF): adafire_maxspike %g: want 1 to %d", n.Name, k, snn.MaxBurst)
		}
		layer.MaxSpike = int(k)
	} else {
		m.plain = append(m.plain, n.Name)
	}
	if v := n.Arrays["v_reset"]; v != nil && slices.ContainsFunc(v.Data, func(v float32) bool { return v != 0 }) {
		m.warns = append(m.warns, fmt.Sprintf("node %q (IF): v_reset is not 0; it is ignored", n.Name))
	}
	y := m.add(n.Name, &graph.ReLU{}, nil, x)
	layer.Node = y.Name
	m.layers = append(m.layers, layer)
	if ones {
		return y, nil
	}
	s := make([]float32, len(theta))
	for c, v := range theta {
		s[c] = 1 / v
	}
	return m.scale(n.Name+"_count", s, y), nil
}

// timestep returns the length of a timestep that the metadata tells, else 1.
func (g *Graph) timestep() float64 {
	var i info
	if s, ok := g.Metadata["adafire"].(string); ok && json.Unmarshal([]byte(s), &i) == nil && i.DT >= 1e-9 && i.DT <= 1e9 {
		return i.DT
	}
	return 1
}

// recognise returns the graph with burst neurons in the exact form in place of
// their primitives: an I node whose readers are thresholds at 1, 2, ... times
// one value (or the float32 before it), all of them read by the same nodes and
// by a Scale of minus that value that leads back.
func (g *Graph) recognise() *Graph {
	out := &Graph{Nodes: maps.Clone(g.Nodes), Metadata: g.Metadata}
	from, to := make(map[string][]string), make(map[string][]string)
	for _, e := range g.Edges {
		from[e[1]] = append(from[e[1]], e[0])
		to[e[0]] = append(to[e[0]], e[1])
	}
	replaced := make(map[string]string) // node to the IF that stands for it
	dropped := make(map[string]bool)
	for _, name := range g.Names() {
		v := g.Nodes[name]
		if v.Type != "I" || len(to[name]) == 0 || len(to[name]) > snn.MaxBurst {
			continue
		}
		b := g.burst(v, from, to)
		if b == nil {
			continue
		}
		node := *v
		node.Type = "IF"
		node.Name = strings.TrimSuffix(name, "_v")
		if node.Name == "" || g.Nodes[node.Name] != nil || out.Nodes[node.Name] != nil {
			node.Name = name
		}
		node.Arrays = map[string]*Array{"r": v.Arrays["r"], "v_threshold": b.threshold, "v_reset": constant(b.threshold.Shape, 0)}
		node.Metadata = Metadata{"adafire_neuron": "burst_if", "adafire_maxspike": len(b.spikes), "adafire_reset": "subtract", "adafire_tie": "ge"}
		delete(out.Nodes, name)
		out.Nodes[node.Name] = &node
		replaced[name] = node.Name
		delete(out.Nodes, b.reset)
		dropped[b.reset] = true
		for k, s := range b.spikes {
			delete(out.Nodes, s)
			if replaced[s] = node.Name; k > 0 {
				dropped[s] = true // one of them stands for all
			}
		}
	}
	for _, e := range g.Edges {
		if dropped[e[0]] || dropped[e[1]] {
			continue
		}
		for k, name := range e {
			if r, ok := replaced[name]; ok {
				e[k] = r
			}
		}
		if e[0] != e[1] {
			out.Edges = append(out.Edges, e)
		}
	}
	return out
}

type burstForm struct {
	threshold *Array
	spikes    []string // by threshold
	reset     string
}

// burst returns the parts of the exact form around an I node, nil if it is none.
func (g *Graph) burst(v *Node, from, to map[string][]string) *burstForm {
	b := &burstForm{spikes: slices.Clone(to[v.Name])}
	for _, s := range b.spikes {
		if g.Nodes[s].Type != "Threshold" || len(from[s]) != 1 {
			return nil
		}
	}
	slices.SortFunc(b.spikes, func(x, y string) int {
		a, c := g.Nodes[x].Arrays["threshold"].Data, g.Nodes[y].Arrays["threshold"].Data
		if len(a) > 0 && len(c) > 0 && a[0] != c[0] {
			if a[0] < c[0] {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	for _, name := range from[v.Name] {
		n := g.Nodes[name]
		if n.Type != "Scale" || len(to[name]) != 1 {
			continue
		}
		sources, spikes := slices.Clone(from[name]), slices.Clone(b.spikes)
		slices.Sort(sources)
		slices.Sort(spikes)
		if slices.Equal(sources, spikes) {
			b.reset = name
		}
	}
	if b.reset == "" {
		return nil
	}
	readers := func(s string) []string {
		r := slices.DeleteFunc(slices.Clone(to[s]), func(t string) bool { return t == b.reset })
		slices.Sort(r)
		return r
	}
	for _, s := range b.spikes[1:] {
		if !slices.Equal(readers(s), readers(b.spikes[0])) {
			return nil
		}
	}
	reset, r := g.Nodes[b.reset].Arrays["scale"].Data, v.Arrays["r"].Data
	b.threshold = constant(v.shape(), 0)
	dt := float32(g.timestep())
	for i := range b.threshold.Data {
		theta := -reset[i] * r[i] * dt
		for k, s := range b.spikes {
			want := float32(k+1) * theta
			if t := g.Nodes[s].Arrays["threshold"].Data[i]; t != want && t != math.Nextafter32(want, 0) {
				return nil
			}
		}
		if !(theta > 0) {
			return nil
		}
		b.threshold.Data[i] = theta
	}
	return b
}
