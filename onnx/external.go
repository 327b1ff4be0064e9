package onnx

import (
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
)

// An externals reads tensors that lie in other files beside the model. Every
// file is opened once, through the folder's os.Root, so that neither a path nor
// a link can lead out of it.
type externals struct {
	path  string // of the model, in messages
	dir   string // "" if the model has no folder
	root  *os.Root
	files map[string]*os.File
	total int64
	limit int64
}

func (e *externals) close() {
	for _, f := range e.files {
		f.Close()
	}
	if e.root != nil {
		e.root.Close()
	}
}

// load reads the values of t, if they are in another file.
func (e *externals) load(t *TensorDef) error {
	if t.Location != 1 {
		if len(t.External) > 0 {
			return fileerr.New(e.path, t.Offset, "tensor %q: data location is in the file, but it names another one", t.Name)
		}
		return nil
	}
	if err := e.read(t); err != nil {
		return fileerr.New(e.path, t.Offset, "tensor %q: %v", t.Name, err)
	}
	return nil
}

func (e *externals) read(t *TensorDef) error {
	var location string
	offset, length := int64(0), int64(-1)
	for _, entry := range t.External {
		var err error
		switch entry.Key {
		case "location":
			location = entry.Value
		case "offset":
			offset, err = decimal(entry.Value)
		case "length":
			length, err = decimal(entry.Value)
		}
		if err != nil {
			return fmt.Errorf("external data: %s %q: want a decimal number >= 0", entry.Key, entry.Value)
		}
	}
	if location == "" {
		return fmt.Errorf("external data without a location")
	}
	if err := checkLocation(location); err != nil {
		return err
	}
	n, err := t.numel()
	if err != nil {
		return err
	}
	size := dtype(t.Type).size()
	if size == 0 {
		return fmt.Errorf("%s values: no such weights can be read", dtype(t.Type))
	}
	want := int64(n) * int64(size)
	if length < 0 {
		length = want
	}
	if length != want {
		return fmt.Errorf("external data: length %d, shape %v of %s wants %d", length, t.Dims, dtype(t.Type), want)
	}
	if offset > math.MaxInt64-length {
		return fmt.Errorf("external data: offset %d + length %d overflows", offset, length)
	}
	f, err := e.open(location)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if offset+length > info.Size() {
		return fmt.Errorf("external data: offset %d + length %d is past the end of %q, which has %d bytes", offset, length, location, info.Size())
	}
	// Tensors may share a range, so the sum is a claim of its own.
	if e.total += length; e.total > e.limit {
		return fmt.Errorf("external data: more than %d bytes in all", e.limit)
	}
	t.external = make([]byte, length)
	if _, err := io.ReadFull(io.NewSectionReader(f, offset, length), t.external); err != nil {
		return fmt.Errorf("external data: %q: %w", location, err)
	}
	return nil
}

func (e *externals) open(location string) (*os.File, error) {
	if f := e.files[location]; f != nil {
		return f, nil
	}
	if e.dir == "" {
		return nil, fmt.Errorf("external data in %q, but the model has no folder: read it from a file", location)
	}
	if e.root == nil {
		root, err := os.OpenRoot(e.dir)
		if err != nil {
			return nil, err
		}
		e.root = root
	}
	info, err := e.root.Stat(filepath.FromSlash(location))
	if err != nil {
		return nil, fmt.Errorf("external data: %w", err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would block
		return nil, fmt.Errorf("external data: %q is no regular file", location)
	}
	f, err := e.root.Open(filepath.FromSlash(location))
	if err != nil {
		return nil, fmt.Errorf("external data: %w", err)
	}
	if e.files == nil {
		e.files = make(map[string]*os.File)
	}
	e.files[location] = f
	return f, nil
}

// checkLocation refuses every path but a plain one downwards.
func checkLocation(location string) error {
	bad := func(why string) error {
		return fmt.Errorf("external data: location %q: %s; want a path inside the model's folder", location, why)
	}
	switch {
	case strings.ContainsRune(location, '\\'):
		return bad("backslash")
	case strings.ContainsRune(location, 0):
		return bad("NUL byte")
	case path.IsAbs(location):
		return bad("absolute path")
	case len(location) > 1 && location[1] == ':':
		return bad("drive letter")
	}
	for _, part := range strings.Split(location, "/") {
		if part == ".." {
			return bad("leads upwards")
		}
	}
	if !filepath.IsLocal(filepath.FromSlash(location)) {
		return bad("not local")
	}
	return nil
}

// decimal parses a number of digits only.
func decimal(s string) (int64, error) {
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, strconv.ErrSyntax
		}
	}
	return strconv.ParseInt(s, 10, 64)
}
