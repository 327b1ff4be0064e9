package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/npy"
)

// maxNPYClasses bounds the labels of .npy files.
const maxNPYClasses = 1 << 16

// arrays is a data set from .npy files; either bytes or floats hold the images.
type arrays struct {
	info   Info
	bytes  []byte
	floats []float32
	labels []int
}

func (a *arrays) Info() Info              { return a.info }
func (a *arrays) Len() int                { return len(a.labels) }
func (a *arrays) label(i int) (int, bool) { return a.labels[i], true }

func (a *arrays) Sample(i int, dst []float32) (int, error) {
	size := a.info.Shape[0] * a.info.Shape[1] * a.info.Shape[2]
	if err := checkSample(a.info.Name, i, len(a.labels), len(dst), size); err != nil {
		return 0, err
	}
	if a.bytes != nil {
		unquantise(dst, a.bytes[i*size:(i+1)*size])
	} else {
		copy(dst, a.floats[i*size:])
	}
	return a.labels[i], nil
}

// openNPY reads x_<split>.npy and y_<split>.npy. The number of classes is one
// more than the largest label of both splits; mean and standard deviation are
// always those of x_train.npy.
func openNPY(d Description, dir, split string) (Dataset, error) {
	path := func(part, split string) string { return filepath.Join(dir, part+"_"+split+".npy") }
	for _, p := range []string{path("x", split), path("y", split), path("x", "train")} {
		if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
			return nil, &MissingError{Dataset: d, Path: p}
		} else if err != nil {
			return nil, err
		}
	}
	a, err := readImages(path("x", split))
	if err != nil {
		return nil, err
	}
	a.info.Name, a.info.Split = d.Name, split
	if a.labels, err = readLabels(path("y", split)); err != nil {
		return nil, err
	}
	images := len(a.bytes)
	if a.bytes == nil {
		images = len(a.floats)
	}
	if images /= a.info.Shape[0] * a.info.Shape[1] * a.info.Shape[2]; images != len(a.labels) {
		return nil, fileerr.New(path("y", split), -1, "%d labels for %d images in %s", len(a.labels), images, filepath.Base(path("x", split)))
	}

	most := 0
	for _, y := range a.labels {
		most = max(most, y)
	}
	other := map[string]string{"train": "test", "test": "train"}[split]
	switch labels, err := readLabels(path("y", other)); {
	case err == nil:
		for _, y := range labels {
			most = max(most, y)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	for y := range most + 1 {
		a.info.Classes = append(a.info.Classes, strconv.Itoa(y))
	}

	train := a
	if split != "train" {
		if train, err = readImages(path("x", "train")); err != nil {
			return nil, err
		}
		if ts, s := train.info.Shape, a.info.Shape; ts[0] != s[0] || ts[1] != s[1] || ts[2] != s[2] {
			return nil, fileerr.New(path("x", split), -1, "images of shape %v, those of x_train.npy have %v", s, ts)
		}
	}
	a.info.Mean, a.info.Std = train.statistics()

	var sources []source
	for _, part := range []string{"x", "y"} {
		sum, err := hashFile(path(part, split))
		if err != nil {
			return nil, err
		}
		sources = append(sources, source{filepath.Base(path(part, split)), sum})
	}
	a.info.SHA256 = hashSources(sources)
	return a, nil
}

// readImages reads an array of images and its shape.
func readImages(path string) (*arrays, error) {
	x, err := npy.ReadFile(path)
	if err != nil {
		return nil, err
	}
	shape := x.Shape
	if len(shape) == 3 {
		shape = append(shape[:3:3], 1)
	}
	if len(shape) != 4 {
		return nil, fileerr.New(path, -1, "shape %v, want [N,H,W,C] or [N,H,W]", x.Shape)
	}
	if x.Len() == 0 {
		return nil, fileerr.New(path, -1, "shape %v holds no values", x.Shape)
	}
	if (shape[1] == 1 || shape[1] == 3) && shape[3] > 4 && shape[2] > 4 {
		return nil, fileerr.New(path, -1, "shape %v looks like channels first, want channels last: [N,H,W,C]", x.Shape)
	}
	a := &arrays{info: Info{Shape: append([]int{}, shape[1:]...)}}
	if x.IsInt() && x.DType != "uint8" {
		return nil, fileerr.New(path, -1, "images of type %s, want uint8 (0 to 255) or floating point (0 to 1)", x.DType)
	}
	values, err := x.Float32()
	if err != nil {
		return nil, err
	}
	if x.IsInt() {
		a.bytes = make([]byte, len(values))
		for i, v := range values {
			a.bytes[i] = byte(v)
		}
		return a, nil
	}
	size := shape[1] * shape[2] * shape[3]
	for i, v := range values {
		if !(v >= 0 && v <= 1) {
			return nil, fileerr.New(path, -1, "value %g in image %d, want 0 to 1 (uint8 arrays may hold 0 to 255)", v, i/size)
		}
	}
	a.floats = values
	return a, nil
}

// readLabels reads labels from 0.
func readLabels(path string) ([]int, error) {
	y, err := npy.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(y.Shape) != 1 {
		return nil, fileerr.New(path, -1, "labels of shape %v, want [N]", y.Shape)
	}
	labels, err := y.Int()
	if err != nil {
		return nil, err
	}
	for i, v := range labels {
		if v < 0 || v >= maxNPYClasses {
			return nil, fileerr.New(path, -1, "label %d of sample %d, want 0 to %d", v, i, maxNPYClasses-1)
		}
	}
	return labels, nil
}

// statistics returns mean and standard deviation of each channel; a constant
// channel has deviation 1.
func (a *arrays) statistics() (mean, std []float32) {
	c := a.info.Shape[2]
	sum, squares := make([]float64, c), make([]float64, c)
	n := max(len(a.bytes), len(a.floats))
	for i := range n {
		var v float32
		if a.bytes != nil {
			v = byteValue[a.bytes[i]]
		} else {
			v = a.floats[i]
		}
		sum[i%c] += float64(v)
		squares[i%c] += float64(v) * float64(v)
	}
	per := float64(n / c)
	for ch := range c {
		m := sum[ch] / per
		s := math.Sqrt(max(squares[ch]/per-m*m, 0))
		if s < 1e-6 {
			s = 1
		}
		mean, std = append(mean, float32(m)), append(std, float32(s))
	}
	return mean, std
}

// hashFile returns the hexadecimal SHA-256 of a file.
func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
