package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// A StateDict is a list of named tensors without a network: what PyTorch calls a
// state dict, from whatever file. Close it when the tensors have been read.
type StateDict struct {
	Path     string
	Format   string // "torch zip", "torch legacy", "safetensors", "npz"
	Tensors  []*NamedTensor
	Metadata map[string]string // of safetensors
	Warnings []string          // what a user should know about the file
	Key      string            // where in the file the tensors were, "" at the top
	Others   []string          // other places of the file that hold tensors
	Stripped string            // prefix taken off all names

	byName map[string]*NamedTensor
	closer io.Closer
}

// A NamedTensor is one tensor of a StateDict. Its values are read when they are
// asked for.
type NamedTensor struct {
	Name  string
	DType DType
	Shape []int

	float32 func() (*tensor.Tensor, error)
	int64   func() ([]int64, error)
}

// Float32 reads the tensor. Half and 8-bit types and bool are widened exactly,
// float64 is rounded. Types that AdaFire does not read give an error that wraps
// fileerr.ErrUnsupported.
func (t *NamedTensor) Float32() (*tensor.Tensor, error) { return t.float32() }

// Int64 reads a tensor of integers or booleans.
func (t *NamedTensor) Int64() ([]int64, error) { return t.int64() }

// Numel returns the number of elements.
func (t *NamedTensor) Numel() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Tensor returns the tensor of the given name, or nil.
func (s *StateDict) Tensor(name string) *NamedTensor { return s.byName[name] }

// Parameters returns the number of all elements.
func (s *StateDict) Parameters() int {
	n := 0
	for _, t := range s.Tensors {
		n += t.Numel()
	}
	return n
}

// Close closes the file.
func (s *StateDict) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// StateDictOptions say which tensors of a file are wanted.
type StateDictOptions struct {
	Key        string // members that lead to the tensors, joined by dots; "" finds them
	KeepPrefix bool   // keep prefixes such as "module." on the names
}

// OpenStateDict opens a file of weights: PyTorch's .pth (zip or legacy, whatever
// its extension), safetensors, a *.index.json of either in several files, or
// .npz. What it is, its first bytes say. Malformed files give a
// *fileerr.FormatError; valid ones that are no weights wrap
// fileerr.ErrUnsupported.
func OpenStateDict(path string, o StateDictOptions) (*StateDict, error) {
	if strings.HasSuffix(path, ".index.json") {
		return openSharded(path, o)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fileerr.New(path, -1, "not a regular file")
	}
	var s *StateDict
	if err == nil {
		s, err = ReadStateDict(f, info.Size(), path, o)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	s.closer = f
	return s, nil
}

// ReadStateDict is OpenStateDict for size bytes of r, which must stay readable
// as long as tensors are read; path is for messages.
func ReadStateDict(r io.ReaderAt, size int64, path string, o StateDictOptions) (*StateDict, error) {
	format, err := sniffWeights(r, size, path)
	if err != nil {
		return nil, err
	}
	s := &StateDict{Path: path, Format: format}
	switch format {
	case formatTorchZip, formatTorchLegacy:
		read := readTorchZip
		if format == formatTorchLegacy {
			read = readTorchLegacy
		}
		var f *torchFile
		if f, err = read(r, size, path); err == nil {
			err = s.fromTorch(f, o)
		}
	case formatSafetensors:
		err = s.fromSafetensors(r, size)
	case formatNPZ:
		err = s.fromNPZ(r, size)
	}
	if err != nil {
		return nil, err
	}
	return s, s.finish(o)
}

// finish takes off prefixes and indexes the names.
func (s *StateDict) finish(o StateDictOptions) error {
	if len(s.Tensors) == 0 {
		return fileerr.New(s.Path, -1, "holds no tensors")
	}
	if !o.KeepPrefix {
		s.stripPrefixes()
	}
	s.byName = make(map[string]*NamedTensor, len(s.Tensors))
	for _, t := range s.Tensors {
		if s.byName[t.Name] != nil {
			return fileerr.New(s.Path, -1, "tensor %q occurs twice", t.Name)
		}
		s.byName[t.Name] = t
	}
	return nil
}

// wrappers put their name before those of all parameters of a network.
var wrappers = []string{"module.", "_orig_mod.", "model.", "net.", "backbone."}

// stripPrefixes takes off prefixes that every name has. No two names can
// collide: what all share tells none apart.
func (s *StateDict) stripPrefixes() {
again:
	for _, prefix := range wrappers {
		if slices.ContainsFunc(s.Tensors, func(t *NamedTensor) bool {
			return !strings.HasPrefix(t.Name, prefix) || len(t.Name) == len(prefix)
		}) {
			continue
		}
		for _, t := range s.Tensors {
			t.Name = t.Name[len(prefix):]
		}
		s.Stripped += prefix
		goto again
	}
}

// Formats of files of weights.
const (
	formatTorchZip    = "torch zip"
	formatTorchLegacy = "torch legacy"
	formatSafetensors = "safetensors"
	formatNPZ         = "npz"
)

// sniffWeights tells formats apart by their first bytes, and words what is
// wrong with files that are something else.
func sniffWeights(r io.ReaderAt, size int64, path string) (string, error) {
	head := make([]byte, min(size, 512))
	if err := readAt(r, head, 0, path); err != nil {
		return "", err
	}
	unsupported := func(what string) error { return fmt.Errorf("%s: %s: %w", path, what, fileerr.ErrUnsupported) }
	text := bytes.ToLower(bytes.TrimLeft(head, " \t\r\n\xef\xbb\xbf"))
	switch {
	case size == 0:
		return "", fileerr.New(path, 0, "an empty file")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		if npz, err := isNPZ(r, size); err == nil && npz {
			return formatNPZ, nil
		}
		return formatTorchZip, nil
	case bytes.HasPrefix(head, []byte("version https://git-lfs")):
		return "", unsupported("a pointer of Git LFS, not the file itself: run git lfs pull")
	case bytes.HasPrefix(text, []byte("<!doctype")), bytes.HasPrefix(text, []byte("<html")):
		return "", unsupported("an HTML page, not weights: the download failed")
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return "", unsupported("a tar file (torch before 0.1.10 wrote such): load it with torch and save it again")
	case bytes.HasPrefix(head, []byte("\x89HDF\r\n\x1a\n")):
		return "", unsupported("an HDF5 file: want .pth, .safetensors or .npz")
	case bytes.HasPrefix(head, []byte("\x93NUMPY")):
		return "", unsupported("one array without a name (.npy): want .pth, .safetensors or .npz")
	case size > 9 && head[8] == '{' && binary.LittleEndian.Uint64(head) <= maxHeader:
		return formatSafetensors, nil
	case head[0] == 0x80:
		return formatTorchLegacy, nil
	}
	return "", fileerr.New(path, 0, "neither a file of torch.save nor safetensors nor npz: it begins with % x", head[:min(len(head), 8)])
}

// fromSafetensors lists the tensors of a safetensors file.
func (s *StateDict) fromSafetensors(r io.ReaderAt, size int64) error {
	f, err := Read(r, size, s.Path)
	if err != nil {
		return err
	}
	s.Metadata = f.Metadata
	for _, t := range f.Tensors {
		s.Tensors = append(s.Tensors, &NamedTensor{Name: t.Name, DType: t.DType, Shape: t.Shape, float32: t.Float32, int64: t.Int64})
	}
	return nil
}
