// Package atomicfile replaces files as a whole: whoever reads the file sees the
// old content or the new one, never a mixture, also when the writer fails, is
// killed, or the disk is full.
//
//	err := atomicfile.Write("model.safetensors", force, func(w io.Writer) error {
//		return encode(w, model)
//	})
package atomicfile

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrExists marks the refusal to replace an existing file.
var ErrExists = errors.New("file exists")

// An ExistsError is the refusal to replace the file at Path.
type ExistsError struct{ Path string }

// Error says how to replace the file all the same.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s: file exists; --force replaces it", e.Path)
}

// Is makes the error match ErrExists and fs.ErrExist.
func (e *ExistsError) Is(target error) bool { return target == ErrExists || target == fs.ErrExist }

// A SpaceError reports a full disk.
type SpaceError struct {
	Path string
	Need int64 // bytes; at least so many when the disk filled up while writing
	Free int64 // bytes; negative when not known
	Err  error // what the system said; nil when the space was checked beforehand
}

// Error names the file and the bytes.
func (e *SpaceError) Error() string {
	if e.Free < 0 {
		return fmt.Sprintf("%s: disk full: needs at least %d bytes", e.Path, e.Need)
	}
	return fmt.Sprintf("%s: disk full: needs %d bytes, %d are free", e.Path, e.Need, e.Free)
}

// Unwrap returns what the system said.
func (e *SpaceError) Unwrap() error { return e.Err }

// Write creates or, with force, replaces the file at path by what fn writes.
//
// fn writes to a temporary file in the same folder, ".NAME.tmp-RANDOM", which
// then takes the place of path in one step and is on the disk when Write
// returns. After any error, or a panic in fn, the temporary file is gone and
// path is as it was. Without force an existing path is an *ExistsError, found
// before fn is called. A symbolic link is followed; anything else that is no
// regular file, such as a device, is refused. A replaced file keeps its
// permissions. Temporary files that killed runs left for the same path are
// removed.
func Write(path string, force bool, fn func(w io.Writer) error) (err error) {
	target, mode, err := resolve(path, force)
	if err != nil {
		return err
	}
	cleanStale(target, time.Now())
	f, err := createTemp(target)
	if err != nil {
		return fmt.Errorf("%s: %w", path, inner(err))
	}
	temp := f.Name()
	closed := false
	defer func() { // also when fn panics
		if !closed {
			f.Close()
		}
		os.Remove(temp) // fails when it has been renamed
	}()
	lock(f) // tells other runs that this temporary file is in use

	out := &counter{w: f}
	buf := bufio.NewWriterSize(out, 1<<18)
	if err := fn(buf); err != nil {
		return out.explain(path, err)
	}
	if err := buf.Flush(); err != nil {
		return out.explain(path, err)
	}
	if mode != 0 {
		if err := f.Chmod(mode); err != nil {
			return fmt.Errorf("%s: %w", path, inner(err))
		}
	}
	if err := f.Sync(); err != nil {
		return out.explain(path, err)
	}
	closed = true
	if err := f.Close(); err != nil {
		return out.explain(path, err)
	}
	if err := place(temp, target, path, force); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(target)); err != nil {
		return fmt.Errorf("%s: sync folder: %w", path, inner(err))
	}
	return nil
}

// resolve returns the file to replace, links followed, and its permissions, 0
// if there is none yet.
func resolve(path string, force bool) (target string, mode fs.FileMode, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	target = path
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = filepath.EvalSymlinks(path); err != nil {
			return "", 0, err
		}
		if info, err = os.Stat(target); err != nil {
			return "", 0, err
		}
	}
	if !info.Mode().IsRegular() {
		return "", 0, fmt.Errorf("%s: not a regular file", path)
	}
	if !force {
		return "", 0, &ExistsError{path}
	}
	return target, info.Mode().Perm(), nil
}

// place gives the finished temporary file its name. Without force it must not
// replace a file that has appeared meanwhile: a link fails then, a rename would
// not. Where there are no links, the window between look and rename stays.
func place(temp, target, path string, force bool) error {
	if !force {
		err := os.Link(temp, target)
		if err == nil {
			return nil // Write removes the other name
		}
		if errors.Is(err, fs.ErrExist) {
			return &ExistsError{path}
		}
		if _, err := os.Lstat(target); err == nil {
			return &ExistsError{path}
		}
	}
	if err := os.Rename(temp, target); err != nil {
		return fmt.Errorf("%s: %w", path, inner(err))
	}
	return nil
}

const randomBytes = 8

func tempPrefix(target string) string { return "." + filepath.Base(target) + ".tmp-" }

// createTemp creates the temporary file exclusively, with the permissions that
// the umask gives to new files.
func createTemp(target string) (*os.File, error) {
	var random [randomBytes]byte
	rand.Read(random[:]) // never fails
	name := filepath.Join(filepath.Dir(target), tempPrefix(target)+hex.EncodeToString(random[:]))
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

// cleanStale removes temporary files for target that no running process holds.
// Errors are ignored: they are somebody else's rubbish.
func cleanStale(target string, now time.Time) {
	dir, prefix := filepath.Dir(target), tempPrefix(target)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		random, ok := strings.CutPrefix(e.Name(), prefix)
		if b, err := hex.DecodeString(random); !ok || err != nil || len(b) != randomBytes || !e.Type().IsRegular() {
			continue
		}
		// The age covers the moment between creating and locking a file.
		if info, err := e.Info(); err != nil || now.Sub(info.ModTime()) < staleAge {
			continue
		}
		if name := filepath.Join(dir, e.Name()); abandoned(name) {
			os.Remove(name)
		}
	}
}

// CheckSpace returns a *SpaceError if the disk that holds the folder of path
// has fewer than need bytes left, as far as the platform tells.
func CheckSpace(path string, need int64) error {
	free, ok, err := freeSpace(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("%s: %w", path, inner(err))
	}
	if ok && free < need {
		return &SpaceError{Path: path, Need: need, Free: free}
	}
	return nil
}

// counter counts the bytes that were asked of w.
type counter struct {
	w     io.Writer
	bytes int64
	err   error
}

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	n, err := c.w.Write(p)
	if err != nil {
		c.err = err
	}
	return n, err
}

// explain names the target in an error of writing, and the bytes when the disk
// is full.
func (c *counter) explain(path string, err error) error {
	if diskFull(err) || diskFull(c.err) {
		return &SpaceError{Path: path, Need: c.bytes, Free: -1, Err: inner(err)}
	}
	return fmt.Errorf("%s: %w", path, inner(err))
}

// inner strips the name of the temporary file, which means nothing to a user.
func inner(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}
