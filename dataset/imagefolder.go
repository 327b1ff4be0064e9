package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// imageFolder is a folder for each split, in it a folder for each class, in it
// images, also in sub-folders. Images are decoded when they are asked for.
type imageFolder struct {
	info   Info
	root   string   // folder of the split
	files  []string // relative to root, by class, then by name
	labels []int
	short  int // shorter side before the centre crop
	other  int // files in class folders that are no images
}

// splitFolders are the names a split's folder may have, best first. ImageNet's
// own test images have no labels, so val comes before test.
var splitFolders = map[string][]string{
	"train": {"train"},
	"test":  {"val", "test", "validation"},
}

// openImageFolder lists the images of a split. The classes are the folders of
// train, in order of their names, or those of the split if there is no train.
func openImageFolder(d Description, dir, split string, size int) (Dataset, error) {
	root := subFolder(dir, splitFolders[split]...)
	if root == "" {
		return nil, &MissingError{Dataset: d, Path: filepath.Join(dir, splitFolders[split][0])}
	}
	from := root
	if train := subFolder(dir, "train"); train != "" {
		from = train
	}
	classes, err := classFolders(from)
	if err != nil {
		return nil, err
	}
	if len(classes) == 0 {
		return nil, &MissingError{Dataset: d, Path: from, Detail: "holds no class folders"}
	}
	mine, err := classFolders(root)
	if err != nil {
		return nil, err
	}
	for _, c := range mine {
		if !slices.Contains(classes, c) {
			return nil, fmt.Errorf("%s: class folder is not in %s, which has %d classes", filepath.Join(root, c), from, len(classes))
		}
	}

	f := &imageFolder{root: root, short: (size*256 + 112) / 224, info: Info{
		Name: d.Name, Split: split, Shape: []int{size, size, 3}, Classes: classes,
		Mean: []float32{0.485, 0.456, 0.406}, Std: []float32{0.229, 0.224, 0.225},
	}}
	var sources []source
	for label, class := range classes {
		before := len(f.files)
		err := f.list(class, func(name string, size int64) {
			f.labels = append(f.labels, label)
			sources = append(sources, source{filepath.ToSlash(name), strconv.FormatInt(size, 10)})
		})
		if err != nil {
			return nil, err
		}
		if split == "train" && len(f.files) == before {
			return nil, &MissingError{Dataset: d, Path: filepath.Join(root, class), Detail: "holds no image"}
		}
	}
	if len(f.files) == 0 {
		return nil, &MissingError{Dataset: d, Path: root, Detail: "holds no image in its class folders"}
	}
	f.info.SHA256 = hashSources(sources)
	return f, nil
}

// subFolder returns the first of the candidates below dir that is a folder,
// or "".
func subFolder(dir string, candidates ...string) string {
	for _, c := range candidates {
		p := filepath.Join(dir, c)
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			return p
		}
	}
	return ""
}

// classFolders returns the sorted names of the folders in dir. Hidden ones are
// left out.
func classFolders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && subFolder(dir, e.Name()) != "" {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// list adds the images of a class and calls fn for each.
func (f *imageFolder) list(class string, fn func(name string, size int64)) error {
	top := filepath.Join(f.root, class)
	if _, err := os.Stat(top); errors.Is(err, fs.ErrNotExist) {
		return nil // a test split need not have every class
	}
	// The separator makes WalkDir enter a class folder that is a link.
	return filepath.WalkDir(top+string(filepath.Separator), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return nil
		}
		switch strings.ToLower(filepath.Ext(p)) {
		case ".jpg", ".jpeg", ".png":
		default:
			f.other++
			return nil
		}
		info, err := os.Stat(p) // of the file behind a link
		if err != nil {
			return err
		}
		name, err := filepath.Rel(f.root, p)
		if err != nil {
			return err
		}
		f.files = append(f.files, name)
		fn(name, info.Size())
		return nil
	})
}

func (f *imageFolder) Info() Info              { return f.info }
func (f *imageFolder) Len() int                { return len(f.files) }
func (f *imageFolder) label(i int) (int, bool) { return f.labels[i], true }

// Sample scales the shorter side to 256/224 of the sample's size and cuts out
// the centre.
func (f *imageFolder) Sample(i int, dst []float32) (int, error) {
	return f.load(i, dst, func(p pixels) pixels { return centreCrop(p, f.short, f.info.Shape[0]) })
}

func (f *imageFolder) sampleResizedCrop(i int, dst []float32, rng *rand.Rand) (int, bool, error) {
	label, err := f.load(i, dst, func(p pixels) pixels { return resizedCrop(rng, p, f.info.Shape[0], f.info.Shape[1]) })
	return label, true, err
}

func (f *imageFolder) load(i int, dst []float32, crop func(pixels) pixels) (int, error) {
	if err := checkSample(f.info.Name, i, len(f.files), len(dst), 3*f.info.Shape[0]*f.info.Shape[1]); err != nil {
		return 0, err
	}
	p, err := decodeImage(filepath.Join(f.root, f.files[i]))
	if err != nil {
		return 0, err
	}
	unquantise(dst, crop(p).data)
	return f.labels[i], nil
}
