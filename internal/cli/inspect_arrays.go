package cli

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/npy"
)

// maxSpread bounds the values of an array that are read for minimum, maximum
// and mean: they take eight bytes each.
const maxSpread = 1 << 26

// A spread collects minimum, maximum and mean of values.
type spread struct {
	n, notFinite  int64
	min, max, sum float64
}

func (s *spread) add(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		s.notFinite++
		return
	}
	if s.n == 0 {
		s.min, s.max = v, v
	}
	s.min, s.max = min(s.min, v), max(s.max, v)
	s.sum += v
	s.n++
}

func (s *spread) into(f *tensorFinding) {
	f.NotFinite = s.notFinite
	if s.n == 0 {
		return
	}
	mean := s.sum / float64(s.n)
	f.Min, f.Max = &s.min, &s.max
	if !math.IsInf(mean, 0) { // float64 values may add up to more than there is
		f.Mean = &mean
	}
}

// inspectTensors lists the tensors of a safetensors file, without their values.
func inspectTensors(f *checkpoint.File) *finding {
	var list []tensorFinding
	values := int64(0)
	for _, t := range f.Tensors {
		list = append(list, tensorFinding{Name: t.Name, DType: string(t.DType), Shape: t.Shape})
		n := int64(1)
		for _, d := range t.Shape {
			n *= int64(d)
		}
		values += n
	}
	content := struct {
		Metadata map[string]string `json:"metadata,omitempty"`
		Values   int64             `json:"values"`
		Tensors  []tensorFinding   `json:"tensors"`
	}{f.Metadata, values, list}
	return &finding{kind: "safetensors file, no AdaFire network", json: content, text: func(w io.Writer) error {
		fmt.Fprintf(w, "%d tensors, %d values\n", len(list), values)
		for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
			fmt.Fprintf(w, "metadata %s: %s\n", oneLine(key), shorten(f.Metadata[key], 200))
		}
		fmt.Fprintln(w)
		return writeTensors(w, list)
	}}
}

// shorten puts text on one line of at most n characters.
func shorten(text string, n int) string {
	if r := []rune(oneLine(text)); len(r) > n {
		return string(r[:n]) + fmt.Sprintf("... (%d bytes)", len(text))
	}
	return oneLine(text)
}

func writeTensors(w io.Writer, list []tensorFinding) error {
	spreads := slices.ContainsFunc(list, func(t tensorFinding) bool { return t.Min != nil || t.NotFinite > 0 })
	types := slices.ContainsFunc(list, func(t tensorFinding) bool { return t.DType != "" })
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	line := func(name, dtype, shape string, figures ...string) {
		cells := []string{name}
		if types {
			cells = append(cells, dtype)
		}
		cells = append(cells, shape)
		if spreads {
			cells = append(cells, figures...)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	line("name", "type", "shape", "min", "max", "mean", "not finite")
	for _, f := range list {
		line(oneLine(f.Name), f.DType, shapeText(f.Shape), figure(f.Min), figure(f.Max), figure(f.Mean), fmt.Sprint(f.NotFinite))
	}
	return t.Flush()
}

func figure(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.6g", *v)
}

// describeArray describes a NumPy array.
func describeArray(name string, a *npy.Array) tensorFinding {
	f := tensorFinding{Name: name, DType: a.DType, Shape: a.Shape}
	if a.Len() > maxSpread {
		return f
	}
	values, err := a.Float64()
	if err != nil { // integers beyond float64: no figures rather than wrong ones
		return f
	}
	var s spread
	for _, v := range values {
		s.add(v)
	}
	s.into(&f)
	return f
}

func inspectNPY(path string, size int64) (*finding, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := npy.Read(f, size, path)
	if err != nil {
		return nil, err
	}
	d := describeArray("array", a)
	return &finding{kind: "NumPy array", json: d, text: func(w io.Writer) error {
		return writeTensors(w, []tensorFinding{d})
	}}, nil
}

func inspectNPZ(path string, r io.ReaderAt, size int64) (*finding, error) {
	archive, err := npy.OpenArchive(r, size, path)
	if err != nil {
		return nil, err
	}
	archive.Limit = max(64<<20, 64*size) // of one array: a small file must not fill the memory
	var list []tensorFinding
	for _, name := range archive.Names {
		a, err := archive.Read(name)
		if err != nil {
			return nil, err
		}
		list = append(list, describeArray(name, a))
	}
	content := struct {
		Arrays []tensorFinding `json:"arrays"`
	}{list}
	return &finding{kind: "NumPy archive", json: content, text: func(w io.Writer) error {
		return writeTensors(w, list)
	}}, nil
}

// idxTypes are the value types of IDX files and their widths in bytes.
var idxTypes = map[byte]struct {
	name  string
	width int64
}{
	0x08: {"uint8", 1}, 0x09: {"int8", 1}, 0x0b: {"int16", 2}, 0x0c: {"int32", 4}, 0x0d: {"float32", 4}, 0x0e: {"float64", 8},
}

// maxIDXDims bounds the dimensions; the format would allow 255.
const maxIDXDims = 8

// isIDX says whether head begins like an IDX file: two zero bytes, a value type
// and the number of dimensions.
func isIDX(head []byte) bool {
	if len(head) < 4 || head[0] != 0 || head[1] != 0 || head[3] < 1 || head[3] > maxIDXDims {
		return false
	}
	_, ok := idxTypes[head[2]]
	return ok
}

// An idxFinding describes an IDX file.
type idxFinding struct {
	tensorFinding
	Gzip   bool    `json:"gzip"`
	Counts []int64 `json:"counts,omitempty"` // how often each value occurs, of one-dimensional uint8 files: labels
}

// inspectIDX reads an IDX file to its end, without keeping it.
func inspectIDX(path string, size int64, compressed bool) (*finding, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var r io.Reader = bufio.NewReaderSize(file, 1<<16)
	if compressed {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, fileerr.New(path, 0, "not a gzip file: %v", err)
		}
	}
	f, err := readIDX(path, r)
	if err != nil {
		return nil, err
	}
	f.Gzip = compressed
	kind := "IDX file"
	if compressed {
		kind += ", gzip-compressed"
	}
	return &finding{kind: kind, json: f, text: func(w io.Writer) error {
		if err := writeTensors(w, []tensorFinding{f.tensorFinding}); err != nil {
			return err
		}
		for v, n := range f.Counts {
			fmt.Fprintf(w, "value %d: %d times\n", v, n)
		}
		return nil
	}}, nil
}

func readIDX(path string, r io.Reader) (*idxFinding, error) {
	var head [4 + 4*maxIDXDims]byte
	if _, err := io.ReadFull(r, head[:4]); err != nil {
		return nil, shortIDX(path, 0, err, "header of at least 8 bytes")
	}
	dims := int(head[3])
	if n, err := io.ReadFull(r, head[4:4+4*dims]); err != nil {
		return nil, shortIDX(path, int64(4+n), err, fmt.Sprintf("header of %d bytes", 4+4*dims))
	}
	kind := idxTypes[head[2]]
	f := &idxFinding{tensorFinding: tensorFinding{Name: "array", DType: kind.name}}
	values := int64(1)
	for i := range dims {
		d := int64(binary.BigEndian.Uint32(head[4+4*i:]))
		f.Shape = append(f.Shape, int(d))
		if d > 0 && values > math.MaxInt64/8/d {
			return nil, fileerr.New(path, int64(4+4*i), "dimensions %v claim more values than any file holds", f.Shape)
		}
		values *= d
	}
	at, want := int64(4+4*dims), values*kind.width
	var s spread
	var counts [256]int64
	buf := make([]byte, 1<<16) // a multiple of every width
	for done := int64(0); done < want; {
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), want-done)])
		if err != nil {
			return nil, shortIDX(path, at+done+int64(n), err, fmt.Sprintf("%d bytes of values, %d are there", want, done+int64(n)))
		}
		done += int64(n)
		if kind.width > 1 {
			continue // the figures of other types help nobody check an image
		}
		for _, b := range buf[:n] {
			if head[2] == 0x09 {
				s.add(float64(int8(b)))
				continue
			}
			s.add(float64(b))
			counts[b]++
		}
	}
	if n, err := io.ReadFull(r, buf[:1]); n > 0 {
		return nil, fileerr.New(path, at+want, "trailing bytes after %d values", values)
	} else if !errors.Is(err, io.EOF) { // among them a wrong checksum
		return nil, fileerr.New(path, at+want, "%v", err)
	}
	s.into(&f.tensorFinding)
	if dims == 1 && head[2] == 0x08 && s.n > 0 {
		f.Counts = counts[:int(s.max)+1]
	}
	return f, nil
}

// shortIDX tells a file that ends early from one whose compression is broken.
func shortIDX(path string, at int64, err error, want string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fileerr.New(path, at, "truncated: want %s", want)
	}
	return fileerr.New(path, at, "%v", err)
}
