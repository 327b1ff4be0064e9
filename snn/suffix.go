package snn

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// A Recording is a run whose spikes are kept, so that a change to the neurons
// of one layer can be tried by running only what depends on it. It may be used
// from several goroutines at a time.
type Recording struct {
	net    *Network
	result *Result
	groups []group
	spikes [][]recorded // [group][layer]
	idle   sync.Pool    // *spare
}

// recorded are the counts of a layer as a run holds them: in one of the two
// forms.
type recorded struct {
	bytes  []uint8
	floats []float32
}

// spare is working memory that one run leaves to the next.
type spare struct {
	floats  [][]float32
	bytes   [][]uint8
	scratch scratch
}

// RecordingBytes is the memory that the spikes of one sample take in a
// Recording.
func (n *Network) RecordingBytes() int {
	size := 0
	for _, f := range n.plan.fires {
		if f.wide {
			size += 4 * f.size
		} else {
			size += f.size
		}
	}
	return size * n.cfg.Timesteps
}

// Record runs the network on x [N, ...] like Run and keeps the spikes of all
// layers: RecordingBytes for every sample. x must not change while the
// recording is used.
func (n *Network) Record(ctx context.Context, pool *parallel.Pool, x *tensor.Tensor) (*Recording, error) {
	if err := n.check(x); err != nil {
		return nil, err
	}
	rec := &Recording{net: n, groups: n.cut(nil, x, n.groupSize(x.Shape[0], nil))}
	rec.spikes = make([][]recorded, len(rec.groups))
	var err error
	rec.result, err = rec.simulate(ctx, pool, n, func(r *run, i int) {
		rec.spikes[i] = make([]recorded, len(n.plan.fires))
		for l, f := range n.plan.fires {
			rec.spikes[i][l] = recorded{slices.Clone(r.bytes[f.out]), slices.Clone(r.floats[f.out])}
		}
	})
	if err != nil {
		return nil, err
	}
	return rec, nil
}

// Result is what the recorded run found; it must not be changed.
func (rec *Recording) Result() *Result { return rec.result }

// Replace returns what the network would do if one layer of neurons had other
// settings: the same logits and counts as a run of a network made with them.
// Layers that the change does not reach are not run again; their spikes come
// from the recording, and so do their counts. (Two layers of neurons that one
// linear node drives share its scale while their thresholds are equal; there a
// network made with the change may round the current of the other one
// differently.) If the settings are those of the network, the result is the
// recorded one.
func (rec *Recording) Replace(ctx context.Context, pool *parallel.Pool, layer int, settings Layer) (*Result, error) {
	n := rec.net
	if layer < 0 || layer >= len(n.cfg.Layers) {
		return nil, fmt.Errorf("layer %d: want 0 to %d", layer, len(n.cfg.Layers)-1)
	}
	if sameLayer(&settings, &n.given.Layers[layer]) {
		return rec.result, nil
	}
	changed, dirty, err := n.replace(layer, settings)
	if err != nil {
		return nil, err
	}
	res, err := rec.simulate(ctx, pool, changed, nil)
	if err != nil {
		return nil, err
	}
	for l, f := range n.plan.fires {
		if !dirty[f.out] {
			res.Layers[l] = rec.result.Layers[l]
		}
	}
	return res, nil
}

func sameLayer(a, b *Layer) bool {
	return a.Node == b.Node && a.MaxSpike == b.MaxSpike && slices.Equal(a.Threshold, b.Threshold) &&
		(a.Initial == nil) == (b.Initial == nil) && slices.Equal(a.Initial, b.Initial)
}

// replace returns a network with other neurons in one layer that has only the
// steps which depend on them, and what these read besides spikes of other
// layers; and which wires depend on them. Steps whose parameters the change
// leaves alone are shared, so that few weights are packed again.
func (n *Network) replace(layer int, settings Layer) (*Network, []bool, error) {
	given := *n.given
	given.Layers = slices.Clone(n.given.Layers)
	settings.Threshold, settings.Initial = slices.Clone(settings.Threshold), slices.Clone(settings.Initial)
	given.Layers[layer] = settings
	base := n.plan
	act := base.fires[layer].node
	if err := settings.validate(act); err != nil {
		return nil, nil, fmt.Errorf("node %q (%s): %w", act.Name, act.Kind(), err)
	}
	cfg := given.running()
	p := &plan{index: base.index, input: base.input, output: base.output, steps: make([]step, len(base.steps)), weights: base.weights, signed: base.signed, choice: base.choice}
	for _, w := range base.wires {
		p.wires = append(p.wires, &wire{node: w.node, size: w.size, index: w.index})
	}
	uses := n.g.Consumers()
	if err := p.classify(n.g, cfg, uses); err != nil {
		return nil, nil, err
	}
	p.chooseScales(n.g, cfg, uses)
	p.outScale = factor(p.wires[p.output].scale, nil, n.g.Outputs[0].Shape.Channels())

	dirty := make([]bool, len(p.wires))
	for i, s := range base.steps {
		dirty[i] = i == base.fires[layer].out
		for _, in := range dependencies(s) {
			dirty[i] = dirty[i] || dirty[in]
		}
	}
	needed := make([]bool, len(p.wires))
	for i := len(p.wires) - 1; i >= 0; i-- {
		w, s := p.wires[i], base.steps[i]
		needed[i] = needed[i] || dirty[i] || w.mean || w.readout
		if _, neurons := s.(*fireStep); s == nil || !needed[i] || (neurons && !dirty[i]) {
			continue // what it reads is of no interest, or its spikes are recorded
		}
		for _, in := range dependencies(s) {
			needed[in] = true
		}
		if i != base.fires[layer].out && p.sameScales(base, i) {
			p.steps[i] = s
			continue
		}
		var err error
		if p.steps[i], err = p.newStep(w.node, cfg, uses); err != nil {
			return nil, nil, err
		}
	}
	p.findLastUses()
	return &Network{g: n.g, given: &given, cfg: cfg, plan: p, cost: n.cost}, dirty, nil
}

// sameScales says whether the step that produces wire i has the same parameters
// in two plans of one graph: they depend on the scales and kinds of what it
// reads and writes.
func (p *plan) sameScales(other *plan, i int) bool {
	same := func(k int) bool {
		a, b := p.wires[k].scale, other.wires[k].scale
		if most, packed := p.wires[k].most, other.wires[k].most; p.weights.integer() && (most > packed || countClass(most) != countClass(packed)) {
			return false // weights are packed for counts of a range, and their steps depend on its class
		}
		return p.wires[k].kind == other.wires[k].kind && (a == nil) == (b == nil) && slices.Equal(a, b)
	}
	for _, in := range dependencies(other.steps[i]) {
		if !same(in) {
			return false
		}
	}
	return same(i)
}

// dependencies is reads, with those of the readout.
func dependencies(s step) []int {
	if r, ok := s.(*readoutStep); ok {
		return r.in
	}
	return reads(s)
}

// simulate runs all groups through n, the recorded network or one with a layer
// replaced, which finds the spikes it does not make in the recording.
func (rec *Recording) simulate(ctx context.Context, pool *parallel.Pool, n *Network, done func(r *run, group int)) (*Result, error) {
	fires := rec.net.plan.fires
	out := n.plan.wires[n.plan.output]
	samples := 0
	for _, g := range rec.groups {
		samples = g.hi
	}
	res := &Result{Logits: tensor.New(append([]int{samples}, out.node.Shape...)...), Layers: make([]LayerCounts, len(fires))}
	for i := range res.Layers {
		res.Layers[i].reset(samples)
	}
	inner := pool
	if len(rec.groups) >= pool.Workers() {
		inner = nil // groups keep the workers busy
	}
	runs := make([]*run, pool.Workers())
	errs := make([]error, len(rec.groups))
	pool.ForWorker(len(rec.groups), func(worker, i int) {
		if errs[i] = ctx.Err(); errs[i] != nil {
			return
		}
		if runs[worker] == nil {
			runs[worker] = rec.newRun(n)
			runs[worker].keep = done != nil
		}
		r, g := runs[worker], rec.groups[i]
		r.begin(g.lo, g.hi-g.lo, g.x, inner)
		for l, f := range fires {
			if n.plan.steps[f.out] == nil {
				r.bytes[f.out], r.floats[f.out] = rec.spikes[i][l].bytes, rec.spikes[i][l].floats
			}
		}
		r.steps(0, len(n.plan.steps))
		if errs[i] = r.err; r.err == nil {
			r.logits(0, n.cfg.Timesteps, res.Logits.Data[g.lo*out.size:g.hi*out.size])
			for l := range res.Layers {
				res.Layers[l].put(g.lo, &r.layers[l])
			}
			if done != nil {
				done(r, i)
			}
		}
		for _, f := range fires {
			if n.plan.steps[f.out] == nil {
				r.bytes[f.out], r.floats[f.out] = nil, nil // the recording's
			}
		}
		r.end()
	})
	for _, r := range runs {
		if r != nil {
			rec.idle.Put(&spare{r.freeFloats, r.freeBytes, r.scratch})
		}
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if i := res.Logits.FirstNonFinite(); i >= 0 {
		return nil, fmt.Errorf("node %q: output of sample %d, channel %d is %g: %w",
			out.node.Name, i/out.size, i%out.node.Shape.Channels(), res.Logits.Data[i], ErrNotFinite)
	}
	return res, nil
}

// newRun makes a run of n with the memory of an earlier one.
func (rec *Recording) newRun(n *Network) *run {
	r := n.newRun()
	r.layers = make([]LayerCounts, len(rec.net.plan.fires))
	r.uses = make([]KernelUse, len(rec.net.plan.fires))
	if s, ok := rec.idle.Get().(*spare); ok {
		r.freeFloats, r.freeBytes, r.scratch = s.floats, s.bytes, s.scratch
	}
	return r
}
