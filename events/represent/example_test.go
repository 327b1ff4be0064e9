package represent_test

import (
	"fmt"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/represent"
)

// Three events on a sensor of 2x2 pixels as a voxel grid of two bins.
func Example() {
	recording := []events.Event{{T: 0, X: 0, Y: 0, P: 1}, {T: 400, X: 1, Y: 0, P: 0}, {T: 1000, X: 1, Y: 1, P: 1}}
	tr, err := represent.New(represent.Config{Bins: 2}, 2, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	x := make([]float32, tr.Len())
	lost, err := tr.Fill(x, recording)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tr.Shape(), lost.Outside)
	for pixel := range 4 {
		fmt.Println("OFF", x[4*pixel:4*pixel+2], "ON", x[4*pixel+2:4*pixel+4])
	}
	// Output:
	// [2 2 4] 0
	// OFF [0 0] ON [1 0]
	// OFF [1 0] ON [0 0]
	// OFF [0 0] ON [0 0]
	// OFF [0 0] ON [0 1]
}
