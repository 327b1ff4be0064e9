package bench

import (
	"context"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A Conversion is the time that the stages of a conversion take.
type Conversion struct {
	Samples int `json:"samples"` // calibration samples
	// Search finds all thresholds from activations that are there, Thresholds
	// runs the ANN for them too.
	Search     Times `json:"search"`
	Thresholds Times `json:"thresholds"`
	// Light corrects the biases of all layers once, in a spiking network of the
	// options' weights.
	Light Times `json:"light"`
}

func (b *measurement) conversion(ctx context.Context) error {
	cfg := b.config()
	x := b.calibration()
	x = x.Rows(0, min(cfg.Samples, x.Shape[0]))
	g, err := convert.Prepare(b.subject.Graph)
	if err != nil {
		return err
	}
	ex, err := ann.New(g, b.pool)
	if err != nil {
		return err
	}
	var names []string
	for _, n := range snn.Activations(g) {
		names = append(names, n.Name)
	}
	var activations []*tensor.Tensor
	if err := ex.Observe(x, names, func(_ string, y *tensor.Tensor) { activations = append(activations, y.Clone()) }); err != nil {
		return err
	}
	var theta *convert.Neurons
	times, err := TimeInTurn(ctx, b.options.Runs, []func() error{
		func() error {
			for l, y := range activations {
				if _, err := convert.LayerThresholds(b.pool, y, cfg, l); err != nil {
					return err
				}
			}
			return nil
		},
		func() (err error) {
			theta, err = convert.Thresholds(ctx, b.pool, g, x, cfg)
			return err
		},
		func() error {
			_, _, err := convert.LightCalibration(ctx, b.pool, g, g, theta.Config, x, 1)
			return err
		},
	})
	if err != nil {
		return err
	}
	b.result.Conversion = &Conversion{Samples: x.Shape[0], Search: times[0], Thresholds: times[1], Light: times[2]}
	return nil
}
