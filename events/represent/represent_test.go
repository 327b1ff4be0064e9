package represent

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/events"
)

// slowVoxel is the definition, event by event.
func slowVoxel(h, w, bins int, rule TimeRule, ev []events.Event) ([]float32, Lost) {
	dst := make([]float32, h*w*2*bins)
	var lost Lost
	tmin, tmax := int64(math.MaxInt64), int64(math.MinInt64)
	for _, e := range ev {
		tmin, tmax = min(tmin, e.T), max(tmax, e.T)
	}
	for _, e := range ev {
		bin := -1
		switch {
		case rule == Span && tmin == tmax:
			bin = 0
		case rule == Span:
			tau := float64(e.T-tmin) / float64(tmax-tmin)
			bin = min(bins-1, int(math.Floor(float64(bins)*tau)))
		case tmax > 0:
			tau := float32(e.T) / float32(tmax)
			for i := range bins {
				if tau > float32(float64(i)/float64(bins)) {
					bin = i
				}
			}
		}
		switch {
		case rule == Max && tmax <= 0:
			lost.Untimed++
		case int(e.X) >= w || int(e.Y) >= h || e.P > 1:
			lost.Outside++
		case bin < 0:
			lost.Untimed++
		default:
			dst[(int(e.Y)*w+int(e.X))*2*bins+int(e.P)*bins+bin]++
		}
	}
	return dst, lost
}

// drawEvents draws up to n events, some outside a sensor of h x w.
func drawEvents(t *rapid.T, n, h, w int, tlo, thi int64) []events.Event {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) events.Event {
		return events.Event{
			T: rapid.Int64Range(tlo, thi).Draw(t, "t"),
			X: uint16(rapid.IntRange(0, w).Draw(t, "x")),
			Y: uint16(rapid.IntRange(0, h).Draw(t, "y")),
			P: uint8(rapid.IntRange(0, 2).Draw(t, "p")),
		}
	}), 0, n).Draw(t, "events")
}

func sum(v []float32) (s float64) {
	for _, x := range v {
		s += float64(x)
	}
	return s
}

func TestVoxelGridIsItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, w := rapid.IntRange(1, 5).Draw(t, "h"), rapid.IntRange(1, 5).Draw(t, "w")
		bins := rapid.IntRange(1, 20).Draw(t, "bins")
		lo := rapid.SampledFrom([]int64{-50, 0, 1 << 25, 1 << 40}).Draw(t, "from")
		ev := drawEvents(t, 60, h, w, lo, lo+rapid.Int64Range(0, 1<<34).Draw(t, "span"))
		for _, rule := range []TimeRule{Span, Max} {
			got := make([]float32, h*w*2*bins)
			got[0] = 7 // must be cleared
			lost, err := VoxelGrid(got, h, w, bins, rule, ev)
			if err != nil {
				t.Fatal(err)
			}
			want, wantLost := slowVoxel(h, w, bins, rule, ev)
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("%v: (-want +got)\n%s", rule, d)
			}
			if lost != wantLost {
				t.Fatalf("%v: lost %+v, want %+v", rule, lost, wantLost)
			}
		}
	})
}

func TestVoxelGridExtremeTimes(t *testing.T) {
	ev := []events.Event{{T: math.MinInt64}, {T: 0}, {T: math.MaxInt64}}
	dst := make([]float32, 2*9)
	if _, err := VoxelGrid(dst, 1, 1, 9, Span, ev); err != nil {
		t.Fatal(err)
	}
	want := make([]float32, 18)
	want[0], want[4], want[8] = 1, 1, 1
	if !slices.Equal(dst, want) {
		t.Errorf("got %v, want %v", dst, want)
	}
	lost, err := VoxelGrid(dst, 1, 1, 9, Max, ev)
	if err != nil || lost.Untimed != 2 || dst[8] != 1 || sum(dst) != 1 {
		t.Errorf("max: %v, lost %+v, error %v; want the last event in bin 8 alone", dst, lost, err)
	}
}

// No event is lost or counted twice, whatever the representation.
func TestEveryEventIsCountedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, w := rapid.IntRange(1, 5).Draw(t, "h"), rapid.IntRange(1, 5).Draw(t, "w")
		n := rapid.IntRange(1, 9).Draw(t, "frames")
		ev := drawEvents(t, 60, h, w, -1000, rapid.Int64Range(-1000, 100000).Draw(t, "last"))
		dst := make([]float32, h*w*2*n)
		window := rapid.Int64Range(0, 5000).Draw(t, "window")
		for name, fill := range map[string]func() (Lost, error){
			"count": func() (Lost, error) { return FramesByCount(dst, h, w, n, ev) },
			"time":  func() (Lost, error) { return FramesByTime(dst, h, w, n, window, ev) },
			"voxel": func() (Lost, error) { return VoxelGrid(dst, h, w, n, Span, ev) },
		} {
			lost, err := fill()
			if err != nil {
				t.Fatal(err)
			}
			if got := int(sum(dst)) + lost.Outside + lost.Untimed; got != len(ev) {
				t.Fatalf("%s: %d of %d events", name, got, len(ev))
			}
			if lost.Untimed > 0 && (name != "time" || window == 0) {
				t.Fatalf("%s: %d untimed events", name, lost.Untimed)
			}
		}
	})
}

func TestFrames(t *testing.T) {
	ev := []events.Event{{T: 10}, {T: 12, P: 1}, {T: 13}, {T: 19}, {T: 21}}
	dst := make([]float32, 4)
	check := func(name string, want []float32, wantLost Lost, lost Lost, err error) {
		t.Helper()
		if err != nil || !slices.Equal(dst, want) || lost != wantLost {
			t.Errorf("%s: %v, lost %+v, error %v; want %v, %+v", name, dst, lost, err, want, wantLost)
		}
	}
	lost, err := FramesByCount(dst, 1, 1, 2, ev)
	check("by count", []float32{1, 3, 1, 0}, Lost{}, lost, err)
	lost, err = FramesByTime(dst, 1, 1, 2, 3, ev)
	check("by time", []float32{1, 1, 1, 0}, Lost{Untimed: 2}, lost, err)
	lost, err = FramesByTime(dst, 1, 1, 2, 0, ev)
	check("by share", []float32{2, 2, 1, 0}, Lost{}, lost, err)
	lost, err = FramesByTime(dst, 1, 1, 2, 0, nil)
	check("empty", []float32{0, 0, 0, 0}, Lost{}, lost, err)
}

func TestTimeSurface(t *testing.T) {
	ev := []events.Event{{T: 100, X: 1}, {T: 50, X: 1}, {T: 200, P: 1}, {T: 0, X: 5}}
	dst := make([]float32, 4)
	lost, err := TimeSurface(dst, 1, 2, 100, ev)
	if err != nil {
		t.Fatal(err)
	}
	want := []float32{0, 1, float32(math.Exp(-1)), 0}
	if !slices.Equal(dst, want) || lost.Outside != 1 {
		t.Errorf("got %v, lost %+v; want %v, 1 outside", dst, lost, want)
	}
}

func TestBilinear(t *testing.T) {
	// Values of torch.nn.functional.interpolate(mode="bilinear",
	// align_corners=False) for [[1, 2], [3, 4]] to 4x4.
	tr, err := New(Config{Kind: Histogram, Size: 4, Resize: Bilinear}, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]float32, tr.Len())
	if err := tr.Resize(dst, []float32{1, 0, 2, 0, 3, 0, 4, 0}); err != nil {
		t.Fatal(err)
	}
	want := []float32{1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3, 3.25, 3.75, 4}
	for i, v := range want {
		if dst[2*i] != v || dst[2*i+1] != 0 {
			t.Errorf("value %d: %g, %g; want %g, 0", i, dst[2*i], dst[2*i+1], v)
		}
	}
	// Padding to a square counts as zeros: a row of ones between two of zeros.
	if tr, err = New(Config{Kind: Histogram, Size: 6, Resize: Bilinear}, 1, 3); err != nil {
		t.Fatal(err)
	}
	dst = make([]float32, tr.Len())
	if err := tr.Resize(dst, []float32{1, 0, 1, 0, 1, 0}); err != nil {
		t.Fatal(err)
	}
	for y, v := range []float32{0, 0.25, 0.75, 0.75, 0.25, 0} {
		for x := range 6 {
			if got := dst[(y*6+x)*2]; got != v {
				t.Errorf("padded, row %d: %g, want %g", y, got, v)
			}
		}
	}
}

// Bilinear and nearest agree with the grid when nothing is resized, and neither
// takes memory for a sample.
func TestTransformIdentityAndAllocations(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ev := randomEvents(rng, 2000, 20, 30)
	for _, kind := range Kinds() {
		for _, resize := range []string{Nearest, Bilinear} {
			plain, err := New(Config{Kind: kind, Pad: PadNone}, 20, 20)
			if err != nil {
				t.Fatal(err)
			}
			same, err := New(Config{Kind: kind, Size: 20, Resize: resize}, 20, 20)
			if err != nil {
				t.Fatal(err)
			}
			a, b := make([]float32, plain.Len()), make([]float32, same.Len())
			if _, err := plain.Fill(a, ev); err != nil {
				t.Fatal(err)
			}
			if _, err := same.Fill(b, ev); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(a, b) {
				t.Errorf("%s, %s: resizing 20 to 20 changes values", kind, resize)
			}
			wide, err := New(Config{Kind: kind, Size: 32, Resize: resize}, 20, 30)
			if err != nil {
				t.Fatal(err)
			}
			dst := make([]float32, wide.Len())
			if n := testing.AllocsPerRun(5, func() {
				if _, err := wide.Fill(dst, ev); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, %s: %g allocations a sample, want none", kind, resize, n)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	for name, cfg := range map[string]Config{
		"kind": {Kind: "picture"}, "bins": {Bins: -1}, "time": {Time: "first"}, "size": {Size: 5000},
		"resize": {Resize: "cubic"}, "pad": {Pad: "mirror"}, "window": {WindowUs: -1}, "decay": {DecayUs: math.Inf(1)},
	} {
		if _, err := New(cfg, 4, 4); err == nil {
			t.Errorf("%s: no error for %+v", name, cfg)
		}
	}
	if _, err := New(Config{}, 0, 4); err == nil {
		t.Error("no error for a sensor without rows")
	}
	if _, err := VoxelGrid(make([]float32, 3), 1, 1, 9, Span, nil); err == nil {
		t.Error("no error for a destination that is too short")
	}
	tr, err := New(Config{}, 4, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Fill(nil, nil); err == nil {
		t.Error("no error for no destination")
	}
}

func randomEvents(rng *rand.Rand, n, h, w int) []events.Event {
	ev := make([]events.Event, n)
	at := int64(0)
	for i := range ev {
		at += rng.Int64N(10)
		ev[i] = events.Event{T: at, X: uint16(rng.IntN(w)), Y: uint16(rng.IntN(h)), P: uint8(rng.IntN(2))}
	}
	return ev
}

func BenchmarkVoxelGrid(b *testing.B) {
	ev := randomEvents(rand.New(rand.NewPCG(1, 2)), 200_000, 128, 128)
	dst := make([]float32, 128*128*18)
	for _, rule := range []TimeRule{Span, Max} {
		b.Run(rule.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := VoxelGrid(dst, 128, 128, 9, rule, ev); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(ev))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mev/s")
		})
	}
}

func BenchmarkTransform224(b *testing.B) {
	ev := randomEvents(rand.New(rand.NewPCG(1, 2)), 200_000, 128, 128)
	tr, err := New(Config{Size: 224}, 128, 128)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]float32, tr.Len())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.Fill(dst, ev); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}
