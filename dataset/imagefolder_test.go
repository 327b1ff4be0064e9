package dataset

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// picture is a w x h image of a smooth pattern.
func picture(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetRGBA(x, y, color.RGBA{byte(255 * x / w), byte(255 * y / h), byte(128 + x - y), 255})
		}
	}
	return img
}

func pngFile(img image.Image) []byte {
	var b bytes.Buffer
	png.Encode(&b, img)
	return b.Bytes()
}

func jpegFile(img image.Image) []byte {
	var b bytes.Buffer
	jpeg.Encode(&b, img, &jpeg.Options{Quality: 95})
	return b.Bytes()
}

func miniFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"train/cat/b.jpg":        jpegFile(picture(50, 40)),
		"train/cat/a.png":        pngFile(picture(40, 60)),
		"train/cat/more/c.JPEG":  pngFile(picture(33, 33)), // a PNG by content, as ImageNet has one
		"train/dog/d.png":        pngFile(image.NewGray(image.Rect(0, 0, 45, 40))),
		"train/dog/notes.txt":    []byte("no image"),
		"train/.hidden/x.png":    []byte("no image"),
		"val/cat/e.png":          pngFile(picture(40, 40)),
		"val/dog/f.png":          pngFile(picture(300, 35)),
		"test/unlabelled/g.jpeg": jpegFile(picture(40, 40)), // val is preferred
	} {
		writeFile(t, filepath.Join(dir, name), data)
	}
	return dir
}

func TestImageFolder(t *testing.T) {
	dir := miniFolder(t)
	ds, err := Open("imagefolder", dir, "train", WithSize(32))
	if err != nil {
		t.Fatal(err)
	}
	info := ds.Info()
	if !slices.Equal(info.Classes, []string{"cat", "dog"}) || !slices.Equal(info.Shape, []int{32, 32, 3}) {
		t.Errorf("classes %v, shape %v", info.Classes, info.Shape)
	}
	var files []string
	for _, f := range ds.(*imageFolder).files {
		files = append(files, filepath.ToSlash(f))
	}
	if !slices.Equal(files, []string{"cat/a.png", "cat/b.jpg", "cat/more/c.JPEG", "dog/d.png"}) {
		t.Errorf("files %v", files)
	}
	if y, _ := Labels(ds); !slices.Equal(y, []int{0, 0, 0, 1}) {
		t.Errorf("labels %v", y)
	}
	img := make([]float32, 32*32*3)
	for i := range ds.Len() {
		if _, err := ds.Sample(i, img); err != nil {
			t.Errorf("sample %d: %v", i, err)
		}
	}
	if slices.Max(img) != 0 {
		t.Error("a black image is not black")
	}

	test, err := Open("imagefolder", dir, "test", WithSize(32))
	if err != nil {
		t.Fatal(err)
	}
	if test.Len() != 2 || !slices.Equal(test.Info().Classes, info.Classes) {
		t.Errorf("test split: %d samples of classes %v", test.Len(), test.Info().Classes)
	}
	// 40x40 to 37x37, centre 32x32: as the resampler says.
	if _, err := test.Sample(0, img); err != nil {
		t.Fatal(err)
	}
	p := toRGB(picture(40, 40))
	want := p.resize(rect{0, 0, 40, 40}, 37, 37, rect{2, 2, 32, 32})
	raw := make([]byte, len(img))
	if quantise(raw, img); !bytes.Equal(raw, want.data) {
		t.Error("test sample is not the resized centre crop")
	}

	// Training crops come from the original and differ from epoch to epoch.
	l, err := NewLoader(Subset(ds, []int{1, 0}), LoaderOptions{BatchSize: 2, Augment: Augment{ResizedCrop: true}})
	if err != nil {
		t.Fatal(err)
	}
	var seen [][]float32
	for epoch := range 2 {
		for b, err := range l.Epoch(t.Context(), epoch, 0) {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, slices.Clone(b.X.Data))
		}
	}
	if slices.Equal(seen[0], seen[1]) {
		t.Error("two epochs show the same crops")
	}
}

func TestDecodersAgree(t *testing.T) {
	src := picture(37, 29)
	want := toRGB(src)
	generic := image.NewRGBA64(src.Bounds())
	wide := image.NewNRGBA64(src.Bounds())
	clear := image.NewNRGBA(src.Bounds())
	for y := range 29 {
		for x := range 37 {
			c := src.RGBAAt(x, y)
			generic.Set(x, y, c)
			wide.Set(x, y, c)
			clear.SetNRGBA(x, y, color.NRGBA{c.R, c.G, c.B, byte(x)}) // transparency is dropped
		}
	}
	for name, img := range map[string]image.Image{"RGBA64": generic, "NRGBA64": wide, "NRGBA": clear} {
		if got := toRGB(img); !bytes.Equal(got.data, want.data) {
			t.Errorf("%s: pixels differ", name)
		}
	}
	sub := toRGB(src.SubImage(image.Rect(5, 6, 20, 21)))
	if sub.w != 15 || sub.h != 15 || sub.data[0] != want.data[(6*37+5)*3] {
		t.Error("a sub-image is read from the wrong place")
	}
	img, err := jpeg.Decode(bytes.NewReader(jpegFile(src)))
	if err != nil {
		t.Fatal(err)
	}
	var worst int
	for i, v := range toRGB(img).data {
		worst = max(worst, int(v)-int(want.data[i]), int(want.data[i])-int(v))
	}
	if worst > 24 {
		t.Errorf("JPEG differs by %d of 255", worst)
	}
}

func TestBadImages(t *testing.T) {
	good := pngFile(picture(40, 40))
	claim := bytes.Clone(good) // 50,000 x 50,000 pixels
	binary.BigEndian.PutUint32(claim[16:], 50000)
	binary.BigEndian.PutUint32(claim[20:], 50000)
	binary.BigEndian.PutUint32(claim[29:], crc32.ChecksumIEEE(claim[12:29]))
	cannot := bytes.Clone(claim)
	binary.BigEndian.PutUint32(cannot[16:], 8000)
	binary.BigEndian.PutUint32(cannot[20:], 8000)
	binary.BigEndian.PutUint32(cannot[29:], crc32.ChecksumIEEE(cannot[12:29]))
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 0x55
	jpg := jpegFile(picture(40, 40))
	for _, tc := range []struct {
		name, words string
		data        []byte
	}{
		{"empty", "not a readable", nil},
		{"text", "not a readable", []byte("hello")},
		{"truncated PNG", "damaged png", good[:len(good)/2]},
		{"flipped bits", "damaged png", flipped},
		{"truncated JPEG", "damaged jpeg", jpg[:len(jpg)-40]},
		{"huge", "at most", claim},
		{"claims too much", "cannot hold", cannot},
	} {
		dir := miniFolder(t)
		writeFile(t, filepath.Join(dir, "train/cat/a.png"), tc.data)
		ds, err := Open("imagefolder", dir, "train", WithSize(16))
		if err != nil {
			t.Fatal(err)
		}
		_, err = ds.Sample(0, make([]float32, 16*16*3))
		t.Run(tc.name, func(t *testing.T) { wantFormatError(t, err, "a.png", -2, tc.words) })
	}
}

func TestBadImageFolders(t *testing.T) {
	for _, tc := range []struct {
		name, split, words string
		spoil              func(dir string) error
	}{
		{"no val", "test", "", func(dir string) error {
			os.RemoveAll(filepath.Join(dir, "test"))
			return os.RemoveAll(filepath.Join(dir, "val"))
		}},
		{"empty class", "train", "holds no image", func(dir string) error { return os.Remove(filepath.Join(dir, "train/dog/d.png")) }},
		{"flat", "train", "no class folders", func(dir string) error {
			os.RemoveAll(filepath.Join(dir, "train"))
			os.Mkdir(filepath.Join(dir, "train"), 0o755)
			return os.WriteFile(filepath.Join(dir, "train/a.png"), nil, 0o644)
		}},
		{"unknown class", "test", "class folder is not in", func(dir string) error {
			return os.Rename(filepath.Join(dir, "val/dog"), filepath.Join(dir, "val/wolf"))
		}},
	} {
		dir := miniFolder(t)
		if err := tc.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("imagenet", dir, tc.split); err == nil || !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.words)
		}
	}
	if _, err := Open("imagefolder", miniFolder(t), "train", WithSize(0)); err == nil {
		t.Error("size 0: accepted")
	}
}
