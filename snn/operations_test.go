package snn

import (
	"context"
	"math"
	"testing"

	"github.com/adafire/adafire/graph"
	"pgregory.net/rapid"
)

// tally is what spikes cause, counted one by one.
type tally struct{ sops, readout, pool, residual int64 }

// pusher follows single spikes through a graph.
type pusher struct {
	uses   map[*graph.Node][]*graph.Node
	behind map[*graph.Node]bool
	taps   map[*graph.Node][][][2]int
}

// reached lists the output pixels that taps of r connect with input pixel i.
func (p *pusher) reached(r *graph.Node, i int) [][2]int {
	if p.taps[r] == nil {
		_, w, _ := r.Inputs[0].Shape.HWC()
		p.taps[r] = make([][][2]int, r.Inputs[0].Shape.Positions())
		eachTap(r, func(py, px, oy, ox, _ int) {
			p.taps[r][py*w+px] = append(p.taps[r][py*w+px], [2]int{oy, ox})
		})
	}
	return p.taps[r][i]
}

// push sends one spike of node n, pixel (y, x), channel ch, to all its readers.
func (p *pusher) push(n *graph.Node, y, x, ch int, t *tally) {
	_, w, c := n.Shape.HWC()
	done := map[*graph.Node]bool{}
	for _, r := range p.uses[n] {
		oh, ow, oc := r.Shape.HWC()
		synapses := func(k int) {
			t.sops += int64(k)
			if p.behind[r] {
				t.readout += int64(k)
			}
		}
		switch op := r.Op.(type) {
		case *graph.Conv2D:
			synapses(len(p.reached(r, y*w+x)) * (oc / op.Groups))
		case *graph.ConvTranspose2D:
			synapses(len(p.reached(r, y*w+x)) * (oc / op.Groups))
		case *graph.Linear:
			synapses(oc)
		case *graph.BatchNorm:
			synapses(1)
		case *graph.AvgPool2D, *graph.GlobalAvgPool:
			for _, o := range p.reached(r, y*w+x) {
				t.pool++
				p.push(r, o[0], o[1], ch, t)
			}
		case *graph.Add:
			t.residual++
			p.push(r, y, x, ch, t)
		case *graph.Identity, *graph.Dropout:
			p.push(r, y, x, ch, t)
		case *graph.Concat:
			if done[r] {
				continue // both uses are handled at the first
			}
			at := 0
			for _, in := range r.Inputs {
				if in == n {
					p.push(r, y, x, at+ch, t)
				}
				at += in.Shape.Channels()
			}
			done[r] = true
		case *graph.Flatten:
			p.push(r, 0, 0, (y*w+x)*c+ch, t)
		case *graph.Upsample:
			h, w, _ := n.Shape.HWC()
			for oy := range oh {
				for ox := range ow {
					for _, s := range sources(op, h, w, oy, ox) {
						if s.y == y && s.x == x {
							p.push(r, oy, ox, ch, t)
						}
					}
				}
			}
		}
	}
}

// TestOperationsEqualPushedSpikes counts synaptic operations, pool and residual
// additions by pushing every spike of the neurons, and of the max pools behind
// them, through the network.
func TestOperationsEqualPushedSpikes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawNetwork(t, true)
		x = x.Rows(0, 1)
		net, err := New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		res, err := net.Run(context.Background(), nil, x, Options{Trace: true})
		if err != nil {
			t.Fatal(err)
		}
		ref := &reference{g: g, cfg: cfg}
		ref.run(x.Data)
		p := &pusher{uses: g.Consumers(), behind: readouts(g), taps: map[*graph.Node][][][2]int{}}
		activations := Activations(g)
		want := make([]tally, len(activations))
		// emitted pushes n spikes of one neuron or pool.
		emitted := func(node *graph.Node, i, n, layer int) {
			if n == 0 {
				return
			}
			_, w, c := node.Shape.HWC()
			var one tally
			p.push(node, i/c/w, i/c%w, i%c, &one)
			want[layer].sops += int64(n) * one.sops
			want[layer].readout += int64(n) * one.readout
			want[layer].pool += int64(n) * one.pool
			want[layer].residual += int64(n) * one.residual
		}
		for l, node := range activations {
			var spikes, events int64
			total := make([]int, node.Shape.Numel())
			for _, step := range ref.counts[node] {
				for i, k := range step {
					total[i] += max(k, -k)
					spikes += int64(max(k, -k))
					if k != 0 {
						events++
					}
				}
			}
			for i, n := range total {
				emitted(node, i, n, l)
			}
			if c := res.Layers[l]; c.Spikes[0] != spikes || c.Events[0] != events {
				t.Fatalf("node %q: %d spikes and %d events, want %d and %d", node.Name, c.Spikes[0], c.Events[0], spikes, events)
			}
			fan := net.FanOut(l)
			for i := range total {
				var one tally
				_, w, c := node.Shape.HWC()
				p.push(node, i/c/w, i/c%w, i%c, &one)
				if fan[i/c] != one.sops {
					t.Fatalf("node %q, position %d: fan-out %d, want %d", node.Name, i/c, fan[i/c], one.sops)
				}
			}
		}
		// A max pool emits spikes of its own; they are its layers'.
		owners := layersOnWires(g)
		for _, node := range g.Nodes {
			if (node.Kind() != "maxpool2d" && node.Kind() != "global_maxpool") || owners[node] == nil {
				continue
			}
			for i, n := range poolSpikes(ref, node) {
				emitted(node, i, n, owners[node][i%node.Shape.Channels()])
			}
		}
		for l, node := range activations {
			c := res.Layers[l]
			if got := (tally{c.SOPs[0], c.ReadoutSOPs[0], c.PoolAdds[0], c.ResidualAdds[0]}); got != want[l] {
				t.Fatalf("node %q: counted %+v, want %+v", node.Name, got, want[l])
			}
		}
	})
}

// layersOnWires returns, for nodes that pass counts on, the layer that every
// channel's spikes come from.
func layersOnWires(g *graph.Graph) map[*graph.Node][]int {
	owners := map[*graph.Node][]int{}
	layer := 0
	for _, n := range g.Nodes {
		switch {
		case graph.IsActivation(n):
			for range n.Shape.Channels() {
				owners[n] = append(owners[n], layer)
			}
			layer++
		case n.Kind() == "concat":
			for _, in := range n.Inputs {
				owners[n] = append(owners[n], owners[in]...)
			}
		case n.Kind() == "maxpool2d", n.Kind() == "global_maxpool", n.Kind() == "upsample", n.Kind() == "identity", n.Kind() == "dropout":
			owners[n] = owners[n.Inputs[0]]
		}
	}
	return owners
}

// poolSpikes returns how many spikes a max pool has emitted over all timesteps,
// per output: exact pools what the maximum of the cumulative counts changes by,
// others every timestep's maximum.
func poolSpikes(ref *reference, pool *graph.Node) []int {
	steps := ref.cfg.Timesteps
	out := make([]int, pool.Shape.Numel())
	cumulative := make([]float64, pool.Inputs[0].Shape.Numel())
	last := make([]float64, len(out))
	for t := range steps {
		now := countsAt(ref, pool.Inputs[0], t)
		for i, k := range now {
			cumulative[i] += k
		}
		if ref.cfg.MaxPool == MaxPoolPerStep {
			for i, v := range maximum(pool, now) {
				out[i] += int(v)
			}
			continue
		}
		top := maximum(pool, cumulative)
		for i, v := range top {
			out[i] += int(math.Abs(v - last[i]))
		}
		last = top
	}
	return out
}

// countsAt evaluates a node that passes counts on, at timestep t.
func countsAt(ref *reference, n *graph.Node, t int) []float64 {
	if graph.IsActivation(n) {
		out := make([]float64, n.Shape.Numel())
		for i, k := range ref.counts[n][t] {
			out[i] = float64(k)
		}
		return out
	}
	if n.Kind() == "maxpool2d" && ref.cfg.MaxPool == MaxPoolExact {
		before, cumulative := make([]float64, n.Shape.Numel()), make([]float64, n.Inputs[0].Shape.Numel())
		var top []float64
		for s := range t + 1 {
			if s == t && s > 0 {
				before = maximum(n, cumulative)
			}
			for i, k := range countsAt(ref, n.Inputs[0], s) {
				cumulative[i] += k
			}
		}
		top = maximum(n, cumulative)
		for i := range top {
			top[i] -= before[i]
		}
		return top
	}
	values := map[*graph.Node][]float64{}
	for _, in := range n.Inputs {
		values[in] = countsAt(ref, in, t)
	}
	return (&reference{g: ref.g, cfg: ref.cfg}).evaluate(n, values, false)
}
