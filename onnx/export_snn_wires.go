package onnx

import (
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// classify decides what varies in time, what holds counts, and what is computed
// on means only, by the rules of package snn.
func (x *snnExporter) classify() error {
	layer := 0
	for _, n := range x.g.Nodes {
		w := &snnWire{layer: -1}
		x.wires[n] = w
		if _, ok := n.Op.(*graph.Input); ok {
			w.timed = x.form == SNNScan
			continue
		}
		if graph.IsActivation(n) {
			switch n.Op.(type) {
			case *graph.ReLU, *graph.ReLU6, *graph.Clip: // a clip that counts as activation begins at 0
			default:
				return refuseExport(n, "neurons of two signs are not exported; train with ReLU")
			}
			w.timed, w.spikes, w.layer, w.most = true, true, layer, x.cfg.Layers[layer].MaxSpike
			layer++
			continue
		}
		all := true
		for _, in := range n.Inputs {
			from := x.wires[in]
			w.timed = w.timed || from.timed
			all = all && from.spikes
			w.most = max(w.most, from.most)
		}
		switch op := n.Op.(type) {
		case *graph.MaxPool2D, *graph.GlobalMaxPool, *graph.Flatten, *graph.Concat, *graph.Identity, *graph.Dropout:
			w.spikes = all
		case *graph.Upsample:
			w.spikes = all && op.Mode == "nearest"
		case *graph.Conv2D, *graph.ConvTranspose2D, *graph.Linear, *graph.BatchNorm, *graph.Add, *graph.AvgPool2D, *graph.GlobalAvgPool,
			*graph.Softmax, *graph.LogSoftmax:
		default:
			if w.timed {
				return refuseExport(n, "its form in time is not exported")
			}
		}
		if w.timed && isTimedMax(n) && !w.spikes {
			return refuseExport(n, "its input varies in time and holds no spike counts")
		}
	}
	for _, n := range slices.Backward(x.g.Nodes) {
		w := x.wires[n]
		readers := x.uses[n]
		if !w.timed || w.layer >= 0 || isTimedMax(n) || len(n.Inputs) == 0 || (len(readers) == 0 && !x.g.IsOutput(n)) {
			continue
		}
		w.readout = true
		for _, r := range readers {
			w.readout = w.readout && x.wires[r].readout
		}
	}
	for _, n := range x.g.Nodes {
		if !x.wires[n].readout {
			switch n.Op.(type) {
			case *graph.Softmax, *graph.LogSoftmax:
				if x.wires[n].timed {
					return refuseExport(n, "only behind the last neurons")
				}
			}
			continue
		}
		for _, in := range n.Inputs {
			from := x.wires[in]
			from.mean = from.mean || from.timed && !from.readout
		}
	}
	out := x.g.Outputs[0]
	if !x.wires[out].readout {
		x.wires[out].mean = true
	}
	return nil
}

// takesScale says whether the node can deliver its output in any scale.
func takesScale(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear, *graph.ConvTranspose2D, *graph.Add, *graph.BatchNorm:
		return true
	}
	return false
}

// thresholds returns one per channel.
func (x *snnExporter) thresholds(n *graph.Node) []float32 {
	theta := x.cfg.Layers[x.wires[n].layer].Threshold
	if c := n.Shape.Channels(); len(theta) != c {
		return slices.Repeat(theta[:1], c)
	}
	return theta
}

// chooseScales walks backwards for what readers want, neurons their thresholds,
// then forwards.
func (x *snnExporter) chooseScales() {
	want := make(map[*graph.Node][]float32)
	for _, n := range slices.Backward(x.g.Nodes) {
		if !takesScale(n) {
			continue
		}
		var scale []float32
		for _, r := range x.uses[n] {
			var s []float32
			switch {
			case graph.IsActivation(r):
				s = x.thresholds(r)
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
	for _, n := range x.g.Nodes {
		w := x.wires[n]
		switch {
		case len(n.Inputs) == 0:
		case w.layer >= 0:
			w.scale = x.thresholds(n)
		case takesScale(n):
			w.scale = want[n]
		default:
			w.scale = x.passed(n)
		}
	}
}

// passed is the scale of a node that has no choice.
func (x *snnExporter) passed(n *graph.Node) []float32 {
	in := x.wires[n.Inputs[0]].scale
	var out []float32
	switch n.Op.(type) {
	case *graph.Concat:
		any := false
		for _, m := range n.Inputs {
			s := x.wires[m].scale
			any = any || s != nil
			if s == nil {
				s = slices.Repeat([]float32{1}, m.Shape.Channels())
			}
			out = append(out, s...)
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
	case *graph.Softmax, *graph.LogSoftmax:
		return nil
	}
	return in
}

// ratioAt is in[i]/out[j], where a nil scale is 1.
func ratioAt(in []float32, i int, out []float32, j int) float32 {
	r := float32(1)
	if in != nil {
		r = in[i]
	}
	if out != nil {
		r /= out[j]
	}
	return r
}

// ratios is in/out per channel, nil where it is 1 throughout.
func ratios(in, out []float32, channels int) []float32 {
	f := make([]float32, channels)
	one := true
	for ch := range f {
		f[ch] = ratioAt(in, ch, out, ch)
		one = one && f[ch] == 1
	}
	if one {
		return nil
	}
	return f
}

// plain writes a node on the values of the current timestep.
func (x *snnExporter) plain(n *graph.Node) error {
	return x.plainOn(n, func(m *graph.Node) exval { return x.values[m] })
}

// plainOn writes a linear node, or one behind the last neurons, with its scales
// folded in.
func (x *snnExporter) plainOn(n *graph.Node, get func(*graph.Node) exval) error {
	w := x.wires[n]
	c := n.Shape.Channels()
	in := make([]exval, len(n.Inputs))
	for i, m := range n.Inputs {
		in[i] = get(m)
	}
	params := n.Params
	node := n
	switch op := n.Op.(type) {
	case *graph.Conv2D, *graph.ConvTranspose2D, *graph.Linear:
		params = x.parameters(n)
	case *graph.BatchNorm:
		a, b := op.Affine(n.Params)
		weight, bias := tensor.New(c), tensor.New(c)
		for ch := range c {
			weight.Data[ch] = float32(a[ch]) * ratioAt(x.wires[n.Inputs[0]].scale, ch, w.scale, ch)
			bias.Data[ch] = float32(b[ch]) * ratioAt(nil, 0, w.scale, ch)
		}
		node = &graph.Node{Name: n.Name, Op: &graph.Affine{}, Inputs: n.Inputs, Shape: n.Shape}
		params = graph.Params{"weight": weight, "bias": bias}
	case *graph.Add:
		for i, m := range n.Inputs {
			in[i] = x.scaled(n, in[i], ratios(x.wires[m].scale, w.scale, c))
		}
	case *graph.Softmax, *graph.LogSoftmax:
		in[0] = x.scaled(n, in[0], ratios(x.wires[n.Inputs[0]].scale, nil, c))
	case *graph.MaxPool2D, *graph.GlobalMaxPool, *graph.AvgPool2D, *graph.GlobalAvgPool, *graph.Upsample, *graph.Concat, *graph.Flatten,
		*graph.Identity, *graph.Dropout: // any scale passes
	default:
		for _, m := range n.Inputs {
			if x.wires[m].scale != nil {
				return refuseExport(n, "its input is in units of thresholds")
			}
		}
	}
	v, err := x.emit(node, params, in)
	x.values[n] = v
	return err
}

// parameters folds the scales of a layer's wires into its parameters; weights that
// spike counts drive are rounded as the configuration says.
func (x *snnExporter) parameters(n *graph.Node) graph.Params {
	if p := x.folded[n]; p != nil {
		return p
	}
	nodes := []*graph.Node{n}
	if other := x.together(n); other != nil {
		nodes = append(nodes, other)
	}
	var weights []*tensor.Tensor
	for _, m := range nodes {
		w := x.foldWeight(m)
		p := graph.Params{"weight": w}
		if b := m.Params["bias"]; b != nil {
			bias := tensor.New(b.Len())
			for co, v := range b.Data {
				bias.Data[co] = v * ratioAt(nil, 0, x.wires[m].scale, co)
			}
			p["bias"] = bias
		}
		x.folded[m] = p
		weights = append(weights, w)
	}
	if x.roundable(n) {
		x.round(nodes, weights)
	}
	return x.folded[n]
}

// outputOf maps an index of a weight to its input and output channel.
func outputOf(n *graph.Node, i int) (ci, co int) {
	w := n.Weight().Shape
	last := len(w) - 1
	rows, columns := w[last-1], w[last]
	r, c := i/columns%rows, i%columns
	switch op := n.Op.(type) {
	case *graph.Conv2D:
		return c/(columns/op.Groups)*rows + r, c
	case *graph.ConvTranspose2D:
		return r, r/(rows/op.Groups)*columns + c
	}
	return r, c
}

func (x *snnExporter) foldWeight(n *graph.Node) *tensor.Tensor {
	in, out := x.wires[n.Inputs[0]].scale, x.wires[n].scale
	w := n.Weight()
	t := tensor.New(w.Shape...)
	for i, v := range w.Data {
		ci, co := outputOf(n, i)
		t.Data[i] = v * ratioAt(in, ci, out, co)
	}
	return t
}

// roundable says whether the weights of n are whole numbers in package snn.
func (x *snnExporter) roundable(n *graph.Node) bool {
	if x.cfg.Weights != snn.I8 && x.cfg.Weights != snn.I16 || x.wires[n].readout {
		return false
	}
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear, *graph.ConvTranspose2D:
		return x.wires[n.Inputs[0]].spikes
	}
	return false
}

// together returns the layer that shares its steps with n: a projection shortcut
// and the layer it is added to, in front of neurons.
func (x *snnExporter) together(n *graph.Node) *graph.Node {
	only := func(m *graph.Node) *graph.Node {
		if len(x.uses[m]) != 1 || x.g.IsOutput(m) {
			return nil
		}
		return x.uses[m][0]
	}
	add := only(n)
	if add == nil || add.Kind() != "add" || len(add.Inputs) != 2 || !x.roundable(n) {
		return nil
	}
	if to := only(add); to == nil || !graph.IsActivation(to) {
		return nil
	}
	other := add.Inputs[0]
	if other == n {
		other = add.Inputs[1]
	}
	isLayer := func(m *graph.Node) bool {
		_, conv := m.Op.(*graph.Conv2D)
		_, linear := m.Op.(*graph.Linear)
		return conv || linear
	}
	// The first input that is a layer drives; the other may be a transposed one.
	if other == n || only(other) != add || !x.roundable(other) || !isLayer(n) && !isLayer(other) {
		return nil
	}
	return other
}

// round replaces weights by the nearest whole multiples of one step per output, as
// package snn does; where it keeps floats, so does this.
func (x *snnExporter) round(nodes []*graph.Node, weights []*tensor.Tensor) {
	outputs := nodes[0].Shape.Channels()
	// place calls f with the places of the weights in a block [rows, outputs].
	place := func(k int, f func(i, at int)) {
		rows := make([]int, outputs)
		for i := range weights[k].Data {
			_, co := outputOf(nodes[k], i)
			f(i, rows[co]*outputs+co)
			rows[co]++
		}
	}
	var blocks []snn.WeightBlock
	for k, w := range weights {
		b := snn.WeightBlock{W: make([]float32, len(w.Data)), Most: x.wires[nodes[k].Inputs[0]].most}
		place(k, func(i, at int) { b.W[at] = w.Data[i] })
		blocks = append(blocks, b)
	}
	q, step, ok := x.cfg.Weights.Quantise(blocks, outputs)
	if !ok {
		return
	}
	for k, w := range weights {
		place(k, func(i, at int) { w.Data[i] = float32(float32(q[k][at]) * step[at%outputs]) })
	}
}
