//go:build amd64 && !noasm

package kernel

func intCurrentsVec([]float32, []int32, *IntCurrent) int { return 0 }

func fireIntVec([]uint8, []float32, []int32, *IntCurrent, float32, uint8) (done int, spikes, events int64, finite bool) {
	return 0, 0, 0, true
}

func intEventRow(bits int, c *intEventCall) { intEventPortable(bits, c) }
