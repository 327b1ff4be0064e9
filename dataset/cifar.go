package dataset

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
)

// cifarPixels is the size of an image: planes of red, green and blue, 32x32.
const cifarPixels = 3 * 32 * 32

// A cifarVersion is one of the forms in which CIFAR is distributed.
type cifarVersion struct {
	folder  string // as unpacked
	archive string
	train   []string
	test    []string
	meta    string // names of the classes; may be absent
	python  bool
}

var cifarVersions = map[string][]cifarVersion{
	"cifar10": {
		{
			folder: "cifar-10-batches-bin", archive: "cifar-10-binary.tar.gz",
			train: []string{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
			test:  []string{"test_batch.bin"}, meta: "batches.meta.txt",
		},
		{
			folder: "cifar-10-batches-py", archive: "cifar-10-python.tar.gz",
			train: []string{"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"},
			test:  []string{"test_batch"}, meta: "batches.meta", python: true,
		},
	},
	"cifar100": {
		{
			folder: "cifar-100-binary", archive: "cifar-100-binary.tar.gz",
			train: []string{"train.bin"}, test: []string{"test.bin"}, meta: "fine_label_names.txt",
		},
		{
			folder: "cifar-100-python", archive: "cifar-100-python.tar.gz",
			train: []string{"train"}, test: []string{"test"}, meta: "meta", python: true,
		},
	},
}

// openCIFAR reads CIFAR-10 or CIFAR-100 (fine labels) from dir.
func openCIFAR(d Description, dir, split string) (Dataset, error) {
	v, s, err := findCIFAR(d, dir)
	if err != nil {
		return nil, err
	}
	names := v.train
	if split == "test" {
		names = v.test
	}
	blobs, err := s.read(d, names, v.meta)
	if err != nil {
		return nil, err
	}
	m := &memory{planar: true, info: Info{Name: d.Name, Split: split, Shape: slices.Clone(d.Shape)}}
	switch d.Name {
	case "cifar10":
		m.info.Classes = cifar10Names
		m.info.Mean, m.info.Std = []float32{0.4914, 0.4822, 0.4465}, []float32{0.2023, 0.1994, 0.2010}
	case "cifar100":
		m.info.Classes = cifar100Names
		m.info.Mean, m.info.Std = []float32{0.5071, 0.4867, 0.4408}, []float32{0.2675, 0.2565, 0.2761}
	}
	if meta := blobs[len(names)]; meta.data != nil {
		if m.info.Classes, err = v.classes(meta, d.Classes); err != nil {
			return nil, err
		}
	}
	var sources []source
	for i, b := range blobs[:len(names)] {
		if v.python {
			err = m.addPickle(b, d.Classes)
		} else {
			err = m.addRecords(b, d.Classes, cifarPixels)
		}
		if err != nil {
			return nil, err
		}
		sources = append(sources, source{names[i], b.sum()})
		blobs[i].data = nil // let go of the file early
	}
	m.info.SHA256 = hashSources(sources)
	return m, nil
}

// findCIFAR finds out which version dir holds and where. A version of which
// one file is there counts, so that the error names the missing file.
func findCIFAR(d Description, dir string) (cifarVersion, store, error) {
	versions := cifarVersions[d.Name]
	for _, v := range versions {
		for _, sub := range []string{"", v.folder} {
			at := filepath.Join(dir, sub)
			if firstExisting(at, append(slices.Clone(v.train), v.test...)...) != "" {
				return v, store{dir: at}, nil
			}
		}
	}
	for _, v := range versions {
		if p := firstExisting(dir, v.archive); p != "" {
			return v, store{archive: p}, nil
		}
	}
	return cifarVersion{}, store{}, &MissingError{Dataset: d, Path: dir, Detail: "holds none of its files"}
}

// addRecords adds the samples of a binary file: for each the label (CIFAR-100:
// the coarse label, then the fine one), then so many pixels.
func (m *memory) addRecords(b blob, classes, pixels int) error {
	labels := 1
	if classes == 100 {
		labels = 2
	}
	record := labels + pixels
	n := len(b.data) / record
	if rest := len(b.data) % record; rest != 0 {
		return fileerr.New(b.path, int64(n*record), "%d bytes behind %d records of %d: truncated, or trailing bytes", rest, n, record)
	}
	if n == 0 {
		return fileerr.New(b.path, 0, "empty, want records of %d bytes", record)
	}
	m.pixels = slices.Grow(m.pixels, n*pixels)
	for i := range n {
		r := b.data[i*record : (i+1)*record]
		if labels == 2 && r[0] >= 20 {
			return fileerr.New(b.path, int64(i*record), "coarse label %d of record %d, want 0 to 19", r[0], i)
		}
		if y := r[labels-1]; int(y) >= classes {
			return fileerr.New(b.path, int64(i*record+labels-1), "label %d of record %d, want 0 to %d", y, i, classes-1)
		}
		m.labels = append(m.labels, r[labels-1])
		m.pixels = append(m.pixels, r[labels:]...)
	}
	return nil
}

// addPickle adds the samples of a Python file: a dict with the array "data"
// (uint8, [n, 3072]) and the list "labels" or "fine_labels".
func (m *memory) addPickle(b blob, classes int) error {
	dict, err := readPickleDict(b)
	if err != nil {
		return err
	}
	array, ok := dict.values["data"].(*pickleArray)
	if !ok {
		return fileerr.New(b.path, dict.at, "no NumPy array under the key \"data\"")
	}
	if len(array.shape) != 2 || array.shape[1] != cifarPixels || array.code != "u1" {
		return fileerr.New(b.path, array.at, "array \"data\" of type %s and shape %v, want u1 and [n, %d]", array.code, array.shape, cifarPixels)
	}
	key := "labels"
	if classes == 100 {
		key = "fine_labels"
	}
	list, ok := dict.values[key].(*pickleList)
	if !ok {
		return fileerr.New(b.path, dict.at, "no list under the key %q", key)
	}
	n := array.shape[0]
	if n == 0 {
		return fileerr.New(b.path, array.at, "array \"data\" has no rows")
	}
	if len(list.items) != n {
		return fileerr.New(b.path, list.at, "%d %s for %d images", len(list.items), key, n)
	}
	for i, item := range list.items {
		y, ok := item.(pickleInt)
		if !ok {
			return fileerr.New(b.path, list.at, "item %d of %q is not an integer", i, key)
		}
		if y.value < 0 || y.value >= int64(classes) {
			return fileerr.New(b.path, y.at, "label %d of image %d, want 0 to %d", y.value, i, classes-1)
		}
		m.labels = append(m.labels, uint8(y.value))
	}
	if !array.fortran {
		m.pixels = append(m.pixels, array.data...)
		return nil
	}
	start := len(m.pixels)
	m.pixels = append(m.pixels, make([]byte, len(array.data))...)
	for col := range cifarPixels {
		for row, v := range array.data[col*n : (col+1)*n] {
			m.pixels[start+row*cifarPixels+col] = v
		}
	}
	return nil
}

// classes reads the names of the classes.
func (v cifarVersion) classes(b blob, want int) ([]string, error) {
	var names []string
	if v.python {
		dict, err := readPickleDict(b)
		if err != nil {
			return nil, err
		}
		key := "label_names"
		if want == 100 {
			key = "fine_label_names"
		}
		list, ok := dict.values[key].(*pickleList)
		if !ok {
			return nil, fileerr.New(b.path, dict.at, "no list under the key %q", key)
		}
		for i, item := range list.items {
			name, ok := item.(pickleText)
			if !ok {
				return nil, fileerr.New(b.path, list.at, "item %d of %q is not a string", i, key)
			}
			names = append(names, string(name))
		}
	} else {
		for line := range bytes.Lines(b.data) {
			if name := strings.TrimSpace(string(line)); name != "" {
				names = append(names, name)
			}
		}
	}
	if len(names) != want {
		return nil, fileerr.New(b.path, 0, "names %d classes, want %d", len(names), want)
	}
	return names, nil
}

var cifar10Names = strings.Fields("airplane automobile bird cat deer dog frog horse ship truck")

var cifar100Names = strings.Fields(`apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
	bowl boy bridge bus butterfly camel can castle caterpillar cattle
	chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
	dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
	lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
	mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
	plain plate poppy porcupine possum rabbit raccoon ray road rocket
	rose sea seal shark shrew skunk skyscraper snail snake spider
	squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
	train trout tulip turtle wardrobe whale willow_tree wolf woman worm`)
