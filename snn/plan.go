package snn

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
)

// wireKind says how a node's output is held while a network runs.
type wireKind uint8

const (
	analog  wireKind = iota // does not vary in time: float32 [sample][value]
	current                 // varies in time: float32 [sample][timestep][value]; also counts that do not fit a byte
	counts                  // spike counts: uint8 [sample][timestep][value]
)

// A wire is a node's output: what is stored, times scale per channel, is the
// value in units of the ANN's activations. A scale of nil is 1.
type wire struct {
	node   *graph.Node
	kind   wireKind
	size   int // values per sample (and timestep)
	scale  []float32
	spikes bool // what is held are spike counts, in bytes or as whole numbers in floats
	most   int  // the largest (negative: without its sign) count, where spikes or counts are held
	// emitters are the layers whose spikes travel here as counts, with the
	// channels they have; several behind a concat, none on other wires.
	emitters []emitter
	readout  bool // evaluated once, on the mean over time
	mean     bool // a readout node reads the mean of this wire
	rule     rule
	index    *indexMap // of operations that move values
}

// An emitter is a layer of neurons with a number of consecutive channels.
type emitter struct{ layer, channels int }

// A step of the plan produces one wire, for all timesteps of a group of samples.
type step interface {
	run(r *run)
}

// plan is what New compiles a graph to.
type plan struct {
	wires    []*wire // one per node, in graph order
	steps    []step  // steps[i] produces wires[i]; nil for inputs
	index    map[*graph.Node]int
	readout  []int // wires evaluated on means, in order
	output   int
	outScale []float32 // of the output, nil for 1
	input    int
	fires    []*fireStep
	frees    [][]int // wires that nothing reads any more, per step
	lasting  []int   // analog wires that are read in every timestep or by the readout
	weights  Precision
	signed   bool
	choice   choice
}

func compile(g *graph.Graph, cfg *Config, c choice) (*plan, error) {
	inputs := g.InputNodes()
	if len(inputs) != 1 || len(g.Outputs) != 1 {
		return nil, fmt.Errorf("%d inputs and %d outputs: a spiking network has one of each", len(inputs), len(g.Outputs))
	}
	p := &plan{index: make(map[*graph.Node]int, len(g.Nodes)), weights: cfg.Weights, signed: cfg.Signed, choice: c}
	for i, n := range g.Nodes {
		p.index[n] = i
		p.wires = append(p.wires, &wire{node: n, size: n.Shape.Numel()})
	}
	p.steps = make([]step, len(p.wires))
	p.input, p.output = p.index[inputs[0]], p.index[g.Outputs[0]]
	uses := g.Consumers()
	if err := p.classify(g, cfg, uses); err != nil {
		return nil, err
	}
	p.chooseScales(g, cfg, uses)
	p.outScale = factor(p.wires[p.output].scale, nil, g.Outputs[0].Shape.Channels())
	for i, n := range g.Nodes {
		if i == p.input {
			continue
		}
		s, err := p.newStep(n, cfg, uses)
		if err != nil {
			return nil, err
		}
		p.steps[i] = s
	}
	p.findLastUses()
	return p, nil
}

// classify decides what varies in time, what are counts, and what is read out
// from means only.
func (p *plan) classify(g *graph.Graph, cfg *Config, uses map[*graph.Node][]*graph.Node) error {
	layer := 0
	for i, n := range g.Nodes {
		w := p.wires[i]
		if graph.IsActivation(n) {
			if err := isNeuron(n); err != nil {
				return err
			}
			w.kind, w.spikes, w.emitters = counts, true, []emitter{{layer, n.Shape.Channels()}}
			w.most = cfg.Layers[layer].MaxSpike
			if cfg.wide(layer) {
				w.kind = current
			}
			layer++
			continue
		}
		for _, in := range n.Inputs {
			if from := p.wires[p.index[in]]; from.kind != analog {
				w.kind = current
			}
		}
		if w.rule = ruleOf(n, p.varies); w.rule == copies && w.index == nil {
			w.index = newIndexMap(n)
		}
		if w.kind == analog {
			continue
		}
		all, bytes := true, true
		for _, in := range n.Inputs {
			from := p.wires[p.index[in]]
			all, bytes = all && from.spikes, bytes && from.kind == counts
			w.most = max(w.most, from.most)
		}
		passes := false
		switch n.Op.(type) {
		case *graph.MaxPool2D, *graph.GlobalMaxPool:
			passes, w.spikes = all, all
		case *graph.Flatten, *graph.Concat, *graph.Identity, *graph.Dropout:
			passes, w.spikes = true, all
		case *graph.Upsample:
			passes = n.Op.(*graph.Upsample).Mode == "nearest"
			w.spikes = passes && all
		case *graph.AvgPool2D:
			// Sums of counts that fit a byte stay counts for integer layers.
			if window := sumWindow(n); p.weights.integer() && bytes && window*w.most <= math.MaxUint8 && window > 0 {
				passes, w.most = true, window*w.most
			}
		}
		if w.rule == copies {
			passes = p.classifyIndex(n, w, all)
		}
		if passes && bytes {
			w.kind = counts
		}
		switch n.Op.(type) {
		case *graph.Flatten:
			if from := p.wires[p.index[n.Inputs[0]]]; w.spikes {
				for range n.Inputs[0].Shape.Positions() {
					w.emitters = joinEmitters(w.emitters, from.emitters)
				}
			}
		default:
			if w.spikes && w.rule != copies {
				for _, in := range n.Inputs {
					w.emitters = append(w.emitters, p.wires[p.index[in]].emitters...)
				}
			}
		}
	}
	if p.wires[p.output].kind == analog {
		return fmt.Errorf("no spiking layer lies between the input and the output")
	}
	// From the back: a linear node whose readers are all readouts is one too.
	for i := len(p.wires) - 1; i >= 0; i-- {
		w := p.wires[i]
		readers := uses[w.node]
		if w.kind == analog || graph.IsActivation(w.node) || p.everyStep(w, cfg) || (len(readers) == 0 && i != p.output) {
			continue
		}
		w.readout = true
		for _, r := range readers {
			w.readout = w.readout && p.wires[p.index[r]].readout
		}
	}
	for i, n := range g.Nodes {
		w := p.wires[i]
		if !w.readout {
			if w.rule == behindOnly && w.kind != analog && !graph.IsActivation(n) {
				return fmt.Errorf("node %q: a %s inside the network cannot be represented by spikes; only after the last neurons", n.Name, n.Kind())
			}
			continue
		}
		p.readout = append(p.readout, i)
		for _, in := range n.Inputs {
			from := p.wires[p.index[in]]
			from.mean = from.mean || !from.readout
		}
	}
	if out := p.wires[p.output]; !out.readout {
		out.mean = true
	}
	return nil
}

// sumWindow returns by which number an average pool divides the sums of all its
// windows, 0 if that is not the same for all.
func sumWindow(n *graph.Node) int {
	op := n.Op.(*graph.AvgPool2D)
	h, w, _ := n.Inputs[0].Shape.HWC()
	oh, ow, _ := n.Shape.HWC()
	if (oh-1)*op.Stride[0]+op.Kernel[0] > h+op.Pad[0]+op.Pad[2] || (ow-1)*op.Stride[1]+op.Kernel[1] > w+op.Pad[1]+op.Pad[3] {
		return 0 // rounded up: windows reach beyond the padding
	}
	if !op.CountIncludePad && op.Pad != (graph.Pad{}) {
		return 0
	}
	return op.Kernel[0] * op.Kernel[1]
}

func isTimedMaxPool(w *wire) bool {
	switch w.node.Op.(type) {
	case *graph.MaxPool2D, *graph.GlobalMaxPool:
		return true
	}
	return false
}

// everyStep says whether a node that is no neuron must run in every timestep even
// behind the last neurons: max pools of spike counts, which are counted, and those
// whose mean is not the maximum of the means.
func (p *plan) everyStep(w *wire, cfg *Config) bool {
	return isTimedMaxPool(w) && (w.spikes || cfg.MaxPool == MaxPoolPerStep) || w.recounts()
}

// chooseScales walks backwards for what the readers want (neurons want their
// current in units of their thresholds), then forwards.
func (p *plan) chooseScales(g *graph.Graph, cfg *Config, uses map[*graph.Node][]*graph.Node) {
	want := make(map[*graph.Node][]float32)
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if !freeScale(n) {
			continue
		}
		var scale []float32
		for _, r := range uses[n] {
			var s []float32
			switch {
			case graph.IsActivation(r):
				l := p.wires[p.index[r]].emitters[0].layer
				s = cfg.Layers[l].perChannel(r.Shape.Channels())
			case r.Kind() == "add":
				s = want[r]
			default:
				continue // takes any scale
			}
			if s == nil || (scale != nil && !slices.Equal(scale, s)) {
				scale = nil
				break
			}
			scale = s
		}
		want[n] = scale
	}
	for i, n := range g.Nodes {
		w := p.wires[i]
		switch {
		case len(n.Inputs) == 0:
		case graph.IsActivation(n):
			w.scale = cfg.Layers[w.emitters[0].layer].perChannel(n.Shape.Channels())
		case freeScale(n):
			w.scale = want[n]
		case p.sumsCounts(n):
			w.scale = slices.Clone(p.wires[p.index[n.Inputs[0]]].scale)
			for ch := range w.scale {
				w.scale[ch] /= float32(sumWindow(n))
			}
		case w.index != nil:
			w.scale = w.index.scale(p.scales(n))
		default:
			w.scale = passedScale(n, p.scales(n))
		}
	}
}

// sumsCounts says whether the node is an average pool whose output are the sums
// of counts, as bytes.
func (p *plan) sumsCounts(n *graph.Node) bool {
	_, ok := n.Op.(*graph.AvgPool2D)
	w := p.wires[p.index[n]]
	return ok && w.kind == counts && !w.readout
}

// scales returns the scales of a node's inputs.
func (p *plan) scales(n *graph.Node) [][]float32 {
	s := make([][]float32, len(n.Inputs))
	for i, in := range n.Inputs {
		s[i] = p.wires[p.index[in]].scale
	}
	return s
}

func (p *plan) inputs(n *graph.Node) []int {
	at := make([]int, len(n.Inputs))
	for i, in := range n.Inputs {
		at[i] = p.index[in]
	}
	return at
}

func (p *plan) newStep(n *graph.Node, cfg *Config, uses map[*graph.Node][]*graph.Node) (step, error) {
	i := p.index[n]
	w := p.wires[i]
	if graph.IsActivation(n) {
		f := p.newFire(n, cfg, uses)
		p.fires = append(p.fires, f)
		return f, nil
	}
	if p.driver(n, uses) != nil || p.projects(n, uses) {
		return nil, nil // runs inside the step of its neurons
	}
	if w.kind == counts && !w.readout {
		return p.newCountStep(n, cfg)
	}
	if w.spikes && w.rule == copies && !w.readout { // counts in floats
		return &wideIndexStep{in: p.inputs(n), out: i, index: w.index}, nil
	}
	if w.spikes && isTimedMaxPool(w) {
		return newMaxStep(p.index[n.Inputs[0]], i, n), nil
	}
	if p.quantisable(n) {
		if l := p.newIntLayer([]*graph.Node{n}, w.scale); l != nil {
			return &intStep{out: i, layer: l}, nil
		}
	}
	if isConv(n) && !w.readout && p.wires[p.index[n.Inputs[0]]].kind == counts {
		in := p.index[n.Inputs[0]]
		if c := newConv(n, p.wires[in].scale, w.scale, forCounts); c.events != nil {
			return &eventStep{in: in, out: i, conv: c}, nil
		}
	}
	var fn function
	if w.index != nil {
		fn = w.index.function(p.scales(n))
	} else {
		var err error
		if fn, err = newFunction(n, p.scales(n), w.scale, p.weights.valueUse()); err != nil {
			return nil, err
		}
	}
	switch {
	case w.readout:
		return &readoutStep{in: p.inputs(n), out: i, fn: fn}, nil
	case w.kind == analog:
		return &analogStep{in: p.inputs(n), out: i, fn: fn}, nil
	case w.rule == byProduct, w.rule == byMaximum && cfg.MaxPool != MaxPoolPerStep:
		return p.newCumulativeStep(n, fn), nil
	}
	return &currentStep{in: p.inputs(n), out: i, fn: fn}, nil
}

// driver returns the neurons in whose step the node n runs: those that n, a
// convolution or fully connected layer whose input varies in time, drives
// alone or together with one addend. It also returns them for that addition.
func (p *plan) driver(n *graph.Node, uses map[*graph.Node][]*graph.Node) *graph.Node {
	to := p.onlyReader(n, uses)
	if to == nil || p.wires[p.index[n]].kind != current || p.wires[p.index[n]].readout {
		return nil
	}
	switch {
	case graph.IsActivation(to):
		if isConv(n) || (n.Kind() == "add" && p.drivingInput(n, uses) >= 0) {
			return to
		}
	case to.Kind() == "add":
		if i := p.drivingInput(to, uses); i >= 0 && to.Inputs[i] == n {
			return p.driver(to, uses)
		}
	}
	return nil
}

// drivingInput returns which input of an addition of two runs fused with the
// neurons behind it, -1 if none does.
func (p *plan) drivingInput(add *graph.Node, uses map[*graph.Node][]*graph.Node) int {
	if to := p.onlyReader(add, uses); len(add.Inputs) != 2 || to == nil || !graph.IsActivation(to) {
		return -1
	}
	for i, in := range add.Inputs {
		if isConv(in) && p.wires[p.index[in]].kind == current && p.onlyReader(in, uses) == add {
			return i
		}
	}
	return -1
}

// projects says whether the node n is a projection shortcut that is quantised
// and runs together with the layer it is added to: both of spike counts, before
// an addition of two that runs with its neurons.
func (p *plan) projects(n *graph.Node, uses map[*graph.Node][]*graph.Node) bool {
	to := p.onlyReader(n, uses)
	if to == nil || to.Kind() != "add" || !p.quantisable(n) {
		return false
	}
	i := p.drivingInput(to, uses)
	return i >= 0 && to.Inputs[1-i] == n && p.driver(to, uses) != nil && p.quantisable(to.Inputs[i])
}

// onlyReader returns the only reader of n, nil if there are more or n is the
// output.
func (p *plan) onlyReader(n *graph.Node, uses map[*graph.Node][]*graph.Node) *graph.Node {
	if len(uses[n]) != 1 || p.index[n] == p.output {
		return nil
	}
	return uses[n][0]
}

// findLastUses notes where every buffer may be given back. Wires whose mean is
// read live until the readout.
func (p *plan) findLastUses() {
	last := make([]int, len(p.wires))
	for i, s := range p.steps {
		last[i] = i
		if p.wires[i].readout {
			continue
		}
		for _, in := range reads(s) {
			last[in] = i
		}
	}
	p.frees = make([][]int, len(p.wires))
	for i, w := range p.wires {
		if i != p.input && !w.mean && !w.readout && p.steps[i] != nil {
			p.frees[last[i]] = append(p.frees[last[i]], i)
		}
	}
	for i, w := range p.wires {
		lasts := w.mean
		for k, s := range p.steps {
			lasts = lasts || (p.wires[k].kind != analog && slices.Contains(reads(s), i))
		}
		if w.kind == analog && lasts {
			p.lasting = append(p.lasting, i)
		}
	}
}

func reads(s step) []int {
	switch s := s.(type) {
	case *analogStep:
		return s.in
	case *currentStep:
		return s.in
	case *eventStep:
		return []int{s.in}
	case *intStep:
		return s.layer.inputs()
	case *countStep:
		return s.in
	case *maxStep:
		return []int{s.in}
	case *wideIndexStep:
		return s.in
	case *cumulativeStep:
		return s.in
	case *fireStep:
		in := []int{s.in}
		if s.ints != nil {
			in = s.ints.inputs()
		}
		if s.add >= 0 {
			in = append(in, s.add)
		}
		return in
	}
	return nil
}
