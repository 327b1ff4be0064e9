//go:build !amd64 || noasm

package kernel

func maxWindowVec(_ []float32, _ []int32, _ []float32, _ int, _ window) int { return 0 }
func avgWindowVec(_, _ []float32, _ int, _ window, _ float32) int           { return 0 }
func sumWindowCountsVec(_ []float32, _ []uint8, _ int, _ window) int        { return 0 }
func maxWindowCountsVec(_ []uint8, _, _ []int32, _ int, _ window) int       { return 0 }
