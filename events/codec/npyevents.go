package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/adafire/adafire/events"
)

// numpyFormats are NumPy's files. The conventions of npy name the column order
// and the unit of time, as in lists of recordings; they flip nothing.
var numpyFormats = []Format{
	{
		Name: "npy", Title: "NumPy array of events", Extensions: []string{".npy"},
		Canonical: "npy", Conventions: []string{"npy-xytp", "npy-xytp-seconds", "npy-xytp-us", "npz"},
		NewReader: newNPY, NewWriter: newNPYWriter,
	},
	{
		Name: "npz", Title: "NumPy archive of t, x, y, p (SpikingJelly)", Extensions: []string{".npz"}, Canonical: "npz",
		NewReader: newNPZ, NewWriter: newNPZWriter,
	},
}

// synonyms are the names that structured arrays give their fields.
var synonyms = map[string]int{
	"t": colT, "ts": colT, "timestamp": colT, "timestamps": colT,
	"x": colX, "y": colY,
	"p": colP, "pol": colP, "polarity": colP, "polarities": colP, "on": colP,
}

// newNPY reads an array of events: (N, 4) or (4, N) with the columns x, y, t, p,
// or structured with fields of these names in any order.
//
// Source: event_formats, section 7.2.
func newNPY(s *Source, o Options) (events.Reader, error) {
	head, err := s.Peek(maxNPYHeader + 12)
	if len(head) == 0 {
		return failed(o, "npy", endedEarly(err, s.Name(), 0, "the file is empty"))
	}
	h, err := readNPYHeader(bytes.NewReader(head), s.Name())
	if err != nil {
		return failed(o, "npy", err)
	}
	r := &arrayReader{state: newState(o, events.Header{Format: "npy", Width: o.Width, Height: o.Height, Convention: o.Convention})}
	r.limit()
	user := o.TimeUnit
	if user == "" {
		switch o.Convention {
		case "npy-xytp-seconds":
			user = "s"
		case "npy-xytp-us":
			user = "us"
		}
	}

	row := &items{name: s.Name(), start: h.start, size: h.item}
	apart := false // the columns stand one behind the other
	switch {
	case h.fields != nil:
		if len(h.shape) != 1 {
			return nil, events.Errorf(events.BadHeader, s.Name(), 10, "structured array of shape %v, want one axis", h.shape)
		}
		if r.number, row.at, err = pickFields(h, s.Name()); err != nil {
			return nil, err
		}
		r.left = h.shape[0]
	case len(h.shape) == 2 && (h.shape[1] == 4 || h.shape[0] == 4):
		rows := h.shape[1] == 4 // when both are 4 as well
		r.left = h.shape[0]
		if !rows {
			r.left = h.shape[1]
		}
		apart = rows == h.fortran
		r.number = [columns]number{h.plain, h.plain, h.plain, h.plain}
		row.at = [columns]int{colT: 2 * h.item, colX: 0, colY: h.item, colP: 3 * h.item}
		row.size = 4 * h.item
	default:
		return nil, events.Errorf(events.BadHeader, s.Name(), 10, "array of shape %v, want (N, 4), (4, N) or a structure with the fields x, y, t, p", h.shape)
	}

	if !apart && r.number[colT].class != 'f' {
		if _, err := s.Skip(h.start); err != nil {
			return nil, err
		}
		row.in = s
		r.rows = row
		r.after = func() error {
			if more, _ := s.Peek(1); len(more) > 0 {
				return events.Errorf(events.LengthMismatch, s.Name(), s.Offset(), "data behind the array of shape %v", h.shape)
			}
			return nil
		}
		return r, r.unit(user, 0, nil)
	}

	at, size, err := s.Random()
	if err != nil {
		return nil, err
	}
	total := h.items() * int64(h.item)
	if size-h.start > total {
		return nil, events.Errorf(events.LengthMismatch, s.Name(), h.start+total, "%d bytes behind the array of shape %v", size-h.start-total, h.shape)
	}
	if !apart {
		row.in = io.NewSectionReader(at, h.start, size-h.start)
		r.rows = row
		return r, r.unit(user, r.left, func() (io.Reader, int, error) {
			return io.NewSectionReader(at, h.start+int64(row.at[colT]), size), row.size, nil
		})
	}
	var cols [columns]column
	for c, place := range [columns]int64{colT: 2, colX: 0, colY: 1, colP: 3} {
		start := h.start + place*r.left*int64(h.item)
		cols[c] = column{number: h.plain, count: r.left, start: start, open: func() (io.Reader, error) {
			return io.NewSectionReader(at, start, r.left*int64(h.item)), nil
		}}
	}
	if r.rows, err = openColumns(s.Name(), cols, func(_ int, err error) error {
		return endedEarly(err, s.Name(), size, "the file ends inside the array that starts at %d", h.start)
	}); err != nil {
		return nil, err
	}
	return r, r.unit(user, r.left, func() (io.Reader, int, error) {
		in, err := cols[colT].open()
		return in, h.item, err
	})
}

// pickFields finds the four columns among the fields of a structured array.
func pickFields(h *npyHeader, name string) (numbers [columns]number, at [columns]int, err error) {
	var found [columns]bool
	var names []string
	for _, f := range h.fields {
		names = append(names, f.name)
		c, ok := synonyms[f.name]
		if !ok || found[c] {
			continue
		}
		if f.number.class == 0 {
			return numbers, at, events.Errorf(events.UnsupportedDType, name, 10, "field %q of type %q, want a number", f.name, f.descr)
		}
		found[c], numbers[c], at[c] = true, f.number, f.at
	}
	for c, ok := range found {
		if !ok {
			return numbers, at, events.Errorf(events.MissingField, name, 10, "no field %s among %s", columnNames[c], strings.Join(names, ", "))
		}
	}
	return numbers, at, nil
}

// npyEvent is the type of an event in the files that AdaFire writes, and its
// size.
const (
	npyEvent      = "[('t', '<i8'), ('x', '<u2'), ('y', '<u2'), ('p', '|u1')]"
	npyEventBytes = 13
)

// npyHeaderBytes returns everything before the data of a one-dimensional array.
func npyHeaderBytes(descr string, n int64) []byte {
	dict := fmt.Sprintf("{'descr': %s, 'fortran_order': False, 'shape': (%d,), }", descr, n)
	pad := 63 - (10+len(dict))%64
	head := append([]byte("\x93NUMPY\x01\x00"), byte(len(dict)+pad+1), byte((len(dict)+pad+1)>>8))
	return append(append(head, dict...), strings.Repeat(" ", pad)+"\n"...)
}

// newNPYWriter writes a structured array. The number of events stands in front
// of them, so they are held back, beyond a few megabytes in a temporary file.
func newNPYWriter(w io.Writer, h events.Header, _ WriteOptions) (events.Writer, error) {
	held := &spool{}
	return &npyWriter{w: w, held: held, packer: packer{w: held, name: "npy", encode: func(buf []byte, e events.Event) ([]byte, error) {
		if err := checkEvent(e, &h); err != nil {
			return nil, err
		}
		t := uint64(e.T)
		return append(buf, byte(t), byte(t>>8), byte(t>>16), byte(t>>24), byte(t>>32), byte(t>>40), byte(t>>48), byte(t>>56),
			byte(e.X), byte(e.X>>8), byte(e.Y), byte(e.Y>>8), e.P), nil
	}}}, nil
}

type npyWriter struct {
	packer
	w    io.Writer
	held *spool
}

// Close implements events.Writer.
func (n *npyWriter) Close() (err error) {
	if errors.Is(n.err, errClosed) {
		return nil
	}
	defer func() { err = errors.Join(err, n.held.Close()) }()
	if err := n.packer.Close(); err != nil {
		return err
	}
	if _, err := n.w.Write(npyHeaderBytes(npyEvent, n.count)); err != nil {
		return err
	}
	return n.held.copyTo(n.w)
}
