package convert

import (
	"fmt"
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
)

// layerModel is one layer of neurons with its driver, as layer-wise calibration
// sees it: the neurons' mean output is what their quantiser makes of the mean
// current, so no timestep is simulated.
//
//	u = T * (conv(xbar, W) + b + rbar) / theta
//	y = theta/T * clamp(floor(u + 1/2), 0, phi*T)     round
//	y = theta/T * floor(clamp(u, 0, phi*T))           floor
//
// The objective is the mean over samples and positions of the sum over channels
// of (y - a)^2, with a the activation of the ANN (algorithms.md 4.3).
type layerModel struct {
	pool    *parallel.Pool
	shape   kernel.ConvShape // of one sample
	rows    bool             // fully connected: samples are columns of one image
	in, out int              // values of a sample
	q       quantiser
	scale   []float32 // T/theta per output channel; nil for a readout: y is the current
	weight  []float32 // as they were
	bias    []float32 // nil for none
	samples int
	input   []float32 // [samples][in]: xbar
	added   []float32 // [samples][out]: rbar and the initial potential over T; nil for none
	target  []float32 // [samples][out]: a
}

// newLayerModel describes the layer of in, whose neurons are l, for activations
// target of as many samples as in holds.
func newLayerModel(pool *parallel.Pool, in snn.MeanInput, l *snn.Layer, timesteps int, round bool, target []float32) *layerModel {
	n := in.Driver
	m := &layerModel{pool: pool, in: n.Inputs[0].Shape.Numel(), out: n.Shape.Numel(),
		q:      quantiser{steps: float32(timesteps), limit: float32(l.MaxSpike), round: round},
		weight: n.Weight().Data, bias: n.Bias(), samples: in.Input.Shape[0], input: in.Input.Data, target: target}
	m.shape, m.rows = convShape(n)
	m.scale = make([]float32, m.shape.Cout)
	for ch := range m.scale {
		m.scale[ch] = float32(timesteps) / l.Threshold[ch%len(l.Threshold)]
	}
	if in.Added != nil {
		m.added = in.Added.Data
	}
	if l.Initial != nil { // a charge of v is a mean current of v/T
		if m.added == nil {
			m.added = make([]float32, m.samples*m.out)
		}
		for s := range m.samples {
			row := m.added[s*m.out : (s+1)*m.out]
			for i, v := range l.Initial {
				row[i] += v / float32(timesteps)
			}
		}
	}
	return m
}

// convShape describes a convolution or fully connected layer for one sample;
// rows says that it is the latter, whose samples become columns of one image.
func convShape(n *graph.Node) (s kernel.ConvShape, rows bool) {
	w := n.Weight().Shape
	h, wd, cin := n.Inputs[0].Shape.HWC()
	op, ok := n.Op.(*graph.Conv2D)
	if !ok {
		return kernel.ConvShape{N: 1, H: 1, W: n.Shape.Positions(), Cin: cin, KH: 1, KW: 1, Cout: w[len(w)-1],
			StrideH: 1, StrideW: 1, DilH: 1, DilW: 1, Groups: 1}, true
	}
	return kernel.ConvShape{N: 1, H: h, W: wd, Cin: cin, KH: w[0], KW: w[1], Cout: w[3],
		StrideH: op.Stride[0], StrideW: op.Stride[1], PadTop: op.Pad[0], PadLeft: op.Pad[1], PadBottom: op.Pad[2], PadRight: op.Pad[3],
		DilH: op.Dilation[0], DilW: op.Dilation[1], Groups: op.Groups}, false
}

// of returns the shape for n samples.
func (m *layerModel) of(n int) kernel.ConvShape {
	s := m.shape
	if m.rows {
		s.W *= n
	} else {
		s.N = n
	}
	return s
}

// current computes the mean currents z of n samples.
func (m *layerModel) current(n int, f *kernel.Filter, bias, x, added, z []float32) {
	kernel.Conv(m.pool, m.of(n), x, f, kernel.Epilogue{Bias: bias, Add: added}, z)
}

// output returns what the neurons of channel ch make of the mean current z, in
// units of the activation, and whether the gradient passes.
func (m *layerModel) output(z float32, ch int) (y float32, passes bool) {
	if m.scale == nil {
		return z, true
	}
	u, top := z*m.scale[ch], m.q.limit*m.q.steps
	if m.q.round {
		passes = u >= -0.5 && u <= top+0.5
		u += 0.5
	} else {
		passes = u >= 0 && u <= top
	}
	if u-u != 0 {
		return u, false // an objective that is not finite is never the best
	}
	return floor32(min(max(u, 0), top)) / m.scale[ch], passes
}

// evalSamples is how many samples an objective is computed of at a time.
const evalSamples = 32

// objective is the model's error on the samples lo..hi-1.
func (m *layerModel) objective(f *kernel.Filter, bias []float32, lo, hi int) float64 {
	total := 0.0
	z := make([]float32, min(evalSamples, hi-lo)*m.out)
	sums := make([]float64, evalSamples)
	for at := lo; at < hi; at += evalSamples {
		n := min(evalSamples, hi-at)
		var added []float32
		if m.added != nil {
			added = m.added[at*m.out : (at+n)*m.out]
		}
		m.current(n, f, bias, m.input[at*m.in:(at+n)*m.in], added, z)
		m.pool.For(n, func(i int) {
			sums[i] = m.errorOf(z[i*m.out:(i+1)*m.out], m.target[(at+i)*m.out:(at+i+1)*m.out], nil, 0)
		})
		for _, s := range sums[:n] {
			total += s
		}
	}
	return total / float64((hi-lo)*(m.out/m.shape.Cout))
}

// errorOf sums (y - a)^2 over a sample and, with grad, sets the derivatives of
// factor times it by the currents. grad may be z.
func (m *layerModel) errorOf(z, target, grad []float32, factor float32) float64 {
	sum := 0.0
	channels := m.shape.Cout
	for at := 0; at < len(z); at += channels {
		for ch, v := range z[at : at+channels] {
			y, passes := m.output(v, ch)
			d := y - target[at+ch]
			sum += float64(d) * float64(d)
			if grad != nil {
				g := float32(0)
				if passes {
					g = 2 * factor * d
				}
				grad[at+ch] = g
			}
		}
	}
	return sum
}

// batchMemory is what a gradient needs for its samples.
type batchMemory struct {
	x, added, target, z []float32
	sums                []float64
}

// gradient computes the objective on the given samples and its derivatives by
// the weights, straight through the rounding.
func (m *layerModel) gradient(f *kernel.Filter, samples []int, b *batchMemory, dw []float32) float64 {
	n := len(samples)
	if len(b.sums) != n {
		*b = batchMemory{x: make([]float32, n*m.in), target: make([]float32, n*m.out), z: make([]float32, n*m.out), sums: make([]float64, n)}
		if m.added != nil {
			b.added = make([]float32, n*m.out)
		}
	}
	for i, s := range samples {
		copy(b.x[i*m.in:(i+1)*m.in], m.input[s*m.in:])
		copy(b.target[i*m.out:(i+1)*m.out], m.target[s*m.out:])
		if m.added != nil {
			copy(b.added[i*m.out:(i+1)*m.out], m.added[s*m.out:])
		}
	}
	m.current(n, f, m.bias, b.x, b.added, b.z)
	rows := float64(n * (m.out / m.shape.Cout))
	m.pool.For(n, func(i int) {
		z := b.z[i*m.out : (i+1)*m.out]
		b.sums[i] = m.errorOf(z, b.target[i*m.out:(i+1)*m.out], z, float32(1/rows))
	})
	kernel.ConvBackwardWeight(m.pool, m.of(n), b.x, b.z, dw)
	total := 0.0
	for _, s := range b.sums {
		total += s
	}
	return total / rows
}

// adam is the optimiser of Kingma and Ba (2015) with the usual constants.
type adam struct {
	m, v         []float32
	beta1, beta2 float64 // the powers of the decay rates
}

func newAdam(n int) *adam {
	return &adam{m: make([]float32, n), v: make([]float32, n), beta1: 1, beta2: 1}
}

func (a *adam) step(w, g []float32, rate float64) {
	const b1, b2, eps = 0.9, 0.999, 1e-8
	a.beta1, a.beta2 = a.beta1*b1, a.beta2*b2
	size, root := float32(rate/(1-a.beta1)), float32(math.Sqrt(1-a.beta2))
	for i, d := range g {
		a.m[i] = b1*a.m[i] + (1-b1)*d
		a.v[i] = b2*a.v[i] + (1-b2)*d*d
		w[i] -= size * a.m[i] / (float32(math.Sqrt(float64(a.v[i])))/root + eps)
	}
}

// checkFinite refuses weights that calibration has spoiled.
func checkFinite(node string, w []float32) error {
	for i, v := range w {
		if v-v != 0 {
			return fmt.Errorf("node %q: calibrated weight %d is %g", node, i, v)
		}
	}
	return nil
}
