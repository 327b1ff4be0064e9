package dataset

import (
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"
)

// npyFile makes a .npy file of format 1.0.
func npyFile(descr string, shape string, data []byte) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape)
	for (len(header)+11)%64 != 0 {
		header += " "
	}
	header += "\n"
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	return append(append(out, header...), data...)
}

func floats(values ...float32) []byte {
	var out []byte
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

func miniNPY() map[string][]byte {
	return map[string][]byte{
		"x_train.npy": npyFile("|u1", "(2, 1, 2, 2)", []byte{0, 255, 255, 255, 0, 255, 255, 255}),
		"y_train.npy": npyFile("<i8", "(2,)", []byte{0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}),
		"x_test.npy":  npyFile("<f4", "(1, 1, 2, 2)", floats(0, 0.25, 0.5, 1)),
		"y_test.npy":  npyFile("|u1", "(1,)", []byte{4}),
	}
}

func TestNPY(t *testing.T) {
	dir := t.TempDir()
	for name, data := range miniNPY() {
		writeFile(t, filepath.Join(dir, name), data)
	}
	want := map[string][]float32{"train": {0, 1, 1, 1}, "test": {0, 0.25, 0.5, 1}}
	var sums []string
	for _, split := range []string{"train", "test"} {
		ds, err := Open("npy", dir, split)
		if err != nil {
			t.Fatal(err)
		}
		img := make([]float32, 4)
		y, err := ds.Sample(0, img)
		if err != nil || !slices.Equal(img, want[split]) || y != map[string]int{"train": 0, "test": 4}[split] {
			t.Errorf("%s: sample %v label %d, error %v", split, img, y, err)
		}
		info := ds.Info()
		if len(info.Classes) != 5 || !slices.Equal(info.Shape, []int{1, 2, 2}) {
			t.Errorf("%s: %d classes, shape %v, want 5 and [1 2 2]", split, len(info.Classes), info.Shape)
		}
		// Statistics are those of the training images: channel 0 is half 0 and
		// half 1, channel 1 is constant.
		if !slices.Equal(info.Mean, []float32{0.5, 1}) || !slices.Equal(info.Std, []float32{0.5, 1}) {
			t.Errorf("%s: mean %v, deviation %v", split, info.Mean, info.Std)
		}
		sums = append(sums, info.SHA256)
	}
	if sums[0] == sums[1] {
		t.Error("both splits have the same hash")
	}
}

func TestBadNPY(t *testing.T) {
	for _, tc := range []struct {
		name, file, words string
		data              []byte
	}{
		{"no array", "x_train.npy", "", []byte("array")},
		{"truncated", "x_train.npy", "", npyFile("|u1", "(2, 1, 2, 2)", make([]byte, 7))},
		{"two axes", "x_train.npy", "[N,H,W,C]", npyFile("|u1", "(2, 4)", make([]byte, 8))},
		{"empty", "x_train.npy", "no values", npyFile("|u1", "(0, 1, 2, 2)", nil)},
		{"integers", "x_train.npy", "int16", npyFile("<i2", "(2, 1, 2, 1)", make([]byte, 8))},
		{"channels first", "x_train.npy", "channels", npyFile("|u1", "(2, 3, 8, 8)", make([]byte, 384))},
		{"0 to 255 as floats", "x_train.npy", "value 255", npyFile("<f4", "(2, 1, 1, 2)", floats(0, 1, 0, 255))},
		{"NaN", "x_train.npy", "NaN in image 1", npyFile("<f4", "(2, 1, 1, 2)", floats(0, 1, 0, float32(math.NaN())))},
		{"more labels", "y_train.npy", "3 labels for 2 images", npyFile("|u1", "(3,)", []byte{0, 1, 2})},
		{"label matrix", "y_train.npy", "[N]", npyFile("|u1", "(2, 1)", []byte{0, 1})},
		{"negative label", "y_train.npy", "label -1 of sample 1", npyFile("|i1", "(2,)", []byte{0, 255})},
		{"huge label", "y_train.npy", "label 65536", npyFile("<i4", "(2,)", []byte{0, 0, 1, 0, 0, 0, 0, 0})},
		{"float labels", "y_train.npy", "integers", npyFile("<f4", "(2,)", floats(0, 1))},
		{"bad labels of the other split", "y_test.npy", "label -1", npyFile("|i1", "(1,)", []byte{255})},
	} {
		dir := t.TempDir()
		for name, data := range miniNPY() {
			if name == tc.file {
				data = tc.data
			}
			writeFile(t, filepath.Join(dir, name), data)
		}
		_, err := Open("npy", dir, "train")
		t.Run(tc.name, func(t *testing.T) { wantFormatError(t, err, tc.file, -2, tc.words) })
	}
	dir := t.TempDir()
	for name, data := range miniNPY() {
		if name == "x_test.npy" {
			data = npyFile("|u1", "(1, 2, 2, 2)", make([]byte, 8))
		}
		if name != "x_train.npy" {
			writeFile(t, filepath.Join(dir, name), data)
		}
	}
	_, err := Open("npy", dir, "test")
	wantMissing(t, err, "x_train.npy")
	writeFile(t, filepath.Join(dir, "x_train.npy"), miniNPY()["x_train.npy"])
	_, err = Open("npy", dir, "test")
	wantFormatError(t, err, "x_test.npy", -1, "images of shape")
}
