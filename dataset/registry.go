package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrUnknown marks a name that is no data set of this package.
var ErrUnknown = errors.New("unknown data set")

// A Description says what a data set is and how its folder must look.
type Description struct {
	Name     string `json:"name"`
	Summary  string `json:"summary"` // one line
	Licence  string `json:"licence"`
	HomePage string `json:"home_page,omitempty"`

	// Layout names the files expected in the folder, one line for each
	// alternative.
	Layout []string `json:"layout"`

	Classes int   `json:"classes,omitempty"` // 0: depends on the files
	Shape   []int `json:"shape,omitempty"`   // height, width, channels; nil: depends on the files
	Train   int   `json:"train,omitempty"`   // samples as distributed; 0: depends on the files
	Test    int   `json:"test,omitempty"`

	Embedded bool `json:"embedded,omitempty"` // part of the program
}

var descriptions = []Description{
	{
		Name: "digits", Summary: "handwritten digits: 10,000 + 2,000 of MNIST, part of the program",
		Licence:  "CC BY-SA 3.0, Yann LeCun and Corinna Cortes (LICENSE-MNIST)",
		HomePage: "http://yann.lecun.com/exdb/mnist/",
		Layout:   []string{"no files needed; with a folder, the four files of mnist"},
		Classes:  10, Shape: []int{28, 28, 1}, Train: 10000, Test: 2000, Embedded: true,
	},
	{
		Name: "mnist", Summary: "handwritten digits, complete (scripts/fetch-mnist.sh DIR gets it)",
		Licence:  "CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
		HomePage: "http://yann.lecun.com/exdb/mnist/",
		Layout: []string{"train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, " +
			"each plain or with .gz"},
		Classes: 10, Shape: []int{28, 28, 1}, Train: 60000, Test: 10000,
	},
	{
		Name: "fashion-mnist", Summary: "pictures of clothes, a harder MNIST",
		Licence:  "MIT, Zalando SE",
		HomePage: "https://github.com/zalandoresearch/fashion-mnist",
		Layout: []string{"train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, " +
			"each plain or with .gz"},
		Classes: 10, Shape: []int{28, 28, 1}, Train: 60000, Test: 10000,
	},
	{
		Name: "cifar10", Summary: "small colour photographs of ten kinds of things",
		Licence:  "none stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
		HomePage: "https://www.cs.toronto.edu/~kriz/cifar.html",
		Layout: []string{
			"cifar-10-batches-bin/ (or the folder itself): data_batch_1.bin to data_batch_5.bin, test_batch.bin",
			"cifar-10-batches-py/ (or the folder itself): data_batch_1 to data_batch_5, test_batch, batches.meta",
			"cifar-10-binary.tar.gz or cifar-10-python.tar.gz, not unpacked",
		},
		Classes: 10, Shape: []int{32, 32, 3}, Train: 50000, Test: 10000,
	},
	{
		Name: "cifar100", Summary: "small colour photographs of a hundred kinds of things (fine labels)",
		Licence:  "none stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
		HomePage: "https://www.cs.toronto.edu/~kriz/cifar.html",
		Layout: []string{
			"cifar-100-binary/ (or the folder itself): train.bin, test.bin",
			"cifar-100-python/ (or the folder itself): train, test, meta",
			"cifar-100-binary.tar.gz or cifar-100-python.tar.gz, not unpacked",
		},
		Classes: 100, Shape: []int{32, 32, 3}, Train: 50000, Test: 10000,
	},
	{
		Name: "imagenet", Summary: "photographs of a thousand kinds of things (ILSVRC 2012), as class folders",
		Licence:  "ImageNet terms of access: non-commercial research and education",
		HomePage: "https://www.image-net.org/",
		Layout:   []string{"train/CLASS/*.JPEG and val/CLASS/*.JPEG, CLASS being the thousand WordNet ids (n01440764, ...)"},
		Classes:  1000, Shape: []int{224, 224, 3}, Train: 1281167, Test: 50000,
	},
	{
		Name: "imagefolder", Summary: "your own images, one folder for each class",
		Licence: "yours",
		Layout:  []string{"train/CLASS/*.jpg and val/CLASS/*.jpg (or test/CLASS/*.jpg); .jpg, .jpeg or .png"},
	},
	{
		Name: "npy", Summary: "your own arrays, saved by NumPy",
		Licence: "yours",
		Layout: []string{"x_train.npy, y_train.npy, x_test.npy, y_test.npy: x of shape [N,H,W,C] or [N,H,W], " +
			"uint8 (0..255) or floating point (0..1); y of shape [N], integers from 0"},
	},
}

// Names returns the names that Open knows.
func Names() []string {
	names := make([]string, len(descriptions))
	for i, d := range descriptions {
		names[i] = d.Name
	}
	return names
}

// Describe returns the description of a data set, or one with nothing but the
// name if there is no such set.
func Describe(name string) Description {
	for _, d := range descriptions {
		if d.Name == name {
			return d
		}
	}
	return Description{Name: name}
}

// MissingError says that a data set, or one file of it, is not there.
type MissingError struct {
	Dataset Description
	Path    string // file or folder that was looked for; "" if no folder was given
	Detail  string // what is wrong with Path; "" for "not found"
}

// Error returns one line: what is missing, what is expected, where to get it.
func (e *MissingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "data set %s: ", e.Dataset.Name)
	switch {
	case e.Path == "":
		b.WriteString("no folder given (--data DIR, or set ADAFIRE_DATA)")
	case e.Detail != "":
		fmt.Fprintf(&b, "%s: %s", e.Path, e.Detail)
	default:
		fmt.Fprintf(&b, "%s: not found", e.Path)
	}
	fmt.Fprintf(&b, "; expected: %s", strings.Join(e.Dataset.Layout, "; or "))
	if e.Dataset.HomePage != "" {
		fmt.Fprintf(&b, "; home page: %s", e.Dataset.HomePage)
	}
	return b.String()
}

// Is makes errors.Is(err, fs.ErrNotExist) true.
func (e *MissingError) Is(target error) bool { return target == fs.ErrNotExist }

// An Option changes how Open reads a data set.
type Option func(*options) error

type options struct {
	size int // side of the samples of an image folder, pixels
}

// WithSize sets the side, in pixels, of the square samples of image folders
// (1 to 4096, default 224). Other data sets ignore it.
func WithSize(side int) Option {
	return func(o *options) error {
		if side < 1 || side > 4096 {
			return fmt.Errorf("image size %d: want 1 to 4096", side)
		}
		o.size = side
		return nil
	}
}

// Open opens the split "train" or "test" of the named data set in folder dir;
// an empty dir means $ADAFIRE_DATA/<name>, and for digits the digits inside
// the program. Errors: ErrUnknown for the name, *MissingError for absent
// files, *fileerr.FormatError for damaged ones.
func Open(name, dir, split string, opts ...Option) (Dataset, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("%w %q: want one of %s", ErrUnknown, name, strings.Join(Names(), ", "))
	}
	if split != "train" && split != "test" {
		return nil, fmt.Errorf("data set %s: unknown split %q: want train or test", name, split)
	}
	o := options{size: 224}
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if name == "digits" && dir == "" {
		return openDigits(split)
	}
	d := Describe(name)
	dir, err := folder(d, dir)
	if err != nil {
		return nil, err
	}
	switch name {
	case "digits", "mnist", "fashion-mnist":
		return openMNIST(d, dir, split)
	case "cifar10", "cifar100":
		return openCIFAR(d, dir, split)
	case "imagenet", "imagefolder":
		return openImageFolder(d, dir, split, o.size)
	case "npy":
		return openNPY(d, dir, split)
	}
	return nil, fmt.Errorf("%w %q", ErrUnknown, name)
}

// folder resolves the folder of a data set and checks that it is there.
func folder(d Description, dir string) (string, error) {
	if dir == "" {
		root := os.Getenv("ADAFIRE_DATA")
		if root == "" {
			return "", &MissingError{Dataset: d}
		}
		dir = filepath.Join(root, d.Name)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", &MissingError{Dataset: d, Path: dir}
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", &MissingError{Dataset: d, Path: dir, Detail: "not a folder"}
	}
	return dir, nil
}

// firstExisting returns the first of the candidates below dir that is a
// regular file, or "".
func firstExisting(dir string, candidates ...string) string {
	for _, c := range candidates {
		p := filepath.Join(dir, c)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p
		}
	}
	return ""
}
