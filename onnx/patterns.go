package onnx

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// Exporters write one operation of a network as several nodes. The rewriter
// finds such patterns in the graph and puts the operation back, as spiking rules
// and fast kernels know operations, not their expansion:
//
//   - numbers per channel in front of or behind a linear layer go into it
//   - LayerNorm, GELU, SiLU, hard swish, Mish and attention from their formulas
//   - Min(Relu(x), 6) is ReLU6; zero padding goes into the convolution behind it
//   - strided slices joined along the channels are SpaceToDepth; the transposition
//     of a channel shuffle is a choice of channels, which a dense layer absorbs
//   - equal operations on one value are one
//
// Every rule asks that nothing else reads what it removes. The rewritten graph
// computes the same up to rounding; tests compare both.
type rewriter struct {
	g     *graph.Graph
	users map[*graph.Node][]*graph.Node // one entry per use
}

// rewrite applies all rules until none fits.
func rewrite(g *graph.Graph) {
	r := &rewriter{g: g, users: g.Consumers()}
	rules := []func(*graph.Node) bool{r.skipIdentity, r.duplicate, r.clip, r.affine, r.affineBehind, r.affineBefore, r.padding, r.gated, r.gelu, r.layerNorm,
		r.attention, r.heads, r.selection, r.spaceToDepth, r.shuffle, r.channelChoice}
	// A rewrite makes room for others at the nodes around it: a few passes.
	for range 8 {
		changed := false
		for _, n := range slices.Clone(g.Nodes) {
			if len(r.users[n]) == 0 && !g.IsOutput(n) {
				continue
			}
			for _, rule := range rules {
				if rule(n) {
					changed = true
					break
				}
			}
		}
		graph.RemoveDead(g)
		if !changed {
			return
		}
	}
}

// set replaces what a node is in place: its name and its readers stay.
func (r *rewriter) set(n *graph.Node, op graph.Op, params graph.Params, inputs ...*graph.Node) {
	old := n.Inputs
	n.Op, n.Params, n.Inputs = op, params, inputs
	for _, in := range inputs {
		r.users[in] = append(r.users[in], n)
	}
	r.unuse(n, old)
}

// unuse takes back n's reading of its former inputs, and theirs where nobody is
// left to read them.
func (r *rewriter) unuse(n *graph.Node, inputs []*graph.Node) {
	for _, in := range inputs {
		if k := slices.Index(r.users[in], n); k >= 0 {
			r.users[in] = slices.Delete(r.users[in], k, k+1)
		}
		if len(r.users[in]) == 0 && !r.g.IsOutput(in) {
			old := in.Inputs
			if _, isInput := in.Op.(*graph.Input); isInput {
				continue
			}
			in.Inputs = nil
			in.Op, in.Params = &graph.Constant{}, graph.Params{"value": tensor.New(1)} // dead
			r.unuse(in, old)
		}
	}
}

// substitute lets everything that reads n read by instead.
func (r *rewriter) substitute(n, by *graph.Node) {
	for _, u := range r.users[n] {
		k := slices.Index(u.Inputs, n)
		u.Inputs[k] = by
		r.users[by] = append(r.users[by], u)
	}
	r.users[n] = nil
	for k, o := range r.g.Outputs {
		if o == n {
			r.g.Outputs[k] = by
		}
	}
	old := n.Inputs
	n.Inputs = nil
	n.Op, n.Params = &graph.Constant{}, graph.Params{"value": tensor.New(1)} // dead
	r.unuse(n, old)
}

// only says whether one node reads n, and it is no output.
func (r *rewriter) only(n *graph.Node) bool { return len(r.users[n]) == 1 && !r.g.IsOutput(n) }

func (r *rewriter) skipIdentity(n *graph.Node) bool {
	if _, ok := n.Op.(*graph.Identity); !ok || r.g.IsOutput(n) {
		return false
	}
	r.substitute(n, n.Inputs[0])
	return true
}

// duplicate merges nodes without parameters that compute the same from the same
// inputs.
func (r *rewriter) duplicate(n *graph.Node) bool {
	if len(n.Params) > 0 || len(n.Inputs) == 0 || r.g.IsOutput(n) {
		return false
	}
	users := r.users[n.Inputs[0]]
	if len(users) < 2 || len(users) > 64 {
		return false
	}
	var form []byte
	for _, m := range users {
		if m == n || len(m.Params) > 0 || m.Kind() != n.Kind() || !slices.Equal(m.Inputs, n.Inputs) {
			continue
		}
		if form == nil {
			form, _ = json.Marshal(n.Op)
		}
		other, err := json.Marshal(m.Op)
		if err != nil || string(other) != string(form) {
			continue
		}
		r.substitute(n, m)
		return true
	}
	return false
}

// clip joins a clip with the clip or rectifier in front of it.
func (r *rewriter) clip(n *graph.Node) bool {
	op, ok := n.Op.(*graph.Clip)
	if !ok {
		return false
	}
	x := n.Inputs[0]
	var low, high float64
	switch before := x.Op.(type) {
	case *graph.ReLU:
		low, high = 0, math.Inf(1)
	case *graph.ReLU6:
		low, high = 0, 6
	case *graph.Clip:
		low, high = float64(before.Min), float64(before.Max)
	default:
		return false
	}
	if !r.only(x) {
		return false
	}
	a, b := float64(op.Min), float64(op.Max)
	if low > high || a > b || high < a || low > b { // empty ranges keep their order of bounds
		return false
	}
	low, high = math.Max(low, a), math.Min(high, b)
	var joined graph.Op = &graph.Clip{Min: graph.Float(low), Max: graph.Float(high)}
	if low == 0 && high == 6 {
		joined = &graph.ReLU6{}
	} else if low == 0 && math.IsInf(high, 1) {
		joined = &graph.ReLU{}
	}
	r.set(n, joined, nil, x.Inputs[0])
	return true
}

// affineParams returns scale and shift of an Affine as one value or one per
// channel, in float64; false for other shapes.
func affineParams(n *graph.Node, channels int) (scale, shift []float64, ok bool) {
	if _, is := n.Op.(*graph.Affine); !is {
		return nil, nil, false
	}
	scale, shift = make([]float64, channels), make([]float64, channels)
	for c := range channels {
		scale[c] = 1
	}
	for role, dst := range map[string][]float64{"weight": scale, "bias": shift} {
		t := n.Params[role]
		if t == nil {
			continue
		}
		if len(t.Data) != 1 && (len(t.Data) != channels || t.Shape[len(t.Shape)-1] != channels) {
			return nil, nil, false
		}
		for c := range dst {
			dst[c] = float64(t.Data[c%len(t.Data)])
		}
	}
	return scale, shift, true
}

// affine joins two Affine nodes, and removes those that do nothing.
func (r *rewriter) affine(n *graph.Node) bool {
	op, ok := n.Op.(*graph.Affine)
	if !ok {
		return false
	}
	if isConstant(n.Params["weight"], 1) && isConstant(n.Params["bias"], 0) && !r.g.IsOutput(n) {
		r.substitute(n, n.Inputs[0])
		return true
	}
	x := n.Inputs[0]
	if _, ok := x.Op.(*graph.Affine); !ok || !r.only(x) {
		return false
	}
	channels := n.Shape.Channels()
	s1, b1, ok1 := affineParams(x, channels)
	s2, b2, ok2 := affineParams(n, channels)
	if !ok1 || !ok2 {
		return false
	}
	weight, bias := make([]float64, channels), make([]float64, channels)
	for c := range channels {
		weight[c], bias[c] = s1[c]*s2[c], b1[c]*s2[c]+b2[c]
	}
	r.set(n, op, affineOf(weight, bias), x.Inputs[0])
	return true
}

// affineOf returns the shortest parameters for scale and shift per channel.
func affineOf(weight, bias []float64) graph.Params {
	p := graph.Params{}
	put := func(role string, v []float64, neutral float64) {
		first := v[0]
		if slices.ContainsFunc(v, func(x float64) bool { return x != first }) {
			p[role] = narrow(v)
		} else if first != neutral {
			p[role] = scalar(float32(first))
		}
	}
	put("weight", weight, 1)
	put("bias", bias, 0)
	if len(p) == 0 {
		p["weight"] = scalar(1)
	}
	return p
}

func isConstant(t *tensor.Tensor, v float32) bool {
	return t == nil || !slices.ContainsFunc(t.Data, func(x float32) bool { return x != v })
}

// affineBehind folds numbers per channel into the linear layer in front.
func (r *rewriter) affineBehind(n *graph.Node) bool {
	if len(n.Inputs) != 1 {
		return false
	}
	layer := n.Inputs[0]
	channels := n.Shape.Channels()
	if !r.only(layer) {
		return false
	}
	groups := 1
	switch op := layer.Op.(type) {
	case *graph.Conv2D, *graph.ConvND, *graph.Linear:
	case *graph.ConvTranspose2D:
		groups = op.Groups
	default:
		return false
	}
	if groups != 1 {
		return false
	}
	scale, shift, ok := affineParams(n, channels)
	if !ok {
		return false
	}
	w := layer.Weight()
	weight := tensor.New(w.Shape...)
	for i, v := range w.Data {
		weight.Data[i] = float32(float64(v) * scale[i%channels])
	}
	bias := tensor.New(channels)
	for c := range channels {
		b := 0.0
		if old := layer.Bias(); old != nil {
			b = float64(old[c])
		}
		bias.Data[c] = float32(b*scale[c] + shift[c])
	}
	layer.Params = graph.Params{"weight": weight, "bias": bias}
	r.substitute(n, layer)
	return true
}

// affineBefore folds numbers per channel into the linear layer behind: a
// convolution only if it does not pad, or if nothing is added.
func (r *rewriter) affineBefore(n *graph.Node) bool {
	if len(n.Inputs) != 1 {
		return false
	}
	x := n.Inputs[0]
	channels := x.Shape.Channels()
	if _, is := x.Op.(*graph.Affine); !is || !r.only(x) {
		return false
	}
	scale, shift, ok := affineParams(x, channels)
	if !ok {
		return false
	}
	shifts := slices.ContainsFunc(shift, func(v float64) bool { return v != 0 })
	switch op := n.Op.(type) {
	case *graph.Linear:
	case *graph.Conv2D:
		if op.Groups != 1 || shifts && op.Pad != (graph.Pad{}) {
			return false
		}
	default:
		return false
	}
	w := n.Weight()
	out := w.Shape[len(w.Shape)-1]
	weight, bias := tensor.New(w.Shape...), make([]float64, out)
	for c, v := range n.Bias() {
		bias[c] = float64(v)
	}
	for i, v := range w.Data {
		in := i / out % channels
		weight.Data[i] = float32(float64(v) * scale[in])
		bias[i%out] += float64(v) * shift[in]
	}
	params := graph.Params{"weight": weight}
	if shifts || n.Bias() != nil {
		params["bias"] = narrow(bias)
	}
	r.set(n, n.Op, params, x.Inputs[0])
	return true
}

// padding folds zero padding of an image into the convolution behind it.
func (r *rewriter) padding(n *graph.Node) bool {
	conv, ok := n.Op.(*graph.Conv2D)
	if !ok {
		return false
	}
	x := n.Inputs[0]
	pad, ok := x.Op.(*graph.PadAxes)
	if !ok || !r.only(x) || pad.Mode != "constant" || pad.Value != 0 || len(pad.Begin) != 3 || pad.Begin[2] != 0 || pad.End[2] != 0 {
		return false
	}
	p := graph.Pad{pad.Begin[0], pad.Begin[1], pad.End[0], pad.End[1]}
	for i := range p {
		if p[i] < 0 {
			return false
		}
		p[i] += conv.Pad[i]
	}
	op := *conv
	op.Pad = p
	r.set(n, &op, n.Params, x.Inputs[0])
	return true
}

// spaceToDepth finds the strided slices of an image that a Concat joins.
func (r *rewriter) spaceToDepth(n *graph.Node) bool {
	if _, ok := n.Op.(*graph.Concat); !ok || len(n.Shape) != 3 {
		return false
	}
	b := 0
	for b*b < len(n.Inputs) {
		b++
	}
	if b < 2 || b*b != len(n.Inputs) {
		return false
	}
	var x *graph.Node
	order := make([]int, b*b) // position in the Concat of each block
	for i := range order {
		order[i] = -1
	}
	for i, in := range n.Inputs {
		from, start, step, ok := slicesOf(in)
		if !ok || x != nil && x != from || len(from.Shape) != 3 {
			return false
		}
		x = from
		h, w, c := x.Shape[0], x.Shape[1], x.Shape[2]
		if h%b != 0 || w%b != 0 || !slices.Equal(in.Shape, graph.Shape{h / b, w / b, c}) {
			return false
		}
		if h/b > 1 && step[0] != b || w/b > 1 && step[1] != b || start[0] >= b || start[1] >= b || start[2] != 0 || !r.only(in) {
			return false
		}
		order[start[0]*b+start[1]] = i
	}
	if slices.Contains(order, -1) {
		return false
	}
	c := x.Shape[2]
	natural := true
	indices := make(graph.Ints, b*b*c)
	for block, i := range order {
		natural = natural && block == i
		for k := range c {
			indices[i*c+k] = block*c + k
		}
	}
	if natural {
		r.set(n, &graph.SpaceToDepth{Block: b}, nil, x)
		return true
	}
	s := &graph.Node{Name: r.fresh(n.Name + "/space_to_depth"), Op: &graph.SpaceToDepth{Block: b}, Inputs: []*graph.Node{x}, Shape: slices.Clone(n.Shape)}
	r.g.Nodes = append(r.g.Nodes, s)
	r.users[x] = append(r.users[x], s)
	r.set(n, &graph.Gather{Axis: 2, Indices: indices, IndexShape: graph.Ints{b * b * c}}, nil, s)
	return true
}

// slicesOf follows slices upwards and returns what they take of which node.
func slicesOf(n *graph.Node) (x *graph.Node, start, step []int, ok bool) {
	op, is := n.Op.(*graph.Slice)
	if !is {
		return nil, nil, nil, false
	}
	start, step = slices.Clone(op.Start), slices.Clone(op.Step)
	x = n.Inputs[0]
	for {
		before, is := x.Op.(*graph.Slice)
		if !is {
			return x, start, step, true
		}
		for a := range start {
			start[a] = before.Start[a] + start[a]*before.Step[a]
			step[a] *= before.Step[a]
		}
		x = x.Inputs[0]
	}
}

func (r *rewriter) fresh(name string) string {
	base := name
	for k := 1; r.g.Node(name) != nil; k++ {
		name = fmt.Sprintf("%s#%d", base, k)
	}
	return name
}

// shuffle turns a transposition of factors of the last axis into a choice of
// channels.
func (r *rewriter) shuffle(n *graph.Node) bool {
	if _, ok := n.Op.(*graph.Reshape); !ok {
		return false
	}
	t := n.Inputs[0]
	tr, ok := t.Op.(*graph.Transpose)
	if !ok || !r.only(t) {
		return false
	}
	first := t.Inputs[0]
	if _, ok := first.Op.(*graph.Reshape); !ok || !r.only(first) {
		return false
	}
	x := first.Inputs[0]
	rank := len(x.Shape)
	if rank < 2 || !slices.Equal(x.Shape, n.Shape) {
		return false
	}
	// The axes before the last are untouched, as sizes; of the rest only the
	// order changes.
	kept, outer := 0, 1
	for kept < len(tr.Perm) && tr.Perm[kept] == kept && outer < x.Shape.Positions() {
		outer *= first.Shape[kept]
		kept++
	}
	c := x.Shape.Channels()
	if outer != x.Shape.Positions() {
		return false
	}
	factors := first.Shape[kept:]
	indices := &tensor.Tensor{Shape: factors, Data: make([]float32, c)}
	for k := range indices.Data {
		indices.Data[k] = float32(k)
	}
	if c >= 1<<24 || len(factors) == 0 {
		return false
	}
	var perm []int
	for _, p := range tr.Perm[kept:] {
		perm = append(perm, p-kept)
	}
	moved, err := indices.Permute(perm...)
	if err != nil {
		return false
	}
	op := &graph.Gather{Axis: rank - 1, IndexShape: graph.Ints{c}}
	for _, v := range moved.Data {
		op.Indices = append(op.Indices, int(v))
	}
	r.set(n, op, nil, x)
	return true
}

// channelChoice lets a dense layer take its input channels in the order in which
// they are.
func (r *rewriter) channelChoice(n *graph.Node) bool {
	switch op := n.Op.(type) {
	case *graph.Linear:
	case *graph.Conv2D:
		if op.Groups != 1 {
			return false
		}
	default:
		return false
	}
	x := n.Inputs[0]
	op, ok := x.Op.(*graph.Gather)
	if !ok || !r.only(x) || op.Axis != len(x.Inputs[0].Shape)-1 || len(op.IndexShape) != 1 {
		return false
	}
	in := x.Inputs[0].Shape.Channels()
	seen := make([]bool, in)
	for _, i := range op.Indices {
		if seen[i] {
			return false
		}
		seen[i] = true
	}
	if len(op.Indices) != in {
		return false
	}
	w := n.Weight()
	out := w.Shape[len(w.Shape)-1]
	weight := tensor.New(w.Shape...)
	for row := range len(w.Data) / out {
		to := row/in*in + op.Indices[row%in]
		copy(weight.Data[to*out:(to+1)*out], w.Data[row*out:(row+1)*out])
	}
	params := graph.Params{"weight": weight}
	if b := n.Params["bias"]; b != nil {
		params["bias"] = b
	}
	r.set(n, n.Op, params, x.Inputs[0])
	return true
}
