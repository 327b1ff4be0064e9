package snn_test

import (
	"fmt"
	"testing"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/bench"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// images are normally distributed values, as images are after normalisation.
func images(n int, shape graph.Shape) *tensor.Tensor {
	x := tensor.New(append([]int{n}, shape...)...)
	r := random.New(1, "speed")
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return x
}

// converted returns an untrained network with thresholds found on random images:
// the time and about the density of a trained one.
func converted(tb testing.TB, cfg models.Config, timesteps, maxSpike int) *convert.Result {
	tb.Helper()
	g, err := models.Build(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	c := convert.Default()
	c.Timesteps, c.MaxSpike, c.Calibration = timesteps, maxSpike, convert.CalibrationNone
	res, err := convert.Convert(tb.Context(), nil, g, images(4, cfg.Input), c)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

// BenchmarkNetworks runs the networks of the built-in table in one thread: the
// fastest run, its rate in operations of the dense float network, that rate over
// the machine's peak, and the share of neurons that fire in a timestep.
//
//	go test ./snn -run - -bench Networks/resnet20/maxspike=4 -benchtime 3x
func BenchmarkNetworks(b *testing.B) {
	const batch, timesteps = 32, 8
	shape := graph.Shape{32, 32, 3}
	x := images(batch, shape)
	for _, arch := range []string{"resnet20", "vgg16"} {
		for _, maxSpike := range []int{4, 1} {
			var res *convert.Result
			b.Run(fmt.Sprintf("%s/maxspike=%d", arch, maxSpike), func(b *testing.B) {
				for _, mode := range []string{"f32", "i16", "i8", "i8 accumulate", "i8 steps"} {
					b.Run(mode, func(b *testing.B) {
						if res == nil {
							res = converted(b, models.Config{Arch: arch, Input: shape, Classes: 10, Seed: 1}, timesteps, maxSpike)
						}
						cfg := res.SNN.Clone()
						var schedule string
						_, _ = fmt.Sscanf(mode, "%s %s", &cfg.Weights, &schedule)
						if schedule == "accumulate" {
							cfg.Schedule = snn.ScheduleAccumulate
						}
						net, err := snn.New(res.Graph, cfg)
						if err != nil {
							b.Fatal(err)
						}
						var layers []snn.LayerCounts
						var uses []snn.KernelUse
						run := func() error {
							if schedule == "steps" {
								got, err := net.RunSteps(b.Context(), nil, x, nil)
								if err == nil {
									layers, uses = got.Layers, got.Kernels
								}
								return err
							}
							got, err := net.Run(b.Context(), nil, x, snn.Options{})
							if err == nil {
								layers, uses = got.Layers, got.Kernels
							}
							return err
						}
						times, err := bench.Time(b.Context(), b.N, run)
						if err != nil {
							b.Fatal(err)
						}
						best := times.CPU / 1e3
						var events, updates float64
						var frames, byEvents, byBase int64
						for _, u := range uses {
							frames, byEvents, byBase = frames+u.Frames, byEvents+u.EventFrames, byBase+u.BaseFrames
						}
						for i, l := range net.Layers() {
							for _, e := range layers[i].Events {
								events += float64(e)
							}
							updates += float64(l.Neurons * batch * timesteps)
						}
						rate := 2 * float64(res.Graph.MACs()) * batch * timesteps / best / 1e9
						b.ReportMetric(best*1e3, "cpu-ms")
						b.ReportMetric(float64(byEvents)/float64(frames), "by-events")
						b.ReportMetric(float64(byBase)/float64(frames), "by-base")
						b.ReportMetric(rate, "Gop/s")
						b.ReportMetric(rate/kernel.PeakGFLOPS(), "of-peak")
						b.ReportMetric(events/updates, "density")
					})
				}
			})
		}
	}
}
