package onnx_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/onnx"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A spiking network for tests. dyadic gives numbers with few binary digits, so that
// sums are exact in any order.
func spikingNet(seed uint64, dyadic bool, cfg snn.Config) (*graph.Graph, *snn.Config) {
	r := rand.New(rand.NewPCG(seed, 1))
	numbers := func(scale float64, shape ...int) *tensor.Tensor {
		t := tensor.New(shape...)
		for i := range t.Data {
			v := scale * r.NormFloat64()
			if dyadic {
				v = math.Round(v*64) / 64
			}
			t.Data[i] = float32(v)
		}
		return t
	}
	g := graph.New()
	conv := func(name string, x *graph.Node, cin, k, stride, pad, groups, cout int) *graph.Node {
		return g.Add(name, &graph.Conv2D{Stride: [2]int{stride, stride}, Pad: graph.Uniform(pad, pad), Dilation: [2]int{1, 1}, Groups: groups},
			graph.Params{"weight": numbers(1/math.Sqrt(float64(k*k*cin/groups)), k, k, cin/groups, cout), "bias": numbers(0.1, cout)}, x)
	}
	relu := func(name string, x *graph.Node) *graph.Node { return g.Add(name, &graph.ReLU{}, nil, x) }
	x := relu("relu1", conv("conv1", g.Input("x", graph.Shape{8, 6, 2}), 2, 3, 1, 1, 1, 6))
	m := g.Add("max", &graph.MaxPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1)}, nil, x) // 4x3
	a := conv("b", relu("relu2", conv("a", m, 6, 3, 1, 1, 2, 6)), 6, 3, 1, 1, 1, 8)
	y := relu("relu3", g.Add("sum", &graph.Add{}, nil, a, conv("projection", m, 6, 1, 1, 0, 1, 8)))
	z := relu("relu4", g.Add("sum2", &graph.Add{}, nil, y, conv("c", y, 8, 3, 1, 1, 8, 8)))
	av := g.Add("avg", &graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 1}}, nil, z) // 3x2
	t := relu("relu5", g.Add("deconv", &graph.ConvTranspose2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1},
		graph.Params{"weight": numbers(0.2, 2, 2, 8, 4), "bias": numbers(0.1, 4)}, av)) // 4x3
	up := g.Add("up", &graph.Upsample{Size: [2]int{8, 6}, Mode: "nearest"}, nil, t)
	cat := g.Add("cat", &graph.Concat{}, nil, up, x) // 8x6x10
	h := relu("relu6", g.Add("fc1", &graph.Linear{}, graph.Params{"weight": numbers(0.06, 480, 12), "bias": numbers(0.1, 12)}, g.Add("flat", &graph.Flatten{}, nil, cat)))
	g.Outputs = []*graph.Node{g.Add("fc2", &graph.Linear{}, graph.Params{"weight": numbers(0.3, 12, 5), "bias": numbers(0.1, 5)}, h)}
	if err := g.Infer(); err != nil {
		panic(err)
	}
	for i, n := range snn.Activations(g) {
		l := snn.Layer{Node: n.Name, MaxSpike: 1 + (i+int(seed))%4}
		k := 1
		if i%2 == 0 {
			k = n.Shape.Channels()
		}
		for range k {
			theta := float32(0.3 + r.Float64())
			if dyadic {
				theta = []float32{0.25, 0.5, 1}[r.IntN(3)]
			}
			l.Threshold = append(l.Threshold, theta)
		}
		if (i+int(seed))%3 == 0 {
			l.Initial = numbers(0.2, n.Shape.Numel()).Data
		}
		cfg.Layers = append(cfg.Layers, l)
	}
	return g, &cfg
}

// TestExportSNN writes networks without control flow, reads them as ANNs, and wants
// the executor's spikes and outputs.
func TestExportSNN(t *testing.T) {
	for i, cfg := range []snn.Config{
		{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact},
		{Timesteps: 8, Shift: snn.ShiftPerStep, MaxPool: snn.MaxPoolExact},
		{Timesteps: 3, Shift: snn.ShiftNone, MaxPool: snn.MaxPoolPerStep},
		{Timesteps: 1, Shift: snn.ShiftPerStep, MaxPool: snn.MaxPoolExact},
		{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Weights: snn.I8},
		{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Weights: snn.I16},
		{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Schedule: snn.ScheduleAccumulate},
		{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Schedule: snn.ScheduleAccumulate, Weights: snn.I8},
	} {
		for _, dyadic := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d_%v", i, dyadic), func(t *testing.T) {
				t.Parallel()
				g, cfg := spikingNet(uint64(i), dyadic, cfg)
				form := onnx.SNNUnrolled
				if cfg.Schedule == snn.ScheduleAccumulate {
					form = onnx.SNNStaircase
				}
				path := filepath.Join(t.TempDir(), "snn.onnx")
				report, err := onnx.ExportSNN(path, g, cfg, onnx.SNNOptions{Form: form, Counts: true})
				if err != nil {
					t.Fatal(err)
				}
				if (len(report.Warnings) > 0) != (cfg.Weights != "") {
					t.Errorf("warnings %q", report.Warnings)
				}
				x := randomInput(5, graph.Shape{8, 6, 2}, 9)
				if dyadic {
					for k, v := range x.Data {
						x.Data[k] = float32(math.Round(float64(v)*16) / 16)
					}
				}
				net, err := snn.New(g, cfg)
				if err != nil {
					t.Fatal(err)
				}
				want, err := net.Run(t.Context(), nil, x, snn.Options{Trace: true})
				if err != nil {
					t.Fatal(err)
				}
				m, err := onnx.Import(path, onnx.Options{KeepPatterns: true})
				if err != nil {
					t.Fatal(err)
				}
				got := throughFile(t, m, []*tensor.Tensor{x})
				wrong, total := 0, 0
				for l, counts := range want.StepCounts {
					per := counts.Len() / counts.Shape[0]
					var w []float32
					for s := range counts.Shape[0] {
						step := &tensor.Tensor{Shape: counts.Shape[1:], Data: counts.Data[s*per : (s+1)*per]}
						w = append(w, firstOf(t, step).Data...)
					}
					if len(w) != len(got[1+l].Data) {
						t.Fatalf("layer %d: shape %v, want that of %v", l, got[1+l].Shape, counts.Shape)
					}
					for k := range w {
						total++
						if w[k] != got[1+l].Data[k] {
							wrong++
						}
					}
				}
				// Whole numbers times steps are no dyadic numbers.
				if exact := dyadic && cfg.Weights == ""; wrong > 0 && exact || wrong > total/1000 {
					t.Errorf("%d of %d spike counts differ", wrong, total)
				}
				if wrong == 0 {
					if err := differ(got[0], want.Logits, 1e-5, 1e-5); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// TestStaircase compares the first layer of a staircase with that of the network it
// stands for, where the currents are constant: the sums of spikes are equal.
func TestStaircase(t *testing.T) {
	for i, shift := range []snn.Shift{snn.ShiftInitial, snn.ShiftPerStep} {
		g, cfg := spikingNet(uint64(20+i), true, snn.Config{Timesteps: 8, Shift: shift, MaxPool: snn.MaxPoolExact})
		for l := range cfg.Layers {
			cfg.Layers[l].Initial = nil
		}
		path := filepath.Join(t.TempDir(), "staircase.onnx")
		if _, err := onnx.ExportSNN(path, g, cfg, onnx.SNNOptions{Form: onnx.SNNStaircase, Counts: true}); err != nil {
			t.Fatal(err)
		}
		x := randomInput(4, graph.Shape{8, 6, 2}, 3)
		for k, v := range x.Data {
			x.Data[k] = float32(math.Round(float64(v)*16) / 16)
		}
		net, err := snn.New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		want, err := net.Run(t.Context(), nil, x, snn.Options{Trace: true})
		if err != nil {
			t.Fatal(err)
		}
		m, err := onnx.Import(path, onnx.Options{})
		if err != nil {
			t.Fatal(err)
		}
		counts := want.StepCounts[0]
		sum := tensor.New(counts.Shape[1:]...)
		for k, v := range counts.Data {
			sum.Data[k%sum.Len()] += v
		}
		sameBits(t, string(shift), throughFile(t, m, []*tensor.Tensor{x})[1], firstOf(t, sum))
	}
}

// TestExportSNNForms checks the structure of what needs control flow; scripts run
// it.
func TestExportSNNForms(t *testing.T) {
	g, cfg := spikingNet(1, true, snn.Config{Timesteps: 5, Shift: snn.ShiftPerStep, MaxPool: snn.MaxPoolExact})
	for form, op := range map[onnx.SNNForm]string{onnx.SNNLoop: "Loop", onnx.SNNScan: "Scan"} {
		f, _, err := onnx.ExportSNNFile(g, cfg, onnx.SNNOptions{Form: form, Counts: true, Version: "v1"})
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := onnx.ExportSNNFile(g, cfg, onnx.SNNOptions{Form: form, Counts: true, Version: "v1"})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := again.Encode(); err != nil || !bytes.Equal(b, c) {
			t.Error("two exports differ")
		}
		d, err := onnx.Decode(b, "snn.onnx")
		if err != nil {
			t.Fatal(err)
		}
		var loop *onnx.NodeDef
		for _, n := range d.Graph.Nodes {
			if n.Op == op {
				loop = n
			}
		}
		if loop == nil {
			t.Fatalf("no %s", op)
		}
		// Six layers, one max pool and one sum go round; six layers come out.
		states := len(loop.Inputs) - 2
		if op == "Scan" {
			states++
		}
		if states != 8 || len(loop.Outputs) != 14 || len(d.Graph.Outputs) != 7 {
			t.Errorf("%s: %d states, %d outputs, %d of the model", op, states, len(loop.Outputs), len(d.Graph.Outputs))
		}
		meta := make(map[string]string)
		for _, e := range d.Metadata {
			meta[e.Key] = e.Value
		}
		if meta["adafire.kind"] != "snn" || meta["adafire.snn.timesteps"] != "5" || meta["adafire.snn.neuron"] != "burst_if_soft_reset" || !strings.Contains(meta["adafire.snn.maxspike"], `"relu1":2`) {
			t.Errorf("metadata %v", meta)
		}
	}
}

func TestExportSNNRefuses(t *testing.T) {
	for _, c := range []struct {
		want   string
		form   onnx.SNNForm
		change func(*snn.Config)
	}{
		{"signed neurons", "", func(c *snn.Config) { c.Signed = true }},
		{"form staircase, not loop", "", func(c *snn.Config) { c.Schedule = snn.ScheduleAccumulate }},
		{"17 timesteps, form unrolled has at most 16", onnx.SNNUnrolled, func(c *snn.Config) { c.Timesteps = 17 }},
		{`form "spiral"`, "spiral", func(*snn.Config) {}},
	} {
		g, cfg := spikingNet(1, true, snn.Config{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact})
		c.change(cfg)
		if _, _, err := onnx.ExportSNNFile(g, cfg, onnx.SNNOptions{Form: c.form}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}
