package eventdata

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
)

// A cache file is a safetensors file: eight bytes length of the header, the
// header as JSON, the data. Package checkpoint writes such files too, but it is
// about networks and stands beside this package; what is needed here is little.

// an array is one tensor of a cache file.
type array struct {
	name  string
	dtype string // "I64", "U32", "U16" or "U8"
	count int
	write func(w *bufio.Writer) error
}

var dtypeBytes = map[string]int{"I64": 8, "U32": 4, "U16": 2, "U8": 1}

// writeArrays writes one-dimensional arrays in the given order, which should be
// from wide to narrow types, so that each is aligned. It returns where the data
// of the arrays begin.
func writeArrays(out io.Writer, metadata map[string]string, arrays []array) (offsets []int64, err error) {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header := map[string]any{"__metadata__": metadata}
	at := int64(0)
	for _, a := range arrays {
		end := at + int64(a.count*dtypeBytes[a.dtype])
		header[a.name] = entry{a.dtype, []int{a.count}, [2]int64{at, end}}
		offsets = append(offsets, at)
		at = end
	}
	text, err := json.Marshal(header) // keys sorted: the same bytes each time
	if err != nil {
		return nil, err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	for i := range offsets {
		offsets[i] += int64(8 + len(text))
	}
	w := bufio.NewWriterSize(out, 1<<16)
	w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(text))))
	w.Write(text)
	for _, a := range arrays {
		if err := a.write(w); err != nil {
			return nil, err
		}
	}
	return offsets, w.Flush() // also the error of any write before
}

// numbers writes values little-endian.
func numbers[T uint8 | uint16 | uint32 | int64](name, dtype string, values []T) array {
	return array{name: name, dtype: dtype, count: len(values), write: func(w *bufio.Writer) error {
		size := dtypeBytes[dtype]
		var buf [4096 + 8]byte // the last value may be written wider than it is
		for len(values) > 0 {
			piece := values[:min(len(values), 4096/size)]
			for i, v := range piece {
				binary.LittleEndian.PutUint64(buf[i*size:], uint64(v))
			}
			if _, err := w.Write(buf[:len(piece)*size]); err != nil {
				return err
			}
			values = values[len(piece):]
		}
		return nil
	}}
}
