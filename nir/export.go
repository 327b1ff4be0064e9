package nir

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/snn"
)

// A Network is what is exported: a graph with folded batch norms, weights and
// biases in units of the activations, and its neurons, as snn.New takes them.
type Network struct {
	Graph *graph.Graph
	SNN   *snn.Config
}

// A Profile says how burst neurons are written (nir.md 4).
type Profile string

// The profiles. The zero value stands for Portable.
const (
	// Portable writes IF nodes; that they burst and subtract is metadata.
	Portable Profile = "portable"
	// Exact writes every layer as an integrator, a threshold for each spike and a
	// feedback, which needs no metadata but no simulator loads today.
	Exact Profile = "exact"
)

// Options of an export. The zero value is the portable profile.
type Options struct {
	Profile Profile
	// DT is the length of a timestep in NIR's unit of time, > 0; 0 stands for 1.
	// Neurons get r = 1/DT.
	DT float64
	// Flatten writes a fully connected layer behind a flatten as Flatten and
	// Affine, not as a convolution with a kernel as large as the map.
	Flatten bool
	// KeepGroups writes grouped convolutions as they are. nir-python's type check
	// fails on them; by default they are written densely, with zeros.
	KeepGroups bool
	// StartInput adds, in the exact profile, an input for the initial potentials of
	// every layer (X_start), to be fed in the first step.
	StartInput bool
	// Force replaces an existing file.
	Force bool
	// Classes are the names of the outputs, if they have names.
	Classes []string
}

// A Report says what an export did.
type Report struct {
	Warnings []string
	Layers   []LayerReport
	Nodes    int
}

// A LayerReport is about one layer of neurons.
type LayerReport struct {
	Node     string // in the network
	NIR      string // its node, or, in the exact profile, what its nodes' names begin with
	Neurons  int
	MaxSpike int
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// info is the JSON in the graph's metadata "adafire".
type info struct {
	Format    int      `json:"format"`
	Timesteps int      `json:"timesteps"`
	Threshold string   `json:"threshold"` // "folded": all are 1
	Shift     string   `json:"shift,omitempty"`
	Input     string   `json:"input,omitempty"`
	Readout   string   `json:"readout,omitempty"`
	Profile   Profile  `json:"profile,omitempty"`
	DT        float64  `json:"dt,omitempty"`
	Classes   []string `json:"classes,omitempty"`

	// What restores the network: its structure, its neurons, the options, and the
	// names of the tensors beside them.
	Structure  json.RawMessage  `json:"structure,omitempty"`
	Shapes     map[string][]int `json:"shapes,omitempty"` // of the parameters that are in the nodes
	Neurons    json.RawMessage  `json:"neurons,omitempty"`
	Tensors    []string         `json:"tensors,omitempty"`
	Flatten    bool             `json:"flatten,omitempty"`
	KeepGroups bool             `json:"keep_groups,omitempty"`
	StartInput bool             `json:"start_input,omitempty"`
}

// Export writes the network to a NIR file at path. It refuses, naming the node,
// what NIR cannot say. The network is not changed.
func Export(path string, net *Network, opt Options) (*Report, error) {
	g, report, err := Build(net, opt)
	if err != nil {
		return nil, err
	}
	if err := g.Write(path, opt.Force); err != nil {
		return nil, err
	}
	return report, nil
}

// maxElements bounds the weights of a file; grouped convolutions written densely
// may have many.
const maxElements = 1 << 31

// Build makes the graph that Export writes.
func Build(net *Network, opt Options) (*Graph, *Report, error) {
	switch {
	case opt.Profile == "":
		opt.Profile = Portable
	case opt.Profile != Portable && opt.Profile != Exact:
		return nil, nil, fmt.Errorf("profile %q: want %s or %s", opt.Profile, Portable, Exact)
	}
	if opt.DT == 0 {
		opt.DT = 1
	}
	if !(opt.DT >= 1e-9 && opt.DT <= 1e9) {
		return nil, nil, fmt.Errorf("time of a step %g: want 1e-9 to 1e9", opt.DT)
	}
	// What snn refuses, such as thresholds of 0 or graphs without neurons.
	if _, err := snn.New(net.Graph, net.SNN); err != nil {
		return nil, nil, err
	}
	switch cfg := net.SNN; {
	case cfg.Signed:
		return nil, nil, fmt.Errorf("signed neurons take spikes back, which NIR cannot say; convert without: %w", fileerr.ErrUnsupported)
	case cfg.Schedule == snn.ScheduleAccumulate:
		return nil, nil, fmt.Errorf("neurons that fire once, on the sum over the timesteps, cannot be said in NIR; convert with schedule %s: %w", snn.ScheduleSync, fileerr.ErrUnsupported)
	}
	l, err := lower(net, opt, maxElements)
	if err != nil {
		return nil, nil, err
	}
	if net.SNN.Shift == snn.ShiftInitial && opt.Profile == Portable {
		l.report.warn("NIR has no initial membrane potential: other readers get it spread over the timesteps (in the bias); for them, convert with shift %s", snn.ShiftPerStep)
	}
	if s := string(net.SNN.Weights); s != "" && s != "float32" {
		l.report.warn("weights are written as float32; the executor rounds them to %s, other readers do not", s)
	}
	if opt.Profile == Portable {
		for _, layer := range l.report.Layers {
			if layer.MaxSpike > 1 {
				l.report.warn("node %q: up to %d spikes per step are metadata; simulators of single spikes emit one", layer.NIR, layer.MaxSpike)
			}
		}
	}
	l.out.Metadata, err = l.describe(net)
	l.report.Nodes = len(l.out.Nodes)
	return l.out, l.report, err
}

// describe makes the graph's metadata.
func (l *lowering) describe(net *Network) (Metadata, error) {
	cfg := net.SNN
	i := info{Format: 1, Timesteps: cfg.Timesteps, Threshold: "folded", Input: "analog", Readout: "mean of output over T",
		Profile: l.opt.Profile, DT: l.opt.DT, Classes: l.opt.Classes,
		Flatten: l.opt.Flatten, KeepGroups: l.opt.KeepGroups, StartInput: l.opt.StartInput}
	switch cfg.Shift {
	case snn.ShiftPerStep:
		i.Shift = "per-step in bias"
	default:
		i.Shift = string(cfg.Shift)
	}
	var err error
	if i.Structure, err = l.g.MarshalJSON(); err != nil {
		return nil, err
	}
	neurons, tensors, err := cfg.Encode()
	if err != nil {
		return nil, err
	}
	i.Neurons = neurons
	arrays := make(Metadata)
	put := func(name string, a any) {
		arrays[fmt.Sprintf("t%d", len(i.Tensors))] = a
		i.Tensors = append(i.Tensors, name)
	}
	for _, layer := range cfg.Layers {
		for _, what := range []string{"threshold", "initial"} {
			if t := tensors["snn."+layer.Node+"."+what]; t != nil {
				put("snn."+layer.Node+"."+what, &Array{t.Shape, t.Data})
			}
		}
	}
	placed := make(map[string]bool)
	i.Shapes = make(map[string][]int)
	for _, p := range l.places {
		name := graph.ParamName(p.node.Name, p.role)
		placed[name] = true
		i.Shapes[name] = p.node.Params[p.role].Shape
		if d := p.differences(); d != nil {
			put("difference "+name, d)
		}
	}
	for _, n := range l.g.Nodes {
		for _, role := range []string{"weight", "bias", "mean", "var"} {
			if t := n.Params[role]; t != nil && !placed[graph.ParamName(n.Name, role)] {
				put(graph.ParamName(n.Name, role), &Array{t.Shape, t.Data})
			}
		}
	}
	b, err := json.Marshal(i)
	if err != nil {
		return nil, err
	}
	m := Metadata{"adafire": string(b)}
	if len(arrays) > 0 {
		m["adafire_tensors"] = arrays
	}
	return m, nil
}

// guess undoes a placement with rounding: the element whose value v, times
// factor and with what was folded in, has been stored.
func (p *placement) guess(element int, v float32, factor float64) float32 {
	x := float64(v)
	if p.fold != nil && p.fold.add != nil {
		x -= p.fold.add[element]
	}
	return float32(x / factor)
}

// differences returns, per element, how many float32 numbers lie between what
// guess finds and what it should find: 0 or 1 for most. Eight of them share an
// int64 where all fit into a byte, after a first number that says so (8 or 1).
// Nil stands for zeros.
func (p *placement) differences() []int64 {
	want := p.node.Params[p.role].Data
	d := make([]int64, len(want))
	any, small := false, true
	p.visit(func(element int, to *Array, at int, factor float64) {
		k := ordered(want[element]) - ordered(p.guess(element, to.Data[at], factor))
		d[element] = k
		any = any || k != 0
		small = small && k == int64(int8(k))
	})
	switch {
	case !any:
		return nil
	case !small:
		return append([]int64{1}, d...)
	}
	out := make([]int64, 1, 2+len(d)/8)
	out[0] = 8
	for part := range slices.Chunk(d, 8) {
		var v uint64
		for i, k := range part {
			v |= uint64(uint8(k)) << (8 * i)
		}
		out = append(out, int64(v))
	}
	return out
}

// unpack is the inverse of differences for n elements.
func unpack(d []int64, n int) ([]int64, error) {
	if len(d) == 0 {
		return make([]int64, n), nil
	}
	switch {
	case d[0] == 1 && len(d) == n+1:
		return d[1:], nil
	case d[0] == 8 && len(d) == 1+(n+7)/8:
		out := make([]int64, n)
		for i := range out {
			out[i] = int64(int8(uint64(d[1+i/8]) >> (8 * (i % 8))))
		}
		return out, nil
	}
	return nil, fmt.Errorf("%d differences in form %d for %d elements", len(d)-1, d[0], n)
}

// ordered numbers float32 values in their order, -0 before 0.
func ordered(v float32) int64 {
	b := int64(math.Float32bits(v))
	if b >= 1<<31 {
		return 1<<31 - 1 - b
	}
	return b
}

// fromOrdered is the inverse of ordered.
func fromOrdered(k int64) float32 {
	if k < 0 {
		k = 1<<31 - 1 - k
	}
	return math.Float32frombits(uint32(k))
}
