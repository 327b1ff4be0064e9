package hdf5

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// A Filter undoes one filter: it turns the stored bytes src into exactly size
// bytes. params are the filter's parameters from the file. It must not change
// src, which is untrusted, and must not allocate size bytes before it has seen
// that src can fill them.
type Filter func(src []byte, size int, params []uint32) ([]byte, error)

// Numbers of the filters known here.
const (
	filterDeflate  = 1
	filterShuffle  = 2
	filterFletcher = 3
	filterLZF      = 32000
)

var (
	registerMu sync.RWMutex
	registered = map[int]Filter{filterDeflate: inflate, filterShuffle: unshuffle, filterFletcher: unfletcher, filterLZF: unlzf}
)

// RegisterFilter makes a filter known to all files, such as Blosc (32001).
func RegisterFilter(id int, fn Filter) {
	registerMu.Lock()
	defer registerMu.Unlock()
	registered[id] = fn
}

// names of filters that are common in files, for messages.
var filterNames = map[int]string{4: "szip", 5: "nbit", 6: "scale-offset", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "zfp", 32015: "Zstandard", 32026: "Blosc2", 36559: "ECF"}

// A filterSpec is one filter of a data set's pipeline.
type filterSpec struct {
	id       int
	name     string
	optional bool
	params   []uint32
}

func (s *filterSpec) String() string {
	name := s.name
	if name == "" {
		name = filterNames[s.id]
	}
	if name == "" {
		return fmt.Sprintf("filter %d", s.id)
	}
	return fmt.Sprintf("filter %d (%s)", s.id, name)
}

// filters decodes a filter pipeline message.
func (f *File) filters(c *cursor) []filterSpec {
	version, n := c.u8(), int(c.u8())
	switch {
	case c.err != nil:
		return nil
	case version == 1:
		c.skip(6)
	case version != 2:
		c.err = f.unsupported("offset %d: filter pipeline version %d", c.at, version)
		return nil
	}
	if n > 32 {
		c.fail("%d filters", n)
	}
	var out []filterSpec
	for range n {
		if c.err != nil {
			return nil
		}
		s := filterSpec{id: int(c.u16())}
		length := 0
		if version == 1 || s.id >= 256 {
			length = int(c.u16())
		}
		s.optional = c.u16()&1 != 0
		values := int(c.u16())
		if version == 1 {
			length = (length + 7) &^ 7
		}
		s.name = printable(c.take(length))
		raw := c.take(4 * values)
		if c.err != nil {
			return nil
		}
		for i := range values {
			s.params = append(s.params, binary.LittleEndian.Uint32(raw[4*i:]))
		}
		if version == 1 && values%2 == 1 {
			c.skip(4)
		}
		out = append(out, s)
	}
	return out
}

// printable returns the text before a NUL if it is plain ASCII.
func printable(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return ""
		}
	}
	return string(b)
}

// unfilter undoes the pipeline on one stored chunk of size bytes. Bit k of
// mask is set where filter k was left out.
func (f *File) unfilter(b []byte, specs []filterSpec, mask uint32, size int) ([]byte, error) {
	for i := len(specs) - 1; i >= 0; i-- {
		if mask>>i&1 != 0 {
			continue
		}
		s := &specs[i]
		registerMu.RLock()
		fn := registered[s.id]
		registerMu.RUnlock()
		if fn == nil {
			return nil, f.unsupported("%s", s)
		}
		want := size // what this filter was given when the file was written
		for k := range i {
			if specs[k].id == filterFletcher && mask>>k&1 == 0 {
				want += 4
			} else if !keepsSize(specs[k].id) && mask>>k&1 == 0 {
				want = 0 // an earlier compression: not known
			}
		}
		switch {
		case want > 0:
		case s.id == filterFletcher && len(b) >= 4: // of what was compressed
			want = len(b) - 4
		case s.id == filterShuffle:
			want = len(b)
		default:
			return nil, f.unsupported("%s behind another compression", s)
		}
		out, err := fn(b, want, s.params)
		if err == nil && len(out) != want {
			err = fmt.Errorf("%d bytes, want %d", len(out), want)
		}
		if err != nil {
			return nil, f.bad(-1, "%s: %v", s, err)
		}
		b = out
	}
	if len(b) != size {
		return nil, f.bad(-1, "chunk of %d bytes, want %d", len(b), size)
	}
	return b, nil
}

func keepsSize(id int) bool { return id == filterShuffle || id == filterFletcher }

// maxInflation is the most that deflate compresses: 258 bytes take two bits.
const maxInflation = 1032

func inflate(src []byte, size int, _ []uint32) ([]byte, error) {
	if size/maxInflation > len(src) {
		return nil, fmt.Errorf("%d bytes cannot inflate to %d", len(src), size)
	}
	r, err := zlib.NewReader(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	if n, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("after %d of %d bytes: %w", n, size, err)
	}
	var more [1]byte
	switch n, err := io.ReadFull(r, more[:]); {
	case n > 0:
		return nil, fmt.Errorf("inflates to more than the chunk's %d bytes", size)
	case err != io.EOF:
		return nil, err // the checksum behind the data
	}
	return out, nil
}

// unshuffle puts the bytes of every element together again; bytes behind the
// last whole element stay where they are.
func unshuffle(src []byte, size int, params []uint32) ([]byte, error) {
	if len(params) < 1 || params[0] < 1 || params[0] > maxElement {
		return nil, fmt.Errorf("element size %v", params)
	}
	if len(src) != size {
		return nil, fmt.Errorf("%d bytes, want %d", len(src), size)
	}
	width := int(params[0])
	n := size / width
	out := make([]byte, size)
	for j := range width {
		plane := src[j*n : (j+1)*n]
		for i, b := range plane {
			out[i*width+j] = b
		}
	}
	copy(out[n*width:], src[n*width:])
	return out, nil
}

// unfletcher checks and removes the checksum of filter 3. Old versions of the
// library stored it with the bytes of each half exchanged.
func unfletcher(src []byte, size int, _ []uint32) ([]byte, error) {
	if len(src) != size+4 {
		return nil, fmt.Errorf("%d bytes, want %d and a checksum of 4", len(src), size)
	}
	stored, got := binary.LittleEndian.Uint32(src[size:]), fletcher32(src[:size])
	swapped := got&0x00ff00ff<<8 | got>>8&0x00ff00ff
	if stored != got && stored != swapped {
		return nil, fmt.Errorf("checksum %08x, computed %08x", stored, got)
	}
	return src[:size], nil
}

// unlzf undoes LZF, a byte-oriented LZ77: a control byte below 32 begins a run
// of control+1 literals; else its upper three bits are the length of a copy
// minus 2 (7: a further byte is added), its lower five bits and one more byte
// the distance minus 1.
func unlzf(src []byte, size int, _ []uint32) ([]byte, error) {
	if size/88 > len(src) { // three bytes copy 264 at most
		return nil, fmt.Errorf("%d bytes cannot expand to %d", len(src), size)
	}
	out := make([]byte, 0, size)
	for i := 0; i < len(src); {
		control := int(src[i])
		i++
		if control < 32 {
			n := control + 1
			if n > len(src)-i || n > size-len(out) {
				return nil, fmt.Errorf("run of %d literals at byte %d of %d, %d of %d bytes written", n, i, len(src), len(out), size)
			}
			out = append(out, src[i:i+n]...)
			i += n
			continue
		}
		n := control >> 5
		if n == 7 && i < len(src) {
			n += int(src[i])
			i++
		}
		if i >= len(src) {
			return nil, fmt.Errorf("ends within a copy")
		}
		from := len(out) - (control&31<<8 | int(src[i])) - 1
		i++
		if n += 2; from < 0 || n > size-len(out) {
			return nil, fmt.Errorf("copy of %d bytes from %d, %d of %d bytes written", n, from, len(out), size)
		}
		for range n { // may overlap what it writes
			out = append(out, out[from])
			from++
		}
	}
	if len(out) != size {
		return nil, fmt.Errorf("%d bytes, want %d", len(out), size)
	}
	return out, nil
}
