package cli

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/models"
	"github.com/spf13/pflag"
)

// defaultHoldOut is the share of the training samples that neither trains nor
// calibrates: it chooses epochs and finds exit thresholds, which for a stated
// risk take about a thousand samples.
const defaultHoldOut = 0.1

// sampleFlags name a data set.
type sampleFlags struct {
	dataset   string
	dir       string
	limit     int
	inputSize int
	events    eventFlags
}

func (d *sampleFlags) register(f *pflag.FlagSet) {
	datasetFlag(f, &d.dataset)
	f.StringVar(&d.dir, "data", "", "`DIR` of the data set as its makers distribute it (default $ADAFIRE_DATA/<dataset>)")
	intVar(f, &d.limit, "test-samples", 0, 0, 1<<30, "test on the first `N` samples only, 0 for all")
	intVar(f, &d.inputSize, "input-size", 0, 0, 4096, "`PIXELS` along the side of samples of recordings and image folders, 0 for 224 (nmnist-sim: 34)")
	d.events.register(f)
}

// open opens the data set; holdOut is the share of the training split kept for
// choosing the epoch.
func (d *sampleFlags) open(s *session, holdOut float64) (*job.Data, error) {
	if err := s.Require("dataset"); err != nil {
		return nil, err
	}
	o, err := d.events.options(s)
	if err != nil {
		return nil, err
	}
	return job.OpenData(s.Ctx, job.DataOptions{Name: d.dataset, Dir: d.dir, HoldOut: holdOut, Seed: s.Seed, Workers: s.Pool.Workers(),
		InputSize: inputSize(d.dataset, d.inputSize), Events: o, Remark: func(text string) { s.Logf("%s: %s", d.dataset, text) }})
}

// trainFlags change the recipe of a data set. Those not given leave it alone.
type trainFlags struct {
	arch        string
	width       int
	pooling     string
	epochs      int
	batchSize   int
	lr          float64
	minLR       float64
	momentum    float64
	weightDecay float64
	opt         string
	sched       string
	warmup      float64
	perStep     bool
	smoothing   float64
	mixup       float64
	cutmix      float64
	clip        float64
	ema         float64
	augment     bool
	holdOut     float64
	resume      bool
	init        string
}

func (t *trainFlags) register(f *pflag.FlagSet) {
	choiceVar(f, &t.arch, "arch", "", models.Names(), "network (default: one that fits the data set)")
	intVar(f, &t.width, "width", 0, 0, 1024, "channels of the first stage, 0 for the network's own")
	choiceVar(f, &t.pooling, "pooling", "", []string{"max", "avg"}, "pooling of the network (default: its own)")
	intVar(f, &t.epochs, "epochs", 0, 0, 1<<20, "epochs of training, 0 for the recipe's")
	intVar(f, &t.batchSize, "batch-size", 0, 0, 1<<16, "samples of a training step, 0 for the recipe's")
	floatVar(f, &t.lr, "lr", 0.1, 0, 1000, "learning rate")
	floatVar(f, &t.minLR, "min-lr", 0, 0, 1000, "lowest learning rate of the schedule")
	floatVar(f, &t.momentum, "momentum", 0.9, 0, 1, "momentum of SGD")
	floatVar(f, &t.weightDecay, "weight-decay", 5e-4, 0, 10, "weight decay")
	choiceVar(f, &t.opt, "opt", "sgd", []string{"sgd", "adamw"}, "optimiser")
	choiceVar(f, &t.sched, "sched", "cosine", []string{"cosine", "step", "constant"}, "schedule of the learning rate")
	floatVar(f, &t.warmup, "warmup-epochs", 0, 0, 1<<20, "epochs of linear warm-up")
	f.BoolVar(&t.perStep, "lr-per-step", false, "change the learning rate with every step, not every epoch")
	floatVar(f, &t.smoothing, "smoothing", 0, 0, 0.99, "label smoothing")
	floatVar(f, &t.mixup, "mixup", 0, 0, 100, "mixup alpha, 0 for none")
	floatVar(f, &t.cutmix, "cutmix", 0, 0, 100, "cutmix alpha, 0 for none")
	floatVar(f, &t.clip, "clip-norm", 0, 0, 1e6, "largest norm of the gradient, 0 for no limit")
	floatVar(f, &t.ema, "ema", 0, 0, 0.99999, "decay of averaged weights, 0 for none")
	f.BoolVar(&t.augment, "augment", true, "vary the training samples at random, as the recipe has it")
	floatVar(f, &t.holdOut, "hold-out", defaultHoldOut, 0.001, 0.5, "share of the training samples that choose the epoch")
	f.StringVar(&t.init, "init", "", "start from the weights in `FILE` (.pth, .safetensors) as far as they fit, such as ImageNet's")
	f.BoolVar(&t.resume, "resume", false, "go on with an interrupted training in --out")
}

// recipe is the data set's recipe with the flags that were given.
func (t *trainFlags) recipe(s *session, d *job.Data) (job.TrainOptions, error) {
	info := d.Test.Info()
	arch := t.arch
	if arch == "" {
		arch = job.DefaultArch(info)
	}
	o := job.Recipe(d.Name, arch, info, s.Seed)
	o.Model.Width, o.Model.Pooling, o.HoldOut, o.Init = t.width, t.pooling, t.holdOut, t.init
	if t.epochs > 0 {
		o.Config.Epochs, o.Config.Cooldown = t.epochs, 0
		if o.Mix.OffEpoch > 0 {
			o.Mix.OffEpoch = max(1, t.epochs*3/4)
		}
	}
	if t.batchSize > 0 {
		o.BatchSize = t.batchSize
	}
	t.arch, t.epochs, t.batchSize = arch, o.Config.Epochs, o.BatchSize
	for _, v := range []struct {
		flag     string
		to, from *float64
	}{
		{"lr", &o.Config.LR, &t.lr}, {"min-lr", &o.Config.Schedule.MinLR, &t.minLR}, {"momentum", &o.Config.Momentum, &t.momentum},
		{"weight-decay", &o.Config.WeightDecay, &t.weightDecay}, {"smoothing", &o.Config.Smoothing, &t.smoothing},
		{"mixup", &o.Mix.Mixup, &t.mixup}, {"cutmix", &o.Mix.CutMix, &t.cutmix},
		{"clip-norm", &o.Config.ClipNorm, &t.clip}, {"ema", &o.Config.EMA, &t.ema},
		{"warmup-epochs", &o.Config.Schedule.Warmup, &t.warmup},
	} {
		resolve(s, v.flag, v.to, v.from)
	}
	resolve(s, "opt", &o.Config.Optimiser, &t.opt)
	resolve(s, "sched", &o.Config.Schedule.Kind, &t.sched)
	resolve(s, "lr-per-step", &o.Config.Schedule.PerStep, &t.perStep)
	if !t.augment {
		o.Augment, o.Vary = dataset.Augment{}, false
	}
	for _, err := range []error{o.Config.Validate(), o.Model.Validate(), o.Augment.Validate(), o.Mix.Validate()} {
		if err != nil {
			return o, s.Usagef("%v", err)
		}
	}
	return o, nil
}

// resolve settles a setting that has a flag: what was given goes to the setting,
// else the setting goes to the flag, so that the saved configuration holds what
// was in force and not the flag's default.
func resolve[T any](s *session, flag string, setting, value *T) {
	if s.Changed(flag) {
		*setting = *value
	} else {
		*value = *setting
	}
}

// checkFits compares a network with a data set.
func checkFits(path string, in []int, classes int, d *job.Data) error {
	info := d.Test.Info()
	if !slices.Equal(in, info.Shape) {
		return fmt.Errorf("%s: the network takes samples of shape %v, %s has %v", path, in, d.Name, info.Shape)
	}
	if classes != len(info.Classes) {
		return fmt.Errorf("%s: the network has %d outputs, %s has %d classes", path, classes, d.Name, len(info.Classes))
	}
	return nil
}
