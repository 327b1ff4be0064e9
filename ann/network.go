package ann

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// Mode says how a Network treats batch normalisation and dropout.
type Mode int

// The modes.
const (
	Evaluation Mode = iota // running statistics, no dropout
	Training               // batch statistics, which also move the running ones; dropout
)

// A Param is one trainable tensor of a network and its gradient.
type Param struct {
	Name  string // NODE.ROLE, such as "conv1.weight"
	Node  *graph.Node
	Role  string         // "weight" or "bias"
	Value *tensor.Tensor // the graph's own tensor
	Grad  []float32      // of the last Backward, same order as Value
}

// NetworkOptions are the choices of NewNetwork; the zero value is for training.
type NetworkOptions struct {
	Seed       uint64 // of dropout
	InputGrads bool   // also compute the gradients of the inputs, see Network.InputGrad
	Unfused    bool   // one layer per node, so that Value knows every node
}

// A Network computes the outputs of a graph and the gradients of its
// parameters. It works on the graph's own parameter tensors: an optimiser
// writes into them and then calls Refresh, and in Training mode Forward moves
// the running statistics of batch norms. It must not be used by several
// goroutines at once.
type Network struct {
	pool    *parallel.Pool
	opts    NetworkOptions
	inputs  []*graph.Node
	outputs []*graph.Node
	params  []*Param
	values  []netValue
	value   map[*graph.Node]int
	layers  []layer
	owned   [][]*Param // the parameters of each layer
	packers []func()   // repack filters, the largest first
	free    map[int][]*gradient

	pass pass
	cap  int // samples for which memory is there
}

// A netValue is what a layer writes, kept for the backward pass.
type netValue struct {
	node  *graph.Node // the last one fused into the layer
	size  int         // per sample
	from  int         // the value this one is another name of, or -1
	full  []float32   // memory for cap samples; nil for inputs and other names
	data  []float32   // of the current batch
	needs bool        // a gradient is wanted
	grad  *gradient
}

// A pass is what is the same for all layers during one step.
type pass struct {
	n      int
	mode   Mode
	step   uint64
	frozen bool // leave the running statistics alone
}

// A layer is one or several fused nodes.
type layer interface {
	forward(n *Network)
	// backward is given the gradient of the output, takes over the reference,
	// and hands gradients to the inputs with Network.give.
	backward(n *Network, dy *gradient)
	// output returns the value the layer writes.
	output() int
}

// A gradient is a buffer of a batch's gradients that several readers may share.
type gradient struct {
	full []float32
	data []float32
	size int // per sample
	refs int
}

// NewNetwork prepares a graph for training. The graph must be well formed, and
// no two nodes may share a parameter tensor.
func NewNetwork(g *graph.Graph, pool *parallel.Pool, opts NetworkOptions) (*Network, error) {
	if err := g.Infer(); err != nil {
		return nil, err
	}
	n := &Network{pool: pool, opts: opts, inputs: g.InputNodes(), outputs: slices.Clone(g.Outputs),
		value: make(map[*graph.Node]int), free: make(map[int][]*gradient)}
	owner := make(map[*tensor.Tensor]string)
	for _, node := range g.Nodes {
		for role, t := range node.Params {
			if other, taken := owner[t]; taken {
				return nil, fmt.Errorf("node %q (%s): %s is shared with node %q: %w", node.Name, node.Kind(), role, other, ErrUnsupported)
			}
			owner[t] = node.Name
		}
		for _, role := range []string{"weight", "bias"} {
			if t := node.Params[role]; t != nil {
				n.params = append(n.params, &Param{Name: graph.ParamName(node.Name, role), Node: node, Role: role,
					Value: t, Grad: make([]float32, t.Len())})
			}
		}
	}
	if err := n.build(g); err != nil {
		return nil, err
	}
	return n, nil
}

// Params returns the trainable parameters in the order of the graph.
func (n *Network) Params() []*Param { return n.params }

func (n *Network) param(node *graph.Node, role string) *Param {
	for _, p := range n.params {
		if p.Node == node && p.Role == role {
			return p
		}
	}
	return nil
}

// Refresh packs the convolutions' weights again; call it after changing them.
func (n *Network) Refresh() {
	n.pool.For(len(n.packers), func(i int) { n.packers[i]() })
}

// Forward runs the graph on one tensor per input and returns the outputs, which
// stay valid until the next call. Step seeds dropout: equal steps drop equal
// units. Errors wrap tensor.ErrShape.
func (n *Network) Forward(mode Mode, step uint64, xs ...*tensor.Tensor) ([]*tensor.Tensor, error) {
	batch, err := checkBatch(n.inputs, xs)
	if err != nil {
		return nil, err
	}
	n.pass.n, n.pass.mode, n.pass.step = batch, mode, step
	if batch > n.cap {
		n.cap = batch
		clear(n.free)
		for i := range n.values {
			n.values[i].full = nil
		}
	}
	for i, in := range n.inputs {
		n.values[n.value[in]].data = xs[i].Data
	}
	for i := range n.values {
		v := &n.values[i]
		n.drop(v)
		switch {
		case v.from >= 0:
			v.data = n.values[v.from].data
		case n.isInput(i):
		default:
			if v.full == nil {
				v.full = make([]float32, n.cap*v.size)
			}
			v.data = v.full[:batch*v.size]
		}
	}
	for _, l := range n.layers {
		l.forward(n)
	}
	ys := make([]*tensor.Tensor, len(n.outputs))
	for i, o := range n.outputs {
		ys[i] = &tensor.Tensor{Shape: batchShape(batch, o.Shape), Data: n.values[n.value[o]].data}
	}
	return ys, nil
}

func (n *Network) isInput(v int) bool { return v < len(n.inputs) }

// Backward computes the gradients of all parameters (see Param.Grad) from the
// gradients of the outputs, one per output in order, nil for zero. It belongs
// to the last Forward; the tensors may be overwritten.
func (n *Network) Backward(dys ...*tensor.Tensor) error {
	if len(dys) != len(n.outputs) {
		return fmt.Errorf("%d output gradients, the graph has %d outputs: %w", len(dys), len(n.outputs), tensor.ErrShape)
	}
	for i := range n.values {
		n.drop(&n.values[i])
	}
	for i, dy := range dys {
		v := n.value[n.outputs[i]]
		if dy == nil {
			continue
		}
		if want := n.pass.n * n.values[v].size; len(dy.Data) != want {
			return fmt.Errorf("gradient of output %q has %d values, want %d: %w", n.outputs[i].Name, len(dy.Data), want, tensor.ErrShape)
		}
		g := n.take(n.values[v].size)
		copy(g.data, dy.Data)
		n.give(v, g)
	}
	for i, l := range slices.Backward(n.layers) {
		v := &n.values[l.output()]
		if g := v.grad; g != nil {
			v.grad = nil
			l.backward(n, g)
			continue
		}
		for _, p := range n.owned[i] { // no output depends on the layer
			clear(p.Grad)
		}
	}
	return nil
}

// InputGrad returns the gradient of input i after Backward, or nil if none of
// the outputs depends on it. It needs NetworkOptions.InputGrads.
func (n *Network) InputGrad(i int) []float32 {
	if g := n.values[i].grad; g != nil {
		return g.data
	}
	return nil
}

// Value returns the activations of a node in the last Forward, or nil if it was
// fused into another one (see NetworkOptions.Unfused).
func (n *Network) Value(node *graph.Node) []float32 {
	if v, ok := n.value[node]; ok {
		return n.values[v].data
	}
	return nil
}

// take returns a buffer for the gradient of a value of the given size.
func (n *Network) take(size int) *gradient {
	list := n.free[size]
	var g *gradient
	if len(list) > 0 {
		g = list[len(list)-1]
		n.free[size] = list[:len(list)-1]
	} else {
		g = &gradient{full: make([]float32, n.cap*size), size: size}
	}
	g.data = g.full[:n.pass.n*size]
	g.refs = 1
	return g
}

// release gives back one reference.
func (n *Network) release(g *gradient) {
	if g.refs--; g.refs == 0 && len(g.full) == n.cap*g.size {
		n.free[g.size] = append(n.free[g.size], g)
	}
}

func (n *Network) drop(v *netValue) {
	if v.grad != nil {
		n.release(v.grad)
		v.grad = nil
	}
}

// own returns a gradient for a result that overwrites g element by element: g
// itself if nobody else reads it, else a new one. The caller has read g until
// it calls settle.
func (n *Network) own(g *gradient) *gradient {
	if g.refs == 1 {
		return g
	}
	return n.take(g.size)
}

// settle gives g back unless own returned it itself.
func (n *Network) settle(g, owned *gradient) {
	if g != owned {
		n.release(g)
	}
}

// give adds g, whose reference it takes over, to the gradient of a value.
func (n *Network) give(v int, g *gradient) {
	for n.values[v].from >= 0 {
		v = n.values[v].from
	}
	val := &n.values[v]
	switch {
	case !val.needs:
		n.release(g)
	case val.grad == nil:
		val.grad = g
	case val.grad.refs == 1:
		n.sum(val.grad.data, val.grad.data, g.data)
		n.release(g)
	case g.refs == 1 && g != val.grad:
		n.sum(g.data, val.grad.data, g.data)
		n.release(val.grad)
		val.grad = g
	default:
		s := n.take(val.size)
		n.sum(s.data, val.grad.data, g.data)
		n.release(val.grad)
		n.release(g)
		val.grad = s
	}
}

func (n *Network) sum(dst, a, b []float32) {
	n.pool.Chunks(len(dst), chunk, func(lo, hi int) { kernel.Add(dst[lo:hi], a[lo:hi], b[lo:hi]) })
}

// needs says whether the gradient of a value is wanted.
func (n *Network) needs(v int) bool { return n.values[v].needs }

// x returns the activations of a value.
func (n *Network) x(v int) []float32 { return n.values[v].data }
