package onnx

import (
	"encoding/binary"
	"math"

	"github.com/adafire/adafire/internal/minifloat"
	"github.com/adafire/adafire/tensor"
)

// A source hands out pieces of a stored tensor as float32, so that a large
// weight is never in memory twice.
type source struct {
	shape []int
	size  int       // bytes per value of raw, 0 if the values are in f
	raw   []byte    // little-endian values of dtype
	f     []float32 // or the values themselves
	dtype dtype
}

func (n *node) source(i int, what string) (*source, error) {
	x := n.input(i)
	if t := x.def; t != nil && x.c == nil && dtype(t.Type).float() {
		var raw []byte
		switch {
		case t.Location == 1:
			raw = t.external
		case t.has == inRaw:
			raw = t.raw
		case t.has == inFloat:
			raw = t.floats
		}
		if raw != nil && dtype(t.Type) != float64Type { // doubles are counted while they are narrowed
			return &source{shape: x.shape(), size: dtype(t.Type).size(), raw: raw, dtype: dtype(t.Type)}, nil
		}
	}
	c, err := n.constant(i, what)
	if err != nil {
		return nil, err
	}
	if c.batch != nil {
		return nil, errBatch
	}
	return &source{shape: c.shape, f: c.floats()}, nil
}

// read copies values from number at on to dst.
func (s *source) read(dst []float32, at int) {
	if s.size == 0 {
		copy(dst, s.f[at:])
		return
	}
	le := binary.LittleEndian
	raw := s.raw[at*s.size:][:len(dst)*s.size]
	switch s.dtype {
	case float16Type:
		for k := range dst {
			dst[k] = minifloat.Half(le.Uint16(raw[2*k:]))
		}
	case bfloat16Type:
		for k := range dst {
			dst[k] = minifloat.BFloat16(le.Uint16(raw[2*k:]))
		}
	default:
		for k := range dst {
			dst[k] = math.Float32frombits(le.Uint32(raw[4*k:]))
		}
	}
}

// stripe is how many rows are turned at a time: as many values as a line of the
// cache holds, so that each line is written once.
const stripe = 16

// columns returns the transposed matrix: value r of row b of the source, rows
// long, times scale, is value b of row order[r] of the result; order nil is the
// order of the source.
func (s *source) columns(rows int, order []int, scale float32) []float32 {
	width := numel(s.shape) / max(rows, 1)
	out := make([]float32, rows*width)
	buf := make([]float32, stripe*rows)
	for b := 0; b < width; b += stripe {
		m := min(stripe, width-b)
		s.read(buf[:m*rows], b*rows)
		for r := range rows {
			to := r
			if order != nil {
				to = order[r]
			}
			dst := out[to*width+b:][:m]
			for k := range dst {
				dst[k] = scale * buf[k*rows+r]
			}
		}
	}
	return out
}

// convWeight translates [O, I, k...] to [k..., I, O].
func convWeight(s *source) *tensor.Tensor {
	o, i := s.shape[0], s.shape[1]
	taps := numel(s.shape[2:])
	order := make([]int, i*taps)
	for r := range order {
		order[r] = r%taps*i + r/taps
	}
	shape := append(append([]int(nil), s.shape[2:]...), i, o)
	return &tensor.Tensor{Shape: shape, Data: s.columns(i*taps, order, 1)}
}

// A matrixSource is a matrix [in, out], stored so or transposed, times scale.
type matrixSource struct {
	*source
	in, out    int
	transposed bool
	scale      float32
}

func matrixOf(s *source, transposed bool, scale float32) matrixSource {
	m := matrixSource{source: s, in: s.shape[0], out: s.shape[1], transposed: transposed, scale: scale}
	if transposed {
		m.in, m.out = m.out, m.in
	}
	return m
}

// weight returns the matrix with its rows in another order: row r is row
// rows[r] of the source.
func (m matrixSource) weight(rows []int) *tensor.Tensor {
	if m.transposed {
		order := make([]int, len(rows))
		for r, from := range rows {
			order[from] = r
		}
		return &tensor.Tensor{Shape: []int{m.in, m.out}, Data: m.columns(m.in, order, m.scale)}
	}
	t := tensor.New(m.in, m.out)
	for r, from := range rows {
		row := t.Data[r*m.out : (r+1)*m.out]
		m.read(row, from*m.out)
		if m.scale != 1 {
			for k := range row {
				row[k] *= m.scale
			}
		}
	}
	return t
}
