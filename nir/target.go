package nir

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Target is a simulator or kind of chip, as measured by loading graphs and
// comparing numbers (nir.md 5).
type Target struct {
	Name    string
	Version string // that was measured; "" for a rule
	// Types are the node types that it loads.
	Types []string
	// Mode is how its IF nodes behave; "" where IF nodes do not work.
	Mode Mode
	// Neuron says the same in words.
	Neuron string

	uniform      bool   // wants one threshold per layer
	unitR        bool   // wants r = 1
	perStepR     bool   // wants r = 1/dt
	groups       bool   // loads grouped convolutions
	flattenBatch bool   // Flatten takes the batch with it
	fails        string // why its neurons do not run
	bursts       bool   // emits more than one spike
	silent       bool   // passes over nodes it does not know
}

// targets lists what was measured, in the order of nir.md 5.
var targets = []Target{
	{Name: "snntorch", Version: "1.0.0", Types: []string{"Affine", "Linear", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "IF", "LIF"},
		Mode: Soft, Neuron: "one spike per step, reset by subtraction", uniform: true, unitR: true, flattenBatch: true, groups: true,
		fails: "IF loads as a leaky neuron (beta 0.9), and the imported network fails when it runs, because its neurons return tuples"},
	{Name: "spikingjelly", Version: "2.0.0", Types: []string{"Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "IF", "LIF", "CubaLIF"},
		Mode: HardAt, Neuron: "one spike per step at the threshold, reset to v_reset", uniform: true, perStepR: true},
	{Name: "sinabs", Version: "3.1.3", Types: []string{"Affine", "Conv2d", "SumPool2d", "Flatten", "IF", "LIF"},
		Mode: Unbounded, Neuron: "as many spikes as thresholds fit, reset by subtraction, the membrane never below minus the threshold",
		bursts: true, groups: true, silent: true},
	{Name: "norse", Version: "1.1.0", Types: []string{"Affine", "Linear", "Conv2d", "SumPool2d", "Flatten", "IF", "LIF", "CubaLIF"},
		Mode: Hard, Neuron: "one spike per step above the threshold, reset to v_reset", flattenBatch: true, groups: true, silent: true},
	{Name: "rockpool", Version: "3.1.0", Types: []string{"Affine", "Linear", "LIF", "LI", "CubaLIF"},
		Neuron: "it has no IF"},
	{Name: "single-spike", Types: []string{"Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "IF"},
		Mode: Hard, Neuron: "one spike per step, reset to v_reset: NIR's own rule", groups: true},
}

// Targets returns the simulators that Check knows.
func Targets() []Target { return slices.Clone(targets) }

// FindTarget returns the target of that name.
func FindTarget(name string) (*Target, error) {
	var names []string
	for i := range targets {
		if strings.EqualFold(targets[i].Name, name) {
			t := targets[i]
			return &t, nil
		}
		names = append(names, targets[i].Name)
	}
	return nil, fmt.Errorf("target %q: want one of %s", name, strings.Join(names, ", "))
}

// A Level grades a finding.
type Level string

// The levels: something to know, something that will be different, and something
// that will not load or run.
const (
	Note    Level = "note"
	Differs Level = "differs"
	Refuses Level = "refuses"
)

// A Finding is what a target does differently with one node, or with the graph.
type Finding struct {
	Level   Level
	Node    string // "" for the graph
	Type    string
	Message string
}

// String returns one line.
func (f Finding) String() string {
	if f.Node == "" {
		return fmt.Sprintf("%s: %s", f.Level, f.Message)
	}
	return fmt.Sprintf("%s: node %q (%s): %s", f.Level, f.Node, f.Type, f.Message)
}

// Check says what the target of that name will refuse, or do differently, with a
// graph: node by node, in the order of the names, after findings about the graph
// as a whole.
func Check(g *Graph, target string) ([]Finding, error) {
	t, err := FindTarget(target)
	if err != nil {
		return nil, err
	}
	g, err = g.Inline()
	if err != nil {
		return nil, err
	}
	var out []Finding
	say := func(level Level, n *Node, format string, args ...any) {
		f := Finding{Level: level, Message: fmt.Sprintf(format, args...)}
		if n != nil {
			f.Node, f.Type = n.Name, n.Type
		}
		out = append(out, f)
	}
	if t.Version != "" {
		say(Note, nil, "measured with %s %s: %s", t.Name, t.Version, t.Neuron)
	} else {
		say(Note, nil, "%s", t.Neuron)
	}
	neurons := g.count("IF") > 0
	if neurons && t.fails != "" {
		say(Refuses, nil, "%s", t.fails)
	}
	if k := g.count("Input"); k > 1 {
		say(Refuses, nil, "%d inputs; simulators run graphs of one", k)
	}
	if _, back := g.order(); len(back) > 0 {
		say(Refuses, nil, "%d edges close cycles", len(back))
	}
	dt := g.timestep()
	for _, name := range g.Names() {
		n := g.Nodes[name]
		if n.Type == "Input" || n.Type == "Output" {
			continue
		}
		if !slices.Contains(t.Types, n.Type) {
			if t.silent {
				say(Refuses, n, "%s does not know it and may pass it over without a word", t.Name)
			} else {
				say(Refuses, n, "%s does not load it", t.Name)
			}
			continue
		}
		switch n.Type {
		case "Flatten":
			if t.flattenBatch {
				say(Differs, n, "%s flattens the batch, too; export without Flatten nodes", t.Name)
			}
		case "Conv2d":
			w := n.Arrays["weight"].Shape
			if w[2] != w[3] {
				say(Refuses, n, "kernel of %dx%d; nir-python checks square ones only", w[2], w[3])
			}
			if n.Ints["groups"][0] != 1 {
				say(Differs, n, "%d groups; nir-python reads them without type check only", n.Ints["groups"][0])
				if !t.groups {
					say(Refuses, n, "%s does not load grouped convolutions", t.Name)
				}
			}
		case "IF":
			t.neurons(n, dt, say)
		}
	}
	return out, nil
}

// neurons reports about an IF node.
func (t *Target) neurons(n *Node, dt float64, say func(Level, *Node, string, ...any)) {
	r, theta := n.Arrays["r"].Data, n.Arrays["v_threshold"].Data
	if t.uniform && slices.ContainsFunc(theta, func(v float32) bool { return v != theta[0] }) {
		say(Refuses, n, "thresholds of %g to %g; %s wants one per layer", slices.Min(theta), slices.Max(theta), t.Name)
	}
	if t.unitR && slices.ContainsFunc(r, func(v float32) bool { return v != 1 }) {
		say(Refuses, n, "r is %g; %s wants 1", r[0], t.Name)
	}
	if t.perStepR {
		if r[0] == 1 {
			say(Note, n, "%s wants r = 1/dt: load with dt = 1, or export for its step", t.Name)
		} else if math.Abs(float64(r[0])*dt-1) > 1e-6 {
			say(Refuses, n, "r is %g; %s wants 1/dt", r[0], t.Name)
		}
	}
	if k, ok := number(n.Metadata["adafire_maxspike"]); ok && k > 1 {
		if t.bursts {
			say(Differs, n, "bursts of up to %g become bursts without bound", k)
		} else {
			say(Differs, n, "bursts of up to %g spikes become one spike per step; convert with maxspike 1 for this target", k)
		}
	}
	if n.Metadata["adafire_reset"] == "subtract" {
		switch t.Mode {
		case Hard, HardAt:
			say(Differs, n, "resets to v_reset instead of subtracting: what exceeds the threshold is lost")
		case Unbounded:
			say(Differs, n, "the membrane stops at minus the threshold: what is below is lost")
		}
	}
	if n.Metadata["adafire_tie"] == "ge" && t.Mode == Hard {
		say(Differs, n, "fires above the threshold only, not at it")
	}
	if n.Metadata["adafire_v_init"] != nil {
		say(Differs, n, "initial potentials are spread over the timesteps; convert with shift per-step for this target")
	}
}
