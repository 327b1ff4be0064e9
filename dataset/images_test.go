package dataset

import (
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writePNG writes an image whose red is the column and green the row.
func writePNG(t *testing.T, path string, w, h int) {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, color.NRGBA{uint8(x), uint8(y), 100, 255})
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, img); err != nil {
		t.Fatal(err)
	}
}

func TestImages(t *testing.T) {
	dir := t.TempDir()
	writePNG(t, filepath.Join(dir, "b", "y.png"), 64, 32)
	writePNG(t, filepath.Join(dir, "a.png"), 32, 64)
	os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o666)
	paths, err := FindImages([]string{dir})
	if err != nil || len(paths) != 2 || !strings.HasSuffix(paths[0], "a.png") {
		t.Fatalf("found %v, %v", paths, err)
	}
	m, err := NewImages(paths, []int{28, 28, 3}, []float32{0.5, 0.25, 0}, []float32{1, 0.5, 2})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, m.Size())
	if err := m.Sample(1, x); err != nil {
		t.Fatal(err)
	}
	// Short side 32: 64x32 stays as it is, and the centre begins at (18, 2).
	want := []float32{18.0/255 - 0.5, (2.0/255 - 0.25) / 0.5, 100.0 / 255 / 2}
	for c, w := range want {
		if math.Abs(float64(x[c]-w)) > 1e-6 {
			t.Errorf("channel %d of the first pixel: got %v, want %v", c, x[c], w)
		}
	}
	m.Whole = true
	if err := m.Sample(1, x); err != nil {
		t.Fatal(err)
	}
	if x[0] > 5.0/255-0.5 {
		t.Errorf("first pixel of the whole image has red %v", x[0])
	}
	a, b := make([]float32, m.Size()), make([]float32, m.Size())
	if m.Crop(0, rand.New(rand.NewPCG(1, 2)), a) != nil || m.Crop(0, rand.New(rand.NewPCG(1, 2)), b) != nil || !slices.Equal(a, b) {
		t.Error("equal seeds give unequal crops")
	}
	one, err := NewImages(paths, []int{16, 24, 1}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Sample(0, make([]float32, 16*24)); err != nil {
		t.Error(err)
	}
}

func TestImagesRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := FindImages([]string{dir}); err == nil || !strings.Contains(err.Error(), "no JPEG or PNG") {
		t.Errorf("empty folder: got %v", err)
	}
	if _, err := FindImages(nil); err == nil {
		t.Error("no arguments: got no error")
	}
	if _, err := FindImages([]string{filepath.Join(dir, "none.png")}); err == nil {
		t.Error("missing file: got no error")
	}
	for _, c := range []struct {
		shape     []int
		mean, std []float32
	}{
		{[]int{28, 28, 2}, nil, nil}, {[]int{28, 28}, nil, nil}, {[]int{28, 28, 3}, []float32{1}, nil},
		{[]int{28, 28, 1}, nil, []float32{0}}, {[]int{28, 28, 1}, nil, []float32{float32(math.NaN())}},
	} {
		if _, err := NewImages([]string{"x"}, c.shape, c.mean, c.std); err == nil {
			t.Errorf("%v: got no error", c)
		}
	}
}
