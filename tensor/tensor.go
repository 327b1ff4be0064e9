// Package tensor holds dense float32 arrays and the translations between the
// channels-last layout used everywhere inside AdaFire and the channels-first
// layout of PyTorch and ONNX files.
//
// Activations are [N, H, W, C] (or [N, P, C] for points and [N, C] for
// vectors); convolution weights are [KH, KW, Cin/groups, Cout]; fully connected
// weights are [In, Out]. A spike of input channel ci therefore touches one
// contiguous row of weights.
//
// The package has no operations beyond shape bookkeeping: arithmetic lives in
// internal/kernel, networks in graph and ann.
package tensor

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrShape marks arguments whose shapes do not fit together.
var ErrShape = errors.New("shape mismatch")

// A Tensor is a dense row-major float32 array.
type Tensor struct {
	Shape []int
	Data  []float32
}

// New returns a zeroed tensor. Negative dimensions panic: they are a
// programming error; use Numel to check shapes that come from a file.
func New(shape ...int) *Tensor {
	n, err := Numel(shape)
	if err != nil {
		panic(fmt.Sprintf("tensor.New: %v", err))
	}
	return &Tensor{Shape: slices.Clone(shape), Data: make([]float32, n)}
}

// FromSlice wraps data, which must hold exactly as many values as shape says.
func FromSlice(data []float32, shape ...int) (*Tensor, error) {
	n, err := Numel(shape)
	if err != nil {
		return nil, err
	}
	if n != len(data) {
		return nil, fmt.Errorf("%d values for shape %v, which holds %d: %w", len(data), shape, n, ErrShape)
	}
	return &Tensor{Shape: slices.Clone(shape), Data: data}, nil
}

// Numel returns the number of elements of shape, refusing negative dimensions
// and products beyond the range of int.
func Numel(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("negative dimension in shape %v: %w", shape, ErrShape)
		}
		if d != 0 && n > math.MaxInt/d {
			return 0, fmt.Errorf("shape %v holds too many elements: %w", shape, ErrShape)
		}
		n *= d
	}
	return n, nil
}

// Len returns the number of elements.
func (t *Tensor) Len() int { return len(t.Data) }

// Clone returns a deep copy.
func (t *Tensor) Clone() *Tensor {
	return &Tensor{Shape: slices.Clone(t.Shape), Data: slices.Clone(t.Data)}
}

// Reshape returns a tensor with another shape over the same data.
func (t *Tensor) Reshape(shape ...int) (*Tensor, error) { return FromSlice(t.Data, shape...) }

// Rows returns the samples lo..hi-1 of the first axis, sharing data.
func (t *Tensor) Rows(lo, hi int) *Tensor {
	row := 1
	for _, d := range t.Shape[1:] {
		row *= d
	}
	shape := slices.Clone(t.Shape)
	shape[0] = hi - lo
	return &Tensor{Shape: shape, Data: t.Data[lo*row : hi*row : hi*row]}
}

// FirstNonFinite returns the index of the first NaN or infinity, or -1.
func (t *Tensor) FirstNonFinite() int {
	for i, v := range t.Data {
		if v-v != 0 {
			return i
		}
	}
	return -1
}

// Permute returns a copy whose axis i is axis axes[i] of t.
func (t *Tensor) Permute(axes ...int) (*Tensor, error) {
	if len(axes) != len(t.Shape) {
		return nil, fmt.Errorf("%d axes for shape %v: %w", len(axes), t.Shape, ErrShape)
	}
	rank := len(axes)
	stride := make([]int, rank)
	for i, s := rank-1, 1; i >= 0; i-- {
		stride[i] = s
		s *= t.Shape[i]
	}
	shape, from, seen := make([]int, rank), make([]int, rank), make([]bool, rank)
	for i, a := range axes {
		if a < 0 || a >= rank || seen[a] {
			return nil, fmt.Errorf("axes %v are no permutation of %d axes: %w", axes, rank, ErrShape)
		}
		seen[a] = true
		shape[i], from[i] = t.Shape[a], stride[a]
	}
	out := New(shape...)
	index := make([]int, rank)
	at := 0
	for i := range out.Data {
		out.Data[i] = t.Data[at]
		for d := rank - 1; d >= 0; d-- {
			index[d]++
			at += from[d]
			if index[d] < shape[d] {
				break
			}
			at -= index[d] * from[d]
			index[d] = 0
		}
	}
	return out, nil
}
