package snn

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
	"pgregory.net/rapid"
)

// drawNetwork makes a random network of some blocks, with a config and samples.
func drawNetwork(t *rapid.T, exact bool) (*graph.Graph, *Config, *tensor.Tensor) {
	b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), exact: exact}
	// 10 x 10 pixels take the path of rows, less that of batches.
	side := rapid.SampledFrom([]int{4, 5, 10}).Draw(t, "side")
	input := b.g.Input("input", graph.Shape{side, side, 2})
	input.Shape = graph.Shape{side, side, 2}
	x := b.relu(b.conv(input, 3, 4, 1, 1, true))
	for range rapid.IntRange(0, 3).Draw(t, "blocks") {
		if h, w, _ := x.Shape.HWC(); min(h, w) < 2 {
			break // too small for a pool
		}
		x = blocks[rapid.SampledFrom(slices.Sorted(maps.Keys(blocks))).Draw(t, "block")](b, input, x)
	}
	x = heads[rapid.SampledFrom(slices.Sorted(maps.Keys(heads))).Draw(t, "head")](b, x)
	b.g.Outputs = []*graph.Node{x}
	graph.RemoveDead(b.g)
	if err := b.g.Infer(); err != nil {
		t.Fatal(err)
	}
	cfg := b.config(rapid.SampledFrom([]int{1, 2, 4, 8}).Draw(t, "timesteps"),
		rapid.SampledFrom([]Shift{ShiftInitial, ShiftPerStep, ShiftNone}).Draw(t, "shift"),
		rapid.SampledFrom([]MaxPool{MaxPoolExact, MaxPoolPerStep}).Draw(t, "max pool"))
	samples := rapid.IntRange(1, 3).Draw(t, "samples")
	return b.g, cfg, b.tensor(2, append([]int{samples}, input.Shape...)...)
}

// TestMatchesReference: on numbers that float32 holds exactly, every spike is
// that of the naive simulator.
func TestMatchesReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawNetwork(t, true)
		compareWithReference(t, g, cfg, x, 0)
	})
}

// TestEveryBlockMatchesReference makes sure that no block is left to chance, on
// both schedules.
func TestEveryBlockMatchesReference(t *testing.T) {
	for name, block := range blocks {
		for _, side := range []int{4, 10} {
			for _, exact := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%d/exact=%v", name, side, exact), func(t *testing.T) {
					t.Parallel()
					b := &grower{g: graph.New(), rng: rand.New(rand.NewPCG(uint64(side), 9)), exact: exact}
					input := b.g.Input("input", graph.Shape{side, side, 2})
					input.Shape = graph.Shape{side, side, 2}
					x := block(b, input, b.relu(b.conv(input, 3, 4, 1, 1, true)))
					b.g.Outputs = []*graph.Node{heads["flatten"](b, block(b, input, x))}
					share := 0.0
					if !exact {
						share = 0.001 // a potential within rounding of an integer (algorithms.md 1.4)
					}
					compareWithReference(t, b.g, b.config(4, ShiftInitial, MaxPoolExact), b.tensor(2, 2, side, side, 2), share)
				})
			}
		}
	}
}
