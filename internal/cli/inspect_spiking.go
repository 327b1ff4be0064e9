package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/internal/job"
)

// A spikingFinding says how a network fires.
type spikingFinding struct {
	Timesteps int                   `json:"timesteps"`
	Shift     string                `json:"shift"`
	MaxPool   string                `json:"max_pool"`
	Layers    []spikingLayerFinding `json:"layers"`
}

// A spikingLayerFinding is one layer of neurons; its thresholds are in units of
// the activation it replaces.
type spikingLayerFinding struct {
	Name          string  `json:"name"`
	Shape         []int   `json:"shape"`
	Neurons       int     `json:"neurons"`
	MaxSpike      int     `json:"maxspike"`
	Thresholds    int     `json:"thresholds"` // one per channel, or one
	ThresholdMin  float64 `json:"threshold_min"`
	ThresholdMean float64 `json:"threshold_mean"`
	ThresholdMax  float64 `json:"threshold_max"`
	Initial       bool    `json:"initial"`              // calibrated initial potentials
	FanOut        int64   `json:"sops_per_spike_most"`  // synaptic operations that a spike causes, at most
	FanOutLeast   int64   `json:"sops_per_spike_least"` // at the border of the picture it is less
}

// describeSpiking compiles the spiking network of a checkpoint, which finds
// settings that do not fit the graph; nil for other kinds of checkpoint.
func describeSpiking(path string, m *checkpoint.Model) (*spikingFinding, error) {
	if m.Kind != checkpoint.KindSNN {
		return nil, nil
	}
	c, err := job.Spiking(path, m)
	if err != nil {
		return nil, err
	}
	net, err := c.Network()
	if err != nil {
		return nil, err
	}
	cfg := net.Config()
	f := &spikingFinding{Timesteps: cfg.Timesteps, Shift: string(cfg.Shift), MaxPool: string(cfg.MaxPool)}
	for i, l := range net.Layers() {
		d := spikingLayerFinding{Name: l.Node, Shape: l.Shape, Neurons: l.Neurons, MaxSpike: l.MaxSpike,
			Thresholds: len(l.Threshold), Initial: i < len(cfg.Layers) && cfg.Layers[i].Initial != nil}
		var s spread
		for _, theta := range l.Threshold {
			s.add(float64(theta))
		}
		if s.n > 0 {
			d.ThresholdMin, d.ThresholdMean, d.ThresholdMax = s.min, s.sum/float64(s.n), s.max
		}
		for k, fan := range net.FanOut(i) {
			if k == 0 {
				d.FanOutLeast = fan
			}
			d.FanOut, d.FanOutLeast = max(d.FanOut, fan), min(d.FanOutLeast, fan)
		}
		f.Layers = append(f.Layers, d)
	}
	return f, nil
}

func (f *spikingFinding) write(w io.Writer) error {
	fmt.Fprintf(w, "\nspiking with T = %d timesteps, shift %s, max pooling %s\n\n", f.Timesteps, f.Shift, f.MaxPool)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "neurons of\toutput\tneurons\tmaxspike\tthresholds\tmin\tmean\tmax\tSOPs per spike\tinitial potential")
	for _, l := range f.Layers {
		initial := "0"
		if l.Initial {
			initial = "calibrated"
		}
		fan := fmt.Sprint(l.FanOut)
		if l.FanOutLeast != l.FanOut {
			fan = fmt.Sprintf("%d to %d", l.FanOutLeast, l.FanOut)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%.4g\t%.4g\t%.4g\t%s\t%s\n", l.Name, shapeText(l.Shape), l.Neurons, l.MaxSpike,
			l.Thresholds, l.ThresholdMin, l.ThresholdMean, l.ThresholdMax, fan, initial)
	}
	return t.Flush()
}
