package snn

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// A Decide says after a timestep whether a sample leaves the network. t is the
// number of timesteps that the sample has run, 1..T; logits [classes] is the
// network's output, mean over these t timesteps (t times it is their sum where
// the readout is linear), valid during the call only; sample is the index in
// the batch. Calls for one sample come in order of t, calls for different
// samples from several goroutines at a time. At t = T the sample leaves
// whatever the answer.
type Decide func(t int, logits []float32, sample int) bool

// A StepResult holds what a run step by step found for N samples.
type StepResult struct {
	Logits *tensor.Tensor // [N, ...]: the network's output, mean over the timesteps that the sample ran
	Exit   []int          // per sample: how many timesteps it ran, 1..T
	Layers []LayerCounts  // per layer of neurons, up to each sample's exit
	Times  []NodeTime     // as in Result

	Kernels []KernelUse // as in Result
	Memory  int64       // as in Result
}

// MeanExit returns the mean number of timesteps, 0 without samples.
func (r *StepResult) MeanExit() float64 {
	if len(r.Exit) == 0 {
		return 0
	}
	sum := 0
	for _, t := range r.Exit {
		sum += t
	}
	return float64(sum) / float64(len(r.Exit))
}

// state is what a run step by step keeps of the samples in its slots from one
// timestep to the next. Slot g holds sample[g], which has run done[g]
// timesteps; all other slices are rows of slots.
type state struct {
	sample, done []int

	analog   [][]float32 // per wire: analog wires that later steps read
	membrane [][]float32 // per layer: the state of its neurons
	cum, top [][]int32   // per wire of a max pool: cumulative inputs and their maxima
	sums     [][]float32 // per wire whose mean is read: sum over the timesteps
	running  [][]float32 // per wire of a cumulativeStep: its state
}

// stepSlots bounds the samples that go through a timestep together. A sample
// has one frame there instead of T, so there are more of them than in a group
// of Run, to share the weights of large layers; still more leave the cache (5 to
// 10 % slower with 32 or 64 on vgg-small).
const stepSlots = 8

// RunSteps simulates the network on x [N, ...] timestep by timestep. After every
// timestep decide says which samples leave (nil: none before the last timestep);
// the others move together and new ones take the free places, so that time and
// operations are spent only until a sample's exit.
//
// A sample's spikes, logits and counts are, bit for bit, those of Run cut off
// behind its last timestep, whatever the other samples do.
//
// Neurons that accumulate all timesteps before they fire cannot run step by
// step: ErrUnsupported.
func (n *Network) RunSteps(ctx context.Context, pool *parallel.Pool, x *tensor.Tensor, decide Decide) (*StepResult, error) {
	if n.given.Schedule == ScheduleAccumulate {
		return nil, fmt.Errorf("a run step by step with schedule %s, whose neurons fire once for all timesteps: %w", n.given.Schedule, ErrUnsupported)
	}
	if err := n.check(x); err != nil {
		return nil, err
	}
	samples := x.Shape[0]
	out := n.plan.wires[n.plan.output]
	res := &StepResult{Logits: tensor.New(append([]int{samples}, out.node.Shape...)...),
		Exit: make([]int, samples), Layers: make([]LayerCounts, len(n.plan.fires))}
	for i := range res.Layers {
		res.Layers[i].reset(samples)
	}
	// Long pieces keep their slots full for longer, several per worker make up
	// for pieces that take longer than others.
	b := n.newBatch(ctx, pool)
	b.groups = n.cut(b.groups, x, max(1, (samples+2*pool.Workers()-1)/(2*pool.Workers())))
	b.steps, b.decide = res, decide
	if err := b.run(pool); err != nil {
		return nil, err
	}
	res.Memory = b.end(&res.Times, &res.Kernels)
	return res, nil
}

// stream lets the samples of a piece through the slots of the run.
func (r *run) stream(ctx context.Context, pool *parallel.Pool, g group, decide Decide, res *StepResult) error {
	p := r.net.plan
	r.begin(g.lo, 0, nil, pool)
	defer r.end()
	s := &r.slots
	r.state, r.span = s, 1
	slots := min(stepSlots, g.hi-g.lo)
	s.prepare(r.net, slots)
	out := p.wires[p.output]
	logits := grow(&r.scratch.logits, slots*out.size)
	for next := g.lo; next < g.hi || len(s.sample) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if k := min(slots-len(s.sample), g.hi-next); k > 0 {
			in := p.wires[p.input].size
			r.enter(next, k, g.x[(next-g.lo)*in:(next-g.lo+k)*in])
			next += k
		}
		r.advance()
		if r.err != nil {
			return r.err
		}
		rows := logits[:r.samples*out.size]
		r.meanLogits(rows)
		stay := r.scratch.stay[:0]
		for i, sample := range s.sample {
			for l := range res.Layers {
				res.Layers[l].gain(sample, &r.layers[l], i)
			}
			row := rows[i*out.size : (i+1)*out.size]
			s.done[i]++
			for k, v := range row {
				if v-v != 0 {
					return fmt.Errorf("node %q: output of sample %d, channel %d is %g at timestep %d: %w",
						out.node.Name, sample, k%out.node.Shape.Channels(), v, s.done[i], ErrNotFinite)
				}
			}
			leaves := decide != nil && decide(s.done[i], row, sample)
			if !leaves && s.done[i] < r.net.cfg.Timesteps {
				stay = append(stay, i)
				continue
			}
			copy(res.Logits.Data[sample*out.size:], row)
			res.Exit[sample] = s.done[i]
		}
		r.scratch.stay = stay
		s.compact(stay, r.net)
	}
	return nil
}

// prepare makes room for a number of slots and empties them.
func (s *state) prepare(n *Network, slots int) {
	p := n.plan
	if s.membrane == nil {
		s.membrane = make([][]float32, len(p.fires))
		s.analog, s.sums = make([][]float32, len(p.wires)), make([][]float32, len(p.wires))
		s.cum, s.top = make([][]int32, len(p.wires)), make([][]int32, len(p.wires))
	}
	s.sample, s.done = s.sample[:0], s.done[:0]
	s.prepareRunning(p, slots)
	for l, f := range p.fires {
		grow(&s.membrane[l], slots*f.stateSize())
	}
	for _, i := range p.lasting {
		grow(&s.analog[i], slots*p.wires[i].size)
	}
	for i, w := range p.wires {
		if w.mean && w.kind != analog {
			grow(&s.sums[i], slots*w.size)
		}
		if in, size, ok := p.maxPool(i, n.cfg); ok {
			grow(&s.cum[i], slots*in)
			grow(&s.top[i], slots*size)
		}
	}
}

// maxPool returns the sizes of what wire i needs as state of an exact max pool
// of counts.
func (p *plan) maxPool(i int, cfg *Config) (in, out int, ok bool) {
	w := p.wires[i]
	if !w.spikes || !isTimedMaxPool(w) || cfg.MaxPool == MaxPoolPerStep {
		return 0, 0, false
	}
	return p.wires[p.index[w.node.Inputs[0]]].size, w.size, true
}

// maxima returns the state of the max pool with output wire w in slot g.
func (s *state) maxima(w, g, in, out int) (cum, top []int32) {
	return s.cum[w][g*in : (g+1)*in], s.top[w][g*out : (g+1)*out]
}

// enter puts k samples, of which the first is number first, into the next free
// slots: their analog prefix is computed, all else is as before the first
// timestep.
func (r *run) enter(first, k int, x []float32) {
	p, s, at := r.net.plan, r.state, len(r.state.sample)
	r.samples = k
	r.floats[p.input] = x
	for i, step := range p.steps {
		if step != nil && p.wires[i].kind == analog {
			r.step(i)
		}
	}
	for _, i := range p.lasting {
		copy(s.analog[i][at*p.wires[i].size:], r.floats[i])
	}
	r.floats[p.input] = nil // the caller's
	for i := range p.wires {
		r.free(i)
	}
	s.clearRunning(p, at, at+k)
	for j := range k {
		s.sample, s.done = append(s.sample, first+j), append(s.done, 0)
	}
	for l, f := range p.fires {
		size := f.stateSize()
		for g := at; g < at+k; g++ {
			f.reset(s.membrane[l][g*size:(g+1)*size], f.initial)
		}
	}
	for i, w := range p.wires {
		if w.mean && w.kind != analog {
			clear(s.sums[i][at*w.size : (at+k)*w.size])
		}
		if in, out, ok := p.maxPool(i, r.net.cfg); ok {
			clear(s.cum[i][at*in : (at+k)*in])
			clear(s.top[i][at*out : (at+k)*out])
		}
	}
}

// advance runs all samples in the slots through one timestep.
func (r *run) advance() {
	p, s := r.net.plan, r.state
	r.samples = len(s.sample)
	for _, i := range p.lasting {
		r.floats[i] = s.analog[i][:r.samples*p.wires[i].size]
	}
	for i, step := range p.steps {
		if step != nil && p.wires[i].kind != analog && !p.wires[i].readout && r.err == nil {
			r.step(i)
		}
	}
	if r.err == nil {
		for i, w := range p.wires {
			switch {
			case !w.mean || w.kind == analog:
			case w.kind == counts:
				row := grow(&r.scratch.addend, r.samples*w.size)
				kernel.CountsToFloat(row, r.bytes[i])
				kernel.AddTo(s.sums[i][:len(row)], row)
			default:
				kernel.AddTo(s.sums[i][:r.samples*w.size], r.floats[i])
			}
		}
	}
	for i, w := range p.wires {
		if w.kind == analog {
			r.floats[i] = nil // the state's
		} else {
			r.free(i)
		}
	}
}

// meanLogits writes the output of every slot, averaged over the timesteps it
// has run, the last one of which done does not count yet, to out.
func (r *run) meanLogits(out []float32) {
	p, s := r.net.plan, r.state
	for i, w := range p.wires {
		if !w.mean {
			continue
		}
		mean := grow(&r.means[i], r.samples*w.size)
		if w.kind == analog {
			copy(mean, s.analog[i])
			continue
		}
		for g, t := range s.done {
			lo, hi := g*w.size, (g+1)*w.size
			kernel.Scale(mean[lo:hi], s.sums[i][lo:hi], 1/float32(t+1))
		}
	}
	r.readOut(out)
}

// compact moves the slots that stay, in ascending order, to the front.
func (s *state) compact(stay []int, n *Network) {
	p := n.plan
	for to, from := range stay {
		s.sample[to], s.done[to] = s.sample[from], s.done[from]
	}
	s.sample, s.done = s.sample[:len(stay)], s.done[:len(stay)]
	s.moveRunning(p, stay)
	for l, f := range p.fires {
		moveRows(s.membrane[l], f.stateSize(), stay)
	}
	for _, i := range p.lasting {
		moveRows(s.analog[i], p.wires[i].size, stay)
	}
	for i, w := range p.wires {
		if w.mean && w.kind != analog {
			moveRows(s.sums[i], w.size, stay)
		}
		if in, out, ok := p.maxPool(i, n.cfg); ok {
			moveRows(s.cum[i], in, stay)
			moveRows(s.top[i], out, stay)
		}
	}
}

// moveRows moves the given rows, ascending, to the front.
func moveRows[E any](x []E, size int, stay []int) {
	for to, from := range stay {
		if to != from {
			copy(x[to*size:(to+1)*size], x[from*size:(from+1)*size])
		}
	}
}
