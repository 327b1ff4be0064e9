package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/tensor"
	"github.com/spf13/cobra"
)

func convertCommand(a *app) *cobra.Command {
	var data sampleFlags
	var conv convertFlags
	var net networkFlags
	var samples, out string
	cmd := &cobra.Command{
		Use:   "convert --model FILE --out FILE (--dataset NAME | --calib-data X.npy)",
		Short: "convert a trained ANN to a spiking network",
		Long: `Folds batch norms, finds the thresholds of the neurons on calibration samples,
calibrates, and writes the spiking network for T timesteps.

Calibration samples come from the training split of a data set, from an .npy
file of samples [N, H, W, C] or [N, C, H, W], preprocessed as the network wants
them, or from a folder of photographs, of which --calib-samples random crops are
taken. A few hundred are enough; they should look like what the network will
see.

Deep networks whose blocks end without an activation, such as MobileNetV2, lose
most where spikes come too early: --schedule accumulate or --signed help there,
or more timesteps.`,
		Example: `  adafire convert --model runs/digits-vgg-small/ann.safetensors --dataset digits --T 4 --out snn.safetensors
  adafire convert --model ann.safetensors --calib-data x.npy --T 8 --maxspike 2 --out snn.safetensors`,
		Args: positional(0, 0, ""),
	}
	f := cmd.Flags()
	data.register(f)
	conv.register(f, []int{8})
	net.registerModel(f, "the ANN, a `FILE` of AdaFire, ONNX or PyTorch")
	f.StringVar(&samples, "calib-data", "", "calibration samples in `FILE.npy`, or a folder of images")
	f.StringVar(&out, "out", "", "`FILE` for the spiking network")
	cmd.RunE = a.run(func(s *session, _ []string) error {
		for _, flag := range []string{"model", "out"} {
			if err := s.Require(flag); err != nil {
				return err
			}
		}
		if (samples == "") == (data.dataset == "") {
			return s.Usagef("calibration samples: give either --dataset or --calib-data")
		}
		if len(conv.timesteps) != 1 {
			return s.Usagef("--timesteps: %d values, a spiking network has one", len(conv.timesteps))
		}
		set, err := conv.setting(s, conv.timesteps[0])
		if err != nil {
			return err
		}
		if samples != "" && (set.Exit != nil || conv.method.metric == string(convert.MetricAccuracy)) {
			return s.Usagef("--iat and --metric accuracy want labels, which --calib-data has not: give --dataset")
		}
		if err := s.CheckTarget(out); err != nil {
			return err
		}
		g, m, err := net.openANN(s)
		if err != nil {
			return err
		}
		calib, held, err := s.calibration(data, samples, g, set, m)
		if err != nil {
			return err
		}
		start := time.Now()
		res, err := job.Apply(s.Ctx, s.Pool, g, set, calib, held, s.Progress())
		s.Progress().Done()
		if err != nil {
			return err
		}
		source := m.Provenance
		source.Version, source.Source, source.SourceSHA256 = moduleVersion(), filepath.Base(net.path), s.inputs[0].SHA256
		source.Time = time.Now().UTC().Format(time.RFC3339)
		if err := job.SaveSNN(out, res, source, s.Force); err != nil {
			return err
		}
		return s.Emit(summary(res, calib.X.Shape[0], time.Since(start), out), func(w io.Writer) error {
			dead := 0
			for _, d := range res.Dead {
				dead += len(d)
			}
			_, err := fmt.Fprintf(w, "%s: %d layers of neurons, T=%d, maxspike %d, %s calibration on %d samples in %.1f s; %d channels never fired\n",
				out, len(res.SNN.Layers), res.SNN.Timesteps, set.Config.MaxSpike, conv.calib, calib.X.Shape[0], time.Since(start).Seconds(), dead)
			return err
		})
	})
	return cmd
}

// calibration returns the samples to convert with, and those for early exits.
func (s *session) calibration(data sampleFlags, file string, g *graph.Graph, set job.Setting, m *checkpoint.Model) (calib, held job.Samples, err error) {
	shape := g.InputNodes()[0].Shape
	if info, statErr := os.Stat(file); file != "" && statErr == nil && info.IsDir() {
		calib.X, err = s.crops(file, shape, set.Samples(), m.Provenance)
		return calib, held, err
	} else if file != "" {
		calib.X, err = readSamples(s, file, shape)
		return calib, held, err
	}
	d, err := data.open(s, defaultHoldOut)
	if err != nil {
		return calib, held, err
	}
	if err := checkFits("the network", shape, g.Outputs[0].Shape.Numel(), d); err != nil {
		return calib, held, err
	}
	augment := job.Recipe(d.Name, "", d.Test.Info(), s.Seed).AugmentFor(set.Config.Profile)
	if calib, err = d.Calibration(s.Ctx, set.Samples(), augment); err != nil || set.Exit == nil {
		return calib, held, err
	}
	held, err = d.HeldOut(s.Ctx)
	return calib, held, err
}

// crops returns n random crops of the photographs in a folder, in turn.
func (s *session) crops(dir string, shape graph.Shape, n int, p checkpoint.Provenance) (*tensor.Tensor, error) {
	paths, err := dataset.FindImages([]string{dir})
	if err != nil {
		return nil, err
	}
	images, err := dataset.NewImages(paths, shape, p.Mean, p.Std)
	if err != nil {
		return nil, err
	}
	x := tensor.New(append([]int{n}, shape...)...)
	s.Progress().Start("crops", int64(n), "samples")
	defer s.Progress().Done()
	for i := range n {
		if err := s.Ctx.Err(); err != nil {
			return nil, err
		}
		rng := random.New(s.Seed, fmt.Sprintf("crop %d", i))
		if err := images.Crop(i%images.Len(), rng, x.Data[i*images.Size():(i+1)*images.Size()]); err != nil {
			return nil, err
		}
		s.Progress().Set(int64(i + 1))
	}
	return x, nil
}

// A conversion is the machine-readable result of convert.
type conversion struct {
	Schema    int                  `json:"schema"`
	Command   string               `json:"command"`
	Out       string               `json:"out"`
	Timesteps int                  `json:"T"`
	MaxSpike  []int                `json:"maxspike"`
	Samples   int                  `json:"calibration_samples"`
	Seconds   float64              `json:"seconds"`
	Dead      map[string][]int     `json:"dead_channels"`
	Layers    []convert.LayerError `json:"layers,omitempty"`
}

func summary(res *job.Converted, samples int, took time.Duration, out string) conversion {
	c := conversion{Schema: 1, Command: "convert", Out: out, Timesteps: res.SNN.Timesteps, Samples: samples, Seconds: took.Seconds(),
		Dead: res.Dead, Layers: res.Layers}
	for _, l := range res.SNN.Layers {
		c.MaxSpike = append(c.MaxSpike, l.MaxSpike)
	}
	return c
}
