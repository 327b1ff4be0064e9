package tensor

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestNumel(t *testing.T) {
	for _, c := range []struct {
		shape []int
		want  int
		bad   bool
	}{
		{nil, 1, false}, {[]int{3, 4, 5}, 60, false}, {[]int{3, 0, 5}, 0, false}, {[]int{math.MaxInt}, math.MaxInt, false},
		{[]int{0, math.MaxInt, math.MaxInt}, 0, false},
		{[]int{-1}, 0, true}, {[]int{0, -1}, 0, true}, {[]int{-2, -3}, 0, true},
		{[]int{math.MaxInt, 2}, 0, true}, {[]int{1 << 32, 1 << 32}, 0, true}, {[]int{1 << 31, 1 << 31, 4}, 0, true},
	} {
		n, err := Numel(c.shape)
		if c.bad != errors.Is(err, ErrShape) || n != c.want {
			t.Errorf("%v: got %d, %v", c.shape, n, err)
		}
	}
}

func TestNew(t *testing.T) {
	shape := []int{2, 3}
	x := New(shape...)
	shape[0] = 9
	if x.Len() != 6 || x.Shape[0] != 2 || slices.ContainsFunc(x.Data, func(v float32) bool { return v != 0 }) {
		t.Errorf("got %+v", x)
	}
	defer func() {
		if recover() == nil {
			t.Error("a negative dimension did not panic")
		}
	}()
	New(2, -1)
}

func TestFromSliceAndReshape(t *testing.T) {
	data := []float32{1, 2, 3, 4, 5, 6}
	x, err := FromSlice(data, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	y, err := x.Reshape(3, 2)
	if err != nil {
		t.Fatal(err)
	}
	data[0] = 9
	if x.Data[0] != 9 || y.Data[0] != 9 || !slices.Equal(y.Shape, []int{3, 2}) || !slices.Equal(x.Shape, []int{2, 3}) {
		t.Error("FromSlice and Reshape must share data and keep shapes apart")
	}
	twin := x.Clone()
	twin.Data[1], twin.Shape[0] = 7, 7
	if x.Data[1] != 2 || x.Shape[0] != 2 {
		t.Error("the clone is not deep")
	}
	for _, shape := range [][]int{{2, 2}, {7}, {-2, -3}, {math.MaxInt, 2}} {
		if _, err := FromSlice(data, shape...); !errors.Is(err, ErrShape) {
			t.Errorf("6 values as %v: got error %v", shape, err)
		}
		if _, err := x.Reshape(shape...); !errors.Is(err, ErrShape) {
			t.Errorf("reshape to %v: got error %v", shape, err)
		}
	}
}

func TestRows(t *testing.T) {
	x := &Tensor{Shape: []int{3, 2}, Data: []float32{0, 1, 2, 3, 4, 5}}
	r := x.Rows(1, 2)
	if !slices.Equal(r.Shape, []int{1, 2}) || !slices.Equal(r.Data, []float32{2, 3}) {
		t.Errorf("got %+v", r)
	}
	r.Data = append(r.Data, 99) // must not reach the next row
	if x.Data[4] != 4 {
		t.Error("appending to rows overwrote the tensor")
	}
	x.Rows(0, 1).Data[0] = 7
	if x.Data[0] != 7 {
		t.Error("rows do not share data")
	}
	if r := x.Rows(2, 2); r.Len() != 0 || r.Shape[0] != 0 {
		t.Errorf("no rows: got %+v", r)
	}
}

func TestFirstNonFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		data []float32
		want int
	}{{nil, -1}, {[]float32{1, math.MaxFloat32, -math.MaxFloat32, 1e-45}, -1}, {[]float32{1, nan}, 1}, {[]float32{0, 0, inf, nan}, 2}, {[]float32{-inf}, 0}} {
		if got := (&Tensor{Shape: []int{len(c.data)}, Data: c.data}).FirstNonFinite(); got != c.want {
			t.Errorf("%v: got %d, want %d", c.data, got, c.want)
		}
	}
}

// drawTensor returns a tensor whose values are its indices.
func drawTensor(t *rapid.T, lo, hi int) *Tensor {
	x := New(rapid.SliceOfN(rapid.IntRange(0, 5), lo, hi).Draw(t, "shape")...)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	return x
}

// at returns the value at an index.
func at(x *Tensor, index []int) float32 {
	i := 0
	for d, k := range index {
		i = i*x.Shape[d] + k
	}
	return x.Data[i]
}

// TestPermute against indexing by hand, and back by the inverse permutation.
func TestPermute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawTensor(t, 0, 5)
		rank := len(x.Shape)
		axes := make([]int, rank)
		for i := range axes {
			axes[i] = i
		}
		if rank > 1 {
			axes = rapid.Permutation(axes).Draw(t, "axes")
		}
		y, err := x.Permute(axes...)
		if err != nil {
			t.Fatal(err)
		}
		inverse := make([]int, rank)
		for i, a := range axes {
			if y.Shape[i] != x.Shape[a] {
				t.Fatalf("shape %v permuted by %v is %v", x.Shape, axes, y.Shape)
			}
			inverse[a] = i
		}
		for i := range y.Data {
			index, rest := make([]int, rank), i
			for d := rank - 1; d >= 0; d-- {
				index[d] = rest % y.Shape[d]
				rest /= y.Shape[d]
			}
			from := make([]int, rank)
			for d, a := range axes {
				from[a] = index[d]
			}
			if got, want := at(y, index), at(x, from); got != want {
				t.Fatalf("%v: got %g, want %g of %v", index, got, want, from)
			}
		}
		back, err := y.Permute(inverse...)
		if err != nil || !slices.Equal(back.Data, x.Data) || !slices.Equal(back.Shape, x.Shape) {
			t.Fatalf("the inverse gives %+v, %v, want %+v", back, err, x)
		}
	})
	for _, axes := range [][]int{{0}, {0, 1, 2}, {0, 0}, {0, 2}, {-1, 0}} {
		if _, err := New(2, 3).Permute(axes...); !errors.Is(err, ErrShape) {
			t.Errorf("axes %v: got error %v", axes, err)
		}
	}
}

func TestLayoutsAreInverse(t *testing.T) {
	type convert = func(*Tensor) (*Tensor, error)
	for _, c := range []struct {
		name      string
		rank      int
		to, back  convert
		in, moved []int // example of shapes
	}{
		{"images", 4, ChannelsLast, ChannelsFirst, []int{2, 3, 4, 5}, []int{2, 4, 5, 3}},
		{"points", 3, ChannelsLast, ChannelsFirst, []int{2, 3, 4}, []int{2, 4, 3}},
		{"vectors", 2, ChannelsLast, ChannelsFirst, []int{2, 3}, []int{2, 3}},
		{"conv", 4, ConvWeight, ConvWeightOIHW, []int{8, 3, 5, 7}, []int{5, 7, 3, 8}},
		{"transposed conv", 4, ConvTransposeWeight, ConvTransposeWeightIOHW, []int{3, 8, 5, 7}, []int{5, 7, 3, 8}},
		{"linear", 2, LinearWeight, LinearWeight, []int{10, 20}, []int{20, 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := New(c.in...)
			for i := range x.Data {
				x.Data[i] = float32(i)
			}
			y, err := c.to(x)
			if err != nil || !slices.Equal(y.Shape, c.moved) {
				t.Fatalf("%v became %v, %v, want %v", c.in, y.Shape, err, c.moved)
			}
			y.Data[0]++
			if y.Data[0] == x.Data[0] {
				t.Error("data are shared")
			}
			y.Data[0]--
			z, err := c.back(y)
			if err != nil || !slices.Equal(z.Shape, x.Shape) || !slices.Equal(z.Data, x.Data) {
				t.Errorf("not the same after there and back: %v", err)
			}
			if _, err := c.to(New(2, 2, 2, 2, 2)); !errors.Is(err, ErrShape) {
				t.Errorf("5 axes: got error %v", err)
			}
			if _, err := c.back(New(2)); !errors.Is(err, ErrShape) {
				t.Errorf("1 axis: got error %v", err)
			}
		})
	}
	// One value followed by hand: output 1, input 2, row 3, column 4.
	w := New(2, 3, 4, 5)
	w.Data[((1*3+2)*4+3)*5+4] = 1
	y, err := ConvWeight(w)
	if err != nil || at(y, []int{3, 4, 2, 1}) != 1 {
		t.Errorf("the weight went astray: %v", err)
	}
}

// TestLinearWeightAfterFlatten: the product with a channels-last vector is that
// of the original with the channels-first one.
func TestLinearWeightAfterFlatten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 4)
		h, w, c, out := dim.Draw(t, "h"), dim.Draw(t, "w"), dim.Draw(t, "c"), dim.Draw(t, "out")
		weight, image := New(out, c*h*w), New(1, c, h, w)
		for i := range weight.Data {
			weight.Data[i] = float32(i%7 - 3)
		}
		for i := range image.Data {
			image.Data[i] = float32(i%5 + 1)
		}
		moved, err := LinearWeightAfterFlatten(weight, h, w, c)
		if err != nil || !slices.Equal(moved.Shape, []int{h * w * c, out}) {
			t.Fatalf("got %v, %v", moved, err)
		}
		last, err := ChannelsLast(image)
		if err != nil {
			t.Fatal(err)
		}
		for o := range out {
			var want, got float32
			for i := range image.Data {
				want += image.Data[i] * weight.Data[o*len(image.Data)+i]
				got += last.Data[i] * moved.Data[i*out+o]
			}
			if got != want {
				t.Fatalf("output %d: got %g, want %g", o, got, want)
			}
		}
	})
	for _, shape := range [][]int{{24}, {2, 23}, {2, 24, 1}} {
		if _, err := LinearWeightAfterFlatten(New(shape...), 2, 3, 4); !errors.Is(err, ErrShape) {
			t.Errorf("weight %v: got error %v", shape, err)
		}
	}
}
