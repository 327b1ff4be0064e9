package convert_test

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/convert"
)

// A burst limit for every layer, then thresholds as high as the outputs bear:
// the order of the paper, each stage a function of the one before.
func ExampleSearchLimits() {
	ctx := context.Background()
	x := samples(256)
	g, err := convert.Prepare(trained())
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := convert.Default()
	cfg.Timesteps, cfg.MaxSpike = 4, 2

	search := convert.DefaultSearch()
	search.InitialSpike = 4 // limits 1 to 4, at the cost of 2 in every layer
	found, err := convert.SearchLimits(ctx, nil, g, x, cfg, search)
	if err != nil {
		fmt.Println(err)
		return
	}
	snn, err := convert.Calibrate(ctx, nil, g, found.Neurons, x, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}

	compress := convert.DefaultCompress()
	compress.Ratio = 1.2 // the summed sensitivity may grow by a fifth
	less, err := convert.Compress(ctx, nil, g, snn, x, cfg, compress)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(found.Limits), "limits, within the budget:", found.Predicted.Cost <= found.Budget)
	fmt.Println("fewer synaptic operations:", less.After.Cost < less.Before.Cost)
	// Output:
	// 2 limits, within the budget: true
	// fewer synaptic operations: true
}
