package convert

import (
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// speedNet is an untrained ResNet-20 for 32x32 images, prepared, and images.
func speedNet(b *testing.B, samples int) (*graph.Graph, *tensor.Tensor) {
	b.Helper()
	shape := graph.Shape{32, 32, 3}
	g, err := models.Build(models.Config{Arch: "resnet20", Input: shape, Classes: 10, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	if g, err = Prepare(g); err != nil {
		b.Fatal(err)
	}
	x := tensor.New(append([]int{samples}, shape...)...)
	r := random.New(1, "speed")
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return g, x
}

// BenchmarkThresholds finds all thresholds of a ResNet-20, the ANN's passes
// included, in one thread: exactly from 32 images, by histograms from 96.
//
//	go test ./convert -run - -bench Thresholds -benchtime 2x
func BenchmarkThresholds(b *testing.B) {
	for _, c := range []struct {
		name    string
		samples int
	}{{"exact", 32}, {"histogram", 96}} {
		b.Run(c.name, func(b *testing.B) {
			g, x := speedNet(b, c.samples)
			for b.Loop() {
				if _, err := Thresholds(b.Context(), nil, g, x, Default()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkThresholdSearch is the search alone, on activations that are there.
//
//	go test ./convert -run - -bench ThresholdSearch -benchtime 3x
func BenchmarkThresholdSearch(b *testing.B) {
	g, x := speedNet(b, 32)
	o, err := newObserver(g, nil, x)
	if err != nil {
		b.Fatal(err)
	}
	var kept []*tensor.Tensor
	if err := o.each(b.Context(), func(int) bool { return true }, func(_, _ int, y *tensor.Tensor) error {
		kept = append(kept, y.Clone())
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for l, y := range kept {
			if _, err := LayerThresholds(nil, y, Default(), l); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkLightCalibration corrects the biases of a ResNet-20 on 32 images in
// one thread.
//
//	go test ./convert -run - -bench LightCalibration -benchtime 2x
func BenchmarkLightCalibration(b *testing.B) {
	g, x := speedNet(b, 32)
	theta, err := Thresholds(b.Context(), nil, g, x, Default())
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range []snn.Precision{snn.F32, snn.I8} {
		b.Run(string(p), func(b *testing.B) {
			cfg := theta.Config.Clone()
			cfg.Weights = p
			for b.Loop() {
				if _, _, err := LightCalibration(b.Context(), nil, g, g, cfg, x, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
