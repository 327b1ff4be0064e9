package nir

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A builder makes networks of random weights.
type builder struct {
	r    *rand.Rand
	g    *graph.Graph
	last *graph.Node
	n    int
}

func newBuilder(seed uint64, shape ...int) *builder {
	b := &builder{r: random.New(seed, "nir test"), g: graph.New()}
	b.last = b.g.Input("in put", shape)
	b.last.Shape = shape // what Infer will find; layers are added before it runs
	return b
}

func (b *builder) random(scale float64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data {
		t.Data[i] = float32(b.r.NormFloat64() * scale)
	}
	return t
}

func (b *builder) add(op graph.Op, p graph.Params, in ...*graph.Node) *graph.Node {
	if in == nil {
		in = []*graph.Node{b.last}
	}
	b.n++
	b.last = b.g.Add(fmt.Sprintf("%s.%d", op.Kind(), b.n), op, p, in...)
	b.g.Outputs = []*graph.Node{b.last}
	if err := b.g.Infer(); err != nil {
		panic(err)
	}
	return b.last
}

func (b *builder) conv(kh, kw, cout int, op graph.Conv2D, in ...*graph.Node) *graph.Node {
	from := b.last
	if in != nil {
		from = in[0]
	}
	if op.Stride == ([2]int{}) {
		op.Stride = [2]int{1, 1}
	}
	if op.Dilation == ([2]int{}) {
		op.Dilation = [2]int{1, 1}
	}
	if op.Groups == 0 {
		op.Groups = 1
	}
	c := from.Shape.Channels() / op.Groups
	p := graph.Params{"weight": b.random(1/math.Sqrt(float64(kh*kw*c)), kh, kw, c, cout)}
	if b.n%3 != 0 {
		p["bias"] = b.random(0.2, cout)
	}
	return b.add(&op, p, from)
}

func (b *builder) linear(out int) *graph.Node {
	in := b.last.Shape.Channels()
	return b.add(&graph.Linear{}, graph.Params{"weight": b.random(1/math.Sqrt(float64(in)), in, out), "bias": b.random(0.1, out)})
}

func (b *builder) relu() *graph.Node { return b.add(&graph.ReLU{}, nil) }

// nets are networks with what can be exported.
var nets = map[string]func(seed uint64) *builder{
	"fully connected": func(seed uint64) *builder {
		b := newBuilder(seed, 6)
		b.linear(9)
		b.relu()
		b.linear(7)
		b.relu()
		b.linear(4)
		return b
	},
	"convolutions": func(seed uint64) *builder {
		b := newBuilder(seed, 9, 8, 2)
		b.conv(3, 3, 6, graph.Conv2D{Pad: graph.Uniform(1, 1)})
		b.relu()
		b.add(&graph.AvgPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1), CountIncludePad: true}, nil)
		b.conv(3, 3, 8, graph.Conv2D{Stride: [2]int{2, 1}, Pad: graph.Uniform(1, 1), Groups: 2})
		b.relu()
		b.add(&graph.Flatten{}, nil)
		b.linear(10)
		b.relu()
		b.add(&graph.Dropout{P: 0.5}, nil)
		b.linear(5)
		b.add(&graph.Softmax{}, nil)
		return b
	},
	"residual": func(seed uint64) *builder {
		b := newBuilder(seed, 8, 8, 3)
		b.conv(3, 3, 6, graph.Conv2D{Pad: graph.Uniform(1, 1)})
		x := b.relu()
		b.conv(3, 3, 6, graph.Conv2D{Pad: graph.Uniform(1, 1)})
		y := b.relu()
		z := b.conv(3, 3, 6, graph.Conv2D{Pad: graph.Uniform(1, 1)}, y)
		b.add(&graph.Add{}, nil, z, x)
		x = b.relu()
		s := b.conv(1, 1, 8, graph.Conv2D{Stride: [2]int{2, 2}}, x)
		z = b.conv(3, 3, 8, graph.Conv2D{Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1)}, x)
		b.add(&graph.Add{}, nil, z, s)
		b.relu()
		b.add(&graph.GlobalAvgPool{}, nil)
		b.add(&graph.Flatten{}, nil)
		b.linear(5)
		return b
	},
	"shortcut into neurons": func(seed uint64) *builder { // no layer of its own carries the shift
		b := newBuilder(seed, 6, 6, 2)
		b.conv(1, 1, 4, graph.Conv2D{})
		x := b.relu()
		y := b.conv(1, 1, 4, graph.Conv2D{}, x)
		b.relu()
		b.conv(1, 1, 4, graph.Conv2D{})
		b.add(&graph.Add{}, nil, b.last, y)
		b.relu()
		b.add(&graph.Add{}, nil, b.last, x)
		b.relu()
		b.add(&graph.Add{}, nil, b.last, y)
		b.add(&graph.Flatten{}, nil)
		b.linear(3)
		return b
	},
	"concatenation": func(seed uint64) *builder {
		b := newBuilder(seed, 6, 6, 2)
		b.conv(3, 3, 4, graph.Conv2D{Pad: graph.Uniform(1, 1)})
		x := b.relu()
		b.conv(1, 1, 3, graph.Conv2D{}, x)
		y := b.relu()
		b.conv(3, 3, 2, graph.Conv2D{Pad: graph.Uniform(1, 1)}, x)
		z := b.add(&graph.Concat{}, nil, y, x, b.last)
		b.conv(3, 3, 9, graph.Conv2D{Pad: graph.Uniform(1, 1), Groups: 3}, z)
		b.relu()
		b.add(&graph.Concat{}, nil, b.last, y)
		b.add(&graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil)
		b.relu()
		b.add(&graph.Flatten{}, nil)
		b.linear(4)
		return b
	},
	"odd kernels": func(seed uint64) *builder {
		b := newBuilder(seed, 10, 7, 2)
		b.conv(3, 1, 4, graph.Conv2D{Pad: graph.Uniform(1, 0)})
		b.relu()
		b.conv(2, 2, 4, graph.Conv2D{Pad: graph.Pad{1, 0, 0, 1}})
		b.relu()
		b.conv(3, 5, 5, graph.Conv2D{Pad: graph.Pad{2, 2, 0, 2}, Stride: [2]int{2, 1}, Dilation: [2]int{1, 2}})
		b.relu()
		b.add(&graph.Flatten{}, nil) // a map that is not square
		b.linear(4)
		return b
	},
	"batch norm left": func(seed uint64) *builder {
		b := newBuilder(seed, 5, 5, 2)
		b.conv(3, 3, 4, graph.Conv2D{})
		x := b.relu()
		b.add(&graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, graph.Params{"mean": b.random(0.3, 4), "var": positive(b.random(1, 4)), "weight": b.random(1, 4), "bias": b.random(1, 4)}, x)
		b.relu()
		b.add(&graph.Flatten{}, nil)
		b.linear(3)
		return b
	},
	"points": func(seed uint64) *builder {
		b := newBuilder(seed, 7, 3)
		b.linear(5)
		b.relu()
		b.linear(4)
		b.relu()
		b.add(&graph.Flatten{}, nil)
		b.linear(3)
		return b
	},
	"ends in spikes": func(seed uint64) *builder {
		b := newBuilder(seed, 6)
		b.linear(5)
		b.relu()
		return b
	},
}

func positive(t *tensor.Tensor) *tensor.Tensor {
	for i, v := range t.Data {
		t.Data[i] = float32(math.Abs(float64(v))) + 0.1
	}
	return t
}

// neurons returns settings with a threshold per channel.
func (b *builder) neurons(shift snn.Shift, maxSpike int, initial bool) *snn.Config {
	cfg := &snn.Config{Timesteps: 5, Shift: shift, MaxPool: snn.MaxPoolExact}
	for i, n := range snn.Activations(b.g) {
		l := snn.Layer{Node: n.Name, MaxSpike: 1 + (i+maxSpike-1)%maxSpike}
		for range n.Shape.Channels() {
			l.Threshold = append(l.Threshold, float32(0.3+0.5*b.r.Float64()))
		}
		if i%3 == 2 {
			l.Threshold = l.Threshold[:1]
		}
		if initial {
			for range n.Shape.Numel() {
				l.Initial = append(l.Initial, float32(0.1*b.r.NormFloat64()))
			}
		}
		cfg.Layers = append(cfg.Layers, l)
	}
	return cfg
}

func sameNetwork(t *testing.T, got, want *Network) {
	t.Helper()
	a, err := got.Graph.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := want.Graph.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Fatalf("structure %s, want %s", a, b)
	}
	for i, n := range want.Graph.Nodes {
		for role, w := range n.Params {
			p := got.Graph.Nodes[i].Params[role]
			if p == nil || !slices.Equal(p.Shape, w.Shape) || !slices.EqualFunc(p.Data, w.Data, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }) {
				t.Fatalf("node %q: %s differs: %v, want %v", n.Name, role, p, w)
			}
		}
	}
	j1, t1, err1 := got.SNN.Encode()
	j2, t2, err2 := want.SNN.Encode()
	if err1 != nil || err2 != nil || !bytes.Equal(j1, j2) || len(t1) != len(t2) {
		t.Fatalf("neurons %s (%v), want %s (%v)", j1, err1, j2, err2)
	}
	for name, w := range t2 {
		if !slices.Equal(t1[name].Data, w.Data) {
			t.Fatalf("%s: %v, want %v", name, t1[name].Data, w.Data)
		}
	}
}

// pass writes a graph and reads it again.
func pass(t *testing.T, g *Graph) *File {
	t.Helper()
	var b bytes.Buffer
	if _, err := g.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFrom(bytes.NewReader(b.Bytes()), int64(b.Len()), "test.nir")
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if _, err := f.Graph.WriteTo(&again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Error("writing what was read gives another file")
	}
	return f
}

func TestRoundTrip(t *testing.T) {
	options := map[string]Options{
		"portable":           {},
		"portable, flatten":  {Flatten: true, KeepGroups: true, DT: 1e-4, Classes: []string{"a", "b"}},
		"exact, start input": {Profile: Exact, StartInput: true},
		"exact, other step":  {Profile: Exact, StartInput: true, DT: 1e-3, Flatten: true},
	}
	for name, build := range nets {
		for how, opt := range options {
			for _, shift := range []snn.Shift{snn.ShiftInitial, snn.ShiftPerStep, snn.ShiftNone} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, how, shift), func(t *testing.T) {
					b := build(1)
					net := &Network{b.g, b.neurons(shift, 4, name == "residual" && shift == snn.ShiftInitial)}
					g, _, err := Build(net, opt)
					if err != nil {
						t.Fatal(err)
					}
					f := pass(t, g)
					got, err := f.Import()
					if err != nil {
						t.Fatal(err)
					}
					if !got.Restored || len(got.Warnings) > 0 || !slices.Equal(got.Classes, opt.Classes) {
						t.Errorf("restored %v, classes %v, warnings %v", got.Restored, got.Classes, got.Warnings)
					}
					sameNetwork(t, &got.Network, net)
					if shift != snn.ShiftInitial || opt.Profile == Exact {
						simulates(t, f.Graph, net)
					}
					generic(t, f, net)
				})
			}
		}
	}
}

// input returns a sample of the network, channels last, and T times the same,
// channels first.
func sample(net *Network, seed uint64) (x, repeated *tensor.Tensor) {
	shape := net.Graph.InputNodes()[0].Shape
	r := random.New(seed, "nir sample")
	x = tensor.New(append([]int{1}, shape...)...)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	c := shape.Channels()
	positions := shape.Numel() / c
	steps := net.SNN.Timesteps
	repeated = tensor.New(steps, c, positions)
	for t := range steps {
		for i, v := range x.Data {
			repeated.Data[t*len(x.Data)+i%c*positions+i/c] = v
		}
	}
	return x, repeated
}

// simulates compares the graph's spikes, run by the interpreter, with those of
// the network. Weights were rounded after the thresholds had been folded in, so
// that a potential very near a threshold may fall on its other side.
func simulates(t *testing.T, g *Graph, net *Network) {
	t.Helper()
	s, err := NewSimulator(g, Burst)
	if err != nil {
		t.Fatal(err)
	}
	run, err := snn.New(net.Graph, net.SNN)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(3) {
		x, repeated := sample(net, seed)
		y, err := s.Run(repeated)
		if err != nil {
			t.Fatal(err)
		}
		want, err := run.Run(t.Context(), nil, x, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		mean := make([]float64, len(y.Data)/net.SNN.Timesteps)
		for i, v := range y.Data {
			mean[i%len(mean)] += float64(v) / float64(net.SNN.Timesteps)
		}
		if last := net.Graph.Outputs[0]; last.Kind() == "softmax" {
			softmax(mean)
		}
		worst := 0.0
		for i, v := range want.Logits.Data {
			worst = max(worst, math.Abs(float64(v)-mean[i]))
		}
		if worst > 1e-4 {
			t.Errorf("output %v, want %v", mean, want.Logits.Data)
		}
	}
	if firing := s.Firing(); len(firing) > 0 && len(firing) != len(net.SNN.Layers) {
		t.Errorf("%d layers fire, want %d", len(firing), len(net.SNN.Layers))
	}
}

func softmax(x []float64) {
	sum := 0.0
	for i := range x {
		x[i] = math.Exp(x[i])
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

// generic imports the file without what restores it, as if another tool had
// written the same nodes, and compares the outputs of both networks.
func generic(t *testing.T, f *File, net *Network) {
	t.Helper()
	g := *f.Graph
	var i info
	i.Timesteps = net.SNN.Timesteps
	if g.count("Input") > 1 || net.SNN.Shift == snn.ShiftInitial {
		return
	}
	got, err := g.network(&i)
	if err != nil {
		t.Fatal(err)
	}
	a, err := snn.New(got.Graph, got.SNN)
	if err != nil {
		t.Fatal(err)
	}
	b, err := snn.New(net.Graph, net.SNN)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(2) {
		x, _ := sample(net, seed)
		want, err := b.Run(t.Context(), nil, x, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s := got.Graph.InputNodes()[0].Shape; len(s) != len(x.Shape)-1 { // positions became an image
			x.Shape = append([]int{1}, s...)
		}
		y, err := a.Run(t.Context(), nil, x, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		logits := make([]float64, len(y.Logits.Data))
		for i, v := range y.Logits.Data {
			logits[i] = float64(v)
		}
		if net.Graph.Outputs[0].Kind() == "softmax" {
			softmax(logits)
		}
		for i, v := range want.Logits.Data {
			if math.Abs(float64(v)-logits[i]) > 1e-4 {
				t.Fatalf("logits %v, want %v", logits, want.Logits.Data)
			}
		}
	}
}

// TestProfilesEqual imports the portable and the exact file of one network
// without what restores them: equal graphs and equal neurons.
func TestProfilesEqual(t *testing.T) {
	for name, build := range nets {
		for _, shift := range []snn.Shift{snn.ShiftPerStep, snn.ShiftNone} {
			b := build(2)
			net := &Network{b.g, b.neurons(shift, 4, false)}
			var all []*Imported
			for _, p := range []Profile{Portable, Exact} {
				g, _, err := Build(net, Options{Profile: p})
				if err != nil {
					t.Fatal(name, err)
				}
				f := pass(t, g)
				got, err := f.Graph.network(&info{Timesteps: 5})
				if err != nil {
					t.Fatal(name, err)
				}
				all = append(all, got)
			}
			sameNetwork(t, &all[1].Network, &all[0].Network)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	base := func() *builder {
		b := newBuilder(1, 8, 8, 2)
		b.conv(3, 3, 4, graph.Conv2D{})
		b.relu()
		return b
	}
	end := func(b *builder) *Network {
		b.add(&graph.Flatten{}, nil)
		b.linear(3)
		return &Network{b.g, b.neurons(snn.ShiftPerStep, 2, false)}
	}
	for name, c := range map[string]struct {
		net  func() *Network
		opt  Options
		want string
	}{
		"max pool": {func() *Network {
			b := base()
			b.add(&graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil)
			return end(b)
		}, Options{}, "average pooling"},
		"upsampling": {func() *Network {
			b := base()
			b.add(&graph.Upsample{Size: [2]int{12, 12}, Mode: "nearest"}, nil)
			return end(b)
		}, Options{}, "resize"},
		"transposed": {func() *Network {
			b := base()
			b.add(&graph.ConvTranspose2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1}, graph.Params{"weight": b.random(1, 2, 2, 4, 3)})
			return end(b)
		}, Options{}, "transposed convolution"},
		"partial windows": {func() *Network {
			b := base()
			b.add(&graph.AvgPool2D{Kernel: [2]int{4, 4}, Stride: [2]int{4, 4}, CeilMode: true}, nil)
			return end(b)
		}, Options{}, "ceil mode"},
		"divisor by position": {func() *Network {
			b := base()
			b.add(&graph.AvgPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1)}, nil)
			return end(b)
		}, Options{}, "divisor"},
		"even and odd kernel": {func() *Network {
			b := base()
			b.conv(2, 3, 4, graph.Conv2D{})
			return end(b)
		}, Options{}, "square"},
		"initial potentials": {func() *Network {
			n := end(base())
			n.SNN.Shift = snn.ShiftInitial
			return n
		}, Options{Profile: Exact}, "--nir-start-input"},
		"signed": {func() *Network {
			n := end(base())
			n.SNN.Signed = true
			return n
		}, Options{}, "signed"},
		"schedule": {func() *Network {
			n := end(base())
			n.SNN.Schedule, n.SNN.Shift = snn.ScheduleAccumulate, snn.ShiftInitial
			return n
		}, Options{}, "schedule"},
		"profile": {func() *Network { return end(base()) }, Options{Profile: "other"}, "profile"},
		"time":    {func() *Network { return end(base()) }, Options{DT: -1}, "time of a step"},
		"no neurons": {func() *Network {
			b := newBuilder(1, 3)
			b.linear(2)
			return &Network{b.g, b.neurons(snn.ShiftNone, 1, false)}
		}, Options{}, "activation"},
	} {
		_, _, err := Build(c.net(), c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
