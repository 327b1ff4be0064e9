package augment_test

import (
	"fmt"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/augment"
	"github.com/adafire/adafire/internal/random"
)

// One named operation, and EventAugment, which draws its own.
func Example() {
	a := augment.NewEvents(4, 6, augment.EventsOptions{})
	recording := []events.Event{{T: 10, X: 0, Y: 1}, {T: 20, X: 2, Y: 3, P: 1}}
	mirrored, err := a.ApplyOperation("flip_along_x", 0, nil, recording)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(mirrored)

	const seed, epoch, sample = 1, 0, 5
	varied := a.Apply(random.New(seed, "augment", epoch, sample), mirrored)
	fmt.Println(len(varied) > 0)
	// Output:
	// [{10 5 1 0} {20 3 3 1}]
	// true
}
