package models

import (
	"fmt"

	"github.com/adafire/adafire/graph"
)

// resnet builds a network of basic blocks. Names are torchvision's; without
// batch norm the convolutions have biases instead.
//
// The event stem starts with one convolution to three channels, so that weights
// trained on ImageNet fit behind it.
//
// Source: He et al., CVPR 2016.
func (c Config) resnet(b *builder, a *arch) {
	b.input(c.Input)
	if c.Stem == StemEvent || c.Stem == StemEventCIFAR {
		b.conv("reduction", 3, 1, 1, 3, true)
	}
	large := c.Stem == StemImageNet || c.Stem == StemEvent
	if large {
		b.conv("conv1", 7, 2, 3, c.Width, !b.batchNorm)
	} else {
		b.conv("conv1", 3, 1, 1, c.Width, !b.batchNorm)
	}
	b.norm("bn1")
	b.add("relu", &graph.ReLU{})
	if large {
		name := "maxpool"
		if c.Pooling == "avg" {
			name = "stempool" // "avgpool" is the one at the end
		}
		b.pool(name, c.Pooling, 3, 2, 1)
	}
	for stage, blocks := range a.blocks {
		for i := range blocks {
			stride := 1
			if stage > 0 && i == 0 {
				stride = 2
			}
			b.basicBlock(fmt.Sprintf("layer%d.%d", stage+1, i), c.Width<<stage, stride)
		}
	}
	b.add("avgpool", &graph.GlobalAvgPool{})
	b.add("flatten", &graph.Flatten{})
	how := linearSmall
	if large {
		how = linearUniform
	}
	b.linear("fc", b.channels, c.Classes, how)
}

// basicBlock appends relu(conv2(relu(conv1(x))) + shortcut(x)). The order of
// nodes is conv1, relu1, conv2, shortcut, add, relu2: the order of all
// per-layer lists.
func (b *builder) basicBlock(name string, width, stride int) {
	in, inChannels := b.x, b.channels
	b.conv(name+".conv1", 3, stride, 1, width, !b.batchNorm)
	b.norm(name + ".bn1")
	b.add(name+".relu1", &graph.ReLU{})
	b.conv(name+".conv2", 3, 1, 1, width, !b.batchNorm)
	b.norm(name + ".bn2")
	main, shortcut := b.x, in
	if stride != 1 || inChannels != width {
		b.x, b.channels = in, inChannels
		b.conv(name+".downsample.0", 1, stride, 0, width, !b.batchNorm)
		b.norm(name + ".downsample.1")
		shortcut = b.x
	}
	b.x = b.g.Add(name+".add", &graph.Add{}, nil, main, shortcut)
	b.add(name+".relu2", &graph.ReLU{})
}
