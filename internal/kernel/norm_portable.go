//go:build !amd64 || noasm

package kernel

func columnMomentsVec(_ []float64, _, _ []float32) int                   { return 0 }
func affineRowsVec(_, _, _, _ []float32, _, _ float32) int               { return 0 }
func columnGradSumsVec(_ []float64, _, _, _, _ []float32, _ float32) int { return 0 }
func normGradRowsVec(_, _, _, _, _, _ []float32, _ float32) int          { return 0 }
