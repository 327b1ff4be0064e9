// Package random hands out independent random streams by purpose, so that
// adding one consumer of randomness never changes the numbers another one sees,
// and so that a sample's augmentation depends on its index only, never on the
// worker that prepares it.
package random

import "math/rand/v2"

// Source returns the generator of the stream named by seed, purpose and any
// further indices (epoch, sample, ...). Equal arguments give equal streams.
func Source(seed uint64, purpose string, index ...uint64) *rand.PCG {
	h := mix(seed ^ 0x9e3779b97f4a7c15)
	for i := range len(purpose) {
		h = mix(h ^ uint64(purpose[i])<<1)
	}
	for _, v := range index {
		h = mix(h + 0x9e3779b97f4a7c15 + v)
	}
	return rand.NewPCG(h, mix(h^0xd1b54a32d192ed03))
}

// New is Source wrapped in a rand.Rand.
func New(seed uint64, purpose string, index ...uint64) *rand.Rand {
	return rand.New(Source(seed, purpose, index...))
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
