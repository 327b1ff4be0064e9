// Package fileerr holds the error types that every reader and writer of files
// shares, so that tools can print all of them alike: the file, the place in
// it, and what was expected.
package fileerr

import (
	"errors"
	"fmt"
)

// ErrUnsupported marks input that is valid but that AdaFire cannot handle.
var ErrUnsupported = errors.New("unsupported")

// A FormatError reports a malformed file.
type FormatError struct {
	Path   string // file, or a description of the stream
	Offset int64  // byte offset of the defect; negative when it has none
	Msg    string // what is wrong, with expected against got
}

// Error returns "path: offset N: message".
func (e *FormatError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s: %s", e.Path, e.Msg)
	}
	return fmt.Sprintf("%s: offset %d: %s", e.Path, e.Offset, e.Msg)
}

// New returns a *FormatError with a formatted message.
func New(path string, offset int64, format string, args ...any) *FormatError {
	return &FormatError{Path: path, Offset: offset, Msg: fmt.Sprintf(format, args...)}
}
