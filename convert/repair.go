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
	Ridges []float64 `json:"ridges"`
	// Rounds is how often the best solution is solved for again without the
	// currents that already do what they should: negative where the neuron is to
	// be silent, beyond its range where it is to fire all it can. 0 or more;
	// default 4.
	Rounds  int     `json:"rounds"`
	HoldOut float64 `json:"hold_out"` // share of the samples that decides, in 0..1 (both excluded); default 1/8
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
	return RepairOptions{Ridges: []float64{1e-4, 1e-3, 1e-2, 1e-1, 1, 10}, Rounds: 4, HoldOut: 1. / 8, MaxInputs: 4608, Memory: 2 << 30}
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
	if o.Rounds < 0 || o.Rounds > 1000 {
		return fmt.Errorf("repair: rounds %d: want 0 to 1000", o.Rounds)
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
// A neuron turns every negative current into silence, so how negative it is does
// not matter. The rounds that follow put the current of the solution before in
// the place of z wherever both are negative (or both beyond the neuron's range):
// majorisation of the one-sided squares, which the sum of squares as such does
// not see. Every round is judged on the held-out samples, too.
//
// Arguments and results are those of CalibrateWeights. No gradient is taken.
func Repair(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, opt RepairOptions) (*graph.Graph, []LayerFit, error) {
	if err := opt.Validate(); err != nil {
		return nil, nil, err
	}
	w := &layerWalk{pool: pool, original: original, cfg: cfg, memory: opt.Memory, current: true, checkpoint: opt.Checkpoint}
	w.skip = func(d snn.Driven) string { return opt.tooLarge(d.Driver) }
	layers := 0
	w.begin = func(list []snn.Driven) { layers = len(list) }
	w.fit = func(ctx context.Context, in snn.MeanInput, target *tensor.Tensor) (*FittedLayer, error) {
		m := newLayerModel(pool, in, &cfg.Layers[in.Layer], cfg.Timesteps, cfg.Shift != snn.ShiftNone, target.Data)
		return repairLayer(ctx, in, m, &opt, layers)
	}
	return w.run(ctx, g, x, opt.Resume)
}

// tooLarge says why a layer is not solved for, "" if it is.
func (o *RepairOptions) tooLarge(n *graph.Node) string {
	switch s, _ := convShape(n); {
	case taps(s) > o.MaxInputs:
		return fmt.Sprintf("%d inputs per output channel, at most %d are solved for", taps(s), o.MaxInputs)
	case solverMemory(s) > o.Memory/4:
		return fmt.Sprintf("the normal equations take %d MiB, the memory allows %d", solverMemory(s)>>20, o.Memory>>22)
	}
	return ""
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
	top := float32(graph.ActivationLimit(in.Neurons))
	if m.scale != nil {
		kernel.ReLU(m.target[training*m.out:], m.target[training*m.out:], top)
	}
	filter := kernel.NewFilter(m.shape, m.weight)
	best := &out.Fit
	best.Before = m.objective(filter, m.bias, training, m.samples)
	best.After = best.Before
	weight, bias := make([]float32, len(m.weight)), make([]float32, m.shape.Cout)
	// try solves all systems, looks at the solution and keeps it if it is the best.
	try := func(ridge float64) (better bool) {
		if !m.solve(systems, ridge, weight, bias) {
			return false
		}
		filter.Set(weight)
		e := m.objective(filter, bias, training, m.samples)
		if !(e < best.After) {
			return false
		}
		best.After, best.Ridge, best.Changed = e, ridge, true
		out.Weight = &tensor.Tensor{Shape: slices.Clone(in.Driver.Weight().Shape), Data: slices.Clone(weight)}
		out.Bias = &tensor.Tensor{Shape: []int{len(bias)}, Data: slices.Clone(bias)}
		return true
	}
	steps := 0
	report := func() {
		if steps++; o.Progress != nil {
			o.Progress(LayerProgress{Layer: in.Layer, Layers: layers, Node: best.Node, Iteration: steps, Iterations: len(o.Ridges) + o.Rounds, Error: best.After})
		}
	}
	for _, ridge := range o.Ridges {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		try(ridge)
		report()
	}
	if !best.Changed {
		best.Note = "no lambda makes the held-out error smaller"
		return out, nil
	}
	if m.scale == nil {
		return out, nil // a readout is linear
	}
	wanted := make([]float32, training*m.out)
	for range o.Rounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		filter.Set(out.Weight.Data)
		m.oneSided(filter, out.Bias.Data, training, wanted)
		m.products(systems, training, wanted)
		if !try(best.Ridge) {
			break
		}
		best.Iterations++
		report()
	}
	return out, nil
}

// solve puts the solutions of all groups into weights and biases, and says
// whether there are any.
func (m *layerModel) solve(systems []*ridgeSystem, ridge float64, weight, bias []float32) bool {
	each, inner := m.perGroup()
	solved := make([]bool, len(systems))
	each.For(len(systems), func(g int) {
		if solved[g] = systems[g].solve(inner, ridge); solved[g] {
			m.put(g, systems[g], weight, bias)
		}
	})
	return !slices.Contains(solved, false) && !slices.ContainsFunc(weight, func(v float32) bool { return v-v != 0 })
}

// perGroup says which pool works on the groups and which inside of one: a single
// group uses all workers itself.
func (m *layerModel) perGroup() (each, inner *parallel.Pool) {
	if m.shape.Groups == 1 {
		return nil, m.pool
	}
	return m.pool, nil
}

// oneSided writes what is wanted of the mean currents of the first samples:
// m.target, or the currents of the filter where both are negative or both
// beyond the range.
func (m *layerModel) oneSided(f *kernel.Filter, bias []float32, samples int, wanted []float32) {
	for at := 0; at < samples; at += evalSamples {
		n := min(evalSamples, samples-at)
		var added []float32
		if m.added != nil {
			added = m.added[at*m.out : (at+n)*m.out]
		}
		z := wanted[at*m.out : (at+n)*m.out]
		m.current(n, f, bias, m.input[at*m.in:(at+n)*m.in], added, z)
		m.pool.Chunks(n, 1, func(lo, hi int) {
			for i := lo * m.out; i < hi*m.out; i++ {
				want := m.target[at*m.out+i]
				if limit := m.q.limit * m.q.steps / m.scale[i%m.shape.Cout]; (want <= 0 && z[i] <= 0) || (want >= limit && z[i] >= limit) {
					continue
				}
				z[i] = want
			}
		})
	}
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
	k, n := taps(s)+1, s.Cout/s.Groups
	systems := make([]*ridgeSystem, s.Groups)
	for g := range systems {
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
		systems[g] = sys
	}
	each, inner := m.perGroup()
	each.For(s.Groups, func(g int) { m.gather(inner, systems[g], g, samples, m.target, true) })
	return systems
}

// products gathers the products with other wanted currents again.
func (m *layerModel) products(systems []*ridgeSystem, samples int, wanted []float32) {
	each, inner := m.perGroup()
	each.For(len(systems), func(g int) { m.gather(inner, systems[g], g, samples, wanted, false) })
}

// gather sums the products of the patches of group g with what is wanted and,
// if asked, with each other.
func (m *layerModel) gather(pool *parallel.Pool, sys *ridgeSystem, g, samples int, wanted []float32, square bool) {
	s := m.shape
	positions := m.out / s.Cout
	step := (samples*positions + mostRows - 1) / mostRows
	rows := (samples*positions + step - 1) / step
	k, n := sys.k, sys.n
	first := 0 // column of what is wanted
	if square {
		first = k
	}
	columns := first + n
	patches, right := make([]float32, patchRows*k), make([]float32, patchRows*columns)
	sums := make([]float32, k*columns)
	clear(sys.product)
	for lo := 0; lo < rows; lo += patchRows {
		count := min(patchRows, rows-lo)
		pool.Chunks(count, 64, func(a, b int) {
			for i := a; i < b; i++ {
				p := (lo + i) * step
				row, to := patches[i*k:(i+1)*k], right[i*columns:(i+1)*columns]
				m.patch(row, g, p/positions, p%positions)
				copy(to[:first], row)
				at := p*s.Cout + g*n
				copy(to[first:], wanted[at:at+n])
				if m.added != nil {
					for c, v := range m.added[at : at+n] {
						to[first+c] -= v
					}
				}
			}
		})
		// The product of two matrices is the weight gradient of a 1x1
		// convolution: float32 inside of a part, float64 over the parts.
		kernel.ConvBackwardWeight(pool, kernel.ConvShape{N: 1, H: 1, W: count, Cin: k, KH: 1, KW: 1, Cout: columns,
			StrideH: 1, StrideW: 1, DilH: 1, DilW: 1, Groups: 1}, patches[:count*k], right[:count*columns], sums)
		pool.Chunks(k, 16, func(a, b int) {
			for r := a; r < b; r++ {
				part := sums[r*columns : (r+1)*columns]
				for c, v := range part[:first] {
					sys.square[r*k+c] += float64(v)
				}
				for c, v := range part[first:] {
					sys.product[r*n+c] += float64(v)
				}
			}
		})
	}
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
