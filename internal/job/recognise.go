package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/models"
)

// A Likeness says how well a state dict fits an architecture.
type Likeness struct {
	Config models.Config
	Share  float64 // of the network's parameters that the file has, by name and shape
}

// Recognise returns the architectures that a state dict may belong to, best
// first: a file of weights holds no network. Height and width of the input are
// the architecture's usual ones; the names do not tell them.
func Recognise(s *checkpoint.StateDict) []Likeness {
	var list []Likeness
	for _, name := range models.Names() {
		for _, c := range guesses(s, name) {
			g, err := models.Outline(c)
			if err != nil {
				continue
			}
			found, parameters := s.Fit(g)
			list = append(list, Likeness{c, float64(found) / float64(max(parameters, 1))})
		}
	}
	slices.SortStableFunc(list, func(a, b Likeness) int { return cmp.Compare(b.Share, a.Share) })
	return list
}

// guesses reads what the shapes of an architecture's first and last layer say.
func guesses(s *checkpoint.StateDict, name string) []models.Config {
	info, err := models.Describe(name)
	if err != nil {
		return nil
	}
	c := models.Config{Arch: name, Input: info.Input, Classes: info.Classes}
	dim := func(axis int, names ...string) int {
		for _, n := range names {
			if t := s.Tensor(n); t != nil && len(t.Shape) > axis {
				return t.Shape[axis]
			}
		}
		return 0
	}
	set := func(to *int, v int) {
		if v > 0 {
			*to = v
		}
	}
	switch {
	case strings.HasPrefix(name, "resnet"):
		set(&c.Classes, dim(0, "fc.weight", "linear.weight", "classifier.weight"))
		c.Width = dim(0, "conv1.weight")
		large := dim(2, "conv1.weight") == 7
		events := dim(1, "reduction.weight")
		set(&c.Input[2], cmp.Or(events, dim(1, "conv1.weight")))
		switch {
		case events > 0 && large:
			c.Stem = models.StemEvent
		case events > 0:
			c.Stem = models.StemEventCIFAR
		case large:
			c.Stem = models.StemImageNet
		default:
			c.Stem = models.StemCIFAR
		}
	case strings.HasPrefix(name, "vgg"):
		set(&c.Classes, dim(0, "classifier.6.weight", "classifier.weight", "fc.weight", "linear.weight"))
		set(&c.Input[2], dim(1, "features.0.weight"))
		c.Width = dim(0, "features.0.weight")
		c.Norm = "none"
		if dim(0, "features.1.running_mean") > 0 {
			c.Norm = "batch"
		}
		if s.Tensor("classifier.6.weight") != nil {
			c.Stem, c.Input[0], c.Input[1] = models.StemImageNet, 224, 224
		}
	default:
		set(&c.Classes, dim(0, "classifier.1.weight", "_fc.weight", "conv_cls.8.weight"))
	}
	if c.Width > 1024 {
		return nil
	}
	return []models.Config{c}
}

// FromStateDict makes the network of a file of weights. arch "" finds it; input
// nil and classes 0 mean what the file and the architecture say. With partial
// set, parameters that the file lacks keep their initial values.
func FromStateDict(s *checkpoint.StateDict, arch string, input graph.Shape, classes int, partial bool, seed uint64) (*graph.Graph, models.Config, checkpoint.Assignment, error) {
	var c models.Config
	none := checkpoint.Assignment{}
	if arch == "" {
		list := Recognise(s)
		if len(list) == 0 || list[0].Share < 0.5 {
			var near []string
			for _, l := range list[:min(3, len(list))] {
				near = append(near, fmt.Sprintf("%s (%.0f %%)", l.Config.Arch, 100*l.Share))
			}
			return nil, c, none, fmt.Errorf("%s: weights of no network that AdaFire builds (nearest by names and shapes: %s); export the network to ONNX: %w",
				s.Path, strings.Join(near, ", "), fileerr.ErrUnsupported)
		}
		c = list[0].Config
	} else {
		list := guesses(s, arch)
		if len(list) == 0 {
			_, err := models.Describe(arch)
			return nil, c, none, cmp.Or(err, fmt.Errorf("%s: not weights of a %s: %w", s.Path, arch, fileerr.ErrUnsupported))
		}
		c = list[0]
	}
	if input != nil {
		c.Input = input
	}
	if classes > 0 {
		c.Classes = classes
	}
	c.Seed = seed
	build := models.Outline
	if partial {
		build = models.Build
	}
	g, err := build(c)
	if err != nil {
		return nil, c, none, err
	}
	a, err := s.Assign(g, partial)
	return g, c, a, err
}
