//go:build !amd64 || noasm

package kernel

func intKernel(_ ISA, wide bool) intKind { return intKind{wide: wide, rows: 6, panels: 1} }

func intTile(k intKind, rows, _ int, c *intTileCall) { intTilePortable(rows, k.wide, c) }

func intCurrentsVec([]float32, []int32, *IntCurrent) int { return 0 }

func fireIntVec([]uint8, []float32, []int32, *IntCurrent, float32, uint8) (done int, spikes, events int64, finite bool) {
	return 0, 0, 0, true
}

func intEventRow(bits int, c *intEventCall) { intEventPortable(bits, c) }

func intCompress(bool, bool, *intCompressCall) bool { return false }

func intDepthwiseTile(int, *intDepthwiseCall) bool { return false }

func copyIntsVec[P uint8 | int16, C SpikeCount]([]P, []C, P) int { return 0 }

func fireSignedVec([]float32, []float32, []float32, []float32, []float32, float32, float32) (done int, spikes, events int64, finite bool) {
	return 0, 0, 0, true
}

func countsFromFloatVec[P int8 | int16]([]P, []float32) int { return 0 }
