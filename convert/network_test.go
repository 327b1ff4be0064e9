package convert

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// A builder makes networks with random weights.
type builder struct {
	g   *graph.Graph
	rng *rand.Rand
}

func newBuilder(seed uint64) *builder {
	return &builder{graph.New(), rand.New(rand.NewPCG(seed, 3))}
}

func (b *builder) normal(scale float64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data {
		t.Data[i] = float32(scale * b.rng.NormFloat64())
	}
	return t
}

func (b *builder) conv(name string, x *graph.Node, cin, cout, stride int) *graph.Node {
	return b.g.Add(name, &graph.Conv2D{Stride: [2]int{stride, stride}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1},
		graph.Params{"weight": b.normal(math.Sqrt(2/float64(9*cin)), 3, 3, cin, cout)}, x)
}

func (b *builder) norm(name string, x *graph.Node, c int) *graph.Node {
	p := graph.Params{"mean": b.normal(0.2, c), "var": tensor.New(c), "weight": tensor.New(c), "bias": b.normal(0.2, c)}
	for i := range c {
		p["var"].Data[i], p["weight"].Data[i] = 0.5+b.rng.Float32(), 0.7+0.6*b.rng.Float32()
	}
	return b.g.Add(name, &graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, p, x)
}

func (b *builder) relu(name string, x *graph.Node) *graph.Node {
	return b.g.Add(name, &graph.ReLU{}, nil, x)
}

func (b *builder) linear(name string, x *graph.Node, in, out int) *graph.Node {
	return b.g.Add(name, &graph.Linear{}, graph.Params{"weight": b.normal(math.Sqrt(2/float64(in)), in, out), "bias": b.normal(0.1, out)}, x)
}

func (b *builder) finish(t testing.TB, out *graph.Node) *graph.Graph {
	t.Helper()
	b.g.Outputs = []*graph.Node{out}
	if err := b.g.Infer(); err != nil {
		t.Fatal(err)
	}
	return b.g
}

// small is a residual network with batch norms, a max pool before its
// activation, a ReLU6, a hidden fully connected layer and dropout.
func small(t testing.TB) *graph.Graph {
	b := newBuilder(1)
	x := b.g.Input("input", graph.Shape{8, 8, 2})
	x = b.norm("bn1", b.conv("conv1", x, 2, 6, 1), 6)
	x = b.g.Add("pool", &graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, x)
	x = b.relu("relu1", x)
	y := b.g.Add("relu2", &graph.ReLU6{}, nil, b.norm("bn2", b.conv("conv2", x, 6, 8, 1), 8))
	y = b.norm("bn3", b.conv("conv3", y, 8, 6, 1), 6)
	x = b.relu("relu3", b.g.Add("add", &graph.Add{}, nil, y, x))
	x = b.g.Add("gap", &graph.GlobalAvgPool{}, nil, x)
	x = b.g.Add("drop", &graph.Dropout{P: 0.2}, nil, b.g.Add("flat", &graph.Flatten{}, nil, x))
	x = b.relu("relu4", b.linear("fc1", x, 6, 10))
	return b.finish(t, b.linear("fc2", x, 10, 4))
}

func samples(seed uint64, n int, shape graph.Shape) *tensor.Tensor {
	return (&builder{rng: rand.New(rand.NewPCG(seed, 4))}).normal(1, append([]int{n}, shape...)...)
}

var imageShape = graph.Shape{8, 8, 2}

func mustPrepare(t testing.TB, g *graph.Graph) *graph.Graph {
	t.Helper()
	p, err := Prepare(g)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustConvert(t testing.TB, g *graph.Graph, x *tensor.Tensor, cfg Config, workers int) *Result {
	t.Helper()
	pool := parallel.New(workers)
	defer pool.Close()
	res, err := Convert(t.Context(), pool, g, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestPrepare(t *testing.T) {
	g := small(t)
	g.Add("dead", &graph.ReLU{}, nil, g.Node("relu1"))
	before := len(g.Nodes)
	p := mustPrepare(t, g)
	var kinds []string
	for _, n := range p.Nodes {
		kinds = append(kinds, n.Kind())
	}
	want := []string{"input", "conv2d", "relu", "maxpool2d", "conv2d", "relu6", "conv2d", "add", "relu", "global_avgpool", "flatten", "linear", "relu", "linear"}
	if d := cmp.Diff(want, kinds); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(g.Nodes) != before || g.Node("bn1") == nil || g.Node("pool").Inputs[0] != g.Node("bn1") {
		t.Error("the original graph changed")
	}
	x := samples(2, 3, imageShape)
	a, b := forward(t, g, x), forward(t, p, x)
	for i := range a {
		if math.Abs(float64(a[i]-b[i])) > 1e-4*(1+math.Abs(float64(a[i]))) {
			t.Fatalf("output %d is %g after preparation, %g before", i, b[i], a[i])
		}
	}
	g.Node("fc2").Params["bias"].Data[0] = float32(math.NaN())
	if _, err := Prepare(g); err == nil || !strings.Contains(err.Error(), `node "fc2" (linear): bias[0] is NaN`) {
		t.Errorf("got error %v", err)
	}
}

// TestConvertIsDeterministic: the same bits with any number of workers, twice.
func TestConvertIsDeterministic(t *testing.T) {
	g := small(t)
	x := samples(3, 300, imageShape)
	for name, change := range map[string]func(*Config){
		"default":   func(*Config) {},
		"potential": func(c *Config) { c.Calibration, c.Readout = CalibrationPotential, true },
		"reference": func(c *Config) { *c = Reference(); c.BatchSize = 50 },
		"layer":     func(c *Config) { c.ChannelWise, c.Threshold = false, "percentile:99.5" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Default()
			change(&cfg)
			want := mustConvert(t, g, x, cfg, 1)
			for _, workers := range []int{1, 2, 7} {
				got := mustConvert(t, g, x, cfg, workers)
				if d := cmp.Diff(want.SNN, got.SNN); d != "" {
					t.Errorf("%d workers: neurons differ:\n%s", workers, d)
				}
				for i, n := range want.Graph.Nodes {
					if d := cmp.Diff(n.Params, got.Graph.Nodes[i].Params); d != "" {
						t.Errorf("%d workers: parameters of %q differ:\n%s", workers, n.Name, d)
					}
				}
				if d := cmp.Diff(want.Layers, got.Layers); d != "" {
					t.Errorf("%d workers: the reports differ:\n%s", workers, d)
				}
			}
		})
	}
}

// TestConvertedNetworkFollowsTheANN: with 64 levels it decides alike nearly
// always, and more levels bring it closer.
func TestConvertedNetworkFollowsTheANN(t *testing.T) {
	g := small(t)
	calibration, test := samples(3, 300, imageShape), samples(4, 200, imageShape)
	want := forward(t, g, test)
	deviation := func(timesteps, maxSpike int) (rms float64, agree int) {
		cfg := Default()
		cfg.Timesteps, cfg.MaxSpike = timesteps, maxSpike
		net, err := mustConvert(t, g, calibration, cfg, 1).Network()
		if err != nil {
			t.Fatal(err)
		}
		res, err := net.Run(t.Context(), nil, test, snn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range res.Logits.Data {
			rms += math.Pow(float64(v-want[i]), 2)
		}
		for s := range 200 {
			row := func(x []float32) int {
				r := x[s*4 : s*4+4]
				return slices.Index(r, slices.Max(r))
			}
			if row(res.Logits.Data) == row(want) {
				agree++
			}
		}
		return math.Sqrt(rms / float64(len(want))), agree
	}
	coarse, _ := deviation(1, 2)
	middle, _ := deviation(4, 2)
	fine, agree := deviation(16, 4)
	t.Logf("deviation %.4f with 2 levels, %.4f with 8, %.4f with 64 (%d of 200 decisions alike)", coarse, middle, fine, agree)
	if !(fine < middle && middle < coarse) {
		t.Errorf("deviation %g with 2 levels, %g with 8, %g with 64: must fall", coarse, middle, fine)
	}
	if agree < 190 {
		t.Errorf("%d of 200 decisions alike, want at least 190", agree)
	}
}

func TestThresholdGranularity(t *testing.T) {
	g := mustPrepare(t, small(t))
	for _, c := range []struct {
		samples int
		change  func(*Config)
		want    []int // thresholds per layer
	}{
		{256, func(*Config) {}, []int{6, 8, 6, 10}},
		{255, func(*Config) {}, []int{6, 8, 6, 1}},
		{256, func(c *Config) { c.VectorScalar = true }, []int{6, 8, 6, 1}},
		{256, func(c *Config) { c.ChannelWise = false }, []int{1, 1, 1, 1}},
	} {
		cfg := Default()
		c.change(&cfg)
		n, err := Thresholds(t.Context(), nil, g, samples(5, c.samples, imageShape), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, l := range n.Config.Layers {
			got = append(got, len(l.Threshold))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d samples: %v thresholds, want %v", c.samples, got, c.want)
		}
	}
}

// TestStatisticsForm: many values become a histogram, unless there are more
// levels than bins can tell apart.
func TestStatisticsForm(t *testing.T) {
	b := newBuilder(2)
	x := b.g.Input("input", graph.Shape{32, 32, 1})
	x = b.relu("relu", b.conv("conv", x, 1, 2, 1))
	g := b.finish(t, b.conv("out", x, 2, 1, 1))
	in := samples(6, 65, graph.Shape{32, 32, 1}) // 66,560 values per channel
	thetas := map[string][]float32{}
	for _, c := range []struct {
		name      string
		timesteps int
		samples   int
		histogram bool
	}{{"histogram", 64, 65, true}, {"too many levels", 65, 65, false}, {"few values", 64, 63, false}} {
		cfg := Default()
		cfg.Timesteps, cfg.MaxSpike = c.timesteps, 4
		o, err := newObserver(g, nil, in.Rows(0, c.samples))
		if err != nil {
			t.Fatal(err)
		}
		all, err := o.collect(t.Context(), nil, []Config{cfg})
		if err != nil {
			t.Fatal(err)
		}
		if got := all[0].count != nil; got != c.histogram || got == (all[0].values != nil) {
			t.Errorf("%s: histogram %v, want %v", c.name, got, c.histogram)
		}
		r := cfg.rule(0)
		thetas[c.name] = r.thresholds(nil, all[0])
		if all[0].total != int64(c.samples)*1024 {
			t.Errorf("%s: %d values per channel, want %d", c.name, all[0].total, c.samples*1024)
		}
	}
	for ch, theta := range thetas["histogram"] { // 64 and 65 timesteps want nearly the same
		if d := math.Abs(float64(theta - thetas["too many levels"][ch])); d > 0.05*float64(theta) {
			t.Errorf("channel %d: histogram finds %g, all values %g", ch, theta, thetas["too many levels"][ch])
		}
	}
}

func TestDeadChannelsAreReported(t *testing.T) {
	g := mustPrepare(t, small(t))
	kill := func(name string, channels ...int) {
		n := g.Node(name)
		p := n.Params["bias"].Clone()
		w := n.Weight().Clone()
		for i := range w.Data {
			if slices.Contains(channels, i%len(p.Data)) {
				w.Data[i] = 0
			}
		}
		for _, ch := range channels {
			p.Data[ch] = -1
		}
		n.Params = graph.Params{"weight": w, "bias": p}
	}
	kill("conv2", 1, 5)
	kill("fc1", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	res := mustConvert(t, g, samples(7, 300, imageShape), Default(), 1)
	want := map[string][]int{"relu2": {1, 5}, "relu4": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}
	if d := cmp.Diff(want, res.Dead); d != "" {
		t.Errorf("dead channels -want +got:\n%s", d)
	}
	theta := slices.Clone(res.SNN.Layers[1].Threshold)
	median := theta[1]
	if theta[5] != median {
		t.Errorf("dead channels have thresholds %g and %g", median, theta[5])
	}
	live := slices.Sorted(slices.Values(slices.Concat(theta[:1], theta[2:5], theta[6:])))
	if want := (live[2] + live[3]) / 2; median != want && median > 6.0/4 {
		t.Errorf("dead channels have threshold %g, want the median %g", median, want)
	}
	for _, v := range res.SNN.Layers[3].Threshold {
		if v != 1 {
			t.Errorf("a layer that is all dead has threshold %g, want 1", v)
		}
	}
	if _, err := res.Network(); err != nil {
		t.Error(err)
	}
}

func TestReLU6Cap(t *testing.T) {
	b := newBuilder(3)
	x := b.g.Input("input", graph.Shape{4, 4, 1})
	x = b.g.Add("relu6", &graph.ReLU6{}, nil, b.conv("conv", x, 1, 4, 1))
	g := b.finish(t, b.conv("out", x, 4, 1, 1))
	in := samples(8, 50, graph.Shape{4, 4, 1})
	for i := range in.Data {
		in.Data[i] *= 100 // everything saturates
	}
	for _, capped := range []bool{true, false} {
		cfg := Default()
		cfg.MaxSpike, cfg.Threshold, cfg.RangeByBurst, cfg.CapReLU6 = 4, "max", false, capped
		n, err := Thresholds(t.Context(), nil, g, in, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for ch, theta := range n.Config.Layers[0].Threshold {
			if want := map[bool]float32{true: 1.5, false: 6}[capped]; theta != want {
				t.Errorf("capped %v, channel %d: threshold %g, want %g", capped, ch, theta, want)
			}
		}
	}
}

func TestMaxSpikesPerLayer(t *testing.T) {
	g := mustPrepare(t, small(t))
	x := samples(9, 20, imageShape)
	cfg := Default()
	cfg.MaxSpikes = []int{1, 2, 3, 200}
	n, err := Thresholds(t.Context(), nil, g, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range n.Config.Layers {
		if l.MaxSpike != cfg.MaxSpikes[i] {
			t.Errorf("layer %d has limit %d, want %d", i, l.MaxSpike, cfg.MaxSpikes[i])
		}
	}
	cfg.MaxSpikes = []int{1, 2}
	if _, err := Thresholds(t.Context(), nil, g, x, cfg); err == nil || !strings.Contains(err.Error(), "2 burst limits for 4 layers") {
		t.Errorf("got error %v", err)
	}
}

// TestBatchAverage: thresholds per batch, averaged, are what single batches give.
func TestBatchAverage(t *testing.T) {
	g := mustPrepare(t, small(t))
	x := samples(10, 70, imageShape)
	cfg := Reference()
	cfg.Batches, cfg.BatchSize, cfg.Momentum = 3, 30, 0.75
	got, err := Thresholds(t.Context(), nil, g, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	one := cfg
	one.Batches = 0
	var want []float64
	for b, lo := range []int{0, 30, 60} {
		n, err := Thresholds(t.Context(), nil, g, x.Rows(lo, min(lo+30, 70)), one)
		if err != nil {
			t.Fatal(err)
		}
		for ch, theta := range n.Config.Layers[0].Threshold {
			if b == 0 {
				want = append(want, float64(theta))
			} else {
				want[ch] = 0.75*want[ch] + 0.25*float64(theta)
			}
		}
	}
	for ch, theta := range got.Config.Layers[0].Threshold {
		if math.Abs(float64(theta)-want[ch]) > 1e-5*want[ch] {
			t.Errorf("channel %d: threshold %g, want %g", ch, theta, want[ch])
		}
	}
}

func TestActivationThatIsNotFinite(t *testing.T) {
	b := newBuilder(4)
	in := b.g.Input("input", graph.Shape{2})
	x := b.relu("relu1", b.linear("fc1", in, 2, 3))
	y := b.linear("fc2", x, 3, 2)
	g := b.finish(t, b.linear("fc3", b.relu("relu2", y), 2, 1))
	for i := range y.Weight().Data {
		y.Weight().Data[i] = 3e38
	}
	s := tensor.New(100, 2)
	s.Data[2*77], s.Data[2*77+1] = 1e3, 1e3
	s.Data[2*78] = -1e3
	fc1 := g.Node("fc1")
	clear(fc1.Bias())
	for i := range fc1.Weight().Data {
		fc1.Weight().Data[i] = 1
	}
	for _, batches := range []int{0, 4} {
		cfg := Default()
		cfg.Batches, cfg.BatchSize = batches, 25
		if _, err := Thresholds(t.Context(), nil, g, s, cfg); err == nil || !strings.Contains(err.Error(), `node "relu2"`) || !strings.Contains(err.Error(), "sample 77 is +Inf") {
			t.Errorf("%d batches: got error %v, want one that names node and sample", batches, err)
		}
	}
	neurons := &snn.Config{Timesteps: 1, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Layers: []snn.Layer{
		{Node: "relu1", Threshold: []float32{1}, MaxSpike: 1}, {Node: "relu2", Threshold: []float32{1}, MaxSpike: 1}}}
	if _, _, err := LightCalibration(t.Context(), nil, g, g, neurons, s, 1); err == nil || !strings.Contains(err.Error(), `node "relu2"`) || !strings.Contains(err.Error(), "sample 77 is +Inf") {
		t.Errorf("light calibration: got error %v", err)
	}
	a := &activations{node: "relu", channels: 1, max: make([]float32, 1)}
	bad := &tensor.Tensor{Shape: []int{2, 2}, Data: []float32{0, 1, 2, -0.5}}
	if err := a.addMax(nil, 40, graph.Shape{2}, bad); err == nil || !strings.Contains(err.Error(), `node "relu": activation of calibration sample 41 is -0.5`) {
		t.Errorf("negative activation: got error %v", err)
	}
}

func TestConvertErrors(t *testing.T) {
	g, x := small(t), samples(1, 3, imageShape)
	cfg := Default()
	for name, c := range map[string]struct {
		g    *graph.Graph
		x    *tensor.Tensor
		cfg  Config
		fail string
	}{
		"no samples":  {g, tensor.New(0, 8, 8, 2), cfg, "no calibration samples"},
		"no axes":     {g, &tensor.Tensor{}, cfg, "no calibration samples"},
		"nil":         {g, nil, cfg, "no calibration samples"},
		"short":       {g, &tensor.Tensor{Shape: []int{2, 8, 8, 2}, Data: make([]float32, 5)}, cfg, "hold 5 values"},
		"shape":       {g, tensor.New(2, 8, 8, 3), cfg, `"input"`},
		"method":      {g, x, Config{}, "timesteps 0"},
		"not a graph": {graph.New(), x, cfg, "no output"},
	} {
		if _, err := Convert(t.Context(), nil, c.g, c.x, c.cfg); err == nil || !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: got error %v, want one with %q", name, err, c.fail)
		}
	}
	prepared := mustPrepare(t, g)
	bad := cfg
	bad.Threshold = "median"
	if _, err := Thresholds(t.Context(), nil, prepared, x, bad); err == nil || !strings.Contains(err.Error(), `threshold method "median"`) {
		t.Errorf("unknown method: got error %v", err)
	}
	b := newBuilder(1)
	plain := b.finish(t, b.linear("fc", b.g.Input("x", graph.Shape{2}), 2, 2))
	if _, err := Convert(t.Context(), nil, plain, tensor.New(1, 2), cfg); err == nil || !strings.Contains(err.Error(), "no activation") {
		t.Errorf("no activation: got error %v", err)
	}
	neurons, err := Thresholds(t.Context(), nil, prepared, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	none := tensor.New(0, 8, 8, 2)
	if _, _, err := LightCalibration(t.Context(), nil, prepared, prepared, neurons.Config, none, 1); err == nil {
		t.Error("light calibration without samples is accepted")
	}
	if _, err := PotentialCalibration(t.Context(), nil, prepared, prepared, neurons.Config, none, true); err == nil {
		t.Error("potential calibration without samples is accepted")
	}
}

// layerMeans runs a spiking network and returns the mean outputs per layer.
func layerMeans(t *testing.T, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor) []snn.Measured {
	t.Helper()
	net, err := snn.New(g, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all []snn.Measured
	if err := net.Sweep(t.Context(), nil, x, func(m snn.Measured) (*snn.Correction, error) {
		all = append(all, m)
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// targets are the ANN's mean activations, computed in the plainest way.
func targets(t *testing.T, g *graph.Graph, x *tensor.Tensor) (channel, neuron [][]float64) {
	t.Helper()
	e, err := ann.New(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range snn.Activations(g) {
		if err := e.Observe(x, []string{n.Name}, func(_ string, y *tensor.Tensor) {
			size, c := n.Shape.Numel(), n.Shape.Channels()
			ch, nu := make([]float64, c), make([]float64, size)
			for i, v := range y.Data {
				ch[i%c] += float64(v) / float64(len(y.Data)/c)
				nu[i%size] += float64(v) / float64(len(y.Data)/size)
			}
			channel, neuron = append(channel, ch), append(neuron, nu)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return channel, neuron
}

func meanError(got, want []float64) float64 {
	sum := 0.0
	for i, v := range got {
		sum += math.Abs(v-want[i]) / float64(len(got))
	}
	return sum
}
