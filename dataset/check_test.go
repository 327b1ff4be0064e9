package dataset

import (
	"encoding/json"
	"errors"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCheckDigits(t *testing.T) {
	r, err := Check("digits", "")
	if err != nil || !r.OK() {
		t.Fatalf("report %+v, error %v", r, err)
	}
	if len(r.Splits) != 2 || r.Splits[0].Samples != 10000 || r.Splits[1].PerClass[3] != 242 {
		t.Errorf("report %+v", r)
	}
	for _, s := range r.Splits {
		if len(s.Notes) != 0 {
			t.Errorf("%s: notes %v", s.Split, s.Notes)
		}
	}
}

func TestCheckFindsDefects(t *testing.T) {
	dir := miniFolder(t)
	writeFile(t, filepath.Join(dir, "train/cat/a.png"), []byte("no image"))
	r, err := Check("imagefolder", dir)
	if err != nil {
		t.Fatal(err)
	}
	train, test := r.Splits[0], r.Splits[1]
	if r.OK() || len(train.Problems) != 1 || !strings.Contains(train.Problems[0], "a.png") {
		t.Errorf("problems %v", train.Problems)
	}
	if !slices.Equal(train.PerClass, []int{2, 1}) || train.Samples != 4 {
		t.Errorf("%d samples, per class %v, want 4 and [2 1]", train.Samples, train.PerClass)
	}
	if !strings.Contains(strings.Join(train.Notes, "\n"), "1 files in") || len(test.Problems) != 0 {
		t.Errorf("notes %v, problems of the test split %v", train.Notes, test.Problems)
	}

	mnist := t.TempDir()
	for name, data := range miniMNIST() {
		writeFile(t, filepath.Join(mnist, name), data)
	}
	os.Remove(filepath.Join(mnist, "t10k-labels-idx1-ubyte"))
	r, err = Check("mnist", mnist)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Splits[0].Problems) != 0 || len(r.Splits[1].Problems) != 1 {
		t.Errorf("report %+v", r)
	}
	if notes := strings.Join(r.Splits[0].Notes, "\n"); !strings.Contains(notes, "3 samples, as distributed it has 60000") ||
		!strings.Contains(notes, "no sample of class 1") {
		t.Errorf("notes %v", notes)
	}
	if text, err := json.Marshal(r); err != nil || !strings.Contains(string(text), `"per_class":[1,0,0`) {
		t.Errorf("as JSON: %s, %v", text, err)
	}
	if _, err := Check("minst", mnist); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown data set: error %v", err)
	}
}

func TestDescriptions(t *testing.T) {
	for _, name := range Names() {
		d := Describe(name)
		if d.Name != name || d.Summary == "" || d.Licence == "" || len(d.Layout) == 0 {
			t.Errorf("%s: description %+v", name, d)
		}
		if err := func() error { a := DefaultAugment(name); return a.Validate() }(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.Contains(MNISTLicence, "Attribution-ShareAlike 3.0") {
		t.Error("the notice of the digits does not name their licence")
	}
	root, err := os.ReadFile("../LICENSE-MNIST")
	if err != nil || string(root) != MNISTLicence {
		t.Errorf("LICENSE-MNIST in the root folder differs from the embedded one (%v)", err)
	}
}

func TestContactSheet(t *testing.T) {
	ds := synthetic(5, 8, 16, 3, 3)
	img, err := ContactSheet(ds, []int{4, 0, 2}, 2)
	if err != nil {
		t.Fatal(err)
	}
	// Zoom 4: tiles of 64x32, a caption of 12 below, gaps of 4.
	if b := img.Bounds(); b.Dx() != 2*68+4 || b.Dy() != 2*48+4 {
		t.Errorf("sheet of %v", b)
	}
	at := func(x, y int) [3]byte {
		c := color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)
		return [3]byte{c.R, c.G, c.B}
	}
	for k, i := range []int{4, 0, 2} {
		px := ds.pixels[i*8*16*3+(3*16+5)*3:] // row 3, column 5
		if got := at(4+k%2*68+5*4+1, 4+k/2*48+3*4+2); got != [3]byte(px[:3]) {
			t.Errorf("tile %d: pixel %v, want %v", k, got, px[:3])
		}
	}
	black := func(k int) (n int) { // pixels of a caption
		for y := range 10 {
			for x := range 20 {
				if at(4+k%2*68+x, 4+k/2*48+34+y) == [3]byte{} {
					n++
				}
			}
		}
		return n
	}
	// Labels 28 mod 3 = 1, 0, 14 mod 3 = 2: figures of 8, 12 and 11 dots of 2x2.
	if got := []int{black(0), black(1), black(2)}; !slices.Equal(got, []int{32, 48, 44}) {
		t.Errorf("captions have %v black pixels", got)
	}
	for name, bad := range map[string]func() error{
		"no samples": func() error { _, err := ContactSheet(ds, nil, 2); return err },
		"no columns": func() error { _, err := ContactSheet(ds, []int{1}, 0); return err },
		"no sample":  func() error { _, err := ContactSheet(ds, []int{5}, 1); return err },
		"too large":  func() error { _, err := ContactSheet(ds, make([]int, 1<<16), 4); return err },
	} {
		if bad() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
