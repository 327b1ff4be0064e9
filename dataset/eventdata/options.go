package eventdata

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adafire/adafire/events/augment"
	"github.com/adafire/adafire/events/represent"
)

// The rules by which a data set without a split of its own is divided.
const (
	SplitFirst  = "first"  // of each class the first ceil(TrainShare*n) in byte order of the names train, the rest test; the authors' rule
	SplitLast   = "last"   // CIFAR10-DVS: the numbers 0 to 99 of each class test, 100 to 999 train; gives higher figures
	SplitRandom = "random" // of each class as many as with "first", drawn with the seed
)

// Augment says how training samples are varied. The zero value does nothing.
type Augment struct {
	Events    bool `json:"events,omitempty"`    // EventAugment with probability 1/2 (events/augment)
	Reference bool `json:"reference,omitempty"` // with the authors' choice of operations, see augment.EventsOptions
	Array     bool `json:"array,omitempty"`     // mirroring and one of six operations on the array
	Shift     int  `json:"shift,omitempty"`     // move the whole recording by up to this many pixels along each axis, 0..64
}

// Enabled reports whether anything is varied.
func (a Augment) Enabled() bool { return a.Events || a.Array || a.Shift > 0 }

// Options say how a data set is read. The zero value gives the paper's voxel
// grid of 9 bins at 224 x 224.
type Options struct {
	InputSize int `json:"input_size,omitempty"` // side of a sample, pixels, 1..4096; default 224

	// Represent is the representation; its Size is taken from InputSize.
	Represent represent.Config `json:"represent,omitzero"`

	// Split is the rule for sets without a split of their own: empty for the
	// set's default. TrainShare is the share of each class that trains, 0..1,
	// default 0.9. Seed is that of SplitRandom.
	Split      string  `json:"split,omitempty"`
	TrainShare float64 `json:"train_share,omitempty"`
	Seed       uint64  `json:"seed,omitempty"`

	// Augment is what SampleVaried does; nil means DefaultAugment.
	Augment *Augment `json:"augment,omitempty"`

	// Width and Height are the sensor of an eventfolder, pixels; 0: found out
	// from headers, or else from the largest coordinate.
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`

	Lenient bool `json:"lenient,omitempty"` // skip damage inside recordings and count it

	CacheDir string `json:"-"` // folder of caches; empty: DefaultCacheDir()
	NoCache  bool   `json:"-"` // read, or simulate, recordings each time
	Workers  int    `json:"-"` // goroutines that fill the cache and check; 0: one per core

	// Progress is called while a cache is filled, from one goroutine at a
	// time, and with done == total at the end; nil is quiet.
	Progress func(done, total int) `json:"-"`
}

func (o Options) withDefaults(k *kind) Options {
	if o.InputSize == 0 {
		o.InputSize = 224
	}
	o.Represent.Size = o.InputSize
	o.Represent = o.Represent.WithDefaults()
	if o.Split == "" && len(k.splits) > 0 {
		o.Split = k.splits[0]
	}
	if o.TrainShare == 0 {
		o.TrainShare = 0.9
	}
	if o.Augment == nil {
		o.Augment = &k.augment
	}
	return o
}

// validate reports fields out of range, defaults filled in.
func (o *Options) validate(k *kind) error {
	switch {
	case o.InputSize < 1 || o.InputSize > 4096:
		return fmt.Errorf("input size %d: want 1 to 4096", o.InputSize)
	case !(o.TrainShare > 0 && o.TrainShare < 1):
		return fmt.Errorf("training share %g: want between 0 and 1", o.TrainShare)
	case o.Augment.Shift < 0 || o.Augment.Shift > 64:
		return fmt.Errorf("augment: shift of %d pixels: want 0 to 64", o.Augment.Shift)
	case o.Width < 0 || o.Height < 0 || o.Width > 1<<15 || o.Height > 1<<15:
		return fmt.Errorf("sensor of %dx%d: want 0 to %d pixels a side", o.Width, o.Height, 1<<15)
	case o.Workers < 0 || o.Workers > 1024:
		return fmt.Errorf("workers %d: want 0 to 1024", o.Workers)
	case o.Split != "" && !slices.Contains(k.splits, o.Split):
		if len(k.splits) == 0 {
			return fmt.Errorf("data set %s: split rule %q: it is divided by its makers, leave the rule out", k.Name, o.Split)
		}
		return fmt.Errorf("data set %s: split rule %q: want %s", k.Name, o.Split, strings.Join(k.splits, ", "))
	}
	return o.Represent.Validate()
}

// DefaultCacheDir returns the folder of caches: ADAFIRE_CACHE, or adafire in the
// user's folder of caches, or an empty string where there is neither.
func DefaultCacheDir() string {
	if dir := os.Getenv("ADAFIRE_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "adafire")
}

func (a *Augment) eventOptions() augment.EventsOptions {
	return augment.EventsOptions{Reference: a.Reference}
}
