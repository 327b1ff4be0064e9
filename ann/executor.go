// Package ann runs and trains networks in float32.
//
// An [Executor] is for inference: batch norms folded, convolution, bias,
// residual sum and rectifier in one kernel call, buffers reused.
//
//	ex, err := ann.New(g, pool)
//	logits, err := ex.Forward(images) // [N, H, W, C] -> [N, classes]
//
// A [Network] runs the same graph with batch statistics and dropout, keeps the
// activations, and computes gradients. [Train] is the loop around it: losses,
// optimisers, schedules, evaluation, checkpoints:
//
//	result, err := ann.Train(ctx, g, pool, batches, heldOut, ann.DefaultConfig(), ann.Hooks{})
//
// Every result is the same bits for any number of workers, and the outputs of
// a sample do not depend on the batch it comes in (batch statistics in training
// apart).
//
// The package knows nothing of files or data sets: batches come from the
// interface [Batches], and a [State] is plain tensors and numbers.
package ann

import (
	"errors"
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// ErrUnsupported marks a valid graph that this package cannot run.
var ErrUnsupported = errors.New("unsupported")

// An Option changes how an Executor computes.
type Option func(*Executor)

// Winograd lets 3x3 convolutions use Winograd's algorithm where it fits: two to
// three times as fast on large layers. The results differ from the direct sum in
// the last places (kernel.ConvWinograd), and a value that is not finite spreads
// over the 4x4 outputs around it. Training always computes so; without this
// option inference does not, so that a network is measured, and its activations
// are seen by conversion, in the arithmetic of the spiking network.
func Winograd() Option { return func(e *Executor) { e.fast = true } }

// An Executor runs a graph for inference. It holds packed copies of the
// parameters: changing those of the graph afterwards has no effect. It must not
// be used by several goroutines at once.
type Executor struct {
	source *graph.Graph // as given, parameters shared
	pool   *parallel.Pool
	fast   bool             // see Winograd
	plan   *plan            // for the graph's own outputs
	watch  map[string]*plan // for sets of observed nodes
}

// New compiles a graph. The graph must be well formed (see graph.Graph.Infer)
// and is not changed. Pool may be nil: one goroutine.
func New(g *graph.Graph, pool *parallel.Pool, options ...Option) (*Executor, error) {
	e := &Executor{source: g.CloneShared(), pool: pool}
	for _, option := range options {
		option(e)
	}
	err := e.source.Infer()
	if err != nil {
		return nil, err
	}
	if e.plan, err = compile(e.source.CloneShared(), pool, e.fast); err != nil {
		return nil, err
	}
	return e, nil
}

// Forward runs a graph of one input and returns its first output, for any
// number of samples: x is [N, shape of the input], the result [N, shape of the
// output], newly allocated. Errors wrap tensor.ErrShape.
func (e *Executor) Forward(x *tensor.Tensor) (*tensor.Tensor, error) {
	ys, err := e.ForwardAll(x)
	if err != nil {
		return nil, err
	}
	return ys[0], nil
}

// ForwardAll takes one tensor for every input of the graph, with the same
// number of samples each, and returns all outputs.
func (e *Executor) ForwardAll(xs ...*tensor.Tensor) ([]*tensor.Tensor, error) {
	n, err := checkBatch(e.plan.inputs, xs)
	if err != nil {
		return nil, err
	}
	ys := make([]*tensor.Tensor, len(e.plan.outputs))
	for i, o := range e.plan.outputs {
		ys[i] = tensor.New(batchShape(n, o.shape)...)
	}
	e.plan.run(n, xs, ys)
	return ys, nil
}

// Inputs returns the names of the graph's inputs and the shapes of a sample, in
// the order of ForwardAll.
func (e *Executor) Inputs() (names []string, shapes []graph.Shape) {
	for _, n := range e.plan.inputs {
		names = append(names, n.Name)
		shapes = append(shapes, slices.Clone(n.Shape))
	}
	return names, shapes
}

// Outputs is Inputs for the outputs.
func (e *Executor) Outputs() (names []string, shapes []graph.Shape) {
	for i, n := range e.source.Outputs {
		names = append(names, n.Name)
		shapes = append(shapes, slices.Clone(e.plan.outputs[i].shape))
	}
	return names, shapes
}

// ForwardNamed is ForwardAll with inputs and outputs by the names of their nodes.
// A missing or unknown input is an error.
func (e *Executor) ForwardNamed(xs map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	list := make([]*tensor.Tensor, len(e.plan.inputs))
	for i, n := range e.plan.inputs {
		x, ok := xs[n.Name]
		if !ok {
			return nil, fmt.Errorf("input %q is missing: %w", n.Name, tensor.ErrShape)
		}
		list[i] = x
	}
	if len(xs) != len(list) {
		names, _ := e.Inputs()
		for name := range xs {
			if !slices.Contains(names, name) {
				return nil, fmt.Errorf("the graph has no input %q, its inputs are %q: %w", name, names, tensor.ErrShape)
			}
		}
	}
	ys, err := e.ForwardAll(list...)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*tensor.Tensor, len(ys))
	for i, n := range e.source.Outputs {
		out[n.Name] = ys[i]
	}
	return out, nil
}

// Observe runs x through the graph and calls fn with the activations of the
// named nodes, in the order of names: exactly those the graph defines at that
// node, as nothing is fused across an observed node. Each call holds all
// samples of x; it must not keep y. Unknown names are an error.
//
// The plan for a set of names is kept, so that observing batch after batch
// costs no more than running them.
func (e *Executor) Observe(x *tensor.Tensor, names []string, fn func(name string, y *tensor.Tensor)) error {
	key := fmt.Sprintf("%q", names)
	p := e.watch[key]
	if p == nil {
		// Observed nodes become outputs, which folding and fusion respect.
		g := e.source.CloneShared()
		g.Outputs = nil
		for _, name := range names {
			n := g.Node(name)
			if n == nil {
				return fmt.Errorf("observe: the graph has no node %q: %w", name, graph.ErrInvalid)
			}
			g.Outputs = append(g.Outputs, n)
		}
		if len(names) == 0 {
			return nil
		}
		var err error
		if p, err = compile(g, e.pool, e.fast); err != nil {
			return err
		}
		if e.watch == nil {
			e.watch = make(map[string]*plan)
		}
		e.watch[key] = p
	}
	xs := []*tensor.Tensor{x}
	n, err := checkBatch(p.inputs, xs)
	if err != nil {
		return err
	}
	ys := make([]*tensor.Tensor, len(p.outputs))
	for i, o := range p.outputs {
		size := n * o.shape.Numel()
		p.observed[i] = slices.Grow(p.observed[i][:0], size)[:size]
		ys[i] = &tensor.Tensor{Shape: batchShape(n, o.shape), Data: p.observed[i]}
	}
	p.run(n, xs, ys)
	for i, name := range names {
		fn(name, ys[i])
	}
	return nil
}
