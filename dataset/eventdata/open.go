package eventdata

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adafire/adafire/dataset"
)

// Open opens the named data set in folder dir and returns both parts. An empty
// dir means $ADAFIRE_DATA/<name>; nmnist-sim needs none and takes the four files
// of MNIST from dir when there is one.
//
// It lists the folder but reads recordings only to fill the cache, on the first
// call, and that of an eventfolder whose files do not say how large the sensor
// is. ctx ends that; what has been done is then lost.
//
// Errors: dataset.ErrUnknown for the name, a *LayoutError that says what was
// expected and what is missing, unfinished or mixed up, an *events.Error for a
// damaged recording.
func Open(ctx context.Context, name, dir string, o Options) (train, test *Set, err error) {
	d, err := prepare(name, dir, o)
	if err != nil {
		return nil, nil, err
	}
	if err := d.ready(ctx); err != nil {
		return nil, nil, err
	}
	if train, err = newSet(d, "train", d.items[:d.trainItems]); err != nil {
		return nil, nil, err
	}
	if test, err = newSet(d, "test", d.items[d.trainItems:]); err != nil {
		return nil, nil, err
	}
	return train, test, nil
}

// data is an opened data set, both parts.
type data struct {
	kind       *kind
	dir        string
	opts       Options
	coll       *collection
	items      []item // train, then test
	trainItems int
	stored     []*item // the same in the order of the cache, which no split changes

	width, height int
	digits        *digits // of nmnist-sim
	cache         *cache  // nil without
}

// prepare checks the options and lists the folder.
func prepare(name, dir string, o Options) (*data, error) {
	k, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults(k)
	if err := o.validate(k); err != nil {
		return nil, err
	}
	if dir, err = folder(k, dir); err != nil {
		return nil, err
	}
	l := &lister{kind: k, dir: dir}
	c := k.list(l, &o)
	if len(l.findings) == 0 && len(c.train) == 0 {
		l.find("no recording to train with (%s)", c.rule)
	}
	if len(l.findings) == 0 && len(c.test) == 0 {
		l.find("no recording to test with (%s)", c.rule)
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	d := &data{kind: k, dir: dir, opts: o, coll: c, width: k.width, height: k.height, trainItems: len(c.train)}
	d.items = append(append(d.items, c.train...), c.test...)
	d.stored = make([]*item, len(d.items))
	for i := range d.items {
		d.stored[i] = &d.items[i]
	}
	slices.SortStableFunc(d.stored, func(a, b *item) int {
		return cmp.Or(strings.Compare(a.path, b.path), cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	for i, it := range d.stored {
		it.number = i
	}
	if d.width == 0 {
		d.width, d.height = o.Width, o.Height
	}
	if k.Name == simulated {
		if d.digits, err = openDigits(dir); err != nil {
			return nil, err
		}
	}
	d.note()
	return d, nil
}

// folder resolves the folder of a data set and checks that it is there.
func folder(k *kind, dir string) (string, error) {
	if dir == "" && k.Embedded {
		return "", nil
	}
	if dir == "" {
		root := os.Getenv("ADAFIRE_DATA")
		if root == "" {
			return "", &dataset.MissingError{Dataset: k.Description}
		}
		dir = filepath.Join(root, k.Name)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", &dataset.MissingError{Dataset: k.Description, Path: dir, Detail: "not found" + archives(filepath.Dir(dir))}
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", &dataset.MissingError{Dataset: k.Description, Path: dir, Detail: "not a folder"}
	}
	return dir, nil
}

// ready finds the size of the sensor and opens or fills the cache.
func (d *data) ready(ctx context.Context) error {
	var err error
	if !d.opts.NoCache {
		if d.cache, err = openCache(d); err != nil || d.cache != nil {
			return err
		}
	}
	if d.width == 0 || d.height == 0 {
		if err := d.measure(ctx); err != nil {
			return err
		}
	}
	if !d.opts.NoCache {
		d.cache, err = fillCache(ctx, d)
	}
	return err
}

// note compares numbers with those of the data set as distributed.
func (d *data) note() {
	k := d.kind
	if k.perClass > 0 {
		count := make([]int, len(d.coll.classes))
		for _, it := range d.items {
			count[it.label]++
		}
		for label, n := range count {
			if n != k.perClass {
				d.coll.notes = append(d.coll.notes, fmt.Sprintf("class %s has %d recordings, as distributed it has %d", d.coll.classes[label], n, k.perClass))
			}
		}
		return
	}
	for _, part := range []struct {
		name      string
		got, want int
	}{{"train", d.trainItems, k.Train}, {"test", len(d.items) - d.trainItems, k.Test}} {
		if part.want > 0 && part.got != part.want && k.Name != simulated {
			d.coll.notes = append(d.coll.notes, fmt.Sprintf("%s has %d recordings, as distributed it has %d", part.name, part.got, part.want))
		}
	}
}

// hash returns the SHA-256 of the lines "size  name" of the items.
func hash(items []item) string {
	h := sha256.New()
	for _, it := range items {
		fmt.Fprintf(h, "%d  %s", it.size, it.path)
		if it.end > it.start {
			fmt.Fprintf(h, "  %d-%d", it.start, it.end)
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil))
}
