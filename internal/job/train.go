package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/models"
)

// Names of the files in a run's folder.
const (
	ANNFile    = "ann.safetensors"
	StateFile  = "train-last.safetensors"
	ResultFile = "result.json"
	ReportFile = "report.html"
	ConfigFile = "config.yaml"
)

// TrainOptions say how an ANN is trained; Recipe has the usual ones.
type TrainOptions struct {
	Model     models.Config   `json:"model"`
	Config    ann.Config      `json:"config"`
	BatchSize int             `json:"batch_size"`
	Augment   dataset.Augment `json:"augment"`
	Vary      bool            `json:"vary"` // let a data set of recordings vary the events
	Mix       dataset.Mix     `json:"mix"`
	HoldOut   float64         `json:"hold_out"` // share of the training split that chooses the epoch

	// Init is a file of weights to start from, "" for none: what fits by name and
	// shape is taken, the rest keeps its initial values.
	Init string `json:"init,omitempty"`
}

// Recipe returns the usual training of an architecture on a data set: the
// paper's for CIFAR, a short one for digits (algorithms.md 9.6, 11.1).
func Recipe(name, arch string, info dataset.Info, seed uint64) TrainOptions {
	o := TrainOptions{Config: ann.DefaultConfig(), BatchSize: 128, Augment: dataset.DefaultAugment(name), HoldOut: 0.1,
		Model: models.Config{Arch: arch, Input: graph.Shape(info.Shape), Classes: len(info.Classes), Seed: seed}}
	o.Config.Seed = seed
	if eventdata.Known(name) && (arch == "resnet18" || arch == "resnet34") && info.Shape[0] > 40 {
		o.Model.Stem = models.StemEvent // the paper's, at any size: events are sparse, and full resolution costs 15 times as much
	}
	switch name {
	case "digits":
		o.BatchSize, o.Config.Epochs = 64, 8
		o.Config.Schedule.Warmup, o.Config.Schedule.PerStep = 1, true
	case "mnist", "fashion-mnist":
		o.Config.Epochs = 12
		o.Config.Schedule.Warmup, o.Config.Schedule.PerStep = 1, true
	case "cifar10", "cifar100":
		o.Config.Epochs = 300
	case "nmnist-sim":
		o.BatchSize, o.Config.Epochs, o.Vary = 64, 6, true
		o.Config.Schedule.Warmup, o.Config.Schedule.PerStep = 1, true
	case "cifar10dvs", "ncaltech101", "ncars", "action-recognition", "dvs128gesture", "asldvs", "nmnist", "eventfolder":
		// The recipe of the method's authors (algorithms.md 9.6).
		o.BatchSize, o.Config.Epochs, o.Config.Cooldown, o.Vary = 16, 300, 10, true
		o.Config.Optimiser, o.Config.LR, o.Config.WeightDecay, o.Config.Smoothing = "adamw", 1e-3, 0.06, 0.1
		o.Config.Schedule.MinLR, o.Config.NoDecay1D = 1e-5, true
		o.Mix = dataset.Mix{Mixup: 0.5, Prob: 0.5, OffEpoch: o.Config.Total() * 3 / 4}
		return o
	default:
		o.Config.Epochs = 60
	}
	if info.Shape[0] > 64 {
		o.Config.LR = 0.05
	}
	return o
}

// AugmentFor returns the augmentation of calibration samples under a profile:
// none, but the authors calibrate on augmented samples.
func (o TrainOptions) AugmentFor(profile string) dataset.Augment {
	if profile == convert.ProfileReference {
		return o.Augment
	}
	return dataset.Augment{}
}

// DefaultArch is the architecture for a data set when none is asked for.
func DefaultArch(info dataset.Info) string {
	switch h := info.Shape[0]; {
	case h <= 28:
		return "vgg-small"
	case h <= 64:
		return "resnet20"
	}
	return "resnet18"
}

// Trained is a trained network with its history.
type Trained struct {
	Graph   *graph.Graph
	History []ann.EpochStats
	Elapsed time.Duration // of training, earlier sittings included
}

// Train trains an ANN on d. In folder out it keeps the state of the training,
// written after every epoch and on interruption, and at the end the network. With
// resume it goes on from that state, which must be of the same data, network and
// settings; without, an existing state is refused unless force is set.
func Train(ctx context.Context, pool *parallel.Pool, d *Data, o TrainOptions, out string, resume, force bool, version string, show Progress) (*Trained, error) {
	loader, err := dataset.NewLoader(d.Train, dataset.LoaderOptions{BatchSize: o.BatchSize, Shuffle: true, DropLast: d.Train.Len() >= o.BatchSize,
		Seed: d.Seed, Workers: d.Workers, Augment: o.Augment, Vary: o.Vary, Mix: o.Mix, Normalise: true, Smoothing: mixSmoothing(o)})
	if err != nil {
		return nil, err
	}
	valid, err := dataset.NewLoader(d.Valid, dataset.LoaderOptions{BatchSize: evalBatch, Normalise: true, Workers: d.Workers})
	if err != nil {
		return nil, err
	}
	g, err := models.Build(o.Model)
	if err != nil {
		return nil, err
	}
	if o.Init != "" && !resume {
		if err := startFrom(g, o.Init, show); err != nil {
			return nil, err
		}
	}
	settings, err := json.Marshal(loader.Options())
	if err != nil {
		return nil, err
	}
	meta := trainJSON{Model: o.Model, Data: trainData{Name: d.Name, SHA256: d.Train.Info().SHA256, Loader: settings}}
	path := filepath.Join(out, StateFile)
	hooks := ann.Hooks{}
	switch _, err := os.Stat(path); {
	case resume && errors.Is(err, fs.ErrNotExist):
		show.Note("nothing to resume in " + out + ": training from the start")
	case resume:
		if hooks.Resume, err = resumeFrom(path, meta); err != nil {
			return nil, err
		}
		p := hooks.Resume.Progress
		show.Note(fmt.Sprintf("resuming from %s: epoch %d, batch %d", path, p.Epoch+1, p.Batch))
	case err == nil && !force:
		return nil, fmt.Errorf("%s: a training is there already: go on with --resume, or start over with --force", path)
	}
	source := d.provenance(version)
	var elapsed time.Duration
	hooks.Checkpoint = func(s *ann.State, why ann.Reason, _ bool) error {
		elapsed = s.Progress.Elapsed
		return saveState(path, g, s, meta, source)
	}
	perEpoch := int64(loader.Batches()) * int64(o.BatchSize)
	show.Start("train "+o.Model.Arch, perEpoch*int64(o.Config.Total()), "samples")
	hooks.Progress = func(p ann.Progress) {
		if e := p.Evaluated; e != nil {
			show.Note(fmt.Sprintf("epoch %d/%d  loss %.4f  accuracy %.2f %%  held-out %.2f %%  %.0f samples/s",
				p.Epoch, p.Epochs, e.Loss, 100*e.Accuracy, 100*e.ValidAccuracy, p.SamplesPerSec))
			return
		}
		show.Set(int64(p.Step) * int64(o.BatchSize))
	}
	defer show.Done()
	res, err := ann.Train(ctx, g, pool, trainBatches{loader}, trainBatches{valid}, o.Config, hooks)
	if err != nil {
		return nil, err
	}
	if res.Best != nil {
		if err := res.Best.Apply(g); err != nil {
			return nil, err
		}
	}
	if h := res.Progress.History; len(h) > 0 {
		source.Metrics = map[string]float64{"held_out_accuracy": res.Progress.Best}
	}
	err = checkpoint.SaveModel(filepath.Join(out, ANNFile), &checkpoint.Model{Kind: checkpoint.KindANN, Graph: g, Provenance: source}, true)
	if err != nil {
		return nil, err
	}
	return &Trained{Graph: g, History: res.Progress.History, Elapsed: elapsed}, nil
}

// startFrom copies what fits of a file of weights into a network.
func startFrom(g *graph.Graph, path string, show Progress) error {
	s, err := checkpoint.OpenStateDict(path, checkpoint.StateDictOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	a, err := s.Assign(g, true)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%s: %d parameters taken", path, a.Assigned)
	if len(a.Missing) > 0 {
		note += "; at their initial values: " + strings.Join(a.Missing, ", ")
	}
	show.Note(note)
	return nil
}

// mixSmoothing smooths labels in the loader where it mixes them; else the loss
// does it.
func mixSmoothing(o TrainOptions) float64 {
	if o.Mix.Enabled() {
		return o.Config.Smoothing
	}
	return 0
}

// resumeFrom reads a state and compares what it was made with.
func resumeFrom(path string, want trainJSON) (*ann.State, error) {
	s, meta, err := loadState(path)
	if err != nil {
		return nil, err
	}
	var differ []string
	if !sameJSON(meta.Model, want.Model) {
		differ = append(differ, "network")
	}
	if meta.Data.Name != want.Data.Name || meta.Data.SHA256 != want.Data.SHA256 {
		differ = append(differ, "data set")
	}
	if !bytes.Equal(meta.Data.Loader, want.Data.Loader) {
		differ = append(differ, "batches and augmentation")
	}
	if len(differ) > 0 {
		return nil, fmt.Errorf("%s: cannot resume, the training was made with another %s", path, slices.Compact(differ))
	}
	return s, nil
}

func sameJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
