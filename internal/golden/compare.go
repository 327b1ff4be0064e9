package golden

import (
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/tensor"
)

// read loads an array and checks that it is what case.json says.
func (c *Case) read(t testing.TB, name string) *npy.Array {
	t.Helper()
	spec := c.Spec(t, name)
	a, err := npy.ReadFile(filepath.Join(c.Dir, spec.File))
	if err != nil {
		t.Fatal(err)
	}
	if a.DType != spec.DType || !slices.Equal(a.Shape, spec.Shape) {
		t.Fatalf("%s: %s holds %s %v, case.json says %s %v", c.Name, spec.File, a.DType, a.Shape, spec.DType, spec.Shape)
	}
	return a
}

// Array returns an array in the layout and shape in which it is stored.
// Integers are converted exactly.
func (c *Case) Array(t testing.TB, name string) *tensor.Tensor {
	t.Helper()
	a := c.read(t, name)
	values, err := a.Float32()
	if err != nil {
		t.Fatal(err)
	}
	x, err := tensor.FromSlice(values, a.Shape...)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// Ints returns the elements of an array of integers in the order in which they
// are stored; Spec has the shape.
func (c *Case) Ints(t testing.TB, name string) []int {
	t.Helper()
	values, err := c.read(t, name).Int()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// Floats returns an expected scalar (one element) or list; null becomes NaN.
func (c *Case) Floats(t testing.TB, name string) []float64 {
	t.Helper()
	v, ok := c.Expected[name]
	if !ok {
		t.Fatalf("%s: no expected value %q", c.Name, name)
	}
	var list []*float64
	if err := json.Unmarshal(v.Raw, &list); err != nil {
		var one *float64
		if err := json.Unmarshal(v.Raw, &one); err != nil {
			t.Fatalf("%s: expected value %q: %v", c.Name, name, err)
		}
		list = []*float64{one}
	}
	values := make([]float64, len(list))
	for i, p := range list {
		if values[i] = math.NaN(); p != nil {
			values[i] = *p
		}
	}
	return values
}

// Compare reports an error unless every element of got, in the stored layout,
// is within the tolerance of the array. The message has the worst element.
func (c *Case) Compare(t testing.TB, name string, got []float32) {
	t.Helper()
	values, err := c.read(t, name).Float64()
	if err != nil {
		t.Fatal(err)
	}
	compare(t, c, name, c.Spec(t, name).Shape, got, values)
}

// CompareInts is Compare for integers, such as spike counts.
func (c *Case) CompareInts(t testing.TB, name string, got []int) {
	t.Helper()
	compare(t, c, name, c.Spec(t, name).Shape, got, c.Ints(t, name))
}

// CompareFloats is Compare for an expected scalar or list.
func (c *Case) CompareFloats(t testing.TB, name string, got ...float64) {
	t.Helper()
	want := c.Floats(t, name)
	compare(t, c, name, []int{len(want)}, got, want)
}

func compare[G float32 | float64 | int, W float64 | int](t testing.TB, c *Case, name string, shape []int, got []G, want []W) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %s has %d elements, want %d (shape %v)", c.Name, name, len(got), len(want), shape)
		return
	}
	tol := c.Tolerance(name)
	bad, worst, excess := 0, 0, -1.0
	for i := range got {
		g, w := float64(got[i]), float64(want[i])
		if tol.Allows(g, w) {
			continue
		}
		bad++
		e := math.Abs(g-w) - tol.Rel*math.Abs(w)
		if math.IsNaN(e) {
			e = math.Inf(1)
		}
		if e > excess {
			worst, excess = i, e
		}
	}
	if bad > 0 {
		t.Errorf("%s: %s: %d of %d elements differ; the worst at %v: got %v, want %v within %g + %g*|want|",
			c.Name, name, bad, len(got), unravel(worst, shape), got[worst], want[worst], tol.Abs, tol.Rel)
	}
}

// unravel returns the index on every axis of element i.
func unravel(i int, shape []int) []int {
	index := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		index[d] = i % shape[d]
		i /= shape[d]
	}
	return index
}
