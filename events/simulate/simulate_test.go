package simulate

import (
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/adafire/adafire/events"
)

// ideal is a camera without any defect.
func ideal(w, h int, threshold float64) Config {
	return Config{Width: w, Height: h, ThresholdOn: threshold, ThresholdOff: threshold}
}

func record(t testing.TB, cfg Config, s Scene, p Path, number uint64) []events.Event {
	t.Helper()
	cam, err := NewCamera(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := cam.Record(s, p, number)
	if err != nil {
		t.Fatal(err)
	}
	return r.AppendAll(nil)
}

// ramp is an image whose logarithm grows by k for each pixel to the right.
func ramp(w, h int, k float64) Image {
	img := Image{Width: w, Height: h, Pix: make([]float32, w*h)}
	for i := range img.Pix {
		img.Pix[i] = float32(0.1 * math.Exp(k*float64(i%w)))
	}
	return img
}

func blob(w, h int) Image {
	img := Image{Width: w, Height: h, Pix: make([]float32, w*h)}
	for y := range h {
		for x := range w {
			dx, dy := float64(x)-float64(w)/2, float64(y)-float64(h)/2
			if d := math.Hypot(dx, dy) / float64(w); d < 0.3 {
				img.Pix[y*w+x] = float32(1 - d)
			}
		}
	}
	return img
}

// An exponential ramp that moves at constant speed changes the logarithm of
// every pixel at a constant rate: events come at known times.
func TestTimesOfEvents(t *testing.T) {
	const k, threshold, speed = 0.02, 0.1, 20.0 // per pixel; pixels in 1 s
	path := Path{{X: -10}, {TUs: 1e6, X: -10 + speed}}
	got := record(t, ideal(11, 1, threshold), Scene{Image: ramp(80, 1, k)}, path, 0)
	byPixel := map[uint16][]events.Event{}
	for _, e := range got {
		byPixel[e.X] = append(byPixel[e.X], e)
	}
	for x := range uint16(11) {
		ev := byPixel[x]
		if len(ev) != 3 && len(ev) != 4 { // 20*0.02/0.1 = 4 crossings, the last right at the end
			t.Errorf("pixel %d: %d events, want 3 or 4", x, len(ev))
		}
		for i, e := range ev {
			want := float64(i+1) * threshold / (k * speed) * 1e6
			if e.P != 0 || math.Abs(float64(e.T)-want) > 1000 {
				t.Errorf("pixel %d: event %d is %+v, want OFF at %.0f µs", x, i, e, want)
			}
		}
	}
	// The other way round everything is ON.
	for _, e := range record(t, ideal(11, 1, threshold), Scene{Image: ramp(80, 1, k)}, Path{{X: 10}, {TUs: 1e6, X: -10}}, 0) {
		if e.P != 1 {
			t.Fatalf("event %+v, want ON", e)
		}
	}
}

// What a pixel has reported follows what it has seen, to within one threshold,
// whatever the path.
func TestEventsFollowTheSignal(t *testing.T) {
	cam, err := NewCamera(ideal(12, 10, 0.2))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var path Path
		at := 0.0
		turns := rapid.Bool().Draw(t, "turns")
		for range rapid.IntRange(2, 6).Draw(t, "poses") {
			p := Pose{TUs: at, X: rapid.Float64Range(-9, 9).Draw(t, "x"), Y: rapid.Float64Range(-9, 9).Draw(t, "y")}
			if turns {
				p.Angle, p.Scale = rapid.Float64Range(-3, 3).Draw(t, "angle"), rapid.Float64Range(0.5, 2).Draw(t, "scale")
			}
			path = append(path, p)
			at += rapid.Float64Range(1, 30_000).Draw(t, "dt")
		}
		scene := Scene{Image: blob(8, 8), Black: 0.05, Scale: rapid.SampledFrom([]float64{0, 0.7, 1.5}).Draw(t, "enlarge")}
		r, err := cam.Record(scene, path, 0)
		if err != nil {
			t.Fatal(err)
		}
		begin := slices.Clone(r.seen)
		sum := make([]float64, 12*10)
		last := int64(0)
		for _, e := range r.AppendAll(nil) {
			if e.T < last || float64(e.T) > path[len(path)-1].TUs {
				t.Fatalf("event at %d µs after one at %d µs, path ends at %g", e.T, last, path[len(path)-1].TUs)
			}
			last = e.T
			sum[int(e.Y)*12+int(e.X)] += 0.2 * (2*float64(e.P) - 1)
		}
		for i := range sum {
			if d := float64(r.seen[i]-begin[i]) - sum[i]; math.Abs(d) > 0.2001 {
				t.Fatalf("pixel %d: the signal changed by %g, events say %g", i, r.seen[i]-begin[i], sum[i])
			}
		}
	})
}

// Order, sensor, refractory period, resolution, repetition and piecewise reading
// with everything switched on.
func TestStreamProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultConfig(20, 20)
		cfg.Seed = rapid.Uint64().Draw(t, "seed")
		cfg.ShotHz, cfg.LeakHz, cfg.HotShare = 20, 10, 0.02
		cfg.HotHz = rapid.SampledFrom([]float64{0, 20, 5000}).Draw(t, "hot")
		cfg.RefractoryUs = rapid.SampledFrom([]float64{0, 500, 30_000}).Draw(t, "refractory")
		cfg.ResolutionUs = rapid.SampledFrom([]int64{0, 1, 100, 30_000}).Draw(t, "resolution")
		cfg.BandwidthHz = rapid.SampledFrom([]float64{0, 200}).Draw(t, "bandwidth")
		cam, err := NewCamera(cfg)
		if err != nil {
			t.Fatal(err)
		}
		scene, path := Scene{Image: blob(16, 16), Black: 0.1}, ClosedLoop(3, 1, 60_000)
		r, err := cam.Record(scene, path, 7)
		if err != nil {
			t.Fatal(err)
		}
		all := r.AppendAll(nil)
		if len(all) == 0 {
			t.Fatal("no events")
		}
		step := max(cfg.ResolutionUs, 1)
		lastOf := map[[2]uint16]int64{}
		for i, e := range all {
			if e.X >= 20 || e.Y >= 20 || e.P > 1 || e.T < 0 || e.T%step != 0 || (i > 0 && e.T < all[i-1].T) {
				t.Fatalf("event %d: %+v after %+v", i, e, all[max(i-1, 0)])
			}
			at := [2]uint16{e.X, e.Y}
			if last, ok := lastOf[at]; ok && float64(e.T-last) < cfg.RefractoryUs-float64(step) {
				t.Fatalf("pixel %v: events at %d and %d µs within the refractory period", at, last, e.T)
			}
			lastOf[at] = e.T
		}
		if err := r.Restart(scene, path, 7); err != nil {
			t.Fatal(err)
		}
		var pieces []events.Event
		buf := make([]events.Event, rapid.IntRange(1, 50).Draw(t, "buffer"))
		for {
			n, err := r.Read(buf)
			pieces = append(pieces, buf[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || n == 0 {
				t.Fatalf("read: %d events, error %v", n, err)
			}
		}
		if !slices.Equal(all, pieces) {
			t.Fatal("read in pieces, in used memory: another recording")
		}
		if err := r.Restart(scene, path, 8); err != nil {
			t.Fatal(err)
		}
		if slices.Equal(all, r.AppendAll(nil)) {
			t.Fatal("another number: the same noise")
		}
	})
}

func TestNoiseRates(t *testing.T) {
	still := Path{{}, {TUs: 20e6}}
	grey := func(v float32) Scene {
		return Scene{Image: Image{1, 1, []float32{v}}, Background: float64(v)}
	}
	rate := func(cfg Config, v float32) (on, off float64) {
		for _, e := range record(t, cfg, grey(v), still, 1) {
			if e.P == 1 {
				on++
			} else {
				off++
			}
		}
		seconds := 20 * float64(cfg.Width*cfg.Height)
		return on / seconds, off / seconds
	}
	near := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.05*want {
			t.Errorf("%s: %.4f Hz a pixel, want %.4f", name, got, want)
		}
	}
	cfg := ideal(30, 30, 0.3)
	if on, off := rate(cfg, 0.5); on+off != 0 {
		t.Errorf("image at rest, no noise: %g and %g Hz, want none", on, off)
	}
	cfg.ShotHz = 2
	on, off := rate(cfg, 0)
	near("shot noise in the dark, ON", on, 1)
	near("shot noise in the dark, OFF", off, 1)
	on, off = rate(cfg, 1)
	near("shot noise at white", on+off, 0.5)
	cfg = ideal(30, 30, 0.3)
	cfg.LeakHz = 1.5
	on, off = rate(cfg, 0.5)
	near("leak", on, 1.5)
	if off != 0 {
		t.Errorf("leak: %g Hz of OFF events, want none", off)
	}
	cfg = ideal(100, 100, 0.3)
	cfg.HotShare, cfg.HotHz, cfg.RefractoryUs = 0.01, 50, 1
	cam, err := NewCamera(cfg)
	if err != nil {
		t.Fatal(err)
	}
	on, _ = rate(cfg, 0.5)
	near("hot pixels", on, 50*float64(len(cam.hot))/10_000)
	if len(cam.hot) < 70 || len(cam.hot) > 130 {
		t.Errorf("%d hot pixels of 10,000, want about 100", len(cam.hot))
	}
}

func TestMismatchAndBandwidth(t *testing.T) {
	cfg := ideal(100, 100, 0.3)
	cfg.Mismatch = 0.05
	cam, err := NewCamera(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var sum, square float64
	for _, v := range cam.on {
		sum += float64(v)
		square += float64(v) * float64(v)
	}
	mean := sum / 10_000
	if sd := math.Sqrt(square/10_000 - mean*mean); math.Abs(mean-0.3) > 0.001 || math.Abs(sd-0.015) > 0.001 {
		t.Errorf("thresholds %.4f +- %.4f, want 0.3 +- 0.015", mean, sd)
	}
	count := func(hz float64) int {
		cfg := ideal(20, 20, 0.2)
		cfg.BandwidthHz, cfg.StepPixels = hz, 0.02
		return len(record(t, cfg, Scene{Image: blob(16, 16), Black: 0.05}, ClosedLoop(6, 2, 40_000), 0))
	}
	fast, slow, off := count(1e5), count(5), count(0)
	if slow > fast*3/4 {
		t.Errorf("%d events at 5 Hz, %d at 100 kHz: a slow pixel must lose contrast", slow, fast)
	}
	if d := float64(fast-off) / float64(off); math.Abs(d) > 0.02 {
		t.Errorf("%d events at 100 kHz, %d without limit: want about the same", fast, off)
	}
}

// The way of moving the image is no matter of accuracy: finer steps change
// little, and the quick view equals the general one.
func TestStepsAndViews(t *testing.T) {
	count := func(step float64) int {
		cfg := ideal(34, 34, 0.2)
		cfg.StepPixels = step
		return len(record(t, cfg, Scene{Image: blob(28, 28), Black: 0.1}, ThreeSaccades(3), 0))
	}
	coarse, fine := count(0.25), count(0.02)
	if d := math.Abs(float64(coarse-fine)) / float64(fine); d > 0.02 {
		t.Errorf("%d events with steps of 0.25 pixels, %d with 0.02: %.1f %% apart", coarse, fine, 100*d)
	}

	cam, err := NewCamera(ideal(13, 9, 0.2))
	if err != nil {
		t.Fatal(err)
	}
	scene := Scene{Image: blob(10, 10), Black: 0.1, Background: 0.3, Gamma: 2.2}
	path := Path{{X: -7.3, Y: 4.9}, {TUs: 1, X: 2.25, Y: -3}, {TUs: 2, X: 8, Y: 8.5}}
	v := newView(cam, &scene, path)
	if v.canvas == nil {
		t.Fatal("a plain path should have the quick view")
	}
	quick, general := make([]float32, 13*9), make([]float32, 13*9)
	for _, q := range path {
		v.look(quick, q)
		v.lookTurned(general, q)
		for i := range quick {
			if math.Abs(float64(quick[i]-general[i])) > 2e-3 {
				t.Fatalf("pose %+v, pixel %d: %g, general view %g", q, i, quick[i], general[i])
			}
		}
	}
}

func TestPaths(t *testing.T) {
	p := ThreeSaccades(3)
	if err := p.Validate(); err != nil || p.DurationUs() != 300_000 {
		t.Errorf("three saccades: %g µs, error %v", p.DurationUs(), err)
	}
	for i, want := range []Pose{{X: -3, Y: -3}, {X: 0, Y: 3}, {X: 3, Y: -3}, {X: -3, Y: -3}} {
		got := p[i*100]
		if math.Abs(got.X-want.X) > 1e-9 || math.Abs(got.Y-want.Y) > 1e-9 || got.TUs != float64(i)*100_000 {
			t.Errorf("three saccades, corner %d: %+v, want %+v", i, got, want)
		}
	}
	if p = ClosedLoop(4, 6, 200_000); p.Validate() != nil || p.DurationUs() != 1.2e6 || p[0].X != p[len(p)-1].X {
		t.Errorf("closed loop: %+v", p)
	}
	got, err := ReadPath(strings.NewReader("# a path\nt,x,y,angle\n0,1,-2\n\n1000 3.5 4 90 2\n"), "path.csv")
	want := Path{{X: 1, Y: -2, Scale: 1}, {TUs: 1000, X: 3.5, Y: 4, Angle: math.Pi / 2, Scale: 2}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, error %v; want %+v", got, err, want)
	}
	for name, text := range map[string]string{
		"one pose": "0 0 0", "time stands": "0 0 0\n0 1 1", "word": "0 0 0\n1 a 2", "short": "0 0\n", "nan": "0 0 0\n1 NaN 0",
		"scale": "0 0 0 0 0.001\n1 0 0", "long": "0 1 2 3 4 5",
	} {
		if _, err := ReadPath(strings.NewReader(text), "p"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestErrors(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"width": func(c *Config) { c.Width = 0 }, "height": func(c *Config) { c.Height = 5000 },
		"threshold": func(c *Config) { c.ThresholdOn = 0 }, "mismatch": func(c *Config) { c.Mismatch = math.NaN() },
		"step": func(c *Config) { c.StepPixels = 9 }, "resolution": func(c *Config) { c.ResolutionUs = -1 },
	} {
		cfg := DefaultConfig(10, 10)
		change(&cfg)
		if _, err := NewCamera(cfg); err == nil {
			t.Errorf("%s: no error for %+v", name, cfg)
		}
	}
	cam, err := NewCamera(DefaultConfig(10, 10))
	if err != nil {
		t.Fatal(err)
	}
	good := blob(4, 4)
	for name, s := range map[string]Scene{
		"no image": {}, "black": {Image: good, Black: 1}, "scale": {Image: good, Scale: 1e9}, "gamma": {Image: good, Gamma: -1},
		"pixels": {Image: Image{2, 2, make([]float32, 3)}}, "background": {Image: good, Background: 2},
	} {
		if _, err := cam.Record(s, ThreeSaccades(1), 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := cam.Record(Scene{Image: good}, Path{{}}, 0); err == nil {
		t.Error("no error for a path of one pose")
	}
	// Values that are no luminance do no harm.
	odd := Image{2, 1, []float32{float32(math.NaN()), float32(math.Inf(1))}}
	record(t, DefaultConfig(10, 10), Scene{Image: odd}, ThreeSaccades(1), 0)
	if _, err := NewImage(2, 2, 3, make([]float32, 4)); err == nil {
		t.Error("no error for an image that is too short")
	}
	img, err := NewImage(1, 1, 3, []float32{1, 0.5, 0})
	if err != nil || math.Abs(float64(img.Pix[0])-(0.299+0.2935)) > 1e-6 {
		t.Errorf("grey %v, error %v", img.Pix, err)
	}
}

func BenchmarkDigit(b *testing.B) {
	cam, err := NewCamera(DefaultConfig(34, 34))
	if err != nil {
		b.Fatal(err)
	}
	scene, path := Scene{Image: blob(28, 28), Black: 0.1}, ThreeSaccades(3)
	r, err := cam.Record(scene, path, 0)
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	var ev []events.Event
	for b.Loop() {
		if err := r.Restart(scene, path, 0); err != nil {
			b.Fatal(err)
		}
		ev = r.AppendAll(ev[:0])
		n = len(ev)
	}
	b.ReportMetric(float64(n), "events")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "digits/s")
}
