// Package miniature writes small copies of event data sets in their true file
// formats and folder layouts, for tests and demonstrations: what is read from
// them goes through the same code as the real ones.
//
//	err := miniature.Write("ncars", dir, miniature.Options{PerClass: 4})
//
// The recordings are made up: a spot of events that goes round a place which
// tells the class, so that a small network can learn them.
package miniature

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/codec"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/internal/random"
)

// Options say how much is written.
type Options struct {
	PerClass int    // recordings of each class in each part, or of each class where the parts are made by the reader; 0 means 10
	Events   int    // of a recording; 0 means 300
	Seed     uint64 // of the recordings
	Classes  int    // at most so many classes where the layout leaves it open (ncaltech101, eventfolder); 0: all

	// Edition picks one of several: cifar10dvs "aedat" (default), "aedat4" or
	// "npz"; ncaltech101 "bin" (default) or "npy"; ncars "dat" (default) or
	// "npy"; action-recognition "npy" (default) or "aedat"; eventfolder
	// "split" (default) or "plain".
	Edition string
}

// Names returns the data sets that Write knows.
func Names() []string {
	return []string{"cifar10dvs", "ncaltech101", "ncars", "nmnist", "dvs128gesture", "asldvs", "action-recognition", "eventfolder"}
}

// Write writes a data set into dir, which is made when it is not there.
func Write(name, dir string, o Options) error {
	if o.PerClass == 0 {
		o.PerClass = 10
	}
	if o.Events == 0 {
		o.Events = 300
	}
	w := &writer{dir: dir, opts: o, rng: random.New(o.Seed, "miniature "+name)}
	switch name {
	case "cifar10dvs":
		return w.cifar10dvs()
	case "ncaltech101":
		return w.ncaltech101()
	case "ncars":
		return w.ncars()
	case "nmnist":
		return w.nmnist()
	case "dvs128gesture":
		return w.gesture()
	case "asldvs":
		return w.asldvs()
	case "action-recognition":
		return w.action()
	case "eventfolder":
		return w.folder()
	}
	return fmt.Errorf("no miniature of %q: want one of %s", name, strings.Join(Names(), ", "))
}

type writer struct {
	dir  string
	opts Options
	rng  *rand.Rand
}

// spot returns events of class k of n on a sensor, from startUs for spanUs.
func (w *writer) spot(k, n, width, height int, startUs, spanUs int64) []events.Event {
	sin, cos := math.Sincos(2 * math.Pi * float64(k) / float64(n))
	cx := float64(width)/2 + 0.3*float64(width)*cos
	cy := float64(height)/2 + 0.3*float64(height)*sin
	radius := 0.06 * float64(min(width, height))
	list := make([]events.Event, w.opts.Events)
	for i := range list {
		share := float64(i) / float64(len(list))
		sin, cos := math.Sincos(6 * math.Pi * share)
		x := cx + radius*(cos+w.rng.NormFloat64())
		y := cy + radius*(sin+w.rng.NormFloat64())
		list[i] = events.Event{
			T: startUs + int64(share*float64(spanUs)),
			X: uint16(min(max(x, 0), float64(width-1))), Y: uint16(min(max(y, 0), float64(height-1))),
			P: uint8(w.rng.Uint64() & 1),
		}
	}
	return list
}

// create writes one recording; the path has slashes.
func (w *writer) create(path string, h events.Header, o codec.WriteOptions, list []events.Event) error {
	full, err := w.place(path)
	if err != nil {
		return err
	}
	f, err := os.Create(full) // codec.Create waits for the disk, which thousands of files need not
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := codec.NewWriter(f, h, o)
	if err != nil {
		return err
	}
	if err := out.Write(list); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return f.Close()
}

// table writes one recording as the authors' code keeps it: an array of the
// columns x, y, t in seconds and p, -1 or 1.
func (w *writer) table(path string, list []events.Event) error {
	full, err := w.place(path)
	if err != nil {
		return err
	}
	values := make([]float64, 0, 4*len(list))
	for _, e := range list {
		values = append(values, float64(e.X), float64(e.Y), float64(e.T)/1e6, 2*float64(e.P)-1)
	}
	return npy.WriteFile(full, []int{len(list), 4}, values)
}

// place returns the full path of a file and makes its folder.
func (w *writer) place(path string) (string, error) {
	full := filepath.Join(w.dir, filepath.FromSlash(path))
	return full, os.MkdirAll(filepath.Dir(full), 0o777)
}

func (w *writer) edition(standard string, others ...string) (string, error) {
	e := w.opts.Edition
	if e == "" {
		return standard, nil
	}
	for _, known := range append(others, standard) {
		if e == known {
			return e, nil
		}
	}
	return "", fmt.Errorf("edition %q: want %s", e, strings.Join(append([]string{standard}, others...), ", "))
}

func (w *writer) limit(classes []string) []string {
	if n := w.opts.Classes; n > 0 && n < len(classes) {
		return classes[:n]
	}
	return classes
}
