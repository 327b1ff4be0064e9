package snn

import "github.com/adafire/adafire/internal/kernel"

// inputs lists the wires that a layer reads.
func (l *intLayer) inputs() []int {
	in := make([]int, len(l.parts))
	for i := range l.parts {
		in[i] = l.parts[i].in
	}
	return in
}

// intStep is an intLayer whose output is a current for several readers.
type intStep struct {
	out   int
	layer *intLayer
}

func (s *intStep) run(r *run) {
	frames := r.samples * r.span
	s.layer.choose(r)
	s.layer.evaluate(r, 0, frames, r.newFloats(s.out, frames*s.layer.size))
}

// evaluate writes the currents of some frames to out; choose must have been
// called.
func (l *intLayer) evaluate(r *run, first, frames int, out []float32) {
	sc := &r.intScratch()[0]
	sc.forgetBases()
	most := l.chunk(r, frames)
	c := kernel.IntCurrent{Scale: l.step, Bias: l.bias}
	for lo := 0; lo < frames; lo += most {
		k := min(most, frames-lo)
		acc := grow(&sc.acc, k*l.size)
		if r.pool.Workers() > 1 {
			l.sharedSums(r, first+lo, k, acc)
		} else {
			l.sums(r, first+lo, k, 0, l.height(), acc, sc)
		}
		kernel.IntCurrents(out[lo*l.size:(lo+k)*l.size], acc, &c)
	}
}

// height is the number of output rows of a frame.
func (l *intLayer) height() int { return l.parts[0].shape.OutH() }

// pixels is the number of output pixels of a frame.
func (l *intLayer) pixels() int { return l.height() * l.parts[0].shape.OutW() }

// Sizes of the pieces an integer layer is worked on in. They depend on the
// network and the batch; no result depends on them.
const (
	intRowPixels   = 96  // least pixels of a frame that is worked on in blocks of rows
	intBlockPixels = 192 // pixels of such a block
	intPixels      = 512 // pixels of smaller frames that are worked on at a time
)

// chunk returns how many of the frames to work on at a time.
func (l *intLayer) chunk(r *run, frames int) int {
	return min(frames, max(1, intPixels*r.pool.Workers()/l.pixels()))
}

// intScratch returns the working memory of all workers.
func (r *run) intScratch() []intScratch {
	for len(r.scratch.ints) < r.pool.Workers() {
		r.scratch.ints = append(r.scratch.ints, intScratch{})
	}
	return r.scratch.ints
}

// fireInts runs neurons that an integer layer drives.
func (s *fireStep) fireInts(r *run, offset, initial []float32) {
	live := s.ints.choose(r)
	for i, n := range live {
		r.layers[s.layer].Inputs[i/r.span] += int64(n)
	}
	if live == nil {
		r.countInputs(s)
	}
	use := &r.uses[s.layer]
	use.Frames += int64(r.samples * r.span)
	for _, way := range r.scratch.ways[:r.samples*r.span] {
		switch way {
		case byEvents:
			use.EventFrames++
		case byBase:
			use.BaseFrames++
		}
	}
	if pixels := s.ints.pixels(); pixels >= intRowPixels && s.ints.height() > 1 {
		s.fireIntRows(r, offset, initial)
	} else {
		s.fireIntFrames(r, offset, initial)
	}
}

// fireIntFrames works on whole frames: for small images and vectors.
func (s *fireStep) fireIntFrames(r *run, offset, initial []float32) {
	l, steps, size := s.ints, r.span, s.size
	total := r.samples * steps // frames: [sample][timestep]
	most := l.chunk(r, total)
	sc := &r.intScratch()[0]
	sc.forgetBases()
	var v []float32
	for lo := 0; lo < total; lo += most {
		k := min(most, total-lo)
		acc := grow(&sc.acc, k*size)
		if r.pool.Workers() > 1 {
			l.sharedSums(r, lo, k, acc)
		} else {
			l.sums(r, lo, k, 0, l.height(), acc, sc)
		}
		for i := range k {
			g, t := (lo+i)/steps, (lo+i)%steps
			if t == 0 {
				v = s.potentials(r, g, initial)
			}
			spikes, events, finite := s.updateInts(r, lo+i, 0, v[:size], v[size:], acc[i*size:(i+1)*size], offset, sc)
			r.layers[s.layer].add(g, spikes, events)
			if !finite {
				r.fail(s, g, t, v[:size])
				return
			}
		}
	}
}

// A rowTally is what a block of rows has done.
type rowTally struct {
	spikes, events int64
	bad            int // timestep of the first potential that is no finite number, -1 if none
	at             int // position of the potential
	value          float32
}

// A rowJob is what workers do with the blocks of rows of a layer.
type rowJob struct {
	s               *fireStep
	offset, initial []float32
	rows, blocks    int // rows of a block, blocks of a sample

	// Of weights in floats, which take the samples one by one:
	sample int
	t0, t1 int       // timesteps
	x      []float32 // inputs of these
	v      []float32 // potentials
}

// fireIntRows works on blocks of output rows, which go through all timesteps
// while their potentials and sums stay in the cache.
func (s *fireStep) fireIntRows(r *run, offset, initial []float32) {
	height := s.ints.height()
	width := s.ints.pixels() / height
	rows := (intBlockPixels + width - 1) / width
	if w := r.pool.Workers(); w > 1 { // several blocks for each worker
		rows = max(1, min(rows, height*r.samples/(4*w)))
	}
	blocks := (height + rows - 1) / rows
	rows = (height + blocks - 1) / blocks
	r.job = rowJob{s: s, offset: offset, initial: initial, rows: rows, blocks: blocks}
	tallies := grow(&r.scratch.tallies, r.samples*blocks)
	r.intScratch()
	if r.pool.Workers() > 1 {
		r.pool.ForWorker(len(tallies), r.rowBlock)
	} else {
		for b := range tallies {
			r.fireRowBlock(0, b)
		}
	}
	for b, sum := range tallies {
		r.layers[s.layer].add(b/blocks, sum.spikes, sum.events)
		if sum.bad >= 0 {
			r.failAt(s, b/blocks, sum.bad, sum.at, sum.value)
			return
		}
	}
}

// fireRowBlock is block b of the job.
func (r *run) fireRowBlock(worker, b int) {
	job := &r.job
	s := job.s
	height := s.ints.height()
	g, row := b/job.blocks, b%job.blocks*job.rows
	end := min(row+job.rows, height)
	per := s.size / height
	lo, hi := row*per, end*per
	sc := &r.scratch.ints[worker]
	sc.forgetBases()
	var v, sum []float32
	if r.state != nil {
		all := r.state.membrane[s.layer][g*s.stateSize() : (g+1)*s.stateSize()]
		v = all[lo:hi]
		if s.signed {
			sum = all[s.size+lo : s.size+hi]
		}
	} else {
		v = grow(&sc.membrane, (hi-lo)*s.stateSize()/s.size)
		v, sum = v[:hi-lo], v[hi-lo:]
		clear(sum)
		if job.initial != nil {
			copy(v, job.initial[lo:hi])
		} else {
			for i := range v {
				v[i] = s.start
			}
		}
	}
	acc := grow(&sc.acc, hi-lo)
	tally := rowTally{bad: -1}
	for t := range r.span {
		k := g*r.span + t
		s.ints.sums(r, k, 1, row, end, acc, sc)
		spikes, events, finite := s.updateInts(r, k, lo, v, sum, acc, job.offset, sc)
		tally.spikes, tally.events = tally.spikes+spikes, tally.events+events
		if !finite && tally.bad < 0 {
			tally.bad = t
			at := notFinite(v)
			tally.at, tally.value = lo+at, v[at]
		}
	}
	r.scratch.tallies[b] = tally
}

// updateInts is update for the neurons lo..lo+len(acc)-1 of frame k, whose
// current comes from sums of whole numbers; v and sum are their potentials and,
// if signed, what they have emitted.
func (s *fireStep) updateInts(r *run, k, lo int, v, sum []float32, acc []int32, offset []float32, sc *intScratch) (spikes, events int64, finite bool) {
	c := kernel.IntCurrent{Scale: s.ints.step, Bias: s.ints.bias}
	hi := lo + len(acc)
	at := k * s.size
	if s.add >= 0 {
		wire := r.net.plan.wires[s.add]
		switch {
		case wire.kind == counts:
			c.AddCounts, c.AddScale = r.bytes[s.add][at+lo:at+hi], s.addFactor
		case s.addScale != nil:
			c.Add = grow(&sc.addend, len(acc))
			r.slice(c.Add, s.add, k/r.span, k%r.span, lo, hi, s.addScale)
		case wire.kind == analog:
			c.Add = r.floats[s.add][k/r.span*s.size+lo : k/r.span*s.size+hi]
		default:
			c.Add = r.floats[s.add][at+lo : at+hi]
		}
	}
	if r.kept == nil && offset == nil && !s.wide {
		return kernel.FireInt(r.bytes[s.out][at+lo:at+hi], v, acc, &c, s.shift, uint8(s.maxSpike))
	}
	var current []float32
	if r.kept != nil {
		current = r.kept[at+lo : at+hi]
	} else {
		current = grow(&sc.current, len(acc))
	}
	kernel.IntCurrents(current, acc, &c)
	return s.updatePart(r, at+lo, at+hi, v, sum, current, offset)
}
