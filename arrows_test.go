package adafire_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/adafire/adafire/"

// rooms are the packages of the house from the ground up: a package may import
// packages of lower floors only. A folder inside a room belongs to it.
var rooms = [][]string{
	{"internal/fileerr", "internal/minifloat", "internal/random", "internal/parallel", "internal/atomicfile"},
	{"internal/kernel"},
	{"tensor"},
	{"internal/npy", "internal/hdf5", "graph"},
	{"events"},
	{"internal/golden", "ann", "snn", "models", "checkpoint", "dataset", "report"},
	{"convert", "onnx", "nir", "cexport"},
	{"task"},
	{"internal/job", "internal/bench"},
	{"internal/cli"},
	{"cmd/adafire"},
	{"."}, // documentation only
}

// closed are doors within the order of the floors: who may not import whom.
var closed = map[string][]string{
	// Executors know neither each other nor files nor data sets.
	"ann":     {"snn", "internal/npy", "checkpoint", "dataset"},
	"snn":     {"ann", "internal/npy", "checkpoint", "dataset"},
	"convert": {"internal/npy", "checkpoint", "dataset", "models", "report"},
	"task":    {"internal/npy", "checkpoint", "dataset", "models", "report"},
	"graph":   {"internal/npy", "internal/kernel", "internal/parallel"},
	"tensor":  {"internal/npy"},
	"events":  {"graph"},
	// Formats know networks, not how they were found or fed.
	"onnx":    {"dataset", "models", "report"},
	"nir":     {"dataset", "models", "report"},
	"cexport": {"dataset", "models", "report"},
}

// room returns the floor and the room of a package.
func room(pkg string) (floor int, name string) {
	for p := pkg; ; p = path.Dir(p) {
		for i, floor := range rooms {
			if slices.Contains(floor, p) && (p != "." || pkg == ".") {
				return i, p
			}
		}
		if p == "." {
			return -1, ""
		}
	}
}

// TestImportsPointDown walks the imports of all packages. Tests are free: they
// compare packages with each other.
func TestImportsPointDown(t *testing.T) {
	arrows := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(file, "go.mod"))
			other := err == nil && file != "." // a module of its own, such as a generator
			if other || d.Name() == "testdata" || (strings.HasPrefix(d.Name(), ".") && file != ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(file))
		from, fromRoom := room(pkg)
		if from < 0 {
			t.Errorf("%s: package %s has no room: add it to rooms", file, pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imported, ours := strings.CutPrefix(name, module)
			if !ours {
				continue
			}
			arrows++
			to, toRoom := room(imported)
			switch {
			case to < 0:
				t.Errorf("%s: imports %s, which has no room", file, imported)
			case toRoom == fromRoom:
			case to >= from:
				t.Errorf("%s: %s imports %s, which is not below it", file, fromRoom, toRoom)
			case slices.Contains(closed[fromRoom], toRoom):
				t.Errorf("%s: %s must not import %s", file, fromRoom, toRoom)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if arrows < 20 {
		t.Errorf("found %d imports between our packages: did the walk miss them?", arrows)
	}
}

// TestNoCgo: the binary is built by Go alone.
func TestNoCgo(t *testing.T) {
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			if spec.Path.Value == `"C"` {
				t.Errorf("%s uses cgo", file)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
