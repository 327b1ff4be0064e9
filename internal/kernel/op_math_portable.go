//go:build !amd64 || noasm

package kernel

import "math"

func expVec(_, _ []float32) int                 { return 0 }
func sigmoidVec(_, _ []float32) int             { return 0 }
func swishVec(_, _ []float32, _ float32) int    { return 0 }
func geluVec(_, _ []float32) int                { return 0 }
func erfVec(_, _ []float32) int                 { return 0 }
func tanhVec(_, _ []float32) int                { return 0 }
func subtractVec(_, _ []float32, _ float32) int { return 0 }
func maxValueVec(_ []float32) (int, float32)    { return 0, float32(math.Inf(-1)) }
