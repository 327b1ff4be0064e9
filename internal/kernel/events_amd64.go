//go:build amd64 && !noasm

package kernel

func countMasksVec(masks []uint64, counts []uint8) int {
	if len(masks) == 0 || Active() == Portable {
		return 0
	}
	countMasksAVX2(&masks[0], &counts[0], len(masks))
	return len(masks)
}

func eventTapRun(y []float32, counts []uint8, masks []uint64, pairs []pixelPair, cin int, w []float32) {
	if Active() == Portable {
		eventTapPortable(y, counts, masks, pairs, cin, w)
		return
	}
	eventTapAVX2(&y[0], &counts[0], &masks[0], &pairs[0].out, len(pairs), cin, cin/eventInputs, &w[0])
}
