package graph

import (
	"math"
	"slices"

	"github.com/adafire/adafire/tensor"
)

// SplitActivations replaces activations that one spiking neuron cannot stand for
// by those that one can, ReLU and clips from 0 on, and linear operations
// (algorithms.md 1.6), and returns how many it replaced:
//
//	leaky_relu, prelu   relu(x) - slope*relu(-x)
//	clip(a, b)          a + clip(x-a, 0, b-a), for a > 0 or b <= 0
//	                    clip(x, 0, b) - clip(-x, 0, -a), for a < 0 < b
//
// A slope must be one number per channel or one in all. Convolutions and fully
// connected layers that read the activation read its parts side by side, with
// the coefficients in their weights, so that spikes stay spikes; other readers
// read the sum. The first part keeps the activation's name. A layer
// that drives two ReLUs and nothing else gets its outputs a second time with the
// opposite sign, and the two become one. A max pool that is the
// only reader of a rising activation moves before it, where it has one part to
// pool. Shapes must have been inferred; they are inferred anew.
func SplitActivations(g *Graph) (int, error) {
	hoistMaxPool(g)
	s := &splitter{g: g, names: make(map[string]bool, len(g.Nodes))}
	for _, n := range g.Nodes {
		s.names[n.Name] = true
	}
	count := 0
	for _, n := range slices.Clone(g.Nodes) {
		if parts := partsOf(n); parts != nil {
			s.split(n, parts)
			count++
		}
	}
	if count == 0 {
		return 0, nil
	}
	return count, g.Infer()
}

// parts describe an activation as constant + sum of coefficient*op(scale*x + shift).
type parts struct {
	terms    []term
	constant float32
}

type term struct {
	scale, shift float32
	op           Op
	coefficient  []float32 // per channel
}

// partsOf returns the parts of an activation, nil if it needs no splitting or
// cannot be split.
func partsOf(n *Node) *parts {
	switch op := n.Op.(type) {
	case *LeakyReLU:
		return leakyParts(n.Shape.Channels(), func(int) float32 { return float32(op.Alpha) })
	case *PReLU:
		slope := perChannel(n.Params["weight"], n.Shape.Channels(), 0)
		if slope == nil {
			return nil
		}
		return leakyParts(len(slope), func(ch int) float32 { return float32(slope[ch]) })
	case *Clip:
		return clipParts(op, n.Shape.Channels())
	}
	return nil
}

// constantRow is the same coefficient for all channels.
func constantRow(channels int, v float32) []float32 {
	row := make([]float32, channels)
	for i := range row {
		row[i] = v
	}
	return row
}

func leakyParts(channels int, slope func(ch int) float32) *parts {
	negative := make([]float32, channels)
	zero := true
	for ch := range negative {
		negative[ch] = -slope(ch)
		zero = zero && negative[ch] == 0
	}
	p := &parts{terms: []term{{1, 0, &ReLU{}, constantRow(channels, 1)}}}
	if !zero {
		p.terms = append(p.terms, term{-1, 0, &ReLU{}, negative})
	}
	return p
}

// clipFrom0 is the activation max(0, x) limited to most.
func clipFrom0(most float64) Op {
	switch {
	case math.IsInf(most, 1):
		return &ReLU{}
	case most == 6:
		return &ReLU6{}
	}
	return &Clip{Min: 0, Max: Float(most)}
}

func clipParts(op *Clip, channels int) *parts {
	a, b := float64(op.Min), float64(op.Max)
	one, minus := constantRow(channels, 1), constantRow(channels, -1)
	switch {
	case !(a < b) || (math.IsInf(a, -1) && math.IsInf(b, 1)):
		return nil
	case a == 0:
		if next := clipFrom0(b); next.Kind() != "clip" {
			return &parts{terms: []term{{1, 0, next, one}}}
		}
		return nil // an activation of its own
	case a < 0 && b > 0:
		return &parts{terms: []term{{1, 0, clipFrom0(b), one}, {-1, 0, clipFrom0(-a), minus}}}
	case math.IsInf(a, -1):
		return &parts{terms: []term{{-1, float32(b), &ReLU{}, minus}}, constant: float32(b)}
	}
	return &parts{terms: []term{{1, -float32(a), clipFrom0(b - a), one}}, constant: float32(a)}
}

type splitter struct {
	g     *Graph
	names map[string]bool
}

// name returns a name that no node has.
func (s *splitter) name(base string) string {
	for s.names[base] {
		base += "_"
	}
	s.names[base] = true
	return base
}

// split replaces the activation n.
func (s *splitter) split(n *Node, p *parts) {
	readers := s.g.Consumers()[n]
	isOutput := s.g.IsOutput(n)
	shape := n.Shape
	var made []*Node
	add := func(name string, op Op, params Params, inputs ...*Node) *Node {
		node := &Node{Name: name, Op: op, Params: params, Inputs: inputs, Shape: slices.Clone(shape)}
		made = append(made, node)
		return node
	}
	scalar := func(v float32) *tensor.Tensor { return &tensor.Tensor{Shape: []int{1}, Data: []float32{v}} }
	x := n.Inputs[0]
	var acts []*Node
	var coefficients [][]float32
	for _, t := range p.terms {
		coefficients = append(coefficients, t.coefficient)
	}
	var joined, sum *Node
	if s.doubles(x, p) {
		// One layer with twice the outputs, and one activation.
		doubleOutputs(x)
		joined = add(n.Name, p.terms[0].op, nil, x)
	}
	for i, t := range p.terms {
		if joined != nil {
			break
		}
		name, in := n.Name, x
		if i > 0 {
			name = s.name(n.Name + "_negative")
		}
		if t.scale != 1 || t.shift != 0 {
			params := Params{}
			if t.scale != 1 {
				params["weight"] = scalar(t.scale)
			}
			if t.shift != 0 {
				params["bias"] = scalar(t.shift)
			}
			in = add(s.name(name+"_input"), &Affine{}, params, x)
		}
		acts = append(acts, add(name, t.op, nil, in))
	}
	side := func() *Node {
		if joined == nil {
			if joined = acts[0]; len(acts) > 1 {
				joined = add(s.name(n.Name+"_both"), &Concat{}, nil, acts...)
			}
		}
		return joined
	}
	total := func() *Node {
		if sum == nil && acts == nil {
			for i, name := range []string{"_positive", "_negative"} {
				acts = append(acts, add(s.name(n.Name+name), lastAxis(shape, i*shape.Channels()), nil, joined))
			}
		}
		if sum == nil {
			sum = s.sum(n, p, acts, add)
		}
		return sum
	}
	for _, r := range readers {
		if widen(r, coefficients, p.constant) {
			r.Inputs[0] = side()
			continue
		}
		if layers := s.behindFlatten(r); layers != nil {
			for _, l := range layers {
				widen(l, coefficients, p.constant)
			}
			r.Inputs[0] = side()
			continue
		}
		for i, in := range r.Inputs {
			if in == n {
				r.Inputs[i] = total()
			}
		}
	}
	if isOutput {
		for i, o := range s.g.Outputs {
			if o == n {
				s.g.Outputs[i] = total()
			}
		}
	}
	at := slices.Index(s.g.Nodes, n)
	s.g.Nodes = slices.Replace(s.g.Nodes, at, at+1, made...)
}

// doubles says whether the parts of an activation can be one activation of a
// layer x with twice the outputs, the second half with the opposite sign: x drives
// nothing else then, which lets calibration see it as the activation's own.
func (s *splitter) doubles(x *Node, p *parts) bool {
	switch op := x.Op.(type) {
	case *Linear:
	case *Conv2D:
		if op.Groups != 1 {
			return false
		}
	default:
		return false
	}
	if len(p.terms) != 2 || p.constant != 0 || s.g.IsOutput(x) || len(s.g.Consumers()[x]) != 1 {
		return false
	}
	for i, scale := range []float32{1, -1} {
		if t := p.terms[i]; t.op.Kind() != "relu" || t.scale != scale || t.shift != 0 {
			return false
		}
	}
	return true
}

// doubleOutputs gives a layer its outputs a second time, with the opposite sign.
func doubleOutputs(x *Node) {
	params := make(Params, len(x.Params))
	for role, t := range x.Params {
		axes := len(t.Shape)
		out := t.Shape[axes-1]
		twice := &tensor.Tensor{Shape: slices.Clone(t.Shape), Data: make([]float32, 0, 2*len(t.Data))}
		twice.Shape[axes-1] *= 2
		for r := 0; r < len(t.Data); r += out {
			row := t.Data[r : r+out]
			twice.Data = append(twice.Data, row...)
			for _, v := range row {
				twice.Data = append(twice.Data, -v)
			}
		}
		params[role] = twice
	}
	x.Params = params
	x.Shape = slices.Clone(x.Shape)
	x.Shape[len(x.Shape)-1] *= 2
}

// lastAxis is the slice that takes as many channels as shape has from start on.
func lastAxis(shape Shape, start int) *Slice {
	op := &Slice{Start: make(Ints, len(shape)), Size: Ints(slices.Clone(shape)), Step: make(Ints, len(shape))}
	for i := range op.Step {
		op.Step[i] = 1
	}
	op.Start[len(shape)-1] = start
	return op
}

// sum adds up the parts.
func (s *splitter) sum(n *Node, p *parts, acts []*Node, add func(string, Op, Params, ...*Node) *Node) *Node {
	terms := slices.Clone(acts)
	for i, t := range p.terms {
		params := Params{}
		if !slices.Equal(t.coefficient, constantRow(len(t.coefficient), 1)) {
			params["weight"] = &tensor.Tensor{Shape: []int{len(t.coefficient)}, Data: slices.Clone(t.coefficient)}
		}
		if i == len(p.terms)-1 && p.constant != 0 {
			params["bias"] = &tensor.Tensor{Shape: []int{1}, Data: []float32{p.constant}}
		}
		if len(params) > 0 {
			terms[i] = add(s.name(acts[i].Name+"_scaled"), &Affine{}, params, acts[i])
		}
	}
	if len(terms) == 1 {
		return terms[0]
	}
	return add(s.name(n.Name+"_sum"), &Add{}, nil, terms...)
}

// behindFlatten returns the fully connected layers that are the only readers of r,
// a flatten; nil if it is none or has others.
func (s *splitter) behindFlatten(r *Node) []*Node {
	if _, ok := r.Op.(*Flatten); !ok || s.g.IsOutput(r) {
		return nil
	}
	layers := s.g.Consumers()[r]
	for _, l := range layers {
		if _, ok := l.Op.(*Linear); !ok {
			return nil
		}
	}
	return layers
}

// widen makes a layer that reads c channels (of any number of positions, behind a
// flatten) read len(coefficients) times as many, the parts side by side at each
// position, whose sum with the coefficients and a constant they were; false if
// the layer is of another kind.
func widen(layer *Node, coefficients [][]float32, constant float32) bool {
	switch op := layer.Op.(type) {
	case *Linear:
	case *Conv2D:
		if op.Groups != 1 || (constant != 0 && op.Pad != Pad{}) {
			return false
		}
	case *ConvTranspose2D:
		if op.Groups != 1 || constant != 0 {
			return false
		}
	default:
		return false
	}
	w := layer.Weight()
	axes := len(w.Shape)
	c, out := len(coefficients[0]), w.Shape[axes-1]
	rows, wide := len(w.Data)/out, len(coefficients)*c
	weight := &tensor.Tensor{Shape: slices.Clone(w.Shape), Data: make([]float32, len(w.Data)*len(coefficients))}
	weight.Shape[axes-2] *= len(coefficients)
	for r := range rows {
		from := w.Data[r*out : (r+1)*out]
		for t, row := range coefficients {
			to := weight.Data[(r/c*wide+t*c+r%c)*out:][:out]
			for i, v := range from {
				to[i] = v * row[r%c]
			}
		}
	}
	params := Params{"weight": weight}
	if b := layer.Params["bias"]; b != nil {
		params["bias"] = b
	}
	if constant != 0 {
		bias := make([]float64, out)
		for i, b := range layer.Bias() {
			bias[i] = float64(b)
		}
		for i, v := range w.Data {
			bias[i%out] += float64(v) * float64(constant)
		}
		b := tensor.New(out)
		for i, v := range bias {
			b.Data[i] = float32(v)
		}
		params["bias"] = b
	}
	layer.Params = params
	return true
}

// hoistMaxPool moves max pools that are the only readers of a rising activation
// that will be split before it.
func hoistMaxPool(g *Graph) {
	for {
		uses := g.Consumers()
		i := slices.IndexFunc(g.Nodes, func(pool *Node) bool {
			if !isMaxPool(pool) {
				return false
			}
			act := pool.Inputs[0]
			return risesInParts(act) && len(uses[act]) == 1 && !g.IsOutput(act)
		})
		if i < 0 {
			return
		}
		pool := g.Nodes[i]
		act := pool.Inputs[0]
		pool.Op, act.Op = act.Op, pool.Op
		pool.Name, act.Name = act.Name, pool.Name
		pool.Params, act.Params = act.Params, pool.Params
		act.Shape = slices.Clone(pool.Shape)
	}
}

// risesInParts says whether n is an activation of several parts that never falls.
func risesInParts(n *Node) bool {
	p := partsOf(n)
	if p == nil || len(p.terms) < 2 {
		return false
	}
	return !slices.ContainsFunc(p.terms[1].coefficient, func(v float32) bool { return v > 0 })
}

// BecomesNeurons says whether conversion replaces n by spiking neurons: an
// activation of its own (IsActivation), or one that SplitActivations can split.
func BecomesNeurons(n *Node) bool {
	if _, ok := n.Op.(*LeakyReLU); ok {
		return true
	}
	return IsActivation(n) || partsOf(n) != nil
}
