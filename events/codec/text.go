package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/adafire/adafire/events"
)

var textFormats = []Format{{
	Name:       "text",
	Title:      "text, one event a line (t x y p, or x,y,p,t)",
	Extensions: []string{".txt", ".csv"},
	Canonical:  "text",
	NewReader:  newTextReader,
	NewWriter:  newTextWriter,
}}

const maxTextLine = 64 << 10

// Columns of an event.
const (
	textT = iota
	textX
	textY
	textP
	textFields
)

var textNames = map[string]int{
	"t": textT, "ts": textT, "time": textT, "timestamp": textT,
	"x": textX, "y": textY,
	"p": textP, "pol": textP, "polarity": textP, "on": textP,
}

// textReader reads one event a line, fields separated by blanks, tabs or one
// comma.
//
// Source: event_formats, section 7.3.
type textReader struct {
	state
	src        *Source
	maxX, maxY int64
	columns    int
	column     [textFields]int // where each field stands
	seconds    bool            // all times, said by the user
	micros     bool
	line       int64    // lines taken
	fields     [][]byte // of the line
}

func newTextReader(s *Source, o Options) (events.Reader, error) {
	r := &textReader{src: s, state: newState(o, events.Header{Format: "text", Convention: o.Convention, Width: o.Width, Height: o.Height})}
	order := o.Order
	switch o.TimeUnit {
	case "":
	case "s":
		r.seconds = true
	case "us":
		r.micros = true
	default:
		return nil, fmt.Errorf("%s: time unit %q: want s or us", o.Name, o.TimeUnit)
	}
	// Comments and the line of names come first.
	for {
		line, err := r.peekLine()
		if err != nil {
			break // comes again with the first event
		}
		if !skipLine(line) {
			names, ok := textHeader(line)
			if ok {
				r.columns = len(names)
				r.column = [textFields]int{-1, -1, -1, -1}
				for i, f := range names {
					if f >= 0 {
						r.column[f] = i
					}
				}
				for f, at := range r.column {
					if at < 0 {
						return nil, events.Errorf(events.MissingField, o.Name, s.Offset(), "the line of names %.80q has no %s", line, "txyp"[f:f+1])
					}
				}
				r.takeLine(line)
			}
			break
		}
		if size, ok := bytes.CutPrefix(line, []byte("%geometry:")); ok {
			width, height, ok := textSize(size, ",")
			if !ok {
				return nil, events.Errorf(events.BadHeader, o.Name, s.Offset(), "line %.80q: want %%geometry:WIDTH,HEIGHT", line)
			}
			r.size(width, height)
			if order == "" {
				order = "xypt"
			}
		} else if size, ok := bytes.CutPrefix(line, []byte(textSensor)); ok {
			if width, height, ok := textSize(size, "x"); ok {
				r.size(width, height)
			}
		}
		r.takeLine(line)
	}
	if r.columns == 0 {
		r.columns = textFields
		switch order {
		case "", "txyp":
			r.column = [textFields]int{textT: 0, textX: 1, textY: 2, textP: 3}
		case "xypt":
			r.column = [textFields]int{textX: 0, textY: 1, textP: 2, textT: 3}
		default:
			return nil, fmt.Errorf("%s: order %q: want txyp or xypt", o.Name, order)
		}
	}
	r.maxX, r.maxY = limits(&r.header)
	return r, nil
}

// textSensor starts the comment that AdaFire writes for the size.
const textSensor = "# sensor "

func textSize(text []byte, separator string) (width, height int, ok bool) {
	w, h, ok := strings.Cut(strings.TrimSpace(string(text)), separator)
	width, err := strconv.Atoi(strings.TrimSpace(w))
	height, err2 := strconv.Atoi(strings.TrimSpace(h))
	return width, height, ok && err == nil && err2 == nil && width > 0 && height > 0 && width <= 1<<16 && height <= 1<<16
}

func (r *textReader) size(width, height int) {
	if r.header.Width == 0 {
		r.header.Width = width
	}
	if r.header.Height == 0 {
		r.header.Height = height
	}
}

// skipLine reports whether a line is empty or a comment.
func skipLine(line []byte) bool {
	line = bytes.TrimLeft(line, " \t\r")
	return len(line) == 0 || line[0] == '#' || line[0] == '%'
}

// textHeader returns the fields that a line of names names, -1 for other names;
// false when it is no line of names, which has a letter first and t somewhere.
func textHeader(line []byte) ([]int, bool) {
	split, ok := textSplit(nil, line)
	if !ok || len(split) < textFields {
		return nil, false
	}
	fields, known := make([]int, len(split)), 0
	for i, name := range split {
		f, ok := textNames[strings.ToLower(string(name))]
		if !ok {
			f = -1
		} else {
			known++
		}
		fields[i] = f
	}
	return fields, known >= 3
}

// peekLine returns the next line without its end and without taking it; io.EOF
// when there is none. A line that is too long is returned in part, with the
// error errLongLine.
func (r *textReader) peekLine() ([]byte, error) {
	for want, seen := 1, 0; ; {
		block, err := r.src.Block(want)
		end := bytes.IndexByte(block[seen:], '\n')
		switch {
		case end >= 0 && seen+end <= maxTextLine:
			return block[:seen+end], nil
		case end >= 0 || len(block) > maxTextLine:
			return block[:maxTextLine], errLongLine
		case err != nil && (len(block) == 0 || !errors.Is(err, io.EOF)):
			return nil, err
		case err != nil:
			return block, nil // the last line, without an end
		}
		seen, want = len(block), len(block)+1 // a line that comes in pieces
	}
}

var errLongLine = errors.New("a line of more than 64 KiB")

// takeLine takes a line that peekLine has returned, with its end.
func (r *textReader) takeLine(line []byte) {
	n := len(line)
	if block, err := r.src.Block(n + 1); err == nil || len(block) > n {
		n++
	}
	r.src.Advance(n)
	r.line++
}

// Read implements events.Reader.
func (r *textReader) Read(dst []events.Event) (int, error) {
	n := 0
	for n < len(dst) && r.err == nil {
		line, err := r.peekLine()
		at := r.src.Offset()
		switch {
		case errors.Is(err, errLongLine):
			if r.err = r.problem(events.MalformedLine, at, "line %d: more than %d bytes", r.line+1, maxTextLine); r.err == nil {
				r.err = r.skipLong()
			}
			continue
		case err != nil:
			r.err = r.stop(err)
			continue
		}
		if r.quick(&dst[n], line) {
			n++
		} else if !skipLine(line) {
			keep := false
			keep, r.err = r.event(&dst[n], line, at)
			if keep {
				n++
			}
		}
		if r.err == nil {
			r.takeLine(line)
		}
	}
	if n == len(dst) && n > 0 {
		return n, nil
	}
	return n, r.err
}

// skipLong takes the rest of a line that is too long.
func (r *textReader) skipLong() error {
	for {
		block, err := r.src.Block(1)
		if len(block) == 0 {
			return r.stop(err)
		}
		if end := bytes.IndexByte(block, '\n'); end >= 0 {
			r.src.Advance(end + 1)
			r.line++
			return nil
		}
		r.src.Advance(len(block))
	}
}

// quick decodes the usual line: four plain numbers with one separator between
// them. It reports false, without a judgement, for all others.
func (r *textReader) quick(dst *events.Event, line []byte) bool {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	var value [textFields]uint64
	var places [textFields]int // digits behind the point, -1 without one
	field, digits := 0, 0
	places[0] = -1
	for _, c := range line {
		switch {
		case c-'0' <= 9:
			value[field] = 10*value[field] + uint64(c-'0')
			if digits++; places[field] >= 0 {
				places[field]++
			}
		case c == '.' && places[field] < 0 && digits > 0:
			places[field] = 0
		case (c == ' ' || c == ',' || c == '\t') && digits > 0 && digits <= 12 && field < textFields-1:
			field++
			digits, places[field] = 0, -1
		default:
			return false
		}
	}
	if field != textFields-1 || digits == 0 || digits > 12 || r.columns != textFields {
		return false
	}
	xc, yc, pc, tc := r.column[textX], r.column[textY], r.column[textP], r.column[textT]
	if (places[xc]&places[yc]&places[pc]) != -1 || value[pc] > 1 || value[xc] > uint64(r.maxX) || value[yc] > uint64(r.maxY) {
		return false
	}
	t := int64(value[tc])
	switch p := places[tc]; {
	case p < 0 && !r.seconds:
	case p < 0 || p > 6 || r.micros:
		return false
	default:
		t *= microPowers[p]
	}
	if r.started && t < r.prev {
		return false
	}
	r.prev, r.started = t, true
	*dst = events.Event{T: t, X: uint16(value[xc]), Y: uint16(value[yc]), P: uint8(value[pc])}
	return true
}

// microPowers are the µs in the last place of seconds with so many places.
var microPowers = [7]int64{1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1}

// event decodes a line.
func (r *textReader) event(dst *events.Event, line []byte, at int64) (bool, error) {
	fields, ok := textSplit(r.fields[:0], line)
	r.fields = fields
	bad := func(format string, args ...any) (bool, error) {
		return false, r.problem(events.MalformedLine, at, "line %d: "+format, append([]any{r.line + 1}, args...)...)
	}
	if !ok || len(fields) != r.columns {
		return bad("%.80q: want %d fields", line, r.columns)
	}
	x, ok := textCoordinate(fields[r.column[textX]])
	if !ok {
		return bad("x is %.40q: want a whole number", fields[r.column[textX]])
	}
	y, ok := textCoordinate(fields[r.column[textY]])
	if !ok {
		return bad("y is %.40q: want a whole number", fields[r.column[textY]])
	}
	p, ok := textPolarity(fields[r.column[textP]])
	if !ok {
		return bad("p is %.40q: want 0, 1, -1, true or false", fields[r.column[textP]])
	}
	t, ok := r.time(fields[r.column[textT]])
	if !ok {
		return bad("t is %.40q: want µs as a whole number, or seconds with a point", fields[r.column[textT]])
	}
	if x < 0 || y < 0 || x > r.maxX || y > r.maxY {
		return false, r.problem(events.OutOfRange, at, "line %d: pixel (%d, %d): outside the sensor of %dx%d", r.line+1, x, y, r.maxX+1, r.maxY+1)
	}
	if err := r.inOrder(t, at); err != nil {
		return false, err
	}
	*dst = events.Event{T: t, X: uint16(x), Y: uint16(y), P: p}
	return true, nil
}

// textSplit appends the fields of a line. Two commas without a field between
// them, and one at an end, are false.
func textSplit(fields [][]byte, line []byte) ([][]byte, bool) {
	i, comma := 0, false
	for {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r') {
			i++
		}
		if i == len(line) {
			return fields, !comma
		}
		if line[i] == ',' {
			if comma || len(fields) == 0 {
				return fields, false
			}
			comma = true
			i++
			continue
		}
		start := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' && line[i] != '\r' && line[i] != ',' {
			i++
		}
		if len(fields) == maxMeta {
			return fields, false
		}
		fields = append(fields, line[start:i])
		comma = false
	}
}

// textCoordinate parses a whole number of at most nine digits.
func textCoordinate(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	v := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + int64(c-'0')
	}
	if negative {
		v = -v
	}
	return v, true
}

func textPolarity(b []byte) (uint8, bool) {
	switch string(b) {
	case "0", "-1", "false", "False":
		return 0, true
	case "1", "true", "True":
		return 1, true
	}
	return 0, false
}

// time parses a time: seconds when it has a point or an exponent, else µs,
// unless the user has said the unit.
func (r *textReader) time(b []byte) (int64, bool) {
	seconds := r.seconds
	for i := 0; !seconds && !r.micros && i < len(b); i++ {
		seconds = b[i] == '.' || b[i] == 'e' || b[i] == 'E'
	}
	if seconds {
		return decimal(b, 6)
	}
	return decimal(b, 0)
}

// decimal returns round(v * 10^shift) of a decimal number, halves away from 0,
// from its digits alone: a float would not hold them.
func decimal(b []byte, shift int) (int64, bool) {
	negative := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		negative, b = b[0] == '-', b[1:]
	}
	if i := bytes.IndexAny(b, "eE"); i >= 0 {
		if len(b)-i > 5 {
			return 0, false
		}
		e, err := strconv.Atoi(string(b[i+1:]))
		if err != nil {
			return 0, false
		}
		shift, b = shift+e, b[:i]
	}
	whole, fraction, _ := bytes.Cut(b, []byte("."))
	if len(whole)+len(fraction) == 0 {
		return 0, false
	}
	limit := uint64(math.MaxInt64)
	if negative {
		limit++
	}
	value, up := uint64(0), false
	// Digits at or above place 0 count, the one below it rounds.
	place := len(whole) - 1 + shift
	for _, part := range [2][]byte{whole, fraction} {
		for _, c := range part {
			digit := uint64(c - '0')
			if digit > 9 {
				return 0, false
			}
			if place >= 0 {
				if value > (limit-digit)/10 {
					return 0, false
				}
				value = 10*value + digit
			} else if place == -1 {
				up = digit >= 5
			}
			place--
		}
	}
	for ; place >= 0 && value > 0; place-- {
		if value > limit/10 {
			return 0, false
		}
		value *= 10
	}
	if up {
		if value == limit {
			return 0, false
		}
		value++
	}
	if negative {
		return -int64(value), true // of 2^63, too: it is its own negative
	}
	return int64(value), true
}

func newTextWriter(w io.Writer, h events.Header, o WriteOptions) (events.Writer, error) {
	p := &packer{w: w, name: "text"}
	known := h.Width > 0 && h.Height > 0
	switch o.Order {
	case "", "txyp":
		if known {
			p.buf = fmt.Appendf(p.buf, "%s%dx%d\n", textSensor, h.Width, h.Height)
		}
	case "xypt":
		// Without this line a reader would take the columns for t x y p.
		if known {
			p.buf = fmt.Appendf(p.buf, "%%geometry:%d,%d\n", h.Width, h.Height)
		} else {
			p.buf = append(p.buf, "x,y,p,t\n"...)
		}
	default:
		return nil, fmt.Errorf("text: order %q: want txyp or xypt", o.Order)
	}
	p.encode = func(buf []byte, e events.Event) ([]byte, error) {
		if err := checkEvent(e, &h); err != nil {
			return buf, err
		}
		if o.Order == "xypt" {
			buf = append(strconv.AppendUint(buf, uint64(e.X), 10), ',')
			buf = append(strconv.AppendUint(buf, uint64(e.Y), 10), ',', '0'+e.P, ',')
			buf = strconv.AppendInt(buf, e.T, 10)
		} else {
			buf = append(strconv.AppendInt(buf, e.T, 10), ' ')
			buf = append(strconv.AppendUint(buf, uint64(e.X), 10), ' ')
			buf = append(strconv.AppendUint(buf, uint64(e.Y), 10), ' ', '0'+e.P)
		}
		return append(buf, '\n'), nil
	}
	return p, nil
}
