package snn

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"pgregory.net/rapid"
)

// integers are the settings under which weights are whole numbers.
var integers = map[string]func(cfg *Config){
	"i8":              func(cfg *Config) { cfg.Weights = I8 },
	"i16":             func(cfg *Config) { cfg.Weights = I16 },
	"i8, signed":      func(cfg *Config) { cfg.Weights, cfg.Signed = I8, true },
	"i16, signed":     func(cfg *Config) { cfg.Weights, cfg.Signed = I16, true },
	"i8, accumulate":  func(cfg *Config) { cfg.Weights, cfg.Schedule = I8, ScheduleAccumulate },
	"i16, accumulate": func(cfg *Config) { cfg.Weights, cfg.Schedule = I16, ScheduleAccumulate },
}

// drawInteger makes a random network of integer weights.
func drawInteger(t *rapid.T) (*graph.Graph, *Config, *tensor.Tensor) {
	g, cfg, x := drawNetwork(t, rapid.Bool().Draw(t, "exact"))
	cfg.Weights = rapid.SampledFrom([]Precision{I8, I16}).Draw(t, "weights")
	if cfg.MaxPool == MaxPoolExact && !cfg.Signed && cfg.Shift != ShiftPerStep && rapid.Bool().Draw(t, "accumulate") {
		cfg.Schedule = ScheduleAccumulate
	}
	return g, cfg, x
}

// intReference simulates networks of integer weights, one sample and timestep
// at a time, on whole numbers in float64: convolutions, additions, pools, joins
// and neurons. It quantises by itself and knows nothing of plans, panels or
// blocks.
type intReference struct {
	g      *graph.Graph
	cfg    *Config // as it runs
	values map[*graph.Node]intValue
	v      map[*graph.Node][]float32
	cum    map[*graph.Node][]float64
	top    map[*graph.Node][]float64
	counts map[*graph.Node][][]float64
}

// An intValue is what a node holds: numbers that times scale per channel are in
// units of the activation; scale is nil for those of the ANN.
type intValue struct {
	x     []float64
	scale []float32
}

// quantised rounds weights of the same outputs, which is all that the
// executor's rule says where nothing can overflow.
func quantisedWeights(p Precision, all [][]float32, outputs int) (q []*tensor.Tensor, step []float32) {
	step = make([]float32, outputs)
	levels := map[Precision]float64{I8: 127, I16: 32767}[p]
	for _, w := range all {
		for i, v := range w {
			step[i%outputs] = max(step[i%outputs], float32(math.Abs(float64(v))))
		}
	}
	for ch := range step {
		step[ch] = float32(float64(step[ch]) / levels)
	}
	for _, w := range all {
		t := tensor.New(len(w))
		for i, v := range w {
			if s := step[i%outputs]; s > 0 {
				t.Data[i] = float32(math.Round(float64(v) / float64(s)))
			}
		}
		q = append(q, t)
	}
	return q, step
}

// folded is the weight of a convolution or linear layer of one group.
func folded(n *graph.Node, in, out []float32) []float32 {
	w := n.Weight()
	cin, cout := w.Shape[len(w.Shape)-2], w.Shape[len(w.Shape)-1]
	f := make([]float32, len(w.Data))
	for i, v := range w.Data {
		r := float32(1)
		if in != nil {
			r = in[i/cout%cin]
		}
		if out != nil {
			r /= out[i%cout]
		}
		f[i] = v * r
	}
	return f
}

func (r *intReference) scaleOf(act *graph.Node) []float32 {
	for i, n := range Activations(r.g) {
		if n == act {
			l := r.cfg.Layers[i]
			return l.perChannel(n.Shape.Channels())
		}
	}
	return nil
}

// current is what drives the neurons act: of a node before them.
func (r *intReference) current(act *graph.Node) []float32 {
	theta := r.scaleOf(act)
	drivers := []*graph.Node{act.Inputs[0]}
	if drivers[0].Kind() == "add" {
		drivers = slices.Clone(drivers[0].Inputs)
		if !isConv(drivers[0]) {
			slices.Reverse(drivers)
		}
	}
	first := r.values[drivers[0].Inputs[0]]
	out := make([]float32, act.Shape.Numel())
	c := len(theta)
	bias := make([]float32, c)
	add := func(n *graph.Node) {
		for ch, b := range n.Bias() {
			bias[ch] += float32(b * (1 / theta[ch]))
		}
	}
	if first.scale == nil { // analog: products and sums rounded one by one
		n := drivers[0]
		w := folded(n, nil, theta)
		cin := n.Inputs[0].Shape.Channels()
		_, iw, _ := n.Inputs[0].Shape.HWC()
		_, ow, _ := n.Shape.HWC()
		eachTap(n, func(py, px, oy, ox, tap int) {
			for ci := range cin {
				for ch := range c {
					out[(oy*ow+ox)*c+ch] += float32(float32(first.x[(py*iw+px)*cin+ci]) * w[(tap*cin+ci)*c+ch])
				}
			}
		})
		add(n)
		for i := range out {
			out[i] += bias[i%c]
		}
		return out
	}
	var weights [][]float32
	products := drivers[:1]
	if len(drivers) == 2 && isConv(drivers[1]) {
		products = drivers
	}
	for _, n := range products {
		weights = append(weights, folded(n, r.values[n.Inputs[0]].scale, theta))
		add(n)
	}
	q, step := quantisedWeights(r.cfg.Weights, weights, c)
	sum := make([]float64, len(out))
	ref := &reference{}
	for k, n := range products {
		twin := *n
		twin.Params = graph.Params{"weight": {Shape: n.Weight().Shape, Data: q[k].Data}}
		for i, v := range ref.evaluate(&twin, map[*graph.Node][]float64{n.Inputs[0]: r.values[n.Inputs[0]].x}, false) {
			sum[i] += v
		}
	}
	for i, v := range sum {
		out[i] = float32(float32(v)*step[i%c]) + bias[i%c]
	}
	if len(drivers) > len(products) {
		other := r.values[drivers[1]]
		for i, v := range other.x {
			out[i] += float32(float32(v) * (other.scale[i%c] / theta[i%c]))
		}
	}
	return out
}

// step advances all nodes by one timestep.
func (r *intReference) step(x []float32) {
	ref := &reference{}
	for _, n := range r.g.Nodes {
		var v intValue
		var in []intValue
		plain := map[*graph.Node][]float64{}
		for _, m := range n.Inputs {
			in = append(in, r.values[m])
			plain[m] = r.values[m].x
		}
		switch op := n.Op.(type) {
		case *graph.Input:
			for _, f := range x {
				v.x = append(v.x, float64(f))
			}
		case *graph.ReLU, *graph.ReLU6:
			v = intValue{r.fire(n), r.scaleOf(n)}
		case *graph.MaxPool2D:
			v.scale = in[0].scale
			if r.cum[n] == nil {
				r.cum[n], r.top[n] = make([]float64, len(in[0].x)), make([]float64, n.Shape.Numel())
			}
			for i, c := range in[0].x {
				r.cum[n][i] += c
			}
			top := maximum(n, r.cum[n])
			v.x = make([]float64, len(top))
			for i := range top {
				v.x[i] = top[i] - r.top[n][i]
			}
			r.top[n] = top
		case *graph.AvgPool2D:
			window := float64(op.Kernel[0] * op.Kernel[1])
			v.x = ref.evaluate(n, plain, false)
			for i := range v.x {
				v.x[i] = math.Round(v.x[i] * window)
			}
			for _, s := range in[0].scale {
				v.scale = append(v.scale, s/float32(window))
			}
		case *graph.Concat:
			v.x = ref.evaluate(n, plain, false)
			for _, i := range in {
				v.scale = append(v.scale, i.scale...)
			}
		default:
			continue // part of its neurons
		}
		r.values[n] = v
	}
}

func (r *intReference) fire(n *graph.Node) []float64 {
	current := r.current(n)
	var l Layer
	for i, a := range Activations(r.g) {
		if a == n {
			l = r.cfg.Layers[i]
		}
	}
	theta := r.scaleOf(n)
	if r.v[n] == nil {
		r.v[n] = make([]float32, len(current))
		for i := range current {
			if l.Initial != nil {
				r.v[n][i] = l.Initial[i] / theta[i%len(theta)]
			}
			r.v[n][i] += 0.5
		}
	}
	out := make([]float64, len(current))
	for i, x := range current {
		u := r.v[n][i] + x
		k := min(max(math.Floor(float64(u)), 0), float64(l.MaxSpike))
		r.v[n][i] = u - float32(k)
		out[i] = k
	}
	r.counts[n] = append(r.counts[n], out)
	return out
}

// TestIntegersMatchReference: every spike is that of the naive simulator of
// whole numbers.
func TestIntegersMatchReference(t *testing.T) {
	names := []string{"plain", "strided", "identity shortcut", "projection shortcut", "average pool", "max pool", "concat"}
	for _, weights := range []Precision{I8, I16} {
		for _, accumulate := range []bool{false, true} {
			for seed := range uint64(6) {
				t.Run(fmt.Sprintf("%s/accumulate=%v/%d", weights, accumulate, seed), func(t *testing.T) {
					t.Parallel()
					b := &grower{g: graph.New(), rng: newRand(seed)}
					input := b.g.Input("input", graph.Shape{12, 11, 3})
					input.Shape = graph.Shape{12, 11, 3}
					x := b.relu(b.conv(input, 3, 5, 1, 1, true))
					for i := range names {
						if h, w, _ := x.Shape.HWC(); min(h, w) < 3 {
							break
						}
						x = blocks[names[(i*5+int(seed))%len(names)]](b, input, x)
					}
					b.g.Outputs = []*graph.Node{heads["flatten"](b, b.relu(b.conv(x, 1, 4, 1, 1, true)))}
					if err := b.g.Infer(); err != nil {
						t.Fatal(err)
					}
					cfg := b.config(3, ShiftInitial, MaxPoolExact)
					for i := range cfg.Layers {
						cfg.Layers[i].MaxSpike = 1 + b.rng.IntN(4)
					}
					if cfg.Weights = weights; accumulate {
						cfg.Schedule = ScheduleAccumulate
					}
					samples := b.tensor(2, 2, 12, 11, 3)
					net := mustNew(t, b.g, cfg)
					res := mustRun(t, net, nil, samples, Options{Trace: true})
					spikes := 0.0
					for s := range 2 {
						ref := &intReference{g: b.g, cfg: net.cfg, values: map[*graph.Node]intValue{}, v: map[*graph.Node][]float32{},
							cum: map[*graph.Node][]float64{}, top: map[*graph.Node][]float64{}, counts: map[*graph.Node][][]float64{}}
						for range net.cfg.Timesteps {
							ref.step(samples.Rows(s, s+1).Data)
						}
						for l, n := range Activations(b.g) {
							size := n.Shape.Numel()
							for step, want := range ref.counts[n] {
								for i, k := range want {
									spikes += k
									if got := res.StepCounts[l].Data[(step*2+s)*size+i]; float64(got) != k {
										t.Fatalf("node %q, sample %d, timestep %d, neuron %d: %g spikes, the reference has %g", n.Name, s, step, i, got, k)
									}
								}
							}
						}
					}
					if spikes == 0 {
						t.Error("no spikes: nothing was compared")
					}
				})
			}
		}
	}
}

// TestIntegersAreTheSameBits: on random networks, any number of workers, both
// executors, every instruction set and a recording give the same bits.
func TestIntegersAreTheSameBits(t *testing.T) {
	pools := []*parallel.Pool{nil, parallel.New(3)}
	defer pools[1].Close()
	old := kernel.Active()
	defer func() { _ = kernel.SetISA(old.String()) }()
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawInteger(t)
		net, err := New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		events, err := build(g, cfg, chooseEvents)
		if err != nil {
			t.Fatal(err)
		}
		base, err := build(g, cfg, chooseBase)
		if err != nil {
			t.Fatal(err)
		}
		var want *Result
		for _, isa := range kernel.Available() {
			if err := kernel.SetISA(isa.String()); err != nil {
				t.Fatal(err)
			}
			for _, pool := range pools {
				for kind, n := range map[string]*Network{"any": net, "events": events, "base": base} {
					got, err := n.Run(context.Background(), pool, x, Options{Trace: true})
					if err != nil {
						t.Fatal(err)
					}
					if want == nil {
						want = got
					}
					if d := differs(got, want); d != "" {
						t.Fatalf("%s, %s, %d workers: %s", isa, kind, pool.Workers(), d)
					}
				}
			}
		}
		samples := x.Shape[0]
		exits := rapid.SliceOfN(rapid.IntRange(1, cfg.Timesteps), samples, samples).Draw(t, "exits")
		if cfg.Schedule != ScheduleAccumulate {
			compareSteps(t, net, pools[1], x, exits)
		}
		rec, err := net.Record(context.Background(), pools[1], x)
		if err != nil {
			t.Fatal(err)
		}
		recorded := rec.Result()
		if d := differs(&Result{Logits: recorded.Logits, Layers: recorded.Layers}, &Result{Logits: want.Logits, Layers: want.Layers}); d != "" {
			t.Fatalf("recorded: %s", d)
		}
	})
}

// differs says how two results differ in bits.
func differs(got, want *Result) string {
	for l := range want.StepCounts {
		if !sameBits(got.StepCounts[l].Data, want.StepCounts[l].Data) {
			return fmt.Sprintf("spikes of layer %d differ", l)
		}
	}
	for l := range want.Layers {
		g, w := got.Layers[l].all(), want.Layers[l].all()
		for i := range w {
			if !slices.Equal(*g[i], *w[i]) {
				return fmt.Sprintf("count %d of layer %d is %v, want %v", i, l, *g[i], *w[i])
			}
		}
	}
	if !sameBits(got.Logits.Data, want.Logits.Data) {
		return fmt.Sprintf("logits are %v, want %v", got.Logits.Data, want.Logits.Data)
	}
	return ""
}

// TestIntegersEveryBlock leaves no block to chance: the executors agree, and the
// quantised network does about what that of float32 weights does.
func TestIntegersEveryBlock(t *testing.T) {
	for name, block := range blocks {
		for kind, set := range integers {
			for _, side := range []int{4, 10} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, kind, side), func(t *testing.T) {
					t.Parallel()
					rng := rand.New(rand.NewPCG(uint64(side), 9))
					b := &grower{g: graph.New(), rng: rng}
					input := b.g.Input("input", graph.Shape{side, side, 2})
					input.Shape = graph.Shape{side, side, 2}
					x := block(b, input, b.relu(b.conv(input, 3, 4, 1, 1, true)))
					b.g.Outputs = []*graph.Node{heads["flatten"](b, block(b, input, x))}
					cfg := b.config(4, ShiftInitial, MaxPoolExact)
					batch := b.tensor(2, 3, side, side, 2)
					float := mustRun(t, mustNew(t, b.g, cfg), nil, batch, Options{})
					set(cfg)
					if cfg.Schedule == "" {
						compareSteps(t, mustNew(t, b.g, cfg), nil, batch, []int{4, 1 + rng.IntN(4), 1 + rng.IntN(4)})
					}
					got := mustRun(t, mustNew(t, b.g, cfg), nil, batch, Options{})
					if cfg.Signed || cfg.Schedule != "" {
						return // other spikes, too
					}
					for l := range got.Layers {
						var a, w int64
						for s := range 3 {
							a, w = a+got.Layers[l].Spikes[s], w+float.Layers[l].Spikes[s]
						}
						if d := math.Abs(float64(a - w)); d > 10+0.1*float64(w) {
							t.Errorf("layer %d: %d spikes, with float32 weights %d", l, a, w)
						}
					}
				})
			}
		}
	}
}

// TestReplaceIntegers: replaced layers do what a network made with the change
// does.
func TestReplaceIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, cfg, x := drawInteger(t)
		net, err := New(g, cfg)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := net.Record(context.Background(), nil, x)
		if err != nil {
			t.Fatal(err)
		}
		layer := rapid.IntRange(0, len(cfg.Layers)-1).Draw(t, "layer")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "change"), 3))
		l := otherNeurons(rng, cfg.Layers[layer], true)
		if shared := rec.net.g.Consumers()[rec.net.plan.fires[layer].node.Inputs[0]]; len(shared) > 1 {
			return // see Recording.Replace
		}
		if d := compareReplaced(rec, nil, g, cfg, x, layer, l); d != "" {
			t.Fatal(d)
		}
	})
}

// TestSweepsOfIntegers: sweeps measure what a run does and hand out the mean
// inputs, those of projection shortcuts too.
func TestSweepsOfIntegers(t *testing.T) {
	for _, kind := range slices.Sorted(maps.Keys(integers)) {
		t.Run(kind, func(t *testing.T) {
			g, cfg, x := grown(t, 5, "identity shortcut", "projection shortcut", "concat", "average pool", "plain", "projection shortcut")
			integers[kind](cfg)
			net := mustNew(t, g, cfg)
			want := means(net, mustRun(t, net, nil, x, Options{Trace: true}))
			if cfg.Schedule != "" {
				want = perTimestep(cfg, want)
			}
			var swept []Measured
			if err := net.Sweep(t.Context(), nil, x, func(m Measured) (*Correction, error) {
				swept = append(swept, m)
				return nil, nil
			}); err != nil {
				t.Fatal(err)
			}
			closeMeans(t, "swept", swept, want)
			// A correction that changes nothing runs the kept currents again.
			var again []Measured
			if err := net.Sweep(t.Context(), nil, x, func(m Measured) (*Correction, error) {
				again = append(again, m)
				return &Correction{Bias: make([]float32, len(m.Channel))}, nil
			}); err != nil {
				t.Fatal(err)
			}
			closeMeans(t, "corrected by 0", again, want)
			projections := 0
			if err := net.SweepInputs(t.Context(), nil, x, nil, func(in MeanInput) (*Weights, error) {
				if in.Addend != nil && isConv(in.Addend) {
					projections++
					mean, ok := meanOf(t, g, cfg, in.Addend.Name, x)
					if !ok {
						t.Fatal("no mean")
					}
					for i, v := range mean { // the readout's weights are not quantised
						if d := math.Abs(float64(in.Added.Data[i] - v)); d > 0.05*(1+math.Abs(float64(v))) {
							t.Fatalf("addend %q: value %d is %g, want about %g", in.Addend.Name, i, in.Added.Data[i], v)
						}
					}
				}
				return &Weights{Weight: in.Driver.Weight().Data}, nil
			}); err != nil {
				t.Fatal(err)
			}
			if projections != 2 {
				t.Errorf("%d projections seen, want 2", projections)
			}
		})
	}
}

func TestQuantise(t *testing.T) {
	w := []float32{1, -3, 0, 0.5, 3.001, 0, -2, 0.1, 0} // [3 inputs][3 outputs]
	q, step, ok := I8.Quantise([]WeightBlock{{w, 4}}, 3)
	if !ok {
		t.Fatal("cannot be quantised")
	}
	if want := []int16{64, -127, 0, 32, 127, 0, -127, 4, 0}; !slices.Equal(q[0], want) {
		t.Errorf("got %v, want %v", q[0], want)
	}
	if want := []float32{float32(2. / 127), float32(float64(float32(3.001)) / 127), 0}; !slices.Equal(step, want) {
		t.Errorf("steps %v, want %v", step, want)
	}
	nan := []float32{1, float32(math.NaN())}
	if _, _, ok := I16.Quantise([]WeightBlock{{nan, 1}}, 2); ok {
		t.Error("NaN was quantised")
	}
	// Sums that would leave int32 get larger steps.
	many := make([]float32, 5000)
	for i := range many {
		many[i] = 1
	}
	for _, most := range []int{4, 255, 32000} {
		q, step, ok := I16.Quantise([]WeightBlock{{many, most}, {many, 1}}, 1)
		if !ok {
			t.Fatal("cannot be quantised")
		}
		var sum int64
		for _, v := range q[0] {
			sum += int64(v) * int64(most)
		}
		for _, v := range q[1] {
			sum += int64(v)
		}
		if sum > math.MaxInt32 || sum < math.MaxInt32/32 {
			t.Errorf("counts of %d: largest sum %d", most, sum)
		}
		if got := float32(q[0][0]) * step[0]; math.Abs(float64(got)-1) > 1e-2 {
			t.Errorf("counts of %d: weight 1 became %g", most, got)
		}
	}
}

func TestWeightsInFiles(t *testing.T) {
	_, cfg, _ := deep(t, 1)
	for _, w := range []Precision{"", F32, I16, I8} {
		cfg.Weights = w
		data, tensors, err := cfg.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(data, tensors)
		if err != nil || back.Weights != w {
			t.Errorf("%q: got %q, error %v", w, back.Weights, err)
		}
	}
	cfg.Weights = "i4"
	if err := cfg.ValidateRules(); err == nil {
		t.Error("weights of 4 bits were taken")
	}
}

func TestIntegersRefuseLargeCounts(t *testing.T) {
	g, cfg, _ := deep(t, 1)
	cfg.Weights, cfg.Schedule, cfg.Timesteps = I8, ScheduleAccumulate, 1024
	cfg.Layers[1].MaxSpike = 255
	if _, err := New(g, cfg); err == nil || !strings.Contains(err.Error(), "261120") {
		t.Errorf("got error %v", err)
	}
	cfg.Weights = F32
	mustNew(t, g, cfg)
}

// TestBaseAndDifference: what base and differences hold adds up to the counts.
func TestBaseAndDifference(t *testing.T) {
	rng := newRand(8)
	for _, frames := range []int{2, 3, 4, 7, 8, 16} {
		for _, size := range []int{1, 7, 8, 29, 64} {
			x := make([]uint8, frames*size)
			most := (255 - frames/2) / frames
			for i := range x {
				x[i] = uint8(rng.IntN(most + 1))
			}
			mean, d := make([]uint8, size), make([]uint8, size)
			roundedMean(mean, x, frames)
			for i := range mean {
				sum := 0
				for f := range frames {
					sum += int(x[f*size+i])
				}
				if want := math.Floor(float64(sum)/float64(frames) + 0.5); float64(mean[i]) != want {
					t.Fatalf("%d frames, value %d: mean %d, want %g", frames, i, mean[i], want)
				}
			}
			for f := range frames {
				difference(d, x[f*size:(f+1)*size], mean)
				for i, v := range d {
					if int(int8(v)) != int(x[f*size+i])-int(mean[i]) {
						t.Fatalf("difference %d of %d and %d", int8(v), x[f*size+i], mean[i])
					}
				}
			}
		}
	}
}

// TestWaysAreTaken: on bursts that come evenly, differences are few, and the
// kernels used are told.
func TestWaysAreTaken(t *testing.T) {
	g := wide(newRand(1))
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Timesteps: 4, Shift: ShiftInitial, MaxPool: MaxPoolExact, Weights: I8}
	for _, n := range Activations(g) {
		cfg.Layers = append(cfg.Layers, Layer{Node: n.Name, Threshold: []float32{0.4}, MaxSpike: 4})
	}
	x := (&grower{rng: newRand(2)}).tensor(2, 1, 26, 24, 3)
	var want *Result
	for _, c := range []choice{chooseFaster, chooseDense, chooseEvents, chooseBase} {
		net, err := build(g, cfg, c)
		if err != nil {
			t.Fatal(err)
		}
		got := mustRun(t, net, nil, x, Options{Trace: true})
		if want == nil {
			want = got
		}
		if d := differs(got, want); d != "" {
			t.Errorf("choice %d: %s", c, d)
		}
		for i, use := range got.Kernels[1:] {
			if use.Frames != 4 || use.EventFrames+use.BaseFrames > use.Frames {
				t.Errorf("choice %d, layer %d: %+v", c, i+1, use)
			}
			switch {
			case c == chooseDense && use.Events() != 0,
				c == chooseEvents && use.EventFrames != 4,
				c == chooseBase && use.BaseFrames != 4:
				t.Errorf("choice %d, layer %d: %+v", c, i+1, use)
			}
		}
	}
}

// TestMemory: a batch of spiking images takes less than twice what the two
// largest neighbouring activations of the ANN take.
func TestMemory(t *testing.T) {
	const batch = 32
	g, cfg, x := grown(t, batch, "plain", "identity shortcut", "average pool", "plain")
	ann := int64(2 * 12 * 12 * 8 * 4 * batch)
	for _, weights := range []Precision{F32, I8} {
		cfg.Weights = weights
		net := mustNew(t, g, cfg)
		res := mustRun(t, net, nil, x, Options{})
		if res.Memory < ann/32 || res.Memory >= 2*ann {
			t.Errorf("%s: %d bytes, the ANN's activations take %d", weights, res.Memory, ann)
		}
		steps, err := net.RunSteps(t.Context(), nil, x, nil)
		if err != nil || steps.Memory < ann/32 || steps.Memory >= 2*ann {
			t.Errorf("%s, step by step: %d bytes, the ANN's activations take %d, error %v", weights, steps.Memory, ann, err)
		}
		t.Logf("%s: %d bytes, step by step %d, ANN %d", weights, res.Memory, steps.Memory, ann)
	}
}
