// Package simulators holds a test only: it trains, converts and exports a network
// for other programs to read, see scripts/nir-check.sh. It stands apart because it
// needs most of the house.
package simulators

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/nir"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// outDir names the folder in which TestWriteForSimulators leaves what
// scripts/nir-check.sh needs.
const outDir = "ADAFIRE_NIR_OUT"

// A written network is a file with what it does in every mode.
type written struct {
	File      string              `json:"file"`
	Profile   nir.Profile         `json:"profile"`
	MaxSpike  int                 `json:"maxspike"`
	Timesteps int                 `json:"timesteps"`
	Input     string              `json:"input"`   // [samples, ...], channels first
	Outputs   map[nir.Mode]string `json:"outputs"` // [samples, timesteps, ...]
	Labels    []int               `json:"labels"`
	Accuracy  map[string]float64  `json:"accuracy"` // per cent, by mode, and "adafire"
	Findings  map[string][]string `json:"findings"` // by target
}

// TestWriteForSimulators trains a small network on the embedded digits, converts
// it with several settings, exports it, and writes what our simulator makes of
// the files.
func TestWriteForSimulators(t *testing.T) {
	dir := os.Getenv(outDir)
	if dir == "" {
		t.Skip(outDir + " names no folder; scripts/nir-check.sh sets it")
	}
	pool := parallel.New(0)
	defer pool.Close()
	d, err := job.OpenData(t.Context(), job.DataOptions{Name: "digits", HoldOut: 0.05, Seed: 1, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	o := job.Recipe(d.Name, "vgg-small", d.Test.Info(), 1)
	o.Model.Layers, o.Model.Pooling = "8,P,16,P,32", "avg"
	o.Config.Epochs, o.Config.LR, o.BatchSize, o.Augment = 4, 0.3, 32, dataset.Augment{}
	trained, err := job.Train(t.Context(), pool, d, o, t.TempDir(), false, false, "test", job.Silent{})
	if err != nil {
		t.Fatal(err)
	}
	calib, err := d.Calibration(t.Context(), 512, dataset.Augment{})
	if err != nil {
		t.Fatal(err)
	}
	held, err := d.HeldOut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := min(100, held.X.Shape[0])
	x, labels := held.X.Rows(0, n), held.Labels[:n]
	var all []written
	for _, c := range []struct {
		file     string
		maxSpike int
		shift    snn.Shift
		opt      nir.Options
	}{
		{"digits_m4.nir", 4, snn.ShiftPerStep, nir.Options{}},
		{"digits_m1.nir", 1, snn.ShiftPerStep, nir.Options{}},
		{"digits_initial.nir", 4, snn.ShiftInitial, nir.Options{}},
		{"digits_flatten.nir", 1, snn.ShiftPerStep, nir.Options{Flatten: true}},
		{"digits_dt.nir", 1, snn.ShiftPerStep, nir.Options{DT: 1e-3}},
		{"digits_exact.nir", 4, snn.ShiftPerStep, nir.Options{Profile: nir.Exact}},
	} {
		cfg := convert.Default()
		cfg.Timesteps, cfg.MaxSpike, cfg.Shift = 16, c.maxSpike, c.shift
		res, err := convert.Convert(t.Context(), pool, trained.Graph, calib.X, cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.opt.Force, c.opt.Classes = true, d.Classes()
		path := filepath.Join(dir, c.file)
		if _, err := nir.Export(path, &nir.Network{Graph: res.Graph, SNN: res.SNN}, c.opt); err != nil {
			t.Fatal(err)
		}
		w := written{File: c.file, Profile: c.opt.Profile, MaxSpike: c.maxSpike, Timesteps: cfg.Timesteps, Labels: labels,
			Outputs: make(map[nir.Mode]string), Accuracy: make(map[string]float64), Findings: make(map[string][]string)}
		if w.Profile == "" {
			w.Profile = nir.Portable
		}
		f, err := nir.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		modes := nir.Modes()
		if w.Profile == nir.Exact {
			modes = modes[:1]
		}
		outcomes, err := nir.Measure(t.Context(), pool, f.Graph, x, labels, cfg.Timesteps, modes...)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			w.Accuracy[string(o.Mode)] = 100 * float64(o.Correct) / float64(o.Samples)
		}
		for _, f := range nir.Explain(outcomes) {
			w.Findings["measured"] = append(w.Findings["measured"], f.String())
		}
		imported, err := nir.Import(path)
		if err != nil || !imported.Restored {
			t.Fatal(imported, err)
		}
		net, err := snn.New(imported.Graph, imported.SNN)
		if err != nil {
			t.Fatal(err)
		}
		run, err := net.Run(t.Context(), pool, x, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.Accuracy["adafire"] = 100 * accuracy(run.Logits, labels)
		if w.Profile == nir.Exact && w.Accuracy["adafire"] != w.Accuracy["burst"] {
			t.Errorf("%s: accuracy %v", c.file, w.Accuracy)
		}
		const samples = 8
		first, err := tensor.ChannelsFirst(x.Rows(0, samples))
		if err != nil {
			t.Fatal(err)
		}
		w.Input = c.file + ".input.npy"
		save(t, filepath.Join(dir, w.Input), first)
		for _, mode := range modes {
			s, err := nir.NewSimulator(f.Graph, mode)
			if err != nil {
				t.Fatal(err)
			}
			var y []float32
			var shape []int
			size := first.Len() / samples
			for i := range samples {
				in := &tensor.Tensor{Shape: []int{cfg.Timesteps, size}}
				for range cfg.Timesteps {
					in.Data = append(in.Data, first.Data[i*size:(i+1)*size]...)
				}
				out, err := s.Run(in)
				if err != nil {
					t.Fatal(err)
				}
				y, shape = append(y, out.Data...), out.Shape
			}
			w.Outputs[mode] = c.file + "." + string(mode) + ".npy"
			save(t, filepath.Join(dir, w.Outputs[mode]), &tensor.Tensor{Shape: append([]int{samples}, shape...), Data: y})
		}
		for _, target := range nir.Targets() {
			list, err := nir.Check(f.Graph, target.Name)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range list {
				w.Findings[target.Name] = append(w.Findings[target.Name], f.String())
			}
		}
		all = append(all, w)
	}
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), b, 0o666); err != nil {
		t.Fatal(err)
	}
}

func accuracy(logits *tensor.Tensor, labels []int) float64 {
	right, size := 0, logits.Len()/len(labels)
	for i, label := range labels {
		best := 0
		for k := range size {
			if logits.Data[i*size+k] > logits.Data[i*size+best] {
				best = k
			}
		}
		if best == label {
			right++
		}
	}
	return float64(right) / float64(len(labels))
}

func save(t *testing.T, path string, x *tensor.Tensor) {
	t.Helper()
	if err := npy.WriteFile(path, x.Shape, x.Data); err != nil {
		t.Fatal(err)
	}
}
