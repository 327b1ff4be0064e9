//go:build amd64 && !noasm

package kernel

// tileShape returns how many pixels a tile has at most, and whether it takes
// two panels at once.
func tileShape(isa ISA) (height int, wide bool) {
	if isa == AVX512 {
		return 8, true
	}
	return 6, false
}

// tile runs the tile kernel on so many pixels (1 to the height) and panels.
// Direct calls in a switch: calls through variables cannot be proved not to
// keep their argument.
func tile(isa ISA, rows, panels int, c *tileCall) {
	switch isa {
	case AVX2:
		switch rows {
		case 6:
			tileAVX2x16_6(c)
		case 5:
			tileAVX2x16_5(c)
		case 4:
			tileAVX2x16_4(c)
		case 3:
			tileAVX2x16_3(c)
		case 2:
			tileAVX2x16_2(c)
		case 1:
			tileAVX2x16_1(c)
		}
	case AVX512:
		switch 10*panels + rows {
		case 28:
			tileAVX512x32_8(c)
		case 27:
			tileAVX512x32_7(c)
		case 26:
			tileAVX512x32_6(c)
		case 25:
			tileAVX512x32_5(c)
		case 24:
			tileAVX512x32_4(c)
		case 23:
			tileAVX512x32_3(c)
		case 22:
			tileAVX512x32_2(c)
		case 21:
			tileAVX512x32_1(c)
		case 18:
			tileAVX512x16_8(c)
		case 17:
			tileAVX512x16_7(c)
		case 16:
			tileAVX512x16_6(c)
		case 15:
			tileAVX512x16_5(c)
		case 14:
			tileAVX512x16_4(c)
		case 13:
			tileAVX512x16_3(c)
		case 12:
			tileAVX512x16_2(c)
		case 11:
			tileAVX512x16_1(c)
		}
	default:
		tilePortable(rows, c)
	}
}

// grad runs the weight gradient kernel on so many inputs (1 to gradRows) and panels.
func grad(isa ISA, rows, panels int, c *gradCall) {
	switch isa {
	case AVX2:
		switch rows {
		case 6:
			gradAVX2x16_6(c)
		case 5:
			gradAVX2x16_5(c)
		case 4:
			gradAVX2x16_4(c)
		case 3:
			gradAVX2x16_3(c)
		case 2:
			gradAVX2x16_2(c)
		case 1:
			gradAVX2x16_1(c)
		}
	case AVX512:
		switch 10*panels + rows {
		case 26:
			gradAVX512x32_6(c)
		case 25:
			gradAVX512x32_5(c)
		case 24:
			gradAVX512x32_4(c)
		case 23:
			gradAVX512x32_3(c)
		case 22:
			gradAVX512x32_2(c)
		case 21:
			gradAVX512x32_1(c)
		case 16:
			gradAVX512x16_6(c)
		case 15:
			gradAVX512x16_5(c)
		case 14:
			gradAVX512x16_4(c)
		case 13:
			gradAVX512x16_3(c)
		case 12:
			gradAVX512x16_2(c)
		case 11:
			gradAVX512x16_1(c)
		}
	default:
		gradPortable(rows, c)
	}
}

// peak does n rounds of multiply-adds and returns the number of operations.
func peak(isa ISA, n int) float64 {
	switch isa {
	case AVX2:
		peakAVX2(n)
		return float64(n) * 48 * 8 * 2
	case AVX512:
		peakAVX512(n)
		return float64(n) * 48 * 16 * 2
	}
	return peakPortable(n)
}

// triad sets dst = a + b*s; len(dst) is a multiple of 64.
func triad(isa ISA, dst, a, b []float32, s float32) {
	switch isa {
	case AVX2:
		triadAVX2(&dst[0], &a[0], &b[0], s, len(dst))
	case AVX512:
		triadAVX512(&dst[0], &a[0], &b[0], s, len(dst))
	default:
		triadPortable(dst, a, b, s)
	}
}

// depthwiseTile runs the depthwise kernel on 6 pixels and 16 channels, if there
// is one.
func depthwiseTile(isa ISA, c *tileCall) bool {
	switch isa {
	case AVX2:
		depthwiseAVX2x16(c)
	case AVX512:
		depthwiseAVX512x16(c)
	default:
		return false
	}
	return true
}

// depthwiseGradTile runs the depthwise weight gradient kernel on so many taps
// (1 to gradRows) and 16 channels.
func depthwiseGradTile(isa ISA, rows int, c *gradCall) {
	if isa == AVX512 {
		switch rows {
		case 6:
			depthwiseGradAVX512x16_6(c)
		case 5:
			depthwiseGradAVX512x16_5(c)
		case 4:
			depthwiseGradAVX512x16_4(c)
		case 3:
			depthwiseGradAVX512x16_3(c)
		case 2:
			depthwiseGradAVX512x16_2(c)
		case 1:
			depthwiseGradAVX512x16_1(c)
		}
		return
	}
	switch rows {
	case 6:
		depthwiseGradAVX2x16_6(c)
	case 5:
		depthwiseGradAVX2x16_5(c)
	case 4:
		depthwiseGradAVX2x16_4(c)
	case 3:
		depthwiseGradAVX2x16_3(c)
	case 2:
		depthwiseGradAVX2x16_2(c)
	case 1:
		depthwiseGradAVX2x16_1(c)
	}
}

// winogradInput transforms the inputs of one tile.
func winogradInput(isa ISA, c *winogradCall) {
	switch isa {
	case AVX2:
		winogradInputAVX2x16(c)
	case AVX512:
		winogradInputAVX512x16(c)
	default:
		winogradInputPortable(c)
	}
}

// winogradOutput transforms the sums of one tile.
func winogradOutput(isa ISA, c *winogradCall) {
	switch {
	case isa == AVX2 && c.add == nil:
		winogradOutputAVX2x16(c)
	case isa == AVX2:
		winogradOutputAddAVX2x16(c)
	case isa == AVX512 && c.add == nil:
		winogradOutputAVX512x16(c)
	case isa == AVX512:
		winogradOutputAddAVX512x16(c)
	default:
		winogradOutputPortable(c)
	}
}

// winogradWeights transforms the weights of c.n inputs and 16 channels.
func winogradWeights(isa ISA, c *winogradCall) {
	switch isa {
	case AVX2:
		winogradWeightsAVX2x16(c)
	case AVX512:
		winogradWeightsAVX512x16(c)
	default:
		winogradWeightsPortable(c)
	}
}
