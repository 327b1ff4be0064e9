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
	"github.com/adafire/adafire/dataset/eventdata"
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

// DataOptions name a data set and say how it is read.
type DataOptions struct {
	Name      string
	Dir       string  // "" looks in $ADAFIRE_DATA/NAME
	HoldOut   float64 // share of the training split that is kept for choosing the best epoch
	Seed      uint64
	Workers   int
	InputSize int                 // side of a sample of image folders and event recordings, 0 for 224
	Events    eventdata.Options   // for event recordings, but for the size and the seed
	Remark    func(remark string) // told what is unusual about the data; may be nil
}

// DatasetNames returns the names of all data sets, those of images first.
func DatasetNames() []string { return append(dataset.Names(), eventdata.Names()...) }

// DescribeDataset describes a data set by its name.
func DescribeDataset(name string) dataset.Description {
	if eventdata.Known(name) {
		return eventdata.Describe(name)
	}
	return dataset.Describe(name)
}

// OpenSplits opens both splits of a data set.
func OpenSplits(ctx context.Context, o DataOptions) (train, test dataset.Dataset, err error) {
	if eventdata.Known(o.Name) {
		e := o.Events
		e.InputSize, e.Seed, e.Workers = o.InputSize, o.Seed, o.Workers
		tr, te, err := eventdata.Open(ctx, o.Name, o.Dir, e)
		if err != nil {
			return nil, nil, err
		}
		if o.Remark != nil {
			o.Remark("split: " + te.Rule())
			for _, note := range append(tr.Notes(), te.Notes()...) {
				o.Remark(note)
			}
		}
		return tr, te, nil
	}
	var opts []dataset.Option
	if o.InputSize > 0 {
		opts = append(opts, dataset.WithSize(o.InputSize))
	}
	if train, err = dataset.Open(o.Name, o.Dir, "train", opts...); err != nil {
		return nil, nil, err
	}
	if test, err = dataset.Open(o.Name, o.Dir, "test", opts...); err != nil {
		return nil, nil, err
	}
	return train, test, nil
}

// OpenData opens a data set and divides its training split.
func OpenData(ctx context.Context, o DataOptions) (*Data, error) {
	train, test, err := OpenSplits(ctx, o)
	if err != nil {
		return nil, err
	}
	d := &Data{Name: o.Name, Test: test, Seed: o.Seed, Workers: o.Workers}
	d.Train, d.Valid = dataset.Split(train, o.HoldOut, o.Seed)
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
