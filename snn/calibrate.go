package snn

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// A Correction changes the neurons of one layer while a network is swept.
type Correction struct {
	Bias    []float32 // added to the current of every channel in every timestep, in units of the activation; nil for none
	Initial []float32 // new initial potential per neuron, in units of the activation, without the shift; nil to keep
}

// A Measured layer is what a sweep has seen of its mean output
// theta*N(T)/T, over all samples.
type Measured struct {
	Layer   int
	Node    string
	Channel []float64 // mean over samples and positions, per channel
	Neuron  []float64 // mean over samples, per neuron of a sample
}

// maxCurrents bounds the memory, in floats, in which a sweep keeps a layer's
// currents to run its neurons a second time; beyond it the layer is run again.
const maxCurrents = 1 << 28

// Sweep walks the network once, layer by layer, with all samples of x. After
// each layer of neurons it calls correct with the layer's mean outputs; if that
// returns a correction, the layer's neurons run again with it before the sweep
// goes on, so that every layer is measured with all earlier ones corrected.
// The network itself stays as it is.
//
// One pass over the network instead of one per layer: a correction of the bias
// shifts the current by a constant, so no convolution is repeated
// (algorithms.md 4.1).
func (n *Network) Sweep(ctx context.Context, pool *parallel.Pool, x *tensor.Tensor, correct func(Measured) (*Correction, error)) error {
	s, err := n.newSweep(ctx, pool, x)
	if err != nil {
		return err
	}
	for i, step := range n.plan.steps {
		if step == nil || n.plan.wires[i].readout {
			continue
		}
		f, ok := step.(*fireStep)
		if !ok {
			if err := s.each(func(r *run) { step.run(r) }); err != nil {
				return err
			}
		} else if err := n.sweepLayer(f, x.Shape[0], s.runs, s.each, correct); err != nil {
			return err
		}
		s.release(i)
	}
	return nil
}

// A sweep holds all samples of a batch on their way through a network, in
// groups, layer by layer.
type sweep struct {
	net  *Network
	ctx  context.Context
	pool *parallel.Pool
	runs []*run
	work []scratch // working memory, shared by the groups a worker takes
	keep []bool    // wires that are never given back
}

func (n *Network) newSweep(ctx context.Context, pool *parallel.Pool, x *tensor.Tensor) (*sweep, error) {
	groups, err := n.group(x, pool)
	if err != nil {
		return nil, err
	}
	s := &sweep{net: n, ctx: ctx, pool: pool, runs: make([]*run, len(groups)), work: make([]scratch, pool.Workers()), keep: make([]bool, len(n.plan.wires))}
	for i, g := range groups {
		s.runs[i] = n.newRun()
		s.runs[i].begin(g.lo, g.hi-g.lo, g.x, nil)
	}
	return s, nil
}

// each calls fn for every group, in parallel, and returns the first error in
// the order of the groups.
func (s *sweep) each(fn func(r *run)) error {
	s.pool.ForWorker(len(s.runs), func(worker, i int) {
		r := s.runs[i]
		if r.err == nil {
			r.err = s.ctx.Err()
		}
		if r.err == nil {
			r.scratch = s.work[worker]
			fn(r)
			s.work[worker], r.scratch = r.scratch, scratch{}
		}
	})
	for _, r := range s.runs {
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

// release gives back what nothing reads any more after step i.
func (s *sweep) release(i int) {
	for _, wire := range s.net.plan.frees[i] {
		if !s.keep[wire] {
			for _, r := range s.runs {
				r.free(wire)
			}
		}
	}
}

func (n *Network) sweepLayer(f *fireStep, samples int, runs []*run, each func(func(*run)) error, correct func(Measured) (*Correction, error)) error {
	size := n.plan.wires[f.out].size * n.cfg.Timesteps
	keep := f.driven() && samples*size <= maxCurrents
	defer func() {
		for _, r := range runs {
			if r.kept != nil {
				r.freeFloats = append(r.freeFloats, r.kept)
			}
			r.kept = nil
		}
	}()
	err := each(func(r *run) {
		if keep {
			r.kept = take(&r.freeFloats, r.samples*size)
		}
		f.run(r)
	})
	if err != nil {
		return err
	}
	c, err := correct(n.measure(f, samples, runs))
	if err != nil || c == nil {
		return err
	}
	scale := n.plan.wires[f.out].scale
	var offset []float32
	if c.Bias != nil {
		if len(c.Bias) != len(scale) {
			return fmt.Errorf("node %q: %d corrections for %d channels", f.node.Name, len(c.Bias), len(scale))
		}
		offset = make([]float32, len(scale))
		for ch, b := range c.Bias {
			offset[ch] = b / scale[ch]
		}
	}
	initial := f.initial
	if c.Initial != nil {
		if len(c.Initial) != n.plan.wires[f.out].size {
			return fmt.Errorf("node %q: %d initial potentials for %d neurons", f.node.Name, len(c.Initial), n.plan.wires[f.out].size)
		}
		initial = make([]float32, len(c.Initial))
		unit := float32(n.given.Timesteps / n.cfg.Timesteps) // see Config.running
		for i, v := range c.Initial {
			initial[i] = v/unit/scale[i%len(scale)] + f.start
		}
	}
	return each(func(r *run) {
		if keep {
			f.fireKept(r, offset, initial)
		} else {
			f.fire(r, offset, initial)
		}
	})
}

// measure averages a layer's counts in a fixed order.
func (n *Network) measure(f *fireStep, samples int, runs []*run) Measured {
	w := n.plan.wires[f.out]
	total := make([]int64, w.size)
	for _, r := range runs {
		for at := 0; at < len(r.floats[f.out]); at += w.size {
			for i, c := range r.floats[f.out][at : at+w.size] {
				total[i] += int64(c)
			}
		}
		for at := 0; at < len(r.bytes[f.out]); at += w.size {
			for i, c := range r.bytes[f.out][at : at+w.size] {
				total[i] += int64(c)
			}
		}
	}
	m := Measured{Layer: f.layer, Node: f.node.Name, Channel: make([]float64, len(w.scale)), Neuron: make([]float64, w.size)}
	channels := len(w.scale)
	per := float64(samples * n.cfg.Timesteps)
	for i, c := range total {
		v := float64(c) * float64(w.scale[i%channels]) / per
		m.Neuron[i] = v
		m.Channel[i%channels] += v
	}
	for ch := range m.Channel {
		m.Channel[ch] /= float64(w.size / channels)
	}
	return m
}
