package models

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/graph"
)

func spiking(g *graph.Graph) int {
	n := 0
	for _, node := range g.Nodes {
		if node.Kind() == "relu" {
			n++
		}
	}
	return n
}

// TestFigures compares parameters, multiply-accumulates and spiking layers with
// the figures published for the networks. Exact parameter counts are those of
// the PyTorch networks.
func TestFigures(t *testing.T) {
	image, event := graph.Shape{224, 224, 3}, graph.Shape{224, 224, 18}
	small := graph.Shape{32, 32, 3}
	tests := []struct {
		name       string
		cfg        Config
		parameters int64   // exact; 0: compare megaparams only
		megaparams float64 // as published, one decimal
		megamacs   float64 // as published
		tolerance  float64 // of megamacs: half of the last published digit
		spiking    int
	}{
		{"resnet20", Config{Arch: "resnet20", Input: small, Classes: 10}, 0, 4.33, 647.7, 0.05, 19},
		{"vgg16", Config{Arch: "vgg16", Input: small, Classes: 10}, 14728266, 14.7, 313.2, 0.05, 13},
		{"resnet18", Config{Arch: "resnet18", Input: image, Classes: 1000}, 11689512, 11.7, 1814, 5, 17},
		{"resnet34", Config{Arch: "resnet34", Input: image, Classes: 1000}, 21797672, 21.8, 3664, 5, 33},
		{"vgg16 large", Config{Arch: "vgg16", Input: image, Classes: 1000}, 138357544, 138.4, 15470, 50, 15},
		{"vgg11 large", Config{Arch: "vgg11", Input: image, Classes: 1000}, 132863336, 132.9, 7609, 5, 10},
		{"event resnet18", Config{Arch: "resnet18", Input: event, Classes: 10}, 0, 11.2, 1840, 5, 17},
		{"event vgg11", Config{Arch: "vgg11", Input: event, Classes: 10}, 0, 128.8, 10800, 50, 10},
		{"resnet32", Config{Arch: "resnet32", Input: small, Classes: 10}, 0, 7.43, 1101, 5, 31},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, err := Outline(test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Parameters(); test.parameters != 0 && got != test.parameters {
				t.Errorf("parameters: got %d, want %d", got, test.parameters)
			}
			if got := float64(g.Parameters()) / 1e6; math.Abs(got-test.megaparams) > 0.05 {
				t.Errorf("parameters: got %.3f M, want %g M", got, test.megaparams)
			}
			if got := float64(g.MACs()) / 1e6; math.Abs(got-test.megamacs) > test.tolerance {
				t.Errorf("MACs: got %.2f M, want %g M", got, test.megamacs)
			}
			if got := spiking(g); got != test.spiking {
				t.Errorf("spiking layers: got %d, want %d", got, test.spiking)
			}
			if got := g.Outputs[0].Shape; !slices.Equal(got, graph.Shape{test.cfg.Classes}) {
				t.Errorf("output shape: got %v, want [%d]", got, test.cfg.Classes)
			}
		})
	}
}

func TestSmallIsSmall(t *testing.T) {
	g, err := Build(Config{Arch: "vgg-small", Input: graph.Shape{28, 28, 1}, Classes: 10})
	if err != nil {
		t.Fatal(err)
	}
	if got := g.MACs(); got < 3e6 || got > 6e6 {
		t.Errorf("MACs: got %d, want 3 to 6 million: the demo trains on two slow cores", got)
	}
	if got := spiking(g); got != 5 {
		t.Errorf("spiking layers: got %d, want 5", got)
	}
}

// TestStateDict compares the node names with a torch state dict: ResNet-18 has
// 122 tensors, of which 20 are num_batches_tracked.
func TestStateDict(t *testing.T) {
	g, err := Outline(Config{Arch: "resnet18", Input: graph.Shape{224, 224, 3}, Classes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, n := range g.Nodes {
		for role := range n.Params {
			names[n.Name+"."+role] = true
		}
	}
	if len(names) != 102 {
		t.Errorf("got %d tensors, want 102", len(names))
	}
	for _, want := range []string{
		"conv1.weight", "bn1.mean", "layer1.0.conv1.weight", "layer1.1.bn2.var", "layer2.0.downsample.0.weight",
		"layer2.0.downsample.1.bias", "layer4.1.conv2.weight", "fc.weight", "fc.bias",
	} {
		if !names[want] {
			t.Errorf("tensor %q is missing", want)
		}
	}
	for _, unwanted := range []string{"conv1.bias", "layer1.0.downsample.0.weight"} {
		if names[unwanted] {
			t.Errorf("tensor %q should not be there", unwanted)
		}
	}
}

func TestOrder(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want []string // a run of consecutive nodes
	}{
		{"downsampling block", Config{Arch: "resnet20", Input: graph.Shape{32, 32, 3}, Classes: 10}, []string{
			"layer2.0.conv1", "layer2.0.bn1", "layer2.0.relu1", "layer2.0.conv2", "layer2.0.bn2",
			"layer2.0.downsample.0", "layer2.0.downsample.1", "layer2.0.add", "layer2.0.relu2"}},
		{"stem", Config{Arch: "resnet18", Input: graph.Shape{224, 224, 3}, Classes: 10}, []string{
			"input", "conv1", "bn1", "relu", "maxpool", "layer1.0.conv1"}},
		{"event stem", Config{Arch: "resnet18", Input: graph.Shape{128, 128, 18}, Classes: 10}, []string{
			"input", "reduction", "conv1", "bn1", "relu", "stempool", "layer1.0.conv1"}},
		{"small event stem", Config{Arch: "resnet18", Input: graph.Shape{34, 34, 18}, Classes: 10}, []string{
			"input", "reduction", "conv1", "bn1", "relu", "layer1.0.conv1"}},
		{"no norm", Config{Arch: "resnet20", Input: graph.Shape{32, 32, 3}, Classes: 10, Norm: "none"}, []string{
			"layer3.0.conv1", "layer3.0.relu1", "layer3.0.conv2", "layer3.0.downsample.0", "layer3.0.add", "layer3.0.relu2"}},
		{"vgg with norm", Config{Arch: "vgg16", Input: graph.Shape{32, 32, 3}, Classes: 10}, []string{
			"features.40", "features.41", "features.42", "features.43", "flatten", "classifier"}},
		{"vgg11 with dropout", Config{Arch: "vgg11", Input: graph.Shape{32, 32, 3}, Classes: 10, Norm: "none"}, []string{
			"features.0", "features.1", "features.2", "features.3", "features.4"}},
		{"event vgg", Config{Arch: "vgg11", Input: graph.Shape{224, 224, 18}, Classes: 2, Width: 8}, []string{
			"features.18", "avgpool", "flatten", "classifier.0", "classifier.1", "classifier.2", "classifier.3",
			"classifier.4", "classifier.5", "classifier.6"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, err := Outline(test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, n := range g.Nodes {
				names = append(names, n.Name)
			}
			i := slices.Index(names, test.want[0])
			if i < 0 {
				t.Fatalf("no node %q in %v", test.want[0], names)
			}
			if diff := cmp.Diff(test.want, names[i:min(len(names), i+len(test.want))]); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
	g, err := Outline(tests[6].cfg)
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := g.Node("features.1").Op.(*graph.Dropout); !ok || d.P != 0.25 {
		t.Errorf("features.1 without batch norm: got %#v, want dropout 0.25", g.Node("features.1").Op)
	}
}

func TestInitialValues(t *testing.T) {
	cfg := Config{Arch: "resnet20", Input: graph.Shape{32, 32, 3}, Classes: 10, Seed: 7}
	a, err := Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Seed = 8
	c, err := Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range a.Nodes {
		for _, role := range slices.Sorted(maps.Keys(n.Params)) {
			if !slices.Equal(n.Params[role].Data, b.Nodes[i].Params[role].Data) {
				t.Errorf("%s.%s differs between two builds", n.Name, role)
			}
		}
		if n.Kind() == "conv2d" && slices.Equal(n.Weight().Data, c.Nodes[i].Weight().Data) {
			t.Errorf("%s.weight is the same for two seeds", n.Name)
		}
	}
	checkDeviation(t, a.Node("layer3.2.conv2"), math.Sqrt(2/(9*256.0)))
	checkDeviation(t, a.Node("fc"), 1/256.0)
	bn := a.Node("bn1").Params
	if bn["weight"].Data[0] != 1 || bn["var"].Data[63] != 1 || bn["bias"].Data[0] != 0 || bn["mean"].Data[0] != 0 {
		t.Errorf("batch norm starts at %v, want weight and var 1, bias and mean 0", bn)
	}
	if err := a.Validate(); err != nil {
		t.Error(err)
	}
	large, err := Build(Config{Arch: "resnet18", Input: graph.Shape{224, 224, 3}, Classes: 100, Width: 16})
	if err != nil {
		t.Fatal(err)
	}
	bound := float32(1 / math.Sqrt(128))
	if w := large.Node("fc").Weight().Data; slices.Max(w) > bound || slices.Min(w) < -bound || slices.Max(w) < 0.9*bound {
		t.Errorf("fc of a large ResNet lies in %g to %g, want uniform within %g", slices.Min(w), slices.Max(w), bound)
	}
	vgg, err := Build(Config{Arch: "vgg11", Input: graph.Shape{224, 224, 3}, Classes: 100, Width: 8})
	if err != nil {
		t.Fatal(err)
	}
	checkDeviation(t, vgg.Node("classifier.3"), 0.01)
}

// checkDeviation allows five standard errors of the sample deviation.
func checkDeviation(t *testing.T, n *graph.Node, want float64) {
	t.Helper()
	var sum, squares float64
	for _, v := range n.Weight().Data {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	count := float64(n.Weight().Len())
	got := math.Sqrt(squares / count)
	if math.Abs(got/want-1) > 5/math.Sqrt(2*count) || math.Abs(sum/count) > 5*want/math.Sqrt(count) {
		t.Errorf("%s.weight: mean %g, deviation %g, want 0 and %g", n.Name, sum/count, got, want)
	}
}

func TestBadConfig(t *testing.T) {
	ok := Config{Arch: "vgg16", Input: graph.Shape{32, 32, 3}, Classes: 10}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"arch", func(c *Config) { c.Arch = "vgg17" }, `"vgg17" is unknown, want one of vgg-small`},
		{"input axes", func(c *Config) { c.Input = graph.Shape{32, 32} }, "input 32x32, want [H W C]"},
		{"input zero", func(c *Config) { c.Input = graph.Shape{32, 0, 3} }, "want every axis in 1 to 8192"},
		{"too small", func(c *Config) { c.Input = graph.Shape{28, 28, 1} }, "a 2x2 pool meets a map of 1 x 1"},
		{"not of seven", func(c *Config) { c.Input = graph.Shape{200, 224, 3} }, "map of 6 x 7, want multiples of 7"},
		{"classes", func(c *Config) { c.Classes = 0 }, "classes 0, want 1 to 100000"},
		{"width", func(c *Config) { c.Width = -1 }, "width -1, want 1 to 1024"},
		{"pooling", func(c *Config) { c.Pooling = "sum" }, `pooling "sum", want max or avg`},
		{"norm", func(c *Config) { c.Norm = "layer" }, `norm "layer", want batch or none`},
		{"dropout", func(c *Config) { c.Dropout = 1 }, "dropout 1, want a probability"},
		{"dropout not a number", func(c *Config) { c.Dropout = math.NaN() }, "dropout NaN"},
		{"stem", func(c *Config) { c.Stem = "deep" }, `stem "deep", want one of cifar, imagenet, event`},
		{"plan", func(c *Config) { c.Layers = "64,X" }, `layers: "X", want a number of channels`},
		{"plan pool first", func(c *Config) { c.Layers = "M,64" }, "one of them first"},
		{"plan empty token", func(c *Config) { c.Layers = "64,,M" }, `layers: "", want a number`},
		{"plan of a resnet", func(c *Config) { c.Arch, c.Layers = "resnet20", "64" }, "only VGGs take a plan"},
		{"dropout of a resnet", func(c *Config) { c.Arch, c.Dropout = "resnet20", 0.5 }, "a ResNet has none"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := ok
			test.change(&cfg)
			g, err := Build(cfg)
			if !errors.Is(err, ErrConfig) {
				t.Fatalf("got graph %v, error %v, want ErrConfig", g != nil, err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want it to contain %q", err, test.want)
			}
		})
	}
	if _, err := Describe("nothing"); !errors.Is(err, ErrConfig) {
		t.Errorf("Describe: got %v, want ErrConfig", err)
	}
}

// TestAnyConfig builds random configurations: each gives a graph of the right
// output shape or an error, never a panic, and Outline has Build's shapes.
func TestAnyConfig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			Arch:    rapid.SampledFrom(Names()).Draw(t, "arch"),
			Input:   graph.Shape{rapid.IntRange(1, 80).Draw(t, "h"), rapid.IntRange(1, 80).Draw(t, "w"), rapid.IntRange(1, 20).Draw(t, "c")},
			Classes: rapid.IntRange(1, 12).Draw(t, "classes"),
			Width:   rapid.IntRange(1, 4).Draw(t, "width"),
			Pooling: rapid.SampledFrom([]string{"", "max", "avg"}).Draw(t, "pooling"),
			Norm:    rapid.SampledFrom([]string{"", "batch", "none"}).Draw(t, "norm"),
			Stem:    rapid.SampledFrom([]string{"", StemCIFAR, StemImageNet, StemEvent, StemEventCIFAR}).Draw(t, "stem"),
		}
		g, err := Build(cfg)
		if err != nil {
			return
		}
		if got := g.Outputs[0].Shape; !slices.Equal(got, graph.Shape{cfg.Classes}) {
			t.Fatalf("output shape: got %v, want [%d]", got, cfg.Classes)
		}
		o, err := Outline(cfg.WithDefaults())
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range g.Nodes {
			if o.Nodes[i].Name != n.Name || !slices.Equal(o.Nodes[i].Shape, n.Shape) {
				t.Fatalf("outline has %s %v, build has %s %v", o.Nodes[i].Name, o.Nodes[i].Shape, n.Name, n.Shape)
			}
		}
	})
}

// TestUsualInput builds every architecture at the input Describe names.
func TestUsualInput(t *testing.T) {
	for _, name := range Names() {
		info, err := Describe(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Outline(Config{Arch: name, Input: info.Input, Classes: info.Classes}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		info.Input[0] = 1
		if again, _ := Describe(name); again.Input[0] == 1 {
			t.Errorf("%s: Describe hands out its own slice", name)
		}
	}
}

func ExampleBuild() {
	g, err := Build(Config{Arch: "vgg-small", Input: graph.Shape{28, 28, 1}, Classes: 10, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d parameters, %.1f M MACs\n", g.Parameters(), float64(g.MACs())/1e6)
	for _, n := range g.Nodes[:5] {
		fmt.Println(n.Name, n.Kind(), n.Shape)
	}
	// Output:
	// 70538 parameters, 5.5 M MACs
	// input input 28x28x1
	// features.0 conv2d 28x28x16
	// features.1 batchnorm 28x28x16
	// features.2 relu 28x28x16
	// features.3 maxpool2d 14x14x16
}
