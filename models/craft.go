package models

import (
	"fmt"

	"github.com/adafire/adafire/graph"
)

// craft builds the text detector CRAFT: VGG-16 with batch norm in five slices
// and four steps up, each a bilinear upsampling, a concatenation with the slice
// of that size and two convolutions; Classes maps (text, links between
// characters) at half the size of the input.
//
// The slices end before the ReLU of the next one, which works in place: all
// shortcuts see rectified values but the deepest, whose slice is followed by a
// pool.
//
// Source: Baek et al., CVPR 2019, and the names of its released weights.
func (c Config) craft(b *builder) error {
	b.input(c.Input)
	type source struct {
		node     *graph.Node
		size     [2]int
		channels int
	}
	var sources []source // of the way up, largest map first
	size := [2]int{c.Input[0], c.Input[1]}
	index := -1 // position in torchvision's vgg16_bn, which the slices share out
	name := func() string {
		index++
		slice := 1
		for _, first := range []int{12, 19, 29} {
			if index >= first {
				slice++
			}
		}
		return fmt.Sprintf("basenet.slice%d.%d", slice, index)
	}
	for _, channels := range []int{64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512} {
		if channels == 0 {
			if size[0] < 2 || size[1] < 2 {
				return fmt.Errorf("input %v is too small: want at least 16 x 16: %w", c.Input, ErrConfig)
			}
			size = [2]int{size[0] / 2, size[1] / 2}
			b.pool(name(), "max", 2, 2, 0)
			continue
		}
		b.conv(name(), 3, 1, 1, channels, true)
		b.norm(name())
		if index < 38 {
			b.add(name(), &graph.ReLU{})
		}
		switch index {
		case 12, 19, 29, 38:
			sources = append(sources, source{b.x, size, b.channels})
		}
	}
	b.pool("basenet.slice5.0", "max", 3, 1, 1)
	b.convOp("basenet.slice5.1", &graph.Conv2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(6, 6), Dilation: [2]int{6, 6}, Groups: 1}, 3, 1024, true)
	b.conv("basenet.slice5.2", 1, 1, 0, 1024, true)
	for i, channels := range []int{512, 256, 128, 64} {
		s := sources[len(sources)-1-i]
		if i > 0 {
			b.add(fmt.Sprintf("upsample%d", i), &graph.Upsample{Size: s.size, Mode: "bilinear"})
		}
		b.x = b.g.Add(fmt.Sprintf("concat%d", i+1), &graph.Concat{}, nil, b.x, s.node)
		b.channels += s.channels
		name := fmt.Sprintf("upconv%d.conv.", i+1)
		b.conv(name+"0", 1, 1, 0, channels, true)
		b.norm(name + "1")
		b.add(name+"2", &graph.ReLU{})
		b.conv(name+"3", 3, 1, 1, channels/2, true)
		b.norm(name + "4")
		b.add(name+"5", &graph.ReLU{})
	}
	for i, channels := range []int{32, 32, 16} {
		b.conv(fmt.Sprintf("conv_cls.%d", 2*i), 3, 1, 1, channels, true)
		b.add(fmt.Sprintf("conv_cls.%d", 2*i+1), &graph.ReLU{})
	}
	b.conv("conv_cls.6", 1, 1, 0, 16, true)
	b.add("conv_cls.7", &graph.ReLU{})
	b.conv("conv_cls.8", 1, 1, 0, c.Classes, true)
	return nil
}
