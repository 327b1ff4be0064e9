package dataset

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/fileerr"
)

// Miniatures of the distributed files.

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// gzipped compresses data.
func gzipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(data)
	z.Close()
	return b.Bytes()
}

// idxFile makes an IDX file of bytes.
func idxFile(data []byte, dims ...int) []byte {
	out := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		out = binary.BigEndian.AppendUint32(out, uint32(d))
	}
	return append(out, data...)
}

// noise is n bytes without a pattern.
func noise(n int, seed uint32) []byte {
	out := make([]byte, n)
	for i := range out {
		seed = seed*1664525 + 1013904223
		out[i] = byte(seed >> 24)
	}
	return out
}

// cifarImage is the image with number k: value depends on plane, row, column.
func cifarImage(k int) []byte { return noise(cifarPixels, uint32(k)+99) }

// cifarRecords makes a binary file; coarse adds the first label of CIFAR-100.
func cifarRecords(first int, coarse bool, labels ...byte) []byte {
	var out []byte
	for k, y := range labels {
		if coarse {
			out = append(out, y%20)
		}
		out = append(append(out, y), cifarImage(first+k)...)
	}
	return out
}

// A python2 writes pickles of protocol 2 as Python 2's cPickle does: strings
// as bytes, every object stored under the next number.
type python2 struct {
	bytes.Buffer
	stored int
}

func (p *python2) put() {
	p.WriteByte('q')
	p.WriteByte(byte(p.stored))
	p.stored++
}

func (p *python2) str(s string) {
	if len(s) < 256 {
		p.WriteByte('U')
		p.WriteByte(byte(len(s)))
	} else {
		p.WriteByte('T')
		binary.Write(p, binary.LittleEndian, uint32(len(s)))
	}
	p.WriteString(s)
	p.put()
}

func (p *python2) number(v int) {
	switch {
	case v >= 0 && v < 256:
		p.Write([]byte{'K', byte(v)})
	case v >= 0 && v < 1<<16:
		p.WriteByte('M')
		binary.Write(p, binary.LittleEndian, uint16(v))
	default:
		p.WriteByte('J')
		binary.Write(p, binary.LittleEndian, int32(v))
	}
}

func (p *python2) numbers(values []byte) {
	p.WriteByte(']')
	p.put()
	p.WriteByte('(')
	for _, v := range values {
		p.number(int(v))
	}
	p.WriteByte('e')
}

func (p *python2) strings(values []string) {
	p.WriteByte(']')
	p.put()
	p.WriteByte('(')
	for _, v := range values {
		p.str(v)
	}
	p.WriteByte('e')
}

func (p *python2) array(rows, cols int, data []byte) {
	p.WriteString("cnumpy.core.multiarray\n_reconstruct\n")
	p.put()
	p.WriteString("cnumpy\nndarray\n")
	p.put()
	p.WriteString("K\x00\x85")
	p.put()
	p.WriteString("U\x01b\x87")
	p.put()
	p.WriteByte('R')
	p.put()
	p.WriteString("(K\x01")
	p.number(rows)
	p.number(cols)
	p.WriteByte(0x86)
	p.put()
	p.WriteString("cnumpy\ndtype\n")
	p.put()
	p.WriteString("U\x02u1K\x00K\x01\x87")
	p.put()
	p.WriteByte('R')
	p.put()
	p.WriteString("(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t")
	p.put()
	p.WriteString("b\x89")
	p.str(string(data))
	p.WriteByte('t')
	p.put()
	p.WriteByte('b')
}

// cifarPickle makes a file of the Python version.
func cifarPickle(first int, key string, labels ...byte) []byte {
	var p python2
	p.WriteString("\x80\x02}")
	p.put()
	p.WriteByte('(')
	p.str("batch_label")
	p.str("training batch 1 of 5")
	p.str(key)
	p.numbers(labels)
	p.str("data")
	var data []byte
	for k := range labels {
		data = append(data, cifarImage(first+k)...)
	}
	p.array(len(labels), cifarPixels, data)
	p.WriteString("u.")
	return p.Bytes()
}

// metaPickle makes batches.meta or meta.
func metaPickle(key string, names []string) []byte {
	var p python2
	p.WriteString("\x80\x02}")
	p.put()
	p.WriteByte('(')
	p.str("num_cases_per_batch")
	p.number(10000)
	p.str(key)
	p.strings(names)
	p.WriteString("u.")
	return p.Bytes()
}

// tarball packs files, in the given order, below folder.
func tarball(folder string, names []string, files map[string][]byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	w.WriteHeader(&tar.Header{Name: folder + "/", Typeflag: tar.TypeDir, Mode: 0o755})
	for _, n := range names {
		w.WriteHeader(&tar.Header{Name: folder + "/" + n, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[n]))})
		w.Write(files[n])
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

// wantFormatError checks that err is a *fileerr.FormatError about a file whose
// path ends in file, at the given offset (-2: any), and that its message holds
// the given words.
func wantFormatError(t *testing.T, err error, file string, offset int64, words string) {
	t.Helper()
	var f *fileerr.FormatError
	if !errors.As(err, &f) {
		t.Errorf("got error %v, want a format error about %s", err, file)
		return
	}
	if !strings.HasSuffix(f.Path, file) || offset != -2 && f.Offset != offset || !strings.Contains(f.Msg, words) {
		t.Errorf("got %q, want file %s, offset %d and %q", err, file, offset, words)
	}
}

// wantMissing checks that err is a *MissingError about a path that ends in
// file, and that it names the layout and the home page.
func wantMissing(t *testing.T, err error, file string) {
	t.Helper()
	var m *MissingError
	if !errors.As(err, &m) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want a missing-file error about %s", err, file)
		return
	}
	text := err.Error()
	if !strings.HasSuffix(m.Path, filepath.FromSlash(file)) || !strings.Contains(text, m.Dataset.Layout[0]) ||
		!strings.Contains(text, m.Dataset.HomePage) || strings.Contains(text, "\n") {
		t.Errorf("got %q, want one line with %s, the layout and the home page", text, file)
	}
}
