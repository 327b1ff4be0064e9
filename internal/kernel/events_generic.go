//go:build !amd64 || noasm

package kernel

func countMasksVec([]uint64, []uint8) int { return 0 }

func eventTapRun(y []float32, counts []uint8, masks []uint64, pairs []pixelPair, cin int, w []float32) {
	eventTapPortable(y, counts, masks, pairs, cin, w)
}
