package dataset

import (
	"embed"
	"fmt"
	"sync"
)

// The digits are the first 10,000 training digits of MNIST and every fifth of
// its test digits, by Yann LeCun and Corinna Cortes, CC BY-SA 3.0: see
// LICENSE-MNIST, which must accompany them.
//
//go:embed digits/*.gz
var digitFiles embed.FS

// MNISTLicence is the notice that must be passed on with the digits, also
// inside a binary.
//
//go:embed digits/LICENSE-MNIST
var MNISTLicence string

var digitSplits = map[string]func() (Dataset, error){
	"train": sync.OnceValues(func() (Dataset, error) { return readDigits("train") }),
	"test":  sync.OnceValues(func() (Dataset, error) { return readDigits("test") }),
}

// openDigits returns the embedded digits, unpacked once and then shared.
func openDigits(split string) (Dataset, error) { return digitSplits[split]() }

func readDigits(split string) (Dataset, error) {
	var arrays [2]*idxArray
	for i, name := range idxNames[split] {
		path := "digits/" + name + ".gz"
		gz, err := digitFiles.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("embedded digits: %w", err)
		}
		if arrays[i], err = readIDXBytes(path, gz, 3-2*i); err != nil {
			return nil, fmt.Errorf("embedded digits: %w", err)
		}
	}
	return fromIDX(Describe("digits"), split, arrays[0], arrays[1])
}
