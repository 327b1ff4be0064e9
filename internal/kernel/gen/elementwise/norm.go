package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func norms() {
	columnMoments()
	affineRows()
	for _, masked := range []bool{false, true} {
		columnGradSums(masked)
		normGradRows(masked)
	}
}

// columnMoments: Σd and Σd², d = x - origin, in float64.
func columnMoments() {
	function("columnMomentsAVX2", "func(acc, squares *float64, x, origin *float32, rows, c, n int)",
		"columnMomentsAVX2 adds d = x-origin to acc and d*d to squares for the first n of c channels of every row.")
	acc, squares, x, origin := pointer("acc"), pointer("squares"), pointer("x"), pointer("origin")
	rows, stride, n := pointer("rows"), pointer("c"), pointer("n")
	SHLQ(U8(2), stride)
	for _, group := range []int{16, 8} {
		label := "wide"
		if group == 8 {
			label = "narrow"
		}
		countdown(label, n, group, func() {
			sums, sqs := loadDoubles(acc, group/4), loadDoubles(squares, group/4)
			zero := make([]VecVirtual, group/4)
			for i := range zero {
				zero[i] = YMM()
				VCVTPS2PD(at(origin, 4*i), zero[i])
			}
			row, left := GP64(), GP64()
			MOVQ(x, row)
			MOVQ(rows, left)
			countdown(label+"_rows", left, 1, func() {
				for i := range sums {
					d := YMM()
					VCVTPS2PD(at(row, 4*i), d)
					VSUBPD(zero[i], d, d)
					VADDPD(d, sums[i], sums[i])
					VMULPD(d, d, d)
					VADDPD(d, sqs[i], sqs[i])
				}
				ADDQ(stride, row)
			})
			storeDoubles(acc, sums)
			storeDoubles(squares, sqs)
			ADDQ(U32(uint32(8*group)), acc)
			ADDQ(U32(uint32(8*group)), squares)
			ADDQ(U32(uint32(4*group)), x)
			ADDQ(U32(uint32(4*group)), origin)
		})
	}
	VZEROUPPER()
	RET()
}

// eachRow emits a loop over rows and in it one over the first n channels,
// unroll vectors of 8 and then one at a time. The arrays advance by stride bytes
// from row to row; body addresses channel off behind the index with along.
func eachRow(rows, stride, n Register, unroll int, arrays []Register, body func(index Register, off int)) {
	countdown("rows", rows, 1, func() {
		left, index := GP64(), GP64()
		MOVQ(n, left)
		XORQ(index, index)
		for _, u := range []int{unroll, 1} {
			label := "channels"
			if u == 1 {
				label += "_tail"
			}
			countdown(label, left, 8*u, func() {
				for i := range u {
					body(index, 8*i)
				}
				ADDQ(U32(uint32(8*u)), index)
			})
		}
		for _, p := range arrays {
			ADDQ(stride, p)
		}
	})
}

// along is element index+off of a pointer to 4-byte elements.
func along(p, index Register, off int) Mem { return at(p, off).Idx(index, 4) }

// affineRows: y = min(max(x*scale+shift, low), high).
func affineRows() {
	function("affineRowsAVX2", "func(y, x, scale, shift *float32, low, high float32, rows, c, n int)",
		"affineRowsAVX2 sets y = x*scale + shift, limited to [low, high], for the first n of c channels of every row.")
	y, x, scale, shift := pointer("y"), pointer("x"), pointer("scale"), pointer("shift")
	low, high := scalar("low"), scalar("high")
	rows, stride, n := pointer("rows"), pointer("c"), pointer("n")
	SHLQ(U8(2), stride)
	eachRow(rows, stride, n, 4, []Register{y, x}, func(index Register, off int) {
		v := YMM()
		VMOVUPS(along(x, index, off), v)
		VMULPS(along(scale, index, off), v, v)
		VADDPS(along(shift, index, off), v, v)
		VMAXPS(v, low, v)
		VMINPS(v, high, v)
		VMOVUPS(v, along(y, index, off))
	})
	VZEROUPPER()
	RET()
}

// columnGradSums: Σd and Σd*(x-mean) in float64, d = dy or, if masked, dy where
// 0 < y < max.
func columnGradSums(masked bool) {
	name, params := "columnGradSumsAVX2", "acc, products *float64, x, dy, mean *float32, rows, c, n int"
	if masked {
		name, params = "columnGradSumsMaskedAVX2", "acc, products *float64, x, dy, y, mean *float32, max float32, rows, c, n int"
	}
	function(name, "func("+params+")", name+" adds d to acc and d*(x-mean) to products for the first n of c channels of every row.")
	acc, products, x, dy, mean := pointer("acc"), pointer("products"), pointer("x"), pointer("dy"), pointer("mean")
	rows, stride, n := pointer("rows"), pointer("c"), pointer("n")
	arrays := []Register{x, dy}
	var zero, max Register
	if masked {
		arrays = append(arrays, pointer("y"))
		zero, max = zeroed().AsX(), scalar("max").AsX()
	}
	SHLQ(U8(2), stride)
	for _, group := range []int{16, 8} {
		label := "wide"
		if group == 8 {
			label = "narrow"
		}
		countdown(label, n, group, func() {
			sums, prods := loadDoubles(acc, group/4), loadDoubles(products, group/4)
			row := make([]Register, len(arrays))
			for i, p := range arrays {
				g := GP64()
				MOVQ(p, g)
				row[i] = g
			}
			left := GP64()
			MOVQ(rows, left)
			countdown(label+"_rows", left, 1, func() {
				for i := range sums {
					d, xc := YMM(), YMM()
					if masked {
						above := XMM()
						VMOVUPS(at(row[2], 4*i), d.AsX())
						VCMPPS(U8(lessThan), d.AsX(), zero, above)
						VCMPPS(U8(lessThan), max, d.AsX(), d.AsX())
						VANDPS(above, d.AsX(), d.AsX())
						VANDPS(at(row[1], 4*i), d.AsX(), d.AsX())
						VCVTPS2PD(d.AsX(), d)
					} else {
						VCVTPS2PD(at(row[1], 4*i), d)
					}
					VMOVUPS(at(row[0], 4*i), xc.AsX())
					VSUBPS(at(mean, 4*i), xc.AsX(), xc.AsX())
					VCVTPS2PD(xc.AsX(), xc)
					VADDPD(d, sums[i], sums[i])
					VMULPD(d, xc, xc)
					VADDPD(xc, prods[i], prods[i])
				}
				for _, p := range row {
					ADDQ(stride, p)
				}
			})
			storeDoubles(acc, sums)
			storeDoubles(products, prods)
			ADDQ(U32(uint32(8*group)), acc)
			ADDQ(U32(uint32(8*group)), products)
			ADDQ(U32(uint32(4*group)), mean)
			for _, p := range arrays {
				ADDQ(U32(uint32(4*group)), p)
			}
		})
	}
	VZEROUPPER()
	RET()
}

// normGradRows: dx = (d*k0 + (x-mean)*k1) + k2, d as in columnGradSums. k0, k1
// and k2 lie c elements apart.
func normGradRows(masked bool) {
	name, params := "normGradRowsAVX2", "dx, x, dy, mean, k *float32, rows, c, n int"
	if masked {
		name, params = "normGradRowsMaskedAVX2", "dx, x, dy, y, mean, k *float32, max float32, rows, c, n int"
	}
	function(name, "func("+params+")", name+" sets dx = (d*k0 + (x-mean)*k1) + k2 for the first n of c channels of every row.")
	dx, x, dy, mean, k0 := pointer("dx"), pointer("x"), pointer("dy"), pointer("mean"), pointer("k")
	rows, stride, n := pointer("rows"), pointer("c"), pointer("n")
	arrays := []Register{dx, x, dy}
	var y Register
	var zero, max VecVirtual
	if masked {
		y = pointer("y")
		arrays = append(arrays, y)
		zero, max = zeroed(), scalar("max")
	}
	SHLQ(U8(2), stride)
	k1, k2 := GP64(), GP64()
	LEAQ(Mem{Base: k0, Index: stride, Scale: 1}, k1)
	LEAQ(Mem{Base: k0, Index: stride, Scale: 2}, k2)
	eachRow(rows, stride, n, 2, arrays, func(index Register, off int) {
		var d VecVirtual
		if masked {
			d = openInterval(along(y, index, off), zero, max)
			VANDPS(along(dy, index, off), d, d)
		} else {
			d = YMM()
			VMOVUPS(along(dy, index, off), d)
		}
		xc := YMM()
		VMOVUPS(along(x, index, off), xc)
		VSUBPS(along(mean, index, off), xc, xc)
		VMULPS(along(k0, index, off), d, d)
		VMULPS(along(k1, index, off), xc, xc)
		VADDPS(xc, d, d)
		VADDPS(along(k2, index, off), d, d)
		VMOVUPS(d, along(dx, index, off))
	})
	VZEROUPPER()
	RET()
}
