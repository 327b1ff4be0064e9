package dataset

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math"
	"slices"
	"testing"
)

func TestDigitFiles(t *testing.T) {
	// Sums of the unpacked content, as published with the subset.
	for name, want := range map[string]string{
		"train-images-idx3-ubyte": "2889698e6bc3614913e76901316712919d1998fc2b44512451bfe65bc1e668b1",
		"train-labels-idx1-ubyte": "651e38e2ac0632f5113ec18f1df4977117f953197819034009971a6675a0df78",
		"t10k-images-idx3-ubyte":  "544b11e980491b35ea0a29d267be603798a522d267bd875eefdf185f2a90b4ed",
		"t10k-labels-idx1-ubyte":  "00c8ee896b56b1f141feedeefecd0ec606a7715b411eb44be7e1b1decd17e3fd",
	} {
		gz, err := digitFiles.ReadFile("digits/" + name + ".gz")
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(gz))
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if _, err := io.Copy(h, z); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%s: sha256 %s, want %s", name, got, want)
		}
	}
}

func TestDigits(t *testing.T) {
	for _, tc := range []struct {
		split    string
		perClass []int
		first    []int
	}{
		{"train", []int{1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978}, []int{5, 0, 4, 1, 9, 2, 1, 3, 1, 4}},
		{"test", []int{189, 222, 212, 242, 196, 186, 158, 215, 193, 187}, []int{7, 1, 0, 5, 9, 0, 3, 2, 1, 5}},
	} {
		ds, err := Open("digits", "", tc.split)
		if err != nil {
			t.Fatal(err)
		}
		labels, err := Labels(ds)
		if err != nil {
			t.Fatal(err)
		}
		counts := make([]int, 10)
		for _, y := range labels {
			counts[y]++
		}
		if !slices.Equal(counts, tc.perClass) {
			t.Errorf("%s: digits per class %v, want %v", tc.split, counts, tc.perClass)
		}
		if !slices.Equal(labels[:10], tc.first) {
			t.Errorf("%s: first labels %v, want %v", tc.split, labels[:10], tc.first)
		}
		if tc.split == "train" {
			checkStatistics(t, ds)
		}
	}
}

// checkStatistics compares Info.Mean and Info.Std with the pixels.
func checkStatistics(t *testing.T, ds Dataset) {
	t.Helper()
	buf := make([]float32, sampleLen(ds))
	var n, sum, squares float64
	for i := range ds.Len() {
		if _, err := ds.Sample(i, buf); err != nil {
			t.Fatal(err)
		}
		for _, v := range buf {
			n++
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
	}
	mean := sum / n
	std := math.Sqrt(squares/n - mean*mean)
	if in := ds.Info(); math.Abs(mean-float64(in.Mean[0])) > 1e-5 || math.Abs(std-float64(in.Std[0])) > 1e-5 {
		t.Errorf("mean %.6f std %.6f of the pixels, Info says %.6f %.6f", mean, std, in.Mean[0], in.Std[0])
	}
}

// The complete MNIST, where scripts/fetch-mnist.sh has put it into
// $ADAFIRE_DATA/mnist.
func TestCompleteMNIST(t *testing.T) {
	if _, err := Open("mnist", "", "test"); errors.Is(err, fs.ErrNotExist) {
		t.Skip(err)
	}
	r, err := Check("mnist", "")
	if err != nil || !r.OK() {
		t.Fatalf("report %+v, error %v", r, err)
	}
	for k, want := range [][]int{
		{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949},
		{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009},
	} {
		if got := r.Splits[k].PerClass; !slices.Equal(got, want) {
			t.Errorf("%s: digits per class %v, want %v", r.Splits[k].Split, got, want)
		}
	}
	// The embedded digits are the first 10,000 and every fifth test digit.
	for _, split := range []string{"train", "test"} {
		whole, err := Open("mnist", "", split)
		if err != nil {
			t.Fatal(err)
		}
		part, err := Open("digits", "", split)
		if err != nil {
			t.Fatal(err)
		}
		step := map[string]int{"train": 1, "test": 5}[split]
		a, b := make([]float32, 784), make([]float32, 784)
		for i := range part.Len() {
			ya, err1 := part.Sample(i, a)
			yb, err2 := whole.Sample(i*step, b)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			if ya != yb || !slices.Equal(a, b) {
				t.Fatalf("%s: embedded digit %d is not digit %d of MNIST", split, i, i*step)
			}
		}
	}
}
