package dataset

import (
	"archive/tar"
	"bufio"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/adafire/adafire/internal/fileerr"
)

// A blob is a file that was read whole.
type blob struct {
	path string
	data []byte
}

// sum returns the hexadecimal SHA-256 of the content.
func (b blob) sum() string {
	s := sha256.Sum256(b.data)
	return hex.EncodeToString(s[:])
}

// maxBlob bounds a file that is read whole; the largest distributed one,
// train of CIFAR-100, has 155 MB.
const maxBlob = 1 << 29

// A store holds the files of a data set: a folder, or an archive as
// distributed.
type store struct {
	dir     string // folder, or
	archive string // .tar.gz file
}

// read returns the named files in that order. optional files that are absent
// have nil data; another absent file is a *MissingError.
func (s store) read(d Description, names []string, optional ...string) ([]blob, error) {
	names = append(names[:len(names):len(names)], optional...)
	required := len(names) - len(optional)
	if s.archive != "" {
		return s.readArchive(d, names, required)
	}
	blobs := make([]blob, len(names))
	for i, name := range names {
		p := filepath.Join(s.dir, name)
		data, err := readFile(p)
		switch {
		case errors.Is(err, fs.ErrNotExist) && i >= required:
		case errors.Is(err, fs.ErrNotExist):
			return nil, &MissingError{Dataset: d, Path: p}
		case err != nil:
			return nil, err
		}
		blobs[i] = blob{p, data}
	}
	return blobs, nil
}

// readFile reads a regular file of at most maxBlob bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if info.Size() > maxBlob {
		return nil, fileerr.New(path, maxBlob, "file of %d bytes, at most %d are read", info.Size(), int64(maxBlob))
	}
	data := make([]byte, info.Size())
	if n, err := io.ReadFull(f, data); err != nil {
		return nil, fileerr.New(path, int64(n), "file of %d bytes became shorter while it was read: %v", len(data), err)
	}
	return data, nil
}

// readArchive picks files out of a .tar.gz by their base names.
func (s store) readArchive(d Description, names []string, required int) ([]blob, error) {
	f, err := os.Open(s.archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return nil, fileerr.New(s.archive, 0, "not a gzip file: %v", err)
	}
	counted := &counter{r: z}
	t := tar.NewReader(counted)
	want := map[string]int{}
	for i, name := range names {
		want[name] = i
	}
	blobs := make([]blob, len(names))
	for {
		head, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, s.damaged(counted.n, err)
		}
		i, ok := want[path.Base(head.Name)]
		if !ok || head.Typeflag != tar.TypeReg {
			continue
		}
		if blobs[i].data != nil {
			return nil, fileerr.New(s.archive, counted.n, "holds %s twice", names[i])
		}
		if head.Size > maxBlob {
			return nil, fileerr.New(s.archive, counted.n, "%s claims %d bytes, at most %d are read", head.Name, head.Size, int64(maxBlob))
		}
		data, err := readUpTo(t, head.Size)
		if err == nil && int64(len(data)) < head.Size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, s.damaged(counted.n, err)
		}
		blobs[i] = blob{s.archive + ":" + head.Name, data}
	}
	// What follows the last entry holds the checksum of the whole.
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return nil, s.damaged(counted.n, err)
	}
	for i, name := range names[:required] {
		if blobs[i].data == nil {
			return nil, &MissingError{Dataset: d, Path: s.archive, Detail: "holds no " + name}
		}
	}
	return blobs, nil
}

// damaged turns errors about the content of an archive into format errors.
func (s store) damaged(at int64, err error) error {
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, tar.ErrHeader) {
		return fileerr.New(s.archive, at, "damaged archive (offset in the unpacked tar file): %v", err)
	}
	return fmt.Errorf("%s: %w", s.archive, err)
}

// counter counts the bytes read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
