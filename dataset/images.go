package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Images are photographs without labels, preprocessed for one network: what
// inference runs on and, as random crops, what a network can be calibrated with
// when its training data are not at hand. JPEG and PNG are read.
type Images struct {
	Paths []string
	Whole bool // scale the whole image to the input, instead of cutting out its centre

	shape     []int // height, width, channels
	mean, std []float32
}

// FindImages lists the images that the arguments name: files as they are, and
// the JPEG and PNG files in folders and their sub-folders by name. Arguments
// without an image are an error.
func FindImages(args []string) ([]string, error) {
	var paths []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			paths = append(paths, arg)
			continue
		}
		found := len(paths)
		err = filepath.WalkDir(arg, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			switch strings.ToLower(filepath.Ext(p)) {
			case ".jpg", ".jpeg", ".png":
				if !e.IsDir() {
					paths = append(paths, p)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(paths) == found {
			return nil, fmt.Errorf("%s: no JPEG or PNG image in the folder", arg)
		}
	}
	if len(paths) == 0 {
		return nil, errors.New("no images")
	}
	return paths, nil
}

// NewImages prepares images for a network of input shape [H, W, C], C being 1
// (luminance) or 3. Values 0..1 become (v - mean)/std, per channel; nil means 0
// and 1.
func NewImages(paths []string, shape []int, mean, std []float32) (*Images, error) {
	if len(shape) != 3 || shape[2] != 1 && shape[2] != 3 || shape[0] < 1 || shape[1] < 1 {
		return nil, fmt.Errorf("images for a network of input %v: want [H W 1] or [H W 3]", shape)
	}
	for _, v := range [][]float32{mean, std} {
		if v != nil && len(v) != shape[2] {
			return nil, fmt.Errorf("normalisation of %d channels for an input of %d", len(v), shape[2])
		}
	}
	if slices.ContainsFunc(std, func(v float32) bool { return !(v > 0) }) {
		return nil, fmt.Errorf("normalisation divides by %v: want positive values", std)
	}
	return &Images{Paths: paths, shape: slices.Clone(shape), mean: mean, std: std}, nil
}

// Len returns the number of images.
func (m *Images) Len() int { return len(m.Paths) }

// Size returns the values of a sample.
func (m *Images) Size() int { return m.shape[0] * m.shape[1] * m.shape[2] }

// Sample writes image i to dst, [H, W, C]: for a square input the shorter side
// is scaled to 256/224 of it and the centre cut out, as usual for ImageNet; for
// others, and with Whole set, the image is scaled to the input.
func (m *Images) Sample(i int, dst []float32) error {
	return m.load(i, dst, func(p pixels) pixels {
		h, w := m.shape[0], m.shape[1]
		if h != w || m.Whole {
			return p.resize(rect{0, 0, p.w, p.h}, w, h, rect{0, 0, w, h})
		}
		return centreCrop(p, (h*256+112)/224, h)
	})
}

// Crop writes a random part of image i to dst, [H, W, C]: 8 % to 100 % of its
// area, scaled to the input.
func (m *Images) Crop(i int, rng *rand.Rand, dst []float32) error {
	return m.load(i, dst, func(p pixels) pixels { return resizedCrop(rng, p, m.shape[0], m.shape[1]) })
}

func (m *Images) load(i int, dst []float32, crop func(pixels) pixels) error {
	if len(dst) != m.Size() {
		return fmt.Errorf("image %d: room for %d values, want %d", i, len(dst), m.Size())
	}
	p, err := decodeImage(m.Paths[i])
	if err != nil {
		return err
	}
	p = crop(p)
	if m.shape[2] == 1 {
		luminance := make([]byte, p.h*p.w)
		for i := range luminance {
			luminance[i] = grey(p.data[3*i], p.data[3*i+1], p.data[3*i+2])
		}
		p = pixels{p.h, p.w, 1, luminance}
	}
	unquantise(dst, p.data)
	if m.mean == nil && m.std == nil {
		return nil
	}
	for i := range dst {
		c := i % m.shape[2]
		if m.mean != nil {
			dst[i] -= m.mean[c]
		}
		if m.std != nil {
			dst[i] /= m.std[c]
		}
	}
	return nil
}
