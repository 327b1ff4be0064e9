// Command gemm generates the assembly of the convolutions and matrix products
// of the kernel package, for AVX2 and AVX-512 from the same code:
//
//	go run ./gemm -out ../gemm_amd64.s -stubs ../gemm_stubs_amd64.go -pkg kernel
//
// See generate.sh for the whole and interp_test.go for how the AVX-512
// versions are tested on machines that cannot run them.
package main

import (
	"flag"
	"os"

	"github.com/mmcloughlin/avo/build"
)

func main() {
	set := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	flags := build.NewFlags(set) // the default set has those of avo's global context
	if err := set.Parse(os.Args[1:]); err != nil {
		os.Exit(2)
	}
	c := build.NewContext()
	generate(c)
	os.Exit(build.Main(flags.Config(), c))
}

// generate emits all functions.
func generate(c *build.Context) {
	c.ConstraintExpr("amd64,!noasm")
	for _, t := range targets {
		for rows := 1; rows <= t.rows; rows++ {
			tile(c, t, rows)
		}
	}
	for _, t := range targets {
		for rows := 1; rows <= gradRows; rows++ {
			grad(c, t, rows)
		}
	}
	for _, t := range targets {
		if t.panels == 1 {
			depthwise(c, t)
			for rows := 1; rows <= gradRows; rows++ {
				depthwiseGrad(c, t, rows)
			}
			winogradInput(c, t)
			winogradOutput(c, t, false)
			winogradOutput(c, t, true)
			winogradWeights(c, t)
			peak(c, t)
			triad(c, t)
		}
	}
}
