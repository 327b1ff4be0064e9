package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/adafire/adafire/events"
)

// propheseeFormats are .dat and the EVT encodings of .raw. A .raw file whose
// encoding its header names is read by any of the raw formats; "raw" is the one
// that leaves the choice to the header.
var propheseeFormats = []Format{
	{
		Name: "dat", Title: "Prophesee .dat", Extensions: []string{".dat"}, Canonical: "prophesee",
		NewReader: newDat, NewWriter: newDatWriter,
	},
	{
		Name: "evt3", Title: "Prophesee EVT3", Extensions: []string{".raw"}, Canonical: "prophesee",
		NewReader: rawReader("evt3"), NewWriter: newEVT3Writer,
	},
	{
		Name: "evt2", Title: "Prophesee EVT2", Extensions: []string{".raw"}, Canonical: "prophesee",
		NewReader: rawReader("evt2"), NewWriter: newEVT2Writer,
	},
	{
		Name: "evt21", Title: "Prophesee EVT2.1", Extensions: []string{".raw"}, Canonical: "prophesee",
		NewReader: rawReader("evt21"), NewWriter: newEVT21Writer,
	},
	{
		Name: "raw", Title: "Prophesee .raw (encoding from the header)", Extensions: []string{".raw"}, Canonical: "prophesee",
		NewReader: rawReader(""),
	},
}

// evtPixels is the most pixels a side that any EVT encoding holds.
const evtPixels = 1 << 11

const (
	maxHeaderLine  = 64 << 10 // of a Prophesee header
	maxHeaderBytes = 1 << 20
)

// percentHeader is the header of % lines that .dat and .raw files start with.
type percentHeader struct {
	name  string
	value map[string]string // by key; the last line of a key wins
	at    map[string]int64  // where that line starts
	lines int
}

// readPercentHeader takes the header off a source. It ends where the next two
// bytes are not "% ", or after a line "% end".
//
// Source: event_formats, section 5.1.
func readPercentHeader(s *Source) (*percentHeader, error) {
	h := &percentHeader{name: s.Name(), value: map[string]string{}, at: map[string]int64{}}
	for {
		at := s.Offset()
		head, err := s.Peek(2)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if string(head) != "% " {
			return h, nil
		}
		line, err := peekLine(s)
		if err != nil {
			return nil, err
		}
		if line == nil || s.Offset()+int64(len(line)) > maxHeaderBytes {
			return nil, events.Errorf(events.BadHeader, h.name, at, "header line without an end, want one of at most %d bytes in a header of at most %d", maxHeaderLine, maxHeaderBytes)
		}
		h.lines++
		key, value, _ := strings.Cut(strings.Join(strings.Fields(string(line[2:])), " "), " ")
		s.Advance(len(line))
		if key == "end" && value == "" {
			return h, nil
		}
		h.value[key], h.at[key] = value, at
	}
}

// peekLine returns the next line with its LF, nil when it is too long. It reads
// no more than it must, so that a stream whose data has not come yet is not
// waited for.
func peekLine(s *Source) ([]byte, error) {
	for want := 2; ; want++ {
		// All that has come is looked at; want only asks for one byte more.
		block, err := s.Block(want)
		block = block[:min(len(block), maxHeaderLine)]
		if i := bytes.IndexByte(block, '\n'); i >= 0 {
			return block[:i+1], nil
		}
		if len(block) == maxHeaderLine {
			return nil, nil
		}
		if errors.Is(err, io.EOF) {
			return nil, events.Errorf(events.Truncated, s.Name(), s.Offset(), "the file ends within a header line")
		}
		if err != nil {
			return nil, err
		}
		want = len(block)
	}
}

// bad reports a header field that is impossible or contradicts another.
func (h *percentHeader) bad(key, format string, args ...any) error {
	return events.Errorf(events.BadHeader, h.name, h.at[key], "header field %s: %s", key, fmt.Sprintf(format, args...))
}

// pixels parses a width or height; what is not there is 0.
func (h *percentHeader) pixels(key, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1<<16 {
		return 0, h.bad(key, "%q, want a number of pixels from 1 to 65536", text)
	}
	return n, nil
}

// size returns the two keys as a size, 0 for a key that is not there.
func (h *percentHeader) size(widthKey, heightKey string) (width, height int, err error) {
	if text, ok := h.value[widthKey]; ok {
		if width, err = h.pixels(widthKey, text); err != nil {
			return 0, 0, err
		}
	}
	if text, ok := h.value[heightKey]; ok {
		if height, err = h.pixels(heightKey, text); err != nil {
			return 0, 0, err
		}
	}
	return width, height, nil
}

// header builds the header of a recording: the size in the options beats that
// of the file.
func (h *percentHeader) header(format string, o Options, width, height int) events.Header {
	out := events.Header{Format: format, Width: width, Height: height, Convention: o.Convention}
	if o.Width > 0 {
		out.Width = o.Width
	}
	if o.Height > 0 {
		out.Height = o.Height
	}
	if len(h.value) > 0 {
		out.Meta = maps.Clone(h.value)
	}
	return out
}

// A wordDecoder turns whole words of a stream into events. word is the
// specification; fast does the same for runs of usual words only.
type wordDecoder interface {
	// fast decodes from the front of buf, which holds whole words, up to the
	// first word that needs a closer look, or until fewer than wordRoom
	// elements of dst are left.
	fast(dst []events.Event, buf []byte) (n, used int)

	// word decodes the first word of buf, which stands at a file offset. On
	// error the word is not used up, its events before the defect are
	// valid.
	word(dst []events.Event, buf []byte, at int64) (n int, err error)
}

// wordRoom is more events than any word or group of words holds, with some to
// spare: the loops write beyond the last event.
const wordRoom = 64

// wordReader reads formats that are a sequence of words of one size.
type wordReader struct {
	state
	src     *Source
	size    int // bytes of a word
	decoder wordDecoder

	spare   []events.Event // decoded for a dst that was too small
	scratch []events.Event
}

// Read implements events.Reader.
func (r *wordReader) Read(dst []events.Event) (int, error) {
	for len(dst) > 0 {
		if len(r.spare) > 0 {
			n := copy(dst, r.spare)
			r.spare = r.spare[n:]
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		buf, err := r.src.Block(wordRoom)
		whole := len(buf) - len(buf)%r.size
		if whole == 0 {
			if errors.Is(err, io.EOF) && len(buf) > 0 {
				err = events.Errorf(events.Truncated, r.name, r.src.Offset(), "the file ends inside a record: want %d bytes, have %d", r.size, len(buf))
			}
			r.err = r.stop(err)
			continue
		}
		target := dst
		if len(dst) < wordRoom {
			if r.scratch == nil {
				r.scratch = make([]events.Event, 2*wordRoom)
			}
			target = r.scratch
		}
		n, used, err := r.decode(target, buf[:whole], r.src.Offset())
		r.src.Advance(used)
		if err != nil {
			r.err = r.stop(err)
		}
		if len(dst) < wordRoom {
			r.spare = r.scratch[:n]
			continue
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, nil
}

// decode decodes until buf is used up or dst has less than wordRoom left.
func (r *wordReader) decode(dst []events.Event, buf []byte, offset int64) (n, used int, err error) {
	for {
		k, u := r.decoder.fast(dst[n:], buf[used:])
		n += k
		used += u
		if used == len(buf) || len(dst)-n < wordRoom {
			return n, used, nil
		}
		k, err := r.decoder.word(dst[n:], buf[used:], offset+int64(used))
		n += k
		if err != nil {
			return n, used, err
		}
		used += r.size
	}
}

// endedEarly turns the end of a stream into a truncation at an offset; other
// errors stay.
func endedEarly(err error, name string, offset int64, format string, args ...any) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return events.Errorf(events.Truncated, name, offset, format, args...)
	}
	return err
}
