package stream

import (
	"slices"

	"github.com/adafire/adafire/events/represent"
)

// exactFloats bounds the whole numbers that a float32 tells apart.
const exactFloats = 1 << 24

// mapPixels finds which pixels of the sensor the array shows, and where: with
// nearest neighbour these are few of a large sensor, and the others need no
// memory. Where pixels go is asked of represent.Transform itself, by resizing a
// grid of their numbers.
func (s *slicer) mapPixels() error {
	pixels := s.cfg.Width * s.cfg.Height
	s.cells = make([]int32, pixels)
	if s.transform.Config().Resize != represent.Nearest || pixels >= exactFloats {
		for i := range s.cells {
			s.cells[i] = int32(i)
		}
		s.counters = 2 * pixels
		return nil
	}
	rc := s.cfg.Represent
	rc.Kind = represent.Histogram // two channels
	tr, err := represent.New(rc, s.cfg.Height, s.cfg.Width)
	if err != nil {
		return err
	}
	numbers, out := make([]float32, 2*pixels), make([]float32, tr.Len())
	for i := range pixels {
		numbers[2*i] = float32(i + 1) // 0 is the padding
	}
	if err := tr.Resize(out, numbers); err != nil {
		return err
	}
	shows := make([]int32, 0, len(out)/2) // pixels of the array, by the pixel of the sensor
	for i := range len(out) / 2 {
		if out[2*i] > 0 {
			shows = append(shows, int32(i))
		}
	}
	slices.SortStableFunc(shows, func(a, b int32) int { return int(out[2*a]) - int(out[2*b]) })
	for i := range s.cells {
		s.cells[i] = -1
	}
	s.shown, s.from = shows, []int32{}
	for i, pixel := range shows {
		source := int(out[2*pixel]) - 1
		if s.cells[source] < 0 {
			s.cells[source] = int32(len(s.from))
			s.from = append(s.from, int32(i))
		}
	}
	s.counters = 2 * len(s.from)
	s.from = append(s.from, int32(len(shows)))
	return nil
}
