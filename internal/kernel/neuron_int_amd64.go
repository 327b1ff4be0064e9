//go:build amd64 && !noasm

package kernel

import (
	"math"
	"unsafe"
)

// intCurrentsVec does whole vectors of channels and returns how many.
func intCurrentsVec(dst []float32, sums []int32, c *IntCurrent) int {
	isa := Active()
	n := intLanes(isa, len(c.Scale))
	if n == 0 || len(sums) == 0 {
		return n
	}
	call := newFireIntCall(dst, sums, c, n)
	switch {
	case isa == AVX512 && c.Add != nil:
		intCurrentsAddAVX512(&call)
	case isa == AVX512 && c.AddCounts != nil:
		intCurrentsAddCountsAVX512(&call)
	case isa == AVX512:
		intCurrentsAVX512(&call)
	case c.Add != nil:
		intCurrentsAddAVX2(&call)
	case c.AddCounts != nil:
		intCurrentsAddCountsAVX2(&call)
	default:
		intCurrentsAVX2(&call)
	}
	return n
}

func fireIntVec(counts []uint8, v []float32, sums []int32, c *IntCurrent, shift float32, maxSpike uint8) (done int, spikes, events int64, finite bool) {
	isa := Active()
	n := intLanes(isa, len(c.Scale))
	if n == 0 || len(sums) == 0 {
		return n, 0, 0, true
	}
	call := newFireIntCall(v, sums, c, n)
	call.counts, call.shift, call.most = &counts[0], shift, float32(maxSpike)
	switch {
	case isa == AVX512 && c.Add != nil:
		fireIntAddAVX512(&call)
	case isa == AVX512 && c.AddCounts != nil:
		fireIntAddCountsAVX512(&call)
	case isa == AVX512:
		fireIntAVX512(&call)
	case c.Add != nil:
		fireIntAddAVX2(&call)
	case c.AddCounts != nil:
		fireIntAddCountsAVX2(&call)
	default:
		fireIntAVX2(&call)
	}
	for i := range call.spikes {
		spikes, events = spikes+call.spikes[i], events+call.events[i]
	}
	finite = true
	for _, b := range call.bad {
		finite = finite && b == 0
	}
	if !finite {
		// Infinity has fired as much as it can in the kernel.
		for lo := 0; lo < len(v); lo += len(c.Scale) {
			for i := lo; i < lo+n; i++ {
				if math.IsInf(float64(v[i]), 1) && counts[i] > 0 {
					spikes, events = spikes-int64(counts[i]), events-1
					counts[i] = 0
				}
			}
		}
	}
	return n, spikes, events, finite
}

// intLanes is how many of n channels the kernels do.
func intLanes(isa ISA, n int) int {
	switch isa {
	case AVX2:
		return n &^ 7
	case AVX512:
		return n &^ 15
	}
	return 0
}

// fireIntCall is what the neuron kernels read and, from spikes on, write. The
// assembly knows the offsets of the fields (a test compares them).
type fireIntCall struct {
	counts      *uint8
	v           *float32
	sums        *int32
	scale       *float32
	bias        *float32
	biasMask    int            // 0 reads the same biases for all channels
	add         unsafe.Pointer // *float32 or *uint8
	addScale    *float32
	rows, c, n  int
	shift, most float32
	spikes      [4]int64
	events      [4]int64
	bad         [16]float32
}

var noBias [16]float32

func newFireIntCall(v []float32, sums []int32, c *IntCurrent, n int) fireIntCall {
	call := fireIntCall{v: &v[0], sums: &sums[0], scale: &c.Scale[0], bias: &noBias[0], rows: len(sums) / len(c.Scale), c: len(c.Scale), n: n}
	if c.Bias != nil {
		call.bias, call.biasMask = &c.Bias[0], -1
	}
	if c.Add != nil {
		call.add = unsafe.Pointer(&c.Add[0])
	}
	if c.AddCounts != nil {
		call.add, call.addScale = unsafe.Pointer(&c.AddCounts[0]), &c.AddScale[0]
	}
	return call
}
