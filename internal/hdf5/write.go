package hdf5

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/tensor"
)

// A Tree is the content of a file to be written: groups of data sets.
//
//	t := hdf5.NewTree()
//	t.Strings("version", nil, []string{"1.0.8"})
//	node := t.Group("node")
//	node.Float32("weight", []int{2, 3}, w)
//	err := t.WriteFile(path, false)
//
// Files have the classic layout that all versions of the library read:
// superblock 0, symbol tables, arrays of more than 256 bytes in chunks with
// deflate. Equal trees give equal bytes. Errors of single calls show up when
// the file is written.
type Tree struct {
	members map[string]any // *Tree or *array
}

// An array is a data set to be written; exactly one of its slices is not nil.
type array struct {
	shape   []int
	floats  []float32
	doubles []float64
	ints    []int64
	strings []string
}

// NewTree returns an empty group.
func NewTree() *Tree { return &Tree{members: make(map[string]any)} }

// Group returns the group of that name in t, which it makes if there is none.
func (t *Tree) Group(name string) *Tree {
	if g, ok := t.members[name].(*Tree); ok {
		return g
	}
	g := NewTree()
	t.members[name] = g
	return g
}

// Float32 puts an array into t; no shape is a scalar. The values are not
// copied.
func (t *Tree) Float32(name string, shape []int, v []float32) {
	t.members[name] = &array{shape: slices.Clone(shape), floats: notNil(v)}
}

// Float64 is Float32 for float64.
func (t *Tree) Float64(name string, shape []int, v []float64) {
	t.members[name] = &array{shape: slices.Clone(shape), doubles: notNil(v)}
}

// Int64 is Float32 for integers.
func (t *Tree) Int64(name string, shape []int, v []int64) {
	t.members[name] = &array{shape: slices.Clone(shape), ints: notNil(v)}
}

// Strings is Float32 for strings of any length, in UTF-8.
func (t *Tree) Strings(name string, shape []int, v []string) {
	t.members[name] = &array{shape: slices.Clone(shape), strings: notNil(v)}
}

func notNil[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return v
}

// WriteFile writes the file at path as a whole; see atomicfile.Write for force.
func (t *Tree) WriteFile(path string, force bool) error {
	return atomicfile.Write(path, force, func(w io.Writer) error {
		_, err := t.WriteTo(w)
		return err
	})
}

// WriteTo writes the file to w.
func (t *Tree) WriteTo(w io.Writer) (int64, error) {
	o := &output{at: superblockBytes, heap: make(map[*array][]heapRef)}
	if err := t.check("", 0, &o.largest); err != nil {
		return 0, err
	}
	o.strings(t)
	root, err := o.group(t, "")
	if err != nil {
		return 0, err
	}
	o.blocks = append([][]byte{o.superblock(root)}, o.blocks...)
	var n int64
	for _, b := range o.blocks {
		k, err := w.Write(b)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// check refuses names and shapes that cannot be written, and finds the largest
// group.
func (t *Tree) check(path string, depth int, largest *int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d groups within each other", path, maxDepth)
	}
	*largest = max(*largest, len(t.members))
	for _, name := range slices.Sorted(maps.Keys(t.members)) {
		here := path + "/" + name
		if name == "" || name == "." || strings.ContainsAny(name, "/\x00") {
			return fmt.Errorf("%s: not a name for a group's member", here)
		}
		switch m := t.members[name].(type) {
		case *Tree:
			if err := m.check(here, depth+1, largest); err != nil {
				return err
			}
		case *array:
			n, err := tensor.Numel(m.shape)
			if have := len(m.floats) + len(m.doubles) + len(m.ints) + len(m.strings); err != nil || n != have || len(m.shape) > 32 {
				return fmt.Errorf("%s: %d values for shape %v", here, have, m.shape)
			}
			for _, d := range m.shape {
				if d > math.MaxUint32 {
					return fmt.Errorf("%s: shape %v has an axis of more than 2^32-1", here, m.shape)
				}
			}
		}
	}
	return nil
}

const (
	superblockBytes = 96
	leafK           = 4
	chunkK          = 32 // half the entries of a node of a chunk B-tree
	// Chunks are no larger, so that readers need not hold more at a time.
	maxChunk      = 256 << 20
	deflateLevel  = 4
	smallestChunk = 256 // bytes; what is not larger is stored as it is
)

// A heapRef is where a string lies in the global heap.
type heapRef struct {
	address uint64
	index   uint32
}

// An output lays the file out, block by block, before anything is written.
type output struct {
	at      uint64 // of the next block
	blocks  [][]byte
	heap    map[*array][]heapRef
	largest int // names in the largest group
	zip     *zlib.Writer
}

// put adds a block, padded to 8 bytes, and returns its address.
func (o *output) put(b []byte) uint64 {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	at := o.at
	o.blocks = append(o.blocks, b)
	o.at += uint64(len(b))
	return at
}

var le = binary.LittleEndian

// treeK returns half the entries of the nodes of group B-trees: so many that
// one node does for every group.
func (o *output) treeK() int {
	nodes := (o.largest + 2*leafK - 1) / (2 * leafK)
	return max(16, (nodes+1)/2)
}

// placed is a group that has been laid out.
type placed struct{ header, tree, heap uint64 }

func (o *output) superblock(root placed) []byte {
	b := append([]byte(signature), 0, 0, 0, 0, 0, 8, 8, 0)
	b = le.AppendUint16(b, leafK)
	b = le.AppendUint16(b, uint16(o.treeK()))
	b = le.AppendUint32(b, 0)
	for _, v := range []uint64{0, undefined, o.at, undefined} {
		b = le.AppendUint64(b, v)
	}
	return appendEntry(b, 0, root.header, &root)
}

// appendEntry appends a symbol table entry.
func appendEntry(b []byte, name, header uint64, group *placed) []byte {
	b = le.AppendUint64(b, name)
	b = le.AppendUint64(b, header)
	if group == nil {
		return append(b, make([]byte, 24)...)
	}
	b = le.AppendUint64(b, 1)
	b = le.AppendUint64(b, group.tree)
	return le.AppendUint64(b, group.heap)
}

// strings puts all strings of the tree into collections of the global heap.
func (o *output) strings(t *Tree) {
	const (
		most = 1 << 20 // bytes of a collection that gets another string
		room = 4096    // the least size
	)
	var b []byte
	index := uint32(0)
	flush := func() {
		if b == nil {
			return
		}
		if len(b) < room {
			// The free object takes what is left, its own header included.
			left := max(16, room-len(b))
			free := make([]byte, left)
			le.PutUint64(free[8:], uint64(left))
			b = append(b, free...)
		}
		le.PutUint64(b[8:], uint64(len(b)))
		o.put(b)
		b, index = nil, 0
	}
	var walk func(t *Tree)
	walk = func(t *Tree) {
		for _, name := range slices.Sorted(maps.Keys(t.members)) {
			switch m := t.members[name].(type) {
			case *Tree:
				walk(m)
			case *array:
				if m.strings == nil {
					continue
				}
				refs := make([]heapRef, len(m.strings))
				for i, s := range m.strings {
					if s == "" {
						continue // length 0 at address 0
					}
					if len(b) > most || index == math.MaxUint16 {
						flush()
					}
					if b == nil {
						b = append([]byte("GCOL"), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
					}
					index++
					refs[i] = heapRef{o.at, index}
					b = le.AppendUint16(b, uint16(index))
					b = append(b, 1, 0, 0, 0, 0, 0)
					b = le.AppendUint64(b, uint64(len(s)))
					b = append(b, s...)
					b = append(b, make([]byte, (8-len(s)%8)%8)...)
				}
				o.heap[m] = refs
			}
		}
	}
	walk(t)
	flush()
}

// group lays out a group: its members first.
func (o *output) group(t *Tree, path string) (placed, error) {
	names := slices.Sorted(maps.Keys(t.members))
	heap := make([]byte, 8) // the empty name
	at := make([]uint64, len(names))
	var entries [][]byte
	for i, name := range names {
		at[i] = uint64(len(heap))
		heap = append(heap, name...)
		heap = append(heap, make([]byte, 8-len(name)%8)...)
		switch m := t.members[name].(type) {
		case *Tree:
			p, err := o.group(m, path+"/"+name)
			if err != nil {
				return placed{}, err
			}
			entries = append(entries, appendEntry(nil, at[i], p.header, &p))
		case *array:
			header, err := o.array(m)
			if err != nil {
				return placed{}, fmt.Errorf("%s/%s: %w", path, name, err)
			}
			entries = append(entries, appendEntry(nil, at[i], header, nil))
		}
	}
	k := o.treeK()
	if k > math.MaxUint16 {
		return placed{}, fmt.Errorf("%s: %d members in a group", path, o.largest)
	}
	segment := o.put(heap)
	b := append([]byte("HEAP"), 0, 0, 0, 0)
	for _, v := range []uint64{uint64(len(heap)), 1, segment} { // 1: nothing is free
		b = le.AppendUint64(b, v)
	}
	p := placed{heap: o.put(b)}

	tree := node(0, 24+(2*k+1)*8+2*k*8)
	tree = le.AppendUint64(tree, 0)
	children := uint16(0)
	for lo := 0; lo < len(entries); lo += 2 * leafK {
		hi := min(lo+2*leafK, len(entries))
		symbols := make([]byte, 8, 8+2*leafK*40)
		copy(symbols, "SNOD\x01")
		le.PutUint16(symbols[6:], uint16(hi-lo))
		for _, e := range entries[lo:hi] {
			symbols = append(symbols, e...)
		}
		tree = le.AppendUint64(tree, o.put(symbols[:cap(symbols)]))
		tree = le.AppendUint64(tree, at[hi-1])
		children++
	}
	le.PutUint16(tree[6:], children)
	p.tree = o.put(tree[:cap(tree)])

	table := le.AppendUint64(nil, p.tree)
	p.header = o.put(header(rawMessage{msgSymbolTable, le.AppendUint64(table, p.heap)}))
	return p, nil
}

// node begins a B-tree node of the given type and size.
func node(kind byte, size int) []byte {
	b := make([]byte, 8, size)
	copy(b, "TREE")
	b[4] = kind
	b = le.AppendUint64(b, undefined)
	return le.AppendUint64(b, undefined)
}

type rawMessage struct {
	kind uint16
	data []byte
}

// header makes an object header of version 1.
func header(messages ...rawMessage) []byte {
	var body []byte
	for _, m := range messages {
		data := append(m.data, make([]byte, (8-len(m.data)%8)%8)...)
		body = le.AppendUint16(body, m.kind)
		body = le.AppendUint16(body, uint16(len(data)))
		body = append(body, 0, 0, 0, 0)
		body = append(body, data...)
	}
	b := []byte{1, 0}
	b = le.AppendUint16(b, uint16(len(messages)))
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, uint32(len(body)))
	return append(append(b, 0, 0, 0, 0), body...)
}

// The datatype messages.
var (
	typeInt64   = []byte{0x10, 8, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0}
	typeFloat32 = []byte{0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0}
	typeFloat64 = []byte{0x11, 0x20, 63, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 0xff, 3, 0, 0}
	typeString  = []byte{0x19, 1, 1, 0, 16, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0}
)

// array lays out a data set and returns the address of its header.
func (o *output) array(a *array) (uint64, error) {
	var typ []byte
	element := 0
	switch {
	case a.floats != nil:
		typ, element = typeFloat32, 4
	case a.doubles != nil:
		typ, element = typeFloat64, 8
	case a.ints != nil:
		typ, element = typeInt64, 8
	default:
		typ, element = typeString, 16
	}
	space := []byte{1, byte(len(a.shape)), 0, 0, 0, 0, 0, 0}
	count := 1
	for _, d := range a.shape {
		space = le.AppendUint64(space, uint64(d))
		count *= d
	}
	messages := []rawMessage{{msgDataspace, space}, {msgDatatype, slices.Clone(typ)}}
	if bytes := count * element; bytes <= smallestChunk || len(a.shape) == 0 {
		layout := []byte{3, 1}
		address := uint64(undefined)
		if bytes > 0 {
			address = o.put(o.raw(a, 0, count, bytes))
		}
		layout = le.AppendUint64(layout, address)
		layout = le.AppendUint64(layout, uint64(bytes))
		messages = append(messages, rawMessage{msgFill, []byte{2, 2, 2, 1, 0, 0, 0, 0}}, rawMessage{msgLayout, layout})
		return o.put(header(messages...)), nil
	}
	rows := a.shape[0]
	row := count / rows
	perChunk := min(rows, max(1, maxChunk/(row*element)))
	dims := append([]int{perChunk}, a.shape[1:]...)
	pieces := (rows + perChunk - 1) / perChunk
	if pieces > 2*chunkK || perChunk*row*element > math.MaxUint32 {
		return 0, fmt.Errorf("%d values of %d bytes are more than %d chunks of %d bytes", count, element, 2*chunkK, maxChunk)
	}
	rank := len(a.shape)
	tree := node(1, 24+(2*chunkK+1)*(8+8*(rank+1))+2*chunkK*8)
	le.PutUint16(tree[6:], uint16(pieces))
	key := func(size uint32, first int) {
		tree = le.AppendUint32(tree, size)
		tree = le.AppendUint32(tree, 0)
		tree = le.AppendUint64(tree, uint64(first))
		tree = append(tree, make([]byte, 8*rank)...)
	}
	for i := range pieces {
		lo, hi := i*perChunk, min((i+1)*perChunk, rows)
		packed, err := o.deflate(o.raw(a, lo*row, hi*row, perChunk*row*element))
		if err != nil {
			return 0, err
		}
		key(uint32(len(packed)), lo)
		tree = le.AppendUint64(tree, o.put(packed))
	}
	// The last key is where the next chunk would be: the dims, then the element.
	tree = le.AppendUint64(tree, 0)
	tree = le.AppendUint64(tree, uint64(pieces*perChunk))
	for _, d := range a.shape[1:] {
		tree = le.AppendUint64(tree, uint64(d))
	}
	tree = le.AppendUint64(tree, uint64(element))
	address := o.put(tree[:cap(tree)])

	filter := []byte{1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 1, 0, 1, 0}
	filter = append(filter, "deflate\x00"...)
	filter = append(filter, deflateLevel, 0, 0, 0, 0, 0, 0, 0)
	layout := le.AppendUint64([]byte{3, 2, byte(rank + 1)}, address)
	for _, d := range append(dims, element) {
		layout = le.AppendUint32(layout, uint32(d))
	}
	messages = append(messages, rawMessage{msgFill, []byte{2, 3, 2, 1, 0, 0, 0, 0}},
		rawMessage{msgFilters, filter}, rawMessage{msgLayout, layout})
	return o.put(header(messages...)), nil
}

// raw returns the elements lo to hi as bytes, zeros up to size behind them.
func (o *output) raw(a *array, lo, hi, size int) []byte {
	b := make([]byte, 0, size)
	switch {
	case a.floats != nil:
		for _, v := range a.floats[lo:hi] {
			b = le.AppendUint32(b, math.Float32bits(v))
		}
	case a.doubles != nil:
		for _, v := range a.doubles[lo:hi] {
			b = le.AppendUint64(b, math.Float64bits(v))
		}
	case a.ints != nil:
		for _, v := range a.ints[lo:hi] {
			b = le.AppendUint64(b, uint64(v))
		}
	default:
		for i, r := range o.heap[a][lo:hi] {
			b = le.AppendUint32(b, uint32(len(a.strings[lo+i])))
			b = le.AppendUint64(b, r.address)
			b = le.AppendUint32(b, r.index)
		}
	}
	return b[:size]
}

// deflate compresses a chunk. The compressor's tables are large, so there is one.
func (o *output) deflate(b []byte) ([]byte, error) {
	var out bytes.Buffer
	if o.zip == nil {
		var err error
		if o.zip, err = zlib.NewWriterLevel(&out, deflateLevel); err != nil {
			return nil, err
		}
	} else {
		o.zip.Reset(&out)
	}
	if _, err := o.zip.Write(b); err != nil {
		return nil, err
	}
	if err := o.zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
