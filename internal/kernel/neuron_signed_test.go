package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestFireSigned against the definition, over some timesteps: no charge is lost,
// whatever its sign, and nothing is taken back that was not emitted.
func TestFireSigned(t *testing.T) {
	eachISA(t, func(t *testing.T) { rapid.Check(t, fireSignedProperty) })
}

func fireSignedProperty(t *rapid.T) {
	channels := rapid.IntRange(1, 40).Draw(t, "channels")
	n := channels * rapid.IntRange(0, 5).Draw(t, "rows")
	limit := rapid.SampledFrom([]float32{1, 2, 4, 255, 261120}).Draw(t, "limit")
	shift := rapid.SampledFrom([]float32{0, 0.125}).Draw(t, "shift")
	signed := rapid.Bool().Draw(t, "signed")
	eighths := rapid.IntRange(-60, 60)
	number := func(name string) float32 { return float32(eighths.Draw(t, name)) / 8 } // exact
	numbers := func(n int, name string) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = number(name)
		}
		return out
	}
	var offset []float32
	if rapid.Bool().Draw(t, "with offset") {
		offset = numbers(channels, "offset")
	}
	v := numbers(n, "start")
	received := append([]float32(nil), v...)
	emitted := make([]float32, n)
	var sum []float32
	if signed {
		sum = make([]float32, n)
	}
	for range 5 {
		current := numbers(n, "current")
		counts := make([]float32, n)
		var wantSpikes, wantEvents int64
		want := make([]float32, n)
		for i, in := range current {
			if offset != nil {
				in += offset[i%channels]
			}
			received[i] += in + shift
			least := 0.0
			if signed {
				least = -math.Min(float64(limit), float64(emitted[i]))
			}
			want[i] = float32(math.Min(math.Max(math.Floor(float64(v[i]+in+shift)), least), float64(limit)))
			wantSpikes += int64(math.Abs(float64(want[i])))
			if want[i] != 0 {
				wantEvents++
			}
		}
		spikes, events, finite := FireSigned(counts, v, sum, current, offset, shift, limit)
		if spikes != wantSpikes || events != wantEvents || !finite {
			t.Fatalf("%d spikes, %d events, finite %v, want %d and %d", spikes, events, finite, wantSpikes, wantEvents)
		}
		for i, k := range counts {
			emitted[i] += k
			if k != want[i] {
				t.Fatalf("neuron %d emits %g, want %g", i, k, want[i])
			}
			if emitted[i] < 0 || signed && sum[i] != emitted[i] {
				t.Fatalf("neuron %d has emitted %g, by its own account %g", i, emitted[i], sum[i])
			}
			if received[i] != emitted[i]+v[i] {
				t.Fatalf("neuron %d received %g, emitted %g and holds %g", i, received[i], emitted[i], v[i])
			}
		}
	}
}

// TestFireSignedEqualsPortable bit by bit, whatever the numbers.
func TestFireSignedEqualsPortable(t *testing.T) {
	special := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.Copysign(0, -1)), 0, 1e30, -1e30, -1, 1e-40}
	eachISA(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			channels := rapid.IntRange(1, 40).Draw(t, "channels")
			n := channels * rapid.IntRange(0, 5).Draw(t, "rows")
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			wild := rapid.Bool().Draw(t, "wild")
			numbers := func(n int) []float32 {
				out := make([]float32, n)
				for i := range out {
					if out[i] = float32(r.NormFloat64() * 3); wild && r.IntN(10) == 0 {
						out[i] = special[r.IntN(len(special))]
					}
				}
				return out
			}
			v, current, counts, sum := numbers(n), numbers(n), make([]float32, n), make([]float32, n)
			for i := range sum {
				sum[i] = float32(r.IntN(4))
			}
			var offset []float32
			if rapid.Bool().Draw(t, "with offset") {
				offset = numbers(channels)
			}
			most, shift := float32(rapid.IntRange(1, 300).Draw(t, "most")), rapid.SampledFrom([]float32{0, 0.125}).Draw(t, "shift")
			wantV, wantSum, wantCounts := slices.Clone(v), slices.Clone(sum), make([]float32, n)
			var wantSpikes, wantEvents int64
			wantFinite := true
			for lo := 0; lo < n; lo += channels {
				s, e, f := fireSignedPortable(wantCounts, wantV, wantSum, current, offset, shift, most, lo, lo, lo+channels)
				wantSpikes, wantEvents, wantFinite = wantSpikes+s, wantEvents+e, wantFinite && f
			}
			spikes, events, finite := FireSigned(counts, v, sum, current, offset, shift, most)
			if spikes != wantSpikes || events != wantEvents || finite != wantFinite {
				t.Fatalf("%d spikes, %d events, finite %v, want %d, %d, %v", spikes, events, finite, wantSpikes, wantEvents, wantFinite)
			}
			for i := range v {
				same := math.Float32bits(v[i]) == math.Float32bits(wantV[i]) || v[i] != v[i] && wantV[i] != wantV[i]
				if !same || counts[i] != wantCounts[i] || sum[i] != wantSum[i] {
					t.Fatalf("neuron %d emits %g, has emitted %g and holds %g, want %g, %g, %g", i, counts[i], sum[i], v[i], wantCounts[i], wantSum[i], wantV[i])
				}
			}
		})
	})
}

func TestCountsFromFloat(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for n := range 150 {
			x, small, large := make([]float32, n), make([]int8, n+1), make([]int16, n+1)
			small[n], large[n] = 77, 77
			for i := range x {
				x[i] = float32((i*37)%256 - 128)
			}
			CountsFromFloat(small[:n], x)
			for i := range x {
				if float32(small[i]) != x[i] {
					t.Fatalf("%d of %d: %d, want %g", i, n, small[i], x[i])
				}
				x[i] *= 256
			}
			CountsFromFloat(large[:n], x)
			for i := range x {
				if float32(large[i]) != x[i] {
					t.Fatalf("%d of %d: %d, want %g", i, n, large[i], x[i])
				}
			}
			if small[n] != 77 || large[n] != 77 {
				t.Fatalf("%d numbers: more were written", n)
			}
		}
	})
}

// TestFireSignedEqualsFire where no neuron can take spikes back: the same bits,
// NaN and infinite potentials included.
func TestFireSignedEqualsFire(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	v := []float32{0.5, -3, 0.99999994, 7.25, nan, inf, -inf, 1e30, -1e30, 0, 300, 0.25}
	current := []float32{0.5, 1, 1e-7, -0.5, 1, 1, 1, 1, 1, nan, 0, float32(math.Copysign(0, -1))}
	for _, limit := range []uint8{1, 4, 255} {
		u, w := append([]float32(nil), v...), append([]float32(nil), v...)
		bytes, floats, widened := make([]uint8, len(v)), make([]float32, len(v)), make([]float32, len(v))
		spikes, events, finite := Fire(bytes, u, current, 0.125, limit)
		s, e, f := FireSigned(floats, w, nil, current, nil, 0.125, float32(limit))
		if s != spikes || e != events || f != finite {
			t.Errorf("limit %d: %d spikes, %d events, finite %v, want %d, %d, %v", limit, s, e, f, spikes, events, finite)
		}
		CountsToFloat(widened, bytes)
		equalBits(t, "counts", floats, widened)
		equalBits(t, "membrane", w, u)
	}
}
