package snn

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// TestMACs: analog layers once, spikes never, layers behind layers every
// timestep or, behind the last neurons, once.
func TestMACs(t *testing.T) {
	b := &grower{g: graph.New(), rng: newRand(1)}
	in := b.g.Input("input", graph.Shape{4, 4, 2})
	in.Shape = graph.Shape{4, 4, 2}
	stem := b.conv(in, 1, 3, 1, 1, true)     // analog
	analog := b.conv(stem, 1, 3, 1, 1, true) // analog still
	x := b.add(&graph.ReLU{}, nil, analog)
	spikes := b.conv(x, 1, 3, 1, 1, true)
	behind := b.conv(spikes, 1, 3, 1, 1, true) // no spikes reach it
	pooled := b.add(&graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, b.add(&graph.ReLU{}, nil, behind))
	afterPool := b.conv(pooled, 1, 3, 1, 1, true)
	flat := b.add(&graph.Flatten{}, nil, b.add(&graph.ReLU{}, nil, afterPool))
	hidden := b.linear(flat, 5)
	out := b.linear(hidden, 3)
	b.g.Outputs = []*graph.Node{out}
	net := mustNew(t, b.g, b.config(8, ShiftInitial, MaxPoolExact))
	var total int64
	for _, c := range []struct {
		name string
		node *graph.Node
		want int64
	}{
		{"stem", stem, 16 * 2 * 3}, {"analog", analog, 16 * 3 * 3}, {"spikes", spikes, 0}, {"behind a layer", behind, 8 * 16 * 3 * 3},
		{"after a pool", afterPool, 0}, {"hidden readout", hidden, 0}, {"readout", out, 5 * 3}, {"pool", pooled, 0},
	} {
		if got := net.MACs(c.node); got != c.want {
			t.Errorf("%s: got %d MACs, want %d", c.name, got, c.want)
		}
		total += c.want
	}
	if got := net.TotalMACs(); got != total {
		t.Errorf("got %d MACs in all, want %d", got, total)
	}
	layers := net.Layers()
	if len(layers) != 3 || layers[1].Source != behind || layers[1].MACs != 16*9 || layers[1].Neurons != 48 || layers[2].Source != afterPool {
		t.Errorf("layers are %+v", layers)
	}
}

func TestEnergyProfiles(t *testing.T) {
	for name, want := range map[string][2]float64{"fp32": {4.6, 0.9}, "fp16": {1.5, 0.4}, "int32": {3.2, 0.1}, "int8": {0.23, 0.03}, "int8/acc32": {0.3, 0.1}} {
		p, err := FindEnergyProfile(name)
		if err != nil || p.MAC != want[0] || p.AC != want[1] {
			t.Errorf("%s: got %+v, %v", name, p, err)
		}
	}
	if len(EnergyProfiles) != 5 || EnergyProfiles[0].Name != "fp32" {
		t.Errorf("profiles are %+v", EnergyProfiles)
	}
	if _, err := FindEnergyProfile("fp64"); err == nil || !strings.Contains(err.Error(), `"fp64"`) || !strings.Contains(err.Error(), `"int8/acc32"`) {
		t.Errorf("got error %v, want one that lists the profiles", err)
	}
	p := EnergyProfile{MAC: 4, AC: 0.5}
	if p.ANN(10) != 40 || p.SNN(10, 6) != 43 {
		t.Errorf("got %g and %g pJ, want 40 and 43", p.ANN(10), p.SNN(10, 6))
	}
}

func TestSumBytes(t *testing.T) {
	for n := range 1100 {
		b := make([]uint8, n)
		want := uint32(0)
		for i := range b {
			b[i] = uint8(255 - i%3)
			want += uint32(b[i])
		}
		if got := sumBytes(b); got != want {
			t.Fatalf("%d bytes: got %d, want %d", n, got, want)
		}
	}
}
