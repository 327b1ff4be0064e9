package eventdata

import (
	"context"
	"errors"
	"fmt"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/parallel"
)

// maxProblems bounds how many damaged recordings a report lists.
const maxProblems = 100

// Check looks a folder through and decodes every recording, in constant memory
// and without the cache. What is missing or damaged is in the report: when the
// folder is not as it should be, one problem says in one message what was
// expected where and what was found (see LayoutError). An error means that the
// data set is unknown, an option is wrong or ctx has ended.
func Check(ctx context.Context, name, dir string, o Options) (*dataset.Report, error) {
	k, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	r := &dataset.Report{Name: k.Name, Dir: dir}
	o.NoCache = true
	d, err := prepare(name, dir, o)
	var layout *LayoutError
	var missing *dataset.MissingError
	switch {
	case errors.As(err, &layout), errors.As(err, &missing):
		r.Splits = []dataset.SplitReport{{Split: "train and test", Problems: []string{err.Error()}}}
		return r, nil
	case err != nil:
		return nil, err
	}
	if err := d.ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Splits = []dataset.SplitReport{{Split: "train and test", Problems: []string{err.Error()}}}
		return r, nil
	}
	for _, part := range []struct {
		name   string
		lo, hi int
	}{{"train", 0, d.trainItems}, {"test", d.trainItems, len(d.items)}} {
		s, err := d.check(ctx, part.name, part.lo, part.hi)
		if err != nil {
			return nil, err
		}
		r.Splits = append(r.Splits, s)
	}
	first := &r.Splits[0]
	first.Notes = append(append([]string{"divided: " + d.coll.rule}, d.coll.notes...), first.Notes...)
	return r, nil
}

// check decodes the recordings of one part.
func (d *data) check(ctx context.Context, split string, lo, hi int) (dataset.SplitReport, error) {
	items := make([]*item, hi-lo)
	for i := range items {
		items[i] = &d.items[lo+i]
	}
	s := dataset.SplitReport{
		Split: split, Samples: len(items), Shape: []int{d.height, d.width, 2}, Classes: d.coll.classes,
		PerClass: make([]int, len(d.coll.classes)), SHA256: hash(d.items[lo:hi]),
	}
	var groups [][2]int
	for i := 0; i < len(items); {
		j := group(items, i)
		groups = append(groups, [2]int{i, j})
		i = j
	}
	count := make([]int64, len(items))
	stats, damage := make([]events.Stats, len(groups)), make([]error, len(groups))
	pool := parallel.New(d.opts.Workers)
	defer pool.Close()
	pool.For(len(groups), func(g int) {
		if damage[g] = ctx.Err(); damage[g] == nil {
			stats[g], damage[g] = d.count(items[groups[g][0]:groups[g][1]], count[groups[g][0]:groups[g][1]])
		}
	})
	if err := ctx.Err(); err != nil {
		return s, err
	}
	var all events.Stats
	bad, empty, total := 0, 0, int64(0)
	for g, span := range groups {
		all.Merge(&stats[g])
		if damage[g] != nil {
			if bad++; bad <= maxProblems {
				s.Problems = append(s.Problems, damage[g].Error())
			}
			continue
		}
		for i := span[0]; i < span[1]; i++ {
			s.PerClass[items[i].label]++
			total += count[i]
			if count[i] == 0 {
				empty++
			}
		}
	}
	if bad > maxProblems {
		s.Problems = append(s.Problems, fmt.Sprintf("and %d more damaged recordings", bad-maxProblems))
	}
	s.Notes = append(s.Notes, fmt.Sprintf("%d events, sensor %dx%d", total, d.width, d.height))
	if empty > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d samples have no events", empty))
	}
	if all.Any() {
		s.Notes = append(s.Notes, "while reading: "+all.String())
	}
	for y, n := range s.PerClass {
		if n == 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("no sample of class %s", s.Classes[y]))
		}
	}
	return s, nil
}

// count decodes one recording and counts the events of each of its clips.
func (d *data) count(items []*item, count []int64) (events.Stats, error) {
	if d.digits != nil {
		ev, err := d.digits.record(items[0], nil)
		count[0] = int64(len(ev))
		return events.Stats{}, err
	}
	whole := items[0].end == items[0].start
	return d.scan(items[0], func(piece []events.Event) error {
		if whole {
			count[0] += int64(len(piece))
			return nil
		}
		for i, it := range items {
			for _, e := range piece {
				if it.start <= e.T && e.T < it.end {
					count[i]++
				}
			}
		}
		return nil
	})
}
