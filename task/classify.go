// Package task measures networks on the tasks they are made for. So far:
// classification.
package task

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A Batch is a group of labelled samples.
type Batch struct {
	X      *tensor.Tensor // [n, H, W, C], as the network wants it
	Labels []int          // n class indices
}

// Batches yields the batches of a data set once.
type Batches = iter.Seq2[Batch, error]

// A Score counts correct classifications.
type Score struct {
	Samples     int
	Correct     int
	Predictions []int         // class of every sample, in order
	Elapsed     time.Duration // in the network, loading not counted
}

// Accuracy returns the share of correct classifications, 0 without samples.
func (s *Score) Accuracy() float64 {
	if s.Samples == 0 {
		return 0
	}
	return float64(s.Correct) / float64(s.Samples)
}

// Rate returns the samples per second.
func (s *Score) Rate() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Samples) / s.Elapsed.Seconds()
}

// Agreement returns the share of samples that both score for the same class; 0
// if they are not of the same samples.
func (s *Score) Agreement(other *Score) float64 {
	if len(s.Predictions) != len(other.Predictions) || len(s.Predictions) == 0 {
		return 0
	}
	same := 0
	for i, p := range s.Predictions {
		if p == other.Predictions[i] {
			same++
		}
	}
	return float64(same) / float64(len(s.Predictions))
}

// add counts the predictions of one batch.
func (s *Score) add(logits *tensor.Tensor, labels []int) error {
	n := logits.Shape[0]
	if n == 0 {
		return nil
	}
	classes := logits.Len() / n
	if len(labels) != n {
		return fmt.Errorf("%d labels for %d samples", len(labels), n)
	}
	for i, label := range labels {
		if label < 0 || label >= classes {
			return fmt.Errorf("sample %d: label %d, the network has %d classes", s.Samples+i, label, classes)
		}
		p := kernel.ArgMax(logits.Data[i*classes : (i+1)*classes])
		s.Predictions = append(s.Predictions, p)
		if p == label {
			s.Correct++
		}
	}
	s.Samples += n
	return nil
}

// classify runs every batch through a network, scores its logits, and calls
// progress, unless nil, with the number of samples done. run also notes whatever
// else it wants of the batch.
func (s *Score) classify(ctx context.Context, data Batches, progress func(samples int), run func(x *tensor.Tensor) (logits *tensor.Tensor, err error)) error {
	for b, err := range data {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		start := time.Now()
		logits, err := run(b.X)
		if err != nil {
			return err
		}
		s.Elapsed += time.Since(start)
		if err := s.add(logits, b.Labels); err != nil {
			return err
		}
		if progress != nil {
			progress(s.Samples)
		}
	}
	return nil
}

// ClassifyANN measures an ANN. After each batch it calls progress, unless nil,
// with the number of samples done.
func ClassifyANN(ctx context.Context, exec *ann.Executor, data Batches, progress func(samples int)) (*Score, error) {
	s := &Score{}
	if err := s.classify(ctx, data, progress, exec.Forward); err != nil {
		return nil, err
	}
	return s, nil
}

// A SpikingScore adds what the neurons did, summed over the samples, per layer.
type SpikingScore struct {
	Score
	Layers []LayerTotals
}

// LayerTotals are the sums of snn.LayerCounts over samples.
type LayerTotals struct {
	Spikes, Events, SOPs, ReadoutSOPs, PoolAdds, ResidualAdds, Inputs int64
}

func (t *LayerTotals) add(c *snn.LayerCounts) {
	for _, v := range []struct {
		sum *int64
		per []int64
	}{{&t.Spikes, c.Spikes}, {&t.Events, c.Events}, {&t.SOPs, c.SOPs}, {&t.ReadoutSOPs, c.ReadoutSOPs},
		{&t.PoolAdds, c.PoolAdds}, {&t.ResidualAdds, c.ResidualAdds},
		{&t.Inputs, c.Inputs}} {
		for _, k := range v.per {
			*v.sum += k
		}
	}
}

// count adds what the neurons did in one batch.
func (s *SpikingScore) count(layers []snn.LayerCounts) {
	for i := range s.Layers {
		s.Layers[i].add(&layers[i])
	}
}

// ClassifySNN measures a spiking network; see ClassifyANN.
func ClassifySNN(ctx context.Context, pool *parallel.Pool, net *snn.Network, data Batches, progress func(samples int)) (*SpikingScore, error) {
	s := &SpikingScore{Layers: make([]LayerTotals, len(net.Layers()))}
	err := s.classify(ctx, data, progress, func(x *tensor.Tensor) (*tensor.Tensor, error) {
		res, err := net.Run(ctx, pool, x, snn.Options{})
		if err != nil {
			return nil, err
		}
		s.count(res.Layers)
		return res.Logits, nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}
