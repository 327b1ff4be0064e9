package cli

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/models"
	"github.com/spf13/pflag"
)

// networkFlags name a network and how a file of others is to be read.
type networkFlags struct {
	path       string
	options    job.OpenOptions
	inputShape string
	classFile  string
	mean, std  string
}

// registerModel defines --model and what goes with it.
func (n *networkFlags) registerModel(f *pflag.FlagSet, usage string) {
	f.StringVar(&n.path, "model", "", usage)
	n.register(f)
}

// register defines the flags that say how files of others are read. A command
// that has --arch already, for training, shares it.
func (n *networkFlags) register(f *pflag.FlagSet) {
	if f.Lookup("arch") == nil {
		choiceVar(f, &n.options.Arch, "arch", "", models.Names(), "network that a file of weights belongs to (default: recognised by its names)")
	}
	textVar(f, &n.inputShape, "input-shape", "", "CxHxW, such as 3x224x224", func(text string) error {
		if text == "" {
			return nil
		}
		_, err := parseInputShape(text)
		return err
	}, "shape of a sample, where the file does not tell")
	intVar(f, &n.options.Classes, "classes", 0, 0, 100000, "outputs of a file of weights, 0 for what it says")
	f.StringVar(&n.options.Key, "key", "", "`KEY.KEY` that leads to the weights in a PyTorch file")
	f.BoolVar(&n.options.KeepPrefix, "keep-prefix", false, "keep prefixes such as module. on the names of weights")
	f.BoolVar(&n.options.Partial, "partial", false, "leave weights that the file lacks at their initial values")
	f.BoolVar(&n.options.NewerOpset, "allow-newer-opset", false, "read ONNX files of newer opsets than known, if all operators are")
	f.StringVar(&n.classFile, "class-names", "", "`FILE` with the names of the classes, one a line")
	for _, v := range []struct {
		p           *string
		name, usage string
	}{
		{&n.mean, "mean", "means of the input's channels, subtracted from values 0..1 (default: the network's)"},
		{&n.std, "std", "deviations of the input's channels, divided by (default: the network's)"},
	} {
		textVar(f, v.p, v.name, "", "numbers with commas between, one a channel", func(text string) error {
			_, err := parseFloats(text)
			return err
		}, v.usage)
	}
}

func parseFloats(text string) ([]float32, error) {
	if text == "" {
		return nil, nil
	}
	var out []float32
	for p := range strings.SplitSeq(text, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(p), 32)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", p)
		}
		out = append(out, float32(v))
	}
	return out, nil
}

// open reads the network, records the file among the inputs and prints what was
// noteworthy.
func (n *networkFlags) open(s *session) (*checkpoint.Model, error) {
	o := n.options
	o.Seed, o.Version = s.Seed, moduleVersion()
	var err error
	if n.inputShape != "" {
		if o.Input, err = parseInputShape(n.inputShape); err != nil {
			return nil, s.Usagef("--input-shape: %v", err)
		}
	}
	m, notes, err := job.OpenNetwork(n.path, o)
	if err != nil {
		return nil, err
	}
	in, err := s.AddInput(n.path)
	if err != nil {
		return nil, err
	}
	for _, note := range notes {
		s.Logf("%s", note)
	}
	if m.Provenance.SourceSHA256 == "" && m.Provenance.Source != "" {
		m.Provenance.SourceSHA256 = in.SHA256
	}
	channels := 0
	if inputs := m.Graph.InputNodes(); len(inputs) == 1 {
		channels = inputs[0].Shape.Channels()
	}
	for _, v := range []struct {
		flag, text string
		to         *[]float32
	}{{"mean", n.mean, &m.Provenance.Mean}, {"std", n.std, &m.Provenance.Std}} {
		if v.text == "" {
			continue
		}
		list, err := parseFloats(v.text)
		if err != nil {
			return nil, s.Usagef("--%s: %v", v.flag, err)
		}
		if len(list) == 1 && channels > 1 {
			list = slices.Repeat(list, channels)
		}
		if len(list) != channels {
			return nil, s.Usagef("--%s: %d numbers, %s has %d channels of input", v.flag, len(list), n.path, channels)
		}
		*v.to = list
	}
	if n.classFile != "" {
		if m.Provenance.Classes, err = readLines(n.classFile); err != nil {
			return nil, err
		}
		if outputs := m.Graph.Outputs[0].Shape.Channels(); outputs != len(m.Provenance.Classes) {
			return nil, fmt.Errorf("%s: %d names, the network has %d outputs", n.classFile, len(m.Provenance.Classes), outputs)
		}
	}
	return m, nil
}

// openANN is open for commands that convert.
func (n *networkFlags) openANN(s *session) (*graph.Graph, *checkpoint.Model, error) {
	m, err := n.open(s)
	if err != nil {
		return nil, nil, err
	}
	return asANN(n.path, m)
}

// asANN refuses networks that cannot be converted.
func asANN(path string, m *checkpoint.Model) (*graph.Graph, *checkpoint.Model, error) {
	if m.Kind != checkpoint.KindANN && m.Kind != checkpoint.KindTrain {
		return nil, nil, fmt.Errorf("%s: holds a network of kind %q, want an ANN", path, m.Kind)
	}
	if len(m.Graph.InputNodes()) != 1 || len(m.Graph.Outputs) != 1 {
		return nil, nil, fmt.Errorf("%s: the network has %d inputs and %d outputs, want one of each", path, len(m.Graph.InputNodes()), len(m.Graph.Outputs))
	}
	return m.Graph, m, nil
}

// readLines reads a short text file, without empty lines at its end.
func readLines(path string) ([]string, error) {
	const maxLines = 1 << 20
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	for sc := bufio.NewScanner(f); ; {
		if !sc.Scan() {
			if err := sc.Err(); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			for len(lines) > 0 && lines[len(lines)-1] == "" {
				lines = lines[:len(lines)-1]
			}
			return lines, nil
		}
		if lines = append(lines, strings.TrimSpace(sc.Text())); len(lines) > maxLines {
			return nil, fmt.Errorf("%s: more than %d lines", path, maxLines)
		}
	}
}
