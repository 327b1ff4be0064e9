// Package snn runs spiking networks: a graph whose activations are replaced by
// burst integrate-and-fire neurons, on spike counts of 0..maxspike per
// timestep, with exact counts of spikes and synaptic operations.
//
//	net, err := snn.New(g, cfg)           // g: folded graph, cfg: thresholds and limits
//	res, err := net.Run(pool, x, snn.Options{})
//	res.Logits                            // mean over the timesteps
//
// How thresholds and limits are found is the matter of package convert. The
// neuron (algorithms.md 1.2): every timestep the membrane potential grows by
// the input current; the neuron emits as many spikes as thresholds fit into it,
// at most maxspike, and keeps the rest (soft reset).
//
// Config holds what other rules there are for the same neuron: where the half
// threshold goes, negative spikes that take back earlier ones, and firing once
// on the sum over the timesteps; and in which precision the weights behind
// spikes are held. With whole numbers (I8, I16) their sums are exact, so all
// spikes are the same bits on every machine.
//
// The analog input is presented in every timestep (direct coding); everything
// before the first neurons is computed once. What lies behind the last neurons
// is computed once, on the mean over time. In between, the network runs layer
// by layer over all timesteps: the same spikes as timestep by timestep, since
// no layer reads its own output.
//
// Results do not depend on the number of workers nor on how samples are
// batched, bit for bit.
package snn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// ErrUnsupported marks a request that is valid but that the network's settings
// do not allow.
var ErrUnsupported = errors.New("unsupported")

// ErrNotFinite marks a run in which a membrane potential became NaN or
// infinite.
var ErrNotFinite = errors.New("not a finite number")

// A Network is a compiled spiking network. It may be run from several
// goroutines at a time.
type Network struct {
	g       *graph.Graph
	given   *Config // what New was given
	cfg     *Config // the same as it runs
	plan    *plan
	cost    []wireCost // per wire: what a spike on it causes
	busiest int        // see plan.busiest
	idle    sync.Pool  // *run: working memory between runs
	batches sync.Pool  // *batch: the same

	forward    sync.Once
	forwardNet *Network // see atOnce
}

// New compiles a graph with folded batch norms (graph passes of package
// convert) and the neurons of cfg. It refuses, naming the node, what cannot be
// represented exactly. The graph's parameters are copied where they are
// scaled; cfg is copied.
func New(g *graph.Graph, cfg *Config) (*Network, error) { return build(g, cfg, chooseFaster) }

// build is New with a choice of kernels, on which no result depends.
func build(g *graph.Graph, cfg *Config, c choice) (*Network, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.Clone()
	if err := cfg.validate(g); err != nil {
		return nil, err
	}
	given := cfg
	cfg = given.running()
	p, err := compile(g, cfg, c)
	if err != nil {
		return nil, err
	}
	n := &Network{g: g, given: given, cfg: cfg, plan: p}
	n.cost, n.busiest = n.costs(), p.busiest(cfg.Timesteps)
	return n, nil
}

// Graph returns the graph the network was made from; it must not be changed.
func (n *Network) Graph() *graph.Graph { return n.g }

// Config returns a copy of the neurons' settings.
func (n *Network) Config() *Config { return n.given.Clone() }

// Options of a run.
type Options struct {
	// Trace keeps the counts of every layer and the logits of every timestep.
	Trace bool
	// Reuse is a result of an earlier run whose memory is used for this one, which
	// it becomes; nil for a new one. After some runs on batches of one size, a run
	// in one goroutine then allocates nothing.
	Reuse *Result
	// NoCounts leaves Result.Layers empty. What signed neurons of the largest
	// burst limit, MaxBurst, have emitted after T timesteps is then computed at
	// once, as
	//
	//	N = max(0, floor(v + I[1] + ... + I[T]))
	//
	// instead of step by step (unless there is a trace): with negative spikes, and
	// a limit that no neuron reaches, it does not matter when spikes came
	// (beyond.md, "a fact we proved"). Sums of currents are rounded in another
	// order, so a potential within rounding of a whole number may fall on its other
	// side; neurons that need more than MaxBurst spikes in one timestep differ.
	NoCounts bool
}

// A Result holds what a run found for N samples.
type Result struct {
	Logits *tensor.Tensor // [N, ...]: the network's output, mean over the timesteps
	Layers []LayerCounts  // per layer of neurons
	// With Options.Trace: the output of every timestep [T, N, ...] and the
	// counts of every layer [T, N, ...]. With ScheduleAccumulate there is one
	// step in place of T: the counts are sums over the timesteps.
	StepLogits *tensor.Tensor
	StepCounts []*tensor.Tensor

	// Times says where the time went, in graph order. What runs inside another
	// step, such as a convolution in that of its neurons, has no entry.
	Times []NodeTime
	// Kernels says, per layer of neurons, how its current was computed.
	Kernels []KernelUse
	// Memory is the working memory of all workers in bytes, weights, inputs and
	// the result left out: what wires and sums take at most.
	Memory int64
}

// A NodeTime is the time that the step of one node took, all timesteps and
// samples, added up over the workers.
type NodeTime struct {
	Node    *graph.Node
	Elapsed time.Duration
}

// A batch is a call of Run or RunSteps: what its workers share. It is kept for
// the next call.
type batch struct {
	net      *Network
	ctx      context.Context
	pool     *parallel.Pool // for the inside of a layer; nil when groups run in parallel
	res      *Result
	steps    *StepResult
	decide   Decide
	trace    bool
	noCounts bool
	groups   []group
	runs     []*run // per worker, nil where it took no group
	errs     []error
	work     func(worker, i int) // of group i
}

// newBatch prepares a call with the given groups.
func (n *Network) newBatch(ctx context.Context, pool *parallel.Pool) *batch {
	b, ok := n.batches.Get().(*batch)
	if !ok {
		b = &batch{net: n}
		b.work = b.group
	}
	b.ctx, b.pool = ctx, pool
	b.res, b.steps, b.decide, b.trace, b.noCounts = nil, nil, nil, false, false
	return b
}

// run works on the groups with the workers of pool.
func (b *batch) run(pool *parallel.Pool) error {
	clear(grow(&b.runs, pool.Workers()))
	clear(grow(&b.errs, len(b.groups)))
	if len(b.groups) >= pool.Workers() {
		b.pool = nil // groups keep the workers busy
	}
	pool.ForWorker(len(b.groups), b.work)
	for _, err := range b.errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// group works on group i.
func (b *batch) group(worker, i int) {
	if b.errs[i] = b.ctx.Err(); b.errs[i] != nil {
		return
	}
	r := b.runs[worker]
	if r == nil {
		if r, _ = b.net.idle.Get().(*run); r == nil {
			r = b.net.newRun()
		}
		b.runs[worker] = r
	}
	r.keep, r.noCounts = b.trace, b.noCounts
	if b.steps != nil {
		b.errs[i] = r.stream(b.ctx, b.pool, b.groups[i], b.decide, b.steps)
	} else {
		b.errs[i] = r.whole(b.pool, b.groups[i], b.res, b.trace)
	}
}

// end writes what the workers' runs measured to times and uses and keeps their
// working memory, whose size it returns, for the next call.
func (b *batch) end(times *[]NodeTime, uses *[]KernelUse) (memory int64) {
	b.net.times(b.runs, times)
	b.net.kernels(b.runs, uses)
	for i, r := range b.runs {
		if r != nil {
			memory += r.memory()
			clear(r.elapsed)
			clear(r.uses)
			b.net.idle.Put(r)
		}
		b.runs[i] = nil
	}
	for i := range b.groups {
		b.groups[i] = group{}
	}
	b.ctx, b.pool, b.res, b.steps, b.decide = nil, nil, nil, nil, nil
	b.net.batches.Put(b)
	return memory
}

// times adds up what the workers' runs measured.
func (n *Network) times(runs []*run, list *[]NodeTime) {
	*list = (*list)[:0]
	for i, w := range n.plan.wires {
		if n.plan.steps[i] == nil {
			continue
		}
		t := NodeTime{Node: w.node}
		for _, r := range runs {
			if r != nil {
				t.Elapsed += r.elapsed[i]
			}
		}
		*list = append(*list, t)
	}
}

// atOnce returns a network that computes the outputs of this one in one pass, nil
// if there is none: see Options.NoCounts.
func (n *Network) atOnce() *Network {
	n.forward.Do(func() {
		if !n.given.Signed || n.given.Shift == ShiftPerStep {
			return
		}
		cfg := n.given.Clone()
		for _, l := range cfg.Layers {
			if l.MaxSpike != MaxBurst {
				return
			}
		}
		cfg.Signed, cfg.Schedule = false, ScheduleAccumulate
		if net, err := New(n.g, cfg); err == nil { // else there are too many timesteps
			n.forwardNet = net
		}
	})
	return n.forwardNet
}

// Run simulates the network on x [N, ...], samples of the graph's input shape.
// A nil pool runs in the calling goroutine.
func (n *Network) Run(ctx context.Context, pool *parallel.Pool, x *tensor.Tensor, opt Options) (*Result, error) {
	if err := n.check(x); err != nil {
		return nil, err
	}
	if opt.NoCounts && !opt.Trace {
		if at := n.atOnce(); at != nil {
			return at.Run(ctx, pool, x, opt)
		}
	}
	samples := x.Shape[0]
	b := n.newBatch(ctx, pool)
	b.groups = n.cut(b.groups, x, n.groupSize(samples, pool))
	b.res, b.trace, b.noCounts = n.result(opt, samples), opt.Trace, opt.NoCounts
	res := b.res
	if err := b.run(pool); err != nil {
		return nil, err
	}
	res.Memory = b.end(&res.Times, &res.Kernels)
	if err := n.finite(res.Logits); err != nil {
		return nil, err
	}
	return res, nil
}

// result makes room for what a run of some samples finds, in the memory of an
// earlier result where there is one.
func (n *Network) result(opt Options, samples int) *Result {
	res := opt.Reuse
	if res == nil {
		res = &Result{}
	}
	out := n.plan.wires[n.plan.output]
	if res.Logits == nil {
		res.Logits = &tensor.Tensor{}
	}
	res.Logits.Shape = append(append(res.Logits.Shape[:0], samples), out.node.Shape...)
	grow(&res.Logits.Data, samples*out.size)
	if opt.NoCounts {
		res.Layers = nil
	} else {
		grow(&res.Layers, len(n.plan.fires))
	}
	for i := range res.Layers {
		res.Layers[i].reset(samples)
	}
	res.StepLogits, res.StepCounts = nil, nil
	if opt.Trace {
		n.allocateTrace(res, samples)
	}
	return res
}

// whole runs a group through all layers and timesteps.
func (r *run) whole(pool *parallel.Pool, g group, res *Result, trace bool) error {
	n := r.net
	r.begin(g.lo, g.hi-g.lo, g.x, pool)
	defer r.end()
	r.steps(0, len(n.plan.steps))
	if r.err != nil {
		return r.err
	}
	size := n.plan.wires[n.plan.output].size
	r.logits(0, n.cfg.Timesteps, res.Logits.Data[g.lo*size:g.hi*size])
	for l := range res.Layers {
		res.Layers[l].put(g.lo, &r.layers[l])
	}
	if trace {
		r.trace(res, res.Logits.Shape[0], g.lo)
	}
	return nil
}

// finite refuses outputs that are no finite numbers.
func (n *Network) finite(logits *tensor.Tensor) error {
	out := n.plan.wires[n.plan.output]
	if i := logits.FirstNonFinite(); i >= 0 {
		return fmt.Errorf("node %q: output of sample %d, channel %d is %g: %w",
			out.node.Name, i/out.size, i%out.node.Shape.Channels(), logits.Data[i], ErrNotFinite)
	}
	return nil
}

// group cuts a batch into the pieces that workers take.
type group struct {
	lo, hi int
	x      []float32
}

// Samples go through the network in groups: enough to share a layer's weights,
// few enough for their counts to stay in the cache (quiet, ResNet-20 at T=8 took
// 10 to 15 % less time in groups of 4 or 8 than with 32 at once).
const (
	maxGroup   = 8
	groupBytes = 5 << 19 // of what a layer reads and writes
)

func (n *Network) group(x *tensor.Tensor, pool *parallel.Pool) ([]group, error) {
	if err := n.check(x); err != nil {
		return nil, err
	}
	return n.cut(nil, x, n.groupSize(x.Shape[0], pool)), nil
}

func (n *Network) groupSize(samples int, pool *parallel.Pool) int {
	return max(1, min(maxGroup, groupBytes/n.busiest, samples/(2*pool.Workers())))
}

// busiest is the memory of a sample that the largest step reads and writes.
func (p *plan) busiest(steps int) int {
	most := 1
	for i, s := range p.steps {
		if s == nil || p.wires[i].readout {
			continue
		}
		sum := p.wireBytes(i, steps)
		for _, in := range reads(s) {
			sum += p.wireBytes(in, steps)
		}
		most = max(most, sum)
	}
	return most
}

// wireBytes is the memory of a sample on wire i.
func (p *plan) wireBytes(i, steps int) int {
	switch size := p.wires[i].size; p.wires[i].kind {
	case counts:
		return steps * size
	case current:
		return 4 * steps * size
	default:
		return 4 * size
	}
}

// check refuses what is no batch of inputs.
func (n *Network) check(x *tensor.Tensor) error {
	in := n.plan.wires[n.plan.input]
	if x == nil || len(x.Shape) == 0 || !slices.Equal(x.Shape[1:], []int(in.node.Shape)) {
		var shape []int
		if x != nil {
			shape = x.Shape
		}
		return fmt.Errorf("input of shape %v, want [N %v]: %w", shape, in.node.Shape, tensor.ErrShape)
	}
	samples := x.Shape[0]
	if samples < 0 || len(x.Data) != samples*in.size {
		return fmt.Errorf("input of shape %v holds %d values: %w", x.Shape, len(x.Data), tensor.ErrShape)
	}
	if i := x.FirstNonFinite(); i >= 0 {
		return fmt.Errorf("input of sample %d holds %g: %w", i/in.size, x.Data[i], ErrNotFinite)
	}
	return nil
}

// cut makes groups of at most size samples, in the memory of earlier ones.
func (n *Network) cut(groups []group, x *tensor.Tensor, size int) []group {
	in, samples := n.plan.wires[n.plan.input], x.Shape[0]
	groups = groups[:0]
	for lo := 0; lo < samples; lo += size {
		hi := min(lo+size, samples)
		groups = append(groups, group{lo, hi, x.Data[lo*in.size : hi*in.size]})
	}
	return groups
}

func (n *Network) allocateTrace(res *Result, samples int) {
	steps := n.cfg.Timesteps
	shape := append([]int{steps, samples}, n.plan.wires[n.plan.output].node.Shape...)
	res.StepLogits = tensor.New(shape...)
	for _, f := range n.plan.fires {
		res.StepCounts = append(res.StepCounts, tensor.New(append([]int{steps, samples}, f.node.Shape...)...))
	}
}

// trace copies a group's counts and per-timestep logits to the result.
func (r *run) trace(res *Result, samples, lo int) {
	steps := r.net.cfg.Timesteps
	for l, f := range r.net.plan.fires {
		size := r.net.plan.wires[f.out].size
		for i := range r.samples * steps {
			at := (i%steps*samples + lo + i/steps) * size
			r.slice(res.StepCounts[l].Data[at:at+size], f.out, i/steps, i%steps, 0, size, nil)
		}
	}
	size := r.net.plan.wires[r.net.plan.output].size
	for t := range steps {
		at := (t*samples + lo) * size
		r.logits(t, t+1, res.StepLogits.Data[at:at+r.samples*size])
	}
}
