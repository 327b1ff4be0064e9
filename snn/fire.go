package snn

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
)

// fireStep runs a layer of neurons over all timesteps: the current, from a
// convolution with its addend or from a wire, and the neuron update. All is
// normalised to thresholds of 1 (algorithms.md 1.4).
type fireStep struct {
	layer     int
	node      *graph.Node
	out       int
	in        int   // wire that the convolution, or else the neurons, read
	conv      *conv // nil: the current is the wire itself, or comes from ints
	ints      *intLayer
	kernel    string      // see Network.Kernel
	add       int         // wire added to the convolution's result, -1 if none
	addend    *graph.Node // what is added: that wire's node, or a projection in ints; nil if nothing
	inScale   []float32
	addScale  []float32 // of the addend's channels; nil where it is 1 throughout
	addFactor []float32 // the same, written out
	size      int       // neurons of a sample
	maxSpike  float32   // at most 255 unless wide
	wide      bool      // the wire holds counts as floats
	signed    bool
	shift     float32
	start     float32   // initial potential of all neurons
	initial   []float32 // initial potential per neuron, start included, or nil
}

func (p *plan) newFire(n *graph.Node, cfg *Config, uses map[*graph.Node][]*graph.Node) *fireStep {
	i := p.index[n]
	w := p.wires[i]
	layer := w.emitters[0].layer
	l := &cfg.Layers[layer]
	f := &fireStep{layer: layer, node: n, out: i, add: -1, size: w.size, maxSpike: float32(l.MaxSpike), wide: cfg.wide(layer), signed: cfg.Signed}
	switch cfg.Shift {
	case ShiftInitial:
		f.start = 0.5
	case ShiftPerStep:
		f.shift = 1 / float32(2*cfg.Timesteps)
	}
	channels := n.Shape.Channels()
	if l.Initial != nil {
		f.initial = make([]float32, len(l.Initial))
		for k, v := range l.Initial {
			f.initial[k] = v/w.scale[k%channels] + f.start
		}
	}
	src := n.Inputs[0]
	if src.Kind() == "add" && p.driver(src, uses) == n {
		k := p.drivingInput(src, uses)
		if f.addend = src.Inputs[1-k]; !p.projects(f.addend, uses) {
			f.add = p.index[f.addend]
			f.addScale = factor(p.wires[f.add].scale, w.scale, channels)
			if f.addFactor = f.addScale; f.addFactor == nil {
				f.addFactor = expandScale(nil, channels)
			}
		}
		src = src.Inputs[k]
	}
	if isConv(src) && p.driver(src, uses) == n {
		p.setDriver(f, src)
	} else {
		f.in = p.index[src]
		f.inScale = factor(p.wires[f.in].scale, w.scale, channels)
	}
	f.kernel = f.kernelName(p.weights)
	return f
}

// setDriver makes the convolution or fully connected layer src, together with
// the addend that f names if it has no step of its own, drive the neurons.
func (p *plan) setDriver(f *fireStep, src *graph.Node) {
	f.in = p.index[src.Inputs[0]]
	in, out := p.wires[f.in].scale, p.wires[f.out].scale
	nodes := []*graph.Node{src}
	if f.addend != nil && f.add < 0 {
		nodes = append(nodes, f.addend)
	}
	if p.quantisable(src) {
		if f.ints = p.newIntLayer(nodes, out); f.ints != nil {
			return
		}
	}
	u := p.weights.valueUse()
	if p.wires[f.in].kind == counts {
		u = forCounts
	}
	f.conv = newConv(src, in, out, u)
}

// driven says whether a layer with weights is part of the step.
func (s *fireStep) driven() bool { return s.conv != nil || s.ints != nil }

// Sizes of the pieces a layer is worked on in. They depend on the network
// only, never on the number of workers; and no result depends on them.
const (
	minRowPixels = 96      // pixels of a block of rows: enough for the tiles of the convolution
	maxExpanded  = 1 << 19 // floats of counts spread out at a time
)

func (s *fireStep) run(r *run) { s.fire(r, nil, s.initial) }

// fire runs the neurons with an offset added to the current of every channel
// (nil: none), starting from initial (nil: all from s.start).
func (s *fireStep) fire(r *run, offset, initial []float32) {
	switch {
	case s.wide && r.floats[s.out] == nil:
		r.newFloats(s.out, r.samples*r.span*s.size)
	case !s.wide && r.bytes[s.out] == nil:
		r.newBytes(s.out, r.samples*r.span*s.size)
	}
	r.layers[s.layer].reset(r.samples)
	switch {
	case s.ints != nil:
		s.fireInts(r, offset, initial)
	case s.conv == nil:
		s.fireWire(r, offset, initial)
	case s.conv.events != nil:
		s.fireEvents(r, offset, initial)
	case !s.conv.rows && s.conv.filter != nil && s.conv.shape.OutH()*s.conv.shape.OutW() >= minRowPixels:
		s.fireRows(r, offset, initial)
	default:
		s.fireBatch(r, offset, initial)
	}
	r.countOperations(s.out)
	if s.conv != nil {
		use := &r.uses[s.layer]
		use.Frames += int64(r.samples * r.span)
		if s.conv.events != nil {
			use.EventFrames += int64(r.samples * r.span)
		}
		r.countInputs(s)
	}
}

// stateSize is how many values the neurons of a sample keep from one timestep
// to the next: their membrane potentials and, if signed, behind them what they
// have emitted.
func (s *fireStep) stateSize() int {
	if s.signed {
		return 2 * s.size
	}
	return s.size
}

// potentials returns the state of the neurons of sample g, as it is before the
// first timestep of the run: what the run keeps from step to step, or that at
// the start.
func (s *fireStep) potentials(r *run, g int, initial []float32) []float32 {
	size := s.stateSize()
	if r.state != nil {
		return r.state.membrane[s.layer][g*size : (g+1)*size]
	}
	v := grow(&r.scratch.membrane, size)
	s.reset(v, initial)
	return v
}

// reset sets the state before the first timestep.
func (s *fireStep) reset(v, initial []float32) {
	clear(v[s.size:])
	v = v[:s.size]
	if initial != nil {
		copy(v, initial)
		return
	}
	for i := range v {
		v[i] = s.start
	}
}

// update is frame k, a timestep of a sample with the state v, for its neurons
// lo..hi-1, whose current is given.
func (s *fireStep) update(r *run, k, lo, hi int, v, current, offset []float32) (spikes, events int64, finite bool) {
	var sum []float32
	if s.signed {
		sum = v[s.size+lo : s.size+hi]
	}
	return s.updatePart(r, k*s.size+lo, k*s.size+hi, v[lo:hi], sum, current, offset)
}

// updatePart is update of the neurons whose counts are values at..to-1 of the
// output; v and, if signed, sum are their state.
func (s *fireStep) updatePart(r *run, at, to int, v, sum, current, offset []float32) (spikes, events int64, finite bool) {
	switch {
	case s.signed:
		return kernel.FireSigned(r.floats[s.out][at:to], v, sum, current, offset, s.shift, s.maxSpike)
	case s.wide:
		return s.fireWide(r.floats[s.out][at:to], v, current, offset)
	case offset != nil:
		return kernel.FireOffset(r.bytes[s.out][at:to], v, current, offset, s.shift, uint8(s.maxSpike))
	}
	return kernel.Fire(r.bytes[s.out][at:to], v, current, s.shift, uint8(s.maxSpike))
}

// fireWide is kernel.FireSigned for neurons that take no spikes back.
func (s *fireStep) fireWide(out, v, current, offset []float32) (spikes, events int64, finite bool) {
	if offset != nil || s.shift != 0 {
		return kernel.FireSigned(out, v, nil, current, offset, s.shift, s.maxSpike)
	}
	kernel.Add(v, v, current)
	kernel.ReLU(out, v, s.maxSpike)
	var total int64
	exponents := uint32(0)
	for i, x := range out {
		if u := math.Float32bits(v[i]); u&0x7f800000 == 0x7f800000 {
			exponents = u
		}
		n := int32(x) // truncation after clamping is floor
		out[i] = float32(n)
		total += int64(n)
		events += int64(uint32(-n) >> 31) // 1 if n > 0
	}
	if exponents != 0 { // not finite: again, slowly
		return s.fireWideAgain(out, v)
	}
	kernel.Sub(v, v, out)
	return total, events, true
}

// fireWideAgain is fireWide where some potentials, which v holds before firing,
// are no finite numbers.
func (s *fireStep) fireWideAgain(out, v []float32) (spikes, events int64, finite bool) {
	for i, u := range v {
		if u-u != 0 {
			out[i] = 0
			continue
		}
		if n := int64(min(max(u, 0), s.maxSpike)); n > 0 {
			spikes, events = spikes+n, events+1
		}
		v[i] = u - out[i]
	}
	return spikes, events, false
}

// fireWire takes the current from a wire; one that does not vary in time is
// used in every timestep (direct coding).
func (s *fireStep) fireWire(r *run, offset, initial []float32) {
	p, steps := r.net.plan, r.span
	size := p.wires[s.out].size
	from := p.wires[s.in]
	var wire []float32
	if from.kind == counts {
		wire = r.overTime(s.in, 0)
	} else {
		wire = r.floats[s.in]
	}
	scaled := wire
	if s.inScale != nil {
		scaled = grow(&r.scratch.current, size)
	}
	for g := range r.samples {
		v := s.potentials(r, g, initial)
		for t := range steps {
			k := g*steps + t
			current := scaled
			switch {
			case from.kind == analog && s.inScale == nil:
				current = wire[g*size : (g+1)*size]
			case from.kind == analog:
				if t == 0 {
					scaleRows(scaled, wire[g*size:(g+1)*size], s.inScale)
				}
			case s.inScale == nil:
				current = wire[k*size : (k+1)*size]
			default:
				scaleRows(scaled, wire[k*size:(k+1)*size], s.inScale)
			}
			spikes, events, finite := s.update(r, k, 0, size, v, current, offset)
			r.layers[s.layer].add(g, spikes, events)
			if !finite {
				r.fail(s, g, t, v[:s.size])
				return
			}
		}
	}
}

// fireKept runs the neurons again on the currents kept from the run before.
func (s *fireStep) fireKept(r *run, offset, initial []float32) {
	steps, size := r.span, r.net.plan.wires[s.out].size
	r.layers[s.layer].reset(r.samples)
	var v []float32
	for i := range r.samples * steps {
		g, t := i/steps, i%steps
		if t == 0 {
			v = s.potentials(r, g, initial)
		}
		spikes, events, finite := s.update(r, i, 0, size, v, r.kept[i*size:(i+1)*size], offset)
		r.layers[s.layer].add(g, spikes, events)
		if !finite {
			r.fail(s, g, t, v[:s.size])
			return
		}
	}
	r.countOperations(s.out)
}

// fireEvents convolves the spikes event by event, a few timesteps, or samples
// of small images, at a time.
func (s *fireStep) fireEvents(r *run, offset, initial []float32) {
	p, steps := r.net.plan, r.span
	size, in := p.wires[s.out].size, p.wires[s.in].size
	total := r.samples * steps // frames: [sample][timestep]
	most := s.conv.eventFrames(total)
	var v, addend, buffer []float32
	if s.add >= 0 {
		addend = grow(&r.scratch.addend, most*size)
	}
	if r.kept == nil {
		buffer = grow(&r.scratch.current, most*size)
	}
	for lo := 0; lo < total; lo += most {
		hi := min(lo+most, total)
		var add []float32
		if s.add >= 0 {
			if add = addend; p.wires[s.add].kind == current && s.addScale == nil {
				add = r.floats[s.add][lo*size : hi*size]
			} else {
				for k := lo; k < hi; k++ {
					r.slice(add[(k-lo)*size:(k-lo+1)*size], s.add, k/steps, k%steps, 0, size, s.addScale)
				}
			}
		}
		current := buffer
		if r.kept != nil {
			current = r.kept[lo*size : hi*size]
		}
		s.conv.applyEvents(r, hi-lo, r.bytes[s.in][lo*in:hi*in], add, current)
		for k := lo; k < hi; k++ {
			g, t := k/steps, k%steps
			if t == 0 {
				v = s.potentials(r, g, initial)
			}
			at := (k - lo) * size
			spikes, events, finite := s.update(r, k, 0, size, v, current[at:at+size], offset)
			r.layers[s.layer].add(g, spikes, events)
			if !finite {
				r.fail(s, g, t, v[:s.size])
				return
			}
		}
	}
}

// fireRows works on one sample at a time, in blocks of output rows that go
// through all timesteps while their potentials stay in the cache.
func (s *fireStep) fireRows(r *run, offset, initial []float32) {
	in := r.net.plan.wires[s.in].size
	oh := s.conv.shape.OutH()
	rows := (minRowPixels + s.conv.shape.OutW() - 1) / s.conv.shape.OutW()
	blocks := (oh + rows - 1) / rows
	chunk := max(1, min(r.span, maxExpanded/in)) // timesteps at a time
	for len(r.scratch.rows) < r.pool.Workers() {
		r.scratch.rows = append(r.scratch.rows, rowScratch{})
	}
	tallies := grow(&r.scratch.tallies, blocks)
	job := &r.job
	for g := range r.samples {
		*job = rowJob{s: s, offset: offset, rows: rows, blocks: blocks, sample: g, v: s.potentials(r, g, initial)}
		for job.t0 = 0; job.t0 < r.span; job.t0 = job.t1 {
			job.t1 = min(job.t0+chunk, r.span)
			job.x = r.spread(s.in, g, job.t0, job.t1)
			if r.pool.Workers() > 1 {
				r.pool.ForWorker(blocks, r.floatBlock)
			} else {
				for b := range blocks {
					r.fireFloatBlock(0, b)
				}
			}
			for _, sum := range tallies {
				r.layers[s.layer].add(g, sum.spikes, sum.events)
				if sum.bad >= 0 {
					r.failAt(s, g, sum.bad, sum.at, sum.value)
					return
				}
			}
		}
	}
}

// fireFloatBlock is block b of the rows of a sample, of weights in floats.
func (r *run) fireFloatBlock(worker, b int) {
	job, p := &r.job, r.net.plan
	s, g := job.s, job.sample
	in, row := p.wires[s.in].size, s.conv.shape.OutW()*s.conv.shape.Cout
	lo, hi := b*job.rows, min((b+1)*job.rows, s.conv.shape.OutH())
	sc := &r.scratch.rows[worker]
	var current []float32
	if r.kept == nil {
		current = grow(&sc.current, (hi-lo)*row)
	}
	e := kernel.Epilogue{Bias: s.conv.bias}
	if s.add >= 0 {
		e.Add = grow(&sc.addend, (hi-lo)*row)
	}
	sum := rowTally{bad: -1}
	for t := job.t0; t < job.t1; t++ {
		if s.add >= 0 && (t == job.t0 || p.wires[s.add].kind != analog) {
			r.slice(e.Add, s.add, g, t, lo*row, hi*row, s.addScale)
		}
		at := (g*r.span + t) * s.size
		if r.kept != nil {
			current = r.kept[at+lo*row : at+hi*row]
		}
		kernel.ConvRows(s.conv.shape, job.x[(t-job.t0)*in:(t-job.t0+1)*in], s.conv.filter, e, lo, hi, current)
		spikes, events, finite := s.update(r, g*r.span+t, lo*row, hi*row, job.v, current, job.offset)
		sum.spikes, sum.events = sum.spikes+spikes, sum.events+events
		if !finite && sum.bad < 0 {
			sum.bad = t
			i := notFinite(job.v[lo*row : hi*row])
			sum.at, sum.value = lo*row+i, job.v[lo*row+i]
		}
	}
	r.scratch.tallies[b] = sum
}

// fireBatch gives the convolution many timesteps and samples at a time: for
// small images and vectors.
func (s *fireStep) fireBatch(r *run, offset, initial []float32) {
	p, steps := r.net.plan, r.span
	size, in := p.wires[s.out].size, p.wires[s.in].size
	chunk := max(1, maxExpanded/(steps*max(in, size))) // samples at a time
	var v []float32
	for g0 := 0; g0 < r.samples; g0 += chunk {
		g1 := min(g0+chunk, r.samples)
		k := (g1 - g0) * steps
		x := grow(&r.scratch.expanded, k*in)
		for g := g0; g < g1; g++ {
			r.spreadInto(x[(g-g0)*steps*in:(g-g0+1)*steps*in], s.in, g, 0, steps)
		}
		var current []float32
		if r.kept != nil {
			current = r.kept[g0*steps*size : g1*steps*size]
		} else {
			current = grow(&r.scratch.current, k*size)
		}
		var addend []float32
		if s.add >= 0 {
			addend = grow(&r.scratch.addend, k*size)
			for i := range k {
				r.slice(addend[i*size:(i+1)*size], s.add, g0+i/steps, i%steps, 0, size, s.addScale)
			}
		}
		s.conv.apply(r.pool, k, x, addend, current)
		for i := range k {
			g, t := g0+i/steps, i%steps
			if t == 0 {
				v = s.potentials(r, g, initial)
			}
			spikes, events, finite := s.update(r, g*steps+t, 0, size, v, current[i*size:(i+1)*size], offset)
			r.layers[s.layer].add(g, spikes, events)
			if !finite {
				r.fail(s, g, t, v[:s.size])
				return
			}
		}
	}
}

// spread returns the timesteps t0..t1-1 of sample g of a wire as floats.
func (r *run) spread(w, g, t0, t1 int) []float32 {
	wire, steps := r.net.plan.wires[w], r.span
	if wire.kind == current {
		return r.floats[w][(g*steps+t0)*wire.size : (g*steps+t1)*wire.size]
	}
	x := grow(&r.scratch.expanded, (t1-t0)*wire.size)
	r.spreadInto(x, w, g, t0, t1)
	return x
}

func (r *run) spreadInto(x []float32, w, g, t0, t1 int) {
	wire, steps := r.net.plan.wires[w], r.span
	lo, hi := (g*steps+t0)*wire.size, (g*steps+t1)*wire.size
	if wire.kind == counts {
		kernel.CountsToFloat(x, r.bytes[w][lo:hi])
	} else {
		copy(x, r.floats[w][lo:hi])
	}
}

// slice writes the values lo..hi-1 of sample g, timestep t, of a wire, times f
// per channel, to dst. lo is the start of a pixel.
func (r *run) slice(dst []float32, w, g, t, lo, hi int, f []float32) {
	wire, steps := r.net.plan.wires[w], r.span
	at := (g*steps + t) * wire.size
	switch wire.kind {
	case counts:
		kernel.CountsToFloat(dst, r.bytes[w][at+lo:at+hi])
		if f != nil {
			scaleRows(dst, dst, f)
		}
	case current:
		scaleRows(dst, r.floats[w][at+lo:at+hi], f)
	case analog:
		scaleRows(dst, r.floats[w][g*wire.size+lo:g*wire.size+hi], f)
	}
}

// fail reports a potential that is not a finite number: a defect of weights or
// input that must not travel on.
func (r *run) fail(s *fireStep, g, t int, v []float32) {
	at := notFinite(v)
	r.failAt(s, g, t, at, v[at])
}

// notFinite is the index of the first value that is not a finite number.
func notFinite(v []float32) int {
	return slices.IndexFunc(v, func(u float32) bool { return u-u != 0 })
}

// failAt is fail for a known neuron.
func (r *run) failAt(s *fireStep, g, t, at int, v float32) {
	c := s.node.Shape.Channels()
	sample, step := r.first+g, t+1
	if r.state != nil {
		sample, step = r.state.sample[g], r.state.done[g]+1
	}
	r.err = fmt.Errorf("node %q: membrane potential of sample %d, position %d, channel %d is %g at timestep %d: %w",
		s.node.Name, sample, at/c, at%c, v, step, ErrNotFinite)
}
