package snn

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/internal/kernel"
)

// Neurons is one layer of burst integrate-and-fire neurons on its own, driven
// by currents that the caller gives timestep by timestep:
//
//	u = v + I[t] + s[t]
//	n[t] = clamp(floor(u/theta), 0, maxspike)
//	v = u - theta*n[t]
//
// (algorithms.md 1.2 and 1.3). Inside, everything is divided by the threshold.
// Networks do not need it; it is for studying neurons and for other simulators
// to agree with.
type Neurons struct {
	threshold []float32 // per channel
	maxSpike  uint8
	shift     float32
	v         []float32
	scaled    []float32
}

// NewNeurons returns neurons at rest: count of them, of which every
// len(channels) consecutive ones belong to one position. l.Node is ignored;
// timesteps is the T of the per-step shift.
func NewNeurons(l Layer, channels, count int, shift Shift, timesteps int) (*Neurons, error) {
	if channels < 1 || count < 1 || count%channels != 0 {
		return nil, fmt.Errorf("%d neurons do not split into %d channels", count, channels)
	}
	if l.MaxSpike < 1 || l.MaxSpike > MaxBurst {
		return nil, fmt.Errorf("maxspike %d: want 1 to %d", l.MaxSpike, MaxBurst)
	}
	if k := len(l.Threshold); k != 1 && k != channels {
		return nil, fmt.Errorf("%d thresholds for %d channels", k, channels)
	}
	if slices.ContainsFunc(l.Threshold, func(theta float32) bool { return !(theta > 0) || theta-theta != 0 }) {
		return nil, fmt.Errorf("thresholds %v: want positive numbers", l.Threshold)
	}
	if l.Initial != nil && len(l.Initial) != count {
		return nil, fmt.Errorf("%d initial potentials for %d neurons", len(l.Initial), count)
	}
	if timesteps < 1 || timesteps > MaxTimesteps {
		return nil, fmt.Errorf("timesteps %d: want 1 to %d", timesteps, MaxTimesteps)
	}
	n := &Neurons{threshold: slices.Clone(l.perChannel(channels)), maxSpike: uint8(l.MaxSpike), v: make([]float32, count), scaled: make([]float32, count)}
	var start float32
	switch shift {
	case ShiftInitial:
		start = 0.5
	case ShiftPerStep:
		n.shift = 1 / float32(2*timesteps)
	case ShiftNone:
	default:
		return nil, fmt.Errorf("shift %q: want %s, %s or %s", shift, ShiftInitial, ShiftPerStep, ShiftNone)
	}
	for i := range n.v {
		n.v[i] = start
		if l.Initial != nil {
			n.v[i] += l.Initial[i] / n.threshold[i%channels]
		}
	}
	return n, nil
}

// Step advances all neurons by one timestep with the given currents, in units
// of the activation, and writes their spike counts to counts.
func (n *Neurons) Step(current []float32, counts []uint8) error {
	if len(current) != len(n.v) || len(counts) != len(n.v) {
		return fmt.Errorf("%d currents and %d counts for %d neurons", len(current), len(counts), len(n.v))
	}
	for i, x := range current {
		n.scaled[i] = x / n.threshold[i%len(n.threshold)]
	}
	if _, _, finite := kernel.Fire(counts, n.v, n.scaled, n.shift, n.maxSpike); !finite {
		at := slices.IndexFunc(n.v, func(u float32) bool { return u-u != 0 })
		return fmt.Errorf("membrane potential of neuron %d is %g: %w", at, n.v[at], ErrNotFinite)
	}
	return nil
}

// Membrane writes the membrane potentials, in units of the activation, to dst.
func (n *Neurons) Membrane(dst []float32) {
	for i, v := range n.v[:len(dst)] {
		dst[i] = v * n.threshold[i%len(n.threshold)]
	}
}
