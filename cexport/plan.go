package cexport

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/snn"
)

// A wireKind says how the output of a node is held.
type wireKind uint8

const (
	analog  wireKind = iota // computed once, floats
	current                 // computed in every timestep, floats
	counts                  // spikes of a timestep, whole numbers
)

// A wire is the output of a node: what is held, times scale per channel (nil: 1),
// is in units of the activations. The rules are those of package snn, whose
// results the C code repeats bit for bit; a test compares them.
type wire struct {
	node    *graph.Node
	kind    wireKind
	size    int
	scale   []float32
	most    int  // the largest count
	wide    bool // counts that do not fit a byte
	layer   int  // of neurons, -1 for other nodes
	readout bool // computed once, on means over time
	mean    bool // the readout reads its mean
	fused   bool // computed by the neurons behind it
	slot    slot // where it is held
}

func (w *wire) spikes() bool { return w.kind == counts }

// A plan says what is computed when.
type plan struct {
	cfg    *snn.Config // as it runs
	wires  []*wire
	index  map[*graph.Node]int
	uses   map[*graph.Node][]*graph.Node
	output int
	input  int
}

// running is the configuration in which neurons that accumulate all timesteps run:
// one timestep, with thresholds of a T-th and T times the burst limit.
func running(c *snn.Config) *snn.Config {
	out := c.Clone()
	if c.Schedule != snn.ScheduleAccumulate {
		return out
	}
	out.Schedule, out.Timesteps = snn.ScheduleSync, 1
	for i := range out.Layers {
		l := &out.Layers[i]
		l.MaxSpike *= c.Timesteps
		for _, values := range [][]float32{l.Threshold, l.Initial} {
			for k := range values {
				values[k] /= float32(c.Timesteps)
			}
		}
	}
	return out
}

func refuse(n *graph.Node, format string, args ...any) error {
	return fmt.Errorf("node %q (%s): %s: %w", n.Name, n.Kind(), fmt.Sprintf(format, args...), fileerr.ErrUnsupported)
}

func newPlan(g *graph.Graph, given *snn.Config) (*plan, error) {
	p := &plan{cfg: running(given), index: make(map[*graph.Node]int), uses: g.Consumers()}
	for i, n := range g.Nodes {
		p.index[n] = i
		p.wires = append(p.wires, &wire{node: n, size: n.Shape.Numel(), layer: -1})
	}
	p.input, p.output = p.index[g.InputNodes()[0]], p.index[g.Outputs[0]]
	if err := p.classify(); err != nil {
		return nil, err
	}
	p.chooseScales()
	for i, w := range p.wires {
		w.fused = w.layer < 0 && i != p.input && (p.driver(w.node) != nil || p.projects(w.node))
	}
	return p, nil
}

// from returns the wire of input k of a node.
func (p *plan) from(n *graph.Node, k int) *wire { return p.wires[p.index[n.Inputs[k]]] }

func (p *plan) classify() error {
	layer := 0
	for _, w := range p.wires {
		n := w.node
		if graph.IsActivation(n) {
			switch n.Op.(type) {
			case *graph.ReLU, *graph.ReLU6, *graph.Clip: // a clip that counts as activation begins at 0
			default:
				return refuse(n, "neurons of two signs have no form in C; train with ReLU")
			}
			w.kind, w.layer, w.most = counts, layer, p.cfg.Layers[layer].MaxSpike
			w.wide = w.most > snn.MaxBurst
			layer++
			continue
		}
		all, bytes := true, true
		for k := range n.Inputs {
			from := p.from(n, k)
			if from.kind != analog {
				w.kind = current
			}
			all, bytes = all && from.spikes(), bytes && from.spikes() && !from.wide
			w.most = max(w.most, from.most)
		}
		if w.kind == analog {
			w.most = 0
			continue
		}
		passes := false
		switch op := n.Op.(type) {
		case *graph.MaxPool2D, *graph.GlobalMaxPool, *graph.Flatten, *graph.Concat, *graph.Identity, *graph.Dropout:
			passes = all
		case *graph.Upsample:
			passes = all && op.Mode == "nearest"
		case *graph.AvgPool2D:
			if window := sumWindow(n, op); bytes && window > 0 && window*w.most <= math.MaxUint8 {
				passes, w.most = true, window*w.most
			}
		}
		if passes {
			w.kind, w.wide = counts, !bytes
		}
	}
	for i := len(p.wires) - 1; i >= 0; i-- {
		w := p.wires[i]
		readers := p.uses[w.node]
		if w.kind == analog || w.layer >= 0 || isMaxPool(w.node) || (len(readers) == 0 && i != p.output) {
			continue
		}
		w.readout = true
		for _, r := range readers {
			w.readout = w.readout && p.wires[p.index[r]].readout
		}
	}
	for _, w := range p.wires {
		if !w.readout {
			continue
		}
		for k := range w.node.Inputs {
			from := p.from(w.node, k)
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
func sumWindow(n *graph.Node, op *graph.AvgPool2D) int {
	h, w, _ := n.Inputs[0].Shape.HWC()
	oh, ow, _ := n.Shape.HWC()
	if (oh-1)*op.Stride[0]+op.Kernel[0] > h+op.Pad[0]+op.Pad[2] || (ow-1)*op.Stride[1]+op.Kernel[1] > w+op.Pad[1]+op.Pad[3] {
		return 0
	}
	if !op.CountIncludePad && op.Pad != (graph.Pad{}) {
		return 0
	}
	return op.Kernel[0] * op.Kernel[1]
}

func isMaxPool(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.MaxPool2D, *graph.GlobalMaxPool:
		return true
	}
	return false
}

func freeScale(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear, *graph.ConvTranspose2D, *graph.Add, *graph.BatchNorm:
		return true
	}
	return false
}

func perChannel(theta []float32, channels int) []float32 {
	if len(theta) == channels {
		return theta
	}
	return slices.Repeat(theta[:1], channels)
}

// chooseScales walks backwards for what the readers want, then forwards.
func (p *plan) chooseScales() {
	want := make(map[*graph.Node][]float32)
	for i := len(p.wires) - 1; i >= 0; i-- {
		n := p.wires[i].node
		if !freeScale(n) {
			continue
		}
		var scale []float32
		for _, r := range p.uses[n] {
			var s []float32
			switch {
			case graph.IsActivation(r):
				s = perChannel(p.cfg.Layers[p.wires[p.index[r]].layer].Threshold, r.Shape.Channels())
			case r.Kind() == "add":
				s = want[r]
			default:
				continue
			}
			if s == nil || (scale != nil && !slices.Equal(scale, s)) {
				scale = nil
				break
			}
			scale = s
		}
		want[n] = scale
	}
	for _, w := range p.wires {
		n := w.node
		switch {
		case len(n.Inputs) == 0:
		case w.layer >= 0:
			w.scale = perChannel(p.cfg.Layers[w.layer].Threshold, n.Shape.Channels())
		case freeScale(n):
			w.scale = want[n]
		case p.sumsCounts(w):
			w.scale = slices.Clone(p.from(n, 0).scale)
			for ch := range w.scale {
				w.scale[ch] /= float32(sumWindow(n, n.Op.(*graph.AvgPool2D)))
			}
		default:
			w.scale = p.passedScale(n)
		}
	}
}

// sumsCounts says whether the wire holds the sums of windows of counts.
func (p *plan) sumsCounts(w *wire) bool {
	_, ok := w.node.Op.(*graph.AvgPool2D)
	return ok && w.kind == counts && !w.readout
}

func (p *plan) passedScale(n *graph.Node) []float32 {
	in := p.from(n, 0).scale
	var out []float32
	switch n.Op.(type) {
	case *graph.Concat:
		any := false
		for k := range n.Inputs {
			from := p.from(n, k)
			any = any || from.scale != nil
			out = append(out, ones(from.scale, from.node.Shape.Channels())...)
		}
		if !any {
			return nil
		}
		return out
	case *graph.Flatten:
		if in == nil {
			return nil
		}
		return slices.Repeat(in, n.Inputs[0].Shape.Positions())
	}
	return in
}

// ones writes a nil scale out.
func ones(s []float32, channels int) []float32 {
	if s != nil {
		return s
	}
	return slices.Repeat([]float32{1}, channels)
}

func ratio(in []float32, i int, out []float32, j int) float32 {
	r := float32(1)
	if in != nil {
		r = in[i]
	}
	if out != nil {
		r /= out[j]
	}
	return r
}

// factor is in/out per channel, nil where it is 1 throughout.
func factor(in, out []float32, channels int) []float32 {
	f := make([]float32, channels)
	one := true
	for ch := range f {
		f[ch] = ratio(in, ch, out, ch)
		one = one && f[ch] == 1
	}
	if one {
		return nil
	}
	return f
}

func isConv(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear:
		return true
	}
	return false
}

// quantisable says whether the weights of n are whole numbers.
func (p *plan) quantisable(n *graph.Node) bool {
	if p.wires[p.index[n]].readout {
		return false
	}
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear, *graph.ConvTranspose2D:
		return p.from(n, 0).spikes()
	}
	return false
}

// driver returns the neurons in whose step the node runs, nil if it has its own.
func (p *plan) driver(n *graph.Node) *graph.Node {
	to := p.onlyReader(n)
	if to == nil || p.wires[p.index[n]].kind != current || p.wires[p.index[n]].readout {
		return nil
	}
	switch {
	case graph.IsActivation(to):
		if isConv(n) || (n.Kind() == "add" && p.drivingInput(n) >= 0) {
			return to
		}
	case to.Kind() == "add":
		if i := p.drivingInput(to); i >= 0 && to.Inputs[i] == n {
			return p.driver(to)
		}
	}
	return nil
}

// drivingInput returns which input of an addition runs with the neurons behind it.
func (p *plan) drivingInput(add *graph.Node) int {
	if to := p.onlyReader(add); len(add.Inputs) != 2 || to == nil || !graph.IsActivation(to) {
		return -1
	}
	for i, in := range add.Inputs {
		if isConv(in) && p.wires[p.index[in]].kind == current && p.onlyReader(in) == add {
			return i
		}
	}
	return -1
}

// projects says whether n is a quantised projection that runs with the layer it is
// added to.
func (p *plan) projects(n *graph.Node) bool {
	to := p.onlyReader(n)
	if to == nil || to.Kind() != "add" || !p.quantisable(n) {
		return false
	}
	i := p.drivingInput(to)
	return i >= 0 && to.Inputs[1-i] == n && p.driver(to) != nil && p.quantisable(to.Inputs[i])
}

func (p *plan) onlyReader(n *graph.Node) *graph.Node {
	if len(p.uses[n]) != 1 || p.index[n] == p.output {
		return nil
	}
	return p.uses[n][0]
}
