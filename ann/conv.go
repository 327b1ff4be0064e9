package ann

import (
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// winograd says whether a convolution may run by Winograd's algorithm: where the
// kernel has it and at least half of the outputs of its 4x4 tiles are in the
// image. It needs a quarter of the multiplications; below that share the direct
// kernel is as fast. The choice depends on the shape of a sample only, so that
// results do not depend on the batch.
func winograd(s kernel.ConvShape) bool {
	if !kernel.WinogradFits(s) {
		return false
	}
	h, w := s.OutH(), s.OutW()
	tiles := ((h + 3) / 4) * ((w + 3) / 4)
	return 2*h*w >= 16*tiles
}

// A forwardConv is a convolution with packed weights.
type forwardConv struct {
	shape    kernel.ConvShape // of one sample
	direct   *kernel.Filter
	winograd *kernel.WinogradFilter // instead of direct, or nil
}

// newForwardConv packs weights; with fast, Winograd's algorithm is used where it
// fits.
func newForwardConv(s kernel.ConvShape, w []float32, fast bool) *forwardConv {
	if fast && winograd(s) {
		return &forwardConv{shape: s, winograd: kernel.NewWinogradFilter(s, w)}
	}
	return &forwardConv{shape: s, direct: kernel.NewFilter(s, w)}
}

// size returns how many float32 the packed form of n weights takes.
func (c *forwardConv) size(n int) int {
	if c.winograd != nil {
		return 4 * n
	}
	return n
}

func (c *forwardConv) set(w []float32) {
	if c.winograd != nil {
		c.winograd.Set(w)
	} else {
		c.direct.Set(w)
	}
}

// run computes n samples.
func (c *forwardConv) run(p *parallel.Pool, n int, x []float32, e kernel.Epilogue, y []float32) {
	if c.winograd != nil {
		kernel.ConvWinograd(p, batched(c.shape, n), x, c.winograd, e, y)
	} else {
		kernel.Conv(p, batched(c.shape, n), x, c.direct, e, y)
	}
}

// A backwardConv is the gradient of a convolution with respect to its input.
type backwardConv struct {
	shape    kernel.ConvShape // of one sample
	direct   *kernel.BackwardFilter
	winograd *kernel.WinogradFilter // instead of direct, or nil
}

// newBackwardConv is like newForwardConv.
func newBackwardConv(s kernel.ConvShape, w []float32, fast bool) *backwardConv {
	if fast && winograd(s) {
		return &backwardConv{shape: s, winograd: kernel.NewWinogradBackwardFilter(s, w)}
	}
	return &backwardConv{shape: s, direct: kernel.NewBackwardFilter(s, w)}
}

func (c *backwardConv) set(w []float32) {
	if c.winograd != nil {
		c.winograd.Set(w)
	} else {
		c.direct.Set(w)
	}
}

// run computes n samples.
func (c *backwardConv) run(p *parallel.Pool, n int, dy, dx []float32) {
	if c.winograd != nil {
		kernel.ConvWinogradBackwardInput(p, batched(c.shape, n), dy, c.winograd, dx)
	} else {
		kernel.ConvBackwardInput(p, batched(c.shape, n), dy, c.direct, dx)
	}
}
