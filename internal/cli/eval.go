package cli

import (
	"fmt"
	"path/filepath"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/report"
	"github.com/adafire/adafire/snn"
	"github.com/spf13/cobra"
)

func evalCommand(a *app) *cobra.Command {
	var data sampleFlags
	var timesteps, limits []int
	var net networkFlags
	var energyName, weights string
	cmd := &cobra.Command{
		Use:   "eval --model FILE --dataset NAME",
		Short: "measure an ANN or a spiking network on a data set",
		Long: `Measures accuracy on the test samples and, for a spiking network, spikes,
synaptic operations and energy, layer by layer.

With --T and --maxspike a spiking network runs for other numbers of timesteps
or with other burst limits than it was calibrated for. Its thresholds stay as
they are, so that a network converted for T=8 and run for 2 does worse than one
converted for 2: use run to compare conversions.`,
		Example: `  adafire eval --model snn.safetensors --dataset digits
  adafire eval --model snn.safetensors --dataset digits --T 1,2,4,8 --json -`,
		Args: positional(0, 0, ""),
	}
	f := cmd.Flags()
	data.register(f)
	net.registerModel(f, "the network, a `FILE` of AdaFire, ONNX or PyTorch")
	intListVar(f, &timesteps, "timesteps", nil, 1, snn.MaxTimesteps, "timesteps T, one or a list (default: the network's own)")
	intListVar(f, &limits, "maxspike", nil, 1, snn.MaxBurst, "burst limits for all layers, one or a list (default: the network's own)")
	weightsVar(f, &weights, "")
	energyVar(f, &energyName)
	cmd.RunE = a.run(func(s *session, _ []string) error {
		if err := s.Require("model"); err != nil {
			return err
		}
		energy, err := snn.FindEnergyProfile(energyName)
		if err != nil {
			return err
		}
		d, err := data.open(s, defaultHoldOut)
		if err != nil {
			return err
		}
		m, err := net.open(s)
		if err != nil {
			return err
		}
		model := net.path
		if len(m.Graph.InputNodes()) != 1 || len(m.Graph.Outputs) != 1 {
			return fmt.Errorf("%s: the network has %d inputs and %d outputs, want one of each", model, len(m.Graph.InputNodes()), len(m.Graph.Outputs))
		}
		if err := checkFits(model, m.Graph.InputNodes()[0].Shape, m.Graph.Outputs[0].Shape.Numel(), d); err != nil {
			return err
		}
		b := job.NewBench(d, m.Graph, filepath.Base(model), s.Pool, energy, s.Progress())
		b.Limit = data.limit
		if m.Kind != checkpoint.KindSNN {
			if flag := s.firstChanged("timesteps", "maxspike", "weights"); flag != "" {
				return s.Usagef("--%s: %s holds an ANN, which has none: convert it first", flag, model)
			}
			if err := b.MeasureANN(s.Ctx); err != nil {
				return err
			}
		} else if err := s.evalSNN(b, m, model, timesteps, limits, snn.Precision(weights)); err != nil {
			return err
		}
		if err := s.complete(&b.Result); err != nil {
			return err
		}
		if err := s.present(&b.Result); err != nil {
			return err
		}
		if n := len(b.Result.SNN); n == 1 {
			fmt.Fprintln(s.Out)
			return report.WriteLayerTable(s.Out, b.Result.SNN[0])
		}
		return nil
	})
	return cmd
}

// evalSNN measures a loaded spiking network at each number of timesteps. The
// ANN in the result is the network's own graph: with biases as calibrated.
func (s *session) evalSNN(b *job.Bench, m *checkpoint.Model, path string, timesteps, limits []int, weights snn.Precision) error {
	c, err := job.Spiking(path, m)
	if err != nil {
		return err
	}
	cfg := c.SNN
	if len(timesteps) == 0 {
		timesteps = []int{cfg.Timesteps}
	}
	if err := b.MeasureANN(s.Ctx); err != nil {
		return err
	}
	own := len(limits) == 0
	if own {
		limits = []int{0}
	}
	for _, limit := range limits {
		for _, t := range timesteps {
			at, exit, name := cfg.Clone(), c.Exit, filepath.Base(path)
			at.Timesteps = t
			if weights != "" {
				at.Weights, name = weights, name+" "+string(weights)
			}
			if !own {
				name = fmt.Sprintf("%s M=%d", name, limit)
				for i := range at.Layers {
					at.Layers[i].MaxSpike = limit
				}
			}
			if t != cfg.Timesteps || !own {
				exit = nil // its thresholds are for the network as it was made
				s.Verbosef("%s was converted for T=%d, running T=%d", path, cfg.Timesteps, t)
			}
			net, err := snn.New(m.Graph, at)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if _, err := b.MeasureNetwork(s.Ctx, name, net, exit); err != nil {
				return err
			}
		}
	}
	return nil
}
