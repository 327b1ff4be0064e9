// Package bench measures how fast networks run on this machine, and against
// what the machine could do at best.
//
//	m := bench.MeasureMachine(pool)
//	k, err := bench.Convolutions(ctx, pool, m, 5)
//	n, err := bench.Measure(ctx, pool, m, network, bench.Options{Runs: 5, Timesteps: 8, MaxSpike: 4})
//
// Every figure is taken after a warm-up call and given as minimum, median and
// maximum of several calls: on a machine that others use too, the minimum says
// what the code can do and the distance to the maximum how far to trust it.
// Processor time stands beside wall time, since waiting for a core does not add
// to it.
package bench

import (
	"context"
	"slices"
	"time"
)

// Times are the durations of repeated calls, in milliseconds.
type Times struct {
	Min    float64 `json:"ms_min"`
	Median float64 `json:"ms_median"`
	Max    float64 `json:"ms_max"`
	// CPU is the processor time of the call that took least of it, all threads
	// of the process together; 0 where the system does not tell.
	CPU  float64 `json:"cpu_ms_min,omitempty"`
	Runs int     `json:"runs"`
}

// Time calls fn once to warm up and then runs times (at least once). It stops
// at the first error and when ctx ends.
func Time(ctx context.Context, runs int, fn func() error) (Times, error) {
	t, err := TimeInTurn(ctx, runs, []func() error{fn})
	if err != nil {
		return Times{}, err
	}
	return t[0], nil
}

// TimeInTurn is Time for several functions, which take turns: what else the
// machine does meanwhile falls on all of them.
func TimeInTurn(ctx context.Context, runs int, fns []func() error) ([]Times, error) {
	runs = max(runs, 1)
	wall, cpu := make([][]float64, len(fns)), make([][]float64, len(fns))
	for i := -1; i < runs; i++ {
		for k, fn := range fns {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			c, begin := processTime(), time.Now()
			if err := fn(); err != nil {
				return nil, err
			}
			if i >= 0 {
				wall[k] = append(wall[k], milliseconds(time.Since(begin)))
				cpu[k] = append(cpu[k], milliseconds(processTime()-c))
			}
		}
	}
	times := make([]Times, len(fns))
	for k := range times {
		times[k] = summarise(wall[k], cpu[k])
	}
	return times, nil
}

// summarise sorts wall.
func summarise(wall, cpu []float64) Times {
	slices.Sort(wall)
	n := len(wall)
	return Times{Min: wall[0], Median: (wall[(n-1)/2] + wall[n/2]) / 2, Max: wall[n-1], CPU: slices.Min(cpu), Runs: n}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// rate is operations per millisecond in 10^9 per second; 0 without a time.
func rate(operations, ms float64) float64 {
	if ms <= 0 {
		return 0
	}
	return operations / ms / 1e6
}
