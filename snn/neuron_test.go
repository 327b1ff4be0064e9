package snn

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drive runs one neuron on currents and returns the counts and the potentials
// at the beginning and the end.
func drive(t tester, l Layer, shift Shift, currents []float32) (counts []uint8, before, after float64) {
	t.Helper()
	n, err := NewNeurons(l, 1, 1, shift, len(currents))
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float32, 1)
	n.Membrane(v)
	before = float64(v[0])
	counts = make([]uint8, len(currents))
	for i := range currents {
		if err := n.Step(currents[i:i+1], counts[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	n.Membrane(v)
	return counts, before, float64(v[0])
}

func sum(counts []uint8) (n int) {
	for _, k := range counts {
		n += int(k)
	}
	return n
}

var anyShift = rapid.SampledFrom([]Shift{ShiftInitial, ShiftPerStep, ShiftNone})

// TestChargeIsConserved: theta*N(T) + v(T) = v(0) + sum I + sum s, and every
// count is within its limits.
func TestChargeIsConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		currents := rapid.SliceOfN(rapid.Float32Range(-4, 4), 1, 64).Draw(t, "currents")
		l := Layer{Threshold: []float32{rapid.Float32Range(0.05, 4).Draw(t, "theta")}, MaxSpike: rapid.IntRange(1, 255).Draw(t, "maxspike"),
			Initial: []float32{rapid.Float32Range(-3, 3).Draw(t, "initial")}}
		shift := anyShift.Draw(t, "shift")
		counts, before, after := drive(t, l, shift, currents)
		theta := float64(l.Threshold[0])
		in := before
		for _, x := range currents {
			in += float64(x)
			if shift == ShiftPerStep {
				in += theta / float64(2*len(currents))
			}
		}
		if d := theta*float64(sum(counts)) + after - in; math.Abs(d) > 2e-4*(1+math.Abs(in)) {
			t.Fatalf("%d spikes of %g and %g left of a charge of %g: %g lost", sum(counts), theta, after, in, -d)
		}
		for i, k := range counts {
			if int(k) > l.MaxSpike {
				t.Fatalf("timestep %d: %d spikes, want at most %d", i, k, l.MaxSpike)
			}
		}
	})
}

// TestConstantCurrentIsExact: N(T) = clamp(floor(T*z/theta + 1/2), 0, phi*T).
// The numbers are multiples of a power of two, T is one: no rounding.
func TestConstantCurrentIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := 1 << rapid.IntRange(0, 10).Draw(t, "log T")
		phi := rapid.IntRange(1, 255).Draw(t, "maxspike")
		theta := float32(math.Ldexp(1, rapid.IntRange(-4, 4).Draw(t, "log theta")))
		// z/theta in 1/64, so that T*z/theta + 1/2 meets integers often.
		ratio := float64(rapid.IntRange(-64, 64*min(phi+1, 8)).Draw(t, "ratio")) / 64
		currents := make([]float32, steps)
		for i := range currents {
			currents[i] = float32(ratio) * theta
		}
		for _, shift := range []Shift{ShiftInitial, ShiftPerStep, ShiftNone} {
			half := 0.5
			if shift == ShiftNone {
				half = 0
			}
			want := int(min(max(math.Floor(float64(steps)*ratio+half), 0), float64(phi*steps)))
			counts, _, _ := drive(t, Layer{Threshold: []float32{theta}, MaxSpike: phi}, shift, currents)
			if got := sum(counts); got != want {
				t.Fatalf("shift %s, %d timesteps of %g thresholds: %d spikes, want %d", shift, steps, ratio, got, want)
			}
		}
	})
}

// TestLargerBurstLimitNeverLowersTheCount, at any time.
func TestLargerBurstLimitNeverLowersTheCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.IntRange(-64, 128), 1, 40).Draw(t, "currents, 1/16")
		currents := make([]float32, len(values))
		for i, v := range values {
			currents[i] = float32(v) / 16 // exact, so that rounding plays no part
		}
		small := rapid.IntRange(1, 8).Draw(t, "small")
		large := rapid.IntRange(small, 255).Draw(t, "large")
		shift := rapid.SampledFrom([]Shift{ShiftInitial, ShiftNone}).Draw(t, "shift")
		a, _, _ := drive(t, Layer{Threshold: []float32{1}, MaxSpike: small}, shift, currents)
		b, _, _ := drive(t, Layer{Threshold: []float32{1}, MaxSpike: large}, shift, currents)
		for i := range a {
			if sum(a[:i+1]) > sum(b[:i+1]) {
				t.Fatalf("after %d timesteps: %d spikes with limit %d, %d with %d", i+1, sum(a[:i+1]), small, sum(b[:i+1]), large)
			}
		}
	})
}

func TestNeuronsErrors(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	ok := Layer{Threshold: []float32{1}, MaxSpike: 1}
	for _, c := range []struct {
		name            string
		layer           Layer
		channels, count int
		shift           Shift
		timesteps       int
		fail            string
	}{
		{"counts", ok, 2, 3, ShiftInitial, 1, "3 neurons do not split into 2 channels"},
		{"none", ok, 1, 0, ShiftInitial, 1, "0 neurons"},
		{"maxspike 0", Layer{Threshold: []float32{1}}, 1, 1, ShiftInitial, 1, "maxspike 0"},
		{"maxspike 256", Layer{Threshold: []float32{1}, MaxSpike: 256}, 1, 1, ShiftInitial, 1, "maxspike 256"},
		{"thresholds", Layer{Threshold: []float32{1, 1}, MaxSpike: 1}, 3, 3, ShiftInitial, 1, "2 thresholds for 3 channels"},
		{"threshold 0", Layer{Threshold: []float32{0}, MaxSpike: 1}, 1, 1, ShiftInitial, 1, "want positive numbers"},
		{"threshold NaN", Layer{Threshold: []float32{nan}, MaxSpike: 1}, 1, 1, ShiftInitial, 1, "want positive numbers"},
		{"threshold infinite", Layer{Threshold: []float32{inf}, MaxSpike: 1}, 1, 1, ShiftInitial, 1, "want positive numbers"},
		{"initial", Layer{Threshold: []float32{1}, MaxSpike: 1, Initial: make([]float32, 2)}, 1, 1, ShiftInitial, 1, "2 initial potentials for 1 neurons"},
		{"shift", ok, 1, 1, "half", 1, `shift "half"`},
		{"timesteps 0", ok, 1, 1, ShiftInitial, 0, "timesteps 0"},
		{"timesteps 1025", ok, 1, 1, ShiftInitial, 1025, "timesteps 1025"},
	} {
		if _, err := NewNeurons(c.layer, c.channels, c.count, c.shift, c.timesteps); err == nil || !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: got error %v, want one with %q", c.name, err, c.fail)
		}
	}
	theta := []float32{1, 2}
	n, err := NewNeurons(Layer{Threshold: theta, MaxSpike: 4}, 2, 4, ShiftNone, 1)
	if err != nil {
		t.Fatal(err)
	}
	theta[0] = 100 // the neurons keep their own
	counts := make([]uint8, 4)
	if err := n.Step([]float32{3, 3, 3, 3}, counts); err != nil || counts[0] != 3 || counts[3] != 1 {
		t.Errorf("got counts %v (%v), want 3 1 3 1", counts, err)
	}
	if err := n.Step(make([]float32, 3), counts); err == nil {
		t.Error("3 currents for 4 neurons were accepted")
	}
	if err := n.Step([]float32{0, 0, inf, 0}, counts); !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "neuron 2 is +Inf") {
		t.Errorf("got error %v, want ErrNotFinite that names neuron 2", err)
	}
}

// A single burst neuron of threshold 0.5, with at most two spikes per timestep:
// what does not fit is kept for later.
func ExampleNeurons() {
	n, err := NewNeurons(Layer{Threshold: []float32{0.5}, MaxSpike: 2}, 1, 1, ShiftInitial, 4)
	if err != nil {
		fmt.Println(err)
		return
	}
	counts, v := make([]uint8, 1), make([]float32, 1)
	for t, current := range []float32{0.75, 0.75, 2, 0} {
		if err := n.Step([]float32{current}, counts); err != nil {
			fmt.Println(err)
			return
		}
		n.Membrane(v)
		fmt.Printf("t=%d: current %.2f, %d spikes, %.2f left\n", t+1, current, counts[0], v[0])
	}
	// Output:
	// t=1: current 0.75, 2 spikes, 0.00 left
	// t=2: current 0.75, 1 spikes, 0.25 left
	// t=3: current 2.00, 2 spikes, 1.25 left
	// t=4: current 0.00, 2 spikes, 0.25 left
}
