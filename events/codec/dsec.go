package codec

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/hdf5"
)

// hdf5Formats are the layouts of events in HDF5: of DSEC, of the copies of GEN1
// and 1Mpx (a group of four arrays with width and height), and of OpenEB (one
// array of records).
var hdf5Formats = []Format{{
	Name: "hdf5", Title: "HDF5 (DSEC, GEN1 and 1Mpx copies, OpenEB)", Extensions: []string{".h5", ".hdf5"}, Canonical: "dsec",
	NewReader: newHDF5,
}}

// The size of the sensors of DSEC.
const (
	dsecWidth  = 640
	dsecHeight = 480
)

var registerBlosc = sync.OnceFunc(func() {
	hdf5.RegisterFilter(bloscFilter, func(src []byte, size int, params []uint32) ([]byte, error) {
		if size == 0 && len(params) > 3 {
			size = int(min(params[3], hdf5.MaxRead)) // the size of a chunk
		}
		out, err := unblosc(src, size)
		if err != nil {
			return nil, errPacked{err}
		}
		return out, nil
	})
})

// errPacked marks a chunk that cannot be unpacked.
type errPacked struct{ error }

// newHDF5 reads the events of an HDF5 file.
//
// Source: event_formats, section 6.
func newHDF5(s *Source, o Options) (events.Reader, error) {
	registerBlosc()
	at, size, err := s.Random()
	if err != nil {
		return nil, err
	}
	head := make([]byte, min(size, detectBytes))
	if _, err := at.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if size == 0 {
		return failed(o, "hdf5", events.Errorf(events.Truncated, s.Name(), 0, "the file is empty"))
	}
	if !hasHDF5(head) {
		return nil, events.Errorf(events.BadMagic, s.Name(), 0, "the file starts with % x, want \\x89HDF", head[:min(len(head), 8)])
	}
	f, err := hdf5.Open(at, size, s.Name())
	if err != nil {
		return nil, hdf5Fault(s.Name(), events.BadHeader, err)
	}
	r := &hdf5Reader{name: s.Name()}
	r.state = newState(o, events.Header{Format: "hdf5", Convention: o.Convention})
	r.rows = r
	if err := r.find(f.Root()); err != nil {
		return nil, hdf5Fault(s.Name(), events.BadHeader, err)
	}
	if o.Width > 0 {
		r.header.Width = o.Width
	}
	if o.Height > 0 {
		r.header.Height = o.Height
	}
	r.limit()
	r.left = r.count
	err = r.unit(o.TimeUnit, r.count, func() (io.Reader, int, error) {
		return nil, 0, events.Errorf(events.UnsupportedDType, s.Name(), -1, "t is stored as floating point, want integers in µs")
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// hdf5Fault gives an error of the HDF5 reader its kind: the given one for what
// is malformed.
func hdf5Fault(name string, malformed events.Kind, err error) error {
	var known *events.Error
	var format *fileerr.FormatError
	var packed errPacked
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, hdf5.ErrNotFound):
		return events.Errorf(events.MissingField, name, -1, "%v", err)
	case errors.Is(err, fileerr.ErrUnsupported):
		return events.Errorf(events.UnsupportedVersion, name, -1, "%v", err)
	case errors.As(err, &packed):
		return events.Errorf(events.CorruptCompression, name, -1, "%v", err)
	case errors.As(err, &format):
		return events.Errorf(malformed, name, format.Offset, "%s", format.Msg)
	}
	return events.Errorf(malformed, name, -1, "%v", err)
}

// hdf5Reader is an arrayReader whose rows come from data sets.
type hdf5Reader struct {
	arrayReader
	name  string
	count int64 // rows
	index *hdf5.Dataset

	records *hdf5.Dataset          // of all four columns
	columns [columns]*hdf5.Dataset // or one each
	buf     [columns][]byte
	block   rowBlock
}

// find finds the arrays of one of the layouts.
func (r *hdf5Reader) find(root *hdf5.Group) error {
	if root.Has("CD/events") {
		return r.findRecords(root)
	}
	for c, name := range columnNames {
		d, err := root.Dataset("events/" + name)
		if err != nil {
			return err
		}
		if len(d.Shape()) != 1 {
			return events.Errorf(events.UnsupportedDType, r.name, -1, "events/%s has shape %v, want one axis", name, d.Shape())
		}
		if r.number[c], err = hdf5Number(d.Type()); err != nil {
			return events.Errorf(events.UnsupportedDType, r.name, -1, "events/%s: %v", name, err)
		}
		if c == colT {
			r.count = int64(d.Rows())
		}
		if int64(d.Rows()) != r.count {
			return events.Errorf(events.LengthMismatch, r.name, -1, "events/%s has %d elements, events/t has %d", name, d.Rows(), r.count)
		}
		r.columns[c] = d
	}
	var err error
	if r.header.Width, err = scalar(root, "events/width", 1<<16); err != nil {
		return err
	}
	if r.header.Height, err = scalar(root, "events/height", 1<<16); err != nil {
		return err
	}
	if root.Has("t_offset") {
		offset, err := scalar(root, "t_offset", 1<<62)
		if err != nil {
			return err
		}
		r.shift = int64(offset)
		r.header.Meta = map[string]string{"t_offset": strconv.Itoa(offset)}
	}
	if root.Has("ms_to_idx") {
		if r.index, err = root.Dataset("ms_to_idx"); err != nil {
			return err
		}
	}
	if r.header.Width == 0 && r.header.Height == 0 && (r.index != nil || root.Has("t_offset")) {
		r.header.Width, r.header.Height = dsecWidth, dsecHeight
	}
	return nil
}

// findRecords finds the array of OpenEB, whose elements have all four columns.
func (r *hdf5Reader) findRecords(root *hdf5.Group) error {
	d, err := root.Dataset("CD/events")
	if err != nil {
		return err
	}
	if len(d.Shape()) != 1 || d.Type().Class != hdf5.Compound {
		return events.Errorf(events.UnsupportedDType, r.name, -1, "CD/events is %v of shape %v, want records of x, y, p and t", d.Type(), d.Shape())
	}
	var found [columns]bool
	var at [columns]int
	for _, m := range d.Type().Members {
		for c, name := range columnNames {
			if m.Name != name {
				continue
			}
			if r.number[c], err = hdf5Number(m.Type); err != nil {
				return events.Errorf(events.UnsupportedDType, r.name, -1, "CD/events.%s: %v", name, err)
			}
			found[c] = true
			at[c] = m.Offset
		}
	}
	for c, ok := range found {
		if !ok {
			return events.Errorf(events.MissingField, r.name, -1, "CD/events has no %s, it is %v", columnNames[c], d.Type())
		}
	}
	size := d.Type().Size
	r.buf[0] = make([]byte, arrayRows*size)
	for c := range r.block.data {
		r.block.data[c], r.block.stride[c] = r.buf[0][at[c]:], size
	}
	r.records, r.count = d, int64(d.Rows())
	cd, err := root.Group("CD")
	if err != nil {
		return err
	}
	for _, g := range []*hdf5.Group{root, cd} {
		if a, err := g.Attr("geometry"); err == nil {
			if text, err := a.ReadString(); err == nil {
				w, h, _ := strings.Cut(text, "x")
				width, errW := strconv.Atoi(w)
				height, errH := strconv.Atoi(h)
				if errW != nil || errH != nil || width < 1 || height < 1 || width > 1<<16 || height > 1<<16 {
					return events.Errorf(events.BadHeader, r.name, -1, "geometry %.40q, want WIDTHxHEIGHT", text)
				}
				r.header.Width, r.header.Height = width, height
			}
		}
	}
	return nil
}

// hdf5Number says how a type stores numbers.
func hdf5Number(t *hdf5.Type) (number, error) {
	n := number{size: t.Size, bigEndian: t.BigEndian}
	switch {
	case t.Class == hdf5.Integer && (t.Size == 1 || t.Size == 2 || t.Size == 4 || t.Size == 8):
		n.class = 'u'
		if t.Signed {
			n.class = 'i'
		}
	case t.Class == hdf5.Float && (t.Size == 4 || t.Size == 8):
		n.class = 'f'
	default:
		return n, fmt.Errorf("type %v, want integers", t)
	}
	return n, nil
}

// scalar reads a whole number of at most a limit either side of zero; what is
// not there is 0.
func scalar(root *hdf5.Group, path string, limit int64) (int, error) {
	if !root.Has(path) {
		return 0, nil
	}
	d, err := root.Dataset(path)
	if err != nil {
		return 0, err
	}
	if d.Len() != 1 {
		return 0, events.Errorf(events.BadHeader, d.Path(), -1, "%d elements, want one number", d.Len())
	}
	v, err := d.ReadInt64()
	if err != nil {
		return 0, err
	}
	if v[0] > limit || v[0] < -limit {
		return 0, events.Errorf(events.BadHeader, d.Path(), -1, "%d, want at most %d", v[0], limit)
	}
	return int(v[0]), nil
}

// next reads fewer rows when that many cannot be read, so that those in front of
// a damaged chunk are given out.
func (r *hdf5Reader) next(n int) (int, rowBlock, error) {
	for {
		err := r.load(int(r.row), n)
		if err == nil {
			return n, r.block, nil
		}
		if n == 1 {
			return 0, r.block, hdf5Fault(r.name, events.CorruptCompression, err)
		}
		n /= 2
	}
}

// load reads n rows of all columns into the block.
func (r *hdf5Reader) load(row, n int) error {
	if r.records != nil {
		return r.records.ReadRowsRaw(row, row+n, r.buf[0][:n*r.block.stride[0]])
	}
	for c, d := range r.columns {
		size := r.number[c].size
		if r.buf[c] == nil {
			r.buf[c] = make([]byte, arrayRows*size)
			r.block.data[c], r.block.stride[c] = r.buf[c], size
		}
		if err := d.ReadRowsRaw(row, row+n, r.buf[c][:n*size]); err != nil {
			return err
		}
	}
	return nil
}

func (r *hdf5Reader) place(int, int64) int64 { return -1 }

// A TimeSeeker is a reader that can go to a time without reading what is before
// it. Recordings of the format hdf5 are, when they are a group of arrays.
type TimeSeeker interface {
	// SeekTime goes on with the first event whose time is t µs or later. The
	// times must not step back.
	SeekTime(t int64) error
}

// SeekTime implements TimeSeeker. It uses the index of DSEC, ms_to_idx, where
// there is one, and else searches the times.
func (r *hdf5Reader) SeekTime(t int64) error {
	if r.columns[colT] == nil || r.seconds {
		return fmt.Errorf("%s: this layout cannot be searched", r.name)
	}
	t -= r.shift
	lo, hi := int64(0), r.count // the event is in lo to hi, or hi
	if r.index != nil && t > 0 {
		var at [2]int64
		ms := t / 1000
		if last := int64(r.index.Rows()); ms < last {
			n := min(2, last-ms)
			if err := r.index.ReadRowsInt64(int(ms), int(ms+n), at[:n]); err != nil {
				return hdf5Fault(r.name, events.BadHeader, err)
			}
			lo = at[0]
			if n == 2 {
				hi = at[1]
			}
		} else if last > 0 {
			if err := r.index.ReadRowsInt64(int(last-1), int(last), at[:1]); err != nil {
				return hdf5Fault(r.name, events.BadHeader, err)
			}
			lo = at[0]
		}
		if lo < 0 || hi < lo || hi > r.count {
			return events.Errorf(events.BadHeader, r.name, -1, "ms_to_idx says %d to %d for millisecond %d of %d events", lo, hi, ms, r.count)
		}
	}
	var buf [8]byte
	for lo < hi {
		middle := lo + (hi-lo)/2
		if err := r.columns[colT].ReadRowsRaw(int(middle), int(middle)+1, buf[:r.number[colT].size]); err != nil {
			return hdf5Fault(r.name, events.CorruptCompression, err)
		}
		if _, at, _ := r.number[colT].load(buf[:]); at < t {
			lo = middle + 1
		} else {
			hi = middle
		}
	}
	r.row, r.left = lo, r.count-lo
	r.started = false
	r.err = nil
	return nil
}
