package kernel

import "fmt"

// IntCurrent says how the exact sums of integer convolutions become currents:
//
//	current = (float32(sum)*Scale[ch] + Bias[ch]) + addend
//
// where the addend is Add[i], or float32(AddCounts[i])*AddScale[ch] of spikes
// that a residual connection brings, or nothing. Every operation is rounded to
// float32 by itself, in this order, on every instruction set. A nil Bias is
// zeros.
type IntCurrent struct {
	Scale     []float32 // per channel, of weights and thresholds
	Bias      []float32 // per channel, or nil
	Add       []float32 // like the sums, or nil
	AddCounts []uint8   // like the sums, or nil; not with Add
	AddScale  []float32 // per channel, with AddCounts
}

// check panics unless the slices fit n sums.
func (c *IntCurrent) check(fn string, n int) {
	ch := len(c.Scale)
	if ch == 0 || n%ch != 0 {
		panic(fmt.Sprintf("kernel.%s: %d sums, want a multiple of %d channels", fn, n, ch))
	}
	if c.Bias != nil && len(c.Bias) != ch {
		panic(fmt.Sprintf("kernel.%s: bias has %d elements, want %d", fn, len(c.Bias), ch))
	}
	if c.Add != nil && (len(c.Add) != n || c.AddCounts != nil) {
		panic(fmt.Sprintf("kernel.%s: addend has %d elements and %d counts, want %d and 0", fn, len(c.Add), len(c.AddCounts), n))
	}
	if c.AddCounts != nil && (len(c.AddCounts) != n || len(c.AddScale) != ch) {
		panic(fmt.Sprintf("kernel.%s: addend has %d counts and %d scales, want %d and %d", fn, len(c.AddCounts), len(c.AddScale), n, ch))
	}
}

// at is the specification.
func (c *IntCurrent) at(i, ch int, sum int32) float32 {
	var bias float32
	if c.Bias != nil {
		bias = c.Bias[ch]
	}
	current := float32(float32(sum)*c.Scale[ch]) + bias
	if c.Add != nil {
		current += c.Add[i]
	} else if c.AddCounts != nil {
		current += float32(float32(c.AddCounts[i]) * c.AddScale[ch])
	}
	return current
}

// IntCurrents sets dst to the currents of the sums, both [rows, channels]. dst
// and c.Add may be the same.
func IntCurrents(dst []float32, sums []int32, c *IntCurrent) {
	same("IntCurrents", len(dst), len(sums))
	c.check("IntCurrents", len(sums))
	n := len(c.Scale)
	done := intCurrentsVec(dst, sums, c)
	for lo := 0; done < n && lo < len(sums); lo += n {
		for ch := done; ch < n; ch++ {
			dst[lo+ch] = c.at(lo+ch, ch, sums[lo+ch])
		}
	}
}

// FireInt advances len(counts) neurons of shape [rows, channels] by one
// timestep, with the currents of the sums of integer convolutions:
//
//	u = v + (current + shift)
//	n = clamp(floor(u), 0, maxSpike)
//	v = u - n
//
// The results are those of IntCurrents and Fire, bit for bit. v is updated and
// counts is set to the spikes. FireInt returns the sum of counts, the number of
// neurons that fired, and whether every u was finite; one that is not stays and
// does not fire.
func FireInt(counts []uint8, v []float32, sums []int32, c *IntCurrent, shift float32, maxSpike uint8) (spikes, events int64, finite bool) {
	same("FireInt", len(counts), len(v), len(sums))
	c.check("FireInt", len(sums))
	n := len(c.Scale)
	done, spikes, events, finite := fireIntVec(counts, v, sums, c, shift, maxSpike)
	most := float32(maxSpike)
	for lo := 0; done < n && lo < len(sums); lo += n {
		for ch := done; ch < n; ch++ {
			i := lo + ch
			u := v[i] + (c.at(i, ch, sums[i]) + shift)
			if u-u != 0 { // NaN or infinite
				v[i], counts[i] = u, 0
				finite = false
				continue
			}
			k := int32(min(max(u, 0), most)) // truncation after clamping is floor
			v[i] = u - float32(k)
			counts[i] = uint8(k)
			spikes += int64(k)
			events += int64(uint32(-k) >> 31) // 1 if k > 0
		}
	}
	return spikes, events, finite
}
