package augment

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/random"
)

func TestOperations(t *testing.T) {
	in := func() []events.Event {
		return []events.Event{{T: 100, X: 2, Y: 1}, {T: 150, X: 4, Y: 3, P: 1}, {T: 200, X: 6, Y: 5}}
	}
	for _, tc := range []struct {
		name string
		op   string
		m    float64
		want []events.Event
	}{
		{"identity", "identity", 0, in()},
		{"x = W-1-x", "flip_along_x", 0, []events.Event{{T: 100, X: 7, Y: 1}, {T: 150, X: 5, Y: 3, P: 1}, {T: 200, X: 3, Y: 5}}},
		{"y = H-1-y", "flip_along_y", 0, []events.Event{{T: 100, X: 2, Y: 6}, {T: 150, X: 4, Y: 4, P: 1}, {T: 200, X: 6, Y: 2}}},
		{"t = tmax-t+tmin", "flip_along_time", 0, []events.Event{{T: 200, X: 2, Y: 1}, {T: 150, X: 4, Y: 3, P: 1}, {T: 100, X: 6, Y: 5}}},
		// (x-5)*0.5/10*100 = -15, -5, 5; then the earliest is 0.
		{"incline by x", "time_incline_x", 0.5, []events.Event{{T: 0, X: 2, Y: 1}, {T: 60, X: 4, Y: 3, P: 1}, {T: 120, X: 6, Y: 5}}},
		// (y-4)*0.5/8*100 = -18.75, -6.25, 6.25: rounded -19, -6, 6.
		{"incline by y", "time_incline_y", 0.5, []events.Event{{T: 0, X: 2, Y: 1}, {T: 63, X: 4, Y: 3, P: 1}, {T: 125, X: 6, Y: 5}}},
		// About (4,3): (-2,-2) to x' = -2*0 + -2*1 = -2, y' = 0 - (-2)*1 = 2.
		{"quarter turn", "rotate", math.Pi / 2, []events.Event{{T: 100, X: 2, Y: 5}, {T: 150, X: 4, Y: 3, P: 1}, {T: 200, X: 6, Y: 1}}},
		{"right by int(0.5*(10-4))", "linear_x", 0.5, []events.Event{{T: 100, X: 5, Y: 1}, {T: 150, X: 7, Y: 3, P: 1}, {T: 200, X: 9, Y: 5}}},
		{"left by int(0.6*4)", "linear_x", -0.6, []events.Event{{T: 100, X: 0, Y: 1}, {T: 150, X: 2, Y: 3, P: 1}, {T: 200, X: 4, Y: 5}}},
		{"down by int(0.6*(8-3)), one falls off", "linear_y", 0.6, []events.Event{{T: 100, X: 2, Y: 4}, {T: 150, X: 4, Y: 6, P: 1}}},
		// m*(y-3)/4*4 = m*(y-3).
		{"shear x", "shear_x", 1, []events.Event{{T: 100, X: 0, Y: 1}, {T: 150, X: 4, Y: 3, P: 1}, {T: 200, X: 8, Y: 5}}},
		{"shear y", "shear_y", -0.5, []events.Event{{T: 100, X: 2, Y: 2}, {T: 150, X: 4, Y: 3, P: 1}, {T: 200, X: 6, Y: 4}}},
		{"scale", "scale", 0.5, []events.Event{{T: 100, X: 3, Y: 2}, {T: 150, X: 4, Y: 3, P: 1}, {T: 200, X: 5, Y: 4}}},
		{"scale, two fall off", "scale", 4, []events.Event{{T: 150, X: 4, Y: 3, P: 1}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := NewEvents(8, 10, EventsOptions{}).ApplyOperation(tc.op, tc.m, random.New(1, "test"), in())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	if _, err := NewEvents(8, 10, EventsOptions{}).ApplyOperation("blur", 1, nil, in()); err == nil {
		t.Error("no error for an unknown operation")
	}
}

// grid returns events on every pixel of a 20x30 sensor over 1000 µs.
func grid() []events.Event {
	var ev []events.Event
	for y := range 20 {
		for x := range 30 {
			ev = append(ev, events.Event{T: int64(len(ev)) * 1000 / 600, X: uint16(x), Y: uint16(y), P: uint8((x + y) & 1)})
		}
	}
	return ev
}

func TestDropsAndNoise(t *testing.T) {
	a := NewEvents(20, 30, EventsOptions{})
	n := len(grid())
	for seed := range uint64(50) {
		run := func(op string, m float64) []events.Event {
			got, err := a.ApplyOperation(op, m, random.New(seed, "test"), grid())
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got, want := len(run("random_drop", 0.25)), n-n/4; got != want {
			t.Errorf("random_drop: %d events, want %d", got, want)
		}
		if got := len(run("drop_by_time", 0.5)); got < n/2-3 || got > n/2+3 {
			t.Errorf("drop_by_time: %d events, want about %d", got, n/2)
		}
		if got, want := len(run("overall_noise", 0.9)), n+int(float64(n)*0.9); got != want {
			t.Errorf("overall_noise: %d events, want %d", got, want)
		}
		noisy := run("region_noise", 0.5)
		if got, want := len(noisy), n+n/4; got != want {
			t.Errorf("region_noise: %d events, want %d", got, want)
		}
		// The noise is inside a box: no wider than 30*0.5*1.5 columns.
		b := boundsOf(noisy[n:])
		if b.xmax-b.xmin > 30*0.5*1.5+1 || b.ymax-b.ymin > 20*0.5/0.5+1 {
			t.Errorf("region_noise: box %+v is larger than it can be", b)
		}
		kept := run("drop_by_area", 0.3)
		if len(kept) == n || len(kept) < n-15*14 {
			t.Errorf("drop_by_area: %d of %d events left", len(kept), n)
		}
	}
}

// Whatever is drawn, events stay on the sensor and within twice the number, the
// recording is not emptied, and the same generator gives the same result.
func TestApplyProperties(t *testing.T) {
	a, b := NewEvents(20, 30, EventsOptions{Prob: 1}), NewEvents(20, 30, EventsOptions{Prob: 1})
	rapid.Check(t, func(t *rapid.T) {
		ev := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) events.Event {
			return events.Event{
				T: rapid.Int64Range(-1e6, 1e12).Draw(t, "t"),
				X: uint16(rapid.IntRange(0, 29).Draw(t, "x")), Y: uint16(rapid.IntRange(0, 19).Draw(t, "y")),
				P: uint8(rapid.IntRange(0, 1).Draw(t, "p")),
			}
		}), 0, 40).Draw(t, "events")
		seed := rapid.Uint64().Draw(t, "seed")
		got := a.Apply(random.New(seed, "a"), slices.Clone(ev))
		again := b.Apply(random.New(seed, "a"), slices.Clone(ev))
		if !slices.Equal(got, again) {
			t.Fatal("the same generator gives another result")
		}
		if (len(got) == 0) != (len(ev) == 0) || len(got) > 2*len(ev) {
			t.Fatalf("%d events became %d", len(ev), len(got))
		}
		for _, e := range got {
			if e.X >= 30 || e.Y >= 20 || e.P > 1 {
				t.Fatalf("event %+v outside the sensor", e)
			}
		}
	})
}

func TestChoice(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts EventsOptions
		last float64 // share of scale
	}{
		{"uniform", EventsOptions{}, 1.0 / 18},
		{"reference", EventsOptions{Reference: true}, 2.0 / 19},
	} {
		a := NewEvents(8, 8, tc.opts)
		rng := random.New(1, "choice")
		const n = 200_000
		count := make([]int, len(operations))
		for range n {
			count[a.choose(rng)]++
		}
		for i, c := range count {
			want := (1 - tc.last) / 17
			if i == len(operations)-1 {
				want = tc.last
			}
			if got := float64(c) / n; math.Abs(got-want) > 0.003 {
				t.Errorf("%s: %s has share %.4f, want %.4f", tc.name, operations[i].name, got, want)
			}
		}
	}
	// Half of the recordings stay as they are; identity adds 1/36.
	a, same := NewEvents(20, 30, EventsOptions{}), 0
	for i := range uint64(2000) {
		if slices.Equal(a.Apply(random.New(i, "prob"), grid()), grid()) {
			same++
		}
	}
	if share := float64(same) / 2000; math.Abs(share-0.53) > 0.05 {
		t.Errorf("%.3f of the recordings are unchanged, want about 0.53", share)
	}
}

func TestArrayOperations(t *testing.T) {
	// Two channels: the second is the first plus 100.
	image := func(rows ...[]float32) []float32 {
		var x []float32
		for _, r := range rows {
			for _, v := range r {
				if v == 0 {
					x = append(x, 0, 0)
				} else {
					x = append(x, v, v+100)
				}
			}
		}
		return x
	}
	in := func() []float32 { return image([]float32{1, 2, 3}, []float32{4, 5, 6}, []float32{7, 8, 9}) }
	for _, tc := range []struct {
		op   string
		m    float64
		want []float32
	}{
		{"identity", 0, in()},
		{"translate_x", 1, image([]float32{0, 1, 2}, []float32{0, 4, 5}, []float32{0, 7, 8})},
		{"translate_y", -1, image([]float32{4, 5, 6}, []float32{7, 8, 9}, []float32{0, 0, 0})},
		{"rotate", 90, image([]float32{3, 6, 9}, []float32{2, 5, 8}, []float32{1, 4, 7})},
		{"shear_x", math.Pi / 4, image([]float32{0, 1, 2}, []float32{4, 5, 6}, []float32{8, 9, 0})},
		{"cutout", 1, make([]float32, 18)},
		{"cutout", 0.001, in()}, // less than a pixel
	} {
		got := in()
		if err := NewArray(3, 3, 2).ApplyOperation(tc.op, tc.m, random.New(1, "array"), got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s %g: got %v, want %v", tc.op, tc.m, got, tc.want)
		}
	}
	x := in()
	NewArray(3, 3, 2).flip(x)
	if want := image([]float32{3, 2, 1}, []float32{6, 5, 4}, []float32{9, 8, 7}); !slices.Equal(x, want) {
		t.Errorf("flip: got %v, want %v", x, want)
	}
	if err := NewArray(3, 3, 2).ApplyOperation("blur", 0, nil, in()); err == nil {
		t.Error("no error for an unknown operation")
	}
	if err := NewArray(3, 3, 2).ApplyOperation("rotate", 0, nil, nil); err == nil {
		t.Error("no error for an array that is too short")
	}
}

// No value is invented: what comes out went in, or is 0; and it repeats.
func TestArrayProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, w := rapid.IntRange(1, 12).Draw(t, "h"), rapid.IntRange(1, 12).Draw(t, "w")
		x := make([]float32, h*w)
		for i := range x {
			x[i] = float32(i + 1)
		}
		y, z := slices.Clone(x), slices.Clone(x)
		seed := rapid.Uint64().Draw(t, "seed")
		NewArray(h, w, 1).Apply(random.New(seed, "a"), y)
		NewArray(h, w, 1).Apply(random.New(seed, "a"), z)
		if !slices.Equal(y, z) {
			t.Fatal("the same generator gives another result")
		}
		for _, v := range y {
			if v != 0 && (v < 1 || v > float32(len(x)) || v != float32(int(v))) {
				t.Fatalf("value %g is not of the array", v)
			}
		}
	})
}

func BenchmarkEvents(b *testing.B) {
	var ev []events.Event
	for range 200 {
		ev = append(ev, grid()...)
	}
	buf := make([]events.Event, 0, 2*len(ev))
	a := NewEvents(20, 30, EventsOptions{Prob: 1})
	rng := random.New(1, "bench")
	for b.Loop() {
		a.Apply(rng, append(buf[:0], ev...))
	}
	b.ReportMetric(float64(len(ev))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mev/s")
}
