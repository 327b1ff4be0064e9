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

// A Schedule says in which order neurons receive current and fire.
type Schedule string

// The schedules. The zero value stands for ScheduleSync.
const (
	// ScheduleSync fires all layers in every timestep.
	ScheduleSync Schedule = "sync"
	// ScheduleAccumulate lets every layer receive the currents of all timesteps
	// before it fires once,
	//
	//	n = clamp(floor(v + I[1] + ... + I[T]), 0, T*maxspike)
	//
	// so that one pass over the network on summed counts does, and no spike comes
	// too early. With the half threshold at the start the network is the ANN with
	// activations rounded to multiples of threshold/T. A chip that runs layer
	// after layer this way needs T timesteps for each.
	ScheduleAccumulate Schedule = "accumulate"
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
	// Signed neurons may take back spikes that they have emitted, by negative
	// ones: n[t] = clamp(floor(u), -min(maxspike, N[t-1]), maxspike), where
	// N[t-1] >= 0 is what the neuron has emitted in sum. Negative spikes cost what
	// others cost.
	Signed   bool
	Schedule Schedule
	Weights  Precision // of what spike counts drive
	Layers   []Layer   // one per activation node, in graph order
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

// running returns the settings as they run. Accumulated over T timesteps, the
// current of neurons of threshold theta is that of one timestep for neurons of
// threshold theta/T, so the schedule needs no executor of its own: one timestep
// of such neurons, with T times the burst limit.
func (c *Config) running() *Config {
	if c.Schedule != ScheduleAccumulate {
		return c
	}
	out := c.Clone()
	out.Timesteps = 1
	for i := range out.Layers {
		l := &out.Layers[i]
		l.MaxSpike *= c.Timesteps
		for _, values := range [][]float32{l.Threshold, l.Initial} {
			for k := range values {
				values[k] /= float32(c.Timesteps) // potentials stay the same in units of the threshold
			}
		}
	}
	return out
}

// wide says whether the counts of layer l of running settings need more than a
// byte.
func (c *Config) wide(l int) bool { return c.Signed || c.Layers[l].MaxSpike > MaxBurst }

// ValidateRules checks what can be checked without a graph: all but the layers.
func (c *Config) ValidateRules() error {
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
	switch c.Weights {
	case "", F32, I16, I8:
	default:
		return fmt.Errorf("weights %q: want %s, %s or %s", c.Weights, F32, I16, I8)
	}
	switch {
	case c.Schedule != "" && c.Schedule != ScheduleSync && c.Schedule != ScheduleAccumulate:
		return fmt.Errorf("schedule %q: want %s or %s", c.Schedule, ScheduleSync, ScheduleAccumulate)
	case c.Signed && c.MaxPool == MaxPoolPerStep:
		return fmt.Errorf("signed neurons with max pool rule %s: the maximum of one timestep's counts means nothing where later ones take spikes back; want %s",
			c.MaxPool, MaxPoolExact)
	case c.Schedule != ScheduleAccumulate:
	case c.Signed:
		return fmt.Errorf("signed neurons with schedule %s: neurons fire once there and have nothing to take back", c.Schedule)
	case c.Shift == ShiftPerStep:
		return fmt.Errorf("shift %s with schedule %s: neurons fire once there, want %s or %s", c.Shift, c.Schedule, ShiftInitial, ShiftNone)
	case c.MaxPool == MaxPoolPerStep:
		return fmt.Errorf("max pool rule %s with schedule %s: there are only sums over the timesteps, want %s", c.MaxPool, c.Schedule, MaxPoolExact)
	}
	return nil
}

// validate checks the configuration against the activations of g.
func (c *Config) validate(g *graph.Graph) error {
	if err := c.ValidateRules(); err != nil {
		return err
	}
	activations := Activations(g)
	if len(activations) == 0 {
		return fmt.Errorf("the network has no activation to replace by neurons")
	}
	for _, l := range c.Layers {
		if k := c.Timesteps * l.MaxSpike; c.Weights.integer() && c.Schedule == ScheduleAccumulate && k > maxWide {
			return fmt.Errorf("node %q: weights %s with counts of up to %d over %d timesteps: want at most %d", l.Node, c.Weights, k, c.Timesteps, maxWide)
		}
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
