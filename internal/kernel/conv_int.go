package kernel

import (
	"fmt"

	"github.com/adafire/adafire/internal/parallel"
)

// IntScratch is the memory of one worker between calls of integer kernels. The
// zero value is ready; it grows to what the largest call needs and must not be
// used by two goroutines at once.
type IntScratch struct {
	band   []uint8
	band16 []int16
	off    []int
	delta  []int
	call   intTileCall
	tail   [maxTileRows * panelCols]int32
	events intEventScratch
}

var intScratchPool = newScratchPool[IntScratch]()

// ConvIntRows computes output rows lo..hi-1 of each of s.N frames (samples or
// timesteps), in the calling goroutine:
//
//	y[n,oh-lo,ow,co] = Σ x[...]*w[...]   or   y += Σ x[...]*w[...] if accumulate
//
// for x [N, H, W, Cin] and y [N, hi-lo, OutW, Cout], in exact 32-bit sums; see
// ConvShape for the formula. Accumulating adds another convolution to the same
// outputs, such as the projection shortcut of a residual block, whose weights
// then share the scale; the caller sees to it that the sum of Bounds fits int32.
//
// Counts outside the range for which f was made give wrong sums without a
// warning. The results are those of the formula on every instruction set.
//
// sc is the worker's scratch memory; with nil it comes from a pool. Nothing is
// allocated but for growing it. ConvIntRows panics if s is invalid, a slice is
// too short or f was packed for another convolution.
func ConvIntRows[C SpikeCount](s ConvShape, x []C, f *IntFilter, lo, hi int, y []int32, accumulate bool, sc *IntScratch) {
	s.check("ConvIntRows", len(x), -1, -1)
	f.matches(s, "ConvIntRows")
	outH, outW := s.OutH(), s.OutW()
	if lo < 0 || hi < lo || hi > outH {
		panic(fmt.Sprintf("kernel.ConvIntRows: rows %d to %d, want 0 to %d", lo, hi, outH))
	}
	if want := s.N * (hi - lo) * outW * s.Cout; len(y) < want {
		panic(fmt.Sprintf("kernel.ConvIntRows: output has %d elements, want %d", len(y), want))
	}
	if hi == lo || s.N == 0 {
		return
	}
	if sc == nil {
		sc = intScratchPool.Get().(*IntScratch)
		defer intScratchPool.Put(sc)
	}
	panels := f.groups * f.panelCount()
	convIntRows(s, x, f, lo, hi, 0, panels, y, accumulate, sc)
}

// convIntRows does the panels p0..p1-1 of checked arguments.
func convIntRows[C SpikeCount](s ConvShape, x []C, f *IntFilter, lo, hi, p0, p1 int, y []int32, accumulate bool, sc *IntScratch) {
	outW := s.OutW()
	if s.isRow() && outW > blockPixels {
		for m := 0; m < s.N*outW; m += blockPixels {
			part := s
			part.N, part.W = 1, min(blockPixels, s.N*outW-m)
			convIntRows(part, x[m*s.Cin:][:part.W*s.Cin], f, 0, 1, p0, p1, y[m*s.Cout:], accumulate, sc)
		}
		return
	}
	// Blocks of whole rows of one or several frames, about blockPixels each.
	rows := max(1, min(hi-lo, blockPixels/outW))
	frames := max(1, min(s.N, blockPixels/((hi-lo)*outW)))
	if rows < hi-lo {
		rows = evenly(hi-lo, rows)
		frames = 1
	}
	in := s.H * s.W * s.Cin
	for n := 0; n < s.N; n += frames {
		few := min(frames, s.N-n)
		for r := lo; r < hi; r += rows {
			high := min(rows, hi-r)
			b := intBlock{s: s, f: f, frames: few, row: r, rows: high,
				y: y[(n*(hi-lo)+r-lo)*outW*s.Cout:], accumulate: accumulate}
			layInts(&b, x[n*in:(n+few)*in], sc)
			if f.depthwise != nil {
				f.depthwise.block(&b, sc)
			} else {
				b.dense(sc, p0, p1)
			}
		}
	}
}

// isRow reports whether the frames are rows of pixels that have nothing to do
// with each other, as in linear layers.
func (s *ConvShape) isRow() bool {
	return s.H == 1 && s.KH == 1 && s.KW == 1 && s.StrideW == 1 && s.PadTop == 0 && s.PadBottom == 0 && s.PadLeft == 0 && s.PadRight == 0
}

// ConvInt is ConvIntRows for all rows of all frames, cut into pieces that the
// workers of p share; p may be nil.
func ConvInt[C SpikeCount](p *parallel.Pool, s ConvShape, x []C, f *IntFilter, y []int32, accumulate bool) {
	s.check("ConvInt", len(x), len(y), -1)
	f.matches(s, "ConvInt")
	outH, outW := s.OutH(), s.OutW()
	if s.N == 0 {
		return
	}
	panels := f.groups * f.panelCount()
	if p.Workers() == 1 {
		sc := intScratchPool.Get().(*IntScratch)
		convIntRows(s, x, f, 0, outH, 0, panels, y, accumulate, sc)
		intScratchPool.Put(sc)
		return
	}
	convIntParallel(p, s, x, f, y, accumulate, outH, outW, panels)
}

func convIntParallel[C SpikeCount](p *parallel.Pool, s ConvShape, x []C, f *IntFilter, y []int32, accumulate bool, outH, outW, panels int) {
	one := s
	one.N = 1
	in, out := one.InLen(), one.OutLen()
	if frames := blockPixels / (outH * outW); frames > 1 && s.N >= frames*workItems {
		p.For((s.N+frames-1)/frames, func(i int) {
			part := s
			part.N = min(frames, s.N-i*frames)
			sc := intScratchPool.Get().(*IntScratch)
			convIntRows(part, x[i*frames*in:][:part.N*in], f, 0, outH, 0, panels, y[i*frames*out:], accumulate, sc)
			intScratchPool.Put(sc)
		})
		return
	}
	rows := evenly(outH, max(1, blockPixels/outW))
	per := (outH + rows - 1) / rows
	// Few pixels: panels are shared, too.
	cuts, size := 1, panels
	if f.depthwise == nil && s.N*per < workItems {
		cuts = min((panels+1)/2, (workItems+s.N*per-1)/(s.N*per))
		size = evenly(panels, max(1, panels/max(cuts, 1)))
		size += size & 1 // plans and kernels take panels in pairs
		cuts = (panels + size - 1) / size
	}
	p.For(s.N*per*cuts, func(i int) {
		q, block := i%cuts*size, i/cuts
		n, r := block/per, block%per*rows
		sc := intScratchPool.Get().(*IntScratch)
		convIntRows(one, x[n*in:][:in], f, r, min(r+rows, outH), q, min(q+size, panels), y[n*out+r*outW*s.Cout:], accumulate, sc)
		intScratchPool.Put(sc)
	})
}
