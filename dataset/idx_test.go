package dataset

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// miniMNIST returns the four files: three training digits and two others.
func miniMNIST() map[string][]byte {
	return map[string][]byte{
		"train-images-idx3-ubyte": idxFile(noise(3*784, 1), 3, 28, 28),
		"train-labels-idx1-ubyte": idxFile([]byte{7, 0, 9}, 3),
		"t10k-images-idx3-ubyte":  idxFile(noise(2*784, 2), 2, 28, 28),
		"t10k-labels-idx1-ubyte":  idxFile([]byte{4, 4}, 2),
	}
}

func TestMNIST(t *testing.T) {
	for _, tc := range []struct {
		name, set, folder string
		gz                bool
	}{
		{"plain", "mnist", "", false},
		{"gzip", "mnist", "", true},
		{"torchvision", "mnist", "MNIST/raw", false},
		{"fashion", "fashion-mnist", "", true},
		{"fashion in torchvision's folder", "fashion-mnist", "FashionMNIST/raw", false},
		{"digits from a folder", "digits", "", true},
	} {
		dir := t.TempDir()
		for name, data := range miniMNIST() {
			if tc.gz {
				name, data = name+".gz", gzipped(data)
			}
			writeFile(t, filepath.Join(dir, tc.folder, name), data)
		}
		for split, labels := range map[string][]int{"train": {7, 0, 9}, "test": {4, 4}} {
			ds, err := Open(tc.set, dir, split)
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
				continue
			}
			if got, err := Labels(ds); err != nil || !slices.Equal(got, labels) {
				t.Errorf("%s, %s: labels %v, error %v, want %v", tc.name, split, got, err, labels)
			}
			img := make([]float32, 784)
			if _, err := ds.Sample(1, img); err != nil {
				t.Fatal(err)
			}
			raw := noise(2*784, map[string]uint32{"train": 1, "test": 2}[split])[784:]
			for i, v := range img {
				if v != float32(raw[i])/255 {
					t.Fatalf("%s, %s: pixel %d is %g, want %d/255", tc.name, split, i, v, raw[i])
				}
			}
			info := ds.Info()
			if info.Name != tc.set || info.Split != split || !slices.Equal(info.Shape, []int{28, 28, 1}) || len(info.Classes) != 10 {
				t.Errorf("%s, %s: info %+v", tc.name, split, info)
			}
		}
	}
}

// The hash is over the content: compression does not change it.
func TestHashIgnoresCompression(t *testing.T) {
	sum := func(gz bool, change int) string {
		dir := t.TempDir()
		for name, data := range miniMNIST() {
			data[len(data)-1-change] ^= byte(change)
			if gz {
				name, data = name+".gz", gzipped(data)
			}
			writeFile(t, filepath.Join(dir, name), data)
		}
		ds, err := Open("mnist", dir, "train")
		if err != nil {
			t.Fatal(err)
		}
		return ds.Info().SHA256
	}
	if a, b := sum(false, 0), sum(true, 0); a != b || len(a) != 64 {
		t.Errorf("plain %s, gzip %s", a, b)
	}
	if sum(false, 0) == sum(false, 1) {
		t.Error("changed files have the same hash")
	}
}

func TestBadIDX(t *testing.T) {
	const images, labels = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
	good := miniMNIST()
	cut := func(name string, n int) []byte { return good[name][:len(good[name])-n] }
	change := func(name string, at int, b byte) []byte {
		data := bytes.Clone(good[name])
		data[at] = b
		return data
	}
	for _, tc := range []struct {
		name, file string
		data       []byte
		offset     int64
		words      string
	}{
		{"empty", images, nil, 0, "truncated"},
		{"half a header", images, good[images][:9], 9, "truncated"},
		{"wrong magic", images, change(images, 0, 'P'), 0, "magic"},
		{"floats", images, change(images, 2, 0x0d), 2, "type"},
		{"labels for images", images, good[labels], 3, "dimensions"},
		{"no rows", images, change(images, 11, 0), 8, "dimension 1 is 0"},
		{"image size", images, idxFile(noise(3*28*27, 1), 3, 28, 27), 8, "28x27"},
		{"truncated", images, cut(images, 1), 16 + 3*784 - 1, "truncated"},
		{"huge claim", images, change(images, 4, 0xff), 4, "claim"},
		{"large claim", images, change(images, 6, 0xff), 16 + 3*784, "truncated"},
		{"trailing bytes", images, append(bytes.Clone(good[images]), 0), 16 + 3*784, "trailing"},
		{"label 10", labels, change(labels, 9, 10), 9, "label 10 of sample 1"},
		{"fewer labels", labels, idxFile([]byte{1, 2}, 2), 4, "2 labels for 3 images"},
		{"label missing", labels, cut(labels, 1), 10, "truncated"},
	} {
		for _, gz := range []bool{false, true} {
			dir := t.TempDir()
			for name, data := range good {
				if name == tc.file {
					data = tc.data
				}
				if gz {
					name, data = name+".gz", gzipped(data)
				}
				writeFile(t, filepath.Join(dir, name), data)
			}
			file := tc.file
			if gz {
				file += ".gz"
			}
			_, err := Open("mnist", dir, "train")
			wantFormatError(t, err, file, tc.offset, tc.words)
			if _, err := Open("mnist", dir, "test"); err != nil {
				t.Errorf("%s: test split: %v", tc.name, err)
			}
		}
	}
}

func TestDamagedGzip(t *testing.T) {
	packed := gzipped(miniMNIST()["train-images-idx3-ubyte"])
	flip := bytes.Clone(packed)
	flip[len(flip)/2] ^= 0xff
	checksum := bytes.Clone(packed)
	checksum[len(checksum)-6] ^= 1
	for name, data := range map[string][]byte{
		"no gzip":        []byte("digits"),
		"empty":          {},
		"truncated":      packed[:len(packed)-100],
		"no checksum":    packed[:len(packed)-8],
		"wrong checksum": checksum,
		"flipped bits":   flip,
		"more behind":    append(bytes.Clone(packed), "more"...),
	} {
		dir := t.TempDir()
		for file, content := range miniMNIST() {
			writeFile(t, filepath.Join(dir, file+".gz"), gzipped(content))
		}
		writeFile(t, filepath.Join(dir, "train-images-idx3-ubyte.gz"), data)
		_, err := Open("mnist", dir, "train")
		t.Run(name, func(t *testing.T) { wantFormatError(t, err, "train-images-idx3-ubyte.gz", -2, "") })
	}
}

func TestMissingData(t *testing.T) {
	t.Setenv("ADAFIRE_DATA", "")
	_, err := Open("mnist", "", "train")
	wantMissing(t, err, "")
	root := t.TempDir()
	t.Setenv("ADAFIRE_DATA", root)
	for _, name := range Names() {
		if name == "digits" {
			continue
		}
		_, err := Open(name, "", "train")
		wantMissing(t, err, name)
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err = Open(name, "", "train")
		wantMissing(t, err, "")
	}
	for file, data := range miniMNIST() {
		writeFile(t, filepath.Join(root, "mnist", file), data)
	}
	if _, err := Open("mnist", "", "train"); err != nil {
		t.Errorf("found by ADAFIRE_DATA: %v", err)
	}
	os.Remove(filepath.Join(root, "mnist", "train-labels-idx1-ubyte"))
	_, err = Open("mnist", "", "train")
	wantMissing(t, err, "mnist/train-labels-idx1-ubyte")

	writeFile(t, filepath.Join(root, "plain"), nil)
	_, err = Open("mnist", filepath.Join(root, "plain"), "train")
	wantMissing(t, err, "plain")
	if _, err := Open("minst", root, "train"); err == nil {
		t.Error("unknown data set: no error")
	}
	if _, err := Open("mnist", root, "valid"); err == nil {
		t.Error("unknown split: no error")
	}
}

func FuzzIDX(f *testing.F) {
	f.Add(idxFile(noise(2*784, 1), 2, 28, 28), false)
	f.Add(gzipped(idxFile(noise(2*6, 1), 2, 2, 3)), true)
	f.Add(idxFile(nil, 1<<31, 1<<31, 4), false)
	f.Fuzz(func(t *testing.T, data []byte, gz bool) {
		a, err := readIDX("fuzz", bytes.NewReader(data), int64(len(data)), gz, 3)
		if err != nil {
			return
		}
		if n := a.dims[0] * a.dims[1] * a.dims[2]; n != len(a.data) || n > 1100*len(data) {
			t.Fatalf("%d values of dimensions %v out of %d bytes", len(a.data), a.dims, len(data))
		}
		again := idxFile(a.data, a.dims...)
		if !gz && !bytes.Equal(again, data) {
			t.Fatal("written again, the file differs")
		}
	})
}
