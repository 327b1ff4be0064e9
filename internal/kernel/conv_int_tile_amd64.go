//go:build amd64 && !noasm

package kernel

import "golang.org/x/sys/cpu"

// hasVNNI tells whether kernels may use the AVX-512 instructions that multiply
// and add up in 32 bits.
var hasVNNI = cpu.X86.HasAVX512VNNI

// intKernel returns the dense kernels that an instruction set has.
func intKernel(isa ISA, wide bool) intKind {
	switch isa {
	case AVX2:
		return intKind{isa: isa, wide: wide, rows: 6, panels: 1, flushes: !wide}
	case AVX512:
		return intKind{isa: isa, wide: wide, vnni: hasVNNI, rows: 8, panels: 2, flushes: !wide && !hasVNNI}
	}
	return intKind{wide: wide, rows: 6, panels: 1}
}

// intTile runs the kernel of a kind on so many pixels and panels. Direct calls
// in a switch: calls through variables cannot be proved not to keep their
// argument.
func intTile(k intKind, rows, panels int, c *intTileCall) {
	switch {
	case k.isa == Portable:
		intTilePortable(rows, k.wide, c)
	case k.isa == AVX2 && k.wide:
		intTileS16AVX2(rows, c)
	case k.isa == AVX2:
		intTileU8AVX2(rows, c)
	case k.vnni && k.wide:
		intTileS16VNNI(10*panels+rows, c)
	case k.vnni:
		intTileU8VNNI(10*panels+rows, c)
	case k.wide:
		intTileS16AVX512(10*panels+rows, c)
	default:
		intTileU8AVX512(10*panels+rows, c)
	}
}

func intTileU8AVX2(rows int, c *intTileCall) {
	switch rows {
	case 6:
		intTileU8AVX2x16_6(c)
	case 5:
		intTileU8AVX2x16_5(c)
	case 4:
		intTileU8AVX2x16_4(c)
	case 3:
		intTileU8AVX2x16_3(c)
	case 2:
		intTileU8AVX2x16_2(c)
	case 1:
		intTileU8AVX2x16_1(c)
	}
}

func intTileS16AVX2(rows int, c *intTileCall) {
	switch rows {
	case 6:
		intTileS16AVX2x16_6(c)
	case 5:
		intTileS16AVX2x16_5(c)
	case 4:
		intTileS16AVX2x16_4(c)
	case 3:
		intTileS16AVX2x16_3(c)
	case 2:
		intTileS16AVX2x16_2(c)
	case 1:
		intTileS16AVX2x16_1(c)
	}
}

func intTileU8AVX512(shape int, c *intTileCall) {
	switch shape {
	case 28:
		intTileU8AVX512x32_8(c)
	case 27:
		intTileU8AVX512x32_7(c)
	case 26:
		intTileU8AVX512x32_6(c)
	case 25:
		intTileU8AVX512x32_5(c)
	case 24:
		intTileU8AVX512x32_4(c)
	case 23:
		intTileU8AVX512x32_3(c)
	case 22:
		intTileU8AVX512x32_2(c)
	case 21:
		intTileU8AVX512x32_1(c)
	case 18:
		intTileU8AVX512x16_8(c)
	case 17:
		intTileU8AVX512x16_7(c)
	case 16:
		intTileU8AVX512x16_6(c)
	case 15:
		intTileU8AVX512x16_5(c)
	case 14:
		intTileU8AVX512x16_4(c)
	case 13:
		intTileU8AVX512x16_3(c)
	case 12:
		intTileU8AVX512x16_2(c)
	case 11:
		intTileU8AVX512x16_1(c)
	}
}

func intTileS16AVX512(shape int, c *intTileCall) {
	switch shape {
	case 28:
		intTileS16AVX512x32_8(c)
	case 27:
		intTileS16AVX512x32_7(c)
	case 26:
		intTileS16AVX512x32_6(c)
	case 25:
		intTileS16AVX512x32_5(c)
	case 24:
		intTileS16AVX512x32_4(c)
	case 23:
		intTileS16AVX512x32_3(c)
	case 22:
		intTileS16AVX512x32_2(c)
	case 21:
		intTileS16AVX512x32_1(c)
	case 18:
		intTileS16AVX512x16_8(c)
	case 17:
		intTileS16AVX512x16_7(c)
	case 16:
		intTileS16AVX512x16_6(c)
	case 15:
		intTileS16AVX512x16_5(c)
	case 14:
		intTileS16AVX512x16_4(c)
	case 13:
		intTileS16AVX512x16_3(c)
	case 12:
		intTileS16AVX512x16_2(c)
	case 11:
		intTileS16AVX512x16_1(c)
	}
}

func intTileU8VNNI(shape int, c *intTileCall) {
	switch shape {
	case 28:
		intTileU8VNNIx32_8(c)
	case 27:
		intTileU8VNNIx32_7(c)
	case 26:
		intTileU8VNNIx32_6(c)
	case 25:
		intTileU8VNNIx32_5(c)
	case 24:
		intTileU8VNNIx32_4(c)
	case 23:
		intTileU8VNNIx32_3(c)
	case 22:
		intTileU8VNNIx32_2(c)
	case 21:
		intTileU8VNNIx32_1(c)
	case 18:
		intTileU8VNNIx16_8(c)
	case 17:
		intTileU8VNNIx16_7(c)
	case 16:
		intTileU8VNNIx16_6(c)
	case 15:
		intTileU8VNNIx16_5(c)
	case 14:
		intTileU8VNNIx16_4(c)
	case 13:
		intTileU8VNNIx16_3(c)
	case 12:
		intTileU8VNNIx16_2(c)
	case 11:
		intTileU8VNNIx16_1(c)
	}
}

func intTileS16VNNI(shape int, c *intTileCall) {
	switch shape {
	case 28:
		intTileS16VNNIx32_8(c)
	case 27:
		intTileS16VNNIx32_7(c)
	case 26:
		intTileS16VNNIx32_6(c)
	case 25:
		intTileS16VNNIx32_5(c)
	case 24:
		intTileS16VNNIx32_4(c)
	case 23:
		intTileS16VNNIx32_3(c)
	case 22:
		intTileS16VNNIx32_2(c)
	case 21:
		intTileS16VNNIx32_1(c)
	case 18:
		intTileS16VNNIx16_8(c)
	case 17:
		intTileS16VNNIx16_7(c)
	case 16:
		intTileS16VNNIx16_6(c)
	case 15:
		intTileS16VNNIx16_5(c)
	case 14:
		intTileS16VNNIx16_4(c)
	case 13:
		intTileS16VNNIx16_3(c)
	case 12:
		intTileS16VNNIx16_2(c)
	case 11:
		intTileS16VNNIx16_1(c)
	}
}
