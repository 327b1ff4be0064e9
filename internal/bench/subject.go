package bench

import (
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/tensor"
)

// Archs are the networks of the built-in table, in their usual size for images
// of 3 x 32 x 32.
var Archs = []string{"resnet20", "vgg16"}

// Batch is the batch size of the built-in table.
const Batch = 32

// Build returns an untrained network on random images. An untrained network
// takes the time of a trained one, but its spikes are not those of one: look at
// the density before comparing event-driven kernels.
func Build(arch string, input graph.Shape, classes, batch int, seed uint64) (Subject, error) {
	g, err := models.Build(models.Config{Arch: arch, Input: input, Classes: classes, Seed: seed})
	if err != nil {
		return Subject{}, err
	}
	return Subject{Name: arch, Graph: g, Input: RandomInput(input, batch, seed)}, nil
}

// RandomInput returns samples of normally distributed values, as images are
// after normalisation.
func RandomInput(shape graph.Shape, batch int, seed uint64) *tensor.Tensor {
	x := tensor.New(append([]int{batch}, shape...)...)
	r := random.New(seed, "bench input")
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return x
}

// batchOf returns activations as they stand behind a rectifier.
func batchOf(shape graph.Shape, batch int) *tensor.Tensor {
	x := RandomInput(shape, batch, 1)
	for i, v := range x.Data {
		x.Data[i] = max(v, 0)
	}
	return x
}
