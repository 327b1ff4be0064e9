package kernel

import (
	"fmt"
	"math"
)

// Integer convolutions multiply spike counts by quantised weights. Their sums
// are exact, so every result below is the same bits on every instruction set,
// by every route (dense, events, portable) and for any number of workers.

// SpikeCount is a type in which spike counts are stored: bytes for counts of
// one timestep, signed bytes for differences and for neurons that take spikes
// back, 16 bits for counts summed over time.
type SpikeCount interface{ uint8 | int8 | int16 | uint16 }

// IntWeight is a type of quantised weights.
type IntWeight interface{ int8 | int16 }

// intStep is the number of bytes of inputs that one step of a dense integer
// kernel multiplies: 4 counts of a byte or 2 of 16 bits.
const intStep = 4

// IntFilter holds the packed weights of one integer convolution. A filter fits
// every N, H, W and padding after the image; all else is as it was packed.
// Filters are read only and may be used by several goroutines.
type IntFilter struct {
	shape  ConvShape
	bits   int
	lo, hi int // the range of the counts, 0 within
	bound  int64
	sum    []int32 // Σ weights per output channel

	// Dense kernels.
	wide    bool    // 16-bit inputs and weights, else bytes
	offset  int     // what is added to every count, so that none is negative
	runs    int     // runs of contiguous inputs per output pixel
	runLen  int     // inputs of a run
	steps   int     // kernel steps of a run
	n       int     // output channels of a group
	groups  int     // dense groups
	panels  []int8  // [groups][panels of 16 channels][runs][steps][16][4], zero-padded
	panels2 []int16 // the same for wide, [16][2]
	init    []int32 // what sums begin with, [groups][panels][16]
	program [][]intSegment
	plain   []intSegment // for kernels whose sums have 32 bits

	depthwise *intDepthwise // instead of all that
}

// intSegment is a stretch of steps of a dense kernel.
type intSegment struct {
	steps int32
	flags int32
}

const (
	segmentRun   = 1 // the run ends: go to the next
	segmentFlush = 2 // the 16-bit sums may not take more: add them to the 32-bit sums
	segmentLast  = 4 // the end
)

// NewIntFilter packs w [KH, KW, Cin/Groups, Cout] for integer convolutions of
// counts from minCount to maxCount; 0 must be in that range and the range in
// -32768..32767. It returns an error unless |sum| of every output, bounded for
// each channel by the sums of its positive and negative weights, fits int32.
//
// Weights of 8 bits are multiplied as bytes if the counts span at most 255 and
// the weights allow 16-bit partial sums for a few steps; else, and for 16-bit
// weights, products have 16-bit factors. Which it is changes the speed only.
//
// It keeps no reference to w and panics if s is not valid or w has another length.
func NewIntFilter[W IntWeight](s ConvShape, w []W, minCount, maxCount int) (*IntFilter, error) {
	s.check("NewIntFilter", -1, -1, len(w))
	if minCount > 0 || maxCount < 0 || minCount < math.MinInt16 || maxCount > math.MaxInt16 {
		return nil, fmt.Errorf("integer filter: counts from %d to %d, want a range around 0 within -32768 to 32767", minCount, maxCount)
	}
	f := &IntFilter{shape: s, bits: weightBits[W](), lo: minCount, hi: maxCount, sum: make([]int32, s.Cout)}
	for co := range s.Cout {
		var pos, neg int64
		for i := co; i < s.WeightLen(); i += s.Cout {
			if v := int64(w[i]); v > 0 {
				pos += v
			} else {
				neg -= v
			}
		}
		lo, hi := int64(-minCount), int64(maxCount)
		bound := max(pos*hi+neg*lo, neg*hi+pos*lo)
		if bound > math.MaxInt32 {
			return nil, fmt.Errorf("integer filter: output channel %d may sum to %d with counts from %d to %d, want at most 2^31-1", co, bound, minCount, maxCount)
		}
		f.bound = max(f.bound, bound)
		f.sum[co] = int32(pos - neg)
	}
	if s.Depthwise() {
		f.depthwise = newIntDepthwise(s, w, f)
		return f, nil
	}
	f.n, f.groups = s.Cout/s.Groups, s.Groups
	f.runs, f.runLen = s.KH*s.KW, s.Cin/s.Groups
	if s.Groups == 1 && s.DilW == 1 {
		f.runs, f.runLen = s.KH, s.KW*s.Cin
	}
	f.wide = f.bits == 16 || maxCount-minCount > math.MaxUint8
	if !f.wide {
		f.steps = (f.runLen + 3) / 4
		f.offset = -minCount
		f.panels = packInt(f, w, 4, func(v W) int8 { return int8(v) })
		f.wide = !f.segment()
	}
	if f.wide {
		f.panels, f.program = nil, nil
		f.offset = 0
		f.steps = (f.runLen + 1) / 2
		f.panels2 = packInt(f, w, 2, func(v W) int16 { return int16(v) })
	}
	for i := range f.runs {
		f.plain = append(f.plain, intSegment{int32(f.steps), segmentRun})
		if i == f.runs-1 {
			f.plain[i].flags = segmentLast
		}
	}
	f.init = make([]int32, f.groups*f.panelCount()*panelCols)
	for g := range f.groups {
		for c := range f.n {
			f.init[g*f.panelCount()*panelCols+c] = int32(-int64(f.offset) * int64(f.sum[g*f.n+c]))
		}
	}
	return f, nil
}

func weightBits[W IntWeight]() int {
	var one W = 1
	if one<<7 < 0 {
		return 8
	}
	return 16
}

// Bits returns the number of bits of the weights, 8 or 16.
func (f *IntFilter) Bits() int { return f.bits }

// Bound returns the largest |sum| of any output. Convolutions that accumulate
// into the same outputs are exact while the sum of their bounds is below 2^31.
func (f *IntFilter) Bound() int64 { return f.bound }

// CountRange returns the least and the largest count that the filter takes.
func (f *IntFilter) CountRange() (lo, hi int) { return f.lo, f.hi }

// Kernel names the route that dense calls take: "u8s8" for products of bytes,
// "s16" for products of 16-bit numbers, "depthwise" for depthwise filters.
func (f *IntFilter) Kernel() string {
	switch {
	case f.depthwise != nil:
		return "depthwise"
	case f.wide:
		return "s16"
	}
	return "u8s8"
}

// Bytes returns the memory of the packed weights.
func (f *IntFilter) Bytes() int {
	n := len(f.panels) + 2*len(f.panels2) + 4*len(f.init)
	if d := f.depthwise; d != nil {
		n += 2 * (len(d.w) + len(d.pairs))
	}
	return n
}

// panelCount is the number of panels of one group.
func (f *IntFilter) panelCount() int { return (f.n + panelCols - 1) / panelCols }

// panelBytes is the size of one panel.
func (f *IntFilter) panelBytes() int { return f.runs * f.steps * panelCols * intStep }

// packInt packs weights, per inputs of a step side by side.
func packInt[W IntWeight, P int8 | int16](f *IntFilter, w []W, per int, convert func(W) P) []P {
	s := f.shape
	out := make([]P, f.groups*f.panelCount()*f.runs*f.steps*panelCols*per)
	pos := 0
	for g := range f.groups {
		for c := 0; c < f.n; c += panelCols {
			cols := min(panelCols, f.n-c)
			for run := range f.runs {
				for k := range f.runLen {
					src := w[(run*f.runLen+k)*s.Cout+g*f.n+c:][:cols]
					dst := out[pos+k/per*panelCols*per+k%per:]
					for j, v := range src {
						dst[j*per] = convert(v)
					}
				}
				pos += f.steps * panelCols * per
			}
		}
	}
	return out
}

// leastFlush is how many steps the 16-bit sums must take on average for bytes
// to be worth it: widening them costs as much as a step and a half, products
// of 16 bits twice as many steps.
const leastFlush = 3

// segment plans the 16-bit sums of the byte kernels, for each pair of panels:
// where they could leave their range, whatever the counts, they are added to
// the 32-bit sums before. It reports whether bytes are worth it.
func (f *IntFilter) segment() bool {
	span := int64(f.hi - f.lo)
	panels := f.panelCount()
	for g := range f.groups {
		for p := 0; p < panels; p += 2 {
			pair := f.panels[(g*panels+p)*f.panelBytes():]
			size := f.panelBytes()
			both := min(2, panels-p)
			// The sums of positive and of negative weights of each 16-bit lane.
			var pos, neg [2 * 2 * panelCols]int64
			var plan []intSegment
			var flushes, since int32
			for run := range f.runs {
				for st := range f.steps {
					full := false
					var stepPos, stepNeg [len(pos)]int64
					for q := range both {
						step := pair[q*size+(run*f.steps+st)*panelCols*4:][:panelCols*4]
						for i, v := range step {
							lane := q*2*panelCols + i/2
							if v > 0 {
								stepPos[lane] += int64(v)
							} else {
								stepNeg[lane] -= int64(v)
							}
						}
					}
					for l := range pos {
						if stepPos[l]*span > math.MaxInt16 || stepNeg[l]*span > math.MaxInt16 {
							return false // two products at once would saturate
						}
						full = full || (pos[l]+stepPos[l])*span > math.MaxInt16 || (neg[l]+stepNeg[l])*span > math.MaxInt16
					}
					if full {
						if since > 0 {
							plan = append(plan, intSegment{since, segmentFlush})
							since = 0
						} else {
							plan[len(plan)-1].flags |= segmentFlush
						}
						flushes++
						clear(pos[:])
						clear(neg[:])
					}
					for l := range pos {
						pos[l] += stepPos[l]
						neg[l] += stepNeg[l]
					}
					since++
				}
				plan = append(plan, intSegment{since, segmentRun})
				since = 0
			}
			plan[len(plan)-1].flags = segmentLast | segmentFlush
			if int(flushes)*leastFlush > f.runs*f.steps {
				return false
			}
			f.program = append(f.program, plan)
		}
	}
	return true
}

// matchesInt panics unless the filter was packed for this kind of convolution.
func (f *IntFilter) matches(s ConvShape, fn string) { sameFilter(f.shape, s, fn, false) }
