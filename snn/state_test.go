package snn

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEncodeDecodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, cfg, _ := drawNetwork(t, false)
		data, tensors, err := cfg.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(data, tensors)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(cfg, back); d != "" {
			t.Fatalf("-want +got:\n%s", d)
		}
		again, _, err := back.Encode()
		if err != nil || string(again) != string(data) {
			t.Fatalf("encoded again (%v): %s, at first %s", err, again, data)
		}
	})
}

func TestDecodeErrors(t *testing.T) {
	cfg := &Config{Timesteps: 4, Shift: ShiftInitial, MaxPool: MaxPoolExact, Layers: []Layer{
		{Node: "a", Threshold: []float32{1, 2, 3}, MaxSpike: 2, Initial: make([]float32, 6)},
		{Node: "b", Threshold: []float32{1}, MaxSpike: 4},
	}}
	data, tensors, err := cfg.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, old, new, fail string
		change               func(map[string]*tensor.Tensor)
	}{
		{name: "no JSON", old: "{", new: "[", fail: "neuron settings"},
		{name: "unknown member", old: `"timesteps":4`, new: `"timesteps":4,"leak":0.5`, fail: `unknown field "leak"`},
		{name: "data behind", old: `]}`, new: `]}}`, fail: "data behind the object"},
		{name: "second object", old: `]}`, new: `]}{}`, fail: "data behind the object"},
		{name: "fraction", old: `"timesteps":4`, new: `"timesteps":4.5`, fail: "neuron settings"},
		{name: "unknown mode, one threshold", old: `"threshold_mode":"tensor"`, new: `"threshold_mode":"layer"`, fail: `node "b": threshold mode "layer"`},
		{name: "unknown mode, thresholds", old: `"threshold_mode":"channel"`, new: `"threshold_mode":"layer"`, fail: `node "a": threshold mode "layer" with 3 thresholds`},
		{name: "one for all with three", old: `"threshold_mode":"channel"`, new: `"threshold_mode":"tensor"`, fail: `node "a": threshold mode "tensor" with 3 thresholds`},
		{name: "missing threshold", fail: `tensor "snn.a.threshold" is missing`, change: func(m map[string]*tensor.Tensor) { delete(m, "snn.a.threshold") }},
		{name: "missing potential", fail: `tensor "snn.a.initial" is missing`, change: func(m map[string]*tensor.Tensor) { delete(m, "snn.a.initial") }},
		{name: "matrix", fail: `tensor "snn.a.threshold" is missing or no vector`, change: func(m map[string]*tensor.Tensor) { m["snn.a.threshold"] = tensor.New(3, 1) }},
		{name: "unused tensor", fail: `no layer names the tensor "snn.c.threshold"`, change: func(m map[string]*tensor.Tensor) { m["snn.c.threshold"] = tensor.New(1) }},
		{name: "unused potential", old: `"initial":true`, new: `"initial":false`, fail: `no layer names the tensor "snn.a.initial"`},
		{name: "a layer twice instead of another", old: `"node":"b","maxspike":4,"threshold_mode":"tensor"`, new: `"node":"a","maxspike":4,"threshold_mode":"channel"`, fail: `no layer names the tensor "snn.b.threshold"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, m := string(data), maps.Clone(tensors)
			if c.old != "" {
				if text = strings.Replace(text, c.old, c.new, 1); text == string(data) {
					t.Fatalf("%s is not in %s", c.old, data)
				}
			}
			if c.change != nil {
				c.change(m)
			}
			if _, err := Decode(json.RawMessage(text), m); err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got error %v, want one with %q", err, c.fail)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	cfg := &Config{Timesteps: 4, Shift: ShiftInitial, MaxPool: MaxPoolExact, Layers: []Layer{{Node: "a", Threshold: []float32{1, 2}, MaxSpike: 2}}}
	data, tensors, err := cfg.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(data))
	f.Add([]byte(`{"layers":[{"node":"a","threshold_mode":"tensor"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode(data, tensors)
		if err != nil {
			return
		}
		text, m, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(text, m)
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if d := cmp.Diff(c, back); d != "" {
			t.Fatal(d)
		}
	})
}

func TestConfigCloneIsDeep(t *testing.T) {
	cfg := &Config{Timesteps: 4, Layers: []Layer{{Node: "a", Threshold: []float32{1}, Initial: []float32{2}}}}
	twin := cfg.Clone()
	twin.Layers[0].Threshold[0], twin.Layers[0].Initial[0], twin.Layers[0].Node = 7, 7, "b"
	if l := cfg.Layers[0]; l.Threshold[0] != 1 || l.Initial[0] != 2 || l.Node != "a" {
		t.Errorf("the original became %+v", l)
	}
}

// TestNetworkCopiesItsConfig: changes of the caller's do not reach it.
func TestNetworkCopiesItsConfig(t *testing.T) {
	g, cfg, x := deep(t, 1)
	net := mustNew(t, g, cfg)
	want := mustRun(t, net, nil, x, Options{})
	for i := range cfg.Layers {
		clear(cfg.Layers[i].Threshold)
		clear(cfg.Layers[i].Initial)
	}
	net.Config().Layers[0].Threshold[0] = 0
	sameResult(t, "after the config changed", mustRun(t, net, nil, x, Options{}), want)
}
