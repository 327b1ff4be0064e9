package snn

import (
	"fmt"

	"github.com/adafire/adafire/graph"
)

// An EnergyProfile holds the arithmetic energies of one operation in picojoule
// (45 nm, 0.9 V; Horowitz, ISSCC 2014). Memory traffic is not included.
type EnergyProfile struct {
	Name string
	MAC  float64 // multiply-accumulate
	AC   float64 // accumulate: one synaptic operation
}

// EnergyProfiles lists the known profiles; the first is the default of the
// literature on spiking networks.
var EnergyProfiles = []EnergyProfile{
	{"fp32", 4.6, 0.9},
	{"fp16", 1.5, 0.4},
	{"int32", 3.2, 0.1},
	{"int8", 0.23, 0.03},
	{"int8/acc32", 0.3, 0.1},
}

// FindEnergyProfile returns the profile of the given name.
func FindEnergyProfile(name string) (EnergyProfile, error) {
	var names []string
	for _, p := range EnergyProfiles {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return EnergyProfile{}, fmt.Errorf("energy profile %q: want one of %q", name, names)
}

// ANN returns the energy in picojoule of one sample through the ANN.
func (p EnergyProfile) ANN(macs int64) float64 { return p.MAC * float64(macs) }

// SNN returns the energy in picojoule of the given operations.
func (p EnergyProfile) SNN(macs, accumulates float64) float64 {
	return p.MAC*macs + p.AC*accumulates
}

// Reference returns the energy in picojoule of one sample by the formula of the
// authors' code, to compare with published numbers and never instead of SNN:
// the first layer's MACs in every timestep, every other spiking layer's MACs
// times the share of its inputs that are not zero, a burst counting once;
// shortcuts and the readout are left out (algorithms.md 8.1). inputs is the
// mean over samples of LayerCounts.Inputs, per layer.
func (p EnergyProfile) Reference(n *Network, inputs []float64) float64 {
	var total float64
	for i, f := range n.plan.fires {
		src, err := BiasNode(f.node)
		if err != nil {
			continue
		}
		if macs := n.MACs(src); macs > 0 {
			total += p.MAC * float64(macs) * float64(n.cfg.Timesteps)
			continue
		}
		total += p.AC * float64(src.MACs()) * inputs[i] / float64(src.Inputs[0].Shape.Numel())
	}
	return total
}

// MACs returns the multiply-accumulates of node n of the network for one
// sample: those on the constant analog input, once, and those on values that
// are no longer spikes (a layer behind another without neurons between), in
// every timestep or, behind the last neurons and with ScheduleAccumulate, once. A layer that spikes reach
// has none: its work is counted as synaptic operations. Products of two values and
// convolutions over three axes, which run on floats, have theirs whatever reaches
// them.
func (n *Network) MACs(node *graph.Node) int64 {
	macs := node.MACs()
	if macs == 0 {
		return 0
	}
	w := n.plan.wires[n.plan.index[node]]
	from := n.plan.wires[n.plan.index[node.Inputs[0]]]
	switch {
	case w.kind == analog:
		return macs
	case n.carriesSpikes(from) && !onFloats(node):
		return 0
	case w.readout:
		return macs
	}
	return macs * int64(n.cfg.Timesteps)
}

// onFloats says whether the node multiplies floats also where its inputs are
// spikes.
func onFloats(node *graph.Node) bool {
	switch node.Op.(type) {
	case *graph.MatMul, *graph.ConvND:
		return true
	}
	return false
}

// TotalMACs is the sum of MACs over all nodes.
func (n *Network) TotalMACs() int64 {
	var total int64
	for _, node := range n.g.Nodes {
		total += n.MACs(node)
	}
	return total
}

// carriesSpikes says whether what is on a wire are spikes, possibly pooled,
// joined or resized, rather than the output of a layer with weights.
func (n *Network) carriesSpikes(w *wire) bool {
	if w.spikes {
		return true
	}
	if w.kind == analog || isConv(w.node) {
		return false
	}
	switch w.node.Op.(type) {
	case *graph.ConvTranspose2D, *graph.BatchNorm, *graph.Affine:
		return false
	}
	if w.rule > copies || (w.index != nil && w.index.passes == nil) || isReal(w.node) {
		return false
	}
	for _, in := range w.node.Inputs {
		if n.carriesSpikes(n.plan.wires[n.plan.index[in]]) {
			return true
		}
	}
	return false
}

// A LayerInfo describes one layer of neurons.
type LayerInfo struct {
	Node      string
	Shape     graph.Shape
	Neurons   int
	MaxSpike  int
	Threshold []float32 // per channel, or one for all
	// Source is the layer with weights that drives the neurons, MACs its
	// multiply-accumulates in the ANN; nil and 0 if there is none.
	Source *graph.Node
	MACs   int64
	// Targets are the layers with weights that the spikes reach directly or
	// through pools, joins and the like: where their synaptic operations happen.
	Targets []*graph.Node
}

// Layers describes the layers of neurons in order.
func (n *Network) Layers() []LayerInfo {
	out := make([]LayerInfo, len(n.plan.fires))
	for i, f := range n.plan.fires {
		l := n.given.Layers[i]
		out[i] = LayerInfo{Node: l.Node, Shape: f.node.Shape, Neurons: f.node.Shape.Numel(), MaxSpike: l.MaxSpike, Threshold: l.Threshold}
		if src, err := BiasNode(f.node); err == nil {
			out[i].Source, out[i].MACs = src, src.MACs()
		}
		out[i].Targets = n.targets(f.node)
	}
	return out
}

// targets lists the layers with weights that values of node reach before the
// next neurons, in graph order.
func (n *Network) targets(node *graph.Node) []*graph.Node {
	reached := map[*graph.Node]bool{node: true}
	var found []*graph.Node
	for _, r := range n.g.Nodes {
		if graph.IsActivation(r) || reached[r] {
			continue
		}
		for _, in := range r.Inputs {
			if !reached[in] {
				continue
			}
			if r.MACs() > 0 {
				found = append(found, r)
			} else {
				reached[r] = true
			}
			break
		}
	}
	return found
}

// FanOut returns what a spike of layer i causes at each position of its output:
// synaptic operations per position.
func (n *Network) FanOut(i int) []int64 { return n.cost[n.plan.fires[i].out].sops }

// BiasNode returns the layer whose bias is the constant part of the current of
// the activation act: the convolution or fully connected layer directly before
// it, or the first one of the addition before it (in a residual block the last
// convolution, not the projection).
func BiasNode(act *graph.Node) (*graph.Node, error) {
	n := act.Inputs[0]
	for {
		switch n.Op.(type) {
		case *graph.Conv2D, *graph.Linear, *graph.ConvTranspose2D, *graph.BatchNorm:
			return n, nil
		case *graph.Add:
			next := (*graph.Node)(nil)
			for _, in := range n.Inputs {
				if in.Weight() != nil || in.Kind() == "batchnorm" {
					next = in
					break
				}
			}
			if next == nil {
				next = n.Inputs[0]
			}
			n = next
		case *graph.AvgPool2D, *graph.GlobalAvgPool, *graph.Flatten, *graph.Upsample, *graph.Affine, *graph.MaxPool2D, *graph.GlobalMaxPool:
			n = n.Inputs[0]
		default:
			return nil, fmt.Errorf("node %q: no layer with a bias drives it, its current comes from %q (%s)", act.Name, n.Name, n.Kind())
		}
	}
}
