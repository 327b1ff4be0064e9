package represent

import (
	"fmt"
	"math"

	"github.com/adafire/adafire/events"
)

// FramesByCount counts events into frames of equal numbers of events: frame i
// takes the events floor(i*n/frames) to floor((i+1)*n/frames)-1 of n, in the
// order in which they stand. dst is cleared first: [height, width, 2*frames],
// channel p*frames + frame. frames is 1 to 1024.
func FramesByCount(dst []float32, height, width, frames int, ev []events.Event) (Lost, error) {
	if err := checkSize(dst, height, width, frames); err != nil {
		return Lost{}, err
	}
	clear(dst)
	var lost Lost
	h, w, c := uint(height), uint(width), uint(2*frames)
	for frame := range frames {
		piece := ev[frame*len(ev)/frames : (frame+1)*len(ev)/frames]
		for i := range piece {
			e := &piece[i]
			x, y := uint(e.X), uint(e.Y)
			if x >= w || y >= h || e.P > 1 {
				lost.Outside++
				continue
			}
			dst[(y*w+x)*c+uint(e.P)*uint(frames)+uint(frame)]++
		}
	}
	return lost, nil
}

// FramesByTime counts events into frames of windowUs microseconds from the
// earliest event on: frame i takes tmin + i*windowUs <= t < tmin +
// (i+1)*windowUs, later events are untimed. windowUs 0 is the shortest window
// with which the frames reach to the last event. dst is cleared first: [height,
// width, 2*frames], channel p*frames + frame. frames is 1 to 1024.
func FramesByTime(dst []float32, height, width, frames int, windowUs int64, ev []events.Event) (Lost, error) {
	if err := checkSize(dst, height, width, frames); err != nil {
		return Lost{}, err
	}
	if windowUs < 0 {
		return Lost{}, fmt.Errorf("frames of %d µs: want 0 or more", windowUs)
	}
	clear(dst)
	if len(ev) == 0 {
		return Lost{}, nil
	}
	tmin, tmax := timeRange(ev)
	span := uint64(tmax) - uint64(tmin)
	window := uint64(windowUs)
	if window == 0 {
		window = span/uint64(frames) + 1 // the last event must come before the end
	}
	var lost Lost
	h, w, c := uint(height), uint(width), uint(2*frames)
	var frame, from uint64 // offset of the current frame
	for i := range ev {
		e := &ev[i]
		x, y := uint(e.X), uint(e.Y)
		if x >= w || y >= h || e.P > 1 {
			lost.Outside++
			continue
		}
		d := uint64(e.T) - uint64(tmin)
		if d < from || d-from >= window {
			frame = d / window
			from = frame * window
		}
		if frame >= uint64(frames) {
			lost.Untimed++
			continue
		}
		dst[(y*w+x)*c+uint(e.P)*uint(frames)+uint(frame)]++
	}
	return lost, nil
}

// CountImage counts the events of each polarity. dst is cleared first: [height,
// width, 2].
func CountImage(dst []float32, height, width int, ev []events.Event) (Lost, error) {
	return FramesByCount(dst, height, width, 1, ev)
}

// TimeSurface writes exp(-(tmax-t)/decayUs), t being the time of the latest
// event of a pixel and polarity and tmax that of the latest event of all, and
// 0 where there was none. dst: [height, width, 2]. decayUs is above 0.
//
// Source: Lagorce et al., HOTS, TPAMI 2017, eq. 2.
func TimeSurface(dst []float32, height, width int, decayUs float64, ev []events.Event) (Lost, error) {
	if err := checkSize(dst, height, width, 1); err != nil {
		return Lost{}, err
	}
	if !(decayUs > 0) || math.IsInf(decayUs, 0) {
		return Lost{}, fmt.Errorf("time surface: decay of %g µs: want above 0", decayUs)
	}
	clear(dst)
	if len(ev) == 0 {
		return Lost{}, nil
	}
	var lost Lost
	_, tmax := timeRange(ev)
	h, w := uint(height), uint(width)
	for i := range ev {
		e := &ev[i]
		x, y := uint(e.X), uint(e.Y)
		if x >= w || y >= h || e.P > 1 {
			lost.Outside++
			continue
		}
		// The exponential grows with t: the largest value is that of the
		// latest event, also when events are out of order.
		age := float64(uint64(tmax) - uint64(e.T))
		at := (y*w+x)*2 + uint(e.P)
		dst[at] = max(dst[at], float32(math.Exp(-age/decayUs)))
	}
	return lost, nil
}
