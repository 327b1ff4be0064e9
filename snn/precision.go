package snn

import "math"

// A Precision says how the weights behind spike counts are held. The zero value
// stands for F32.
type Precision string

// The precisions. I16 and I8 round the weights of every convolution and fully
// connected layer that spike counts drive, after the thresholds are folded into
// them, to whole multiples of one step per output channel:
//
//	q = round(w/step), step = max|w| / 32767 or 127
//
// so that the sum over spike counts is a whole number, which is exact in any
// order, and the current is float32(sum)*step + bias. A projection shortcut
// shares its steps with the layer it is added to. Layers of analog values (the
// first one) and what is read out from means over time keep float32 weights;
// their products and sums are rounded one by one, so that all results are the
// same bits on every instruction set.
const (
	F32 Precision = "f32"
	I16 Precision = "i16"
	I8  Precision = "i8"
)

// integer says whether weights behind counts are whole numbers.
func (p Precision) integer() bool { return p == I16 || p == I8 }

// largest is the largest weight that the precision holds.
func (p Precision) largest() int64 {
	if p == I8 {
		return math.MaxInt8
	}
	return math.MaxInt16
}

// countClass rounds the largest count on a wire up to one of a few values for
// which sums are kept from overflowing, so that few changes of a burst limit
// change the weights behind it.
func countClass(most int) int64 {
	for _, class := range []int64{16, 255, 1024} {
		if int64(most) <= class {
			return class
		}
	}
	return int64(most)
}

// A WeightBlock is a part of the weights that share the steps of their
// outputs: W [rows, outputs], for inputs of up to Most.
type WeightBlock struct {
	W    []float32
	Most int
}

// Quantise rounds the blocks of weights of the same outputs to whole multiples
// of one step per output, which it returns. The step is larger than the
// precision asks for where the sum over the largest counts,
// Most times the sum of |q| over all blocks, would leave the range of int32.
// Weights that are no finite numbers, or so many that no step will do, cannot be
// quantised: ok is false.
func (p Precision) Quantise(blocks []WeightBlock, outputs int) (q [][]int16, step []float32, ok bool) {
	step = make([]float32, outputs)
	largest := make([]float64, outputs)
	for _, b := range blocks {
		q = append(q, make([]int16, len(b.W)))
		for i, v := range b.W {
			if v-v != 0 {
				return nil, nil, false
			}
			largest[i%outputs] = max(largest[i%outputs], math.Abs(float64(v)))
		}
	}
	levels := make([]int64, outputs)
	for co := range levels {
		levels[co] = p.largest()
	}
	for {
		for co, m := range largest {
			step[co] = float32(m / float64(levels[co]))
		}
		sums := make([]int64, outputs) // largest |sum|
		for k, b := range blocks {
			for i, v := range b.W {
				co := i % outputs
				var n float64
				if step[co] > 0 {
					n = math.Round(float64(v) / float64(step[co]))
				}
				n = min(max(n, -float64(levels[co])), float64(levels[co]))
				q[k][i] = int16(n)
				sums[co] += int64(math.Abs(n)) * countClass(b.Most)
			}
		}
		fits := true
		for co, sum := range sums {
			if sum > math.MaxInt32 {
				fits = false
				// Rounding may add a little again, so this takes a few turns at worst.
				levels[co] = min(levels[co]-1, int64(float64(levels[co])*math.MaxInt32/float64(sum)))
				if levels[co] < 1 {
					return nil, nil, false
				}
			}
		}
		if fits {
			return q, step, true
		}
	}
}
