package eventdata

import (
	"fmt"
	"slices"
	"strings"

	"github.com/adafire/adafire/dataset"
)

// A kind is what this package knows of a data set.
type kind struct {
	dataset.Description

	width, height int                                     // of the sensor; 0: found out
	perClass      int                                     // recordings of each class as distributed; 0: they differ
	list          func(l *lister, o *Options) *collection // looks the folder through
	augment       Augment                                 // of its training recipe
	splits        []string                                // rules of Options.Split that make sense, the default first
}

var allSplits = []string{SplitFirst, SplitRandom}

var kinds = []*kind{
	{
		Description: dataset.Description{
			Name: "cifar10dvs", Summary: "CIFAR-10 photographs moving on a screen, seen by a DVS128",
			Licence: "CC BY 4.0, Li, Liu, Ji, Li and Shi", HomePage: "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671",
			Layout: []string{
				"CLASS/cifar10_CLASS_0.aedat to cifar10_CLASS_999.aedat for the ten classes airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck",
				"the same as .aedat4 (second edition) or .npz (SpikingJelly's events_np)",
			},
			Classes: 10, Shape: []int{128, 128, 18}, Train: 9000, Test: 1000,
		},
		width: 128, height: 128, perClass: 1000, list: listCIFAR10DVS, augment: Augment{Events: true, Array: true},
		splits: []string{SplitFirst, SplitLast, SplitRandom},
	},
	{
		Description: dataset.Description{
			Name: "ncaltech101", Summary: "Caltech-101 photographs seen by an ATIS camera that moves in three saccades",
			Licence: "CC BY-SA 4.0, Orchard, Cohen, Jayawant and Thakor", HomePage: "https://www.garrickorchard.com/datasets/n-caltech101",
			Layout: []string{
				"Caltech101/CLASS/image_0001.bin ... (or the class folders themselves), 101 classes",
				"training/CLASS/*.npy and validation/CLASS/*.npy (testing/ is not needed)",
			},
			Classes: 101, Shape: []int{180, 240, 18},
		},
		width: 240, height: 180, list: listNCaltech101, augment: Augment{Events: true, Array: true}, splits: allSplits,
	},
	{
		Description: dataset.Description{
			Name: "ncars", Summary: "cars and background in traffic, 100 ms each",
			Licence: "Prophesee: non-commercial research", HomePage: "https://www.prophesee.ai/2018/03/13/dataset-n-cars/",
			Layout: []string{
				"n-cars_train/cars/obj_*_td.dat, n-cars_train/background/..., n-cars_test/cars/..., n-cars_test/background/...",
				"train/CLASS/*.npy and test/CLASS/*.npy with the classes background and cars",
			},
			Classes: 2, Shape: []int{100, 120, 18}, Train: 15422, Test: 8607,
		},
		width: 120, height: 100, list: listNCars, augment: Augment{Events: true, Array: true},
	},
	{
		Description: dataset.Description{
			Name: "nmnist", Summary: "MNIST digits seen by an ATIS camera that moves in three saccades",
			Licence: "CC BY-SA 4.0, Orchard, Cohen, Jayawant and Thakor", HomePage: "https://www.garrickorchard.com/datasets/n-mnist",
			Layout:  []string{"Train/0/00002.bin ... Train/9/..., Test/0/... Test/9/..."},
			Classes: 10, Shape: []int{34, 34, 18}, Train: 60000, Test: 10000,
		},
		width: 34, height: 34, list: listNMNIST, augment: Augment{Shift: 2},
	},
	{
		Description: dataset.Description{
			Name: "nmnist-sim", Summary: "the digits inside the program, seen by a simulated event camera in three saccades; made on first use",
			Licence:  "CC BY-SA 3.0, Yann LeCun and Corinna Cortes (LICENSE-MNIST)",
			HomePage: "http://yann.lecun.com/exdb/mnist/",
			Layout:   []string{"no files needed"},
			Classes:  10, Shape: []int{34, 34, 18}, Train: 10000, Test: 2000, Embedded: true,
		},
		width: 34, height: 34, list: listDigits, augment: Augment{Shift: 2},
	},
	{
		Description: dataset.Description{
			Name: "dvs128gesture", Summary: "eleven hand gestures of 29 people in three kinds of light",
			Licence: "CC BY 4.0, IBM Research", HomePage: "https://research.ibm.com/interactive/dvsgesture/",
			Layout: []string{
				"DvsGesture/ (or the folder itself): trials_to_train.txt, trials_to_test.txt, and for each recording that they name " +
					"userNN_LIGHT.aedat and userNN_LIGHT_labels.csv",
			},
			Classes: 11, Shape: []int{128, 128, 18}, Train: 1176, Test: 288,
		},
		width: 128, height: 128, list: listGesture, augment: Augment{Events: true, Array: true},
	},
	{
		Description: dataset.Description{
			Name: "asldvs", Summary: "24 letters of the American sign language",
			Licence: "none stated; cite Bi et al., ICCV 2019", HomePage: "https://github.com/PIX2NVS/NVS2Graph",
			Layout:  []string{"LETTER/LETTER_0001.mat ... for the 24 letters a to y without j (z has none)"},
			Classes: 24, Shape: []int{180, 240, 18},
		},
		width: 240, height: 180, perClass: 4200, list: listASLDVS, augment: Augment{Events: true, Array: true}, splits: allSplits,
	},
	{
		Description: dataset.Description{
			Name: "action-recognition", Summary: "PAF: ten actions in an office, seen by a DAVIS346",
			Licence: "none stated; cite Miao et al., Frontiers in Neurorobotics 2019",
			Layout:  []string{"train/CLASS/*.npy and test/CLASS/*.npy for ten classes; or .aedat (AEDAT 2) in the same folders"},
			Classes: 10, Shape: []int{260, 346, 18},
		},
		width: 346, height: 260, list: listAction, augment: Augment{Array: true},
	},
	{
		Description: dataset.Description{
			Name: "eventfolder", Summary: "your own recordings, one folder for each class",
			Licence: "yours",
			Layout: []string{
				"train/CLASS/* and test/CLASS/* (or val/CLASS/*)",
				"CLASS/*, divided into train and test; recordings in any format that is read: .aedat, .aedat4, .bin, .dat, .raw, .npy, .npz, .mat, .h5, .txt, .csv",
			},
		},
		list: listFolder, augment: Augment{Events: true, Array: true}, splits: allSplits,
	},
}

// Names returns the names that Open knows.
func Names() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.Name
	}
	return names
}

// Known reports whether a name, as Normalise returns it, is one of Names.
func Known(name string) bool { return find(name) != nil }

// Normalise returns the name by which a data set is known here: lower case,
// "action recognition" with a hyphen.
func Normalise(name string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), " ", "-")
}

// Describe returns the description of a data set, or one with nothing but the
// name if there is no such set.
func Describe(name string) dataset.Description {
	if k := find(name); k != nil {
		return k.Description
	}
	return dataset.Description{Name: name}
}

// DefaultAugment returns the augmentation of the training recipe of a data set:
// that of the authors' code, and for digits, which must not be mirrored, a
// shift of up to two pixels.
func DefaultAugment(name string) Augment {
	if k := find(name); k != nil {
		return k.augment
	}
	return Augment{}
}

func find(name string) *kind {
	name = Normalise(name)
	if i := slices.IndexFunc(kinds, func(k *kind) bool { return k.Name == name }); i >= 0 {
		return kinds[i]
	}
	return nil
}

func lookUp(name string) (*kind, error) {
	if k := find(name); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w %q: want one of %s", dataset.ErrUnknown, name, strings.Join(Names(), ", "))
}
