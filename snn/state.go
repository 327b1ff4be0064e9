package snn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/adafire/adafire/tensor"
)

// stateJSON is the part of a Config that is stored as JSON beside a network;
// thresholds and potentials are tensors.
type stateJSON struct {
	Timesteps int         `json:"timesteps"`
	Shift     Shift       `json:"shift"`
	MaxPool   MaxPool     `json:"max_pool"`
	Signed    bool        `json:"signed,omitempty"`
	Schedule  Schedule    `json:"schedule,omitempty"`
	Weights   Precision   `json:"weights,omitempty"`
	Layers    []layerJSON `json:"layers"`
}

type layerJSON struct {
	Node      string `json:"node"`
	MaxSpike  int    `json:"maxspike"`
	Threshold string `json:"threshold_mode"` // "channel" or "tensor"
	Initial   bool   `json:"initial"`        // whether there are initial potentials
}

// tensorName is where a layer's values are stored.
func tensorName(node, what string) string { return "snn." + node + "." + what }

// Encode splits the settings into JSON and tensors named snn.NODE.threshold
// ([channels] or [1]) and, where there are any, snn.NODE.initial.
func (c *Config) Encode() (json.RawMessage, map[string]*tensor.Tensor, error) {
	s := stateJSON{Timesteps: c.Timesteps, Shift: c.Shift, MaxPool: c.MaxPool, Signed: c.Signed, Schedule: c.Schedule, Weights: c.Weights, Layers: []layerJSON{}}
	tensors := make(map[string]*tensor.Tensor)
	put := func(node, what string, v []float32) {
		tensors[tensorName(node, what)] = &tensor.Tensor{Shape: []int{len(v)}, Data: v}
	}
	for _, l := range c.Layers {
		j := layerJSON{Node: l.Node, MaxSpike: l.MaxSpike, Threshold: "channel", Initial: l.Initial != nil}
		if len(l.Threshold) == 1 {
			j.Threshold = "tensor"
		}
		put(l.Node, "threshold", l.Threshold)
		if l.Initial != nil {
			put(l.Node, "initial", l.Initial)
		}
		s.Layers = append(s.Layers, j)
	}
	data, err := json.Marshal(s)
	return data, tensors, err
}

// Decode is the inverse of Encode. Every tensor whose name begins with "snn."
// must be used; unknown members are errors. New checks the result against the
// graph.
func Decode(data []byte, tensors map[string]*tensor.Tensor) (*Config, error) {
	var s stateJSON
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("neuron settings: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("neuron settings: data behind the object")
	}
	c := &Config{Timesteps: s.Timesteps, Shift: s.Shift, MaxPool: s.MaxPool, Signed: s.Signed, Schedule: s.Schedule, Weights: s.Weights}
	used := make(map[string]bool, len(tensors))
	get := func(node, what string) ([]float32, error) {
		t := tensors[tensorName(node, what)]
		if t == nil || len(t.Shape) != 1 {
			return nil, fmt.Errorf("neuron settings: tensor %q is missing or no vector", tensorName(node, what))
		}
		used[tensorName(node, what)] = true
		return t.Data, nil
	}
	for _, j := range s.Layers {
		l := Layer{Node: j.Node, MaxSpike: j.MaxSpike}
		var err error
		if l.Threshold, err = get(j.Node, "threshold"); err != nil {
			return nil, err
		}
		// One channel makes one threshold in either mode.
		if j.Threshold != "channel" && (j.Threshold != "tensor" || len(l.Threshold) != 1) {
			return nil, fmt.Errorf("neuron settings: node %q: threshold mode %q with %d thresholds", j.Node, j.Threshold, len(l.Threshold))
		}
		if j.Initial {
			if l.Initial, err = get(j.Node, "initial"); err != nil {
				return nil, err
			}
		}
		c.Layers = append(c.Layers, l)
	}
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		if !used[name] {
			return nil, fmt.Errorf("neuron settings: no layer names the tensor %q", name)
		}
	}
	return c, nil
}
