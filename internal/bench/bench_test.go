package bench

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
)

func TestTimeWarmsUp(t *testing.T) {
	for runs, calls := range map[int]int{-1: 2, 1: 2, 4: 5} {
		n := 0
		got, err := Time(t.Context(), runs, func() error { n++; return nil })
		if err != nil || n != calls || got.Runs != calls-1 {
			t.Errorf("%d runs: %d calls, %+v, %v; want %d calls", runs, n, got, err, calls)
		}
	}
}

func TestTimeStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := Time(ctx, 10, func() error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != 3 {
		t.Errorf("%d calls, error %v, want 3 and %v", n, err, context.Canceled)
	}
	broken := errors.New("broken")
	if _, err := Time(t.Context(), 10, func() error { return broken }); err != broken {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// Functions take turns, so that a busy moment falls on all of them.
func TestTimeInTurn(t *testing.T) {
	var order []int
	step := func(i int) func() error { return func() error { order = append(order, i); return nil } }
	got, err := TimeInTurn(t.Context(), 2, []func() error{step(0), step(1)})
	if err != nil || len(got) != 2 || got[0].Runs != 2 || got[1].Runs != 2 || !slices.Equal(order, []int{0, 1, 0, 1, 0, 1}) {
		t.Errorf("order %v, times %+v, %v", order, got, err)
	}
}

func TestSummarise(t *testing.T) {
	got := summarise([]float64{5, 1, 9, 2}, []float64{4, 7, 3, 8})
	if want := (Times{Min: 1, Median: 3.5, Max: 9, CPU: 3, Runs: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := summarise([]float64{5, 1, 9}, []float64{4, 7, 3}).Median; got != 5 {
		t.Errorf("median of three is %g, want 5", got)
	}
}

// close says whether two numbers agree but for rounding.
func close(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }

// The figures of a network follow from its operations and times, and what ran
// is what the packages compute.
func TestMeasure(t *testing.T) {
	pool := parallel.New(2)
	defer pool.Close()
	m := Machine{Workers: 2, PeakGFLOPS: 200, PeakGFLOPSCore: 100, PeakGBps: 20}
	s, err := Build("vgg-small", graph.Shape{12, 8, 2}, 7, 6, 3)
	if err != nil {
		t.Fatal(err)
	}
	notes := 0
	n, err := Measure(t.Context(), pool, m, s, Options{Runs: 2, Timesteps: 4, MaxSpike: 3, Train: true, Layers: true, Conversion: true,
		Weights: snn.I8, Schedule: snn.ScheduleSync,
		Note: func(string) { notes++ }})
	if err != nil {
		t.Fatal(err)
	}
	if notes == 0 || n.Batch != 6 || n.MACs != s.Graph.MACs() || n.Calibration == "" {
		t.Errorf("%d notes, batch %d, %d MACs, calibration %q", notes, n.Batch, n.MACs, n.Calibration)
	}
	flops := 2 * 6 * float64(n.MACs)
	if want := flops / n.ANN.Median / 1e6; !close(n.ANN.GFLOPS, want) || !close(n.ANN.Peak, want/200) {
		t.Errorf("ANN: %g GFLOP/s, %g of peak, want %g and %g", n.ANN.GFLOPS, n.ANN.Peak, want, want/200)
	}
	if want := 3 * flops / n.Train.Median / 1e6; !close(n.Train.GFLOPS, want) {
		t.Errorf("training step: %g GFLOP/s, want %g", n.Train.GFLOPS, want)
	}
	if want := 4 * flops / n.SNN.Median / 1e6; !close(n.SNN.GOPS, want) {
		t.Errorf("SNN: %g GOP/s, want %g", n.SNN.GOPS, want)
	}
	if n.SNN.Timesteps != 4 || n.SNN.MaxSpike != 3 || !(n.SNN.Density > 0 && n.SNN.Density < 1) ||
		n.SNN.Spikes < n.SNN.Density || n.SNN.Spikes > 3*n.SNN.Density || n.SNN.SOPs <= 0 {
		t.Errorf("SNN: %+v", *n.SNN)
	}

	ex, err := ann.New(s.Graph, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := ex.Forward(s.Input)
	if err != nil {
		t.Fatal(err)
	}
	if n.ANNLogits.Shape[0] != 6 || n.SNNLogits.Shape[1] != 7 {
		t.Errorf("logits of shapes %v and %v, want [6 7]", n.ANNLogits.Shape, n.SNNLogits.Shape)
	}
	for i, v := range want.Data {
		if n.ANNLogits.Data[i] != v {
			t.Fatalf("ANN output %d is %g, want %g", i, n.ANNLogits.Data[i], v)
		}
	}

	if s := n.SNN; s.Weights != snn.I8 || s.Schedule != snn.ScheduleSync || s.Memory < s.Working/2 || s.Working <= 0 || s.Events < 0 || s.Events > 1 ||
		!close(s.Triad, s.GBps/m.PeakGBps) || s.GBps <= 0 {
		t.Errorf("SNN: %+v", *s)
	}
	// Packed weights alone take more.
	if n.ANN.Memory < 4*n.Parameters || n.ANN.GBps <= 0 {
		t.Errorf("ANN of %d parameters: %d bytes, %g GB/s", n.Parameters, n.ANN.Memory, n.ANN.GBps)
	}
	if c := n.Conversion; c == nil || c.Samples != 6 || c.Search.Min <= 0 || c.Thresholds.Min <= 0 || c.Light.Min <= 0 {
		t.Errorf("conversion: %+v", c)
	}

	var macs int64
	var sops, snnMS float64
	for _, l := range n.Layers {
		macs += l.MACs
		sops += l.SOPs
		snnMS += l.SNNMS
		if l.MACs > 0 && !(l.ANNMS > 0 && l.ANNGFLOPS > 0) {
			t.Errorf("layer %s has %d MACs and no time: %+v", l.Name, l.MACs, l)
		}
	}
	if macs != n.MACs {
		t.Errorf("layers of %d MACs, want %d", macs, n.MACs)
	}
	if !close(sops, n.SNN.SOPs) || snnMS <= 0 {
		t.Errorf("layers of %g SOPs and %g ms, want %g SOPs", sops, snnMS, n.SNN.SOPs)
	}
}

// A network that is converted already runs as it is.
func TestMeasureConverted(t *testing.T) {
	s, err := Build("vgg-small", graph.Shape{8, 8, 1}, 3, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg := convert.Default()
	cfg.Timesteps, cfg.MaxSpike, cfg.Calibration = 3, 2, convert.CalibrationNone
	res, err := convert.Convert(t.Context(), nil, s.Graph, s.Input, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if s.SNN, err = res.Network(); err != nil {
		t.Fatal(err)
	}
	s.Graph = res.Graph
	n, err := Measure(t.Context(), nil, Machine{Workers: 1, PeakGFLOPS: 1, PeakGFLOPSCore: 1}, s, Options{Runs: 1, Timesteps: 8, MaxSpike: 4})
	if err != nil {
		t.Fatal(err)
	}
	s.Others = []Converted{{"again", s.SNN}}
	once := s.SNN.Config()
	once.Schedule = snn.ScheduleAccumulate
	if net, err := snn.New(s.Graph, once); err != nil {
		t.Error(err)
	} else if sum, err := Measure(t.Context(), nil, Machine{Workers: 1, PeakGFLOPS: 1, PeakGFLOPSCore: 1, PeakGBps: 1},
		Subject{Name: "sum", Graph: s.Graph, Input: s.Input, SNN: net}, Options{Runs: 1}); err != nil {
		t.Error(err)
	} else if sum.SNN.Schedule != snn.ScheduleAccumulate || sum.SNN.Density < n.SNN.Density || sum.SNN.Density > 1 {
		// What fires in some timestep has fired in the end.
		t.Errorf("accumulated: %+v, in timesteps %+v", *sum.SNN, *n.SNN)
	}
	if again, err := Measure(t.Context(), nil, Machine{Workers: 1, PeakGFLOPS: 1, PeakGFLOPSCore: 1, PeakGBps: 1}, s, Options{Runs: 1}); err != nil {
		t.Error(err)
	} else if o := again.Others; len(o) != 1 || o[0].Name != "again" || o[0].Density != n.SNN.Density || o[0].Timesteps != 3 {
		t.Errorf("measured in turn: %+v, want as %+v", o, n.SNN)
	}
	if n.SNN.Timesteps != 3 || n.SNN.MaxSpike != 2 || n.Calibration != "" || n.Train != nil || n.Layers != nil {
		t.Errorf("got T=%d, maxspike %d, calibration %q, %v, %v", n.SNN.Timesteps, n.SNN.MaxSpike, n.Calibration, n.Train, n.Layers)
	}
}

func TestMachineAndKernels(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for seconds")
	}
	pool := parallel.New(2)
	defer pool.Close()
	m := MeasureMachine(pool)
	if m.Workers != 2 || m.PeakGFLOPS <= 0 || m.PeakGBps <= 0 || m.PeakGBpsL1 < m.PeakGBpsCore/2 {
		t.Errorf("machine %+v", m)
	}
	fire, err := Neurons(t.Context(), 1)
	if err != nil || len(fire) != 2 || fire[0].Updates <= 0 || !close(fire[0].GBps, 13*fire[0].Updates) {
		t.Errorf("neurons: %+v, %v", fire, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Convolutions(ctx, pool, m, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("convolutions after the end of their context: %v", err)
	}
}
