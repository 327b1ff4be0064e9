package dataset

import (
	"path/filepath"
	"strconv"
	"testing"
)

// BenchmarkLoader measures samples per second, one worker, shuffled and
// normalised.
func BenchmarkLoader(b *testing.B) {
	digits, err := Open("digits", "", "train")
	if err != nil {
		b.Fatal(err)
	}
	folder := b.TempDir()
	for k := range 8 {
		writeFile(b, filepath.Join(folder, "train", strconv.Itoa(k), "photo.jpg"), jpegFile(picture(500, 375)))
	}
	photos, err := Open("imagenet", folder, "train")
	if err != nil {
		b.Fatal(err)
	}
	cifar := synthetic(2000, 32, 32, 3, 10)
	cifar.planar = true
	for _, bc := range []struct {
		name    string
		ds      Dataset
		augment Augment
		mix     Mix
	}{
		{"digits/plain", digits, Augment{}, Mix{}},
		{"digits/affine", digits, DefaultAugment("digits"), Mix{}},
		{"cifar/plain", cifar, Augment{}, Mix{}},
		{"cifar/crop+flip", cifar, Augment{Crop: 4, Flip: true}, Mix{}},
		{"cifar/recipe", cifar, DefaultAugment("cifar10"), Mix{}},
		{"cifar/mixup", cifar, Augment{}, Mix{Mixup: 0.5}},
		{"photos/centre", photos, Augment{}, Mix{}},
		{"photos/resizedcrop", photos, DefaultAugment("imagenet"), Mix{}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			l, err := NewLoader(bc.ds, LoaderOptions{BatchSize: 64, Shuffle: true, Workers: 1, Normalise: true, Augment: bc.augment, Mix: bc.mix})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			samples, epoch := 0, 0
			for b.Loop() {
				for batch, err := range l.Epoch(b.Context(), epoch, 0) {
					if err != nil {
						b.Fatal(err)
					}
					samples += len(batch.Labels)
				}
				epoch++
			}
			b.ReportMetric(float64(samples)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
