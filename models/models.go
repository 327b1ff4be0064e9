// Package models builds the networks AdaFire is used with: VGG and ResNet for
// small images, for 224 x 224 images and for event cameras, and MobileNetV2,
// EfficientNet-Lite0 and CRAFT for released weights.
//
//	g, err := models.Build(models.Config{Arch: "resnet20", Input: graph.Shape{32, 32, 3}, Classes: 10})
//
// [Build] returns a graph with inferred shapes and seeded initial parameters,
// [Outline] the same graph with zeroed parameters for loading weights into, and
// [Names] and [Describe] say what there is.
//
// Nodes with parameters carry the module names of the PyTorch networks they
// mirror, so that NODE.weight and NODE.bias are the names in a torch state
// dict (batch norm: "mean" and "var" are running_mean and running_var).
//
// The package trains nothing and reads no files.
package models

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/adafire/adafire/graph"
)

// ErrConfig marks configurations that name no buildable network.
var ErrConfig = errors.New("invalid model configuration")

// The values of Config.Stem.
const (
	StemCIFAR      = "cifar"       // 3x3 stride 1, no pool (ResNet); one fully connected layer (VGG)
	StemImageNet   = "imagenet"    // 7x7 stride 2, 3x3 stride 2 pool (ResNet); 7x7 map and three fully connected layers (VGG)
	StemEvent      = "event"       // event cameras, large frames (see Config.Stem)
	StemEventCIFAR = "event-cifar" // event cameras, frames up to 64 pixels
)

// Config chooses a network. Arch, Input and Classes are required; the zero
// value of everything else means the default of the architecture, which
// [Config.WithDefaults] fills in.
type Config struct {
	Arch    string      `json:"arch"`    // one of Names
	Input   graph.Shape `json:"input"`   // one sample: [H, W, C]
	Classes int         `json:"classes"` // outputs of the last layer, 1..100000

	// Width is the number of channels of the first stage, 1..1024; later stages
	// double it as usual. Default 64, for vgg-small 16.
	Width int `json:"width,omitempty"`

	// Layers replaces a VGG's plan: channels of 3x3 convolutions and "M" (max),
	// "A" (average) or "P" (as Pooling says) for 2x2 pools, as in
	// "16,P,32,32,P,64,64". Channels are then as given, whatever Width.
	Layers string `json:"layers,omitempty"`

	// Pooling is "max" or "avg": the 2x2 pools of a VGG, the stem pool of a
	// ResNet. Default: max for vgg-small and stem "imagenet", else avg, as the
	// method's authors have it.
	Pooling string `json:"pooling,omitempty"`

	// Norm is "batch" or "none". Default batch, but none for VGG with stem
	// "imagenet" or "event" (torchvision's vgg16, not vgg16_bn).
	Norm string `json:"norm,omitempty"`

	// Dropout is the probability of the dropout layers in 0..1 exclusive; -1
	// means none. Default: 0.25 in place of batch norm in VGGs for small images,
	// 0.5 between the fully connected layers of large ones, else none.
	Dropout float64 `json:"dropout,omitempty"`

	// Stem is "cifar", "imagenet", "event" or "event-cifar". The event stem of a
	// ResNet is a 3x3 convolution to 3 channels with bias, without norm and
	// activation, before the usual stem; its pool averages. Default by the
	// input: more than 64 pixels is large, more than 4 channels are events;
	// resnet20 and resnet32 take the small stem at any size.
	Stem string `json:"stem,omitempty"`

	Seed uint64 `json:"seed"` // of the initial parameters
}

// An Info describes an architecture.
type Info struct {
	Name    string
	Summary string      // one line
	Input   graph.Shape // usual input
	Classes int         // usual number of classes
}

type arch struct {
	Info
	vgg    string // plan of a VGG, at width 64 (vgg-small: 16)
	event  string // plan for event cameras, if it is another one
	blocks []int  // basic blocks per stage of a ResNet
	small  bool   // takes the small stem at any size
	width  int

	// fixed builds a network that takes no options but Input, Classes and
	// Dropout, whose default follows.
	fixed   func(Config, *builder) error
	dropout float64
}

var archs = []arch{
	{
		Info: Info{"vgg-small", "five 3x3 convolutions for 28 x 28 digits, max pooling, global average", graph.Shape{28, 28, 1}, 10},
		// One layer at full resolution keeps neurons and spikes few, and the wide
		// end counts: 5 epochs on 10,000 digits give 99.35 % of 2,000 test digits,
		// 16,16,P,32,32,P,64 (as many MACs) 98.80 %.
		vgg: "16,P,32,32,P,64,64", width: 16, small: true,
	},
	{
		Info: Info{"vgg11", "VGG-11 (Simonyan and Zisserman 2015, configuration A)", graph.Shape{32, 32, 3}, 10},
		vgg:  "64,P,128,P,256,256,P,512,512,P,512,512,P", width: 64,
		event: "64,P,128,P,256,256,P,512,512,512,512",
	},
	{
		Info: Info{"vgg16", "VGG-16 (Simonyan and Zisserman 2015, configuration D)", graph.Shape{32, 32, 3}, 10},
		vgg:  "64,64,P,128,128,P,256,256,256,P,512,512,512,P,512,512,512,P", width: 64,
	},
	{
		Info:   Info{"resnet20", "wide ResNet-20 for small images, 64/128/256 channels", graph.Shape{32, 32, 3}, 10},
		blocks: []int{3, 3, 3}, width: 64, small: true,
	},
	{
		Info:   Info{"resnet32", "wide ResNet-32 for small images, 64/128/256 channels", graph.Shape{32, 32, 3}, 10},
		blocks: []int{5, 5, 5}, width: 64, small: true,
	},
	{
		Info:   Info{"resnet18", "ResNet-18 (He et al. 2016), torchvision's layout", graph.Shape{224, 224, 3}, 1000},
		blocks: []int{2, 2, 2, 2}, width: 64,
	},
	{
		Info:   Info{"resnet34", "ResNet-34 (He et al. 2016), torchvision's layout", graph.Shape{224, 224, 3}, 1000},
		blocks: []int{3, 4, 6, 3}, width: 64,
	},
	{
		Info:  Info{"mobilenetv2", "MobileNetV2 (Sandler et al. 2018), torchvision's layout", graph.Shape{224, 224, 3}, 1000},
		fixed: Config.mobileNetV2, dropout: 0.2,
	},
	{
		Info:  Info{"efficientnet-lite0", "EfficientNet-Lite0 (Tan and Le 2019), ReLU6 and no squeeze-and-excitation", graph.Shape{224, 224, 3}, 1000},
		fixed: Config.efficientNetLite0, dropout: 0.2,
	},
	{
		Info:  Info{"craft", "text detector CRAFT (Baek et al. 2019): VGG-16 and an upsampling branch, two maps", graph.Shape{224, 224, 3}, 2},
		fixed: Config.craft, dropout: -1,
	},
}

func lookup(name string) (*arch, error) {
	for i := range archs {
		if archs[i].Name == name {
			return &archs[i], nil
		}
	}
	return nil, fmt.Errorf("architecture %q is unknown, want one of %s: %w", name, strings.Join(Names(), ", "), ErrConfig)
}

// Names returns the architectures, small ones first.
func Names() []string {
	names := make([]string, len(archs))
	for i, a := range archs {
		names[i] = a.Name
	}
	return names
}

// Describe returns what an architecture is; the error wraps ErrConfig.
func Describe(name string) (Info, error) {
	a, err := lookup(name)
	if err != nil {
		return Info{}, err
	}
	info := a.Info
	info.Input = slices.Clone(info.Input)
	return info, nil
}

// WithDefaults returns the configuration with every zero value replaced by the
// default that Build uses. An unknown Arch is left to Validate.
func (c Config) WithDefaults() Config {
	a, err := lookup(c.Arch)
	if err != nil {
		return c
	}
	if a.fixed != nil {
		if c.Dropout == 0 {
			c.Dropout = a.dropout
		}
		return c
	}
	if c.Width == 0 {
		c.Width = a.width
	}
	if c.Stem == "" && len(c.Input) == 3 {
		large := !a.small && max(c.Input[0], c.Input[1]) > 64
		events := c.Input[2] > 4
		switch {
		case a.vgg != "" && !large: // nothing in a small VGG depends on where frames come from
			c.Stem = StemCIFAR
		case events && large:
			c.Stem = StemEvent
		case events:
			c.Stem = StemEventCIFAR
		case large:
			c.Stem = StemImageNet
		default:
			c.Stem = StemCIFAR
		}
	}
	if c.Pooling == "" {
		c.Pooling = "avg"
		if c.Stem == StemImageNet || a.Name == "vgg-small" {
			c.Pooling = "max"
		}
	}
	large := c.Stem == StemImageNet || c.Stem == StemEvent
	if c.Norm == "" {
		c.Norm = "batch"
		if a.vgg != "" && large {
			c.Norm = "none"
		}
	}
	if c.Dropout == 0 {
		c.Dropout = -1
		switch {
		case a.vgg != "" && large:
			c.Dropout = 0.5
		case a.vgg != "" && c.Norm == "none":
			c.Dropout = 0.25
		}
	}
	return c
}

// Validate checks the configuration after WithDefaults; errors wrap ErrConfig
// and name the field, the value and what is allowed.
func (c Config) Validate() error {
	c = c.WithDefaults()
	a, err := lookup(c.Arch)
	if err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s: %w", c.Arch, fmt.Sprintf(format, args...), ErrConfig)
	}
	if len(c.Input) != 3 {
		return bad("input %v, want [H W C]", c.Input)
	}
	for _, d := range c.Input {
		if d < 1 || d > 8192 {
			return bad("input %v, want every axis in 1 to 8192", c.Input)
		}
	}
	if c.Classes < 1 || c.Classes > 100000 {
		return bad("classes %d, want 1 to 100000", c.Classes)
	}
	if a.fixed != nil {
		if c.Width != 0 || c.Layers != "" || c.Pooling != "" || c.Norm != "" || c.Stem != "" {
			return bad("takes no width, layers, pooling, norm or stem")
		}
		return c.checkDropout(bad)
	}
	if c.Width < 1 || c.Width > 1024 {
		return bad("width %d, want 1 to 1024", c.Width)
	}
	if c.Pooling != "max" && c.Pooling != "avg" {
		return bad("pooling %q, want max or avg", c.Pooling)
	}
	if c.Norm != "batch" && c.Norm != "none" {
		return bad("norm %q, want batch or none", c.Norm)
	}
	if err := c.checkDropout(bad); err != nil {
		return err
	}
	stems := []string{StemCIFAR, StemImageNet, StemEvent, StemEventCIFAR}
	if a.vgg != "" {
		stems = stems[:3]
	}
	if a.Name == "vgg-small" {
		stems = stems[:1]
	}
	if !slices.Contains(stems, c.Stem) {
		return bad("stem %q, want one of %s", c.Stem, strings.Join(stems, ", "))
	}
	if a.vgg == "" {
		if c.Layers != "" {
			return bad("layers %q: only VGGs take a plan", c.Layers)
		}
		if c.Dropout != -1 {
			return bad("dropout %g: a ResNet has none", c.Dropout)
		}
		return nil
	}
	if _, err := c.plan(a); err != nil {
		return bad("%v", err)
	}
	return nil
}

func (c Config) checkDropout(bad func(string, ...any) error) error {
	if c.Dropout != -1 && !(c.Dropout > 0 && c.Dropout < 1) {
		return bad("dropout %g, want a probability between 0 and 1, or -1 for none", c.Dropout)
	}
	return nil
}

// Build returns the network with inferred shapes and initial parameters drawn
// from Seed: equal configurations give equal bits. Errors wrap ErrConfig, or
// graph.ErrInvalid where the input is too small for the network.
//
// Convolutions are normal with variance 2/(KH*KW*Cout), biases 0, batch norm 1
// and 0 with statistics 0 and 1. Fully connected layers: for small images
// normal with deviation 1/In; VGG for large ones normal with deviation 0.01;
// ResNet for large ones uniform within 1/sqrt(In), bias too.
//
// Source: He et al., ICCV 2015 (fan-out form), with the variants of the method's
// authors and of torchvision.
func Build(c Config) (*graph.Graph, error) { return c.build(true) }

// Outline is Build with all parameters zero (batch norm included): for loading
// weights into, and for counting.
func Outline(c Config) (*graph.Graph, error) { return c.build(false) }

func (c Config) build(initialise bool) (*graph.Graph, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	a, err := lookup(c.Arch)
	if err != nil {
		return nil, err
	}
	b := &builder{g: graph.New(), seed: c.Seed, initialise: initialise, batchNorm: c.Norm == "batch" || a.fixed != nil, eps: 1e-5}
	switch {
	case a.fixed != nil:
		err = a.fixed(c, b)
	case a.vgg != "":
		err = c.vgg(b, a)
	default:
		c.resnet(b, a)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Arch, err)
	}
	b.g.Outputs = []*graph.Node{b.x}
	if err := b.g.Infer(); err != nil {
		return nil, fmt.Errorf("%s with input %v: %w", c.Arch, c.Input, err)
	}
	return b.g, nil
}
