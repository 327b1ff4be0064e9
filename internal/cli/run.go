package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/snn"
	"github.com/spf13/cobra"
)

// defaultEnergy is what the literature on spiking networks uses.
var defaultEnergy = snn.EnergyProfiles[0]

// errExists is the error for a file that is there already.
var errExists error = atomicfile.ErrExists

func runCommand(a *app) *cobra.Command {
	var data sampleFlags
	var train trainFlags
	var conv convertFlags
	var net networkFlags
	var out string
	cmd := &cobra.Command{
		Use:   "run --dataset NAME [--T LIST]",
		Short: "train or load an ANN, convert it, measure it, report",
		Long: `The whole job on one data set. Without --model, the network in --out is used,
or one is trained there first. With --T it is converted for each number of
timesteps, calibrated, and measured on the test samples: accuracy, spikes,
synaptic operations, energy.

Look at accuracy and energy together: bursts (--maxspike above 1) buy accuracy
at few timesteps with more spikes per timestep. Energy counts arithmetic only.

In --out: ann.safetensors, snn-T*.safetensors, result.json, report.html and
config.yaml, with which "adafire run --config" repeats the run bit for bit.`,
		Example: `  adafire run --dataset digits --T 1,2,4,8
  adafire run --dataset cifar10 --arch resnet20 --T 8 --calib light --maxspike 4`,
		Args: positional(0, 0, ""),
	}
	data.register(cmd.Flags())
	train.register(cmd.Flags())
	conv.register(cmd.Flags(), nil)
	cmd.Flags().StringVar(&out, "out", "", "`DIR` for the results (default runs/<dataset>-<arch>)")
	net.registerModel(cmd.Flags(), "start from the ANN in `FILE`, of AdaFire, ONNX or PyTorch, instead of training")
	cmd.RunE = a.run(func(s *session, _ []string) error {
		if net.path != "" && train.resume {
			return s.Usagef("--resume goes on with a training, --model needs none: give one of them")
		}
		energy, err := snn.FindEnergyProfile(conv.energy)
		if err != nil {
			return err
		}
		if len(conv.timesteps) == 0 {
			if flag := s.firstChanged("search", "search-threshold", "iat"); flag != "" {
				return s.Usagef("--%s wants a spiking network: add --T", flag)
			}
		}
		var settings []job.Setting
		for _, t := range conv.timesteps {
			set, err := conv.setting(s, t)
			if err != nil {
				return err
			}
			settings = append(settings, set)
		}
		d, err := data.open(s, train.holdOut)
		if err != nil {
			return err
		}
		o, err := train.recipe(s, d)
		if err != nil {
			return err
		}
		dir := outDir(out, data.dataset, o.Model.Arch)
		files := []string{job.ResultFile, job.ReportFile, job.ConfigFile}
		for _, t := range conv.timesteps {
			files = append(files, snnFile(t))
		}
		if err := s.outFolder(dir, files...); err != nil {
			return err
		}
		g, trained, err := s.network(d, o, dir, net, train)
		if err != nil {
			return err
		}
		arch := o.Model.Arch
		if net.path != "" && !s.Changed("arch") {
			arch = filepath.Base(net.path)
		}
		b := job.NewBench(d, g, arch, s.Pool, energy, s.Progress())
		b.Limit, b.Augment = data.limit, o.Augment
		if trained != nil {
			b.Result.Timing.TrainS = trained.Elapsed.Seconds()
		}
		if err := s.measure(b, dir, settings); err != nil {
			return err
		}
		return s.finish(dir, &b.Result)
	})
	return cmd
}

func snnFile(timesteps int) string { return fmt.Sprintf("snn-T%d.safetensors", timesteps) }

// network returns the ANN of a run: from --model, from the run's folder, or
// trained there.
func (s *session) network(d *job.Data, o job.TrainOptions, dir string, net networkFlags, train trainFlags) (*graph.Graph, *job.Trained, error) {
	own := net.path == ""
	if own {
		net.path = filepath.Join(dir, job.ANNFile)
		if _, err := os.Stat(net.path); errors.Is(err, fs.ErrNotExist) || train.resume {
			t, err := s.train(d, o, dir, train.resume)
			if err != nil {
				return nil, nil, err
			}
			return t.Graph, t, nil
		}
		s.Logf("using the network in %s", net.path)
	}
	if s.Changed("arch") && !own {
		net.options.Arch = train.arch
	}
	g, _, err := net.openANN(s)
	if err != nil {
		return nil, nil, err
	}
	if err := checkFits(net.path, g.InputNodes()[0].Shape, g.Outputs[0].Shape.Numel(), d); err != nil {
		return nil, nil, err
	}
	if own && s.Changed("arch") && !sameNetwork(g, o.Model) {
		return nil, nil, fmt.Errorf("%s: holds another network than --arch %s makes: choose another --out, or remove it to train again", net.path, train.arch)
	}
	return g, nil, nil
}

// sameNetwork compares structures.
func sameNetwork(g *graph.Graph, c models.Config) bool {
	want, err := models.Outline(c)
	if err != nil {
		return false
	}
	a, err1 := g.MarshalJSON()
	b, err2 := want.MarshalJSON()
	return err1 == nil && err2 == nil && string(a) == string(b)
}

// measure measures the ANN and all settings, and saves each converted network.
func (s *session) measure(b *job.Bench, dir string, settings []job.Setting) error {
	if err := b.MeasureANN(s.Ctx); err != nil {
		return s.interruptedIn(err, dir)
	}
	for _, set := range settings {
		set.Folder = dir
		res, err := b.MeasureSNN(s.Ctx, set)
		if err != nil {
			return s.interruptedIn(err, dir)
		}
		path := filepath.Join(dir, snnFile(set.Config.Timesteps))
		if err := job.SaveSNN(path, res, b.Provenance(moduleVersion()), s.Force); err != nil {
			return err
		}
	}
	return nil
}

// interruptedIn turns the end of the context into the message for a person.
func (s *session) interruptedIn(err error, dir string) error {
	if s.Ctx.Err() != nil {
		return s.Interrupted(fmt.Sprintf("ANN and tables of searches are kept in %s; the same command goes on from them", dir))
	}
	return err
}
