package snn

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// Driven says where the current of a layer of neurons comes from.
type Driven struct {
	Layer   int
	Neurons *graph.Node // the activation they replace
	// Driver is the convolution or fully connected layer whose output, together
	// with that of Addend, is the current of these neurons and nothing else; nil
	// if there is none, such as before a pool or in a pre-activation network.
	Driver *graph.Node
	Addend *graph.Node // what a residual block adds to it; nil if nothing
}

// Driven lists all layers of neurons, in graph order. The nodes are the
// network's own and must not be changed.
func (n *Network) Driven() []Driven {
	p, uses := n.plan, n.g.Consumers()
	var list []Driven
	for l, f := range p.fires {
		d := Driven{Layer: l, Neurons: f.node}
		src := f.node.Inputs[0]
		switch {
		case !f.driven():
			if isConv(src) && p.wires[p.index[src]].kind == analog && p.onlyReader(src, uses) == f.node {
				d.Driver = src
			}
		case src.Kind() == "add":
			k := p.drivingInput(src, uses)
			d.Driver, d.Addend = src.Inputs[k], src.Inputs[1-k]
		default:
			d.Driver = src
		}
		list = append(list, d)
	}
	return list
}

// MeanInput is what drives a layer of neurons, as a sweep has seen it: means
// over the timesteps, in units of the ANN's activations. The driver's output
// for the mean input plus the mean addend is the mean current, since both are
// linear.
type MeanInput struct {
	Driven
	Input *tensor.Tensor // [samples, shape of the driver's input]
	Added *tensor.Tensor // [samples, shape of the neurons]; nil without addend
}

// Weights are new parameters of a driver, in the layouts of package graph.
type Weights struct {
	Weight []float32 // nil to keep
	Bias   []float32 // per output channel; nil to keep
}

// SweepInputs walks the network once, layer by layer, with all samples of x.
// Before each layer of neurons with a driver it calls replace with the mean
// input of that layer; if that returns weights, the layer and all behind it run
// with them, so that every layer is seen with all earlier ones replaced. The
// network itself stays as it is.
//
// samples says from how many samples, counted from the first, to gather a
// layer's inputs (more than there are: all); replace is not called for a layer
// from which none are wanted. A nil samples gathers all of every layer.
func (n *Network) SweepInputs(ctx context.Context, pool *parallel.Pool, x *tensor.Tensor, samples func(Driven) int, replace func(MeanInput) (*Weights, error)) error {
	s, err := n.newSweep(ctx, pool, x)
	if err != nil {
		return err
	}
	p := n.plan
	driven := n.Driven()
	// Drivers that do not vary in time run with their neurons, out of order, so
	// their inputs are kept to the end.
	late := make(map[int]bool)
	for _, d := range driven {
		if d.Driver != nil && !p.fires[d.Layer].driven() {
			late[p.index[d.Driver]] = true
			s.keep[p.index[d.Driver.Inputs[0]]] = true
		}
	}
	for i, step := range p.steps {
		if step == nil || p.wires[i].readout || late[i] {
			continue
		}
		f, ok := step.(*fireStep)
		if !ok {
			if err := s.each(func(r *run) { step.run(r) }); err != nil {
				return err
			}
			s.release(i)
			continue
		}
		d := driven[f.layer]
		most := x.Shape[0]
		if samples != nil && d.Driver != nil {
			most = min(max(samples(d), 0), most)
		}
		var w *Weights
		if d.Driver != nil && most > 0 {
			in, err := s.meanInput(d, most)
			if err != nil {
				return err
			}
			if w, err = replace(in); err != nil {
				return err
			}
		}
		if err := s.runDriven(d, f, w); err != nil {
			return err
		}
		s.release(i)
	}
	return nil
}

// runDriven runs a layer of neurons and, if it has a step of its own, its
// driver, with the weights w if there are any.
func (s *sweep) runDriven(d Driven, f *fireStep, w *Weights) error {
	p := s.net.plan
	if d.Driver == nil {
		return s.each(func(r *run) { f.run(r) })
	}
	at := p.index[d.Driver]
	driver := d.Driver
	if w != nil {
		var err error
		if driver, err = withWeights(d.Driver, w); err != nil {
			return err
		}
	}
	if f.driven() {
		if w != nil {
			twin := *f
			twin.conv, twin.ints = nil, nil
			p.setDriver(&twin, driver)
			f = &twin
		}
		return s.each(func(r *run) { f.run(r) })
	}
	first := p.steps[at]
	if w != nil {
		fn, err := newFunction(driver, p.scales(driver), p.wires[at].scale, p.weights.valueUse())
		if err != nil {
			return err
		}
		first = &analogStep{in: p.inputs(driver), out: at, fn: fn}
	}
	if err := s.each(func(r *run) { first.run(r) }); err != nil {
		return err
	}
	return s.each(func(r *run) { f.run(r) })
}

// withWeights returns a copy of the node n with new parameters.
func withWeights(n *graph.Node, w *Weights) (*graph.Node, error) {
	twin := *n
	twin.Params = maps.Clone(n.Params)
	if w.Weight != nil {
		if len(w.Weight) != n.Weight().Len() {
			return nil, fmt.Errorf("node %q: %d new weights, want %d", n.Name, len(w.Weight), n.Weight().Len())
		}
		twin.Params["weight"] = &tensor.Tensor{Shape: slices.Clone(n.Weight().Shape), Data: w.Weight}
	}
	if w.Bias != nil {
		if len(w.Bias) != n.Shape.Channels() {
			return nil, fmt.Errorf("node %q: %d new biases for %d channels", n.Name, len(w.Bias), n.Shape.Channels())
		}
		twin.Params["bias"] = &tensor.Tensor{Shape: []int{len(w.Bias)}, Data: w.Bias}
	}
	return &twin, nil
}

// meanInput gathers what drives a layer, of the first most samples.
func (s *sweep) meanInput(d Driven, most int) (MeanInput, error) {
	p := s.net.plan
	in := MeanInput{Driven: d}
	gather := func(n *graph.Node, into func(r *run, dst []float32, wire, samples int)) (*tensor.Tensor, error) {
		wire := p.index[n]
		size := p.wires[wire].size
		out := tensor.New(append([]int{most}, n.Shape...)...)
		return out, s.each(func(r *run) {
			if count := min(r.samples, most-r.first); count > 0 {
				into(r, out.Data[r.first*size:(r.first+count)*size], wire, count)
			}
		})
	}
	var err error
	if in.Input, err = gather(d.Driver.Inputs[0], (*run).meanInto); err != nil || d.Addend == nil {
		return in, err
	}
	add := (*run).meanInto
	if f := p.fires[d.Layer]; f.add < 0 { // runs together with the driver
		shortcut, scale := f.ints.alone(1), p.wires[f.out].scale
		add = func(r *run, dst []float32, _, samples int) { r.meanCurrents(dst, shortcut, scale, samples) }
	}
	in.Added, err = gather(d.Addend, add)
	return in, err
}

// meanCurrents writes the mean over time of what a layer gives to the first
// samples, in units of the activation; scale is that of its outputs.
func (r *run) meanCurrents(dst []float32, l *intLayer, scale []float32, samples int) {
	clear(dst)
	l.choose(r)
	frame := make([]float32, l.size)
	for s := range samples {
		mean := dst[s*l.size : (s+1)*l.size]
		for t := range r.span {
			l.evaluate(r, s*r.span+t, 1, frame)
			kernel.AddTo(mean, frame)
		}
	}
	kernel.Scale(dst, dst, 1/float32(r.span))
	scaleRows(dst, dst, scale)
}

// meanInto writes the mean over time of the first samples of a wire, in units
// of the activation.
func (r *run) meanInto(dst []float32, wire, samples int) {
	w, steps := r.net.plan.wires[wire], r.net.cfg.Timesteps
	if w.kind == analog {
		scaleRows(dst, r.floats[wire][:len(dst)], w.scale)
		return
	}
	clear(dst)
	row := grow(&r.scratch.addend, w.size)
	for s := range samples {
		mean := dst[s*w.size : (s+1)*w.size]
		for t := range steps {
			at := (s*steps + t) * w.size
			if w.kind == counts {
				kernel.CountsToFloat(row, r.bytes[wire][at:at+w.size])
				kernel.AddTo(mean, row)
			} else {
				kernel.AddTo(mean, r.floats[wire][at:at+w.size])
			}
		}
	}
	kernel.Scale(dst, dst, 1/float32(steps))
	scaleRows(dst, dst, w.scale)
}

// SweepMemory returns how many bytes a sweep holds for each sample at most,
// apart from what it hands out.
func (n *Network) SweepMemory() int64 {
	p := n.plan
	bytes := func(i int) int64 { return int64(p.wireBytes(i, n.cfg.Timesteps)) }
	var live, most int64
	for i, s := range p.steps {
		if s == nil || p.wires[i].readout {
			continue
		}
		live += bytes(i)
		most = max(most, live)
		for _, wire := range p.frees[i] {
			live -= bytes(wire)
		}
	}
	return most
}
