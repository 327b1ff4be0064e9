package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// provenance describes where a network comes from.
func (d *Data) provenance(version string) checkpoint.Provenance {
	info := d.Test.Info()
	return checkpoint.Provenance{Version: version, Dataset: d.Name, Classes: info.Classes, Mean: info.Mean, Std: info.Std,
		Time: time.Now().UTC().Format(time.RFC3339)}
}

// snnJSON is what the file of a spiking network stores beside the tensors.
type snnJSON struct {
	Neurons json.RawMessage     `json:"neurons"` // see snn.Config.Encode
	Exit    *convert.ExitPolicy `json:"exit,omitempty"`
}

// SaveSNN writes a converted network with its exit policy, if it has one.
func SaveSNN(path string, r *Converted, p checkpoint.Provenance, force bool) error {
	m, err := spikingModel(r, p)
	if err != nil {
		return err
	}
	return checkpoint.SaveModel(path, m, force)
}

// spikingModel is what the file of a converted network holds.
func spikingModel(r *Converted, p checkpoint.Provenance) (*checkpoint.Model, error) {
	neurons, tensors, err := r.SNN.Encode()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(snnJSON{neurons, r.Exit})
	if err != nil {
		return nil, err
	}
	return &checkpoint.Model{Kind: checkpoint.KindSNN, Graph: r.Graph, SNN: data, Extra: tensors, Provenance: p}, nil
}

// LoadSNN reads a converted network.
func LoadSNN(path string) (*Converted, *checkpoint.Model, error) {
	m, err := checkpoint.LoadModel(path)
	if err != nil {
		return nil, nil, err
	}
	c, err := Spiking(path, m)
	return c, m, err
}

// Spiking returns the converted network that a loaded checkpoint holds.
func Spiking(path string, m *checkpoint.Model) (*Converted, error) {
	if m.Kind != checkpoint.KindSNN {
		return nil, fmt.Errorf("%s: holds a network of kind %q, want %q", path, m.Kind, checkpoint.KindSNN)
	}
	var s snnJSON
	d := json.NewDecoder(bytes.NewReader(m.SNN))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("%s: spiking network: %w", path, err)
	}
	cfg, err := snn.Decode(s.Neurons, m.Extra)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c := &Converted{Result: &convert.Result{Graph: m.Graph, SNN: cfg}, Exit: s.Exit}
	net, err := c.Network()
	if err == nil && c.Exit != nil {
		if err = c.Exit.Validate(); err == nil {
			err = c.Exit.Fits(net)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// trainJSON is what a training checkpoint stores beside the tensors.
type trainJSON struct {
	Progress ann.TrainProgress `json:"progress"`
	Model    models.Config     `json:"model"`
	Data     trainData         `json:"data"`
}

// trainData identifies the data a training has seen; going on with other data
// would not give the same network.
type trainData struct {
	Name   string          `json:"name"`
	SHA256 string          `json:"sha256"`
	Loader json.RawMessage `json:"loader"`
}

// saveState writes a training checkpoint.
func saveState(path string, g *graph.Graph, s *ann.State, meta trainJSON, p checkpoint.Provenance) error {
	meta.Progress = s.Progress
	data, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	m := &checkpoint.Model{Kind: checkpoint.KindTrain, Graph: g.CloneShared(), Train: data, Extra: make(map[string]*tensor.Tensor), Provenance: p}
	for _, n := range m.Graph.Nodes {
		for role := range n.Params {
			n.Params[role] = s.Tensors[graph.ParamName(n.Name, role)]
		}
	}
	for name, t := range s.Tensors {
		if isStatePart(name) {
			m.Extra[name] = t
		}
	}
	return checkpoint.SaveModel(path, m, true)
}

func isStatePart(name string) bool {
	for _, prefix := range []string{ann.PrefixOptimiser, ann.PrefixEMA, ann.PrefixBest} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// loadState reads a training checkpoint.
func loadState(path string) (*ann.State, trainJSON, error) {
	var meta trainJSON
	m, err := checkpoint.LoadModel(path)
	if err != nil {
		return nil, meta, err
	}
	if m.Kind != checkpoint.KindTrain {
		return nil, meta, fmt.Errorf("%s: holds a network of kind %q, want %q", path, m.Kind, checkpoint.KindTrain)
	}
	if err := json.Unmarshal(m.Train, &meta); err != nil {
		return nil, meta, fmt.Errorf("%s: training state: %w", path, err)
	}
	s := &ann.State{Progress: meta.Progress, Tensors: make(map[string]*tensor.Tensor)}
	for name, t := range m.Extra {
		s.Tensors[name] = t
	}
	for name, t := range ann.WeightsOf(m.Graph) {
		s.Tensors[name] = t
	}
	return s, meta, nil
}
