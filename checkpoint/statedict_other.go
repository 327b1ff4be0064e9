package checkpoint

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/tensor"
)

// isNPZ says whether a zip holds .npy files only.
func isNPZ(r io.ReaderAt, size int64) (bool, error) {
	z, err := zip.NewReader(r, size)
	if err != nil || len(z.File) == 0 {
		return false, err
	}
	return !slices.ContainsFunc(z.File, func(f *zip.File) bool { return !strings.HasSuffix(f.Name, ".npy") }), nil
}

// npyTypes are the safetensors names of npy's types.
var npyTypes = map[string]DType{"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16",
	"int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL"}

// fromNPZ lists the arrays of a .npz. Their headers stand in the compressed
// entries, so that the arrays are read here; files of weights are small.
func (s *StateDict) fromNPZ(r io.ReaderAt, size int64) error {
	archive, err := npy.OpenArchive(r, size, s.Path)
	if err != nil {
		return err
	}
	for _, name := range archive.Names {
		a, err := archive.Read(name)
		if err != nil {
			return err
		}
		s.Tensors = append(s.Tensors, &NamedTensor{Name: name, DType: npyTypes[a.DType], Shape: a.Shape,
			float32: func() (*tensor.Tensor, error) {
				values, err := a.Float32()
				if err != nil {
					return nil, fileerr.New(s.Path, -1, "array %q: %s", name, err)
				}
				return tensor.FromSlice(values, a.Shape...)
			},
			int64: func() ([]int64, error) {
				values, err := a.Int()
				if err != nil {
					return nil, fileerr.New(s.Path, -1, "array %q: %s", name, err)
				}
				out := make([]int64, len(values))
				for i, v := range values {
					out[i] = int64(v)
				}
				return out, nil
			}})
	}
	return nil
}

// openSharded opens the files that a *.index.json names in its weight_map:
// {"weight_map": {"tensor": "file", ...}}, files in the folder of the index.
func openSharded(path string, o StateDictOptions) (*StateDict, error) {
	const maxIndex = 64 << 20
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	f.Close()
	if err != nil {
		return nil, err
	}
	if len(text) > maxIndex {
		return nil, fileerr.New(path, -1, "an index of more than %d bytes", maxIndex)
	}
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fileerr.New(path, -1, "not a JSON index: %s", err)
	}
	if len(index.Map) == 0 {
		return nil, fileerr.New(path, -1, "no weight_map in the index")
	}
	files := make(map[string][]string)
	for name, file := range index.Map {
		if file != filepath.Base(file) || file == "." || file == ".." || strings.ContainsAny(file, `/\`) {
			return nil, fileerr.New(path, -1, "tensor %q is in %q: want a file of the index's folder", name, file)
		}
		files[file] = append(files[file], name)
	}
	names := make([]string, 0, len(files))
	for file := range files {
		names = append(names, file)
	}
	slices.Sort(names)
	all := &StateDict{Path: path}
	var open shards
	for _, file := range names {
		part, err := OpenStateDict(filepath.Join(filepath.Dir(path), file), StateDictOptions{Key: o.Key, KeepPrefix: true})
		if err != nil {
			open.Close()
			return nil, err
		}
		open = append(open, part)
		all.Format, all.Warnings = part.Format, append(all.Warnings, part.Warnings...)
		if all.Metadata == nil {
			all.Metadata = part.Metadata
		}
		for _, name := range files[file] {
			if part.Tensor(name) == nil {
				open.Close()
				return nil, fileerr.New(path, -1, "tensor %q is not in %s", name, file)
			}
		}
		for _, t := range part.Tensors {
			if index.Map[t.Name] == file {
				all.Tensors = append(all.Tensors, t)
			}
		}
	}
	all.closer = open
	if err := all.finish(o); err != nil {
		open.Close()
		return nil, err
	}
	return all, nil
}

type shards []*StateDict

func (s shards) Close() error {
	var errs []error
	for _, f := range s {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
