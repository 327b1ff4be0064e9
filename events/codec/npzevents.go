package codec

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/npy"
)

// newNPZ reads the four one-dimensional arrays t, x, y and p of an archive side
// by side.
//
// Source: event_formats, section 7.2.
func newNPZ(s *Source, o Options) (events.Reader, error) {
	at, size, err := s.Random()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(at, size)
	if err != nil {
		return failed(o, "npz", zipFault(s.Name(), err))
	}
	var cols [columns]column
	var members [columns]*zip.File
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
		for c, name := range columnNames {
			if f.Name == name+".npy" && members[c] == nil {
				members[c] = f
			}
		}
	}
	for c, f := range members {
		if f == nil {
			hint := ""
			if len(names) == 1 && names[0] == "frames.npy" {
				hint = ": this is a cache of frames, not of events"
			}
			return nil, events.Errorf(events.MissingField, s.Name(), -1, "no array %s among %.200s%s", columnNames[c], strings.Join(names, ", "), hint)
		}
		if f.Flags&1 != 0 {
			return nil, events.Errorf(events.UnsupportedVersion, s.Name(), -1, "member %s is encrypted", f.Name)
		}
		h, err := memberHeader(f, s.Name())
		if err != nil {
			return failed(o, "npz", err)
		}
		if h.fields != nil || len(h.shape) != 1 {
			return nil, events.Errorf(events.UnsupportedDType, s.Name(), -1, "member %s has shape %v, want a plain array of one axis", f.Name, h.shape)
		}
		cols[c] = column{number: h.plain, count: h.items(), start: -1, open: func() (io.Reader, error) {
			in, err := f.Open()
			if err != nil {
				return nil, err
			}
			_, err = io.CopyN(io.Discard, in, h.start)
			return in, err
		}}
		if want := h.start + h.items()*int64(h.item); int64(f.UncompressedSize64) != want {
			kind := events.Truncated
			if int64(f.UncompressedSize64) > want {
				kind = events.LengthMismatch
			}
			return failed(o, "npz", events.Errorf(kind, s.Name(), size, "member %s has %d bytes, its header wants %d", f.Name, f.UncompressedSize64, want))
		}
	}
	if err := sameLength(s.Name(), &cols); err != nil {
		return nil, err
	}
	r := &arrayReader{
		state: newState(o, events.Header{Format: "npz", Width: o.Width, Height: o.Height, Convention: o.Convention}),
		left:  cols[colT].count,
	}
	r.limit()
	for c := range cols {
		r.number[c] = cols[c].number
	}
	rows, err := openColumns(s.Name(), cols, func(_ int, err error) error { return zipFault(s.Name(), err) })
	if err != nil {
		return failed(o, "npz", err)
	}
	r.rows, r.after = rows, rows.drain
	return r, r.unit(o.TimeUnit, r.left, func() (io.Reader, int, error) {
		in, err := cols[colT].open()
		return in, cols[colT].number.size, err
	})
}

// memberHeader reads the npy header of a member.
func memberHeader(f *zip.File, name string) (*npyHeader, error) {
	in, err := f.Open()
	if err != nil {
		return nil, zipFault(name, err)
	}
	defer in.Close()
	h, err := readNPYHeader(in, fmt.Sprintf("%s(%s)", name, f.Name))
	if err != nil {
		return nil, zipFault(name, err)
	}
	return h, nil
}

// zipFault gives an error of the zip reader its kind.
func zipFault(name string, err error) error {
	var known *events.Error
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, zip.ErrAlgorithm):
		return events.Errorf(events.UnsupportedVersion, name, -1, "compression method of the archive: want stored or deflated")
	case errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrChecksum), errors.As(err, &corrupt):
		return events.Errorf(events.CorruptCompression, name, -1, "%v", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return events.Errorf(events.Truncated, name, -1, "a member of the archive ends early")
	}
	return err
}

// newNPZWriter writes t as int64, x and y as uint16 and p as uint8, stored. The
// arrays are held back, beyond a few megabytes in temporary files.
func newNPZWriter(w io.Writer, h events.Header, _ WriteOptions) (events.Writer, error) {
	return &npzWriter{w: w, header: h}, nil
}

// npzTypes are the element types of the members.
var npzTypes = [columns]string{colT: "'<i8'", colX: "'<u2'", colY: "'<u2'", colP: "'|u1'"}

type npzWriter struct {
	w      io.Writer
	header events.Header
	held   [columns]spool
	buf    [columns][]byte
	count  int64
	err    error
}

// Write implements events.Writer.
func (n *npzWriter) Write(src []events.Event) error {
	for _, e := range src {
		if n.err != nil {
			return n.err
		}
		if err := checkEvent(e, &n.header); err != nil {
			n.err = fmt.Errorf("npz: event %d: %w", n.count, err)
			return n.err
		}
		t := uint64(e.T)
		n.buf[colT] = append(n.buf[colT], byte(t), byte(t>>8), byte(t>>16), byte(t>>24), byte(t>>32), byte(t>>40), byte(t>>48), byte(t>>56))
		n.buf[colX] = append(n.buf[colX], byte(e.X), byte(e.X>>8))
		n.buf[colY] = append(n.buf[colY], byte(e.Y), byte(e.Y>>8))
		n.buf[colP] = append(n.buf[colP], e.P)
		n.count++
		if len(n.buf[colT]) >= packBuffer {
			n.flush()
		}
	}
	return n.err
}

func (n *npzWriter) flush() {
	for c := range n.held {
		if n.err == nil {
			_, n.err = n.held[c].Write(n.buf[c])
			n.buf[c] = n.buf[c][:0]
		}
	}
}

// Close implements events.Writer.
func (n *npzWriter) Close() error {
	if errors.Is(n.err, errClosed) {
		return nil
	}
	n.flush()
	if n.err == nil {
		n.err = n.archive()
	}
	for c := range n.held {
		n.err = errors.Join(n.err, n.held[c].Close())
	}
	if n.err != nil {
		return n.err
	}
	n.err = fmt.Errorf("npz: %w", errClosed)
	return nil
}

func (n *npzWriter) archive() error {
	z := zip.NewWriter(n.w)
	for c, name := range columnNames {
		member, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Store})
		if err != nil {
			return err
		}
		if _, err := member.Write(npyHeaderBytes(npzTypes[c], n.count)); err != nil {
			return err
		}
		if err := n.held[c].copyTo(member); err != nil {
			return err
		}
	}
	return z.Close()
}

// Frames is a cache of frames as SpikingJelly keeps it: counts of events.
type Frames struct {
	Steps, Height, Width int
	Counts               []float64 // [Steps, 2, Height, Width]; channel 0 counts OFF events
}

// ReadFrames reads the array "frames" of an archive of size bytes. The name is
// for errors, which are a *fileerr.FormatError or wrap fileerr.ErrUnsupported.
func ReadFrames(r io.ReaderAt, size int64, name string) (*Frames, error) {
	a, err := npy.OpenArchive(r, size, name)
	if err != nil {
		return nil, err
	}
	array, err := a.Read("frames")
	if err != nil {
		return nil, err
	}
	if len(array.Shape) != 4 || array.Shape[1] != 2 {
		return nil, events.Errorf(events.BadHeader, name, -1, "frames of shape %v, want [T, 2, H, W]", array.Shape)
	}
	counts, err := array.Float64()
	if err != nil {
		return nil, err
	}
	return &Frames{Steps: array.Shape[0], Height: array.Shape[2], Width: array.Shape[3], Counts: counts}, nil
}
