package convert

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// LayerError is what the last pass of light calibration saw at one layer, with
// all earlier layers corrected and before it corrected this one: the mean over
// channels of |mean SNN output - mean ANN activation|.
type LayerError struct {
	Node   string  `json:"node"`
	Before float64 `json:"before"`
}

// LightCalibration corrects the bias of every layer that drives neurons, in
// topological order, each with all earlier layers corrected already:
//
//	b[c] <- b[c] - (mean SNN output[c] - mean ANN activation[c])
//
// with means over samples and positions of x (algorithms.md 4.1). It takes one
// pass over the ANN and one over the SNN for each iteration. g is a prepared
// graph; the corrected graph is returned and shares all other parameters.
// Neurons whose current is no layer's alone (in a pre-activation network the
// sum before them also goes on as the shortcut) get an affine node of their own
// for the correction, named after them with the ending "_correction".
// original is the graph whose activations are the target: the one before any
// correction.
func LightCalibration(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, iterations int) (*graph.Graph, []LayerError, error) {
	o, err := newObserver(original, pool, x)
	if err != nil {
		return nil, nil, err
	}
	target, _, err := o.means(ctx, pool, false)
	if err != nil {
		return nil, nil, err
	}
	var report []LayerError
	for range iterations {
		net, err := snn.New(g, cfg)
		if err != nil {
			return nil, nil, err
		}
		next := g.CloneShared()
		report = report[:0]
		err = net.Sweep(ctx, pool, x, func(m snn.Measured) (*snn.Correction, error) {
			delta := make([]float32, len(m.Channel))
			e := LayerError{Node: m.Node}
			for ch, s := range m.Channel {
				d := target[m.Layer][ch] - s
				delta[ch] = float32(d)
				e.Before += max(d, -d) / float64(len(delta))
			}
			report = append(report, e)
			return &snn.Correction{Bias: delta}, addBias(next, m.Node, delta)
		})
		if err != nil {
			return nil, nil, err
		}
		g = next
	}
	return g, report, nil
}

// addBias adds delta to the current of the activation named act: to the bias of
// the layer that drives it, if that shifts this current and nothing else.
func addBias(g *graph.Graph, act string, delta []float32) error {
	n := biasNode(g, g.Node(act))
	if n == nil {
		var err error
		if n, err = insertAffine(g, g.Node(act)); err != nil {
			return err
		}
	}
	bias := make([]float32, len(delta))
	copy(bias, n.Bias())
	for ch, d := range delta {
		bias[ch] += d
	}
	params := maps.Clone(n.Params)
	params["bias"] = &tensor.Tensor{Shape: []int{len(bias)}, Data: bias}
	n.Params = params
	return nil
}

// biasNode returns the layer whose bias reaches the activation act unchanged at
// every position, and nothing else; nil if there is none. In a residual block
// it is the first of the layers that are added.
func biasNode(g *graph.Graph, act *graph.Node) *graph.Node {
	uses := g.Consumers()
	var find func(n *graph.Node) *graph.Node
	find = func(n *graph.Node) *graph.Node {
		if len(uses[n]) != 1 || g.IsOutput(n) {
			return nil
		}
		switch op := n.Op.(type) {
		case *graph.Conv2D, *graph.Linear, *graph.ConvTranspose2D, *graph.BatchNorm:
			return n
		case *graph.Add:
			for _, weighted := range []bool{true, false} {
				for _, in := range n.Inputs {
					if (in.Weight() != nil || in.Kind() == "batchnorm") == weighted {
						if source := find(in); source != nil {
							return source
						}
					}
				}
			}
		case *graph.AvgPool2D:
			if !op.CountIncludePad || op.Pad == (graph.Pad{}) { // else less of it arrives at the border
				return find(n.Inputs[0])
			}
		case *graph.Flatten:
			if n.Inputs[0].Shape.Positions() == 1 {
				return find(n.Inputs[0])
			}
		case *graph.Affine:
			if b := n.Params["bias"]; b == nil || (len(b.Shape) == 1 && b.Len() == n.Shape.Channels()) {
				return n
			}
		case *graph.GlobalAvgPool, *graph.Upsample, *graph.MaxPool2D, *graph.GlobalMaxPool:
			return find(n.Inputs[0])
		}
		return nil
	}
	return find(act.Inputs[0])
}

// insertAffine puts a batch norm that changes nothing before the activation
// act, to take corrections.
func insertAffine(g *graph.Graph, act *graph.Node) (*graph.Node, error) {
	name := act.Name + "_correction"
	if g.Node(name) != nil {
		return nil, fmt.Errorf("node %q: no layer takes its correction, and the name %q for one is taken", act.Name, name)
	}
	c := act.Shape.Channels()
	mean, variance := tensor.New(c), tensor.New(c)
	for ch := range variance.Data {
		variance.Data[ch] = 0.75
	}
	n := &graph.Node{Name: name, Op: &graph.BatchNorm{Eps: 0.25}, Params: graph.Params{"mean": mean, "var": variance},
		Inputs: []*graph.Node{act.Inputs[0]}, Shape: slices.Clone(act.Shape)}
	act.Inputs = []*graph.Node{n}
	g.Nodes = slices.Insert(g.Nodes, slices.Index(g.Nodes, act), n)
	return n, nil
}

// PotentialCalibration sets the initial potential of every neuron, layer by
// layer, each with all earlier layers set already:
//
//	v_init = T * (mean ANN activation - mean SNN output)
//
// with means over the samples of x (algorithms.md 4.2). With clamp it is limited
// to +-maxspike*threshold. It returns a copy of cfg.
func PotentialCalibration(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, clamp bool) (*snn.Config, error) {
	o, err := newObserver(original, pool, x)
	if err != nil {
		return nil, err
	}
	_, target, err := o.means(ctx, pool, true)
	if err != nil {
		return nil, err
	}
	out := cfg.Clone()
	for i := range out.Layers {
		out.Layers[i].Initial = nil // overwritten, not added to
	}
	net, err := snn.New(g, out)
	if err != nil {
		return nil, err
	}
	err = net.Sweep(ctx, pool, x, func(m snn.Measured) (*snn.Correction, error) {
		l := &out.Layers[m.Layer]
		l.Initial = make([]float32, len(m.Neuron))
		for i, s := range m.Neuron {
			v := float32(float64(cfg.Timesteps) * (target[m.Layer][i] - s))
			if clamp {
				limit := float32(l.MaxSpike) * l.Threshold[i%len(l.Threshold)]
				v = min(max(v, -limit), limit)
			}
			l.Initial[i] = v
		}
		return &snn.Correction{Initial: l.Initial}, nil
	})
	return out, err
}

// correctReadout moves the bias of the network's last layer by the mean
// difference of the outputs on x. A network whose output comes from no layer
// with a bias is left alone.
func correctReadout(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor) (*graph.Graph, error) {
	last := g.Outputs[0]
	if last.Kind() != "linear" && last.Kind() != "conv2d" {
		return g, nil
	}
	exec, err := ann.New(original, pool)
	if err != nil {
		return nil, err
	}
	want, err := exec.Forward(x)
	if err != nil {
		return nil, err
	}
	net, err := snn.New(g, cfg)
	if err != nil {
		return nil, err
	}
	got, err := net.Run(ctx, pool, x, snn.Options{})
	if err != nil {
		return nil, err
	}
	c := last.Shape.Channels()
	sum := make([]float64, c)
	for i, v := range want.Data {
		sum[i%c] += float64(v) - float64(got.Logits.Data[i])
	}
	out := g.CloneShared()
	n := out.Outputs[0]
	bias := make([]float32, c)
	copy(bias, n.Bias())
	for ch := range bias {
		bias[ch] += float32(sum[ch] / float64(len(want.Data)/c))
	}
	n.Params = graph.Params{"weight": n.Weight(), "bias": &tensor.Tensor{Shape: []int{c}, Data: bias}}
	return out, nil
}
