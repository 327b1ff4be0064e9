package npy

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
)

// deflateRatio is the most by which deflate can shrink anything.
const deflateRatio = 1032

// An Archive is an open .npz file: a zip of .npy files, stored or deflated, as
// numpy.savez and numpy.savez_compressed write it.
type Archive struct {
	Names []string // of the arrays, without ".npy", in file order

	// Limit bounds the bytes of one array after inflating. OpenArchive sets it
	// to 4 GiB.
	Limit int64

	path    string
	entries map[string]*zip.File
}

// OpenArchive reads the directory of a .npz file of size bytes; path is for
// messages. Arrays are read one by one by Read, for which r must stay open.
// Entries that are no .npy files and duplicate names are refused.
func OpenArchive(r io.ReaderAt, size int64, path string) (*Archive, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fileerr.New(path, -1, "not a zip archive: %s", err)
	}
	a := &Archive{Limit: 4 << 30, path: path, entries: make(map[string]*zip.File, len(z.File))}
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			return nil, fileerr.New(path, -1, "entry %q: want only NAME.npy", f.Name)
		}
		if a.entries[name] != nil {
			return nil, fileerr.New(path, -1, "entry %q occurs twice", f.Name)
		}
		a.entries[name] = f
		a.Names = append(a.Names, name)
	}
	return a, nil
}

// Read reads one array.
func (a *Archive) Read(name string) (*Array, error) {
	f := a.entries[name]
	if f == nil {
		return nil, fileerr.New(a.path, -1, "no array %q", name)
	}
	path := fmt.Sprintf("%s(%s)", a.path, f.Name)
	if f.Flags&1 != 0 {
		return nil, fmt.Errorf("%s: encrypted entries: %w", path, fileerr.ErrUnsupported)
	}
	if limit := uint64(max(a.Limit, 0)); f.UncompressedSize64 > limit {
		return nil, fileerr.New(path, -1, "inflates to %d bytes: the limit is %d", f.UncompressedSize64, limit)
	}
	if packed := f.CompressedSize64; f.UncompressedSize64/deflateRatio > packed {
		return nil, fileerr.New(path, -1, "%d bytes claim to inflate to %d: deflate cannot do that", packed, f.UncompressedSize64)
	}
	r, err := f.Open()
	if err != nil {
		return nil, zipError(path, err)
	}
	defer r.Close()
	array, err := decode(r, int64(f.UncompressedSize64), path)
	if err != nil {
		return nil, zipError(path, err)
	}
	// Only reading to the end makes the zip reader compare the checksum.
	var one [1]byte
	if n, err := io.ReadFull(r, one[:]); n != 0 || !errors.Is(err, io.EOF) {
		if n != 0 {
			return nil, fileerr.New(path, -1, "more data than the directory of the archive says")
		}
		return nil, zipError(path, err)
	}
	return array, nil
}

// zipError words the errors of the zip reader; others pass.
func zipError(path string, err error) error {
	switch {
	case errors.Is(err, zip.ErrChecksum):
		return fileerr.New(path, -1, "checksum does not match: the archive is damaged")
	case errors.Is(err, zip.ErrAlgorithm):
		return fmt.Errorf("%s: compression method: want stored or deflated: %w", path, fileerr.ErrUnsupported)
	case errors.Is(err, zip.ErrFormat):
		return fileerr.New(path, -1, "damaged zip entry")
	}
	var format *fileerr.FormatError
	if errors.As(err, &format) || errors.Is(err, fileerr.ErrUnsupported) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}
