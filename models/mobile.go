package models

import (
	"fmt"

	"github.com/adafire/adafire/graph"
)

// A stage of inverted residual blocks: a 1x1 convolution that widens the
// channels by expand, a depthwise one, and a 1x1 convolution back, with a
// shortcut where the shape stays. The first block of a stage has the stride.
type stage struct{ expand, channels, blocks, stride, kernel int }

// mobileNetV2 builds torchvision's MobileNetV2, names included.
//
// Source: Sandler et al., CVPR 2018, table 2.
func (c Config) mobileNetV2(b *builder) error {
	stages := []stage{
		{1, 16, 1, 1, 3}, {6, 24, 2, 2, 3}, {6, 32, 3, 2, 3}, {6, 64, 4, 2, 3},
		{6, 96, 3, 1, 3}, {6, 160, 3, 2, 3}, {6, 320, 1, 1, 3},
	}
	b.input(c.Input)
	b.convNormReLU6("features.0.0", "features.0.1", "features.0.2", 3, 2, 32, false)
	index := 1
	for _, s := range stages {
		for i := range s.blocks {
			stride := 1
			if i == 0 {
				stride = s.stride
			}
			name := fmt.Sprintf("features.%d.conv", index)
			index++
			in, channels := b.x, b.channels
			next := 0
			if s.expand != 1 {
				b.convNormReLU6(name+".0.0", name+".0.1", name+".0.2", 1, 1, channels*s.expand, false)
				next = 1
			}
			d := fmt.Sprintf("%s.%d", name, next)
			b.convNormReLU6(d+".0", d+".1", d+".2", s.kernel, stride, b.channels, true)
			b.convolve(fmt.Sprintf("%s.%d", name, next+1), 1, 1, s.channels, 1)
			b.norm(fmt.Sprintf("%s.%d", name, next+2))
			if stride == 1 && channels == s.channels {
				b.x = b.g.Add(fmt.Sprintf("features.%d.add", index-1), &graph.Add{}, nil, in, b.x)
			}
		}
	}
	b.convNormReLU6("features.18.0", "features.18.1", "features.18.2", 1, 1, 1280, false)
	b.add("avgpool", &graph.GlobalAvgPool{})
	b.add("flatten", &graph.Flatten{})
	if c.Dropout > 0 {
		b.add("classifier.0", &graph.Dropout{P: c.Dropout})
	}
	b.linear("classifier.1", b.channels, c.Classes, linearVGG)
	return nil
}

// efficientNetLite0 builds EfficientNet-Lite0: no squeeze-and-excitation, ReLU6,
// convolutions padded as TensorFlow's SAME does. Names are those of the usual
// PyTorch port.
//
// Source: Tan and Le, ICML 2019; the Lite variants are Google's.
func (c Config) efficientNetLite0(b *builder) error {
	stages := []stage{
		{1, 16, 1, 1, 3}, {6, 24, 2, 2, 3}, {6, 40, 2, 2, 5}, {6, 80, 3, 2, 3},
		{6, 112, 3, 1, 5}, {6, 192, 4, 2, 5}, {6, 320, 1, 1, 3},
	}
	b.eps, b.same = 1e-3, true
	b.size = [2]int{c.Input[0], c.Input[1]}
	b.input(c.Input)
	b.convNormReLU6("_conv_stem", "_bn0", "_relu0", 3, 2, 32, false)
	index := 0
	for _, s := range stages {
		for i := range s.blocks {
			stride := 1
			if i == 0 {
				stride = s.stride
			}
			name := fmt.Sprintf("_blocks.%d.", index)
			index++
			in, channels := b.x, b.channels
			if s.expand != 1 {
				b.convNormReLU6(name+"_expand_conv", name+"_bn0", name+"_relu0", 1, 1, channels*s.expand, false)
			}
			b.convNormReLU6(name+"_depthwise_conv", name+"_bn1", name+"_relu1", s.kernel, stride, b.channels, true)
			b.convolve(name+"_project_conv", 1, 1, s.channels, 1)
			b.norm(name + "_bn2")
			if stride == 1 && channels == s.channels {
				b.x = b.g.Add(name+"add", &graph.Add{}, nil, in, b.x)
			}
		}
	}
	b.convNormReLU6("_conv_head", "_bn1", "_relu1", 1, 1, 1280, false)
	b.add("_avg_pooling", &graph.GlobalAvgPool{})
	b.add("flatten", &graph.Flatten{})
	if c.Dropout > 0 {
		b.add("_dropout", &graph.Dropout{P: c.Dropout})
	}
	b.linear("_fc", b.channels, c.Classes, linearVGG)
	return nil
}

// convNormReLU6 appends a convolution without bias, its batch norm and ReLU6.
func (b *builder) convNormReLU6(conv, norm, relu string, k, stride, cout int, depthwise bool) {
	groups := 1
	if depthwise {
		groups = b.channels
	}
	b.convolve(conv, k, stride, cout, groups)
	b.norm(norm)
	b.add(relu, &graph.ReLU6{})
}

// convolve appends a square convolution without bias that keeps the size of
// the map, or divides it by the stride.
func (b *builder) convolve(name string, k, stride, cout, groups int) {
	pad := graph.Uniform(k/2, k/2)
	if b.same {
		for i, n := range b.size {
			out := (n + stride - 1) / stride
			total := max((out-1)*stride+k-n, 0)
			pad[i], pad[i+2] = total/2, total-total/2
			b.size[i] = out
		}
	}
	b.convOp(name, &graph.Conv2D{Stride: [2]int{stride, stride}, Pad: pad, Dilation: [2]int{1, 1}, Groups: groups}, k, cout, false)
}
