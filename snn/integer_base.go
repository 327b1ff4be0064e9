package snn

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"

	"github.com/adafire/adafire/internal/kernel"
)

// How the current of a part is computed in a frame.
const (
	byDense  uint8 = iota
	byEvents       // by the counts that are not zero
	byBase         // by those that differ from the sample's rounded mean count
)

// Base and difference: over T timesteps the sums over counts n[t] are those over
// their rounded mean m, computed once, plus those over n[t]-m. Where neurons fire
// often, few of the differences are not zero.

const (
	// baseShare is the least share of counts that are not zero from which base and
	// difference is tried.
	baseShare = 0.15
	// baseCost is what an event of a difference takes relative to one of a count,
	// and baseFixed what finding base and differences takes, in events per count
	// of a frame. Measured on ResNet-20 at T=8 and maxspike 4, where base and
	// difference on all layers took between 0.9 and 1.6 times as long as events
	// alone: it pays where neurons burst evenly, not everywhere.
	baseCost   = 1.3
	baseCost16 = 1.2 // the same of weights of 16 bits, which are not kept negated
	baseFixed  = 0.02
	// signBytes is how much of the first cache weights of either sign under a
	// kernel row may take; with more (3x3 of more than 64 channels) they displace
	// each other, and base and difference lost to events on all layers of VGG16.
	signBytes = 24 << 10
)

// signsFit says whether events of differences are worth packing weights for.
func (part *intPart) signsFit(p Precision) bool {
	if p == I16 {
		return true // the same weights take counts of either sign
	}
	const outputs, inputs = 64, 128 // that the kernel works on at a time
	return 2*part.shape.KW*min(part.shape.Cin, inputs)*outputs <= signBytes
}

// tryBase computes base and differences of the counts of sample g, if that can
// pay. plain is what the frames of the sample take without, in counts that are
// not zero. It reports whether it does, and keeps the values where it does.
func (l *intLayer) tryBase(r *run, k, g int, plain, share float64) bool {
	part := &l.parts[k]
	in := r.net.plan.wires[part.in]
	steps, size := r.span, in.size
	always := r.net.plan.choice == chooseBase
	if !part.signed || steps < 2 || steps*in.most+steps/2 > math.MaxUint8 || (!always && plain < baseShare*float64(steps*size)) {
		return false
	}
	x := r.bytes[part.in][g*steps*size : (g+1)*steps*size]
	base := part.baseOf(r, g, size)
	roundedMean(base, x, steps)
	_, n := kernel.CountSpikes(base)
	cost := min(float64(n), share*float64(size)) + baseFixed*float64(steps*size)
	event := baseCost
	if r.net.plan.weights == I16 {
		event = baseCost16
	}
	diff := part.diffOf(r, g, steps*size)
	for t := range steps {
		difference(diff[t*size:(t+1)*size], x[t*size:(t+1)*size], base)
		_, n := kernel.CountSpikes(diff[t*size : (t+1)*size])
		cost += event * float64(n)
	}
	return always || cost < plain
}

// baseOf and diffOf are where base and differences of sample g are kept.
func (part *intPart) baseOf(r *run, g, size int) []uint8 {
	return rowOf(&r.scratch.bases, part.number, r.samples, g, size)
}

func (part *intPart) diffOf(r *run, g, size int) []uint8 {
	return rowOf(&r.scratch.diffs, part.number, r.samples, g, size)
}

// rowOf returns row i of buffer k, which has room for rows of the given size.
func rowOf[E any](buffers *[][]E, k, rows, i, size int) []E {
	for len(*buffers) <= k {
		*buffers = append(*buffers, nil)
	}
	b := &(*buffers)[k]
	if len(*b) < rows*size {
		*b = append(*b, make([]E, rows*size-len(*b))...)
	}
	return (*b)[i*size : (i+1)*size]
}

// differences returns those of the frames i..j-1, of one sample.
func (part *intPart) differences(r *run, i, j int) []int8 {
	size := r.net.plan.wires[part.in].size
	d := part.diffOf(r, i/r.span, r.span*size)[i%r.span*size : ((j-1)%r.span+1)*size]
	return unsafe.Slice((*int8)(unsafe.Pointer(&d[0])), len(d))
}

// baseSums are the sums over the base of a sample.
type baseSums struct {
	sample int // of the run, -1 for none
	sums   []int32
}

// forgetBases makes the next sums begin with bases of their own.
func (sc *intScratch) forgetBases() {
	for k := range sc.bases {
		sc.bases[k].sample = -1
	}
}

// addBase adds the sums of part k over the base of sample g, or for the first
// part sets them, in all frames of y. It computes them once for the rows
// lo..hi-1 of a sample, see forgetBases.
func (l *intLayer) addBase(r *run, k, g, lo, hi int, y []int32, sc *intScratch) {
	part := &l.parts[k]
	for len(sc.bases) <= k {
		sc.bases = append(sc.bases, baseSums{sample: -1})
	}
	kept, unit := &sc.bases[k], l.size/l.height()*(hi-lo)
	if kept.sample != g {
		kept.sample = g
		size := r.net.plan.wires[part.in].size
		x, sums, one := part.baseOf(r, g, size), grow(&kept.sums, unit), part.frames(1)
		_, n := kernel.CountSpikes(x)
		if float64(n) < kernel.IntCrossover(part.shape, part.filter, part.events)*float64(size) {
			kernel.ConvIntEventRows(one, x, part.events, lo, hi, sums, false, &sc.kernel)
		} else {
			kernel.ConvIntRows(one, x, part.filter, lo, hi, sums, false, &sc.kernel)
		}
	}
	for ; len(y) > 0; y = y[unit:] {
		if k == 0 {
			copy(y, kept.sums)
			continue
		}
		for i, v := range kept.sums {
			y[i] += v
		}
	}
}

// roundedMean sets mean to the mean of the frames of x, halves rounded up. No sum
// may exceed 255 less half the number of frames.
func roundedMean(mean, x []uint8, frames int) {
	size := len(mean)
	half := uint64(frames/2) * 0x0101010101010101
	shift := bits.TrailingZeros(uint(frames))
	power := frames == 1<<shift
	mask := uint64(0xff>>shift) * 0x0101010101010101
	i := 0
	for ; power && i+8 <= size; i += 8 { // eight at a time, as the bytes of a word
		sum := half
		for t := i; t < len(x); t += size {
			sum += binary.LittleEndian.Uint64(x[t : t+8])
		}
		binary.LittleEndian.PutUint64(mean[i:], sum>>shift&mask)
	}
	for ; i < size; i++ {
		sum := frames / 2
		for t := i; t < len(x); t += size {
			sum += int(x[t])
		}
		mean[i] = uint8(sum / frames)
	}
}

// difference sets d = x - y, as bytes.
func difference(d, x, y []uint8) {
	const high = 0x8080808080808080
	i := 0
	for ; i+8 <= len(d); i += 8 {
		a, b := binary.LittleEndian.Uint64(x[i:]), binary.LittleEndian.Uint64(y[i:])
		binary.LittleEndian.PutUint64(d[i:], ((a|high)-(b&^high))^((a^^b)&high))
	}
	for ; i < len(d); i++ {
		d[i] = x[i] - y[i]
	}
}
