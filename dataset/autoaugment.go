package dataset

import (
	"math"
	"math/rand/v2"
)

// An augmentOp is an operation of AutoAugment with its probability and its
// magnitude 0..9.
type augmentOp struct {
	name      string
	prob      float64
	magnitude int
}

// cifarPolicy is the policy found for CIFAR-10: one of the 25 pairs is drawn
// for every sample.
//
// Source: Cubuk et al., AutoAugment, CVPR 2019, table 7.
var cifarPolicy = [25][2]augmentOp{
	{{"invert", .1, 7}, {"contrast", .2, 6}},
	{{"rotate", .7, 2}, {"translateX", .3, 9}},
	{{"sharpness", .8, 1}, {"sharpness", .9, 3}},
	{{"shearY", .5, 8}, {"translateY", .7, 9}},
	{{"autocontrast", .5, 8}, {"equalize", .9, 2}},
	{{"shearY", .2, 7}, {"posterize", .3, 7}},
	{{"color", .4, 3}, {"brightness", .6, 7}},
	{{"sharpness", .3, 9}, {"brightness", .7, 9}},
	{{"equalize", .6, 5}, {"equalize", .5, 1}},
	{{"contrast", .6, 7}, {"sharpness", .6, 5}},
	{{"color", .7, 7}, {"translateX", .5, 8}},
	{{"equalize", .3, 7}, {"autocontrast", .4, 8}},
	{{"translateY", .4, 3}, {"sharpness", .2, 6}},
	{{"brightness", .9, 6}, {"color", .2, 8}},
	{{"solarize", .5, 2}, {"invert", 0, 3}},
	{{"equalize", .2, 0}, {"autocontrast", .6, 0}},
	{{"equalize", .2, 8}, {"equalize", .8, 4}},
	{{"color", .9, 9}, {"equalize", .6, 6}},
	{{"autocontrast", .8, 4}, {"solarize", .2, 8}},
	{{"brightness", .1, 3}, {"color", .7, 0}},
	{{"solarize", .4, 5}, {"autocontrast", .9, 3}},
	{{"translateY", .9, 9}, {"translateY", .7, 9}},
	{{"autocontrast", .9, 2}, {"solarize", .8, 3}},
	{{"equalize", .8, 8}, {"invert", .1, 3}},
	{{"translateY", .7, 9}, {"autocontrast", .9, 1}},
}

// autoAugment applies the policy for CIFAR-10 to p in place.
func (o *imageOps) autoAugment(rng *rand.Rand, p pixels) {
	for _, op := range cifarPolicy[rng.IntN(len(cifarPolicy))] {
		// Both numbers are drawn in any case: what one operation does never
		// moves the random numbers of the next.
		apply, sign := rng.Float64() < op.prob, float64(1-2*int(rng.Uint64()&1))
		if apply {
			o.apply(p, op.name, op.magnitude, sign)
		}
	}
}

// apply performs the named operation. sign, -1 or +1, is the direction of
// those that have two.
func (o *imageOps) apply(p pixels, name string, magnitude int, sign float64) {
	// upTo is the magnitude on a scale from 0 to top, in NumPy's arithmetic: a
	// last place more or less moves a pixel.
	upTo := func(top float64) float64 {
		if magnitude == 9 {
			return top
		}
		return float64(magnitude) * (top / 9)
	}
	switch name {
	case "shearX":
		o.shearX(p, sign*upTo(0.3))
	case "shearY":
		o.shearY(p, sign*upTo(0.3))
	case "translateX":
		o.translateX(p, sign*upTo(150.0/331))
	case "translateY":
		o.translateY(p, sign*upTo(150.0/331))
	case "rotate":
		o.rotate(p, upTo(30))
	case "color":
		o.colour(p, 1+sign*upTo(0.9))
	case "contrast":
		o.contrast(p, 1+sign*upTo(0.9))
	case "sharpness":
		o.sharpness(p, 1+sign*upTo(0.9))
	case "brightness":
		o.brightness(p, 1+sign*upTo(0.9))
	case "posterize":
		o.posterize(p, int(math.RoundToEven(8-upTo(4))))
	case "solarize":
		o.solarize(p, 256-upTo(256))
	case "autocontrast":
		o.autocontrast(p)
	case "equalize":
		o.equalize(p)
	case "invert":
		o.invert(p)
	default:
		panic("dataset: no augmentation " + name)
	}
}
