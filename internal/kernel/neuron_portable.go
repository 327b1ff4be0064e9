//go:build !amd64 || noasm

package kernel

func fireVec(_ []uint8, _, _ []float32, _ float32, _ uint8) (done int, spikes, events int64, finite bool) {
	return 0, 0, 0, true
}

func fireOffsetVec(_ []uint8, _, _, _ []float32, _ float32, _ uint8) (done int, spikes, events int64, finite bool) {
	return 0, 0, 0, true
}

func accumulateVec(_ []int32, _ []uint8) int { return 0 }

func countSpikesVec(_ []uint8) (done int, spikes, events int64) { return 0, 0, 0 }
