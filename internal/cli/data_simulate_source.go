package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/events/simulate"
	"github.com/adafire/adafire/internal/fileerr"
)

// A simulateSource gives the images of a simulation.
type simulateSource struct {
	name             string // of the data set, or "images"
	sha256           string
	n                int
	width, height    int // of all images, 0 if they differ
	marginX, marginY int // pixels of the sensor that the movement takes
	load             func(i int, w *simulateWorker, f *simulateFlags) (simulateShot, error)
}

// A simulateShot is one image before the camera.
type simulateShot struct {
	name   string // of the recording, with slashes and without extension
	number uint64 // of the noise
	image  simulate.Image
	scale  float64
}

// arrayFolders are the data sets that a folder without images is tried as.
var arrayFolders = []string{"mnist", "cifar10", "cifar100", "npy"}

// simulateSource finds the images.
func (s *session) simulateSource(f *simulateFlags, args []string) (*simulateSource, error) {
	if f.dataset != "" {
		return s.datasetSource(f)
	}
	src, err := imageSource(args)
	if len(args) != 1 || err == nil || !isFolder(args[0]) {
		return src, err
	}
	f.dir = args[0]
	for _, name := range arrayFolders {
		f.dataset = name
		src, tried := s.datasetSource(f)
		var missing *dataset.MissingError
		if !errors.As(tried, &missing) {
			return src, tried
		}
	}
	f.dataset, f.dir = "", ""
	return nil, fmt.Errorf("%w, nor the files of %s", err, strings.Join(arrayFolders, ", "))
}

// datasetSource takes the parts of a data set.
func (s *session) datasetSource(f *simulateFlags) (*simulateSource, error) {
	var opts []dataset.Option
	if f.size > 0 {
		opts = append(opts, dataset.WithSize(f.size))
	}
	type part struct {
		dataset.Dataset
		n    int
		info dataset.Info
	}
	var parts []part
	var missing error
	src := &simulateSource{name: f.dataset}
	for _, split := range []string{"train", "test"} {
		if f.split != "both" && f.split != split {
			continue
		}
		ds, err := dataset.Open(f.dataset, f.dir, split, opts...)
		var gone *dataset.MissingError
		if errors.As(err, &gone) && f.split == "both" {
			missing = err
			continue
		}
		if err != nil {
			return nil, err
		}
		p := part{ds, ds.Len(), ds.Info()}
		if f.samples > 0 {
			p.n = min(p.n, f.samples)
		}
		parts = append(parts, p)
		src.n += p.n
		src.sha256 += p.info.SHA256
		src.height, src.width = p.info.Shape[0], p.info.Shape[1]
	}
	if len(parts) == 0 {
		return nil, missing
	}
	if missing != nil {
		s.Logf("only one part of the data set is there: %v", missing)
	}
	classes := parts[0].info.Classes
	folders := make([]string, len(classes))
	for i, c := range classes {
		folders[i] = className(c)
		if slices.Contains(folders[:i], folders[i]) {
			folders[i] = fmt.Sprintf("%s_%d", folders[i], i)
		}
	}
	if !slices.IsSorted(folders) {
		s.Logf("eventfolder numbers classes in byte order of their names, which is not the order of %s", f.dataset)
	}
	src.load = func(i int, w *simulateWorker, f *simulateFlags) (simulateShot, error) {
		p := parts[0]
		if i >= p.n {
			i, p = i-p.n, parts[1]
		}
		shape := p.info.Shape
		size := shape[0] * shape[1] * shape[2]
		if len(w.buf) < size {
			w.buf = make([]float32, size)
		}
		label, err := p.Sample(i, w.buf[:size])
		if err != nil {
			return simulateShot{}, err
		}
		img, err := simulate.NewImage(shape[0], shape[1], shape[2], w.buf[:size])
		if err != nil {
			return simulateShot{}, fmt.Errorf("data set %s: %w", f.dataset, err)
		}
		// The numbers of nmnist-sim: digits become the same recordings.
		shot := simulateShot{name: fmt.Sprintf("%s/%05d", folders[label], i), number: uint64(i), image: img, scale: f.scene.Scale}
		if p.info.Split == "test" {
			shot.number |= 1 << 32
		}
		if len(parts) > 1 {
			shot.name = p.info.Split + "/" + shot.name
		}
		if shot.scale == 0 {
			shot.scale = fitting(shape[1], shape[0], f, src)
		}
		return shot, nil
	}
	return src, nil
}

// fitting is the scale at which an image stays on the sensor as it moves.
func fitting(width, height int, f *simulateFlags, src *simulateSource) float64 {
	w, h := f.camera.Width-src.marginX, f.camera.Height-src.marginY
	return min(max(min(float64(max(w, 1))/float64(width), float64(max(h, 1))/float64(height)), 0.01), 100)
}

// imageSource takes image files and those in folders.
func imageSource(args []string) (*simulateSource, error) {
	var paths, names []string
	from := map[string]string{}
	for _, arg := range args {
		found, err := dataset.FindImages([]string{arg})
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			name := filepath.Base(path)
			if isFolder(arg) {
				if name, err = filepath.Rel(arg, path); err != nil {
					return nil, err
				}
			}
			name = filepath.ToSlash(strings.TrimSuffix(name, filepath.Ext(name)))
			if other := from[name]; other != "" {
				return nil, fmt.Errorf("%s and %s would both become the recording %s", other, path, name)
			}
			from[name] = path
			paths, names = append(paths, path), append(names, name)
		}
	}
	sum := sha256.New()
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(sum, "%d  %s\n", info.Size(), names[i])
	}
	src := &simulateSource{name: "images", sha256: hex.EncodeToString(sum.Sum(nil)), n: len(paths)}
	src.load = func(i int, _ *simulateWorker, f *simulateFlags) (simulateShot, error) {
		width, height, err := imageSize(paths[i])
		if err != nil {
			return simulateShot{}, err
		}
		scale := f.scene.Scale
		if scale == 0 {
			scale = fitting(width, height, f, src)
		}
		side := func(n int) int { return max(int(math.Round(float64(n)*scale)), 1) }
		w, h := side(width), side(height)
		const most = 1 << 24
		if w > most/h {
			return simulateShot{}, fmt.Errorf("%s: image of %dx%d, enlarged %g times, has more than %d pixels on the sensor", paths[i], width, height, scale, most)
		}
		one, err := dataset.NewImages(paths[i:i+1], []int{h, w, 1}, nil, nil)
		if err != nil {
			return simulateShot{}, err
		}
		one.Whole = true
		img := simulate.Image{Width: w, Height: h, Pix: make([]float32, w*h)}
		if err := one.Sample(0, img.Pix); err != nil {
			return simulateShot{}, err
		}
		number := fnv.New64a() // by name: other images do not change this one's noise
		number.Write([]byte(names[i]))
		return simulateShot{name: names[i], number: number.Sum64(), image: img, scale: 1}, nil
	}
	return src, nil
}

// imageSize reads the header of an image.
func imageSize(path string) (width, height int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	head, _, err := image.DecodeConfig(f)
	if err != nil {
		return 0, 0, fileerr.New(path, 0, "not a readable JPEG or PNG image: %v", err)
	}
	if head.Width < 1 || head.Height < 1 {
		return 0, 0, fileerr.New(path, 0, "image of %dx%d pixels", head.Width, head.Height)
	}
	return head.Width, head.Height, nil
}

// poseSum identifies a path.
func poseSum(path simulate.Path) string {
	h := sha256.New()
	for _, p := range path {
		fmt.Fprintf(h, "%v %v %v %v %v\n", p.TUs, p.X, p.Y, p.Angle, p.Scale)
	}
	return hex.EncodeToString(h.Sum(nil))
}
