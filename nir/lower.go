package nir

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// lowering turns a network into a NIR graph. What it does depends on the
// structure, the neurons and the options only, never on the values of weights:
// a reader that repeats it finds every weight where it was put.
type lowering struct {
	g    *graph.Graph
	cfg  *snn.Config
	opt  Options
	uses map[*graph.Node][]*graph.Node

	out     *Graph
	edges   map[[2]string]bool
	limit   int // elements of arrays that may still be made
	names   map[*graph.Node]string
	signals map[*graph.Node]*signal
	layer   map[*graph.Node]int
	places  []placement
	folds   map[string]*fold
	report  *Report
}

// A signal is what a node of the network gives: channels in parts, and per part
// terms that add up.
type signal struct {
	dims  []int // spatial: [height width], [positions] or none
	parts []part
	flat  bool // a flatten has passed
}

// A part is a run of channels.
type part struct {
	channels int
	terms    []term
}

// A term is the sum of the outputs of NIR nodes; times scale, per channel (nil:
// 1), it is in units of the network's activations.
type term struct {
	nodes []string
	scale []float64
}

func (s *signal) channels() int {
	n := 0
	for _, p := range s.parts {
		n += p.channels
	}
	return n
}

func (s *signal) positions() int { return numel(s.dims) }

// A placement says where the elements of a parameter were put, and times what.
type placement struct {
	node *graph.Node
	role string
	// visit calls f for every element of the parameter.
	visit func(f func(element int, to *Array, at int, factor float64))
	fold  *fold // of a bias: what was added behind the factor; nil for nothing
}

// A fold is a bias that takes what neurons are given beside their currents.
type fold struct {
	node *Node
	add  []float64 // per channel, in units of the threshold
}

// lower makes the NIR graph of a network, whose arrays may have limit elements
// in all.
func lower(net *Network, opt Options, limit int) (*lowering, error) {
	l := &lowering{limit: limit, g: net.Graph, cfg: net.SNN, opt: opt, uses: net.Graph.Consumers(),
		out: &Graph{Nodes: make(map[string]*Node)}, edges: make(map[[2]string]bool), names: make(map[*graph.Node]string),
		signals: make(map[*graph.Node]*signal), layer: make(map[*graph.Node]int), folds: make(map[string]*fold), report: &Report{}}
	if in := len(l.g.InputNodes()); in != 1 || len(l.g.Outputs) != 1 {
		return nil, fmt.Errorf("%d inputs and %d outputs, want one of each", in, len(l.g.Outputs))
	}
	for i, n := range snn.Activations(l.g) {
		if i >= len(l.cfg.Layers) || l.cfg.Layers[i].Node != n.Name {
			return nil, fmt.Errorf("node %q (%s) has no layer of neurons", n.Name, n.Kind())
		}
		l.layer[n] = i
	}
	l.chooseNames()
	for _, n := range l.g.Nodes {
		s, err := l.node(n)
		if err != nil {
			return nil, err
		}
		l.signals[n] = s
	}
	s, _, err := l.ready(l.signals[l.g.Outputs[0]], "readout", nil)
	if err != nil {
		return nil, fmt.Errorf("output %q: %w", l.g.Outputs[0].Name, err)
	}
	if s.flat && s.positions() > 1 {
		return nil, refusal(l.g.Outputs[0].Name, "flatten", "the output is flattened, whose order differs; end in a fully connected layer")
	}
	return l, l.connect(s.parts[0].terms[0].nodes, l.add(&Node{Name: "output", Type: "Output", Ints: map[string][]int{"shape": shapeOf(s)}}))
}

func shapeOf(s *signal) []int { return append([]int{s.channels()}, s.dims...) }

// chooseNames gives every node a name of letters, digits and underscores.
func (l *lowering) chooseNames() {
	taken := map[string]bool{"input": true, "output": true, "readout": true}
	for _, n := range l.g.Nodes {
		base := strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return '_'
		}, n.Name)
		name := base
		for i := 2; taken[name]; i++ {
			name = fmt.Sprintf("%s_%d", base, i)
		}
		taken[name] = true
		l.names[n] = name
	}
}

// add puts a node into the graph, with a number behind its name if that is
// taken.
func (l *lowering) add(n *Node) *Node {
	base := n.Name
	for i := 2; l.out.Nodes[n.Name] != nil; i++ {
		n.Name = fmt.Sprintf("%s_%d", base, i)
	}
	l.out.Nodes[n.Name] = n
	return n
}

// connect draws an edge from each node to the other.
func (l *lowering) connect(from []string, to *Node) error {
	for _, name := range from {
		e := [2]string{name, to.Name}
		if l.edges[e] {
			return refusal(to.Name, to.Type, "%q is added to itself, and an edge cannot be there twice", name)
		}
		l.edges[e] = true
		l.out.Edges = append(l.out.Edges, e)
	}
	return nil
}

// node lowers one node of the network.
func (l *lowering) node(n *graph.Node) (*signal, error) {
	var in *signal
	if len(n.Inputs) > 0 {
		in = l.signals[n.Inputs[0]]
	}
	switch op := n.Op.(type) {
	case *graph.Input:
		s := &signal{parts: []part{{channels: n.Shape.Channels(), terms: []term{{nodes: []string{"input"}}}}}}
		s.dims = slices.Clone(n.Shape[:len(n.Shape)-1])
		if len(n.Shape) > 3 {
			return nil, refusal(n.Name, n.Kind(), "samples of shape %v, want 1 to 3 axes", n.Shape)
		}
		l.add(&Node{Name: "input", Type: "Input", Ints: map[string][]int{"shape": shapeOf(s)}})
		return s, nil
	case *graph.ReLU, *graph.ReLU6:
		return l.fire(n, in)
	case *graph.Clip:
		if graph.IsActivation(n) { // from 0 to a limit, which the thresholds hold
			return l.fire(n, in)
		}
	case *graph.Conv2D:
		w := n.Weight()
		return l.linear(n, in, window{kernel: []int{w.Shape[0], w.Shape[1]}, stride: op.Stride[:], low: []int{op.Pad[0], op.Pad[1]},
			high: []int{op.Pad[2], op.Pad[3]}, dilation: op.Dilation[:], groups: op.Groups}, l.scaleFor(n))
	case *graph.Linear:
		return l.linear(n, in, l.fullWindow(in), l.scaleFor(n))
	case *graph.BatchNorm:
		scale, shift := op.Affine(n.Params)
		return l.diagonal(n, in, scale, shift)
	case *graph.AvgPool2D:
		return l.pool(n, in, op)
	case *graph.GlobalAvgPool:
		h, w, _ := n.Inputs[0].Shape.HWC()
		return l.pool(n, in, &graph.AvgPool2D{Kernel: [2]int{h, w}, Stride: [2]int{h, w}})
	case *graph.Add:
		return l.sum(n)
	case *graph.Concat:
		return l.concat(n)
	case *graph.Flatten:
		return &signal{dims: in.dims, parts: in.parts, flat: true}, nil
	case *graph.Reshape:
		if len(op.Shape) == 1 {
			return &signal{dims: in.dims, parts: in.parts, flat: true}, nil
		}
	case *graph.Identity, *graph.Dropout:
		return in, nil
	case *graph.Softmax, *graph.LogSoftmax:
		if len(l.uses[n]) == 0 {
			l.report.warn("node %q (%s) is left out: it stands behind the readout; apply it to the mean of the output", n.Name, n.Kind())
			return in, nil
		}
	case *graph.MaxPool2D, *graph.GlobalMaxPool, *graph.MaxPoolND:
		return nil, refusal(n.Name, n.Kind(), "NIR has no max pooling; train or convert the network with average pooling")
	case *graph.ConvTranspose2D, *graph.ConvTransposeND:
		return nil, refusal(n.Name, n.Kind(), "NIR has no transposed convolution; use nearest upsampling before a convolution in another format, or ONNX")
	case *graph.Upsample, *graph.Resize:
		return nil, refusal(n.Name, n.Kind(), "NIR cannot resize; export to ONNX instead")
	case *graph.LeakyReLU, *graph.PReLU:
		return nil, refusal(n.Name, n.Kind(), "its negative part is not exported; train with ReLU")
	}
	return nil, refusal(n.Name, n.Kind(), "NIR has no node for it; export to ONNX instead")
}

// scaleFor returns the scale that readers want of a linear node: the thresholds
// of the neurons behind it, if there are only neurons of one set of thresholds;
// else nil.
func (l *lowering) scaleFor(n *graph.Node) []float64 {
	if l.g.IsOutput(n) || len(l.uses[n]) == 0 {
		return nil
	}
	var scale []float64
	for _, r := range l.uses[n] {
		var s []float64
		if i, ok := l.layer[r]; ok {
			s = l.thresholds(i, r)
		} else {
			switch r.Op.(type) {
			case *graph.Add, *graph.Identity, *graph.Dropout:
				s = l.scaleFor(r)
			}
		}
		if s == nil || scale != nil && !slices.Equal(scale, s) {
			return nil
		}
		scale = s
	}
	return scale
}

// thresholds returns one threshold per channel.
func (l *lowering) thresholds(layer int, n *graph.Node) []float64 {
	theta := l.cfg.Layers[layer].Threshold
	out := make([]float64, n.Shape.Channels())
	for c := range out {
		out[c] = float64(theta[c%len(theta)])
	}
	return out
}

// at returns scale[c], 1 for a nil scale.
func at(scale []float64, c int) float64 {
	if scale == nil {
		return 1
	}
	return scale[c]
}

// same says whether two scales of n channels are equal; nil is all ones.
func same(a, b []float64, n int) bool {
	for c := range n {
		if at(a, c) != at(b, c) {
			return false
		}
	}
	return true
}

// linear lowers a node with weights: one NIR node for each part and scale of its
// input, with the bias in the first.
func (l *lowering) linear(n *graph.Node, in *signal, w window, scale []float64) (*signal, error) {
	if in.flat && n.Kind() != "linear" && in.positions() > 1 {
		return nil, refusal(n.Name, n.Kind(), "behind a flatten")
	}
	return l.weighted(n, l.names[n], in, w, n.Shape.Channels(), scale, nil, nil)
}

// weighted makes the nodes. Without values, weight and bias are parameters of n,
// which are placed; with them, weights are a diagonal of these values with a
// bias, or without one if it is nil.
func (l *lowering) weighted(n *graph.Node, name string, in *signal, w window, cout int, scale, values, shift []float64) (*signal, error) {
	axes, ok := w.square(in.dims)
	if !ok {
		return nil, refusal(name, "conv2d", "a kernel of %v with padding %v and %v does not fit into a square one with symmetric padding", w.kernel, w.low, w.high)
	}
	dims := make([]int, len(in.dims))
	for i, d := range in.dims {
		dims[i] = (d+w.low[i]+w.high[i]-w.dilation[i]*(w.kernel[i]-1)-1)/w.stride[i] + 1
	}
	if w.flatten {
		dims = nil
	}
	placed := values == nil
	bias := &Array{Shape: []int{cout}, Data: make([]float32, cout)}
	out := term{scale: scale}
	first := 0 // channel of the input
	cin := in.channels()
	var visits []func(func(element int, to *Array, at int, factor float64))
	for _, p := range in.parts {
		groups := groupTerms(p)
		for k, t := range groups {
			node := &Node{Name: name, Arrays: map[string]*Array{"bias": bias}, Ints: make(map[string][]int)}
			if len(out.nodes) > 0 {
				node.Arrays["bias"] = &Array{Shape: []int{cout}, Data: make([]float32, cout)}
			}
			from := t.nodes
			keep := w.groups > 1 && l.opt.KeepGroups && len(in.parts) == 1
			shape := w.shape(node, in, axes, p.channels, cout, keep)
			if err := l.spend(node.Name, shape); err != nil {
				return nil, err
			}
			weight := constant(shape, 0)
			node.Arrays["weight"] = weight
			if w.flatten {
				f := l.add(&Node{Name: name + "_flatten", Type: "Flatten", Ints: map[string][]int{
					"input_type": append([]int{p.channels}, in.dims...), "start_dim": {0}, "end_dim": {-1}}})
				if err := l.connect(from, f); err != nil {
					return nil, err
				}
				from = []string{f.Name}
			}
			l.add(node)
			if keep {
				l.report.warn("node %q: %d groups are kept; nir-python reads it without type check only", node.Name, w.groups)
			}
			if err := l.connect(from, node); err != nil {
				return nil, err
			}
			out.nodes = append(out.nodes, node.Name)
			if !placed {
				for c := range p.channels {
					w.put(weight, axes, 0, c, first+c, p.channels, values[first+c]*at(t.scale, c)/at(scale, first+c))
				}
				continue
			}
			v := weightPlace{n: n, w: w, axes: axes, to: weight, first: first, channels: p.channels, cin: cin, cout: cout, keep: keep, in: t.scale, out: scale}
			if k == 0 { // terms of other scales have the same weights once more
				visits = append(visits, v.visit)
			}
			data := n.Weight().Data
			v.visit(func(element int, to *Array, at int, factor float64) {
				to.Data[at] = float32(float64(data[element]) * factor)
			})
		}
		first += p.channels
	}
	if placed {
		l.places = append(l.places, placement{node: n, role: "weight", visit: func(f func(element int, to *Array, at int, factor float64)) {
			for _, visit := range visits {
				visit(f)
			}
		}})
	}
	l.folds[out.nodes[0]] = &fold{node: l.out.Nodes[out.nodes[0]]}
	switch {
	case placed && n.Bias() != nil:
		visit := func(f func(element int, to *Array, at int, factor float64)) {
			for c := range cout {
				f(c, bias, c, 1/at(scale, c))
			}
		}
		data := n.Bias()
		visit(func(c int, to *Array, at int, factor float64) { to.Data[at] = float32(float64(data[c]) * factor) })
		l.places = append(l.places, placement{node: n, role: "bias", visit: visit, fold: l.folds[out.nodes[0]]})
	case !placed && shift != nil:
		for c := range cout {
			bias.Data[c] = float32(shift[c] / at(scale, c))
		}
	}
	return &signal{dims: dims, parts: []part{{cout, []term{out}}}}, nil
}

// groupTerms joins terms of one scale.
func groupTerms(p part) []term {
	var out []term
	for _, t := range p.terms {
		i := slices.IndexFunc(out, func(o term) bool { return same(o.scale, t.scale, p.channels) })
		if i < 0 {
			out = append(out, term{slices.Clone(t.nodes), t.scale})
			continue
		}
		out[i].nodes = append(out[i].nodes, t.nodes...)
	}
	return out
}

// spend takes an array's elements from what may be made.
func (l *lowering) spend(name string, shape []int) error {
	n, err := tensor.Numel(shape)
	if err != nil || n > l.limit {
		return refusal(name, "array", "shape %v: more elements than can be written", shape)
	}
	l.limit -= n
	return nil
}

// diagonal lowers a scale and shift per channel.
func (l *lowering) diagonal(n *graph.Node, in *signal, scale, shift []float64) (*signal, error) {
	if in.flat && in.positions() > 1 {
		return nil, refusal(n.Name, n.Kind(), "behind a flatten")
	}
	return l.pointwise(l.names[n], in, scale, shift, l.scaleFor(n))
}

// pointwise puts a diagonal of values behind a signal, which makes it one part
// with one term of the given scale.
func (l *lowering) pointwise(name string, in *signal, values, shift, scale []float64) (*signal, error) {
	s := *in
	s.flat = false
	w := l.fullWindow(&s)
	if values == nil {
		values = slices.Repeat([]float64{1}, in.channels())
	}
	out, err := l.weighted(nil, name, &s, w, in.channels(), scale, values, shift)
	if err == nil {
		out.flat = in.flat
	}
	return out, err
}

// ready returns the signal as one part with one term of the given scale, behind
// an identity layer, which serves nothing else, if it must be (made).
func (l *lowering) ready(s *signal, name string, scale []float64) (out *signal, made bool, err error) {
	if len(s.parts) == 1 {
		if t := groupTerms(s.parts[0]); len(t) == 1 && same(t[0].scale, scale, s.channels()) {
			return &signal{dims: s.dims, flat: s.flat, parts: []part{{s.channels(), t}}}, false, nil
		}
	}
	out, err = l.pointwise(name, s, nil, nil, scale)
	return out, true, err
}

// sum lowers an addition.
func (l *lowering) sum(n *graph.Node) (*signal, error) {
	out := &signal{}
	for i, x := range n.Inputs {
		s := l.signals[x]
		if s.flat && s.positions() > 1 {
			return nil, refusal(n.Name, n.Kind(), "behind a flatten")
		}
		if len(s.parts) > 1 {
			var err error
			if s, err = l.pointwise(l.names[n]+"_join", s, nil, nil, l.scaleFor(n)); err != nil {
				return nil, err
			}
		}
		if i == 0 {
			out.dims = s.dims
			out.parts = []part{{s.channels(), nil}}
		}
		if !slices.Equal(s.dims, out.dims) {
			return nil, refusal(n.Name, n.Kind(), "values over %v and %v", out.dims, s.dims)
		}
		out.parts[0].terms = append(out.parts[0].terms, s.parts[0].terms...)
	}
	return out, nil
}

// concat lowers a concatenation: parts one behind the other, which the next
// linear node takes one by one.
func (l *lowering) concat(n *graph.Node) (*signal, error) {
	out := &signal{}
	for i, x := range n.Inputs {
		s := l.signals[x]
		if s.flat && s.positions() > 1 {
			return nil, refusal(n.Name, n.Kind(), "behind a flatten")
		}
		if i == 0 {
			out.dims, out.flat = s.dims, s.flat
		}
		if !slices.Equal(s.dims, out.dims) {
			return nil, refusal(n.Name, n.Kind(), "values over %v and %v", out.dims, s.dims)
		}
		out.parts = append(out.parts, s.parts...)
	}
	return out, nil
}

// pool lowers an average pool to sums, whose divisor goes into the scale and so
// into the weights behind.
func (l *lowering) pool(n *graph.Node, in *signal, op *graph.AvgPool2D) (*signal, error) {
	if op.Pad[0] != op.Pad[2] || op.Pad[1] != op.Pad[3] {
		return nil, refusal(n.Name, n.Kind(), "padding %v, want the same on both sides", op.Pad)
	}
	if op.Pad != (graph.Pad{}) && !op.CountIncludePad {
		return nil, refusal(n.Name, n.Kind(), "the divisor depends on the position; count padding in or do without")
	}
	if len(in.dims) != 2 {
		return nil, refusal(n.Name, n.Kind(), "input of shape %v", n.Inputs[0].Shape)
	}
	dims := make([]int, 2)
	for i := range dims {
		dims[i] = (in.dims[i]+2*op.Pad[i]-op.Kernel[i])/op.Stride[i] + 1
		if dims[i] != n.Shape[i] {
			return nil, refusal(n.Name, n.Kind(), "partial windows at the edge (ceil mode); NIR has none")
		}
	}
	area := float64(op.Kernel[0] * op.Kernel[1])
	out := &signal{dims: dims}
	for _, p := range in.parts {
		q := part{channels: p.channels}
		for _, t := range groupTerms(p) {
			node := l.add(&Node{Name: l.names[n], Type: "SumPool2d", Ints: map[string][]int{
				"kernel_size": op.Kernel[:], "stride": op.Stride[:], "padding": {op.Pad[0], op.Pad[1]}}})
			if err := l.connect(t.nodes, node); err != nil {
				return nil, err
			}
			scale := make([]float64, p.channels)
			for c := range scale {
				scale[c] = at(t.scale, c) / area
			}
			q.terms = append(q.terms, term{[]string{node.Name}, scale})
		}
		out.parts = append(out.parts, q)
	}
	return out, nil
}

// fire lowers an activation to neurons.
func (l *lowering) fire(n *graph.Node, in *signal) (*signal, error) {
	i := l.layer[n]
	layer := &l.cfg.Layers[i]
	theta := l.thresholds(i, n)
	if in.flat && in.positions() > 1 {
		return nil, refusal(n.Name, n.Kind(), "behind a flatten; put it in front")
	}
	s, made, err := l.ready(in, l.names[n]+"_in", theta)
	if err != nil {
		return nil, err
	}
	add, start := l.given(layer, n, theta)
	if add != nil && !(l.opt.Profile == Exact && start != nil) {
		f := l.exclusive(n.Inputs[0], s)
		if f == nil && !made { // a layer of its own takes the bias
			if s, err = l.pointwise(l.names[n]+"_in", s, nil, nil, theta); err != nil {
				return nil, err
			}
			made = true
		}
		if made {
			f = l.folds[s.parts[0].terms[0].nodes[0]]
		}
		f.add = add
		bias := f.node.Arrays["bias"]
		if start != nil { // a reader with initial potentials needs the bias without
			if f.node.Metadata == nil {
				f.node.Metadata = make(Metadata)
			}
			f.node.Metadata["adafire_bias"] = &Array{slices.Clone(bias.Shape), slices.Clone(bias.Data)}
		}
		for c, v := range add {
			bias.Data[c] = float32(float64(bias.Data[c]) + v)
		}
	}
	out := term{scale: theta}
	from := s.parts[0].terms[0].nodes
	shape := shapeOf(s)
	name := l.names[n]
	if err := l.spend(name, shape); err != nil {
		return nil, err
	}
	if l.opt.Profile == Exact {
		out.nodes, err = l.exact(name, from, shape, layer.MaxSpike, start)
	} else {
		node := l.add(&Node{Name: name, Type: "IF", Arrays: map[string]*Array{
			"r": constant(shape, float32(1/l.opt.DT)), "v_threshold": constant(shape, 1), "v_reset": constant(shape, 0)},
			Metadata: Metadata{"adafire_neuron": "burst_if", "adafire_maxspike": layer.MaxSpike, "adafire_reset": "subtract", "adafire_tie": "ge"}})
		if start != nil {
			node.Metadata["adafire_v_init"] = &Array{slices.Clone(shape), start}
		}
		out.nodes = []string{node.Name}
		err = l.connect(from, node)
	}
	if err != nil {
		return nil, err
	}
	l.report.Layers = append(l.report.Layers, LayerReport{Node: n.Name, NIR: name, Neurons: n.Shape.Numel(), MaxSpike: layer.MaxSpike})
	return &signal{dims: s.dims, flat: in.flat, parts: []part{{n.Shape.Channels(), []term{out}}}}, nil
}

// given returns what neurons get beside their currents, in units of their
// thresholds: per channel and step, and, where it comes at the start, the
// initial potentials, channels first.
func (l *lowering) given(layer *snn.Layer, n *graph.Node, theta []float64) (add []float64, start []float32) {
	steps := float64(l.cfg.Timesteps)
	channels := n.Shape.Channels()
	positions := n.Shape.Numel() / channels
	half := 0.0
	add = make([]float64, channels)
	switch l.cfg.Shift {
	case snn.ShiftPerStep:
		for c := range add {
			add[c] = 0.5 / steps
		}
	case snn.ShiftInitial:
		half = 0.5
	}
	if half == 0 && layer.Initial == nil {
		if l.cfg.Shift == snn.ShiftNone {
			return nil, nil
		}
		return add, nil
	}
	start = make([]float32, channels*positions)
	for c := range channels {
		sum := 0.0
		for p := range positions {
			v := half
			if layer.Initial != nil {
				v += float64(layer.Initial[p*channels+c]) / theta[c]
			}
			start[c*positions+p] = float32(v)
			sum += v
		}
		add[c] += sum / float64(positions) / steps
	}
	return add, start
}

// exclusive returns the bias of a linear node that drives only the neurons
// behind x, nil if there is none.
func (l *lowering) exclusive(x *graph.Node, s *signal) *fold {
	if len(l.uses[x]) != 1 || l.g.IsOutput(x) {
		return nil
	}
	switch x.Op.(type) {
	case *graph.Conv2D, *graph.Linear, *graph.BatchNorm:
		return l.folds[l.signals[x].parts[0].terms[0].nodes[0]]
	case *graph.Add, *graph.Identity, *graph.Dropout:
		for _, in := range x.Inputs {
			if f := l.exclusive(in, s); f != nil && slices.Contains(s.parts[0].terms[0].nodes, f.node.Name) {
				return f
			}
		}
	}
	return nil
}

// exact lowers neurons to primitives (nir.md 4).
func (l *lowering) exact(name string, from []string, shape []int, maxSpike int, start []float32) ([]string, error) {
	v := l.add(&Node{Name: name + "_v", Type: "I", Arrays: map[string]*Array{"r": constant(shape, float32(1/l.opt.DT))}})
	reset := l.add(&Node{Name: name + "_reset", Type: "Scale", Arrays: map[string]*Array{"scale": constant(shape, -1)}})
	if start != nil {
		if !l.opt.StartInput {
			return nil, refusal(name, "neurons", "NIR has no initial membrane potential for the exact form; convert with shift per-step, or ask for an input for it (--nir-start-input)")
		}
		in := l.add(&Node{Name: name + "_start", Type: "Input", Ints: map[string][]int{"shape": shape},
			Metadata: Metadata{"adafire_v_init": &Array{slices.Clone(shape), start}}})
		from = append(slices.Clone(from), in.Name)
	}
	if err := l.connect(from, v); err != nil {
		return nil, err
	}
	var spikes []string
	for k := 1; k <= maxSpike; k++ {
		s := l.add(&Node{Name: fmt.Sprintf("%s_spike%d", name, k), Type: "Threshold",
			Arrays: map[string]*Array{"threshold": constant(shape, math.Nextafter32(float32(k), 0))}})
		spikes = append(spikes, s.Name)
		if err := l.connect([]string{v.Name}, s); err != nil {
			return nil, err
		}
	}
	if err := l.connect(spikes, reset); err != nil {
		return nil, err
	}
	return spikes, l.connect([]string{reset.Name}, v)
}

// constant returns an array of one value.
func constant(shape []int, v float32) *Array {
	return &Array{slices.Clone(shape), slices.Repeat([]float32{v}, numel(shape))}
}
