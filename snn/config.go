package snn

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
)

// A Shift says where the half threshold goes that makes a neuron round instead
// of floor (algorithms.md 1.3).
type Shift string

// The shifts. Initial and PerStep inject half a threshold in total; they agree
// for one timestep.
const (
	ShiftInitial Shift = "initial"  // once, before the first timestep
	ShiftPerStep Shift = "per-step" // 1/(2T) thresholds in every timestep, as the authors' code
	ShiftNone    Shift = "none"     // neurons floor
)

// A MaxPool says how max pooling works on spike counts.
type MaxPool string

// The rules for max pooling.
const (
	// MaxPoolExact emits max(cumulative now) - max(cumulative before), so that
	// the mean output is the maximum of the mean inputs.
	MaxPoolExact MaxPool = "exact"
	// MaxPoolPerStep emits the maximum of each timestep's counts, as the
	// authors' code; it overestimates.
	MaxPoolPerStep MaxPool = "per-step"
)

// Limits of the simulation.
const (
	MaxTimesteps = 1024
	MaxBurst     = 255
)

// A Layer holds the neurons that replace one activation of the graph.
type Layer struct {
	Node      string    // name of the activation node
	Threshold []float32 // per channel, or one value for all; > 0, in units of the activation
	MaxSpike  int       // burst limit: most spikes per neuron and timestep, 1..255
	// Initial is the initial membrane potential of every neuron of a sample,
	// in units of the activation, without the rounding shift; nil for 0.
	Initial []float32
}

// A Config turns a graph into a spiking network.
type Config struct {
	Timesteps int // 1..1024
	Shift     Shift
	MaxPool   MaxPool
	Layers    []Layer // one per activation node, in graph order
}

// Clone returns a deep copy.
func (c *Config) Clone() *Config {
	out := *c
	out.Layers = slices.Clone(c.Layers)
	for i := range out.Layers {
		out.Layers[i].Threshold = slices.Clone(c.Layers[i].Threshold)
		out.Layers[i].Initial = slices.Clone(c.Layers[i].Initial)
	}
	return &out
}

// validate checks the configuration against the activations of g.
func (c *Config) validate(g *graph.Graph) error {
	if c.Timesteps < 1 || c.Timesteps > MaxTimesteps {
		return fmt.Errorf("timesteps %d: want 1 to %d", c.Timesteps, MaxTimesteps)
	}
	switch c.Shift {
	case ShiftInitial, ShiftPerStep, ShiftNone:
	default:
		return fmt.Errorf("shift %q: want %s, %s or %s", c.Shift, ShiftInitial, ShiftPerStep, ShiftNone)
	}
	switch c.MaxPool {
	case MaxPoolExact, MaxPoolPerStep:
	default:
		return fmt.Errorf("max pool rule %q: want %s or %s", c.MaxPool, MaxPoolExact, MaxPoolPerStep)
	}
	activations := Activations(g)
	if len(activations) == 0 {
		return fmt.Errorf("the network has no activation to replace by neurons")
	}
	if len(activations) != len(c.Layers) {
		return fmt.Errorf("%d layers of neurons for %d activations", len(c.Layers), len(activations))
	}
	for i, n := range activations {
		if err := c.Layers[i].validate(n); err != nil {
			return fmt.Errorf("node %q (%s): %w", n.Name, n.Kind(), err)
		}
	}
	return nil
}

func (l *Layer) validate(n *graph.Node) error {
	if l.Node != n.Name {
		return fmt.Errorf("its layer of neurons is for node %q", l.Node)
	}
	if l.MaxSpike < 1 || l.MaxSpike > MaxBurst {
		return fmt.Errorf("maxspike %d: want 1 to %d", l.MaxSpike, MaxBurst)
	}
	if k := len(l.Threshold); k != 1 && k != n.Shape.Channels() {
		return fmt.Errorf("%d thresholds for %d channels", k, n.Shape.Channels())
	}
	for ch, theta := range l.Threshold {
		if !(theta > 0) || math.IsInf(float64(theta), 0) {
			return fmt.Errorf("threshold[%d] is %g, want a positive number", ch, theta)
		}
	}
	if l.Initial != nil && len(l.Initial) != n.Shape.Numel() {
		return fmt.Errorf("%d initial potentials for %d neurons", len(l.Initial), n.Shape.Numel())
	}
	for i, v := range l.Initial {
		if v-v != 0 {
			return fmt.Errorf("initial potential %d is %g", i, v)
		}
	}
	return nil
}

// perChannel expands the thresholds to one per channel.
func (l *Layer) perChannel(channels int) []float32 {
	if len(l.Threshold) == channels {
		return l.Threshold
	}
	out := make([]float32, channels)
	for i := range out {
		out[i] = l.Threshold[0]
	}
	return out
}

// Activations returns the nodes of g that become layers of neurons, in graph
// order.
func Activations(g *graph.Graph) []*graph.Node {
	var out []*graph.Node
	for _, n := range g.Nodes {
		if graph.IsActivation(n) {
			out = append(out, n)
		}
	}
	return out
}
