package minifloat

import (
	"math"
	"testing"
)

// value computes what an IEEE-like format means, straight from the definition.
func value(v uint32, expBits, fracBits, bias int, ieee bool) float64 {
	sign := 1.0
	if v>>(expBits+fracBits)&1 == 1 {
		sign = -1
	}
	exp := int(v >> fracBits & (1<<expBits - 1))
	frac := float64(v & (1<<fracBits - 1))
	scale := math.Ldexp(1, -fracBits)
	top := 1<<expBits - 1
	switch {
	case ieee && exp == top && frac == 0:
		return math.Inf(int(sign))
	case ieee && exp == top, !ieee && exp == top && frac == math.Ldexp(1, fracBits)-1:
		return math.NaN()
	case exp == 0:
		return math.Copysign(math.Ldexp(frac*scale, 1-bias), sign)
	}
	return sign * math.Ldexp(1+frac*scale, exp-bias)
}

func TestEveryValue(t *testing.T) {
	for _, f := range []struct {
		name                    string
		bits                    int
		expBits, fracBits, bias int
		ieee                    bool
		convert                 func(uint32) float32
	}{
		{"half", 16, 5, 10, 15, true, func(v uint32) float32 { return Half(uint16(v)) }},
		{"bfloat16", 16, 8, 7, 127, true, func(v uint32) float32 { return BFloat16(uint16(v)) }},
		{"e5m2", 8, 5, 2, 15, true, func(v uint32) float32 { return E5M2(uint8(v)) }},
		{"e4m3", 8, 4, 3, 7, false, func(v uint32) float32 { return E4M3(uint8(v)) }},
	} {
		for v := range uint32(1) << f.bits {
			got, want := f.convert(v), value(v, f.expBits, f.fracBits, f.bias, f.ieee)
			if math.IsNaN(want) {
				if got == got {
					t.Fatalf("%s %#x: got %g, want NaN", f.name, v, got)
				}
				continue
			}
			if math.Float64bits(float64(got)) != math.Float64bits(want) {
				t.Fatalf("%s %#x: got %g, want %g", f.name, v, got, want)
			}
		}
	}
}

func TestKnownValues(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want float32
	}{
		{"half one", Half(0x3c00), 1},
		{"half largest", Half(0x7bff), 65504},
		{"half smallest subnormal", Half(0x0001), 0x1p-24},
		{"bfloat16 pi", BFloat16(0x4049), 3.140625},
		{"e5m2 largest", E5M2(0x7b), 57344},
		{"e4m3 largest", E4M3(0x7e), 448},
		{"e4m3 smallest", E4M3(0x01), 0x1p-9},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %g, want %g", c.name, c.got, c.want)
		}
	}
}
