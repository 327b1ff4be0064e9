package eventdata

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adafire/adafire/dataset"
)

// A LayoutError says in one message what a folder should hold and what is wrong
// with it.
type LayoutError struct {
	Dataset  dataset.Description
	Dir      string
	Findings []string // what is missing, unfinished or in the wrong place
	Hint     string   // what may have happened; empty for none
}

// maxFindings bounds how many findings a message lists.
const maxFindings = 8

// Error returns one line: the folder, what is wrong there, what is expected,
// where to get it.
func (e *LayoutError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "data set %s: %s: ", e.Dataset.Name, e.Dir)
	shown := e.Findings[:min(len(e.Findings), maxFindings)]
	b.WriteString(strings.Join(shown, "; "))
	if more := len(e.Findings) - len(shown); more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	fmt.Fprintf(&b, "; expected: %s", strings.Join(e.Dataset.Layout, "; or "))
	if e.Dataset.HomePage != "" {
		fmt.Fprintf(&b, "; home page: %s", e.Dataset.HomePage)
	}
	return b.String()
}

// Is makes errors.Is(err, fs.ErrNotExist) true.
func (e *LayoutError) Is(target error) bool { return target == fs.ErrNotExist }

// An item is one sample: a recording, or a clip of one.
type item struct {
	path       string // of the file, relative to the folder, with slashes; for nmnist-sim the split and the number
	size       int64  // bytes
	modified   int64  // Unix time in ns
	label      int
	start, end int64 // clip: start <= t < end, µs; both 0 for the whole recording
	number     int   // in the cache
}

// A collection is what was found in a folder.
type collection struct {
	classes     []string
	train, test []item
	rule        string // how the parts were made, in words

	convention string // of the codec, for AEDAT 2 files; empty for the canonical one
	notes      []string
}

// A lister looks a folder through and gathers what is wrong with it.
type lister struct {
	kind     *kind
	dir      string
	findings []string
	mixed    bool // recordings of several formats may stand side by side
}

func (l *lister) find(format string, args ...any) {
	l.findings = append(l.findings, fmt.Sprintf(format, args...))
}

// rel returns a path as it stands in messages.
func (l *lister) rel(path string) string {
	if r, err := filepath.Rel(l.dir, path); err == nil && r != "." {
		return filepath.ToSlash(r)
	}
	return path
}

// err returns the findings as one error, nil when there are none.
func (l *lister) err() error {
	if len(l.findings) == 0 {
		return nil
	}
	return &LayoutError{Dataset: l.kind.Description, Dir: l.dir, Findings: l.findings, Hint: l.hint()}
}

// isDir reports whether a path is a folder, links followed.
func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// sub returns the first of the candidates below dir that is a folder, "" if none
// is. Names are compared without case: copies to other file systems change it.
func sub(dir string, candidates ...string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, c := range candidates {
		if p := filepath.Join(dir, c); isDir(p) {
			return p
		}
		for _, e := range entries {
			if p := filepath.Join(dir, e.Name()); strings.EqualFold(e.Name(), c) && isDir(p) {
				return p
			}
		}
	}
	return ""
}

// folders returns the names of the folders in dir in byte order, without hidden
// ones.
func folders(dir string) []string {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && e.Name() != "__MACOSX" && isDir(filepath.Join(dir, e.Name())) {
			names = append(names, e.Name())
		}
	}
	return names
}

// packed are the endings of archives, unfinished those of interrupted downloads.
var (
	packed     = []string{".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".gz"}
	unfinished = []string{".part", ".crdownload", ".download", ".aria2", ".partial", ".tmp", ".!ut"}
)

func hasSuffix(name string, suffixes []string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

// extensionOf returns the ending of a recording's name in lower case, that of
// what is inside when it is gzipped.
func extensionOf(name string) string {
	return filepath.Ext(strings.TrimSuffix(strings.ToLower(name), ".gz"))
}

// recordings lists the recordings of a class, in byte order of the names, and
// says which of the endings they have. Sub-folders are not looked into.
func (l *lister) recordings(dir string, label int, extensions []string) []item {
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.find("%s: %v", l.rel(dir), unwrapPath(err))
		return nil
	}
	var items []item
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		if strings.HasPrefix(name, ".") {
			continue
		}
		if hasSuffix(name, unfinished) {
			l.find("%s: an unfinished download", l.rel(path))
			continue
		}
		if !slices.Contains(extensions, extensionOf(name)) {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			l.find("%s: %v", l.rel(path), unwrapPath(err))
			continue
		case info.IsDir():
			continue
		case info.Size() == 0 && extensionOf(name) != ".bin" && extensionOf(name) != ".txt" && extensionOf(name) != ".csv":
			l.find("%s: empty file, perhaps an unfinished download", l.rel(path))
			continue
		case info.Size() < 1024 && isPointer(path):
			l.find("%s: a Git LFS pointer, not the recording: run git lfs pull", l.rel(path))
			continue
		}
		rel, err := filepath.Rel(l.dir, path)
		if err != nil {
			l.find("%s: %v", path, err)
			continue
		}
		items = append(items, item{path: filepath.ToSlash(rel), size: info.Size(), modified: info.ModTime().UnixNano(), label: label})
	}
	return items
}

// unwrapPath returns what is wrong without the path, which the message has.
func unwrapPath(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}

func isPointer(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 40)
	n, _ := f.Read(head) // an error comes again when it is read
	return strings.HasPrefix(string(head[:n]), "version https://git-lfs.github.com/")
}

// classes lists the recordings of class folders in root. want are the classes
// that must be there, nil for whatever there is; each must have a recording
// unless sparse. All recordings must have the same ending, one of extensions,
// unless the lister is for mixed ones.
func (l *lister) classes(root string, want, extensions []string, sparse bool) (names []string, byClass [][]item) {
	names = want
	if want == nil {
		names = folders(root)
		if len(names) == 0 {
			l.find("%s: holds no class folders%s", l.rel(root), archives(root))
			return nil, nil
		}
	}
	first := map[string]string{} // ending -> one recording with it
	for label, name := range names {
		dir := sub(root, name)
		if dir == "" {
			if !sparse {
				l.find("%s: class folder not found%s", l.rel(filepath.Join(root, name)), archives(root))
			}
			byClass = append(byClass, nil)
			continue
		}
		before := len(l.findings)
		items := l.recordings(dir, label, extensions)
		if len(items) == 0 && !sparse && len(l.findings) == before {
			l.find("%s: holds no recording (%s)%s", l.rel(dir), strings.Join(extensions, ", "), archives(dir))
		}
		for _, it := range items {
			if ext := extensionOf(it.path); first[ext] == "" {
				first[ext] = it.path
			}
		}
		byClass = append(byClass, items)
	}
	if !l.mixed && len(first) > 1 {
		var mixed []string
		for _, ext := range extensions {
			if first[ext] != "" {
				mixed = append(mixed, first[ext])
			}
		}
		l.find("two editions mixed: %s", strings.Join(mixed, " and "))
	}
	return names, byClass
}

// archives says which archives lie in a folder, as they may hold what is missing.
func archives(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && (hasSuffix(e.Name(), packed) || hasSuffix(e.Name(), unfinished)) {
			names = append(names, e.Name())
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) > 3:
		names = append(names[:3], fmt.Sprintf("%d more", len(names)-3))
	}
	return fmt.Sprintf(", but %s is there: not unpacked?", strings.Join(names, ", "))
}

// signatures tell data sets apart by what their folders hold.
var signatures = []struct {
	name string
	is   func(dir string) bool
}{
	{"nmnist", func(d string) bool { return hasFile(d, "Train/0", ".bin") || hasFile(d, "Test/0", ".bin") }},
	{"ncars", func(d string) bool { return sub(d, "n-cars_train", "n-cars_test") != "" }},
	{"dvs128gesture", func(d string) bool {
		return exists(d, "trials_to_train.txt") || exists(d, "DvsGesture/trials_to_train.txt")
	}},
	{"ncaltech101", func(d string) bool {
		return sub(d, "Caltech101") != "" || hasFile(d, "accordion", ".bin") || sub(d, "training") != ""
	}},
	{"cifar10dvs", func(d string) bool {
		return hasFile(d, "airplane", ".aedat") || hasFile(d, "airplane", ".aedat4") || hasFile(d, "truck", ".aedat")
	}},
	{"asldvs", func(d string) bool { return hasFile(d, "a", ".mat") || hasFile(d, "b", ".mat") }},
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
	return err == nil
}

func hasFile(dir, folder, extension string) bool {
	d := dir
	for _, part := range strings.Split(folder, "/") {
		if d = sub(d, part); d == "" {
			return false
		}
	}
	entries, err := os.ReadDir(d)
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return extensionOf(e.Name()) == extension })
}

// hint says what else the folder may be.
func (l *lister) hint() string {
	for _, s := range signatures {
		if s.name != l.kind.Name && s.is(l.dir) {
			return "the folder looks like " + s.name
		}
	}
	if inner := folders(l.dir); len(inner) == 1 && len(l.findings) > 0 {
		for _, s := range signatures {
			if s.name == l.kind.Name && s.is(filepath.Join(l.dir, inner[0])) {
				return "did you mean " + filepath.Join(l.dir, inner[0]) + "?"
			}
		}
	}
	return ""
}
