package nir

import (
	"context"
	"fmt"
	"slices"

	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// An Outcome is what a graph does in one mode on samples.
type Outcome struct {
	Mode    Mode
	Samples int
	Correct int // of the labelled; 0 without labels
	// Agree counts the samples with the class that the first mode finds.
	Agree  int
	Class  []int // per sample: the largest mean output
	Firing []Firing
}

// Measure runs samples x [N, ...], channels last as AdaFire has them, each for
// the given timesteps, in several modes, and compares the largest mean output
// with labels (nil: none) and with what the first mode finds: what is lost on a
// simulator of another mode. A nil pool runs in the calling goroutine.
func Measure(ctx context.Context, pool *parallel.Pool, g *Graph, x *tensor.Tensor, labels []int, timesteps int, modes ...Mode) ([]Outcome, error) {
	if timesteps < 1 || len(modes) == 0 {
		return nil, fmt.Errorf("%d timesteps, %d modes: want at least one of each", timesteps, len(modes))
	}
	if x == nil || len(x.Shape) < 2 || x.Shape[0] < 1 {
		return nil, fmt.Errorf("no samples")
	}
	samples := x.Shape[0]
	if labels != nil && len(labels) != samples {
		return nil, fmt.Errorf("%d labels for %d samples", len(labels), samples)
	}
	first := x
	if len(x.Shape) > 2 {
		var err error
		if first, err = tensor.ChannelsFirst(x); err != nil {
			return nil, err
		}
	}
	size := len(x.Data) / samples
	var out []Outcome
	for _, mode := range modes {
		o := Outcome{Mode: mode, Samples: samples, Class: make([]int, samples)}
		workers := make([]*Simulator, pool.Workers())
		errs := make([]error, samples)
		pool.ForWorker(samples, func(worker, i int) {
			if errs[i] = ctx.Err(); errs[i] != nil {
				return
			}
			if workers[worker] == nil {
				if workers[worker], errs[i] = NewSimulator(g, mode); errs[i] != nil {
					return
				}
			}
			o.Class[i], errs[i] = workers[worker].classify(first.Data[i*size:(i+1)*size], timesteps)
		})
		for _, err := range errs {
			if err != nil {
				return nil, err
			}
		}
		o.Firing = mergeFiring(workers)
		for i, class := range o.Class {
			if labels != nil && class == labels[i] {
				o.Correct++
			}
			if len(out) == 0 || class == out[0].Class[i] {
				o.Agree++
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// classify runs one sample and returns the index of the largest mean output.
func (s *Simulator) classify(x []float32, timesteps int) (int, error) {
	y, err := s.Run(&tensor.Tensor{Shape: []int{timesteps, len(x)}, Data: slices.Repeat(x, timesteps)})
	if err != nil {
		return 0, err
	}
	size := len(y.Data) / timesteps
	best, sum := 0, make([]float64, size)
	for i, v := range y.Data {
		sum[i%size] += float64(v)
	}
	for i, v := range sum {
		if v > sum[best] {
			best = i
		}
	}
	return best, nil
}

// mergeFiring adds up what the workers' simulators counted.
func mergeFiring(workers []*Simulator) []Firing {
	var total *Simulator
	for _, s := range workers {
		if s == nil {
			continue
		}
		if total == nil {
			total = s
			continue
		}
		for i, u := range s.units {
			t := total.units[i]
			t.spikes += u.spikes
			t.active += u.active
			t.bursts += u.bursts
			t.steps += u.steps
		}
	}
	if total == nil {
		return nil
	}
	return total.Firing()
}

// Explain turns outcomes, of which the first is AdaFire's own (Burst), into
// findings: per layer how often neurons burst, and what becomes of the classes
// in the other modes.
func Explain(outcomes []Outcome) []Finding {
	if len(outcomes) == 0 {
		return nil
	}
	var out []Finding
	own := outcomes[0]
	for i, f := range own.Firing {
		message := fmt.Sprintf("maxspike %d, %.4f spikes per neuron and step, %.1f %% of the firing steps are bursts", f.MaxSpike, f.Rate, 100*f.BurstFraction)
		for _, o := range outcomes[1:] {
			if f.Spikes > 0 && i < len(o.Firing) {
				message += fmt.Sprintf("; %s: %.0f %% of these spikes", o.Mode, 100*float64(o.Firing[i].Spikes)/float64(f.Spikes))
			}
		}
		out = append(out, Finding{Level: Note, Node: f.Node, Type: "IF", Message: message})
	}
	for _, o := range outcomes {
		message := fmt.Sprintf("mode %s: %d of %d samples get the class of mode %s", o.Mode, o.Agree, o.Samples, own.Mode)
		if o.Correct > 0 || own.Correct > 0 {
			message += fmt.Sprintf(", %.2f %% are right", 100*float64(o.Correct)/float64(o.Samples))
		}
		level := Note
		if o.Agree < o.Samples {
			level = Differs
		}
		out = append(out, Finding{Level: level, Message: message})
	}
	return out
}
