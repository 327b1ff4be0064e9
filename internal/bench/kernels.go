package bench

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/internal/random"
)

// A Kernel is one measured operation.
type Kernel struct {
	Name string `json:"name"` // such as "conv 3x3, 64 channels, 32x32"
	Op   string `json:"op"`   // forward, backward-input or backward-weight, each also with " (Winograd)", or fire
	Times
	// GFLOPS is the rate of the median call, the operations being those of the
	// formula, multiplications with padding included; Peak is its share of the
	// measured peak. Best and BestPeak are those of the processor time of the
	// best call, which other programs on the machine do not add to.
	GFLOPS   float64 `json:"gflops,omitempty"`
	Peak     float64 `json:"peak,omitempty"`
	Best     float64 `json:"gflops_best,omitempty"`
	BestPeak float64 `json:"peak_best,omitempty"`
	// Updates is the rate of neurons, 10^9 per second, and GBps the memory that
	// they move: only for fire.
	Updates float64 `json:"gupdates,omitempty"`
	GBps    float64 `json:"gbps,omitempty"`
}

// kernelRuns is how often a kernel runs at least: a call takes milliseconds.
const kernelRuns = 15

// ConvBatch is the batch size of Convolutions.
const ConvBatch = 32

// ConvShapes are the 3x3 convolutions of a network for 32x32 images, stride 1:
// channels, the same in and out, and height and width.
var ConvShapes = [][2]int{{64, 32}, {128, 16}, {256, 8}, {512, 4}}

// Convolutions measures the convolutions of ConvShapes: forward and both parts
// of the backward pass. They have equally many operations; those by Winograd's
// algorithm are counted as if they had too.
func Convolutions(ctx context.Context, pool *parallel.Pool, m Machine, runs int) ([]Kernel, error) {
	var list []Kernel
	for _, shape := range ConvShapes {
		c, size := shape[0], shape[1]
		s := kernel.ConvShape{N: ConvBatch, H: size, W: size, Cin: c, KH: 3, KW: 3, Cout: c, StrideH: 1, StrideW: 1,
			PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1, DilH: 1, DilW: 1, Groups: 1}
		x, w, y := noise(s.InLen(), 1), noise(s.WeightLen(), 2), noise(s.OutLen(), 3)
		f, b := kernel.NewFilter(s, w), kernel.NewBackwardFilter(s, w)
		wf, wb := kernel.NewWinogradFilter(s, w), kernel.NewWinogradBackwardFilter(s, w)
		for _, op := range []struct {
			name string
			run  func()
		}{
			{"forward", func() { kernel.Conv(pool, s, x, f, kernel.Epilogue{}, y) }},
			{"backward-input", func() { kernel.ConvBackwardInput(pool, s, y, b, x) }},
			{"backward-weight", func() { kernel.ConvBackwardWeight(pool, s, x, y, w) }},
			{"forward (Winograd)", func() { kernel.ConvWinograd(pool, s, x, wf, kernel.Epilogue{}, y) }},
			{"backward-input (Winograd)", func() { kernel.ConvWinogradBackwardInput(pool, s, y, wb, x) }},
		} {
			// The passes overwrite each other's inputs, whose values must not
			// grow: the time of a product does not depend on them unless they
			// overflow.
			copy(x, noise(len(x), 1))
			copy(y, noise(len(y), 3))
			t, err := Time(ctx, max(runs, kernelRuns), func() error { op.run(); return nil })
			if err != nil {
				return nil, err
			}
			k := Kernel{Name: fmt.Sprintf("conv 3x3, %d channels, %dx%d", c, size, size), Op: op.name, Times: t}
			operations := 2 * float64(s.MACs()) * float64(s.N)
			k.GFLOPS = rate(operations, t.Median)
			k.Peak = k.GFLOPS / m.PeakGFLOPS
			best := t.Min
			if t.CPU > 0 {
				best = t.CPU / float64(m.Workers)
			}
			k.Best = rate(operations, best)
			k.BestPeak = k.Best / m.PeakGFLOPS
			list = append(list, k)
		}
	}
	return list, nil
}

// neuronBytes is what an update moves: the potential read and written, the
// current read, the count written.
const neuronBytes = 4 + 4 + 4 + 1

// Neurons measures the update of neurons in one thread, in the cache, where
// networks run it, and in memory.
func Neurons(ctx context.Context, runs int) ([]Kernel, error) {
	var list []Kernel
	for _, set := range []struct {
		name    string
		neurons int
	}{{"neurons in the cache", 1 << 13}, {"neurons in memory", 1 << 22}} {
		v, current, counts := noise(set.neurons, 4), noise(set.neurons, 5), make([]uint8, set.neurons)
		repeat := max(1, (1<<22)/set.neurons)
		t, err := Time(ctx, max(runs, kernelRuns), func() error {
			for range repeat {
				kernel.Fire(counts, v, current, 0, 4)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		k := Kernel{Name: set.name, Op: "fire", Times: t}
		k.Updates = rate(float64(set.neurons*repeat), t.Median)
		k.GBps = k.Updates * neuronBytes
		list = append(list, k)
	}
	return list, nil
}

// noise returns n numbers from -1 to 1.
func noise(n int, stream uint64) []float32 {
	r := random.New(1, "bench", stream)
	x := make([]float32, n)
	for i := range x {
		x[i] = 2*r.Float32() - 1
	}
	return x
}
