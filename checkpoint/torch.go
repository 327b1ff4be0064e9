package checkpoint

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/adafire/adafire/checkpoint/pickle"
	"github.com/adafire/adafire/internal/fileerr"
)

// maxPickle bounds the pickle of a torch file; the weights lie outside of it.
const maxPickle = 256 << 20

// A torchFile is what torch.save wrote: an object and the records of its
// storages.
type torchFile struct {
	path     string
	object   pickle.Value
	big      bool // big-endian
	records  map[string]*record
	warnings []string
}

// A record holds the bytes of a storage.
type record struct {
	key    string
	offset int64 // in the file, for messages
	size   int64
	open   func() (io.ReaderAt, error) // checks the record before the first use
	r      io.ReaderAt
}

func (f *torchFile) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// readTorchZip reads the layout of torch 1.6 and later: a zip with ROOT/data.pkl
// and ROOT/data/KEY.
func readTorchZip(r io.ReaderAt, size int64, path string) (*torchFile, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fileerr.New(path, -1, "a zip without its directory (is the file cut off?): %s", err)
	}
	entries := make(map[string]*zip.File, len(z.File))
	root := ""
	for _, e := range z.File {
		if strings.Contains(e.Name, "\\") || strings.HasPrefix(e.Name, "/") || hasDotDot(e.Name) {
			return nil, fileerr.New(path, -1, "entry %q: want a plain path", e.Name)
		}
		if entries[e.Name] != nil {
			return nil, fileerr.New(path, -1, "entry %q occurs twice", e.Name)
		}
		entries[e.Name] = e
		if dir, ok := strings.CutSuffix(e.Name, "/data.pkl"); ok && !strings.Contains(dir, "/") {
			if root != "" {
				return nil, fileerr.New(path, -1, "two pickles, %s/data.pkl and %s: want one", root, e.Name)
			}
			root = dir
		}
	}
	if root == "" {
		return nil, fileerr.New(path, -1, "a zip without data.pkl: not written by torch.save")
	}
	for _, e := range z.File {
		if rest, _ := strings.CutPrefix(e.Name, root+"/"); rest == "constants.pkl" || strings.HasPrefix(rest, "code/") {
			return nil, fmt.Errorf("%s: a TorchScript archive: export the model to ONNX, or save model.state_dict(): %w", path, fileerr.ErrUnsupported)
		}
	}
	f := &torchFile{path: path, records: make(map[string]*record)}
	if e := entries[root+"/byteorder"]; e != nil {
		order, err := readEntry(r, e, path, 16)
		if err != nil {
			return nil, err
		}
		switch string(bytes.TrimSpace(order)) {
		case "little":
		case "big":
			f.big = true
		default:
			return nil, fileerr.New(path, -1, "byteorder %q: want little or big", order)
		}
	}
	object, err := readEntry(r, entries[root+"/data.pkl"], path, maxPickle)
	if err != nil {
		return nil, err
	}
	base, _ := entries[root+"/data.pkl"].DataOffset()
	host := &torchHost{storages: make(map[string]*storageRef)}
	p := pickle.NewReader(bytes.NewReader(object), path, base, int64(len(object)))
	if f.object, err = p.Next(host); err != nil {
		return nil, err
	}
	unchecked := false
	for key, s := range host.storages {
		e := entries[root+"/data/"+key]
		if e == nil {
			return nil, fileerr.New(path, -1, "storage %s has no record %s/data/%s", key, root, key)
		}
		need := s.count * int64(bitsOf[s.dtype]/8)
		if have := int64(e.UncompressedSize64); have < need || e.UncompressedSize64 > 1<<62 {
			return nil, fileerr.New(path, -1, "storage %s: %d elements of %s are %d bytes, its record has %d", key, s.count, s.dtype, need, have)
		} else if have > need {
			f.warn("storage %s: its record has %d bytes, %d are used", key, have, need)
		}
		offset, err := e.DataOffset()
		if err != nil {
			return nil, fileerr.New(path, -1, "entry %q: %s", e.Name, err)
		}
		unchecked = unchecked || e.CRC32 == 0 && need > 0
		rec := &record{key: key, offset: offset, size: need}
		rec.open = func() (io.ReaderAt, error) { return openRecord(r, e, path, need) }
		f.records[key] = rec
	}
	if unchecked {
		f.warn("the file carries no checksums: damage to the weights would go unnoticed")
	}
	return f, nil
}

func hasDotDot(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// openRecord returns the first need bytes of a zip entry, checked against its
// CRC-32 where it has one (a CRC of 0 means that the writer computed none).
func openRecord(r io.ReaderAt, e *zip.File, path string, need int64) (io.ReaderAt, error) {
	offset, err := e.DataOffset()
	if err != nil {
		return nil, fileerr.New(path, -1, "entry %q: %s", e.Name, err)
	}
	if e.Method != zip.Store {
		b, err := readEntry(r, e, path, need)
		if err != nil {
			return nil, err
		}
		return bytes.NewReader(b), nil
	}
	size := int64(e.UncompressedSize64)
	section := io.NewSectionReader(r, offset, size)
	if e.CRC32 != 0 {
		h := crc32.NewIEEE()
		n, err := io.Copy(h, section)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if n != size {
			return nil, fileerr.New(path, offset+n, "entry %q ends: want %d more bytes", e.Name, size-n)
		}
		if h.Sum32() != e.CRC32 {
			return nil, fileerr.New(path, offset, "entry %q is damaged: CRC-32 %08x, the directory says %08x", e.Name, h.Sum32(), e.CRC32)
		}
	}
	return section, nil
}

// readEntry reads a whole entry, stored or deflated, of at most limit bytes. It
// does not trust the directory: inflating stops one byte after the limit.
func readEntry(r io.ReaderAt, e *zip.File, path string, limit int64) ([]byte, error) {
	if e.Flags&1 != 0 {
		return nil, fmt.Errorf("%s: entry %q is encrypted: %w", path, e.Name, fileerr.ErrUnsupported)
	}
	if e.UncompressedSize64 > uint64(limit) {
		return nil, fileerr.New(path, -1, "entry %q inflates to %d bytes: want at most %d", e.Name, e.UncompressedSize64, limit)
	}
	var src io.Reader
	switch e.Method {
	case zip.Store:
		offset, err := e.DataOffset()
		if err != nil {
			return nil, fileerr.New(path, -1, "entry %q: %s", e.Name, err)
		}
		src = io.NewSectionReader(r, offset, int64(e.UncompressedSize64))
	case zip.Deflate:
		const ratio = 1032 // deflate cannot shrink anything further
		if e.UncompressedSize64/ratio > e.CompressedSize64 {
			return nil, fileerr.New(path, -1, "entry %q: %d bytes claim to inflate to %d", e.Name, e.CompressedSize64, e.UncompressedSize64)
		}
		raw, err := e.OpenRaw()
		if err != nil {
			return nil, fileerr.New(path, -1, "entry %q: %s", e.Name, err)
		}
		inflate := flate.NewReader(raw)
		defer inflate.Close()
		src = inflate
	default:
		return nil, fmt.Errorf("%s: entry %q is packed by method %d: %w", path, e.Name, e.Method, fileerr.ErrUnsupported)
	}
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(src, limit+1))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fileerr.New(path, -1, "entry %q: %s", e.Name, err)
	}
	if n != int64(e.UncompressedSize64) {
		return nil, fileerr.New(path, -1, "entry %q gives %d bytes: the directory says %d", e.Name, n, e.UncompressedSize64)
	}
	if sum := crc32.ChecksumIEEE(b.Bytes()); e.CRC32 != 0 && sum != e.CRC32 {
		return nil, fileerr.New(path, -1, "entry %q is damaged: CRC-32 %08x, the directory says %08x", e.Name, sum, e.CRC32)
	}
	return b.Bytes(), nil
}
