package ann

import (
	"math"

	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// An Optimiser changes parameters along their gradients.
type Optimiser interface {
	// Step makes one step with the given learning rate from Param.Grad.
	Step(lr float64)
	// Buffers returns what the optimiser remembers: its buffers by name, such
	// as "momentum.conv1.weight", to be saved and to be written into when a run
	// is resumed; and the number of steps it has made.
	Buffers() map[string][]float32
	// SetSteps restores the number of steps.
	SetSteps(n int)
	// Steps returns the number of steps made.
	Steps() int
}

// piece is a range of one parameter: the unit of parallel work over parameters.
type piece struct{ param, lo, hi int }

func cutParams(params []*Param) []piece {
	var pieces []piece
	for i, p := range params {
		for lo := 0; lo < len(p.Grad); lo += chunk {
			pieces = append(pieces, piece{i, lo, min(lo+chunk, len(p.Grad))})
		}
	}
	return pieces
}

// decays says whether weight decay applies to a parameter: with noDecay1D not
// to those of one axis, biases and batch norms, as is timm's rule.
func decays(p *Param, noDecay1D bool) bool {
	return !noDecay1D || len(p.Value.Shape) > 1
}

// SGDOptions are the settings of NewSGD.
type SGDOptions struct {
	Momentum    float64
	Nesterov    bool
	WeightDecay float64
	NoDecay1D   bool // no decay of biases and parameters of one axis
}

type sgd struct {
	pool   *parallel.Pool
	opts   SGDOptions
	params []*Param
	pieces []piece
	buf    [][]float32 // nil without momentum
	steps  int
}

// NewSGD returns stochastic gradient descent with momentum, as torch.optim.SGD:
// weight decay is added to the gradient, the first step's momentum is the
// gradient itself.
func NewSGD(pool *parallel.Pool, params []*Param, opts SGDOptions) Optimiser {
	o := &sgd{pool: pool, opts: opts, params: params, pieces: cutParams(params), buf: make([][]float32, len(params))}
	if opts.Momentum != 0 {
		for i, p := range params {
			o.buf[i] = make([]float32, len(p.Grad))
		}
	}
	return o
}

func (o *sgd) Step(lr float64) {
	o.steps++
	o.pool.For(len(o.pieces), func(i int) {
		c := o.pieces[i]
		p := o.params[c.param]
		decay := 0.0
		if decays(p, o.opts.NoDecay1D) {
			decay = o.opts.WeightDecay
		}
		var buf []float32
		if b := o.buf[c.param]; b != nil {
			buf = b[c.lo:c.hi]
		}
		kernel.SGDStep(p.Value.Data[c.lo:c.hi], p.Grad[c.lo:c.hi], buf, lr, o.opts.Momentum, decay, o.opts.Nesterov)
	})
}

func (o *sgd) Buffers() map[string][]float32 {
	m := make(map[string][]float32)
	for i, b := range o.buf {
		if b != nil {
			m["momentum."+o.params[i].Name] = b
		}
	}
	return m
}

func (o *sgd) Steps() int     { return o.steps }
func (o *sgd) SetSteps(n int) { o.steps = n }

// AdamWOptions are the settings of NewAdamW.
type AdamWOptions struct {
	Beta1, Beta2 float64
	Eps          float64
	WeightDecay  float64
	NoDecay1D    bool // no decay of biases and parameters of one axis
}

type adamW struct {
	pool   *parallel.Pool
	opts   AdamWOptions
	params []*Param
	pieces []piece
	m, v   [][]float32
	steps  int
}

// NewAdamW returns AdamW (Loshchilov and Hutter 2019) as torch.optim.AdamW.
func NewAdamW(pool *parallel.Pool, params []*Param, opts AdamWOptions) Optimiser {
	o := &adamW{pool: pool, opts: opts, params: params, pieces: cutParams(params)}
	for _, p := range params {
		o.m = append(o.m, make([]float32, len(p.Grad)))
		o.v = append(o.v, make([]float32, len(p.Grad)))
	}
	return o
}

func (o *adamW) Step(lr float64) {
	o.steps++
	o.pool.For(len(o.pieces), func(i int) {
		c := o.pieces[i]
		p := o.params[c.param]
		decay := 0.0
		if decays(p, o.opts.NoDecay1D) {
			decay = o.opts.WeightDecay
		}
		kernel.AdamWStep(p.Value.Data[c.lo:c.hi], p.Grad[c.lo:c.hi], o.m[c.param][c.lo:c.hi], o.v[c.param][c.lo:c.hi],
			lr, o.opts.Beta1, o.opts.Beta2, o.opts.Eps, decay, o.steps)
	})
}

func (o *adamW) Buffers() map[string][]float32 {
	m := make(map[string][]float32)
	for i, p := range o.params {
		m["m."+p.Name], m["v."+p.Name] = o.m[i], o.v[i]
	}
	return m
}

func (o *adamW) Steps() int     { return o.steps }
func (o *adamW) SetSteps(n int) { o.steps = n }

// ClipNorm scales all gradients so that their norm, taken together, is at most
// limit, as torch.nn.utils.clip_grad_norm_ does, and returns the norm before.
// With limit 0 it only returns the norm.
func ClipNorm(pool *parallel.Pool, params []*Param, limit float64) float64 {
	pieces := cutParams(params)
	squares := make([]float64, len(pieces))
	pool.For(len(pieces), func(i int) {
		c := pieces[i]
		squares[i] = kernel.SumSquares(params[c.param].Grad[c.lo:c.hi])
	})
	var sum float64
	for _, s := range squares {
		sum += s
	}
	norm := math.Sqrt(sum)
	if scale := limit / (norm + 1e-6); limit > 0 && scale < 1 {
		pool.For(len(pieces), func(i int) {
			c := pieces[i]
			g := params[c.param].Grad[c.lo:c.hi]
			kernel.Scale(g, g, float32(scale))
		})
	}
	return norm
}
