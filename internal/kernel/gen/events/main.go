// Command events generates the AVX2 assembly of convolutions of spike counts
// that skip zeros:
//
//	go run ./events -out ../events_amd64.s -stubs ../events_stubs_amd64.go -pkg kernel
//
// Every function trusts its arguments; the Go code around it checks them.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// outputs is the number of output channels at a time: 8 registers of sums, as
// many as it takes for additions of a latency of 4 cycles to keep two units
// busy. One row of their weights is 256 bytes.
const outputs = 64

func main() {
	ConstraintExpr("amd64,!noasm")
	tap()
	masks()
	Generate()
}

// tap adds, for every pair of an output and an input pixel in pairs, the
// products of the input's counts and their rows of weights.
func tap() {
	TEXT("eventTapAVX2", NOSPLIT, "func(y *float32, counts *uint8, masks *uint64, pairs *int32, n int, cin, words int, w *float32)")
	Pragma("noescape")
	Doc("eventTapAVX2 is eventTapPortable for at least one pair; cin is the counts and words the masks of a pixel.")
	y, counts, masks := Load(Param("y"), GP64()), Load(Param("counts"), GP64()), Load(Param("masks"), GP64())
	pairs, n := Load(Param("pairs"), GP64()), Load(Param("n"), GP64())
	cin, words := Load(Param("cin"), GP64()), Load(Param("words"), GP64())
	w := Load(Param("w"), GP64())
	out, in, mask, bit, count := GP64(), GP64(), GP64(), GP64(), GP64()
	value, zero := YMM(), XMM()
	VXORPS(zero, zero, zero)

	Label("pair")
	MOVLQSX(Mem{Base: pairs, Disp: 4}, in)
	MOVQ(in, mask)
	IMULQ(words, mask)
	MOVQ(Mem{Base: masks, Index: mask, Scale: 8}, mask)
	TESTQ(mask, mask)
	JE(LabelRef("next"))
	MOVLQSX(Mem{Base: pairs}, out)
	LEAQ(Mem{Base: y, Index: out, Scale: 4}, out)
	IMULQ(cin, in)
	ADDQ(counts, in)
	sums := make([]VecVirtual, 0)
	for i := range outputs / 8 {
		s := YMM()
		VMOVUPS(Mem{Base: out, Disp: 32 * i}, s)
		sums = append(sums, s)
	}

	Label("event")
	TZCNTQ(mask, bit)
	MOVBQZX(Mem{Base: in, Index: bit, Scale: 1}, count)
	SHLQ(U8(8), bit)
	ADDQ(w, bit) // an index in the operands below would cost Intel an operation each
	// Not from a table: loads are what the loop is short of.
	VCVTSI2SSL(count.As32(), zero, value.AsX())
	VBROADCASTSS(value.AsX(), value)
	for i, s := range sums {
		VFMADD231PS(Mem{Base: bit, Disp: 32 * i}, value, s)
	}
	BLSRQ(mask, mask)
	JNE(LabelRef("event"))
	for i, s := range sums {
		VMOVUPS(s, Mem{Base: out, Disp: 32 * i})
	}

	Label("next")
	ADDQ(U8(8), pairs)
	DECQ(n)
	JNE(LabelRef("pair"))
	VZEROUPPER()
	RET()
}

// masks tells zeros from the rest.
func masks() {
	TEXT("countMasksAVX2", NOSPLIT, "func(masks *uint64, counts *uint8, n int)")
	Pragma("noescape")
	Doc("countMasksAVX2 sets bit i of masks[k] where counts[64*k+i] is not 0, for n masks, at least one.")
	dst, src, n := Load(Param("masks"), GP64()), Load(Param("counts"), GP64()), Load(Param("n"), GP64())
	zero := YMM()
	VPXOR(zero, zero, zero)
	Label("loop")
	low, high := GP64(), GP64()
	for i, r := range []Register{low, high} {
		v := YMM()
		VPCMPEQB(Mem{Base: src, Disp: 32 * i}, zero, v)
		VPMOVMSKB(v, r.(GPVirtual).As32())
	}
	SHLQ(U8(32), high)
	ORQ(low, high)
	NOTQ(high)
	MOVQ(high, Mem{Base: dst})
	ADDQ(U8(64), src)
	ADDQ(U8(8), dst)
	DECQ(n)
	JNE(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
