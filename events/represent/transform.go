package represent

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/adafire/adafire/events"
)

// The kinds of representation, Config.Kind.
const (
	Voxel     = "voxel"     // VoxelGrid
	ByCount   = "frames"    // FramesByCount
	ByTime    = "frames-us" // FramesByTime
	Surface   = "surface"   // TimeSurface
	Histogram = "count"     // CountImage
)

// Config.Resize.
const (
	Nearest  = "nearest"
	Bilinear = "bilinear"
)

// Config.Pad.
const (
	PadSquare    = "square"
	PadReference = "reference"
	PadNone      = "none"
)

const (
	defaultBins    = 9   // of the paper
	defaultDecayUs = 5e4 // 50 ms
)

// Kinds returns the names of the representations.
func Kinds() []string { return []string{Voxel, ByCount, ByTime, Surface, Histogram} }

// Config describes a representation. The zero value is the paper's voxel grid
// at the size of the sensor, with AdaFire's rule of time.
type Config struct {
	Kind string `json:"kind,omitempty"` // one of Kinds; empty is "voxel"

	Bins     int     `json:"bins,omitempty"`      // bins of a voxel grid, number of frames; 1..1024, default 9
	Time     string  `json:"time,omitempty"`      // voxel grid: "span" (default) or "max" (the authors' code)
	WindowUs int64   `json:"window_us,omitempty"` // frames-us: length of a frame; 0: a share of the recording
	DecayUs  float64 `json:"decay_us,omitempty"`  // surface; default 50,000

	// Size is the side of the square output in pixels; 0 keeps the sensor's
	// own size, without padding.
	Size   int    `json:"size,omitempty"`
	Resize string `json:"resize,omitempty"` // "nearest" (default) or "bilinear"

	// Pad says how the shorter side is filled with zeros before resizing:
	// "square" (default) puts floor(d/2) rows or columns of a difference d
	// before and the rest behind; "reference" puts floor(d/2) on both sides,
	// which with an odd d is one short of a square, as in the authors' code;
	// "none" stretches.
	Pad string `json:"pad,omitempty"`
}

// WithDefaults returns the configuration with empty fields filled in.
func (c Config) WithDefaults() Config {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.Kind, Voxel)
	set(&c.Time, Span.String())
	set(&c.Resize, Nearest)
	set(&c.Pad, PadSquare)
	if c.Bins == 0 {
		c.Bins = defaultBins
	}
	if c.Kind == Surface || c.Kind == Histogram {
		c.Bins = 1
	}
	if c.DecayUs == 0 {
		c.DecayUs = defaultDecayUs
	}
	return c
}

// Validate reports fields out of range.
func (c *Config) Validate() error {
	d := c.WithDefaults()
	one := func(what, got string, want ...string) error {
		if slices.Contains(want, got) {
			return nil
		}
		return fmt.Errorf("representation: %s %q: want %s", what, got, strings.Join(want, ", "))
	}
	if err := one("kind", d.Kind, Kinds()...); err != nil {
		return err
	}
	if err := one("time", d.Time, "span", "max"); err != nil {
		return err
	}
	if err := one("resize", d.Resize, Nearest, Bilinear); err != nil {
		return err
	}
	if err := one("pad", d.Pad, PadSquare, PadReference, PadNone); err != nil {
		return err
	}
	switch {
	case d.Bins < 1 || d.Bins > maxBins:
		return fmt.Errorf("representation: %d bins: want 1 to %d", d.Bins, maxBins)
	case d.Size < 0 || d.Size > 4096:
		return fmt.Errorf("representation: size %d: want 0 to 4096", d.Size)
	case d.WindowUs < 0:
		return fmt.Errorf("representation: window of %d µs: want 0 or more", d.WindowUs)
	case !(d.DecayUs > 0) || math.IsInf(d.DecayUs, 0):
		return fmt.Errorf("representation: decay of %g µs: want above 0", d.DecayUs)
	}
	return nil
}

// A Transform makes arrays of one shape from recordings of one sensor. It holds
// scratch memory: use one for each goroutine.
type Transform struct {
	cfg                     Config
	rule                    TimeRule
	height, width, channels int // of the sensor
	outH, outW              int

	grid                 []float32 // [height,width,channels]; nil when the output is the grid
	rows, cols           []int
	rowTaps, columnsTaps []tap
	zero                 []float32
}

// New returns a transform for a sensor of height x width pixels.
func New(cfg Config, height, width int) (*Transform, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	if height < 1 || width < 1 || height > 1<<16 || width > 1<<16 {
		return nil, fmt.Errorf("sensor of %dx%d: want 1 to 65536 pixels a side", width, height)
	}
	t := &Transform{cfg: cfg, height: height, width: width, channels: 2 * cfg.Bins, outH: height, outW: width}
	if cfg.Time == Max.String() {
		t.rule = Max
	}
	if height*width > (1<<31)/t.channels {
		return nil, fmt.Errorf("sensor of %dx%d with %d channels: more than 2^31 values", width, height, t.channels)
	}
	if cfg.Size == 0 {
		return t, nil
	}
	t.outH, t.outW = cfg.Size, cfg.Size
	padH, padW := t.padding()
	if padH.total == cfg.Size && padW.total == cfg.Size && padH.total == height && padW.total == width {
		return t, nil
	}
	t.grid = make([]float32, height*width*t.channels)
	if cfg.Resize == Bilinear {
		t.rowTaps, t.columnsTaps = padTaps(linearTaps(padH.total, cfg.Size), padH), padTaps(linearTaps(padW.total, cfg.Size), padW)
		t.zero = make([]float32, t.channels)
	} else {
		t.rows, t.cols = padIndex(NearestIndex(padH.total, cfg.Size), padH), padIndex(NearestIndex(padW.total, cfg.Size), padW)
	}
	return t, nil
}

// a padded axis has before zeros, then size values, then zeros up to total.
type padded struct{ before, size, total int }

func (t *Transform) padding() (rows, cols padded) {
	long := max(t.height, t.width)
	axis := func(size int) padded {
		d := long - size
		switch {
		case t.cfg.Pad == PadNone:
			return padded{0, size, size}
		case t.cfg.Pad == PadReference:
			return padded{d / 2, size, size + 2*(d/2)}
		}
		return padded{d / 2, size, long}
	}
	return axis(t.height), axis(t.width)
}

// source returns the position in the unpadded axis, -1 in the padding.
func (p padded) source(i int) int {
	if i -= p.before; i >= 0 && i < p.size {
		return i
	}
	return -1
}

func padIndex(index []int, p padded) []int {
	for i, v := range index {
		index[i] = p.source(v)
	}
	return index
}

func padTaps(taps []tap, p padded) []tap {
	for i, v := range taps {
		taps[i] = tap{p.source(v.a), p.source(v.b), v.share}
	}
	return taps
}

// Shape returns the shape of the output: height, width, channels.
func (t *Transform) Shape() []int { return []int{t.outH, t.outW, t.channels} }

// Len returns the number of values of the output.
func (t *Transform) Len() int { return t.outH * t.outW * t.channels }

// Config returns the configuration with the defaults filled in.
func (t *Transform) Config() Config { return t.cfg }

// Fill writes the representation of a recording to dst, which must have Len
// values. A recording without events is all zeros. It does not allocate.
func (t *Transform) Fill(dst []float32, ev []events.Event) (Lost, error) {
	if len(dst) != t.Len() {
		return Lost{}, fmt.Errorf("destination of %d values, want %d for the shape %v", len(dst), t.Len(), t.Shape())
	}
	grid := t.grid
	if grid == nil {
		grid = dst
	}
	var lost Lost
	var err error
	switch t.cfg.Kind {
	case Voxel:
		lost, err = VoxelGrid(grid, t.height, t.width, t.cfg.Bins, t.rule, ev)
	case ByCount, Histogram:
		lost, err = FramesByCount(grid, t.height, t.width, t.cfg.Bins, ev)
	case ByTime:
		lost, err = FramesByTime(grid, t.height, t.width, t.cfg.Bins, t.cfg.WindowUs, ev)
	case Surface:
		lost, err = TimeSurface(grid, t.height, t.width, t.cfg.DecayUs, ev)
	}
	if err != nil {
		return lost, err
	}
	t.resize(dst)
	return lost, nil
}

// Resize pads and resizes an array of the sensor's size, [height, width,
// channels] of the transform, to dst. It does not allocate.
func (t *Transform) Resize(dst, grid []float32) error {
	if len(dst) != t.Len() || len(grid) != t.height*t.width*t.channels {
		return fmt.Errorf("resize %d values to %d: want %d to %d", len(grid), len(dst), t.height*t.width*t.channels, t.Len())
	}
	if t.grid == nil {
		copy(dst, grid)
		return nil
	}
	copy(t.grid, grid)
	t.resize(dst)
	return nil
}

func (t *Transform) resize(dst []float32) {
	switch {
	case t.grid == nil:
	case t.rows != nil:
		nearest(dst, t.grid, t.width, t.channels, t.rows, t.cols)
	default:
		bilinear(dst, t.grid, t.width, t.channels, t.rowTaps, t.columnsTaps, t.zero)
	}
}
