package bench

import (
	"sync"

	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A Machine is what the processor can do at best with the kernels in use.
type Machine struct {
	CPU     string `json:"cpu"` // the instruction set that kernels use: avx512, avx2 or portable
	Model   string `json:"model,omitempty"`
	Workers int    `json:"workers"`
	// Multiply-adds on registers, 10^9 operations per second: of all workers at
	// once, and of one core.
	PeakGFLOPS     float64 `json:"peak_gflops"`
	PeakGFLOPSCore float64 `json:"peak_gflops_core"`
	// Triad dst = a + b*s in memory, 10^9 bytes per second: of all workers at
	// once, and of one core in memory and in its caches.
	PeakGBps     float64 `json:"peak_gbps"`
	PeakGBpsCore float64 `json:"peak_gbps_core"`
	PeakGBpsL2   float64 `json:"peak_gbps_l2"`
	PeakGBpsL1   float64 `json:"peak_gbps_l1"`
}

// Working sets of the triad, in bytes: well inside the caches that every
// processor of the last ten years has, and well beyond them.
const (
	setL1     = 24 << 10
	setL2     = 192 << 10
	setMemory = 96 << 20
)

// MeasureMachine measures the limits, in half a second for each of them at
// most. The pool's workers must be idle.
func MeasureMachine(pool *parallel.Pool) Machine {
	m := Machine{CPU: kernel.Active().String(), Workers: pool.Workers()}
	m.PeakGFLOPSCore = kernel.PeakGFLOPS()
	m.PeakGFLOPS = together(m.Workers, kernel.PeakGFLOPS)
	m.PeakGBpsL1 = kernel.PeakGBps(setL1)
	m.PeakGBpsL2 = kernel.PeakGBps(setL2)
	m.PeakGBpsCore = kernel.PeakGBps(setMemory)
	m.PeakGBps = together(m.Workers, func() float64 { return kernel.PeakGBps(setMemory) })
	return m
}

// together is the sum of fn called by all workers at once.
func together(workers int, fn func() float64) float64 {
	rates := make([]float64, workers)
	var group sync.WaitGroup
	for i := range rates {
		group.Go(func() { rates[i] = fn() })
	}
	group.Wait()
	var sum float64
	for _, r := range rates {
		sum += r
	}
	return sum
}
