package ann

import (
	"runtime/debug"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/tensor"
)

// TestNetworksAllocateOnlyTheOutput: the number of layers does not matter.
func TestNetworksAllocateOnlyTheOutput(t *testing.T) {
	if raceDetector {
		t.Skip("a sync.Pool forgets at random under the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collection empties the kernels' scratch pools
	for _, arch := range []string{"mobilenetv2", "resnet20"} {
		shape := graph.Shape{32, 32, 3}
		g, err := models.Build(models.Config{Arch: arch, Input: shape, Classes: 10, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		ex, err := New(g, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := tensor.New(append([]int{2}, shape...)...)
		run := func() {
			if _, err := ex.ForwardAll(x); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if n := testing.AllocsPerRun(5, run); n > 8 {
			t.Errorf("%s: %g allocations per call of %d nodes, want those of the output", arch, n, len(g.Nodes))
		}
	}
}
