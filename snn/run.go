package snn

import (
	"fmt"
	"time"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A run holds a group of samples on their way through the network, layer by
// layer over all timesteps. Buffers are kept for the next group.
type run struct {
	net      *Network
	pool     *parallel.Pool // for the inside of a layer; nil when groups run in parallel
	samples  int
	span     int         // timesteps that wires hold: all, or 1 where state is kept
	state    *state      // what lives from one timestep to the next (RunSteps); nil: nothing
	first    int         // index of the group's first sample in the batch
	floats   [][]float32 // per wire: analog and current wires
	bytes    [][]uint8   // per wire: counts
	means    [][]float32 // per wire: what the readout reads
	layers   []LayerCounts
	err      error
	keep     bool      // keep all counts (trace)
	noCounts bool      // leave operations out
	kept     []float32 // if not nil, where a layer's currents are kept (Sweep)

	elapsed []time.Duration // per step, over all groups of the run
	uses    []KernelUse     // per layer, over all groups of the run

	job rowJob
	// fireRowBlock and fireFloatBlock as values, made once.
	rowBlock, floatBlock func(worker, block int)

	slots      state // what state points to
	freeFloats [][]float32
	freeBytes  [][]uint8
	scratch    scratch
}

// scratch is working memory of the steps; what is in it never outlives a step.
type scratch struct {
	inputs       [][]float32 // inputs of a function, spread over time
	floatsIn     [][]float32 // inputs of a step
	bytesIn      [][]uint8   // the same
	expanded     []float32   // counts of a convolution's input as floats
	current      []float32
	addend       []float32
	membrane     []float32
	masks        []uint64
	rows         []rowScratch // per worker
	ints         []intScratch // per worker
	tallies      []rowTally
	ways         []uint8   // per part of an integer layer and frame: byDense, ...
	bases, diffs [][]uint8 // per part, see tryBase
	tiny         [][]int8  // per part, see intPart.whole
	wide         [][]int16 // the same
	live         []int32   // counts of a frame that are not zero
	logits       []float32
	stay         []int // slots that stay
	sums         []uint32
	cum, top     []int32
	running      []float32 // state of a cumulativeStep
}

type rowScratch struct{ current, addend []float32 }

func (n *Network) newRun() *run {
	k := len(n.plan.wires)
	r := &run{net: n, floats: make([][]float32, k), bytes: make([][]uint8, k), means: make([][]float32, k),
		layers: make([]LayerCounts, len(n.plan.fires)), elapsed: make([]time.Duration, k), uses: make([]KernelUse, len(n.plan.fires))}
	r.rowBlock, r.floatBlock = r.fireRowBlock, r.fireFloatBlock
	return r
}

// begin prepares the run for x, which holds the group's samples.
func (r *run) begin(first, samples int, x []float32, pool *parallel.Pool) {
	r.first, r.samples, r.span, r.state, r.pool, r.err = first, samples, r.net.cfg.Timesteps, nil, pool, nil
	for i := range r.layers {
		r.layers[i].reset(samples)
	}
	in := r.net.plan.input
	r.floats[in] = x
}

// steps runs the steps lo..hi-1 and gives buffers back as soon as nothing reads
// them any more.
func (r *run) steps(lo, hi int) {
	p := r.net.plan
	for i := lo; i < hi && r.err == nil; i++ {
		if p.steps[i] != nil && !p.wires[i].readout {
			r.step(i)
		}
	}
}

func (r *run) step(i int) {
	begin := time.Now()
	r.net.plan.steps[i].run(r)
	r.elapsed[i] += time.Since(begin)
	r.release(i)
}

func (r *run) release(at int) {
	if r.keep {
		return
	}
	for _, i := range r.net.plan.frees[at] {
		if r.state == nil || r.net.plan.wires[i].kind != analog {
			r.free(i)
		}
	}
}

func (r *run) free(i int) {
	if r.floats[i] != nil {
		r.freeFloats = append(r.freeFloats, r.floats[i])
	}
	if r.bytes[i] != nil {
		r.freeBytes = append(r.freeBytes, r.bytes[i])
	}
	r.floats[i], r.bytes[i] = nil, nil
}

// end gives all buffers back.
func (r *run) end() {
	r.floats[r.net.plan.input] = nil // the caller's
	for i := range r.floats {
		r.free(i)
	}
}

// take returns a buffer of n values from free, the smallest that fits.
func take[E any](free *[][]E, n int) []E {
	best := -1
	for i, b := range *free {
		if cap(b) >= n && (best < 0 || cap(b) < cap((*free)[best])) {
			best = i
		}
	}
	if best < 0 {
		return make([]E, n)
	}
	b := (*free)[best][:n]
	last := len(*free) - 1
	(*free)[best] = (*free)[last]
	*free = (*free)[:last]
	return b
}

func (r *run) newFloats(w, n int) []float32 {
	r.floats[w] = take(&r.freeFloats, n)
	return r.floats[w]
}

func (r *run) newBytes(w, n int) []uint8 {
	r.bytes[w] = take(&r.freeBytes, n)
	return r.bytes[w]
}

// grow returns *buf with length n; its contents are lost.
func grow[E any](buf *[]E, n int) []E {
	if cap(*buf) < n {
		*buf = make([]E, n)
	}
	*buf = (*buf)[:n]
	return *buf
}

// overTime returns wire w as floats [sample][timestep][value], in scratch
// memory number k unless it is stored that way.
func (r *run) overTime(w, k int) []float32 {
	wire, steps := r.net.plan.wires[w], r.span
	if wire.kind == current {
		return r.floats[w]
	}
	for len(r.scratch.inputs) <= k {
		r.scratch.inputs = append(r.scratch.inputs, nil)
	}
	out := grow(&r.scratch.inputs[k], r.samples*steps*wire.size)
	if wire.kind == counts {
		kernel.CountsToFloat(out, r.bytes[w])
		return out
	}
	for s := range r.samples {
		x := r.floats[w][s*wire.size : (s+1)*wire.size]
		for t := range steps {
			copy(out[(s*steps+t)*wire.size:], x)
		}
	}
	return out
}

// analogStep evaluates a node that does not vary in time, once.
type analogStep struct {
	in  []int
	out int
	fn  function
}

func (s *analogStep) run(r *run) {
	in := grow(&r.scratch.floatsIn, len(s.in))
	for i, w := range s.in {
		in[i] = r.floats[w]
	}
	s.fn(r.pool, r.samples, in, r.newFloats(s.out, r.samples*r.net.plan.wires[s.out].size))
}

// currentStep evaluates a linear node in every timestep.
type currentStep struct {
	in  []int
	out int
	fn  function
}

func (s *currentStep) run(r *run) {
	in := grow(&r.scratch.floatsIn, len(s.in))
	for i, w := range s.in {
		in[i] = r.overTime(w, i)
	}
	k := r.samples * r.span
	s.fn(r.pool, k, in, r.newFloats(s.out, k*r.net.plan.wires[s.out].size))
}

// eventStep is a currentStep of one convolution that skips zero counts.
type eventStep struct {
	in, out int
	conv    *conv
}

func (s *eventStep) run(r *run) {
	p := r.net.plan
	total, in, size := r.samples*r.span, p.wires[s.in].size, p.wires[s.out].size
	out := r.newFloats(s.out, total*size)
	most := s.conv.eventFrames(total)
	for lo := 0; lo < total; lo += most {
		hi := min(lo+most, total)
		s.conv.applyEvents(r, hi-lo, r.bytes[s.in][lo*in:hi*in], nil, out[lo*size:hi*size])
	}
}

// countStep passes counts on: copies of counts, or their maxima.
type countStep struct {
	in  []int
	out int
	fn  func(r *run, in [][]uint8, out []uint8)
}

func (s *countStep) run(r *run) {
	in := grow(&r.scratch.bytesIn, len(s.in))
	for i, w := range s.in {
		in[i] = r.bytes[w]
	}
	p := r.net.plan
	out := r.newBytes(s.out, r.samples*r.span*p.wires[s.out].size)
	s.fn(r, in, out)
	if w := p.wires[s.out]; isTimedMaxPool(w) || w.recounts() {
		r.countOperations(s.out)
	}
}

func (p *plan) newCountStep(n *graph.Node, cfg *Config) (step, error) {
	s := &countStep{in: p.inputs(n), out: p.index[n]}
	h, w, c := n.Inputs[0].Shape.HWC()
	switch op := n.Op.(type) {
	case *graph.Flatten, *graph.Identity, *graph.Dropout:
		s.fn = func(_ *run, in [][]uint8, out []uint8) { copy(out, in[0]) }
	case *graph.Concat:
		widths := make([]int, len(n.Inputs))
		for i, m := range n.Inputs {
			widths[i] = m.Shape.Channels()
		}
		s.fn = func(_ *run, in [][]uint8, out []uint8) { concat(out, in, widths) }
	case *graph.Upsample:
		from := nearestSource(h, w, op.Size[0], op.Size[1])
		s.fn = func(_ *run, in [][]uint8, out []uint8) { copyPixels(out, in[0], from, h*w, c) }
	case *graph.MaxPool2D, *graph.GlobalMaxPool:
		s.fn = maxPoolCounts(s.out, maxPoolShape(n), cfg)
	case *graph.AvgPool2D:
		shape := poolShape(n, op.Kernel, op.Stride, op.Pad)
		s.fn = func(_ *run, in [][]uint8, out []uint8) {
			size := shape.H * shape.W * shape.C
			shape := shape
			shape.N = len(in[0]) / size
			kernel.SumPoolBytes(shape, in[0], out)
		}
	default:
		m := p.wires[s.out].index
		if m == nil {
			return nil, fmt.Errorf("node %q: a %s cannot run on spike counts", n.Name, n.Kind())
		}
		s.fn = func(_ *run, in [][]uint8, out []uint8) { move(m, out, in) }
	}
	return s, nil
}

// nearestSource lists, for every output pixel, the input pixel it copies.
func nearestSource(h, w, oh, ow int) []int {
	x := make([]float32, h*w)
	for i := range x {
		x[i] = float32(i)
	}
	y := make([]float32, oh*ow)
	kernel.ResampleNearest(nil, kernel.ResampleShape{N: 1, H: h, W: w, C: 1, OutH: oh, OutW: ow}, x, y)
	from := make([]int, len(y))
	for i, v := range y {
		from[i] = int(v)
	}
	return from
}

// maxPoolCounts pools the counts that go to the given wire.
func maxPoolCounts(wire int, s kernel.PoolShape, cfg *Config) func(*run, [][]uint8, []uint8) {
	in, out := s.H*s.W*s.C, s.OutH*s.OutW*s.C
	return func(r *run, x [][]uint8, y []uint8) {
		cum, top := grow(&r.scratch.cum, in), grow(&r.scratch.top, out)
		for i := range r.samples * r.span {
			switch {
			case cfg.MaxPool == MaxPoolPerStep || (r.state == nil && i%r.span == 0):
				clear(cum)
				clear(top)
			case r.state != nil:
				cum, top = r.state.maxima(wire, i, in, out)
			}
			kernel.MaxPoolCounts(nil, s, cum, top, x[0][i*in:(i+1)*in], y[i*out:(i+1)*out])
		}
	}
}

// maxPoolShape is the shape of a max pool of one sample.
func maxPoolShape(n *graph.Node) kernel.PoolShape {
	if op, ok := n.Op.(*graph.MaxPool2D); ok {
		return poolShape(n, op.Kernel, op.Stride, op.Pad)
	}
	h, w, c := n.Inputs[0].Shape.HWC()
	return kernel.PoolShape{N: 1, H: h, W: w, C: c, KH: h, KW: w, StrideH: 1, StrideW: 1, OutH: 1, OutW: 1}
}

// maxStep is an exact max pool of counts that do not fit a byte: what the
// maximum of every window of cumulative counts has changed by, less than 0 where
// spikes were taken back.
type maxStep struct {
	in, out int
	shape   kernel.PoolShape
}

func newMaxStep(in, out int, n *graph.Node) *maxStep {
	return &maxStep{in: in, out: out, shape: maxPoolShape(n)}
}

func (s *maxStep) run(r *run) {
	in, size := r.net.plan.wires[s.in].size, r.net.plan.wires[s.out].size
	x, y := r.floats[s.in], r.newFloats(s.out, r.samples*r.span*size)
	cum, top := grow(&r.scratch.cum, in), grow(&r.scratch.top, size)
	for i := range r.samples * r.span {
		switch {
		case r.state != nil:
			cum, top = r.state.maxima(s.out, i, in, size)
		case i%r.span == 0:
			clear(cum)
			clear(top)
		}
		kernel.MaxPoolChanges(s.shape, cum, top, x[i*in:(i+1)*in], y[i*size:(i+1)*size])
	}
	r.countOperations(s.out)
}

// readoutStep evaluates a linear node behind the last neurons once, on the mean
// over time of its inputs.
type readoutStep struct {
	in  []int
	out int
	fn  function
}

func (s *readoutStep) run(r *run) {
	in := grow(&r.scratch.floatsIn, len(s.in))
	for i, w := range s.in {
		in[i] = r.means[w]
	}
	s.fn(r.pool, r.samples, in, grow(&r.means[s.out], r.samples*r.net.plan.wires[s.out].size))
}

// logits writes the network's output, averaged over the timesteps lo..hi-1, to
// out [samples][value].
func (r *run) logits(lo, hi int, out []float32) {
	p := r.net.plan
	for i, w := range p.wires {
		if w.mean {
			r.average(i, lo, hi)
		}
	}
	r.readOut(out)
}

// readOut evaluates what lies behind the last neurons on the means.
func (r *run) readOut(out []float32) {
	p := r.net.plan
	for _, i := range p.readout {
		p.steps[i].run(r)
	}
	scaleRows(out, r.means[p.output], p.outScale)
}

// average sets the mean of a wire over the timesteps lo..hi-1.
func (r *run) average(i, lo, hi int) {
	w, steps := r.net.plan.wires[i], r.span
	mean := grow(&r.means[i], r.samples*w.size)
	if w.kind == analog {
		copy(mean, r.floats[i])
		return
	}
	clear(mean)
	row := grow(&r.scratch.addend, w.size)
	for s := range r.samples {
		m := mean[s*w.size : (s+1)*w.size]
		for t := lo; t < hi; t++ {
			at := (s*steps + t) * w.size
			if w.kind == counts {
				kernel.CountsToFloat(row, r.bytes[i][at:at+w.size])
				kernel.AddTo(m, row)
			} else {
				kernel.AddTo(m, r.floats[i][at:at+w.size])
			}
		}
	}
	kernel.Scale(mean, mean, 1/float32(hi-lo))
}
