package graph

import (
	"fmt"
	"math"
	"slices"
)

func init() { register(func() Op { return new(Resize) }) }

// Resize interpolates along every axis whose size or scale asks for it, with the
// rules of the ONNX operator as onnxruntime computes them. Upsample is the part
// of it that also exists in spiking networks.
type Resize struct {
	Size  Ints   `json:"size"`  // of the result, one number per axis
	Scale Floats `json:"scale"` // result by input as the coordinates use it, one number per axis; 1 and an equal size leave an axis alone
	Mode  string `json:"mode"`  // "nearest", "linear" or "cubic"
	// Coordinate maps output index i to the input, with r the scale: "half_pixel"
	// (i+.5)/r-.5; "pytorch_half_pixel" the same but 0 for an output of one;
	// "asymmetric" i/r; "align_corners" i*(in-1)/(out-1); "half_pixel_symmetric".
	Coordinate string `json:"coordinate"`
	// Nearest rounds for mode nearest: "round_prefer_floor", "round_prefer_ceil",
	// "floor" or "ceil".
	Nearest string  `json:"nearest"`
	CubicA  float64 `json:"cubic_a"` // coefficient of mode cubic, usually -0.75
	// ExcludeOutside gives samples outside the input no weight (mode cubic) and
	// scales the others up, instead of repeating the border.
	ExcludeOutside bool `json:"exclude_outside"`
	// Antialias widens the window of modes linear and cubic when the axis shrinks.
	Antialias bool `json:"antialias"`
}

// Kind returns "resize".
func (*Resize) Kind() string { return "resize" }
func (o *Resize) clone() Op {
	c := *o
	c.Size, c.Scale = slices.Clone(o.Size), slices.Clone(o.Scale)
	return &c
}

// InferShape returns Size.
func (o *Resize) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	for _, e := range []error{checkLen("size", len(o.Size), len(in[0])), checkLen("scale", len(o.Scale), len(in[0])),
		checkAttr("size", 1, o.Size...), checkFinite("cubic_a", o.CubicA)} {
		if e != nil {
			return nil, e
		}
	}
	for _, r := range o.Scale {
		if !(r > 0) || math.IsInf(r, 0) || r < 1e-6 || r > maxAttr {
			return nil, fmt.Errorf("scale %g: want a positive number up to %d", r, maxAttr)
		}
	}
	for _, c := range []struct {
		name, got string
		want      []string
	}{
		{"mode", o.Mode, []string{"nearest", "linear", "cubic"}},
		{"coordinate", o.Coordinate, []string{"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric"}},
		{"nearest", o.Nearest, []string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}},
	} {
		if !slices.Contains(c.want, c.got) {
			return nil, fmt.Errorf("%s %q, want one of %v", c.name, c.got, c.want)
		}
	}
	return slices.Clone(Shape(o.Size)), nil
}

// At returns where result i of axis a, of in values, lies in the input, in float32
// as onnxruntime computes it, so that ties fall alike.
func (o *Resize) At(in, a, i int) float32 {
	out, r := o.Size[a], float32(o.Scale[a])
	x := float32(i)
	switch o.Coordinate {
	case "asymmetric":
		return x / r
	case "align_corners":
		if out == 1 {
			return 0
		}
		return float32(x*float32(in-1)) / float32(out-1)
	case "half_pixel_symmetric":
		adjust := float32(out) / float32(r*float32(in))
		return float32(float32(in)/2*(1-adjust)) + (x+0.5)/r - 0.5
	case "pytorch_half_pixel":
		if out == 1 {
			return 0
		}
	}
	return (x+0.5)/r - 0.5
}

// NearestIndex returns which of the in values of axis a result i is in mode
// nearest.
func (o *Resize) NearestIndex(in, a, i int) int {
	if o.Size[a] == in && o.Scale[a] == 1 {
		return i
	}
	x := float64(o.At(in, a, i))
	switch o.Nearest {
	case "round_prefer_floor":
		x = math.Ceil(x - 0.5)
	case "round_prefer_ceil":
		x = math.Floor(x + 0.5)
	case "floor":
		x = math.Floor(x)
	case "ceil":
		x = math.Ceil(x)
	}
	return int(min(max(x, 0), float64(in-1)))
}
