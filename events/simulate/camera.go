package simulate

import (
	"fmt"
	"math"

	"github.com/adafire/adafire/internal/random"
)

// Config describes a camera. A field of 0 switches its effect off, save for
// those that must be set: the size and the thresholds.
type Config struct {
	Width  int `json:"width"`  // pixels, 1..4096
	Height int `json:"height"` // pixels, 1..4096

	// ThresholdOn and ThresholdOff are the changes of the natural logarithm of
	// the luminance that make an event, 0.01..10.
	ThresholdOn  float64 `json:"threshold_on"`
	ThresholdOff float64 `json:"threshold_off"`

	Mismatch     float64 `json:"mismatch,omitempty"`      // standard deviation of the thresholds between pixels, as a share, 0..0.5
	RefractoryUs float64 `json:"refractory_us,omitempty"` // a pixel is blind for this long after an event and starts from what it then sees
	LeakHz       float64 `json:"leak_hz,omitempty"`       // ON events of a pixel at rest, per second
	ShotHz       float64 `json:"shot_hz,omitempty"`       // noise events of a dark pixel per second, either polarity; a quarter of it at white
	HotShare     float64 `json:"hot_share,omitempty"`     // share of pixels that fire by themselves, 0..1
	HotHz        float64 `json:"hot_hz,omitempty"`        // ON events of such a pixel per second
	ResolutionUs int64   `json:"resolution_us,omitempty"` // times are rounded down to multiples; 0 and 1 are the same; up to a second
	BandwidthHz  float64 `json:"bandwidth_hz,omitempty"`  // cut-off of the photoreceptor, a first-order low-pass

	// LinearBelow is the luminance, as a share of white, below which the
	// response is linear, 0.001..1; 0 means 20/255.
	LinearBelow float64 `json:"linear_below,omitempty"`

	// StepPixels is how far the image moves at most between two positions
	// that are looked at, 0.01..4; 0 means 0.25, which at hard edges finds
	// about 95 % of the events that much finer steps find.
	StepPixels float64 `json:"step_pixels,omitempty"`

	Seed uint64 `json:"seed,omitempty"` // of thresholds, hot pixels and noise
}

// DefaultConfig returns a camera of ordinary quality: thresholds of 0.3 that
// differ by 3 %, a refractory period of 1 ms, leak and shot noise of 0.1 Hz, one
// hot pixel in 2,000 at 20 Hz, times in microseconds.
func DefaultConfig(width, height int) Config {
	return Config{
		Width: width, Height: height, ThresholdOn: 0.3, ThresholdOff: 0.3, Mismatch: 0.03, RefractoryUs: 1000,
		LeakHz: 0.1, ShotHz: 0.1, HotShare: 1.0 / 2000, HotHz: 20, ResolutionUs: 1,
	}
}

// Validate reports fields out of range.
func (c *Config) Validate() error {
	if c.Width < 1 || c.Height < 1 || c.Width > maxSide || c.Height > maxSide {
		return fmt.Errorf("camera of %dx%d pixels: want 1 to %d a side", c.Width, c.Height, maxSide)
	}
	for _, f := range []struct {
		name       string
		value      float64
		least, top float64
	}{
		{"ON threshold", c.ThresholdOn, 0.01, 10},
		{"OFF threshold", c.ThresholdOff, 0.01, 10},
		{"mismatch", c.Mismatch, 0, 0.5},
		{"refractory period in µs", c.RefractoryUs, 0, 1e9},
		{"leak rate in Hz", c.LeakHz, 0, 1e4},
		{"shot noise in Hz", c.ShotHz, 0, 1e4},
		{"share of hot pixels", c.HotShare, 0, 1},
		{"rate of hot pixels in Hz", c.HotHz, 0, 1e5},
		{"resolution in µs", float64(c.ResolutionUs), 0, 1e6},
		{"bandwidth in Hz", c.BandwidthHz, 0, 1e6},
		{"start of the logarithm", orDefault(c.LinearBelow, 1), 0.001, 1},
		{"step in pixels", orDefault(c.StepPixels, 1), 0.01, 4},
	} {
		if !(f.value >= f.least && f.value <= f.top) {
			return fmt.Errorf("camera: %s %g: want %g to %g", f.name, f.value, f.least, f.top)
		}
	}
	return nil
}

const (
	maxSide    = 4096
	tableSteps = 4096 // of the luminance in the table of the response
)

// A Camera is a camera with its own thresholds and hot pixels. It may be used
// from several goroutines.
type Camera struct {
	cfg      Config
	on, off  []float32 // thresholds per pixel, row by row; off above 0 too
	hot      []int     // pixels
	response []knot    // tableSteps+1
}

// a knot of the response: value and difference to the next.
type knot struct{ value, slope float32 }

// NewCamera makes a camera.
func NewCamera(cfg Config) (*Camera, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.LinearBelow = orDefault(cfg.LinearBelow, 20.0/255)
	cfg.StepPixels = orDefault(cfg.StepPixels, 0.25)
	cfg.ResolutionUs = max(cfg.ResolutionUs, 1)
	n := cfg.Width * cfg.Height
	c := &Camera{cfg: cfg, on: make([]float32, n), off: make([]float32, n)}
	rng := random.New(cfg.Seed, "camera mismatch")
	for i := range n {
		// A threshold near 0 would fire without end.
		c.on[i] = float32(cfg.ThresholdOn * max(0.1, 1+cfg.Mismatch*rng.NormFloat64()))
		c.off[i] = float32(cfg.ThresholdOff * max(0.1, 1+cfg.Mismatch*rng.NormFloat64()))
	}
	rng = random.New(cfg.Seed, "camera hot pixels")
	if cfg.HotHz > 0 {
		for i := range n {
			if rng.Float64() < cfg.HotShare {
				c.hot = append(c.hot, i)
			}
		}
	}
	c.response = make([]knot, tableSteps+1)
	for i := range c.response {
		here, next := c.respond(float64(i)/tableSteps), c.respond(float64(i+1)/tableSteps)
		c.response[i] = knot{float32(here), float32(next - here)}
	}
	return c, nil
}

// Config returns the configuration with the defaults filled in.
func (c *Camera) Config() Config { return c.cfg }

// respond is the response to a luminance, as a share of white, of 0 or more:
// the logarithm of 255 times it above LinearBelow, and below it the straight
// line through the origin that meets the logarithm there.
func (c *Camera) respond(luminance float64) float64 {
	v, from := 255*luminance, 255*c.cfg.LinearBelow
	if v < from {
		return v * math.Log(from) / from
	}
	return math.Log(v)
}

func orDefault(v, standard float64) float64 {
	if v == 0 {
		return standard
	}
	return v
}
