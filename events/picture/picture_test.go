package picture_test

import (
	"bytes"
	"image/gif"
	"testing"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/picture"
)

func record() ([]events.Event, events.Header) {
	var evs []events.Event
	for i := range 40 {
		evs = append(evs, events.Event{T: int64(i * 100), X: uint16(i % 8), Y: uint16(i / 8), P: uint8(i & 1)})
	}
	return evs, events.Header{Width: 8, Height: 6}
}

func summary(t *testing.T) *events.Summary {
	t.Helper()
	evs, h := record()
	s, err := events.Summarise(events.NewSliceReader(h, evs), 10)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFrames(t *testing.T) {
	evs, h := record()
	s := summary(t)
	frames, err := picture.Frames(events.NewSliceReader(h, evs), s, picture.Options{Frames: 5, Zoom: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) != 5 || frames[0].Rect.Dx() != 16 || frames[0].Rect.Dy() != 12 {
		t.Fatalf("%d frames of %v", len(frames), frames[0].Rect)
	}
	// The first frame holds the first eight events: the top row, ON where odd.
	for x := range 8 {
		r, _, b, _ := frames[0].At(2*x, 0).RGBA()
		if on := b > r; on != (x&1 == 1) {
			t.Errorf("pixel %d: red %d, blue %d", x, r>>8, b>>8)
		}
		if r, g, b, _ := frames[0].At(2*x, 4).RGBA(); r&g&b != 0xffff {
			t.Errorf("pixel %d of a row without events is not white", x)
		}
	}
	strip := picture.Strip(frames, s, 3)
	if strip.Rect.Dx() != 3*20+4 {
		t.Errorf("strip of %v", strip.Rect)
	}
	var b bytes.Buffer
	if err := picture.Animate(&b, frames, 1); err != nil {
		t.Fatal(err)
	}
	g, err := gif.DecodeAll(&b)
	if err != nil || len(g.Image) != 5 || g.Delay[0] != 20 {
		t.Errorf("animation: %v", err)
	}
}

func TestFramesRefused(t *testing.T) {
	evs, h := record()
	for _, o := range []picture.Options{{Frames: 0}, {Frames: 1001}, {Frames: 2, Start: 5, End: 5}, {Frames: 1000, Zoom: 100000}} {
		if _, err := picture.Frames(events.NewSliceReader(h, evs), summary(t), o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
	if _, err := picture.Frames(events.NewSliceReader(h, nil), &events.Summary{}, picture.Options{Frames: 1}); err == nil {
		t.Error("no events: got no error")
	}
}
