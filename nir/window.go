package nir

import (
	"fmt"
	"slices"

	"github.com/adafire/adafire/graph"
)

// A window is the geometry of a linear node, per spatial axis.
type window struct {
	kernel, stride, low, high, dilation []int
	groups                              int
	flatten                             bool // a Flatten node and a fully connected one
}

// fullWindow covers the whole map behind a flatten, one position elsewhere.
func (l *lowering) fullWindow(s *signal) window {
	w := window{groups: 1}
	for _, d := range s.dims {
		if !s.flat {
			d = 1
		}
		w.kernel = append(w.kernel, d)
		w.stride, w.low, w.high, w.dilation = append(w.stride, 1), append(w.low, 0), append(w.high, 0), append(w.dilation, 1)
	}
	w.flatten = s.flat && l.opt.Flatten && len(s.dims) > 0
	return w
}

// embedded is an axis of a window with zeros around the kernel, so that the
// padding is symmetric.
type embedded struct{ size, offset, pad, stride int }

// embed finds the place of a kernel in one of k taps with symmetric padding that
// has the same output.
func embed(k, kernel, stride, low, high, dilation, in int) (embedded, bool) {
	want := (in+low+high-dilation*(kernel-1)-1)/stride + 1
	if want == 1 {
		stride = max(stride, in+k*dilation+low+high) // one position: no second one may appear
	}
	for a := 0; a <= k-kernel; a++ {
		e := embedded{k, a, low + a*dilation, stride}
		if room := in + 2*e.pad - dilation*(k-1) - 1; room >= 0 && room/stride+1 == want {
			return e, true
		}
	}
	return embedded{}, false
}

// square embeds all axes in kernels of one size; embed explains.
func (w *window) square(dims []int) ([]embedded, bool) {
	if len(dims) == 0 {
		return nil, true
	}
	largest := slices.Max(w.kernel)
	for k := largest; k <= 3*largest+2*slices.Max(w.low)+2*slices.Max(w.high)+2; k++ {
		var out []embedded
		for i := range dims {
			// As it is, if it can be: strides are kept then.
			if k == w.kernel[i] && w.low[i] == w.high[i] {
				out = append(out, embedded{k, 0, w.low[i], w.stride[i]})
				continue
			}
			e, ok := embed(k, w.kernel[i], w.stride[i], w.low[i], w.high[i], w.dilation[i], dims[i])
			if !ok {
				break
			}
			out = append(out, e)
		}
		if len(out) == len(dims) {
			return out, true
		}
	}
	return nil, false
}

// shape sets a node's type and attributes and returns the shape of its weight.
func (w *window) shape(n *Node, in *signal, axes []embedded, channels, cout int, keep bool) []int {
	shape := []int{cout, channels}
	switch {
	case w.flatten:
		n.Type = "Affine"
		shape[1] *= numel(in.dims)
	case len(in.dims) == 0:
		n.Type = "Affine"
	default:
		n.Type = fmt.Sprintf("Conv%dd", len(in.dims))
		n.Ints["groups"] = []int{1}
		if keep {
			shape[1] /= w.groups
			n.Ints["groups"] = []int{w.groups}
		}
		for i, e := range axes {
			shape = append(shape, e.size)
			n.Ints["input_shape"] = append(n.Ints["input_shape"], in.dims[i])
			n.Ints["stride"] = append(n.Ints["stride"], e.stride)
			n.Ints["padding"] = append(n.Ints["padding"], e.pad)
			n.Ints["dilation"] = append(n.Ints["dilation"], w.dilation[i])
		}
	}
	return shape
}

// index returns where tap k of input channel c (of channels) and output o lies.
func (w *window) index(axes []embedded, k, c, o, channels int) int {
	if w.flatten {
		positions := 1
		for _, d := range w.kernel {
			positions *= d
		}
		return (o*channels+c)*positions + k
	}
	tap, area := 0, 1
	for i := len(axes) - 1; i >= 0; i-- {
		tap += (k%w.kernel[i] + axes[i].offset) * area
		area *= axes[i].size
		k /= w.kernel[i]
	}
	return (o*channels+c)*area + tap
}

func (w *window) put(a *Array, axes []embedded, k, c, o, channels int, v float64) {
	a.Data[w.index(axes, k, c, o, channels)] = float32(v)
}

// A weightPlace visits the elements of a weight that one NIR node holds: those
// of the input channels first to first+channels.
type weightPlace struct {
	n                          *graph.Node
	w                          window
	axes                       []embedded
	to                         *Array
	first, channels, cin, cout int
	keep                       bool
	in, out                    []float64 // scales
}

func (p weightPlace) visit(f func(element int, to *Array, at int, factor float64)) {
	taps := numel(p.w.kernel)
	perIn, perOut := p.cin/p.w.groups, p.cout/p.w.groups
	for k := range taps {
		for ci := range perIn {
			for o := range p.cout {
				c := o/perOut*perIn + ci - p.first
				if c < 0 || c >= p.channels {
					continue
				}
				to, wide := c, p.channels
				if p.keep {
					to, wide = ci, perIn
				}
				f((k*perIn+ci)*p.cout+o, p.to, p.w.index(p.axes, k, to, o, wide), at(p.in, c)/at(p.out, o))
			}
		}
	}
}
