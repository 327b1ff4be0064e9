package snn

import (
	"math"
	"unsafe"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
)

// maxWide is the largest count that does not fit a byte which integer layers
// take.
const maxWide = math.MaxInt16

// An intLayer is what spike counts drive by weights that are whole numbers: a
// convolution, a transposed one or a fully connected layer, or two of them whose
// sums are added, a layer and a projection shortcut. The current of output
// channel ch is
//
//	float32(sum)*step[ch] + bias[ch]
type intLayer struct {
	parts []intPart
	step  []float32 // per output channel
	bias  []float32 // per output channel
	size  int       // outputs per sample and timestep
}

// An intPart is one product of an intLayer.
type intPart struct {
	in     int // wire of counts
	shape  kernel.ConvShape
	filter *kernel.IntFilter
	events *kernel.IntEventFilter // nil where they are of no use
	signed bool                   // events may be of differences
	number int                    // of the part in its layer
	rows   bool                   // frames are the columns of one image, see convShape
	wide   bool                   // the counts are floats on their wire and become whole numbers, see whole
	tiny   bool                   // of 8 bits with their sign, else of 16
	stuff  *stuffing              // of a transposed convolution
	bias   []float32              // its part of the layer's, nil for none
}

// quantisable says whether the node n has weights that are quantised: those of
// convolutions and fully connected layers of spike counts, or sums of them, in
// every timestep.
func (p *plan) quantisable(n *graph.Node) bool {
	if !p.weights.integer() || p.wires[p.index[n]].readout {
		return false
	}
	switch n.Op.(type) {
	case *graph.Conv2D, *graph.Linear:
	case *graph.ConvTranspose2D:
	default:
		return false
	}
	in := p.wires[p.index[n.Inputs[0]]]
	return in.kind == counts || (in.kind == current && in.spikes)
}

// newIntLayer quantises the weights of nodes whose outputs are added, together.
// It returns nil if that is not possible: see Precision.quantise.
func (p *plan) newIntLayer(nodes []*graph.Node, out []float32) *intLayer {
	l := &intLayer{size: nodes[0].Shape.Numel()}
	outputs := nodes[0].Shape.Channels()
	l.bias = make([]float32, outputs)
	var blocks []WeightBlock
	for _, n := range nodes {
		in := p.wires[p.index[n.Inputs[0]]]
		part := intPart{in: p.index[n.Inputs[0]], wide: in.kind != counts, bias: foldedBias(n, out)}
		var w []float32
		if op, ok := n.Op.(*graph.ConvTranspose2D); ok {
			part.shape, part.stuff, w = stuffedTranspose(n, op, in.scale, out)
		} else {
			part.shape, part.rows = convShape(n)
			w = foldedWeight(n, in.scale, out)
		}
		l.parts = append(l.parts, part)
		blocks = append(blocks, WeightBlock{w, in.most})
		for ch, b := range part.bias {
			l.bias[ch] += b
		}
	}
	q, step, ok := p.weights.Quantise(blocks, outputs)
	if !ok {
		return nil
	}
	l.step = step
	for k := range l.parts {
		part := &l.parts[k]
		part.number = k
		var err error
		least := 0
		if part.wide && p.signed {
			least = -blocks[k].Most
			part.tiny = blocks[k].Most <= math.MaxInt8
		}
		if p.weights == I8 {
			bytes := make([]int8, len(q[k]))
			for i, v := range q[k] {
				bytes[i] = int8(v)
			}
			part.filter, err = kernel.NewIntFilter(part.shape, bytes, least, blocks[k].Most)
			packEvents(p, part, bytes, blocks[k].Most)
		} else {
			part.filter, err = kernel.NewIntFilter(part.shape, q[k], least, blocks[k].Most)
			packEvents(p, part, q[k], blocks[k].Most)
		}
		if err != nil {
			panic("snn: quantised weights: " + err.Error()) // the steps were chosen for it
		}
	}
	return l
}

// alone is part k of the layer as a layer of its own.
func (l *intLayer) alone(k int) *intLayer {
	return &intLayer{parts: l.parts[k : k+1], step: l.step, bias: l.parts[k].bias, size: l.size}
}

// packEvents packs the weights of a part for kernels that skip zero counts, and
// differences, where there can be any.
func packEvents[W int8 | int16](p *plan, part *intPart, w []W, most int) {
	if !p.mayUseEvents(part) {
		return
	}
	if part.tiny { // counts have signs, which differences of theirs would not fit
		part.events = kernel.NewIntEventFilter(part.shape, w, -most, most)
		return
	}
	if most > 1 && part.stuff == nil && (p.choice == chooseBase || p.choice == chooseFaster && part.signsFit(p.weights)) {
		part.events = kernel.NewIntEventFilter(part.shape, w, -most, most)
	}
	if part.signed = part.events != nil; !part.signed {
		part.events = kernel.NewIntEventFilter(part.shape, w, 0, most)
	}
}

// A choice says which kernels integer layers use.
type choice uint8

const (
	chooseFaster choice = iota
	chooseDense
	chooseEvents
	chooseBase
)

// mayUseEvents says whether a product is large enough for the choice between
// kernels to matter.
func (p *plan) mayUseEvents(part *intPart) bool {
	if part.wide && !part.tiny || part.tiny && !part.signsFit(p.weights) || p.choice == chooseDense {
		return false
	}
	s := part.shape
	return p.choice != chooseFaster || (s.Cin >= 16 && s.Cout >= 16 && s.KH*s.KW*s.Cin >= 64)
}

// choose decides for every frame of the run how each part is computed: by the
// kernel that skips zero counts where few enough are not zero. It returns the
// number of counts of the first part that are not zero, per frame, nil if it did
// not count them.
func (l *intLayer) choose(r *run) (live []int32) {
	frames := r.samples * r.span
	ways := grow(&r.scratch.ways, len(l.parts)*frames)
	clear(ways)
	for k := range l.parts {
		part := &l.parts[k]
		size := r.net.plan.wires[part.in].size
		part.whole(r, frames*size)
		if part.events == nil {
			continue
		}
		share := kernel.IntCrossover(part.shape, part.filter, part.events)
		if r.net.plan.choice == chooseEvents {
			share = 2
		}
		if k == 0 {
			live = grow(&r.scratch.live, frames)
		}
		for g := range r.samples {
			plain := 0.0
			for i := g * r.span; i < (g+1)*r.span; i++ {
				_, n := kernel.CountSpikes(part.stored(r, i*size, (i+1)*size))
				if float64(n) < share*float64(size) {
					ways[k*frames+i] = byEvents
				}
				plain += min(float64(n), share*float64(size))
				if k == 0 {
					live[i] = int32(n)
				}
			}
			if l.tryBase(r, k, g, plain, share) {
				for i := g * r.span; i < (g+1)*r.span; i++ {
					ways[k*frames+i] = byBase
				}
			}
		}
	}
	return live
}

// alike returns how part k of frame i of the run is computed, and up to which
// frame before end, of the same sample if by base and differences, this is so.
func (l *intLayer) alike(r *run, k, i, end int) (way uint8, j int) {
	all := r.scratch.ways[k*r.samples*r.span:]
	if all[i] == byBase {
		end = min(end, (i/r.span+1)*r.span)
	}
	j = i + 1
	for j < end && all[j] == all[i] {
		j++
	}
	return all[i], j
}

// sums computes output rows lo..hi-1 of the given frames (a timestep of a sample
// each, counted from the first of the run) in whole numbers [frame][row][...],
// in the calling goroutine. Layers whose frames are columns have one row. choose
// must have been called.
func (l *intLayer) sums(r *run, first, frames, lo, hi int, acc []int32, sc *intScratch) {
	unit := len(acc) / frames
	for k := range l.parts {
		part := &l.parts[k]
		for i := first; i < first+frames; {
			way, j := l.alike(r, k, i, first+frames)
			s, y := part.frames(j-i), acc[(i-first)*unit:(j-first)*unit]
			switch way {
			case byBase:
				l.addBase(r, k, i/r.span, lo, hi, y, sc)
				kernel.ConvIntEventRows(s, part.differences(r, i, j), part.events, lo, hi, y, true, &sc.kernel)
			case byEvents:
				if x := part.input(r, i, j-i, sc); x.tiny != nil {
					kernel.ConvIntEventRows(s, x.tiny, part.events, lo, hi, y, k > 0, &sc.kernel)
				} else {
					kernel.ConvIntEventRows(s, x.bytes, part.events, lo, hi, y, k > 0, &sc.kernel)
				}
			default:
				switch x := part.input(r, i, j-i, sc); {
				case x.wide != nil:
					kernel.ConvIntRows(s, x.wide, part.filter, lo, hi, y, k > 0, &sc.kernel)
				case x.tiny != nil:
					kernel.ConvIntRows(s, x.tiny, part.filter, lo, hi, y, k > 0, &sc.kernel)
				default:
					kernel.ConvIntRows(s, x.bytes, part.filter, lo, hi, y, k > 0, &sc.kernel)
				}
			}
			i = j
		}
	}
}

// sharedSums is sums of all rows, by the workers of the run.
func (l *intLayer) sharedSums(r *run, first, frames int, acc []int32) {
	sc := &r.intScratch()[0]
	for k := range l.parts {
		part := &l.parts[k]
		for i := first; i < first+frames; {
			way, j := l.alike(r, k, i, first+frames)
			s, y := part.frames(j-i), acc[(i-first)*l.size:(j-first)*l.size]
			switch way {
			case byBase:
				l.addBase(r, k, i/r.span, 0, l.height(), y, sc)
				sharedEvents(r, part, j-i, part.differences(r, i, j), y, true)
			case byEvents:
				if x := part.input(r, i, j-i, sc); x.tiny != nil {
					sharedEvents(r, part, j-i, x.tiny, y, k > 0)
				} else {
					sharedEvents(r, part, j-i, x.bytes, y, k > 0)
				}
			default:
				switch x := part.input(r, i, j-i, sc); {
				case x.wide != nil:
					kernel.ConvInt(r.pool, s, x.wide, part.filter, y, k > 0)
				case x.tiny != nil:
					kernel.ConvInt(r.pool, s, x.tiny, part.filter, y, k > 0)
				default:
					kernel.ConvInt(r.pool, s, x.bytes, part.filter, y, k > 0)
				}
			}
			i = j
		}
	}
}

// sharedEvents gives the frames to the workers.
func sharedEvents[C uint8 | int8](r *run, part *intPart, frames int, x []C, y []int32, accumulate bool) {
	s, in, out := part.frames(1), len(x)/frames, len(y)/frames
	r.pool.ForWorker(frames, func(worker, f int) {
		kernel.ConvIntEventRows(s, x[f*in:(f+1)*in], part.events, 0, s.OutH(), y[f*out:(f+1)*out], accumulate, &r.scratch.ints[worker].kernel)
	})
}

// frames is the shape of a number of frames.
func (part *intPart) frames(n int) kernel.ConvShape {
	s := part.shape
	if part.rows {
		s.W *= n
	} else {
		s.N = n
	}
	return s
}

// intInput are counts as a kernel takes them: one of three.
type intInput struct {
	bytes []uint8
	tiny  []int8
	wide  []int16
}

// whole turns the n counts on the part's wire into whole numbers, if they are
// floats.
func (part *intPart) whole(r *run, n int) {
	switch {
	case !part.wide:
	case part.tiny:
		kernel.CountsFromFloat(rowOf(&r.scratch.tiny, part.number, 1, 0, n), r.floats[part.in][:n])
	default:
		kernel.CountsFromFloat(rowOf(&r.scratch.wide, part.number, 1, 0, n), r.floats[part.in][:n])
	}
}

// stored returns counts at..to-1 of the part's wire, which have 8 bits, as bytes.
func (part *intPart) stored(r *run, at, to int) []uint8 {
	if !part.tiny {
		return r.bytes[part.in][at:to]
	}
	x := r.scratch.tiny[part.number][at:to]
	return unsafe.Slice((*uint8)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// input returns the counts of some frames as the part's kernel takes them; whole
// must have been called.
func (part *intPart) input(r *run, first, frames int, sc *intScratch) (x intInput) {
	size := r.net.plan.wires[part.in].size
	at, to := first*size, (first+frames)*size
	switch {
	case part.tiny:
		x.tiny = r.scratch.tiny[part.number][at:to]
	case part.wide:
		x.wide = r.scratch.wide[part.number][at:to]
	default:
		x.bytes = r.bytes[part.in][at:to]
	}
	if s := part.stuff; s != nil {
		n := frames * s.outH * s.outW * s.c
		switch {
		case part.tiny:
			x.tiny = stuffFrames(s, grow(&sc.stuffedTiny, n), x.tiny)
		case part.wide:
			x.wide = stuffFrames(s, grow(&sc.stuffedWide, n), x.wide)
		default:
			x.bytes = stuffFrames(s, grow(&sc.stuffed, n), x.bytes)
		}
	}
	return x
}

// intScratch is the working memory of one worker for integer layers.
type intScratch struct {
	kernel      kernel.IntScratch
	bases       []baseSums // per part
	acc         []int32
	membrane    []float32
	current     []float32
	addend      []float32
	stuffed     []uint8
	stuffedTiny []int8
	stuffedWide []int16
}

// A stuffing spreads out the inputs of a transposed convolution, so that the
// mirrored ordinary convolution of stride 1 computes it: between the inputs lie
// stride-1 rows and columns of zeros, around them what the kernel reaches.
type stuffing struct {
	h, w, c    int    // of the input
	outH, outW int    // of the spread image
	top, left  int    // where input pixel (0, 0) goes, may be outside
	stride     [2]int // rows, columns
}

// stuffFrames spreads frames of counts out; dst is overwritten.
func stuffFrames[E uint8 | int8 | int16](s *stuffing, dst, x []E) []E {
	clear(dst)
	in, out := s.h*s.w*s.c, s.outH*s.outW*s.c
	for n := range len(x) / in {
		for y := range s.h {
			row := s.top + y*s.stride[0]
			if row < 0 || row >= s.outH {
				continue
			}
			for col := range s.w {
				if at := s.left + col*s.stride[1]; at >= 0 && at < s.outW {
					copy(dst[n*out+(row*s.outW+at)*s.c:][:s.c], x[n*in+(y*s.w+col)*s.c:])
				}
			}
		}
	}
	return dst
}

// stuffedTranspose returns the ordinary convolution of spread inputs that is the
// transposed convolution n, and its weights between wires of the given scales.
func stuffedTranspose(n *graph.Node, op *graph.ConvTranspose2D, in, out []float32) (kernel.ConvShape, *stuffing, []float32) {
	h, wd, cin := n.Inputs[0].Shape.HWC()
	oh, ow, cout := n.Shape.HWC()
	w := n.Weight()
	kh, kw, per, groups := w.Shape[0], w.Shape[1], w.Shape[3], op.Groups
	// Output o gets input i by tap k if o = i*stride - pad + k*dilation: window
	// position dilation*(K-1) - k*dilation over the spread image, whose pixel 0 is
	// o = -dilation*(K-1).
	reachH, reachW := op.Dilation[0]*(kh-1), op.Dilation[1]*(kw-1)
	s := &stuffing{h: h, w: wd, c: cin, outH: oh + reachH, outW: ow + reachW,
		top: reachH - op.Pad[0], left: reachW - op.Pad[1], stride: op.Stride}
	shape := kernel.ConvShape{N: 1, H: s.outH, W: s.outW, Cin: cin, KH: kh, KW: kw, Cout: cout,
		StrideH: 1, StrideW: 1, DilH: op.Dilation[0], DilW: op.Dilation[1], Groups: groups}
	mirrored := make([]float32, kh*kw*cin/groups*cout)
	for k := range kh * kw {
		for ci := range cin {
			g, i := ci/(cin/groups), ci%(cin/groups)
			for co := range per {
				ch := g*per + co
				mirrored[((kh*kw-1-k)*(cin/groups)+i)*cout+ch] = w.Data[(k*cin+ci)*per+co] * ratio(in, ci, out, ch)
			}
		}
	}
	return shape, s, mirrored
}
