package dataset

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Augment says how training samples are varied at random. The zero value does
// nothing. The steps are applied in the order of the fields; each sample draws
// its own stream of random numbers, so what happens to it does not depend on
// other samples or other workers.
type Augment struct {
	// ResizedCrop cuts out a random part (8 % to 100 % of the area, aspect
	// ratio 3/4 to 4/3) and scales it to the sample's size, bilinear with
	// anti-aliasing. Image folders cut it out of the original image.
	ResizedCrop bool `json:"resized_crop,omitempty"`

	Crop int  `json:"crop,omitempty"` // pad each border with this many zeros, then crop at random; pixels, 0..64
	Flip bool `json:"flip,omitempty"` // mirror left to right with probability 1/2

	// Rotate, Translate and Scale are the largest deviations of one affine map
	// about the image centre, each uniform and in both directions: degrees
	// (0..180), pixels along each axis (0..64), and a fraction of the size
	// (0..0.9). Bilinear, outside is 0. For digits.
	Rotate    float64 `json:"rotate,omitempty"`
	Translate float64 `json:"translate,omitempty"`
	Scale     float64 `json:"scale,omitempty"`

	AutoAugment string `json:"auto_augment,omitempty"` // "" or "cifar10", the policy learnt on CIFAR-10
	Cutout      int    `json:"cutout,omitempty"`       // side of a square set to 0, pixels, 0..512
}

// Validate reports fields out of range.
func (a *Augment) Validate() error {
	switch {
	case a.Crop < 0 || a.Crop > 64:
		return fmt.Errorf("augment: crop padding %d: want 0 to 64", a.Crop)
	case !(a.Rotate >= 0 && a.Rotate <= 180):
		return fmt.Errorf("augment: rotation by up to %g degrees: want 0 to 180", a.Rotate)
	case !(a.Translate >= 0 && a.Translate <= 64):
		return fmt.Errorf("augment: translation by up to %g pixels: want 0 to 64", a.Translate)
	case !(a.Scale >= 0 && a.Scale <= 0.9):
		return fmt.Errorf("augment: scaling by up to %g: want 0 to 0.9", a.Scale)
	case a.AutoAugment != "" && a.AutoAugment != "cifar10":
		return fmt.Errorf("augment: policy %q: want \"\" or \"cifar10\"", a.AutoAugment)
	case a.Cutout < 0 || a.Cutout > 512:
		return fmt.Errorf("augment: cutout of %d pixels: want 0 to 512", a.Cutout)
	}
	return nil
}

// DefaultAugment returns the augmentation of the usual training recipe of a
// data set, nothing for sets without one.
func DefaultAugment(name string) Augment {
	switch name {
	case "digits", "mnist":
		return Augment{Rotate: 10, Translate: 2, Scale: 0.1}
	case "fashion-mnist":
		return Augment{Crop: 2, Flip: true}
	case "cifar10", "cifar100":
		return Augment{Crop: 4, Flip: true, AutoAugment: "cifar10", Cutout: 16}
	case "imagenet", "imagefolder":
		return Augment{ResizedCrop: true, Flip: true}
	}
	return Augment{}
}

// an augmenter applies an Augment to samples of one shape; it holds the
// scratch memory of one worker.
type augmenter struct {
	Augment
	h, w, c int
	float   []float32 // h*w*c
	padded  []float32 // (h+2)*(w+2)*c, border 0; made when first needed
	raw     []byte    // h*w*c
	pil     imageOps
}

func newAugmenter(a Augment, shape []int) *augmenter {
	n := shape[0] * shape[1] * shape[2]
	return &augmenter{Augment: a, h: shape[0], w: shape[1], c: shape[2], float: make([]float32, n), raw: make([]byte, n)}
}

// apply varies img (h*w*c values 0..1) in place. cropped says that the
// resized crop has been done by the reader.
func (g *augmenter) apply(rng *rand.Rand, img []float32, cropped bool) {
	if g.ResizedCrop && !cropped {
		quantise(g.raw, img)
		out := resizedCrop(rng, pixels{g.h, g.w, g.c, g.raw}, g.h, g.w)
		unquantise(img, out.data)
	}
	if g.Crop > 0 {
		g.crop(img, rng.IntN(2*g.Crop+1)-g.Crop, rng.IntN(2*g.Crop+1)-g.Crop)
	}
	if g.Flip && rng.Uint64()&1 == 1 {
		g.flip(img)
	}
	if g.Rotate > 0 || g.Translate > 0 || g.Scale > 0 {
		symmetric := func(limit float64) float64 { return (2*rng.Float64() - 1) * limit }
		angle, scale := symmetric(g.Rotate), 1+symmetric(g.Scale)
		g.affine(img, angle, scale, symmetric(g.Translate), symmetric(g.Translate))
	}
	if g.AutoAugment != "" {
		quantise(g.raw, img)
		g.pil.autoAugment(rng, pixels{g.h, g.w, g.c, g.raw})
		unquantise(img, g.raw)
	}
	if g.Cutout > 0 {
		g.cutout(img, rng.IntN(g.h), rng.IntN(g.w))
	}
}

// quantise rounds values 0..1 to bytes; values that came from bytes are
// restored exactly.
func quantise(dst []byte, src []float32) {
	for i, v := range src {
		dst[i] = uint8(min(max(v, 0), 1)*255 + 0.5)
	}
}

func unquantise(dst []float32, src []byte) {
	for i, b := range src {
		dst[i] = byteValue[b]
	}
}

// crop moves the image by dy, dx pixels up and to the left and fills with 0,
// which is a crop of the zero-padded image.
func (g *augmenter) crop(img []float32, dy, dx int) {
	clear(g.float)
	row := g.w * g.c
	for y := max(0, -dy); y < min(g.h, g.h-dy); y++ {
		lo, hi := max(0, -dx), min(g.w, g.w-dx)
		if lo < hi {
			copy(g.float[y*row+lo*g.c:y*row+hi*g.c], img[(y+dy)*row+(lo+dx)*g.c:])
		}
	}
	copy(img, g.float)
}

// flip mirrors the image left to right.
func (g *augmenter) flip(img []float32) {
	for y := range g.h {
		row := img[y*g.w*g.c : (y+1)*g.w*g.c]
		for l, r := 0, g.w-1; l < r; l, r = l+1, r-1 {
			for ch := range g.c {
				row[l*g.c+ch], row[r*g.c+ch] = row[r*g.c+ch], row[l*g.c+ch]
			}
		}
	}
}

// cutout sets a square about the pixel (cy, cx) to 0; what lies outside the
// image is cut off.
func (g *augmenter) cutout(img []float32, cy, cx int) {
	y0, x0 := cy-g.Cutout/2, cx-g.Cutout/2
	y1, x1 := min(y0+g.Cutout, g.h), min(x0+g.Cutout, g.w)
	y0, x0 = max(y0, 0), max(x0, 0)
	for y := y0; y < y1; y++ {
		clear(img[(y*g.w+x0)*g.c : (y*g.w+x1)*g.c])
	}
}

// affine rotates the image about its centre by angle degrees (anticlockwise
// as seen), enlarges it by scale and moves it by dx, dy pixels to the right
// and down. Bilinear between pixel centres, 0 outside.
func (g *augmenter) affine(img []float32, angle, scale, dx, dy float64) {
	// A border of zeros makes every position in sight have four neighbours.
	stride := (g.w + 2) * g.c
	if g.padded == nil {
		g.padded = make([]float32, (g.h+2)*stride)
	}
	for y := range g.h {
		copy(g.padded[(y+1)*stride+g.c:], img[y*g.w*g.c:(y+1)*g.w*g.c])
	}
	sin, cos := math.Sincos(angle * math.Pi / 180)
	// From an output position, relative to the centre, back to the input.
	xx, xy := float32(cos/scale), float32(-sin/scale)
	yx, yy := float32(sin/scale), float32(cos/scale)
	cx, cy := float32(g.w-1)/2, float32(g.h-1)/2
	right, bottom := float32(g.w+1), float32(g.h+1)
	for y := range g.h {
		v := float32(y) - cy - float32(dy)
		rowX, rowY := float32(xy*v)+cx+1, float32(yy*v)+cy+1
		for x := range g.w {
			u := float32(x) - cx - float32(dx)
			sx, sy := float32(xx*u)+rowX, float32(yx*u)+rowY // in the padded image
			out := img[(y*g.w+x)*g.c : (y*g.w+x+1)*g.c]
			if !(sx >= 0 && sx < right && sy >= 0 && sy < bottom) {
				clear(out)
				continue
			}
			x0, y0 := int(sx), int(sy)
			fx, fy := sx-float32(x0), sy-float32(y0)
			at := y0*stride + x0*g.c
			top := g.padded[at : at+2*g.c]
			low := g.padded[at+stride : at+stride+2*g.c]
			for ch := range out {
				t := top[ch] + float32(fx*(top[ch+g.c]-top[ch]))
				l := low[ch] + float32(fx*(low[ch+g.c]-low[ch]))
				out[ch] = t + float32(fy*(l-t))
			}
		}
	}
}
