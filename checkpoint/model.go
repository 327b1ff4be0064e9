package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// Schema is the version of the checkpoint's metadata that this package writes
// and the highest that it reads.
const Schema = 1

// The kinds of checkpoint.
const (
	KindANN         = "ann"         // a network
	KindSNN         = "snn"         // a converted network: SNN says how it fires
	KindTrain       = "train"       // a network in training: Train and Extra resume it
	KindCalibration = "calibration" // a conversion under way: SNN or Train, and Extra
)

// ErrForeign marks safetensors files that hold no AdaFire network; they can
// still be opened as plain tensors.
var ErrForeign = errors.New("not an AdaFire checkpoint")

// ErrNewer marks checkpoints that only a newer AdaFire reads.
var ErrNewer = errors.New("written by a newer AdaFire")

// A Model is the content of a checkpoint.
type Model struct {
	Kind       string          // KindANN, KindSNN, KindTrain or KindCalibration
	Graph      *graph.Graph    // the network with its parameters
	SNN        json.RawMessage // how the network fires; needed by KindSNN
	Train      json.RawMessage // how training goes on; needed by KindTrain
	Provenance Provenance

	// Extra holds further tensors. Their names begin with "optim." (optimiser
	// state), "ema." (averaged weights), "best." (the best so far), "snn." (thresholds, initial potentials)
	// or "calib." (calibration under way).
	Extra map[string]*tensor.Tensor
}

// Provenance says where a network comes from. Empty members are left out of
// the file.
type Provenance struct {
	Version      string             `json:"version,omitempty"`       // of AdaFire
	Command      string             `json:"command,omitempty"`       // command line, without paths
	Source       string             `json:"source,omitempty"`        // file name, without folder
	SourceSHA256 string             `json:"source_sha256,omitempty"` // hexadecimal
	Dataset      string             `json:"dataset,omitempty"`
	Classes      []string           `json:"classes,omitempty"` // names, in the order of the logits
	Mean         []float32          `json:"mean,omitempty"`    // input normalisation, per channel
	Std          []float32          `json:"std,omitempty"`
	Time         string             `json:"time,omitempty"` // RFC 3339
	Metrics      map[string]float64 `json:"metrics,omitempty"`
}

// extraPrefixes begin the names of tensors that are no parameters of the graph.
var extraPrefixes = []string{"optim.", "ema.", "best.", "snn.", "calib."}

func isExtra(name string) bool {
	return slices.ContainsFunc(extraPrefixes, func(p string) bool {
		return len(name) > len(p) && strings.HasPrefix(name, p)
	})
}

// Keys of the metadata.
const (
	formatKey     = "format"
	schemaKey     = "adafire.schema"
	minReaderKey  = "adafire.min_reader"
	kindKey       = "adafire.kind"
	graphKey      = "adafire.graph"
	snnKey        = "adafire.snn"
	trainKey      = "adafire.train"
	provenanceKey = "adafire.provenance"

	ourFormat = "adafire"
	ourPrefix = "adafire."
)

// SaveModel writes the model to one safetensors file. Without force an existing
// file is an atomicfile.ExistsError. An invalid graph, a value that is not
// finite and an extra tensor with an unknown prefix are errors, so that
// LoadModel reads whatever has been saved. Equal models give equal bytes.
func SaveModel(path string, m *Model, force bool) error {
	entries, metadata, err := encodeModel(m)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return Write(path, entries, metadata, force)
}

// EncodeModel is SaveModel to a stream.
func EncodeModel(w io.Writer, m *Model) error {
	entries, metadata, err := encodeModel(m)
	if err != nil {
		return err
	}
	return Encode(w, entries, metadata)
}

func encodeModel(m *Model) ([]Entry, map[string]string, error) {
	if err := m.check(); err != nil {
		return nil, nil, err
	}
	if err := m.Graph.Validate(); err != nil {
		return nil, nil, err
	}
	var entries []Entry
	for _, n := range m.Graph.Nodes {
		for _, role := range slices.Sorted(maps.Keys(n.Params)) {
			name := graph.ParamName(n.Name, role)
			if isExtra(name) {
				return nil, nil, fmt.Errorf("node %q: its parameter %q would be taken for state beside the graph", n.Name, name)
			}
			entries = append(entries, NewEntry(name, n.Params[role]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Extra)) {
		if !isExtra(name) {
			return nil, nil, fmt.Errorf("extra tensor %q: want a name that begins with one of %s", name, strings.Join(extraPrefixes, " "))
		}
		t := m.Extra[name]
		if i := t.FirstNonFinite(); i >= 0 {
			return nil, nil, fmt.Errorf("extra tensor %q: element %d is %g", name, i, t.Data[i])
		}
		entries = append(entries, NewEntry(name, t))
	}

	metadata := map[string]string{
		formatKey:    ourFormat,
		schemaKey:    strconv.Itoa(Schema),
		minReaderKey: strconv.Itoa(Schema),
		kindKey:      m.Kind,
	}
	for key, v := range map[string]any{graphKey: m.Graph, provenanceKey: m.Provenance, snnKey: m.SNN, trainKey: m.Train} {
		if raw, ok := v.(json.RawMessage); ok && len(raw) == 0 {
			continue
		}
		text, err := canonical(v)
		if err == nil {
			err = checkJSON([]byte(text))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", key, err)
		}
		metadata[key] = text
	}
	return entries, metadata, nil
}

// canonical returns v as JSON without white space and without escapes meant for
// HTML.
func canonical(v any) (string, error) {
	var b, compact bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	if err := json.Compact(&compact, b.Bytes()); err != nil {
		return "", err
	}
	return compact.String(), nil
}

// check looks at what the kind needs.
func (m *Model) check() error {
	if m.Graph == nil {
		return errors.New("no graph")
	}
	switch m.Kind {
	case KindANN:
	case KindSNN:
		if len(m.SNN) == 0 {
			return fmt.Errorf("kind %q without %s", m.Kind, snnKey)
		}
	case KindTrain:
		if len(m.Train) == 0 {
			return fmt.Errorf("kind %q without %s", m.Kind, trainKey)
		}
	case KindCalibration:
		if len(m.SNN) == 0 && len(m.Train) == 0 {
			return fmt.Errorf("kind %q without %s and %s", m.Kind, snnKey, trainKey)
		}
	default:
		return fmt.Errorf("kind %q: want %s, %s, %s or %s", m.Kind, KindANN, KindSNN, KindTrain, KindCalibration)
	}
	return nil
}
