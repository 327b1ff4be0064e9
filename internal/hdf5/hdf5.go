// Package hdf5 reads and writes the part of the HDF5 file format that NIR graphs,
// event recordings and Keras weights use: groups of numeric, string and compound
// data sets, contiguous, compact or chunked, with the usual filters.
//
//	f, err := hdf5.OpenFile("events.h5")
//	defer f.Close()
//	x, err := f.Root().Dataset("events/x")
//	err = x.ReadRowsInt64(0, 1000, dst) // the first thousand values
//
// It reads superblocks 0 to 3, object headers 1 and 2, groups stored as symbol
// tables or as link messages, and chunk indexes of all kinds but the version-2
// B-tree. What it does not read (dense groups, shared messages, external
// storage, virtual data sets, soft and external links, other filters) is
// refused by name with fileerr.ErrUnsupported; what is malformed is a
// *fileerr.FormatError. Files are untrusted: no length or count of a file is
// believed before it has been checked against the bytes that are there.
//
// A File and what is reached through it must not be used by several goroutines
// at a time.
//
// Source: HDF5 File Format Specification, version 3.0.
package hdf5

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/adafire/adafire/internal/fileerr"
)

// ErrNotFound marks a group, data set or attribute that is not there.
var ErrNotFound = errors.New("not found")

const (
	signature = "\x89HDF\r\n\x1a\n"
	undefined = math.MaxUint64 // address of what has not been stored
	maxDepth  = 32             // groups within groups
	maxNodes  = 1 << 20        // names in a group
)

// A File is an open HDF5 file.
type File struct {
	r     io.ReaderAt
	size  int64
	path  string
	base  int64 // where the superblock is; addresses count from here
	root  *Group
	close func() error

	heaps     map[int64]*collection // global heap collections read so far
	heapBytes int64
	// The most entries of the nodes of a group's B-tree and of its symbol nodes.
	treeEntries, symbolEntries int
}

// Open reads the superblock of a file of size bytes. name is used in messages.
func Open(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{r: r, size: size, path: name, heaps: make(map[int64]*collection), treeEntries: 1 << 16, symbolEntries: 1 << 16}
	if err := f.superblock(); err != nil {
		return nil, err
	}
	return f, nil
}

// OpenFile opens the file at path.
func OpenFile(path string) (*File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := r.Stat()
	if err != nil {
		r.Close()
		return nil, err
	}
	if !info.Mode().IsRegular() {
		r.Close()
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := Open(r, info.Size(), path)
	if err != nil {
		r.Close()
		return nil, err
	}
	f.close = r.Close
	return f, nil
}

// Close closes a file that OpenFile opened; other files it leaves alone.
func (f *File) Close() error {
	if f.close == nil {
		return nil
	}
	return f.close()
}

// Root returns the group that holds everything else.
func (f *File) Root() *Group { return f.root }

// Path returns the name the file was opened under.
func (f *File) Path() string { return f.path }

// bad reports a defect at a file offset.
func (f *File) bad(at int64, format string, args ...any) error {
	return fileerr.New(f.path, at, format, args...)
}

// unsupported reports what the package does not read.
func (f *File) unsupported(format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", f.path, fmt.Sprintf(format, args...), fileerr.ErrUnsupported)
}

// inside turns an address and a length of the file into an offset, if both lie
// in the file.
func (f *File) inside(address uint64, length int64, what string) (int64, error) {
	room := f.size - f.base
	if address > uint64(room) || length < 0 || length > room-int64(address) {
		return 0, f.bad(-1, "%s at address %d with %d bytes is not inside the file of %d bytes", what, address, length, f.size)
	}
	return f.base + int64(address), nil
}

// block reads length bytes at an address.
func (f *File) block(address uint64, length int64, what string) (*cursor, error) {
	at, err := f.inside(address, length, what)
	if err != nil {
		return nil, err
	}
	b := make([]byte, length)
	if err := f.readAt(b, at, what); err != nil {
		return nil, err
	}
	return &cursor{f: f, b: b, at: at}, nil
}

func (f *File) readAt(b []byte, at int64, what string) error {
	if n, err := f.r.ReadAt(b, at); n < len(b) {
		if err == nil || err == io.EOF {
			return f.bad(at, "%s: file ends after %d of %d bytes", what, n, len(b))
		}
		return fmt.Errorf("%s: %s: %w", f.path, what, err)
	}
	return nil
}

// superblock finds and reads the superblock: at the start of the file, or
// behind a user block of 512, 1024, ... bytes.
func (f *File) superblock() error {
	var sig [8]byte
	found := false
	for at := int64(0); at+8 <= f.size; at = max(512, 2*at) {
		if err := f.readAt(sig[:], at, "superblock"); err != nil {
			return err
		}
		if string(sig[:]) == signature {
			f.base, found = at, true
			break
		}
	}
	if !found {
		return f.bad(0, "no HDF5 file: signature not found")
	}
	head, err := f.block(0, min(128, f.size-f.base), "superblock")
	if err != nil {
		return err
	}
	head.skip(8)
	version := head.u8()
	switch {
	case head.err != nil:
		return head.err
	case version <= 1:
		err = f.superblock0(head, version)
	case version <= 3:
		err = f.superblock2(head)
	default:
		err = f.unsupported("superblock version %d, want 0 to 3", version)
	}
	return err
}

func (f *File) sizes(c *cursor) error {
	offsets, lengths := c.u8(), c.u8()
	if c.err == nil && (offsets != 8 || lengths != 8) {
		return f.unsupported("offsets of %d and lengths of %d bytes, want 8", offsets, lengths)
	}
	return c.err
}

// ends checks the file's end and base as the superblock tells them.
func (f *File) ends(c *cursor, base, eof uint64) error {
	if c.err != nil {
		return c.err
	}
	if base != 0 && base != uint64(f.base) {
		return f.bad(c.at, "base address %d, superblock at %d", base, f.base)
	}
	if base == 0 {
		f.base = 0 // addresses count from the start of the file
	}
	if eof > uint64(f.size) {
		return f.bad(c.at, "the superblock says that the file ends at %d, but it has %d bytes", eof, f.size)
	}
	return nil
}

func (f *File) superblock0(c *cursor, version uint8) error {
	c.skip(4) // versions of parts, reserved
	if err := f.sizes(c); err != nil {
		return err
	}
	c.skip(1)
	f.symbolEntries, f.treeEntries = 2*int(c.u16()), 2*int(c.u16())
	c.skip(4)
	if version == 1 {
		c.skip(4)
	}
	base := c.u64()
	c.skip(8)
	eof := c.u64()
	c.skip(8 + 8) // driver information, name of the root
	header := c.u64()
	if err := f.ends(c, base, eof); err != nil {
		return err
	}
	f.root = &Group{f: f, path: "/", address: header}
	return f.root.load()
}

func (f *File) superblock2(c *cursor) error {
	if err := f.sizes(c); err != nil {
		return err
	}
	c.skip(1)
	base := c.u64()
	c.skip(8) // superblock extension
	eof := c.u64()
	header := c.u64()
	end := c.pos
	sum := c.u32()
	if err := f.ends(c, base, eof); err != nil {
		return err
	}
	if got := lookup3(c.b[:end]); got != sum {
		return f.bad(c.at, "superblock checksum %08x, computed %08x", sum, got)
	}
	f.root = &Group{f: f, path: "/", address: header}
	return f.root.load()
}

// A cursor reads numbers from a block of the file. The first error stays, and
// everything read after it is 0.
type cursor struct {
	f   *File
	b   []byte
	at  int64 // file offset of b
	pos int
	err error
}

func (c *cursor) left() int { return len(c.b) - c.pos }

// take returns the next n bytes, which are not copied.
func (c *cursor) take(n int) []byte {
	if c.err == nil && (n < 0 || n > c.left()) {
		c.err = c.f.bad(c.at+int64(c.pos), "%d bytes wanted, %d left in the block", n, c.left())
	}
	if c.err != nil {
		return nil
	}
	b := c.b[c.pos : c.pos+n]
	c.pos += n
	return b
}

func (c *cursor) skip(n int) { c.take(n) }

// number reads a little-endian number of n bytes, at most 8.
func (c *cursor) number(n int) uint64 {
	var b [8]byte
	copy(b[:], c.take(n))
	return binary.LittleEndian.Uint64(b[:])
}

func (c *cursor) u8() uint8   { return uint8(c.number(1)) }
func (c *cursor) u16() uint16 { return uint16(c.number(2)) }
func (c *cursor) u32() uint32 { return uint32(c.number(4)) }
func (c *cursor) u64() uint64 { return c.number(8) }

// sub returns a cursor on the next n bytes.
func (c *cursor) sub(n int) *cursor {
	at := c.at + int64(c.pos)
	return &cursor{f: c.f, b: c.take(n), at: at, err: c.err}
}

// text reads a NUL-terminated name; with align 8 its bytes, the NUL included,
// are padded to a multiple of 8.
func (c *cursor) text(align int) string {
	if c.err != nil {
		return ""
	}
	n := bytes.IndexByte(c.b[c.pos:], 0)
	if n < 0 {
		c.err = c.f.bad(c.at+int64(c.pos), "name without an end")
		return ""
	}
	s := string(c.take(n))
	c.skip((n/align+1)*align - n)
	return s
}

// fail sets the error, unless there is one.
func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = c.f.bad(c.at+int64(c.pos), format, args...)
	}
}
