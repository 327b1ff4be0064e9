package checkpoint_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/models"
)

// torchDict writes the parameters of a network as PyTorch lays them out, under
// changed names, and opens the file.
func torchDict(t *testing.T, g *graph.Graph, rename func(string) string) *checkpoint.StateDict {
	t.Helper()
	var entries []checkpoint.Entry
	for _, n := range g.Nodes {
		for role, p := range n.Params {
			name := n.Name + "." + role
			if n.Kind() == "batchnorm" && (role == "mean" || role == "var") {
				name = n.Name + ".running_" + role
			}
			shape, data := p.Shape, p.Data
			if role == "weight" && len(shape) == 4 {
				h, w, in, out := shape[0], shape[1], shape[2], shape[3]
				data = make([]float32, len(p.Data))
				for i, v := range p.Data {
					o, c, x, y := i%out, i/out%in, i/out/in%w, i/out/in/w
					data[((o*in+c)*h+y)*w+x] = v
				}
				shape = []int{out, in, h, w}
			} else if role == "weight" && len(shape) == 2 {
				in, out := shape[0], shape[1]
				data = make([]float32, len(p.Data))
				hw := 1
				if x := n.Inputs[0]; x.Kind() == "flatten" && len(x.Inputs[0].Shape) == 3 {
					hw = x.Inputs[0].Shape.Positions()
				}
				for i, v := range p.Data {
					o, k := i%out, i/out
					data[o*in+k%(in/hw)*hw+k/(in/hw)] = v
				}
				shape = []int{out, in}
			}
			entries = append(entries, checkpoint.Entry{Name: rename(name), Shape: shape, Data: data})
		}
	}
	slices.SortFunc(entries, func(a, b checkpoint.Entry) int { return strings.Compare(a.Name, b.Name) })
	path := filepath.Join(t.TempDir(), "state.safetensors")
	if err := checkpoint.Write(path, entries, nil, false); err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.OpenStateDict(path, checkpoint.StateDictOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func build(t *testing.T, c models.Config, outline bool) *graph.Graph {
	t.Helper()
	make := models.Build
	if outline {
		make = models.Outline
	}
	g, err := make(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func same(a, b *graph.Graph) bool {
	for i, n := range a.Nodes {
		for role, p := range n.Params {
			if !slices.Equal(p.Data, b.Nodes[i].Params[role].Data) {
				return false
			}
		}
	}
	return true
}

func TestAssign(t *testing.T) {
	asIs := func(name string) string { return name }
	for _, c := range []struct {
		name   string
		config models.Config
		rename func(string) string
	}{
		{"resnet", models.Config{Arch: "resnet20", Width: 2, Input: graph.Shape{8, 8, 3}, Classes: 4}, asIs},
		{"shortcut and linear", models.Config{Arch: "resnet20", Width: 2, Input: graph.Shape{8, 8, 3}, Classes: 4},
			strings.NewReplacer("downsample.", "shortcut.", "fc.", "linear.").Replace},
		{"DataParallel", models.Config{Arch: "resnet20", Width: 2, Input: graph.Shape{8, 8, 3}, Classes: 4},
			func(name string) string { return "module." + name }},
		{"flattened map", models.Config{Arch: "vgg16", Stem: models.StemImageNet, Layers: "4,P,6,P", Width: 1, Input: graph.Shape{28, 28, 3}, Classes: 4}, asIs},
		{"depthwise", models.Config{Arch: "mobilenetv2", Input: graph.Shape{32, 32, 3}, Classes: 4}, asIs},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, got := build(t, c.config, false), build(t, c.config, true)
			a, err := torchDict(t, want, c.rename).Assign(got, false)
			if err != nil {
				t.Fatal(err)
			}
			if !same(want, got) || len(a.Missing)+len(a.Unused) > 0 {
				t.Errorf("parameters differ; missing %v, unused %v", a.Missing, a.Unused)
			}
		})
	}
}

func TestAssignMisfits(t *testing.T) {
	config := models.Config{Arch: "resnet20", Width: 2, Input: graph.Shape{8, 8, 3}, Classes: 4}
	full := build(t, config, false)
	config.Classes = 7
	s := torchDict(t, full, func(name string) string { return strings.Replace(name, "layer1.0.conv1", "stray", 1) })
	g := build(t, config, false)
	before := g.Node("fc").Weight().Data[0]
	_, err := s.Assign(g, false)
	for _, want := range []string{"trained for 4 classes, the network has 7", "missing: layer1.0.conv1.weight", "not part of the network: stray.weight"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if slices.Equal(g.Node("conv1").Weight().Data, full.Node("layer1.0.conv1").Weight().Data) {
		t.Error("parameters were set before the error")
	}
	a, err := s.Assign(g, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Missing) != 3 || len(a.Unused) != 1 || g.Node("fc").Weight().Data[0] != before {
		t.Errorf("missing %v, unused %v: want the class layer and one convolution left alone", a.Missing, a.Unused)
	}
	other := build(t, models.Config{Arch: "vgg11", Width: 1, Input: graph.Shape{32, 32, 3}, Classes: 4}, false)
	if _, err := s.Assign(other, false); err == nil {
		t.Error("a ResNet's weights fit a VGG")
	}
}
