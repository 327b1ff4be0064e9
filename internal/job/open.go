package job

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/graph"
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
	Version    string      // of AdaFire, for the provenance
}

// OpenNetwork reads a network from a file of any kind: AdaFire's own, PyTorch's
// .pth, .safetensors and .npz with the weights of an architecture that models
// builds. notes say what a user should know.
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
	return openWeights(path, o)
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
