package snn

import (
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
)

// An indexMap says where an operation that only moves values takes each of them
// from: reshape, transpose, slice, gather with constant indices, padding,
// repetition, joining along any axis, rearranged blocks, nearest neighbours. They
// act on spike counts as on any values, as long as every channel of the output
// comes from one channel of an input, whose threshold it keeps.
type indexMap struct {
	runs []indexRun
	size []int // values per sample of each input
	out  int   // of the output
	// channel is where each channel of the output comes from; nil if some channel
	// comes from several.
	channel []channelSource
	// passes lists, per position of the only input, the positions of the output
	// that its values go to, each channel to the same ones; nil if they differ, or
	// if there are several inputs.
	passes [][]int32
}

// An indexRun is a number of consecutive values of the output that are
// consecutive in an input; input -1 stands for zeros.
type indexRun struct{ input, from, n int32 }

// A channelSource is a channel of an input; input -1 stands for zeros.
type channelSource struct{ input, channel int32 }

// isIndex says whether the node only moves values, or repeats them, or puts zeros
// between.
func isIndex(n *graph.Node) bool {
	switch op := n.Op.(type) {
	case *graph.Transpose, *graph.Reshape, *graph.Slice, *graph.Gather, *graph.Expand, *graph.Tile,
		*graph.ConcatAxis, *graph.DepthToSpace, *graph.SpaceToDepth:
		return true
	case *graph.PadAxes:
		return op.Mode != "constant" || op.Value == 0
	case *graph.Resize:
		return op.Mode == "nearest"
	}
	return false
}

func newIndexMap(n *graph.Node) *indexMap {
	m := &indexMap{out: n.Shape.Numel()}
	for _, in := range n.Inputs {
		m.size = append(m.size, in.Shape.Numel())
	}
	input, from := make([]int32, m.out), make([]int32, m.out)
	if op, ok := n.Op.(*graph.ConcatAxis); ok {
		joinSources(n, op.Axis, input, from)
	} else {
		gatherSources(n, input, from)
	}
	for i := range input {
		k := len(m.runs) - 1
		if k >= 0 && m.runs[k].input == input[i] && (input[i] < 0 || m.runs[k].from+m.runs[k].n == from[i]) {
			m.runs[k].n++
			continue
		}
		m.runs = append(m.runs, indexRun{input[i], from[i], 1})
	}
	m.findChannels(n, input, from)
	m.findPasses(n, input, from)
	return m
}

// joinSources is where the values of inputs joined along an axis come from.
func joinSources(n *graph.Node, axis int, input, from []int32) {
	at := 0
	for outer := range n.Shape[:axis].Numel() {
		for k, in := range n.Inputs {
			width := in.Shape[axis:].Numel()
			for i := range width {
				input[at], from[at] = int32(k), int32(outer*width+i)
				at++
			}
		}
	}
}

// gatherSources is where the values of an operation of one input come from: the
// sum of an offset per axis of the output, or zeros where one is negative.
func gatherSources(n *graph.Node, input, from []int32) {
	axes := axisOffsets(n)
	at := make([]int, len(axes))
	for i := range input {
		sum := 0
		for a, k := range at {
			if axes[a][k] < 0 {
				sum = -1
				break
			}
			sum += axes[a][k]
		}
		if sum < 0 {
			input[i] = -1
		} else {
			from[i] = int32(sum)
		}
		for a := len(at) - 1; a >= 0; a-- {
			if at[a]++; at[a] < len(axes[a]) {
				break
			}
			at[a] = 0
		}
	}
}

// strides returns how far apart the values of each axis lie.
func strides(s graph.Shape) []int {
	st := make([]int, len(s))
	step := 1
	for i := len(s) - 1; i >= 0; i-- {
		st[i] = step
		step *= s[i]
	}
	return st
}

// offsets returns n offsets from start on.
func offsets(start, step, n int) []int {
	o := make([]int, n)
	for i := range o {
		o[i] = start + i*step
	}
	return o
}

// axisOffsets returns what every index of every axis (for a gather, axes that its
// indices add count as one) contributes to the offset in the input.
func axisOffsets(n *graph.Node) [][]int {
	in, out := n.Inputs[0].Shape, n.Shape
	st := strides(in)
	var axes [][]int
	switch op := n.Op.(type) {
	case *graph.Reshape:
		axes = [][]int{offsets(0, 1, out.Numel())}
	case *graph.Transpose:
		for _, a := range op.Perm {
			axes = append(axes, offsets(0, st[a], in[a]))
		}
	case *graph.Slice:
		for i, size := range op.Size {
			axes = append(axes, offsets(op.Start[i]*st[i], op.Step[i]*st[i], size))
		}
	case *graph.Gather:
		for i, d := range in {
			axes = append(axes, offsets(0, st[i], d))
			if i == op.Axis {
				axes[i] = make([]int, len(op.Indices))
				for k, index := range op.Indices {
					axes[i][k] = index * st[i]
				}
			}
		}
	case *graph.PadAxes:
		for i, d := range in {
			axes = append(axes, padOffsets(op.Mode, d, op.Begin[i], op.End[i], st[i]))
		}
	case *graph.Expand:
		for i, d := range out {
			at := i - (len(out) - len(in))
			if at < 0 || in[at] == 1 {
				axes = append(axes, make([]int, d))
			} else {
				axes = append(axes, offsets(0, st[at], d))
			}
		}
	case *graph.Tile:
		for i, d := range out {
			o := make([]int, d)
			for k := range o {
				o[k] = k % in[i] * st[i]
			}
			axes = append(axes, o)
		}
	case *graph.DepthToSpace:
		b := op.Block
		place, channel := out[2], 1 // how far apart the channels of places of a block, and of values
		if op.ChannelFirst {
			place, channel = 1, b*b
		}
		rows, columns := make([]int, out[0]), make([]int, out[1])
		for y := range rows {
			rows[y] = y/b*st[0] + y%b*b*place
		}
		for x := range columns {
			columns[x] = x/b*st[1] + x%b*place
		}
		axes = [][]int{rows, columns, offsets(0, channel, out[2])}
	case *graph.SpaceToDepth:
		b := op.Block
		channels := make([]int, out[2])
		for c := range channels {
			place, ch := c/in[2], c%in[2]
			if op.ChannelFirst {
				place, ch = c%(b*b), c/(b*b)
			}
			channels[c] = place/b*st[0] + place%b*st[1] + ch
		}
		axes = [][]int{offsets(0, b*st[0], out[0]), offsets(0, b*st[1], out[1]), channels}
	case *graph.Resize:
		for a, d := range in {
			o := make([]int, op.Size[a])
			for i := range o {
				o[i] = op.NearestIndex(d, a, i) * st[a]
			}
			axes = append(axes, o)
		}
	}
	return axes
}

// padOffsets are the offsets of one padded axis of length d.
func padOffsets(mode string, d, begin, end, stride int) []int {
	// What is cut off is not there for the other modes either.
	first, left := max(-begin, 0), d+min(begin, 0)+min(end, 0)
	o := make([]int, 0, d+begin+end)
	for i := -max(begin, 0); i < left+max(end, 0); i++ {
		k := i
		if k < 0 || k >= left {
			switch mode {
			case "constant":
				o = append(o, -1)
				continue
			case "edge":
				k = min(max(k, 0), left-1)
			case "wrap":
				k = (k%left + left) % left
			case "reflect":
				if left == 1 {
					k = 0
					break
				}
				period := 2 * (left - 1)
				k = (k%period + period) % period
				k = min(k, period-k)
			}
		}
		o = append(o, (first+k)*stride)
	}
	return o
}

// findChannels sets channel.
func (m *indexMap) findChannels(n *graph.Node, input, from []int32) {
	c := n.Shape.Channels()
	channel := make([]channelSource, c)
	for ch := range channel {
		channel[ch].input = -1
	}
	for i, k := range input {
		if k < 0 {
			continue
		}
		s := channelSource{k, from[i] % int32(n.Inputs[k].Shape.Channels())}
		switch to := &channel[i%c]; *to {
		case s:
		case channelSource{-1, 0}:
			*to = s
		default:
			return
		}
	}
	m.channel = channel
}

// findPasses sets passes.
func (m *indexMap) findPasses(n *graph.Node, input, from []int32) {
	if len(n.Inputs) != 1 {
		return
	}
	c, in := n.Shape.Channels(), n.Inputs[0].Shape.Channels()
	to := make([][]int32, m.size[0])
	for i, k := range input {
		if k >= 0 {
			to[from[i]] = append(to[from[i]], int32(i/c))
		}
	}
	for i := range to {
		slices.Sort(to[i])
		if !slices.Equal(to[i], to[i/in*in]) {
			return
		}
	}
	m.passes = make([][]int32, len(to)/in)
	for p := range m.passes {
		m.passes[p] = to[p*in]
	}
}

// move copies the values of samples, or of timesteps of samples.
func move[E any](m *indexMap, dst []E, x [][]E) {
	for k := range len(dst) / m.out {
		to := dst[k*m.out : (k+1)*m.out]
		for _, r := range m.runs {
			if r.input < 0 {
				clear(to[:r.n])
			} else {
				at := k*m.size[r.input] + int(r.from)
				copy(to[:r.n], x[r.input][at:])
			}
			to = to[r.n:]
		}
	}
}

// scale is the scale of the output, nil for 1: that of the inputs' channels, or 1
// where channels of the output come from several.
func (m *indexMap) scale(in [][]float32) []float32 {
	any := false
	for _, s := range in {
		any = any || s != nil
	}
	if m.channel == nil || !any {
		return nil
	}
	out := make([]float32, len(m.channel))
	for ch, s := range m.channel {
		out[ch] = 1
		if s.input >= 0 && in[s.input] != nil {
			out[ch] = in[s.input][s.channel]
		}
	}
	return out
}

// function moves values of inputs of the given scales.
func (m *indexMap) function(in [][]float32) function {
	factor := m.factors(in)
	return func(_ *parallel.Pool, _ int, x [][]float32, y []float32) {
		move(m, y, x)
		if factor != nil {
			scaleRows(y, y, factor)
		}
	}
}

// factors are the scales of all values of the output, where it has none itself.
func (m *indexMap) factors(in [][]float32) []float32 {
	any := false
	for _, s := range in {
		any = any || s != nil
	}
	if m.channel != nil || !any {
		return nil
	}
	f := make([]float32, m.out)
	at := 0
	for _, r := range m.runs {
		for i := range int(r.n) {
			f[at+i] = 1
			if r.input >= 0 && in[r.input] != nil {
				f[at+i] = in[r.input][(int(r.from)+i)%len(in[r.input])]
			}
		}
		at += int(r.n)
	}
	return f
}

// emitters lists the layers whose spikes the channels of the output carry.
func (m *indexMap) emitters(in []*wire) []emitter {
	var out []emitter
	layers := make([][]int, len(in))
	for i, w := range in {
		for _, e := range w.emitters {
			for range e.channels {
				layers[i] = append(layers[i], e.layer)
			}
		}
		if len(layers[i]) == 0 {
			return nil
		}
	}
	for _, s := range m.channel {
		if s.input < 0 { // zeros: there is nothing to count
			out = joinEmitters(out, []emitter{{layers[0][0], 1}})
			continue
		}
		out = joinEmitters(out, []emitter{{layers[s.input][s.channel], 1}})
	}
	return out
}

// joinEmitters appends more emitters.
func joinEmitters(list, more []emitter) []emitter {
	for _, e := range more {
		if k := len(list) - 1; k >= 0 && list[k].layer == e.layer {
			list[k].channels += e.channels
			continue
		}
		list = append(list, e)
	}
	return list
}

// wideIndexStep is a countStep of counts that do not fit a byte.
type wideIndexStep struct {
	in    []int
	out   int
	index *indexMap
}

func (s *wideIndexStep) run(r *run) {
	in := grow(&r.scratch.floatsIn, len(s.in))
	for i, w := range s.in {
		in[i] = r.overTime(w, i)
	}
	move(s.index, r.newFloats(s.out, r.samples*r.span*s.index.out), in)
	if r.net.plan.wires[s.out].recounts() {
		r.countOperations(s.out)
	}
}
