package dataset

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/adafire/adafire/internal/random"
)

// count is an image whose values are 1, 2, 3, ... over 255.
func count(h, w, c int) []float32 {
	img := make([]float32, h*w*c)
	for i := range img {
		img[i] = float32(i+1) / 255
	}
	return img
}

// as255 turns values back into the numbers that count wrote.
func as255(img []float32) []int {
	out := make([]int, len(img))
	for i, v := range img {
		out[i] = int(math.Round(float64(v) * 255))
	}
	return out
}

func TestCrop(t *testing.T) {
	for _, tc := range []struct {
		name   string
		dy, dx int
		want   []int
	}{
		{"nothing", 0, 0, []int{1, 2, 3, 4, 5, 6}},
		{"down", -1, 0, []int{0, 0, 0, 1, 2, 3}},
		{"up and left", 1, 1, []int{5, 6, 0, 0, 0, 0}},
		{"right", 0, -2, []int{0, 0, 1, 0, 0, 4}},
		{"out of sight", 0, 3, []int{0, 0, 0, 0, 0, 0}},
		{"far out", -9, 9, []int{0, 0, 0, 0, 0, 0}},
	} {
		img := count(2, 3, 1)
		newAugmenter(Augment{}, []int{2, 3, 1}).crop(img, tc.dy, tc.dx)
		if got := as255(img); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
	img := count(1, 3, 2)
	newAugmenter(Augment{}, []int{1, 3, 2}).crop(img, 0, 1)
	if got := as255(img); !slices.Equal(got, []int{3, 4, 5, 6, 0, 0}) {
		t.Errorf("two channels: got %v", got)
	}
}

func TestFlip(t *testing.T) {
	img := count(2, 3, 2)
	g := newAugmenter(Augment{}, []int{2, 3, 2})
	g.flip(img)
	if got := as255(img); !slices.Equal(got, []int{5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8}) {
		t.Errorf("got %v", got)
	}
	g.flip(img)
	if !slices.Equal(img, count(2, 3, 2)) {
		t.Error("flipped twice, the image differs")
	}
}

func TestCutout(t *testing.T) {
	for _, tc := range []struct {
		name         string
		side, cy, cx int
		want         []int
	}{
		{"inside", 2, 1, 1, []int{0, 0, 3, 4, 0, 0, 7, 8, 9, 10, 11, 12}},
		{"corner", 2, 0, 0, []int{0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		{"odd", 3, 2, 3, []int{1, 2, 3, 4, 5, 6, 0, 0, 9, 10, 0, 0}},
		{"all", 8, 1, 1, make([]int, 12)},
	} {
		img := count(3, 4, 1)
		newAugmenter(Augment{Cutout: tc.side}, []int{3, 4, 1}).cutout(img, tc.cy, tc.cx)
		if got := as255(img); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestAffine(t *testing.T) {
	shape := []int{3, 3, 1}
	for _, tc := range []struct {
		name                 string
		angle, scale, dx, dy float64
		want                 []int
	}{
		{"identity", 0, 1, 0, 0, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"quarter turn anticlockwise", 90, 1, 0, 0, []int{3, 6, 9, 2, 5, 8, 1, 4, 7}},
		{"right", 0, 1, 1, 0, []int{0, 1, 2, 0, 4, 5, 0, 7, 8}},
		{"down by half", 0, 1, 0, 0.5, []int{1, 1, 2, 3, 4, 5, 6, 7, 8}}, // (1+0)/2 rounds to 1
		{"doubled", 0, 2, 0, 0, []int{3, 4, 4, 5, 5, 6, 6, 7, 7}},
	} {
		img := count(3, 3, 1)
		newAugmenter(Augment{}, shape).affine(img, tc.angle, tc.scale, tc.dx, tc.dy)
		got := as255(img)
		for i, v := range got {
			if math.Abs(float64(img[i]*255)-float64(tc.want[i])) > 0.51 {
				t.Errorf("%s: value %d is %d, want %d (%v)", tc.name, i, v, tc.want[i], got)
			}
		}
	}
}

// Interpolation stays between 0 and the largest value, for any map.
func TestAffineStaysInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, w, c := rapid.IntRange(1, 9).Draw(t, "h"), rapid.IntRange(1, 9).Draw(t, "w"), rapid.IntRange(1, 3).Draw(t, "c")
		img := make([]float32, h*w*c)
		unquantise(img, noise(len(img), rapid.Uint32().Draw(t, "seed")))
		most := slices.Max(img)
		newAugmenter(Augment{}, []int{h, w, c}).affine(img, rapid.Float64Range(-180, 180).Draw(t, "angle"),
			rapid.Float64Range(0.1, 1.9).Draw(t, "scale"), rapid.Float64Range(-64, 64).Draw(t, "dx"), rapid.Float64Range(-64, 64).Draw(t, "dy"))
		for i, v := range img {
			if !(v >= 0 && v <= most*1.00001) {
				t.Fatalf("value %d is %g, the largest was %g", i, v, most)
			}
		}
	})
}

func TestQuantiseRestoresBytes(t *testing.T) {
	for b := range 256 {
		var out [1]byte
		quantise(out[:], []float32{byteValue[b]})
		if int(out[0]) != b {
			t.Errorf("byte %d comes back as %d", b, out[0])
		}
	}
}

// What does nothing at its lowest magnitude leaves every byte as it is.
func TestIdentityMagnitudes(t *testing.T) {
	var ops imageOps
	for _, c := range []int{1, 3} {
		for _, op := range []string{"shearX", "shearY", "translateX", "translateY", "rotate", "color", "contrast",
			"sharpness", "brightness", "posterize", "solarize"} {
			p := pixels{7, 9, c, noise(7*9*c, 5)}
			ops.apply(p, op, 0, 1)
			if !bytes.Equal(p.data, noise(7*9*c, 5)) {
				t.Errorf("%s with magnitude 0 changes a %d-channel image", op, c)
			}
		}
		p := pixels{7, 9, c, noise(7*9*c, 5)}
		ops.invert(p)
		ops.invert(p)
		if !bytes.Equal(p.data, noise(7*9*c, 5)) {
			t.Error("inverted twice, the image differs")
		}
	}
}

func TestOperationsOnKnownImages(t *testing.T) {
	var ops imageOps
	for _, tc := range []struct {
		name     string
		run      func(p pixels)
		in, want []byte
	}{
		{"invert", ops.invert, []byte{0, 1, 128, 255}, []byte{255, 254, 127, 0}},
		{"solarize 128", func(p pixels) { ops.solarize(p, 128) }, []byte{0, 127, 128, 255}, []byte{0, 127, 127, 0}},
		{"posterize 4", func(p pixels) { ops.posterize(p, 4) }, []byte{0, 15, 16, 255}, []byte{0, 0, 16, 240}},
		{"brightness 0", func(p pixels) { ops.brightness(p, 0) }, []byte{9, 8, 7, 6}, []byte{0, 0, 0, 0}},
		{"brightness 1.9", func(p pixels) { ops.brightness(p, 1.9) }, []byte{0, 10, 100, 200}, []byte{0, 19, 190, 255}},
		{"contrast 0", func(p pixels) { ops.contrast(p, 0) }, []byte{0, 10, 20, 31}, []byte{15, 15, 15, 15}},
		{"autocontrast", ops.autocontrast, []byte{50, 100, 150, 100}, []byte{0, 127, 255, 127}},
		{"autocontrast of one value", ops.autocontrast, []byte{9, 9, 9, 9}, []byte{9, 9, 9, 9}},
		{"equalize of few pixels", ops.equalize, []byte{1, 2, 3, 4}, []byte{1, 2, 3, 4}},
		{"left by half", func(p pixels) { ops.translateX(p, 0.5) }, []byte{1, 2, 3, 4}, []byte{3, 4, fill, fill}},
	} {
		p := pixels{1, 4, 1, slices.Clone(tc.in)}
		tc.run(p)
		if !bytes.Equal(p.data, tc.want) {
			t.Errorf("%s: %v becomes %v, want %v", tc.name, tc.in, p.data, tc.want)
		}
	}
}

// The policy draws each pair about equally often, and what it does depends on
// the stream only.
func TestAutoAugmentIsSeeded(t *testing.T) {
	var ops imageOps
	results := map[string]bool{}
	for i := range uint64(200) {
		run := func() []byte {
			p := pixels{16, 16, 3, noise(16*16*3, 8)}
			ops.autoAugment(random.New(1, "augment", i), p)
			return p.data
		}
		first := run()
		if !bytes.Equal(first, run()) {
			t.Fatalf("stream %d gives two results", i)
		}
		results[string(first)] = true
	}
	if len(results) < 50 {
		t.Errorf("200 streams give %d results", len(results))
	}
	var total float64
	for _, pair := range cifarPolicy {
		total += pair[0].prob + pair[1].prob
	}
	if math.Abs(total-26.7) > 1e-9 { // sum over the table of the specification
		t.Errorf("probabilities add up to %g", total)
	}
}

func TestResizedCropOfConstant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, w := rapid.IntRange(1, 80).Draw(t, "h"), rapid.IntRange(1, 80).Draw(t, "w")
		v := rapid.Byte().Draw(t, "value")
		p := pixels{h, w, 3, bytes.Repeat([]byte{v}, h*w*3)}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for _, out := range []pixels{resizedCrop(rng, p, 13, 11), centreCrop(p, 15, 13)} {
			for i, got := range out.data {
				if got != v {
					t.Fatalf("value %d of an image of %d is %d", i, v, got)
				}
			}
		}
	})
}

func TestCentreCrop(t *testing.T) {
	// 6x4, short side already 4: the centre 2x2 comes unchanged.
	p := pixels{4, 6, 1, make([]byte, 24)}
	for i := range p.data {
		p.data[i] = byte(i)
	}
	if got := centreCrop(p, 4, 2).data; !bytes.Equal(got, []byte{8, 9, 14, 15}) {
		t.Errorf("got %v", got)
	}
	// A very long image must not be scaled as a whole.
	long := pixels{1 << 20, 1, 3, make([]byte, 3<<20)}
	if out := centreCrop(long, 256, 224); len(out.data) != 224*224*3 {
		t.Errorf("%d values", len(out.data))
	}
}
