package bench

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A Subject is the network to be measured and what it is measured on.
type Subject struct {
	Name  string
	Graph *graph.Graph   // the ANN, parameters included; it is not changed
	Input *tensor.Tensor // one batch [N, input shape]
	Calib *tensor.Tensor // calibration samples for the conversion; nil for Input
	SNN   *snn.Network   // converted already; nil to convert Graph
	// Others are further spiking networks of the same input, measured in turn
	// with the first one.
	Others []Converted
}

// A Converted network has a name to tell it by.
type Converted struct {
	Name string
	Net  *snn.Network
}

// Options say what is measured.
type Options struct {
	Runs        int    // timed calls of each kind
	Timesteps   int    // of the spiking network; 0 for the ANN alone
	MaxSpike    int    // burst limit
	Calibration string // of the conversion, see convert.Config
	Weights     snn.Precision
	Schedule    snn.Schedule
	Train       bool // also a training step
	Layers      bool // also layer by layer
	Conversion  bool // also the stages of the conversion
	Note        func(text string)
}

// ANN is the speed of a network's inference: forward pass, batch norms folded.
type ANN struct {
	Times
	SamplesPerS float64 `json:"samples_per_s"`
	// GFLOPS is the rate of the median call, 2 operations per multiply-add of
	// convolutions and fully connected layers; Peak its share of the machine's.
	GFLOPS float64 `json:"gflops"`
	Peak   float64 `json:"peak"`
	Traffic
	// Memory is what packed weights and buffers hold after a run, in bytes.
	Memory int64 `json:"memory_bytes"`
}

// Traffic compares a time with that of moving data: as if every layer with
// weights read its inputs and wrote its outputs in memory once per pass (counts
// of spikes: per timestep) and read its weights once. Above the triad's rate the
// caches keep them.
type Traffic struct {
	GBps  float64 `json:"gbps"`       // 10^9 bytes per second of the median call
	Triad float64 `json:"peak_triad"` // GBps as a share of the machine's
}

// Train is the speed of a training step: forward pass with batch statistics,
// cross-entropy, backward pass, SGD with momentum. It counts three times the
// operations of inference.
type Train ANN

// SNN is the speed of a spiking network.
type SNN struct {
	Name      string        `json:"name,omitempty"` // of a file
	Timesteps int           `json:"T"`
	MaxSpike  int           `json:"maxspike"` // the largest of the layers'
	Weights   snn.Precision `json:"weights"`
	Schedule  snn.Schedule  `json:"schedule"`
	Times
	SamplesPerS float64 `json:"samples_per_s"`
	GOPS        float64 `json:"gops"` // dense-equivalent: 2 * MACs * T / time of the median call
	Peak        float64 `json:"peak"` // GOPS as a share of the machine's peak
	SOPs        float64 `json:"sops_per_sample"`
	GSOPS       float64 `json:"gsops"`       // synaptic operations per second, 10^9
	Spikes      float64 `json:"mean_spikes"` // per neuron and timestep, bursts with multiplicity
	Density     float64 `json:"density"`     // share of neurons that fire in a timestep (accumulate: at all)
	Kernel      string  `json:"kernel"`      // events, dense or mixed, see snn.Network.Kernel
	Events      float64 `json:"by_events"`   // share of samples, timesteps and layers computed by events
	OverANN     float64 `json:"time_over_ann,omitempty"`
	Traffic
	// Memory is as the ANN's, Working the part of it that is not weights.
	Memory  int64 `json:"memory_bytes"`
	Working int64 `json:"working_bytes"`
}

// Network is what Measure finds.
type Network struct {
	Name        string      `json:"name"`
	Input       []int       `json:"input"` // one sample, [H, W, C]
	Batch       int         `json:"batch"`
	Parameters  int64       `json:"parameters"`
	MACs        int64       `json:"macs"`
	Calibration string      `json:"calibration,omitempty"`
	ANN         *ANN        `json:"ann,omitempty"`
	Winograd    *ANN        `json:"ann_winograd,omitempty"` // by Winograd's algorithm, see ann.Winograd
	SNN         *SNN        `json:"snn,omitempty"`
	Others      []*SNN      `json:"snns,omitempty"` // Subject.Others, in order
	Train       *Train      `json:"train,omitempty"`
	Conversion  *Conversion `json:"conversion,omitempty"`
	Layers      []Layer     `json:"layers,omitempty"`

	// Outputs of the last runs, [N, ...].
	ANNLogits *tensor.Tensor `json:"-"`
	SNNLogits *tensor.Tensor `json:"-"`
}

// Measure measures a network.
func Measure(ctx context.Context, pool *parallel.Pool, m Machine, s Subject, o Options) (*Network, error) {
	note := func(format string, args ...any) {
		if o.Note != nil {
			o.Note(s.Name + ": " + fmt.Sprintf(format, args...))
		}
	}
	b := &measurement{pool: pool, machine: m, subject: s, options: o,
		result: &Network{Name: s.Name, Input: s.Graph.InputNodes()[0].Shape, Batch: s.Input.Shape[0],
			Parameters: s.Graph.Parameters(), MACs: s.Graph.MACs()}}
	note("inference")
	var err error
	if b.result.ANN, b.result.ANNLogits, err = b.ann(ctx); err != nil {
		return nil, err
	}
	if b.result.Winograd, _, err = b.ann(ctx, ann.Winograd()); err != nil {
		return nil, err
	}
	if o.Train {
		note("training step")
		if err := b.train(ctx); err != nil {
			return nil, err
		}
	}
	if o.Conversion && o.Timesteps > 0 {
		note("conversion")
		if err := b.conversion(ctx); err != nil {
			return nil, err
		}
	}
	var net *snn.Network
	if o.Timesteps > 0 || s.SNN != nil {
		if net = s.SNN; net == nil {
			note("converting for T=%d, maxspike %d", o.Timesteps, o.MaxSpike)
			if net, err = b.convert(ctx); err != nil {
				return nil, err
			}
		}
	}
	if net != nil || len(s.Others) > 0 {
		note("spiking networks")
		if err := b.spiking(ctx, net); err != nil {
			return nil, err
		}
	}
	if o.Layers {
		note("layers")
		if err := b.layers(ctx, net); err != nil {
			return nil, err
		}
	}
	return b.result, nil
}

// A measurement is one call of Measure.
type measurement struct {
	pool    *parallel.Pool
	machine Machine
	subject Subject
	options Options
	result  *Network
}

// operations is what one pass over the batch takes.
func (b *measurement) operations() float64 {
	return 2 * float64(b.result.MACs) * float64(b.result.Batch)
}

func (b *measurement) perSecond(t Times) float64 {
	return float64(b.result.Batch) / max(t.Median, 1e-9) * 1e3
}

func (b *measurement) ann(ctx context.Context, options ...ann.Option) (*ANN, *tensor.Tensor, error) {
	before := live()
	ex, err := ann.New(b.subject.Graph, b.pool, options...)
	if err != nil {
		return nil, nil, err
	}
	var logits *tensor.Tensor
	t, err := Time(ctx, b.options.Runs, func() (err error) {
		logits, err = ex.Forward(b.subject.Input)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	r := &ANN{Times: t, SamplesPerS: b.perSecond(t), GFLOPS: rate(b.operations(), t.Median), Memory: max(0, live()-before)}
	r.Peak = r.GFLOPS / b.machine.PeakGFLOPS
	r.Traffic = b.traffic(4, 4, 1, t)
	runtime.KeepAlive(ex)
	return r, logits, nil
}

// live is the size of all that is in use on the heap.
func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// traffic is that of a pass with activations and weights of so many bytes,
// activations of so many timesteps.
func (b *measurement) traffic(value, weight, steps float64, t Times) Traffic {
	var values float64
	for _, n := range b.subject.Graph.Nodes {
		if n.MACs() > 0 {
			values += float64(n.Shape.Numel())
			for _, in := range n.Inputs {
				values += float64(in.Shape.Numel())
			}
		}
	}
	bytes := value*values*steps*float64(b.result.Batch) + weight*float64(b.result.Parameters)
	r := Traffic{GBps: rate(bytes, t.Median)}
	r.Triad = r.GBps / b.machine.PeakGBps
	return r
}

func (b *measurement) train(ctx context.Context) error {
	net, err := ann.NewNetwork(b.subject.Graph.Clone(), b.pool, ann.NetworkOptions{Seed: 1})
	if err != nil {
		return err
	}
	opt := ann.NewSGD(b.pool, net.Params(), ann.SGDOptions{Momentum: 0.9, WeightDecay: 5e-4})
	out := b.subject.Graph.Outputs[0].Shape
	labels := make([]int, b.result.Batch*out.Positions())
	for i := range labels {
		labels[i] = i % out.Channels()
	}
	var grad *tensor.Tensor
	t, err := Time(ctx, b.options.Runs, func() error {
		ys, err := net.Forward(ann.Training, 0, b.subject.Input)
		if err != nil {
			return err
		}
		if grad == nil {
			grad = tensor.New(ys[0].Shape...)
		}
		if _, err := (ann.CrossEntropy{Ignore: ann.NoIgnore}).Labels(b.pool, ys[0], labels, grad.Data); err != nil {
			return err
		}
		if err := net.Backward(grad); err != nil {
			return err
		}
		// A rate at which untrained weights stay finite: the time is the same.
		opt.Step(1e-4)
		net.Refresh()
		return nil
	})
	if err != nil {
		return err
	}
	r := &Train{Times: t, SamplesPerS: b.perSecond(t), GFLOPS: rate(3*b.operations(), t.Median)}
	r.Peak = r.GFLOPS / b.machine.PeakGFLOPS
	b.result.Train = r
	return nil
}

// config is how the options convert.
func (b *measurement) config() convert.Config {
	cfg := convert.Default()
	cfg.Timesteps, cfg.MaxSpike = b.options.Timesteps, b.options.MaxSpike
	cfg.Calibration = cmp.Or(b.options.Calibration, cfg.Calibration)
	cfg.Weights = cmp.Or(b.options.Weights, cfg.Weights)
	cfg.Schedule = cmp.Or(b.options.Schedule, cfg.Schedule)
	return cfg
}

func (b *measurement) calibration() *tensor.Tensor {
	if b.subject.Calib != nil {
		return b.subject.Calib
	}
	return b.subject.Input
}

func (b *measurement) convert(ctx context.Context) (*snn.Network, error) {
	cfg := b.config()
	res, err := convert.Convert(ctx, b.pool, b.subject.Graph, b.calibration(), cfg)
	if err != nil {
		return nil, err
	}
	b.result.Calibration = cfg.Calibration
	return res.Network()
}

// spiking measures the networks in turn; net, if not nil, is the first.
func (b *measurement) spiking(ctx context.Context, net *snn.Network) error {
	list := slices.Clone(b.subject.Others)
	if net != nil {
		list = slices.Insert(list, 0, Converted{Net: net})
	}
	results := make([]*snn.Result, len(list))
	memory := make([]int64, len(list))
	fns := make([]func() error, len(list))
	for i := range list {
		// Compiled again, so that all its memory is this measurement's.
		before := live()
		n, err := snn.New(list[i].Net.Graph(), list[i].Net.Config())
		if err != nil {
			return err
		}
		list[i].Net = n
		fns[i] = func() (err error) {
			results[i], err = n.Run(ctx, b.pool, b.subject.Input, snn.Options{Reuse: results[i]})
			return err
		}
		if err := fns[i](); err != nil {
			return err
		}
		memory[i] = max(0, live()-before)
	}
	times, err := TimeInTurn(ctx, b.options.Runs, fns)
	if err != nil {
		return err
	}
	for i, c := range list {
		r := b.spikingResult(c, results[i], times[i])
		r.Memory = memory[i]
		if net != nil && i == 0 {
			b.result.SNN, b.result.SNNLogits = r, results[i].Logits
		} else {
			b.result.Others = append(b.result.Others, r)
		}
	}
	return nil
}

// passesOf is how often neurons fire: in every timestep, or once.
func passesOf(cfg *snn.Config) int {
	if cfg.Schedule == snn.ScheduleAccumulate {
		return 1
	}
	return cfg.Timesteps
}

func (b *measurement) spikingResult(c Converted, res *snn.Result, t Times) *SNN {
	net, cfg := c.Net, c.Net.Config()
	r := &SNN{Name: c.Name, Timesteps: cfg.Timesteps, Weights: cmp.Or(cfg.Weights, snn.F32), Schedule: cmp.Or(cfg.Schedule, snn.ScheduleSync),
		Times: t, SamplesPerS: b.perSecond(t), GOPS: rate(b.operations()*float64(cfg.Timesteps), t.Median), Working: res.Memory}
	r.Peak = r.GOPS / b.machine.PeakGFLOPS
	var updates, events, spikes, sops, frames, byEvents float64
	for i, l := range net.Layers() {
		r.MaxSpike = max(r.MaxSpike, l.MaxSpike)
		switch k := net.Kernel(i); {
		case k == "none" || k == r.Kernel:
		case r.Kernel == "":
			r.Kernel = k
		default:
			r.Kernel = "mixed"
		}
		updates += float64(l.Neurons) * float64(cfg.Timesteps) * float64(b.result.Batch)
		events += float64(sum(res.Layers[i].Events))
		spikes += float64(sum(res.Layers[i].Spikes))
		sops += float64(sum(res.Layers[i].SOPs))
		frames += float64(res.Kernels[i].Frames)
		byEvents += float64(res.Kernels[i].EventFrames + res.Kernels[i].BaseFrames)
	}
	r.Density = events / updates * float64(cfg.Timesteps) / float64(passesOf(cfg))
	r.Spikes = spikes / updates
	if frames > 0 {
		r.Events = byEvents / frames
	}
	r.SOPs = sops / float64(b.result.Batch)
	r.GSOPS = rate(sops, t.Median)
	if b.result.ANN != nil && b.result.ANN.Median > 0 {
		r.OverANN = t.Median / b.result.ANN.Median
	}
	passes, value := float64(passesOf(cfg)), 1.0
	if r.Schedule == snn.ScheduleAccumulate {
		if r.MaxSpike*cfg.Timesteps > snn.MaxBurst {
			value = 4
		}
	}
	r.Traffic = b.traffic(value, map[snn.Precision]float64{snn.F32: 4, snn.I16: 2, snn.I8: 1}[r.Weights], passes, t)
	return r
}

func sum(v []int64) int64 {
	var s int64
	for _, x := range v {
		s += x
	}
	return s
}
