package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/internal/job"
	"github.com/spf13/cobra"
)

func trainCommand(a *app) *cobra.Command {
	var data sampleFlags
	var train trainFlags
	var out string
	cmd := &cobra.Command{
		Use:   "train --dataset NAME",
		Short: "train an ANN",
		Long: `Trains a network on a data set with the recipe of that data set; flags change
single settings of it. Part of the training samples is held out, and the weights
of the epoch that does best on them are kept: the test samples choose nothing.

The state is saved after every epoch and on Ctrl-C; --resume goes on from there
and ends with the same weights, bit for bit, as if it had never stopped.

In --out: ann.safetensors (the network), train-last.safetensors (the state).`,
		Example: `  adafire train --dataset digits
  adafire train --dataset cifar10 --data ~/cifar-10 --arch resnet20 --epochs 100 --out runs/r20`,
		Args: positional(0, 0, ""),
	}
	data.register(cmd.Flags())
	train.register(cmd.Flags())
	cmd.Flags().StringVar(&out, "out", "", "`DIR` for the results (default runs/<dataset>-<arch>)")
	cmd.RunE = a.run(func(s *session, _ []string) error {
		d, err := data.open(s, train.holdOut)
		if err != nil {
			return err
		}
		o, err := train.recipe(s, d)
		if err != nil {
			return err
		}
		dir := outDir(out, data.dataset, o.Model.Arch)
		if err := s.outFolder(dir, job.ANNFile); err != nil {
			return err
		}
		t, err := s.train(d, o, dir, train.resume)
		if err != nil {
			return err
		}
		b := job.NewBench(d, t.Graph, o.Model.Arch, s.Pool, defaultEnergy, s.Progress())
		b.Limit = data.limit
		if err := b.MeasureANN(s.Ctx); err != nil {
			return err
		}
		b.Result.Timing.TrainS = t.Elapsed.Seconds()
		if err := s.SaveConfig(filepath.Join(dir, job.ConfigFile)); err != nil && !errors.Is(err, errExists) {
			return err
		}
		if err := s.complete(&b.Result); err != nil {
			return err
		}
		return s.Emit(b.Result, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s on %s: accuracy %.2f %% on %d test samples, %.0f s of training, %s\n", o.Model.Arch, d.Name,
				100*b.ANN.Accuracy(), b.ANN.Samples, t.Elapsed.Seconds(), filepath.Join(dir, job.ANNFile))
			return err
		})
	})
	return cmd
}

// outDir is the folder for results.
func outDir(out, dataset, arch string) string {
	if out != "" {
		return out
	}
	return filepath.Join("runs", dataset+"-"+arch)
}

// train trains an ANN; interrupted, it says how to go on.
func (s *session) train(d *job.Data, o job.TrainOptions, dir string, resume bool) (*job.Trained, error) {
	t, err := job.Train(s.Ctx, s.Pool, d, o, dir, resume, s.Force, moduleVersion(), s.Progress())
	if errors.Is(err, ann.ErrInterrupted) && s.Ctx.Err() != nil {
		return nil, s.Interrupted(fmt.Sprintf("the training is saved in %s; the same command with --resume goes on", filepath.Join(dir, job.StateFile)))
	}
	return t, err
}
