package bench

import (
	"context"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
)

// A Layer is one node of the network that takes time.
type Layer struct {
	Name  string `json:"name"`
	Op    string `json:"op"`
	Shape []int  `json:"shape"` // of the output, per sample
	MACs  int64  `json:"macs"`
	// The ANN's layer alone, with a rectifier behind it: milliseconds for the
	// batch, the fastest call.
	ANNMS     float64 `json:"ann_ms,omitempty"`
	ANNGFLOPS float64 `json:"ann_gflops,omitempty"`
	ANNPeak   float64 `json:"ann_peak,omitempty"`
	// The layer inside the running spiking network, its neurons included:
	// milliseconds for the batch and all timesteps, added up over the workers,
	// the fastest run. GOPS are dense-equivalent and per worker.
	SNNMS   float64 `json:"snn_ms,omitempty"`
	GOPS    float64 `json:"snn_gops,omitempty"`
	Peak    float64 `json:"snn_peak,omitempty"` // of one core's
	Density float64 `json:"density,omitempty"`  // of the layer's own neurons
	SOPs    float64 `json:"sops_per_sample,omitempty"`
	Kernel  string  `json:"kernel,omitempty"`    // see snn.Network.Kernel
	Events  float64 `json:"by_events,omitempty"` // share of samples and timesteps computed by events
	Base    float64 `json:"by_base,omitempty"`   // part of Events: by differences from the rounded mean over time
}

// layers measures layer by layer; net may be nil.
func (b *measurement) layers(ctx context.Context, net *snn.Network) error {
	g := b.subject.Graph
	if net != nil {
		g = net.Graph()
	}
	for _, n := range g.Nodes {
		if len(n.Inputs) == 0 {
			continue
		}
		l := Layer{Name: n.Name, Op: n.Kind(), Shape: n.Shape, MACs: n.MACs()}
		if l.MACs > 0 {
			if err := b.alone(ctx, n, &l); err != nil {
				return err
			}
		}
		b.result.Layers = append(b.result.Layers, l)
	}
	if net != nil {
		if err := b.spikingLayers(ctx, net); err != nil {
			return err
		}
	}
	var kept []Layer
	for _, l := range b.result.Layers {
		if l.ANNMS > 0 || l.SNNMS > 0 {
			kept = append(kept, l)
		}
	}
	b.result.Layers = kept
	return nil
}

// alone times a node with weights as a network of its own.
func (b *measurement) alone(ctx context.Context, n *graph.Node, l *Layer) error {
	g := graph.New()
	in := g.Input("input", n.Inputs[0].Shape)
	g.Outputs = []*graph.Node{g.Add("relu", &graph.ReLU{}, nil, g.Add("layer", n.Op, n.Params, in))}
	if err := g.Infer(); err != nil {
		return err
	}
	ex, err := ann.New(g, b.pool)
	if err != nil {
		return err
	}
	x := batchOf(in.Shape, b.result.Batch)
	t, err := Time(ctx, b.options.Runs, func() error {
		_, err := ex.Forward(x)
		return err
	})
	if err != nil {
		return err
	}
	l.ANNMS = t.Min
	l.ANNGFLOPS = rate(2*float64(n.MACs())*float64(b.result.Batch), t.Min)
	l.ANNPeak = l.ANNGFLOPS / b.machine.PeakGFLOPS
	return nil
}

// spikingLayers takes the times from runs of the whole network, since a layer's
// speed depends on what its neighbours leave in the cache.
func (b *measurement) spikingLayers(ctx context.Context, net *snn.Network) error {
	row := make(map[string]*Layer)
	for i := range b.result.Layers {
		row[b.result.Layers[i].Name] = &b.result.Layers[i]
	}
	steps := make(map[string]bool)
	var res *snn.Result
	_, err := Time(ctx, b.options.Runs, func() (err error) {
		if res, err = net.Run(ctx, b.pool, b.subject.Input, snn.Options{}); err != nil {
			return err
		}
		for _, t := range res.Times {
			ms := milliseconds(t.Elapsed)
			if l := row[t.Node.Name]; l.SNNMS == 0 || ms < l.SNNMS {
				l.SNNMS = ms
			}
			steps[t.Node.Name] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	timesteps := net.Config().Timesteps
	batch := float64(b.result.Batch)
	for i, info := range net.Layers() {
		l := row[info.Node]
		density := float64(sum(res.Layers[i].Events)) / (float64(info.Neurons) * float64(passesOf(net.Config())) * batch)
		sops := float64(sum(res.Layers[i].SOPs)) / batch
		// Neurons run with the layer that drives them: one row for both.
		if src := info.Source; src != nil && !steps[src.Name] {
			row[src.Name].SNNMS, l.SNNMS = l.SNNMS, 0
			l = row[src.Name]
			l.Kernel = net.Kernel(i)
			if u := res.Kernels[i]; u.Frames > 0 {
				l.Events, l.Base = u.Events(), float64(u.BaseFrames)/float64(u.Frames)
			}
		}
		l.Density, l.SOPs = density, sops
	}
	for i := range b.result.Layers {
		l := &b.result.Layers[i]
		l.GOPS = rate(2*float64(l.MACs)*batch*float64(timesteps), l.SNNMS)
		l.Peak = l.GOPS / b.machine.PeakGFLOPSCore
	}
	return nil
}
