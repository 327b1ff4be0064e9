package snn

import (
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
)

// A cumulativeStep is an operation that is not linear but whose mean output is
// exact all the same: with A(t) the sum of its inputs over t timesteps, it emits
//
//	F(t) - F(t-1), F(t) = t*f(A(t)/t)
//
// so that the mean over t timesteps is f of the mean inputs (algorithms.md 1.6).
// For a maximum, where a factor t passes through, F is max A(t); for a product of
// two inputs it is A(t)B(t)/t. What it emits are no counts.
type cumulativeStep struct {
	in      []int
	out     int
	fn      function
	product bool // divide by t
	state   int  // values that a sample keeps: cumulative inputs, and F
}

func (p *plan) newCumulativeStep(n *graph.Node, fn function) *cumulativeStep {
	s := &cumulativeStep{in: p.inputs(n), out: p.index[n], fn: fn, product: isProduct(n), state: n.Shape.Numel()}
	for _, in := range s.in {
		s.state += p.wires[in].size
	}
	return s
}

// isProduct says whether the node multiplies its two inputs.
func isProduct(n *graph.Node) bool {
	switch op := n.Op.(type) {
	case *graph.Binary:
		return op.Func == graph.Mul
	case *graph.MatMul:
		return true
	}
	return false
}

func (s *cumulativeStep) run(r *run) {
	size := r.net.plan.wires[s.out].size
	y := r.newFloats(s.out, r.samples*r.span*size)
	sums := grow(&r.scratch.floatsIn, len(s.in))
	var state []float32
	if r.state == nil {
		state = grow(&r.scratch.running, s.state)
	}
	for g := range r.samples {
		done := 0 // timesteps before
		if r.state != nil {
			state, done = r.state.running[s.out][g*s.state:(g+1)*s.state], r.state.done[g]
		} else {
			clear(state)
		}
		last := state[s.state-size:]
		for t := range r.span {
			at := state
			for i, w := range s.in {
				n := r.net.plan.wires[w].size
				row := grow(&r.scratch.addend, n)
				r.slice(row, w, g, t, 0, n, nil)
				sums[i], at = at[:n], at[n:]
				kernel.AddTo(sums[i], row)
			}
			out := y[(g*r.span+t)*size : (g*r.span+t+1)*size]
			s.fn(r.pool, 1, sums, out)
			if s.product {
				steps := float32(done + t + 1)
				for i := range out {
					out[i] /= steps
				}
			}
			for i, now := range out {
				out[i], last[i] = now-last[i], now
			}
		}
	}
}

// cumulative returns how many values a sample keeps for wire i from one timestep
// to the next.
func (p *plan) cumulative(i int) int {
	if s, ok := p.steps[i].(*cumulativeStep); ok {
		return s.state
	}
	return 0
}

// prepareRunning makes room for a number of slots.
func (s *state) prepareRunning(p *plan, slots int) {
	if s.running == nil {
		s.running = make([][]float32, len(p.wires))
	}
	for i := range p.wires {
		if k := p.cumulative(i); k > 0 {
			grow(&s.running[i], slots*k)
		}
	}
}

// clearRunning empties slots from..to-1.
func (s *state) clearRunning(p *plan, from, to int) {
	for i := range p.wires {
		if k := p.cumulative(i); k > 0 {
			clear(s.running[i][from*k : to*k])
		}
	}
}

// moveRunning moves the slots that stay to the front.
func (s *state) moveRunning(p *plan, stay []int) {
	for i := range p.wires {
		if k := p.cumulative(i); k > 0 {
			moveRows(s.running[i], k, stay)
		}
	}
}
