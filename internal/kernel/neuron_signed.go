package kernel

// FireSigned is Fire for counts that do not fit a byte: those of guarded
// negative spikes, where a neuron may take back what it has emitted, and those
// of limits above 255.
//
//	u = v + ((current + offset[ch]) + shift)
//	n = clamp(floor(u), -min(maxSpike, sum), maxSpike)
//	v = u - n
//	sum = sum + n
//
// in float32 in exactly this order. sum holds what each neuron has emitted
// before; it never falls below 0. A nil sum stands for neurons that cannot take
// back spikes, n >= 0. offset may be nil, else neurons have shape
// [rows, len(offset)]. counts, sum and maxSpike are whole numbers below 2^24. A
// neuron whose u is NaN or infinite does not fire and keeps u.
//
// FireSigned returns the sum of |n|, the number of neurons with n != 0, and
// whether every u was finite.
func FireSigned(counts, v, sum, current, offset []float32, shift, maxSpike float32) (spikes, events int64, finite bool) {
	same("FireSigned", len(counts), len(v), len(current))
	if sum != nil {
		same("FireSigned", len(sum), len(v))
	}
	if offset != nil {
		whole("FireSigned", len(v), len(offset))
	}
	done, spikes, events, finite := fireSignedVec(counts, v, sum, current, offset, shift, maxSpike)
	n := len(v)
	if offset != nil {
		n = len(offset)
	}
	for lo := 0; done < n && lo < len(v); lo += n {
		k, e, ok := fireSignedPortable(counts, v, sum, current, offset, shift, maxSpike, lo, lo+done, lo+n)
		spikes, events, finite = spikes+k, events+e, finite && ok
	}
	return spikes, events, finite
}

// fireSignedPortable is the specification, for the neurons i0..i1-1; offset is of
// neurons from lo on.
func fireSignedPortable(counts, v, sum, current, offset []float32, shift, maxSpike float32, lo, i0, i1 int) (spikes, events int64, finite bool) {
	finite = true
	for i := i0; i < i1; i++ {
		in := current[i]
		if offset != nil {
			in += offset[i-lo]
		}
		u := v[i] + (in + shift)
		if u-u != 0 { // NaN or infinite
			v[i], counts[i] = u, 0
			finite = false
			continue
		}
		var least float32
		if sum != nil {
			least = -min(maxSpike, sum[i])
		}
		x := min(max(u, least), maxSpike)
		n := float32(int32(x))
		if n > x {
			n-- // truncation rounds towards 0
		}
		v[i], counts[i] = u-n, n
		if sum != nil {
			sum[i] += n
		}
		if n != 0 {
			spikes += int64(max(n, -n))
			events++
		}
	}
	return spikes, events, finite
}

// CountsFromFloat sets dst to the whole numbers x, which must fit P.
func CountsFromFloat[P int8 | int16](dst []P, x []float32) {
	same("CountsFromFloat", len(dst), len(x))
	for i := countsFromFloatVec(dst, x); i < len(x); i++ {
		dst[i] = P(x[i])
	}
}
