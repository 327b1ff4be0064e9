package ann

import (
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// A plan is a compiled graph: steps in order, and where every value lies.
type plan struct {
	pool    *parallel.Pool
	inputs  []*graph.Node
	outputs []output
	values  []value
	steps   []step

	weights int // float32 of packed weights
	traffic int // float32 per sample that the steps read and write

	slots    []int       // values per sample that each buffer of the arena holds
	arena    [][]float32 // one buffer per slot, grown to the largest batch so far
	observed [][]float32 // buffers of Observe, one per output
}

// An output of the plan: its shape and the value that holds it. copied says
// that the value lives elsewhere (it is an input, or another output too).
type output struct {
	shape  graph.Shape
	value  int
	copied bool
}

// place says in which memory a value lies.
type place int8

const (
	inArena  place = iota // buffer number index of the arena
	inInput               // the caller's input tensor number index
	inOutput              // the caller's output tensor number index
)

// A value is what a step writes: size numbers per sample.
type value struct {
	size  int
	place place
	index int
	last  int // the last step that reads it
}

// A step computes out from ins, for n samples.
type step struct {
	node *graph.Node // for messages: the last node fused into the step
	ins  []int
	out  int
	run  func(n int, in [][]float32, out []float32)

	overwrite bool // out may be the memory of ins[0]
	buf       [][]float32
}

// cacheValues is how many float32 of activations a sub-batch may keep alive to
// stay in the cache: 8 MiB. See subBatch.
const cacheValues = 1 << 21

// compile turns g, whose structure it may change, into a plan.
func compile(g *graph.Graph, pool *parallel.Pool, fast bool) (*plan, error) {
	inputs := g.InputNodes()
	graph.FoldBatchNorm(g)
	graph.RemoveDead(g)
	if err := g.Infer(); err != nil {
		return nil, err
	}
	p := &plan{pool: pool, inputs: inputs, observed: make([][]float32, len(g.Outputs))}
	c := &compiler{plan: p, fuser: newFuser(g), fast: fast}
	for i, n := range inputs {
		c.value[n] = c.newValue(n)
		p.values[c.value[n]].place, p.values[c.value[n]].index = inInput, i
	}
	for _, n := range g.Nodes {
		if err := c.add(n); err != nil {
			return nil, err
		}
	}
	c.placeOutputs()
	c.allocate()
	return p, nil
}

// A compiler holds what is needed while a plan is made.
type compiler struct {
	fast bool // Winograd's algorithm where it fits
	fuser
	plan *plan
}

func (c *compiler) newValue(n *graph.Node) int {
	c.plan.values = append(c.plan.values, value{size: n.Shape.Numel(), last: -1})
	return len(c.plan.values) - 1
}

// add appends the step of n and of the chain behind it.
func (c *compiler) add(n *graph.Node) error {
	if c.done[n] {
		return nil
	}
	if err := checkNode(n); err != nil {
		return err
	}
	switch n.Op.(type) {
	case *graph.Input:
		return nil
	case *graph.Identity, *graph.Dropout, *graph.Flatten, *graph.Reshape:
		c.value[n] = c.value[n.Inputs[0]]
		return nil
	}
	s := step{}
	for _, in := range n.Inputs {
		s.ins = append(s.ins, c.value[in])
	}
	ch, err := c.operation(n, &s)
	if err != nil {
		return err
	}
	if ch.add != nil {
		s.ins = append(s.ins, c.value[ch.add])
	}
	s.node = ch.last
	s.buf = make([][]float32, len(s.ins))
	for _, v := range s.ins {
		c.plan.values[v].last = len(c.plan.steps)
		c.plan.traffic += c.plan.values[v].size
	}
	s.out = c.newValue(ch.last)
	c.plan.traffic += c.plan.values[s.out].size
	c.value[ch.last] = s.out
	c.plan.steps = append(c.plan.steps, s)
	return nil
}

// operation sets s.run for n and returns the chain it computes.
func (c *compiler) operation(n *graph.Node, s *step) (chain, error) {
	pool := c.plan.pool
	size := n.Shape.Numel()
	channels := n.Shape.Channels()
	alone := chain{last: n}
	switch op := n.Op.(type) {
	case *graph.Conv2D, *graph.Linear:
		ch := c.follow(n, true)
		conv := newForwardConv(convShape(n), n.Weight().Data, c.fast)
		c.plan.weights += conv.size(n.Weight().Len())
		e := kernel.Epilogue{Bias: slices.Clone(n.Bias()), Act: activation(ch.limit)}
		s.run = func(batch int, in [][]float32, out []float32) {
			e := e
			if len(in) > 1 {
				e.Add = in[1]
			}
			conv.run(pool, batch, in[0], e, out)
		}
		return ch, nil
	case *graph.ConvTranspose2D:
		ch := c.follow(n, false)
		shape, _ := mirrorShape(n) // checked by checkNode
		w := make([]float32, n.Weight().Len())
		mirrorWeight(w, n.Weight())
		conv := newBackwardConv(shape, w, c.fast)
		c.plan.weights += len(w)
		bias := slices.Clone(n.Bias())
		s.run = func(batch int, in [][]float32, out []float32) {
			conv.run(pool, batch, in[0], out)
			biasReLU(pool, out, bias, channels, ch.limit)
		}
		return ch, nil
	case *graph.BatchNorm:
		ch := c.follow(n, false)
		scale64, shift64 := op.Affine(n.Params)
		scale, shift := narrow(scale64), narrow(shift64)
		low, high := clampRange(ch.limit)
		s.overwrite = true
		s.run = func(_ int, in [][]float32, out []float32) {
			kernel.BatchNormApply(pool, out, in[0], scale, shift, low, high)
		}
		return ch, nil
	case *graph.Add:
		ch := c.follow(n, false)
		s.overwrite = true
		s.run = func(_ int, in [][]float32, out []float32) { addReLU(pool, out, in, ch.limit) }
		return ch, nil
	case *graph.ReLU, *graph.ReLU6:
		limit, _ := reluLimit(n)
		s.overwrite = true
		s.run = func(_ int, in [][]float32, out []float32) {
			pool.Chunks(len(out), chunk, func(lo, hi int) { kernel.ReLU(out[lo:hi], in[0][lo:hi], limit) })
		}
	case *graph.LeakyReLU:
		slope := float32(op.Alpha)
		s.overwrite = true
		s.run = func(_ int, in [][]float32, out []float32) {
			pool.Chunks(len(out), chunk, func(lo, hi int) { kernel.LeakyReLU(out[lo:hi], in[0][lo:hi], slope) })
		}
	case *graph.MaxPool2D:
		shape := poolShape(n)
		s.run = func(batch int, in [][]float32, out []float32) {
			shape := shape
			shape.N = batch
			kernel.MaxPool(pool, shape, in[0], out, nil)
		}
	case *graph.AvgPool2D:
		shape, countPad := poolShape(n), op.CountIncludePad
		s.run = func(batch int, in [][]float32, out []float32) {
			shape := shape
			shape.N = batch
			kernel.AvgPool(pool, shape, in[0], out, countPad)
		}
	case *graph.GlobalAvgPool:
		positions := n.Inputs[0].Shape.Positions()
		s.run = func(batch int, in [][]float32, out []float32) {
			kernel.GlobalAvgPool(pool, batch, positions, channels, in[0], out)
		}
	case *graph.GlobalMaxPool:
		positions := n.Inputs[0].Shape.Positions()
		s.run = func(batch int, in [][]float32, out []float32) {
			kernel.GlobalMaxPool(pool, batch, positions, channels, in[0], out, nil)
		}
	case *graph.Concat:
		parts := partWidths(n)
		s.run = func(_ int, in [][]float32, out []float32) { concat(pool, out, in, parts) }
	case *graph.Upsample:
		shape, nearest, align := resampleShape(n), op.Mode == "nearest", op.AlignCorners
		s.run = func(batch int, in [][]float32, out []float32) {
			shape := shape
			shape.N = batch
			if nearest {
				kernel.ResampleNearest(pool, shape, in[0], out)
			} else {
				kernel.ResampleBilinear(pool, shape, in[0], out, align)
			}
		}
	case *graph.Softmax, *graph.LogSoftmax:
		f := kernel.SoftmaxFast
		if _, log := n.Op.(*graph.LogSoftmax); log {
			f = kernel.LogSoftmax
		}
		s.run = func(batch int, in [][]float32, out []float32) {
			rowChunks(pool, batch*size, channels, func(lo, hi int) { f(out[lo:hi], in[0][lo:hi], channels) })
		}
	default:
		o, err := newOperation(ownParams(n), pool)
		if err != nil {
			return alone, err
		}
		if o == nil {
			return alone, unsupported(n, "no execution of this kind")
		}
		if w := n.Weight(); w != nil {
			c.plan.weights += w.Len()
		}
		s.overwrite = o.overwrite
		s.run = o.forward
	}
	return alone, nil
}

// ownParams returns n with copies of its parameters, which later changes to the
// graph do not reach.
func ownParams(n *graph.Node) *graph.Node {
	own := *n
	own.Params = make(graph.Params, len(n.Params))
	for role, t := range n.Params {
		own.Params[role] = t.Clone()
	}
	return &own
}

// placeOutputs lets steps write into the caller's output tensors directly
// where a value is exactly one output.
func (c *compiler) placeOutputs() {
	p := c.plan
	for i, n := range c.g.Outputs {
		v := c.value[n]
		o := output{shape: n.Shape, value: v}
		if p.values[v].place == inArena {
			p.values[v].place, p.values[v].index = inOutput, i
		} else {
			o.copied = true
		}
		p.outputs = append(p.outputs, o)
	}
}

// allocate gives every other value a buffer of the arena, reusing those whose
// values are dead: the smallest that is large enough, else the largest, grown.
func (c *compiler) allocate() {
	p := c.plan
	var free []int
	for i := range p.steps {
		s := &p.steps[i]
		out := &p.values[s.out]
		release := func(v int) {
			if val := p.values[v]; val.place == inArena && val.last == i {
				free = append(free, val.index)
			}
		}
		ins := slices.Clone(s.ins)
		slices.Sort(ins)
		ins = slices.Compact(ins)
		if out.place == inArena {
			var first value
			if len(s.ins) > 0 {
				first = p.values[s.ins[0]]
			}
			if s.overwrite && len(s.ins) > 0 && first.place == inArena && first.last == i && first.size == out.size &&
				!slices.Contains(s.ins[1:], s.ins[0]) {
				out.index = first.index
				ins = slices.DeleteFunc(ins, func(v int) bool { return v == s.ins[0] })
			} else {
				out.index = p.take(&free, out.size)
			}
		}
		for _, v := range ins {
			release(v)
		}
		if out.place == inArena && out.last < 0 { // nobody reads it
			free = append(free, out.index)
		}
	}
	p.arena = make([][]float32, len(p.slots))
}

func (p *plan) take(free *[]int, size int) int {
	best := -1
	for k, slot := range *free {
		if best < 0 {
			best = k
			continue
		}
		have, best1 := p.slots[slot], p.slots[(*free)[best]]
		if fits := have >= size; fits && (best1 < size || have < best1) || !fits && best1 < size && have > best1 {
			best = k
		}
	}
	if best < 0 {
		p.slots = append(p.slots, size)
		return len(p.slots) - 1
	}
	slot := (*free)[best]
	*free = slices.Delete(*free, best, best+1)
	p.slots[slot] = max(p.slots[slot], size)
	return slot
}

// subBatch returns how many samples to run at a time: as many as keep the
// activations in the cache, unless reading the weights again for every
// sub-batch moves more memory than that saves. Measured (BenchmarkSubBatch, 64
// images, one thread, 32 MiB of last-level cache): ResNet-20 379 ms in eights,
// 416 at once; VGG16, whose weights are 14 times its activations, 217 and 194.
func (p *plan) subBatch(n int) int {
	live := 0
	for _, s := range p.slots {
		live += s
	}
	most := max(cacheValues/max(live, 1), 1)
	if most >= n || p.weights/most > p.weights/n+p.traffic {
		return n
	}
	pieces := (n + most - 1) / most
	return (n + pieces - 1) / pieces
}

// run computes ys, of n samples each, from xs.
func (p *plan) run(n int, xs, ys []*tensor.Tensor) {
	size := p.subBatch(n)
	for lo := 0; lo < n; lo += size {
		p.runPart(lo, min(lo+size, n), xs, ys)
	}
}

func (p *plan) runPart(lo, hi int, xs, ys []*tensor.Tensor) {
	n := hi - lo
	for i, size := range p.slots {
		if cap(p.arena[i]) < n*size {
			p.arena[i] = make([]float32, n*size)
		}
	}
	memory := func(v int) []float32 {
		val := &p.values[v]
		switch val.place {
		case inInput:
			return xs[val.index].Data[lo*val.size : hi*val.size]
		case inOutput:
			return ys[val.index].Data[lo*val.size : hi*val.size]
		}
		return p.arena[val.index][:n*val.size]
	}
	for i := range p.steps {
		s := &p.steps[i]
		for k, v := range s.ins {
			s.buf[k] = memory(v)
		}
		s.run(n, s.buf, memory(s.out))
		clear(s.buf) // keep no hold of the caller's tensors
	}
	for i, o := range p.outputs {
		if o.copied {
			size := p.values[o.value].size
			copy(ys[i].Data[lo*size:hi*size], memory(o.value))
		}
	}
}

// activation returns the fused activation for a rectifier's limit, 0 for none.
func activation(limit float32) kernel.Activation {
	switch limit {
	case 0:
		return kernel.ActNone
	case 6:
		return kernel.ActReLU6
	}
	return kernel.ActReLU
}

// clampRange is activation as a range.
func clampRange(limit float32) (low, high float32) {
	if limit == 0 {
		return float32(math.Inf(-1)), float32(math.Inf(1))
	}
	return 0, limit
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}
