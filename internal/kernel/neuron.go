package kernel

// The burst integrate-and-fire neuron with threshold 1 and soft reset:
//
//	u = v + (current + shift)
//	n = clamp(floor(u), 0, maxSpike)
//	v = u - n
//
// in float32 in exactly this order, on every instruction set. A neuron whose u
// is NaN or infinite does not fire (n = 0) and keeps u.

// Fire advances len(counts) neurons by one timestep: it updates the membrane
// potentials v and sets counts to the spikes n. It returns the sum of counts,
// the number of neurons that fired, and whether every u was finite.
func Fire(counts []uint8, v, current []float32, shift float32, maxSpike uint8) (spikes, events int64, finite bool) {
	same("Fire", len(counts), len(v), len(current))
	i, spikes, events, finite := fireVec(counts, v, current, shift, maxSpike)
	s, e, f := fire(counts[i:], v[i:], current[i:], nil, shift, float32(maxSpike))
	return spikes + s, events + e, finite && f
}

// FireOffset is Fire with a constant added to the current of each channel:
//
//	u = v + ((current + offset[ch]) + shift)
//
// for neurons of shape [rows, len(offset)]. The result is that of Fire on the
// currents with the offset added beforehand, bit for bit.
func FireOffset(counts []uint8, v, current, offset []float32, shift float32, maxSpike uint8) (spikes, events int64, finite bool) {
	same("FireOffset", len(counts), len(v), len(current))
	c := len(offset)
	whole("FireOffset", len(v), c)
	done, spikes, events, finite := fireOffsetVec(counts, v, current, offset, shift, maxSpike)
	if done == c {
		return spikes, events, finite
	}
	for lo := 0; lo < len(v); lo += c {
		at, to := lo+done, lo+c
		s, e, f := fire(counts[at:to], v[at:to], current[at:to], offset[done:], shift, float32(maxSpike))
		spikes, events, finite = spikes+s, events+e, finite && f
	}
	return spikes, events, finite
}

// fire is the specification of both; offset may be nil. It avoids branches on
// the potential, which no predictor can guess.
func fire(counts []uint8, v, current, offset []float32, shift, maxSpike float32) (spikes, events int64, finite bool) {
	finite = true
	v, counts = v[:len(current)], counts[:len(current)]
	for i, in := range current {
		if offset != nil {
			in += offset[i]
		}
		u := v[i] + (in + shift)
		if u-u != 0 { // NaN or infinite
			v[i], counts[i] = u, 0
			finite = false
			continue
		}
		n := int32(min(max(u, 0), maxSpike)) // truncation after clamping is floor
		v[i] = u - float32(n)
		counts[i] = uint8(n)
		spikes += int64(n)
		events += int64(uint32(-n) >> 31) // 1 if n > 0
	}
	return spikes, events, finite
}

// AccumulateCounts sets cum[i] += counts[i].
func AccumulateCounts(cum []int32, counts []uint8) {
	same("AccumulateCounts", len(cum), len(counts))
	for i := accumulateVec(cum, counts); i < len(cum); i++ {
		cum[i] += int32(counts[i])
	}
}

// CountSpikes returns the sum of counts and the number of non-zero ones.
func CountSpikes(counts []uint8) (spikes, events int64) {
	i, spikes, events := countSpikesVec(counts)
	for ; i < len(counts); i++ {
		if n := counts[i]; n > 0 {
			spikes += int64(n)
			events++
		}
	}
	return spikes, events
}
