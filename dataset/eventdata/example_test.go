package eventdata_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/dataset/eventdata/miniature"
)

// A miniature of N-CARS, read like the real one.
func Example() {
	dir, err := os.MkdirTemp("", "ncars")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := miniature.Write("ncars", filepath.Join(dir, "data"), miniature.Options{PerClass: 3}); err != nil {
		fmt.Println(err)
		return
	}
	train, test, err := eventdata.Open(context.Background(), "ncars", filepath.Join(dir, "data"),
		eventdata.Options{InputSize: 32, CacheDir: filepath.Join(dir, "cache")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(train.Len(), test.Len(), train.Info().Classes)
	loader, err := dataset.NewLoader(train, dataset.LoaderOptions{BatchSize: 4, Seed: 1, Normalise: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	for batch, err := range loader.Epoch(context.Background(), 0, 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(batch.X.Shape, batch.Labels)
	}
	// Output:
	// 6 6 [background cars]
	// [4 32 32 18] [0 0 0 1]
	// [2 32 32 18] [1 1]
}
