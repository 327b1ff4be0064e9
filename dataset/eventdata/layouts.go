package eventdata

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/adafire/adafire/events/codec"
	"github.com/adafire/adafire/internal/random"
)

var cifarClasses = []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}

// listCIFAR10DVS: class folders, no split of its own.
func listCIFAR10DVS(l *lister, o *Options) *collection {
	root := l.dir
	if sub(root, cifarClasses...) == "" {
		// Names under which copies and SpikingJelly unpack it.
		if inner := sub(root, "CIFAR10DVS", "CIFAR10-DVS", "events_np", "extract", "cifar10-dvs"); inner != "" {
			root = inner
		}
	}
	_, byClass := l.classes(root, cifarClasses, []string{".aedat", ".aedat4", ".npz", ".npy"}, false)
	c := &collection{classes: cifarClasses, convention: "cifar10dvs-spikingjelly"}
	c.divide(byClass, o)
	return c
}

// listASLDVS: class folders, no split of its own. Classes are numbered by
// folder, so k is 9; some programs number letters of the alphabet.
func listASLDVS(l *lister, o *Options) *collection {
	var letters []string
	for c := 'a'; c <= 'y'; c++ {
		if c != 'j' {
			letters = append(letters, string(c))
		}
	}
	root := l.dir
	if sub(root, letters...) == "" {
		if inner := sub(root, "ASLDVS", "ASL-DVS", "ICCV2019_DVS_dataset", "extract", "events_np"); inner != "" {
			root = inner
		}
	}
	_, byClass := l.classes(root, letters, []string{".mat", ".npz", ".npy"}, false)
	c := &collection{classes: letters}
	c.divide(byClass, o)
	return c
}

// listNMNIST: Train and Test with a folder for each digit.
func listNMNIST(l *lister, _ *Options) *collection {
	digits := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	root := l.dir
	if sub(root, "Train", "Test") == "" {
		if inner := sub(root, "N-MNIST", "NMNIST", "nmnist", "extract"); inner != "" {
			root = inner
		}
	}
	c := &collection{classes: digits, rule: "as published"}
	c.train = l.part(root, []string{"Train"}, digits, []string{".bin", ".npz", ".npy"})
	c.test = l.part(root, []string{"Test"}, digits, []string{".bin", ".npz", ".npy"})
	return c
}

// listNCars: two folders; some unpackings have one more level.
func listNCars(l *lister, _ *Options) *collection {
	classes := []string{"background", "cars"}
	root := l.dir
	if sub(root, "n-cars_train", "n-cars_test", "train", "test") == "" {
		if inner := sub(root, "Prophesee_Dataset_n_cars", "n-cars", "ncars", "N-CARS"); inner != "" {
			root = inner
		}
	}
	c := &collection{classes: classes, rule: "as published"}
	c.train = l.part(root, []string{"n-cars_train", "train"}, classes, []string{".dat", ".npy"})
	c.test = l.part(root, []string{"n-cars_test", "test"}, classes, []string{".dat", ".npy"})
	return c
}

// part lists one part of a data set that is divided by folders. When the part's
// folder holds another of the same kind, that is meant.
func (l *lister) part(root string, names, classes, extensions []string) []item {
	dir := sub(root, names...)
	if dir == "" {
		l.find("%s: not found%s", l.rel(filepath.Join(root, names[0])), archives(root))
		return nil
	}
	if sub(dir, classes...) == "" {
		if inner := sub(dir, names...); inner != "" {
			dir = inner
		} else if inner := sub(dir, "train", "test"); inner != "" {
			dir = inner
		}
	}
	_, byClass := l.classes(dir, classes, extensions, false)
	return slices.Concat(byClass...)
}

// listNCaltech101: class folders of .bin files without a split, or folders
// training and validation of .npy files.
func listNCaltech101(l *lister, o *Options) *collection {
	if training := sub(l.dir, "training"); training != "" {
		return l.folderParts(o, training, []string{".npy", ".npz"}, "validation", "testing")
	}
	root := l.dir
	if inner := sub(root, "Caltech101", "N-Caltech101", "NCaltech101"); inner != "" {
		root = inner
		if inner := sub(root, "Caltech101"); inner != "" {
			root = inner
		}
	}
	names, byClass := l.classes(root, nil, []string{".bin", ".npz"}, true)
	c := &collection{}
	for i, items := range byClass {
		if len(items) == 0 {
			if names[i] != "Caltech101_annotations" {
				l.find("%s: holds no recording (.bin)%s", l.rel(filepath.Join(root, names[i])), archives(filepath.Join(root, names[i])))
			}
			continue
		}
		for k := range items {
			items[k].label = len(c.classes)
		}
		c.classes = append(c.classes, names[i])
	}
	byClass = slices.DeleteFunc(byClass, func(items []item) bool { return len(items) == 0 })
	if n := len(c.classes); n > 0 && n != 101 {
		c.notes = append(c.notes, fmt.Sprintf("%d class folders, as distributed it has 101", n))
	}
	c.divide(byClass, o)
	return c
}

// folderParts lists a data set whose parts are folders and whose classes are
// those of the training part.
func (l *lister) folderParts(o *Options, training string, extensions []string, tests ...string) *collection {
	c := &collection{rule: "by folders"}
	names, byClass := l.classes(training, nil, extensions, true)
	for i, items := range byClass {
		if len(items) == 0 {
			dir := filepath.Join(training, names[i])
			l.find("%s: holds no recording%s", l.rel(dir), archives(dir))
		}
	}
	c.classes, c.train = names, slices.Concat(byClass...)
	root := filepath.Dir(training)
	test := sub(root, tests...)
	if test == "" {
		l.find("%s: not found%s", l.rel(filepath.Join(root, tests[0])), archives(root))
		return c
	}
	c.rule = fmt.Sprintf("by folders: %s trains, %s tests", filepath.Base(training), filepath.Base(test))
	if names != nil {
		for _, name := range folders(test) {
			if !slices.Contains(names, name) {
				l.find("%s: class folder is not in %s", l.rel(filepath.Join(test, name)), l.rel(training))
			}
		}
		_, byClass = l.classes(test, names, extensions, true)
		c.test = slices.Concat(byClass...)
		if len(c.test) == 0 {
			l.find("%s: holds no recording in its class folders%s", l.rel(test), archives(test))
		}
	}
	return c
}

// listAction: folders train and test, classes by name.
func listAction(l *lister, o *Options) *collection {
	root := l.dir
	if sub(root, "train") == "" {
		if inner := sub(root, "Action Recognition", "ActionRecognition", "action_recognition", "DVS-Action"); inner != "" {
			root = inner
		}
	}
	training := sub(root, "train", "training")
	if training == "" {
		l.find("%s: not found%s", l.rel(filepath.Join(root, "train")), archives(root))
		return &collection{}
	}
	c := l.folderParts(o, training, []string{".npy", ".npz", ".aedat"}, "test", "testing", "val", "validation")
	c.convention = "davis-jaer"
	if n := len(c.classes); n > 0 && n != 10 {
		c.notes = append(c.notes, fmt.Sprintf("%d class folders, as distributed it has 10", n))
	}
	return c
}

// listFolder: folders train and test, or class folders alone.
func listFolder(l *lister, o *Options) *collection {
	var extensions []string
	for _, f := range codec.Formats() {
		extensions = append(extensions, f.Extensions...)
	}
	l.mixed = true
	if training := sub(l.dir, "train", "training"); training != "" {
		return l.folderParts(o, training, extensions, "test", "testing", "val", "validation")
	}
	names, byClass := l.classes(l.dir, nil, extensions, true)
	for i, items := range byClass {
		if len(items) == 0 {
			dir := filepath.Join(l.dir, names[i])
			l.find("%s: holds no recording%s", l.rel(dir), archives(dir))
		}
	}
	c := &collection{classes: names}
	c.divide(byClass, o)
	return c
}

var digitsAtEnd = regexp.MustCompile(`([0-9]+)\.[^/]*$`)

// divide makes the parts of a data set without a split of its own. The items of
// each class come in byte order of their names.
func (c *collection) divide(byClass [][]item, o *Options) {
	switch o.Split {
	case SplitLast:
		c.rule = "numbers 0 to 99 of each class test, the others train"
		for _, items := range byClass {
			for _, it := range items {
				m := digitsAtEnd.FindStringSubmatch(it.path)
				if n, err := strconv.Atoi(append(m, "", "")[1]); m != nil && err == nil && n < 100 {
					c.test = append(c.test, it)
				} else {
					c.train = append(c.train, it)
				}
			}
		}
		return
	case SplitRandom:
		c.rule = fmt.Sprintf("%g %% of each class train, drawn with seed %d", 100*o.TrainShare, o.Seed)
	default:
		c.rule = fmt.Sprintf("the first %g %% of each class in byte order of the names train", 100*o.TrainShare)
	}
	for label, items := range byClass {
		first := int(math.Ceil(o.TrainShare*float64(len(items)) - 1e-9)) // 0.9*10 is 9, not 10
		if o.Split == SplitRandom {
			drawn := make([]bool, len(items))
			for _, i := range random.New(o.Seed, "split class", uint64(label)).Perm(len(items))[:first] {
				drawn[i] = true
			}
			for i, it := range items {
				if drawn[i] {
					c.train = append(c.train, it)
				} else {
					c.test = append(c.test, it)
				}
			}
			continue
		}
		c.train = append(c.train, items[:first]...)
		c.test = append(c.test, items[first:]...)
	}
}
