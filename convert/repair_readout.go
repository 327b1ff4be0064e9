package convert

import (
	"context"
	"fmt"
	"slices"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// RepairReadout is Repair for the network's last layer, which drives no
// neurons: its weights and bias become those for which the spiking network's
// mean outputs come closest to the original graph's, by ridge regression, lambda
// chosen by the held-out error. It belongs behind every other calibration, since
// it makes the best of what the last neurons deliver. A network whose output
// comes from no convolution or fully connected layer is left alone, with a note.
func RepairReadout(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, opt RepairOptions) (*graph.Graph, *LayerFit, error) {
	if err := opt.Validate(); err != nil {
		return nil, nil, err
	}
	if err := checkSamples(x); err != nil {
		return nil, nil, err
	}
	if len(g.Outputs) != 1 || len(original.Outputs) != 1 || !slices.Equal(g.Outputs[0].Shape, original.Outputs[0].Shape) {
		return nil, nil, fmt.Errorf("repair: the outputs of the graph and of the original one differ in shape or number")
	}
	last := g.Outputs[0]
	if last.Kind() != "linear" && last.Kind() != "conv2d" {
		return g, &LayerFit{Node: last.Name, Note: fmt.Sprintf("the output comes from a %s", last.Kind())}, nil
	}
	if why := opt.tooLarge(last); why != "" {
		return g, &LayerFit{Node: last.Name, Driver: last.Name, Note: why}, nil
	}
	all := x.Shape[0]
	x = first(x, fitting(opt.Memory/4, 4*int64(last.Inputs[0].Shape.Numel()+last.Shape.Numel()), all))
	exec, err := ann.New(original, pool)
	if err != nil {
		return nil, nil, err
	}
	target := make([]float32, 0, x.Shape[0]*last.Shape.Numel())
	for lo := 0; lo < x.Shape[0]; lo += batchSamples {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		y, err := exec.Forward(x.Rows(lo, min(lo+batchSamples, x.Shape[0])))
		if err != nil {
			return nil, nil, err
		}
		target = append(target, y.Data...)
	}
	// The network that ends before the last layer: its output is the mean input.
	cut := g.CloneShared()
	cut.Outputs = []*graph.Node{cut.Node(last.Inputs[0].Name)}
	graph.RemoveDead(cut)
	net, err := snn.New(cut, cfg)
	if err != nil {
		return nil, nil, err
	}
	res, err := net.Run(ctx, pool, x, snn.Options{})
	if err != nil {
		return nil, nil, err
	}
	m := &layerModel{pool: pool, in: last.Inputs[0].Shape.Numel(), out: last.Shape.Numel(), weight: last.Weight().Data, bias: last.Bias(),
		samples: x.Shape[0], input: res.Logits.Data, target: target}
	m.shape, m.rows = convShape(last)
	l, err := repairLayer(ctx, snn.MeanInput{Driven: snn.Driven{Layer: len(cfg.Layers), Neurons: last, Driver: last}, Input: res.Logits}, m, &opt, len(cfg.Layers)+1)
	if err != nil {
		return nil, nil, err
	}
	noteSamples(&l.Fit, all)
	out := g.CloneShared()
	return out, &l.Fit, apply(out, l)
}
