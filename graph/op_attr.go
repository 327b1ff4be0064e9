package graph

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// maxRank is the largest number of axes of one sample.
const maxRank = 8

// Ints is a list of integers of variable length among the attributes of an
// operation, such as one number per axis. Its JSON form is a list, also when it
// is nil.
type Ints []int

// MarshalJSON writes a list of numbers.
func (v Ints) MarshalJSON() ([]byte, error) {
	if v == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]int(v))
}

// Floats is Ints for real numbers.
type Floats []float64

// MarshalJSON writes a list of numbers.
func (v Floats) MarshalJSON() ([]byte, error) {
	if v == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]float64(v))
}

// Float is a number that may be infinite or NaN: those are written as the
// strings "inf", "-inf" and "nan", for which JSON has no numbers.
type Float float64

// MarshalJSON writes a number or one of the three strings.
func (f Float) MarshalJSON() ([]byte, error) {
	switch v := float64(f); {
	case math.IsNaN(v):
		return []byte(`"nan"`), nil
	case math.IsInf(v, 1):
		return []byte(`"inf"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-inf"`), nil
	}
	return json.Marshal(float64(f))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Float) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"nan"`:
		*f = Float(math.NaN())
	case `"inf"`:
		*f = Float(math.Inf(1))
	case `"-inf"`:
		*f = Float(math.Inf(-1))
	default:
		var v float64
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		*f = Float(v)
	}
	return nil
}

// checkFinite wants a finite number.
func checkFinite(name string, v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Errorf("%s %g: want a finite number", name, v)
	}
	return nil
}

// checkLen wants one number per axis.
func checkLen(name string, got, want int) error {
	if got != want {
		return fmt.Errorf("%s has %d numbers, want %d", name, got, want)
	}
	return nil
}

// checkAxis wants 0 <= axis < rank.
func checkAxis(axis, rank int) error {
	if axis < 0 || axis >= rank {
		return fmt.Errorf("axis %d: the input has %d axes", axis, rank)
	}
	return nil
}

// checkAxes wants distinct axes of a shape in ascending order, at least one.
func checkAxes(axes []int, rank int) error {
	if len(axes) == 0 {
		return fmt.Errorf("no axes, want at least one")
	}
	for i, a := range axes {
		if err := checkAxis(a, rank); err != nil {
			return err
		}
		if i > 0 && a <= axes[i-1] {
			return fmt.Errorf("axes %v: want them in ascending order, each once", axes)
		}
	}
	return nil
}

// checkVolume refuses shapes whose values cannot be counted, before anything is
// computed from them.
func checkVolume(s Shape) error {
	n := 1
	for _, d := range s {
		if d < 1 || d > maxSampleValues/n {
			return fmt.Errorf("shape %v: want axes of 1 or more and at most %d values", []int(s), maxSampleValues)
		}
		n *= d
	}
	return nil
}

// oneInput is the beginning of every inference with one input.
func oneInput(in []Shape, p Params, optional ...string) error {
	if err := wantInputs(in, 1); err != nil {
		return err
	}
	return wantParams(p, nil, optional)
}

// scalarShape turns the shape without axes into [1]: a sample has at least one
// axis.
func scalarShape(s Shape) Shape {
	if len(s) == 0 {
		return Shape{1}
	}
	return s
}

// BroadcastShapes returns the shape that numpy gives to an elementwise operation
// on inputs of the given shapes: aligned at the last axis, axes of 1 (or
// missing) repeat.
func BroadcastShapes(shapes ...Shape) (Shape, error) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := make(Shape, rank)
	for i := range out {
		out[i] = 1
	}
	for _, s := range shapes {
		for i, d := range s {
			at := rank - len(s) + i
			switch {
			case d == out[at] || d == 1:
			case out[at] == 1:
				out[at] = d
			default:
				return nil, fmt.Errorf("inputs of shapes %v cannot be broadcast together", shapes)
			}
		}
	}
	return out, nil
}

// broadcastsTo wants a parameter that numpy would broadcast to the shape of the
// input without changing it.
func broadcastsTo(p Params, role string, shape Shape) error {
	t := p[role]
	if t == nil {
		return nil
	}
	out, err := BroadcastShapes(shape, t.Shape)
	if err != nil || !slices.Equal(out, shape) {
		return fmt.Errorf("%s has shape %v, which cannot be broadcast to %v", role, t.Shape, []int(shape))
	}
	return nil
}
