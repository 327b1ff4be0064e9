package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/internal/job"
)

// inspectForeign shows an ONNX or NIR network as import would make it.
func inspectForeign(path string) (*finding, error) {
	m, notes, err := job.OpenNetwork(path, job.OpenOptions{})
	if err != nil {
		return nil, err
	}
	f, err := inspectModel(path, m)
	if err != nil {
		return nil, err
	}
	text := f.text
	f.text = func(w io.Writer) error {
		for _, n := range notes {
			fmt.Fprintln(w, oneLine(n))
		}
		return text(w)
	}
	return f, nil
}

// A weightsFinding describes a file of weights without a network.
type weightsFinding struct {
	Format     string          `json:"format"`
	Parameters int             `json:"numbers"`
	Key        string          `json:"key,omitempty"`
	Others     []string        `json:"other_keys,omitempty"`
	Stripped   string          `json:"stripped_prefix,omitempty"`
	Warnings   []string        `json:"warnings,omitempty"`
	Likely     []likely        `json:"likely,omitempty"`
	Tensors    []tensorFinding `json:"tensors"`
}

type likely struct {
	Arch  string  `json:"arch"`
	Share float64 `json:"share"` // of the network's parameters that are there
}

// inspectWeights lists the tensors of a file of weights, and the networks they
// may belong to.
func inspectWeights(path string) (*finding, error) {
	s, err := checkpoint.OpenStateDict(path, checkpoint.StateDictOptions{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	f := weightsFinding{Format: s.Format, Parameters: s.Parameters(), Key: s.Key, Others: s.Others, Stripped: s.Stripped, Warnings: s.Warnings}
	for _, l := range job.Recognise(s) {
		if l.Share >= 0.1 && len(f.Likely) < 3 {
			f.Likely = append(f.Likely, likely{l.Config.Arch, l.Share})
		}
	}
	for _, t := range s.Tensors {
		f.Tensors = append(f.Tensors, tensorFinding{Name: t.Name, DType: string(t.DType), Shape: t.Shape})
	}
	return &finding{kind: "file of weights (" + s.Format + ")", json: f, text: f.write}, nil
}

func (f weightsFinding) write(w io.Writer) error {
	fmt.Fprintf(w, "%d tensors, %d numbers\n", len(f.Tensors), f.Parameters)
	if f.Key != "" {
		fmt.Fprintf(w, "under the key %q\n", f.Key)
	}
	if len(f.Others) > 0 {
		fmt.Fprintf(w, "other keys with tensors: %s\n", strings.Join(f.Others, ", "))
	}
	if f.Stripped != "" {
		fmt.Fprintf(w, "without the prefix %q of all names\n", f.Stripped)
	}
	for _, warning := range f.Warnings {
		fmt.Fprintf(w, "note: %s\n", oneLine(warning))
	}
	for _, l := range f.Likely {
		fmt.Fprintf(w, "%3.0f %% of the parameters of %s\n", 100*l.Share, l.Arch)
	}
	var err error
	for _, t := range f.Tensors {
		_, err = fmt.Fprintf(w, "  %-48s %-5s %v\n", oneLine(t.Name), t.DType, t.Shape)
	}
	return err
}
