package convert

import (
	"context"
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// RepairOptions say how Repair fits; DefaultRepair has the defaults.
type RepairOptions struct {
	// Ridges are the values of lambda to choose from by the held-out error,
	// relative to the mean square of a layer's inputs, all > 0; default 1e-4 to
	// 10 in powers of ten.
	Ridges  []float64 `json:"ridges"`
	HoldOut float64   `json:"hold_out"` // share of the samples that decides, in 0..1 (both excluded); default 1/8
	// MaxInputs is the largest number of weights per output channel that is
	// solved for, as a dense matrix of its square: beyond it layers are passed
	// by. Default 4608 (3x3 over 512 channels).
	MaxInputs int   `json:"max_inputs"`
	Memory    int64 `json:"memory"` // as in WeightOptions

	Progress   func(LayerProgress)      `json:"-"` // as in WeightOptions; iterations are values of lambda tried
	Checkpoint func(*WeightState) error `json:"-"` // as in WeightOptions
	Resume     *WeightState             `json:"-"` // as in WeightOptions
}

// DefaultRepair returns the default settings.
func DefaultRepair() RepairOptions {
	return RepairOptions{Ridges: []float64{1e-4, 1e-3, 1e-2, 1e-1, 1, 10}, HoldOut: 1. / 8, MaxInputs: 4608, Memory: 2 << 30}
}

// Validate checks the ranges.
func (o *RepairOptions) Validate() error {
	if len(o.Ridges) == 0 {
		return fmt.Errorf("repair: no ridge to choose from")
	}
	for _, r := range o.Ridges {
		if !(r > 0 && r <= 1e12) {
			return fmt.Errorf("repair: ridge %g: want a positive number up to 1e12", r)
		}
	}
	if !(o.HoldOut > 0 && o.HoldOut < 1) {
		return fmt.Errorf("repair: hold-out %g: want 0 < hold-out < 1", o.HoldOut)
	}
	if o.MaxInputs < 1 {
		return fmt.Errorf("repair: max inputs %d: want 1 or more", o.MaxInputs)
	}
	if o.Memory < 1 {
		return fmt.Errorf("repair: memory %d: want 1 or more bytes", o.Memory)
	}
	return nil
}

// Repair replaces the weights and biases of every layer that drives neurons by
// the solution of a ridge regression, layer by layer, each with all earlier
// layers repaired already (beyond.md 8): those W' and b' for which the mean
// current of the spiking network comes closest to the current of the ANN,
//
//	sum (W' xbar + b' + rbar - z)^2 + lambda * (|W' - W|^2 + |b' - b|^2)
//
// over the samples and positions, with z the original graph's value before the
// activation, xbar and rbar the means over time of the layer's input and of what
// a residual block adds. For each group of channels that is one system of normal
// equations, solved in float64. lambda is the one with the smallest error of the
// neurons' modelled output on samples held out; a layer that no lambda makes
// better is left alone.
//
// Arguments and results are those of CalibrateWeights. No gradient is taken.
func Repair(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, opt RepairOptions) (*graph.Graph, []LayerFit, error) {
	if err := opt.Validate(); err != nil {
		return nil, nil, err
	}
	w := &layerWalk{pool: pool, original: original, cfg: cfg, memory: opt.Memory, current: true, checkpoint: opt.Checkpoint}
	w.skip = func(d snn.Driven) string {
		switch s, _ := convShape(d.Driver); {
		case taps(s) > opt.MaxInputs:
			return fmt.Sprintf("%d inputs per output channel, at most %d are solved for", taps(s), opt.MaxInputs)
		case solverMemory(s) > opt.Memory/4:
			return fmt.Sprintf("the normal equations take %d MiB, the memory allows %d", solverMemory(s)>>20, opt.Memory>>22)
		}
		return ""
	}
	layers := 0
	w.begin = func(list []snn.Driven) { layers = len(list) }
	w.fit = func(ctx context.Context, in snn.MeanInput, target *tensor.Tensor) (*FittedLayer, error) {
		m := newLayerModel(pool, in, &cfg.Layers[in.Layer], cfg.Timesteps, cfg.Shift != snn.ShiftNone, target.Data)
		return repairLayer(ctx, in, m, &opt, layers)
	}
	return w.run(ctx, g, x, opt.Resume)
}

// taps is the number of weights per output channel.
func taps(s kernel.ConvShape) int { return s.KH * s.KW * (s.Cin / s.Groups) }

// solverMemory is what the equations of one group take: the matrix and its
// factor in float64, a part of it and patches in float32.
func solverMemory(s kernel.ConvShape) int64 {
	k, n := int64(taps(s))+1, int64(s.Cout/s.Groups)
	return 16*k*k + 4*k*(k+n) + 8*k*n + patchRows*4*(2*k+n)
}

// repairLayer fits one layer. m.target holds currents at first.
func repairLayer(ctx context.Context, in snn.MeanInput, m *layerModel, o *RepairOptions, layers int) (*FittedLayer, error) {
	held := max(1, int(float64(m.samples)*o.HoldOut))
	training := m.samples - held
	out := &FittedLayer{Fit: LayerFit{Node: in.Neurons.Name, Driver: in.Driver.Name, Samples: m.samples, HeldOut: held}}
	if training == 0 {
		out.Fit.HeldOut, out.Fit.Note = 0, "one sample is too few"
		return out, nil
	}
	systems := m.normalEquations(training)
	// What is judged is the neurons' output against the activation.
	limit := float32(0)
	if in.Neurons.Kind() == "relu6" {
		limit = 6
	}
	for i, z := range m.target[training*m.out:] {
		a := max(z, 0)
		if limit > 0 {
			a = min(a, limit)
		}
		m.target[training*m.out+i] = a
	}
	filter := kernel.NewFilter(m.shape, m.weight)
	look := func(bias []float32) float64 { return m.objective(filter, bias, training, m.samples) }
	out.Fit.Before = look(m.bias)
	out.Fit.After = out.Fit.Before
	weight, bias := make([]float32, len(m.weight)), make([]float32, m.shape.Cout)
	for i, ridge := range o.Ridges {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		solved := make([]bool, len(systems))
		each := m.pool
		if len(systems) == 1 {
			each = nil // one system uses all workers itself
		}
		each.For(len(systems), func(g int) {
			inner := m.pool
			if each != nil {
				inner = nil
			}
			if solved[g] = systems[g].solve(inner, ridge); solved[g] {
				m.put(g, systems[g], weight, bias)
			}
		})
		if slices.Contains(solved, false) || slices.ContainsFunc(weight, func(v float32) bool { return v-v != 0 }) {
			continue // too little ridge for these inputs
		}
		filter.Set(weight)
		if e := look(bias); e < out.Fit.After {
			out.Fit.After, out.Fit.Ridge, out.Fit.Changed = e, ridge, true
			out.Weight = &tensor.Tensor{Shape: slices.Clone(in.Driver.Weight().Shape), Data: slices.Clone(weight)}
			out.Bias = &tensor.Tensor{Shape: []int{len(bias)}, Data: slices.Clone(bias)}
		}
		if o.Progress != nil {
			o.Progress(LayerProgress{Layer: in.Layer, Layers: layers, Node: out.Fit.Node, Iteration: i + 1, Iterations: len(o.Ridges), Error: out.Fit.After})
		}
	}
	if !out.Fit.Changed {
		out.Fit.Note = "no lambda makes the held-out error smaller"
	}
	return out, nil
}

const (
	patchRows = 1024    // patches that go into the sums at a time
	mostRows  = 1 << 17 // patches a layer is fitted to: many times the unknowns
)

// normalEquations gathers, per group of channels, the sums over the patches of
// the first samples: of their products with each other and with what is wanted
// of the driver, z - rbar. Of layers with very many patches every q-th is taken.
func (m *layerModel) normalEquations(samples int) []*ridgeSystem {
	s := m.shape
	positions := m.out / s.Cout
	step := (samples*positions + mostRows - 1) / mostRows
	rows := (samples*positions + step - 1) / step
	k, n := taps(s)+1, s.Cout/s.Groups
	systems := make([]*ridgeSystem, s.Groups)
	each, inner := m.pool, (*parallel.Pool)(nil)
	if s.Groups == 1 {
		each, inner = nil, m.pool
	}
	each.For(s.Groups, func(g int) {
		sys := newRidgeSystem(k, n)
		for r := range k - 1 {
			for c := range n {
				sys.old[r*n+c] = float64(m.weight[r*s.Cout+g*n+c])
			}
		}
		if m.bias != nil {
			for c := range n {
				sys.old[(k-1)*n+c] = float64(m.bias[g*n+c])
			}
		}
		both := k + n
		patches, wanted := make([]float32, patchRows*k), make([]float32, patchRows*both)
		sums := make([]float32, k*both)
		for lo := 0; lo < rows; lo += patchRows {
			count := min(patchRows, rows-lo)
			inner.Chunks(count, 64, func(a, b int) {
				for i := a; i < b; i++ {
					p := (lo + i) * step
					row := patches[i*k : (i+1)*k]
					m.patch(row, g, p/positions, p%positions)
					at := p*s.Cout + g*n
					to := wanted[i*both : (i+1)*both]
					copy(to, row)
					copy(to[k:], m.target[at:at+n])
					if m.added != nil {
						for c, v := range m.added[at : at+n] {
							to[k+c] -= v
						}
					}
				}
			})
			// The product of two matrices is the weight gradient of a 1x1
			// convolution: float32 inside of a part, float64 over the parts.
			kernel.ConvBackwardWeight(inner, kernel.ConvShape{N: 1, H: 1, W: count, Cin: k, KH: 1, KW: 1, Cout: both,
				StrideH: 1, StrideW: 1, DilH: 1, DilW: 1, Groups: 1}, patches[:count*k], wanted[:count*both], sums)
			inner.Chunks(k, 16, func(a, b int) {
				for r := a; r < b; r++ {
					part := sums[r*both : (r+1)*both]
					for c, v := range part[:k] {
						sys.square[r*k+c] += float64(v)
					}
					for c, v := range part[k:] {
						sys.product[r*n+c] += float64(v)
					}
				}
			})
		}
		systems[g] = sys
	})
	return systems
}

// patch writes the inputs that position p of a sample sees in group g, and a 1
// for the bias.
func (m *layerModel) patch(dst []float32, g, sample, p int) {
	s := m.shape
	c := s.Cin / s.Groups
	x := m.input[sample*m.in : (sample+1)*m.in]
	y0, x0 := p/s.OutW()*s.StrideH-s.PadTop, p%s.OutW()*s.StrideW-s.PadLeft
	at := 0
	for i := range s.KH {
		for j := range s.KW {
			to := dst[at : at+c]
			at += c
			if iy, ix := y0+i*s.DilH, x0+j*s.DilW; iy >= 0 && iy < s.H && ix >= 0 && ix < s.W {
				copy(to, x[(iy*s.W+ix)*s.Cin+g*c:])
			} else {
				clear(to)
			}
		}
	}
	dst[at] = 1
}

// put writes the solution of group g into weights and biases.
func (m *layerModel) put(g int, sys *ridgeSystem, weight, bias []float32) {
	n := sys.n
	for r := range sys.k - 1 {
		for c := range n {
			weight[r*m.shape.Cout+g*n+c] = float32(sys.solution[r*n+c])
		}
	}
	for c := range n {
		bias[g*n+c] = float32(sys.solution[(sys.k-1)*n+c])
	}
}
