package onnx

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// An SNNForm says how time is written.
type SNNForm string

// The forms.
const (
	// SNNLoop is a Loop whose trip count is an input of the model, "timesteps",
	// with the network's own number as its default. The input is one frame.
	SNNLoop SNNForm = "loop"
	// SNNScan is a Scan over an input of one frame per timestep,
	// [T, N, channels, rows, columns].
	SNNScan SNNForm = "scan"
	// SNNUnrolled has a copy of the network for each of at most 16 timesteps, for
	// runtimes without control flow.
	SNNUnrolled SNNForm = "unrolled"
	// SNNStaircase has no time: every activation is rounded to the counts that its
	// neurons would emit on the mean current, 0..T*maxspike. It is what a network
	// with schedule accumulate computes; of others it differs by their unevenness
	// error.
	SNNStaircase SNNForm = "staircase"
)

const maxUnrolled = 16

// SNNOptions are the choices of ExportSNN; the zero value is the default.
type SNNOptions struct {
	Form SNNForm // "" stands for SNNLoop
	// Counts adds an output for each layer of neurons, NODE.spikes: the counts of
	// every timestep, [T, N, channels, rows, columns]; with SNNStaircase their sums
	// over the timesteps, T being 1.
	Counts bool
	// ExternalData, Classes, Mean, Std, Version and Force are those of ExportOptions.
	ExternalData bool
	Classes      []string
	Mean, Std    []float32
	Version      string
	Force        bool
}

// An SNNReport says what an export did.
type SNNReport struct {
	Form     SNNForm
	Nodes    int // in the file, subgraphs included
	Warnings []string
}

// ExportSNN writes a spiking network as an ONNX model that computes its spikes with
// operators every runtime has (onnx.md 10): thresholds are folded into the weights,
// so that wires carry counts, and a layer of neurons is, in every timestep,
//
//	u = membrane + (current + half); n = Clip(Floor(u), 0, maxspike); membrane = u - n
//
// The output is the mean over the timesteps. g and cfg are as snn.New takes them.
// What has no such form is refused, naming the node.
func ExportSNN(path string, g *graph.Graph, cfg *snn.Config, opt SNNOptions) (*SNNReport, error) {
	f, report, err := ExportSNNFile(g, cfg, opt)
	if err != nil {
		return nil, err
	}
	return report, f.Write(path, opt.ExternalData, opt.Force)
}

// ExportSNNFile makes the file that ExportSNN writes.
func ExportSNNFile(g *graph.Graph, cfg *snn.Config, opt SNNOptions) (*File, *SNNReport, error) {
	if opt.Form == "" {
		opt.Form = SNNLoop
	}
	report := &SNNReport{Form: opt.Form}
	g = g.CloneShared()
	if _, err := snn.New(g, cfg); err != nil { // what package snn refuses
		return nil, nil, err
	}
	if in := len(g.InputNodes()); in != 1 || len(g.Outputs) != 1 {
		return nil, nil, fmt.Errorf("%d inputs and %d outputs, want one of each: %w", in, len(g.Outputs), fileerr.ErrUnsupported)
	}
	accumulates := cfg.Schedule == snn.ScheduleAccumulate
	switch {
	case !slices.Contains([]SNNForm{SNNLoop, SNNScan, SNNUnrolled, SNNStaircase}, opt.Form):
		return nil, nil, fmt.Errorf("form %q: want %s, %s, %s or %s", opt.Form, SNNLoop, SNNScan, SNNUnrolled, SNNStaircase)
	case cfg.Signed:
		return nil, nil, fmt.Errorf("signed neurons take spikes back, which is not exported; convert without: %w", fileerr.ErrUnsupported)
	case accumulates && opt.Form != SNNStaircase:
		return nil, nil, fmt.Errorf("neurons with schedule %s fire once, which is form %s, not %s: %w", cfg.Schedule, SNNStaircase, opt.Form, fileerr.ErrUnsupported)
	case opt.Form == SNNUnrolled && cfg.Timesteps > maxUnrolled:
		return nil, nil, fmt.Errorf("%d timesteps, form %s has at most %d; use form %s: %w", cfg.Timesteps, opt.Form, maxUnrolled, SNNLoop, fileerr.ErrUnsupported)
	}
	if cfg.Weights == snn.I8 || cfg.Weights == snn.I16 {
		report.Warnings = append(report.Warnings, fmt.Sprintf("weights are written as floats, the whole numbers of %s times their steps", cfg.Weights))
	}
	running := cfg.Clone()
	if opt.Form == SNNStaircase {
		running = staircase(cfg, report)
	}
	x := &snnExporter{exporter: newExporter("adafire_snn"), g: g, cfg: running, uses: g.Consumers(), form: opt.Form,
		wires: make(map[*graph.Node]*snnWire), values: make(map[*graph.Node]exval), counts: opt.Counts}
	for _, what := range []string{"input", "output", "timesteps"} {
		x.names[what] = true
	}
	for _, n := range snn.Activations(g) {
		if opt.Counts {
			x.names[n.Name+".spikes"] = true
		}
	}
	if err := x.classify(); err != nil {
		return nil, nil, err
	}
	x.chooseScales()
	if err := x.write(); err != nil {
		return nil, nil, err
	}
	x.dropIdentities()
	f := x.file(opt.Version)
	about, err := aboutSNN(cfg, opt.Form)
	if err != nil {
		return nil, nil, err
	}
	f.Metadata = append(append(f.Metadata, Entry{"adafire.graph.sha256", graphSum(g)}), about...)
	more, err := aboutInputs(opt.Classes, opt.Mean, opt.Std)
	f.Metadata = append(f.Metadata, more...)
	report.Nodes = countNodes(f.Graph)
	return f, report, err
}

func countNodes(g *GraphDef) int {
	total := len(g.Nodes)
	for _, n := range g.Nodes {
		for _, a := range n.Attributes {
			if a.G != nil {
				total += countNodes(a.G)
			}
		}
	}
	return total
}

// staircase returns settings of one timestep that compute what neurons emit on the
// sum of T equal currents: thresholds of a T-th, T times the burst limit.
func staircase(cfg *snn.Config, report *SNNReport) *snn.Config {
	out := cfg.Clone()
	out.Timesteps = 1
	if out.Shift == snn.ShiftPerStep {
		out.Shift = snn.ShiftInitial // half a threshold in all
	}
	dropped := false
	for i := range out.Layers {
		l := &out.Layers[i]
		l.MaxSpike *= cfg.Timesteps
		if cfg.Schedule != snn.ScheduleAccumulate && l.Initial != nil {
			dropped, l.Initial = true, nil
		}
		for _, values := range [][]float32{l.Threshold, l.Initial} {
			for k := range values {
				values[k] /= float32(cfg.Timesteps)
			}
		}
	}
	if dropped {
		report.Warnings = append(report.Warnings, "the staircase leaves calibrated potentials out: they correct the unevenness error, which it does not have")
	}
	return out
}

// aboutSNN is the metadata of the neurons.
func aboutSNN(cfg *snn.Config, form SNNForm) ([]Entry, error) {
	maxSpike, threshold := make(map[string]int), make(map[string][]float32)
	for _, l := range cfg.Layers {
		maxSpike[l.Node], threshold[l.Node] = l.MaxSpike, l.Threshold
	}
	m, err := json.Marshal(maxSpike) // maps are written in the order of their keys
	if err != nil {
		return nil, err
	}
	t, err := json.Marshal(threshold)
	if err != nil {
		return nil, err
	}
	schedule := cfg.Schedule
	if schedule == "" {
		schedule = snn.ScheduleSync
	}
	return []Entry{{"adafire.kind", "snn"}, {"adafire.snn.form", string(form)}, {"adafire.snn.timesteps", strconv.Itoa(cfg.Timesteps)},
		{"adafire.snn.neuron", "burst_if_soft_reset"}, {"adafire.snn.shift", string(cfg.Shift)}, {"adafire.snn.schedule", string(schedule)},
		{"adafire.snn.max_pool", string(cfg.MaxPool)}, {"adafire.snn.threshold", "1 (folded)"},
		{"adafire.snn.maxspike", string(m)}, {"adafire.snn.thresholds", string(t)}}, nil
}

// A snnWire is what is known about the output of a node: what is written, times
// scale per channel (nil: 1), is in units of the activations.
type snnWire struct {
	timed   bool // varies in time
	spikes  bool // holds counts
	readout bool // computed once, on means over time
	mean    bool // the readout reads its mean
	layer   int  // of neurons, -1 for others
	most    int  // largest count
	scale   []float32
}

// A snnState is a value that goes from one timestep to the next.
type snnState struct {
	in      exval  // as a timestep reads it
	out     string // as it leaves it
	initial string // before the first
}

type snnExporter struct {
	*exporter
	g      *graph.Graph
	cfg    *snn.Config
	uses   map[*graph.Node][]*graph.Node
	form   SNNForm
	wires  map[*graph.Node]*snnWire
	values map[*graph.Node]exval
	counts bool

	half   string // added in every timestep, "" for nothing
	steps  string // timesteps as a float
	states map[string]*snnState
	order  []string                     // of states
	spikes map[*graph.Node][]string     // per layer, a value per timestep written out
	folded map[*graph.Node]graph.Params // of weights between counts
	means  map[*graph.Node]exval
	tall   map[*graph.Node]exval // what a mean adds up, as it lies
}

// write makes all nodes.
func (x *snnExporter) write() error {
	x.states, x.spikes = make(map[string]*snnState), make(map[*graph.Node][]string)
	x.folded, x.means, x.tall = make(map[*graph.Node]graph.Params), make(map[*graph.Node]exval), make(map[*graph.Node]exval)
	in := x.g.InputNodes()[0]
	v := exval{name: "input", shape: in.Shape, layout: inputLayout(in, x.uses), batch: true}
	x.input = v
	declared := v.declare("N")
	if x.form == SNNScan {
		declared.Shape = append([]DimDef{{Value: -1, Param: "T"}}, declared.Shape...)
		x.batchAxis = 1
	}
	x.main.def.Inputs = append(x.main.def.Inputs, declared)
	x.values[in] = v
	x.timesteps()
	for _, n := range x.g.Nodes {
		if w := x.wires[n]; !w.timed && n != in {
			if err := x.plain(n); err != nil {
				return err
			}
		}
	}
	var err error
	switch x.form {
	case SNNLoop, SNNScan:
		err = x.loop(in)
	default:
		for t := range x.cfg.Timesteps {
			if x.cfg.Timesteps > 1 {
				x.suffix = fmt.Sprintf(".t%d", t+1)
			}
			if err = x.timestep(); err != nil {
				return err
			}
			for _, s := range x.states {
				s.in.name = s.out
			}
		}
		x.suffix = ""
		for n := range x.tall {
			x.tall[n] = renamed(x.tall[n], x.states["sum "+n.Name].out)
		}
	}
	if err != nil {
		return err
	}
	if err := x.readout(); err != nil {
		return err
	}
	return x.countOutputs()
}

func renamed(v exval, name string) exval {
	v.name = name
	return v
}

// timesteps writes what depends on the number of timesteps.
func (x *snnExporter) timesteps() {
	switch x.form {
	case SNNLoop:
		x.main.def.Inputs = append(x.main.def.Inputs, &ValueDef{Name: "timesteps", Kind: "tensor", Type: int32(int64Type), HasShape: true})
		raw := make([]byte, 8)
		raw[0], raw[1] = byte(x.cfg.Timesteps), byte(x.cfg.Timesteps>>8)
		x.main.def.Initializers = append(x.main.def.Initializers, NewTensor("timesteps", int32(int64Type), nil, raw))
		x.steps = x.cast("timesteps_float", "timesteps", float32Type)
	case SNNScan:
		shape := x.op("Shape", "frames", []string{"input"}, exInt("start", 0), exInt("end", 1))
		x.steps = x.cast("timesteps_float", x.op("Squeeze", "frame_count", []string{shape, x.ints("axis", 0)}), float32Type)
	default:
		x.steps = x.number(float64(x.cfg.Timesteps))
	}
	if x.cfg.Shift == snn.ShiftPerStep {
		if x.form == SNNUnrolled {
			x.half = x.number(float64(1 / float32(2*x.cfg.Timesteps)))
		} else {
			x.half = x.op("Div", "half", []string{x.number(0.5), x.steps})
		}
	}
}

// loop writes a timestep as the body of a Loop or Scan.
func (x *snnExporter) loop(in *graph.Node) error {
	body := newScope("timestep")
	x.scope = body
	b := body.def
	var keep string
	if x.form == SNNLoop {
		step, cond := x.unique("step"), x.unique("condition")
		b.Inputs = append(b.Inputs, &ValueDef{Name: step, Kind: "tensor", Type: int32(int64Type), HasShape: true},
			&ValueDef{Name: cond, Kind: "tensor", Type: int32(boolType), HasShape: true})
		keep = x.op("Identity", "continue", []string{cond})
		b.Outputs = append(b.Outputs, &ValueDef{Name: keep, Kind: "tensor", Type: int32(boolType), HasShape: true})
	} else {
		x.values[in] = renamed(x.values[in], x.unique("frame"))
	}
	if err := x.timestep(); err != nil {
		return err
	}
	var initial, final []string
	for _, key := range x.order {
		s := x.states[key]
		b.Inputs = append(b.Inputs, s.in.declare("N"))
		b.Outputs = append(b.Outputs, renamed(s.in, s.out).declare("N"))
		initial = append(initial, s.initial)
	}
	if x.form == SNNScan {
		b.Inputs = append(b.Inputs, x.values[in].declare("N"))
	}
	for _, n := range snn.Activations(x.g) {
		if x.counts {
			v := x.values[n]
			v = x.in(v, v.keep())
			// A scan output needs a value of its own.
			out := x.op("Identity", n.Name+".emitted", []string{v.name})
			b.Outputs = append(b.Outputs, renamed(v, out).declare("N"))
		}
	}
	x.scope = x.main
	for _, key := range x.order {
		final = append(final, x.unique(x.states[key].in.name+".final"))
	}
	for i, key := range x.order {
		x.states[key].out = final[i]
	}
	for n := range x.tall {
		x.tall[n] = renamed(x.tall[n], x.states["sum "+n.Name].out)
	}
	for _, n := range snn.Activations(x.g) {
		if x.counts {
			final = append(final, n.Name+".spikes")
		}
	}
	attr := &Attribute{Name: "body", Type: attrGraph, G: b}
	if x.form == SNNLoop {
		x.ops("Loop", "time", append([]string{"timesteps", ""}, initial...), final, attr)
	} else {
		x.ops("Scan", "time", append(initial, "input"), final, attr, exInt("num_scan_inputs", 1))
	}
	return nil
}

// state returns a state as the current timestep reads it, made like v at first;
// start is its first value, for all samples: nil for zeros.
func (x *snnExporter) state(key string, v exval, start *tensor.Tensor) (s *snnState, first bool) {
	if s = x.states[key]; s != nil {
		return s, false
	}
	s = &snnState{in: v}
	s.in.source = ""
	x.states[key] = s
	x.order = append(x.order, key)
	if x.form != SNNLoop && x.form != SNNScan {
		if start != nil {
			s.initial = x.param(key+".initial", v, start)
			if start.Len() == 1 {
				s.initial = x.number(float64(start.Data[0]))
			}
		}
		s.in.name = s.initial
		return s, true
	}
	s.in.name = x.unique(key)
	x.outside(func() {
		shape := x.op("Concat", key+".shape", []string{x.samples(), x.ints(key+".dims", v.fileShape()...)}, exInt("axis", 0))
		switch {
		case start == nil:
			zero := NewTensor("", int32(float32Type), []int64{1}, make([]byte, 4))
			s.initial = x.op("ConstantOfShape", key+".zeros", []string{shape}, &Attribute{Name: "value", Type: attrTensor, T: zero})
		case start.Len() == 1:
			s.initial = x.op("Expand", key+".start", []string{x.number(float64(start.Data[0])), shape})
		default:
			s.initial = x.op("Expand", key+".start", []string{x.initialPotentials(key, v, start), shape})
		}
	})
	return s, true
}

// initialPotentials stores one value per neuron, with an axis for the samples.
func (x *snnExporter) initialPotentials(key string, v exval, t *tensor.Tensor) string {
	data := v.permuteRows(t.Data, 1)
	if v.layout == channelsFirst {
		p, err := (&tensor.Tensor{Shape: []int{t.Len() / v.shape.Channels(), v.shape.Channels()}, Data: t.Data}).Permute(1, 0)
		if err != nil {
			panic("onnx: " + err.Error()) // one value per neuron
		}
		data = p.Data
	}
	return x.floats(key+".initial", append([]int{1}, v.fileShape()...), data)
}

// timestep writes all nodes that vary in time.
func (x *snnExporter) timestep() error {
	for _, n := range x.g.Nodes {
		w := x.wires[n]
		if !w.timed || w.readout || len(n.Inputs) == 0 {
			continue
		}
		var err error
		switch {
		case w.layer >= 0:
			err = x.neurons(n)
		case w.spikes && isTimedMax(n) && x.cfg.MaxPool == snn.MaxPoolExact && (x.cfg.Timesteps > 1 || x.form == SNNLoop || x.form == SNNScan):
			err = x.maxPool(n)
		default:
			err = x.plain(n)
		}
		if err != nil {
			return err
		}
		if w.mean {
			x.accumulate(n)
		}
	}
	return nil
}

func isTimedMax(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.MaxPool2D, *graph.GlobalMaxPool:
		return true
	}
	return false
}

// neurons writes a layer of neurons.
func (x *snnExporter) neurons(n *graph.Node) error {
	w, from := x.wires[n], x.wires[n.Inputs[0]]
	l := &x.cfg.Layers[w.layer]
	c := n.Shape.Channels()
	current := x.scaled(n, x.values[n.Inputs[0]], ratios(from.scale, w.scale, c))
	start := float32(0)
	if x.cfg.Shift == snn.ShiftInitial {
		start = 0.5
	}
	var first *tensor.Tensor
	switch {
	case l.Initial != nil:
		first = tensor.New(n.Shape...)
		for k, v := range l.Initial {
			first.Data[k] = v/w.scale[k%c] + start
		}
	case start != 0:
		first = &tensor.Tensor{Shape: []int{1}, Data: []float32{start}}
	}
	s, _ := x.state(n.Name+".membrane", current, first)
	input := current.name
	if x.half != "" {
		input = x.op("Add", n.Name+".shifted", []string{input, x.half})
	}
	u := input
	if s.in.name != "" {
		u = x.op("Add", n.Name+".potential", []string{s.in.name, input})
	}
	whole := x.op("Floor", n.Name+".whole", []string{u})
	out := current
	out.shape, out.source = n.Shape, ""
	out.name = x.op("Clip", n.Name, []string{whole, x.number(0), x.number(float64(l.MaxSpike))})
	if x.form != SNNStaircase {
		s.out = x.op("Sub", n.Name+".rest", []string{u, out.name})
	}
	x.values[n] = out
	if x.counts && x.form != SNNLoop && x.form != SNNScan {
		v := x.in(out, out.keep())
		x.spikes[n] = append(x.spikes[n], x.op("Unsqueeze", n.Name+".frame", []string{v.name, x.ints("axis0", 0)}))
	}
	return nil
}

// scaled multiplies by factors per channel, nil for none.
func (x *snnExporter) scaled(n *graph.Node, v exval, f []float32) exval {
	if f == nil {
		return v
	}
	out := v
	out.source = ""
	out.name = x.op("Mul", n.Name+".scaled", []string{v.name, x.param(n.Name+".factor", v, &tensor.Tensor{Shape: []int{len(f)}, Data: f})})
	return out
}

// maxPool emits what the maximum of the cumulative counts grows by.
func (x *snnExporter) maxPool(n *graph.Node) error {
	v := x.in(x.values[n.Inputs[0]], channelsFirst)
	s, _ := x.state(n.Name+".cumulative", v, nil)
	sum := v
	if s.in.name != "" {
		sum.name = x.op("Add", n.Name+".sum", []string{s.in.name, v.name})
	}
	now := &graph.Node{Name: n.Name + ".now", Op: n.Op, Inputs: n.Inputs, Shape: n.Shape}
	after, err := x.emit(now, nil, []exval{sum})
	if err != nil {
		return err
	}
	x.values[n] = after
	if s.in.name != "" {
		now.Name = n.Name + ".before"
		before, err := x.emit(now, nil, []exval{renamed(sum, s.in.name)})
		if err != nil {
			return err
		}
		x.values[n] = renamed(after, x.op("Sub", n.Name, []string{after.name, before.name}))
	}
	s.out = sum.name
	return nil
}

// accumulate adds a value up over the timesteps.
func (x *snnExporter) accumulate(n *graph.Node) {
	v := x.values[n]
	key := "sum " + n.Name
	s, _ := x.state(key, v, nil)
	x.tall[n] = v
	s.out = v.name
	if s.in.name != "" {
		s.out = x.op("Add", n.Name+".total", []string{s.in.name, v.name})
	}
}

// readout writes what is computed once, on means over time.
func (x *snnExporter) readout() error {
	mean := func(n *graph.Node) exval {
		w := x.wires[n]
		if !w.timed || w.readout {
			return x.values[n]
		}
		if v, ok := x.means[n]; ok {
			return v
		}
		v := x.tall[n]
		v.source = ""
		if x.form == SNNLoop || x.form == SNNScan || x.cfg.Timesteps > 1 {
			v.name = x.op("Mul", n.Name+".mean", []string{v.name, x.inverse()})
		}
		x.means[n] = v
		return v
	}
	for _, n := range x.g.Nodes {
		if !x.wires[n].readout {
			continue
		}
		if err := x.plainOn(n, mean); err != nil {
			return err
		}
	}
	out := x.g.Outputs[0]
	v := x.scaled(out, mean(out), ratios(x.wires[out].scale, nil, out.Shape.Channels()))
	v = x.in(v, v.keep())
	x.main.def.Nodes = append(x.main.def.Nodes, &NodeDef{Name: "output", Op: "Identity", Inputs: []string{v.name}, Outputs: []string{"output"}})
	v.name = "output"
	x.main.def.Outputs = append(x.main.def.Outputs, v.declare("N"))
	return nil
}

// inverse is one over the number of timesteps.
func (x *snnExporter) inverse() string {
	if name, ok := x.main.known["inverse"]; ok {
		return name
	}
	name := ""
	if x.form == SNNUnrolled {
		name = x.number(float64(1 / float32(x.cfg.Timesteps)))
	} else {
		name = x.op("Reciprocal", "timesteps_inverse", []string{x.steps})
	}
	x.main.known["inverse"] = name
	return name
}

// countOutputs declares the counts as outputs.
func (x *snnExporter) countOutputs() error {
	if !x.counts {
		return nil
	}
	for _, n := range snn.Activations(x.g) {
		name := n.Name + ".spikes"
		v := x.values[n]
		v.layout = v.keep()
		v.name = name
		d := v.declare("N")
		time := DimDef{Value: -1, Param: "T"}
		if x.form != SNNLoop && x.form != SNNScan {
			time = DimDef{Value: int64(x.cfg.Timesteps)}
			x.ops("Concat", name, x.spikes[n], []string{name}, exInt("axis", 0))
		}
		d.Shape = append([]DimDef{time}, d.Shape...)
		x.main.def.Outputs = append(x.main.def.Outputs, d)
	}
	return nil
}
