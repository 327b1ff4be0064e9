// Package minifloat widens the 8- and 16-bit floating-point formats found in
// weight files to float32. Every conversion is exact.
package minifloat

import "math"

// Half converts an IEEE 754 binary16 value: 1 sign, 5 exponent (bias 15) and
// 10 fraction bits. NaN payloads are kept.
func Half(h uint16) float32 { return widen(uint32(h), 5, 10) }

// BFloat16 converts a bfloat16 value, the upper half of a float32.
func BFloat16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// E5M2 converts an 8-bit value with 5 exponent bits (bias 15) and 2 fraction
// bits, with infinities and NaN as in IEEE 754.
func E5M2(b uint8) float32 { return widen(uint32(b), 5, 2) }

// E4M3 converts an 8-bit value with 4 exponent bits (bias 7) and 3 fraction
// bits in the variant "fn": no infinities, 0x7f and 0xff are NaN, and the
// largest magnitude is 448.
//
// Source: Micikevicius et al., FP8 Formats for Deep Learning, 2022.
func E4M3(b uint8) float32 {
	sign := uint32(b>>7) << 31
	exp, frac := uint32(b>>3&0xf), uint32(b&7)
	switch {
	case exp == 0xf && frac == 7:
		return math.Float32frombits(sign | 0x7fc00000)
	case exp == 0:
		return signed(sign, float32(frac)/512) // frac * 2^(1-7-3)
	}
	return math.Float32frombits(sign | (exp-7+127)<<23 | frac<<20)
}

// widen converts an IEEE-like value of 1+expBits+fracBits bits whose exponent
// bias is 2^(expBits-1)-1.
func widen(v uint32, expBits, fracBits uint) float32 {
	bias := uint32(1)<<(expBits-1) - 1
	sign := v >> (expBits + fracBits) & 1 << 31
	exp := v >> fracBits & (1<<expBits - 1)
	frac := v & (1<<fracBits - 1)
	switch exp {
	case 1<<expBits - 1: // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | frac<<(23-fracBits))
	case 0: // zero or subnormal: frac * 2^(1-bias-fracBits), exact in float32
		return signed(sign, float32(math.Ldexp(float64(frac), 1-int(bias)-int(fracBits))))
	}
	return math.Float32frombits(sign | (exp-bias+127)<<23 | frac<<(23-fracBits))
}

func signed(sign uint32, v float32) float32 {
	return math.Float32frombits(sign | math.Float32bits(v))
}
