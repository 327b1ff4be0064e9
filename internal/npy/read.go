package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/adafire/adafire/internal/fileerr"
)

const magic = "\x93NUMPY"

// Read reads the array of a .npy file of size bytes. path is for messages.
// Malformed files give a *fileerr.FormatError, arrays of types that we do not
// read an error that wraps fileerr.ErrUnsupported.
func Read(r io.ReaderAt, size int64, path string) (*Array, error) {
	return decode(io.NewSectionReader(r, 0, size), size, path)
}

// ReadFile reads the array of the .npy file at path.
func ReadFile(path string) (*Array, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fileerr.New(path, -1, "not a regular file")
	}
	return Read(f, info.Size(), path)
}

// decode reads one array from r, which claims to hold size bytes. Memory grows
// with what really arrives, so a lying size costs nothing.
func decode(r io.Reader, size int64, path string) (*Array, error) {
	h, start, err := readHeader(r, size, path)
	if err != nil {
		return nil, err
	}
	if have := size - start; h.bytes != have {
		return nil, fileerr.New(path, start, "%d bytes of data: shape %v of %s needs %d", have, h.shape, h.kind, h.bytes)
	}
	data, err := readData(r, h.bytes)
	if err != nil {
		return nil, readError(path, start+int64(len(data)), err, "data")
	}
	if h.bigEndian {
		swap(data, h.kind.size)
	}
	if h.fortran {
		data = rowMajor(data, h.shape, h.kind.size)
	}
	if h.kind.class == 'b' {
		for i, b := range data {
			if b > 1 {
				return nil, fileerr.New(path, -1, "element %d of a bool array is %d: want 0 or 1", i, b)
			}
		}
	}
	return &Array{Shape: h.shape, DType: h.kind.String(), path: path, kind: h.kind, data: data}, nil
}

// readHeader reads up to the data and returns the offset at which they start.
func readHeader(r io.Reader, size int64, path string) (header, int64, error) {
	var h header
	var fixed [12]byte // magic, version, header length
	if _, err := io.ReadFull(r, fixed[:10]); err != nil {
		return h, 0, readError(path, 0, err, "the first 10 bytes")
	}
	if string(fixed[:6]) != magic {
		return h, 0, fileerr.New(path, 0, "starts with %q: want %q, the mark of NumPy arrays", fixed[:6], magic)
	}
	start, length := int64(10), int64(binary.LittleEndian.Uint16(fixed[8:]))
	major, minor := fixed[6], fixed[7]
	if major < 1 || major > 3 || minor != 0 {
		return h, 0, fileerr.New(path, 6, "format %d.%d: want 1.0, 2.0 or 3.0", major, minor)
	}
	if major > 1 {
		if _, err := io.ReadFull(r, fixed[10:]); err != nil {
			return h, 0, readError(path, 10, err, "the header length")
		}
		start, length = 12, int64(binary.LittleEndian.Uint32(fixed[8:]))
	}
	if length > size-start {
		return h, 0, fileerr.New(path, start, "header of %d bytes: %d remain", length, max(size-start, 0))
	}
	text, err := readData(r, length)
	if err != nil {
		return h, 0, readError(path, start+int64(len(text)), err, "the header")
	}
	if major == 3 && !utf8.Valid(text) {
		return h, 0, fileerr.New(path, start, "header is not UTF-8")
	}
	h, err = parseHeader(string(text))
	if errors.Is(err, fileerr.ErrUnsupported) {
		return h, 0, fmt.Errorf("%s: %w", path, err)
	}
	if err != nil {
		return h, 0, fileerr.New(path, start+int64(offsetOf(err)), "%s", err)
	}
	return h, start + length, nil
}

// readData reads n bytes in pieces, so that a claim of gigabytes does not
// allocate them before they are there. On error it returns what it got.
func readData(r io.Reader, n int64) ([]byte, error) {
	if n > math.MaxInt {
		return nil, fmt.Errorf("%d bytes do not fit into memory", n)
	}
	const piece = 1 << 20
	data := make([]byte, 0, min(n, piece))
	for int64(len(data)) < n {
		step := int(min(n-int64(len(data)), int64(max(piece, len(data)))))
		if cap(data) < len(data)+step {
			data = append(make([]byte, 0, len(data)+step), data...)
		}
		got, err := io.ReadFull(r, data[len(data):len(data)+step])
		data = data[:len(data)+got]
		if err != nil {
			return data, err
		}
	}
	return data, nil
}

// readError turns an early end into a format error.
func readError(path string, offset int64, err error, what string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fileerr.New(path, offset, "file ends within %s", what)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// swap reverses the bytes of every element.
func swap(data []byte, size int) {
	if size > 1 {
		for element := range slices.Chunk(data, size) {
			slices.Reverse(element)
		}
	}
}

// rowMajor reorders data whose first axis runs fastest.
func rowMajor(data []byte, shape []int, size int) []byte {
	if len(data) == 0 || len(shape) < 2 {
		return data
	}
	stride := make([]int, len(shape)) // in bytes, of the order in the file
	for i, s := 0, size; i < len(shape); i++ {
		stride[i] = s
		s *= shape[i]
	}
	out := make([]byte, len(data))
	index := make([]int, len(shape))
	from := 0
	for to := 0; to < len(out); to += size {
		copy(out[to:to+size], data[from:])
		for d := len(shape) - 1; d >= 0; d-- {
			index[d]++
			from += stride[d]
			if index[d] < shape[d] {
				break
			}
			from -= index[d] * stride[d]
			index[d] = 0
		}
	}
	return out
}
