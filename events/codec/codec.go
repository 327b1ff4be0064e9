// Package codec reads and writes recordings of event cameras in the formats in
// which their makers and the makers of data sets distribute them.
//
//	rec, err := codec.Open("user01_led.aedat", codec.Options{}) // format from the content
//	...
//	defer rec.Close()
//	buf := make([]events.Event, 4096)
//	n, err := rec.Read(buf) // constant memory, any length
//
//	err = codec.Create("out.aedat4", rec.Header(), codec.WriteOptions{Compression: "zstd"},
//		func(w events.Writer) error { _, err := events.Copy(w, rec); return err })
//
// NewReader does the same for a stream such as the standard input. Readers keep
// the order of the file and return times as they stand in it, with wraps of the
// counter undone. They never sort, drop or merge silently: what is skipped is
// counted in Stats.
package codec

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/adafire/adafire/events"
)

// A Mode says what a reader does about damage.
type Mode int

// The modes.
const (
	Default Mode = iota // damage ends reading with an error; oddities are counted
	Lenient             // damage is counted and skipped as far as the format allows
	Strict              // like Default, and a step back of time is an error too
)

// fatal reports whether a kind ends reading.
func (m Mode) fatal(k events.Kind) bool {
	switch {
	case k <= events.MissingEndHeader:
		return true
	case k <= events.MalformedLine:
		return m != Lenient
	case k == events.TimeBackwards:
		return m == Strict
	}
	return false
}

// Raw is the convention in which coordinates and polarity are given out as they
// stand in the file, without any flip. Every format has it.
const Raw = "raw"

// Options say how to read. The zero value finds everything out of the content
// where the content tells it.
type Options struct {
	Name   string // name of the file for errors; Open sets it
	Format string // name of the format; empty to find it out

	// Width and Height, in pixels, beat what the file says; 0 leaves it to
	// the file. With a known size every coordinate is checked.
	Width, Height int

	// Convention says how raw numbers become events: empty for the format's
	// own canonical picture, Raw, or one of the names in Format.Conventions.
	Convention string

	Mode Mode

	Chip      string // AEDAT 1 and 2 without an AEChip line: one of Chips
	Order     string // text without a line of names: "txyp" or "xypt"
	TimeUnit  string // text and npy: "s" or "us"; empty to guess by the rules of the format
	Stream    string // AEDAT 4: number of the stream; empty for the lowest of events
	Version   int    // .dat: 1 for the bit layout of version 1; 0 for what the header says
	ByteOrder string // EVT2.1: "little" or "legacy"; empty to find it out
}

// WriteOptions say how to write. The zero value is right for most uses.
type WriteOptions struct {
	Format      string // name of the format; Create takes it from the file's extension when it is empty
	Force       bool   // Create replaces an existing file
	Compression string // AEDAT 4: "none", "lz4" (default) or "zstd"
	Order       string // text: "txyp" (default) or "xypt"
	Chip        string // AEDAT 1 and 2: one of Chips; empty to take it from the size
}

// A Format is one file format.
type Format struct {
	Name        string   // such as "aedat2"
	Title       string   // such as "AEDAT 2.0 (jAER)"
	Extensions  []string // with the dot, lower case, the usual one first
	Canonical   string   // name of the convention that an empty Options.Convention means; empty when there is only one
	Conventions []string // all others but Raw

	// NewReader returns a reader of a source that stands at the first byte.
	NewReader func(s *Source, o Options) (events.Reader, error)

	// NewWriter returns a writer; nil for formats that are only read. The
	// convention of the header is that of the events to be written.
	NewWriter func(w io.Writer, h events.Header, o WriteOptions) (events.Writer, error)
}

// conventions checks the name of a convention and returns it, with the name of
// the canonical one instead of an empty one.
func (f *Format) convention(name string) (string, error) {
	if name == "" {
		return f.Canonical, nil
	}
	if name == f.Canonical || name == Raw || slices.Contains(f.Conventions, name) {
		return name, nil
	}
	known := append([]string{Raw}, f.Conventions...)
	if f.Canonical != "" {
		known = append([]string{f.Canonical}, known...)
	}
	return "", fmt.Errorf("%s: unknown convention %q: want %s", f.Name, name, strings.Join(known, ", "))
}

// formats are all formats, in the order of Formats.
var formats = slices.Concat(aedatFormats, atisFormats, propheseeFormats, containerFormats, textFormats)

// Formats returns all formats.
func Formats() []Format { return slices.Clone(formats) }

// Find returns a format by its name.
func Find(name string) (Format, error) {
	names := make([]string, len(formats))
	for i, f := range formats {
		if f.Name == name {
			return f, nil
		}
		names[i] = f.Name
	}
	return Format{}, fmt.Errorf("unknown event format %q: want %s", name, strings.Join(names, ", "))
}
