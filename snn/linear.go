package snn

import (
	"fmt"
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A function evaluates one node of the graph that is not a neuron on n
// samples: in[i] holds n samples of input i, out is overwritten. Values are
// normalised: wire value times the wire's scale is the real one; the scales of
// inputs and output are folded into the parameters here.
type function func(p *parallel.Pool, n int, in [][]float32, out []float32)

// conv is a convolution or fully connected layer with folded scales; neurons
// drive it directly so that its epilogue and their update share the cache.
type conv struct {
	shape  kernel.ConvShape    // N is set by the caller
	filter *kernel.Filter      // nil if one of the next two is not
	events *kernel.EventFilter // for an input of spike counts, where that is possible
	exact  *exactConv          // in networks of integer weights
	bias   []float32
	rows   bool // a fully connected layer: samples are the columns of one image
}

func (c *conv) apply(p *parallel.Pool, n int, x, add, y []float32) {
	s := c.shape
	if c.rows {
		s.W *= n
	} else {
		s.N = n
	}
	if c.exact != nil {
		c.exact.apply(p, s, x, add, y)
		return
	}
	kernel.Conv(p, s, x, c.filter, kernel.Epilogue{Bias: c.bias, Add: add}, y)
}

// eventPixels is how many output pixels share a pass over the weights of a
// convolution of events: few enough for their sums to stay in the cache.
const eventPixels = 512

// eventFrames returns how many of the frames (samples times timesteps) to
// convolve at a time.
func (c *conv) eventFrames(total int) int {
	return min(total, max(1, eventPixels/(c.shape.OutH()*c.shape.OutW())))
}

// applyEvents is apply for n frames of spike counts.
func (c *conv) applyEvents(r *run, n int, x []uint8, add, y []float32) {
	masks := grow(&r.scratch.masks, len(x)/64)
	kernel.CountMasks(masks, x)
	s := c.shape
	s.N = n
	kernel.ConvCounts(r.pool, s, x, masks, c.events, kernel.Epilogue{Bias: c.bias, Add: add}, y)
}

// A use says what a convolution is for.
type use uint8

const (
	forValues use = iota // any input
	forCounts            // only spike counts will come in, see fireStep
	exactly              // results are wanted that are the same on every instruction set
)

// valueUse is the use of convolutions of analog values.
func (p Precision) valueUse() use {
	if p.integer() {
		return exactly
	}
	return forValues
}

// newConv folds the scales: W' = W*in/out, b' = b/out (algorithms.md 1.4).
func newConv(n *graph.Node, in, out []float32, u use) *conv {
	c := &conv{}
	c.shape, c.rows = convShape(n)
	weight := foldedWeight(n, in, out)
	c.bias = foldedBias(n, out)
	switch u {
	case forCounts:
		c.events = kernel.NewEventFilter(c.shape, weight)
	case exactly:
		c.exact = &exactConv{weight: weight, bias: c.bias}
		return c
	}
	if c.events == nil {
		c.filter = kernel.NewFilter(c.shape, weight)
	}
	return c
}

// convShape is the shape of a convolution of one sample, or of a fully connected
// layer, whose positions, and samples, are the columns of one image (rows).
func convShape(n *graph.Node) (s kernel.ConvShape, rows bool) {
	w := n.Weight()
	cout := w.Shape[len(w.Shape)-1]
	h, wd, cin := n.Inputs[0].Shape.HWC()
	op, ok := n.Op.(*graph.Conv2D)
	if !ok {
		return kernel.ConvShape{N: 1, H: 1, W: n.Shape.Positions(), Cin: cin, KH: 1, KW: 1, Cout: cout,
			StrideH: 1, StrideW: 1, DilH: 1, DilW: 1, Groups: 1}, true
	}
	return kernel.ConvShape{N: 1, H: h, W: wd, Cin: cin, KH: w.Shape[0], KW: w.Shape[1], Cout: cout,
		StrideH: op.Stride[0], StrideW: op.Stride[1], PadTop: op.Pad[0], PadLeft: op.Pad[1],
		PadBottom: op.Pad[2], PadRight: op.Pad[3], DilH: op.Dilation[0], DilW: op.Dilation[1], Groups: op.Groups}, false
}

// foldedWeight is the weight of a convolution or fully connected layer between
// wires of the given scales.
func foldedWeight(n *graph.Node, in, out []float32) []float32 {
	w := n.Weight()
	last := len(w.Shape) - 1
	perIn, cout, groups := w.Shape[last-1], w.Shape[last], 1
	if op, ok := n.Op.(*graph.Conv2D); ok {
		groups = op.Groups
	}
	weight := make([]float32, len(w.Data))
	for i, v := range w.Data {
		co, ci := i%cout, i/cout%perIn
		weight[i] = v * ratio(in, co/(cout/groups)*perIn+ci, out, co)
	}
	return weight
}

// foldedBias is the bias of a node in units of the scale out, nil if it has
// none.
func foldedBias(n *graph.Node, out []float32) []float32 {
	b := n.Bias()
	if b == nil {
		return nil
	}
	bias := make([]float32, len(b))
	for co, v := range b {
		bias[co] = v * ratio(nil, 0, out, co)
	}
	return bias
}

// ratio is in[i]/out[j], where a nil scale is 1.
func ratio(in []float32, i int, out []float32, j int) float32 {
	r := float32(1)
	if in != nil {
		r = in[i]
	}
	if out != nil {
		r /= out[j]
	}
	return r
}

// isConv says whether newConv takes the node.
func isConv(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear:
		return true
	}
	return false
}

// freeScale says whether the node can deliver its output in any scale.
func freeScale(n *graph.Node) bool {
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear, *graph.ConvTranspose2D, *graph.Add, *graph.BatchNorm, *graph.Affine:
		return true
	}
	return false
}

// passedScale is the scale of the output of a node that has no free choice.
func passedScale(n *graph.Node, in [][]float32) []float32 {
	switch n.Op.(type) {
	case *graph.Concat:
		any := false
		for _, s := range in {
			any = any || s != nil
		}
		if !any {
			return nil
		}
		var out []float32
		for i, s := range in {
			out = append(out, expandScale(s, n.Inputs[i].Shape.Channels())...)
		}
		return out
	case *graph.Flatten:
		if in[0] == nil {
			return nil
		}
		var out []float32
		for range n.Inputs[0].Shape.Positions() {
			out = append(out, in[0]...)
		}
		return out
	case *graph.Softmax, *graph.LogSoftmax:
		return nil
	}
	if scale, ok := otherScale(n, in); ok {
		return scale
	}
	return in[0]
}

// expandScale writes a nil scale out as ones.
func expandScale(s []float32, channels int) []float32 {
	if s != nil {
		return s
	}
	out := make([]float32, channels)
	for i := range out {
		out[i] = 1
	}
	return out
}

// newFunction builds the evaluation of a node for inputs and an output of the
// given scales (nil: 1). The output scale must be free or the passed one.
func newFunction(n *graph.Node, in [][]float32, out []float32, u use) (function, error) {
	var h, w, c int
	if len(n.Inputs) > 0 {
		h, w, c = n.Inputs[0].Shape.HWC()
	}
	switch op := n.Op.(type) {
	case *graph.Conv2D, *graph.Linear:
		l := newConv(n, in[0], out, u)
		return func(p *parallel.Pool, k int, x [][]float32, y []float32) { l.apply(p, k, x[0], nil, y) }, nil
	case *graph.ConvTranspose2D:
		return newConvTranspose(n, op, in[0], out)
	case *graph.BatchNorm:
		a, b := op.Affine(n.Params)
		scale, shift := make([]float32, len(a)), make([]float32, len(a))
		for ch := range a {
			scale[ch] = float32(a[ch]) * ratio(in[0], ch, out, ch)
			shift[ch] = float32(b[ch]) * ratio(nil, 0, out, ch)
		}
		inf := float32(math.Inf(1))
		return func(p *parallel.Pool, _ int, x [][]float32, y []float32) {
			kernel.BatchNormApply(p, y, x[0], scale, shift, -inf, inf)
		}, nil
	case *graph.Add:
		factors := make([][]float32, len(in))
		for i := range in {
			factors[i] = factor(in[i], out, n.Shape.Channels())
		}
		return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) {
			scaleRows(y, x[0], factors[0])
			for i := 1; i < len(x); i++ {
				addRows(y, x[i], factors[i])
			}
		}, nil
	case *graph.MaxPool2D:
		s := poolShape(n, op.Kernel, op.Stride, op.Pad)
		return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
			s := s
			s.N = k
			kernel.MaxPool(p, s, x[0], y, nil)
		}, nil
	case *graph.AvgPool2D:
		s := poolShape(n, op.Kernel, op.Stride, op.Pad)
		return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
			s := s
			s.N = k
			kernel.AvgPool(p, s, x[0], y, op.CountIncludePad)
		}, nil
	case *graph.GlobalAvgPool:
		return func(_ *parallel.Pool, k int, x [][]float32, y []float32) {
			for i := range k {
				meanRows(y[i*c:(i+1)*c], x[0][i*h*w*c:(i+1)*h*w*c])
			}
		}, nil
	case *graph.GlobalMaxPool:
		return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
			kernel.GlobalMaxPool(p, k, h*w, c, x[0], y, nil)
		}, nil
	case *graph.Upsample:
		if op.Mode == "nearest" {
			from := nearestSource(h, w, op.Size[0], op.Size[1])
			return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) { copyPixels(y, x[0], from, h*w, c) }, nil
		}
		return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
			s := kernel.ResampleShape{N: k, H: h, W: w, C: c, OutH: op.Size[0], OutW: op.Size[1]}
			kernel.ResampleBilinear(p, s, x[0], y, op.AlignCorners)
		}, nil
	case *graph.Concat:
		widths := make([]int, len(n.Inputs))
		for i, m := range n.Inputs {
			widths[i] = m.Shape.Channels()
		}
		return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) { concat(y, x, widths) }, nil
	case *graph.Flatten, *graph.Identity, *graph.Dropout:
		return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) { copy(y, x[0]) }, nil
	case *graph.Softmax, *graph.LogSoftmax:
		f := factor(in[0], nil, c)
		soft := kernel.Softmax
		if n.Kind() == "log_softmax" {
			soft = kernel.LogSoftmax
		}
		return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) {
			scaleRows(y, x[0], f)
			soft(y, y, c)
		}, nil
	}
	return otherFunction(n, in, out)
}

// newConvTranspose runs a transposed convolution as the backward pass of the
// convolution it is the transpose of.
func newConvTranspose(n *graph.Node, op *graph.ConvTranspose2D, in, out []float32) (function, error) {
	w := n.Weight()
	h, wd, cin := n.Inputs[0].Shape.HWC()
	oh, ow, cout := n.Shape.HWC()
	kh, kw, per := w.Shape[0], w.Shape[1], w.Shape[3]
	// The mirrored convolution maps [oh, ow, cout] to [h, wd, cin]; its weight
	// is [kh, kw, cout/groups, cin]. Padding below and right is what makes the
	// sizes meet.
	s := kernel.ConvShape{H: oh, W: ow, Cin: cout, KH: kh, KW: kw, Cout: cin,
		StrideH: op.Stride[0], StrideW: op.Stride[1], DilH: op.Dilation[0], DilW: op.Dilation[1], Groups: op.Groups,
		PadTop: op.Pad[0], PadLeft: op.Pad[1],
		PadBottom: max(0, (h-1)*op.Stride[0]+op.Dilation[0]*(kh-1)+1-oh-op.Pad[0]),
		PadRight:  max(0, (wd-1)*op.Stride[1]+op.Dilation[1]*(kw-1)+1-ow-op.Pad[1])}
	s.N = 1
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("node %q (%s): %w", n.Name, n.Kind(), err)
	}
	if s.OutH() != h || s.OutW() != wd {
		return nil, fmt.Errorf("node %q (%s): output_pad %v exceeds pad %v by a stride %v or more, which cannot run in a spiking network",
			n.Name, n.Kind(), op.OutputPad, op.Pad, op.Stride)
	}
	mirrored := make([]float32, len(w.Data))
	for k := range kh * kw {
		for ci := range cin {
			group := ci / (cin / op.Groups)
			for co := range per {
				mirrored[(k*per+co)*cin+ci] = w.Data[(k*cin+ci)*per+co] * ratio(in, ci, out, group*per+co)
			}
		}
	}
	filter := kernel.NewBackwardFilter(s, mirrored)
	bias := foldedBias(n, out)
	return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
		s := s
		s.N = k
		kernel.ConvBackwardInput(p, s, x[0], filter, y)
		if bias != nil {
			kernel.AddBias(y, y, bias)
		}
	}, nil
}

func poolShape(n *graph.Node, kern, stride [2]int, pad graph.Pad) kernel.PoolShape {
	h, w, c := n.Inputs[0].Shape.HWC()
	oh, ow, _ := n.Shape.HWC()
	return kernel.PoolShape{N: 1, H: h, W: w, C: c, KH: kern[0], KW: kern[1], StrideH: stride[0], StrideW: stride[1],
		PadTop: pad[0], PadLeft: pad[1], PadBottom: pad[2], PadRight: pad[3], OutH: oh, OutW: ow}
}

// factor is in/out per channel, nil where it is 1 throughout.
func factor(in, out []float32, channels int) []float32 {
	f := make([]float32, channels)
	one := true
	for ch := range f {
		f[ch] = ratio(in, ch, out, ch)
		one = one && f[ch] == 1
	}
	if one {
		return nil
	}
	return f
}

// scaleRows sets dst = x * f per channel.
func scaleRows(dst, x, f []float32) {
	if f == nil {
		copy(dst, x)
		return
	}
	for lo := 0; lo < len(x); lo += len(f) {
		kernel.Mul(dst[lo:lo+len(f)], x[lo:lo+len(f)], f)
	}
}

// addRows sets dst += x * f per channel.
func addRows(dst, x, f []float32) {
	if f == nil {
		kernel.AddTo(dst, x)
		return
	}
	for lo := 0; lo < len(x); lo += len(f) {
		d := dst[lo : lo+len(f)]
		for i, v := range x[lo : lo+len(f)] {
			d[i] += v * f[i]
		}
	}
}

// copyPixels copies, for samples or timesteps of in pixels of c channels each,
// pixel from[i] to pixel i.
func copyPixels[E any](dst, x []E, from []int, in, c int) {
	for at, to := 0, 0; to < len(dst); at, to = at+in*c, to+len(from)*c {
		for i, src := range from {
			copy(dst[to+i*c:to+(i+1)*c], x[at+src*c:])
		}
	}
}

// meanRows is kernel.GlobalAvgPool of one sample, without allocating.
func meanRows(y, x []float32) {
	c := len(y)
	for ch := range y {
		var sum float64
		for i := ch; i < len(x); i += c {
			sum += float64(x[i])
		}
		y[ch] = float32(sum / float64(len(x)/c))
	}
}

// concat joins rows of the given widths.
func concat[E any](dst []E, x [][]E, widths []int) {
	total := 0
	for _, w := range widths {
		total += w
	}
	at := 0
	for i, w := range widths {
		for r := range len(dst) / total {
			copy(dst[r*total+at:r*total+at+w], x[i][r*w:(r+1)*w])
		}
		at += w
	}
}
