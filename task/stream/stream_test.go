package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/represent"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// outcome is a decision with the array that was classified.
type outcome struct {
	Decision
	x []float32
}

// follow runs a stream over events and keeps everything.
func follow(t testing.TB, cfg Config, list []events.Event) ([]outcome, *Summary) {
	t.Helper()
	var all []outcome
	var x []float32
	sum, err := Run(t.Context(), events.NewSliceReader(events.Header{}, list), cfg,
		func(_ context.Context, in *tensor.Tensor) ([]float32, int, error) {
			x = slices.Clone(in.Data)
			return []float32{1, 2}, 3, nil
		},
		func(d *Decision) error {
			o := outcome{*d, nil}
			if d.Classified {
				o.x = x
			}
			all = append(all, o)
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return all, sum
}

// whole makes the array of one window with package represent. Two events
// outside the sensor, which are left out, pin the ends of its time.
func whole(t testing.TB, cfg Config, list []events.Event, start int64) []float32 {
	t.Helper()
	tr, err := represent.New(cfg.Represent, cfg.Height, cfg.Width)
	if err != nil {
		t.Fatal(err)
	}
	c := tr.Config()
	var in []events.Event
	pin := func(at int64) { in = append(in, events.Event{T: at, X: 60000, Y: 60000}) }
	end := cfg.WindowUs
	if c.Kind == represent.ByTime {
		end--
	}
	if c.Kind == represent.Voxel || c.Kind == represent.ByTime {
		pin(0)
		pin(end)
	}
	for _, e := range list {
		if e.T >= start && e.T < start+cfg.WindowUs {
			e.T -= start
			in = append(in, e)
		}
	}
	if c.Kind == represent.Surface { // events outside must not be the latest
		in = slices.DeleteFunc(in, func(e events.Event) bool { return int(e.X) >= cfg.Width || int(e.Y) >= cfg.Height })
	}
	x := make([]float32, tr.Len())
	if _, err := tr.Fill(x, in); err != nil {
		t.Fatal(err)
	}
	return x
}

// TestWindowsAgree compares every window with what package represent makes of
// the events in it, for any window, step and representation.
func TestWindowsAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := Config{
			WindowUs: int64(rapid.IntRange(1, 400).Draw(rt, "window")), StepUs: int64(rapid.IntRange(3, 500).Draw(rt, "step")),
			Width: rapid.IntRange(1, 7).Draw(rt, "width"), Height: rapid.IntRange(1, 7).Draw(rt, "height"),
			MinEvents: int64(rapid.IntRange(0, 3).Draw(rt, "least")), Chunk: rapid.IntRange(1, 20).Draw(rt, "chunk"),
			Represent: represent.Config{
				Kind: rapid.SampledFrom([]string{represent.Voxel, represent.ByTime, represent.Surface, represent.Histogram}).Draw(rt, "kind"),
				Bins: rapid.IntRange(1, 12).Draw(rt, "bins"), Time: rapid.SampledFrom([]string{"span", "max"}).Draw(rt, "time"),
				Size: rapid.SampledFrom([]int{0, 1, 5, 11}).Draw(rt, "size"), DecayUs: 100,
				Resize: rapid.SampledFrom([]string{represent.Nearest, represent.Bilinear}).Draw(rt, "resize"),
				Pad:    rapid.SampledFrom([]string{represent.PadSquare, represent.PadReference, represent.PadNone}).Draw(rt, "pad"),
			},
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		first := rapid.Int64Range(-1e6, 1e6).Draw(rt, "first")
		list := make([]events.Event, rapid.IntRange(1, 200).Draw(rt, "events"))
		now := first
		for i := range list {
			list[i] = events.Event{T: now, X: uint16(rng.IntN(cfg.Width + 1)), Y: uint16(rng.IntN(cfg.Height)), P: uint8(rng.IntN(2))}
			if now += int64(rng.IntN(8)); rng.IntN(60) == 0 {
				now += int64(rng.IntN(1000))
			}
		}
		list[0].X = 0
		all, sum := follow(t, cfg, list)
		start, windows, last := first, int64(0), list[len(list)-1].T
		for i, d := range all {
			if d.StartUs != start || d.EndUs != start+cfg.WindowUs+(d.Windows-1)*cfg.StepUs {
				rt.Fatalf("decision %d: %d to %d µs, want it from %d on", i, d.StartUs, d.EndUs, start)
			}
			n := int64(0)
			for _, e := range list {
				if e.T >= d.StartUs && e.T < d.EndUs && int(e.X) < cfg.Width {
					n++
				}
			}
			if n != d.Events && d.Windows == 1 || d.Windows > 1 && cfg.StepUs <= cfg.WindowUs && n != 0 {
				rt.Fatalf("decision %d: %d events, want %d", i, d.Events, n)
			}
			if d.Classified != (d.Events >= cfg.MinEvents) || d.Partial != (d.EndUs > last) {
				rt.Fatalf("decision %d: %+v with the last event at %d", i, d.Decision, last)
			}
			if d.Classified {
				if diff := cmp.Diff(whole(t, cfg, list, d.StartUs), d.x); diff != "" {
					rt.Fatalf("window at %d µs (-whole +stream):\n%s", d.StartUs-first, diff)
				}
			}
			windows += d.Windows
			start += d.Windows * cfg.StepUs
		}
		if sum.Windows != windows || sum.Classified+sum.Quiet != windows || sum.Events != int64(len(list)) || sum.LastUs != last || sum.FirstUs != first {
			rt.Fatalf("summary %+v", sum)
		}
		if sum.Latency.Count() != sum.Classified || sum.Late != 0 || (sum.Between > 0 && cfg.StepUs <= cfg.WindowUs) {
			rt.Fatalf("summary %+v", sum)
		}
		if open := start + cfg.WindowUs; last >= open {
			rt.Fatalf("windows up to %d µs, the last event is at %d", open, last)
		}
	})
}

func at(us int64) events.Event { return events.Event{T: us, X: 1, Y: 1, P: 1} }

// Out of order: counted while a window is open that has the time, else left out
// and reported.
func TestOutOfOrder(t *testing.T) {
	cfg := Config{WindowUs: 100, StepUs: 50, Width: 4, Height: 4, MinEvents: 1, Represent: represent.Config{Kind: represent.Histogram}}
	all, sum := follow(t, cfg, []events.Event{at(1000), at(1090), at(1010), at(990), at(1120), at(1020), at(1060)})
	if sum.Late != 2 || len(all) != 2 || all[0].Events != 3 || all[1].Events != 3 {
		t.Errorf("%d late, decisions %+v; want 2 late, windows of 3 and 3 events", sum.Late, all)
	}
}

// A long silence is one line, not a million; times that cannot be are an error.
func TestGaps(t *testing.T) {
	cfg := Config{WindowUs: 100, StepUs: 100, Width: 4, Height: 4, MinEvents: 1, Represent: represent.Config{Kind: represent.Histogram}}
	all, sum := follow(t, cfg, []events.Event{at(0), at(1e12)})
	if len(all) != 3 || all[1].Windows != 1e10-1 || sum.Windows != 1e10+1 || !all[2].Partial {
		t.Errorf("decisions %+v", all)
	}
	_, err := Run(t.Context(), events.NewSliceReader(events.Header{}, []events.Event{at(-1 << 62), at(1 << 62)}), cfg, nil, func(*Decision) error { return nil })
	if err == nil {
		t.Error("times 2^63 µs apart: no error")
	}
}

// generator makes events without end, or so many.
type generator struct {
	n, made int64
	perMs   int64
	stats   events.Stats
	rng     *rand.Rand
}

func (g *generator) Header() events.Header { return events.Header{Width: 128, Height: 128} }
func (g *generator) Stats() *events.Stats  { return &g.stats }
func (g *generator) Read(dst []events.Event) (int, error) {
	for i := range dst {
		if g.made == g.n {
			return i, io.EOF
		}
		r := g.rng.Uint32()
		dst[i] = events.Event{T: g.made * 1000 / g.perMs, X: uint16(r & 127), Y: uint16(r >> 8 & 127), P: uint8(r >> 31)}
		g.made++
	}
	return len(dst), nil
}

// TestMemory: 20 million events, 10 million in each window and five windows
// open at a time, take a few MiB.
func TestMemory(t *testing.T) {
	n := int64(20e6)
	if testing.Short() {
		n = 2e6
	}
	cfg := Config{WindowUs: 100_000, StepUs: 20_000, Width: 128, Height: 128, MinEvents: 1, Represent: represent.Config{Size: 64}}
	g := &generator{n: n, perMs: n / 200, rng: rand.New(rand.NewPCG(1, 2))}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	total := float32(0)
	sum, err := Run(t.Context(), g, cfg, func(_ context.Context, x *tensor.Tensor) ([]float32, int, error) {
		for _, v := range x.Data {
			total += v
		}
		return nil, 0, nil
	}, func(*Decision) error {
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc-min(before, m.HeapAlloc))
		return nil
	})
	if err != nil || sum.Events != n || sum.Windows != 6 || total == 0 {
		t.Fatalf("%d events, %d windows, sum %g, error %v", sum.Events, sum.Windows, total, err)
	}
	if most > 24<<20 {
		t.Errorf("%d MiB at most, want 24", most>>20)
	}
	t.Logf("%d MiB at most, %.1f million events/s", most>>20, float64(n)/1e6/sum.Elapsed.Seconds())
}

// silent gives one window and then nothing, as a pipe does.
type silent struct {
	generator
	wait chan struct{}
}

func (s *silent) Read(dst []events.Event) (int, error) {
	if s.made >= 1000 {
		<-s.wait
		return 0, io.EOF
	}
	return s.generator.Read(dst[:min(len(dst), 100)])
}

// TestEndedWhileReading: decisions come while the source is silent, and the end
// of the context ends the run although the source gives nothing.
func TestEndedWhileReading(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	src := &silent{generator{n: 1e9, perMs: 1, rng: rand.New(rand.NewPCG(1, 2))}, make(chan struct{})}
	defer close(src.wait)
	cfg := Config{WindowUs: 500_000, StepUs: 500_000, Width: 128, Height: 128, Represent: represent.Config{Kind: represent.Histogram}}
	reported := 0
	sum, err := Run(ctx, src, cfg, func(context.Context, *tensor.Tensor) ([]float32, int, error) { return nil, 0, nil }, func(*Decision) error {
		reported++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || reported != 1 || sum.Windows != 1 || sum.Events < 501 {
		t.Errorf("%d reports, %+v, error %v", reported, sum, err)
	}
}

func TestErrorsEndARun(t *testing.T) {
	cfg := Config{WindowUs: 10, StepUs: 10, Width: 4, Height: 4, Represent: represent.Config{Kind: represent.Histogram}}
	stop := errors.New("stop")
	good := func(context.Context, *tensor.Tensor) ([]float32, int, error) { return nil, 0, nil }
	list := []events.Event{at(0), at(100)}
	_, err := Run(t.Context(), events.NewSliceReader(events.Header{}, list), cfg, good, func(*Decision) error { return stop })
	if err != stop {
		t.Errorf("report's error: got %v", err)
	}
	_, err = Run(t.Context(), events.NewSliceReader(events.Header{}, list), cfg,
		func(context.Context, *tensor.Tensor) ([]float32, int, error) { return nil, 0, stop }, func(*Decision) error { return nil })
	if err != stop {
		t.Errorf("classifier's error: got %v", err)
	}
	for _, bad := range []func(*Config){
		func(c *Config) { c.WindowUs = 0 }, func(c *Config) { c.StepUs = 0 }, func(c *Config) { c.WindowUs = 1e7 },
		func(c *Config) { c.Width = 0 }, func(c *Config) { c.MinEvents = -1 }, func(c *Config) { c.Chunk = -1 },
		func(c *Config) { c.Represent.Kind = "x" }, func(c *Config) { c.Represent.Kind = represent.ByCount },
		func(c *Config) { c.Width, c.Height, c.WindowUs, c.StepUs = 4096, 4096, 1000, 7 },
	} {
		c := cfg
		bad(&c)
		if _, err := Run(t.Context(), events.NewSliceReader(events.Header{}, list), c, good, func(*Decision) error { return nil }); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

func TestLatency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 100).Draw(t, "durations")
		var l Latency
		for _, d := range list {
			l.Add(time.Duration(d))
		}
		slices.Sort(list)
		for _, q := range []float64{0, 0.5, 0.95, 1} {
			i := max(int(0.999999+q*float64(len(list)))-1, 0)
			got, want := float64(l.Quantile(q)), float64(list[i])
			if got < want*0.9999-1 || got > max(want*1.0101, 1000) {
				t.Fatalf("quantile %g of %v: got %g, want %g", q, list, got, want)
			}
		}
		if l.Max() != time.Duration(list[len(list)-1]) || l.Count() != int64(len(list)) {
			t.Fatal("longest or count")
		}
	})
}

func BenchmarkRun(b *testing.B) {
	for _, c := range []struct {
		width, height int
		step          int64 // µs
	}{{128, 128, 100_000}, {128, 128, 20_000}, {128, 128, 10_000}, {1280, 720, 100_000}} {
		b.Run(fmt.Sprintf("%dx%d/step=%dms", c.width, c.height, c.step/1000), func(b *testing.B) {
			cfg := Config{WindowUs: 100_000, StepUs: c.step, Width: c.width, Height: c.height, Represent: represent.Config{Size: 128}}
			all, err := events.ReadAll(&generator{n: 2e6, perMs: 2000, rng: rand.New(rand.NewPCG(1, 2))})
			if err != nil {
				b.Fatal(err)
			}
			for i := range all { // spread over the sensor
				all[i].X, all[i].Y = all[i].X*uint16(c.width/128), all[i].Y*uint16(c.height/128)
			}
			var sum *Summary
			for b.Loop() {
				sum, err = Run(b.Context(), events.NewSliceReader(events.Header{}, all), cfg,
					func(context.Context, *tensor.Tensor) ([]float32, int, error) { return nil, 0, nil }, func(*Decision) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "Mevents/s")
			b.ReportMetric(sum.Latency.Mean().Seconds()*1e3, "ms/window")
		})
	}
}
