package dataset

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
)

// IDX files (MNIST): two zero bytes, a type byte (0x08, unsigned byte), the
// number of dimensions, each dimension as a big-endian uint32, then the values
// in row-major order.

// An idxArray is the content of an IDX file of unsigned bytes.
type idxArray struct {
	path string
	dims []int
	data []byte
	sum  string // SHA-256 of the unpacked file
}

// header returns the length of the file's header.
func (a *idxArray) header() int64 { return int64(4 + 4*len(a.dims)) }

// maxIDX bounds the values of one file; complete MNIST has 47 million.
const maxIDX = 1 << 30

// readIDXFile reads a plain or, if its name ends in .gz, a compressed file.
func readIDXFile(path string, ndim int) (*idxArray, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	a, err := readIDX(path, f, info.Size(), strings.HasSuffix(path, ".gz"), ndim)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// readIDX reads an array of ndim dimensions from r, which holds size bytes,
// gzip-compressed or not. Offsets in errors count unpacked bytes.
func readIDX(path string, r io.Reader, size int64, gz bool, ndim int) (*idxArray, error) {
	if gz {
		z, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<16))
		if err != nil {
			return nil, fileerr.New(path, 0, "not a gzip file: %v", err)
		}
		r = z
	}
	h := sha256.New()
	r = io.TeeReader(r, h)

	head := make([]byte, 4+4*ndim)
	short := func(n int, err error) error {
		return shortIDX(path, int64(n), err, "truncated: %d bytes, want a header of %d", n, len(head))
	}
	if n, err := io.ReadFull(r, head[:4]); err != nil {
		return nil, short(n, err)
	}
	if head[0] != 0 || head[1] != 0 {
		return nil, fileerr.New(path, 0, "wrong magic %#08x, want %#08x (IDX, unsigned bytes, %d dimensions)",
			binary.BigEndian.Uint32(head), 0x800+ndim, ndim)
	}
	if head[2] != 8 {
		return nil, fileerr.New(path, 2, "value type %#02x, want 0x08 (unsigned byte)", head[2])
	}
	if int(head[3]) != ndim {
		return nil, fileerr.New(path, 3, "%d dimensions, want %d", head[3], ndim)
	}
	if n, err := io.ReadFull(r, head[4:]); err != nil {
		return nil, short(4+n, err)
	}
	dims, n := make([]int, ndim), int64(1)
	for i := range dims {
		d := int64(binary.BigEndian.Uint32(head[4+4*i:]))
		if d == 0 {
			return nil, fileerr.New(path, int64(4+4*i), "dimension %d is 0", i)
		}
		if n *= d; n > maxIDX {
			return nil, fileerr.New(path, int64(4+4*i), "dimensions claim %d values or more, at most %d are read", n, maxIDX)
		}
		dims[i] = int(d)
	}
	at := int64(len(head))
	if rest := size - at; !gz && n > rest {
		return nil, fileerr.New(path, size, "truncated: header promises %d values, %d follow", n, rest)
	}
	data, err := readUpTo(r, n)
	if err != nil || int64(len(data)) < n {
		return nil, shortIDX(path, at+int64(len(data)), err, "truncated: header promises %d values, %d follow", n, len(data))
	}
	var one [1]byte
	if _, err := io.ReadFull(r, one[:]); !errors.Is(err, io.EOF) { // nil, or a wrong gzip checksum
		return nil, shortIDX(path, at+n, err, "trailing bytes after %d values", n)
	}
	return &idxArray{path: path, dims: dims, data: data, sum: hex.EncodeToString(h.Sum(nil))}, nil
}

// shortIDX tells a file that ends early from one whose compression is broken
// and from one that cannot be read.
func shortIDX(path string, at int64, err error, format string, args ...any) error {
	var corrupt flate.CorruptInputError
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fileerr.New(path, at, format, args...)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return fileerr.New(path, at, "damaged gzip data: %v", err)
	}
	return err
}

// readUpTo reads at most n bytes and returns what came. Memory grows with the
// bytes that really arrive, to at most twice as many.
func readUpTo(r io.Reader, n int64) ([]byte, error) {
	buf := make([]byte, 0, min(n, 1<<16))
	for int64(len(buf)) < n {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(n, 2*int64(cap(buf))))
			copy(grown, buf)
			buf = grown
		}
		k, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+k]
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return buf, err
		}
	}
	return buf, nil
}

// idxNames are the names of a split's files as distributed.
var idxNames = map[string][2]string{
	"train": {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
	"test":  {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"},
}

var digitNames = []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

var fashionNames = []string{"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
	"Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"}

// openMNIST reads MNIST or Fashion-MNIST from dir, also in the sub-folders
// that PyTorch's downloader makes.
func openMNIST(d Description, dir, split string) (Dataset, error) {
	names := idxNames[split]
	roots := []string{"", "raw", "MNIST/raw"}
	if d.Name == "fashion-mnist" {
		roots[2] = "FashionMNIST/raw"
	}
	var found [2]string
	for _, root := range roots {
		for i, n := range names {
			found[i] = firstExisting(dir, filepath.Join(root, n), filepath.Join(root, n+".gz"))
		}
		if found[0] != "" || found[1] != "" {
			break
		}
	}
	for i, f := range found {
		if f == "" {
			return nil, &MissingError{Dataset: d, Path: filepath.Join(dir, names[i])}
		}
	}
	images, err := readIDXFile(found[0], 3)
	if err != nil {
		return nil, err
	}
	labels, err := readIDXFile(found[1], 1)
	if err != nil {
		return nil, err
	}
	return fromIDX(d, split, images, labels)
}

// fromIDX joins images and labels.
func fromIDX(d Description, split string, images, labels *idxArray) (Dataset, error) {
	h, w := d.Shape[0], d.Shape[1]
	if images.dims[1] != h || images.dims[2] != w {
		return nil, fileerr.New(images.path, 8, "images of %dx%d, want %dx%d", images.dims[1], images.dims[2], h, w)
	}
	if images.dims[0] != labels.dims[0] {
		return nil, fileerr.New(labels.path, 4, "%d labels for %d images in %s",
			labels.dims[0], images.dims[0], filepath.Base(images.path))
	}
	for i, y := range labels.data {
		if int(y) >= d.Classes {
			return nil, fileerr.New(labels.path, labels.header()+int64(i), "label %d of sample %d, want 0 to %d", y, i, d.Classes-1)
		}
	}
	info := Info{Name: d.Name, Split: split, Shape: []int{h, w, 1}, Classes: digitNames,
		SHA256: hashSources([]source{{idxNames[split][0], images.sum}, {idxNames[split][1], labels.sum}})}
	switch d.Name {
	case "digits":
		info.Mean, info.Std = []float32{33.4371 / 255}, []float32{78.7181 / 255}
	case "mnist":
		info.Mean, info.Std = []float32{0.1307}, []float32{0.3081}
	case "fashion-mnist":
		info.Mean, info.Std = []float32{0.2860}, []float32{0.3530}
		info.Classes = fashionNames
	}
	return &memory{info: info, pixels: images.data, labels: labels.data}, nil
}

// readIDXBytes reads a compressed file that is part of the program.
func readIDXBytes(path string, gz []byte, ndim int) (*idxArray, error) {
	return readIDX(path, bytes.NewReader(gz), int64(len(gz)), true, ndim)
}
