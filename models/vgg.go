package models

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/adafire/adafire/graph"
)

// A step of a VGG's plan: a 3x3 convolution of some channels, or a 2x2 pool.
type step struct {
	channels int
	pool     string // "max", "avg" or ""
}

// plan returns the steps of the configured VGG, checked.
func (c Config) plan(a *arch) ([]step, error) {
	text, scale := c.Layers, false
	if text == "" {
		text, scale = a.vgg, true
		if c.Stem == StemEvent && a.event != "" {
			text = a.event
		}
	}
	var steps []step
	convs := 0
	for token := range strings.SplitSeq(text, ",") {
		token = strings.TrimSpace(token)
		switch token {
		case "P":
			steps = append(steps, step{pool: c.Pooling})
		case "M":
			steps = append(steps, step{pool: "max"})
		case "A":
			steps = append(steps, step{pool: "avg"})
		default:
			n, err := strconv.Atoi(token)
			if err != nil || n < 1 || n > 8192 {
				return nil, fmt.Errorf("layers: %q, want a number of channels in 1 to 8192, or M, A or P", token)
			}
			if scale {
				n = n / a.width * c.Width
			}
			steps = append(steps, step{channels: n})
			convs++
		}
	}
	if convs == 0 || convs > 100 || steps[0].pool != "" {
		return nil, fmt.Errorf("layers %q: want 1 to 100 convolutions, one of them first", text)
	}
	return steps, nil
}

// vgg builds a VGG. Names count all modules of torch's Sequential: with batch
// norm (or dropout in its place) features.0, .1, .2 are convolution, norm and
// ReLU.
//
// For small images the feature map is averaged to one position (in the usual
// nets it has only one) and read by one fully connected layer; for large ones
// it is averaged to 7 x 7 and read by three.
func (c Config) vgg(b *builder, a *arch) error {
	steps, err := c.plan(a)
	if err != nil {
		return err
	}
	large := c.Stem != StemCIFAR
	b.input(c.Input)
	h, w := c.Input[0], c.Input[1]
	index := 0
	name := func() string {
		index++
		return fmt.Sprintf("features.%d", index-1)
	}
	for _, s := range steps {
		if s.pool != "" {
			if h < 2 || w < 2 {
				return fmt.Errorf("input %v is too small: a 2x2 pool meets a map of %d x %d: %w", c.Input, h, w, ErrConfig)
			}
			b.pool(name(), s.pool, 2, 2, 0)
			h, w = h/2, w/2
			continue
		}
		b.conv(name(), 3, 1, 1, s.channels, true)
		if b.batchNorm {
			b.norm(name())
		} else if !large && c.Dropout > 0 {
			b.add(name(), &graph.Dropout{P: c.Dropout})
		}
		b.add(name(), &graph.ReLU{})
	}
	if !large {
		if h > 1 || w > 1 {
			b.add("avgpool", &graph.GlobalAvgPool{})
		}
		b.add("flatten", &graph.Flatten{})
		b.linear("classifier", b.channels, c.Classes, linearSmall)
		return nil
	}
	// torch's AdaptiveAvgPool2d(7) is an ordinary average pool for multiples of
	// 7 only; its overlapping windows elsewhere are not worth an operation.
	if h%7 != 0 || w%7 != 0 {
		return fmt.Errorf("input %v gives a map of %d x %d, want multiples of 7: %w", c.Input, h, w, ErrConfig)
	}
	if h > 7 || w > 7 {
		k := [2]int{h / 7, w / 7}
		b.add("avgpool", &graph.AvgPool2D{Kernel: k, Stride: k})
	}
	b.add("flatten", &graph.Flatten{})
	// The hidden layers scale with the width, 4096 at 64.
	in, hidden := 7*7*b.channels, 64*c.Width
	for i, out := range []int{hidden, hidden} {
		b.linear(fmt.Sprintf("classifier.%d", 3*i), in, out, linearVGG)
		b.add(fmt.Sprintf("classifier.%d", 3*i+1), &graph.ReLU{})
		if c.Dropout > 0 {
			b.add(fmt.Sprintf("classifier.%d", 3*i+2), &graph.Dropout{P: c.Dropout})
		}
		in = out
	}
	b.linear("classifier.6", in, c.Classes, linearVGG)
	return nil
}
