package ann

import (
	"fmt"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
)

// An operation computes a node of a kind that is fused with no other. Both
// executors run it; it reads the node's parameters at every call, as training
// changes them, and keeps scratch memory, so that it must not run twice at once.
type operation struct {
	// forward sets out from in, for n samples.
	forward func(n int, in [][]float32, out []float32)
	// backward sets the gradients that are asked for; nil if there are none but
	// zeros (the operation is a step function).
	backward func(b *backwardCall)
	// overwrite says that out may be the memory of the first input.
	overwrite bool
}

// A backwardCall holds the arrays of one backward pass. What is nil is not asked
// for; all else is overwritten. Gradients of inputs do not overlap dy.
type backwardCall struct {
	n            int // samples
	in           [][]float32
	out, dy      []float32
	dx           [][]float32
	weight, bias []float32 // gradients of the parameters
}

// newOperation returns the operation of a node, nil for kinds that the executors
// run themselves.
func newOperation(n *graph.Node, pool *parallel.Pool) (*operation, error) {
	switch op := n.Op.(type) {
	case *graph.Unary, *graph.Clip, *graph.ELU, *graph.HardSigmoid, *graph.Swish, *graph.GELU, *graph.Power:
		return newUnary(n, pool), nil
	case *graph.PReLU:
		return newPReLU(n, pool), nil
	case *graph.Affine:
		return newAffine(n, pool), nil
	case *graph.Constant:
		return newConstant(n, pool), nil
	case *graph.Binary:
		return newBinary(n, op.Func, pool), nil
	case *graph.Where:
		return newWhere(n, pool), nil
	case *graph.MatMul:
		return newMatMul(n, op, pool), nil
	case *graph.Attention:
		return newAttention(n, op, pool), nil
	case *graph.LayerNorm:
		return newLayerNorm(n, op.Axes, op.Eps, true, pool), nil
	case *graph.RMSNorm:
		return newLayerNorm(n, op.Axes, op.Eps, false, pool), nil
	case *graph.GroupNorm:
		return newGroupNorm(n, op, pool), nil
	case *graph.LRN:
		return newLRN(n, op, pool), nil
	case *graph.SoftmaxAxes:
		return newSoftmaxAxes(n, op, pool), nil
	case *graph.Reduce:
		return newReduce(n, op, pool), nil
	case *graph.ArgMax:
		return newArgMax(n, op, pool), nil
	case *graph.TopK:
		return newTopK(n, op, pool), nil
	case *graph.Transpose, *graph.Slice, *graph.Gather, *graph.PadAxes, *graph.Expand, *graph.Tile,
		*graph.DepthToSpace, *graph.SpaceToDepth:
		return newIndexCopy(n, pool), nil
	case *graph.ConcatAxis:
		return newConcatAxis(n, op, pool), nil
	case *graph.Resize:
		return newResize(n, op, pool), nil
	case *graph.ConvND:
		return newConvND(n, op, pool)
	case *graph.ConvTransposeND:
		return newConvTransposeND(n, op, pool), nil
	case *graph.MaxPoolND:
		return newPoolND(n, op.Kernel, op.Stride, op.Pad, op.Dilation, true, false, pool), nil
	case *graph.AvgPoolND:
		return newPoolND(n, op.Kernel, op.Stride, op.Pad, op.Dilation, false, op.CountIncludePad, pool), nil
	}
	return nil, nil
}

// An opLayer runs an operation in a Network.
type opLayer struct {
	op           *operation
	ins          []int
	out          int
	weight, bias *Param // nil if the node has none that is trained

	in   [][]float32
	call backwardCall
}

func (l *opLayer) output() int { return l.out }

func (l *opLayer) inputs(n *Network) [][]float32 {
	l.in = l.in[:0]
	for _, v := range l.ins {
		l.in = append(l.in, n.x(v))
	}
	return l.in
}

func (l *opLayer) forward(n *Network) {
	l.op.forward(n.pass.n, l.inputs(n), n.x(l.out))
}

func (l *opLayer) backward(n *Network, dy *gradient) {
	b := &l.call
	b.n, b.in, b.out, b.dy = n.pass.n, l.inputs(n), n.x(l.out), dy.data
	b.dx = b.dx[:0]
	grads := make([]*gradient, len(l.ins))
	for i, v := range l.ins {
		var dx []float32
		if n.needs(v) {
			grads[i] = n.take(n.values[v].size)
			dx = grads[i].data
		}
		b.dx = append(b.dx, dx)
	}
	if l.weight != nil {
		b.weight = l.weight.Grad
	}
	if l.bias != nil {
		b.bias = l.bias.Grad
	}
	if l.op.backward == nil {
		for _, dx := range b.dx {
			clear(dx)
		}
	} else {
		l.op.backward(b)
	}
	for i, v := range l.ins {
		if grads[i] != nil {
			n.give(v, grads[i])
		}
	}
	n.release(dy)
}

// unsupported is the error of a node that cannot be run.
func unsupported(n *graph.Node, why string) error {
	return fmt.Errorf("node %q (%s): %s: %w", n.Name, n.Kind(), why, ErrUnsupported)
}
