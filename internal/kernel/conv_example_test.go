package kernel_test

import (
	"fmt"

	"github.com/adafire/adafire/internal/kernel"
)

// A 3x3 box filter over a 4x4 image of ones counts the pixels under its window;
// bias and ReLU are part of the call.
func ExampleConv() {
	s := kernel.ConvShape{N: 1, H: 4, W: 4, Cin: 1, KH: 3, KW: 3, Cout: 1, StrideH: 1, StrideW: 1,
		PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1, DilH: 1, DilW: 1, Groups: 1}
	ones := make([]float32, 16)
	for i := range ones {
		ones[i] = 1
	}
	f := kernel.NewFilter(s, ones[:s.WeightLen()])
	y := make([]float32, s.OutLen())
	kernel.Conv(nil, s, ones, f, kernel.Epilogue{Bias: []float32{-4}, Act: kernel.ActReLU}, y)
	for row := range s.OutH() {
		fmt.Println(y[row*4 : row*4+4])
	}
	// Output:
	// [0 2 2 0]
	// [2 5 5 2]
	// [2 5 5 2]
	// [0 2 2 0]
}
