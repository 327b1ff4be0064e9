package ann

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// blobs are images of classes that differ in where they are bright, plus noise
// that depends on the epoch and the sample.
type blobs struct {
	n, batch int
	shape    graph.Shape
	classes  int
	soft     bool
	poison   int // number of the batch that holds a NaN, counted from 1
	cut      int // batches that the iteration lacks
	cancel   func()
	cancelAt int // number of the batch before which the iteration calls cancel
}

func (d *blobs) Len() int { return (d.n + d.batch - 1) / d.batch }

func (d *blobs) Epoch(ctx context.Context, epoch, start int) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for k := start; k < d.Len()-d.cut; k++ {
			if k+1 == d.cancelAt {
				d.cancel()
			}
			if err := ctx.Err(); err != nil { // as a loader that prefetches would
				yield(Batch{}, err)
				return
			}
			lo, hi := k*d.batch, min((k+1)*d.batch, d.n)
			b := Batch{X: tensor.New(batchShape(hi-lo, d.shape)...)}
			if d.soft {
				b.Soft = tensor.New(hi-lo, d.classes)
			}
			for i := lo; i < hi; i++ {
				rng := rand.New(rand.NewPCG(uint64(epoch), uint64(i)))
				y := i % d.classes
				row := b.X.Rows(i-lo, i-lo+1).Data
				for j := range row {
					row[j] = float32(rng.NormFloat64() * 0.5)
					if j%d.classes == y {
						row[j]++
					}
				}
				b.Labels = append(b.Labels, y)
				if d.soft {
					b.Soft.Data[(i-lo)*d.classes+y] = 0.9
					b.Soft.Data[(i-lo)*d.classes+(y+1)%d.classes] = 0.1
				}
			}
			if k+1 == d.poison {
				b.X.Data[3] = float32(math.NaN())
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

func smallData() *blobs { return &blobs{n: 44, batch: 8, shape: graph.Shape{6, 6, 3}, classes: 4} }

// smallNet has batch norm, dropout, a residual sum and a linear head.
func smallNet() *graph.Graph {
	b := newBuilder(21)
	x := b.g.Input("input", graph.Shape{6, 6, 3})
	x = b.relu(b.norm(b.conv(x, 3, 8, 3, 1, false), 8))
	y := b.norm(b.conv(x, 8, 8, 3, 1, true), 8)
	x = b.relu(b.g.Add("sum", &graph.Add{}, nil, y, x))
	x = b.g.Add("pool", &graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, x)
	x = b.g.Add("drop", &graph.Dropout{P: 0.2}, nil, x)
	x = b.g.Add("flatten", &graph.Flatten{}, nil, x)
	return b.finish(b.linear(x, 72, 4))
}

func smallConfigs() map[string]Config {
	sgd := DefaultConfig()
	sgd.Epochs, sgd.LR = 3, 0.02
	sgd.Nesterov, sgd.Smoothing = true, 0.1
	sgd.EMA = 0.95
	adam := DefaultConfig()
	adam.Epochs, adam.Cooldown, adam.LR, adam.Optimiser, adam.NoDecay1D, adam.ClipNorm = 2, 1, 0.003, "adamw", true, 1
	adam.Schedule = Schedule{Kind: "cosine", Warmup: 0.5, PerStep: true, MinLR: 1e-4}
	plain := DefaultConfig()
	plain.Epochs, plain.LR, plain.Momentum, plain.KeepBest = 3, 0.02, 0, false
	plain.EvalEvery = 2
	plain.Schedule = Schedule{Kind: "step", Steps: []int{1, 2}, Gamma: 0.5}
	return map[string]Config{"sgd": sgd, "adamw": adam, "plain": plain}
}

func sameWeights(t testing.TB, got, want Weights) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d tensors, want %d", len(got), len(want))
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] == nil {
			t.Fatalf("tensor %q is missing", name)
		}
		for i, v := range want[name].Data {
			if math.Float32bits(got[name].Data[i]) != math.Float32bits(v) {
				t.Fatalf("%s[%d]: got %g, want %g, bit for bit", name, i, got[name].Data[i], v)
			}
		}
	}
}

// throughJSON is what a checkpoint does to a state.
func throughJSON(t testing.TB, s *State) *State {
	t.Helper()
	text, err := json.Marshal(s.Progress)
	if err != nil {
		t.Fatal(err)
	}
	out := &State{Tensors: Weights(s.Tensors).Clone()}
	if err := json.Unmarshal(text, &out.Progress); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestResumeGivesTheSameBits stops a run after every possible step, at the end
// of an epoch included, continues it with a fresh graph and compares.
func TestResumeGivesTheSameBits(t *testing.T) {
	for name, cfg := range smallConfigs() {
		t.Run(name, func(t *testing.T) {
			data := smallData()
			whole := smallNet()
			want := must[*Result](t)(Train(t.Context(), whole, nil, data, data, cfg, Hooks{}))
			steps := cfg.Total() * data.Len()
			if want.Progress.Step != steps {
				t.Fatalf("%d steps, want %d", want.Progress.Step, steps)
			}
			for stop := 1; stop < steps; stop++ {
				ctx, cancel := context.WithCancel(t.Context())
				var saved *State
				_, err := Train(ctx, smallNet(), nil, data, data, cfg, Hooks{
					Progress: func(p Progress) {
						if p.Step == stop && p.Evaluated == nil {
							cancel()
						}
					},
					Checkpoint: func(s *State, why Reason, _ bool) error {
						if why == Interrupted {
							saved = throughJSON(t, s)
						}
						return nil
					},
				})
				if !errors.Is(err, ErrInterrupted) || !errors.Is(err, context.Canceled) {
					t.Fatalf("stop at %d: got error %v", stop, err)
				}
				if saved == nil || saved.Progress.Step != stop {
					t.Fatalf("stop at %d: state %+v", stop, saved)
				}
				g := smallNet()
				randomise(t, g, 99) // everything must come from the state
				got := must[*Result](t)(Train(t.Context(), g, nil, data, data, cfg, Hooks{Resume: saved}))
				sameWeights(t, WeightsOf(g), WeightsOf(whole))
				sameWeights(t, got.EMA, want.EMA)
				sameWeights(t, got.Best, want.Best)
				if fmt.Sprint(got.Progress.History) != fmt.Sprint(want.Progress.History) || got.Progress.Best != want.Progress.Best {
					t.Fatalf("stop at %d: history %v, want %v", stop, got.Progress.History, want.Progress.History)
				}
			}
		})
	}
}

func TestTrainingIsTheSameBitsForAnyWorkers(t *testing.T) {
	cfg := smallConfigs()["sgd"]
	want := smallNet()
	must[*Result](t)(Train(t.Context(), want, nil, smallData(), nil, cfg, Hooks{}))
	for _, workers := range []int{2, 7} {
		pool := parallel.New(workers)
		defer pool.Close()
		g := smallNet()
		must[*Result](t)(Train(t.Context(), g, pool, smallData(), nil, cfg, Hooks{}))
		sameWeights(t, WeightsOf(g), WeightsOf(want))
	}
}

func TestTrainLearns(t *testing.T) {
	for name, cfg := range smallConfigs() {
		losses := []string{"labels", "soft"}
		if name == "adamw" { // for the others its gradient is too small in this time
			losses = append(losses, "mse")
		}
		for _, loss := range losses {
			t.Run(name+"/"+loss, func(t *testing.T) {
				cfg := cfg
				cfg.Epochs = 30
				cfg.Schedule.Steps = nil
				data := smallData()
				data.soft = loss != "labels"
				if loss == "mse" {
					cfg.Loss = "mse"
					cfg.Epochs = 80
				}
				g := smallNet()
				res := must[*Result](t)(Train(t.Context(), g, nil, data, data, cfg, Hooks{}))
				first, last := res.Progress.History[0], res.Progress.History[len(res.Progress.History)-1]
				if last.Loss > 0.7*first.Loss {
					t.Errorf("loss went from %g to %g", first.Loss, last.Loss)
				}
				held := smallData() // other noise than in training
				out := must[Outcome](t)(Evaluate(t.Context(), g, nil, held))
				if acc := float64(out.Correct) / float64(out.Count); acc < 0.9 {
					t.Errorf("accuracy %g, want at least 0.9", acc)
				}
				if out.Count != held.n {
					t.Errorf("%d samples counted, want %d", out.Count, held.n)
				}
			})
		}
	}
}

func TestBestIsTheBestEvaluation(t *testing.T) {
	cfg := smallConfigs()["sgd"]
	cfg.Epochs, cfg.LR = 6, 0.3 // restless
	data := smallData()
	held := smallData()
	held.n = 23
	g := smallNet()
	var improved []int
	res := must[*Result](t)(Train(t.Context(), g, nil, data, held, cfg, Hooks{
		Checkpoint: func(s *State, why Reason, better bool) error {
			if better {
				improved = append(improved, s.Progress.Epoch)
				sameWeights(t, s.Best(), s.EMA()) // averaged weights are what is evaluated
			}
			return nil
		}}))
	best := -1.0
	var want []int
	for _, e := range res.Progress.History {
		if e.ValidAccuracy > best {
			best = e.ValidAccuracy
			want = append(want, e.Epoch)
		}
	}
	if !slices.Equal(improved, want) || res.Progress.Best != best || res.Progress.BestEpoch != want[len(want)-1] {
		t.Fatalf("improved after %v, best %g after %d; want %v, %g", improved, res.Progress.Best, res.Progress.BestEpoch, want, best)
	}
	if err := res.Best.Apply(g); err != nil {
		t.Fatal(err)
	}
	out := must[Outcome](t)(Evaluate(t.Context(), g, nil, held))
	if acc := float64(out.Correct) / float64(out.Count); acc != best {
		t.Fatalf("the best weights reach %g, want %g", acc, best)
	}
}

func TestNaNIsNamed(t *testing.T) {
	data := smallData()
	data.poison = 4
	_, err := Train(t.Context(), smallNet(), nil, data, nil, smallConfigs()["sgd"], Hooks{})
	if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), `step 4`) || !strings.Contains(err.Error(), `"input"`) {
		t.Errorf("NaN in the data: got error %v", err)
	}
	g, once := smallNet(), smallNet()
	for _, g := range []*graph.Graph{g, once} {
		g.Node("bn5").Params["bias"].Data[2] = float32(math.Inf(1))
	}
	_, err = Train(t.Context(), g, nil, smallData(), nil, smallConfigs()["sgd"], Hooks{})
	if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), `step 1`) || !strings.Contains(err.Error(), `"bn5" (batchnorm)`) {
		t.Errorf("infinite bias: got error %v", err)
	}
	// Looking for the node must not move the running statistics once more.
	net := must[*Network](t)(NewNetwork(once, nil, NetworkOptions{}))
	for b := range smallData().Epoch(t.Context(), 0, 0) {
		must[[]*tensor.Tensor](t)(net.Forward(Training, 0, b.X))
		break
	}
	sameBits(t, g.Node("bn2").Params["mean"].Data, once.Node("bn2").Params["mean"].Data)
}

// A context that ends while data is being fetched must not lose the batch.
func TestInterruptedWhileLoading(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	data := smallData()
	data.cancel, data.cancelAt = cancel, 3
	var saved *State
	_, err := Train(ctx, smallNet(), nil, data, nil, smallConfigs()["sgd"], Hooks{Checkpoint: func(s *State, _ Reason, _ bool) error {
		saved = s
		return nil
	}})
	if !errors.Is(err, ErrInterrupted) || saved == nil || saved.Progress.Step != 3 {
		t.Fatalf("got error %v, state %+v; want an interruption after step 3", err, saved)
	}
}

func TestTrainErrors(t *testing.T) {
	cfg := smallConfigs()["sgd"]
	short := smallData()
	short.cut = 2
	if _, err := Train(t.Context(), smallNet(), nil, short, nil, cfg, Hooks{}); err == nil || !strings.Contains(err.Error(), "after 4 of 6 batches") {
		t.Errorf("short data: got error %v", err)
	}
	if _, err := Train(t.Context(), smallNet(), nil, &blobs{batch: 1}, nil, cfg, Hooks{}); err == nil {
		t.Error("no data: no error")
	}
	broken := errors.New("disk full")
	_, err := Train(t.Context(), smallNet(), nil, smallData(), nil, cfg, Hooks{Checkpoint: func(*State, Reason, bool) error { return broken }})
	if !errors.Is(err, broken) {
		t.Errorf("checkpoint error: got %v", err)
	}
	g := smallNet()
	g.Nodes[2].Name = "best"
	if _, err := Train(t.Context(), g, nil, smallData(), nil, cfg, Hooks{}); !errors.Is(err, graph.ErrInvalid) {
		t.Errorf("reserved name: got error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	saved := 0
	_, err = Train(ctx, smallNet(), nil, smallData(), nil, cfg, Hooks{Checkpoint: func(s *State, why Reason, _ bool) error {
		saved++
		if s.Progress.Step != 0 || why != Interrupted {
			t.Errorf("state after step %d, %s", s.Progress.Step, why)
		}
		return nil
	}})
	if !errors.Is(err, ErrInterrupted) || saved != 1 {
		t.Errorf("cancelled before the start: got error %v, %d states", err, saved)
	}
}

func TestResumeRefuses(t *testing.T) {
	cfg := smallConfigs()["sgd"]
	data := smallData()
	var saved *State
	var copied Weights
	must[*Result](t)(Train(t.Context(), smallNet(), nil, data, data, cfg, Hooks{
		CheckpointSteps: 4,
		Checkpoint: func(s *State, why Reason, _ bool) error {
			if why == Periodic && saved == nil {
				saved, copied = s, Weights(s.Tensors).Clone()
			}
			return nil
		}}))
	if saved == nil || saved.Progress.Step != 4 {
		t.Fatalf("no periodic state after 4 steps: %+v", saved)
	}
	sameWeights(t, saved.Tensors, copied) // what the training did since must not show
	for name, change := range map[string]struct {
		do   func(s *State, c *Config)
		want string
	}{
		"other rate":        {func(_ *State, c *Config) { c.LR = 0.5 }, "lr was 0.02, is 0.5"},
		"other length":      {func(s *State, _ *Config) { s.Progress.Batch = 5 }, "do not fit"},
		"missing tensor":    {func(s *State, _ *Config) { delete(s.Tensors, "conv1.weight") }, `"conv1.weight" is missing`},
		"missing momentum":  {func(s *State, _ *Config) { delete(s.Tensors, "optim.momentum.fc7.bias") }, `"optim.momentum.fc7.bias"`},
		"wrong shape":       {func(s *State, _ *Config) { s.Tensors["ema.conv1.weight"] = tensor.New(3) }, "shape [3]"},
		"missing averages":  {func(s *State, _ *Config) { delete(s.Tensors, "ema.bn2.var") }, `"ema.bn2.var"`},
		"negative position": {func(s *State, _ *Config) { s.Progress.Epoch = -1 }, "do not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := throughJSON(t, saved), cfg
			change.do(s, &c)
			g := smallNet()
			_, err := Train(t.Context(), g, nil, data, data, c, Hooks{Resume: s})
			if err == nil || !strings.Contains(err.Error(), change.want) {
				t.Errorf("got error %v, want one with %q", err, change.want)
			}
		})
	}
}

func TestProgressCounts(t *testing.T) {
	cfg := smallConfigs()["sgd"]
	data := smallData()
	var steps, evals int
	must[*Result](t)(Train(t.Context(), smallNet(), nil, data, data, cfg, Hooks{Progress: func(p Progress) {
		if p.Evaluated != nil {
			evals++
			if !p.Evaluated.HasValid || p.Epoch != evals || p.Evaluated.Epoch != evals {
				t.Errorf("evaluation %d reported as %+v", evals, p)
			}
			return
		}
		steps++
		want := Progress{Epoch: (steps-1)/6 + 1, Batch: (steps-1)%6 + 1}
		if p.Step != steps || p.Epoch != want.Epoch || p.Batch != want.Batch || p.Batches != 6 || p.Epochs != 3 {
			t.Errorf("step %d reported as %+v", steps, p)
		}
		if !(p.Loss > 0) || !(p.SamplesPerSec > 0) || p.LR != cfg.Schedule.LR(cfg.LR, p.Epoch-1, 0, 6, 3) {
			t.Errorf("step %d: %+v", steps, p)
		}
		if last := steps == 18; (p.Remaining == 0) != last && p.Remaining <= 0 {
			t.Errorf("step %d: remaining %v", steps, p.Remaining)
		}
	}}))
	if steps != 18 || evals != 3 {
		t.Errorf("%d steps and %d evaluations reported, want 18 and 3", steps, evals)
	}
}

func TestConfigValidate(t *testing.T) {
	good := DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	for want, change := range map[string]func(*Config){
		"epochs 0":         func(c *Config) { c.Epochs = 0 },
		"cooldown":         func(c *Config) { c.Cooldown = -1 },
		"optimiser":        func(c *Config) { c.Optimiser = "adam" },
		"loss":             func(c *Config) { c.Loss = "l1" },
		"learning rate -1": func(c *Config) { c.LR = -1 },
		"learning rate 0":  func(c *Config) { c.LR = 0 },
		"NaN":              func(c *Config) { c.LR = nan },
		"momentum":         func(c *Config) { c.Momentum = 1 },
		"weight decay":     func(c *Config) { c.WeightDecay = math.Inf(1) },
		"clip norm":        func(c *Config) { c.ClipNorm = -1 },
		"ema":              func(c *Config) { c.EMA = 1 },
		"smoothing":        func(c *Config) { c.Smoothing = 1 },
		"eps":              func(c *Config) { c.Optimiser = "adamw"; c.Eps = 0 },
		"nesterov":         func(c *Config) { c.Momentum = 0; c.Nesterov = true },
		"evaluation":       func(c *Config) { c.EvalEvery = 0 },
		"ignored label":    func(c *Config) { c.Ignore = -2 },
		"schedule \"x\"":   func(c *Config) { c.Schedule.Kind = "x" },
		"gamma":            func(c *Config) { c.Schedule.Kind, c.Schedule.Gamma = "step", 0 },
		"ascending":        func(c *Config) { c.Schedule.Kind, c.Schedule.Steps = "step", []int{3, 2} },
		"min lr":           func(c *Config) { c.Schedule.MinLR = 1 },
		"warmup":           func(c *Config) { c.Schedule.Warmup = 11 },
		"schedule epochs":  func(c *Config) { c.Schedule.Epochs = -1 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v", want, err)
		}
	}
}
