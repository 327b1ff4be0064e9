package kernel

import "math"

func expVec(_, _ []float32) int                 { return 0 }
func geluVec(_, _ []float32) int                { return 0 }
func maxValueVec(_ []float32) (int, float32)    { return 0, float32(math.Inf(-1)) }
func subtractVec(_, _ []float32, _ float32) int { return 0 }
