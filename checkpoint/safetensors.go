// Package checkpoint reads and writes safetensors files, and on top of them
// AdaFire's own checkpoint: one safetensors file that holds a network's graph
// as JSON in its metadata and the parameters as tensors.
//
//	m, err := checkpoint.LoadModel("ann.safetensors")
//	err = checkpoint.SaveModel("copy.safetensors", m, false)
//	f, err := checkpoint.Open("anything.safetensors") // any safetensors file
//
// Reading is strict: ranges must tile the data exactly, names and members must
// be known and unique, and nothing is allocated before the file is seen to be
// long enough for it. PyTorch's own files are not read here.
package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/minifloat"
	"github.com/adafire/adafire/tensor"
)

// A DType is the element type of a stored tensor, as safetensors spells it.
type DType string

// bitsOf lists the types of the format's reference reader. Those without a case
// in decodeFloats or decodeInts can stand in a file but not be read.
var bitsOf = map[DType]int{
	"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
	"F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
	"C64": 64, "F64": 64, "I64": 64, "U64": 64,
}

// digestKey is the metadata key of the SHA-256 of the data section, in
// lower-case hexadecimal.
const digestKey = "adafire.sha256"

// A File is an open safetensors file. The header has been read and checked; the
// tensors' values are read when they are asked for.
type File struct {
	Path     string // for messages
	Metadata map[string]string
	Tensors  []*Stored // in the order of the header

	r        io.ReaderAt
	closer   io.Closer
	byName   map[string]*Stored
	dataFrom int64 // offset of the data section
	dataSize int64
}

// A Stored is a tensor in a file.
type Stored struct {
	Name  string
	DType DType
	Shape []int

	file       *File
	begin, end int64 // in the data section
}

// Open opens the safetensors file at path. Malformed files give a
// *fileerr.FormatError.
func Open(path string) (*File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(r, path)
	if err != nil {
		r.Close()
		return nil, err
	}
	f.closer = r
	return f, nil
}

func openRegular(r *os.File, path string) (*File, error) {
	info, err := r.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fileerr.New(path, -1, "not a regular file")
	}
	return Read(r, info.Size(), path)
}

// Read reads the header of a safetensors file of size bytes. r must stay
// readable as long as tensors are read; path is for messages.
func Read(r io.ReaderAt, size int64, path string) (*File, error) {
	var length [8]byte
	if size < 8 {
		return nil, fileerr.New(path, 0, "%d bytes: want at least 8 for the header length", size)
	}
	if err := readAt(r, length[:], 0, path); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader {
		return nil, fileerr.New(path, 0, "header of %d bytes: want at most %d", n, maxHeader)
	}
	if int64(n) > size-8 {
		return nil, fileerr.New(path, 0, "header of %d bytes: %d remain", n, size-8)
	}
	header := make([]byte, n)
	if err := readAt(r, header, 8, path); err != nil {
		return nil, err
	}
	f := &File{Path: path, r: r, dataFrom: 8 + int64(n), dataSize: size - 8 - int64(n)}
	if err := f.parseHeader(header); err != nil {
		return nil, err
	}
	return f, nil
}

// Close closes a file from Open; for one from Read it does nothing.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Tensor returns the tensor of the given name, or nil.
func (f *File) Tensor(name string) *Stored { return f.byName[name] }

// Digest returns the SHA-256 of the data section in lower-case hexadecimal.
func (f *File) Digest() (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f.r, f.dataFrom, f.dataSize))
	if err != nil {
		return "", fmt.Errorf("%s: %w", f.Path, err)
	}
	if n != f.dataSize {
		return "", fileerr.New(f.Path, f.dataFrom+n, "file ends: want %d more bytes of data", f.dataSize-n)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Verify compares the data section with the digest in the metadata, which files
// from Write have. A file without one is an error.
func (f *File) Verify() error {
	want, ok := f.Metadata[digestKey]
	if !ok {
		return fileerr.New(f.Path, -1, "no %s in the metadata", digestKey)
	}
	got, err := f.Digest()
	if err != nil {
		return err
	}
	if got != want {
		return fileerr.New(f.Path, f.dataFrom, "the data are damaged: SHA-256 %s, %s says %s", got, digestKey, want)
	}
	return nil
}

// Float32 reads the tensor. Half and 8-bit types and bool are widened exactly;
// float64 is rounded. A finite float64 beyond the range of float32, and an
// integer that float32 cannot hold, are errors. Types that AdaFire does not
// read give an error that wraps fileerr.ErrUnsupported.
func (s *Stored) Float32() (*tensor.Tensor, error) {
	decode := floatDecoder(s.DType)
	if decode == nil {
		return nil, s.unsupported()
	}
	n, err := tensor.Numel(s.Shape)
	if err != nil {
		return nil, s.errorf("%s", err)
	}
	out := make([]float32, n)
	done := 0
	err = s.pieces(func(b []byte) error {
		n := len(b) * 8 / bitsOf[s.DType]
		if i := decode(out[done:done+n], b); i >= 0 {
			return s.errorf("element %d of type %s does not fit into float32", done+i, s.DType)
		}
		done += n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tensor.FromSlice(out, s.Shape...)
}

// Int64 reads a tensor of integers or booleans.
func (s *Stored) Int64() ([]int64, error) {
	decode := intDecoder(s.DType)
	if decode == nil {
		if floatDecoder(s.DType) == nil {
			return nil, s.unsupported()
		}
		return nil, s.errorf("type %s: want integers", s.DType)
	}
	size := bitsOf[s.DType] / 8
	out := make([]int64, 0, (s.end-s.begin)/int64(size))
	err := s.pieces(func(b []byte) error {
		for ; len(b) > 0; b = b[size:] {
			v := decode(b)
			if s.DType == "U64" && v < 0 {
				return s.errorf("element %d is %d: beyond the range of int64", len(out), uint64(v))
			}
			out = append(out, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// pieces reads the tensor's bytes in pieces of whole elements.
func (s *Stored) pieces(fn func([]byte) error) error {
	buf := make([]byte, min(s.end-s.begin, 1<<18)) // a multiple of every element size
	for at := s.begin; at < s.end; {
		b := buf[:min(int64(len(buf)), s.end-at)]
		if err := readAt(s.file.r, b, s.file.dataFrom+at, s.file.Path); err != nil {
			return err
		}
		if s.DType == "BOOL" {
			if i := slices.IndexFunc(b, func(v byte) bool { return v > 1 }); i >= 0 {
				return s.errorf("element %d is the byte %d: want 0 or 1", at-s.begin+int64(i), b[i])
			}
		}
		if err := fn(b); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return nil
}

func (s *Stored) errorf(format string, args ...any) error {
	return fileerr.New(s.file.Path, s.file.dataFrom+s.begin, "tensor %q: %s", s.Name, fmt.Sprintf(format, args...))
}

func (s *Stored) unsupported() error {
	return fmt.Errorf("%s: tensor %q: type %s: %w", s.file.Path, s.Name, s.DType, fileerr.ErrUnsupported)
}

// readAt fills b; an early end is a format error.
func readAt(r io.ReaderAt, b []byte, offset int64, path string) error {
	if len(b) == 0 {
		return nil
	}
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fileerr.New(path, offset+int64(n), "file ends: want %d more bytes", len(b)-n)
	}
	return fmt.Errorf("%s: offset %d: %w", path, offset, err)
}

// intDecoder returns a function that reads one integer, or nil for other types.
func intDecoder(t DType) func([]byte) int64 {
	le := binary.LittleEndian
	switch t {
	case "BOOL", "U8":
		return func(b []byte) int64 { return int64(b[0]) }
	case "I8":
		return func(b []byte) int64 { return int64(int8(b[0])) }
	case "U16":
		return func(b []byte) int64 { return int64(le.Uint16(b)) }
	case "I16":
		return func(b []byte) int64 { return int64(int16(le.Uint16(b))) }
	case "U32":
		return func(b []byte) int64 { return int64(le.Uint32(b)) }
	case "I32":
		return func(b []byte) int64 { return int64(int32(le.Uint32(b))) }
	case "U64", "I64": // the caller looks at the sign of U64
		return func(b []byte) int64 { return int64(le.Uint64(b)) }
	}
	return nil
}

// floatDecoder returns a function that fills dst from the bytes of as many
// elements and returns the index of the first that does not fit, or -1. It is
// nil for types that we do not read.
func floatDecoder(t DType) func(dst []float32, b []byte) int {
	le := binary.LittleEndian
	switch t {
	case "F32":
		return func(dst []float32, b []byte) int {
			for i := range dst {
				dst[i] = math.Float32frombits(le.Uint32(b[4*i:]))
			}
			return -1
		}
	case "F16":
		return func(dst []float32, b []byte) int {
			for i := range dst {
				dst[i] = minifloat.Half(le.Uint16(b[2*i:]))
			}
			return -1
		}
	case "BF16":
		return func(dst []float32, b []byte) int {
			for i := range dst {
				dst[i] = minifloat.BFloat16(le.Uint16(b[2*i:]))
			}
			return -1
		}
	case "F8_E4M3", "F8_E5M2":
		widen := minifloat.E4M3
		if t == "F8_E5M2" {
			widen = minifloat.E5M2
		}
		return func(dst []float32, b []byte) int {
			for i := range dst {
				dst[i] = widen(b[i])
			}
			return -1
		}
	case "F64":
		return func(dst []float32, b []byte) int {
			for i := range dst {
				v := math.Float64frombits(le.Uint64(b[8*i:]))
				dst[i] = float32(v)
				if math.IsInf(float64(dst[i]), 0) && !math.IsInf(v, 0) {
					return i
				}
			}
			return -1
		}
	}
	integer := intDecoder(t)
	if integer == nil {
		return nil
	}
	size := bitsOf[t] / 8
	return func(dst []float32, b []byte) int {
		for i := range dst {
			v := integer(b[size*i:])
			dst[i] = float32(v)
			if t == "U64" {
				dst[i] = float32(uint64(v))
			}
			if !exact(dst[i], v, t == "U64") {
				return i
			}
		}
		return -1
	}
}

// exact reports whether f is v, an integer of 64 bits. The limits come first:
// converting a float outside the range of the integer is not defined.
func exact(f float32, v int64, unsigned bool) bool {
	if unsigned {
		return f < 1<<64 && uint64(f) == uint64(v)
	}
	return f < 1<<63 && int64(f) == v
}
