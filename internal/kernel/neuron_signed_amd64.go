//go:build amd64 && !noasm

package kernel

import (
	"math"
	"unsafe"
)

// fireSignedCall is what the kernel of neurons with guarded negative spikes
// reads and, from spikes on, writes. The assembly knows the offsets of the
// fields (a test compares them).
type fireSignedCall struct {
	counts, v, sum, current *float32
	offset                  *float32
	offsetMask              int // 0 reads the same offsets for all channels
	rows, c, n              int
	shift, most             float32
	spikes                  [16]int32
	events                  [16]int32
	bad                     [16]float32
}

// fireSignedVec does whole vectors of the first channels (of the first neurons,
// without an offset) and returns of how many.
func fireSignedVec(counts, v, sum, current, offset []float32, shift, maxSpike float32) (done int, spikes, events int64, finite bool) {
	c := len(offset)
	if offset == nil {
		c = len(v)
	}
	n := intLanes(Active(), c)
	// Sums of lanes have 32 bits.
	if n == 0 || len(v) == 0 || sum == nil || float64(maxSpike)*float64(len(v)/c*n/8) > math.MaxInt32 {
		return 0, 0, 0, true
	}
	call := fireSignedCall{counts: &counts[0], v: &v[0], sum: &sum[0], current: &current[0], offset: &noBias[0],
		rows: len(v) / c, c: c, n: n, shift: shift, most: maxSpike}
	if offset != nil {
		call.offset, call.offsetMask = &offset[0], -1
	}
	if Active() == AVX512 {
		fireSignedAVX512(&call)
	} else {
		fireSignedAVX2(&call)
	}
	finite = true
	for i := range call.bad {
		spikes, events = spikes+int64(call.spikes[i]), events+int64(call.events[i])
		finite = finite && call.bad[i] == 0
	}
	if finite {
		return n, spikes, events, true
	}
	// A neuron whose potential is not finite has fired in the kernel.
	for lo := 0; lo < len(v); lo += c {
		for i := lo; i < lo+n; i++ {
			if v[i]-v[i] == 0 || counts[i] == 0 {
				continue
			}
			k := counts[i]
			spikes, events = spikes-int64(max(k, -k)), events-1
			sum[i] -= k
			counts[i] = 0
		}
	}
	return n, spikes, events, false
}

// countsFromFloatVec does the beginning of CountsFromFloat and returns how much.
func countsFromFloatVec[P int8 | int16](dst []P, x []float32) int {
	n := len(x) &^ 31
	if n == 0 || Active() == Portable {
		return 0
	}
	to := unsafe.Pointer(&dst[0])
	if unsafe.Sizeof(dst[0]) == 1 {
		intNarrow8AVX2((*int8)(to), &x[0], n)
	} else {
		intNarrow16AVX2((*int16)(to), &x[0], n)
	}
	return n
}
