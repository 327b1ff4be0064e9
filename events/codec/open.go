package codec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/atomicfile"
)

// A Recording is an open recording: a reader of its events that must be closed.
type Recording struct {
	events.Reader
	Format Format // what it was taken for

	closers []io.Closer
}

// Close releases the file, if Open has opened one, and temporary files.
func (r *Recording) Close() error {
	var err error
	for _, c := range r.closers {
		err = errors.Join(err, c.Close())
	}
	r.closers = nil
	return err
}

// Open opens the recording at path. Close it after use. Errors about the
// content are an *events.Error.
func Open(path string, o Options) (*Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%s: is a folder, want a recording", path)
	}
	o.Name = path
	rec, err := NewReader(f, o)
	if err != nil {
		f.Close()
		return nil, err
	}
	rec.closers = append(rec.closers, f)
	return rec, nil
}

// NewReader returns the recording in a stream. Close it after use, which does
// not close the stream. A gzip stream is unpacked.
func NewReader(r io.Reader, o Options) (*Recording, error) {
	if o.Name == "" {
		o.Name = "stream"
	}
	if o.Width < 0 || o.Height < 0 || o.Width > 1<<16 || o.Height > 1<<16 {
		return nil, fmt.Errorf("sensor size %dx%d: want 0 to 65536 pixels a side", o.Width, o.Height)
	}
	packed := NewSource(r, o.Name)
	s := gunzip(packed)
	name := o.Format
	if name == "" {
		head, err := s.Peek(detectBytes)
		if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
			return nil, err
		}
		if name, err = Detect(head, o.Name); err != nil {
			return nil, err
		}
	}
	f, err := Find(name)
	if err != nil {
		return nil, err
	}
	if o.Convention, err = f.convention(o.Convention); err != nil {
		return nil, err
	}
	reader, err := f.NewReader(s, o)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &Recording{Reader: reader, Format: f, closers: []io.Closer{s}}, nil
}

// ByExtension returns the format that a file of this name is written in: the
// first that has a writer and the extension.
func ByExtension(name string) (Format, error) {
	ext := extension(name)
	var known []string
	for _, f := range formats {
		if f.NewWriter == nil {
			continue
		}
		for _, e := range f.Extensions {
			if e == ext {
				return f, nil
			}
			known = append(known, e)
		}
	}
	return Format{}, fmt.Errorf("%s: no event format to write has the extension %q: want %s, or name the format", name, ext, strings.Join(known, ", "))
}

// NewWriter returns a writer of the format that o names.
func NewWriter(w io.Writer, h events.Header, o WriteOptions) (events.Writer, error) {
	f, err := Find(o.Format)
	if err != nil {
		return nil, err
	}
	if f.NewWriter == nil {
		return nil, fmt.Errorf("%s: this format is only read", f.Name)
	}
	if h.Width < 0 || h.Height < 0 || h.Width > 1<<16 || h.Height > 1<<16 {
		return nil, fmt.Errorf("%s: sensor size %dx%d: want 0 to 65536 pixels a side", f.Name, h.Width, h.Height)
	}
	if h.Convention, err = f.convention(h.Convention); err != nil {
		return nil, err
	}
	return f.NewWriter(w, h, o)
}

// Create writes a recording to path: what fn writes appears there as a whole
// when fn and the last flush have succeeded, and not at all otherwise. The
// format is that of o or of the extension. The events must be in the
// convention that the header names; empty is the canonical picture.
func Create(path string, h events.Header, o WriteOptions, fn func(events.Writer) error) error {
	if o.Format == "" {
		f, err := ByExtension(path)
		if err != nil {
			return err
		}
		o.Format = f.Name
	}
	return atomicfile.Write(path, o.Force, func(out io.Writer) error {
		w, err := NewWriter(out, h, o)
		if err != nil {
			return err
		}
		if err := fn(w); err != nil {
			return err
		}
		return w.Close()
	})
}
