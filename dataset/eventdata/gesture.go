package eventdata

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

var gestureClasses = []string{
	"hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise",
	"left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other",
}

// listGesture: two lists of recordings, each with a table of clips. Every line
// of a table is a clip of its own; some overlap or repeat a class, as published.
func listGesture(l *lister, _ *Options) *collection {
	root := l.dir
	if !exists(root, "trials_to_train.txt") {
		if inner := sub(root, "DvsGesture", "DVSGesture", "extract"); inner != "" {
			root = inner
			if inner := sub(root, "DvsGesture"); inner != "" {
				root = inner
			}
		}
	}
	c := &collection{classes: gestureClasses, rule: "as published: users 1 to 23 train, 24 to 29 test"}
	c.train = l.trials(root, "trials_to_train.txt")
	c.test = l.trials(root, "trials_to_test.txt")
	return c
}

// trials lists the clips of the recordings that a list names.
func (l *lister) trials(root, list string) []item {
	path := filepath.Join(root, list)
	text, err := readSmall(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			l.find("%s: not found%s", l.rel(path), archives(root))
		} else {
			l.find("%s: %v", l.rel(path), unwrapPath(err))
		}
		return nil
	}
	var items []item
	seen := map[string]bool{}
	for name := range strings.FieldsSeq(text) {
		if !filepath.IsLocal(name) || filepath.Base(name) != name {
			l.find("%s: %q is no name of a recording", l.rel(path), name)
			continue
		}
		if seen[name] { // some copies end with the same line twice
			continue
		}
		seen[name] = true
		items = append(items, l.clips(root, name)...)
	}
	if len(seen) == 0 {
		l.find("%s: names no recording", l.rel(path))
	}
	return items
}

// clips lists the clips of one recording.
func (l *lister) clips(root, name string) []item {
	path := filepath.Join(root, name)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		l.find("%s: not found, though the list of trials names it%s", l.rel(path), archives(root))
		return nil
	case info.Size() == 0:
		l.find("%s: empty file, perhaps an unfinished download", l.rel(path))
		return nil
	}
	labels := strings.TrimSuffix(path, filepath.Ext(path)) + "_labels.csv"
	clips, err := readClips(labels)
	if err != nil {
		l.find("%s: %v", l.rel(labels), unwrapPath(err))
		return nil
	}
	for i := range clips {
		clips[i].path, clips[i].size, clips[i].modified = l.rel(path), info.Size(), info.ModTime().UnixNano()
	}
	return clips
}

// readClips reads a table "class,startTime_usec,endTime_usec"; classes count
// from 1 there.
func readClips(path string) ([]item, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord, r.TrimLeadingSpace = 3, true
	var items []item
	for line := 1; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var v [3]int64
		var bad error
		for i, field := range row {
			if v[i], err = strconv.ParseInt(strings.TrimSpace(field), 10, 64); err != nil {
				bad = err
			}
		}
		switch {
		case bad != nil && line == 1: // names
			continue
		case bad != nil:
			return nil, fmt.Errorf("line %d: %w", line, bad)
		case v[0] < 1 || v[0] > int64(len(gestureClasses)):
			return nil, fmt.Errorf("line %d: class %d: want 1 to %d", line, v[0], len(gestureClasses))
		case v[1] >= v[2]:
			return nil, fmt.Errorf("line %d: clip from %d to %d µs: ends before it starts", line, v[1], v[2])
		}
		items = append(items, item{label: int(v[0]) - 1, start: v[1], end: v[2]})
	}
	if len(items) == 0 {
		return nil, errors.New("no clips in the table")
	}
	return items, nil
}

// readSmall reads a text file of at most 1 MiB.
func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const most = 1 << 20
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", err
	}
	if len(b) > most {
		return "", fmt.Errorf("more than %d bytes: no list", most)
	}
	return string(b), nil
}
