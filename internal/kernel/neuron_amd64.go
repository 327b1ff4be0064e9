//go:build amd64 && !noasm

package kernel

func fireVec(counts []uint8, v, current []float32, shift float32, maxSpike uint8) (done int, spikes, events int64, finite bool) {
	n := vec(len(counts))
	if n == 0 {
		return 0, 0, 0, true
	}
	spikes, events, bad := fireAVX2(&counts[0], &v[0], &current[0], shift, float32(maxSpike), n)
	return n, spikes, events, bad == 0
}

func fireOffsetVec(counts []uint8, v, current, offset []float32, shift float32, maxSpike uint8) (done int, spikes, events int64, finite bool) {
	c := len(offset)
	n := vec(c)
	if n == 0 || len(v) == 0 {
		return n, 0, 0, true
	}
	spikes, events, bad := fireOffsetAVX2(&counts[0], &v[0], &current[0], &offset[0], shift, float32(maxSpike), len(v)/c, c, n)
	return n, spikes, events, bad == 0
}

func accumulateVec(cum []int32, counts []uint8) int {
	n := vec(len(cum))
	if n > 0 {
		accumulateAVX2(&cum[0], &counts[0], n)
	}
	return n
}

func countSpikesVec(counts []uint8) (done int, spikes, events int64) {
	n := vec(len(counts)) &^ 31
	if n == 0 {
		return 0, 0, 0
	}
	spikes, events = countSpikesAVX2(&counts[0], n)
	return n, spikes, events
}
