package codec

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/adafire/adafire/events"
)

// The columns of a recording in arrays.
const (
	colT = iota
	colX
	colY
	colP
	columns
)

var columnNames = [columns]string{"t", "x", "y", "p"}

// arrayRows is how many rows are read at once.
const arrayRows = 4096

// rowBlock is a run of rows: the value of a column c in row i stands at
// data[c][i*stride[c]:].
type rowBlock struct {
	data   [columns][]byte
	stride [columns]int
}

// rowSource gives out the rows of an array, or of four arrays side by side.
type rowSource interface {
	// next returns the next rows, at most n. Fewer than there should be come
	// with the error that ended them.
	next(n int) (rows int, block rowBlock, err error)

	// place returns the offset of a column in a row; negative when it is
	// packed and has none.
	place(col int, row int64) int64
}

// arrayReader makes events of the rows of arrays.
type arrayReader struct {
	state
	rows    rowSource
	number  [columns]number
	left    int64 // rows
	row     int64 // of the next
	seconds bool  // t is seconds, else microseconds
	shift   int64 // µs, added to t
	flip    func(e *events.Event)
	right   int64
	bottom  int64
	after   func() error // checks what stands behind the last row; may be nil
}

// Read implements events.Reader.
func (r *arrayReader) Read(dst []events.Event) (int, error) {
	for len(dst) > 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.left == 0 {
			r.err = io.EOF
			if r.after != nil {
				if err := r.after(); err != nil {
					r.err = r.stop(err)
				}
			}
			continue
		}
		rows, block, err := r.rows.next(int(min(int64(len(dst)), r.left, arrayRows)))
		n, bad := r.convert(dst[:rows], &block)
		r.left -= int64(rows)
		r.row += int64(rows)
		if bad != nil {
			r.err = r.stop(bad)
		} else if err != nil {
			r.err = r.stop(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, nil
}

// convert makes events of len(dst) rows and returns how many are kept.
func (r *arrayReader) convert(dst []events.Event, b *rowBlock) (n int, err error) {
	for i := range dst {
		t, err := r.time(b.data[colT][i*b.stride[colT]:])
		if err != nil {
			if err = r.problem(events.OutOfRange, r.rows.place(colT, r.row+int64(i)), "row %d: %v", r.row+int64(i), err); err != nil {
				return n, err
			}
			continue
		}
		fx, x, okX := r.number[colX].load(b.data[colX][i*b.stride[colX]:])
		fy, y, okY := r.number[colY].load(b.data[colY][i*b.stride[colY]:])
		p, _, _ := r.number[colP].load(b.data[colP][i*b.stride[colP]:])
		if !okX || !okY || uint64(x) > uint64(r.right) || uint64(y) > uint64(r.bottom) {
			if err := r.problem(events.OutOfRange, r.rows.place(colX, r.row+int64(i)), "row %d: pixel (%g, %g), want whole numbers in a sensor of %dx%d", r.row+int64(i), fx, fy, r.header.Width, r.header.Height); err != nil {
				return n, err
			}
			continue
		}
		e := events.Event{T: t, X: uint16(x), Y: uint16(y)}
		if p > 0 {
			e.P = 1
		}
		if r.flip != nil {
			r.flip(&e)
		}
		if err := r.inOrder(e.T, r.rows.place(colT, r.row+int64(i))); err != nil {
			return n, err
		}
		dst[n] = e
		n++
	}
	return n, nil
}

// time returns the time of a row in µs.
func (r *arrayReader) time(b []byte) (int64, error) {
	f, t, exact := r.number[colT].load(b)
	switch {
	case r.seconds:
		f = math.Round(f * 1e6)
		exact = false
	case !exact:
		f = math.Round(f)
	}
	if !exact {
		if !(math.Abs(f) < 1<<62) {
			return 0, fmt.Errorf("time %g µs", f)
		}
		t = int64(f)
	}
	if sum := t + r.shift; (sum > t) == (r.shift > 0) || r.shift == 0 {
		return sum, nil
	}
	return 0, fmt.Errorf("time %d µs with an offset of %d µs", t, r.shift)
}

// limit sets what is checked of the coordinates, which are those in the file.
func (r *arrayReader) limit() { r.right, r.bottom = limits(&r.header) }

// unit decides whether t is seconds: when any is not whole, or when it is
// stored as floating point and the largest is below 1000; the user's word
// comes first. times gives the values of t from the first on; it is not called
// for integers.
//
// Source: event_formats, section 7.2.
func (r *arrayReader) unit(user string, count int64, times func() (io.Reader, int, error)) error {
	switch user {
	case "s":
		r.seconds = true
	case "us":
		return nil
	case "":
	default:
		return fmt.Errorf("%s: unknown unit of time %q: want s or us", r.name, user)
	}
	number := r.number[colT]
	if number.class != 'f' {
		return nil
	}
	in, stride, err := times()
	if err != nil {
		return err
	}
	buffered := bufio.NewReaderSize(in, 64<<10)
	item := make([]byte, stride)
	largest, whole := 0.0, true
	for range count {
		if got, _ := io.ReadFull(buffered, item); got < number.size { // the last row need not be whole
			break // damage is found again, and told, when the events are read
		}
		f, _, exact := number.load(item)
		whole = whole && exact
		if a := math.Abs(f); a > largest && !math.IsInf(a, 0) {
			largest = a
		}
		if !whole && number.size == 8 {
			break
		}
	}
	r.seconds = r.seconds || !whole || largest < 1000
	if step := float64(math.Nextafter32(float32(largest), math.MaxFloat32)) - float64(float32(largest)); r.seconds && number.size == 4 && step > 1e-6 {
		if r.header.Meta == nil {
			r.header.Meta = map[string]string{}
		}
		r.header.Meta["time precision"] = fmt.Sprintf("seconds stored as float32: steps of up to %.1f µs", step*1e6)
	}
	return nil
}

// items is a rowSource over rows that stand one behind the other, each with all
// four columns.
type items struct {
	in    io.Reader
	name  string
	start int64 // offset of the first
	size  int   // bytes of a row
	at    [columns]int
	read  int64 // bytes
	buf   []byte
}

func (a *items) next(n int) (int, rowBlock, error) {
	n = max(min(n, 1<<20/a.size), 1)
	if len(a.buf) < n*a.size {
		a.buf = make([]byte, n*a.size)
	}
	got, err := io.ReadFull(a.in, a.buf[:n*a.size])
	a.read += int64(got)
	if err != nil {
		err = endedEarly(err, a.name, a.start+a.read, "the file ends inside the array that starts at %d", a.start)
	}
	var b rowBlock
	for c := range b.data {
		b.data[c], b.stride[c] = a.buf[a.at[c]:], a.size
	}
	return got / a.size, b, err
}

func (a *items) place(col int, row int64) int64 {
	return a.start + row*int64(a.size) + int64(a.at[col])
}

// A column is one array of numbers.
type column struct {
	number number
	count  int64
	start  int64                     // offset of the first element; negative when it is packed
	open   func() (io.Reader, error) // at the first element
}

// sideBySide is a rowSource over four arrays of one length.
type sideBySide struct {
	name  string
	cols  [columns]column
	in    [columns]*bufio.Reader
	buf   [columns][]byte
	fault func(col int, err error) error // gives a read error its kind
}

// openColumns opens four arrays.
func openColumns(name string, cols [columns]column, fault func(col int, err error) error) (*sideBySide, error) {
	a := &sideBySide{name: name, cols: cols, fault: fault}
	for c := range cols {
		in, err := cols[c].open()
		if err != nil {
			return nil, fault(c, err)
		}
		a.in[c] = bufio.NewReaderSize(in, 64<<10)
		a.buf[c] = make([]byte, arrayRows*cols[c].number.size)
	}
	return a, nil
}

func (a *sideBySide) next(n int) (int, rowBlock, error) {
	var b rowBlock
	var first error
	n = min(n, arrayRows)
	for c := range a.in {
		size := a.cols[c].number.size
		got, err := io.ReadFull(a.in[c], a.buf[c][:n*size])
		n = min(n, got/size)
		if err != nil && first == nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			first = a.fault(c, err)
		}
		b.data[c], b.stride[c] = a.buf[c], size
	}
	return n, b, first
}

// drain reads what is behind the last row: only then do archives compare their
// checksums.
func (a *sideBySide) drain() error {
	for c, in := range a.in {
		if _, err := io.Copy(io.Discard, in); err != nil {
			return a.fault(c, err)
		}
	}
	return nil
}

func (a *sideBySide) place(col int, row int64) int64 {
	if a.cols[col].start < 0 {
		return -1
	}
	return a.cols[col].start + row*int64(a.cols[col].number.size)
}

// sameLength checks that four arrays that belong together have one length.
func sameLength(name string, cols *[columns]column) error {
	for c := range cols {
		if cols[c].count != cols[colT].count {
			return events.Errorf(events.LengthMismatch, name, max(cols[c].start, -1), "array %s has %d elements, t has %d", columnNames[c], cols[c].count, cols[colT].count)
		}
	}
	return nil
}
