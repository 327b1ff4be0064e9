// Package report holds the machine-readable result of a run and presents it:
// as JSON and CSV for programs, as a table for the terminal, and as one
// self-contained HTML page with plots.
//
//	res := report.Result{Command: "run", ...}
//	res.Derive()
//	err := report.WriteJSON(w, res)
//	err = report.WriteTable(os.Stdout, res)
//	err = report.WriteHTML(w, []report.Result{res}, report.Options{})
//
// Accuracies and other shares are fractions in 0..1, energies are picojoule,
// times seconds, and counts per sample are means over the data set.
//
// The package computes nothing about networks: it derives ratios and standard
// errors from counts that others measured.
package report

import (
	"encoding/json"
	"time"
)

// Schema is the version of the JSON form. Fields are only added within one
// version.
const Schema = 1

// EnergyNote is the sentence every report of energies carries.
const EnergyNote = "arithmetic only, memory traffic not included"

// A Result is everything one run measured, and what it takes to repeat it.
type Result struct {
	Schema  int             `json:"schema"`
	Command string          `json:"command"` // demo, run or eval
	Label   string          `json:"label,omitempty"`
	Version string          `json:"version"`
	Created time.Time       `json:"created,omitzero"`
	Seed    uint64          `json:"seed"`
	CPU     string          `json:"cpu"` // kernels in use: avx512, avx2, portable
	Workers int             `json:"workers"`
	Seconds float64         `json:"seconds"`
	Machine *Machine        `json:"machine,omitempty"`
	Config  json.RawMessage `json:"config,omitempty"` // object: the resolved options of the run
	Dataset Dataset         `json:"dataset"`
	Network Network         `json:"network"`
	Energy  EnergyProfile   `json:"energy,omitzero"`
	ANN     ANN             `json:"ann"`
	SNN     []SNN           `json:"snn"`
	Timing  Timing          `json:"timing"`
}

// A Machine says where a run was done.
type Machine struct {
	CPU       string `json:"cpu,omitempty"` // model name
	Cores     int    `json:"cores,omitempty"`
	OS        string `json:"os,omitempty"`
	Arch      string `json:"arch,omitempty"`
	GoVersion string `json:"go,omitempty"`
}

// A Dataset names the data and counts its samples; Test is the number of
// samples the metrics are taken over.
type Dataset struct {
	Name        string `json:"name"`
	Train       int    `json:"train"`
	Test        int    `json:"test"`
	Classes     int    `json:"classes"`
	Calibration int    `json:"calibration,omitempty"`
	SHA256      string `json:"sha256,omitempty"` // of the samples or their files
}

// A Network is the ANN that was converted.
type Network struct {
	Arch       string `json:"arch"`
	Parameters int64  `json:"parameters"`
	MACs       int64  `json:"macs"`              // per sample, padding taps included
	Neurons    int64  `json:"neurons,omitempty"` // per sample, of all spiking layers
	SHA256     string `json:"sha256,omitempty"`  // of the ANN's weights
}

// An EnergyProfile holds the constants that turn counts into energy.
type EnergyProfile struct {
	Profile string  `json:"profile"` // fp32, fp16, int32, int8, int8/acc32
	MACPJ   float64 `json:"mac_pj"`  // one multiply-accumulate
	ACPJ    float64 `json:"ac_pj"`   // one accumulate
	// NeuronUpdates says whether one accumulate per neuron and timestep is
	// charged too.
	NeuronUpdates bool `json:"neuron_updates"`
	// BreakEven is MACPJ/ACPJ: the SNN's arithmetic is cheaper than the ANN's
	// while a synapse carries fewer spikes per inference.
	BreakEven float64 `json:"break_even_spikes_per_synapse"`
	Note      string  `json:"note"`
}

// Metrics are the qualities of a network on the test data; those that do not
// apply to the task are nil.
type Metrics struct {
	Accuracy      *float64 `json:"accuracy,omitempty"`
	AccuracySE    *float64 `json:"accuracy_se,omitempty"` // standard error: sqrt(p(1-p)/n)
	Top5          *float64 `json:"top5,omitempty"`
	MAP50         *float64 `json:"map50,omitempty"`
	MAP           *float64 `json:"map,omitempty"`
	MIoU          *float64 `json:"miou,omitempty"`
	PixelAccuracy *float64 `json:"pixel_accuracy,omitempty"`
	InstanceMIoU  *float64 `json:"instance_miou,omitempty"`
	ClassMIoU     *float64 `json:"class_miou,omitempty"`
}

// Primary returns the metric the plots show: its name for people and its value
// in 0..1; ok is false when there is none.
func (m Metrics) Primary() (name string, value float64, ok bool) {
	for _, c := range []struct {
		name  string
		value *float64
	}{
		{"accuracy", m.Accuracy}, {"mAP@50", m.MAP50}, {"mAP", m.MAP}, {"mIoU", m.MIoU},
		{"instance mIoU", m.InstanceMIoU}, {"class mIoU", m.ClassMIoU}, {"pixel accuracy", m.PixelAccuracy},
	} {
		if c.value != nil {
			return c.name, *c.value, true
		}
	}
	return "", 0, false
}

// An ANN is the trained network before conversion.
type ANN struct {
	Metrics
	EnergyPJ float64    `json:"energy_pj_per_sample"`
	Layers   []ANNLayer `json:"layers,omitempty"`
}

// An ANNLayer is one convolution or fully connected layer.
type ANNLayer struct {
	Name     string  `json:"name"`
	Op       string  `json:"op"`
	Shape    []int   `json:"shape,omitempty"` // of the output, per sample
	MACs     int64   `json:"macs_per_sample"`
	EnergyPJ float64 `json:"energy_pj_per_sample"`
}

// An SNN is one converted network at one number of timesteps. Name and
// Timesteps together are unique in a result; entries of one name are one curve.
type SNN struct {
	Name      string `json:"name"`
	Timesteps int    `json:"T"`
	MaxSpike  []int  `json:"maxspike"`        // burst limit per spiking layer
	Calib     string `json:"calib"`           // none, light, advanced, repair
	Neuron    string `json:"neuron"`          // if, burst
	Shift     string `json:"shift,omitempty"` // initial, per-step, none
	Threshold string `json:"threshold,omitempty"`
	Profile   string `json:"profile,omitempty"` // default, reference
	Metrics
	// Agreement is the share of samples for which ANN and SNN predict the same.
	Agreement     *float64   `json:"agreement,omitempty"`
	AvgTimesteps  float64    `json:"avg_timesteps"` // below Timesteps with early exits
	Spikes        float64    `json:"spikes_per_sample"`
	Events        float64    `json:"events_per_sample,omitempty"` // (neuron, step) pairs with a spike
	Density       float64    `json:"density,omitempty"`           // events / (neurons * T)
	SOPs          float64    `json:"sops_per_sample"`
	MACs          float64    `json:"macs_per_sample"` // analog, once per sample
	PoolAdds      float64    `json:"pool_adds_per_sample,omitempty"`
	ResidualAdds  float64    `json:"residual_adds_per_sample,omitempty"`
	NeuronUpdates float64    `json:"neuron_updates_per_sample,omitempty"`
	SpikesPerSyn  float64    `json:"spikes_per_synapse,omitempty"` // SOPs / (the ANN's MACs - MACs)
	EnergyPJ      float64    `json:"energy_pj_per_sample"`
	EnergyRatio   float64    `json:"energy_ratio,omitempty"` // to the ANN
	Reference     *Reference `json:"reference,omitempty"`
	Layers        []Layer    `json:"layers"`
	SamplesPerSec float64    `json:"samples_per_s,omitempty"`
	CalibrateS    float64    `json:"calibrate_s,omitempty"`
	DeadChannels  int        `json:"dead_channels,omitempty"` // channels that never fired in calibration
	Search        *Search    `json:"search,omitempty"`        // of burst limits
	SSC           *SSC       `json:"ssc,omitempty"`           // of thresholds
	IAT           *IAT       `json:"iat,omitempty"`           // early exits
}

// A Reference holds the figures the authors' code would print for the same
// run, for comparison only.
type Reference struct {
	EnergyPJ float64 `json:"energy_pj_per_sample"`
}

// A Layer is a row of the layer table: a layer of neurons, or an operation
// between them that has synaptic operations (Neurons is 0 then).
//
// A row holds the operations that the layer's spikes cause, where they arrive;
// MACs stand in the row of the layer whose current is analog. The ANN's figures
// beside them are of the layers of the ANN where those operations happen, each
// in one row only.
type Layer struct {
	Name          string  `json:"name"`
	Op            string  `json:"op,omitempty"`
	Shape         []int   `json:"shape,omitempty"` // of the output, per sample
	Neurons       int64   `json:"neurons,omitempty"`
	MaxSpike      int     `json:"maxspike"`
	ThresholdMean float64 `json:"threshold_mean"`
	ThresholdMin  float64 `json:"threshold_min,omitempty"`
	ThresholdMax  float64 `json:"threshold_max,omitempty"`
	Spikes        float64 `json:"spikes_per_sample"`
	Events        float64 `json:"events_per_sample,omitempty"`
	Density       float64 `json:"density"`
	SOPs          float64 `json:"sops_per_sample"`
	MACs          float64 `json:"macs_per_sample,omitempty"`
	EnergyPJ      float64 `json:"energy_pj_per_sample,omitempty"`
	EnergyShare   float64 `json:"energy_share,omitempty"` // of the SNN's energy
	ANNMACs       int64   `json:"ann_macs_per_sample,omitempty"`
	ANNEnergyPJ   float64 `json:"ann_energy_pj_per_sample,omitempty"`
	EnergyRatio   float64 `json:"energy_ratio,omitempty"` // EnergyPJ/ANNEnergyPJ
}

// Timing says how long the parts of a run took.
type Timing struct {
	TrainS           float64 `json:"train_s"`
	CalibrateS       float64 `json:"calibrate_s"`
	SearchS          float64 `json:"search_s"`
	EvaluateS        float64 `json:"evaluate_s,omitempty"`
	ANNSamplesPerSec float64 `json:"ann_samples_per_s"`
	SNNSamplesPerSec float64 `json:"snn_samples_per_s"`
}

// Neurons returns the neurons of all layers of the entry.
func (s *SNN) Neurons() int64 {
	var total int64
	for i := range s.Layers {
		total += s.Layers[i].Neurons
	}
	return total
}
