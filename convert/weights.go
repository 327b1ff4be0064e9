package convert

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// WeightOptions say how CalibrateWeights trains; DefaultWeights has the
// defaults.
type WeightOptions struct {
	Iterations   int     `json:"iterations"`    // most steps per layer, 1 or more; default 5000
	Batch        int     `json:"batch"`         // samples per step, 1 or more; default 32
	LearningRate float64 `json:"learning_rate"` // of Adam, falling to 0 by a cosine; default 1e-5
	// HoldOut is the share of the samples, the last ones, that is not trained on
	// but decides which weights are kept, in 0..1 (1 excluded); default 1/8. With
	// 0 the last weights are kept, whatever they are worth, as the authors do.
	HoldOut  float64 `json:"hold_out"`
	Every    int     `json:"every"`    // steps between two looks at the held-out samples; default 250
	Patience int     `json:"patience"` // looks without gain after which a layer is done; 0 for never; default 4
	// Objective is the quantiser that stands for the neurons: "round", "floor"
	// (as the authors) or "" for what the neurons' shift makes them do.
	Objective string `json:"objective,omitempty"`
	// Memory bounds the bytes kept of activations and spikes; default 2 GiB.
	// Beyond it fewer samples are used, but never fewer than 128.
	Memory int64  `json:"memory"`
	Seed   uint64 `json:"seed"` // of the batches

	// Progress, if set, is called now and then, from one goroutine.
	Progress func(LayerProgress) `json:"-"`
	// Checkpoint, if set, is called after every layer with what is done so far.
	Checkpoint func(*WeightState) error `json:"-"`
	// Resume goes on behind the layers of a state, with the same results as
	// without the interruption.
	Resume *WeightState `json:"-"`
}

// DefaultWeights returns the settings of algorithms.md 4.3.
func DefaultWeights() WeightOptions {
	return WeightOptions{Iterations: 5000, Batch: 32, LearningRate: 1e-5, HoldOut: 1. / 8, Every: 250, Patience: 4, Memory: 2 << 30}
}

// Validate checks the ranges.
func (o *WeightOptions) Validate() error {
	for _, v := range []struct {
		name        string
		value       int
		least, most int
	}{{"iterations", o.Iterations, 1, 1 << 30}, {"batch", o.Batch, 1, 1 << 20}, {"every", o.Every, 1, 1 << 30}, {"patience", o.Patience, 0, 1 << 30}} {
		if v.value < v.least || v.value > v.most {
			return fmt.Errorf("weight calibration: %s %d: want %d to %d", v.name, v.value, v.least, v.most)
		}
	}
	if !(o.LearningRate > 0 && o.LearningRate <= 1) {
		return fmt.Errorf("weight calibration: learning rate %g: want 0 to 1, 0 excluded", o.LearningRate)
	}
	if !(o.HoldOut >= 0 && o.HoldOut < 1) {
		return fmt.Errorf("weight calibration: hold-out %g: want 0 <= hold-out < 1", o.HoldOut)
	}
	if o.Memory < 1 {
		return fmt.Errorf("weight calibration: memory %d: want 1 or more bytes", o.Memory)
	}
	switch o.Objective {
	case "", ObjectiveRound, ObjectiveFloor:
		return nil
	}
	return fmt.Errorf("weight calibration: objective %q: want %s, %s or nothing", o.Objective, ObjectiveRound, ObjectiveFloor)
}

// LayerFit reports what calibration or repair did to one layer. The errors are
// means over samples and positions of the sum over channels of (mean SNN output
// - ANN activation)^2, modelled without unevenness, with all earlier layers
// done: on the held-out samples, or on all if there are none.
type LayerFit struct {
	Node       string  `json:"node"`             // the activation that the neurons replace
	Driver     string  `json:"driver,omitempty"` // the layer whose weights were fitted
	Samples    int     `json:"samples"`          // used, held-out ones included
	HeldOut    int     `json:"held_out"`
	Before     float64 `json:"before"`
	After      float64 `json:"after"`
	Iterations int     `json:"iterations,omitempty"` // weight calibration: steps taken
	Ridge      float64 `json:"ridge,omitempty"`      // repair: lambda chosen, relative to the mean square of the inputs
	Changed    bool    `json:"changed"`              // whether new weights are in use
	Note       string  `json:"note,omitempty"`       // what else is to be said, such as why a layer was passed by
}

// LayerProgress says where a layer-wise stage is.
type LayerProgress struct {
	Layer, Layers         int // layers of neurons, from 0
	Node                  string
	Iteration, Iterations int           // of this layer
	Error                 float64       // the best error so far, as in LayerFit
	PerSecond             float64       // iterations per second of this layer
	Left                  time.Duration // for all layers, if none stops early; 0 while unknown
}

// WeightState is what CalibrateWeights has done so far.
type WeightState struct {
	Layers []FittedLayer // in graph order, from the first
}

// A FittedLayer is a layer that is done.
type FittedLayer struct {
	Fit    LayerFit
	Weight *tensor.Tensor // nil if not changed
	Bias   *tensor.Tensor // nil if not changed
}

// CalibrateWeights trains the weights of every layer that drives neurons, layer
// by layer, each with all earlier layers calibrated already, so that the
// neurons' mean output comes close to the activation of the original graph
// (algorithms.md 4.3). Inputs are means over time of the spiking network itself.
// Biases, thresholds and all other layers stay. g is a prepared graph; the
// calibrated graph is returned and shares what did not change. The neurons of cfg
// are not changed; their initial potentials, if any, are reckoned with.
//
// A layer's weights never get worse on the held-out samples: the best ones are
// kept, those from before included. It takes one pass over the spiking network
// and few over the ANN.
func CalibrateWeights(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, opt WeightOptions) (*graph.Graph, []LayerFit, error) {
	if err := opt.Validate(); err != nil {
		return nil, nil, err
	}
	round := cfg.Shift != snn.ShiftNone
	if opt.Objective != "" {
		round = opt.Objective == ObjectiveRound
	}
	w := &layerWalk{pool: pool, original: original, cfg: cfg, memory: opt.Memory, checkpoint: opt.Checkpoint}
	t := &weightTrainer{opt: &opt}
	w.begin = func(list []snn.Driven) { t.begin(list, len(w.state.Layers)) }
	w.fit = func(ctx context.Context, in snn.MeanInput, target *tensor.Tensor) (*FittedLayer, error) {
		m := newLayerModel(pool, in, &cfg.Layers[in.Layer], cfg.Timesteps, round, target.Data)
		weight, fit, err := t.train(ctx, in, m)
		if err != nil {
			return nil, err
		}
		out := &FittedLayer{Fit: *fit}
		if fit.Changed {
			out.Weight = &tensor.Tensor{Shape: slices.Clone(in.Driver.Weight().Shape), Data: weight}
		}
		return out, nil
	}
	return w.run(ctx, g, x, opt.Resume)
}

// weightTrainer trains one layer after the other and keeps the time.
type weightTrainer struct {
	opt     *WeightOptions
	layers  int
	macs    []int64 // per layer, for one sample
	started time.Time
	done    float64 // multiply-adds since then
}

func (t *weightTrainer) begin(list []snn.Driven, first int) {
	t.layers, t.started = len(list), time.Now()
	t.macs = make([]int64, len(list))
	for i, d := range list[first:] {
		if d.Driver != nil {
			t.macs[first+i] = d.Driver.MACs()
		}
	}
}

// train returns the weights to use for the layer.
func (t *weightTrainer) train(ctx context.Context, in snn.MeanInput, m *layerModel) ([]float32, *LayerFit, error) {
	o := t.opt
	held := int(float64(m.samples) * o.HoldOut)
	training, from := m.samples-held, m.samples-held
	if held == 0 {
		from = 0 // too few to hold any out: the error is that of the training samples
	}
	fit := &LayerFit{Node: in.Neurons.Name, Driver: in.Driver.Name, Samples: m.samples, HeldOut: held}
	weight := slices.Clone(m.weight)
	filter := kernel.NewFilter(m.shape, weight)
	look := func() float64 { return m.objective(filter, m.bias, from, m.samples) }
	fit.Before = look()
	best, kept, without := fit.Before, slices.Clone(weight), 0

	rng := random.New(o.Seed, "weight calibration", uint64(in.Layer))
	order := make([]int, training)
	for i := range order {
		order[i] = i
	}
	batch := min(o.Batch, training)
	optimiser, grad := newAdam(len(weight)), make([]float32, len(weight))
	var memory batchMemory
	began := time.Now()
	for i := range o.Iterations {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		m.gradient(filter, draw(rng, order, batch), &memory, grad)
		optimiser.step(weight, grad, o.LearningRate*(1+math.Cos(math.Pi*float64(i)/float64(o.Iterations)))/2)
		filter.Set(weight)
		t.done += float64(m.shape.MACs()) * float64(batch)
		fit.Iterations = i + 1
		if fit.Iterations%o.Every != 0 && fit.Iterations != o.Iterations {
			continue
		}
		if err := checkFinite(in.Driver.Name, weight); err != nil {
			return nil, nil, err
		}
		e := look()
		if e < best || o.HoldOut == 0 {
			best, without = e, 0
			copy(kept, weight)
			fit.Changed = true
		} else if without++; without == o.Patience {
			t.report(in, fit, best, began, batch)
			break
		}
		t.report(in, fit, best, began, batch)
	}
	fit.After = best
	t.macs[in.Layer] = 0
	return kept, fit, nil
}

// draw moves count random elements of order to its front and returns them.
func draw(rng *rand.Rand, order []int, count int) []int {
	for i := range count {
		j := i + rng.IntN(len(order)-i)
		order[i], order[j] = order[j], order[i]
	}
	return order[:count]
}

func (t *weightTrainer) report(in snn.MeanInput, fit *LayerFit, best float64, began time.Time, batch int) {
	if t.opt.Progress == nil {
		return
	}
	left := float64(t.macs[in.Layer]) * float64(t.opt.Iterations-fit.Iterations)
	for _, macs := range t.macs[in.Layer+1:] {
		left += float64(macs) * float64(t.opt.Iterations)
	}
	p := LayerProgress{Layer: in.Layer, Layers: t.layers, Node: fit.Node, Iteration: fit.Iterations, Iterations: t.opt.Iterations, Error: best}
	if s := time.Since(began).Seconds(); s > 0 {
		p.PerSecond = float64(fit.Iterations) / s
	}
	if t.done > 0 {
		p.Left = time.Duration(float64(time.Since(t.started)) * left * float64(batch) / t.done)
	}
	t.opt.Progress(p)
}

// layerWalk takes a network through a layer-wise stage: mean inputs from the
// spiking network, targets from the ANN, layer by layer.
type layerWalk struct {
	pool       *parallel.Pool
	original   *graph.Graph
	cfg        *snn.Config
	memory     int64
	current    bool // the target is the current before the activation, not the activation
	begin      func([]snn.Driven)
	fit        func(ctx context.Context, in snn.MeanInput, target *tensor.Tensor) (*FittedLayer, error)
	skip       func(snn.Driven) string // why a layer is passed by, "" if it is not; may be nil
	checkpoint func(*WeightState) error
	state      *WeightState
}

// fewestSamples is how many samples a layer is fitted to however little memory
// there is.
const fewestSamples = 128

func (w *layerWalk) run(ctx context.Context, g *graph.Graph, x *tensor.Tensor, resume *WeightState) (*graph.Graph, []LayerFit, error) {
	if err := checkSamples(x); err != nil {
		return nil, nil, err
	}
	g = g.CloneShared()
	w.state = &WeightState{}
	if resume != nil {
		w.state.Layers = slices.Clone(resume.Layers)
	}
	for _, l := range w.state.Layers {
		if err := apply(g, &l); err != nil {
			return nil, nil, err
		}
	}
	net, err := snn.New(g, w.cfg)
	if err != nil {
		return nil, nil, err
	}
	driven := net.Driven()
	if len(w.state.Layers) > len(driven) {
		return nil, nil, fmt.Errorf("the state to resume has %d layers, the network %d", len(w.state.Layers), len(driven))
	}
	for i, l := range w.state.Layers {
		if l.Fit.Node != driven[i].Neurons.Name {
			return nil, nil, fmt.Errorf("the state to resume has node %q as layer %d, the network %q", l.Fit.Node, i, driven[i].Neurons.Name)
		}
	}
	if w.begin != nil {
		w.begin(driven)
	}
	all := x.Shape[0]
	x = first(x, fitting(w.memory/2, net.SweepMemory(), all))
	targets, err := w.targets(driven, x)
	if err != nil {
		return nil, nil, err
	}
	next := g.CloneShared()
	done := func(l FittedLayer) error {
		w.state.Layers = append(w.state.Layers, l)
		if w.checkpoint == nil {
			return nil
		}
		return w.checkpoint(&WeightState{Layers: slices.Clone(w.state.Layers)})
	}
	// pass notes the layers before layer that nothing could be done about.
	pass := func(layer int) error {
		for i := len(w.state.Layers); i < layer; i++ {
			if err := done(FittedLayer{Fit: LayerFit{Node: driven[i].Neurons.Name, Note: w.why(driven[i])}}); err != nil {
				return err
			}
		}
		return nil
	}
	err = net.SweepInputs(ctx, w.pool, x, func(d snn.Driven) int {
		return targets.samples[d.Layer]
	}, func(in snn.MeanInput) (*snn.Weights, error) {
		if err := pass(in.Layer); err != nil {
			return nil, err
		}
		target, err := targets.get(ctx, in.Layer)
		if err != nil {
			return nil, err
		}
		l, err := w.fit(ctx, in, target)
		if err != nil {
			return nil, err
		}
		noteSamples(&l.Fit, all)
		if err := apply(next, l); err != nil {
			return nil, err
		}
		if err := done(*l); err != nil {
			return nil, err
		}
		out := &snn.Weights{}
		if l.Weight != nil {
			out.Weight = l.Weight.Data
		}
		if l.Bias != nil {
			out.Bias = l.Bias.Data
		}
		return out, nil
	})
	if err == nil {
		err = pass(len(driven))
	}
	if err != nil {
		return nil, nil, err
	}
	report := make([]LayerFit, len(driven))
	for i, l := range w.state.Layers {
		report[i] = l.Fit
	}
	return next, report, nil
}

// why says for what reason a layer is passed by, "" if it is not.
func (w *layerWalk) why(d snn.Driven) string {
	if d.Driver == nil {
		return "no layer drives these neurons alone"
	}
	if w.skip != nil {
		return w.skip(d)
	}
	return ""
}

// apply puts the parameters of a layer that is done into the graph.
func apply(g *graph.Graph, l *FittedLayer) error {
	if l.Weight == nil && l.Bias == nil {
		return nil
	}
	n := g.Node(l.Fit.Driver)
	if n == nil || n.Weight() == nil {
		return fmt.Errorf("node %q: fitted weights for a layer that is not there", l.Fit.Driver)
	}
	params := graph.Params{}
	for role, p := range n.Params {
		params[role] = p
	}
	if l.Weight != nil {
		if !slices.Equal(l.Weight.Shape, n.Weight().Shape) {
			return fmt.Errorf("node %q: fitted weights of shape %v, want %v", n.Name, l.Weight.Shape, n.Weight().Shape)
		}
		params["weight"] = l.Weight
	}
	if l.Bias != nil {
		params["bias"] = l.Bias
	}
	n.Params = params
	return nil
}

// noteSamples notes that memory was short.
func noteSamples(f *LayerFit, all int) {
	if f.Samples < all {
		f.Note = strings.TrimPrefix(fmt.Sprintf("%s; %d of %d samples fit into the memory", f.Note, f.Samples, all), "; ")
	}
}

// fitting returns how many of all samples of the given size fit into memory.
func fitting(memory, size int64, all int) int {
	return min(all, max(fewestSamples, int(min(memory/max(size, 1), int64(all)))))
}

// targetStream hands out what the original graph computes at one node per
// layer. One pass over the ANN serves as many layers as fit into memory.
type targetStream struct {
	exec    *ann.Executor
	x       *tensor.Tensor
	nodes   []*graph.Node
	samples []int // per layer; 0 for none
	memory  int64
	ready   map[int]*tensor.Tensor
}

func (w *layerWalk) targets(driven []snn.Driven, x *tensor.Tensor) (*targetStream, error) {
	exec, err := ann.New(w.original, w.pool)
	if err != nil {
		return nil, err
	}
	s := &targetStream{exec: exec, x: x, memory: w.memory / 4, samples: make([]int, len(driven)), ready: make(map[int]*tensor.Tensor)}
	for i, d := range driven {
		n := w.original.Node(d.Neurons.Name)
		if n == nil || !slices.Equal(n.Shape, d.Neurons.Shape) {
			return nil, fmt.Errorf("node %q: the original graph has no such activation", d.Neurons.Name)
		}
		if w.current {
			n = n.Inputs[0]
		}
		s.nodes = append(s.nodes, n)
		if i < len(w.state.Layers) || w.why(d) != "" {
			continue
		}
		in, out := 4*int64(d.Driver.Inputs[0].Shape.Numel()), 4*int64(n.Shape.Numel())
		if d.Addend != nil {
			in += out
		}
		if w.current {
			out *= 2 // repair keeps what it wants beside the target
		}
		s.samples[i] = min(fitting(s.memory, in, x.Shape[0]), fitting(s.memory, out, x.Shape[0]))
	}
	return s, nil
}

// get returns the values at the node of a layer, which are then forgotten.
// Layers must be asked for in ascending order.
func (s *targetStream) get(ctx context.Context, layer int) (*tensor.Tensor, error) {
	if t := s.ready[layer]; t != nil {
		delete(s.ready, layer)
		return t, nil
	}
	var total int64
	var names []string
	var layers []int
	most := 0
	for l := layer; l < len(s.nodes); l++ {
		k := s.samples[l]
		if k == 0 || slices.Contains(names, s.nodes[l].Name) {
			continue
		}
		total += 4 * int64(k) * int64(s.nodes[l].Shape.Numel())
		if total > s.memory && l > layer {
			break
		}
		names, layers, most = append(names, s.nodes[l].Name), append(layers, l), max(most, k)
		s.ready[l] = tensor.New(append([]int{k}, s.nodes[l].Shape...)...)
	}
	var failed error
	for lo := 0; lo < most; lo += batchSamples {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at := 0
		err := s.exec.Observe(s.x.Rows(lo, min(lo+batchSamples, most)), names, func(name string, y *tensor.Tensor) {
			out := s.ready[layers[at]]
			at++
			size := len(y.Data) / y.Shape[0]
			if i := y.FirstNonFinite(); i >= 0 && failed == nil {
				failed = fmt.Errorf("node %q: value of calibration sample %d is %g", name, lo+i/size, y.Data[i])
			}
			if lo < out.Shape[0] {
				copy(out.Data[lo*size:], y.Data)
			}
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return nil, err
		}
	}
	t := s.ready[layer]
	delete(s.ready, layer)
	return t, nil
}
