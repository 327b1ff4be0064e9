package convert_test

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/convert"
)

// Samples leave as soon as the network is certain: at most 2 % of them with
// another answer than after all timesteps.
func ExampleExitThresholds() {
	ctx := context.Background()
	res, err := convert.Convert(ctx, nil, trained(), samples(256), convert.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	net, err := res.Network()
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := convert.DefaultExit()
	cfg.Risk = 0.02
	all := samples(2000) // those that thresholds are found on must be new to the network
	policy, err := convert.ExitThresholds(ctx, nil, net, all.Rows(256, 1500), nil, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := net.RunSteps(ctx, nil, all.Rows(1500, 2000), policy.Rule())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("bound within the risk:", policy.Bound <= cfg.Risk)
	fmt.Println("less than half of the timesteps:", out.MeanExit() < float64(policy.Timesteps)/2)
	// Output:
	// bound within the risk: true
	// less than half of the timesteps: true
}
