package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/report"
	"github.com/adafire/adafire/snn"
)

// some returns n samples spread over a data set.
func some(ds dataset.Dataset, n int) dataset.Dataset {
	index := make([]int, n)
	for i := range index {
		index[i] = i * ds.Len() / n
	}
	return dataset.Subset(ds, index)
}

// digits opens a small part of the embedded digits.
func digits(t *testing.T, train, test int) *Data {
	t.Helper()
	d, err := OpenData(t.Context(), DataOptions{Name: "digits", HoldOut: 0.05, Seed: 1, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	d.Train, d.Valid, d.Test = some(d.Train, train), some(d.Valid, 100), some(d.Test, test)
	return d
}

// quick is a training of a narrow network for few epochs.
func quick(d *Data, epochs int) TrainOptions {
	o := Recipe(d.Name, "vgg-small", d.Test.Info(), 1)
	o.Model.Layers = "8,P,16,P,32"
	o.Config.Epochs, o.Config.LR, o.BatchSize, o.Augment = epochs, 0.3, 32, dataset.Augment{}
	return o
}

// TestEndToEnd goes the whole way on real digits and wants what a defect
// anywhere would spoil: a trained network, and spiking networks close to it.
func TestEndToEnd(t *testing.T) {
	pool := parallel.New(0)
	defer pool.Close()
	d := digits(t, 3000, 400)
	out := t.TempDir()
	trained, err := Train(t.Context(), pool, d, quick(d, 5), out, false, false, "test", Silent{})
	if err != nil {
		t.Fatal(err)
	}
	b := NewBench(d, trained.Graph, "vgg-small", pool, snn.EnergyProfiles[0], Silent{})
	if err := b.MeasureANN(t.Context()); err != nil {
		t.Fatal(err)
	}
	if acc := b.ANN.Accuracy(); acc < 0.93 {
		t.Errorf("ANN accuracy %.3f, want at least 0.93", acc)
	}
	var last *Converted
	for _, T := range []int{1, 4, 16} {
		cfg := convert.Default()
		cfg.Timesteps = T
		if last, err = b.MeasureSNN(t.Context(), Setting{Name: "burst", Config: cfg}); err != nil {
			t.Fatal(err)
		}
	}
	loss := []float64{0.06, 0.02, 0.01}
	for i, s := range b.Result.SNN {
		if lost := b.ANN.Accuracy() - *s.Accuracy; lost > loss[i] {
			t.Errorf("T=%d: %.3f below the ANN, want at most %.3f", s.Timesteps, lost, loss[i])
		}
		if i > 0 && s.Spikes <= b.Result.SNN[i-1].Spikes {
			t.Errorf("T=%d has %.0f spikes, not more than T=%d", s.Timesteps, s.Spikes, b.Result.SNN[i-1].Timesteps)
		}
	}
	if e := b.Result.SNN[1].EnergyPJ / b.Result.ANN.EnergyPJ; e <= 0 || e > 1 {
		t.Errorf("energy at T=4 is %.2f of the ANN's, want a saving", e)
	}
	b.Result.Command, b.Result.Version, b.Result.CPU, b.Result.Workers = "run", "test", "portable", 1
	b.Result.Derive()
	if err := b.Result.Validate(); err != nil {
		t.Errorf("result: %v", err)
	}
	if err := report.WriteHTML(&bytes.Buffer{}, []report.Result{b.Result}, report.Options{}); err != nil {
		t.Errorf("report: %v", err)
	}

	path := filepath.Join(out, "snn.safetensors")
	if err := SaveSNN(path, last, b.Provenance("test"), false); err != nil {
		t.Fatal(err)
	}
	saved, _, err := LoadSNN(path)
	if err != nil {
		t.Fatal(err)
	}
	net, err := saved.Network()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.MeasureNetwork(t.Context(), "file", net, nil); err != nil {
		t.Fatal(err)
	}
	n := len(b.Result.SNN)
	if a, c := b.Result.SNN[n-2], b.Result.SNN[n-1]; *a.Accuracy != *c.Accuracy || a.Spikes != c.Spikes || a.SOPs != c.SOPs {
		t.Errorf("the saved network gives accuracy %v and %v spikes, before it was %v and %v", *c.Accuracy, c.Spikes, *a.Accuracy, a.Spikes)
	}
}

// TestSameBitsForAnyNumberOfWorkers trains, converts and measures with 1 and
// with 3 workers and compares files and figures.
func TestSameBitsForAnyNumberOfWorkers(t *testing.T) {
	var files [2][]byte
	var results [2]string
	for i, workers := range []int{1, 3} {
		pool := parallel.New(workers)
		defer pool.Close()
		d := digits(t, 400, 100)
		d.Workers = workers
		out := t.TempDir()
		trained, err := Train(t.Context(), pool, d, quick(d, 1), out, false, false, "test", Silent{})
		if err != nil {
			t.Fatal(err)
		}
		b := NewBench(d, trained.Graph, "vgg-small", pool, snn.EnergyProfiles[0], Silent{})
		cfg := convert.Default()
		cfg.Timesteps = 4
		res, err := b.MeasureSNN(t.Context(), Setting{Name: "burst", Config: cfg})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(out, "snn.safetensors")
		p := b.Provenance("test")
		p.Time = ""
		if err := SaveSNN(path, res, p, false); err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		s := b.Result.SNN[0]
		s.SamplesPerSec, s.CalibrateS = 0, 0
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		results[i] = string(text)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the spiking networks differ")
	}
	if results[0] != results[1] {
		t.Errorf("the figures differ:\n%s\n%s", results[0], results[1])
	}
}

// TestResumeGivesTheSameWeights stops a training in the middle of an epoch, goes
// on from its file, and compares with a training that was never stopped.
func TestResumeGivesTheSameWeights(t *testing.T) {
	pool := parallel.New(2)
	defer pool.Close()
	d := digits(t, 600, 50)
	o := quick(d, 2)
	whole, err := Train(t.Context(), pool, d, o, t.TempDir(), false, false, "test", Silent{})
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Train(ctx, pool, d, o, out, false, false, "test", stopAt{after: 5 * int64(o.BatchSize), stop: cancel})
	if !errors.Is(err, ann.ErrInterrupted) {
		t.Fatalf("got %v, want an interruption", err)
	}
	if _, err := Train(t.Context(), pool, d, o, out, false, false, "test", Silent{}); err == nil || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("starting over beside a saved training: got %v, want a hint at --resume", err)
	}
	other := o
	other.Config.LR /= 2
	if _, err := Train(t.Context(), pool, d, other, out, true, false, "test", Silent{}); err == nil {
		t.Error("resuming with another learning rate: no error")
	}
	other = o
	other.BatchSize /= 2
	if _, err := Train(t.Context(), pool, d, other, out, true, false, "test", Silent{}); err == nil || !strings.Contains(err.Error(), "cannot resume") {
		t.Errorf("resuming with other batches: got %v", err)
	}
	resumed, err := Train(t.Context(), pool, d, o, out, true, false, "test", Silent{})
	if err != nil {
		t.Fatal(err)
	}
	got := ann.WeightsOf(resumed.Graph)
	for name, w := range ann.WeightsOf(whole.Graph) {
		for i, v := range w.Data {
			if got[name].Data[i] != v {
				t.Fatalf("%s[%d] is %g after the interruption, %g without", name, i, got[name].Data[i], v)
			}
		}
	}
}

// stopAt cancels a training after some samples.
type stopAt struct {
	Silent
	after int64
	stop  func()
}

func (s stopAt) Set(done int64) {
	if done >= s.after {
		s.stop()
	}
}

func TestLoadSNNRefusesAnANN(t *testing.T) {
	pool := parallel.New(1)
	d := digits(t, 130, 20)
	out := t.TempDir()
	if _, err := Train(t.Context(), pool, d, quick(d, 1), out, false, false, "test", Silent{}); err != nil {
		t.Fatal(err)
	}
	_, _, err := LoadSNN(filepath.Join(out, ANNFile))
	if err == nil || !strings.Contains(err.Error(), `kind "ann"`) {
		t.Errorf("got %v, want an error that names the kind", err)
	}
}
