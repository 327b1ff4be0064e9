//go:build !amd64 || noasm

package kernel

func sgdPlainVec(_, _ []float32, _, _ float32) int          { return 0 }
func sgdVec(_, _, _ []float32, _, _, _ float32, _ bool) int { return 0 }
func adamWVec(_, _, _, _ []float32, _ *adamWScalars) int    { return 0 }
func emaVec(_, _ []float32, _ float32) int                  { return 0 }
