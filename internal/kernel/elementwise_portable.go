//go:build !amd64 || noasm

package kernel

// Without assembly the portable loops start at element (or channel) 0.

func addVec(_, _, _ []float32) int                      { return 0 }
func subVec(_, _, _ []float32) int                      { return 0 }
func mulVec(_, _, _ []float32) int                      { return 0 }
func scaleVec(_, _ []float32, _ float32) int            { return 0 }
func axpyVec(_, _ []float32, _ float32) int             { return 0 }
func reluVec(_, _ []float32, _ float32) int             { return 0 }
func reluBackwardVec(_, _, _ []float32, _ float32) int  { return 0 }
func leakyVec(_, _, _ []float32, _ float32) int         { return 0 }
func countsToFloatVec(_ []float32, _ []uint8) int       { return 0 }
func maxAbsVec(_ []float32) (int, uint32)               { return 0, 0 }
func dotVec(_ *[lanes]float64, _, _ []float32) int      { return 0 }
func sumVec(_ *[lanes]float64, _ []float32) int         { return 0 }
func columnSumsVec(_ []float64, _ []float32, _ int) int { return 0 }
