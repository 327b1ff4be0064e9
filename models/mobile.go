package models

import (
	"fmt"

	"github.com/adafire/adafire/graph"
)

// A stage of inverted residual blocks: a 1x1 convolution that widens the
// channels by expand, a depthwise one, and a 1x1 convolution back, with a
// shortcut where the shape stays. The first block of a stage has the stride.
type stage struct{ expand, channels, blocks, stride, kernel int }

// names are what the modules of an inverted residual block are called: of the
// widening convolution, the depthwise one and the one back, each with its batch
// norm and, but for the last, its ReLU6; and of the sum.
type names struct {
	expand, depthwise, project [3]string
	add                        string
}

// inverted appends stages of inverted residual blocks; name tells the names of
// block i, counted over all stages, given whether it widens.
func (b *builder) inverted(stages []stage, name func(i int, widens bool) names) {
	index := 0
	for _, s := range stages {
		for i := range s.blocks {
			stride := 1
			if i == 0 {
				stride = s.stride
			}
			in, channels := b.x, b.channels
			n := name(index, s.expand != 1)
			index++
			if s.expand != 1 {
				b.convNormReLU6(n.expand, 1, 1, channels*s.expand, false)
			}
			b.convNormReLU6(n.depthwise, s.kernel, stride, b.channels, true)
			b.convolve(n.project[0], 1, 1, s.channels, 1)
			b.norm(n.project[1])
			if stride == 1 && channels == s.channels {
				b.x = b.g.Add(n.add, &graph.Add{}, nil, in, b.x)
			}
		}
	}
}

// mobileNetV2 builds torchvision's MobileNetV2, names included.
//
// Source: Sandler et al., CVPR 2018, table 2.
func (c Config) mobileNetV2(b *builder) error {
	b.input(c.Input)
	b.convNormReLU6([3]string{"features.0.0", "features.0.1", "features.0.2"}, 3, 2, 32, false)
	b.inverted([]stage{
		{1, 16, 1, 1, 3}, {6, 24, 2, 2, 3}, {6, 32, 3, 2, 3}, {6, 64, 4, 2, 3},
		{6, 96, 3, 1, 3}, {6, 160, 3, 2, 3}, {6, 320, 1, 1, 3},
	}, func(i int, widens bool) names {
		block := fmt.Sprintf("features.%d", i+1)
		conv := block + ".conv."
		three := func(k int) [3]string {
			return [3]string{fmt.Sprintf("%s%d.0", conv, k), fmt.Sprintf("%s%d.1", conv, k), fmt.Sprintf("%s%d.2", conv, k)}
		}
		k := 0 // the depthwise convolution comes first where nothing is widened
		if widens {
			k = 1
		}
		return names{three(0), three(k), [3]string{fmt.Sprintf("%s%d", conv, k+1), fmt.Sprintf("%s%d", conv, k+2)}, block + ".add"}
	})
	b.convNormReLU6([3]string{"features.18.0", "features.18.1", "features.18.2"}, 1, 1, 1280, false)
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
	b.eps, b.same = 1e-3, true
	b.size = [2]int{c.Input[0], c.Input[1]}
	b.input(c.Input)
	b.convNormReLU6([3]string{"_conv_stem", "_bn0", "_relu0"}, 3, 2, 32, false)
	b.inverted([]stage{
		{1, 16, 1, 1, 3}, {6, 24, 2, 2, 3}, {6, 40, 2, 2, 5}, {6, 80, 3, 2, 3},
		{6, 112, 3, 1, 5}, {6, 192, 4, 2, 5}, {6, 320, 1, 1, 3},
	}, func(i int, _ bool) names {
		block := fmt.Sprintf("_blocks.%d.", i)
		return names{
			[3]string{block + "_expand_conv", block + "_bn0", block + "_relu0"},
			[3]string{block + "_depthwise_conv", block + "_bn1", block + "_relu1"},
			[3]string{block + "_project_conv", block + "_bn2"}, block + "add",
		}
	})
	b.convNormReLU6([3]string{"_conv_head", "_bn1", "_relu1"}, 1, 1, 1280, false)
	b.add("_avg_pooling", &graph.GlobalAvgPool{})
	b.add("flatten", &graph.Flatten{})
	if c.Dropout > 0 {
		b.add("_dropout", &graph.Dropout{P: c.Dropout})
	}
	b.linear("_fc", b.channels, c.Classes, linearVGG)
	return nil
}

// convNormReLU6 appends a convolution without bias, its batch norm and ReLU6, of
// the names given.
func (b *builder) convNormReLU6(name [3]string, k, stride, cout int, depthwise bool) {
	groups := 1
	if depthwise {
		groups = b.channels
	}
	b.convolve(name[0], k, stride, cout, groups)
	b.norm(name[1])
	b.add(name[2], &graph.ReLU6{})
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
