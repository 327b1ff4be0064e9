package bench

import (
	"context"
	"fmt"

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
}

// Options say what is measured.
type Options struct {
	Runs        int    // timed calls of each kind
	Timesteps   int    // of the spiking network; 0 for the ANN alone
	MaxSpike    int    // burst limit
	Calibration string // of the conversion, see convert.Config
	Train       bool   // also a training step
	Layers      bool   // also layer by layer
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
}

// Train is the speed of a training step: forward pass with batch statistics,
// cross-entropy, backward pass, SGD with momentum. It counts three times the
// operations of inference.
type Train ANN

// SNN is the speed of a spiking network.
type SNN struct {
	Timesteps int `json:"T"`
	MaxSpike  int `json:"maxspike"` // the largest of the layers'
	Times
	SamplesPerS float64 `json:"samples_per_s"`
	GOPS        float64 `json:"gops"` // dense-equivalent: 2 * MACs * T / time of the median call
	Peak        float64 `json:"peak"` // GOPS as a share of the machine's peak
	SOPs        float64 `json:"sops_per_sample"`
	GSOPS       float64 `json:"gsops"`       // synaptic operations per second, 10^9
	Spikes      float64 `json:"mean_spikes"` // per neuron and timestep, bursts with multiplicity
	Density     float64 `json:"density"`     // share of neurons that fire in a timestep
	Kernel      string  `json:"kernel"`      // events, dense or mixed, see snn.Network.Kernel
	OverANN     float64 `json:"time_over_ann,omitempty"`
}

// Network is what Measure finds.
type Network struct {
	Name        string  `json:"name"`
	Input       []int   `json:"input"` // one sample, [H, W, C]
	Batch       int     `json:"batch"`
	Parameters  int64   `json:"parameters"`
	MACs        int64   `json:"macs"`
	Calibration string  `json:"calibration,omitempty"`
	ANN         *ANN    `json:"ann,omitempty"`
	Winograd    *ANN    `json:"ann_winograd,omitempty"` // by Winograd's algorithm, see ann.Winograd
	SNN         *SNN    `json:"snn,omitempty"`
	Train       *Train  `json:"train,omitempty"`
	Layers      []Layer `json:"layers,omitempty"`

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
	var net *snn.Network
	if o.Timesteps > 0 || s.SNN != nil {
		if net = s.SNN; net == nil {
			note("converting for T=%d, maxspike %d", o.Timesteps, o.MaxSpike)
			if net, err = b.convert(ctx); err != nil {
				return nil, err
			}
		}
		note("spiking network")
		if err := b.snn(ctx, net); err != nil {
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
	r := &ANN{Times: t, SamplesPerS: b.perSecond(t), GFLOPS: rate(b.operations(), t.Median)}
	r.Peak = r.GFLOPS / b.machine.PeakGFLOPS
	return r, logits, nil
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

func (b *measurement) convert(ctx context.Context) (*snn.Network, error) {
	cfg := convert.Default()
	cfg.Timesteps, cfg.MaxSpike = b.options.Timesteps, b.options.MaxSpike
	if b.options.Calibration != "" {
		cfg.Calibration = b.options.Calibration
	}
	calib := b.subject.Calib
	if calib == nil {
		calib = b.subject.Input
	}
	res, err := convert.Convert(ctx, b.pool, b.subject.Graph, calib, cfg)
	if err != nil {
		return nil, err
	}
	b.result.Calibration = cfg.Calibration
	return res.Network()
}

func (b *measurement) snn(ctx context.Context, net *snn.Network) error {
	cfg := net.Config()
	var res *snn.Result
	t, err := Time(ctx, b.options.Runs, func() (err error) {
		res, err = net.Run(ctx, b.pool, b.subject.Input, snn.Options{})
		return err
	})
	if err != nil {
		return err
	}
	b.result.SNNLogits = res.Logits
	r := &SNN{Timesteps: cfg.Timesteps, Times: t, SamplesPerS: b.perSecond(t),
		GOPS: rate(b.operations()*float64(cfg.Timesteps), t.Median)}
	r.Peak = r.GOPS / b.machine.PeakGFLOPS
	var updates, events, spikes, sops float64
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
	}
	r.Density, r.Spikes = events/updates, spikes/updates
	r.SOPs = sops / float64(b.result.Batch)
	r.GSOPS = rate(sops, t.Median)
	if b.result.ANN != nil && b.result.ANN.Median > 0 {
		r.OverANN = t.Median / b.result.ANN.Median
	}
	b.result.SNN = r
	return nil
}

func sum(v []int64) int64 {
	var s int64
	for _, x := range v {
		s += x
	}
	return s
}
