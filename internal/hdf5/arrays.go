package hdf5

import "math/bits"

// An arrayHead is what the headers of both array indexes begin with.
type arrayHead struct {
	c        *cursor
	filtered bool
	entry    int // bytes of an element
}

// element decodes an array element: the address of a chunk and, with filters,
// its stored size and filter mask.
func (h *arrayHead) element(s *chunks, c *cursor) chunkRef {
	ref := chunkRef{address: c.u64(), size: int64(s.bytes)}
	if h.filtered {
		ref.size = int64(min(c.number(h.entry-12), 1<<62))
		ref.mask = c.u32()
	}
	return ref
}

// checked reads a block of the array indexes: signature, version 0, client, and
// the checksum in its last 4 bytes, which are cut off.
func (s *chunks) checked(address uint64, length int64, sig string) (*cursor, error) {
	f := s.d.f
	c, err := f.block(address, length, "chunk index "+sig)
	if err != nil {
		return nil, err
	}
	if length < 10 || string(c.b[:4]) != sig || c.b[4] != 0 {
		return nil, f.bad(c.at, "chunk index begins with %q, want %s and version 0", c.b[:min(5, len(c.b))], sig)
	}
	if err := c.checksum(); err != nil {
		return nil, err
	}
	c.skip(6)
	return c, nil
}

// checksum checks and cuts off the last 4 bytes of the block.
func (c *cursor) checksum() error {
	end := len(c.b) - 4
	want := (&cursor{f: c.f, b: c.b[end:], at: c.at}).u32()
	if got := lookup3(c.b[:end]); got != want {
		return c.f.bad(c.at, "checksum %08x, computed %08x", want, got)
	}
	c.b = c.b[:end]
	return nil
}

// head checks the client and the element size.
func (s *chunks) head(c *cursor) (arrayHead, error) {
	h := arrayHead{c: c, filtered: c.b[5] == 1, entry: int(c.u8())}
	if c.b[5] > 1 || h.filtered != (len(s.filters) > 0) || (!h.filtered && h.entry != 8) || (h.filtered && (h.entry < 13 || h.entry > 20)) {
		return h, s.d.f.bad(c.at, "chunk index of client %d with elements of %d bytes, %d filters", c.b[5], h.entry, len(s.filters))
	}
	return h, nil
}

// fill enters the elements of a block, of which the first has number first.
func (s *chunks) fillFrom(h *arrayHead, c *cursor, first, n int) error {
	at := make([]int, len(s.dims))
	for i := range n {
		ref := h.element(s, c)
		if c.err != nil {
			return c.err
		}
		if ref.address == undefined || !s.position(first+i, at) {
			continue
		}
		if err := s.put(at, ref); err != nil {
			return err
		}
	}
	return nil
}

// pages enters the n elements of pages that follow each other at address, where
// bit bit+i of the map (most significant first) says that page i is in use.
func (s *chunks) pages(h *arrayHead, address uint64, used []byte, bit, first, n, perPage int) error {
	for page := bit; n > 0; page++ {
		count := min(n, perPage)
		size := int64(count*h.entry + 4)
		if page/8 < len(used) && used[page/8]>>(7-page%8)&1 != 0 {
			c, err := s.d.f.block(address, size, "page of a chunk index")
			if err != nil {
				return err
			}
			if err := c.checksum(); err != nil {
				return err
			}
			if err := s.fillFrom(h, c, first, count); err != nil {
				return err
			}
		}
		address += uint64(size)
		first += count
		n -= count
	}
	return nil
}

// fixedArray reads the index of a data set whose axes all have a limit.
func (s *chunks) fixedArray(address uint64) error {
	if address == undefined {
		return nil
	}
	f := s.d.f
	c, err := s.checked(address, 28, "FAHD")
	if err != nil {
		return err
	}
	h, err := s.head(c)
	if err != nil {
		return err
	}
	pageBits := c.u8()
	n, block := c.u64(), c.u64()
	if c.err != nil {
		return c.err
	}
	if n > uint64(f.size) || n != uint64(s.total()) || pageBits > 30 {
		return f.bad(c.at, "chunk index for %d chunks in pages of 2^%d, want %d chunks", n, pageBits, s.total())
	}
	if block == undefined {
		return nil
	}
	count, perPage := int(n), 1<<pageBits
	if count <= perPage {
		c, err := s.checked(block, int64(14+count*h.entry+4), "FADB")
		if err != nil {
			return err
		}
		c.skip(8)
		return s.fillFrom(&h, c, 0, count)
	}
	bitmap := ((count+perPage-1)/perPage + 7) / 8
	if c, err = s.checked(block, int64(14+bitmap+4), "FADB"); err != nil {
		return err
	}
	c.skip(8)
	return s.pages(&h, block+uint64(14+bitmap+4), c.take(bitmap), 0, 0, count, perPage)
}

// An extensible holds the numbers of an extensible array's header.
type extensible struct {
	arrayHead
	offset                         int // bytes of a block's offset
	inIndex, minBlock, minPointers int
	perPage                        int
	stored                         int // elements up to the last that was set
}

// extensibleArray reads the index of a data set with one axis without limit:
// elements in the index block, then in data blocks that double in size now and
// then, the first of them listed in the index block, later ones in super
// blocks.
func (s *chunks) extensibleArray(address uint64) error {
	if address == undefined {
		return nil
	}
	f := s.d.f
	c, err := s.checked(address, 12+6*8+8+4, "EAHD")
	if err != nil {
		return err
	}
	e := extensible{}
	if e.arrayHead, err = s.head(c); err != nil {
		return err
	}
	maxBits := int(c.u8())
	e.inIndex, e.minBlock, e.minPointers = int(c.u8()), int(c.u8()), int(c.u8())
	pageBits := c.u8()
	c.skip(4 * 8)
	stored := c.u64()
	c.skip(8)
	index := c.u64()
	if c.err != nil {
		return c.err
	}
	power := func(n int) bool { return n > 0 && n&(n-1) == 0 }
	if maxBits > 64 || pageBits > 30 || !power(e.minBlock) || !power(e.minPointers) || stored > uint64(f.size) {
		return f.bad(c.at, "chunk index of 2^%d elements, blocks of %d, %d pointers, pages of 2^%d, %d stored",
			maxBits, e.minBlock, e.minPointers, pageBits, stored)
	}
	if index == undefined {
		return nil
	}
	e.offset, e.perPage, e.stored = (maxBits+7)/8, 1<<pageBits, int(stored)
	supers := 1 + maxBits - bits.Len(uint(e.minBlock)) + 1
	direct := 2 * (bits.Len(uint(e.minPointers)) - 1) // super blocks whose data blocks the index block lists
	pointers := 2 * (e.minPointers - 1)
	if supers < direct {
		return f.bad(c.at, "chunk index of 2^%d elements with %d pointers", maxBits, e.minPointers)
	}
	if c, err = s.checked(index, int64(14+e.inIndex*e.entry+8*pointers+8*(supers-direct)+4), "EAIB"); err != nil {
		return err
	}
	c.skip(8)
	if err := s.fillFrom(&e.arrayHead, c, 0, min(e.inIndex, e.stored)); err != nil {
		return err
	}
	c.pos = 14 + e.inIndex*e.entry
	first := e.inIndex
	for u := range supers {
		blocks, size := 1<<(u/2), e.minBlock<<((u+1)/2)
		if first >= e.stored {
			return nil
		}
		if u < direct {
			for range blocks {
				if err := s.dataBlock(&e, c.u64(), nil, 0, first, size); err != nil {
					return err
				}
				first += size
			}
			continue
		}
		if err := s.superBlock(&e, c.u64(), first, blocks, size); err != nil {
			return err
		}
		first += blocks * size
	}
	return c.err
}

func (s *chunks) superBlock(e *extensible, address uint64, first, blocks, size int) error {
	if address == undefined {
		return nil
	}
	bitmap := 0 // bytes per data block
	if size > e.perPage {
		bitmap = (size/e.perPage + 7) / 8
	}
	c, err := s.checked(address, int64(14+e.offset)+int64(blocks)*int64(bitmap+8)+4, "EASB")
	if err != nil {
		return err
	}
	c.skip(8 + e.offset)
	used := c.take(blocks * bitmap)
	for i := range blocks {
		if first >= e.stored {
			return nil
		}
		if err := s.dataBlock(e, c.u64(), used, i*(size/e.perPage), first, size); err != nil {
			return err
		}
		first += size
	}
	return c.err
}

// dataBlock enters a block of size elements, of which only those that were set
// matter. Its pages, if it has any, are those from bit on in the map.
func (s *chunks) dataBlock(e *extensible, address uint64, used []byte, bit, first, size int) error {
	if address == undefined || first >= e.stored {
		return nil
	}
	prefix := 14 + e.offset
	if size > e.perPage {
		if _, err := s.checked(address, int64(prefix+4), "EADB"); err != nil {
			return err
		}
		return s.pages(&e.arrayHead, address+uint64(prefix+4), used, bit, first, size, e.perPage)
	}
	c, err := s.checked(address, int64(prefix+size*e.entry+4), "EADB")
	if err != nil {
		return err
	}
	c.skip(8 + e.offset)
	return s.fillFrom(&e.arrayHead, c, first, min(size, e.stored-first))
}
