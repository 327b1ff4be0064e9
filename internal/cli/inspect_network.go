package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// inspectSafetensors shows a network, or the tensors of a file of others.
func inspectSafetensors(path string) (*finding, error) {
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := f.Model()
	if errors.Is(err, checkpoint.ErrForeign) {
		return inspectTensors(f), nil
	}
	if err != nil {
		return nil, err
	}
	return inspectModel(path, m)
}

// A networkFinding is the JSON form of a network.
type networkFinding struct {
	Kind       string                `json:"kind"` // ann, snn, train or calibration
	Parameters int64                 `json:"parameters"`
	MACs       int64                 `json:"macs"`
	Layers     []layerFinding        `json:"layers"`
	Provenance checkpoint.Provenance `json:"provenance"`
	Spiking    *spikingFinding       `json:"spiking,omitempty"`
	SNN        json.RawMessage       `json:"snn,omitempty"` // as in the file
	Train      json.RawMessage       `json:"train,omitempty"`
	Extra      []tensorFinding       `json:"extra,omitempty"`
}

type layerFinding struct {
	Name       string   `json:"name"`
	Op         string   `json:"op"`
	Inputs     []string `json:"inputs,omitempty"`
	Shape      []int    `json:"shape"`
	Parameters int64    `json:"parameters"`
	MACs       int64    `json:"macs"`
}

// A tensorFinding describes a tensor; the figures are over its finite values
// and absent if there are none or they were not read.
type tensorFinding struct {
	Name      string   `json:"name"`
	DType     string   `json:"dtype,omitempty"`
	Shape     []int    `json:"shape"`
	Min       *float64 `json:"min,omitempty"`
	Max       *float64 `json:"max,omitempty"`
	Mean      *float64 `json:"mean,omitempty"`
	NotFinite int64    `json:"not_finite,omitempty"` // values that are NaN or infinite
}

var modelKinds = map[string]string{
	checkpoint.KindANN:         "network (ANN)",
	checkpoint.KindSNN:         "spiking network (SNN)",
	checkpoint.KindTrain:       "network in training",
	checkpoint.KindCalibration: "conversion under way",
}

func inspectModel(path string, m *checkpoint.Model) (*finding, error) {
	spiking, err := describeSpiking(path, m)
	if err != nil {
		return nil, err
	}
	n := networkFinding{Kind: m.Kind, Parameters: m.Graph.Parameters(), MACs: m.Graph.MACs(),
		Provenance: m.Provenance, Spiking: spiking, SNN: m.SNN, Train: m.Train}
	for _, node := range m.Graph.Nodes {
		l := layerFinding{Name: node.Name, Op: node.Kind(), Shape: node.Shape, MACs: node.MACs()}
		for _, in := range node.Inputs {
			l.Inputs = append(l.Inputs, in.Name)
		}
		for role, p := range node.Params {
			if graph.Trainable(role) {
				l.Parameters += int64(p.Len())
			}
		}
		n.Layers = append(n.Layers, l)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Extra)) {
		n.Extra = append(n.Extra, describeTensor(name, m.Extra[name]))
	}
	return &finding{kind: modelKinds[m.Kind], json: n, graph: m.Graph, text: func(w io.Writer) error {
		fmt.Fprintln(w)
		if err := m.Graph.Dump(w); err != nil {
			return err
		}
		writeProvenance(w, m.Provenance)
		if spiking != nil {
			if err := spiking.write(w); err != nil {
				return err
			}
		}
		return writeExtra(w, n.Extra)
	}}, nil
}

func describeTensor(name string, t *tensor.Tensor) tensorFinding {
	f := tensorFinding{Name: name, Shape: t.Shape}
	var s spread
	for _, v := range t.Data {
		s.add(float64(v))
	}
	s.into(&f)
	return f
}

// writeProvenance prints where a network comes from.
func writeProvenance(w io.Writer, p checkpoint.Provenance) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t)
	for _, line := range [][2]string{
		{"version", p.Version}, {"command", p.Command}, {"source", p.Source}, {"source sha256", p.SourceSHA256},
		{"data set", p.Dataset}, {"classes", classesText(p.Classes)}, {"mean", floatsText(p.Mean)}, {"std", floatsText(p.Std)},
		{"time", p.Time},
	} {
		if line[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", line[0], oneLine(line[1]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Metrics)) {
		fmt.Fprintf(t, "%s\t%g\n", oneLine(name), p.Metrics[name])
	}
	t.Flush()
}

// classesText names up to twenty classes.
func classesText(names []string) string {
	switch n := len(names); {
	case n == 0:
		return ""
	case n > 20:
		return fmt.Sprintf("%d: %s, ...", n, strings.Join(names[:20], ", "))
	default:
		return fmt.Sprintf("%d: %s", n, strings.Join(names, ", "))
	}
}

func floatsText(values []float32) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, " ")
}

// writeExtra prints the tensors that are no parameters, one line for each; of
// those of a training only how many there are.
func writeExtra(w io.Writer, extra []tensorFinding) error {
	state := map[string]int{}
	var shown []tensorFinding
	for _, t := range extra {
		switch prefix, _, _ := strings.Cut(t.Name, "."); prefix {
		case "optim", "ema", "best":
			state[prefix]++
		case "snn": // shown with their layers
		default:
			shown = append(shown, t)
		}
	}
	if len(shown)+len(state) > 0 {
		fmt.Fprintln(w)
	}
	for _, prefix := range slices.Sorted(maps.Keys(state)) {
		fmt.Fprintf(w, "%d tensors of training state %q\n", state[prefix], prefix)
	}
	if len(shown) == 0 {
		return nil
	}
	return writeTensors(w, shown)
}
