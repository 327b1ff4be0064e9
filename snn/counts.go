package snn

import (
	"encoding/binary"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
)

// LayerCounts holds what one layer of neurons did, per sample
// (algorithms.md 8.2).
type LayerCounts struct {
	Spikes       []int64 // sum of the counts over timesteps and neurons, negative ones without their sign
	Events       []int64 // (neuron, timestep) pairs with at least one spike; timesteps are one if the schedule is ScheduleAccumulate
	SOPs         []int64 // synaptic operations: spikes times fan-out, bursts with multiplicity
	ReadoutSOPs  []int64 // the part of SOPs that goes into layers behind the last neurons
	PoolAdds     []int64 // spikes that enter a sum pool
	ResidualAdds []int64 // spikes that pass an identity shortcut
	Inputs       []int64 // (input, timestep) pairs of the driving layer that are not zero; 0 if its input is analog
}

func (c *LayerCounts) all() []*[]int64 {
	return []*[]int64{&c.Spikes, &c.Events, &c.SOPs, &c.ReadoutSOPs, &c.PoolAdds, &c.ResidualAdds, &c.Inputs}
}

func (c *LayerCounts) reset(samples int) {
	for _, s := range c.all() {
		clear(grow(s, samples))
	}
}

func (c *LayerCounts) add(sample int, spikes, events int64) {
	c.Spikes[sample] += spikes
	c.Events[sample] += events
}

// put copies the counts of a group to the samples from lo on.
func (c *LayerCounts) put(lo int, from *LayerCounts) {
	src := from.all()
	for i, s := range c.all() {
		copy((*s)[lo:], *src[i])
	}
}

// gain adds what sample i of from did to the counts of a sample.
func (c *LayerCounts) gain(sample int, from *LayerCounts, i int) {
	src := from.all()
	for k, s := range c.all() {
		(*s)[sample] += (*src[k])[i]
	}
}

// wireCost says what one spike on a wire causes, per position.
type wireCost struct {
	sops, readout, pool, residual []int64
	any                           bool

	// Most positions, away from borders, cause the same: usual is one of them,
	// others lists those that cause something else.
	usual  int
	others []int
}

// findUsual splits the positions, if that saves work.
func (c *wireCost) findUsual() {
	n := len(c.sops)
	c.usual = n / 2
	h := 0
	for h*h < n { // the middle of a square image
		h++
	}
	if h*h == n {
		c.usual = h/2*h + h/2
	}
	same := func(i int) bool {
		u := c.usual
		return c.sops[i] == c.sops[u] && c.readout[i] == c.readout[u] && c.pool[i] == c.pool[u] && c.residual[i] == c.residual[u]
	}
	c.others = nil
	for i := range n {
		if !same(i) {
			c.others = append(c.others, i)
		}
	}
}

// costs counts, for every wire that spikes are emitted on, the operations that
// a spike at each position causes on its way to the next neurons: the outputs
// it reaches in convolutions and fully connected layers (borders, strides and
// groups counted), the sums of pools it enters, the identity shortcuts it
// passes. A pool passes it on, once for every window it lies in.
func (n *Network) costs() []wireCost {
	uses := n.g.Consumers()
	cost := make([]wireCost, len(n.plan.wires))
	done := make([]bool, len(cost))
	var of func(node *graph.Node) *wireCost
	of = func(node *graph.Node) *wireCost {
		i := n.plan.index[node]
		if done[i] {
			return &cost[i]
		}
		done[i] = true
		c := newWireCost(node.Shape.Positions())
		for _, r := range uses[node] {
			n.addCost(&c, node, r, uses, of)
		}
		cost[i] = c
		return &cost[i]
	}
	for i, w := range n.plan.wires {
		if w.spikes && (graph.IsActivation(w.node) || isTimedMaxPool(w) || w.recounts()) {
			of(w.node)
			c := &cost[i]
			for _, v := range [][]int64{c.sops, c.pool, c.residual} {
				for _, k := range v {
					c.any = c.any || k != 0
				}
			}
			c.findUsual()
		}
	}
	return cost
}

func newWireCost(positions int) wireCost {
	v := make([]int64, 4*positions)
	return wireCost{sops: v[:positions], readout: v[positions : 2*positions],
		pool: v[2*positions : 3*positions], residual: v[3*positions:]}
}

// addCost adds what a spike of node causes in its reader r.
func (n *Network) addCost(c *wireCost, node, r *graph.Node, uses map[*graph.Node][]*graph.Node, of func(*graph.Node) *wireCost) {
	h, w, _ := node.Shape.HWC()
	oh, ow, cout := r.Shape.HWC()
	layers := populations(r, uses)
	direct := func(i int, k int64) {
		k *= layers
		c.sops[i] += k
		if n.plan.wires[n.plan.index[r]].readout {
			c.readout[i] += k
		}
	}
	// pass adds what a spike causes that goes on to position j of r.
	pass := func(i, j int) {
		next := of(r)
		c.sops[i] += next.sops[j]
		c.readout[i] += next.readout[j]
		c.pool[i] += next.pool[j]
		c.residual[i] += next.residual[j]
	}
	switch op := r.Op.(type) {
	case *graph.Conv2D:
		k := r.Weight().Shape
		rows := reach(h, oh, k[0], op.Stride[0], op.Pad[0], op.Dilation[0])
		columns := reach(w, ow, k[1], op.Stride[1], op.Pad[1], op.Dilation[1])
		for i := range h * w {
			direct(i, int64(len(rows[i/w]))*int64(len(columns[i%w]))*int64(cout/op.Groups))
		}
	case *graph.ConvTranspose2D:
		// An output o is reached from y if the mirrored convolution reaches y from o.
		k := r.Weight().Shape
		rows := mirror(reach(oh, h, k[0], op.Stride[0], op.Pad[0], op.Dilation[0]), h)
		columns := mirror(reach(ow, w, k[1], op.Stride[1], op.Pad[1], op.Dilation[1]), w)
		for i := range h * w {
			direct(i, int64(rows[i/w])*int64(columns[i%w])*int64(cout/op.Groups))
		}
	case *graph.Linear:
		for i := range c.sops {
			direct(i, int64(cout))
		}
	case *graph.BatchNorm, *graph.Affine:
		for i := range c.sops {
			direct(i, 1)
		}
	case *graph.AvgPool2D:
		rows := reach(h, oh, op.Kernel[0], op.Stride[0], op.Pad[0], 1)
		columns := reach(w, ow, op.Kernel[1], op.Stride[1], op.Pad[1], 1)
		for i := range h * w {
			for _, y := range rows[i/w] {
				for _, x := range columns[i%w] {
					c.pool[i]++
					pass(i, y*ow+x)
				}
			}
		}
	case *graph.GlobalAvgPool:
		for i := range c.pool {
			c.pool[i]++
			pass(i, 0)
		}
	default:
		if m := n.plan.wires[n.plan.index[r]].index; m != nil && m.passes != nil {
			for i, to := range m.passes {
				for _, j := range to {
					pass(i, int(j))
				}
			}
		}
	case *graph.Add:
		for i := range c.residual {
			c.residual[i]++
			pass(i, i)
		}
	case *graph.Concat, *graph.Identity, *graph.Dropout:
		for i := range c.sops {
			pass(i, i)
		}
	case *graph.Flatten:
		for i := range c.sops {
			pass(i, 0)
		}
	case *graph.Upsample:
		if op.Mode == "nearest" {
			for j, i := range nearestSource(h, w, oh, ow) {
				pass(i, j)
			}
			return
		}
		rows, columns := bilinearReach(h, oh, op.AlignCorners), bilinearReach(w, ow, op.AlignCorners)
		for i := range h * w {
			for _, y := range rows[i/w] {
				for _, x := range columns[i%w] {
					pass(i, y*ow+x)
				}
			}
		}
	}
}

// bilinearReach lists, for every input position of an axis, the outputs it has
// a weight in.
func bilinearReach(in, out int, alignCorners bool) [][]int {
	x, y := make([]float32, in*in), make([]float32, in*out)
	for i := range in {
		x[i*in+i] = 1
	}
	kernel.ResampleBilinear(nil, kernel.ResampleShape{N: in, H: 1, W: in, C: 1, OutH: 1, OutW: out}, x, y, alignCorners)
	to := make([][]int, in)
	for i, v := range y {
		if v != 0 {
			to[i/out] = append(to[i/out], i%out)
		}
	}
	return to
}

// reach lists, for every input position y of an axis, the outputs o with a tap
// j such that o*stride - pad + j*dilation = y.
func reach(in, out, k, stride, pad, dilation int) [][]int {
	to := make([][]int, in)
	for o := range out {
		for j := range k {
			if y := o*stride - pad + j*dilation; y >= 0 && y < in {
				to[y] = append(to[y], o)
			}
		}
	}
	return to
}

// mirror counts how often each of n positions is reached.
func mirror(to [][]int, n int) []int {
	count := make([]int, n)
	for _, list := range to {
		for _, o := range list {
			count[o]++
		}
	}
	return count
}

// countOperations adds up what the spikes on a wire cause.
func (r *run) countOperations(w int) {
	c := &r.net.cost[w]
	if !c.any || r.noCounts {
		return
	}
	wire, steps := r.net.plan.wires[w], r.span
	positions := wire.node.Shape.Positions()
	channels := wire.size / positions
	if wire.kind == current {
		r.countFloatOperations(w)
		return
	}
	spikes := r.bytes[w]
	sums := grow(&r.scratch.sums, positions)
	// What a layer of neurons emits in all is known.
	f, neurons := r.net.plan.steps[w].(*fireStep)
	neurons = neurons && 2*len(c.others) < positions
	lo := 0 // first channel of the emitter
	for _, e := range wire.emitters {
		layer := &r.layers[e.layer]
		for g := range r.samples {
			frames := spikes[g*steps*wire.size : (g+1)*steps*wire.size]
			if !neurons {
				clear(sums)
				for at := 0; at < len(frames); at += wire.size {
					for i := range sums {
						sums[i] += sumBytes(frames[at+i*channels+lo : at+i*channels+lo+e.channels])
					}
				}
				for i, k := range sums {
					layer.spend(g, int64(k), c, i)
				}
				continue
			}
			rest := r.layers[f.layer].Spikes[g]
			for _, i := range c.others {
				var k uint32
				for at := i * channels; at < len(frames); at += wire.size {
					k += sumBytes(frames[at : at+channels])
				}
				layer.spend(g, int64(k), c, i)
				rest -= int64(k)
			}
			layer.spend(g, rest, c, c.usual)
		}
		lo += e.channels
	}
}

// spend adds what k spikes of sample g at a position cause.
func (c *LayerCounts) spend(g int, k int64, cost *wireCost, position int) {
	c.SOPs[g] += k * cost.sops[position]
	c.ReadoutSOPs[g] += k * cost.readout[position]
	c.PoolAdds[g] += k * cost.pool[position]
	c.ResidualAdds[g] += k * cost.residual[position]
}

// countFloatOperations is countOperations for a wire of counts in floats.
func (r *run) countFloatOperations(w int) {
	c, wire := &r.net.cost[w], r.net.plan.wires[w]
	positions := wire.node.Shape.Positions()
	channels := wire.size / positions
	f, neurons := r.net.plan.steps[w].(*fireStep)
	neurons = neurons && 2*len(c.others) < positions
	lo := 0
	for _, e := range wire.emitters {
		layer := &r.layers[e.layer]
		for k := range r.samples * r.span {
			g, frame := k/r.span, r.floats[w][k*wire.size:(k+1)*wire.size]
			list := c.others
			if !neurons {
				list = nil
				for i := range positions {
					layer.spend(g, sumFloats(frame[i*channels+lo:i*channels+lo+e.channels]), c, i)
				}
			}
			for _, i := range list {
				n := sumFloats(frame[i*channels : (i+1)*channels])
				layer.spend(g, n, c, i)
				layer.spend(g, -n, c, c.usual)
			}
		}
		lo += e.channels
	}
	if neurons {
		for g := range r.samples {
			r.layers[f.layer].spend(g, r.layers[f.layer].Spikes[g], c, c.usual)
		}
	}
}

// sumFloats adds up counts without their signs.
func sumFloats(x []float32) (sum int64) {
	for _, n := range x {
		sum += int64(max(n, -n))
	}
	return sum
}

// countInputs counts the inputs of the layer that drives s which are not zero.
func (r *run) countInputs(s *fireStep) {
	in, steps := r.net.plan.wires[s.in], r.span
	if r.noCounts {
		return
	}
	if from, ok := r.net.plan.steps[s.in].(*fireStep); ok { // those neurons counted
		copy(r.layers[s.layer].Inputs, r.layers[from.layer].Events)
		return
	}
	size := steps * in.size
	for g := range r.samples {
		var live int64
		switch in.kind {
		case counts:
			_, live = kernel.CountSpikes(r.bytes[s.in][g*size : (g+1)*size])
		case current:
			for _, x := range r.floats[s.in][g*size : (g+1)*size] {
				if x != 0 {
					live++
				}
			}
		}
		r.layers[s.layer].Inputs[g] = live
	}
}

// sumBytes adds up bytes, eight at a time in four lanes of 16 bits.
func sumBytes(b []uint8) uint32 {
	const lanes = 0x00ff00ff00ff00ff
	var sum uint32
	for len(b) >= 8 {
		n := min(len(b)/8, 64) // 64 words: 2*64*255 fits into a lane
		var acc uint64
		for i := 0; i < 8*n; i += 8 {
			x := binary.LittleEndian.Uint64(b[i : i+8])
			acc += x&lanes + x>>8&lanes
		}
		sum += uint32(acc&0xffff) + uint32(acc>>16&0xffff) + uint32(acc>>32&0xffff) + uint32(acc>>48)
		b = b[8*n:]
	}
	for _, x := range b {
		sum += uint32(x)
	}
	return sum
}
