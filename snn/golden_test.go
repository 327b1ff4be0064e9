package snn

import (
	"testing"

	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/tensor"
)

// channelsLast reorders the trailing [C, ...] of every block of an array that
// has channels at axis axis.
func channelsLast(t *testing.T, x *tensor.Tensor, axis int) *tensor.Tensor {
	t.Helper()
	var axes []int
	for i := range axis {
		axes = append(axes, i)
	}
	for i := axis + 1; i < len(x.Shape); i++ {
		axes = append(axes, i)
	}
	y, err := x.Permute(append(axes, axis)...)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// channelsFirst is the inverse.
func channelsFirst(t *testing.T, x *tensor.Tensor, axis int) *tensor.Tensor {
	t.Helper()
	last := len(x.Shape) - 1
	var axes []int
	for i := range axis {
		axes = append(axes, i)
	}
	axes = append(axes, last)
	for i := axis; i < last; i++ {
		axes = append(axes, i)
	}
	y, err := x.Permute(axes...)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func TestGoldenNeuron(t *testing.T) {
	for _, c := range golden.Cases(t, "neuron") {
		t.Run(c.Name, func(t *testing.T) {
			current := channelsLast(t, c.Array(t, "current"), 2) // T N ... C
			channels := current.Shape[len(current.Shape)-1]
			count := current.Len() / current.Shape[0]
			layer := Layer{Threshold: c.Array(t, "threshold").Data}
			if c.Params.Bool(t, "initial_potential") {
				init := c.Array(t, "initial_potential")
				axis := len(init.Shape) - (len(current.Shape) - 2) // per sample or per batch
				v := channelsLast(t, init, axis).Data
				for len(layer.Initial) < count {
					layer.Initial = append(layer.Initial, v...)
				}
			}
			steps := current.Shape[0]
			countsShape := append([]int{len(c.Runs), steps}, current.Shape[1:]...)
			allCounts := tensor.New(countsShape...)
			for i := range allCounts.Data {
				allCounts.Data[i] = -1
			}
			shape := append([]int{len(c.Runs)}, current.Shape[1:]...)
			membrane, mean := tensor.New(shape...), tensor.New(shape...)
			for r, run := range c.Runs {
				T := run.Int(t, "T")
				layer.MaxSpike = run.Int(t, "maxspike")
				n, err := NewNeurons(layer, channels, count, Shift(c.Params.Text(t, "shift")), T)
				if err != nil {
					t.Fatal(err)
				}
				counts := make([]uint8, count)
				sum := make([]float64, count)
				for step := range T {
					if err := n.Step(current.Data[step*count:(step+1)*count], counts); err != nil {
						t.Fatal(err)
					}
					for i, k := range counts {
						allCounts.Data[(r*steps+step)*count+i] = float32(k)
						sum[i] += float64(k)
					}
				}
				n.Membrane(membrane.Data[r*count : (r+1)*count])
				for i, s := range sum {
					mean.Data[r*count+i] = float32(s * float64(n.threshold[i%channels]) / float64(T))
				}
			}
			c.Compare(t, "counts", channelsFirst(t, allCounts, 3).Data)
			c.Compare(t, "membrane", channelsFirst(t, membrane, 2).Data)
			c.Compare(t, "mean_output", channelsFirst(t, mean, 2).Data)
		})
	}
}

func TestGoldenMaxPoolCounts(t *testing.T) {
	for _, c := range golden.Cases(t, "maxpool_counts") {
		t.Run(c.Name, func(t *testing.T) {
			in := channelsLast(t, c.Array(t, "counts"), 2) // T N H W C
			k, stride, pad := c.Params.Ints(t, "kernel"), c.Params.Ints(t, "stride"), c.Params.Ints(t, "padding")
			steps, n, h, w, ch := in.Shape[0], in.Shape[1], in.Shape[2], in.Shape[3], in.Shape[4]
			s := kernel.PoolShape{N: n, H: h, W: w, C: ch, KH: k[0], KW: k[1], StrideH: stride[0], StrideW: stride[1],
				PadTop: pad[0], PadLeft: pad[1], PadBottom: pad[0], PadRight: pad[1]}
			s.OutH = kernel.PoolOut(h, k[0], stride[0], pad[0], pad[0], false)
			s.OutW = kernel.PoolOut(w, k[1], stride[1], pad[1], pad[1], false)
			out := tensor.New(steps, n, s.OutH, s.OutW, ch)
			size := n * s.OutH * s.OutW * ch
			cum, top := make([]int32, n*h*w*ch), make([]int32, size)
			counts, pooled := make([]uint8, len(cum)), make([]uint8, size)
			for step := range steps {
				for i := range counts {
					counts[i] = uint8(in.Data[step*len(counts)+i])
				}
				kernel.MaxPoolCounts(nil, s, cum, top, counts, pooled)
				for i, v := range pooled {
					out.Data[step*size+i] = float32(v)
				}
			}
			c.Compare(t, "output", channelsFirst(t, out, 2).Data)
		})
	}
}

func TestGoldenEnergy(t *testing.T) {
	for _, c := range golden.Cases(t, "energy") {
		t.Run(c.Name, func(t *testing.T) {
			g := c.Graph(t, c.NetworkFolded, "test_input", 1)
			cfg := &Config{Timesteps: c.Params.Int(t, "T"), Shift: Shift(c.Params.Text(t, "shift")), MaxPool: MaxPoolPerStep}
			for _, n := range c.Neurons {
				cfg.Layers = append(cfg.Layers, Layer{Node: n.ReLU, Threshold: c.Array(t, n.Threshold).Data, MaxSpike: c.Params.Int(t, "maxspike")})
			}
			net, err := New(g, cfg)
			if err != nil {
				t.Fatal(err)
			}
			x, err := tensor.ChannelsLast(c.Array(t, "test_input"))
			if err != nil {
				t.Fatal(err)
			}
			res, err := net.Run(t.Context(), nil, x, Options{Trace: true})
			if err != nil {
				t.Fatal(err)
			}
			samples := x.Shape[0]
			sum := make([]LayerCounts, 1)
			sum[0].reset(samples)
			for l, n := range c.Neurons {
				counts := res.StepCounts[l]
				total := tensor.New(counts.Shape[1:]...)
				for i, v := range counts.Data {
					total.Data[i%total.Len()] += v
				}
				c.Compare(t, "counts."+n.ReLU, channelsFirst(t, total, 1).Data)
				c.CompareInts(t, "events."+n.ReLU, ints(res.Layers[l].Events))
				c.CompareInts(t, "sops."+n.ReLU, ints(res.Layers[l].SOPs))
				fan := net.FanOut(l)
				channels := counts.Shape[len(counts.Shape)-1]
				var fanout []int
				for range channels {
					fanout = append(fanout, ints(fan)...)
				}
				c.CompareInts(t, "fanout."+n.ReLU, fanout)
				for i, s := range sum[0].all() {
					for k, v := range *res.Layers[l].all()[i] {
						(*s)[k] += v
					}
				}
			}
			c.CompareInts(t, "sops_per_sample", ints(sum[0].SOPs))
			c.CompareInts(t, "readout_sops_per_sample", ints(sum[0].ReadoutSOPs))
			c.CompareInts(t, "pool_adds_per_sample", ints(sum[0].PoolAdds))
			c.CompareInts(t, "residual_adds_per_sample", ints(sum[0].ResidualAdds))
			c.CompareFloats(t, "ann_macs_per_sample", float64(g.MACs()))
			c.CompareFloats(t, "first_layer_macs_per_sample", float64(net.TotalMACs()))
			p := EnergyProfile{MAC: c.Params.Float(t, "mac_pj"), AC: c.Params.Float(t, "ac_pj")}
			c.CompareFloats(t, "ann_energy_pj", p.ANN(g.MACs()))
			// The formula of algorithms.md 8.2, with pool and residual adds.
			energy := make([]float32, samples)
			for i := range energy {
				adds := sum[0].SOPs[i] + sum[0].PoolAdds[i] + sum[0].ResidualAdds[i]
				energy[i] = float32(p.SNN(float64(net.TotalMACs()), float64(adds)))
			}
			c.Compare(t, "energy_readout_steps_pj", energy)
			inputs := make([]float64, len(res.Layers))
			for l := range inputs {
				for _, k := range res.Layers[l].Inputs {
					inputs[l] += float64(k) / float64(samples)
				}
			}
			c.CompareFloats(t, "energy_pj_reference_formula", p.Reference(net, inputs))
		})
	}
}

func ints(v []int64) []int {
	out := make([]int, len(v))
	for i, k := range v {
		out[i] = int(k)
	}
	return out
}
