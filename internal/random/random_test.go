package random

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestStreamsAreFixed: what was made with a seed must come out the same for
// ever, on every machine.
func TestStreamsAreFixed(t *testing.T) {
	for _, c := range []struct {
		seed    uint64
		purpose string
		index   []uint64
		want    uint64
	}{
		{0, "", nil, 0x8b82bac764117520},
		{1, "shuffle", nil, 0x8189487a4c568b49},
		{1, "augment", []uint64{2, 3}, 0x1fff897dad481901},
		{math.MaxUint64, "weights", []uint64{0}, 0xf0e121b17d075dd5},
	} {
		if got := Source(c.seed, c.purpose, c.index...).Uint64(); got != c.want {
			t.Errorf("seed %d, %q, %v: got %#x, want %#x", c.seed, c.purpose, c.index, got, c.want)
		}
	}
}

func TestEqualNamesGiveEqualStreams(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed, purpose := rapid.Uint64().Draw(t, "seed"), rapid.String().Draw(t, "purpose")
		index := rapid.SliceOfN(rapid.Uint64(), 0, 3).Draw(t, "index")
		a, b := New(seed, purpose, index...), Source(seed, purpose, index...)
		for range 20 {
			if x, y := a.Uint64(), b.Uint64(); x != y {
				t.Fatalf("%#x and %#x from streams of one name", x, y)
			}
		}
	})
}

// TestStreamsDiffer: no two of many neighbouring names share their first value,
// and their bits are not correlated.
func TestStreamsDiffer(t *testing.T) {
	seen := map[uint64]string{}
	ones := [64]int{}
	n := 0
	var last uint64
	flips := 0
	note := func(name string, v uint64) {
		if other, ok := seen[v]; ok {
			t.Errorf("%s and %s begin alike", name, other)
		}
		seen[v] = name
		for i := range 64 {
			ones[i] += int(v >> i & 1)
			flips += int((v ^ last) >> i & 1)
		}
		last = v
		n++
	}
	for seed := range uint64(40) {
		for _, purpose := range []string{"", "a", "b", "ab", "ba", "aa", "shuffle", "shuffle ", "augment"} {
			note(purpose, Source(seed, purpose).Uint64())
			for i := range uint64(10) {
				note(purpose, Source(seed, purpose, i).Uint64())
				note(purpose, Source(seed, purpose, i, 0).Uint64())
				note(purpose, Source(seed, purpose, 0, i+1).Uint64())
			}
		}
	}
	// Each count is binomial: six standard deviations.
	for i, k := range ones {
		if d := math.Abs(float64(k) - float64(n)/2); d > 3*math.Sqrt(float64(n)) {
			t.Errorf("bit %d is set in %d of %d streams", i, k, n)
		}
	}
	if d := math.Abs(float64(flips) - 32*float64(n)); d > 24*math.Sqrt(float64(n)) {
		t.Errorf("neighbours differ in %d of %d bits", flips, 64*n)
	}
}
