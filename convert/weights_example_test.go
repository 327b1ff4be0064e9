package convert_test

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/convert"
)

// Few timesteps and single spikes leave much to repair: every layer is fitted
// to what the spiking layers before it deliver, then the readout. The first one
// sees the input as it is and stays.
func ExampleRepair() {
	ctx := context.Background()
	cfg := convert.Default()
	cfg.Timesteps, cfg.MaxSpike, cfg.Calibration = 2, 1, convert.CalibrationNone
	x := samples(512)
	res, err := convert.Convert(ctx, nil, trained(), x, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	original := res.Graph
	var layers []convert.LayerFit
	res.Graph, layers, err = convert.Repair(ctx, nil, original, res.Graph, res.SNN, x, convert.DefaultRepair())
	if err != nil {
		fmt.Println(err)
		return
	}
	g, readout, err := convert.RepairReadout(ctx, nil, original, res.Graph, res.SNN, x, convert.DefaultRepair())
	if err != nil {
		fmt.Println(err)
		return
	}
	res.Graph = g
	for _, l := range append(layers, *readout) {
		fmt.Printf("%s: %d samples, %d held out, better: %v\n", l.Driver, l.Samples, l.HeldOut, l.After < l.Before)
	}
	// Output:
	// fc1: 512 samples, 64 held out, better: false
	// fc2: 512 samples, 64 held out, better: true
	// fc3: 512 samples, 64 held out, better: true
}
