package events

import (
	"fmt"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
)

// A Kind names one thing that can be wrong or odd in a recording.
type Kind int

// The kinds. The first group always ends reading, the second only unless the
// reader is lenient, the third never unless the reader is strict.
const (
	BadMagic           Kind = iota // the first bytes name no known format
	UnknownEncoding                // the format or its variant cannot be told
	UnsupportedVersion             // a known format in a version that is not read
	LFSPointer                     // a Git LFS pointer stands in place of the data
	BadHeader                      // a header field is impossible or contradicts another
	BadPacketHeader                // the same in the header of a packet
	MissingField                   // an array or column that is needed is not there
	LengthMismatch                 // arrays that belong together differ in length
	UnsupportedDType               // an array's element type is not read
	MissingEndHeader               // the line that ends the header is not there

	Truncated          // the file ends inside a record or block
	CorruptCompression // a block cannot be unpacked
	CorruptFlatbuffer  // offsets or lengths of a FlatBuffer point outside it
	OutOfRange         // a coordinate lies outside the sensor
	BadSequence        // a word needs a state that was never set
	MalformedLine      // a line of text is not an event

	TimeBackwards // time steps back without a wrap of the counter
	UnknownWord   // a word of a reserved type
	UnknownStream // a packet of a stream that the header does not name
	NotPolarity   // a record that is no polarity event: frames, inertial samples, triggers
	InvalidEvent  // an event that its writer marked as not valid
	NoTimeBase    // an event before the first word that sets the time

	kinds // their number
)

var kindNames = [kinds]string{
	BadMagic: "bad-magic", UnknownEncoding: "unknown-encoding", UnsupportedVersion: "unsupported-version",
	LFSPointer: "lfs-pointer", BadHeader: "bad-header", BadPacketHeader: "bad-packet-header",
	MissingField: "missing-field", LengthMismatch: "length-mismatch", UnsupportedDType: "unsupported-dtype",
	MissingEndHeader: "missing-end-header",
	Truncated:        "truncated", CorruptCompression: "corrupt-compression", CorruptFlatbuffer: "corrupt-flatbuffer",
	OutOfRange: "out-of-range", BadSequence: "bad-sequence", MalformedLine: "malformed-line",
	TimeBackwards: "time-backwards", UnknownWord: "unknown-word", UnknownStream: "unknown-stream",
	NotPolarity: "not-polarity", InvalidEvent: "invalid-event", NoTimeBase: "no-time-base",
}

// String returns the name of the kind, such as "out-of-range".
func (k Kind) String() string {
	if k < 0 || k >= kinds {
		return fmt.Sprintf("kind(%d)", int(k))
	}
	return kindNames[k]
}

// Kinds returns all kinds in order.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// An Error is what ended the reading of a recording. It wraps a
// *fileerr.FormatError, so that all malformed files can be told alike.
type Error struct {
	Kind   Kind
	File   string // name of the file or stream
	Offset int64  // byte of the defect, in the unpacked stream when the file is gzipped; negative when it has none
	Block  int64  // where the block or packet around it starts; 0 when there is none
	Msg    string // what was expected and what was found
}

// Errorf returns an *Error with a formatted message.
func Errorf(kind Kind, file string, offset int64, format string, args ...any) *Error {
	return &Error{Kind: kind, File: file, Offset: offset, Msg: fmt.Sprintf(format, args...)}
}

// Error returns "file: offset N: kind: message".
func (e *Error) Error() string { return e.format().Error() }

// Unwrap returns the error as a *fileerr.FormatError.
func (e *Error) Unwrap() error { return e.format() }

func (e *Error) format() *fileerr.FormatError {
	msg := e.Kind.String() + ": " + e.Msg
	if e.Block > 0 {
		msg += fmt.Sprintf(" (block at %d)", e.Block)
	}
	return &fileerr.FormatError{Path: e.File, Offset: e.Offset, Msg: msg}
}

// Stats counts, for each kind, what a reader skipped or found odd, and keeps
// the place of the first. The zero value is empty.
type Stats struct {
	count [kinds]int64
	first [kinds]int64
}

// Add counts one case of a kind at a byte offset.
func (s *Stats) Add(k Kind, offset int64) { s.AddN(k, offset, 1) }

// AddN counts n cases of a kind, the first of them at a byte offset. n below 1
// changes nothing.
func (s *Stats) AddN(k Kind, offset, n int64) {
	if n < 1 {
		return
	}
	if s.count[k] == 0 {
		s.first[k] = offset
	}
	s.count[k] += n
}

// Count returns how often a kind was met.
func (s *Stats) Count(k Kind) int64 { return s.count[k] }

// First returns the byte offset of the first case of a kind, and whether there
// was one.
func (s *Stats) First(k Kind) (offset int64, ok bool) { return s.first[k], s.count[k] > 0 }

// Any reports whether anything was counted.
func (s *Stats) Any() bool { return *s != Stats{} }

// Merge adds the counts of another recording; first offsets are kept when there
// are some.
func (s *Stats) Merge(other *Stats) {
	for k, n := range other.count {
		s.AddN(Kind(k), other.first[k], n)
	}
}

// String returns the counts in one line, such as "3 out-of-range (first at
// offset 340), 1 truncated (first at offset 697)", or "nothing skipped".
func (s *Stats) String() string {
	var parts []string
	for k, n := range s.count {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (first at offset %d)", n, Kind(k), s.first[k]))
		}
	}
	if len(parts) == 0 {
		return "nothing skipped"
	}
	return strings.Join(parts, ", ")
}
