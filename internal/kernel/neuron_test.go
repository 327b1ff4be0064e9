package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// fireByDefinition is the formula in the file's comment, word for word.
func fireByDefinition(u float32, maxSpike uint8) (count uint8, v float32, ok bool) {
	if math.IsNaN(float64(u)) || math.IsInf(float64(u), 0) {
		return 0, u, false
	}
	n := float32(min(max(math.Floor(float64(u)), 0), float64(maxSpike)))
	return uint8(n), u - n, true
}

// checkFire runs Fire, or FireOffset if offset is not nil, and compares with
// the definition.
func checkFire(t *testing.T, v, current, offset []float32, shift float32, maxSpike uint8) {
	t.Helper()
	n := len(v)
	wantV, wantCounts := make([]float32, n), make([]uint8, n)
	var wantSpikes, wantEvents int64
	wantFinite := true
	for i := range v {
		in := current[i]
		if offset != nil {
			in += offset[i%len(offset)]
		}
		var ok bool
		wantCounts[i], wantV[i], ok = fireByDefinition(v[i]+(in+shift), maxSpike)
		wantFinite = wantFinite && ok
		wantSpikes += int64(wantCounts[i])
		if wantCounts[i] > 0 {
			wantEvents++
		}
	}
	all := bytes.Repeat([]byte{0xa5}, n+2*guard+1)
	counts := all[guard+1 : guard+1+n]
	var spikes, events int64
	var finite bool
	if offset == nil {
		spikes, events, finite = Fire(counts, v, current, shift, maxSpike)
	} else {
		spikes, events, finite = FireOffset(counts, v, current, offset, shift, maxSpike)
	}
	if !bytes.Equal(counts, wantCounts) {
		t.Fatalf("n %d, shift %v, maxSpike %d: counts\n%v, want\n%v", n, shift, maxSpike, counts, wantCounts)
	}
	equalBits(t, "membrane", v, wantV)
	if spikes != wantSpikes || events != wantEvents || finite != wantFinite {
		t.Fatalf("n %d: spikes %d, events %d, finite %v, want %d, %d, %v", n, spikes, events, finite, wantSpikes, wantEvents, wantFinite)
	}
	for i, c := range all {
		if (i < guard+1 || i >= guard+1+n) && c != 0xa5 {
			t.Fatalf("n %d: byte %d beside the counts was overwritten", n, i-guard-1)
		}
	}
}

func TestFire(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		for _, n := range lengths() {
			for _, maxSpike := range []uint8{0, 1, 4, 255} {
				v, current := floatsAt(n, n%7), floatsAt(n, n%5)
				finite(r, v)
				finite(r, current)
				if n%2 == 1 {
					Scale(current, current, 60)
				}
				checkFire(t, v, current, nil, 0.125, maxSpike)
				intact(t, "v", v)
				fill(r, v)
				fill(r, current)
				checkFire(t, v, current, nil, 0, maxSpike)
			}
		}
	})
}

func TestFireOffset(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(23, 24))
		for _, c := range channelCounts {
			for _, rows := range []int{0, 1, 2, 9} {
				v, current, offset := floatsAt(rows*c, 1), floatsAt(rows*c, 2), floatsAt(c, 3)
				for _, maxSpike := range []uint8{1, 4, 255} {
					finite(r, v)
					finite(r, current)
					finite(r, offset)
					checkFire(t, v, current, offset, 0.5, maxSpike)
					intact(t, "v", v)
					fill(r, v)
					fill(r, current)
					checkFire(t, v, current, offset, 0.5, maxSpike)
				}
			}
		}
	})
}

// TestFireFindsEveryBadNeuron puts one bad value at every position.
func TestFireFindsEveryBadNeuron(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			for i := range 75 {
				v, current := make([]float32, 75), make([]float32, 75)
				v[i] = bad
				counts := bytes.Repeat([]byte{9}, 75)
				if spikes, events, finite := Fire(counts, v, current, 0, 3); finite || spikes != 0 || events != 0 || counts[i] != 0 {
					t.Fatalf("%v at %d: spikes %d, events %d, finite %v, count %d", bad, i, spikes, events, finite, counts[i])
				}
			}
		}
	})
}

func TestFireAtThresholds(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		below := math.Nextafter32(1, 0)
		v := []float32{1, below, 0, -5, 3, 3.5, 4, 7, -0.25, 0.25, 2}
		want := []uint8{1, 0, 0, 0, 3, 3, 3, 3, 0, 0, 2}
		left := []float32{0, below, 0, -5, 0, 0.5, 1, 4, -0.25, 0.25, 0}
		counts, zero := make([]uint8, len(v)), make([]float32, len(v))
		if spikes, events, finite := Fire(counts, v, zero, 0, 3); spikes != 15 || events != 6 || !finite {
			t.Errorf("spikes %d, events %d, finite %v, want 15, 6, true", spikes, events, finite)
		}
		if !bytes.Equal(counts, want) {
			t.Errorf("counts %v, want %v", counts, want)
		}
		equalBits(t, "membrane", v, left)
	})
}

// TestFireConservesCharge: with currents that are multiples of 1/64 nothing is
// rounded, so what went in has been emitted or is still in the membrane.
func TestFireConservesCharge(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(1, 70).Draw(t, "n")
			steps := rapid.IntRange(1, 12).Draw(t, "steps")
			limit := uint8(rapid.IntRange(1, 255).Draw(t, "maxSpike"))
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			v, current, counts := make([]float32, n), make([]float32, n), make([]uint8, n)
			in, out := make([]float64, n), make([]int32, n)
			for range steps {
				for i := range current {
					current[i] = float32(r.IntN(1024)-384) / 64
					in[i] += float64(current[i]) + 0.25
				}
				Fire(counts, v, current, 0.25, limit)
				AccumulateCounts(out, counts)
			}
			for i := range v {
				if in[i] != float64(out[i])+float64(v[i]) {
					t.Fatalf("neuron %d: %v in, %d out, %v left", i, in[i], out[i], v[i])
				}
			}
		})
	})
}

// TestLargerLimitNeverFiresLess compares cumulative counts after every step.
func TestLargerLimitNeverFiresLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "n")
		low := rapid.IntRange(1, 254).Draw(t, "low")
		high := rapid.IntRange(low+1, 255).Draw(t, "high")
		scale := rapid.IntRange(1, 256).Draw(t, "scale")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		vLow, vHigh, current := make([]float32, n), make([]float32, n), make([]float32, n)
		cumLow, cumHigh, counts := make([]int32, n), make([]int32, n), make([]uint8, n)
		for step := range 10 {
			for i := range current {
				current[i] = float32((r.IntN(512)-160)*scale) / 256
			}
			Fire(counts, vLow, current, 0, uint8(low))
			AccumulateCounts(cumLow, counts)
			Fire(counts, vHigh, current, 0, uint8(high))
			AccumulateCounts(cumHigh, counts)
			for i := range cumLow {
				if cumHigh[i] < cumLow[i] {
					t.Fatalf("step %d, neuron %d: %d spikes with limit %d, %d with %d", step, i, cumHigh[i], high, cumLow[i], low)
				}
			}
		}
	})
}

// TestFireOffsetEqualsShiftedCurrent: the offset may as well be in the current.
func TestFireOffsetEqualsShiftedCurrent(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(25, 26))
		const rows, c = 7, 43
		v, w, current, sum, offset := make([]float32, rows*c), make([]float32, rows*c), make([]float32, rows*c), make([]float32, rows*c), make([]float32, c)
		finite(r, current)
		finite(r, offset)
		AddBias(sum, current, offset)
		a, b := make([]uint8, rows*c), make([]uint8, rows*c)
		for range 5 {
			FireOffset(a, v, current, offset, 0.1, 2)
			Fire(b, w, sum, 0.1, 2)
			if !bytes.Equal(a, b) {
				t.Fatalf("counts differ: %v, want %v", a, b)
			}
			equalBits(t, "membrane", v, w)
		}
	})
}

func TestAccumulateAndCountSpikes(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(27, 28))
		for _, n := range lengths() {
			counts := make([]uint8, n+1)[1:]
			cum := make([]int32, n+guard)
			want := make([]int32, n+guard)
			var wantSpikes, wantEvents int64
			for i := range counts {
				cum[i] = int32(r.IntN(260000))
				if r.IntN(2) == 0 {
					counts[i] = uint8(r.IntN(256))
				}
				want[i] = cum[i] + int32(counts[i])
				wantSpikes += int64(counts[i])
				if counts[i] > 0 {
					wantEvents++
				}
			}
			AccumulateCounts(cum[:n], counts)
			for i := range cum {
				if cum[i] != want[i] {
					t.Fatalf("n %d: cumulative count %d is %d, want %d", n, i, cum[i], want[i])
				}
			}
			if s, e := CountSpikes(counts); s != wantSpikes || e != wantEvents {
				t.Fatalf("n %d: %d spikes, %d events, want %d, %d", n, s, e, wantSpikes, wantEvents)
			}
		}
	})
}

func TestFireDoesNotAllocate(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		const rows, c = 5, 43
		counts, cum := make([]uint8, rows*c), make([]int32, rows*c)
		v, current, offset := make([]float32, rows*c), make([]float32, rows*c), make([]float32, c)
		if n := testing.AllocsPerRun(10, func() {
			Fire(counts, v, current, 0.5, 4)
			FireOffset(counts, v, current, offset, 0.5, 4)
			AccumulateCounts(cum, counts)
			CountSpikes(counts)
			AddTo(v, current)
			Dot(v, current)
		}); n != 0 {
			t.Errorf("%v allocations, want none", n)
		}
	})
}

// FuzzFire compares every instruction set with the definition on arbitrary bits.
func FuzzFire(f *testing.F) {
	f.Add([]byte{0, 0, 128, 63, 0, 0, 0, 0}, float32(0.5), uint8(4), uint8(0))
	f.Add(bytes.Repeat([]byte{255, 255, 127, 127}, 70), float32(0), uint8(255), uint8(3))
	f.Add(bytes.Repeat([]byte{0, 0, 192, 127, 1, 0, 0, 0}, 40), float32(-1), uint8(0), uint8(8))
	f.Fuzz(func(t *testing.T, data []byte, shift float32, maxSpike, c uint8) {
		n := min(len(data)/8, 4096)
		start, current := make([]float32, n), make([]float32, n)
		for i := range n {
			start[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[8*i:]))
			current[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[8*i+4:]))
		}
		var offset []float32
		if c > 0 {
			n = n / int(c) * int(c)
			offset = make([]float32, c)
			copy(offset, current)
		}
		for _, isa := range Available() {
			before := Active()
			mustSetISA(t, isa)
			v := make([]float32, n)
			copy(v, start)
			checkFire(t, v, current[:n], offset, shift, maxSpike)
			mustSetISA(t, before)
		}
	})
}

func BenchmarkFire(b *testing.B) {
	for _, isa := range Available() {
		for _, n := range []int{1024, 1 << 16, 1 << 22} {
			b.Run(fmt.Sprintf("%v/%d", isa, n), func(b *testing.B) {
				before := Active()
				mustSetISA(b, isa)
				defer mustSetISA(b, before)
				r := rand.New(rand.NewPCG(29, 30))
				counts, v, current := make([]uint8, n), make([]float32, n), make([]float32, n)
				finite(r, current)
				b.SetBytes(int64(13 * n))
				for b.Loop() {
					Fire(counts, v, current, 0.125, 4)
				}
				b.ReportMetric(float64(n)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "neurons/ns")
			})
		}
	}
}

func BenchmarkFireOffset(b *testing.B) {
	const n, c = 1 << 16, 64
	counts, v, current, offset := make([]uint8, n), make([]float32, n), make([]float32, n), make([]float32, c)
	b.SetBytes(13 * n)
	for b.Loop() {
		FireOffset(counts, v, current, offset, 0.125, 4)
	}
}

func BenchmarkAccumulateCounts(b *testing.B) {
	cum, counts := make([]int32, 1<<16), make([]uint8, 1<<16)
	b.SetBytes(9 << 16)
	for b.Loop() {
		AccumulateCounts(cum, counts)
	}
}
