package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A pooling function does one window: kh rows of kw pixels, pixel bytes from
// pixel to pixel and skip bytes from the end of one row of the window to the
// start of the next, for n channels, 32 and then 8 at a time.

func pools() {
	window("maxWindowAVX2", "y, x *float32", "", "maxWindowAVX2 sets y to the maximum, NaN if there is one.", poolKind{
		start: func(w *win) {
			for i, best := range w.acc {
				VMOVUPS(at(w.src, 8*i), best)
			}
		},
		step: func(w *win) {
			for i, best := range w.acc {
				v, better := larger(at(w.cursor, 8*i), best)
				VBLENDVPS(better, v, best, best)
			}
		},
		finish: func(w *win) { storeFloats(w) },
	})
	argmaxWindow()
	window("avgWindowAVX2", "y, x *float32", "divisor float32", "avgWindowAVX2 sets y to the sum divided by divisor.", poolKind{
		prepare: func(w *win) { w.constant = scalar("divisor") },
		start:   clearAcc,
		step: func(w *win) {
			for i, sum := range w.acc {
				VADDPS(at(w.cursor, 8*i), sum, sum)
			}
		},
		finish: func(w *win) {
			for _, sum := range w.acc {
				VDIVPS(w.constant, sum, sum)
			}
			storeFloats(w)
		},
	})
	window("sumWindowCountsAVX2", "y *float32, x *uint8", "", "sumWindowCountsAVX2 sets y to the sum of the counts.", poolKind{
		bytes: 1,
		start: clearAcc,
		step: func(w *win) {
			for i, sum := range w.acc {
				v := YMM()
				VPMOVZXBD(Mem{Base: w.cursor, Disp: 8 * i}, v)
				VPADDD(v, sum, sum)
			}
		},
		finish: func(w *win) {
			for _, sum := range w.acc {
				VCVTDQ2PS(sum, sum)
			}
			storeFloats(w)
		},
	})
	window("maxWindowCountsAVX2", "y *uint8, x *int32, top *int32", "",
		"maxWindowCountsAVX2 sets y to the growth of the maximum over top, and top to the maximum.", poolKind{
			prepare: func(w *win) {
				w.extra = pointer("top")
				w.constant = YMM()
				VMOVDQU(lowBytes(), w.constant)
			},
			start: clearAcc,
			step: func(w *win) {
				for i, best := range w.acc {
					VPMAXSD(at(w.cursor, 8*i), best, best)
				}
			},
			finish: func(w *win) {
				for i, best := range w.acc {
					d, high := YMM(), XMM()
					VPSUBD(at(w.extra, 8*i), best, d)
					VMOVDQU(best, at(w.extra, 8*i))
					VPSHUFB(w.constant, d, d)
					VEXTRACTI128(U8(1), d, high)
					VPUNPCKLDQ(high, d.AsX(), d.AsX())
					VMOVQ(d.AsX(), Mem{Base: w.dst, Disp: 8 * i})
				}
				ADDQ(U32(uint32(8*len(w.acc))), w.dst)
				ADDQ(U32(uint32(32*len(w.acc))), w.extra)
			},
		})
}

// win is the state of a window function while it is emitted.
type win struct {
	dst, src, cursor, extra Register
	constant                VecVirtual
	acc                     []VecVirtual // 8 channels each
}

// poolKind is what distinguishes the functions.
type poolKind struct {
	bytes   int        // size of an input element; 0 means 4
	prepare func(*win) // once, before any loop
	start   func(*win) // sets the accumulators of a channel group
	step    func(*win) // one pixel
	finish  func(*win) // stores the group and advances dst
}

func clearAcc(w *win) {
	for _, a := range w.acc {
		VXORPS(a, a, a)
	}
}

func storeFloats(w *win) {
	for i, a := range w.acc {
		VMOVUPS(a, at(w.dst, 8*i))
	}
	ADDQ(U32(uint32(32*len(w.acc))), w.dst)
}

// larger loads v and returns it with the mask of v > best or v is NaN.
func larger(x Mem, best VecVirtual) (v, better VecVirtual) {
	v, better = YMM(), YMM()
	nan := YMM()
	VMOVUPS(x, v)
	VCMPPS(U8(greaterThan), best, v, better)
	VCMPPS(U8(unordered), v, v, nan)
	VORPS(nan, better, better)
	return v, better
}

func window(name, pointers, more, doc string, kind poolKind) {
	if more != "" {
		more = ", " + more
	}
	function(name, "func("+pointers+", n, kh, kw, pixel, skip int"+more+")", doc)
	w := &win{dst: pointer("y"), src: pointer("x")}
	n, kh, kw, pixel, skip := pointer("n"), pointer("kh"), pointer("kw"), pointer("pixel"), pointer("skip")
	if kind.prepare != nil {
		kind.prepare(w)
	}
	size := 4
	if kind.bytes != 0 {
		size = kind.bytes
	}
	for _, group := range []int{32, 8} {
		label := map[int]string{32: "wide", 8: "narrow"}[group]
		countdown(label, n, group, func() {
			w.acc = make([]VecVirtual, group/8)
			for i := range w.acc {
				w.acc[i] = YMM()
			}
			kind.start(w)
			eachPixel(label, w, kh, kw, pixel, skip, func() { kind.step(w) })
			kind.finish(w)
			ADDQ(U32(uint32(size*group)), w.src)
		})
	}
	VZEROUPPER()
	RET()
}

// eachPixel emits the loops over the window; kh and kw are at least 1.
func eachPixel(label string, w *win, kh, kw, pixel, skip Register, step func()) {
	row, col, cursor := GP64(), GP64(), GP64()
	w.cursor = cursor
	MOVQ(w.src, cursor)
	MOVQ(kh, row)
	Label(label + "_row")
	MOVQ(kw, col)
	Label(label + "_pixel")
	step()
	ADDQ(pixel, cursor)
	DECQ(col)
	JNZ(LabelRef(label + "_pixel"))
	ADDQ(skip, cursor)
	DECQ(row)
	JNZ(LabelRef(label + "_row"))
}

// argmaxWindow keeps the position beside the maximum: positions are numbered
// from index, 1 per pixel, and rowStep more from row to row.
func argmaxWindow() {
	function("argmaxWindowAVX2", "func(y, x *float32, arg *int32, n, kh, kw, pixel, skip, index, rowStep int)",
		"argmaxWindowAVX2 is maxWindowAVX2 and sets arg to the position of the maximum.")
	w := &win{dst: pointer("y"), src: pointer("x"), extra: pointer("arg")}
	n, kh, kw, pixel, skip := pointer("n"), pointer("kh"), pointer("kw"), pointer("pixel"), pointer("skip")
	first, step, one := YMM(), YMM(), YMM()
	broadcast := func(r Register, v VecVirtual) {
		VMOVD(r.(GPVirtual).As32(), v.AsX())
		VPBROADCASTD(v.AsX(), v)
	}
	broadcast(pointer("index"), first)
	broadcast(pointer("rowStep"), step)
	VPCMPEQD(one, one, one)
	VPSRLD(U8(31), one, one)
	for _, group := range []int{16, 8} {
		label := map[int]string{16: "wide", 8: "narrow"}[group]
		countdown(label, n, group, func() {
			best, arg := make([]VecVirtual, group/8), make([]VecVirtual, group/8)
			for i := range best {
				best[i], arg[i] = YMM(), YMM()
				VMOVUPS(at(w.src, 8*i), best[i])
				VMOVDQA(first, arg[i])
			}
			index := YMM()
			VMOVDQA(first, index)
			row, col, cursor := GP64(), GP64(), GP64()
			MOVQ(w.src, cursor)
			MOVQ(kh, row)
			Label(label + "_row")
			MOVQ(kw, col)
			Label(label + "_pixel")
			for i := range best {
				v, better := larger(at(cursor, 8*i), best[i])
				VBLENDVPS(better, v, best[i], best[i])
				VBLENDVPS(better, index, arg[i], arg[i])
			}
			VPADDD(one, index, index)
			ADDQ(pixel, cursor)
			DECQ(col)
			JNZ(LabelRef(label + "_pixel"))
			VPADDD(step, index, index)
			ADDQ(skip, cursor)
			DECQ(row)
			JNZ(LabelRef(label + "_row"))
			for i := range best {
				VMOVUPS(best[i], at(w.dst, 8*i))
				VMOVDQU(arg[i], at(w.extra, 8*i))
			}
			for _, p := range []Register{w.dst, w.extra, w.src} {
				ADDQ(U32(uint32(4*group)), p)
			}
		})
	}
	VZEROUPPER()
	RET()
}

var lowBytesTable *Mem

// lowBytes is the VPSHUFB control that gathers the low bytes of the four 32-bit
// elements of each half.
func lowBytes() Mem {
	if lowBytesTable == nil {
		m := GLOBL("lowBytes", RODATA|NOPTR)
		for i := range 8 {
			v := uint32(0x80808080)
			if i%4 == 0 {
				v = 0x0c080400
			}
			DATA(4*i, U32(v))
		}
		lowBytesTable = &m
	}
	return *lowBytesTable
}
