package ann

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/tensor"
)

// convLayer is a convolution or fully connected layer with bias, and the
// residual sum and the rectifier behind it if limit is not 0.
type convLayer struct {
	in, add, out int // add is -1 without a sum
	limit        float32
	shape        kernel.ConvShape // of one sample
	weight, bias *Param           // bias may be nil
	conv         *forwardConv
	back         *backwardConv // nil if the input needs no gradient
}

func (l *convLayer) output() int { return l.out }

func (l *convLayer) forward(n *Network) {
	e := kernel.Epilogue{Act: activation(l.limit)}
	if l.bias != nil {
		e.Bias = l.bias.Value.Data
	}
	if l.add >= 0 {
		e.Add = n.x(l.add)
	}
	l.conv.run(n.pool, n.pass.n, n.x(l.in), e, n.x(l.out))
}

func (l *convLayer) backward(n *Network, dy *gradient) {
	d := dy
	if l.limit != 0 {
		d = n.maskReLU(l.out, dy, l.limit)
	}
	if l.add >= 0 {
		d.refs++
		n.give(l.add, d)
	}
	kernel.ConvBackwardWeight(n.pool, batched(l.shape, n.pass.n), n.x(l.in), d.data, l.weight.Grad)
	if l.bias != nil {
		kernel.SumRows(n.pool, l.bias.Grad, d.data)
	}
	if l.back != nil {
		dx := n.take(n.values[l.in].size)
		l.back.run(n.pool, n.pass.n, d.data, dx.data)
		n.give(l.in, dx)
	}
	n.release(d)
}

// maskReLU returns dy where the rectifier's output y let it through, and gives
// up dy.
func (n *Network) maskReLU(y int, dy *gradient, limit float32) *gradient {
	d := n.own(dy)
	out := n.x(y)
	n.pool.Chunks(len(out), chunk, func(lo, hi int) {
		kernel.ReLUBackward(d.data[lo:hi], out[lo:hi], dy.data[lo:hi], limit)
	})
	n.settle(dy, d)
	return d
}

// transposeLayer is a transposed convolution: the gradient of the mirrored
// convolution, see mirrorShape.
type transposeLayer struct {
	in, out      int
	shape        kernel.ConvShape // of the mirrored convolution, one sample
	channels     int
	weight, bias *Param
	mirrored     []float32 // weight in the order of the mirrored convolution
	back         *backwardConv
	conv         *forwardConv // nil if the input needs no gradient
}

func (l *transposeLayer) output() int { return l.out }

func (l *transposeLayer) pack() {
	mirrorWeight(l.mirrored, l.weight.Value)
	l.back.set(l.mirrored)
	if l.conv != nil {
		l.conv.set(l.mirrored)
	}
}

func (l *transposeLayer) forward(n *Network) {
	y := n.x(l.out)
	l.back.run(n.pool, n.pass.n, n.x(l.in), y)
	if l.bias != nil {
		biasReLU(n.pool, y, l.bias.Value.Data, l.channels, 0)
	}
}

func (l *transposeLayer) backward(n *Network, dy *gradient) {
	dw := make([]float32, len(l.mirrored))
	kernel.ConvBackwardWeight(n.pool, batched(l.shape, n.pass.n), dy.data, n.x(l.in), dw)
	w := l.weight.Value.Shape
	swapLast(l.weight.Grad, dw, w[0]*w[1], w[3], w[2])
	if l.bias != nil {
		kernel.SumRows(n.pool, l.bias.Grad, dy.data)
	}
	if l.conv != nil {
		dx := n.take(n.values[l.in].size)
		l.conv.run(n.pool, n.pass.n, dy.data, kernel.Epilogue{}, dx.data)
		n.give(l.in, dx)
	}
	n.release(dy)
}

// normLayer is batch normalisation with the residual sum and the rectifier
// behind it if limit is not 0.
type normLayer struct {
	in, add, out int
	limit        float32
	eps          float64
	momentum     float64
	running      [2]*tensor.Tensor // mean and variance
	weight, bias *Param            // may be nil

	mean, variance, inv []float32 // of the last forward pass
	scale, shift        []float32
}

func newNormLayer(op *graph.BatchNorm, node *graph.Node, weight, bias *Param) *normLayer {
	c := node.Shape.Channels()
	vec := make([]float32, 5*c)
	return &normLayer{eps: op.Eps, momentum: op.Momentum, weight: weight, bias: bias,
		running: [2]*tensor.Tensor{node.Params["mean"], node.Params["var"]},
		mean:    vec[:c], variance: vec[c : 2*c], inv: vec[2*c : 3*c], scale: vec[3*c : 4*c], shift: vec[4*c:]}
}

func (l *normLayer) output() int { return l.out }

func (l *normLayer) forward(n *Network) {
	x, y := n.x(l.in), n.x(l.out)
	if n.pass.mode == Training {
		kernel.BatchNormStats(n.pool, x, l.mean, l.variance)
		if !n.pass.frozen {
			l.move(len(x) / len(l.mean))
		}
	} else {
		copy(l.mean, l.running[0].Data)
		copy(l.variance, l.running[1].Data)
	}
	for c := range l.mean {
		inv := 1 / math.Sqrt(float64(l.variance[c])+l.eps)
		gamma, beta := 1.0, 0.0
		if l.weight != nil {
			gamma = float64(l.weight.Value.Data[c])
		}
		if l.bias != nil {
			beta = float64(l.bias.Value.Data[c])
		}
		l.inv[c] = float32(inv)
		l.scale[c] = float32(gamma * inv)
		l.shift[c] = float32(beta - float64(l.mean[c])*gamma*inv)
	}
	low, high := clampRange(l.limit)
	if l.add < 0 {
		kernel.BatchNormApply(n.pool, y, x, l.scale, l.shift, low, high)
		return
	}
	add := n.x(l.add)
	none, all := clampRange(0)
	rowChunks(n.pool, len(x), len(l.mean), func(lo, hi int) {
		o := y[lo:hi]
		kernel.BatchNormApply(nil, o, x[lo:hi], l.scale, l.shift, none, all)
		kernel.AddTo(o, add[lo:hi])
		if l.limit != 0 {
			kernel.ReLU(o, o, l.limit)
		}
	})
}

// move lets the running statistics follow those of a batch of m rows; the
// variance is the unbiased one, as in PyTorch. The cumulative average that
// PyTorch offers as momentum None is not.
func (l *normLayer) move(m int) {
	unbias := 1.0
	if m > 1 {
		unbias = float64(m) / float64(m-1)
	}
	k := l.momentum
	mean, variance := l.running[0].Data, l.running[1].Data
	for c := range mean {
		mean[c] = float32((1-k)*float64(mean[c]) + k*float64(l.mean[c]))
		variance[c] = float32((1-k)*float64(variance[c]) + k*float64(l.variance[c])*unbias)
	}
}

func (l *normLayer) backward(n *Network, dy *gradient) {
	g := kernel.BatchNormGrad{X: n.x(l.in), Mean: l.mean, InvStd: l.inv, Frozen: n.pass.mode != Training}
	if l.weight != nil {
		g.Weight, g.DWeight = l.weight.Value.Data, l.weight.Grad
	}
	if l.bias != nil {
		g.DBias = l.bias.Grad
	}
	d := dy
	if l.add >= 0 {
		if l.limit != 0 {
			d = n.maskReLU(l.out, dy, l.limit)
		}
		d.refs++
		n.give(l.add, d)
	} else if l.limit != 0 {
		g.Y, g.Max = n.x(l.out), l.limit
	}
	g.DY = d.data
	if !n.needs(l.in) {
		kernel.BatchNormBackward(n.pool, &g)
		n.release(d)
		return
	}
	dx := n.own(d)
	g.DX = dx.data
	kernel.BatchNormBackward(n.pool, &g)
	n.settle(d, dx)
	n.give(l.in, dx)
}

type reluLayer struct {
	in, out int
	limit   float32
}

func (l *reluLayer) output() int { return l.out }

func (l *reluLayer) forward(n *Network) {
	x, y := n.x(l.in), n.x(l.out)
	n.pool.Chunks(len(x), chunk, func(lo, hi int) { kernel.ReLU(y[lo:hi], x[lo:hi], l.limit) })
}

func (l *reluLayer) backward(n *Network, dy *gradient) {
	n.give(l.in, n.maskReLU(l.out, dy, l.limit))
}

type leakyLayer struct {
	in, out int
	slope   float32
}

func (l *leakyLayer) output() int { return l.out }

func (l *leakyLayer) forward(n *Network) {
	x, y := n.x(l.in), n.x(l.out)
	n.pool.Chunks(len(x), chunk, func(lo, hi int) { kernel.LeakyReLU(y[lo:hi], x[lo:hi], l.slope) })
}

func (l *leakyLayer) backward(n *Network, dy *gradient) {
	x, d := n.x(l.in), n.own(dy)
	n.pool.Chunks(len(x), chunk, func(lo, hi int) {
		kernel.LeakyReLUBackward(d.data[lo:hi], x[lo:hi], dy.data[lo:hi], l.slope)
	})
	n.settle(dy, d)
	n.give(l.in, d)
}

// maxPoolLayer is max pooling, global or not.
type maxPoolLayer struct {
	in, out int
	shape   kernel.PoolShape // of one sample
	argmax  []int32
}

func (l *maxPoolLayer) output() int { return l.out }

func (l *maxPoolLayer) forward(n *Network) {
	shape := l.shape
	shape.N = n.pass.n
	y := n.x(l.out)
	if len(l.argmax) < len(y) {
		l.argmax = make([]int32, len(y))
	}
	kernel.MaxPool(n.pool, shape, n.x(l.in), y, l.argmax[:len(y)])
}

func (l *maxPoolLayer) backward(n *Network, dy *gradient) {
	if n.needs(l.in) {
		shape := l.shape
		shape.N = n.pass.n
		dx := n.take(n.values[l.in].size)
		kernel.MaxPoolBackward(n.pool, shape, dy.data, l.argmax[:len(dy.data)], dx.data)
		n.give(l.in, dx)
	}
	n.release(dy)
}

type avgPoolLayer struct {
	in, out  int
	shape    kernel.PoolShape // of one sample
	countPad bool
}

func (l *avgPoolLayer) output() int { return l.out }

func (l *avgPoolLayer) forward(n *Network) {
	shape := l.shape
	shape.N = n.pass.n
	kernel.AvgPool(n.pool, shape, n.x(l.in), n.x(l.out), l.countPad)
}

func (l *avgPoolLayer) backward(n *Network, dy *gradient) {
	if n.needs(l.in) {
		shape := l.shape
		shape.N = n.pass.n
		dx := n.take(n.values[l.in].size)
		kernel.AvgPoolBackward(n.pool, shape, dy.data, dx.data, l.countPad)
		n.give(l.in, dx)
	}
	n.release(dy)
}

type globalAvgLayer struct{ in, out, positions, channels int }

func (l *globalAvgLayer) output() int { return l.out }

func (l *globalAvgLayer) forward(n *Network) {
	kernel.GlobalAvgPool(n.pool, n.pass.n, l.positions, l.channels, n.x(l.in), n.x(l.out))
}

func (l *globalAvgLayer) backward(n *Network, dy *gradient) {
	if n.needs(l.in) {
		dx := n.take(n.values[l.in].size)
		kernel.GlobalAvgPoolBackward(n.pool, n.pass.n, l.positions, l.channels, dy.data, dx.data)
		n.give(l.in, dx)
	}
	n.release(dy)
}

// addLayer is a sum with the rectifier behind it if limit is not 0.
type addLayer struct {
	ins   []int
	out   int
	limit float32
}

func (l *addLayer) output() int { return l.out }

func (l *addLayer) forward(n *Network) {
	xs := make([][]float32, len(l.ins))
	for i, in := range l.ins {
		xs[i] = n.x(in)
	}
	addReLU(n.pool, n.x(l.out), xs, l.limit)
}

func (l *addLayer) backward(n *Network, dy *gradient) {
	d := dy
	if l.limit != 0 {
		d = n.maskReLU(l.out, dy, l.limit)
	}
	for _, in := range l.ins {
		d.refs++
		n.give(in, d)
	}
	n.release(d)
}

type concatLayer struct {
	ins    []int
	out    int
	widths []int
}

func (l *concatLayer) output() int { return l.out }

func (l *concatLayer) forward(n *Network) {
	xs := make([][]float32, len(l.ins))
	for i, in := range l.ins {
		xs[i] = n.x(in)
	}
	concat(n.pool, n.x(l.out), xs, l.widths)
}

func (l *concatLayer) backward(n *Network, dy *gradient) {
	parts := make([][]float32, len(l.ins))
	grads := make([]*gradient, len(l.ins))
	for i, in := range l.ins {
		if n.needs(in) {
			grads[i] = n.take(n.values[in].size)
			parts[i] = grads[i].data
		}
	}
	split(n.pool, parts, dy.data, l.widths)
	for i, in := range l.ins {
		if grads[i] != nil {
			n.give(in, grads[i])
		}
	}
	n.release(dy)
}

type upsampleLayer struct {
	in, out        int
	shape          kernel.ResampleShape // of one sample
	nearest, align bool
}

func (l *upsampleLayer) output() int { return l.out }

func (l *upsampleLayer) forward(n *Network) {
	shape := l.shape
	shape.N = n.pass.n
	if l.nearest {
		kernel.ResampleNearest(n.pool, shape, n.x(l.in), n.x(l.out))
	} else {
		kernel.ResampleBilinear(n.pool, shape, n.x(l.in), n.x(l.out), l.align)
	}
}

func (l *upsampleLayer) backward(n *Network, dy *gradient) {
	if n.needs(l.in) {
		shape := l.shape
		shape.N = n.pass.n
		dx := n.take(n.values[l.in].size)
		if l.nearest {
			kernel.ResampleNearestBackward(n.pool, shape, dy.data, dx.data)
		} else {
			kernel.ResampleBilinearBackward(n.pool, shape, dy.data, dx.data, l.align)
		}
		n.give(l.in, dx)
	}
	n.release(dy)
}

// softmaxLayer is softmax or its logarithm, with the kernels f and back.
type softmaxLayer struct {
	in, out, channels int
	f                 func(y, x []float32, c int)
	back              func(dx, y, dy []float32, c int)
}

func (l *softmaxLayer) output() int { return l.out }

func (l *softmaxLayer) forward(n *Network) {
	x, y := n.x(l.in), n.x(l.out)
	rowChunks(n.pool, len(x), l.channels, func(lo, hi int) { l.f(y[lo:hi], x[lo:hi], l.channels) })
}

func (l *softmaxLayer) backward(n *Network, dy *gradient) {
	if n.needs(l.in) {
		y, dx := n.x(l.out), n.take(dy.size)
		rowChunks(n.pool, len(y), l.channels, func(lo, hi int) {
			l.back(dx.data[lo:hi], y[lo:hi], dy.data[lo:hi], l.channels)
		})
		n.give(l.in, dx)
	}
	n.release(dy)
}

// dropoutLayer zeroes values with probability p in training. Which ones depends
// on the seed, the step, the node and the position only.
type dropoutLayer struct {
	in, out int
	p       float64
	index   uint64 // of the node
	mask    []float32
}

func (l *dropoutLayer) output() int { return l.out }

func (l *dropoutLayer) active(n *Network) bool { return n.pass.mode == Training && l.p > 0 }

func (l *dropoutLayer) forward(n *Network) {
	x, y := n.x(l.in), n.x(l.out)
	if !l.active(n) {
		copy(y, x)
		return
	}
	if len(l.mask) < len(y) {
		l.mask = make([]float32, len(y))
	}
	keep := float32(1 / (1 - l.p))
	drop := uint32(l.p * (1 << 32))
	n.pool.Chunks(len(y), chunk, func(lo, hi int) {
		src := random.Source(n.opts.Seed, "dropout", n.pass.step, l.index, uint64(lo))
		mask := l.mask[lo:hi]
		for i := 0; i < len(mask); i += 2 { // each number serves two values
			bits := src.Uint64()
			for j := range min(2, len(mask)-i) {
				mask[i+j] = 0
				if uint32(bits) >= drop {
					mask[i+j] = keep
				}
				bits >>= 32
			}
		}
		kernel.Mul(y[lo:hi], x[lo:hi], mask)
	})
}

func (l *dropoutLayer) backward(n *Network, dy *gradient) {
	if !l.active(n) {
		n.give(l.in, dy)
		return
	}
	d := n.own(dy)
	n.pool.Chunks(len(dy.data), chunk, func(lo, hi int) {
		kernel.Mul(d.data[lo:hi], dy.data[lo:hi], l.mask[lo:hi])
	})
	n.settle(dy, d)
	n.give(l.in, d)
}
