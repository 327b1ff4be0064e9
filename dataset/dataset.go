// Package dataset reads labelled image sets as their makers distribute them
// and turns them into batches for training and evaluation.
//
// Three calls are all that most programs need:
//
//	ds, err := dataset.Open("digits", "", "train")        // embedded, no file needed
//	loader, err := dataset.NewLoader(ds, dataset.LoaderOptions{BatchSize: 64, Shuffle: true, Seed: 1, Normalise: true})
//	for batch, err := range loader.Epoch(ctx, epoch, 0) { ... }
//
// Readers: IDX (MNIST, Fashion-MNIST), the binary and the Python versions of
// CIFAR-10 and CIFAR-100, folders of JPEG and PNG images, and pairs of .npy
// files. They are strict: a damaged file is a *fileerr.FormatError that names
// the file and the offset, a missing one a *MissingError that says what the
// folder should hold and where the set's home page is. Nothing is downloaded.
//
// Shuffling, augmentation and mixing depend on the seed, the epoch and the
// index of the sample or batch only, never on the number of workers.
//
// Not here: event recordings (package events), and boxes, masks and points.
package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/adafire/adafire/internal/random"
)

// Info describes one split of a data set.
type Info struct {
	Name  string // as given to Open
	Split string // "train" or "test"

	Shape   []int    // of a sample: height, width, channels
	Classes []string // names of the classes; a label is an index into it

	// Mean and Std are per channel, of values 0..1 of the training split;
	// the loader's Normalise subtracts and divides by them.
	Mean, Std []float32

	// SHA256 identifies the source files of the split: the hexadecimal SHA-256
	// of the lines "sum  name\n" of its files in reading order, as sha256sum
	// prints them, sum being over the unpacked content. For image folders the
	// lines are "size  name\n": contents are not read for it.
	SHA256 string
}

// A Dataset is one split of a data set with samples in a fixed order. Its
// methods may be called from several goroutines at once.
type Dataset interface {
	Info() Info
	Len() int

	// Sample decodes sample i, 0 <= i < Len(), into dst: height*width*channels
	// values 0..1, channels last, not normalised. It returns the label.
	Sample(i int, dst []float32) (label int, err error)
}

// labeller is a Dataset that may know labels without decoding samples.
type labeller interface {
	label(i int) (y int, ok bool)
}

// randomCropper is a Dataset whose sources may be larger than its samples, so
// that a random resized crop must be cut out of the source. cropped is false
// if it was not, and dst then holds the plain sample.
type randomCropper interface {
	sampleResizedCrop(i int, dst []float32, rng *rand.Rand) (label int, cropped bool, err error)
}

// A Varier is a Dataset that varies training samples itself, because that is
// done to what the samples are made of, such as events. SampleVaried is Sample
// with everything that varies drawn from rng.
type Varier interface {
	SampleVaried(i int, dst []float32, rng *rand.Rand) (label int, err error)
}

func sampleResizedCrop(ds Dataset, i int, dst []float32, rng *rand.Rand) (label int, cropped bool, err error) {
	if c, ok := ds.(randomCropper); ok {
		return c.sampleResizedCrop(i, dst, rng)
	}
	label, err = ds.Sample(i, dst)
	return label, false, err
}

// Labels returns the label of every sample.
func Labels(ds Dataset) ([]int, error) {
	labels := make([]int, ds.Len())
	l, _ := ds.(labeller)
	known, _ := ds.(interface{ Label(i int) int }) // data sets of other packages
	buf := make([]float32, sampleLen(ds))
	for i := range labels {
		if l != nil {
			if y, ok := l.label(i); ok {
				labels[i] = y
				continue
			}
		}
		if known != nil {
			labels[i] = known.Label(i)
			continue
		}
		y, err := ds.Sample(i, buf)
		if err != nil {
			return nil, err
		}
		labels[i] = y
	}
	return labels, nil
}

// sampleLen returns the number of values of a sample.
func sampleLen(ds Dataset) int {
	n := 1
	for _, d := range ds.Info().Shape {
		n *= d
	}
	return n
}

// checkSample reports an index or a buffer that does not fit.
func checkSample(name string, i, n, got, want int) error {
	if i < 0 || i >= n {
		return fmt.Errorf("%s: sample %d: want 0 to %d", name, i, n-1)
	}
	if got != want {
		return fmt.Errorf("%s: sample %d: buffer of %d values, want %d", name, i, got, want)
	}
	return nil
}

// subset is a view of some samples of another data set.
type subset struct {
	Dataset
	indices []int
}

// Subset returns the samples of ds with the given indices, in that order; an
// index may occur several times. Indices outside ds are reported by Sample.
func Subset(ds Dataset, indices []int) Dataset {
	if s, ok := ds.(*subset); ok { // keep chains flat
		flat := make([]int, len(indices))
		for i, j := range indices {
			flat[i] = -1
			if j >= 0 && j < len(s.indices) {
				flat[i] = s.indices[j]
			}
		}
		return &subset{s.Dataset, flat}
	}
	return &subset{ds, slices.Clone(indices)}
}

func (s *subset) Len() int { return len(s.indices) }

func (s *subset) Sample(i int, dst []float32) (int, error) {
	if i < 0 || i >= len(s.indices) {
		return 0, fmt.Errorf("%s: sample %d of a subset: want 0 to %d", s.Info().Name, i, len(s.indices)-1)
	}
	return s.Dataset.Sample(s.indices[i], dst)
}

// SampleVaried implements Varier, with Sample where the whole is none.
func (s *subset) SampleVaried(i int, dst []float32, rng *rand.Rand) (int, error) {
	v, ok := s.Dataset.(Varier)
	if !ok || i < 0 || i >= len(s.indices) {
		return s.Sample(i, dst)
	}
	return v.SampleVaried(s.indices[i], dst, rng)
}

func (s *subset) sampleResizedCrop(i int, dst []float32, rng *rand.Rand) (int, bool, error) {
	if i < 0 || i >= len(s.indices) {
		_, err := s.Sample(i, dst)
		return 0, false, err
	}
	return sampleResizedCrop(s.Dataset, s.indices[i], dst, rng)
}

func (s *subset) label(i int) (int, bool) {
	if l, ok := s.Dataset.(labeller); ok && s.indices[i] >= 0 && s.indices[i] < s.Dataset.Len() {
		return l.label(s.indices[i])
	}
	return 0, false
}

// Split divides ds at random into a training and a validation part: the
// latter gets the fraction holdOut of the samples, rounded, and both keep the
// order of ds. holdOut is clipped to 0..1. The parts depend on the length of
// ds, holdOut and seed only.
func Split(ds Dataset, holdOut float64, seed uint64) (train, valid Dataset) {
	n := ds.Len()
	held := int(float64(n)*min(max(holdOut, 0), 1) + 0.5)
	perm := random.New(seed, "split").Perm(n)
	v, t := perm[:held], perm[held:]
	slices.Sort(v)
	slices.Sort(t)
	return Subset(ds, t), Subset(ds, v)
}

// A source is a file that samples were read from.
type source struct {
	name string
	sum  string // hexadecimal SHA-256 of the unpacked content, or the size
}

// hashSources returns Info.SHA256 for the given files.
func hashSources(files []source) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s  %s\n", f.sum, f.name)
	}
	return hex.EncodeToString(h.Sum(nil))
}
