package dataset_test

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/dataset"
)

func Example() {
	digits, err := dataset.Open("digits", "", "train")
	if err != nil {
		fmt.Println(err)
		return
	}
	loader, err := dataset.NewLoader(digits, dataset.LoaderOptions{
		BatchSize: 64, Shuffle: true, Seed: 1, Normalise: true,
		Augment: dataset.DefaultAugment("digits"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	samples := 0
	for batch, err := range loader.Epoch(context.Background(), 0, 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		samples += batch.X.Shape[0] // train on batch.X and batch.Labels here
	}
	fmt.Println(samples, "samples of", digits.Info().Shape, "in", loader.Batches(), "batches")
	// Output: 10000 samples of [28 28 1] in 157 batches
}
