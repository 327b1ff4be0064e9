package dataset

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/adafire/adafire/internal/parallel"
)

// A Report says what Check found.
type Report struct {
	Name string `json:"name"`
	Dir  string `json:"dir,omitempty"`

	Splits []SplitReport `json:"splits"`
}

// OK reports whether every split can be read without a defect. Notes do not
// count.
func (r *Report) OK() bool {
	for _, s := range r.Splits {
		if len(s.Problems) > 0 {
			return false
		}
	}
	return true
}

// A SplitReport is the part of a Report about one split.
type SplitReport struct {
	Split    string   `json:"split"`
	Samples  int      `json:"samples"`
	Shape    []int    `json:"shape,omitempty"`
	Classes  []string `json:"classes,omitempty"`
	PerClass []int    `json:"per_class,omitempty"` // readable samples of each class
	SHA256   string   `json:"sha256,omitempty"`

	Problems []string `json:"problems,omitempty"` // missing or damaged
	Notes    []string `json:"notes,omitempty"`    // worth knowing
}

// maxProblems bounds how many damaged samples a report lists.
const maxProblems = 100

// Check opens both splits and decodes every sample. What is missing or damaged
// is in the report; an error means that the data set is unknown.
func Check(name, dir string) (*Report, error) {
	r := &Report{Name: name, Dir: dir}
	d := Describe(name)
	for _, split := range []string{"train", "test"} {
		s := SplitReport{Split: split}
		ds, err := Open(name, dir, split)
		switch {
		case errors.Is(err, ErrUnknown):
			return nil, err
		case err != nil:
			s.Problems = append(s.Problems, err.Error())
		default:
			s.check(ds, d)
		}
		r.Splits = append(r.Splits, s)
	}
	return r, nil
}

// check decodes the samples of ds and counts them.
func (s *SplitReport) check(ds Dataset, d Description) {
	info := ds.Info()
	s.Samples, s.Shape, s.Classes, s.SHA256 = ds.Len(), info.Shape, info.Classes, info.SHA256
	s.PerClass = make([]int, len(info.Classes))

	pool := parallel.New(0)
	defer pool.Close()
	buffers := make([][]float32, pool.Workers())
	labels, damage := make([]int, ds.Len()), make([]error, ds.Len())
	pool.ForWorker(ds.Len(), func(worker, i int) {
		if buffers[worker] == nil {
			buffers[worker] = make([]float32, sampleLen(ds))
		}
		labels[i], damage[i] = ds.Sample(i, buffers[worker])
	})
	bad := 0
	for i, err := range damage {
		if err == nil {
			s.PerClass[labels[i]]++
		} else if bad++; bad <= maxProblems {
			s.Problems = append(s.Problems, err.Error())
		}
	}
	if bad > maxProblems {
		s.Problems = append(s.Problems, fmt.Sprintf("and %d more damaged samples", bad-maxProblems))
	}

	if want := map[string]int{"train": d.Train, "test": d.Test}[s.Split]; want > 0 && want != s.Samples {
		s.Notes = append(s.Notes, fmt.Sprintf("%d samples, as distributed it has %d", s.Samples, want))
	}
	if d.Classes > 0 && d.Classes != len(s.Classes) {
		s.Notes = append(s.Notes, fmt.Sprintf("%d classes, as distributed it has %d", len(s.Classes), d.Classes))
	}
	for y, n := range s.PerClass {
		if n == 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("no sample of class %s", s.Classes[y]))
		}
	}
	if f, ok := ds.(*imageFolder); ok && f.other > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d files in %s are no .jpg, .jpeg or .png and are ignored", f.other, filepath.ToSlash(f.root)))
	}
}
