package kernel

import "unsafe"

// intTileCall is what a dense integer kernel reads. The assembly knows the
// offsets of the fields (a test compares them).
//
// Inputs and weights come in steps of 4 bytes: 4 unsigned by 4 signed bytes,
// or 2 by 2 signed 16-bit numbers. The kernel computes, for pixel r of the tile
// and channel c of the panel:
//
//	sum = init[c] + (acc != 0 ? y[r*ldy/4+c] : 0)
//	at = x + off[r]
//	for each run: sum += Σ of products of its steps; at += 4*steps + next delta
//	y[r*ldy/4+c] = sum
//
// where the program's segments of steps make up the runs. Weights go on from
// step to step, 64 bytes each.
type intTileCall struct {
	x       unsafe.Pointer
	off     *int // bytes, of each pixel
	delta   *int // bytes from the end of a run to the begin of the next
	program *intSegment
	b       unsafe.Pointer
	b2      unsafe.Pointer // the next panel, for kernels of 32 columns
	y       *int32
	ldy     int // bytes
	init    *int32
	zeros   *int32 // what init becomes once it has been added
	acc     int
}

// intZeros are initial values for kernels of up to two panels.
var intZeros [2 * panelCols]int32

// offsets writes at which byte, from b.x, each pixel of the block begins.
func (b *intBlock) offsets(off []int) {
	s := &b.s
	stepX, stepY := s.StrideW*s.Cin*b.elem, s.StrideH*b.rowLen
	i, outW := 0, s.OutW()
	for n := range b.frames {
		for r := range b.rows {
			at := n*b.frameLen + r*stepY
			for range outW {
				off[i] = at
				at += stepX
				i++
			}
		}
	}
}

// deltas writes how many bytes lie between the runs of a window.
func (b *intBlock) deltas(delta []int) {
	s, f := &b.s, b.f
	down := s.DilH * b.rowLen
	used := f.steps * intStep
	if f.runs == s.KH && f.runLen == s.KW*s.Cin {
		for i := range delta {
			delta[i] = down - used
		}
		return
	}
	right := s.DilW * s.Cin * b.elem
	for i := range delta {
		if delta[i] = right - used; (i+1)%s.KW == 0 {
			delta[i] = down - (s.KW-1)*right - used
		}
	}
}

// dense computes the panels p0..p1-1 (counted through all groups) of a block.
func (b *intBlock) dense(sc *IntScratch, p0, p1 int) {
	s, f := &b.s, b.f
	m := b.frames * b.rows * s.OutW()
	sc.off = grow(sc.off, m+maxTileRows)
	b.offsets(sc.off)
	sc.delta = grow(sc.delta, f.runs)
	b.deltas(sc.delta)
	kind := intKernel(Active(), f.wide)
	panels, size := f.panelCount(), f.panelBytes()
	c := &sc.call
	*c = intTileCall{zeros: &intZeros[0]}
	accumulate := 0
	if b.accumulate {
		accumulate = 1
	}
	tiles := (m + kind.rows - 1) / kind.rows
	height, higher := m/tiles, m%tiles
	for p := p0; p < p1; {
		g, q := p/panels, p%panels
		col := q * panelCols // within the group
		cols := min(f.n-col, panelCols)
		step := 1
		if kind.panels == 2 && q&1 == 0 && f.n-col >= 2*panelCols && p+1 < p1 {
			step = 2
		}
		program := f.plain
		if kind.flushes {
			program = f.program[g*((panels+1)/2)+q/2]
		}
		if f.wide {
			c.b = unsafe.Pointer(&f.panels2[p*size/2])
		} else {
			c.b = unsafe.Pointer(&f.panels[p*size])
		}
		c.b2 = unsafe.Add(c.b, (step-1)*size)
		c.x = unsafe.Add(b.x, g*s.Cin/s.Groups*b.elem)
		y := b.y[g*f.n+col:]
		for i, r := 0, 0; i < tiles; i++ {
			rows := height
			if i < higher {
				rows++
			}
			c.off, c.program, c.acc = &sc.off[r], &program[0], accumulate
			c.delta, c.init = &sc.delta[0], &f.init[p*panelCols]
			if cols == panelCols {
				c.y, c.ldy = &y[r*s.Cout], 4*s.Cout
				intTile(kind, rows, step, c)
			} else {
				b.tail(sc, kind, rows, cols, y[r*s.Cout:])
			}
			r += rows
		}
		p += step
	}
	*c = intTileCall{}
}

// tail computes a tile of a panel that is not full, by way of a copy.
func (b *intBlock) tail(sc *IntScratch, kind intKind, rows, cols int, y []int32) {
	c := &sc.call
	c.y, c.ldy = &sc.tail[0], 4*panelCols
	if b.accumulate {
		for r := range rows {
			copy(sc.tail[r*panelCols:][:cols], y[r*b.s.Cout:])
		}
	}
	intTile(kind, rows, 1, c)
	for r := range rows {
		copy(y[r*b.s.Cout:][:cols], sc.tail[r*panelCols:])
	}
}

// intKind is a family of dense integer kernels.
type intKind struct {
	isa     ISA
	wide    bool // 16-bit factors
	vnni    bool
	rows    int  // of the tallest tile
	panels  int  // at once
	flushes bool // sums have 16 bits and follow a program with flushes
}

// intTilePortable is the specification of the kernels: see intTileCall. It
// reads 4 bytes of inputs at a time, as they do, so what is behind a run must
// be memory, and meets weights of 0.
func intTilePortable(rows int, wide bool, c *intTileCall) {
	for r := range rows {
		y := unsafe.Slice((*int32)(unsafe.Add(unsafe.Pointer(c.y), r*c.ldy)), panelCols)
		sum := *(*[panelCols]int32)(unsafe.Pointer(c.init))
		if c.acc != 0 {
			for j, v := range y {
				sum[j] += v
			}
		}
		x, b, run := *at(c.off, r), 0, 0 // bytes behind the pointers
		for i := 0; ; i++ {
			seg := *at(c.program, i)
			for range seg.steps {
				if wide {
					in, w := (*[2]int16)(unsafe.Add(c.x, x)), (*[panelCols][2]int16)(unsafe.Add(c.b, b))
					for j := range w {
						sum[j] += int32(in[0])*int32(w[j][0]) + int32(in[1])*int32(w[j][1])
					}
				} else {
					in, w := (*[4]uint8)(unsafe.Add(c.x, x)), (*[panelCols][4]int8)(unsafe.Add(c.b, b))
					i0, i1, i2, i3 := int32(in[0]), int32(in[1]), int32(in[2]), int32(in[3])
					for j := range w {
						sum[j] += i0*int32(w[j][0]) + i1*int32(w[j][1]) + i2*int32(w[j][2]) + i3*int32(w[j][3])
					}
				}
				x, b = x+intStep, b+panelCols*intStep
			}
			if seg.flags&segmentLast != 0 {
				break
			}
			if seg.flags&segmentRun != 0 {
				x += *at(c.delta, run)
				run++
			}
		}
		copy(y, sum[:])
	}
}
