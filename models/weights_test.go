package models_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/tensor"
)

// weightsEnv names a folder with released weights, as scripts/fetch-weights.sh
// makes it.
const weightsEnv = "ADAFIRE_WEIGHTS"

// TestReleasedWeights loads weights as their authors released them and compares
// outputs with those that PyTorch gives for the same input: value i of the
// channels-first input is ((i*7919 + 13) mod 256)/127.5 - 1.
func TestReleasedWeights(t *testing.T) {
	dir := os.Getenv(weightsEnv)
	if dir == "" {
		t.Skip("set " + weightsEnv + " to a folder made by scripts/fetch-weights.sh")
	}
	for _, c := range []struct {
		arch, file string
		size       int
		classes    int
		want       map[int]float64 // outputs by index, channels last
	}{
		{"mobilenetv2", "mobilenet_v2-b0353104.pth", 224, 1000, map[int]float64{
			905: 14.9146, 753: 14.2895, 904: 12.3042, 619: 10.2352, 789: 10.1846, 0: -3.0258, 1: -1.5753, 2: -4.6735, 3: -6.6489, 4: -4.0659}},
		{"efficientnet-lite0", "efficientnet-lite0-57934424.pth", 224, 1000, map[int]float64{
			905: 7.0598, 904: 5.6254, 892: 4.5705, 753: 4.4497, 409: 3.9654, 0: -1.4579, 1: -0.2440, 2: 0.0535, 3: -1.5639, 4: -0.9939}},
		{"craft", "craft_mlt_25k.pth", 64, 2, map[int]float64{
			0: 0.01023, 1: 0.00043, 2: 0.00703, 3: 0.00044, 500: 0.00102, 501: 0.00023, 1024: 0.00102, 1025: 0.00023, 2046: 0.00102, 2047: 0.00023}},
	} {
		t.Run(c.arch, func(t *testing.T) {
			path := filepath.Join(dir, c.file)
			if _, err := os.Stat(path); err != nil {
				t.Skip(err)
			}
			g, err := models.Outline(models.Config{Arch: c.arch, Input: graph.Shape{c.size, c.size, 3}, Classes: c.classes})
			if err != nil {
				t.Fatal(err)
			}
			s, err := checkpoint.OpenStateDict(path, checkpoint.StateDictOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Assign(g, false); err != nil {
				t.Fatal(err)
			}
			e, err := ann.New(g, nil)
			if err != nil {
				t.Fatal(err)
			}
			n := c.size * c.size
			x := tensor.New(1, c.size, c.size, 3)
			for i := range x.Data {
				x.Data[i%n*3+i/n] = float32(float64((i*7919+13)%256)/127.5 - 1)
			}
			y, err := e.Forward(x)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range c.want {
				if got := float64(y.Data[i]); math.Abs(got-want) > 6e-5+1e-4*math.Abs(want) {
					t.Errorf("output %d: got %.4f, want %.4f", i, got, want)
				}
			}
		})
	}
}
