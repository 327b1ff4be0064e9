package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/tensor"
)

// An Entry is a tensor to be written. Data is a []float32 (stored as F32),
// []int64 (I64), []int32 (I32) or []uint8 (U8), row-major.
type Entry struct {
	Name  string
	Shape []int
	Data  any
}

// NewEntry wraps a float32 tensor, sharing its values.
func NewEntry(name string, t *tensor.Tensor) Entry { return Entry{name, t.Shape, t.Data} }

// Write writes a safetensors file with the given tensors and metadata, and the
// digest of the data under the metadata key "adafire.sha256". Without force an
// existing file is an atomicfile.ExistsError. The file appears as a whole or
// not at all, and equal arguments give equal bytes.
//
// Tensors are stored in the order given, those with wider elements first, so
// that every tensor is aligned to its element size.
func Write(path string, tensors []Entry, metadata map[string]string, force bool) error {
	e, err := newEncoder(tensors, metadata)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := atomicfile.CheckSpace(path, int64(len(e.header))+e.dataSize); err != nil {
		return err
	}
	return atomicfile.Write(path, force, e.write)
}

// Encode is Write to a stream.
func Encode(w io.Writer, tensors []Entry, metadata map[string]string) error {
	e, err := newEncoder(tensors, metadata)
	if err != nil {
		return err
	}
	return e.write(w)
}

type encoder struct {
	tensors  []Entry
	header   []byte // with its length in front and padding behind
	dataSize int64
}

func newEncoder(tensors []Entry, metadata map[string]string) (*encoder, error) {
	e := &encoder{tensors: slices.Clone(tensors)}
	width := make(map[string]int, len(tensors))
	for _, t := range tensors {
		dtype, count := t.kind()
		if dtype == "" {
			return nil, fmt.Errorf("tensor %q: cannot store %T", t.Name, t.Data)
		}
		if t.Name == "" || t.Name == metadataKey || !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("tensor name %q: want UTF-8, neither empty nor %s", t.Name, metadataKey)
		}
		if width[t.Name] != 0 {
			return nil, fmt.Errorf("tensor %q occurs twice", t.Name)
		}
		if n, err := tensor.Numel(t.Shape); err != nil || n != count {
			return nil, fmt.Errorf("tensor %q: %d values for shape %v: %w", t.Name, count, t.Shape, tensor.ErrShape)
		}
		width[t.Name] = bitsOf[dtype]
	}
	slices.SortStableFunc(e.tensors, func(a, b Entry) int { return width[b.Name] - width[a.Name] })

	// The digest precedes the data in the file: encode twice rather than keep
	// a second copy of the network in memory.
	digest := sha256.New()
	if err := e.writeData(digest); err != nil {
		return nil, err
	}
	all := maps.Clone(metadata)
	if all == nil {
		all = map[string]string{}
	}
	all[digestKey] = hex.EncodeToString(digest.Sum(nil))
	return e, e.encodeHeader(all)
}

func (e *encoder) encodeHeader(metadata map[string]string) error {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteString(`{"` + metadataKey + `":{`)
	for i, key := range slices.Sorted(maps.Keys(metadata)) {
		if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
			return fmt.Errorf("metadata %q is not UTF-8", key)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		writeString(&b, key)
		b.WriteByte(':')
		writeString(&b, metadata[key])
	}
	b.WriteByte('}')
	for _, t := range e.tensors {
		dtype, _ := t.kind()
		size, err := sizeOf(dtype, t.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		b.WriteByte(',')
		writeString(&b, t.Name)
		fmt.Fprintf(&b, `:{"dtype":"%s","shape":[`, dtype)
		for i, d := range t.Shape {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(&b, d)
		}
		fmt.Fprintf(&b, `],"data_offsets":[%d,%d]}`, e.dataSize, e.dataSize+size)
		e.dataSize += size
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len()-8 > maxHeader {
		return fmt.Errorf("header of %d bytes: the format allows %d", b.Len()-8, maxHeader)
	}
	e.header = b.Bytes()
	binary.LittleEndian.PutUint64(e.header, uint64(b.Len()-8))
	return nil
}

// writeString writes JSON without the escapes meant for HTML.
func writeString(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(fmt.Sprintf("checkpoint: encode string: %v", err)) // strings always encode
	}
	b.Truncate(b.Len() - 1) // the encoder's newline
}

func (e *encoder) write(w io.Writer) error {
	if _, err := w.Write(e.header); err != nil {
		return err
	}
	return e.writeData(w)
}

// writeData writes all values, little-endian.
func (e *encoder) writeData(w io.Writer) error {
	buf := make([]byte, 0, 8*piece)
	for _, t := range e.tensors {
		var err error
		switch data := t.Data.(type) {
		case []float32:
			err = writeSlice(w, buf, data)
		case []int64:
			err = writeSlice(w, buf, data)
		case []int32:
			err = writeSlice(w, buf, data)
		case []uint8:
			_, err = w.Write(data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// piece is the number of values that are encoded at a time.
const piece = 1 << 14

func writeSlice[T float32 | int64 | int32](w io.Writer, buf []byte, data []T) error {
	for part := range slices.Chunk(data, piece) {
		b, err := binary.Append(buf[:0], binary.LittleEndian, part)
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// kind returns the type under which the data are stored, "" if they cannot be,
// and the number of values.
func (t Entry) kind() (DType, int) {
	switch data := t.Data.(type) {
	case []float32:
		return "F32", len(data)
	case []int64:
		return "I64", len(data)
	case []int32:
		return "I32", len(data)
	case []uint8:
		return "U8", len(data)
	}
	return "", 0
}
