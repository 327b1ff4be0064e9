//go:build amd64 && !noasm

package kernel

import "unsafe"

// copyIntsVec does the beginning of copyInts and returns how much.
func copyIntsVec[P uint8 | int16, C SpikeCount](d []P, src []C, offset P) int {
	if Active() == Portable || unsafe.Sizeof(src[0]) != 1 {
		return 0
	}
	from := (*uint8)(unsafe.Pointer(&src[0]))
	if unsafe.Sizeof(d[0]) == 1 {
		n := len(src) &^ 31
		if n > 0 {
			intOffsetAVX2((*uint8)(unsafe.Pointer(&d[0])), from, uint64(uint8(offset)), n)
		}
		return n
	}
	n := len(src) &^ 15
	if n == 0 || offset != 0 {
		return 0
	}
	to := (*int16)(unsafe.Pointer(&d[0]))
	if zero := C(0); zero-1 < 0 {
		intWidenS8AVX2(to, from, n)
	} else {
		intWidenU8AVX2(to, from, n)
	}
	return n
}

func intDepthwiseTile(pixels int, c *intDepthwiseCall) bool {
	if pixels == intDepthwisePixels {
		intDepthwiseAVX2_4(c)
	} else {
		intDepthwiseAVX2_1(c)
	}
	return true
}
