package stream

import (
	"math"
	"time"
)

// A Latency keeps a distribution of durations in constant memory: counts of
// classes each of which is 1 % longer than the one before. The zero value is
// empty.
type Latency struct {
	counts [latencyClasses]int64
	total  int64
	sum    time.Duration
	max    time.Duration
}

const (
	latencyClasses = 2400 // from 1 µs to more than four hours
	latencyGrowth  = 1.01
)

// Add counts a duration.
func (l *Latency) Add(d time.Duration) {
	us := float64(d) / float64(time.Microsecond)
	class := 0
	if us > 1 {
		class = min(int(math.Log(us)/math.Log(latencyGrowth))+1, latencyClasses-1)
	}
	l.counts[class]++
	l.total++
	l.sum += d
	l.max = max(l.max, d)
}

// Count returns how many durations there are.
func (l *Latency) Count() int64 { return l.total }

// Max returns the longest duration.
func (l *Latency) Max() time.Duration { return l.max }

// Mean returns the mean, 0 of none.
func (l *Latency) Mean() time.Duration {
	if l.total == 0 {
		return 0
	}
	return l.sum / time.Duration(l.total)
}

// Quantile returns the duration that the share q, 0..1, of all durations does
// not exceed, up to 1 % above it and never above the longest; 0 of none.
func (l *Latency) Quantile(q float64) time.Duration {
	if l.total == 0 {
		return 0
	}
	rank := min(max(int64(math.Ceil(q*float64(l.total))), 1), l.total)
	for class, n := range l.counts {
		if rank -= n; rank <= 0 {
			us := math.Pow(latencyGrowth, float64(class))
			return min(time.Duration(us*float64(time.Microsecond)), l.max)
		}
	}
	return l.max
}
