// Command opmath generates the AVX2 assembly of the transcendental functions of
// the kernel package (op_math.go):
//
//	go run ./opmath -out ../opmath_amd64.s -stubs ../opmath_stubs_amd64.go -pkg kernel
//
// Every function does whole vectors of 8 elements, with the operations of the
// portable loop in the same order and no fused multiply-add, so that both give
// the same bits.
package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Comparison predicates of VCMPPS.
const (
	lessThan    = 0x11 // LT_OQ
	greaterThan = 0x1e // GT_OQ
	unordered   = 0x03 // UNORD_Q
)

func main() {
	ConstraintExpr("amd64,!noasm")

	function("expAVX2", "func(dst, x *float32, n int)", "expAVX2 sets dst = exp(x).")
	dst, x, n := pointer("dst"), pointer("x"), pointer("n")
	loop("loop", n, []Register{dst, x}, func() {
		v := load(x)
		VMOVUPS(exp(v), Mem{Base: dst})
	})
	end()

	function("swishAVX2", "func(dst, x *float32, alpha float32, n int)", "swishAVX2 sets dst = x/(1+exp(-(alpha*x))).")
	dst, x, n = pointer("dst"), pointer("x"), pointer("n")
	alpha := scalar("alpha")
	loop("loop", n, []Register{dst, x}, func() {
		v := load(x)
		t := mul(v, alpha)
		VXORPS(bits("sign", 1<<31), t, t)
		e := add(exp(t), number("one", 1))
		VDIVPS(e, v, v)
		VMOVUPS(v, Mem{Base: dst})
	})
	end()

	function("sigmoidAVX2", "func(dst, x *float32, n int)", "sigmoidAVX2 sets dst = 1/(1+exp(-x)).")
	dst, x, n = pointer("dst"), pointer("x"), pointer("n")
	loop("loop", n, []Register{dst, x}, func() {
		v := load(x)
		VXORPS(bits("sign", 1<<31), v, v)
		e := add(exp(v), number("one", 1))
		y := YMM()
		VMOVUPS(number("one", 1), y)
		VDIVPS(e, y, y)
		VMOVUPS(y, Mem{Base: dst})
	})
	end()

	function("geluAVX2", "func(dst, x *float32, n int)", "geluAVX2 sets dst = x*(1+erf(x/sqrt(2)))/2.")
	dst, x, n = pointer("dst"), pointer("x"), pointer("n")
	loop("loop", n, []Register{dst, x}, func() {
		v := load(x)
		e := add(erf(mul(v, number("halfRoot", math.Sqrt2/2))), number("one", 1))
		h := mul(v, number("half", 0.5))
		VMULPS(e, h, h)
		VMOVUPS(h, Mem{Base: dst})
	})
	end()

	function("erfAVX2", "func(dst, x *float32, n int)", "erfAVX2 sets dst = erf(x).")
	dst, x, n = pointer("dst"), pointer("x"), pointer("n")
	loop("loop", n, []Register{dst, x}, func() { VMOVUPS(erf(load(x)), Mem{Base: dst}) })
	end()

	function("tanhAVX2", "func(dst, x *float32, n int)", "tanhAVX2 sets dst = tanh(x).")
	dst, x, n = pointer("dst"), pointer("x"), pointer("n")
	loop("loop", n, []Register{dst, x}, func() { VMOVUPS(tanh(load(x)), Mem{Base: dst}) })
	end()

	function("subtractAVX2", "func(dst, x *float32, s float32, n int)", "subtractAVX2 sets dst = x - s.")
	dst, x, n = pointer("dst"), pointer("x"), pointer("n")
	s := scalar("s")
	loop("loop", n, []Register{dst, x}, func() {
		v := load(x)
		VSUBPS(s, v, v)
		VMOVUPS(v, Mem{Base: dst})
	})
	end()

	function("maxValueAVX2", "func(x *float32, n int) (m float32, nan uint32)",
		"maxValueAVX2 returns the largest of the numbers and not 0 if one is NaN.")
	x, n = pointer("x"), pointer("n")
	most, bad := YMM(), YMM()
	VMOVUPS(bits("negInf", math.Float32bits(float32(math.Inf(-1)))), most)
	VXORPS(bad, bad, bad)
	loop("loop", n, []Register{x}, func() {
		v, u := load(x), YMM()
		VCMPPS(U8(unordered), v, v, u)
		VORPS(u, bad, bad)
		VMAXPS(most, v, most) // NaN in v leaves most as it is
	})
	half := XMM()
	low := most.AsX()
	VEXTRACTF128(U8(1), most, half)
	VMAXPS(half, low, low)
	VPERMILPS(U8(0x4e), low, half)
	VMAXPS(half, low, low)
	VPERMILPS(U8(0xb1), low, half)
	VMAXPS(half, low, low)
	mask := GP32()
	VMOVMSKPS(bad, mask)
	Store(low, ReturnIndex(0))
	Store(mask, ReturnIndex(1))
	end()

	Generate()
}

func function(name, signature, doc string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(doc)
}

func end() {
	VZEROUPPER()
	RET()
}

func pointer(name string) Register { return Load(Param(name), GP64()) }

func scalar(name string) VecVirtual {
	v := YMM()
	VBROADCASTSS(Load(Param(name), XMM()).(Op), v)
	return v
}

// loop emits a loop over n elements, n a multiple of 8.
func loop(label string, n Register, pointers []Register, body func()) {
	Label(label)
	CMPQ(n, U32(8))
	JL(LabelRef(label + "_end"))
	body()
	for _, p := range pointers {
		ADDQ(U32(32), p)
	}
	SUBQ(U32(8), n)
	JMP(LabelRef(label))
	Label(label + "_end")
}

func load(p Register) VecVirtual {
	v := YMM()
	VMOVUPS(Mem{Base: p}, v)
	return v
}

var constants = map[string]Mem{}

// bits is a vector of eight equal words.
func bits(name string, v uint32) Mem {
	if m, ok := constants[name]; ok {
		return m
	}
	m := GLOBL("opmath_"+name, RODATA|NOPTR)
	for i := range 8 {
		DATA(4*i, U32(v))
	}
	constants[name] = m
	return m
}

func number(name string, v float64) Mem { return bits(name, math.Float32bits(float32(v))) }

func mul(a VecVirtual, b Op) VecVirtual {
	v := YMM()
	VMULPS(b, a, v)
	return v
}

func add(a VecVirtual, b Op) VecVirtual {
	v := YMM()
	VADDPS(b, a, v)
	return v
}

// polynomial is ((c0*x + c1)*x + c2)*x ... of the given constants.
func polynomial(name string, x VecVirtual, c ...float64) VecVirtual {
	p := mul(x, number(name+"0", c[0]))
	for i, v := range c[1:] {
		VADDPS(number(fmt.Sprint(name, i+1), v), p, p)
		if i < len(c)-2 {
			VMULPS(x, p, p)
		}
	}
	return p
}

// exp is exp32 of op_math.go.
func exp(x VecVirtual) VecVirtual {
	shifted := mul(x, number("log2e", 1.44269504))
	VADDPS(number("roundBit", 12582912), shifted, shifted)
	n := YMM()
	VSUBPS(number("roundBit", 12582912), shifted, n)
	r := YMM()
	VSUBPS(mul(n, number("ln2High", 0.693359375)), x, r)
	VSUBPS(mul(n, number("ln2Low", -2.12194440e-4)), r, r)
	p := polynomial("exp", r, 0.0013950720895081758, 0.008369024842977524, 0.04166620224714279, 0.166665181517601, 0.5)
	VMULPS(r, p, p)
	VMULPS(r, p, p)
	VADDPS(r, p, p)
	VADDPS(number("one", 1), p, p)
	// Times 2^n in two steps.
	whole, half := YMM(), YMM()
	VPSUBD(bits("roundBits", 0x4B400000), shifted, whole)
	VPSRAD(U8(1), whole, half)
	VPSUBD(half, whole, whole)
	for _, e := range []VecVirtual{half, whole} {
		VPADDD(bits("exponent", 127), e, e)
		VPSLLD(U8(23), e, e)
		VMULPS(e, p, p)
	}
	// Out of range, and NaN.
	mask := YMM()
	VCMPPS(U8(lessThan), number("expLow", -87.33654), x, mask)
	VANDNPS(p, mask, p)
	VCMPPS(U8(greaterThan), number("expHigh", 88.72283), x, mask)
	VBLENDVPS(mask, bits("inf", math.Float32bits(float32(math.Inf(1)))), p, p)
	VCMPPS(U8(unordered), x, x, mask)
	VBLENDVPS(mask, x, p, p)
	return p
}

// erf is erf32 of op_math.go.
func erf(x VecVirtual) VecVirtual {
	z := mul(x, x)
	small := polynomial("erf", z, 7.85385345807299e-05, -0.000801019137725234, 0.00518832728266716, -0.026853810995817184,
		0.1128358542919159, -0.3761262595653534, 1.1283791065216064)
	VMULPS(small, x, small)
	a := YMM()
	VANDPS(bits("magnitude", 1<<31-1), x, a)
	near := YMM()
	VCMPPS(U8(lessThan), number("one", 1), a, near)
	four := YMM()
	VMOVUPS(number("four", 4), four)
	VMINPS(a, four, a) // NaN stays
	p := polynomial("erfc", a, -0.00018557600560598075, 0.0029396263416856527, -0.02180539257824421, 0.1030375212430954,
		0.6382254958152771, 1.127040147781372, 0.00035369565011933446)
	VXORPS(bits("sign", 1<<31), p, p)
	return oddly(x, small, near, exp(p))
}

// oddly is small where near, and 1-e with the sign of x elsewhere.
func oddly(x, small, near, e VecVirtual) VecVirtual {
	y := YMM()
	VMOVUPS(number("one", 1), y)
	VSUBPS(e, y, y)
	sign := YMM()
	VANDPS(bits("magnitude", 1<<31-1), y, y)
	VANDPS(bits("sign", 1<<31), x, sign)
	VORPS(sign, y, y)
	VBLENDVPS(near, small, y, y)
	return y
}

// tanh is tanh32 of op_math.go.
func tanh(x VecVirtual) VecVirtual {
	z := mul(x, x)
	small := polynomial("tanh", z, -0.005717025604099035, 0.02065056934952736, -0.05374349281191826, 0.13331490755081177, -0.3333328366279602)
	VMULPS(z, small, small)
	VMULPS(x, small, small)
	VADDPS(small, x, small)
	a := YMM()
	VANDPS(bits("magnitude", 1<<31-1), x, a)
	near := YMM()
	VCMPPS(U8(lessThan), number("tanhNear", 0.625), a, near)
	e := add(exp(mul(a, number("two", 2))), number("one", 1))
	q := YMM()
	VMOVUPS(number("two", 2), q)
	VDIVPS(e, q, q)
	return oddly(x, small, near, q)
}
