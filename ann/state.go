package ann

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// A State is a training run between two steps: all that is needed to go on with
// the same bits as if it had never stopped. Tensors are named as in the
// checkpoint format: NODE.ROLE for parameters and running statistics,
// optim.BUFFER.NODE.ROLE for what the optimiser remembers, ema.NODE.ROLE for
// the averaged weights and best.NODE.ROLE for the best ones. The optimiser's
// learning rate, dropout and the order of the data follow from the numbers in
// Progress.
type State struct {
	Tensors  map[string]*tensor.Tensor
	Progress TrainProgress
}

// TrainProgress says how far a training run has come. It is the part of a State
// that is stored as JSON.
type TrainProgress struct {
	Config    Config  `json:"config"`
	Epoch     int     `json:"epoch"`      // epochs done
	Batch     int     `json:"batch"`      // steps done in the next one
	Step      int     `json:"step"`       // steps done in all
	Samples   int64   `json:"samples"`    // samples seen in all
	LR        float64 `json:"lr"`         // rate of the last step
	Best      float64 `json:"best"`       // best accuracy on the held-out data; for mse, minus the loss
	BestEpoch int     `json:"best_epoch"` // the epoch, from 1, it was reached after; 0 if none was evaluated

	// Sums over the part of the epoch that is done.
	LossSum float64 `json:"loss_sum"` // of loss times positions
	Correct int64   `json:"correct"`
	Count   int64   `json:"count"` // positions

	Elapsed time.Duration `json:"elapsed_ns"` // training time so far
	History []EpochStats  `json:"history"`    // one entry per finished epoch
}

// EpochStats are the figures of one epoch. Valid figures are NaN-free: they are
// absent (HasValid false) for epochs that were not evaluated.
type EpochStats struct {
	Epoch         int     `json:"epoch"` // from 1
	LR            float64 `json:"lr"`    // rate of its last step
	Loss          float64 `json:"loss"`
	Accuracy      float64 `json:"accuracy"` // 0 to 1; during training, with augmentation
	HasValid      bool    `json:"has_valid"`
	ValidLoss     float64 `json:"valid_loss"`
	ValidAccuracy float64 `json:"valid_accuracy"`
}

// Prefixes of the tensors in a State that are not the graph's own.
const (
	PrefixOptimiser = "optim."
	PrefixEMA       = "ema."
	PrefixBest      = "best."
)

// Weights are the parameters and running statistics of a graph by name.
type Weights map[string]*tensor.Tensor

// WeightsOf returns the tensors of g, shared with it.
func WeightsOf(g *graph.Graph) Weights {
	w := make(Weights)
	for _, n := range g.Nodes {
		for role, t := range n.Params {
			w[graph.ParamName(n.Name, role)] = t
		}
	}
	return w
}

// Clone returns a deep copy.
func (w Weights) Clone() Weights {
	c := make(Weights, len(w))
	for name, t := range w {
		c[name] = t.Clone()
	}
	return c
}

// Apply copies the values into the tensors of g; every one must be there with
// the right shape, or nothing is changed.
func (w Weights) Apply(g *graph.Graph) error {
	return restore(WeightsOf(g), w, "")
}

// restore copies from[prefix+name] into every tensor of to, after checking all.
func restore(to Weights, from map[string]*tensor.Tensor, prefix string) error {
	for _, name := range slices.Sorted(maps.Keys(to)) {
		t := from[prefix+name]
		if t == nil {
			return fmt.Errorf("tensor %q is missing", prefix+name)
		}
		if !slices.Equal(t.Shape, to[name].Shape) || len(t.Data) != len(to[name].Data) {
			return fmt.Errorf("tensor %q has shape %v, want %v: %w", prefix+name, t.Shape, to[name].Shape, tensor.ErrShape)
		}
	}
	for name, t := range to {
		copy(t.Data, from[prefix+name].Data)
	}
	return nil
}

// Best returns the best weights of the state, or nil.
func (s *State) Best() Weights { return s.withPrefix(PrefixBest) }

// EMA returns the averaged weights of the state, or nil.
func (s *State) EMA() Weights { return s.withPrefix(PrefixEMA) }

func (s *State) withPrefix(prefix string) Weights {
	var w Weights
	for name, t := range s.Tensors {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if w == nil {
				w = make(Weights)
			}
			w[rest] = t
		}
	}
	return w
}

// reservedName reports a node whose name would make its parameters look like
// another part of a State.
func reservedName(g *graph.Graph) error {
	for _, n := range g.Nodes {
		for _, prefix := range []string{PrefixOptimiser, PrefixEMA, PrefixBest} {
			if strings.HasPrefix(n.Name+".", prefix) {
				return fmt.Errorf("node %q: names beginning with %q are reserved in training: %w", n.Name, prefix, graph.ErrInvalid)
			}
		}
	}
	return nil
}

// state returns a copy of where the training stands.
func (t *trainer) state() *State {
	s := &State{Tensors: make(map[string]*tensor.Tensor), Progress: t.at}
	s.Progress.Elapsed = t.before + time.Since(t.began)
	s.Progress.History = append([]EpochStats(nil), t.at.History...)
	put := func(prefix string, w Weights) {
		for name, x := range w {
			s.Tensors[prefix+name] = x.Clone()
		}
	}
	put("", t.weights)
	put(PrefixEMA, t.ema)
	put(PrefixBest, t.best)
	put(PrefixOptimiser, t.buffers())
	return s
}

// buffers returns the optimiser's buffers as tensors of their parameters'
// shapes, sharing the data.
func (t *trainer) buffers() Weights {
	w := make(Weights)
	for _, p := range t.net.Params() {
		for _, b := range []string{"momentum.", "m.", "v."} {
			if data := t.opt.Buffers()[b+p.Name]; data != nil {
				w[b+p.Name] = &tensor.Tensor{Shape: p.Value.Shape, Data: data}
			}
		}
	}
	return w
}

// restore continues from a state.
func (t *trainer) restore(s *State) error {
	if diff := differs(&s.Progress.Config, &t.cfg); diff != "" {
		return fmt.Errorf("the run was made with another configuration: %s", diff)
	}
	p := s.Progress
	if p.Epoch < 0 || p.Epoch > t.cfg.Total() || p.Batch < 0 || p.Batch > t.train.Len() || p.Step != p.Epoch*t.train.Len()+p.Batch {
		return fmt.Errorf("epoch %d, batch %d, step %d do not fit epochs of %d batches", p.Epoch, p.Batch, p.Step, t.train.Len())
	}
	if err := restore(t.weights, s.Tensors, ""); err != nil {
		return err
	}
	if err := restore(t.buffers(), s.Tensors, PrefixOptimiser); err != nil {
		return err
	}
	if t.ema != nil {
		if err := restore(t.ema, s.Tensors, PrefixEMA); err != nil {
			return err
		}
	}
	if p.BestEpoch > 0 && t.cfg.KeepBest {
		t.best = t.weights.Clone()
		if err := restore(t.best, s.Tensors, PrefixBest); err != nil {
			return err
		}
	}
	t.opt.SetSteps(p.Step)
	t.net.Refresh()
	t.at = p
	t.at.History = append([]EpochStats(nil), p.History...)
	t.before = p.Elapsed
	t.checkpoint = p.Step
	return nil
}
