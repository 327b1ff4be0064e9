// Package npy reads and writes NumPy's array files: single arrays (.npy,
// formats 1.0, 2.0 and 3.0) and archives of them (.npz).
//
// Readers are strict: the header must be the plain dictionary literal that
// NumPy writes, the data must be exactly as long as the shape says, and object
// arrays (which hold pickles), structured types, strings and complex numbers
// are refused. Data is converted to row-major order while it is read.
//
//	a, err := npy.ReadFile("logits.npy")
//	values, err := a.Float32()
//	err = npy.WriteFile("copy.npy", a.Shape, values)
package npy

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/minifloat"
)

// An Array is the content of one .npy file.
type Array struct {
	Shape []int
	DType string // NumPy's name of the type: "float32", "int64", "bool", ...

	path string
	kind dtype
	data []byte // row-major, little-endian
}

// dtype is an element type: class 'f', 'i', 'u' or 'b', and bytes per element.
type dtype struct {
	class byte
	size  int
}

func (d dtype) String() string {
	switch d.class {
	case 'f':
		return fmt.Sprintf("float%d", 8*d.size)
	case 'i':
		return fmt.Sprintf("int%d", 8*d.size)
	case 'u':
		return fmt.Sprintf("uint%d", 8*d.size)
	}
	return "bool"
}

// Len returns the number of elements.
func (a *Array) Len() int { return len(a.data) / a.kind.size }

// IsInt reports whether the elements are integers (of any width) or booleans.
func (a *Array) IsInt() bool { return a.kind.class != 'f' }

// Float32 returns the elements as float32, row-major. float64 values are
// rounded; a finite one beyond the range of float32, and an integer that
// float32 cannot hold exactly, are errors.
func (a *Array) Float32() ([]float32, error) {
	out := make([]float32, a.Len())
	if a.kind == (dtype{'f', 4}) {
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(a.data[4*i:]))
		}
		return out, nil
	}
	if a.kind.class == 'f' {
		for i := range out {
			v := a.float(i)
			out[i] = float32(v)
			if math.IsInf(float64(out[i]), 0) && !math.IsInf(v, 0) {
				return nil, fileerr.New(a.path, -1, "element %d is %g: beyond the range of float32", i, v)
			}
		}
		return out, nil
	}
	for i := range out {
		u, negative := a.integer(i)
		f := float32(u) // of the magnitude, so that one comparison covers both signs
		if float64(f) >= 1<<64 || uint64(f) != u {
			return nil, fileerr.New(a.path, -1, "element %d is %s: float32 cannot hold it exactly", i, decimal(u, negative))
		}
		if negative {
			f = -f
		}
		out[i] = f
	}
	return out, nil
}

// Float64 returns the elements as float64, row-major; an integer that float64
// cannot hold exactly is an error.
func (a *Array) Float64() ([]float64, error) {
	out := make([]float64, a.Len())
	for i := range out {
		if a.kind.class == 'f' {
			out[i] = a.float(i)
			continue
		}
		u, negative := a.integer(i)
		f := float64(u)
		if f >= 1<<64 || uint64(f) != u {
			return nil, fileerr.New(a.path, -1, "element %d is %s: float64 cannot hold it exactly", i, decimal(u, negative))
		}
		if negative {
			f = -f
		}
		out[i] = f
	}
	return out, nil
}

// Int returns the elements of an integer or boolean array, row-major. Floating
// point is refused, and so are values beyond the range of int.
func (a *Array) Int() ([]int, error) {
	if !a.IsInt() {
		return nil, fileerr.New(a.path, -1, "elements are %s: want integers", a.DType)
	}
	out := make([]int, a.Len())
	for i := range out {
		u, negative := a.integer(i)
		switch {
		case negative && u <= -math.MinInt:
			out[i] = -int(u)
		case !negative && u <= math.MaxInt:
			out[i] = int(u)
		default:
			return nil, fileerr.New(a.path, -1, "element %d is %s: beyond the range of int", i, decimal(u, negative))
		}
	}
	return out, nil
}

// float returns element i of a floating-point array.
func (a *Array) float(i int) float64 {
	switch a.kind.size {
	case 2:
		return float64(minifloat.Half(binary.LittleEndian.Uint16(a.data[2*i:])))
	case 4:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(a.data[4*i:])))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(a.data[8*i:]))
}

// integer returns the magnitude and the sign of element i of an integer or
// boolean array.
func (a *Array) integer(i int) (magnitude uint64, negative bool) {
	var u uint64
	var s int64
	switch a.kind.size {
	case 1:
		u = uint64(a.data[i])
		s = int64(int8(u))
	case 2:
		u = uint64(binary.LittleEndian.Uint16(a.data[2*i:]))
		s = int64(int16(u))
	case 4:
		u = uint64(binary.LittleEndian.Uint32(a.data[4*i:]))
		s = int64(int32(u))
	case 8:
		u = binary.LittleEndian.Uint64(a.data[8*i:])
		s = int64(u)
	}
	if a.kind.class == 'i' && s < 0 {
		return -uint64(s), true
	}
	return u, false
}

func decimal(magnitude uint64, negative bool) string {
	if negative {
		return fmt.Sprintf("-%d", magnitude)
	}
	return fmt.Sprint(magnitude)
}
