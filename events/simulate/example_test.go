package simulate_test

import (
	"fmt"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/simulate"
)

// A bright bar moves to the right by two pixels in 20 ms: ON events where
// it comes, OFF events where it goes.
func Example() {
	bar := simulate.Image{Width: 5, Height: 1, Pix: []float32{0, 0, 1, 0, 0}}
	cam, err := simulate.NewCamera(simulate.Config{Width: 5, Height: 1, ThresholdOn: 1, ThresholdOff: 1.1})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := cam.Record(simulate.Scene{Image: bar, Black: 0.2}, simulate.Path{{X: -1}, {TUs: 20_000, X: 1}}, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	all, err := events.ReadAll(s)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range all {
		fmt.Printf("%d µs: pixel %d, polarity %d\n", e.T, e.X, e.P)
	}
	// Output:
	// 4391 µs: pixel 2, polarity 1
	// 8162 µs: pixel 1, polarity 0
	// 14391 µs: pixel 3, polarity 1
}
