// Package job is the main job as the command line offers it: open data, train
// or load an ANN, convert it, measure it, and write what was found. It wires
// packages together and holds no method of its own.
package job

import (
	"context"
	"fmt"
	"iter"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/task"
	"github.com/adafire/adafire/tensor"
)

// Data is an opened data set, its training split divided for training.
type Data struct {
	Name  string
	Train dataset.Dataset // without the held-out part
	Valid dataset.Dataset // held out of the training split, to choose epochs by
	Test  dataset.Dataset
	Seed  uint64
	// Workers prepare batches; 0 means one per core. They do not change results.
	Workers int
}

// OpenData opens a data set by name. holdOut is the share of the training split
// that is kept for choosing the best epoch.
func OpenData(name, dir string, holdOut float64, seed uint64, workers int) (*Data, error) {
	train, err := dataset.Open(name, dir, "train")
	if err != nil {
		return nil, err
	}
	test, err := dataset.Open(name, dir, "test")
	if err != nil {
		return nil, err
	}
	d := &Data{Name: name, Test: test, Seed: seed, Workers: workers}
	d.Train, d.Valid = dataset.Split(train, holdOut, seed)
	return d, nil
}

// Classes returns the names of the classes.
func (d *Data) Classes() []string { return d.Test.Info().Classes }

// evalBatch is the number of samples that are loaded and run together when
// networks are measured.
const evalBatch = 128

// TestBatches yields the test split in order, normalised.
func (d *Data) TestBatches(ctx context.Context, limit int) task.Batches {
	ds := d.Test
	if limit > 0 && limit < ds.Len() {
		index := make([]int, limit)
		for i := range index {
			index[i] = i
		}
		ds = dataset.Subset(ds, index)
	}
	return func(yield func(task.Batch, error) bool) {
		l, err := dataset.NewLoader(ds, dataset.LoaderOptions{BatchSize: evalBatch, Normalise: true, Workers: d.Workers})
		if err != nil {
			yield(task.Batch{}, err)
			return
		}
		for b, err := range l.Epoch(ctx, 0, 0) {
			if err != nil {
				yield(task.Batch{}, err)
				return
			}
			if !yield(task.Batch{X: b.X, Labels: b.Labels}, nil) {
				return
			}
		}
	}
}

// Calibration returns the first n samples of a seeded shuffle of the training
// split, preprocessed as for evaluation, or with augment as the authors' code
// has it.
func (d *Data) Calibration(ctx context.Context, n int, augment dataset.Augment) (Samples, error) {
	return d.load(ctx, d.Train, min(n, d.Train.Len()), dataset.LoaderOptions{Shuffle: true, Augment: augment})
}

// HeldOut returns the held-out part of the training split, which neither
// training nor calibration sees.
func (d *Data) HeldOut(ctx context.Context) (Samples, error) {
	return d.load(ctx, d.Valid, d.Valid.Len(), dataset.LoaderOptions{})
}

// load returns n samples of ds.
func (d *Data) load(ctx context.Context, ds dataset.Dataset, n int, o dataset.LoaderOptions) (Samples, error) {
	o.BatchSize, o.Seed, o.Normalise, o.Workers = min(n, evalBatch), d.Seed, true, d.Workers
	l, err := dataset.NewLoader(ds, o)
	if err != nil {
		return Samples{}, err
	}
	var s Samples
	for b, err := range l.Epoch(ctx, calibrationEpoch, 0) {
		if err != nil {
			return Samples{}, err
		}
		if s.X == nil {
			s.X = tensor.New(append([]int{n}, b.X.Shape[1:]...)...)
		}
		size := s.X.Len() / n
		take := min(n-len(s.Labels), b.X.Shape[0])
		copy(s.X.Data[len(s.Labels)*size:], b.X.Data[:take*size])
		s.Labels = append(s.Labels, b.Labels[:take]...)
		if len(s.Labels) == n {
			return s, nil
		}
	}
	return Samples{}, fmt.Errorf("the data ended after %d of %d samples", len(s.Labels), n)
}

// calibrationEpoch numbers the shuffle that calibration samples come from: one
// that no training reaches.
const calibrationEpoch = 1 << 30

// trainBatches adapts a loader to training.
type trainBatches struct{ *dataset.Loader }

func (t trainBatches) Len() int { return t.Batches() }

func (t trainBatches) Epoch(ctx context.Context, epoch, start int) iter.Seq2[ann.Batch, error] {
	return func(yield func(ann.Batch, error) bool) {
		for b, err := range t.Loader.Epoch(ctx, epoch, start) {
			if err != nil {
				yield(ann.Batch{}, err)
				return
			}
			if !yield(ann.Batch{X: b.X, Labels: b.Labels, Soft: b.Soft}, nil) {
				return
			}
		}
	}
}
