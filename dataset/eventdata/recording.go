package eventdata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/codec"
	"github.com/adafire/adafire/internal/parallel"
)

// maxEvents bounds the events of one sample: 512 MiB in memory.
const maxEvents = 1 << 25

const chunkEvents = 4096

var chunks = sync.Pool{New: func() any { return new([chunkEvents]events.Event) }}

// open opens the recording of an item.
func (d *data) open(it *item) (*codec.Recording, error) {
	o := codec.Options{Width: d.width, Height: d.height}
	if extensionOf(it.path) == ".aedat" {
		o.Convention = d.coll.convention
	}
	if d.opts.Lenient {
		o.Mode = codec.Lenient
	}
	return codec.Open(filepath.Join(d.dir, filepath.FromSlash(it.path)), o)
}

// scan reads the recording of an item and gives out its events piece by piece.
func (d *data) scan(it *item, fn func([]events.Event) error) (events.Stats, error) {
	rec, err := d.open(it)
	if err != nil {
		return events.Stats{}, err
	}
	defer rec.Close()
	chunk := chunks.Get().(*[chunkEvents]events.Event)
	defer chunks.Put(chunk)
	for {
		n, err := rec.Read(chunk[:])
		if n > 0 {
			if err := fn(chunk[:n]); err != nil {
				return *rec.Stats(), err
			}
		}
		if errors.Is(err, io.EOF) {
			return *rec.Stats(), nil
		}
		if err != nil {
			return *rec.Stats(), err
		}
	}
}

// load appends the events of items that are clips of one recording to the
// slices dst, one for each.
func (d *data) load(items []*item, dst [][]events.Event) (events.Stats, error) {
	if d.digits != nil {
		for i := range items {
			var err error
			if dst[i], err = d.digits.record(items[i], dst[i]); err != nil {
				return events.Stats{}, err
			}
		}
		return events.Stats{}, nil
	}
	whole := len(items) == 1 && items[0].end == items[0].start
	stats, err := d.scan(items[0], func(piece []events.Event) error {
		if whole {
			dst[0] = append(dst[0], piece...)
		} else {
			for i := range items {
				for _, e := range piece {
					if items[i].start <= e.T && e.T < items[i].end {
						dst[i] = append(dst[i], e)
					}
				}
			}
		}
		for i := range dst {
			if len(dst[i]) > maxEvents {
				return fmt.Errorf("%s: more than %d events in one sample: cut the recording into clips", items[0].path, maxEvents)
			}
		}
		return nil
	})
	return stats, err
}

// group returns the end of the items from i on that are clips of one recording.
func group(items []*item, i int) int {
	j := i + 1
	for j < len(items) && items[j].path == items[i].path && items[j].end > items[j].start {
		j++
	}
	return j
}

// measure finds the size of the sensor: from the headers, or else the largest
// coordinates of all recordings.
func (d *data) measure(ctx context.Context) error {
	said, complete := "", true
	width, height := 0, 0
	for i := range d.items {
		rec, err := d.open(&d.items[i])
		if err != nil {
			return err
		}
		h := rec.Header()
		rec.Close()
		switch {
		case h.Width == 0 || h.Height == 0:
			complete = false
		case said == "":
			width, height, said = h.Width, h.Height, d.items[i].path
		case h.Width != width || h.Height != height:
			return fmt.Errorf("data set %s: %s is from a sensor of %dx%d pixels, %s from one of %dx%d: give the width and height of the sensor, or keep sensors apart",
				d.kind.Name, said, width, height, d.items[i].path, h.Width, h.Height)
		}
		if !complete {
			break
		}
	}
	if complete {
		d.width, d.height = width, height
		return nil
	}
	pool := parallel.New(d.opts.Workers)
	defer pool.Close()
	type size struct {
		w, h int
		err  error
	}
	sizes := make([]size, len(d.items))
	pool.For(len(d.items), func(i int) {
		s := &sizes[i]
		if s.err = ctx.Err(); s.err != nil {
			return
		}
		_, s.err = d.scan(&d.items[i], func(piece []events.Event) error {
			for _, e := range piece {
				s.w, s.h = max(s.w, int(e.X)+1), max(s.h, int(e.Y)+1)
			}
			return ctx.Err()
		})
	})
	for _, s := range sizes {
		if s.err != nil {
			return s.err
		}
		d.width, d.height = max(d.width, s.w), max(d.height, s.h)
	}
	if d.width == 0 {
		return fmt.Errorf("data set %s: no recording has any event", d.kind.Name)
	}
	if d.width > 1<<15 || d.height > 1<<15 {
		return fmt.Errorf("data set %s: coordinates up to (%d, %d): want a sensor of at most %d pixels a side", d.kind.Name, d.width-1, d.height-1, 1<<15)
	}
	d.coll.notes = append(d.coll.notes, fmt.Sprintf("no header says the size of the sensor: taken to be %dx%d, the largest coordinates", d.width, d.height))
	return nil
}
