package job

import (
	"context"
	"fmt"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/report"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/task"
)

// A Bench measures one ANN and the networks converted from it on one data set.
type Bench struct {
	Data    *Data
	Graph   *graph.Graph // the ANN
	Pool    *parallel.Pool
	Energy  snn.EnergyProfile
	Augment dataset.Augment // of the calibration data, for the reference profile
	Limit   int             // test samples; 0 for all
	Show    Progress

	ANN    *task.Score
	Result report.Result

	kept map[string]Samples // loaded once
}

// NewBench prepares a bench and fills in what the report says about data and
// network.
func NewBench(d *Data, g *graph.Graph, arch string, pool *parallel.Pool, energy snn.EnergyProfile, show Progress) *Bench {
	b := &Bench{Data: d, Graph: g, Pool: pool, Energy: energy, Show: show, kept: make(map[string]Samples)}
	info := d.Test.Info()
	b.Result.Dataset = report.Dataset{Name: d.Name, Train: d.Train.Len(), Test: d.Test.Len(), Classes: len(info.Classes), SHA256: info.SHA256}
	b.Result.Network = report.Network{Arch: arch, Parameters: g.Parameters(), MACs: g.MACs()}
	for _, n := range snn.Activations(g) {
		b.Result.Network.Neurons += int64(n.Shape.Numel())
	}
	b.Result.Energy = report.EnergyProfile{Profile: energy.Name, MACPJ: energy.MAC, ACPJ: energy.AC}
	return b
}

// samples is the number of test samples in use.
func (b *Bench) samples() int {
	if b.Limit > 0 {
		return min(b.Limit, b.Data.Test.Len())
	}
	return b.Data.Test.Len()
}

// MeasureANN classifies the test split with the ANN.
func (b *Bench) MeasureANN(ctx context.Context) error {
	exec, err := ann.New(b.Graph, b.Pool)
	if err != nil {
		return err
	}
	b.Show.Start("evaluate ANN", int64(b.samples()), "samples")
	defer b.Show.Done()
	b.ANN, err = task.ClassifyANN(ctx, exec, b.Data.TestBatches(ctx, b.Limit), func(n int) { b.Show.Set(int64(n)) })
	if err != nil {
		return err
	}
	r := &b.Result
	r.Dataset.Test = b.ANN.Samples
	r.ANN.Accuracy = new(b.ANN.Accuracy())
	r.ANN.EnergyPJ = b.Energy.ANN(b.Graph.MACs())
	for _, n := range b.Graph.Nodes {
		if macs := n.MACs(); macs > 0 {
			r.ANN.Layers = append(r.ANN.Layers, report.ANNLayer{Name: n.Name, Op: n.Kind(), Shape: n.Shape, MACs: macs, EnergyPJ: b.Energy.ANN(macs)})
		}
	}
	r.Timing.ANNSamplesPerSec = b.ANN.Rate()
	return nil
}

// MeasureSNN converts the ANN with a setting, classifies the test split and adds
// the figures to the result.
func (b *Bench) MeasureSNN(ctx context.Context, s Setting) (*Converted, error) {
	defer b.Show.Done()
	b.Show.Start("convert: "+s.Name, 0, "")
	res, took, err := b.Convert(ctx, s)
	if err != nil {
		return nil, err
	}
	net, err := res.Network()
	if err != nil {
		return nil, err
	}
	entry, err := b.MeasureNetwork(ctx, s.Name, net, res.Exit)
	if err != nil {
		return nil, err
	}
	entry.Calib, entry.Threshold, entry.Profile = s.calibration(), s.Config.Threshold, s.Config.Profile
	entry.CalibrateS = took.Seconds()
	for _, dead := range res.Dead {
		entry.DeadChannels += len(dead)
	}
	describe(entry, res, &s)
	b.Result.Timing.CalibrateS += took.Seconds()
	return res, nil
}

// MeasureNetwork classifies the test split with a spiking network as it is; with
// a policy, samples leave early. It returns the new entry of the result, which
// the next call makes void.
func (b *Bench) MeasureNetwork(ctx context.Context, name string, net *snn.Network, exit *convert.ExitPolicy) (*report.SNN, error) {
	b.Show.Start(fmt.Sprintf("%s T=%d", name, net.Config().Timesteps), int64(b.samples()), "samples")
	defer b.Show.Done()
	batches, progress := b.Data.TestBatches(ctx, b.Limit), func(n int) { b.Show.Set(int64(n)) }
	if exit == nil {
		score, err := task.ClassifySNN(ctx, b.Pool, net, batches, progress)
		if err != nil {
			return nil, err
		}
		return b.add(name, net, score), nil
	}
	score, err := task.ClassifyAdaptive(ctx, b.Pool, net, exit, batches, progress)
	if err != nil {
		return nil, err
	}
	entry := b.add(name, net, &score.SpikingScore)
	return entry, b.describeExits(ctx, entry, net, exit, score)
}

// add appends the figures of a network to the result.
func (b *Bench) add(name string, net *snn.Network, score *task.SpikingScore) *report.SNN {
	entry := Entry(net, score, b.Energy)
	entry.Name, entry.Calib = name, "file"
	if b.ANN != nil {
		entry.Agreement = new(score.Agreement(b.ANN))
	}
	r := &b.Result
	r.SNN = append(r.SNN, entry)
	r.Timing.EvaluateS += score.Elapsed.Seconds()
	r.Timing.SNNSamplesPerSec = score.Rate()
	return &r.SNN[len(r.SNN)-1]
}

// Provenance says where the networks of this bench come from.
func (b *Bench) Provenance(version string) checkpoint.Provenance {
	p := b.Data.provenance(version)
	if b.ANN != nil {
		p.Metrics = map[string]float64{"ann_test_accuracy": b.ANN.Accuracy()}
	}
	return p
}

// Entry turns a score into a row of the report: means per sample and energies.
func Entry(net *snn.Network, score *task.SpikingScore, energy snn.EnergyProfile) report.SNN {
	cfg := net.Config()
	n := float64(score.Samples)
	e := report.SNN{Timesteps: cfg.Timesteps, Neuron: "if", Shift: string(cfg.Shift), AvgTimesteps: float64(cfg.Timesteps),
		MACs: float64(net.TotalMACs()), SamplesPerSec: score.Rate()}
	e.Accuracy = new(score.Accuracy())
	steps := cfg.Timesteps // in which a neuron is updated
	if cfg.Schedule == snn.ScheduleAccumulate {
		steps = 1
	}
	var neurons int64
	inputs := make([]float64, len(score.Layers))
	// A row has the operations that its spikes cause, so it is compared with the
	// ANN's layers where they happen, and with the first layer where its own
	// current is analog. Each layer of the ANN stands in one row.
	seen := make(map[*graph.Node]bool)
	inANN := func(n *graph.Node) int64 {
		if seen[n] {
			return 0
		}
		seen[n] = true
		return n.MACs()
	}
	for i, info := range net.Layers() {
		t := score.Layers[i]
		inputs[i] = float64(t.Inputs) / n
		l := report.Layer{Name: info.Node, Shape: info.Shape, Neurons: int64(info.Neurons), MaxSpike: info.MaxSpike,
			Spikes: float64(t.Spikes) / n, Events: float64(t.Events) / n, SOPs: float64(t.SOPs) / n}
		l.ThresholdMean, l.ThresholdMin, l.ThresholdMax = spread(info.Threshold)
		l.Density = l.Events / float64(info.Neurons*steps)
		if src := info.Source; src != nil {
			l.Name, l.Op, l.MACs = src.Name, src.Kind(), float64(net.MACs(src))
			if l.MACs > 0 {
				l.ANNMACs += inANN(src)
			}
		}
		for _, n := range info.Targets {
			l.ANNMACs += inANN(n)
		}
		l.ANNEnergyPJ = energy.ANN(l.ANNMACs)
		l.EnergyPJ = energy.SNN(l.MACs, float64(t.SOPs+t.PoolAdds+t.ResidualAdds)/n)
		e.MaxSpike = append(e.MaxSpike, info.MaxSpike)
		if info.MaxSpike > 1 {
			e.Neuron = "burst"
		}
		e.Spikes += l.Spikes
		e.Events += l.Events
		e.SOPs += l.SOPs
		e.PoolAdds += float64(t.PoolAdds) / n
		e.ResidualAdds += float64(t.ResidualAdds) / n
		neurons += l.Neurons
		e.Layers = append(e.Layers, l)
	}
	e.NeuronUpdates = float64(neurons) * float64(steps)
	e.Density = e.Events / e.NeuronUpdates
	e.EnergyPJ = energy.SNN(e.MACs, e.SOPs+e.PoolAdds+e.ResidualAdds)
	e.Reference = &report.Reference{EnergyPJ: energy.Reference(net, inputs)}
	return e
}

// spread returns mean, least and largest value.
func spread(v []float32) (mean, low, high float64) {
	low, high = float64(v[0]), float64(v[0])
	for _, x := range v {
		mean += float64(x) / float64(len(v))
		low, high = min(low, float64(x)), max(high, float64(x))
	}
	return mean, low, high
}
