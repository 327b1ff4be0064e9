// Command elementwise generates the AVX2 assembly of the loops over elements,
// channels and pooling windows of the kernel package:
//
//	go run ./elementwise -out ../elementwise_amd64.s -stubs ../elementwise_stubs_amd64.go -pkg kernel
//
// Every function does whole vectors of 8 channels or elements and trusts its
// arguments; the Go code around it checks them and does the rest. Instructions
// are chosen so that every element gets the bits of the portable loop: no fused
// multiply-add, and MAXPS and MINPS with the constant as first source.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	arithmetic()
	reductions()
	norms()
	pools()
	neurons()
	optimisers()
	Generate()
}

// Comparison predicates of VCMPPS.
const (
	lessThan    = 0x11 // LT_OQ
	greaterThan = 0x1e // GT_OQ
	unordered   = 0x03 // UNORD_Q
)

// function starts an assembly function; all are leaf functions without frame.
func function(name, signature, doc string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(doc)
}

func pointer(name string) Register { return Load(Param(name), GP64()) }

// scalar loads a float32 parameter into all lanes.
func scalar(name string) VecVirtual {
	v := YMM()
	VBROADCASTSS(Load(Param(name), XMM()).(Op), v)
	return v
}

func zeroed() VecVirtual {
	v := YMM()
	VXORPS(v, v, v)
	return v
}

// countdown emits "for n >= step { body; n -= step }".
func countdown(label string, n Register, step int, body func()) {
	head, end := label, label+"_end"
	Label(head)
	CMPQ(n, U32(uint32(step)))
	JL(LabelRef(end))
	body()
	SUBQ(U32(uint32(step)), n)
	JMP(LabelRef(head))
	Label(end)
}

// vectors emits a loop over n elements, n a multiple of 8: unroll vectors of 8
// at a time, then one. body does the vector that lies off elements behind the
// pointers; the pointers then advance by the size of an element each.
func vectors(label string, n Register, unroll int, advance map[Register]int, order []Register, body func(off int)) {
	for _, u := range []int{unroll, 1} {
		name := label
		if u == 1 {
			name += "_tail"
		}
		countdown(name, n, 8*u, func() {
			for i := range u {
				body(8 * i)
			}
			for _, p := range order {
				ADDQ(U32(uint32(8*u*advance[p])), p)
			}
		})
		if unroll == 1 {
			break
		}
	}
}

// floats is vectors for pointers to 4-byte elements.
func floats(label string, n Register, unroll int, pointers []Register, body func(off int)) {
	advance := map[Register]int{}
	for _, p := range pointers {
		advance[p] = 4
	}
	vectors(label, n, unroll, advance, pointers, body)
}

// at is element off of a pointer to 4-byte elements.
func at(p Register, off int) Mem { return Mem{Base: p, Disp: 4 * off} }
