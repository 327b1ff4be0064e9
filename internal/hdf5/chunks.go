package hdf5

import (
	"math/bits"
	"slices"
)

// A chunkRef says where a chunk is stored.
type chunkRef struct {
	address uint64
	size    int64  // bytes as stored
	mask    uint32 // bit k: filter k was left out
}

// chunks is a source stored in pieces of equal shape. Pieces at the far edges
// reach over the data set's edges.
type chunks struct {
	d       *Dataset
	dims    []int // shape of a chunk
	grid    []int // chunks along each axis
	bytes   int   // of a chunk, without filters
	filters []filterSpec
	fill    []byte
	edges   bool // chunks over the edges have no filters
	index   map[int]chunkRef
	build   func(*chunks) error // reads the index, at first use

	box  []int  // scratch of copyChunk
	last int    // the chunk in data, -1 for none
	data []byte // nil where that chunk is not stored
}

// chunked makes the source of a layout with chunks of dims, whose last number
// is the size of an element. build reads the index.
func (d *Dataset) chunked(c *cursor, dims []int, filters []filterSpec, fill []byte, edges bool, build func(*chunks) error) (source, error) {
	if c.err != nil {
		return nil, c.err
	}
	rank := len(d.space.dims)
	if len(dims) != rank+1 || dims[rank] != d.typ.Size {
		return nil, d.f.bad(c.at, "chunk %v for shape %v of elements of %d bytes", dims, d.space.dims, d.typ.Size)
	}
	if rank == 0 || d.space.null {
		return nil, d.f.bad(c.at, "a scalar in chunks")
	}
	s := &chunks{d: d, dims: dims[:rank], bytes: 1, filters: filters, fill: fill, edges: edges, build: build, box: make([]int, 3*rank), last: -1}
	for i, n := range dims {
		if n < 1 || s.bytes > MaxRead/n {
			return nil, d.f.bad(c.at, "chunk of %v, the last number for the bytes of an element: want 1 to %d bytes", dims, MaxRead)
		}
		s.bytes *= n
		if i < rank {
			s.grid = append(s.grid, (d.space.dims[i]+n-1)/n)
		}
	}
	return s, nil
}

// load reads the index, once.
func (s *chunks) load() error {
	if s.index != nil {
		return nil
	}
	s.index = make(map[int]chunkRef)
	if s.d.space.count == 0 {
		return nil
	}
	err := s.build(s)
	if err != nil {
		s.index = nil
	}
	return err
}

// put enters a chunk that begins at the given chunk coordinates.
func (s *chunks) put(at []int, ref chunkRef) error {
	if ref.address == undefined {
		return nil
	}
	linear := 0
	for i, x := range at {
		if x >= s.grid[i] {
			return nil // left behind when the data set shrank
		}
		linear = linear*s.grid[i] + x
	}
	if _, twice := s.index[linear]; twice {
		return s.d.f.bad(-1, "chunk %v is stored twice", at)
	}
	s.index[linear] = ref
	return nil
}

func (s *chunks) supply() (int64, error) {
	err := s.load()
	return int64(len(s.index)) * int64(s.bytes), err
}

// fetch makes the chunk the current one; nil is a chunk that is not stored.
func (s *chunks) fetch(linear int, partial bool) ([]byte, error) {
	if s.last == linear {
		return s.data, nil
	}
	s.last, s.data = -1, nil
	ref, stored := s.index[linear]
	if stored {
		f := s.d.f
		c, err := f.block(ref.address, ref.size, "chunk")
		if err != nil {
			return nil, err
		}
		filters := s.filters
		if partial && s.edges {
			filters = nil
		}
		if s.data, err = f.unfilter(c.b, filters, ref.mask, s.bytes); err != nil {
			return nil, err
		}
	}
	s.last = linear
	return s.data, nil
}

func (s *chunks) rows(dst []byte, lo, hi int) error {
	if err := s.load(); err != nil {
		return err
	}
	rank := len(s.dims)
	low := make([]int, rank)     // first and last chunk of the window, per axis
	high := slices.Clone(s.grid) // without
	from := make([]int, rank)    // of the window
	to := slices.Clone(s.d.space.dims)
	from[0], to[0] = lo, hi
	low[0], high[0] = lo/s.dims[0], (hi+s.dims[0]-1)/s.dims[0]
	at := slices.Clone(low)
	for {
		if err := s.copyChunk(dst, at, from, to); err != nil {
			return err
		}
		i := rank - 1
		for ; i >= 0; i-- {
			if at[i]++; at[i] < high[i] {
				break
			}
			at[i] = low[i]
		}
		if i < 0 {
			return nil
		}
	}
}

// copyChunk copies what the chunk at chunk coordinates at has of the window
// from..to to dst, which holds the window.
func (s *chunks) copyChunk(dst []byte, at, from, to []int) error {
	rank := len(at)
	linear, partial := 0, false
	lo, hi, p := s.box[:rank], s.box[rank:2*rank], s.box[2*rank:] // the common box, a position in it
	for i, x := range at {
		linear = linear*s.grid[i] + x
		lo[i], hi[i] = max(x*s.dims[i], from[i]), min((x+1)*s.dims[i], to[i])
		partial = partial || (x+1)*s.dims[i] > s.d.space.dims[i]
	}
	data, err := s.fetch(linear, partial)
	if err != nil {
		return err
	}
	element := s.d.typ.Size
	// Axes that the chunk has whole are copied together with the one before them.
	last := rank - 1
	run := element
	for last > 0 && s.dims[last] == s.d.space.dims[last] {
		run *= s.dims[last]
		last--
	}
	run *= hi[last] - lo[last]
	copy(p, lo)
	for {
		src, to0 := 0, 0
		for i := range p {
			src = src*s.dims[i] + p[i] - at[i]*s.dims[i]
			to0 = to0*(to[i]-from[i]) + p[i] - from[i]
		}
		part := dst[to0*element : to0*element+run]
		if data == nil {
			fillWith(part, s.fill)
		} else {
			copy(part, data[src*element:])
		}
		i := last - 1
		for ; i >= 0; i-- {
			if p[i]++; p[i] < hi[i] {
				break
			}
			p[i] = lo[i]
		}
		if i < 0 {
			return nil
		}
	}
}

// fromTree reads a version-1 B-tree of chunks.
func (s *chunks) fromTree(address uint64) error {
	if address == undefined {
		return nil
	}
	rank := len(s.dims)
	at := make([]int, rank)
	key := 8 + 8*(rank+1)
	return s.d.f.btree(address, 1, key, func(c *cursor, level int) error {
		if level > 0 {
			return nil
		}
		c.pos -= key
		ref := chunkRef{size: int64(c.u32()), mask: c.u32()}
		for i := range at {
			x := c.u64()
			if x%uint64(s.dims[i]) != 0 {
				c.fail("chunk begins at %d on axis %d, want a multiple of %d", x, i, s.dims[i])
			}
			at[i] = int(min(x/uint64(s.dims[i]), 1<<62))
		}
		c.skip(8)
		ref.address = c.u64()
		if c.err != nil {
			return c.err
		}
		return s.put(at, ref)
	})
}

// chunked4 decodes what version 4 of the layout message says of chunks.
func (d *Dataset) chunked4(c *cursor, filters []filterSpec, fill []byte) (source, error) {
	flags, rank, width := c.u8(), int(c.u8()), int(c.u8())
	if c.err == nil && (width < 1 || width > 8) {
		return nil, d.f.bad(c.at, "chunk dimensions of %d bytes", width)
	}
	dims := c.dims(rank, width)
	kind := c.u8()
	edges := flags&1 != 0
	var build func(*chunks) error
	switch kind {
	case 1:
		ref := chunkRef{}
		if flags&2 != 0 {
			ref.size, ref.mask = int64(min(c.u64(), 1<<62)), c.u32()
		}
		ref.address = c.u64()
		build = func(s *chunks) error {
			if flags&2 == 0 {
				ref.size = int64(s.bytes)
			}
			return s.put(make([]int, len(s.dims)), ref)
		}
	case 2:
		address := c.u64()
		build = func(s *chunks) error { return s.implicit(address) }
	case 3:
		c.skip(1)
		address := c.u64()
		build = func(s *chunks) error { return s.fixedArray(address) }
	case 4:
		c.skip(5)
		address := c.u64()
		build = func(s *chunks) error { return s.extensibleArray(address) }
	case 5:
		return nil, d.f.unsupported("offset %d: chunks in a version-2 B-tree (more than one axis without limit)", c.at)
	default:
		if c.err == nil {
			return nil, d.f.unsupported("offset %d: chunk index of type %d", c.at, kind)
		}
	}
	return d.chunked(c, dims, filters, fill, edges, build)
}

// position turns the number of a chunk in an array index into coordinates: the
// last axis runs fastest, but for one without limit, which runs slowest. False
// is a number outside of the data set.
func (s *chunks) position(number int, at []int) bool {
	rank := len(s.dims)
	order := make([]int, 0, rank)
	for i, n := range s.d.space.limit {
		if n < 0 {
			order = append([]int{i}, order...)
		} else {
			order = append(order, i)
		}
	}
	if s.d.space.limit == nil {
		for i := range rank {
			order = append(order, i)
		}
	}
	for k := rank - 1; k >= 0; k-- {
		i := order[k]
		n := s.grid[i]
		if s.d.space.limit != nil {
			if n = (s.d.space.limit[i] + s.dims[i] - 1) / s.dims[i]; s.d.space.limit[i] < 0 {
				n = 1 << 62
			}
		}
		if k == 0 {
			n = 1 << 62
		}
		at[i] = number % n
		number /= n
	}
	for i, x := range at {
		if x >= s.grid[i] {
			return false
		}
	}
	return true
}

// total returns the number of chunks that an array index has room for.
func (s *chunks) total() int {
	n := 1
	for i, limit := range s.d.space.limit {
		m := s.grid[i]
		if limit >= 0 {
			m = (limit + s.dims[i] - 1) / s.dims[i]
		}
		hi, lo := bits.Mul64(uint64(n), uint64(m))
		if hi != 0 || lo > 1<<50 {
			return 1 << 50
		}
		n = int(lo)
	}
	if s.d.space.limit == nil {
		for _, m := range s.grid {
			hi, lo := bits.Mul64(uint64(n), uint64(m))
			if hi != 0 || lo > 1<<50 {
				return 1 << 50
			}
			n = int(lo)
		}
	}
	return n
}

// implicit enters chunks that lie one behind the other, without filters.
func (s *chunks) implicit(address uint64) error {
	if address == undefined {
		return nil
	}
	if len(s.filters) > 0 {
		return s.d.f.bad(-1, "filters on chunks without an index")
	}
	n := s.total()
	if n > 1<<50/s.bytes {
		return s.d.f.bad(-1, "%d chunks of %d bytes", n, s.bytes)
	}
	if _, err := s.d.f.inside(address, int64(n)*int64(s.bytes), "chunks"); err != nil {
		return err
	}
	at := make([]int, len(s.dims))
	for i := range n {
		if !s.position(i, at) {
			continue
		}
		if err := s.put(at, chunkRef{address: address + uint64(i)*uint64(s.bytes), size: int64(s.bytes)}); err != nil {
			return err
		}
	}
	return nil
}
