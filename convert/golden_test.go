package convert

import (
	"strconv"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

func channelsLast(t *testing.T, x *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	y, err := tensor.ChannelsLast(x)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// batches returns block i of an array whose first axis counts blocks, channels
// last.
func block(t *testing.T, x *tensor.Tensor, i int) *tensor.Tensor {
	t.Helper()
	size := x.Len() / x.Shape[0]
	y, err := tensor.FromSlice(x.Data[i*size:(i+1)*size], x.Shape[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return channelsLast(t, y)
}

// pool joins all blocks along the samples.
func pool(t *testing.T, x *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	y, err := x.Reshape(append([]int{x.Shape[0] * x.Shape[1]}, x.Shape[2:]...)...)
	if err != nil {
		t.Fatal(err)
	}
	return channelsLast(t, y)
}

// gather builds the statistics of one layer from its activations.
func gather(t *testing.T, y *tensor.Tensor, channels int, histogram bool) *activations {
	t.Helper()
	a := &activations{channels: channels, total: int64(y.Len() / channels), max: make([]float32, channels)}
	if histogram {
		a.count, a.sum = make([]uint32, channels*binCount), make([]float64, channels*binCount)
	} else {
		a.values = make([][]float32, channels)
	}
	if err := a.addMax(nil, 0, graph.Shape(y.Shape[1:]), y); err != nil {
		t.Fatal(err)
	}
	a.addValues(nil, y)
	return a
}

func TestGoldenThreshold(t *testing.T) {
	for _, c := range golden.Cases(t, "threshold") {
		t.Run(c.Name, func(t *testing.T) {
			x := c.Array(t, "activations")
			dead := map[int]bool{}
			if c.Params.Has("dead_channels") {
				for _, ch := range c.Params.Ints(t, "dead_channels") {
					dead[ch] = true
				}
			}
			for _, run := range c.Runs {
				cfg := Default()
				if run.Text(t, "profile") == ProfileReference {
					cfg = Reference()
				}
				cfg.Timesteps, cfg.MaxSpike, cfg.Threshold = run.Int(t, "T"), run.Int(t, "limit"), run.Text(t, "method")
				if cfg.Threshold == "percentile" {
					cfg.Threshold = "percentile:" + percent(t, run)
				}
				channels := 1
				if run.Text(t, "granularity") == "channel" {
					channels = x.Shape[2]
				}
				r := cfg.rule(0)
				name := run.Text(t, "thresholds")
				var got []float32
				if cfg.Profile == ProfileReference {
					cfg.Momentum = 0
					if run.Has("momentum") {
						cfg.Momentum = run.Float(t, "momentum")
					}
					var average []float32
					for b := range x.Shape[0] {
						theta := r.thresholds(nil, gather(t, block(t, x, b), channels, false))
						if b == 0 {
							average = theta
						} else {
							average = smooth(average, theta, cfg.Momentum)
						}
						got = append(got, average...)
					}
				} else {
					got = r.thresholds(nil, gather(t, pool(t, x), channels, false))
				}
				if channels > 1 { // a dead channel is a matter of its own rule
					want := c.Array(t, name).Data
					for i := range got {
						if dead[i%channels] {
							if got[i] != 0 {
								t.Errorf("%s: dead channel %d has threshold %g before it is revived", name, i%channels, got[i])
							}
							got[i] = want[i]
						}
					}
				}
				c.Compare(t, name, got)
				if run.Text(t, "method") == "mse" && cfg.Profile == ProfileDefault {
					// The histogram may be off by one step of the grid.
					a := gather(t, pool(t, x), channels, true)
					for ch, theta := range r.thresholds(nil, a) {
						if d := theta - got[ch]; !dead[ch] && max(d, -d) > 0.0101*a.max[ch] {
							t.Errorf("%s, channel %d: histogram finds %g, all values %g", name, ch, theta, got[ch])
						}
					}
				}
			}
		})
	}
}

func percent(t *testing.T, run golden.Fields) string {
	for _, name := range []string{"percentile", "quantile", "p"} {
		if run.Has(name) {
			v := run.Float(t, name)
			if v <= 1 {
				v *= 100
			}
			return trim(v)
		}
	}
	t.Fatalf("run %v has no percentile", run)
	return ""
}

// TestGoldenNetwork takes whole networks through the conversion, each stage from
// the stored arrays of the stage before.
func TestGoldenNetwork(t *testing.T) {
	for _, c := range golden.Cases(t, "plaincnn", "resnet") {
		t.Run(c.Name, func(t *testing.T) {
			original := c.Graph(t, c.Network, "test_input", 1)
			folded := c.Graph(t, c.NetworkFolded, "test_input", 1)
			compareFolding(t, c, original, folded)
			x := channelsLast(t, c.Array(t, "test_input"))
			c.Compare(t, "ann_logits", forward(t, original, x))
			c.Compare(t, "folded_logits", forward(t, folded, x))

			cfg := Default()
			if c.Params.Text(t, "profile") == ProfileReference {
				cfg = Reference()
			}
			cfg.Objective, cfg.Shift = c.Params.Text(t, "objective"), snn.Shift(c.Params.Text(t, "shift"))
			cfg.VectorScalar = true
			calib := c.Array(t, "calib_batches")
			cfg.Batches, cfg.BatchSize = 0, calib.Shape[1]
			if c.Params.Has("momentum") {
				cfg.Batches, cfg.Momentum = calib.Shape[0], c.Params.Float(t, "momentum")
			}
			light := c.Array(t, "light_batch")
			runs := make(map[string][]float32) // expected arrays with one row per run
			for r, run := range c.Runs {
				cfg.Timesteps, cfg.MaxSpike = run.Int(t, "T"), run.Int(t, "maxspike")
				found, err := Thresholds(t.Context(), nil, folded, pool(t, calib), cfg)
				if err != nil {
					t.Fatal(err)
				}
				neurons := &snn.Config{Timesteps: cfg.Timesteps, Shift: cfg.Shift, MaxPool: cfg.MaxPool}
				for l, n := range c.Neurons {
					stored := row(t, c, n.Threshold, r)
					compareThresholds(t, c, n, r, found.Config.Layers[l].Threshold, stored)
					neurons.Layers = append(neurons.Layers, snn.Layer{Node: n.ReLU, Threshold: stored, MaxSpike: cfg.MaxSpike})
				}
				trace := c.All.Has("trace_run") && c.All.Int(t, "trace_run") == r
				res := simulate(t, folded, neurons, x, trace)
				runs["snn_logits"] = append(runs["snn_logits"], res.Logits.Data...)
				for l, n := range c.Neurons {
					runs["spikes."+n.ReLU] = appendInts(runs["spikes."+n.ReLU], res.Layers[l].Spikes)
				}
				if trace {
					c.Compare(t, "trace.logits", res.StepLogits.Data)
					for l, n := range c.Neurons {
						c.Compare(t, "trace.counts."+n.ReLU, channelsFirst(t, res.StepCounts[l]))
					}
				}

				corrected, _, err := LightCalibration(t.Context(), nil, folded, folded, neurons, block(t, light, r), 1)
				if err != nil {
					t.Fatal(err)
				}
				stored := folded.CloneShared()
				for _, n := range c.Neurons {
					name := "light_bias." + n.Bias
					runs[name] = append(runs[name], corrected.Node(n.Bias).Bias()...)
					node := stored.Node(n.Bias)
					bias := row(t, c, name, r)
					node.Params = graph.Params{"weight": node.Weight(), "bias": &tensor.Tensor{Shape: []int{len(bias)}, Data: bias}}
				}
				res = simulate(t, stored, neurons, x, false)
				runs["snn_logits_light"] = append(runs["snn_logits_light"], res.Logits.Data...)
				for l, n := range c.Neurons {
					runs["spikes_light."+n.ReLU] = appendInts(runs["spikes_light."+n.ReLU], res.Layers[l].Spikes)
				}
			}
			for name, got := range runs {
				c.Compare(t, name, got)
			}
		})
	}
}

func TestGoldenAdvancedPotential(t *testing.T) {
	for _, c := range golden.Cases(t, "advanced_potential") {
		t.Run(c.Name, func(t *testing.T) {
			folded := c.Graph(t, c.NetworkFolded, "test_input", 1)
			neurons := &snn.Config{Timesteps: c.Params.Int(t, "T"), Shift: snn.Shift(c.Params.Text(t, "shift")), MaxPool: snn.MaxPoolPerStep}
			for _, n := range c.Neurons {
				neurons.Layers = append(neurons.Layers, snn.Layer{Node: n.ReLU, Threshold: c.Array(t, n.Threshold).Data, MaxSpike: c.Params.Int(t, "maxspike")})
			}
			got, err := PotentialCalibration(t.Context(), nil, folded, folded, neurons, channelsLast(t, c.Array(t, "calib_batch")), false)
			if err != nil {
				t.Fatal(err)
			}
			for l, n := range c.Neurons {
				shape := append([]int{1}, folded.Node(n.ReLU).Shape...)
				v, err := tensor.FromSlice(got.Layers[l].Initial, shape...)
				if err != nil {
					t.Fatal(err)
				}
				c.Compare(t, "initial_potential."+n.ReLU, channelsFirst(t, v))
			}
		})
	}
}

func compareFolding(t *testing.T, c *golden.Case, original, want *graph.Graph) {
	t.Helper()
	got := original.CloneShared()
	graph.FoldBatchNorm(got)
	if err := got.Infer(); err != nil {
		t.Fatal(err)
	}
	if len(got.Nodes) != len(want.Nodes) {
		t.Fatalf("%d nodes after folding, want %d", len(got.Nodes), len(want.Nodes))
	}
	for i, n := range got.Nodes {
		for role, p := range want.Nodes[i].Params {
			tol := c.Tolerance("folded." + n.Name + "." + role)
			for k, v := range p.Data {
				if d := float64(n.Params[role].Data[k] - v); max(d, -d) > tol.Abs+tol.Rel*float64(max(v, -v)) {
					t.Fatalf("node %q: %s[%d] is %g after folding, want %g", n.Name, role, k, n.Params[role].Data[k], v)
				}
			}
		}
	}
}

func compareThresholds(t *testing.T, c *golden.Case, n golden.Neuron, run int, got, want []float32) {
	t.Helper()
	var skip []float32
	if name := "threshold_ambiguous." + n.ReLU; c.Has(name) {
		skip = row(t, c, name, run)
	}
	tol := c.Tolerance(n.Threshold)
	if len(got) != len(want) {
		t.Fatalf("run %d, %s: %d thresholds, want %d", run, n.ReLU, len(got), len(want))
	}
	for ch, v := range want {
		if skip != nil && skip[ch] != 0 {
			continue
		}
		if d := float64(got[ch] - v); max(d, -d) > tol.Abs+tol.Rel*float64(v) {
			t.Errorf("run %d, %s: threshold[%d] is %g, want %g", run, n.ReLU, ch, got[ch], v)
		}
	}
}

// row returns row r of an array with one row per run.
func row(t *testing.T, c *golden.Case, name string, r int) []float32 {
	t.Helper()
	x := c.Array(t, name)
	size := x.Len() / x.Shape[0]
	return x.Data[r*size : (r+1)*size]
}

func forward(t *testing.T, g *graph.Graph, x *tensor.Tensor) []float32 {
	t.Helper()
	e, err := ann.New(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	y, err := e.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	return y.Data
}

func simulate(t *testing.T, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, trace bool) *snn.Result {
	t.Helper()
	net, err := snn.New(g, cfg)
	if err != nil {
		t.Fatal(err)
	}
	res, err := net.Run(t.Context(), nil, x, snn.Options{Trace: trace})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// channelsFirst moves the channels of [A, N, ..., C] before the positions.
func channelsFirst(t *testing.T, x *tensor.Tensor) []float32 {
	t.Helper()
	lead := 2
	if len(x.Shape) == 4 { // [N, H, W, C]
		lead = 1
	}
	axes := []int{0}
	if lead == 2 {
		axes = append(axes, 1)
	}
	axes = append(axes, len(x.Shape)-1)
	for i := lead; i < len(x.Shape)-1; i++ {
		axes = append(axes, i)
	}
	if len(axes) != len(x.Shape) {
		return x.Data
	}
	y, err := x.Permute(axes...)
	if err != nil {
		t.Fatal(err)
	}
	return y.Data
}

func appendInts(to []float32, v []int64) []float32 {
	for _, k := range v {
		to = append(to, float32(k))
	}
	return to
}

func trim(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
