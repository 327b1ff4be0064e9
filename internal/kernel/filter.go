package kernel

import (
	"fmt"
	"slices"
)

// panelCols is the number of output channels in one packed panel: one cache
// line of float32, two AVX2 registers, one AVX-512 register. It is the same
// for every instruction set, so that a packed filter outlives SetISA.
const panelCols = 16

// lowered is one dense convolution as the tile kernel sees it: for every
// output pixel a list of taps, each a run of k contiguous inputs. The taps are
// the product of two lists, rows outermost. Tap (i, j) of output pixel (oy, ox)
// begins at input pixel (oy*stepY + ty[i], ox*stepX + tx[j]).
type lowered struct {
	ty, tx   []int
	k, n     int       // inputs of a tap and output channels, both per group
	groups   int       // group g reads channels g*k.. and writes channels g*n..
	adjacent bool      // tx counts up by one: a row of taps is one run if unpadded
	panels   []float32 // [groups][panels of 16 channels][taps][k][16], zero-padded
	zeros    []float32 // what a tap outside the image reads
	band     *lowered  // the same on padded rows, or nil, see banded
}

func newLowered(ty, tx []int, k, n, groups int) lowered {
	l := lowered{ty: ty, tx: tx, k: k, n: n, groups: groups, adjacent: true}
	for j := 1; j < len(tx); j++ {
		l.adjacent = l.adjacent && tx[j] == tx[j-1]+1
	}
	l.panels = make([]float32, groups*l.panelCount()*l.panelLen())
	l.zeros = make([]float32, max(k*len(tx), panelCols))
	l.band = l.banded()
	return l
}

// panelCount is the number of panels of one group.
func (l *lowered) panelCount() int { return (l.n + panelCols - 1) / panelCols }

// panelLen is the number of weights of one panel.
func (l *lowered) panelLen() int { return len(l.ty) * len(l.tx) * l.k * panelCols }

// fill packs weights: at(i, j, g) is where the weight of input 0 and channel 0
// of tap (i, j) of group g lies in w, the inputs follow strideK apart and the
// channels strideN apart. One of the strides is 1.
func (l *lowered) fill(w []float32, strideK, strideN int, at func(i, j, g int) int) {
	pos := 0
	for g := range l.groups {
		for c := 0; c < l.n; c += panelCols {
			cols := min(panelCols, l.n-c)
			for i := range l.ty {
				for j := range l.tx {
					src := at(i, j, g) + c*strideN
					dst := l.panels[pos : pos+l.k*panelCols]
					pos += l.k * panelCols
					if strideN == 1 {
						for k := range l.k {
							copy(dst[k*panelCols:][:cols], w[src+k*strideK:])
						}
						continue
					}
					transpose(dst, w[src:], l.k, cols, strideN)
				}
			}
		}
	}
}

// transpose sets dst[k*panelCols+o] = w[o*stride+k] for k < n, o < cols, a few
// k at a time so that the lines of dst stay in the cache.
func transpose(dst, w []float32, n, cols, stride int) {
	const few = 64
	for k := 0; k < n; k += few {
		part := dst[k*panelCols : min(n, k+few)*panelCols]
		for o := range cols {
			row := w[o*stride+k : o*stride+min(n, k+few)]
			for at, i := o, 0; i < len(row) && at < len(part); i++ {
				part[at] = row[i]
				at += panelCols
			}
		}
	}
}

// depthwise is a depthwise convolution as its kernel sees it.
type depthwise struct {
	ty, tx []int
	c      int       // channels
	w      []float32 // [panels of 16 channels][taps][16], zero-padded
	zeros  []float32
}

func newDepthwise(ty, tx []int, c int) depthwise {
	panels := (c + panelCols - 1) / panelCols
	return depthwise{ty: ty, tx: tx, c: c, w: make([]float32, panels*len(ty)*len(tx)*panelCols),
		zeros: make([]float32, panels*panelCols)}
}

// fill packs weights; at(i, j) is the index of channel 0 of tap (i, j).
func (d *depthwise) fill(w []float32, at func(i, j int) int) {
	pos := 0
	for c := 0; c < d.c; c += panelCols {
		cols := min(panelCols, d.c-c)
		for i := range d.ty {
			for j := range d.tx {
				src := at(i, j) + c
				copy(d.w[pos:pos+cols], w[src:src+cols])
				pos += panelCols
			}
		}
	}
}

// Filter holds the weights of one convolution in the order in which the
// kernels read them, whatever the groups. It depends on the shape's kernel,
// channels, groups, top and left padding and dilation, not on N, H, W, stride
// or the other paddings. It may be used by several goroutines, except during Set.
type Filter struct {
	shape     ConvShape
	dense     lowered
	depthwise depthwise
}

// NewFilter packs the weights w [KH, KW, Cin/Groups, Cout] for Conv. It keeps
// no reference to w. It panics if s is not valid or w has another length.
func NewFilter(s ConvShape, w []float32) *Filter {
	s.check("NewFilter", -1, -1, len(w))
	f := &Filter{shape: s}
	ty, tx := make([]int, s.KH), make([]int, s.KW)
	for i := range ty {
		ty[i] = i*s.DilH - s.PadTop
	}
	for j := range tx {
		tx[j] = j*s.DilW - s.PadLeft
	}
	if s.Depthwise() {
		f.depthwise = newDepthwise(ty, tx, s.Cin)
	} else {
		f.dense = newLowered(ty, tx, s.Cin/s.Groups, s.Cout/s.Groups, s.Groups)
	}
	f.Set(w)
	return f
}

// Set packs new weights of the same shape, in place and without allocating
// more than a few words.
func (f *Filter) Set(w []float32) {
	s := f.shape
	s.check("Filter.Set", -1, -1, len(w))
	cing, coutg := s.Cin/s.Groups, s.Cout/s.Groups
	if s.Depthwise() {
		f.depthwise.fill(w, func(i, j int) int { return (i*s.KW + j) * s.Cout })
		return
	}
	f.dense.fill(w, s.Cout, 1, func(i, j, g int) int { return (i*s.KW+j)*cing*s.Cout + g*coutg })
}

// matches panics unless the filter was packed for this kind of convolution.
func (f *Filter) matches(s ConvShape, fn string) { sameFilter(f.shape, s, fn, false) }

func sameFilter(packed, s ConvShape, fn string, backward bool) {
	a, b := packed, s
	for _, p := range []*ConvShape{&a, &b} {
		p.N, p.H, p.W, p.PadBottom, p.PadRight = 0, 0, 0, 0, 0
		if !backward {
			p.StrideH, p.StrideW = 0, 0
		}
	}
	if a != b {
		panic(fmt.Sprintf("kernel.%s: filter was packed for %+v, got %+v", fn, packed, s))
	}
}

// BackwardFilter holds the weights of one convolution as the gradient with
// respect to its input needs them: transposed, flipped, and split by phase of
// the stride, so that nothing is multiplied by the zeros that a stride would
// insert. It depends on the stride too; else see Filter.
//
// For a transposed convolution from [N, OutH, OutW, Cout] to [N, H, W, Cin],
// which is the gradient of this convolution, weights [KH, KW, Cout, Cin/Groups]
// must first have their last two axes swapped.
type BackwardFilter struct {
	shape  ConvShape
	phases []phase
}

// phase computes the input pixels (y*StrideH+py, x*StrideW+px), which all
// meet the same taps.
type phase struct {
	py, px    int
	kh, kw    []int // the taps, in the order of ty and tx
	dense     lowered
	depthwise depthwise
}

// NewBackwardFilter packs w [KH, KW, Cin/Groups, Cout] for ConvBackwardInput.
// It keeps no reference to w. It panics if s is not valid or w has another length.
func NewBackwardFilter(s ConvShape, w []float32) *BackwardFilter {
	s.check("NewBackwardFilter", -1, -1, len(w))
	b := &BackwardFilter{shape: s}
	for _, py := range phasesWithTaps(s.KH, s.StrideH, s.PadTop, s.DilH) {
		kh, ty := phaseTaps(py, s.KH, s.StrideH, s.PadTop, s.DilH)
		for _, px := range phasesWithTaps(s.KW, s.StrideW, s.PadLeft, s.DilW) {
			kw, tx := phaseTaps(px, s.KW, s.StrideW, s.PadLeft, s.DilW)
			p := phase{py: py, px: px, kh: kh, kw: kw}
			if s.Depthwise() {
				p.depthwise = newDepthwise(ty, tx, s.Cin)
			} else {
				p.dense = newLowered(ty, tx, s.Cout/s.Groups, s.Cin/s.Groups, s.Groups)
			}
			b.phases = append(b.phases, p)
		}
	}
	b.Set(w)
	return b
}

// phasesWithTaps lists the p in 0..stride-1, ascending, for which phaseTaps is
// not empty: at most one per tap, however large the stride.
func phasesWithTaps(kernel, stride, pad, dil int) []int {
	var list []int
	for k := range kernel {
		p := (k*dil - pad) % stride
		if p < 0 {
			p += stride
		}
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// phaseTaps lists the taps k that meet pixels q*stride+p, with the offset t so
// that the output pixel is q+t. The last tap comes first, so that t ascends.
func phaseTaps(p, kernel, stride, pad, dil int) (taps, offsets []int) {
	for k := kernel - 1; k >= 0; k-- {
		if d := p + pad - k*dil; d%stride == 0 {
			taps = append(taps, k)
			offsets = append(offsets, d/stride)
		}
	}
	return taps, offsets
}

// Set packs new weights of the same shape, in place and without allocating
// more than a few words.
func (b *BackwardFilter) Set(w []float32) {
	s := b.shape
	s.check("BackwardFilter.Set", -1, -1, len(w))
	cing, coutg := s.Cin/s.Groups, s.Cout/s.Groups
	for n := range b.phases {
		p := &b.phases[n]
		if s.Depthwise() {
			p.depthwise.fill(w, func(i, j int) int { return (p.kh[i]*s.KW + p.kw[j]) * s.Cout })
			continue
		}
		p.dense.fill(w, 1, s.Cout, func(i, j, g int) int {
			return (p.kh[i]*s.KW+p.kw[j])*cing*s.Cout + g*coutg
		})
	}
}
