package kernel

import (
	"fmt"
	"unsafe"
)

const (
	// intEventCols is the number of output channels that the event kernel sums
	// at a time; intEventInputs is up to how many input channels it takes, so that
	// their weights under one kernel row stay in the first cache, if they have 8
	// bits, and half as many if they have 16.
	intEventCols   = 64
	intEventInputs = 128
	// intGroup is how many counts are listed at a time.
	intGroup = 8
	// intEventBand is about how many input counts are listed before their events
	// are added up.
	intEventBand = 1 << 17
)

// intEventShare is from which share of non-zero counts on kernel rows are the
// outermost loop.
const intEventShare = 0.06

// IntEventFilter holds the weights of an integer convolution that spends time
// on non-zero counts only. The sums are those of the dense kernels, bit for bit.
type IntEventFilter struct {
	shape  ConvShape
	bits   int
	lo, hi int
	blocks int // of input channels
	cin    int // input channels of a block
	cols   int // blocks of 64 output channels
	signed bool

	// [cols][blocks][KH][signs][KW*cin] rows of 64 weights, zero-padded. The
	// second sign, for negative counts and weights of 8 bits, has the weights
	// negated: products of bytes take no negative counts.
	w8  []int8
	w16 []int16

	// limit is how many events the 16-bit sums of the byte kernel may take
	// before they are added to those of 32 bits; weights of 16 bits have no such
	// sums and no limit.
	limit int
}

// NewIntEventFilter packs w [KH, KW, Cin, Cout] for ConvIntEventRows of counts
// from minCount to maxCount, which include 0. It returns nil if that cannot
// take the convolution: several groups, dilated columns, counts beyond -128..129
// (for weights of 8 bits) or beyond -255..255 (16 bits), or a weight of 8 bits
// that has no negative.
func NewIntEventFilter[W IntWeight](s ConvShape, w []W, minCount, maxCount int) *IntEventFilter {
	s.check("NewIntEventFilter", -1, -1, len(w))
	bits := weightBits[W]()
	least := W(-1) << (bits - 1)
	most := 255
	if bits == 8 {
		most = 129 // a pair of products then fits 16 bits: 2*127*129
	}
	if s.Groups != 1 || s.DilW != 1 || minCount > 0 || maxCount < 0 || maxCount > most || -minCount > most {
		return nil
	}
	var largest int
	for _, v := range w {
		if v == least && bits == 8 {
			return nil
		}
		largest = max(largest, int(v), -int(v))
	}
	f := &IntEventFilter{shape: s, bits: bits, lo: minCount, hi: maxCount, signed: minCount < 0,
		cols: (s.Cout + intEventCols - 1) / intEventCols}
	inputs := intEventInputs * 8 / bits
	f.blocks = (s.Cin + inputs - 1) / inputs
	f.cin = (s.Cin + f.blocks - 1) / f.blocks
	if s.Cin%intGroup == 0 {
		f.cin = (f.cin + intGroup - 1) &^ (intGroup - 1)
		f.blocks = (s.Cin + f.cin - 1) / f.cin
	}
	f.limit = 1 << 30
	if per := largest * max(maxCount, -minCount); per > 0 && bits == 8 {
		f.limit = max(2, 32767/per) &^ 1
	}
	if bits == 8 {
		f.w8 = packIntEvents(f, w, func(v W) int8 { return int8(v) })
	} else {
		f.w16 = packIntEvents(f, w, func(v W) int16 { return int16(v) })
	}
	return f
}

// rowWeights is the number of weight rows under one kernel row, of one sign.
func (f *IntEventFilter) rowWeights() int { return f.shape.KW * f.cin }

func (f *IntEventFilter) signs() int {
	if f.signed && f.bits == 8 {
		return 2
	}
	return 1
}

func packIntEvents[W IntWeight, P int8 | int16](f *IntEventFilter, w []W, convert func(W) P) []P {
	s := f.shape
	out := make([]P, f.cols*f.blocks*s.KH*f.signs()*f.rowWeights()*intEventCols)
	pos := 0
	for col := 0; col < s.Cout; col += intEventCols {
		cols := min(intEventCols, s.Cout-col)
		for b := range f.blocks {
			for kh := range s.KH {
				for sign := range f.signs() {
					for kw := range s.KW {
						for c := range f.cin {
							if ci := b*f.cin + c; ci < s.Cin {
								for j, v := range w[((kh*s.KW+kw)*s.Cin+ci)*s.Cout+col:][:cols] {
									p := convert(v)
									if sign == 1 {
										p = -p
									}
									out[pos+f.lane(j)] = p
								}
							}
							pos += intEventCols
						}
					}
				}
			}
		}
	}
	return out
}

// lane is where a row of weights holds output channel j: so that interleaving
// two rows, which works on the halves of a vector, leaves the sums in order.
// The inverse is the same.
func (f *IntEventFilter) lane(j int) int { return intEventLane(f.bits, j) }

func intEventLane(bits, j int) int {
	quarter := 64 / bits // channels in a quarter of a vector of 32 bytes
	switch j / quarter % 4 {
	case 1:
		return j + quarter
	case 2:
		return j - quarter
	}
	return j
}

// intEventScratch is the events of a band of input rows: for each row, block of
// channels and pixel a stretch of entries.
type intEventScratch struct {
	start []int32 // [rows][blocks][W+1]
	row   []int32 // of an entry: (pixel*cin+channel)*64, and where its sign's weights begin
	count []uint8 // of an entry, for weights of 8 bits: its magnitude
	wide  []int16 // of an entry, for weights of 16 bits: the count
	sums  []int32 // of a row of outputs and 64 channels
}

// ConvIntEventRows is ConvIntRows by way of the events: the same contract and
// the same sums. Its time grows with the number of non-zero counts; IntCrossover
// tells from which share of them on the dense kernel is faster.
func ConvIntEventRows[C uint8 | int8](s ConvShape, x []C, f *IntEventFilter, lo, hi int, y []int32, accumulate bool, sc *IntScratch) {
	s.check("ConvIntEventRows", len(x), -1, -1)
	sameFilter(f.shape, s, "ConvIntEventRows", false)
	outH, outW := s.OutH(), s.OutW()
	if lo < 0 || hi < lo || hi > outH {
		panic(fmt.Sprintf("kernel.ConvIntEventRows: rows %d to %d, want 0 to %d", lo, hi, outH))
	}
	frame := (hi - lo) * outW * s.Cout
	if len(y) < s.N*frame {
		panic(fmt.Sprintf("kernel.ConvIntEventRows: output has %d elements, want %d", len(y), s.N*frame))
	}
	if hi == lo || s.N == 0 {
		return
	}
	if sc == nil {
		sc = intScratchPool.Get().(*IntScratch)
		defer intScratchPool.Put(sc)
	}
	if !accumulate {
		clear(y[:s.N*frame])
	}
	in := s.H * s.W * s.Cin
	if few := max(1, intEventBand/s.Cin); s.isRow() && s.W > few {
		for m := 0; m < s.N*s.W; m += few {
			part := s
			part.N, part.W = 1, min(few, s.N*s.W-m)
			convIntEvents(part, x[m*s.Cin:][:part.W*s.Cin], f, 0, 1, y[m*s.Cout:], &sc.events)
		}
		return
	}
	// Bands of rows, so that the lists of large images stay in the cache.
	rows := max(1, (intEventBand/(s.W*s.Cin)-(s.KH-1)*s.DilH-1)/s.StrideH+1)
	for n := range s.N {
		for r := lo; r < hi; r += rows {
			convIntEvents(s, x[n*in:(n+1)*in], f, r, min(r+rows, hi), y[n*frame+(r-lo)*outW*s.Cout:], &sc.events)
		}
	}
}

// convIntEvents adds output rows lo..hi-1 of one frame to y.
func convIntEvents[C uint8 | int8](s ConvShape, x []C, f *IntEventFilter, lo, hi int, y []int32, sc *intEventScratch) {
	first := max(0, lo*s.StrideH-s.PadTop)
	end := min(s.H, (hi-1)*s.StrideH-s.PadTop+(s.KH-1)*s.DilH+1)
	if first >= end {
		return
	}
	events := compressInts(s, x, f, first, end, sc)
	if events == 0 {
		return
	}
	// Many events use all weights again for every pixel: then the weights of one
	// kernel row at a time stay in the first cache.
	together := s.KH
	if float64(events) > intEventShare*float64((end-first)*s.W*s.Cin) {
		together = 1
	}
	outW := s.OutW()
	perRow := f.blocks * (s.W + 1)
	rowLen := f.rowWeights() * intEventCols
	sc.sums = grow(sc.sums, outW*intEventCols)
	for q := range f.cols {
		col := q * intEventCols
		cols := min(intEventCols, s.Cout-col)
		for b := range f.blocks {
			for k0 := 0; k0 < s.KH; k0 += together {
				for oh := lo; oh < hi; oh++ {
					// The kernel rows that meet input rows of this output row.
					top := oh*s.StrideH - s.PadTop
					kh, khEnd := k0, min(k0+together, s.KH)
					if d := first - top; d > kh*s.DilH {
						kh = (d + s.DilH - 1) / s.DilH
					}
					if d := end - top; d < (khEnd-1)*s.DilH+1 {
						khEnd = (max(d, 0) + s.DilH - 1) / s.DilH
					}
					if kh >= khEnd {
						continue
					}
					out := y[(oh-lo)*outW*s.Cout+col:]
					c := intEventCall{start: &sc.start[(top+kh*s.DilH-first)*perRow+b*(s.W+1)], row: &sc.row[0],
						y: &out[0], ldy: 4 * s.Cout, n: outW, limit: f.limit, width: s.W, kw: s.KW, stride: s.StrideW, pad: s.PadLeft, cin: f.cin,
						kh: khEnd - kh, startStep: 4 * s.DilH * perRow, wStep: f.signs() * rowLen * f.bits / 8}
					at := ((q*f.blocks+b)*s.KH + kh) * f.signs() * rowLen
					if f.bits == 8 {
						c.w, c.count = unsafe.Pointer(&f.w8[at]), unsafe.Pointer(&sc.count[0])
					} else {
						c.w, c.count = unsafe.Pointer(&f.w16[at]), unsafe.Pointer(&sc.wide[0])
					}
					if cols == intEventCols {
						intEventRow(f.bits, &c)
						continue
					}
					clear(sc.sums)
					c.y, c.ldy = &sc.sums[0], 4*intEventCols
					intEventRow(f.bits, &c)
					for ow := range outW {
						dst := out[ow*s.Cout:][:cols]
						for j, v := range sc.sums[ow*intEventCols:][:cols] {
							dst[j] += v
						}
					}
				}
			}
		}
	}
}

// compressInts lists the events of input rows first..end-1 and returns their number.
func compressInts[C uint8 | int8](s ConvShape, x []C, f *IntEventFilter, first, end int, sc *intEventScratch) int {
	perRow := f.blocks * (s.W + 1)
	sc.start = grow(sc.start, (end-first)*perRow)
	most := (end - first) * s.W * s.Cin
	sc.row = grow(sc.row, most+16)
	wide := f.bits == 16
	if wide {
		sc.wide = grow(sc.wide, most+16)
	} else {
		sc.count = grow(sc.count, most+16)
	}
	negative := int32(f.rowWeights() * intEventCols)
	c := intCompressCall{step: s.Cin, baseStep: f.cin * intEventCols, negative: int(negative)}
	var zero C
	signed := zero-1 < 0
	n := 0
	for iy := first; iy < end; iy++ {
		row := x[iy*s.W*s.Cin:][:s.W*s.Cin]
		for b := range f.blocks {
			start := sc.start[(iy-first)*perRow+b*(s.W+1):][:s.W+1]
			c0 := b * f.cin
			c1 := min(c0+f.cin, s.Cin)
			if (c1-c0)%intGroup == 0 {
				c.x, c.start, c.row = unsafe.Pointer(&row[c0]), &start[0], &sc.row[0]
				if c.count = unsafe.Pointer(unsafe.SliceData(sc.count)); wide {
					c.count = unsafe.Pointer(&sc.wide[0])
				}
				c.pixels, c.groups, c.n = s.W, (c1-c0)/intGroup, n
				if intCompress(signed, wide, &c) {
					n = c.n
					continue
				}
			}
			for ix := range s.W {
				start[ix] = int32(n)
				x, base := row[ix*s.Cin+c0:ix*s.Cin+c1], int32(ix*f.cin*intEventCols)
				if wide {
					n += compressPixel(sc.row[n:], sc.wide[n:], x, base, 0)
				} else {
					n += compressPixel(sc.row[n:], sc.count[n:], x, base, negative)
				}
			}
			start[s.W] = int32(n)
		}
	}
	return n
}

// intCompressCall is what the kernel that lists events reads: pixels of
// groups*8 counts, step bytes apart. The entries go to row[n:] and count[n:],
// the number before each pixel and that behind the last to start; n is updated.
// Up to 8 entries behind the last are overwritten. Like compressPixel, whose
// base grows by baseStep per pixel.
type intCompressCall struct {
	x        unsafe.Pointer
	start    *int32
	row      *int32
	count    unsafe.Pointer // *uint8 or *int16
	pixels   int
	step     int
	groups   int
	n        int
	baseStep int
	negative int
}

// compressPixel lists the non-zero counts of x: base plus 64 times the index and
// the count. Where counts are listed as bytes, it is their magnitude, and
// negative is added to the base of those below 0. It returns their number.
func compressPixel[C uint8 | int8, L uint8 | int16](row []int32, count []L, x []C, base, negative int32) int {
	n := 0
	for i, v := range x {
		if v == 0 {
			continue
		}
		r, m := base+int32(i*intEventCols), L(v)
		if v < 0 && unsafe.Sizeof(m) == 1 {
			r, m = r+negative, -m
		}
		row[n], count[n] = r, m
		n++
	}
	return n
}

// intEventCall is what the event kernel reads: one row of output pixels, kh
// kernel rows, 64 output channels. For output pixel ow it computes
//
//	y[ow*ldy/4+j] += Σ count[e]*w[row[e]-first*cin*64+j]
//
// for every kernel row, over the entries e of the input pixels
// first..first+kw-1 that lie in 0..width-1, first = ow*stride-pad, j < 64 (with
// the channels in the order of intEventLane). start and w then go on by
// startStep and wStep bytes.
type intEventCall struct {
	start  *int32
	row    *int32
	count  unsafe.Pointer // *uint8 for weights of 8 bits, else *int16
	w      unsafe.Pointer
	y      *int32
	ldy    int // bytes
	n      int // output pixels
	limit  int // entries that 16-bit sums can take
	width  int
	kw     int
	stride int
	pad    int
	cin    int

	kh        int
	startStep int
	wStep     int

	budget, from, to, left int // what the assembly keeps
}

// intEventPortable is the specification.
func intEventPortable(bits int, c *intEventCall) {
	for ow := range c.n {
		first := ow*c.stride - c.pad
		lo, hi := min(max(first, 0), c.width), min(max(first+c.kw, 0), c.width)
		y := unsafe.Slice((*int32)(unsafe.Add(unsafe.Pointer(c.y), ow*c.ldy)), intEventCols)
		for kh := range c.kh {
			start := unsafe.Slice((*int32)(unsafe.Add(unsafe.Pointer(c.start), kh*c.startStep)), c.width+1)
			weights := unsafe.Add(c.w, kh*c.wStep)
			for e := int(start[lo]); e < int(start[hi]); e++ {
				w := int(*at(c.row, e)) - first*c.cin*intEventCols
				if bits == 8 {
					k := int32(*at((*uint8)(c.count), e))
					for j, v := range unsafe.Slice((*int8)(unsafe.Add(weights, w)), intEventCols) {
						y[intEventLane(bits, j)] += k * int32(v)
					}
				} else {
					k := int32(*at((*int16)(c.count), e))
					for j, v := range unsafe.Slice((*int16)(unsafe.Add(weights, 2*w)), intEventCols) {
						y[intEventLane(bits, j)] += k * int32(v)
					}
				}
			}
		}
	}
}
