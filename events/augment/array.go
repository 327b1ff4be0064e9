package augment

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// arrayOperations are the six operations on arrays, each as likely as the
// others.
var arrayOperations = []string{"identity", "shear_x", "translate_x", "translate_y", "rotate", "cutout"}

// ArrayOperations returns the names of the operations on arrays, without the
// flip, which comes first and for itself.
func ArrayOperations() []string { return append([]string(nil), arrayOperations...) }

// Array varies arrays of one shape, [H,W,C]. It holds scratch memory: use one
// for each goroutine.
type Array struct {
	h, w, c int
	out     []float32
}

// NewArray returns the augmentation of arrays of shape [h, w, c].
func NewArray(h, w, c int) *Array { return &Array{h: h, w: w, c: c} }

// magnitudes is the number of values that a magnitude is drawn from, evenly
// from one end of its range to the other.
const magnitudes = 31

// Apply mirrors the array left to right with probability 1/2 and then runs one
// of six operations, nearest neighbour, zeros from outside: identity; a shear
// along x of -0.3 to 0.3 radians; a shift along x or y of -5 to 5 whole pixels;
// a rotation of -30 to 30 degrees; a square of 0.1 to 11 % of the area set to 0.
// All about the centre. x must have h*w*c values.
//
// Source: algorithms 9.4 ("SNNAugmentWide" of Li et al., NDA, ECCV 2022).
func (a *Array) Apply(rng *rand.Rand, x []float32) {
	if rng.Uint64()&1 == 1 {
		a.flip(x)
	}
	op := arrayOperations[rng.IntN(len(arrayOperations))]
	k := rng.IntN(magnitudes)
	m := 2*float64(k)/(magnitudes-1) - 1 // -1..1
	switch op {
	case "shear_x":
		m *= 0.3
	case "translate_x", "translate_y":
		m = math.Trunc(5 * m)
	case "rotate":
		m *= 30
	case "cutout":
		m = 0.001 + (0.11-0.001)*rng.Float64()
	}
	a.run(op, m, rng, x)
}

// ApplyOperation runs one operation, without the flip; the magnitude is in the
// units that Apply names, for cutout the share of the area.
func (a *Array) ApplyOperation(name string, magnitude float64, rng *rand.Rand, x []float32) error {
	if len(x) != a.h*a.w*a.c {
		return fmt.Errorf("array of %d values, want %d x %d x %d", len(x), a.h, a.w, a.c)
	}
	if !a.run(name, magnitude, rng, x) {
		return fmt.Errorf("unknown operation %q", name)
	}
	return nil
}

func (a *Array) run(name string, m float64, rng *rand.Rand, x []float32) bool {
	switch name {
	case "identity":
	case "shear_x":
		a.warp(x, [4]float64{1, math.Tan(m), 0, 1}, 0, 0)
	case "translate_x":
		a.warp(x, [4]float64{1, 0, 0, 1}, -m, 0)
	case "translate_y":
		a.warp(x, [4]float64{1, 0, 0, 1}, 0, -m)
	case "rotate":
		sin, cos := math.Sincos(m * math.Pi / 180)
		a.warp(x, [4]float64{cos, -sin, sin, cos}, 0, 0)
	case "cutout":
		a.cutout(x, m, rng)
	default:
		return false
	}
	return true
}

func (a *Array) flip(x []float32) {
	for y := range a.h {
		row := x[y*a.w*a.c : (y+1)*a.w*a.c]
		for l, r := 0, a.w-1; l < r; l, r = l+1, r-1 {
			for k := range a.c {
				row[l*a.c+k], row[r*a.c+k] = row[r*a.c+k], row[l*a.c+k]
			}
		}
	}
}

// warp takes the pixel (u,v) of the result, seen from the centre, from
// (m0 u + m1 v + dx, m2 u + m3 v + dy), the nearest pixel, half to even.
func (a *Array) warp(x []float32, m [4]float64, dx, dy float64) {
	if a.out == nil {
		a.out = make([]float32, a.h*a.w*a.c)
	}
	cx, cy := float64(a.w-1)/2, float64(a.h-1)/2
	for i := range a.h {
		v := float64(i) - cy
		rowX, rowY := float64(m[1]*v)+dx+cx, float64(m[3]*v)+dy+cy
		for j := range a.w {
			u := float64(j) - cx
			sx := int(math.RoundToEven(float64(m[0]*u) + rowX))
			sy := int(math.RoundToEven(float64(m[2]*u) + rowY))
			to := a.out[(i*a.w+j)*a.c : (i*a.w+j+1)*a.c]
			if sx < 0 || sx >= a.w || sy < 0 || sy >= a.h {
				clear(to)
			} else {
				copy(to, x[(sy*a.w+sx)*a.c:])
			}
		}
	}
	copy(x, a.out)
}

// cutout sets a square of the given share of the area to 0; it lies inside.
func (a *Array) cutout(x []float32, share float64, rng *rand.Rand) {
	side := int(math.RoundToEven(math.Sqrt(share * float64(a.h*a.w))))
	if side < 1 || side > a.h || side > a.w {
		return
	}
	y0, x0 := rng.IntN(a.h-side+1), rng.IntN(a.w-side+1)
	for y := y0; y < y0+side; y++ {
		clear(x[(y*a.w+x0)*a.c : (y*a.w+x0+side)*a.c])
	}
}
