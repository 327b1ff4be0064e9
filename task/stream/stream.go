// Package stream classifies a recording of an event camera while it is read: a
// window slides over time, the events in it become the array that a network
// takes, and every window gets a decision.
//
//	cfg := stream.Config{WindowUs: 100_000, StepUs: 20_000, Width: 128, Height: 128,
//		Represent: represent.Config{Size: 64}}
//	sum, err := stream.Run(ctx, recording, cfg, classify, func(d *stream.Decision) error {
//		fmt.Println(d.StartUs, d.EndUs, d.Logits)
//		return nil
//	})
//
// Memory does not depend on the length of the recording, nor on the number of
// events in a window: events are counted into slices of time as they come, and
// a bin of a window is a sum of slices. It reads as fast as the source gives
// and as the network takes, and holds the source back otherwise.
//
// It knows neither files nor networks: an events.Reader goes in, and classify is
// called with arrays. A recording that lies in memory as a whole is a matter for
// package represent.
package stream

import (
	"errors"
	"fmt"
	"math"

	"github.com/adafire/adafire/events/represent"
)

// ErrUnsupported marks representations that cannot be made window by window.
var ErrUnsupported = errors.New("unsupported in a stream")

// Config says how a recording is cut into windows. Window k has the times
// k*StepUs <= t < k*StepUs+WindowUs after the first event.
type Config struct {
	WindowUs int64 // length of a window, 1..1e12 µs
	StepUs   int64 // from the start of a window to that of the next, 1..1e12 µs; at least WindowUs/1000

	// Represent is what a window becomes. The bins of a voxel grid divide the
	// window, not the time from its first to its last event, as package
	// represent does for a whole recording: the two agree when events come at
	// both ends. "frames" (equal numbers of events) is ErrUnsupported.
	Represent represent.Config

	Width, Height int // sensor, pixels, 1..65536

	// MinEvents is the least number of events with which a window is
	// classified; the others are reported without a decision. 0 classifies
	// empty windows too.
	MinEvents int64

	// Chunk is how many events are asked of the reader at once; 0 means 4096.
	// Decisions wait until a chunk is full, so that slow sources want few.
	Chunk int
}

const (
	maxTimeUs    = 1e12    // of windows and steps: eleven days
	maxOverlap   = 1000    // windows that an event may belong to
	maxSliceRoom = 2 << 30 // bytes
	defaultChunk = 4096
)

// Validate reports fields out of range.
func (c *Config) Validate() error {
	if err := c.Represent.Validate(); err != nil {
		return err
	}
	switch {
	case c.WindowUs < 1 || c.WindowUs > maxTimeUs:
		return fmt.Errorf("window of %d µs: want 1 to %d", c.WindowUs, int64(maxTimeUs))
	case c.StepUs < 1 || c.StepUs > maxTimeUs:
		return fmt.Errorf("step of %d µs: want 1 to %d", c.StepUs, int64(maxTimeUs))
	case (c.WindowUs-1)/c.StepUs >= maxOverlap:
		return fmt.Errorf("step of %d µs with windows of %d µs: want at least a thousandth of the window", c.StepUs, c.WindowUs)
	case c.Width < 1 || c.Height < 1 || c.Width > 1<<16 || c.Height > 1<<16:
		return fmt.Errorf("sensor of %dx%d: want 1 to 65536 pixels a side", c.Width, c.Height)
	case c.MinEvents < 0:
		return fmt.Errorf("at least %d events: want 0 or more", c.MinEvents)
	case c.Chunk < 0 || c.Chunk > 1<<20:
		return fmt.Errorf("chunks of %d events: want 0 to %d", c.Chunk, 1<<20)
	case c.Represent.WithDefaults().Kind == represent.ByCount:
		return fmt.Errorf("representation %s divides events by number, which is known only at the end of a window: %w", represent.ByCount, ErrUnsupported)
	}
	return nil
}

// edges returns where the bins of a window begin and, last, where the last one
// ends, µs from the start of the window.
func (c *Config) edges() []int64 {
	r := c.Represent.WithDefaults()
	w, bins := c.WindowUs, r.Bins
	edges := make([]int64, 0, bins+1)
	switch {
	case r.Kind == represent.ByTime:
		length := r.WindowUs
		if length == 0 {
			length = (w-1)/int64(bins) + 1
		}
		for i := range bins + 1 {
			if i > 0 && length > w/int64(i) {
				edges = append(edges, w)
				continue
			}
			edges = append(edges, int64(i)*length)
		}
		return edges
	case r.Kind != represent.Voxel:
		return append(edges, 0, w)
	}
	for i := range bins {
		edges = append(edges, firstTime(w, bins, i, r.Time == represent.Max.String()))
	}
	return append(edges, w)
}

// firstTime returns the first time of bin i of a voxel grid over a window of w
// microseconds, found with the arithmetic of represent.VoxelGrid.
func firstTime(w int64, bins, i int, fromZero bool) int64 {
	reached := func(d int64) bool {
		if fromZero {
			return float32(d)/float32(w) > float32(float64(i)/float64(bins))
		}
		return math.Floor(float64(bins)*(float64(d)/float64(w))) >= float64(i)
	}
	lo, hi := int64(0), w // reached at hi, if anywhere
	for lo < hi {
		mid := lo + (hi-lo)/2
		if reached(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}
