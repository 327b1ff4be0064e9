package cli

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/adafire/adafire/events/codec"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/job"
)

// sniffBytes is what is read of a file to see what it is; "ustar" of a tar file
// stands at 257.
const sniffBytes = 512

// inspectFile looks at the beginning of a file and lets the right reader do the
// rest.
func inspectFile(path string, size int64) (*finding, error) {
	head, err := readHead(path)
	if err != nil {
		return nil, err
	}
	switch {
	case len(head) == 0:
		return nil, fileerr.New(path, -1, "empty file")
	case len(head) > 8 && head[8] == '{' && head[7] == 0:
		return inspectSafetensors(path)
	case bytes.HasPrefix(head, []byte("\x93NUMPY")):
		return inspectNPY(path, size)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return inspectZip(path, size)
	case job.IsONNX(head), bytes.HasPrefix(head, []byte("\x89HDF\r\n\x1a\n")):
		return inspectForeign(path)
	case len(head) > 1 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5:
		return inspectWeights(path)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		inner, err := gunzipHead(head)
		if isIDX(inner) {
			return inspectIDX(path, size, true)
		}
		if err != nil {
			return nil, fileerr.New(path, 0, "not a gzip file: %v", err)
		}
		if name := foreign(inner); name != "" {
			return nil, notReadable(path, name+", gzip-compressed")
		}
		return nil, notReadable(path, "gzip-compressed file that is no IDX file")
	case isIDX(head):
		return inspectIDX(path, size, false)
	case bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{")):
		return inspectResult(path)
	}
	if name := foreign(head); name != "" {
		err := notReadable(path, name)
		if strings.HasPrefix(name, "git-lfs") {
			err = withHint(err, "\"git lfs pull\" replaces the pointer by the file")
		}
		return nil, err
	}
	return nil, withHint(fileerr.New(path, 0, "unknown format, it begins with %s", beginning(head)),
		"known are AdaFire's networks, safetensors, .npy, .npz, IDX, result.json and folders of data sets")
}

// isRecording says whether a file is an event recording: by its first bytes, or
// by its extension where recordings have no sign. Arrays and archives of NumPy
// are left to their own readers, unless --format says otherwise.
func isRecording(path string) bool {
	head, err := readHead(path)
	if err != nil || len(head) == 0 {
		return false
	}
	format, err := codec.Detect(head, path)
	return err == nil && format != "npy" && format != "npz" && format != "hdf5"
}

// readHead reads the first bytes of a file.
func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, sniffBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return head[:n], nil
}

// gunzipHead inflates as much of head as gives its first bytes. An error means
// that not even the first byte could be had.
func gunzipHead(head []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(head))
	if err != nil {
		return nil, err
	}
	inner := make([]byte, sniffBytes)
	n, err := io.ReadFull(z, inner)
	if n > 0 || errors.Is(err, io.EOF) {
		err = nil // head ends in the middle of the file
	}
	return inner[:n], err
}

// A foreignError says that a file is of a format that we know and do not read.
type foreignError struct{ path, name string }

func (e *foreignError) Error() string { return fmt.Sprintf("%s: %s: not yet readable", e.path, e.name) }

// Unwrap returns fileerr.ErrUnsupported.
func (e *foreignError) Unwrap() error { return fileerr.ErrUnsupported }

func notReadable(path, name string) error { return &foreignError{path, name} }

// foreign names formats that we know and do not read, "" for unknown ones.
func foreign(head []byte) string {
	for _, f := range []struct{ magic, name string }{
		{"version https://git-lfs.github.com/spec/", "git-lfs pointer, not the file itself"},
		{"\x89PNG\r\n\x1a\n", "PNG picture"},
		{"\xff\xd8\xff", "JPEG picture"},
		{"7z\xbc\xaf\x27\x1c", "7z archive"},
		{"\xfd7zXZ\x00", "xz-compressed file"},
		{"\x28\xb5\x2f\xfd", "zstd-compressed file"},
		{"BZh", "bzip2-compressed file"},
		{"GGUF", "GGUF file"},
		{"%PDF", "PDF file"},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.name
		}
	}
	text := strings.ToLower(string(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")))
	switch {
	case strings.HasPrefix(text, "<!doctype html"), strings.HasPrefix(text, "<html"), strings.HasPrefix(text, "<head"):
		return "HTML page, perhaps what a download saved instead of the file"
	case strings.HasPrefix(text, "<?xml"):
		return "XML file"
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return "tar archive"
	}
	return ""
}

// beginning shows the first bytes, as text if they are.
func beginning(head []byte) string {
	if text := head[:min(len(head), 24)]; utf8.Valid(text) && !bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' }) {
		return strconv.Quote(string(text))
	}
	return fmt.Sprintf("% x", head[:min(len(head), 16)])
}

// inspectZip tells NumPy's archives from PyTorch's files and others.
func inspectZip(path string, size int64) (*finding, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	archive, err := zip.NewReader(f, size)
	if err != nil {
		return nil, fileerr.New(path, -1, "damaged zip archive: %v", err)
	}
	arrays := 0
	for _, e := range archive.File {
		switch {
		case e.Name == "data.pkl" || strings.HasSuffix(e.Name, "/data.pkl"):
			return inspectWeights(path)
		case strings.HasSuffix(e.Name, ".npy"):
			arrays++
		}
	}
	if arrays == 0 {
		return nil, notReadable(path, fmt.Sprintf("zip archive of %d files without arrays", len(archive.File)))
	}
	return inspectNPZ(path, f, size)
}
