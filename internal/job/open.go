package job

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/nir"
	"github.com/adafire/adafire/onnx"
)

// OpenOptions say how a network of others is read. The zero value finds
// everything out, as far as the file tells.
type OpenOptions struct {
	Arch       string      // architecture of a file of weights
	Input      graph.Shape // of a sample, [H, W, C]; nil: what the file or architecture says
	Classes    int         // outputs of a file of weights, 0: what it says
	Key        string      // where in a PyTorch file the weights are, joined by dots
	KeepPrefix bool        // keep prefixes such as "module." on names
	Partial    bool        // leave parameters that the file lacks as they are initialised
	Seed       uint64      // of those
	NewerOpset bool        // read ONNX files of opsets newer than the newest known
	Version    string      // of AdaFire, for the provenance
}

// OpenNetwork reads a network from a file of any kind: AdaFire's own, ONNX, NIR,
// and PyTorch's .pth, .safetensors and .npz with the weights of an architecture
// that models builds. notes say what a user should know.
func OpenNetwork(path string, o OpenOptions) (m *checkpoint.Model, notes []string, err error) {
	if checkpoint.IsModel(path) {
		m, err := checkpoint.LoadModel(path)
		return m, nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: not a regular file", path)
	}
	head := make([]byte, 16)
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	n, _ := io.ReadFull(f, head)
	f.Close()
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("\x89HDF\r\n\x1a\n")):
		return openNIR(path, o)
	case IsONNX(head), strings.EqualFold(filepath.Ext(path), ".onnx"):
		return openONNX(path, o)
	}
	return openWeights(path, o)
}

// IsONNX says whether the first bytes of a file look like an ONNX ModelProto:
// the field ir_version (1, a small number) followed by the producer, the graph
// or the operator sets.
func IsONNX(head []byte) bool {
	return len(head) > 3 && head[0] == 0x08 && head[1] >= 1 && head[1] <= 32 &&
		slices.Contains([]byte{0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42}, head[2])
}

// openONNX imports an ONNX network.
func openONNX(path string, o OpenOptions) (*checkpoint.Model, []string, error) {
	opts := onnx.Options{AllowNewerOpset: o.NewerOpset}
	if o.Input != nil {
		name, err := onnxInput(path)
		if err != nil {
			return nil, nil, err
		}
		shape := []int{o.Input.Channels()}
		opts.InputShapes = map[string][]int{name: append(shape, o.Input[:len(o.Input)-1]...)}
	}
	m, err := onnx.Import(path, opts)
	if err != nil {
		return nil, nil, err
	}
	notes := []string{fmt.Sprintf("%s: ONNX opset %d, written by %s, %d nodes here", path, m.Opset, cmp.Or(m.Producer, "a program that does not say"), len(m.Graph.Nodes))}
	notes = append(notes, m.Notes...)
	if m.Batch > 0 {
		notes = append(notes, fmt.Sprintf("the network mixes the samples of a batch: a sample here is a batch of %d", m.Batch))
	}
	for _, b := range m.Report.Blocking() {
		notes = append(notes, fmt.Sprintf("node %q (%s) stands in the way of conversion: the network runs as an ANN only", b.Name, b.Kind))
	}
	if m.Report.Layers == 0 {
		notes = append(notes, "the network has no activation that becomes spiking neurons: it runs as an ANN only")
	}
	p := checkpoint.Provenance{Version: o.Version, Source: filepath.Base(path), Time: time.Now().UTC().Format(time.RFC3339)}
	// What AdaFire's own exports say of themselves; a list that cannot be read is
	// as good as none.
	for key, to := range map[string]any{"adafire.classes": &p.Classes, "adafire.input.mean": &p.Mean, "adafire.input.std": &p.Std} {
		if text := m.Metadata[key]; text != "" {
			if err := json.Unmarshal([]byte(text), to); err != nil {
				notes = append(notes, fmt.Sprintf("%s in the file's metadata is no list: %v", key, err))
			}
		}
	}
	return &checkpoint.Model{Kind: checkpoint.KindANN, Graph: m.Graph, Provenance: p}, notes, nil
}

// onnxInput returns the name of the only input that is no initialiser.
func onnxInput(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	f, err := onnx.Decode(data, path)
	if err != nil {
		return "", err
	}
	var names []string
	for _, in := range f.Graph.Inputs {
		if !slices.ContainsFunc(f.Graph.Initializers, func(t *onnx.TensorDef) bool { return t.Name == in.Name }) {
			names = append(names, in.Name)
		}
	}
	if len(names) != 1 {
		return "", fmt.Errorf("%s: inputs %s: a shape can be given for a network with one", path, strings.Join(names, ", "))
	}
	return names[0], nil
}

// openNIR imports a network of spiking neurons, or one without any.
func openNIR(path string, o OpenOptions) (*checkpoint.Model, []string, error) {
	in, err := nir.Import(path)
	if err != nil {
		return nil, nil, err
	}
	notes := in.Warnings
	if in.Restored {
		notes = append(notes, path+": written by AdaFire, restored bit for bit")
	}
	p := checkpoint.Provenance{Version: o.Version, Source: filepath.Base(path), Classes: in.Classes, Time: time.Now().UTC().Format(time.RFC3339)}
	if in.SNN == nil {
		return &checkpoint.Model{Kind: checkpoint.KindANN, Graph: in.Graph, Provenance: p}, notes, nil
	}
	m, err := spikingModel(&Converted{Result: &convert.Result{Graph: in.Graph, SNN: in.SNN}}, p)
	return m, notes, err
}

// openWeights makes a network of a state dict.
func openWeights(path string, o OpenOptions) (*checkpoint.Model, []string, error) {
	s, err := checkpoint.OpenStateDict(path, checkpoint.StateDictOptions{Key: o.Key, KeepPrefix: o.KeepPrefix})
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	g, c, a, err := FromStateDict(s, o.Arch, o.Input, o.Classes, o.Partial, o.Seed)
	if err != nil {
		return nil, nil, err
	}
	notes := []string{fmt.Sprintf("%s: %s, %d tensors, %d numbers, read as %s for samples of %dx%dx%d",
		path, s.Format, len(s.Tensors), s.Parameters(), c.Arch, c.Input[0], c.Input[1], c.Input[2])}
	if s.Key != "" {
		notes = append(notes, fmt.Sprintf("the weights were under the key %q", s.Key))
	}
	if len(s.Others) > 0 {
		notes = append(notes, "other keys hold tensors too: "+strings.Join(s.Others, ", "))
	}
	if s.Stripped != "" {
		notes = append(notes, fmt.Sprintf("the prefix %q was taken off all names", s.Stripped))
	}
	notes = append(notes, s.Warnings...)
	if len(a.Missing) > 0 {
		notes = append(notes, "left at their initial values: "+strings.Join(a.Missing, ", "))
	}
	if len(a.Unused) > 0 {
		notes = append(notes, "not used: "+strings.Join(a.Unused, ", "))
	}
	p := checkpoint.Provenance{Version: o.Version, Source: filepath.Base(path), Time: time.Now().UTC().Format(time.RFC3339)}
	p.Mean, p.Std = Normalisation(c.Arch, c.Input)
	return &checkpoint.Model{Kind: checkpoint.KindANN, Graph: g, Provenance: p}, notes, nil
}

// Normalisation is the input normalisation with which an architecture's
// released weights were trained, per channel of values 0..1; nil where there is
// no usual one.
func Normalisation(arch string, input graph.Shape) (mean, std []float32) {
	switch {
	case len(input) != 3 || input[2] != 3 || input[0] < 64:
		return nil, nil
	case arch == "efficientnet-lite0":
		return []float32{127. / 255, 127. / 255, 127. / 255}, []float32{128. / 255, 128. / 255, 128. / 255}
	}
	return []float32{0.485, 0.456, 0.406}, []float32{0.229, 0.224, 0.225}
}
