package events

import "io"

// A Summary is what one pass over a recording finds out.
type Summary struct {
	Events   int64
	On       int64 // events that became brighter
	First    int64 // µs, the smallest time
	Last     int64 // µs, the largest time
	Back     int64 // events earlier than the one before
	Outside  int64 // events beyond the sensor, where its size is known
	Width    int   // pixels: the sensor's, or the largest coordinate plus one
	Height   int
	Known    bool // the size is the sensor's
	PeakRate float64
	Rate     []float64 // events per second in equal parts of the duration

	counts []int64 // per bin of width, from base
	base   int64
	width  int64
	last   int64
}

// rateBins bounds the bins that are counted in while the duration is not known:
// two neighbours are joined whenever it doubles.
const rateBins = 1024

// Summarise reads r to the end in constant memory. parts is the number of equal
// intervals of Rate, at least 1; fewer are returned for recordings shorter than
// that many bins. The summary of the events before an error is returned with it.
func Summarise(r Reader, parts int) (*Summary, error) {
	h := r.Header()
	s := &Summary{Width: h.Width, Height: h.Height, Known: h.Width > 0 && h.Height > 0}
	buf := make([]Event, 8192)
	var maxX, maxY uint16
	for {
		n, err := r.Read(buf)
		for i := range buf[:n] {
			e := &buf[i]
			if s.Events == 0 {
				s.First, s.Last, s.last = e.T, e.T, e.T
				s.base, s.width, s.counts = e.T, 1, make([]int64, rateBins)
			}
			s.Events++
			s.On += int64(e.P)
			if e.T < s.last {
				s.Back++
			}
			s.last = e.T
			s.First, s.Last = min(s.First, e.T), max(s.Last, e.T)
			maxX, maxY = max(maxX, e.X), max(maxY, e.Y)
			if s.Known && (int(e.X) >= s.Width || int(e.Y) >= s.Height) {
				s.Outside++
			}
			s.count(e.T)
		}
		if err != nil {
			if s.Events > 0 && !s.Known {
				s.Width, s.Height = int(maxX)+1, int(maxY)+1
			}
			s.rates(parts)
			if err == io.EOF {
				err = nil
			}
			return s, err
		}
	}
}

// count adds an event to its bin, widening the bins until it has one. A time
// before the first event's counts in the first bin.
func (s *Summary) count(t int64) {
	for t-s.base >= s.width*rateBins {
		for i := range rateBins / 2 {
			s.counts[i] = s.counts[2*i] + s.counts[2*i+1]
		}
		clear(s.counts[rateBins/2:])
		s.width *= 2
	}
	s.counts[max(0, (t-s.base)/s.width)]++
}

// rates turns bins into events per second.
func (s *Summary) rates(parts int) {
	if s.Events == 0 {
		return
	}
	used := int((s.Last-s.base)/s.width) + 1
	parts = min(max(parts, 1), used)
	for p := range parts {
		from, to := used*p/parts, used*(p+1)/parts
		sum := int64(0)
		for _, c := range s.counts[from:to] {
			sum += c
		}
		span := int64(to-from) * s.width
		if p == parts-1 { // the last bin reaches beyond the last event
			span = max(1, s.Last+1-(s.base+int64(from)*s.width))
		}
		rate := float64(sum) / float64(span) * 1e6
		s.Rate = append(s.Rate, rate)
		s.PeakRate = max(s.PeakRate, rate)
	}
}

// Duration returns the time from the first to the last event in microseconds.
func (s *Summary) Duration() int64 { return s.Last - s.First }

// MeanRate returns events per second, 0 for recordings without duration.
func (s *Summary) MeanRate() float64 {
	if s.Duration() == 0 {
		return 0
	}
	return float64(s.Events) / float64(s.Duration()) * 1e6
}

// OnShare returns the share of ON events, 0 without events.
func (s *Summary) OnShare() float64 {
	if s.Events == 0 {
		return 0
	}
	return float64(s.On) / float64(s.Events)
}
