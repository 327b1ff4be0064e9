package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/report"
)

// A splitFinding describes a split of a data set.
type splitFinding struct {
	Split   string   `json:"split"`
	Samples int      `json:"samples"`
	Shape   []int    `json:"shape"`
	Classes []string `json:"classes"`
	SHA256  string   `json:"sha256"`
}

// inspectFolder says which data set is in a folder. With a name it must be that
// one.
func inspectFolder(dir, name string) (*finding, error) {
	names := []string{name}
	if name == "" {
		// digits and fashion-mnist have the files of mnist, and any folder of
		// images might be called imagenet.
		names = []string{"mnist", "cifar10", "cifar100", "imagefolder", "npy"}
	}
	for _, name := range names {
		splits, err := openSplits(name, dir)
		var missing *dataset.MissingError
		if errors.As(err, &missing) {
			if len(names) == 1 {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		kind := "data set " + name
		if name == "mnist" && len(names) > 1 {
			kind = "data set mnist or fashion-mnist, whose files have the same names"
		}
		content := struct {
			Dataset string         `json:"dataset"`
			Splits  []splitFinding `json:"splits"`
		}{name, splits}
		return &finding{kind: kind, json: content, text: func(w io.Writer) error {
			for _, s := range splits {
				fmt.Fprintf(w, "%s: %d samples of %s\n  classes  %s\n  sha256   %s\n", s.Split, s.Samples, shapeText(s.Shape),
					oneLine(classesText(s.Classes)), s.SHA256)
			}
			return nil
		}}, nil
	}
	return nil, unknownFolder(dir)
}

// openSplits opens those splits of a data set that are there; it is an error
// of the kind *dataset.MissingError if none is.
func openSplits(name, dir string) ([]splitFinding, error) {
	var list []splitFinding
	if eventdata.Known(name) {
		train, test, err := eventdata.Open(context.Background(), name, dir, eventdata.Options{NoCache: true})
		if err != nil {
			return nil, err
		}
		for i, ds := range []*eventdata.Set{train, test} {
			info := ds.Info()
			list = append(list, splitFinding{[]string{"train", "test"}[i], ds.Len(), info.Shape, info.Classes, info.SHA256})
		}
		return list, nil
	}
	var missing error
	for _, split := range []string{"train", "test"} {
		ds, err := dataset.Open(name, dir, split)
		var m *dataset.MissingError
		if errors.As(err, &m) {
			missing = err
			continue
		}
		if err != nil {
			return nil, err
		}
		info := ds.Info()
		list = append(list, splitFinding{split, ds.Len(), info.Shape, info.Classes, info.SHA256})
	}
	if len(list) == 0 {
		return nil, missing
	}
	return list, nil
}

// unknownFolder says what is in a folder that holds no data set.
func unknownFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.Readdirnames(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(entries) == 0 {
		return fileerr.New(dir, -1, "empty folder")
	}
	more := ""
	if len(entries) == 6 {
		entries, more = entries[:5], ", ..."
	}
	err = fileerr.New(dir, -1, "folder without a known data set; it holds %s%s", strings.Join(entries, ", "), more)
	if _, statErr := os.Stat(filepath.Join(dir, "result.json")); statErr == nil {
		return withHint(err, "inspect its files one by one, such as %s", filepath.Join(dir, "result.json"))
	}
	return withHint(err, "\"adafire data list --verbose\" says which files the data sets consist of")
}

// inspectResult shows a result of a run.
func inspectResult(path string) (*finding, error) {
	r, err := report.ReadResult(path)
	if err != nil {
		return nil, withHint(err, "of JSON files, only results of demo, run and eval are known")
	}
	return &finding{kind: fmt.Sprintf("result of %q, version %s", r.Command, oneLine(r.Version)), json: r, text: func(w io.Writer) error {
		fmt.Fprintln(w)
		return report.WriteTable(w, r)
	}}, nil
}
