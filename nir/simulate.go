package nir

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/tensor"
)

// A Mode says how IF nodes behave where NIR leaves it open.
type Mode string

// The modes of simulators.
const (
	// Burst is AdaFire: up to adafire_maxspike spikes per step (1 without that
	// metadata), reset by subtraction, firing at the threshold.
	Burst Mode = "burst"
	// Soft is one spike per step, reset by subtraction, firing at the threshold.
	Soft Mode = "soft1"
	// Hard is one spike per step and a reset to v_reset, whatever was above the
	// threshold, firing above the threshold only: NIR's own rule, and norse.
	Hard Mode = "hard"
	// HardAt is Hard firing at the threshold, too: SpikingJelly.
	HardAt Mode = "hard-at"
	// Unbounded is reset by subtraction with as many spikes as thresholds fit,
	// the membrane never below minus the threshold: sinabs.
	Unbounded Mode = "unbounded"
)

// Modes returns all modes.
func Modes() []Mode { return []Mode{Burst, Soft, Hard, HardAt, Unbounded} }

// A Simulator runs a graph of executable nodes in discrete time: in every step
// every node is evaluated once, in topological order; what comes back over an
// edge that closes a cycle is the value of the step before. One unit of NIR time
// is one step, unless the metadata of Export says otherwise.
type Simulator struct {
	mode   Mode
	units  []*unit
	inputs map[string]*unit
	output *unit
}

// A unit is a node at run time.
type unit struct {
	node *Node
	from []*unit // summed
	back []bool  // from[i] is read as it was in the step before
	in   []float32
	out  []float32
	last []float32 // out of the step before, where a back edge leaves
	v    []float32 // membrane potential
	r    []float32 // of a timestep
	run  func(x []float32, u *unit)
	max  float32

	spikes, active, bursts, steps int64
}

// NewSimulator prepares a graph; sub-graphs are inlined. It refuses nodes it
// cannot run, naming them.
func NewSimulator(g *Graph, mode Mode) (*Simulator, error) {
	if !slices.Contains(Modes(), mode) {
		return nil, fmt.Errorf("mode %q: want one of %v", mode, Modes())
	}
	g, err := g.Inline()
	if err != nil {
		return nil, err
	}
	in := make(map[string][]int)
	shapes, err := g.shapes(in)
	if err != nil {
		return nil, err
	}
	order, back := g.order()
	dt := g.timestep()
	s := &Simulator{mode: mode, inputs: make(map[string]*unit)}
	byName := make(map[string]*unit)
	for _, name := range order {
		n := g.Nodes[name]
		if n.Type == "Input" {
			in[name] = shapes[name]
		}
		u := &unit{node: n, out: make([]float32, numel(shapes[name])), in: make([]float32, numel(in[name]))}
		if u.run, err = mode.function(u, in[name], shapes[name], dt); err != nil {
			return nil, err
		}
		byName[name] = u
		s.units = append(s.units, u)
		switch n.Type {
		case "Input":
			s.inputs[name] = u
		case "Output":
			if s.output != nil {
				return nil, refusal(name, n.Type, "a second output")
			}
			s.output = u
		}
	}
	edges := slices.Clone(g.Edges) // sums in one order, whatever the file's
	slices.SortFunc(edges, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, e := range edges {
		from, to := byName[e[0]], byName[e[1]]
		to.from = append(to.from, from)
		to.back = append(to.back, back[e])
		if back[e] {
			from.last = make([]float32, len(from.out))
		}
	}
	return s, nil
}

func numel(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// order returns the nodes so that every edge but those in back leads from an
// earlier to a later node. Back edges close cycles as they are found from the
// inputs, in the order of the names.
func (g *Graph) order() (order []string, back map[[2]string]bool) {
	next := make(map[string][]string)
	for _, e := range g.Edges {
		next[e[0]] = append(next[e[0]], e[1])
	}
	for _, to := range next {
		slices.Sort(to)
	}
	back = make(map[[2]string]bool)
	const open, done = 1, 2
	state := make(map[string]int)
	type frame struct {
		name string
		k    int
	}
	visit := func(root string) {
		if state[root] != 0 {
			return
		}
		state[root] = open
		stack := []frame{{root, 0}}
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if f.k == len(next[f.name]) {
				state[f.name] = done
				order = append(order, f.name)
				stack = stack[:len(stack)-1]
				continue
			}
			to := next[f.name][f.k]
			f.k++
			switch state[to] {
			case open:
				back[[2]string{f.name, to}] = true
			case 0:
				state[to] = open
				stack = append(stack, frame{to, 0})
			}
		}
	}
	names := g.Names()
	for _, name := range names {
		if g.Nodes[name].Type == "Input" {
			visit(name)
		}
	}
	for _, name := range names {
		visit(name)
	}
	slices.Reverse(order)
	return order, back
}

// function returns what a node does to the sum of its inputs.
func (m Mode) function(u *unit, in, out []int, dt float64) (func(x []float32, u *unit), error) {
	n := u.node
	switch n.Type {
	case "Input", "Output", "Flatten":
		return func(x []float32, u *unit) { copy(u.out, x) }, nil
	case "Affine", "Linear", "Conv1d", "Conv2d":
		return newTaps(n, in, out).run, nil
	case "SumPool2d", "AvgPool2d":
		return pool(n, in, out), nil
	case "Scale":
		return func(x []float32, u *unit) {
			for i, s := range n.Arrays["scale"].Data {
				u.out[i] = s * x[i]
			}
		}, nil
	case "I":
		u.r = perStep(n, dt)
		return func(x []float32, u *unit) {
			for i, r := range u.r {
				u.out[i] += r * x[i]
			}
		}, nil
	case "Threshold":
		return func(x []float32, u *unit) {
			for i, th := range n.Arrays["threshold"].Data {
				u.out[i] = 0
				if x[i] > th {
					u.out[i] = 1
				}
			}
		}, nil
	case "IF":
		u.v, u.r, u.max = make([]float32, len(u.out)), perStep(n, dt), 1
		if k, ok := number(n.Metadata["adafire_maxspike"]); ok {
			if k < 1 || k > 255 {
				return nil, fmt.Errorf("node %q (IF): adafire_maxspike %g: want 1 to 255", n.Name, k)
			}
			u.max = float32(k)
		}
		return m.fire, nil
	}
	return nil, refusal(n.Name, n.Type, "cannot be simulated")
}

// perStep returns r times the length of a timestep.
func perStep(n *Node, dt float64) []float32 {
	out := make([]float32, len(n.Arrays["r"].Data))
	for i, r := range n.Arrays["r"].Data {
		out[i] = float32(float64(r) * dt)
	}
	return out
}

// number returns a number of metadata.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// fire is the step of an IF node.
func (m Mode) fire(x []float32, u *unit) {
	a := u.node.Arrays
	reset := a["v_reset"]
	r, threshold := u.r, a["v_threshold"].Data
	for i, th := range threshold {
		v := u.v[i] + r[i]*x[i]
		n := float32(0)
		switch m {
		case Burst:
			n = min(max(floor32(v/th), 0), u.max)
		case Unbounded:
			n = max(floor32(v/th), 0)
		case Hard:
			if v > th {
				n = 1
			}
		default:
			if v >= th {
				n = 1
			}
		}
		switch {
		case m == Hard || m == HardAt:
			if n > 0 {
				v = 0
				if reset != nil {
					v = reset.Data[i]
				}
			}
		case m == Unbounded:
			v = max(v-th*n, -th)
		default:
			v -= th * n
		}
		u.v[i], u.out[i] = v, n
		if n > 0 {
			u.active++
			u.spikes += int64(n)
			if n > 1 {
				u.bursts++
			}
		}
	}
	u.steps += int64(len(threshold))
}

func floor32(x float32) float32 { return float32(math.Floor(float64(x))) }

// Reset brings all potentials and values back to zero; counts go on.
func (s *Simulator) Reset() {
	for _, u := range s.units {
		clear(u.v)
		clear(u.out)
		clear(u.last)
	}
}

// Step runs one timestep with the values of every Input node, channels first,
// and returns those of the Output node, which the next step overwrites.
func (s *Simulator) Step(inputs map[string][]float32) ([]float32, error) {
	for name, u := range s.inputs {
		x := inputs[name]
		if len(x) != len(u.out) {
			return nil, fmt.Errorf("node %q (Input): %d values, want %d", name, len(x), len(u.out))
		}
		copy(u.in, x)
	}
	for _, u := range s.units {
		if u.last != nil {
			copy(u.last, u.out)
		}
	}
	for _, u := range s.units {
		if u.node.Type != "Input" {
			clear(u.in)
			for k, from := range u.from {
				x := from.out
				if u.back[k] {
					x = from.last
				}
				for i, v := range x {
					u.in[i] += v
				}
			}
		}
		u.run(u.in, u)
	}
	return s.output.out, nil
}

// Run resets the network and runs input [T, ...] of the graph's input, channels
// first, step by step; it returns the output [T, ...]. Inputs for initial
// potentials, as the exact profile writes them, are fed in the first step.
func (s *Simulator) Run(input *tensor.Tensor) (*tensor.Tensor, error) {
	name := ""
	feed := make(map[string][]float32)
	for n, u := range s.inputs {
		if start, ok := u.node.Metadata["adafire_v_init"].(*Array); ok && len(start.Data) == len(u.out) {
			feed[n] = start.Data
			continue
		}
		if name != "" {
			return nil, fmt.Errorf("inputs %q and %q, want one", name, n)
		}
		name = n
	}
	if name == "" {
		return nil, fmt.Errorf("no input but for initial potentials")
	}
	if len(input.Shape) == 0 || len(input.Data) != input.Shape[0]*len(s.inputs[name].out) {
		return nil, fmt.Errorf("input of shape %v, want [timesteps %v]: %w", input.Shape, s.inputs[name].node.Ints["shape"], tensor.ErrShape)
	}
	s.Reset()
	steps, size := input.Shape[0], len(s.inputs[name].out)
	out := tensor.New(append([]int{steps}, s.output.node.Ints["shape"]...)...)
	for t := range steps {
		feed[name] = input.Data[t*size : (t+1)*size]
		y, err := s.Step(feed)
		if err != nil {
			return nil, err
		}
		if t == 0 {
			for n := range feed {
				feed[n] = make([]float32, len(s.inputs[n].out))
			}
		}
		copy(out.Data[t*len(y):], y)
	}
	return out, nil
}

// Simulate runs a graph on input [T, ...], channels first, and returns its
// output [T, ...].
func Simulate(g *Graph, input *tensor.Tensor, mode Mode) (*tensor.Tensor, error) {
	s, err := NewSimulator(g, mode)
	if err != nil {
		return nil, err
	}
	return s.Run(input)
}

// A Firing is what the IF nodes of one name did in all runs of a simulator.
type Firing struct {
	Node     string
	Neurons  int
	MaxSpike int     // that the metadata allows
	Spikes   int64   // in sum
	Rate     float64 // spikes per neuron and step
	// BurstFraction is the share of more than one spike among the steps in which
	// a neuron fired.
	BurstFraction float64
}

// Firing returns what every IF node did, in topological order.
func (s *Simulator) Firing() []Firing {
	var out []Firing
	for _, u := range s.units {
		if u.node.Type != "IF" {
			continue
		}
		f := Firing{Node: u.node.Name, Neurons: len(u.out), MaxSpike: int(u.max), Spikes: u.spikes}
		if u.steps > 0 {
			f.Rate = float64(u.spikes) / float64(u.steps)
		}
		if u.active > 0 {
			f.BurstFraction = float64(u.bursts) / float64(u.active)
		}
		out = append(out, f)
	}
	return out
}

// taps is a convolution or fully connected layer that scatters what is not zero.
type taps struct {
	in, out       [2]int // height and width; 1 where there is none
	cin, cout     int
	kernel        [2]int
	stride, pad   [2]int
	dilation      [2]int
	perIn, perOut int       // channels of a group
	weight        []float32 // [cin][kh][kw][cout of the group]
	bias          []float32
	sum           []float32 // [h][w][cout]
}

func newTaps(n *Node, in, out []int) *taps {
	w := n.Arrays["weight"]
	t := &taps{in: [2]int{1, 1}, out: [2]int{1, 1}, kernel: [2]int{1, 1}, stride: [2]int{1, 1}, dilation: [2]int{1, 1}, cin: in[0], cout: out[0]}
	groups := 1
	for i := range in[1:] {
		k := 2 - len(in[1:]) + i
		t.in[k], t.out[k], t.kernel[k] = in[1+i], out[1+i], w.Shape[2+i]
		t.stride[k], t.pad[k], t.dilation[k] = n.Ints["stride"][i], n.padAt(i)[0], n.Ints["dilation"][i]
	}
	if g := n.Ints["groups"]; g != nil {
		groups = g[0]
	}
	t.perIn, t.perOut = t.cin/groups, t.cout/groups
	if b := n.Arrays["bias"]; b != nil {
		t.bias = b.Data
	}
	area := t.kernel[0] * t.kernel[1]
	t.weight = make([]float32, t.cin*area*t.perOut)
	for co := range t.cout {
		group := co / t.perOut
		for ci := range t.perIn {
			for k := range area {
				t.weight[((group*t.perIn+ci)*area+k)*t.perOut+co%t.perOut] = w.Data[(co*t.perIn+ci)*area+k]
			}
		}
	}
	t.sum = make([]float32, t.out[0]*t.out[1]*t.cout)
	return t
}

func (t *taps) run(x []float32, u *unit) {
	clear(t.sum)
	plane := t.in[0] * t.in[1]
	for i, v := range x {
		if v == 0 {
			continue
		}
		ci, p := i/plane, i%plane
		row, col := p/t.in[1]+t.pad[0], p%t.in[1]+t.pad[1]
		group := ci / t.perIn
		for kh := range t.kernel[0] {
			oh := row - kh*t.dilation[0]
			if oh < 0 || oh%t.stride[0] != 0 || oh/t.stride[0] >= t.out[0] {
				continue
			}
			for kw := range t.kernel[1] {
				ow := col - kw*t.dilation[1]
				if ow < 0 || ow%t.stride[1] != 0 || ow/t.stride[1] >= t.out[1] {
					continue
				}
				at := (oh/t.stride[0]*t.out[1]+ow/t.stride[1])*t.cout + group*t.perOut
				w := t.weight[((ci*t.kernel[0]+kh)*t.kernel[1]+kw)*t.perOut:][:t.perOut]
				y := t.sum[at : at+t.perOut]
				for co, wv := range w {
					y[co] += wv * v
				}
			}
		}
	}
	positions := t.out[0] * t.out[1]
	for p := range positions {
		for co := range t.cout {
			y := t.sum[p*t.cout+co]
			if t.bias != nil {
				y += t.bias[co]
			}
			u.out[co*positions+p] = y
		}
	}
}

// pool sums windows, padding being zero, and divides by their size for AvgPool2d.
func pool(n *Node, in, out []int) func(x []float32, u *unit) {
	k, stride, pad := n.Ints["kernel_size"], n.Ints["stride"], n.Ints["padding"]
	scale := float32(1)
	if n.Type == "AvgPool2d" {
		scale = 1 / float32(k[0]*k[1])
	}
	return func(x []float32, u *unit) {
		for c := range in[0] {
			for oh := range out[1] {
				for ow := range out[2] {
					sum := float32(0)
					for i := max(0, oh*stride[0]-pad[0]); i < min(in[1], oh*stride[0]-pad[0]+k[0]); i++ {
						for j := max(0, ow*stride[1]-pad[1]); j < min(in[2], ow*stride[1]-pad[1]+k[1]); j++ {
							sum += x[(c*in[1]+i)*in[2]+j]
						}
					}
					u.out[(c*out[1]+oh)*out[2]+ow] = sum * scale
				}
			}
		}
	}
}
