package events_test

import (
	"errors"
	"math"
	"testing"

	"github.com/adafire/adafire/events"
	"pgregory.net/rapid"
)

func TestSummarise(t *testing.T) {
	evs := []events.Event{{T: 1000, X: 3, Y: 1, P: 1}, {T: 500, X: 9, Y: 2}, {T: 2000, X: 0, Y: 7, P: 1}, {T: 1_001_000, X: 4, Y: 4}}
	s, err := events.Summarise(events.NewSliceReader(events.Header{}, evs), 4)
	if err != nil {
		t.Fatal(err)
	}
	if s.Events != 4 || s.On != 2 || s.First != 500 || s.Last != 1_001_000 || s.Back != 1 || s.Outside != 0 || s.Width != 10 || s.Height != 8 || s.Known {
		t.Errorf("got %+v", s)
	}
	s, _ = events.Summarise(events.NewSliceReader(events.Header{Width: 9, Height: 9}, evs), 4)
	if s.Outside != 1 || s.Width != 9 || !s.Known {
		t.Errorf("known size: got %+v", s)
	}
	s, err = events.Summarise(events.NewSliceReader(events.Header{}, nil), 4)
	if err != nil || s.Events != 0 || s.MeanRate() != 0 || s.OnShare() != 0 {
		t.Errorf("empty: got %+v, %v", s, err)
	}
}

// TestSummariseRates: rates times their intervals add up to the events.
func TestSummariseRates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) events.Event {
			return events.Event{T: rapid.Int64Range(0, 1<<34).Draw(t, "t"), X: 1}
		}), 1, 200).Draw(t, "events")
		s, err := events.Summarise(events.NewSliceReader(events.Header{}, evs), rapid.IntRange(1, 50).Draw(t, "parts"))
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Rate) == 0 || s.PeakRate <= 0 || math.IsInf(s.PeakRate, 0) {
			t.Fatalf("rates %v, peak %v", s.Rate, s.PeakRate)
		}
	})
}

type broken struct{ events.Reader }

var errBroken = errors.New("broken")

func (b broken) Read(dst []events.Event) (int, error) {
	n, _ := b.Reader.Read(dst[:2])
	return n, errBroken
}

func TestSummariseBroken(t *testing.T) {
	s, err := events.Summarise(broken{events.NewSliceReader(events.Header{}, make([]events.Event, 5))}, 3)
	if !errors.Is(err, errBroken) || s.Events != 2 {
		t.Errorf("got %d events, %v", s.Events, err)
	}
}
