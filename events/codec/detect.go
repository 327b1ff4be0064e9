package codec

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/adafire/adafire/events"
)

// detectBytes is how much of a file Detect wants to see: the HDF5 signature may
// stand at 512, 1024, 2048 and so on.
const detectBytes = 64 << 10

var (
	hdf5Magic  = []byte("\x89HDF\r\n\x1a\n")
	aedatMagic = []byte("#!AER-DAT")
	lfsMagic   = []byte("version https://git-lfs.github.com/spec/v1")
)

// Detect returns the name of the format of a recording from its first bytes, 64
// KiB or all there are, and from the extension of its name where the bytes do
// not tell. Errors are an *events.Error at offset 0.
//
// Source: event_formats, section 2.
func Detect(head []byte, name string) (string, error) {
	ext := extension(name)
	switch {
	case bytes.HasPrefix(head, aedatMagic):
		return detectAEDAT(head, name)
	case bytes.HasPrefix(head, []byte("% ")):
		return detectPercent(head, ext, name)
	case bytes.HasPrefix(head, []byte("MATLAB ")):
		return "mat", nil // 7.3 is HDF5 inside: the reader says so
	case hasHDF5(head):
		return "hdf5", nil
	case bytes.HasPrefix(head, []byte("\x93NUMPY")):
		return "npy", nil
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return "npz", nil
	case bytes.HasPrefix(head, lfsMagic):
		return "", events.Errorf(events.LFSPointer, name, 0, "this is a Git LFS pointer, not the data%s: fetch the file itself", lfsSize(head))
	}
	switch ext {
	case ".bin":
		return "atis", nil
	case ".dat":
		return "dat", nil
	case ".aedat":
		return "aedat1", nil
	case ".txt", ".csv":
		return "text", nil
	case ".aedat4", ".h5", ".hdf5", ".mat", ".npy", ".npz", ".raw":
		if len(head) == 0 && ext != ".raw" {
			return "", events.Errorf(events.Truncated, name, 0, "the file is empty, want the header of a %s file", ext)
		}
		if ext == ".raw" {
			return "raw", nil // without a header; the user may have said the encoding
		}
		return "", events.Errorf(events.BadMagic, name, 0, "the file starts with % x, which is no %s file", head[:min(len(head), 8)], ext)
	}
	return "", events.Errorf(events.UnknownEncoding, name, 0, "neither the first bytes, % x, nor the extension %q name a format", head[:min(len(head), 8)], ext)
}

// extension returns the extension of a name in lower case, of what is inside
// when the name ends in ".gz".
func extension(name string) string {
	name = strings.TrimSuffix(strings.ToLower(name), ".gz")
	return filepath.Ext(name)
}

func detectAEDAT(head []byte, name string) (string, error) {
	version := head[len(aedatMagic):]
	switch {
	case bytes.HasPrefix(version, []byte("1.0")):
		return "aedat1", nil
	case bytes.HasPrefix(version, []byte("2.0")):
		return "aedat2", nil
	case bytes.HasPrefix(version, []byte("3.1")), bytes.HasPrefix(version, []byte("3.0")):
		return "aedat3", nil
	case bytes.HasPrefix(version, []byte("4.0\r\n")):
		return "aedat4", nil
	}
	line, _, _ := bytes.Cut(head[:min(len(head), 40)], []byte("\n"))
	return "", events.Errorf(events.BadMagic, name, 0, "first line %q: want #!AER-DAT with 1.0, 2.0, 3.0, 3.1 or 4.0", bytes.TrimRight(line, "\r"))
}

// detectPercent tells the files apart that start with "% " lines: both formats
// of Prophesee, and text with comments.
func detectPercent(head []byte, ext, name string) (string, error) {
	dat, rest := false, head
	for bytes.HasPrefix(rest, []byte("% ")) {
		line, after, ok := bytes.Cut(rest[2:], []byte("\n"))
		if !ok {
			break
		}
		rest = after
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		switch {
		case key == "format" || key == "evt":
			return "raw", nil
		case key == "Version", key == "Data" && strings.HasPrefix(value, "file containing"):
			dat = true
		}
		if key == "end" {
			break
		}
	}
	switch {
	case dat:
		return "dat", nil
	case ext == ".dat":
		return "dat", nil
	case ext == ".raw":
		return "raw", nil
	case ext == ".txt" || ext == ".csv":
		return "text", nil
	}
	return "", events.Errorf(events.UnknownEncoding, name, 0, "a header of %% lines that name neither a format nor a version, and the extension %q does not tell", ext)
}

// hasHDF5 looks for the signature at 0, 512, 1024, 2048 and so on.
func hasHDF5(head []byte) bool {
	for at := 0; at < len(head); at = max(512, 2*at) {
		if bytes.HasPrefix(head[at:], hdf5Magic) {
			return true
		}
	}
	return false
}

// lfsSize returns " (N bytes)" when the pointer says so.
func lfsSize(head []byte) string {
	for line := range strings.Lines(string(head[:min(len(head), 1024)])) {
		if size, ok := strings.CutPrefix(line, "size "); ok {
			return fmt.Sprintf(" (%.20s bytes)", strings.TrimSpace(size))
		}
	}
	return ""
}
