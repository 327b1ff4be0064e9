package onnx_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/onnx"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// runtimeDir names the folder in which TestWriteForRuntime leaves what
// scripts/onnx-export-check.sh needs.
const runtimeDir = "ADAFIRE_ONNX_OUT"

// A runtimeCase is a file with what our executor computes.
type runtimeCase struct {
	File      string            `json:"file"`
	Kind      string            `json:"kind"` // "ann" or "snn"
	Exact     bool              `json:"exact"`
	Inputs    map[string]string `json:"inputs"`
	Outputs   map[string]string `json:"outputs"`
	Counts    map[string]string `json:"counts,omitempty"`
	Timesteps int               `json:"timesteps,omitempty"` // given at run time
	Labels    []int             `json:"labels,omitempty"`
}

// A runtimeWriter writes cases.
type runtimeWriter struct {
	t    *testing.T
	dir  string
	list []runtimeCase
}

func (w *runtimeWriter) array(name string, x *tensor.Tensor) string {
	w.t.Helper()
	if err := npy.WriteFile(filepath.Join(w.dir, name), x.Shape, x.Data); err != nil {
		w.t.Fatal(err)
	}
	return name
}

// ann writes a network with its outputs on xs, which lie as in the graph.
func (w *runtimeWriter) ann(name string, g *graph.Graph, opt onnx.ExportOptions, xs ...*tensor.Tensor) {
	w.t.Helper()
	c := runtimeCase{File: name + ".onnx", Kind: "ann", Inputs: make(map[string]string), Outputs: make(map[string]string)}
	opt.Force = true
	path := filepath.Join(w.dir, c.File)
	if err := onnx.Export(path, g, opt); err != nil {
		w.t.Fatal(err)
	}
	m, err := onnx.Import(path, onnx.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	want := forward(w.t, g, xs...)
	for i, in := range m.Inputs {
		x := xs[i]
		if !slices.Equal(in.Shape[1:], x.Shape[1:]) || len(x.Shape) == 4 {
			x = firstOf(w.t, x)
		}
		c.Inputs[in.Name] = w.array(fmt.Sprintf("%s.in%d.npy", name, i), x)
	}
	for i, out := range m.Outputs {
		y := want[i]
		if !slices.Equal(out.Shape[1:], y.Shape[1:]) || len(y.Shape) == 4 {
			y = firstOf(w.t, y)
		}
		c.Outputs[out.Name] = w.array(fmt.Sprintf("%s.out%d.npy", name, i), y)
	}
	w.list = append(w.list, c)
}

// snn writes a spiking network with its counts on x; timesteps, if not 0, replace
// those in the file when it runs.
func (w *runtimeWriter) snn(name string, g *graph.Graph, cfg *snn.Config, form onnx.SNNForm, exact bool, x *tensor.Tensor, labels []int, timesteps int) {
	w.t.Helper()
	c := runtimeCase{File: name + ".onnx", Kind: "snn", Exact: exact, Timesteps: timesteps, Labels: labels,
		Inputs: make(map[string]string), Outputs: make(map[string]string), Counts: make(map[string]string)}
	if _, err := onnx.ExportSNN(filepath.Join(w.dir, c.File), g, cfg, onnx.SNNOptions{Form: form, Counts: true, Force: true}); err != nil {
		w.t.Fatal(err)
	}
	run := cfg.Clone()
	if timesteps != 0 {
		run.Timesteps = timesteps
	}
	if form == onnx.SNNStaircase { // which is what this schedule computes
		run.Schedule, run.MaxPool = snn.ScheduleAccumulate, snn.MaxPoolExact
		if run.Shift == snn.ShiftPerStep {
			run.Shift = snn.ShiftInitial
		}
		if cfg.Schedule != snn.ScheduleAccumulate {
			for i := range run.Layers {
				run.Layers[i].Initial = nil
			}
		}
	}
	net, err := snn.New(g, run)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := net.Run(w.t.Context(), nil, x, snn.Options{Trace: true})
	if err != nil {
		w.t.Fatal(err)
	}
	in := firstOf(w.t, x)
	if form == onnx.SNNScan { // the same frame in every timestep
		frames := &tensor.Tensor{Shape: append([]int{cfg.Timesteps}, in.Shape...)}
		for range cfg.Timesteps {
			frames.Data = append(frames.Data, in.Data...)
		}
		in = frames
	}
	c.Inputs["input"] = w.array(name+".in.npy", in)
	c.Outputs["output"] = w.array(name+".out.npy", firstOf(w.t, res.Logits))
	for l, n := range snn.Activations(g) {
		counts := res.StepCounts[l]
		if slices.Max(counts.Data) == 0 {
			w.t.Errorf("%s: layer %q emits nothing", name, n.Name)
		}
		per := counts.Len() / counts.Shape[0]
		var y tensor.Tensor
		for s := range counts.Shape[0] {
			step := firstOf(w.t, &tensor.Tensor{Shape: counts.Shape[1:], Data: counts.Data[s*per : (s+1)*per]})
			y.Shape, y.Data = append([]int{counts.Shape[0]}, step.Shape...), append(y.Data, step.Data...)
		}
		c.Counts[n.Name+".spikes"] = w.array(fmt.Sprintf("%s.counts%d.npy", name, l), &y)
	}
	w.list = append(w.list, c)
}

// TestWriteForRuntime writes ANNs and SNNs of a network trained on the embedded
// digits, of residual networks and of networks of other exporters.
func TestWriteForRuntime(t *testing.T) {
	dir := os.Getenv(runtimeDir)
	if dir == "" {
		t.Skip(runtimeDir + " names no folder; scripts/onnx-export-check.sh sets it")
	}
	w := &runtimeWriter{t: t, dir: dir}
	pool := parallel.New(0)
	defer pool.Close()
	d, err := job.OpenData(t.Context(), job.DataOptions{Name: "digits", HoldOut: 0.05, Seed: 1, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	o := job.Recipe(d.Name, "vgg-small", d.Test.Info(), 1)
	o.Model.Layers = "8,P,16,P,32"
	o.Config.Epochs, o.Config.LR, o.BatchSize, o.Augment = 4, 0.3, 32, dataset.Augment{}
	trained, err := job.Train(t.Context(), pool, d, o, t.TempDir(), false, false, "test", job.Silent{})
	if err != nil {
		t.Fatal(err)
	}
	calib, err := d.Calibration(t.Context(), 256, dataset.Augment{})
	if err != nil {
		t.Fatal(err)
	}
	held, err := d.HeldOut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := min(64, held.X.Shape[0])
	x, labels := held.X.Rows(0, n), held.Labels[:n]
	w.ann("digits", trained.Graph, onnx.ExportOptions{Classes: d.Classes()}, x)
	w.ann("digits_bn", trained.Graph, onnx.ExportOptions{KeepBatchNorm: true, ExternalData: true}, x)
	resnet, err := models.Build(models.Config{Arch: "resnet20", Input: graph.Shape{28, 28, 1}, Classes: 10, Width: 8, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	w.ann("resnet20", resnet, onnx.ExportOptions{}, x.Rows(0, 4))
	for _, c := range []struct {
		name   string
		g      *graph.Graph
		change func(*convert.Config)
		forms  []onnx.SNNForm
	}{
		{"digits_initial", trained.Graph, func(*convert.Config) {}, []onnx.SNNForm{onnx.SNNLoop, onnx.SNNScan, onnx.SNNUnrolled, onnx.SNNStaircase}},
		{"digits_perstep", trained.Graph, func(c *convert.Config) { c.Shift = snn.ShiftPerStep }, []onnx.SNNForm{onnx.SNNLoop, onnx.SNNScan, onnx.SNNUnrolled, onnx.SNNStaircase}},
		{"digits_i8", trained.Graph, func(c *convert.Config) { c.Weights = snn.I8 }, []onnx.SNNForm{onnx.SNNLoop, onnx.SNNUnrolled}},
		{"digits_accumulate", trained.Graph, func(c *convert.Config) { c.Schedule = snn.ScheduleAccumulate }, []onnx.SNNForm{onnx.SNNStaircase}},
		{"resnet20_initial", resnet, func(*convert.Config) {}, []onnx.SNNForm{onnx.SNNLoop, onnx.SNNScan, onnx.SNNUnrolled}},
		{"resnet20_i16", resnet, func(c *convert.Config) { c.Weights = snn.I16 }, []onnx.SNNForm{onnx.SNNLoop}},
	} {
		cfg := convert.Default()
		cfg.Timesteps, cfg.MaxSpike = 8, 4
		c.change(&cfg)
		res, err := convert.Convert(t.Context(), pool, c.g, calib.X, cfg)
		if err != nil {
			t.Fatal(err)
		}
		in, lab := x, labels
		if c.g == resnet { // untrained
			in, lab = x.Rows(0, 8), nil
		}
		for _, form := range c.forms {
			w.snn(c.name+"_"+string(form), res.Graph, res.SNN, form, false, in, lab, 0)
		}
		if c.name == "digits_initial" {
			w.snn(c.name+"_loop_3", res.Graph, res.SNN, onnx.SNNLoop, false, in, lab, 3)
		}
	}
	for i, cfg := range []snn.Config{
		{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact},
		{Timesteps: 8, Shift: snn.ShiftPerStep, MaxPool: snn.MaxPoolExact},
		{Timesteps: 3, Shift: snn.ShiftNone, MaxPool: snn.MaxPoolPerStep},
	} {
		for _, dyadic := range []bool{true, false} {
			g, full := spikingNet(uint64(30+i), dyadic, cfg)
			r := rand.New(rand.NewPCG(uint64(i), 5))
			x := tensor.New(16, 8, 6, 2)
			for k := range x.Data {
				x.Data[k] = float32(math.Round(r.NormFloat64()*16) / 16)
			}
			for _, form := range []onnx.SNNForm{onnx.SNNLoop, onnx.SNNScan, onnx.SNNUnrolled, onnx.SNNStaircase} {
				w.snn(fmt.Sprintf("mixed%d_%v_%s", i, map[bool]string{true: "dyadic", false: "random"}[dyadic], form), g, full, form, dyadic, x, nil, 0)
			}
		}
	}
	golden, cases := loadManifest(t)
	seen := make(map[string]bool)
	for _, c := range cases.Cases {
		family, _, _ := strings.Cut(filepath.ToSlash(c.Model), "/")
		if seen[family] || family == "ops" || family == "encodings" || strings.HasPrefix(family, "snn") || usesControlFlow(t, filepath.Join(golden, c.Model)) {
			continue
		}
		seen[family] = true
		m, err := onnx.Import(filepath.Join(golden, c.Model), onnx.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var xs []*tensor.Tensor
		for i, in := range m.Graph.InputNodes() {
			xs = append(xs, randomInput(3, in.Shape, uint64(i)))
		}
		if m.Batch == 0 {
			w.ann("golden_"+family, m.Graph, onnx.ExportOptions{}, xs...)
		}
	}
	b, err := json.MarshalIndent(w.list, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), b, 0o666); err != nil {
		t.Fatal(err)
	}
}
